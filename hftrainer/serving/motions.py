"""Motions on their way in and out: files that people send, what is said of a motion, and the files that it becomes."""

from __future__ import annotations

import importlib.util
import math
import re
import tempfile
import threading
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from hftrainer.errors import NoRouteError
from hftrainer.evaluation.physics import labelled
from hftrainer.motion.clip import Motion
from hftrainer.motion.files import READ, WRITE, load, save
from hftrainer.motion.files.fbx import find_blender
from hftrainer.motion.files.rig import positions
from hftrainer.serving.limits import FRAMES_IN, SECONDS_IN
from hftrainer.serving.refusals import Refusal, sentence
from hftrainer.serving.store import Stored

#: Endings that are taken in: one file that our own readers read, without another program.
UPLOADS = tuple(ending for ending in READ if ending not in (".amc", ".fbx"))
#: Endings of pictures, as ``hftrainer render`` has them.
PICTURES = (".mp4", ".gif", ".webp", ".png", ".html")
MEDIA = {
    ".npz": "application/octet-stream", ".npy": "application/octet-stream", ".bvh": "text/plain; charset=utf-8",
    ".glb": "model/gltf-binary", ".usda": "text/plain; charset=utf-8", ".csv": "text/csv; charset=utf-8",
    ".fbx": "application/octet-stream", ".mp4": "video/mp4", ".gif": "image/gif", ".webp": "image/webp",
    ".png": "image/png", ".html": "text/html; charset=utf-8",
}  # fmt: skip
#: Bytes that an .npz may unpack to, metres that a body may go, frames per second that a file may have.
_UNPACKED, _FAR, _RATES = 256 * 2**20, 10_000.0, (1.0, 1000.0)
_NOTES = 100_000  # letters of what a file says about itself


def data_formats() -> list[str]:
    """Endings of motion files that this server writes; .fbx where there is a Blender.

    >>> data_formats()[:3]
    ['.npz', '.npy', '.bvh']
    """
    try:
        find_blender(None)
    except FileNotFoundError:
        return [ending for ending in WRITE if ending != ".fbx"]
    return list(WRITE)


def picture_formats() -> list[str]:
    """Endings of pictures that this server draws; .mp4 where there is PyAV, .html where the player was built."""
    from hftrainer.rendering.player import program

    absent = set() if importlib.util.find_spec("av") else {".mp4"}
    try:
        program()
    except FileNotFoundError:
        absent.add(".html")
    return [ending for ending in PICTURES if ending not in absent]


def motion_of_upload(name: str, content: bytes, representation: str | None, fps: float | None) -> Motion:
    """The motion in a file that somebody sent.

    Args:
        name: of the file; its ending says the format.
        content: of the file.
        representation, fps: what its numbers are, where it does not say so itself.

    Raises:
        Refusal: 422; no motion file, or one that is too long, too fast or too far away.
    """
    ending = Path(name).suffix.lower()
    if ending not in UPLOADS:
        raise Refusal(422, f"file must end in one of {', '.join(UPLOADS)}; got {ascii(name[-60:])}. Convert it first.")
    try:
        with tempfile.TemporaryDirectory(prefix="hftrainer-upload-") as folder:
            file = Path(folder) / f"{stem(Path(name).stem)}{ending}"
            file.write_bytes(content)
            if ending == ".npz":
                _check_unpacked(file)
            with np.errstate(all="ignore"):
                return _checked(load(file, representation=representation, fps=fps), file.stem)
    except (ValueError, TypeError, KeyError, RuntimeError, OSError, MemoryError, IndexError, OverflowError) as error:
        raise Refusal(422, sentence(error)) from error


def _check_unpacked(file: Path) -> None:
    try:
        with zipfile.ZipFile(file) as archive:
            size = sum(info.file_size for info in archive.infolist())
    except zipfile.BadZipFile as error:
        raise ValueError(f"{file.name}: the file must be a whole npz archive; {error}.") from error
    if size > _UNPACKED:
        raise ValueError(f"{file.name} must unpack to at most {_UNPACKED >> 20} MB; got {size >> 20}. Send less.")


