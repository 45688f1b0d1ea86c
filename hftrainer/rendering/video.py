"""A motion as a picture file: mp4, gif, webp, one png sheet, an html player, or a folder of frames."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import zip_longest
from pathlib import Path
from types import ModuleType

import numpy as np
from PIL import Image

from hftrainer.motion.clip import Motion
from hftrainer.motion.files.atomic import written_whole
from hftrainer.motion.smpl import SmplBody
from hftrainer.rendering.look import Look
from hftrainer.rendering.player import write_player

#: What ``render`` can write, with what it is.
FORMATS = {
    ".mp4": "video, H.264",
    ".gif": "looping picture",
    ".webp": "looping picture, smaller than gif",
    ".png": "one sheet of the whole motion",
    ".html": "player for a browser, one offline file",
    "": "folder of numbered frames",
}
_GIF_MOST_FPS = 25.0


def render(
    motion: Motion | Sequence[Motion],
    path: str | os.PathLike[str],
    *,
    size: int = 512,
    caption: str | Sequence[str | None] | None = None,
    fps: float | None = None,
    style: str = "skeleton",
    poses: int | None = None,
    sequence: bool | None = None,
    together: bool = False,
    draft: bool = False,
    smpl: SmplBody | None = None,
    gl: bool | None = None,
    blender: str | None = None,
) -> Path:
    """Draw a motion into a file; the ending chooses what: mp4, gif, webp, png, html, or none for a folder.

    Args:
        motion: any motion that converts to joints; several stand side by side (at most six in .html), the shorter
            ones hold their last pose.
        path: the file to write; missing folders are made, an older file is replaced once the new one is whole.
        size: height of the picture and width of one figure's part, pixels; even for video. A player has none.
        caption: a line under the figure; a list gives each of several motions its own.
        fps: frames per second of the picture; by default the motion's own (at most 25 for gif). A player shows
            every frame.
        style, poses, sequence, together, draft, smpl, gl, blender: see ``hftrainer.rendering.look.Look``. A player has
            its own.

    Returns:
        The path written.

    Raises:
        ValueError: an unknown ending or style, a size or fps out of range, or not one caption for each motion.
        NoRouteError: the motion cannot become joints.
        FileNotFoundError: html in a checkout where the player was not built.
        ModuleNotFoundError: mp4 without PyAV, or OpenGL asked for without moderngl; the message says what to install.
        OSError: the place cannot be written; no OpenGL or no Blender where it was asked for, or Blender failed.

    >>> import tempfile
    >>> pose = np.random.default_rng(0).normal(size=(22, 3))
    >>> motion = Motion(np.stack([pose, pose + 0.1]), "joints", fps=20)
    >>> render(motion, Path(tempfile.mkdtemp()) / "sheet.png", size=128).name
    'sheet.png'
    """
    path = Path(path)
    look = Look(style, poses, sequence, together, draft, smpl, gl, blender)
    kind = path.suffix.lower()
    if kind not in FORMATS:
        known = ", ".join(f"{ending or 'none'} ({what})" for ending, what in FORMATS.items())
        raise ValueError(f"a picture's ending must be one of {known}; got {path.suffix!r}. Rename {path.name}.")
    motions = [motion] if isinstance(motion, Motion) else list(motion)
    if not motions:
        raise ValueError("there must be at least 1 motion to draw; got 0.")
    captions = [caption] * len(motions) if caption is None or isinstance(caption, str) else list(caption)
    if len(captions) != len(motions):
        raise ValueError(f"there must be one caption for each motion; got {len(captions)} for {len(motions)}.")
    if not isinstance(size, int) or not 64 <= size <= 4096 or (kind == ".mp4" and size % 2):
        even = ", even for mp4" if kind == ".mp4" else ""
        raise ValueError(f"size must be a whole number of pixels from 64 to 4096{even}; got {size}.")
    rate = float(motions[0].fps if fps is None else fps)
    if kind == ".gif" and fps is None:
        rate = min(rate, _GIF_MOST_FPS)
    if not 0 < rate <= (50 if kind == ".gif" else 240):
        raise ValueError(f"fps must be above 0 and at most {50 if kind == '.gif' else 240} for {kind}; got {rate:g}.")
    if kind == ".html":
        return write_player(motions, path, captions=captions)
    if kind == ".mp4":
        _av()
    if kind == ".png":
        sheets = look.sheets(motions, size, captions)
        with written_whole(path) as beside:
            _stacked(sheets).save(beside, format="PNG", optimize=True)
        return path
    panels = look.films(motions, rate, size, captions)
    if kind == ".mp4":
        with written_whole(path) as beside:
            _write_mp4(_beside(panels), beside, rate)
    elif kind == "":
        with written_whole(path, folder=True) as beside:
            for at, frame in enumerate(_beside(panels)):
                Image.fromarray(frame).save(beside / f"{at:05d}.png", compress_level=4)
    else:
        with written_whole(path) as beside:
            (_write_gif if kind == ".gif" else _write_webp)(_beside(panels), beside, rate)
    return path


def _beside(panels: list[Iterator[np.ndarray]]) -> Iterator[np.ndarray]:
    """Frames of several figures as one; who has ended stands still."""
    last: list[np.ndarray] = []
    for frames in zip_longest(*panels):
        last = [old if new is None else new for new, old in zip_longest(frames, last)]
        yield last[0] if len(last) == 1 else np.concatenate(last, axis=1)


def _stacked(sheets: list[Image.Image]) -> Image.Image:
    width, height = max(sheet.width for sheet in sheets), sum(sheet.height for sheet in sheets)
    whole = Image.new("RGB", (width, height), (255, 255, 255))
    top = 0
    for sheet in sheets:
        whole.paste(sheet, (0, top))
        top += sheet.height
    return whole


def _av() -> ModuleType:
    try:
        import av
    except ModuleNotFoundError as exc:
        raise ModuleNotFoundError(
            'mp4 needs the package PyAV; it is not installed. Run: pip install "hftrainer[video]", or write .gif.'
        ) from exc
    return av


def _write_mp4(frames: Iterator[np.ndarray], path: Path, fps: float) -> None:
    av = _av()
    rate = Fraction(fps).limit_denominator(1001)
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as file:
        stream = None
        for frame in frames:
            if stream is None:
                stream = file.add_stream("libx264", rate=rate, options={"crf": "18", "preset": "veryfast"})
                stream.height, stream.width = frame.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.thread_type = "AUTO"
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        if stream is not None:
            file.mux(stream.encode(None))


def _durations(frames: int, fps: float, unit: int) -> list[int]:
    """Milliseconds of each frame in whole units, without the sum drifting."""
    ends = np.round(np.arange(1, frames + 1) * 1000 / fps / unit).astype(int) * unit
    return np.diff(ends, prepend=0).tolist()


def _write_gif(frames: Iterator[np.ndarray], path: Path, fps: float) -> None:
    """All frames on one palette, made from a sample of them, so that colours do not flicker."""
    pictures = [Image.fromarray(frame) for frame in frames]
    chosen = np.unique(np.linspace(0, len(pictures) - 1, 9).round().astype(int))
    mosaic = np.concatenate([np.asarray(pictures[at]) for at in chosen], axis=0)
    palette = Image.fromarray(mosaic).quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    small = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    small[0].save(
        path, format="GIF", save_all=True, append_images=small[1:], duration=_durations(len(small), fps, 10), loop=0,
        optimize=False,
    )  # fmt: skip


def _write_webp(frames: Iterator[np.ndarray], path: Path, fps: float) -> None:
    pictures = [Image.fromarray(frame) for frame in frames]
    pictures[0].save(
        path, format="WEBP", save_all=True, append_images=pictures[1:], duration=_durations(len(pictures), fps, 1),
        loop=0, quality=82, method=2,
    )  # fmt: skip
