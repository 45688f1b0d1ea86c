"""Bring a recorded figure onto the reference body by its rotations.

A capture file tells how every bone turned, on a body of its own proportions. The reference body (SMPL rest directions
with HumanML3D's bone lengths) is posed by those turns, so that its own hips, collars and limbs keep their shape:

* *Limbs* (thighs, shins, upper arms, forearms) point exactly where the source's bones point.
* *Trunk* (pelvis, spine, neck, collars) takes the source's rotation, counted from a neutral: how the source's joint is
  turned when its body stands upright with hanging arms, against how the reference body is turned then. Only this makes
  sources comparable whose joints have other axes (ACCAD) or another idea of a straight back (CMU).
* *Feet* point where the source's feet point, pitched by a constant so that a standing source foot gives a standing one.
* *The root path* is the path of the middle between the hip joints, scaled by leg length.

The neutral angles in ``FAMILIES`` were measured over the upright frames of the mocap pack (26,000 frames at 20 fps) and
rounded; those of the reference body are the mean pose of HumanML3D's published statistics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hftrainer.data.mocap import Take
from hftrainer.motion.rotation import matrix_to_quat_wxyz, quat_between, quat_wxyz_to_matrix, rotvec_to_matrix, slerp
from hftrainer.motion.skeleton import SMPL22

REFERENCE_OFFSETS = SMPL22.rest / np.linalg.norm(SMPL22.rest, axis=-1, keepdims=True) * SMPL22.lengths[:, None]

#: Forward pitch in degrees of the reference body's trunk when it stands upright, mean pose of HumanML3D.
_REFERENCE_PITCH = {"pelvis": 0.0, "spine1": 14.0, "spine2": -4.0, "spine3": 12.0, "neck": 3.0}

#: Direction of the left collar bone of the reference body with hanging arms, mean pose of HumanML3D.
_REFERENCE_COLLAR = np.array([1.0, -0.017, 0.015])

_LIMBS = ("hip", "knee", "shoulder", "elbow")


@dataclass(frozen=True)
class Neutral:
    """How a source joint is turned when its body stands upright, facing +Z.

    Attributes:
        axes: where the joint's x, y and z point: ``L`` left, ``U`` up, ``F`` forward, small letters for the opposite.
        turn: rotation vector that follows, degrees, about left, up and forward.
    """

    axes: str = "LUF"
    turn: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def matrix(self) -> np.ndarray:
        base = np.zeros((3, 3))
        for column, letter in enumerate(self.axes):
            base["LUF".index(letter.upper()), column] = 1.0 if letter.isupper() else -1.0
        return rotvec_to_matrix(np.deg2rad(self.turn)) @ base


@dataclass(frozen=True)
class Family:
    """Figures that share joint names and axes.

    Attributes:
        carriers: for each reference joint that has children, the source joint whose rotation it takes, and for limbs
            and ankles the source joint at the far end of that bone.
        neutrals: neutral of each trunk joint, by reference joint; ``Neutral()`` where absent.
        flat_foot: slope of the line from ankle to toe of a standing source foot, degrees below the horizon.
    """

    carriers: Mapping[str, tuple[str, str]]
    neutrals: Mapping[str, Neutral]
    flat_foot: float


def _both_sides(table: Mapping[str, tuple[str, str]], left: str, right: str) -> dict[str, tuple[str, str]]:
    """Right-side entries beside the left-side ones: ``left_`` becomes ``right_``, the prefix ``left`` ``right``."""
    full = dict(table)
    for joint, (carrier, tip) in table.items():
        if joint.startswith("left_"):
            swapped = [right + name.removeprefix(left) if name else "" for name in (carrier, tip)]
            full["right_" + joint.removeprefix("left_")] = (swapped[0], swapped[1])
    return full


_ACCAD = _both_sides(
    {
        "pelvis": ("Hips", ""),
        "spine1": ("Spine", ""),
        "spine2": ("Spine1", ""),
        "spine3": ("Spine1", ""),
        "neck": ("Neck", ""),
        "left_collar": ("LeftShoulder", ""),
        "left_hip": ("LeftUpLeg", "LeftLeg"),
        "left_knee": ("LeftLeg", "LeftFoot"),
        "left_ankle": ("LeftFoot", "LeftToeBase"),
        "left_shoulder": ("LeftArm", "LeftForeArm"),
        "left_elbow": ("LeftForeArm", "LeftHand"),
    },
    "Left",
    "Right",
)

#: Every kind of figure that the sources hold.
FAMILIES: dict[str, Family] = {
    "cmu_asf": Family(
        _both_sides(
            {
                "pelvis": ("root", ""),
                "spine1": ("lowerback", ""),
                "spine2": ("upperback", ""),
                "spine3": ("thorax", ""),
                "neck": ("upperneck", ""),
                "left_collar": ("lclavicle", ""),
                "left_hip": ("lfemur", "ltibia"),
                "left_knee": ("ltibia", "lfoot"),
                "left_ankle": ("lfoot", "ltoes"),
                "left_shoulder": ("lhumerus", "lradius"),
                "left_elbow": ("lradius", "lwrist"),
            },
            "l",
            "r",
        ),
        {
            "pelvis": Neutral(turn=(5, 0, 0)),
            "spine1": Neutral(turn=(8, 0, 0)),
            "spine2": Neutral(turn=(8.5, 0, 0)),
            "spine3": Neutral(turn=(8, 0, 0)),
            "neck": Neutral(turn=(13, 0, 0)),
            "left_collar": Neutral(turn=(8, 0, 0)),
            "right_collar": Neutral(turn=(8, 0, 0)),
        },
        flat_foot=14.5,
    ),
    "cmu_bvh_daz": Family(
        _both_sides(
            {
                "pelvis": ("hip", ""),
                "spine1": ("abdomen", ""),
                "spine2": ("chest", ""),
                "spine3": ("chest", ""),
                "neck": ("neck", ""),
                "left_collar": ("lCollar", ""),
                "left_hip": ("lThigh", "lShin"),
                "left_knee": ("lShin", "lFoot"),
                "left_ankle": ("lFoot", "lFoot@end"),
                "left_shoulder": ("lShldr", "lForeArm"),
                "left_elbow": ("lForeArm", "lHand"),
            },
            "l",
            "r",
        ),
        {
            "pelvis": Neutral(turn=(7, 0, 0)),
            "spine1": Neutral(turn=(2, 0, 0)),
            "spine2": Neutral(turn=(3.5, 0, 0)),
            "spine3": Neutral(turn=(3.5, 0, 0)),
            "neck": Neutral(turn=(11.5, 0, 0)),
            "left_collar": Neutral(turn=(3.5, 0, 0)),
            "right_collar": Neutral(turn=(3.5, 0, 0)),
        },
        flat_foot=14.5,
    ),
    "cmu_bvh_max": Family(
        _both_sides(
            {
                "pelvis": ("Hips", ""),
                "spine1": ("lowerback", ""),
                "spine2": ("Chest", ""),
                "spine3": ("Chest2", ""),
                "neck": ("Neck", ""),
                "left_collar": ("LeftCollar", ""),
                "left_hip": ("LeftHip", "LeftKnee"),
                "left_knee": ("LeftKnee", "LeftAnkle"),
                "left_ankle": ("LeftAnkle", "LeftToe"),
                "left_shoulder": ("LeftShoulder", "LeftElbow"),
                "left_elbow": ("LeftElbow", "LeftWrist"),
            },
            "Left",
            "Right",
        ),
        {
            "pelvis": Neutral(turn=(9.5, 0, 0)),
            "spine1": Neutral(turn=(1.5, 0, 0)),
            "spine2": Neutral(turn=(0.5, 0, 0)),
            "spine3": Neutral(turn=(3.5, 0, 0)),
            "neck": Neutral(turn=(-5, 0, 0)),
            "left_collar": Neutral(turn=(3.5, 0, 0)),
            "right_collar": Neutral(turn=(3.5, 0, 0)),
        },
        flat_foot=14.5,
    ),
    "accad_upright_axes": Family(
        _ACCAD,
        {
            "pelvis": Neutral(turn=(-4, 0, 0)),
            "spine1": Neutral(turn=(-3.5, 0, 0)),
            "spine2": Neutral(turn=(4, 0, 0)),
            "spine3": Neutral(turn=(4, 0, 0)),
            "neck": Neutral(turn=(2, 0, 6.5)),
            "left_collar": Neutral(turn=(6, -11, -29)),
            "right_collar": Neutral(turn=(6, 11, 29)),
        },
        flat_foot=23.5,
    ),
    "accad_bone_axes": Family(
        _ACCAD,
        {
            "pelvis": Neutral("Ufl", (18.5, 0, 0)),
            "spine1": Neutral("UFL", (-6.5, -17, -2.5)),
            "spine2": Neutral("UFL", (-2, 3.5, 0.5)),
            "spine3": Neutral("UFL", (-2, 3.5, 0.5)),
            "neck": Neutral("Ufl", (26, -19, 0)),
            "left_collar": Neutral("UFL", (1, -6, -33)),
            "right_collar": Neutral("UFL", (-1.5, 4, 45)),
            "right_shoulder": Neutral("lUf"),
            "right_elbow": Neutral("lUf"),
        },
        flat_foot=25.0,
    ),
}


def family_of(take: Take) -> Family:
    """The table for a take; ACCAD's performers come with two kinds of joint axes, told apart by the hips' offset.

    Raises:
        ValueError: the figure is of no known kind.
    """
    name = take.listing.family
    if name == "accad_bvh":
        across = np.abs(take.figure.offsets[take.figure.index("LeftUpLeg")])
        name = "accad_upright_axes" if across[0] > across[2] else "accad_bone_axes"
    if name not in FAMILIES:
        raise ValueError(f"{take.listing.id}: the figure must be one of {', '.join(FAMILIES)}; got {name!r}.")
    return FAMILIES[name]


def _between(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Matrix of the smallest rotation from one direction to another."""
    return quat_wxyz_to_matrix(quat_between(source, target))


