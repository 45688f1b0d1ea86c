"""Put a trained evaluator into the package with the real row that reports are tested against.

    hftrainer train recipes/evaluator-mini.toml -o runs/evaluator-mini
    hftrainer train recipes/evaluator-mini-2.toml -o runs/evaluator-mini-2
    python tools/built_in_evaluator.py runs/evaluator-mini-2/artifact --data data/mocap
    python tools/tables.py
    hftrainer cards --only evaluator --write-local

Its card is the page ``docs/model_zoo/evaluator.md``, whose tables the fourth line fills; the fifth puts the page beside
the weights. The third writes ``hftrainer/artifacts/evaluator-mini``, ``results/evaluator-mini.json`` and
``results/evaluator-mini/``.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from built_in import provenance

from hftrainer.cli import main as hftrainer
from hftrainer.models.artifact import BUILT_IN
from hftrainer.models.evaluator import ContrastEvaluator

NAME = "evaluator-mini"


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
    log = args.artifact.parent / "log.jsonl"
    if log.is_file():
        (args.results / NAME).mkdir(exist_ok=True)
        shutil.copy(log, args.results / NAME / f"{args.artifact.parent.name}.jsonl")


if __name__ == "__main__":
    main()
