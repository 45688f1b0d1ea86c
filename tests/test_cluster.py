"""Jobs in one process: blocks done once, whatever is killed; the verbs that have --cluster."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from hftrainer.cli import main
from hftrainer.cluster.job import begin, do_block, local, read_job, run
from hftrainer.cluster.works import MOTION, motions
from hftrainer.data.packing import pack
from hftrainer.errors import ArtifactError
from tests import clustering, tiny, training_data
from tests.conftest import ROOT

pytest.importorskip("pyarrow")
WORK = clustering.Hashing()


def manifest(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


def test_a_job_is_done_in_order_and_says_what_failed(tmp_path):
    said = []
    job = begin(tmp_path / "job", {"verb": "sum"}, clustering.items(25), block=4)
    report = run(job, WORK, say=said.append)
    answers = list(read_job(tmp_path / "job").answers(WORK.columns))
    assert [a["number"] for a in answers] == list(range(25)) and (job.blocks, report["shards"]) == (7, 7)
    assert [a["twice"] for a in answers] == [0 if x % 10 == 9 else 2 * x for x in range(25)]
    assert report["problems"] == {"9": "9 is one too many", "19": "19 is one too many"}
    assert said[-1] == "done 25 of 25" and len(said) == 7
    assert (report["done_before"], report["workers"]) == (0, 1)


def test_a_second_run_does_nothing_and_a_third_mends(tmp_path):
    job = begin(tmp_path / "job", {}, clustering.items(25), block=4)
    first = run(job, WORK)
    before = {file: file.stat().st_mtime_ns for file in (job.folder / "shards").iterdir()}
    again = begin(tmp_path / "job", {}, clustering.items(25), block=4)
    second = run(again, WORK)
    assert second["sha256"] == first["sha256"] and second["done_before"] == 25 and second["workers"] == 0
    lines = (job.folder / "manifest.jsonl").read_text().splitlines(keepends=True)
    (job.folder / "manifest.jsonl").write_text("".join(lines[:3]) + lines[3][:20])  # as after a power cut
    third = run(again, WORK)
    assert third["sha256"] == first["sha256"] and third["done_before"] == 12
    assert sorted(line["block"] for line in manifest(job.folder)) == list(range(7))
    assert third["problems"] == first["problems"]
    assert {file: file.stat().st_mtime_ns for file in (job.folder / "shards").iterdir()} == before


def test_another_job_is_refused(tmp_path):
    begin(tmp_path / "job", {"seed": 1}, clustering.items(8), block=4)
    for request, items, block, said in (
        ({"seed": 2}, clustering.items(8), 4, "request differ"),
        ({"seed": 1}, clustering.items(9), 4, "items, items_sha256 differ"),
        ({"seed": 1}, clustering.items(8)[::-1], 4, "items_sha256 differ"),
        ({"seed": 1}, clustering.items(8), 2, "block differ"),
    ):
        with pytest.raises(ArtifactError, match=said):
            begin(tmp_path / "job", request, items, block)
    with pytest.raises(ValueError, match="something to do"):
        begin(tmp_path / "empty", {}, [], 4)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(ArtifactError, match="it holds something else"):
        begin(tmp_path / "other", {}, clustering.items(8), 4)
    with pytest.raises(ArtifactError, match="must hold a job"):
        read_job(tmp_path / "other")


def test_two_processes_are_not_at_work_at_once(tmp_path):
    job = begin(tmp_path / "job", {}, clustering.items(8), block=4)

    def inside(line: str) -> None:
        with pytest.raises(ArtifactError, match="another process is at work"):
            run(job, WORK)

    run(job, WORK, say=inside)


def test_a_block_done_by_two_workers_is_one_shard(tmp_path):
    job = begin(tmp_path / "job", {}, clustering.items(8), block=4)

    def twice(job, work, blocks):
        for block in blocks:
            line = do_block(job, work.columns, work.open(), block)
            job.shard(block).unlink()
            again = do_block(job, work.columns, work.open(), block)
            assert line["sha256"] == again["sha256"]
            yield from (line, again)

    assert run(job, WORK, twice)["items"] == 8
    assert [line["block"] for line in manifest(job.folder)] == [0, 1]


def test_a_means_that_stops_early_is_told(tmp_path):
    job = begin(tmp_path / "job", {}, clustering.items(8), block=4)
    with pytest.raises(RuntimeError, match="1 of 2 blocks were not done. Run the same command again."):
        run(job, WORK, lambda job, work, blocks: local(job, work, blocks[:1]))
    assert run(job, WORK)["done_before"] == 4


PROGRAM = """
import sys
from hftrainer.cluster.job import begin, run
from tests.clustering import Hashing, items
run(begin(sys.argv[1], {"a": 1}, items(200), block=2), Hashing(pause=0.005))
"""


def test_killed_at_any_moment_nothing_is_lost(tmp_path):
    expected = run(begin(tmp_path / "whole", {"a": 1}, clustering.items(200), block=2), WORK)
    draw, kills = random.Random(0), 0
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    while kills < 8:
        process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path / "job")], env=environment)
        file = tmp_path / "job" / "manifest.jsonl"
        size = file.stat().st_size if file.is_file() else 0
        for _ in range(6000):  # until it works
            if process.poll() is not None or (file.is_file() and file.stat().st_size > size):
                break
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.08))
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
    job = begin(tmp_path / "job", {"a": 1}, clustering.items(200), block=2)
    report = run(job, WORK)
    assert kills >= 3 and report["sha256"] == expected["sha256"] and report["problems"] == expected["problems"]
    assert [a["number"] for a in job.answers(WORK.columns)] == list(range(200))
    assert sorted(line["block"] for line in manifest(job.folder)) == list(range(100))
    assert all(file.suffix == ".parquet" and file.is_file() for file in (job.folder / "shards").iterdir())


# -------------------------------------------------------------------------------------------------------- the verbs


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    tiny.bundle().save_pretrained(folder)
    return folder


def call(capsys, *words: str) -> tuple[int, dict, str]:
    code = main([*words, "--json", "--quiet"])
    told = capsys.readouterr()
    return code, json.loads(told.out) if told.out else {}, told.err


def test_generate_as_a_job(model, tmp_path, capsys):
    pa = pytest.importorskip("pyarrow")
    prompts = ["a person walks", "a person runs left", "", "a person jumps"]
    pa.parquet.write_table(pa.table({"n": [1, 2, 3, 4], "caption": prompts}), tmp_path / "prompts.parquet")
    words = ["generate", "--model", str(model), "--prompts", str(tmp_path / "prompts.parquet"), "--frames", "16",
             "--samples", "2", "--cluster", "local", "--block", "3", "-o", str(tmp_path / "out")]  # fmt: skip
    code, report, _ = call(capsys, *words)
    assert code == 1 and (report["items"], report["shards"]) == (8, 3) and set(report["problems"]) == {"4", "5"}
    assert "must be a sentence" in report["problems"]["4"]
    made = dict(motions(tmp_path / "out"))
    assert sorted(made) == [0, 1, 2, 3, 6, 7] and all(m.data.shape == (16, 263) for m in made.values())
    assert made[1].about["seed"] == 1 and made[2].about["prompt"] == "a person runs left"
    from hftrainer.pipelines.motiongpt import MotionGPTPipeline

    alone = MotionGPTPipeline.from_pretrained(model)(["a person jumps"], [16], seed=1)[0]
    assert np.allclose(made[7].data, alone.data, atol=1e-5)
    assert call(capsys, *words)[1]["done_before"] == 8
    code, _, error = call(capsys, *words[:-2], "-o", str(tmp_path / "out"), "--seed", "5")
    assert code == 2 and "items_sha256 differ" in error
    # the results of a job are a folder of motions for convert
    code, report, _ = call(
        capsys, "convert", str(tmp_path / "out"), str(tmp_path / "bvh"), "--format", "bvh", "--cluster", "local"
    )
    assert code == 1 and set(report["problems"]) == {"4", "5"}
    assert len(list((tmp_path / "bvh" / "000000").glob("*.bvh"))) == 6


def test_prompts_of_a_folder(model, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "b.txt").write_text("a person runs\n\n")
    (tmp_path / "in" / "a.txt").write_text("a person walks\na person jumps\n")
    code, report, _ = call(
        capsys, "generate", "--model", str(model), "--prompts", str(tmp_path / "in"), "--frames", "16",
        "--cluster", "local", "-o", str(tmp_path / "out"),
    )  # fmt: skip
    assert code == 0 and [m.about["prompt"] for _, m in motions(tmp_path / "out")] == [
        "a person walks", "a person jumps", "a person runs",
    ]  # fmt: skip
    assert {a["problem"] for a in read_job(tmp_path / "out").answers(MOTION)} == {""}


def test_convert_as_a_job_is_convert(tmp_path, capsys):
    source = tmp_path / "in" / "deep"
    source.mkdir(parents=True)
    for i in range(5):
        np.save(source / f"{i}.npy", np.full((5 + i, 263), 0.1 * i, np.float32))
    (source / "broken.bvh").write_text("HIERARCHY\nnothing")
    many = [call(capsys, "convert", str(tmp_path / "in"), str(tmp_path / out), "--to", "joints", *more)
            for out, more in (("plain", ()), ("job", ("--cluster", "local", "--block", "2")))]  # fmt: skip
    assert [code for code, _, _ in many] == [1, 1] and many[1][1]["items"] == 6
    files = sorted(p.relative_to(tmp_path / "plain") for p in (tmp_path / "plain").rglob("*.npz"))
    assert len(files) == 5
    assert all((tmp_path / "job" / f).read_bytes() == (tmp_path / "plain" / f).read_bytes() for f in files)
    code, report, _ = call(
        capsys, "convert", str(tmp_path / "in"), str(tmp_path / "job"), "--to", "joints", "--cluster", "local",
        "--block", "2",
    )  # fmt: skip
    assert code == 1 and report["done_before"] == 6


def test_tokenize_as_a_job_is_tokenize(model, tmp_path, capsys):
    folder = training_data.write(tmp_path / "data")
    pack(folder, tmp_path / "packed")
    shared = ["tokenize", str(model), "--offset", "random", "--seed", "3", "--frames", "40", "199"]
    for data, out, more in (
        (folder, "plain", ()), (folder, "job", ("--cluster", "local", "--block", "2")),
        (tmp_path / "packed", "from-pack", ("--cluster", "local")),
    ):  # fmt: skip
        assert call(capsys, *shared, "--data", str(data), "-o", str(tmp_path / out), *more)[0] == 0
    for clip in ("walk", "run", "jump"):
        files = [(tmp_path / out / f"{clip}.npy").read_bytes() for out in ("plain", "job", "from-pack")]
        assert files[0] == files[1] == files[2]


def test_wrong_requests(model, tmp_path, capsys, monkeypatch):
    (tmp_path / "p.txt").write_text("a person walks\n")
    base = ["generate", "--model", str(model), "--prompts", str(tmp_path / "p.txt")]
    for words, said in (
        ([*base, "--cluster", "local", "-o", str(tmp_path / "a.npz")], "say one folder with -o DIR"),
        ([*base, "-o", str(tmp_path / "a.npz"), "--block", "4"], "--block must come with --cluster"),
        ([*base[:3], "--cluster", "local", "-o", str(tmp_path / "out")], "--cluster must have sentences"),
        ([*base[:3], "--prompts", "no.txt", "--cluster", "local", "-o", str(tmp_path / "out")], "there is none"),
        ([*base, "--frames", "7000", "--cluster", "local", "-o", str(tmp_path / "out")], "--frames must be 8 to 64"),
        (["convert", str(tmp_path / "p.txt"), "b.npz", "--cluster", "local"], "must come with a folder"),
    ):
        code, _, error = call(capsys, *words)
        assert code == 2 and said in error, error
    assert not (tmp_path / "out").exists()
    for package, extra in (("ray", "cluster"), ("pyarrow", "parquet")):
        monkeypatch.setitem(sys.modules, package, None)
        code, _, error = call(capsys, *base, "--cluster", "auto", "-o", str(tmp_path / "out"))
        assert code == 2 and f"pip install 'hftrainer[{extra}]'" in error and error.count("\n") == 1
