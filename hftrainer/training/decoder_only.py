"""MotionGPT's stages 2 and 3 with GPT-2 in the place of T5: a prompt and its answer are one row, learned whole.

Source: Jiang et al. 2023, "MotionGPT", the ablation of language models; its released code trains it like this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hftrainer.errors import ArtifactError
from hftrainer.models.artifact import read_config
from hftrainer.models.motion.motiongpt.bundle import MotionGPTBundle
from hftrainer.models.motion.motiongpt.gpt2 import GPT2, GPT2Config
from hftrainer.models.motion.motiongpt.official import gpt2_weights
from hftrainer.models.motion.motiongpt.prompts import Rules, motion_string
from hftrainer.models.text import ANSWER, GPT2Pieces
from hftrainer.training.drawing import draw_weights, pick, share_of
from hftrainer.training.language import TokenClip
from hftrainer.training.mixture import Mixture, instructions_of
from hftrainer.training.run import Run
from hftrainer.training.starts import load_tokenizer, read_published, token_clips

#: What a row of training holds, and how often where a recipe does not say: the shares of the released code.
CONDITIONS = {"supervised": 0.6, "text": 0.2, "motion": 0.2}
#: Batches of the validation.
_HELD_OUT = 8

Batch = tuple[Tensor, Tensor]  # rows (B, L), padded on the right with the end mark; (B, L) bool, True where real


@dataclass(frozen=True)
class GPT2Settings:
    """Data of stages 2 and 3 of a GPT-2.

    Attributes:
        stage: ``"pretrain"``, one template a task, or ``"instruct"``, many.
        templates: ``"paper"``, or the path of an instruction file in the authors' format.
        tasks: share of each task, by ``"Family/task"`` or ``"Family"``; none means all equally often.
        conditions: share of each kind of row: ``supervised`` a prompt with its answer, ``text`` a caption alone,
            ``motion`` a motion alone.
        rows: rows of a batch.
        balance: 0 draws every clip equally often, 1 every action equally often, however many clips show it.
        length_unit: what lengths in prompts count: ``"frames"``, or ``"tokens"`` as the original trains.
        quotes: ``"none"``, or ``"random"``: half of the captions stand in quotation marks.
        trim: share of motions that lose one code at the head or the tail; the original's is a third.
        max_tokens: longest motion, in tokens.
        max_length: longest row in tokens, end mark included; longer ones are cut.
        padding_counts: ``True`` learns padding like text and no end behind a motion alone, as the original does.
    """

    stage: str = "pretrain"
    templates: str = "paper"
    tasks: dict[str, float] = field(default_factory=dict)
    conditions: dict[str, float] = field(default_factory=lambda: dict(CONDITIONS))
    rows: int = 16
    balance: float = 0.0
    length_unit: str = "frames"
    quotes: str = "none"
    trim: float = 0.0
    max_tokens: int = 49
    max_length: int = 256
    padding_counts: bool = False

    def __post_init__(self) -> None:
        for name, known in (
            ("stage", ("pretrain", "instruct")), ("length_unit", ("frames", "tokens")), ("quotes", ("none", "random")),
        ):  # fmt: skip
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be {' or '.join(known)}; got {getattr(self, name)!r}.")
        wrong = set(self.conditions) - set(CONDITIONS)
        if wrong or min(self.conditions.values(), default=0) < 0 or not sum(self.conditions.values()) > 0:
            raise ValueError(
                f"conditions must be shares of {', '.join(CONDITIONS)}, one of them above 0; got {self.conditions}."
            )


class GPT2Task:
    """Stages 2 and 3 of a GPT-2 for the training loop.

    Args:
        network: to be trained.
        text: its tokenizer, with motion tokens.
        clips, held_out: for training and for validation.
        settings: what rows are made of.
        rules: vocabulary of motion, and units of lengths.
        seed: of the rows.
    """

    def __init__(
        self,
        network: GPT2,
        text: Any,
        clips: Sequence[TokenClip],
        held_out: Sequence[TokenClip],
        settings: GPT2Settings,
        rules: Rules,
        seed: int,
    ) -> None:
        if not clips:
            raise ValueError("the language model needs clips with captions; got none. Check the dataset's texts.")
        self.network, self.text, self.settings, self.rules, self.seed = network, text, settings, rules, seed
        self.clips, self.held_out = list(clips), list(held_out)
        self.mixture = Mixture(
            text, instructions_of(settings.stage, settings.templates), rules, settings.tasks,
            quotes=settings.quotes == "random", max_length=settings.max_length,
        )  # fmt: skip

    def row(self, rng: np.random.Generator, clips: Sequence[TokenClip], weights: np.ndarray) -> list[int]:
        """Token ids of one row, the end mark included."""
        s, end = self.settings, self.network.config.end
        clip = clips[int(rng.choice(len(clips), p=weights))]
        codes, caption = pick(rng, clip.codes)[: s.max_tokens], pick(rng, clip.captions)
        if s.trim and len(codes) > 1 and rng.random() < s.trim:
            codes = codes[1:] if rng.random() < 0.5 else codes[:-1]
        names = [name for name in CONDITIONS if s.conditions.get(name)]
        condition = names[int(rng.choice(len(names), p=share_of(np.array([s.conditions[name] for name in names]))))]
        if condition == "supervised":
            shares = self.mixture.shares
            task = list(shares)[int(rng.choice(len(shares), p=list(shares.values())))]
            asked, answer = self.mixture.texts(rng, task, codes, caption)
            line = asked + ANSWER + answer
        else:
            line = caption if condition == "text" else motion_string(codes, self.rules.codes)
        ids = self.text.encode(line).ids
        if condition == "motion" and s.padding_counts:
            return list(ids[: s.max_length])
        return [*ids[: s.max_length - 1], end]

    def _batch(self, rng: np.random.Generator, clips: Sequence[TokenClip]) -> Batch:
        actions, composed = [clip.action for clip in clips], [clip.composed for clip in clips]
        weights = draw_weights(actions, composed, self.settings.balance)
        rows = [self.row(rng, clips, weights) for _ in range(self.settings.rows)]
        longest = self.settings.max_length if self.settings.padding_counts else max(map(len, rows))
        tokens = torch.full((len(rows), longest), self.network.config.end)
        mask = torch.zeros(len(rows), longest, dtype=torch.bool)
        for i, row in enumerate(rows):
            tokens[i, : len(row)], mask[i, : len(row)] = torch.tensor(row), True
        return tokens, mask

    def resumed(self) -> None:
        """Called once after a checkpoint was read; there is nothing to do."""

    def batch(self, step: int) -> Batch:
        """The rows of a step."""
        return self._batch(np.random.default_rng((self.seed, step)), self.clips)

    def weight_of(self, batch: Batch) -> float:
        """How many tokens the loss of a batch is a mean of."""
        tokens, mask = batch
        return float(tokens[:, 1:].numel() if self.settings.padding_counts else mask[:, 1:].sum())

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean cross-entropy of each token given those before it."""
        device = self.network.positions.weight.device
        tokens, mask = (part.to(device) for part in batch)
        return self.network.loss(tokens, mask, padding_counts=self.settings.padding_counts), {}

    def validate(self) -> dict[str, float]:
        """The same loss on held-out clips; the same rows each time."""
        if not self.held_out:
            return {}
        rng = np.random.default_rng(self.seed)
        losses = [float(self.loss(self._batch(rng, self.held_out))[0]) for _ in range(_HELD_OUT)]
        return {"loss_held_out": float(np.mean(losses))}


