"""A camera that stands in front and to the side, follows without shaking, and keeps the whole figure in view."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from hftrainer.rendering.figure import facing

_VIEW_ANGLE = np.deg2rad(30.0)
_PITCH = np.deg2rad(13.0)
_ASIDE = np.deg2rad(38.0)

#: Seconds of smoothing tried from the stillest camera to the closest; the first that costs little distance is taken.
_CALM = (np.inf, 1.2, 0.6, 0.3, 0.12)
_FURTHER = 1.22


@dataclass(frozen=True)
class Camera:
    """A perspective camera of fixed direction that moves along.

    Attributes:
        target: ``(T, 3)`` metres, the point looked at in each frame.
        axes: ``(3, 3)`` rows right, up, back in the world.
        distance: metres from the target.
        focal: focal length, pixels.
        centre: picture point of the target, pixels.
    """

    target: np.ndarray
    axes: np.ndarray
    distance: float
    focal: float
    centre: tuple[float, float]

    @property
    def still(self) -> bool:
        """Whether the camera stands at one place for the whole clip."""
        return bool(np.ptp(self.target, axis=0).max() < 1e-6)

    @property
    def horizon(self) -> float:
        """Picture row of the horizon, pixels from the top."""
        pitch = np.arcsin(self.axes[2, 1])
        return float(self.centre[1] - self.focal * np.tan(pitch))

    def project(self, points: np.ndarray, frame: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Where world points stand in the picture.

        Args:
            points: ``(T, N, 3)`` metres, or ``(N, 3)`` seen in ``frame``.
            frame: the frame whose camera looks; ``None`` for each frame its own.

        Returns:
            ``(..., N, 2)`` pixels (x right, y down) and ``(..., N)`` metres in front of the camera.
        """
        target = self.target[:, None] if frame is None else self.target[frame]
        seen = (points - target) @ self.axes.T
        depth = self.distance - seen[..., 2]
        zoom = self.focal / np.maximum(depth, 1e-3)
        x = self.centre[0] + seen[..., 0] * zoom
        y = self.centre[1] - seen[..., 1] * zoom
        return np.stack([x, y], axis=-1), depth


def _axes(azimuth: float) -> np.ndarray:
    sine, cosine = np.sin(azimuth), np.cos(azimuth)
    back = np.array([sine * np.cos(_PITCH), np.sin(_PITCH), cosine * np.cos(_PITCH)])
    right = np.array([cosine, 0.0, -sine])
    return np.stack([right, np.cross(back, right), back])


def _front(joints: np.ndarray) -> float:
    """Azimuth of the side that the figure shows the world most of the time."""
    forward = facing(joints)
    mean = forward.mean(axis=0)
    if np.hypot(mean[0], mean[2]) < 0.5:  # it turns about: what it shows first
        mean = forward[: max(1, len(forward) // 8)].mean(axis=0)
    return float(np.arctan2(mean[0], mean[2]))


def follow(
    joints: np.ndarray,
    points: np.ndarray,
    radii: np.ndarray,
    fps: float,
    box: tuple[float, float, float, float],
    azimuth: float | None = None,
) -> Camera:
    """The camera for a clip.

    It looks from the front, 38 degrees to the side on which hands and feet spread wider, and stands still where the
    whole clip fits at little loss of size; otherwise it follows as calmly as keeps the figure large.

    Args:
        joints: ``(T, 22, 3)`` metres, +Y up.
        points: ``(T, N, 3)`` metres, everything that must be seen in each frame.
        radii: ``(N,)`` metres around the points.
        fps: frames per second.
        box: left, top, right, bottom of the picture part that must hold the figure, pixels.
        azimuth: direction from the figure to the camera about +Y, radians, 0 is +Z; by default it is found as above.

    Returns:
        A ``Camera`` with which every point stays inside ``box`` in every frame.
    """
    left, top, right, bottom = box
    half_width, half_height = (right - left) / 2, (bottom - top) / 2
    centre = ((left + right) / 2, (top + bottom) / 2)
    focal = half_height / np.tan(_VIEW_ANGLE / 2)
    front = _front(joints)
    spread = []
    for aside in (_ASIDE, -_ASIDE):
        across = (joints - joints[:, :1]) @ _axes(front + aside)[0]
        spread.append(float(np.abs(across[:, [7, 8, 20, 21]]).mean()))
    axes = _axes(front + (_ASIDE if spread[0] >= spread[1] - 0.01 else -_ASIDE) if azimuth is None else azimuth)

    middle = (points.max(axis=1) + points.min(axis=1)) / 2  # (T, 3)
    height = (points[..., 1].max() + points[..., 1].min()) / 2
    closest = np.inf
    for calm in reversed(_CALM):  # from the closest, which sets the measure, to the stillest
        if np.isinf(calm):
            path = np.broadcast_to((middle.max(axis=0) + middle.min(axis=0)) / 2, middle.shape).copy()
        else:
            path = gaussian_filter1d(middle, calm * fps, axis=0, mode="nearest")
        path[:, 1] = height
        seen = (points - path[:, None]) @ axes.T  # (T, N, 3)
        wide, tall = (np.abs(seen[..., axis]) + radii for axis in (0, 1))
        away = float((seen[..., 2] + np.maximum(wide / half_width, tall / half_height) * focal).max())
        if away <= _FURTHER * closest:
            target, distance = path, away
        closest = min(closest, away)
    return Camera(target, axes, distance, focal, centre)
