"""Motion files to pictures.

The ending of each -o chooses: .mp4, .gif and .webp move, .png is one sheet of the whole motion, .html a player for any
browser (hftrainer view shows several motions in one).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from hftrainer.cli.convert import check_names
from hftrainer.cli.outputs import PICTURES, plan
from hftrainer.cli.parser import Done, Parser, RequestError, add_input_flags, whole
from hftrainer.cli.progress import Progress


def arguments(parser: Parser) -> None:
    """What ``hftrainer render`` takes."""
    parser.add_argument("source", metavar="IN", help="a motion file")
    parser.flag("-o", "--output", action="append", metavar="FILE", help=f"may be repeated; {', '.join(PICTURES)}")
    add_input_flags(parser)
    parser.flag("--size", type=whole(64), default=512, help="side of the picture, pixels (default 512)")
    parser.flag("--caption", help="a line under the figure (default: the sentence that the motion was made from)")


def run(args: argparse.Namespace, progress: Progress) -> Done:
    """Draw a motion file."""
    source = Path(args.source)
    check_names(args.named)
    if not source.is_file():
        raise RequestError(f"{source} must be a motion file; there is none.")
    rows = plan(args.output or [], 1, PICTURES)
    from hftrainer.motion.files import load
    from hftrainer.rendering.video import render

    motion = load(source, representation=args.named, fps=args.fps)
    caption = args.caption if args.caption is not None else motion.about.get("prompt")
    for file in rows[0]:
        progress(f"drawing {file}")
        render(motion, file, caption=caption, size=args.size)
    return Done(
        {"frames": len(motion), "fps": motion.fps, "files": [str(f) for f in rows[0]]}, [str(f) for f in rows[0]]
    )