def gpt2_config(network: dict[str, Any], codes: int, text: GPT2Pieces) -> GPT2Config:
    """The sizes of a recipe.

    Args:
        network: ``shape``, the name of a published model, or the sizes themselves; ``dropout`` and ``positions``.
        codes: size of the motion tokenizer's vocabulary.
        text: the tokenizer of text.

    Raises:
        ArtifactError: an unknown field.
        ValueError: an unknown shape, or a wrong size.
    """
    values = dict(network)
    if "shape" in values:
        named = GPT2Config.named(values.pop("shape"), codes)
        values = {"width": named.width, "heads": named.heads, "layers": named.layers, **values}
    vocabulary = text.with_motion(codes).get_vocab_size()
    values |= {"vocabulary": vocabulary, "motion_tokens": codes + 3, "end": text.end}
    return read_config(GPT2Config, values, "network")


def start_from_gpt2(network: GPT2, folder: str | Path) -> None:
    """Fill a network with a published GPT-2; its motion rows stay as they are.

    Args:
        network: of the same sizes; its first rows are the tokens that GPT-2 knows.
        folder: holds ``model.safetensors`` or ``pytorch_model.bin``.

    Raises:
        ArtifactError: neither file is there, or weights are absent or have other shapes.
    """
    found, theirs = read_published(folder)
    if "wte.weight" in theirs:  # the first files name the parts without what holds them
        theirs = {f"transformer.{name}": value for name, value in theirs.items()}
    loaded, state = gpt2_weights(theirs, network.config), network.state_dict()
    text = network.config.first_motion
    rows = loaded["vocabulary.weight"]
    if rows.shape == (text, network.config.width):
        loaded["vocabulary.weight"] = torch.cat([rows, state["vocabulary.weight"][text:]])
    wrong = [
        f"{name} is {tuple(value.shape)}, the network needs {tuple(state[name].shape)}"
        for name, value in loaded.items()
        if value.shape != state[name].shape
    ]
    if wrong:
        raise ArtifactError(f"{found} does not fit the recipe's network: {'; '.join(wrong)}.")
    network.load_state_dict(loaded)


