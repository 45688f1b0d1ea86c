"""Changes to a motion that keep what it is: another frame rate, a piece of it, its mirror image, its place.

Every function takes a ``Motion`` and returns a new one in the same representation.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hftrainer.motion.clip import Motion
from hftrainer.motion.representation.convert import convert
from hftrainer.motion.representation.hml263 import first_heading, hml263_to_joints, kit251_to_joints
from hftrainer.motion.representation.specs import Representation
from hftrainer.motion.rotation import quat_rotate
from hftrainer.motion.skeleton import SKELETONS, Skeleton

METHODS = ("phase", "grid")

_POSITIONS = ("joints", "joints_kit")
_FEATURES = {"hml263": "joints", "kit251": "joints_kit"}


def _kind(motion: Motion) -> tuple[Representation, Skeleton]:
    spec = motion.representation
    if spec.name not in _POSITIONS and spec.name not in _FEATURES:
        known = ", ".join([*_POSITIONS, *_FEATURES])
        raise ValueError(f"{motion.name}: editing must get one of {known}; got {spec.name}. Convert it first.")
    return spec, SKELETONS[spec.skeleton]


# ---------------------------------------------------------------------------------------------- time


def resample_times(frames: int, source_fps: float, target_fps: float, method: str = "phase") -> np.ndarray:
    """Where the new frames lie, counted in old frames.

    Args:
        frames: number of old frames, at least 1.
        source_fps, target_fps: frames per second.
        method: ``"phase"`` keeps time: new frame i lies at ``i / target_fps`` seconds, the last at most at the end of
            the clip. ``"grid"`` keeps both ends: ``round(frames * target_fps / source_fps)`` frames spread evenly, so
            the true rate differs a little from ``target_fps``. Both round halves to even and give at least 2 frames.

    Returns:
        ``(N,)`` float64 within ``[0, frames - 1]``.

    Raises:
        ValueError: an unknown method, no frames, or a rate not above 0.

    Source:
        ``grid`` is the published road from hml263 to SMPL bodies (20 to 30 fps), ``phase`` the one from
        MotionStreamer-272 to hml263 (30 to 20 fps).

    >>> len(resample_times(21, 20, 30, "grid")), len(resample_times(21, 30, 20, "phase"))
    (32, 14)
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}; got {method!r}.")
    if frames < 1:
        raise ValueError(f"frames must be at least 1; got {frames}.")
    for what, fps in (("source_fps", source_fps), ("target_fps", target_fps)):
        if not (np.isfinite(fps) and fps > 0):
            raise ValueError(f"{what} must be a number above 0; got {fps}.")
    if frames == 1:
        return np.zeros(1)
    if method == "grid":
        return fit_times(frames, max(2, round(frames * target_fps / source_fps)))
    count = max(2, round((frames - 1) / source_fps * target_fps) + 1)
    return np.minimum(np.arange(count) / target_fps * source_fps, frames - 1)


def fit_times(frames: int, count: int) -> np.ndarray:
    """``count`` positions spread evenly over ``frames`` frames, both ends included.

    Args:
        frames: number of old frames.
        count: number of new ones.

    Returns:
        ``(count,)`` float64 within ``[0, frames - 1]``.

    Raises:
        ValueError: ``frames`` or ``count`` is below 1.

    >>> fit_times(3, 5).tolist()
    [0.0, 0.5, 1.0, 1.5, 2.0]
    """
    if frames < 1 or count < 1:
        raise ValueError(f"frames and count must be at least 1; got {frames} and {count}.")
    return np.linspace(0, frames - 1, count)


def sample(values: Any, times: Any) -> np.ndarray:
    """Values between frames, on the straight line between their neighbours. For rotations use ``rotation.slerp``.

    Args:
        values: ``(T, ...)`` positions.
        times: ``(N,)`` in frames, within ``[0, T - 1]``.

    Returns:
        ``(N, ...)`` float64.

    Raises:
        ValueError: a time outside the frames.

    >>> sample([[0.0], [2.0]], [0.25]).tolist()
    [[0.5]]
    """
    values = np.asarray(values, dtype=np.float64)
    times = np.asarray(times, dtype=np.float64)
    if times.size and not (times.min() >= 0 and times.max() <= len(values) - 1):
        last = len(values) - 1
        raise ValueError(f"times must be within 0 and {last} frames; got {times.min():g} to {times.max():g}.")
    before = np.minimum(times.astype(np.int64), max(len(values) - 2, 0))
    after = np.minimum(before + 1, len(values) - 1)
    part = (times - before).reshape(-1, *[1] * (values.ndim - 1))
    return values[before] * (1 - part) + values[after] * part


