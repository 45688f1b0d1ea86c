"""How far a motion is from the one it should be: reconstruction in millimetres, prediction in metres.

Joints are ``(T, J, 3)`` arrays in metres. The reference implementation works on batches padded with frames that do not
count and lets them count; that stands here by name (``padded_…``) for comparison with its numbers. All else takes every
clip as long as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np


def mpjpe(got: np.ndarray, want: np.ndarray, align_root: bool = True) -> np.ndarray:
    """Mean distance of joints in each frame.

    Args:
        got, want: ``(T, J, 3)`` metres.
        align_root: first move both so that joint 0 is the origin.

    Returns:
        ``(T,)`` metres.

    >>> mpjpe(np.zeros((2, 3, 3)), np.ones((2, 3, 3))).tolist()
    [0.0, 0.0]
    """
    got, want = _joints(got, want)
    if align_root:
        got, want = got - got[:, :1], want - want[:, :1]
    return np.linalg.norm(got - want, axis=-1).mean(-1)


def pa_mpjpe(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    """Mean distance of joints in each frame after the best rotation, scale and shift of ``got`` (Procrustes).

    Args:
        got, want: ``(T, J, 3)`` metres.

    Returns:
        ``(T,)`` metres. A frame of ``got`` whose joints all coincide is only shifted.

    >>> body = np.random.default_rng(0).normal(size=(1, 22, 3))
    >>> bool(pa_mpjpe(2 * body + 1, body)[0] < 1e-12)
    True
    """
    got, want = _joints(got, want)
    got, centre = got - got.mean(1, keepdims=True), want.mean(1, keepdims=True)
    want = want - centre
    left, values, right = np.linalg.svd(np.swapaxes(got, 1, 2) @ want)
    flip = np.ones_like(values)
    flip[:, -1] = np.sign(np.linalg.det(left) * np.linalg.det(right))  # a rotation, not a mirror
    turn = (left * flip[:, None]) @ right
    spread = (got**2).sum((1, 2))
    scale = np.divide((values * flip).sum(1), spread, out=np.zeros_like(spread), where=spread > 0)
    return np.linalg.norm(scale[:, None, None] * (got @ turn) - want, axis=-1).mean(-1)


def acceleration_error(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    """Mean distance of the joints' second differences.

    Args:
        got, want: ``(T, J, 3)`` metres, T at least 3.

    Returns:
        ``(T - 2,)`` metres per frame squared.

    Raises:
        ValueError: fewer than 3 frames.
    """
    got, want = _joints(got, want)
    if len(got) < 3:
        raise ValueError(f"ACCEL needs at least 3 frames; got {len(got)}.")
    return np.linalg.norm(np.diff(got, 2, axis=0) - np.diff(want, 2, axis=0), axis=-1).mean(-1)


def reconstruction(pairs: Iterable[tuple[np.ndarray, np.ndarray]], align_root: bool = True) -> dict[str, float]:
    """Means over the frames of all clips, in millimetres.

    Args:
        pairs: what came out and what should have, ``(T, J, 3)`` metres each.
        align_root: see ``mpjpe``.

    Returns:
        ``MPJPE``, ``PA-MPJPE`` in mm and ``ACCEL`` in mm per frame squared.

    Raises:
        ValueError: no clip, or one of fewer than 3 frames.
    """
    parts = [(mpjpe(g, w, align_root), pa_mpjpe(g, w), acceleration_error(g, w)) for g, w in pairs]
    if not parts:
        raise ValueError("reconstruction needs at least 1 clip; got none.")
    names = ("MPJPE", "PA-MPJPE", "ACCEL")
    return {n: 1000 * float(np.concatenate([p[i] for p in parts]).mean()) for i, n in enumerate(names)}


def padded_reconstruction(
    got: np.ndarray, want: np.ndarray, lengths: Sequence[int], align_root: bool = True
) -> dict[str, float]:
    """``reconstruction`` as the reference computes it: sums over the padding too, divided by the true frames.

    Args:
        got, want: ``(N, T, J, 3)`` metres, padded.
        lengths: true frames of each.
        align_root: see ``mpjpe``.

    Returns:
        As ``reconstruction``.

    Raises:
        ValueError: no batch, or lengths that do not fit it.
    """
    _check_lengths(got, want, lengths)
    pairs = zip(got, want, strict=True)
    parts = [(mpjpe(g, w, align_root), pa_mpjpe(g, w), acceleration_error(g, w)) for g, w in pairs]
    frames = sum(lengths)
    counts = {"MPJPE": frames, "PA-MPJPE": frames, "ACCEL": frames - 2 * len(parts)}
    return {n: 1000 * float(sum(p[i].sum() for p in parts)) / c for i, (n, c) in enumerate(counts.items())}


def pose_distance(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    """Distance of whole poses in each frame: the length of all joints' differences as one vector of ``3 J`` numbers.

    Args:
        got, want: ``(T, J, 3)`` metres.

    Returns:
        ``(T,)`` metres.
    """
    got, want = _joints(got, want)
    return np.linalg.norm((got - want).reshape(len(got), -1), axis=-1)


def displacement(got: np.ndarray, want: np.ndarray, start: int, stop: int) -> tuple[float, float]:
    """Average and final displacement (ADE, FDE) over frames ``start`` to ``stop``.

    Args:
        got, want: ``(T, J, 3)`` metres, frame for frame.
        start, stop: half-open span of the frames that were hidden.

    Returns:
        Mean and last ``pose_distance`` in the span, metres.

    Raises:
        ValueError: the span is empty or beyond the clip.
    """
    if not 0 <= start < stop <= len(want):
        raise ValueError(f"the hidden frames must be a span within 0 to {len(want)}; got {start} to {stop}.")
    apart = pose_distance(got, want)[start:stop]
    return float(apart.mean()), float(apart[-1])


def hidden_span(frames: int, head: float, tail: float = 0.0) -> tuple[int, int]:
    """Frames that are hidden when shares of a clip are kept, half-open.

    Args:
        frames: of the clip.
        head, tail: share kept at the start and at the end, rounded to frames and at least one; a tail of 0 is none.

    Raises:
        ValueError: a share is none, or nothing would be hidden.

    >>> hidden_span(98, 0.2), hidden_span(98, 0.25, 0.25)
    ((20, 98), (24, 74))
    """
    if not (0 < head < 1 and 0 <= tail < 1):
        raise ValueError(f"a kept share must be above 0 and below 1; got {head:g} and {tail:g}.")
    start, stop = max(1, round(head * frames)), frames - (max(1, round(tail * frames)) if tail else 0)
    if start >= stop:
        raise ValueError(f"some of {frames} frames must be hidden; {head:g} and {tail:g} keep all. Keep less.")
    return start, stop


def padded_displacement(
    got: np.ndarray, want: np.ndarray, lengths: Sequence[int], task: str, keep: float = 0.2
) -> dict[str, float]:
    """ADE and FDE as the reference computes them: shares rounded down, prediction measured to the end of the padding.

    Args:
        got, want: ``(N, T, J, 3)`` metres, padded.
        lengths: true frames of each.
        task: ``"pred"`` or ``"inbetween"``.
        keep: share kept, at both ends for in-between; the reference has 0.2 and 0.25.

    Returns:
        ``ADE``, ``FDE`` in metres, and ``APD``, which the reference never fills and leaves 0.

    Raises:
        ValueError: no batch, lengths that do not fit it, nothing hidden, or another task.
    """
    if task not in ("pred", "inbetween"):
        raise ValueError(f"the task must be pred or inbetween; got {task!r}.")
    _check_lengths(got, want, lengths)
    rows = []
    for one, other, length in zip(got, want, lengths, strict=True):
        start = int(keep * length)
        rows.append(displacement(one, other, start, len(other) if task == "pred" else length - start))
    ade, fde = np.mean(rows, axis=0)
    return {"APD": 0.0, "ADE": float(ade), "FDE": float(fde)}


def repeated_pose(joints: np.ndarray, start: int, stop: int) -> np.ndarray:
    """The simplest prediction of the frames ``start`` to ``stop``: the pose before them stays. Same shape, metres.

    >>> repeated_pose(np.arange(4.0).reshape(4, 1, 1), 2, 4).ravel().tolist()
    [0.0, 1.0, 1.0, 1.0]
    """
    still = np.array(joints, np.float64)
    still[start:stop] = still[start - 1]
    return still


def straight_line(joints: np.ndarray, start: int, stop: int) -> np.ndarray:
    """The simplest in-between: every joint goes straight from the last kept pose to the next. Same shape, metres.

    >>> straight_line(np.array([0.0, 9, 9, 3]).reshape(4, 1, 1), 1, 3).ravel().tolist()
    [0.0, 1.0, 2.0, 3.0]
    """
    line = np.array(joints, np.float64)
    share = np.linspace(0, 1, stop - start + 2)[1:-1, None, None]
    line[start:stop] = (1 - share) * line[start - 1] + share * line[stop]
    return line


def _joints(got: np.ndarray, want: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    if got.shape != want.shape or got.ndim != 3 or got.shape[-1] != 3 or not len(got):
        raise ValueError(f"joints must be two arrays (T, J, 3) of one shape; got {got.shape} and {want.shape}.")
    return got, want


def _check_lengths(got: np.ndarray, want: np.ndarray, lengths: Sequence[int]) -> None:
    if got.shape != want.shape or got.ndim != 4 or not len(got):
        raise ValueError(f"batches must be two arrays (N, T, J, 3) of one shape; got {got.shape} and {want.shape}.")
    if len(lengths) != len(got) or not all(3 <= n <= got.shape[1] for n in lengths):
        raise ValueError(f"lengths must be {len(got)} numbers of 3 to {got.shape[1]} frames; got {list(lengths)}.")
