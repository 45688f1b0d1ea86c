"""Put a trained evaluator into the package with the real row that reports are tested against, and its card.

    hftrainer train recipes/evaluator-mini.toml -o runs/evaluator-mini
    python tools/built_in_evaluator.py runs/evaluator-mini/artifact --data data/mocap
    python tools/tables.py

It writes ``hftrainer/artifacts/evaluator-mini``, ``results/evaluator-mini.json`` and ``results/evaluator-mini/``.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from built_in import provenance

from hftrainer.cli import main as hftrainer
from hftrainer.models.artifact import BUILT_IN
from hftrainer.models.evaluator import ContrastEvaluator
from hftrainer.models.sums import write_sums

NAME = "evaluator-mini"


def _steps(stage: dict[str, Any]) -> int:
    return int(stage.get("stopped_at", stage["recipe"]["schedule"]["steps"]))


def card(evaluator: ContrastEvaluator, measured: dict[str, Any]) -> str:
    """The card, with the numbers that ``hftrainer evaluate real`` measured."""
    about, metrics = evaluator.about, {name: value["mean"] for name, value in measured["metrics"].items()}
    size = sum(p.numel() for p in evaluator.network.parameters()) / 1e6
    stages = "\n".join(
        f"hftrainer train recipes/{NAME}.toml -o runs/{NAME}   # {_steps(stage)} steps, "
        f"{stage['seconds'] / 60:.0f} min on a shared CPU core, data {stage['recipe']['dataset']['name']}"
        for stage in about["stages"]
    )
    rows = []
    for way in ("text to motion", "motion to text"):
        for pool in ("of 32", "of all", "of all, same sentence counts"):
            found = " | ".join(f"{metrics[f'{way} R@{rank} {pool}']:.3f}" for rank in (1, 2, 3, 5, 10))
            rows.append(f"| {way}, {pool} | {found} |")
    thanks = "\n".join(f"- {line}" for line in about["acknowledgements"])
    table = "\n".join(rows)
    return f"""# {NAME}

An evaluator of {size:.1f} million parameters that comes with hftrainer: it puts English sentences and motions (hml263,
20 fps) onto one sphere, where what belongs together is near. It scores models offline, searches folders of motions and
chooses the best of several. Its numbers may be compared among themselves and with no other evaluator's.

```bash
hftrainer search "a person limps" --in motions/
hftrainer evaluate motiongpt --task t2m --data data/mocap -o report.json
```

## Measured

By `hftrainer evaluate real --task recall`; the JSON is `results/{NAME}.json`. {measured["samples"]} stretches of clips
that training did not see, one caption of each drawn, {measured["replications"]} times. "of 32": told from 31 others;
"of all": from all. Many clips show the same; where "same sentence counts", each of which the sentence is said is right.

| real motions | R@1 | R@2 | R@3 | R@5 | R@10 |
|---|---:|---:|---:|---:|---:|
{table}

Distance of right pairs {metrics["true matching"]:.3f}, of wrong ones {metrics["matching, wrong pairs"]:.3f}; a right
pair is nearer than a wrong one of its sentence in {metrics["right pair nearer"]:.1%}. `calibration.json` keeps the real
row: a report whose real motions score otherwise is refused.

## How it was made

```bash
hftrainer data build mocap --from captures/pack -o data/mocap
{stages}
python tools/built_in_evaluator.py runs/{NAME}/artifact --data data/mocap
```

All settings stand in `evaluator.json`. Hours are wall-clock and count pauses.

## Data and licences

Weights: MIT, like the library. Captions: the sources' own labels, sentences of HumanML3D's *test* split, sentences
written for this project after looking at the clips, and sentences made by measuring the motion. Word vectors:
all-MiniLM-L6-v2 (Apache-2.0), word list SCOWL.

{thanks}

## Limits

It knows what some 107 minutes of everyday capture show. It reads at most ten seconds, no fingers and no foot contacts.
A model that was trained on the same captions is judged kindly by it. Not for decisions about people.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--results", type=Path, default=Path("results"))
    args = parser.parse_args()
    evaluator = ContrastEvaluator.from_pretrained(args.artifact)
    evaluator.about = provenance(NAME, args.data, evaluator.about["stages"])
    place, out = BUILT_IN / NAME, args.results / f"{NAME}.json"
    evaluator.save_pretrained(place)
    asked = ["evaluate", "real", "--task", "recall", "--data", str(args.data), "--evaluator", str(place)]
    if code := hftrainer([*asked, "--calibrate", "-o", str(out), "--quiet"]):
        raise SystemExit(code)
    (place / "README.md").write_text(card(evaluator, json.loads(out.read_text(encoding="utf-8"))), encoding="utf-8")
    write_sums(place)
    log = args.artifact.parent / "log.jsonl"
    if log.is_file():
        (args.results / NAME).mkdir(exist_ok=True)
        shutil.copy(log, args.results / NAME / "log.jsonl")


if __name__ == "__main__":
    main()
