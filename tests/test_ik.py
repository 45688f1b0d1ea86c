"""Rotations from positions in closed form: exact on rigid bodies, equivariant, steady, differentiable."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hftrainer.motion.lanes import best_rotation
from hftrainer.motion.representation.ik import FASTEST_TWIST, TWISTS, joints_to_rotations
from hftrainer.motion.representation.motion135 import pose_joints
from hftrainer.motion.rotation import matrix_to_rotvec, rotvec_to_matrix
from hftrainer.motion.skeleton import SMPL22

REST = SMPL22.rest
ENDS = [10, 11, 15, 20, 21]
FASTEST = np.rad2deg(FASTEST_TWIST)
seeds = st.integers(0, 2**31)
twists = st.sampled_from(TWISTS)


def wriggling(seed: int, frames: int = 12, size: float = 0.8) -> np.ndarray:
    """``(frames, 22, 3, 3)`` smooth random rotations of all joints but the ends, the root all over the sphere."""
    rng = np.random.default_rng(seed)
    time = np.linspace(0, 1, frames)[:, None, None]
    vectors = rng.normal(0, size / 2, (1, 22, 3)) + time * rng.normal(0, size / 2, (1, 22, 3))
    vectors[:, 0] += rng.normal(0, 2, 3)
    vectors[:, ENDS] = 0
    return rotvec_to_matrix(vectors)


def degrees(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angles between rotations."""
    return np.rad2deg(np.linalg.norm(matrix_to_rotvec(np.swapaxes(a, -1, -2) @ b), axis=-1))


@given(seeds, twists, st.floats(0.1, 3.0))
def test_a_rigid_body_is_met_exactly(seed, twist, size):
    joints = pose_joints(wriggling(seed, size=size), np.ones((12, 3)))
    turns = joints_to_rotations(joints, REST, twist=twist)
    assert np.allclose(turns @ np.swapaxes(turns, -1, -2), np.eye(3), atol=1e-9)
    assert np.linalg.det(turns).min() > 0.99
    assert np.abs(pose_joints(turns, joints[:, 0]) - joints).max() < 1e-8


@given(seeds, twists)
def test_turning_the_body_turns_the_root_and_nothing_else(seed, twist):
    rng = np.random.default_rng(seed)
    joints = pose_joints(wriggling(seed), np.zeros((12, 3))) + rng.normal(0, 0.01, (12, 22, 3))
    turn = rotvec_to_matrix(rng.normal(0, 2, 3))
    one, other = (joints_to_rotations(j, REST, twist=twist) for j in (joints, joints @ turn.T + rng.normal(0, 3, 3)))
    assert np.allclose(other[:, 0], turn @ one[:, 0], atol=1e-7)
    assert np.allclose(other[:, 1:], one[:, 1:], atol=1e-7)


@given(seeds, twists)
def test_many_clips_at_once_are_each_as_alone(seed, twist):
    joints = np.stack([pose_joints(wriggling(seed + n), np.zeros((12, 3))) for n in range(3)])
    together = joints_to_rotations(joints.reshape(3, 1, 12, 22, 3), REST, twist=twist)
    assert together.shape == (3, 1, 12, 22, 3, 3)
    for n in range(3):
        assert np.abs(together[n, 0] - joints_to_rotations(joints[n], REST, twist=twist)).max() < 1e-12


@given(seeds)
def test_without_twist_each_frame_stands_for_itself(seed):
    joints = pose_joints(wriggling(seed), np.zeros((12, 3)))
    whole = joints_to_rotations(joints, REST, twist="none")
    assert np.abs(whole[5] - joints_to_rotations(joints[5:6], REST, twist="none")[0]).max() < 1e-9


