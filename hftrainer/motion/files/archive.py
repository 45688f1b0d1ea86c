"""Arrays to an ``.npz`` and back; of one of unknown origin never a pickle, nor memory that the file does not fill."""

from __future__ import annotations

import io
import os
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from hftrainer.motion.files.atomic import written_whole

_DEFLATE = 1100  # deflate cannot pack more tightly than 1032 to 1
_WAYS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
#: Bytes that one array of an archive may unpack to: 4 hours of hml263 at 20 frames per second are 300 MB.
LARGEST = 2**31


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
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, zlib.error) as exc:
        raise ValueError(f"{name}: the file must be a whole npz archive; {str(exc).rstrip('.')}.") from exc
    except OSError as exc:
        if exc.filename is not None:  # the file itself cannot be opened
            raise
        raise ValueError(f"{name}: the file must be a whole npz archive; it points outside itself.") from exc
    return arrays, tuple(entries)


def read_array(path: str | Path) -> np.ndarray:
    """The array of an ``.npy`` file.

    Args:
        path: the file.

    Raises:
        ValueError: no array, a pickle, or a declared size that is not that of the file.

    >>> import tempfile
    >>> where = Path(tempfile.mkdtemp()) / "a.npy"
    >>> np.save(where, np.arange(3))
    >>> read_array(where)
    array([0, 1, 2])
    """
    name = Path(path).name
    with Path(path).open("rb") as file:
        check_declared(file, os.fstat(file.fileno()).st_size, f"{name}: the file")
        file.seek(0)
        return np.lib.format.read_array(file, allow_pickle=False)


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, what: str) -> np.ndarray:
    if info.compress_type not in _WAYS:
        raise ValueError(f"{what} must be stored or deflated; got compression {info.compress_type}. Save it anew.")
    if info.file_size > _DEFLATE * info.compress_size + 1024:
        raise ValueError(f"{what} must hold what it declares, {info.file_size} bytes; got {info.compress_size} packed.")
    if info.file_size > LARGEST:
        raise ValueError(f"{what} must have at most {LARGEST >> 20} MB; got {info.file_size >> 20}. Cut it into parts.")
    with archive.open(info) as file:
        check_declared(file, info.file_size, what)
    with archive.open(info) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def check_declared(file: IO[bytes], size: int, what: str) -> None:
    """Read the header of an array, and refuse one that declares other bytes than follow it.

    Args:
        file: stands at the beginning of the array.
        size: bytes of header and array together.
        what: what error messages call the array.

    Raises:
        ValueError: no header, a pickle, or another size.
    """
    try:
        version = np.lib.format.read_magic(file)  # type: ignore[arg-type]
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"its version is {version[0]}.{version[1]}")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)  # type: ignore[arg-type]
    except (ValueError, TypeError, SyntaxError, OverflowError, RecursionError, MemoryError, tokenize.TokenError) as exc:
        said = str(exc).splitlines()[0][:200] if str(exc) else type(exc).__name__
        raise ValueError(f"{what} must hold one array of numbers; {said.rstrip('.')}. It is damaged.") from exc
    if dtype.hasobject:
        raise ValueError(f"{what} must be one array of numbers or text; it is a pickle, which is not read.")
    if any(isinstance(n, bool) or n < 0 for n in shape) or len(shape) > 32:
        raise ValueError(f"{what} must have a shape of whole numbers; got {str(shape)[:200]}. It is damaged.")
    declared = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if declared + file.tell() != size:
        raise ValueError(
            f"{what} must have the size that it declares, {declared} bytes for shape {str(shape)[:200]}; "
            f"got {size - file.tell()}. The file is damaged."
        )
    if max(shape, default=0) >= 2**62:
        raise ValueError(f"{what} must have a shape that an array can have; got {shape}. The file is damaged.")
