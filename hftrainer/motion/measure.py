"""What a body measurably does: travel, turning, heights, bends and reaches, from joint positions alone.

Captions, dataset checks and behaviour rules all read a movement through this one file, so that the words of a
caption and the rule that tests them mean the same thing. Only numpy is needed.

Conventions: metres, +Y up, SMPL-22 joint order. A body that faces +Z has its left at +X; yaw is 0 when facing +Z
and grows counter-clockwise seen from above, so that **turning left is positive**.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hftrainer.motion.skeleton import SMPL22

_INDEX = {name: index for index, name in enumerate(SMPL22.joints)}
_FEET = [_INDEX[name] for name in ("left_ankle", "left_foot", "right_ankle", "right_foot")]
_UP = np.array([0.0, 1.0, 0.0])

#: Height of the pelvis above the floor of a straight standing body, less its thigh and shin, metres.
STANDING_REST = 0.14


def smooth(values: np.ndarray, fps: float, seconds: float) -> np.ndarray:
    """A track with its jitter taken out: a Hann-weighted moving mean over about ``seconds``.

    Args:
        values: ``(T, ...)`` numbers per frame.
        fps: frames per second.
        seconds: full width of the window; less than two frames leaves the track as it is.

    Returns:
        ``(T, ...)`` float64. The ends are continued by point reflection, so a steady slope stays that slope.

    >>> import numpy as np
    >>> bool(np.allclose(smooth(np.arange(9.0), 20, 0.3), np.arange(9)))
    True
    """
    values = np.asarray(values, dtype=np.float64)
    half = min(int(round(seconds * fps / 2)), len(values) - 1)
    if half < 1:
        return values.copy()
    window = np.hanning(2 * half + 3)[1:-1]
    window /= window.sum()
    head = 2 * values[0] - values[half:0:-1]
    tail = 2 * values[-1] - values[-2 : -half - 2 : -1]
    long = np.concatenate([head, values, tail])
    out = np.zeros_like(values)
    for offset, weight in enumerate(window):
        out += weight * long[offset : offset + len(values)]
    return out


def facing(joints: np.ndarray) -> np.ndarray:
    """The horizontal direction that the front of the body points in, from hips and shoulders.

    Args:
        joints: ``(T, 22, 3)`` positions, metres.

    Returns:
        ``(T, 3)`` unit vectors with y = 0. Where hips and shoulders stand upright over each other (a body on its
        side) the direction is unknown, and the nearest frame that has one lends it.
    """
    right_hip, left_hip, right_shoulder, left_shoulder = SMPL22.facing
    joints = np.asarray(joints, dtype=np.float64)
    across = joints[:, left_hip] - joints[:, right_hip] + joints[:, left_shoulder] - joints[:, right_shoulder]
    width = np.linalg.norm(across, axis=1)
    forward = np.cross(across, _UP)  # left +X gives front +Z
    flat = np.linalg.norm(forward, axis=1)
    known = np.flatnonzero(flat > 0.35 * np.maximum(width, 1e-9))
    if len(known) == 0:
        return np.tile([0.0, 0.0, 1.0], (len(joints), 1))
    frames = np.arange(len(joints))
    after = np.clip(np.searchsorted(known, frames), 0, len(known) - 1)
    before = np.maximum(after - 1, 0)
    use_before = np.abs(known[before] - frames) < np.abs(known[after] - frames)
    nearest = np.where(use_before, known[before], known[after])
    return forward[nearest] / flat[nearest, None]


def yaw(joints: np.ndarray) -> np.ndarray:
    """Heading of the body in degrees, unwrapped over time: 0 faces +Z, turning left grows it.

    Args:
        joints: ``(T, 22, 3)`` positions, metres.

    Returns:
        ``(T,)`` degrees without jumps of 360.
    """
    front = facing(joints)
    return np.degrees(np.unwrap(np.arctan2(front[:, 0], front[:, 2])))


def floor_height(joints: np.ndarray) -> float:
    """Height of the ground under a movement, metres: the low end (2nd percentile) of the lowest foot joint.

    A body that never stands on its feet (lying, hanging) is measured by its lowest joint instead.
    """
    joints = np.asarray(joints, dtype=np.float64)
    feet = float(np.percentile(joints[:, _FEET, 1].min(axis=1), 2))
    body = float(np.percentile(joints[:, :, 1].min(axis=1), 2))
    return min(feet, body)


@dataclass(frozen=True, eq=False)
class Measures:
    """Tracks of a movement, one number per frame unless said; made by ``measure``.

    Attributes:
        joints: ``(T, 22, 3)`` lightly smoothed positions, metres, floor at y = 0.
        fps: frames per second.
        front: ``(T, 3)`` horizontal facing.
        yaw: ``(T,)`` degrees, left positive, smoothed over a step.
        forward: ``(T,)`` pelvis velocity along the facing, m/s.
        left: ``(T,)`` pelvis velocity to the body's left, m/s.
        speed: ``(T,)`` horizontal pelvis speed, m/s.
        upright: ``(T,)`` 1 with the trunk straight up, 0 level, -1 upside down.
        height: ``(T,)`` pelvis height as a share of standing height.
        clearance: ``(T,)`` height of the lowest foot joint, metres: above 0 both feet are off the floor.
        toe: ``(T, 2)`` left and right toe height, metres.
        hand: ``(T, 2)`` left and right wrist height, metres.
        hand_up: ``(T, 2)`` wrist height above the same shoulder along the vertical, as a share of arm length.
        reach: ``(T, 2)`` wrist ahead of the same shoulder along the facing, as a share of arm length.
        hand_speed: ``(T, 2)`` wrist speed relative to the upper chest, m/s.
        foot_speed: ``(T, 2)`` ankle speed relative to the pelvis, m/s.
        knee: ``(T, 2)`` knee bend, degrees, 0 straight.
        hip: ``(T, 2)`` angle between trunk and thigh, degrees, 0 straight.
        stature: height of the standing body's pelvis, metres.
    """

    joints: np.ndarray
    fps: float
    front: np.ndarray
    yaw: np.ndarray
    forward: np.ndarray
    left: np.ndarray
    speed: np.ndarray
    upright: np.ndarray
    height: np.ndarray
    clearance: np.ndarray
    toe: np.ndarray
    hand: np.ndarray
    hand_up: np.ndarray
    reach: np.ndarray
    hand_speed: np.ndarray
    foot_speed: np.ndarray
    knee: np.ndarray
    hip: np.ndarray
    stature: float

    def __len__(self) -> int:
        return len(self.joints)

    @property
    def seconds(self) -> float:
        """Time from the first frame to the last."""
        return (len(self) - 1) / self.fps

    @property
    def travel(self) -> float:
        """Metres gone along the body's own facing; backwards is negative."""
        return float(self.forward[1:].sum() / self.fps)

    @property
    def sideways(self) -> float:
        """Metres gone to the body's own left; to the right is negative."""
        return float(self.left[1:].sum() / self.fps)

    @property
    def path(self) -> float:
        """Metres of pelvis path on the ground, sway of the trunk taken out."""
        return float(self.speed[1:].sum() / self.fps)

    @property
    def net(self) -> float:
        """Metres on the ground between the first and the last place."""
        step = self.joints[-1, 0] - self.joints[0, 0]
        return float(np.hypot(step[0], step[2]))

    @property
    def spread(self) -> float:
        """Metres on the ground between the two pelvis places farthest apart along either axis."""
        ground = self.joints[:, 0][:, [0, 2]]
        return float(np.hypot(*(ground.max(axis=0) - ground.min(axis=0))))

    @property
    def turn(self) -> float:
        """Degrees turned in all, left positive."""
        return float(self.yaw[-1] - self.yaw[0])

    @property
    def turn_range(self) -> float:
        """Degrees between the leftmost and the rightmost heading."""
        return float(self.yaw.max() - self.yaw.min())

    @property
    def moving_speed(self) -> float:
        """Mean ground speed while moving (over 0.4 m/s), m/s; 0 for a body that stays."""
        moving = self.speed > 0.4
        return float(self.speed[moving].mean()) if moving.any() else 0.0

    @property
    def energy(self) -> float:
        """Mean speed of wrists and ankles relative to the trunk, m/s."""
        return float((self.hand_speed.mean() + self.foot_speed.mean()) / 2)

    @property
    def airborne(self) -> float:
        """Greatest height of the lower foot, metres, held for at least two frames."""
        return held_above(self.clearance, 2)

    def span(self, start: int, stop: int) -> Measures:
        """The tracks of frames ``start`` up to ``stop``, with the floor and body of the whole."""
        cut = slice(start, stop)
        tracks: dict[str, Any] = {
            name: value[cut] for name, value in self.__dict__.items() if isinstance(value, np.ndarray)
        }
        return replace(self, **tracks)


