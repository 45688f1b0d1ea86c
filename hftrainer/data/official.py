"""A HumanML3D folder as MotionGPT's released code reads it: which entries there are, and what an item looks like.

The reading rules decide what is trained and measured, so comparisons with published numbers need them to the letter;
for anything else ``hftrainer.data.humanml3d`` is the careful road. The rules that surprise:

* A clip must have at least 40 frames and fewer than 200. Captions with times make an entry of their own under the same
  rule, named ``<letter>_<id>`` with a letter drawn at random; a clip whose captions all have times is no entry itself.
* An unreadable file or line drops the clip, without a word; sub-clips read before it stay.
* A length is rounded down to a multiple of 4, and by 4 more in one of three cases, also where metrics are computed.
* A metric's references are the first three captions as lemmas (two: the first comes again; one: three times).
* Token rows are cut for captions with times, bad lines are skipped one by one, and one token is dropped at the head or
  the tail in one of three items.

Source: the data sets of the released code of Jiang et al., "MotionGPT: Human Motion as a Foreign Language", NeurIPS
2023. It draws from Python's and NumPy's global streams; here both are arguments, so that equal seeds give equal items.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hftrainer.data.humanml3d import Caption

#: Letters that name sub-clips.
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVW"
#: What a caption's word vectors come from: ``"walk/VERB"`` -> its vector and its class, one-hot.
WordVectors = Callable[[str], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Limits:
    """The numbers behind the rules; the defaults are those for HumanML3D.

    Attributes:
        fps: frames a second, for captions with times.
        shortest, too_long: frames of the shortest entry, and of the shortest that is too long.
        unit: lengths are rounded down to a multiple of it; frames of one token.
        window: frames of a motion tokenizer's training window.
        words: words of a caption that are kept for the evaluator; it reads two more, for start and end.
    """

    fps: float = 20.0
    shortest: int = 40
    too_long: int = 200
    unit: int = 4
    window: int = 64
    words: int = 20

    def keeps(self, frames: int) -> bool:
        """Whether a clip of so many frames is an entry.

        >>> [Limits().keeps(n) for n in (39, 40, 199, 200)]
        [False, True, True, False]
        """
        return self.shortest <= frames < self.too_long


LIMITS = Limits()


@dataclass(frozen=True, eq=False)
class Entry:
    """One motion of a data set.

    Attributes:
        name: the clip's, or a sub-clip's.
        features: ``(T, D)`` as they lie on disk, not normalised.
        captions: what is said of it.
    """

    name: str
    features: np.ndarray
    captions: tuple[Caption, ...] = ()

    @property
    def frames(self) -> int:
        return len(self.features)


@dataclass(frozen=True, eq=False)
class CodeEntry:
    """One motion as tokens.

    Attributes:
        name: the clip's, or ``<id>_<start>_<end>`` for a sub-clip.
        rows: one or more tokenisations of it, ``(L,)`` each.
        captions: what is said of it.
    """

    name: str
    rows: tuple[np.ndarray, ...]
    captions: tuple[Caption, ...]


@dataclass(frozen=True, eq=False)
class Item:
    """What a data set hands out; fields that a kind of data set does not have are ``None``.

    Attributes:
        motion: ``(T, D)`` normalised features, or ``(L,)`` codes.
        length: what the reference calls its length: frames, frames of the whole clip for windows, or tokens.
        name: of the entry.
        caption: one of its captions.
        references: captions as lemmas.
        tokens: words with their classes, padded: ``("sos/OTHER", "walk/VERB", ..., "unk/OTHER")``.
        sentence: how many of ``tokens`` are no padding.
        vectors, classes: ``(words + 2, W)`` and ``(words + 2, C)`` of the tokens.
        task: what is asked about it.
    """

    motion: np.ndarray
    length: int
    name: str
    caption: str | None = None
    references: tuple[str, ...] | None = None
    tokens: tuple[str, ...] | None = None
    sentence: int | None = None
    vectors: np.ndarray | None = None
    classes: np.ndarray | None = None
    task: Any = None


def _ids(folder: Path, split: str) -> list[str]:
    path = folder / f"{split}.txt"
    if not path.is_file():
        raise FileNotFoundError(f"{folder} must have a list {path.name}; it is absent.")
    return path.read_text(encoding="utf-8").split()


def _caption(line: str) -> Caption:
    """A line ``caption#words#start#end``.

    Raises:
        ValueError: it lacks a field, or its times are no numbers.
    """
    fields = line.strip().split("#")
    if len(fields) < 4:
        raise ValueError(f"a caption must be text#words#start#end; got {line[:80]!r}.")
    start, end = (0.0 if math.isnan(time) else time for time in map(float, fields[2:4]))
    return Caption(fields[0], tuple(fields[1].split(" ")), start, end)


def _lines(folder: Path, clip: str) -> list[str]:
    return (folder / "texts" / f"{clip}.txt").read_text(encoding="utf-8").splitlines()


def _features(folder: Path, clip: str) -> np.ndarray:
    return np.load(folder / "new_joint_vecs" / f"{clip}.npy")


def _lemmas(caption: Caption) -> str:
    return " ".join(word.split("/")[0] for word in caption.words)


def text_entries(folder: str | Path, split: str, rng: random.Random, limits: Limits = LIMITS) -> list[Entry]:
    """Motions with captions, shortest first: what text-to-motion is measured on.

    Args:
        folder: in HumanML3D's layout.
        split: name of a list.
        rng: draws the letters of sub-clips.
        limits: which lengths count.

    Raises:
        FileNotFoundError: the list is absent. Absent and damaged files of a clip drop the clip.
    """
    folder = Path(folder)
    found: dict[str, Entry] = {}
    for clip in _ids(folder, split):
        try:
            features = _features(folder, clip)
            if not limits.keeps(len(features)):
                continue
            whole = []
            for caption in map(_caption, _lines(folder, clip)):
                if caption.whole:
                    whole.append(caption)
                    continue
                part = features[int(caption.start * limits.fps) : int(caption.end * limits.fps)]
                if limits.keeps(len(part)):
                    name = f"{rng.choice(LETTERS)}_{clip}"
                    while name in found:
                        name = f"{rng.choice(LETTERS)}_{clip}"
                    found[name] = Entry(name, part, (caption,))
        except (OSError, ValueError):
            continue  # the reference drops the clip without a word; so must its reading here
        if whole:
            found[clip] = Entry(clip, features, tuple(whole))
    return sorted(found.values(), key=lambda entry: entry.frames)


def window_entries(entries: Sequence[Entry], limits: Limits = LIMITS) -> list[Entry]:
    """Those of ``text_entries`` that a motion tokenizer's window fits into, in their order."""
    return [entry for entry in entries if entry.frames >= limits.window]


