"""One training loop for every recipe: step, log, save, resume where it stopped, bit for bit.

A step's batch belongs to the recipe, not to the machine: it is drawn whole and cut into equal parts, one for each
process and each accumulation. The sum of the parts is the same step, up to the order in which numbers are added.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from hftrainer.errors import ArtifactError
from hftrainer.motion.files.atomic import written_whole
from hftrainer.training.processes import DEVICES, Processes, processes, rest, trained

#: What networks compute in.
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
#: Kinds of devices that train in float16.
_HALF = ("cuda",)


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    Attributes:
        steps: optimiser steps in all.
        learning_rate: peak; it rises linearly over ``warmup`` steps and falls by a cosine to ``final`` times the peak.
        weight_decay, betas, gradient_clip: AdamW; a clip of 0 means none.
        seed: of weights, data order and dropout. Each step seeds itself from it, so a resumed run repeats no number.
        precision: ``"float32"``, ``"bfloat16"`` (mixed precision, about twice as fast where the CPU has it), or
            ``"float16"``, the same for GPUs that have no bfloat16: the loss is scaled, and a step whose gradients are
            not finite is left out.
        log_every, validate_every, save_every: in steps; 0 means at the end only.
        device: ``"cpu"``, ``"cuda"``, or ``"auto"``, which takes a GPU when there is one.
        curve: ``"cosine"``, or ``"steps"``: the rate stays where the warm-up leaves it, which is a last step before the
            peak, as MoMask and MoGenTS have it, and is multiplied by ``gamma`` from each of ``milestones`` on.
        milestones, gamma: steps and factor of ``"steps"``.
        accumulate: parts of a batch that one process works on one after the other. More parts need less memory and
            give the same gradient; the codes of a motion tokenizer follow each part.
    """

    steps: int
    learning_rate: float
    warmup: int = 200
    final: float = 0.02
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.99)
    gradient_clip: float = 1.0
    seed: int = 1234
    precision: str = "float32"
    log_every: int = 50
    validate_every: int = 0
    save_every: int = 500
    device: str = "auto"
    accumulate: int = 1
    curve: str = "cosine"
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1

    def __post_init__(self) -> None:
        if self.steps < 1 or self.learning_rate <= 0:
            raise ValueError(f"steps and learning_rate must be above 0; got {self.steps} and {self.learning_rate}.")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}; got {self.precision!r}.")
        if self.device not in DEVICES:
            raise ValueError(f"device must be one of {', '.join(DEVICES)}; got {self.device!r}.")
        if self.accumulate < 1:
            raise ValueError(f"accumulate must be at least 1; got {self.accumulate}.")
        if self.curve not in ("cosine", "steps"):
            raise ValueError(f"curve must be cosine or steps; got {self.curve!r}.")
        if self.milestones and self.curve != "steps":
            raise ValueError(f"milestones need curve = \"steps\"; got {self.curve!r}.")
        object.__setattr__(self, "betas", tuple(self.betas))
        object.__setattr__(self, "milestones", tuple(self.milestones))

    def rate(self, step: int) -> float:
        """Learning rate of step 0, 1, …

        >>> Schedule(10, 0.5, warmup=3, curve="steps", milestones=(5,)).rate(4)
        0.375
        """
        if self.curve == "steps":
            warm = min(step + 2, self.warmup) if self.warmup else 1
            passed = sum(step >= milestone for milestone in self.milestones)
            return self.learning_rate * warm / (self.warmup + 1) * self.gamma**passed
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        done = torch.tensor((step - self.warmup) / max(1, self.steps - self.warmup))
        cosine = 0.5 * (1 + torch.cos(torch.pi * done)).item()
        return self.learning_rate * (self.final + (1 - self.final) * cosine)


#: Gets a line about what is going on.
Say = Callable[[str], None]


def tell(line: str) -> None:
    """A line on standard error."""
    print(line, file=sys.stderr, flush=True)


