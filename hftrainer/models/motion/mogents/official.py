"""What the authors of MoMask and MoGenTS call things: files, parts, networks and options of each family.

How a network's tensors and options are named stands in ``official_tokenizer.py`` and ``official_transformers.py``;
here the two come together, so that one door serves both families and every network in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from torch import Tensor

from hftrainer.models.artifact import unfilled
from hftrainer.models.motion.mdm.network import position_table
from hftrainer.models.motion.mogents import official_tokenizer, official_transformers
from hftrainer.models.motion.mogents.length import LengthConfig, LengthEstimator
from hftrainer.models.motion.mogents.masked import MaskedTransformer
from hftrainer.models.motion.mogents.residual import ResidualTransformer
from hftrainer.models.motion.mogents.tokenizer import MoGenTSTokenizer, MoGenTSTokenizerConfig
from hftrainer.models.motion.mogents.transformer import GRID, PLACES, TransformerConfig, grid_table
from hftrainer.models.motion.momask.tokenizer import MoMaskTokenizer, MoMaskTokenizerConfig

#: Data sets by the names that the two families give them.
REPRESENTATIONS = {"humanml3d": "hml263", "t2m": "hml263", "kit": "kit251"}

Network = MoGenTSTokenizer | MoMaskTokenizer | MaskedTransformer | ResidualTransformer | LengthEstimator


@dataclass(frozen=True)
class Part:
    """One folder of a release.

    Attributes:
        name: ``vq``, ``mask``, ``res`` or ``length``.
        folders: its released name for each data set.
        files: what its weights may be called, in the order in which they are looked for.
        networks: our names of the networks in it, each with the entries of the file that may hold it.
    """

    name: str
    folders: Mapping[str, str]
    files: tuple[str, ...]
    networks: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Family:
    """One model as its authors released it.

    Attributes:
        name, title: ``mogents`` and MoGenTS, or ``momask`` and MoMask.
        datasets: names of the folders, HumanML3D's first.
        parts: of a release.
        groups: groups of the configuration: each with its part, and with what the released sizes are.
        format: what an artifact's configuration calls its layout.
    """

    name: str
    title: str
    datasets: tuple[str, str]
    parts: tuple[Part, ...]
    groups: Mapping[str, tuple[str, Mapping[str, Any]]]
    format: str

    @property
    def networks(self) -> tuple[str, ...]:
        """Our names of all networks, the length estimator's last; files of an artifact have these names."""
        return tuple(name for part in self.parts for name in part.networks)


_BOTH_VQ: dict[str, Any] = {
    "down_t": 2, "stride_t": 2, "width": 512, "depth": 3, "dilation_growth_rate": 3, "vq_act": "relu", "vq_norm": None,
    "num_quantizers": 6, "shared_codebook": False, "quantize_dropout_prob": 0.2, "mu": 0.99,
}  # fmt: skip
_BOTH_TRANSFORMERS: dict[str, Any] = {
    "latent_dim": 384, "ff_size": 1024, "n_layers": 8, "n_heads": 6, "dropout": 0.2, "cond_drop_prob": 0.1,
    "clip_dim": 512,
}  # fmt: skip
_GRID = {"attnj": True, "attnt": True}
_LENGTH = {"input_size": 512, "output_size": 50}
#: Options that an ``opt.txt`` may lack, with what the authors' programs then take; the others it must have.
MAY_LACK: dict[str, Any] = {
    "stride_t": 2, "vq_act": "relu", "vq_norm": None, "shared_codebook": False, "quantize_dropout_prob": 0.2,
    "mu": 0.99, "dropout": 0.2, "cond_drop_prob": 0.1, "clip_dim": 512, "attnt": False, "share_weight": False,
}  # fmt: skip

