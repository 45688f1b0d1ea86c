"""A folder of motion135 clips to motion272, one ``ID.npy`` each: the second step of the published road from hml263."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from hftrainer.data.pool import processes
from hftrainer.evaluation import making
from hftrainer.evaluation.restarting import clear_leftovers, write_array, write_json
from hftrainer.motion.representation.motion135 import smpl_to_motion135
from hftrainer.motion.representation.motion272 import motion135_to_motion272

#: So many ids and reasons are kept in a summary.
LISTED = 100


def read_motion135(path: Path, key: str = "motion_135") -> np.ndarray:
    """``(T, 135)`` of a file.

    Args:
        path: a ``.npy``; or a ``.npz`` with ``key``, or with SMPL's ``global_orient``, ``body_pose`` and ``transl``.
        key: name of the array.

    Raises:
        ValueError: none of that is in it, fewer than 2 frames, or a value that is not finite.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
    except (BadZipFile, EOFError) as error:
        raise ValueError(f"{path.name} must be a whole .npz or .npy file; it is damaged ({error}).") from error
    if isinstance(loaded, np.ndarray):
        array = loaded
    else:
        with loaded as file:
            parts = ("global_orient", "body_pose", "transl")
            if key in file.files:
                array = file[key]
            elif set(parts) <= set(file.files):
                root, body, place = (np.asarray(file[part]).reshape(len(file["transl"]), -1) for part in parts)
                array = smpl_to_motion135(np.concatenate((root, body), axis=1), place, name=path.name)
            else:
                raise ValueError(f"{path.name} must hold {key} or {', '.join(parts)}; got {', '.join(file.files)}.")
    if array.ndim != 2 or array.shape[1] != 135 or len(array) < 2 or not np.isfinite(array).all():
        raise ValueError(f"{path.name} must be (T, 135) finite numbers with T at least 2; got {array.shape}.")
    return array


def _bridge(source: Path, target: Path, key: str, space: str) -> str | None:
    """Convert one file; the reason when it could not be done."""
    try:
        motion = motion135_to_motion272(read_motion135(source, key), rotation_space=space, name=source.stem)
    except (ValueError, OSError) as error:
        return " ".join(str(error).split())
    write_array(target, motion.astype(np.float32))
    return None


def leave_with(parent: int) -> None:
    """End this process, at once, when the program that started it is gone, killed perhaps: nobody else would.

    Args:
        parent: that program's process number, ``os.getppid()`` when this one began.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def bridge_folder(
    source: Path,
    target: Path,
    *,
    ids: Sequence[str] | None = None,
    key: str = "motion_135",
    rotation_space: str = "local",
    workers: int = 1,
    skip_existing: bool = False,
    say: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Convert a folder and write ``ID.npy`` (T, 272) float32 of each clip, and ``conversion.json``.

    What the source says of how its motions were made (``hftrainer.evaluation.making``) is taken along.

    Args:
        source: folder of ``ID.npz`` or ``ID.npy``.
        target: gets the files.
        ids: only these clips; those without a file are missing. By default all that are there.
        key, rotation_space: see ``read_motion135`` and ``motion135_to_motion272``.
        workers: processes.
        skip_existing: leave out what has a file.
        say: gets a line of progress.

    Returns:
        The summary as it was written: ``source_representation``, ``target_representation``, ``input_dir``,
        ``output_dir``, ``requested``, ``generated``, ``skipped``, ``failed``, ``missing`` (clips), ``missing_ids`` and
        ``failures`` (the first 100).

    Raises:
        ValueError: no clip at all, one id in two files, or a target that has motions of another run.
    """
    files: dict[str, Path] = {}
    for path in sorted(source.iterdir()) if source.is_dir() else ():
        if path.suffix in (".npz", ".npy") and not path.name.startswith((".", "_")):
            if path.stem in files:
                raise ValueError(f"an id must have one file; {files[path.stem].name} and {path.name} are both there.")
            files[path.stem] = path
    if not files:
        raise ValueError(f"{source} must hold ID.npz or ID.npy files; got none. Name the folder of the clips.")
    requested = sorted(set(files if ids is None else ids))
    missing = [name for name in requested if name not in files]
    found = [name for name in requested if name in files]
    clear_leftovers(target, [f"{name}.npy" for name in found])
    left = [name for name in found if not (skip_existing and (target / f"{name}.npy").is_file())]
    making.carry(source, target, "motion272", set(found) - set(left))
    jobs = {name: (files[name], target / f"{name}.npy", key, rotation_space) for name in left}
    failures: dict[str, str] = {}
    done = 0

    def note(name: str, why: str | None) -> None:
        nonlocal done
        done += 1
        if why is not None:
            failures[name] = why
        if say is not None:
            say(f"{done} of {len(left)} converted")

    if workers == 1 or len(left) < 2:
        for name, job in jobs.items():
            note(name, _bridge(*job))
    else:
        with processes(min(workers, len(left)), leave_with, (os.getpid(),), method="spawn") as pool:
            waiting = {pool.submit(_bridge, *job): name for name, job in jobs.items()}
            for future in as_completed(waiting):
                note(waiting[future], future.result())
    summary = {
        "source_representation": "motion_135", "target_representation": "humanml3d_272", "input_dir": str(source),
        "output_dir": str(target), "requested": len(requested), "generated": len(left) - len(failures),
        "skipped": len(found) - len(left), "failed": len(failures), "missing": len(missing),
        "missing_ids": missing[:LISTED],
        "failures": [{"id": name, "why": why} for name, why in sorted(failures.items())][:LISTED],
    }  # fmt: skip
    write_json(target / "conversion.json", summary)
    return summary
