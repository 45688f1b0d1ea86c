"""Whole bodies in numbers: motion135, motion272, interhuman262, dart276, babel135, hymotion201, and their traps."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hftrainer.bench import moving_body
from hftrainer.cli import main
from hftrainer.motion import Motion, edit
from hftrainer.motion.axes import FACING_Y_TO_FACING_Z, Z_UP_TO_Y_UP
from hftrainer.motion.files import load
from hftrainer.motion.mirroring import mirror_map
from hftrainer.motion.representation import convert as roads
from hftrainer.motion.representation.babel135 import babel135_to_rotations, rotations_to_babel135
from hftrainer.motion.representation.convert import ROADS, convert, find_route
from hftrainer.motion.representation.dart276 import dart276_to_path, in_first_frame, rotations_to_dart276
from hftrainer.motion.representation.hml263 import joints_to_hml263
from hftrainer.motion.representation.hymotion201 import hymotion198_to_201, hymotion201_to_198
from hftrainer.motion.representation.interhuman262 import (
    interhuman_place,
    joints_to_interhuman262,
    pair_to_interhuman262,
)
from hftrainer.motion.representation.motion135 import (
    local_rotations,
    motion135_to_joints,
    motion135_to_rotations,
    motion135_to_smpl,
    rotations_to_motion135,
    smpl_to_motion135,
    world_rotations,
)
from hftrainer.motion.representation.motion272 import (
    hml263_to_motion272,
    motion135_to_motion272,
    motion272_to_joints,
    motion272_to_motion135,
    motion272_to_rotations,
    motion272_to_smpl85,
    rotations_to_motion272,
    smpl85_face_z,
    smpl85_to_motion272,
)
from hftrainer.motion.representation.specs import get_spec, list_specs
from hftrainer.motion.rotation import matrix_to_rot6d_rows, rot6d_rows_to_matrix, rotvec_to_matrix
from hftrainer.motion.skeleton import CANON272_REST, SMPL22
from tests.parity import zoo_bodies
from tests.parity.__main__ import run_folder

NEW = ("motion135", "motion272", "interhuman262", "dart276", "babel135", "hymotion201")


def about_y(angle):
    return rotvec_to_matrix([0.0, angle, 0.0])


def body(seed=0, frames=9, heading=None):
    """``(T, 135)`` of a body that walks, bends and turns smoothly; upright enough to have a heading."""
    rng = np.random.default_rng(seed)
    phase = np.linspace(0, 1 + rng.random(), frames)[:, None, None] * 2 * np.pi + rng.uniform(0, 6, (1, 22, 3))
    turns = rotvec_to_matrix(np.sin(phase) * rng.uniform(0.05, 0.5, (1, 22, 3)))
    yaw = (rng.uniform(-np.pi, np.pi) if heading is None else heading) + np.linspace(0, rng.uniform(-1, 1), frames)
    turns[:, 0] = rotvec_to_matrix(yaw[:, None] * [0.0, 1.0, 0.0]) @ rotvec_to_matrix(np.sin(phase[:, 0]) * 0.2)
    walked = np.cumsum(rng.normal(0, 0.02, (frames, 3)), axis=0) + rng.uniform(-2, 2, 3) * [1, 0, 1] + [0, 1, 0]
    return rotations_to_motion135(turns, walked)


BODIES = st.builds(body, st.integers(0, 10_000), st.integers(4, 14))


def moved(features, turn=None, by=(0.0, 0.0, 0.0)):
    """The same movement turned about the vertical through the origin, then moved."""
    local, translation = motion135_to_rotations(features)
    turn = np.eye(3) if turn is None else turn
    local[:, 0] = turn @ local[:, 0]
    place = SMPL22.rest[0]
    return rotations_to_motion135(local, (translation + place) @ turn.T - place + by)


def channel(name, what):
    return np.s_[..., get_spec(name).channel(what).slice]


def changed(name, before, after, tolerance=1e-6):
    """Names of the channels in which two arrays differ."""
    return {c.name for c in get_spec(name).channels if np.abs(before[:, c.slice] - after[:, c.slice]).max() > tolerance}


def z_up(features):
    """Rotations, translation and joints of motion135 in a world with +Z up, the translation SMPL's there."""
    local, _ = motion135_to_rotations(features)
    local[:, 0] = Z_UP_TO_Y_UP.T @ local[:, 0]
    joints = motion135_to_joints(features) @ Z_UP_TO_Y_UP
    return local, joints[:, 0] - SMPL22.rest[0], joints


# ---------------------------------------------------------------------------------------------- there and back


