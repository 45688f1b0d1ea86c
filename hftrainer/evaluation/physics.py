"""What a body cannot do: slide on the ground, float, jitter, sink in; and how much it moves. From positions alone.

The motion quality measures of MBench. Differences are taken from frame to frame and not divided by time, so that all
motions of a table must share one frame rate (30 per second in the published tables). Nearness to the numbers of real
motion is what counts: a motion that jitters less than a real one is too smooth.

Conventions: metres, +Y up, SMPL-22 joint order; the feet are the two toe joints.

Legend: ``T`` frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy.signal import find_peaks

from hftrainer.motion.clip import Motion
from hftrainer.motion.files.rig import positions
from hftrainer.motion.skeleton import SMPL22

#: Fewest frames that can be measured.
SHORTEST = 4
#: What a table multiplies each measure by: mm, and percent for floating.
TABLE_SCALE = {"slide": 1000.0, "float": 100.0, "jitter": 1000.0, "dynamic": 1000.0, "penetration": 1000.0}

_FEET = tuple(SMPL22.joints.index(name) for name in ("left_foot", "right_foot"))
_TINY = 1e-6
#: A foot is down when it moves less than this a frame, or is less than this above the lowest point of both feet, m.
_STILL, _NEAR = 0.01, 0.02
#: Depth below the floor that is forgiven, m.
_SUNK = 0.005
#: Root steps of less than this are standing, m.
_STANDING = 0.001
#: Foot steps of less than this are rest, m.
_REST = 1.2e-4
#: A foot on the ground goes back under the body about as fast as the body goes forward: outside, it does not carry.
_SLOW, _FAST = 0.6, 1.75
#: In the air it hangs along with the body when it moves less than this share of the body's step.
_HANGING = 0.4
#: Fewest frames of being in the air, of both feet together too, and most turns of a foot that is still a step.
_AIRBORNE, _TURNS = 4, 2


@dataclass(frozen=True)
class Physics:
    """Measures of one motion, raw: metres a frame, and a share of the frames for floating.

    Attributes:
        slide: speed along the ground of feet that are down, mean of both feet.
        floating: frames in which no foot carries the body, as a share; may be above 1.
        jitter: second differences of positions in the world and to the root.
        dynamic: first differences, likewise.
        penetration: depth of the feet below the floor. The floor is the lowest point of the feet, so this is 0.
        contacts: frames in which the left and the right foot are down.
    """

    slide: float
    floating: float
    jitter: float
    dynamic: float
    penetration: float
    contacts: tuple[int, int]

    def measures(self) -> dict[str, float]:
        """The five numbers by the names of ``TABLE_SCALE``."""
        values = asdict(self)
        return {name: float(values["floating" if name == "float" else name]) for name in TABLE_SCALE}


def table(measures: Mapping[str, float]) -> dict[str, float]:
    """Raw measures in the units of published tables: mm a frame, and percent for floating.

    >>> table({"slide": 0.002, "float": 0.0264})
    {'slide': 2.0, 'float': 2.64}
    """
    return {name: value * TABLE_SCALE[name] for name, value in measures.items()}


def labelled(motion: Motion) -> dict[str, float]:
    """The measures that stand beside a motion for people to read, by names with units; none for a motion that is too
    short for them, and none that is no number.

    >>> sorted(labelled(Motion(np.ones((10, 22, 3)), "joints", 20)))
    ['float, %', 'jitter, mm/frame²', 'slide, mm/frame']
    """
    if len(motion) < SHORTEST:
        return {}
    found = table(physics(positions(motion)).measures())
    units = {"slide": "slide, mm/frame", "float": "float, %", "jitter": "jitter, mm/frame²"}
    return {label: float(found[name]) for name, label in units.items() if np.isfinite(found[name])}


def physics(joints: np.ndarray) -> Physics:
    """Measure one motion.

    Args:
        joints: ``(T, 22, 3)`` or ``(T, 66)`` metres in the world, +Y up, at least 4 frames.

    Raises:
        ValueError: another shape, too few frames, or a number that is not finite.

    Source:
        MBench, motion quality: jitter, dynamic degree, foot sliding, foot floating, ground penetration.

    >>> standing = np.ones((10, 22, 3))
    >>> physics(standing).measures()["slide"], physics(standing).contacts
    (0.0, (10, 10))
    """
    joints = _checked(joints)
    feet, root = joints[:, _FEET], joints[:, 0]
    floor = float(feet[..., 1].min())
    velocity = _steps(feet)  # (T, 2, 3)
    speed = np.linalg.norm(velocity, axis=-1)
    down = (speed < _STILL) | (feet[..., 1] - floor < _NEAR)
    ground = np.linalg.norm(velocity[..., [0, 2]], axis=-1)
    slide = ((ground * down).sum(0) / (down.sum(0) + _TINY)).mean()
    local = joints - joints[:, :1]
    return Physics(
        slide=float(slide),
        floating=_floating(feet, root, down),
        jitter=_mean_length(np.diff(joints, 2, axis=0)) + _mean_length(np.diff(local, 2, axis=0)),
        dynamic=_mean_length(np.diff(joints, axis=0)) + _mean_length(np.diff(local, axis=0)),
        penetration=float(np.maximum(floor - _SUNK - feet[..., 1], 0).mean()),
        contacts=(int(down[:, 0].sum()), int(down[:, 1].sum())),
    )


def mean_physics(motions: Sequence[Physics]) -> dict[str, float]:
    """Means over motions of the five measures, raw.

    Raises:
        ValueError: there are none.
    """
    if not motions:
        raise ValueError("physical measures need at least 1 motion; got none.")
    rows = [motion.measures() for motion in motions]
    return {name: float(np.mean([row[name] for row in rows])) for name in TABLE_SCALE}


def _checked(joints: np.ndarray) -> np.ndarray:
    joints = np.asarray(joints, np.float64)
    if joints.ndim == 2 and joints.shape[1] == 66:
        joints = joints.reshape(len(joints), 22, 3)
    if joints.ndim != 3 or joints.shape[1:] != (22, 3):
        raise ValueError(f"joints must have shape (T, 22, 3) or (T, 66); got {joints.shape}. Convert the motion first.")
    if len(joints) < SHORTEST:
        raise ValueError(f"physical measures need at least {SHORTEST} frames; got {len(joints)}.")
    if not np.isfinite(joints).all():
        raise ValueError("joints must be finite; got NaN or infinity. Cut or mend the clip.")
    return joints


def _mean_length(vectors: np.ndarray) -> float:
    return float(np.linalg.norm(vectors, axis=-1).mean())


def _steps(positions: np.ndarray) -> np.ndarray:
    """Step to the next frame, the last one twice: ``(T, ...)``."""
    steps = np.diff(positions, axis=0)
    return np.concatenate([steps, steps[-1:]])


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """Half-open spans in which ``flags`` is true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]])))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _floating(feet: np.ndarray, root: np.ndarray, down: np.ndarray) -> float:
    """Frames whose feet on the ground do not carry, half of those in which a foot hangs, steps in the air; by ``T``."""
    body = np.linalg.norm(_steps(root), axis=-1)  # (T,)
    world = np.linalg.norm(_steps(feet), axis=-1)  # (T, 2)
    share = np.linalg.norm(_steps(feet - root[:, None]), axis=-1) / (body[:, None] + _TINY)
    slack = (share < _SLOW) & (world > _REST)
    rushed = (share > _FAST) & (world > _REST) & (body > _REST)[:, None]
    useless = (slack | rushed) & (body >= _STANDING)[:, None]
    idle = int((down.any(1) & (useless | ~down).all(1)).sum())  # some foot is down and none of those carries

    standing = body < _STANDING
    aloft = [_runs(~down[:, foot]) for foot in (0, 1)]
    hanging = 0
    for foot in (0, 1):
        for start, end in aloft[foot]:
            if end - start >= _AIRBORNE and standing[start:end].sum() <= (end - start) / 2:
                hanging += int((share[start:end, foot] < _HANGING).sum())
    striding = 0
    for left in aloft[0]:
        for right in aloft[1]:
            start, end = max(left[0], right[0]), min(left[1], right[1])
            if end - start >= _AIRBORNE and _turns(feet[start:end, 0]) > _TURNS:
                striding += end - start
    return (idle + hanging / 2 + striding) / len(feet)


def _turns(track: np.ndarray) -> int:
    """How often a foot turns back on its way from the first to the last place: peaks of the angle to that way."""
    ways = track[1:] - track[0]  # (n - 1, 3)
    ways = ways / (np.linalg.norm(ways, axis=-1, keepdims=True) + _TINY)
    angles = np.degrees(np.arccos(np.clip(ways @ ways[-1], -1, 1)))
    return len(find_peaks(angles)[0])
