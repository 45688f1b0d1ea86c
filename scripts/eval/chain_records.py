"""What a run of ``run_mogents_hml263_to_ms272_chain.sh`` writes about itself; the script passes its variables.

python scripts/eval/chain_records.py config|summary FILE.json
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from hftrainer.evaluation.restarting import write_json

NAMES = (
    "PRED263", "SMPL135", "PRED272", "METRICS", "LOGDIR", "NUM_SHARDS", "NUM_GPUS", "CONVERT_WORKERS", "N_REPEATS",
)  # fmt: skip


def config() -> dict[str, Any]:
    """The run's variables, and the settings of its first stage."""
    stages = {"source_fps": 20, "target_fps": 30, "floor_align": True, "refine_iters": 80, "refine_lr": 0.02}
    return {**{name.lower(): os.environ[name] for name in NAMES}, "ik": stages}


def summary() -> dict[str, Any]:
    """How many clips each stage has, how well they were fitted, and where the metrics are."""
    folders = {name: Path(os.environ[name]) for name in ("PRED263", "SMPL135", "PRED272", "METRICS")}
    count = int(os.environ["NUM_SHARDS"])
    names = [f"_s{n:02d}_of_{count:02d}" for n in range(count)] if count > 1 else [""]
    shards = [json.loads((folders["SMPL135"] / f"_retarget_summary{name}.json").read_text()) for name in names]
    fitted = [shard for shard in shards if shard["count"]]
    clips = sum(shard["count"] for shard in fitted)
    conversion = json.loads((folders["PRED272"] / "conversion.json").read_text())
    metrics = folders["METRICS"] / "verify_ms272.json"
    return {
        "hml263_predictions": sum(1 for _ in folders["PRED263"].glob("[!._]*.npy")),
        "motion_135_files": sum(1 for _ in folders["SMPL135"].glob("[!._]*.npz")),
        "motionstreamer_272_files": sum(1 for _ in folders["PRED272"].glob("[!._]*.npy")),
        "ik_failed": sum(shard["failed"] for shard in shards),
        "ik_mean_mpjpe_mm": sum(shard["mean_mpjpe_mm"] * shard["count"] for shard in fitted) / clips if clips else None,
        "ik_mean_mpjpe_mm_by_shard": [shard["mean_mpjpe_mm"] for shard in shards],
        "conversion": {key: conversion[key] for key in ("requested", "generated", "skipped", "failed", "missing")},
        "metrics": str(metrics) if metrics.is_file() else None,
        "route": ["hml263", "motion135", "motion272"],
    }


if __name__ == "__main__":
    write_json(Path(sys.argv[2]), {"config": config, "summary": summary}[sys.argv[1]]())
