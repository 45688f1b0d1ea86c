"""From real capture to a training folder in HumanML3D's layout.

One command makes it, and brings it up to date after recordings, captions or code changed; the rest is kept::

    hftrainer data build mocap --from captures/mocap -o data/mocap

What is in the folder::

    new_joints/ID.npy       (T, 22, 3) float32, metres, 20 fps: the joints that the features decode to
    new_joint_vecs/ID.npy   (T, 263) float32, hml263
    texts/ID.txt            caption#tokens#start#end, one line per caption; 0.0#0.0 means the whole window
    origins/CLIP.json       windows of one clip: times, source hash, and who wrote each caption
    train.txt val.txt test.txt all.txt     window ids; a mirrored twin is called M + id
    short.txt               clips under 2 seconds, whole; they stand in no other list
    composed.txt            windows composed of stretches of training windows (hftrainer.data.joins), in no other list
    composed.json           the parts of each composed window
    Mean.npy Std.npy        (263,) statistics of the frames in train.txt, std averaged inside each block
    dataset.json            sources with hashes and terms, counts, options, statistics' name and hash

How clips are cut into windows and where their words come from is in ``hftrainer.data.windows``.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hftrainer.data.describe import events_of, plain_sentences_of, sentences_of
from hftrainer.data.humanml3d import FPS
from hftrainer.data.joins import Composer, Stretch
from hftrainer.data.mocap import ACKNOWLEDGEMENTS, Listing, Pack, Source, open_source
from hftrainer.data.pool import processes
from hftrainer.data.retarget import retarget
from hftrainer.data.verify import check_joints
from hftrainer.data.windows import (
    CAPTIONS,
    LABELS,
    MAX_ROWS,
    MIN_ROWS,
    SHORT_ROWS,
    Wording,
    captions_of,
    label_key,
    read_wording,
    windows_of,
)
from hftrainer.data.words import tokens
from hftrainer.motion.files.alone import alone
from hftrainer.motion.measure import measure
from hftrainer.motion.representation.hml263 import (
    canonicalize,
    hml263_to_joints,
    joints_to_hml263,
    uniform_skeleton,
)
from hftrainer.motion.representation.specs import get_spec
from hftrainer.motion.skeleton import SMPL22

FORMAT = 1

#: Labels of clips in which something carries the body that is not in the data: feet may stay off the floor there.
_SUPPORT = re.compile(
    r"\b(climb|hang|swing|playground|ladder|stairs?|stool|chair|bench|uneven|obstacles?|rope|step(ping)? (up|over)|"
    r"platform|jump (off|down)|sit(ting)?)\b",
    re.IGNORECASE,
)


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


# ---------------------------------------------------------------------------------------------- one clip


def _write(path: Path, data: bytes) -> None:
    """Write beside, then rename: a reader never sees half a file."""
    beside = path.with_name(path.name + ".part")
    try:
        beside.write_bytes(data)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _write_array(path: Path, array: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.save(buffer, array)
    _write(path, buffer.getvalue())


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


def _remove(out: Path, windows: Iterable[str]) -> None:
    for name in windows:
        for path in _files(out, name):
            path.unlink(missing_ok=True)


def _check_finite(joints: np.ndarray, clip: str) -> None:
    bad = ~np.isfinite(joints).all(axis=(1, 2))
    if bad.any():
        raise ValueError(f"{clip}: every joint must be finite; got NaN or infinity, first at {bad.argmax() / FPS:g} s.")


def _build_clip(source: Source, listing: Listing, job: _Job) -> str:
    """Make all windows of one clip unless they stand; returns ``"kept"``, ``"made"``, ``"short"`` or ``"damaged"``."""
    record_path = job.out / "origins" / f"{listing.id}.json"
    record = json.loads(record_path.read_text(encoding="utf-8")) if record_path.is_file() else {}
    say = [asdict(span) for span in (*listing.spans, *job.wording.spans.get(listing.id, ()))]
    labels = [
        job.wording.labels.get((listing.source, label_key(text)))
        for span in listing.spans
        for text in span.texts
        if span.origin in LABELS
    ]
    key = _fingerprint(job.code, source.stamp(listing.id), listing.split, say, labels, job.measured)
    before = {window["id"] for window in record.get("windows", [])}
    if record.get("key") == key and all(path.is_file() for name in before for path in _files(job.out, name)):
        return "kept"

    about = {"clip": listing.id, "source": listing.source, "family": listing.family, "split": listing.split}
    try:
        take = source.take(listing.id)
        joints = retarget(take, FPS)
        _check_finite(joints, listing.id)
    except ValueError as exc:  # the file is damaged; without a key the clip is tried again next time
        _remove(job.out, before)
        _write(record_path, _json({**about, "damaged": str(exc), "windows": []}))
        return "damaged"
    rows = len(joints) - 1
    done = "made" if rows >= MIN_ROWS else "short"
    windows = windows_of(listing, rows, job.wording) if rows >= SHORT_ROWS else []
    _remove(job.out, before - {window.id for window in windows})
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
            body = measure(decoded, FPS)
            captions = captions_of(window, body if job.measured else None, mirror)
            lines = [f"{text}#{tokens(text)}#0.0#0.0\n" for text, _ in captions]
            _write(job.out / "texts" / f"{name}.txt", "".join(lines).encode("utf-8"))
            entry["mirrored_captions" if mirror else "captions"] = [list(pair) for pair in captions]
            entry["mirrored_events" if mirror else "events"] = [[e.kind, e.start, e.stop] for e in events_of(body)]
        described.append(entry)
    _write(
        record_path,
        _json(
            {
                **about,
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
    modules = [
        here / f"{name}.py"
        for name in ("build", "describe", "joins", "mocap", "phrases", "retarget", "verify", "windows", "words")
    ]
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
    composed: float = 1.5,
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
        composed: windows composed of stretches of training windows, for each training window; 0 makes none. Their only
            words are measured ones, so ``measured=False`` makes none either.
        captions: folder of the project's own sentences.
        progress: called with a line now and then.

    Returns:
        What ``dataset.json`` holds. Clips whose recording is damaged are left out and named under ``damaged``, each
        with a sentence that says what is wrong with it.

    Raises:
        FileNotFoundError: the source folder does not exist.
        ArtifactError: the source is neither a pack nor CMU's files, or is not whole; or another process builds ``out``.
        ValueError: an unknown clip id, no workers, or no usable clip.
    """
    if workers < 1:
        raise ValueError(f"workers must be 1 or more; got {workers}.")
    if not 0 <= composed <= 10:
        raise ValueError(f"composed must be 0 to 10 windows for each training window; got {composed:g}.")
    with alone(out):
        return _build(Path(source), Path(out), workers, clips, index, kit_text, measured, composed, captions, progress)


