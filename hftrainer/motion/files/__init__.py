"""Motion files: ``load`` and ``save`` choose the format by the ending; one module for each format."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hftrainer.motion.clip import Motion
from hftrainer.motion.files.told import told_of

#: What can be read, with what it is. ``.asf`` is read with its ``.amc``.
READ = {
    ".npz": "self-describing motion, or AMASS",
    ".npy": "bare numbers",
    ".bvh": "skeleton and rotations",
    ".amc": "CMU capture, its .asf beside it",
    ".c3d": "named joint centres",
    ".trc": "named joint centres",
    ".csv": "MuJoCo qpos",
    ".fbx": "animation, through Blender",
}
#: What can be written.
WRITE = {
    ".npz": "self-describing motion, or AMASS",
    ".npy": "bare numbers",
    ".bvh": "skeleton and rotations",
    ".glb": "animated body for viewers and engines",
    ".usda": "animated body for USD",
    ".csv": "MuJoCo qpos",
    ".fbx": "animated body, through Blender",
}
#: Options of ``load`` and of ``save`` by ending; the others take none.
READ_OPTIONS = {
    ".bvh": ("unit", "up", "mapping"), ".c3d": ("unit", "up", "mapping"), ".trc": ("unit", "up", "mapping"),
    ".fbx": ("unit", "up", "mapping", "blender"), ".npz": ("up",),
}  # fmt: skip
WRITE_OPTIONS = {
    ".bvh": ("unit", "names", "up", "fps", "in_place", "bones"), ".glb": ("names", "fps", "in_place", "bones"),
    ".usda": ("names", "fps", "in_place", "bones"), ".fbx": ("names", "fps", "in_place", "bones", "blender"),
    ".csv": ("fps", "in_place"), ".npz": ("layout", "up"),
}  # fmt: skip
LAYOUTS = ("hftrainer", "amass")


def load(
    path: str | os.PathLike[str],
    representation: str | None = None,
    fps: float | None = None,
    unit: str | None = None,
    **options: Any,
) -> Motion:
    """A motion from a file.

    Args:
        path: ``.npz``, ``.npy``, ``.bvh``, ``.amc``, ``.c3d``, ``.trc``, ``.csv`` or ``.fbx``.
        representation: what the numbers of a ``.npy`` mean, where the shape does not say; elsewhere what the file is
            expected to be.
        fps: frames per second where the file does not say: needed for ``.amc``, and for a ``.npy`` that has not the
            usual rate of its representation. Elsewhere what the file is expected to have.
        unit: of a ``.bvh``, ``.c3d``, ``.trc`` or ``.fbx``: ``"m"``, ``"cm"``, ``"mm"`` or ``"cmu"``; by default what
            the file says, or what the length of the legs tells.
        **options: ``up``, the axis that points up in the file (``"y"``, ``"z"``, …; by default the one along which the
            body stands); ``mapping``, where each of the 22 joints is found: a ``Mapping`` or the path of its JSON file
            (by default told from names, else from the shape); ``blender``, the program that reads ``.fbx``.

    Returns:
        The motion as the file has it: nothing is resampled or converted.

    Raises:
        FileNotFoundError: no such file, no ``.asf`` beside an ``.amc``, or no Blender for an ``.fbx``.
        ValueError: an unknown ending, a damaged file, or a file that is not what was expected.
        TypeError: an option that does not exist.
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
    known = sorted({name for names in READ_OPTIONS.values() for name in names})
    strange = sorted(set(options) - set(known))
    if strange:
        raise TypeError(f"load takes {', '.join(known)}; got {', '.join(strange)}.")
    given = {name: value for name, value in {"unit": unit, **options}.items() if value is not None}
    for name, value in given.items():
        if name not in READ_OPTIONS.get(kind, ()):
            where = ", ".join(ending for ending, names in READ_OPTIONS.items() if name in names)
            raise ValueError(f"{path.name}: {name} must be left out for {kind}; got {value!r}. It is for {where}.")
    with told_of(path.name):
        if kind == ".npy":
            from hftrainer.motion.files.npy import load_npy

            return load_npy(path, representation, fps)
        return _as_expected(_load(path, kind, fps, given), path.name, representation, fps)


