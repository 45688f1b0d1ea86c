"""Tables and numbers of pages, written from JSON at marks, so that none that was measured is typed by hand.

A page holds ``<!-- table: NAME FILE.json -->`` and ``<!-- end -->``; what stands between belongs to these functions. A
table may be of several files, a file name may have ``*`` in it, and ``FILE.json#KEY`` is one entry of a file. Files are
looked for in the folder of results, then beside the page. One that is not there leaves a line that says so.

A number in a sentence is followed by ``<!-- is FILE.json KEY/KEY -->``, which says where its value stands; it keeps its
decimals and its thousands' commas. ``KEY/KEY*1e-6`` is that value times so much.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hftrainer.evaluation.scale import endured, flat_cost, large_jobs, pack_reading, repeated
from hftrainer.evaluation.speed_tables import (
    denoisers,
    denoising,
    exports,
    held,
    kernels,
    markdown,
    memory,
    metrics_speed,
    nearness,
    player,
    samplers,
    speeds,
)
from hftrainer.models.sums import SHORT
from hftrainer.motion.files.atomic import written_whole

_FILE = r"[\w*.-]+\.json(?:#[\w-]+)?"
MARK = re.compile(rf"(<!-- table: ([\w-]+)((?: {_FILE})+) -->\n)(.*?)(<!-- end -->)", re.S)
#: A mark, well written or not.
_ANY = re.compile(r"<!-- (?:table:|is\b).*?-->")
#: A number in a sentence, and where its value stands.
NUMBER = re.compile(r"(?<![\w.,])(\d[\d,]*(?:\.\d+)?)(<!-- is ([\w.-]+\.json) ([^\s<>*]+)(?:\*([\d.e+-]+))? -->)")
#: Rows of the bars: where a number stands, and what it is called.
_BARS = {
    ("reconstruction", "train_mm"): "reconstruction MPJPE, training clips, mm",
    ("reconstruction", "held_out_mm"): "reconstruction MPJPE, held-out clips, mm",
    ("reconstruction", "codes_used"): "share of codes in use",
    ("editing", "lower_body_mm"): "lower body after an edit of the upper one, largest change of a joint, mm",
    ("editing", "root_mm"): "root after that edit, largest change, mm",
    ("editing", "ends_mm"): "kept ends after a gap was filled, largest change of a joint, mm",
    ("behaviour", "hold_rate"): "behaviour rules that hold on their own prompts",
    ("behaviour", "others_rate"): "the same rules on other prompts' motions",
}
_CAPTIONS = ("BLEU-1", "BLEU-4", "ROUGE-L", "CIDEr")


def bars(report: Mapping[str, Any]) -> str:
    """What ``hftrainer bench quality`` measured that has a bar."""
    rows: list[list[object]] = []
    for (part, key), name in _BARS.items():
        if part in report and key in report[part]:
            found = report[part][key]
            rows.append([name, f"{found['value']:g}", f"{found['bar']:g}", held(found)])
    return markdown([f"{report['model']}, weights {report['model_hash']}", "value", "bar", "holds"], rows)


def _mean(value: Mapping[str, float] | None, digits: int = 3) -> str:
    if value is None:
        return "–"
    spread = f" ± {value['interval95']:.{digits}f}" if round(value["interval95"], digits) else ""
    return f"{value['mean']:.{digits}f}{spread}"


def completion(*reports: Mapping[str, Any]) -> str:
    """What ``hftrainer evaluate --task pred`` and ``inbetween`` measured, beside their baselines."""
    rows: list[list[object]] = []
    for report in reports:
        kept = " and ".join(f"{share:.0%}" for share in report["protocol"]["keep"] if share)
        model = f"{report['model']['name']}, weights {report['model']['hash']}"
        for name, part in ((model, report), *report["baselines"].items()):
            values = [_mean(part["metrics"].get(measure)) for measure in ("ADE", "FDE")]
            n = f"{report['samples']} × {report['replications']}"
            rows.append([f"{report['task']}, {kept} kept: {name}", *values, n])
    return markdown(["task and model", "ADE, m", "FDE, m", "clips × times"], rows)


def captions(*reports: Mapping[str, Any]) -> str:
    """What ``hftrainer evaluate --task m2t`` measured, a line for each way to read the references."""
    rows: list[list[object]] = []
    for report in reports:
        model = f"{report['model']['name']}, weights {report['model']['hash']}"
        for name, part in ((model, report), *report["baselines"].items()):
            for policy in report["protocol"]["policies"]:
                found = [part["metrics"].get(f"{policy}/{measure}") for measure in _CAPTIONS]
                if any(found):
                    rows.append([f"{name}; references {policy}", *map(_mean, found), report["samples"]])
    return markdown(["model and references", *_CAPTIONS, "clips"], rows)


def physical(*those: Mapping[str, Any]) -> str:
    """Bodies of made motions beside those of real ones, as ``hftrainer evaluate --task t2m`` measured them."""
    names, rows = ("slide", "float", "jitter", "dynamic"), list[list[object]]()
    measured = [one for one in those if "slide" in one["metrics"]]
    if not measured:
        return "Not measured yet: `hftrainer evaluate all --task t2m` does.\n"
    for at, one in enumerate(measured):
        metrics, n = one["metrics"], f"{one['samples']} × {one['replications']}"
        if at == 0:
            rows.append(["real motion", *(_mean(metrics.get(f"true {name}")) for name in names), one["samples"]])
        model = f"{one['model']['name']}, weights {one['model']['hash']}"
        rows.append([model, *(_mean(metrics.get(name)) for name in names), n])
    return markdown(["motions", "slide, mm", "float, %", "jitter, mm", "dynamic, mm", "clips × times"], rows)


def down_sampling(swept: Mapping[str, Any]) -> str:
    """What ``hftrainer train … --sweep network.down=…`` measured of motion tokenizers."""
    names = {"MPJPE": 1, "PA-MPJPE": 1, "ACCEL": 1, "FID": 3, "diversity": 3}
    said = [name for name in names if any(name in row for row in swept["runs"])]
    rows: list[list[object]] = [
        [2 ** row["network.down"], *(f"{row[name]:.{names[name]}f}" if name in row else "–" for name in said),
         f"{row['codes_used']:.0%}", row["step"]]
        for row in swept["runs"]
    ]  # fmt: skip
    units = {name: f"{name}, mm" for name in ("MPJPE", "PA-MPJPE", "ACCEL")}
    return markdown(["frames a token", *(units.get(name, name) for name in said), "codes in use", "steps"], rows)


def recall(report: Mapping[str, Any]) -> str:
    """What ``hftrainer evaluate real`` measured: recall both ways."""
    ranks, rows = (1, 2, 3, 5, 10), list[list[object]]()
    for way in ("text to motion", "motion to text"):
        for pool in ("of 32", "of all", "of all, same sentence counts"):
            found = [report["metrics"].get(f"{way} R@{rank} {pool}") for rank in ranks]
            rows.append([f"{way}, {pool}", *map(_mean, found)])
    n = f"{report['samples']} real motions, {report['replications']} replications"
    return markdown([n, *(f"R@{rank}" for rank in ranks)], rows)


def calibration(report: Mapping[str, Any]) -> str:
    """What an evaluator keeps of real motions, and how far right and wrong pairs are apart."""
    metrics = report["metrics"]
    names = {
        "true R@1": "R@1 of 32", "true R@2": "R@2 of 32", "true R@3": "R@3 of 32",
        "true matching": "distance of right pairs", "matching, wrong pairs": "distance of wrong pairs",
        "right pair nearer": "a right pair is nearer than a wrong one", "true diversity": "diversity",
        "text to motion median rank": "median rank of the right motion among all",
    }  # fmt: skip
    rows = [[said, _mean(metrics[name])] for name, said in names.items() if name in metrics]
    return markdown([f"real motions, evaluator {report['hashes']['evaluator'][:SHORT]}", "value"], rows)


def reports(*those: Mapping[str, Any]) -> str:
    """Evaluation reports of one protocol.

    Raises:
        ValueError: their protocols differ, or the real motions of one drifted; see ``report.table``.
    """
    from hftrainer.evaluation.report import table  # torch comes with it

    return "\n".join(table(those)) + "\n"


def leaderboards(*those: Mapping[str, Any]) -> str:
    """Evaluation reports, a table for each protocol; what is no evaluation report is passed over.

    Raises:
        ValueError: the real motions of a report drifted.
    """
    from hftrainer.evaluation.report import FORMAT, differences  # torch comes with it

    groups: list[list[Mapping[str, Any]]] = []
    for one in (report for report in those if report.get("format") == FORMAT and report.get("task") != "recall"):
        home = next((group for group in groups if not differences(group[0], one)), None)
        if home is None:
            groups.append([one])
        else:
            home.append(one)
    if not groups:
        return "Not measured yet: there is no evaluation report among the results.\n"
    parts = []
    for group in groups:
        said, hashes = group[0]["protocol"], group[0]["hashes"]
        head = (f"Protocol `{said['name']}`, {said['repeats']} repeats; evaluator `{hashes['evaluator'][:SHORT]}`, "
                f"split `{hashes['split'][:12]}`.")  # fmt: skip
        parts.append(f"{head}\n\n{reports(*group)}")
    return "\n".join(parts)


def published(entry: Mapping[str, Any]) -> str:
    """Numbers as others printed them: ``columns``, and ``rows`` of ``name``, ``values`` (as printed) and ``source``.

    Raises:
        ValueError: a row has more or fewer values than there are columns.
    """
    for row in entry["rows"]:
        if len(row["values"]) != len(entry["columns"]):
            raise ValueError(
                f"{row['name']} must have {len(entry['columns'])} values, one a column; got {len(row['values'])}."
            )
    rows = [[row["name"], *(value or "–" for value in row["values"]), row["source"]] for row in entry["rows"]]
    return markdown(["published, not measured here", *entry["columns"], "source"], rows)


def _scaled(how: Callable[..., tuple[list[str], list[Sequence[object]]]]) -> Callable[..., str]:
    return lambda *those: markdown(*how(*those))


TABLES: dict[str, Callable[..., str]] = {
    "flat-cost": _scaled(flat_cost), "pack-reading": _scaled(pack_reading), "large-jobs": _scaled(large_jobs),
    "repeated": _scaled(repeated), "endured": _scaled(endured), "player": player, "metrics": metrics_speed,
    "bars": bars, "samplers": samplers, "denoising": denoising, "denoisers": denoisers, "speeds": speeds,
    "kernels": kernels,
    "exports": exports, "nearness": nearness,
    "memory": memory, "completion": completion, "captions": captions, "reports": reports, "leaderboards": leaderboards,
    "published": published, "recall": recall, "calibration": calibration, "physical": physical,
    "down-sampling": down_sampling,
}  # fmt: skip


def _read(name: str, places: Sequence[Path]) -> list[Any] | None:
    """The values of a file, of several by ``*``, or of an entry by ``#``; ``None`` where there is no such file."""
    name, _, key = name.partition("#")
    for place in places:
        files = sorted(place.glob(name)) if "*" in name else [place / name] if (place / name).is_file() else []
        if files:
            values = [json.loads(file.read_text(encoding="utf-8")) for file in files]
            if key and any(key not in value for value in values):
                raise ValueError(f"{files[0].name} must have the entry {key}; it has {', '.join(values[0])}.")
            return [value[key] if key else value for value in values]
    return None


