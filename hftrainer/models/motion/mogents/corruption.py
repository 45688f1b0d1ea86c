"""What training hides: cells of a motion from a mask transformer, and layers of codes from a residual transformer.

All draws come from torch's global generator, as dropout does, in the order of the authors' code.

Source: MoMask, section 3.2 and 3.3; MoGenTS, section 3.3 (time and space are hidden one after the other).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: Of the hidden cells: the share that gets a random code, and the share of the rest that gets the mask.
RANDOM, MASKED = 0.1, 0.88


def hide_poses(tokens: Tensor, real: Tensor, mask: int) -> tuple[Tensor, Tensor]:
    """Hide token frames of networks with one column.

    How many depends on the padded length, so that a short sample loses fewer.

    Args:
        tokens: ``(B, T)`` tokens with padding in place.
        real: ``(B, T)`` bool.
        mask: the mask token; codes are those below it.

    Returns:
        ``(B, T)`` what the network reads, and ``(B, T)`` labels: the true token where one was hidden, ``mask``
        elsewhere.

    >>> real = torch.ones(1, 8, dtype=torch.bool)
    >>> shown, labels = hide_poses(torch.zeros(1, 8, dtype=torch.long), real, 5)
    >>> bool((shown[labels == 5] == 0).all())
    True
    """
    share = _share(len(tokens), tokens.device)
    chosen = _choose(share, tokens.shape[1], real)
    return _replace(tokens, chosen, mask), torch.where(chosen, tokens, mask)


def hide_cells(tokens: Tensor, real: Tensor, mask: int) -> tuple[Tensor, Tensor]:
    """Hide whole token frames, then single cells of the others, with the same share of both.

    Args:
        tokens: ``(B, T, J)`` tokens with padding in place.
        real: ``(B, T)`` bool.
        mask: the mask token.

    Returns:
        As ``hide_poses``, ``(B, T, J)`` both.
    """
    tokens = tokens.contiguous()  # draws fill memory in its order
    batch, frames, columns = tokens.shape
    share = _share(batch, tokens.device)
    whole = _choose(share, frames, real)
    random = torch.bernoulli(whole, p=RANDOM) & whole
    shown = torch.where(random[..., None], torch.randint_like(tokens, high=mask), tokens)
    masked = torch.bernoulli(whole & ~random, p=MASKED) & (whole & ~random)
    shown = torch.where(masked[..., None], mask, shown)
    free = (real & ~whole)[..., None].expand(-1, -1, columns).flatten(1)
    cells = _choose(share, frames * columns, free)
    shown = _replace(shown.flatten(1), cells, mask).view_as(tokens)
    hidden = cells.view_as(tokens) | whole[..., None]
    return shown, torch.where(hidden, tokens, mask)


def draw_layers(batch: int, quantizers: int, device: torch.device | str = "cpu") -> Tensor:
    """``(B,)`` layers of 1 to ``quantizers - 1``, the lower ones more often.

    >>> draw_layers(3, 2).tolist()
    [1, 1, 1]
    """
    draw = torch.rand(batch, device=device)
    return (torch.round((1 - torch.cos(draw * math.pi * 0.5)) * (quantizers - 2)) + 1).long()


def _share(batch: int, device: torch.device) -> Tensor:
    return torch.cos(torch.rand(batch, device=device) * math.pi * 0.5)


def _choose(share: Tensor, cells: int, free: Tensor) -> Tensor:
    """``(B, N)`` bool: as many cells as the share says, at least one, less those that are not free."""
    count = (cells * share).round().clamp(min=1)
    places = torch.rand(len(share), cells, device=share.device).argsort(dim=-1)
    return (places < count[:, None]) & free


def _replace(tokens: Tensor, chosen: Tensor, mask: int) -> Tensor:
    random = torch.bernoulli(chosen, p=RANDOM) & chosen
    tokens = torch.where(random, torch.randint_like(tokens, high=mask), tokens)
    masked = torch.bernoulli(chosen & ~random, p=MASKED) & (chosen & ~random)
    return torch.where(masked, mask, tokens)
