"""One recipe to one run folder.

A recipe is a file, or the name of one that comes with the package: evaluator, motiongpt-mini-tokenizer, mdm-base ….
An evaluator that was trained is then shown the real motions of the dataset's split test: how sentences find them and
they their sentences goes into its card, and its folder keeps their row, against which later reports are tested.

--set changes one setting of the recipe, as TOML: --set optimizer.rate=1e-4. A run that was stopped goes on with
--resume, bit for bit as if it had not been. --sweep runs the recipe once for each value of a setting, each into a
folder of its own, and writes sweep.json and table.md beside them; of motion tokenizers of MotionGPT it also measures
what tokens keep of the held-out motions.

Several processes share every batch:
accelerate launch --multi_gpu --num_processes 2 -m hftrainer train RECIPE.toml -o DIR
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from hftrainer.cli.outputs import check_folder
from hftrainer.cli.parser import Done, Parser, RequestError, near
from hftrainer.cli.progress import Progress


def arguments(parser: Parser) -> None:
    """What ``hftrainer train`` takes."""
    parser.add_argument("recipe", metavar="RECIPE", help="a .toml file, or the name of one that comes along")
    parser.flag("-o", "--output", metavar="DIR", help="run folder: log, checkpoints, artifact (default runs/RECIPE)")
    parser.flag("--data", metavar="DIR", help="the dataset folder, where it is not that of the recipe")
    parser.flag("--set", action="append", default=[], dest="changes", metavar="A.B=C", help="may be repeated")
    parser.flag("--resume", action="store_true", help="go on from the last checkpoint in DIR")
    parser.flag("--sweep", metavar="A.B=C,D,…", help="one run for each value: network.down=0,1,2,3")


def find_recipe(name: str) -> Path:
    """The file of a recipe: a path, or the name of one that comes with the package.

    Raises:
        RequestError: there is none.

    >>> find_recipe("evaluator").name
    'evaluator.toml'
    """
    if Path(name).is_file():
        return Path(name)
    package = Path(__file__).resolve().parent.parent
    known = {file.stem: file for place in (package / "recipes", package.parent / "recipes")
             for file in sorted(place.glob("*.toml"))}  # fmt: skip
    if name in known:
        return known[name]
    raise RequestError(f"{name} must be a recipe; there is no such file. {near(name.removesuffix('.toml'), known)}")


def show_real_motions(run: Path, data: str, progress: Progress) -> tuple[dict[str, Any] | None, list[str]]:
    """A new evaluator is shown real motions: ``recall.json`` of the run folder, its card, and the row that it keeps."""
    from hftrainer.cli import evaluate
    from hftrainer.cli.entry import make_parser

    words = ["real", "--task", "recall", "--data", data, "--evaluator", str(run / "artifact"), "--calibrate",
             "-o", str(run / "recall.json")]  # fmt: skip
    try:
        done = evaluate.run(make_parser("evaluate").read(words), progress)
    except (KeyError, ValueError, FileNotFoundError) as error:
        return None, [f"not shown real motions: {error.args[0] if error.args else error}"]
    return done.report, list(done.lines[:-1])


def what_tokens_keep(artifact: Path, recipe: Mapping[str, Any], progress: Progress) -> dict[str, float]:
    """What a motion tokenizer of a recipe keeps of the captioned motions that its training held out.

    Returns:
        MPJPE, PA-MPJPE and ACCEL in millimetres; FID and diversities by the built-in evaluator, where it reads such
        motions and there are enough. Nothing where the split has no captioned motion.
    """
    import torch

    from hftrainer.data.humanml3d import HumanML3D
    from hftrainer.evaluation.motiongpt import rebuilding
    from hftrainer.evaluation.population import population
    from hftrainer.evaluation.setting import Setting
    from hftrainer.models.evaluator import built_in_evaluator
    from hftrainer.motion.clip import Motion
    from hftrainer.training.starts import load_tokenizer

    network, statistics, _ = load_tokenizer(artifact)

    @torch.no_grad()
    def rebuild(motion: Motion) -> Motion:
        return statistics.denormalize(network.decode(network.encode(statistics.normalize(motion)[None]))[0])

    split = str(recipe.get("validate_split", "val"))
    try:
        samples = population(HumanML3D(str(recipe["data"]), (split,)), split)
    except ValueError as error:
        progress(f"not measured: {error}")
        return {}
    evaluator = built_in_evaluator()
    reads = evaluator.representation == samples[0].motion.representation.name
    found = rebuilding(samples, rebuild, Setting(evaluator if reads else None, replications=1, say=progress))
    return {name: value["mean"] for name, value in found["metrics"].items()}


def run(args: argparse.Namespace, progress: Progress) -> Done:
    """Train."""
    recipe = find_recipe(args.recipe)
    for change in args.changes:
        key, equals, _ = change.partition("=")
        if not equals or not all(part.isidentifier() for part in key.strip().split(".")):
            raise RequestError(f"--set must look like optimizer.rate=1e-4; got {change!r}.")
    changes = [*args.changes, *([] if args.data is None else [f"data={json.dumps(args.data)}"])]
    out = Path(args.output or Path("runs") / recipe.stem)
    check_folder(out)
    progress("loading torch")
    from hftrainer.training.loop import tell
    from hftrainer.training.processes import is_first_process
    from hftrainer.training.recipe import read_recipe, run_recipe
    from hftrainer.training.sweep import run_sweep, table

    started, say = time.monotonic(), (lambda line: None) if args.quiet else tell
    if args.sweep:
        asked = read_recipe(recipe, changes)
        known = asked["kind"] == "motiongpt-tokenizer"
        measure = partial(what_tokens_keep, recipe=asked, progress=progress) if known else None
        rows = run_sweep(recipe, out, args.sweep, changes, args.resume, say, measure)
        seconds = round(time.monotonic() - started, 1)
        report = {"recipe": str(recipe), "folder": str(out), "runs": rows, "seconds": seconds}
        return Done(report, table(rows).splitlines() if is_first_process() else [])
    artifact = run_recipe(recipe, out, changes, args.resume, say)
    report = {"recipe": str(recipe), "artifact": str(artifact), "seconds": round(time.monotonic() - started, 1)}
    if not is_first_process():
        return Done(report, [])
    settings = read_recipe(recipe, changes)
    lines: list[str] = []
    if settings["kind"] == "evaluator":
        report["recall"], lines = show_real_motions(out, str(settings["data"]), progress)
    return Done(report, [*lines, str(artifact)])
