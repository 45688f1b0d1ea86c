"""The parity runner: our numbers beside those that reference implementations wrote down.

``python -m tests.parity FOLDER [--json]`` walks a folder laid out like the golden data (one family or all of them),
finds the cases in it by what they contain, runs each, and prints one line per case. It fails when a case differs, when
a case of a known kind cannot be run, when something in the folder is of no known kind, and when there was nothing.

How a family takes part: write ``tests/parity/FAMILY.py`` with a table ``KINDS`` and add the module to ``FAMILIES`` in
``tests/parity/__main__.py``. A row of the table is a ``Kind``:

* ``name``: what the line calls it, for example ``"hml263 encode"``.
* ``matches(path) -> bool``: looks at the contents of ``path``. It is asked for every folder first (a folder that
  matches is one case, with all that lies in it) and then for every file that no folder has claimed. Several kinds may
  match one path; each gives a line. It must not fail on files of other kinds; ``npz_keys``, ``tensor_keys`` and
  ``json_keys`` read names only.
* ``run(path) -> list[Check]``: runs it. Any error is a failed case with the error printed, so it need not catch any.
* ``parts(path)``: other files that the case reads, which are then no cases of their own.

A ``Check`` is one comparison: ``difference`` is the largest absolute difference (``compare`` makes it) and must not
exceed ``tolerance``. ``stated_tolerance`` reads what the folder's MANIFEST.json states, where there is one.

Kinds that are known and have no runner yet stand in ``tests/parity/later.py``; they are listed as ``not yet``.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Check:
    """One comparison within a case.

    Attributes:
        what: name of the array.
        difference: largest absolute difference; infinite when the shapes differ or a value is missing.
        tolerance: largest allowed difference.
        note: why the difference is infinite, for example both shapes.
    """

    what: str
    difference: float
    tolerance: float
    note: str = ""

    @property
    def holds(self) -> bool:
        return bool(self.difference <= self.tolerance)


@dataclass(frozen=True)
class Kind:
    """One kind of case; see the module text."""

    name: str
    matches: Callable[[Path], bool]
    run: Callable[[Path], list[Check]]
    parts: Callable[[Path], Iterable[Path]] = lambda path: ()


def compare(what: str, got: Any, want: Any, tolerance: float) -> Check:
    """The largest absolute difference of two arrays.

    A stored float32 cannot say more than its own rounding, and the reference adds many of them up: where numbers are
    large, up to 8 units in the last place of the largest one are allowed even if ``tolerance`` is smaller. A tolerance
    of 0 stays 0.
    """
    got, want = np.asarray(got), np.asarray(want)
    if got.shape != want.shape:
        return Check(what, np.inf, tolerance, f"{what} has shape {got.shape}, the case says {want.shape}")
    if not want.size:
        return Check(what, np.inf, tolerance, f"{what} is empty")
    if tolerance and want.dtype == np.float32:
        tolerance = max(tolerance, 8 * float(np.finfo(np.float32).eps) * float(np.abs(want).max()))
    difference = float(np.abs(got.astype(np.float64) - want.astype(np.float64)).max())
    return Check(what, difference if np.isfinite(difference) else np.inf, tolerance)


def npz_keys(path: Path) -> frozenset[str]:
    """Names of the arrays in a ``.npz``; nothing for any other file or a damaged one."""
    if path.suffix != ".npz" or not zipfile.is_zipfile(path):
        return frozenset()
    with zipfile.ZipFile(path) as archive:
        return frozenset(name.removesuffix(".npy") for name in archive.namelist())


def tensor_keys(path: Path) -> frozenset[str]:
    """Names of the tensors in a ``.safetensors``; nothing for any other file or a damaged one."""
    if path.suffix != ".safetensors" or not path.is_file():
        return frozenset()
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(length) if length <= path.stat().st_size else b""
    try:
        names = json.loads(header)
    except ValueError:
        return frozenset()
    return frozenset(names) - {"__metadata__"}


def json_keys(path: Path) -> frozenset[str]:
    """Top-level names of a ``.json`` object; nothing for any other file or a damaged one."""
    if path.suffix != ".json" or not path.is_file():
        return frozenset()
    try:
        value = json.loads(path.read_text())
    except ValueError:
        return frozenset()
    return frozenset(value) if isinstance(value, dict) else frozenset()


def stated_tolerance(path: Path, default: float) -> float:
    """The first ``tol NUMBER`` in the description that a MANIFEST.json above ``path`` gives it, or ``default``."""
    for folder in path.parents[:3]:
        manifest = folder / "MANIFEST.json"
        if manifest.is_file():
            entry = json.loads(manifest.read_text()).get("files", {}).get(path.relative_to(folder).as_posix(), {})
            found = re.search(r"\btol\s+(\d[\d.]*(?:e[-+]?\d+)?)", entry.get("description", ""))
            return float(found.group(1)) if found else default
    return default
