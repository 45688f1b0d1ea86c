"""MotionGPT's stages as recipes run them: from a dataset and earlier stages to an artifact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from hftrainer.data.humanml3d import HumanML3D
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
from hftrainer.training.language import LanguageSettings, LanguageTask
from hftrainer.training.lora import Lora, add_lora, merge_lora
from hftrainer.training.run import Run
from hftrainer.training.starts import load_tokenizer, start_from_t5, token_clips
from hftrainer.training.tokenizer import TokenizerSettings, TokenizerTask


def train_tokenizer(run: Run) -> None:
    """Stage 1: the motion tokenizer."""
    recipe, dataset = run.recipe, run.dataset
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
    shortest = config.frames_per_token * 2
    clips, held_out = (
        [c.rows for c in run.clips(splits) if c.frames >= shortest] for splits in run.splits
    )
    task = TokenizerTask(network, statistics, clips, held_out, settings, run.schedule.seed)
    if settings.recluster and not run.resume:
        task.recluster()
    run.fit(task, network)
    if run.first:
        with written_folder(run.out / "artifact") as folder:
            save_weights(network, folder / "motion_tokenizer.safetensors")
            statistics.save(folder)
            about = {"stages": [*earlier, run.stage()]}
            index = {"motion_tokenizer": asdict(config), "representation": dataset.spec.name, "about": about}
            write_json(folder / "motion_tokenizer.json", index)
    run.group.wait()


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


def train_language(run: Run) -> None:
    """Stages 2 and 3: the language model over a finished tokenizer."""
    recipe, dataset = run.recipe, run.dataset
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
    tokenizer.to(run.group.device)
    clips, held_out = (
        token_clips(run.clips(splits), tokenizer, statistics, run.composed, tokens)
        for splits, tokens in zip(run.splits, (recipe.get("tokens"), None), strict=True)
    )
    tokenizer.to("cpu")
    if lora:
        add_lora(network, lora)
    per, fps = tokenizer.config.frames_per_token, statistics.spec.fps
    seed = run.schedule.seed
    task = LanguageTask(network, text, clips, held_out, settings, fps=fps, frames_per_token=per, seed=seed)
    run.fit(task, network)
    if lora:
        merge_lora(network)
    if run.first:
        about["stages"] = [*about["stages"], run.stage()]
        lengths = np.array([len(c.codes[0]) for c in clips]) * per
        frames = (int(np.quantile(lengths, 0.001)), settings.max_tokens * per)
        wording = "own" if settings.templates == "short" else "official"
        network.to("cpu")
        bundle = MotionGPTBundle(tokenizer, network, words, statistics, frames, about, prompts=wording)
        bundle.save_pretrained(run.out / "artifact")
    run.group.wait()
