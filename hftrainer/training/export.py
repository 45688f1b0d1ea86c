"""A dataset's clips as motion tokens on disk, for the language model's recipes and for other programs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hftrainer.data.humanml3d import Clip
from hftrainer.data.packed import open_dataset
from hftrainer.errors import ArtifactError
from hftrainer.models.motion.motiongpt.bundle import Statistics
from hftrainer.models.motion.motiongpt.network import MotionTokenizer
from hftrainer.motion.files.atomic import written_whole
from hftrainer.training.starts import load_tokenizer


@torch.no_grad()
def encode_clip(
    network: MotionTokenizer, statistics: Statistics, clip: Clip, draw: float | None, frames: tuple[int, int] | None
) -> np.ndarray | None:
    """The tokens of a clip, int64 ``(1, L)``; ``None`` where it is left out.

    Args:
        network, statistics: the motion tokenizer.
        clip: in its representation.
        draw: 0 to 1: which of the frames that leave as many tokens is the first; ``None`` is frame 0.
        frames: fewest and most frames of a clip that is not left out.
    """
    per, count = network.config.frames_per_token, clip.frames
    if count < per or (frames and not frames[0] <= count <= frames[1]):
        return None
    start = 0 if draw is None else int(draw * (count % per + 1))
    rows = statistics.normalize(clip.motion)[start : start + count // per * per]
    codes: np.ndarray = network.encode(rows[None]).numpy().astype(np.int64)
    return codes


def save_tokens(codes: np.ndarray, path: Path) -> None:
    """Write a token file, whole or not at all."""
    with written_whole(path) as beside:
        np.save(beside, codes)


@torch.no_grad()
def export_tokens(
    artifact: str | Path,
    data: str | Path,
    out: str | Path,
    split: str = "train",
    *,
    offset: str = "0",
    seed: int = 0,
    frames: tuple[int, int] | None = None,
    skip_existing: bool = False,
    bad_clips: str = "refuse",
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Write ``<id>.npy``, int64 ``(1, L)``, for each clip of a split.

    Args:
        artifact: a motion tokenizer, or a whole MotionGPT.
        data: dataset folder.
        out: gets the files; each appears whole or not at all.
        split: whose clips.
        offset: ``"0"``, or ``"random"``: the clip begins at a random frame that leaves as many tokens as frame 0 does.
        seed: of random offsets; a clip's offset hangs on its place in the split, not on what is skipped.
        frames: fewest and most frames of a clip that is not left out.
        skip_existing: do not touch clips whose file is there.
        bad_clips: ``"refuse"`` or ``"skip"`` clips that hold a NaN.
        say: hears of progress.

    Returns:
        ``written``, ``existing`` and ``tokens`` (counts); ``left_out`` and ``bad``, names of clips without a file.

    Raises:
        ArtifactError: the artifact and the dataset do not belong together, or a clip is bad and refused.

    Source: MotionGPT ``scripts/get_motion_code``, which takes clips of 40 to 199 frames and a random offset.
    """
    network, statistics, _ = load_tokenizer(artifact)
    dataset, out = open_dataset(data, (split,)), Path(out)
    if dataset.spec != statistics.spec:
        raise ArtifactError(
            f"{data} must hold {statistics.spec.name}, which {artifact} reads; got {dataset.spec.name}."
        )
    rng = np.random.default_rng(seed)
    report: dict[str, Any] = {"written": 0, "existing": 0, "tokens": 0, "left_out": [], "bad": []}
    names = dataset.ids(split)
    if bad_clips == "refuse":
        dataset.sound(names)  # all faults at once, before anything is written
    out.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names, 1):
        draw, path = float(rng.random()), out / f"{name}.npy"
        if skip_existing and path.is_file():
            report["existing"] += 1
            continue
        clips, bad = dataset.sound([name], bad_clips)
        if bad:
            report["bad"].append(name)
            continue
        codes = encode_clip(network, statistics, clips[0], draw if offset == "random" else None, frames)
        if codes is None:
            report["left_out"].append(name)
            continue
        save_tokens(codes, path)
        report["written"] += 1
        report["tokens"] += codes.shape[1]
        say(f"encoding {name} ({number} of {len(names)})")
    return report
