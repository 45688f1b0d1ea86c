"""From joint positions back to rotations, in closed form."""

from __future__ import annotations

from typing import Any

import numpy as np

from hftrainer.motion.rotation import quat_between, quat_wxyz_to_matrix
from hftrainer.motion.skeleton import SMPL22

_SHORT = 1e-6  # metres; a shorter bone has no direction


def t_pose(joints: Any) -> np.ndarray:
    """Rest offsets of a T-pose with the bone lengths of a clip: arms out sideways, legs straight down.

    Args:
        joints: ``(T, 22, 3)`` metres, +Y up, SMPL-22 order.

    Returns:
        ``(22, 3)`` metres, offset of each joint from its parent, left at +X, facing +Z; the pelvis at 0. Lengths
        are the clip's medians; hips and lower spine, neck and collars stand to each other as in the clip's mean; the
        rest of trunk and feet points as in the neutral SMPL body.

    Raises:
        ValueError: another shape, or no frame.

    >>> from hftrainer.motion.skeleton import SMPL22
    >>> body = np.zeros((22, 3))
    >>> for joint, parent in enumerate(SMPL22.parents[1:], 1):
    ...     body[joint] = body[parent] + SMPL22.rest[joint]
    >>> t_pose(body[None])[20].round(2).tolist()
    [0.25, 0.0, 0.0]
    """
    joints = np.asarray(joints, dtype=np.float64)
    if joints.ndim != 3 or joints.shape[1:] != (22, 3) or len(joints) == 0:
        raise ValueError(f"joints must have shape (T, 22, 3) with T at least 1; got {joints.shape}.")
    directions = np.array(SMPL22.rest)
    for side, left in (("left", 1.0), ("right", -1.0)):
        for name in ("elbow", "wrist"):
            directions[SMPL22.joints.index(f"{side}_{name}")] = [left, 0.0, 0.0]
        for name in ("knee", "ankle"):
            directions[SMPL22.joints.index(f"{side}_{name}")] = [0.0, -1.0, 0.0]
    directions[0] = 1.0
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    rest = directions * np.median(SMPL22.bone_lengths(joints), axis=0)[:, None]
    for joint, below in enumerate(_children()):
        if len(below) > 1:
            bones = joints[:, below] - joints[:, [joint]]  # (T, n, 3)
            shape = rest[below]
            for _ in range(4):  # turn every frame onto the mean shape, take the mean of that again
                shape = np.einsum("tji,tnj->tni", _best_turn(shape, bones), bones).mean(axis=0)
            shape = shape @ _best_turn(rest[below], shape[None])[0]  # upright again
            length, wanted = (np.linalg.norm(v, axis=-1, keepdims=True) for v in (shape, rest[below]))
            known = length > _SHORT
            rest[below] = np.where(known, shape * wanted / np.where(known, length, 1.0), rest[below])
    return rest


def _children() -> list[list[int]]:
    """For each joint the joints that hang from it."""
    return [[j for j, parent in enumerate(SMPL22.parents) if parent == joint] for joint in range(len(SMPL22.parents))]


def _best_turn(rest: np.ndarray, bones: np.ndarray) -> np.ndarray:
    """``(T, 3, 3)`` rotations that turn ``(n, 3)`` offsets closest to ``(T, n, 3)`` bones (Kabsch)."""
    u, _, vt = np.linalg.svd(np.einsum("tni,nj->tij", bones, rest))
    flip = np.ones((len(u), 3))
    flip[:, 2] = np.sign(np.linalg.det(u @ vt))
    return (u * flip[:, None]) @ vt


def joints_to_rotations(joints: Any, rest: Any) -> np.ndarray:
    """How each joint of a clip turned against a rest pose.

    A joint with one child turns the shortest way that points its bone at the child. A joint with several (pelvis,
    chest) takes the rotation that fits all of them best in the least-squares sense (Kabsch). End joints do not turn.
    Turning about a bone cannot be seen in positions and stays at none.

    Args:
        joints: ``(T, 22, 3)`` metres, SMPL-22 order.
        rest: ``(22, 3)`` offsets of the rest pose from each joint's parent, for example ``t_pose(joints)``.

    Returns:
        ``(T, 22, 3, 3)`` rotations relative to the parent. With constant bone lengths, and children of pelvis and
        chest that stay in the same shape to each other, the rest pose turned so has the joints where they were.

    >>> from hftrainer.motion.skeleton import SMPL22
    >>> body = np.zeros((22, 3))
    >>> for joint, parent in enumerate(SMPL22.parents[1:], 1):
    ...     body[joint] = body[parent] + SMPL22.rest[joint]
    >>> bool(np.allclose(joints_to_rotations(body[None], SMPL22.rest), np.eye(3)))
    True
    """
    joints, rest = np.asarray(joints, dtype=np.float64), np.asarray(rest, dtype=np.float64)
    parents = SMPL22.parents
    world = np.empty((*joints.shape[:2], 3, 3))
    local = np.empty_like(world)
    for joint, below in enumerate(_children()):
        above = np.broadcast_to(np.eye(3), world[:, 0].shape) if joint == 0 else world[:, parents[joint]]
        bones = np.einsum("tji,tnj->tni", above, joints[:, below] - joints[:, [joint]])  # in the parent's axes
        if not below:
            local[:, joint] = np.eye(3)
        elif len(below) == 1:
            aim, bone = rest[below[0]], bones[:, 0]
            seen = np.linalg.norm(bone, axis=-1, keepdims=True) > _SHORT
            if np.linalg.norm(aim) < _SHORT:
                local[:, joint] = np.eye(3)
            else:
                local[:, joint] = quat_wxyz_to_matrix(quat_between(aim, np.where(seen, bone, aim)))
        else:
            local[:, joint] = _best_turn(rest[below], bones)
        world[:, joint] = above @ local[:, joint]
    return local
