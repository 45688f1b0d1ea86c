"""Recordings to a dataset folder in the HumanML3D layout.

DIR after --from is a mocap pack (it has clips.jsonl) or CMU's own download: subject folders with .asf and .amc files,
and the index text. Clips that stand finished in the output are kept, so an interrupted build goes on where it was; the
result is the same to the bit. Recordings that are damaged are left out and named, and the exit status is 1.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from hftrainer.cli.outputs import check_folder
from hftrainer.cli.parser import Done, Parser, RequestError, near, whole
from hftrainer.cli.progress import Progress

#: Kinds of recordings that can be built from.
KINDS = ("mocap",)


def arguments(parser: Parser) -> None:
    """What ``hftrainer data build`` takes."""
    parser.add_argument("kind", metavar="KIND", help="mocap")
    parser.flag("--from", dest="source", required=True, metavar="DIR", help="the recordings")
    parser.flag("-o", "--output", required=True, metavar="DIR", help="the dataset folder")
    parser.flag("--workers", type=whole(1), default=2, help="processes (default 2)")
    parser.flag("--index", metavar="FILE", help="CMU's index text, where it is not in the folder")
    parser.flag("--composed", type=float, default=1.5, metavar="SHARE",
                help="windows composed of stretches of training windows, for each of these (default 1.5; 0 makes none)")
    parser.flag("--kit-text", action="store_true", help="also KIT-ML's sentences, whose terms are unknown")


def run(args: argparse.Namespace, progress: Progress) -> Done:
    """Build the folder, or bring it up to date."""
    if args.kind not in KINDS:
        raise RequestError(f"there are no recordings of kind {args.kind!r}. {near(args.kind, KINDS)}")
    if not Path(args.source).is_dir():
        raise RequestError(f"{args.source} must be a folder of recordings; there is none.")
    check_folder(Path(args.output))
    from hftrainer.data.build import build

    dataset = build(
        args.source,
        args.output,
        workers=args.workers,
        index=args.index,
        kit_text=args.kit_text,
        composed=args.composed,
        progress=progress,
    )
    damaged = dataset.get("damaged", {})
    lines = [f"left out: {why if clip in why else f'{clip}: {why}'}" for clip, why in damaged.items()]
    return Done({"folder": args.output, "dataset": dataset}, [*lines, args.output], code=1 if damaged else 0)
