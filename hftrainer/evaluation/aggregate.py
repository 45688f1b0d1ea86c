"""Scores of paired embeddings over repeats: the same draws as published tables were made with.

Embeddings are ``(N, D)``, row ``i`` of texts, real and predicted motions belonging together. A repeat draws an order of
all rows; groups are cut from it, and the last, incomplete one is dropped. FID does not depend on the order and is
computed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hftrainer.evaluation.metrics import (
    GROUP,
    TooFewSamples,
    diversity,
    diversity_pairs,
    frechet_of,
    moments,
    retrieval,
)
from hftrainer.evaluation.replications import Tally

#: Draws of a repeat.
Rng = np.random.Generator | np.random.RandomState
#: Names of the measures, in the order of published tables.
RANKS = ("R@1", "R@2", "R@3")
MEASURES = (*RANKS, "FID", "matching", "diversity")


@dataclass(frozen=True, eq=False)
class Pairs:
    """Embeddings of sentences and of the motions that belong to them, row for row."""

    texts: np.ndarray
    motions: np.ndarray


@dataclass(frozen=True, eq=False)
class Draw:
    """What one repeat draws.

    Attributes:
        order: permutation of the rows, from which groups are cut.
        rng: the draws' source, for the pairs of the diversity.
    """

    order: np.ndarray
    rng: Rng


def permutations(samples: int, repeats: int, seed: int) -> list[Draw]:
    """Orders of one generator, ``default_rng(seed)``, one after the other; diversity has another of the same seed.

    >>> [draw.order.tolist() for draw in permutations(3, 2, 0)]
    [[2, 0, 1], [2, 1, 0]]
    """
    rng, pairs = np.random.default_rng(seed), np.random.default_rng([seed, 1])
    return [Draw(rng.permutation(samples), pairs) for _ in range(repeats)]


def row(
    pairs: Sequence[Pairs],
    draws: Sequence[Draw],
    reference: np.ndarray | None = None,
    group: int = GROUP,
    most_pairs: int = 300,
) -> dict[str, Any]:
    """One row of a table: a set of motions with their sentences, over repeats.

    Args:
        pairs: one for all repeats, or one for each.
        draws: one for each repeat.
        reference: ``(M, D)`` real motions that FID compares with; ``None`` for the real motions themselves, whose FID
            is 0.
        group: samples told apart at once.
        most_pairs: pairs of the diversity; of fewer samples all but one.

    Returns:
        ``metrics`` (name -> mean, std, interval95, values), ``undefined`` (name -> reason), ``samples`` and ``used``,
        those in whole groups.

    Raises:
        ValueError: as many pairs as repeats are needed, or one.
    """
    if len(pairs) not in (1, len(draws)):
        raise ValueError(f"there must be embeddings for all repeats or for each of {len(draws)}; got {len(pairs)}.")
    tally, used = Tally(), 0
    known = None if reference is None or len(reference) < 2 else moments(reference)
    distance: float | None = None
    for i, draw in enumerate(draws):
        one = pairs[i % len(pairs)]
        try:
            found = retrieval(one.texts, one.motions, draw.order, group)
            used = found.used
            tally.add(dict(zip((*RANKS, "matching"), (*found.precision, found.matching), strict=True)))
        except TooFewSamples as error:
            tally.add({}, dict.fromkeys((*RANKS, "matching"), str(error)))
        if reference is None:
            tally.add({"FID": 0.0})
        elif known is None or len(one.motions) < 2:
            few = min(len(reference), len(one.motions))
            tally.add({}, {"FID": f"FID needs at least 2 samples in each set; got {few} in one."})
        else:
            if distance is None or len(pairs) > 1:
                distance = frechet_of(*known, *moments(one.motions))
            tally.add({"FID": distance})
        try:
            tally.add({"diversity": _spread(one.motions, draw.rng, most_pairs)})
        except TooFewSamples as error:
            tally.add({}, {"diversity": str(error)})
    report = tally.report()
    report["metrics"] = {name: report["metrics"][name] for name in MEASURES if name in report["metrics"]}
    return {**report, "samples": len(pairs[0].motions), "used": used}


def _spread(points: np.ndarray, rng: Rng, most_pairs: int) -> float:
    samples = len(points)
    if samples < 2:
        raise TooFewSamples(f"diversity needs at least 2 samples; got {samples}.")
    return diversity(points, *diversity_pairs(samples, rng, min(most_pairs, samples - 1)))
