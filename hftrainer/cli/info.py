"""What a model, a dataset folder or a motion file is; without a name, which models are built in.

Of a model or an evaluator (folder, built-in name, hub repository): what it can do, its hash, how many numbers its
networks have, which statistics it has, how long its motions may be, its configuration, the terms it stands under from
its data to its text tower, its files with sizes and SHA-256, whether they are as its manifest says, and its card;
--json has every setting whole. Of a dataset: its dataset.json and its terms. Of a motion file: representation, frames,
frame rate, the road it came by, and what it was made from.

--commercial-ok keeps, of the built-in models, those whose whole chain of terms is known to allow commercial use; with a
name, the exit status is 1 where it is not.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hftrainer.cli.convert import check_names
from hftrainer.cli.described import calibrated, folder_lines
from hftrainer.cli.parser import Done, Parser, RequestError, add_input_flags
from hftrainer.cli.progress import Progress
from hftrainer.models import licences
from hftrainer.models.hub import REPOSITORY
from hftrainer.models.sums import file_sum, listed_files, read_sums

BUILT_IN = Path(__file__).resolve().parent.parent / "artifacts"


def arguments(parser: Parser) -> None:
    """What ``hftrainer info`` takes."""
    parser.add_argument("thing", nargs="?", metavar="THING", help="a folder, a file or a built-in model's name")
    parser.flag("--commercial-ok", action="store_true", help="only what is known to allow commercial use")
    add_input_flags(parser)


def describe_folder(folder: Path) -> dict[str, Any]:
    """Files of a folder with sizes and hashes, its small JSON files read, and where its card is."""
    files: list[dict[str, Any]] = []
    for file in sorted(file for file in folder.rglob("*") if file.is_file()):
        name = file.relative_to(folder).as_posix()
        files.append({"name": name, "bytes": file.stat().st_size, "sha256": file_sum(file)})
    settings = {}
    for file in sorted(folder.glob("*.json")):
        if file.stat().st_size <= 50_000:
            settings[file.name] = json.loads(file.read_text(encoding="utf-8"))
    card = folder / "README.md"
    return {
        "folder": str(folder),
        "settings": settings,
        "files": files,
        "manifest": describe_manifest(folder, {file["name"]: file["sha256"] for file in files}),
        "licences": licences.report(licences.chain(folder)),
        "card": str(card) if card.exists() else None,
    }


def describe_manifest(folder: Path, have: dict[str, str]) -> dict[str, Any]:
    """Whether a folder is as its manifest says: ``listed`` files, and ``problems`` with them; files beside are told.

    Args:
        folder: of the artifact.
        have: the SHA-256 of its files.
    """
    listed = read_sums(folder)
    found = [f"{name} is absent" for name in listed if name not in have]
    changed = [name for name, wanted in listed.items() if have.get(name, wanted) != wanted]
    found += [f"{name} is not the file that was written" for name in changed]
    beside = [name for name in listed_files(folder) if name not in listed] if listed else []
    return {"listed": len(listed), "problems": found, "beside": beside}


def describe_mdm(folder: Path) -> dict[str, Any]:
    """What an MDM artifact is: its hash, how many numbers it has, its statistics, frames that may be asked for."""
    from hftrainer.models.motion.mdm.bundle import MDMBundle

    bundle = MDMBundle.from_pretrained(folder)
    return {
        "hash": bundle.hash,
        "parameters": {"denoiser": sum(p.numel() for p in bundle.network.parameters())},
        "statistics": bundle.about.get("statistics", {}).get("name", bundle.representation),
        "frame_range": list(bundle.frame_range),
        "fps": bundle.statistics.spec.fps,
        "usual_frames": bundle.usual_frames,
        "evaluation_frames": bundle.evaluation_frames,
        "guidance": bundle.guidance,
        "steps": bundle.config.steps,
        "candidates": bundle.candidates,
    }


def describe_masked(folder: Path, name: str) -> dict[str, Any]:
    """What an artifact of MoGenTS or MoMask is: its hash, how many numbers it has, its statistics, its frames."""
    from hftrainer.models.motion.mogents.bundle import MaskedBundle, MoGenTSBundle
    from hftrainer.models.motion.momask.bundle import MoMaskBundle

    kind: type[MaskedBundle] = MoGenTSBundle if name == "mogents" else MoMaskBundle
    bundle = kind.from_pretrained(folder)
    return {
        "hash": bundle.hash,
        "parameters": {part: sum(p.numel() for p in net.parameters()) for part, net in bundle.networks.items()},
        "statistics": bundle.about.get("statistics", {}).get("name", bundle.representation),
        "frame_range": list(bundle.frame_range),
        "fps": bundle.statistics.spec.fps,
    }


def describe_evaluator(folder: Path) -> dict[str, Any]:
    """What an evaluator is: its hash, how many numbers it has, what it reads, whether it keeps a real row."""
    from hftrainer.models.evaluator import load_evaluator

    evaluator = load_evaluator(folder)
    return {
        "hash": evaluator.hash,
        "parameters": {"networks": sum(p.numel() for p in evaluator.network.parameters())},
        "statistics": evaluator.representation,
        "reads": f"{evaluator.representation} and {evaluator.reads}",
        "calibrated": (folder / "calibration.json").is_file(),
        "calibration": calibrated(folder),
    }


def _status(args: argparse.Namespace, links: Sequence[licences.Link]) -> int:
    return 1 if args.commercial_ok and licences.verdict(links) is not True else 0


def run(args: argparse.Namespace, progress: Progress) -> Done:
    """Describe one thing, or list the built-in models."""
    from hftrainer.pipelines.table import KINDS, built_in

    if args.thing is None:
        models: list[dict[str, Any]] = [
            {"name": name, "kind": kind.name, "verbs": list(kind.verbs),
             "commercial": licences.verdict(licences.chain(BUILT_IN / name))}
            for name, kind in built_in().items()
        ]  # fmt: skip
        models += [
            {"name": folder.name, "kind": "evaluator", "verbs": ["evaluate", "search"],
             "commercial": licences.verdict(licences.chain(folder))}
            for folder in sorted(BUILT_IN.glob("*")) if (folder / "evaluator.json").is_file()
        ]  # fmt: skip
        if args.commercial_ok:
            models = [model for model in models if model["commercial"]]
        lines = [f"{model['name']}: {', '.join(model['verbs'])}" for model in models]
        return Done({"built_in": models}, [*lines, "", "hftrainer info NAME says more of one."])
    thing = Path(args.thing)
    if not thing.exists() and (BUILT_IN / args.thing).is_dir():
        thing = BUILT_IN / args.thing
    if not thing.exists() and REPOSITORY.fullmatch(args.thing):
        from hftrainer.models.hub import fetch

        progress(f"fetching {args.thing}")
        thing = fetch(args.thing)
    if thing.is_dir():
        progress(f"reading {thing}")
        if (thing / "dataset.json").is_file():
            dataset = json.loads((thing / "dataset.json").read_text(encoding="utf-8"))
            terms = licences.dataset_chain(dataset)
            lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in dataset.items()]
            about = {"folder": str(thing), "dataset": dataset, "licences": licences.report(terms)}
            return Done(about, [str(thing), "", *lines, "", *licences.lines(terms)], _status(args, terms))
        report = describe_folder(thing)
        if report["settings"].get("model_index.json", {}).get("_class_name") == "MotionGPTPipeline":
            from hftrainer.models.motion.motiongpt.bundle import describe

            index = report["settings"]["model_index.json"]
            named = {name: index[name] for name in ("frame_range", "fps") if name in index}
            report |= {**describe(thing), **named, "candidates": index.get("sampling", {}).get("candidates")}
        elif any((thing / mark).is_file() for mark in KINDS["mdm"].marks):
            report |= describe_mdm(thing)
        elif (thing / "evaluator.json").is_file():
            report |= describe_evaluator(thing)
        for name in ("mogents", "momask"):
            if any((thing / mark).is_file() for mark in KINDS[name].marks):
                report |= describe_masked(thing, name)
        kind = next((kind for kind in KINDS.values() if any((thing / mark).is_file() for mark in kind.marks)), None)
        if kind is not None:
            report |= {"kind": kind.name, "verbs": list(kind.verbs)}
        damaged = bool(report["manifest"]["problems"])
        return Done(report, folder_lines(report), 1 if damaged else _status(args, licences.chain(thing)))
    if not thing.is_file():
        known = ", ".join(sorted(folder.name for folder in BUILT_IN.glob("*") if folder.is_dir())) or "none"
        raise RequestError(
            f"{args.thing} must be a file, a folder or a built-in model ({known}); there is nothing there."
        )
    check_names(args.named)
    from hftrainer.motion.files import load

    motion = load(thing, representation=args.named, fps=args.fps)
    report = {
        "file": str(thing),
        "representation": motion.representation.name,
        "frames": len(motion),
        "fps": motion.fps,
        "seconds": round(motion.seconds, 3),
        "route": list(motion.route),
        "about": dict(motion.about),
    }
    return Done(
        report, [f"{key}: {value if isinstance(value, str) else json.dumps(value)}" for key, value in report.items()]
    )
