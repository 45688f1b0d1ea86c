"""Motions in a browser: one offline page with a player, up to six motions at the same time.

Without -o the page is written to a new folder for temporary files. It needs no network and can be sent to others.
Beside each motion stand its caption, what can be said of any movement, and the physical measures of hftrainer evaluate;
--metrics adds numbers of your own: a JSON file that gives names (files without their endings) objects of measures.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import webbrowser
from pathlib import Path
from typing import Any

from hftrainer.cli.convert import check_names
from hftrainer.cli.motions import check_files
from hftrainer.cli.outputs import check_player, plan
from hftrainer.cli.parser import Done, Parser, RequestError, add_input_flags, near
from hftrainer.cli.progress import Progress

#: ``hftrainer.rendering.player`` has the same, and would load NumPy.
MOST, STYLES = 6, ("skeleton", "body")


def arguments(parser: Parser) -> None:
    """What ``hftrainer view`` takes."""
    parser.add_argument("motions", nargs="+", metavar="MOTION", help="1 to 6 motion files")
    parser.flag("-o", "--output", metavar="FILE.html", help="where the page goes; it is not opened then")
    add_input_flags(parser)
    parser.flag("--caption", action="append", metavar="TEXT",
                help="beside the motions, once or once for each (default: the sentence of each)")  # fmt: skip
    parser.flag("--metrics", metavar="FILE.json", help='more measures: {"walk": {"fid": 0.4}}')
    parser.flag("--style", default="skeleton", metavar="STYLE", help="skeleton (default) or body")
    parser.flag("--overlay", action="store_true", help="over each other instead of side by side")
    parser.flag("--no-open", dest="open", action="store_false", help="write the page and open no browser")


def run(args: argparse.Namespace, progress: Progress) -> Done:
    """Write the page, and show it."""
    if args.style not in STYLES:
        known = ", ".join(STYLES)
        raise RequestError(f"--style must be one of {known}; got {args.style!r}. {near(args.style, STYLES)}")
    if len(args.motions) > MOST:
        raise RequestError(f"a page holds 1 to {MOST} motions; got {len(args.motions)}. Make several pages.")
    check_names(args.named)
    files = check_files(args.motions)
    captions = _captions(args.caption, len(files))
    wanted = _read_metrics(args.metrics, [file.stem for file in files]) if args.metrics else {}
    if args.output:
        ((page,),) = plan([args.output], 1, (".html",))
    else:
        check_player()
        page = Path(tempfile.mkdtemp(prefix="hftrainer-view-")) / f"{files[0].stem}.html"
    from hftrainer.evaluation.physics import labelled
    from hftrainer.motion.files import load
    from hftrainer.rendering.player import write_player

    progress("reading")
    motions = [load(file, representation=args.named, fps=args.fps).replace(name=file.stem) for file in files]
    tables = [labelled(motion) | wanted.get(motion.name, {}) for motion in motions]
    progress(f"writing {page}")
    layout = "overlay" if args.overlay else "side"
    write_player(motions, page, captions=captions, metrics=tables, style=args.style, layout=layout)
    opened = args.open and not args.output and _has_screen() and webbrowser.open(page.as_uri())
    return Done({"file": str(page), "motions": len(motions), "opened": bool(opened)}, [str(page)])


def _captions(said: list[str] | None, count: int) -> list[str] | str | None:
    """One caption for all, one for each, or each motion's own."""
    if said is None or len(said) == count:
        return said
    if len(said) == 1:
        return said[0]
    raise RequestError(f"--caption must be given once, or once for each motion; got {len(said)} for {count}.")


def _read_metrics(path: str, names: list[str]) -> dict[str, dict[str, Any]]:
    """Measures by name from a JSON file.

    Raises:
        RequestError: no JSON, another form, or a name that no motion has.
    """
    try:
        table = json.loads(Path(path).read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as exc:
        raise RequestError(f"{path} must be JSON; got something else: {exc}.") from exc
    if not isinstance(table, dict) or not all(isinstance(row, dict) for row in table.values()):
        raise RequestError(f'{path} must hold measures by name, {{"walk": {{"fid": 0.4}}}}; got another form.')
    if strange := [name for name in table if name not in names]:
        raise RequestError(f"{path} names {', '.join(strange)}; the motions are {', '.join(names)}. Name those.")
    return table


def _has_screen() -> bool:
    """Whether a browser would have a window to open; those in a terminal would take it over."""
    return sys.platform in ("win32", "darwin") or any(name in os.environ for name in ("DISPLAY", "WAYLAND_DISPLAY"))
