"""The authors' folders of MoGenTS to an artifact: ``hftrainer import mogents`` with the flags of the model card.

python scripts/eval/convert_mogents_checkpoint.py --weights_root logs --length_root checkpoints \\
    --out_dir checkpoints/mogents/humanml3d --verify

CLIP travels inside where ``--clip_path`` names it, a folder of openai/clip-vit-base-patch32 or ViT-B-32.pt; otherwise
it is found by its name when a sentence is read.
"""

from __future__ import annotations

import argparse
import sys

from hftrainer.cli import main

FLAGS = {
    "--weights_root": "--weights-root",
    "--length_root": "--length-root",
    "--dataset_name": "--dataset",
    "--vq_name": "--vq-name",
    "--mtrans_name": "--mask-name",
    "--rtrans_name": "--res-name",
    "--clip_path": "--clip",
    "--out_dir": "--output",
}


def words(arguments: list[str] | None = None) -> list[str]:
    """The same request in the words of ``hftrainer import``.

    >>> words(["--weights_root", "logs", "--length_root", "checkpoints", "--out_dir", "mogents", "--verify"])[:4]
    ['import', 'mogents', '--weights-root', 'logs']
    """
    parser = argparse.ArgumentParser(prog="convert_mogents_checkpoint.py", description="MoGenTS to an artifact")
    for flag in FLAGS:
        parser.add_argument(flag, required=flag in ("--weights_root", "--out_dir"))
    for switch in ("--no_length_estimator", "--no_clip", "--verify"):
        parser.add_argument(switch, action="store_true")
    given = vars(parser.parse_args(arguments))
    if given["no_clip"]:
        given["clip_path"] = None
    if given["no_length_estimator"]:
        given["length_root"] = None
    said = ["import", "mogents"]
    for flag, ours in FLAGS.items():
        if given[flag.removeprefix("--")] is not None:
            said += [ours, given[flag.removeprefix("--")]]
    said += ["--no-length-estimator"] * given["no_length_estimator"]
    return said + ["--verify"] * given["verify"]


if __name__ == "__main__":
    sys.exit(main(words()))
