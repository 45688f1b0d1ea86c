"""The card of an evaluator: how sentences find real motions, from the report that measured it, and how it was made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hftrainer.evaluation.tables import calibration, recall
from hftrainer.models import licences
from hftrainer.motion.files.atomic import written_whole

#: The first line of a card that was written here; a card without it is somebody's own, and left alone.
MARK = "<!-- This card is written by hftrainer evaluate real --calibrate. -->"


def card(name: str, about: Mapping[str, Any], report: Mapping[str, Any], terms: list[str]) -> str:
    """The card.

    Args:
        name: what the evaluator is called.
        about: what its artifact says of itself; ``stages`` are told.
        report: of ``hftrainer evaluate real --task recall``.
        terms: lines of ``licences.lines``.
    """
    dataset = report["dataset"]
    stages = [stage["recipe"] for stage in about.get("stages", ())]
    made = [f"- {stage['schedule']['steps']} steps on {stage['dataset']['name']}, seed {stage['schedule']['seed']}"
            for stage in stages]  # fmt: skip
    return "\n".join([
        MARK, "", f"# {name}", "",
        "An evaluator: it puts English sentences and motions into one space, where what belongs together is near. Its "
        "numbers may be compared among themselves and with no other evaluator's.", "",
        "```bash", 'hftrainer search "a person walks" --in motions/ --evaluator FOLDER',
        "hftrainer evaluate motiongpt --task t2m --data DIR --evaluator FOLDER -o report.json", "```", "",
        "FOLDER is the folder that this card lies in.", "",
        "## Measured", "",
        f"Real motions of the split {dataset['split']} of {dataset['name']}, by `hftrainer evaluate real`. 'of 32' is "
        "told from 31 others, 'of all' from all; where 'same sentence counts', every motion of which the sentence is "
        "said is a right answer.", "",
        recall(report), "## Calibration", "",
        "`calibration.json` keeps this row: a report of this dataset whose real motions score otherwise does not hold.",
        "", calibration(report),
        *(["## How it was made", "", *made, "", "All settings stand in `evaluator.json`.", ""] if made else []),
        "## Licence", "", "```text", *terms, "```", "",
    ])  # fmt: skip


def write_card(folder: Path, about: Mapping[str, Any], report: Mapping[str, Any]) -> bool:
    """Put the card into an evaluator's folder, unless it has one of somebody's own; whether it was written."""
    file = folder / "README.md"
    if file.is_file() and not file.read_text(encoding="utf-8").startswith(MARK):
        return False
    name = str(about.get("name") or (folder.parent.name if folder.name == "artifact" else folder.name))
    text = card(name, about, report, licences.lines(licences.chain(folder)))
    with written_whole(file) as beside:
        beside.write_text(text, encoding="utf-8")
    return True
