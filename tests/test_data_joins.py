"""Composed windows: bodies that pass into each other, of recorded stretches, the same for the same numbers."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hftrainer.bench import moving_body
from hftrainer.data.joins import BLEND, Composer, Stretch, blend, pose_distances
from hftrainer.data.verify import check_joints
from hftrainer.motion.measure import measure
from hftrainer.motion.representation.hml263 import hml263_to_joints, joints_to_hml263
from tests.stick_figure import striding

BODIES = {f"body{i}": joints_to_hml263(moving_body(81, i)) for i in range(4)}


def bones(joints: np.ndarray) -> np.ndarray:
    from hftrainer.motion.skeleton import SMPL22

    return np.linalg.norm(joints[:, 1:] - joints[:, list(SMPL22.parents[1:])], axis=-1)


@settings(max_examples=20, deadline=None)
@given(st.integers(BLEND, 60), st.integers(0, 40), st.sampled_from(sorted(BODIES)), st.sampled_from(sorted(BODIES)))
def test_blending_keeps_bones_and_all_other_frames(stop, start, one, other):
    a, b = BODIES[one][:stop], BODIES[other][start:]
    joined = blend(a, b)
    assert joined.shape == (len(a) + len(b) - BLEND, 263) and joined.dtype == np.float32
    assert np.array_equal(joined[: len(a) - BLEND], a[:-BLEND]) and np.array_equal(joined[len(a) :], b[BLEND:])
    length = bones(np.asarray(hml263_to_joints(joined)))
    assert np.abs(length - bones(np.asarray(hml263_to_joints(a)))[:1]).max() < 1e-4


def test_a_body_blends_into_itself_unchanged():
    a = BODIES["body0"]
    assert np.allclose(blend(a[:40], a[40 - BLEND :]), a, atol=1e-4)


def test_poses_are_near_to_themselves_and_far_from_others():
    a = BODIES["body0"]
    assert np.abs(np.diag(pose_distances(a, a)) + 0.15).max() < 1e-6  # nothing is nearer than the same pose
    assert pose_distances(a[:1], a).argmin() == 0


def composer() -> Composer:
    stretches = [Stretch("walk_f", name, 0, 80) for name in BODIES] + [Stretch("kick_left", "body1", 30, 40)]
    return Composer(stretches, BODIES.__getitem__)


def test_composed_windows_are_made_of_what_they_say_and_repeat():
    made = [composer().compose(np.random.default_rng(k)) for k in range(12)]
    again = [composer().compose(np.random.default_rng(k)) for k in range(12)]
    assert all(m is not None for m in made)
    for m, n in zip(made, again, strict=True):
        assert np.array_equal(m.features, n.features) and m.parts == n.parts
        assert 24 <= len(m.features) <= 196 and np.isfinite(m.features).all()
        name, start, _ = m.parts[0]
        assert np.array_equal(m.features[:6], BODIES[name][start : start + 6])
        assert sum(stop - start for _, start, stop in m.parts) - BLEND * (len(m.parts) - 1) == len(m.features)
    assert any(len(m.parts) > 1 for m in made)


def test_plans_bring_acts_in_the_order_that_sentences_ask_for():
    slow, fast = (joints_to_hml263(striding(speed, seconds=4.0)) for speed in (1.2, 1.6))
    stretches = [Stretch("walk_f", "slow", 0, 79), Stretch("run_f", "fast", 0, 79)]
    made = Composer(stretches, {"slow": slow, "fast": fast}.__getitem__)
    kinds = {name for plan in made.plans for part in plan for name in part}
    assert kinds == {"walk_f", "run_f"} and [["walk_f"], ["run_f"]] in made.plans
    found = [made._several(np.random.default_rng(k), [["walk_f"], ["run_f"]]) for k in range(20)]
    told = [[name for name, _, _ in one.parts] for one in found if one is not None]
    assert told and all(names == ["slow", "fast"] for names in told)


def test_nothing_to_compose_is_said_and_not_made_up():
    assert Composer([], BODIES.__getitem__).compose(np.random.default_rng(0)) is None
    vague = [Stretch("lively", "body0", 0, 60)]
    assert Composer(vague, BODIES.__getitem__).compose(np.random.default_rng(0)) is None


def test_a_turning_stretch_becomes_a_circle():
    curve = joints_to_hml263(striding(1.2, seconds=4.0, yaw=np.linspace(0, 200, 81)))
    found = []
    for seed in range(30):
        made = Composer([Stretch("veer_l", "curve", 0, 79)], {"curve": curve}.__getitem__)._loop(
            np.random.default_rng(seed)
        )
        if made is not None:
            found.append(measure(np.asarray(hml263_to_joints(made.features), dtype=float), 20))
    assert found and max(abs(body.turn) for body in found) > 270


@pytest.mark.parametrize("share", [-0.5, 11])
def test_a_wrong_share_is_refused(tmp_path, share):
    from hftrainer.data.build import build

    with pytest.raises(ValueError, match="composed must be 0 to 10"):
        build(tmp_path, tmp_path / "out", composed=share)


def test_a_build_composes_of_training_windows_alone_and_again_the_same(shared, tmp_path):
    from hftrainer.data.build import build

    pack = shared / "data" / "mocap"
    clips = ["cmu_16_01", "cmu_16_15", "cmu_16_31", "cmu_49_02", "cmu_16_35", "cmu_16_22"]
    dataset = build(pack, tmp_path / "a", workers=1, clips=clips, composed=1.0)
    build(pack, tmp_path / "b", workers=2, clips=clips, composed=1.0)
    names = (tmp_path / "a" / "composed.txt").read_text().split()
    assert len(names) == dataset["counts"]["composed"]["windows"] > 3
    training = set((tmp_path / "a" / "train.txt").read_text().split()) | set(
        (tmp_path / "a" / "short.txt").read_text().split()
    )
    for name, rows, parts in json.loads((tmp_path / "a" / "composed.json").read_text())["windows"]:
        features = np.load(tmp_path / "a" / "new_joint_vecs" / f"{name}.npy")
        assert len(features) == rows and {window for window, _, _ in parts} <= training
        assert np.array_equal(features, np.load(tmp_path / "b" / "new_joint_vecs" / f"{name}.npy"))
        assert not any(check_joints(np.asarray(hml263_to_joints(features), dtype=float), False))
        assert (tmp_path / "a" / "texts" / f"{name}.txt").read_text().count("\n") >= 1
