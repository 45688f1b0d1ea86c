"""What is measured of each task: with answers that are right, wrong, short and absent, and from the command line."""

import json

import numpy as np
import pytest
import torch

from hftrainer.cli import main
from hftrainer.data.humanml3d import HumanML3D
from hftrainer.evaluation import captioning, motiongpt
from hftrainer.evaluation.bodies import BODIES
from hftrainer.evaluation.population import population
from hftrainer.evaluation.setting import Setting
from hftrainer.models.evaluator import Evaluator, EvaluatorConfig, TextMotionEvaluator, WordVectors
from tests import tiny

VERBS = ["walks", "runs", "jumps", "walks left", "runs right"]


def wandering(frames, seed):
    """Features of a body that goes somewhere: hml263, small numbers."""
    rng = np.random.default_rng(seed)
    features = 0.05 * rng.normal(size=(frames, 263))
    features[:, 0] *= 0.1
    features[:, 2] += 0.03
    return features.astype(np.float32)


def build(folder, clips=36):
    """A dataset: clip ``i`` has 40 to 60 frames and says which verb it does."""
    for name in ("new_joint_vecs", "texts"):
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    np.save(folder / "Mean.npy", np.zeros(263, np.float32))
    np.save(folder / "Std.npy", rng.uniform(0.5, 1, 263).astype(np.float32))
    names = [f"{i:06d}" for i in range(clips)]
    for i, name in enumerate(names):
        np.save(folder / "new_joint_vecs" / f"{name}.npy", wandering(40 + i % 21, i))
        verb = VERBS[i % len(VERBS)]
        words = " ".join(f"{w}/NOUN" for w in f"a person {verb}".split())
        (folder / "texts" / f"{name}.txt").write_text(f"A person {verb}.#{words}#0.0#0.0\nruns {i}#run/VERB#nan#0\n")
    for split in ("train", "val", "test"):
        (folder / f"{split}.txt").write_text("\n".join(names))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build(tmp_path_factory.mktemp("data") / "set")


@pytest.fixture(scope="module")
def samples(folder):
    return population(HumanML3D(folder))


@pytest.fixture(scope="module")
def evaluator():
    torch.manual_seed(0)
    net = TextMotionEvaluator(EvaluatorConfig(6, 15, 8, 7, 263, 10, 9, 11)).eval()
    words = ["unk", "sos", "eos", "a", "person", *dict.fromkeys(" ".join(VERBS).split())]
    vectors = WordVectors(words, np.random.default_rng(1).normal(size=(len(words), 6)))
    return Evaluator(net, vectors, np.zeros(263), np.full(263, 0.05))


# -------------------------------------------------------------------------------------------------------- population


def test_population(folder, samples):
    assert len(samples) == 36 and all(len(s.motion) % 4 == 0 and len(s.captions) == 2 for s in samples)
    assert [s.id for s in population(HumanML3D(folder), limit=3)] == ["000000", "000001", "000002"]


def test_parts_of_clips_are_samples_of_their_own(tmp_path):
    folder = build(tmp_path / "set", 4)
    (folder / "texts" / "000000.txt").write_text("whole#a/DET#0#0\nlate#b/DET#0.4#9\nbrief#c/DET#0#0.5\n")
    (folder / "texts" / "000001.txt").write_text("")
    (folder / "texts" / "000002.txt").write_text("part#a/DET#0.05#2.1\n")
    np.save(folder / "new_joint_vecs" / "000000.npy", wandering(60, 0))
    np.save(folder / "new_joint_vecs" / "000003.npy", wandering(200, 0))
    got = [(s.id, len(s.motion), [c.text for c in s.captions]) for s in population(HumanML3D(folder))]
    assert got == [("000000", 60, ["whole"]), ("000000#1", 52, ["late"]), ("000002#1", 40, ["part"])]
    np.save(folder / "new_joint_vecs" / "000000.npy", wandering(39, 0))
    np.save(folder / "new_joint_vecs" / "000002.npy", wandering(39, 0))
    with pytest.raises(ValueError, match="must hold clips of 40 .* to 199 frames with captions; it holds none"):
        population(HumanML3D(folder))


# ------------------------------------------------------------------------------------------------------------- tasks


def true_motions(samples):
    """What answers every request with the motion that the caption was written for."""

    def generate(prompts, frames, seed):
        assert len(prompts) == len(samples) and list(frames) == [len(sample.motion) for sample in samples]
        assert all(prompt in [c.text for c in s.captions] for prompt, s in zip(prompts, samples, strict=True))
        return [sample.motion for sample in samples]

    return generate


