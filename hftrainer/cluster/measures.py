"""What scale costs, measured: ``hftrainer bench cluster`` and ``hftrainer bench packed``."""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hftrainer.cluster.job import Answer, Do, Item, begin, run
from hftrainer.cluster.works import MOTION, answer_of
from hftrainer.data.packed import PackedDataset
from hftrainer.data.packing import Packer
from hftrainer.data.pool import processes
from hftrainer.data.shards import folder_bytes
from hftrainer.motion.clip import Motion
from hftrainer.motion.representation.convert import convert
from hftrainer.motion.representation.specs import get_spec

#: A motion of the largest job may cost so much more than one of the smallest.
FLAT_BAR = 1.25
#: Share of a pack's bytes that opening it and some steps of training may read.
READ_BAR = 0.05
#: Megabytes that a process may grow by while it does so.
MEMORY_BAR = 500.0
_FRAMES = 40


@dataclass(frozen=True)
class Drawn:
    """Noise as features, converted to joints: the cost of a conversion without that of reading files."""

    @property
    def columns(self) -> Mapping[str, str]:
        """A motion."""
        return MOTION

    def open(self) -> Do:
        """Nothing has to be loaded."""
        return self._do

    def _do(self, items: Sequence[Item]) -> list[Answer]:
        spec = get_spec("hml263")
        rows = (0.01 * np.random.default_rng(item["seed"]).normal(size=(_FRAMES, spec.width)) for item in items)
        return [answer_of(convert(Motion(data, spec, spec.fps), "joints")) for data in rows]


def cluster_cost(sizes: Sequence[int] = (100, 1000, 10_000)) -> dict[str, Any]:
    """Processor and wall seconds of a motion in jobs of different sizes, in one process.

    Args:
        sizes: items of the jobs, ascending; a small one is run before for warmth.
    """
    rows = []
    for count in (sizes[0], *sizes):
        with tempfile.TemporaryDirectory() as folder:
            wall, used = time.monotonic(), time.process_time()
            job = begin(Path(folder) / "job", {"what": "bench"}, ({"seed": seed} for seed in range(count)))
            report = run(job, Drawn())
            used, wall = time.process_time() - used, time.monotonic() - wall
            rows.append({
                "items": count, "cpu_ms_an_item": round(1e3 * used / count, 4),
                "wall_ms_an_item": round(1e3 * wall / count, 4), "shards": report["shards"],
                "bytes_an_item": round(folder_bytes(folder) / count, 1),
            })  # fmt: skip
    rows = rows[1:]
    ratio = rows[-1]["cpu_ms_an_item"] / rows[0]["cpu_ms_an_item"]
    return {
        "what": "cluster", "work": f"{_FRAMES} frames of hml263 to joints, blocks of 32, one process", "rows": rows,
        "ratio": {"value": round(ratio, 3), "bar": FLAT_BAR, "holds": ratio <= FLAT_BAR},
    }  # fmt: skip


def packed_reading(clips: int = 100_000, frames: int = 24, steps: int = 20) -> dict[str, Any]:
    """What training reads of a large packed dataset, and the memory it takes; the pack is made, measured and removed.

    Args:
        clips: of noise.
        frames: of each clip.
        steps: of training a small motion tokenizer, batches of 64 windows.
    """
    spec = get_spec("hml263")
    with tempfile.TemporaryDirectory() as where:
        folder, rng = Path(where), np.random.default_rng(0)
        noise = rng.normal(size=(4096 + frames, spec.width)).astype(np.float32)
        np.save(folder / "Mean.npy", np.zeros(spec.width))
        np.save(folder / "Std.npy", np.ones(spec.width))
        started = time.monotonic()
        packer = Packer(folder, spec, {"what": "noise"})
        for number in range(clips):
            packer.add(f"{number:09d}", noise[number % 4096 :][:frames], "a person walks#a/DET#0.0#0.0\n")
        packer.close()
        held = min(100, clips // 10)
        for split, numbers in (("train", range(held, clips)), ("val", range(held))):
            (folder / f"{split}.txt").write_text("".join(f"{number:09d}\n" for number in numbers), encoding="utf-8")
        packing, size = time.monotonic() - started, folder_bytes(folder)
        with processes(1, method="spawn") as pool:
            found = pool.submit(_train_some, folder, steps).result()
    share = found["bytes_read"] / size
    return {
        "what": "packed", "clips": clips, "frames": frames, "bytes": size, "bytes_a_clip": round(size / clips, 1),
        "packing_s": round(packing, 1), "steps": steps, **found,
        "share_read": {"value": round(share, 5), "bar": READ_BAR, "holds": share <= READ_BAR},
        "grown_mb": {"value": found["grown_mb"], "bar": MEMORY_BAR, "holds": found["grown_mb"] <= MEMORY_BAR},
    }  # fmt: skip


def _train_some(folder: Path, steps: int) -> dict[str, Any]:
    """Open the pack and train on it, in a process of its own."""
    from hftrainer.models.motion.motiongpt.bundle import Statistics
    from hftrainer.models.motion.motiongpt.network import MotionTokenizer, TokenizerConfig
    from hftrainer.training.loop import Schedule, fit
    from hftrainer.training.tokenizer import TokenizerSettings, TokenizerTask

    network = MotionTokenizer(TokenizerConfig(codes=16, code_width=8, width=16, depth=1))
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    dataset = PackedDataset(folder, ("train", "val"))
    clips, held = ([clip.rows for clip in dataset.clips(split)] for split in ("train", "val"))
    opened, read = time.monotonic() - started, dataset.bytes_read
    statistics = Statistics(dataset.mean, dataset.std, dataset.spec.name)
    settings = TokenizerSettings(frames=1024, windows=(16,))
    task = TokenizerTask(network, statistics, clips, held, settings, seed=0)
    with tempfile.TemporaryDirectory() as out:
        fit(task, Schedule(steps, 1e-4, device="cpu"), Path(out), say=lambda line: None)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return {
        "opening_s": round(opened, 2), "opening_bytes": read, "bytes_read": dataset.bytes_read,
        "grown_mb": round(grown, 1),
    }  # fmt: skip
