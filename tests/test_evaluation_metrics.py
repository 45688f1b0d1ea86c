"""The numbers of the evaluation: every reference case by name, and what must hold whatever the numbers are."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from scipy.linalg import sqrtm

from hftrainer.evaluation import language, metrics, reconstruction, replications
from hftrainer.motion.rotation import rotvec_to_matrix
from tests.parity import motiongpt_evaluation
from tests.parity.__main__ import run_folder

CASES = {
    "evaluator_full_formula": 8, "evaluator_reduced": 8, "metrics_embeddings": 25, "metrics_motion": 18,
    "nlg_metrics": 29, "tm2t_metric_update": 5, "word_vectorizer": 85,
}  # fmt: skip


def run(folder):
    return list(run_folder(folder, families=(motiongpt_evaluation,)))


@pytest.mark.parametrize("name", CASES)
def test_reference_case(shared, name):
    results = run(shared / "golden" / "motiongpt" / name)
    assert [(r.verdict, len(r.checks)) for r in results] == [("pass", CASES[name])], [r.line() for r in results]


def test_no_reference_case_is_left_out(shared):
    folders = [path for path in (shared / "golden" / "motiongpt").iterdir() if path.is_dir()]
    matched = {path.name for path in folders if any(kind.matches(path) for kind in motiongpt_evaluation.KINDS)}
    assert matched == set(CASES) and len(motiongpt_evaluation.KINDS) == 6


@pytest.mark.parametrize("name", ["evaluator_reduced", "metrics_embeddings", "metrics_motion", "tm2t_metric_update"])
def test_one_wrong_array_fails(shared, name, tmp_path):
    for key in ("motions", "generated", "joints_rst", "feats_rst"):
        source = shared / "golden" / "motiongpt" / name
        arrays = load_file(source / "tensors.safetensors")
        if key in arrays:
            shutil.copytree(source, tmp_path / name)
            (tmp_path / name).chmod(0o755)
            (tmp_path / name / "tensors.safetensors").unlink()
            arrays[key] = arrays[key] * np.float32(1.01)
            save_file(arrays, tmp_path / name / "tensors.safetensors")
    assert [r.verdict for r in run(tmp_path)] == ["fail"]


@pytest.mark.parametrize("key, value", [("cider", 1.0), ("rougeL_plain_mean", 0.5), ("rougeL_bootstrap_mid", None)])
def test_one_wrong_number_of_sentences_fails(shared, key, value, tmp_path):
    case = json.loads((shared / "golden" / "motiongpt" / "nlg_metrics" / "case.json").read_text())
    case["results"][key] = value if value is not None else {"numpy_seed": 1, "value": 0.1}
    (tmp_path / "case.json").write_text(json.dumps(case))
    assert [r.verdict for r in run(tmp_path)] == ["fail"]


def test_fid_of_few_samples_equals_the_reference(shared):
    """The reference's own note: 40 samples of 96 numbers, where the covariances are singular."""
    case = json.loads((shared / "golden" / "motiongpt" / "metrics_embeddings" / "case.json").read_text())
    arrays = load_file(shared / "golden" / "motiongpt" / "metrics_embeddings" / "tensors.safetensors")
    value = metrics.frechet(arrays["ground_truth"][:40], arrays["generated"][:40])
    assert value == pytest.approx(case["fid_small_n(singular)"], rel=1e-4)


# --------------------------------------------------------------------------------------------------------- retrieval


def cloud(samples, width, seed=0):
    return np.random.default_rng(seed).normal(size=(samples, width))


@given(st.integers(0, 99), st.integers(2, 12), st.integers(13, 60))
@settings(max_examples=20)
def test_fid_is_that_of_the_matrix_square_root(seed, width, samples):
    first, second = cloud(samples, width, seed), 1.5 * cloud(samples + 3, width, seed + 1) + 0.3
    one, other = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    apart = first.mean(0) - second.mean(0)
    direct = apart @ apart + np.trace(one) + np.trace(other) - 2 * np.trace(sqrtm(one @ other).real)
    assert metrics.frechet(first, second) == pytest.approx(direct, abs=1e-6)
    assert metrics.frechet(second, first) == pytest.approx(direct, abs=1e-6)


@pytest.mark.parametrize("samples", [2, 10, 200])
def test_fid_of_a_set_with_itself_is_nothing(samples):
    points = cloud(samples, 16)
    assert metrics.frechet(points, points) == pytest.approx(0, abs=1e-6)
    assert metrics.frechet(points, points + 2) == pytest.approx(16 * 4, abs=1e-6)


@pytest.mark.parametrize("order", [None, np.arange(70)[::-1]])
def test_pairs_that_are_one_and_the_same_are_found(order):
    points = cloud(70, 8)
    found = metrics.retrieval(points, points, order)
    assert found == metrics.Retrieval((1.0, 1.0, 1.0), 0.0, 64)


def test_what_is_found_by_chance_is_a_share_of_the_group():
    found = metrics.retrieval(cloud(3200, 16), cloud(3200, 16, 1))
    assert found.precision == pytest.approx((1 / 32, 2 / 32, 3 / 32), abs=0.015)


