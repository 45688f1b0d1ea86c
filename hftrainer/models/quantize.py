"""Vector quantisers that the motion tokenizers share."""

from __future__ import annotations

from collections.abc import Callable

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


def from_all_processes(rows: Tensor) -> Tensor:
    """``(N, ...)`` of this process -> ``(sum of N, ...)`` of all that train together, first process first.

    The very same tensor when this process trains alone. Numbers of rows may differ.

    >>> rows = torch.zeros(3, 4)
    >>> from_all_processes(rows) is rows
    True
    """
    if not _together():
        return rows
    count = torch.tensor([len(rows)], device=rows.device)
    counts = [torch.zeros_like(count) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(counts, count)
    most = int(max(counts))
    padded = torch.cat([rows, rows.new_zeros(most - len(rows), *rows.shape[1:])])
    parts = [torch.empty_like(padded) for _ in counts]
    torch.distributed.all_gather(parts, padded)
    return torch.cat([part[: int(n)] for part, n in zip(parts, counts, strict=True)])


def as_first_process(values: Tensor) -> None:
    """Give a tensor the values that the first process has; nothing to do when this process trains alone."""
    if _together() and not values.requires_grad:
        torch.distributed.broadcast(values, 0)


def _together() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


class NearestCode(nn.Module):
    """What all quantisers share: the nearest code, the straight-through gradient, the perplexity of a batch.

    Where several processes train together, codes follow the rows of all of them, and are the same everywhere.

    Shapes: ``N`` rows, ``K`` codes, ``C`` channels. A kind says how its ``codebook`` ``(K, C)`` begins and moves.

    Args:
        codes: ``K``.
        width: ``C``.
    """

    codebook: Tensor
    #: Added to a share before its logarithm is taken.
    tiny = 1e-7

    def __init__(self, codes: int, width: int) -> None:
        super().__init__()
        self.codes, self.width = codes, width

    def assign(self, rows: Tensor) -> Tensor:
        """``(N, C)`` -> ``(N,)`` index of the nearest code; the lowest index wins a tie."""
        return self.distance(rows).argmin(1)

    def distance(self, rows: Tensor) -> Tensor:
        """``(N, C)`` -> ``(N, K)`` squared distance to each code."""
        return rows.pow(2).sum(1, keepdim=True) - 2 * rows @ self.codebook.T + self.codebook.pow(2).sum(1)

    def choose(self, rows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """``(N, C)`` -> ``(N,)`` index of the code that stands for a row in ``forward``: the nearest."""
        return self.assign(rows)

    def lookup(self, tokens: Tensor) -> Tensor:
        """``(...)`` token indices -> ``(..., C)`` codes."""
        return nn.functional.embedding(tokens, self.codebook)

    def forward(self, rows: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Quantise, and in training mode move the codes.

        Args:
            rows: ``(N, C)`` encoder outputs.
            generator: noise source of resets that need more rows than the batch has.

        Returns:
            ``(N, C)`` quantised rows with straight-through gradient, the loss that ties rows and codes, and the
            perplexity of the batch (how many codes are in effective use).
        """
        everyone = from_all_processes(rows.detach()) if self.training else rows.detach()
        if self.training:
            self._begin(everyone, generator)
            as_first_process(self.codebook)
        tokens = self.choose(rows.detach(), generator)
        quantized = self.lookup(tokens)
        chosen = from_all_processes(tokens) if self.training else tokens
        hits = torch.bincount(chosen, minlength=self.codes).to(rows.dtype)
        loss = self._loss(rows, quantized)
        if self.training:
            self._follow(everyone, chosen, hits, generator)
            as_first_process(self.codebook)
        share = hits / hits.sum()
        perplexity = torch.exp(-(share * torch.log(share + self.tiny)).sum())
        return rows + (quantized - rows).detach(), loss, perplexity

    def _loss(self, rows: Tensor, quantized: Tensor) -> Tensor:
        """Commitment: rows are drawn to their codes."""
        return (rows - quantized.detach()).pow(2).mean()

    def _begin(self, rows: Tensor, generator: torch.Generator | None) -> None:
        """Before a training step."""

    def _follow(self, rows: Tensor, tokens: Tensor, hits: Tensor, generator: torch.Generator | None) -> None:
        """After the codes of a training step were chosen."""


class EMAQuantizer(NearestCode):
    """Codes follow the data by moving averages; those that hardly anybody uses are reset to rows of the batch.

    Unlike the original, the moving averages are part of the state, so that training resumes where it stopped.

    Args:
        codes: ``K``.
        width: ``C``.
        decay: weight of the past in the moving averages.
        resets: ``False`` leaves unused codes where they are.

    Attributes:
        least: hits a batch, as a moving average, below which a code is reset. 1 is the reference's, which expects many
            more rows in a batch than there are codes: with as many rows as codes it resets half of them at every step.

    Source:
        MotionGPT ``quantize_cnn.QuantizeEMAReset`` and ``QuantizeEMA``; van den Oord et al. 2017, appendix A.1.

    >>> quantizer = EMAQuantizer(8, 4).eval()
    >>> quantizer.assign(torch.zeros(3, 4)).shape
    torch.Size([3])
    """

    code_sum: Tensor
    code_count: Tensor
    started: Tensor

    def __init__(self, codes: int, width: int, decay: float = 0.99, resets: bool = True) -> None:
        super().__init__(codes, width)
        self.decay, self.resets, self.least = decay, resets, 1.0
        self.register_buffer("codebook", torch.zeros(codes, width))
        self.register_buffer("code_sum", torch.zeros(codes, width))
        self.register_buffer("code_count", torch.zeros(codes))
        self.register_buffer("started", torch.tensor(False))

    @torch.no_grad()
    def _begin(self, rows: Tensor, generator: torch.Generator | None) -> None:
        if not bool(self.started):
            self.codebook.copy_(tile(rows, self.codes, generator)[: self.codes])
            self.code_sum.copy_(self.codebook)
            self.code_count.fill_(1.0)
            self.started.fill_(True)

    @torch.no_grad()
    def recluster(self, rows: Tensor, batch: int, generator: torch.Generator, rounds: int = 25) -> None:
        """Make the codes anew: k-means over rows, so that each code has its share of them.

        Args:
            rows: ``(N, C)`` encoder outputs of the training data, at least as many as there are codes.
            batch: rows of a training batch; the moving averages begin as if such batches had been seen.
            generator: which rows the centres begin at.
            rounds: of assigning and averaging.

        Raises:
            ValueError: fewer rows than codes.

        Source:
            Lloyd 1982; a centre without rows moves to a random row.
        """
        if len(rows) < self.codes:
            raise ValueError(f"rows must be at least as many as the codes, {self.codes}; got {len(rows)}.")
        self.codebook.copy_(rows[torch.randperm(len(rows), generator=generator)[: self.codes]])
        for _ in range(rounds):
            tokens = torch.cat([self.assign(part) for part in rows.split(8192)])
            hits = torch.bincount(tokens, minlength=self.codes).to(rows.dtype)
            total = torch.zeros_like(self.codebook).index_add_(0, tokens, rows)
            others = rows[torch.randint(len(rows), (self.codes,), generator=generator)]
            self.codebook.copy_(torch.where(hits[:, None] > 0, total / hits[:, None].clamp_min(1), others))
        self.code_count.copy_(hits * batch / len(rows))
        self.code_sum.copy_(self.codebook * self.code_count[:, None])
        self.started.fill_(True)

    @torch.no_grad()
    def _follow(self, rows: Tensor, tokens: Tensor, hits: Tensor, generator: torch.Generator | None) -> None:
        total = torch.zeros_like(self.code_sum).index_add_(0, tokens, rows)
        self.code_sum.mul_(self.decay).add_(total, alpha=1 - self.decay)
        self.code_count.mul_(self.decay).add_(hits, alpha=1 - self.decay)
        means = self.code_sum / self.code_count[:, None].clamp_min(1e-12)
        if self.resets:
            alive = (self.code_count >= self.least)[:, None]
            means = torch.where(alive, means, tile(rows, self.codes, generator)[: self.codes])
        self.codebook.copy_(means)


class ResetQuantizer(NearestCode):
    """Codes stay where they are; those that a training batch does not use are overwritten with rows of that batch.

    Args:
        codes: ``K``.
        width: ``C``.

    Source:
        MotionGPT ``quantize_cnn.QuantizeReset``. There the codebook is a parameter, but no loss reaches it.

    >>> quantizer = ResetQuantizer(4, 2).train()
    >>> rows = torch.arange(8.0).view(4, 2)
    >>> bool((quantizer(rows)[0] == rows).all())  # the first batch fills the codebook
    True
    """

    started: Tensor

    def __init__(self, codes: int, width: int) -> None:
        super().__init__(codes, width)
        self.register_buffer("codebook", torch.randn(codes, width))
        self.register_buffer("started", torch.tensor(False))

    @torch.no_grad()
    def _begin(self, rows: Tensor, generator: torch.Generator | None) -> None:
        if not bool(self.started):
            self.codebook.copy_(tile(rows, self.codes, generator)[: self.codes])
            self.started.fill_(True)

    @torch.no_grad()
    def _follow(self, rows: Tensor, tokens: Tensor, hits: Tensor, generator: torch.Generator | None) -> None:
        fresh = tile(rows, self.codes, generator)[: self.codes]
        self.codebook.copy_(torch.where((hits >= 1)[:, None], self.codebook, fresh))


class LearnedQuantizer(NearestCode):
    """Codes are parameters that their own loss draws to the rows.

    Args:
        codes: ``K``; the codes begin uniform within ``1 / K``.
        width: ``C``.

    Source:
        van den Oord et al. 2017, equation 3, both weights 1; MotionGPT's quantiser ``orig``.

    >>> quantizer = LearnedQuantizer(8, 4)
    >>> quantizer(torch.zeros(3, 4))[1].backward()
    >>> bool((quantizer.codebook.grad != 0).any())
    True
    """

    tiny = 1e-10

    def __init__(self, codes: int, width: int) -> None:
        super().__init__(codes, width)
        self.codebook = nn.Parameter(torch.empty(codes, width).uniform_(-1 / codes, 1 / codes))

    def _loss(self, rows: Tensor, quantized: Tensor) -> Tensor:
        return (quantized - rows.detach()).pow(2).mean() + super()._loss(rows, quantized)


#: Kinds by the names that recipes and artifacts use, which are the original's.
QUANTIZERS: dict[str, Callable[[int, int], NearestCode]] = {
    "ema_reset": EMAQuantizer,
    "ema": lambda codes, width: EMAQuantizer(codes, width, resets=False),
    "reset": ResetQuantizer,
    "orig": LearnedQuantizer,
}
