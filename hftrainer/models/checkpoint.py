"""Tensors out of training checkpoints, whose settings name classes of the program that wrote them.

A Lightning checkpoint keeps the authors' settings beside the weights, as objects. Making these would run the authors'
code, or anybody's. Here every class that is named becomes a ``Blank``, which does nothing, and only tensors come out.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from hftrainer.errors import ArtifactError
from hftrainer.models.artifact import read_torch_file


class Blank:
    """Takes the place of any object of an unknown class: it takes all that is given to it and keeps none of it.

    >>> blank = Blank("rm", force=True)
    >>> blank.__setstate__({"a": 1}); blank["a"] = 1
    >>> vars(blank)
    {}
    """

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        """Forgotten."""

    def __setitem__(self, key: Any, value: Any) -> None:
        """Forgotten."""


def read_named_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name; code that it names never runs.

    Args:
        path: ``.safetensors``; or a file of ``torch.save`` with tensors by name, or with such under ``state_dict``,
            whatever else is in it.

    Raises:
        ArtifactError: no such file, a damaged one, or one without tensors by name.
    """
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise ArtifactError(f"{path} must be a safetensors file; got {error}.") from error
    with torch.serialization.safe_globals([(Blank, name) for name in _named(path)]):
        value = read_torch_file(path)
    state = value.get("state_dict", value) if isinstance(value, Mapping) else value
    if not isinstance(state, Mapping):
        raise ArtifactError(f"{path} must hold tensors by name; got {type(state).__name__}.")
    tensors = {key: item for key, item in state.items() if isinstance(key, str) and isinstance(item, Tensor)}
    if not tensors:
        raise ArtifactError(f"{path} must hold tensors by name; it holds none.")
    return tensors


def _named(path: Path) -> list[str]:
    """What a file names that is neither torch's nor a number of NumPy's; nothing for one that cannot be read."""
    if not path.is_file() or not zipfile.is_zipfile(path):
        return []
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except (pickle.UnpicklingError, RuntimeError, ValueError, LookupError, EOFError, zipfile.BadZipFile):
        return []  # reading it will say what is wrong
    return [name for name in names if name not in _NUMBERS]


_NUMBERS = ("numpy.dtype", "numpy._core.multiarray.scalar", "numpy.core.multiarray.scalar")
