"""MoMask's generation: a text and a length to codes, codes to normalised features, and part of a motion made anew.

Legend: ``B`` batch, ``L`` token frames, ``Q`` layers, ``W`` text width, ``D`` features.

Source: Guo et al., "MoMask: Generative Masked Modeling of 3D Human Motions", CVPR 2024, sections 3.4 and 4.4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hftrainer.models.motion.mogents.decoding import Start, Watch, add_residuals, fill_masks
from hftrainer.models.motion.mogents.generation import Source, chance_of, check_lengths, decode_each
from hftrainer.models.motion.mogents.masked import MaskedTransformer
from hftrainer.models.motion.mogents.residual import ResidualTransformer
from hftrainer.models.motion.mogents.sampling import Settings
from hftrainer.models.motion.mogents.transformer import real_frames
from hftrainer.models.motion.momask.tokenizer import MoMaskTokenizer

#: What the authors' program for editing shows its networks: this many frames, whatever the motion's length.
EDIT_FRAMES = 196
#: Begin and end: shares where they are floats, frames where they are integers.
Span = tuple[int | float, int | float]
#: Share of the cells that each iteration makes anew where no section is named, and the guidance of residuals then.
REFRESH, RESIDUAL_GUIDANCE = 0.16, 2.0


@dataclass(frozen=True)
class Networks:
    """The two transformers, in evaluation mode."""

    mask: MaskedTransformer
    res: ResidualTransformer


@torch.no_grad()
def generate_codes(
    networks: Networks,
    text: Tensor,
    lengths: Tensor,
    settings: Settings | None = None,
    *,
    rng: Source = "official",
    start: Start | None = None,
    watch: Callable[[str], Watch] | None = None,
) -> Tensor:
    """Codes of all layers.

    Args:
        networks: the transformers.
        text: ``(B, W)`` of the text tower.
        lengths: ``(B,)`` int64 token frames, at least 1 each.
        settings: how codes are made.
        rng: see ``chance_of``.
        start: what is there already: cells that are not editable keep their codes of the first layer.
        watch: gives the watcher of ``mask`` and ``res``.

    Returns:
        ``(B, L, Q)`` int64, -1 at padding.

    Raises:
        ValueError: a length below 1, or another ``rng``.
    """
    settings, chance = settings or Settings(), chance_of(rng)
    check_lengths(lengths)

    def seen(name: str) -> Watch | None:
        return None if watch is None else watch(name)

    first = fill_masks(networks.mask, text, lengths, settings, chance, start=start, watch=seen("mask"))
    return add_residuals(networks.res, first, text, lengths, settings, chance, watch=seen("res"))


@torch.no_grad()
def decode_codes(tokenizer: MoMaskTokenizer, codes: Tensor, lengths: Tensor | None = None) -> list[Tensor]:
    """Codes to normalised features, one array ``(frames, D)`` per sample.

    Args:
        tokenizer: in evaluation mode.
        codes: ``(B, L, q)``.
        lengths: ``(B,)`` token frames: each sample as if it were alone. None: all at once, as the authors do.
    """
    return decode_each(lambda index, count: tokenizer.decode(codes[index, :count]), lengths, codes)


def sections(spans: Sequence[Span], tokens: int, per: int = 4) -> Tensor:
    """``(tokens,)`` bool, True in the spans.

    A span is a share of all tokens where its begin is a float, and frames where it is an integer, as the authors'
    program takes them.

    Args:
        spans: begin and end of each.
        tokens: token frames.
        per: frames of a token.

    Raises:
        ValueError: a span that holds no token.

    >>> sections([(0.5, 1.0), (0, 8)], 8).tolist()
    [True, True, False, False, True, True, True, True]
    """
    inside = torch.zeros(tokens, dtype=torch.bool)
    for begin, end in spans:
        if isinstance(begin, float):
            first, last = int(begin * tokens), int(end * tokens)
        else:
            first, last = begin // per, int(end) // per
        if not 0 <= first < min(last, tokens):
            raise ValueError(
                f"a span must hold at least one of {tokens} tokens ({tokens * per} frames); got {begin} to {end}."
            )
        inside[first:last] = True
    return inside


def start_of(tokens: Tensor, lengths: Tensor, spans: Sequence[Span] = ()) -> Start:
    """What editing begins from.

    Args:
        tokens: ``(B, L)`` codes of the first layer.
        lengths: ``(B,)`` token frames.
        spans: what is made anew, see ``sections``; none: little by little all of it, which keeps its manner.
    """
    real = real_frames(lengths, tokens.shape[1])
    if not spans:
        return Start(tokens, real, refresh=REFRESH)
    return Start(tokens, sections(spans, tokens.shape[1])[None].to(real.device) & real)
