"""The door for the authors' motion tokenizers, MoGenTS' and MoMask's: their names of options and tensors, both ways."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hftrainer.models.artifact import check_sizes, unfilled
from hftrainer.models.motion.mogents.tokenizer import MoGenTSTokenizer, MoGenTSTokenizerConfig
from hftrainer.models.motion.momask.tokenizer import MoMaskTokenizer, MoMaskTokenizerConfig
from hftrainer.models.motion.motiongpt.official import convolution_keys
from hftrainer.models.residual_quantize import training_only

TokenizerConfig = MoGenTSTokenizerConfig | MoMaskTokenizerConfig
Tokenizer = MoGenTSTokenizer | MoMaskTokenizer

#: Their names of datasets, and numbers per frame.
FEATURES = {"humanml3d": 263, "t2m": 263, "kit": 251}
#: Theirs to ours; ``None`` in an ``opt.txt`` is a word.
NORMS = {None: None, "None": None, "none": None, "LN": "layer", "GN": "group", "BN": "batch"}
#: Our fields and their options that both tokenizers have. ``width2d`` is ours alone, in their manner of naming.
_BOTH = {
    "layers": "num_quantizers", "width": "width", "depth": "depth", "down": "down_t",
    "dilation_growth": "dilation_growth_rate", "activation": "vq_act", "shared_codebook": "shared_codebook",
    "layer_dropout": "quantize_dropout_prob", "decay": "mu",
}  # fmt: skip
OPTIONS: dict[type, dict[str, str]] = {
    MoGenTSTokenizerConfig: _BOTH | {
        "aux_codes": "nb_code1d", "aux_width": "code_dim1d", "grid_codes": "nb_code2d", "grid_width": "code_dim2d",
        "grid_inner": "width2d",
    },
    MoMaskTokenizerConfig: _BOTH | {"codes": "nb_code", "code_width": "code_dim"},
}  # fmt: skip


def config_from_options(
    kind: type[MoGenTSTokenizerConfig] | type[MoMaskTokenizerConfig],
    options: Mapping[str, Any],
    features: int | None = None,
) -> Any:
    """The tokenizer that a set of their options describes; options that do not concern it are passed over.

    Args:
        kind: whose tokenizer.
        options: an ``opt.txt`` or the ``vq`` group of a configuration; what is absent is as released.
        features: numbers per frame; by default those of the ``dataset_name``, HumanML3D's where there is none.

    Returns:
        A ``kind``.

    Raises:
        ValueError: another dataset, a stride that is not 2, codes that are not as wide as the encoder's output, or
            sizes that ``kind`` refuses.

    >>> config_from_options(MoGenTSTokenizerConfig, {"dataset_name": "kit", "nb_code2d": 128}).grid_codes
    128
    """
    name = options.get("dataset_name", "humanml3d")
    if features is None and name not in FEATURES:
        raise ValueError(f"dataset_name must be one of {', '.join(FEATURES)}; got {name!r}.")
    if options.get("stride_t", 2) != 2:
        raise ValueError(f"stride_t must be 2, as the decoder doubles the length; got {options['stride_t']}.")
    wide = options.get("output_emb_width", options.get("code_dim"))
    if kind is MoMaskTokenizerConfig and wide != options.get("code_dim", wide):
        raise ValueError(f"output_emb_width must be code_dim, {options['code_dim']}; got {wide}.")
    if options.get("vq_norm") not in NORMS:
        raise ValueError(f"vq_norm must be None, LN, GN or BN; got {options['vq_norm']!r}.")
    fields = {ours: options[theirs] for ours, theirs in OPTIONS[kind].items() if theirs in options}
    return kind(features=features or FEATURES[name], norm=NORMS[options.get("vq_norm")], **fields)


def options_from_config(config: TokenizerConfig) -> dict[str, Any]:
    """The ``vq`` group of a configuration in their names; the other way of ``config_from_options``.

    >>> config = MoMaskTokenizerConfig(features=251, norm="group")
    >>> config_from_options(MoMaskTokenizerConfig, options_from_config(config)) == config
    True
    """
    humanml3d = "humanml3d" if isinstance(config, MoGenTSTokenizerConfig) else "t2m"
    names = {263: humanml3d, 251: "kit"}
    norms = {ours: theirs for theirs, ours in NORMS.items() if theirs not in ("None", "none")}
    said = {theirs: getattr(config, ours) for ours, theirs in OPTIONS[type(config)].items()}
    said = {theirs: value for theirs, value in said.items() if value is not None}
    more = {"output_emb_width": config.code_width} if isinstance(config, MoMaskTokenizerConfig) else {}
    return {"dataset_name": names.get(config.features), "stride_t": 2, "vq_norm": norms[config.norm], **said, **more}


def keys(config: TokenizerConfig) -> dict[str, str]:
    """Their name of each tensor -> ours. Several of theirs are one of ours where layers share a codebook.

    >>> keys(MoMaskTokenizerConfig())["quantizer.layers.5.codebook"]
    'quantizer.layers.5.codebook'
    >>> keys(MoGenTSTokenizerConfig(shared_codebook=True))["quantizer2d.layers.5.codebook"]
    'grid_quantizer.layers.0.codebook'
    """
    if isinstance(config, MoMaskTokenizerConfig):
        table = {theirs: ours for ours, theirs in convolution_keys(config.levels).items()}
        quantizers = {"quantizer": "quantizer"}
    else:
        table = {f"{theirs}.{end}": f"{ours}.{end}"
                 for theirs, ours in (("linear_merge", "mix"), ("linear_out", "join"))
                 for end in ("weight", "bias")}  # fmt: skip
        for stream, number, levels in (("aux", "1d", config.levels), ("grid", "2d", config.grid_levels)):
            for ours, theirs in convolution_keys(levels).items():
                coder, _, rest = theirs.partition(".")
                table[f"{coder}{number}.{rest}"] = f"{stream}_{ours}"
        quantizers = {"quantizer1d": "aux_quantizer", "quantizer2d": "grid_quantizer"}
    for theirs, ours in quantizers.items():
        for layer in range(config.layers):
            stored = 0 if config.shared_codebook else layer
            table[f"{theirs}.layers.{layer}.codebook"] = f"{ours}.layers.{stored}.codebook"
    return table


def hollow(config: TokenizerConfig) -> Tokenizer:
    """A network without numbers, to ask for names and shapes, or to be filled with ``assign=True``."""
    check_sizes(config, "the tokenizer")
    with unfilled():
        return MoMaskTokenizer(config) if isinstance(config, MoMaskTokenizerConfig) else MoGenTSTokenizer(config)


def misfits(state: Mapping[str, Tensor], config: TokenizerConfig) -> list[str]:
    """What is wrong with a state in their names: missing and unknown tensors, wrong shapes; nothing if it fits."""
    network, table = hollow(config).state_dict(), keys(config)
    problems = [f"missing {theirs}" for theirs in table if theirs not in state]
    problems += [f"unexpected {theirs}" for theirs in state if theirs not in table]
    problems += [
        f"{theirs} is {tuple(state[theirs].shape)}, the network needs {tuple(network[ours].shape)}"
        for theirs, ours in table.items()
        if theirs in state and state[theirs].shape != network[ours].shape
    ]
    return problems


def to_ours(state: Mapping[str, Tensor], config: TokenizerConfig) -> dict[str, Tensor]:
    """A state in their names as a whole one in ours.

    Their files lack the moving averages of codes, which begin as if each code had been hit once; the codes count as
    begun, so that training goes on with them. Of a shared codebook the highest layer's is taken, as theirs does.

    Raises:
        KeyError: a tensor is missing; ``misfits`` says all that is wrong.
    """
    found = {ours: state[theirs] for theirs, ours in keys(config).items()}  # later layers win
    for name in training_only(hollow(config)):
        layer, _, kind = name.rpartition(".")
        codes = found[f"{layer}.codebook"]
        begun = {"code_count": torch.ones(len(codes)), "started": torch.tensor(True)}
        found[name] = begun[kind] if kind in begun else codes.clone()
    return found


def to_theirs(state: Mapping[str, Tensor], config: TokenizerConfig) -> dict[str, Tensor]:
    """A state in our names as one in theirs; a shared codebook is repeated, each a tensor of its own."""
    seen: set[str] = set()
    found = {}
    for theirs, ours in keys(config).items():
        found[theirs] = state[ours].clone() if ours in seen else state[ours]
        seen.add(ours)
    return found
