"""What the verbs that draw share: the flags that say how a picture looks."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from hftrainer.cli.parser import Parser, RequestError, near

#: The styles; ``hftrainer.rendering.look`` has the same, and would load NumPy.
STYLES = ("skeleton", "body", "blender")


def add_style_flags(parser: Parser) -> None:
    """``--style``, ``--draft``, ``--smpl``, ``--blender``: how pictures look."""
    parser.flag("--style", default="skeleton", metavar="STYLE",
                help=f"of pictures: {', '.join(STYLES)} (default skeleton)")  # fmt: skip
    parser.flag("--draft", action="store_true", help="of pictures: sooner done and rougher")
    parser.flag("--smpl", metavar="FILE", help="styles body and blender: an SMPL-type body of yours (.npz, .pkl)")
    parser.flag("--blender", metavar="PROGRAM", help="style blender: Blender, or a Python that has bpy")


def style_of(args: argparse.Namespace) -> dict[str, Any]:
    """The options of ``hftrainer.rendering.render`` that the flags say, checked before any work is done.

    Raises:
        RequestError: an unknown style, a flag that the style does not have, no such body, or no Blender.
    """
    if args.style not in STYLES:
        hint = near(args.style, STYLES)
        raise RequestError(f"--style must be one of {', '.join(STYLES)}; got {args.style!r}. {hint}")
    if args.style == "skeleton" and args.smpl is not None:
        raise RequestError("--smpl must be left out with --style skeleton. Take --style body.")
    if args.style != "blender" and args.blender is not None:
        raise RequestError(f"--blender must be left out with --style {args.style}.")
    found: dict[str, Any] = {"style": args.style, "draft": args.draft}
    if args.smpl is not None:
        if not Path(args.smpl).is_file():
            raise RequestError(f"{args.smpl} must be a body model; there is none. Check the path.")
        from hftrainer.motion.smpl import load_body

        found["smpl"] = load_body(args.smpl)
    if args.style == "blender":
        from hftrainer.motion.files.fbx import find_blender

        try:
            find_blender(args.blender, "the style blender", "blender")
        except FileNotFoundError as exc:
            raise RequestError(str(exc)) from exc
        found["blender"] = args.blender
    return found