@given(BODIES)
def test_motion135_there_and_back(features):
    assert np.allclose(rotations_to_motion135(*motion135_to_rotations(features)), features, atol=1e-12)
    assert np.allclose(smpl_to_motion135(*motion135_to_smpl(features)), features, atol=1e-9)
    local, _ = motion135_to_rotations(features)
    assert np.allclose(local_rotations(world_rotations(local)), local, atol=1e-12)


@given(BODIES)
def test_motion135_keeps_its_bones(features):
    lengths = SMPL22.bone_lengths(motion135_to_joints(features))
    assert np.allclose(lengths, np.linalg.norm(SMPL22.rest, axis=-1) * (np.arange(22) > 0), atol=1e-9)


def same_but_for_the_place(one, other, tolerance=1e-6):
    """Equal joints after putting both first frames at the origin, facing +Z."""

    def placed(joints):
        return edit.face_forward(Motion(joints - joints[0, 0], "joints", fps=30)).data

    return np.abs(placed(one) - placed(other)).max() < tolerance


@given(BODIES)
def test_motion272_there_and_back(features):
    joints = motion135_to_joints(features)
    local, _ = motion135_to_rotations(features)
    coded = rotations_to_motion272(local, joints)
    assert same_but_for_the_place(motion272_to_joints(coded), joints)
    turns, pelvis = motion272_to_rotations(coded)
    assert np.allclose(turns[:, 1:], local[:, 1:], atol=1e-9)
    assert np.allclose(pelvis, motion272_to_joints(coded)[:, 0], atol=1e-9)
    assert np.allclose(rotations_to_motion272(turns, motion272_to_joints(coded)), coded, atol=1e-9)
    back = motion272_to_motion135(coded)
    assert same_but_for_the_place(motion135_to_joints(back), joints)
    assert np.allclose(motion135_to_motion272(back, SMPL22.rest), coded, atol=1e-9)


@given(BODIES)
def test_dart276_babel135_hymotion201_and_interhuman262_there_and_back(features):
    joints = motion135_to_joints(features)
    for name, rows in (("dart276", -1), ("babel135", None), ("hymotion201", None)):
        coded = getattr(roads, f"motion135_to_{name}")(features)
        back = getattr(roads, f"{name}_to_motion135")(coded)
        ends = motion135_to_joints(back)
        if name == "babel135":  # its turn is no heading, so only the shape can be compared
            ends, want = (j - j[:1, :1] for j in (ends, joints))
            turn = motion135_to_rotations(back)[0][0, 0] @ motion135_to_rotations(features)[0][0, 0].T
            assert np.allclose(turn[1], [0, 1, 0], atol=1e-9) and np.allclose(ends, want @ turn.T, atol=1e-9)
        else:
            assert same_but_for_the_place(ends, joints[:rows], 1e-5)
        assert np.allclose(motion135_to_rotations(back)[0][:, 1:], motion135_to_rotations(features)[0][:rows, 1:])
    assert np.array_equal(roads.hymotion201_to_motion135(coded), features)
    assert np.allclose(roads.hymotion201_to_joints(coded), joints, atol=1e-9)
    assert np.array_equal(hymotion198_to_201(hymotion201_to_198(coded)), coded)
    dart = roads.motion135_to_dart276(features)
    assert same_but_for_the_place(roads.dart276_to_joints(dart), joints[:-1], 1e-5)
    _, translation, path = dart276_to_path(dart)
    assert len(path) == len(features) and np.allclose(path[:, 0] - translation, SMPL22.rest[0], atol=1e-9)
    person = roads.motion135_to_interhuman262(features)
    assert same_but_for_the_place(roads.interhuman262_to_joints(person), joints[:-1], 1e-5)
    again = roads.interhuman262_to_motion135(person)
    assert same_but_for_the_place(motion135_to_joints(again), joints[:-1], 1e-3)


# ---------------------------------------------------------------------------------------------- what changes, what not