MOGENTS = Family(
    "mogents",
    "MoGenTS",
    ("humanml3d", "kit"),
    (
        Part("vq", {"humanml3d": "pretrain_vq", "kit": "pretrain_vq_kit"}, ("net_best_fid.tar", "latest.tar"),
             {"vq": ("vq_model", "net")}),
        Part("mask", {"humanml3d": "pretrain_mtrans", "kit": "pretrain_mtrans_kit"},
             ("net_best_fid.tar", "net_best_acc.tar", "latest.tar"),
             {"mask_aux": ("t2m_transformer_aux", "mask_transformer_aux"),
              "mask_ts": ("t2m_transformer_ts", "mask_transformer_ts")}),
        Part("res", {"humanml3d": "pretrain_rtrans", "kit": "pretrain_rtrans_kit"},
             ("net_best_fid.tar", "latest.tar"),
             {"res_aux": ("res_transformer_aux",), "res_ts": ("res_transformer_ts",)}),
        Part("length", {}, ("finest.tar",), {"length_est": ("estimator",)}),
    ),
    {
        "vq": ("vq", {"dataset_name": "humanml3d", "code_dim1d": 512, "nb_code1d": 512, "code_dim2d": 1024,
                      "nb_code2d": 256, **_BOTH_VQ}),
        "mask": ("mask", {**_BOTH_TRANSFORMERS, **_GRID}),
        "res": ("res", {**_BOTH_TRANSFORMERS, "cond_drop_prob": 0.01, **_GRID, "share_weight": True}),
        "length": ("length", _LENGTH),
    },
    "hftrainer-mogents-v1",
)  # fmt: skip

_RVQ, _T2M, _TRES = (
    "rvq_nq6_dc512_nc512_noshare_qdp0.2",
    "t2m_nlayer8_nhead6_ld384_ff1024_cdp0.1_rvq6ns",
    "tres_nlayer8_ld384_ff1024_rvq6ns_cdp0.2_sw",
)
MOMASK = Family(
    "momask",
    "MoMask",
    ("t2m", "kit"),
    (
        Part("vq", {"t2m": _RVQ, "kit": f"{_RVQ}_k"}, ("net_best_fid.tar", "latest.tar"), {"vq": ("vq_model", "net")}),
        Part("mask", {"t2m": _T2M, "kit": f"{_T2M}_k"}, ("latest.tar", "net_best_fid.tar", "net_best_loss.tar"),
             {"t2m_trans": ("t2m_transformer", "trans")}),
        Part("res", {"t2m": _TRES, "kit": f"{_TRES}_k"}, ("net_best_fid.tar", "net_best_loss.tar", "latest.tar"),
             {"res_trans": ("res_transformer",)}),
        Part("length", {}, ("finest.tar",), {"length_est": ("estimator",)}),
    ),
    {
        "vq": ("vq", {"dataset_name": "t2m", "nb_code": 512, "code_dim": 512, "output_emb_width": 512, **_BOTH_VQ}),
        "t2m": ("mask", _BOTH_TRANSFORMERS),
        "res": ("res", {**_BOTH_TRANSFORMERS, "cond_drop_prob": 0.2, "share_weight": True}),
        "length": ("length", _LENGTH),
    },
    "motius-momask-v1",
)  # fmt: skip


def config_from_options(
    family: Family, options: Mapping[str, Mapping[str, Any]], problems: list[str]
) -> dict[str, dict[str, Any]] | None:
    """The groups of a configuration from the ``opt.txt`` of each part; options that concern no network are left out.

    Args:
        family: whose.
        options: the parsed files of the parts.
        problems: gets a sentence for each option that is absent or of a wrong type.

    Returns:
        The groups; ``None`` where something is wrong.
    """
    before = len(problems)
    config: dict[str, dict[str, Any]] = {}
    for group, (part, usual) in family.groups.items():
        if part == "length":
            config[group] = dict(usual)
            continue
        said = options.get(part) or {}
        config[group] = {}
        for name, value in usual.items():
            given = said.get(name, MAY_LACK.get(name, said))
            if name == "dataset_name":
                given = said.get(name, value)
            elif name == "output_emb_width":
                given = said.get(name, said.get("code_dim", said))
            if given is said:
                if said:
                    problems.append(f"opt.txt of {part} must say {name}; it does not")
                continue
            config[group][name] = None if given == "None" else given
        problems += [f"opt.txt of {part}: {wrong}" for wrong in _wrong_types(config[group], usual)]
    complete = all(options.get(part) for part, _ in family.groups.values() if part != "length")
    return config if complete and len(problems) == before else None


def config_from_artifact(family: Family, said: Mapping[str, Any], dataset: str) -> dict[str, dict[str, Any]]:
    """The groups of an artifact's configuration; what it does not say is as in the released models.

    Raises:
        ValueError: unknown groups or fields, or values of a wrong type; all of them are listed.
    """
    problems = [f"unknown group {group}" for group in said if group not in (*family.groups, "network")]
    config: dict[str, dict[str, Any]] = {}
    ours = said.get("network", {})
    if isinstance(ours, Mapping) and all(name in family.networks and isinstance(ours[name], Mapping) for name in ours):
        config["network"] = {name: dict(fields) for name, fields in ours.items()}
    else:
        problems.append(f"network must say fields of {', '.join(family.networks)}; got {ours!r}")
    for group, (_, usual) in family.groups.items():
        given = said.get(group, {})
        if not isinstance(given, Mapping):
            problems.append(f"{group} must be an object; got {type(given).__name__}")
            continue
        problems += [f"unknown field {name} in {group}" for name in given if name not in usual]
        problems += [f"{group}: {wrong}" for wrong in _wrong_types(given, usual)]
        config[group] = {**usual, **given}
        if group == "vq" and "dataset_name" not in given:
            config[group]["dataset_name"] = dataset
    if problems:
        raise ValueError("; ".join(problems))
    return config


