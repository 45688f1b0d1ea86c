"""Motions to sentences.

Each motion file gets a sentence, the likeliest; with --best-of so many are drawn and the best is said, with
--candidates all of several. --instruction asks something else, with <Motion_Placeholder> where the motion
belongs. Of several files some of which fail the others are answered all the same, and the exit status is 1.
"""

from __future__ import annotations

import argparse
from typing import Any

from hftrainer.cli.answers import chunks
from hftrainer.cli.convert import check_names
from hftrainer.cli.motions import add_model_flags, check_files, open_model, read_motion
from hftrainer.cli.parser import Done, Parser, RequestError, whole
from hftrainer.cli.progress import Progress


def arguments(parser: Parser) -> None:
    """What ``hftrainer caption`` takes."""
    parser.add_argument("files", nargs="+", metavar="MOTION", help="motion files, for example clip.bvh")
    parser.flag("--candidates", type=whole(1), default=1, help="sentences for each motion (default 1, the likeliest)")
    parser.flag("--best-of", type=whole(1), default=1, metavar="N",
                help="draw so many and say the one most like the others that fits the motion; 16 is usual")  # fmt: skip
    parser.flag("--say-frames", action="store_true", help="also tell the model how many frames there are")
    parser.flag("--instruction", metavar="TEXT", help="what to ask, in place of a caption")
    add_model_flags(parser)


def run(args: argparse.Namespace, progress: Progress) -> Done:
    """Say what motions show."""
    if args.best_of > 1 and args.candidates > 1:
        raise RequestError("--best-of says one sentence, --candidates several. Ask for one of the two.")
    files = check_files(args.files)
    check_names(args.named)
    pipe = open_model(args, progress, "caption")
    from hftrainer.errors import GenerationError
    from hftrainer.motion import Motion

    clips: dict[int, Motion] = {}
    said: dict[int, list[str]] = {}
    problems: dict[int, str] = {}

    def describe(part: list[int]) -> None:
        """All together, or, where one of them fails, one after the other."""
        try:
            rows = pipe.infer_m2t(
                [clips[at] for at in part], seed=args.seed, candidates=args.candidates, best_of=args.best_of,
                frames_in_prompt=args.say_frames, instruction=args.instruction,
            )  # fmt: skip
        except (ValueError, GenerationError) as exc:
            if len(files) == 1:
                raise
            if len(part) == 1:
                problems[part[0]] = str(exc)
            else:
                for at in part:
                    describe([at])
        else:
            said.update((at, [row] if isinstance(row, str) else row) for at, row in zip(part, rows, strict=True))

    for at, file in enumerate(files):
        progress(f"reading motion {at + 1} of {len(files)}")
        try:
            clips[at] = read_motion(pipe, file, args)
        except (ValueError, OSError) as exc:
            if len(files) == 1:
                raise
            problems[at] = str(exc)
    order = sorted(clips, key=lambda at: len(clips[at]))
    for part in chunks(len(order)):
        progress(f"captioning {part.start + 1} of {len(order)}")
        describe(order[part])
    report: list[dict[str, Any]] = []
    lines: list[str] = []
    for at, file in enumerate(files):
        entry: dict[str, Any] = {"file": str(file), "captions": said.get(at, [])}
        if at in problems:
            entry["problem"] = problems[at]
            lines.append(f"failed: {file}: {problems[at]}")
        lines += [words if len(files) == 1 else f"{file}: {words}" for words in entry["captions"]]
        report.append(entry)
    return Done({"motions": report, "failed": len(problems)}, lines, code=1 if problems else 0)
