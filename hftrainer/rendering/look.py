"""What a picture looks like: its style and what goes with it, and films and sheets drawn so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image

from hftrainer.motion.clip import Motion
from hftrainer.motion.edit import resample
from hftrainer.motion.representation.convert import convert
from hftrainer.motion.smpl import SmplBody
from hftrainer.rendering.blender import BlenderStage
from hftrainer.rendering.body import BodyStage, Filler
from hftrainer.rendering.film import StageMaker, checked_size, chosen_poses, film, sheet
from hftrainer.rendering.gl import painter
from hftrainer.rendering.raster import rasterise
from hftrainer.rendering.sequence import in_a_row, picture_width
from hftrainer.rendering.skeleton import contact_sheet, draw_frames
from hftrainer.rendering.surface import Surface, free_surface, smpl_surface

#: How a figure may be drawn, with what it takes.
STYLES = {
    "skeleton": "tapered limbs, quickest",
    "body": "a shaded body with soft shadows; quicker at large sizes with the extra gl",
    "blender": "the body in Blender's light; needs Blender, takes seconds for each frame",
}


@dataclass(frozen=True, eq=False)
class Look:
    """How figures are drawn.

    Attributes:
        style: one of ``STYLES``.
        poses: how many a sheet shows; by default 4 to 12, in a row 8.
        sequence: whether a sheet is one picture with the poses in a row, paler the earlier they are, instead of a cell
            for each; by default with ``blender`` alone.
        together: several motions in one picture on one floor, where they are, instead of side by side.
        draft: sooner done and rougher.
        smpl: the user's body; by default the free body.
        gl: whether OpenGL draws the style ``body``; by default where there is one.
        blender: a Blender program, or a Python that has ``bpy``; by default the one that is found.

    Raises:
        ValueError: an unknown style, or something that the skeleton does not have.
    """

    style: str = "skeleton"
    poses: int | None = None
    sequence: bool | None = None
    together: bool = False
    draft: bool = False
    smpl: SmplBody | None = None
    gl: bool | None = None
    blender: str | None = None

    def __post_init__(self) -> None:
        if self.style not in STYLES:
            raise ValueError(f"style must be one of {', '.join(STYLES)}; got {self.style!r}.")
        if self.style == "skeleton":
            asked = {"sequence": self.sequence, "together": self.together, "smpl": self.smpl is not None}
            if wrong := [name for name, value in asked.items() if value]:
                raise ValueError(f"{', '.join(wrong)} must be left out with the style skeleton. Take the style body.")

    def films(
        self, motions: Sequence[Motion], fps: float, size: int, captions: Sequence[str | None]
    ) -> list[Iterator[np.ndarray]]:
        """The frames of each motion, or of all of them together.

        Args:
            motions: at least one.
            fps: frames per second.
            size: side of a picture, pixels.
            captions: one for each motion.

        Returns:
            Iterators of ``(size, size, 3)`` uint8.

        Raises:
            NoRouteError: a motion cannot become joints.
            ModuleNotFoundError, OSError: no OpenGL where it was asked for, or no Blender.
        """
        if self.style == "skeleton":
            each = zip((_joints(motion, fps) for motion in motions), captions, strict=True)
            return [draw_frames(joints, fps, size=size, caption=caption) for joints, caption in each]
        return [
            film(self._stage(group), max(len(one.joints) for one in group), (size, size), words, True)
            for group, words in self._groups(motions, fps, captions)
        ]

    def sheets(self, motions: Sequence[Motion], size: int, captions: Sequence[str | None]) -> list[Image.Image]:
        """A picture of each whole motion, or of all of them together; otherwise as ``films``.

        Args:
            motions: at least one.
            size: side of one pose's picture times two, or the height of poses in a row, pixels.
            captions: one for each motion.

        Raises:
            ValueError: ``poses`` below 1.
        """
        if self.style == "skeleton":
            return [
                contact_sheet(_joints(motion, motion.fps), motion.fps, size=size, caption=caption, poses=self.poses)
                for motion, caption in zip(motions, captions, strict=True)
            ]
        fps = motions[0].fps if self.together else None
        in_row = self.style == "blender" if self.sequence is None else self.sequence
        made = []
        for group, words in self._groups(motions, fps, captions):
            if in_row:
                made += [self._row(one, size, words) for one in group]
            else:
                frames = max(len(one.joints) for one in group)
                made.append(sheet(self._stage(group), frames, group[0].fps, checked_size(size)[0], words, self.poses))
        return made

    def _row(self, surface: Surface, height: int, caption: str | None) -> Image.Image:
        poses = chosen_poses(len(surface.joints), surface.fps, 8 if self.poses is None else self.poses)
        figures, azimuth = in_a_row(surface, poses)
        size = (picture_width(figures, azimuth, height), height)
        return Image.fromarray(next(film(self._stage(figures, azimuth), 1, size, caption, False)))

    def _groups(
        self, motions: Sequence[Motion], fps: float | None, captions: Sequence[str | None]
    ) -> list[tuple[list[Surface], str | None]]:
        """The figures of each picture, and the words under it."""
        surfaces = []
        for at, motion in enumerate(motions):
            figure = at if self.together else 0
            rate = None if fps == motion.fps else fps
            surfaces.append(
                free_surface(motion, rate, figure) if self.smpl is None
                else smpl_surface(motion, self.smpl, rate, figure)
            )  # fmt: skip
        if self.together:
            return [(surfaces, " · ".join(dict.fromkeys(c for c in captions if c)) or None)]
        return [([surface], caption) for surface, caption in zip(surfaces, captions, strict=True)]

    def _stage(self, surfaces: list[Surface], azimuth: float | None = None) -> StageMaker:
        def make(size: tuple[int, int], foot: int) -> BodyStage:
            if self.style == "blender":
                return BlenderStage(surfaces, size, foot, azimuth, self.draft, self.blender)
            return BodyStage(surfaces, size, foot, self.filler(size), azimuth)

        return make

    def filler(self, size: tuple[int, int]) -> Filler:
        """What fills the triangles of pictures of a size: OpenGL, or NumPy alone.

        Raises:
            ModuleNotFoundError, OSError: ``gl`` is True, and there is no moderngl, or no OpenGL without a window.
        """
        plain = partial(rasterise, samples=1 if self.draft else 2)
        if self.gl is False or self.draft:
            return plain
        try:
            return painter(size)
        except (ModuleNotFoundError, OSError):
            if self.gl:
                raise
            return plain


def _joints(motion: Motion, fps: float) -> np.ndarray:
    joints = convert(motion, "joints")
    return (resample(joints, fps) if fps != joints.fps else joints).data
