"""Training of MDM: which motions and sentences it sees, at which noise, and what is minimised.

Source: Tevet et al. 2023, section 3 and appendix; Nichol and Dhariwal 2021 for steps drawn evenly. Deviations, each a
field of the settings: rows of a frame count differently, motions are cut to the batch's longest instead of padded to
196 frames, words are dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from hftrainer.data.humanml3d import Clip
from hftrainer.data.packed import Rows
from hftrainer.models.motion.mdm.config import MDMConfig
from hftrainer.models.motion.mdm.losses import LossWeights, joints_of_features, training_losses
from hftrainer.models.motion.mdm.network import MDM, Condition
from hftrainer.models.motion.mdm.schedule import Schedule
from hftrainer.models.motion.motiongpt.bundle import Statistics
from hftrainer.models.tower_files import Tower
from hftrainer.motion.clip import Motion
from hftrainer.training.drawing import draw_weights, pick
from hftrainer.training.later import Later

#: Clean motion ``(B, J, 1, T)``, real frames ``(B, T)``, step ``(B,)``, noise as the motion; text and its mask.
Batch = tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None, Tensor | None]


@dataclass(frozen=True)
class DiffusionSettings:
    """Data and loss of MDM.

    Attributes:
        rows: motions of a batch.
        frames: fewest and most frames of a motion; shorter clips are left out, longer ones cut at random.
        pad: every motion is padded to the most frames, as the authors do, instead of to the longest of its batch.
        composed: share of motions from the split ``composed``.
        balance: 0 draws every clip equally often, 1 every action equally often, however many clips show it.
        word_dropout: share of caption words that are left out.
        channels: how much a channel of the representation counts in the distance and the speed; 1 where not named.
        speed, joints, standing: weights of the geometric terms, of equations 3 to 5 in another order.
        average: how much of the averaged weights each step keeps; the average is what the artifact holds. 0 keeps none.
    """

    rows: int = 64
    frames: tuple[int, int] = (40, 196)
    pad: bool = True
    composed: float = 0.0
    balance: float = 0.0
    word_dropout: float = 0.0
    channels: dict[str, float] = field(default_factory=dict)
    speed: float = 0.0
    joints: float = 0.0
    standing: float = 0.0
    average: float = 0.9999

    def __post_init__(self) -> None:
        object.__setattr__(self, "frames", tuple(self.frames))
        if self.rows < 1 or len(self.frames) != 2 or not 1 <= self.frames[0] <= self.frames[1]:
            raise ValueError(f"rows must be at least 1, frames fewest and most; got {self.rows} and {self.frames}.")
        for name in ("composed", "word_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be 0 or more and below 1; got {getattr(self, name)}.")
        if not 0 <= self.average < 1:
            raise ValueError(f"average must be 0 or more and below 1; got {self.average}.")


@dataclass(frozen=True)
class Described:
    """A motion and what may be said of it.

    Attributes:
        features: ``(T, J)`` normalised; of a packed dataset they are read where they are cut.
        captions: sentences; none where the network reads no text.
        action: clips that share it are one action for the balance.
        composed: it was composed of stretches of other clips.
    """

    features: Tensor | Later
    captions: tuple[str, ...]
    action: str
    composed: bool


def described(
    clips: Sequence[Clip], statistics: Statistics, fewest: int, composed: frozenset[str] = frozenset()
) -> list[Described]:
    """Every described stretch of ``fewest`` frames or more, as a motion of its own."""

    def normal(features: np.ndarray) -> Tensor:
        return statistics.normalize(Motion(features, statistics.spec, statistics.spec.fps))

    rows = []
    for clip in clips:
        read = clip.rows
        whole = None if isinstance(read, Rows) else statistics.normalize(clip.motion)
        for frames, captions in clip.parts():
            part = Later(read, normal, frames.start, frames.stop) if whole is None else whole[frames]
            if len(part) >= fewest:
                rows.append(Described(part, captions, captions[0], clip.id in composed))
    return rows


class Averaged(nn.Module):
    """A network and the slowly moving average of its weights, so that one checkpoint holds both.

    >>> both = Averaged(nn.Linear(1, 1), 0.5)
    >>> len(both.state_dict())
    4
    """

    def __init__(self, network: nn.Module, keep: float) -> None:
        super().__init__()
        self.network, self.keep = network, keep
        self.average = nn.ParameterDict(
            {name.replace(".", "/"): nn.Parameter(value.detach().clone(), requires_grad=False)
             for name, value in network.named_parameters()} if keep else {}
        )  # fmt: skip

    @torch.no_grad()
    def update(self, steps: int) -> None:
        """One step; early on less is kept, so that the average does not remember the random beginning."""
        keep = min(self.keep, (1 + steps) / (10 + steps))
        for name, value in self.network.named_parameters():
            if self.keep:
                self.average[name.replace(".", "/")].lerp_(value, 1 - keep)

    def averaged(self) -> dict[str, Tensor]:
        """The network's state with averages in place of weights."""
        return {**self.network.state_dict(), **{n.replace("/", "."): v.detach() for n, v in self.average.items()}}


