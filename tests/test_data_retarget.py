"""Retargeting keeps where bones point, keeps the reference body, and mends what capture breaks."""

import numpy as np
import pytest
from capture_files import asf_text, channels, columns, walk

from hftrainer.data.mocap import Listing, Pack, Take
from hftrainer.data.retarget import FAMILIES, REFERENCE_OFFSETS, family_of, mend, resample, retarget
from hftrainer.motion.files import asf
from hftrainer.motion.files.figure import Figure
from hftrainer.motion.rotation import rotvec_to_matrix
from hftrainer.motion.skeleton import SMPL22

LIMBS = ("hip", "knee", "shoulder", "elbow")


def take_of(values, fps=60.0):
    skeleton = asf.parse_asf(asf_text())
    rotations, translation = asf.local_rotations(skeleton, values[:, [columns().index(c) for c in skeleton.columns]])
    unit = skeleton.metres
    figure = Figure(skeleton.figure.names, skeleton.figure.parents, skeleton.figure.offsets * unit)
    listing = Listing("cmu_00_01", "cmu", "cmu_asf", 0, "train", "")
    return Take(listing, figure, rotations, translation * unit, fps, "")


def source_positions(take):
    return take.figure.positions(take.figure.global_rotations(take.rotations), take.translation)


def joint(name):
    return SMPL22.joints.index(name)


def directions(take, joints):
    """(name, source's and target's unit bone direction) of every limb, at the take's own frames."""
    source = source_positions(take)
    for name, (carrier, tip) in FAMILIES["cmu_asf"].carriers.items():
        if name.split("_")[-1] in LIMBS:
            a = source[:, take.figure.index(tip)] - source[:, take.figure.index(carrier)]
            child = SMPL22.parents.index(joint(name))
            b = joints[:, child] - joints[:, joint(name)]
            yield name, a / np.linalg.norm(a, axis=-1, keepdims=True), b / np.linalg.norm(b, axis=-1, keepdims=True)


def test_limbs_point_where_the_sources_point():
    take = take_of(np.random.default_rng(1).uniform(-40, 40, (1, len(columns()))), 20.0)
    found = list(directions(take, retarget(take)))
    assert len(found) == 8
    for name, source, target in found:
        np.testing.assert_allclose(source, target, atol=1e-9, err_msg=name)


def test_the_body_is_the_reference_body():
    lengths = SMPL22.bone_lengths(retarget(take_of(walk(1.0))))
    np.testing.assert_allclose(lengths[:, 1:], np.tile(SMPL22.lengths[1:], (len(lengths), 1)), atol=1e-9)


def test_turning_and_moving_the_source_turns_and_moves_the_result():
    """By rotations: no heading is special, and the path scales with the legs."""
    take = take_of(walk(1.0))
    turn = rotvec_to_matrix(np.array([0, 2.0, 0]))
    root = take.rotations.copy()
    root[:, 0] = turn @ root[:, 0]
    moved = Take(take.listing, take.figure, root, take.translation @ turn.T + [1.0, 0, 2.0], take.fps, "")
    legs = [take.figure.index(n) for n in ("ltibia", "rtibia", "lfoot", "rfoot")]
    scale = SMPL22.lengths[[4, 5, 7, 8]].sum() / np.linalg.norm(take.figure.offsets[legs], axis=-1).sum()
    np.testing.assert_allclose(retarget(moved), retarget(take) @ turn.T + np.array([1.0, 0, 2.0]) * scale, atol=1e-9)


def test_left_and_right_stay_apart_and_it_faces_ahead():
    joints = retarget(take_of(channels(3)))
    assert joints[0, joint("left_hip"), 0] > joints[0, joint("right_hip"), 0]
    assert joints[0, joint("left_shoulder"), 0] > joints[0, joint("right_shoulder"), 0]
    assert joints[0, joint("left_foot"), 2] > joints[0, joint("left_ankle"), 2]
    assert joints[0, joint("head"), 1] > joints[0, joint("pelvis"), 1] + 0.4


