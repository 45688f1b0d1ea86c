"""The roads between representations: one road per pair, and the roads are data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hftrainer.errors import NoRouteError
from hftrainer.motion.clip import Motion
from hftrainer.motion.representation.hml263 import (
    hml263_to_joints,
    hml263_to_joints_by_rotations,
    joints_to_hml263,
    joints_to_kit251,
    kit251_to_joints,
)
from hftrainer.motion.representation.specs import Representation, get_spec

__all__ = [
    "ROADS",
    "Road",
    "convert",
    "hml263_to_joints",
    "hml263_to_joints_by_rotations",
    "joints_to_hml263",
    "joints_to_kit251",
    "kit251_to_joints",
]


def _to_hml263(motion: Motion) -> np.ndarray:
    return joints_to_hml263(motion.data, name=motion.name)


def _from_hml263(motion: Motion) -> np.ndarray:
    return hml263_to_joints(motion.data, name=motion.name)


def _from_kit251(motion: Motion) -> np.ndarray:
    return kit251_to_joints(motion.data, name=motion.name)


@dataclass(frozen=True)
class Road:
    """One way from a representation to another.

    Attributes:
        source, target: names of representations.
        run: makes the target's numbers of a motion in the source representation.
        exact: the numbers of the source say all that the numbers of the target say.
        fps: the only frame rate that the road takes, frames per second; ``None`` for any.
    """

    source: str
    target: str
    run: Callable[[Motion], np.ndarray]
    exact: bool
    fps: float | None = None


#: kit251 cannot be made from a Motion alone: its reference body is not public, so ``joints_to_kit251`` takes one.
ROADS: tuple[Road, ...] = (
    Road("hml263", "joints", _from_hml263, exact=True),
    Road("joints", "hml263", _to_hml263, exact=False, fps=20.0),
    Road("kit251", "joints_kit", _from_kit251, exact=True),
)


def convert(motion: Motion, target: str | Representation) -> Motion:
    """The same movement in another representation.

    Args:
        motion: what to convert.
        target: a representation or its name.

    Returns:
        A motion whose ``route`` ends with the representation it came from; ``motion`` itself when it already is in
        ``target``. ``joints`` to ``hml263`` puts the movement on HumanML3D's reference body, at the origin, facing +Z,
        and loses one frame.

    Raises:
        KeyError: an unknown representation.
        NoRouteError: no road between the two.
        ValueError: a frame rate that the road does not take, or a clip that cannot be encoded.

    >>> import numpy as np
    >>> motion = convert(Motion(np.zeros((40, 263)), "hml263", fps=20), "joints")
    >>> motion.data.shape, motion.route
    ((40, 22, 3), ('hml263',))
    """
    spec, have = get_spec(target), motion.representation
    if spec.name == have.name:
        return motion
    for road in ROADS:
        if (road.source, road.target) == (have.name, spec.name):
            if road.fps is not None and abs(motion.fps - road.fps) > 1e-6:
                raise ValueError(
                    f"{motion.name}: {have.name} must have {road.fps:g} fps to become {spec.name}; got {motion.fps:g}. "
                    f"Resample it to {road.fps:g} first."
                )
            return motion.replace(
                data=road.run(motion), representation=spec, route=(*motion.route, have.name)
            )
    reach = ", ".join(road.target for road in ROADS if road.source == have.name) or "nothing"
    raise NoRouteError(
        f"{motion.name}: there must be a road from {have.name} to {spec.name}; {have.name} leads to {reach}. "
        "Convert to one of those, or load the clip in another representation."
    )
