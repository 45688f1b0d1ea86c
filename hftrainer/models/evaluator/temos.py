"""Two variational encoders for sentences and motions, of which the means are compared: MotionStreamer's evaluator.

Both are the encoders of TEMOS: two learnt tokens, for mean and spread, go in front of the sequence, and what the
transformer makes of them is the answer. Sentences come as DistilBERT's vectors. Padding never changes an answer.

Legend: ``B`` batch, ``T`` frames, ``L`` tokens, ``W`` width.

Source: Petrovich et al., "TEMOS", ECCV 2022, section 3.2, and "TMR", ICCV 2023; Xiao et al.,
"MotionStreamer", ICCV 2025.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from hftrainer.models.distilbert import DistilBert, DistilBertConfig


@dataclass(frozen=True)
class TemosConfig:
    """Sizes; the defaults are those of the released MotionStreamer-272 evaluator.

    Attributes:
        features: channels of a frame.
        width: of the embeddings, and of the transformers.
        layers, heads, feed_forward: of each transformer. The released weights were trained with 4 heads, though the
            file of settings beside them asks for 6.
        most_frames: frames that are read of a motion.
        text: sizes of DistilBERT.
    """

    features: int = 272
    width: int = 256
    layers: int = 4
    heads: int = 4
    feed_forward: int = 1024
    most_frames: int = 300
    text: DistilBertConfig = field(default_factory=DistilBertConfig)

    def __post_init__(self) -> None:
        for name in ("features", "width", "layers", "heads", "feed_forward", "most_frames"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1; got {value!r}.")
        if self.width % self.heads or self.width % 2:
            raise ValueError(f"width must be even and a multiple of {self.heads} heads; got {self.width}.")


def positions(length: int, width: int) -> Tensor:
    """Sines and cosines of places, ``(length, width)``: sines in even columns (Vaswani et al. 2017, section 3.5).

    >>> positions(2, 4)[0].tolist()
    [0.0, 1.0, 0.0, 1.0]
    """
    places = torch.arange(length, dtype=torch.float32)[:, None]
    rates = torch.exp(torch.arange(0, width, 2, dtype=torch.float32) * (-math.log(10000.0) / width))
    table = torch.zeros(length, width)
    table[:, 0::2], table[:, 1::2] = torch.sin(places * rates), torch.cos(places * rates)
    return table


class Layer(nn.Module):
    """A transformer layer that normalises after each residual (Devlin et al. 2019), with GELU."""

    def __init__(self, width: int, heads: int, feed_forward: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_key_value, self.attention_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, feed_forward), nn.Linear(feed_forward, width)
        self.norm_attention, self.norm_feed_forward = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """``(B, L, W)``, and ``(B, 1, 1, L)`` True where a place is real -> ``(B, L, W)``."""
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.query_key_value(x).chunk(3, -1)
        )
        found = nn.functional.scaled_dot_product_attention(query, key, value, seen)  # (B, heads, L, W / heads)
        x = self.norm_attention(x + self.dropout(self.attention_out(found.transpose(1, 2).flatten(2))))
        hidden = self.dropout(nn.functional.gelu(self.widen(x)))
        return self.norm_feed_forward(x + self.dropout(self.narrow(hidden)))


class Gatherer(nn.Module):
    """A sequence of vectors to the mean and the spread of one."""

    def __init__(self, entry: int, config: TemosConfig) -> None:
        super().__init__()
        self.entry = nn.Linear(entry, config.width)
        self.mean_token, self.spread_token = (nn.Parameter(torch.randn(config.width)) for _ in range(2))
        self.layers = nn.ModuleList(
            Layer(config.width, config.heads, config.feed_forward) for _ in range(config.layers)
        )
        self.dropout = nn.Dropout(0.1)

    def forward(self, sequence: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, L, entry)`` and ``(B, L)`` bool, True where real -> mean and standard deviation, ``(B, W)`` each."""
        batch = len(sequence)
        tokens = torch.stack([self.mean_token, self.spread_token]).expand(batch, -1, -1)
        x = torch.cat([tokens, self.entry(sequence)], 1)
        x = self.dropout(x + positions(x.shape[1], x.shape[2]).to(x))
        seen = torch.cat([real.new_ones(batch, 2), real], 1)[:, None, None]
        for layer in self.layers:
            x = layer(x, seen)
        return x[:, 0], torch.exp(x[:, 1] / 2)


class TemosEvaluator(nn.Module):
    """Sentences and motions to points of one space.

    >>> tiny = TemosConfig(272, 8, 1, 2, 16, 60, DistilBertConfig(10, 12, 8, 1, 2, 16))
    >>> network = TemosEvaluator(tiny).eval()
    >>> network.encode_motions(torch.zeros(2, 20, 272), torch.tensor([20, 8]))[0].shape
    torch.Size([2, 8])
    """

    def __init__(self, config: TemosConfig) -> None:
        super().__init__()
        self.config = config
        self.bert = DistilBert(config.text)
        self.text = Gatherer(config.text.width, config)
        self.motion = Gatherer(config.features, config)

    def encode_texts(self, ids: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens ``(B, L)`` and ``(B, L)`` bool -> mean and standard deviation ``(B, W)`` of the embeddings."""
        return self.gather_texts(self.bert(ids, real), real)

    def gather_texts(self, vectors: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """DistilBERT's vectors ``(B, L, text width)``, and which are real -> mean and standard deviation ``(B, W)``."""
        return self.text(nn.functional.relu(vectors), real)

    def encode_motions(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Motions to embeddings.

        Args:
            features: ``(B, T, features)`` normalised; what stands behind a length is padding and not read.
            lengths: ``(B,)`` frames, 1 to ``T``.

        Returns:
            Mean and standard deviation, ``(B, W)`` each.

        Raises:
            ValueError: more frames than the network reads, or a length outside 1 to ``T``.
        """
        frames = features.shape[1]
        if frames > self.config.most_frames:
            raise ValueError(f"a motion must have at most {self.config.most_frames} frames; got {frames}. Cut it.")
        wrong = [int(n) for n in lengths if not 1 <= int(n) <= frames]
        if wrong:
            raise ValueError(f"every length must be 1 to {frames} frames; got {wrong}.")
        real = torch.arange(frames, device=features.device) < lengths[:, None].to(features.device)
        return self.motion(torch.where(real[..., None], features, torch.zeros_like(features)), real)
