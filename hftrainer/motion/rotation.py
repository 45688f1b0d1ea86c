"""Every rotation format by its own name, in numpy, with any leading axes.

| format | shape | meaning |
|---|---|---|
| ``matrix`` | ``(..., 3, 3)`` | maps column vectors, ``v' = R v`` |
| ``rotvec`` | ``(..., 3)`` | axis times angle, radians |
| ``quat_wxyz`` | ``(..., 4)`` | unit quaternion, scalar first |
| ``euler`` | ``(..., 3)`` | radians; order ``"ZXY"`` means ``R = Rz Rx Ry`` (intrinsic) |
| ``rot6d_columns`` | ``(..., 6)`` | first column, then second: R00 R10 R20 R01 R11 R21 (hml263) |
| ``rot6d_interleaved`` | ``(..., 6)`` | ``R[:, :2]`` read row by row: R00 R01 R10 R11 R20 R21 (motion135) |
| ``rot6d_rows`` | ``(..., 6)`` | first row, then second: R00 R01 R02 R10 R11 R12 (motion272) |

The second and the third are both called "row" in the field. ``columns`` and ``interleaved`` are permutations of each
other; ``rows`` is ``columns`` of the transposed matrix. Six numbers become a rotation by Gram-Schmidt: Zhou et al.,
"On the Continuity of Rotation Representations in Neural Networks", CVPR 2019.

All functions compute in float64 unless the input is float32, and return the input's precision.
"""

from __future__ import annotations

from typing import Any

import numpy as np

ROT6D_LAYOUTS = ("columns", "interleaved", "rows")

_TINY = 1e-12


def _float(values: Any, tail: tuple[int, ...], what: str) -> np.ndarray:
    """``values`` as a float array whose last axes are ``tail``; integers become float64."""
    array = np.asarray(values)
    if array.dtype != np.float32:
        array = array.astype(np.float64)
    if array.shape[array.ndim - len(tail) :] != tail or array.ndim < len(tail):
        want = ", ".join(["...", *map(str, tail)])
        raise ValueError(f"{what} must have shape ({want}); got {array.shape}. Name the format the numbers are in.")
    return array


# ---------------------------------------------------------------------------------------------- quaternions


def quat_normalize(quats: Any) -> np.ndarray:
    """Quaternions scaled to length 1.

    Args:
        quats: ``(..., 4)`` scalar first.

    Raises:
        ValueError: a quaternion of length 0, which is no rotation.

    >>> quat_normalize([2.0, 0, 0, 0]).tolist()
    [1.0, 0.0, 0.0, 0.0]
    """
    quats = _float(quats, (4,), "quat_wxyz")
    norm = np.linalg.norm(quats, axis=-1, keepdims=True)
    if norm.size and norm.min() < _TINY:
        raise ValueError("quat_wxyz must not be zero; got a quaternion of length 0. Zeros are not a rotation.")
    return quats / norm


def quat_standardize(quats: Any) -> np.ndarray:
    """The same rotations with ``w >= 0``; a quaternion and its negative are one rotation.

    >>> quat_standardize([-1.0, 0, 0, 0]).tolist()
    [1.0, -0.0, -0.0, -0.0]
    """
    quats = _float(quats, (4,), "quat_wxyz")
    return np.where(quats[..., :1] < 0, -quats, quats)


def quat_multiply(a: Any, b: Any) -> np.ndarray:
    """The rotation ``a`` after ``b``.

    Args:
        a, b: ``(..., 4)`` scalar first; leading axes broadcast.

    >>> quat_multiply([1.0, 0, 0, 0], [0.0, 1, 0, 0]).tolist()
    [0.0, 1.0, 0.0, 0.0]
    """
    aw, ax, ay, az = np.moveaxis(_float(a, (4,), "quat_wxyz"), -1, 0)
    bw, bx, by, bz = np.moveaxis(_float(b, (4,), "quat_wxyz"), -1, 0)
    return np.stack(
        (
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ),
        axis=-1,
    )


