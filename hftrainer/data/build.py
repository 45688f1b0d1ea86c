"""From real capture to a training folder in HumanML3D's layout.

One command makes it, and brings it up to date after captions or code changed (clips that did not change are kept)::

    python -c "from hftrainer.data.build import build; print(build('../shared/data/mocap', 'data/mocap'))"

What is in the folder::

    new_joints/ID.npy       (T, 22, 3) float32, metres, 20 fps: the joints that the features decode to
    new_joint_vecs/ID.npy   (T, 263) float32, hml263
    texts/ID.txt            caption#tokens#start#end, one line per caption; 0.0#0.0 means the whole window
    origins/CLIP.json       windows of one clip: times, source hash, and who wrote each caption
    train.txt val.txt test.txt all.txt     window ids; a mirrored twin is called M + id
    short.txt               clips under 2 seconds, whole; they stand in no other list
    Mean.npy Std.npy        (263,) statistics of the frames in train.txt, std averaged inside each block
    dataset.json            sources with hashes and terms, counts, options, statistics' name and hash

A window is a whole clip of up to 9.8 s, an equal part of a longer one, or the span that a caption describes.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hftrainer.data.describe import describe
from hftrainer.data.mocap import ACKNOWLEDGEMENTS, Listing, Pack, Source, Span, open_source
from hftrainer.data.retarget import retarget
from hftrainer.data.words import mirrored, tokens
from hftrainer.motion.representation.hml263 import (
    canonicalize,
    hml263_to_joints,
    joints_to_hml263,
    uniform_skeleton,
)
from hftrainer.motion.representation.specs import get_spec
from hftrainer.motion.skeleton import SMPL22

FPS = 20.0
FORMAT = 1

#: Rows of a window: 2 to 9.8 seconds. A clip of fewer rows, down to ``SHORT_ROWS``, goes whole into ``short.txt``.
MIN_ROWS, MAX_ROWS, SHORT_ROWS = 40, 196, 16

#: A caption may lose this many seconds when its span is a little longer than a window.
_TRIM = 0.35
#: A span is the same as a window when both ends differ by less than this many seconds.
_SAME = 0.25
#: Part of a window that must lie in a span for the span's sentences to be said of it.
_INSIDE = 0.7

#: Labels of clips in which something carries the body that is not in the data: feet may stay off the floor there.
_SUPPORT = re.compile(
    r"\b(climb|hang|swing|playground|ladder|stairs?|stool|chair|bench|uneven|obstacles?|rope|step(ping)? (up|over)|"
    r"platform|jump (off|down)|sit(ting)?)\b",
    re.IGNORECASE,
)

CAPTIONS = Path(__file__).parent / "captions"
_LABELS = ("cmu_index", "accad_clip_name")
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
                    key = (row["source"], _label(row["label"]))
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


def _label(text: str) -> str:
    return _plain(text).lower()


# ---------------------------------------------------------------------------------------------- windows


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

    spans = [span for span in listing.spans if span.origin not in _LABELS] + list(wording.spans.get(listing.id, ()))
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
        if span.origin in _LABELS:
            for text in span.texts:
                sentences, anywhere = wording.labels.get((listing.source, _label(text)), ((), True))
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


def mirror_joints(joints: np.ndarray) -> np.ndarray:
    """``(T, 22, 3)`` joints as a mirror shows them: x changes its sign, left and right change places."""
    return joints[:, list(SMPL22.mirror)] * np.array([-1.0, 1.0, 1.0])


def encode(joints: np.ndarray, name: str = "motion") -> np.ndarray:
    """hml263 features of a window, with the heading's steps put right.

    The published encoding writes the one yaw step that crosses "exactly backwards" with the wrong sign, and decoding
    then turns everything after it. Training data had better be what was recorded: where the decoded heading leaves the
    recorded one, ``root_yaw_velocity`` is replaced by half the recorded step. All other numbers are the encoding's.

    Args:
        joints: ``(T, 22, 3)`` metres, 20 fps.
        name: what error messages call the window.

    Returns:
        ``(T - 1, 263)`` float32.

    Raises:
        ValueError: fewer than 4 frames or a number that is not finite.
    """
    features = joints_to_hml263(joints, name=name)
    recorded = canonicalize(uniform_skeleton(joints, name=name), name=name)[:-1]
    ric = get_spec("hml263").channel("ric")
    local = features[:, ric.slice].reshape(len(features), -1, 3).astype(np.float64)[..., [0, 2]]  # (T-1, 21, x z)
    world = (recorded[:, 1:] - recorded[:, :1])[..., [0, 2]]
    # angle about +Y that turns local into world, by least squares over the joints
    sine = (local[..., 1] * world[..., 0] - local[..., 0] * world[..., 1]).sum(axis=1)
    angle = np.arctan2(sine, (local * world).sum(axis=(1, 2)))
    step = -(np.diff(angle) + np.pi) % (2 * np.pi) - np.pi  # decoding turns by minus twice the sum of yaw steps
    half = step / 2
    wrong = np.flatnonzero(np.abs(half - features[:-1, 0]) > 1e-3)
    features = features.copy()
    features[wrong, 0] = half[wrong]
    return features


def captions_of(window: Window, joints: np.ndarray, mirror: bool, measured: bool) -> list[tuple[str, str]]:
    """(text, origin) of a window or of its mirrored twin, each text once.

    Args:
        window: what sources and project say.
        joints: ``(T, 22, 3)`` joints of the window, already mirrored for the twin.
        mirror: whether the twin is meant.
        measured: add sentences that follow from measuring ``joints``.
    """
    own_side = {origin for _, origin, side in window.said if side is True}  # origins that mirror by themselves
    found: dict[str, str] = {}
    for text, origin, side in window.said:
        if side is None or (side is False and origin not in own_side):
            found.setdefault(mirrored(text) if mirror else text, origin)
        elif side == mirror:
            found.setdefault(text, origin)
    if measured:
        for text in describe(joints, FPS):
            found.setdefault(_plain(text), "measured")
    return [(text, origin) for text, origin in found.items() if text]


# ---------------------------------------------------------------------------------------------- one clip


def _write(path: Path, data: bytes) -> None:
    """Write beside, then rename: a reader never sees half a file."""
    beside = path.with_name(path.name + ".part")
    beside.write_bytes(data)
    os.replace(beside, path)


def _write_array(path: Path, array: np.ndarray) -> None:
    beside = path.with_name(path.name + ".part")
    with beside.open("wb") as file:
        np.save(file, array)
    os.replace(beside, path)


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode("utf-8")


def _fingerprint(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


@dataclass(frozen=True)
class _Job:
    """What a worker needs to know besides the clip."""

    out: Path
    wording: Wording
    measured: bool
    code: str


def _files(out: Path, window: str) -> list[Path]:
    return [
        out / folder / f"{side}{window}{ending}"
        for side in ("", "M")
        for folder, ending in (("new_joints", ".npy"), ("new_joint_vecs", ".npy"), ("texts", ".txt"))
    ]


def _build_clip(source: Source, listing: Listing, job: _Job) -> str:
    """Make all windows of one clip unless they stand finished; returns ``"kept"``, ``"made"`` or ``"short"``."""
    record_path = job.out / "origins" / f"{listing.id}.json"
    record = json.loads(record_path.read_text(encoding="utf-8")) if record_path.is_file() else {}
    say = [asdict(span) for span in (*listing.spans, *job.wording.spans.get(listing.id, ()))]
    labels = [
        job.wording.labels.get((listing.source, _label(text)))
        for span in listing.spans
        for text in span.texts
        if span.origin in _LABELS
    ]
    key = _fingerprint(job.code, listing.split, say, labels, job.measured)
    before = {window["id"] for window in record.get("windows", [])}
    if record.get("key") == key and all(path.is_file() for name in before for path in _files(job.out, name)):
        return "kept"

    take = source.take(listing.id)
    joints = retarget(take, FPS)
    rows = len(joints) - 1
    done = "made" if rows >= MIN_ROWS else "short"
    windows = windows_of(listing, rows, job.wording) if rows >= SHORT_ROWS else []
    for name in before - {window.id for window in windows}:
        for path in _files(job.out, name):
            path.unlink(missing_ok=True)
    described = []
    for window in windows:
        entry: dict[str, Any] = {
            "id": window.id,
            "start": window.start / FPS,
            "end": window.end / FPS,
            "rows": window.end - window.start,
        }
        part = joints[window.start : window.end + 1]
        for mirror in (False, True):
            name = f"M{window.id}" if mirror else window.id
            features = encode(mirror_joints(part) if mirror else part, name=name)
            decoded = np.asarray(hml263_to_joints(features), dtype=np.float32)
            _write_array(job.out / "new_joint_vecs" / f"{name}.npy", features.astype(np.float32))
            _write_array(job.out / "new_joints" / f"{name}.npy", decoded)
            captions = captions_of(window, decoded, mirror, job.measured)
            lines = [f"{text}#{tokens(text)}#0.0#0.0\n" for text, _ in captions]
            _write(job.out / "texts" / f"{name}.txt", "".join(lines).encode("utf-8"))
            entry["mirrored_captions" if mirror else "captions"] = [list(pair) for pair in captions]
        described.append(entry)
    _write(
        record_path,
        _json(
            {
                "clip": listing.id,
                "source": listing.source,
                "family": listing.family,
                "split": listing.split,
                "seconds": len(joints) / FPS,
                "sha256": take.sha256,
                "key": key,
                "windows": described,
            }
        ),
    )
    return done


_WORKER: dict[str, Any] = {}  # what a worker process was started with


def _start_worker(reopen: Callable[..., Source], arguments: tuple[Any, ...], job: _Job) -> None:
    source = reopen(*arguments)
    _WORKER.update(source=source, listings={listing.id: listing for listing in source.listings}, job=job)


def _work(clip: str) -> tuple[str, str]:
    return clip, _build_clip(_WORKER["source"], _WORKER["listings"][clip], _WORKER["job"])


# ---------------------------------------------------------------------------------------------- the folder


def statistics(arrays: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of all frames, the deviation averaged inside each block of hml263.

    Args:
        arrays: ``(T, 263)`` features of the training windows, in a fixed order.

    Returns:
        ``(263,)`` mean and ``(263,)`` deviation, float32.

    Raises:
        ValueError: no frames.

    Source:
        HumanML3D ``cal_mean_variance.ipynb``.
    """
    total, square, count = np.zeros(263), np.zeros(263), 0
    for array in arrays:
        wide = array.astype(np.float64)
        total += wide.sum(axis=0)
        square += (wide * wide).sum(axis=0)
        count += len(wide)
    if not count:
        raise ValueError("statistics must have frames to count; the training split has none. Check the splits.")
    mean = total / count
    std = np.sqrt(np.maximum(square / count - mean * mean, 0))
    for channel in get_spec("hml263").channels:
        std[channel.slice] = std[channel.slice].mean()
    return mean.astype(np.float32), std.astype(np.float32)


