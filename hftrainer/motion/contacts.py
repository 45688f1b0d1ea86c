"""When feet stand: heels and toes that are low and slow for a while, and the ground that they stand on.

Conventions: metres, +Y up, SMPL-22 joint order. Columns are left ankle, left toe, right ankle, right toe.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hftrainer.motion.measure import floor_height, runs_of, smooth
from hftrainer.motion.skeleton import SMPL22

#: Ankle and toe of the left, then of the right.
FEET = SMPL22.feet
#: A standing joint is slower than this, m/s, and a share of the pelvis' speed more: feet of a body that travels slide.
_SLOW, _SHARE = 0.35, 0.2
#: and lower than this above the ground, m: ankles, toes.
_LOW = (0.10, 0.05)
#: Around a contact these may be exceeded so many times over: speed and height, ankles and toes.
_FASTER, _HIGHER = (1.1, 1.4), (1.2, 1.7)
#: Shortest contact, s.
_SHORTEST = 0.12
#: A contact whose joint drifts further than this, m, is two.
_DRIFT = 0.22
#: Toes that stand this near to the ground stand on it, m.
_SNAP = 0.05
#: A joint this far above where it stands is rolling, m.
_ROLL = 0.025
#: Thigh and shin of the reference body, m; thresholds grow with those of the body.
_LEG = 0.83


@dataclass(frozen=True, eq=False)
class Contacts:
    """What is on the ground when.

    Attributes:
        runs: for each of the four joints the spans ``(start, stop)`` of frames in which it stands.
        down: ``(T, 4)`` whether it stands.
        hold: ``(T, 4)`` how firmly, 0 to 1: less in the first and last frame of a span.
        ground: height of the ground, metres; ``None`` where nothing stands.
    """

    runs: tuple[tuple[tuple[int, int], ...], ...]
    down: np.ndarray
    hold: np.ndarray
    ground: float | None


def find_contacts(joints: np.ndarray, fps: float) -> Contacts:
    """Tell when ankles and toes stand.

    Args:
        joints: ``(T, 22, 3)`` metres, at least 2 frames.
        fps: frames per second.

    Returns:
        The contacts. A body that is in the air from the first frame to the last has none, nor one that never stops.

    >>> standing = np.zeros((20, 22, 3))
    >>> find_contacts(standing, 20).runs[0], find_contacts(standing, 20).ground
    (((0, 20),), 0.0)
    """
    joints = np.asarray(joints, dtype=np.float64)
    seen = smooth(joints, fps, 0.15)
    feet = seen[:, FEET]  # (T, 4, 3)
    legs = np.median(SMPL22.bone_lengths(joints)[:, [4, 5, 7, 8]], axis=0).sum() / 2
    size = legs / _LEG if legs > 0.05 else 1.0
    velocity = np.gradient(feet, axis=0) * fps
    speed = np.linalg.norm(velocity, axis=-1) / size
    body = np.linalg.norm(np.gradient(seen[:, 0], axis=0)[:, [0, 2]], axis=-1) * fps / size
    limit = (_SLOW + _SHARE * body)[:, None]
    low = np.tile(np.array(_LOW), 2) * size
    faster, higher = np.tile(np.array(_FASTER), 2), np.tile(np.array(_HIGHER), 2)
    shortest = max(2, round(_SHORTEST * fps))

    ground = floor_height(seen)
    for _ in range(2):  # the second time above the ground that was found the first time
        height = feet[..., 1] - ground
        firm = (speed < limit) & (height < low)
        loose = (speed < faster * limit) & (height < higher * low)
        runs = []
        for foot in range(4):
            spans = [span for span in runs_of(loose[:, foot], shortest) if firm[slice(*span), foot].any()]
            spans = [part for span in spans for part in _steps(feet[:, foot][:, [0, 2]], span, shortest, size)]
            runs.append(tuple(spans))
        level = np.concatenate([feet[a:b, foot, 1] for foot in (1, 3) for a, b in runs[foot]] or [np.zeros(0)])
        level = level[np.abs(level - ground) < _SNAP * size]
        if not len(level):
            break
        ground = float(np.percentile(level, 35))
    down, hold = np.zeros((len(joints), 4), bool), np.zeros((len(joints), 4))
    for foot, held in enumerate(runs):
        for start, stop in held:
            down[start:stop, foot] = True
            edge = np.minimum(np.arange(stop - start) + (0 if start else 2), np.arange(stop - start)[::-1] + (
                0 if stop < len(joints) else 2))  # fmt: skip
            hold[start:stop, foot] = np.minimum(1.0, 0.25 + edge)
    return Contacts(tuple(runs), down, hold, ground if down.any() else None)


def _steps(track: np.ndarray, span: tuple[int, int], shortest: int, size: float) -> list[tuple[int, int]]:
    """A span, cut at its fastest frame for as long as the joint drifts too far within a part."""
    start, stop = span
    part = track[start:stop]
    if 2 * np.linalg.norm(part - part.mean(axis=0), axis=-1).max() <= _DRIFT * size:
        return [span]
    inner = np.linalg.norm(np.diff(part, axis=0), axis=-1)[shortest - 1 : len(part) - shortest]
    if not len(inner):
        return []
    cut = start + shortest + int(inner.argmax())
    return [
        *(_steps(track, (start, cut), shortest, size) if cut - start >= shortest else []),
        *(_steps(track, (cut + 1, stop), shortest, size) if stop - cut - 1 >= shortest else []),
    ]


def levels(joints: np.ndarray, contacts: Contacts, ground: float) -> tuple[np.ndarray, np.ndarray]:
    """At what height each standing joint should stand, and how much of its hold is on its height.

    Toes near the ground stand on it, as an ankle does at the height that ankles usually have there; what stands higher
    (on a step) stands where it does. A foot that rolls is held over the ground only: while its heel strikes, its toe
    may come down, and while the toe stands, the heel may rise.

    Args:
        joints: ``(T, 22, 3)`` metres.
        contacts: of ``find_contacts``.
        ground: height of the ground, metres.

    Returns:
        ``(T, 4)`` metres, where nothing stands the height that the joint has, and ``(T, 4)`` from 0 to ``hold``.
    """
    have = np.asarray(joints[:, FEET, 1], dtype=np.float64)
    height, firm = have.copy(), np.zeros_like(have)
    low = [[float(np.percentile(have[a:b, foot], 25)) for a, b in contacts.runs[foot]] for foot in range(4)]
    ankles = low[0] + low[2]
    usual = float(np.median(ankles)) if ankles else ground
    for foot, spans in enumerate(contacts.runs):
        rests, near = (ground, _SNAP) if foot % 2 else (usual, _SNAP / 2)
        for (start, stop), stands in zip(spans, low[foot], strict=True):
            above = have[start:stop, foot] - stands
            firm[start:stop, foot] = contacts.hold[start:stop, foot] * np.clip((_ROLL - above) / _ROLL * 2, 0.0, 1.0)
            height[start:stop, foot] = rests if abs(stands - rests) < near else stands
    return height, firm