def train_gpt2(run: Run) -> None:
    """Stages 2 and 3 with a GPT-2 over a finished motion tokenizer."""
    recipe = run.recipe
    if "text" not in recipe:
        raise ArtifactError("a motiongpt-gpt2 recipe must name text, a folder with GPT-2's tokenizer.json; got none.")
    settings = read_config(GPT2Settings, recipe.get("settings", {}), "settings")
    tokenizer, statistics, tokenizer_about = load_tokenizer(recipe["tokenizer"])
    if statistics.spec != run.dataset.spec:
        raise ArtifactError(
            f"{recipe['data']} must hold {statistics.spec.name}, as {recipe['tokenizer']} reads it; "
            f"got {run.dataset.spec.name}."
        )
    codes, words = tokenizer.config.codes, GPT2Pieces.load(recipe["text"])
    network = GPT2(gpt2_config(recipe.get("network", {}), codes, words))
    about: dict[str, Any] = {"tokenizer": tokenizer_about, "stages": []}
    if "gpt2" in recipe:
        start_from_gpt2(network, recipe["gpt2"])
    if "start" in recipe:
        earlier = MotionGPTBundle.from_pretrained(Path(recipe["start"]))
        theirs = earlier.language_model.config
        if not isinstance(theirs, GPT2Config) or replace(theirs, dropout=network.config.dropout) != network.config:
            raise ArtifactError(f"{recipe['start']} must have the network of this recipe; its language model differs.")
        network.load_state_dict(earlier.language_model.state_dict())
        about["stages"] = earlier.about.get("stages", [])
    tokenizer.to(run.group.device)
    clips, held_out = (
        token_clips(run.clips(splits), tokenizer, statistics, run.composed, tokens)
        for splits, tokens in zip(run.splits, (recipe.get("tokens"), None), strict=True)
    )
    tokenizer.to("cpu")
    per, fps = tokenizer.config.frames_per_token, statistics.spec.fps or 20.0
    rules = Rules(codes=codes, fps=fps, frames_per_token=per, length_unit=settings.length_unit)
    task = GPT2Task(network, words.with_motion(codes), clips, held_out, settings, rules, run.schedule.seed)
    run.fit(task, network)
    if run.first:
        about["stages"] = [*about["stages"], run.stage()]
        lengths = np.array([len(clip.codes[0]) for clip in clips]) * per
        frames = (int(np.quantile(lengths, 0.001)), settings.max_tokens * per)
        network.to("cpu")
        bundle = MotionGPTBundle(tokenizer, network, words, statistics, frames, about, prompts="official")
        bundle.save_pretrained(run.out / "artifact")
    run.group.wait()