@given(BODIES, st.floats(-2, 2), st.floats(-3, 3))
def test_lifting_a_body_changes_heights_and_nothing_else(features, up, away):
    lifted, shifted = moved(features, by=(0, up, 0)), moved(features, by=(away, 0, 1))
    assert changed("motion135", features, lifted) <= {"translation"}
    assert np.allclose(motion135_to_joints(lifted), motion135_to_joints(features) + [0, up, 0], atol=1e-9)
    for other in (lifted, shifted):
        for name in ("motion272", "interhuman262"):  # both put the body on the floor at the origin
            make = getattr(roads, f"motion135_to_{name}")
            assert np.allclose(make(other), make(features), atol=1e-9)
        assert np.allclose(roads.motion135_to_dart276(other), roads.motion135_to_dart276(features), atol=1e-9)
    babel = roads.motion135_to_babel135
    assert np.allclose(babel(shifted), babel(features), atol=1e-9)
    assert np.allclose(babel(lifted)[:, 1:], babel(features)[:, 1:], atol=1e-9)
    assert np.allclose(babel(lifted)[:, 0], babel(features)[:, 0] + up, atol=1e-9)
    hymotion = roads.motion135_to_hymotion201
    assert changed("hymotion201", hymotion(features), hymotion(lifted)) <= {"translation"}


@given(BODIES, st.floats(-3, 3))
def test_turning_a_body_changes_its_heading_and_nothing_else(features, angle):
    turned = moved(features, about_y(angle))
    assert np.allclose(motion135_to_joints(turned), motion135_to_joints(features) @ about_y(angle).T, atol=1e-9)
    assert np.allclose(turned[:, 9:], features[:, 9:], atol=1e-12)
    for name in ("motion272", "interhuman262", "dart276"):  # none of them holds the first heading
        make = getattr(roads, f"motion135_to_{name}")
        assert np.allclose(make(turned), make(features), atol=1e-8)
    made, before = roads.motion135_to_babel135(turned), roads.motion135_to_babel135(features)
    assert changed("babel135", before[:, :135], made) <= {"step", "rotations"}
    assert np.allclose(made[:, 9:], before[:, 9:], atol=1e-9)
    assert np.allclose(np.linalg.norm(made[:, 1:3], axis=-1), np.linalg.norm(before[:, 1:3], axis=-1), atol=1e-9)
    assert changed("hymotion201", roads.motion135_to_hymotion201(features), roads.motion135_to_hymotion201(turned)) <= {
        "translation", "rotations", "position",
    }  # fmt: skip


@given(st.sampled_from(list_specs()), st.integers(0, 99))
def test_mirroring_twice_gives_the_same(name, seed):
    spec = get_spec(name)
    motion = Motion(np.random.default_rng(seed).normal(size=(4, *spec.shape)), name, fps=spec.fps)
    once = edit.mirror(motion)
    assert np.array_equal(edit.mirror(once).data, motion.data) and not np.array_equal(once.data, motion.data)
    order, sign = mirror_map(name)
    assert sorted(order) == list(range(spec.width)) and set(sign) == {-1, 1}


@given(BODIES)
def test_the_code_of_a_mirror_image_is_the_mirror_image_of_the_code(features):
    even = SMPL22.rest.copy()  # a body whose sides are alike: on others the bones change sides too
    even = (even + even[list(SMPL22.mirror)] * [-1, 1, 1]) / 2
    image = edit.mirror(Motion(features, "motion135", fps=30)).data
    twins = list(SMPL22.mirror)
    joints, seen = motion135_to_joints(features, even), motion135_to_joints(image, even)
    assert np.allclose(seen, joints[:, twins] * [-1, 1, 1], atol=1e-5)
    for name in NEW[1:]:
        make, given_body = getattr(roads, f"motion135_to_{name}"), even[0] if name == "babel135" else even
        seen = edit.mirror(Motion(make(features, given_body), name, fps=get_spec(name).fps)).data
        assert changed(name, seen, make(image, given_body), 2e-5) == set(), name


@given(BODIES)
@settings(max_examples=20)
def test_motion135_is_resampled_put_on_the_floor_and_turned(features):
    motion = Motion(features, "motion135", fps=30)
    slower = edit.resample(motion, 15)
    half, faster = len(features) // 2, edit.resample(motion, 60)
    assert slower.fps == 15 and np.allclose(slower.data[:half], motion.data[::2][:half], atol=1e-6)
    assert len(faster) == 2 * len(motion) - 1 and np.allclose(faster.data[::2], motion.data, atol=1e-6)
    between = motion135_to_rotations(faster.data)[0][1::2]
    there = motion135_to_rotations(features)[0]
    assert np.allclose(between @ np.swapaxes(there[:-1], -1, -2) @ between, there[1:], atol=1e-5)  # half the way each
    low = edit.on_floor(motion)
    assert abs(motion135_to_joints(low.data)[..., 1].min()) < 1e-6
    assert changed("motion135", motion.data, low.data) <= {"translation"}
    ahead = edit.face_forward(motion)
    want = edit.face_forward(convert(motion, "joints"))
    assert np.allclose(convert(ahead, "joints").data, want.data, atol=1e-5)


