"""The roads between representations: one road per pair, and the roads are data."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hftrainer.errors import NoRouteError
from hftrainer.motion.clip import Motion
from hftrainer.motion.representation.babel135 import babel135_to_motion135, motion135_to_babel135
from hftrainer.motion.representation.dart276 import dart276_to_joints, dart276_to_motion135, motion135_to_dart276
from hftrainer.motion.representation.hml263 import (
    hml263_to_joints,
    hml263_to_joints_by_rotations,
    joints_to_hml263,
    joints_to_kit251,
    kit251_to_joints,
)
from hftrainer.motion.representation.hymotion201 import (
    hymotion201_to_joints,
    hymotion201_to_motion135,
    motion135_to_hymotion201,
)
from hftrainer.motion.representation.interhuman262 import (
    interhuman262_to_joints,
    interhuman262_to_motion135,
    motion135_to_interhuman262,
)
from hftrainer.motion.representation.motion135 import (
    hml263_to_motion135,
    joints_to_motion135,
    motion135_to_hml263,
    motion135_to_joints,
)
from hftrainer.motion.representation.motion272 import (
    hml263_to_motion272,
    motion135_to_motion272,
    motion272_to_hml263,
    motion272_to_joints,
    motion272_to_motion135,
)
from hftrainer.motion.representation.specs import Representation, get_spec

__all__ = [
    "ROADS",
    "Road",
    "babel135_to_motion135",
    "convert",
    "dart276_to_joints",
    "dart276_to_motion135",
    "describe_route",
    "find_route",
    "hml263_to_joints",
    "hml263_to_joints_by_rotations",
    "hml263_to_motion135",
    "hml263_to_motion272",
    "hymotion201_to_joints",
    "hymotion201_to_motion135",
    "interhuman262_to_joints",
    "interhuman262_to_motion135",
    "joints_to_hml263",
    "joints_to_kit251",
    "joints_to_motion135",
    "kit251_to_joints",
    "motion135_to_babel135",
    "motion135_to_dart276",
    "motion135_to_hml263",
    "motion135_to_hymotion201",
    "motion135_to_interhuman262",
    "motion135_to_joints",
    "motion135_to_motion272",
    "motion272_to_hml263",
    "motion272_to_joints",
    "motion272_to_motion135",
]


@dataclass(frozen=True)
class Road:
    """One way from a representation to another.

    Attributes:
        source, target: names of representations.
        run: makes the target's numbers of the source's, ``run(array, name=...)``.
        exact: the movement stays what it was, and nothing is fitted, guessed or taken from a body that is not in the
            numbers. Where a clip starts and which way it faces may change: many representations do not hold it.
        fps: the only frame rate that the road takes, frames per second; ``None`` for any.
        to_fps: the frame rate that comes out; ``None`` for the one that went in.
        about: what the road does to the movement, in words.
        told_fps: ``run`` is also told the frame rate, ``run(array, fps, name=...)``.
    """

    source: str
    target: str
    run: Callable[..., np.ndarray]
    exact: bool
    fps: float | None = None
    to_fps: float | None = None
    about: str = ""
    told_fps: bool = False


_NEUTRAL = "on the neutral SMPL body"
_FITTED = f"rotations fitted {_NEUTRAL}: bones point as they did, about 25 mm off where lengths differ"

#: kit251 cannot be made from a Motion alone: its reference body is not public, so ``joints_to_kit251`` takes one.
ROADS: tuple[Road, ...] = (
    Road("hml263", "joints", hml263_to_joints, exact=True, about="the stored positions"),
    Road(
        "hml263", "motion135", hml263_to_motion135, exact=False, fps=20.0, to_fps=30.0,
        about=f"joints at 30 fps, on the floor, then {_FITTED}",
    ),
    Road(
        "joints", "hml263", joints_to_hml263, exact=False, fps=20.0,
        about="on HumanML3D's body, at the origin, facing +Z; one frame less",
    ),
    Road("joints", "motion135", joints_to_motion135, exact=False, about=_FITTED),
    Road("kit251", "joints_kit", kit251_to_joints, exact=True, about="the stored positions"),
    Road("motion135", "joints", motion135_to_joints, exact=False, about=f"forward kinematics {_NEUTRAL}"),
    Road(
        "motion135", "hml263", motion135_to_hml263, exact=False, to_fps=20.0, told_fps=True,
        about=f"positions {_NEUTRAL} at 20 fps, on HumanML3D's body, at the origin, facing +Z; one frame less",
    ),
    Road(
        "motion135", "motion272", motion135_to_motion272, exact=False, fps=30.0,
        about="positions on the average body of the 272 data; at the origin, on the floor, first heading taken out",
    ),
    Road(
        "motion135", "interhuman262", motion135_to_interhuman262, exact=False, fps=30.0,
        about=f"positions {_NEUTRAL}; at the origin, on the floor, hips facing +Z; one frame less",
    ),
    Road(
        "motion135", "dart276", motion135_to_dart276, exact=False, fps=20.0,
        about=f"positions {_NEUTRAL}; in the axes of its first frame, pelvis at 0; one frame less",
    ),
    Road(
        "motion135", "babel135", motion135_to_babel135, exact=True, fps=30.0,
        about="at the origin, turned by the first root rotation",
    ),
    Road(
        "motion135", "hymotion201", motion135_to_hymotion201, exact=False, fps=30.0,
        about=f"as it is, and its joints {_NEUTRAL}",
    ),
    Road("motion272", "joints", motion272_to_joints, exact=True, about="the stored positions"),
    Road("motion272", "motion135", motion272_to_motion135, exact=True, about="the stored rotations and pelvis"),
    Road(
        "motion272", "hml263", motion272_to_hml263, exact=False, fps=30.0, to_fps=20.0,
        about="the stored positions at 20 fps, on HumanML3D's body; one frame less",
    ),
    Road("interhuman262", "joints", interhuman262_to_joints, exact=True, about="the stored positions"),
    Road(
        "interhuman262", "motion135", interhuman262_to_motion135, exact=False,
        about="the stored body rotations; the root's, which is not stored, fitted to hips and spine",
    ),
    Road("dart276", "joints", dart276_to_joints, exact=True, about="the stored positions, facing +Z"),
    Road("dart276", "motion135", dart276_to_motion135, exact=True, about="the stored rotations and pelvis"),
    Road("babel135", "motion135", babel135_to_motion135, exact=True, about="the stored rotations; starts above 0"),
    Road("hymotion201", "motion135", hymotion201_to_motion135, exact=True, about="its first 135 numbers"),
    Road("hymotion201", "joints", hymotion201_to_joints, exact=True, about="the stored positions, in their place"),
)  # fmt: skip


def find_route(source: str, target: str, fps: float | None = None) -> tuple[Road, ...] | None:
    """The roads to take from one representation to another: as few that are not exact as possible, then as few.

    Args:
        source, target: names of representations.
        fps: frames per second at the start; ``None`` leaves rates out of account.

    Returns:
        Roads in order; empty when ``source`` is ``target``, ``None`` when no way leads there.

    >>> [road.target for road in find_route("hml263", "motion272", 20)]
    ['motion135', 'motion272']
    """
    waiting: list[tuple[int, int, int, str, float | None, tuple[Road, ...]]] = [(0, 0, 0, source, fps, ())]
    seen: set[tuple[str, float | None]] = set()
    order = 0
    while waiting:
        lossy, length, _, here, rate, way = heapq.heappop(waiting)
        if here == target:
            return way
        if (here, rate) in seen:
            continue
        seen.add((here, rate))
        for road in ROADS:
            if road.source == here and (rate is None or road.fps is None or abs(rate - road.fps) <= 1e-6):
                order += 1  # equally good ways: the one whose roads stand first
                after = rate if rate is None or road.to_fps is None else road.to_fps
                heapq.heappush(
                    waiting, (lossy + (not road.exact), length + 1, order, road.target, after, (*way, road))
                )
    return None


def convert(motion: Motion, target: str | Representation) -> Motion:
    """The same movement in another representation.

    Args:
        motion: what to convert.
        target: a representation or its name.

    Returns:
        A motion whose ``route`` ends with the representations it came through; ``motion`` itself when it already is in
        ``target``. Where no road leads straight there, several are taken, see ``find_route``; what each does to the
        movement stands in ``ROADS``.

    Raises:
        KeyError: an unknown representation.
        NoRouteError: no way from one to the other.
        ValueError: a frame rate that the roads do not take, or a clip that cannot be encoded.

    >>> import numpy as np
    >>> motion = convert(Motion(np.zeros((40, 263)), "hml263", fps=20), "joints")
    >>> motion.data.shape, motion.route
    ((40, 22, 3), ('hml263',))
    """
    spec, have = get_spec(target), motion.representation
    if spec.name == have.name:
        return motion
    best, route = find_route(have.name, spec.name), find_route(have.name, spec.name, motion.fps)
    if best is None or route is None or _lossy(route) > _lossy(best):  # no worse way round because of a frame rate
        raise _no_way(motion, spec, best or ())
    for road in route:
        rate = (motion.fps,) if road.told_fps else ()
        motion = motion.replace(
            data=road.run(motion.data, *rate, name=motion.name),
            representation=road.target,
            fps=motion.fps if road.to_fps is None else road.to_fps,
            route=(*motion.route, road.source),
        )
    return motion


#: What ``hftrainer.motion.edit.resample`` takes as it is.
_RESAMPLED = ("joints", "motion135")


def describe_route(motion: Motion, since: int = 0) -> list[str]:
    """What each road did to a converted motion, one sentence per road.

    Args:
        motion: a motion with a route.
        since: how much of its route to leave out: ``len(before.route)`` tells of the last conversion alone.

    >>> import numpy as np
    >>> describe_route(convert(Motion(np.zeros((40, 263)), "hml263", fps=20), "joints"))
    ['hml263 > joints, exact: the stored positions']
    """
    names = (*motion.route, motion.representation.name)[since:]
    known = {(road.source, road.target): road for road in ROADS}
    lines = []
    for source, target in zip(names, names[1:], strict=False):
        road = known.get((source, target))
        if road is not None:
            rate = "" if road.to_fps is None else f", {road.to_fps:g} fps"
            lines.append(f"{source} > {target}{rate}, {'exact' if road.exact else 'lossy'}: {road.about}")
    return lines


def _lossy(route: tuple[Road, ...]) -> int:
    return sum(not road.exact for road in route)


def _no_way(motion: Motion, spec: Representation, best: tuple[Road, ...]) -> ValueError:
    """Why there is none: a frame rate on the best way, or no roads at all."""
    have, rate = motion.representation.name, motion.fps
    for road in best:
        if road.fps is not None and abs(rate - road.fps) > 1e-6:
            how = "Resample it" if have in _RESAMPLED else f"Convert it to {road.source} and resample that"
            return ValueError(
                f"{motion.name}: {road.source} must have {road.fps:g} fps to become {road.target}; got {rate:g}. "
                f"{how} to {road.fps:g} first."
            )
        rate = rate if road.to_fps is None else road.to_fps
    leads = [name for name in _reached(have) if name != have]
    return NoRouteError(
        f"{motion.name}: there must be a road from {have} to {spec.name}; {have} leads to "
        f"{', '.join(leads) or 'nothing'}. Convert to one of those, or load the clip in another representation."
    )


def _reached(source: str) -> list[str]:
    """Every representation that roads lead to, the nearest first."""
    found = [source]
    for here in found:
        found += [road.target for road in ROADS if road.source == here and road.target not in found]
    return found
