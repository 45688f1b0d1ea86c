"""Frames of any style as a film with words and a bar of the time gone, or as one sheet of a whole motion."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
from PIL import Image

from hftrainer.rendering.caption import caption_strip

_PROGRESS = (126, 92, 190)


class Stage(Protocol):
    """What draws frames: ``skeleton.Stage`` or ``body.BodyStage``."""

    def frames(self, which: Sequence[int] | np.ndarray) -> Iterator[tuple[int, Image.Image]]:
        """Frame number and picture, for the frame numbers asked, in their order."""


#: Makes a stage for pictures of a width and height that leave pixels free at the bottom.
StageMaker = Callable[[tuple[int, int], int], Stage]


def checked_size(size: int | tuple[int, int]) -> tuple[int, int]:
    """Width and height of a picture.

    Raises:
        ValueError: below 64 or above 8192 pixels.

    >>> checked_size(64)
    (64, 64)
    """
    width, height = (size, size) if isinstance(size, int) else size
    if min(width, height) < 64 or max(width, height) > 8192:
        raise ValueError(f"size must be 64 to 8192 pixels; got {width} x {height}.")
    return int(width), int(height)


def chosen_poses(frames: int, fps: float, poses: int | None) -> np.ndarray:
    """Frame numbers at even times for a picture of a whole motion.

    Args:
        frames: length of the motion.
        fps: frames per second.
        poses: how many; by default 4 to 12, about two for each second.

    Raises:
        ValueError: ``poses`` below 1.

    >>> chosen_poses(9, 20, None).tolist()
    [0, 3, 5, 8]
    """
    if poses is None:
        poses = 4 * int(np.clip(np.ceil(frames / fps / 2), 1, 3))
    if poses < 1:
        raise ValueError(f"poses must be at least 1; got {poses}.")
    return np.unique(np.round(np.linspace(0, frames - 1, min(poses, frames))).astype(int))


def film(
    make: StageMaker, frames: int, size: tuple[int, int], caption: str | None, progress: bool
) -> Iterator[np.ndarray]:
    """Every frame, with a line of words and a thin bar of the time gone at the bottom.

    Args:
        make: makes the stage.
        frames: how many it has.
        size: width and height, pixels.
        caption: a line under the figure, wrapped where it is long.
        progress: whether the bar is drawn.

    Returns:
        An iterator of ``(height, width, 3)`` uint8.
    """
    width, height = size
    strip = caption_strip(caption, width, height) if caption else None
    stage = make(size, strip.height if strip else 0)

    def pictures() -> Iterator[np.ndarray]:
        bar = max(2, round(height / 170))
        for frame, picture in stage.frames(np.arange(frames)):
            if strip is not None:
                picture.paste(strip, (0, height - strip.height), strip)
            if progress and frames > 1:
                done = round(width * frame / (frames - 1))
                picture.paste(_PROGRESS, (0, height - bar, done, height))
            yield np.asarray(picture)

    return pictures()


def sheet(
    make: StageMaker, frames: int, fps: float, size: int, caption: str | None, poses: int | None
) -> Image.Image:
    """One picture of a whole motion: poses at even times, each with its second.

    Args:
        make: makes the stage.
        frames: how many it has.
        fps: frames per second.
        size: side of one pose's picture times two, pixels.
        caption: text under the poses.
        poses: see ``chosen_poses``.

    Returns:
        An RGB picture, at most four poses wide.

    Raises:
        ValueError: ``poses`` below 1.
    """
    side = size // 2
    chosen = chosen_poses(frames, fps, poses)
    columns = min(4, len(chosen))
    rows = -(-len(chosen) // columns)
    stage = make((side, side), round(0.04 * side))
    strip = caption_strip(caption, columns * side, 2 * side) if caption else None
    gap = max(1, side // 128)
    whole = Image.new("RGB", (columns * side, rows * side + (strip.height if strip else 0)), (255, 255, 255))
    for at, (frame, picture) in enumerate(stage.frames(chosen)):
        label = caption_strip(f"{frame / fps:.1f} s", side, side, small=True)
        picture.paste(label, (0, side - label.height), label)
        cell = picture.crop((0, 0, side - gap, side - gap))
        whole.paste(cell, ((at % columns) * side, (at // columns) * side))
    if strip is not None:
        whole.paste(strip, (0, rows * side), strip)
    return whole
