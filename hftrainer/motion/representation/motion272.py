"""``motion272``: heading-free positions, velocities and body rotations at 30 fps, as MotionStreamer uses them.

One frame is ``[root_velocity 2 | heading_step 6 | position 66 | velocity 66 | rotations 132]``; the 6D layout is
``rot6d_rows``. What is easily got wrong:

* T frames give T rows: the first row's velocities are zero and its heading step is none.
* The heading is that of the body's own +Z axis, ``atan2(R[0, 2], R[2, 2])`` of the root, not that of hips or shoulders.
* The root velocity of row t is turned by the heading of row t - 1; the joint velocities are differences of positions
  from which heading and root were taken out before.
* A heading step acts from the left: ``heading[t] = step[t] @ heading[t - 1]``.
* Decoding adds up x and z of the root; its height is the stored one of the pelvis.

Source: Xiao et al., "MotionStreamer", ICCV 2025, and its ``272-dim-Motion-Representation`` (MIT).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hftrainer.motion.representation.hml263 import (
    hml263_to_global_rotations,
    hml263_to_joints,
    hml263_to_rotations,
    joints_to_hml263,
)
from hftrainer.motion.representation.motion135 import (
    JOINTS,
    body_offsets,
    checked,
    checked_body,
    local_rotations,
    motion135_to_rotations,
    pelvis_place,
    pose_joints,
    rotations_to_motion135,
    world_rotations,
)
from hftrainer.motion.rotation import (
    matrix_to_quat_wxyz,
    matrix_to_rot6d_rows,
    matrix_to_rotvec,
    quat_between,
    quat_wxyz_to_matrix,
    rot6d_rows_to_matrix,
    rotvec_to_matrix,
    slerp,
)
from hftrainer.motion.skeleton import CANON272_REST, SMPL22
from hftrainer.motion.timing import resample_times, sample

FPS = 30.0
WIDTH = 272
_STEP, _POSITION, _VELOCITY, _ROTATIONS = slice(2, 8), slice(8, 74), slice(74, 140), slice(140, 272)

#: How rotations stored by hml263 add up: along its chains, which is how they were made, or along the body's parents,
#: which is how the released bridge adds them and which turns both collars wrongly.
SUMS = ("chains", "parents")


def _turn_about_y(angles: np.ndarray) -> np.ndarray:
    """``(T, 3, 3)`` turns about +Y by ``(T,)`` radians."""
    return rotvec_to_matrix(angles[:, None] * [0.0, 1.0, 0.0])


# ---------------------------------------------------------------------------------------------- encode


def rotations_to_motion272(local: Any, joints: Any, *, name: str = "motion") -> np.ndarray:
    """motion272 of a body whose turns and joint positions are known.

    Args:
        local: ``(T, 22, 3, 3)`` rotations relative to the parent; the root's turns the body in the world.
        joints: ``(T, 22, 3)`` metres, +Y up, 30 fps.
        name: what error messages call the clip.

    Returns:
        ``(T, 272)`` float64. Where the clip starts and how high it floats is not in it: the lowest joint is put at
        height 0 and the first pelvis above the origin. Nor is the first heading.

    Raises:
        ValueError: shapes that do not fit, or values that are not finite.

    Source:
        ``representation_272.py`` of the repository named above.

    >>> rotations_to_motion272(np.tile(np.eye(3), (2, 22, 1, 1)), np.zeros((2, 22, 3)))[0, :8].tolist()
    [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    """
    local = checked_body(local, (JOINTS, 3, 3), "rotations", name)
    joints = checked_body(joints, (JOINTS, 3), "joints", name)
    frames = len(local)
    if frames != len(joints):
        raise ValueError(
            f"{name}: rotations and joints must have equally many frames; got {frames} and {len(joints)}."
        )
    joints = joints - [0.0, joints[..., 1].min(), 0.0]
    angles = -np.arctan2(local[:, 0, 0, 2], local[:, 0, 2, 2])  # (T,)
    heading = _turn_about_y(angles)
    placed = joints - joints[:, :1] * [1.0, 0.0, 1.0]
    position = np.einsum("tab,tjb->tja", heading, placed)  # (T, 22, 3)
    rotations = local.copy()
    rotations[:, 0] = heading @ local[:, 0]

    out = np.zeros((frames, WIDTH))
    out[1:, :2] = np.einsum("tab,tb->ta", heading[:-1], np.diff(joints[:, 0], axis=0))[:, [0, 2]]
    out[:, _STEP] = matrix_to_rot6d_rows(_turn_about_y(np.diff(angles, prepend=angles[:1])))
    out[:, _POSITION] = position.reshape(frames, -1)
    out[1:, _VELOCITY] = np.diff(position, axis=0).reshape(frames - 1, -1)
    out[:, _ROTATIONS] = matrix_to_rot6d_rows(rotations).reshape(frames, -1)
    return out


def motion135_to_motion272(
    features: Any, rest: Any = None, *, rotation_space: str = "local", name: str = "motion"
) -> np.ndarray:
    """motion272 of motion135 at 30 fps.

    Args:
        features: ``(T, 135)``.
        rest: ``(22, 3)`` rest offsets of the body that gives the positions; by default ``CANON272_REST``, the average
            body of the published data. Scores are far off on another body.
        rotation_space: ``"local"``; or ``"world"`` for arrays whose rotations are in the world instead of relative to
            the parent.
        name: what error messages call the clip.

    Returns:
        ``(T, 272)`` float64. The translation's constant part has no influence.

    Raises:
        ValueError: another shape, a value that is not finite, an unknown ``rotation_space``.

    >>> motion135_to_motion272(np.tile([0, 1, 0, *[1, 0, 0, 1, 0, 0] * 22], (2, 1))).shape
    (2, 272)
    """
    if rotation_space not in ("local", "world"):
        raise ValueError(f"rotation_space must be 'local' or 'world'; got {rotation_space!r}.")
    rest = body_offsets(CANON272_REST if rest is None else rest)
    local, translation = motion135_to_rotations(features, name=name)
    if rotation_space == "world":
        local = local_rotations(local)
    return rotations_to_motion272(local, pose_joints(local, translation + rest[0], rest), name=name)


def hml263_to_motion272(features: Any, *, sums: str = "chains", name: str = "motion") -> np.ndarray:
    """motion272 of hml263 features without fitting a body: its joints, its rotations, 20 to 30 fps.

    The positions are those of the features on HumanML3D's own body. The rotations are the stored ones, brought from
    HumanML3D's rest pose to that of the published 272 data. They are swings alone, and joint j carries the turn of the
    bone that *arrives* at it, as hml263 stores it and the released bridge keeps it. A body is posed by the turns of the
    bones that leave a joint: posed by these, its joints are 10 to 15 cm from the stored positions. To pose a body, go
    through ``motion135``, as ``convert`` does: rotations and positions agree, 2.5 cm from these positions.

    Args:
        features: ``(T, 263)`` physical features at 20 fps.
        sums: how the stored rotations add up: ``"chains"``, as they were made; ``"parents"`` gives what the released
            bridge gives, whose collars are wrong by tens of degrees.
        name: what error messages call the clip.

    Returns:
        ``(T', 272)`` float64 at 30 fps, ``T' = round(1.5 T)``, both ends kept.

    Raises:
        ValueError: another shape, an unknown ``sums``, or a stored rotation that is none.

    >>> x = np.zeros((4, 263)); x[:, 67:193] = np.tile([1, 0, 0, 0, 1, 0], 21)
    >>> hml263_to_motion272(x).shape
    (6, 272)
    """
    if sums not in SUMS:
        raise ValueError(f"sums must be one of {', '.join(SUMS)}; got {sums!r}.")
    features = checked(features, 263, "hml263", name)
    if sums == "chains":
        world = hml263_to_global_rotations(features, name=name)
    else:
        world = world_rotations(quat_wxyz_to_matrix(hml263_to_rotations(features, name=name)))
    rests = np.tile(np.eye(3), (JOINTS, 1, 1))  # from the bones of one rest pose to those of the other
    rests[1:] = quat_wxyz_to_matrix(quat_between(CANON272_REST[1:], SMPL22.directions[1:]))
    times = resample_times(len(features), 20, FPS, "grid")
    local = quat_wxyz_to_matrix(slerp(matrix_to_quat_wxyz(local_rotations(world @ rests)), times))
    return rotations_to_motion272(local, sample(hml263_to_joints(features, name=name), times), name=name)


# ---------------------------------------------------------------------------------------------- decode


def _path(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turns ``(T, 3, 3)`` from the heading frames into the world, and the pelvis ``(T, 3)``."""
    steps = rot6d_rows_to_matrix(array[:, _STEP])
    span = 1
    while span < len(steps):  # after each round a row holds the product of twice as many steps up to its own
        steps[span:] = steps[span:] @ steps[:-span]
        span *= 2
    out = np.swapaxes(steps, -1, -2)
    velocity = np.stack((array[:, 0], np.zeros(len(array)), array[:, 1]), axis=-1)
    velocity[1:] = np.einsum("tab,tb->ta", out[:-1], velocity[1:])
    pelvis = np.cumsum(velocity, axis=0)
    pelvis[:, 1] = array[:, _POSITION][:, 1]
    return out, pelvis


def motion272_to_joints(features: Any, *, name: str = "motion") -> np.ndarray:
    """Joint positions of motion272, from the stored ones; no body is needed.

    Args:
        features: ``(T, 272)`` physical features.
        name: what error messages call the clip.

    Returns:
        ``(T, 22, 3)`` float64 metres, +Y up, starting above the origin.

    Raises:
        ValueError: another shape, a value that is not finite, or a heading step that is no rotation (zeros).

    >>> still = rotations_to_motion272(np.tile(np.eye(3), (2, 22, 1, 1)), np.ones((2, 22, 3)))
    >>> float(np.abs(motion272_to_joints(still)).max())
    0.0
    """
    array = checked(features, WIDTH, "motion272", name)
    out, pelvis = _path(array)
    joints = np.einsum("tab,tjb->tja", out, array[:, _POSITION].reshape(-1, JOINTS, 3))
    return joints + pelvis[:, None] * [1.0, 0.0, 1.0]


def motion272_to_rotations(features: Any, *, name: str = "motion") -> tuple[np.ndarray, np.ndarray]:
    """A body's turns and the way of its pelvis from motion272.

    Args:
        features: ``(T, 272)`` physical features.
        name: what error messages call the clip.

    Returns:
        ``(T, 22, 3, 3)`` rotations relative to the parent and ``(T, 3)`` pelvis, metres, float64.

    Raises:
        ValueError: as ``motion272_to_joints``.

    >>> still = rotations_to_motion272(np.tile(np.eye(3), (2, 22, 1, 1)), np.ones((2, 22, 3)))
    >>> bool(np.allclose(motion272_to_rotations(still)[0], np.eye(3)))
    True
    """
    array = checked(features, WIDTH, "motion272", name)
    out, pelvis = _path(array)
    local = rot6d_rows_to_matrix(array[:, _ROTATIONS].reshape(-1, JOINTS, 6))
    local[:, 0] = out @ local[:, 0]
    return local, pelvis


def motion272_to_motion135(features: Any, pelvis_offset: Any = None, *, name: str = "motion") -> np.ndarray:
    """motion135 of motion272, from the stored rotations.

    Args:
        features: ``(T, 272)`` physical features.
        pelvis_offset: ``(3,)`` metres, where the pelvis rests in the body's own axes; by default the neutral SMPL
            body's, so that the translation is SMPL's. Zeros make the translation the pelvis itself, as the released
            code does.
        name: what error messages call the clip.

    Returns:
        ``(T, 135)`` float64.

    Raises:
        ValueError: as ``motion272_to_joints``.

    >>> still = rotations_to_motion272(np.tile(np.eye(3), (2, 22, 1, 1)), np.ones((2, 22, 3)))
    >>> motion272_to_motion135(still, np.zeros(3))[0, :3].tolist()
    [0.0, 0.0, 0.0]
    """
    local, pelvis = motion272_to_rotations(features, name=name)
    return rotations_to_motion135(local, pelvis - pelvis_place(pelvis_offset), name=name)


def motion272_to_hml263(features: Any, *, name: str = "motion") -> np.ndarray:
    """hml263 of motion272: the stored positions at 20 fps, encoded.

    Args:
        features: ``(T, 272)`` physical features at 30 fps.
        name: what error messages call the clip.

    Returns:
        ``(T' - 1, 263)`` float32 at 20 fps, ``T' = round((T - 1) * 2 / 3) + 1``.

    Raises:
        ValueError: as ``motion272_to_joints``, or a clip too short to encode.

    >>> motion272_to_hml263(motion135_to_motion272(np.tile([0, 1, 0, *[1, 0, 0, 1, 0, 0] * 22], (7, 1)))).shape
    (4, 263)
    """
    joints = motion272_to_joints(features, name=name)
    return joints_to_hml263(sample(joints, resample_times(len(joints), FPS, 20, "phase")), name=name)


# ---------------------------------------------------------------------------------------------- SMPL rows


def smpl85_face_z(rows: Any, *, name: str = "motion") -> np.ndarray:
    """SMPL rows turned about +Y so that the body's +Z axis points along +Z in the first frame.

    Args:
        rows: ``(T, 85)``: root rotation vector 3, body pose 69, translation 3, betas 10.
        name: what error messages call the clip.

    Returns:
        ``(T, 85)`` float64; pose and betas as they were. The root's rotation vector has at most half a turn, so it may
        differ from another program's by a whole one: compare rotations, not vectors.

    Raises:
        ValueError: another shape, or a value that is not finite.

    >>> smpl85_face_z(np.tile(np.eye(85)[1], (2, 1)))[0, :3].round(6).tolist()
    [0.0, 0.0, 0.0]
    """
    array = checked(rows, 85, "smpl85", name)
    root = rotvec_to_matrix(array[:, :3])
    turn = _turn_about_y(-np.arctan2(root[:1, 0, 2], root[:1, 2, 2]))[0]
    array[:, :3] = matrix_to_rotvec(turn @ root) + 0.0
    array[:, 72:75] = array[:, 72:75] @ turn.T
    return array


def smpl85_to_motion272(rows: Any, joints: Any = None, *, name: str = "motion") -> np.ndarray:
    """motion272 of SMPL rows.

    Args:
        rows: ``(T, 85)`` as ``smpl85_face_z`` takes them, 30 fps; they are turned to face +Z first.
        joints: ``(T, 22, 3)`` metres, positions of the turned clip from a body model; by default those of the average
            body ``CANON272_REST``, which leaves the betas out.
        name: what error messages call the clip.

    Returns:
        ``(T, 272)`` float64.

    Raises:
        ValueError: another shape, or a value that is not finite.

    >>> smpl85_to_motion272(np.zeros((3, 85))).shape
    (3, 272)
    """
    array = smpl85_face_z(rows, name=name)
    local = rotvec_to_matrix(array[:, :66].reshape(-1, JOINTS, 3))
    if joints is None:
        joints = pose_joints(local, array[:, 72:75], CANON272_REST)
    return rotations_to_motion272(local, joints, name=name)


def motion272_to_smpl85(features: Any, pelvis_offset: Any = None, *, name: str = "motion") -> np.ndarray:
    """SMPL rows of motion272: rotation vectors, translation, no hands, zero betas.

    Args:
        features: ``(T, 272)`` physical features.
        pelvis_offset: ``(3,)`` as in ``motion272_to_motion135``.
        name: what error messages call the clip.

    Returns:
        ``(T, 85)`` float64.

    Raises:
        ValueError: as ``motion272_to_joints``.

    >>> motion272_to_smpl85(smpl85_to_motion272(np.zeros((3, 85)))).shape
    (3, 85)
    """
    local, pelvis = motion272_to_rotations(features, name=name)
    rows = np.zeros((len(local), 85))
    rows[:, :66] = matrix_to_rotvec(local).reshape(len(local), -1)
    rows[:, 72:75] = pelvis - pelvis_place(pelvis_offset)
    return rows
