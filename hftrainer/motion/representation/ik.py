"""From joint positions back to rotations, in closed form.

Positions say where each bone points (its swing) and, where three bones meet, how pelvis and chest are turned. They do
not say how a bone is turned about itself (its twist). That is read from what hangs below: elbows bend forward and
knees back, so a bent limb shows the twist of the shoulder or hip above it, and time carries it over the frames in
which the limb is straight.

All is arithmetic on whole clips, so it runs over any leading axes, on NumPy arrays or on torch tensors, and gradients
of tensors flow through it. ``refine.py`` makes the result fit a body whose bones are longer or shorter.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hftrainer.motion.lanes import (
    area,
    best_rotation,
    constant,
    cross,
    dot,
    namespace,
    slowed,
    swing,
    times,
    turn_back,
    unit,
)
from hftrainer.motion.skeleton import SMPL22

_SHORT = 1e-6  # metres; a shorter bone has no direction
_EDGE = 1e-3  # radians; nearer to the opposite of the rest direction a swing has no axis of its own

TWISTS = ("hinges", "none")

#: What shows the twist of a joint: joint -> (bone from, bone to, where it points, how much it says, when). Elbows bend
#: forward and knees back, counted by how far they are bent; a straight leg is turned as its foot is, and the spine's
#: joints share what chest and hips differ by, both against the rest pose (``None``).
_HINTS: dict[str, tuple[tuple[str, str, tuple[float, float, float] | None, float, str], ...]] = {
    "left_shoulder": (("left_elbow", "left_wrist", (0, 0, 1), 1.0, "bent"),),
    "right_shoulder": (("right_elbow", "right_wrist", (0, 0, 1), 1.0, "bent"),),
    "left_hip": (
        ("left_knee", "left_ankle", (0, 0, -1), 1.0, "bent"),
        ("left_ankle", "left_foot", None, 0.1, "straight"),
    ),
    "right_hip": (
        ("right_knee", "right_ankle", (0, 0, -1), 1.0, "bent"),
        ("right_ankle", "right_foot", None, 0.1, "straight"),
    ),
    "spine1": (("right_collar", "left_collar", None, 0.5, "always"),),
    "spine2": (("right_collar", "left_collar", None, 0.9, "always"),),
}  # fmt: skip
_BENT = 0.2  # sine of the bend beyond that of the rest pose from which on an elbow or a knee says something
_PLAIN = {"hinge": 3e-3, "other": 1.0}  # how much no twist counts, at joints with a hinge below them and at others
_WINDOW = 4.0  # frames; standard deviation of the weights in time
_KEPT = 0.1  # how much the mean of the clip counts beside the frames around
_AGREED = 0.3  # frames around that say more different things than this tell nothing: their sum by the sum of lengths
#: Radians that a bone turns about itself from frame to frame at most, beside being carried along.
FASTEST_TWIST = np.deg2rad(20)

_CHILDREN = tuple(
    tuple(j for j, parent in enumerate(SMPL22.parents) if parent == joint) for joint in range(len(SMPL22.parents))
)
#: Joints that turn, in groups that can be solved at once: same distance from the root, one child or several.
_GROUPS = ((0,), (1, 2, 3), (4, 5, 6), (7, 8), (9,), (12, 13, 14), (16, 17), (18, 19))
_ENDS = (10, 11, 15, 20, 21)


def t_pose(joints: Any) -> np.ndarray:
    """Rest offsets of a T-pose with the bone lengths of a clip: arms out sideways, legs straight down.

    Args:
        joints: ``(T, 22, 3)`` metres, +Y up, SMPL-22 order.

    Returns:
        ``(22, 3)`` metres, offset of each joint from its parent, left at +X, facing +Z; the pelvis at 0. Lengths
        are the clip's medians; hips and lower spine, neck and collars stand to each other as in the clip's mean; the
        rest of trunk and feet points as in the neutral SMPL body.

    Raises:
        ValueError: another shape, or no frame.

    >>> from hftrainer.motion.skeleton import SMPL22
    >>> body = np.zeros((22, 3))
    >>> for joint, parent in enumerate(SMPL22.parents[1:], 1):
    ...     body[joint] = body[parent] + SMPL22.rest[joint]
    >>> t_pose(body[None])[20].round(2).tolist()
    [0.25, 0.0, 0.0]
    """
    joints = np.asarray(joints, dtype=np.float64)
    if joints.ndim != 3 or joints.shape[1:] != (22, 3) or len(joints) == 0:
        raise ValueError(f"joints must have shape (T, 22, 3) with T at least 1; got {joints.shape}.")
    directions = np.array(SMPL22.rest)
    for side, left in (("left", 1.0), ("right", -1.0)):
        for name in ("elbow", "wrist"):
            directions[SMPL22.joints.index(f"{side}_{name}")] = [left, 0.0, 0.0]
        for name in ("knee", "ankle"):
            directions[SMPL22.joints.index(f"{side}_{name}")] = [0.0, -1.0, 0.0]
    directions[0] = 1.0
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    rest = directions * np.median(SMPL22.bone_lengths(joints), axis=0)[:, None]
    for joint, children in enumerate(_CHILDREN):
        if len(children) > 1:
            below = [*children]
            bones = joints[:, below] - joints[:, [joint]]  # (T, n, 3)
            shape = rest[below]
            for _ in range(4):  # turn every frame onto the mean shape, take the mean of that again
                turned = best_rotation(np.einsum("tni,nj->ijt", bones, shape))
                shape = np.einsum("ijt,tni->nj", turned, bones) / len(bones)
            shape = shape @ best_rotation(shape.T @ rest[below])  # upright again
            length, wanted = (np.linalg.norm(v, axis=-1, keepdims=True) for v in (shape, rest[below]))
            known = length > _SHORT
            rest[below] = np.where(known, shape * wanted / np.where(known, length, 1.0), rest[below])
    return rest


def joints_to_rotations(joints: Any, rest: Any, *, twist: str = "hinges", parent_weight: float = 0.0) -> Any:
    """How each joint of a clip turned against a rest pose.

    A joint with one child turns the shortest way that points its bone at the child, after a twist about that bone.
    A joint with several (pelvis, chest) takes the rotation that fits their directions best in the least-squares sense.
    End joints do not turn, nor does a joint whose bone has no length.

    Args:
        joints: ``(..., T, 22, 3)`` metres, +Y up, SMPL-22 order: an array, or a torch tensor, whose gradient flows
            through the result.
        rest: ``(22, 3)`` offsets of the rest pose from each joint's parent, facing +Z, for example
            ``t_pose(joints)``.
        twist: ``"hinges"`` reads the twist of shoulders and hips from elbows, knees and feet, shares that of the trunk
            among the spine's joints, and carries all of it steadily over time, also where a bone passes or circles
            the opposite of its rest direction: from frame to frame a joint turns by no more than its bone does in
            the axes of its parent, as that was found, and about the bone by ``FASTEST_TWIST``. ``"none"`` twists
            nothing and takes each frame by itself: the published way (``position_ik``).
        parent_weight: above 0, the direction back to the parent counts so much beside those to the children (the
            published ``parent_frame``, weight 0.25); ``twist`` must then be ``"none"``.

    Returns:
        ``(..., T, 22, 3, 3)`` rotations relative to the parent; float64 for arrays. With constant bone lengths, and
        children of pelvis and chest that stay in the same shape to each other, the rest pose turned so has the joints
        where they were.

    Raises:
        ValueError: another shape, no frame, or an unknown ``twist``.

    Source:
        Several children: Wahba's problem (``hftrainer.motion.lanes.best_rotation``). Twist over time: a bone carries
        it along without turning about itself (parallel transport).

    >>> from hftrainer.motion.representation.motion135 import pose_joints
    >>> body = pose_joints(np.tile(np.eye(3), (1, 22, 1, 1)), np.zeros((1, 3)))
    >>> bool(np.allclose(joints_to_rotations(body, SMPL22.rest), np.eye(3)))
    True
    """
    if twist not in TWISTS or (parent_weight and twist != "none"):
        want = "none where parent_weight is above 0" if twist in TWISTS else f"one of {', '.join(TWISTS)}"
        raise ValueError(f"twist must be {want}; got {twist!r}.")
    xp = namespace(joints)
    if xp is np:
        joints = np.asarray(joints, dtype=np.float64)
    if joints.ndim < 3 or tuple(joints.shape[-2:]) != (22, 3) or joints.shape[-3] == 0:
        raise ValueError(f"joints must have shape (..., T, 22, 3) with T at least 1; got {tuple(joints.shape)}.")
    offsets = np.asarray(rest, dtype=np.float64)
    if offsets.shape != (22, 3):
        raise ValueError(f"rest must have shape (22, 3); got {offsets.shape}.")
    place = xp.moveaxis(joints, (-1, -2), (0, 1))  # (3, 22, ..., T)
    place = np.ascontiguousarray(place) if xp is np else place.contiguous()
    still = constant(np.eye(3), place) + xp.zeros_like(place[:, 0])[None]  # (3, 3, ..., T)
    world, local = {-1: still}, {}
    for group in (*_GROUPS, *([_ENDS] if parent_weight else [])):
        above = xp.stack([world[SMPL22.parents[joint]] for joint in group], 2)  # (3, 3, n, ..., T)
        if parent_weight or len(_CHILDREN[group[0]]) > 1:  # at pelvis and chest, and by wish elsewhere
            fitted = [_fitted(place, offsets, joint, above[:, :, n], parent_weight) for n, joint in enumerate(group)]
            turned = xp.stack(fitted, 2)
        else:
            turned = _pointed(place, offsets, group, above, twist)
        reached = times(above, turned)
        for n, joint in enumerate(group):
            local[joint], world[joint] = turned[:, :, n], reached[:, :, n]
    every = xp.stack([local.get(joint, still) for joint in range(22)], 2)
    return xp.moveaxis(every, (0, 1, 2), (-2, -1, -3))


def _fitted(place: Any, offsets: np.ndarray, joint: int, above: Any, parent_weight: float) -> Any:
    """``(3, 3, ..., T)`` rotations of one joint that fit the directions of all its bones best."""
    xp = namespace(place)
    ends = [*_CHILDREN[joint], *([SMPL22.parents[joint]] if parent_weight and joint else [])]
    aims = [offsets[end] if end in _CHILDREN[joint] else -offsets[joint] for end in ends]
    weights = [1.0 if end in _CHILDREN[joint] else parent_weight for end in ends]
    outer = xp.zeros_like(above)
    for end, aim, weight in zip(ends, aims, weights, strict=True):
        bone = turn_back(above, unit(place[:, end] - place[:, joint], _SHORT)[0])
        aim = aim / max(float(np.linalg.norm(aim)), _SHORT)
        if len(ends) == 1:
            return _shortest(aim[None], bone[:, None])[0][:, :, 0]
        outer = outer + bone[:, None] * constant(aim * weight, bone)[None]
    return best_rotation(outer)


def _shortest(aims: np.ndarray, bone: Any) -> tuple[Any, Any]:
    """Swings ``(3, 3, n, ..., T)`` of rest directions ``(n, 3)`` to bones ``(3, n, ..., T)``, and where they pass by.

    The opposite of the rest direction has no shortest way; bones next to it are reached by a point beside it.
    """
    aim = constant(aims.T, bone)
    near = dot(aim + bone, aim + bone) < _EDGE**2
    if not bool(near.any()):
        return swing(aim, bone), bone
    sides = np.cross(aims, np.eye(3)[np.abs(aims).argmin(-1)])
    sides /= np.linalg.norm(sides, axis=-1, keepdims=True)
    passed = namespace(bone).where(near, unit(bone + 2 * _EDGE * constant(sides.T, bone))[0], bone)
    return times(swing(passed, bone), swing(aim, passed)), passed


def _pointed(place: Any, offsets: np.ndarray, group: tuple[int, ...], above: Any, twist: str) -> Any:
    """``(3, 3, n, ..., T)`` rotations of joints with one child: swing, and twist if wanted."""
    xp = namespace(place)
    ends = [_CHILDREN[joint][0] for joint in group]
    reach = np.linalg.norm(offsets[ends], axis=-1)
    aims = offsets[ends] / np.maximum(reach, _SHORT)[:, None]
    aims[reach <= _SHORT] = [0, 1, 0]
    bone, length = unit(place[:, ends] - place[:, list(group)], _SHORT)
    aim, seen = constant(aims.T, bone), (length > 0) & (constant(reach, length) > _SHORT)
    bone = xp.where(seen, turn_back(above, bone), aim)  # in the parent's axes
    swung, passed = _shortest(aims, bone)
    if twist == "none":
        return swung
    plain = (1 + dot(aim, bone)) / 2 * constant([_plain(joint) for joint in group], length)
    told = [_told(place, offsets, j, aims[n], bone[:, n], above[:, :, n], swung[:, :, n]) for n, j in enumerate(group)]
    real, imaginary = xp.stack([r for r, _ in told]) + plain, xp.stack([i for _, i in told])
    c, s = _steady(real, imaginary, aim, passed)
    across = xp.stack([cross(bone, swung[:, k]) for k in range(3)], 1)  # a quarter turn about the bone after the swing
    return c * swung + s * across + (1 - c) * bone[:, None] * aim[None]


def _plain(joint: int) -> float:
    hints = _HINTS.get(SMPL22.joints[joint], ())
    return _PLAIN["hinge" if any(when == "bent" for *_, when in hints) else "other"]


def _told(
    place: Any, offsets: np.ndarray, joint: int, aim: np.ndarray, bone: Any, above: Any, swung: Any
) -> tuple[Any, Any]:
    """What the bones further out say about a joint's twist: cosine and sine, times how much they say."""
    xp = namespace(place)
    real = imaginary = 0 * bone[0]
    for start, end, pointing, much, when in _HINTS.get(SMPL22.joints[joint], ()):
        first, last = SMPL22.joints.index(start), SMPL22.joints.index(end)
        rests = _from_root(offsets, last) - _from_root(offsets, first)
        rests = rests / max(float(np.linalg.norm(rests)), _SHORT)
        wanted = np.array(pointing) if pointing else rests
        wanted = wanted - aim * (aim @ wanted)
        wanted /= max(float(np.linalg.norm(wanted)), _SHORT)
        beside = np.cross(aim, wanted)
        seen = turn_back(above, unit(place[:, last] - place[:, first], _SHORT)[0])
        back = turn_back(swung, seen)  # against the rest pose, but for the twist
        c, s = dot(constant(wanted, back), back), dot(constant(beside, back), back)
        counts: Any = much
        if when == "bent":  # from where it rests the bone bends along `wanted`; what it has beside that it keeps
            along, aside = float(rests @ wanted), float(rests @ beside)
            square = c * c + s * s
            bent = square > aside**2 + (max(along, 0) + _BENT) ** 2
            size = xp.where(bent, square, 1.0)
            reach = xp.sqrt(size - aside**2)
            c, s = (c * reach + s * aside) / size, (s * reach - c * aside) / size
            counts = much * xp.where(bent, reach - max(along, 0) - _BENT, 0.0)
        elif when == "straight":
            before = unit(place[:, first] - place[:, SMPL22.parents[first]], _SHORT)[0]
            counts = much * xp.clip(dot(turn_back(above, before), bone), 0.0, None)
        real, imaginary = real + counts * c, imaginary + counts * s
    return real, imaginary


