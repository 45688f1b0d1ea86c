"""The authors' files of MDM: checkpoint, options and statistics, read and checked against one another.

A checkpoint is ``model000475000.pt`` or the like; its options lie beside it in ``args.json``. The statistics are those
of the data set that it was trained on, ``Mean.npy`` and ``Std.npy``. The file is one of these:

| layout | what is taken |
|---|---|
| flat | the tensors themselves |
| ``{"model", "model_avg"}`` | the averages if ``args.json`` says ``use_ema``, else ``model`` |

Nothing is taken unless all of it is right; what is wrong is listed in one message.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from hftrainer.errors import ArtifactError
from hftrainer.models.artifact import file_hash, read_torch_file
from hftrainer.models.motion.mdm import official
from hftrainer.models.motion.mdm.config import MDMConfig
from hftrainer.models.motion.motiongpt.release import Pair, read_pair
from hftrainer.motion.representation.specs import get_spec

#: What the data sets' frames are called here; action models make rotations of a body that is not free.
REPRESENTATIONS = {"humanml": "hml263", "kit": "kit251"}
#: Where the statistics lie in a checkout of the authors' code, seen from the folder of a checkpoint.
_DATA = {"humanml": "dataset/HumanML3D", "kit": "dataset/KIT-ML"}
_OTHERS = {
    "vae.": "a MotionGPT checkpoint",
    "lm.": "a MotionGPT checkpoint",
    "t2m_transformer": "a MoMask or MoGenTS transformer",
    "res_transformer": "a MoMask or MoGenTS residual transformer",
    "vq_model": "a MoMask or MoGenTS motion tokenizer",
    "movement_encoder": "the HumanML3D evaluator",
    "param_groups": "the state of an optimiser (opt….pt); take model….pt beside it",
}


@dataclass(frozen=True)
class Release:
    """A checkpoint of the authors', found whole; tensors bear our names and have the file's own numbers.

    Attributes:
        config: the network.
        state: its weights, float32.
        dataset: ``humanml``, ``kit``, ``humanact12`` or ``uestc``.
        pair: the statistics; none for a data set whose motions are not normalised.
        guidance: the authors' strength of guidance: 2.5, 7.5 for DiP, 1 where there can be none.
        arguments: all options as the file has them.
        remarks: what was assumed or left out, in sentences.
        about: file names, sizes and hashes.
    """

    config: MDMConfig
    state: dict[str, Tensor]
    dataset: str
    pair: Pair | None
    guidance: float
    arguments: dict[str, Any] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    about: dict[str, Any] = field(default_factory=dict)


def read_release(
    weights: Path,
    args: Path | None = None,
    mean: Path | None = None,
    std: Path | None = None,
    *,
    averages: bool | None = None,
    any_statistics: bool = False,
    statistics: bool = True,
) -> Release:
    """Read the authors' files and check them against one another.

    Args:
        weights: ``model….pt``.
        args: ``args.json``; by default the one beside the weights. Without any, a flat checkpoint of an encoder network
            is taken for a model of 2022 with the default options, and the remarks say so.
        mean, std: the statistics; by default those beside the weights or in the authors' ``dataset/`` folder.
        averages: take the averages, or do not; by default as the options say.
        any_statistics: take a pair that is known to be wrong.
        statistics: whether the statistics are looked for at all.

    Raises:
        ArtifactError: something is absent or wrong; all of it is listed.
    """
    state, remarks, kind = _pick(weights, read_torch_file(weights))
    problems: list[str] = []
    said = _arguments(weights, args, kind, problems)
    if said is None:
        if kind != "flat" or not any(key.startswith("seqTransEncoder.") for key in state):
            raise _all(weights, [*problems, "args.json must lie beside it or be given with --args, because the shapes "
                                 "of such a network do not say how it is used; there is none"])  # fmt: skip
        said = _guessed(state)
        remarks.append(
            f"there is no args.json: taken for a model of 2022 with {official.ARGUMENTS['diffusion_steps']} steps, and "
            "with frames that are not masked"
        )
    taken = _averaged(state, said, averages, remarks, problems)
    config: MDMConfig | None = None
    try:
        config = official.config_from_arguments(said)
        problems += official.misfits(taken, config)
    except (ValueError, TypeError) as error:
        problems.append(f"args.json: {error}".rstrip("."))
    dataset = said.get("dataset", official.ARGUMENTS["dataset"])
    pair: Pair | None = None
    if statistics and dataset in REPRESENTATIONS:
        try:
            files = (mean, std) if mean and std else _find(weights, dataset)
            pair = read_pair(*files)
            wrong = mismatch(pair, dataset)
            if wrong and (len(pair.mean) != _width(dataset) or not any_statistics):
                problems.append(wrong)
        except ArtifactError as error:
            problems.append(str(error).rstrip("."))
    if problems or config is None:
        raise _all(weights, problems)
    ignored = sorted(key for key in said if key not in official.ARGUMENTS and key not in _TRAINING)
    if ignored:
        remarks.append(f"options that do not concern the network were passed over: {', '.join(ignored)}")
    about = {
        "weights": {"name": weights.name, "bytes": weights.stat().st_size, "sha256": file_hash(weights)},
        **({"statistics": {file.name: file_hash(file) for file in pair.files} | {"name": pair.name}} if pair else {}),
        "arguments": dict(said),
    }
    guidance = 1.0 if not config.guidable else 7.5 if config.completes else 2.5
    # copies: products of numbers that lie at other addresses, as in a mapped file, differ in their last bits
    ours = {name: tensor.detach().float().clone() for name, tensor in official.to_ours(taken, config).items()}
    return Release(config, ours, dataset, pair, guidance, dict(said), tuple(remarks), about)


#: Options of training, and of the computer that it ran on, that need no word when they are passed over.
_TRAINING = frozenset(
    "adam_beta2 autoregressive autoregressive_include_prefix autoregressive_init avg_model_beta batch_size cuda "
    "data_dir device eval_batch_size eval_during_training eval_num_samples eval_rep_times eval_split external_mode "
    "gen_during_training gen_guidance_param gen_num_repetitions gen_num_samples log_interval lr lr_anneal_steps "
    "num_frames num_steps overwrite resume_checkpoint save_dir save_interval seed target_joint_names "
    "train_platform_type weight_decay cond_mode emb_policy".split()
)


def mismatch(pair: Pair, dataset: str) -> str:
    """Why a pair of statistics is not the one that a model of this data set was trained with; empty if it may be.

    Contacts are 0 or 1, so that their true spread is ``sqrt(p * (1 - p))`` with ``p`` the mean. The data set's own pair
    has it; the evaluators' pairs have a fraction of it.

    >>> p, files = np.full(263, 0.8), (Path("Mean.npy"), Path("Std.npy"))
    >>> mismatch(Pair(p, np.full(263, 0.4), files, "", False), "humanml")
    ''
    >>> mismatch(Pair(p, np.full(263, 0.4 / 25), files, "", False), "humanml").split(";")[0]
    "Mean.npy and Std.npy must be HumanML3D's own pair"
    """
    whose = {"humanml": "HumanML3D's own pair", "kit": "KIT-ML's own pair"}[dataset]
    names = f"{pair.files[0].name} and {pair.files[1].name}"
    width = _width(dataset)
    if len(pair.mean) != width:
        other = next((name for name, r in REPRESENTATIONS.items() if get_spec(r).width == len(pair.mean)), None)
        got = f"the pair of {other}" if other else "another pair"
        return f"{names} must be {whose}, {width} numbers; got {len(pair.mean)}, which is {got}"
    share, spread = np.asarray(pair.mean[-4:], np.float64), np.asarray(pair.std[-4:], np.float64)
    if not ((share > 0.02) & (share < 0.98)).all():
        return ""
    ratio = float((spread / np.sqrt(share * (1 - share))).mean())
    if 0.01 < ratio < 0.5:
        return (
            f"{names} must be {whose}; got an evaluator's pair, whose root and contacts are divided by "
            f"{1 / ratio:.0f}. Take Mean.npy and Std.npy of the data set"
        )
    return ""


def _width(dataset: str) -> int:
    return get_spec(REPRESENTATIONS[dataset]).width


def _pick(weights: Path, value: Any) -> tuple[dict[str, Any], list[str], str]:
    """The entries of a file, without deciding about averages: flat, or with ``model`` and ``model_avg``."""
    if not isinstance(value, Mapping):
        raise ArtifactError(f"{weights} must be MDM's checkpoint; got {type(value).__name__}.")
    kind = "averaged" if isinstance(value.get("model"), Mapping) else "flat"
    state = value["model"] if kind == "averaged" else value
    names = [str(key) for key in state]
    if not any(name.startswith("input_process.") for name in names):
        guess = next((what for sign, what in _OTHERS.items() if any(name.startswith(sign) for name in names)), None)
        seen = guess or (", ".join(names[:3]) + " …" if names else "nothing")
        raise ArtifactError(f"{weights} must be MDM's checkpoint, with input_process.* and what follows; got {seen}.")
    if kind == "averaged" and set(value) - {"model", "model_avg"}:
        more = ", ".join(sorted(set(map(str, value)) - {"model", "model_avg"}))
        raise ArtifactError(f"{weights} must hold model and model_avg; got {more} as well.")
    return dict(value), [], kind


def _averaged(
    value: Mapping[str, Any], said: Mapping[str, Any], averages: bool | None, remarks: list[str], problems: list[str]
) -> Mapping[str, Any]:
    """The state to take: averages, raw weights, or the file itself where it is flat."""
    flat = not isinstance(value.get("model"), Mapping)
    has = not flat and isinstance(value.get("model_avg"), Mapping)
    if averages and not has:
        where = "it is flat and has none" if flat else "it has no model_avg"
        problems.append(f"averages must be in the checkpoint; {where}. Leave --ema out")
    if flat:
        return value
    take = has and (bool(said.get("use_ema", False)) if averages is None else averages)
    remarks.append("the weights are averages over training" if take else "the weights are not averages over training")
    return value["model_avg" if take else "model"]


def _arguments(weights: Path, args: Path | None, kind: str, problems: list[str]) -> dict[str, Any] | None:
    """The options of a file that was given or that lies beside the weights; none if there is no such file."""
    if args is None and not (weights.parent / "args.json").is_file():
        return None
    file = args or weights.parent / "args.json"
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise _all(weights, [f"{file} must be MDM's args.json; there is no such file"]) from error
    except ValueError as error:
        raise _all(weights, [f"{file} must be JSON; got {error}"]) from error
    if not isinstance(said, dict):
        raise _all(weights, [f"{file} must be an object of options; got {type(said).__name__}"])
    for name, otherwise in official.ARGUMENTS.items():
        allowed: tuple[type, ...] = (type(otherwise),) if not isinstance(otherwise, float) else (int, float)
        if name in said and type(said[name]) not in allowed:
            problems.append(f"{name} in {file.name} must be like {otherwise!r}; got {said[name]!r}")
    if problems:
        raise _all(weights, problems)
    return said


def _guessed(state: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a flat encoder network, from its shapes."""
    shapes = {key: tuple(value.shape) for key, value in state.items() if isinstance(value, Tensor)}
    width, size = shapes.get("input_process.poseEmbedding.weight", (512, 263))
    layers = {key.split(".")[2] for key in shapes if key.startswith("seqTransEncoder.layers.")}
    actions = shapes.get("embed_action.action_embedding", (12,))[0]
    dataset = {251: "kit", 150: "uestc" if actions == 40 else "humanact12"}.get(size, "humanml")
    return {
        "latent_dim": width,
        "layers": len(layers),
        "dataset": dataset,
        "unconstrained": not any(key.startswith(("embed_text.", "embed_action.")) for key in shapes),
        **({"cond_mask_prob": 0.0} if size == 150 else {}),
    }


def _find(weights: Path, dataset: str) -> tuple[Path, Path]:
    """The statistics beside a checkpoint, or where the authors' code has them."""
    folder = weights.resolve().parent
    places = [folder, *(above / _DATA[dataset] for above in list(folder.parents)[:2])]
    for place in places:
        for names in (("Mean.npy", "Std.npy"), ("mean.npy", "std.npy")):
            if all((place / name).is_file() for name in names):
                return place / names[0], place / names[1]
    whose = {"humanml": "HumanML3D", "kit": "KIT-ML"}[dataset]
    raise ArtifactError(
        f"Mean.npy and Std.npy of {whose} must lie beside the weights; there are none. "
        "Give the pair that the model was trained with: --mean and --std"
    )


def _all(weights: Path, problems: Sequence[str]) -> ArtifactError:
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return ArtifactError(f"{weights} must be MDM's checkpoint with all that belongs to it; {count}: "
                         f"{'; '.join(problems)}.")  # fmt: skip