# ---------------------------------------------------------------------------------------------- the trap list


def test_trap_4_arm_chains_restart_at_the_root_only_where_hml263_made_them():
    """Ours is right by default; the released bridge's collars are there by name, and nothing else differs."""
    features = joints_to_hml263(moving_body(30))
    ours, released = hml263_to_motion272(features), hml263_to_motion272(features, sums="parents")
    wrong = np.abs(ours - released)
    assert wrong[:, :140].max() < 1e-12
    per_joint = wrong[:, 140:].reshape(-1, 22, 6).max(axis=(0, 2))
    assert set(np.flatnonzero(per_joint > 1e-4)) <= {13, 14} and per_joint[13:15].min() > 0.05
    with pytest.raises(ValueError, match="sums must be one of chains, parents; got 'smpl'"):
        hml263_to_motion272(features, sums="smpl")

    def off(coded):  # of the arms' bones in the first frame, degrees, from where the stored joints are
        world, joints = world_rotations(motion272_to_rotations(coded)[0])[0], motion272_to_joints(coded)[0]
        bones = joints - joints[np.maximum(SMPL22.parents, 0)]
        aimed = (world @ CANON272_REST[..., None])[..., 0]
        lengths = np.linalg.norm(aimed, axis=-1) * np.linalg.norm(bones, axis=-1)
        return np.degrees(np.arccos(np.clip((aimed * bones).sum(-1)[16:] / lengths[16:], -1, 1)))

    assert off(ours).max() < 0.1 and off(released).max() > 5


@pytest.mark.parametrize(("name", "lost"), [("motion272", 0), ("babel135", 0), ("hymotion201", 0),
                                            ("dart276", 1), ("interhuman262", 1)])  # fmt: skip
def test_trap_5_how_many_rows_a_clip_gives(name, lost):
    assert len(getattr(roads, f"motion135_to_{name}")(body(frames=11))) == 11 - lost


@given(BODIES)
def test_trap_6_three_layouts_of_6d_are_never_confused(features):
    """Each representation's rotations, read in its own layout, are the body's; in another they are other rotations."""
    local, _ = motion135_to_rotations(features)
    layouts = {
        "motion135": "interleaved", "hymotion201": "interleaved", "dart276": "interleaved",
        "interhuman262": "interleaved", "motion272": "rows", "babel135": "rows", "hml263": "columns",
    }  # fmt: skip
    assert {name: get_spec(name).rot6d for name in layouts} == layouts
    for name in NEW:
        coded = features if name == "motion135" else getattr(roads, f"motion135_to_{name}")(features)
        where = get_spec(name).channel("rotations")
        assert where.unit == f"rot6d_{layouts[name]}"
        block = coded[:, where.slice].reshape(len(coded), -1, 6)[:, -21:]
        with_rows = rot6d_rows_to_matrix(block)
        right = np.abs(with_rows - local[: len(coded), 1:]).max() < 1e-6
        assert right == (layouts[name] == "rows")
    wide = {name for name in list_specs() if get_spec(name).shape == (135,)}
    assert wide == {"motion135", "babel135"}


def test_trap_8_halves_are_rounded_to_even_and_two_ways_of_resampling():
    standing = np.zeros((33, 263))
    standing[:, 4:67] = np.random.default_rng(0).normal(size=63)
    standing[:, 67:193] = np.tile([1, 0, 0, 0, 1, 0], 21)
    assert len(hml263_to_motion272(standing)) == 50 and len(hml263_to_motion272(standing[:21])) == 32
    assert len(roads.hml263_to_motion135(standing[:3])) == 4
    assert len(roads.motion272_to_hml263(motion135_to_motion272(body(frames=33)))) == 21


@given(BODIES)
def test_trap_9_motion272_height_steps_from_the_left_and_the_earlier_heading(features):
    local, _ = motion135_to_rotations(features)
    joints = motion135_to_joints(features)
    coded = rotations_to_motion272(local, joints)
    assert np.allclose(coded[:, 9], joints[:, 0, 1] - joints[..., 1].min(), atol=1e-9)  # height of the pelvis
    angle = -np.arctan2(local[:, 0, 0, 2], local[:, 0, 2, 2])
    step = joints[1:, 0] - joints[:-1, 0]
    for frame in range(1, len(coded)):
        earlier = about_y(angle[frame - 1]) @ step[frame - 1]
        assert np.allclose(coded[frame, :2], earlier[[0, 2]], atol=1e-9)
        heading = rot6d_rows_to_matrix(coded[frame, 2:8]) @ about_y(angle[frame - 1])
        assert np.allclose(heading, about_y(angle[frame]), atol=1e-9)
    tilted = coded.copy()  # steps that do not commute show from which side they act
    tilt = rotvec_to_matrix(np.random.default_rng(0).normal(0, 0.3, (len(coded), 3)))
    tilted[:, 2:8] = matrix_to_rot6d_rows(tilt)
    heading = np.eye(3)
    for frame in range(len(coded)):
        heading = tilt[frame] @ heading
        want = heading.T @ rot6d_rows_to_matrix(tilted[frame, 140:146])
        assert np.allclose(motion272_to_rotations(tilted)[0][frame, 0], want, atol=1e-9)
    assert np.allclose(coded[0, :2], 0) and np.allclose(coded[0, 2:8], [1, 0, 0, 0, 1, 0])
    assert np.allclose(coded[0, 74:140], 0)