def test_true_motions_for_generated_ones(samples, evaluator):
    report = motiongpt.text_to_motion(samples, true_motions(samples), Setting(evaluator, 3))
    metrics = report["metrics"]
    assert metrics["FID"]["mean"] == pytest.approx(0, abs=1e-6) and report["failed"] == [0, 0, 0]
    assert metrics["true matching"]["mean"] > 0 and len(metrics["R@1"]["values"]) == 3
    assert 0 < metrics["R@1"]["mean"] <= metrics["R@2"]["mean"] <= metrics["R@3"]["mean"] <= 1
    assert "more than 300 samples; got 36" in report["undefined"]["diversity"]
    assert "--multimodality" in report["undefined"]["multimodality"]
    assert report["protocol"]["evaluator"] == {"hash": "unsaved", "padding": "alone"} and report["notes"] == []
    json.dumps(report)


def test_a_replication_is_repeatable_and_another_is_another(samples, evaluator):
    runs = [motiongpt.text_to_motion(samples, true_motions(samples), Setting(evaluator, 2, seed)) for seed in (5, 5, 6)]
    assert runs[0]["metrics"] == runs[1]["metrics"] != runs[2]["metrics"]
    first, second = runs[0]["metrics"]["true matching"]["values"]
    assert first != second


def test_failed_motions_are_counted_and_left_out(samples, evaluator):
    def generate(prompts, frames, seed):
        return [None if i < 4 + seed else sample.motion for i, sample in enumerate(samples)]

    report = motiongpt.text_to_motion(samples, generate, Setting(evaluator, 2))
    assert report["failed"] == [4, 5] and "R@1" not in report["metrics"]
    assert report["undefined"]["R@1"] == "R-precision needs at least 32 samples; got 31."
    assert "true R@1" in report["metrics"] and "FID" in report["metrics"]
    nothing = motiongpt.text_to_motion(samples, lambda p, f, s: [None] * len(p), Setting(evaluator, 1))
    assert nothing["failed"] == [36] and "got 36 and 0" in nothing["undefined"]["FID"]


def test_without_an_evaluator_the_report_says_why(samples):
    report = motiongpt.text_to_motion(samples, true_motions(samples), Setting(None, 2))
    assert report["protocol"]["evaluator"] is None
    measured = report["metrics"]
    assert set(measured) == {*BODIES, *(f"true {name}" for name in BODIES)}, "bodies need no evaluator"
    for name in BODIES:
        assert measured[name]["mean"] == pytest.approx(measured[f"true {name}"]["mean"])
    assert measured["jitter"]["mean"] > 0 and report["protocol"]["bodies_fps"] == 30
    assert {"R@1", "true R@3", "matching", "FID", "diversity", "multimodality"} <= set(report["undefined"])
    assert all("needs an evaluator" in reason for reason in report["undefined"].values())


def test_multimodality_of_one_and_of_many_motions(samples, evaluator):
    def one(prompts, frames, seed):
        return [samples[0].motion] * len(prompts)

    def many(prompts, frames, seed):
        return [samples[seed % 36].motion] * len(prompts)

    def value(generate):
        report = motiongpt.text_to_motion(samples, generate, Setting(evaluator, 1), multimodality_prompts=2)
        return report["metrics"]["multimodality"]["mean"]

    assert value(one) < 1e-6 and value(many) > 0.01


def test_captions_that_are_right_and_one_that_failed(samples, evaluator):
    right = [sample.captions[0].text for sample in samples]
    report = captioning.motion_to_text(samples, lambda m, s: right, Setting(evaluator, 2), {"wrong": ["xx yy"] * 36})
    for policy in captioning.POLICIES:
        assert report["metrics"][f"{policy}/BLEU-1"]["mean"] == pytest.approx(1)
    assert report["metrics"]["raw/BLEU-3"]["mean"] == 1 and report["metrics"]["raw/ROUGE-L"]["mean"] == 1
    assert report["baselines"]["wrong"]["metrics"]["raw/BLEU-1"]["mean"] == 0
    assert {"R@1", "true matching"} <= set(report["metrics"]) and report["protocol"]["lemmas"] is False
    failed = captioning.motion_to_text(samples, lambda m, s: [None, *right[1:]], Setting(None, 1))
    assert failed["failed"] == [1] and failed["metrics"]["raw/ROUGE-L"]["mean"] == pytest.approx(35 / 36)
    assert "needs an evaluator" in failed["undefined"]["R@1"]


def test_the_nearest_caption_is_that_of_the_clip_itself(samples, folder):
    std = HumanML3D(folder).std
    assert captioning.nearest_captions(samples, samples[::-1], std) == [s.captions[0].text for s in samples]
    with pytest.raises(ValueError, match="at least 1 known clip"):
        captioning.nearest_captions(samples, [], std)
    with pytest.raises(ValueError, match="raw, processed, official; got 'mixed'"):
        captioning.references(samples[0].captions, "mixed")