def alignments(take: Take) -> dict[str, np.ndarray]:
    """For each reference joint with children the constant that follows the source joint's rotation.

    Returns:
        ``(3, 3)`` matrices ``A`` by reference joint: reference rotation in the world = source rotation in the world @ A.
    """
    family = family_of(take)
    offsets = take.figure.offsets
    result = {}
    for joint, (_, tip) in family.carriers.items():
        neutral = family.neutrals.get(joint, Neutral()).matrix
        side, _, part = joint.rpartition("_")
        child = SMPL22.parents.index(SMPL22.joints.index(joint))
        rest = REFERENCE_OFFSETS[child] / np.linalg.norm(REFERENCE_OFFSETS[child])
        if part in _LIMBS:
            result[joint] = _between(neutral.T @ rest, offsets[take.figure.index(tip)]) @ neutral.T
        elif part == "ankle":
            bone = neutral @ offsets[take.figure.index(tip)]
            level = np.linalg.norm(bone[[0, 2]])
            across = np.array([bone[2], 0.0, -bone[0]]) / level  # to the left of where the foot points
            pitch = np.deg2rad(family.flat_foot) + np.arcsin(rest[1])  # a standing foot of the reference is at rest
            bone = rotvec_to_matrix(-across * pitch) @ bone
            result[joint] = neutral.T @ _between(rest, bone)
        elif part == "collar":
            goal = _REFERENCE_COLLAR * (1 if side == "left" else -1, 1, 1)
            result[joint] = neutral.T @ _between(rest, goal)
        else:
            result[joint] = neutral.T @ rotvec_to_matrix(np.deg2rad([_REFERENCE_PITCH[joint], 0.0, 0.0]))
    return result


