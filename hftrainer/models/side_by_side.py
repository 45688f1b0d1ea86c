"""Pieces of work on a processor side by side: each on threads of its own, instead of every product on all of them.

Threads that share one product wait for each other at its end, hundreds of times a step; and a product that is split
rounds otherwise than a whole one. Pieces that have their threads to themselves meet once, and say the same on one
thread as on many, as long as there are as many pieces as threads.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from threading import Barrier, Lock, local
from typing import TypeVar

import torch
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

Part = TypeVar("Part")
Result = TypeVar("Result")

#: Rows that a piece has at most where it has several sequences: what lies between products then fits a core's cache.
ROWS = 512

_here = local()
_pools: dict[tuple[int, int, int], ThreadPoolExecutor] = {}
_making = Lock()


def side_by_side(work: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
    """``work`` of each part, in their order; gradients are not kept.

    Args:
        work: neither it nor what it calls may rely on what torch keeps for each thread (autocast, inference mode).
        parts: as many at a time as torch has threads, which are shared out among them.

    >>> side_by_side(lambda x: int((x @ x).sum()), [torch.ones(2, 2), torch.ones(3, 3)])
    [8, 27]
    """

    def one(part: Part) -> Result:
        with torch.no_grad():
            return work(part)

    threads = _threads()
    workers = min(len(parts), threads)
    if workers == torch.get_num_threads() == 1 or not parts or getattr(_here, "works", False):
        return [one(part) for part in parts]
    return list(_pool(workers, threads).map(one, parts))


@contextmanager
def shared_out() -> Iterator[None]:
    """Inside, this thread's share of torch's threads is for pieces of work, and what is between them takes one.

    Threads of a product go on waiting for the next one for milliseconds, at full speed, on the cores that pieces need.

    >>> with shared_out():
    ...     found = torch.get_num_threads(), side_by_side(lambda part: 2 * part, [1, 2, 3])
    >>> found
    (1, [2, 4, 6])
    """
    if hasattr(_here, "threads"):
        yield
        return
    _here.threads = torch.get_num_threads()
    try:
        with _controller().limit(limits=1, user_api="openmp"):
            yield
    finally:
        del _here.threads


def _threads() -> int:
    found: int = getattr(_here, "threads", 0) or torch.get_num_threads()
    return found


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


def groups(sequences: int, rows: int) -> list[slice]:
    """Sequences taken together: few enough for the cache, and as many groups as torch has threads, if that can be.

    Args:
        sequences: how many there are.
        rows: of each.

    >>> len(groups(3, 2 * ROWS))
    3
    """
    each = max(1, min(ROWS // rows, -(-sequences // _threads())))
    return [slice(first, min(first + each, sequences)) for first in range(0, sequences, each)]


def _pool(workers: int, threads: int) -> ThreadPoolExecutor:
    """Threads that stay; each has its share of torch's, which torch remembers by thread."""
    key = os.getpid(), workers, threads  # a forked process has none of its parent's threads
    with _making:
        if key not in _pools:
            pool, met = ThreadPoolExecutor(workers, thread_name_prefix="hftrainer"), Barrier(workers)

            def begin(_: int) -> None:
                _here.works = True
                torch.get_num_threads()  # the first question in a thread sets what is common to all
                torch.set_num_threads(threads // workers)
                met.wait()

            list(pool.map(begin, range(workers)))
            torch.set_num_threads(threads)  # threads that others begin after this get what they would have got
            _pools[key] = pool
        return _pools[key]
