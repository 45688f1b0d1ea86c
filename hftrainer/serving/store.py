"""Motions that people made or sent, by ids that nobody guesses; the longest unused are forgotten."""

from __future__ import annotations

import os
import re
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hftrainer.motion.clip import Motion
from hftrainer.motion.files import load, save
from hftrainer.serving.limits import Limits

_ID = re.compile(r"[A-Za-z0-9_-]{22}")


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

    With a folder, every motion is also a file in it, and a server that is started anew finds them there; what is
    forgotten for its age or because of their number is deleted, what only leaves the memory is not.

    Args:
        limits: how much is kept.
        clock: seconds, by which the age of motions is told.
        folder: where motions outlast the store; only files of this store's own names are touched in it.

    Raises:
        OSError: the folder cannot be made or read.

    >>> store = Store(Limits(motions=1))
    >>> first, second = (store.add(Motion([[[0.0] * 3] * 22], "joints", 20)) for _ in range(2))
    >>> store.get(first.id) is None, store.get(second.id) is second
    (True, True)
    """

    def __init__(
        self, limits: Limits, clock: Callable[[], float] = time.time, folder: Path | None = None
    ) -> None:
        self.limits, self.clock, self.folder = limits, clock, folder
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Stored] = OrderedDict()
        self._bytes = 0
        self._filed: OrderedDict[str, float] = OrderedDict()  # ids of files and when they were last used
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            files = [file for file in folder.glob("*.npz") if _ID.fullmatch(file.stem)]
            self._filed |= sorted(((file.stem, file.stat().st_mtime) for file in files), key=lambda pair: pair[1])
            self._forget()

    def __len__(self) -> int:
        return len(self._kept.keys() | self._filed.keys())

    def add(self, motion: Motion) -> Stored:
        """Keep a motion; the longest unused make room for it.

        Raises:
            OSError: its file cannot be written.
        """
        stored = Stored(new_id(), motion, self.clock())
        if self.folder is not None:
            save(motion, self._file(stored.id))
        with self._lock:
            if self.folder is not None:
                self._filed[stored.id] = stored.used
            self._hold(stored)
        return stored

    def get(self, name: str) -> Stored | None:
        """The motion of an id, which counts as use; ``None`` where there is none, or none any more."""
        with self._lock:
            self._forget()
            stored = self._kept.get(name)
            if stored is None and name in self._filed:
                stored = self._read(name)
            if stored is None:
                return None
            stored.used = self.clock()
            if name in self._filed:
                self._filed[name] = stored.used
                self._filed.move_to_end(name)
                os.utime(self._file(name), (stored.used, stored.used))
            self._hold(stored)
            return stored

    def _file(self, name: str) -> Path:
        return (self.folder or Path()) / f"{name}.npz"

    def _read(self, name: str) -> Stored | None:
        """A motion that only a file holds; one that somebody took away or broke is forgotten."""
        try:
            return Stored(name, load(self._file(name)), self.clock())
        except (ValueError, OSError):
            del self._filed[name]
            return None

    def _hold(self, stored: Stored) -> None:
        """Have a motion in memory as the last that was used."""
        if self._kept.pop(stored.id, None) is None:
            self._bytes += stored.motion.data.nbytes
        self._kept[stored.id] = stored
        self._forget()

    def _forget(self) -> None:
        oldest = self.clock() - 3600 * self.limits.hours
        while self._kept:
            name, stored = next(iter(self._kept.items()))
            full = len(self._kept) > self.limits.motions or self._bytes > self.limits.megabytes * 2**20
            if not (stored.used < oldest or (full and len(self._kept) > 1)):
                break
            del self._kept[name]
            self._bytes -= stored.motion.data.nbytes
        while self._filed:
            name, used = next(iter(self._filed.items()))
            if used >= oldest and len(self._filed) <= self.limits.motions:
                return
            del self._filed[name]
            self._file(name).unlink(missing_ok=True)
