"""Motion, its specs and the roads: a width never decides what numbers mean."""

import subprocess
import sys

import numpy as np
import pytest

from hftrainer.bench import DECODE_BAR, ENCODE_BAR, motion_speed, moving_body
from hftrainer.errors import NoRouteError
from hftrainer.motion import Motion
from hftrainer.motion.representation.convert import ROADS, convert
from hftrainer.motion.representation.hml263 import hml263_to_joints, joints_to_hml263
from hftrainer.motion.representation.specs import Channel, Representation, get_spec, list_specs
from hftrainer.motion.skeleton import KIT21, SMPL22


def walk(frames=40):
    return Motion(moving_body(frames), "joints", fps=20, name="walk")


def test_there_and_back_with_its_route():
    there = convert(walk(), "hml263")
    assert there.representation.name == "hml263" and there.route == ("joints",) and len(there) == 39
    back = convert(there, "joints")
    assert back.route == ("joints", "hml263") and back.fps == 20 and back.name == "walk"
    assert np.array_equal(there.data, joints_to_hml263(walk().data))
    assert np.array_equal(back.data, hml263_to_joints(there.data))
    assert convert(there, "hml263") is there


def test_every_road_leads_somewhere_known():
    assert len(ROADS) >= 3 and len({(road.source, road.target) for road in ROADS}) == len(ROADS)
    for road in ROADS:
        assert {road.source, road.target} <= set(list_specs())


def test_width_never_decides_meaning():
    numbers = np.zeros((9, 263))
    foreign = Representation("foreign263", (263,), 20, "smpl22", (Channel("all", 0, 263, "m", "world"),))
    with pytest.raises(NoRouteError, match="x: there must be a road from foreign263 to joints; .* nothing"):
        convert(Motion(numbers, foreign, fps=20, name="x"), "joints")
    with pytest.raises(ValueError, match="x: kit251 must have shape .* Name the representation"):
        Motion(numbers, "kit251", fps=12.5, name="x")
    with pytest.raises(NoRouteError, match="hml263 leads to joints"):
        convert(Motion(numbers, "hml263", fps=20), "joints_kit")
    with pytest.raises(NoRouteError):
        convert(Motion(np.zeros((9, 21, 3)), "joints_kit", fps=12.5), "kit251")
    with pytest.raises(NoRouteError):
        convert(walk(), "kit251")


def test_a_wrong_rate_is_refused_not_relabelled():
    with pytest.raises(ValueError, match="walk: joints must have 20 fps to become hml263; got 30. Resample it to 20"):
        convert(walk().replace(fps=30), "hml263")


@pytest.mark.parametrize("name", ["humanml3d", "263", "HML263", "hml236", "kit"])
def test_a_near_miss_is_answered(name):
    with pytest.raises(KeyError, match="did you mean '(hml263|kit251)'"):
        convert(walk(), name)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (np.zeros((0, 22, 3)), "walk: a motion must have at least 1 frame; got 0"),
        (np.zeros((5, 24, 3)), r"walk: joints must have shape \(T, 22, 3\); got \(5, 24, 3\)"),
        (np.zeros(66), r"walk: joints must have shape"),
        (np.where(np.arange(330).reshape(5, 22, 3) == 200, np.nan, 0), "walk: .* finite; .* 1 of 5 .* in frame 3"),
    ],
)
def test_bad_numbers_are_refused_with_clip_and_frame(data, words):
    with pytest.raises(ValueError, match=words):
        Motion(data, "joints", fps=20, name="walk")


@pytest.mark.parametrize("fps", [0, -20, float("nan"), float("inf")])
def test_bad_rates_are_refused(fps):
    with pytest.raises(ValueError, match="walk: fps must be above 0"):
        Motion(np.zeros((5, 22, 3)), "joints", fps=fps, name="walk")


def test_a_motion_behaves_as_its_array():
    motion = walk(30)
    assert len(motion) == 30 and motion.seconds == 1.5 and np.asarray(motion) is motion.data
    assert np.array_equal(motion[5:9].data, motion.data[5:9]) and motion[5:9].fps == 20
    assert np.asarray(motion, dtype=np.float64).dtype == np.float64
    with pytest.raises(TypeError, match="slice"):
        motion[3]
    with pytest.raises(ValueError, match="step"):
        motion[::2]
    with pytest.raises(ValueError, match="read-only"):
        motion.data[0] = 0


def test_specs_add_up_and_skeletons_are_whole():
    for name in list_specs():
        spec = get_spec(name)
        assert sum(channel.width for channel in spec.channels) == spec.width
        with pytest.raises(KeyError, match="it has"):
            spec.channel("nothing")
    for skeleton in (SMPL22, KIT21):
        twins = np.array(skeleton.mirror)
        assert np.array_equal(twins[twins], np.arange(len(twins)))
        assert np.allclose(skeleton.directions[twins] * [-1, 1, 1], skeleton.directions)
        in_chains = {(a, b) for chain in skeleton.chains for a, b in zip(chain, chain[1:], strict=False)}
        assert in_chains == {(parent, joint) for joint, parent in enumerate(skeleton.parents) if parent >= 0}


def test_the_bars_of_speed_hold():
    report = motion_speed(clips=8, frames=120, seconds=0.2)
    assert report["largest_difference"] < 1e-5
    assert report["encode"]["frames_per_s"] > ENCODE_BAR and report["encode"]["ratio"] > 10
    assert report["decode"]["frames_per_s"] > DECODE_BAR and report["decode"]["ratio"] > 10


def test_motion_needs_no_torch():
    code = (
        "import sys, hftrainer.motion, hftrainer.motion.edit, hftrainer.motion.representation.convert, hftrainer.bench;"
        "print(sorted({'torch', 'scipy', 'transformers'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert out.stdout.strip() == "[]"
