"""The first part of a motion to the rest of it.

--keep is the share of the frames that is kept, 1 keeps all; --keep-seconds says it as a time. What is kept comes back
unchanged, and nothing of the other frames is read. --seconds or --frames is the length of the whole result; without
them it is as long as the motion was or, where all of it is kept, as long as the model likes. A model that continues
motions (DiP) makes any length.
"""

from __future__ import annotations

import argparse

from hftrainer.cli.convert import check_names
from hftrainer.cli.generate import tell_unread, write
from hftrainer.cli.motions import (
    CANDIDATES,
    add_drawing_flags,
    add_model_flags,
    check_files,
    open_model,
    read_motion,
    settings_of,
)
from hftrainer.cli.outputs import DATA, PICTURES, plan
from hftrainer.cli.parser import Done, Parser, RequestError, above_zero, whole
from hftrainer.cli.pictures import add_style_flags, style_of
from hftrainer.cli.progress import Progress


def arguments(parser: Parser) -> None:
    """What ``hftrainer predict`` takes."""
    parser.add_argument("file", metavar="MOTION", help="a motion file, for example clip.npz")
    parser.flag("--keep", type=above_zero(), metavar="SHARE", help="share of the frames that is kept (default 0.2)")
    parser.flag("--keep-seconds", type=above_zero("seconds"), help="what is kept as a time, instead of --keep")
    parser.flag("--seconds", type=above_zero("seconds"), help="length of the whole result")
    parser.flag("--frames", type=whole(1), help="length in frames, instead of --seconds")
    parser.flag("--caption", metavar="SENTENCE", help="what the motion is said to be")
    add_model_flags(parser)
    add_drawing_flags(parser)
    add_style_flags(parser)
    parser.flag("--candidates", type=whole(1), help=f"{CANDIDATES} (default 8)")
    parser.flag("-o", "--output", action="append", metavar="FILE",
                help=f"may be repeated; {', '.join(DATA + PICTURES)}")  # fmt: skip


def run(args: argparse.Namespace, progress: Progress) -> Done:
    """Go on with a motion."""
    for one, other in (("keep", "keep_seconds"), ("seconds", "frames")):
        if getattr(args, one) is not None and getattr(args, other) is not None:
            raise RequestError(f"--{one} and --{other.replace('_', '-')} say the same thing; got both. Keep one.")
    (file,) = check_files([args.file])
    check_names(args.named)
    (outputs,) = plan(args.output or [], 1, DATA + PICTURES)
    style = style_of(args)
    pipe = open_model(args, progress, "predict")
    settings = settings_of(args, pipe, "predict")
    motion = read_motion(pipe, file, args)
    frames = args.frames if args.seconds is None else round(args.seconds * motion.fps)
    progress("going on with the motion")
    made = pipe.predict(
        motion, keep=0.2 if args.keep is None else args.keep, keep_seconds=args.keep_seconds, frames=frames,
        caption=args.caption, seed=args.seed, **settings,
    )  # fmt: skip
    if not args.quiet:
        tell_unread(made, args.caption)
    write(made, outputs, args.caption, progress, style)
    report = {"frames": len(made), "fps": made.fps, "files": [str(out) for out in outputs], "about": dict(made.about)}
    return Done(report, [str(out) for out in outputs])
