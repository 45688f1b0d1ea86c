"""Kills, full disks, read-only folders, two at once, clocks that jump: nothing half-written; the next run goes on."""

import ctypes
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hftrainer.cli import main
from hftrainer.data.build import build
from hftrainer.errors import ArtifactError
from hftrainer.motion.clip import Motion
from hftrainer.motion.files import save
from hftrainer.motion.files.alone import alone
from hftrainer.training.recipe import run_recipe
from tests import capture_files, training_data
from tests.conftest import ROOT
from tests.moving import lively

VERBS = ("generate", "convert", "import", "evaluate", "build", "train")


def killed(folder: Path, times: int, *verbs: str) -> dict:
    """What ``tests.killing`` counted; it forks, so it runs apart."""
    words = [sys.executable, "-m", "tests.killing", str(folder), str(times), "7", *verbs]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_a_few_kills(tmp_path):
    found = killed(tmp_path / "works", 3, "convert", "train")
    assert {verb: counts["kills"] for verb, counts in found.items()} == {"convert": 3, "train": 3}
    assert all(counts["touches"] > 5 for counts in found.values())


@pytest.mark.slow
def test_a_hundred_kills(tmp_path):
    found = killed(tmp_path / "works", 17, *VERBS)
    assert set(found) == set(VERBS) and sum(counts["kills"] for counts in found.values()) >= 100


def test_one_process_in_a_run_folder(tmp_path):
    data = training_data.write(tmp_path / "data")
    (tmp_path / "recipe.toml").write_text(training_data.TOKENIZER.format(data=data))
    with alone(tmp_path / "run"):
        with pytest.raises(ArtifactError, match="run must be used by one process at a time"):
            run_recipe(tmp_path / "recipe.toml", tmp_path / "run", say=print)
        assert list((tmp_path / "run").iterdir()) == []
    assert not (tmp_path / "run").exists()


def test_one_process_in_a_dataset_folder(tmp_path, capsys):
    pack = capture_files.make_pack(tmp_path / "pack", {"cmu_a": capture_files.walk(3.0)}, [], {})
    words = ["data", "build", "mocap", "--from", str(pack), "-o", str(tmp_path / "set"), "--quiet"]
    with alone(tmp_path / "set"):
        assert main(words) == 2
        with pytest.raises(ArtifactError):
            build(pack, tmp_path / "set", workers=1)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "must be used by one process at a time" in said


def test_a_killed_process_holds_nothing(tmp_path):
    program = "import sys, time\nfrom hftrainer.motion.files.alone import alone\n"
    program += "with alone(sys.argv[1]):\n    print('held', flush=True)\n    time.sleep(600)\n"
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(ArtifactError), alone(tmp_path):
            pass
        other.kill()
        other.wait()
    with alone(tmp_path):
        assert list(tmp_path.iterdir()) == []


def test_workers_end_with_the_process_that_started_them(tmp_path):
    program = "import os, sys, time\nfrom hftrainer.data.pool import processes\n"
    program += "with processes(1) as pool:\n    print(pool.submit(os.getpid).result(), flush=True)\n"
    program += "    time.sleep(600)\n"
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE) as other:
        worker = int(other.stdout.readline())
        other.kill()
        other.wait()
    for _ in range(600):
        if not Path(f"/proc/{worker}").exists() or "\nState:\tZ" in Path(f"/proc/{worker}/status").read_text():
            return
        time.sleep(0.1)
    pytest.fail("the worker goes on")


def no_room(*args, **kwargs):
    raise OSError(28, "No space left on device")


def test_a_full_disk_is_said_in_a_sentence(tmp_path, monkeypatch, capsys):
    source = tmp_path / "a.npz"
    save(Motion(lively(6), "joints", 20), source)
    monkeypatch.setattr("zipfile.ZipFile.writestr", no_room)
    assert main(["convert", str(source), str(tmp_path / "b.npz"), "--quiet"]) == 1
    said = capsys.readouterr().err
    assert "no space is left on the disk" in said and said.count("\n") == 1
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.npz"]


