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

#: Models, and what they are asked for; frames are few, so that it takes seconds.
MODELS = {"motiongpt-mini": {}, "mdm-mini": {"steps": 10}}
SENTENCES = ["a person walks forward", "a man jumps", "someone waves", "a person runs"]
#: Metres between joints; the same tolerance as ``hftrainer reproduce``.
TOLERANCE = 1e-3


def farthest(one, other) -> float:
    """Metres between the joints of two motions; infinite where they have other frames."""
    from hftrainer.motion.files.rig import positions

    return float(np.abs(positions(one) - positions(other)).max()) if len(one) == len(other) else float("inf")


def repeated(model: str, sentences=SENTENCES, **settings) -> dict[str, float]:
    """How far the motions of a model lie apart, in mm: alone and in a batch, in another order, with another seed's
    motions between them, and with two threads."""
    import torch

    from hftrainer.pipelines.table import open_pipeline

    pipe = open_pipeline(model)
    frames = [60] * len(sentences)
    whole = pipe(sentences, frames=frames, seed=3, **settings)
    again = pipe(sentences, frames=frames, seed=3, **settings)
    turned = pipe(sentences[::-1], frames=frames, seed=3, **settings)[::-1]
    alone = [pipe([sentence], frames=[60], seed=3, **settings)[0] for sentence in sentences]
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if threads > 1 else 2)
    other = pipe(sentences, frames=frames, seed=3, **settings)
    torch.set_num_threads(threads)
    ways = {"again": again, "another order": turned, "alone": alone, "another number of threads": other}
    return {way: round(1000 * max(map(farthest, whole, made)), 6) for way, made in ways.items()}


def main(words: list[str] | None = None) -> int:
    """Count, write, and say whether all held."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--kills", type=int, default=17, help="of each verb")
    parser.add_argument("--seed", type=int, default=0)
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
    for model, settings in MODELS.items() if "determinism" in args.only else ():
        keep("determinism, mm", model, repeated(model, **settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
