"""A body placed by hand: SMPL-22 rest bones turned by joint angles, feet put on the floor. It knows no measure."""

from collections.abc import Mapping

import numpy as np

from hftrainer.motion.skeleton import SMPL22

FPS = 20
_AXES = {"x": (1, 0, 0), "y": (0, 1, 0), "z": (0, 0, 1)}
_FEET = [SMPL22.joints.index(name) for name in SMPL22.joints if name.endswith(("ankle", "foot"))]


def turned(axis: str, degrees: np.ndarray) -> np.ndarray:
    """``(T, 3, 3)`` right-handed turns about an axis."""
    x, y, z = _AXES[axis]
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=float)
    angle = np.radians(degrees)[:, None, None]
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)


def body(
    seconds: float = 3.0,
    ahead: object = 0.0,
    left: object = 0.0,
    yaw: object = 0.0,
    lift: object = 0.0,
    bend: Mapping[str, tuple[str, object]] | None = None,
    fps: float = FPS,
) -> np.ndarray:
    """``(T, 22, 3)`` joints of a body with its arms down.

    ``ahead`` and ``left`` are speeds in the body's own frame, m/s; ``yaw`` degrees, left positive; ``lift`` metres
    of both feet over the floor; ``bend`` names a joint (or ``root``) with an axis and degrees. Each may be a number
    or one value per frame. Forward is a negative turn about x for a limb that hangs down.
    """
    frames = int(round(seconds * fps)) + 1

    def track(value: object) -> np.ndarray:
        return np.broadcast_to(np.asarray(value, dtype=float), frames)

    turns = {"left_shoulder": [("z", track(-78))], "right_shoulder": [("z", track(78))]}
    for name, (axis, degrees) in (bend or {}).items():
        turns.setdefault(name, []).append((axis, track(degrees)))
    local = np.tile(np.eye(3), (22, frames, 1, 1))
    for name, steps in turns.items():
        for axis, degrees in steps if name != "root" else ():
            local[SMPL22.joints.index(name)] = turned(axis, degrees) @ local[SMPL22.joints.index(name)]
    heading = turned("y", track(yaw))
    world = np.empty_like(local)
    joints = np.zeros((frames, 22, 3))
    for joint, parent in enumerate(SMPL22.parents):
        if parent < 0:
            world[joint] = heading
            for axis, degrees in turns.get("root", ()):
                world[joint] = world[joint] @ turned(axis, degrees)
            continue
        joints[:, joint] = joints[:, parent] + np.einsum("tij,j->ti", world[parent], SMPL22.rest[joint])
        world[joint] = world[parent] @ local[joint]
    step = np.einsum("tij,tj->ti", heading, np.stack([track(left), 0 * track(0), track(ahead)], axis=1)) / fps
    step[0] = 0
    joints += np.cumsum(step, axis=0)[:, None]
    joints[..., 1] += (track(lift) - joints[:, _FEET, 1].min(axis=1))[:, None]
    return joints


def striding(speed: object, seconds: float = 3.0, swing: float = 25.0, rate: float = 1.0, **more: object) -> np.ndarray:
    """A body that walks: ``body`` with legs and arms swinging, ``rate`` double steps per second."""
    time = np.arange(int(round(seconds * FPS)) + 1) / FPS
    phase = np.sin(2 * np.pi * rate * time)
    bend = {
        "left_hip": ("x", swing * phase),
        "right_hip": ("x", -swing * phase),
        "left_knee": ("x", swing * np.maximum(0, -phase)),
        "right_knee": ("x", swing * np.maximum(0, phase)),
    }
    bend.update(more.pop("bend", {}))
    return body(seconds, ahead=speed, bend=bend, **more)


def pulse(seconds: float, start: float, stop: float, height: float = 1.0) -> np.ndarray:
    """A smooth hump over time, 0 outside ``start`` to ``stop`` seconds."""
    time = np.arange(int(round(seconds * FPS)) + 1) / FPS
    return height * np.sin(np.pi * np.clip((time - start) / (stop - start), 0, 1))


def ramp(seconds: float, start: float, stop: float, height: float = 1.0) -> np.ndarray:
    """From 0 before ``start`` to ``height`` after ``stop`` seconds."""
    time = np.arange(int(round(seconds * FPS)) + 1) / FPS
    return height * np.clip((time - start) / (stop - start), 0, 1)


def folded(down: np.ndarray) -> dict[str, tuple[str, object]]:
    """Bends of both hips and knees to a deep squat, scaled by a track from 0 to 1."""
    angles = {"hip": -80, "knee": 130}
    return {f"{side}_{joint}": ("x", angle * down) for side in ("left", "right") for joint, angle in angles.items()}


def jump(seconds: float, start: float, height: float, ahead: float = 0.0) -> np.ndarray:
    """A jump from crouched knees at ``start``, in the air 0.5 s."""
    dip = pulse(seconds, start - 0.5, start, 1.0) + pulse(seconds, start + 0.5, start + 1.0, 1.0)
    bend = {side + "_hip": ("x", -45 * dip) for side in ("left", "right")}
    bend |= {side + "_knee": ("x", 80 * dip) for side in ("left", "right")}
    air = pulse(seconds, start, start + 0.5)
    return body(seconds, ahead=ahead * (air > 1e-9), lift=height * air, bend=bend)


def kick(side: str, seconds: float = 2.0, height: float = 100.0) -> np.ndarray:
    """A straight leg thrown up ahead at 0.8 s."""
    return body(seconds, bend={f"{side}_hip": ("x", -pulse(seconds, 0.8, 1.4, height))})


def punch(side: str, seconds: float = 2.0, start: float = 0.8) -> np.ndarray:
    """From a guard with the elbows bent, one arm shoots out ahead for a quarter second."""
    out = np.minimum(1, 1.8 * pulse(seconds, start, start + 0.4))
    sign = {"left": 1, "right": -1}
    bend: dict[str, tuple[str, object]] = {}
    for name in ("left", "right"):
        open_ = out if name == side else 0 * out
        bend[f"{name}_shoulder"] = ("x", -30 - 60 * open_)
        bend[f"{name}_elbow"] = ("y", -sign[name] * 135 * (1 - open_))
    return body(seconds, bend=bend)
