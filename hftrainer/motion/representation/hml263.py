"""Joints to HumanML3D features and back: ``hml263`` (22 joints, metres) and ``kit251`` (21 joints, millimetres).

Both are one algorithm on two skeletons. Where the published data has a quirk, the quirk is kept, because every
published model and score depends on it:

* The inverse kinematics takes the hips with the wrong sign when it looks for the facing direction; putting the first
  frame straight takes the right one. So the heading of frame 1 differs from that of frame 0, which is forced to zero.
* Rotation chains restart at the root, the arm chains too: a collar bone is relative to the pelvis, not to the chest.
* ``root_yaw_velocity`` is *half* the yaw step. It comes from an arcsine of quaternions whose sign jumps where the
  body faces exactly backwards, so the one step that crosses that line is stored with the wrong sign.
* The root velocity is turned by the *later* frame's heading, the joint velocities by the *earlier* one's.
* T frames give T - 1 rows.

Encoding and decoding stand in one file, long as that makes it: each quirk is written by one and undone by the other.

Inside, arrays are component first, time last, ``(3, J, T)``: one numpy call then runs over whole contiguous clips.

Source: HumanML3D, ``motion_representation.ipynb`` and ``common/skeleton.py`` (MIT); computed here in float64 where
the authors use float32, which moves features by less than 3e-5.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hftrainer.motion.rotation import matrix_to_quat_wxyz, quat_wxyz_to_matrix, rot6d_columns_to_matrix
from hftrainer.motion.skeleton import KIT21, SMPL22, Skeleton

#: Standard deviation of the Gaussian that smooths the facing direction, frames.
SMOOTHING = 20.0
MIN_FRAMES = 4


# ---------------------------------------------------------------------------------------------- input checks


def _joints(joints: Any, skeleton: Skeleton, name: str) -> np.ndarray:
    """``(T, J, 3)`` input, checked, as float64 ``(3, J, T)``."""
    array = np.asarray(joints)
    count = len(skeleton.joints)
    if array.ndim != 3 or array.shape[1:] != (count, 3):
        raise ValueError(
            f"{name}: {skeleton.name} joints must have shape (T, {count}, 3); got {array.shape}. "
            "Pass one clip of joint positions."
        )
    if len(array) < MIN_FRAMES:
        raise ValueError(
            f"{name}: encoding needs at least {MIN_FRAMES} frames; got {len(array)}. Pass a longer clip."
        )
    positions = np.ascontiguousarray(array.transpose(2, 1, 0), dtype=np.float64)
    if not np.isfinite(positions).all():
        bad = np.logical_not(np.isfinite(positions).all(axis=(0, 1)))
        raise ValueError(
            f"{name}: every joint must be finite; got NaN or infinity in {int(bad.sum())} of {len(bad)} frames, "
            f"first in frame {int(bad.argmax())}. Cut or mend the clip."
        )
    return positions


def _features(features: Any, skeleton: Skeleton, name: str) -> np.ndarray:
    """``(..., T, D)`` features, checked."""
    array = np.asarray(features)
    width = 12 * len(skeleton.joints) - 1
    if array.ndim < 2 or array.shape[-1] != width or array.shape[-2] == 0:
        raise ValueError(
            f"{name}: {skeleton.name} features must have shape (..., T, {width}) with T at least 1; got {array.shape}. "
            "Name the representation that the numbers are in."
        )
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)


def _lengths(offsets: Any, skeleton: Skeleton) -> np.ndarray:
    """``(J,)`` bone lengths of a reference body given as offsets along the skeleton's directions."""
    offsets = skeleton.offsets if offsets is None else np.asarray(offsets, dtype=np.float64)
    if offsets.shape != skeleton.directions.shape:
        raise ValueError(f"offsets must have shape {skeleton.directions.shape}; got {offsets.shape}.")
    lengths = (offsets * skeleton.directions).sum(-1)
    if not np.allclose(offsets, skeleton.directions * lengths[:, None], atol=1e-6) or (lengths[1:] <= 0).any():
        raise ValueError(f"offsets must lie along the rest directions of {skeleton.name}, with lengths above 0.")
    return lengths


# ---------------------------------------------------------------------------------------------- geometry, (3, J, T)


