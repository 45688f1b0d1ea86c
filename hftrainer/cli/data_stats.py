"""What a dataset folder holds: windows, minutes, sentences, words, and the identity of its statistics.

Any folder in the HumanML3D layout will do. Mirrored twins (M + id) are counted as windows of their own.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hftrainer.cli.parser import Done, Parser, RequestError
from hftrainer.cli.progress import Progress

if TYPE_CHECKING:
    from hftrainer.data.humanml3d import HumanML3D

SPLITS = ("train", "val", "test", "short")


def arguments(parser: Parser) -> None:
    """What ``hftrainer data stats`` takes."""
    parser.add_argument("folder", metavar="DIR", help="a dataset folder")


def count_split(dataset: HumanML3D, split: str, fps: float) -> dict[str, Any]:
    """Windows, minutes and sentences of one split."""
    names = dataset.ids(split)
    frames = [dataset.frames(name) for name in names]
    sentences = [caption.text for name in names for caption in dataset.captions(name)]
    words = {word.strip(".,;:!?").lower() for sentence in set(sentences) for word in sentence.split()}
    return {
        "windows": len(names),
        "minutes": round(sum(frames) / fps / 60, 2),
        "frames": {"least": min(frames, default=0), "most": max(frames, default=0)},
        "sentences": len(sentences),
        "distinct_sentences": len(set(sentences)),
        "distinct_words": len(words - {""}),
    }


def recorded(folder: Path) -> dict[str, dict[str, float]]:
    """Recordings, their minutes and who moves in them by split, where the folder says what it was built from.

    Performers are told by the names of CMU's and ACCAD's recordings; of others there is no count of them.
    """
    from hftrainer.evaluation.population import performer

    found: dict[str, dict[str, float]] = {}
    who: dict[str, set[str | None]] = {}
    for file in sorted((folder / "origins").glob("*.json")):
        record = json.loads(file.read_text(encoding="utf-8"))
        for split in (record["split"], "all"):
            one = found.setdefault(split, {"recordings": 0, "minutes": 0.0})
            one["recordings"] += 1
            one["minutes"] += record["seconds"] / 60
            who.setdefault(split, set()).add(performer(record["clip"]))
    told = {split: {} if None in names else {"performers": len(names)} for split, names in who.items()}
    return {split: {**one, "minutes": round(one["minutes"], 2), **told[split]} for split, one in sorted(found.items())}


def run(args: argparse.Namespace, progress: Progress) -> Done:
    """Count."""
    folder = Path(args.folder)
    splits = tuple(split for split in SPLITS if (folder / f"{split}.txt").is_file())
    if not splits:
        raise RequestError(
            f"{folder} must be a dataset folder with train.txt; there is none. See hftrainer data build."
        )
    from hftrainer.data.packed import open_dataset

    dataset = open_dataset(folder, splits)
    report: dict[str, Any] = {"folder": str(folder), "splits": {}}
    for split in splits:
        progress(f"counting {split}")
        report["splits"][split] = count_split(dataset, split, dataset.spec.fps)
    report["statistics"] = {"name": dataset.name, "sha256": dataset.hash}
    if captured := recorded(folder):
        report["recorded"] = captured
    lines = [
        f"{split}: {n['windows']} windows, {n['minutes']} minutes, "
        f"{n['frames']['least']} to {n['frames']['most']} frames, "
        f"{n['sentences']} sentences ({n['distinct_sentences']} distinct, {n['distinct_words']} words)"
        for split, n in report["splits"].items()
    ]
    lines += [f"recorded, {split}: {n['recordings']} clips, {n['minutes']} minutes" for split, n in captured.items()]
    return Done(report, [*lines, f"statistics: {dataset.name}, {dataset.hash[:16]}"])
