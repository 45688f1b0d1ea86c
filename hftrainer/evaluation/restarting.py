"""Folders of files made from folders of files, by several processes that may be killed and started again.

A file appears whole or not at all, so what is there need not be made again; what a killed process was writing is
cleared away by the next one that has the same share of the work.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hftrainer.motion.files.atomic import written_whole


def share(names: Sequence[str], shards: int, shard: int) -> list[str]:
    """The names of one process: those whose place, in order, leaves ``shard`` when divided by ``shards``.

    Raises:
        ValueError: no such shard.

    >>> share(["a", "b", "c"], 2, 0)
    ['a', 'c']
    """
    if shards < 1 or not 0 <= shard < shards:
        raise ValueError(f"shard must be 0 to {max(shards, 1) - 1} of {shards}; got {shard}.")
    return list(names)[shard::shards]


def clear_leftovers(folder: Path, files: Sequence[str]) -> int:
    """Remove what a killed process left half-written of ``files`` in ``folder``; how many there were.

    >>> import tempfile
    >>> there = Path(tempfile.mkdtemp())
    >>> (there / ".a.npz.x1y2").mkdir()
    >>> clear_leftovers(there, ["a.npz"]), clear_leftovers(there, ["a.npz"])
    (1, 0)
    """
    mine, count = set(files), 0
    for path in folder.glob(".*") if folder.is_dir() else ():
        if path.is_dir() and path.name[1:].rpartition(".")[0] in mine:
            shutil.rmtree(path, ignore_errors=True)
            count += 1
    return count


def write_array(path: Path, array: np.ndarray) -> None:
    """Write a ``.npy``, whole or not at all."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    with written_whole(path) as beside:
        beside.write_bytes(buffer.getvalue())


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write a ``.npz``, whole or not at all."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    with written_whole(path) as beside:
        beside.write_bytes(buffer.getvalue())


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a ``.json``, whole or not at all."""
    with written_whole(path) as beside:
        beside.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
