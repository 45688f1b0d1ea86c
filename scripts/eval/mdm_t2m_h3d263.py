"""MDM's motions for the test split of HumanML3D, one ``ID.npy`` (T, 263) each: one process of several.

python scripts/eval/mdm_t2m_h3d263.py --data_root data/HumanML3D --model_path checkpoints/mdm --out_dir OUT \
    --num_shards 8 --shard_index 0 --skip_existing

``_run_mdm_h3d263_shards.sh`` starts all of them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hftrainer.data.humanml3d import HumanML3D
from hftrainer.evaluation.generating import Item, items_of, write_shard
from hftrainer.pipelines.mdm import MDMPipeline


def arguments() -> argparse.ArgumentParser:
    """The flags."""
    parser = argparse.ArgumentParser(prog="mdm_t2m_h3d263.py", description="motions for a test split, sharded")
    parser.add_argument("--data_root", required=True, help="a folder in HumanML3D's layout")
    parser.add_argument("--model_path", required=True, help="folder, built-in name or hub repository")
    parser.add_argument("--out_dir", required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--guidance_param", type=float, help="by default the artifact's own")
    parser.add_argument("--steps", type=int, help="by default all")
    parser.add_argument("--sampler", help="by default ancestral")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0, help="clip i has the seed SEED + i")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--num_shards", type=int, default=1)
    parser.add_argument("--shard_index", type=int, default=0)
    parser.add_argument("--max_samples", type=int, help="only the first so many clips")
    parser.add_argument("--skip_existing", action="store_true")
    parser.add_argument("--progress", action="store_true")
    return parser


def run(words: Sequence[str] | None = None) -> tuple[int, int]:
    """Make one shard's motions; how many were made, and how many were there."""
    args = arguments().parse_args(words)
    dataset = HumanML3D(args.data_root, splits=(args.split,))
    pipe = MDMPipeline.from_pretrained(args.model_path, device=args.device)
    items, passed = items_of(dataset, args.split, within=pipe.frame_range)
    items = items[: args.max_samples]
    drawing = {"guidance": args.guidance_param, "steps": args.steps, "sampler": args.sampler}

    def make(some: Sequence[Item]) -> list[np.ndarray]:
        return pipe.infer_t2m(
            [item.prompt for item in some], [item.frames for item in some],
            seed=[args.seed + item.number for item in some], precision=args.precision, **drawing,
        )  # fmt: skip

    made, there = write_shard(
        items, Path(args.out_dir), make, shards=args.num_shards, shard=args.shard_index, batch=args.batch_size,
        skip_existing=args.skip_existing, say=print if args.progress else None,
    )  # fmt: skip
    print(f"{made} made, {there} were there; {len(items)} in all shards, {len(passed)} clips left out by the protocol")
    return made, there


if __name__ == "__main__":
    try:
        run()
    except (ValueError, FileNotFoundError, KeyError) as error:
        print(f"mdm_t2m_h3d263.py: {error.args[0] if error.args else error}", file=sys.stderr)
        sys.exit(2)