class Task(Protocol):
    """What the loop needs to know of a model and its data."""

    @property
    def network(self) -> nn.Module:
        """What is trained."""

    def batch(self, step: int) -> Any:
        """The batch of a step; the same step gives the same batch."""

    def loss(self, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss to minimise and named parts to log."""

    def weight_of(self, batch: Any) -> float:
        """How many things the loss of a batch is a mean of."""

    def resumed(self) -> None:
        """Called once after a checkpoint was read."""

    def validate(self) -> dict[str, float]:
        """Numbers on held-out data."""


@runtime_checkable
class Following(Protocol):
    """A task that does something after each step, such as keeping an average; it must live in the network's state."""

    def stepped(self) -> None:
        """Called after each optimiser step."""


class _Loss(nn.Module):
    """The loss as a module, for what wraps modules."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.network, self.task = task.network, task

    def forward(self, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        return self.task.loss(batch)


def fit(
    task: Task,
    schedule: Schedule,
    out: Path,
    resume: bool = False,
    say: Say = tell,
    *,
    group: Processes | None = None,
    frozen: Sequence[str] = (),
) -> None:
    """Train ``task.network`` in place.

    Args:
        task: network, batches and loss.
        schedule: how long and how fast.
        out: gets ``log.jsonl`` (one JSON object a line: step, seconds, rate, losses) and ``last.pt``.
        resume: go on from ``last.pt``; without it a folder that holds one is refused.
        say: gets a progress line; standard error by default.
        group: who trains; by default this process, or all that were launched.
        frozen: parts of the network that are in evaluation mode also while the rest trains (see ``freeze``).

    Raises:
        ArtifactError: ``out`` already holds a run and ``resume`` is off, or there is nothing to resume.
        RuntimeError: the loss is not finite any more.
        ValueError: a batch has fewer rows than there are parts, or float16 is asked for without a GPU.
    """
    out.mkdir(parents=True, exist_ok=True)
    last, log = out / "last.pt", out / "log.jsonl"
    if last.exists() != resume:
        state = (
            "holds no run to resume; start without --resume"
            if resume
            else "already holds a run; use --resume or remove it"
        )
        raise ArtifactError(f"{out} {state}.")
    group = group or processes(schedule.device)
    first = group.index == 0
    if schedule.precision == "float16" and group.device.type not in _HALF:
        raise ValueError(f"precision float16 must have a GPU; got {group.device.type}. Take bfloat16.")
    scaler = torch.amp.GradScaler(group.device.type, enabled=schedule.precision == "float16")
    task.network.to(group.device)
    module = group.wrap(_Loss(task))
    weights = trained(task.network)
    optimizer = torch.optim.AdamW(
        weights, lr=schedule.learning_rate, betas=schedule.betas, weight_decay=schedule.weight_decay
    )
    begin, before, count = 0, 0.0, 0
    sums: dict[str, Tensor] = {}
    if resume:
        found = torch.load(last, weights_only=True, map_location=group.device)
        group.load(out, found, task.network, optimizer)
        scaler.load_state_dict(found.get("scaler", {}) if scaler.is_enabled() else {})
        begin, before = found["step"], found["seconds"]
        count = found.get("count", 0)
        # What the log still has to tell is one sum; one process keeps it.
        sums = {name: value if first else torch.zeros(()) for name, value in found.get("sums", {}).items()}
        task.resumed()
    group.wait()  # nobody writes before everybody has looked
    if first:
        _cut_log(log, begin)
        if group.count > 1:
            say(f"{group.count} processes, this one on {group.device}")
    started = time.monotonic()

    def train_mode() -> None:
        module.train()
        rest(task.network, frozen)

    train_mode()
    for step in range(begin, schedule.steps):
        # Dropout differs between processes; the first draws what one process alone would.
        torch.manual_seed((schedule.seed + 97 * group.index) * 1_000_003 + step)
        for settings in optimizer.param_groups:
            settings["lr"] = schedule.rate(step)
        optimizer.zero_grad(set_to_none=True)
        for name, value in _gradients(task, module, task.batch(step), schedule, group, scaler).items():
            sums[name] = sums.get(name, torch.zeros(())) + value
        scaler.unscale_(optimizer)
        if schedule.gradient_clip:
            nn.utils.clip_grad_norm_(weights, schedule.gradient_clip)
        scaler.step(optimizer)  # the optimiser's own step where nothing is scaled
        scaler.update()
        if isinstance(task, Following):
            task.stepped()
        count, done = count + 1, step + 1
        if _due(done, schedule.log_every, schedule.steps):
            seconds = round(before + time.monotonic() - started, 1)
            line: dict[str, Any] = {"step": done, "seconds": seconds, "rate": schedule.rate(step)}
            totals = {name: group.sum(value) for name, value in sums.items()}
            line |= {name: round(float(value) / count, 6) for name, value in totals.items()}
            if not math.isfinite(line["loss"]):
                raise RuntimeError(
                    f"the loss must stay finite; got {line['loss']} at step {done}. Lower the learning rate."
                )
            if _due(done, schedule.validate_every, schedule.steps):
                with group.whole(module), torch.no_grad():
                    if first:
                        task.network.eval()
                        line |= {name: round(value, 6) for name, value in task.validate().items()}
                        train_mode()
            if first:
                with log.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
                say("  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in line.items()))
            sums, count = {}, 0
        if _due(done, schedule.save_every, schedule.steps):
            totals = {name: group.sum(value) for name, value in sums.items()}
            saved = group.saved(out, done, task.network, optimizer)
            if first:
                saved |= {"step": done, "seconds": before + time.monotonic() - started}
                saved |= {"scaler": scaler.state_dict()} if scaler.is_enabled() else {}
                torch.save({**saved, "sums": totals, "count": count}, out / ".last.pt")
                os.replace(out / ".last.pt", last)
                group.tidy(out, done)
    group.gather(task.network)
    task.network.eval()
    group.wait()


def _gradients(
    task: Task, module: nn.Module, batch: Any, schedule: Schedule, group: Processes, scaler: torch.amp.GradScaler
) -> dict[str, Tensor]:
    """Gradients of a step's batch; this process's share of its loss and of the parts of it."""
    parts = schedule.accumulate * group.count
    whole = task.weight_of(batch) if parts > 1 else 1.0
    sums: dict[str, Tensor] = {}
    for turn in range(schedule.accumulate):
        piece = _cut(batch, turn * group.count + group.index, parts) if parts > 1 else batch
        with group.part(module, turn == schedule.accumulate - 1):
            precision = PRECISIONS[schedule.precision]
            with torch.autocast(group.device.type, precision, enabled=precision != torch.float32):
                loss, named = module(piece)
            share = task.weight_of(piece) / whole if parts > 1 else 1.0
            # Processes' gradients are averaged, so each gives its share times their number.
            scaler.scale(loss * (share * group.count) if parts > 1 else loss).backward()
        for name, value in {"loss": loss, **named}.items():
            value = value.detach().float()
            sums[name] = sums.get(name, torch.zeros(())) + (value * share if parts > 1 else value)
    return sums


def _cut(batch: Any, index: int, parts: int) -> Any:
    """One part of a batch: of every tensor in it the rows that belong to this part."""
    if isinstance(batch, tuple):
        return tuple(_cut(item, index, parts) for item in batch)
    if not isinstance(batch, Tensor):
        return batch
    if len(batch) < parts:
        raise ValueError(
            f"a batch must have a row for each of {parts} parts (processes times schedule.accumulate); "
            f"got {len(batch)} rows. Take fewer parts or larger batches."
        )
    return batch.tensor_split(parts)[index]


def _due(done: int, every: int, steps: int) -> bool:
    return done == steps or (every > 0 and done % every == 0)


def _cut_log(log: Path, step: int) -> None:
    """Forget what was written after the checkpoint, half a line perhaps, so that a resumed log reads like one run."""
    if log.exists():
        lines = [line for line in log.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
        kept = "".join(line for line in lines if json.loads(line)["step"] <= step)
        with written_whole(log) as beside:
            beside.write_text(kept, encoding="utf-8")
