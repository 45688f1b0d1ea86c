"""Reports that test themselves: the real row of a seed is the same for every model, and what is wrong shows in it."""

import json
import re
import shutil

import numpy as np
import pytest
import torch

from hftrainer.cli import main
from hftrainer.data.humanml3d import HumanML3D
from hftrainer.evaluation import drawn, motiongpt
from hftrainer.evaluation.population import population
from hftrainer.evaluation.report import failure
from hftrainer.evaluation.setting import Setting
from hftrainer.models.evaluator import Evaluator, EvaluatorConfig, TextMotionEvaluator, WordVectors
from hftrainer.models.sums import problems
from tests import tiny
from tests.test_evaluation_tasks import VERBS, build


def small_evaluator():
    torch.manual_seed(0)
    net = TextMotionEvaluator(EvaluatorConfig(6, 15, 8, 7, 263, 10, 9, 11)).eval()
    words = ["unk", "sos", "eos", "a", "person", *dict.fromkeys(" ".join(VERBS).split())]
    vectors = WordVectors(words, np.random.default_rng(1).normal(size=(len(words), 6)))
    return Evaluator(net, vectors, np.zeros(263), np.full(263, 0.05))


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A dataset, and an evaluator that keeps its real row."""
    place = tmp_path_factory.mktemp("kept")
    data, folder = build(place / "set"), place / "evaluator"
    small_evaluator().save_pretrained(folder)
    assert asked(data, folder, place / "real.json", "--calibrate") == 0
    return data, folder


def asked(data, folder, out, *more):
    words = ["evaluate", "real", "--task", "recall", "--data", data, "--evaluator", folder, "--replications", 3,
             "-o", out, "--quiet", *more]  # fmt: skip
    return main([str(word) for word in words])


def copied(kept, tmp_path):
    for name, place in zip(("set", "evaluator"), kept, strict=True):
        shutil.copytree(place, tmp_path / name)
    return tmp_path / "set", tmp_path / "evaluator", tmp_path / "report.json"


def test_the_same_again_holds(kept, tmp_path):
    data, folder = kept
    assert (folder / "calibration.json").is_file() and problems(folder) == []
    assert asked(data, folder, tmp_path / "again.json") == 0
    report = json.loads((tmp_path / "again.json").read_text())
    assert report["calibration"]["holds"] is True and report["protocol"]["name"] == "drawn"
    assert {"split", "captions", "data", "statistics", "evaluator"} <= set(report["hashes"])
    assert report["counts"]["samples"] == 36 and report["counts"]["used"] == 32
    metrics = report["metrics"]
    assert metrics["true R@1"]["mean"] == metrics["text to motion R@1 of 32"]["mean"]
    for way in ("text to motion", "motion to text"):
        ranks = [metrics[f"{way} R@{rank} of all"]["mean"] for rank in drawn.RANKS]
        kindly = [metrics[f"{way} R@{rank} of all, same sentence counts"]["mean"] for rank in drawn.RANKS]
        assert ranks == sorted(ranks) and all(a >= b for a, b in zip(kindly, ranks, strict=True))


def wrong_statistics_of_the_evaluator(data, folder):
    np.save(folder / "Std.npy", np.load(folder / "Std.npy") * 3)


def wrong_statistics_of_the_data(data, folder):
    np.save(data / "Mean.npy", np.load(data / "Mean.npy") + 1)


def normalised_motions(data, folder):
    for file in (data / "new_joint_vecs").glob("*.npy"):
        np.save(file, (np.load(file) - 0.01) / 0.05)


def another_split(data, folder):
    names = (data / "test.txt").read_text().split()
    (data / "test.txt").write_text("\n".join(names[::-1]))


def other_captions(data, folder):
    for file in (data / "texts").glob("*.txt"):
        file.write_text(file.read_text().splitlines()[0] + "\n")


@pytest.mark.parametrize("spoil, said", [
    (wrong_statistics_of_the_evaluator, "statistics: "), (wrong_statistics_of_the_data, "data: "),
    (normalised_motions, "matching is "), (another_split, "split: "), (other_captions, "captions: "),
])  # fmt: skip
def test_what_is_wrong_is_seen(kept, tmp_path, capsys, spoil, said):
    data, folder, out = copied(kept, tmp_path)
    spoil(data, folder)
    assert asked(data, folder, out) == 1
    report = json.loads(out.read_text())
    assert report["calibration"]["holds"] is False and said in failure(report)
    assert "the report does not hold: " in capsys.readouterr().out


def test_a_row_with_short_hashes_is_of_the_same_evaluator(kept, tmp_path):
    """Folders and reports of earlier versions name an evaluator by the first 16 digits of its hash."""
    data, folder, out = copied(kept, tmp_path)
    row = json.loads((folder / "calibration.json").read_text())
    for digits, code in ((row["hashes"]["evaluator"][:16], 0), ("0" * 16, 1), (row["hashes"]["evaluator"][:12], 1)):
        row["hashes"]["evaluator"] = digits
        (folder / "calibration.json").write_text(json.dumps(row))
        assert asked(data, folder, out) == code
        report = json.loads(out.read_text())
        assert report["calibration"]["holds"] is (code == 0) and len(report["hashes"]["evaluator"]) == 64
    report["hashes"]["evaluator"] = report["hashes"]["evaluator"][:16]
    out.write_text(json.dumps({**report, "marked": True}))
    assert asked(data, folder, out, "--skip-existing") == 1 and json.loads(out.read_text())["marked"] is True


def test_of_another_dataset_nothing_is_known(kept, tmp_path):
    data, folder, out = copied(kept, tmp_path)
    for spoil in (wrong_statistics_of_the_data, another_split, other_captions):
        spoil(data, folder)
    assert asked(data, folder, out) == 0
    said = json.loads(out.read_text())["calibration"]
    assert said["holds"] is None and "another dataset" in said["reason"]


def test_a_part_and_an_evaluator_without_a_row_say_so(kept, tmp_path):
    data, folder, out = copied(kept, tmp_path)
    assert asked(data, folder, out, "--limit", 34) == 0
    assert "only the first 34" in json.loads(out.read_text())["calibration"]["reason"]
    (folder / "calibration.json").unlink()
    assert asked(data, folder, out) == 0
    assert "keeps no real row" in json.loads(out.read_text())["calibration"]["reason"]


def test_the_real_row_does_not_depend_on_the_model(kept):
    data, folder = kept
    dataset = HumanML3D(data)
    samples, setting = population(dataset), Setting(Evaluator.from_pretrained(folder), 2)
    alone = drawn.real_motions(samples, setting)
    bad = motiongpt.text_to_motion(
        samples, lambda p, f, s: [None if i < 3 else x.motion[:20] for i, x in enumerate(samples)], setting
    )
    for name in ("true R@1", "true matching"):
        assert bad["metrics"][name]["values"] == alone["metrics"][name]["values"]
    report = drawn.as_report(bad, "bad", samples, setting, dataset, "test", kept=drawn.kept_row(folder))
    assert report["calibration"]["holds"] is True and report["counts"]["failed"] == 3
    assert report["rows"]["predicted"]["samples"] == 33 and "FID" in report["rows"]["predicted"]["metrics"]
    other = Setting(setting.evaluator, 2, seed=9)
    loose = drawn.as_report(drawn.real_motions(samples, other), "real", samples, other, dataset, "test",
                            kept=drawn.kept_row(folder))  # fmt: skip
    assert {check["tolerance"] for check in loose["calibration"]["checks"]} <= set(drawn.OTHER_DRAWS.values())


def test_a_model_is_scored_and_tested(kept, tmp_path):
    data, folder = kept
    tiny.bundle().save_pretrained(tmp_path / "model")
    words = ["evaluate", "motiongpt", "--task", "t2m", "--data", data, "--model", tmp_path / "model", "--evaluator",
             folder, "--replications", 1, "-o", tmp_path / "t2m.json", "--quiet"]  # fmt: skip
    assert main([str(word) for word in words]) == 0
    report = json.loads((tmp_path / "t2m.json").read_text())
    assert report["calibration"]["holds"] is True and report["name"] == "tiny"
    named = ("split", "captions", "data", "statistics", "evaluator", "weights")
    assert [re.fullmatch("[0-9a-f]{64}", report["hashes"][name]) is None for name in named] == [False] * 6
    assert set(report["rows"]) == {"real", "predicted"} and report["hashes"]["weights"][:16] == report["model"]["hash"]
    assert str(data) not in json.dumps({k: v for k, v in report.items() if k != "seconds"})


@pytest.mark.parametrize("words, said", [
    (["mdm", "--task", "m2t"], "--task of mdm must be one of t2m, pred, inbetween; got m2t"),
    (["real", "--task", "t2m"], "--task of real must be one of recall"),
    (["real", "--task", "recall", "--model", "mdm-mini"], "--model must be left out with real"),
    (["mogents", "--task", "t2m"], "none of the kind mogents is built in"),
    (["motiongpt", "--task", "t2m", "--calibrate"], "--calibrate must come with real"),
    (["real", "--task", "recall", "--data", "DATA", "-o", "x.json", "--evaluator", "none"], "got --evaluator none"),
    (["mdm", "--task", "t2m", "--data", "DATA", "--model", "motiongpt-mini", "-o", "x.json"],
     "--model must be of the kind mdm; motiongpt-mini is motiongpt"),
])  # fmt: skip
def test_wrong_requests(kept, tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", *(str(kept[0]) if word == "DATA" else word for word in words)]) == 2
    assert said in capsys.readouterr().err


def test_ranks_by_hand():
    apart = np.array([[1.0, 0.5, 3.0], [2.0, 1.0, 0.1], [9.0, 9.0, 0.0]])
    same = np.array([[True, True, False], [False, True, False], [False, False, True]])
    found = drawn._recalls(apart, same, np.arange(3))
    assert found["text to motion R@1 of all"] == pytest.approx(1 / 3)
    assert found["text to motion R@2 of all"] == 1.0
    assert found["text to motion R@1 of all, same sentence counts"] == pytest.approx(2 / 3)
    assert found["motion to text R@1 of all"] == pytest.approx(2 / 3)
    assert found["right pair nearer"] == pytest.approx(4 / 6)
    assert found["matching, wrong pairs"] == pytest.approx((0.5 + 3 + 2 + 0.1 + 9 + 9) / 6)
    assert "text to motion R@1 of 32" not in found
