"""A motion as animation programs want it: a T-pose, and how each joint turns and moves against it, frame by frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hftrainer.motion.clip import Motion
from hftrainer.motion.representation.convert import convert
from hftrainer.motion.representation.ik import joints_to_rotations, t_pose
from hftrainer.motion.representation.motion135 import (
    local_rotations,
    motion135_to_joints,
    motion135_to_rotations,
    pose_joints,
    world_rotations,
)
from hftrainer.motion.rotation import matrix_to_quat_wxyz, quat_wxyz_to_matrix, slerp
from hftrainer.motion.skeleton import SMPL22
from hftrainer.motion.timing import resample_times, sample

BONES = ("exact", "rigid")
#: Representations that say how the joints turn; of the others rotations are found from positions.
TURNED = ("motion135", "motion272", "interhuman262", "dart276", "babel135", "hymotion201")

_RIGID = 1e-4  # metres; a clip whose joints all come nearer than this by rotations alone is written so
_STILL = 1e-5  # metres; in other clips a joint that leaves its rest offset further moves against its parent
_PARENTS = list(np.maximum(SMPL22.parents, 0))


@dataclass(frozen=True, eq=False)
class Rig:
    """A T-pose and its animation.

    Attributes:
        rest: ``(22, 3)`` metres, offset of each joint from its parent in the T-pose; the pelvis at 0.
        rotations: ``(T, 22, 3, 3)`` relative to the parent, against the T-pose.
        offsets: ``(T, 22, 3)`` metres, each joint in its parent's axes, the pelvis in the world.
        moves: ``(22,)`` whether a joint's offset changes; those of the others are ``rest`` in every frame.
        fps: frames per second.
    """

    rest: np.ndarray
    rotations: np.ndarray
    offsets: np.ndarray
    moves: np.ndarray
    fps: float

    @property
    def world(self) -> np.ndarray:
        """``(T, 22, 3, 3)`` rotations in the world, against the T-pose."""
        return world_rotations(self.rotations)

    @property
    def joints(self) -> np.ndarray:
        """``(T, 22, 3)`` metres, where the joints are: rotations and offsets put together."""
        world, at = self.world, self.offsets.copy()
        for joint, parent in enumerate(SMPL22.parents[1:], 1):
            at[:, joint] = at[:, parent] + np.einsum("tij,tj->ti", world[:, parent], self.offsets[:, joint])
        return at


def rigged(motion: Motion, *, fps: float | None = None, in_place: bool = False, bones: str = "exact") -> Rig:
    """The T-pose and the animation of a motion.

    A motion that says how its joints turn keeps those turns; of positions they are found in closed form.

    Args:
        motion: any motion that converts to joints.
        fps: frames per second of the result; rotations are interpolated along the shortest arc. Default: the motion's.
        in_place: keep the pelvis over the point where it begins; its height still changes.
        bones: ``"exact"`` lets joints that do not keep their distance or shape to their parent (network output; hips
            and collars of HumanML3D) move against it, so that every joint stands where the motion has it; ``"rigid"``
            turns and moves the pelvis, and only turns the others.

    Raises:
        ValueError: an unknown option value.
        NoRouteError: the motion cannot become joints.

    >>> from hftrainer.motion.skeleton import SMPL22
    >>> body = pose_joints(np.tile(np.eye(3), (2, 22, 1, 1)), np.zeros((2, 3)))
    >>> rig = rigged(Motion(body, "joints", fps=20), fps=60)
    >>> rig.rotations.shape, rig.moves.sum()
    ((4, 22, 3, 3), np.int64(1))
    """
    if bones not in BONES:
        raise ValueError(f"bones must be one of {', '.join(BONES)}; got {bones!r}.")
    if fps is not None and not (np.isfinite(fps) and fps > 0):
        raise ValueError(f"fps must be above 0; got {fps}.")
    joints = positions(motion)
    world = _told_world(motion)
    if world is None:
        rest = t_pose(joints)
        world = world_rotations(joints_to_rotations(joints, rest))
    else:
        rest, world = _against_t_pose(world, joints)
    rotations = local_rotations(world)
    apart = joints - joints[:, _PARENTS]
    offsets = np.einsum("tjba,tjb->tja", world[:, _PARENTS], apart)
    offsets[:, 0] = joints[:, 0]
    moves = np.zeros(len(SMPL22.parents), bool)
    if bones == "exact" and _strays(world, offsets, rest) > _RIGID:
        moves = np.abs(offsets - rest).max(axis=(0, 2)) > _STILL
    moves[0] = True
    offsets[:, ~moves] = rest[~moves]
    if fps is not None and fps != motion.fps:
        times = resample_times(len(joints), motion.fps, fps)
        rotations = quat_wxyz_to_matrix(slerp(matrix_to_quat_wxyz(rotations), times))
        offsets = sample(offsets, times)
    if in_place:
        offsets[:, 0, [0, 2]] = offsets[0, 0, [0, 2]]
    return Rig(rest, rotations, offsets, moves, motion.fps if fps is None else float(fps))


def positions(motion: Motion) -> np.ndarray:
    """``(T, 22, 3)`` float64 joint positions of a motion, metres, at its own rate.

    Raises:
        NoRouteError: the motion cannot become joints.

    >>> positions(Motion(np.zeros((4, 263)), "hml263", 20)).shape
    (4, 22, 3)
    """
    if motion.representation.name == "motion135":
        return motion135_to_joints(motion.data, name=motion.name)
    return convert(motion, "joints").data.astype(np.float64)


def _told_world(motion: Motion) -> np.ndarray | None:
    """``(T, 22, 3, 3)`` rotations in the world that the motion's own numbers tell, if they tell any."""
    if motion.representation.name not in TURNED:
        return None
    body = convert(motion, "motion135")
    return world_rotations(motion135_to_rotations(body.data, name=motion.name)[0])


def _against_t_pose(world: np.ndarray, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """T-pose offsets, and rotations in the world against that pose instead of the one that they were told against."""
    bones = np.einsum("tjba,tjb->tja", world[:, _PARENTS], joints - joints[:, _PARENTS])
    told = np.median(bones, axis=0)  # the rest pose in which the rotations are none
    told[0] = 0.0
    pose = pose_joints(np.tile(np.eye(3), (1, len(told), 1, 1)), np.zeros((1, 3)), told)
    rest = t_pose(pose)
    return rest, world @ world_rotations(joints_to_rotations(pose, rest, twist="none"))


def _strays(world: np.ndarray, offsets: np.ndarray, rest: np.ndarray) -> float:
    """How far a joint gets from its place, at most, when every bone keeps its rest offset; metres."""
    away = np.zeros_like(offsets)
    for joint, parent in enumerate(SMPL22.parents[1:], 1):
        slip = np.einsum("tij,tj->ti", world[:, parent], rest[joint] - offsets[:, joint])
        away[:, joint] = away[:, parent] + slip
    return float(np.linalg.norm(away, axis=-1).max())
