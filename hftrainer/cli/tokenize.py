"""A dataset's clips to motion tokens: one ID.npy of int64, shape (1, L), for each clip.

The language model's recipe reads such a folder with tokens = "DIR", in place of encoding the clips itself. --offset
random begins each clip at a random frame of its first token, as MotionGPT's own export does; 0 begins at the first.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from hftrainer.cli.clustered import KEPT, add_cluster_flags, check_cluster, execute, outcome
from hftrainer.cli.outputs import check_folder
from hftrainer.cli.parser import Done, Parser, RequestError, whole
from hftrainer.cli.progress import Progress


def arguments(parser: Parser) -> None:
    """What ``hftrainer tokenize`` takes."""
    parser.add_argument("artifact", metavar="ARTIFACT", help="a motion tokenizer, or a whole MotionGPT")
    parser.flag("--data", required=True, metavar="DIR", help="a dataset folder in the HumanML3D layout")
    parser.flag("-o", "--output", required=True, metavar="DIR", help="gets one .npy for each clip")
    parser.flag("--split", default="train", help="whose clips; default train")
    parser.flag("--offset", choices=("0", "random"), default="0", help="frame at which a clip's first token begins")
    parser.flag("--seed", type=whole(0), default=0, help="of random offsets; default 0")
    parser.flag("--frames", type=whole(1), nargs=2, metavar=("LEAST", "MOST"),
                help="leave out clips that are shorter or longer; MotionGPT: 40 199")  # fmt: skip
    parser.flag("--skip-existing", action="store_true", help="leave clips alone whose file is there")
    add_cluster_flags(parser)
    parser.flag("--bad-clips", choices=("refuse", "skip"), default="refuse", help="those with a NaN; default refuse")


def tokenize_job(args: argparse.Namespace, progress: Progress) -> Done:
    """The same as a job: what was done stays done when the command is run again."""
    from hftrainer.cluster.works import Tokenizing, clip_items
    from hftrainer.data.packed import open_dataset
    from hftrainer.training.starts import load_tokenizer

    dataset = open_dataset(args.data, (args.split,))
    _, statistics, about = load_tokenizer(args.artifact)
    if dataset.spec != statistics.spec:
        raise RequestError(f"{args.data} must hold {statistics.spec.name}; got {dataset.spec.name}. Take other data.")
    out, frames = Path(args.output).absolute(), tuple(args.frames) if args.frames else None
    items = clip_items(dataset.ids(args.split), args.seed)
    work = Tokenizing(Path(args.artifact).absolute(), Path(args.data).absolute(), out, frames, args.offset == "random")
    request = {"verb": "tokenize", "artifact": about, "statistics": dataset.hash, "frames": args.frames,
               "offset": args.offset}  # fmt: skip
    return outcome(execute(args, out / KEPT, request, items, work, progress), args.output)


def run(args: argparse.Namespace, progress: Progress) -> Done:
    """Export."""
    for name, folder in (("the artifact", args.artifact), ("--data", args.data)):
        if not Path(folder).is_dir():
            raise RequestError(f"{name} must be a folder; {folder} does not exist.")
    if args.frames and args.frames[0] > args.frames[1]:
        raise RequestError(f"--frames must be LEAST MOST; got {args.frames[0]} {args.frames[1]}.")
    check_folder(Path(args.output))
    check_cluster(args)
    progress("loading torch")
    if args.cluster is not None:
        return tokenize_job(args, progress)
    from hftrainer.training.export import export_tokens

    report = export_tokens(
        args.artifact, args.data, args.output, args.split, offset=args.offset, seed=args.seed,
        frames=tuple(args.frames) if args.frames else None, skip_existing=args.skip_existing,
        bad_clips=args.bad_clips, say=progress,
    )  # fmt: skip
    left = ", ".join(f"{len(report[name])} {name.replace('_', ' ')}" for name in ("left_out", "bad") if report[name])
    kept = f", {report['existing']} were there" if report["existing"] else ""
    line = f"{args.output}: {report['written']} clips, {report['tokens']} tokens{kept}; {left}".rstrip("; ")
    return Done(report, [line])
