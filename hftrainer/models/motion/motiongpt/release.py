"""The authors' files of MotionGPT: checkpoint, T5 folder and statistics, read and checked against one another.

The checkpoint ``motiongpt_s3_h3d.tar`` is a torch file, not a tar archive: a Lightning module with the motion tokenizer
under ``vae.``, the language model under ``lm.language_model.``, three copies of the evaluator under ``metrics.`` and
loss counters under ``_losses.``. The sizes of the tokenizer are found in the shapes; those of the language model stand
in the ``config.json`` of the T5 folder, and the shapes must agree. Nothing is taken unless all of it is right.

The folder that the hftrainer card describes holds the same files: ``FILES``.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hftrainer.errors import ArtifactError
from hftrainer.models.artifact import (
    check_files,
    file_hash,
    read_torch_file,
    save_weights,
    unfilled,
    write_json,
)
from hftrainer.models.evaluator import Evaluator, TextMotionEvaluator, WordVectors
from hftrainer.models.evaluator.official import build, find_weights
from hftrainer.models.motion.motiongpt import official
from hftrainer.models.motion.motiongpt.network import (
    LanguageModel,
    LanguageModelConfig,
    MotionTokenizer,
    TokenizerConfig,
)
from hftrainer.models.text import Pieces

WEIGHTS, T5, META = "motiongpt_s3_h3d.tar", "deps/flan-t5-base", "assets/meta"
T5_FILES = ("config.json", "tokenizer.json")
#: The card's own layout, in the order in which its hash reads it.
FILES = (
    "model_index.json", WEIGHTS, f"{META}/mean.npy", f"{META}/std.npy", *(f"{T5}/{name}" for name in T5_FILES),
)  # fmt: skip
#: SHA-256 of the file that the authors released.
RELEASED = "0d8a9e1a0c3bd15ed2d2160a22abe3edef299920eb9565a7e9decf1da4c8e79c"

_TOKENIZER, _LANGUAGE = "vae.", "lm."
#: Entries that are known and not needed to make motion.
_PASSED_OVER = ("metrics.", "_losses.")
#: Further names of the shared input embedding.
_ALIASES = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
#: What a file is when some key of it begins so.
_OTHERS = {
    "seqTransEncoder.": "an MDM checkpoint",
    "seqTransDecoder.": "an MDM checkpoint",
    "t2m_transformer": "a MoMask or MoGenTS transformer",
    "res_transformer": "a MoMask or MoGenTS residual transformer",
    "vq_model": "a MoMask or MoGenTS motion tokenizer",
    "movement_encoder": "the HumanML3D evaluator",
    "encoder.block.": "a T5 checkpoint without motion",
}
#: T5 settings that our network has built in, and what they are where config.json does not say.
_T5_FIXED = {
    "model_type": ("t5", None),
    "feed_forward_proj": ("gated-gelu", "relu"),
    "layer_norm_epsilon": (1e-6, 1e-6),
    "pad_token_id": (0, 0),
    "eos_token_id": (1, 1),
    "decoder_start_token_id": (0, 0),
}
_T5_SIZES = ("d_model", "num_heads", "d_kv", "d_ff", "num_layers")

#: First 16 hex digits of the SHA-256 of an array's float32 bytes -> whose array it is.
_MEANS = {"30e2481958581a3b": "released", "6c4577daa0769102": "HumanML3D", "a9923deede0cce83": "KIT-ML"}
_STDS = {
    "055100bc7b9cbe2d": "released", "90d08b7cb2b03a75": "HumanML3D", "c9b072f7aa8c0472": "HumanML3D",
    "5a0049d9fe9db1c0": "KIT-ML",
}  # fmt: skip
_RIGHT_PAIR = (
    f"The right pair is mean.npy and std.npy from {META}/ of the MotionGPT repository (the same numbers as "
    "Comp_v6_KLD01/meta), whose root and contact channels of std are divided by 25"
)


@dataclass(frozen=True)
class Pair:
    """Mean and spread, and which pair they are.

    Attributes:
        mean, std: ``(D,)`` float64 as the files have them.
        files: where they come from.
        name: in words.
        wrong: known to be another pair than MotionGPT's.
    """

    mean: np.ndarray
    std: np.ndarray
    files: tuple[Path, Path]
    name: str
    wrong: bool


@dataclass(frozen=True)
class Release:
    """The authors' files, found whole; tensors bear our names and have the file's own numbers.

    Attributes:
        tokenizer_config, language_config: sizes of the networks.
        tokenizer, language: their weights, float32.
        pieces: the published tokenizer.
        pair: the statistics.
        evaluator: the copy of the evaluator among the metrics, where it was asked for.
        passed_over: how many entries of the checkpoint were known and not needed.
        about: file names, sizes and hashes.
    """

    tokenizer_config: TokenizerConfig
    language_config: LanguageModelConfig
    tokenizer: dict[str, Tensor]
    language: dict[str, Tensor]
    pieces: Pieces
    pair: Pair
    evaluator: TextMotionEvaluator | None = None
    passed_over: int = 0
    about: dict[str, Any] = field(default_factory=dict)


def name_statistics(mean: np.ndarray, std: np.ndarray) -> tuple[str, bool]:
    """Which pair of statistics this is, in words, and whether it is known to be another than MotionGPT's.

    Known arrays are recognised by their hash; others by the spread of the foot contacts. Contacts are 0 or 1, so that
    their true spread is ``sqrt(p * (1 - p))`` with ``p`` the mean: HumanML3D's own statistics have it, MotionGPT's a
    25th of it.

    >>> p = np.full(263, 0.8)
    >>> name_statistics(p, np.full(263, 0.4))
    ("HumanML3D's kind (root and contacts of std not divided by 25)", True)
    >>> name_statistics(p, np.full(263, 0.4 / 25))
    ("MotionGPT's kind (root and contacts of std divided by 25), other numbers than the released ones", False)
    """
    whose = [
        table.get(hashlib.sha256(np.asarray(array, dtype="<f4").tobytes()).hexdigest()[:16])
        for table, array in ((_MEANS, mean), (_STDS, std))
    ]
    if whose == ["released", "released"]:
        return "MotionGPT's released pair", False
    if whose[1] == "HumanML3D":
        return "HumanML3D's own Mean and Std (root and contacts of std not divided by 25)", True
    if whose == ["KIT-ML", "KIT-ML"]:
        return "KIT-ML's evaluation pair", False
    if whose[0] or whose[1]:
        said = [f"{one}'s" if one else "unknown" for one in whose]
        return f"two arrays that do not belong together (mean: {said[0]}, std: {said[1]})", True
    share, spread = np.asarray(mean[-4:], np.float64), np.asarray(std[-4:], np.float64)
    if ((share > 0.02) & (share < 0.98)).all():
        ratio = float((spread / np.sqrt(share * (1 - share))).mean())
        if 0.5 < ratio < 2:
            return "HumanML3D's kind (root and contacts of std not divided by 25)", True
        if 0.5 < ratio * 25 < 2:
            kind = "MotionGPT's kind (root and contacts of std divided by 25)"
            return f"{kind}, other numbers than the released ones", False
    return "no pair that is known", False


def read_pair(mean: Path, std: Path) -> Pair:
    """Two ``.npy`` files and which pair they are.

    Raises:
        ArtifactError: absent files, no arrays of numbers, not finite, a spread that is not above 0, unequal lengths.
    """
    arrays, problems = [], []
    for file in (mean, std):
        if not file.is_file():
            problems.append(f"{file} must be a .npy file; there is none")
            continue
        try:
            array = np.load(file, allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            problems.append(f"{file} must be a .npy file of numbers; got {str(error).splitlines()[0]}")
            continue
        if not isinstance(array, np.ndarray) or array.ndim != 1 or array.dtype.kind != "f":
            problems.append(f"{file} must hold one row of floating-point numbers")
        elif not np.isfinite(array).all():
            problems.append(f"{file} must be finite")
        elif file == std and (array <= 0).any():
            problems.append(f"{file} must be above 0 everywhere; are mean and std swapped?")
        else:
            arrays.append(array)
    if not problems and arrays[0].shape != arrays[1].shape:
        problems.append(f"{mean} and {std} must be equally long; got {len(arrays[0])} and {len(arrays[1])}")
    if problems:
        raise ArtifactError("; ".join(problems))
    return Pair(arrays[0], arrays[1], (mean, std), *name_statistics(*arrays))


def find_pair(folder: Path) -> Pair:
    """The statistics that lie beside a checkpoint in ``folder``.

    Raises:
        ArtifactError: none, or several that are not the same numbers; the message says what each of them is.
    """
    candidates: list[tuple[Path, Path]] = []
    for place in (folder / META, folder, folder / "meta"):
        for names in (("mean", "std"), ("Mean", "Std"), ("mean_eval", "std_eval")):
            files = (place / f"{names[0]}.npy", place / f"{names[1]}.npy")
            if any(file.is_file() for file in files) and not any(
                files[0].is_file() and other[0].is_file() and files[0].samefile(other[0]) for other in candidates
            ):
                candidates.append(files)
    if not candidates:
        raise ArtifactError(
            f"{folder / META} must hold mean.npy and std.npy; there is nothing. {_RIGHT_PAIR}, not HumanML3D's own "
            "Mean.npy and Std.npy. Give them with --mean and --std"
        )
    pairs = [read_pair(*files) for files in candidates]
    first = pairs[0]
    if all(np.array_equal(p.mean, first.mean) and np.array_equal(p.std, first.std) for p in pairs):
        return first
    listed = "; ".join(f"{p.files[0]} and {p.files[1].name} are {p.name}" for p in pairs)
    raise ArtifactError(
        f"beside the weights must lie one pair of statistics; got {len(pairs)} that differ: {listed}. {_RIGHT_PAIR}. "
        "Say which with --mean and --std"
    )


def read_t5(folder: Path) -> tuple[dict[str, Any], Pieces]:
    """Sizes of the language model and the tokenizer, from a folder of FLAN-T5.

    Returns:
        Fields of ``LanguageModelConfig`` (all but the vocabulary), and the tokenizer.

    Raises:
        ArtifactError: files absent or damaged, or another kind of T5 than the network is; all of it is listed.
    """
    if not folder.is_dir():
        raise ArtifactError(f"{folder} must be a folder with {' and '.join(T5_FILES)}; there is none")
    absent = [name for name in T5_FILES if not (folder / name).is_file()]
    if absent:
        raise ArtifactError(
            f"{folder} must hold {' and '.join(T5_FILES)} of google/flan-t5-base; absent: {', '.join(absent)}"
        )
    problems: list[str] = []
    pieces: Pieces | None = None
    try:
        pieces = Pieces.load(folder)
    except ArtifactError as error:
        problems.append(str(error).rstrip("."))
    try:
        said = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtifactError("; ".join([*problems, f"{folder / 'config.json'} must be JSON; got {error}"])) from error
    said = said if isinstance(said, dict) else {}
    for name, (must, otherwise) in _T5_FIXED.items():
        if said.get(name, otherwise) != must:
            problems.append(f"{name} of {folder / 'config.json'} must be {must}; got {said.get(name)}")
    for name in _T5_SIZES:
        if type(said.get(name)) is not int or said[name] < 1:
            problems.append(f"{name} of {folder / 'config.json'} must be a whole number above 0; got {said.get(name)}")
    if problems or pieces is None:
        raise ArtifactError("; ".join(problems))
    sizes = {
        "width": said["d_model"],
        "heads": said["num_heads"],
        "head_width": said["d_kv"],
        "feedforward": said["d_ff"],
        "encoder_layers": said["num_layers"],
        "decoder_layers": said.get("num_decoder_layers") or said["num_layers"],
        "buckets": said.get("relative_attention_num_buckets", 32),
        "max_distance": said.get("relative_attention_max_distance", 128),
        "dropout": said.get("dropout_rate", 0.1),
    }
    return sizes, pieces


def read_state(weights: Path) -> dict[str, Any]:
    """The named entries of a checkpoint, tensors if all is well.

    Raises:
        ArtifactError: no such file, damaged, with code in it, or another model's.
    """
    value = read_torch_file(weights)
    if isinstance(value, Mapping) and isinstance(value.get("state_dict"), Mapping):
        value = value["state_dict"]
    keys = [str(key) for key in value] if isinstance(value, Mapping) else []
    if not any(key.startswith((_TOKENIZER, _LANGUAGE)) for key in keys):
        guess = next((what for sign, what in _OTHERS.items() if any(key.startswith(sign) for key in keys)), None)
        seen = f"got {guess}" if guess else f"got {', '.join(keys[:3])} …" if keys else f"got {type(value).__name__}"
        raise ArtifactError(f"{weights} must be MotionGPT's: a state_dict with vae.* and lm.language_model.*; {seen}")
    return {str(key): tensor for key, tensor in value.items()}


def tokenizer_config(state: Mapping[str, Any], **said: Any) -> TokenizerConfig:
    """Sizes of the motion tokenizer from the shapes of its weights; the published ones where a shape is not there.

    Args:
        state: the authors' names, without ``vae.``.
        said: fields that no shape tells: ``activation``, ``dilation_growth``, ``norm``.
    """
    shapes = {key: tuple(value.shape) for key, value in state.items() if isinstance(value, Tensor)}
    found: dict[str, Any] = {}
    enter = shapes.get("encoder.model.0.weight", ())
    if len(enter) == 3:
        found["width"], found["features"] = enter[:2]
    codes = shapes.get("quantizer.codebook", shapes.get("quantizer.embedding.weight", ()))
    if len(codes) == 2:
        found["codes"], found["code_width"] = codes
    if "quantizer.embedding.weight" in shapes:
        found["quantizer"] = "orig"
    levels = {m[1] for key in shapes if (m := re.match(r"encoder\.model\.(\d+)\.0\.weight$", key))}
    blocks = {m[1] for key in shapes if (m := re.match(r"encoder\.model\.\d+\.1\.model\.(\d+)\.", key))}
    found.update({"down": len(levels)} if levels else {})
    found.update({"depth": len(blocks)} if blocks else {})
    if any(key.endswith("norm1.running_mean") for key in shapes):
        found["norm"] = "batch"
    return TokenizerConfig(**{**found, **{name: value for name, value in said.items() if value is not None}})


def expected(config: TokenizerConfig | LanguageModelConfig) -> tuple[dict[str, str], dict[str, tuple[int, ...]]]:
    """The authors' names for a network of these sizes: our name -> theirs, and their name -> shape."""
    with unfilled():
        if isinstance(config, TokenizerConfig):
            network: torch.nn.Module = MotionTokenizer(config)
            keys = official.tokenizer_keys(config)
        else:
            network, keys = LanguageModel(config), official.language_model_keys(config)
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    return keys, {theirs: shapes[ours] for ours, theirs in keys.items()}


