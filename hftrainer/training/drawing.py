"""How often each clip is drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np


def share_of(values: np.ndarray) -> np.ndarray:
    """Weights that add up to 1."""
    return values / values.sum()


def pick(rng: np.random.Generator, items: Sequence[Any]) -> Any:
    """One of some things, each equally often."""
    return items[int(rng.integers(len(items)))]


def draw_weights(
    actions: Sequence[str], composed: Sequence[bool], balance: float = 0.5, share: float = 0.0
) -> np.ndarray:
    """How often each clip is drawn, ``(N,)``, in all 1.

    Args:
        actions: of each clip what it shows; clips that show the same are one action.
        composed: of each clip whether it was composed of stretches of others.
        balance: 0 draws every clip equally often, 1 every action equally often, however many clips show it.
        share: of composed clips in what is drawn, where there are both kinds.

    >>> draw_weights(["walk", "walk", "jump"], [False, False, False], balance=1).tolist()
    [0.25, 0.25, 0.5]
    """
    count = Counter(actions)
    weights = share_of(np.array([count[action] ** -balance for action in actions]))
    made = np.array(composed, dtype=bool)
    if made.any() and not made.all():
        for part, wanted in ((made, share), (~made, 1 - share)):
            weights[part] *= wanted / weights[part].sum()
    return weights
