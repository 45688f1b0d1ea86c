"""Proof that an artifact is the release that it was made from: every number, and the motion that comes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hftrainer.models.clip import ClipTower
from hftrainer.models.motion.mogents import official, official_transformers
from hftrainer.models.motion.mogents.bundle import MaskedBundle
from hftrainer.models.motion.mogents.masked import MaskedTransformer
from hftrainer.models.motion.mogents.release import Release
from hftrainer.models.motion.mogents.residual import ResidualTransformer
from hftrainer.models.motion.mogents.sampling import Settings

PROMPT, FRAMES = "a person walks forward", 80


def _same_bits(one: Tensor, other: Tensor) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return torch.equal(one.contiguous().view(-1).view(torch.uint8), other.contiguous().view(-1).view(torch.uint8))


@torch.no_grad()
def generated(bundle: MaskedBundle, seed: int = 0) -> tuple[Tensor, int]:
    """One motion drawn in the authors' order: ``(T, D)`` normalised, and the number of tokens that is guessed for it.

    Where the bundle has no text tower inside, numbers stand for the sentence that are the same everywhere.
    """
    if bundle.text is not None:
        told = bundle.encode_text([PROMPT])
    else:
        told = torch.sin(torch.arange(float(bundle.text_width)))[None]
    lengths = torch.tensor([FRAMES // bundle.frames_per_token])
    codes = bundle.generate(told, lengths, Settings(), rng=torch.Generator().manual_seed(seed))
    guessed = 0
    if bundle.length_estimator is not None:
        own = [torch.Generator().manual_seed(seed)]
        guessed = int(bundle.length_estimator.draw(told, own)[0])
    return bundle.decode(codes)[0], guessed


def verify(made: MaskedBundle, folder: Path, files: Release) -> list[str]:
    """Compare an artifact on disk with the authors' files and with the bundle that was filled from them.

    Args:
        made: the bundle as it was filled from the files.
        folder: the artifact that was written.
        files: the release.

    Returns:
        What was checked and holds, one line each.

    Raises:
        RuntimeError: something does not hold; all of it is listed.
    """
    bad: list[str] = []
    good: list[str] = []
    kept = made.text.network.precision if isinstance(made.text, ClipTower) else "fp32"
    loaded = type(made).from_pretrained(folder, precision=kept)
    for name, want in files.states.items():
        network = loaded.networks.get(name)
        if network is None:
            bad.append(f"{name} is not in the artifact")
            continue
        if network.config != official.network_config(files.family, name, files.config):
            bad.append(f"{name} is described as another network than the options describe")
        have = official.their_state(network)
        computed = set()
        if isinstance(network, MaskedTransformer | ResidualTransformer):
            computed = set(have) - set(official_transformers.keys(network.config).values())
        bad += [f"{name}: {key} is not the checkpoint's" for key, value in want.items()
                if key not in computed and (key not in have or not _same_bits(have[key], value))]  # fmt: skip
        count = sum(tensor.numel() for key, tensor in want.items() if key not in computed)
        good.append(f"{name}: {len(want)} tensors, {count:,} numbers: bit for bit the checkpoint's")
    pairs = ((loaded.statistics.mean, files.pair.mean), (loaded.statistics.std, files.pair.std))
    if not all(np.array_equal(there.numpy(), np.asarray(want, np.float32)) for there, want in pairs):
        bad.append("the statistics are not those that were given")
    good.append(f"statistics: {files.pair.name}")
    if made.text is not None:
        if loaded.text is None:
            bad.append("the text tower is not in the artifact")
        else:
            told = [bundle.encode_text([PROMPT, ""]) for bundle in (made, loaded)]
            if not _same_bits(*told):
                bad.append(f"{PROMPT!r} gives other numbers in the text tower after loading")
            good.append(f"text tower {loaded.text.name}: {PROMPT!r} gives the same {told[0].shape[-1]} numbers")
    if not bad:
        (one, length), (other, again) = generated(made), generated(loaded)
        difference = float((one - other).abs().max())
        told_by = f"{PROMPT!r}" if made.text is not None else "a fixed sentence vector"
        if difference != 0:
            bad.append(f"{told_by}: motions differ by up to {difference:.2g} after loading")
        if length != again:
            bad.append(f"{told_by}: {length} tokens are guessed before and {again} after loading")
        good.append(f"{told_by}: {len(one)} frames of {one.shape[1]} numbers, max-abs-diff = {difference}")
    if bad:
        raise RuntimeError(f"the artifact is not the checkpoint: {'; '.join(bad)}.")
    return good
