"""Arrays of a pickle of unknown origin, without running anything that is in it.

A pickle is a small program that names functions and calls them. Here only four kinds of names are known, and each
stands for code of ours: NumPy's two ways to put an array together, SciPy's compressed sparse matrices, and chumpy's
wrapper of an array, of which the array alone is kept. Whatever else a pickle names is not called: the file is refused,
and the name is said.
"""

from __future__ import annotations

import os
import pickle
import pickletools
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
from scipy import sparse

_NUMBERS = "biufc"


class _Array:
    """An array in the making: NumPy's pickles make an empty one and then set its state."""

    def __init__(self, *given: Any) -> None:
        self.value: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise pickle.UnpicklingError("an array has another state than NumPy writes")
        _, shape, dtype, columns_first, raw = state
        if not isinstance(dtype, _Dtype) or dtype.value is None or dtype.value.kind not in _NUMBERS:
            raise pickle.UnpicklingError("an array holds objects, which are not read")
        if isinstance(raw, str):  # written by Python 2
            raw = raw.encode("latin1")
        if not isinstance(raw, bytes) or not isinstance(shape, tuple) or not all(isinstance(n, int) for n in shape):
            raise pickle.UnpicklingError("an array has another state than NumPy writes")
        flat = np.frombuffer(raw, dtype.value)
        self.value = flat.reshape(shape[::-1]).T if columns_first else flat.reshape(shape)


class _Dtype:
    """What an array's numbers are; objects and records are not known."""

    def __init__(self, code: Any = "", *flags: Any) -> None:
        self.value = np.dtype(code) if isinstance(code, str) and code[:1] in _NUMBERS and code[1:].isdigit() else None

    def __setstate__(self, state: Any) -> None:
        if self.value is not None and isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">"):
            self.value = self.value.newbyteorder(state[1])


class _Holder:
    """An object whose parts are kept and whose code is not there: a sparse matrix, or chumpy's wrapper."""

    def __init__(self, *given: Any) -> None:
        self.parts: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise pickle.UnpicklingError("an object has another state than this format writes")
        self.parts = state


class _Sparse(_Holder):
    columns_first = True


class _SparseRows(_Holder):
    columns_first = False


class _Wrapped(_Holder):
    pass


def _reconstruct(*given: Any) -> _Array:
    return _Array()


def _scalar(dtype: Any, raw: Any) -> Any:
    """A NumPy number: its array of no axes."""
    array = _Array()
    array.__setstate__((1, (), dtype, False, raw))
    return array


def _bytes(text: Any, encoding: Any) -> bytes:
    """Bytes as Python 3 writes them for Python 2: text that is encoded."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("bytes are encoded in another way than pickles do")
    return text.encode("latin1")


def _frombuffer(raw: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    """An array as protocol 5 writes it."""
    array = _Array()
    array.__setstate__((1, shape, dtype, order == "F", bytes(raw)))
    return array


_NUMPY = tuple(f"numpy.{core}" for core in ("core", "_core"))
_SPARSE = tuple(f"scipy.sparse.{name}" for name in ("csc", "_csc", "csr", "_csr"))
_KNOWN: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array, ("numpy", "dtype"): _Dtype, ("_codecs", "encode"): _bytes,
    **{(f"{core}.multiarray", "_reconstruct"): _reconstruct for core in _NUMPY},
    **{(f"{core}.multiarray", "scalar"): _scalar for core in _NUMPY},
    **{(f"{core}.numeric", "_frombuffer"): _frombuffer for core in _NUMPY},
    **{(room, "csc_matrix"): _Sparse for room in _SPARSE}, **{(room, "csr_matrix"): _SparseRows for room in _SPARSE},
    ("chumpy.ch", "Ch"): _Wrapped, ("chumpy", "Ch"): _Wrapped, ("chumpy.reordering", "Select"): _Wrapped,
}  # fmt: skip


class _Reader(pickle.Unpickler):
    """An unpickler to which only the names above mean anything."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is not called")
        return _KNOWN[module, name]

    def persistent_load(self, given: Any) -> Any:
        raise pickle.UnpicklingError("it points outside itself")


def _check_declared(file: IO[bytes], size: int) -> None:
    """Refuse lengths and numbers of memory cells that a file of this size cannot have, before anything is made."""
    for code, given, _ in pickletools.genops(_Within(file, size)):  # type: ignore[arg-type]
        if code.name in ("PUT", "BINPUT", "LONG_BINPUT") and isinstance(given, int) and given > size:
            raise pickle.UnpicklingError(f"it puts something in place {given} of its memory")


class _Within:
    """A file that is never asked for more bytes than are left."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.file, self.size = file, size
        self.tell, self.readline = file.tell, file.readline

    def read(self, count: int) -> bytes:
        if not 0 <= count <= self.size - self.file.tell():
            raise pickle.UnpicklingError(f"it declares {count} bytes that do not follow")
        return self.file.read(count)


def read_pickled_arrays(path: str | Path, wanted: Iterable[str]) -> dict[str, np.ndarray]:
    """Arrays of a pickled dictionary, for example of a body model as it was released.

    Args:
        path: the file; of Python 2 or 3.
        wanted: names of the arrays.

    Returns:
        Those that are there; sparse matrices filled in, chumpy's arrays bare.

    Raises:
        ValueError: no whole pickle, no dictionary, or one that names anything but arrays. Nothing has been run then.
    """
    name = Path(path).name
    with Path(path).open("rb") as file:
        try:
            _check_declared(file, os.fstat(file.fileno()).st_size)
            file.seek(0)
            found = _Reader(file, encoding="latin1").load()
        except (
            pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError,
            ImportError, OverflowError, MemoryError, RecursionError,
        ) as exc:  # fmt: skip
            raise ValueError(f"{name}: the file must be a whole pickle that holds arrays alone; {exc}.") from exc
    if not isinstance(found, dict):
        raise ValueError(f"{name}: the file must hold a dictionary; got {type(found).__name__}.")
    return {key: _plain(found[key], f"{name}: {key}") for key in wanted if key in found}


def _plain(value: Any, what: str) -> np.ndarray:
    """The array in a value of the pickle."""
    if isinstance(value, _Array) and value.value is not None:
        return value.value
    if isinstance(value, (_Sparse, _SparseRows)):
        parts = {key: _plain(value.parts[key], what) for key in ("data", "indices", "indptr") if key in value.parts}
        shape = value.parts.get("_shape")
        if len(parts) == 3 and isinstance(shape, tuple) and len(shape) == 2:
            make = sparse.csc_matrix if value.columns_first else sparse.csr_matrix
            whole = make((parts["data"], parts["indices"], parts["indptr"]), shape=shape)
            whole.check_format(full_check=True)
            return np.asarray(whole.toarray())
    if isinstance(value, _Wrapped):
        if "x" in value.parts:  # what chumpy calls a variable
            return _plain(value.parts["x"], what)
        if {"a", "idxs", "preferred_shape"} <= set(value.parts):  # a choice of one
            taken = _plain(value.parts["a"], what).ravel()[_plain(value.parts["idxs"], what).astype(np.int64).ravel()]
            return taken.reshape(value.parts["preferred_shape"])
    raise ValueError(f"{what} must be an array of numbers; got {type(value).__name__.strip('_')}.")
