"""Training of the mask and residual transformers of MoMask and MoGenTS: which codes they see, and what is minimised.

Legend: ``B`` batch, ``L`` token frames, ``J`` columns of joints, ``Q`` layers of codes, ``W`` text width. A stream is
codes of whole poses, ``(L, Q)``, or of joints, ``(L, J, Q)``.

Source: Guo et al. 2024 (MoMask), sections 3.2 and 3.3; Yuan et al. 2024 (MoGenTS), section 3.3. Deviations: a motion is
encoded as long as it is and not with the zeros that pad it to 196 frames, so that codes at its end are those which
are decoded later; and what each a field of the settings says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from hftrainer.data.humanml3d import Clip
from hftrainer.models.motion.mogents.corruption import draw_layers, hide_cells, hide_poses
from hftrainer.models.motion.mogents.masked import MaskedTransformer, token_loss
from hftrainer.models.motion.mogents.residual import ResidualTransformer
from hftrainer.models.motion.mogents.tokenizer import MoGenTSTokenizer
from hftrainer.models.motion.mogents.transformer import real_frames
from hftrainer.models.motion.momask.tokenizer import MoMaskTokenizer
from hftrainer.models.motion.motiongpt.bundle import Statistics
from hftrainer.training.drawing import draw_weights, pick

#: Token frames ``(B,)``, text ``(B, W)``, and the codes of each stream, ``(B, L, Q)`` or ``(B, L, J, Q)``.
Batch = tuple[Tensor, Tensor, tuple[Tensor, ...]]
#: Sentences to vectors ``(B, W)``.
Reads = Callable[[Sequence[str]], Tensor]
Tokenizer = MoGenTSTokenizer | MoMaskTokenizer


@dataclass(frozen=True)
class MaskedSettings:
    """Data of mask and residual transformers.

    Attributes:
        rows: motions of a batch.
        frames: fewest and most frames of a motion; shorter clips are left out, longer ones cut at random.
        pad: every motion is padded to the most frames, as the authors do, instead of to the longest of its batch. How
            much is hidden depends on the padded length.
        shorter: share of motions that lose one token frame; the authors' is a third.
        composed: share of motions from the split ``composed``.
        balance: 0 draws every clip equally often, 1 every action equally often, however many clips show it.
        word_dropout: share of caption words that are left out.
        spellings: of a motion: so many starting frames, each of which gives other codes of the same movement.
    """

    rows: int = 64
    frames: tuple[int, int] = (40, 196)
    pad: bool = True
    shorter: float = 1 / 3
    composed: float = 0.0
    balance: float = 0.0
    word_dropout: float = 0.0
    spellings: int = 4

    def __post_init__(self) -> None:
        object.__setattr__(self, "frames", tuple(self.frames))
        if self.rows < 1 or len(self.frames) != 2 or not 1 <= self.frames[0] <= self.frames[1]:
            raise ValueError(f"rows must be at least 1, frames fewest and most; got {self.rows} and {self.frames}.")
        if self.spellings < 1:
            raise ValueError(f"spellings must be at least 1; got {self.spellings}.")
        for name in ("shorter", "composed", "word_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be 0 or more and below 1; got {getattr(self, name)}.")


@dataclass(frozen=True)
class CodedClip:
    """A motion as codes, and what may be said of it.

    Attributes:
        codes: one row for each starting frame, several spellings of the same movement; of each, every stream's codes.
        captions: sentences.
        action: clips that share it are one action for the balance.
        composed: it was composed of stretches of other clips.
    """

    codes: tuple[tuple[Tensor, ...], ...]
    captions: tuple[str, ...]
    action: str
    composed: bool = False

    def __len__(self) -> int:
        return len(self.codes[0][0])


#: Motions that are coded together at most; bounds memory.
_TOGETHER = 16


@torch.no_grad()
def coded_clips(
    clips: Sequence[Clip],
    tokenizer: Tokenizer,
    statistics: Statistics,
    fewest: int,
    composed: frozenset[str] = frozenset(),
    spellings: int = 4,
) -> list[CodedClip]:
    """Every described stretch of ``fewest`` frames or more, as a motion of its own, in codes.

    Args:
        clips: with their captions.
        tokenizer: in evaluation mode; it is not trained any more.
        statistics: that it was trained with.
        fewest: frames.
        composed: names of the clips of that split.
        spellings: starting frames of each, at most as many as a token has frames; spread over them.
    """
    per = tokenizer.config.frames_per_token
    offsets = sorted({spelling * per // min(spellings, per) for spelling in range(min(spellings, per))})
    known: list[tuple[tuple[str, ...], bool]] = []
    spelled: list[tuple[int, Tensor]] = []  # of which clip, and its frames
    for clip in clips:
        features = statistics.normalize(clip.motion)
        for frames, captions in clip.parts():
            part = features[frames]
            if len(part) < max(fewest, per):
                continue
            rows = [part[offset : offset + (len(part) - offset) // per * per] for offset in offsets]
            spelled += [(len(known), row) for row in rows if len(row)]
            known.append((captions, clip.id in composed))
    codes: list[list[tuple[Tensor, ...]]] = [[] for _ in known]
    for (at, _), streams in zip(spelled, _encoded(tokenizer, [row for _, row in spelled]), strict=True):
        codes[at].append(streams)
    return [
        CodedClip(tuple(found), captions, captions[0], whole)
        for found, (captions, whole) in zip(codes, known, strict=True)
    ]


def _encoded(tokenizer: Tokenizer, rows: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
    """Codes of each stream of each motion; those of one length are coded together."""
    device, found = next(tokenizer.parameters()).device, {}  # type: torch.device, dict[int, tuple[Tensor, ...]]
    order = sorted(range(len(rows)), key=lambda at: len(rows[at]))
    for _, group in groupby(order, key=lambda at: len(rows[at])):
        alike = list(group)
        for first in range(0, len(alike), _TOGETHER):
            together = alike[first : first + _TOGETHER]
            made = tokenizer.encode(torch.stack([rows[at] for at in together]).to(device))
            streams = [stream.to("cpu", torch.int32) for stream in (made if isinstance(made, tuple) else (made,))]
            found |= {at: tuple(stream[n] for stream in streams) for n, at in enumerate(together)}
    return [found[at] for at in range(len(rows))]


class Streams(nn.ModuleDict):
    """The transformers that one run trains, by the names of their files; poses before joints."""


class CodesTask:
    """What both stages share, for the training loop.

    Losses of streams are added up; as no weight belongs to two streams, each is trained as if it were alone.

    Args:
        network: one transformer for each stream.
        read: sentences to vectors; not trained.
        clips, held_out: to train on, and to validate on.
        settings: of the data.
        frames_per_token: of the motion tokenizer.
        seed: of clips, captions, cuts and what is dropped.

    Raises:
        ValueError: no clip is long enough, or another number of streams than the clips have.
    """

    def __init__(
        self,
        network: Streams,
        read: Reads,
        clips: Sequence[CodedClip],
        held_out: Sequence[CodedClip],
        settings: MaskedSettings,
        *,
        frames_per_token: int,
        seed: int,
    ) -> None:
        if not clips:
            raise ValueError(
                f"the transformers need clips of {settings.frames[0]} frames with captions; got none. "
                "Check the dataset's texts."
            )
        if len(clips[0].codes[0]) != len(network):
            raise ValueError(f"clips must have codes of {len(network)} streams; got {len(clips[0].codes[0])}.")
        self.network, self.read, self.settings, self.seed = network, read, settings, seed
        self.clips, self.held_out = list(clips), list(held_out)
        self.most = settings.frames[1] // frames_per_token
        self.draw = self._draw(self.clips)
        self._groups: dict[int, list[Batch]] = {}
        self._vectors: dict[str, Tensor] = {}

    def _draw(self, clips: Sequence[CodedClip]) -> np.ndarray:
        actions, composed = [c.action for c in clips], [c.composed for c in clips]
        return draw_weights(actions, composed, self.settings.balance, self.settings.composed)

    def resumed(self) -> None:
        """Called once after a checkpoint was read; there is nothing to do."""

    def stepped(self) -> None:
        """Called after each step; there is nothing to do."""

    def batch(self, step: int) -> Batch:
        """The batch of a step: motions of like length, unless all are padded."""
        group, place = divmod(step, _GROUP)
        if group not in self._groups:
            rng = np.random.default_rng((self.seed, group))
            self._groups = {group: self._batches(rng, self.clips, self.draw, _GROUP)}
        return self._groups[group][place]

    def _batches(
        self, rng: np.random.Generator, clips: Sequence[CodedClip], draw: np.ndarray, count: int
    ) -> list[Batch]:
        size = self.settings.rows
        chosen = [clips[int(i)] for i in rng.choice(len(clips), count * size, p=draw)]
        if not self.settings.pad:
            chosen.sort(key=len)
        return [self._batch(rng, chosen[int(i) * size : (int(i) + 1) * size]) for i in rng.permutation(count)]

    def _batch(self, rng: np.random.Generator, clips: Sequence[CodedClip]) -> Batch:
        cut = [self._cut(rng, pick(rng, clip.codes)) for clip in clips]
        lengths = torch.tensor([len(codes[0]) for codes in cut])
        longest = self.most if self.settings.pad else int(lengths.max())
        streams = []
        for parts in zip(*cut, strict=True):
            whole = torch.zeros(len(parts), longest, *parts[0].shape[1:], dtype=torch.long)
            for row, part in zip(whole, parts, strict=True):
                row[: len(part)] = part
            streams.append(whole)
        return lengths, self._text(rng, [pick(rng, clip.captions) for clip in clips]), tuple(streams)

    def _cut(self, rng: np.random.Generator, codes: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        length = min(len(codes[0]), self.most)
        length -= length > 1 and rng.random() < self.settings.shorter
        start = int(rng.integers(len(codes[0]) - length + 1))
        return tuple(stream[start : start + length] for stream in codes)

    def _text(self, rng: np.random.Generator, captions: Sequence[str]) -> Tensor:
        if self.settings.word_dropout:
            return self.read([self._words(rng, caption) for caption in captions]).float().cpu()
        new = [caption for caption in dict.fromkeys(captions) if caption not in self._vectors]
        if new:
            self._vectors |= dict(zip(new, self.read(new).float().cpu(), strict=True))
        return torch.stack([self._vectors[caption] for caption in captions])

    def _words(self, rng: np.random.Generator, caption: str) -> str:
        words = caption.split()
        if len(words) <= 3:
            return caption
        return " ".join(word for word in words if rng.random() >= self.settings.word_dropout) or caption

    def weight_of(self, batch: Batch) -> float:
        """How many motions the loss of a batch is a mean of."""
        return len(batch[0])

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Sum of the streams' losses, and each one's loss and share of right guesses."""
        device = next(self.network.parameters()).device
        lengths, text = batch[0].to(device), batch[1].to(device)
        total, named = torch.zeros((), device=device), {}  # type: Tensor, dict[str, Tensor]
        # On a processor the plain way through attention is twice as fast for a whole training step.
        with sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext():
            for (name, network), codes in zip(self.network.items(), batch[2], strict=True):
                loss, right = self.stream_loss(network, codes.to(device), text, real_frames(lengths, codes.shape[1]))
                total = total + loss
                named |= {f"{name}_loss": loss, f"{name}_accuracy": right}
        return total, named

    def stream_loss(self, network: Any, codes: Tensor, text: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and share of right guesses of one stream, ``(B, L, Q)`` or ``(B, L, J, Q)`` codes."""
        raise NotImplementedError

    def validate(self) -> dict[str, float]:
        """Losses and shares of right guesses on held-out clips, with the same things hidden each time."""
        if not self.held_out:
            return {}
        rng = np.random.default_rng(self.seed)
        batches = self._batches(rng, self.held_out, self._draw(self.held_out), 4)
        with _seeded(self.seed):
            found = [self.loss(batch)[1] for batch in batches]
        return {f"{name}_held_out": float(np.mean([float(one[name].detach()) for one in found])) for name in found[0]}


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


class MaskTask(CodesTask):
    """Hidden codes of the first layer are guessed; see ``CodesTask``."""

    def stream_loss(
        self, network: MaskedTransformer, codes: Tensor, text: Tensor, real: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As of ``CodesTask``."""
        first = codes[..., 0]
        grid = first.dim() == 3
        first = torch.where(real[..., None] if grid else real, first, network.pad)
        shown, labels = (hide_cells if grid else hide_poses)(first, real, network.mask)
        logits = network.logits(network.hidden(shown.flatten(1), network.context(text, real)))
        return token_loss(logits, labels.flatten(1), network.mask)


class ResidualTask(CodesTask):
    """Codes of a drawn layer are guessed from those of the layers before it; see ``CodesTask``."""

    def stream_loss(
        self, network: ResidualTransformer, codes: Tensor, text: Tensor, real: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As of ``CodesTask``."""
        cells = real[..., None] if codes.dim() == 3 else real[..., None, None]
        tokens = torch.where(cells, codes, network.pad).flatten(1, -2)
        layers = draw_layers(len(tokens), network.config.quantizers, tokens.device)
        sample = torch.arange(len(tokens), device=tokens.device)
        read, labels = network.sums(tokens)[layers - 1, sample], tokens[sample, :, layers]
        hidden = network.hidden(read, layers, network.context(text, real))
        return token_loss(network.logits(network.finish(hidden), layers), labels, network.pad)


#: Steps whose motions are drawn together and sorted by length, so that little padding is computed.
_GROUP = 8
