"""The length estimator of MoMask and MoGenTS: how many tokens a motion of a sentence has.

It needs captions and the lengths of their motions alone; no token is read. A recipe that names a whole model
(``model``) leaves that model with the estimator in it, any other leaves ``length_est.safetensors`` and ``length.json``.

Source: Guo et al., CVPR 2022, section 4.1, and the trainer of MoMask's release: cross entropy on ``frames // 4``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hftrainer.data.humanml3d import Clip
from hftrainer.errors import ArtifactError
from hftrainer.models.artifact import check_files, load_weights, read_config, save_weights, write_json, written_folder
from hftrainer.models.motion.mogents.bundle import MaskedBundle, MoGenTSBundle
from hftrainer.models.motion.mogents.files import read_whole_sentences
from hftrainer.models.motion.mogents.length import LengthConfig, LengthEstimator
from hftrainer.models.motion.momask.bundle import MoMaskBundle
from hftrainer.models.tower_files import sentence_vectors
from hftrainer.training.masked import Reads
from hftrainer.training.mdm import load_tower
from hftrainer.training.run import Run

INDEX, WEIGHTS = "length.json", "length_est.safetensors"
#: Sentences that the text tower reads at once.
_TOGETHER = 256


@dataclass(frozen=True)
class LengthSettings:
    """What to train on.

    Attributes:
        rows: sentences of a step.
        frames: fewest and most frames of a motion; others are left out, as the authors leave them out.
        frames_per_token: of the motion tokenizer.
        shorter: how often a motion counts one token less, as the authors' crops do.

    Raises:
        ValueError: sizes below 1, or a share that is none.
    """

    rows: int = 64
    frames: tuple[int, int] = (40, 199)
    frames_per_token: int = 4
    shorter: float = 1 / 3

    def __post_init__(self) -> None:
        if self.rows < 1 or self.frames_per_token < 1:
            raise ValueError(
                f"rows and frames_per_token must be at least 1; got {self.rows} and {self.frames_per_token}."
            )
        if len(self.frames) != 2 or not self.frames_per_token <= self.frames[0] <= self.frames[1]:
            raise ValueError(f"frames must be fewest and most, a token or more; got {list(self.frames)}.")
        if not 0 <= self.shorter <= 1:
            raise ValueError(f"shorter must be 0 to 1; got {self.shorter}.")
        object.__setattr__(self, "frames", tuple(self.frames))


@dataclass(frozen=True)
class Described:
    """One motion: vectors of its sentences ``(C, E)``, and its frames."""

    vectors: Tensor
    frames: int


def described(clips: Sequence[Clip], read: Reads, within: tuple[int, int]) -> list[Described]:
    """Every described stretch of a length within limits, its sentences read once.

    Args:
        clips: with their captions.
        read: sentences to vectors ``(B, E)``.
        within: fewest and most frames.
    """
    found = [
        (captions, frames)
        for clip in clips
        for part, captions in clip.parts()
        if within[0] <= (frames := len(range(len(clip.motion))[part])) <= within[1]
    ]
    texts = sorted({text for captions, _ in found for text in captions})
    vectors: dict[str, Tensor] = {}
    for begin in range(0, len(texts), _TOGETHER):
        some = texts[begin : begin + _TOGETHER]
        vectors |= dict(zip(some, read(some).float().cpu(), strict=True))
    return [Described(torch.stack([vectors[text] for text in captions]), frames) for captions, frames in found]


class LengthTask:
    """The length estimator for the training loop.

    Args:
        network: to be trained.
        rows, held_out: motions to train on, and to validate on.
        settings: of the data.
        seed: of motions, sentences and lengths.

    Raises:
        ValueError: no motion, or one that is longer than the network can say.

    >>> rows = [Described(torch.randn(2, 8), 40 + 4 * i) for i in range(5)]
    >>> task = LengthTask(LengthEstimator(LengthConfig(text_width=8)), rows, rows, LengthSettings(rows=3), seed=0)
    >>> [part.shape for part in task.batch(0)]
    [torch.Size([3, 8]), torch.Size([3])]
    """

    def __init__(
        self,
        network: LengthEstimator,
        rows: Sequence[Described],
        held_out: Sequence[Described],
        settings: LengthSettings,
        seed: int,
    ) -> None:
        self.network, self.rows, self.held_out = network, rows, held_out
        self.settings, self.seed = settings, seed
        if not rows:
            least, most = settings.frames
            raise ValueError(f"the length estimator needs described motions of {least} to {most} frames; got none.")
        longest = max(row.frames for row in rows) // settings.frames_per_token
        if longest >= network.config.lengths:
            raise ValueError(
                f"network.lengths must be above {longest}, the tokens of the longest motion; "
                f"got {network.config.lengths}."
            )

    def resumed(self) -> None:
        """Nothing is to be done after a checkpoint was read."""

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """``(B, E)`` vectors and ``(B,)`` tokens; motions come alike often, whatever their length."""
        rng, s = np.random.default_rng((self.seed, step)), self.settings
        chosen = [self.rows[int(i)] for i in rng.integers(len(self.rows), size=s.rows)]
        vectors = torch.stack([row.vectors[int(rng.integers(len(row.vectors)))] for row in chosen])
        tokens = np.array([row.frames // s.frames_per_token for row in chosen])
        return vectors, torch.from_numpy(np.maximum(tokens - (rng.random(s.rows) < s.shorter), 1))

    def weight_of(self, batch: tuple[Tensor, Tensor]) -> float:
        """How many sentences the loss of a batch is a mean of."""
        return len(batch[1])

    def loss(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross entropy, and the share of right first guesses."""
        device = next(self.network.parameters()).device
        vectors, tokens = (part.to(device) for part in batch)
        logits = self.network(vectors).float()
        return F.cross_entropy(logits, tokens), {"right": (logits.argmax(-1) == tokens).float().mean()}

    def validate(self) -> dict[str, float]:
        """Cross entropy of held-out sentences, and by how many tokens the likeliest length is wrong on average."""
        if not self.held_out:
            return {}
        device = next(self.network.parameters()).device
        vectors = torch.cat([row.vectors for row in self.held_out]).to(device)
        per = self.settings.frames_per_token
        tokens = torch.tensor([row.frames // per for row in self.held_out for _ in row.vectors], device=device)
        tokens = tokens.clamp_max(self.network.config.lengths - 1)
        logits = self.network(vectors).float()
        apart = (logits.argmax(-1) - tokens).abs().float().mean()
        return {"loss_held_out": float(F.cross_entropy(logits, tokens)), "tokens_apart": float(apart)}


def load_length_estimator(folder: str | Path) -> tuple[LengthEstimator, dict[str, Any]]:
    """The estimator that a run made, and its provenance.

    Args:
        folder: ``artifact/`` of a run without ``model``.

    Raises:
        ArtifactError: it is no such folder, or its files do not fit.
    """
    folder = Path(folder)
    check_files(folder, (INDEX, WEIGHTS))
    index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    network = LengthEstimator(read_config(LengthConfig, index["length"], f"{folder / INDEX}: length"))
    load_weights(network, folder / WEIGHTS)
    return network.eval(), index["about"]


def _model(folder: str) -> MaskedBundle:
    momask = (Path(folder) / "momask_config.json").is_file()
    return (MoMaskBundle if momask else MoGenTSBundle).from_pretrained(folder)


def train_length(run: Run) -> None:
    """Train the length estimator, and put it into a model where the recipe names one.

    Raises:
        ArtifactError: no text tower, or a model that does not fit the recipe.
    """
    recipe = run.recipe
    model = _model(recipe["model"]) if "model" in recipe else None
    if "text_tower" in recipe:
        tower = read_whole_sentences(load_tower(recipe["text_tower"]))
    elif model is not None and model.text is not None:
        tower = model.text
    else:
        raise ArtifactError(f"a {recipe['kind']} recipe must name text_tower, or a model that has one inside.")
    settings = read_config(LengthSettings, recipe.get("settings", {}), "settings")
    config = read_config(LengthConfig, {"text_width": tower.width, **recipe.get("network", {})}, "network")
    if config.text_width != tower.width:
        raise ArtifactError(f"network.text_width must be {tower.width}, as the text tower's; got {config.text_width}.")
    if model is not None and (model.frames_per_token, model.text_width) != (settings.frames_per_token, tower.width):
        raise ArtifactError(
            f"{recipe['model']} must have {settings.frames_per_token} frames a token and a text tower "
            f"{tower.width} wide; got {model.frames_per_token} and {model.text_width}."
        )
    network, earlier = LengthEstimator(config), list[Any]()
    if "start" in recipe:
        before, about = load_length_estimator(recipe["start"])
        if before.config != config:
            raise ArtifactError(f"{recipe['start']} must have the network of this recipe; its network differs.")
        network.load_state_dict(before.state_dict())
        earlier = about["stages"]
    tower.to(run.group.device)
    read = partial(sentence_vectors, tower)
    rows, held_out = (described(run.clips(splits), read, settings.frames) for splits in run.splits)
    tower.to("cpu")
    run.fit(LengthTask(network, rows, held_out, settings, run.schedule.seed), network)
    if run.first:
        network.to("cpu")
        stages = [*earlier, run.stage()]
        if model is not None:
            about = {**model.about, "stages": [*model.about.get("stages", []), *stages]}
            whole = type(model)({**model.networks, "length_est": network}, model.statistics, model.text,
                                text_name=model.text_name, frame_range=model.frame_range, about=about)  # fmt: skip
            whole.save_pretrained(run.out / "artifact")
        else:
            with written_folder(run.out / "artifact") as folder:
                save_weights(network, folder / WEIGHTS)
                about = {"stages": stages, "text_tower": recipe["text_tower"]}
                write_json(folder / INDEX, {"length": asdict(config), "about": about})
    run.group.wait()
