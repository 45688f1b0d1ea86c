"""How fast the measures of embeddings are, beside the plain way: ``hftrainer bench metrics``."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.linalg import sqrtm

from hftrainer.evaluation.metrics import frechet_of, moments
from hftrainer.evaluation.rehearsal import rehearse

#: How many times as fast FID is as by SciPy's matrix square root, at 512 numbers an embedding.
FRECHET_BAR = 5.0
#: Largest distance of the two, as a share.
AGREEMENT_BAR = 1e-6
#: Seconds for 20 repeats over 4,000 predictions, embeddings given.
REPEATS_BAR = 180.0


def plain_frechet_of(mean: np.ndarray, covariance: np.ndarray, mean2: np.ndarray, covariance2: np.ndarray) -> float:
    """The same as ``metrics.frechet_of``, as the published code has it: by the square root of a matrix.

    >>> round(plain_frechet_of(np.zeros(2), np.eye(2), np.ones(2), 4 * np.eye(2)), 6)
    4.0
    """
    root = sqrtm(covariance @ covariance2)
    if not np.isfinite(root).all():
        little = 1e-6 * np.eye(len(covariance))
        root = sqrtm((covariance + little) @ (covariance2 + little))
    apart = mean - mean2
    return float(apart @ apart + np.trace(covariance) + np.trace(covariance2) - 2 * np.trace(root).real)


def metrics_speed(
    width: int = 512, samples: int = 4000, repeats: int = 20, times: int = 5, data: str | None = None
) -> dict[str, Any]:
    """FID both ways in one run, and a report of predictions from their files, whose repeats have a bar.

    Args:
        width: numbers of an embedding.
        samples: how many.
        repeats: of the whole.
        times: how often each way of the FID is run; the median counts.
        data: dataset folder whose clips the report is of; made-up numbers without it.
    """
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(width, width)) / np.sqrt(width)
    real, made = (rng.normal(size=(samples, width)) @ mixing + 0.1 * i for i in range(2))
    one, other = moments(real), moments(made)
    ours, ours_s = _median(lambda: frechet_of(*one, *other), times)
    plain, plain_s = _median(lambda: plain_frechet_of(*one, *other), times)
    report = rehearse(samples, repeats, data)
    whole = report["seconds"]["repeats"]
    ratio, apart = plain_s / ours_s, abs(ours - plain) / abs(plain)
    return {
        "what": "metrics", "width": width, "samples": samples,
        "frechet_s": round(ours_s, 4), "frechet_by_sqrtm_s": round(plain_s, 4),
        "ratio": {"value": round(ratio, 1), "bar": FRECHET_BAR, "holds": ratio >= FRECHET_BAR},
        "difference": {"value": apart, "bar": AGREEMENT_BAR, "holds": apart <= AGREEMENT_BAR},
        "report": {**report, "data": "made-up motions" if data is None else "stretches of the test clips"},
        "repeats": repeats,
        "repeats_s": {"value": round(whole, 1), "bar": REPEATS_BAR, "holds": whole <= REPEATS_BAR},
    }  # fmt: skip


def _median(work: Callable[[], float], times: int) -> tuple[float, float]:
    """The result, and the median of the seconds it took."""
    took, value = [], work()  # the first run is a warm-up
    for _ in range(times):
        begin = time.perf_counter()
        value = work()
        took.append(time.perf_counter() - begin)
    return value, float(np.median(took))
