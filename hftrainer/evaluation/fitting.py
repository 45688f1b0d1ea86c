"""A folder of hml263 clips to SMPL bodies: motion135 by fitting, one ``ID.npz`` each, with its error.

This is the first step of the published road hml263 -> motion135 -> motion272. Scores at its end describe the road as
well as the model that made the clips.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from hftrainer.evaluation import making
from hftrainer.evaluation.restarting import clear_leftovers, share, write_arrays, write_json
from hftrainer.motion.clip import Motion
from hftrainer.motion.representation.hml263 import hml263_to_joints
from hftrainer.motion.representation.refine import Fit, Refinement, fit_joints
from hftrainer.motion.timing import fit_times, resample_times, sample

#: So many records and reasons are kept in a summary.
LISTED = 100
#: Mean joint errors, mm, that the published fitting has at most, by its steps; how far ours may be from its own.
PUBLISHED_MM, SAME_MM = {0: 26.0, 80: 16.4}, 0.1


@dataclass(frozen=True)
class Fitting:
    """How a folder is fitted.

    Attributes:
        how: the refinement.
        source_fps, target_fps: frames per second of the clips and of the result.
        floor: put each clip's lowest joint at height 0.
        lengths: id -> frames of the result, for clips that are to have another length than their own.
        mean, std: ``(263,)`` statistics of clips that are normalised.
        batch: clips that are read and fitted together.
        together: see ``fit_joints``.

    >>> Fitting().target_fps
    30.0
    """

    how: Refinement = field(default_factory=Refinement)
    source_fps: float = 20.0
    target_fps: float = 30.0
    floor: bool = False
    lengths: Mapping[str, int] = field(default_factory=dict)
    mean: np.ndarray | None = None
    std: np.ndarray | None = None
    batch: int = 256
    together: int = 4096


def target_joints(clip: np.ndarray, setting: Fitting, name: str) -> np.ndarray:
    """``(T', 22, 3)`` joints that a body is fitted to.

    Args:
        clip: ``(T, 263)`` features, or ``(T, 22, 3)`` joints, metres.
        setting: frame rates, length and floor.
        name: the clip's id, which error messages name.

    Raises:
        ValueError: another shape, or a value that is not finite.

    >>> target_joints(np.zeros((40, 263)), Fitting(), "a").shape
    (60, 22, 3)
    """
    if clip.ndim == 2 and setting.mean is not None and setting.std is not None:
        clip = clip * setting.std + setting.mean
    kind = "hml263" if clip.ndim == 2 else "joints"
    motion = Motion(clip, kind, setting.source_fps, name=name)
    joints = hml263_to_joints(motion.data, name=name) if kind == "hml263" else motion.data
    joints = sample(joints, resample_times(len(joints), setting.source_fps, setting.target_fps, "grid"))
    if name in setting.lengths and setting.lengths[name] != len(joints):
        joints = sample(joints, fit_times(len(joints), setting.lengths[name]))
    return joints - [0.0, joints[..., 1].min(), 0.0] if setting.floor else joints


def fit_folder(
    source: Path,
    target: Path,
    setting: Fitting | None = None,
    *,
    ids: Sequence[str] | None = None,
    limit: int | None = None,
    shards: int = 1,
    shard: int = 0,
    skip_existing: bool = False,
    place: Callable[[np.ndarray], Any] | None = None,
    say: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Fit one shard of a folder's clips and write ``ID.npz`` of each, and the shard's summary.

    Args:
        source: folder of ``ID.npy``, ``(T, 263)`` features or ``(T, 22, 3)`` joints.
        target: gets ``ID.npz`` with ``motion_135`` (T, 135), ``transl``, ``global_orient`` (T, 3), ``body_pose``
            (T, 63), ``target_joints``, ``fitted_joints`` (T, 22, 3), ``fit_mpjpe_mm`` (T,), ``source_fps``,
            ``target_fps``, ``refine_iters``, ``rotation_init``, ``global_orient_locked``.
        setting: how.
        ids: only these clips.
        limit: only the first so many, of all shards.
        shards, shard: how many processes there are, and which one this is.
        skip_existing: leave out what has a file; its error is read from it.
        place: see ``fit_joints``.
        say: gets a line of progress.

    Returns:
        The summary as it was written: ``count``, ``failed``, ``skipped`` (clips), ``mean_mpjpe_mm`` and
        ``median_mpjpe_mm`` (of the clips' means), ``p95_frame_mpjpe_mm_mean`` (mean of the clips' 95th percentiles),
        ``items`` and ``failures`` (the first 100), ``setting``. It is about all clips of the shard that have a file.
        A clip that cannot be fitted is named in it, and the others are fitted.

    Raises:
        ValueError: no such shard, an id without a clip, no clip at all, or a target that has motions of another run.
    """
    setting = setting or Fitting()
    there = sorted(path.stem for path in source.glob("*.npy") if not path.name.startswith((".", "_")))
    if not there:
        raise ValueError(f"{source} must hold ID.npy files; got none. Name the folder of the clips.")
    lost = sorted(set(ids or ()) - set(there))
    if lost:
        raise ValueError(f"every id must have an ID.npy in {source}; {len(lost)} have none, first {lost[0]}.")
    mine = share([name for name in there if ids is None or name in set(ids)][:limit], shards, shard)
    clear_leftovers(target, [f"{name}.npz" for name in mine])
    making.carry(source, target, "motion135", [n for n in there if skip_existing and (target / f"{n}.npz").is_file()])
    errors: dict[str, np.ndarray] = {}
    if skip_existing:
        errors = {name: error for name in mine if (error := _stored_error(target / f"{name}.npz")) is not None}
    skipped, failures = len(errors), {}
    left = [name for name in mine if name not in errors]
    for at in range(0, len(left), setting.batch):
        wanted: dict[str, np.ndarray] = {}
        for name in left[at : at + setting.batch]:
            try:
                wanted[name] = target_joints(np.load(source / f"{name}.npy", allow_pickle=False), setting, name)
            except (ValueError, OSError, EOFError) as error:
                failures[name] = " ".join(str(error).split())
        fits = fit_joints(list(wanted.values()), setting.how, together=setting.together, place=place)
        for (name, joints), fit in zip(wanted.items(), fits, strict=True):
            write_arrays(target / f"{name}.npz", _arrays(joints, fit, setting))
            errors[name] = fit.error_mm.astype(np.float32)
            if say is not None:
                say(f"shard {shard} of {shards}: {len(errors) - skipped} of {len(left)} fitted")
    summary = _summary(errors, failures, skipped, setting)
    ending = "" if shards == 1 else f"_s{shard:02d}_of_{shards:02d}"
    write_json(target / f"_retarget_summary{ending}.json", summary)
    return summary


def _stored_error(path: Path) -> np.ndarray | None:
    """What an older run measured; ``None`` where there is no file, or another program's half of one."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            return np.asarray(file["fit_mpjpe_mm"]) if "fit_mpjpe_mm" in file.files else None
    except (BadZipFile, ValueError, EOFError):
        return None


def _arrays(joints: np.ndarray, fit: Fit, setting: Fitting) -> dict[str, Any]:
    single = {
        "motion_135": fit.motion135, "transl": fit.translation, "global_orient": fit.pose[:, 0],
        "body_pose": fit.pose[:, 1:].reshape(len(fit.pose), -1), "target_joints": joints, "fitted_joints": fit.joints,
        "fit_mpjpe_mm": fit.error_mm, "source_fps": setting.source_fps, "target_fps": setting.target_fps,
    }  # fmt: skip
    return {
        **{key: np.asarray(value, dtype=np.float32) for key, value in single.items()},
        "refine_iters": np.int64(setting.how.steps),
        "rotation_init": np.str_("position_ik"),
        "global_orient_locked": np.bool_(0 in setting.how.locked),
    }


def _summary(
    errors: Mapping[str, np.ndarray], failures: Mapping[str, str], skipped: int, setting: Fitting
) -> dict[str, Any]:
    items: list[dict[str, Any]] = [
        {"id": name, "frames": len(error), "mean_mpjpe_mm": float(error.mean()),
         "p95_mpjpe_mm": float(np.percentile(error, 95)), "max_mpjpe_mm": float(error.max())}
        for name, error in sorted(errors.items())
    ]  # fmt: skip
    means = [item["mean_mpjpe_mm"] for item in items]
    return {
        "count": len(items),
        "failed": len(failures),
        "skipped": skipped,
        "mean_mpjpe_mm": float(np.mean(means)) if means else None,
        "median_mpjpe_mm": float(np.median(means)) if means else None,
        "p95_frame_mpjpe_mm_mean": float(np.mean([item["p95_mpjpe_mm"] for item in items])) if items else None,
        "items": items[:LISTED],
        "failures": [{"id": name, "why": why} for name, why in sorted(failures.items())][:LISTED],
        "setting": {
            **asdict(setting.how), "source_fps": setting.source_fps, "target_fps": setting.target_fps,
            "floor": setting.floor, "normalized": setting.mean is not None,
        },
    }  # fmt: skip


def reference_report(folder: Path) -> dict[str, Any]:
    """Errors on clips that the published fitting was run on, clip by clip, beside its own.

    Args:
        folder: with ``chain_NAME.npz`` below it: ``target_joints`` (T, 22, 3), metres, and ``mpjpe_mm_it0`` and
            ``mpjpe_mm_it80`` (T,), the published errors in closed form and after 80 steps.

    Returns:
        JSON values: for each number of steps the largest of the clips' mean errors with its bar and how far a frame's
        error is from the published one at most; ``clips`` with a row for each.

    Raises:
        ValueError: no such file.
    """
    files = sorted(folder.rglob("chain_*.npz"))
    if not files:
        raise ValueError(f"{folder} must hold chain_*.npz files of the reference clips; got none. Name their folder.")
    stored = []
    for path in files:
        with np.load(path, allow_pickle=False) as file:
            stored.append({key: file[key] for key in ("target_joints", "mpjpe_mm_it0", "mpjpe_mm_it80")})
    rows: list[dict[str, Any]] = [
        {"clip": path.stem.removeprefix("chain_"), "frames": len(arrays["target_joints"])}
        for path, arrays in zip(files, stored, strict=True)
    ]
    report: dict[str, Any] = {}
    for steps, name in ((0, "closed_form"), (80, "refined")):
        apart = 0.0
        fits = fit_joints([arrays["target_joints"] for arrays in stored], Refinement(steps=steps))
        for row, arrays, fit in zip(rows, stored, fits, strict=True):
            published = arrays[f"mpjpe_mm_it{steps}"]
            row[f"{name}_mm"], row[f"{name}_p95_mm"] = (
                round(float(value), 2) for value in (fit.error_mm.mean(), np.percentile(fit.error_mm, 95))
            )
            row[f"published_{name}_mm"] = round(float(published.mean()), 2)
            apart = max(apart, float(np.abs(fit.error_mm - published).max()))
        worst, bar = max(row[f"{name}_mm"] for row in rows), PUBLISHED_MM[steps]
        report[name] = {"value": worst, "bar": bar, "holds": worst <= bar}
        report[f"{name}_same_mm"] = {"value": round(apart, 4), "bar": SAME_MM, "holds": apart <= SAME_MM}
    return {**report, "clips": rows}
