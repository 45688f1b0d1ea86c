"""Every built-in model scored by one command: which reports there are, what stands already, what failed."""

import json
import shutil

import pytest

from hftrainer.cli import answers as answers_of
from hftrainer.cli import main, scoring
from hftrainer.cli.entry import make_parser
from hftrainer.cli.parser import RequestError
from hftrainer.errors import GenerationError
from tests import tiny
from tests.test_drawn import asked, small_evaluator
from tests.test_evaluation_tasks import build

TASKS = ("t2m", "m2t", "pred", "inbetween", "reconstruction")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A dataset, an evaluator that keeps its real row, and a package with one tiny model."""
    root = tmp_path_factory.mktemp("all")
    build(root / "set")
    small_evaluator().save_pretrained(root / "judge")
    assert asked(root / "set", root / "judge", root / "real.json", "--calibrate") == 0
    tiny.bundle().save_pretrained(root / "package" / "motiongpt-mini")
    return root


@pytest.fixture
def package(place, monkeypatch):
    monkeypatch.setattr("hftrainer.pipelines.table.ARTIFACTS", place / "package")
    monkeypatch.setattr("hftrainer.models.artifact.BUILT_IN", place / "package")


def words(place, out, *more):
    return ["evaluate", "all", "--data", str(place / "set"), "--evaluator", str(place / "judge"), "--replications", "2",
            "-o", str(out), "--quiet", *more]  # fmt: skip


def test_one_command_makes_every_report_and_leaves_what_stands(place, package, tmp_path, capsys):
    assert main([*words(place, tmp_path / "out"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    names = {"judge", *(f"motiongpt-mini-{task}" for task in TASKS)}
    assert set(said["reports"]) == names == {file.stem for file in (tmp_path / "out").iterdir()}
    reports = {name: json.loads((tmp_path / "out" / f"{name}.json").read_text()) for name in names}
    assert {report["calibration"]["holds"] for report in reports.values()} == {True}
    for name, report in reports.items():
        assert report["replications"] == 2
        assert {"split", "captions", "data", "evaluator", "weights"} <= set(report["hashes"])
        assert report["command"].startswith("hftrainer evaluate ") and str(tmp_path) not in report["command"], name
        assert report["versions"]["numpy"]
    before = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "out").iterdir()}
    (tmp_path / "out" / "motiongpt-mini-pred.json").unlink()
    assert main([*words(place, tmp_path / "out", "--skip-existing")]) == 0
    text = capsys.readouterr().out
    assert "motiongpt-mini-t2m: " in text and "calibration holds" in text and "6 reports in " in text
    after = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "out").iterdir()}
    assert {name for name in before if before[name] != after[name]} == {"motiongpt-mini-pred.json"}
    assert main(words(place, tmp_path / "out", "--skip-existing", "--seed", "3", "--task", "recall")) == 0
    assert json.loads((tmp_path / "out" / "judge.json").read_text())["protocol"]["seed"] == 3, "of another seed"


def test_wrong_statistics_are_told_for_every_report(place, package, tmp_path, capsys):
    shutil.copytree(place / "set", tmp_path / "set")
    lines = (tmp_path / "set" / "test.txt").read_text().split()
    (tmp_path / "set" / "test.txt").write_text("\n".join(lines[:33]))
    (tmp_path / "judge").symlink_to(place / "judge")
    assert main(words(tmp_path, tmp_path / "out")) == 1
    said = capsys.readouterr().out
    assert said.count("calibration does not hold: ") == len(TASKS) + 1 and "split: " in said
    for name in ("judge", *(f"motiongpt-mini-{task}" for task in TASKS)):
        report = json.loads((tmp_path / "out" / f"{name}.json").read_text())
        assert report["calibration"]["holds"] is False and "split: " in report["calibration"]["reason"], name
        assert report["rows"]["real"]["metrics"]["R@1"]["values"]


def test_a_report_that_fails_stops_no_other(place, package, tmp_path, capsys):
    (tmp_path / "out" / "motiongpt-mini-t2m.json").mkdir(parents=True)
    assert main(words(place, tmp_path / "out", "--task", "t2m")) == 1
    assert "motiongpt-mini-t2m failed: " in capsys.readouterr().out


def test_processes_of_their_own(place, tmp_path, monkeypatch):
    """The words are those of a command line; a process that fails says why; scripts that lie about are not imported."""
    (tmp_path / "numbers.py").write_text("raise SystemExit('a script of the user')\n")
    monkeypatch.chdir(tmp_path)
    args = make_parser("evaluate").read(words(place, tmp_path / "out", "--task", "recall")[1:])
    (work,) = scoring.works(args)
    made = scoring.Elsewhere(1)(work)
    assert made.code == 0 and made.report["task"] == "recall" and "true R@1" in made.lines[0]
    wrong = ("real", "--task", "recall", "--data", "nowhere", "-o", str(tmp_path / "x.json"))
    broken = scoring.Elsewhere(1)(scoring.Work("none", wrong))
    assert broken.code == 2 and "none failed: " in broken.lines[0]


@pytest.mark.parametrize("more, said", [
    (["--model", "mdm-mini"], "--model must come with one model and one task"),
    (["--keep", "0.2"], "--keep must come with one"),
    (["--calibrate"], "--calibrate must come with one"),
    (["-o", "x.json"], "which folder"),
])  # fmt: skip
def test_wrong_requests(place, tmp_path, capsys, more, said):
    assert main([*words(place, tmp_path / "out"), *more]) == 2 and said in capsys.readouterr().err
    with pytest.raises(RequestError, match="--workers must come with all"):
        from hftrainer.cli import evaluate

        evaluate.check(make_parser("evaluate").read(["real", "--task", "recall", "--workers", "2"]))


def test_motions_of_like_length_are_asked_together():
    asked_for, lengths = [], [*range(40, 0, -1)]

    def work(part):
        asked_for.append([len(motion) for motion in part])
        if len(part) > 1 and 3 in asked_for[-1] or asked_for[-1] == [3]:
            raise GenerationError("three is too many")
        return [f"of {len(motion)}" for motion in part]

    answers = answers_of.by_length(work, ["x" * n for n in lengths], lambda first: None)
    assert answers == [None if n == 3 else f"of {n}" for n in lengths]
    assert asked_for[0] == list(range(1, 33)) and asked_for[-1] == list(range(33, 41))
