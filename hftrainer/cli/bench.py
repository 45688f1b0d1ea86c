"""How fast, and how well: one measurement, printed and kept as JSON.

A measurement that has a bar says whether it holds; the exit status is 1 when one does not.
"""

from __future__ import annotations

import argparse
import json
from importlib import import_module
from pathlib import Path
from typing import Any

from hftrainer.cli.outputs import check_folder
from hftrainer.cli.parser import Done, Parser, RequestError, near, whole
from hftrainer.cli.progress import Progress
from hftrainer.pipelines.table import kind_named

#: what is measured -> (module, function that returns JSON values, options that it takes)
BENCHES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "motion": ("hftrainer.bench.features", "motion_speed", ()),
    "ik": ("hftrainer.bench.rotations", "ik_speed", ("data",)),
    "fit": ("hftrainer.bench.rotations", "fit_speed", ()),
    "rendering": ("hftrainer.rendering.speed", "rendering_speed", ()),
    "metrics": ("hftrainer.evaluation.speed", "metrics_speed", ("data",)),
    "clean": ("hftrainer.bench.cleaning", "cleaning_quality", ("model", "data", "seeds")),
    "quality": ("hftrainer.quality", "model_quality", ("model", "data", "seeds")),
    "samplers": ("hftrainer.quality", "sampler_quality", ("model", "seeds")),
    "generate": ("hftrainer.quality", "generation_speed", ("model",)),
    "serve": ("hftrainer.serving.load", "load_test", ("model",)),
    "cluster": ("hftrainer.cluster.measures", "cluster_cost", ()),
    "packed": ("hftrainer.cluster.measures", "packed_reading", ()),
    "generate --batch": ("hftrainer.bench.decoding", "decoding_speed", ("batch",)),
    "models": ("hftrainer.pipelines.speeds", "model_speed", ("model", "verb", "way", "batch", "repeats")),
    "kernels": ("hftrainer.pipelines.kernels", "kernel_speed", ("repeats", "compiled")),
    "onnx": ("hftrainer.pipelines.exported", "onnx_speed", ("repeats",)),
    "nearness": ("hftrainer.pipelines.nearness", "nearness", ("model",)),
    "memory": ("hftrainer.pipelines.speeds", "memory_use", ("model",)),
    "generate by denoising": ("hftrainer.pipelines.speed", "denoising_speed", ("model", "steps", "batch", "device")),
}


def arguments(parser: Parser) -> None:
    """What ``hftrainer bench`` takes."""
    parser.add_argument("what", metavar="WHAT", help=", ".join(name for name in BENCHES if " " not in name))
    parser.flag(
        "--model", metavar="NAME|FOLDER|REPO", help="quality, clean, generate: which one; the built-in one by default; "
        "models: also motiongpt, mdm, mogents or momask, at published size with weights by formula"
    )
    parser.flag("--data", metavar="DIR", help="quality, clean: dataset folder (default data/mocap); "
                "ik: folder of clips with published errors; metrics: dataset folder")  # fmt: skip
    parser.flag("--seeds", type=whole(1), help="quality: motions for each prompt (default 5); samplers: 2, clean: 1")
    parser.flag("--batch", type=whole(2), help="generate: this many prompts together and one by one, at T5-base "
                "size; or, with a model that denoises, motions in a batch (default 8)")  # fmt: skip
    parser.flag("--steps", type=whole(1), help="generate, with a model that denoises: how many steps (default 20)")
    parser.flag("--verb", help="models: this verb only, or these: predict,inbetween")
    parser.flag("--way", help="models: this way only, for example bf16")
    parser.flag("--compiled", action="store_true", default=None, help="kernels: by torch.compile as well")
    parser.flag("--repeats", type=whole(1), help="models, kernels, onnx: timed runs of each measurement (default 3)")
    parser.flag("--device", help="generate, with a model that denoises: cpu, cuda, … (default cpu)")
    parser.flag("-o", "--output", metavar="FILE.json", help="keep the result, for example in results/")


def missed(report: Any, name: str) -> list[str]:
    """Names of all parts of a report whose ``holds`` is false.

    >>> missed({"encode": {"holds": True}, "decode": {"holds": False}}, "motion")
    ['motion.decode']
    """
    if isinstance(report, list):
        return [bar for at, part in enumerate(report) for bar in missed(part, f"{name}[{at}]")]
    if not isinstance(report, dict):
        return []
    below = [bar for key, part in report.items() for bar in missed(part, f"{name}.{key}")]
    return ([name] if report.get("holds") is False else []) + below


def _denoises(model: str) -> bool:
    return model == "mdm" or kind_named(model).name == "mdm"


def run(args: argparse.Namespace, progress: Progress) -> Done:
    """Measure one thing."""
    if args.what not in BENCHES or " " in args.what:
        raise RequestError(f"there is no bench {args.what!r}. {near(args.what, BENCHES)}")
    if args.output:
        check_folder(Path(args.output).parent)
    which = args.what
    if args.what == "generate" and args.model is not None and _denoises(args.model):
        which = "generate by denoising"
    elif args.what == "generate" and args.batch is not None:
        which = "generate --batch"
    module, function, options = BENCHES[which]
    flags = ("model", "data", "seeds", "batch", "steps", "device", "verb", "way", "repeats", "compiled")
    asked = {name: getattr(args, name) for name in flags if getattr(args, name) is not None}
    for name in asked:
        if name not in options:
            raise RequestError(f"bench {args.what} takes no --{name}; it must be left out.")
    if args.what in ("quality", "samplers"):
        asked["say"] = progress
    progress(f"measuring {args.what}")
    try:
        report = getattr(import_module(module), function)(**asked)
    except ModuleNotFoundError as error:  # a package of an extra; the message names it
        raise RequestError(str(error)) from error
    text = json.dumps(report, indent=2, ensure_ascii=False)
    if args.output:
        Path(args.output).parent.mkdir(parents=True, exist_ok=True)
        Path(args.output).write_text(text + "\n", encoding="utf-8")
    below = missed(report, args.what)
    return Done(report, [text, *(f"below its bar: {name}" for name in below)], code=1 if below else 0)
