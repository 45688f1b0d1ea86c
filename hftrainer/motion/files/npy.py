"""NPY, bare numbers: what they mean is told by their shape where only one meaning fits, else by the caller."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hftrainer.motion.clip import Motion
from hftrainer.motion.files.archive import read_array
from hftrainer.motion.files.atomic import written_whole
from hftrainer.motion.representation.specs import REPRESENTATIONS, Representation, get_spec


def save_npy(motion: Motion, path: str | Path) -> None:
    """Write the numbers alone, ``(T, D)`` or ``(T, J, 3)`` float32; fps and meaning are not in the file.

    Args:
        motion: any motion.
        path: the file; see ``hftrainer.motion.files.save`` for what happens to an older one.
    """
    with written_whole(path) as beside, beside.open("wb") as file:
        np.save(file, motion.data)


def load_npy(path: str | Path, representation: str | None = None, fps: float | None = None) -> Motion:
    """Read bare numbers.

    Args:
        path: a file with one array, ``(T, 22, 3)``, ``(T, 263)`` or another shape of a known representation;
            ``(1, T, 22, 3)`` is one clip.
        representation: what the numbers mean; may be left out where exactly one representation has their shape.
        fps: frames per second; by default the rate that published data of the representation has (20 for ``hml263``
            and ``joints``, 12.5 for KIT). A file at another rate must be read with its own.

    Raises:
        KeyError: an unknown representation.
        ValueError: not an array of numbers, or a shape of no representation or of several.
    """
    path = Path(path)
    array = read_array(path)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{path.name}: the file must hold one array of real numbers; got {str(array.dtype)[:80]}.")
    if array.ndim == 4 and len(array) == 1:
        array = array[0]  # a batch of one, as demos of published code write it
    spec = _only(array, path.name) if representation is None else get_spec(representation)
    return Motion(array, spec, spec.fps if fps is None else fps, about={"file": path.name}, name=path.name)


def _only(array: np.ndarray, name: str) -> Representation:
    """The one representation whose frames have this shape."""
    frame = array.shape[1:]
    fitting = [spec for spec in REPRESENTATIONS.values() if frame in (spec.shape, (spec.width,))]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise ValueError(
            f"{name}: a width of {array.shape[-1]} is shared by {', '.join(spec.name for spec in fitting)}; it must be "
            "said which. Name the representation."
        )
    known = ", ".join(f"(T, {', '.join(map(str, spec.shape))}) {spec.name}" for spec in REPRESENTATIONS.values())
    raise ValueError(f"{name}: the array must have a shape of {known}; got {array.shape}.")
