"""The script of the cards: its flags, its files, its exit statuses; a wrong Mean/Std, split or caption is caught."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from scripts.eval import verify_evaluators
from tests.conftest import ROOT
from tests.test_drawn import asked, small_evaluator
from tests.test_evaluation_protocols import dataset, evaluator
from tests.test_evaluation_tasks import build
from tests.test_evaluators import motion272


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Both datasets and both evaluators, small, as the script finds them."""
    root = tmp_path_factory.mktemp("verify")
    hml = dataset(root / "hml", clips=40)
    (hml / "motions").rename(hml / "new_joint_vecs")
    ms = dataset(root / "ms", 272, 20, 1, 80, 299)
    (ms / "motions").rename(ms / "motion_data")
    (ms / "split").mkdir()
    shutil.copyfile(ms / "test.txt", ms / "split" / "test.txt")
    evaluator().save_pretrained(root / "hml263")
    motion272()(root / "words").save_pretrained(root / "ms272")
    return root


def flags(place, *more, out="out"):
    return [
        "--hml263-gt-root", str(place / "hml"), "--hml263-split-file", str(place / "hml" / "test.txt"),
        "--hml263-evaluator", str(place / "hml263"), "--ms272-gt-root", str(place / "ms"),
        "--ms272-evaluator", str(place / "ms272"), "--n-repeats", "3", "--out-dir", str(place / out), *more,
    ]  # fmt: skip


def predictions(place):
    return ["--hml263-pred", str(place / "hml" / "predictions"), "--ms272-pred", str(place / "ms" / "predictions")]


