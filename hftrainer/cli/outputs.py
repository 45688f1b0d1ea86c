"""Where results go: checked before the work begins, so that no finished work is lost for want of a place."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hftrainer.cli.parser import RequestError

DATA = (".npz", ".npy", ".bvh", ".glb", ".usda", ".csv", ".fbx")
PICTURES = (".mp4", ".gif", ".webp", ".png", ".html")


def numbered(path: Path, count: int) -> list[Path]:
    """The files that ``count`` motions get: ``path`` itself for one, ``name-000.bvh``, ``name-001.bvh``, … for more.

    >>> [p.name for p in numbered(Path("walk.bvh"), 2)]
    ['walk-000.bvh', 'walk-001.bvh']
    """
    if count == 1:
        return [path]
    digits = max(3, len(str(count - 1)))
    return [path.with_name(f"{path.stem}-{index:0{digits}d}{path.suffix}") for index in range(count)]


def check_folder(folder: Path) -> None:
    """Refuse a folder in which no file can be made, by making one there (in the nearest parent that exists).

    Raises:
        RequestError: a part of the path is a file, or nothing may be written there.
    """
    there = folder.absolute()
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise RequestError(f"{folder} must be a folder; {there} is a file. Choose another place with -o.")
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as exc:
        raise RequestError(
            f"{folder} must be writable; got {exc.strerror or exc}. Choose another place with -o."
        ) from exc


def check_blender(blender: str | None) -> None:
    """Refuse an ``.fbx`` where there is no Blender to read or write it.

    Raises:
        RequestError: there is none.
    """
    from hftrainer.motion.files.fbx import find_blender

    try:
        find_blender(blender)
    except FileNotFoundError as exc:
        raise RequestError(str(exc)) from exc


def check_player() -> None:
    """Refuse an ``.html`` in a checkout where the player was not built.

    Raises:
        RequestError: it was not; the message says which command builds it.
    """
    from hftrainer.rendering.player import program

    try:
        program()
    except FileNotFoundError as exc:
        raise RequestError(str(exc)) from exc


def plan(paths: Sequence[str], count: int, endings: Sequence[str], blender: str | None = None) -> list[list[Path]]:
    """Every file that a request will write: one list per motion, motion data before pictures.

    Args:
        paths: the ``-o`` arguments.
        count: how many motions there will be.
        endings: allowed file endings.
        blender: the program that writes ``.fbx``, where one was named.

    Raises:
        RequestError: no path, an unknown ending, a path twice, a folder, or a place that cannot be written to.
    """
    if not paths:
        raise RequestError(f"say where to write with -o FILE; its ending may be {', '.join(endings)}.")
    columns = []
    for path in sorted((Path(path) for path in paths), key=lambda p: p.suffix.lower() in PICTURES):
        ending = path.suffix.lower()
        if ending not in endings:
            got = repr(ending) if ending else "no ending"
            raise RequestError(f"{path}: the ending must be one of {', '.join(endings)}; got {got}. Rename it.")
        if ending == ".mp4" and importlib.util.find_spec("av") is None:
            raise RequestError(f"{path}: video needs the package av. pip install 'hftrainer[video]', or write a .gif.")
        if ending == ".fbx":
            check_blender(blender)
        if ending == ".html":
            check_player()
        columns.append(numbered(path, count))
    files = [file for column in columns for file in column]
    for file in files:
        if file.is_dir():
            raise RequestError(f"{file} must be a file; it is a folder. Name a file in it.")
    if len({os.path.abspath(file) for file in files}) < len(files):
        raise RequestError("two -o name the same file. Give each its own name.")
    for folder in dict.fromkeys(file.parent for file in files):
        check_folder(folder)
    return [list(row) for row in zip(*columns, strict=True)]