def test_a_foot_as_flat_as_a_standing_source_foot_is_flat():
    """CMU's standing foot slopes 14.5 degrees from ankle to toe; the reference body's as its rest pose."""
    family = FAMILIES["cmu_asf"]
    take = take_of(channels(1))
    offset = take.figure.offsets[take.figure.index("ltoes")]
    now = np.degrees(np.arcsin(-offset[1] / np.linalg.norm(offset)))
    world = take.figure.global_rotations(take.rotations)[0, take.figure.index("lfoot")]
    across = np.array([offset[2], 0, -offset[0]]) / np.hypot(offset[0], offset[2])
    rotations = take.rotations.copy()
    parent = take.figure.global_rotations(rotations)[0, take.figure.parents[take.figure.index("lfoot")]]
    pitched = rotvec_to_matrix(across * np.radians(family.flat_foot - now)) @ world
    rotations[0, take.figure.index("lfoot")] = parent.T @ pitched
    joints = retarget(Take(take.listing, take.figure, rotations, take.translation, 20.0, ""))
    slope = joints[0, joint("left_foot")] - joints[0, joint("left_ankle")]
    rest = REFERENCE_OFFSETS[joint("left_foot")]
    assert slope[1] == pytest.approx(rest[1], abs=2e-3)


def test_rates():
    assert len(retarget(take_of(channels(60), 60.0))) == 20
    assert len(retarget(take_of(channels(120), 120.0))) == 20
    take = take_of(walk(1.0, fps=30), 30.0)
    rotations, path = resample(take, 20.0)
    assert len(rotations) == 20  # times 0 to 28.5 of 29
    np.testing.assert_allclose(rotations[2], take.rotations[3], atol=1e-9)
    np.testing.assert_allclose(path[1], (take.translation[1] + take.translation[2]) / 2, atol=1e-12)


def test_a_flip_is_bridged_and_nothing_else_changes():
    values = walk(2.0)
    broken = values.copy()
    broken[40:46, columns().index("rfemur:ry")] += 170.0
    whole, mended = take_of(values), mend(take_of(broken))
    assert len(mended.rotations) == len(whole.rotations)
    away = np.abs(mended.rotations - whole.rotations).max(axis=(1, 2, 3))
    assert away[40:46].max() < 0.1 and away[:40].max() == 0 and away[46:].max() == 0
    assert mend(whole) is whole


def test_a_broken_start_is_cut():
    values = walk(2.0)
    values[:3, columns().index("lhumerus:rz")] = 100.0
    assert len(mend(take_of(values)).rotations) == len(values) - 3


def test_a_quick_arm_is_left_alone():
    """1,500 degrees per second is a throw, not a flip."""
    values = channels(60)
    values[20:25, columns().index("lhumerus:rz")] += np.linspace(0, 100, 5)
    values[25:, columns().index("lhumerus:rz")] += 100
    take = take_of(values)
    assert mend(take) is take


def test_unknown_figures_are_refused():
    take = take_of(channels(5))
    other = Take(Listing("x", "y", "robot", 0, "train", ""), take.figure, take.rotations, take.translation, 60.0, "")
    with pytest.raises(ValueError, match="x: the figure must be one of cmu_asf.*'robot'"):
        retarget(other)


def test_real_capture_keeps_its_limbs(shared):
    """One clip of each kind of figure in the pack: limbs exact, feet near the floor, facing where it walks."""
    pack = Pack(shared / "data/mocap")
    for clip in ("cmu_02_01", "cmu_06_01", "cmu_131_02", "accad_female1_b03_walk1", "accad_male1_b17_walk2hop2walk"):
        raw = pack.take(clip)
        take, joints, family = mend(raw), retarget(raw), family_of(raw)
        rotations, path = resample(take, 20.0)
        source = take.figure.positions(take.figure.global_rotations(rotations), path)
        for name, (carrier, tip) in family.carriers.items():
            if name.split("_")[-1] in LIMBS:
                a = source[:, take.figure.index(tip)] - source[:, take.figure.index(carrier)]
                b = joints[:, SMPL22.parents.index(joint(name))] - joints[:, joint(name)]
                cosine = (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
                assert cosine.min() > 1 - 1e-9, (clip, name)
        assert abs(np.median(joints[:, [10, 11], 1].min(axis=1))) < 0.1, clip
        left = joints[:, 1] - joints[:, 2]
        forward = np.cross(left, [0, 1, 0])
        going = np.diff(joints[:, 0], axis=0)
        if np.linalg.norm(joints[-1, 0] - joints[0, 0]) > 1:
            assert (going * forward[1:]).sum(-1).mean() > 0, clip
