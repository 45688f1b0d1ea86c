"""MDM's part of ``hftrainer import``.

hftrainer import mdm --weights model000475000.pt --clip clip-vit-base-patch32/ -o mdm/ --verify

Options are read from args.json and statistics from Mean.npy and Std.npy beside the weights; --args, --mean and --std
name others. With --clip (or --distilbert) the text tower travels inside the artifact; without it, it is found by its
name when a sentence is read. --verify loads what was written and makes a motion with both.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from hftrainer.cli.outputs import check_folder
from hftrainer.cli.parser import Done, RequestError
from hftrainer.cli.progress import Progress

#: Flags that only this kind takes.
FLAGS = ("args", "clip", "distilbert", "ema", "guidance")


def check(args: argparse.Namespace) -> None:
    """Refuse what can be seen to be wrong before anything is read.

    Raises:
        RequestError: half a pair of statistics, two text towers, a place that cannot be written or that is read from.
    """
    if (args.mean is None) != (args.std is None):
        raise RequestError("--mean and --std must come together; got one of them. A pair belongs together.")
    if args.clip and args.distilbert:
        raise RequestError("one of --clip and --distilbert must be given; got both. A model has one text tower.")
    out = Path(args.output)
    check_folder(out)
    if out.is_dir() and any(out.iterdir()) and not (out / "mdm_config.json").is_file():
        raise RequestError(
            f"{out} must be a new folder, an empty one or a model's; it holds other files. "
            "Choose another place with -o."
        )
    for given in filter(None, (args.weights, args.args, args.mean, args.std, args.clip, args.distilbert)):
        there = Path(given)
        if there.exists() and out.exists() and (out.samefile(there) or out.resolve() in there.resolve().parents):
            raise RequestError(f"{out} must not hold {there}, which is read from. Choose another place with -o.")


def run(args: argparse.Namespace, progress: Progress) -> Done:
    """Read, check, write, compare.

    Raises:
        RequestError: as ``check``.
    """
    check(args)
    progress("loading torch")
    from hftrainer.models.artifact import written_folder
    from hftrainer.models.motion.mdm.bundle import MDMBundle
    from hftrainer.models.motion.mdm.release import read_release
    from hftrainer.models.motion.mdm.verify import verify
    from hftrainer.models.tower_files import Tower, read_clip, read_distilbert

    out, weights = Path(args.output), Path(args.weights)
    progress(f"reading {weights}")
    options, mean, std = (Path(given) if given else None for given in (args.args, args.mean, args.std))
    files = read_release(
        weights, options, mean, std, averages=args.ema or None, any_statistics=args.any_statistics
    )
    needs = files.config.text_encoder if files.config.condition == "text" else None
    for name, given in (("clip", args.clip), ("distilbert", args.distilbert)):
        if given and needs != name:
            said = f"reads its words with {needs}" if needs else "reads no words"
            raise RequestError(f"--{name} must be the text tower of the model; got one that {said}. Leave it out.")
    guidance = args.guidance
    if guidance is not None and guidance != 1 and not files.config.guidable:
        raise RequestError(
            f"--guidance must be 1, because this model knows no motion without a condition; got {guidance:g}."
        )
    text: Tower | None = None
    if args.clip or args.distilbert:
        text = read_clip(Path(args.clip)) if args.clip else read_distilbert(Path(args.distilbert))
    bundle = MDMBundle.from_release(files, text, guidance)
    checked: list[str] = []
    with written_folder(out) as beside:
        progress(f"writing {out}")
        bundle.save_pretrained(beside)
        if args.verify:
            progress(f"comparing {out} with {weights}")
            checked = verify(bundle, beside, files)
    count = sum(tensor.numel() for tensor in files.state.values())
    tower = text.name if text else None
    report: dict[str, Any] = {
        "artifact": str(out),
        "hash": bundle.hash,
        "parameters": {"network": count},
        "guidance": bundle.guidance,
        "text_tower": tower,
        "remarks": list(files.remarks),
        "source": files.about,
        "verified": checked,
    }
    source, config = files.about["weights"], files.config
    words = f"{tower}, inside" if tower else f"{needs}, found by its name when it is needed" if needs else "none"
    lines = [
        f"weights: {source['name']}, SHA-256 {source['sha256'][:16]}…",
        f"network: {config.architecture}, {config.steps} steps, {count:,} numbers, guidance {bundle.guidance:g}",
        *([f"statistics: {files.pair.name}"] if files.pair else []),
        f"text tower: {words}",
        *(f"note: {remark}" for remark in files.remarks),
        *(f"verified: {line}" for line in checked),
        str(out),
    ]
    return Done(report, lines)
