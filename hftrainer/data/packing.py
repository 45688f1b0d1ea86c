"""A dataset folder as Parquet shards, written; ``hftrainer.data.packed`` says how it is laid out and reads it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hftrainer.data.humanml3d import BAD_CLIPS, HumanML3D
from hftrainer.data.packed import ABOUT, COLUMNS, GROUP, INDEX, PLACES
from hftrainer.data.shards import ShardWriter, sha256_of, write_rows
from hftrainer.motion.files.atomic import written_whole
from hftrainer.motion.representation.specs import Representation

#: Bytes after which a shard is full.
SHARD_BYTES = 128 << 20


class Packer:
    """Writes a packed dataset, clip by clip; memory does not grow with the clips but by their names.

    Args:
        folder: a new or an empty folder; see ``written_whole``.
        spec: what the numbers are.
        notes: what every shard says of itself.
        shard_bytes: after which a shard is full.
    """

    def __init__(
        self, folder: Path, spec: Representation, notes: dict[str, Any], shard_bytes: int = SHARD_BYTES
    ) -> None:
        self._folder, self._spec, self._notes, self._most = folder, spec, notes, shard_bytes
        self._places: list[dict[str, Any]] = []
        self._shards: list[dict[str, Any]] = []
        self._writer: ShardWriter | None = None
        (folder / "shards").mkdir()

    def add(self, name: str, features: np.ndarray, texts: str) -> None:
        """One clip: ``(T, D)`` features and its text file."""
        if self._writer is None:
            path = self._folder / "shards" / f"{len(self._shards):05d}.parquet"
            self._shards.append({"file": path.name})
            self._writer = ShardWriter(path, COLUMNS, self._notes, GROUP, pages=True)
        place = {"id": name, "shard": len(self._shards) - 1, "row": self._writer.rows, "frames": len(features)}
        self._places.append(place)
        rows = np.ascontiguousarray(features, "<f4").tobytes()
        self._writer.add(id=name, frames=len(features), texts=texts, features=rows)
        if self._writer.bytes >= self._most:
            self._end_shard()

    def _end_shard(self) -> None:
        if self._writer is not None:
            self._writer.close()
            path = self._folder / "shards" / self._shards[-1]["file"]
            self._shards[-1] |= {
                "clips": self._writer.rows, "bytes": path.stat().st_size, "sha256": sha256_of(path),
            }  # fmt: skip
            self._writer = None

    def close(self) -> dict[str, Any]:
        """Write the index and ``pack.json``; what the latter says."""
        self._end_shard()
        write_rows(self._folder / INDEX, PLACES, self._places, group=1 << 16)
        about = {
            "format": 1, "clips": len(self._places), "frames": sum(place["frames"] for place in self._places),
            "representation": self._spec.name, "index_sha256": sha256_of(self._folder / INDEX), "shards": self._shards,
        }  # fmt: skip
        (self._folder / ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        return about


def pack(
    folder: str | Path,
    out: str | Path,
    bad_clips: str = "refuse",
    shard_bytes: int = SHARD_BYTES,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Pack a dataset folder; every clip is looked at first, so that who reads the pack need not.

    Args:
        folder: in HumanML3D's layout.
        out: a new or an empty folder; it appears whole or not at all.
        bad_clips: ``"refuse"``, or ``"skip"``: clips that hold a NaN, have another width or a damaged text file are
            left out of the lists too.
        shard_bytes: after which a shard is full.
        say: hears of progress.

    Returns:
        What ``pack.json`` says, and ``skipped``, name -> reason.

    Raises:
        ArtifactError: the folder is not whole, or holds bad clips and they are refused; every one is named.
        FileExistsError: ``out`` holds something.
    """
    if bad_clips not in BAD_CLIPS:
        raise ValueError(f"bad_clips must be {' or '.join(BAD_CLIPS)}; got {bad_clips!r}.")
    folder = Path(folder)
    lists = tuple(sorted(file.stem for file in folder.glob("*.txt")))
    dataset = HumanML3D(folder, lists or ("train",))
    order = ("train", "val", "test")
    splits = sorted(lists, key=lambda split: (order.index(split) if split in order else len(order), split))
    names = list(dict.fromkeys(name for split in splits for name in dataset.ids(split)))
    reasons: dict[str, str] = {}
    with written_whole(out, folder=True) as place:
        packer = Packer(place, dataset.spec, shard_notes(dataset), shard_bytes)
        for number, name in enumerate(names, 1):
            say(f"packing {name} ({number} of {len(names)})")
            clips, bad = dataset.sound([name], "skip")
            reasons |= bad
            if clips and not (reasons and bad_clips == "refuse"):
                texts = (folder / "texts" / f"{name}.txt").read_bytes().decode("utf-8")
                packer.add(name, clips[0].motion.data, texts)
        if reasons and bad_clips == "refuse":
            dataset.sound(list(reasons))
        for file in ("Mean.npy", "Std.npy", "dataset.json"):
            if (folder / file).is_file():
                shutil.copyfile(folder / file, place / file)
        for split in splits:
            kept = [name for name in dataset.ids(split) if name not in reasons]
            (place / f"{split}.txt").write_text("".join(f"{name}\n" for name in kept), encoding="utf-8")
        about = packer.close()
    return {**about, "skipped": reasons}


def shard_notes(dataset: HumanML3D) -> dict[str, Any]:
    """What every shard says of itself: the meaning of its numbers, its statistics, its licences."""
    return {
        "what": "clips of human motion with sentences",
        "representation": dataset.spec.name,
        "width": dataset.spec.width,
        "fps": dataset.spec.fps,
        "statistics": {
            "name": dataset.name, "sha256": dataset.hash, "mean": [float(x) for x in dataset.mean],
            "std": [float(x) for x in dataset.std],
        },
        "licences": dataset.about.get("licences", dataset.about.get("licence", {})),
    }  # fmt: skip