def held_above(track: np.ndarray, frames: int) -> float:
    """The greatest level that a track keeps for ``frames`` frames in a row.

    >>> import numpy as np
    >>> held_above(np.array([0.0, 9.0, 2.0, 3.0, 1.0]), 2)
    2.0
    """
    frames = max(1, min(frames, len(track)))
    windows = np.lib.stride_tricks.sliding_window_view(np.asarray(track, dtype=np.float64), frames)
    return float(windows.min(axis=1).max())


def runs_of(mask: np.ndarray, frames: int = 1, gap: int = 0) -> list[tuple[int, int]]:
    """Stretches ``(start, stop)`` where a mask is true for at least ``frames``, gaps up to ``gap`` closed first.

    >>> runs_of([0, 1, 1, 0, 1, 0, 0, 1], frames=2, gap=1)
    [(1, 5)]
    """
    padded = np.concatenate([[False], np.asarray(mask, dtype=bool), [False]])
    edges = np.flatnonzero(padded[1:] != padded[:-1])
    merged: list[tuple[int, int]] = []
    for start, stop in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if merged and start - merged[-1][1] <= gap:
            merged[-1] = (merged[-1][0], stop)
        else:
            merged.append((start, stop))
    return [(start, stop) for start, stop in merged if stop - start >= frames]


