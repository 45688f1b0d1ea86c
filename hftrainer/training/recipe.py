"""Recipes: one TOML file, one training run, one run folder.

A run folder holds ``recipe.json`` (every setting as it was used, the dataset's name and hash), ``log.jsonl`` (to be
plotted), ``last.pt`` (to resume from) and ``artifact/`` (what the next stage or a pipeline loads).
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from hftrainer.data.packed import open_dataset
from hftrainer.errors import ArtifactError
from hftrainer.models.artifact import read_config, write_json
from hftrainer.motion.files.alone import alone
from hftrainer.motion.files.atomic import written_whole
from hftrainer.motion.files.told import shortened
from hftrainer.training.decoder_only import train_gpt2
from hftrainer.training.evaluator import train_evaluator
from hftrainer.training.length import train_length
from hftrainer.training.loop import Say, Schedule, tell
from hftrainer.training.mdm import train_mdm
from hftrainer.training.mogents import train_transformers
from hftrainer.training.motiongpt import train_language, train_tokenizer
from hftrainer.training.processes import processes
from hftrainer.training.residual_tokenizer import train_residual_tokenizer
from hftrainer.training.run import Run

_COMMON = (
    "kind", "about", "data", "splits", "validate_split", "bad_clips", "network", "settings", "schedule", "start",
    "freeze",
)  # fmt: skip
#: Fields of every recipe whose form is checked before anything is opened.
_FORMS: tuple[tuple[str, type, str], ...] = (
    ("data", str, "a folder"), ("splits", list, "a list of names"), ("validate_split", str, "a name"),
    ("network", dict, "a table"), ("settings", dict, "a table"), ("schedule", dict, "a table"),
    ("freeze", list, "a list of names"), ("tokenizer", str, "a folder"),
)  # fmt: skip
_TRANSFORMERS = ("tokenizer", "text_tower")
#: What each kind of recipe may say beside the fields that all have, and what trains it.
KINDS: dict[str, tuple[tuple[str, ...], Callable[[Run], None]]] = {
    "motiongpt-tokenizer": ((), train_tokenizer),
    "motiongpt-language": (("tokenizer", "tokens", "words", "text", "t5", "lora"), train_language),
    "motiongpt-gpt2": (("tokenizer", "tokens", "text", "gpt2"), train_gpt2),
    "mdm": (("text_tower",), train_mdm),
    "momask-tokenizer": ((), train_residual_tokenizer),
    "mogents-tokenizer": ((), train_residual_tokenizer),
    "momask-mask": (_TRANSFORMERS, train_transformers),
    "momask-residual": ((*_TRANSFORMERS, "mask"), train_transformers),
    "mogents-mask": (_TRANSFORMERS, train_transformers),
    "mogents-residual": ((*_TRANSFORMERS, "mask"), train_transformers),
    "length": (("text_tower", "model"), train_length),
    "evaluator": (("architecture", "words"), train_evaluator),
}


def read_recipe(path: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """A recipe's settings.

    Args:
        path: TOML file.
        overrides: ``"schedule.steps=100"`` and the like; the right side is a TOML value, or else a string.

    Raises:
        FileNotFoundError: no such file.
        ArtifactError: not TOML, an unknown kind, or an unknown field.
    """
    try:
        recipe: dict[str, Any] = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} must be a TOML file: {shortened(str(error), 200)}.") from error
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise ArtifactError(f"--set must be key=value; got {override!r}.")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text
        at = recipe
        *parents, name = key.split(".")
        for parent in parents:
            at = at.setdefault(parent, {})
            if not isinstance(at, dict):
                raise ArtifactError(f"--set must name a setting; {parent} of {key!r} is none that holds others.")
        at[name] = value
    kind = recipe.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        got = shortened(repr(kind), 80)
        raise ArtifactError(f"{path}: the recipe's kind must be {' or '.join(KINDS)}; got {got}.")
    fields = (*_COMMON, *KINDS[kind][0])
    unknown = sorted(set(recipe) - set(fields))
    if unknown:
        got = shortened(", ".join(unknown), 200)
        raise ArtifactError(f"{path}: a {kind} recipe must have the fields {', '.join(fields)}; got {got}.")
    for field, type_, what in _FORMS:
        if field in recipe and not isinstance(recipe[field], type_):
            raise ArtifactError(f"{path}: {field} must be {what}; got {shortened(repr(recipe[field]), 80)}.")
    if "data" not in recipe:
        raise ArtifactError(f"{path}: a recipe must say its data, a dataset folder; it does not. Add data = \"DIR\".")
    return recipe


def run_recipe(
    path: str | Path, out: str | Path, overrides: Sequence[str] = (), resume: bool = False, say: Say = tell
) -> Path:
    """Train by a recipe and return the folder of the artifact.

    Args:
        path: recipe file; paths inside it are relative to the working directory of the command.
        out: run folder.
        overrides: see ``read_recipe``.
        resume: go on where the run folder stopped; the recipe must be the one that it started with.
        say: gets the lines of progress; they go to standard error by default.

    Raises:
        ArtifactError: anything wrong with the recipe, the dataset, an earlier stage, or the run folder, which another
            process may be at work in.
    """
    recipe, out = read_recipe(path, overrides), Path(out)
    dataset = open_dataset(recipe["data"], _needed_splits(recipe))
    schedule = read_config(Schedule, recipe.get("schedule", {}), "schedule")
    group = processes(schedule.device)
    record = {**recipe, "schedule": asdict(schedule), "dataset": {"name": dataset.name, "hash": dataset.hash}}
    stored, begun = out / "recipe.json", (out / "last.pt").exists()
    if resume and begun and stored.is_file() and _record(stored) != json.loads(json.dumps(record)):
        raise ArtifactError(f"{out} must be resumed with the recipe and data that it began with; {stored} differs.")
    with alone(out) if group.index == 0 else nullcontext():
        group.wait()
        if group.index == 0 and not begun:  # what a run left that died before its first checkpoint is written over
            with written_whole(stored) as beside:
                write_json(beside, record)
        torch.manual_seed(schedule.seed)
        KINDS[recipe["kind"]][1](Run(recipe, record, dataset, schedule, out, resume, group, say))
    return out / "artifact"


def _needed_splits(recipe: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*recipe.get("splits", ("train",)), recipe.get("validate_split", "val"))))


def _record(stored: Path) -> dict[str, Any]:
    """What a run folder says that it was begun with; settings that came later have their usual values."""
    record: dict[str, Any] = json.loads(stored.read_text(encoding="utf-8"))
    schedule = asdict(read_config(Schedule, record["schedule"], f"{stored}: schedule"))
    return {**record, "schedule": json.loads(json.dumps(schedule))}


