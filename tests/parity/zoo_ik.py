"""The road from hml263 to motion135: rotations from positions, in closed form and after some steps of refinement."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from hftrainer.motion.representation.hml263 import hml263_to_joints
from hftrainer.motion.representation.ik import joints_to_rotations
from hftrainer.motion.representation.refine import Fit, Refinement, fit_joints
from hftrainer.motion.rotation import rotvec_to_matrix
from hftrainer.motion.skeleton import SMPL22
from hftrainer.motion.timing import resample_times, sample
from tests.parity import Check, Kind, compare, npz_keys

_REFINED = re.compile(r"(motion135|mpjpe_mm|fitted_joints)_it(\d+)")
_BACKWARDS = re.compile(r"init_rotmat_parent_frame(?:_first(\d+))?")
_MILLIMETRES = 0.1


def _tolerance(steps: int) -> float:
    """As the data state it: every step of Adam adds to the rounding."""
    return 1e-4 if steps == 0 else 1e-3 if steps == 1 else 1e-2


def _matches(path: Path) -> bool:
    keys = npz_keys(path)
    return bool(keys & {"feats263", "target_joints"}) and any(_REFINED.fullmatch(key) for key in keys)


def _run(path: Path) -> list[Check]:
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files}
    if "target_joints" in arrays:
        joints = arrays["target_joints"].astype(np.float64)
    else:
        joints = hml263_to_joints(arrays["feats263"])
        joints = sample(joints, resample_times(len(joints), 20, 30, "grid"))
        joints = joints - [0.0, joints[..., 1].min(), 0.0]
    fits: dict[int, Fit] = {}

    def fit(steps: int) -> Fit:
        if steps not in fits:
            [fits[steps]] = fit_joints([joints], Refinement(steps=steps))
        return fits[steps]

    checks = []
    for key, want in arrays.items():
        refined, backwards = _REFINED.fullmatch(key), _BACKWARDS.fullmatch(key)
        if refined and refined[1] == "motion135":
            checks.append(compare(key, fit(int(refined[2])).motion135, want, _tolerance(int(refined[2]))))
        elif refined and refined[1] == "mpjpe_mm":
            checks.append(compare(key, fit(int(refined[2])).error_mm, want, _MILLIMETRES))
        elif refined:
            checks.append(compare(key, fit(int(refined[2])).joints, want, _tolerance(int(refined[2]))))
        elif backwards:
            some = joints[: int(backwards[1])] if backwards[1] else joints
            turns = joints_to_rotations(some, SMPL22.rest, twist="none", parent_weight=0.25)
            checks.append(compare(key, turns, want, _tolerance(0)))
    if "init_global_orient" in arrays and "init_body_pose" in arrays:  # rotation vectors have more than one name
        body = arrays["init_body_pose"].reshape(len(joints), -1, 3)
        turns = rotvec_to_matrix(np.concatenate((arrays["init_global_orient"][:, None], body), 1).astype(np.float64))
        checks.append(compare("first pose", rotvec_to_matrix(fit(0).pose)[:, : turns.shape[1]], turns, _tolerance(0)))
    if "init_transl" in arrays:
        checks.append(compare("init_transl", fit(0).translation, arrays["init_transl"], _tolerance(0)))
    return checks


KINDS = (Kind("joints to motion135 by IK", _matches, _run),)