def _wrong_types(given: Mapping[str, Any], usual: Mapping[str, Any]) -> list[str]:
    wrong = []
    for name, value in given.items():
        if name not in usual:
            continue
        like = usual[name]
        fits = (
            value is None or isinstance(value, str)
            if like is None
            else type(value) in (int, float)
            if isinstance(like, float)
            else type(value) is type(like)
        )
        if not fits:
            wrong.append(f"{name} must be like {like!r}; got {value!r}")
    return wrong


# ------------------------------------------------------------------------------------------------- one network of all


def length_keys(config: LengthConfig) -> dict[str, str]:
    """Our names of the length estimator's tensors, and the authors'.

    >>> length_keys(LengthConfig())["layers.11.bias"]
    'output.11.bias'
    """
    with unfilled():
        names = LengthEstimator(config).state_dict()
    return {ours: "output" + ours.removeprefix("layers") for ours in names}


def network_config(family: Family, name: str, config: Mapping[str, Mapping[str, Any]]) -> Any:
    """Sizes of one network, in our names.

    Args:
        family: whose.
        name: one of ``family.networks``.
        config: the groups of a configuration; ``network`` among them says what the authors' options have no name for,
            network by network, in our names.

    Raises:
        ValueError: sizes that no network can have.

    >>> released = {group: usual for group, (_, usual) in MOMASK.groups.items()}
    >>> network_config(MOMASK, "length_est", released).lengths
    50
    """
    told = _told_config(family, name, config)
    ours = config.get("network", {}).get(name, {})
    unknown = sorted(set(ours) - {field.name for field in fields(told)})
    if unknown:
        raise ValueError(f"network.{name} must have fields of {type(told).__name__}; got {', '.join(unknown)}.")
    return replace(told, **ours)


def _told_config(family: Family, name: str, config: Mapping[str, Mapping[str, Any]]) -> Any:
    """What the authors' options say of a network."""
    if name == "vq":
        kind = MoGenTSTokenizerConfig if family is MOGENTS else MoMaskTokenizerConfig
        return official_tokenizer.config_from_options(kind, config["vq"])
    if name == "length_est":
        return LengthConfig(config["length"]["input_size"], config["length"]["output_size"])
    if family is MOGENTS:
        return official_transformers.mogents_configs(config["vq"], config["mask"], config["res"])[name]
    found = official_transformers.momask_configs(config["vq"], config["t2m"], config["res"])
    return found[name.removesuffix("_trans")]


