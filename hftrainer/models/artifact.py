"""Model folders: from a name to checked files, strict weight loading, writing beside and then renaming."""

from __future__ import annotations

import hashlib
import json
import math
import os
import pickle
import re
import shutil
import struct
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from hftrainer.errors import ArtifactError
from hftrainer.models.sums import file_sum as file_hash
from hftrainer.models.sums import write_sums
from hftrainer.motion.files.told import shortened

__all__ = [
    "BUILT_IN", "check_files", "check_shapes", "check_sizes", "count_weights", "file_hash", "folder_hash",
    "load_weights", "read_config", "read_torch_file", "resolve", "rows_as_bytes", "rows_from_bytes", "save_weights",
    "unfilled", "whole_artifact", "write_json", "written_folder",
]  # fmt: skip

#: Artifacts that ship with the package.
BUILT_IN = Path(__file__).parent.parent / "artifacts"

Config = TypeVar("Config")
Given = ParamSpec("Given")
Found = TypeVar("Found")
_SIZE, _LAYERS = 2**20, 512  # of what a network's description may declare
_DAMAGE = (KeyError, IndexError, TypeError, AttributeError, OverflowError, RecursionError, ZeroDivisionError)


def whole_artifact(load: Callable[Given, Found]) -> Callable[Given, Found]:
    """What loads an artifact, so that whatever it stumbles over in a damaged one comes as an ``ArtifactError``.

    Args:
        load: takes the artifact's name as its first argument after the class, or as ``name``.
    """

    @wraps(load)
    def loading(*args: Given.args, **kwargs: Given.kwargs) -> Found:
        try:
            return load(*args, **kwargs)
        except ArtifactError:
            raise
        except (*_DAMAGE, ValueError, RuntimeError, SafetensorError) as error:
            name = kwargs.get("name", args[1] if len(args) > 1 else "the artifact")
            said = shortened(" ".join(str(error).split()).rstrip(".") or type(error).__name__, 300)
            raise ArtifactError(f"{name} must be a whole artifact; got {said}. Fetch or make it again.") from error

    return loading


def resolve(
    name: str | Path | None, default: str, *, local_files_only: bool = False, revision: str | None = None
) -> Path:
    """The folder of a model.

    Args:
        name: a folder, the name of a built-in artifact, a hub repository ``owner/name``, or ``None`` for ``default``.
        default: the built-in artifact that ``None`` means.
        local_files_only: for a repository, use the local cache only.
        revision: branch, tag or commit of a repository.

    Raises:
        ArtifactError: nothing of that name; the message says what was looked for.
    """
    name = default if name is None else name
    if Path(name).is_dir():
        return Path(name)
    if (BUILT_IN / str(name)).is_dir():
        return BUILT_IN / str(name)
    built_in = ", ".join(sorted(p.name for p in BUILT_IN.glob("*") if p.is_dir())) or "none"
    if isinstance(name, Path) or str(name).count("/") != 1 or str(name).startswith((".", "/")):
        raise ArtifactError(
            f"the model must be a folder, a built-in name ({built_in}) or a hub repository owner/name; "
            f"got {str(name)!r}, which is none of them. Check the path."
        )
    from hftrainer.models.hub import fetch

    try:
        return fetch(str(name), revision=revision, local_files_only=local_files_only)
    except ArtifactError as error:
        raise ArtifactError(f"{error} Built-in models: {built_in}.") from error


def check_files(folder: Path, names: Sequence[str]) -> None:
    """Every file of ``names`` must be in ``folder``; all absences come in one ``ArtifactError``."""
    absent = [name for name in names if not (folder / name).is_file()]
    if absent:
        raise ArtifactError(f"{folder} must hold {', '.join(names)}; absent: {', '.join(absent)}.")


