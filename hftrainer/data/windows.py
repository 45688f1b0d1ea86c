"""How a recorded clip is cut into windows, and which words are said of each.

A window is a whole clip of up to 9.8 s, an equal part of a longer one, or the span that a caption describes. Words come
from the source (sentences with spans, labels of whole clips), from this project (``captions/*.jsonl``) and from
measuring the window.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hftrainer.data.describe import sentences_of
from hftrainer.data.humanml3d import FPS
from hftrainer.data.mocap import Listing, Span
from hftrainer.data.words import mirrored
from hftrainer.motion.measure import Measures

#: Rows of a window: 2 to 9.8 seconds. A clip of fewer rows, down to ``SHORT_ROWS``, goes whole into ``short.txt``.
MIN_ROWS, MAX_ROWS, SHORT_ROWS = 40, 196, 16

#: A caption may lose this many seconds when its span is a little longer than a window.
_TRIM = 0.35
#: A span is the same as a window when both ends differ by less than this many seconds.
_SAME = 0.25
#: Part of a window that must lie in a span for the span's sentences to be said of it.
_INSIDE = 0.7

#: Where the project's own sentences are.
CAPTIONS = Path(__file__).parent / "captions"
#: Origins whose words are labels of a whole clip, not sentences.
LABELS = ("cmu_index", "accad_clip_name")
_PROJECT = "project"


@dataclass(frozen=True)
class Window:
    """Part of a clip: rows ``start`` to ``end`` of its features (20 per second), and what is said of it.

    ``said`` holds (text, origin, mirror): mirror is ``None`` for words that hold on both sides once swapped, else
    whether they describe the mirrored movement alone.
    """

    id: str
    start: int
    end: int
    said: tuple[tuple[str, str, bool | None], ...] = ()


@dataclass(frozen=True)
class Wording:
    """The project's own sentences: by (source, label), and by clip and span."""

    labels: dict[tuple[str, str], tuple[tuple[str, ...], bool]]
    spans: dict[str, tuple[Span, ...]]
    files: dict[str, str]


