"""What must hold of the measures whatever the numbers are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from hftrainer.evaluation import metrics, physics, speed
from hftrainer.evaluation.aggregate import Draw, Pairs, permutations, row
from hftrainer.motion.skeleton import SMPL22

SEEDS, WIDTHS = st.integers(0, 10_000), st.integers(1, 10)


def cloud(samples, width, seed=0, spread=1.0):
    rng = np.random.default_rng(seed)
    return spread * rng.normal(size=(samples, width)) @ rng.normal(size=(width, width))


def turned(width, seed):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(width, width)))[0]


def standing():
    """The resting body, ``(22, 3)``."""
    joints = np.zeros((22, 3))
    for joint, parent in enumerate(SMPL22.parents):
        joints[joint] = SMPL22.rest[joint] + (joints[parent] if parent >= 0 else 0)
    return joints


def body(frames, seed=0):
    """A body whose joints wander smoothly about their rest."""
    rng = np.random.default_rng(seed)
    steps = np.cumsum(rng.normal(size=(frames, 1, 3)) * [0.02, 0.002, 0.02], 0) + np.array([0, 1.0, 0])
    wobble = np.cumsum(rng.normal(size=(frames, 22, 3)) * 0.004, 0)
    return standing() + steps + wobble


# ------------------------------------------------------------------------------------------------------- embeddings


@given(SEEDS, WIDTHS, st.integers(2, 40), st.floats(1e-3, 1e3))
def test_fid_of_a_set_with_itself_is_nothing(seed, width, samples, spread):
    points = cloud(samples, width, seed, spread)
    scale = max(1.0, float((points**2).sum(1).mean()))
    assert abs(metrics.frechet(points, points)) <= 1e-6 * scale
    assert metrics.frechet(points, points[::-1]) == pytest.approx(0, abs=1e-6 * scale)


@given(SEEDS, WIDTHS, st.integers(11, 40))
def test_fid_is_symmetric_and_knows_no_place_order_or_direction(seed, width, samples):
    first, second = cloud(samples, width, seed), cloud(samples + 5, width, seed + 1)
    value = metrics.frechet(first, second)
    near = pytest.approx(value, rel=1e-6, abs=1e-6)
    turn = turned(width, seed)
    assert value >= -1e-6
    assert metrics.frechet(second, first) == near
    assert metrics.frechet(first + 3, second + 3) == near
    assert metrics.frechet(first @ turn, second @ turn) == near
    assert metrics.frechet(first[np.random.default_rng(seed).permutation(samples)], second) == near
    assert metrics.frechet(2 * first, 2 * second) == pytest.approx(4 * value, rel=1e-6, abs=1e-6)


@given(SEEDS, st.integers(2, 8), st.integers(2, 7))
@settings(max_examples=30)
def test_fid_of_fewer_samples_than_numbers(seed, samples, more):
    """Covariances without an inverse: the square root of their product still has its trace."""
    first, second = cloud(samples, samples + more, seed), cloud(samples + 1, samples + more, seed + 1)
    one, other = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    apart = first.mean(0) - second.mean(0)
    # tr sqrt(AA'BB') is the sum of the singular values of A'B, without any square root of a matrix
    roots = [(p - p.mean(0)).T / np.sqrt(len(p) - 1) for p in (first, second)]
    shared = np.linalg.svd(roots[0].T @ roots[1], compute_uv=False).sum()
    want = apart @ apart + np.trace(one) + np.trace(other) - 2 * shared
    assert metrics.frechet(first, second) == pytest.approx(want, rel=1e-6, abs=1e-5)


@pytest.mark.parametrize("width", [1, 64, 512])
def test_fid_equals_that_of_scipys_square_root(width):
    first, second = cloud(2 * width + 9, width, 1) / width, cloud(2 * width + 9, width, 2) / width + 0.1
    one, other = metrics.moments(first), metrics.moments(second)
    assert metrics.frechet_of(*one, *other) == pytest.approx(speed.plain_frechet_of(*one, *other), rel=1e-6)
    assert np.abs(one[1] - np.cov(first, rowvar=False)).max() < 1e-12
    root = np.atleast_2d(sqrtm(one[1] @ other[1]))
    assert np.abs(root.imag).max() < 1e-3


@given(SEEDS, st.integers(2, 12), st.integers(8, 60), st.integers(2, 8))
def test_r_precision_lies_between_nothing_and_all(seed, width, samples, group):
    texts, motions = cloud(samples, width, seed), cloud(samples, width, seed + 1)
    found = metrics.retrieval(texts, motions, group=group, top=min(3, group))
    assert 0 <= found.precision[0] <= found.precision[-1] <= 1 and list(found.precision) == sorted(found.precision)
    assert found.used == samples // group * group and found.matching >= 0
    assert metrics.retrieval(texts, motions, group=group, top=group).precision[-1] == 1
    assert metrics.retrieval(texts, texts, group=group, top=1).precision == (1.0,)
    both = metrics.retrieval(texts @ turned(width, seed) + 2, motions @ turned(width, seed) + 2, None, group, 1)
    assert both.precision[0] == pytest.approx(found.precision[0], abs=1 / found.used)
    assert both.matching == pytest.approx(found.matching, rel=1e-9)


@given(SEEDS, st.integers(2, 6))
def test_the_order_within_a_group_and_of_groups_changes_nothing(seed, groups):
    texts, motions = cloud(8 * groups, 5, seed), cloud(8 * groups, 5, seed + 1)
    rng = np.random.default_rng(seed)
    order = np.concatenate([8 * g + rng.permutation(8) for g in rng.permutation(groups)])
    plain, mixed = (metrics.retrieval(texts, motions, o, 8) for o in (None, order))
    assert mixed.precision == plain.precision and mixed.matching == pytest.approx(plain.matching, rel=1e-12)


@given(SEEDS, st.integers(3, 30))
def test_diversity_is_at_most_the_widest_pair(seed, samples):
    points = cloud(samples, 4, seed)
    drawn = metrics.diversity_pairs(samples, np.random.default_rng(seed), samples - 1)
    value = metrics.diversity(points, *drawn)
    assert 0 <= value <= metrics.distances(points, points).max() + 1e-9
    assert metrics.diversity(3 * points + 1, *drawn) == pytest.approx(3 * value)
    assert metrics.diversity(np.ones((samples, 4)), *drawn) == 0
    rows = np.broadcast_to(points[:, None], (samples, 12, 4))
    assert metrics.multimodality(rows, *metrics.multimodality_pairs(12, np.random.default_rng(seed))) == 0


def test_unit_length_and_zero():
    assert np.linalg.norm(metrics.normalized(cloud(5, 3)), axis=1) == pytest.approx(1)
    with pytest.raises(ValueError, match="longer than 0; 1 are zero"):
        metrics.normalized(np.eye(3)[[0, 1]] * [[1], [0]])


def test_a_row_says_what_was_dropped_and_what_cannot_be_said():
    texts, motions = cloud(70, 4, 0), cloud(70, 4, 1)
    full = row([Pairs(texts, motions)], permutations(70, 5, 0), texts)
    assert (full["samples"], full["used"]) == (70, 64) and not full["undefined"]
    assert full["metrics"]["FID"]["std"] == 0 and len(full["metrics"]["R@1"]["values"]) == 5
    assert full["metrics"]["R@1"]["interval95"] == pytest.approx(1.96 * full["metrics"]["R@1"]["std"] / np.sqrt(5))
    few = row([Pairs(texts[:1], motions[:1])], permutations(1, 2, 0), texts)
    assert set(few["undefined"]) == {"R@1", "R@2", "R@3", "FID", "matching", "diversity"} and not few["metrics"]
    assert "at least 32 samples; got 1" in few["undefined"]["R@1"] and "at least 2" in few["undefined"]["diversity"]
    assert "at least 2 samples" in few["undefined"]["FID"]
    with pytest.raises(ValueError, match="for all repeats or for each of 5; got 2"):
        row([Pairs(texts, motions)] * 2, permutations(70, 5, 0))
    each = [Draw(draw.order, np.random.RandomState(1)) for draw in permutations(70, 2, 3)]
    assert row([Pairs(texts, motions)], each)["metrics"]["FID"]["mean"] == 0


# ----------------------------------------------------------------------------------------------------------- bodies


@given(SEEDS, st.integers(4, 60), st.floats(-3, 3), st.floats(-5, 5))
@settings(max_examples=40)
def test_measures_of_a_body_know_no_place_or_direction(seed, frames, angle, away):
    joints = body(frames, seed)
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    here, there = physics.physics(joints), physics.physics(joints @ turn.T + [away, 0.5, -away])
    assert there.contacts == here.contacts
    assert there.measures() == pytest.approx(here.measures(), rel=1e-6, abs=1e-9)
    values = here.measures()
    assert all(value >= 0 for value in values.values()) and values["penetration"] == 0
    assert physics.physics(joints.reshape(frames, 66)).measures() == values


def test_what_each_measure_sees():
    still = np.tile(standing(), (30, 1, 1))
    assert set(physics.physics(still).measures().values()) == {0.0}
    slid = still + np.arange(30)[:, None, None] * np.array([0.02, 0, 0])
    found = physics.physics(slid).measures()
    assert found["slide"] == pytest.approx(0.02, rel=1e-4) and found["jitter"] == pytest.approx(0, abs=1e-9)
    assert found["float"] == 1 and found["dynamic"] == pytest.approx(0.02)
    shaken = still + 0.01 * (np.arange(30) % 2)[:, None, None] * np.array([0, 0, 1.0])
    assert physics.physics(shaken).jitter == pytest.approx(0.02)
    assert physics.table(found)["slide"] == pytest.approx(20, rel=1e-4) and physics.table(found)["float"] == 100
    both = physics.mean_physics([physics.physics(still), physics.physics(slid)])
    assert both["slide"] == pytest.approx(found["slide"] / 2)


@pytest.mark.parametrize(
    "joints, message",
    [
        (np.zeros((3, 22, 3)), "at least 4 frames; got 3"),
        (np.zeros((9, 21, 3)), r"shape \(T, 22, 3\) or \(T, 66\); got \(9, 21, 3\)"),
        (np.full((9, 22, 3), np.nan), "must be finite"),
    ],
)
def test_bodies_that_cannot_be_measured_are_refused(joints, message):
    with pytest.raises(ValueError, match=message):
        physics.physics(joints)


def test_means_of_nothing_are_refused():
    with pytest.raises(ValueError, match="at least 1 motion; got none"):
        physics.mean_physics([])


def test_the_bench_says_ratio_difference_and_seconds():
    report = speed.metrics_speed(width=16, samples=100, repeats=2, times=1)
    assert report["report"]["used"] == 96 and report["report"]["seconds"]["repeats"] >= 0
    assert report["difference"]["holds"] and report["repeats_s"]["holds"] and report["ratio"]["bar"] == 5
