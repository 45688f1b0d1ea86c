"""Motion files: ``load`` and ``save`` choose the format by the ending; one module for each format."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hftrainer.motion.clip import Motion

#: What can be read and written, with what it is. ``.asf`` is read with its ``.amc``.
READ = {
    ".npz": "self-describing motion",
    ".npy": "bare numbers",
    ".bvh": "skeleton and rotations",
    ".amc": "CMU capture, its .asf beside it",
}
WRITE = {ending: what for ending, what in READ.items() if ending != ".amc"}


def load(
    path: str | os.PathLike[str],
    representation: str | None = None,
    fps: float | None = None,
    unit: str | None = None,
) -> Motion:
    """A motion from a file.

    Args:
        path: ``.npz``, ``.npy``, ``.bvh`` or ``.amc``.
        representation: what the numbers of a ``.npy`` mean, where the shape does not say; elsewhere what the file is
            expected to be.
        fps: frames per second where the file does not say: needed for ``.amc``, and for a ``.npy`` that has not the
            usual rate of its representation (20, KIT 12.5). Elsewhere what the file is expected to have.
        unit: of a ``.bvh``: ``"m"``, ``"cm"``, ``"mm"`` or ``"cmu"``; by default told by the length of the legs.

    Returns:
        The motion as the file has it: nothing is resampled or converted.

    Raises:
        FileNotFoundError: no such file, or no ``.asf`` beside an ``.amc``.
        ValueError: an unknown ending, a damaged file, or a file that is not what was expected.
        KeyError: an unknown representation.

    >>> import tempfile
    >>> import numpy as np
    >>> where = Path(tempfile.mkdtemp()) / "still.npz"
    >>> save(Motion(np.zeros((4, 263)), "hml263", fps=20, about={"seed": 3}), where)
    >>> load(where), load(where).about
    (Motion(hml263, 4 frames, 20 fps), {'seed': 3})
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind == ".asf":
        raise ValueError(f"{path.name} is a skeleton without movement. Load the .amc beside it.")
    if kind not in READ:
        raise ValueError(f"a motion file must end in {_listed(READ)}; got {path.name!r}.")
    if not path.is_file():
        raise FileNotFoundError(f"{path} must be a motion file; there is none. Check the path.")
    if unit is not None and kind != ".bvh":
        raise ValueError(f"{path.name}: unit must be left out for {kind}; got {unit!r}. Only a .bvh needs one.")
    if kind == ".npy":
        from hftrainer.motion.files.npy import load_npy

        return load_npy(path, representation, fps)
    if kind == ".amc":
        motion = _load_amc(path, fps)
    elif kind == ".bvh":
        from hftrainer.motion.files.bvh import load_bvh

        motion = load_bvh(path, unit)
    else:
        from hftrainer.motion.files.npz import load_npz

        motion = load_npz(path)
    return _as_expected(motion, path.name, representation, fps)


def save(motion: Motion, path: str | os.PathLike[str], **options: Any) -> None:
    """Write a motion to a file.

    The file appears under its name only when it is whole; an older one is replaced then and not before. Missing folders
    are made.

    Args:
        motion: any motion; a ``.bvh`` needs one that converts to joints.
        path: ``.npz`` keeps everything, ``.npy`` the bare numbers, ``.bvh`` skeleton and rotations.
        **options: those of the format: ``.bvh`` takes ``unit``, ``names``, ``fps``, ``in_place`` and ``bones``, see
            ``hftrainer.motion.files.bvh.save_bvh``; the others take none.

    Raises:
        ValueError: an unknown ending, option value, or a motion that the format cannot hold.
        TypeError: an option that the format does not have.
        OSError: the place cannot be written.

    >>> import numpy as np
    >>> save(Motion(np.zeros((4, 263)), "hml263", fps=20), "walk.avi")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: a motion file must end in .npz (self-describing motion), ...; got 'walk.avi'.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in WRITE:
        raise ValueError(f"a motion file must end in {_listed(WRITE)}; got {path.name!r}.")
    if kind == ".bvh":
        from hftrainer.motion.files.bvh import save_bvh

        wrong = sorted(set(options) - {"unit", "names", "fps", "in_place", "bones"})
        if wrong:
            raise TypeError(f".bvh takes unit, names, fps, in_place and bones; got {', '.join(wrong)}.")
        save_bvh(motion, path, **options)
        return
    if options:
        raise TypeError(f"{kind} takes no options; got {', '.join(sorted(options))}.")
    if kind == ".npz":
        from hftrainer.motion.files.npz import save_npz

        save_npz(motion, path)
    else:
        from hftrainer.motion.files.npy import save_npy

        save_npy(motion, path)


def _listed(endings: dict[str, str]) -> str:
    return ", ".join(f"{ending} ({what})" for ending, what in endings.items())


def _load_amc(path: Path, fps: float | None) -> Motion:
    """A CMU trial as joint positions in metres."""
    from hftrainer.motion.files import asf
    from hftrainer.motion.files.matching import match_joints

    if fps is None:
        raise ValueError(
            f"{path.name}: fps must be said, an .amc does not hold it. CMU's trials have 120 "
            "(subjects 33, 34, 42, 60-62, 74, 75, 77, 79, 80, 87-89 and 141: 60)."
        )
    body = asf.find_skeleton(path)
    recording = asf.read_recording(path, body)
    metres = asf.parse_asf(body.read_text(encoding="utf-8", errors="replace"), body.name).metres
    world = recording.figure.global_rotations(recording.rotations)
    positions = recording.figure.positions(world, recording.translation)
    mapping = match_joints(recording.figure.names, path.name, recording.figure.parents)
    joints = mapping.joints(recording.figure.names, positions, path.name)
    about = {"file": path.name, "skeleton": mapping.skeleton}
    return Motion(joints * metres, "joints", fps, about=about, name=path.name)


def _as_expected(motion: Motion, name: str, representation: str | None, fps: float | None) -> Motion:
    """The motion, when it is what the caller said it would be."""
    from hftrainer.motion.representation.specs import get_spec

    have = motion.representation.name
    if representation is not None and get_spec(representation).name != have:
        raise ValueError(f"{name}: the file must hold {representation}; it holds {have}. Convert it afterwards.")
    if fps is not None and abs(fps - motion.fps) > 1e-3 * motion.fps:
        raise ValueError(f"{name}: the file must have {fps:g} fps; it has {motion.fps:g}. Resample it.")
    return motion
