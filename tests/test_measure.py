"""Measures on a body placed by hand, whose travel, turning and heights are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hftrainer.motion.measure import (
    arm_extension,
    facing,
    floor_height,
    held_above,
    is_still,
    jumping_jacks,
    jumps,
    kicks,
    measure,
    punches,
    raised_arms,
    reversals,
    runs_of,
    smooth,
    yaw,
)
from hftrainer.motion.skeleton import SMPL22
from tests.stick_figure import FPS, body, folded, jump, kick, pulse, punch, ramp, striding, turned

LEFT, RIGHT = 0, 1


def test_left_is_plus_x_when_facing_plus_z():
    assert np.allclose(facing(body(1.0)), [0, 0, 1], atol=0.05)
    moved = body(2.0, left=0.5)
    assert moved[-1, 0, 0] - moved[0, 0, 0] == pytest.approx(1.0)
    assert measure(moved, FPS).sideways == pytest.approx(1.0, abs=0.05)


def test_turning_left_grows_yaw_and_ends_facing_plus_x():
    turned_left = body(3.0, yaw=ramp(3.0, 1.0, 2.0, 90.0))
    assert np.allclose(facing(turned_left)[-1], [1, 0, 0], atol=0.05)
    assert measure(turned_left, FPS).turn == pytest.approx(90, abs=2)
    assert measure(body(3.0, yaw=ramp(3.0, 1.0, 2.0, -90.0)), FPS).turn == pytest.approx(-90, abs=2)


def test_yaw_counts_on_past_a_full_circle():
    assert yaw(body(4.0, yaw=ramp(4.0, 0.5, 3.5, 720.0)))[-1] == pytest.approx(720, abs=2)


def test_unknown_facing_is_lent_by_the_nearest_frame():
    joints = body(1.0)
    joints[5:9] = joints[5:9] @ turned("z", np.full(4, 90.0)).transpose(0, 2, 1)  # on its side: no heading
    assert np.allclose(facing(joints), [0, 0, 1], atol=0.06)


@given(st.floats(-180, 180), st.floats(-3, 3), st.floats(-2, 2), st.floats(-1, 1))
def test_place_and_heading_change_no_measure(heading, aside, along, up):
    joints = striding(1.2)
    moved = joints @ turned("y", np.array([heading]))[0].T + [aside, up, along]
    here, there = measure(joints, FPS), measure(moved, FPS)
    for name in ("travel", "sideways", "path", "net", "turn", "airborne", "energy"):
        assert getattr(there, name) == pytest.approx(getattr(here, name), abs=1e-3), name
    assert np.allclose(here.toe, there.toe) and np.allclose(here.reach, there.reach)


def test_mirror_swaps_the_sides():
    joints = punch("left")
    mirrored = joints[:, list(SMPL22.mirror)] * [-1, 1, 1]
    here, there = measure(joints, FPS), measure(mirrored, FPS)
    assert np.allclose(here.reach, there.reach[:, ::-1]) and np.allclose(here.forward, there.forward)
    assert [side for *_, side in punches(here)] == [LEFT] and [side for *_, side in punches(there)] == [RIGHT]


@pytest.mark.parametrize("speed", [-1.0, 0.8, 3.0])
def test_travel_is_speed_times_time(speed):
    found = measure(striding(speed), FPS)
    assert found.travel == pytest.approx(3 * speed, rel=0.03)
    assert found.path == pytest.approx(3 * abs(speed), rel=0.03)
    assert found.net == pytest.approx(3 * abs(speed), rel=0.03)
    assert found.moving_speed == pytest.approx(abs(speed), rel=0.05)
    assert abs(found.sideways) < 0.1


def test_the_frame_rate_is_part_of_the_measure():
    joints = body(2.0, ahead=1.0, fps=30)
    assert measure(joints, 30).moving_speed == pytest.approx(1.0, rel=0.03)
    assert measure(joints, 15).moving_speed == pytest.approx(0.5, rel=0.03)


def test_standing_height_is_one_and_folds_with_the_knees():
    assert measure(body(1.0), FPS).height.mean() == pytest.approx(1.0, abs=0.03)
    down = measure(body(1.0, bend=folded(np.ones(21))), FPS)
    assert down.height.max() < 0.65
    assert down.knee.mean() == pytest.approx(130, abs=12)


def test_trunk_direction():
    assert measure(body(1.0), FPS).upright.min() > 0.98
    assert abs(measure(body(1.0, bend={"root": ("x", -90)}), FPS).upright).max() < 0.15
    assert measure(body(1.0, bend={"root": ("x", 180)}), FPS).upright.max() < -0.9


def test_floor_is_under_the_feet_and_outliers_do_not_move_it():
    joints = body(5.0) + [0, 0.7, 0]
    assert floor_height(joints) == pytest.approx(0.7, abs=1e-6)
    joints[3, :, 1] -= 0.3
    assert floor_height(joints) == pytest.approx(0.7, abs=0.02)


def test_a_jump_is_found_with_its_height_and_a_stride_is_not():
    found = measure(jump(3.0, 1.2, 0.3), FPS)
    (start, stop, top), = jumps(found)  # fmt: skip
    assert 1.0 < start / FPS < 1.5 and stop - start < 0.7 * FPS
    assert top == pytest.approx(0.3, abs=0.05) and found.airborne == pytest.approx(0.3, abs=0.07)
    assert jumps(measure(jump(3.0, 1.2, 0.06), FPS)) == []
    assert jumps(measure(striding(3.0, swing=45, rate=1.5), FPS)) == []


@pytest.mark.parametrize("side", ["left", "right"])
def test_sides_of_kicks_punches_and_arms(side):
    index = ("left", "right").index(side)
    assert [found[2] for found in kicks(measure(kick(side), FPS))] == [index]
    assert [found[2] for found in punches(measure(punch(side), FPS))] == [index]
    lifted = body(3.0, bend={f"{side}_shoulder": ("z", ramp(3.0, 0.5, 1.2, 140 if side == "left" else -140))})
    assert [found[2] for found in raised_arms(measure(lifted, FPS))] == [side]


def test_a_slow_leg_is_no_kick_and_a_slow_arm_no_punch():
    slow = body(6.0, bend={"left_hip": ("x", -pulse(6.0, 0.5, 5.5, 80))})
    assert measure(slow, FPS).toe[:, LEFT].max() > 0.5 and kicks(measure(slow, FPS)) == []
    assert punches(measure(body(6.0, bend={"left_shoulder": ("x", -pulse(6.0, 0.5, 5.5, 90))}), FPS)) == []


def test_both_arms():
    up = ramp(3.0, 0.5, 1.2, 140)
    both = body(3.0, bend={"left_shoulder": ("z", up), "right_shoulder": ("z", -up)})
    assert [found[2] for found in raised_arms(measure(both, FPS))] == ["both"]
    assert arm_extension(measure(both, FPS)).min() > 0.98


def test_jumping_jacks_need_the_feet_too():
    beat = sum(pulse(5.0, start, start + 0.8) for start in (0.5, 1.5, 2.5, 3.5))
    arms = {"left_shoulder": ("z", 140 * beat), "right_shoulder": ("z", -140 * beat)}
    legs = {"left_hip": ("z", 18 * beat), "right_hip": ("z", -18 * beat)}
    assert jumping_jacks(measure(body(5.0, bend=arms | legs), FPS)) is not None
    assert jumping_jacks(measure(body(5.0, bend=arms), FPS)) is None


def test_stillness_bears_the_noise_of_a_generator():
    noise = np.random.default_rng(0).normal(scale=0.003, size=(61, 22, 3))
    assert is_still(measure(body(3.0) + noise, FPS))
    assert not is_still(measure(kick("left"), FPS)) and not is_still(measure(striding(1.0), FPS))


def test_a_span_keeps_floor_and_body():
    whole = measure(jump(3.0, 1.2, 0.3), FPS)
    part = whole.span(20, 40)
    assert len(part) == 20 and part.stature == whole.stature
    assert np.array_equal(part.clearance, whole.clearance[20:40])


def test_tracks():
    assert runs_of(np.array([1, 0, 1, 1, 0, 0, 1]), frames=2) == [(2, 4)]
    assert held_above(np.array([1.0, 5.0, 4.0, 0.0]), 2) == 4.0
    assert reversals(np.sin(np.linspace(0, 6 * np.pi, 100)), 0.5) == 6
    line = np.linspace(0, 1, 30)
    assert np.allclose(smooth(line, FPS, 0.5), line)


@pytest.mark.parametrize("shape", [(20, 21, 3), (20, 66), (1, 22, 3)])
def test_wrong_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="must have"):
        measure(np.zeros(shape), FPS)


def test_wrong_rate_is_refused():
    with pytest.raises(ValueError, match="fps must be above 0"):
        measure(body(1.0), 0)
