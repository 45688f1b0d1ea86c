"""Two CLIP towers for sentences and motions: MotionCLIP-135.

The text tower is CLIP's with a longer table of places; the motion tower is CLIP's image tower with frames in the place
of patches. Both end in one space; their products, times a learnt scale, say how well they match.

Legend: ``B`` batch, ``T`` frames, ``L`` tokens, ``W`` width, ``E`` width of the embeddings.

Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021, section 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

#: The learnt scale never exceeds this.
MOST_SCALE = 100.0


@dataclass(frozen=True)
class SideConfig:
    """Sizes of one tower.

    Attributes:
        width, layers, heads, feed_forward: of the transformer.
        places: rows of its table of places.
    """

    width: int = 512
    layers: int = 12
    heads: int = 8
    feed_forward: int = 2048
    places: int = 256

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if type(value) is not int or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1; got {value!r}.")
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of {self.heads} heads; got {self.width}.")


@dataclass(frozen=True)
class DualConfig:
    """Sizes; the defaults are those of the released MotionCLIP-135.

    Attributes:
        features: channels of a frame.
        output: width of the embeddings.
        vocabulary: tokens of the text.
        end: the token that closes a sentence; the first one is where the sentence is read.
        most_frames: frames that are read of a motion.
        text, motion: sizes of the towers; the motion tower has a place more than frames.
    """

    features: int = 135
    output: int = 512
    vocabulary: int = 49408
    end: int = 49407
    most_frames: int = 300
    text: SideConfig = field(default_factory=SideConfig)
    motion: SideConfig = field(default_factory=lambda: SideConfig(places=513))

    def __post_init__(self) -> None:
        if not 1 <= self.most_frames < self.motion.places:
            raise ValueError(f"most_frames must be 1 to {self.motion.places - 1}; got {self.most_frames}.")
        if not 0 <= self.end < self.vocabulary:
            raise ValueError(f"the token that ends must be 0 to {self.vocabulary - 1}; got {self.end}.")


class _Block(nn.Module):
    def __init__(self, config: SideConfig) -> None:
        super().__init__()
        width, self.heads = config.width, config.heads
        self.norm_attention, self.norm_feed_forward = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value, self.attention_out = (nn.Linear(width, width) for _ in range(4))
        self.widen, self.narrow = nn.Linear(width, config.feed_forward), nn.Linear(config.feed_forward, width)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        y = self.norm_attention(x)
        query, key, value = (
            part(y).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        found = functional.scaled_dot_product_attention(query, key, value, seen)  # (B, heads, L, W / heads)
        x = x + self.attention_out(found.transpose(1, 2).flatten(2))
        hidden = self.widen(self.norm_feed_forward(x))
        return x + self.narrow(hidden * torch.sigmoid(1.702 * hidden))


class _Side(nn.Module):
    """A tower's blocks, with a norm behind them."""

    def __init__(self, config: SideConfig, output: int) -> None:
        super().__init__()
        self.places = nn.Embedding(config.places, config.width)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.projection = nn.Linear(config.width, output, bias=False)

    def through(self, x: Tensor, seen: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x, seen)
        return x


class TextSide(_Side):
    """Token ids to one vector, read where the sentence first ends."""

    def __init__(self, config: DualConfig) -> None:
        super().__init__(config.text, config.output)
        self.tokens = nn.Embedding(config.vocabulary, config.text.width)
        self.end = config.end

    def forward(self, ids: Tensor) -> Tensor:
        """``(B, L)`` -> ``(B, E)``. A token sees those before it, so what stands behind the end is not read."""
        length = ids.shape[1]
        seen = torch.ones(length, length, dtype=torch.bool, device=ids.device).tril()
        x = self.norm(self.through(self.tokens(ids) + self.places.weight[:length], seen))
        return self.projection(x[torch.arange(len(ids), device=ids.device), (ids == self.end).int().argmax(-1)])


class MotionSide(_Side):
    """Frames to one vector: that of a learnt token in front of them."""

    def __init__(self, config: DualConfig) -> None:
        super().__init__(config.motion, config.output)
        self.first = nn.Parameter(torch.randn(config.motion.width))
        self.entry = nn.Linear(config.features, config.motion.width, bias=False)
        self.norm_before = nn.LayerNorm(config.motion.width)

    def forward(self, features: Tensor, real: Tensor) -> Tensor:
        """``(B, T, features)`` and ``(B, T)`` bool, True where real -> ``(B, E)``."""
        batch, frames = real.shape
        x = torch.cat([self.first.expand(batch, 1, -1), self.entry(features)], 1) + self.places.weight[: frames + 1]
        seen = torch.cat([real.new_ones(batch, 1), real], 1)[:, None, None]
        return self.projection(self.norm(self.through(self.norm_before(x), seen)[:, 0]))


class DualEvaluator(nn.Module):
    """Sentences and motions to points of one space, not of unit length.

    >>> side = SideConfig(8, 1, 2, 16, 41)
    >>> network = DualEvaluator(DualConfig(135, 5, 10, 9, 40, side, side)).eval()
    >>> network.encode_motions(torch.zeros(2, 20, 135), torch.tensor([20, 8])).shape
    torch.Size([2, 5])
    """

    def __init__(self, config: DualConfig) -> None:
        super().__init__()
        self.config = config
        self.text, self.motion = TextSide(config), MotionSide(config)
        self.scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def encode_texts(self, ids: Tensor) -> Tensor:
        """Tokens ``(B, L)`` -> ``(B, E)``.

        Raises:
            ValueError: a sentence does not end, or is longer than the table of places.
        """
        if ids.shape[1] > self.config.text.places:
            raise ValueError(f"a text must have at most {self.config.text.places} tokens; got {ids.shape[1]}.")
        if not (ids == self.config.end).any(-1).all():
            raise ValueError(f"every text must hold the token {self.config.end}, which ends it; one does not.")
        return self.text(ids)

    def encode_motions(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Motions to embeddings.

        Args:
            features: ``(B, T, features)`` normalised; what stands behind a length is not read.
            lengths: ``(B,)`` frames, 1 to ``T``.

        Returns:
            ``(B, E)``.

        Raises:
            ValueError: more frames than there are places, or a length outside 1 to ``T``.
        """
        frames = features.shape[1]
        if frames >= self.config.motion.places:
            raise ValueError(f"a motion must have at most {self.config.motion.places - 1} frames; got {frames}.")
        wrong = [int(n) for n in lengths if not 1 <= int(n) <= frames]
        if wrong:
            raise ValueError(f"every length must be 1 to {frames} frames; got {wrong}.")
        real = torch.arange(frames, device=features.device) < lengths[:, None].to(features.device)
        return self.motion(torch.where(real[..., None], features, torch.zeros_like(features)), real)

    def logits(self, texts: Tensor, motions: Tensor) -> Tensor:
        """Cosines of all pairs times the learnt scale: ``(B, E)``, ``(C, E)`` -> ``(B, C)``."""
        scale = self.scale.exp().clamp(max=MOST_SCALE)
        return scale * functional.normalize(texts, dim=-1) @ functional.normalize(motions, dim=-1).T

    def loss(self, texts: Tensor, motions: Tensor) -> Tensor:
        """Contrastive loss of matching rows, both ways (Radford et al. 2021, figure 3)."""
        logits, rows = self.logits(texts, motions), torch.arange(len(texts), device=texts.device)
        return (functional.cross_entropy(logits, rows) + functional.cross_entropy(logits.T, rows)) / 2
