"""SMPL-shaped bodies made by a rule: turns and place of 24 joints to positions, by ``hftrainer.motion.smpl``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from hftrainer.motion.rotation import euler_to_matrix, matrix_to_rot6d_rows, rot6d_rows_to_matrix
from hftrainer.motion.smpl import SmplBody, body_from_arrays
from tests.parity import Check, Kind, compare, json_keys, tensor_keys

_TOLERANCE = 1e-4
#: Surface points that are joints in the 18-joint set: nose, left heel, right heel; and a row of the extra regressor.
_NOSE, _LEFT_HEEL, _RIGHT_HEEL, _CROWN = 332, 3387, 6787, 3
_EIGHTEEN = (0, 12, 17, 19, 21, 16, 18, 20, _NOSE, 2, 5, 8, 1, 4, 7, _LEFT_HEEL, _RIGHT_HEEL, _CROWN)


def synthetic_body(seed: int, points: int, parents: list[int]) -> tuple[SmplBody, np.ndarray]:
    """A body with seeded numbers in SMPL's shapes, and its extra regressor ``(9, V)``."""
    draw, joints = np.random.RandomState(seed), len(parents)

    def rows(values: np.ndarray) -> np.ndarray:
        return values / values.sum(axis=1, keepdims=True)

    arrays = {
        "v_template": draw.standard_normal((points, 3)) * 0.5,
        "shapedirs": draw.standard_normal((points, 3, 10)) * 0.01,
        "posedirs": draw.standard_normal((points, 3, 9 * (joints - 1))) * 0.001,
        "J_regressor": rows(np.abs(draw.standard_normal((joints, points)))),
        "weights": rows(np.abs(draw.standard_normal((points, joints))) ** 4),
        "kintree_table": np.array([parents, range(joints)]), "f": np.zeros((0, 3), int),
    }  # fmt: skip
    return body_from_arrays(arrays), rows(np.abs(draw.standard_normal((9, points))))


def _matches(path: Path) -> bool:
    names = tensor_keys(path.with_suffix(".safetensors")) if path.suffix == ".json" else frozenset()
    return "body_seed" in json_keys(path) and {"x"} <= names


def _run(path: Path) -> list[Check]:
    case, arrays = json.loads(path.read_text()), load_file(path.with_suffix(".safetensors"))
    body, extra = synthetic_body(int(case["body_seed"]), int(case["V"]), [int(p) for p in case["parents"]])
    checks = []
    if {"euler_XYZ_deg", "rotmat"} <= arrays.keys():
        turns = euler_to_matrix(np.radians(arrays["euler_XYZ_deg"].astype(np.float64)), "XYZ")
        checks.append(compare("rotmat", turns, arrays["rotmat"], 1e-5))
    if {"rotmat", "rot6d_back"} <= arrays.keys():
        checks.append(compare("rot6d_back", matrix_to_rot6d_rows(arrays["rotmat"]), arrays["rot6d_back"], 1e-6))

    x = np.moveaxis(arrays["x"].astype(np.float64), -1, 1)  # (B, T, 25, 6)
    turns, still = rot6d_rows_to_matrix(x[:, :, :-1]), np.zeros((x.shape[1], 3))
    place = np.stack([body.joints(some, still) for some in turns])  # (B, T, 24, 3)
    points = np.stack([body.vertices(some, still) for some in turns])  # (B, T, V, 3)
    way = (x[:, :, -1, :3] - x[:, :1, -1, :3])[:, :, None]
    rooted = place - place[:, :, :1]
    found = {"smpl_no_vertstrans": rooted, "smpl_vertstrans": rooted + way}
    if "mask" in arrays:  # the case that is moved has frames of which only the place counts
        found["smpl_vertstrans"] = rooted * arrays["mask"][..., None, None] + way
    if points.shape[2] > _RIGHT_HEEL:
        crown = np.einsum("v,btvc->btc", extra[_CROWN], points)
        some = [
            crown if at == 17 else points[:, :, number] if number >= 24 else place[:, :, number]
            for at, number in enumerate(_EIGHTEEN)
        ]
        found["a2m_vertstrans"] = np.stack(some, axis=2) - place[:, :, :1] + way
    for key, want in arrays.items():
        if key.startswith("vertices_first"):
            found[key] = points[:, :, : want.shape[1]] + way
    for key in found.keys() & arrays.keys():
        checks.append(compare(key, np.moveaxis(found[key], 1, -1), arrays[key], _TOLERANCE))
    return checks


KINDS = (Kind("smpl body", _matches, _run, parts=lambda path: [path.with_suffix(".safetensors")]),)
