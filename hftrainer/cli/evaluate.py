"""How well a model does its tasks on a dataset, several times over: one JSON report.

Tasks: t2m (sentences to motions), m2t (motions to sentences), pred (the rest of a motion from its start),
inbetween (the middle from both ends), reconstruction (what the tokens keep). Every number is given as
mean, std and 95 % interval over the replications, beside simple baselines. Retrieval, FID and diversity
come from an evaluator's networks, the built-in ones or those of --evaluator. A report with an evaluator tests
itself: where real motions do not score as the evaluator remembers, the exit status is 1 and the report says why.

FAMILY real is no model: the real motions themselves, how sentences find them and they their sentences
(--task recall). With --calibrate the evaluator's folder keeps their row, for later reports to be tested against, and
gets a card.

FAMILY all makes the reports of every built-in model, every task and the real motions, into the folder that -o names;
with --task only of that one. --workers does several at once. With --skip-existing a report stays that is there already
and is of the same weights, data, evaluator and flags, so a long job may be stopped and begun again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hftrainer.cli import clustered_evaluate
from hftrainer.cli.answers import completer, describer, generator
from hftrainer.cli.clustered import add_cluster_flags
from hftrainer.cli.outputs import check_folder
from hftrainer.cli.parser import Done, Parser, RequestError, near, whole
from hftrainer.cli.progress import Progress
from hftrainer.models.sums import same_hash
from hftrainer.pipelines.table import BUILT_IN, KINDS, built_in

if TYPE_CHECKING:
    from hftrainer.evaluation.population import Sample
    from hftrainer.evaluation.setting import Setting

FAMILIES = (*KINDS, "real", "all")
TASKS = ("t2m", "m2t", "pred", "inbetween", "reconstruction", "recall")
#: What a model must be able to do for a task.
VERBS = {"t2m": "generate", "m2t": "caption", "pred": "predict", "inbetween": "inbetween"}
#: Kinds of models whose tokens are measured by themselves.
TOKENS = ("motiongpt",)
PADDINGS = ("alone", "packed", "consumed")
#: Shares kept at both ends where none are asked for: those of the published protocol.
KEPT = {"pred": (0.2, 0.0), "inbetween": (0.25, 0.25)}


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"must be a share above 0 and below 1; got {text!r}.")
    return value


def arguments(parser: Parser) -> None:
    """What ``hftrainer evaluate`` takes."""
    parser.add_argument("family", metavar="FAMILY", help=", ".join(FAMILIES))
    parser.flag("--task", metavar="TASK", help=", ".join(TASKS))
    parser.flag("--data", metavar="DIR", help="dataset folder in the HumanML3D layout")
    parser.flag("--model", metavar="NAME|FOLDER|REPO", help="which model; the built-in one by default")
    parser.flag("--split", default="test", metavar="NAME", help="which list of the dataset (default test)")
    parser.flag("--replications", type=whole(1), default=20, help="how many times (default 20)")
    parser.flag("--limit", type=whole(1), help="only the first so many samples")
    parser.flag("--evaluator", metavar="DIR|none", help="networks for R-precision, FID; the built-in ones by default")
    parser.flag("--calibrate", action="store_true", help="real: the evaluator's folder keeps the row")
    parser.flag("--cache", metavar="DIR", help="keep the evaluator's embeddings here, by content, and find them again")
    parser.flag("--padding", default="alone", metavar="HOW",
                help=f"how the evaluator reads a batch: {', '.join(PADDINGS)} (default alone)")  # fmt: skip
    parser.flag("--multimodality", type=whole(1), metavar="SENTENCES", help="t2m: how many get 30 motions each")
    parser.flag("--best-of", type=whole(1), metavar="N", help="m2t: choose each caption among so many (default 1)")
    parser.flag("--keep", type=_share, nargs="+", metavar="SHARE",
                help="pred: share of the start (default 0.2); inbetween: of both ends (default 0.25 0.25)")  # fmt: skip
    parser.flag("--seed", type=whole(0), default=0, help="of the first replication (default 0)")
    parser.flag("--workers", type=whole(1), default=1, metavar="N", help="all: so many reports at once (default 1)")
    parser.flag("--skip-existing", action="store_true", help="leave a report that is there and would be the same")
    parser.flag("--device", default="cpu", help="cpu, cuda, cuda:1, … (default cpu)")
    add_cluster_flags(parser)
    parser.flag("-o", "--output", metavar="FILE.json", help="where the report goes")


def check(args: argparse.Namespace) -> tuple[float, float]:
    """Refuse a wrong request before anything is loaded; the shares that are kept.

    Raises:
        RequestError: an unknown word, a missing flag, or one that the task does not take.
    """
    if args.family != "all" and args.workers > 1:
        raise RequestError(f"--workers must come with all; got {args.family}. Leave it out.")
    for what, value, known in (
        ("family", args.family, FAMILIES), ("task", args.task, TASKS), ("padding", args.padding, PADDINGS),
    ):  # fmt: skip
        if value is None:
            raise RequestError(f"--{what} must say what is measured: {', '.join(known)}.")
        if value not in known:
            raise RequestError(f"there is no {what} {value!r}. {near(value, known)}")
    if args.task not in (tasks := tasks_of(args.family)):
        raise RequestError(f"--task of {args.family} must be one of {', '.join(tasks)}; got {args.task}.")
    clustered_evaluate.check(args)
    if args.family == "real" and args.model is not None:
        raise RequestError(f"--model must be left out with real, which is no model; got {args.model}.")
    if args.model is None and args.family != "real" and args.family not in BUILT_IN.values():
        raise RequestError(f"--model must say which model; none of the kind {args.family} is built in.")
    if args.calibrate and args.family != "real":
        raise RequestError(f"--calibrate must come with real, whose row is kept; got {args.family}. Leave it out.")
    if args.data is None:
        raise RequestError("--data must name a dataset folder. Make one with hftrainer data build.")
    if args.output is None:
        raise RequestError("say where to write with -o FILE.json.")
    if Path(args.output).suffix.lower() != ".json":
        raise RequestError(f"{args.output}: the ending must be .json. Rename it.")
    if Path(args.output).is_dir():
        raise RequestError(f"{args.output} must be a file; it is a folder. Name a file in it.")
    check_folder(Path(args.output).parent)
    without = args.evaluator == "none"
    if without and (args.cache is not None or args.family == "real"):
        what = "--cache" if args.cache is not None else "real"
        raise RequestError(f"{what} must come with an evaluator; got --evaluator none. Leave that out.")
    if args.cache is not None:
        check_folder(Path(args.cache))
    if args.multimodality is not None and (args.task != "t2m" or without):
        raise RequestError("--multimodality must come with --task t2m and an evaluator. Leave it out.")
    if args.best_of is not None and args.task != "m2t":
        raise RequestError(f"--best-of must come with --task m2t; got {args.task}. Leave it out.")
    if args.keep is None:
        return KEPT.get(args.task, (0.0, 0.0))
    if args.task not in KEPT:
        raise RequestError(f"--keep must come with --task pred or inbetween; got {args.task}. Leave it out.")
    if len(args.keep) != (1 if args.task == "pred" else 2):
        wanted = "one share, of the start" if args.task == "pred" else "two shares, of both ends"
        raise RequestError(f"--keep must be {wanted}, for {args.task}; got {len(args.keep)}.")
    keep = (args.keep[0], args.keep[1] if args.task == "inbetween" else 0.0)
    if sum(keep) >= 1:
        raise RequestError(f"--keep must leave something hidden; got {keep[0]:g} and {keep[1]:g}. Keep less.")
    return keep


def tasks_of(family: str) -> tuple[str, ...]:
    """What can be measured of a kind of model.

    >>> tasks_of("mdm"), tasks_of("real")
    (('t2m', 'pred', 'inbetween'), ('recall',))
    """
    if family == "real":
        return ("recall",)
    verbs = KINDS[family].verbs
    tokens = ("reconstruction",) if family in TOKENS else ()
    return (*(task for task, verb in VERBS.items() if verb in verbs), *tokens)


def measure(
    args: argparse.Namespace, keep: tuple[float, float], samples: Sequence[Sample], setting: Setting,
    pipe: Any, progress: Progress,
) -> dict[str, Any]:  # fmt: skip
    """The report of one task."""
    from hftrainer.data.humanml3d import HumanML3D
    from hftrainer.evaluation import captioning, drawn, motiongpt
    from hftrainer.evaluation.population import performer, population

    if args.task == "recall":
        return drawn.real_motions(samples, setting)
    if args.task == "t2m":
        return motiongpt.text_to_motion(samples, generator(pipe, progress), setting, args.multimodality or 0)
    if args.task == "m2t":
        progress("reading the training clips")
        dataset = HumanML3D(args.data, ("train",))
        known, best_of = population(dataset, "train"), args.best_of or 1
        looked_up = {"caption of the nearest training clip": captioning.nearest_captions(samples, known, dataset.std)}
        if all(performer(sample.id) for sample in samples):
            looked_up["caption of the nearest clip of another performer"] = captioning.nearest_captions(
                samples, known, dataset.std, strangers=True
            )
        return captioning.motion_to_text(
            samples, describer(pipe, progress, best_of), setting, looked_up,
            captioning.lemmatiser([caption for sample in known for caption in sample.captions]), best_of,
        )  # fmt: skip
    if args.task == "reconstruction":
        bundle = pipe.bundle
        return motiongpt.rebuilding(samples, lambda motion: bundle.detokenize(bundle.tokenize(motion)), setting)
    return motiongpt.completion(args.task, samples, completer(pipe, args.task, keep, progress), setting, keep)


def lines(report: dict[str, Any]) -> list[str]:
    """A report for reading: a line for each number, baselines below it, and why the rest is missing."""
    head = f"{report['task']}: {report['samples']} samples, {report['replications']} replications"
    text = [head + (f", {sum(report['failed'])} failed answers" if any(report["failed"]) else "")]
    rows = [("", report), *((f"{name}: ", part) for name, part in report["baselines"].items())]
    for name, part in rows:
        for metric, value in part["metrics"].items():
            text.append(f"{name}{metric:<22} {value['mean']:.4f} ± {value['interval95']:.4f}")
    reasons: dict[str, list[str]] = {}
    for metric, reason in report["undefined"].items():
        reasons.setdefault(reason, []).append(metric)
    text += [f"undefined: {', '.join(names)}: {reason}" for reason, names in reasons.items()]
    return text + [f"note: {note}" for note in report["notes"]]


def choose_evaluator(args: argparse.Namespace, representation: str) -> tuple[Any, Path | None]:
    """The evaluator and its folder; without ``--evaluator`` the built-in one where it reads such motions.

    Raises:
        RequestError: it reads other motions.
    """
    from hftrainer.models.evaluator import find_evaluator, load_evaluator

    if args.evaluator == "none":
        return None, None
    folder = find_evaluator(args.evaluator)
    evaluator = load_evaluator(folder)
    if evaluator.representation != representation:
        if args.evaluator is None and args.family != "real":
            return None, None
        raise RequestError(
            f"the evaluator must read {representation}; it reads {evaluator.representation}. Choose another."
        )
    if args.cache is not None:
        from hftrainer.evaluation.cache import keep_encodings

        evaluator = keep_encodings(evaluator, args.cache)
    return evaluator, folder


def model_name(args: argparse.Namespace) -> str:
    """Name, folder or repository of the model that is measured."""
    return args.model or next(name for name, kind in built_in().items() if kind.name == args.family)


def open_model(args: argparse.Namespace, representation: str) -> Any:
    """The model's pipeline.

    Raises:
        RequestError: it is of another kind than the family, or reads other motions than those of the dataset.
    """
    from hftrainer.cli.generate import check_device
    from hftrainer.pipelines.table import kind_named, open_pipeline

    check_device(args.device)
    name = model_name(args)
    kind = kind_named(name)
    if kind.name != args.family:
        raise RequestError(f"--model must be of the kind {args.family}; {name} is {kind.name}. Ask for that one.")
    pipe = open_pipeline(name, device=args.device)
    reads = pipe.bundle.statistics.spec.name
    if representation != reads:
        raise RequestError(
            f"the dataset must be {reads} for this model; it is {representation}. Choose another model."
        )
    return pipe


def run(args: argparse.Namespace, progress: Progress) -> Done:
    """Measure one task and write the report."""
    if args.family == "all":
        from hftrainer.cli.scoring import run_all

        return run_all(args, progress)
    started = time.monotonic()
    keep = check(args)
    from hftrainer.data.humanml3d import HumanML3D
    from hftrainer.evaluation import drawn
    from hftrainer.evaluation.evaluator_card import write_card
    from hftrainer.evaluation.population import population
    from hftrainer.evaluation.report import versions
    from hftrainer.evaluation.setting import Setting
    from hftrainer.motion.files.atomic import written_whole

    progress("reading the dataset")
    dataset = HumanML3D(args.data, (args.split,))
    samples = population(dataset, args.split, args.limit)
    representation = samples[0].motion.representation.name
    progress("loading the model")
    evaluator, folder = choose_evaluator(args, representation)
    pipe = None if args.family == "real" else open_model(args, representation)
    about, weights = {"name": "real motion", "hash": None}, None
    if pipe is not None:
        about = {"name": pipe.bundle.about.get("name", args.family), "hash": pipe.bundle.hash}
        weights = pipe.bundle.sha256
    setting = Setting(evaluator, args.replications, args.seed, args.padding, progress)
    which = {
        "family": args.family,
        "model": about,
        "dataset": {"name": dataset.name, "statistics": dataset.hash, "split": args.split, "limit": args.limit},
        "hashes": drawn.hashes_of(samples, dataset, args.split, evaluator, weights),
        "versions": versions(),
        "command": command_of(args),
    }
    if args.skip_existing and not args.calibrate and (known := made_before(Path(args.output), which)):
        return finished(known, args.output, ["it was there already"])
    if args.cluster is not None:
        pipe = clustered_evaluate.answered(
            args, model_name(args), keep, samples, which["hashes"], setting, pipe, progress
        )
    task = measure(args, keep, samples, setting, pipe, progress)
    report = {**which, **task}
    if folder is not None and args.task in ("t2m", "recall"):
        whole = drawn.as_report(
            task, str(about["name"]), samples, setting, dataset, args.split, weights=weights, limit=args.limit,
            kept=None if args.calibrate else drawn.kept_row(folder),
            command=which["command"],
        )  # fmt: skip
        report |= {**whole, "protocol": {**task["protocol"], **whole["protocol"]}}
        if args.calibrate:
            drawn.keep_row(report, dataset.name, folder)
            write_card(folder, evaluator.about, report)
    elif folder is not None:
        progress("testing the evaluator with the real motions")
        report |= drawn.real_part(samples, setting, dataset, args.split, drawn.kept_row(folder), args.limit)
    report["seconds"] = round(time.monotonic() - started, 1)
    with written_whole(args.output) as file:
        file.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    clustered_evaluate.forget(args)
    return finished(report, args.output)


def finished(report: dict[str, Any], output: str, notes: Sequence[str] = ()) -> Done:
    """What is said of a report; the exit status is 1 where it does not hold."""
    from hftrainer.evaluation.report import failure

    drifted = failure(report) if "calibration" in report else None
    more = [f"the report does not hold: {drifted}"] if drifted else []
    return Done(report, [*lines(report), *more, *notes, output], 1 if drifted else 0)


def command_of(args: argparse.Namespace) -> str:
    """The command of a report, without the paths of a machine: what decides its numbers beside weights and data."""
    words = ["hftrainer evaluate", args.family, "--task", args.task, "--replications", str(args.replications)]
    usual = {"--seed": (args.seed, 0), "--padding": (args.padding, "alone"), "--best-of": (args.best_of or 1, 1),
             "--multimodality": (args.multimodality, None), "--limit": (args.limit, None)}  # fmt: skip
    for flag, (value, default) in usual.items():
        words += [] if value == default else [flag, str(value)]
    words += ["--keep", *(f"{share:g}" for share in args.keep)] if args.keep else []
    return " ".join(words)


def made_before(file: Path, which: dict[str, Any]) -> dict[str, Any] | None:
    """The report that is there, where ``which`` weights, data, evaluator, flags and versions it is of are the same."""
    try:
        known: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        return None
    if not isinstance(known, dict) or not isinstance(there := known.get("hashes"), dict):
        return None
    names, here = [name for name in which if name != "hashes"], which["hashes"]
    same = there.keys() == here.keys() and all(same_hash(there[name], here[name]) for name in here)
    return known if same and all(known.get(name) == which[name] for name in names) else None