def read_wording(folder: Path = CAPTIONS) -> Wording:
    """The project's sentences from every ``.jsonl`` in ``folder``.

    A line is ``{"source", "label", "sentences", "anywhere"}`` for every clip with that label, or
    ``{"clip", "start", "end", "sentences"}`` for a span in seconds.

    Raises:
        ValueError: a line is neither; the message names file and line.
    """
    labels: dict[tuple[str, str], tuple[tuple[str, ...], bool]] = {}
    spans: dict[str, list[Span]] = {}
    files = {}
    for path in sorted(folder.glob("*.jsonl")):
        data = path.read_bytes()
        files[path.name] = hashlib.sha256(data).hexdigest()
        for number, line in enumerate(data.decode("utf-8").splitlines(), 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                sentences = tuple(_plain(sentence) for sentence in row["sentences"])
                if "label" in row:
                    key = (row["source"], label_key(row["label"]))
                    before = labels.get(key, ((), False))
                    labels[key] = (before[0] + sentences, before[1] or bool(row.get("anywhere", False)))
                else:
                    span = Span(sentences, float(row["start"]), float(row["end"]), False, _PROJECT)
                    spans.setdefault(row["clip"], []).append(span)
            except (json.JSONDecodeError, KeyError, TypeError) as exc:
                raise ValueError(
                    f"{path.name}, line {number}: a caption must have sentences and either source and label or clip, "
                    f"start and end; {type(exc).__name__}: {exc}."
                ) from exc
    return Wording(labels, {clip: tuple(found) for clip, found in spans.items()}, files)


def _plain(text: str) -> str:
    """A caption on one line without ``#``, which separates fields."""
    return " ".join(text.replace("#", " ").split())


def label_key(text: str) -> str:
    """A label as it is looked up: on one line, in small letters."""
    return _plain(text).lower()


def tiles(start: int, end: int) -> list[tuple[int, int]]:
    """Equal parts of rows ``start`` to ``end``, none longer than ``MAX_ROWS``.

    >>> tiles(0, 400)
    [(0, 133), (133, 267), (267, 400)]
    """
    count = max(1, -(-(end - start) // MAX_ROWS))
    cuts = [start + round((end - start) * i / count) for i in range(count + 1)]
    return list(zip(cuts, cuts[1:], strict=False))


def _span_rows(span: Span, rows: int) -> tuple[int, int]:
    """Rows of a span; the project's own short spans (1 s or more) are widened to a whole window."""
    start, end = max(0, round(span.start * FPS)), int(min(rows, round(min(span.end, 1e6) * FPS)))
    if end - start > MAX_ROWS and end - start <= MAX_ROWS + _TRIM * FPS:
        end = start + MAX_ROWS
    if span.origin == _PROJECT and FPS <= end - start < MIN_ROWS <= rows:
        start = min(max(0, (start + end - MIN_ROWS) // 2), rows - MIN_ROWS)
        end = start + MIN_ROWS
    return start, end


def windows_of(listing: Listing, rows: int, wording: Wording) -> list[Window]:
    """How a clip is cut, and what sources and project say of each part.

    Args:
        listing: the clip, with its source's captions.
        rows: rows of its features.
        wording: the project's sentences.
    """
    cuts = tiles(0, rows) if rows >= MIN_ROWS else [(0, rows)]
    said: dict[tuple[int, int], list[tuple[str, str, bool | None]]] = {cut: [] for cut in cuts}
    single = len(cuts) == 1

    def say(cut: tuple[int, int], texts: Iterable[str], origin: str, mirror: bool | None) -> None:
        said[cut] += [(_plain(text), origin, mirror) for text in texts]

    spans = [span for span in listing.spans if span.origin not in LABELS] + list(wording.spans.get(listing.id, ()))
    for span in spans:
        mirror = span.mirror if span.origin != _PROJECT else None
        start, end = _span_rows(span, rows)
        near = [c for c in said if max(abs(c[0] - start), abs(c[1] - end)) <= _SAME * FPS]
        if near:
            say(near[0], span.texts, span.origin, mirror)
        elif MIN_ROWS <= end - start <= MAX_ROWS:
            said[start, end] = []
            say((start, end), span.texts, span.origin, mirror)
        elif span.origin == _PROJECT and end - start > MAX_ROWS:
            for cut in tiles(start, end):
                said.setdefault(cut, [])
    for span in wording.spans.get(listing.id, ()):  # also of every window that lies mostly inside
        start, end = round(span.start * FPS), round(span.end * FPS)
        for cut in said:
            inside = min(end, cut[1]) - max(start, cut[0])
            if inside >= _INSIDE * (cut[1] - cut[0]):
                say(cut, span.texts, span.origin, None)
    for span in listing.spans:
        if span.origin in LABELS:
            for text in span.texts:
                sentences, anywhere = wording.labels.get((listing.source, label_key(text)), ((), True))
                for cut in said:
                    if anywhere or (single and cut == cuts[0]):
                        say(cut, [text], span.origin, None)
                        say(cut, sentences, _PROJECT, None)
    found = []
    for cut in sorted(said):
        whole = single and cut == cuts[0]
        name = listing.id if whole else f"{listing.id}_{cut[0]:05d}_{cut[1]:05d}"
        found.append(Window(name, *cut, tuple(dict.fromkeys(said[cut]))))
    return found


def captions_of(window: Window, body: Measures | None, mirror: bool) -> list[tuple[str, str]]:
    """(text, origin) of a window or of its mirrored twin, each text once.

    Args:
        window: what sources and project say.
        body: the measured window, already mirrored for the twin; adds the sentences that follow from it.
        mirror: whether the twin is meant.
    """
    own_side = {origin for _, origin, side in window.said if side is True}  # origins that mirror by themselves
    found: dict[str, str] = {}
    for text, origin, side in window.said:
        if side is None or (side is False and origin not in own_side):
            found.setdefault(mirrored(text) if mirror else text, origin)
        elif side == mirror:
            found.setdefault(text, origin)
    if body is not None:
        for text in sentences_of(body):
            found.setdefault(_plain(text), "measured")
    return [(text, origin) for text, origin in found.items() if text]
