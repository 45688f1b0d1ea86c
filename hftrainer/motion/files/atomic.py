"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def _refusal(path: Path, error: OSError) -> OSError:
    """The same kind of error in a sentence."""
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return PermissionError(f"the folder of {path} must be writable; it is not ({error.strerror}). Choose another.")
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return NotADirectoryError(f"{path.parent} must be a folder; got a file on the way. Choose another.")
    if error.errno == errno.ENOSPC:
        return OSError(errno.ENOSPC, f"no space is left on the disk of {path}. Free some and run again.")
    return error


@contextmanager
def written_whole(path: str | os.PathLike[str], folder: bool = False) -> Iterator[Path]:
    """A place beside ``path`` to write to; it takes the name ``path`` only when the block ends well.

    Missing parent folders are made. When the block raises, an interrupt included, what was written is removed and a
    file that stood at ``path`` before is untouched.

    Args:
        path: the file, or with ``folder`` the folder, to come into being.
        folder: make a folder; ``path`` must then be absent or an empty folder.

    Yields:
        The path to write to: it does not exist yet (a folder does).

    Raises:
        PermissionError: the folder of ``path`` cannot be written.
        NotADirectoryError: a file stands where a parent folder is needed.
        IsADirectoryError: ``path`` is a folder, and a file is asked for.
        FileExistsError: with ``folder``, ``path`` exists and is not an empty folder.

    >>> where = Path(tempfile.mkdtemp()) / "a.txt"
    >>> with written_whole(where) as beside:
    ...     _ = beside.write_text("all of it")
    >>> where.read_text(), len(list(where.parent.iterdir()))
    ('all of it', 1)
    """
    path = Path(path)
    if folder and path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise FileExistsError(f"{path} must be a new or an empty folder; it holds something. Choose another name.")
    if not folder and path.is_dir():
        raise IsADirectoryError(f"{path} must be a file name; it is a folder. Add a name and an ending.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise _refusal(path, error) from error
    try:
        place = beside / path.name
        if folder:
            place.mkdir()
        yield place
        if folder and path.is_dir():
            path.rmdir()
        os.replace(place, path)
    except OSError as error:
        refusal = _refusal(path, error)
        if refusal is error:
            raise
        raise refusal from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
