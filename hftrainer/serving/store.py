"""Motions that people made or sent, by ids that nobody guesses; the longest unused are forgotten."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from hftrainer.motion.clip import Motion
from hftrainer.serving.limits import Limits


def new_id() -> str:
    """An id of 128 random bits, 22 letters.

    >>> len(new_id()), new_id() == new_id()
    (22, False)
    """
    return secrets.token_urlsafe(16)


@dataclass
class Stored:
    """A motion that is kept.

    Attributes:
        id: under which it is found.
        motion: itself.
        used: when it was last asked for, seconds of the store's clock.
    """

    id: str
    motion: Motion
    used: float


class Store:
    """Motions by id, within limits of number, bytes and age. Threads may share it.

    Args:
        limits: how much is kept.
        clock: seconds that only grow.

    >>> store = Store(Limits(motions=1))
    >>> first, second = (store.add(Motion([[[0.0] * 3] * 22], "joints", 20)) for _ in range(2))
    >>> store.get(first.id) is None, store.get(second.id) is second
    (True, True)
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits, self.clock = limits, clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Stored] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, motion: Motion) -> Stored:
        """Keep a motion; the longest unused make room for it."""
        stored = Stored(new_id(), motion, self.clock())
        with self._lock:
            self._kept[stored.id] = stored
            self._bytes += motion.data.nbytes
            self._forget()
        return stored

    def get(self, name: str) -> Stored | None:
        """The motion of an id, which counts as use; ``None`` where there is none, or none any more."""
        with self._lock:
            self._forget()
            stored = self._kept.get(name)
            if stored is not None:
                stored.used = self.clock()
                self._kept.move_to_end(name)
            return stored

    def _forget(self) -> None:
        oldest = self.clock() - 3600 * self.limits.hours
        while self._kept:
            name, stored = next(iter(self._kept.items()))
            full = len(self._kept) > self.limits.motions or self._bytes > self.limits.megabytes * 2**20
            if not (stored.used < oldest or (full and len(self._kept) > 1)):
                return
            del self._kept[name]
            self._bytes -= stored.motion.data.nbytes
