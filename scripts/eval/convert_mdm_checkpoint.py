"""The authors' checkpoint of MDM to an artifact: ``hftrainer import mdm`` with the flags of the model card.

python scripts/eval/convert_mdm_checkpoint.py --model_path model000475000.pt --out_dir checkpoints/mdm --verify

``args.json``, ``Mean.npy`` and ``Std.npy`` are looked for beside the checkpoint.
"""

from __future__ import annotations

import argparse
import sys

from hftrainer.cli import main

FLAGS = {
    "--model_path": "--weights",
    "--out_dir": "--output",
    "--guidance_param": "--guidance",
    "--mean_path": "--mean",
    "--std_path": "--std",
    "--args_path": "--args",
    "--clip_path": "--clip",
    "--distilbert_path": "--distilbert",
}
SWITCHES = {"--use_ema": "--ema", "--verify": "--verify"}


def words(arguments: list[str] | None = None) -> list[str]:
    """The same request in the words of ``hftrainer import``.

    >>> words(["--model_path", "model.pt", "--out_dir", "mdm", "--use_ema"])
    ['import', 'mdm', '--weights', 'model.pt', '--output', 'mdm', '--ema']
    """
    parser = argparse.ArgumentParser(prog="convert_mdm_checkpoint.py", description="an MDM checkpoint to an artifact")
    for flag in FLAGS:
        parser.add_argument(flag, required=flag in ("--model_path", "--out_dir"))
    for switch in SWITCHES:
        parser.add_argument(switch, action="store_true")
    given = vars(parser.parse_args(arguments))
    said = ["import", "mdm"]
    for flag, ours in FLAGS.items():
        if given[flag.removeprefix("--")] is not None:
            said += [ours, given[flag.removeprefix("--")]]
    return said + [ours for switch, ours in SWITCHES.items() if given[switch.removeprefix("--")]]


if __name__ == "__main__":
    sys.exit(main(words()))
