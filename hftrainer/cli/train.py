"""One recipe to one run folder.

--set changes one setting of the recipe, as TOML: --set optimizer.rate=1e-4. A run that was stopped goes on with
--resume, bit for bit as if it had not been. --sweep runs the recipe once for each value of a setting, each into a
folder of its own, and writes sweep.json and table.md beside them.

Several processes share every batch:
accelerate launch --multi_gpu --num_processes 2 -m hftrainer train RECIPE.toml -o DIR
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from hftrainer.cli.outputs import check_folder
from hftrainer.cli.parser import Done, Parser, RequestError
from hftrainer.cli.progress import Progress


def arguments(parser: Parser) -> None:
    """What ``hftrainer train`` takes."""
    parser.add_argument("recipe", metavar="RECIPE.toml", help="see recipes/")
    parser.flag("-o", "--output", required=True, metavar="DIR", help="the run folder: log, checkpoints, artifact")
    parser.flag("--set", action="append", default=[], dest="changes", metavar="A.B=C", help="may be repeated")
    parser.flag("--resume", action="store_true", help="go on from the last checkpoint in DIR")
    parser.flag("--sweep", metavar="A.B=C,D,…", help="one run for each value: network.down=0,1,2,3")


def run(args: argparse.Namespace, progress: Progress) -> Done:
    """Train."""
    if not Path(args.recipe).is_file():
        raise RequestError(f"{args.recipe} must be a recipe; there is no such file. See recipes/.")
    for change in args.changes:
        key, equals, _ = change.partition("=")
        if not equals or not all(part.isidentifier() for part in key.strip().split(".")):
            raise RequestError(f"--set must look like optimizer.rate=1e-4; got {change!r}.")
    check_folder(Path(args.output))
    progress("loading torch")
    from hftrainer.training.loop import tell
    from hftrainer.training.processes import is_first_process
    from hftrainer.training.recipe import run_recipe
    from hftrainer.training.sweep import run_sweep, table

    started, say = time.monotonic(), (lambda line: None) if args.quiet else tell
    if args.sweep:
        rows = run_sweep(args.recipe, args.output, args.sweep, args.changes, args.resume, say)
        seconds = round(time.monotonic() - started, 1)
        report = {"recipe": args.recipe, "folder": args.output, "runs": rows, "seconds": seconds}
        return Done(report, table(rows).splitlines() if is_first_process() else [])
    artifact = run_recipe(args.recipe, args.output, args.changes, args.resume, say)
    report = {"recipe": args.recipe, "artifact": str(artifact), "seconds": round(time.monotonic() - started, 1)}
    return Done(report, [str(artifact)] if is_first_process() else [])