def quat_invert(quats: Any) -> np.ndarray:
    """The rotations backwards: the conjugates of unit quaternions ``(..., 4)``.

    >>> quat_invert([0.0, 1, 0, 0]).tolist()
    [0.0, -1.0, -0.0, -0.0]
    """
    quats = _float(quats, (4,), "quat_wxyz")
    return np.concatenate((quats[..., :1], -quats[..., 1:]), axis=-1)


def quat_rotate(quats: Any, vectors: Any) -> np.ndarray:
    """``vectors`` turned by unit quaternions.

    Args:
        quats: ``(..., 4)``.
        vectors: ``(..., 3)``; leading axes broadcast against those of ``quats``.

    >>> quat_rotate([0.0, 0, 1, 0], [1.0, 2, 3]).tolist()
    [-1.0, 2.0, -3.0]
    """
    quats, vectors = _float(quats, (4,), "quat_wxyz"), _float(vectors, (3,), "vectors")
    axis = quats[..., 1:]
    twist = np.cross(axis, vectors)
    return vectors + 2 * (quats[..., :1] * twist + np.cross(axis, twist))


def quat_between(source: Any, target: Any) -> np.ndarray:
    """The shortest rotation that turns the direction ``source`` into the direction ``target``.

    Args:
        source, target: ``(..., 3)`` of any length above 0; leading axes broadcast.

    Returns:
        ``(..., 4)`` unit quaternions. Opposite directions have no shortest rotation; a half turn about an axis
        perpendicular to ``source`` is given.

    Raises:
        ValueError: a direction of length 0.

    Source:
        ``(|u||v| + u.v, u x v)``, normalised; HumanML3D's ``qbetween``.

    >>> quat_between([0, 0, 2.0], [0, 0, 1.0]).tolist()
    [1.0, 0.0, 0.0, 0.0]
    """
    source, target = np.broadcast_arrays(_float(source, (3,), "source"), _float(target, (3,), "target"))
    length = np.linalg.norm(source, axis=-1) * np.linalg.norm(target, axis=-1)
    if length.size and length.min() < _TINY**2:
        raise ValueError("a direction must have a length above 0; got a zero vector.")
    quats = np.concatenate(
        ((length + (source * target).sum(-1))[..., None], np.cross(source, target)), axis=-1
    ) / length[..., None]
    norm = np.linalg.norm(quats, axis=-1, keepdims=True)
    opposite = norm[..., 0] < 1e-7
    if opposite.any():
        smallest = np.eye(3, dtype=source.dtype)[np.abs(source[opposite]).argmin(axis=-1)]
        axis = np.cross(source[opposite], smallest)
        quats[opposite, 0] = 0
        quats[opposite, 1:] = axis
        norm[opposite] = np.linalg.norm(axis, axis=-1, keepdims=True)
    return quats / norm


def slerp(quats: Any, times: Any) -> np.ndarray:
    """Rotations between frames, at constant angular speed, the short way round.

    Args:
        quats: ``(T, ..., 4)`` unit quaternions, one per frame.
        times: ``(N,)`` positions in frames, each within ``[0, T - 1]``.

    Returns:
        ``(N, ..., 4)`` unit quaternions.

    Raises:
        ValueError: a time outside the frames.

    Source:
        Shoemake, "Animating Rotation with Quaternion Curves", SIGGRAPH 1985.

    >>> quats = rotvec_to_quat_wxyz([[0, 0, 0], [0, 1.0, 0]])
    >>> bool(np.allclose(quat_wxyz_to_rotvec(slerp(quats, [0.25])), [[0, 0.25, 0]]))
    True
    """
    quats = _float(quats, (4,), "quat_wxyz")
    times = np.asarray(times, dtype=np.float64)
    if times.size and not (times.min() >= 0 and times.max() <= len(quats) - 1):
        raise ValueError(f"times must be within 0 and {len(quats) - 1} frames; got {times.min():g} to {times.max():g}.")
    before = np.minimum(times.astype(np.int64), max(len(quats) - 2, 0))
    after = np.minimum(before + 1, len(quats) - 1)
    part = (times - before).reshape(-1, *[1] * (quats.ndim - 1))
    a, b = quats[before], quats[after]
    cosine = (a * b).sum(-1, keepdims=True)
    b = np.where(cosine < 0, -b, b)
    angle = np.arctan2(np.linalg.norm(b - a, axis=-1, keepdims=True), np.linalg.norm(b + a, axis=-1, keepdims=True)) * 2
    sine = np.sin(angle)
    near = sine < 1e-6
    safe = np.where(near, 1, sine)
    weight_a = np.where(near, 1 - part, np.sin((1 - part) * angle) / safe)
    weight_b = np.where(near, part, np.sin(part * angle) / safe)
    return quat_normalize(weight_a * a + weight_b * b).astype(quats.dtype)


