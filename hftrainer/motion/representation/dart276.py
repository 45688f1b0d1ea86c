"""``dart276``: body rotations, joints and root of a body and how they go on, in a world whose +Z points up, at 20 fps.

One frame is ``[rotations 126 | position 66 | velocity 66 | root_rotation 6 | root_turn 6 | translation 3 | step 3]``;
the 6D layout is ``rot6d_interleaved``. T frames give T - 1 rows: velocities, turn and step lead from a row to the next
frame. A root turn acts from the left, ``root[t + 1] = root_turn[t] @ root[t]``.

Clips begin in the body's own frame: x points from the left hip to the right one on the ground, +Z up, so the body faces
+Y; the pelvis of the first frame is the origin, or stands above it when the clip is put on the floor.

Source: Zhao et al., "DartControl", ICLR 2025, ``PrimitiveUtility``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hftrainer.motion.axes import FACING_Y_TO_FACING_Z
from hftrainer.motion.representation.motion135 import (
    JOINTS,
    checked,
    checked_body,
    motion135_to_joints,
    motion135_to_rotations,
    pelvis_place,
    rotations_to_motion135,
)
from hftrainer.motion.rotation import matrix_to_rot6d_interleaved, rot6d_interleaved_to_matrix
from hftrainer.motion.skeleton import SMPL22

WIDTH = 276
_BODY, _POSITION, _VELOCITY = slice(0, 126), slice(126, 192), slice(192, 258)
_ROOT, _TURN, _TRANSLATION, _STEP = slice(258, 264), slice(264, 270), slice(270, 273), slice(273, 276)
_SHORT = 1e-6  # metres; hips or shoulders nearer than this on the ground give no direction


def rotations_to_dart276(local: Any, translation: Any, joints: Any, *, name: str = "motion") -> np.ndarray:
    """dart276 of a body where it is; nothing is turned or moved.

    Args:
        local: ``(T, 22, 3, 3)`` rotations relative to the parent, the root's in a world with **+Z up**; T at least 2.
        translation: ``(T, 3)`` metres in that world.
        joints: ``(T, 22, 3)`` metres in that world.
        name: what error messages call the clip.

    Returns:
        ``(T - 1, 276)`` float64.

    Raises:
        ValueError: shapes that do not fit, a single frame, or values that are not finite.

    >>> rotations_to_dart276(np.tile(np.eye(3), (3, 22, 1, 1)), np.zeros((3, 3)), np.zeros((3, 22, 3))).shape
    (2, 276)
    """
    local = checked_body(local, (JOINTS, 3, 3), "rotations", name)
    translation = checked_body(translation, (3,), "translation", name)
    joints = checked_body(joints, (JOINTS, 3), "joints", name)
    if not len(local) == len(translation) == len(joints) or len(local) < 2:
        raise ValueError(
            f"{name}: rotations, translation and joints must have equally many frames, at least 2; got {len(local)}, "
            f"{len(translation)} and {len(joints)}."
        )
    rows = len(local) - 1
    turn = local[1:, 0] @ np.swapaxes(local[:-1, 0], -1, -2)
    blocks = (
        matrix_to_rot6d_interleaved(local[:-1, 1:]), joints[:-1], np.diff(joints, axis=0),
        matrix_to_rot6d_interleaved(local[:-1, 0]), matrix_to_rot6d_interleaved(turn),
        translation[:-1], np.diff(translation, axis=0),
    )  # fmt: skip
    return np.concatenate([block.reshape(rows, -1) for block in blocks], axis=-1)


def in_first_frame(
    local: Any, translation: Any, joints: Any, *, floor: bool = False, pelvis_offset: Any = None, name: str = "motion"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A clip in the axes of its first frame's body, as DART's clips begin.

    Args:
        local, translation, joints: as ``rotations_to_dart276`` takes them.
        floor: put the lowest joint of the clip at height 0; else the first pelvis.
        pelvis_offset: ``(3,)`` metres, pelvis minus translation, which stays the same when a body is turned; by default
            the neutral SMPL body's. Zeros turn the translation as if it were the pelvis.
        name: what error messages call the clip.

    Returns:
        Rotations, translation and joints, of the same shapes, float64.

    Raises:
        ValueError: shapes that do not fit, or neither hips nor shoulders of the first frame give a direction.

    >>> upright = np.tile(np.eye(3), (2, 22, 1, 1)); upright[:, 0] = FACING_Y_TO_FACING_Z
    >>> joints = motion135_to_joints(np.tile([2, 1, 3, *[1, 0, 0, 1, 0, 0] * 22], (2, 1))) @ FACING_Y_TO_FACING_Z
    >>> in_first_frame(upright, joints[:, 0], joints)[2][0, 0].tolist()
    [0.0, 0.0, 0.0]
    """
    local = checked_body(local, (JOINTS, 3, 3), "rotations", name)
    translation = checked_body(translation, (3,), "translation", name)
    joints = checked_body(joints, (JOINTS, 3), "joints", name)
    right_hip, left_hip, right_shoulder, left_shoulder = SMPL22.facing
    for right, left in ((right_hip, left_hip), (right_shoulder, left_shoulder)):
        across = (joints[0, right] - joints[0, left]) * [1.0, 1.0, 0.0]
        if np.linalg.norm(across) > _SHORT:
            break
    else:
        raise ValueError(
            f"{name}: the body must face somewhere; hips and shoulders of frame 0 give no direction on the ground."
        )
    across /= np.linalg.norm(across)
    turn = np.stack((across, np.cross([0.0, 0.0, 1.0], across), [0.0, 0.0, 1.0]))  # its rows: the new axes
    place = pelvis_place(pelvis_offset)
    origin = joints[0, 0]
    joints = (joints - origin) @ turn.T
    translation = (translation + place - origin) @ turn.T - place
    local = local.copy()
    local[:, 0] = turn @ local[:, 0]
    if floor:
        low = [0.0, 0.0, joints[..., 2].min()]
        joints, translation = joints - low, translation - low
    return local, translation, joints


