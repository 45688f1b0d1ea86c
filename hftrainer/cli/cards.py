"""Cards of the model zoo: pages of docs/model_zoo, the README of artifact folders and of hub repositories.

Without a flag the README of every artifact folder below checkpoints/ that is there is compared with its page; --remote
compares the hub's too. The exit status is 1 when one is missing or old. --write-local and --push bring them in step;
--push needs the token of hf auth login.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from hftrainer.cli.parser import Done, Parser, RequestError
from hftrainer.cli.progress import Progress


def arguments(parser: Parser) -> None:
    """What ``hftrainer cards`` takes."""
    parser.flag("--check", action="store_true", help="say what is missing or old (what is done without a flag)")
    parser.flag("--remote", action="store_true", help="compare with the hub's cards too")
    parser.flag("--write-local", action="store_true", help="write the README of the artifact folders")
    parser.flag("--push", action="store_true", help="write the README of the hub's repositories")
    parser.flag("--only", action="append", metavar="SLUG|REPO", help="one model; may be given again")
    parser.flag("--root", default=".", metavar="DIR", help="the checkout that has docs/model_zoo (default here)")


def run(args: argparse.Namespace, progress: Progress) -> Done:
    """Compare, write or push."""
    from hftrainer.evaluation import cards

    root = Path(args.root)
    if not (root / "docs" / "model_zoo").is_dir():
        raise RequestError(f"{root} must be a checkout with docs/model_zoo; it is none. Go there, or give --root DIR.")
    chosen = cards.choose(args.only or ())
    lines: list[str] = []
    written: list[str] = []
    pushed: list[str] = []
    if args.write_local:
        written = cards.write_local(chosen, root)
        lines += [f"written: {name}" for name in written] or ["nothing to write: all that is there is as its page"]
    if args.push:
        progress(f"pushing {len(chosen)} cards")
        pushed = cards.push(chosen, root)
        lines += [f"pushed: {name}" for name in pushed]
    problems: list[str] = []
    if args.check or args.remote or not (args.write_local or args.push):
        progress(f"comparing {len(chosen)} cards")
        problems = cards.check(chosen, root, args.remote)
        lines += problems or [f"all cards are as their pages: {', '.join(card.slug for card in chosen)}"]
    report = {"cards": [card.slug for card in chosen], "written": written, "pushed": pushed, "problems": problems}
    return Done(report, lines, 1 if problems else 0)
