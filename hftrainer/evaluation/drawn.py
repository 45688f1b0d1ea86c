"""Measurements that draw everything anew in each replication, as reports that test themselves.

The protocol ``drawn``: in replication ``r`` NumPy's generator of ``[seed, r]`` draws one caption of each sample, then
the groups and pairs of the real motions, then those of the generated ones. So the real row of a seed is the same
whatever model is measured, and a row that was kept tells whether motions, statistics, split or captions are others.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hftrainer.data.humanml3d import HumanML3D
from hftrainer.evaluation.aggregate import MEASURES
from hftrainer.evaluation.metrics import GROUP, TooFewSamples, distances, diversity, diversity_pairs
from hftrainer.evaluation.population import LONGEST, SHORTEST, Sample
from hftrainer.evaluation.protocols import Protocol
from hftrainer.evaluation.replications import Tally
from hftrainer.evaluation.report import FORMAT, calibrate, statistics_hash, versions
from hftrainer.evaluation.setting import Setting, add_retrieval, report
from hftrainer.models.evaluator import AnyEvaluator
from hftrainer.models.sums import write_sums
from hftrainer.motion.files.atomic import written_whole

#: What an evaluator's folder keeps of the real motions that it was seen to sort.
CALIBRATION = "calibration.json"
#: Ranks that count as found.
RANKS = (1, 2, 3, 5, 10)
#: How far a real row may lie from the one that was kept: of the same draws, on another machine.
SAME_DRAWS = {"R@1": 0.004, "R@2": 0.004, "R@3": 0.004, "matching": 2e-3, "diversity": 1e-2}
#: The same of other draws.
OTHER_DRAWS = {"R@1": 0.05, "R@2": 0.05, "R@3": 0.05, "matching": 0.03, "diversity": 0.06}


def protocol_of(setting: Setting, samples: Sequence[Sample]) -> Protocol:
    """The protocol ``drawn`` with a setting's evaluator, seed and replications."""
    name = samples[0].motion.representation.name
    kind = "none" if setting.evaluator is None else setting.evaluator.kind
    return Protocol("drawn", kind, "random", "own", "drawn", True, SHORTEST[name], LONGEST + 1, setting.seed,
                    setting.replications, source="MotionGPT: everything is drawn in each replication")  # fmt: skip


def real_motions(samples: Sequence[Sample], setting: Setting) -> dict[str, Any]:
    """How an evaluator sorts real motions and their captions: recall both ways, and right pairs beside wrong ones.

    Numbers by name: ``true R@1`` … as of ``motiongpt.text_to_motion``, the same draws; ``text to motion R@5 of 32``,
    ``motion to text R@5 of all`` and so on, ``median rank``; with ``same sentence counts`` every motion of which the
    sentence is also said is a right answer. ``matching, wrong pairs`` is the mean distance of sentences to motions of
    others; ``right pair nearer``, how often a right pair's distance is below a wrong one's of the same sentence.

    Args:
        samples: of ``population``.
        setting: with an evaluator.

    Returns:
        The layout of ``hftrainer.evaluation.setting``.

    Raises:
        ValueError: there is no evaluator.
    """
    true = setting.points([sample.motion for sample in samples])
    if true is None:
        raise ValueError("real motions need an evaluator to be sorted; got none.")
    said = [frozenset(caption.text for caption in sample.captions) for sample in samples]
    tally = Tally()
    for replication in range(setting.replications):
        rng = setting.begin(replication)
        chosen = [sample.captions[int(rng.integers(len(sample.captions)))] for sample in samples]
        texts, order = setting.texts(chosen), rng.permutation(len(samples))
        add_retrieval(tally, texts, true, order, "true ")
        try:
            tally.add({"true diversity": diversity(true, *diversity_pairs(len(true), rng))})
        except TooFewSamples as error:
            tally.add({}, {"true diversity": str(error)})
        apart = distances(texts, true)
        same = np.array([[caption.text in those for those in said] for caption in chosen])
        tally.add(_recalls(apart, same, order))
    return report("recall", len(samples), setting, [0] * setting.replications, tally)


