"""Rotations: every format there and back, the three 6D layouts kept apart, refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hftrainer.motion import rotation as r

NUMBERS = st.floats(-1, 1, allow_nan=False, width=32)
ROTVECS = st.tuples(*[st.floats(-3.1, 3.1, allow_nan=False)] * 3).map(np.array)
ORDERS = ("XYZ", "XZY", "YXZ", "YZX", "ZXY", "ZYX")
LAYOUTS = {
    "columns": (r.matrix_to_rot6d_columns, r.rot6d_columns_to_matrix),
    "interleaved": (r.matrix_to_rot6d_interleaved, r.rot6d_interleaved_to_matrix),
    "rows": (r.matrix_to_rot6d_rows, r.rot6d_rows_to_matrix),
}


def angle(a, b):
    """Radians between two rotation matrices."""
    return np.linalg.norm(a - b) / np.sqrt(2)


@given(ROTVECS)
def test_there_and_back(rotvec):
    matrix = r.rotvec_to_matrix(rotvec)
    assert np.allclose(matrix @ matrix.T, np.eye(3), atol=1e-12) and np.linalg.det(matrix) > 0
    assert angle(r.rotvec_to_matrix(r.matrix_to_rotvec(matrix)), matrix) < 1e-7
    assert angle(r.quat_wxyz_to_matrix(r.matrix_to_quat_wxyz(matrix)), matrix) < 1e-7
    assert angle(r.rotvec_to_matrix(r.quat_wxyz_to_rotvec(r.rotvec_to_quat_wxyz(rotvec))), matrix) < 1e-7
    for write, read in LAYOUTS.values():
        assert angle(read(write(matrix)), matrix) < 1e-7
    for order in ORDERS:
        assert angle(r.euler_to_matrix(r.matrix_to_euler(matrix, order), order), matrix) < 1e-6


@pytest.mark.parametrize("order", ORDERS)
def test_euler_is_intrinsic(order):
    angles = np.array([0.4, -0.9, 1.7])
    single = [r.rotvec_to_matrix(a * np.eye(3)["XYZ".index(axis)]) for a, axis in zip(angles, order, strict=True)]
    assert np.allclose(r.euler_to_matrix(angles, order), single[0] @ single[1] @ single[2])
    for turn in (np.pi / 2, -np.pi / 2):  # gimbal lock
        locked = r.euler_to_matrix([0.4, turn, -0.2], order)
        assert np.allclose(r.euler_to_matrix(r.matrix_to_euler(locked, order), order), locked, atol=1e-6)


@given(ROTVECS, ROTVECS)
def test_multiplying_quaternions_is_multiplying_matrices(a, b):
    qa, qb = r.rotvec_to_quat_wxyz(a), r.rotvec_to_quat_wxyz(b)
    product = r.rotvec_to_matrix(a) @ r.rotvec_to_matrix(b)
    assert np.allclose(r.quat_wxyz_to_matrix(r.quat_multiply(qa, qb)), product, atol=1e-9)
    assert np.allclose(r.quat_rotate(qa, b), r.rotvec_to_matrix(a) @ b, atol=1e-9)
    assert np.allclose(r.quat_multiply(qa, r.quat_invert(qa)), [1, 0, 0, 0], atol=1e-9)


@given(st.tuples(NUMBERS, NUMBERS, NUMBERS), st.tuples(NUMBERS, NUMBERS, NUMBERS))
def test_quat_between_takes_one_direction_to_the_other(u, v):
    u, v = np.array(u) + [2, 0, 0], np.array(v) - [0, 0, 2]
    for target in (v, u, -u):
        turned = r.quat_rotate(r.quat_between(u, target), u / np.linalg.norm(u))
        assert np.allclose(turned, target / np.linalg.norm(target), atol=1e-6)


def test_trap_6_three_6d_layouts():
    """Two of them are called "row" in the field; only two are permutations of each other."""
    matrix = r.rotvec_to_matrix([0.3, -1.2, 0.8])
    columns, interleaved, rows = (write(matrix) for write, _ in LAYOUTS.values())
    assert np.array_equal(columns, np.concatenate([matrix[:, 0], matrix[:, 1]]))
    assert np.array_equal(interleaved, matrix[:, :2].reshape(6)) and np.array_equal(rows, matrix[:2].reshape(6))
    assert np.array_equal(interleaved, columns[[0, 3, 1, 4, 2, 5]])
    assert np.array_equal(columns, interleaved[[0, 2, 4, 1, 3, 5]])
    assert np.array_equal(rows, r.matrix_to_rot6d_columns(matrix.T))
    read_wrongly = [
        angle(read(write(matrix)), matrix)
        for one, (write, _) in LAYOUTS.items()
        for other, (_, read) in LAYOUTS.items()
        if one != other
    ]
    assert len(read_wrongly) == 6 and min(read_wrongly) > 0.1
    for name in ("row", "column", "6d"):
        with pytest.raises(ValueError, match="must be one of columns, interleaved, rows"):
            r.convert_rot6d(columns, name, "rows")


@given(ROTVECS, st.sampled_from(sorted(LAYOUTS)), st.sampled_from(sorted(LAYOUTS)))
def test_layouts_convert(rotvec, source, target):
    matrix = r.rotvec_to_matrix(rotvec)
    there = r.convert_rot6d(LAYOUTS[source][0](matrix), source, target)
    assert np.allclose(there, LAYOUTS[target][0](matrix), atol=1e-9)
    assert np.allclose(r.convert_rot6d(there, target, source), LAYOUTS[source][0](matrix), atol=1e-9)


@given(ROTVECS, ROTVECS, st.floats(0, 1))
def test_slerp_turns_at_constant_speed_the_short_way(a, b, part):
    qa, qb = r.rotvec_to_quat_wxyz(a), r.rotvec_to_quat_wxyz(b)
    whole = r.quat_wxyz_to_rotvec(r.quat_multiply(r.quat_invert(qa), qb))
    if np.linalg.norm(whole) > 3.0:
        return  # half a turn has no short way
    want = r.rotvec_to_matrix(a) @ r.rotvec_to_matrix(part * whole)
    for sign in (1, -1):  # a quaternion and its negative are one rotation
        got = r.slerp(np.stack([qa, sign * qb]), [part])[0]
        assert angle(r.quat_wxyz_to_matrix(got), want) < 1e-6


def test_shapes_and_precision_are_kept():
    rotvecs = np.zeros((2, 3, 4, 3), dtype=np.float32)
    matrix = r.rotvec_to_matrix(rotvecs)
    assert matrix.shape == (2, 3, 4, 3, 3) and matrix.dtype == np.float32
    assert r.matrix_to_quat_wxyz(matrix).shape == (2, 3, 4, 4)
    assert r.matrix_to_rot6d_rows(matrix).shape == (2, 3, 4, 6)
    assert r.matrix_to_euler(matrix, "ZXY").dtype == np.float32
    assert r.slerp(r.matrix_to_quat_wxyz(matrix), [0.0, 0.5, 1.0]).shape == (3, 3, 4, 4)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: r.rotvec_to_matrix(np.zeros((5, 4))), r"rotvec must have shape \(\.\.\., 3\); got \(5, 4\)"),
        (lambda: r.quat_wxyz_to_matrix(np.zeros(4)), "length 0"),
        (lambda: r.rot6d_columns_to_matrix(np.zeros(6)), "two independent vectors"),
        (lambda: r.rot6d_rows_to_matrix([1, 0, 0, 2, 0, 0]), "two independent vectors"),
        (lambda: r.quat_between([0, 0, 0], [1, 0, 0]), "zero vector"),
        (lambda: r.euler_to_matrix([0, 0, 0], "zxy"), "in capitals; got 'zxy'"),
        (lambda: r.matrix_to_euler(np.eye(3), "ZXZ"), "once each"),
        (lambda: r.slerp(np.tile([1.0, 0, 0, 0], (3, 1)), [2.5]), "within 0 and 2 frames; got 2.5"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(ValueError, match=words):
        call()
