"""MDM's motions for the test split of HumanML3D, one ``ID.npy`` (T, 263) each: one process of several.

python scripts/eval/mdm_t2m_h3d263.py --data_root data/HumanML3D --model_path checkpoints/mdm --out_dir OUT \
    --num_shards 8 --shard_index 0 --skip_existing

``_run_mdm_h3d263_shards.sh`` starts all of them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np

from hftrainer.evaluation.generating import Item, add_flags, run_shard
from hftrainer.pipelines.mdm import MDMPipeline


def arguments() -> argparse.ArgumentParser:
    """The flags."""
    parser = argparse.ArgumentParser(prog="mdm_t2m_h3d263.py", description="motions for a test split, sharded")
    add_flags(parser)
    parser.add_argument("--guidance_param", type=float, help="by default the artifact's own")
    parser.add_argument("--steps", type=int, help="by default all")
    parser.add_argument("--sampler", help="by default ancestral")
    parser.add_argument("--precision", default="fp32")
    return parser


def run(words: Sequence[str] | None = None) -> tuple[int, int]:
    """Make one shard's motions; how many were made, and how many were there."""
    args = arguments().parse_args(words)
    pipe = MDMPipeline.from_pretrained(args.model_path, device=args.device)
    drawing = {"guidance": args.guidance_param, "steps": args.steps, "sampler": args.sampler}

    def make(some: Sequence[Item]) -> list[np.ndarray]:
        return pipe.infer_t2m(
            [item.prompt for item in some], [item.frames for item in some],
            seed=[args.seed + item.number for item in some], precision=args.precision,
            candidates=args.candidates, **drawing,
        )  # fmt: skip

    return run_shard(args, pipe.bundle, pipe.frame_range, make, {**drawing, "precision": args.precision})


if __name__ == "__main__":
    try:
        run()
    except (ValueError, FileNotFoundError, KeyError) as error:
        print(f"mdm_t2m_h3d263.py: {error.args[0] if error.args else error}", file=sys.stderr)
        sys.exit(2)
