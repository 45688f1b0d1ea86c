"""One training run: its recipe, its data, its folder, and who trains."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from hftrainer.data.humanml3d import Clip, HumanML3D
from hftrainer.errors import ArtifactError
from hftrainer.training.loop import Say, Schedule, Task, fit, tell
from hftrainer.training.processes import Processes, freeze, is_first_process


@dataclass
class Run:
    """What a stage is given.

    Attributes:
        recipe: settings as the file and the command say them.
        record: the same with the schedule's usual values and the dataset's name and hash.
        dataset: named by the recipe.
        schedule: how long and how fast.
        out: run folder.
        resume: go on from its checkpoint.
        group: who trains.
        say: gets a line about what is going on.
        skipped: clips that could not be used, and why; filled by ``clips``.
    """

    recipe: Mapping[str, Any]
    record: Mapping[str, Any]
    dataset: HumanML3D
    schedule: Schedule
    out: Path
    resume: bool
    group: Processes
    say: Say = tell
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def first(self) -> bool:
        """Whether this process writes the artifact."""
        return self.group.index == 0

    @property
    def splits(self) -> tuple[Sequence[str], Sequence[str]]:
        """What to train on, and what to validate on."""
        return self.recipe.get("splits", ("train",)), (self.recipe.get("validate_split", "val"),)

    @property
    def composed(self) -> frozenset[str]:
        """Names of the composed clips, where the recipe trains on them."""
        return frozenset(self.dataset.ids("composed")) if "composed" in self.splits[0] else frozenset()

    def clips(self, splits: Sequence[str]) -> list[Clip]:
        """The sound clips of some splits; what is left out is said once, or refused, as the recipe wants it."""
        names = [name for split in splits for name in self.dataset.ids(split)]
        clips, reasons = self.dataset.sound(names, self.recipe.get("bad_clips", "refuse"))
        for name in sorted(reasons.keys() - self.skipped.keys()) if is_first_process() else ():
            self.say(f"skipped {name}: {reasons[name]}")
        self.skipped |= reasons
        return clips

    def fit(self, task: Task, network: nn.Module) -> None:
        """Train, with the recipe's frozen parts of ``network`` left as they are.

        Raises:
            ArtifactError: parts that the network does not have.
        """
        parts = tuple(self.recipe.get("freeze", ()))
        try:
            freeze(network, parts)
        except ValueError as error:
            raise ArtifactError(str(error)) from error
        fit(task, self.schedule, self.out, self.resume, self.say, group=self.group, frozen=parts)

    def stage(self) -> dict[str, Any]:
        """What an artifact says of a finished stage."""
        last = (self.out / "log.jsonl").read_text(encoding="utf-8").splitlines()[-1]
        stage = {"recipe": dict(self.record), "seconds": float(json.loads(last)["seconds"])}
        return {**stage, "skipped": sorted(self.skipped)} if self.skipped else stage
