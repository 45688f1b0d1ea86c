"""The evaluators' part of ``hftrainer import``.

hftrainer import evaluator --weights text_mot_match.tar --glove glove/ --mean mean.npy --std std.npy -o hml263/ --verify
hftrainer import evaluator --weights epoch99.ckpt --distilbert distilbert-base-uncased/ --mean Mean.npy --std Std.npy
hftrainer import evaluator --weights motionclip_model.safetensors --mean Mean.npy --std Std.npy -o motionclip/

The words say which evaluator it is: with --glove the text-motion matching model of HumanML3D or KIT, with --distilbert
MotionStreamer's, without either MotionCLIP. The statistics are the evaluator's own, which are not a model's.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from hftrainer.cli.outputs import check_folder
from hftrainer.cli.parser import Done, RequestError
from hftrainer.cli.progress import Progress

#: Flags that this kind takes.
FLAGS = ("weights", "mean", "std", "glove", "distilbert")


def check(args: argparse.Namespace) -> None:
    """Refuse what can be seen to be wrong before anything is read.

    Raises:
        RequestError: no weights or statistics, two kinds of words, a place that cannot be written or is read from.
    """
    absent = [f"--{name}" for name in ("weights", "mean", "std") if getattr(args, name) is None]
    if absent:
        raise RequestError(f"{', '.join(absent)} must be given with evaluator; got none. Name the authors' files.")
    if args.glove and args.distilbert:
        raise RequestError("one of --glove and --distilbert must be given; got both. An evaluator reads words one way.")
    if args.any_statistics:
        raise RequestError("--any-statistics must not come with evaluator, which knows no others. Leave it out.")
    out = Path(args.output)
    check_folder(out)
    if out.is_dir() and any(out.iterdir()) and not (out / "evaluator.json").is_file():
        raise RequestError(
            f"{out} must be a new folder, an empty one or an evaluator's; it holds other files. "
            "Choose another place with -o."
        )
    for given in filter(None, (args.weights, args.mean, args.std, args.glove, args.distilbert)):
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
    from hftrainer.errors import ArtifactError
    from hftrainer.models.artifact import file_hash, written_folder
    from hftrainer.models.evaluator import load_evaluator
    from hftrainer.models.evaluator.loading import AnyEvaluator, read_hml263, read_motion272, read_motionclip

    out, weights, mean, std = (Path(given) for given in (args.output, args.weights, args.mean, args.std))
    progress(f"reading {weights}")
    evaluator: AnyEvaluator
    if args.glove:
        evaluator = read_hml263(weights, mean, std, Path(args.glove))
    elif args.distilbert:
        evaluator = read_motion272(weights, mean, std, Path(args.distilbert))
    else:
        evaluator = read_motionclip(weights, mean, std)
    source, state = file_hash(weights), evaluator.network.state_dict()
    count = sum(tensor.numel() for tensor in state.values())
    checked: list[str] = []
    with written_folder(out) as beside:
        progress(f"writing {out}")
        evaluator.save_pretrained(beside)
        if args.verify:
            progress(f"comparing {out} with {weights}")
            again = load_evaluator(beside).network.state_dict()
            wrong = [key for key in state if key not in again or not bool((again[key] == state[key]).all())]
            if wrong or again.keys() != state.keys():
                raise ArtifactError(f"what was written must be what was read; {', '.join(wrong[:5])} differ.")
            checked.append(f"{len(state)} tensors, max-abs-diff 0.0")
    report: dict[str, Any] = {
        "artifact": str(out),
        "kind": evaluator.kind,
        "hash": evaluator.hash,
        "parameters": {"network": count},
        "source": {"name": weights.name, "sha256": source},
        "verified": checked,
    }
    lines = [
        f"weights: {weights.name}, SHA-256 {source[:16]}…",
        f"evaluator: {evaluator.kind}, {count:,} numbers, embeddings of {evaluator.width}",
        *(f"verified: {line}" for line in checked),
        str(out),
    ]
    return Done(report, lines)
