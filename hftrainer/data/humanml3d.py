"""A dataset folder in HumanML3D's layout, as clips with captions; KIT-ML's folders have the same layout."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hftrainer.errors import ArtifactError
from hftrainer.motion.clip import Motion
from hftrainer.motion.files.archive import read_array
from hftrainer.motion.files.told import shortened, told_of
from hftrainer.motion.representation.specs import Representation, get_spec

FPS = 20.0
#: What the numbers of a frame are, by how many there are: HumanML3D's and KIT-ML's features.
LAYOUTS = {263: "hml263", 251: "kit251"}
#: What is done about clips that cannot be read.
BAD_CLIPS = ("refuse", "skip")


@dataclass(frozen=True)
class Caption:
    """One sentence about a movement.

    Attributes:
        text: the sentence.
        words: its words with their parts of speech, ``"walks/VERB"``.
        start, end: seconds in the clip that it describes; both 0 mean the whole clip.
    """

    text: str
    words: tuple[str, ...]
    start: float
    end: float

    @property
    def whole(self) -> bool:
        """Whether the sentence describes the whole clip."""
        return self.start == 0 and self.end == 0


@dataclass(frozen=True, eq=False)
class Clip:
    """A movement with what was said of it.

    Attributes:
        id: the clip's name in the dataset; a mirrored twin begins with ``M``.
        motion: hml263 at 20 fps, or kit251 at 12.5.
        captions: sentences, in file order; may be empty.
    """

    id: str
    motion: Motion
    captions: tuple[Caption, ...]

    @property
    def frames(self) -> int:
        """How many there are."""
        return len(self.motion)

    @property
    def fps(self) -> float:
        """Frames per second."""
        return self.motion.fps

    @property
    def rows(self) -> Any:
        """``(T, D)`` features: an array, or what becomes one where it is cut (``hftrainer.data.packed.Rows``)."""
        return self.motion.data

    def parts(self) -> list[tuple[slice, tuple[str, ...]]]:
        """The stretches of the clip that are described, as frames, and what is said of each; each sentence once."""
        told: dict[tuple[float, float], list[str]] = {}
        for caption in self.captions:
            told.setdefault((0.0, 0.0) if caption.whole else (caption.start, caption.end), []).append(caption.text)
        fps = self.fps
        return [
            (slice(int(start * fps), int(end * fps) if end else None), tuple(dict.fromkeys(texts)))
            for (start, end), texts in told.items()
        ]


def parse_captions(text: str, name: str = "captions") -> tuple[Caption, ...]:
    """Read a ``texts/ID.txt``: lines of ``caption#tokens#start#end``; ``nan`` times mean the whole clip.

    Raises:
        ValueError: a line without its four fields, or with times that are not numbers.

    >>> parse_captions("a man walks#a/DET man/NOUN walks/VERB#0.0#0.0\\n")[0].words
    ('a/DET', 'man/NOUN', 'walks/VERB')
    """
    captions = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        fields = line.strip().split("#")
        try:
            words, start, end = fields[1], float(fields[2]), float(fields[3])
        except (IndexError, ValueError) as exc:
            raise ValueError(
                f"{name}, line {number}: a caption must be text#tokens#start#end; got {line.strip()[:80]!r}."
            ) from exc
        if math.isnan(start) or math.isnan(end):
            start = end = 0.0
        captions.append(Caption(fields[0].strip(), tuple(words.split()), start, end))
    return tuple(captions)


def _numbers(path: Path) -> np.ndarray:
    with told_of(path.name):
        array = read_array(path)
        if array.dtype.kind not in "fiu":
            raise ValueError(f"{path.name} must hold real numbers; got {str(array.dtype)[:80]}. Make it again.")
        return array.astype(np.float32, copy=False)


def _object(path: Path) -> dict[str, Any]:
    with told_of(path.name):
        value = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(value, dict):
            raise ArtifactError(f"{path.name} must be one JSON object; got {type(value).__name__}. Make it again.")
        return value


class HumanML3D:
    """A folder with ``new_joint_vecs``, ``texts``, split lists and ``Mean.npy``/``Std.npy``.

    Args:
        folder: the dataset.
        splits: which lists must be whole; ``short`` and others are optional and checked when asked for.

    Attributes:
        spec: the representation of its features, told by the width of the statistics: hml263, or kit251.
        mean, std: ``(D,)`` float32 statistics of the training frames.
        name: the statistics' name: from ``dataset.json``, else the folder's.
        hash: SHA-256 of mean and std.
        about: ``dataset.json``, or ``{}``.

    Raises:
        FileNotFoundError: there is no such folder.
        ArtifactError: files are absent (every one is listed) or the statistics have a wrong shape.
    """

    def __init__(self, folder: str | Path, splits: tuple[str, ...] = ("train", "val", "test")) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise FileNotFoundError(
                f"the dataset must be a folder; {self.folder} does not exist. Make it with hftrainer data build."
            )
        absent = [f for f in ("Mean.npy", "Std.npy", *(f"{s}.txt" for s in splits)) if not (self.folder / f).is_file()]
        self._ids: dict[str, tuple[str, ...]] = {}
        present = {
            room: {path.name for path in (self.folder / room).glob("*" + ending)}
            for room, ending in (("new_joint_vecs", ".npy"), ("texts", ".txt"))
        }
        for split in splits:
            if f"{split}.txt" not in absent:
                self._ids[split] = self._read_list(split)
                for clip in self._ids[split]:
                    absent += [f"new_joint_vecs/{clip}.npy"] * (f"{clip}.npy" not in present["new_joint_vecs"])
                    absent += [f"texts/{clip}.txt"] * (f"{clip}.txt" not in present["texts"])
        if absent:
            found = ", ".join(dict.fromkeys(absent))
            raise ArtifactError(f"{self.folder} must be a whole HumanML3D folder; absent: {found}. Build it again.")
        self._read_statistics()

    def _read_statistics(self) -> None:
        """``Mean.npy``, ``Std.npy`` and ``dataset.json``."""
        self.mean, self.std = (_numbers(self.folder / f"{name}.npy") for name in ("Mean", "Std"))
        layout = LAYOUTS.get(self.mean.size)
        if layout is None or self.mean.ndim != 1 or self.std.shape != self.mean.shape:
            raise ArtifactError(
                f"{self.folder}: Mean.npy and Std.npy must have shape (263,) or, for KIT, both (251,); "
                f"got {self.mean.shape} and {self.std.shape}."
            )
        self.spec: Representation = get_spec(layout)
        about = self.folder / "dataset.json"
        self.about: dict[str, Any] = _object(about) if about.is_file() else {}
        self.hash = hashlib.sha256(self.mean.tobytes() + self.std.tobytes()).hexdigest()
        named = self.about.get("statistics", {})
        self.name: str = str(named.get("name", self.folder.name) if isinstance(named, dict) else self.folder.name)

    def _read_list(self, split: str) -> tuple[str, ...]:
        path = self.folder / f"{split}.txt"
        if not path.is_file():
            lists = sorted(p.stem for p in self.folder.glob("*.txt"))
            raise KeyError(f"{self.folder} has no split {split!r}; it has {', '.join(lists)}.")
        with told_of(path.name):
            ids = tuple(path.read_text(encoding="utf-8").split())
        outside = [clip for clip in ids if "/" in clip or "\\" in clip or clip.startswith(".") or "\0" in clip]
        if outside:
            raise ArtifactError(f"{path.name}: a clip must be a name; got {shortened(ascii(outside[0]), 80)}. Mend it.")
        return ids

    def ids(self, split: str = "train") -> tuple[str, ...]:
        """Clip names of a split, in file order.

        Raises:
            KeyError: there is no such list; the message names those there are.
        """
        if split not in self._ids:
            self._ids[split] = self._read_list(split)
        return self._ids[split]

    def features(self, clip: str) -> np.ndarray:
        """``(T, D)`` float32 features of a clip, unchecked: ``clip`` is the careful road.

        Raises:
            KeyError: there is no such clip.
        """
        path = self.folder / "new_joint_vecs" / f"{clip}.npy"
        if not path.is_file():
            raise KeyError(f"{self.folder} has no clip {clip!r}.")
        return _numbers(path)

    def frames(self, clip: str) -> int:
        """How many frames a clip has.

        Raises:
            KeyError: there is no such clip.
        """
        return len(self.features(clip))

    def captions(self, clip: str) -> tuple[Caption, ...]:
        """What is said of a clip.

        Raises:
            ValueError: the text file is damaged.
        """
        path = self.folder / "texts" / f"{clip}.txt"
        with told_of(path.name):
            return parse_captions(path.read_text(encoding="utf-8"), path.name)

    def clip(self, clip: str) -> Clip:
        """A clip by its name.

        Raises:
            KeyError: there is no such clip.
            ValueError: its numbers are not finite or have another width, or its text file is damaged.
        """
        motion = Motion(self.features(clip), self.spec, fps=self.spec.fps, name=clip)
        return Clip(clip, motion, self.captions(clip))

    def clips(self, split: str = "train") -> Iterator[Clip]:
        """All clips of a split, in file order."""
        return (self.clip(name) for name in self.ids(split))

    def sound(self, names: Sequence[str], bad_clips: str = "refuse") -> tuple[list[Clip], dict[str, str]]:
        """The clips of ``names`` that can be read, and why the others cannot.

        Args:
            names: clips, for instance ``ids("train")``.
            bad_clips: ``"refuse"``, or ``"skip"`` to go on without those that hold a NaN, have another width or a
                damaged text file.

        Returns:
            Clips in the order of ``names``; name -> reason of each clip that was skipped.

        Raises:
            KeyError: there is no such clip.
            ArtifactError: bad clips are refused and there are some; every one is named.
            ValueError: another word for ``bad_clips``.
        """
        if bad_clips not in BAD_CLIPS:
            raise ValueError(f"bad_clips must be {' or '.join(BAD_CLIPS)}; got {bad_clips!r}.")
        clips, reasons = [], {}
        for name in names:
            try:
                clips.append(self.clip(name))
            except ValueError as exc:
                reasons[name] = str(exc).removeprefix(f"{name}: ")
        if reasons and bad_clips == "refuse":
            told = " ".join(f"{name}: {reason}" for name, reason in reasons.items())
            raise ArtifactError(
                f"every clip must be sound; got {len(reasons)} that are not: {', '.join(reasons)}. {told} "
                'Mend them, or leave them out with bad_clips = "skip".'
            )
        return clips, reasons