def misfits(
    family: Family, name: str, state: Mapping[str, Tensor], config: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """What is wrong with a state in the authors' names: missing and unknown tensors, wrong shapes."""
    try:
        sizes = network_config(family, name, config)
    except ValueError as error:
        return [str(error).rstrip(".")]
    if isinstance(sizes, LengthConfig):
        table, network = length_keys(sizes), _hollow(sizes).state_dict()
        problems = [f"missing {theirs}" for theirs in table.values() if theirs not in state]
        problems += [f"unexpected {theirs}" for theirs in state if theirs not in table.values()]
        problems += [
            f"{theirs} is {tuple(state[theirs].shape)}, the network needs {tuple(network[ours].shape)}"
            for ours, theirs in table.items()
            if theirs in state and state[theirs].shape != network[ours].shape
        ]
        return problems
    if isinstance(sizes, MoGenTSTokenizerConfig | MoMaskTokenizerConfig):
        return official_tokenizer.misfits(state, sizes)
    return official_transformers.misfits(state, sizes)


def _hollow(config: Any) -> Network:
    if isinstance(config, LengthConfig):
        with unfilled():
            return LengthEstimator(config)
    if isinstance(config, MoGenTSTokenizerConfig | MoMaskTokenizerConfig):
        return official_tokenizer.hollow(config)
    return official_transformers.hollow(config)


def filled(
    family: Family, name: str, state: Mapping[str, Tensor], config: Mapping[str, Mapping[str, Any]]
) -> Network:
    """A network with the weights of a state in the authors' names, in eval mode.

    Raises:
        KeyError: a tensor is missing; ``misfits`` says all that is wrong instead.
    """
    sizes = network_config(family, name, config)
    network = _hollow(sizes)
    if isinstance(sizes, LengthConfig):
        ours = {mine: state[theirs] for mine, theirs in length_keys(sizes).items()}
    elif isinstance(sizes, MoGenTSTokenizerConfig | MoMaskTokenizerConfig):
        ours = official_tokenizer.to_ours(state, sizes)
    else:
        ours = official_transformers.to_ours(state, sizes)
    network.load_state_dict(ours, assign=True)
    if isinstance(network, MaskedTransformer | ResidualTransformer) and network.places.is_meta:
        network.places = _places(network.config)
    return network.eval()


def _places(config: TransformerConfig) -> Tensor:
    """The table of positions of a network that computes it and was made without numbers."""
    return grid_table(*GRID, config.width) if config.columns > 1 else position_table(PLACES, config.width)


def other_tables(
    family: Family, name: str, state: Mapping[str, Tensor], config: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """Tables of positions that are computed here and that a file has other numbers in."""
    sizes = network_config(family, name, config)
    key = "" if not isinstance(sizes, TransformerConfig) else official_transformers.their_key("places", sizes.columns)
    if key not in state or key in official_transformers.keys(sizes).values():
        return []
    apart = float((state[key].float() - _places(sizes)).abs().max())
    return [] if apart < 1e-4 else [f"{key} must be sines and cosines; it is up to {apart:.2g} away from them"]


def their_state(network: Network) -> dict[str, Tensor]:
    """A network's tensors in the authors' names, computed tables of positions among them."""
    state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    if isinstance(network, LengthEstimator):
        return {theirs: state[ours] for ours, theirs in length_keys(network.config).items()}
    if isinstance(network, MoGenTSTokenizer | MoMaskTokenizer):
        return official_tokenizer.to_theirs(state, network.config)
    return official_transformers.to_theirs(state, network.config)


def computed(network: Network) -> tuple[str, ...]:
    """The authors' names of tables in a network's state that follow from its sizes."""
    if not isinstance(network, MaskedTransformer | ResidualTransformer):
        return ()
    name = official_transformers.their_key("places", network.config.columns)
    return () if name in official_transformers.keys(network.config).values() else (name,)


def groups(family: Family, networks: Mapping[str, Network]) -> dict[str, dict[str, Any]]:
    """The groups of a configuration that describe some networks; the other way of ``network_config``.

    What the authors' options cannot tell stands in ``network``, which is left out where there is nothing of it.
    """
    config: dict[str, dict[str, Any]] = {}
    for name, network in networks.items():
        if isinstance(network, MoGenTSTokenizer | MoMaskTokenizer):
            config["vq"] = official_tokenizer.options_from_config(network.config)
        elif isinstance(network, LengthEstimator):
            config["length"] = {"input_size": network.config.text_width, "output_size": network.config.lengths}
        else:
            group = _GROUP_OF[name]
            config[group] = config.get(group, {}) | _transformer_group(family, network)
    ours: dict[str, dict[str, Any]] = {}
    for name, network in networks.items():
        told, mine = _told_config(family, name, config), network.config
        differ = [f.name for f in fields(told) if getattr(told, f.name) != getattr(mine, f.name)]
        if differ:
            ours[name] = {field: getattr(mine, field) for field in differ}
    return {**config, "network": ours} if ours else config


#: The group that describes a transformer.
_GROUP_OF = {"mask_aux": "mask", "mask_ts": "mask", "res_aux": "res", "res_ts": "res", "t2m_trans": "t2m",
             "res_trans": "res"}  # fmt: skip


def _transformer_group(family: Family, network: MaskedTransformer | ResidualTransformer) -> dict[str, Any]:
    sizes = network.config
    said: dict[str, Any] = {
        "latent_dim": sizes.width, "ff_size": sizes.feed_forward, "n_layers": sizes.layers, "n_heads": sizes.heads,
        "dropout": sizes.dropout, "cond_drop_prob": sizes.condition_dropout, "clip_dim": sizes.text_width,
    }  # fmt: skip
    if family is MOGENTS and sizes.columns > 1:
        said |= {"attnj": sizes.joint_attention, "attnt": sizes.time_attention}
    if isinstance(network, ResidualTransformer):
        said["share_weight"] = network.config.shared_tables
    return said