def _checked(motion: Motion, name: str) -> Motion:
    """A motion that may stay.

    Raises:
        ValueError, NoRouteError: it may not.
    """
    low, high = _RATES
    if not low <= motion.fps <= high:
        raise ValueError(f"{name}: fps must be {low:g} to {high:g}; got {motion.fps:g}. Say which with fps.")
    if len(motion) > FRAMES_IN or motion.seconds > SECONDS_IN:
        raise ValueError(
            f"{name} must have at most {SECONDS_IN:g} s and {FRAMES_IN} frames; got {motion.seconds:.1f} s and "
            f"{len(motion)}. Cut it."
        )
    joints = positions(motion)
    if not np.isfinite(joints).all() or float(np.abs(joints).max()) > _FAR:
        raise ValueError(f"{name}: joints must be within {_FAR:g} m of the origin; some are not. Check the unit.")
    about = clean(dict(motion.about))
    return motion.replace(name=name, about=about if len(repr(about)) <= _NOTES else {})


def clean(value: Any) -> Any:
    """A value as JSON that every program reads: numbers that are none are ``None``, halves of letters are '?'.

    >>> clean({"a": [float("nan"), 1], "b": "x\\ud800"})
    {'a': [None, 1], 'b': 'x?'}
    """
    if isinstance(value, dict):
        return {clean(str(key)): clean(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [clean(each) for each in value]
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.integer):
        return int(value)
    return value


def stem(text: str) -> str:
    """A name for a file, of letters that every system takes.

    >>> stem("A person walks, then jumps!"), stem("../..")
    ('a-person-walks-then-jumps', 'motion')
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:48].strip("-") or "motion"


def caption_of(motion: Motion) -> str | None:
    """The sentence of a motion, where it has one."""
    said = motion.about.get("prompt") or motion.about.get("caption")
    return said if isinstance(said, str) else None


def description(stored: Stored) -> dict[str, Any]:
    """What the API says of a motion."""
    motion = stored.motion
    here, name = f"/api/motions/{stored.id}", stem(caption_of(motion) or motion.name)
    return {
        "id": stored.id, "frames": len(motion), "seconds": round(motion.seconds, 6), "fps": motion.fps,
        "representation": motion.representation.name, "caption": caption_of(motion), "about": clean(dict(motion.about)),
        "measures": labelled(motion),
        "files": {ending: f"{here}/file/{name}{ending}" for ending in [*data_formats(), *picture_formats()]},
        "player": f"{here}/player",
    }  # fmt: skip


class Files:
    """Files that motions become; what was drawn is kept for a while.

    Args:
        room: bytes that are kept.
    """

    def __init__(self, room: int = 64 * 2**20) -> None:
        self.room = room
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], bytes] = OrderedDict()

    def content(self, stored: Stored, ending: str) -> bytes:
        """The bytes of a file.

        Raises:
            Refusal: 404 for an ending that this server does not write, 422 for a motion that it cannot hold.
        """
        if ending not in (data := data_formats()) and ending not in (pictures := picture_formats()):
            raise Refusal(404, f"a file must end in one of {', '.join([*data, *pictures])}; got {ascii(ending[:20])}.")
        key = (stored.id, ending)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = file_bytes(stored.motion, ending)
        with self._lock:
            self._kept[key] = made
            while sum(map(len, self._kept.values())) > self.room and len(self._kept) > 1:
                self._kept.popitem(last=False)
        return made


def file_bytes(motion: Motion, ending: str, **drawing: Any) -> bytes:
    """One file of a motion.

    Args:
        motion: itself.
        ending: of ``data_formats`` or ``picture_formats``.
        drawing: options of ``hftrainer.rendering.video.render``.

    Raises:
        Refusal: the format cannot hold this motion.
    """
    from hftrainer.rendering.video import render

    try:
        with tempfile.TemporaryDirectory(prefix="hftrainer-file-") as folder:
            file = Path(folder) / f"{stem(caption_of(motion) or motion.name)}{ending}"
            if ending in WRITE:
                save(motion, file)
            else:
                render(motion, file, **{"caption": caption_of(motion), **drawing})
            return file.read_bytes()
    except (ValueError, RuntimeError, OSError, NoRouteError) as error:
        raise Refusal(422, f"this motion cannot become {ending}: {sentence(error)}") from error