@pytest.mark.parametrize("joint", ["left_shoulder", "right_hip", "left_collar", "neck", "pelvis"])
@given(st.floats(0, 2 * np.pi), st.floats(-1.4, 1.4), st.integers(0, 3))
def test_no_flips_over_full_turns(joint, phase, tilt, exactly):
    """A joint goes round three times about an axis across its bone: also through the opposite of its rest direction."""
    at = SMPL22.joints.index(joint)
    end = SMPL22.parents.index(at)
    bone = REST[end] / np.linalg.norm(REST[end])
    across = np.cross(bone, [0.3, 0.5, 0.8])
    across /= np.linalg.norm(across)
    axis = rotvec_to_matrix(phase * bone) @ across
    if exactly:  # otherwise a cone that passes the opposite direction at some distance
        tilt = 0.0
    axis = np.cos(tilt) * axis + np.sin(tilt) * bone
    frames = 181
    true = np.tile(np.eye(3), (frames, 22, 1, 1))
    true[:, at] = rotvec_to_matrix(np.linspace(0, 6 * np.pi, frames)[:, None] * axis)
    moved = moved_by(pose_joints(true, np.zeros((frames, 3))))
    assert moved.max() < 6 + FASTEST + 1, (moved.max(), np.unravel_index(moved.argmax(), moved.shape))


def twisted_by(found: np.ndarray) -> np.ndarray:
    """Degrees from frame to frame by which joints with one bone turn more than it does in the axes of their parents."""
    beyond = []
    for joint in (j for j in range(22) if SMPL22.parents.count(j) == 1):
        way = found[:, joint] @ REST[SMPL22.parents.index(joint)]
        across, along = np.linalg.norm(np.cross(way[:-1], way[1:]), axis=-1), (way[:-1] * way[1:]).sum(-1)
        beyond.append(degrees(found[:-1, joint], found[1:, joint]) - np.rad2deg(np.arctan2(across, along)))
    return np.stack(beyond, -1)


def moved_by(joints: np.ndarray) -> np.ndarray:
    """Degrees that each joint is found to turn from frame to frame."""
    found = joints_to_rotations(joints, REST)
    return degrees(found[:-1], found[1:])


@pytest.mark.parametrize("joint", ["left_shoulder", "right_hip", "left_elbow", "right_knee", "right_collar", "neck"])
@given(seeds, st.floats(0.5, 30), st.floats(0, np.pi), st.integers(2, 90))
def test_a_joint_turns_no_quicker_than_its_bone_and_the_fastest_twist(joint, seed, speed, away, frames):
    """Any way over the sphere at a bounded speed, beginning anywhere: also round and round next to the opposite."""
    rng = np.random.default_rng(seed)
    at = SMPL22.joints.index(joint)
    end = SMPL22.parents.index(at)
    bone = REST[end] / np.linalg.norm(REST[end])
    true = np.tile(np.eye(3), (frames, 22, 1, 1))
    side = np.cross(bone, rng.normal(size=3))
    true[0, at] = rotvec_to_matrix(away * side / np.linalg.norm(side))
    spin = rng.normal(size=3)
    for t in range(1, frames):
        spin += rng.normal(size=3) * rng.choice([0.02, 0.3])
        true[t, at] = rotvec_to_matrix(np.deg2rad(speed) * spin / max(1.0, np.linalg.norm(spin))) @ true[t - 1, at]
    joints = pose_joints(true, np.zeros((frames, 3)))
    moved = moved_by(joints)
    assert twisted_by(joints_to_rotations(joints, REST)).max() < FASTEST + 0.01
    assert moved.max() < 2 * (speed + FASTEST)


def test_a_bone_that_circles_quickly_next_to_the_opposite_does_not_spin():
    """Following the shortest way there would turn the arm about itself twice in every round."""
    turns = np.linspace(0, 20 * np.pi, 121)
    bone = REST[18] / np.linalg.norm(REST[18])
    side = np.cross(bone, [0, 0, 1.0]) / np.linalg.norm(np.cross(bone, [0, 0, 1.0]))
    around = np.cos(turns)[:, None] * side + np.sin(turns)[:, None] * np.cross(bone, side)
    true = np.tile(np.eye(3), (121, 22, 1, 1))
    true[:, 16] = rotvec_to_matrix((np.pi - 0.4) * around)
    joints = pose_joints(true, np.zeros((121, 3)))
    found = [joints_to_rotations(joints, REST, twist=way) for way in TWISTS]
    told, plain = (degrees(turns[:-1], turns[1:])[:, 16] for turns in found)
    assert plain.min() > 50
    assert told.max() < 13, told  # the bone itself goes 12 degrees
    assert twisted_by(found[0]).max() < FASTEST + 0.01 < 2 * FASTEST < twisted_by(found[1]).max()


