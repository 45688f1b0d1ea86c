"""What lies behind the figure: sky, floor with a pool of light, and grid lines one metre apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hftrainer.rendering.camera import Camera

SKY = ((243, 246, 250), (231, 236, 244))
FLOOR = ((214, 221, 232), (238, 241, 246))
GRID = (176, 187, 204)
SHADOW = (52, 62, 86)
_TIERS = (0.015, 0.04, 0.1, 0.25)  # cells from a line: pixels that see little of the floor are near few lines
_REACH = 5.0  # metres of grid around the camera's target


def backdrop(camera: Camera, size: tuple[int, int]) -> np.ndarray:
    """Sky and floor with a pool of light under the figure.

    Args:
        camera: who looks.
        size: width and height, pixels.

    Returns:
        ``(height, width, 3)`` float, 0 to 255.
    """
    width, height = size
    rows = np.arange(height)[:, None, None] + 0.5
    horizon = camera.horizon
    sky = np.clip(rows / max(horizon, 1.0), 0, 1)
    ground = np.clip((rows - horizon) / max(height - horizon, 1.0), 0, 1)
    top, low = (np.array(colour, float) for colour in SKY)
    near, far = (np.array(colour, float) for colour in FLOOR)
    picture = np.where(rows < horizon, top + (low - top) * sky, low + (near - low) * np.sqrt(ground))
    columns = np.arange(width)[None, :, None] + 0.5
    foot, _ = camera.project(camera.target[:1] * [1.0, 0.0, 1.0], 0)
    span = 0.55 * width
    away = ((columns - foot[0, 0]) / span) ** 2 + ((rows - foot[0, 1]) / (0.42 * span)) ** 2
    pool = np.exp(-away) * (rows >= horizon)
    return picture + (far - picture) * 0.85 * pool


def reach_of(camera: Camera, scale: float) -> float:
    """Metres around the target in which the floor has lines: as far as they lie in front of the camera."""
    ahead = camera.distance * np.cos(np.arcsin(camera.axes[2, 1]))
    return float(min(_REACH * max(scale, 0.3), 0.92 * ahead))


def _way_to_the_floor(camera: Camera) -> np.ndarray:
    """``(3, 3)`` from a point of the picture (x, y, 1) to the floor's x and z from the target, and their divisor.

    The divisor is how far the ray falls, above 0 below the horizon.
    """
    right, up, back = camera.axes
    ray = np.stack([right, -up, -back], axis=1) @ [
        [1 / camera.focal, 0, -camera.centre[0] / camera.focal],
        [0, 1 / camera.focal, -camera.centre[1] / camera.focal],
        [0, 0, 1],
    ]
    eye = camera.distance * back
    above = camera.target[0, 1] + eye[1]
    return np.stack([above * ray[0] - eye[0] * ray[1], above * ray[2] - eye[2] * ray[1], -ray[1]])


@dataclass(frozen=True, eq=False)
class Tier:
    """Pixels that may show a line, in the order of where they lie in their cell of the grid.

    Attributes:
        reach: how far from a line one of them may show it, cells, 0.5 at most.
        hits: their numbers in the picture.
        phase: where each lies in its cell, 0 to 1, never falling.
        fine: how many pixels a cell has there.
        strong: how strong a line is there, 0 to 1.
    """

    reach: float
    hits: np.ndarray
    phase: np.ndarray
    fine: np.ndarray
    strong: np.ndarray

    def near(self, at: float) -> list[slice]:
        """Those that are within reach of a phase, which goes round."""
        low, high = at - self.reach, at + self.reach
        spans = [(max(low, 0.0), min(high, 1.0))]
        spans += [(low + 1, 1.0)] if low < 0 else []
        spans += [(0.0, high - 1)] if high > 1 else []
        return [slice(*np.searchsorted(self.phase, np.array(span, np.float32)).tolist()) for span in spans]


class Ground:
    """The floor of a clip, pixel by pixel.

    The camera keeps its height and its direction, so every pixel shows a point of the floor that stays where it is
    relative to the camera's target; only lines and shadows move through the picture.

    Args:
        camera: who looks.
        size: width and height, pixels.
        scale: body size, see ``figure.body_scale``.
    """

    def __init__(self, camera: Camera, size: tuple[int, int], scale: float) -> None:
        self.camera = camera
        self.step = 1.0 if scale > 0.4 else 0.25
        self.plain = backdrop(camera, size).astype(np.float32)
        width, height = size
        self.way = _way_to_the_floor(camera)
        x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
        seen = self.way[:, 0, None, None] * x + self.way[:, 1, None, None] * y[:, None] + self.way[:, 2, None, None]
        fall = seen[2]
        place = seen[:2] / np.maximum(fall, 1e-6)  # (2, H, W)
        away = np.linalg.norm(place, axis=0)
        fade = np.where(fall > 1e-6, np.clip(1.15 * (1 - away / reach_of(camera, scale)), 0, 1), 0)
        self.top = int(np.argmax(fade.max(axis=1) > 0)) if fade.any() else height
        self.thick = max(1.0, height / 460)  # pixels
        self.lines = [self._lines(each / self.step, fade) for each in place.astype(np.float32)]
        self.whole = _whole(self.plain)
        self.lined = self._lined(0) if camera.still else None

    def _lines(self, place: np.ndarray, fade: np.ndarray) -> list[Tier]:
        """What is known of the lines across one axis, the pixels that see much of the floor apart from the others.

        ``place`` is where each pixel lies along the axis, cells.
        """
        grain = sum(np.abs(np.gradient(place, axis=way)) for way in (0, 1))  # cells in a pixel
        strong = np.clip(1.6 - 4 * grain, 0, 1) * fade
        reach = (0.5 + self.thick / 2) * grain
        tiers, least = [], 0.0
        for most in (*_TIERS, float(reach.max()) + 1e-6):
            hits = np.flatnonzero((strong > 0.004) & (reach >= least) & (reach < most))
            phase = place.ravel()[hits] % 1
            order = np.argsort(phase)
            hits = hits[order]
            fine = 1 / np.maximum(grain.ravel()[hits], 1e-9)
            known = (each.astype(np.float32) for each in (phase[order], fine, strong.ravel()[hits]))
            tiers.append(Tier(min(most, 0.5), hits, *known))
            least = most
        return tiers

    def _lined(self, frame: int) -> np.ndarray:
        """``(H, W, 3)`` uint8."""
        line, drawn = np.zeros(self.whole.size // 3, np.float32), []
        for tiers, middle in zip(self.lines, self.camera.target[frame, [0, 2]], strict=True):
            at = float(-middle / self.step) % 1  # the phase of pixels that lie on a line
            near = [(tier, part) for tier in tiers for part in tier.near(at)]
            hits, phase, fine, strong = (
                np.concatenate([getattr(tier, name)[part] for tier, part in near])
                for name in ("hits", "phase", "fine", "strong")
            )
            away = np.abs(phase - np.float32(at))
            away = np.minimum(away, 1 - away)
            cover = np.float32(0.5 + self.thick / 2) - away * fine
            shown = np.flatnonzero(cover > 0)
            hits, cover = hits.take(shown), cover.take(shown)
            cover = np.minimum(cover, np.float32(min(1.0, self.thick))) * strong.take(shown)
            line[hits] = np.maximum(line.take(hits), cover)
            drawn.append(hits)
        pixels, picture = np.concatenate(drawn), self.whole.copy()
        _blend(picture, self.plain, pixels, GRID, line.take(pixels))
        return picture

    def picture(self, frame: int) -> np.ndarray:
        """The empty stage: ``(H, W, 3)`` uint8, to be changed at will."""
        return self.lined.copy() if self.lined is not None else self._lined(frame)

    def darken(
        self, picture: np.ndarray, frame: int, mask: np.ndarray, corner: tuple[float, float], cell: float
    ) -> None:
        """Lay a shadow on the floor.

        Args:
            picture: changed in place, see ``picture``.
            frame: the frame whose camera looks.
            mask: ``(cells in x, cells in z)`` 0 to 1, 0 along its edge.
            corner: x and z of the middle of the first cell, metres in the world.
            cell: side of a cell, metres.
        """
        x, z = self.camera.target[frame, [0, 2]] - corner
        way = np.array([[1.0, 0.0, x], [0.0, 1.0, z], [0.0, 0.0, cell]]) @ self.way
        height, width = picture.shape[:2]
        rows = np.arange(self.top, height)
        fall = way[2, 1] * (rows + 0.5) + way[2, 2]
        begin = (way[:2, 1:2] * (rows + 0.5) + way[:2, 2:] + 0.5 * way[:2, :1]) / fall  # (2, R) cell of the first pixel
        step = way[:2, :1] / fall  # from one pixel of the row to the next
        step = np.where(np.abs(step) < 1e-9, 1e-9, step)
        most = np.array(mask.shape)[:, None] - 1.0
        ends = np.stack([-begin / step, (most - begin) / step])  # where a row enters and leaves the mask
        first = np.clip(np.ceil(ends.min(axis=0).max(axis=0)), 0, width).astype(np.int64)
        last = np.clip(np.floor(ends.max(axis=0).min(axis=0)) + 1, first, width).astype(np.int64)
        count = last - first
        before = np.cumsum(count) - count
        along = np.arange(count.sum())
        pixels = along + np.repeat(rows * width + first - before, count)
        along = along.astype(np.float32)
        u, v = (
            np.clip(np.repeat((a - b * (before - first)).astype(np.float32), count)
                    + np.repeat(b.astype(np.float32), count) * along, 0, np.float32(n - 1.001))
            for a, b, (n,) in zip(begin, step, most + 1, strict=True)
        )  # fmt: skip
        i, j = u.astype(np.int64), v.astype(np.int64)
        u, v = u - i.astype(np.float32), v - j.astype(np.float32)
        cells, flat, wide = i * mask.shape[1] + j, mask.ravel(), mask.shape[1]
        low, high = flat.take(cells), flat.take(cells + wide)
        low += (flat.take(cells + 1) - low) * v
        high += (flat.take(cells + wide + 1) - high) * v
        low += (high - low) * u
        seen = np.flatnonzero(low > 0.002)
        _blend(picture, picture, pixels.take(seen), SHADOW, low.take(seen))


def _blend(
    picture: np.ndarray, under: np.ndarray, pixels: np.ndarray, colour: tuple[int, int, int], share: np.ndarray
) -> None:
    """Lay a colour over what pixels have in another picture, or in the same, by ``(n,)`` shares of 0 to 1, in place."""
    part = np.ascontiguousarray(under.reshape(-1, 3).take(pixels, axis=0).T, np.float32)  # (3, n)
    part += (np.array(colour, np.float32)[:, None] - part) * share
    picture.reshape(-1, 3)[pixels] = _whole(part).T


def _whole(picture: np.ndarray) -> np.ndarray:
    """Rounded to bytes."""
    return (picture + np.float32(0.5)).astype(np.uint8)
