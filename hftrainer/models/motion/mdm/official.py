"""MDM's names: of the tensors in the authors' checkpoints, and of the options in their ``args.json``.

A checkpoint is a flat state, or ``{"model", "model_avg"}`` where averages were kept. It never holds the text tower, and
its tables of positions are not read: they are computed, and old files have other numbers of rows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hftrainer.models.artifact import check_sizes
from hftrainer.models.motion.mdm.config import MDMConfig
from hftrainer.models.motion.mdm.network import MDM

#: Entries that a file may hold and that are not needed.
PASSED_OVER = re.compile(r"clip_model\.|(.*\.)?sequence_pos_encoder\.")
#: What the authors call the text towers.
TOWERS = {"clip": "clip", "distilbert": "bert"}
#: Sizes of what the towers give.
TEXT_WIDTHS = {"clip": 512, "distilbert": 768}
#: Joints, numbers a joint, and actions of the data sets that the authors know.
DATASETS = {"humanml": (263, 1, 1), "kit": (251, 1, 1), "humanact12": (25, 6, 12), "uestc": (25, 6, 40)}
#: Options that decide about the network, with what they are where a file does not say.
ARGUMENTS: dict[str, Any] = {
    "dataset": "humanml",
    "arch": "trans_enc",
    "latent_dim": 512,
    "layers": 8,
    "cond_mask_prob": 0.1,
    "emb_trans_dec": False,
    "noise_schedule": "cosine",
    "diffusion_steps": 1000,
    "sigma_small": True,
    "text_encoder_type": "clip",
    "pos_embed_max_len": 5000,
    "mask_frames": False,
    "pred_len": 0,
    "context_len": 0,
    "multi_target_cond": False,
    "multi_encoder_type": "single",
    "target_enc_layers": 1,
    "lambda_vel": 0.0,
    "lambda_rcxyz": 0.0,
    "lambda_fc": 0.0,
    "lambda_target_loc": 0.0,
    "unconstrained": False,
    "use_ema": False,
}

_STACKS = {"trans_enc": "seqTransEncoder", "trans_dec": "seqTransDecoder"}
_PARTS = (
    (r"enter\.", "input_process.poseEmbedding."),
    (r"enter_rest\.", "input_process.velEmbedding."),
    (r"leave\.", "output_process.poseFinal."),
    (r"leave_rest\.", "output_process.velFinal."),
    (r"time\.", "embed_timestep.time_embed."),
    (r"text\.", "embed_text."),
    (r"action$", "embed_action.action_embedding"),
    (r"target\.all\.", "embed_target_cond.mlp."),
    (r"target\.rows\.", "embed_target_cond.mini_mlps."),
    (r"target\.by_goal\.", "embed_target_cond.target_loc_emb."),
    (r"target\.weights$", "embed_target_cond.target_all_loc_emb.weights"),
    (r"layers\.(\d+)\.attention\.project\.", r"{stack}.layers.\1.self_attn.in_proj_"),
    (r"layers\.(\d+)\.attention\.out\.", r"{stack}.layers.\1.self_attn.out_proj."),
    (r"layers\.(\d+)\.memory\.project\.", r"{stack}.layers.\1.multihead_attn.in_proj_"),
    (r"layers\.(\d+)\.memory\.out\.", r"{stack}.layers.\1.multihead_attn.out_proj."),
    (r"layers\.(\d+)\.widen\.", r"{stack}.layers.\1.linear1."),
    (r"layers\.(\d+)\.narrow\.", r"{stack}.layers.\1.linear2."),
)


def their_key(ours: str, architecture: str = "trans_enc") -> str:
    """The authors' name of one of our tensors.

    >>> their_key("layers.3.attention.project.weight")
    'seqTransEncoder.layers.3.self_attn.in_proj_weight'
    >>> their_key("layers.0.norms.2.bias", "trans_dec")
    'seqTransDecoder.layers.0.norm3.bias'
    """
    stack = _STACKS.get(architecture, "")
    norm = re.fullmatch(r"layers\.(\d+)\.norms\.(\d+)\.(\w+)", ours)
    if norm:
        return f"{stack}.layers.{norm[1]}.norm{int(norm[2]) + 1}.{norm[3]}"
    for pattern, theirs in _PARTS:
        named, found = re.subn("^" + pattern, theirs.format(stack=stack), ours)
        if found:
            return named
    return ours  # the recurrent network keeps torch's own names, as theirs does


def hollow(config: MDMConfig) -> MDM:
    """A network without numbers, to ask for names and shapes."""
    check_sizes(config, "the network")
    with torch.device("meta"):
        return MDM(config)


def keys(config: MDMConfig) -> dict[str, str]:
    """Our names of a network's tensors, and the authors'.

    >>> keys(MDMConfig(layers=1))["enter.weight"]
    'input_process.poseEmbedding.weight'
    """
    return {ours: their_key(ours, config.architecture) for ours in hollow(config).state_dict()}


def to_ours(state: Mapping[str, Tensor], config: MDMConfig) -> dict[str, Tensor]:
    """A state in the authors' names as one in ours; entries that are not needed are left out.

    Raises:
        KeyError: a tensor is missing; ``release.read_release`` says all that is wrong instead.
    """
    return {ours: state[theirs] for ours, theirs in keys(config).items()}


def to_theirs(state: Mapping[str, Tensor], config: MDMConfig) -> dict[str, Tensor]:
    """A state in our names as one in the authors', without tables of positions."""
    return {theirs: state[ours] for ours, theirs in keys(config).items()}


