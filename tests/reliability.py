"""``python -m tests.reliability -o results/reliability.json``: kills, a full disk, and the same motion again, counted.

What was counted before stays in the file where ``--only`` leaves it out; each part is written as soon as it is done.
"""

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path

import numpy as np

from hftrainer.motion.files.atomic import written_whole
from tests import killing

#: What is asked, of which model and how; frames are few, so that it takes seconds. ``mdm``, ``mogents`` and ``momask``
#: are networks of the published size with weights by formula.
MODELS = {
    "motiongpt-mini": {}, "mdm-mini": {"steps": 10}, "mdm-mini, bf16": {"steps": 10, "precision": "bf16"},
    "mdm": {"steps": 5}, "mdm, bf16": {"steps": 5, "precision": "bf16"},
    "momask": {}, "momask, bf16": {"precision": "bf16"}, "mogents": {}, "mogents, bf16": {"precision": "bf16"},
}  # fmt: skip
SENTENCES = ["a person walks forward", "a man jumps", "someone waves", "a person runs"]
#: Metres between joints; the same tolerance as ``hftrainer reproduce``.
TOLERANCE = 1e-3


def opened(model: str):
    """A pipeline: built in, a folder, or a published size."""
    from hftrainer.pipelines.published import PUBLISHED
    from hftrainer.pipelines.table import open_pipeline

    return PUBLISHED[model]() if model in PUBLISHED else open_pipeline(model)


def places(pipe, sentences, **settings) -> list[np.ndarray]:
    """Where the joints of motions are, metres."""
    from hftrainer.motion.files.rig import positions

    return [positions(motion) for motion in pipe(sentences, frames=[60] * len(sentences), seed=3, **settings)]


def elsewhere(model: str, sentences, settings) -> list[np.ndarray]:
    """The same in a process that was just begun."""
    return places(opened(model), sentences, **settings)


def farthest(one: np.ndarray, other: np.ndarray) -> float:
    """Metres between the joints of two motions; infinite where they have other frames."""
    return float(np.abs(one - other).max()) if len(one) == len(other) else float("inf")


def repeated(model: str, sentences=SENTENCES, **settings) -> dict[str, float]:
    """How far the motions of a model lie apart, in mm: asked again, in another order, each alone, with another number
    of threads, and in another process."""
    import torch

    from hftrainer.data.pool import processes

    with processes(1, method="spawn") as pool:
        other_process = pool.submit(elsewhere, model, sentences, settings).result()
    pipe = opened(model)
    whole = places(pipe, sentences, **settings)
    again = places(pipe, sentences, **settings)
    turned = places(pipe, sentences[::-1], **settings)[::-1]
    alone = [places(pipe, [sentence], **settings)[0] for sentence in sentences]
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if threads > 1 else 2)
    try:
        other = places(pipe, sentences, **settings)
    finally:
        torch.set_num_threads(threads)
    ways = {"again": again, "another order": turned, "alone": alone, "another number of threads": other,
            "another process": other_process}  # fmt: skip
    return {way: round(1000 * max(map(farthest, whole, made)), 6) for way, made in ways.items()}


def judged(apart: dict[str, float]) -> dict:
    """The same with the bar, and whether all ways hold it.

    >>> judged({"alone": 0.5, "again": 2.0})["holds"]
    False
    """
    bar = 1000 * TOLERANCE
    return {**apart, "bar": bar, "holds": max(apart.values()) <= bar}


def main(words: list[str] | None = None) -> int:
    """Count, write, and say whether all held."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--kills", type=int, default=17, help="of each verb")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--models", nargs="*", default=list(MODELS), help="of determinism")
    parser.add_argument("--only", nargs="*", default=[*("generate", "convert", "import", "evaluate", "build", "train"),
                                                      "disk", "determinism"])  # fmt: skip
    args = parser.parse_args(words)
    out = Path(args.output)
    report = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else {}

    def tell(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def keep(part: str, name: str, value) -> None:
        report.setdefault(part, {})[name] = value
        with written_whole(out) as beside:
            beside.write_text(json.dumps(report, indent=1, sort_keys=True) + "\n", encoding="utf-8")

    with tempfile.TemporaryDirectory() as place:
        if set(args.only) - {"determinism"}:
            works = killing.works(Path(place) / "works")
            for verb, work in works.items():
                if verb in args.only:
                    draw = random.Random(f"{args.seed} {verb}")
                    keep("kills", verb, killing.torment(work, args.kills, draw, tell))
            for verb, work in works.items() if "disk" in args.only else ():
                code = killing.starve(work, 300)
                assert code == 1 and not work.files(), f"{verb} on a full disk ended with {code}"
                keep("full disk", verb, {"exit": code, "files": 0})
    for model in args.models if "determinism" in args.only else ():
        tell(f"the same motion again: {model}")
        keep("determinism, mm", model, judged(repeated(model.split(",")[0], **MODELS[model])))
    below = [model for model, apart in report.get("determinism, mm", {}).items() if not apart.get("holds", True)]
    for model in below:
        tell(f"further apart than {1000 * TOLERANCE:g} mm: {model}")
    return 1 if below else 0


if __name__ == "__main__":
    sys.exit(main())
