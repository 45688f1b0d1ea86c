"""Shaded pictures of a moving body: light from the upper left, soft shadows on itself and on a grid floor.

Light is worked out at the vertices and blended between them, so that every road that fills triangles (``raster``, which
is NumPy alone, and ``gl``) shows the same picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from hftrainer.rendering.camera import follow
from hftrainer.rendering.figure import balls, body_scale
from hftrainer.rendering.ground import Ground
from hftrainer.rendering.raster import Layer, rasterise
from hftrainer.rendering.surface import Surface

#: Fills triangles: points, depth, triangles, colours, size of the picture to what it covers.
Filler = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray, tuple[int, int]], Layer | None]

_LIGHT = (-0.50, 0.78, 0.42)  # towards the light: right, up, and to the camera
_SKYLIGHT = np.array((0.37, 0.41, 0.48), np.float32)
_BOUNCE = np.array((0.20, 0.19, 0.19), np.float32)
_SUN = np.array((1.12, 1.05, 0.96), np.float32)
_RIM = np.array((0.20, 0.24, 0.30), np.float32)
_CELL = 0.025  # metres of floor in one cell of the shadow, for a body of usual size
_DARK = 0.62
_CHUNK = 16


@dataclass(frozen=True, eq=False)
class Shot:
    """Everything that one frame shows.

    Attributes:
        frame: its number.
        points, depth, colours: of all vertices, as ``raster.rasterise`` takes them.
        shadow, corner: what ``Ground.darken`` takes.
    """

    frame: int
    points: np.ndarray
    depth: np.ndarray
    colours: np.ndarray
    shadow: np.ndarray
    corner: tuple[float, float]


class BodyStage:
    """Everything that is known before the first frame is drawn: camera, floor, light.

    Args:
        surfaces: one or more figures, of one frame rate; the shorter ones hold their last pose.
        size: width and height of a frame, pixels.
        foot: pixels at the bottom that the figures leave free.
        fill: what fills triangles; NumPy by default.
        azimuth: where the camera stands, see ``camera.follow``.

    Raises:
        ValueError: no figure.
    """

    def __init__(
        self,
        surfaces: Sequence[Surface],
        size: tuple[int, int],
        foot: int = 0,
        fill: Filler = rasterise,
        azimuth: float | None = None,
    ) -> None:
        if not surfaces:
            raise ValueError("there must be at least 1 surface to draw; got 0.")
        self.surfaces, self.fill = list(surfaces), fill
        self.width, self.height = size
        self.frame_count = max(len(surface.joints) for surface in surfaces)
        joints = [surface.joints[self._held(surface, np.arange(self.frame_count))] for surface in surfaces]
        self.scale = body_scale(joints[0])
        self.floor = self._lowest()
        self.drop = np.array([0.0, self.floor, 0.0], np.float32)
        margin = 0.085 * min(size)
        box = (margin, margin, self.width - margin, self.height - max(margin, foot + 0.03 * self.height))
        joints = [each - [0.0, self.floor, 0.0] for each in joints]
        points = np.concatenate([balls(each, self.scale) for each in joints], axis=1)
        around = np.full(points.shape[1], 0.08 * self.scale)
        self.camera = follow(joints[0], points, around, surfaces[0].fps, box, azimuth)
        right, _, back = self.camera.axes
        near = back * [1.0, 0.0, 1.0]
        towards = np.stack([right, [0.0, 1.0, 0.0], near / np.linalg.norm(near)]).T @ _LIGHT
        self.light = (towards / np.linalg.norm(towards)).astype(np.float32)
        self.ground = Ground(self.camera, size, self.scale)
        self.cell = _CELL * self.scale
        counts = np.cumsum([0, *(len(surface.colours) for surface in surfaces)])
        self.parts = [slice(a, b) for a, b in zip(counts, counts[1:], strict=False)]
        self.colours = np.concatenate([surface.colours for surface in surfaces])
        self.shades = self.colours.T.copy()  # (3, V)
        self.triangles = np.concatenate(
            [surface.triangles + start for surface, start in zip(surfaces, counts, strict=False)]
        )

    @staticmethod
    def _held(surface: Surface, frames: np.ndarray) -> np.ndarray:
        return np.minimum(frames, len(surface.joints) - 1)

    def _lowest(self) -> float:
        """Height of the floor: under the soles, a few frames aside in which they dip below."""
        lows = []
        for surface in self.surfaces:
            chosen = np.unique(np.linspace(0, len(surface.joints) - 1, 160).round().astype(int))
            cut = (chosen[at : at + _CHUNK] for at in range(0, len(chosen), _CHUNK))
            low = np.concatenate([surface.pose(part)[..., 1].min(axis=1) for part in cut])
            lows.append(float(np.percentile(low, 4)))
        return min(lows)

    def shots(self, which: np.ndarray) -> Iterator[Shot]:
        """Light and shadow of frames, in their order."""
        for start in range(0, len(which), _CHUNK):
            frames = which[start : start + _CHUNK]
            posed = [surface.pose(self._held(surface, frames)) for surface in self.surfaces]
            for row, frame in enumerate(frames.tolist()):
                yield self._shot(frame, [vertices[row] for vertices in posed])

    def _shot(self, frame: int, posed: list[np.ndarray]) -> Shot:
        posed = [vertices - self.drop for vertices in posed]
        vertices = np.concatenate(posed)
        turned = [surface.normals(each) for surface, each in zip(self.surfaces, posed, strict=True)]
        normals, areas = (np.concatenate(each) for each in zip(*turned, strict=True))
        towards = np.einsum("vk,k->v", normals, self.light)
        height = np.maximum(vertices[:, 1], 0)
        cast = vertices[:, [0, 2]] - np.multiply.outer(vertices[:, 1], self.light[[0, 2]] / self.light[1])
        mask, corner, blocked = self._shadows(cast, height, areas * np.abs(towards) / self.light[1])
        for surface, part in zip(self.surfaces, self.parts, strict=True):
            blocked[part] = surface.smoothed(blocked[part], 3)
        points, depth = self.camera.project(vertices, frame)
        eye = self.camera.target[frame] + self.camera.distance * self.camera.axes[2]
        view = eye.astype(np.float32) - vertices
        view /= np.sqrt(_dots(view, view))[:, None]
        return Shot(frame, points, depth, self._lit(normals, view, towards, blocked), mask, corner)

    def _lit(
        self, normals: np.ndarray, view: np.ndarray, towards: np.ndarray, blocked: np.ndarray
    ) -> np.ndarray:
        """``(V, 3)`` what vertices look like: Lambert's law a little softened, sky and floor, a rim, a faint gloss."""
        key = np.clip((towards + 0.18) / 1.18, 0, 1) * (1 - 0.85 * blocked)
        up = 0.5 + 0.5 * normals[:, 1]
        facing = np.clip(_dots(normals, view), 0, 1)
        half = view + self.light
        gloss = np.clip(_dots(normals, half) / np.sqrt(_dots(half, half)), 0, 1) ** 20 * (1 - blocked)
        rim = (1 - facing) ** 3 * (0.35 + 0.65 * up)
        bounce, sky, sun, edge = (colour[:, None] for colour in (_BOUNCE, _SKYLIGHT - _BOUNCE, _SUN, _RIM))
        out = self.shades * (bounce + sky * up + sun * key) + edge * rim + np.float32(0.06) * gloss  # (3, V)
        return (np.clip(out, 0, 1) ** np.float32(1 / 2.2)).T

    def _shadows(
        self, cast: np.ndarray, height: np.ndarray, area: np.ndarray
    ) -> tuple[np.ndarray, tuple[float, float], np.ndarray]:
        """The shadow on the floor, where it lies, and how much of the light other parts keep from each vertex.

        Every vertex throws the area that it stands for along the light onto the floor's cells. A closed surface covers
        its shadow twice, with its lit and with its dark side. What is higher throws a softer shadow.
        """
        cell = self.cell
        pad = 14
        across = np.ascontiguousarray(cast.T)
        ends = np.stack([across.min(axis=1), across.max(axis=1)], axis=1)  # (x and z, 2)
        low, high = np.floor(ends.T / cell).astype(int) + [[-pad], [pad + 1]]
        shape = high - low
        place = cast / np.float32(cell) - low - np.float32(0.5)
        index = np.floor(place).astype(np.int64)
        share = (place - index).astype(np.float32)
        flat = index[:, 0] * shape[1] + index[:, 1]
        weight = area / (2 * cell**2)
        lift = np.clip(height / (0.55 * self.scale), 0, 1)
        clear = np.ones(shape, np.float32)
        for part, soft, dark in ((1 - lift, 1.1, _DARK), (lift, 3.6, 0.72 * _DARK)):
            thrown = np.zeros(shape[0] * shape[1])
            for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
                corner = np.abs(1 - i - share[:, 0]) * np.abs(1 - j - share[:, 1])
                thrown += np.bincount(flat + i * shape[1] + j, weight * part * corner, len(thrown))
            cover = gaussian_filter(thrown.reshape(shape).astype(np.float32), soft, truncate=3.5, mode="constant")
            clear *= 1 - dark * (1 - np.exp(-1.5 * cover))
        mask = 1 - clear
        rows, columns = (np.flatnonzero(mask.max(axis=axis) > 0.004) for axis in (1, 0))
        if not len(rows):  # a body without extent
            return mask[:1, :1], (0.0, 0.0), self._blocked(cast, height)
        first = np.array([rows[0], columns[0]]) - 1
        mask = mask[first[0] : rows[-1] + 2, first[1] : columns[-1] + 2]
        x, z = ((low + first + 0.5) * cell).tolist()
        return mask, (x, z), self._blocked(cast, height)

    def _blocked(self, cast: np.ndarray, height: np.ndarray) -> np.ndarray:
        """``(V,)`` 0 to 1: a vertex is in the shade where another stands well above it on the same ray of light."""
        cell = np.float32(1.6 * self.cell)
        place = np.floor(cast / cell).astype(np.int64)
        x, z = (axis - axis.min() for axis in place.T)
        flat = x * (z.max() + 1) + z
        top = np.zeros(flat.max() + 1, np.float32)
        np.maximum.at(top, flat, height)
        scale = np.float32(self.scale)
        return np.clip((top[flat] - height - 0.12 * scale) / (0.06 * scale), 0, 1)

    def empty(self, shot: Shot) -> np.ndarray:
        """``(height, width, 3)`` uint8: floor and shadow of a shot, without the figures."""
        picture = self.ground.picture(shot.frame)
        self.ground.darken(picture, shot.frame, shot.shadow, shot.corner, self.cell)
        return picture

    def frames(self, which: Sequence[int] | np.ndarray) -> Iterator[tuple[int, Image.Image]]:
        """Frame number and picture, for the frame numbers asked, in their order.

        A second thread works out light, floor and shadow of the next frame while the figures of one are drawn.
        """
        shots = ((shot, self.empty(shot)) for shot in self.shots(np.asarray(which)))
        with ThreadPoolExecutor(1) as second:
            coming = second.submit(next, shots, None)
            while (ready := coming.result()) is not None:
                coming = second.submit(next, shots, None)
                shot, picture = ready
                layer = self.fill(shot.points, shot.depth, self.triangles, shot.colours, (self.width, self.height))
                if layer is not None:
                    layer.onto(picture)
                yield shot.frame, Image.fromarray(picture)


def _dots(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """``(V,)`` products of vectors ``(V, 3)``, row by row."""
    return np.einsum("vk,vk->v", one, two)
