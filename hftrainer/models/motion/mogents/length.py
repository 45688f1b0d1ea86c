"""How long a motion of a sentence should be: a guess of the number of tokens from the sentence's vector.

MoMask and MoGenTS share this network. It says how likely 0, 1, 2, … tokens are; a length is drawn from that.

Legend: ``B`` batch, ``E`` width of the sentence's vector, ``K`` lengths told apart.

Source: Guo et al., "Generating Diverse and Natural 3D Human Motions from Text", CVPR 2022, section 4.1 (text2length);
Guo et al., "MoMask", CVPR 2024, for this form of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class LengthConfig:
    """Sizes of the length estimator; 435,122 numbers with the defaults.

    Attributes:
        text_width: ``E`` of the sentence's vector.
        lengths: ``K``: 0 to ``K - 1`` tokens.
        dropout: after the first two layers.

    Raises:
        ValueError: fields that no network can have.
    """

    text_width: int = 512
    lengths: int = 50
    dropout: float = 0.2

    def __post_init__(self) -> None:
        if self.text_width < 1 or self.lengths < 2:
            raise ValueError(
                f"text_width must be at least 1 and lengths at least 2; got {self.text_width} and {self.lengths}."
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be from 0 to below 1; got {self.dropout}.")


class LengthEstimator(nn.Module):
    """Sentence vectors to how likely each number of tokens is.

    Args:
        config: sizes.

    >>> estimator = LengthEstimator(LengthConfig(text_width=8, lengths=5)).eval()
    >>> estimator(torch.zeros(3, 8)).shape
    torch.Size([3, 5])
    """

    def __init__(self, config: LengthConfig) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.Sequential(
            *_block(config.text_width, 512),
            nn.Dropout(config.dropout),
            *_block(512, 256),
            nn.Dropout(config.dropout),
            *_block(256, 128),
            nn.Linear(128, config.lengths),
        )

    def forward(self, text: Tensor) -> Tensor:
        """``(B, E)`` sentence vectors -> ``(B, K)`` logits; entry ``k`` stands for ``k`` tokens."""
        return self.layers(text)

    @torch.no_grad()
    def draw(
        self,
        text: Tensor,
        rng: str | torch.Generator | Sequence[torch.Generator] = "official",
        *,
        fewest: int = 0,
        most: int | None = None,
    ) -> Tensor:
        """A number of tokens for each sentence.

        Args:
            text: ``(B, E)`` sentence vectors.
            rng: ``"official"`` draws all at once from torch's global generator, as the authors do, and a single
                generator does so from that one; one generator per sentence gives each its own draw, so that a sentence
                gets the same length alone and among others.
            fewest, most: lengths that may be drawn; the others count as impossible. The authors exclude none.

        Returns:
            ``(B,)`` int64.

        Raises:
            ValueError: limits that leave no length, or another number of generators than sentences.

        >>> estimator = LengthEstimator(LengthConfig(text_width=8)).eval()
        >>> own = [torch.Generator().manual_seed(i) for i in range(3)]
        >>> tokens = estimator.draw(torch.zeros(3, 8), own, fewest=10)
        >>> bool((tokens >= 10).all())
        True
        """
        most = self.config.lengths - 1 if most is None else most
        if not 0 <= fewest <= most < self.config.lengths:
            raise ValueError(
                f"fewest and most tokens must lie within 0 to {self.config.lengths - 1}; got {fewest} and {most}."
            )
        chances = self(text).softmax(-1)
        if (fewest, most) != (0, self.config.lengths - 1):
            chances = chances[:, fewest : most + 1].clamp_min(torch.finfo(chances.dtype).tiny)
        if isinstance(rng, str):
            if rng != "official":
                raise ValueError(f'rng must be "official", a generator or one per sentence; got {rng!r}.')
            return torch.multinomial(chances, 1)[:, 0] + fewest
        if isinstance(rng, torch.Generator):
            return (torch.multinomial(chances.to(rng.device), 1, generator=rng)[:, 0] + fewest).to(text.device)
        if len(rng) != len(text):
            raise ValueError(f"rng must be one generator per sentence, {len(text)}; got {len(rng)}.")
        drawn = [
            torch.multinomial(row.to(own.device), 1, generator=own) for row, own in zip(chances, rng, strict=True)
        ]
        return (torch.cat(drawn) + fewest).to(text.device) if drawn else torch.zeros(0, dtype=torch.long)


def _block(width: int, out: int) -> tuple[nn.Module, ...]:
    return nn.Linear(width, out), nn.LayerNorm(out), nn.LeakyReLU(0.2)
