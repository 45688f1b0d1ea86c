"""The authors' checkpoint to an artifact of this project.

hftrainer import motiongpt --weights motiongpt_s3_h3d.tar --t5 flan-t5-base/ -o motiongpt/ --verify
hftrainer import mdm --weights model000475000.pt --clip clip-vit-base-patch32/ -o mdm/ --verify
hftrainer import mogents --weights-root logs --length-root checkpoints --clip ViT-B-32.pt -o mogents/ --verify
hftrainer import momask --weights-root checkpoints --clip ViT-B-32.pt -o momask/ --verify
hftrainer import evaluator --weights epoch99.ckpt --distilbert DIR --mean Mean.npy --std Std.npy -o motion272/ --verify

The weights are read without running any code that is in the file. Everything is checked before anything is written, and
all that is wrong is listed at once. Statistics are looked for beside the weights (MotionGPT's in assets/meta/); --mean
and --std name others. --verify loads what was written and compares it with the checkpoint, every number of it; where
they differ, the exit status is 1 and nothing stays behind.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from hftrainer.cli import import_evaluator, import_mdm, import_mogents
from hftrainer.cli.outputs import check_folder
from hftrainer.cli.parser import Done, Parser, RequestError, near, whole
from hftrainer.cli.progress import Progress

#: Models whose checkpoints can be imported.
KINDS = ("motiongpt", "mdm", "mogents", "momask", "evaluator")
#: Flags that only MotionGPT takes; those of the others stand in ``import_mdm.py``, ``import_mogents.py`` and so on.
MOTIONGPT_FLAGS = ("t5", "evaluators", "glove", "activation", "norm", "dilation_growth")
#: Flags of files that MotionGPT and MDM take, whose releases are single files.
FILE_FLAGS = ("weights", "mean", "std")
#: All flags that not every kind takes.
FLAGS = {
    "motiongpt": (*MOTIONGPT_FLAGS, *FILE_FLAGS),
    "mdm": (*import_mdm.FLAGS, *FILE_FLAGS),
    "mogents": import_mogents.FLAGS,
    "momask": import_mogents.FLAGS,
    "evaluator": import_evaluator.FLAGS,
}
#: What the evaluator's folder is good for, by whether the word vectors are absent.
EVALUATOR_NOTE = {
    False: "in evaluator/, with its words",
    True: "in evaluator/; to score sentences it needs its word vectors too (--glove)",
}


def arguments(parser: Parser) -> None:
    """What ``hftrainer import`` takes."""
    parser.add_argument("kind", metavar="KIND", help=", ".join(KINDS))
    parser.flag("--weights", metavar="FILE", help="motiongpt, mdm, evaluator: the checkpoint, as motiongpt_s3_h3d.tar")
    parser.flag("--mean", metavar="FILE", help="statistics (default: those beside the weights)")
    parser.flag("--std", metavar="FILE", help="statistics (default: those beside the weights)")
    parser.flag("--any-statistics", action="store_true", help="take statistics that are known to be another model's")
    parser.flag("--t5", metavar="DIR", help="motiongpt: google/flan-t5-base, its config.json and tokenizer.json")
    parser.flag("--evaluators", action="store_true", help="motiongpt: also its evaluator, to evaluator/")
    parser.flag("--glove", metavar="DIR", help="the evaluator's word vectors, our_vab_data.npy and its two lists")
    parser.flag("--activation", metavar="NAME", help="of the motion tokenizer, if not relu: silu or gelu")
    parser.flag("--norm", metavar="NAME", help="of the motion tokenizer, if there is one: layer or group")
    parser.flag("--dilation-growth", type=whole(1), metavar="N", help="of the motion tokenizer, if not 3")
    parser.flag("--args", metavar="FILE", help="mdm: its options (default args.json beside the weights)")
    parser.flag("--clip", metavar="DIR", help="not motiongpt: CLIP ViT-B/32, a folder or ViT-B-32.pt, put inside")
    parser.flag("--distilbert", metavar="DIR", help="mdm, evaluator: distilbert-base-uncased, put inside")
    parser.flag("--ema", action="store_true", help="mdm: take the averages, whatever its options say")
    parser.flag("--guidance", type=float, metavar="X", help="mdm: strength of guidance (default 2.5, 7.5 for DiP)")
    import_mogents.arguments(parser)
    parser.flag("--verify", action="store_true", help="load what was written and compare it with the checkpoint")
    parser.flag("-o", "--output", required=True, metavar="DIR", help="the artifact")


def check_output(folder: Path) -> None:
    """Refuse a folder that cannot be written, or that holds something else than a model.

    Raises:
        RequestError: as said; an artifact takes the place of the whole folder.
    """
    check_folder(folder)
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "model_index.json").is_file():
        raise RequestError(
            f"{folder} must be a new folder, an empty one or a model's; it holds other files. "
            "Choose another place with -o."
        )


def run(args: argparse.Namespace, progress: Progress) -> Done:
    """Read, check, write, compare."""
    if args.kind not in KINDS:
        raise RequestError(f"there is no import of kind {args.kind!r}. {near(args.kind, KINDS)}")
    foreign = {name for flags in FLAGS.values() for name in flags} - set(FLAGS[args.kind])
    wrong = [f"--{name.replace('_', '-')}" for name in sorted(foreign) if getattr(args, name) not in (None, False)]
    if wrong:
        raise RequestError(f"flags must belong to {args.kind}; got {', '.join(wrong)} as well. Leave it out.")
    if args.kind in ("mogents", "momask"):
        return import_mogents.run(args, progress)
    if args.kind == "evaluator":
        return import_evaluator.run(args, progress)
    if args.weights is None:
        raise RequestError(f"--weights must be given with {args.kind}; got none. Name the checkpoint.")
    if args.kind == "mdm":
        return import_mdm.run(args, progress)
    if args.t5 is None:
        raise RequestError("--t5 must be given with motiongpt; got none. Name a folder of google/flan-t5-base.")
    if (args.mean is None) != (args.std is None):
        raise RequestError("--mean and --std must come together; got one of them. A pair belongs together.")
    if args.glove and not args.evaluators:
        raise RequestError("--glove must come with --evaluators; got it alone.")
    out, weights = Path(args.output), Path(args.weights)
    check_output(out)
    for given in (weights, Path(args.t5)):
        if given.exists() and out.exists() and (out.samefile(given) or out.resolve() in given.resolve().parents):
            raise RequestError(f"{out} must not hold {given}, which is read from. Choose another place with -o.")
    progress("loading torch")
    from hftrainer.models.artifact import written_folder
    from hftrainer.models.motion.motiongpt.bundle import MotionGPTBundle
    from hftrainer.models.motion.motiongpt.release import read_release, save_evaluator
    from hftrainer.models.motion.motiongpt.verify import verify

    progress(f"reading {weights}")
    files = read_release(
        weights,
        Path(args.t5),
        Path(args.mean) if args.mean else None,
        Path(args.std) if args.std else None,
        any_statistics=args.any_statistics,
        evaluator=args.evaluators,
        said={"activation": args.activation, "norm": args.norm, "dilation_growth": args.dilation_growth},
    )
    words = None
    if args.glove:
        from hftrainer.models.evaluator.official import read_words

        words = read_words(Path(args.glove))
    bundle = MotionGPTBundle.from_release(files)
    checked: list[str] = []
    with written_folder(out) as beside:
        progress(f"writing {out}")
        bundle.save_pretrained(beside)
        if files.evaluator is not None:
            save_evaluator(beside / "evaluator", files, words)
        if args.verify:
            progress(f"comparing {out} with {weights}")
            checked = verify(bundle, beside, files)
    counts = {
        "motion_tokenizer": sum(tensor.numel() for tensor in files.tokenizer.values()),
        "language_model": sum(tensor.numel() for tensor in files.language.values()),
    }
    report: dict[str, Any] = {
        "artifact": str(out),
        "hash": bundle.hash,
        "parameters": counts,
        "passed_over": files.passed_over,
        "source": files.about,
        "verified": checked,
    }
    source = files.about["weights"]
    lines = [
        f"weights: {source['name']}, SHA-256 {source['sha256'][:16]}…, "
        + ("the file that the authors released" if source["is_the_released_file"] else "not the released file"),
        f"motion tokenizer: {counts['motion_tokenizer']:,} numbers; language model: {counts['language_model']:,}",
        f"statistics: {files.pair.name}",
        *([f"evaluator: {EVALUATOR_NOTE[words is None]}"] if files.evaluator is not None else []),
        *(f"verified: {line}" for line in checked),
        str(out),
    ]
    return Done(report, lines)
