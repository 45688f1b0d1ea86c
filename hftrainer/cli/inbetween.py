"""Both ends of a motion to its middle, or two motions to one.

Of one motion, --keep gives the shares of the frames that are kept at the start and at the end; they come back
unchanged and where they were. Of two motions all frames are kept, --gap says the seconds between them, and the second
goes on where the first one leads, or with --place where you say: metres to the left, metres ahead and degrees to
the left, in the world of the first motion, whose first frame stands at 0 0 and faces ahead. --caption says what the
motion shall be, to a model that denoises.
"""

from __future__ import annotations

import argparse
import math

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
    """What ``hftrainer inbetween`` takes."""
    parser.add_argument("files", nargs="+", metavar="MOTION", help="one motion file, or two to be joined")
    parser.flag("--keep", nargs=2, type=above_zero(), metavar="SHARE",
                help="of one motion: shares kept at both ends (default 0.25 0.25)")  # fmt: skip
    parser.flag("--keep-seconds", nargs=2, type=above_zero("seconds"), metavar="SECONDS",
                help="what is kept as times, instead of --keep")  # fmt: skip
    parser.flag("--gap", type=above_zero("seconds"), help="of two motions: seconds between them")
    parser.flag("--place", nargs=3, type=float, metavar="NUMBER", help="of two motions: where the second begins")
    parser.flag("--caption", metavar="SENTENCE", help="of a model that denoises: what the motion shall be")
    add_model_flags(parser)
    add_drawing_flags(parser)
    add_style_flags(parser)
    parser.flag("--candidates", type=whole(1), help=f"{CANDIDATES} (default 8)")
    parser.flag("-o", "--output", action="append", metavar="FILE",
                help=f"may be repeated; {', '.join(DATA + PICTURES)}")  # fmt: skip


def check(args: argparse.Namespace) -> None:
    """Refuse what does not go together.

    Raises:
        RequestError: three files, two without a gap, or flags of the other kind of request.
    """
    if len(args.files) > 2:
        raise RequestError(f"give one motion, or two to be joined; got {len(args.files)}.")
    two = len(args.files) == 2
    surplus = [flag for flag in (("keep", "keep_seconds") if two else ("gap", "place")) if getattr(args, flag)]
    if surplus:
        flags = ", ".join(f"--{flag.replace('_', '-')}" for flag in surplus)
        raise RequestError(f"{flags} must be left out with {'two motions' if two else 'one motion'}.")
    if two and args.gap is None:
        raise RequestError("--gap must say the seconds between two motions; got none.")
    if args.keep and args.keep_seconds:
        raise RequestError("--keep and --keep-seconds say the same thing; got both. Keep one.")
    if args.place and not all(map(math.isfinite, args.place)):
        raise RequestError(f"--place must be three numbers; got {args.place}.")


def run(args: argparse.Namespace, progress: Progress) -> Done:
    """Fill the middle."""
    check(args)
    files = check_files(args.files)
    check_names(args.named)
    (outputs,) = plan(args.output or [], 1, DATA + PICTURES)
    style = style_of(args)
    pipe = open_model(args, progress, "inbetween")
    settings = settings_of(args, pipe, "inbetween", ("caption",))
    from hftrainer.pipelines.joining import Place

    motions = [read_motion(pipe, file, args) for file in files]
    progress("filling the middle")
    if len(motions) == 2:
        place = None
        if args.place:
            x, z, degrees = args.place
            place = Place(x, z, -math.radians(degrees))
        made = pipe.inbetween(*motions, gap=args.gap, place=place, seed=args.seed, **settings)
    else:
        keep = (0.25, 0.25) if args.keep is None else (args.keep[0], args.keep[1])
        seconds = None if args.keep_seconds is None else (args.keep_seconds[0], args.keep_seconds[1])
        made = pipe.inbetween(motions[0], keep=keep, keep_seconds=seconds, seed=args.seed, **settings)
    if not args.quiet:
        tell_unread(made, args.caption)
    write(made, outputs, args.caption, progress, style)
    report = {"frames": len(made), "fps": made.fps, "files": [str(out) for out in outputs], "about": dict(made.about)}
    return Done(report, [str(out) for out in outputs])