def _build(
    source: Path,
    out: Path,
    workers: int,
    clips: Iterable[str] | None,
    index: str | Path | None,
    kit_text: bool,
    measured: bool,
    composed: float,
    captions: str | Path,
    progress: Callable[[str], None] | None,
) -> dict[str, Any]:
    arguments = (source, index, kit_text)
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
            _remove(out, [window["id"] for window in json.loads(record.read_text(encoding="utf-8"))["windows"]])
            record.unlink()

    done: Counter[str] = Counter()
    if workers == 1:
        results = ((clip, _build_clip(opened, listings[clip], job)) for clip in wanted)
        _count(results, done, len(wanted), progress)
    else:
        with processes(workers, _start_worker, (open_source, arguments, job)) as pool:
            _count(pool.map(_work, wanted, chunksize=4), done, len(wanted), progress)
    dataset = _finish(out, opened, wanted, excluded, job, kit_text)
    count = round(composed * 2 * dataset["counts"]["train"]["windows"]) if measured else 0
    made = _compose(out, count, dataset, job, workers, progress)
    dataset["counts"]["composed"] = made
    _write(out / "dataset.json", _json(dataset))
    return dataset


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
    damaged = {record["clip"]: record["damaged"] for record in records if "damaged" in record}
    records = [record for record in records if "damaged" not in record]
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
            "clips": len(records) - len(too_short),
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
    for origin, text_terms in (("humanml3d", "MIT"), ("kit_ml", "none stated: not for anything that is passed on")):
        if origin in origins:
            dataset["licences"][origin] = {"terms": [text_terms], "acknowledgement": ACKNOWLEDGEMENTS[origin]}
    if damaged:
        dataset["damaged"] = damaged
    return dataset


