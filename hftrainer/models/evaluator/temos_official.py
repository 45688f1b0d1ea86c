"""The door for files of MotionStreamer's evaluator: their names of keys, turned into ours, and back.

| what | keys |
|---|---|
| the authors' Lightning checkpoint, ``epoch99.ckpt`` | ``textencoder.…``, ``motionencoder.…`` in its ``state_dict`` |
| an artifact of the successor of the original hftrainer | ``text_encoder.…``, ``motion_encoder.…``, safetensors |

Whatever else a checkpoint holds (a decoder, metrics) is passed over; within the two parts every key must be known.

The checkpoint's settings name classes of the authors' program. They are never made: ``checkpoint.py`` reads
the tensors and puts blanks where anything else is named.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hftrainer.errors import ArtifactError
from hftrainer.models.artifact import unfilled
from hftrainer.models.checkpoint import read_named_tensors
from hftrainer.models.distilbert import DistilBertConfig
from hftrainer.models.evaluator.temos import TemosConfig, TemosEvaluator, positions
from hftrainer.models.tower_files import distilbert_rows

#: The authors' name of the checkpoint.
WEIGHT_FILES = ("epoch99.ckpt", "epoch=99.ckpt")
#: Ends of keys that hold no weights: tables that are computed.
_PLACES = re.compile(r"(text|motion)encoder\.[\w.]*\bpe")
_IDS = "textencoder.text_model.embeddings.position_ids"
_LAYER = {
    "self_attn.in_proj_": "query_key_value.", "self_attn.out_proj.": "attention_out.", "linear1.": "widen.",
    "linear2.": "narrow.", "norm1.": "norm_attention.", "norm2.": "norm_feed_forward.",
}  # fmt: skip


def keys(layers: int, text_layers: int) -> dict[str, str]:
    """Our keys to the authors'.

    >>> keys(4, 6)["motion.layers.0.query_key_value.weight"]
    'motionencoder.seqTransEncoder.layers.0.self_attn.in_proj_weight'
    """
    table: dict[str, str] = {}
    for ours, theirs, entry in (("text", "textencoder", "projection.1"), ("motion", "motionencoder", "skel_embedding")):
        table[f"{ours}.mean_token"] = f"{theirs}.mu_token"
        table[f"{ours}.spread_token"] = f"{theirs}.logvar_token"
        for kind in ("weight", "bias"):
            table[f"{ours}.entry.{kind}"] = f"{theirs}.{entry}.{kind}"
            for layer in range(layers):
                for name, part in _LAYER.items():
                    table[f"{ours}.layers.{layer}.{part}{kind}"] = (
                        f"{theirs}.seqTransEncoder.layers.{layer}.{name}{kind}"
                    )
    for row in distilbert_rows(text_layers):
        table[f"bert.{row.ours}"] = f"textencoder.text_model.{row.theirs[0]}"
    return table


def manifest(config: TemosConfig) -> dict[str, tuple[int, ...]]:
    """The authors' keys and the shape of each, for any sizes."""
    with unfilled():
        network = TemosEvaluator(config)
    table = keys(config.layers, config.text.layers)
    return {table[name]: tuple(value.shape) for name, value in network.state_dict().items()}


def find_weights(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The evaluator's tensors by the authors' names, out of what a file holds.

    Computed tables of places are tested and left out; other parts of the training program are passed over.

    Raises:
        ArtifactError: there is no such evaluator, or it has another table of places.
    """
    renamed = {
        re.sub(r"^(?:model\.)?(text|motion)_?encoder\.", r"\1encoder.", key): value for key, value in state.items()
    }
    weights = {}
    for key, value in renamed.items():
        if _PLACES.fullmatch(key):
            table = value.squeeze(1) if value.ndim == 3 else value
            if table.ndim != 2 or not torch.allclose(table.float(), positions(*table.shape), atol=1e-4):
                raise ArtifactError(f"{key} must be the sines and cosines of places; it holds other numbers.")
        elif key.startswith(("textencoder.", "motionencoder.")) and key != _IDS:
            weights[key] = value
    if not weights:
        raise ArtifactError("an evaluator must hold textencoder and motionencoder; got neither.")
    return weights


#: Heads of the released transformers, and of DistilBERT; no shape tells them.
HEADS = (4, 12)


def build(
    weights: Mapping[str, Tensor], heads: int | None = None, text_heads: int | None = None, frames: int = 300
) -> TemosEvaluator:
    """The networks from tensors by the authors' names; sizes are read off their shapes.

    Args:
        weights: of ``find_weights``.
        heads, text_heads: those of the released model when not given.
        frames: frames that are read of a motion.

    Raises:
        ArtifactError: keys are missing or unexpected, or shapes do not fit; all of them are listed.
    """
    heads, text_heads = heads or HEADS[0], text_heads or HEADS[1]
    name = "textencoder.text_model.embeddings.{}_embeddings.weight"
    sizes = {
        "entry": "motionencoder.skel_embedding.weight",
        "wide": "motionencoder.seqTransEncoder.layers.0.linear1.weight",
        "words": name.format("word"),
        "places": name.format("position"),
        "text_wide": "textencoder.text_model.transformer.layer.0.ffn.lin1.weight",
    }
    absent = [key for key in sizes.values() if key not in weights or weights[key].ndim != 2]
    if absent:
        raise ArtifactError(f"the evaluator's weights do not fit: missing {', '.join(absent)}, with two axes each.")
    shape = {short: tuple(weights[key].shape) for short, key in sizes.items()}
    try:
        config = TemosConfig(
            features=shape["entry"][1], width=shape["entry"][0], heads=heads, feed_forward=shape["wide"][0],
            layers=_count(weights, r"motionencoder\.seqTransEncoder\.layers\.(\d+)\."), most_frames=frames,
            text=DistilBertConfig(
                shape["words"][0], shape["places"][0], shape["words"][1], heads=text_heads,
                layers=_count(weights, r"textencoder\.text_model\.transformer\.layer\.(\d+)\."),
                feed_forward=shape["text_wide"][0],
            ),
        )  # fmt: skip
    except ValueError as error:
        raise ArtifactError(f"the evaluator has impossible sizes: {error}") from error
    table, want = keys(config.layers, config.text.layers), manifest(config)
    wrong = [f"missing {key}" for key in sorted(want.keys() - weights.keys())]
    wrong += [f"unexpected {key}" for key in sorted(weights.keys() - want.keys())]
    wrong += [
        f"{key} is {tuple(weights[key].shape)}, the network needs {want[key]}"
        for key in sorted(want.keys() & weights.keys()) if tuple(weights[key].shape) != want[key]
    ]  # fmt: skip
    if wrong:
        raise ArtifactError(f"the evaluator's weights do not fit: {'; '.join(wrong)}.")
    with unfilled():
        network = TemosEvaluator(config)
    network.load_state_dict({ours: weights[theirs].float() for ours, theirs in table.items()}, assign=True)
    return network.requires_grad_(False).eval()


def read_weights(path: Path) -> TemosEvaluator:
    """The networks from the authors' checkpoint or from the successor's safetensors; no code in it runs.

    Raises:
        ArtifactError: no such file, a damaged one, or weights that do not fit.
    """
    return build(find_weights(read_named_tensors(path)))


def _count(weights: Mapping[str, Tensor], pattern: str) -> int:
    found = (re.match(pattern, key) for key in weights)
    return max((int(match[1]) for match in found if match), default=-1) + 1
