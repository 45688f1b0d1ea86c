"""Motion kinds: hml263 and kit251 both ways, rotations, resampling, skeletons, statistics."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from hftrainer.motion import edit, rotation
from hftrainer.motion.representation import hml263
from hftrainer.motion.representation.specs import get_spec
from hftrainer.motion.skeleton import CANON272_REST, KIT21, SMPL22, Skeleton
from tests.parity import Check, Kind, compare, npz_keys, stated_tolerance

Arrays = dict[str, np.ndarray]


def _load(path: Path) -> Arrays:
    with np.load(path) as file:
        return {key: file[key] for key in file.files}


def _skeleton(joints: int, path: Path) -> Skeleton:
    for skeleton in (SMPL22, KIT21):
        if len(skeleton.joints) == joints:
            return skeleton
    raise ValueError(f"{path.name}: a body must have 22 or 21 joints; got {joints}.")


def _present(arrays: Arrays, wanted: dict[str, Any], tolerances: dict[str, float], default: float) -> list[Check]:
    """Checks of those results that the case has an answer for; results are functions, so that others cost nothing."""
    return [
        compare(key, make(), arrays[key], tolerances.get(key, default)) for key, make in wanted.items() if key in arrays
    ]


# ---------------------------------------------------------------------------------------------- hml263 and kit251

_ENCODED = {"feats", "uniform", "global_positions", "quat_smooth", "official_hml263"}


def _is_encode(path: Path) -> bool:
    keys = npz_keys(path)
    return "input_joints" in keys and bool(keys & _ENCODED)


def _encode(path: Path) -> list[Check]:
    arrays = _load(path)
    joints = arrays["input_joints"]
    skeleton = _skeleton(joints.shape[1], path)
    metres = skeleton is SMPL22
    offsets = arrays.get("target_offsets")
    tolerance = stated_tolerance(path, 3e-5 if metres else 5e-3)  # metres or millimetres
    unitless = tolerance if metres else 1e-4
    uniform = hml263.uniform_skeleton(joints, offsets, skeleton=skeleton, name=path.name)
    placed = hml263.canonicalize(uniform, skeleton=skeleton)
    floor = float(uniform[..., 1].min())

    def local_positions() -> np.ndarray:
        heading = hml263.inverse_kinematics(placed, skeleton=skeleton)[:, :1]
        return rotation.quat_rotate(heading, placed - placed[:, :1] * [1, 0, 1])

    wanted = {
        "src_offsets": lambda: skeleton.directions * skeleton.bone_lengths(joints[0].astype(np.float64))[:, None],
        "uniform": lambda: uniform,
        "floor_height": lambda: floor,
        "floored_origin": lambda: uniform - [0, floor, 0] - uniform[0, 0] * [1, 0, 1],
        "root_quat_init": lambda: hml263.first_heading(uniform, skeleton=skeleton)[None],
        "global_positions": lambda: placed,
        "quat_smooth": lambda: hml263.inverse_kinematics(placed, skeleton=skeleton),
        "local_positions": local_positions,
    }
    checks = _present(arrays, wanted, {"root_quat_init": 1e-6, "quat_smooth": unitless}, tolerance)
    for key in ("feats", "official_hml263"):
        if key in arrays:
            encode = hml263.joints_to_hml263 if metres else hml263.joints_to_kit251
            features, width = encode(joints, offsets), 12 * len(skeleton.joints) - 1
            columns, feet = np.zeros(width, dtype=bool), np.zeros(width, dtype=bool)
            columns[0] = columns[get_spec("hml263" if metres else "kit251").channel("rotations").slice] = True
            feet[-4:] = True
            want = arrays[key]
            if features.shape != want.shape:
                checks.append(compare(key, features, want, tolerance))
                continue
            checks.append(compare(key, features[:, ~columns & ~feet], want[:, ~columns & ~feet], tolerance))
            checks.append(compare(f"{key} rotations", features[:, columns], want[:, columns], unitless))
            checks.append(compare(f"{key} contacts", features[:, feet], want[:, feet], 0))
    return checks + _decoded(arrays, skeleton, offsets, tolerance, path)


def _decoded(
    arrays: Arrays, skeleton: Skeleton, offsets: np.ndarray | None, tolerance: float, path: Path
) -> list[Check]:
    features = arrays.get("feats")
    if features is None:
        return []
    metres = skeleton is SMPL22
    ric = hml263.hml263_to_joints if metres else hml263.kit251_to_joints
    by_rotations = hml263.hml263_to_joints_by_rotations if metres else hml263.kit251_to_joints_by_rotations
    wanted = {
        name: make
        for prefix in ("", "rec_")
        for name, make in {
            f"{prefix}root_quat": lambda: hml263.recover_root(features, skeleton=skeleton)[0],
            f"{prefix}root_pos": lambda: hml263.recover_root(features, skeleton=skeleton)[1],
            f"{prefix}ric": lambda: ric(features),
            f"{prefix}rot": lambda: by_rotations(features, offsets),
            "recover_from_ric": lambda: ric(features),
            "recover_from_rot": lambda: by_rotations(features, offsets),
        }.items()
    }
    return _present(arrays, wanted, {"root_quat": 1e-6, "rec_root_quat": 1e-6}, tolerance)


_RECOVERED = {"recover_from_ric", "recover_from_rot", "rec_ric", "rec_rot", "rec_root_pos", "root_pos"}


def _is_decode(path: Path) -> bool:
    keys = npz_keys(path)
    return "feats" in keys and "input_joints" not in keys and bool(keys & _RECOVERED)


def _decode(path: Path) -> list[Check]:
    arrays = _load(path)
    skeleton = _skeleton((arrays["feats"].shape[-1] + 1) // 12, path)
    tolerance = stated_tolerance(path, 1e-6 if skeleton is SMPL22 else 5e-3)
    return _decoded(arrays, skeleton, arrays.get("target_offsets"), tolerance, path)


def _is_dataset_clip(path: Path) -> bool:
    return npz_keys(path) >= {"new_joints", "new_joint_vecs"}


def _dataset_clip(path: Path) -> list[Check]:
    arrays = _load(path)
    tolerance = stated_tolerance(path, 3e-5)
    joints = hml263.hml263_to_joints(arrays["new_joint_vecs"])
    checks = [compare("new_joints", joints, arrays["new_joints"], 1e-6)]
    if "recover_from_ric" in arrays:
        checks.append(compare("recover_from_ric", joints, arrays["recover_from_ric"], 1e-6))
    if "reprocessed_feats" in arrays:
        features, want = hml263.joints_to_hml263(arrays["new_joints"]), arrays["reprocessed_feats"]
        checks.append(compare("reprocessed_feats", features[:, :-4], want[:, :-4], tolerance))
        checks.append(compare("reprocessed_feats contacts", features[:, -4:], want[:, -4:], 0))
    return checks


def _is_rotations(path: Path) -> bool:
    return npz_keys(path) >= {"feats263", "global_rotmat_chain"}


def _rotations(path: Path) -> list[Check]:
    arrays = _load(path)
    features = arrays["feats263"]
    wanted = {
        "local_rotmat": lambda: rotation.quat_wxyz_to_matrix(hml263.hml263_to_rotations(features)),
        "global_rotmat_chain": lambda: hml263.hml263_to_global_rotations(features),
    }
    return _present(arrays, wanted, {}, stated_tolerance(path, 1e-6))


def _is_ik_target(path: Path) -> bool:
    return npz_keys(path) >= {"feats263", "target_joints"}


def _ik_target(path: Path) -> list[Check]:
    arrays = _load(path)
    features, want = arrays["feats263"], arrays["target_joints"]
    joints = edit.sample(hml263.hml263_to_joints(features), edit.resample_times(len(features), 20, 30, "grid"))
    joints[..., 1] -= joints[..., 1].min()
    return [compare("target_joints", joints, want, 2e-6)]


def _is_from_272(path: Path) -> bool:
    return npz_keys(path) >= {"joints20_linear", "hml263_from_272_positions"}


def _from_272(path: Path) -> list[Check]:
    arrays = _load(path)
    checks = []
    if "recovered_positions" in arrays:
        source = arrays["recovered_positions"]
        joints = edit.sample(source, edit.resample_times(len(source), 30, 20, "phase"))
        checks.append(compare("joints20_linear", joints, arrays["joints20_linear"], 2e-6))
    features, want = hml263.joints_to_hml263(arrays["joints20_linear"]), arrays["hml263_from_272_positions"]
    if features.shape != want.shape:
        return [*checks, compare("hml263_from_272_positions", features, want, 3e-5)]
    checks.append(compare("hml263_from_272_positions", features[:, :-4], want[:, :-4], 3e-5))
    checks.append(compare("hml263_from_272_positions contacts", features[:, -4:], want[:, -4:], 0))
    return checks


# ---------------------------------------------------------------------------------------------- rotations and time

_LAYOUTS = {"column": "columns", "row": "interleaved", "tworows": "rows"}  # names in the data, names here


def _is_rotation_formats(path: Path) -> bool:
    keys = npz_keys(path)
    return "matrix" in keys and bool(keys & {"axis_angle", "quaternion_wxyz", *(f"rot6d_{name}" for name in _LAYOUTS)})


def _rotation_formats(path: Path) -> list[Check]:
    arrays = _load(path)
    tolerance = stated_tolerance(path, 1e-6)
    matrices = arrays["matrix"].astype(np.float64)
    checks = []
    if "axis_angle" in arrays:
        checks.append(compare("matrix", rotation.rotvec_to_matrix(arrays["axis_angle"]), arrays["matrix"], tolerance))
        same = rotation.rotvec_to_matrix(rotation.matrix_to_rotvec(matrices))
        checks.append(compare("matrix of rotvec", same, arrays["matrix"], tolerance))
    if "quaternion_wxyz" in arrays:
        want = arrays["quaternion_wxyz"]
        checks.append(compare("quaternion_wxyz", rotation.matrix_to_quat_wxyz(matrices), want, tolerance))
        checks.append(compare("matrix of quat", rotation.quat_wxyz_to_matrix(want), arrays["matrix"], tolerance))
    for key in arrays:
        euler = re.fullmatch("euler_([XYZ]{3})_rad", key)
        if euler:
            angles = rotation.matrix_to_euler(matrices, euler[1])
            back = rotation.euler_to_matrix(arrays[key].astype(np.float64), euler[1])
            checks.append(compare(key, angles, arrays[key], tolerance))
            checks.append(compare(f"matrix of {key}", back, arrays["matrix"], tolerance))
    for theirs, ours in _LAYOUTS.items():
        if f"rot6d_{theirs}" in arrays:
            made = rotation.convert_rot6d(rotation.matrix_to_rot6d_columns(matrices), "columns", ours)
            checks.append(compare(f"rot6d_{theirs}", made, arrays[f"rot6d_{theirs}"], tolerance))
    return checks


def _is_gram_schmidt(path: Path) -> bool:
    return "raw6" in npz_keys(path)


def _gram_schmidt(path: Path) -> list[Check]:
    arrays = _load(path)
    make = {
        "column": rotation.rot6d_columns_to_matrix,
        "row": rotation.rot6d_interleaved_to_matrix,
        "tworows": rotation.rot6d_rows_to_matrix,
    }
    raw = arrays["raw6"].astype(np.float64)
    wanted = {f"raw6_{name}_matrix": lambda run=run: run(raw) for name, run in make.items()}
    return _present(arrays, wanted, {}, stated_tolerance(path, 1e-6))


_RESAMPLED = re.compile(r"resample(\d+)to(\d+)_(grid|phase)_T(\d+)")
_TURNED = re.compile(r"slerp(\d+)to(\d+)_rot_T(\d+)")


def _is_resample(path: Path) -> bool:
    keys = npz_keys(path)
    return bool(keys & {"resample_src", "slerp_src"})


def _fitted(values: np.ndarray, want: np.ndarray, key: str, tolerance: float) -> Check:
    """The case does not say how much of its source it stretched: the piece whose last frame fits."""
    ends = np.abs(values - want[-1]).reshape(len(values), -1).max(-1)
    length = int(ends.argmin()) + 1
    return compare(key, edit.sample(values[:length], edit.fit_times(length, len(want))), want, tolerance)


def _resample(path: Path) -> list[Check]:
    arrays = _load(path)
    tolerance = stated_tolerance(path, 1e-6)
    checks = []
    for key, want in arrays.items():
        moved, turned = _RESAMPLED.fullmatch(key), _TURNED.fullmatch(key)
        if moved:
            frames = int(moved[4])
            times = edit.resample_times(frames, float(moved[1]), float(moved[2]), moved[3])
            checks.append(compare(key, edit.sample(arrays["resample_src"][:frames], times), want, tolerance))
        elif turned:
            frames = int(turned[3])
            times = edit.resample_times(frames, float(turned[1]), float(turned[2]), "grid")
            quats = rotation.matrix_to_quat_wxyz(arrays["slerp_src"][:frames].astype(np.float64))
            checks.append(compare(key, rotation.quat_wxyz_to_matrix(rotation.slerp(quats, times)), want, tolerance))
        elif key.startswith("fit_len_rot_"):
            quats = rotation.matrix_to_quat_wxyz(arrays["slerp_src"].astype(np.float64))
            turns = rotation.slerp(quats, edit.fit_times(len(quats), len(want)))
            checks.append(compare(key, rotation.quat_wxyz_to_matrix(turns), want, tolerance))
        elif key.startswith("fit_len_"):
            checks.append(_fitted(arrays["resample_src"], want, key, tolerance))
    return checks


# ---------------------------------------------------------------------------------------------- constants

_CONSTANTS = {
    "t2m_target_offsets": lambda: SMPL22.offsets,
    "t2m_raw_offsets": lambda: SMPL22.directions,
    "kit_raw_offsets": lambda: KIT21.directions,
    "smpl22_neutral_rest_offsets": lambda: SMPL22.rest,
    "canon272_offsets": lambda: CANON272_REST,
}


def _is_constants(path: Path) -> bool:
    return bool(npz_keys(path) & set(_CONSTANTS))


def _constants(path: Path) -> list[Check]:
    arrays = _load(path)
    checks = _present(arrays, _CONSTANTS, {}, stated_tolerance(path, 1e-7))
    if "parents" in arrays:
        checks.append(compare("parents", SMPL22.parents, arrays["parents"], 0))
    return checks


def _is_statistics(path: Path) -> bool:
    return npz_keys(path) >= {"train_std", "eval_std"}


def _statistics(path: Path) -> list[Check]:
    """Statistics keep their rules: one deviation per channel, and 25 times less for the evaluator's root and feet."""
    arrays = _load(path)
    checks = []
    for key, name in (("train_std", "hml263"), ("kit_eval_std", "kit251")):
        if key in arrays:
            spread = [float(np.ptp(arrays[key][channel.slice])) for channel in get_spec(name).channels]
            checks.append(compare(f"{key} within channels", spread, np.zeros(len(spread)), 1e-6))
    sizes = np.array([0.012867, 0.016923, 0.153020, 0.122555, 0.300386, 0.019541, 0.352373])
    blocks = [arrays["train_std"][channel.start] for channel in get_spec("hml263").channels]
    checks.append(compare("train_std", blocks, sizes, 1e-6))
    ratio = np.ones(263)
    ratio[[0, 1, 2, 3, 259, 260, 261, 262]] = 25
    checks.append(compare("train_std / eval_std", arrays["train_std"] / arrays["eval_std"], ratio, 1e-4))
    if "ms272_std" in arrays:
        edges, sizes = (0, 2, 8, 74, 140, 272), (0.010649, 0.006815, 0.114303, 0.009330, 0.139805)
        checks.append(compare("ms272_std", np.repeat(sizes, np.diff(edges)), arrays["ms272_std"], 1e-6))
    if "train_mean" in arrays and "eval_mean" in arrays:
        checks.append(compare("eval_mean", arrays["train_mean"], arrays["eval_mean"], 0))
    return checks


KINDS = (
    Kind("hml263/kit251 encode", _is_encode, _encode),
    Kind("hml263/kit251 decode", _is_decode, _decode),
    Kind("hml263 dataset clip", _is_dataset_clip, _dataset_clip),
    Kind("hml263 rotations", _is_rotations, _rotations),
    Kind("hml263 at 30 fps", _is_ik_target, _ik_target),
    Kind("hml263 from 30 fps", _is_from_272, _from_272),
    Kind("rotation formats", _is_rotation_formats, _rotation_formats),
    Kind("rotation gram-schmidt", _is_gram_schmidt, _gram_schmidt),
    Kind("resampling", _is_resample, _resample),
    Kind("skeleton constants", _is_constants, _constants),
    Kind("statistics", _is_statistics, _statistics),
)
