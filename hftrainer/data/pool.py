"""Worker processes that leave an interrupt to the program which started them."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any


def _start(parent: int, then: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()
    if then is not None:
        then(*arguments)


def _follow(parent: int) -> None:
    """End this process when the program that started it is gone, killed perhaps: nobody wants its work any more."""
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(1)


@contextmanager
def processes(
    count: int, then: Callable[..., None] | None = None, arguments: tuple[Any, ...] = (), method: str | None = None
) -> Iterator[ProcessPoolExecutor]:
    """A pool whose end is clean: after an error or Ctrl-C the work in hand is finished, and none is begun.

    Args:
        count: processes.
        then: run in each process when it starts.
        arguments: what ``then`` is given.
        method: how processes start, ``"spawn"`` for instance; by default as Python does here.

    Yields:
        The pool. Its processes ignore Ctrl-C, so that nothing stays half written and no traceback is printed.
    """
    given = (os.getpid(), then, arguments)
    pool = ProcessPoolExecutor(count, mp_context=get_context(method), initializer=_start, initargs=given)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
