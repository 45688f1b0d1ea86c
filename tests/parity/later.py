"""Kinds of cases that are known and that nothing here can run yet: they are listed and counted, not run.

The issue that brings a family moves its rows from here into the family's own module.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.parity import json_keys, npz_keys


@dataclass(frozen=True)
class Later:
    """A kind that has no runner yet.

    Attributes:
        name: what the line calls it.
        matches: as of ``Kind``, looking at the contents.
        rest: this row speaks for arrays that stand beside others which do run.
    """

    name: str
    matches: Callable[[Path], bool]
    rest: bool = False


def _npz(*keys: str) -> Callable[[Path], bool]:
    return lambda path: npz_keys(path) >= set(keys)


CONTENT: tuple[Later, ...] = ()

#: Families whose files are known by the folder they lie in; the folder's name starts with the family's.
FAMILIES = ("mdm", "mogents")


def family_of(path: Path) -> list[str]:
    """The family that a file belongs to (one or none); ``path`` starts with the name of the folder given."""
    return [name for name in FAMILIES if any(part.lower().startswith(name) for part in path.parts[:-1])][:1]


def is_motiongpt(path: Path) -> bool:
    """One folder per case, with a ``case.json`` that says what it is."""
    return path.is_dir() and bool(json_keys(path / "case.json"))
