"""MoGenTS' and MoMask's part of ``hftrainer import``.

hftrainer import mogents --weights-root logs --length-root checkpoints --clip ViT-B-32.pt -o mogents/ --verify
hftrainer import momask --weights-root checkpoints --clip ViT-B-32.pt -o momask/ --verify

The folders are those of the release: motion tokenizer, masked and residual transformers, length estimator, each with
its opt.txt. With --clip the text tower travels inside the artifact; without it, it is found by its name when a sentence
is read. --verify loads what was written and makes a motion with both.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from hftrainer.cli.outputs import check_folder
from hftrainer.cli.parser import Done, Parser, RequestError
from hftrainer.cli.progress import Progress

#: Flags that only these kinds take, and ``--clip``, which MDM takes as well.
FLAGS = ("weights_root", "length_root", "dataset", "vq_name", "mask_name", "res_name", "no_length_estimator", "clip")
#: Files that an artifact of ours is known by.
KNOWN = ("mogents_config.json", "momask_config.json")


def arguments(parser: Parser) -> None:
    """What these kinds take beside what all take."""
    parser.flag("--weights-root", metavar="DIR", help="mogents, momask: the release: logs, or checkpoints")
    parser.flag("--length-root", metavar="DIR", help="the same for the length estimator (default: --weights-root)")
    parser.flag("--dataset", metavar="NAME", help="mogents, momask: humanml3d (momask: t2m) or kit")
    parser.flag("--vq-name", metavar="NAME", help="folder of the motion tokenizer, if not the released one")
    parser.flag("--mask-name", metavar="NAME", help="folder of the masked transformers, if not the released one")
    parser.flag("--res-name", metavar="NAME", help="folder of the residual transformers, if not the released one")
    parser.flag("--no-length-estimator", action="store_true", help="leave it out; lengths must then be said")


def check(args: argparse.Namespace) -> None:
    """Refuse what can be seen to be wrong before anything is read.

    Raises:
        RequestError: no release, an estimator that is named and left out, a place that cannot be written or that is
            read from.
    """
    if args.weights_root is None:
        where = "logs" if args.kind == "mogents" else "checkpoints"
        raise RequestError(
            f"--weights-root must be given with {args.kind}; got none. Name the folder of the release, {where}."
        )
    if args.length_root and args.no_length_estimator:
        raise RequestError("--length-root must be left out with --no-length-estimator; got both. Leave one out.")
    for given in (args.weights_root, args.length_root):
        if given and not Path(given).is_dir():
            raise RequestError(f"{given} must be a folder of the release; there is none. Check the path.")
    out = Path(args.output)
    check_folder(out)
    if out.is_dir() and any(out.iterdir()) and not any((out / name).is_file() for name in KNOWN):
        raise RequestError(
            f"{out} must be a new folder, an empty one or a model's; it holds other files. "
            "Choose another place with -o."
        )
    for given in filter(None, (args.weights_root, args.length_root, args.clip)):
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
    from hftrainer.models.motion.mogents.bundle import MaskedBundle, MoGenTSBundle
    from hftrainer.models.motion.mogents.files import CONTEXT, read_image_half
    from hftrainer.models.motion.mogents.release import read_release
    from hftrainer.models.motion.mogents.verify import verify
    from hftrainer.models.motion.momask.bundle import MoMaskBundle
    from hftrainer.models.tower_files import read_clip

    kind: type[MaskedBundle] = MoGenTSBundle if args.kind == "mogents" else MoMaskBundle
    out, root = Path(args.output), Path(args.weights_root)
    progress(f"reading {root}")
    files = read_release(
        kind.family,
        root,
        Path(args.length_root) if args.length_root else None,
        dataset=args.dataset,
        names={"vq": args.vq_name, "mask": args.mask_name, "res": args.res_name},
        estimator=not args.no_length_estimator,
        any_statistics=args.any_statistics,
    )
    text = read_clip(Path(args.clip), context=CONTEXT, precision="fp32") if args.clip else None
    bundle = kind.from_release(files, text)
    image_half = read_image_half(Path(args.clip)) if args.clip else {}
    checked: list[str] = []
    with written_folder(out) as beside:
        progress(f"writing {out}")
        bundle.save_pretrained(beside, image_half=image_half)
        if args.verify:
            progress(f"comparing {out} with {root}")
            checked = verify(bundle, beside, files)
    counts = {name: sum(tensor.numel() for tensor in state.values()) for name, state in files.states.items()}
    report: dict[str, Any] = {
        "artifact": str(out),
        "hash": bundle.hash,
        "parameters": counts,
        "frame_range": list(bundle.frame_range),
        "text_tower": text.name if text else None,
        "remarks": list(files.remarks),
        "source": files.about,
        "verified": checked,
    }
    half = "both halves" if image_half else "its text half"
    words = f"CLIP, {half}, inside" if text else "CLIP, found by its name when it is needed"
    lines = [
        *(f"{part}: {said['name']}, SHA-256 {said['sha256'][:16]}…" for part, said in files.about["weights"].items()),
        *(f"{name}: {count:,} numbers" for name, count in counts.items()),
        f"statistics: {files.pair.name}",
        f"text tower: {words}",
        *(f"note: {remark}" for remark in files.remarks),
        *(f"verified: {line}" for line in checked),
        str(out),
    ]
    return Done(report, lines)
