"""Motion files from one format or representation to another.

IN and OUT are two files, or two folders: then every motion file below IN is converted to the same name below OUT. The
ending of OUT chooses the format; for folders --format does. A .npy holds bare numbers: say what they are with --from
where their shape has several meanings, and with --fps where they do not have the usual rate; an .amc needs --fps. The
joints of a foreign skeleton are told from their names, else from its shape, and shown; --save-mapping keeps them in a
file that can be edited and given back with --mapping. --clean holds feet that stand, puts the body on the ground and
takes out trembling, and says what that changed. --body FILE, your own SMPL, SMPL-H or SMPL-X model (.npz or .pkl),
writes its surface: OUT is then a .npy (T, V, 3) or a folder of .ply. Of a folder in which some files fail the others
are converted all the same, and the exit status is 1. docs/formats.md describes the formats.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hftrainer.cli.clustered import (
    KEPT,
    Converting,
    add_cluster_flags,
    check_cluster,
    execute,
    is_job,
    items_of_job,
    outcome,
)
from hftrainer.cli.outputs import DATA, PICTURES, check_blender, check_folder, plan
from hftrainer.cli.parser import Done, Parser, RequestError, above_zero, add_input_flags, whole
from hftrainer.cli.progress import Progress

if TYPE_CHECKING:
    from hftrainer.motion import Motion


class Job(NamedTuple):
    """One file to convert, and how: options of reading it and of writing it."""

    source: Path
    target: Path
    named: str | None
    fps: float | None
    to: str | None
    resample: float | None
    reading: dict[str, Any]
    options: dict[str, Any]
    clean: bool = False


def arguments(parser: Parser) -> None:
    """What ``hftrainer convert`` takes."""
    parser.add_argument("source", metavar="IN", help="a motion file, or a folder of them")
    parser.add_argument("target", metavar="OUT", help=f"a file ending in {', '.join(DATA)}, or a folder")
    add_input_flags(parser)
    parser.flag("--to", metavar="NAME", help="representation of the output (default: that of the input)")
    parser.flag("--resample", type=above_zero("frames per second"), metavar="FPS", help="frame rate of the output")
    parser.flag("--clean", action="store_true", help="hold feet that stand, ground the body, limit its jerk")
    parser.flag("--body", metavar="FILE", help="your own SMPL, SMPL-H or SMPL-X model: write its surface")
    parser.flag("--names", help="joint names of .bvh, .glb, .usda and .fbx: smpl (default), mixamo, unreal or vrm")
    parser.flag("--unit", help="unit of a .bvh: cm (default) or m")
    parser.flag("--up", help="axis that points up in a .bvh (y, the default, or z) or in AMASS's .npz (z, or y)")
    parser.flag("--bones", help="exact (default), or rigid for programs that read rotations only")
    parser.flag("--in-place", action="store_true", help="the body stays where it begins")
    parser.flag("--layout", help="of an .npz: hftrainer (default) or amass")
    parser.flag("--from-unit", metavar="UNIT", help="unit of the input: m, cm, mm or cmu (default: told by the legs)")
    parser.flag("--from-up", metavar="AXIS", help="axis that points up in the input (default: told by the body)")
    parser.flag("--mapping", metavar="FILE", help="where the 22 joints are found in the input (default: told by names)")
    parser.flag("--save-mapping", metavar="FILE", help="keep the mapping that was found, to edit and to give back")
    parser.flag("--blender", metavar="PROGRAM", help="what reads and writes .fbx: Blender, or a Python that has bpy")
    parser.flag("--format", default="npz", choices=[ending[1:] for ending in DATA], help="for folders (default npz)")
    parser.flag("--workers", type=whole(1), default=1, help="files converted at the same time (default 1)")
    parser.flag("--skip-existing", action="store_true", help="leave files alone that are there already")
    add_cluster_flags(parser)


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


def writing_options(args: argparse.Namespace, ending: str) -> dict[str, Any]:
    """The options of a request that the format of the output has.

    Raises:
        RequestError: there are others.
    """
    from hftrainer.motion.files import WRITE_OPTIONS

    given = {name: getattr(args, name) for name in ("names", "unit", "up", "bones", "layout", "blender")}
    options = {name: value for name, value in {**given, "in_place": args.in_place or None}.items() if value is not None}
    if ending != ".fbx":
        options.pop("blender", None)  # it may be for reading
    surplus = [name for name in options if name not in WRITE_OPTIONS.get(ending, ())]
    if surplus:
        where = sorted({e for name in surplus for e, names in WRITE_OPTIONS.items() if name in names})
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in surplus)
        raise RequestError(f"{flags} must be left out for {ending}; only {', '.join(where)} have it.")
    return options


def reading_options(args: argparse.Namespace, ending: str) -> dict[str, Any]:
    """The options of a request that the format of an input has; of a folder each file takes those that it has."""
    from hftrainer.motion.files import READ_OPTIONS

    given = {"unit": args.from_unit, "up": args.from_up, "mapping": args.mapping, "blender": args.blender}
    known = READ_OPTIONS.get(ending, ())
    return {name: value for name, value in given.items() if value is not None and name in known}


def check_reading_options(args: argparse.Namespace, endings: set[str]) -> None:
    """Refuse flags about the input that none of the inputs has, wrong values, and a mapping that cannot be read.

    Raises:
        RequestError: there are some.
    """
    from hftrainer.motion.files import READ_OPTIONS
    from hftrainer.motion.files.mapping import read_mapping
    from hftrainer.motion.files.settle import check_reading

    flags = (("from_unit", "unit"), ("from_up", "up"), ("mapping", "mapping"), ("save_mapping", "mapping"))
    for flag, name in flags:
        if getattr(args, flag) is not None and not any(name in READ_OPTIONS.get(ending, ()) for ending in endings):
            where = ", ".join(ending for ending, names in READ_OPTIONS.items() if name in names)
            raise RequestError(f"--{flag.replace('_', '-')} must be left out here; only {where} have it.")
    try:
        check_reading(args.from_unit, args.from_up)
        if args.mapping is not None:
            read_mapping(args.mapping)
    except (ValueError, FileNotFoundError) as exc:
        raise RequestError(str(exc)) from exc
    if ".fbx" in endings:
        check_blender(args.blender)


def convert_file(job: Job) -> tuple[Motion, list[str], dict[str, Any]]:
    """Convert one file; the motion as it was read, what each road did to it, and what clean-up changed.

    Raises:
        ValueError: the file holds no motion, its meaning must be said, or there is no road to ``job.to``.
        OSError: it cannot be read or written.
    """
    from hftrainer.motion.files import load

    read = load(job.source, representation=job.named, fps=job.fps, **job.reading)
    return read, *write_motion(read, job)


def write_motion(motion: Motion, job: Job) -> tuple[list[str], dict[str, Any]]:
    """Write a motion as a job wants it; what each road did to it, and what clean-up changed.

    Raises:
        ValueError: there is no road to ``job.to``, or the format cannot hold it.
        OSError: it cannot be written.
    """
    from hftrainer.motion.edit import resample
    from hftrainer.motion.files import WRITE_OPTIONS, save
    from hftrainer.motion.representation.convert import convert, describe_route

    changed: dict[str, Any] = {}
    if job.clean:
        motion, changed = cleaned(motion)
    options = dict(job.options)
    if job.resample is not None:
        if "fps" in WRITE_OPTIONS.get(job.target.suffix.lower(), ()) and job.to is None:
            options["fps"] = job.resample  # such formats hold rotations, which are interpolated as such
        else:
            motion = resample(motion, job.resample)
    done = convert(motion, job.to) if job.to else motion
    save(done, job.target, **options)
    return describe_route(done, len(motion.route)), changed


def cleaned(motion: Motion) -> tuple[Motion, dict[str, Any]]:
    """A motion after clean-up, and the measures before and after."""
    from hftrainer.evaluation.clean_up import before_and_after
    from hftrainer.motion.cleaning import clean

    done = clean(motion)
    return done, before_and_after(motion, done)


def write_mesh(args: argparse.Namespace, source: Path, target: Path) -> Done:
    """Write the surface of the user's body model as it moves in one file."""
    from hftrainer.motion.files import load
    from hftrainer.motion.smpl import load_body, save_mesh

    if target.suffix.lower() not in ("", ".npy"):
        raise RequestError(f"{target}: with --body the output must be a .npy or a folder; got {target.suffix}.")
    if source.is_dir():
        raise RequestError(f"{source} must be one motion file with --body; it is a folder. Convert one by one.")
    if target.suffix == "" and target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise RequestError(f"{target} must be a new or an empty folder; it holds something. Choose another name.")
    if args.to or args.resample:
        raise RequestError("--to and --resample must be left out with --body. Convert the motion first.")
    surplus = writing_options(args, "")
    check_folder(target.parent)
    check_reading_options(args, {source.suffix.lower()})
    try:
        body = load_body(args.body)
    except (ValueError, FileNotFoundError) as exc:
        raise RequestError(str(exc)) from exc
    reading = reading_options(args, source.suffix.lower())
    motion = load(source, representation=args.named, fps=args.fps, **reading, **surplus)
    report: dict[str, Any] = {"converted": [str(target)], "skipped": [], "failed": {}, "body": body.name}
    lines = []
    if args.clean:
        motion, report["cleaned"] = cleaned(motion)
        lines = changes(report["cleaned"])
    report["mesh"] = list(save_mesh(motion, body, target))
    return Done(report, [str(target), *lines])


