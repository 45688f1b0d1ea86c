"""MotionGPT's two networks: a motion tokenizer (VQ-VAE) and a T5 language model that speaks text and motion.

Legend: ``B`` batch, ``T`` frames, ``L`` tokens, ``D`` features, ``C`` channels, ``K`` codes, ``W`` width,
``V`` vocabulary.

Source: Jiang et al., "MotionGPT: Human Motion as a Foreign Language", NeurIPS 2023; Raffel et al. 2020 (T5), the
v1.1 family: gated GELU, no bias, relative positions, attention without scaling, separate output head.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hftrainer.models.convolution import Decoder, Encoder, Levels
from hftrainer.models.quantize import QUANTIZERS

#: Added to the score of a position that must not be seen; finite, so that it also survives bfloat16.
FAR = -1e9


@dataclass(frozen=True)
class TokenizerConfig:
    """Sizes of the motion tokenizer; the defaults are MotionGPT's.

    Attributes:
        features: ``D``, numbers per frame.
        codes: ``K``, size of the vocabulary of movements.
        code_width: channels of a code.
        width: channels inside encoder and decoder.
        depth: residual blocks per level.
        down: levels; each halves the frame rate. 0 keeps it: one code a frame, and no residual blocks.
        dilation_growth: dilation ratio between the blocks of a level.
        norm: ``"layer"``, ``"group"``, ``"batch"`` or none.
        activation: ``"relu"``, ``"silu"`` or ``"gelu"`` inside the residual blocks.
        quantizer: how codes are learned: ``"ema_reset"``, ``"ema"``, ``"reset"`` or ``"orig"``; see
            ``hftrainer.models.quantize``.
    """

    features: int = 263
    codes: int = 512
    code_width: int = 512
    width: int = 512
    depth: int = 3
    down: int = 2
    dilation_growth: int = 3
    norm: str | None = None
    activation: str = "relu"
    quantizer: str = "ema_reset"

    def __post_init__(self) -> None:
        for name in ("features", "codes", "code_width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; got {getattr(self, name)}.")
        assert self.levels  # refuses what does not go together
        if self.quantizer not in QUANTIZERS:
            raise ValueError(f"quantizer must be one of {', '.join(QUANTIZERS)}; got {self.quantizer!r}.")

    @property
    def levels(self) -> Levels:
        """Sizes inside encoder and decoder."""
        return Levels(self.width, self.depth, self.down, self.dilation_growth, self.norm, self.activation)

    @property
    def frames_per_token(self) -> int:
        return 2**self.down


class MotionTokenizer(nn.Module):
    """Turns normalised features into tokens and back.

    >>> net = MotionTokenizer(TokenizerConfig(width=32, code_width=32, codes=16)).eval()
    >>> net.encode(torch.zeros(2, 61, 263)).shape, net.decode(torch.zeros(2, 15, dtype=torch.long)).shape
    (torch.Size([2, 15]), torch.Size([2, 60, 263]))
    """

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config.features, config.code_width, config.levels)
        self.decoder = Decoder(config.features, config.code_width, config.levels)
        self.quantizer = QUANTIZERS[config.quantizer](config.codes, config.code_width)

    def encode(self, features: Tensor) -> Tensor:
        """``(B, T, D)`` normalised features -> ``(B, L)`` tokens."""
        rows = self.encoder(features)
        return self.quantizer.assign(rows.flatten(0, 1)).view(rows.shape[:2])

    def decode(self, tokens: Tensor) -> Tensor:
        """``(B, L)`` tokens -> ``(B, L * frames_per_token, D)`` normalised features."""
        return self.decoder(self.quantizer.lookup(tokens))

    def forward(self, features: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruction ``(B, T', D)``, commitment loss, perplexity."""
        rows = self.encoder(features)
        with torch.autocast(rows.device.type, enabled=False):  # distances need the full mantissa
            rows = rows.float()
            quantized, commitment, perplexity = self.quantizer(rows.flatten(0, 1), generator)
        return self.decoder(quantized.view_as(rows)), commitment, perplexity


#: Width, heads, feed-forward width and layers of each stack of the published models; a head is 64 wide in all.
T5_SHAPES = {
    "flan-t5-small": (512, 6, 1024, 8),
    "flan-t5-base": (768, 12, 2048, 12),
    "flan-t5-large": (1024, 16, 2816, 24),
}
#: Tokens of the published vocabulary, the 100 sentinels included.
T5_TEXT_TOKENS = 32100


