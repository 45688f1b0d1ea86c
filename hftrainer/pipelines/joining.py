"""Made frames between kept ones: the seams are blended, and what follows a gap lands where it belongs.

Features are relative to the root, so frames that are laid one after the other continue one path. What is kept is never
touched; only made frames bend.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hftrainer.motion.representation.hml263 import foot_contacts, hml263_to_joints, kit251_to_joints, recover_root
from hftrainer.motion.representation.specs import Representation, get_spec
from hftrainer.motion.skeleton import SKELETONS

#: Made frames over which a seam is blended, at most.
BLEND = 16
_DECODE = {"hml263": hml263_to_joints, "kit251": kit251_to_joints}


@dataclass(frozen=True)
class Place:
    """Where a body stands: the root's ground position and its heading, in the world of a clip's first frame.

    Attributes:
        x, z: in the unit of the representation (hml263: metres).
        heading: radians; 0 faces +Z, and a quarter turn to the right is pi / 2.
    """

    x: float
    z: float
    heading: float


def place_of(features: np.ndarray, frame: int, representation: str = "hml263") -> Place:
    """Where the body stands in a frame of a clip.

    Args:
        features: ``(T, D)`` physical features.
        frame: which; ``T`` is the frame that would follow.
        representation: ``"hml263"`` or ``"kit251"``.

    Raises:
        ValueError: the frame is not within the clip or right behind it.

    >>> walk = np.zeros((5, 263)); walk[:, 2] = 0.1
    >>> place_of(walk, 4)
    Place(x=0.0, z=0.4, heading=0.0)
    """
    if not 0 <= frame <= len(features):
        raise ValueError(f"frame must be 0 to {len(features)}; got {frame}.")
    rows = np.concatenate([features[:frame], np.zeros((1, features.shape[1]))]).astype(np.float64)
    quats, path = recover_root(rows, skeleton=SKELETONS[get_spec(representation).skeleton])
    half = np.arctan2(quats[-1, 2], quats[-1, 0])
    return Place(float(path[-1, 0]), float(path[-1, 2]), float(2 * half))


def joints_in_world(features: np.ndarray, representation: str = "hml263") -> np.ndarray:
    """``(T, D)`` features -> ``(T, J, 3)`` joint positions, in the unit of the representation.

    >>> joints_in_world(np.zeros((5, 263))).shape
    (5, 22, 3)
    """
    return _DECODE[representation](features)


def complete(
    head: np.ndarray,
    made: np.ndarray,
    tail: np.ndarray | None = None,
    *,
    before: np.ndarray | None = None,
    after: np.ndarray | None = None,
    place: Place | None = None,
    representation: str = "hml263",
    columns: np.ndarray | None = None,
) -> np.ndarray:
    """Kept frames, made frames between or behind them, and their seams.

    At a seam the model's own picture of the nearest kept frame differs a little from that frame; the difference is
    added to the made frames near it and fades out. With a ``place`` the steps and turns of the made frames are changed
    by the least weighted squares that end there (weights fade towards the seams). Velocities and contacts of the made
    frames are then measured from what came of it.

    Args:
        head: ``(H, D)`` kept physical features; none where there is a tail, or where columns are kept.
        made: ``(G, D)`` features that follow them, G at least 1.
        tail: ``(N, D)`` kept features behind the made ones.
        before: ``(D,)`` the model's picture of the last frame of ``head``.
        after: ``(D,)`` its picture of the first frame of ``tail``.
        place: where ``tail`` begins, in the world of ``head``; ``None`` lets the path go on as made.
        representation: ``"hml263"`` or ``"kit251"``.
        columns: ``(D,)`` bool, which columns of ``made`` are made; the others are kept as they stand in it. By default
            all are made.

    Returns:
        ``(H + G + N, D)`` float32; the rows of ``head`` and ``tail``, and kept columns, are the same bits.

    Raises:
        ValueError: nothing is kept or nothing is made, or a place without a tail.

    >>> still = np.zeros((4, 263)); still[:, 3] = 0.9
    >>> whole = complete(still, still, still, place=Place(0.0, 0.5, 0.0))
    >>> whole.shape, round(place_of(whole, 8).z, 4)
    ((12, 263), 0.5)
    """
    bare = tail is None and columns is None
    if (bare and not len(head)) or not len(made):
        raise ValueError(f"head and made must have at least 1 frame each; got {len(head)} and {len(made)}.")
    if place is not None and tail is None:
        raise ValueError("place must be left out where nothing follows; got one without a tail. Leave it out.")
    spec = get_spec(representation)
    rows = made.astype(np.float64)
    changes = np.ones(spec.width, dtype=bool) if columns is None else columns.astype(bool)
    poses = changes.copy()
    poses[spec.width - 4 :] = False  # contacts
    count = min(BLEND, len(rows))
    fade = np.cos(np.pi / 2 * np.arange(1, count + 1) / (count + 1)) ** 2
    if before is not None:
        rows[:count] += fade[:, None] * np.where(poses, head[-1].astype(np.float64) - before, 0)
    if after is not None and tail is not None:
        rows[len(rows) - count :] += fade[::-1, None] * np.where(poses, tail[0].astype(np.float64) - after, 0)
    if place is not None and changes[:3].all():
        _land(head, rows, place, spec)
    parts = [head, rows, tail] if tail is not None else [head, rows]
    whole = np.concatenate(parts).astype(np.float32)
    _measure(whole, len(head), len(head) + len(rows), spec, changes)
    return whole


def _land(head: np.ndarray, rows: np.ndarray, place: Place, spec: Representation) -> None:
    """Change turns and steps of ``rows`` so that the frame behind them stands at ``place``."""
    weights = np.sin(np.pi * (np.arange(len(rows)) + 0.5) / len(rows))
    weights /= weights.sum()  # the change with the least sum of squares / weight that adds up to an error
    begin = place_of(head, len(head), spec.name)
    error = (place.heading - begin.heading) / 2 - rows[:, 0].sum()
    rows[:, 0] += weights * ((error + np.pi / 2) % np.pi - np.pi / 2)  # the channel holds half the turn
    heading = begin.heading + 2 * np.cumsum(rows[:, 0])  # of the frame that each row leads to
    cosine, sine = np.cos(heading), np.sin(heading)
    error_x = place.x - begin.x - (cosine * rows[:, 1] - sine * rows[:, 2]).sum()
    error_z = place.z - begin.z - (sine * rows[:, 1] + cosine * rows[:, 2]).sum()
    rows[:, 1] += weights * (cosine * error_x + sine * error_z)
    rows[:, 2] += weights * (cosine * error_z - sine * error_x)


def _measure(whole: np.ndarray, start: int, end: int, spec: Representation, columns: np.ndarray) -> None:
    """Write the joint velocities and foot contacts of some rows as their joints move, in ``columns`` alone."""
    end = min(end, len(whole) - 1)  # nothing follows the last frame
    if end <= start:
        return
    skeleton = SKELETONS[spec.skeleton]
    joints = _DECODE[spec.name](whole).astype(np.float64)
    quats, _ = recover_root(whole, skeleton=skeleton)
    heading = 2 * np.arctan2(quats[start:end, 2], quats[start:end, 0])[:, None]
    step = np.diff(joints, axis=0)[start:end]
    turned = step.copy()
    turned[..., 0] = np.cos(heading) * step[..., 0] + np.sin(heading) * step[..., 2]
    turned[..., 2] = np.cos(heading) * step[..., 2] - np.sin(heading) * step[..., 0]
    found = whole[start:end].copy()
    found[:, spec.channel("velocity").slice] = turned.reshape(end - start, -1)
    found[:, -4:] = foot_contacts(joints, skeleton=skeleton)[start:end]
    whole[start:end] = np.where(columns, found, whole[start:end])
