"""MotionGPT's decoder-only language model: GPT-2 over one vocabulary of text and motion.

A prompt and its answer are one row of tokens; the model continues the row. Legend: ``B`` batch, ``L`` tokens, ``W``
width, ``H`` heads, ``V`` vocabulary.

Source: Radford et al. 2019 (GPT-2): learned positions, norms before each part and after the last layer, GELU (tanh
form), biases everywhere, a head that is the embedding itself; MotionGPT's variant of it with motion tokens appended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hftrainer.models.motion.motiongpt.network import FAR, mask_bias

#: Width, heads and layers of the published models.
SHAPES = {"gpt2": (768, 12, 12), "gpt2-medium": (1024, 16, 24)}
#: Tokens of the published vocabulary; the last one is the end mark, and padding as well.
TEXT_TOKENS = 50257


@dataclass(frozen=True)
class GPT2Config:
    """Sizes of the decoder-only language model; the defaults are GPT-2 medium with 515 motion tokens.

    Attributes:
        vocabulary: ``V``; the last ``motion_tokens`` are motion.
        motion_tokens: codes plus start, end and mask.
        positions: longest row.
        width, heads, layers: sizes; a feed-forward part is four times ``width``.
        end: token id that ends an answer and pads.
        dropout: after the embedding, in attention and after each part, in training.
    """

    vocabulary: int = TEXT_TOKENS + 515
    motion_tokens: int = 515
    positions: int = 1024
    width: int = 1024
    heads: int = 16
    layers: int = 24
    end: int = TEXT_TOKENS - 1
    dropout: float = 0.1

    def __post_init__(self) -> None:
        for name in ("motion_tokens", "positions", "width", "heads", "layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; got {getattr(self, name)}.")
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads={self.heads}; got {self.width}.")
        if not 0 <= self.end < self.vocabulary - self.motion_tokens:
            raise ValueError(f"end must be a text token below {self.vocabulary - self.motion_tokens}; got {self.end}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1); got {self.dropout}.")

    @classmethod
    def named(cls, name: str, codes: int = 512) -> GPT2Config:
        """The sizes of a published model, with motion tokens for ``codes`` codes.

        Raises:
            ValueError: no such model is known.

        >>> GPT2Config.named("gpt2-medium").vocabulary
        50772
        """
        if name not in SHAPES:
            raise ValueError(f"the shape must be one of {', '.join(SHAPES)}; got {name!r}.")
        width, heads, layers = SHAPES[name]
        return cls(TEXT_TOKENS + codes + 3, codes + 3, width=width, heads=heads, layers=layers)

    @property
    def first_motion(self) -> int:
        """Token id of code 0."""
        return self.vocabulary - self.motion_tokens

    @property
    def word_width(self) -> None:
        """There are no frozen word vectors: every token has a learned row."""
        return None


class Block(nn.Module):
    """Self-attention and feed-forward, each behind a norm and a residual; ``(B, L, W)`` -> the same and the cache."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        width = config.width
        self.heads, self.share = config.heads, config.dropout
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.enter, self.leave = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, x: Tensor, bias: Tensor, past: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """``bias`` ``(B, 1, L, M)`` carries masks; ``past``: keys and values of earlier positions."""
        parts = self.query_key_value(self.norm1(x)).chunk(3, -1)
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)  # (B, H, L, W/H)
        if past is not None:
            key, value = torch.cat([past[0], key], 2), torch.cat([past[1], value], 2)
        dropped = self.share if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, bias.to(query.dtype), dropped)
        x = x + self.dropout(self.out(mixed.transpose(1, 2).flatten(2)))
        y = self.leave(F.gelu(self.enter(self.norm2(x)), approximate="tanh"))
        return x + self.dropout(y), (key, value)