def _misfits(state: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], prefix: str) -> list[str]:
    """What is wrong with the entries under ``prefix``: missing, unexpected, of another shape or kind, not finite."""
    have = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    if not have:
        return [f"missing {prefix}*, all {len(shapes)} entries"]
    wrong = [f"missing {prefix}{key}" for key in shapes if key not in have]
    wrong += [f"unexpected {prefix}{key}" for key in have if key not in shapes]
    for key in shapes.keys() & have.keys():
        value, name = have[key], f"{prefix}{key}"
        if not isinstance(value, Tensor):
            wrong.append(f"{name} must be a tensor; got {type(value).__name__}")
        elif tuple(value.shape) != shapes[key]:
            wrong.append(f"{name} is {tuple(value.shape)}, must be {shapes[key]}")
        elif key.endswith("num_batches_tracked"):
            continue  # a whole number
        elif value.dtype not in (torch.float32, torch.float16, torch.bfloat16):
            wrong.append(f"{name} must be float32 or half; got {str(value.dtype).removeprefix('torch.')}")
        elif not bool(torch.isfinite(value).all()):
            count = int((~torch.isfinite(value)).sum())
            wrong.append(f"{name} must be finite; {count} of {value.numel()} numbers are not")
    return sorted(wrong, key=lambda line: line.split()[0] != "missing")