# ---------------------------------------------------------------------------------------------- matrices


def quat_wxyz_to_matrix(quats: Any) -> np.ndarray:
    """Matrices ``(..., 3, 3)`` of quaternions ``(..., 4)``; they are normalised first.

    >>> quat_wxyz_to_matrix([1.0, 0, 0, 0]).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    w, x, y, z = np.moveaxis(quat_normalize(quats), -1, 0)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def matrix_to_quat_wxyz(matrices: Any) -> np.ndarray:
    """Unit quaternions ``(..., 4)`` with ``w >= 0`` of matrices ``(..., 3, 3)``.

    >>> matrix_to_quat_wxyz(np.eye(3)).tolist()
    [1.0, 0.0, 0.0, 0.0]
    """
    m = _float(matrices, (3, 3), "matrix")
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    wx, wy, wz = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    xy, xz, yz = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    # 4 q q^T; its row with the largest diagonal gives the quaternion without dividing by something small
    outer = np.stack(
        [
            np.stack(row, axis=-1)
            for row in (
                (1 + xx + yy + zz, wx, wy, wz),
                (wx, 1 + xx - yy - zz, xy, xz),
                (wy, xy, 1 - xx + yy - zz, yz),
                (wz, xz, yz, 1 - xx - yy + zz),
            )
        ],
        axis=-2,
    )
    best = np.diagonal(outer, axis1=-2, axis2=-1).argmax(axis=-1)
    quats = np.take_along_axis(outer, best[..., None, None], axis=-2)[..., 0, :]
    return quat_standardize(quat_normalize(quats))


def rotvec_to_quat_wxyz(rotvecs: Any) -> np.ndarray:
    """Unit quaternions ``(..., 4)`` of rotation vectors ``(..., 3)``, radians.

    >>> rotvec_to_quat_wxyz([0, 0, 0]).tolist()
    [1.0, 0.0, 0.0, 0.0]
    """
    rotvecs = _float(rotvecs, (3,), "rotvec")
    half = np.linalg.norm(rotvecs, axis=-1, keepdims=True) / 2
    return np.concatenate((np.cos(half), rotvecs * np.sinc(half / np.pi) / 2), axis=-1).astype(rotvecs.dtype)


def quat_wxyz_to_rotvec(quats: Any) -> np.ndarray:
    """Rotation vectors ``(..., 3)`` of at most half a turn, radians, of quaternions ``(..., 4)``.

    >>> bool(np.allclose(quat_wxyz_to_rotvec([0, 0, 1.0, 0]), [0, np.pi, 0]))
    True
    """
    quats = quat_standardize(quat_normalize(quats))
    sine = np.linalg.norm(quats[..., 1:], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, quats[..., :1])
    small = sine < 1e-7
    return quats[..., 1:] * np.where(small, 2, angle / np.where(small, 1, sine))


def rotvec_to_matrix(rotvecs: Any) -> np.ndarray:
    """Matrices ``(..., 3, 3)`` of rotation vectors ``(..., 3)``, radians.

    >>> bool(np.allclose(rotvec_to_matrix([0, np.pi / 2, 0]) @ [0, 0, 1], [1, 0, 0]))
    True
    """
    return quat_wxyz_to_matrix(rotvec_to_quat_wxyz(rotvecs))


def matrix_to_rotvec(matrices: Any) -> np.ndarray:
    """Rotation vectors ``(..., 3)`` of at most half a turn, radians, of matrices ``(..., 3, 3)``.

    >>> matrix_to_rotvec(np.eye(3)).tolist()
    [0.0, 0.0, 0.0]
    """
    return quat_wxyz_to_rotvec(matrix_to_quat_wxyz(matrices))


# ---------------------------------------------------------------------------------------------- Euler angles


def _axes(order: str) -> tuple[int, int, int]:
    if sorted(order) != ["X", "Y", "Z"]:
        raise ValueError(f"an Euler order must name X, Y and Z once each, in capitals; got {order!r}. Example: 'ZXY'.")
    i, j, k = ("XYZ".index(letter) for letter in order)
    return i, j, k


def euler_to_matrix(angles: Any, order: str) -> np.ndarray:
    """Matrices of intrinsic Euler angles: ``order="ZXY"`` gives ``R = Rz(a0) Rx(a1) Ry(a2)``.

    Args:
        angles: ``(..., 3)`` radians, in the order of the letters (the way a BVH file lists them).
        order: the six permutations of ``"XYZ"``.

    Returns:
        ``(..., 3, 3)``.

    >>> bool(np.allclose(euler_to_matrix([np.pi / 2, 0, 0], "ZXY") @ [1, 0, 0], [0, 1, 0]))
    True
    """
    angles = _float(angles, (3,), "euler")
    axes = np.eye(3, dtype=angles.dtype)[list(_axes(order))]
    turns = [rotvec_to_quat_wxyz(angles[..., n, None] * axes[n]) for n in range(3)]
    return quat_wxyz_to_matrix(quat_multiply(quat_multiply(turns[0], turns[1]), turns[2]))


def matrix_to_euler(matrices: Any, order: str) -> np.ndarray:
    """Intrinsic Euler angles of matrices; the middle one lies within a quarter turn of 0.

    Args:
        matrices: ``(..., 3, 3)``.
        order: as in ``euler_to_matrix``.

    Returns:
        ``(..., 3)`` radians. Where the middle angle is a quarter turn (gimbal lock) the last angle is 0.

    >>> angles = [0.3, -0.7, 1.1]
    >>> bool(np.allclose(matrix_to_euler(euler_to_matrix(angles, "ZXY"), "ZXY"), angles))
    True
    """
    m = _float(matrices, (3, 3), "matrix")
    i, j, k = _axes(order)
    sign = 1.0 if (j - i) % 3 == 1 else -1.0
    cosine = np.hypot(m[..., i, i], m[..., i, j])
    locked = cosine < (1e-6 if m.dtype == np.float64 else 1e-4)
    first = np.where(
        locked,
        np.arctan2(sign * m[..., k, j], m[..., j, j]),
        np.arctan2(-sign * m[..., j, k], m[..., k, k]),
    )
    middle = np.arctan2(sign * m[..., i, k], cosine)
    last = np.where(locked, 0, np.arctan2(-sign * m[..., i, j], m[..., i, i]))
    return np.stack((first, middle, last), axis=-1).astype(m.dtype)


# ---------------------------------------------------------------------------------------------- 6D


def _gram_schmidt(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Right-handed orthonormal vectors: ``a`` normalised, ``b`` made perpendicular to it, and their cross product."""
    third = np.cross(a, b)
    length, area = np.linalg.norm(a, axis=-1, keepdims=True), np.linalg.norm(third, axis=-1, keepdims=True)
    if area.size and not area.min() > _TINY:
        raise ValueError("a 6D rotation must have two independent vectors; got a zero or parallel pair.")
    first, third = a / length, third / area
    return first, np.cross(third, first), third


