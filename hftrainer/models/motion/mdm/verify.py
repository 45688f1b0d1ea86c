"""Proof that an artifact is the checkpoint that it was made from: every number, and the motion that comes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hftrainer.models.motion.mdm import official
from hftrainer.models.motion.mdm.bundle import MDMBundle
from hftrainer.models.motion.mdm.network import Condition
from hftrainer.models.motion.mdm.release import Release
from hftrainer.models.motion.mdm.sampling import sample
from hftrainer.models.motion.mdm.schedule import Schedule

PROMPT = "a person walks forward"
FRAMES = 80
#: Steps of the comparison at most; a network of 1000 steps takes every fiftieth.
STEPS = 20


def _same_bits(one: Tensor, other: Tensor) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return torch.equal(one.contiguous().view(-1).view(torch.uint8), other.contiguous().view(-1).view(torch.uint8))


def condition_of(bundle: MDMBundle, frames: int) -> Condition:
    """``PROMPT``, or numbers that are the same everywhere where the bundle has no text tower inside."""
    config, prefix = bundle.config, None
    if config.completes:
        shape = (1, config.joints, config.features, config.context_frames)
        prefix = torch.sin(torch.arange(float(np.prod(shape)))).view(shape)
    if config.condition != "text":
        return Condition(prefix=prefix)
    if bundle.text is not None:
        told, real = bundle.encode_text([PROMPT])
    else:
        told, real = torch.sin(torch.arange(float(config.text_width)))[None, None], None
    return Condition(text=told, text_mask=real, prefix=prefix, frames=torch.ones(1, frames, dtype=torch.bool))


@torch.no_grad()
def generated(bundle: MDMBundle, seed: int = 0) -> Tensor:
    """One motion drawn in the authors' order, ``(1, J, F, T)`` normalised; torch's own random state is left alone."""
    config = bundle.config
    frames = config.predicted_frames if config.completes else FRAMES
    schedule = Schedule.named(config.noise_schedule, config.steps, small=config.small_sigma)
    if len(schedule) > STEPS:
        schedule = schedule.respaced([STEPS])
    return sample(
        bundle.network,
        schedule,
        (1, config.joints, config.features, frames),
        condition_of(bundle, frames),
        rng=torch.Generator().manual_seed(seed),
        guidance=None if bundle.guidance == 1 else bundle.guidance,
    )


def verify(made: MDMBundle, folder: Path, files: Release) -> list[str]:
    """Compare an artifact on disk with the checkpoint and with the bundle that was filled from it.

    Args:
        made: the bundle as it was filled from the checkpoint.
        folder: the artifact that was written.
        files: the checkpoint.

    Returns:
        What was checked and holds, one line each.

    Raises:
        RuntimeError: something does not hold; all of it is listed.
    """
    bad: list[str] = []
    loaded = MDMBundle.from_pretrained(folder)
    if loaded.config != files.config:
        bad.append(f"the network is described as {loaded.config}, the checkpoint says {files.config}")
    state = loaded.network.state_dict()
    table = official.keys(files.config)
    bad += [f"{table[key]} is not the checkpoint's" for key, want in files.state.items()
            if key not in state or not _same_bits(state[key], want)]  # fmt: skip
    good = [f"{len(files.state)} tensors, {sum(t.numel() for t in files.state.values()):,} numbers: bit for bit the "
            "checkpoint's"]  # fmt: skip
    if files.pair is not None:
        pairs = ((loaded.statistics.mean, files.pair.mean), (loaded.statistics.std, files.pair.std))
        if not all(np.array_equal(there.numpy(), np.asarray(want, np.float32)) for there, want in pairs):
            bad.append("the statistics are not those that were given")
        good.append(f"statistics: {files.pair.name}")
    if made.text is not None:
        if loaded.text is None:
            bad.append("the text tower is not in the artifact")
        else:
            told = [tower.encode([PROMPT, ""])[0] for tower in (made.text, loaded.text)]
            if not _same_bits(*told):
                bad.append(f"{PROMPT!r} gives other numbers in the text tower after loading")
            good.append(f"text tower {loaded.text.name}: {PROMPT!r} gives the same {told[0].shape[-1]} numbers a token")
    if not bad:
        one, other = generated(made), generated(loaded)
        difference = float((one - other).abs().max())
        steps = min(STEPS, files.config.steps)
        told_by = f"{PROMPT!r}" if made.text is not None else "a fixed condition"
        if difference != 0:
            bad.append(f"{told_by}: motions differ by up to {difference:.2g} after loading")
        good.append(f"{told_by}: {one.shape[-1]} frames in {steps} steps, max-abs-diff = {difference}")
    if bad:
        raise RuntimeError(f"the artifact is not the checkpoint: {'; '.join(bad)}.")
    return good
