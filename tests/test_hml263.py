"""hml263 and kit251: the traps, the laws of a body, and mutants that the checks here must kill."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hftrainer.bench import moving_body, plain_hml263_to_joints, plain_joints_to_hml263
from hftrainer.motion import Motion, clip, edit, rotation
from hftrainer.motion.representation import convert as roads
from hftrainer.motion.representation import hml263 as h
from hftrainer.motion.representation.specs import get_spec
from hftrainer.motion.skeleton import KIT21, SMPL22
from tests.parity.__main__ import run_folder

GOLDEN = Path(__file__).parent / "golden" / "zoo"
BODIES = st.builds(moving_body, st.integers(4, 60), st.integers(0, 10_000))
LIFT, AWAY, YAW = st.floats(-3, 3), st.floats(-50, 50), st.floats(-3.1, 3.1)
SIDES = np.maximum(SMPL22.lengths, 1e-9)
EVEN = SMPL22.directions * ((SIDES + SIDES[list(SMPL22.mirror)]) / 2)[:, None]  # a body with equal sides
KIT_BODY = KIT21.directions * np.where(np.isin(np.arange(21), (11, 16)), 100, 300)[:, None]  # narrow hips


def turned(joints, yaw):
    return rotation.quat_rotate(rotation.rotvec_to_quat_wxyz([0, yaw, 0]), joints)


def kit_body(frames, seed):
    """A KIT body, millimetres, with every bone near its rest direction and wide shoulders."""
    rng = np.random.default_rng(seed)
    sway = rng.uniform(-0.3, 0.3, (1, 21, 3)) * np.sin(np.arange(frames)[:, None, None] / rng.uniform(3, 9, (1, 21, 3)))
    bones = (KIT21.directions + sway) * (300 + 100 * np.isin(np.arange(21), (5, 8)))[:, None]
    joints = np.zeros((frames, 21, 3))
    joints[:, 0] = np.cumsum(rng.normal(0, 20, (frames, 3)), axis=0) * [1, 0.1, 1] + [0, 900, 0]
    for joint, parent in enumerate(KIT21.parents):
        if parent >= 0:
            joints[:, joint] = joints[:, parent] + bones[:, joint]
    return joints


# ---------------------------------------------------------------------------------------------- traps


def twisted(frames=60):
    """A body whose hips and shoulders point in quite different directions, the same in every frame."""
    body = moving_body(1)[0]
    hips = turned(body[[1, 2]] - body[0], 0.9) + body[0]
    body[[1, 2]] = hips
    return np.tile(body, (frames, 1, 1))


def test_trap_1_hips_have_the_wrong_sign_in_the_kinematics_only():
    body = twisted()
    p = body[0]
    clean = np.cross([0, 1, 0], (p[2] - p[1]) + (p[17] - p[16]))
    quirk = np.cross([0, 1, 0], (p[1] - p[2]) + (p[17] - p[16]))
    first = rotation.quat_between(clean, [0, 0, 1])
    heading = rotation.quat_between(quirk, [0, 0, 1])
    assert np.linalg.norm(first - heading) > 0.1
    assert np.allclose(h.first_heading(body), first)
    assert np.allclose(h.inverse_kinematics(body)[5, 0], heading)


def test_trap_2_first_frame_is_identity_and_only_features_are_smoothed():
    body = moving_body(50, 3)
    smooth, rough = h.inverse_kinematics(body, smooth=True), h.inverse_kinematics(body, smooth=False)
    assert np.array_equal(smooth[0, 0], [1, 0, 0, 0]) and np.array_equal(rough[0, 0], [1, 0, 0, 0])
    assert np.abs(smooth[1:, 0] - rough[1:, 0]).max() > 1e-3
    placed = h.canonicalize(h.uniform_skeleton(body))
    q = h.inverse_kinematics(placed, smooth=True)[:, 0]
    features = h.joints_to_hml263(body)
    assert np.allclose(np.sin(np.cumsum(features[:, 0], dtype=float)), q[1:, 2], atol=1e-5)
    from scipy.ndimage import gaussian_filter1d

    values = np.random.default_rng(0).normal(size=70)
    assert np.allclose(h._smooth(values), gaussian_filter1d(values, 20, mode="nearest"), atol=1e-12)


def test_trap_3_half_angles_and_whose_heading_turns_which_velocity():
    rate, frames = 0.03, 100  # stays clear of facing backwards
    body = moving_body(1)[0]
    step = np.array([0.01, 0, 0.05])
    clip_ = np.stack([turned(body - body[0], rate * t) + body[0] + t * step for t in range(frames)])
    features = h.joints_to_hml263(clip_)
    assert np.allclose(np.abs(features[45:55, 0]), rate / 2, atol=2e-4)
    placed = h.canonicalize(h.uniform_skeleton(clip_))
    q, moved = h.inverse_kinematics(placed)[:, 0], np.diff(placed, axis=0)
    later = rotation.quat_rotate(q[1:], moved[:, 0])
    earlier = rotation.quat_rotate(q[:-1, None], moved)
    assert np.abs(later - earlier[:, 0]).max() > 1e-3
    assert np.allclose(features[:, 1:3], later[:, [0, 2]], atol=1e-6)
    assert np.allclose(features[:, 193:259].reshape(-1, 22, 3), earlier, atol=1e-6)


def test_trap_4_arm_chains_restart_at_the_root():
    features = h.joints_to_hml263(moving_body(30, 5))
    local = rotation.quat_wxyz_to_matrix(h.hml263_to_rotations(features))
    world = h.hml263_to_global_rotations(features)
    assert np.allclose(world[:, 13], local[:, 0] @ local[:, 13], atol=1e-12)
    assert np.allclose(world[:, 16], world[:, 13] @ local[:, 16], atol=1e-12)
    by_parents = local.copy()
    for joint, parent in enumerate(SMPL22.parents):
        if parent >= 0:
            by_parents[:, joint] = by_parents[:, parent] @ local[:, joint]
    off = np.abs(by_parents - world).max(axis=(0, 2, 3))
    assert off[:13].max() < 1e-9 and off[15] < 1e-9 and off[[13, 14, 16, 17, 18, 19, 20, 21]].min() > 1e-2


def test_trap_5_one_row_fewer_than_frames():
    for frames in (4, 5, 31):
        assert h.joints_to_hml263(moving_body(frames)).shape == (frames - 1, 263)
        assert h.joints_to_kit251(kit_body(frames, 0), KIT_BODY).shape == (frames - 1, 251)
    with pytest.raises(ValueError, match="walk.bvh: encoding needs at least 4 frames; got 3"):
        h.joints_to_hml263(moving_body(3), name="walk.bvh")


def test_trap_11_contacts_compare_the_squared_step():
    still = np.zeros((3, 22, 3))
    for step, stands in ((0.0, 1), (0.044, 1), (0.045, 0), (0.05, 0)):
        for n, foot in enumerate((7, 10, 8, 11)):  # left ankle, left toe, right ankle, right toe
            moved = still.copy()
            moved[1, foot, 2] = step
            want = np.ones((2, 4))
            want[:, n] = stands
            assert np.array_equal(h.foot_contacts(moved), want), (step, foot)
    high = still + [0, 5, 0]
    assert h.foot_contacts(high).all(), "height plays no part"
    assert h.foot_contacts(np.zeros((3, 21, 3)), skeleton=KIT21).all() and KIT21.feet == (19, 20, 14, 15)


def test_turning_through_backwards_stores_one_step_with_the_wrong_sign():
    """Published features have this step; ours have it too, and nowhere else."""
    body = moving_body(1)[0]
    spin = np.stack([turned(body - body[0], 0.05 * t) + body[0] for t in range(120)])
    yaw = h.joints_to_hml263(spin)[10:110, 0]
    assert (np.sign(yaw) != np.sign(np.median(yaw))).sum() == 1


# ---------------------------------------------------------------------------------------------- laws


def law_lifting_turning_walking_away(joints, lift=1.3, x=4.0, z=-7.0, yaw=2.0):
    want = h.joints_to_hml263(joints)
    for moved in (joints + [0, lift, 0], joints + [x, 0, z], turned(joints, yaw), turned(joints + [x, lift, z], yaw)):
        assert np.abs(h.joints_to_hml263(moved) - want).max() < 1e-5


def law_there_and_back(joints):
    features = h.joints_to_hml263(joints)
    placed = h.canonicalize(h.uniform_skeleton(joints))
    assert np.abs(h.hml263_to_joints(features) - placed[:-1]).max() < 1e-5
    assert np.abs(h.hml263_to_joints_by_rotations(features) - placed[:-1]).max() < 1e-5
    if len(features) >= h.MIN_FRAMES:
        decoded = h.canonicalize(h.hml263_to_joints(features))
        again = h.hml263_to_joints(h.joints_to_hml263(decoded))
        low = decoded[..., 1].min() - again[..., 1].min()
        assert np.abs(again - decoded[:-1]).max() - abs(low) < 2e-5


def law_bone_lengths_survive(joints):
    for body in (h.uniform_skeleton(joints), h.hml263_to_joints(h.joints_to_hml263(joints))):
        assert np.abs(SMPL22.bone_lengths(body) - SMPL22.lengths).max() < 1e-5


def law_mirror(joints):
    even = Motion(h.uniform_skeleton(joints, EVEN), "joints", fps=20)
    features = Motion(h.joints_to_hml263(even.data, EVEN), "hml263", fps=20)
    mirrored = edit.mirror(features)
    assert np.abs(mirrored.data - h.joints_to_hml263(edit.mirror(even).data, EVEN)).max() < 2e-5
    assert np.array_equal(edit.mirror(mirrored).data, features.data)
    seen = edit.mirror(roads.convert(features, "joints")).data
    assert np.abs(roads.convert(mirrored, "joints").data - seen).max() < 1e-5


def law_nothing_is_shared(joints):
    mine = joints.astype(np.float32)
    motion = Motion(mine, "joints", fps=20)
    before = motion.data.copy()
    mine += 1
    assert np.array_equal(motion.data, before) and not motion.data.flags.writeable
    features = h.joints_to_hml263(joints)
    copy = features.copy()
    h.hml263_to_joints(features)[:] = 0
    h.hml263_to_rotations(features)[:] = 0
    assert np.array_equal(features, copy)


def law_plain(joints):
    features = h.joints_to_hml263(joints)
    assert np.abs(features - plain_joints_to_hml263(joints)).max() < 1e-5
    assert np.abs(h.hml263_to_joints(features) - plain_hml263_to_joints(features)).max() < 1e-5


LAWS = (
    law_lifting_turning_walking_away, law_there_and_back, law_bone_lengths_survive, law_mirror, law_nothing_is_shared,
    law_plain,
)  # fmt: skip


@given(BODIES, LIFT, AWAY, AWAY, YAW)
def test_lifting_turning_and_walking_away_change_no_feature(joints, lift, x, z, yaw):
    law_lifting_turning_walking_away(joints, lift, x, z, yaw)


@given(BODIES)
def test_there_and_back(joints):
    law_there_and_back(joints)


@given(BODIES)
def test_bone_lengths_survive(joints):
    law_bone_lengths_survive(joints)


@given(BODIES, st.floats(0.3, 3))
def test_size_of_the_body_does_not_matter(joints, size):
    assert np.abs(h.joints_to_hml263(joints * size) - h.joints_to_hml263(joints)).max() < 1e-5


@given(BODIES)
def test_mirror(joints):
    law_mirror(joints)


@given(BODIES)
def test_nothing_is_shared(joints):
    law_nothing_is_shared(joints)


@pytest.mark.parametrize("seed", range(3))
def test_plain_way_gives_the_same(seed):
    law_plain(moving_body(20, seed))


@given(st.integers(4, 40), st.integers(0, 1000), YAW)
def test_kit_laws(frames, seed, yaw):
    joints = kit_body(frames, seed)
    features = h.joints_to_kit251(joints, KIT_BODY)
    moved = h.joints_to_kit251(turned(joints + [500, 200, -900], yaw), KIT_BODY)
    assert np.abs(moved - features).max() < 1e-2
    placed = h.canonicalize(h.uniform_skeleton(joints, KIT_BODY, skeleton=KIT21), skeleton=KIT21)
    if np.abs(features[:, 0]).sum() < 1.5:  # stays clear of facing backwards
        assert np.abs(h.kit251_to_joints(features) - placed[:-1]).max() < 1e-2
        assert np.abs(h.kit251_to_joints_by_rotations(features, KIT_BODY) - placed[:-1]).max() < 1e-2


def test_a_batch_is_its_clips():
    clips = np.stack([h.joints_to_hml263(moving_body(20, seed)) for seed in range(6)]).reshape(2, 3, 19, 263)
    for decode in (h.hml263_to_joints, h.hml263_to_joints_by_rotations, h.hml263_to_rotations):
        together = decode(clips)
        assert together.shape[:3] == (2, 3, 19)
        assert np.array_equal(together[1, 2], decode(clips[1, 2]))
    assert h.hml263_to_joints(clips[0, 0, :1]).shape == (1, 22, 3)


# ---------------------------------------------------------------------------------------------- refusals


def broken(value):
    joints = moving_body(9)
    joints[4, 3, 1] = value
    return joints


def folded():
    joints = moving_body(9)
    joints[5, 18] = joints[5, 16]
    return joints


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: h.joints_to_hml263(broken(np.nan), name="a"), "a: every joint must be finite.*1 of 9.*in frame 4"),
        (lambda: h.joints_to_hml263(broken(np.inf), name="a"), "a: every joint must be finite.*frame 4"),
        (lambda: h.joints_to_hml263(np.zeros((9, 24, 3)), name="a"), r"a: smpl22 joints .* got \(9, 24, 3\)"),
        (lambda: h.joints_to_hml263(np.zeros((2, 9, 22, 3)), name="a"), "one clip"),
        (lambda: h.joints_to_hml263(np.zeros((0, 22, 3)), name="a"), "a: encoding needs at least 4 frames; got 0"),
        (lambda: h.joints_to_hml263(folded(), name="a"), "a: every bone .* joint left_elbow, frame 5"),
        (lambda: h.joints_to_hml263(moving_body(9), EVEN[:, ::-1]), "along the rest directions"),
        (lambda: h.joints_to_kit251(np.zeros((9, 22, 3)), KIT_BODY), "kit21 joints must have shape"),
        (lambda: h.joints_to_kit251(kit_body(9, 0), None), "pass the target offsets"),
        (lambda: h.hml263_to_joints(np.zeros((9, 251)), name="a"), r"a: smpl22 features .* 263\).*got \(9, 251\)"),
        (lambda: h.hml263_to_joints(np.zeros((0, 263))), "T at least 1"),
        (lambda: h.kit251_to_joints(np.zeros((9, 263))), "251"),
        (lambda: h.hml263_to_joints_by_rotations(np.zeros((9, 263))), "two independent vectors"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(ValueError, match=words):
        call()


# ---------------------------------------------------------------------------------------------- mutants

ROOT, TURN, ACROSS, HEADING, CHAINS = h._root, h._turn, h._across, h._heading, h._chain_parents
CONTACTS, CANONICAL, LOCAL = h._contacts, h._canonical, h._local_quats
FLIP = np.reshape([1, -1, -1, -1], (4, 1, 1))


def root_step_not_turned(array):
    half, _, _ = ROOT(array)
    steps = np.concatenate((np.zeros_like(array[..., :1, 1:3]), np.cumsum(array[..., :-1, 1:3], axis=-2)), axis=-2)
    return half, steps[..., 0], steps[..., 1]


def root_uses_its_own_row(array):
    half, x, z = ROOT(array)
    return np.cumsum(array[..., 0], axis=-1), x, z


def first_heading_kept(positions, skeleton, smooth, name):
    w, y = HEADING(positions, skeleton, smooth, name)
    doubled = np.concatenate((positions[..., :1], positions), axis=-1)
    w0, y0 = HEADING(doubled, skeleton, False, name)
    return np.concatenate((w0[1:2], w[1:])), np.concatenate((y0[1:2], y[1:]))


def floor_of_first_frame(positions, skeleton, name):
    placed = CANONICAL(positions, skeleton, name)
    placed[1] -= placed[1, :, 0].min()
    return placed


def shared_arrays(monkeypatch):
    class Sharing:
        array = staticmethod(np.asarray)

        def __getattr__(self, name):
            return getattr(np, name)

    monkeypatch.setattr(clip, "np", Sharing())


def set_(name, value):
    return lambda monkeypatch: monkeypatch.setattr(h, name, value)


MUTANTS = {
    "half angle taken for whole": set_("_root", lambda a: (ROOT(a)[0] / 2, *ROOT(a)[1:])),
    "whole angle taken for half": set_("_root", lambda a: (ROOT(a)[0] * 2, *ROOT(a)[1:])),
    "decode turns the other way": set_("_root", lambda a: (-ROOT(a)[0], *ROOT(a)[1:])),
    "root step not turned": set_("_root", root_step_not_turned),
    "yaw of the row itself": set_("_root", root_uses_its_own_row),
    "encode turns the other way": set_("_turn", lambda w, y, x, z: TURN(w, -y, x, z)),
    "hips with the clean sign everywhere": set_("_across", lambda p, s, hips: ACROSS(p, s, 1.0)),
    "hips with the wrong sign everywhere": set_("_across", lambda p, s, hips: ACROSS(p, s, -1.0)),
    "facing not smoothed": set_("_smooth", lambda values: values),
    "facing smoothed twice": set_("SMOOTHING", 40.0),
    "first heading kept": set_("_heading", first_heading_kept),
    "chains follow the body's parents": set_("_chain_parents", lambda s: np.maximum(s.parents, 0)),
    "floor of the first frame": set_("_canonical", floor_of_first_frame),
    "feet in another order": set_("_contacts", lambda p, s: CONTACTS(p, s)[[2, 3, 0, 1]]),
    "contact by distance, not its square": set_("_contacts", lambda p, s: CONTACTS(p * np.sqrt(500), s)),
    "rotations transposed": set_("_local_quats", lambda b, q, s: LOCAL(b, q, s) * FLIP),
    "rotations read in another 6D layout": set_("rot6d_columns_to_matrix", rotation.rot6d_interleaved_to_matrix),
    "caller's array shared": shared_arrays,
}


def alarms():
    """Names of the golden cases and laws of this file that fail."""
    rung = [result.case for result in run_folder(GOLDEN) if result.verdict == "fail"]
    for law in LAWS:
        try:
            law(moving_body(24, 7))
        except (AssertionError, ValueError) as error:
            rung.append(f"{law.__name__}: {type(error).__name__}")
    return rung


def test_unchanged_code_raises_no_alarm():
    assert alarms() == []


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_dies(name, monkeypatch):
    MUTANTS[name](monkeypatch)
    assert alarms(), f"no check noticed: {name}"


def test_widths_of_the_specs_agree():
    for name, skeleton in (("hml263", SMPL22), ("kit251", KIT21)):
        spec = get_spec(name)
        assert spec.width == 12 * len(skeleton.joints) - 1
        assert spec.channel("contacts").start == spec.width - 4
