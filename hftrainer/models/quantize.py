"""Vector quantisers that the motion tokenizers share."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def tile(rows: Tensor, count: int, generator: torch.Generator | None = None) -> Tensor:
    """At least ``count`` rows to fill a codebook from: ``rows`` itself, or noisy repetitions when there are too few.

    Args:
        rows: ``(N, C)`` encoder outputs.
        count: rows wanted.
        generator: source of the noise, standard deviation ``0.01 / sqrt(C)``.

    Returns:
        ``(M, C)``, ``M >= count``; the very same tensor when it already has enough rows.
    """
    if len(rows) >= count:
        return rows
    repeats = -(-count // len(rows))
    tiled = rows.repeat(repeats, 1)
    noise = torch.randn(tiled.shape, generator=generator, dtype=rows.dtype)
    return tiled + noise.to(rows.device) * 0.01 / rows.shape[1] ** 0.5


class EMAQuantizer(nn.Module):
    """Nearest-code quantiser whose codes follow the data by moving averages; unused codes are reset.

    Shapes: ``N`` rows, ``K`` codes, ``C`` channels.

    Unlike the original, the moving averages are part of the state, so that training resumes where it stopped.

    Args:
        codes: ``K``.
        width: ``C``.
        decay: weight of the past in the moving averages.

    Source:
        MotionGPT ``quantize_cnn.QuantizeEMAReset``; van den Oord et al. 2017, appendix A.1.

    >>> quantizer = EMAQuantizer(8, 4).eval()
    >>> quantizer.assign(torch.zeros(3, 4)).shape
    torch.Size([3])
    """

    codebook: Tensor
    code_sum: Tensor
    code_count: Tensor
    started: Tensor

    def __init__(self, codes: int, width: int, decay: float = 0.99) -> None:
        super().__init__()
        self.codes, self.decay = codes, decay
        self.register_buffer("codebook", torch.zeros(codes, width))
        self.register_buffer("code_sum", torch.zeros(codes, width))
        self.register_buffer("code_count", torch.zeros(codes))
        self.register_buffer("started", torch.tensor(False))

    def assign(self, rows: Tensor) -> Tensor:
        """``(N, C)`` -> ``(N,)`` index of the nearest code; the lowest index wins a tie."""
        distance = rows.pow(2).sum(1, keepdim=True) - 2 * rows @ self.codebook.T + self.codebook.pow(2).sum(1)
        return distance.argmin(1)

    def lookup(self, tokens: Tensor) -> Tensor:
        """``(...)`` token indices -> ``(..., C)`` codes."""
        return nn.functional.embedding(tokens, self.codebook)

    def forward(self, rows: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Quantise, and in training mode move the codes.

        Args:
            rows: ``(N, C)`` encoder outputs.
            generator: noise source of resets that need more rows than the batch has.

        Returns:
            ``(N, C)`` quantised rows with straight-through gradient, the commitment loss, and the perplexity
            of the batch (how many codes are in effective use).
        """
        if self.training and not bool(self.started):
            self.codebook.copy_(tile(rows.detach(), self.codes, generator)[: self.codes])
            self.code_sum.copy_(self.codebook)
            self.code_count.fill_(1.0)
            self.started.fill_(True)
        tokens = self.assign(rows.detach())
        quantized = self.lookup(tokens)
        hits = torch.bincount(tokens, minlength=self.codes).to(rows.dtype)
        if self.training:
            self._follow(rows.detach(), tokens, hits, generator)
        commitment = (rows - quantized.detach()).pow(2).mean()
        share = hits / hits.sum()
        perplexity = torch.exp(-(share * torch.log(share + 1e-7)).sum())
        return rows + (quantized - rows).detach(), commitment, perplexity

    @torch.no_grad()
    def _follow(self, rows: Tensor, tokens: Tensor, hits: Tensor, generator: torch.Generator | None) -> None:
        total = torch.zeros_like(self.code_sum).index_add_(0, tokens, rows)
        self.code_sum.mul_(self.decay).add_(total, alpha=1 - self.decay)
        self.code_count.mul_(self.decay).add_(hits, alpha=1 - self.decay)
        alive = (self.code_count >= 1.0)[:, None]
        fresh = tile(rows, self.codes, generator)[: self.codes]
        self.codebook.copy_(torch.where(alive, self.code_sum / self.code_count[:, None].clamp_min(1e-12), fresh))