def test_a_plain_swing_does_flip_there():
    """What the steady twist is for: without it the arm spins about itself as it passes the opposite direction."""
    true = np.tile(np.eye(3), (181, 22, 1, 1))
    bone = REST[18] / np.linalg.norm(REST[18])
    axis = np.cross(bone, [0, 0, 1.0]) + 0.05 * bone
    true[:, 16] = rotvec_to_matrix(np.linspace(0, 2 * np.pi, 181)[:, None] * axis / np.linalg.norm(axis))
    joints = pose_joints(true, np.zeros((181, 3)))
    fastest = [degrees(t[:-1], t[1:])[:, 16].max()
               for t in (joints_to_rotations(joints, REST, twist=twist) for twist in TWISTS)]  # fmt: skip
    assert fastest[0] < 6 < 20 < fastest[1]


@pytest.mark.parametrize("above, hinge, axis", [
    ("left_shoulder", "left_elbow", (0, -1, 0)), ("right_shoulder", "right_elbow", (0, 1, 0)),
    ("left_hip", "left_knee", (1, 0, 0)), ("right_hip", "right_knee", (1, 0, 0)),
])  # fmt: skip
@given(st.floats(0.6, 2.0), st.floats(-1.2, 1.2), seeds)
def test_hinges_show_the_twist(above, hinge, axis, bend, twist, seed):
    top, middle = SMPL22.joints.index(above), SMPL22.joints.index(hinge)
    bone = REST[middle] / np.linalg.norm(REST[middle])
    rest = REST.copy()
    end = SMPL22.parents.index(middle)
    rest[end] = bone * np.linalg.norm(rest[end])  # a straight limb, so that the hinge is all there is to see
    axis = np.array(axis) - bone * (bone @ axis)
    true = np.tile(np.eye(3), (40, 22, 1, 1))
    swung = rotvec_to_matrix(np.random.default_rng(seed).normal(0, 0.5, 3))
    true[:, top] = swung @ rotvec_to_matrix(twist * bone)
    bends = bend * np.r_[np.ones(14), np.zeros(12), np.ones(14)]  # straight in between: time has to tell
    true[:, middle] = rotvec_to_matrix(bends[:, None] * axis / np.linalg.norm(axis))
    found = joints_to_rotations(pose_joints(true, np.zeros((40, 3)), rest), rest)
    assert degrees(found[:, top], true[:, top]).max() < 12
    assert degrees(found[:, middle], true[:, middle]).max() < 12


@pytest.mark.parametrize("twist", TWISTS)
def test_gradients_are_those_of_the_numbers(twist):
    torch = pytest.importorskip("torch")
    joints = pose_joints(wriggling(3, 6), np.zeros((6, 3))) + np.random.default_rng(3).normal(0, 0.02, (6, 22, 3))
    weights = torch.tensor(np.random.default_rng(1).normal(size=(6, 22, 3, 3)))
    leaf = torch.tensor(joints, requires_grad=True)
    turns = joints_to_rotations(leaf, REST, twist=twist)
    assert np.allclose(turns.detach().numpy(), joints_to_rotations(joints, REST, twist=twist), atol=1e-9)
    (turns * weights).sum().backward()
    push = np.random.default_rng(2).normal(size=joints.shape)
    up, down = (joints_to_rotations(joints + e * push, REST, twist=twist) for e in (1e-6, -1e-6))
    slope = ((up - down) * weights.numpy()).sum() / 2e-6
    assert float((leaf.grad * torch.tensor(push)).sum()) == pytest.approx(slope, rel=1e-4)