# ---------------------------------------------------------------------------------------------- composed windows

#: Composed windows show at most this many events where a few tries find such.
_EVENTS = 3


def _stretches(out: Path, dataset: dict[str, Any]) -> tuple[list[Stretch], list[str]]:
    """What happens in the training windows, short ones too, and the keys of their clips; no supported ones."""
    training = {name for split in ("train", "short") for name in (out / f"{split}.txt").read_text().split()}
    found, keys = [], []
    for clip in dataset["sources"]["clips"]:
        record = json.loads((out / "origins" / f"{clip}.json").read_text(encoding="utf-8"))
        if record["split"] != "train":
            continue
        keys.append(record["key"])
        for window in record["windows"]:
            if window["id"] in training and window["id"] not in dataset["supported"]:
                for side, events in (("", window["events"]), ("M", window["mirrored_events"])):
                    found += [Stretch(kind, side + window["id"], start, stop) for kind, start, stop in events]
    return found, keys


def _start_composer(out: Path, stretches: list[Stretch]) -> None:
    @lru_cache(maxsize=500)
    def features(name: str) -> np.ndarray:
        return np.load(out / "new_joint_vecs" / f"{name}.npy").astype(np.float32, copy=False)

    _WORKER.update(out=out, composer=Composer(stretches, features))


def _compose_one(index: int) -> list[Any] | None:
    """Makes composed window ``index``; its name, rows and parts, or ``None``."""
    rng, out, name = np.random.default_rng((20, index)), _WORKER["out"], f"C{index:05d}"
    chosen = None
    for _ in range(6):
        made = _WORKER["composer"].compose(rng)
        if made is None:
            continue
        joints = np.asarray(hml263_to_joints(made.features), dtype=np.float32)
        body = measure(joints, FPS)
        texts = sentences_of(body)
        if texts and not any(check_joints(joints.astype(np.float64), False)):
            chosen = made, joints, [*texts, *(t for t in plain_sentences_of(body) if t not in texts)]
            if len(events_of(body)) <= _EVENTS:
                break
    if chosen is None:
        return None
    made, joints, texts = chosen
    _write_array(out / "new_joint_vecs" / f"{name}.npy", made.features)
    _write_array(out / "new_joints" / f"{name}.npy", joints)
    _write(out / "texts" / f"{name}.txt", "".join(f"{t}#{tokens(t)}#0.0#0.0\n" for t in texts).encode("utf-8"))
    return [name, len(made.features), [list(part) for part in made.parts]]


def _compose(
    out: Path, count: int, dataset: dict[str, Any], job: _Job, workers: int, progress: Callable[[str], None] | None
) -> dict[str, Any]:
    """Make the composed windows, or keep those that stand; what is counted of them."""
    stretches, keys = _stretches(out, dataset)
    record_path = out / "composed.json"
    record = json.loads(record_path.read_text(encoding="utf-8")) if record_path.is_file() else {}
    key = _fingerprint(job.code, count, keys, dataset["supported"])
    before = [row[0] for row in record.get("windows", [])]
    if record.get("key") != key or not all(path.is_file() for name in before for path in _files(out, name)[:3]):
        record_path.unlink(missing_ok=True)
        for room in ("new_joints", "new_joint_vecs", "texts"):
            for path in (out / room).glob("C[0-9][0-9][0-9][0-9][0-9].*"):
                path.unlink()
        rows = []
        if workers == 1:
            _start_composer(out, stretches)
            rows = [_compose_one(index) for index in range(count)]
        elif count:
            with processes(workers, _start_composer, (out, stretches)) as pool:
                for number, row in enumerate(pool.map(_compose_one, range(count), chunksize=16), 1):
                    rows.append(row)
                    if progress and (number % 500 == 0 or number == count):
                        progress(f"{number} of {count} composed windows")
        record = {"key": key, "windows": [row for row in rows if row is not None]}
    names = [row[0] for row in record["windows"]]
    _write(out / "composed.txt", "".join(f"{name}\n" for name in names).encode())
    _write(record_path, (json.dumps(record, separators=(",", ":")) + "\n").encode())
    minutes = sum(row[1] for row in record["windows"]) / FPS / 60
    return {"windows": len(names), "minutes": round(minutes, 2), "not_found": count - len(names)}
