"""Progress on stderr, and only for work that takes longer than two seconds."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType


class Progress:
    """Says on stderr what is being done, once two seconds have passed.

    Args:
        quiet: say nothing at all.
        patience: seconds of silence at the start.
        gap: least seconds between two lines.
    """

    def __init__(self, quiet: bool = False, patience: float = 2.0, gap: float = 0.5) -> None:
        self.quiet = quiet
        self.gap = gap
        self.doing = ""
        self.said = ""
        self.last = time.monotonic() + patience - gap
        self.timer = threading.Timer(patience, self._say)
        self.timer.daemon = True

    def __enter__(self) -> Progress:
        if not self.quiet:
            self.timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.timer.cancel()

    def __call__(self, doing: str) -> None:
        """Tell what is being done now, for example ``"writing walk.bvh (3 of 10)"``."""
        self.doing = doing
        if not self.quiet and time.monotonic() - self.last >= self.gap:
            self._say()

    def _say(self) -> None:
        if self.doing and self.doing != self.said:
            self.said, self.last = self.doing, time.monotonic()
            print(f"{self.doing} …", file=sys.stderr, flush=True)
