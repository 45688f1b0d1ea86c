"""The manifest of an artifact: ``SHA256SUMS``, a line for each file, as ``sha256sum -c SHA256SUMS`` reads it.

The card, ``README.md``, is not in it: cards are written anew without touching a model.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from hftrainer.errors import ArtifactError

SUMS = "SHA256SUMS"
#: Files that may change while a model stays what it is.
APART = (SUMS, "README.md", ".gitattributes")
#: Digits of a short name, which records of motions, tables and the command line have.
SHORT = 16
_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


class Hashed:
    """What was read from files or written to them, and by which bytes it is known.

    Attributes:
        sha256: over the files that decide what it does, 64 hex digits; ``"unsaved"`` before there are any.
    """

    sha256: str = "unsaved"

    @property
    def hash(self) -> str:
        """Its short name: the first 16 digits of ``sha256``, or ``"unsaved"``."""
        return self.sha256[:SHORT]


def same_hash(one: str | None, other: str | None) -> bool:
    """Whether two hashes name the same bytes, where one of them may be the short name of the other.

    >>> same_hash("0123456789abcdef" * 4, "0123456789abcdef"), same_hash("0123456789abcdef" * 4, "0123")
    (True, False)
    """
    if one is None or other is None:
        return one is other
    return one == other or (SHORT in (len(one), len(other)) and one[:SHORT] == other[:SHORT])


def file_sum(path: Path) -> str:
    """SHA-256 of a file, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def listed_files(folder: Path) -> list[str]:
    """What a manifest of ``folder`` has to list: every file below it, without cards, manifests and hidden files.

    >>> listed_files(Path("nowhere"))
    []
    """
    names = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    kept = [n.as_posix() for n in names if n.name not in APART and not any(part.startswith(".") for part in n.parts)]
    return sorted(kept)


def write_sums(folder: Path) -> None:
    """Write the manifest of a folder."""
    lines = [f"{file_sum(folder / name)}  {name}\n" for name in listed_files(folder)]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def read_sums(folder: Path) -> dict[str, str]:
    """Name -> SHA-256 as the manifest has them; empty where there is no manifest.

    Raises:
        ArtifactError: a line is not ``SHA-256  NAME``, or names a file outside the folder.
    """
    if not (folder / SUMS).is_file():
        return {}
    found: dict[str, str] = {}
    for number, line in enumerate((folder / SUMS).read_text(encoding="utf-8").splitlines(), 1):
        parts = _LINE.fullmatch(line)
        if parts is None or Path(parts[2]).is_absolute() or ".." in Path(parts[2]).parts:
            raise ArtifactError(
                f"{folder / SUMS}, line {number}, must be a SHA-256 and the name of a file in the folder; got {line!r}."
            )
        found[parts[2]] = parts[1]
    return found


def problems(folder: Path) -> list[str]:
    """What is not as the manifest says: absent files and changed ones. No manifest, no problems.

    Raises:
        ArtifactError: the manifest itself is damaged.
    """
    found = []
    for name, wanted in read_sums(folder).items():
        if not (folder / name).is_file():
            found.append(f"{name} is absent")
        elif (have := file_sum(folder / name)) != wanted:
            found.append(f"{name} has SHA-256 {have[:16]}…, the manifest {wanted[:16]}…")
    return found


def check_sums(folder: Path) -> None:
    """Refuse a folder that is not as its manifest says.

    Raises:
        ArtifactError: files are absent or changed; all of them are listed.
    """
    found = problems(folder)
    if found:
        raise ArtifactError(f"{folder} must be as its {SUMS} says; {'; '.join(found)}. Fetch or make it again.")
