"""Triangles to pixels with NumPy alone: a depth buffer, colours blended between corners, edges smoothed by samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_AT_ONCE = 1 << 16  # samples looked at together; what they need stays in a processor's cache
_EDGE = -1e-5  # how far outside a triangle a sample still counts, so that neighbours leave no gap


@dataclass(frozen=True, eq=False)
class Layer:
    """Part of a picture that covers what lies behind it.

    Attributes:
        left, top: pixel of its corner.
        colour: ``(h, w, 3)`` float32, 0 to 1, already weighed with how much of the pixel is covered.
        cover: ``(h, w)`` float32, 0 to 1.
    """

    left: int
    top: int
    colour: np.ndarray
    cover: np.ndarray

    def onto(self, picture: np.ndarray) -> None:
        """Lay it on ``(H, W, 3)`` uint8, in place."""
        rows, columns = (slice(a, a + n) for a, n in zip((self.top, self.left), self.cover.shape, strict=True))
        part, clear = picture[rows, columns], 1 - self.cover
        for channel in range(3):
            one = part[..., channel] * clear
            one += np.float32(255) * self.colour[..., channel]
            one += np.float32(0.5)
            part[..., channel] = one


def _corners(points: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, ...]:
    """The triangles that face us (clockwise on the picture, whose y points down), and their corners' x and y."""
    x, y = (np.ascontiguousarray(points[:, axis], dtype=np.float32).take(triangles) for axis in (0, 1))
    double = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    shown = np.flatnonzero(double < -1e-9)
    return shown, x.take(shown, axis=0), y.take(shown, axis=0), double[shown]