def _number(found: re.Match[str], places: Sequence[Path]) -> str:
    """A number of a sentence with its mark, as the results say."""
    there = _read(found[3], places)
    if there is None:
        raise ValueError(f"a number must stand in a file that is there; {found[3]} is not.")
    value = there[0]
    for key in found[4].split("/"):
        if not isinstance(value, dict) or key not in value:
            raise ValueError(f"{found[3]} must have {found[4]}; {key} is absent.")
        value = value[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{found[4]} of {found[3]} must be a number; got {type(value).__name__}.")
    decimals = len(found[1].partition(".")[2])
    return f"{float(value) * float(found[5] or 1):{',' if ',' in found[1] else ''}.{decimals}f}{found[2]}"


def filled(text: str, *places: Path) -> str:
    """A page with its tables, and the marked numbers of its sentences, as the results say.

    Args:
        text: the page.
        places: folders in which files are looked for, the first that has one decides.

    Raises:
        ValueError: a mark that is no mark, a table that is not known, a file that a table cannot be made of.

    >>> filled("<!-- table: bars none.json -->\\nold\\n<!-- end -->", Path("nowhere")).splitlines()[1]
    'Not measured yet: `results/none.json` is made by the command below.'
    >>> import tempfile
    >>> there = Path(tempfile.mkdtemp())
    >>> _ = (there / "a.json").write_text('{"size": {"bytes": 1234567}}')
    >>> filled("It has 1.1<!-- is a.json size/bytes*1e-6 --> MB.", there)
    'It has 1.2<!-- is a.json size/bytes*1e-6 --> MB.'
    """

    def one(found: re.Match[str]) -> str:
        if found[2] not in TABLES:
            raise ValueError(f"a table must be one of {', '.join(TABLES)}; got {found[2]}.")
        values: list[Any] = []
        for name in found[3].split():
            these = _read(name, places)
            if these is None:
                line = f"Not measured yet: `results/{name}` is made by the command below.\n"
                return f"{found[1]}{line}{found[5]}"
            values += these
        try:
            table = TABLES[found[2]](*values)
        except (KeyError, TypeError) as error:
            said = f"{found[3].strip()} ({type(error).__name__} {error})"
            raise ValueError(f"the table {found[2]} must be made of files of its kind; got {said}.") from error
        return f"{found[1]}{table}{found[5]}"

    known = [found[1].strip() for found in MARK.finditer(text)] + [found[2] for found in NUMBER.finditer(text)]
    odd = [mark for mark in _ANY.findall(text) if mark not in known]
    if odd:
        raise ValueError(
            "a mark must be <!-- table: NAME FILE.json -->, and <!-- end --> must follow, or, after a number, "
            f"<!-- is FILE.json KEY/KEY -->; got {odd[0]}."
        )
    return NUMBER.sub(lambda found: _number(found, places), MARK.sub(one, text))


def write_tables(pages: Sequence[Path], results: Path, check: bool = False) -> list[Path]:
    """Fill the tables of pages.

    Args:
        pages: Markdown files.
        results: folder of JSON.
        check: write nothing.

    Returns:
        The pages whose tables were not as the results say.

    Raises:
        ValueError: as of ``filled``, with the page's name.
    """
    old = []
    for page in pages:
        text = page.read_text(encoding="utf-8")
        try:
            now = filled(text, results, page.parent)
        except ValueError as error:
            raise ValueError(f"{page}: {error}") from error
        if now != text:
            old.append(page)
            if not check:
                with written_whole(page) as beside:
                    beside.write_text(now, encoding="utf-8")
    return old