def resample(motion: Motion, fps: float, method: str = "phase") -> Motion:
    """The same movement at another frame rate.

    Args:
        motion: positions are interpolated. Features are not numbers that can be: hml263 goes through joints and is
            encoded again, which its route records and which costs one frame.
        fps: frames per second of the result.
        method: ``"phase"`` or ``"grid"``; see ``resample_times``.

    Returns:
        A new motion, or ``motion`` itself when it has that rate already.

    Raises:
        ValueError: an fps not above 0, an unknown method, or features asked for at a rate that they do not have.
        NoRouteError: kit251, which cannot be encoded again without its reference body.

    >>> motion = Motion(np.zeros((60, 22, 3)), "joints", fps=30)
    >>> resample(motion, 20)
    Motion(joints, 40 frames, 20 fps)
    """
    spec, _ = _kind(motion)
    fps = float(fps)
    if not (np.isfinite(fps) and fps > 0):
        raise ValueError(f"{motion.name}: fps must be above 0; got {fps}.")
    if method not in METHODS:
        raise ValueError(f"{motion.name}: method must be one of {', '.join(METHODS)}; got {method!r}.")
    if fps == motion.fps:
        return motion
    if spec.name in _FEATURES:
        if fps != spec.fps:
            raise ValueError(
                f"{motion.name}: {spec.name} must have {spec.fps:g} fps; got a wish for {fps:g}. "
                f"Convert it to {_FEATURES[spec.name]} first and resample that."
            )
        return convert(resample(convert(motion, _FEATURES[spec.name]), fps, method), spec)
    times = resample_times(len(motion), motion.fps, fps, method)
    return motion.replace(data=sample(motion.data, times), fps=fps)


def crop(motion: Motion, start_s: float, end_s: float) -> Motion:
    """The frames from ``start_s`` up to, not including, ``end_s``.

    Args:
        motion: any motion. Features start again at the origin, facing +Z.
        start_s, end_s: seconds, rounded to whole frames.

    Raises:
        ValueError: a span that is empty or leaves the clip.

    >>> crop(Motion(np.zeros((60, 22, 3)), "joints", fps=20), 1.0, 2.5)
    Motion(joints, 30 frames, 20 fps)
    """
    if not (np.isfinite(start_s) and np.isfinite(end_s)):
        raise ValueError(f"{motion.name}: a span must be given in seconds; got {start_s} to {end_s}.")
    start, end = round(start_s * motion.fps), round(end_s * motion.fps)
    if not 0 <= start < end <= len(motion):
        raise ValueError(
            f"{motion.name}: a span must lie within 0 and {motion.seconds:g} s and hold at least 1 frame; "
            f"got {start_s:g} to {end_s:g} s."
        )
    return motion[start:end]


# ---------------------------------------------------------------------------------------------- space


def mirror(motion: Motion) -> Motion:
    """The movement as a mirror shows it: left and right change places.

    Args:
        motion: joints change sides and x its sign. Features are mirrored number by number, which is what encoding the
            mirrored joints gives for a body whose left and right bones are equally long. (HumanML3D's reference body
            has bones that differ by up to 7 mm between the sides; those lengths change sides too.)

    Raises:
        ValueError: a representation that cannot be edited.

    >>> motion = Motion(np.random.default_rng(0).normal(size=(5, 22, 3)), "joints", fps=20)
    >>> bool((mirror(mirror(motion)).data == motion.data).all())
    True
    """
    spec, skeleton = _kind(motion)
    twins = np.array(skeleton.mirror)
    flip = np.array([-1, 1, 1], dtype=np.float32)
    if spec.name in _POSITIONS:
        return motion.replace(data=motion.data[:, twins] * flip)
    count = len(twins)
    data = motion.data.copy()
    data[:, 0:2] *= -1  # yaw step, x of the root's step
    below = twins[1:] - 1  # twins of the joints without the root
    for name, order, sign in (
        ("ric", below, flip),
        ("rotations", below, np.array([1, -1, -1, -1, 1, 1], dtype=np.float32)),  # M R M, first two columns
        ("velocity", twins, flip),
    ):
        where = spec.channel(name).slice
        block = data[:, where].reshape(len(data), len(order), -1)
        data[:, where] = (block[:, order] * sign).reshape(len(data), -1)
    data[:, 12 * count - 5 :] = data[:, 12 * count - 5 :][:, [2, 3, 0, 1]]
    return motion.replace(data=data)


def on_floor(motion: Motion) -> Motion:
    """The movement with its lowest joint at height 0.

    Args:
        motion: joints or features; only heights change.

    Raises:
        ValueError: a representation that cannot be edited.

    >>> motion = on_floor(Motion(np.ones((5, 22, 3)), "joints", fps=20))
    >>> float(motion.data[..., 1].min())
    0.0
    """
    spec, _ = _kind(motion)
    if spec.name in _POSITIONS:
        data = motion.data.copy()
        data[..., 1] -= data[..., 1].min()
        return motion.replace(data=data)
    decode = hml263_to_joints if spec.name == "hml263" else kit251_to_joints
    low = decode(motion.data)[..., 1].min()
    data = motion.data.copy()
    data[:, spec.channel("root_height").start] -= low
    ric = spec.channel("ric")
    data[:, ric.start + 1 : ric.end : 3] -= low
    return motion.replace(data=data)


def face_forward(motion: Motion) -> Motion:
    """The movement turned about the vertical through its first root so that its first frame faces +Z.

    Args:
        motion: joints. Features begin facing +Z by construction and are returned unchanged.

    Raises:
        ValueError: hips and shoulders of the first frame give no direction on the ground.

    >>> body = np.zeros((4, 22, 3)); body[:, [1, 16], 2] = 0.1; body[:, [2, 17], 2] = -0.1
    >>> bool(np.allclose(face_forward(Motion(body, "joints", fps=20)).data[0, 1], [0.1, 0, 0]))
    True
    """
    spec, skeleton = _kind(motion)
    if spec.name in _FEATURES:
        return motion
    turn = first_heading(motion.data, skeleton=skeleton, name=motion.name)
    pivot = motion.data[0, 0] * np.array([1.0, 0.0, 1.0])
    return motion.replace(data=quat_rotate(turn, motion.data - pivot) + pivot)
