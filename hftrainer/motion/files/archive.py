"""Arrays to an ``.npz`` and back; of one of unknown origin never a pickle, nor memory that the file does not fill."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hftrainer.motion.files.atomic import written_whole

_DEFLATE = 1100  # deflate cannot pack more tightly than 1032 to 1


def write_arrays(path: str | Path, arrays: Mapping[str, Any]) -> None:
    """Write an archive, whole or not at all; the same arrays give the same bytes.

    Args:
        path: the file.
        arrays: numbers and text by name, in the order in which they are to stand.

    >>> import tempfile
    >>> where = Path(tempfile.mkdtemp()) / "a.npz"
    >>> write_arrays(where, {"trans": np.zeros((2, 3)), "gender": "male"})
    >>> read_arrays(where)[1]
    ('trans', 'gender')
    """
    with written_whole(path) as beside, zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, values in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.asanyarray(values), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy")  # dated 1980, always
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, buffer.getvalue())


def read_arrays(path: str | Path, wanted: Iterable[str] | None = None) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Arrays of an archive.

    Args:
        path: the file.
        wanted: names of the arrays to read; others stay unread, even where they could not be. ``None`` reads all.

    Returns:
        The wanted arrays that are there, and the names of all arrays.

    Raises:
        ValueError: no whole archive, an array whose declared size is not that of its bytes, or one that is a pickle.

    >>> import tempfile
    >>> where = Path(tempfile.mkdtemp()) / "a.npz"
    >>> np.savez(where, trans=np.zeros((2, 3)), gender="male")
    >>> read_arrays(where, ["gender"])
    ({'gender': array('male', dtype='<U4')}, ('trans', 'gender'))
    """
    name = Path(path).name
    arrays: dict[str, np.ndarray] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            for key in entries if wanted is None else wanted:
                if key in entries:
                    arrays[key] = _array(archive, entries[key], f"{name}: {key}")
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as exc:
        raise ValueError(f"{name}: the file must be a whole npz archive; {exc}.") from exc
    return arrays, tuple(entries)


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, what: str) -> np.ndarray:
    if info.file_size > _DEFLATE * info.compress_size + 1024:
        raise ValueError(f"{what} must hold what it declares, {info.file_size} bytes; got {info.compress_size} packed.")
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        declared = int(np.prod(shape, dtype=object)) * dtype.itemsize
        if dtype.hasobject:
            raise ValueError(f"{what} must be an array of numbers or text; it is a pickle, which is not read.")
        if declared + file.tell() != info.file_size:
            raise ValueError(
                f"{what} must have the size that it declares, {declared} bytes for shape {shape}; "
                f"got {info.file_size - file.tell()}. The file is damaged."
            )
    with archive.open(info) as file:
        return np.lib.format.read_array(file, allow_pickle=False)