def _aliases(state: Mapping[str, Any], prefix: str) -> list[str]:
    """What is wrong with the three names of the input embedding, and with the head that must be none of them."""
    shared = state.get(f"{prefix}shared.weight")
    wrong: list[str] = []
    if not isinstance(shared, Tensor):
        return wrong  # told as missing
    for name in _ALIASES:
        other = state.get(f"{prefix}{name}")
        if isinstance(other, Tensor) and not (other.data_ptr() == shared.data_ptr() or torch.equal(other, shared)):
            wrong.append(f"{prefix}{name} must have the numbers of {prefix}shared.weight, its other name")
    head = state.get(f"{prefix}lm_head.weight")
    if isinstance(head, Tensor) and head.shape == shared.shape and torch.equal(head, shared):
        wrong.append(
            f"{prefix}lm_head.weight must be a matrix of its own; it equals shared.weight: the file was saved by a "
            "library that ties the two, and the head is lost"
        )
    return wrong


def read_release(
    weights: Path,
    t5: Path,
    mean: Path | None = None,
    std: Path | None = None,
    *,
    any_statistics: bool = False,
    evaluator: bool = False,
    said: Mapping[str, Any] | None = None,
) -> Release:
    """Read and check the authors' files; all that is wrong with any of them comes in one error.

    Args:
        weights: the checkpoint.
        t5: folder with T5's ``config.json`` and ``tokenizer.json``.
        mean, std: the statistics; ``None`` finds them beside the weights.
        any_statistics: take a pair that is known to be another than MotionGPT's.
        evaluator: the copies of the evaluator must be in the checkpoint.
        said: fields of ``TokenizerConfig`` that no shape tells, for a checkpoint trained with other options.

    Raises:
        ArtifactError: anything absent, damaged, unexpected, of another shape, not finite, or not fitting the rest.
    """
    problems: list[str] = []
    state: dict[str, Any] | None = None
    t5_sizes: dict[str, Any] | None = None
    pieces: Pieces | None = None
    pair: Pair | None = None
    try:
        state = read_state(weights)
    except ArtifactError as error:
        problems.append(str(error).rstrip("."))
    try:
        t5_sizes, pieces = read_t5(t5)
    except ArtifactError as error:
        problems.append(str(error).rstrip("."))
    try:
        pair = read_pair(mean, std) if mean and std else find_pair(weights.parent)
        if pair.wrong and not any_statistics:
            problems.append(
                f"{pair.files[0]} and {pair.files[1].name} must be the pair that MotionGPT was trained with; got "
                f"{pair.name}. {_RIGHT_PAIR}. Take this one all the same with any_statistics=True (--any-statistics)"
            )
    except ArtifactError as error:
        problems.append(str(error).rstrip("."))
    if state is None:
        raise _all(weights, problems)

    inside = "lm.language_model." if any(k.startswith("lm.language_model.") for k in state) else _LANGUAGE
    config = language_config = None
    keys: dict[str, str] = {}
    language_keys: dict[str, str] = {}
    try:
        config = tokenizer_config({k.removeprefix(_TOKENIZER): v for k, v in state.items() if k.startswith(_TOKENIZER)},
                                  **(said or {}))  # fmt: skip
        keys, shapes = expected(config)
        problems += _misfits(state, shapes, _TOKENIZER)
        if pair is not None and len(pair.mean) != config.features:
            problems.append(
                f"{pair.files[0]} must have one number a feature, {config.features}; got {len(pair.mean)}"
            )
    except ValueError as error:
        problems.append(f"the motion tokenizer under {_TOKENIZER} has impossible sizes: {error}".rstrip("."))
    if t5_sizes is not None and pieces is not None and config is not None:
        rows = pieces.size(config.codes) + config.codes + 3
        try:
            language_config = LanguageModelConfig(vocabulary=rows, motion_tokens=config.codes + 3, **t5_sizes)
            language_keys, shapes = expected(language_config)
            shapes |= {name: shapes["shared.weight"] for name in _ALIASES}
            problems += _misfits(state, shapes, inside)
            pieces.with_motion(config.codes)
        except (ValueError, TypeError) as error:
            problems.append(f"{t5}: {error}".rstrip("."))
    problems += _aliases(state, inside)
    known = (_TOKENIZER, inside, *_PASSED_OVER)
    problems += [f"unexpected {key}" for key in state if not key.startswith(known)]
    copy: TextMotionEvaluator | None = None
    if evaluator:
        try:
            copy = build(find_weights(state))
        except ArtifactError as error:
            problems.append(f"the evaluator under metrics.*: {error}".rstrip("."))
    if problems or config is None or language_config is None or pieces is None or pair is None:
        raise _all(weights, problems)
    return Release(
        config,
        language_config,
        {ours: _whole(state[_TOKENIZER + theirs]) for ours, theirs in keys.items()},
        {ours: _whole(state[inside + theirs]) for ours, theirs in language_keys.items()},
        pieces,
        pair,
        copy,
        sum(key.startswith(_PASSED_OVER) for key in state),
        _provenance(weights, t5, pair),
    )