def misfits(state: Mapping[str, Tensor], config: MDMConfig) -> list[str]:
    """What is wrong with a state in the authors' names: missing and unknown tensors, wrong shapes."""
    network = hollow(config).state_dict()
    table = keys(config)
    problems = [f"missing {theirs}" for theirs in table.values() if theirs not in state]
    known = set(table.values())
    problems += [f"unexpected {theirs}" for theirs in state if theirs not in known and not PASSED_OVER.match(theirs)]
    problems += [
        f"{theirs} is {tuple(state[theirs].shape)}, the network needs {tuple(network[ours].shape)}"
        for ours, theirs in table.items()
        if theirs in state and state[theirs].shape != network[ours].shape
    ]
    return problems


def config_from_arguments(said: Mapping[str, Any], **ours: Any) -> MDMConfig:
    """The network that a set of options describes; options that do not concern it are passed over.

    Options that a file lacks are what the authors' parser takes: files of 2022 say nothing of text towers, masks and
    targets. The recurrent network runs over the batch, as it was trained.

    Args:
        said: ``args.json``, or the ``config`` of an ``mdm_config.json``.
        ours: fields of ``MDMConfig`` that the authors' options have no name for.

    Raises:
        ValueError: options of a network that was never released, or impossible sizes.

    >>> config_from_arguments({"cond_mode": "no_cond", "dataset": "humanact12"}).condition
    'none'
    >>> config_from_arguments({"arch": "trans_dec", "context_len": 20}).predicted_frames
    20
    """
    args = {**ARGUMENTS, **{name: value for name, value in said.items() if name in ARGUMENTS}}
    unconstrained = said["cond_mode"] in ("no_cond", "none") if "cond_mode" in said else args["unconstrained"]
    if said.get("emb_policy", "add") != "add":
        raise ValueError(f"emb_policy must be add; got {said['emb_policy']!r}. No released model has another.")
    for name, allowed in (("dataset", tuple(DATASETS)), ("text_encoder_type", tuple(TOWERS.values()))):
        if args[name] not in allowed and not (name == "text_encoder_type" and "text_encoder" in ours):
            raise ValueError(f"{name} must be one of {', '.join(allowed)}; got {args[name]!r}.")
    joints, features, actions = DATASETS[args["dataset"]]
    text = args["dataset"] in ("humanml", "kit")
    towers = {theirs: mine for mine, theirs in TOWERS.items()}
    tower = towers.get(args["text_encoder_type"], args["text_encoder_type"])
    targets = args["multi_target_cond"] or args["lambda_target_loc"] > 0
    fields: dict[str, Any] = {
        "architecture": args["arch"],
        "joints": joints,
        "features": features,
        "width": args["latent_dim"],
        "layers": args["layers"],
        "condition": "none" if unconstrained else "text" if text else "action",
        "text_encoder": tower,
        "text_width": TEXT_WIDTHS.get(tower, 512),
        "actions": actions,
        "condition_dropout": args["cond_mask_prob"],
        "time_token": args["emb_trans_dec"],
        "mask_frames": args["mask_frames"],
        "positions": args["pos_embed_max_len"],
        "context_frames": args["context_len"],
        "predicted_frames": args["pred_len"] or args["context_len"],
        "target_encoder": args["multi_encoder_type"] if targets else None,
        "target_layers": args["target_enc_layers"],
        "noise_schedule": args["noise_schedule"],
        "steps": args["diffusion_steps"],
        "small_sigma": args["sigma_small"],
        "recur_over_batch": args["arch"] == "gru",
    }
    return MDMConfig(**(fields | ours))


def arguments_from_config(config: MDMConfig, dataset: str) -> dict[str, Any]:
    """The ``config`` of an ``mdm_config.json``: the options that describe a network, by the authors' names.

    >>> arguments_from_config(MDMConfig(steps=50), "humanml")["diffusion_steps"]
    50
    """
    return {
        "dataset": dataset,
        "arch": config.architecture,
        "latent_dim": config.width,
        "layers": config.layers,
        "cond_mode": {"none": "no_cond"}.get(config.condition, config.condition),
        "cond_mask_prob": config.condition_dropout,
        "emb_trans_dec": config.time_token,
        "noise_schedule": config.noise_schedule,
        "diffusion_steps": config.steps,
        "sigma_small": config.small_sigma,
        "text_encoder_type": TOWERS.get(config.text_encoder, config.text_encoder),
        "pos_embed_max_len": config.positions,
        "mask_frames": config.mask_frames,
        "emb_policy": "add",
        "pred_len": config.predicted_frames,
        "context_len": config.context_frames,
        "multi_target_cond": config.target_encoder is not None,
        "multi_encoder_type": config.target_encoder or "single",
        "target_enc_layers": config.target_layers,
        "lambda_vel": 0.0,
        "lambda_rcxyz": 0.0,
        "lambda_fc": 0.0,
        "unconstrained": config.condition == "none",
    }
