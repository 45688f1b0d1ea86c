"""Motion files to pictures.

The ending of each -o chooses: .mp4, .gif and .webp move, .png is one sheet of the whole motion, .html a player for any
browser (hftrainer view shows several motions in one). Several motions stand side by side, or with --together on one
floor where they are. --style says how figures look: skeleton is quickest; body is shaded, with soft shadows; blender is
the body in Blender's light, seconds for each frame. With --sequence a .png shows the poses of a motion in a row, paler
the earlier they are; so does --style blender. A player has its own looks.
"""

from __future__ import annotations

import argparse

from hftrainer.cli.convert import check_names
from hftrainer.cli.motions import check_files
from hftrainer.cli.outputs import PICTURES, plan
from hftrainer.cli.parser import Done, Parser, RequestError, above_zero, add_input_flags, whole
from hftrainer.cli.pictures import add_style_flags, style_of
from hftrainer.cli.progress import Progress


def arguments(parser: Parser) -> None:
    """What ``hftrainer render`` takes."""
    parser.add_argument("sources", nargs="+", metavar="IN", help="motion files")
    parser.flag("-o", "--output", action="append", metavar="FILE", help=f"may be repeated; {', '.join(PICTURES)}")
    add_input_flags(parser)
    parser.flag("--size", type=whole(64), default=512, help="side of the picture, pixels (default 512)")
    parser.flag("--picture-fps", type=above_zero("frames per second"), help="of the picture (default the motion's)")
    parser.flag("--caption", help="a line under the figure (default: the sentence that the motion was made from)")
    add_style_flags(parser)
    parser.flag("--poses", type=whole(1), help=".png: how many poses (default about two a second, in a row 8)")
    parser.flag("--sequence", action="store_true", help=".png: the poses in a row, not in cells (not skeleton)")
    parser.flag("--together", action="store_true", help="several motions in one picture (not skeleton)")
    parser.flag("--no-gl", action="store_true", help="style body: without OpenGL, where the extra gl is installed")


def run(args: argparse.Namespace, progress: Progress) -> Done:
    """Draw motion files."""
    sources = check_files(args.sources)
    check_names(args.named)
    rows = plan(args.output or [], 1, PICTURES)
    style = style_of(args)
    if args.style == "skeleton" and (args.sequence or args.together):
        raise RequestError("--sequence and --together must be left out with --style skeleton. Take --style body.")
    from hftrainer.motion.files import load
    from hftrainer.rendering.video import render

    motions = [load(source, representation=args.named, fps=args.fps) for source in sources]
    captions = [motion.about.get("prompt") if args.caption is None else args.caption for motion in motions]
    for file in rows[0]:
        progress(f"drawing {file}")
        render(
            motions, file, caption=captions, size=args.size, fps=args.picture_fps, poses=args.poses,
            sequence=args.sequence or None, together=args.together, gl=False if args.no_gl else None, **style,
        )  # fmt: skip
    files = [str(file) for file in rows[0]]
    return Done({"frames": len(motions[0]), "fps": motions[0].fps, "files": files}, files)