def _angle(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(first, axis=-1) * np.linalg.norm(second, axis=-1)
    return np.degrees(np.arccos(np.clip((first * second).sum(axis=-1) / np.maximum(lengths, 1e-9), -1, 1)))


def _rate(track: np.ndarray, fps: float) -> np.ndarray:
    return np.gradient(track, axis=0) * fps if len(track) > 1 else np.zeros_like(track)


def measure(joints: np.ndarray, fps: float, floor: float | None = None) -> Measures:
    """Everything this file can tell about a movement.

    Args:
        joints: ``(T, 22, 3)`` positions in SMPL-22 order, metres, +Y up.
        fps: frames per second.
        floor: height of the ground, metres; ``None`` takes it from the feet (``floor_height``).

    Raises:
        ValueError: the shape is another, there are fewer than 2 frames, or fps is not above 0.

    >>> import numpy as np
    >>> body = np.zeros((20, 22, 3)) + np.random.default_rng(0).normal(size=(22, 3))
    >>> round(measure(body, fps=20).path, 6)
    0.0
    """
    joints = np.asarray(joints, dtype=np.float64)
    if joints.ndim != 3 or joints.shape[1:] != (22, 3):
        raise ValueError(f"joints must have shape (T, 22, 3); got {joints.shape}. Convert the motion to joints first.")
    if len(joints) < 2:
        raise ValueError(f"a measured movement must have at least 2 frames; got {len(joints)}. Give a longer clip.")
    if not fps > 0:
        raise ValueError(f"fps must be above 0; got {fps}. Give the frames per second of the joints.")
    joints = smooth(joints, fps, 0.15)
    joints[..., 1] -= floor_height(joints) if floor is None else floor

    def at(*names: str) -> np.ndarray:
        return joints[:, [_INDEX[name] for name in names]]

    front = facing(joints)
    side = np.cross(_UP, front)  # the body's left
    velocity = _rate(smooth(joints[:, 0], fps, 0.5), fps)
    forward, left = (velocity * front).sum(axis=1), (velocity * side).sum(axis=1)

    hips, knees, ankles = at("left_hip", "right_hip"), at("left_knee", "right_knee"), at("left_ankle", "right_ankle")
    shoulders, elbows = at("left_shoulder", "right_shoulder"), at("left_elbow", "right_elbow")
    wrists, neck, pelvis = at("left_wrist", "right_wrist"), at("neck")[:, 0], joints[:, 0]

    def length(first: np.ndarray, second: np.ndarray) -> float:
        return float(np.linalg.norm(first - second, axis=-1).mean())

    arm = length(shoulders, elbows) + length(elbows, wrists)
    stature = length(hips, knees) + length(knees, ankles) + STANDING_REST
    trunk = neck - pelvis
    arm_line = (wrists - shoulders) / max(arm, 1e-9)
    chest = at("spine3")[:, 0]
    return Measures(
        joints=joints,
        fps=float(fps),
        front=front,
        yaw=smooth(yaw(joints), fps, 0.6),
        forward=forward,
        left=left,
        speed=np.hypot(velocity[:, 0], velocity[:, 2]),
        upright=trunk[:, 1] / np.maximum(np.linalg.norm(trunk, axis=1), 1e-9),
        height=pelvis[:, 1] / stature,
        clearance=joints[:, _FEET, 1].min(axis=1),
        toe=at("left_foot", "right_foot")[..., 1],
        hand=wrists[..., 1],
        hand_up=arm_line[..., 1],
        reach=(arm_line * front[:, None]).sum(axis=-1),
        hand_speed=np.linalg.norm(_rate(wrists - chest[:, None], fps), axis=-1),
        foot_speed=np.linalg.norm(_rate(ankles - pelvis[:, None], fps), axis=-1),
        knee=_angle(knees - hips, ankles - knees),
        hip=_angle(trunk[:, None], hips - knees),
        stature=stature,
    )


#: Words for index 0 and 1 of every pair of tracks.
SIDES = ("left", "right")


def arm_extension(body: Measures) -> np.ndarray:
    """``(T, 2)`` distance from shoulder to wrist as a share of the arm, left and right."""
    joints = body.joints
    shoulder, elbow, wrist = joints[:, [16, 17]], joints[:, [18, 19]], joints[:, [20, 21]]
    arm = np.linalg.norm(shoulder - elbow, axis=-1) + np.linalg.norm(elbow - wrist, axis=-1)
    return np.linalg.norm(wrist - shoulder, axis=-1) / np.maximum(arm, 1e-9)


def jumps(body: Measures) -> list[tuple[int, int, float]]:
    """Flights with both feet off the floor that are jumps, not strides: ``(start, stop, clearance in metres)``.

    A flight starts and ends on the floor within 1.2 seconds, lifts the lower foot over 8 cm, and lifts the pelvis
    above its height on either side, which the flight of a run does not.
    """
    found: list[tuple[int, int, float]] = []
    around = max(1, int(0.5 * body.fps))
    for start, stop in runs_of(body.clearance > 0.05, frames=2):
        top = float(body.clearance[start:stop].max())
        if start == 0 or stop == len(body) or stop - start > 1.2 * body.fps:
            continue
        if held_above(body.clearance[start:stop], 2) <= 0.08 or body.upright[start:stop].min() < 0.2:
            continue
        low = max(body.height[max(0, start - around) : start + 1].min(), body.height[stop - 1 : stop + around].min())
        rise = (body.height[start:stop].max() - low) * body.stature
        fast = body.speed[start:stop].mean() > 2.0
        if rise > (0.14 if fast else 0.1) and (not fast or top > 0.14):
            found.append((start, stop, top))
    return found


def kicks(body: Measures) -> list[tuple[int, int, int, float]]:
    """Legs thrown up from a stand: ``(start, stop, side, toe height)``, side 0 left, 1 right.

    The toe passes 0.5 m with the ankle faster than 2.2 m/s about the pelvis, the other toe stays under 0.35 m, and
    the body neither travels fast nor is down or upside down.
    """
    found = []
    reach = int(0.35 * body.fps)
    for side in (0, 1):
        up = (body.toe[:, side] > 0.5) & (body.toe[:, 1 - side] < 0.35) & (body.upright > -0.1)
        up = up & (body.height > 0.65) & (body.speed < 1.8)
        for start, stop in runs_of(np.asarray(up), frames=2, gap=int(0.15 * body.fps)):
            fast = body.foot_speed[max(0, start - reach) : stop + reach, side].max()
            straight = body.knee[start:stop, side].min() < 75
            if fast > 2.2 and straight and stop - start < 1.6 * body.fps:
                found.append((start, stop, side, float(body.toe[start:stop, side].max())))
    return sorted(found)


def punches(body: Measures) -> list[tuple[int, int, int]]:
    """Arms that shoot out to the front: ``(start, stop, side)``.

    The arm opens from bent (under 0.72 of its length, the wrist no lower than 0.65 arms under its shoulder) to
    stretched (over 0.85) within 0.45 seconds, at shoulder height, over 1.6 m/s, the other arm bent, and not backwards:
    a fighter stands half sideways, so 0.2 of the arm's length along the facing is enough.
    """
    extension = arm_extension(body)
    before = max(1, int(0.45 * body.fps))
    found = []
    for side in (0, 1):
        out = (extension[:, side] > 0.85) & (body.reach[:, side] > 0.2) & (np.abs(body.hand_up[:, side]) < 0.5)
        out &= (extension[:, 1 - side] < 0.85) & (body.upright > 0.75)
        for start, stop in runs_of(out, frames=1, gap=int(0.1 * body.fps)):
            first = max(0, start - before)
            if start == 0 or stop - start > 0.45 * body.fps or body.speed[start] > 1.4:
                continue
            bent = first + int(extension[first : start + 1, side].argmin())
            guarded = extension[bent, side] < 0.72 and body.hand_up[bent, side] > -0.65
            if guarded and body.hand_speed[first:stop, side].max() > 1.6:
                found.append((first, stop, side))
    return sorted(found)


def raised_arms(body: Measures) -> list[tuple[int, int, str]]:
    """Stretches of at least 0.3 s with a wrist half an arm above its shoulder.

    Returns:
        ``(start, stop, which)`` with which one of ``left``, ``right``, ``both``.
    """
    up = np.asarray((body.hand_up > 0.45) & (body.upright[:, None] > 0.5))
    frames = max(2, int(0.3 * body.fps))
    both = runs_of(np.all(up, axis=1), frames, gap=2)
    found = [(start, stop, "both") for start, stop in both]
    for side in (0, 1):
        for start, stop in runs_of(up[:, side], frames, gap=2):
            if not any(first < stop and start < last for first, last in both):
                found.append((start, stop, SIDES[side]))
    return sorted(found)


def reversals(track: np.ndarray, swing: float) -> int:
    """How often a track turns back after moving at least ``swing``.

    >>> import numpy as np
    >>> reversals(np.array([0.0, 1.0, 0.9, 2.0, 0.0, 2.0]), swing=0.5)
    2
    """
    turns, direction, extreme = 0, 0, float(track[0])
    for value in track.tolist():
        if direction >= 0 and value > extreme or direction <= 0 and value < extreme:
            if direction == 0 and abs(value - extreme) < swing:
                continue
            direction = direction or (1 if value > extreme else -1)
            extreme = value
        elif direction and abs(value - extreme) > swing:
            turns, direction, extreme = turns + 1, -direction, value
    return turns


def hand_sideways(body: Measures, side: int) -> np.ndarray:
    """``(T,)`` how far a wrist is to the left of its shoulder, metres; ``side`` 0 left hand, 1 right."""
    left = np.cross([0.0, 1.0, 0.0], body.front)
    return ((body.joints[:, 20 + side] - body.joints[:, 16 + side]) * left).sum(axis=-1)


def is_still(body: Measures) -> bool:
    """Whether a body stands upright and moves nothing worth the name."""
    quiet = np.percentile(body.hand_speed, 92) < 0.3 and np.percentile(body.foot_speed, 92) < 0.3
    steady = np.ptp(body.upright) < 0.1 and np.ptp(body.height) < 0.08 and body.turn_range < 30
    return bool(quiet and steady and body.height.min() > 0.8 and body.upright.min() > 0.75 and body.spread < 0.4)


def jumping_jacks(body: Measures) -> tuple[int, int] | None:
    """First and last frame of three or more jumping jacks: arms go up as the feet go apart; ``None`` without them."""
    up = np.asarray((body.hand_up > 0.2).all(axis=1))
    cycles = runs_of(up, 2, gap=1)
    if len(cycles) < 3:
        return None
    span = slice(cycles[0][0], cycles[-1][1])
    apart = np.linalg.norm(body.joints[span, 7] - body.joints[span, 8], axis=1)
    arms = body.hand_up[span].mean(axis=1)
    if np.ptp(apart) < 0.2 or np.ptp(arms) < 1.0 or np.corrcoef(arms, apart)[0, 1] < 0.5:
        return None
    return cycles[0][0], cycles[-1][1]
