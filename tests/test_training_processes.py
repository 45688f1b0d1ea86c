"""Training that is cut into parts, shared by processes, or killed: the numbers are those of one undisturbed process."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hftrainer.errors import ArtifactError
from hftrainer.models.motion.motiongpt.bundle import Statistics
from hftrainer.models.motion.motiongpt.network import MotionTokenizer, TokenizerConfig
from hftrainer.training.language import LanguageSettings, LanguageTask, TokenClip
from hftrainer.training.loop import Schedule, fit
from hftrainer.training.processes import Alone, choose_device, freeze, processes, trained
from hftrainer.training.recipe import run_recipe
from hftrainer.training.sharing import Shared
from hftrainer.training.tokenizer import TokenizerSettings, TokenizerTask
from tests import tiny, training_data
from tests.conftest import ROOT

QUIET = dict(say=lambda line: None)
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def log(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def network_of(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "last.pt", weights_only=True)["network"]


def language_task(rows: int = 8) -> LanguageTask:
    torch.manual_seed(0)
    bundle = tiny.bundle()
    for module in bundle.language_model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0  # its draws would differ between parts
    clips = [TokenClip((tuple(range(n)),), (f"a person {word}",), word) for n, word in ((5, "walks"), (9, "runs"))]
    settings = LanguageSettings(rows=rows, tasks={"t2m": 0.6, "m2t": 0.4})
    return LanguageTask(
        bundle.language_model, bundle.text, clips, clips, settings, fps=20, frames_per_token=4, seed=0
    )  # fmt: skip


def tokenizer_task() -> TokenizerTask:
    torch.manual_seed(0)
    clips = [np.random.default_rng(i).normal(size=(70, 263)).astype(np.float32) for i in range(2)]
    net = MotionTokenizer(TokenizerConfig(codes=8, code_width=8, width=16, depth=1))
    return TokenizerTask(
        net, Statistics(np.zeros(263), np.ones(263), "hml263"), clips, clips, TokenizerSettings(frames=512), seed=0
    )


def test_a_batch_in_parts_is_the_same_step(tmp_path):
    """Answers have different lengths, so a mean of the parts' means would be another number."""
    losses = {}
    for parts in (1, 4):
        task = language_task()
        schedule = Schedule(6, 1e-2, warmup=1, log_every=1, accumulate=parts, device="cpu")
        fit(task, schedule, tmp_path / str(parts), **QUIET)
        losses[parts] = [line["loss"] for line in log(tmp_path / str(parts))]
    assert np.allclose(losses[1], losses[4], atol=1e-4) and losses[1][0] != losses[1][-1]
    with pytest.raises(ValueError, match="a row for each of 16 parts"):
        fit(language_task(), Schedule(1, 1e-2, accumulate=16, device="cpu"), tmp_path / "many", **QUIET)


def test_frozen_parts_stay(tmp_path):
    task = tokenizer_task()
    freeze(task.network, ["encoder", "quantizer"])
    task.network.quantizer.started.fill_(True)
    before = {key: value.clone() for key, value in task.network.state_dict().items()}
    fit(task, Schedule(3, 1e-2, device="cpu"), tmp_path, frozen=("encoder", "quantizer"), **QUIET)
    after = task.network.state_dict()
    assert {key.split(".")[0] for key in after if not torch.equal(after[key], before[key])} == {"decoder"}


def test_freezing_refuses_what_is_not_there():
    network = tokenizer_task().network
    with pytest.raises(ValueError, match=r"parts of the network \(encoder, decoder, quantizer, or in them\); got enc"):
        freeze(network, ["enc"])
    assert len(trained(network)) == len(list(network.parameters()))
    with pytest.raises(ValueError, match="leave something to be trained"):
        freeze(network, ["encoder", "decoder"])