def motion_entries(folder: str | Path, split: str, limits: Limits = LIMITS) -> list[Entry]:
    """Whole clips in list order, without captions: what is turned into tokens.

    Raises:
        FileNotFoundError: the list is absent. Absent files of a clip drop the clip.
    """
    folder = Path(folder)
    present = (clip for clip in _ids(folder, split) if (folder / "new_joint_vecs" / f"{clip}.npy").is_file())
    entries = (Entry(clip, _features(folder, clip)) for clip in present)
    return [entry for entry in entries if limits.keeps(entry.frames)]


def code_entries(
    folder: str | Path, split: str = "train", tokens: str = "TOKENS", limits: Limits = LIMITS
) -> list[CodeEntry]:
    """Motions as tokens with captions, in list order: what the language model is trained on. No length is refused.

    Args:
        folder: in HumanML3D's layout, with token rows ``<tokens>/<id>.npy`` of shape ``(rows, L)``.
        split: name of a list; the reference takes ``train`` whatever it is asked for.
        tokens: name of the folder of token rows.
        limits: frame rate and frames of a token.

    Raises:
        FileNotFoundError: the list is absent. Clips without tokens or texts, and bad lines, are left out.
    """
    folder = Path(folder)
    found: dict[str, CodeEntry] = {}
    for clip in _ids(folder, split):
        try:
            rows, lines = np.load(folder / tokens / f"{clip}.npy"), _lines(folder, clip)
        except OSError:
            continue  # as the reference does
        whole = []
        for caption in _readable(lines):
            if caption.whole:
                whole.append(caption)
                continue
            first, last = (int(time * limits.fps / limits.unit) for time in (caption.start, caption.end))
            if first < last:
                name = f"{clip}_{caption.start:f}_{caption.end:f}"
                found[name] = CodeEntry(name, tuple(row[first:last] for row in rows), (caption,))
        if whole:
            found[clip] = CodeEntry(clip, tuple(rows), tuple(whole))
    return list(found.values())


def _readable(lines: Sequence[str]) -> Iterator[Caption]:
    for line in lines:
        try:
            caption = _caption(line)
        except ValueError:
            continue  # as the reference does
        yield caption


def _crop(entry: Entry, length: int, mean: np.ndarray, std: np.ndarray, rng: random.Random) -> np.ndarray:
    """``length`` normalised frames of an entry from a start drawn at random."""
    start = rng.randint(0, entry.frames - length)
    return (entry.features[start : start + length] - mean) / std


def text_item(
    entry: Entry,
    mean: np.ndarray,
    std: np.ndarray,
    rng: random.Random,
    numpy_rng: np.random.RandomState,
    vectors: WordVectors | None = None,
    limits: Limits = LIMITS,
    frames: int | None = None,
) -> Item:
    """A motion, one of its captions, and what metrics need of both.

    Args:
        entry: of ``text_entries``.
        mean, std: ``(D,)`` of the features.
        rng: draws the caption, then the start.
        numpy_rng: draws how the length is rounded.
        vectors: word vectors of the evaluator, where the item is to carry them.
        limits: rounding unit and number of words.
        frames: cut out exactly so many, as MDM's continuing network trains; ``length`` is then what it would have been.
    """
    caption = rng.choice(entry.captions)
    words = caption.words[: limits.words]
    tokens = ("sos/OTHER", *words, "eos/OTHER") + ("unk/OTHER",) * (limits.words - len(words))
    units = entry.frames // limits.unit - int(numpy_rng.choice([0, 0, 1]))
    item = Item(
        _crop(entry, units * limits.unit if frames is None else frames, mean, std, rng),
        units * limits.unit,
        entry.name,
        caption.text,
        three_references([_lemmas(c) for c in entry.captions]),
        tokens,
        len(words) + 2,
    )
    if vectors is None:
        return item
    rows, classes = zip(*map(vectors, tokens), strict=True)
    return replace(item, vectors=np.stack(rows), classes=np.stack(classes))