@pytest.mark.parametrize(
    "task, keep, baseline",
    [("pred", (0.2, 0.0), "repeat last pose"), ("inbetween", (0.25, 0.25), "linear interpolation")],
)
def test_completion(samples, task, keep, baseline):
    def measure(complete, count=2):
        return motiongpt.completion(task, samples, complete, Setting(None, count), keep)

    report = measure(lambda motions, seed: motions)
    assert report["metrics"]["ADE"]["mean"] == 0 == report["metrics"]["FDE"]["mean"]
    assert report["baselines"][baseline]["metrics"]["ADE"]["mean"] > 0.1 and report["short"] == [0, 0]
    assert "needs an evaluator" in report["undefined"]["FID"] and report["protocol"]["keep"] == list(keep)
    short = measure(lambda motions, seed: [m[: len(m) // 5] for m in motions])
    assert short["short"] == [36, 36] and short["metrics"]["ADE"]["mean"] > 0
    some = measure(lambda motions, seed: [None, *motions[1:]])
    assert some["failed"] == [1, 1] and some["metrics"]["ADE"]["mean"] == 0
    none = measure(lambda motions, seed: [None] * len(motions), 1)
    assert none["failed"] == [36] and "every motion" in none["undefined"]["ADE"]


def test_repeating_the_last_pose_scores_as_its_baseline(samples):
    def still(motions, seed):
        return [m[: max(1, round(0.2 * len(m)))] for m in motions]

    report = motiongpt.completion("pred", samples, still, Setting(None, 1), (0.2, 0.0))
    assert report["metrics"]["ADE"]["mean"] == pytest.approx(
        report["baselines"]["repeat last pose"]["metrics"]["ADE"]["mean"], rel=1e-6
    )


@pytest.mark.parametrize("task, keep", [("pred", (0.2, 0.2)), ("inbetween", (0.2, 0.0)), ("t2m", (0.2, 0.0))])
def test_completion_refuses_what_does_not_fit(samples, task, keep):
    with pytest.raises(ValueError, match="must"):
        motiongpt.completion(task, samples, lambda m, s: m, Setting(None, 1), keep)


def test_what_tokens_keep(samples, evaluator):
    report = motiongpt.rebuilding(samples, lambda motion: motion, Setting(evaluator, 2))
    for name in ("MPJPE", "PA-MPJPE", "ACCEL", "FID"):
        assert report["metrics"][name]["mean"] == pytest.approx(0, abs=1e-6)
    moved = motiongpt.rebuilding(samples, lambda m: m.replace(data=m.data * 1.1), Setting(evaluator, 2))
    assert moved["metrics"]["MPJPE"]["mean"] > 1 and moved["metrics"]["FID"]["mean"] > 0
    few = motiongpt.rebuilding(samples[:5], lambda motion: motion, Setting(evaluator, 1))
    assert "needs more than 7 samples" in few["notes"][0]


# -------------------------------------------------------------------------------------------------- the command line


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    place = tmp_path_factory.mktemp("model") / "tiny"
    tiny.bundle().save_pretrained(place)
    return place


def run(*words):
    return main(["evaluate", "motiongpt", "--quiet", *map(str, words)])


@pytest.mark.parametrize("task", motiongpt.TASKS)
def test_the_command(task, folder, model, evaluator, tmp_path, capsys):
    evaluator.save_pretrained(tmp_path / "evaluator")
    more = ("--evaluator", tmp_path / "evaluator") if task in ("t2m", "m2t") else ()
    out = tmp_path / "deep" / "report.json"
    words = ("--task", task, "--data", folder, "--model", model, "--replications", 2, "--limit", 34, "-o", out, *more)
    assert run(*words) == 0
    report, printed = json.loads(out.read_text()), capsys.readouterr().out
    assert (report["task"], report["samples"], report["replications"]) == (task, 34, 2)
    assert report["dataset"] == {**report["dataset"], "split": "test", "limit": 34}
    assert report["model"]["name"] == "tiny" and report["model"]["hash"] not in ("", "unsaved")
    expected = {
        "t2m": {"R@1", "matching", "FID", "true R@3"}, "m2t": {"raw/BLEU-4", "official/CIDEr", "R@1"},
        "pred": {"ADE", "FDE"}, "inbetween": {"ADE", "FDE"}, "reconstruction": {"MPJPE", "PA-MPJPE", "ACCEL"},
    }  # fmt: skip
    assert expected[task] <= set(report["metrics"])
    assert all(len(m["values"]) == 2 and m["interval95"] >= 0 for m in report["metrics"].values())
    assert report["undefined"] and all(report["undefined"].values()) and "undefined:" in printed
    baselines = {"m2t": {"caption of the nearest training clip"}, "pred": {"repeat last pose"},
                 "inbetween": {"linear interpolation"}}  # fmt: skip
    assert set(report["baselines"]) == baselines.get(task, set())
    assert str(out) in printed


REFUSALS = {
    "no family": (["evaluate", "--task", "t2m"], "required: FAMILY"),
    "another family": (["evaluate", "motiongtp"], "Did you mean 'motiongpt'?"),
    "no task": (["evaluate", "motiongpt"], "--task must say what is measured: t2m, m2t"),
    "another task": (["evaluate", "motiongpt", "--task", "predict"], "Did you mean 'pred'?"),
    "no data": (["evaluate", "motiongpt", "--task", "t2m"], "--data must name a dataset folder"),
    "no output": (["evaluate", "motiongpt", "--task", "t2m", "--data", "set"], "-o FILE.json"),
    "another ending": (["evaluate", "motiongpt", "--task", "t2m", "--data", "set", "-o", "x.txt"], "must be .json"),
    "a folder": (["evaluate", "motiongpt", "--task", "t2m", "--data", "set", "-o", "f.json"], "it is a folder"),
    "no place": (["evaluate", "motiongpt", "--task", "t2m", "--data", "s", "-o", "/proc/x.json"], "must be writable"),
    "no dataset": (["evaluate", "motiongpt", "--task", "t2m", "--data", "none", "-o", "x.json"], "does not exist"),
    "no split": (["evaluate", "motiongpt", "--task", "t2m", "--data", "SET", "--split", "tset", "-o", "x.json"],
                 "absent: tset.txt"),
    "no evaluator": (["evaluate", "motiongpt", "--task", "t2m", "--data", "SET", "--evaluator", "e", "-o", "x.json"],
                     "evaluator must be a folder; e does not exist"),
    "no model": (["evaluate", "motiongpt", "--task", "t2m", "--data", "SET", "--model", "./m", "-o", "x.json"],
                 "the model must be a folder"),
    "a padding": (["evaluate", "motiongpt", "--task", "t2m", "--padding", "paked"], "Did you mean 'packed'?"),
    "no replication": (["evaluate", "motiongpt", "--replications", "0"], "at least 1; got '0'"),
    "a share of all": (["evaluate", "motiongpt", "--keep", "1.0"], "below 1; got '1.0'"),
    "shares of a prediction": (["evaluate", "motiongpt", "--task", "pred", "--data", "s", "-o", "x.json",
                                "--keep", "0.1", "0.2"], "one share, of the start, for pred; got 2"),
    "a share of both ends": (["evaluate", "motiongpt", "--task", "inbetween", "--data", "s", "-o", "x.json",
                              "--keep", "0.1"], "two shares, of both ends, for inbetween; got 1"),
    "all is kept": (["evaluate", "motiongpt", "--task", "inbetween", "--data", "s", "-o", "x.json",
                     "--keep", "0.5", "0.5"], "must leave something hidden"),
    "a share of sentences": (["evaluate", "motiongpt", "--task", "m2t", "--data", "s", "-o", "x.json",
                              "--keep", "0.5"], "must come with --task pred or inbetween"),
    "multimodality alone": (["evaluate", "motiongpt", "--task", "t2m", "--data", "s", "-o", "x.json",
                             "--multimodality", "3", "--evaluator", "none"],
                            "must come with --task t2m and an evaluator"),
}  # fmt: skip


@pytest.mark.parametrize("words, sentence", REFUSALS.values(), ids=REFUSALS)
def test_a_wrong_request(words, sentence, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "f.json").mkdir()
    assert main([str(folder) if word == "SET" else word for word in words]) == 2
    captured = capsys.readouterr()
    assert sentence in captured.err and captured.out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["f.json"]


def test_a_model_of_another_body_is_refused(tmp_path, model, capsys):
    folder = build(tmp_path / "kit", 2)
    np.save(folder / "Mean.npy", np.zeros(251, np.float32))
    np.save(folder / "Std.npy", np.ones(251, np.float32))
    for file in (folder / "new_joint_vecs").glob("*.npy"):
        np.save(file, np.load(file)[:, :251])
    words = ("--task", "pred", "--data", folder, "--model", model, "-o", tmp_path / "x.json")
    assert run(*words) == 2 and "must be hml263 for this model; it is kit251" in capsys.readouterr().err
