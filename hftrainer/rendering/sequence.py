"""Several poses of one motion side by side in one picture, paler the earlier they are."""

from __future__ import annotations

import numpy as np

from hftrainer.rendering.figure import facing
from hftrainer.rendering.ground import SKY
from hftrainer.rendering.surface import Surface, to_linear

_PALE = 0.72  # how much of its colour the first pose has lost
_TURNED = np.deg2rad(22.0)  # how far the camera of poses in a row looks along it
_APART = 0.95  # of the room that two poses take beside each other


def in_a_row(surface: Surface, frames: np.ndarray) -> tuple[list[Surface], float]:
    """The poses of some frames as figures that stand still, from left to right in the order of time.

    Where the motion travels far enough they stand where it passes; otherwise they are moved apart.

    Args:
        surface: a moving surface.
        frames: ``(N,)`` frame numbers.

    Returns:
        One surface of one frame for each, and where the camera stands (``camera.follow``'s azimuth).
    """
    joints = surface.joints[frames]
    forward = facing(joints).mean(axis=0)
    travel = (joints[-1, 0] - joints[0, 0]) * [1.0, 0.0, 1.0]
    far = float(np.linalg.norm(travel))
    azimuth = float(np.arctan2(forward[0], forward[2])) if np.hypot(*forward[[0, 2]]) > 0.3 else 0.0
    across = np.array([np.cos(azimuth), 0.0, -np.sin(azimuth)])
    reach = (joints - joints[:, :1]) @ across
    room = reach.max(axis=1) - reach.min(axis=1) + 0.16
    steps = _APART * (room[1:] + room[:-1]) / 2
    if far > 0.75 * steps.sum() and far > 0:
        moves = np.zeros((len(frames), 3))
        ahead = travel / far
        azimuth = float(np.arctan2(-ahead[2], ahead[0]))
        azimuth += _TURNED * np.sign(np.sin(np.arctan2(forward[0], forward[2]) - azimuth))  # towards their fronts
    else:
        places = np.concatenate([[0.0], np.cumsum(steps)])
        middle = (reach.max(axis=1) + reach.min(axis=1)) / 2
        moves = across * (places - middle)[:, None] - joints[:, 0] * [1.0, 0.0, 1.0]
    paper = to_linear(np.array(SKY[1]) / 255)
    figures = []
    for at, (frame, move) in enumerate(zip(frames, moves, strict=True)):
        pale = _PALE * (len(frames) - 1 - at) / max(len(frames) - 1, 1)
        colours = surface.colours + np.float32(pale) * (paper - surface.colours)
        figures.append(surface.still(int(frame), move, colours))
    return figures, azimuth


def picture_width(figures: list[Surface], azimuth: float, height: int) -> int:
    """Pixels across that figures in a row need, even, 1 to 4 times the height."""
    across = np.array([np.cos(azimuth), 0.0, -np.sin(azimuth)])
    joints = np.concatenate([figure.joints[0] for figure in figures])
    wide = np.ptp(joints @ across) + 0.5
    tall = max(float(np.ptp(joints[:, 1])), 1e-3) + 0.35
    return 2 * round(height * float(np.clip(1.02 * wide / tall, 1.0, 4.0)) / 2)
