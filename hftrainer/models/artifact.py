"""Model folders: from a name to checked files, strict weight loading, writing beside and then renaming."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hftrainer.errors import ArtifactError

#: Artifacts that ship with the package.
BUILT_IN = Path(__file__).parent.parent / "artifacts"

Config = TypeVar("Config")


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
    from huggingface_hub import snapshot_download  # only a hub name pays for this import
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(str(name), revision=revision, local_files_only=local_files_only))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ArtifactError(
            f"the model must be a folder, a built-in name ({built_in}) or a hub repository that can be reached; "
            f"got {str(name)!r}: {str(error).splitlines()[0]}"
        ) from error


def check_files(folder: Path, names: Sequence[str]) -> None:
    """Every file of ``names`` must be in ``folder``; all absences come in one ``ArtifactError``."""
    absent = [name for name in names if not (folder / name).is_file()]
    if absent:
        raise ArtifactError(f"{folder} must hold {', '.join(names)}; absent: {', '.join(absent)}.")


def read_config(kind: type[Config], values: Mapping[str, Any], where: str) -> Config:
    """A frozen config from JSON or TOML values; unknown fields are refused by name."""
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - known)
    if unknown:
        raise ArtifactError(
            f"{where} must have the fields {', '.join(sorted(known))}; got {', '.join(unknown)} as well."
        )
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise ArtifactError(f"{where}: {error}") from error


def load_weights(network: nn.Module, path: Path, apart: Sequence[str] = ()) -> None:
    """Fill a network from a safetensors file, all or nothing; half precision is widened.

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
    wrong = [f"missing {k}" for k in sorted(want.keys() - have.keys())]
    wrong += [f"unexpected {k}" for k in sorted(have.keys() - want.keys())]
    wrong += [
        f"{k} is {tuple(have[k].shape)}, the network needs {tuple(want[k].shape)}"
        for k in sorted(have.keys() & want.keys())
        if have[k].shape != want[k].shape
    ]
    if wrong:
        raise ArtifactError(f"{path} does not fit {type(network).__name__}: {'; '.join(wrong)}.")
    network.load_state_dict({k: v.to(want[k].dtype) for k, v in have.items()}, strict=not apart)


def save_weights(network: nn.Module, path: Path, dtype: torch.dtype = torch.float32, skip: Sequence[str] = ()) -> None:
    """Write a network's state; floating numbers as ``dtype``, keys in ``skip`` left out."""
    state: dict[str, Tensor] = {}
    for key, value in network.state_dict().items():
        if key not in skip:
            state[key] = value.detach().cpu().to(dtype if value.is_floating_point() else value.dtype).contiguous()
    save_file(state, path)


def folder_hash(folder: Path, names: Sequence[str]) -> str:
    """First 16 hex digits of the SHA-256 over the named files, in that order."""
    digest = hashlib.sha256()
    for name in names:
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()[:16]


@contextmanager
def written_folder(folder: str | Path) -> Iterator[Path]:
    """A temporary folder beside ``folder`` that takes its place when the block ends well, and vanishes otherwise."""
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield beside
        if folder.exists():
            old = beside.with_name(beside.name + "-old")
            os.replace(folder, old)
            os.replace(beside, folder)
            shutil.rmtree(old)
        else:
            os.replace(beside, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    """Indented JSON with a final newline."""
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
