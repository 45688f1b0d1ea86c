"""How fast, and how well: one measurement, printed and kept as JSON.

A measurement that has a bar says whether it holds; the exit status is 1 when one does not.
"""

from __future__ import annotations

import argparse
import json
from importlib import import_module
from pathlib import Path
from typing import Any

from hftrainer.cli.outputs import check_folder
from hftrainer.cli.parser import Done, Parser, RequestError, near
from hftrainer.cli.progress import Progress

#: what is measured -> (module, function that takes nothing and returns JSON values)
BENCHES = {
    "motion": ("hftrainer.bench", "motion_speed"),
    "rendering": ("hftrainer.rendering.speed", "rendering_speed"),
}


def arguments(parser: Parser) -> None:
    """What ``hftrainer bench`` takes."""
    parser.add_argument("what", metavar="WHAT", help=", ".join(BENCHES))
    parser.flag("-o", "--output", metavar="FILE.json", help="keep the result, for example in results/")


def missed(report: Any, name: str) -> list[str]:
    """Names of all parts of a report whose ``holds`` is false.

    >>> missed({"encode": {"holds": True}, "decode": {"holds": False}}, "motion")
    ['motion.decode']
    """
    if isinstance(report, list):
        return [bar for at, part in enumerate(report) for bar in missed(part, f"{name}[{at}]")]
    if not isinstance(report, dict):
        return []
    below = [bar for key, part in report.items() for bar in missed(part, f"{name}.{key}")]
    return ([name] if report.get("holds") is False else []) + below


def run(args: argparse.Namespace, progress: Progress) -> Done:
    """Measure one thing."""
    if args.what not in BENCHES:
        raise RequestError(f"there is no bench {args.what!r}. {near(args.what, BENCHES)}")
    if args.output:
        check_folder(Path(args.output).parent)
    progress(f"measuring {args.what}")
    module, function = BENCHES[args.what]
    report = getattr(import_module(module), function)()
    text = json.dumps(report, indent=2, ensure_ascii=False)
    if args.output:
        Path(args.output).parent.mkdir(parents=True, exist_ok=True)
        Path(args.output).write_text(text + "\n", encoding="utf-8")
    below = missed(report, args.what)
    return Done(report, [text, *(f"below its bar: {name}" for name in below)], code=1 if below else 0)
