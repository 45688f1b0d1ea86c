"""Names of the transformers' tensors in the authors' checkpoints of MoGenTS and MoMask, both ways.

Text towers are not in these states: entries below ``clip_model.`` are passed over. Tables of positions that are
computed stand in the authors' files as well; they are written, and on reading they are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hftrainer.models.artifact import check_sizes
from hftrainer.models.motion.mogents.masked import MaskedTransformer
from hftrainer.models.motion.mogents.residual import ResidualConfig, ResidualTransformer
from hftrainer.models.motion.mogents.transformer import TransformerConfig

#: Entries that a file may hold and that are not needed.
PASSED_OVER = re.compile(r"clip_model\.")
#: Columns of MoGenTS's spatial tokens.
COLUMNS = 6

_PARTS = (
    (r"enter\.", "input_process.poseEmbedding."),
    (r"text\.", "cond_emb."),
    (r"layer\.", "quant_emb."),
    (r"tokens\.", "token_emb."),
    (r"dense\.", "output_process.dense."),
    (r"norm\.", "output_process.LayerNorm."),
    (r"leave\.", "output_process.poseFinal."),
    (r"first$", "token_embed_weight_"),
    (r"between$", "embed_proj_shared_weight"),
    (r"last$", "output_proj_weight_"),
    (r"inputs$", "token_embed_weight"),
    (r"outputs$", "output_proj_weight"),
    (r"offsets$", "output_proj_bias"),
)
_STAGES = {"layers": "seqTransEncoder", "joint_layers": "seqTransEncoder2", "time_layers": "seqTransEncoder3"}
_LAYER = (
    (r"attention\.project\.", "self_attn.in_proj_"),
    (r"attention\.out\.", "self_attn.out_proj."),
    (r"widen\.", "linear1."),
    (r"narrow\.", "linear2."),
    (r"norms\.0\.", "norm1."),
    (r"norms\.1\.", "norm2."),
)


def their_key(ours: str, columns: int = 1) -> str:
    """The authors' name of one of our tensors.

    >>> their_key("joint_layers.3.attention.project.weight", 6)
    'seqTransEncoder2.layers.3.self_attn.in_proj_weight'
    >>> their_key("places"), their_key("places", 6)
    ('position_enc.pe', 'position2d_enc.pe')
    """
    if ours == "places":
        return "position_enc.pe" if columns == 1 else "position2d_enc.pe"
    layer = re.fullmatch(r"(\w*layers)\.(\d+)\.(.+)", ours)
    if layer:
        return f"{_STAGES[layer[1]]}.layers.{layer[2]}.{_renamed(layer[3], _LAYER)}"
    return _renamed(ours, _PARTS)


def _renamed(ours: str, table: tuple[tuple[str, str], ...]) -> str:
    for pattern, theirs in table:
        named, found = re.subn("^" + pattern, theirs, ours)
        if found:
            return named
    raise KeyError(ours)


def hollow(config: TransformerConfig) -> MaskedTransformer | ResidualTransformer:
    """A network without numbers, to ask for names and shapes; a ``ResidualConfig`` gives a residual transformer."""
    check_sizes(config, "the network")
    with torch.device("meta"):
        return ResidualTransformer(config) if isinstance(config, ResidualConfig) else MaskedTransformer(config)


def keys(config: TransformerConfig) -> dict[str, str]:
    """Our names of a network's tensors, and the authors'; the table of positions among them only where it is learned.

    >>> keys(TransformerConfig(layers=1))["text.weight"]
    'cond_emb.weight'
    """
    return {ours: their_key(ours, config.columns) for ours in hollow(config).state_dict()}


def shapes(config: TransformerConfig) -> dict[str, tuple[int, ...]]:
    """The authors' names of all that stands in their file, and the shapes."""
    network, table = hollow(config), keys(config)
    found = {table[ours]: tuple(value.shape) for ours, value in network.state_dict().items()}
    return {**found, their_key("places", config.columns): tuple(network.places.shape)}


def to_ours(state: Mapping[str, Tensor], config: TransformerConfig) -> dict[str, Tensor]:
    """A state in the authors' names as one in ours; entries that are not needed are left out.

    Raises:
        KeyError: a tensor is missing; ``misfits`` says all that is wrong instead.
    """
    return {ours: state[theirs] for ours, theirs in keys(config).items()}


