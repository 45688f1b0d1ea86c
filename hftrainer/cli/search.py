"""A sentence or a motion file to what is like it: the motion files of a folder, or the lines of a .txt file.

An evaluator puts sentences and motions into one space; what is nearest there comes first, with its distance. Motions
that cannot be read are told and passed over; the exit status is then 1.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from hftrainer.cli.outputs import check_folder
from hftrainer.cli.parser import Done, Parser, RequestError, above_zero, whole
from hftrainer.cli.progress import Progress

if TYPE_CHECKING:
    from hftrainer.motion import Motion


def arguments(parser: Parser) -> None:
    """What ``hftrainer search`` takes."""
    parser.add_argument("question", metavar="SENTENCE|FILE", help="what is looked for")
    parser.flag("--in", dest="place", metavar="DIR|FILE.txt", help="folder of motions, or a sentence a line")
    parser.flag("--evaluator", metavar="DIR", help="networks for sentences and motions; evaluator-mini by default")
    parser.flag("--most", type=whole(1), default=10, help="how many answers (default 10)")
    parser.flag("--from", dest="named", metavar="NAME", help="representation of .npy files whose shape has several")
    parser.flag("--fps", type=above_zero("frames per second"), help="frame rate of files that do not say theirs")
    parser.flag("--cache", metavar="DIR", help="keep embeddings here, by content, and find them again")


def read_place(place: Path, args: argparse.Namespace) -> tuple[dict[str, str | Motion], dict[str, str]]:
    """What is searched: name -> sentence or motion, and files that cannot be read with the reason."""
    from hftrainer.motion.files import READ, load

    if place.is_file() and place.suffix == ".txt":
        lines = [line.strip() for line in place.read_text(encoding="utf-8").splitlines()]
        return {line: line for line in lines if line}, {}
    if not place.is_dir():
        raise RequestError(f"--in must be a folder of motions or a .txt file of sentences; got {place}.")
    found: dict[str, str | Motion] = {}
    passed: dict[str, str] = {}
    for file in sorted(file for file in place.rglob("*") if file.suffix.lower() in READ and file.is_file()):
        name = file.relative_to(place).as_posix()
        try:
            found[name] = load(file, representation=args.named, fps=args.fps)
        except (ValueError, OSError) as error:
            passed[name] = str(error)
    return found, passed


def run(args: argparse.Namespace, progress: Progress) -> Done:
    """Put question and answers into one space, and print what is near."""
    if args.place is None:
        raise RequestError("--in must say where to look: a folder of motions, or a .txt file of sentences.")
    if args.cache is not None:
        check_folder(Path(args.cache))
    from hftrainer.errors import NoRouteError
    from hftrainer.evaluation.search import nearest, points, readable
    from hftrainer.models.evaluator import find_evaluator, load_evaluator
    from hftrainer.motion.files import READ, load

    folder = find_evaluator(args.evaluator)
    progress("reading what is there")
    found, passed = read_place(Path(args.place), args)
    asked = Path(args.question)
    question: str | Motion = args.question
    if asked.suffix.lower() in READ:
        question = load(asked, representation=args.named, fps=args.fps)
    elif not args.question.strip():
        raise RequestError("the question must be a sentence or a motion file; got nothing.")
    evaluator = load_evaluator(folder)
    if args.cache is not None:
        from hftrainer.evaluation.cache import keep_encodings

        evaluator = keep_encodings(evaluator, args.cache)
    items: dict[str, str | Motion] = {}
    for name, item in found.items():
        try:
            items[name] = item if isinstance(item, str) else readable(evaluator, item)
        except (ValueError, NoRouteError) as error:
            passed[name] = str(error)
    if not items:
        why = "; ".join(f"{name}: {reason}" for name, reason in list(passed.items())[:3]) or "it is empty"
        raise RequestError(f"{args.place} must hold something to search; {why}")
    progress(f"comparing {len(items)}")
    at = points(evaluator, [question, *items.values()])
    answers = nearest(at[0], at[1:], list(items), args.most)
    lines = [f"{answer.distance:8.3f}  {answer.name}" for answer in answers]
    lines += [f"passed over: {name}: {reason}" for name, reason in passed.items()]
    report = {
        "question": args.question,
        "evaluator": {"folder": str(folder), "hash": evaluator.hash},
        "found": [{"name": answer.name, "distance": answer.distance} for answer in answers],
        "passed_over": passed,
    }
    return Done(report, lines, 1 if passed else 0)
