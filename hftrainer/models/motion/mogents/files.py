"""Files of an artifact of MoGenTS or MoMask: their names, and what is read out of each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from hftrainer.errors import ArtifactError
from hftrainer.models.artifact import (
    read_torch_file,
    rows_from_bytes,
)
from hftrainer.models.clip import ClipTokens, ClipTower
from hftrainer.models.motion.mogents import official
from hftrainer.models.motion.mogents.official import Family
from hftrainer.models.motion.motiongpt.release import read_pair
from hftrainer.models.tower_files import (
    DESCRIPTION,
    Tower,
    build_clip,
    openai_rows,
    read_state,
    read_tower,
)
from hftrainer.models.tower_files import WEIGHTS as TOWER_WEIGHTS
from hftrainer.motion.representation.specs import get_spec

INDEX, CLIP, TEXT = "model_index.json", "clip.safetensors", "text_encoder"
#: Tokens of a sentence, start and end included: all that CLIP reads.
CONTEXT = 77
#: Names in a file of CLIP that the text half has no use for.
_IMAGE_HALF = ("visual.", "logit_scale", "input_resolution", "context_length", "vocab_size")


def config_file(family: Family) -> str:
    """Name of an artifact's configuration.

    >>> config_file(official.MOGENTS)
    'mogents_config.json'
    """
    return f"{family.name}_config.json"


def half(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state with its floating numbers in half precision."""
    return {key: part.half() if part.is_floating_point() else part for key, part in state.items()}


def read_whole_sentences(tower: Tower) -> Tower:
    """The same tower, reading as many tokens as it can: CLIP's cut at 20 tokens is a habit of MDM's alone."""
    if not isinstance(tower, ClipTower):
        return tower
    positions = tower.network.config.positions
    return ClipTower(tower.network, ClipTokens(tower.tokens.tokenizer, min(CONTEXT, positions), positions))


def clip_state(tower: ClipTower) -> dict[str, Tensor]:
    """A text tower in OpenAI's names; linear layers in half precision where that loses nothing, as OpenAI has them."""
    have = tower.network.state_dict()
    found = {}
    for row in openai_rows(tower.network.config.layers):
        value = have[row.ours].detach().cpu().contiguous()
        half = value.half()
        single = row.ours in ("tokens.weight", "positions") or "norm" in row.ours
        if single:
            value = value.float()
        found[row.theirs[0]] = value if single or not torch.equal(half.float(), value.float()) else half
    return found


def read_image_half(path: Path) -> dict[str, Tensor]:
    """What a file of OpenAI's CLIP holds beside the text half; nothing for a folder, or a file of the text half alone.

    Raises:
        ArtifactError: no such file, or a damaged one.
    """
    if path.is_dir():
        return {}
    return {
        key: value.contiguous().clone()
        for key, value in read_state(path).items()
        if key.startswith("visual.") or key == "logit_scale"
    }


def read_text(folder: Path, precision: str) -> Tower | None:
    """The text tower inside an artifact, where there is one; ``precision`` is CLIP's, see ``from_pretrained``."""
    if (folder / TEXT).is_dir():
        return read_tower(folder / TEXT)
    file = next((folder / name for name in (CLIP, "clip.pt") if (folder / name).is_file()), None)
    if file is None:
        return None
    network = build_clip(read_weights(file, _IMAGE_HALF), precision)
    return ClipTower(network, ClipTokens(None, min(CONTEXT, network.config.positions), network.config.positions))


def weights_file(folder: Path, name: str) -> Path | None:
    """Where a network's weights lie, if they are there."""
    return next((file for end in ("safetensors", "pt") if (file := folder / f"{name}.{end}").is_file()), None)


def read_weights(file: Path, skip: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """Names and tensors in single precision; with ``skip`` as they are, without the names that begin so."""
    if file.suffix == ".pt":
        value = read_torch_file(file)
        if not isinstance(value, Mapping) or not all(isinstance(part, Tensor) for part in value.values()):
            raise ArtifactError(f"{file} must hold names and tensors; got {type(value).__name__}.")
        kept = {key: part for key, part in value.items() if not (skip and key.startswith(skip))}
        return kept if skip else {key: part.float().clone() for key, part in kept.items()}
    try:
        if not skip:
            state = load_file(file)
        else:
            with safe_open(file, framework="pt") as opened:
                state = {key: opened.get_tensor(key) for key in opened.keys() if not key.startswith(skip)}
    except (SafetensorError, OSError) as error:
        raise ArtifactError(f"{file} must be a safetensors file; got {error}.") from error
    # copies: products of numbers that lie at other addresses differ in their last bits
    return {key: part.float().clone() for key, part in rows_from_bytes(state).items()} if not skip else state


def read_description(folder: Path, family: Family) -> tuple[dict[str, Any], str]:
    """The configuration, and the data set that the statistics' width tells of; all absent files in one message."""
    name = config_file(family)
    absent = [file for file in (name, "Mean.npy", "Std.npy") if not (folder / file).is_file()]
    said: dict[str, Any] = {}
    if name not in absent:
        try:
            said = json.loads((folder / name).read_text(encoding="utf-8"))
        except ValueError as error:
            raise ArtifactError(f"{folder / name} must be JSON; got {error}.") from error
        if not isinstance(said, dict) or not isinstance(said.get("config"), dict):
            got = ", ".join(map(str, said)) if isinstance(said, dict) else type(said).__name__
            raise ArtifactError(f"{folder / name} must be an object with config in it; got {got or 'nothing'}.")
        if said.get("model_type", family.name) != family.name:
            raise ArtifactError(f"{folder / name} must describe {family.title}; got {said['model_type']}.")
    for network in family.networks:
        needed = network != "length_est" or said.get("has_length_estimator")
        if needed and weights_file(folder, network) is None:
            absent.append(f"{network}.safetensors")
    clip = (said.get("components") or {}).get("clip") or {}
    if clip.get("stored_in_artifact") and not any((folder / file).is_file() for file in (CLIP, "clip.pt")):
        absent.append(CLIP)
    if absent:
        raise ArtifactError(f"{folder} must be {family.title}'s artifact; absent: {', '.join(absent)}.")
    width = len(read_pair(folder / "Mean.npy", folder / "Std.npy").mean)
    fits = [name for name in family.datasets if get_spec(official.REPRESENTATIONS[name]).width == width]
    if not fits:
        raise ArtifactError(f"{folder}: Mean.npy and Std.npy must have 263 numbers, or 251 for KIT; got {width}.")
    return said, fits[0]


def hashed_files(folder: Path, family: Family) -> tuple[str, ...]:
    """Names of the files that the artifact's hash is of."""
    weights = [file.name for network in family.networks if (file := weights_file(folder, network))]
    text = [CLIP, "clip.pt", f"{TEXT}/{DESCRIPTION}", f"{TEXT}/{TOWER_WEIGHTS}"]
    return (config_file(family), *weights, "Mean.npy", "Std.npy",
            *(name for name in text if (folder / name).is_file()))  # fmt: skip
