"""hml263 clips to SMPL bodies, motion_135 at 30 fps: one ``ID.npz`` each and a summary, sharded and restartable.

python scripts/eval/hml263_to_smpl_ik.py --in-dir PRED263 --out-dir SMPL135 --floor-align \
    --refine-iters 80 --refine-lr 0.02 --skip-existing

The body is the neutral SMPL body with zero betas, whose joints the program knows: no SMPL file is read.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hftrainer.evaluation.bridging import leave_with
from hftrainer.evaluation.fitting import Fitting, fit_folder
from hftrainer.motion.representation.refine import Refinement
from hftrainer.motion.skeleton import SMPL22


def arguments() -> argparse.ArgumentParser:
    """The flags."""
    parser = argparse.ArgumentParser(prog="hml263_to_smpl_ik.py", description="hml263 clips to SMPL bodies, sharded")
    flag = parser.add_argument
    flag("--in-dir", required=True, type=Path, help="folder of ID.npy, (T, 263) features or (T, 22, 3) joints")
    flag("--out-dir", required=True, type=Path, help="gets ID.npz and _retarget_summary.json")
    flag("--model-dir", help="of SMPL's files; not needed and not read: zero betas have the same joints")
    flag("--ids", help="only these, separated by commas, or a file with one a line")
    flag("--limit", "--max-samples", type=int, help="only the first so many")
    flag("--num-shards", type=int, default=1)
    flag("--shard-index", type=int, default=0)
    flag("--source-fps", type=float, default=20.0)
    flag("--target-fps", type=float, default=30.0)
    flag("--batch-size", type=int, default=256, help="clips fitted together")
    flag("--device", default="cpu", help="cpu needs no torch; cuda, cuda:1, ...")
    flag("--skip-existing", action="store_true")
    flag("--floor-align", action="store_true", help="lowest joint of each clip at height 0")
    flag("--refine-iters", type=int, default=0, help="the published error belongs to 80")
    flag("--refine-lr", type=float, default=0.02)
    flag("--pose-l2-weight", type=float, default=0.0)
    flag("--pose-keep-weight", type=float, default=1e-4)
    flag("--angle-prior-weight", type=float, default=0.0, help="keeps elbows and knees from bending the wrong way")
    flag("--lock-global-orient", action="store_true")
    flag("--lock-body-joints", default="", help="numbers or names, separated by commas")
    flag("--rotation-init", default="auto", help="position_ik, which auto chooses: the published error is its")
    flag("--orientation-mode", default="bone", choices=("bone", "parent_frame"))
    flag("--parent-ref-weight", type=float, default=0.25)
    flag("--restore-root-translation", default="auto", help="auto or none: the clips' own")
    flag("--canonical-meta-dir", help="not offered")
    flag("--rot6d-convention", default="row", help="row: motion_135's own")
    flag("--input-normalized", action="store_true", help="with --mean-path and --std-path")
    flag("--mean-path", type=Path)
    flag("--std-path", type=Path)
    flag("--target-length-anno", type=Path, help="JSON whose data_list says num_frames of each id")
    flag("--leave-with-parent", action="store_true", help="end when the program that started this one is killed")
    return parser


def lengths_of(path: Path) -> dict[str, int]:
    """Frames of each clip in an annotation file: ``{"data_list": {id: {"num_frames": n}}}``, or a list with ids.

    Raises:
        ValueError: the file says it in no way that is known.
    """
    entries = json.loads(path.read_text(encoding="utf-8"))
    entries = entries.get("data_list", entries) if isinstance(entries, dict) else entries
    pairs = list(entries.items()) if isinstance(entries, dict) else [
        (next((entry[key] for key in ("id", "name", "sample_id", "motion_id") if key in entry), None), entry)
        for entry in entries
    ]  # fmt: skip
    if not pairs or any(name is None or "num_frames" not in entry for name, entry in pairs):
        raise ValueError(f"{path} must name id and num_frames of each clip in its data_list; it does not.")
    return {str(name): int(entry["num_frames"]) for name, entry in pairs}


def joints_of(text: str) -> tuple[int, ...]:
    """Joint numbers of a list of numbers or names, separated by commas.

    Raises:
        ValueError: a joint that the body does not have.
    """
    found = []
    for word in (part.strip() for part in text.split(",") if part.strip()):
        if word not in SMPL22.joints and not (word.isdigit() and int(word) < len(SMPL22.joints)):
            raise ValueError(f"a joint must be 0 to 21 or one of {', '.join(SMPL22.joints)}; got {word!r}.")
        found.append(SMPL22.joints.index(word) if word in SMPL22.joints else int(word))
    return tuple(found)


def settings(args: argparse.Namespace) -> Fitting:
    """How the folder is to be fitted.

    Raises:
        ValueError: something that is not offered, or flags that do not go together.
    """
    for name, known in (("rotation_init", ("auto", "position_ik")), ("restore_root_translation", ("auto", "none")),
                        ("rot6d_convention", ("row",)), ("canonical_meta_dir", (None,))):  # fmt: skip
        if getattr(args, name) not in known:
            want = " or ".join(map(str, known)) if known != (None,) else "left out"
            raise ValueError(f"--{name.replace('_', '-')} must be {want}; got {getattr(args, name)!r}.")
    if args.input_normalized != bool(args.mean_path and args.std_path):
        raise ValueError("--input-normalized needs --mean-path and --std-path, and they need it; got only one side.")
    statistics = [np.load(path) if args.input_normalized else None for path in (args.mean_path, args.std_path)]
    how = Refinement(
        steps=args.refine_iters, rate=args.refine_lr, keep=args.pose_keep_weight, small=args.pose_l2_weight,
        hinges=args.angle_prior_weight, start=args.orientation_mode, parent_weight=args.parent_ref_weight,
        locked=(*((0,) if args.lock_global_orient else ()), *joints_of(args.lock_body_joints)),
    )  # fmt: skip
    return Fitting(
        how, args.source_fps, args.target_fps, args.floor_align,
        lengths_of(args.target_length_anno) if args.target_length_anno else {}, statistics[0], statistics[1],
        batch=args.batch_size, together=4096 if args.device == "cpu" else 200_000,
    )  # fmt: skip


def placing(device: str) -> Any:
    """What puts arrays on a device; nothing for the processor.

    Raises:
        ValueError: there is no such device.
    """
    if device == "cpu":
        return None
    import torch

    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"--device must be one that is here; got {device}, and there is no GPU. Use --device cpu.")
    return lambda array: torch.as_tensor(array, device=device)


def run(words: Sequence[str] | None = None) -> int:
    """Fit one shard; 0 when something was fitted or there was nothing left to do, 1 when every clip failed."""
    args = arguments().parse_args(words)
    if args.leave_with_parent:
        leave_with(os.getppid())
    ids = None
    if args.ids:
        ids = Path(args.ids).read_text().split() if Path(args.ids).is_file() else args.ids.split(",")
    summary = fit_folder(
        args.in_dir, args.out_dir, settings(args), ids=ids, limit=args.limit, shards=args.num_shards,
        shard=args.shard_index, skip_existing=args.skip_existing, place=placing(args.device),
    )  # fmt: skip
    for failure in summary["failures"]:
        print(f"failed: {failure['id']}: {failure['why']}", file=sys.stderr)
    error = "" if summary["mean_mpjpe_mm"] is None else f", mean error {summary['mean_mpjpe_mm']:.2f} mm"
    print(f"{summary['count']} clips ({summary['skipped']} were there), {summary['failed']} failed{error}")
    return int(bool(summary["failed"]) and not summary["count"])


if __name__ == "__main__":
    try:
        sys.exit(run())
    except (ValueError, FileNotFoundError) as error:
        print(f"hml263_to_smpl_ik.py: {error}", file=sys.stderr)
        sys.exit(2)