def save_evaluator(folder: Path, files: Release, words: WordVectors | None) -> None:
    """Write the evaluator that the checkpoint held, with its statistics, which are MotionGPT's own.

    Args:
        folder: what ``hftrainer.models.evaluator.Evaluator.from_pretrained`` reads, once it has words.
        files: with an evaluator.
        words: its word vectors; without them ``words.json`` and ``words.safetensors`` are left out.

    Raises:
        ArtifactError: there is no evaluator in ``files``, or the parts do not fit one another.
    """
    if files.evaluator is None:
        raise ArtifactError("the checkpoint must be read with its evaluator; got none. Ask for it with evaluator=True.")
    if words is not None:
        Evaluator(files.evaluator, words, files.pair.mean, files.pair.std).save_pretrained(folder)
        return
    folder.mkdir(parents=True)
    write_json(folder / "evaluator.json", asdict(files.evaluator.config))
    save_weights(files.evaluator, folder / "evaluator.safetensors")
    np.save(folder / "Mean.npy", files.pair.mean.astype(np.float32))
    np.save(folder / "Std.npy", files.pair.std.astype(np.float32))


def is_release(folder: Path) -> bool:
    """Whether a folder is laid out as the card says, or was meant to be."""
    return (folder / WEIGHTS).is_file() or (folder / T5).is_dir()