def motion135_to_dart276(features: Any, rest: Any = None, *, floor: bool = False, name: str = "motion") -> np.ndarray:
    """dart276 of motion135 at 20 fps, in the first frame's axes.

    Args:
        features: ``(T, 135)``, +Y up; T at least 2.
        rest: ``(22, 3)`` rest offsets of the body; by default the neutral SMPL body's.
        floor: as in ``in_first_frame``.
        name: what error messages call the clip.

    Returns:
        ``(T - 1, 276)`` float64.

    Raises:
        ValueError: as ``rotations_to_dart276``, or a first frame that faces nowhere.

    >>> motion135_to_dart276(np.tile([0, 1, 0, *[1, 0, 0, 1, 0, 0] * 22], (3, 1)))[0, 258:264].round(1).tolist()[0]
    -1.0
    """
    local, _ = motion135_to_rotations(features, name=name)
    joints = motion135_to_joints(features, rest, name=name) @ FACING_Y_TO_FACING_Z
    local[:, 0] = FACING_Y_TO_FACING_Z.T @ local[:, 0]
    place = pelvis_place(None if rest is None else np.asarray(rest)[0])
    turned = in_first_frame(local, joints[:, 0] - place, joints, floor=floor, pelvis_offset=place, name=name)
    return rotations_to_dart276(*turned, name=name)


def dart276_to_path(features: Any, *, name: str = "motion") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Root and joints of dart276, with the frame that the last row's velocities lead to.

    Args:
        features: ``(T, 276)`` physical features.
        name: what error messages call the clip.

    Returns:
        Root rotations ``(T + 1, 3, 3)``, translation ``(T + 1, 3)`` and joints ``(T + 1, 22, 3)``, **+Z up**.

    Raises:
        ValueError: another shape, a value that is not finite, or six numbers that are no rotation.

    >>> clip = motion135_to_dart276(np.tile([0, 1, 0, *[1, 0, 0, 1, 0, 0] * 22], (3, 1)))
    >>> [part.shape for part in dart276_to_path(clip)]
    [(3, 3, 3), (3, 3), (3, 22, 3)]
    """
    array = checked(features, WIDTH, "dart276", name)
    root = rot6d_interleaved_to_matrix(array[:, _ROOT])
    last = rot6d_interleaved_to_matrix(array[-1:, _TURN]) @ root[-1:]
    translation = np.concatenate((array[:, _TRANSLATION], array[-1:, _TRANSLATION] + array[-1:, _STEP]))
    joints = np.concatenate((array[:, _POSITION], array[-1:, _POSITION] + array[-1:, _VELOCITY]))
    return np.concatenate((root, last)), translation, joints.reshape(-1, JOINTS, 3)


def dart276_to_joints(features: Any, *, name: str = "motion") -> np.ndarray:
    """Joint positions of dart276: the stored ones, in our world.

    Args:
        features: ``(T, 276)`` physical features.
        name: what error messages call the clip.

    Returns:
        ``(T, 22, 3)`` float64 metres, +Y up; a clip in its first frame's axes begins facing +Z.

    Raises:
        ValueError: another shape, or a value that is not finite.

    >>> dart276_to_joints(np.zeros((2, 276))).shape
    (2, 22, 3)
    """
    array = checked(features, WIDTH, "dart276", name)
    return array[:, _POSITION].reshape(-1, JOINTS, 3) @ FACING_Y_TO_FACING_Z.T


def dart276_to_motion135(features: Any, pelvis_offset: Any = None, *, name: str = "motion") -> np.ndarray:
    """motion135 of dart276: the stored rotations, the pelvis where the stored one is.

    Args:
        features: ``(T, 276)`` physical features.
        pelvis_offset: ``(3,)`` metres, where the pelvis rests in the body's own axes; by default the neutral SMPL
            body's.
        name: what error messages call the clip.

    Returns:
        ``(T, 135)`` float64, +Y up.

    Raises:
        ValueError: as ``dart276_to_path``.

    >>> clip = motion135_to_dart276(np.tile([0, 1, 0, *[1, 0, 0, 1, 0, 0] * 22], (3, 1)))
    >>> bool(np.allclose(dart276_to_motion135(clip)[0, 3:9], [1, 0, 0, 1, 0, 0], atol=0.03))
    True
    """
    array = checked(features, WIDTH, "dart276", name)
    local = np.empty((len(array), JOINTS, 3, 3))
    local[:, 0] = FACING_Y_TO_FACING_Z @ rot6d_interleaved_to_matrix(array[:, _ROOT])
    local[:, 1:] = rot6d_interleaved_to_matrix(array[:, _BODY].reshape(-1, JOINTS - 1, 6))
    pelvis = dart276_to_joints(array, name=name)[:, 0]
    return rotations_to_motion135(local, pelvis - pelvis_place(pelvis_offset), name=name)