def three_references(captions: Sequence[str]) -> tuple[str, str, str]:
    """Exactly three captions: the first three, or the few there are, again from the first.

    Raises:
        ValueError: there is none.

    >>> three_references(["a", "b"]), three_references(["a"])
    (('a', 'b', 'a'), ('a', 'a', 'a'))
    """
    if not captions:
        raise ValueError("references must be one or more captions; got none.")
    first, second, third = (captions[i] if i < len(captions) else captions[0] for i in range(3))
    return first, second, third


def window_item(
    entry: Entry, mean: np.ndarray, std: np.ndarray, rng: random.Random, limits: Limits = LIMITS
) -> Item:
    """A training window of the motion tokenizer; its length is the whole clip's."""
    return Item(_crop(entry, limits.window, mean, std, rng), entry.frames, entry.name)


def motion_item(
    entry: Entry, mean: np.ndarray, std: np.ndarray, rng: random.Random, limits: Limits = LIMITS
) -> Item:
    """A clip as it is turned into tokens: rounded down to whole tokens, from a start drawn at random."""
    length = entry.frames // limits.unit * limits.unit
    return Item(_crop(entry, length, mean, std, rng), length, entry.name)


def code_item(
    entries: Sequence[CodeEntry],
    index: int,
    rng: random.Random,
    numpy_rng: np.random.RandomState,
    tasks: Sequence[Any] = (),
) -> Item:
    """One of ``len(entries) * len(tasks)`` training examples of the language model: all entries, task after task.

    Args:
        entries: of ``code_entries``.
        index: of the example.
        rng: draws the tokenisation, then the caption.
        numpy_rng: draws whether a token is dropped (one in three), then at which end.
        tasks: what is asked; none leaves the item without.

    Raises:
        IndexError: there is no such example.
    """
    if not 0 <= index < len(entries) * max(len(tasks), 1):
        raise IndexError(f"index must be below {len(entries) * max(len(tasks), 1)}; got {index}.")
    entry = entries[index % len(entries)]
    codes, caption = rng.choice(entry.rows), rng.choice(entry.captions)
    if numpy_rng.choice([False, False, True]):
        codes = codes[:-1] if numpy_rng.choice([True, False]) else codes[1:]
    task = tasks[index // len(entries)] if tasks else None
    references = tuple(_lemmas(c) for c in entry.captions)
    return Item(codes, len(codes), entry.name, caption.text, references, task=task)


def collate(items: Sequence[Item | None]) -> dict[str, Any]:
    """Items as the reference's batch, under its names: only those that its kind of data set has.

    Absent items are left out. Where sentences are counted, the longest comes first (ties stay in order), as its
    evaluator needs it. ``motion`` is padded with zeros to the longest, float32 also for codes.

    Raises:
        ValueError: no item is left.

    >>> batch = collate([Item(np.array([7, 8]), 2, "a", "x"), None, Item(np.array([9]), 1, "b", "y")])
    >>> batch["motion"].tolist(), batch["length"], batch["text"]
    ([[7.0, 8.0], [9.0, 0.0]], [2, 1], ['x', 'y'])
    """
    rows = [item for item in items if item is not None]
    if not rows:
        raise ValueError("a batch must have one or more items; got none.")
    if all(item.sentence is not None for item in rows):
        rows.sort(key=lambda item: item.sentence or 0, reverse=True)
    longest = max(len(item.motion) for item in rows)
    motion = np.zeros((len(rows), longest, *rows[0].motion.shape[1:]), np.float32)
    for row, item in zip(motion, rows, strict=True):
        row[: len(item.motion)] = item.motion
    batch: dict[str, Any] = {"motion": motion, "length": [item.length for item in rows]}
    first = rows[0]
    if first.caption is not None:
        batch["text"] = [item.caption for item in rows]
    if first.references is not None:
        batch["all_captions"] = [list(item.references or ()) for item in rows]
    if first.vectors is not None:
        batch["word_embs"] = np.stack([item.vectors for item in rows if item.vectors is not None]).astype(np.float32)
        batch["pos_ohot"] = np.stack([item.classes for item in rows if item.classes is not None]).astype(np.float32)
    if first.sentence is not None:
        batch["text_len"] = np.array([item.sentence for item in rows], dtype=np.int64)
    if first.tokens is not None:
        batch["tokens"] = ["_".join(item.tokens or ()) for item in rows]
    if first.task is not None:
        batch["tasks"] = [item.task for item in rows]
    return batch
