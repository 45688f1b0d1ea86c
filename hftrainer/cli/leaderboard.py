"""Tables of pages from the JSON of results: between marks, so that no number is typed by hand.

A page says with <!-- table: NAME FILE.json --> and <!-- end --> which table it wants. Without --into, the evaluation
reports of the folder are printed, a table for each protocol: reports whose protocols, evaluators, splits or
captions differ never stand in one. A report whose real motions drifted is refused.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from hftrainer.cli.parser import Done, Parser, RequestError
from hftrainer.cli.progress import Progress


def arguments(parser: Parser) -> None:
    """What ``hftrainer leaderboard`` takes."""
    parser.add_argument("results", metavar="DIR", help="folder of JSON files")
    parser.flag("--into", action="append", metavar="PAGE.md", help="page whose tables are filled; may be given again")
    parser.flag("--check", action="store_true", help="write nothing; exit status 1 if a table is old")


def run(args: argparse.Namespace, progress: Progress) -> Done:
    """Fill pages, or print the reports of a folder."""
    from hftrainer.evaluation.tables import MARK, leaderboards, write_tables

    results = Path(args.results)
    if not results.is_dir():
        raise RequestError(f"{results} must be a folder of JSON files; there is none.")
    if not args.into:
        if args.check:
            raise RequestError("--check must come with --into PAGE.md. Say which page.")
        those = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(results.rglob("*.json"))]
        found = [value for value in those if isinstance(value, dict)]
        text = leaderboards(*found)
        return Done({"results": str(results), "files": len(found), "table": text}, text.splitlines())
    pages = [Path(name) for name in args.into]
    for page in pages:
        if not page.is_file():
            raise RequestError(f"--into must be a page that is there; {page} is not.")
        if not MARK.search(page.read_text(encoding="utf-8")):
            raise RequestError(f"{page} must hold a mark <!-- table: NAME FILE.json --> and <!-- end -->; it has none.")
    progress(f"filling {len(pages)} pages")
    old = [str(page) for page in write_tables(pages, results, args.check)]
    word = "old" if args.check else "written"
    lines = [f"{word}: {name}" for name in old] or ["all tables are as the results say"]
    return Done({"pages": [str(page) for page in pages], word: old}, lines, 1 if args.check and old else 0)