def changes(report: dict[str, Any]) -> list[str]:
    """Lines that say what clean-up changed; none where it did not run."""
    return [f"  {row['what']}: {row['before']:g} > {row['after']:g} {row['unit']}" for row in report.get("rows", ())]


def attempt(job: Job) -> str | None:
    """Convert one file of many; the reason when it could not be done."""
    return attempted(job)[0]


def attempted(job: Job) -> tuple[str | None, dict[str, Any]]:
    """Convert one file of many; the reason when it could not be done, and what clean-up changed."""
    try:
        return None, convert_file(job)[2]
    except (ValueError, OSError) as exc:
        return str(exc), {}


def attempts(jobs: Sequence[Job], workers: int) -> Iterator[tuple[Job, str | None, dict[str, Any]]]:
    """Each job, why it failed, and what clean-up changed, as they finish."""
    if workers == 1 or len(jobs) < 2:
        for job in jobs:
            yield job, *attempted(job)
        return
    from hftrainer.data.pool import processes

    with processes(min(workers, len(jobs)), method="spawn") as pool:
        waiting = {pool.submit(attempted, job): job for job in jobs}
        for future in as_completed(waiting):
            yield waiting[future], *future.result()


def convert_folder(
    args: argparse.Namespace, source: Path, target: Path, options: dict[str, Any], progress: Progress
) -> Done:
    """Convert every motion file below a folder."""
    from hftrainer.motion.files import READ

    if args.cluster is not None and is_job(source):
        return convert_job(args, source, target, options, items_of_job(source, args.format), progress)
    files = sorted(file for file in source.rglob("*") if file.suffix.lower() in READ and file.is_file())
    if not files:
        raise RequestError(f"{source} must hold motion files ({', '.join(READ)}); got none.")
    check_reading_options(args, {file.suffix.lower() for file in files})
    check_folder(target)
    named = [(file, target / file.relative_to(source).with_suffix(f".{args.format}")) for file in files]
    seen: dict[Path, Path] = {}
    for file, goal in named:
        if seen.setdefault(goal, file) != file:
            raise RequestError(f"{seen[goal]} and {file} would both become {goal}. Convert them one by one.")
    if args.cluster is not None:
        items = (
            {"source": str(file.relative_to(source)), "target": str(goal.relative_to(target)),
             "reading": reading_options(args, file.suffix.lower())}
            for file, goal in named
        )  # fmt: skip
        return convert_job(args, source, target, options, items, progress)
    skipped = {goal for _, goal in named if args.skip_existing and goal.exists()}
    jobs = [
        Job(file, goal, args.named, args.fps, args.to, args.resample, reading, options, args.clean)
        for file, goal, reading in ((*pair, reading_options(args, pair[0].suffix.lower())) for pair in named)
        if goal not in skipped
    ]
    wrong: dict[str, str] = {}
    changed: dict[str, dict[str, Any]] = {}
    for done, (job, reason, change) in enumerate(attempts(jobs, args.workers), 1):
        progress(f"converted {done} of {len(jobs)}")
        if reason is not None:
            wrong[str(job.source)] = " ".join(reason.split())
        elif change:
            changed[str(job.source)] = change
    converted = [str(job.target) for job in jobs if str(job.source) not in wrong]
    lines = [f"failed: {reason if file in reason else f'{file}: {reason}'}" for file, reason in sorted(wrong.items())]
    lines.append(f"{len(converted)} converted, {len(skipped)} skipped, {len(wrong)} failed")
    report: dict[str, Any] = {"converted": converted, "skipped": sorted(map(str, skipped)), "failed": wrong}
    if changed:
        from hftrainer.evaluation.clean_up import mean_before_and_after

        report["cleaned"] = mean_before_and_after([changed[file] for file in sorted(changed)])
        lines += [f"cleaned, on average of {len(changed)}:", *changes(report["cleaned"])]
    return Done(report, lines, code=1 if wrong else 0)


