"""DistilBERT: a sentence to one vector per token, and which tokens are real.

Legend: ``B`` batch, ``L`` tokens, ``W`` width.

Source: Sanh et al., "DistilBERT, a distilled version of BERT", 2019; the layer is that of Devlin et al. 2019, which
normalises after each residual. The authors' names of weights stand in ``tower_files.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class DistilBertConfig:
    """Sizes; the defaults are those of ``distilbert-base-uncased``.

    Attributes:
        vocabulary: tokens.
        positions: most tokens of a sentence.
        width, layers, heads, feed_forward: of the transformer.
        padding: token that fills short sentences.
    """

    vocabulary: int = 30522
    positions: int = 512
    width: int = 768
    layers: int = 6
    heads: int = 12
    feed_forward: int = 3072
    padding: int = 0

    def __post_init__(self) -> None:
        if self.heads < 1 or self.width % self.heads:
            raise ValueError(f"width must be a multiple of {self.heads} heads; got {self.width}.")


class _Layer(nn.Module):
    def __init__(self, config: DistilBertConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.query, self.key, self.value, self.attention_out = (nn.Linear(width, width) for _ in range(4))
        self.widen, self.narrow = nn.Linear(width, config.feed_forward), nn.Linear(config.feed_forward, width)
        self.norm_attention, self.norm_feed_forward = (nn.LayerNorm(width, eps=1e-12) for _ in range(2))

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        query, key, value = (
            part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        found = functional.scaled_dot_product_attention(query, key, value, seen)  # (B, heads, L, W / heads)
        x = self.norm_attention(x + self.attention_out(found.transpose(1, 2).flatten(2)))
        return self.norm_feed_forward(x + self.narrow(functional.gelu(self.widen(x))))


class DistilBert(nn.Module):
    """Token ids to the last layer's vectors; frozen and without dropout."""

    def __init__(self, config: DistilBertConfig) -> None:
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(config.vocabulary, config.width)
        self.positions = nn.Embedding(config.positions, config.width)
        self.norm = nn.LayerNorm(config.width, eps=1e-12)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.layers))
        self.requires_grad_(False)
        self.eval()

    @torch.no_grad()
    def forward(self, ids: Tensor, real: Tensor) -> Tensor:
        """``(B, L)`` token ids and ``(B, L)`` bool, True where a token is real -> ``(B, L, W)``.

        Padded places hold numbers that mean nothing.
        """
        x = self.norm(self.tokens(ids) + self.positions.weight[: ids.shape[1]])
        seen = real[:, None, None].expand(-1, -1, ids.shape[1], -1)
        for layer in self.layers:
            x = layer(x, seen)
        return x


class DistilBertTower:
    """DistilBERT as one thing: sentences to vectors.

    Args:
        network: the transformer.
        tokenizer: word pieces; the marks that open and close a sentence are added by its post-processor.

    Attributes:
        name: ``distilbert``.
    """

    name = "distilbert"

    def __init__(self, network: DistilBert, tokenizer: Tokenizer) -> None:
        if tokenizer.get_vocab_size() > network.config.vocabulary:
            raise ValueError(
                f"the tower must have a row for each of {tokenizer.get_vocab_size()} tokens; "
                f"got {network.config.vocabulary}."
            )
        self.network, self.tokenizer = network, Tokenizer.from_str(tokenizer.to_str())
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()

    @property
    def width(self) -> int:
        """Width of a token's vector."""
        return self.network.config.width

    def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Sentences -> ``(B, L, W)`` float32 and ``(B, L)`` bool, True where a token is real.

        Raises:
            ValueError: a sentence is longer than the table of positions; nothing is cut.
        """
        rows = [found.ids for found in self.tokenizer.encode_batch(list(texts))]
        longest, most = max(map(len, rows)), self.network.config.positions
        if longest > most:
            raise ValueError(f"a text must have at most {most} tokens; got {longest}. Shorten it.")
        ids = torch.full((len(rows), longest), self.network.config.padding, dtype=torch.long)
        real = torch.zeros(len(rows), longest, dtype=torch.bool)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row)
            real[i, : len(row)] = True
        device = self.network.tokens.weight.device
        return self.network(ids.to(device), real.to(device)), real.to(device)

    def unread(self, text: str) -> str:
        """What of a sentence is not read: nothing."""
        return ""

    def to(self, device: str | torch.device) -> DistilBertTower:
        """Move the network."""
        self.network.to(device)
        return self
