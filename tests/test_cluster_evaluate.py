"""``evaluate --cluster``: the numbers of a measurement whose answers are a job, beside those of one process."""

import json

import pytest

from hftrainer.cli import main
from hftrainer.cluster import works
from tests.test_evaluation_tasks import build, evaluator, model  # noqa: F401 (fixtures)

pytest.importorskip("pyarrow")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build(tmp_path_factory.mktemp("data") / "set", 34)


def measured(out, *words):
    assert main(["evaluate", "motiongpt", "--quiet", "-o", str(out), *map(str, words)]) == 0
    report = json.loads(out.read_text())
    return {name: value for name, value in report.items() if name not in ("seconds", "command")}


TASKS = {
    "t2m": ("--replications", 2, "--multimodality", 1, "--limit", 33),
    "reconstruction": ("--replications", 2, "--limit", 6),
    "m2t": ("--replications", 2, "--limit", 5), "pred": ("--replications", 2, "--limit", 5),
    "inbetween": ("--replications", 1, "--limit", 5, "--keep", 0.3, 0.2),
}  # fmt: skip


@pytest.mark.parametrize("task", TASKS)
def test_the_numbers_are_those_of_one_process(task, folder, model, evaluator, tmp_path):  # noqa: F811
    evaluator.save_pretrained(tmp_path / "evaluator")
    known = tmp_path / "evaluator" if task == "t2m" else "none"
    words = ("--task", task, "--data", folder, "--model", model, "--evaluator", known, *TASKS[task])
    plain = measured(tmp_path / "plain.json", *words)
    job = measured(tmp_path / "job.json", *words, "--cluster", "local", "--block", 4)
    assert job == plain and plain["metrics"]
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(
        ["plain.json", "job.json", "evaluator"]
    )


def test_it_goes_on_where_it_was_stopped(folder, model, tmp_path, monkeypatch):  # noqa: F811
    words = ("--task", "t2m", "--data", folder, "--model", model, "--evaluator", "none", "--replications", 1,
             "--limit", 10, "--cluster", "local", "--block", 2)  # fmt: skip
    whole, asked, open_work = measured(tmp_path / "whole.json", *words), [], works.Generating.open

    def interrupted(work):
        do = open_work(work)

        def some(items):
            asked.append([item["prompt"] for item in items])
            if len(asked) == 3:
                raise KeyboardInterrupt
            return do(items)

        return some

    monkeypatch.setattr(works.Generating, "open", interrupted)
    out = tmp_path / "report.json"
    with pytest.raises((KeyboardInterrupt, SystemExit, AssertionError)):
        measured(out, *words)
    assert not out.exists() and len(list((tmp_path / "report.json.job" / "shards").glob("0*.parquet"))) == 2
    assert measured(out, *words) == whole and len(asked) == 6
    assert not (tmp_path / "report.json.job").exists()


def test_wrong_requests(folder, tmp_path, capsys):
    shared = ["--data", str(folder), "-o", str(tmp_path / "a.json")]
    for words, said in (
        (["evaluate", "real", "--task", "recall", "--cluster", "local", *shared], "--cluster must come with a model"),
        (["evaluate", "motiongpt", "--task", "pred", "--block", "3", *shared], "--block must come with --cluster"),
    ):
        assert main(words) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
