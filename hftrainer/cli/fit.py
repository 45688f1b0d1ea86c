"""Joint positions to an SMPL body: its shape, its pose and its place, with the surface if wanted.

IN is a motion file, or a folder of them. OUT is a folder; it gets, for each clip, NAME.npz with the parameters (poses,
trans, betas, mocap_framerate, as smplx takes them; metres, +Y up), NAME_mesh.npy with the surface (T, V, 3), a folder
NAME with one .ply for each frame, and once fit.json: how far joints are from where they should be, clip by clip.

--body is your own SMPL, SMPL-H or SMPL-X model (.npz or .pkl; no code in it is run), or free: a body of this project's
own that needs no licence. A clip has one shape, fitted to the lengths of its bones; --betas 0 keeps the mean shape.
Of a folder in which some files fail the others are fitted all the same, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hftrainer.cli.convert import check_names
from hftrainer.cli.outputs import check_folder
from hftrainer.cli.parser import Done, Parser, RequestError, add_input_flags, whole
from hftrainer.cli.progress import Progress

if TYPE_CHECKING:
    from hftrainer.motion import Motion
    from hftrainer.motion.fitting import BodyFit
    from hftrainer.motion.smpl import SmplBody

SURFACES = ("both", "npy", "ply", "none")
_TOGETHER = 4096  # frames


def arguments(parser: Parser) -> None:
    """What ``hftrainer fit`` takes."""
    parser.add_argument("source", metavar="IN", help="a motion file, or a folder of them")
    parser.flag("-o", "--output", required=True, metavar="OUT", help="a folder")
    add_input_flags(parser)
    parser.flag("--body", default="free", metavar="FILE", help="your SMPL, SMPL-H or SMPL-X model; default free")
    parser.flag("--surface", choices=SURFACES, default="both", help="NAME_mesh.npy, .ply files, both (default) or none")
    parser.flag("--betas", type=whole(0), default=10, help="how many shape numbers are fitted (default 10)")
    parser.flag("--steps", type=whole(0), default=40, help="of refinement, twice (default 40; 0: closed form only)")
    parser.flag("--skip-existing", action="store_true", help="leave clips alone whose .npz is there")


def clips_of(source: Path) -> list[tuple[str, Path]]:
    """Names and files of what is to be fitted.

    Raises:
        RequestError: nothing there, or two files of one name.
    """
    from hftrainer.motion.files import READ

    if source.is_file():
        return [(source.stem, source)]
    if not source.is_dir():
        raise RequestError(f"{source} must be a motion file or a folder; there is nothing there.")
    files = sorted(file for file in source.rglob("*") if file.suffix.lower() in READ and file.is_file())
    if not files:
        raise RequestError(f"{source} must hold motion files ({', '.join(READ)}); got none.")
    named: dict[str, Path] = {}
    for file in files:
        name = file.relative_to(source).with_suffix("").as_posix()
        if named.setdefault(name, file) != file:
            raise RequestError(f"{named[name]} and {file} would both become {name}.npz. Fit them one by one.")
    return list(named.items())


def body_named(name: str) -> SmplBody:
    """The body that ``--body`` names.

    Raises:
        RequestError: no such file, or none of a body.
    """
    from hftrainer.motion.free_smpl import free_smpl_body
    from hftrainer.motion.smpl import load_body

    try:
        return free_smpl_body() if name == "free" else load_body(name)
    except (ValueError, FileNotFoundError) as exc:
        raise RequestError(str(exc)) from exc


def groups(
    clips: Sequence[tuple[str, Path]], args: argparse.Namespace, wrong: dict[str, str]
) -> Iterator[list[tuple[str, Motion]]]:
    """Clips as joints, some thousand frames at a time; why others cannot be read goes into ``wrong``."""
    from hftrainer.motion.files import load
    from hftrainer.motion.representation.convert import convert

    group: list[tuple[str, Motion]] = []
    for name, file in clips:
        try:
            motion = load(file, representation=args.named, fps=args.fps)
            group.append((name, convert(motion, "joints")))
        except (ValueError, OSError) as exc:
            wrong[str(file)] = " ".join(str(exc).split())
        if sum(len(motion) for _, motion in group) >= _TOGETHER:
            yield group
            group = []
    if group:
        yield group


def write(fit: BodyFit, motion: Motion, body: SmplBody, goal: Path, surface: str) -> None:
    """The files of one clip; the parameters come last, so that they say that all of it is there."""
    from hftrainer.motion.fitting import save_fit
    from hftrainer.motion.rotation import rotvec_to_matrix
    from hftrainer.motion.smpl import save_surface

    posed = (body, rotvec_to_matrix(fit.pose), fit.translation, fit.betas)
    if surface in ("both", "npy"):
        save_surface(*posed, goal.with_name(f"{goal.name}_mesh.npy"))
    if surface in ("both", "ply") and not filled(goal):
        save_surface(*posed, goal)
    save_fit(fit, motion, body, npz(goal))


def npz(goal: Path) -> Path:
    """Where the parameters of a clip go; a name may have dots in it."""
    return goal.with_name(f"{goal.name}.npz")


def filled(folder: Path) -> bool:
    """Whether there is a folder with something in it: the .ply files of a run that was cut off appear all at once."""
    return folder.is_dir() and any(folder.iterdir())


def run(args: argparse.Namespace, progress: Progress) -> Done:
    """Fit a file or a folder."""
    from hftrainer.motion.files.atomic import written_whole
    from hftrainer.motion.fitting import BodyFitting, fit_body, read_errors

    check_names(args.named)
    clips, target = clips_of(Path(args.source)), Path(args.output)
    check_folder(target)
    over = [file for name, file in clips if npz(target / name).resolve() == file.resolve()]
    if over:
        raise RequestError(f"-o must not be where the input is; {over[0]} would be written over. Choose another.")
    there = {name for name, _ in clips if args.skip_existing and npz(target / name).exists()}
    full = [name for name, _ in clips if name not in there and filled(target / name)]
    if full and args.surface in ("both", "ply") and not args.skip_existing:
        raise RequestError(f"{target / full[0]} must be a new or an empty folder; it holds something. "
                           "Choose another -o, or go on with --skip-existing.")  # fmt: skip
    body, wrong, done = body_named(args.body), dict[str, str](), 0
    todo = [(name, file) for name, file in clips if name not in there]
    how = BodyFitting(betas=args.betas, steps=args.steps, rounds=2 if args.steps else 0)
    for group in groups(todo, args, wrong):
        progress(f"fitted {done} of {len(todo)}")
        for (name, motion), fit in zip(group, fit_body([m.data for _, m in group], body, how), strict=True):
            write(fit, motion, body, target / name, args.surface)
            done += 1
    fitted = {name: read_errors(npz(target / name)) for name, file in clips if str(file) not in wrong}
    report: dict[str, Any] = {"body": body.name, "fitted": done, "skipped": sorted(there), "failed": wrong}
    report["clips"] = fitted
    lines = [f"failed: {reason if file in reason else f'{file}: {reason}'}" for file, reason in sorted(wrong.items())]
    if fitted:
        means = [clip["error_mm"]["mean"] for clip in fitted.values()]
        report["mean_error_mm"] = round(sum(means) / len(means), 2)
        with written_whole(target / "fit.json") as beside:
            beside.write_text(json.dumps(report, indent=1) + "\n")
        if len(fitted) <= 20:
            lines += [f"{name}: {clip['frames']} frames, joints {clip['error_mm']['mean']:g} mm off, "
                      f"{clip['error_mm']['most']:g} in the worst" for name, clip in fitted.items()]  # fmt: skip
        lines.append(f"{target}: {done} fitted, {len(there)} were there, {len(wrong)} failed; "
                     f"joints {report['mean_error_mm']:g} mm off on average")  # fmt: skip
    return Done(report, lines, code=1 if wrong else 0)
