"""What a run begins from: an earlier stage, exported tokens, a published T5."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hftrainer.data.humanml3d import Clip
from hftrainer.errors import ArtifactError
from hftrainer.models.artifact import check_files, load_weights, read_config, read_torch_file
from hftrainer.models.motion.motiongpt.bundle import MotionGPTBundle, Statistics
from hftrainer.models.motion.motiongpt.network import LanguageModel, MotionTokenizer, TokenizerConfig
from hftrainer.models.motion.motiongpt.official import language_model_keys
from hftrainer.training.language import TokenClip, spellings

_INDEX, _WEIGHTS = "motion_tokenizer.json", "motion_tokenizer.safetensors"
_PUBLISHED = ("model.safetensors", "pytorch_model.bin")
#: Rows of these belong to tokens.
_BY_TOKEN = ("vocabulary.rows.weight", "head.weight")


def load_tokenizer(folder: str | Path) -> tuple[MotionTokenizer, Statistics, dict[str, Any]]:
    """The motion tokenizer, its statistics and its provenance.

    Args:
        folder: ``artifact/`` of a stage 1 run, or any MotionGPT artifact, an imported one too.

    Raises:
        ArtifactError: it is neither, or its files do not fit.
    """
    folder = Path(folder)
    if not (folder / _INDEX).is_file() and (folder / "model_index.json").is_file():
        bundle = MotionGPTBundle.from_pretrained(folder)
        about = bundle.about.get("tokenizer", {})
        return bundle.motion_tokenizer, bundle.statistics, {**about, "stages": about.get("stages", [])}
    check_files(folder, (_INDEX, _WEIGHTS, "Mean.npy", "Std.npy"))
    index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
    network = MotionTokenizer(read_config(TokenizerConfig, index["motion_tokenizer"], "motion_tokenizer"))
    load_weights(network, folder / _WEIGHTS)
    return network.eval(), Statistics.load(folder, index.get("representation", "hml263")), index["about"]


@torch.no_grad()
def token_clips(
    clips: Sequence[Clip],
    network: MotionTokenizer,
    statistics: Statistics,
    composed: frozenset[str] = frozenset(),
    tokens: str | Path | None = None,
) -> list[TokenClip]:
    """Clips with captions as the language model trains on them.

    A caption of a stretch of time becomes a clip of its own: the stretch.

    Args:
        clips: with their captions; those without are left out.
        network, statistics: the motion tokenizer.
        composed: names of the clips of that split.
        tokens: folder of ``<id>.npy`` that ``hftrainer tokenize`` wrote, taken in place of encoding; its rows are
            spellings of the clip. Clips that it does not hold are left out.

    Raises:
        ArtifactError: a token file that is not ``(rows, L)`` of codes.
    """
    per, rows = network.config.frames_per_token, []
    for clip in clips:
        if not clip.captions or (tokens and not (Path(tokens) / f"{clip.id}.npy").is_file()):
            continue
        stored = read_tokens(Path(tokens) / f"{clip.id}.npy", network.config.codes) if tokens else None
        for frames, captions in clip.parts():
            if stored is not None:
                part = slice(frames.start // per, frames.stop and frames.stop // per)
                codes = tuple(row[part] for row in stored if row[part])
            else:
                codes = spellings(network, statistics.normalize(clip.motion)[frames])
            if codes:
                rows.append(TokenClip(codes, captions, captions[0], clip.id in composed))
    return rows


def read_tokens(path: str | Path, codes: int) -> tuple[tuple[int, ...], ...]:
    """A token file: ``(rows, L)`` integers, one row for each spelling of a motion.

    Raises:
        ArtifactError: another shape, or numbers that are no codes.
    """
    array = np.load(path)
    if array.ndim != 2 or array.dtype.kind not in "iu" or not array.size or array.min() < 0 or array.max() >= codes:
        raise ArtifactError(
            f"{path} must hold (rows, L) codes of 0 to {codes - 1}; got {array.dtype} {array.shape}. Export it again."
        )
    return tuple(tuple(int(code) for code in row) for row in array)


def start_from_t5(network: LanguageModel, folder: str | Path) -> None:
    """Fill a language model with learned rows from a published T5 v1.1 (FLAN-T5); its motion rows stay as they are.

    Args:
        network: full width; its first rows are the tokens that T5 knows.
        folder: holds ``model.safetensors`` or ``pytorch_model.bin``.

    Raises:
        ArtifactError: neither file is there, or weights are absent or have other shapes; all are listed.
    """
    if network.config.word_width is not None:
        raise ArtifactError("a language model that begins as a T5 must have learned rows; got word_width.")
    found, theirs = read_published(folder)
    text = network.config.first_motion
    state, wrong = network.state_dict(), []
    for ours, name in language_model_keys(network.config).items():
        value = theirs.get(name)
        if value is None:
            wrong.append(f"missing {name}")
            continue
        have, want = tuple(value.shape), tuple(state[ours].shape)
        if ours in _BY_TOKEN and have[0] >= text and have[1:] == want[1:]:
            state[ours] = torch.cat([value[:text].to(state[ours].dtype), state[ours][text:]])
        elif have == want:
            state[ours] = value.to(state[ours].dtype)
        else:
            wrong.append(f"{name} is {have}, the network needs {want}")
    if wrong:
        raise ArtifactError(f"{found} does not fit the recipe's network: {'; '.join(wrong)}.")
    network.load_state_dict(state)


def read_published(folder: str | Path) -> tuple[Path, dict[str, Tensor]]:
    """The weights file of a published model's folder, and what it holds.

    Raises:
        ArtifactError: there is none.
    """
    folder = Path(folder)
    path = next((folder / name for name in _PUBLISHED if (folder / name).is_file()), None)
    if path is None:
        raise ArtifactError(f"{folder} must hold {' or '.join(_PUBLISHED)}; it holds neither. Copy the whole folder.")
    return path, _read_weights(path)


def _read_weights(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file  # only a published start reads such a file here

        return load_file(path)
    weights: dict[str, Tensor] = read_torch_file(path)
    return weights