def run(capsys, arguments):
    code = verify_evaluators.main([str(word) for word in arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture(scope="module")
def first(place):
    """The first run: its real motions are not the published ones, and it says so; later runs are held to it."""
    assert verify_evaluators.main(flags(place, *predictions(place), out="first")) == 1
    return [place / "first" / f"verify_{which}.json" for which in ("hml263", "ms272")]


def test_both_files_and_the_published_rows(place, first, capsys):
    code, out, _ = run(capsys, flags(place, *predictions(place), "--expect", first[0], "--expect", first[1]))
    assert code == 0, out
    assert "calibration holds" in out and "real motion (Guo et al.), published" in out and "R@3 0.7970" in out
    for which, samples in (("hml263", 40), ("ms272", None)):
        report = json.loads((place / "out" / f"verify_{which}.json").read_text())
        assert report["mode"] == "prediction" and report["n_repeats"] == 3 and samples in (None, report["n_samples"])
        assert set(report["fid"]) == {"mean", "std"} and report["fid_real"]["mean"] == 0 < report["fid"]["mean"]
        assert len(report["r_precision"]["mean"]) == len(report["r_precision_real"]["std"]) == 3
        assert report["n_samples_used"] % 32 == 0 and report["config"]["pred_dir"].endswith("predictions")
        assert report["config"]["ckpt_dir"] == str(place / ("hml263" if which == "hml263" else "ms272"))
        assert report["command"].startswith("verify_evaluators.py --hml263-gt-root")
        assert report["protocol"]["captions"] == ("first" if which == "hml263" else "every")


def test_without_an_earlier_report_the_published_row_counts(place, first):
    for file in first:
        report = json.loads(file.read_text())
        assert report["calibration"]["holds"] is False and "are not where" in report["calibration"]["reason"]


def test_real_motions_alone(place, capsys):
    code, out, _ = run(capsys, flags(place, "--gt-only", "--hml263-caption-selection", "random", out="alone"))
    assert code == 1 and "hml263-subclips" in out, "published rows are of other motions"
    hml, ms = (json.loads((place / "alone" / f"verify_{w}.json").read_text()) for w in ("hml263", "ms272"))
    assert hml["mode"] == ms["mode"] == "gt_only" and hml["fid"] == {"mean": 0.0, "std": 0.0}
    assert hml["protocol"]["lengths"] == "window" and hml["n_samples"] > 40, "parts of clips count"
    assert ms["r_precision"] == ms["r_precision_real"]
    code, out, _ = run(capsys, flags(place, "--gt-only", "--which", "hml263", out="one"))
    assert code == 0 and "calibration unknown" in out and not (place / "one" / "verify_ms272.json").exists()


def test_an_evaluator_that_was_trained_here_scores_hml263(place, tmp_path, capsys):
    arguments = flags(place, "--which", "hml263", *predictions(place)[:2], out="ours")
    arguments[arguments.index("--hml263-evaluator") + 1] = "evaluator-mini"
    code, out, _ = run(capsys, arguments)
    report = json.loads((place / "ours" / "verify_hml263.json").read_text())
    assert code == 0 and "calibration unknown" in out and report["calibration"]["holds"] is None
    assert ", published" not in out, "published numbers are another evaluator's"
    assert report["protocol"]["name"] == "hml263-first, scored by contrast"
    assert set(report["seconds"]) == {"reading", "encoding", "repeats"} and len(report["hashes"]["predictions"]) == 64
    code, _, err = run(capsys, ["--which", "ms272", "--gt-only", *flags(place, "--ms272-evaluator", "evaluator-mini")])
    assert code == 2 and "motion272-pairs must have an evaluator that reads motion272; it reads hml263" in err


def test_a_dataset_that_was_built_here_is_tested_by_the_row_that_the_evaluator_keeps(tmp_path, capsys):
    data, judge = build(tmp_path / "set"), tmp_path / "judge"
    small_evaluator().save_pretrained(judge)
    assert asked(data, judge, tmp_path / "real.json", "--calibrate") == 0
    arguments = ["--which", "hml263", "--hml263-gt-root", data, "--hml263-split-file", data / "test.txt", "--n-repeats",
                 2, "--hml263-evaluator", judge, "--hml263-pred", data / "new_joint_vecs", "--out-dir", tmp_path]
    code, out, _ = run(capsys, arguments)
    assert code == 0 and "calibration holds" in out
    np.save(judge / "Std.npy", np.load(judge / "Std.npy") * 2)
    code, out, _ = run(capsys, arguments)
    assert code == 1 and "calibration does not hold" in out and "statistics" in out


@pytest.mark.parametrize("mistake", ["std", "mean", "split", "captions", "policy"])
def test_a_wrong_measurement_ends_with_1(place, first, tmp_path, capsys, mistake):
    arguments = flags(place, "--which", "hml263", *predictions(place)[:2], "--expect", first[0], out="wrong")
    if mistake in ("std", "mean"):
        shutil.copytree(place / "hml263", tmp_path / "changed")
        name = f"{mistake.capitalize()}.npy"
        np.save(tmp_path / "changed" / name, np.load(place / "hml263" / name) + np.float32(0.5))
        arguments[arguments.index("--hml263-evaluator") + 1] = str(tmp_path / "changed")
    elif mistake == "split":
        arguments[arguments.index("--hml263-split-file") + 1] = str(place / "hml" / "other.txt")
    elif mistake == "captions":
        shutil.copytree(place / "hml" / "texts", tmp_path / "texts")
        for file in (tmp_path / "texts").glob("*.txt"):
            file.write_text("\n".join(reversed(file.read_text().splitlines())) + "\n")
        arguments += ["--hml263-texts-dir", str(tmp_path / "texts")]
    else:
        arguments += ["--hml263-caption-selection", "random"]
    code, out, _ = run(capsys, arguments)
    word = {"std": "statistics", "mean": "statistics", "policy": "protocol captions"}.get(mistake, mistake)
    assert code == 1 and "calibration does not hold" in out and word in out.splitlines()[-1]
    report = json.loads((place / "wrong" / "verify_hml263.json").read_text())
    assert report["calibration"]["holds"] is False, "the report is written all the same"


@pytest.mark.parametrize(
    "more, message",
    [
        ([], "--hml263-pred and --ms272-pred must name predictions, or --gt-only be given"),
        (["--gt-only", "--hml263-pred", "x"], "--gt-only must come without predictions"),
        (["--gt-only", "--n-repeats", "0"], "--n-repeats must be at least 1; got 0"),
        (["--which", "hml263", "--hml263-pred", "nowhere"], "the predictions must be a folder; nowhere"),
        (["--gt-only", "--ms272-evaluator", "nowhere"], "the evaluator must be a folder; nowhere"),
        (["--gt-only", "--expect", "nowhere.json"], "nowhere.json"),
    ],
)
def test_wrong_requests_end_with_2(place, capsys, more, message):
    code, _, err = run(capsys, flags(place, *more, out="none"))
    assert code == 2 and message in err.splitlines()[-1] and not (place / "none").exists()


def test_the_script_runs_by_its_path(place):
    command = [sys.executable, str(ROOT / "scripts" / "eval" / "verify_evaluators.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and "--hml263-caption-selection" in done.stdout
