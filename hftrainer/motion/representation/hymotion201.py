"""``hymotion201``: ``motion135`` and, behind it, the joints of that body with the pelvis at 0, at 30 fps.

Numbers 135 to 137 are the pelvis itself and always zero; HY-Motion's networks leave them out, which makes 198.

Source: Tencent Hunyuan, "HY-Motion 1.0" (2025).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hftrainer.motion.representation.motion135 import (
    JOINTS,
    checked,
    motion135_to_rotations,
    pelvis_place,
    pose_joints,
)

WIDTH = 201
_MOTION135, _POSITION = slice(0, 135), slice(135, 201)


def motion135_to_hymotion201(features: Any, rest: Any = None, *, name: str = "motion") -> np.ndarray:
    """hymotion201 of motion135.

    Args:
        features: ``(T, 135)``.
        rest: ``(22, 3)`` rest offsets of the body; by default the neutral SMPL body's.
        name: what error messages call the clip.

    Returns:
        ``(T, 201)`` float64.

    Raises:
        ValueError: another shape, a value that is not finite, or six numbers that are no rotation.

    >>> motion135_to_hymotion201(np.tile([0, 1, 0, *[1, 0, 0, 1, 0, 0] * 22], (2, 1)))[0, 135:138].tolist()
    [0.0, 0.0, 0.0]
    """
    local, _ = motion135_to_rotations(features, name=name)
    joints = pose_joints(local, np.zeros(3), rest)
    return np.concatenate((checked(features, 135, "motion135", name), joints.reshape(len(local), -1)), axis=-1)


def hymotion201_to_motion135(features: Any, *, name: str = "motion") -> np.ndarray:
    """motion135 of hymotion201: its first 135 numbers.

    Args:
        features: ``(T, 201)`` physical features.
        name: what error messages call the clip.

    Returns:
        ``(T, 135)`` float64.

    Raises:
        ValueError: another shape, or a value that is not finite.

    >>> hymotion201_to_motion135(np.zeros((2, 201))).shape
    (2, 135)
    """
    return checked(features, WIDTH, "hymotion201", name)[:, _MOTION135]


def hymotion201_to_joints(features: Any, pelvis_offset: Any = None, *, name: str = "motion") -> np.ndarray:
    """Joint positions of hymotion201: the stored ones, put where the body is.

    Args:
        features: ``(T, 201)`` physical features.
        pelvis_offset: ``(3,)`` metres, where the pelvis rests in the body's own axes; by default the neutral SMPL
            body's. Zeros put the pelvis at the translation, as the released code does, 22 cm too high.
        name: what error messages call the clip.

    Returns:
        ``(T, 22, 3)`` float64 metres, +Y up.

    Raises:
        ValueError: another shape, or a value that is not finite.

    >>> hymotion201_to_joints(np.ones((2, 201)), np.zeros(3))[0, 0].tolist()
    [2.0, 2.0, 2.0]
    """
    array = checked(features, WIDTH, "hymotion201", name)
    pelvis = array[:, :3] + pelvis_place(pelvis_offset)
    return array[:, _POSITION].reshape(-1, JOINTS, 3) + pelvis[:, None]


def hymotion201_to_198(features: Any, *, name: str = "motion") -> np.ndarray:
    """The 198 numbers that HY-Motion's networks see: all but the pelvis, which is always zero.

    >>> hymotion201_to_198(np.zeros((2, 201))).shape
    (2, 198)
    """
    return np.delete(checked(features, WIDTH, "hymotion201", name), np.s_[135:138], axis=1)


def hymotion198_to_201(features: Any, *, name: str = "motion") -> np.ndarray:
    """hymotion201 of the 198 numbers that HY-Motion's networks write.

    >>> hymotion198_to_201(np.ones((2, 198)))[0, 133:140].tolist()
    [1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0]
    """
    return np.insert(checked(features, WIDTH - 3, "the inner form of hymotion201", name), [135] * 3, 0.0, axis=1)
