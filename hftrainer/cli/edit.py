"""A motion with a part of the body, or a span of time, made anew to a sentence.

--part says which joints are made: upper_body, lower_body (or upper, lower), arms, left_arm, right_arm, legs, left_leg,
right_leg, torso, head, root (the path through space), or joints by name or number, with commas between them. --start
and --end say between which seconds; without them all of the motion is meant. Everything else comes back unchanged and
where it was in the world. Without a sentence the part does whatever goes with the rest.
"""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING

from hftrainer.cli.convert import check_names
from hftrainer.cli.generate import tell_unread, write
from hftrainer.cli.motions import (
    add_drawing_flags,
    add_model_flags,
    check_files,
    open_model,
    read_motion,
    settings_of,
)
from hftrainer.cli.outputs import DATA, PICTURES, plan
from hftrainer.cli.parser import Done, Parser, RequestError, above_zero
from hftrainer.cli.pictures import add_style_flags, style_of
from hftrainer.cli.progress import Progress

if TYPE_CHECKING:
    from hftrainer.motion import Motion


def arguments(parser: Parser) -> None:
    """What ``hftrainer edit`` takes."""
    parser.add_argument("file", metavar="MOTION", help="a motion file, for example clip.npz")
    parser.add_argument("sentence", nargs="?", metavar="SENTENCE", help='for example "waves the left arm"')
    parser.flag("--part", metavar="PART", help="which part of the body is made: upper_body, left_arm, a joint, …")
    parser.flag("--start", type=float, metavar="SECONDS", help="where the span that is made begins (default 0)")
    parser.flag("--end", type=above_zero("seconds"), help="where it ends (default the motion's end)")
    add_model_flags(parser)
    add_drawing_flags(parser)
    add_style_flags(parser)
    parser.flag("-o", "--output", action="append", metavar="FILE",
                help=f"may be repeated; {', '.join(DATA + PICTURES)}")  # fmt: skip


def check(args: argparse.Namespace) -> None:
    """Refuse a request that changes nothing, or everything.

    Raises:
        RequestError: neither part nor span, an empty sentence, or a start that is no time.
    """
    if args.sentence is not None and not args.sentence.strip():
        raise RequestError("the sentence must have words; got an empty one. Say what the part does, or leave it out.")
    if args.part is None and args.start is None and args.end is None:
        raise RequestError(
            "say what is made anew: --part, or a span with --start and --end. For a whole new motion: hftrainer "
            "generate."
        )
    if args.start is not None and not (math.isfinite(args.start) and args.start >= 0):
        raise RequestError(f"--start must be a number of seconds of at least 0; got {args.start:g}.")


def span_of(args: argparse.Namespace, motion: Motion) -> tuple[int, int] | None:
    """First frame that is made and first one that is not, or ``None`` for all.

    Raises:
        RequestError: a span that is empty or begins behind the motion.
    """
    if args.start is None and args.end is None:
        return None
    start = round((args.start or 0.0) * motion.fps)
    stop = len(motion) if args.end is None else round(args.end * motion.fps)
    if not start < stop <= len(motion):
        raise RequestError(
            f"--start and --end must hold at least one frame of the motion's {motion.seconds:g} seconds; "
            f"got {args.start or 0:g} to {motion.seconds if args.end is None else args.end:g}."
        )
    return start, stop


def run(args: argparse.Namespace, progress: Progress) -> Done:
    """Change a motion."""
    check(args)
    (file,) = check_files([args.file])
    check_names(args.named)
    (outputs,) = plan(args.output or [], 1, DATA + PICTURES)
    style = style_of(args)
    pipe = open_model(args, progress, "edit")
    settings = settings_of(args, pipe, "edit")
    motion = read_motion(pipe, file, args)
    span = span_of(args, motion)
    progress("changing the motion")
    made = pipe.edit(motion, args.sentence, part=args.part, span=span, seed=args.seed, **settings)
    if not args.quiet:
        tell_unread(made, args.sentence)
    write(made, outputs, args.sentence, progress, style)
    report = {"frames": len(made), "fps": made.fps, "files": [str(out) for out in outputs], "about": dict(made.about)}
    return Done(report, [str(out) for out in outputs])
