"""``motion135``: a body's place and the turns of its 22 joints, the common tongue of SMPL-type programs.

One frame is ``[translation 3 | 22 x rot6d_interleaved]``: metres and +Y up; joint 0 turns the whole body, every other
joint is relative to its parent. The translation is SMPL's ``transl``. The pelvis rests at ``SMPL22.rest[0]`` in the
body's own axes, and that offset is added as it is, never turned with the body, as SMPL's skinning does:

``pelvis = translation + rest[0]``; ``world[j] = world[parent] @ local[j]``;
``joint[j] = joint[parent] + world[parent] @ rest[j]``.

The body itself is not in the numbers. By default it is the neutral SMPL body with zero betas.

Source: SMPL, Loper et al., "SMPL: A Skinned Multi-Person Linear Model", SIGGRAPH Asia 2015.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hftrainer.motion.representation.hml263 import hml263_to_joints, joints_to_hml263
from hftrainer.motion.representation.ik import joints_to_rotations
from hftrainer.motion.rotation import (
    matrix_to_rot6d_interleaved,
    matrix_to_rotvec,
    rot6d_interleaved_to_matrix,
    rotvec_to_matrix,
)
from hftrainer.motion.skeleton import SMPL22
from hftrainer.motion.timing import resample_times, sample

JOINTS = len(SMPL22.parents)
WIDTH = 3 + 6 * JOINTS


def checked(features: Any, width: int, what: str, name: str) -> np.ndarray:
    """``(T, width)`` numbers of one clip as finite float64, or a sentence that says what is wrong.

    Args:
        features: the numbers.
        width: numbers per frame.
        what: the representation that they must be in.
        name: what error messages call the clip.

    Raises:
        ValueError: another shape, no frame, or a value that is not finite.

    >>> checked(np.zeros((2, 135), np.float32), 135, "motion135", "walk").dtype
    dtype('float64')
    """
    array = np.asarray(features)
    if array.ndim != 2 or array.shape[1] != width or len(array) == 0:
        raise ValueError(
            f"{name}: {what} must have shape (T, {width}) with T at least 1; got {array.shape}. "
            "Name the representation that the numbers are in."
        )
    return _finite(array, name)


def checked_body(array: Any, tail: tuple[int, ...], what: str, name: str) -> np.ndarray:
    """``(T, *tail)`` numbers, for example joints with ``tail=(22, 3)``, checked as ``checked`` does.

    >>> checked_body(np.zeros((2, 22, 3)), (22, 3), "joints", "walk").shape
    (2, 22, 3)
    """
    array = np.asarray(array)
    if array.shape[1:] != tail or array.ndim != 1 + len(tail) or len(array) == 0:
        want = ", ".join(["T", *map(str, tail)])
        raise ValueError(f"{name}: {what} must have shape ({want}) with T at least 1; got {array.shape}.")
    return _finite(array, name)


def _finite(array: np.ndarray, name: str) -> np.ndarray:
    array = array.astype(np.float64)
    bad = ~np.isfinite(array).reshape(len(array), -1).all(axis=1)
    if bad.any():
        raise ValueError(
            f"{name}: every value must be finite; got NaN or infinity in {int(bad.sum())} of {len(array)} frames, "
            f"first in frame {int(bad.argmax())}. Cut or mend the clip."
        )
    return array


# ---------------------------------------------------------------------------------------------- the body


def world_rotations(local: Any) -> np.ndarray:
    """Rotations in the world from rotations relative to the parent.

    Args:
        local: ``(..., 22, 3, 3)``.

    Returns:
        ``(..., 22, 3, 3)``.

    >>> bool(np.allclose(world_rotations(np.tile(np.eye(3), (22, 1, 1))), np.eye(3)))
    True
    """
    local = np.asarray(local)
    world = local.copy()
    for joint, parent in enumerate(SMPL22.parents):
        if parent >= 0:
            world[..., joint, :, :] = world[..., parent, :, :] @ local[..., joint, :, :]
    return world


def local_rotations(world: Any) -> np.ndarray:
    """Rotations relative to the parent from rotations in the world; the root's stays.

    Args:
        world: ``(..., 22, 3, 3)``.

    Returns:
        ``(..., 22, 3, 3)``.

    >>> turn = rotvec_to_matrix(np.full((22, 3), 0.1))
    >>> bool(np.allclose(local_rotations(world_rotations(turn)), turn))
    True
    """
    world = np.asarray(world)
    above = world[..., np.maximum(SMPL22.parents, 0), :, :].copy()
    above[..., 0, :, :] = np.eye(3)
    return np.swapaxes(above, -1, -2) @ world


def pose_joints(local: Any, pelvis: Any, rest: Any = None) -> np.ndarray:
    """Where the joints are when a body turns so: forward kinematics.

    Args:
        local: ``(..., 22, 3, 3)`` rotations relative to the parent.
        pelvis: ``(..., 3)`` position of the pelvis.
        rest: ``(22, 3)`` offset of each joint from its parent in the rest pose; by default ``SMPL22.rest``. The first
            is not used.

    Returns:
        ``(..., 22, 3)`` positions in the unit of ``rest``.

    >>> standing = pose_joints(np.tile(np.eye(3), (22, 1, 1)), [0, 0.9, 0])
    >>> bool(np.allclose(standing[1], [0, 0.9, 0] + SMPL22.rest[1]))
    True
    """
    rest = body_offsets(rest)
    world = world_rotations(local)
    parents = np.maximum(SMPL22.parents, 0)
    joints = np.einsum("...jab,jb->...ja", world[..., parents, :, :], rest)
    joints[..., 0, :] = pelvis
    for joint, parent in enumerate(SMPL22.parents):
        if parent >= 0:
            joints[..., joint, :] += joints[..., parent, :]
    return joints


def body_offsets(rest: Any = None) -> np.ndarray:
    """``(22, 3)`` rest offsets as float64; those of the neutral SMPL body when ``rest`` is ``None``.

    Raises:
        ValueError: another shape.

    >>> body_offsets().shape
    (22, 3)
    """
    array = np.asarray(SMPL22.rest if rest is None else rest, dtype=np.float64)
    if array.shape != (JOINTS, 3):
        raise ValueError(
            f"rest must have shape ({JOINTS}, 3); got {array.shape}. Pass one offset from its parent for each joint."
        )
    return array


def pelvis_place(pelvis_offset: Any = None) -> np.ndarray:
    """``(3,)`` where the pelvis rests in the body's own axes: pelvis minus translation, metres.

    Args:
        pelvis_offset: the place; ``None`` for the neutral SMPL body's, zeros where the translation is the pelvis.

    Raises:
        ValueError: another shape.

    >>> bool((pelvis_place() == SMPL22.rest[0]).all()), pelvis_place([0, 0, 0]).tolist()
    (True, [0.0, 0.0, 0.0])
    """
    array = np.asarray(body_offsets()[0] if pelvis_offset is None else pelvis_offset, dtype=np.float64)
    if array.shape != (3,):
        raise ValueError(f"pelvis_offset must have shape (3,); got {array.shape}.")
    return array


# ---------------------------------------------------------------------------------------------- the numbers


def rotations_to_motion135(local: Any, translation: Any, *, name: str = "motion") -> np.ndarray:
    """motion135 of a body's turns and place.

    Args:
        local: ``(T, 22, 3, 3)`` rotations relative to the parent.
        translation: ``(T, 3)`` metres, SMPL's ``transl``: pelvis position minus ``SMPL22.rest[0]``.
        name: what error messages call the clip.

    Returns:
        ``(T, 135)`` float64.

    Raises:
        ValueError: shapes that do not fit, or values that are not finite.

    >>> rotations_to_motion135(np.tile(np.eye(3), (2, 22, 1, 1)), np.ones((2, 3)))[0, :9].tolist()
    [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0]
    """
    local = checked_body(local, (JOINTS, 3, 3), "rotations", name)
    translation = checked_body(translation, (3,), "translation", name)
    if len(local) != len(translation):
        raise ValueError(
            f"{name}: rotations and translation must have equally many frames; got {len(local)} and {len(translation)}."
        )
    sixes = matrix_to_rot6d_interleaved(local).reshape(len(local), -1)
    return np.concatenate((translation, sixes), axis=-1)


def motion135_to_rotations(features: Any, *, name: str = "motion") -> tuple[np.ndarray, np.ndarray]:
    """A body's turns and place from motion135.

    Args:
        features: ``(T, 135)``.
        name: what error messages call the clip.

    Returns:
        ``(T, 22, 3, 3)`` rotations relative to the parent and ``(T, 3)`` translation, float64.

    Raises:
        ValueError: another shape, a value that is not finite, or six numbers that are no rotation.

    >>> local, translation = motion135_to_rotations(np.tile([0, 1, 0, *[1, 0, 0, 1, 0, 0] * 22], (2, 1)))
    >>> bool(np.allclose(local, np.eye(3))), translation.shape
    (True, (2, 3))
    """
    array = checked(features, WIDTH, "motion135", name)
    return rot6d_interleaved_to_matrix(array[:, 3:].reshape(len(array), JOINTS, 6)), array[:, :3]


def motion135_to_joints(features: Any, rest: Any = None, *, name: str = "motion") -> np.ndarray:
    """Joint positions of motion135 on a body.

    Args:
        features: ``(T, 135)``.
        rest: ``(22, 3)`` rest offsets of the body; by default the neutral SMPL body's. The first is the pelvis in the
            body's own axes; make it zero for arrays whose translation is the pelvis already.
        name: what error messages call the clip.

    Returns:
        ``(T, 22, 3)`` float64 metres, +Y up.

    Raises:
        ValueError: as ``motion135_to_rotations``, or another shape of ``rest``.

    >>> still = np.tile([0, 1, 0, *[1, 0, 0, 1, 0, 0] * 22], (2, 1))
    >>> bool(np.allclose(motion135_to_joints(still)[0, 0], [0, 1, 0] + SMPL22.rest[0]))
    True
    """
    rest = body_offsets(rest)
    local, translation = motion135_to_rotations(features, name=name)
    return pose_joints(local, translation + rest[0], rest)


def joints_to_motion135(joints: Any, rest: Any = None, *, name: str = "motion") -> np.ndarray:
    """motion135 whose bones point where the joints of a clip say; see ``ik.joints_to_rotations``.

    Args:
        joints: ``(T, 22, 3)`` metres, +Y up.
        rest: ``(22, 3)`` rest offsets of the body; by default the neutral SMPL body's. Where its bones are longer or
            shorter than the clip's, the joints come out elsewhere, on HumanML3D's own body by about 25 mm.
        name: what error messages call the clip.

    Returns:
        ``(T, 135)`` float64; the pelvis stays where it was.

    Raises:
        ValueError: another shape, or a value that is not finite.

    >>> still = np.tile([0, 1, 0, *[1, 0, 0, 1, 0, 0] * 22], (2, 1))
    >>> bool(np.allclose(joints_to_motion135(motion135_to_joints(still)), still))
    True
    """
    rest = body_offsets(rest)
    joints = checked_body(joints, (JOINTS, 3), "joints", name)
    return rotations_to_motion135(joints_to_rotations(joints, rest), joints[:, 0] - rest[0], name=name)


def hml263_to_motion135(features: Any, *, name: str = "motion") -> np.ndarray:
    """motion135 of hml263 features: its joints at 30 fps, on the floor, then ``joints_to_motion135``.

    Args:
        features: ``(T, 263)`` physical features at 20 fps.
        name: what error messages call the clip.

    Returns:
        ``(T', 135)`` float64 at 30 fps, ``T' = round(1.5 T)``, both ends kept; the lowest joint of hml263 at height 0.

    Raises:
        ValueError: another shape, or a value that is not finite.

    >>> x = np.zeros((4, 263)); x[:, 4:67] = np.random.default_rng(0).normal(size=(4, 63))
    >>> hml263_to_motion135(x).shape
    (6, 135)
    """
    joints = hml263_to_joints(checked(features, 263, "hml263", name), name=name)
    joints = sample(joints, resample_times(len(joints), 20, 30, "grid"))
    return joints_to_motion135(joints - [0.0, joints[..., 1].min(), 0.0], name=name)


def motion135_to_hml263(features: Any, fps: float = 30.0, rest: Any = None, *, name: str = "motion") -> np.ndarray:
    """hml263 of motion135: its joints on a body at 20 fps, encoded.

    Args:
        features: ``(T, 135)``.
        fps: frames per second of ``features``. Of a multiple of 20 every so manieth frame is taken; other rates are
            interpolated.
        rest: ``(22, 3)`` rest offsets of the body; by default the neutral SMPL body's.
        name: what error messages call the clip.

    Returns:
        ``(T' - 1, 263)`` float32 at 20 fps.

    Raises:
        ValueError: as ``motion135_to_joints``, an fps not above 0, or a clip too short to encode.

    >>> motion135_to_hml263(np.tile([0, 1, 0, *[1, 0, 0, 1, 0, 0] * 22], (24, 1)), 120).shape
    (3, 263)
    """
    joints = motion135_to_joints(features, rest, name=name)
    times = resample_times(len(joints), fps, 20)
    every = round(fps / 20)
    even = every >= 1 and abs(fps - 20 * every) < 1e-6
    return joints_to_hml263(joints[::every] if even else sample(joints, times), name=name)


def smpl_to_motion135(pose: Any, translation: Any, *, name: str = "motion") -> np.ndarray:
    """motion135 of SMPL parameters.

    Args:
        pose: ``(T, n)`` rotation vectors, radians, joint after joint, the root's first; n at least 66. Those beyond
            joint 21 (hands, face) are left out.
        translation: ``(T, 3)`` metres, +Y up.
        name: what error messages call the clip.

    Returns:
        ``(T, 135)`` float64.

    Raises:
        ValueError: fewer than 66 numbers per frame, or shapes that do not fit.

    >>> smpl_to_motion135(np.zeros((2, 72)), np.zeros((2, 3))).shape
    (2, 135)
    """
    pose = np.asarray(pose)
    if pose.ndim != 2 or pose.shape[1] < 3 * JOINTS:
        raise ValueError(f"{name}: pose must have shape (T, n) with n at least {3 * JOINTS}; got {pose.shape}.")
    turns = checked_body(pose[:, : 3 * JOINTS], (3 * JOINTS,), "pose", name)
    return rotations_to_motion135(rotvec_to_matrix(turns.reshape(-1, JOINTS, 3)), translation, name=name)


def motion135_to_smpl(features: Any, *, name: str = "motion") -> tuple[np.ndarray, np.ndarray]:
    """SMPL parameters of motion135.

    Args:
        features: ``(T, 135)``.
        name: what error messages call the clip.

    Returns:
        ``(T, 66)`` rotation vectors of at most half a turn, radians, and ``(T, 3)`` translation, metres.

    Raises:
        ValueError: as ``motion135_to_rotations``.

    >>> motion135_to_smpl(np.tile([0, 1, 0, *[1, 0, 0, 1, 0, 0] * 22], (2, 1)))[0].shape
    (2, 66)
    """
    local, translation = motion135_to_rotations(features, name=name)
    return matrix_to_rotvec(local).reshape(len(local), -1), translation
