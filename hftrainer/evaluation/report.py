"""A report that says what it measured, tests itself against real motions, and stands in tables with its like alone.

A report holds JSON values::

    {"format": "hftrainer-report-1", "name": "mdm guidance 2.5",
     "protocol": {...}, "route": {"predictions": [...], "reference": "raw"},
     "counts": {"samples": 3970, "used": 3968, "missing": 0, "failed": 0, "rejected": {...}},
     "missing": [...], "failed": {...},
     "rows": {"real": {"metrics": {...}, "undefined": {...}}, "predicted": {...}},
     "calibration": {"holds": true, "against": "...", "checks": [...], "reason": "..."},
     "hashes": {"split": ..., "captions": ..., "statistics": ..., "evaluator": ..., "weights": ..., "predictions": ...},
     "made": {"model": {...}, "drawing": {...}, "data": {...}},
     "versions": {...}, "command": "...", "notes": [...]}

``calibration.holds`` is true, false, or null where nothing is known to compare with. A report that does not hold is
written all the same, with the reason; ``failure`` gives it as a sentence.
Of ready-made predictions, ``hashes.predictions`` is that of their files; weights, and ``made``, are known where their
folder says how they were made (``making``). Motions that were made from another sentence than the one they are scored
with make a report that does not hold: their R-precision says nothing.
Hashes are SHA-256, 64 hex digits. Reports of earlier versions have the first 16 of an evaluator's and of weights';
these are taken for the same where they begin alike.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from hftrainer.evaluation.aggregate import MEASURES
from hftrainer.evaluation.making import asked_otherwise, weights_of
from hftrainer.evaluation.pairs import Population
from hftrainer.evaluation.protocols import ONE_CAPTION, PUBLISHED, Protocol, Published
from hftrainer.models.evaluator import AnyEvaluator
from hftrainer.models.sums import same_hash
from hftrainer.motion.clip import Motion

FORMAT = "hftrainer-report-1"
#: How far a row of real motions may lie from that of an earlier report, which measured the same motions.
AGAIN = {"R@1": 1e-4, "R@2": 1e-4, "R@3": 1e-4, "matching": 1e-3, "diversity": 1e-2}
#: The same where predictions decide how long real motions are, or which of them count.
ALIKE = {"R@1": 0.01, "R@2": 0.01, "R@3": 0.01, "matching": 0.03, "diversity": 0.1}
#: What must agree before two reports may stand in one table.
_SAME = ("split", "statistics", "evaluator", "captions", "data")
#: Names of samples that are listed before a report says only how many there are.
_LISTED = 50


def statistics_hash(evaluator: AnyEvaluator) -> str:
    """SHA-256 of an evaluator's mean and std."""
    return hashlib.sha256(evaluator.mean.tobytes() + evaluator.std.tobytes()).hexdigest()


def make_report(
    name: str,
    protocol: Protocol,
    evaluator: AnyEvaluator,
    population: Population,
    rows: Mapping[str, dict[str, Any]],
    *,
    expected: Mapping[str, Any] | None = None,
    calibration: Mapping[str, Any] | None = None,
    reference: str = "raw",
    weights: str | None = None,
    command: str = "",
) -> dict[str, Any]:
    """A report in the layout at the top of this file.

    Args:
        name: what was measured.
        protocol, evaluator, population: what ``scoring.score`` got.
        rows: what it gave.
        expected: an earlier report of the same real motions to test against; the published row of the protocol, if
            there is one, when not given.
        calibration: what is known of the real motions otherwise, in ``calibrate``'s layout; it takes the place of both.
        reference: which real motions: ``"raw"``, or the road they came by.
        weights: SHA-256 of the weights that made the predictions; what their folder says when not given.
        command: the line that was typed.
    """
    pairs = population.pairs
    measured = rows.get("predicted", rows["real"])
    predicted = [pair.predicted for pair in pairs if pair.predicted is not None]
    made = population.made
    hashes = {
        **population.hashes,
        "statistics": statistics_hash(evaluator),
        "evaluator": evaluator.sha256,
        "weights": weights if weights or not predicted else weights_of(made, sorted({*population.files.values()})),
    }
    notes = []
    if measured["samples"] <= evaluator.width:
        few, width = measured["samples"], evaluator.width
        notes.append(f"FID needs more than {width} samples in {width} dimensions; of {few} it is too high.")
    if made is not None and protocol.captions not in ONE_CAPTION:
        notes.append("Each motion was made from one sentence, and is scored with others of its clip too.")
    report: dict[str, Any] = {
        "format": FORMAT,
        "name": name,
        "protocol": protocol.about(),
        "route": {
            "predictions": sorted({_route(m, made) for m in predicted}),
            "reference": reference,
        },
        "counts": {
            "samples": measured["samples"],
            "used": measured["used"],
            "missing": len(population.missing),
            "failed": len(population.failed),
            "rejected": dict(population.rejected),
        },
        "missing": list(population.missing[:_LISTED]),
        "failed": dict(list(population.failed.items())[:_LISTED]),
        "rows": {key: dict(value) for key, value in rows.items()},
        "hashes": hashes,
        "versions": versions(),
        "command": command,
        "notes": notes,
    }
    if made is not None:
        report["made"] = {key: value for key, value in made.items() if key in ("model", "drawing", "data")}
    report["calibration"] = calibrate(report, expected) if calibration is None else dict(calibration)
    otherwise = _asked_otherwise(protocol, population)
    if otherwise:
        said = " ".join(part for part in (report["calibration"]["reason"], otherwise) if part)
        report["calibration"] |= {"holds": False, "reason": said}
    return report


