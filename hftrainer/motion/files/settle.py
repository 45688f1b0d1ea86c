"""Joints as a file has them to joints as a Motion has them: metres, +Y up, with a note of what was taken for what."""

from __future__ import annotations

from typing import Any

import numpy as np

from hftrainer.motion.clip import Motion
from hftrainer.motion.files.mapping import Mapping
from hftrainer.motion.files.names import SKELETON_NAMES, UNITS, UPWARD, guess_unit, guess_up


def check_reading(unit: str | None, up: str | None) -> None:
    """Refuse a unit or an axis that does not exist; ``None`` leaves it to be told from the file.

    Raises:
        ValueError: an unknown one.

    >>> check_reading("yard", None)
    Traceback (most recent call last):
    ValueError: unit must be one of m, cm, mm, cmu; got 'yard'.
    """
    if unit is not None and unit not in UNITS:
        raise ValueError(f"unit must be one of {', '.join(UNITS)}; got {unit!r}.")
    if up is not None and up not in UPWARD:
        raise ValueError(f"up must be one of {', '.join(UPWARD)}; got {up!r}.")


def settled(
    joints: np.ndarray,
    fps: float,
    mapping: Mapping,
    file: str,
    unit: str | None = None,
    up: str | None = None,
    rest: np.ndarray | None = None,
) -> Motion:
    """The Motion of a recorded body.

    Args:
        joints: ``(T, 22, 3)`` in the file's unit and axes.
        fps: frames per second.
        mapping: which of the file's joints they are.
        file: what error messages call the source.
        unit: a key of ``UNITS``; by default the one in which the legs have a human length.
        up: a key of ``UPWARD``; by default the axis along which the body stands.
        rest: ``(22, 3)`` the joints with no rotation, where the file has a rest pose.

    Returns:
        A Motion of ``joints``; ``about`` holds ``file``, ``skeleton``, ``unit``, ``up`` and, unless the skeleton is a
        known one, ``mapping``.
    """
    unit = guess_unit(joints) if unit is None else unit
    up = guess_up(joints, rest) if up is None else up
    about: dict[str, Any] = {"file": file, "skeleton": mapping.skeleton, "unit": unit, "up": up}
    if mapping.skeleton not in SKELETON_NAMES:
        about["mapping"] = mapping.plain()
    return Motion(joints @ UPWARD[up].T * UNITS[unit], "joints", fps, about=about, name=file)