def test_an_artifact_that_finds_no_room_leaves_the_one_before(tmp_path, monkeypatch):
    from safetensors import SafetensorError

    from hftrainer.models.artifact import written_folder

    with written_folder(tmp_path / "model") as beside:
        (beside / "a").write_text("old")
    with pytest.raises(OSError, match="model must be written whole; got No space left"), written_folder(
        tmp_path / "model"
    ) as beside:
        (beside / "a").write_text("half")
        raise SafetensorError("No space left on device")
    assert (tmp_path / "model" / "a").read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_a_checkpoint_that_finds_no_room_leaves_the_one_before(tmp_path, monkeypatch):
    import torch

    data = training_data.write(tmp_path / "data")
    (tmp_path / "recipe.toml").write_text(training_data.TOKENIZER.format(data=data))
    saved, calls = torch.save, []

    def second_fails(value, file):
        calls.append(file)
        if len(calls) == 2:
            Path(file).write_bytes(b"half")
            no_room()
        saved(value, file)

    monkeypatch.setattr(torch, "save", second_fails)
    with pytest.raises(OSError, match="No space left"):
        run_recipe(tmp_path / "recipe.toml", tmp_path / "run", say=print)
    monkeypatch.setattr(torch, "save", saved)
    assert torch.load(tmp_path / "run" / "last.pt", weights_only=True)["step"] == 3
    run_recipe(tmp_path / "recipe.toml", tmp_path / "run", resume=True, say=print)
    whole = run_recipe(tmp_path / "recipe.toml", tmp_path / "other", say=print)
    weights = "motion_tokenizer.safetensors"
    assert (tmp_path / "run" / "artifact" / weights).read_bytes() == (whole / weights).read_bytes()


def lay_down_roots_right() -> None:
    """Root may write everywhere, even where a folder says no; a program that is begun after this may not."""
    if os.geteuid() == 0 and ctypes.CDLL(None, use_errno=True).prctl(24, 1, 0, 0, 0):  # PR_CAPBSET_DROP, DAC_OVERRIDE
        raise OSError(ctypes.get_errno(), "root's right to write everywhere could not be laid down")


def test_a_read_only_folder_is_refused_before_the_work(tmp_path):
    """Verbs that make files, in a process that may not write there, whoever runs the tests; nothing is left behind."""
    shut, clip = tmp_path / "shut", tmp_path / "clip.npz"
    shut.mkdir(mode=0o500)
    save(Motion(lively(6), "joints", 20), clip)
    data = training_data.write(tmp_path / "data")
    (tmp_path / "recipe.toml").write_text(training_data.TOKENIZER.format(data=data))
    asked = {
        "generate": ["generate", "a person walks", "-o", str(shut / "a.bvh")],
        "convert": ["convert", str(clip), str(shut / "a.bvh")],
        "train": ["train", str(tmp_path / "recipe.toml"), "-o", str(shut / "run")],
    }
    try:
        subprocess.run(["true"], preexec_fn=lay_down_roots_right, check=True)
    except subprocess.SubprocessError:
        pytest.skip("root cannot lay down its right to write everywhere here, so no folder is shut to it")
    script = "import sys; from hftrainer.cli import main; sys.exit(main(sys.argv[1:]))"
    for verb, words in asked.items():
        line = [sys.executable, "-c", script, *words, "--quiet"]
        done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, preexec_fn=lay_down_roots_right)
        assert (done.returncode, "must be writable" in done.stderr) == (2, True), (verb, done.stderr[-500:])
    assert list(shut.iterdir()) == []


def test_clocks_that_jump_change_nothing(tmp_path, monkeypatch):
    """Times only ever say how long something took; training to the same end while the clock runs backwards."""
    data = training_data.write(tmp_path / "data")
    (tmp_path / "recipe.toml").write_text(training_data.TOKENIZER.format(data=data))
    whole = run_recipe(tmp_path / "recipe.toml", tmp_path / "steady", say=print)
    ticks = iter(range(10**6, 0, -1000))
    monkeypatch.setattr(time, "time", lambda: float(next(ticks)))
    jumped = run_recipe(tmp_path / "recipe.toml", tmp_path / "jumping", say=print)
    weights = "motion_tokenizer.safetensors"
    assert (jumped / weights).read_bytes() == (whole / weights).read_bytes()