class GPT2(nn.Module):
    """Decoder-only language model over text and motion.

    >>> net = GPT2(GPT2Config(40, 11, positions=16, width=16, heads=2, layers=1, end=0)).eval()
    >>> net(torch.ones(2, 5, dtype=torch.long)).shape
    torch.Size([2, 5, 40])
    """

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.config = config
        self.vocabulary = nn.Embedding(config.vocabulary, config.width)
        self.positions = nn.Embedding(config.positions, config.width)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm, self.dropout = nn.LayerNorm(config.width), nn.Dropout(config.dropout)
        self.reset()

    def reset(self) -> None:
        """GPT-2's initialisation: deviation 0.02, less for what is added to the residual, no biases."""
        for name, p in self.named_parameters():
            if "norm" in name and name.endswith("weight"):
                nn.init.ones_(p)
            elif name.endswith("bias"):
                nn.init.zeros_(p)
            else:
                added = name.endswith(("out.weight", "leave.weight"))
                nn.init.normal_(p, std=0.02 / (2 * self.config.layers) ** 0.5 if added else 0.02)

    def read(
        self,
        tokens: Tensor,
        mask: Tensor,
        places: Tensor,
        past: list[tuple[Tensor, Tensor]] | None = None,
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """States of ``tokens`` that follow the cached ``past``.

        Args:
            tokens: ``(B, L)``.
            mask: ``(B, M)`` True where a token is real, those of ``past`` first.
            places: ``(B or 1, L)`` positions of ``tokens`` in their rows.
            past: keys and values of each layer.

        Returns:
            ``(B, L, W)`` and the cache with these tokens in it.
        """
        at = torch.arange(mask.shape[1] - tokens.shape[1], mask.shape[1], device=tokens.device)
        keys = torch.arange(mask.shape[1], device=tokens.device)
        hidden = (keys[None] > at[:, None]) | ~mask[:, None, None]  # (B, 1, L, M)
        bias = torch.zeros(hidden.shape, device=tokens.device).masked_fill(hidden, FAR)
        x, cache = self.dropout(self.vocabulary(tokens) + self.positions(places)), []
        for i, layer in enumerate(self.layers):
            x, now = layer(x, bias, past[i] if past else None)
            cache.append(now)
        return self.norm(x), cache

    def logits(self, states: Tensor, text: bool = True) -> Tensor:
        """``(..., W)`` -> ``(..., V)`` scores; the head is the embedding. ``text`` is for encoder-decoders alone."""
        return states @ self.vocabulary.weight.T

    def encode(self, tokens: Tensor) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
        """Prompts read once, for answers that are decoded as an encoder-decoder's are (``pipelines.decoding``).

        The last token of a prompt is not read yet: the first token of the answer is said of it.

        Args:
            tokens: ``(B, L)`` prompts of at least one token, zeros behind them.

        Returns:
            Keys and values of each layer, then each prompt's last token and its place, ``(B, 1)`` both; and the
            ``(B, 1, 1, L)`` mask bias of what was read.
        """
        at = torch.arange(tokens.shape[1], device=tokens.device)
        count = ((tokens != 0) * (at + 1)).amax(1, keepdim=True)
        mask = at[None] < count - 1
        _, cache = self.read(tokens, mask, at[None])
        return [*cache, (tokens.gather(1, count - 1), count - 1)], mask_bias(mask)

    def memories(self, states: list[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
        """What ``encode`` gives holds the keys and values already."""
        return states

    def decode(
        self,
        tokens: Tensor,
        memories: list[tuple[Tensor, Tensor]],
        mask: Tensor,
        past: list[tuple[Tensor, Tensor]] | None = None,
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """States of an answer's tokens that follow the cached ``past``.

        Args:
            tokens: ``(B, L)``; the first token of all, which starts a decoder, stands for the prompt's last one.
            memories, mask: of ``encode``, a row for each row of ``tokens``.
            past: keys and values of the answer so far.

        Returns:
            ``(B, L, W)`` and the cache with these tokens in it.

        >>> net = GPT2(GPT2Config(40, 11, positions=16, width=16, heads=2, layers=1, end=0)).eval()
        >>> states, mask = net.encode(torch.tensor([[5, 6, 7, 0], [8, 9, 4, 2]]))
        >>> hidden, _ = net.decode(torch.tensor([[0, 3], [0, 3]]), net.memories(states), mask)
        >>> whole = net(torch.tensor([[5, 6, 7, 3]]))[0, 2:]
        >>> torch.allclose(net.logits(hidden)[0], whole, atol=1e-5)
        True
        """
        *layers, (last, count) = memories
        start, read = past[0][0].shape[2] if past else 0, mask.shape[-1]
        if not start:
            tokens = torch.cat([last, tokens[:, 1:]], 1)
        at = torch.arange(start, start + tokens.shape[1], device=tokens.device)
        ahead = (torch.arange(start + tokens.shape[1], device=tokens.device)[None] > at[:, None]).float() * FAR
        bias = torch.cat([mask.expand(len(tokens), 1, len(at), read), ahead.expand(len(tokens), 1, -1, -1)], -1)
        x, cache = self.dropout(self.vocabulary(tokens) + self.positions(count + at)), []
        for i, layer in enumerate(self.layers):
            before = layers[i] if past is None else tuple(map(lambda *p: torch.cat(p, 2), layers[i], past[i]))
            x, (key, value) = layer(x, bias, before)
            cache.append((key[:, :, read:], value[:, :, read:]))
        return self.norm(x), cache

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Rows ``(B, L)``, padded on the right, and their mask, True where real -> ``(B, L, V)`` scores."""
        if mask is None:
            mask = torch.ones_like(tokens, dtype=torch.bool)
        places = torch.arange(tokens.shape[1], device=tokens.device)[None]
        return self.logits(self.read(tokens, mask, places)[0])

    def loss(self, tokens: Tensor, mask: Tensor, *, padding_counts: bool = False) -> Tensor:
        """Mean cross-entropy of each token given those before it.

        Args:
            tokens: ``(B, L)``, padded on the right with ``config.end``.
            mask: ``(B, L)`` True where real. An end mark that the model shall learn to say is real.
            padding_counts: ``True`` is what the original does: padding is learned like text, and short rows count
                for little.
        """
        scores, target = self(tokens, mask)[:, :-1].float(), tokens[:, 1:]
        if not padding_counts:
            target = target.masked_fill(~mask[:, 1:], -100)
        return F.cross_entropy(scores.flatten(0, 1), target.flatten(), ignore_index=-100)

    @torch.no_grad()
    def answer(self, prompts: Sequence[Sequence[int]], most: int) -> list[list[int]]:
        """The likeliest continuation of each prompt, token by token, with cached keys and values.

        Prompts are padded on the left, so that every answer begins right after its prompt.

        Args:
            prompts: token ids, at least one each.
            most: tokens of an answer at most.

        Returns:
            Token ids of each answer, without the end mark. A prompt's answer does not depend on the others.

        Raises:
            ValueError: a prompt is empty, or prompt and answer do not fit into ``config.positions``.

        >>> net = GPT2(GPT2Config(40, 11, positions=16, width=16, heads=2, layers=1, end=0)).eval()
        >>> net.answer([[5, 6, 7], [8]], 4) == [net.answer([p], 4)[0] for p in ([5, 6, 7], [8])]
        True
        """
        longest = max(map(len, prompts), default=0)
        if not prompts or not min(map(len, prompts)):
            raise ValueError(f"prompts must hold at least one token each; got lengths {[len(p) for p in prompts]}.")
        if longest + most > self.config.positions:
            raise ValueError(
                f"prompt and answer must be at most {self.config.positions} tokens; got {longest} + {most}. Ask for "
                f"{max(0, self.config.positions - longest)} at most."
            )
        device = self.vocabulary.weight.device
        rows = [[self.config.end] * (longest - len(p)) + [*p] for p in prompts]
        mask = torch.tensor([[i >= longest - len(p) for i in range(longest)] for p in prompts], device=device)
        token, past = torch.tensor(rows, device=device), None
        said = torch.empty(len(rows), 0, dtype=torch.long, device=device)
        places = (mask.cumsum(1) - 1).clamp_min(0)
        for _ in range(most):
            states, past = self.read(token, mask, places, past)
            token = self.logits(states[:, -1]).argmax(-1, keepdim=True)
            said = torch.cat([said, token], 1)
            if bool((said == self.config.end).any(1).all()):
                break
            mask = F.pad(mask, (0, 1), value=True)
            places = places[:, -1:] + 1
        answers = said.tolist()
        return [row[: row.index(self.config.end)] if self.config.end in row else row for row in answers]