def test_a_motion_of_the_neighbour_is_found_second():
    texts = np.arange(32.0)[:, None]
    motions = texts - 0.6
    found = metrics.retrieval(texts, motions)
    assert found.precision == (1 / 32, 1.0, 1.0) and found.matching == pytest.approx(0.6)


def test_too_few_samples_say_how_many_are_needed():
    few, rng = cloud(31, 4), np.random.default_rng(0)
    with pytest.raises(metrics.TooFewSamples, match="R-precision needs at least 32 samples; got 31"):
        metrics.retrieval(few, few)
    with pytest.raises(metrics.TooFewSamples, match="diversity needs more than 300 samples; got 300"):
        metrics.diversity_pairs(300, rng)
    with pytest.raises(metrics.TooFewSamples, match="multimodality needs more than 10 motions"):
        metrics.multimodality_pairs(10, rng)
    with pytest.raises(metrics.TooFewSamples, match="FID needs at least 2 samples in each set; got 1 and 31"):
        metrics.frechet(few[:1], few)


def test_embeddings_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match="row for row"):
        metrics.retrieval(cloud(32, 4), cloud(33, 4))
    with pytest.raises(ValueError, match="finite"):
        metrics.frechet(np.full((4, 2), np.nan), cloud(4, 2))
    with pytest.raises(ValueError, match="each of 0 to 31 once"):
        metrics.retrieval(cloud(32, 4), cloud(32, 4), np.zeros(32, int))


def test_draws_repeat_no_row_and_are_those_of_the_seed():
    first, second = metrics.diversity_pairs(301, np.random.RandomState(3))
    again = metrics.diversity_pairs(301, np.random.RandomState(3))
    assert len(set(first.tolist())) == len(set(second.tolist())) == 300 and (first != second).any()
    assert (again[0] == first).all() and (again[1] == second).all()


def test_the_interval_of_a_constant_is_nothing():
    row = replications.summary([2.0] * 20)
    assert (row["mean"], row["std"], row["interval95"], len(row["values"])) == (2.0, 0.0, 0.0, 20)
    spread = replications.summary([1.0, 3.0])
    assert spread["std"] == 1.0 and spread["interval95"] == pytest.approx(1.96 / np.sqrt(2))
    with pytest.raises(ValueError, match="one or more finite"):
        replications.summary([])


def test_what_was_undefined_once_is_undefined():
    tally = replications.Tally()
    tally.add({"FID": 1.0, "ADE": 2.0})
    tally.add({"ADE": 4.0}, {"FID": "why"})
    report = tally.report()
    assert report["undefined"] == {"FID": "why"} and set(report["metrics"]) == {"ADE"}
    assert report["metrics"]["ADE"]["mean"] == 3.0


# ---------------------------------------------------------------------------------------------------- reconstruction


def body(frames=12, seed=0):
    return np.random.default_rng(seed).normal(size=(frames, 22, 3))


@given(st.lists(st.floats(-3, 3), min_size=3, max_size=3), st.floats(0.1, 5), st.integers(0, 50))
@settings(max_examples=20)
def test_procrustes_forgives_rotation_scale_and_shift(turn, scale, seed):
    want = body(3, seed)
    noisy = want + 0.1 * body(3, seed + 100)
    moved = scale * noisy @ rotvec_to_matrix(np.array(turn)).T + np.array([1.0, -2.0, 3.0])
    assert reconstruction.pa_mpjpe(moved, want) == pytest.approx(reconstruction.pa_mpjpe(noisy, want), abs=1e-9)
    assert reconstruction.pa_mpjpe(moved @ np.diag([1.0, 1.0, 1.0]), moved) == pytest.approx(0, abs=1e-9)


def test_procrustes_does_not_forgive_a_mirror():
    want = body()
    assert reconstruction.pa_mpjpe(want * [-1, 1, 1], want).min() > 0.1


def test_a_flat_body_that_would_be_mirrored_is_turned():
    flat = body() * [1, 1, 0]
    assert reconstruction.pa_mpjpe(flat * [-1, 1, 1], flat) == pytest.approx(0, abs=1e-9)


def test_errors_are_in_millimetres_and_acceleration_in_frames():
    want = body()
    got = want + np.array([0.0, 0.01, 0.0])
    plain = reconstruction.reconstruction([(got, want)], align_root=False)
    assert plain["MPJPE"] == pytest.approx(10) and plain["ACCEL"] == pytest.approx(0, abs=1e-9)
    assert reconstruction.reconstruction([(got, want)])["MPJPE"] == pytest.approx(0, abs=1e-9)
    shaken = want + 0.001 * (np.arange(12) % 2)[:, None, None] * [1, 0, 0]
    assert reconstruction.reconstruction([(shaken, want)], False)["ACCEL"] == pytest.approx(2)


