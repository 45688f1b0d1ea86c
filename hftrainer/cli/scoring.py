"""Every built-in model and every task in one go: the reports that ``hftrainer evaluate all`` writes."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hftrainer.cli.outputs import check_folder
from hftrainer.cli.parser import Done, RequestError
from hftrainer.cli.progress import Progress
from hftrainer.pipelines.table import built_in

#: Longest work first, so that no worker waits long for the last.
_ORDER = ("inbetween", "pred", "m2t", "t2m", "reconstruction", "recall")
#: What a line of the summary shows of a report.
_SHOWN = ("R@1", "R@3", "FID", "true R@1", "true R@3", "ADE", "FDE", "MPJPE", "raw/BLEU-4", "raw/ROUGE-L", "slide")


@dataclass(frozen=True)
class Work:
    """One report that is to be made: its name, and the words of the command that makes it."""

    name: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class Made:
    """What came of a ``Work``: the report, lines for people, the exit status."""

    name: str
    report: dict[str, Any]
    lines: tuple[str, ...]
    code: int


def check_all(args: argparse.Namespace) -> None:
    """Refuse a wrong request for everything at once.

    Raises:
        RequestError: a flag that belongs to one model or one task, or no folder.
    """
    alone = {"--model": args.model, "--keep": args.keep, "--calibrate": args.calibrate or None,
             "--cluster": args.cluster}  # fmt: skip
    given = [flag for flag, value in alone.items() if value is not None]
    if given:
        raise RequestError(f"{given[0]} must come with one model and one task; got all. Leave it out.")
    if args.data is None:
        raise RequestError("--data must name a dataset folder. Make one with hftrainer data build.")
    if args.output is None or Path(args.output).suffix.lower() == ".json":
        raise RequestError("say with -o which folder the reports go to.")
    if args.evaluator == "none":
        raise RequestError("all must come with an evaluator, which tells the real row; got --evaluator none.")
    check_folder(Path(args.output))


def works(args: argparse.Namespace) -> list[Work]:
    """The reports of all built-in models and of the real motions; of one task where one is named."""
    from hftrainer.cli.evaluate import tasks_of
    from hftrainer.models.evaluator import find_evaluator

    shared = ["--data", args.data, "--split", args.split, "--replications", str(args.replications),
              "--seed", str(args.seed), "--device", args.device, "--padding", args.padding]  # fmt: skip
    for flag, value in (("--limit", args.limit), ("--evaluator", args.evaluator), ("--cache", args.cache)):
        shared += [] if value is None else [flag, str(value)]
    shared += ["--skip-existing"] if args.skip_existing else []
    own = {"t2m": ("--multimodality", args.multimodality), "m2t": ("--best-of", args.best_of)}
    found: list[tuple[str, str, str, list[str]]] = [("real", find_evaluator(args.evaluator).name, "recall", [])]
    for name, kind in built_in().items():
        found += [(kind.name, f"{name}-{task}", task, ["--model", name]) for task in tasks_of(kind.name)]
    made = []
    for family, name, task, words in sorted(found, key=lambda one: _ORDER.index(one[2])):
        if args.task in (None, task):
            flag, value = own.get(task, ("", None))
            more = [] if value is None else [flag, str(value)]
            out = str(Path(args.output) / f"{name}.json")
            made.append(Work(name, (family, "--task", task, *words, *shared, *more, "-o", out)))
    return made


def told(work: Work, report: dict[str, Any], code: int) -> Made:
    """A report, or the ``error`` that it came to, with its lines."""
    if "metrics" not in report:
        return Made(work.name, report, (f"{work.name} failed: {report.get('error', 'it was killed')}",), code or 1)
    metrics, calibration = report["metrics"], report.get("calibration")
    numbers = [f"{name} {metrics[name]['mean']:.3f} ± {metrics[name]['interval95']:.3f}"
               for name in _SHOWN if name in metrics]  # fmt: skip
    if calibration is not None:
        words = {True: "holds", False: f"does not hold: {calibration['reason']}", None: "unknown"}
        numbers.append(f"calibration {words[calibration['holds']]}")
    return Made(work.name, report, (f"{work.name}: {', '.join(numbers)}; {report['seconds']:.0f} s",), code)


def here(work: Work, progress: Progress) -> Made:
    """Make one report in this process; a failure is told, and stops no other."""
    from hftrainer.cli import evaluate
    from hftrainer.cli.entry import FAILED, WRONG, make_parser, sentence_of

    try:
        done = evaluate.run(make_parser("evaluate").read(work.words), progress)
    except (*FAILED, *WRONG, KeyError, OSError) as error:
        return told(work, {"error": sentence_of(error)}, 1)
    return told(work, done.report, done.code)


class Elsewhere:
    """Reports made in processes of their own, which end with this one and import nothing from the working folder.

    Args:
        threads: of each.
    """

    def __init__(self, threads: int) -> None:
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        here = [str(Path(__file__).resolve().parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.environment = {**os.environ, **dict.fromkeys(names, str(threads)), "PYTHONPATH": os.pathsep.join(here)}
        self.running: list[subprocess.Popen[str]] = []

    def __call__(self, work: Work) -> Made:
        """Make one report."""
        command = [sys.executable, "-P", "-m", "hftrainer", "evaluate", *work.words, "--json", "--quiet"]
        process = subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, text=True)
        self.running.append(process)
        said, _ = process.communicate()
        return told(work, json.loads(said) if said else {}, process.returncode)

    def stop(self) -> None:
        """End what still runs; a report appears whole or not at all."""
        for process in self.running:
            if process.poll() is None:
                process.terminate()


def all_of(those: Sequence[Work], workers: int, progress: Progress) -> Iterator[Made]:
    """The reports as they are finished, so many at a time."""
    if workers == 1 or len(those) < 2:
        for work in those:
            yield here(work, progress)
        return
    elsewhere = Elsewhere(max(1, (os.cpu_count() or 1) // workers))
    pool = ThreadPoolExecutor(workers)
    try:
        for future in as_completed([pool.submit(elsewhere, work) for work in those]):
            yield future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        elsewhere.stop()


def run_all(args: argparse.Namespace, progress: Progress) -> Done:
    """Make all reports; the exit status is 1 where one failed, or does not hold."""
    check_all(args)
    those = works(args)
    if not those:
        raise RequestError(f"--task must be one that a built-in model has; none has {args.task}.")
    Path(args.output).mkdir(parents=True, exist_ok=True)
    progress(f"making {len(those)} reports, {args.workers} at a time")
    made = []
    for number, part in enumerate(all_of(those, args.workers, progress), 1):
        made.append(part)
        progress(f"{number} of {len(those)} reports; {part.lines[0]}")
    made.sort(key=lambda part: part.name)
    lines = [line for part in made for line in part.lines]
    failed = [part.name for part in made if part.code]
    wrong = f", of which fail: {', '.join(failed)}" if failed else ""
    reports = {part.name: {"seconds": part.report.get("seconds"), "code": part.code} for part in made}
    about = {"folder": args.output, "reports": reports, "failed": failed}
    return Done(about, [*lines, f"{len(made)} reports in {args.output}{wrong}"], 1 if failed else 0)
