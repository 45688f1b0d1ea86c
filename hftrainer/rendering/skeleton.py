"""Fast pictures of moving joints: a figure of tapered limbs on a lit floor, drawn with Pillow alone."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import TypeVar

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from hftrainer.rendering.camera import Camera, follow
from hftrainer.rendering.figure import (
    GROUPS,
    PART_BALLS,
    PART_RADII,
    PARTS,
    Colour,
    balls,
    body_scale,
    facing,
    hulls,
)
from hftrainer.rendering.film import checked_size, film, sheet
from hftrainer.rendering.ground import FLOOR, GRID, SHADOW, SKY, backdrop, reach_of

_TRAIL = (126, 92, 190)

SAMPLES = 2  # drawn this much larger on each side, then averaged
_RINGS = 5
_LIGHT = np.array([-0.42, -0.62])  # where highlights sit on a disc, picture x and y, in radii
_CHUNK = 64


Box = tuple[int, int, int, int]
#: Where a shadow lies on the canvas, and its mask; ``None`` where it is out of the picture.
Shadow = tuple[tuple[int, int], Image.Image] | None


def _mix(one: Colour, other: Colour, share: float) -> Colour:
    first, second, third = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return first, second, third


_FOGS = 8  # steps of paleness with distance
_FACE, _HEAD = (next(at for at, (name, _) in enumerate(GROUPS) if name == wanted) for wanted in ("face", "head"))


def _ink(colour: Colour) -> int:
    """A colour as the one number that Pillow makes of it for every stroke; made once, it saves a tenth of a frame."""
    red, green, blue = colour
    return red | green << 8 | blue << 16


#: Fill colours by distance step, part, and layer: outline, fill, highlight.
_SHADES = [
    [
        tuple(
            _ink(_mix(colour, SKY[1], 0.22 * fog / _FOGS))
            for colour in (
                _mix(part.colour, (16, 22, 40), 0.52),
                part.colour,
                _mix(part.colour, (255, 255, 255), 0.30),
            )
        )
        for part in PARTS
    ]
    for fog in range(_FOGS + 1)
]


class Stage:
    """Everything that is known before the first frame is drawn: camera, ground, light, outlines.

    Args:
        joints: ``(T, 22, 3)`` metres, +Y up.
        fps: frames per second.
        size: width and height of a frame, pixels.
        foot: pixels at the bottom that the figure leaves free.
        trail: whether the path of the pelvis is drawn on the floor.
    """

    def __init__(
        self, joints: np.ndarray, fps: float, size: tuple[int, int], foot: int = 0, trail: bool = True
    ) -> None:
        self.width, self.height = size
        self.scale = body_scale(joints)
        self.floor = float(np.percentile(joints[..., 1].min(axis=1), 2)) - 0.028 * self.scale
        joints = joints - [0.0, self.floor, 0.0]
        self.balls = balls(joints, self.scale)
        self.radii = PART_RADII * self.scale
        margin = 0.085 * min(size)
        box = (margin, margin, self.width - margin, self.height - max(margin, foot + 0.03 * self.height))
        around = np.full(self.balls.shape[1], 0.08 * self.scale)
        self.camera = follow(joints, self.balls, around, fps, box)
        self.front = facing(joints)
        way = joints[:, 0] * [1.0, 0.0, 1.0]
        self.path = way if trail else None
        self.walked = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(way, axis=0), axis=1))])
        self.marks = np.arange(0.0, self.walked[-1], 0.06 * self.scale)  # metres walked, where the trail has corners
        self.marked = np.stack([np.interp(self.marks, self.walked, way[:, axis]) for axis in range(3)], axis=1)
        self.blur = max(1.0, 0.006 * self.height)
        # Both blurs reach 10/3 of it; two cells of the coarse mask more, or small pictures show the mask's edge.
        self.soft = math.ceil(4 * self.blur) + 8
        self.trail_width = max(2, round(0.007 * self.height))
        plain = Image.fromarray(np.round(backdrop(self.camera, size)).astype(np.uint8))
        self.background = plain.resize((self.width * SAMPLES, self.height * SAMPLES), Image.Resampling.NEAREST)
        self.reach = reach_of(self.camera, self.scale)
        back = self.camera.axes[2] * [1.0, 0.0, 1.0]
        edge = self.camera.target[0] * [1.0, 0.0, 1.0] - self.reach * back / np.linalg.norm(back)
        far, _ = self.camera.project(edge[None], 0)
        self.top = int(np.clip(np.floor(far[0, 1]) - 2, 0, self.height - 1))  # above it the floor is bare
        if self.camera.still:
            self._ground(self.background, 0)
        self.small = self.background.reduce(SAMPLES)

    def _ground(self, canvas: Image.Image, frame: int) -> None:
        """Grid lines one metre apart, fading with the distance from the camera's target."""
        draw = ImageDraw.Draw(canvas)
        camera = self.camera
        middle = camera.target[frame, [0, 2]]
        step = 1.0 if self.scale > 0.4 else 0.25
        lines, rings = [], []
        for ring in range(_RINGS):
            radius = self.reach * (1 - ring / _RINGS)
            for axis in (0, 1):
                first = np.ceil((middle[axis] - radius) / step) * step
                across = np.arange(first, middle[axis] + radius, step)
                half = np.sqrt(np.maximum(radius**2 - (across - middle[axis]) ** 2, 0))
                ends = np.zeros((len(across), 2, 3))
                ends[:, :, 2 * axis] = across[:, None]
                ends[:, :, 2 - 2 * axis] = middle[1 - axis] + half[:, None] * [-1, 1]
                lines.append(ends)
                rings += [ring] * len(ends)
        points, _ = camera.project(np.concatenate(lines).reshape(-1, 3), frame)
        flat = (points * SAMPLES).reshape(-1, 4).tolist()
        shade = [_ink(_mix(FLOOR[0], GRID, (ring + 1) / _RINGS)) for ring in range(_RINGS)]
        for line, ring in zip(flat, rings, strict=True):
            draw.line(line, fill=shade[ring], width=SAMPLES)

    def _trail(self, frame: int) -> np.ndarray:
        """``(N, 2)`` picture points, at the size in which frames are drawn, of the way that the pelvis came."""
        if self.path is None or frame == 0:
            return np.empty((0, 2))
        walked = self.walked[frame]
        if walked < 0.15 * self.scale:
            return np.empty((0, 2))
        first, last = np.searchsorted(self.marks, (walked - 6.0, walked))
        dense = np.concatenate([self.marked[first:last], self.path[frame : frame + 1]])
        away = np.linalg.norm(dense - self.camera.target[frame] * [1.0, 0.0, 1.0], axis=1)
        points, _ = self.camera.project(dense, frame)
        return points[away < self.reach] * SAMPLES

    def _draw_trail(self, draw: ImageDraw.ImageDraw, points: np.ndarray) -> None:
        """The way on the floor, paler with age."""
        pieces = 8
        cuts = np.linspace(0, max(len(points) - 1, 0), pieces + 1).astype(int)
        for piece in range(pieces):
            span = points[cuts[piece] : cuts[piece + 1] + 1]
            if len(span) > 1:
                colour = _ink(_mix(FLOOR[1], _TRAIL, 0.10 + 0.75 * (piece + 1) / pieces))
                draw.line(span.ravel().tolist(), fill=colour, width=self.trail_width * SAMPLES)

    def _shadows(self, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Outlines of the parts' shadows and how dark each is: ``(T, P, K, 2)`` pixels, ``(T, P)``."""
        centres = self.balls[at][:, PART_BALLS]  # (T, P, M, 3)
        height = np.maximum(centres[..., 1] - self.radii, 0.0) / self.scale
        ground = centres * [1.0, 0.0, 1.0] + height[..., None] * self.scale * np.array([0.16, 0.0, -0.10])
        shape = ground.shape[:-1]
        points, depth = self._project(ground.reshape(len(ground), -1, 3), at)
        zoom = (self.camera.focal / depth).reshape(shape)
        slant = float(self.camera.axes[2, 1]) + 0.06
        outlines = hulls(points.reshape(*shape, 2), self.radii * zoom * 0.95, 12, slant)
        dark = 0.52 * np.exp(-height.min(axis=-1) / 0.28) + 0.12
        return outlines, dark

    def _project(self, points: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        camera = self.camera
        moved = Camera(camera.target[at], camera.axes, camera.distance, camera.focal, camera.centre)
        return moved.project(points)

    def frames(self, which: Sequence[int] | np.ndarray) -> Iterator[tuple[int, Image.Image]]:
        """Frame number and picture, for the frame numbers asked, in their order.

        Only what changes is drawn: the moving floor, the figure, its shadow and trail. A second thread averages
        one frame and blurs the shadow of the next while a third is drawn; Pillow lets go of the interpreter meanwhile.
        """
        which = np.asarray(which)
        canvases = [self.background.copy() for _ in range(3)]
        with ThreadPoolExecutor(1) as second:
            waiting: deque[tuple[int, Future[Image.Image]]] = deque()
            chunks = (self.outlines(which[at : at + _CHUNK]) for at in range(0, len(which), _CHUNK))
            ahead = ((*todo[1:], second.submit(todo[0])) for todo in chain.from_iterable(chunks))
            for frame, draw_on, shadow in _one_ahead(ahead):
                canvas = canvases.pop()
                boxes = draw_on(canvas, shadow.result())
                waiting.append((frame, second.submit(self._averaged, canvas, boxes)))
                canvases.insert(0, canvas)
                if len(waiting) == len(canvases) - 1:
                    done, picture = waiting.popleft()
                    yield done, picture.result()
            for done, picture in waiting:
                yield done, picture.result()

    def _averaged(self, canvas: Image.Image, boxes: list[Box]) -> Image.Image:
        """The picture: the empty stage, with the drawn boxes brought to their final size."""
        picture = self.small.copy()
        for left, top, right, bottom in boxes:
            large = (left * SAMPLES, top * SAMPLES, right * SAMPLES, bottom * SAMPLES)
            picture.paste(canvas.reduce(SAMPLES, large), (left, top))
        return picture

    def _clear(self, canvas: Image.Image, frame: int, corners: list[np.ndarray]) -> list[Box]:
        """Empty the stage where this frame will draw; the boxes, in pixels of the picture."""
        low = np.floor(np.min([c.min(axis=0) for c in corners if len(c)], axis=0) / SAMPLES).astype(int) - 2
        high = np.ceil(np.max([c.max(axis=0) for c in corners if len(c)], axis=0) / SAMPLES).astype(int) + 3
        left, top = np.maximum(low - self.trail_width, 0).tolist()
        right, bottom = np.minimum(high + self.trail_width, [self.width, self.height]).tolist()
        boxes = []
        canvas.paste(self.background)
        if not self.camera.still:
            self._ground(canvas, frame)
            boxes.append((0, self.top, self.width, self.height))
            bottom = min(bottom, self.top)
        if right > left and bottom > top:
            boxes.append((left, top, right, bottom))
        return boxes

    def outlines(
        self, at: np.ndarray
    ) -> Iterator[tuple[Callable[[], Shadow], int, Callable[[Image.Image, Shadow], list[Box]]]]:
        """For each frame what makes its shadow, its number, and what draws it; all outlines are laid out at once."""
        points, depth = self._project(self.balls[at], at)
        zoom = (self.camera.focal / depth)[:, PART_BALLS]  # (T, P, M)
        radii = self.radii * zoom * SAMPLES
        centres = points[:, PART_BALLS] * SAMPLES + 0.5  # Pillow cuts fractions off
        edges = hulls(centres, radii + 0.0028 * self.height * SAMPLES, 18)
        fills = hulls(centres, radii, 18)
        lights = hulls(centres + (_LIGHT * 0.42) * radii[..., None], radii * 0.42, 12)
        layers = [outlines.reshape(len(at), len(PARTS), -1).tolist() for outlines in (edges, fills, lights)]
        corners = edges.reshape(len(at), -1, 2)
        extents = np.stack([corners.min(axis=1), corners.max(axis=1)], axis=1)  # (T, 2, 2)
        shadows, dark = self._shadows(at)
        part_depth = depth[:, PART_BALLS].mean(axis=-1)
        group_depth = np.stack([part_depth[:, list(members)].mean(axis=1) for _, members in GROUPS], axis=1)
        behind = self.front[at] @ self.camera.axes[2] < 0.05  # the face looks away from the camera
        group_depth[:, _FACE] = group_depth[:, _HEAD] + np.where(behind, 1e-3, -1e-3)
        nearest = self.camera.distance - 1.2 * self.scale
        fog = np.round(np.clip((group_depth - nearest) / (2.4 * self.scale), 0, 1) * _FOGS).astype(int)
        order = np.argsort(-group_depth, axis=1, kind="stable").tolist()

        def draw_on(canvas: Image.Image, soft: Shadow, row: int, frame: int) -> list[Box]:
            trail = self._trail(frame)
            shadow = shadows[row].reshape(-1, 2)
            pad = self.soft
            shade = np.stack([shadow.min(axis=0) - pad, shadow.max(axis=0) + pad]) * SAMPLES
            boxes = self._clear(canvas, frame, [trail, shade, extents[row]])
            draw = ImageDraw.Draw(canvas)
            self._draw_trail(draw, trail)
            if soft is not None:
                canvas.paste(SHADOW, *soft)
            for group in order[row]:
                members = sorted(GROUPS[group][1], key=lambda part: -part_depth[row, part])
                shades = _SHADES[fog[row, group]]
                for layer, outlines in enumerate(layers):
                    for part in members:
                        draw.polygon(outlines[row][part], fill=shades[part][layer])
            return boxes

        for row, frame in enumerate(at.tolist()):
            yield partial(self._shadow, shadows[row], dark[row]), frame, partial(draw_on, row=row, frame=frame)

    def _shadow(self, outlines: np.ndarray, dark: np.ndarray) -> Shadow:
        """The soft shadow on the floor, darkest where the body touches it: its place and its mask."""
        pad = self.soft
        low = np.floor(outlines.min(axis=(0, 1))).astype(int) - pad
        high = np.ceil(outlines.max(axis=(0, 1))).astype(int) + pad
        low, high = np.maximum(low, 0), np.minimum(high, [self.width, self.height])
        if (high - low < 2).any():
            return None
        mask = Image.new("L", ((high - low) // 4 + 1).tolist())
        draw = ImageDraw.Draw(mask)
        small = (outlines - low) / 4
        for part in np.argsort(dark):
            draw.polygon(small[part].ravel().tolist(), fill=round(255 * dark[part]))
        mask = mask.filter(ImageFilter.BoxBlur(self.blur / 2)).filter(ImageFilter.BoxBlur(self.blur / 3))
        grow = 4 * SAMPLES
        mask = mask.resize((mask.width * grow, mask.height * grow), Image.Resampling.BILINEAR)
        return (int(low[0]) * SAMPLES, int(low[1]) * SAMPLES), mask


_Item = TypeVar("_Item")


def _one_ahead(items: Iterable[_Item]) -> Iterator[_Item]:
    """The same items; each is asked for one round before it is handed out."""
    held: deque[_Item] = deque()
    for item in items:
        held.append(item)
        if len(held) == 2:
            yield held.popleft()
    yield from held


def draw_frames(
    joints: np.ndarray,
    fps: float,
    *,
    size: int | tuple[int, int] = 512,
    caption: str | None = None,
    trail: bool = True,
    progress: bool = True,
) -> Iterator[np.ndarray]:
    """Pictures of a moving figure, one per frame.

    Left limbs are blue and right limbs orange. The floor lies under the lowest foot of the clip; its lines are one
    metre apart. The camera keeps the whole figure in view.

    Args:
        joints: ``(T, 22, 3)`` metres, +Y up, SMPL-22 order.
        fps: frames per second (for the calm of the camera).
        size: side of the picture, or width and height, pixels; at least 64.
        caption: a line under the figure, wrapped where it is long.
        trail: draw the path of the pelvis on the floor.
        progress: draw a thin bar of the time gone at the bottom.

    Returns:
        An iterator of ``(height, width, 3)`` uint8.

    Raises:
        ValueError: wrong shape, no frames, a value that is not finite, or too small a size.

    >>> from hftrainer.motion.skeleton import SMPL22
    >>> pose = np.cumsum(np.zeros((3, 22, 3)), axis=0) + np.random.default_rng(0).normal(size=(22, 3))
    >>> [picture.shape for picture in draw_frames(pose, 20, size=96)]
    [(96, 96, 3), (96, 96, 3), (96, 96, 3)]
    """
    joints = _checked(joints)

    def stage(size: tuple[int, int], foot: int) -> Stage:
        return Stage(joints, fps, size, foot, trail)

    return film(stage, len(joints), checked_size(size), caption, progress)


def contact_sheet(
    joints: np.ndarray, fps: float, *, size: int = 512, caption: str | None = None, poses: int | None = None
) -> Image.Image:
    """One picture of a whole motion: poses at even times, each with its second.

    Args:
        joints: ``(T, 22, 3)`` metres, +Y up, SMPL-22 order.
        fps: frames per second.
        size: side of one pose's picture times two, pixels: a sheet of 8 poses is ``2 size`` wide and ``size`` high.
        caption: text under the poses.
        poses: how many; by default 4 to 12, about two for each second.

    Returns:
        An RGB picture.

    Raises:
        ValueError: as ``draw_frames``, or ``poses`` below 1.

    >>> contact_sheet(np.random.default_rng(0).normal(size=(9, 22, 3)), 20, size=256, poses=8).size
    (512, 256)
    """
    joints = _checked(joints)

    def stage(size: tuple[int, int], foot: int) -> Stage:
        return Stage(joints, fps, size, foot)

    return sheet(stage, len(joints), fps, checked_size(size)[0], caption, poses)


def _checked(joints: np.ndarray) -> np.ndarray:
    joints = np.asarray(joints, dtype=np.float64)
    if joints.ndim != 3 or joints.shape[1:] != (22, 3) or len(joints) == 0:
        raise ValueError(f"joints must have shape (T, 22, 3) with T at least 1; got {joints.shape}.")
    if not np.isfinite(joints).all():
        bad = int((~np.isfinite(joints)).any(axis=(1, 2)).argmax())
        raise ValueError(f"joints must be finite; got NaN or infinity first in frame {bad}. Cut or mend the clip.")
    return joints
