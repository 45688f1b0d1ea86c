"""The free body (``body.py``) in the build of an SMPL file: a shape space, a regressor, weights, and no licence.

What is written for SMPL's surface then also works for those who have no SMPL file. Its ten shape numbers are made by
rule: size, the lengths of single limbs, widths, and stoutness, which no joint shows.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from hftrainer.motion.body import Body, free_body
from hftrainer.motion.representation.ik import t_pose
from hftrainer.motion.skeleton import SMPL22
from hftrainer.motion.smpl import SmplBody

#: What one unit of each shape number does: joints whose bones (from the parent) grow, and by which share.
_SHAPES: tuple[tuple[tuple[str, ...], float], ...] = (
    ((), 0.03),  # everything
    (("knee", "ankle"), 0.03), (("elbow", "wrist"), 0.03), (("spine1", "spine2", "spine3"), 0.04), (("neck",), 0.05),
    (("hip",), 0.06), (("collar", "shoulder"), 0.05), (("knee",), 0.03), (("elbow",), 0.03),
)  # fmt: skip
_STOUT = 0.008  # m; how far the last shape number moves the surface outwards
_AROUND = 48  # vertices that a joint is read off


@lru_cache(maxsize=1)
def free_smpl_body() -> SmplBody:
    """The free body as an ``SmplBody`` with 22 joints and 10 shape numbers; it is made once in a process.

    Returns:
        The body in a T-pose, the pelvis at 0; surface and joints are those of ``free_body()``.

    >>> body = free_smpl_body()
    >>> body.name, body.shape.shape[-1], bool(np.allclose(body.rest()[20], [0.25, 0, 0], atol=0.02))
    ('free', 10, True)
    """
    bound = free_body()
    rest = t_pose(bound.joints[None])
    template, joints = _standing(bound, rest)
    ways = []
    for names, share in _SHAPES:
        grown = [share * (not names or joint.rpartition("_")[2] in names) for joint in SMPL22.joints]
        more, less = (_standing(bound, rest * (1 + sign * np.array(grown))[:, None])[0] for sign in (1, -1))
        ways.append((more - less) / 2)
    outwards = Body(template, bound.triangles, bound.weights, bound.colours, joints, bound.turns).normals()
    ways.append(_STOUT * outwards * (1 - bound.weights[:, [10, 11, 15, 20, 21]].sum(axis=1, keepdims=True)))
    regressor = np.stack([_read_off(template, joint) for joint in joints])
    return SmplBody(
        "free", template, np.stack(ways, axis=-1), np.zeros((len(template), 3, 9 * 21)), regressor, bound.weights,
        SMPL22.parents, bound.triangles,
    )  # fmt: skip


def _standing(bound: Body, rest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Surface ``(V, 3)`` and joints ``(22, 3)`` of the T-pose of a body with such bones."""
    joints = np.zeros((22, 3))
    for joint, parent in enumerate(SMPL22.parents[1:], 1):
        joints[joint] = joints[parent] + rest[joint]
    return bound.fitted(rest).skinned(np.tile(np.eye(3), (1, 22, 1, 1)), joints[None])[0], joints


def _read_off(template: np.ndarray, joint: np.ndarray) -> np.ndarray:
    """``(V,)`` weights that add up to 1 and give the joint as a mean of the vertices around it."""
    distance = np.linalg.norm(template - joint, axis=1)
    around = np.argsort(distance)[:_AROUND]
    rows = np.vstack([np.ones(_AROUND), (template[around] - joint).T])  # (4, n)
    weights = np.zeros(len(template))
    weights[around] = np.linalg.pinv(rows) @ [1.0, 0.0, 0.0, 0.0]
    return weights
