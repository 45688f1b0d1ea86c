"""Vectors and rotations whose components come first: ``(3, ...)`` and ``(3, 3, ...)``.

A component is then one long lane of numbers, and arithmetic on lanes is quick without any loop over frames. All of it
is operators, so the same lines run on NumPy arrays and on torch tensors, whose gradients flow through; torch itself is
never imported here: whoever hands in a tensor has it.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

_TINY = 1e-12


def namespace(values: Any) -> Any:
    """The module whose functions take ``values``: torch for its tensors, NumPy for everything else.

    >>> namespace([1.0]) is np
    True
    """
    return sys.modules["torch"] if type(values).__module__.partition(".")[0] == "torch" else np


def constant(values: Any, like: Any) -> Any:
    """Numbers in the type of the lanes ``like``, with axes of length 1 added so that they meet its first axes.

    >>> constant([1.0, 2.0, 3.0], np.zeros((3, 5, 7))).shape
    (3, 1, 1)
    """
    array = np.asarray(values, dtype=np.float64)
    array = array.reshape(array.shape + (1,) * (like.ndim - array.ndim))
    xp = namespace(like)
    return array.astype(like.dtype) if xp is np else xp.tensor(array, dtype=like.dtype, device=like.device)


def dot(a: Any, b: Any) -> Any:
    """Inner products ``(...)`` of vectors ``(3, ...)``."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def cross(a: Any, b: Any) -> Any:
    """Cross products ``(3, ...)`` of vectors ``(3, ...)``.

    >>> cross(np.array([1.0, 0, 0]), np.array([0, 1.0, 0])).tolist()
    [0.0, 0.0, 1.0]
    """
    parts = [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
    return namespace(parts[0]).stack(parts)


def unit(vectors: Any, short: float = _TINY) -> tuple[Any, Any]:
    """Directions ``(3, ...)`` and lengths ``(...)`` of vectors ``(3, ...)``; 0 for those shorter than ``short``.

    >>> [part.tolist() for part in unit(np.array([0.0, 0, 2]))]
    [[0.0, 0.0, 1.0], 2.0]
    """
    xp = namespace(vectors)
    square = dot(vectors, vectors)
    seen = square > short * short
    length = xp.sqrt(xp.where(seen, square, 1.0))
    return vectors * xp.where(seen, 1.0 / length, 0.0), xp.where(seen, length, 0.0)


def turn(matrices: Any, vectors: Any) -> Any:
    """``R v`` ``(3, ...)`` of rotations ``(3, 3, ...)`` and vectors ``(3, ...)``."""
    return matrices[:, 0] * vectors[0] + matrices[:, 1] * vectors[1] + matrices[:, 2] * vectors[2]


def turn_back(matrices: Any, vectors: Any) -> Any:
    """``R^T v`` ``(3, ...)`` of rotations ``(3, 3, ...)`` and vectors ``(3, ...)``."""
    return matrices[0] * vectors[0] + matrices[1] * vectors[1] + matrices[2] * vectors[2]


def times(a: Any, b: Any) -> Any:
    """The rotations ``a`` after ``b``, ``(3, 3, ...)``."""
    return a[:, 0, None] * b[None, 0] + a[:, 1, None] * b[None, 1] + a[:, 2, None] * b[None, 2]


def swing(source: Any, target: Any) -> Any:
    """The shortest rotations ``(3, 3, ...)`` from unit vectors to unit vectors ``(3, ...)`` that are not opposite.

    ``R = c + [w]x + w w^T / (1 + c)`` with ``w = source x target`` and ``c`` their inner product.

    >>> swing(np.array([1.0, 0, 0]), np.array([0, 0, 1.0]))[:, 0].tolist()
    [0.0, 0.0, 1.0]
    """
    xp = namespace(target)
    w = cross(source, target)
    both = source + target
    k = 2 / dot(both, both)  # 1 / (1 + c), exact also where c is near -1
    c = dot(source, target)
    x, y, z = w[0], w[1], w[2]
    rows = (
        (c + k * x * x, k * x * y - z, k * x * z + y),
        (k * x * y + z, c + k * y * y, k * y * z - x),
        (k * x * z - y, k * y * z + x, c + k * z * z),
    )
    return xp.stack([xp.stack(row) for row in rows])


def area(a: Any, b: Any, c: Any) -> Any:
    """Signed area ``(...)`` of the spherical triangle of three unit vectors ``(3, ...)``, radians; 0 where undefined.

    It is the turn about itself that a direction picks up when it is carried ``a`` to ``b`` to ``c`` and back to ``a``
    the shortest ways.

    Source:
        Van Oosterom & Strackee, "The solid angle of a plane triangle", IEEE Trans. Biomed. Eng. 1983.

    >>> axes = np.eye(3)
    >>> round(float(area(axes[0], axes[1], axes[2])), 6)
    1.570796
    """
    xp = namespace(b)
    sine, cosine = dot(a, cross(b, c)), 1 + dot(a, b) + dot(b, c) + dot(c, a)
    known = sine * sine + cosine * cosine > _TINY
    return 2 * xp.arctan2(xp.where(known, sine, 0.0), xp.where(known, cosine, 1.0))


def slowed(angles: Any, most: float) -> Any:
    """Angles ``(..., T)`` that change by at most so much from one to the next; those that do so already stay.

    Args:
        angles: radians; full turns do not count, so each is taken to be next to the one before.
        most: radians, above 0. A jump becomes a ramp that is half done where the jump was.

    Returns:
        ``(..., T)`` radians, which run on through full turns.

    Source:
        The middle between the least function of that slope above the angles and the greatest below them (McShane,
        "Extension of range of functions", Bull. Amer. Math. Soc. 1934).

    >>> slowed(np.array([0.0, 0.0, 2.0, 2.0]), 1.0).tolist()
    [0.0, 0.5, 1.5, 2.0]
    """
    xp = namespace(angles)
    change = angles[..., 1:] - angles[..., :-1]
    change = change - 2 * np.pi * xp.round(change / (2 * np.pi))
    run = xp.concatenate((angles[..., :1], angles[..., :1] + xp.cumsum(change, -1)), -1)
    time = constant(most * np.arange(run.shape[-1]), run.reshape(-1, run.shape[-1])[0])

    def above(values: Any) -> Any:
        later = xp.flip(_highest(xp.flip(values - time, (-1,))), (-1,)) + time
        return xp.maximum(_highest(values + time) - time, later)

    return (above(run) - above(-run)) / 2


def _highest(values: Any) -> Any:
    """The highest up to each, along the last axis."""
    if namespace(values) is np:
        return np.maximum.accumulate(values, axis=-1)
    return values.cummax(-1).values


# ---------------------------------------------------------------------------------------------- the best rotation


def best_rotation(outer: Any) -> Any:
    """The rotations that turn one set of directions closest to another (Wahba's problem).

    Args:
        outer: ``(3, 3, ...)`` sums of weight times target (first axis) times source (second axis).

    Returns:
        ``(3, 3, ...)`` rotations ``R`` with the largest ``trace(R^T outer)``; none where ``outer`` says nothing. Where
        several are equally good (all directions lie on one line) any one of them.

    Source:
        Davenport's matrix, as in Horn, "Closed-form solution of absolute orientation using unit quaternions", JOSA A
        1987; its largest eigenvalue by Newton's method from above: Shuster & Oh, "Three-axis attitude determination
        from vector observations", 1981. Where that leaves doubt (directions near one line) the best turn about that
        line is taken; Newton steps on the rotation itself then make it exact, and the last carries the gradient.

    >>> turned = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    >>> bool(np.allclose(best_rotation(turned), turned))
    True
    """
    xp = namespace(outer)
    square = (outer * outer).sum(0).sum(0)
    told = square > _TINY**1.5
    outer = xp.where(told, outer, constant(np.eye(3), outer)) / xp.sqrt(xp.where(told, square, 1.0))
    fixed = outer if xp is np else outer.detach()
    best = _step(_quaternion_matrix(_davenport(fixed)), fixed, 0.01)
    best = _step(_turned_about_line(best, fixed), fixed)
    return _step(best, outer)


def _davenport(outer: Any) -> Any:
    """``(4, ...)`` quaternions, not of length 1: eigenvectors of the largest eigenvalue of Davenport's matrix."""
    xp = namespace(outer)
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = [[outer[j, i] for j in range(3)] for i in range(3)]
    k = [
        [xx + yy + zz, yz - zy, zx - xz, xy - yx],
        [yz - zy, xx - yy - zz, xy + yx, zx + xz],
        [zx - xz, xy + yx, yy - xx - zz, yz + zy],
        [xy - yx, zx + xz, yz + zy, zz - xx - yy],
    ]
    # the characteristic polynomial l^4 + square l^2 + linear l + absolute
    square = -2 * (outer * outer).sum(0).sum(0)
    linear = -8 * (xx * (yy * zz - yz * zy) - xy * (yx * zz - yz * zx) + xz * (yx * zy - yy * zx))
    absolute = sum(k[0][j] * _cofactor(k, 0, j) for j in range(4))
    largest = 0 * square + 3**0.5
    for _ in range(8):
        slope = (4 * largest * largest + 2 * square) * largest + linear
        value = ((largest * largest + square) * largest + linear) * largest + absolute
        largest = largest - value / xp.where(slope > 1e-9, slope, 1.0) * (slope > 1e-9)
    for i in range(4):
        k[i][i] = k[i][i] - largest
    # every row of the adjugate is the eigenvector times something; the row with the largest diagonal is safe
    adjugate = xp.stack([xp.stack([_cofactor(k, i, j) for j in range(4)]) for i in range(4)])
    diagonal = xp.stack([abs(adjugate[i, i]) for i in range(4)])
    top = diagonal[0]
    quaternion = adjugate[0]
    for i in range(1, 4):
        better = diagonal[i] > top
        top, quaternion = xp.where(better, diagonal[i], top), xp.where(better, adjugate[i], quaternion)
    return quaternion


def _cofactor(m: list[list[Any]], i: int, j: int) -> Any:
    (a, b, c), (d, e, f), (g, h, k) = [[m[r][s] for s in range(4) if s != j] for r in range(4) if r != i]
    return (-1) ** (i + j) * (a * (e * k - f * h) - b * (d * k - f * g) + c * (d * h - e * g))


def _quaternion_matrix(q: Any) -> Any:
    """Rotations ``(3, 3, ...)`` of scalar-first quaternions ``(4, ...)`` of any length; none for length 0."""
    xp = namespace(q)
    square = (q * q).sum(0)
    known = square > _TINY**4
    q = xp.where(known, q, constant([1.0, 0, 0, 0], q)) / xp.sqrt(xp.where(known, square, 1.0))
    w, x, y, z = q[0], q[1], q[2], q[3]
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return xp.stack([xp.stack(row) for row in rows])


def _turned_about_line(rotation: Any, outer: Any) -> Any:
    """The rotation after the turn about its sources' main direction that fits best: exact for that one angle."""
    xp = namespace(outer)
    size = (outer * outer).sum(1)  # (3, ...): of each row, one per target axis
    main = xp.where(size[0] >= xp.maximum(size[1], size[2]), outer[0], xp.where(size[1] >= size[2], outer[1], outer[2]))
    line = unit(main)[0]
    p = _matched(rotation, outer)
    along = dot(line, turn(p, line))
    cosine, sine = p[0, 0] + p[1, 1] + p[2, 2] - along, dot(line, _axial(p))
    size = xp.sqrt(cosine * cosine + sine * sine)
    firm = size > _TINY
    c = xp.where(firm, cosine / xp.where(firm, size, 1.0), 1.0)
    w = xp.sqrt(xp.clip((1 + c) / 2, 0.0, None))  # half the angle
    v = xp.where(sine < 0, -1.0, 1.0) * xp.sqrt(xp.clip((1 - c) / 2, 0.0, None))
    return times(rotation, _quaternion_matrix(xp.concatenate((w[None], v * line), 0)))


def _matched(rotation: Any, outer: Any) -> Any:
    """``R^T outer``, symmetric when ``R`` is best."""
    return namespace(outer).stack([turn_back(rotation, outer[:, j]) for j in range(3)], 1)


def _axial(p: Any) -> Any:
    """The part of matrices ``(3, 3, ...)`` that is not symmetric, as vectors ``(3, ...)``."""
    return namespace(p).stack([p[2, 1] - p[1, 2], p[0, 2] - p[2, 0], p[1, 0] - p[0, 1]])


def _step(rotation: Any, outer: Any, held: float = 0.0) -> Any:
    """One Newton step of ``trace(R^T outer)`` over turns of ``R``; ``held`` keeps it from turns that gain little."""
    xp = namespace(outer)
    p = _matched(rotation, outer)
    axial = _axial(p)
    trace = p[0, 0] + p[1, 1] + p[2, 2]
    rows = [[(trace + held if i == j else 0) - (p[i, j] + p[j, i]) / 2 for j in range(3)] for i in range(3)]
    a, b, c = (xp.stack(row) for row in rows)
    bc, ca, ab = cross(b, c), cross(c, a), cross(a, b)
    volume = dot(a, bc)
    firm = volume > (_TINY if str(volume.dtype).endswith("64") else 1e-6)  # else turns about some line cost nothing
    turned = (bc * axial[0] + ca * axial[1] + ab * axial[2]) / xp.where(firm, volume, 1.0) * firm
    half = turned / 2
    return times(rotation, _quaternion_matrix(xp.concatenate((0 * half[:1] + 1, half), 0)))