@given(BODIES)
def test_trap_10_the_translation_is_smpls_and_the_pelvis_by_name(features):
    joints = motion135_to_joints(features)
    assert np.allclose(joints[:, 0], features[:, :3] + SMPL22.rest[0], atol=1e-12)  # added as it is, not turned
    coded = motion135_to_motion272(features)
    pelvis = motion272_to_joints(coded)[:, 0]
    assert np.allclose(motion135_to_joints(motion272_to_motion135(coded))[:, 0], pelvis, atol=1e-9)
    released = motion272_to_motion135(coded, np.zeros(3))
    assert np.allclose(released[:, :3], pelvis, atol=1e-9)
    there = SMPL22.rest * (np.arange(22) > 0)[:, None]
    assert np.allclose(motion135_to_joints(released, there)[:, 0], pelvis, atol=1e-9)
    assert np.allclose(motion135_to_motion272(released), coded, atol=1e-9)  # a constant has no influence
    # the same in worlds with +Z up: SMPL adds the pelvis there unturned too
    local, translation, upright = z_up(features)
    babel = roads.motion135_to_babel135(features)
    assert np.allclose(babel, rotations_to_babel135(local, translation), atol=1e-9)
    turned = moved(features, Z_UP_TO_Y_UP.T)
    assert np.allclose(babel[:, 0], turned[:, 2], atol=1e-9)
    assert np.allclose(motion135_to_joints(turned), upright, atol=1e-9)
    assert np.allclose(roads.hymotion201_to_joints(roads.motion135_to_hymotion201(features), np.zeros(3))[:, 0],
                       features[:, :3], atol=1e-9)  # fmt: skip


@pytest.mark.parametrize(("height", "stands"), [((0.119, 0.049), [1, 1]), ((0.121, 0.051), [0, 0])])
@pytest.mark.parametrize(("step", "still"), [(0.031, True), (0.032, False)])
def test_trap_11_interhuman_feet_stand_by_squared_step_and_height(height, stands, step, still):
    joints = np.tile(motion135_to_joints(body(frames=1, heading=0)), (2, 1, 1))
    joints[..., 1] += 1 - joints[..., 1].min()
    joints[:, 0] = [0, 2, 0]
    joints[:, 20, 1] = 0  # a hand on the floor
    joints[:, [7, 8], 1], joints[:, [10, 11], 1] = height
    joints[1, [7, 8, 10, 11], 0] += step  # 0.031 ** 2 < 0.001 < 0.032 ** 2
    contacts = joints_to_interhuman262(joints, np.tile(np.eye(3), (2, 21, 1, 1)))[0, 258:]
    assert contacts.tolist() == [float(still and at) for at in (*stands, *stands)]


def test_trap_12_turning_to_face_z_is_compared_as_rotations():
    rng = np.random.default_rng(3)
    rows = rng.normal(0, 0.3, (6, 85))
    rows[:, :3] = [[0.1, angle, 0] for angle in np.linspace(2.5, 3.9, 6)]  # over the half turn
    turned = smpl85_face_z(rows)
    first = rotvec_to_matrix(turned[0, :3]) @ [0, 0, 1]
    assert abs(first[0]) < 1e-9 and first[2] > 0
    assert np.array_equal(turned[:, 3:72], rows[:, 3:72]) and np.array_equal(turned[:, 75:], rows[:, 75:])
    change = rotvec_to_matrix(turned[:, :3]) @ np.swapaxes(rotvec_to_matrix(rows[:, :3]), -1, -2)
    assert np.allclose(change, change[:1], atol=1e-9) and np.allclose(change[0, 1], [0, 1, 0], atol=1e-9)
    assert np.allclose(turned[:, 72:75], rows[:, 72:75] @ change[0].T, atol=1e-9)
    longer = rows.copy()  # the same rotations, each vector a whole turn longer
    length = np.linalg.norm(rows[:, :3], axis=-1, keepdims=True)
    longer[:, :3] *= 1 + 2 * np.pi / length
    assert np.allclose(smpl85_face_z(longer), turned, atol=1e-9)
    assert np.allclose(smpl85_to_motion272(rows), smpl85_to_motion272(turned), atol=1e-9)
    back = motion272_to_smpl85(smpl85_to_motion272(rows))
    assert np.allclose(rotvec_to_matrix(back[:, :66].reshape(-1, 22, 3)),
                       rotvec_to_matrix(turned[:, :66].reshape(-1, 22, 3)), atol=1e-9)  # fmt: skip


