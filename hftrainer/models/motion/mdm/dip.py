"""DiP: motion of any length, window by window, each beginning where the one before ended.

Source: Tevet et al., "CLoSD: Closing the Loop between Simulation and Diffusion for multi-task character control",
ICLR 2025.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import repeat
from typing import Any

import torch
from torch import Tensor

from hftrainer.models.motion.mdm.network import MDM, Condition
from hftrainer.models.motion.mdm.sampling import sample
from hftrainer.models.motion.mdm.schedule import Schedule


def windows(
    network: MDM, schedule: Schedule, prefix: Tensor, conditions: Condition | Iterable[Condition], **settings: Any
) -> Iterator[Tensor]:
    """Windows that follow on ``prefix``, one after another as they are asked for.

    Args:
        network: one that continues.
        prefix: ``(B, J, F, C)`` normalised frames to begin with.
        conditions: one for all windows, which then never end, or one for each. Their own prefix is not used.
        settings: of ``sample``: guidance, rng and so on. Generators run on from window to window.

    Yields:
        ``(B, J, F, P)``.

    Raises:
        ValueError: a network that does not continue, or a prefix of another length.
    """
    config = network.config
    if not config.completes:
        raise ValueError("a network must continue a prefix to make windows; this one does not. Use sample.")
    if prefix.shape[-1] != config.context_frames:
        raise ValueError(f"a prefix must have {config.context_frames} frames; got {prefix.shape[-1]}.")
    shape = (*prefix.shape[:3], config.predicted_frames)
    for condition in repeat(conditions) if isinstance(conditions, Condition) else conditions:
        window = sample(network, schedule, shape, replace(condition, prefix=prefix), **settings)
        assert isinstance(window, Tensor)
        yield window
        prefix = torch.cat((prefix, window), dim=-1)[..., -config.context_frames :]


def continued(
    network: MDM,
    schedule: Schedule,
    prefix: Tensor,
    conditions: Condition | Iterable[Condition],
    frames: int,
    *,
    with_prefix: bool = False,
    **settings: Any,
) -> Tensor:
    """``frames`` frames that follow on ``prefix``.

    Args:
        frames: of the result, 1 or more.
        with_prefix: the result begins with the prefix; as many windows are made either way.
        settings: as of ``windows``.

    Returns:
        ``(B, J, F, frames)``.

    Raises:
        ValueError: as ``windows``; fewer conditions than windows are needed.
    """
    if frames < 1:
        raise ValueError(f"frames must be at least 1; got {frames}.")
    parts = [prefix] if with_prefix else []
    made = 0
    for window in windows(network, schedule, prefix, conditions, **settings):
        parts.append(window)
        made += window.shape[-1]
        if made >= frames:
            return torch.cat(parts, dim=-1)[..., :frames]
    raise ValueError(f"conditions must be enough for {frames} frames; got windows of {made}. Give one per window.")