@pytest.mark.parametrize("case", ["rest", "nowhere", "opposite", "one frame", "one line"])
@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_gradients_are_finite_where_rotations_are_not_told(case, kind):
    torch = pytest.importorskip("torch")
    joints = pose_joints(np.tile(np.eye(3), (5, 22, 1, 1)), np.zeros((5, 3)))
    if case == "nowhere":
        joints[:] = 0
    elif case == "opposite":
        joints[:, [18, 20]] += 2 * (joints[:, [16]] - joints[:, [18]])
        joints[:, 4] = 2 * joints[:, 1] - joints[:, 4]
    elif case == "one frame":
        joints = joints[:1]
    elif case == "one line":
        joints = joints * [0, 1, 0]
    leaf = torch.tensor(joints, dtype=getattr(torch, kind), requires_grad=True)
    turns = joints_to_rotations(leaf, REST)
    (turns * torch.arange(9.0).reshape(3, 3)).sum().backward()
    assert bool(torch.isfinite(turns).all()) and bool(torch.isfinite(leaf.grad).all())
    assert torch.allclose(turns @ turns.transpose(-1, -2), torch.eye(3, dtype=leaf.dtype), atol=1e-4)


@given(seeds, st.floats(-3, 0))
def test_the_best_rotation_is_the_best(seed, flatness):
    rng = np.random.default_rng(seed)
    outer = rng.normal(size=(3, 3, 50))
    outer[:, 2] *= 10**flatness  # down to directions in one plane
    outer[:, 1] *= 10**flatness  # and near one line
    found = np.moveaxis(best_rotation(outer), -1, 0)
    left, sizes, right = np.linalg.svd(np.moveaxis(outer, -1, 0))
    best = sizes[:, 0] + sizes[:, 1] + sizes[:, 2] * np.sign(np.linalg.det(left @ right))
    reached = np.einsum("tij,ijt->t", found, outer)
    assert np.allclose(found @ np.swapaxes(found, -1, -2), np.eye(3)) and np.linalg.det(found).min() > 0
    assert np.all(best - reached < 1e-7 * sizes[:, 0])


@pytest.mark.parametrize("shape, options, said", [
    ((22, 3), {}, r"must have shape \(\.\.\., T, 22, 3\) with T at least 1; got \(22, 3\)"),
    ((0, 22, 3), {}, r"got \(0, 22, 3\)"),
    ((4, 21, 3), {}, r"got \(4, 21, 3\)"),
    ((4, 22, 3), {"twist": "hinge"}, "twist must be one of hinges, none; got 'hinge'"),
    ((4, 22, 3), {"parent_weight": 0.25}, "twist must be none where parent_weight is above 0; got 'hinges'"),
])  # fmt: skip
def test_what_is_refused(shape, options, said):
    with pytest.raises(ValueError, match=said):
        joints_to_rotations(np.zeros(shape), REST, **options)
    with pytest.raises(ValueError, match=r"rest must have shape \(22, 3\); got \(3,\)"):
        joints_to_rotations(np.zeros((4, 22, 3)), np.zeros(3))


def test_twist_comes_nearer_to_recorded_rotations(shared):
    """On a real clip whose rotations are known: the closed form with twist is nearer to them than the plain one."""
    with np.load(shared / "golden/zoo/real/ms272_real_000000_first120.npz") as file:
        joints, true = file["recovered_positions"].astype(float), file["recovered_local_rotmat"].astype(float)
    far = {}
    for twist in TWISTS:
        turns = joints_to_rotations(joints, body_of(joints, true), twist=twist)
        far[twist] = np.delete(degrees(turns, true).mean(axis=0), [7, 8, *ENDS]).mean()
    assert far["hinges"] < 0.75 * far["none"], far


def body_of(joints: np.ndarray, local: np.ndarray) -> np.ndarray:
    """Rest offsets of the body that turned so."""
    world = local.copy()
    offsets = np.zeros((22, 3))
    for joint, parent in enumerate(SMPL22.parents[1:], 1):
        world[:, joint] = world[:, parent] @ local[:, joint]
        offsets[joint] = np.einsum("tba,tb->ta", world[:, parent], joints[:, joint] - joints[:, parent]).mean(axis=0)
    return offsets
