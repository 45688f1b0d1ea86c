"""What the player shows of a motion, as numbers packed small: points of the figure, turns of the body, feet, facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hftrainer.motion.body import Body, free_body
from hftrainer.motion.clip import Motion
from hftrainer.motion.files.glb import four_weights, smooth_quats
from hftrainer.motion.files.rig import positions, rigged
from hftrainer.motion.measure import floor_height, measure, runs_of
from hftrainer.motion.skeleton import SMPL22
from hftrainer.rendering.figure import FACE, HEAD, LEFT, PART_BALLS, PARTS, RIGHT, TRUNK, balls, body_scale, facing

_FEET = ((7, 10), (8, 11))  # ankle and toe joint, left and right
#: A foot is down when its ankle or its toe is slower than this, m/s, and lower than these, metres.
_SLOW, _LOW = 0.55, (0.16, 0.085)
_TURN = 8191.0  # quaternions are stored as whole numbers of this


class Blob:
    """Arrays laid one after the other, with the table that says where each lies."""

    def __init__(self) -> None:
        self.data = bytearray()

    def add(self, values: Any, kind: str) -> dict[str, Any]:
        """Append an array.

        Args:
            values: numbers that fit the kind.
            kind: ``"f4"``, ``"u2"`` or ``"u1"`` as they stand; ``"d2"`` for ``(T, C)`` 16-bit whole numbers, kept
                column by column as differences in time, low bytes first and then high bytes, which packs well.

        Returns:
            Where it lies: ``at`` (byte), ``size`` (numbers), ``kind`` and ``width`` (numbers in a row).
        """
        array = np.asarray(values)
        width = 1 if array.ndim == 1 else int(np.prod(array.shape[1:]))
        entry = {"at": len(self.data), "size": int(array.size), "kind": kind, "width": width}
        if kind == "d2":
            columns = array.reshape(len(array), width).T.astype(np.int64)
            steps = np.diff(columns, axis=1, prepend=0).astype("<u2").ravel()  # wraps around, and back when read
            self.data += (steps & 255).astype("u1").tobytes() + (steps >> 8).astype("u1").tobytes()
        else:
            self.data += np.ascontiguousarray(array, dtype=f"<{kind}").tobytes()
        self.data += bytes(-len(self.data) % 4)
        return entry


def foot_runs(joints: np.ndarray, fps: float) -> list[list[tuple[int, int]]]:
    """When each foot is down.

    Args:
        joints: ``(T, 22, 3)`` metres, +Y up, the floor at 0.
        fps: frames per second.

    Returns:
        Stretches ``(first, after the last)`` of frames, for the left and for the right foot.

    >>> foot_runs(np.zeros((5, 22, 3)), 20)
    [[(0, 5)], [(0, 5)]]
    """
    scale = body_scale(joints)
    speed = np.zeros(joints.shape[:2])
    if len(joints) > 1:
        speed = np.linalg.norm(np.gradient(joints, axis=0), axis=-1) * fps
    slow = speed < _SLOW * scale
    found = []
    for foot in _FEET:
        down = [slow[:, joint] & (joints[:, joint, 1] < low * scale) for joint, low in zip(foot, _LOW, strict=True)]
        found.append(runs_of(down[0] | down[1], frames=max(1, round(0.06 * fps)), gap=round(0.06 * fps)))
    return found


def facts(joints: np.ndarray, fps: float) -> list[tuple[str, str]]:
    """What can be said of any movement, as label and value.

    Args:
        joints: ``(T, 22, 3)`` metres, +Y up.
        fps: frames per second.

    >>> facts(np.zeros((40, 22, 3)), 20)[:2]
    [('length', '2.0 s'), ('frames', '40 at 20 fps')]
    """
    said = [("length", f"{len(joints) / fps:.1f} s"), ("frames", f"{len(joints)} at {fps:g} fps")]
    if len(joints) > 1:
        body = measure(joints, fps)
        said.append(("path", f"{body.path:.1f} m"))
        if body.moving_speed > 0:
            said.append(("speed", f"{body.moving_speed:.1f} m/s"))
        if abs(body.turn) >= 15:
            said.append(("turn", f"{abs(body.turn):.0f}° {'left' if body.turn > 0 else 'right'}"))
    return said


def figure_parts() -> dict[str, Any]:
    """The drawn figure of ``rendering.figure`` for the player: its parts, and its colours by name."""
    parts = [
        {
            "balls": PART_BALLS[at, : len(part.balls)].tolist(), "radii": list(part.radii),
            "colour": list(part.colour), "trunk": part.colour in (TRUNK, HEAD),
        }
        for at, part in enumerate(PARTS)
    ]  # fmt: skip
    colours = {"left": LEFT, "right": RIGHT, "trunk": TRUNK, "head": HEAD, "face": FACE}
    return {"parts": parts, "colours": {name: list(colour) for name, colour in colours.items()}}


def mesh(blob: Blob) -> dict[str, Any]:
    """What the free body has in common in all motions: triangles, skin weights, colours by side."""
    body = free_body()
    number, share = four_weights(body.weights)
    return {
        "triangles": blob.add(body.triangles, "u2"),
        "numbers": blob.add(number, "u1"),
        "shares": blob.add(np.round(share * 255), "u1"),
        "colours": blob.add(np.round(_side_colours(body) * 255), "u1"),
    }


def track(motion: Motion, blob: Blob) -> dict[str, Any]:
    """One motion for the player.

    Args:
        motion: any motion that converts to joints.
        blob: where its arrays go.

    Returns:
        Its numbers, as JSON values; arrays by their place in ``blob``.

    Raises:
        NoRouteError: the motion cannot become joints.
    """
    joints = positions(motion)
    rig = rigged(motion)
    joints = joints - [0.0, floor_height(joints), 0.0]
    scale = body_scale(joints)
    root = joints[:, 0]
    around = balls(joints, scale) - root[:, None]
    step = max(2e-4, float(np.abs(around).max()) / 32000)
    body = free_body().fitted(rig.rest)
    low, high = body.vertices.min(axis=0), body.vertices.max(axis=0)
    grain = np.maximum(high - low, 1e-6) / 65535
    binding = np.tile(np.eye(4), (len(body.joints), 1, 1))
    binding[:, :3, :3] = np.swapaxes(body.turns, -1, -2)
    binding[:, :3, 3] = -np.einsum("jba,jb->ja", body.turns, body.joints)
    front = facing(joints[:1])[0]
    return {
        "fps": motion.fps,
        "frames": len(motion),
        "scale": scale,
        "heading": float(np.arctan2(front[0], front[2])),
        "root": blob.add(root, "f4"),
        "points": blob.add(np.round(around / step), "d2"),
        "step": step,
        "turns": blob.add(np.round(smooth_quats(rig.world) * _TURN), "d2"),
        "skin": blob.add(np.round((body.vertices - low) / grain), "u2"),
        "skin_from": low.tolist(),
        "skin_step": grain.tolist(),
        "bind": blob.add(np.swapaxes(binding, -1, -2).reshape(-1, 16), "f4"),
        "contacts": foot_runs(joints, motion.fps),
        "facts": facts(joints, motion.fps),
    }


def metric_rows(metrics: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """Measures as label and value, numbers to four figures.

    >>> metric_rows({"slide": 1.23456, "seed": 3})
    [('slide', '1.235'), ('seed', '3')]
    """
    return [(str(k), f"{v:.4g}" if isinstance(v, float) else str(v)) for k, v in (metrics or {}).items()]


def _side_colours(body: Body) -> np.ndarray:
    """``(V, 3)`` sRGB: a mannequin, its left limbs blue and its right limbs orange as those of the drawn figure."""
    tones = np.array([_tone(name) for name in SMPL22.joints], dtype=np.float64) / 255
    return body.weights @ tones


def _tone(name: str) -> Sequence[int]:
    if name.endswith("collar"):
        return TRUNK
    side = LEFT if name.startswith("left_") else RIGHT
    return (HEAD if name in ("neck", "head") else TRUNK) if "_" not in name else side
