"""Results of free instructions as files, named as MotionGPT's batch demo names them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hftrainer.motion import Motion
    from hftrainer.pipelines.instructions import Outcome

#: The tasks of ``hftrainer.pipelines.instructions``, known here before torch is loaded.
TASKS = ("t2m", "m2t", "pred", "inbetween")


def write_outcome(outcome: Outcome, folder: Path) -> list[Path]:
    """Write what was asked and what was answered.

    Args:
        outcome: of an instruction that was done.
        folder: gets ``N_in.txt`` and ``N_out.txt``, ``N_in.npy`` where a motion was attached and ``N_out.npy`` where
            the answer is one; motions as ``(1, T, 22, 3)`` float32 joints, metres.

    Returns:
        The files.
    """
    from hftrainer.motion.files.atomic import written_whole

    number, files = outcome.line.number, []
    for side, motion, text in (
        ("in", outcome.given, outcome.line.text),
        ("out", outcome.motion, outcome.text),
    ):
        if motion is not None:
            files.append(_write_joints(motion, folder / f"{number}_{side}.npy"))
        file = folder / f"{number}_{side}.txt"
        with written_whole(file) as place:
            place.write_text(text + "\n", encoding="utf-8")
        files.append(file)
    return files


def _write_joints(motion: Motion, file: Path) -> Path:
    import numpy as np

    from hftrainer.motion.files.atomic import written_whole
    from hftrainer.motion.representation.convert import convert

    joints = convert(motion, "joints" if motion.representation.name == "hml263" else "joints_kit")
    with written_whole(file) as place:
        np.save(place, joints.data[None])
    return file
