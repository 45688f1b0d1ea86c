"""Stage 1, the motion tokenizer: its data, its loss, what is measured on the way; for MotionGPT, MoMask and MoGenTS.

Source: Jiang et al. 2023, section 3.1. Deviations, each a field of the settings: the distance of decoded joints in the
world is minimised too, so that small errors of turning do not add up, and so are the steps of joints from frame to
frame. The original refuses its position loss for KIT features; here it is the same loss on both layouts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hftrainer.data.packed import Rows
from hftrainer.models.motion.mogents.tokenizer import MoGenTSTokenizer
from hftrainer.models.motion.momask.tokenizer import MoMaskTokenizer
from hftrainer.models.motion.motiongpt.bundle import Statistics
from hftrainer.models.motion.motiongpt.network import MotionTokenizer
from hftrainer.models.quantize import EMAQuantizer
from hftrainer.motion.skeleton import SKELETONS
from hftrainer.training.later import Later

Network = TypeVar("Network", MotionTokenizer, MoMaskTokenizer, MoGenTSTokenizer)


def world_joints(features: Tensor) -> tuple[Tensor, Tensor]:
    """Joints of hml263 or kit251 features, differentiable.

    Args:
        features: ``(B, T, D)`` physical features, ``D = 12 J - 1``: 263 for 22 joints, 251 for 21.

    Returns:
        ``(B, T, J - 1, 3)`` joints relative to the root's ground position in world directions, and the root path
        ``(B, T, 2)``, x and z; both in the features' unit, metres (kit251: millimetres).

    >>> [tuple(x.shape) for x in world_joints(torch.zeros(2, 5, 251))]
    [(2, 5, 20, 3), (2, 5, 2)]
    """
    joints = (features.shape[-1] + 1) // 12 - 1
    zero = torch.zeros_like(features[:, :1, 0])
    angle = 2 * torch.cat([zero, features[:, :-1, 0].cumsum(1)], 1)  # the channel holds half the yaw step
    cos, sin = angle.cos(), angle.sin()

    def turn(x: Tensor, z: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
        return x * cos - z * sin, x * sin + z * cos

    ric = features[..., 4 : 4 + 3 * joints].unflatten(-1, (joints, 3))
    x, z = turn(ric[..., 0], ric[..., 2], cos[..., None], sin[..., None])
    step = turn(features[:, :-1, 1], features[:, :-1, 2], cos[:, 1:], sin[:, 1:])
    path = torch.stack([torch.cat([zero, s.cumsum(1)], 1) for s in step], -1)
    return torch.stack([x, ric[..., 1], z], -1), path


@dataclass(frozen=True)
class TokenizerSettings:
    """Data and loss of stage 1.

    Attributes:
        frames: frames of a batch; windows of one length are cut from clips that are long enough.
        windows: window lengths in frames, one drawn per batch.
        ric: extra weight of the joint positions (the original calls it velocity).
        commitment: weight of the commitment loss.
        root: weight of the four root channels within the reconstruction loss.
        joints, path: weights of the decoded joints and root path in the world, per 0.1 m.
        speed: weight of the decoded joints' steps from frame to frame, per 0.02 m; keeps quick hands quick.
        hands: how much more wrists count than a trunk joint within ``joints`` and ``speed``; elbows its square root.
        lively: 0 draws clips by their length alone, 1 also by the mean speed of their hands.
        decoder_only: leave encoder and codes as they are, so that tokens keep their meaning for a language model.
        reset_below: hits a batch below which a code is reset; see ``EMAQuantizer.least``.
        recluster: begin with codes made by k-means over the encoder outputs; for a stage that starts from another.
        codebook_on_resume: ``"keep"`` goes on with the codes and their moving averages; ``"reinitialise"`` fills the
            codes from the first batch after a resume, which is what the original does.
    """

    frames: int = 4096
    windows: tuple[int, ...] = (64,)
    ric: float = 0.5
    commitment: float = 0.02
    root: float = 1.0
    joints: float = 0.0
    path: float = 0.0
    speed: float = 0.0
    hands: float = 1.0
    lively: float = 0.0
    decoder_only: bool = False
    reset_below: float = 1.0
    recluster: bool = False
    codebook_on_resume: str = "keep"

    def __post_init__(self) -> None:
        if self.codebook_on_resume not in ("keep", "reinitialise"):
            raise ValueError(f"codebook_on_resume must be keep or reinitialise; got {self.codebook_on_resume!r}.")
        if self.recluster and self.decoder_only:
            raise ValueError("recluster must be off with decoder_only, which leaves the codes as they are.")
        object.__setattr__(self, "windows", tuple(self.windows))


class ReconstructionTask(ABC, Generic[Network]):
    """What all tokenizers share in training: windows of clips, the losses of a reconstruction, its error.

    A kind says what its ``loss`` is, how a clip goes there and back (``round_trip``), and how many ``codes`` it has.

    Args:
        network: to be trained.
        statistics: of the training data.
        clips: training clips, ``(T, D)`` physical features each; those that are not read yet (``Rows``) are read as
            batches are drawn, and only what ``lively`` or ``recluster`` asks for is read before.
        held_out: clips for validation.
        settings: data and loss.
        seed: of the windows.

    Raises:
        ValueError: there is no clip, a window is longer than all of them, or it is no whole number of tokens.
    """

    def __init__(
        self,
        network: Network,
        statistics: Statistics,
        clips: Sequence[np.ndarray | Rows],
        held_out: Sequence[np.ndarray | Rows],
        settings: TokenizerSettings,
        seed: int,
    ) -> None:
        self.network: Network = network
        self.statistics, self.settings, self.seed = statistics, settings, seed
        if not clips:
            raise ValueError("the motion tokenizer needs clips; got none that are long enough. Check the dataset.")
        per = network.config.frames_per_token
        broken = [w for w in settings.windows if w % per]
        if broken:
            raise ValueError(f"windows must be whole tokens of {per} frames; got {broken}. Take multiples of {per}.")
        self.clips = [self._normalised(c) for c in clips]
        self.held_out = [self._normalised(c) for c in held_out]
        self.seen = self.clips[:: max(1, len(self.clips) // 200)]
        lengths = np.array([len(c) for c in self.clips])
        self.long_enough = {w: np.flatnonzero(lengths >= w) for w in settings.windows}
        for window, found in self.long_enough.items():
            if not len(found):
                raise ValueError(
                    f"windows must fit into some clip; got {window} frames, the longest clip has {lengths.max()}."
                )
        skeleton = SKELETONS[statistics.spec.skeleton]
        self.meters = 0.001 if skeleton.unit == "mm" else 1.0
        self.ric = statistics.spec.channel("ric").slice
        elbows, wrists = ([skeleton.joints.index(f"{side}_{part}") - 1 for side in ("left", "right")]
                          for part in ("elbow", "wrist"))  # fmt: skip
        self.share = lengths * 1.0
        if settings.lively:  # the only thing that reads every clip before the first step
            quick = [_hand_speed(np.asarray(c)[:, self.ric], wrists, statistics.spec.fps * self.meters) for c in clips]
            self.share = lengths * np.array(quick) ** settings.lively
        self.lengths = lengths
        self.hands = torch.ones(len(skeleton.joints) - 1, 1)  # no root
        self.hands[elbows], self.hands[wrists] = settings.hands**0.5, settings.hands
        self.hands /= self.hands.mean()
        self.weight = torch.ones(len(statistics.mean))
        self.weight[:4] = settings.root
        self.quantizers = [module for module in network.modules() if isinstance(module, EMAQuantizer)]
        if settings.recluster and not self.quantizers:
            raise ValueError("recluster must be off with this quantizer; only ema_reset and ema have moving averages.")
        for quantizer in self.quantizers:
            quantizer.least = settings.reset_below

    def _normalised(self, clip: np.ndarray | Rows) -> Tensor | Later:
        return Later(clip, self._normal) if isinstance(clip, Rows) else self._normal(clip)

    def _normal(self, clip: np.ndarray) -> Tensor:
        return (torch.from_numpy(np.array(clip, dtype=np.float32)) - self.statistics.mean) / self.statistics.std

    def _physical(self, features: Tensor) -> Tensor:
        return features * self.statistics.std.to(features.device) + self.statistics.mean.to(features.device)

    def resumed(self) -> None:
        """Called once after a checkpoint was read."""
        if self.settings.codebook_on_resume == "reinitialise":
            for name, buffer in self.network.named_buffers():
                if name.rpartition(".")[2] == "started":
                    buffer.fill_(False)

    def batch(self, step: int) -> Tensor:
        """``(B, window, D)`` normalised features."""
        rng = np.random.default_rng((self.seed, step))
        window = int(rng.choice(self.settings.windows))
        candidates = self.long_enough[window]
        chosen = rng.choice(candidates, self.settings.frames // window, p=_share(self.share[candidates]))
        starts = [int(rng.integers(0, self.lengths[i] - window + 1)) for i in chosen]
        return torch.stack([self.clips[i][s : s + window] for i, s in zip(chosen, starts, strict=True)])

    def weight_of(self, batch: Tensor) -> float:
        """How many windows the loss of a batch is a mean of."""
        return len(batch)

    def feature_loss(self, output: Tensor, target: Tensor, commitment: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Weighted sum and its parts: ``(B, T, D)`` normalised features against others, positions counted once more."""
        s, difference = self.settings, F.smooth_l1_loss(output, target, reduction="none")
        parts = {
            "features": (difference * self.weight.to(output.device)).mean(),
            "ric": difference[..., self.ric].mean(),
            "commitment": commitment,
        }
        return parts["features"] + s.ric * parts["ric"] + s.commitment * commitment, parts

    def with_world_loss(self, total: Tensor, output: Tensor, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """``total`` and the weighted sum of joints, steps and path in the world, if a weight asks for it; its parts."""
        s, parts = self.settings, {}  # type: TokenizerSettings, dict[str, Tensor]
        if s.joints or s.path or s.speed:
            with torch.autocast(output.device.type, enabled=False):
                ours, theirs = (world_joints(self._physical(x)) for x in (output, target))
            near, quick, hands = 10 * self.meters, 50 * self.meters, self.hands.to(output.device)
            apart = F.smooth_l1_loss(ours[0] * near, theirs[0] * near, reduction="none")
            steps = F.smooth_l1_loss(ours[0].diff(dim=1) * quick, theirs[0].diff(dim=1) * quick, reduction="none")
            parts["joints"], parts["speed"] = ((x * hands).mean() for x in (apart, steps))
            parts["path"] = F.smooth_l1_loss(ours[1] * near, theirs[1] * near)
            total = total + s.joints * parts["joints"] + s.path * parts["path"] + s.speed * parts["speed"]
        return total, parts

    @abstractmethod
    def loss(self, batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Weighted sum and its parts."""

    @abstractmethod
    def round_trip(self, clip: Tensor) -> tuple[Tensor, set[int]]:
        """``(1, T, D)`` normalised features there and back, and the codes in use."""

    @property
    @abstractmethod
    def codes(self) -> int:
        """How many codes there are in all."""

    def error(self, clips: Sequence[Tensor | Later]) -> tuple[float, set[int]]:
        """Mean root-aligned joint distance over whole clips in millimetres, and the codes in use."""
        total, frames, used = 0.0, 0, set()  # type: float, int, set[int]
        per, device = self.network.config.frames_per_token, next(self.network.parameters()).device
        for clip in clips:
            whole = clip[: len(clip) // per * per].to(device)
            again, here = self.round_trip(whole[None])
            used |= here
            pair = self._physical(torch.cat([again, whole[None]]).float())
            joints, _ = world_joints(pair)
            joints = torch.cat(
                [torch.zeros_like(joints[:, :, :1]), joints - F.pad(pair[..., 3:4], (1, 1))[:, :, None]], 2
            )
            total += float((joints[0] - joints[1]).detach().norm(dim=-1).mean(-1).sum()) * (1000 * self.meters)
            frames += len(whole)
        return total / frames, used

    def validate(self) -> dict[str, float]:
        """Reconstruction on held-out and on seen clips, mm; share of codes in use."""
        held, used = self.error(self.held_out)
        seen, more = self.error(self.seen)
        return {"mpjpe_held_out": held, "mpjpe_seen": seen, "codes_used": len(used | more) / self.codes}


class TokenizerTask(ReconstructionTask[MotionTokenizer]):
    """Stage 1 of MotionGPT for the training loop; see ``ReconstructionTask``."""

    @torch.no_grad()
    def recluster(self) -> None:
        """Make the codes anew from what the encoder says of all training clips."""
        (quantizer,), per = self.quantizers, self.network.config.frames_per_token
        device = quantizer.codebook.device
        rows = torch.cat(
            [self.network.encoder(c[: len(c) // per * per][None].to(device))[0] for c in self.clips if len(c) >= per]
        )
        quantizer.recluster(rows, self.settings.frames // per, torch.Generator().manual_seed(self.seed))

    def loss(self, batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Weighted sum and its parts."""
        batch = batch.to(next(self.network.parameters()).device)
        if self.settings.decoder_only:
            with torch.no_grad():
                tokens = self.network.encode(batch)
            output, commitment, perplexity = self.network.decode(tokens), torch.zeros(()), torch.zeros(())
        else:
            output, commitment, perplexity = self.network(batch)
        output = output.float()
        total, parts = self.feature_loss(output, batch, commitment)
        parts["perplexity"] = perplexity
        total, more = self.with_world_loss(total, output, batch)
        return total, parts | more

    def round_trip(self, clip: Tensor) -> tuple[Tensor, set[int]]:
        tokens = self.network.encode(clip)
        return self.network.decode(tokens), set(tokens[0].tolist())

    @property
    def codes(self) -> int:
        return self.network.config.codes


def _share(values: np.ndarray) -> np.ndarray:
    return values / values.sum()


def _hand_speed(ric: np.ndarray, wrists: Sequence[int], scale: float) -> float:
    """Mean speed of both wrists against the root, m/s, at least 0.1.

    ``ric`` is ``(T, 3 (J - 1))`` in the features' unit, ``scale`` makes a step of it metres a second.
    """
    hands = ric.reshape(len(ric), -1, 3)[:, wrists]
    return max(0.1, float(np.linalg.norm(np.diff(hands, axis=0), axis=-1).mean()) * scale) if len(ric) > 1 else 0.1