def counts(folder: Path) -> dict[str, int]:
    """Numbers in each network of the card's own layout, a tensor with several names once."""
    found = {"motion_tokenizer": 0, "language_model": 0}
    seen: set[int] = set()
    for key, value in read_state(folder / WEIGHTS).items():
        name = {_TOKENIZER: "motion_tokenizer", _LANGUAGE: "language_model"}.get(key.partition(".")[0] + ".")
        if name and isinstance(value, Tensor) and value.data_ptr() not in seen:
            found[name] += value.numel()
            seen.add(value.data_ptr())
    return found


def read_folder(folder: Path, any_statistics: bool = False) -> Release:
    """The card's own layout.

    Raises:
        ArtifactError: as of ``read_release``; absent files are listed.
    """
    check_files(folder, FILES)
    mean, std = (folder / META / f"{name}.npy" for name in ("mean", "std"))
    return read_release(folder / WEIGHTS, folder / T5, mean, std, any_statistics=any_statistics)


def _whole(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value


def _all(weights: Path, problems: Sequence[str]) -> ArtifactError:
    listed = "; ".join(problems)
    return ArtifactError(f"{weights} must be MotionGPT's checkpoint with all that belongs to it. Wrong: {listed}.")


def _provenance(weights: Path, t5: Path, pair: Pair) -> dict[str, Any]:
    """What an artifact remembers of the files that it was made from; names without folders."""
    digest = file_hash(weights)
    return {
        "weights": {
            "name": weights.name,
            "bytes": weights.stat().st_size,
            "sha256": digest,
            "is_the_released_file": digest == RELEASED,
        },
        "t5": {name: file_hash(t5 / name) for name in T5_FILES},
        "statistics": {"name": pair.name, **{file.name: file_hash(file) for file in pair.files}},
    }
