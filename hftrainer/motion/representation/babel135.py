"""``babel135``: root height, its steps on the ground, and 22 rotations, in a world whose +Z points up, at 30 fps.

One frame is ``[height 1 | step 2 | rotations 132]``, in ``rot6d_rows``. It is as wide as ``motion135`` and means
something else. T frames give T rows; the first step is zero, and decoding starts above the origin. The whole clip is
turned about +Z by ``-(z + pi / 2)``, z being that component of the first root rotation *vector*: published data is made
so, though this is no heading, and two clips that differ by a turn alone end up turned differently.

Source: Barquero et al., "FlowMDM", CVPR 2024, whose BABEL features are TEMOS's.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hftrainer.motion.axes import Z_UP_TO_Y_UP
from hftrainer.motion.representation.motion135 import (
    JOINTS,
    checked,
    checked_body,
    motion135_to_rotations,
    pelvis_place,
    rotations_to_motion135,
)
from hftrainer.motion.rotation import matrix_to_rot6d_rows, matrix_to_rotvec, rot6d_rows_to_matrix, rotvec_to_matrix

WIDTH = 135


def rotations_to_babel135(local: Any, translation: Any, *, name: str = "motion") -> np.ndarray:
    """babel135 of a body's turns and place.

    Args:
        local: ``(T, 22, 3, 3)`` rotations relative to the parent, the root's in a world with **+Z up**.
        translation: ``(T, 3)`` metres in that world.
        name: what error messages call the clip.

    Returns:
        ``(T, 135)`` float64.

    Raises:
        ValueError: shapes that do not fit, or values that are not finite.

    >>> upright = np.tile(np.eye(3), (2, 22, 1, 1)); upright[:, 0] = Z_UP_TO_Y_UP.T
    >>> rotations_to_babel135(upright, np.tile([3, 4, 0.9], (2, 1)))[1, :3].tolist()
    [0.9, 0.0, 0.0]
    """
    local = checked_body(local, (JOINTS, 3, 3), "rotations", name).copy()
    translation = checked_body(translation, (3,), "translation", name)
    if len(local) != len(translation):
        raise ValueError(
            f"{name}: rotations and translation must have equally many frames; got {len(local)} and {len(translation)}."
        )
    turn = rotvec_to_matrix([0.0, 0.0, -(matrix_to_rotvec(local[0, 0])[2] + np.pi / 2)])
    local[:, 0] = turn @ local[:, 0]
    step = np.diff(translation, axis=0, prepend=translation[:1]) @ turn.T
    sixes = matrix_to_rot6d_rows(local).reshape(len(local), -1)
    return np.concatenate((translation[:, 2:], step[:, :2], sixes), axis=-1)


def babel135_to_rotations(features: Any, *, name: str = "motion") -> tuple[np.ndarray, np.ndarray]:
    """A body's turns and place from babel135.

    Args:
        features: ``(T, 135)`` physical features.
        name: what error messages call the clip.

    Returns:
        ``(T, 22, 3, 3)`` rotations relative to the parent and ``(T, 3)`` translation, both in a world with **+Z up**;
        the first frame is above the origin.

    Raises:
        ValueError: another shape, a value that is not finite, or six numbers that are no rotation.

    >>> still = np.tile([0.9, 0.1, 0, *[1, 0, 0, 0, 1, 0] * 22], (3, 1))
    >>> babel135_to_rotations(still)[1].round(6).tolist()
    [[0.0, 0.0, 0.9], [0.1, 0.0, 0.9], [0.2, 0.0, 0.9]]
    """
    array = checked(features, WIDTH, "babel135", name)
    walked = np.cumsum(array[:, 1:3], axis=0)
    translation = np.concatenate((walked - walked[:1], array[:, :1]), axis=-1)
    return rot6d_rows_to_matrix(array[:, 3:].reshape(-1, JOINTS, 6)), translation


def motion135_to_babel135(features: Any, pelvis_offset: Any = None, *, name: str = "motion") -> np.ndarray:
    """babel135 of motion135.

    Args:
        features: ``(T, 135)``, +Y up, 30 fps.
        pelvis_offset: ``(3,)`` metres, where the pelvis rests in the body's own axes. SMPL adds it unturned in either
            world, so the translation alone does not turn with the world; by default the neutral SMPL body's. Zeros turn
            the translation alone, as the released code does, which moves the body by 32 cm.
        name: what error messages call the clip.

    Returns:
        ``(T, 135)`` float64.

    Raises:
        ValueError: another shape, a value that is not finite, or six numbers that are no rotation.

    >>> motion135_to_babel135(np.tile([0, 1, 0, *[1, 0, 0, 1, 0, 0] * 22], (2, 1)), np.zeros(3))[0, :3].tolist()
    [1.0, 0.0, 0.0]
    """
    local, translation = motion135_to_rotations(features, name=name)
    local[:, 0] = Z_UP_TO_Y_UP.T @ local[:, 0]
    place = pelvis_place(pelvis_offset)
    return rotations_to_babel135(local, (translation + place) @ Z_UP_TO_Y_UP - place, name=name)


def babel135_to_motion135(features: Any, pelvis_offset: Any = None, *, name: str = "motion") -> np.ndarray:
    """motion135 of babel135.

    Args:
        features: ``(T, 135)`` physical features.
        pelvis_offset: as in ``motion135_to_babel135``.
        name: what error messages call the clip.

    Returns:
        ``(T, 135)`` float64, +Y up.

    Raises:
        ValueError: as ``babel135_to_rotations``.

    >>> still = np.tile([0.9, 0.1, 0, *[1, 0, 0, 0, 1, 0] * 22], (2, 1))
    >>> babel135_to_motion135(still, np.zeros(3))[1, :3].round(6).tolist()
    [0.1, 0.9, 0.0]
    """
    local, translation = babel135_to_rotations(features, name=name)
    local[:, 0] = Z_UP_TO_Y_UP @ local[:, 0]
    place = pelvis_place(pelvis_offset)
    return rotations_to_motion135(local, (translation + place) @ Z_UP_TO_Y_UP.T - place + 0.0, name=name)
