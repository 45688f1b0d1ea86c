"""The door for files of MotionCLIP-135: the names of its keys, turned into ours, and back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from hftrainer.errors import ArtifactError
from hftrainer.models.artifact import unfilled
from hftrainer.models.checkpoint import read_named_tensors
from hftrainer.models.evaluator.dual import DualConfig, DualEvaluator, SideConfig

#: The published artifact: weights and settings.
WEIGHT_FILE, SETTINGS_FILE = "motionclip_model.safetensors", "bundle_config.json"
#: Keys of transformers that count places.
_PLACES = re.compile(r"(text|motion)_model\.embeddings\.position_ids")
_BLOCK = {
    "norm_attention": "layer_norm1", "norm_feed_forward": "layer_norm2", "query": "self_attn.q_proj",
    "key": "self_attn.k_proj", "value": "self_attn.v_proj", "attention_out": "self_attn.out_proj", "widen": "mlp.fc1",
    "narrow": "mlp.fc2",
}  # fmt: skip


def keys(text_layers: int, motion_layers: int) -> dict[str, str]:
    """Our keys to the authors'.

    >>> keys(12, 12)["motion.blocks.3.widen.bias"]
    'motion_model.encoder.layers.3.mlp.fc1.bias'
    """
    table = {
        "scale": "logit_scale",
        "text.tokens.weight": "text_model.embeddings.token_embedding.weight",
        "motion.first": "motion_model.embeddings.class_embedding",
        "motion.entry.weight": "motion_model.embeddings.motion_projection.weight",
    }
    norms = {"text": {"norm": "final_layer_norm"}, "motion": {"norm": "post_layernorm", "norm_before": "pre_layernorm"}}
    for side, layers in (("text", text_layers), ("motion", motion_layers)):
        table[f"{side}.places.weight"] = f"{side}_model.embeddings.position_embedding.weight"
        table[f"{side}.projection.weight"] = f"{side}_projection.weight"
        for kind in ("weight", "bias"):
            for ours, theirs in norms[side].items():
                table[f"{side}.{ours}.{kind}"] = f"{side}_model.{theirs}.{kind}"
            for layer in range(layers):
                for ours, theirs in _BLOCK.items():
                    table[f"{side}.blocks.{layer}.{ours}.{kind}"] = (
                        f"{side}_model.encoder.layers.{layer}.{theirs}.{kind}"
                    )
    return table


def manifest(config: DualConfig) -> dict[str, tuple[int, ...]]:
    """The authors' keys and the shape of each, for any sizes."""
    with unfilled():
        network = DualEvaluator(config)
    table = keys(config.text.layers, config.motion.layers)
    return {table[name]: tuple(value.shape) for name, value in network.state_dict().items()}


def build(
    weights: Mapping[str, Tensor],
    text_heads: int = 8,
    motion_heads: int = 8,
    end: int | None = None,
    frames: int | None = None,
) -> DualEvaluator:
    """The networks from tensors by the authors' names; sizes are read off their shapes.

    Args:
        weights: the file's tensors; a name may begin with ``model.``.
        text_heads, motion_heads: which shapes do not tell.
        end: the token that closes a sentence; the last one of the vocabulary when not given.
        frames: frames that are read of a motion; 300, or as many as there are places.

    Raises:
        ArtifactError: keys are missing or unexpected, or shapes do not fit; all of them are listed.
    """
    weights = {key.removeprefix("model."): value for key, value in weights.items()}
    weights = {key: value for key, value in weights.items() if not _PLACES.fullmatch(key)}
    names = {name: theirs for name, theirs in keys(1, 1).items() if name in _SIZES}
    absent = [key for key in names.values() if key not in weights or weights[key].ndim != 2]
    if absent:
        raise ArtifactError(f"the evaluator's weights do not fit: missing {', '.join(absent)}, with two axes each.")
    size = {name: tuple(weights[key].shape) for name, key in names.items()}
    sides = {}
    try:
        for side, heads in (("text", text_heads), ("motion", motion_heads)):
            sides[side] = SideConfig(
                width=size[f"{side}.places.weight"][1], layers=_count(weights, side), heads=heads,
                feed_forward=size[f"{side}.blocks.0.widen.weight"][0], places=size[f"{side}.places.weight"][0],
            )  # fmt: skip
        vocabulary, places = size["text.tokens.weight"][0], sides["motion"].places
        config = DualConfig(
            features=size["motion.entry.weight"][1], output=size["text.projection.weight"][0], vocabulary=vocabulary,
            end=vocabulary - 1 if end is None else end,
            most_frames=min(DualConfig().most_frames, places - 1) if frames is None else frames,
            **sides,
        )  # fmt: skip
    except ValueError as error:
        raise ArtifactError(f"the evaluator has impossible sizes: {error}") from error
    table, want = keys(config.text.layers, config.motion.layers), manifest(config)
    scale = weights.get("logit_scale")
    if scale is not None and scale.numel() == 1:
        weights["logit_scale"] = scale.reshape(())
    wrong = [f"missing {key}" for key in sorted(want.keys() - weights.keys())]
    wrong += [f"unexpected {key}" for key in sorted(weights.keys() - want.keys())]
    wrong += [
        f"{key} is {tuple(weights[key].shape)}, the network needs {want[key]}"
        for key in sorted(want.keys() & weights.keys()) if tuple(weights[key].shape) != want[key]
    ]  # fmt: skip
    if wrong:
        raise ArtifactError(f"the evaluator's weights do not fit: {'; '.join(wrong)}.")
    with unfilled():
        network = DualEvaluator(config)
    network.load_state_dict({ours: weights[theirs].float() for ours, theirs in table.items()}, assign=True)
    return network.requires_grad_(False).eval()


#: Tensors that tell the sizes.
_SIZES = (
    "text.tokens.weight", "text.places.weight", "motion.places.weight", "motion.entry.weight", "text.projection.weight",
    "text.blocks.0.widen.weight", "motion.blocks.0.widen.weight",
)  # fmt: skip


def read_weights(path: Path) -> DualEvaluator:
    """The networks from the published file.

    Raises:
        ArtifactError: no such file, a damaged one, or weights that do not fit.
    """
    return build(read_named_tensors(path))


def _count(weights: Mapping[str, Tensor], side: str) -> int:
    found = (re.match(rf"{side}_model\.encoder\.layers\.(\d+)\.", key) for key in weights)
    return max((int(match[1]) for match in found if match), default=-1) + 1