def read_config(kind: type[Config], values: Mapping[str, Any], where: str) -> Config:
    """A frozen config from JSON or TOML values; unknown fields are refused by name."""
    if not isinstance(values, Mapping):
        raise ArtifactError(f"{where} must be a table of settings; got {shortened(repr(values), 80)}.")
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - known)
    if unknown:
        raise ArtifactError(
            f"{where} must have the fields {', '.join(sorted(known))}; got {', '.join(unknown)} as well."
        )
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise ArtifactError(f"{where}: {str(error).rstrip('.')}.") from error


def check_sizes(config: Any, where: str) -> None:
    """Refuse a network whose description declares sizes that none has, before anything of that size is made.

    Args:
        config: a frozen dataclass; its whole numbers are looked at.
        where: what the error message calls it.

    Raises:
        ArtifactError: a number is too large or below 0.
    """
    for f in fields(config):
        value = getattr(config, f.name)
        most = _LAYERS if re.search("layers|depth|blocks|down", f.name) else _SIZE
        if isinstance(value, int) and not 0 <= value <= most:
            raise ArtifactError(f"{where}: {f.name} must be 0 to {most}; got {shortened(str(value), 40)}.")


def check_shapes(make: Callable[[], nn.Module], path: Path, apart: Sequence[str] = ()) -> None:
    """Refuse a file whose weights do not fit a network, before the network takes memory; only its header is read.

    Args:
        make: makes the network.
        path: the safetensors file.
        apart: keys that are not in the file.

    Raises:
        ArtifactError: missing keys, unexpected keys or wrong shapes; all of them are listed.
    """
    with unfilled():
        network = make()
    want = {k: tuple(v.shape) for k, v in network.state_dict().items() if k not in apart}
    try:
        with safe_open(path, framework="pt") as file:
            have = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}
    except (SafetensorError, OSError) as error:
        raise ArtifactError(f"{path} must be a safetensors file; got {error}.") from error
    wrong = _misfits(have, want)
    if wrong:
        raise ArtifactError(f"{path} does not fit {type(network).__name__}: {'; '.join(wrong)}.")


def _misfits(have: Mapping[str, tuple[int, ...]], want: Mapping[str, tuple[int, ...]]) -> list[str]:
    wrong = [f"missing {k}" for k in sorted(want.keys() - have.keys())]
    wrong += [f"unexpected {k}" for k in sorted(have.keys() - want.keys())]
    shared = sorted(have.keys() & want.keys())
    return wrong + [f"{k} is {have[k]}, the network needs {want[k]}" for k in shared if have[k] != want[k]]


class _ScalarType:
    """Stands for NumPy's type of numbers while a file is read; NumPy's own code is not asked."""

    def __init__(self, code: str, *_: Any) -> None:
        if re.fullmatch(r"[<>=|]?[fiu][1248]|[<>=|]?b1", code) is None:
            raise pickle.UnpicklingError(f"GLOBAL numpy.dtype({code!r})")
        self.code, self.order = code.lstrip("<>=|"), "="

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]


def _scalar(kind: _ScalarType, data: bytes) -> float | int | bool:
    """A number that NumPy pickled; never any other object."""
    if not isinstance(kind, _ScalarType) or not isinstance(data, bytes):
        raise pickle.UnpicklingError("GLOBAL numpy.scalar")
    order = kind.order if kind.order in "<>=" else "="
    return struct.unpack(order + _SCALARS[kind.code], data)[0]


#: Numbers that may stand in a file, and how they are packed.
_SCALARS = {
    "f8": "d", "f4": "f", "f2": "e", "i8": "q", "i4": "i", "i2": "h", "i1": "b", "u8": "Q", "u4": "I", "u2": "H",
    "u1": "B", "b1": "?",
}  # fmt: skip
#: Names that files of torch with NumPy's numbers in them use, with what stands for them here.
_KNOWN: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    _ScalarType,
    (_ScalarType, "numpy.dtype"),
    (_scalar, "numpy._core.multiarray.scalar"),
    (_scalar, "numpy.core.multiarray.scalar"),
]