def matrix_to_rot6d_columns(matrices: Any) -> np.ndarray:
    """``(..., 6)``: the first column of ``(..., 3, 3)``, then the second.

    >>> matrix_to_rot6d_columns(np.arange(9).reshape(3, 3)).tolist()
    [0.0, 3.0, 6.0, 1.0, 4.0, 7.0]
    """
    m = _float(matrices, (3, 3), "matrix")
    return np.concatenate((m[..., :, 0], m[..., :, 1]), axis=-1)


def rot6d_columns_to_matrix(values: Any) -> np.ndarray:
    """Matrices ``(..., 3, 3)`` of ``rot6d_columns`` ``(..., 6)``, by Gram-Schmidt.

    >>> rot6d_columns_to_matrix([2.0, 0, 0, 1, 1, 0]).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    x = _float(values, (6,), "rot6d_columns")
    return np.stack(_gram_schmidt(x[..., :3], x[..., 3:]), axis=-1)


def matrix_to_rot6d_interleaved(matrices: Any) -> np.ndarray:
    """``(..., 6)``: ``R[:, :2]`` of ``(..., 3, 3)`` read row by row.

    >>> matrix_to_rot6d_interleaved(np.arange(9).reshape(3, 3)).tolist()
    [0.0, 1.0, 3.0, 4.0, 6.0, 7.0]
    """
    m = _float(matrices, (3, 3), "matrix")
    return m[..., :2].reshape(*m.shape[:-2], 6)


def rot6d_interleaved_to_matrix(values: Any) -> np.ndarray:
    """Matrices ``(..., 3, 3)`` of ``rot6d_interleaved`` ``(..., 6)``, by Gram-Schmidt.

    >>> rot6d_interleaved_to_matrix([1.0, 0, 0, 1, 0, 0]).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    x = _float(values, (6,), "rot6d_interleaved")
    return np.stack(_gram_schmidt(x[..., 0::2], x[..., 1::2]), axis=-1)


