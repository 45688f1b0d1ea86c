"""The authors' folders of MoMask to an artifact: ``hftrainer import momask`` with the flags of its first converter.

python scripts/eval/convert_momask_checkpoint.py --weights_root checkpoints --out_dir checkpoints/momask --verify
"""

from __future__ import annotations

import argparse
import sys

from hftrainer.cli import main


def words(arguments: list[str] | None = None) -> list[str]:
    """The same request in the words of ``hftrainer import``.

    >>> words(["--weights_root", "checkpoints", "--out_dir", "momask"])
    ['import', 'momask', '--weights-root', 'checkpoints', '-o', 'momask']
    """
    parser = argparse.ArgumentParser(prog="convert_momask_checkpoint.py", description="MoMask to an artifact")
    parser.add_argument("--weights_root", required=True)
    parser.add_argument("--out_dir", required=True)
    parser.add_argument("--clip_path")
    parser.add_argument("--verify", action="store_true")
    given = parser.parse_args(arguments)
    said = ["import", "momask", "--weights-root", given.weights_root, "-o", given.out_dir]
    said += ["--clip", given.clip_path] if given.clip_path else []
    return said + ["--verify"] * given.verify


if __name__ == "__main__":
    sys.exit(main(words()))
