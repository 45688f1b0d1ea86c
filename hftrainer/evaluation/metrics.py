"""Measures of embeddings: how well sentences and motions find one another, and how alike two sets of motions are.

The measures of Guo et al., CVPR 2022, in float64. Embeddings are ``(N, D)`` arrays, row ``i`` of sentences and motions
belonging together. What cannot be said of too few samples raises ``TooFewSamples`` with the number that is needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist


class TooFewSamples(ValueError):
    """A measure that cannot be said of so few samples; the message says how many it needs."""


#: Sentences and motions that are told apart at once.
GROUP = 32
#: Pairs whose distances are averaged for the diversity; more samples than this are needed.
DIVERSITY_PAIRS = 300
#: Pairs of motions of one sentence whose distances are averaged; more motions than this are needed.
MULTIMODALITY_PAIRS = 10


def distances(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Euclidean distance of every row to every column, ``(N, D)``, ``(M, D)`` -> ``(N, M)``.

    >>> distances(np.array([[0.0, 0.0]]), np.array([[3.0, 4.0]])).tolist()
    [[5.0]]
    """
    apart: np.ndarray = cdist(_points(rows), _points(columns))
    return apart


@dataclass(frozen=True)
class Retrieval:
    """How sentences find their motions.

    Attributes:
        precision: share of sentences whose own motion is among the nearest 1, 2, … of its group.
        matching: mean distance of a sentence to its own motion.
        used: samples in whole groups; the rest were left out.
    """

    precision: tuple[float, ...]
    matching: float
    used: int


def retrieval(
    texts: np.ndarray,
    motions: np.ndarray,
    order: np.ndarray | None = None,
    group: int = GROUP,
    top: int = 3,
) -> Retrieval:
    """R-precision and matching score within groups.

    Args:
        texts, motions: ``(N, D)`` embeddings, row for row.
        order: permutation of the ``N`` rows that the groups are cut from; ``None`` keeps theirs.
        group: samples told apart at once; the last, incomplete group is left out.
        top: ranks that count as found, 1 to ``top``.

    Raises:
        TooFewSamples: fewer samples than a group.
        ValueError: arrays that do not belong together.

    >>> points = np.random.default_rng(0).normal(size=(64, 8))
    >>> retrieval(points, points)
    Retrieval(precision=(1.0, 1.0, 1.0), matching=0.0, used=64)
    """
    texts, motions = _points(texts), _points(motions)
    if texts.shape != motions.shape:
        raise ValueError(f"texts and motions must be row for row; got {texts.shape} and {motions.shape}.")
    if not 1 <= top <= group:
        raise ValueError(f"top must be 1 to the group's {group}; got {top}.")
    used = len(texts) // group * group
    if not used:
        raise TooFewSamples(f"R-precision needs at least {group} samples; got {len(texts)}.")
    rows = np.arange(len(texts)) if order is None else np.asarray(order)
    if sorted(rows.tolist()) != list(range(len(texts))):
        raise ValueError(f"order must hold each of 0 to {len(texts) - 1} once; it does not.")
    hits, matching = np.zeros(top), 0.0
    for start in range(0, used, group):
        part = rows[start : start + group]
        apart = distances(texts[part], motions[part])
        ranks = apart.argsort(axis=1, kind="stable")
        place = (ranks == np.arange(group)[:, None]).argmax(axis=1)
        hits += [(place < k).sum() for k in range(1, top + 1)]
        matching += float(np.trace(apart))
    return Retrieval(tuple(float(h) / used for h in hits), matching / used, used)


def frechet(first: np.ndarray, second: np.ndarray) -> float:
    """Frechet distance of two sets of embeddings taken as normal distributions (FID; Heusel et al., NeurIPS 2017).

    Means over rows and covariances with ``N - 1`` below, as ``np.cov`` has them; see ``frechet_of``.

    Args:
        first, second: ``(N, D)`` and ``(M, D)``.

    Raises:
        TooFewSamples: a set has fewer than two.
        ValueError: widths differ.

    >>> points = np.random.default_rng(0).normal(size=(50, 4))
    >>> abs(frechet(points, points)) < 1e-9, round(frechet(points, points + 1), 6)
    (True, 4.0)
    """
    first, second = _points(first), _points(second)
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"both sets must have one width; got {first.shape[1]} and {second.shape[1]}.")
    if min(len(first), len(second)) < 2:
        raise TooFewSamples(f"FID needs at least 2 samples in each set; got {len(first)} and {len(second)}.")
    return frechet_of(*moments(first), *moments(second))