def to_theirs(state: Mapping[str, Tensor], config: TransformerConfig) -> dict[str, Tensor]:
    """A state in our names as one in the authors', with the table of positions where it is computed, too."""
    found = {theirs: state[ours] for ours, theirs in keys(config).items()}
    name = their_key("places", config.columns)
    if name not in found:
        found[name] = computed_places(config)
    return found


def computed_places(config: TransformerConfig) -> Tensor:
    """The table of positions that networks of a size begin with, or have where it is not learned."""
    small = TransformerConfig(width=config.width, heads=config.heads, columns=config.columns, layers=1, codes=1)
    return MaskedTransformer(small).places


def misfits(state: Mapping[str, Tensor], config: TransformerConfig) -> list[str]:
    """What is wrong with a state in the authors' names: missing and unknown tensors, wrong shapes."""
    want = shapes(config)
    needed = set(keys(config).values())
    problems = [f"missing {name}" for name in needed if name not in state]
    problems += [f"unexpected {name}" for name in state if name not in want and not PASSED_OVER.match(name)]
    problems += [
        f"{name} is {tuple(state[name].shape)}, the network needs {shape}"
        for name, shape in want.items()
        if name in state and tuple(state[name].shape) != shape
    ]
    return sorted(problems)


def _sizes(said: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "width": said.get("latent_dim", 384),
        "layers": said.get("n_layers", 8),
        "heads": said.get("n_heads", 6),
        "feed_forward": said.get("ff_size", 1024),
        "dropout": said.get("dropout", 0.2),
        "text_width": said.get("clip_dim", 512),
        "condition_dropout": said.get("cond_drop_prob", 0.1),
    }


def _stages(said: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "columns": COLUMNS,
        "joint_attention": bool(said.get("attnj", True)),
        "time_attention": bool(said.get("attnt", False)),
    }


def _residual(said: Mapping[str, Any], vq: Mapping[str, Any]) -> dict[str, Any]:
    return {"quantizers": vq.get("num_quantizers", 6), "shared_tables": bool(said.get("share_weight", True))}


def mogents_configs(
    vq: Mapping[str, Any], mask: Mapping[str, Any], residual: Mapping[str, Any]
) -> dict[str, TransformerConfig]:
    """The four transformers that MoGenTS's options describe, by the names of their files.

    A residual transformer runs as it does for a sample alone (``mixing = "sample"``).

    Args:
        vq, mask, residual: groups of ``mogents_config.json``, or the options of the three ``opt.txt``; what they lack
            is as released. The sizes of the vocabularies come from ``vq``.

    >>> configs = mogents_configs({}, {"attnj": True, "attnt": True}, {"attnj": True, "attnt": True})
    >>> sorted(configs), configs["mask_ts"].time_sees_text, configs["res_ts"].codes
    (['mask_aux', 'mask_ts', 'res_aux', 'res_ts'], False, 256)
    """
    poses = {"codes": vq.get("nb_code1d", 512), "code_width": vq.get("code_dim1d", 512), "learned_positions": True}
    joints = {"codes": vq.get("nb_code2d", 256), "code_width": vq.get("code_dim2d", 1024)}
    stages = _stages(mask)
    residual = {"cond_drop_prob": 0.01, **residual}
    blind = stages["joint_attention"] and stages["time_attention"]  # the authors mask the text in passing
    layers = _residual(residual, vq)
    return {
        "mask_aux": TransformerConfig(**_sizes(mask), **poses),
        "mask_ts": TransformerConfig(**_sizes(mask), **joints, **stages, time_sees_text=not blind),
        "res_aux": ResidualConfig(**_sizes(residual), **poses, **layers),
        "res_ts": ResidualConfig(**_sizes(residual), **joints, **_stages(residual), **layers, mixing="sample"),
    }


def momask_configs(
    vq: Mapping[str, Any], mask: Mapping[str, Any], residual: Mapping[str, Any]
) -> dict[str, TransformerConfig]:
    """The two transformers that MoMask's options describe, by the names of their files (without ``_trans``).

    >>> sorted(momask_configs({}, {}, {}))
    ['res', 't2m']
    """
    codes = {"codes": vq.get("nb_code", 512), "code_width": vq.get("code_dim", 512)}
    residual = {"cond_drop_prob": 0.2, **residual}
    return {
        "t2m": TransformerConfig(**_sizes(mask), **codes),
        "res": ResidualConfig(**_sizes(residual), **codes, **_residual(residual, vq)),
    }
