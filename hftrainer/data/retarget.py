"""Bring a recorded figure onto the reference body by its rotations.

A capture file tells how every bone turned, on a body of its own proportions. The reference body (SMPL rest directions
with HumanML3D's bone lengths) is posed by those turns, so that its own hips, collars and limbs keep their shape:

* *Limbs* (thighs, shins, upper arms, forearms) point exactly where the source's bones point.
* *Trunk* (pelvis, spine, neck, collars) takes the source's rotation, counted from a neutral: how the source's joint is
  turned when its body stands upright with hanging arms, against how the reference body is turned then. Only this makes
  sources comparable whose joints have other axes (ACCAD) or another idea of a straight back (CMU).
* *Feet* point where the source's feet point, pitched by a constant so that a standing source foot gives a standing one.
* *The root path* is the path of the middle between the hip joints, scaled by leg length.

Before that, ``mend`` takes out what no person does: joints that flip over for some frames, and broken first frames.

The neutral angles in ``FAMILIES`` were measured over the upright frames of the mocap pack (26,000 frames at 20 fps) and
rounded; those of the reference body are the mean pose of HumanML3D's published statistics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from hftrainer.data.mocap import Take
from hftrainer.motion.measure import runs_of
from hftrainer.motion.rotation import matrix_to_quat_wxyz, quat_between, quat_wxyz_to_matrix, rotvec_to_matrix, slerp
from hftrainer.motion.skeleton import SMPL22


def _reference_offsets() -> np.ndarray:
    rest, lengths = SMPL22.rest, SMPL22.lengths
    if rest is None or lengths is None:
        raise ValueError(f"{SMPL22.name} must have rest offsets and lengths; it has none.")
    return rest / np.linalg.norm(rest, axis=-1, keepdims=True) * lengths[:, None]


#: ``(22, 3)`` rest offsets of the reference body, metres: SMPL's directions with HumanML3D's lengths.
REFERENCE_OFFSETS = _reference_offsets()

#: Forward pitch in degrees of the reference body's trunk when it stands upright, mean pose of HumanML3D.
_REFERENCE_PITCH = {"pelvis": 0.0, "spine1": 14.0, "spine2": -4.0, "spine3": 12.0, "neck": 3.0}

#: Direction of the left collar bone of the reference body with hanging arms, mean pose of HumanML3D.
_REFERENCE_COLLAR = np.array([1.0, -0.017, 0.015])

#: A joint that turns faster than this, degrees per second and degrees per frame, has flipped (a throwing arm: 2,500).
FLIP_SPEED, FLIP_STEP = 4000.0, 90.0
#: A flip lasts at most so many seconds and ends at most so many degrees from where it began.
FLIP_SECONDS, FLIP_RETURN = 0.25, 60.0
#: A jump without a way back, so many seconds from either end, cuts the take.
EDGE_SECONDS = 0.5

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
        lead_in: seconds at the start in which the file's converter still moves out of its reference pose.
    """

    carriers: Mapping[str, tuple[str, str]]
    neutrals: Mapping[str, Neutral]
    flat_foot: float
    lead_in: float = 0.0


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
        lead_in=0.1,
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
        ``(3, 3)`` matrices ``A`` by reference joint: reference rotation = source rotation @ A, both in the world.
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