def matrix_to_rot6d_rows(matrices: Any) -> np.ndarray:
    """``(..., 6)``: the first row of ``(..., 3, 3)``, then the second.

    >>> matrix_to_rot6d_rows(np.arange(9).reshape(3, 3)).tolist()
    [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    """
    m = _float(matrices, (3, 3), "matrix")
    return m[..., :2, :].reshape(*m.shape[:-2], 6)


def rot6d_rows_to_matrix(values: Any) -> np.ndarray:
    """Matrices ``(..., 3, 3)`` of ``rot6d_rows`` ``(..., 6)``, by Gram-Schmidt on the rows.

    >>> rot6d_rows_to_matrix([1.0, 0, 0, 0, 1, 0]).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    x = _float(values, (6,), "rot6d_rows")
    return np.stack(_gram_schmidt(x[..., :3], x[..., 3:]), axis=-2)


_FROM_6D = {
    "columns": rot6d_columns_to_matrix, "interleaved": rot6d_interleaved_to_matrix, "rows": rot6d_rows_to_matrix,
}  # fmt: skip
_TO_6D = {
    "columns": matrix_to_rot6d_columns, "interleaved": matrix_to_rot6d_interleaved, "rows": matrix_to_rot6d_rows,
}  # fmt: skip


def convert_rot6d(values: Any, source: str, target: str) -> np.ndarray:
    """6D rotations in another layout, orthonormalised on the way unless the layouts are the same.

    Args:
        values: ``(..., 6)``.
        source, target: ``"columns"``, ``"interleaved"`` or ``"rows"``.

    Raises:
        ValueError: an unknown layout. ``"row"`` and ``"column"`` are refused because they mean two things.

    >>> np.round(convert_rot6d([0.6, 0.8, 0, -0.8, 0.6, 0], "columns", "interleaved"), 6).tolist()
    [0.6, -0.8, 0.8, 0.6, 0.0, 0.0]
    """
    for layout in (source, target):
        if layout not in ROT6D_LAYOUTS:
            raise ValueError(f"a 6D layout must be one of {', '.join(ROT6D_LAYOUTS)}; got {layout!r}.")
    if source == target:
        return _float(values, (6,), f"rot6d_{source}").copy()
    return _TO_6D[target](_FROM_6D[source](values))
