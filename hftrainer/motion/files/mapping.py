"""Which joints of a foreign skeleton stand for the 22 joints of SMPL: found by itself, shown, edited and kept."""

from __future__ import annotations

import json
from collections.abc import Mapping as Table
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hftrainer.motion.files.atomic import written_whole
from hftrainer.motion.files.names import SKELETON_NAMES, plain_name
from hftrainer.motion.skeleton import SMPL22


@dataclass(frozen=True, eq=False)
class Mapping:
    """For each of the 22 joints where it is found in a file.

    Attributes:
        spots: joint of SMPL-22 -> joints (or markers) of the file with their shares, which add up to 1. One name with
            share 1 is that joint; two with 0.5 are the point between them; a negative share lies beyond.
        skeleton: what was recognised: a known skeleton, ``"names"``, ``"shape"``, or the mapping file.
    """

    spots: Table[str, Table[str, float]]
    skeleton: str

    def joints(self, names: Sequence[str], positions: np.ndarray, file: str) -> np.ndarray:
        """The 22 joints.

        Args:
            names: joint names of the file, the far end of a last bone as ``"NAME@end"``.
            positions: ``(T, J, 3)``.
            file: what error messages call the source.

        Returns:
            ``(T, 22, 3)`` in the unit of ``positions``.

        Raises:
            ValueError: the mapping names joints that the file has not; the message lists both.

        >>> middle = {joint: {"a": 0.5, "b": 0.5} for joint in SMPL22.joints}
        >>> Mapping(middle, "names").joints(["a", "b"], np.array([[[0, 0, 0], [2, 0, 0]]]), "x.trc")[0, 3].tolist()
        [1.0, 0.0, 0.0]
        """
        at = {plain_name(name): index for index, name in reversed(list(enumerate(names)))}
        at.update({name: index for index, name in reversed(list(enumerate(names)))})
        mixed = np.zeros((len(SMPL22.joints), len(names)))
        absent = []
        for joint, spot in enumerate(self.spots[name] for name in SMPL22.joints):
            for name, share in spot.items():
                found = at.get(name, at.get(plain_name(name)))
                if found is None:
                    absent.append(name)
                else:
                    mixed[joint, found] += share
        if absent:
            raise ValueError(
                f"{file}: the mapping must name joints of the file; {', '.join(dict.fromkeys(absent))} are not there. "
                f"The file has {', '.join(names)}. Edit the mapping."
            )
        return np.einsum("kj,tjc->tkc", mixed, np.asarray(positions, dtype=np.float64))

    def lines(self) -> list[str]:
        """One line per joint, to show: ``left_hip        LeftUpLeg``."""
        width = max(map(len, SMPL22.joints)) + 2
        return [f"{joint:<{width}}{_shown(self.spots[joint])}" for joint in SMPL22.joints]

    def plain(self) -> dict[str, str | dict[str, float]]:
        """The mapping as JSON values: a name, or names with their shares."""
        return {joint: _plain(self.spots[joint]) for joint in SMPL22.joints}


def _shown(spot: Table[str, float]) -> str:
    return " + ".join(name if share == 1 else f"{share:g} {name}" for name, share in spot.items())


def _plain(spot: Table[str, float]) -> str | dict[str, float]:
    return next(iter(spot)) if list(spot.values()) == [1.0] else {name: round(v, 6) for name, v in spot.items()}


def save_mapping(mapping: Mapping, path: str | Path) -> None:
    """Write a mapping as JSON, to be edited and handed to ``load(..., mapping=path)``.

    Args:
        mapping: what ``match_joints`` found.
        path: the file; an older one is replaced when the new one is whole.

    Raises:
        OSError: the place cannot be written.
    """
    with written_whole(path) as beside:
        beside.write_text(json.dumps(mapping.plain(), indent=2) + "\n", encoding="utf-8")


def read_mapping(source: str | Path | Table[str, object]) -> Mapping:
    """A mapping from a JSON file, or from the values of one.

    Args:
        source: the file, or ``{"pelvis": "Hips", "spine3": {"Chest": 0.5, "Neck": 0.5}, …}`` with all 22 joints.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not JSON, a joint that is absent or unknown, or shares that do not add up to 1.

    >>> read_mapping({"pelvis": "Hips"})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: mapping: it must give all 22 joints; left_hip, ... are absent. Add them.
    """
    name = "mapping"
    values: object = source
    if isinstance(source, str | Path):
        name = Path(source).name
        if not Path(source).is_file():
            raise FileNotFoundError(f"{source} must be a mapping file; there is none. Check the path.")
        try:
            values = json.loads(Path(source).read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as exc:
            raise ValueError(f"{name}: a mapping must be JSON; {exc}. Save one anew and edit that.") from exc
    if not isinstance(values, Table):
        raise ValueError(f"{name}: a mapping must be one JSON object; got {type(values).__name__}. Save one anew.")
    unknown = sorted(set(values) - set(SMPL22.joints))
    absent = [joint for joint in SMPL22.joints if joint not in values]
    if unknown:
        raise ValueError(f"{name}: it must name joints of SMPL-22; got {', '.join(unknown)}. Take those out.")
    if absent:
        raise ValueError(f"{name}: it must give all 22 joints; {', '.join(absent)} are absent. Add them.")
    spots: dict[str, dict[str, float]] = {}
    for joint, value in values.items():
        spot = {value: 1.0} if isinstance(value, str) else value
        whole = isinstance(spot, Table) and all(
            isinstance(n, str) and isinstance(s, int | float) and abs(s) <= 1000 for n, s in spot.items()
        )
        if not whole or abs(sum(spot.values()) - 1) > 1e-3:
            raise ValueError(
                f"{name}: {joint} must be a joint's name, or names with shares that add up to 1; got {value!r}. "
                "Mend it."
            )
        spots[joint] = {n: float(s) for n, s in spot.items()}
    return Mapping(spots, name)


def known_spots(skeleton: str) -> dict[str, dict[str, float]]:
    """Where a known skeleton has the 22 joints, by its own names.

    Raises:
        KeyError: an unknown skeleton.

    >>> known_spots("accad")["spine3"]
    {'Spine1': 0.5, 'Neck': 0.5}
    """
    shares: dict[str, dict[str, float]] = {}
    for joint, spot in zip(SMPL22.joints, SKELETON_NAMES[skeleton], strict=True):
        start, stop, share = (spot, spot, 0.0) if isinstance(spot, str) else spot
        shares[joint] = {start: 1.0} if share == 0 else {start: 1.0 - share, stop: share}
    return shares


def known_skeleton(names: Sequence[str]) -> Mapping | None:
    """The mapping of a skeleton that many files have, when these are its joint names; else ``None``.

    >>> known_skeleton(["Hips", "Tail"]) is None
    True
    """
    at = {plain_name(name): name for name in reversed(list(names))}
    for skeleton in SKELETON_NAMES:
        spots = known_spots(skeleton)
        if {plain_name(name) for spot in spots.values() for name in spot} <= at.keys():
            shares = {j: {at[plain_name(n)]: share for n, share in spot.items()} for j, spot in spots.items()}
            return Mapping(shares, skeleton)
    return None