# ---------------------------------------------------------------------------------------------- first frames


@given(st.integers(0, 500))
@settings(max_examples=30)
def test_a_pair_keeps_how_the_two_stand_to_each_other(seed):
    people = [motion135_to_joints(body(seed + n, 6)) for n in (0, 1)]
    people = [p - [0, p[..., 1].min(), 0] for p in people]  # both on the floor, which the code puts them on anyway
    turns = np.tile(np.eye(3), (6, 2, 21, 1, 1))
    pair = pair_to_interhuman262(np.stack(people, axis=1) @ Z_UP_TO_Y_UP, turns)[:, :, :66].reshape(5, 2, 22, 3)
    apart = np.linalg.norm(people[0][:, :, None] - people[1][:, None], axis=-1)
    assert np.allclose(np.linalg.norm(pair[:, 0][:, :, None] - pair[:, 1][:, None], axis=-1), apart[:5], atol=1e-9)
    _, origin = interhuman_place(pair[:, 0])
    assert np.allclose(origin, 0, atol=1e-9)


@given(BODIES)
def test_dart_clips_begin_in_their_own_axes(features):
    joints = motion135_to_joints(features) @ FACING_Y_TO_FACING_Z
    local, _ = motion135_to_rotations(features)
    local[:, 0] = FACING_Y_TO_FACING_Z.T @ local[:, 0]
    turned = in_first_frame(local, joints[:, 0] - SMPL22.rest[0], joints, floor=True)
    hips = turned[2][0, 2] - turned[2][0, 1]
    assert abs(hips[1]) < 1e-9 and hips[0] > 0 and abs(turned[2][..., 2].min()) < 1e-9
    assert np.allclose(turned[2][0, 0, :2], 0, atol=1e-9)
    assert np.allclose(turned[2][:, 0] - turned[1], SMPL22.rest[0], atol=1e-9)
    lying = joints.copy()
    lying[0, 1] = lying[0, 2] + [0, 0, 0.1]  # hips one above the other: the shoulders say
    shoulders = in_first_frame(local, joints[:, 0], lying)[2][0]
    assert abs((shoulders[17] - shoulders[16])[1]) < 1e-9
    lying[0, 16] = lying[0, 17] + [0, 0, 0.1]
    with pytest.raises(ValueError, match="x: the body must face somewhere; hips and shoulders of frame 0"):
        in_first_frame(local, joints[:, 0], lying, name="x")
    rows = rotations_to_dart276(*turned)
    root, _, _ = dart276_to_path(rows)
    assert np.allclose(root, turned[0][:, 0], atol=1e-9)
    assert np.allclose(babel135_to_rotations(rotations_to_babel135(*turned[:2]))[1][:, 2], turned[1][:, 2])


# ---------------------------------------------------------------------------------------------- names, roads, refusals


@pytest.mark.parametrize(
    ("said", "meant"),
    [("MotionStreamer-272", "motion272"), ("ms272", "motion272"), ("h3d272", "motion272"), ("motion_272", "motion272"),
     ("motion_135", "motion135"), ("InterHuman-262", "interhuman262"), ("DART-276", "dart276"),
     ("BABEL-135", "babel135"), ("HY-Motion-201", "hymotion201"), ("motion27", "motion272")],
)  # fmt: skip
def test_other_names_are_answered_with_the_name(said, meant):
    with pytest.raises(KeyError, match=f"did you mean '{meant}'"):
        get_spec(said)


def test_a_width_of_135_never_decides_what_it_means():
    walk = Motion(body(frames=8), "motion135", fps=30)
    babel = convert(walk, "babel135")
    assert babel.data.shape[1] == walk.data.shape[1]
    misread = Motion(babel.data, "motion135", fps=30)
    right, wrong = convert(babel, "joints").data, convert(misread, "joints").data
    assert np.abs(right - wrong).max() > 0.1
    assert same_but_for_the_place(convert(convert(babel, "motion135"), "joints").data, right)


