"""Motion files from one format or representation to another.

IN and OUT are two files, or two folders: then every motion file below IN is converted to the same name
below OUT. The ending of OUT chooses the format; for folders --format does. A .npy holds bare numbers: say
what they are with --from where their shape has several meanings, and with --fps where they do not have the usual rate
(20, KIT 12.5); an .amc needs --fps. Of a folder in which some files fail the others are converted all the
same, and the exit status is 1.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any, NamedTuple

from hftrainer.cli.outputs import DATA, PICTURES, check_folder, plan
from hftrainer.cli.parser import Done, Parser, RequestError, above_zero, add_input_flags, whole
from hftrainer.cli.progress import Progress


class Job(NamedTuple):
    """One file to convert, and how."""

    source: Path
    target: Path
    named: str | None
    fps: float | None
    to: str | None
    resample: float | None
    options: dict[str, Any]


def arguments(parser: Parser) -> None:
    """What ``hftrainer convert`` takes."""
    parser.add_argument("source", metavar="IN", help="a motion file, or a folder of them")
    parser.add_argument("target", metavar="OUT", help=f"a file ending in {', '.join(DATA)}, or a folder")
    add_input_flags(parser)
    parser.flag("--to", metavar="NAME", help="representation of the output (default: that of the input)")
    parser.flag("--resample", type=above_zero("frames per second"), metavar="FPS", help="frame rate of the output")
    parser.flag("--names", help="joint names of a .bvh: smpl (default) or mixamo")
    parser.flag("--unit", help="unit of a .bvh: cm (default) or m")
    parser.flag("--bones", help="of a .bvh: exact (default), or rigid for programs that read rotations only")
    parser.flag("--in-place", action="store_true", help="of a .bvh: the body stays where it begins")
    parser.flag("--format", default="npz", choices=[ending[1:] for ending in DATA], help="for folders (default npz)")
    parser.flag("--workers", type=whole(1), default=1, help="files converted at the same time (default 1)")
    parser.flag("--skip-existing", action="store_true", help="leave files alone that are there already")


def check_names(*names: str | None) -> None:
    """Refuse a representation that does not exist, with the nearest that does.

    Raises:
        RequestError: a name that is unknown.
    """
    from hftrainer.motion.representation.specs import get_spec

    for name in names:
        if name is not None:
            try:
                get_spec(name)
            except KeyError as exc:
                raise RequestError(exc.args[0]) from exc


def bvh_options(args: argparse.Namespace, bvh: bool) -> dict[str, Any]:
    """The options of a request that only a ``.bvh`` has.

    Raises:
        RequestError: there are some, and the output is no ``.bvh``.
    """
    given = {"names": args.names, "unit": args.unit, "bones": args.bones, "in_place": args.in_place or None}
    options = {name: value for name, value in given.items() if value is not None}
    if options and not bvh:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in options)
        raise RequestError(f"{flags} must be left out here; only .bvh files have them.")
    return options


def convert_file(job: Job) -> list[str]:
    """Convert one file.

    Returns:
        What each conversion on the way did to the movement.

    Raises:
        ValueError: the file holds no motion, its meaning must be said, or there is no road to ``job.to``.
        OSError: it cannot be read or written.
    """
    from hftrainer.motion.edit import resample
    from hftrainer.motion.files import load, save
    from hftrainer.motion.representation.convert import convert, describe_route

    motion = load(job.source, representation=job.named, fps=job.fps)
    if job.resample is not None:
        motion = resample(motion, job.resample)
    done = convert(motion, job.to) if job.to else motion
    save(done, job.target, **job.options)
    return describe_route(done, len(motion.route))


def attempt(job: Job) -> str | None:
    """Convert one file of many; the reason when it could not be done."""
    try:
        convert_file(job)
    except (ValueError, OSError) as exc:
        return str(exc)
    return None


def attempts(jobs: Sequence[Job], workers: int) -> Iterator[tuple[Job, str | None]]:
    """Each job and why it failed, as they finish."""
    if workers == 1 or len(jobs) < 2:
        for job in jobs:
            yield job, attempt(job)
        return
    from hftrainer.data.pool import processes

    with processes(min(workers, len(jobs)), method="spawn") as pool:
        waiting = {pool.submit(attempt, job): job for job in jobs}
        for future in as_completed(waiting):
            yield waiting[future], future.result()


def convert_folder(
    args: argparse.Namespace, source: Path, target: Path, options: dict[str, Any], progress: Progress
) -> Done:
    """Convert every motion file below a folder."""
    files = sorted(file for file in source.rglob("*") if file.suffix.lower() in (*DATA, ".amc") and file.is_file())
    if not files:
        raise RequestError(f"{source} must hold motion files ({', '.join(DATA)}, .amc); got none.")
    check_folder(target)
    named = [(file, target / file.relative_to(source).with_suffix(f".{args.format}")) for file in files]
    seen: dict[Path, Path] = {}
    for file, goal in named:
        if seen.setdefault(goal, file) != file:
            raise RequestError(f"{seen[goal]} and {file} would both become {goal}. Convert them one by one.")
    skipped = [goal for _, goal in named if args.skip_existing and goal.exists()]
    jobs = [
        Job(file, goal, args.named, args.fps, args.to, args.resample, options)
        for file, goal in named
        if goal not in skipped
    ]
    wrong: dict[str, str] = {}
    for done, (job, reason) in enumerate(attempts(jobs, args.workers), 1):
        progress(f"converted {done} of {len(jobs)}")
        if reason is not None:
            wrong[str(job.source)] = " ".join(reason.split())
    converted = [str(job.target) for job in jobs if str(job.source) not in wrong]
    lines = [f"failed: {reason if file in reason else f'{file}: {reason}'}" for file, reason in sorted(wrong.items())]
    lines.append(f"{len(converted)} converted, {len(skipped)} skipped, {len(wrong)} failed")
    report = {"converted": converted, "skipped": [str(file) for file in skipped], "failed": wrong}
    return Done(report, lines, code=1 if wrong else 0)


def run(args: argparse.Namespace, progress: Progress) -> Done:
    """Convert a file or a folder."""
    source, target = Path(args.source), Path(args.target)
    if target.suffix.lower() in PICTURES:
        raise RequestError(f"{target} is a picture. Use: hftrainer render {source} -o {target}")
    check_names(args.named, args.to)
    if not source.exists():
        raise RequestError(f"{source} must be a motion file or a folder; there is nothing there.")
    if source.is_dir():
        return convert_folder(args, source, target, bvh_options(args, args.format == "bvh"), progress)
    plan([args.target], 1, DATA)
    options = bvh_options(args, target.suffix.lower() == ".bvh")
    if args.skip_existing and target.exists():
        return Done({"converted": [], "skipped": [str(target)], "failed": {}}, [f"{target} is there already"])
    roads = convert_file(Job(source, target, args.named, args.fps, args.to, args.resample, options))
    report = {"converted": [str(target)], "skipped": [], "failed": {}, "roads": roads}
    return Done(report, [str(target), *(f"  {road}" for road in roads)])
