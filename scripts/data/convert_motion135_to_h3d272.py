"""motion_135 clips to MotionStreamer-272: one ``ID.npy`` (T, 272) each and ``conversion.json``; restartable.

python scripts/data/convert_motion135_to_h3d272.py --in-dir SMPL135 --out-dir MS272 --workers 8 --skip-existing
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from hftrainer.evaluation.bridging import bridge_folder, leave_with


def arguments() -> argparse.ArgumentParser:
    """The flags."""
    parser = argparse.ArgumentParser(prog="convert_motion135_to_h3d272.py", description="motion_135 to motion272")
    flag = parser.add_argument
    flag("--in-dir", "--input-dir", required=True, type=Path, help="folder of ID.npz or ID.npy")
    flag("--out-dir", "--output-dir", required=True, type=Path)
    flag("--npz-key", default="motion_135", help="name of the array in a .npz")
    flag("--ids-file", type=Path, help="only these, one a line")
    flag("--rotation-space", default="local", choices=("local", "global", "world"), help="what the rotations are in")
    flag("--workers", type=int, default=16)
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--skip-existing", action="store_true")
    again.add_argument("--overwrite", action="store_true", help="make all anew, which is what happens by default")
    flag("--leave-with-parent", action="store_true", help="end when the program that started this one is killed")
    return parser


def run(words: Sequence[str] | None = None) -> int:
    """Convert; 1 when a clip failed or is missing."""
    args = arguments().parse_args(words)
    if args.leave_with_parent:
        leave_with(os.getppid())
    summary = bridge_folder(
        args.in_dir, args.out_dir, ids=args.ids_file.read_text().split() if args.ids_file else None, key=args.npz_key,
        rotation_space="world" if args.rotation_space == "global" else args.rotation_space,
        workers=max(args.workers, 1), skip_existing=args.skip_existing,
    )  # fmt: skip
    for failure in summary["failures"]:
        print(f"failed: {failure['id']}: {failure['why']}", file=sys.stderr)
    print(", ".join(f"{summary[key]} {key}" for key in ("requested", "generated", "skipped", "failed", "missing")))
    return int(bool(summary["failed"] or summary["missing"]))


if __name__ == "__main__":
    try:
        sys.exit(run())
    except (ValueError, FileNotFoundError) as error:
        print(f"convert_motion135_to_h3d272.py: {error}", file=sys.stderr)
        sys.exit(2)
