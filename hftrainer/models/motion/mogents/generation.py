"""MoGenTS' generation: a text and a length to codes of poses and of joints, and codes to normalised features.

Legend: ``B`` batch, ``L`` token frames, ``J`` columns of joints, ``Q`` layers, ``W`` text width, ``D`` features.

Four networks run one after the other: masks and residuals of whole poses, then of joints. The two streams know nothing
of each other until the motion tokenizer joins them; with ``Settings.renew`` joints begin as what the poses say.

Source: Yuan et al. 2024 (MoGenTS), section 3.4; ``renew`` is ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hftrainer.models.motion.mogents.decoding import Start, Watch, add_residuals, fill_masks
from hftrainer.models.motion.mogents.masked import MaskedTransformer
from hftrainer.models.motion.mogents.residual import ResidualTransformer
from hftrainer.models.motion.mogents.sampling import Chance, OfficialChance, OwnChance, Settings
from hftrainer.models.motion.mogents.tokenizer import MoGenTSTokenizer

#: ``"official"``, one generator for a draw in the authors' order, one generator per sample, or any other chance.
Source = str | torch.Generator | list[torch.Generator] | tuple[torch.Generator, ...] | Chance


def chance_of(rng: Source) -> Chance:
    """Where chance comes from.

    Args:
        rng: ``"official"`` draws as the authors do from torch's global generator, a single generator does so from that
            one; one generator per sample makes each sample what it would be alone; a ``Chance`` is itself.

    Raises:
        ValueError: another word.
    """
    if isinstance(rng, str) and rng != "official":
        raise ValueError(f'rng must be "official", a generator, or one generator per sample; got {rng!r}.')
    if isinstance(rng, str | torch.Generator):
        return OfficialChance(None if isinstance(rng, str) else rng)
    return OwnChance(rng) if isinstance(rng, list | tuple) else rng


@dataclass(frozen=True)
class Networks:
    """The four transformers, in evaluation mode.

    Attributes:
        mask_aux, res_aux: masks and residuals of whole poses.
        mask_grid, res_grid: the same of joints (the authors' ``_ts``).
    """

    mask_aux: MaskedTransformer
    mask_grid: MaskedTransformer
    res_aux: ResidualTransformer
    res_grid: ResidualTransformer


@dataclass(frozen=True)
class Starts:
    """Motion that is there already, of both streams; see ``Start``."""

    aux: Start
    grid: Start


@torch.no_grad()
def generate_codes(
    networks: Networks,
    text: Tensor,
    lengths: Tensor,
    settings: Settings | None = None,
    *,
    rng: Source = "official",
    start: Starts | None = None,
    tokenizer: MoGenTSTokenizer | None = None,
    watch: Callable[[str], Watch] | None = None,
) -> tuple[Tensor, Tensor]:
    """Codes of both streams.

    In the authors' order of draws a temperature has no effect unless noise is Gumbel's, as theirs has none.

    Args:
        networks: the transformers.
        text: ``(B, W)`` of the text tower.
        lengths: ``(B,)`` int64 token frames, at least 1 each.
        settings: how codes are made.
        rng: see ``chance_of``.
        start: what is there already: cells that are not editable keep their codes of the first layer.
        tokenizer: turns poses into joints where the settings say ``renew``.
        watch: gives the watcher of ``mask_aux``, ``mask_grid``, ``res_aux`` and ``res_grid``.

    Returns:
        ``(B, L, Q)`` and ``(B, L, J, Q)`` int64, -1 at padding.

    Raises:
        ValueError: a length below 1, another ``rng``, or ``renew`` in the authors' order or without a tokenizer.
    """
    settings, chance = settings or Settings(), chance_of(rng)
    check_lengths(lengths)
    masks = settings
    if not isinstance(chance, OwnChance) and not settings.gumbel:
        masks = replace(settings, temperature=1.0)

    def seen(name: str) -> Watch | None:
        return None if watch is None else watch(name)

    first, second = (None, None) if start is None else (start.aux, start.grid)
    aux = fill_masks(networks.mask_aux, text, lengths, masks, chance, start=first, watch=seen("mask_aux"))
    if settings.renew:
        if tokenizer is None or not isinstance(chance, OwnChance):
            raise ValueError("renew must be 0 in the authors' order of draws and where no motion tokenizer is given.")
        second = _as_poses_say(tokenizer, aux, lengths, settings.renew, second)
        masks = replace(masks, steps=_RENEWALS)
    grid = fill_masks(networks.mask_grid, text, lengths, masks, chance, start=second, watch=seen("mask_grid"))
    poses = add_residuals(networks.res_aux, aux, text, lengths, settings, chance, watch=seen("res_aux"))
    joints = add_residuals(networks.res_grid, grid, text, lengths, settings, chance, watch=seen("res_grid"))
    return poses, joints.unflatten(1, (-1, networks.mask_grid.config.columns))


#: Iterations that make joints anew after they began as what the poses say.
_RENEWALS = 4


def _as_poses_say(
    tokenizer: MoGenTSTokenizer, aux: Tensor, lengths: Tensor, renew: float, start: Start | None
) -> Start:
    """Joints to begin with: those of the motion that the poses alone are, read as tokens of joints.

    Each sample goes alone, so that its codes are the same in any company.

    Args:
        tokenizer: in evaluation mode.
        aux: ``(B, L)`` codes of poses, first layer.
        lengths: ``(B,)`` token frames.
        renew: share of cells that each iteration makes anew.
        start: joints that are there already; of these only the editable ones begin as poses say.
    """
    columns = tokenizer.config.columns
    tokens = aux.new_zeros(*aux.shape, columns)
    for row, codes, count in zip(tokens, aux, lengths.tolist(), strict=True):
        row[:count] = tokenizer.joints_of_poses(codes[None, :count, None])[0]
    tokens = tokens.flatten(1)
    if start is None:
        return Start(tokens, torch.ones_like(tokens, dtype=torch.bool), renew)
    if start.refresh is not None:
        return start
    return Start(torch.where(start.editable, tokens, start.tokens), start.editable, renew)


def check_lengths(lengths: Tensor) -> None:
    """Refuse lengths below one token frame."""
    if not len(lengths) or int(lengths.min()) < 1:
        raise ValueError(f"lengths must be at least 1 token frame each; got {lengths.tolist()}.")


@torch.no_grad()
def decode_codes(
    tokenizer: MoGenTSTokenizer, aux: Tensor, grid: Tensor, lengths: Tensor | None = None
) -> list[Tensor]:
    """Codes to normalised features, one array per sample.

    Args:
        tokenizer: in evaluation mode.
        aux: ``(B, L, q)``.
        grid: ``(B, L, J, q)``.
        lengths: ``(B,)`` token frames: each sample is decoded as if it were alone, those of one length together. None:
            all at once, as the authors do, where padding shows in the last frames of shorter samples.

    Returns:
        ``B`` arrays ``(frames, D)``.
    """
    return decode_each(lambda index, count: tokenizer.decode(aux[index, :count], grid[index, :count]), lengths, aux)


def decode_each(decode: Callable[[Tensor, int], Tensor], lengths: Tensor | None, codes: Tensor) -> list[Tensor]:
    """Samples of one length together: ``decode(index, token frames)`` gives ``(n, frames, D)``."""
    batch, most = codes.shape[:2]
    counts = torch.full((batch,), most) if lengths is None else lengths.cpu()
    found: dict[int, Tensor] = {}
    for count in counts.unique().tolist():
        index = (counts == count).nonzero()[:, 0]
        found |= dict(zip(index.tolist(), decode(index.to(codes.device), count), strict=True))
    return [found[sample] for sample in range(batch)]
