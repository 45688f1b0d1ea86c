"""The shape of our own body: parts with elliptic cross-sections that melt together, as one function of a point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hftrainer.motion.skeleton import SMPL22

#: Where the joints of the modelled body stand, left side and middle; +Y up, facing +Z, pelvis at 0, metres.
STANCE: dict[str, tuple[float, float, float]] = {
    "pelvis": (0.0, 0.0, 0.0), "spine1": (0.0, 0.109, -0.027), "spine2": (0.0, 0.244, -0.026),
    "spine3": (0.0, 0.297, -0.012), "neck": (0.0, 0.511, -0.043), "head": (0.0, 0.576, 0.002),
    "left_hip": (0.069, -0.091, -0.006), "left_knee": (0.098, -0.468, -0.008), "left_ankle": (0.104, -0.868, -0.036),
    "left_foot": (0.123, -0.921, 0.083), "left_collar": (0.080, 0.418, -0.037), "left_shoulder": (0.174, 0.449, -0.046),
    "left_elbow": (0.430, 0.449, -0.046), "left_wrist": (0.682, 0.449, -0.046),
}  # fmt: skip


@dataclass(frozen=True)
class Part:
    """A rounded tube: from ``start`` to ``end``, at each ``(share, half width, half depth)`` an ellipse.

    ``side`` is the direction of the width; ``caps`` how far both ends bulge; ``joint`` who moves it.
    """

    joint: str
    start: tuple[float, float, float]
    end: tuple[float, float, float]
    rings: tuple[tuple[float, ...], ...]
    caps: float | tuple[float, float] = 0.03
    side: tuple[float, float, float] = (1.0, 0.0, 0.0)


def _limb(joint: str, below: str, *rings: tuple[float, ...], caps: float, side: Any = (1.0, 0.0, 0.0)) -> Part:
    return Part(joint, STANCE[joint], STANCE[below], rings, caps, side)


_Z = (0.0, 0.0, 1.0)
#: Left half and middle; a ring's fourth number shifts it along the depth.
PARTS: tuple[Part, ...] = (
    # trunk, from the crotch to the collar bones; the spine shares it out by height
    Part("pelvis", (0, -0.115, 0), (0, 0.46, 0), (
        (0, 0.108, 0.084, -0.018), (0.1, 0.138, 0.102, -0.016), (0.25, 0.147, 0.102, -0.012),
        (0.42, 0.127, 0.090, -0.006), (0.58, 0.131, 0.094, -0.007), (0.75, 0.149, 0.105, -0.014),
        (0.88, 0.146, 0.093, -0.026), (1, 0.090, 0.050, -0.044),
    ), (0.03, 0.045)),
    Part("spine3", (0.070, 0.350, 0.038), (0.066, 0.362, 0.038), ((0, 0.064, 0.044), (1, 0.060, 0.042)), 0.046),
    Part("pelvis", (0.072, -0.10, -0.062), (0.068, -0.05, -0.060), ((0, 0.066, 0.056), (1, 0.058, 0.050)), 0.05),
    Part("left_collar", (0.030, 0.474, -0.048), (0.150, 0.447, -0.047),
          ((0, 0.036, 0.026), (1, 0.040, 0.034)), 0.04, _Z),
    # head
    Part("neck", (0, 0.460, -0.044), (0, 0.61, -0.014),
          ((0, 0.064, 0.058), (0.4, 0.050, 0.051), (1, 0.050, 0.053)), 0.02),
    Part("head", (0, 0.586, 0), (0, 0.735, 0), (
        (0, 0.030, 0.032, 0.050), (0.2, 0.048, 0.054, 0.034), (0.45, 0.060, 0.074, 0.015),
        (0.7, 0.069, 0.087, 0.002), (0.9, 0.068, 0.087, -0.005), (1, 0.062, 0.081, -0.008),
    ), (0.018, 0.055)),
    Part("head", (0, 0.640, 0.092), (0, 0.680, 0.080), ((0, 0.011, 0.012), (1, 0.006, 0.008)), 0.008),
    Part("head", (0.068, 0.640, -0.010), (0.074, 0.672, -0.014), ((0, 0.006, 0.012), (1, 0.007, 0.017)), 0.01),
    # arm
    Part("left_shoulder", (0.178, 0.448, -0.046), (0.222, 0.446, -0.046),
          ((0, 0.044, 0.044), (1, 0.040, 0.041)), 0.045, _Z),
    _limb("left_shoulder", "left_elbow",
          (0, 0.044, 0.045), (0.35, 0.043, 0.047), (0.7, 0.039, 0.041), (1, 0.030, 0.030), caps=0.02, side=_Z),
    _limb("left_elbow", "left_wrist",
          (0, 0.030, 0.029), (0.2, 0.040, 0.038), (0.6, 0.036, 0.031), (1, 0.026, 0.020), caps=0.015, side=_Z),
    Part("left_wrist", (0.684, 0.449, -0.045), (0.775, 0.443, -0.043), (
        (0, 0.026, 0.018), (0.45, 0.038, 0.018), (1, 0.040, 0.014),
    ), 0.02, _Z),
    Part("left_wrist", (0.772, 0.443, -0.043), (0.858, 0.430, -0.043), (
        (0, 0.038, 0.0135), (0.6, 0.035, 0.0125), (1, 0.024, 0.010),
    ), 0.016, _Z),
    Part("left_wrist", (0.704, 0.444, -0.024), (0.768, 0.431, 0.026),
          ((0, 0.018, 0.016), (1, 0.012, 0.011)), 0.012, (0.0, 1.0, 0.0)),
    # leg
    _limb("left_hip", "left_knee",
          (0, 0.081, 0.091, -0.014), (0.3, 0.073, 0.083, 0.001),
          (0.7, 0.057, 0.062, 0.005), (1, 0.043, 0.045, 0.003), caps=0.05),
    _limb("left_knee", "left_ankle",
          (0, 0.043, 0.045, 0.003), (0.28, 0.051, 0.058, -0.014),
          (0.65, 0.038, 0.042, -0.010), (1, 0.029, 0.034, -0.003), caps=0.02),
    # foot, the depth is its height
    Part("left_ankle", (0.102, -0.903, -0.070), (0.114, -0.916, 0.050), (
        (0, 0.030, 0.038), (0.4, 0.034, 0.044), (1, 0.040, 0.032),
    ), 0.024),
    Part("left_foot", (0.114, -0.918, 0.045), (0.126, -0.928, 0.130), (
        (0, 0.040, 0.031), (0.5, 0.043, 0.026), (1, 0.035, 0.019),
    ), 0.028),
)  # fmt: skip
_MELT = 0.014  # metres over which two parts flow into each other
_VERTEBRAE = (0.085, 0.195, 0.285)  # heights where the trunk passes from pelvis to spine1, spine2 and spine3
_SOLE = -0.942  # height of the flat soles

def _both(caps: float | tuple[float, float]) -> tuple[float, float]:
    return caps if isinstance(caps, tuple) else (caps, caps)


def _ring_values(rings: tuple[tuple[float, ...], ...], share: np.ndarray) -> np.ndarray:
    """``(N, 3)`` half width, half depth and shift at shares of a part's length, without kinks (cubic Hermite)."""
    table = np.array([(*ring, 0.0)[:4] for ring in rings])
    at, values = table[:, 0], table[:, 1:]
    slopes = np.gradient(values, at, axis=0) if len(at) > 2 else np.repeat(np.diff(values, axis=0), 2, axis=0)
    share = np.clip(share, 0.0, 1.0)
    k = np.clip(np.searchsorted(at, share, side="right") - 1, 0, len(at) - 2)
    width = (at[k + 1] - at[k])[:, None]
    u = (share - at[k])[:, None] / width
    return (
        values[k] * (1 + 2 * u) * (1 - u) ** 2 + values[k + 1] * u**2 * (3 - 2 * u)
        + width * (slopes[k] * u * (1 - u) ** 2 - slopes[k + 1] * u**2 * (1 - u))
    )  # fmt: skip


