"""Changes to a motion that keep what it is: another frame rate, a piece of it, its mirror image, its place.

Every function takes a ``Motion`` and returns a new one in the same representation.
"""

from __future__ import annotations

import numpy as np

from hftrainer.motion.clip import Motion
from hftrainer.motion.mirroring import mirror_map
from hftrainer.motion.representation.convert import convert
from hftrainer.motion.representation.hml263 import first_heading, hml263_to_joints, kit251_to_joints
from hftrainer.motion.representation.motion135 import (
    motion135_to_joints,
    motion135_to_rotations,
    pelvis_place,
    rotations_to_motion135,
)
from hftrainer.motion.representation.specs import Representation, list_specs
from hftrainer.motion.rotation import matrix_to_quat_wxyz, quat_rotate, quat_wxyz_to_matrix, slerp
from hftrainer.motion.skeleton import SKELETONS, Skeleton
from hftrainer.motion.timing import METHODS, fit_times, resample_times, sample

__all__ = [
    "METHODS", "crop", "face_forward", "fit_times", "mirror", "on_floor", "resample", "resample_times", "sample",
]  # fmt: skip

_POSITIONS = ("joints", "joints_kit")
_FEATURES = {"hml263": "joints", "kit251": "joints_kit"}


def _kind(motion: Motion, known: tuple[str, ...] = (*_POSITIONS, *_FEATURES, "motion135")) -> tuple[
    Representation, Skeleton
]:
    spec = motion.representation
    if spec.name not in known:
        raise ValueError(
            f"{motion.name}: editing must get one of {', '.join(known)}; got {spec.name}. Convert it to one of those."
        )
    return spec, SKELETONS[spec.skeleton]


# ---------------------------------------------------------------------------------------------- time


def resample(motion: Motion, fps: float, method: str = "phase") -> Motion:
    """The same movement at another frame rate.

    Args:
        motion: positions are interpolated, rotations of motion135 turned evenly between frames (slerp). Features are
            not numbers that can be: hml263 goes through joints and is encoded again, which its route records and which
            costs one frame.
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
    if spec.name == "motion135":
        local, translation = motion135_to_rotations(motion.data, name=motion.name)
        turns = quat_wxyz_to_matrix(slerp(matrix_to_quat_wxyz(local), times))
        return motion.replace(data=rotations_to_motion135(turns, sample(translation, times)), fps=fps)
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
        motion: any. Joints change sides and x its sign; all other representations are mirrored number by number, see
            ``hftrainer.motion.mirroring``, which is what encoding the mirrored joints gives for a body whose left and
            right bones are equally long. (HumanML3D's reference body has bones that differ by up to 7 mm between the
            sides; those lengths change sides too. SMPL's pelvis rests 2 mm beside the middle.)

    Raises:
        ValueError: a representation that is not one of ``list_specs()``.

    >>> motion = Motion(np.random.default_rng(0).normal(size=(5, 22, 3)), "joints", fps=20)
    >>> bool((mirror(mirror(motion)).data == motion.data).all())
    True
    """
    spec, _ = _kind(motion, list_specs())
    order, sign = mirror_map(spec.name)
    flat = motion.data.reshape(len(motion), -1)
    return motion.replace(data=(flat[:, order] * sign).reshape(motion.data.shape))


def on_floor(motion: Motion) -> Motion:
    """The movement with its lowest joint at height 0.

    Args:
        motion: joints, hml263, kit251, or motion135 on the neutral SMPL body; only heights change.

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
    if spec.name == "motion135":
        data = motion.data.copy()
        data[:, 1] -= motion135_to_joints(data, name=motion.name)[..., 1].min()
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
        motion: joints or motion135. hml263 and kit251 begin facing +Z by construction and are returned unchanged.

    Raises:
        ValueError: hips and shoulders of the first frame give no direction on the ground.

    >>> body = np.zeros((4, 22, 3)); body[:, [1, 16], 2] = 0.1; body[:, [2, 17], 2] = -0.1
    >>> bool(np.allclose(face_forward(Motion(body, "joints", fps=20)).data[0, 1], [0.1, 0, 0]))
    True
    """
    spec, skeleton = _kind(motion)
    if spec.name in _FEATURES:
        return motion
    if spec.name == "motion135":
        local, _ = motion135_to_rotations(motion.data, name=motion.name)
        joints = motion135_to_joints(motion.data, name=motion.name)
        turn = first_heading(joints, name=motion.name)
        pivot = joints[0, 0] * np.array([1.0, 0.0, 1.0])
        local[:, 0] = quat_wxyz_to_matrix(turn) @ local[:, 0]
        pelvis = quat_rotate(turn, joints[:, 0] - pivot) + pivot
        return motion.replace(data=rotations_to_motion135(local, pelvis - pelvis_place()))
    turn = first_heading(motion.data, skeleton=skeleton, name=motion.name)
    pivot = motion.data[0, 0] * np.array([1.0, 0.0, 1.0])
    return motion.replace(data=quat_rotate(turn, motion.data - pivot) + pivot)
