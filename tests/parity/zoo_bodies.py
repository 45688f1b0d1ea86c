"""Motion kinds of whole bodies: motion135, motion272, interhuman262, dart276, babel135, hymotion201."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from hftrainer.motion import rotation
from hftrainer.motion.axes import Z_UP_TO_Y_UP
from hftrainer.motion.representation import babel135, dart276, hymotion201, interhuman262, motion135, motion272
from hftrainer.motion.skeleton import CANON272_REST
from tests.parity import Check, Kind, compare, npz_keys, stated_tolerance
from tests.parity.zoo import Arrays, _load, _present

#: The released code takes a translation for the pelvis where ours keeps SMPL's meaning.
_AS_RELEASED = np.zeros(3)


def _turns(arrays: Arrays, key: str) -> np.ndarray:
    return rotation.rotvec_to_matrix(arrays[key].astype(np.float64))


# ---------------------------------------------------------------------------------------------- motion272


def _is_motion272(path: Path) -> bool:
    keys = npz_keys(path)
    return "rep272" in keys and bool(keys & {"smpl_85", "joints", "recovered_positions"})


def _motion272(path: Path) -> list[Check]:
    arrays = _load(path)
    tolerance = stated_tolerance(path, 2e-6)
    rep = arrays["rep272"]
    checks = []
    if "smpl_85" in arrays and "joints" in arrays:
        encoded = motion272.smpl85_to_motion272(arrays["smpl_85"], arrays["joints"])
        checks.append(compare("rep272", encoded, rep, tolerance))
    if "smpl_85" in arrays and "smpl_85_face_z" in arrays:
        turned, want = motion272.smpl85_face_z(arrays["smpl_85"]), arrays["smpl_85_face_z"]
        checks.append(compare("smpl_85_face_z", turned[:, 3:], want[:, 3:], tolerance))
        root = rotation.rotvec_to_matrix(want[:, :3].astype(np.float64))
        checks.append(compare("smpl_85_face_z root", rotation.rotvec_to_matrix(turned[:, :3]), root, 1e-5))
    if "recovered_smpl85" in arrays:
        got, want = motion272.motion272_to_smpl85(rep, _AS_RELEASED), arrays["recovered_smpl85"]
        if got.shape != want.shape:
            checks.append(compare("recovered_smpl85", got, want, tolerance))
        else:
            checks.append(compare("recovered_smpl85", got[:, 66:], want[:, 66:], tolerance))
            same = [rotation.rotvec_to_matrix(x[:, :66].astype(np.float64).reshape(-1, 22, 3)) for x in (got, want)]
            checks.append(compare("recovered_smpl85 turns", *same, 1e-5))
    wanted = {
        "recovered_positions": lambda: motion272.motion272_to_joints(rep),
        "recovered_local_rotmat": lambda: motion272.motion272_to_rotations(rep)[0],
        "recovered_root": lambda: motion272.motion272_to_rotations(rep)[1],
        "motion135_from_272": lambda: motion272.motion272_to_motion135(rep, _AS_RELEASED),
    }
    checks += _present(arrays, wanted, {}, tolerance)
    if "motion135_from_272" in arrays:
        pose = arrays["motion135_from_272"]
        wanted = {
            "fk_canon_joints": lambda: motion135.motion135_to_joints(pose, CANON272_REST),
            "bridge272_canon": lambda: motion272.motion135_to_motion272(pose),
        }
        checks += _present(arrays, wanted, {}, max(tolerance, 2e-6))
    if "hml263_from_272_positions" in arrays:
        got, want = motion272.motion272_to_hml263(rep), arrays["hml263_from_272_positions"]
        if got.shape != want.shape:
            return [*checks, compare("hml263_from_272_positions", got, want, 3e-5)]
        checks.append(compare("hml263_from_272_positions", got[:, :-4], want[:, :-4], 3e-5))
        checks.append(compare("hml263_from_272_positions contacts", got[:, -4:], want[:, -4:], 0))
    return checks


# ---------------------------------------------------------------------------------------------- bridges

_FITTED = re.compile(r"motion272_from_it(\d+)")


def _is_fitted(path: Path) -> bool:
    keys = npz_keys(path)
    return any(f"motion135_it{found[1]}" in keys for found in map(_FITTED.fullmatch, keys) if found)


def _fitted(path: Path) -> list[Check]:
    arrays = _load(path)
    checks = []
    for key in arrays:
        steps = _FITTED.fullmatch(key)
        if steps and f"motion135_it{steps[1]}" in arrays:
            pose = arrays[f"motion135_it{steps[1]}"]
            checks.append(compare(key, motion272.motion135_to_motion272(pose), arrays[key], 2e-6))
            wanted = {f"fitted_joints_it{steps[1]}": lambda pose=pose: motion135.motion135_to_joints(pose)}
            checks += _present(arrays, wanted, {}, 2e-6)
    return checks


_BRIDGES = {
    "native_bridge272_chainfix": "chains", "native_bridge272_upstream": "parents", "native_bridge272": "parents",
}  # fmt: skip


def _is_bridge(path: Path) -> bool:
    keys = npz_keys(path)
    return "feats263" in keys and bool(keys & set(_BRIDGES))


def _bridge(path: Path) -> list[Check]:
    arrays = _load(path)
    wanted = {
        key: lambda sums=sums: motion272.hml263_to_motion272(arrays["feats263"], sums=sums)
        for key, sums in _BRIDGES.items()
    }
    return _present(arrays, wanted, {}, 2e-6)


# ---------------------------------------------------------------------------------------------- others


def _is_interhuman(path: Path) -> bool:
    return npz_keys(path) >= {"pair262", "joints_zup_pair", "local_rot6d_row"}


def _interhuman(path: Path) -> list[Check]:
    arrays = _load(path)
    tolerance = stated_tolerance(path, 1e-5)
    both = arrays["joints_zup_pair"].astype(np.float64)
    turns = rotation.rot6d_interleaved_to_matrix(arrays["local_rot6d_row"].astype(np.float64))
    first = both[:, 0] @ Z_UP_TO_Y_UP.T
    made = {
        "pair262": lambda: interhuman262.pair_to_interhuman262(both, turns),
        "single_yup_262": lambda: interhuman262.joints_to_interhuman262(first, turns[:, 0]),
    }
    checks = []
    for key, make in made.items():
        if key in arrays:
            got, want = make(), arrays[key]
            if got.shape != want.shape:
                checks.append(compare(key, got, want, tolerance))
                continue
            checks.append(compare(key, got[..., :-4], want[..., :-4], tolerance))
            checks.append(compare(f"{key} contacts", got[..., -4:], want[..., -4:], 0))
    turn, origin = interhuman262.interhuman_place(first)
    pair = arrays["pair262"]
    wanted = {
        "single_root_quat": lambda: turn,
        "single_root_xz": lambda: origin[None],
        "decoded_joints": lambda: np.stack(
            [interhuman262.interhuman262_to_joints(pair[:, at]) for at in range(pair.shape[1])], axis=1
        ),
    }
    return checks + _present(arrays, wanted, {}, tolerance)


def _is_three(path: Path) -> bool:
    return npz_keys(path) >= {"axis_angle_zup", "transl_zup"}


def _near(what: str, got: np.ndarray, want: np.ndarray, turns: np.ndarray, tolerance: float) -> list[Check]:
    """Root rotations beside those of code that goes through rotation vectors in float32.

    Near a half turn ``w`` of the quaternion is small, and such a vector is only as good as ``eps / w``. Those frames
    are compared with four times that.
    """
    if got.shape != want.shape:
        return [compare(what, got, want, tolerance)]
    w = np.abs(rotation.matrix_to_quat_wxyz(turns)[..., 0])
    allowed = 4 * np.finfo(np.float32).eps / np.maximum(w, 1e-9)
    far = allowed <= tolerance
    checks = [compare(what, got[far], want[far], tolerance)] if far.any() else []
    if not far.all():
        error = np.abs(got[~far] - want[~far]).reshape(int((~far).sum()), -1).max(-1)
        ratio = float((error / np.minimum(allowed[~far], 1e-3)).max())
        checks.append(Check(f"{what} near a half turn, in float32 steps", ratio if np.isfinite(ratio) else np.inf, 1.0))
    return checks


def _three(path: Path) -> list[Check]:
    arrays = _load(path)
    tolerance = stated_tolerance(path, 1e-5)
    turns, place = _turns(arrays, "axis_angle_zup"), arrays["transl_zup"].astype(np.float64)
    checks = []
    if "joints_zup" in arrays:
        joints = arrays["joints_zup"].astype(np.float64)
        wanted = {"dart276_raw": lambda: dart276.rotations_to_dart276(turns, place, joints)}
        checks += _present(arrays, wanted, {}, tolerance)
    key = "dart276_canonical_floor_root0"
    if key in arrays and "joints_zup" in arrays:
        begun = dart276.in_first_frame(turns, place, joints, floor=True, pelvis_offset=_AS_RELEASED)
        got, want = dart276.rotations_to_dart276(*begun), arrays[key]
        if got.shape != want.shape:
            checks.append(compare(key, got, want, tolerance))
        else:
            rest, root, turn = np.r_[0:258, 270:276], np.s_[258:264], np.s_[264:270]
            checks.append(compare(key, got[:, rest], want[:, rest], tolerance))
            checks += _near(f"{key} root", got[:, root], want[:, root], begun[0][:-1, 0], tolerance)
            w = np.abs(rotation.matrix_to_quat_wxyz(begun[0][:, 0])[:, 0])  # a turn is as good as the worse of its ends
            worse = np.where(w[1:] < w[:-1], 1, 0) + np.arange(len(got))
            checks += _near(f"{key} turn", got[:, turn], want[:, turn], begun[0][worse, 0], tolerance)
    if key in arrays:
        root, translation, joints = dart276.dart276_to_path(arrays[key])
        if "dart_decoded_global_rotmat" in arrays:
            checks += _near("dart_decoded_global_rotmat", root, arrays["dart_decoded_global_rotmat"], root, tolerance)
        wanted = {
            "dart_decoded_transl": lambda: translation,
            "dart_decoded_joints": lambda: joints,
            "dart_joints_mbench": lambda: dart276.dart276_to_joints(arrays[key]),
        }
        checks += _present(arrays, wanted, {}, tolerance)
    checks += _present(arrays, {"babel135": lambda: babel135.rotations_to_babel135(turns, place)}, {}, tolerance)
    if "babel135" in arrays:
        pose = babel135.babel135_to_motion135(arrays["babel135"], _AS_RELEASED)
        wanted = {
            "babel_decoded_translation_yup": lambda: pose[:, :3],
            "babel_decoded_rotations_yup": lambda: motion135.motion135_to_rotations(pose)[0],
            "babel_motion135": lambda: pose,
        }
        checks += _present(arrays, wanted, {}, tolerance)
    if "motion135_yup" in arrays:
        up = turns.copy()
        up[:, 0] = Z_UP_TO_Y_UP @ up[:, 0]
        pose = arrays["motion135_yup"]
        wanted = {
            "motion135_yup": lambda: motion135.rotations_to_motion135(up, place @ Z_UP_TO_Y_UP.T),
            "hymotion201": lambda: hymotion201.motion135_to_hymotion201(pose),
        }
        checks += _present(arrays, wanted, {}, tolerance)
        if "babel135" in arrays:
            again = babel135.motion135_to_babel135(pose, _AS_RELEASED)
            checks.append(compare("babel135 of motion135", again, arrays["babel135"], tolerance))
    if "hymotion201" in arrays:
        wanted = {
            "hymotion201_stored_joints": lambda: hymotion201.hymotion201_to_joints(arrays["hymotion201"], _AS_RELEASED)
        }
        checks += _present(arrays, wanted, {}, tolerance)
    return checks


KINDS = (
    Kind("motion272", _is_motion272, _motion272),
    Kind("motion135 to motion272", _is_fitted, _fitted),
    Kind("hml263 to motion272", _is_bridge, _bridge),
    Kind("interhuman262", _is_interhuman, _interhuman),
    Kind("dart, babel, hymotion", _is_three, _three),
)