def test_padding_counts_only_where_the_reference_lets_it():
    want = np.stack([body(12), body(12, 1)])
    got = want + 0.01
    got[0, 8:] += 5  # behind the end of the first clip
    lengths = [8, 12]
    sound = reconstruction.reconstruction([(g[:n], w[:n]) for g, w, n in zip(got, want, lengths, strict=True)], False)
    padded = reconstruction.padded_reconstruction(got, want, lengths, False)
    assert sound["MPJPE"] == pytest.approx(10 * np.sqrt(3)) and padded["MPJPE"] > 100 * sound["MPJPE"]
    assert reconstruction.padded_displacement(got, want, lengths, "pred")["FDE"] > 10


def test_hidden_spans_and_the_simplest_answers():
    clip = np.arange(100.0)[:, None, None] * np.ones((1, 22, 3))
    start, stop = reconstruction.hidden_span(100, 0.25, 0.25)
    assert (start, stop) == (25, 75)
    assert reconstruction.straight_line(clip, start, stop) == pytest.approx(clip)
    still = reconstruction.repeated_pose(clip, 20, 100)
    ade, fde = reconstruction.displacement(still, clip, 20, 100)
    assert fde == pytest.approx(80 * np.sqrt(66)) and ade == pytest.approx(40.5 * np.sqrt(66))
    for head, tail in ((0, 0), (1, 0), (0.6, 0.5)):
        with pytest.raises(ValueError, match="kept share|hidden"):
            reconstruction.hidden_span(100, head, tail)
    with pytest.raises(ValueError, match="at least 3 frames"):
        reconstruction.acceleration_error(clip[:2], clip[:2])
    with pytest.raises(ValueError, match="one shape"):
        reconstruction.mpjpe(clip, clip[:5])


# ---------------------------------------------------------------------------------------------------------- language

SENTENCES = ["a person walks forward slowly", "the man kicks with his left leg", "someone jumps up and down twice"]


def test_sentences_that_are_one_and_the_same():
    known = [[s, "something else entirely here"] for s in SENTENCES]
    for order in range(1, 5):
        assert language.bleu(SENTENCES, [[s] for s in SENTENCES], order).score == 1.0
    assert language.rouge_l(SENTENCES, known).tolist() == [1.0] * 3
    assert language.cider(SENTENCES, [[s] for s in SENTENCES]) == pytest.approx([10.0] * 3)


def test_sentences_that_share_nothing():
    said = ["xxx yyy zzz www vvv"] * 3
    known = [[s] for s in SENTENCES]
    assert language.bleu(said, known).score == 0
    assert language.rouge_l(said, known).sum() == 0 == language.cider(said, known).sum()


def test_empty_answers_score_nothing():
    known = [[s] for s in SENTENCES]
    empty = ["", "", ""]
    assert language.bleu(empty, known).score == 0 and language.cider(empty, known).sum() == 0
    assert language.rouge_l(empty, known).sum() == 0
    assert language.bleu([SENTENCES[0], "", ""], known, 1).score < 1


def test_short_answers_pay_for_it():
    short = language.bleu(["a person walks"], [[SENTENCES[0]]], 1)
    assert short.precisions == (1.0,) and short.score == short.brevity == pytest.approx(np.exp(1 - 5 / 3))


def test_counts_are_clipped_by_the_reference_that_has_most():
    got = language.bleu(["the the the the"], [["the cat", "the the dog"]], 1)
    assert got.precisions == (0.5,) and (got.words, got.reference_words) == (4, 2)


def test_what_is_cleaned_and_what_is_not():
    assert language.bleu(["A man, walks!"], [["a man walks"]], 3).score == 1.0
    assert language.cider(["A man", "b"], [["a man"], ["b"]])[0] < 10
    assert language.processed("a 2-step T-pose, twice", lambda words: [w.lower() for w in words]) == "a tpose twice"


@pytest.mark.parametrize(
    "said, known, message",
    [
        ([], [], "every prediction must have references; got 0 and 0"),
        (["a"], [], "got 1 and 0"),
        (["a"], [[]], "one or more strings"),
        (["a"], ["a"], "one or more strings"),
    ],
)
def test_items_without_references_are_refused(said, known, message):
    for measure in (language.bleu, language.rouge_l, language.cider):
        with pytest.raises(ValueError, match=message):
            measure(said, known)


def test_bert_score_without_its_package_says_so(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "bert_score", None)
    with pytest.raises(language.ScorerAbsent, match="must have the package bert_score.*pip install"):
        language.bert_score(["a"], [["a"]])


def test_bert_score_asks_for_what_is_published(monkeypatch):
    class Package:
        @staticmethod
        def score(said, known, **options):
            assert options == {"lang": "en", "idf": True, "rescale_with_baseline": True}
            if said == ["offline"]:
                raise OSError("roberta-large is not cached")
            return None, None, np.array([0.25, 0.75])

    monkeypatch.setitem(__import__("sys").modules, "bert_score", Package)
    assert language.bert_score(["a", "b"], [["a"], ["b", "c"]]) == 0.5
    with pytest.raises(language.ScorerAbsent, match="roberta-large is not cached"):
        language.bert_score(["offline"], [["a"]])