def test_a_launcher_that_starts_too_few_is_refused(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    assert isinstance(processes("cpu"), Alone)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    with pytest.raises(ValueError, match="Add --multi_gpu"):
        processes("cpu")


def test_devices():
    assert choose_device("cpu") == "cpu" and isinstance(processes("cpu"), Alone)
    with pytest.raises(ValueError, match="device must be one of auto, cpu, cuda; got 'gpu'"):
        Schedule(1, 1.0, device="gpu")
    if not torch.cuda.is_available():
        assert choose_device("auto") == "cpu"
        with pytest.raises(ValueError, match="torch finds no GPU"):
            choose_device("cuda")


@pytest.mark.parametrize("policy", ["keep", "reinitialise"])
def test_codes_after_a_resume(tmp_path, policy):
    """Codes and their moving averages are in the checkpoint; the original's way, to begin them anew, has a name."""
    task = tokenizer_task()
    fit(task, Schedule(2, 1e-3, device="cpu"), tmp_path, **QUIET)
    again = tokenizer_task()
    again.settings = TokenizerSettings(frames=512, codebook_on_resume=policy)
    fit(again, Schedule(2, 1e-3, device="cpu"), tmp_path, resume=True, **QUIET)
    for name in ("codebook", "code_sum", "code_count"):
        assert torch.equal(getattr(task.network.quantizer, name), getattr(again.network.quantizer, name))
    assert bool(again.network.quantizer.started) == (policy == "keep")


def test_means_of_the_log_survive_a_resume(tmp_path):
    """Saved every 2 steps, logged every 3: the mean of steps 1 to 3 spans the cut. Half a line is forgotten."""
    schedule = Schedule(6, 1e-2, warmup=1, log_every=3, save_every=2, device="cpu")
    fit(language_task(), schedule, tmp_path / "whole", **QUIET)

    class Killed(LanguageTask):
        def batch(self, step):
            if step == 2:
                raise KeyboardInterrupt
            return super().batch(step)

    task = language_task()
    task.__class__ = Killed
    with pytest.raises(KeyboardInterrupt):
        fit(task, schedule, tmp_path / "cut", **QUIET)
    (tmp_path / "cut" / "log.jsonl").write_text('{"step": 1')
    fit(language_task(), schedule, tmp_path / "cut", resume=True, **QUIET)
    whole, cut = ([(line["step"], line["loss"]) for line in log(tmp_path / name)] for name in ("whole", "cut"))
    assert whole == cut and len(whole) == 2


def test_killed_in_the_middle_and_resumed(tmp_path):
    """A real process, a real SIGKILL, somewhere after the first checkpoint."""
    data = training_data.write(tmp_path / "data")
    recipe = tmp_path / "r.toml"
    recipe.write_text(training_data.TOKENIZER.format(data=data))
    changes = ["schedule.steps=60", "schedule.save_every=1", "schedule.validate_every=0"]
    words = [sys.executable, "-m", "hftrainer", "train", recipe, "-o", tmp_path / "killed"]
    words += [word for change in changes for word in ("--set", change)]
    child = subprocess.Popen(list(map(str, words)), env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 300
    while not (tmp_path / "killed" / "last.pt").exists() and child.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    at = torch.load(tmp_path / "killed" / "last.pt", weights_only=True)["step"]
    assert 1 <= at < 60 and not (tmp_path / "killed" / "artifact").exists()
    with pytest.raises(ArtifactError, match="already holds a run"):
        run_recipe(recipe, tmp_path / "killed", changes)
    run_recipe(recipe, tmp_path / "killed", changes, resume=True)
    run_recipe(recipe, tmp_path / "whole", changes)
    ours, theirs = network_of(tmp_path / "killed"), network_of(tmp_path / "whole")
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
    curves = [[(line["step"], line["loss"]) for line in log(tmp_path / name)] for name in ("killed", "whole")]
    assert curves[0] == curves[1] and len(curves[0]) == 30


def _shared(index: int, folder: Path) -> None:
    """One of two processes that keep shares: a whole run, and one that is cut and goes on."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder / 'meet'}", rank=index, world_size=2)
    group, schedule = Shared("cpu"), Schedule(6, 1e-2, warmup=1, log_every=3, save_every=2, device="cpu")
    task = language_task()
    fit(task, schedule, folder / "whole", group=group, **QUIET)

    class Killed(LanguageTask):
        def batch(self, step):
            if step == 5:
                raise KeyboardInterrupt
            return super().batch(step)

    cut = language_task()
    cut.__class__ = Killed
    with pytest.raises(KeyboardInterrupt):
        fit(cut, schedule, folder / "cut", group=group, **QUIET)
    at = torch.load(folder / "cut" / "last.pt", weights_only=True)
    assert (at["step"], at["shares"], at["processes"]) == (4, "last-4", 2) and "network" not in at
    again = language_task()
    fit(again, schedule, folder / "cut", resume=True, group=group, **QUIET)
    if index == 0:
        torch.save([one.network.state_dict() for one in (task, again)], folder / "weights.pt")
    group.wait()


@pytest.mark.slow
def test_shares_have_the_curve_of_one(tmp_path):
    torch.multiprocessing.spawn(_shared, (tmp_path,), nprocs=2)
    schedule = Schedule(6, 1e-2, warmup=1, log_every=3, save_every=2, device="cpu")
    task = language_task()
    fit(task, schedule, tmp_path / "one", **QUIET)
    curves = [[(line["step"], line["loss"]) for line in log(tmp_path / name)] for name in ("one", "whole", "cut")]
    assert curves[1] == curves[2] and len(curves[1]) == 2
    assert np.allclose(curves[0], curves[1], atol=1e-4) and curves[0][0][1] != curves[0][1][1]
    whole, cut = torch.load(tmp_path / "weights.pt", weights_only=True)
    assert whole.keys() == task.network.state_dict().keys() and all(torch.equal(whole[key], cut[key]) for key in whole)
    assert all(torch.allclose(whole[key], value, atol=1e-4) for key, value in task.network.state_dict().items())
    for name in ("whole", "cut"):
        files = sorted(str(file.relative_to(tmp_path / name)) for file in (tmp_path / name).rglob("*.pt"))
        assert files == ["last-6/0.pt", "last-6/1.pt", "last.pt"]
    sizes = [(tmp_path / "whole" / "last-6" / f"{i}.pt").stat().st_size for i in (0, 1)]
    assert max(sizes) < 0.7 * (tmp_path / "one" / "last.pt").stat().st_size
    with pytest.raises(ArtifactError, match="in shares of 2 processes. Go on as the run was begun"):
        fit(language_task(), schedule, tmp_path / "whole", resume=True, **QUIET)


def test_deepspeed_is_refused(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    with pytest.raises(ValueError, match="got DeepSpeed.* Take --config_file recipes/accelerate/fsdp.yaml"):
        processes("cpu")


FSDP = ROOT / "recipes" / "accelerate" / "fsdp.yaml"


@pytest.mark.slow
@pytest.mark.parametrize(
    "how", [["--multi_gpu", "--num_machines", 1, "--mixed_precision", "no"], ["--config_file", FSDP]],
    ids=["whole", "fsdp"],
)  # fmt: skip
def test_two_processes_have_the_curve_of_one(how, tmp_path):
    """``accelerate launch`` on the CPU: a tokenizer, whose codes follow both halves, then a language model."""
    pytest.importorskip("accelerate")
    data, words = training_data.write(tmp_path / "data"), training_data.words(tmp_path / "words")
    (tmp_path / "t.toml").write_text(training_data.TOKENIZER.format(data=data))
    changes = ["schedule.steps=12", "settings.frames=320"]  # five windows: three for one process, two for the other
    tokenizer = run_recipe(tmp_path / "t.toml", tmp_path / "t-one", changes)
    text = training_data.LANGUAGE.format(data=data, tokenizer=tokenizer, words=words)
    (tmp_path / "l.toml").write_text(text)
    more = ["schedule.steps=8", "network.dropout=0.0", "settings.word_dropout=0.0"]
    run_recipe(tmp_path / "l.toml", tmp_path / "l-one", more)
    for kind, chosen in (("t", changes), ("l", more)):
        launch = [Path(sys.executable).with_name("accelerate"), "launch", *how, "--num_processes", 2]
        launch += ["--num_cpu_threads_per_process", 1]
        launch += ["--main_process_port", 0, "--dynamo_backend", "no", "-m", "hftrainer", "train"]
        launch += [tmp_path / f"{kind}.toml", "-o", tmp_path / f"{kind}-two"]
        launch += [word for change in chosen for word in ("--set", change)]
        done = subprocess.run(list(map(str, launch)), env=ENVIRONMENT, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stderr[-3000:]
        assert "2 processes, this one on cpu" in done.stderr
        one, two = log(tmp_path / f"{kind}-one"), log(tmp_path / f"{kind}-two")
        assert [line["step"] for line in one] == [line["step"] for line in two]
        for a, b in zip(one, two, strict=True):
            for name in a.keys() - {"step", "seconds"}:
                assert abs(a[name] - b[name]) <= 1e-3 * max(1.0, abs(a[name])), (kind, name, a, b)
        assert len({line["loss"] for line in one}) == len(one)
        weights = "motion_tokenizer" if kind == "t" else "language_model"
        ours, theirs = (
            load_file(tmp_path / f"{kind}-{name}" / "artifact" / f"{weights}.safetensors") for name in ("one", "two")
        )
        assert ours.keys() == theirs.keys()
        assert all(torch.allclose(ours[key].float(), theirs[key].float(), atol=1e-2) for key in ours)
        shares = sorted(file.name for file in (tmp_path / f"{kind}-two").glob("last-*/*.pt"))
        assert shares == ([] if how[0] == "--multi_gpu" else ["0.pt", "1.pt"])
