"""Evaluators put to the test with real motions, and predictions scored beside them: two JSON files, as the cards have.

The HumanML3D-263 evaluator reads ``new_joint_vecs/ID.npy``; MotionStreamer's reads ``motion_data/ID.npy``. By default
both score the test list of MotionStreamer's data, as the published tables do.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hftrainer.data.humanml3d import HumanML3D
from hftrainer.evaluation import drawn
from hftrainer.evaluation.aggregate import RANKS
from hftrainer.evaluation.pairs import read_population
from hftrainer.evaluation.population import population
from hftrainer.evaluation.protocols import Protocol, get_protocol, scored_by
from hftrainer.evaluation.report import make_report
from hftrainer.evaluation.scoring import check_reads, score
from hftrainer.evaluation.setting import Setting
from hftrainer.models.evaluator import AnyEvaluator

#: Rows that a reader compares with: published, not measured here.
REFERENCES = {
    "hml263": (
        ("real motion (Guo et al.)", {"FID": 0.002, "R@3": 0.797, "diversity": 9.503, "matching": 2.974}),
        ("MDM (paper)", {"FID": 0.544, "R@3": 0.611, "diversity": 9.559, "matching": 5.566}),
    ),
    "ms272": (("real motion, all captions", {"R@1": 0.706, "diversity": 27.36, "matching": 15.01}),),
}
_SHOWN = ("R@1", "R@2", "R@3", "FID", "matching", "diversity")


def hml263_protocol(captions: str, alone: bool, repeats: int) -> Protocol:
    """The protocol of the 263 evaluator's flags.

    Args:
        captions: ``"first"`` or ``"random"``.
        alone: real motions alone, cut by chance.
        repeats: how many times.

    >>> hml263_protocol("random", True, 20).name, hml263_protocol("random", False, 20).name
    ('hml263-subclips', 'hml263-first, random captions')
    """
    base = get_protocol("hml263-subclips" if alone else "hml263-first")
    if base.captions != captions:
        base = dataclasses.replace(base, name=f"{base.name}, {captions} captions", captions=captions)
    return dataclasses.replace(base, repeats=repeats)


def verify(
    evaluator: AnyEvaluator,
    protocol: Protocol,
    motions: Path,
    texts: Path,
    split: Path,
    predictions: Path | None = None,
    *,
    selected: Mapping[str, str] | None = None,
    expected: Mapping[str, Any] | None = None,
    calibration: Mapping[str, Any] | None = None,
    folder: Path | None = None,
    command: str = "",
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """One evaluator's report, with the names of the published JSON files beside ours.

    Args:
        evaluator, protocol: what scores, and how; an evaluator that was trained here takes the place of the authors',
            and the protocol's name says so.
        motions, texts, split: real motions, captions and the list of names.
        predictions: folder of predictions; ``None`` scores real motions against themselves.
        selected: ID -> caption, for protocols that want one chosen.
        expected: an earlier report of the same real motions to test against.
        calibration: of ``by_kept_row``, in place of the published row.
        folder: where the evaluator lies, for ``config``.
        command: the line that was typed.
        say: gets a line of progress.

    Returns:
        ``report.make_report``'s layout, with what ``published_layout`` adds, and ``seconds`` of ``reading``,
        ``encoding`` and ``repeats``.

    Raises:
        FileNotFoundError, ValueError: as ``read_population`` and ``score``.
    """
    begin = time.perf_counter()
    say("reading motions and captions")
    check_reads(evaluator, protocol)
    if evaluator.kind == "contrast":
        protocol = scored_by(protocol, evaluator.kind)
    found = read_population(protocol, motions, texts, split, predictions, selected)
    seconds = {"reading": time.perf_counter() - begin}
    rows = score(evaluator, protocol, found, say, seconds)
    name = predictions.name if predictions else "real motion"
    report = make_report(
        name, protocol, evaluator, found, rows, expected=expected, calibration=calibration, command=command
    )
    places = {"ckpt_dir": folder, "gt_root": motions, "texts_dir": texts, "split_file": split, "pred_dir": predictions}
    config = {"evaluator": evaluator.kind, **{name: place and str(place) for name, place in places.items()}}
    told = {name: round(value, 2) for name, value in seconds.items()}
    return {**report, **published_layout(report), "config": config, "seconds": told}


def by_kept_row(
    evaluator: AnyEvaluator, folder: Path, root: Path, split: Path, repeats: int
) -> dict[str, Any] | None:
    """How the real motions of a dataset that was built here score, beside the row that the evaluator keeps of them.

    Args:
        evaluator, folder: what scores, and where it lies.
        root: folder of the dataset, with its statistics.
        split: the list that is scored.
        repeats: how many times.

    Returns:
        A ``calibration``; ``None`` where the evaluator keeps no row, or that of another dataset, or where the list is
        none of the dataset's.
    """
    kept = drawn.kept_row(folder)
    whole = split.resolve().parent == root.resolve() and all((root / f"{n}.npy").is_file() for n in ("Mean", "Std"))
    if kept is None or not whole:
        return None
    dataset, setting = HumanML3D(root, (split.stem,)), Setting(evaluator, repeats, kept["protocol"]["seed"])
    part = drawn.real_part(population(dataset, split.stem), setting, dataset, split.stem, kept)
    found: dict[str, Any] = part["calibration"]
    return None if found["holds"] is None else found


def published_layout(report: Mapping[str, Any]) -> dict[str, Any]:
    """The names that published JSON files have for the same numbers.

    ``fid``, ``r_precision``, ``matching_score`` and ``diversity`` are the predictions', those with ``_real`` the real
    motions'; each has ``mean`` and ``std``. What cannot be said is null.
    """
    rows = report["rows"]
    out: dict[str, Any] = {
        "mode": "prediction" if "predicted" in rows else "gt_only",
        "n_repeats": report["protocol"]["repeats"],
        "n_samples": report["counts"]["samples"],
        "n_samples_used": report["counts"]["used"],
    }
    for row, ending in ((rows.get("predicted", rows["real"]), ""), (rows["real"], "_real")):
        metrics = row["metrics"]
        for name, measure in (("fid", "FID"), ("matching_score", "matching"), ("diversity", "diversity")):
            value = metrics.get(measure)
            out[name + ending] = None if value is None else {"mean": value["mean"], "std": value["std"]}
        ranks = [metrics.get(rank) for rank in RANKS]
        out["r_precision" + ending] = None if None in ranks else {
            part: [rank[part] for rank in ranks if rank is not None] for part in ("mean", "std")
        }  # fmt: skip
    return out


def lines(which: str, report: Mapping[str, Any]) -> list[str]:
    """A report for reading, beside published rows.

    Args:
        which: ``"hml263"`` or ``"ms272"``.
        report: of ``verify``.
    """
    counts = report["counts"]
    text = [
        f"{which}: {report['protocol']['name']}, {counts['samples']} samples, {counts['used']} used, "
        f"{counts['missing']} missing, {counts['failed']} failed, {report['protocol']['repeats']} repeats"
    ]
    for name, row in (("real motion", report["rows"]["real"]), (report["name"], report["rows"].get("predicted"))):
        if row is not None:
            values = {measure: row["metrics"][measure]["mean"] for measure in _SHOWN if measure in row["metrics"]}
            text.append(_line(f"{name}, measured here", values))
            text += [f"  {measure}: {why}" for measure, why in row["undefined"].items()]
    if report["protocol"]["evaluator"] != "contrast":  # published numbers are of the authors' evaluators
        text += [_line(f"{name}, published", values) for name, values in REFERENCES[which]]
    calibration = report["calibration"]
    verdict = {True: "holds", False: "does not hold", None: "unknown"}[calibration["holds"]]
    return [*text, f"calibration {verdict}{': ' + calibration['reason'] if calibration['reason'] else '.'}"]


def _line(name: str, values: Mapping[str, float]) -> str:
    return f"  {name:<37}" + "  ".join(f"{measure} {value:.4f}" for measure, value in values.items())
