"""The same measurement several times over: mean, spread and how sure the mean is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def summary(values: Sequence[float]) -> dict[str, Any]:
    """What several replications of one number say.

    Args:
        values: one for each replication, at least one.

    Returns:
        ``mean``, ``std`` (of these values, ddof 0), ``interval95``, the half width ``1.96 std / sqrt(n)``, and the
        ``values``.

    Raises:
        ValueError: there are none, or one is not finite.

    >>> summary([1.0, 2.0, 3.0, 2.0])["mean"]
    2.0
    """
    array = np.asarray(values, np.float64)
    if not array.size or not np.isfinite(array).all():
        raise ValueError(f"replications must be one or more finite numbers; got {list(values)}.")
    std = float(array.std())
    return {
        "mean": float(array.mean()),
        "std": std,
        "interval95": 1.96 * std / float(np.sqrt(array.size)),
        "values": array.tolist(),
    }


class Tally:
    """Metrics of replications as they come, and the reasons of those that cannot be said.

    A metric that was undefined in one replication is undefined in all: a mean over some of them would look like one
    over all.

    >>> tally = Tally()
    >>> tally.add({"FID": 1.0}, {"diversity": "diversity needs more than 300 samples; got 4."})
    >>> report = tally.report()
    >>> report["metrics"]["FID"]["mean"], report["undefined"]
    (1.0, {'diversity': 'diversity needs more than 300 samples; got 4.'})
    """

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = {}
        self._reasons: dict[str, str] = {}

    def add(self, values: Mapping[str, float], undefined: Mapping[str, str] | None = None) -> None:
        """The numbers of one replication, and why others are missing from it."""
        for name, value in values.items():
            self._values.setdefault(name, []).append(float(value))
        self._reasons.update(undefined or {})

    def report(self) -> dict[str, Any]:
        """``metrics`` (name -> ``summary``) and ``undefined`` (name -> reason)."""
        metrics = {name: summary(values) for name, values in self._values.items() if name not in self._reasons}
        return {"metrics": metrics, "undefined": dict(self._reasons)}
