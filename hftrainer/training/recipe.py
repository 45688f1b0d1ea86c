"""Recipes: one TOML file, one training run, one run folder.

A run folder holds ``recipe.json`` (every setting as it was used, the dataset's name and hash), ``log.jsonl`` (to be
plotted), ``last.pt`` (to resume from) and ``artifact/`` (what the next stage or a pipeline loads).
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hftrainer.data.humanml3d import Clip, HumanML3D
from hftrainer.errors import ArtifactError
from hftrainer.models.artifact import check_files, load_weights, read_config, save_weights, write_json, written_folder
from hftrainer.models.motion.motiongpt.bundle import MotionGPTBundle, Statistics, fill_words
from hftrainer.models.motion.motiongpt.network import (
    LanguageModel,
    LanguageModelConfig,
    MotionTokenizer,
    TokenizerConfig,
)
from hftrainer.models.text import Words
from hftrainer.training.loop import Schedule, fit
from hftrainer.training.motiongpt import (
    LanguageSettings,
    LanguageTask,
    TokenClip,
    TokenizerSettings,
    TokenizerTask,
    spellings,
)

_COMMON = ("kind", "about", "data", "splits", "network", "settings", "schedule", "start")
_FIELDS = {
    "motiongpt-tokenizer": _COMMON,
    "motiongpt-language": (*_COMMON, "tokenizer", "words"),
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
    dataset = HumanML3D(recipe["data"])
    schedule = read_config(Schedule, recipe.get("schedule", {}), "schedule")
    record = {**recipe, "schedule": asdict(schedule), "dataset": {"name": dataset.name, "hash": dataset.hash}}
    stored = out / "recipe.json"
    if resume and stored.is_file() and json.loads(stored.read_text(encoding="utf-8")) != json.loads(json.dumps(record)):
        raise ArtifactError(f"{out} must be resumed with the recipe and data that it began with; {stored} differs.")
    out.mkdir(parents=True, exist_ok=True)
    if not stored.exists():
        write_json(stored, record)
    torch.manual_seed(schedule.seed)
    train = _train_tokenizer if recipe["kind"] == "motiongpt-tokenizer" else _train_language
    train(recipe, record, dataset, schedule, out, resume)
    return out / "artifact"


def _clips(dataset: HumanML3D, splits: Sequence[str]) -> list[Clip]:
    return [dataset.clip(name) for split in splits for name in dataset.ids(split)]


def _seconds(out: Path) -> float:
    """Training time of a finished run."""
    last = (out / "log.jsonl").read_text(encoding="utf-8").splitlines()[-1]
    return float(json.loads(last)["seconds"])


def _train_tokenizer(
    recipe: Mapping[str, Any],
    record: Mapping[str, Any],
    dataset: HumanML3D,
    schedule: Schedule,
    out: Path,
    resume: bool,
) -> None:
    config = read_config(TokenizerConfig, recipe.get("network", {}), "network")
    settings = read_config(TokenizerSettings, recipe.get("settings", {}), "settings")
    statistics = Statistics(dataset.mean, dataset.std, "hml263")
    network, earlier = MotionTokenizer(config), []
    if "start" in recipe:
        before, _, about = load_tokenizer(recipe["start"])
        if before.config != config:
            raise ArtifactError(
                f"{recipe['start']} must have the network of this recipe; its motion tokenizer differs."
            )
        network.load_state_dict(before.state_dict())
        earlier = about["stages"]
    shortest = config.frames_per_token * 2
    held_out, clips = (
        [c.motion.data for c in _clips(dataset, splits) if len(c.motion) >= shortest]
        for splits in (("val",), recipe.get("splits", ("train",)))
    )
    task = TokenizerTask(network, statistics, clips, held_out, settings, schedule.seed)
    fit(task, schedule, out, resume)
    with written_folder(out / "artifact") as folder:
        save_weights(network, folder / "motion_tokenizer.safetensors")
        statistics.save(folder)
        about = {"stages": [*earlier, {"recipe": dict(record), "seconds": _seconds(out)}]}
        write_json(folder / "motion_tokenizer.json", {"motion_tokenizer": asdict(config), "about": about})


def load_tokenizer(folder: str | Path) -> tuple[MotionTokenizer, Statistics, dict[str, Any]]:
    """The network, the statistics and the provenance that a stage 1 run left in ``artifact/``."""
    folder = Path(folder)
    check_files(folder, ("motion_tokenizer.json", "motion_tokenizer.safetensors", "Mean.npy", "Std.npy"))
    index = json.loads((folder / "motion_tokenizer.json").read_text(encoding="utf-8"))
    network = MotionTokenizer(read_config(TokenizerConfig, index["motion_tokenizer"], "motion_tokenizer"))
    load_weights(network, folder / "motion_tokenizer.safetensors")
    return network.eval(), Statistics.load(folder, "hml263"), index["about"]


@torch.no_grad()
def token_clips(
    clips: Sequence[Clip], network: MotionTokenizer, statistics: Statistics, composed: frozenset[str] = frozenset()
) -> list[TokenClip]:
    """Clips with captions as the language model trains on them; ``composed`` names those of that split."""
    rows = []
    for clip in clips:
        if not clip.captions:
            continue
        codes = spellings(network, statistics.normalize(clip.motion))
        captions = tuple(dict.fromkeys(c.text for c in clip.captions))
        if codes:
            rows.append(TokenClip(codes, captions, captions[0], clip.id in composed))
    return rows


def _train_language(
    recipe: Mapping[str, Any],
    record: Mapping[str, Any],
    dataset: HumanML3D,
    schedule: Schedule,
    out: Path,
    resume: bool,
) -> None:
    settings = read_config(LanguageSettings, recipe.get("settings", {}), "settings")
    tokenizer, statistics, tokenizer_about = load_tokenizer(recipe["tokenizer"])
    words = Words.load(recipe["words"])
    text = words.with_motion(tokenizer.config.codes)
    config = read_config(LanguageModelConfig, recipe.get("network", {}), "network")
    motion_tokens, width = tokenizer.config.codes + 3, words.vectors.shape[1]
    config = replace(config, vocabulary=text.get_vocab_size(), motion_tokens=motion_tokens, word_width=width)
    network = LanguageModel(config)
    fill_words(network, words)
    about: dict[str, Any] = {"tokenizer": tokenizer_about, "stages": []}
    if "start" in recipe:
        earlier = MotionGPTBundle.from_pretrained(Path(recipe["start"]))
        if earlier.language_model.config != config:
            raise ArtifactError(f"{recipe['start']} must have the network of this recipe; its language model differs.")
        network.load_state_dict(earlier.language_model.state_dict())
        about["stages"] = earlier.about["stages"]
    composed = frozenset(dataset.ids("composed")) if "composed" in recipe.get("splits", ()) else frozenset()
    clips, held_out = (
        token_clips(_clips(dataset, splits), tokenizer, statistics, composed)
        for splits in (recipe.get("splits", ("train",)), ("val",))
    )
    per, fps = tokenizer.config.frames_per_token, statistics.spec.fps
    task = LanguageTask(network, text, clips, held_out, settings, fps=fps, frames_per_token=per, seed=schedule.seed)
    fit(task, schedule, out, resume)
    about["stages"] = [*about["stages"], {"recipe": dict(record), "seconds": _seconds(out)}]
    lengths = np.array([len(c.codes[0]) for c in clips]) * per
    frames = (int(np.quantile(lengths, 0.001)), settings.max_tokens * per)
    MotionGPTBundle(tokenizer, network, words, statistics, frames, about).save_pretrained(out / "artifact")