def test_roads_are_taken_in_a_row_and_the_route_says_which():
    walk = Motion(body(frames=12), "motion135", fps=30, name="walk")
    coded = convert(walk, "motion272")
    assert coded.route == ("motion135",) and coded.fps == 30
    assert repr(convert(coded, "hml263")).endswith("20 fps, route=motion135>motion272)")
    assert convert(coded, "hymotion201").route == ("motion135", "motion272", "motion135")
    joints = convert(coded, "joints")
    assert np.allclose(joints.data, motion272_to_joints(coded.data), atol=1e-6)
    hml = convert(coded, "hml263")
    assert convert(hml, "motion272").route == ("motion135", "motion272", "hml263", "motion135")
    assert convert(hml, "motion272").fps == 30 and convert(hml, "dart276").fps == 20
    for name in NEW:
        rows = convert(walk if name != "dart276" else walk.replace(fps=20), name)
        assert convert(rows, "joints").data.shape[1:] == (22, 3)


def test_motion135_becomes_hml263_from_any_rate():
    slow = Motion(body(frames=20), "motion135", fps=20)
    assert convert(slow, "hml263").route == ("motion135",) and len(convert(slow, "hml263")) == 19
    want = convert(convert(slow, "joints"), "hml263").data
    assert np.abs(convert(slow, "hml263").data - want).max() < 2e-5
    fast = Motion(np.repeat(slow.data, 6, axis=0), "motion135", fps=120)  # every sixth frame, nothing between two
    assert np.abs(convert(fast, "hml263").data - want).max() < 2e-5
    other = convert(slow.replace(fps=30), "hml263")
    assert other.fps == 20 and len(other) == 13 and other.seconds == pytest.approx(19 / 30, abs=0.05)


def test_no_way_round_because_of_a_frame_rate():
    walk = Motion(body(frames=12), "motion135", fps=20, name="walk")
    with pytest.raises(ValueError, match="walk: motion135 must have 30 fps to become motion272; got 20. Resample it"):
        convert(walk, "motion272")
    with pytest.raises(ValueError, match="motion135 must have 30 fps .* got 20. Convert it to motion135 and resample"):
        convert(convert(walk, "dart276"), "motion272")
    faster = edit.resample(walk, 30)
    assert convert(faster, "motion272").fps == 30
    with pytest.raises(ValueError, match="joints must have 20 fps to become hml263; got 30. Resample it to 20 first"):
        convert(convert(faster, "joints"), "hml263")


def test_every_road_says_what_it_does_and_keeps_its_rate():
    pairs = {(road.source, road.target) for road in ROADS}
    assert {(a, b) for a in NEW for b in ("joints", "motion135") if a not in (b, "babel135")} <= pairs
    assert all(road.about for road in ROADS)
    for source in ("joints", "hml263", *NEW):
        for target in ("joints", "hml263", *NEW):
            assert find_route(source, target) is not None, (source, target)
    assert find_route("joints", "kit251") is None and find_route("hml263", "hml263") == ()
    rows = {name: convert(Motion(body(frames=9), "motion135", fps=get_spec(name).fps), name) for name in NEW}
    for road in ROADS:
        if road.source in rows and road.fps in (None, rows[road.source].fps):
            out = convert(rows[road.source], road.target)
            assert out.route[-1] == road.source and out.fps == (road.to_fps or rows[road.source].fps)


@pytest.mark.parametrize("name", NEW)
def test_wrong_numbers_are_refused_by_name(name):
    target = "motion135" if name != "motion135" else "motion272"
    run = getattr(roads, f"{name}_to_{target}")
    width = get_spec(name).width
    with pytest.raises(ValueError, match=rf"clip: {name} must have shape \(T, {width}\) .* got \(4, 99\)"):
        run(np.zeros((4, 99)), name="clip")
    with pytest.raises(ValueError, match=rf"{name} must have shape"):
        run(np.zeros((0, width)))
    rows = np.ones((5, width))
    rows[3, 7] = np.nan
    with pytest.raises(ValueError, match="clip: every value must be finite; got NaN or infinity in 1 of 5 .* frame 3"):
        run(rows, name="clip")
    if name != "hymotion201":  # the others decode rotations
        with pytest.raises(ValueError, match="two independent vectors; got a zero or parallel pair"):
            run(np.zeros((4, width)))