def read_torch_file(path: Path) -> Any:
    """What a file of ``torch.save`` holds; only tensors and plain values are read, and code in it never runs.

    The checksums of a zipped file are tested; its tensors are then mapped from disk and not copied. Single numbers of
    NumPy's, which training loops leave in their files, come as Python's.

    Raises:
        ArtifactError: no such file, empty, cut off, damaged, no torch file, or one that holds more than plain values.
    """
    if not path.is_file():
        raise ArtifactError(f"{path} must be a torch file; there is no such file.")
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        raise ArtifactError(f"{path} must be a torch file; it is empty. Download it again.")
    if head.startswith(b"version https://git-lfs"):
        raise ArtifactError(f"{path} must be a torch file; it is a git-lfs pointer. Fetch it with: git lfs pull.")
    if not head.startswith((b"PK", b"\x80")):
        raise ArtifactError(f"{path} must be a torch file; it begins with {head[:16]!r}.")
    try:
        zipped = zipfile.is_zipfile(path)
        if head.startswith(b"PK") and not zipped:
            raise ArtifactError(
                f"{path} must be a whole torch file; it ends too early, after {size:,} bytes. Download it again."
            )
        if zipped:
            with zipfile.ZipFile(path) as archive:
                declared = sum(info.file_size for info in archive.infolist())
                if declared > 100 * size:  # torch packs nothing, so it is hardly more than the file
                    raise ArtifactError(f"{path} must hold what it declares, {declared:,} bytes; it has {size:,}.")
                damaged = archive.testzip()
            if damaged:
                raise ArtifactError(f"{path} must be whole; {damaged} in it has a wrong checksum. Download it again.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about odd bytes, which are refused anyway
            with torch.serialization.safe_globals(_KNOWN):
                return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL\s+([\w.]*\w)|(?:class|function|load)\s+([\w.]+\.[\w.]+)", str(error))
        if not named:
            raise ArtifactError(f"{path} must be a torch file; its pickle is damaged. Download it again.") from error
        raise ArtifactError(
            f"{path} must hold tensors and plain values only; it names {named[1] or named[2]}, which would run code, "
            'and was not read. If you made the file yourself, keep its numbers alone: torch.save({"state_dict": '
            'torch.load(FILE, weights_only=False)["state_dict"]}, NEW).'
        ) from error
    except ArtifactError:
        raise
    except (RuntimeError, ValueError, LookupError, EOFError, TypeError, AttributeError, AssertionError, OSError,
            struct.error, zipfile.BadZipFile, zlib.error) as error:  # fmt: skip
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ArtifactError(f"{path} must be a whole torch file; got {said}. Download it again.") from error


def load_weights(network: nn.Module, path: Path, apart: Sequence[str] = ()) -> None:
    """Fill a network from a safetensors file, all or nothing; half precision is widened.

    A network that was made on the ``meta`` device takes the file's tensors as its own, without a copy.

    Args:
        network: gets the weights.
        path: the file.
        apart: keys of the network that are not stored in this file and stay as they are.

    Raises:
        ArtifactError: missing keys, unexpected keys or wrong shapes; all of them are listed.
    """
    try:
        have = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ArtifactError(f"{path} must be a safetensors file; got {error}.") from error
    want = {k: v for k, v in network.state_dict().items() if k not in apart}
    wrong = _misfits({k: tuple(v.shape) for k, v in have.items()}, {k: tuple(v.shape) for k, v in want.items()})
    if wrong:
        raise ArtifactError(f"{path} does not fit {type(network).__name__}: {'; '.join(wrong)}.")
    hollow = any(v.is_meta for v in want.values())
    network.load_state_dict({k: v.to(want[k].dtype) for k, v in have.items()}, strict=not apart, assign=hollow)


def save_weights(network: nn.Module, path: Path, dtype: torch.dtype = torch.float32, skip: Sequence[str] = ()) -> None:
    """Write a network's state; floating numbers as ``dtype``, keys in ``skip`` left out."""
    state: dict[str, Tensor] = {}
    for key, value in network.state_dict().items():
        if key not in skip:
            state[key] = value.detach().cpu().to(dtype if value.is_floating_point() else value.dtype).contiguous()
    save_file(state, path)


#: What stands at the end of a scale's name; see ``rows_as_bytes``.
_SCALE = ".scale"


def rows_as_bytes(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state a quarter as large: rows of matrices as whole numbers of one byte, with a half-precision scale a row.

    Tensors of one dimension, and those that are no floating numbers, are left as they are (floating ones in half
    precision).

    >>> weight = torch.tensor([[1.0, -0.5], [0.0, 0.0]])
    >>> small = rows_as_bytes({"w": weight, "b": torch.ones(2)})
    >>> small["w"].dtype, torch.equal(rows_from_bytes(small)["w"].round(decimals=2), weight)
    (torch.int8, True)
    """
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        if not value.is_floating_point():
            found[name] = value
        elif value.dim() < 2:
            found[name] = value.half()
        else:
            largest = value.detach().float().flatten(1).abs().amax(1)
            scale = (largest / 127).clamp_min(2.0**-24).half().clamp_min(2.0**-24)
            rows = (value.detach().float() / scale.float().view(-1, *[1] * (value.dim() - 1))).round()
            found[name], found[name + _SCALE] = rows.clamp(-127, 127).to(torch.int8), scale
    return found


def rows_from_bytes(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The other way of ``rows_as_bytes``; a state without bytes comes back as it is."""
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        scale = state.get(name + _SCALE)
        if value.dtype == torch.int8 and scale is not None and scale.shape == value.shape[:1]:
            found[name] = value.float() * scale.float().view(-1, *[1] * (value.dim() - 1))
        elif not (name.endswith(_SCALE) and state.get(name.removesuffix(_SCALE), value).dtype == torch.int8):
            found[name] = value
    return found


def count_weights(path: Path) -> int:
    """How many numbers a safetensors file holds; its header is read and no more.

    Raises:
        ArtifactError: it is no safetensors file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys())
    except (SafetensorError, OSError) as error:
        raise ArtifactError(f"{path} must be a safetensors file; got {error}.") from error


def folder_hash(folder: Path, names: Sequence[str]) -> str:
    """SHA-256 over the named files, in that order; 64 hex digits."""
    digest = hashlib.sha256()
    for name in names:
        with (folder / name).open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


@contextmanager
def written_folder(folder: str | Path) -> Iterator[Path]:
    """A temporary folder beside ``folder`` that takes its place when the block ends well, and vanishes otherwise.

    Its manifest, ``SHA256SUMS``, is written when the block ends (see ``hftrainer.models.sums``).
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield beside
        write_sums(beside)
        if folder.exists():
            old = beside.with_name(beside.name + "-old")
            os.replace(folder, old)
            os.replace(beside, folder)
            shutil.rmtree(old)
        else:
            os.replace(beside, folder)
    except SafetensorError as error:  # a full disk, in the words of its library
        said = shortened(" ".join(str(error).split()).rstrip("."), 200)
        raise OSError(f"{folder} must be written whole; got {said}. Free some space and run again.") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


class _NoDrawing(TorchFunctionMode):
    """Leaves out the drawing of first weights."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


@contextmanager
def unfilled() -> Iterator[None]:
    """Networks made inside have shapes and no numbers; ``load_state_dict(..., assign=True)`` gives them their own.

    Saves the memory and the time of first weights that a file replaces. The meta device alone would do, but drawing on
    it imports torch's compiler, which takes seconds.

    >>> with unfilled():
    ...     layer = nn.Embedding(10**6, 10**6)
    >>> layer.weight.is_meta
    True
    """
    with torch.device("meta"), _NoDrawing():
        yield


def write_json(path: Path, value: Any) -> None:
    """Indented JSON with a final newline."""
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
