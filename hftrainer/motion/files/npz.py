"""NPZ that describes itself: the numbers of a Motion with all that they mean."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from hftrainer.motion.clip import Motion
from hftrainer.motion.files.archive import read_arrays, write_arrays
from hftrainer.motion.files.notes import about_json

_FIELDS = ("data", "representation", "fps", "route", "about", "name")


def save_npz(motion: Motion, path: str | Path) -> None:
    """Write a motion with its representation, fps, route, name and ``about`` (prompt, seed, model, settings).

    The same motion gives the same bytes.

    Args:
        motion: any motion.
        path: the file; see ``hftrainer.motion.files.save`` for what happens to an older one.

    Raises:
        ValueError: ``about`` holds something that JSON cannot.
    """
    about = about_json(motion)
    fields: dict[str, Any] = {
        "data": motion.data,
        "representation": motion.representation.name,
        "fps": np.float64(motion.fps),
        "route": json.dumps(list(motion.route)),
        "about": about,
        "name": motion.name,
    }
    write_arrays(path, {field: fields[field] for field in _FIELDS})


def load_npz(path: str | Path) -> Motion:
    """Read a motion that ``save_npz`` wrote.

    Raises:
        ValueError: the file is damaged, or describes no motion.
    """
    path = Path(path)
    fields, found = read_arrays(path, _FIELDS)
    absent = [field for field in _FIELDS if field not in found]
    if absent:
        raise ValueError(
            f"{path.name}: a motion file must hold {', '.join(_FIELDS)}; {', '.join(absent)} is absent, found are "
            f"{', '.join(sorted(found)) or 'none'}. Save bare numbers as .npy and say what they are."
        )
    wrong = [field for field in _FIELDS if field != "data" and fields[field].shape != ()]
    if wrong or fields["data"].dtype.kind not in "fiu" or fields["fps"].dtype.kind not in "fiu":
        which = ", ".join(wrong) or "data and fps"
        raise ValueError(f"{path.name}: data and fps must be numbers, the others one text; {which} must be mended.")
    representation, name = str(fields["representation"][()])[:200], str(fields["name"][()])[:1000]
    try:
        about, route = (json.loads(str(fields[field][()])) for field in ("about", "route"))
    except (ValueError, RecursionError) as exc:
        raise ValueError(f"{path.name}: about and route must be JSON; {exc}. The file is damaged.") from exc
    if not isinstance(about, dict) or not isinstance(route, list) or not all(isinstance(step, str) for step in route):
        raise ValueError(f"{path.name}: about must be an object and route a list of names. The file is damaged.")
    try:
        return Motion(fields["data"], representation, float(fields["fps"]), tuple(route), about, name)
    except KeyError as exc:
        raise ValueError(f"{path.name}: {exc.args[0]} A newer version may have written the file.") from exc