def test_shapes_that_do_not_fit_are_refused():
    local, translation = motion135_to_rotations(body(frames=5))
    with pytest.raises(ValueError, match="equally many frames; got 5 and 4"):
        rotations_to_motion135(local, translation[:4])
    with pytest.raises(ValueError, match="equally many frames; got 5 and 4"):
        rotations_to_motion272(local, np.zeros((4, 22, 3)))
    with pytest.raises(ValueError, match=r"rest must have shape \(22, 3\); got \(24, 3\)"):
        motion135_to_joints(body(), np.zeros((24, 3)))
    with pytest.raises(ValueError, match=r"pelvis_offset must have shape \(3,\); got \(2,\)"):
        motion272_to_motion135(motion135_to_motion272(body()), np.zeros(2))
    with pytest.raises(ValueError, match="rotation_space must be 'local' or 'world'; got 'global'"):
        motion135_to_motion272(body(), rotation_space="global")
    with pytest.raises(ValueError, match="at least 2; got 1"):
        roads.motion135_to_dart276(body(frames=1))
    with pytest.raises(ValueError, match="at least 2; got 1"):
        roads.motion135_to_interhuman262(body(frames=1))
    world = rotations_to_motion135(world_rotations(local), translation)
    want = motion135_to_motion272(body(frames=5))
    assert np.allclose(motion135_to_motion272(world, rotation_space="world"), want, atol=1e-9)


def test_a_long_clip_is_quick():
    """Nothing goes frame by frame: 4000 frames there and back twice take well under two seconds of one core."""
    walk = Motion(body(frames=4000), "motion135", fps=30)
    start = time.process_time()
    coded = convert(walk, "motion272")
    convert(coded, "joints")
    convert(coded, "motion135")
    assert time.process_time() - start < 2


# ---------------------------------------------------------------------------------------------- command and parity


def test_the_command_takes_the_new_names_and_prints_the_roads(tmp_path, capsys):
    np.save(tmp_path / "walk.npy", joints_to_hml263(moving_body(30)))
    np.save(tmp_path / "other.npy", body(frames=8))

    def command(*words):
        code = main(["convert", *(str(tmp_path / word) if "." in word else word for word in words)])
        out = capsys.readouterr()
        return code, out.out, out.err

    code, out, _ = command("walk.npy", "walk.npz", "--to", "motion272")
    assert code == 0 and "hml263 > motion135, 30 fps, lossy: " in out and "motion135 > motion272, lossy: " in out
    assert load(tmp_path / "walk.npz").route == ("hml263", "motion135")
    code, out, err = command("walk.npy", "no.npz", "--to", "MotionStreamer-272")
    assert code == 2 and "did you mean 'motion272'?" in err and not (tmp_path / "no.npz").exists()
    code, out, err = command("other.npy", "no.npz")
    assert code == 2 and "a width of 135 is shared by motion135, babel135" in err
    assert command("other.npy", "other.npz", "--from", "motion135", "--to", "babel135")[0] == 0
    assert load(tmp_path / "other.npz").representation.name == "babel135"
    code, out, err = command("other.npz", "no.npz", "--to", "dart276")
    assert code == 2 and "motion135 must have 20 fps to become dart276; got 30" in err


@pytest.mark.parametrize("name", ["interhuman262.npz", "dart276_babel135_hy201.npz",
                                  "hml263_global_rot_walk_turn_first40.npz"])  # fmt: skip
def test_parity_runs_and_sees_every_wrong_number(name, shared, tmp_path):
    with np.load(shared / "golden" / "zoo" / name) as file:
        arrays = {key: file[key] for key in file.files}
    kinds = [kind for kind in zoo_bodies.KINDS if kind.matches(shared / "golden" / "zoo" / name)]
    assert len(kinds) == 1
    checks = kinds[0].run(shared / "golden" / "zoo" / name)
    assert checks and all(check.holds for check in checks), [check for check in checks if not check.holds]
    quiet = {"local_rotmat", "global_rotmat_chain"}  # another kind's
    for key in sorted(set(arrays) - quiet):
        wrong = arrays[key].copy()
        flat = wrong.reshape(-1)
        flat[flat.size // 2] += 0.01 * max(1.0, float(np.abs(flat).max()))
        np.savez(tmp_path / name, **{**arrays, key: wrong})
        assert not all(check.holds for check in kinds[0].run(tmp_path / name)), f"a wrong {key} was not noticed"
        np.savez(tmp_path / name, **{**arrays, key: arrays[key][:-1]})
        (result,) = run_folder(tmp_path, families=(zoo_bodies,))
        assert result.verdict == "fail", f"a short {key} was not noticed"
