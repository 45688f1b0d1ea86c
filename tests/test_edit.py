"""Edits: frame rates on both grids, pieces, mirror, floor, facing; what they refuse."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hftrainer.bench import moving_body
from hftrainer.errors import NoRouteError
from hftrainer.motion import Motion, edit
from hftrainer.motion.representation.convert import convert
from hftrainer.motion.representation.hml263 import first_heading, joints_to_hml263
from hftrainer.motion.representation.specs import Representation, get_spec
from hftrainer.motion.rotation import quat_rotate, rotvec_to_quat_wxyz
from hftrainer.motion.skeleton import KIT21, SMPL22

BODIES = st.builds(moving_body, st.integers(4, 60), st.integers(0, 10_000))


def clip(frames=40, seed=0, fps=20.0, name="walk"):
    return Motion(moving_body(frames, seed), "joints", fps=fps, name=name)


def features(frames=40, seed=0, name="walk"):
    return Motion(joints_to_hml263(moving_body(frames, seed)), "hml263", fps=20, name=name)


def kit_features(frames=12):
    return Motion(np.random.default_rng(0).normal(size=(frames, 251)), "kit251", fps=12.5, name="walk")


# ---------------------------------------------------------------------------------------------- time


def test_trap_8_halves_round_to_even_and_the_two_grids_differ():
    for frames, want in ((21, 32), (33, 50), (3, 4), (2, 3), (45, 68)):
        assert len(edit.resample_times(frames, 20, 30, "grid")) == want
    for frames, want in ((21, 14), (33, 22), (2, 2), (3, 2)):
        assert len(edit.resample_times(frames, 30, 20, "phase")) == want
    grid, phase = edit.resample_times(45, 20, 30, "grid"), edit.resample_times(45, 20, 30, "phase")
    assert len(grid) != len(phase)
    assert grid[-1] == 44 and np.allclose(np.diff(grid), 44 / 67), "both ends, not quite 30 fps"
    assert np.allclose(np.diff(phase[:-1]), 20 / 30), "exactly 30 fps"


@given(st.integers(2, 400), st.floats(5, 240), st.floats(5, 240), st.sampled_from(edit.METHODS))
def test_times_stay_within_the_clip(frames, source, target, method):
    times = edit.resample_times(frames, source, target, method)
    assert len(times) >= 2 and times[0] == 0 and times[-1] <= frames - 1 and (np.diff(times) > -1e-9).all()


@given(BODIES, st.sampled_from(edit.METHODS))
def test_same_rate_is_identity(joints, method):
    for motion in (Motion(joints, "joints", fps=20), Motion(joints_to_hml263(joints), "hml263", fps=20)):
        assert edit.resample(motion, 20, method) is motion


@given(BODIES)
def test_twice_the_rate_and_back_is_identity(joints):
    motion = Motion(joints, "joints", fps=20)
    back = edit.resample(edit.resample(motion, 40), 20)
    assert back.data.shape == motion.data.shape and np.abs(back.data - motion.data).max() < 1e-5


def test_straight_lines_stay_straight():
    line = np.zeros((61, 22, 3))
    line[..., 0] = np.arange(61)[:, None] / 30
    motion = edit.resample(Motion(line, "joints", fps=30), 20)
    assert motion.fps == 20 and len(motion) == 41 and np.allclose(np.diff(motion.data[:, 0, 0]), 1 / 20, atol=1e-6)


def test_features_are_resampled_through_joints_and_say_so():
    at_30 = Motion(features(60).data, "hml263", fps=30)
    out = edit.resample(at_30, 20)
    assert out.representation.name == "hml263" and out.fps == 20 and out.route == ("hml263", "joints")
    times = edit.resample_times(len(at_30), 30, 20)
    want = joints_to_hml263(edit.sample(convert(at_30, "joints").data, times))
    assert len(out) == len(times) - 1 and np.abs(out.data - want).max() < 1e-5


def test_one_frame_stays_one_frame():
    assert len(edit.resample(clip(1), 30)) == 1


def test_crop():
    motion = clip(60)
    piece = edit.crop(motion, 1.0, 2.5)
    assert np.array_equal(piece.data, motion.data[20:50]) and piece.fps == 20
    assert len(edit.crop(motion, 0, motion.seconds)) == 60
    assert len(edit.crop(features(60), 0.5, 1.0)) == 10
    for start, end in ((1, 1), (2, 1), (-0.5, 1), (0, 3.2), (float("nan"), 1)):
        with pytest.raises(ValueError, match="walk: a span must"):
            edit.crop(motion, start, end)


# ---------------------------------------------------------------------------------------------- space


@given(BODIES)
def test_mirror_twice_is_identity(joints):
    for motion in (Motion(joints, "joints", fps=20), Motion(joints_to_hml263(joints), "hml263", fps=20)):
        once = edit.mirror(motion)
        assert not np.array_equal(once.data, motion.data)
        assert np.array_equal(edit.mirror(once).data, motion.data)
    kit = kit_features()
    assert np.array_equal(edit.mirror(edit.mirror(kit)).data, kit.data)


def test_mirror_swaps_names_and_sides():
    motion = clip()
    seen = edit.mirror(motion)
    left, right = SMPL22.joints.index("left_wrist"), SMPL22.joints.index("right_wrist")
    assert np.array_equal(seen.data[:, left], motion.data[:, right] * [-1, 1, 1])
    assert np.array_equal(seen.data[:, 0], motion.data[:, 0] * [-1, 1, 1])


def test_mirrored_features_are_the_mirrored_joints():
    for motion in (features(50, 4), kit_features()):
        positions = "joints" if motion.representation.name == "hml263" else "joints_kit"
        got = convert(edit.mirror(motion), positions).data
        assert np.abs(got - edit.mirror(convert(motion, positions)).data).max() < 2e-5


def test_mirrored_features_nearly_equal_the_encoding_of_mirrored_joints():
    """Nearly: the reference body is not the same on both sides, and encoding puts the movement on it."""
    joints = convert(features(50, 4), "joints")
    mirrored_after = edit.mirror(convert(joints, "hml263")).data
    mirrored_before = convert(edit.mirror(joints), "hml263").data
    difference = np.abs(mirrored_after - mirrored_before)
    assert 1e-4 < difference[:, 1:67].max() < 0.03 and difference[:, 193:259].max() < 0.01
    assert (mirrored_after[:, 259:] != mirrored_before[:, 259:]).mean() < 0.05, "steps at the threshold"


@given(BODIES, st.floats(-2, 2))
def test_on_floor(joints, lift):
    motion = Motion(joints + [0, lift, 0], "joints", fps=20)
    floored = edit.on_floor(motion)
    assert abs(floored.data[..., 1].min()) < 1e-6
    assert np.allclose(np.diff(floored.data, axis=0), np.diff(motion.data, axis=0), atol=1e-6)
    lifted = Motion(joints_to_hml263(joints), "hml263", fps=20).data.copy()
    lifted[:, 3] += lift
    lifted[:, 5:67:3] += lift
    down = edit.on_floor(Motion(lifted, "hml263", fps=20))
    assert abs(convert(down, "joints").data[..., 1].min()) < 1e-5
    unchanged = [c for c in range(263) if c != 3 and not (4 <= c < 67 and c % 3 == 2)]
    assert np.array_equal(down.data[:, unchanged], lifted[:, unchanged].astype(np.float32))


@given(BODIES, st.floats(-3.1, 3.1))
def test_face_forward(joints, yaw):
    turned = quat_rotate(rotvec_to_quat_wxyz([0, yaw, 0]), joints + [2, 0, -3])
    motion = edit.face_forward(Motion(turned, "joints", fps=20))
    assert np.allclose(first_heading(motion.data), [1, 0, 0, 0], atol=1e-5)
    assert np.allclose(motion.data[0, 0], turned[0, 0], atol=1e-5)
    assert np.allclose(SMPL22.bone_lengths(motion.data), SMPL22.bone_lengths(turned), atol=1e-5)
    assert np.allclose(edit.face_forward(motion).data, motion.data, atol=1e-5)


def test_face_forward_of_features_is_the_motion_itself():
    motion = features()
    assert edit.face_forward(motion) is motion


def test_kit_joints_are_edited_like_others():
    rng = np.random.default_rng(0)
    motion = Motion(rng.normal(size=(9, 21, 3)) * 500, "joints_kit", fps=12.5)
    assert edit.on_floor(motion).data[..., 1].min() == 0
    assert np.allclose(first_heading(edit.face_forward(motion).data, skeleton=KIT21), [1, 0, 0, 0], atol=1e-5)
    assert edit.resample(motion, 25).fps == 25
    low = edit.on_floor(kit_features())
    assert abs(convert(low, "joints_kit").data[..., 1].min()) < 1e-5


# ---------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: edit.resample(clip(), 0), ValueError, "walk: fps must be above 0; got 0"),
        (lambda: edit.resample(clip(), float("nan")), ValueError, "walk: fps must be above 0; got nan"),
        (lambda: edit.resample(clip(), 30, "cubic"), ValueError, "walk: method must be one of phase, grid"),
        (lambda: edit.resample(features(), 30), ValueError, "walk: hml263 must have 20 fps; .* Convert it to joints"),
        (lambda: edit.resample(kit_features().replace(fps=25), 12.5), NoRouteError, "walk: there must be a road"),
        (lambda: edit.resample_times(0, 20, 30), ValueError, "frames must be at least 1; got 0"),
        (lambda: edit.resample_times(5, -20, 30), ValueError, "source_fps must be a number above 0; got -20"),
        (lambda: edit.fit_times(5, 0), ValueError, "at least 1; got 5 and 0"),
        (lambda: edit.sample(np.zeros((5, 3)), [4.5]), ValueError, "within 0 and 4 frames; got 4.5"),
        (lambda: edit.face_forward(clip().replace(data=np.zeros((4, 22, 3)))), ValueError, "walk: .* frame 0"),
    ],
)
def test_refusals(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_an_unknown_representation_is_not_guessed_from_its_width():
    foreign = Representation("foreign", (263,), 20, "smpl22", get_spec("hml263").channels)
    motion = Motion(np.zeros((5, 263)), foreign, fps=20, name="x")
    for change in (edit.mirror, edit.on_floor, edit.face_forward, lambda m: edit.resample(m, 30)):
        with pytest.raises(ValueError, match="x: editing must get one of .*; got foreign"):
            change(motion)


@given(BODIES)
def test_edits_leave_the_motion_they_were_given(joints):
    for motion in (Motion(joints, "joints", fps=20), Motion(joints_to_hml263(joints), "hml263", fps=20)):
        before = motion.data.copy()
        for change in (edit.mirror, edit.on_floor, edit.face_forward):
            change(motion)
        assert np.array_equal(motion.data, before)
