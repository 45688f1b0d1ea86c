"""BVH: every joint where we have it, in a library that we did not write and in our own reader; refusals."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hftrainer.data.mocap import Pack
from hftrainer.motion.clip import Motion
from hftrainer.motion.files import bvh, load, save
from hftrainer.motion.files.matching import match_joints
from hftrainer.motion.files.names import PRESETS, SKELETON_NAMES, guess_unit
from hftrainer.motion.representation.convert import convert
from hftrainer.motion.representation.ik import joints_to_rotations, t_pose
from hftrainer.motion.rotation import euler_to_matrix
from hftrainer.motion.skeleton import SMPL22
from hftrainer.rendering.speed import marching
from tests.moving import MM, lively, loosened, seen_by_bvhio


@pytest.mark.parametrize("heading", range(0, 360, 15))
def test_bvhio_sees_our_joints_over_every_heading(tmp_path, heading):
    for joints in (marching(8, heading=np.deg2rad(heading)), lively(8, heading, np.deg2rad(heading))):
        motion = Motion(joints, "joints", 20)
        save(motion, tmp_path / "a.bvh")
        assert np.abs(seen_by_bvhio(tmp_path / "a.bvh") / 100 - motion.data).max() < MM
        assert np.abs(load(tmp_path / "a.bvh").data - motion.data).max() < 0.1 * MM
        assert (tmp_path / "a.bvh").read_text().count("CHANNELS 6") == 1  # constant bones need rotations only


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.floats(0, 2 * np.pi), st.booleans())
def test_any_motion_comes_back(tmp_path_factory, seed, heading, loose):
    joints = lively(6, seed, heading)
    if loose:
        joints = loosened(joints, seed)
    path = tmp_path_factory.mktemp("bvh") / "a.bvh"
    motion = Motion(joints, "joints", 20)
    save(motion, path)
    back = load(path, unit="cm")
    assert np.abs(back.data - motion.data).max() < 0.1 * MM and back.fps == 20
    assert np.abs(seen_by_bvhio(path) / 100 - motion.data).max() < MM


def test_features_become_a_file_with_their_joints(tmp_path):
    motion = convert(Motion(marching(24), "joints", 20), "hml263")
    save(motion, tmp_path / "a.bvh")
    assert np.abs(load(tmp_path / "a.bvh").data - convert(motion, "joints").data).max() < 0.1 * MM


def test_rigid_writes_rotations_only_and_stays_near(tmp_path):
    joints = lively() + np.random.default_rng(1).normal(0, 0.002, (24, 22, 3))
    save(Motion(joints, "joints", 20), tmp_path / "a.bvh", bones="rigid")
    assert (tmp_path / "a.bvh").read_text().count("position") == 3
    assert 0.1 * MM < np.abs(load(tmp_path / "a.bvh").data - joints).max() < 0.03


def test_the_rest_pose_is_a_t_pose_with_the_clips_bones(tmp_path):
    joints = lively() * 1.2
    save(Motion(joints, "joints", 20), tmp_path / "a.bvh")
    figure = bvh.parse_hierarchy((tmp_path / "a.bvh").read_text()).figure
    offset = {name: figure.offsets[figure.index(name)] for name in SMPL22.joints}
    assert np.allclose(offset["left_wrist"][1:], 0) and offset["left_wrist"][0] > 0
    assert np.allclose(offset["right_elbow"][1:], 0) and offset["right_elbow"][0] < 0
    assert np.allclose(offset["left_knee"][[0, 2]], 0) and offset["left_knee"][1] < 0
    assert offset["left_foot"][2] > 0 and offset["spine1"][1] > 0 and offset["left_hip"][0] > 0 > offset["right_hip"][0]
    lengths = SMPL22.bone_lengths(joints[:1])[0]
    for joint, name in enumerate(SMPL22.joints[1:], 1):
        assert np.linalg.norm(offset[name]) == pytest.approx(100 * lengths[joint], abs=1e-3)
    assert figure.names.count("left_wrist@end") == 1 and np.allclose(figure.offsets[0], 0)


def test_rotations_of_the_rest_pose_are_none():
    joints = np.zeros((2, 22, 3))
    for joint, parent in enumerate(SMPL22.parents[1:], 1):
        joints[:, joint] = joints[:, parent] + SMPL22.rest[joint]
    assert np.allclose(joints_to_rotations(joints, SMPL22.rest), np.eye(3), atol=1e-9)
    assert t_pose(joints)[SMPL22.joints.index("left_wrist")][1:].tolist() == [0, 0]


def test_angles_run_on_through_full_turns(tmp_path):
    frames = 120
    joints = np.stack([marching(1, heading=h)[0] for h in np.linspace(0, 6 * np.pi, frames)])
    save(Motion(joints, "joints", 20), tmp_path / "a.bvh")
    rows = np.array([line.split() for line in (tmp_path / "a.bvh").read_text().splitlines()[-frames:]], float)
    assert np.abs(np.diff(rows, axis=0)).max() < 15  # degrees a frame; a wrap would be 360
    assert abs(rows[-1, 5] - rows[0, 5]) == pytest.approx(1080, abs=30)


def test_angles_run_on_through_gimbal_lock():
    tilt = np.deg2rad(np.linspace(60, 120, 61))  # the middle angle passes a quarter turn, exactly
    angles = np.stack([np.full(61, 0.4), tilt, np.full(61, -0.3)], axis=-1)[:, None]
    found = bvh.unwrapped_euler(euler_to_matrix(angles, "ZXY"))
    assert np.allclose(euler_to_matrix(found, "ZXY"), euler_to_matrix(angles, "ZXY"), atol=1e-6)
    assert np.abs(np.diff(found, axis=0)).max() < np.deg2rad(3)


def test_options(tmp_path):
    motion = Motion(marching(21), "joints", 20)
    save(motion, tmp_path / "m.bvh", unit="m", names="mixamo")
    text = (tmp_path / "m.bvh").read_text()
    assert "ROOT mixamorig:Hips" in text and "JOINT mixamorig:LeftForeArm" in text
    assert np.abs(seen_by_bvhio(tmp_path / "m.bvh", PRESETS["mixamo"]) - motion.data).max() < MM
    back = load(tmp_path / "m.bvh")
    assert back.about["skeleton"] == "mixamo" and back.about["unit"] == "m"
    assert np.abs(back.data - motion.data).max() < 0.1 * MM

    save(motion, tmp_path / "f.bvh", fps=60)
    back = load(tmp_path / "f.bvh")
    assert back.fps == 60 and len(back) == 61
    assert np.abs(back.data[::3] - motion.data).max() < 0.1 * MM
    assert np.abs(SMPL22.bone_lengths(back.data) - SMPL22.bone_lengths(back.data[0])).max() < 0.1 * MM  # by slerp

    save(motion, tmp_path / "p.bvh", in_place=True)
    back = load(tmp_path / "p.bvh").data
    assert np.ptp(back[:, 0, [0, 2]], axis=0).max() < 0.1 * MM
    assert np.abs((back - back[:, :1]) - (motion.data - motion.data[:, :1])).max() < 0.1 * MM

    for names in ("unreal", "vrm"):
        save(motion, tmp_path / "n.bvh", names=names, up="z")
        seen = seen_by_bvhio(tmp_path / "n.bvh", PRESETS[names]) / 100
        assert np.abs(seen[..., [0, 2, 1]] * [1, 1, -1] - motion.data).max() < MM  # +Z up: y is -z
        back = load(tmp_path / "n.bvh")
        assert (back.about["skeleton"], back.about["up"], back.about["unit"]) == (names, "z", "cm")
        assert np.abs(back.data - motion.data).max() < 0.1 * MM

    for wrong in ({"unit": "ft"}, {"names": "maya"}, {"fps": 0}, {"bones": "soft"}, {"up": "x"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            save(motion, tmp_path / "w.bvh", **wrong)
    with pytest.raises(TypeError, match="speed"):
        save(motion, tmp_path / "w.bvh", speed=2)
    assert not (tmp_path / "w.bvh").exists()


@pytest.mark.parametrize(("unit", "metres"), [("m", 1.0), ("cm", 0.01), ("mm", 0.001)])
def test_the_unit_is_told_by_the_legs(tmp_path, unit, metres):
    motion = Motion(marching(4), "joints", 20)
    save(motion, tmp_path / "a.bvh", unit="m")
    scale = 1 / metres

    def larger(line: str) -> str:
        return re.sub(r"[-\d.]+", lambda n: f"{float(n[0]) * scale:.6f}", line) if "OFFSET" in line else line

    lines = [larger(line) for line in (tmp_path / "a.bvh").read_text().splitlines()]
    at = next(i for i, line in enumerate(lines) if line.startswith("Frame Time")) + 1
    for i in range(at, len(lines)):
        numbers = [float(v) for v in lines[i].split()]
        lines[i] = " ".join(f"{v:.6f}" for v in [n * scale for n in numbers[:3]] + numbers[3:])
    (tmp_path / "b.bvh").write_text("\n".join(lines))
    back = load(tmp_path / "b.bvh")
    assert back.about["unit"] == unit and np.abs(back.data - motion.data).max() < MM
    with pytest.raises(ValueError, match="unit must be one of"):
        load(tmp_path / "b.bvh", unit="yard")


def test_every_known_skeleton_names_each_joint_once():
    for name, spots in SKELETON_NAMES.items():
        assert len(spots) == 22, name
        plain = [spot for spot in spots if isinstance(spot, str)]
        assert len(set(plain)) == len(plain), name
        for joint, twin in enumerate(SMPL22.mirror):  # left stays left
            left, right = spots[joint], spots[twin]
            assert (left == right) == (joint == twin), name


def test_a_foreign_skeleton_is_refused_by_its_joints(tmp_path):
    channels = "CHANNELS 3 Zrotation Xrotation Yrotation"
    text = f"HIERARCHY\nROOT Tail\n{{ OFFSET 0 0 0\n{channels}\nEnd Site\n{{ OFFSET 0 1 0 }}\n}}\n"
    (tmp_path / "cat.bvh").write_text(text + "MOTION\nFrames: 1\nFrame Time: 0.05\n0 0 0\n")
    with pytest.raises(ValueError, match=r"cat\.bvh: the skeleton must .* It has joints Tail\."):
        load(tmp_path / "cat.bvh")
    (tmp_path / "half.bvh").write_text(text)
    with pytest.raises(ValueError, match="MOTION"):
        load(tmp_path / "half.bvh")


def test_frame_times_that_were_rounded(tmp_path):
    save(Motion(marching(3), "joints", 30), tmp_path / "a.bvh")
    text = (tmp_path / "a.bvh").read_text()
    for written, fps in (("0.033333", 30), ("0.0083333", 120), ("0.05", 20), ("0.0333667", 29.97)):
        (tmp_path / "b.bvh").write_text(re.sub(r"Frame Time: .*", f"Frame Time: {written}", text))
        assert load(tmp_path / "b.bvh").fps == pytest.approx(fps, rel=1e-5)


def test_real_capture_comes_back(shared, tmp_path):
    """One clip of each kind of skeleton of the pack."""
    pack = Pack(shared / "data" / "mocap")
    clips = {listing.family: listing.id for listing in pack.listings}
    assert len(clips) >= 4
    for family, clip in clips.items():
        take = pack.take(clip)
        world = take.figure.global_rotations(take.rotations[:40])
        mapping = match_joints(take.figure.names, clip, take.figure.parents)
        assert mapping.skeleton in SKELETON_NAMES
        joints = mapping.joints(take.figure.names, take.figure.positions(world, take.translation[:40]), clip)
        assert guess_unit(joints) == "m", family
        assert np.median(joints[:, [7, 8], 1]) < np.median(joints[:, 0, 1]) < np.median(joints[:, 15, 1]), family
        motion = Motion(joints, "joints", 20)
        save(motion, tmp_path / "a.bvh")
        assert np.abs(seen_by_bvhio(tmp_path / "a.bvh") / 100 - motion.data).max() < MM, family
