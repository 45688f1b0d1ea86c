"""One training loop for every recipe: step, log, save, resume where it stopped, bit for bit."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from hftrainer.errors import ArtifactError


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    Attributes:
        steps: optimiser steps in all.
        learning_rate: peak; it rises linearly over ``warmup`` steps and falls by a cosine to ``final`` times the peak.
        weight_decay, betas, gradient_clip: AdamW; a clip of 0 means none.
        seed: of weights, data order and dropout. Each step seeds itself from it, so a resumed run repeats no number.
        precision: ``"float32"`` or ``"bfloat16"`` (mixed precision, about twice as fast where the CPU has it).
        log_every, validate_every, save_every: in steps; 0 means at the end only.
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

    def __post_init__(self) -> None:
        if self.steps < 1 or self.learning_rate <= 0:
            raise ValueError(f"steps and learning_rate must be above 0; got {self.steps} and {self.learning_rate}.")
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f"precision must be float32 or bfloat16; got {self.precision!r}.")
        object.__setattr__(self, "betas", tuple(self.betas))

    def rate(self, step: int) -> float:
        """Learning rate of step 0, 1, …"""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        done = torch.tensor((step - self.warmup) / max(1, self.steps - self.warmup))
        cosine = 0.5 * (1 + torch.cos(torch.pi * done)).item()
        return self.learning_rate * (self.final + (1 - self.final) * cosine)


class Task(Protocol):
    """What the loop needs to know of a model and its data."""

    @property
    def network(self) -> nn.Module:
        """What is trained."""

    def batch(self, step: int) -> Any:
        """The batch of a step; the same step gives the same batch."""

    def loss(self, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss to minimise and named parts to log."""

    def validate(self) -> dict[str, float]:
        """Numbers on held-out data."""


def fit(
    task: Task, schedule: Schedule, out: Path, resume: bool = False, say: Callable[[str], None] | None = None
) -> None:
    """Train ``task.network`` in place.

    Args:
        task: network, batches and loss.
        schedule: how long and how fast.
        out: gets ``log.jsonl`` (one JSON object a line: step, seconds, rate, losses) and ``last.pt``.
        resume: go on from ``last.pt``; without it a folder that holds one is refused.
        say: gets a progress line; standard error by default.

    Raises:
        ArtifactError: ``out`` already holds a run and ``resume`` is off, or there is nothing to resume.
        RuntimeError: the loss is not finite any more.
    """
    say = say or (lambda line: print(line, file=sys.stderr, flush=True))
    out.mkdir(parents=True, exist_ok=True)
    last, log = out / "last.pt", out / "log.jsonl"
    if last.exists() != resume:
        state = (
            "holds no run to resume; start without --resume"
            if resume
            else "already holds a run; use --resume or remove it"
        )
        raise ArtifactError(f"{out} {state}.")
    optimizer = torch.optim.AdamW(
        task.network.parameters(), lr=schedule.learning_rate, betas=schedule.betas, weight_decay=schedule.weight_decay
    )
    begin, before = 0, 0.0
    if resume:
        saved = torch.load(last, weights_only=True)
        task.network.load_state_dict(saved["network"])
        optimizer.load_state_dict(saved["optimizer"])
        begin, before = saved["step"], saved["seconds"]
        _cut_log(log, begin)
    started, count = time.monotonic(), 0
    sums: dict[str, Tensor] = {}
    task.network.train()
    for step in range(begin, schedule.steps):
        torch.manual_seed(schedule.seed * 1_000_003 + step)
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(step)
        batch = task.batch(step)
        with torch.autocast("cpu", torch.bfloat16, enabled=schedule.precision == "bfloat16"):
            loss, parts = task.loss(batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if schedule.gradient_clip:
            nn.utils.clip_grad_norm_(task.network.parameters(), schedule.gradient_clip)
        optimizer.step()
        for name, value in {"loss": loss, **parts}.items():
            sums[name] = sums.get(name, torch.zeros(())) + value.detach().float()
        count, done = count + 1, step + 1
        if _due(done, schedule.log_every, schedule.steps):
            seconds = round(before + time.monotonic() - started, 1)
            line: dict[str, Any] = {"step": done, "seconds": seconds, "rate": schedule.rate(step)}
            line |= {name: round(float(value) / count, 6) for name, value in sums.items()}
            if not torch.isfinite(loss):
                raise RuntimeError(
                    f"the loss must stay finite; got {float(loss)} at step {done}. Lower the learning rate."
                )
            if _due(done, schedule.validate_every, schedule.steps):
                task.network.eval()
                with torch.no_grad():
                    line |= {name: round(value, 6) for name, value in task.validate().items()}
                task.network.train()
            with log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            say("  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in line.items()))
            sums, count = {}, 0
        if _due(done, schedule.save_every, schedule.steps):
            seconds = before + time.monotonic() - started
            weights = {"network": task.network.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save({**weights, "step": done, "seconds": seconds}, out / ".last.pt")
            os.replace(out / ".last.pt", last)
    task.network.eval()


def _due(done: int, every: int, steps: int) -> bool:
    return done == steps or (every > 0 and done % every == 0)


def _cut_log(log: Path, step: int) -> None:
    """Forget the lines that were written after the checkpoint, so that a resumed log reads like one run."""
    if log.exists():
        lines = [line for line in log.read_text(encoding="utf-8").splitlines() if json.loads(line)["step"] <= step]
        log.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