def _code_hash() -> str:
    """Hash of the modules that decide what a window holds, so that a change of theirs makes everything anew."""
    here = Path(__file__).parent
    motion = here.parent / "motion"
    modules = [here / name for name in ("build.py", "mocap.py", "retarget.py", "words.py", "describe.py")]
    modules += [motion / name for name in ("measure.py", "skeleton.py", "rotation.py", "representation/hml263.py")]
    modules += [motion / "files" / name for name in ("asf.py", "bvh.py", "figure.py")]
    return hashlib.sha256(b"".join(path.read_bytes() for path in modules)).hexdigest()


def build(
    source: str | Path,
    out: str | Path,
    workers: int = 2,
    clips: Iterable[str] | None = None,
    index: str | Path | None = None,
    kit_text: bool = False,
    measured: bool = True,
    captions: str | Path = CAPTIONS,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Make a training folder from a mocap pack or from CMU's own files, or bring one up to date.

    Clips that stand finished under ``out`` are kept; a folder is the same to the bit however often it was interrupted.

    Args:
        source: the pack's folder, or a folder of CMU subjects with ``.asf`` and ``.amc``.
        out: the folder to make.
        workers: processes.
        clips: only these clip ids; by default all usable ones.
        index: CMU's index text, for CMU folders.
        kit_text: also use KIT-ML sentences, whose terms are unknown; never for anything shipped.
        measured: add sentences that follow from measuring the motion.
        captions: folder of the project's own sentences.
        progress: called with a line now and then.

    Returns:
        What ``dataset.json`` holds.

    Raises:
        FileNotFoundError: the source folder does not exist.
        ArtifactError: the source is neither a pack nor CMU's files, or is not whole.
        ValueError: an unknown clip id, no workers, no usable clip, or a damaged file.
    """
    if workers < 1:
        raise ValueError(f"workers must be 1 or more; got {workers}.")
    out = Path(out)
    arguments = (Path(source), index, kit_text)
    opened = open_source(*arguments)
    listings = {listing.id: listing for listing in opened.listings}
    excluded = {listing.id: listing.excluded for listing in opened.listings if listing.excluded}
    wanted = sorted(set(listings) - set(excluded)) if clips is None else sorted(set(clips))
    unknown = [clip for clip in wanted if clip not in listings]
    if unknown:
        raise ValueError(f"clips must be of the source; unknown: {', '.join(unknown)}.")
    if not wanted:
        raise ValueError(f"{source} must hold at least one usable clip; every one is excluded.")
    wording = read_wording(Path(captions))
    job = _Job(out, wording, measured, _code_hash())
    for folder in ("new_joints", "new_joint_vecs", "texts", "origins"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for record in sorted((out / "origins").glob("*.json")):
        if record.stem not in wanted:  # a clip that no longer belongs here
            for window in json.loads(record.read_text(encoding="utf-8"))["windows"]:
                for path in _files(out, window["id"]):
                    path.unlink(missing_ok=True)
            record.unlink()

    done: Counter[str] = Counter()
    if workers == 1:
        results = ((clip, _build_clip(opened, listings[clip], job)) for clip in wanted)
        _count(results, done, len(wanted), progress)
    else:
        start = (_start_worker, (open_source, arguments, job))
        with ProcessPoolExecutor(workers, initializer=start[0], initargs=start[1]) as pool:
            _count(pool.map(_work, wanted, chunksize=4), done, len(wanted), progress)
    return _finish(out, opened, wanted, excluded, job, kit_text)


def _count(
    results: Iterable[tuple[str, str]], done: Counter[str], total: int, progress: Callable[[str], None] | None
) -> None:
    for number, (clip, what) in enumerate(results, 1):
        done[what] += 1
        if progress and (number % 50 == 0 or number == total):
            progress(f"{number} of {total} clips, {clip}; {', '.join(f'{n} {w}' for w, n in sorted(done.items()))}")


def _finish(
    out: Path, source: Source, wanted: list[str], excluded: dict[str, str], job: _Job, kit_text: bool
) -> dict[str, Any]:
    """Split files, statistics and ``dataset.json`` from the records of all clips."""
    records = [json.loads((out / "origins" / f"{clip}.json").read_text(encoding="utf-8")) for clip in wanted]
    carried = {
        listing.id: any(_SUPPORT.search(text) for span in listing.spans for text in span.texts)
        for listing in source.listings
    }
    splits: dict[str, list[str]] = {"train": [], "val": [], "test": [], "short": []}
    counts: dict[str, Any] = {}
    origins: Counter[str] = Counter()
    texts: set[str] = set()
    supported: list[str] = []
    minutes: Counter[str] = Counter()
    too_short, bare = [], []
    for record in records:
        if not record["windows"]:
            too_short.append(record["clip"])
        for window in record["windows"]:
            split = record["split"] if window["rows"] >= MIN_ROWS else "short"
            splits[split] += [window["id"], "M" + window["id"]]
            minutes[split] += window["rows"] / FPS / 60
            if carried[record["clip"]]:
                supported.append(window["id"])
            if not window["captions"]:
                bare.append(window["id"])
            for side in ("captions", "mirrored_captions"):
                origins.update(origin for _, origin in window[side])
                texts.update(text for text, _ in window[side])
    for split, names in splits.items():
        _write(out / f"{split}.txt", "".join(f"{name}\n" for name in sorted(names)).encode())
        counts[split] = {"windows": len(names) // 2, "minutes": round(minutes[split], 2)}
    everything = sorted(name for split, names in splits.items() if split != "short" for name in names)
    _write(out / "all.txt", "".join(f"{name}\n" for name in everything).encode())
    mean, std = statistics(np.load(out / "new_joint_vecs" / f"{name}.npy") for name in sorted(splits["train"]))
    _write_array(out / "Mean.npy", mean)
    _write_array(out / "Std.npy", std)
    digest = hashlib.sha256(mean.tobytes() + std.tobytes()).hexdigest()
    used = [listing for listing in source.listings if listing.id in set(wanted)]
    terms: dict[str, set[str]] = {}
    for listing in used:
        terms.setdefault(listing.source, set()).add(listing.licence)
    dataset: dict[str, Any] = {
        "format": FORMAT,
        "name": "mocap" if isinstance(source, Pack) else "cmu",
        "representation": "hml263",
        "fps": FPS,
        "statistics": {"name": f"mocap-{digest[:8]}", "sha256": digest, "frames": "train.txt"},
        "sources": {
            "files": source.files,
            "clips": {record["clip"]: record["sha256"] for record in records},
            "captions": job.wording.files,
        },
        "licences": {
            name: {"terms": sorted(found), "acknowledgement": ACKNOWLEDGEMENTS[name]} for name, found in terms.items()
        },
        "counts": {
            "clips": len(wanted) - len(too_short),
            **counts,
            "captions": dict(origins),
            "distinct_captions": len(texts),
            "windows_without_captions": len(bare),
            "note": "windows and minutes without mirrored twins, captions with them",
        },
        "excluded": {
            **excluded,
            **{clip: f"shorter than {SHORT_ROWS / FPS:g} s" for clip in too_short},
        },
        "supported": sorted(supported),
        "options": {
            "measured": job.measured,
            "kit_text": kit_text,
            "window_seconds": [MIN_ROWS / FPS, MAX_ROWS / FPS],
            "short_seconds": [SHORT_ROWS / FPS, MIN_ROWS / FPS],
        },
    }
    if "humanml3d" in origins:
        dataset["licences"]["humanml3d"] = {"terms": ["MIT"], "acknowledgement": ACKNOWLEDGEMENTS["humanml3d"]}
    _write(out / "dataset.json", _json(dataset))
    return dataset
