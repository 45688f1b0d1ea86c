"""The drawn body: tapered parts laid around the 22 joints, and their outlines on the picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hftrainer.motion.skeleton import SMPL22

Colour = tuple[int, int, int]

LEFT: Colour = (47, 120, 224)
RIGHT: Colour = (240, 106, 62)
TRUNK: Colour = (86, 97, 122)
HEAD: Colour = (104, 116, 143)
FACE: Colour = (226, 232, 241)

_INDEX = {name: index for index, name in enumerate(SMPL22.joints)}
_UP = np.array([0.0, 1.0, 0.0])

#: Thigh and shin of the body that the radii below were drawn for, metres.
_LEG = 0.82

#: Balls beyond the joints themselves; ``balls`` computes where they are.
_EXTRA = (
    "left_hand", "right_hand", "left_toe", "right_toe", "left_heel", "right_heel",
    "left_chest", "right_chest", "jaw", "crown", "left_face", "right_face",
)  # fmt: skip
_BALL = {**_INDEX, **{name: len(_INDEX) + at for at, name in enumerate(_EXTRA)}}


@dataclass(frozen=True)
class Part:
    """One piece of the body: the hull of a few balls.

    Attributes:
        balls: names of the balls that it encloses.
        radii: their radii, metres, for a body with 0.82 m of leg.
        colour: fill.
        group: parts of one group share one outline.
    """

    balls: tuple[str, ...]
    radii: tuple[float, ...]
    colour: Colour
    group: str


def _side(side: str, colour: Colour) -> list[Part]:
    def part(group: str, *balls: tuple[str, float]) -> Part:
        names = tuple(name if name in _BALL else f"{side}_{name}" for name, _ in balls)
        return Part(names, tuple(radius for _, radius in balls), colour, f"{side}_{group}")

    return [
        part("thigh", ("hip", 0.078), ("knee", 0.056)),
        part("shin", ("knee", 0.055), ("ankle", 0.040)),
        part("foot", ("ankle", 0.042), ("heel", 0.034), ("toe", 0.030), ("foot", 0.038)),
        part("upper_arm", ("shoulder", 0.056), ("elbow", 0.043)),
        part("forearm", ("elbow", 0.042), ("wrist", 0.031)),
        part("hand", ("wrist", 0.032), ("hand", 0.034)),
    ]


PARTS: tuple[Part, ...] = (
    Part(("left_hip", "right_hip", "pelvis"), (0.080, 0.080, 0.095), TRUNK, "trunk"),
    Part(("pelvis", "spine1", "spine2"), (0.100, 0.106, 0.110), TRUNK, "trunk"),
    Part(("spine2", "spine3", "left_chest", "right_chest"), (0.110, 0.112, 0.070, 0.070), TRUNK, "trunk"),
    Part(("neck", "head"), (0.054, 0.050), HEAD, "neck"),
    Part(("jaw", "crown"), (0.080, 0.096), HEAD, "head"),
    Part(("left_face", "right_face"), (0.026, 0.026), FACE, "face"),
    *_side("left", LEFT),
    *_side("right", RIGHT),
)

#: Groups of part indices that are drawn together, in the order of ``PARTS``.
GROUPS: tuple[tuple[str, tuple[int, ...]], ...] = tuple(
    (group, tuple(at for at, part in enumerate(PARTS) if part.group == group))
    for group in dict.fromkeys(part.group for part in PARTS)
)

_MOST = max(len(part.balls) for part in PARTS)
#: ``(parts, most balls)`` ball indices, padded by repeating the first.
PART_BALLS = np.array([[_BALL[n] for n in p.balls + p.balls[:1] * (_MOST - len(p.balls))] for p in PARTS])
PART_RADII = np.array([p.radii + p.radii[:1] * (_MOST - len(p.balls)) for p in PARTS])


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-8)


def facing(joints: np.ndarray) -> np.ndarray:
    """Where the chest points.

    Args:
        joints: ``(T, 22, 3)`` metres, +Y up.

    Returns:
        ``(T, 3)`` horizontal unit vectors; (0, 0, 1) where hips and shoulders give no direction.

    >>> from hftrainer.motion.skeleton import SMPL22
    >>> pose = np.zeros((1, 22, 3))
    >>> pose[:, list(SMPL22.facing), 0] = [-1, 1, -1, 1]
    >>> facing(pose).tolist()
    [[0.0, 0.0, 1.0]]
    """
    right_hip, left_hip, right_shoulder, left_shoulder = SMPL22.facing
    across = joints[:, right_hip] - joints[:, left_hip] + joints[:, right_shoulder] - joints[:, left_shoulder]
    forward = np.cross(_UP, across)
    length = np.linalg.norm(forward, axis=-1, keepdims=True)
    return 0.0 + np.where(length > 1e-6, forward / np.maximum(length, 1e-6), [0.0, 0.0, 1.0])


def body_scale(joints: np.ndarray) -> float:
    """How large the body is against the one that the radii were drawn for, by its legs; ``joints`` (T, 22, 3)."""
    bones = SMPL22.bone_lengths(joints)
    leg = float(np.median(bones[:, [4, 5]].mean(axis=1) + bones[:, [7, 8]].mean(axis=1)))
    return float(np.clip(leg / _LEG, 0.05, 20.0))


def balls(joints: np.ndarray, scale: float) -> np.ndarray:
    """The centres that the parts are laid around: the joints, then hands, feet, chest corners and head.

    Args:
        joints: ``(T, 22, 3)`` metres, +Y up.
        scale: body size, see ``body_scale``.

    Returns:
        ``(T, 34, 3)`` metres.
    """

    def at(name: str) -> np.ndarray:
        return joints[:, _INDEX[name]]

    extra: dict[str, np.ndarray] = {}
    for side in ("left", "right"):
        wrist, foot, ankle = at(f"{side}_wrist"), at(f"{side}_foot"), at(f"{side}_ankle")
        extra[f"{side}_hand"] = wrist + 0.095 * scale * _unit(wrist - at(f"{side}_elbow"))
        shin = _unit(ankle - at(f"{side}_knee"))
        along = _unit(foot - ankle)
        sole = _unit(along - 0.5 * (along * shin).sum(-1, keepdims=True) * shin)  # the foot's length without its drop
        extra[f"{side}_toe"] = foot + 0.055 * scale * sole
        drop = np.maximum(((foot - ankle) * shin).sum(-1, keepdims=True), 0.0)
        extra[f"{side}_heel"] = ankle + 0.75 * drop * shin - 0.035 * scale * sole
        extra[f"{side}_chest"] = at("spine3") + 0.80 * (at(f"{side}_shoulder") - at("spine3"))
    up = _unit(_unit(at("head") - at("spine3")) + 0.6 * _unit(at("head") - at("neck")))
    front = facing(joints)
    front = _unit(front - (front * up).sum(-1, keepdims=True) * up)
    side_ways = np.cross(up, front)
    extra["jaw"] = at("head") + scale * (0.030 * up + 0.012 * front)
    extra["crown"] = at("head") + scale * 0.115 * up
    for side, sign in (("left", 1.0), ("right", -1.0)):
        extra[f"{side}_face"] = at("head") + scale * (0.085 * up + 0.082 * front + sign * 0.040 * side_ways)
    return np.concatenate([joints, np.stack([extra[name] for name in _EXTRA], axis=1)], axis=1)


def hulls(centres: np.ndarray, radii: np.ndarray, corners: int = 24, squash: float = 1.0) -> np.ndarray:
    """Outline of a few discs each: the polygon around them.

    The furthest point of a union of discs in direction ``d`` is ``c + r d`` of the disc with the largest ``c.d + r``;
    going round with ``d`` gives the hull, without sorting anything.

    Args:
        centres: ``(..., M, 2)`` picture points.
        radii: ``(..., M)`` in the same unit.
        corners: directions tried, evenly spaced.
        squash: height of a disc against its width, for discs that lie on the ground.

    Returns:
        ``(..., corners, 2)`` float32, ready for Pillow.

    >>> hulls(np.zeros((1, 2)), np.ones(1), corners=4).round(6).tolist()
    [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [-0.0, -1.0]]
    """
    angles = np.arange(corners) * (2 * np.pi / corners)
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=-1).astype(np.float32)  # (K, 2)
    flat = np.asarray(centres, np.float32) / np.array([1.0, squash], np.float32)
    radii = np.asarray(radii, np.float32)
    furthest = (flat @ directions.T + radii[..., None]).argmax(axis=-2)[..., None, :]  # (..., 1, K)
    reach = np.take_along_axis(np.broadcast_to(radii[..., None], (*radii.shape, corners)), furthest, -2)[..., 0, :]
    points = [
        np.take_along_axis(np.broadcast_to(flat[..., axis, None], (*radii.shape, corners)), furthest, -2)[..., 0, :]
        + reach * directions[:, axis]
        for axis in (0, 1)
    ]
    return np.stack([points[0], points[1] * np.float32(squash)], axis=-1)