def _from_root(offsets: np.ndarray, joint: int) -> np.ndarray:
    """Where a joint of the rest pose is, the pelvis at 0."""
    return offsets[joint] + _from_root(offsets, SMPL22.parents[joint]) if joint else np.zeros(3)


def _steady(real: Any, imaginary: Any, aim: Any, bone: Any) -> tuple[Any, Any]:
    """Cosine and sine of the twist that suits the frames around, in the axes of a bone that does not spin.

    The shortest way from the rest direction spins about the bone as the bone moves, quickly so near the opposite
    direction. Twist is averaged over time without that spin, and gets it back afterwards. Where the frames around
    contradict each other the twist before them stays; where they change their mind it follows at a limited speed.
    """
    xp = namespace(real)
    steps = area(aim, bone[..., :-1], bone[..., 1:]) if bone.shape[-1] > 1 else 0 * real[..., :0]
    spin = xp.concatenate((0 * real[..., :1], xp.cumsum(steps, -1)), -1)
    c, s = xp.cos(spin), xp.sin(spin)
    told = xp.stack((real * c + imaginary * s, imaginary * c - real * s))
    total = _around(told)
    size, known = _length(total)
    free = xp.where(known, total / size, constant([1.0, 0.0], total))
    quick = ((free[..., 1:] * free[..., :-1]).sum(0) < np.cos(FASTEST_TWIST)).any(-1)
    if bool(quick.any()):
        agreed = size > _AGREED * _around(_length(told)[0][None])[0]
        angle = slowed(_held(xp.arctan2(free[1], free[0]), agreed), FASTEST_TWIST)
        free = xp.where(quick[..., None], xp.stack((xp.cos(angle), xp.sin(angle))), free)
    return free[0] * c - free[1] * s, free[0] * s + free[1] * c


