"""From a text to codes: masks filled in a few iterations, then residuals layer by layer.

Legend as in ``transformer.py``; ``K`` codes, ``Q`` layers. Everywhere outside, -1 stands for no code.

Source: Guo et al. 2024 (MoMask), section 3.4, after Chang et al. 2022 (MaskGIT).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hftrainer.models.motion.mogents.masked import MaskedTransformer
from hftrainer.models.motion.mogents.residual import ResidualTransformer
from hftrainer.models.motion.mogents.sampling import Chance, Guided, OwnChance, Settings, likeliest, pick
from hftrainer.models.motion.mogents.transformer import real_frames
from hftrainer.models.residual_quantize import NOTHING

#: Score of a cell that is settled: it is never hidden again.
SETTLED = 1e5


@dataclass(frozen=True)
class Step:
    """What one iteration saw and chose, for who watches.

    Attributes:
        read: ``(B, N)`` tokens that the network read; none while residuals are made.
        logits: ``(B, N, K)`` after guidance, before anything else.
        chosen: ``(B, N)`` what was drawn, kept or not.
    """

    read: Tensor | None
    logits: Tensor
    chosen: Tensor


Watch = Callable[[Step], None]


@dataclass(frozen=True)
class Start:
    """Motion that is there already.

    Attributes:
        tokens: ``(B, N)`` codes.
        editable: ``(B, N)`` bool, cells that are made anew.
        refresh: the share of the editable cells that each iteration makes anew, all of them staying candidates; by
            default the editable cells are hidden at first, and fewer and fewer are hidden again.
    """

    tokens: Tensor
    editable: Tensor
    refresh: float | None = None


@torch.no_grad()
def fill_masks(
    network: MaskedTransformer,
    text: Tensor,
    lengths: Tensor,
    settings: Settings,
    chance: Chance,
    *,
    start: Start | None = None,
    watch: Watch | None = None,
) -> Tensor:
    """Codes of the first layer.

    With each sample's own chance, guidance is one pass, and logits are made of hidden cells alone.

    Args:
        network: in evaluation mode.
        text: ``(B, W)``.
        lengths: ``(B,)`` token frames, at least 1 each.
        settings: steps, guidance, and how cells are drawn.
        chance: where chance comes from.
        start: what is there already.
        watch: called after each iteration; all logits are then made.

    Returns:
        ``(B, N)`` int64, -1 at padding.
    """
    columns = network.config.columns
    frames = start.tokens.shape[1] // columns if start is not None else None
    real = real_frames(lengths, frames).to(text.device)
    cells = real.repeat_interleave(columns, 1)
    own = isinstance(chance, OwnChance)
    model = Guided(
        network, text, real, settings.guidance, unconditional=settings.unconditional, merged=own
    )  # fmt: skip
    if start is None:
        editable, tokens = cells, torch.where(cells, network.mask, network.pad)
    else:
        editable = start.editable & cells
        tokens = start.tokens.clamp_min(0)
        tokens = torch.where(cells, tokens, network.pad) if start.refresh else tokens
        tokens = tokens if start.refresh else torch.where(editable, network.mask, tokens)
    refresh = None if start is None else start.refresh
    scores = torch.where(editable, 0.0, SETTLED)
    many = editable.sum(1)
    everything = not own or watch is not None or refresh is not None
    apart = None
    if own and start is None and watch is None and model.halves == 2:  # all is hidden: without the text alike for all
        of_nothing = {count: network.without_text(count) for count in lengths.unique().tolist()}
        apart = torch.cat([of_nothing[count] for count in lengths.tolist()])
    for time in torch.linspace(0, 1, settings.steps, device=text.device):
        share = torch.cos(time * math.pi * 0.5) if refresh is None else torch.full_like(time, refresh)
        count = torch.round(share * many).clamp(min=1)
        places = scores.argsort(dim=1, stable=own).argsort(dim=1, stable=own)
        hidden = (places < count[:, None]) & (editable if own else torch.ones_like(editable))
        tokens = torch.where(hidden, network.mask, tokens)
        asked = torch.ones_like(hidden) if everything else hidden
        drawn_for = (cells if refresh is not None else hidden) if own else asked

        logits = of_cells(network, model, tokens, asked, apart)
        apart = None
        drawn = _draw(chance, drawn_for, asked, logits, "cells" if settings.gumbel else "rows")
        kept = likeliest(logits, settings.drop)
        chosen = pick(kept, drawn, temperature=settings.temperature, gumbel=settings.gumbel)
        sure = logits.softmax(-1).gather(1, chosen[:, None])[:, 0]
        if watch is not None:
            whole = logits.view(*cells.shape, -1)
            watch(Step(tokens, whole, chosen.view(cells.shape)))
        guess = torch.zeros_like(tokens).masked_scatter(asked, chosen)
        tokens = torch.where(hidden, guess, tokens)
        found = torch.zeros_like(scores).masked_scatter(asked, sure)
        scores = found.masked_fill(~(editable if refresh is not None else hidden), SETTLED)
    return torch.where(cells, tokens, NOTHING)


def of_cells(
    network: MaskedTransformer, model: Guided, tokens: Tensor, asked: Tensor, apart: Tensor | None = None
) -> Tensor:
    """``(n, K)`` guided logits of the cells that are asked about.

    Args:
        network: in evaluation mode.
        model: the same with guidance.
        tokens: ``(B, N)`` what is there.
        asked: ``(B, N)`` bool.
        apart: ``(n, K)`` logits without the text, where they are known already.
    """
    return model(tokens, asked, network.hidden, network.logits, apart=apart)


def of_residuals(
    network: ResidualTransformer, model: Guided, total: Tensor, asked: Tensor, number: int
) -> Tensor:
    """``(n, classes)`` guided logits of the codes of a layer.

    Args:
        network: in evaluation mode.
        model: the same with guidance.
        total: ``(B, N, C)`` sums of the codes of the layers before.
        asked: ``(B, N)`` bool.
        number: of the layer, 1 to ``Q - 1``.
    """
    layer = torch.tensor(number, device=total.device)
    return model(
        total, asked, lambda codes, context, _: network.hidden(codes, layer.expand(len(codes)), context),
        lambda rows: network.logits(network.finish(rows), layer),
    )  # fmt: skip


def _draw(chance: Chance, drawn_for: Tensor, asked: Tensor, logits: Tensor, order: str) -> Tensor:
    """``(n, K)`` for the cells that were asked about; those that nothing is drawn for get ones."""
    drawn = chance.draw(drawn_for, logits.shape[1], order)
    if drawn_for is asked:
        return drawn
    return torch.ones_like(logits).masked_scatter(drawn_for[asked][:, None], drawn)


@torch.no_grad()
def add_residuals(
    network: ResidualTransformer,
    tokens: Tensor,
    text: Tensor,
    lengths: Tensor,
    settings: Settings,
    chance: Chance,
    *,
    watch: Watch | None = None,
) -> Tensor:
    """Codes of all layers, from those of the first.

    With each sample's own chance, classes that stand for no code are never drawn, and cells are mixed as for a sample
    alone where the network was trained with mixing. Otherwise all is as the authors have it: mixing goes through the
    batch, and a class that stands for no code gives none.

    Args:
        network: in evaluation mode.
        tokens: ``(B, N)`` codes of the first layer; what stands at padding is not read.
        text: ``(B, W)``.
        lengths: ``(B,)`` token frames.
        settings: guidance, and how many layers.
        chance: where chance comes from.
        watch: called after each layer.

    Returns:
        ``(B, N, q)`` int64, -1 at padding; ``q`` is ``Q``, or less where the settings say so.
    """
    config = network.config
    columns, own = config.columns, isinstance(chance, OwnChance)
    real = real_frames(lengths, tokens.shape[1] // columns).to(text.device)
    cells = real.repeat_interleave(columns, 1)
    asked = cells if own and watch is None else torch.ones_like(cells)
    layers = config.quantizers - 1
    if settings.residual_layers is not None:
        layers = min(layers, settings.residual_layers)
    mixing = "none" if config.mixing == "none" else "sample" if own else "batch"
    blind = settings.unconditional and own  # the authors' residuals read the text even then
    model = Guided(network, text, real, settings.residual_guidance, unconditional=blind, merged=own, mixing=mixing)
    now = torch.where(cells, tokens, network.pad)
    found, total = [now], torch.zeros((), device=text.device)
    for number in range(1, layers + 1):
        total = total + network.embed(now, number - 1).float()
        logits = of_residuals(network, model, total, asked, number)
        possible = logits
        if own:
            possible = logits.clone()
            possible[:, config.codes :] = float("-inf")
        drawn = _draw(chance, cells if own else asked, asked, logits, "classes")
        chosen = pick(likeliest(possible, settings.residual_drop), drawn, temperature=1.0, gumbel=True)
        if watch is not None:
            watch(Step(None, logits.view(*cells.shape, -1), chosen.view(cells.shape)))
        now = torch.where(cells, torch.zeros_like(now).masked_scatter(asked, chosen), network.pad)
        found.append(now)
    codes = torch.stack(found, -1)
    codes = torch.where(codes == network.pad, NOTHING, codes)
    if not own and columns > 1 and int(codes.max()) == config.codes:
        codes = codes.clamp(0, config.codes - 1)  # theirs, where the unused mask was drawn: padding becomes code 0
    return codes