def resample(take: Take, fps: float) -> tuple[np.ndarray, np.ndarray]:
    """A take's rotations and root path at another rate: slerp for rotations, straight lines for the root.

    Args:
        take: the source, which may already have the right rate.
        fps: wanted frames per second.

    Returns:
        ``(T', J, 3, 3)`` rotations relative to the parent and ``(T', 3)`` root positions, metres, at times ``i / fps``
        within the take.
    """
    if abs(take.fps - fps) < 1e-6:
        return take.rotations, take.translation
    last = len(take.rotations) - 1
    count = int(np.floor(last * fps / take.fps + 1e-6)) + 1
    times = np.minimum(np.arange(count) * (take.fps / fps), last)
    rotations = quat_wxyz_to_matrix(slerp(matrix_to_quat_wxyz(take.rotations), times))
    frames = np.arange(last + 1)
    path = np.stack([np.interp(times, frames, take.translation[:, axis]) for axis in range(3)], axis=-1)
    return rotations, path


def retarget(take: Take, fps: float = 20.0) -> np.ndarray:
    """The take as joint positions of the reference body.

    Args:
        take: figure, rotations and root path.
        fps: wanted frames per second.

    Returns:
        ``(T, 22, 3)`` positions, metres, +Y up, where the source stood; not yet on the floor.

    Raises:
        ValueError: the figure is of no known kind.
    """
    family, aligned = family_of(take), alignments(take)
    rotations, translation = resample(take, fps)
    figure = take.figure
    world = figure.global_rotations(rotations)
    source = figure.positions(world, translation)

    turned = {
        joint: world[:, figure.index(carrier)] @ aligned[joint] for joint, (carrier, _) in family.carriers.items()
    }
    joints = np.zeros((len(world), 22, 3))
    for child, parent in enumerate(SMPL22.parents):
        if parent >= 0:
            joints[:, child] = joints[:, parent] + turned[SMPL22.joints[parent]] @ REFERENCE_OFFSETS[child]

    hips = [figure.index(family.carriers[f"{side}_hip"][0]) for side in ("left", "right")]
    bones = [figure.index(family.carriers[f"{side}_{part}"][1]) for side in ("left", "right") for part in ("hip", "knee")]
    legs = np.linalg.norm(figure.offsets[bones], axis=-1).sum()
    scale = SMPL22.lengths[[4, 5, 7, 8]].sum() / legs
    path = source[:, hips].mean(axis=1) * scale  # (T, 3) where the middle of the hips must be
    return joints + (path - joints[:, 1:3].mean(axis=1))[:, None]