def moments(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean ``(D,)`` and covariance ``(D, D)`` of ``(N, D)`` embeddings, divided by ``N - 1``.

    >>> mean, covariance = moments(np.array([[0.0, 0.0], [2.0, 4.0]]))
    >>> mean.tolist(), covariance.tolist()
    ([1.0, 2.0], [[2.0, 4.0], [4.0, 8.0]])
    """
    points = _points(points)
    mean = points.mean(0)
    apart = points - mean
    covariance: np.ndarray = apart.T @ apart / (len(points) - 1)
    return mean, covariance


def frechet_of(mean: np.ndarray, covariance: np.ndarray, mean2: np.ndarray, covariance2: np.ndarray) -> float:
    """``|m1 - m2|^2 + tr C1 + tr C2 - 2 tr sqrt(C1 C2)`` of two normal distributions, in float64.

    The last trace is the sum of the square roots of the eigenvalues of ``R' C2 R``, where ``R R' = C1``: a symmetric
    matrix with the eigenvalues of ``C1 C2``. No complex numbers, and nothing to be mended where a covariance is
    singular. ``R`` is Cholesky's, or, where there is none, made of eigenvectors.

    Args:
        mean, mean2: ``(D,)``.
        covariance, covariance2: ``(D, D)``, symmetric and without negative eigenvalues.

    >>> one = np.eye(3)
    >>> frechet_of(np.zeros(3), one, np.ones(3), 4 * one)
    6.0
    """
    try:
        root = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(covariance)
        root = vectors * np.sqrt(np.maximum(values, 0))
    product = root.T @ covariance2 @ root
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh((product + product.T) / 2), 0)).sum()
    apart = mean - mean2
    return float(apart @ apart + np.trace(covariance) + np.trace(covariance2) - 2 * shared)


def normalized(points: np.ndarray) -> np.ndarray:
    """Embeddings of unit length, ``(N, D)``. FID of these is another measure, some 0.01 to 0.7, not to be compared.

    Raises:
        ValueError: an embedding is zero.

    >>> normalized(np.array([[3.0, 4.0]])).tolist()
    [[0.6, 0.8]]
    """
    points = _points(points)
    lengths = np.linalg.norm(points, axis=1, keepdims=True)
    if not lengths.all():
        raise ValueError(f"embeddings must be longer than 0; {int((lengths == 0).sum())} are zero.")
    unit: np.ndarray = points / lengths
    return unit


def diversity(points: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """Mean distance of pairs, ``points[first[i]]`` to ``points[second[i]]``.

    >>> diversity(np.array([[0.0], [3.0], [5.0]]), np.array([0, 1]), np.array([1, 2]))
    2.5
    """
    points = _points(points)
    return float(np.linalg.norm(points[first] - points[second], axis=1).mean())


def diversity_pairs(
    samples: int, rng: np.random.Generator | np.random.RandomState, pairs: int = DIVERSITY_PAIRS
) -> tuple[np.ndarray, np.ndarray]:
    """Two draws of ``pairs`` rows without replacement, one after the other.

    Args:
        samples: how many rows there are.
        rng: the draws' source; ``np.random.RandomState(seed)`` draws what the reference does after seeding NumPy.
        pairs: how many.

    Raises:
        TooFewSamples: there are not more samples than pairs.
    """
    if samples <= pairs:
        raise TooFewSamples(f"diversity needs more than {pairs} samples; got {samples}.")
    return rng.choice(samples, pairs, replace=False), rng.choice(samples, pairs, replace=False)


def multimodality(points: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """Mean distance of pairs of motions of the same sentence.

    Args:
        points: ``(M, R, D)``: ``R`` motions of each of ``M`` sentences.
        first, second: which of the ``R`` make pairs, the same for every sentence; of ``multimodality_pairs``.

    >>> multimodality(np.array([[[0.0], [2.0]], [[0.0], [4.0]]]), np.array([0]), np.array([1]))
    3.0
    """
    points = np.asarray(points, np.float64)
    if points.ndim != 3:
        raise ValueError(f"embeddings must have shape (sentences, motions, D); got {points.shape}.")
    return float(np.linalg.norm(points[:, first] - points[:, second], axis=2).mean())


def multimodality_pairs(
    repeats: int, rng: np.random.Generator | np.random.RandomState, pairs: int = MULTIMODALITY_PAIRS
) -> tuple[np.ndarray, np.ndarray]:
    """Two draws of ``pairs`` of a sentence's motions without replacement, one after the other.

    Raises:
        TooFewSamples: a sentence has not more motions than ``pairs``.
    """
    if repeats <= pairs:
        raise TooFewSamples(f"multimodality needs more than {pairs} motions of a sentence; got {repeats}.")
    return rng.choice(repeats, pairs, replace=False), rng.choice(repeats, pairs, replace=False)


def _points(points: np.ndarray) -> np.ndarray:
    points = np.asarray(points, np.float64)
    if points.ndim != 2 or not np.isfinite(points).all():
        raise ValueError(f"embeddings must be finite and have shape (N, D); got shape {points.shape}.")
    return points