def _part_distance(part: Part, points: np.ndarray) -> np.ndarray:
    """About how far ``(N, 3)`` points lie outside a part; negative inside."""
    start, end = np.array(part.start), np.array(part.end)
    length = float(np.linalg.norm(end - start))
    axis = (end - start) / length
    side = np.array(part.side) - np.dot(part.side, axis) * axis
    side /= np.linalg.norm(side)
    depth = np.cross(side, axis)
    depth *= np.sign(depth[np.abs(depth).argmax()])  # shifts point forward, whichever way the part runs
    local = points - start
    along = local @ axis
    half = _ring_values(part.rings, along / length)
    cap = np.where(along < length / 2, *_both(part.caps))
    beyond = np.maximum(np.maximum(-along, along - length), 0.0) / cap
    ratio = np.sqrt(((local @ side) / half[:, 0]) ** 2 + ((local @ depth - half[:, 2]) / half[:, 1]) ** 2 + beyond**2)
    return (ratio - 1) * np.minimum(np.minimum(half[:, 0], half[:, 1]), np.where(beyond > 0, cap, np.inf))


def distances(points: np.ndarray) -> np.ndarray:
    """``(N, P)`` distances of points on or left of the middle to every part; 1 where a part is far away."""
    far = np.ones((len(points), len(PARTS)))
    for column, part in enumerate(PARTS):
        reach = max(*_both(part.caps), *(max(ring[:2]) for ring in part.rings)) + 0.08
        ends = np.array([part.start, part.end])
        near = np.flatnonzero(((points > ends.min(axis=0) - reach) & (points < ends.max(axis=0) + reach)).all(axis=1))
        far[near, column] = _part_distance(part, points[near])
    return far


def surface(points: np.ndarray) -> np.ndarray:
    """The function whose zeros are the skin: negative inside, both halves alike."""
    apart = distances(np.abs(points * [1, 0, 0]) + points * [0, 1, 1])
    nearest = apart.min(axis=1)
    melted = nearest - _MELT * np.log(np.exp(-(apart - nearest[:, None]) / _MELT).sum(axis=1))
    return np.maximum(melted, _SOLE - points[:, 1])


def owners(points: np.ndarray) -> np.ndarray:
    """``(N,)`` numbers of the joints that points on the skin belong to first."""
    part = distances(np.abs(points * [1, 0, 0]) + points * [0, 1, 1]).argmin(axis=1)
    owner = np.array([SMPL22.joints.index(p.joint) for p in PARTS])[part]
    trunk = np.array([SMPL22.joints.index(joint) for joint in ("pelvis", "spine1", "spine2", "spine3")])
    owner = np.where(part == 0, trunk[np.searchsorted(_VERTEBRAE, points[:, 1])], owner)
    return np.where(points[:, 0] < 0, np.array(SMPL22.mirror)[owner], owner)
