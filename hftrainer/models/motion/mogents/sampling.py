"""Choosing codes from logits: guidance, the likeliest few, chance of each sample's own or drawn as the authors do.

Legend: ``B`` batch, ``N`` cells, ``K`` classes, ``n`` chosen cells of the whole batch, sample by sample.

Source: Guo et al. 2024 (MoMask), section 3.4; Ho and Salimans 2022 (guidance).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from hftrainer.models.motion.mdm.packing import is_packed
from hftrainer.models.motion.mogents.transformer import Context, Transformer
from hftrainer.models.side_by_side import groups, side_by_side

#: Numbers whose logarithm is taken are at least this.
TINY = 1e-20
#: In which order the authors' draws fill ``(B, N, K)``: a categorical draw, a Gumbel draw while masks are filled, and
#: one while residuals are made.
ORDERS = ("rows", "cells", "classes")


class Chance(Protocol):
    """Where chance comes from."""

    def draw(self, chosen: Tensor, classes: int, order: str) -> Tensor:
        """Exponential numbers of mean 1.

        Args:
            chosen: ``(B, N)`` bool, cells that are drawn for.
            classes: ``K``.
            order: one of ``ORDERS``.

        Returns:
            ``(n, K)``.
        """


@dataclass(frozen=True)
class OfficialChance:
    """Chance as the authors draw it on a processor: one generator, all cells of the batch at once.

    Attributes:
        generator: torch's global one by default.
    """

    generator: torch.Generator | None = None

    def draw(self, chosen: Tensor, classes: int, order: str) -> Tensor:
        """As of ``Chance``."""
        batch, cells = chosen.shape
        if order == "rows":
            drawn = torch.empty(batch * cells, classes).exponential_(1, generator=self.generator)
            drawn = drawn.view(batch, cells, classes)
        elif order == "cells":
            drawn = exponential(torch.rand(cells, batch, classes, generator=self.generator)).transpose(0, 1)
        else:
            drawn = exponential(torch.rand(batch, classes, cells, generator=self.generator)).transpose(1, 2)
        return drawn.to(chosen.device)[chosen]


@dataclass(frozen=True)
class OwnChance:
    """Each sample's chance from its own generator, so that company changes nothing.

    Attributes:
        generators: one per sample, on the processor, whatever the device of the motion.
    """

    generators: Sequence[torch.Generator]

    def draw(self, chosen: Tensor, classes: int, order: str) -> Tensor:
        """As of ``Chance``; the order does not matter.

        Raises:
            ValueError: another number of samples than of generators.
        """
        if len(self.generators) != len(chosen):
            raise ValueError(f"generators must be {len(chosen)}, one per sample; got {len(self.generators)}.")
        counts = chosen.sum(1).tolist()
        parts = [
            torch.empty(count, classes).exponential_(1, generator=generator)
            for count, generator in zip(counts, self.generators, strict=True)
        ]
        return torch.cat(parts).to(chosen.device)


@dataclass
class StoredChance:
    """Chance that was written down: one ``(B, N, K)`` array for each draw, in their order.

    For comparing with a reference on a machine whose generators differ from those of the reference's.

    Attributes:
        draws: exponential numbers; see ``exponential`` for uniform ones.
    """

    draws: Sequence[Tensor]
    _next: int = field(default=0, init=False)

    def draw(self, chosen: Tensor, classes: int, order: str) -> Tensor:
        """As of ``Chance``.

        Raises:
            ValueError: more draws than were written down, or one of another shape.
        """
        if self._next == len(self.draws):
            raise ValueError(f"draws must be as many as are asked for; got {len(self.draws)}.")
        found = self.draws[self._next]
        self._next += 1
        if found.shape != (*chosen.shape, classes):
            raise ValueError(f"a draw must be {(*chosen.shape, classes)}; got {tuple(found.shape)}.")
        return found.to(chosen.device)[chosen]


def exponential(uniform: Tensor) -> Tensor:
    """Uniform numbers of [0, 1) -> exponential ones of mean 1; their negative logarithms are Gumbel's.

    >>> exponential(torch.tensor([0.0])).item() < 46.06
    True
    """
    return (-torch.log(uniform.clamp_min(TINY))).clamp_min(TINY)


def likeliest(logits: Tensor, drop: float) -> Tensor:
    """``(..., K)`` logits with all but the likeliest ``(1 - drop) * K`` classes at minus infinity.

    >>> likeliest(torch.tensor([1.0, 3.0, 2.0]), 0.9).tolist()
    [-inf, 3.0, -inf]
    """
    kept = max(1, math.ceil((1 - drop) * logits.shape[-1]))
    values, places = logits.topk(kept, dim=-1)
    return torch.full_like(logits, float("-inf")).scatter(-1, places, values)


def pick(logits: Tensor, drawn: Tensor, *, temperature: float, gumbel: bool) -> Tensor:
    """One class for each row.

    Both ways follow the same odds; they differ in rounding, and in what the authors draw for them.

    Args:
        logits: ``(n, K)``, minus infinity where a class is out of the question.
        drawn: ``(n, K)`` exponential numbers.
        temperature: below 1 the likeliest classes become likelier yet, at 0 the likeliest is taken.
        gumbel: add noise to logits; otherwise divide shares by noise.
    """
    if temperature == 0:
        return logits.argmax(-1)
    if gumbel:
        return (logits / max(temperature, 1e-10) - drawn.log()).argmax(-1)
    return ((logits / temperature).softmax(-1) / drawn).argmax(-1)


@dataclass(frozen=True)
class Settings:
    """How codes are made.

    Attributes:
        steps: iterations of filling masks.
        guidance: how far from what the network makes of nothing, through what it makes of the text, and beyond; 1 is
            the text alone at half the cost.
        residual_guidance: the same while residuals are made.
        drop: share of the vocabulary, its unlikeliest part, that is never drawn (the authors' ``topkr``).
        residual_drop: the same while residuals are made.
        temperature: see ``pick``; residuals are made at 1.
        gumbel: see ``pick``; residuals are always made so.
        unconditional: make motion of nothing: the text is not read.
        residual_layers: how many layers of residuals are made; none: all.
        renew: MoGenTS: 0, as the authors have it, fills cells of joints from the text alone, and the two streams know
            nothing of each other. Above 0 these cells begin as what the whole poses say, and a few iterations make
            this share of them anew: the first iteration those that come first, the next ones the least likely.

    Raises:
        ValueError: numbers out of range.

    >>> Settings(steps=18).guidance
    4.0
    """

    steps: int = 10
    guidance: float = 4.0
    residual_guidance: float = 5.0
    drop: float = 0.9
    residual_drop: float = 0.9
    temperature: float = 1.0
    gumbel: bool = False
    unconditional: bool = False
    residual_layers: int | None = None
    renew: float = 0.0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1; got {self.steps}.")
        for name in ("drop", "residual_drop", "renew"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be 0 or more and below 1; got {getattr(self, name)}.")
        if self.temperature < 0:
            raise ValueError(f"temperature must be at least 0; got {self.temperature}.")
        if self.residual_layers is not None and self.residual_layers < 0:
            raise ValueError(f"residual_layers must be at least 0; got {self.residual_layers}.")


class Guided:
    """A network with guidance: what it makes of nothing, and ``guidance`` times the way from there to the text.

    What does not change from one iteration to the next is computed here, once.

    Args:
        network: in evaluation mode.
        text: ``(B, W)``.
        real: ``(B, T)`` bool.
        guidance: 1 is the text alone.
        unconditional: the text is not read at all.
        merged: both halves as one batch, which a packed network takes in groups, each on threads of its own; otherwise
            two passes, the text's first, as the authors have it.
        mixing: see ``Transformer.context``.

    Raises:
        ValueError: the network cannot be guided.
    """

    def __init__(
        self,
        network: Transformer,
        text: Tensor,
        real: Tensor,
        guidance: float,
        *,
        unconditional: bool = False,
        merged: bool = True,
        mixing: str | None = None,
    ) -> None:
        self.guidance, self._packed = guidance, merged and is_packed(network)
        self.halves = 1 if unconditional or guidance == 1 else 2
        if self.halves == 2 and not network.config.guidable:
            raise ValueError("guidance must be 1: this network was never trained without its text. Take 1.")
        nothing = torch.zeros_like(text)
        texts = [text, nothing] if self.halves == 2 else [nothing if unconditional else text]
        batch, places = len(text), (network.prefix + real.shape[1]) * network.config.columns

        def passes(halves: list[Tensor]) -> list[_Pass]:
            """Rows of the batch and contexts: a packed network's in groups, another's all in one."""
            told, rows = torch.cat(halves), torch.arange(batch, device=text.device).repeat(len(halves))
            parts = groups(len(rows), places) if self._packed else [slice(0, len(rows))]
            return [(rows[part], network.context(told[part], real[rows[part]], mixing)) for part in parts]

        self._shown = lambda: passes(texts[:1])
        self._passes = passes(texts) if merged else [one for half in texts for one in passes([half])]

    def __call__(
        self, inputs: Tensor, chosen: Tensor, hidden: Callable[[Tensor, Context, Tensor], Tensor],
        logits: Callable[[Tensor], Tensor], apart: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """``(n, K)`` guided logits of the chosen cells.

        Args:
            inputs: ``(B, N, ...)`` what the network reads.
            chosen: ``(B, N)`` bool.
            hidden: inputs, a context and chosen cells of some samples -> ``(B, N, D)``.
            logits: ``(n, D)`` -> ``(n, K)``.
            apart: ``(n, K)`` logits without the text, where they are known already.
        """

        def one(part: _Pass) -> Tensor:
            rows, context = part
            return logits(hidden(inputs[rows], context, chosen[rows])[chosen[rows]]).float()

        def all_of(passes: list[_Pass]) -> Tensor:
            return torch.cat(side_by_side(one, passes) if self._packed else [one(part) for part in passes])

        if apart is not None:
            shown = all_of(self._shown())
        elif self.halves == 2:
            shown, apart = all_of(self._passes).chunk(2)
        else:
            return all_of(self._passes)
        return apart + self.guidance * (shown - apart)


#: Samples that go together, and their context.
_Pass = tuple[Tensor, Context]
