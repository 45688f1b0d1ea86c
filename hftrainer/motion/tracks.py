"""Tracks that stay near given numbers while their differences stay small: sparse least squares over time.

A track ``x`` of ``T`` numbers is the minimum of ``sum w (x - target)^2 + sum_k sum v_k (k-th difference of x)^2``. Its
normal equations have a narrow band, so that many tracks of any length are solved at once in linear time.

Source: Whittaker, "On a new method of graduation", Proc. Edinburgh Math. Soc. 1923; weights per frame are ours.
"""

from __future__ import annotations

from math import comb, pi, sin

import numpy as np
from scipy.linalg import solveh_banded
from scipy.ndimage import uniform_filter1d

_BANDS = 3


def settle(
    targets: np.ndarray, weights: np.ndarray, penalties: tuple[tuple[int, np.ndarray], ...]
) -> np.ndarray:
    """The tracks that are nearest to their targets and change little.

    Args:
        targets: ``(S, T, C)`` tracks; the channels of one share its weights.
        weights: ``(S, T)`` how much each frame counts, at least 0; some frame of every track must be above 0.
        penalties: ``(order, v)`` with order 1 to 3 and ``v`` ``(S, T - order)``, at least 0: how much each difference
            of that order counts, per frames.

    Returns:
        ``(S, T, C)`` float64.

    Raises:
        ValueError: shapes that do not fit, or an order that is not 1, 2 or 3.

    >>> peak, even = np.array([[[0.0], [6.0], [0.0]]]), np.ones((1, 3))
    >>> settle(peak, even, ((2, np.full((1, 1), 1e9)),)).round(3).ravel().tolist()
    [2.0, 2.0, 2.0]
    """
    tracks, frames, channels = targets.shape
    band = np.zeros((_BANDS + 1, tracks, frames))
    band[0] = weights
    for order, extra in penalties:
        if not 1 <= order <= _BANDS or extra.shape != (tracks, max(frames - order, 0)):
            raise ValueError(
                f"a penalty of order 1 to {_BANDS} must have weights ({tracks}, T - order) for T = {frames}; "
                f"got order {order} and {extra.shape}."
            )
        signs = [(-1) ** (order - k) * comb(order, k) for k in range(order + 1)]
        for later in range(order + 1):
            for earlier in range(later + 1):
                place = slice(earlier, earlier + frames - order)
                band[later - earlier, :, place] += extra * (signs[later] * signs[earlier])
    right = (targets * weights[..., None]).reshape(-1, channels)
    return np.asarray(solveh_banded(band.reshape(_BANDS + 1, -1), right, lower=True)).reshape(targets.shape)


def half_power(order: int, hertz: float, fps: float) -> float:
    """The penalty on differences of an order that halves what swings at a frequency and keeps what is slower.

    >>> round(half_power(3, 5.0, 20.0), 6)
    0.125
    """
    return (2 * sin(pi * min(hertz / fps, 0.5))) ** (-2 * order)


def jerk(joints: np.ndarray, fps: float, seconds: float = 0.65) -> np.ndarray:
    """How jerky each joint is around each moment.

    Args:
        joints: ``(T, J, 3)`` metres, at least 4 frames.
        fps: frames per second.
        seconds: over which the root of the mean square is taken; a step's single jolt counts little, trembling much.

    Returns:
        ``(T - 3, J)`` third differences, metres per second cubed.

    >>> steady = np.arange(9.0)[:, None, None] * np.ones((1, 2, 3))
    >>> bool(np.allclose(jerk(steady, 20), 0))
    True
    """
    square = (np.diff(joints, 3, axis=0) ** 2).sum(axis=-1) * fps**6
    return np.sqrt(uniform_filter1d(square, max(1, round(seconds * fps)), axis=0, mode="nearest").clip(0))


def jerk_limited(
    joints: np.ndarray,
    fps: float,
    limits: np.ndarray,
    kept: np.ndarray,
    hertz: float = 3.0,
    rounds: int = 14,
    chatter: float | None = None,
) -> np.ndarray:
    """Positions whose jerk is drawn down to a limit where it is above, and that are left alone where it is not.

    Only the excess is penalised: a movement below the limits comes back as it was, whatever its frequencies, but for
    what swings faster than ``chatter``, if that is asked for.

    Args:
        joints: ``(T, J, 3)`` metres.
        fps: frames per second.
        limits: ``(J,)`` of ``jerk``, metres per second cubed.
        kept: ``(T, J)`` at least 0: how much more a frame of a joint is to stay where it is.
        hertz: what swings slower is kept even where all jerk is excess.
        rounds: of reweighting.
        chatter: what swings faster, in Hz, is taken out everywhere (half of it at this frequency).

    Returns:
        ``(T, J, 3)`` float64.

    >>> still = np.zeros((9, 1, 3))
    >>> bool((jerk_limited(still, 20, np.ones(1), np.zeros((9, 1))) == still).all())
    True
    """
    joints = np.asarray(joints, dtype=np.float64)
    if len(joints) < 4:
        return joints.copy()
    tracks, weights = np.moveaxis(joints, 0, 1), 1 + np.asarray(kept, dtype=np.float64).T
    strength = half_power(3, hertz, fps)
    always = 0.0 if chatter is None else half_power(3, chatter, fps)
    excess = np.zeros((tracks.shape[0], len(joints) - 3))
    smooth = tracks
    for _ in range(rounds):
        size = jerk(np.moveaxis(smooth, 0, 1), fps).T / limits[:, None]
        # a penalty that balances the excess at the limit is found step by step: up while above, down while below
        excess = np.clip(excess + 0.1 * np.clip(size - 1, -1, 1), 0.0, 1.0)
        if not (excess.any() or always):
            return joints.copy()
        smooth = settle(tracks, weights, ((3, always + strength * excess),))
    return np.moveaxis(smooth, 1, 0)