@dataclass(frozen=True)
class LanguageModelConfig:
    """Sizes of the language model; the defaults are FLAN-T5-base with 515 motion tokens.

    Attributes:
        vocabulary: ``V``, rows of the embedding and of the output head; the last ``motion_tokens`` are motion.
        motion_tokens: codes plus start, end and mask.
        width, heads, head_width, feedforward: sizes of a layer.
        encoder_layers, decoder_layers: depth of each stack.
        buckets, max_distance: relative position bias.
        dropout: after each part of a layer, in training.
        word_width: ``None`` for learned embeddings. A number: the text rows are frozen word vectors of that width
            behind one learned projection, so that a word is read by its meaning even where no caption had it.
    """

    vocabulary: int = 32615
    motion_tokens: int = 515
    width: int = 768
    heads: int = 12
    head_width: int = 64
    feedforward: int = 2048
    encoder_layers: int = 12
    decoder_layers: int = 12
    buckets: int = 32
    max_distance: int = 128
    dropout: float = 0.1
    word_width: int | None = None

    def __post_init__(self) -> None:
        for name in (
            "width",
            "heads",
            "head_width",
            "feedforward",
            "encoder_layers",
            "decoder_layers",
            "motion_tokens",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; got {getattr(self, name)}.")
        if self.vocabulary <= self.motion_tokens:
            raise ValueError(f"vocabulary must be above motion_tokens={self.motion_tokens}; got {self.vocabulary}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1); got {self.dropout}.")

    @classmethod
    def named(cls, name: str, codes: int = 512) -> LanguageModelConfig:
        """The sizes of a published model, with motion tokens for ``codes`` codes.

        Raises:
            ValueError: no such model is known.

        >>> LanguageModelConfig.named("flan-t5-base") == LanguageModelConfig()
        True
        """
        if name not in T5_SHAPES:
            raise ValueError(f"the shape must be one of {', '.join(T5_SHAPES)}; got {name!r}.")
        width, heads, feedforward, layers = T5_SHAPES[name]
        return cls(T5_TEXT_TOKENS + codes + 3, codes + 3, width, heads, 64, feedforward, layers, layers)

    @property
    def first_motion(self) -> int:
        """Token id of code 0."""
        return self.vocabulary - self.motion_tokens


class RMSNorm(nn.Module):
    """Scales each row to unit mean square; no mean, no bias."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight


class Attention(nn.Module):
    """Multi-head attention without scaling and without bias; keys and values may come from a cache.

    ``x`` ``(B, L, W)`` attends to ``memory`` ``(B, M, W)`` or to itself; ``bias`` is added to the scores
    ``(B or 1, H, L, M)`` and carries both positions and masks.
    """

    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__()
        self.heads, inner = config.heads, config.heads * config.head_width
        self.query, self.key, self.value = (nn.Linear(config.width, inner, bias=False) for _ in range(3))
        self.out = nn.Linear(inner, config.width, bias=False)

    def split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, H, L, W/H)

    def keys_values(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        return self.split(self.key(memory)), self.split(self.value(memory))

    def forward(self, x: Tensor, keys_values: tuple[Tensor, Tensor], bias: Tensor) -> Tensor:
        query, (key, value) = self.split(self.query(x)), keys_values
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias.to(query.dtype), scale=1.0)
        return self.out(mixed.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Gated GELU (tanh form)."""

    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__()
        self.gate = nn.Linear(config.width, config.feedforward, bias=False)
        self.enter = nn.Linear(config.width, config.feedforward, bias=False)
        self.leave = nn.Linear(config.feedforward, config.width, bias=False)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.leave(self.dropout(F.gelu(self.gate(x), approximate="tanh") * self.enter(x)))


class RelativePositions(nn.Module):
    """T5's learned bias by bucketed distance, shared by all layers of a stack."""

    def __init__(self, config: LanguageModelConfig, bidirectional: bool) -> None:
        super().__init__()
        self.buckets, self.max_distance, self.bidirectional = config.buckets, config.max_distance, bidirectional
        self.bias = nn.Embedding(config.buckets, config.heads)

    def bucket(self, distance: Tensor) -> Tensor:
        """Integer distance ``key - query`` -> bucket number."""
        buckets, offset = self.buckets, torch.zeros_like(distance)
        if self.bidirectional:
            buckets //= 2
            offset = (distance > 0).long() * buckets
            distance = distance.abs()
        else:
            distance = -distance.clamp_max(0)
        exact = buckets // 2
        ratio = torch.log(distance.clamp_min(1).float() / exact) / math.log(self.max_distance / exact)
        far = (exact + (ratio * (buckets - exact)).long()).clamp_max(buckets - 1)
        return offset + torch.where(distance < exact, distance, far)

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Positions ``(Lq,)`` and ``(Lk,)`` -> ``(1, H, Lq, Lk)``."""
        return self.bias(self.bucket(keys[None] - queries[:, None])).permute(2, 0, 1)[None]


class Layer(nn.Module):
    """Self-attention, cross-attention (in the decoder), feed-forward; each behind a norm and a residual."""

    def __init__(self, config: LanguageModelConfig, decoder: bool) -> None:
        super().__init__()
        self.norm1, self.attention = RMSNorm(config.width), Attention(config)
        if decoder:
            self.norm2, self.cross = RMSNorm(config.width), Attention(config)
        self.norm3, self.feedforward = RMSNorm(config.width), FeedForward(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        x: Tensor,
        bias: Tensor,
        past: tuple[Tensor, Tensor] | None = None,
        memory: tuple[Tensor, Tensor] | None = None,
        memory_bias: Tensor | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """``past``: cached keys and values of earlier positions; ``memory``: keys and values of the prompt."""
        y = self.norm1(x)
        now = self.attention.keys_values(y)
        if past is not None:
            now = torch.cat([past[0], now[0]], 2), torch.cat([past[1], now[1]], 2)
        x = x + self.dropout(self.attention(y, now, bias))
        if memory is not None:
            assert memory_bias is not None
            x = x + self.dropout(self.cross(self.norm2(x), memory, memory_bias))
        return x + self.dropout(self.feedforward(self.norm3(x))), now


class Stack(nn.Module):
    """Encoder or decoder: layers under one position bias, a last norm."""

    def __init__(self, config: LanguageModelConfig, decoder: bool) -> None:
        super().__init__()
        count = config.decoder_layers if decoder else config.encoder_layers
        self.positions = RelativePositions(config, bidirectional=not decoder)
        self.layers = nn.ModuleList(Layer(config, decoder) for _ in range(count))
        self.norm, self.dropout = RMSNorm(config.width), nn.Dropout(config.dropout)


def mask_bias(mask: Tensor) -> Tensor:
    """``(B, L)`` mask, True where real -> ``(B, 1, 1, L)`` additive bias."""
    return torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, FAR)[:, None, None]


class Vocabulary(nn.Module):
    """Token ids -> vectors: learned rows, or frozen word vectors behind a projection with learned motion rows."""

    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__()
        self.first_motion = config.first_motion
        self.noise = 0.0  # deviation of what training adds to word vectors
        if config.word_width is None:
            self.rows = nn.Embedding(config.vocabulary, config.width)
            return
        self.register_buffer("words", torch.zeros(config.first_motion, config.word_width, dtype=torch.int8))
        self.register_buffer("word_scale", torch.ones(config.word_width))
        self.project = nn.Linear(config.word_width, config.width, bias=False)
        self.motion = nn.Embedding(config.motion_tokens, config.width)

    def forward(self, tokens: Tensor) -> Tensor:
        """``(B, L)`` -> ``(B, L, W)``."""
        if hasattr(self, "rows"):
            return self.rows(tokens)
        is_motion = tokens >= self.first_motion
        words = self.words[tokens.clamp_max(self.first_motion - 1)].float() * self.word_scale
        if self.training and self.noise:
            words = words + self.noise * torch.randn_like(words)
        motion = self.motion((tokens - self.first_motion).clamp_min(0))
        return torch.where(is_motion[..., None], motion, self.project(words))

    def output_rows(self) -> Tensor:
        """``(first_motion, W)`` projected word vectors, for scoring text with the meanings that read it."""
        return self.project(self.words.float() * self.word_scale)


class LanguageModel(nn.Module):
    """T5 encoder-decoder over one vocabulary of text and motion; token 0 is padding and starts the decoder, 1 ends.

    >>> net = LanguageModel(LanguageModelConfig(600, 515, 32, 2, 16, 64, 1, 1)).eval()
    >>> net(torch.ones(2, 5, dtype=torch.long), torch.ones(2, 3, dtype=torch.long)).shape
    torch.Size([2, 3, 600])
    """

    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__()
        self.config = config
        self.vocabulary = Vocabulary(config)
        self.encoder, self.decoder = Stack(config, decoder=False), Stack(config, decoder=True)
        rows = (
            config.vocabulary if config.word_width is None else config.motion_tokens + 1
        )  # motion rows and the end mark
        self.head = nn.Linear(config.width, rows, bias=False)
        self.reset()

    def reset(self) -> None:
        """T5's initialisation."""
        c = self.config
        for name, p in self.named_parameters():
            if name.endswith(("norm1.weight", "norm2.weight", "norm3.weight", "norm.weight")):
                nn.init.ones_(p)
            elif name.startswith("vocabulary"):
                nn.init.normal_(p, std=1.0 if p.shape[1] == c.width else (c.word_width or 1) ** -0.5)
            elif name.endswith("query.weight"):
                nn.init.normal_(p, std=(c.width * c.head_width) ** -0.5)
            elif name.endswith("attention.out.weight") or name.endswith("cross.out.weight"):
                nn.init.normal_(p, std=(c.heads * c.head_width) ** -0.5)
            elif name.endswith("leave.weight"):
                nn.init.normal_(p, std=c.feedforward**-0.5)
            else:  # keys, values, gates, position bias, head
                nn.init.normal_(p, std=c.width**-0.5)

    def encode(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, L)`` prompt tokens, 0 = padding -> ``(B, L, W)`` states and the ``(B, 1, 1, L)`` mask bias."""
        mask = mask_bias(tokens != 0)
        at = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.encoder.dropout(self.vocabulary(tokens))
        bias = self.encoder.positions(at, at) + mask
        for layer in self.encoder.layers:
            x, _ = layer(x, bias)
        return self.encoder.dropout(self.encoder.norm(x)), mask

    def memories(self, states: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Each decoder layer's keys and values of the encoder states; computed once per prompt."""
        return [layer.cross.keys_values(states) for layer in self.decoder.layers]

    def decode(
        self,
        tokens: Tensor,
        memories: list[tuple[Tensor, Tensor]],
        mask: Tensor,
        past: list[tuple[Tensor, Tensor]] | None = None,
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Decoder states of ``tokens`` ``(B, L)`` that follow the cached ``past`` -> ``(B, L, W)`` and the cache."""
        start = past[0][0].shape[2] if past else 0
        at = torch.arange(start, start + tokens.shape[1], device=tokens.device)
        keys = torch.arange(start + tokens.shape[1], device=tokens.device)
        ahead = (keys[None] > at[:, None]).float() * FAR
        bias = self.decoder.positions(at, keys) + ahead
        x, cache = self.decoder.dropout(self.vocabulary(tokens)), []
        for i, layer in enumerate(self.decoder.layers):
            x, now = layer(x, bias, past[i] if past else None, memories[i], mask)
            cache.append(now)
        return self.decoder.dropout(self.decoder.norm(x)), cache

    def logits(self, states: Tensor, text: bool = True) -> Tensor:
        """``(..., W)`` -> ``(..., V)`` scores.

        With word vectors and ``text=False`` the scores of words are left out (minus infinity), which saves most of
        the work when only motion can follow.
        """
        scores = self.head(states)
        if self.config.word_width is None:
            return scores
        first, end, motion = self.config.first_motion, scores[..., :1], scores[..., 1:]
        if text:
            words = states @ self.vocabulary.output_rows().T * self.config.width**-0.5
            return torch.cat([words[..., :1], end, words[..., 2:], motion], -1)
        none = scores.new_full((*scores.shape[:-1], first), -torch.inf)
        none[..., 1] = end[..., 0]
        return torch.cat([none, motion], -1)

    def teach(self, tokens: Tensor, answer: Tensor) -> Tensor:
        """Teacher forcing: prompts ``(B, L)`` and answers ``(B, M)`` (0 = padding) -> ``(B, M, W)`` decoder states."""
        states, mask = self.encode(tokens)
        shifted = F.pad(answer, (1, 0))[:, :-1]
        y, _ = self.decode(shifted, self.memories(states), mask)
        return y

    def forward(self, tokens: Tensor, answer: Tensor) -> Tensor:
        """Teacher forcing: prompts ``(B, L)`` and answers ``(B, M)`` (0 = padding) -> ``(B, M, V)`` logits."""
        return self.logits(self.teach(tokens, answer))

    def motion_loss(self, tokens: Tensor, answer: Tensor) -> tuple[Tensor, Tensor]:
        """Mean cross-entropy of answers that hold only motion and the end mark, and the share of right guesses.

        The same number as over the whole vocabulary with all words excluded, at a fraction of the work.
        """
        scores = self.head(self.teach(tokens, answer)).float()
        if self.config.word_width is None:
            scores = torch.cat([scores[..., 1:2], scores[..., self.config.first_motion :]], -1)
        target = torch.where(answer > 1, answer - self.config.first_motion + 1, answer - 1)  # end 0, padding -1
        loss = F.cross_entropy(scores.flatten(0, 1), target.flatten(), ignore_index=-1)
        return loss, (scores.detach().argmax(-1) == target)[target >= 0].float().mean()
