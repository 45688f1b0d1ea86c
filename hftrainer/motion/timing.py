"""Moments between frames: where the frames of another frame rate lie, and what a clip is there."""

from __future__ import annotations

from typing import Any

import numpy as np

METHODS = ("phase", "grid")


def resample_times(frames: int, source_fps: float, target_fps: float, method: str = "phase") -> np.ndarray:
    """Where the new frames lie, counted in old frames.

    Args:
        frames: number of old frames, at least 1.
        source_fps, target_fps: frames per second.
        method: ``"phase"`` keeps time: new frame i lies at ``i / target_fps`` seconds, the last at most at the end of
            the clip. ``"grid"`` keeps both ends: ``round(frames * target_fps / source_fps)`` frames spread evenly, so
            the true rate differs a little from ``target_fps``. Both round halves to even and give at least 2 frames.

    Returns:
        ``(N,)`` float64 within ``[0, frames - 1]``.

    Raises:
        ValueError: an unknown method, no frames, or a rate not above 0.

    Source:
        ``grid`` is the published road from hml263 to SMPL bodies (20 to 30 fps), ``phase`` the one from
        MotionStreamer-272 to hml263 (30 to 20 fps).

    >>> len(resample_times(21, 20, 30, "grid")), len(resample_times(21, 30, 20, "phase"))
    (32, 14)
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}; got {method!r}.")
    if frames < 1:
        raise ValueError(f"frames must be at least 1; got {frames}.")
    for what, fps in (("source_fps", source_fps), ("target_fps", target_fps)):
        if not (np.isfinite(fps) and fps > 0):
            raise ValueError(f"{what} must be a number above 0; got {fps}.")
    if frames == 1:
        return np.zeros(1)
    if method == "grid":
        return fit_times(frames, max(2, round(frames * target_fps / source_fps)))
    count = max(2, round((frames - 1) / source_fps * target_fps) + 1)
    return np.minimum(np.arange(count) / target_fps * source_fps, frames - 1)


def fit_times(frames: int, count: int) -> np.ndarray:
    """``count`` positions spread evenly over ``frames`` frames, both ends included.

    Args:
        frames: number of old frames.
        count: number of new ones.

    Returns:
        ``(count,)`` float64 within ``[0, frames - 1]``.

    Raises:
        ValueError: ``frames`` or ``count`` is below 1.

    >>> fit_times(3, 5).tolist()
    [0.0, 0.5, 1.0, 1.5, 2.0]
    """
    if frames < 1 or count < 1:
        raise ValueError(f"frames and count must be at least 1; got {frames} and {count}.")
    return np.linspace(0, frames - 1, count)


def sample(values: Any, times: Any) -> np.ndarray:
    """Values between frames, on the straight line between their neighbours. For rotations use ``rotation.slerp``.

    Args:
        values: ``(T, ...)`` positions.
        times: ``(N,)`` in frames, within ``[0, T - 1]``.

    Returns:
        ``(N, ...)`` float64.

    Raises:
        ValueError: a time outside the frames.

    >>> sample([[0.0], [2.0]], [0.25]).tolist()
    [[0.5]]
    """
    values = np.asarray(values, dtype=np.float64)
    times = np.asarray(times, dtype=np.float64)
    if times.size and not (times.min() >= 0 and times.max() <= len(values) - 1):
        last = len(values) - 1
        raise ValueError(f"times must be within 0 and {last} frames; got {times.min():g} to {times.max():g}.")
    before = np.minimum(times.astype(np.int64), max(len(values) - 2, 0))
    after = np.minimum(before + 1, len(values) - 1)
    part = (times - before).reshape(-1, *[1] * (values.ndim - 1))
    return values[before] * (1 - part) + values[after] * part
