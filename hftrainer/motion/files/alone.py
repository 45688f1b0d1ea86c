"""One process at a time in a folder that is written piece by piece."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hftrainer.errors import ArtifactError


@contextmanager
def alone(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Hold a folder until the block, and every process that it starts, has ended; a killed one holds nothing.

    The hold is the system's own lock on the folder: no file is left behind, and the clock does not matter. Where the
    system or the file system has no such locks, everybody goes on.

    Args:
        folder: is made if it is not there.

    Raises:
        ArtifactError: another process holds it.

    >>> import tempfile
    >>> place = tempfile.mkdtemp()
    >>> with alone(place), alone(place):  # doctest: +ELLIPSIS
    ...     pass
    Traceback (most recent call last):
    hftrainer.errors.ArtifactError: ... must be used by one process at a time; another is at work in it. ...
    """
    folder = Path(folder)
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    if importlib.util.find_spec("fcntl") is None:
        yield
        return
    import fcntl

    held = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ArtifactError(
                f"{folder} must be used by one process at a time; another is at work in it. Wait for it, or choose "
                "another folder."
            ) from error
        except OSError:
            yield  # a file system without locks
            return
        yield
    finally:
        os.close(held)
        if made and not any(folder.iterdir()):
            folder.rmdir()  # refused work leaves nothing behind