def rasterise(
    points: np.ndarray,
    depth: np.ndarray,
    triangles: np.ndarray,
    colours: np.ndarray,
    size: tuple[int, int],
    samples: int = 2,
) -> Layer | None:
    """Draw the front of a closed surface.

    Args:
        points: ``(V, 2)`` pixels, x right and y down; the middle of the first pixel is at 0.5.
        depth: ``(V,)`` metres in front of the camera, above 0.
        triangles: ``(F, 3)`` vertex numbers, counter-clockwise seen from outside; others than those are not drawn.
        colours: ``(V, 3)`` 0 to 1.
        size: width and height of the picture, pixels.
        samples: taken of each pixel along each side.

    Returns:
        The smallest ``Layer`` that holds all of the surface that is in the picture, or ``None`` where nothing is.

    >>> corner = np.array([[1.0, 7.0], [7.0, 7.0], [1.0, 1.0]])
    >>> layer = rasterise(corner, np.ones(3), np.array([[0, 1, 2]]), np.ones((3, 3)), (8, 8))
    >>> layer.colour.shape, float(layer.cover.max()), float(layer.cover.sum())
    ((6, 6, 3), 1.0, 19.5)
    """
    shown, x, y, double = _corners(points * np.float32(samples), triangles)
    wide, high = size[0] * samples, size[1] * samples
    left = np.clip(np.ceil(x.min(axis=1) - 0.5), 0, wide).astype(np.int64)
    right = np.clip(np.floor(x.max(axis=1) - 0.5), -1, wide - 1).astype(np.int64)
    top = np.clip(np.ceil(y.min(axis=1) - 0.5), 0, high).astype(np.int64)
    bottom = np.clip(np.floor(y.max(axis=1) - 0.5), -1, high - 1).astype(np.int64)
    some = np.flatnonzero((right >= left) & (bottom >= top))
    if not len(some):
        return None
    shown, x, y, double = shown[some], x[some], y[some], double[some]
    left, right, top, bottom = left[some], right[some], top[some], bottom[some]
    first = np.array([left.min(), top.min()]) // samples
    last = np.array([right.max(), bottom.max()]) // samples + 1
    columns, rows = ((last - first) * samples).tolist()
    first_x, first_y = (first * samples).tolist()

    # Shares of the first two corners at a sample (i, j) of a triangle's box: start + i * by_column + j * by_row.
    at_x, at_y = left + np.float32(0.5) - x[:, 2], top + np.float32(0.5) - y[:, 2]
    shares = []
    for one, two in ((1, 2), (2, 0)):
        by_column, by_row = (y[:, one] - y[:, two]) / double, (x[:, two] - x[:, one]) / double
        shares.append((by_column * at_x + by_row * at_y, by_column, by_row))
    drawn = triangles.take(shown, axis=0)
    near = (1.0 / np.asarray(depth, np.float32)).take(drawn)  # 1 / depth is linear on the picture
    base = (top - first_y) * columns + left - first_x
    side = np.maximum(right - left, bottom - top) + 1
    spans = (right - left, bottom - top) if right.max() == wide - 1 or bottom.max() == high - 1 else None
    found: list[tuple[np.ndarray, ...]] = []
    edge = 4
    while True:
        chosen = np.flatnonzero((side <= edge) & (side > edge // 2 * (edge > 4)))
        for start in range(0, len(chosen), max(1, _AT_ONCE // edge**2)):
            part = chosen[start : start + max(1, _AT_ONCE // edge**2)]
            found.append(_inside(part, edge, shares, spans))
        if edge >= side.max():
            break
        edge *= 2
    owner, column, row, a, b = (np.concatenate(each) for each in zip(*found, strict=True))
    if not len(owner):
        return None
    pixel = base.take(owner) + row * columns + column
    first_near, second_near, third_near = (np.ascontiguousarray(near[:, k]).take(owner) for k in range(3))
    depth_here = third_near + a * (first_near - third_near) + b * (second_near - third_near)
    # The nearest wins, of equals the last: the bits of a positive float sort as the number does.
    key = (depth_here.view(np.int32).astype(np.int64) << 32) | np.arange(len(owner))
    best = np.full(rows * columns, -1, np.int64)
    np.maximum.at(best, pixel, key)
    filled = np.flatnonzero(best >= 0)
    winner = best[filled] & 0xFFFFFFFF
    owner, a, b = owner.take(winner), a.take(winner), b.take(winner)
    corner = np.asarray(colours, np.float32).take(drawn, axis=0)  # (F', 3 corners, 3)
    total = np.empty((rows // samples, columns // samples, 4), np.float32)
    sample = np.zeros(rows * columns, np.float32)
    for channel in range(4):
        if channel < 3:
            third = np.ascontiguousarray(corner[:, 2, channel])
            to_one, to_two = corner[:, 0, channel] - third, corner[:, 1, channel] - third
            sample[filled] = third.take(owner) + a * to_one.take(owner) + b * to_two.take(owner)
        else:
            sample[filled] = 1.0
        block = sample.reshape(rows, columns)
        lines = sum((block[i::samples] for i in range(1, samples)), block[::samples])
        total[..., channel] = sum((lines[:, i::samples] for i in range(1, samples)), lines[:, ::samples])
    total /= samples**2
    return Layer(int(first[0]), int(first[1]), total[..., :3], total[..., 3])


def _inside(
    part: np.ndarray, edge: int, shares: Sequence[tuple[np.ndarray, ...]], spans: tuple[np.ndarray, np.ndarray] | None
) -> tuple[np.ndarray, ...]:
    """Samples inside triangles whose boxes are at most ``edge`` wide and high: whose, column, row, two shares."""
    steps = np.arange(edge, dtype=np.float32)
    grids = []
    for start, by_column, by_row in shares:
        across = (by_column[part, None] * steps)[:, None, :]
        down = (start[part, None] + by_row[part, None] * steps)[:, :, None]
        grids.append((across + down).astype(np.float32, copy=False))
    a, b = grids
    least = np.minimum(a, b)
    np.minimum(least, np.float32(1.0) - a - b, out=least)
    hits = np.flatnonzero(least >= _EDGE)
    bits = edge.bit_length() - 1
    owner, row, column = part.take(hits >> 2 * bits), hits >> bits & edge - 1, hits & edge - 1
    if spans is not None:  # the picture's edge cuts boxes short
        keep = (column <= spans[0].take(owner)) & (row <= spans[1].take(owner))
        hits, owner, column, row = hits[keep], owner[keep], column[keep], row[keep]
    return owner, column, row, a.ravel().take(hits), b.ravel().take(hits)
