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
        x = (np.arange(width) + 0.5 - camera.centre[0]) / camera.focal
        y = -(np.arange(height) + 0.5 - camera.centre[1]) / camera.focal
        right, up, back = camera.axes
        ray = x[None, :, None] * right + y[:, None, None] * up - back
        fall = -ray[..., 1]
        eye = camera.distance * back
        above = camera.target[0, 1] + eye[1]
        far = above / np.maximum(fall, 1e-6)
        place = (eye + ray * far[..., None])[..., [0, 2]]  # (H, W, 2), from the target
        away = np.linalg.norm(place, axis=-1)
        fade = np.where(fall > 1e-6, np.clip(1.15 * (1 - away / reach_of(camera, scale)), 0, 1), 0)
        self.top = int(np.argmax(fade.max(axis=1) > 0)) if fade.any() else height
        self.place = np.ascontiguousarray(np.moveaxis(place, -1, 0), np.float32)  # (2, H, W)
        self.thick = max(1.0, height / 460)  # pixels
        self.lines = [self._lines(axis, fade) for axis in (0, 1)]
        self.whole = _whole(self.plain)
        self.lined = self._lined(0) if camera.still else None

    def _lines(self, axis: int, fade: np.ndarray) -> list[Tier]:
        """What is known of the lines across one axis, the pixels that see much of the floor apart from the others."""
        place = self.place[axis] / self.step
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
        line, drawn = np.zeros(self.plain.shape[0] * self.plain.shape[1], np.float32), []
        for tiers, middle in zip(self.lines, self.camera.target[frame, [0, 2]], strict=True):
            at = float(-middle / self.step) % 1  # the phase of pixels that lie on a line
            for tier in tiers:
                for part in tier.near(at):
                    away = np.abs(tier.phase[part] - np.float32(at))
                    away = np.minimum(away, 1 - away)
                    cover = np.float32(0.5 + self.thick / 2) - away * tier.fine[part]
                    cover = np.clip(cover, 0, np.float32(min(1.0, self.thick))) * tier.strong[part]
                    hits = tier.hits[part]
                    line[hits] = np.maximum(line[hits], cover)
                    drawn.append(hits)
        pixels = np.concatenate(drawn)
        picture, plain = self.whole.copy(), self.plain.reshape(-1, 3)[pixels]
        plain += (np.array(GRID, np.float32) - plain) * line[pixels, None]
        picture.reshape(-1, 3)[pixels] = _whole(plain)
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
        ends = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]) * (np.array(mask.shape) - 1) * cell + corner
        points = np.insert(ends, 1, 0.0, axis=1)
        seen, _ = self.camera.project(points, frame)
        height, width = picture.shape[:2]
        left, top = np.clip(np.floor(seen.min(axis=0)).astype(int) - 1, 0, [width, height])
        right, bottom = np.clip(np.ceil(seen.max(axis=0)).astype(int) + 1, 0, [width, height])
        top = max(top, self.top)
        if right <= left or bottom <= top:
            return
        middle = self.camera.target[frame, [0, 2]]
        window = (slice(top, bottom), slice(left, right))
        u, v = ((self.place[axis][window] + np.float32(middle[axis] - corner[axis])) / np.float32(cell)
                for axis in (0, 1))  # fmt: skip
        inside = (u >= 0) & (v >= 0) & (u < mask.shape[0] - 1) & (v < mask.shape[1] - 1)
        hits = np.flatnonzero(inside)
        u, v = u.ravel().take(hits), v.ravel().take(hits)
        i, j = u.astype(np.int32), v.astype(np.int32)
        u, v = u - i, v - j
        cells, flat, wide = i * mask.shape[1] + j, mask.ravel(), mask.shape[1]
        low = flat.take(cells) * (1 - v) + flat.take(cells + 1) * v
        high = flat.take(cells + wide) * (1 - v) + flat.take(cells + wide + 1) * v
        dark = low * (1 - u) + high * u
        seen_dark = np.flatnonzero(dark > 0.002)
        hits, dark = hits.take(seen_dark), dark.take(seen_dark)
        rows, columns = np.divmod(hits, right - left)
        pixels = (rows + top) * width + columns + left
        flat_picture = picture.reshape(-1, 3)
        part = flat_picture.take(pixels, axis=0).astype(np.float32)
        part += (np.array(SHADOW, np.float32) - part) * dark[:, None]
        flat_picture[pixels] = _whole(part)


def _whole(picture: np.ndarray) -> np.ndarray:
    """Rounded to bytes."""
    return (picture + np.float32(0.5)).astype(np.uint8)