def _route(motion: Motion, made: Mapping[str, Any] | None) -> str:
    """Representations that a prediction went through, as its folder says, or as is known of the file."""
    name = motion.representation.name
    if made is not None and made["route"] and made["route"][-1] == name:
        return ">".join(made["route"])
    return ">".join((*motion.route, name))


def _asked_otherwise(protocol: Protocol, population: Population) -> str:
    """That motions were made from other sentences than they are scored with; empty where none is known to be."""
    if protocol.captions not in ONE_CAPTION or population.made is None:
        return ""
    files = population.files
    scored = {files[pair.name]: pair.captions[0].text for pair in population.pairs if pair.name in files}
    wrong = asked_otherwise(population.made, scored)
    if not wrong:
        return ""
    asked = population.made["prompts"][wrong[0]]
    return (
        f"{len(wrong)} of {len(scored)} motions were made from another sentence than they are scored with; {wrong[0]} "
        f"from {asked!r}, not {scored[wrong[0]]!r}. Score them with the captions that they were made from."
    )


def versions() -> dict[str, str]:
    """Versions of what computes: this package, Python, NumPy, SciPy, torch."""
    found = {"python": platform.python_version()}
    for package in ("hftrainer", "numpy", "scipy", "torch"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed as a package"
    return found


def calibrate(
    report: Mapping[str, Any],
    expected: Mapping[str, Any] | None = None,
    tolerance: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """The row of real motions beside what it should be.

    Args:
        report: with ``protocol``, ``rows``, ``counts`` and ``hashes``.
        expected: an earlier report; the published row of the protocol when not given.
        tolerance: how far each measure may lie from the earlier report's; by default ``AGAIN`` or ``ALIKE``.

    Returns:
        ``holds`` (true, false, or null where nothing is known), ``against``, ``checks`` and ``reason``.
    """
    protocol = report["protocol"]
    if expected is not None:
        real = expected["rows"]["real"]["metrics"]
        alike = protocol["lengths"] == "common" or _left_out(report, expected)
        tolerance = tolerance or (ALIKE if alike else AGAIN)
        known = Published(
            f"the report {expected['name']}", expected.get("command") or "an earlier report",
            expected["rows"]["real"]["samples"], {m: real[m]["mean"] for m in AGAIN if m in real}, dict(tolerance),
        )  # fmt: skip
    elif protocol["name"] in PUBLISHED:
        known = PUBLISHED[protocol["name"]]
    else:
        why = f"no row of real motions is published for {protocol['name']}; give an earlier report to test against."
        return {"holds": None, "against": None, "checks": [], "reason": why}
    row = report["rows"]["real"]
    checks = []
    for measure, want in known.values.items():
        got = row["metrics"].get(measure, {}).get("mean")
        most = known.tolerance[measure]
        holds = got is not None and abs(got - want) <= most
        checks.append({"measure": measure, "got": got, "want": want, "tolerance": most, "holds": holds})
    reason = _reason(report, expected, known, checks)
    against = {"name": known.name, "source": known.source, "samples": known.samples or None}
    return {"holds": not reason, "against": against, "checks": checks, "reason": reason}


def _reason(
    report: Mapping[str, Any], expected: Mapping[str, Any] | None, known: Published, checks: Sequence[Mapping[str, Any]]
) -> str:
    """Why the real motions are not where they should be; empty where they are."""
    row = report["rows"]["real"]
    drifts = [
        f"{c['measure']} is {c['got']:.4f}, not {c['want']:.4f} within {c['tolerance']:g}"
        if c["got"] is not None
        else f"{c['measure']} cannot be said: {row['undefined'].get(c['measure'], 'it was not measured').rstrip('.')}"
        for c in checks if not c["holds"]
    ]  # fmt: skip
    differs = [] if expected is None else differences(report, expected)
    if not drifts and not differs:
        return ""
    if expected is None and known.samples and row["samples"] != known.samples:
        differs.append(f"samples: {row['samples']} here, {known.samples} there")
    causes = differs or ["statistics, split, captions or evaluator may be others than those of the published row"]
    there = f"real motions are not where {known.name} has them ({known.source}): "
    head = there if drifts else "not the same measurement: "
    return head + "; ".join(drifts) + (". " if drifts else "") + "; ".join(causes) + "."


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """What keeps two reports from standing in one table: protocols, evaluators, statistics, splits, captions."""
    said = []
    here, there = one["protocol"], other["protocol"]
    for key in sorted({*here, *there} - {"source"}):
        if here.get(key) != there.get(key):
            said.append(f"protocol {key}: {here.get(key)!r} and {there.get(key)!r}")
    for key in _SAME:
        a, b = one["hashes"].get(key), other["hashes"].get(key)
        if not same_hash(a, b):
            said.append(f"{key}: {str(a)[:12]} and {str(b)[:12]}")
    return said


def _left_out(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether predictions are missing or failed: then other sentences are in use, and the counts say so."""
    return any(report["counts"]["missing"] + report["counts"]["failed"] for report in (one, other))


def failure(report: Mapping[str, Any]) -> str | None:
    """Why a report cannot be trusted, or ``None``: its real motions drifted."""
    calibration = report["calibration"]
    return calibration["reason"] if calibration["holds"] is False else None


def table(reports: Sequence[Mapping[str, Any]]) -> list[str]:
    """A Markdown table: the real motions, then a line for each report. A number that does not vary has no interval.

    Raises:
        ValueError: there are none; protocols differ (what differs is said); a report's real motions drifted.

    The column ``n`` says how many samples were used of how many; ``Ref`` which real motions were compared with.
    """
    if not reports:
        raise ValueError("a table must have at least 1 report; got none.")
    for report in reports:
        if report.get("format") != FORMAT:
            raise ValueError(f"a report must be of format {FORMAT}; got {report.get('format')!r}. Measure again.")
        drifted = failure(report)
        if drifted:
            raise ValueError(f"{report['name']} must not stand in a table: {drifted}")
    for report in reports[1:]:
        differs = differences(reports[0], report)
        if differs:
            names = f"{reports[0]['name']} and {report['name']}"
            raise ValueError(f"reports of one table must have one protocol; {names} differ in {'; '.join(differs)}.")
    lines = [
        f"| Model | {' | '.join(MEASURES)} | n | Ref |",
        "|---|" + "--:|" * (len(MEASURES) + 1) + "---|",
        _line("real motion", reports[0]["rows"]["real"], reports[0]["route"]["reference"]),
    ]
    for report in reports:
        if "predicted" in report["rows"]:
            lines.append(_line(report["name"], report["rows"]["predicted"], report["route"]["reference"]))
    return lines


def _line(name: str, row: Mapping[str, Any], reference: str) -> str:
    cells = []
    for measure in MEASURES:
        value = row["metrics"].get(measure)
        spread = f" ± {value['interval95']:.4f}" if value and value["interval95"] else ""
        cells.append("–" if value is None else f"{value['mean']:.4f}{spread}")
    return f"| {name} | {' | '.join(cells)} | {row['used']} of {row['samples']} | {reference} |"
