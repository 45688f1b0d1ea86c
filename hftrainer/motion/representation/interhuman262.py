"""``interhuman262``: one of two people, in world positions at 30 fps.

One frame is ``[position 66 | velocity 66 | rotations 126 | contacts 4]``; rotations are those of joints 1 to 21
relative to their parents, in ``rot6d_interleaved``; the root's own rotation is not in it. T frames give T - 1 rows. The
first person is put on the floor at the origin, facing +Z by the hips alone. The second keeps its place relative to the
first, except that each is put on the floor by its own lowest joint. A foot stands when its *squared* step is below
0.001 and it is lower than 12 cm (ankle) or 5 cm (toe).

Source: Liang et al., "InterGen", IJCV 2024, ``process_motion_np``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hftrainer.motion.axes import Z_UP_TO_Y_UP
from hftrainer.motion.representation.ik import joints_to_rotations
from hftrainer.motion.representation.motion135 import (
    JOINTS,
    checked,
    checked_body,
    motion135_to_joints,
    motion135_to_rotations,
    pelvis_place,
    rotations_to_motion135,
)
from hftrainer.motion.rotation import (
    matrix_to_rot6d_interleaved,
    quat_between,
    quat_rotate,
    rot6d_interleaved_to_matrix,
)
from hftrainer.motion.skeleton import SMPL22

WIDTH = 262
_POSITION, _ROTATIONS = slice(0, 66), slice(132, 258)
_STILL = 0.001  # metres squared per frame
_LOW = np.array([0.12, 0.05, 0.12, 0.05])  # metres: left ankle, left toe, right ankle, right toe


def interhuman_place(joints: Any, *, name: str = "motion") -> tuple[np.ndarray, np.ndarray]:
    """How a clip must be turned and where its first frame stands: what the numbers of ``interhuman262`` leave out.

    Args:
        joints: ``(T, 22, 3)`` metres, +Y up.
        name: what error messages call the clip.

    Returns:
        ``(4,)`` quat_wxyz that turns the first frame's hips to face +Z, and ``(3,)`` the first pelvis on the ground.

    Raises:
        ValueError: another shape, a value that is not finite, or hips that give no direction on the ground.

    >>> body = motion135_to_joints(np.tile([2, 1, 3, *[1, 0, 0, 1, 0, 0] * 22], (3, 1)))
    >>> bool(np.allclose(interhuman_place(body)[1], body[0, 0] * [1, 0, 1]))
    True
    """
    joints = checked_body(joints, (JOINTS, 3), "joints", name)
    forward = np.cross([0.0, 1.0, 0.0], joints[0, 2] - joints[0, 1])
    if np.linalg.norm(forward) < 1e-9:
        raise ValueError(f"{name}: the body must face somewhere; the hips of frame 0 give no direction on the ground.")
    return quat_between(forward, [0.0, 0.0, 1.0]), joints[0, 0] * [1.0, 0.0, 1.0]


def joints_to_interhuman262(
    joints: Any, local: Any, place: tuple[Any, Any] | None = None, *, name: str = "motion"
) -> np.ndarray:
    """interhuman262 of one person.

    Args:
        joints: ``(T, 22, 3)`` metres, +Y up, 30 fps; T at least 2.
        local: ``(T, 21, 3, 3)`` rotations of joints 1 to 21 relative to their parents.
        place: turn and origin to be taken out, as ``interhuman_place`` gives them; by default this clip's own. Pass the
            first person's to encode the second.
        name: what error messages call the clip.

    Returns:
        ``(T - 1, 262)`` float64.

    Raises:
        ValueError: shapes that do not fit, a single frame, or values that are not finite.

    >>> body = motion135_to_joints(np.tile([2, 1, 3, *[1, 0, 0, 1, 0, 0] * 22], (3, 1)))
    >>> joints_to_interhuman262(body, np.tile(np.eye(3), (3, 21, 1, 1)))[0, 258:].tolist()
    [1.0, 1.0, 1.0, 1.0]
    """
    joints = checked_body(joints, (JOINTS, 3), "joints", name)
    local = checked_body(local, (JOINTS - 1, 3, 3), "rotations", name)
    if len(joints) != len(local) or len(joints) < 2:
        raise ValueError(
            f"{name}: joints and rotations must have equally many frames, at least 2; got {len(joints)} and "
            f"{len(local)}."
        )
    turn, origin = interhuman_place(joints, name=name) if place is None else place
    placed = quat_rotate(turn, joints - np.asarray(origin) - [0.0, joints[..., 1].min(), 0.0])
    rows = len(joints) - 1
    step = np.diff(placed, axis=0)
    feet = list(SMPL22.feet)
    stands = ((step[:, feet] ** 2).sum(-1) < _STILL) & (placed[:-1, feet, 1] < _LOW)
    sixes = matrix_to_rot6d_interleaved(local[:-1])
    return np.concatenate(
        (placed[:-1].reshape(rows, -1), step.reshape(rows, -1), sixes.reshape(rows, -1), stands), axis=-1
    )


def pair_to_interhuman262(joints: Any, local: Any, *, name: str = "motion") -> np.ndarray:
    """interhuman262 of two people as InterHuman's files have them.

    Args:
        joints: ``(T, 2, 22, 3)`` metres, **+Z up**.
        local: ``(T, 2, 21, 3, 3)`` rotations of joints 1 to 21 relative to their parents.
        name: what error messages call the clip.

    Returns:
        ``(T - 1, 2, 262)`` float64, both in the first person's place.

    Raises:
        ValueError: as ``joints_to_interhuman262``.

    >>> body = motion135_to_joints(np.tile([2, 1, 3, *[1, 0, 0, 1, 0, 0] * 22], (3, 1))) @ Z_UP_TO_Y_UP
    >>> pair_to_interhuman262(np.stack((body, body), axis=1), np.tile(np.eye(3), (3, 2, 21, 1, 1))).shape
    (2, 2, 262)
    """
    joints = checked_body(joints, (2, JOINTS, 3), "joints", name) @ Z_UP_TO_Y_UP.T
    local = checked_body(local, (2, JOINTS - 1, 3, 3), "rotations", name)
    place = interhuman_place(joints[:, 0], name=name)
    return np.stack(
        [joints_to_interhuman262(joints[:, at], local[:, at], place, name=name) for at in (0, 1)], axis=1
    )


def interhuman262_to_joints(features: Any, *, name: str = "motion") -> np.ndarray:
    """Joint positions of interhuman262: the stored ones.

    Args:
        features: ``(T, 262)`` physical features of one person.
        name: what error messages call the clip.

    Returns:
        ``(T, 22, 3)`` float64 metres, +Y up.

    Raises:
        ValueError: another shape, or a value that is not finite.

    >>> interhuman262_to_joints(np.zeros((2, 262))).shape
    (2, 22, 3)
    """
    return checked(features, WIDTH, "interhuman262", name)[:, _POSITION].reshape(-1, JOINTS, 3)


def motion135_to_interhuman262(features: Any, rest: Any = None, *, name: str = "motion") -> np.ndarray:
    """interhuman262 of motion135 at 30 fps, of one person.

    Args:
        features: ``(T, 135)``; T at least 2.
        rest: ``(22, 3)`` rest offsets of the body; by default the neutral SMPL body's.
        name: what error messages call the clip.

    Returns:
        ``(T - 1, 262)`` float64.

    Raises:
        ValueError: as ``joints_to_interhuman262``.

    >>> motion135_to_interhuman262(np.tile([0, 1, 0, *[1, 0, 0, 1, 0, 0] * 22], (3, 1))).shape
    (2, 262)
    """
    local, _ = motion135_to_rotations(features, name=name)
    return joints_to_interhuman262(motion135_to_joints(features, rest, name=name), local[:, 1:], name=name)


def interhuman262_to_motion135(features: Any, *, name: str = "motion") -> np.ndarray:
    """motion135 of interhuman262: the stored body rotations, and a root rotation found from hips and spine.

    Args:
        features: ``(T, 262)`` physical features of one person.
        name: what error messages call the clip.

    Returns:
        ``(T, 135)`` float64, on the neutral SMPL body. The root's rotation is the one that brings its rest pose's hips
        and spine closest to the stored ones.

    Raises:
        ValueError: another shape, a value that is not finite, or stored rotations that are none (zeros).

    >>> still = motion135_to_interhuman262(np.tile([0, 1, 0, *[1, 0, 0, 1, 0, 0] * 22], (3, 1)))
    >>> bool(np.allclose(interhuman262_to_motion135(still)[0, 3:9], [1, 0, 0, 1, 0, 0], atol=0.03))
    True
    """
    array = checked(features, WIDTH, "interhuman262", name)
    joints = interhuman262_to_joints(array, name=name)
    local = np.empty((len(array), JOINTS, 3, 3))
    local[:, 0] = joints_to_rotations(joints, SMPL22.rest)[:, 0]
    local[:, 1:] = rot6d_interleaved_to_matrix(array[:, _ROTATIONS].reshape(-1, JOINTS - 1, 6))
    return rotations_to_motion135(local, joints[:, 0] - pelvis_place(), name=name)