def _load(path: Path, kind: str, fps: float | None, given: dict[str, Any]) -> Motion:
    """What a file of a format that describes itself holds."""
    if kind == ".amc":
        return _load_amc(path, fps)
    if kind == ".bvh":
        from hftrainer.motion.files.bvh import load_bvh

        return load_bvh(path, **given)
    if kind == ".fbx":
        from hftrainer.motion.files.fbx import load_fbx

        return load_fbx(path, **given)
    if kind == ".csv":
        from hftrainer.motion.files.qpos import load_csv

        return load_csv(path)
    if kind in (".c3d", ".trc"):
        from hftrainer.motion.files.c3d import read_c3d
        from hftrainer.motion.files.markers import markers_to_motion, read_trc

        return markers_to_motion(read_c3d(path) if kind == ".c3d" else read_trc(path), path.name, **given)
    from hftrainer.motion.files.amass import is_amass, load_amass
    from hftrainer.motion.files.archive import read_arrays
    from hftrainer.motion.files.npz import load_npz

    if is_amass(set(read_arrays(path, ())[1])):
        return load_amass(path, fps, **given)
    if given:
        raise ValueError(f"{path.name}: up must be left out; got {given['up']!r}. Only AMASS's .npz has another axis.")
    return load_npz(path)


def save(motion: Motion, path: str | os.PathLike[str], **options: Any) -> None:
    """Write a motion to a file.

    The file appears under its name only when it is whole; an older one is replaced then and not before. Missing folders
    are made.

    Args:
        motion: any motion; ``.npz`` and ``.npy`` hold every representation, the others what converts to joints.
        path: ``.npz`` keeps everything, ``.npy`` the bare numbers; ``.bvh``, ``.glb``, ``.usda``, ``.fbx`` and ``.csv``
            are for other programs.
        **options: those of the format (``WRITE_OPTIONS``): ``unit``, ``names``, ``up``, ``fps``, ``in_place`` and
            ``bones`` are described in ``hftrainer.motion.files.bvh.save_bvh``, ``blender`` in ``fbx.save_fbx``;
            ``layout="amass"`` writes an ``.npz`` with AMASS's keys, and ``up`` is the axis of that.

    Raises:
        ValueError: an unknown ending, option value, or a motion that the format cannot hold.
        TypeError: an option that the format does not have.
        FileNotFoundError: no Blender for an ``.fbx``.
        OSError: the place cannot be written.

    >>> import numpy as np
    >>> save(Motion(np.zeros((4, 263)), "hml263", fps=20), "walk.avi")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: a motion file must end in .npz (self-describing motion, or AMASS), ...; got 'walk.avi'.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in WRITE:
        raise ValueError(f"a motion file must end in {_listed(WRITE)}; got {path.name!r}.")
    allowed = WRITE_OPTIONS.get(kind, ())
    wrong = sorted(set(options) - set(allowed))
    if wrong:
        raise TypeError(f"{kind} takes {', '.join(allowed) or 'no options'}; got {', '.join(wrong)}.")
    if kind == ".npz":
        _save_npz(motion, path, **options)
    elif kind == ".npy":
        from hftrainer.motion.files.npy import save_npy

        save_npy(motion, path)
    elif kind == ".bvh":
        from hftrainer.motion.files.bvh import save_bvh

        save_bvh(motion, path, **options)
    elif kind == ".glb":
        from hftrainer.motion.files.glb import save_glb

        save_glb(motion, path, **options)
    elif kind == ".usda":
        from hftrainer.motion.files.usda import save_usda

        save_usda(motion, path, **options)
    elif kind == ".csv":
        from hftrainer.motion.files.qpos import save_csv

        save_csv(motion, path, **options)
    else:
        from hftrainer.motion.files.fbx import save_fbx

        save_fbx(motion, path, **options)


def _save_npz(motion: Motion, path: Path, layout: str = "hftrainer", **options: Any) -> None:
    if layout not in LAYOUTS:
        raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}; got {layout!r}.")
    if layout == "amass":
        from hftrainer.motion.files.amass import save_amass

        save_amass(motion, path, **options)
        return
    if options:
        raise TypeError(f".npz takes up with layout='amass' only; got up={options['up']!r}.")
    from hftrainer.motion.files.npz import save_npz

    save_npz(motion, path)


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
