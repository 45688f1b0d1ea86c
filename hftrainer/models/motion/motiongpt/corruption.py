"""T5's span corruption: a text with spans taken out, and the spans as the answer.

MotionGPT's paper trains its second stage with it; in the released code the parts are there but switched off, and they
treat the padding as text. ``corrupt`` is the sound form for one text; ``corrupt_padded`` is the released one.

Source: Raffel et al., "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer", JMLR 2020,
section 3.1.4: 15 % of the tokens, spans of three on average; Jiang et al. 2023, section 3.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

import numpy as np

#: What draws: a generator, or the legacy state whose stream reference numbers were made with.
Draws = np.random.Generator | np.random.RandomState


def noise_counts(length: int, density: float = 0.15, mean_span: float = 3.0) -> tuple[int, int]:
    """How many of ``length`` tokens are taken out, and in how many spans. Halves are rounded to the even number.

    Raises:
        ValueError: a length below 2, or a density outside (0, 1), or spans shorter than 1.

    >>> noise_counts(256), noise_counts(10), noise_counts(2)
    ((38, 13), (2, 1), (1, 1))
    """
    if length < 2:
        raise ValueError(f"a text must have at least 2 tokens to be corrupted; got {length}. Leave it out.")
    if not 0 < density < 1 or not mean_span >= 1:
        raise ValueError(f"density must lie in (0, 1) and mean_span be at least 1; got {density:g}, {mean_span:g}.")
    noise = int(np.clip(np.round(length * density), 1, length - 1))
    spans = max(int(np.round(noise / mean_span)), 1)
    return noise, min(spans, noise, length - noise)


def _cut(total: int, parts: int, rng: Draws) -> np.ndarray:
    """``total`` as a sum of ``parts`` numbers of at least 1, every such sum being equally likely."""
    ends = np.arange(total - 1) < parts - 1
    rng.shuffle(ends)
    part = np.cumsum(np.concatenate([[False], ends]))  # (total,) which part each unit belongs to
    return np.bincount(part, minlength=parts)


def span_mask(length: int, rng: Draws, *, density: float = 0.15, mean_span: float = 3.0) -> np.ndarray:
    """Which tokens are taken out.

    Args:
        length: tokens of the text.
        rng: where the draws come from: first the lengths of the spans, then those of what lies between them.
        density: share of the tokens that is taken out.
        mean_span: mean length of a span.

    Returns:
        ``(length,)`` bool, True where a token is taken out. The first is always kept and the last always taken.

    Raises:
        ValueError: as of ``noise_counts``.

    >>> span_mask(10, np.random.default_rng(0)).astype(int)
    array([0, 0, 0, 0, 0, 0, 0, 0, 1, 1])
    """
    noise, spans = noise_counts(length, density, mean_span)
    taken, kept = _cut(noise, spans, rng), _cut(length - noise, spans, rng)
    runs = np.stack([kept, taken], 1).reshape(-1)
    return np.repeat(np.arange(2 * spans) % 2 == 1, runs)


def sentinels(mask: np.ndarray, first: int) -> np.ndarray:
    """What stands in the place of masked tokens.

    Args:
        mask: ``(..., L)`` bool.
        first: id of the first sentinel, ``<extra_id_0>``; the ones after it count down.

    Returns:
        ``(..., L)`` int64: a sentinel where a span begins, -1 in the rest of it, 0 elsewhere.

    >>> sentinels(np.array([False, True, True, False, True]), 99)
    array([ 0, 99, -1,  0, 98])
    """
    mask = np.asarray(mask, dtype=bool)
    before = np.concatenate([np.zeros_like(mask[..., :1]), mask[..., :-1]], -1)
    begins = mask & ~before
    return np.where(begins, first + 1 - np.cumsum(begins, -1), np.where(mask, -1, 0))


def _spliced(ids: np.ndarray, mask: np.ndarray, first: int, end: int) -> np.ndarray:
    marks = sentinels(mask, first)
    return np.append(np.where(marks == 0, ids, marks)[marks >= 0], end)


def corrupt(
    ids: Sequence[int] | np.ndarray, mask: np.ndarray, first: int, end: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """A text with spans taken out, and what was taken.

    Args:
        ids: ``(L,)`` tokens of the text alone, without padding and without its end token.
        mask: ``(L,)`` bool from ``span_mask``.
        first: id of the first sentinel, ``<extra_id_0>``; the ones after it count down.
        end: id of the end token, put at the end of both.

    Returns:
        Two int64 arrays: the text with a sentinel for every span; and the spans with a sentinel for everything between.

    Raises:
        ValueError: the two lengths differ.

    >>> corrupt([5, 6, 7, 8, 9], np.array([False, True, True, False, True]), first=99)
    (array([ 5, 99,  8, 98,  1]), array([99,  6,  7, 98,  9,  1]))
    """
    ids, mask = np.asarray(ids, dtype=np.int64), np.asarray(mask, dtype=bool)
    if ids.ndim != 1 or ids.shape != mask.shape:
        raise ValueError(f"ids and mask must be rows of one length; got {ids.shape} and {mask.shape}.")
    return _spliced(ids, mask, first, end), _spliced(ids, ~mask, first, end)


def restore(corrupted: np.ndarray, answer: np.ndarray, first: int, end: int = 1) -> np.ndarray:
    """The text that ``corrupt`` took apart.

    Args:
        corrupted, answer: what ``corrupt`` gave, or a model's answer to it.
        first, end: as of ``corrupt``.

    Returns:
        ``(L,)`` int64.

    Raises:
        ValueError: the two do not fit: one lacks its end, or the spans of one are not asked for by the other.

    >>> text, spans = corrupt([5, 6, 7, 8], np.array([False, True, False, True]), first=99)
    >>> restore(text, spans, first=99)
    array([5, 6, 7, 8])
    """
    for name, row in (("text", corrupted), ("answer", answer)):
        if not len(row) or row[-1] != end:
            raise ValueError(f"the {name} must end with the end token {end}; got {np.asarray(row).tolist()}.")
    kept, taken = _runs(corrupted[:-1], first), _runs(answer[:-1], first)
    kept_first = not taken[0]
    leading, following = (kept, taken[1:]) if kept_first else (taken, kept[1:])
    spare = len(leading) - len(following)
    if (not kept_first and kept[0]) or spare not in (0, 1) or (leading if spare else following)[-1:] not in ([[]], []):
        raise ValueError(
            f"text and answer must have spans for each other; got {np.asarray(corrupted).tolist()} and "
            f"{np.asarray(answer).tolist()}."
        )
    whole = [token for pair in zip_longest(leading, following, fillvalue=()) for run in pair for token in run]
    return np.array(whole, dtype=np.int64)


def _runs(row: np.ndarray, first: int) -> list[list[int]]:
    """The tokens of a row between its sentinels."""
    runs: list[list[int]] = [[]]
    for token in row:
        if token == first + 1 - len(runs):
            runs.append([])
        else:
            runs[-1].append(int(token))
    return runs


def corrupt_padded(
    ids: np.ndarray, mask: np.ndarray, first: int, end: int = 1, pad: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """A padded batch with spans taken out, as the released code of MotionGPT does it: padding counts as text.

    Only for comparison with it: much of what it takes out is padding, and the end token of the text may be taken too.

    Args:
        ids: ``(B, L)`` padded rows with their end tokens.
        mask: ``(B, L)`` bool, as many True in as many spans in every row: ``span_mask(L, ...)`` for each.
        first, end: as of ``corrupt``.
        pad: id of the padding.

    Returns:
        ``(B, L')`` and ``(B, L")`` int64: prompts, and labels with -100 where the loss must not look.

    Raises:
        ValueError: the shapes differ, or rows that do not come out equally long.

    >>> corrupt_padded(np.array([[5, 6, 1, 0]]), np.array([[False, True, False, True]]), first=99)
    (array([[ 5, 99,  1, 98,  1]]), array([[  99,    6,   98, -100,    1]]))
    """
    ids, mask = np.asarray(ids, dtype=np.int64), np.asarray(mask, dtype=bool)
    if ids.ndim != 2 or ids.shape != mask.shape or not len(ids):
        raise ValueError(f"ids and mask must be one or more rows of one shape; got {ids.shape} and {mask.shape}.")
    sides = [[_spliced(row, hidden, first, end) for row, hidden in zip(ids, m, strict=True)] for m in (mask, ~mask)]
    uneven = [{len(row) for row in side} for side in sides]
    if any(len(lengths) > 1 for lengths in uneven):
        raise ValueError(f"every row must have as many spans and masked tokens; got rows of {uneven} tokens.")
    prompts, labels = (np.stack(side) for side in sides)
    return prompts, np.where(labels == pad, -100, labels)
