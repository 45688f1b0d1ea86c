"""MoGenTS' or MoMask's motions for the test split of HumanML3D, one ``ID.npy`` (T, 263) each: one process of several.

python scripts/eval/mogents_t2m_h3d263.py --data_root data/HumanML3D --model_path checkpoints/mogents/humanml3d \\
    --out_dir OUT --num_shards 8 --shard_index 0 --skip_existing

May be stopped and run again; how the work is cut up changes nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np

from hftrainer.evaluation.generating import Item, add_flags, run_shard
from hftrainer.pipelines.table import open_pipeline


def arguments() -> argparse.ArgumentParser:
    """The flags."""
    parser = argparse.ArgumentParser(prog="mogents_t2m_h3d263.py", description="motions for a test split, sharded")
    add_flags(parser, data="data/HumanML3D")
    parser.add_argument("--cond_scale", type=float, default=4.0, help="guidance of the mask transformers")
    parser.add_argument("--res_cond_scale", type=float, default=5.0, help="guidance of the residual transformers")
    parser.add_argument("--time_steps", type=int, default=10)
    parser.add_argument("--topkr", type=float, default=0.9)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--gumbel_sample", action="store_true")
    return parser


def run(words: Sequence[str] | None = None) -> tuple[int, int]:
    """Make one shard's motions; how many were made, and how many were there."""
    args = arguments().parse_args(words)
    pipe = open_pipeline(args.model_path, verb="generate", device=args.device)
    if not hasattr(pipe, "makes_parts"):
        raise ValueError(f"--model_path must be a MoGenTS or MoMask; got {args.model_path}, which is another model.")

    drawing = {name: getattr(args, name) for name in (
        "time_steps", "cond_scale", "res_cond_scale", "topkr", "temperature", "gumbel_sample",
    )}  # fmt: skip

    def make(some: Sequence[Item]) -> list[np.ndarray]:
        made: list[np.ndarray] = pipe.infer_t2m(
            [item.prompt for item in some], [item.frames for item in some],
            seed=[args.seed + item.number for item in some], candidates=args.candidates, **drawing,
        )  # fmt: skip
        return made

    return run_shard(args, pipe.bundle, pipe.frame_range, make, drawing)


if __name__ == "__main__":
    try:
        run()
    except (ValueError, FileNotFoundError, KeyError) as error:
        print(f"mogents_t2m_h3d263.py: {error.args[0] if error.args else error}", file=sys.stderr)
        sys.exit(2)
