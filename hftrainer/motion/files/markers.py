"""Points with names: TRC files, and how named joint centres of TRC or C3D become a body."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hftrainer.motion.clip import Motion
from hftrainer.motion.files.mapping import Mapping, read_mapping
from hftrainer.motion.files.matching import match_joints
from hftrainer.motion.files.names import UNITS
from hftrainer.motion.files.settle import check_reading, settled
from hftrainer.motion.files.told import shortened

_GAP_SECONDS = 0.25  # a point that is out of sight for longer is not led across


@dataclass(frozen=True, eq=False)
class Markers:
    """Points as a file has them.

    Attributes:
        names: one for each point.
        positions: ``(T, N, 3)`` in the file's unit, NaN where a point was out of sight.
        fps: frames per second.
        unit: what the file says, as it says it; empty when it does not.
    """

    names: tuple[str, ...]
    positions: np.ndarray
    fps: float
    unit: str


def markers_to_motion(
    markers: Markers, file: str, unit: str | None = None, up: str | None = None, mapping: Any = None
) -> Motion:
    """The body whose joint centres a file's points are.

    Args:
        markers: the points. Gaps of at most a quarter of a second are led across in a straight line, which ``about``
            notes as ``filled``.
        file: what error messages call the source.
        unit: ``"m"``, ``"cm"``, ``"mm"``; by default what the file says, else told by the length of the legs.
        up: the axis that points up; by default the one along which the body stands.
        mapping: a ``Mapping``, its values or its file; by default found from the names.

    Returns:
        A Motion of ``joints``, metres, +Y up, at the file's own rate.

    Raises:
        ValueError: joints that no point tells, or a point that is out of sight too long.
    """
    check_reading(unit, up)
    if mapping is None:
        mapping = match_joints(markers.names, file)
    elif not isinstance(mapping, Mapping):
        mapping = read_mapping(mapping)
    needed = {name for spot in mapping.spots.values() for name in spot}
    positions = markers.positions.copy()
    filled = 0
    for column, name in enumerate(markers.names):
        if name in needed:
            filled += _fill(positions[:, column], f"{file}: {name}", markers.fps)
        else:
            positions[:, column] = np.nan_to_num(positions[:, column])  # nobody looks at it
    joints = mapping.joints(markers.names, positions, file)
    if unit is None and markers.unit.lower().rstrip("s") in UNITS:
        unit = markers.unit.lower().rstrip("s")
    motion = settled(joints, markers.fps, mapping, file, unit, up)
    return motion.replace(about={**motion.about, "filled": filled}) if filled else motion


def _fill(track: np.ndarray, what: str, fps: float) -> int:
    """Lead ``(T, 3)`` across short gaps, in place; how many frames were out of sight."""
    lost = ~np.isfinite(track).all(axis=1)
    if not lost.any():
        return 0
    edges = np.flatnonzero(np.diff(np.concatenate([[0], lost.astype(np.int8), [0]])))
    longest = int((edges[1::2] - edges[::2]).max())
    if lost[0] or lost[-1] or longest > _GAP_SECONDS * fps:
        raise ValueError(
            f"{what} must be seen throughout; it is out of sight in {int(lost.sum())} of {len(track)} frames, first in "
            f"frame {int(lost.argmax())}. Fill the gaps, cut the clip, or leave the point out with a mapping."
        )
    seen = np.flatnonzero(~lost)
    for axis in range(3):
        track[lost, axis] = np.interp(np.flatnonzero(lost), seen, track[seen, axis])
    return int(lost.sum())


def read_trc(path: str | Path) -> Markers:
    """A TRC file, the tab-separated text of Motion Analysis and OpenSim.

    Raises:
        ValueError: the file is damaged; the message says what is wrong.
    """
    path = Path(path)
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    head = next((i for i, line in enumerate(lines) if line.split("\t")[0].strip() == "DataRate"), None)
    labels = next((i for i, line in enumerate(lines) if line.split("\t")[0].strip() == "Frame#"), None)
    if head is None or labels is None or labels <= head + 1:
        raise ValueError(f"{path.name}: a TRC file must have lines that begin with DataRate and Frame#; it has not.")
    facts = dict(zip(lines[head].split("\t"), lines[head + 1].split("\t"), strict=False))
    names = tuple(name.strip() for name in lines[labels].split("\t")[2:] if name.strip())
    try:
        fps, frames, count = float(facts["DataRate"]), int(float(facts["NumFrames"])), int(float(facts["NumMarkers"]))
    except (KeyError, ValueError, OverflowError) as exc:
        raise ValueError(f"{path.name}: DataRate, NumFrames and NumMarkers must be numbers; got {facts}.") from exc
    body = [line for line in lines[labels + 1 :] if line.partition("\t")[0].strip().isdecimal()]
    if len(names) != count or len(body) != frames or frames < 1:
        raise ValueError(
            f"{path.name}: it must hold the {frames} frames of {count} markers it declares; got {len(body)} frames "
            f"of {len(names)}. The file is cut short or damaged."
        )
    if not (np.isfinite(fps) and fps > 0):
        raise ValueError(f"{path.name}: DataRate must be above 0; got {fps}.")
    positions = np.array([_numbers(line, 3 * count, f"{path.name}, frame {n}") for n, line in enumerate(body, 1)])
    return Markers(names, positions.reshape(frames, count, 3), fps, facts.get("Units", "").strip())


def _numbers(line: str, count: int, what: str) -> list[float]:
    cells = [cell.strip() for cell in line.split("\t")[2:]]
    cells = [*cells, *[""] * (count - len(cells))]
    if any(cells[count:]):
        raise ValueError(f"{what} must have {count} coordinates; got more. The file is damaged.")
    try:
        return [float(cell) if cell else float("nan") for cell in cells[:count]]
    except ValueError as exc:
        raise ValueError(f"{what} must hold numbers only; {shortened(str(exc), 200)}. The file is damaged.") from exc


def listed(names: Sequence[str]) -> str:
    """Names for a message, the first twenty of many.

    >>> listed(["LHJC", "RHJC"])
    'LHJC, RHJC'
    """
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