def _bones(positions: np.ndarray, skeleton: Skeleton, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Unit direction ``(3, J, T)`` and length ``(J, T)`` of the bone arriving at each joint; the root's are 0 and 1."""
    parents = np.maximum(skeleton.parents, 0)
    bones = positions - positions[:, parents]  # (3, J, T)
    lengths = np.sqrt(bones[0] * bones[0] + bones[1] * bones[1] + bones[2] * bones[2])  # (J, T)
    lengths[0] = 1
    if lengths.min() < 1e-9:
        joint, frame = np.argwhere(lengths < 1e-9)[0]
        raise ValueError(
            f"{name}: every bone must have a length above 0; got 0 at joint {skeleton.joints[joint]}, frame {frame}. "
            "Joints that lie on each other have no direction."
        )
    bones /= lengths
    return bones, lengths


def _grow(root: np.ndarray, bones: np.ndarray, lengths: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Positions ``(3, J, T)`` of a body with these bone directions, bone lengths ``(J,)`` and root ``(3, T)``."""
    positions = bones * lengths[:, None]
    positions[:, 0] = root
    for joint, parent in enumerate(skeleton.parents):
        if parent >= 0:
            positions[:, joint] += positions[:, parent]
    return positions


def _uniform(positions: np.ndarray, skeleton: Skeleton, lengths: np.ndarray, name: str) -> np.ndarray:
    # The chain rotation of a bone is exactly "rest direction to bone direction", so giving the reference body these
    # rotations is to give it these bone directions: no rotation needs to be computed.
    bones, have = _bones(positions, skeleton, name)
    first, second = skeleton.legs
    scale = (lengths[first] + lengths[second]) / (have[first, 0] + have[second, 0])
    return _grow(positions[:, 0] * scale, bones, lengths, skeleton)


def _yaw_quat(forward_x: np.ndarray, forward_z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``w`` and ``y`` of the shortest turn about +Y that takes a unit direction on the ground to +Z."""
    w, y = 1 + forward_z, -forward_x
    norm = np.sqrt(w * w + y * y)
    back = norm < 1e-12  # exactly backwards: a half turn
    norm = np.where(back, 1, norm)
    return np.where(back, 0, w / norm), np.where(back, 1, y / norm)


def _turn(w: np.ndarray, y: np.ndarray, x: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x and z of a vector after the rotation ``(w, 0, y, 0)``."""
    cosine, sine = w * w - y * y, 2 * w * y
    return cosine * x + sine * z, cosine * z - sine * x


def _across(positions: np.ndarray, skeleton: Skeleton, hips: float) -> np.ndarray:
    """``(3, T)`` right minus left, shoulders plus hips; ``hips=-1`` is the sign that the inverse kinematics takes."""
    right_hip, left_hip, right_shoulder, left_shoulder = skeleton.facing
    return hips * (positions[:, right_hip] - positions[:, left_hip]) + (
        positions[:, right_shoulder] - positions[:, left_shoulder]
    )


def _ground_direction(x: np.ndarray, z: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    length = np.hypot(x, z)
    if length.min() < 1e-12:
        raise ValueError(
            f"{name}: the body must face somewhere; hips and shoulders give no direction on the ground in frame "
            f"{int(length.argmin())}."
        )
    return x / length, z / length


def _first_heading(positions: np.ndarray, skeleton: Skeleton, name: str) -> tuple[np.ndarray, np.ndarray]:
    """``w`` and ``y`` (each ``(1,)``) of the turn that makes the first frame face +Z."""
    across = _across(positions[:, :, :1], skeleton, 1.0)
    return _yaw_quat(*_ground_direction(across[2], -across[0], name))


def _canonical(positions: np.ndarray, skeleton: Skeleton, name: str) -> np.ndarray:
    w, y = _first_heading(positions, skeleton, name)
    root_x, root_z = positions[0, 0, 0], positions[2, 0, 0]
    out = np.empty_like(positions)
    np.subtract(positions[1], positions[1].min(), out=out[1])
    out[0], out[2] = _turn(w, y, positions[0] - root_x, positions[2] - root_z)
    return out


def _smooth(values: np.ndarray) -> np.ndarray:
    """Gaussian filter along time with the edge values held, the same as scipy's with ``mode="nearest"``."""
    radius = int(4 * SMOOTHING + 0.5)
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / SMOOTHING) ** 2)
    return np.convolve(np.pad(values, radius, mode="edge"), taps / taps.sum(), mode="valid")


def _heading(positions: np.ndarray, skeleton: Skeleton, smooth: bool, name: str) -> tuple[np.ndarray, np.ndarray]:
    """``w`` and ``y`` ``(T,)`` of each frame's root quaternion; frame 0 is the identity."""
    across = _across(positions, skeleton, -1.0)
    length = np.sqrt((across * across).sum(0))
    if length.min() < 1e-12:
        raise ValueError(
            f"{name}: the body must face somewhere; hips and shoulders give no direction in frame "
            f"{int(length.argmin())}."
        )
    x, z = across[2] / length, -across[0] / length
    if smooth:
        x, z = _smooth(x), _smooth(z)
    w, y = _yaw_quat(*_ground_direction(x, z, name))
    w[0], y[0] = 1, 0
    return w, y


def _chain_parents(skeleton: Skeleton) -> np.ndarray:
    """``(J,)`` the joint whose rotation each joint's rotation is relative to: chains start from the root's."""
    parents = np.zeros(len(skeleton.joints), dtype=np.int64)
    for chain in skeleton.chains:
        for before, joint in zip(chain[1:], chain[2:], strict=False):
            parents[joint] = before
    return parents


def _swings(bones: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """``(4, J, T)`` shortest rotations from each rest direction to the bone direction."""
    rest = skeleton.directions.T[..., None]  # (3, J, 1)
    w = 1 + (rest[0] * bones[0] + rest[1] * bones[1] + rest[2] * bones[2])
    swing = np.empty((4, *w.shape))
    norm = np.sqrt(2 * np.maximum(w, 1e-16))  # |(w, rest x bone)|, both unit
    swing[0] = w / norm
    swing[1] = (rest[1] * bones[2] - rest[2] * bones[1]) / norm
    swing[2] = (rest[2] * bones[0] - rest[0] * bones[2]) / norm
    swing[3] = (rest[0] * bones[1] - rest[1] * bones[0]) / norm
    if w[1:].min() < 1e-12:  # a bone exactly opposite to its rest direction: a half turn about a perpendicular axis
        joint, frame = np.nonzero(w < 1e-12)
        swing[:, joint, frame] = 0
        swing[1 + (np.abs(skeleton.directions[joint]).argmax(-1) + 1) % 3, joint, frame] = 1
    return swing


def _local_quats(bones: np.ndarray, heading: tuple[np.ndarray, np.ndarray], skeleton: Skeleton) -> np.ndarray:
    """``(4, J, T)`` rotation of each joint relative to the one before it in its chain; joint 0 holds the heading."""
    swing = _swings(bones, skeleton)
    swing[:, 0] = 0
    swing[0, 0], swing[2, 0] = heading
    aw, ax, ay, az = swing[:, _chain_parents(skeleton)]
    bw, bx, by, bz = swing
    local = np.empty_like(swing)
    local[0] = aw * bw + ax * bx + ay * by + az * bz  # conjugate(a) b
    local[1] = aw * bx - ax * bw - ay * bz + az * by
    local[2] = aw * by + ax * bz - ay * bw - az * bx
    local[3] = aw * bz - ax * by + ay * bx - az * bw
    local[:, 0] = swing[:, 0]
    return local


def _contacts(positions: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """``(4, T - 1)`` bool."""
    step = np.diff(positions[:, list(skeleton.feet)], axis=-1)
    return (step * step).sum(0) < skeleton.contact_threshold


def _encode(joints: Any, skeleton: Skeleton, offsets: Any, name: str) -> np.ndarray:
    positions = _joints(joints, skeleton, name)
    positions = _canonical(_uniform(positions, skeleton, _lengths(offsets, skeleton), name), skeleton, name)
    w, y = _heading(positions, skeleton, True, name)
    local = _local_quats(_bones(positions, skeleton, name)[0], (w, y), skeleton)
    count, rows = len(skeleton.joints), positions.shape[-1] - 1
    out = np.empty((12 * count - 1, rows), dtype=np.float32)

    step = np.diff(positions, axis=-1)  # (3, J, T-1)
    out[0] = np.arcsin(np.clip(y[1:] * w[:-1] - w[1:] * y[:-1], -1, 1))
    out[1], out[2] = _turn(w[1:], y[1:], step[0, 0], step[2, 0])
    out[3] = positions[1, 0, :-1]

    ric, rot, vel, feet = 4, 4 + 3 * (count - 1), 4 + 9 * (count - 1), 4 + 9 * (count - 1) + 3 * count
    here = positions[..., :-1]
    block = out[ric:rot].reshape(count - 1, 3, rows)
    block[:, 0], block[:, 2] = _turn(w[:-1], y[:-1], here[0, 1:] - here[0, 0], here[2, 1:] - here[2, 0])
    block[:, 1] = here[1, 1:]

    qw, qx, qy, qz = local[:, 1:, :-1]
    block = out[rot:vel].reshape(count - 1, 6, rows)
    yy, zz, xy, xz, wz = qy * qy, qz * qz, qx * qy, qx * qz, qw * qz
    block[:, 0] = 1 - 2 * (yy + zz)
    block[:, 1] = 2 * (xy + wz)
    block[:, 2] = 2 * (xz - qw * qy)
    block[:, 3] = 2 * (xy - wz)
    block[:, 4] = 1 - 2 * (qx * qx + zz)
    block[:, 5] = 2 * (qy * qz + qw * qx)

    block = out[vel:feet].reshape(count, 3, rows)
    block[:, 0], block[:, 2] = _turn(w[:-1], y[:-1], step[0], step[2])
    block[:, 1] = step[1]
    out[feet:] = _contacts(positions, skeleton)
    return np.ascontiguousarray(out.T)


# ---------------------------------------------------------------------------------------------- encode, public


def uniform_skeleton(
    joints: Any, offsets: Any = None, *, skeleton: Skeleton = SMPL22, name: str = "motion"
) -> np.ndarray:
    """The same movement on the reference body: bone directions kept, bone lengths replaced, the path scaled.

    Args:
        joints: ``(T, J, 3)``, +Y up; T at least 4. The legs of frame 0 set the scale.
        offsets: ``(J, 3)`` rest offsets of the reference body along ``skeleton.directions``; by default the
            skeleton's own.
        skeleton: ``SMPL22`` (metres) or ``KIT21`` (millimetres).
        name: what error messages call the clip.

    Returns:
        ``(T, J, 3)`` float64, in the unit of the reference body, heading unchanged.

    Raises:
        ValueError: a wrong shape, fewer than 4 frames, a value that is not finite, or a bone without length.

    Source:
        HumanML3D ``uniform_skeleton``.

    >>> from hftrainer.motion.skeleton import SMPL22
    >>> body = SMPL22.rest.copy()
    >>> for joint, parent in enumerate(SMPL22.parents):
    ...     body[joint] += body[parent] if parent >= 0 else 0
    >>> out = uniform_skeleton(np.tile(body, (4, 1, 1)))
    >>> bool(np.allclose(SMPL22.bone_lengths(out), SMPL22.lengths))
    True
    """
    positions = _uniform(_joints(joints, skeleton, name), skeleton, _lengths(offsets, skeleton), name)
    return np.ascontiguousarray(positions.transpose(2, 1, 0))


def first_heading(joints: Any, *, skeleton: Skeleton = SMPL22, name: str = "motion") -> np.ndarray:
    """The turn about +Y that makes the first frame face +Z.

    Args:
        joints: ``(T, J, 3)``, +Y up; T at least 1.

    Returns:
        ``(4,)`` quat_wxyz.

    >>> from hftrainer.motion.skeleton import SMPL22
    >>> body = np.zeros((1, 22, 3)); body[0, [1, 16], 0] = 0.1; body[0, [2, 17], 0] = -0.1
    >>> bool(np.allclose(first_heading(body), [1, 0, 0, 0]))
    True
    """
    w, y = _first_heading(np.asarray(joints, dtype=np.float64).transpose(2, 1, 0), skeleton, name)
    return np.array([w[0], 0.0, y[0], 0.0])


def canonicalize(joints: Any, *, skeleton: Skeleton = SMPL22, name: str = "motion") -> np.ndarray:
    """The same movement with its lowest joint on the ground, starting at x = z = 0 and facing +Z.

    Args:
        joints: ``(T, J, 3)``, +Y up; T at least 4.

    Returns:
        ``(T, J, 3)`` float64, same unit.

    Raises:
        ValueError: as ``uniform_skeleton``, or a first frame that faces nowhere.

    >>> from hftrainer.motion.skeleton import SMPL22
    >>> body = np.zeros((4, 22, 3)); body[:, [1, 16], 2] = 0.1; body[:, [2, 17], 2] = -0.1
    >>> bool(np.allclose(canonicalize(body + [3, 1, 2])[0, 1], [0.1, 0, 0]))
    True
    """
    return np.ascontiguousarray(_canonical(_joints(joints, skeleton, name), skeleton, name).transpose(2, 1, 0))


def inverse_kinematics(
    positions: Any, *, smooth: bool = True, skeleton: Skeleton = SMPL22, name: str = "motion"
) -> np.ndarray:
    """Rotations of every joint along HumanML3D's chains, with all their quirks (see the module text).

    Args:
        positions: ``(T, J, 3)``, +Y up; T at least 4.
        smooth: filter the facing direction over time, as the features do.

    Returns:
        ``(T, J, 4)`` quat_wxyz float64. Joint 0 maps the world into the heading frame; joint j turns the bone that
        *arrives* at j, relative to the joint before it in its chain.

    Source:
        HumanML3D ``Skeleton.inverse_kinematics_np``.

    >>> from hftrainer.motion.skeleton import SMPL22
    >>> body = SMPL22.rest.copy()
    >>> for joint, parent in enumerate(SMPL22.parents):
    ...     body[joint] += body[parent] if parent >= 0 else 0
    >>> inverse_kinematics(np.tile(body, (5, 1, 1))).shape
    (5, 22, 4)
    """
    array = _joints(positions, skeleton, name)
    heading = _heading(array, skeleton, smooth, name)
    local = _local_quats(_bones(array, skeleton, name)[0], heading, skeleton)
    return np.ascontiguousarray(local.transpose(2, 1, 0))


def foot_contacts(positions: Any, *, skeleton: Skeleton = SMPL22) -> np.ndarray:
    """Which feet stand still until the next frame.

    Args:
        positions: ``(T, J, 3)``.

    Returns:
        ``(T - 1, 4)`` float32, 1 where the *squared* displacement is below ``skeleton.contact_threshold``: left
        ankle, left toe, right ankle, right toe. Height plays no part.

    >>> foot_contacts(np.zeros((3, 22, 3))).tolist()
    [[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]]
    """
    array = np.asarray(positions, dtype=np.float64).transpose(2, 1, 0)
    return np.ascontiguousarray(_contacts(array, skeleton).T, dtype=np.float32)


def joints_to_hml263(joints: Any, offsets: Any = None, *, name: str = "motion") -> np.ndarray:
    """HumanML3D features of a clip of joints at 20 fps.

    Args:
        joints: ``(T, 22, 3)`` metres, +Y up, 20 fps; T at least 4.
        offsets: ``(22, 3)`` reference body; by default HumanML3D's.
        name: what error messages call the clip.

    Returns:
        ``(T - 1, 263)`` float32: one row fewer than frames, because velocities need two.

    Raises:
        ValueError: as ``uniform_skeleton``.

    Source:
        HumanML3D ``process_file``.

    >>> from hftrainer.motion.skeleton import SMPL22
    >>> body = SMPL22.rest.copy()
    >>> for joint, parent in enumerate(SMPL22.parents):
    ...     body[joint] += body[parent] if parent >= 0 else 0
    >>> joints_to_hml263(np.tile(body, (5, 1, 1))).shape
    (4, 263)
    """
    return _encode(joints, SMPL22, offsets, name)


def joints_to_kit251(joints: Any, offsets: Any, *, name: str = "motion") -> np.ndarray:
    """KIT-ML features of a clip of joints at 12.5 fps.

    Args:
        joints: ``(T, 21, 3)`` millimetres, +Y up, 12.5 fps; T at least 4.
        offsets: ``(21, 3)`` reference body, millimetres, along ``KIT21.directions``.

    Returns:
        ``(T - 1, 251)`` float32, millimetres.

    Raises:
        ValueError: as ``uniform_skeleton``.

    Source:
        HumanML3D ``process_file`` with the KIT settings.

    >>> from hftrainer.motion.skeleton import KIT21
    >>> offsets = KIT21.directions * 100
    >>> offsets[[5, 8]] *= 2  # shoulders wider than hips
    >>> body = offsets.copy()
    >>> for joint, parent in enumerate(KIT21.parents):
    ...     body[joint] += body[parent] if parent >= 0 else 0
    >>> joints_to_kit251(np.tile(body, (5, 1, 1)), offsets).shape
    (4, 251)
    """
    return _encode(joints, KIT21, offsets, name)


# ---------------------------------------------------------------------------------------------- decode


def _root(array: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Half heading ``(..., T)`` and root x and z ``(..., T)``, float64."""
    first = np.zeros((*array.shape[:-2], 1))
    half = np.concatenate((first, np.cumsum(array[..., :-1, 0], axis=-1, dtype=np.float64)), axis=-1)
    cosine, sine = np.cos(2 * half[..., 1:]), np.sin(2 * half[..., 1:])
    vx, vz = array[..., :-1, 1], array[..., :-1, 2]
    x = np.concatenate((first, np.cumsum(cosine * vx - sine * vz, axis=-1)), axis=-1)
    z = np.concatenate((first, np.cumsum(sine * vx + cosine * vz, axis=-1)), axis=-1)
    return half, x, z


def _decode(array: np.ndarray, joints: int) -> np.ndarray:
    half, x, z = _root(array)
    cosine = np.cos(2 * half).astype(np.float32)[..., None]  # (..., T, 1)
    sine = np.sin(2 * half).astype(np.float32)[..., None]
    out = np.empty((*array.shape[:-1], joints, 3), dtype=np.float32)
    out[..., 0, 0], out[..., 0, 1], out[..., 0, 2] = x, array[..., 3], z
    end = 4 + 3 * (joints - 1)
    ric_x, ric_z = array[..., 4:end:3], array[..., 6:end:3]  # (..., T, J-1)
    out[..., 1:, 0] = cosine * ric_x - sine * ric_z + out[..., :1, 0]
    out[..., 1:, 1] = array[..., 5:end:3]
    out[..., 1:, 2] = sine * ric_x + cosine * ric_z + out[..., :1, 2]
    return out


def recover_root(features: Any, *, skeleton: Skeleton = SMPL22, name: str = "motion") -> tuple[np.ndarray, np.ndarray]:
    """Heading and path of the root.

    Args:
        features: ``(..., T, 263)`` physical (not normalised) features, or ``(..., T, 251)`` with ``KIT21``.

    Returns:
        quat_wxyz ``(..., T, 4)`` that maps the world into the heading frame, and position ``(..., T, 3)``; float64.
        The yaw and root velocities of the last row are not used.

    Source:
        HumanML3D ``recover_root_rot_pos``.

    >>> quats, path = recover_root(np.zeros((5, 263)))
    >>> quats.shape, path.shape
    ((5, 4), (5, 3))
    """
    array = _features(features, skeleton, name)
    half, x, z = _root(array)
    zero = np.zeros_like(half)
    quats = np.stack((np.cos(half), zero, np.sin(half), zero), axis=-1)
    return quats, np.stack((x, array[..., 3].astype(np.float64), z), axis=-1)


def hml263_to_joints(features: Any, *, name: str = "motion") -> np.ndarray:
    """Joint positions of hml263 features, from the stored positions.

    Args:
        features: ``(..., T, 263)`` physical (not normalised) features.

    Returns:
        ``(..., T, 22, 3)`` float32 metres, +Y up; the first root is at x = z = 0.

    Raises:
        ValueError: a wrong width, or no frames.

    Source:
        HumanML3D ``recover_from_ric``. The first column is *half* the yaw step, rad/frame.

    >>> hml263_to_joints(np.zeros((5, 263))).shape
    (5, 22, 3)
    """
    return _decode(_features(features, SMPL22, name), 22)


def kit251_to_joints(features: Any, *, name: str = "motion") -> np.ndarray:
    """Joint positions of kit251 features, from the stored positions.

    Args:
        features: ``(..., T, 251)`` physical features, millimetres.

    Returns:
        ``(..., T, 21, 3)`` float32 millimetres, +Y up.

    Source:
        HumanML3D ``recover_from_ric``.

    >>> kit251_to_joints(np.zeros((5, 251))).shape
    (5, 21, 3)
    """
    return _decode(_features(features, KIT21, name), 21)


def _local_matrices(array: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """``(..., T, J, 3, 3)`` float64; joint 0 holds the accumulated heading."""
    count = len(skeleton.joints)
    half = _root(array)[0]
    zero = np.zeros_like(half)
    root = quat_wxyz_to_matrix(np.stack((np.cos(half), zero, np.sin(half), zero), axis=-1))
    start = 4 + 3 * (count - 1)
    block = array[..., start : start + 6 * (count - 1)].astype(np.float64)
    local = rot6d_columns_to_matrix(block.reshape(*block.shape[:-1], count - 1, 6))
    return np.concatenate((root[..., None, :, :], local), axis=-3)


def _global_matrices(local: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    out = local.copy()
    parents = _chain_parents(skeleton)
    for chain in skeleton.chains:
        for joint in chain[1:]:
            out[..., joint, :, :] = out[..., parents[joint], :, :] @ local[..., joint, :, :]
    return out


def _decode_by_rotations(array: np.ndarray, skeleton: Skeleton, lengths: np.ndarray) -> np.ndarray:
    rotations = _global_matrices(_local_matrices(array, skeleton), skeleton)  # (..., T, J, 3, 3)
    bones = (rotations @ (skeleton.directions * lengths[:, None])[..., None])[..., 0]  # (..., T, J, 3)
    _, x, z = _root(array)
    bones[..., 0, :] = np.stack((x, array[..., 3], z), axis=-1)
    for joint, parent in enumerate(skeleton.parents):
        if parent >= 0:
            bones[..., joint, :] += bones[..., parent, :]
    return bones.astype(np.float32)


def hml263_to_rotations(features: Any, *, skeleton: Skeleton = SMPL22, name: str = "motion") -> np.ndarray:
    """Stored rotations of hml263 features, each relative to the joint before it in its chain.

    Args:
        features: ``(..., T, 263)`` physical features, or ``(..., T, 251)`` with ``KIT21``.

    Returns:
        quat_wxyz ``(..., T, J, 4)`` float64 with w >= 0. Joint 0 is the heading (world into heading frame). These are
        not parent-relative body rotations: arm chains start at the root; see ``hml263_to_global_rotations``.

    >>> x = np.zeros((5, 263)); x[:, 67:193] = np.tile([1, 0, 0, 0, 1, 0], 21)
    >>> hml263_to_rotations(x).shape
    (5, 22, 4)
    """
    return matrix_to_quat_wxyz(_local_matrices(_features(features, skeleton, name), skeleton))


def hml263_to_global_rotations(features: Any, *, skeleton: Skeleton = SMPL22, name: str = "motion") -> np.ndarray:
    """Rotations of the bones in the frame of the features' root chain, accumulated as the chains were made.

    Args:
        features: ``(..., T, 263)`` physical features, or ``(..., T, 251)`` with ``KIT21``.

    Returns:
        ``(..., T, J, 3, 3)`` float64: joint j turns the rest direction of the bone arriving at j into its direction in
        the world. Accumulating along body parents instead is wrong by tens of degrees in the arms.

    >>> x = np.zeros((5, 263)); x[:, 67:193] = np.tile([1, 0, 0, 0, 1, 0], 21)
    >>> hml263_to_global_rotations(x).shape
    (5, 22, 3, 3)
    """
    return _global_matrices(_local_matrices(_features(features, skeleton, name), skeleton), skeleton)


def hml263_to_joints_by_rotations(features: Any, offsets: Any = None, *, name: str = "motion") -> np.ndarray:
    """Joint positions of hml263 features, from the stored rotations and a body: bone lengths are exact.

    Args:
        features: ``(..., T, 263)`` physical features.
        offsets: ``(22, 3)`` body along ``SMPL22.directions``; by default HumanML3D's.

    Returns:
        ``(..., T, 22, 3)`` float32 metres, +Y up.

    Raises:
        ValueError: a wrong width, no frames, or a stored rotation that is none (zeros).

    Source:
        HumanML3D ``recover_from_rot``, with leading axes kept.

    >>> x = np.zeros((5, 263)); x[:, 67:193] = np.tile([1, 0, 0, 0, 1, 0], 21)
    >>> hml263_to_joints_by_rotations(x).shape
    (5, 22, 3)
    """
    return _decode_by_rotations(_features(features, SMPL22, name), SMPL22, _lengths(offsets, SMPL22))


def kit251_to_joints_by_rotations(features: Any, offsets: Any, *, name: str = "motion") -> np.ndarray:
    """Joint positions of kit251 features, from the stored rotations and a body.

    Args:
        features: ``(..., T, 251)`` physical features.
        offsets: ``(21, 3)`` body along ``KIT21.directions``, millimetres.

    Returns:
        ``(..., T, 21, 3)`` float32 millimetres, +Y up.

    >>> x = np.zeros((5, 251)); x[:, 64:184] = np.tile([1, 0, 0, 0, 1, 0], 20)
    >>> kit251_to_joints_by_rotations(x, KIT21.directions * 100).shape
    (5, 21, 3)
    """
    return _decode_by_rotations(_features(features, KIT21, name), KIT21, _lengths(offsets, KIT21))