def _around(values: Any) -> Any:
    """Sums ``(n, ..., T)`` over the frames around each, weighted by how near they are, and something of the mean."""
    total = values * 1.0
    for k in range(1, min(int(3 * _WINDOW), values.shape[-1] - 1) + 1):
        weight = float(np.exp(-0.5 * (k / _WINDOW) ** 2))
        total[..., k:] += weight * values[..., :-k]
        total[..., :-k] += weight * values[..., k:]
    return total + _KEPT * _WINDOW * values.mean(-1)[..., None]


def _length(pair: Any) -> tuple[Any, Any]:
    """Lengths ``(...)`` of ``(2, ...)``, 1 for those that have none, and which have one."""
    xp = namespace(pair)
    square = (pair * pair).sum(0)
    known = square > 1e-16
    return xp.sqrt(xp.where(known, square, 1.0)), known


def _held(angle: Any, good: Any) -> Any:
    """Angles ``(..., T)`` with those that are not good replaced by the last good one, or by the first that is good."""
    flat = angle.reshape(-1, angle.shape[-1])
    mask = np.asarray(good if namespace(good) is np else good.cpu()).reshape(flat.shape)
    last = np.maximum.accumulate(np.where(mask, np.arange(flat.shape[-1]), -1), axis=-1)
    last = np.maximum(last, mask.argmax(-1)[:, None])
    return flat[np.arange(len(flat))[:, None], last].reshape(angle.shape)
