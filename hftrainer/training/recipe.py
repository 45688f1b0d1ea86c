"""Recipes: one TOML file, one training run, one run folder.

A run folder holds ``recipe.json`` (every setting as it was used, the dataset's name and hash), ``log.jsonl`` (to be
plotted), ``last.pt`` (to resume from) and ``artifact/`` (what the next stage or a pipeline loads).
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hftrainer.data.humanml3d import Clip, HumanML3D
from hftrainer.errors import ArtifactError
from hftrainer.models.artifact import read_config, save_weights, write_json, written_folder
from hftrainer.models.motion.motiongpt.bundle import MotionGPTBundle, Statistics, fill_words
from hftrainer.models.motion.motiongpt.network import (
    LanguageModel,
    LanguageModelConfig,
    MotionTokenizer,
    TokenizerConfig,
)
from hftrainer.models.text import Pieces, Words
from hftrainer.motion.files.atomic import written_whole
from hftrainer.training.language import LanguageSettings, LanguageTask
from hftrainer.training.loop import Schedule, fit
from hftrainer.training.lora import Lora, add_lora, merge_lora
from hftrainer.training.processes import Processes, freeze, is_first_process, processes
from hftrainer.training.starts import load_tokenizer, start_from_t5, token_clips
from hftrainer.training.tokenizer import TokenizerSettings, TokenizerTask

_COMMON = (
    "kind", "about", "data", "splits", "validate_split", "bad_clips", "network", "settings", "schedule", "start",
    "freeze",
)  # fmt: skip
_FIELDS = {
    "motiongpt-tokenizer": _COMMON,
    "motiongpt-language": (*_COMMON, "tokenizer", "tokens", "words", "text", "t5", "lora"),
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
    except tomllib.TOMLDecodeError as error:
        raise ArtifactError(f"{path} must be a TOML file: {error}.") from error
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
        at[name] = value
    kind = recipe.get("kind")
    if kind not in _FIELDS:
        raise ArtifactError(f"the recipe's kind must be {' or '.join(_FIELDS)}; got {kind!r}.")
    unknown = sorted(set(recipe) - set(_FIELDS[kind]))
    if unknown:
        raise ArtifactError(
            f"a {kind} recipe must have the fields {', '.join(_FIELDS[kind])}; got {', '.join(unknown)}."
        )
    return recipe


def run_recipe(path: str | Path, out: str | Path, overrides: Sequence[str] = (), resume: bool = False) -> Path:
    """Train by a recipe and return the folder of the artifact.

    Args:
        path: recipe file; paths inside it are relative to the working directory of the command.
        out: run folder.
        overrides: see ``read_recipe``.
        resume: go on where the run folder stopped; the recipe must be the one that it started with.

    Raises:
        ArtifactError: anything wrong with the recipe, the dataset, an earlier stage, or the run folder.
    """
    recipe, out = read_recipe(path, overrides), Path(out)
    dataset = HumanML3D(recipe["data"], _needed_splits(recipe))
    schedule = read_config(Schedule, recipe.get("schedule", {}), "schedule")
    group = processes(schedule.device)
    record = {**recipe, "schedule": asdict(schedule), "dataset": {"name": dataset.name, "hash": dataset.hash}}
    stored, begun = out / "recipe.json", (out / "last.pt").exists()
    if resume and begun and stored.is_file() and _record(stored) != json.loads(json.dumps(record)):
        raise ArtifactError(f"{out} must be resumed with the recipe and data that it began with; {stored} differs.")
    out.mkdir(parents=True, exist_ok=True)
    group.wait()
    if group.index == 0 and not begun:  # what a run left that died before its first checkpoint is written over
        with written_whole(stored) as beside:
            write_json(beside, record)
    torch.manual_seed(schedule.seed)
    train = _train_tokenizer if recipe["kind"] == "motiongpt-tokenizer" else _train_language
    train(recipe, record, dataset, schedule, out, resume, group)
    return out / "artifact"


def _needed_splits(recipe: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*recipe.get("splits", ("train",)), recipe.get("validate_split", "val"))))


def _record(stored: Path) -> dict[str, Any]:
    """What a run folder says that it was begun with; settings that came later have their usual values."""
    record: dict[str, Any] = json.loads(stored.read_text(encoding="utf-8"))
    schedule = asdict(read_config(Schedule, record["schedule"], f"{stored}: schedule"))
    return {**record, "schedule": json.loads(json.dumps(schedule))}


def _clips(
    recipe: Mapping[str, Any], dataset: HumanML3D, splits: Sequence[str], skipped: dict[str, str]
) -> list[Clip]:
    names = [name for split in splits for name in dataset.ids(split)]
    clips, reasons = dataset.sound(names, recipe.get("bad_clips", "refuse"))
    for name in sorted(reasons.keys() - skipped.keys()) if is_first_process() else ():
        print(f"skipped {name}: {reasons[name]}", file=sys.stderr, flush=True)
    skipped |= reasons
    return clips


def _splits(recipe: Mapping[str, Any]) -> tuple[Sequence[str], Sequence[str]]:
    """What to train on, and what to validate on."""
    return recipe.get("splits", ("train",)), (recipe.get("validate_split", "val"),)


def _freeze(recipe: Mapping[str, Any], network: torch.nn.Module) -> tuple[str, ...]:
    parts = tuple(recipe.get("freeze", ()))
    try:
        freeze(network, parts)
    except ValueError as error:
        raise ArtifactError(str(error)) from error
    return parts


def _stage(record: Mapping[str, Any], out: Path, skipped: Mapping[str, str]) -> dict[str, Any]:
    """What an artifact says of a finished stage."""
    last = (out / "log.jsonl").read_text(encoding="utf-8").splitlines()[-1]
    stage = {"recipe": dict(record), "seconds": float(json.loads(last)["seconds"])}
    return {**stage, "skipped": sorted(skipped)} if skipped else stage


def _train_tokenizer(
    recipe: Mapping[str, Any],
    record: Mapping[str, Any],
    dataset: HumanML3D,
    schedule: Schedule,
    out: Path,
    resume: bool,
    group: Processes,
) -> None:
    config = tokenizer_config(recipe, dataset)
    settings = read_config(TokenizerSettings, recipe.get("settings", {}), "settings")
    statistics = Statistics(dataset.mean, dataset.std, dataset.spec.name)
    network, earlier = MotionTokenizer(config), []
    if "start" in recipe:
        before, _, about = load_tokenizer(recipe["start"])
        if before.config != config:
            raise ArtifactError(
                f"{recipe['start']} must have the network of this recipe; its motion tokenizer differs."
            )
        network.load_state_dict(before.state_dict())
        earlier = about["stages"]
    shortest, skipped = config.frames_per_token * 2, {}  # type: int, dict[str, str]
    clips, held_out = (
        [c.motion.data for c in _clips(recipe, dataset, splits, skipped) if len(c.motion) >= shortest]
        for splits in _splits(recipe)
    )
    frozen = _freeze(recipe, network)
    task = TokenizerTask(network, statistics, clips, held_out, settings, schedule.seed)
    if settings.recluster and not resume:
        task.recluster()
    fit(task, schedule, out, resume, group=group, frozen=frozen)
    if group.index == 0:
        with written_folder(out / "artifact") as folder:
            save_weights(network, folder / "motion_tokenizer.safetensors")
            statistics.save(folder)
            about = {"stages": [*earlier, _stage(record, out, skipped)]}
            index = {"motion_tokenizer": asdict(config), "representation": dataset.spec.name, "about": about}
            write_json(folder / "motion_tokenizer.json", index)
    group.wait()


def tokenizer_config(recipe: Mapping[str, Any], dataset: HumanML3D | None = None) -> TokenizerConfig:
    """The motion tokenizer of a recipe; its features are those of the dataset unless the recipe says so itself.

    Raises:
        ArtifactError: an unknown field, a wrong size, or features that the dataset does not have.
    """
    values = dict(recipe.get("network", {}))
    if dataset is not None:
        values.setdefault("features", dataset.spec.width)
        if values["features"] != dataset.spec.width:
            raise ArtifactError(
                f"network.features must be {dataset.spec.width} for {dataset.folder} ({dataset.spec.name}); "
                f"got {values['features']}. Leave it out."
            )
    return read_config(TokenizerConfig, values, "network")


def language_config(recipe: Mapping[str, Any], codes: int, text: Words | Pieces | None = None) -> LanguageModelConfig:
    """The language model of a recipe.

    Args:
        recipe: its ``network`` names the sizes that differ from FLAN-T5-base.
        codes: size of the motion tokenizer's vocabulary.
        text: what it reads; without it, the rows of FLAN-T5's published tokenizer.
    """
    config = read_config(LanguageModelConfig, recipe.get("network", {}), "network")
    vocabulary = 32100 + codes + 3 if text is None else text.with_motion(codes).get_vocab_size()
    width = text.vectors.shape[1] if isinstance(text, Words) else None
    return replace(config, vocabulary=vocabulary, motion_tokens=codes + 3, word_width=width)


def _text(recipe: Mapping[str, Any]) -> Words | Pieces:
    """Words with vectors, or a published tokenizer: exactly one of the two."""
    sides = [name for name in ("words", "text") if name in recipe]
    if len(sides) != 1:
        raise ArtifactError(
            f"a motiongpt-language recipe must name words (a folder with vectors) or text (a folder with a published "
            f"tokenizer.json); got {' and '.join(sides) or 'neither'}."
        )
    return Words.load(recipe["words"]) if sides == ["words"] else Pieces.load(recipe["text"])


def _train_language(
    recipe: Mapping[str, Any],
    record: Mapping[str, Any],
    dataset: HumanML3D,
    schedule: Schedule,
    out: Path,
    resume: bool,
    group: Processes,
) -> None:
    settings = read_config(LanguageSettings, recipe.get("settings", {}), "settings")
    lora = read_config(Lora, recipe["lora"], "lora") if "lora" in recipe else None
    tokenizer, statistics, tokenizer_about = load_tokenizer(recipe["tokenizer"])
    words = _text(recipe)
    text = words.with_motion(tokenizer.config.codes)
    config = language_config(recipe, tokenizer.config.codes, words)
    if statistics.spec != dataset.spec:
        raise ArtifactError(
            f"{recipe['data']} must hold {statistics.spec.name}, as {recipe['tokenizer']} reads it; "
            f"got {dataset.spec.name}."
        )
    network = LanguageModel(config)
    if isinstance(words, Words):
        fill_words(network, words)
    about: dict[str, Any] = {"tokenizer": tokenizer_about, "stages": []}
    if "t5" in recipe:
        start_from_t5(network, recipe["t5"])
    if "start" in recipe:
        earlier = MotionGPTBundle.from_pretrained(Path(recipe["start"]))
        if replace(earlier.language_model.config, dropout=config.dropout) != config:
            raise ArtifactError(f"{recipe['start']} must have the network of this recipe; its language model differs.")
        network.load_state_dict(earlier.language_model.state_dict())
        about["stages"] = earlier.about.get("stages", [])
    composed = frozenset(dataset.ids("composed")) if "composed" in recipe.get("splits", ()) else frozenset()
    skipped: dict[str, str] = {}
    tokenizer.to(group.device)
    clips, held_out = (
        token_clips(_clips(recipe, dataset, splits, skipped), tokenizer, statistics, composed, tokens)
        for splits, tokens in zip(_splits(recipe), (recipe.get("tokens"), None), strict=True)
    )
    tokenizer.to("cpu")
    if lora:
        add_lora(network, lora)
    frozen = _freeze(recipe, network)
    per, fps = tokenizer.config.frames_per_token, statistics.spec.fps
    task = LanguageTask(network, text, clips, held_out, settings, fps=fps, frames_per_token=per, seed=schedule.seed)
    fit(task, schedule, out, resume, group=group, frozen=frozen)
    if lora:
        merge_lora(network)
    if group.index == 0:
        about["stages"] = [*about["stages"], _stage(record, out, skipped)]
        lengths = np.array([len(c.codes[0]) for c in clips]) * per
        frames = (int(np.quantile(lengths, 0.001)), settings.max_tokens * per)
        wording = "own" if settings.templates == "short" else "official"
        network.to("cpu")
        bundle = MotionGPTBundle(tokenizer, network, words, statistics, frames, about, prompts=wording)
        bundle.save_pretrained(out / "artifact")
    group.wait()
