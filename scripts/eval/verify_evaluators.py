"""Both published evaluators put to the test: real motions beside their published row, and predictions beside these.

python scripts/eval/verify_evaluators.py --which both --gt-only --out-dir outputs/verify
python scripts/eval/verify_evaluators.py --which hml263 --hml263-pred outputs/mdm --out-dir outputs/mdm/metrics

Writes verify_hml263.json and verify_ms272.json. The exit status is 1 when real motions are not where the published row
has them, 2 when the request is wrong. --expect names an earlier report of the same evaluator to test against, which is
what other data than the published sets needs.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from hftrainer.errors import ArtifactError
from hftrainer.evaluation import verify
from hftrainer.evaluation.cache import keep_encodings
from hftrainer.evaluation.protocols import get_protocol
from hftrainer.models.evaluator import find_evaluator, load_evaluator
from hftrainer.motion.files.atomic import written_whole

DATA = Path("data/evaluators/humanml3d_272")
EVALUATORS = Path("checkpoints/evaluators")


def parser() -> argparse.ArgumentParser:
    """The flags of the model cards, and those that say where evaluators and data lie."""
    found = argparse.ArgumentParser(prog="verify_evaluators.py", description=__doc__.split("\n")[0])
    add = found.add_argument
    add("--which", choices=("both", "hml263", "ms272"), default="both", help="which evaluator (default both)")
    add("--gt-only", action="store_true", help="score real motions alone")
    add("--hml263-pred", type=Path, metavar="DIR", help="predictions NAME.npy, 263 numbers, not normalised")
    add("--ms272-pred", type=Path, metavar="DIR", help="predictions NAME.npy, 272 numbers, not normalised")
    add("--hml263-gt-root", type=Path, default=Path("data/HumanML3D"), metavar="DIR", help="with new_joint_vecs/")
    add("--hml263-texts-dir", type=Path, metavar="DIR", help="captions (default texts/ of the root)")
    add("--hml263-split-file", type=Path, default=DATA / "split" / "test.txt", metavar="FILE",
        help="names (default MotionStreamer's test list)")  # fmt: skip
    add("--hml263-caption-selection", choices=("first", "random"), default="first", help="(default first)")
    add("--hml263-evaluator", type=Path, default=EVALUATORS / "humanml3d_263", metavar="DIR|NAME",
        help="the authors' folder, or one that was trained here, such as the built-in evaluator-mini")  # fmt: skip
    add("--ms272-gt-root", type=Path, default=DATA, metavar="DIR", help="with motion_data/, texts/, mean_std/, split/")
    add("--ms272-evaluator", type=Path, default=EVALUATORS / "motionstreamer_272", metavar="DIR",
        help="MotionStreamer's folder")  # fmt: skip
    add("--ms272-words", type=Path, metavar="DIR", help="DistilBERT's tokenizer.json or vocab.txt")
    add("--ms272-captions", choices=("every", "selected"), default="every", help="all are pairs, or one of each clip")
    add("--n-repeats", type=int, default=20, metavar="N", help="(default 20)")
    add("--expect", type=Path, action="append", default=[], metavar="FILE.json", help="an earlier report")
    add("--cache", type=Path, metavar="DIR", help="keep embeddings here, by content, and find them again")
    add("--out-dir", type=Path, required=True, metavar="DIR", help="where the JSON files go")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """0 done, 1 real motions drifted, 2 a wrong request."""
    args = parser().parse_args(arguments)
    wanted = [which for which in ("hml263", "ms272") if args.which in ("both", which)]
    predictions = {"hml263": args.hml263_pred, "ms272": args.ms272_pred}
    typed = " ".join(shlex.quote(str(word)) for word in (arguments if arguments is not None else sys.argv[1:]))
    try:
        if args.n_repeats < 1:
            raise ValueError(f"--n-repeats must be at least 1; got {args.n_repeats}.")
        absent = [which for which in wanted if not args.gt_only and predictions[which] is None]
        if absent:
            flags = " and ".join(f"--{which}-pred" for which in absent)
            raise ValueError(f"{flags} must name predictions, or --gt-only be given; got neither.")
        if args.gt_only and any(predictions[which] for which in wanted):
            raise ValueError("--gt-only must come without predictions; got both. Leave one out.")
        earlier = [json.loads(file.read_text(encoding="utf-8")) for file in args.expect]
        reports = {which: measure(which, args, predictions[which], earlier, typed) for which in wanted}
    except (ArtifactError, OSError, ValueError, KeyError) as error:
        print(error, file=sys.stderr)
        return 2
    args.out_dir.mkdir(parents=True, exist_ok=True)
    for which, report in reports.items():
        with written_whole(args.out_dir / f"verify_{which}.json") as file:
            file.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print("\n".join(verify.lines(which, report)))
    return int(any(report["calibration"]["holds"] is False for report in reports.values()))


def measure(
    which: str, args: argparse.Namespace, predictions: Path | None, earlier: list[dict], typed: str
) -> dict:
    """One evaluator's report."""
    if which == "hml263":
        root = args.hml263_gt_root
        protocol = verify.hml263_protocol(args.hml263_caption_selection, args.gt_only, args.n_repeats)
        folder = _evaluator(args.hml263_evaluator)
        evaluator = load_evaluator(folder)
        motions, texts, split = root / "new_joint_vecs", args.hml263_texts_dir or root / "texts", args.hml263_split_file
    else:
        root = args.ms272_gt_root
        name = "motion272-pairs" if args.ms272_captions == "every" else "motion272-selected"
        protocol = dataclasses.replace(get_protocol(name), repeats=args.n_repeats)
        folder = _evaluator(args.ms272_evaluator)
        evaluator = load_evaluator(folder, root, args.ms272_words)
        motions, texts, split = root / "motion_data", root / "texts", root / "split" / "test.txt"
    if args.cache is not None:
        evaluator = keep_encodings(evaluator, args.cache)
    expected = next((r for r in earlier if r["protocol"]["evaluator"] == protocol.evaluator), None)
    calibration = None if expected else verify.by_kept_row(evaluator, folder, root, split, args.n_repeats)
    return verify.verify(
        evaluator, protocol, motions, texts, split, predictions, expected=expected, calibration=calibration,
        folder=folder, command=f"verify_evaluators.py {typed}", say=lambda line: print(line, file=sys.stderr),
    )  # fmt: skip


def _evaluator(name: Path) -> Path:
    """A folder that is there, or a built-in evaluator's."""
    return name if name.is_dir() or name.parent != Path() else find_evaluator(name)


if __name__ == "__main__":
    sys.exit(main())
