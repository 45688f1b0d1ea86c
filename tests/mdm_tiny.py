"""A small MDM with random weights, whole: network, statistics, text tower."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from hftrainer.models.clip import ClipText, ClipTextConfig, ClipTower
from hftrainer.models.motion.mdm.bundle import MDMBundle
from hftrainer.models.motion.mdm.config import MDMConfig
from hftrainer.models.motion.mdm.network import MDM
from hftrainer.models.motion.motiongpt.bundle import Statistics
from hftrainer.motion.clip import Motion

STEPS = 8


def statistics(width: int = 263, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Means near 0 and small spreads, so that made bodies stay where bodies may be."""
    rng = np.random.default_rng(seed)
    mean, std = rng.normal(size=width) * 0.02, rng.uniform(0.01, 0.05, width)
    mean[3] = 0.9
    return mean.astype(np.float32), std.astype(np.float32)


def bundle(representation: str = "hml263", tower: bool = True, **fields: Any) -> MDMBundle:
    """A bundle of some 10,000 numbers."""
    width = 263 if representation == "hml263" else 251
    small = {"width": 16, "layers": 1, "heads": 2, "feed_forward": 32, "positions": 260, "text_width": 8}
    config = MDMConfig(joints=width, **{**small, "steps": STEPS, "mask_frames": True, **fields})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = MDM(config)
        words = ClipText(ClipTextConfig(width=8, layers=1, heads=1, output=8))
        torch.nn.init.normal_(words.projection)
        torch.nn.init.normal_(words.positions)
        text = ClipTower(words) if tower else None
    habit = None if config.mask_frames or config.completes else 60
    made = MDMBundle(
        network, Statistics(*statistics(width), representation), text if config.condition == "text" else None,
        guidance=2.5 if config.guidable else 1.0, evaluation_frames=habit,
    )  # fmt: skip
    made.about["name"] = "mdm-tiny"
    return made


def folder(where: Path, **fields: Any) -> Path:
    """The same on disk."""
    bundle(**fields).save_pretrained(where)
    return where


def clip(frames: int = 60, seed: int = 5, representation: str = "hml263") -> Motion:
    """A made-up clip whose root walks and turns."""
    rng = np.random.default_rng(seed)
    mean, std = statistics(263 if representation == "hml263" else 251)
    rows = mean + std * np.cumsum(rng.normal(size=(frames, len(mean))) * 0.2, axis=0)
    rows[:, 0], rows[:, 1], rows[:, 2] = 0.01, 0.0, 0.03
    return Motion(rows, representation, 20 if representation == "hml263" else 12.5, name="clip")


#: Clips of a test split: too short, too long, one that is only described in part, a mirrored one.
LENGTHS = {"000003": 52, "000001": 47, "000002": 30, "000004": 199, "000005": 60, "M00001": 80}


def write_test_split(folder: Path, lengths: dict[str, int] = LENGTHS) -> Path:
    """A dataset folder in HumanML3D's layout that has a test split only."""
    for room in ("new_joint_vecs", "texts"):
        (folder / room).mkdir(parents=True)
    for name, frames in lengths.items():
        np.save(folder / "new_joint_vecs" / f"{name}.npy", clip(frames).data)
        part = "he turns#he/PRON turn/VERB#1.0#2.0\n"
        whole = "" if name == "000005" else f"a person walks {name}#a/DET#0.0#0.0\nhe goes#he/PRON#0.0#0.0\n"
        (folder / "texts" / f"{name}.txt").write_text(part + whole)
    (folder / "test.txt").write_text("\n".join(lengths))
    for name, values in zip(("Mean", "Std"), statistics(), strict=True):
        np.save(folder / f"{name}.npy", values)
    return folder
