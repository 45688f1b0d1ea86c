"""What every pipeline asks of a request, and refuses in the same words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from hftrainer.models.text import foreign_letters
from hftrainer.motion.clip import Motion
from hftrainer.motion.edit import resample
from hftrainer.motion.representation.convert import convert
from hftrainer.motion.representation.specs import Representation


def find_device(device: str) -> torch.device:
    """A device that this machine has.

    Raises:
        ValueError: it has none of that name.

    >>> find_device("cpu")
    device(type='cpu')
    """
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device must be cpu, cuda or mps; got {device!r}.") from error
    if place.type == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda must have a CUDA GPU; this machine shows none. Use --device cpu.")
    return place


def features(motion: Motion | np.ndarray, spec: Representation) -> Motion:
    """A motion in a representation and at its frame rate.

    Args:
        motion: in any representation with a road to ``spec``; an array is taken to be in ``spec``.

    Raises:
        NoRouteError: there is no such road.
        ValueError: an array of another shape, or a clip that cannot be encoded.
    """
    if not isinstance(motion, Motion):
        return Motion(motion, spec, spec.fps)
    if motion.representation.name == spec.name:
        return motion
    return convert(resample(motion, spec.fps), spec)


def wrong_sentences(prompts: Sequence[str | None]) -> dict[int, str]:
    """What is wrong with which sentences; nothing is wrong with ``None`` in the place of one.

    Raises:
        TypeError: one string instead of a list.
        ValueError: no sentence at all.

    >>> wrong_sentences(["a person walks", ""])
    {1: 'prompt 1 must be a sentence; got an empty one.'}
    """
    if isinstance(prompts, str):
        raise TypeError(f"prompts must be a list of sentences; got one string. Use [{prompts!r}].")
    if not prompts:
        raise ValueError("prompts must hold at least one sentence; got none.")
    problems: dict[int, str] = {}
    for i, prompt in enumerate(prompts):
        if prompt is None:
            continue
        if not prompt.strip():
            problems[i] = f"prompt {i} must be a sentence; got an empty one."
        elif letters := foreign_letters(prompt):
            problems[i] = f"prompt {i} must be English; got {prompt!r}, whose letters {letters!r} it cannot read."
    return problems


def check_lengths(count: int, frames: Sequence[int], within: tuple[int, int], fps: float) -> list[int]:
    """Frames of each prompt.

    Args:
        count: of prompts.
        frames: what is asked for.
        within: fewest and most that the model makes.
        fps: frames per second.

    Raises:
        ValueError: not one a prompt, or out of range; each prompt is named with the nearest length.

    >>> check_lengths(1, [500], (40, 196), 20.0)
    Traceback (most recent call last):
        ...
    ValueError: prompt 0: the model makes 40 to 196 frames (2 to 9.8 s); got 500. Nearest: 196.
    """
    if len(frames) != count:
        raise ValueError(f"lengths must be one a prompt, {count}; got {len(frames)}.")
    (low, high), problems = within, []
    for i, n in enumerate(frames):
        if not low <= n <= high:
            problems.append(
                f"prompt {i}: the model makes {low} to {high} frames ({low / fps:g} to {high / fps:g} s); got {n}. "
                f"Nearest: {low if n < low else high}."
            )
    if problems:
        raise ValueError(" ".join(problems))
    return [int(n) for n in frames]


def each(values: Sequence[Any] | None, count: int, name: str) -> Sequence[Any]:
    """One value a motion; ``None`` for each where none are given.

    Raises:
        ValueError: more or fewer.
    """
    if values is None:
        return [None] * count
    if len(values) != count:
        raise ValueError(f"{name} must be one a motion, {count}; got {len(values)}.")
    return values