def convert_job(
    args: argparse.Namespace, source: Path, target: Path, options: dict[str, Any], items: Iterable[dict[str, Any]],
    progress: Progress,
) -> Done:  # fmt: skip
    """The same as a job: what was done stays done when the command is run again."""
    shared = {"named": args.named, "fps": args.fps, "to": args.to, "resample": args.resample, "options": options,
              "clean": args.clean}  # fmt: skip
    work = Converting(source.absolute(), target.absolute(), shared)
    request = {"verb": "convert", **shared, "format": args.format}
    return outcome(execute(args, target / KEPT, request, items, work, progress), str(target))


def told(motion: Motion) -> list[str]:
    """Lines that show how the joints of a foreign skeleton were told; none where it is a known one."""
    from hftrainer.motion.files.mapping import read_mapping

    if motion.about.get("skeleton") not in ("names", "shape"):
        return []
    lines = read_mapping(motion.about["mapping"]).lines()
    how = {"names": "their names", "shape": "the shape of the skeleton"}[motion.about["skeleton"]]
    return [f"joints of {motion.name}, told by {how}:", *(f"  {line}" for line in lines)]


def keep_mapping(motion: Motion, file: str) -> None:
    """Write the mapping that a file was read with."""
    from hftrainer.motion.files.mapping import known_spots, read_mapping, save_mapping

    values = motion.about.get("mapping") or known_spots(str(motion.about["skeleton"]))
    save_mapping(read_mapping(values), file)


