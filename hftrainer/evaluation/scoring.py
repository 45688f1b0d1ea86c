"""A population scored by a protocol: a row for the real motions and one for the predictions, over repeats."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hftrainer.data.humanml3d import Caption
from hftrainer.evaluation.aggregate import Draw, Pairs, permutations, row
from hftrainer.evaluation.pairs import REPRESENTATION, Pair, Population
from hftrainer.evaluation.protocols import UNIT, Protocol
from hftrainer.models.evaluator import AnyEvaluator, Evaluator
from hftrainer.motion.clip import Motion


def _silent(line: str) -> None:
    """Nothing is said."""


@dataclass(frozen=True, eq=False)
class _Repeat:
    """What one repeat draws: an order, a caption of each sample, and a window of each real motion."""

    order: np.ndarray
    captions: list[int]
    windows: list[slice]
    numbers: np.random.RandomState


def score(
    evaluator: AnyEvaluator,
    protocol: Protocol,
    population: Population,
    say: Callable[[str], None] = _silent,
    seconds: dict[str, float] | None = None,
) -> dict[str, dict[str, Any]]:
    """The rows of a population.

    Args:
        evaluator: of the kind that the protocol names.
        protocol: how.
        population: of ``read_population`` with the same protocol.
        say: gets a line of progress.
        seconds: gets what ``encoding`` and ``repeats`` took.

    Returns:
        ``real``, and ``predicted`` where there are predictions; each as ``aggregate.row`` gives it.

    Raises:
        ValueError: an evaluator of another kind, or one that reads other motions.
    """
    if evaluator.kind != protocol.evaluator:
        raise ValueError(f"{protocol.name} must have an evaluator of {protocol.evaluator}; got {evaluator.kind}.")
    check_reads(evaluator, protocol)
    pairs, begin, took = population.pairs, time.perf_counter(), {} if seconds is None else seconds
    say(f"encoding the sentences of {len(pairs)} samples")
    texts = _Texts(evaluator, pairs)
    motions = _Encoder(evaluator, protocol)
    if protocol.lengths == "window":
        repeats = _shuffles(protocol, pairs)
        each = []
        for number, repeat in enumerate(repeats):
            say(f"encoding real motions, repeat {number + 1} of {len(repeats)}")
            cut = [pair.real[window] for pair, window in zip(pairs, repeat.windows, strict=True)]
            each.append(Pairs(texts.of(repeat.captions), motions(cut)))
        took["encoding"] = time.perf_counter() - begin
        draws = [Draw(r.order, r.numbers) for r in repeats]
        rows = {"real": row(each, draws, None, protocol.group, protocol.diversity_pairs)}
    else:
        real, made = _cut(protocol, pairs)
        say(f"encoding {len(real)} real motions")
        points = motions(real)
        if made:
            say(f"encoding {len(made)} predictions")
        predicted = motions(made) if made else None
        took["encoding"] = time.perf_counter() - begin
        say(f"scoring, {protocol.repeats} repeats")
        rows = {"real": _row(protocol, pairs, texts, points, None)}
        if predicted is not None:
            rows["predicted"] = _row(protocol, pairs, texts, predicted, points)
    took["repeats"] = time.perf_counter() - begin - took["encoding"]
    return rows


def check_reads(evaluator: AnyEvaluator, protocol: Protocol) -> None:
    """Refuse an evaluator of other motions than a protocol's.

    Raises:
        ValueError: it reads others.
    """
    wanted, got = REPRESENTATION[protocol.evaluator], evaluator.representation
    if got != wanted:
        raise ValueError(f"{protocol.name} must have an evaluator that reads {wanted}; it reads {got}.")


def chosen_captions(protocol: Protocol, pairs: Sequence[Pair]) -> list[list[int]]:
    """Which caption each sample has in each repeat: ``repeats`` lists of one number a sample."""
    if protocol.draws == "permutation":
        return [[0] * len(pairs)] * protocol.repeats
    return [repeat.captions for repeat in _shuffles(protocol, pairs)]


def _row(
    protocol: Protocol, pairs: Sequence[Pair], texts: _Texts, points: np.ndarray, reference: np.ndarray | None
) -> dict[str, Any]:
    """Real motions and predictions are drawn alike, so that a row does not depend on whether there is another."""
    if protocol.draws == "permutation":
        draws = permutations(len(pairs), protocol.repeats, protocol.seed)
        both = [Pairs(texts.of([0] * len(pairs)), points)]
    else:
        repeats = _shuffles(protocol, pairs)
        draws = [Draw(repeat.order, repeat.numbers) for repeat in repeats]
        both = [Pairs(texts.of(repeat.captions), points) for repeat in repeats]
        if all(repeat.captions == repeats[0].captions for repeat in repeats):
            both = both[:1]
    return row(both, draws, reference, protocol.group, protocol.diversity_pairs)


def _shuffles(protocol: Protocol, pairs: Sequence[Pair]) -> list[_Repeat]:
    """Draws of every repeat: Python's generator shuffles, and chooses captions and places; NumPy's the lengths."""
    repeats = []
    for number in range(protocol.repeats):
        words, numbers = random.Random(protocol.seed + number), np.random.RandomState(protocol.seed + number)
        order = list(range(len(pairs)))
        words.shuffle(order)
        captions, windows = [0] * len(pairs), [slice(0)] * len(pairs)
        for i in order:
            pair = pairs[i]
            if protocol.captions == "random":
                captions[i] = words.choice(range(len(pair.captions)))
            if protocol.lengths == "window":
                units = len(pair.real) // UNIT
                shorter = int(numbers.choice(3)) == 2 and (units - 1) * UNIT >= protocol.shortest
                frames = (units - shorter) * UNIT
                start = words.randint(0, len(pair.real) - frames)
                windows[i] = slice(start, start + frames)
        repeats.append(_Repeat(np.array(order), captions, windows, numbers))
    return repeats


def _cut(protocol: Protocol, pairs: Sequence[Pair]) -> tuple[list[Motion], list[Motion]]:
    """Real and predicted motions as they are compared."""
    real, made = [], []
    for pair in pairs:
        there = len(pair.real)
        if pair.predicted is None:
            real.append(pair.real[: there // UNIT * UNIT])
            continue
        here = len(pair.predicted)
        both = min(there, here)
        ends = {"common": (both, both), "own": (there, here), "reference": (there, both)}[protocol.lengths]
        real.append(pair.real[: ends[0] // UNIT * UNIT])
        made.append(pair.predicted[: ends[1] // UNIT * UNIT])
    return real, made


class _Texts:
    """Embeddings of all captions, each sentence once."""

    def __init__(self, evaluator: AnyEvaluator, pairs: Sequence[Pair]) -> None:
        told: dict[Any, int] = {}
        self._rows: list[list[int]] = []
        for pair in pairs:
            keys = [_reading(evaluator, caption) for caption in pair.captions]
            self._rows.append([told.setdefault(key, len(told)) for key in keys])
        self._points = evaluator.texts(list(told))

    def of(self, captions: Sequence[int]) -> np.ndarray:
        """``(N, width)``, the captions of one repeat."""
        rows = [row[number] for row, number in zip(self._rows, captions, strict=True)]
        points: np.ndarray = self._points[rows]
        return points


def _reading(evaluator: AnyEvaluator, caption: Caption) -> Any:
    return caption.words if evaluator.reads == "words" else caption.text


class _Encoder:
    """Motions to embeddings as a protocol fills them up."""

    def __init__(self, evaluator: AnyEvaluator, protocol: Protocol) -> None:
        self.evaluator, self.padded = evaluator, protocol.padded

    def __call__(self, motions: Sequence[Motion]) -> np.ndarray:
        if isinstance(self.evaluator, Evaluator):
            how = "packed" if self.padded else "alone"
            return self.evaluator.motions(motions, how, frames=max(self.padded, UNIT))
        return self.evaluator.motions(motions)
