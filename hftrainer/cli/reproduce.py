"""A generated motion made again from what its file says: the sentence, the seed, the model and the settings.

The answer is equal, equal within the tolerance, different, or that the model at hand is another one. Files that say how
they were made are .npz, .glb, .usda and .csv; a .bvh and a .npy cannot hold it. -o keeps the motion that was made.
"""

from __future__ import annotations

import argparse
import inspect
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hftrainer.cli.outputs import DATA, plan
from hftrainer.cli.parser import Done, Parser, RequestError
from hftrainer.cli.progress import Progress

if TYPE_CHECKING:
    from hftrainer.motion import Motion

#: Metres that joints may lie apart where machines add numbers in another order.
TOLERANCE = 1e-3
#: Formats that cannot say it, with the reason.
_SILENT = {
    ".bvh": "a BVH has no place for notes that every reader skips", ".npy": "an .npy holds the numbers alone",
    ".c3d": "it is a recording", ".trc": "it is a recording", ".amc": "it is a recording",
    ".fbx": "notes do not survive Blender",
}  # fmt: skip


def arguments(parser: Parser) -> None:
    """What ``hftrainer reproduce`` takes."""
    parser.add_argument("file", metavar="FILE", help="a generated .npz, .glb, .usda or .csv")
    parser.flag("--model", metavar="NAME|FOLDER|REPO", help="where the model is; by default the one that FILE names")
    parser.flag("--device", default="cpu", help="cpu, cuda, cuda:1, … (default cpu)")
    parser.flag("-o", "--output", metavar="FILE", help=f"keeps the motion made again; {', '.join(DATA)}")


def origin(path: Path) -> dict[str, Any]:
    """What a file says of how its motion was made.

    Returns:
        ``about`` of the motion: ``prompt``, ``seed``, ``model``, ``model_hash`` and settings; ``frames`` of it, and the
        names of ``representation`` and ``route``.

    Raises:
        RequestError: the format cannot hold it, or the file does not say it.
    """
    from hftrainer.motion.files.origin import read_notes

    kind = path.suffix.lower()
    if not path.is_file():
        raise RequestError(f"{path} must be a motion file; there is none. Check the path.")
    if kind in _SILENT:
        raise RequestError(
            f"{path.name} must say how it was made; it cannot, {_SILENT[kind]}. Take the .npz of the same motion "
            "(generate -o NAME.npz), or the output of generate --json."
        )
    said = read_notes(path)
    about = said["about"]
    absent = [name for name in ("model", "model_hash", "seed") if name not in about]
    if absent:
        raise RequestError(
            f"{path.name} must say which model made it, and from which seed; {', '.join(absent)} is absent. "
            "It was recorded, edited elsewhere, or made by another program."
        )
    if about.get("task") != "text-to-motion":
        raise RequestError(
            f"{path.name} must be made from a sentence; its task is {about.get('task')!r}, which also needs the motion "
            "that it began with."
        )
    return said


def settings_said(pipe: Any, about: dict[str, Any]) -> dict[str, Any]:
    """The settings of ``about`` that the pipeline takes, one value each."""
    takes = set(inspect.signature(type(pipe).__call__).parameters) | set(pipe.settings.get("generate", ()))
    takes -= {"self", "prompts", "frames", "seed", "samples", "prefix", "drawing", "candidates"}
    return {name: about[name] for name in sorted(takes) if about.get(name) is not None}


def run(args: argparse.Namespace, progress: Progress) -> Done:
    """Make it again and compare."""
    path = Path(args.file)
    said = origin(path)
    about = said["about"]
    target = plan([args.output], 1, DATA)[0][0] if args.output else None
    progress("loading the model")
    from hftrainer.cli.generate import check_device
    from hftrainer.motion.files import save
    from hftrainer.pipelines.table import open_pipeline

    check_device(args.device)
    pipe = open_pipeline(args.model or about["model"], verb="generate", device=args.device)
    same_model = pipe.bundle.hash == about["model_hash"]
    progress("making it again")
    settings = settings_said(pipe, about)
    tries: list[list[int] | None] = [None, [int(said["frames"])]] if "tokens" in about else [[int(said["frames"])]]
    for frames in tries:  # a model of tokens may have chosen the length itself, or been told
        made = pipe([about.get("prompt")], frames=frames, seed=int(about["seed"]), samples=1, **settings)[0]
        apart = distance(path, made)
        if apart is not None and apart <= TOLERANCE:
            break
    answer = (
        "the model is not the same" if not same_model else "equal" if apart == 0
        else "equal within the tolerance" if apart is not None and apart <= TOLERANCE else "different"
    )  # fmt: skip
    if target is not None:
        save(made, target)
    report = {
        "file": str(path), "answer": answer, "apart_mm": None if apart is None else round(apart * 1000, 6),
        "tolerance_mm": TOLERANCE * 1000, "model": about["model"], "model_hash": about["model_hash"],
        "model_here": pipe.bundle.hash, "seed": about["seed"], "settings": settings,
        "frames": [said["frames"], len(made)],
    }  # fmt: skip
    far = "" if apart is None or apart == 0 else f"; joints lie at most {apart * 1000:.3g} mm apart"
    length_note = "" if said["frames"] == len(made) else f"; {said['frames']} frames were {len(made)} this time"
    which = "" if same_model else f" ({about['model']} {about['model_hash']} made it, here is {pipe.bundle.hash})"
    good = answer.startswith("equal")
    return Done(report, [f"{path.name}: {answer}{which}{far}{length_note}"], code=0 if good else 1)


def distance(path: Path, made: Motion) -> float | None:
    """How far a motion lies from that of a file, at most; ``None`` where they have other frames.

    Metres between joints for an ``.npz``; for the others the numbers that the file would have are compared.
    """
    from hftrainer.motion.files import load, save
    from hftrainer.motion.files.origin import numbers
    from hftrainer.motion.files.rig import positions

    if path.suffix.lower() == ".npz":
        kept = load(path)
        alike = kept.representation == made.representation and kept.data.shape == made.data.shape
        if alike and bool((kept.data == made.data).all()):
            return 0.0
        there, here = positions(kept), positions(made)
    else:
        with tempfile.TemporaryDirectory() as folder:
            again = Path(folder) / path.name
            save(made, again)
            there, here = numbers(path), numbers(again)
    return None if there.shape != here.shape else float(abs(there - here).max())
