"""How much less feet slide after clean-up, and how near poses stay: ``hftrainer bench clean``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

#: What the built-in model is asked for, and real capture beside it: how much less feet slide, how near poses stay.
CLEANED_PROMPTS = (
    "a person walks forward", "a person walks forward and turns left", "a person runs forward",
    "a person jumps up in place", "a person walks in a circle", "a person walks backward",
    "a person kicks with the right leg", "a person waves with the right hand", "a person sits down",
    "a person punches with the left hand", "a person walks sideways to the left", "a person does jumping jacks",
)  # fmt: skip
#: Seeds from here on; the constants of clean-up were set looking at motions of smaller ones.
_FRESH = 100


def cleaning_quality(model: str | None = None, data: str = "data/mocap", seeds: int = 1) -> dict[str, Any]:
    """Clean-up of generated motions and of captured ones with noise added, and its bars.

    Args:
        model: name, folder or repository of a model that makes hml263 from sentences; the built-in one by default.
        data: dataset folder; every second one of its validation clips is the capture. A quarter of those (every
            eighth of all) was looked at when the constants of clean-up were set.
        seeds: motions for each of ``CLEANED_PROMPTS``.

    Returns:
        JSON values: see ``hftrainer.evaluation.clean_up.cleaning_report``.

    Raises:
        FileNotFoundError: ``data`` is no dataset folder.
    """
    from hftrainer.evaluation.clean_up import cleaning_report
    from hftrainer.motion.clip import Motion
    from hftrainer.pipelines.motiongpt import MotionGPTPipeline

    root = Path(data)
    if not (root / "val.txt").is_file():
        raise FileNotFoundError(f"{root} must be a dataset folder with a val.txt; there is none. Pass --data.")
    names = (root / "val.txt").read_text(encoding="utf-8").split()[::2]
    captured = [Motion(np.load(root / "new_joints" / f"{name}.npy"), "joints", 20, name=name) for name in names]
    pipe = MotionGPTPipeline.from_pretrained(*([model] if model else []))
    generated = [motion for seed in range(seeds) for motion in pipe(list(CLEANED_PROMPTS), seed=_FRESH + seed)]
    return cleaning_report(generated, [motion for motion in captured if len(motion) >= 20])