def run(args: argparse.Namespace, progress: Progress) -> Done:
    """Convert a file or a folder."""
    source, target = Path(args.source), Path(args.target)
    check_cluster(args)
    if args.cluster is not None and not source.is_dir():
        raise RequestError(f"--cluster must come with a folder; {source} is none. Leave it out.")
    if target.suffix.lower() in PICTURES:
        raise RequestError(f"{target} is a picture. Use: hftrainer render {source} -o {target}")
    check_names(args.named, args.to)
    if not source.exists():
        raise RequestError(f"{source} must be a motion file or a folder; there is nothing there.")
    if args.body:
        return write_mesh(args, source, target)
    if source.is_dir():
        if args.save_mapping:
            raise RequestError("--save-mapping must be left out for a folder. Convert one of its files with it.")
        if args.format == "fbx":
            check_blender(args.blender)
        return convert_folder(args, source, target, writing_options(args, f".{args.format}"), progress)
    ending = target.suffix.lower()
    plan([args.target], 1, DATA, args.blender)
    options = writing_options(args, ending)
    check_reading_options(args, {source.suffix.lower()})
    if args.skip_existing and target.exists():
        return Done({"converted": [], "skipped": [str(target)], "failed": {}}, [f"{target} is there already"])
    reading = reading_options(args, source.suffix.lower())
    job = Job(source, target, args.named, args.fps, args.to, args.resample, reading, options, args.clean)
    read, roads, changed = convert_file(job)
    if args.save_mapping:
        keep_mapping(read, args.save_mapping)
    report: dict[str, Any] = {"converted": [str(target)], "skipped": [], "failed": {}}
    if "mapping" in read.about:
        report["mapping"] = read.about["mapping"]
    if roads:
        report["roads"] = roads
    if changed:
        report["cleaned"] = changed
    return Done(report, [*told(read), str(target), *(f"  {road}" for road in roads), *changes(changed)])