class DiffusionTask:
    """MDM for the training loop.

    Args:
        network: to be trained.
        tower: reads captions; not trained. None for a network that reads no text.
        statistics: of the motions.
        clips, held_out: to train on, and to validate on.
        settings: data and loss.
        seed: of clips, words, steps and noise.

    Raises:
        ValueError: no clip is long enough, or a channel that the representation does not have.
    """

    def __init__(
        self,
        network: MDM,
        tower: Tower | None,
        statistics: Statistics,
        clips: Sequence[Described],
        held_out: Sequence[Described],
        settings: DiffusionSettings,
        seed: int,
    ) -> None:
        if not clips:
            raise ValueError(f"MDM needs clips of {settings.frames[0]} frames with captions; got none. "
                             "Check the dataset's texts.")  # fmt: skip
        if (network.config.condition == "text") != (tower is not None):
            raise ValueError(f"a network that reads {network.config.condition} must have "
                             f"{'a' if network.config.condition == 'text' else 'no'} text tower.")  # fmt: skip
        self.network, self.tower, self.statistics, self.settings, self.seed = (
            Averaged(network, settings.average), tower, statistics, settings, seed,
        )  # fmt: skip
        config: MDMConfig = network.config
        self.clips, self.held_out = list(clips), list(held_out)
        self.schedule = Schedule.named(config.noise_schedule, config.steps, small=config.small_sigma)
        self.weights = LossWeights(settings.speed, settings.joints, settings.standing)
        self.draw = self._draw(self.clips)
        self.rows = self._rows_count()
        self.steps = 0
        self._groups: dict[int, list[Batch]] = {}

    def _draw(self, clips: Sequence[Described]) -> np.ndarray:
        actions, composed = [c.action for c in clips], [c.composed for c in clips]
        return draw_weights(actions, composed, self.settings.balance, self.settings.composed)

    def _rows_count(self) -> Tensor | None:
        """``(J,)``, mean 1; none where all rows count alike."""
        if not self.settings.channels:
            return None
        spec = self.statistics.spec
        rows = torch.ones(spec.width)
        for name, weight in self.settings.channels.items():
            try:
                rows[spec.channel(name).slice] = weight
            except KeyError as error:
                raise ValueError(f"channels: {error.args[0]}") from error
        return rows / rows.mean()

    def resumed(self) -> None:
        """Called once after a checkpoint was read; there is nothing to do."""

    def stepped(self) -> None:
        """Move the average."""
        self.network.update(self.steps)

    def batch(self, step: int) -> Batch:
        """The batch of a step: motions of like length."""
        self.steps = step
        group, place = divmod(step, _GROUP)
        if group not in self._groups:
            rng = np.random.default_rng((self.seed, group))
            self._groups = {group: self._batches(rng, self.clips, self.draw, _GROUP)}
        return self._groups[group][place]

    def _batches(
        self, rng: np.random.Generator, clips: Sequence[Described], draw: np.ndarray, count: int
    ) -> list[Batch]:
        chosen = [clips[int(i)] for i in rng.choice(len(clips), count * self.settings.rows, p=draw)]
        if not self.settings.pad:
            chosen.sort(key=lambda clip: len(clip.features))
        size = self.settings.rows
        batches = [chosen[i * size : (i + 1) * size] for i in range(count)]
        return [self._batch(rng, batches[int(i)]) for i in rng.permutation(count)]

    def _batch(self, rng: np.random.Generator, clips: Sequence[Described]) -> Batch:
        most = self.settings.frames[1]
        cut = [self._cut(rng, clip.features, most) for clip in clips]
        longest = most if self.settings.pad else max(map(len, cut))
        clean = torch.zeros(len(cut), longest, cut[0].shape[1])
        real = torch.zeros(len(cut), longest, dtype=torch.bool)
        for i, features in enumerate(cut):
            clean[i, : len(features)], real[i, : len(features)] = features, True
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        step = torch.randint(len(self.schedule), (len(cut),), generator=generator)
        noise = torch.randn(clean.shape, generator=generator)
        text, mask = None, None
        if self.tower is not None:
            text, mask = self.tower.encode([self._words(rng, pick(rng, clip.captions)) for clip in clips])
            text = text.detach().cpu()
            mask = None if mask is None else mask.cpu()
        return clean.permute(0, 2, 1)[:, :, None], real, step, noise.permute(0, 2, 1)[:, :, None], text, mask

    @staticmethod
    def _cut(rng: np.random.Generator, features: Tensor | Later, most: int) -> Tensor:
        if len(features) <= most:
            return features[:]
        start = int(rng.integers(len(features) - most + 1))
        return features[start : start + most]

    def _words(self, rng: np.random.Generator, caption: str) -> str:
        words = caption.split()
        if not self.settings.word_dropout or len(words) <= 3:
            return caption
        return " ".join(w for w in words if rng.random() >= self.settings.word_dropout) or caption

    def weight_of(self, batch: Batch) -> float:
        """How many motions the loss of a batch is a mean of."""
        return len(batch[0])

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Weighted sum and its parts, means over the batch."""
        network = self.network.network
        assert isinstance(network, MDM)
        device = network.leave.weight.device
        clean, real, step, noise, text, mask = (None if x is None else x.to(device) for x in batch)
        assert clean is not None and step is not None and noise is not None
        rows = None if self.rows is None else self.rows.to(device)
        # On a processor the plain way through attention is twice as fast for a whole training step.
        plain = sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()
        with plain:
            parts = training_losses(
                network, self.schedule, clean, step, noise, Condition(text=text, text_mask=mask, frames=real),
                weights=self.weights, to_joints=self._joints, rows=rows,
            )  # fmt: skip
        means = {name: part.mean() for name, part in parts.items()}
        return means.pop("loss"), means

    def _joints(self, motion: Tensor) -> Tensor:
        """``(B, J, 1, T)`` normalised -> ``(B, T, N, 3)``."""
        std, mean = self.statistics.std.to(motion.device), self.statistics.mean.to(motion.device)
        return joints_of_features(motion[:, :, 0].transpose(1, 2).float() * std + mean)

    def validate(self) -> dict[str, float]:
        """The distance on held-out clips, at the same steps and noise each time."""
        if not self.held_out:
            return {}
        rng = np.random.default_rng(self.seed)
        batches = self._batches(rng, self.held_out, self._draw(self.held_out), 4)
        return {"motion_held_out": float(np.mean([float(self.loss(batch)[1]["motion"]) for batch in batches]))}


#: Steps whose motions are drawn together and sorted by length, so that little padding is computed.
_GROUP = 8