def _angles(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """``(...)`` degrees between unit quaternions ``(..., 4)``."""
    return np.degrees(2 * np.arccos(np.clip(np.abs((first * second).sum(-1)), 0, 1)))


def _flips(quats: np.ndarray, fps: float) -> tuple[list[tuple[int, int]], int, int]:
    """Where one joint leaves its movement at one frame and comes back at another.

    Args:
        quats: ``(T, 4)`` rotations of the joint.
        fps: frames per second.

    Returns:
        half-open runs of frames to bridge, and the first and past-the-last frame to keep.
    """
    limit = min(FLIP_SPEED / fps, FLIP_STEP)  # degrees per frame
    speed = _angles(quats[1:], quats[:-1])
    if not (speed > limit).any():
        return [], 0, len(quats)
    jumps = np.flatnonzero(speed > limit).tolist()  # between frames n and n + 1
    quick = runs_of(speed > limit / 3)
    longest, edge = round(FLIP_SECONDS * fps), round(EDGE_SECONDS * fps)

    def back(leave: int, land: int) -> bool:
        return land - leave <= longest and bool(_angles(quats[leave], quats[land]) < FLIP_RETURN)

    runs, first, last, at = [], 0, len(quats), 0
    while at < len(jumps):
        leave = jumps[at]
        returns = [n for n in range(at + 1, len(jumps)) if back(leave, jumps[n] + 1)]
        around = next(run for run in quick if run[0] <= leave < run[1])
        if returns:
            runs.append((leave + 1, jumps[returns[-1]] + 1))
            at = returns[-1]
        elif back(*around):  # a whole turn over several frames
            runs.append((around[0] + 1, around[1]))
        elif leave < edge:
            first = leave + 1
        elif leave >= len(quats) - 1 - edge:
            last = min(last, leave + 1)
        at += 1
    return runs, first, last


def mend(take: Take) -> Take:
    """The take without its converter's lead-in, without broken first and last frames, and with short flips bridged.

    Optical capture sometimes loses a limb and solves it turned over, mostly a knee bent backwards, for some hundredths
    of a second. Where any joint turns faster than ``FLIP_SPEED`` and is back within ``FLIP_SECONDS``, all joints are
    led across by slerp. A jump near either end without a way back cuts the take there.

    Returns:
        the take itself where nothing was found, else a copy; times count from the new first frame.
    """
    family = family_of(take)
    used = sorted({take.figure.index(carrier) for carrier, _ in family.carriers.values()})
    quats = matrix_to_quat_wxyz(take.rotations[:, used])
    start = round(family.lead_in * take.fps)
    runs: list[tuple[int, int]] = []
    first, last = min(start, len(quats) - 1), len(quats)
    for joint in range(len(used)):
        found, low, high = _flips(quats[start:, joint], take.fps)
        runs += [(a + start, b + start) for a, b in found]
        first, last = max(first, low + start if low else first), min(last, high + start)
    if not runs and (first, last) == (0, len(quats)):
        return take
    rotations = take.rotations.copy()
    for a, b in sorted(runs):
        ends = matrix_to_quat_wxyz(rotations[[a - 1, b]])
        rotations[a:b] = quat_wxyz_to_matrix(slerp(ends, np.arange(1, b - a + 1) / (b - a + 1)))
    return replace(take, rotations=rotations[first:last], translation=take.translation[first:last])


def resample(take: Take, fps: float) -> tuple[np.ndarray, np.ndarray]:
    """A take's rotations and root path at another rate.

    Where the take's rate is a whole multiple, every n-th frame; else slerp for rotations, straight lines for the root.

    Args:
        take: the source.
        fps: wanted frames per second.

    Returns:
        ``(T', J, 3, 3)`` rotations relative to the parent and ``(T', 3)`` root positions, metres, at times ``i / fps``
        within the take.
    """
    ratio = take.fps / fps
    stride = round(ratio)
    if stride >= 1 and abs(ratio - stride) < 1e-3:
        return take.rotations[::stride], take.translation[::stride]
    last = len(take.rotations) - 1
    count = int(np.floor(last / ratio + 1e-6)) + 1
    times = np.minimum(np.arange(count) * ratio, last)
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
    take = mend(take)
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
    bones = [figure.index(family.carriers[f"{s}_{part}"][1]) for s in ("left", "right") for part in ("hip", "knee")]
    legs = np.linalg.norm(figure.offsets[bones], axis=-1).sum()
    scale = np.linalg.norm(REFERENCE_OFFSETS[[4, 5, 7, 8]], axis=-1).sum() / legs
    path = source[:, hips].mean(axis=1) * scale  # (T, 3) where the middle of the hips must be
    return joints + (path - joints[:, 1:3].mean(axis=1))[:, None]
