"""The quickest of some runs: what a piece of work takes when nothing holds it up."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any


def quickest(work: Callable[[], Any], repeats: int, clock: Callable[[], float] = time.process_time) -> float:
    """Seconds of the quickest of some runs.

    Args:
        work: takes no argument; its result is dropped.
        repeats: how often.
        clock: by default the processor's time, which other programs on the machine do not count in.

    >>> quickest(lambda: sum(range(1000)), 2) >= 0
    True
    """
    best = math.inf
    for _ in range(repeats):
        begin = clock()
        work()
        best = min(best, clock() - begin)
    return best