def _recalls(apart: np.ndarray, same: np.ndarray, order: np.ndarray) -> dict[str, float]:
    """Numbers of one replication from all distances, sentence by motion."""
    count, right = len(apart), np.diag(apart)
    off = ~np.eye(count, dtype=bool)
    found = {"matching, wrong pairs": float(apart[off].mean()) if count > 1 else float("nan")}
    found["right pair nearer"] = float((apart > right[:, None])[off].mean()) if count > 1 else float("nan")
    pools = order[: count // GROUP * GROUP].reshape(-1, GROUP)
    for way, table, alike in (("text to motion", apart, same), ("motion to text", apart.T, same.T)):
        inside = [(table[np.ix_(p, p)] < np.diag(table)[p][:, None]).sum(1) for p in pools]
        ranks = (table < np.diag(table)[:, None]).sum(1)
        best = np.where(alike, table, np.inf).min(1)
        kindly = (np.where(alike, np.inf, table) < best[:, None]).sum(1)
        for rank in RANKS:
            if inside:
                found[f"{way} R@{rank} of {GROUP}"] = float((np.concatenate(inside) < rank).mean())
            found[f"{way} R@{rank} of all"] = float((ranks < rank).mean())
            found[f"{way} R@{rank} of all, same sentence counts"] = float((kindly < rank).mean())
        found[f"{way} median rank"] = float(np.median(ranks) + 1)
    return {name: value for name, value in found.items() if np.isfinite(value)}


def as_report(
    task: Mapping[str, Any],
    name: str,
    samples: Sequence[Sample],
    setting: Setting,
    dataset: HumanML3D,
    split: str,
    *,
    weights: str | None = None,
    command: str = "",
    kept: Mapping[str, Any] | None = None,
    limit: int | None = None,
) -> dict[str, Any]:
    """A task's numbers in the layout of ``hftrainer.evaluation.report``, tested against the row that was kept.

    Args:
        task: of ``motiongpt.text_to_motion`` or ``real_motions``.
        name: what was measured.
        samples, setting: what it was measured with; there is an evaluator.
        dataset, split: where the samples come from.
        weights: hash of the model.
        command: the line that was typed.
        kept: the evaluator's ``calibration.json``.
        limit: only so many samples were measured.

    Raises:
        ValueError: there is no evaluator.
    """
    evaluator = setting.evaluator
    if evaluator is None:
        raise ValueError("a report that tests itself must have an evaluator; got none.")
    used = len(samples) // GROUP * GROUP
    rows = {"real": _row(task, "true ", len(samples), used)}
    lost = max(task["failed"], default=0)
    if task["task"] != "recall":
        rows["predicted"] = _row(task, "", len(samples) - lost, (len(samples) - lost) // GROUP * GROUP)
    made = {
        "format": FORMAT,
        "name": name,
        "protocol": {**protocol_of(setting, samples).about(), "padding": setting.padding},
        "route": {"predictions": [samples[0].motion.representation.name], "reference": "raw"},
        "counts": {"samples": len(samples), "used": used, "missing": 0, "failed": lost, "rejected": {}},
        "rows": rows,
        "hashes": hashes_of(samples, dataset, split, evaluator, weights),
        "versions": versions(),
        "command": command,
    }
    made["calibration"] = against_kept(made, kept, limit)
    return made


def real_part(
    samples: Sequence[Sample], setting: Setting, dataset: HumanML3D, split: str,
    kept: Mapping[str, Any] | None, limit: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    """``rows`` and ``calibration`` of the real motions, for a report of a task that asks no sentence for motions.

    A prediction or a caption is compared with what was recorded; so that its report is tested like the others, the
    evaluator sorts the same real motions in the same run. Arguments as of ``as_report``.
    """
    whole = as_report(real_motions(samples, setting), "real motion", samples, setting, dataset, split, kept=kept,
                      limit=limit)  # fmt: skip
    return {"rows": whole["rows"], "calibration": whole["calibration"]}


def hashes_of(
    samples: Sequence[Sample], dataset: HumanML3D, split: str, evaluator: AnyEvaluator | None, weights: str | None
) -> dict[str, str | None]:
    """SHA-256 of the split's list, of all captions, of the data's and the evaluator's statistics; evaluator, weights.

    Args:
        samples, dataset, split: what is measured on.
        evaluator: ``None`` where there is none, which leaves its two hashes ``None``.
        weights: hash of the model.
    """
    told = json.dumps([(sample.id, [caption.text for caption in sample.captions]) for sample in samples])
    return {
        "split": hashlib.sha256((dataset.folder / f"{split}.txt").read_bytes()).hexdigest(),
        "captions": hashlib.sha256(told.encode()).hexdigest(),
        "data": dataset.hash,
        "statistics": None if evaluator is None else statistics_hash(evaluator),
        "evaluator": None if evaluator is None else evaluator.sha256,
        "weights": weights,
    }


def _row(task: Mapping[str, Any], prefix: str, samples: int, used: int) -> dict[str, Any]:
    """A row of a table from a task's metrics whose names begin with ``prefix``."""
    metrics, undefined = (
        {measure: part[prefix + measure] for measure in MEASURES if prefix + measure in part}
        for part in (task["metrics"], task["undefined"])
    )
    return {"metrics": metrics, "undefined": undefined, "samples": samples, "used": used}


def against_kept(
    made: Mapping[str, Any], kept: Mapping[str, Any] | None, limit: int | None = None
) -> dict[str, Any]:
    """The real row beside the one that the evaluator keeps, in the layout of ``report.calibrate``.

    Replications that both have are compared; with another seed, more loosely. Nothing is said of another dataset, that
    is, where statistics, split and captions are all others; where only some of them are, the report does not hold.

    Args:
        made: a report of ``as_report``.
        kept: the report that the evaluator keeps, if it keeps one.
        limit: only so many samples were measured, which is nothing to compare.
    """
    unknown: dict[str, Any] = {"holds": None, "against": None, "checks": []}
    if kept is None:
        return {**unknown, "reason": "the evaluator keeps no real row; hftrainer evaluate real --calibrate makes one."}
    here, there = made["hashes"], kept["hashes"]
    if all(here[key] != there[key] for key in ("split", "captions", "data")):
        return {**unknown, "reason": f"the evaluator keeps the real row of another dataset, {kept['dataset']}."}
    if limit is not None:
        return {**unknown, "reason": f"only the first {limit} samples were measured."}
    both = min(made["protocol"]["repeats"], kept["protocol"]["repeats"])
    other = made["protocol"]["seed"] != kept["protocol"]["seed"]
    same = {"repeats": both, "seed": made["protocol"]["seed"]}
    pair = [{**one, "protocol": {**one["protocol"], **same}, "rows": {"real": _first(one["rows"]["real"], both)},
             "counts": {**one["counts"], "failed": 0}} for one in (made, kept)]  # fmt: skip
    return calibrate(pair[0], pair[1], OTHER_DRAWS if other else SAME_DRAWS)


def _first(row: Mapping[str, Any], replications: int) -> dict[str, Any]:
    means = {name: {"mean": float(np.mean(value["values"][:replications]))} for name, value in row["metrics"].items()}
    return {**row, "metrics": means}


def keep_row(made: Mapping[str, Any], dataset: str, folder: Path) -> None:
    """Put a report of real motions into an evaluator's folder, for later reports to be tested against.

    Args:
        made: of ``as_report`` and ``real_motions``.
        dataset: its name.
        folder: the evaluator's; its manifest is written anew.
    """
    names = ("format", "name", "protocol", "counts", "rows", "hashes", "command")
    with written_whole(folder / CALIBRATION) as beside:
        text = json.dumps({**{name: made[name] for name in names}, "dataset": dataset}, indent=1, ensure_ascii=False)
        beside.write_text(text + "\n", encoding="utf-8")
    write_sums(folder)


def kept_row(folder: Path) -> dict[str, Any] | None:
    """What ``keep_row`` left in an evaluator's folder, if anything."""
    file = folder / CALIBRATION
    if not file.is_file():
        return None
    value: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return value
