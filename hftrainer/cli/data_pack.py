"""A dataset folder as Parquet shards: a few large files that are read a clip at a time.

DIR is in the HumanML3D layout (hftrainer data build makes one). The lists, the statistics and dataset.json come along,
and every shard says in its notes what its numbers are, with statistics and licences. new_joints is left behind: it
follows from the features. Recipes, data verify and data stats take a packed folder where they take a folder; training
opens it without reading the clips. Packing needs pyarrow, reading does not: pip install 'hftrainer[parquet]'.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from hftrainer.cli.outputs import check_folder
from hftrainer.cli.parser import Done, Parser, RequestError, whole
from hftrainer.cli.progress import Progress


def arguments(parser: Parser) -> None:
    """What ``hftrainer data pack`` takes."""
    parser.add_argument("folder", metavar="DIR", help="a dataset folder")
    parser.flag("-o", "--output", required=True, metavar="PACKED", help="a new or an empty folder")
    parser.flag("--shard-mb", type=whole(1), default=128, help="megabytes after which a shard is full (default 128)")
    parser.flag("--bad-clips", choices=("refuse", "skip"), default="refuse", help="those with a NaN; default refuse")


def run(args: argparse.Namespace, progress: Progress) -> Done:
    """Pack."""
    if not Path(args.folder).is_dir():
        raise RequestError(f"DIR must be a dataset folder; {args.folder} does not exist. See hftrainer data build.")
    out = Path(args.output)
    check_folder(out.parent)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise RequestError(f"{out} must be a new or an empty folder; it holds something. Choose another name.")
    from hftrainer.data.packed import is_packed
    from hftrainer.data.packing import pack
    from hftrainer.data.shards import arrow, folder_bytes

    if is_packed(args.folder):
        raise RequestError(f"{args.folder} must be a dataset folder; it is packed already. Nothing is left to do.")
    arrow()
    about = pack(args.folder, out, args.bad_clips, args.shard_mb << 20, progress)
    size = folder_bytes(out)
    lines = [f"skipped {name}: {reason}" for name, reason in about["skipped"].items()]
    shards = len(about["shards"])
    lines.append(f"{out}: {about['clips']} clips, {about['frames']} frames, {shards} shards, {size / 1e6:.1f} MB")
    return Done({"output": str(out), "bytes": size, **about}, lines)
