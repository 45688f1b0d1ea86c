"""An evaluator from a folder, whichever kind lies there; and from the authors' separate files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hftrainer.errors import ArtifactError
from hftrainer.models.artifact import check_files, file_hash
from hftrainer.models.checkpoint import read_named_tensors
from hftrainer.models.evaluator import dual_official, official, temos_official
from hftrainer.models.evaluator.contrast import ContrastEvaluator
from hftrainer.models.evaluator.evaluator import Evaluator
from hftrainer.models.evaluator.sentences import Motion272Evaluator, MotionClipEvaluator
from hftrainer.models.tower_files import read_word_pieces

AnyEvaluator = Evaluator | Motion272Evaluator | MotionClipEvaluator | ContrastEvaluator
#: Kinds by name; the first two are one class.
KINDS: dict[str, type[AnyEvaluator]] = {
    "hml263": Evaluator, "kit251": Evaluator, "motion272": Motion272Evaluator, "motionclip135": MotionClipEvaluator,
    "contrast": ContrastEvaluator,
}  # fmt: skip
#: The successor's artifact of MotionStreamer's evaluator.
_SETTINGS, _PREPARATION = "config.json", "preprocessor_config.json"


def load_evaluator(
    folder: str | Path, statistics: str | Path | None = None, words: str | Path | None = None
) -> AnyEvaluator:
    """The evaluator of a folder.

    Args:
        folder: ours (``evaluator.json``); the authors' of text-to-motion (``text_mot_match.tar`` or ``finest.tar``);
            MotionStreamer's ``epoch99.ckpt`` with ``Mean.npy``, ``Std.npy`` and DistilBERT's ``tokenizer.json`` or
            ``vocab.txt``; MotionCLIP's ``motionclip_model.safetensors`` with ``Mean.npy`` and ``Std.npy``; or an
            artifact of the original hftrainer's successor (``config.json``, ``preprocessor_config.json``).
        statistics: where ``Mean.npy`` and ``Std.npy`` lie, for the authors' files that have none beside them.
        words: where DistilBERT's ``tokenizer.json`` or ``vocab.txt`` lies, likewise.

    Raises:
        FileNotFoundError: there is no such folder.
        ArtifactError: files are absent or do not fit; what is absent is listed.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"the evaluator must be a folder; {folder} does not exist.")
    if (folder / "evaluator.json").is_file():
        kind = json.loads((folder / "evaluator.json").read_text(encoding="utf-8")).get("kind", "hml263")
        if kind not in KINDS:
            raise ArtifactError(f"{folder} must hold one of {', '.join(KINDS)}; it holds {kind!r}.")
        return KINDS[kind].from_pretrained(folder)
    for name in temos_official.WEIGHT_FILES:
        if (folder / name).is_file():
            pair = _statistics(Path(statistics or folder))
            return read_motion272(folder / name, *pair, Path(words) if words else _words(folder))
    if (folder / dual_official.WEIGHT_FILE).is_file():
        return read_motionclip(folder / dual_official.WEIGHT_FILE, *_statistics(Path(statistics or folder)))
    if (folder / _SETTINGS).is_file() and (folder / _PREPARATION).is_file():
        return _successor(folder)
    return Evaluator.from_pretrained(folder)


def read_hml263(weights: Path, mean: Path, std: Path, words: Path) -> Evaluator:
    """The text-motion matching model of HumanML3D, or its twin of KIT, from the authors' separate files.

    Args:
        weights: ``text_mot_match.tar``, ``finest.tar``, or a checkpoint of MotionGPT with a copy in it.
        mean, std: the evaluator's own statistics.
        words: folder of ``our_vab_data.npy`` and its two lists.

    Raises:
        ArtifactError: files are absent or do not fit.
    """
    evaluator = Evaluator(official.read_weights(weights), official.read_words(words), _array(mean), _array(std))
    evaluator.sha256 = file_hash(weights)
    return evaluator


def read_motion272(weights: Path, mean: Path, std: Path, words: Path) -> Motion272Evaluator:
    """MotionStreamer's evaluator from the authors' checkpoint; its settings are never made.

    Args:
        weights: ``epoch99.ckpt``, or safetensors with the same tensors.
        mean, std: ``Mean.npy`` and ``Std.npy`` of the 272 features.
        words: folder of DistilBERT's ``tokenizer.json`` or ``vocab.txt``.

    Raises:
        ArtifactError: files are absent or do not fit.
    """
    evaluator = Motion272Evaluator(
        temos_official.read_weights(weights), read_word_pieces(words), _array(mean), _array(std)
    )
    evaluator.sha256 = file_hash(weights)
    return evaluator


def read_motionclip(weights: Path, mean: Path, std: Path) -> MotionClipEvaluator:
    """MotionCLIP-135 from the published file; its words are CLIP's.

    Args:
        weights: ``motionclip_model.safetensors``.
        mean, std: statistics of the 135 features, rotations by columns.

    Raises:
        ArtifactError: files are absent or do not fit.
    """
    evaluator = MotionClipEvaluator(dual_official.read_weights(weights), None, _array(mean), _array(std))
    evaluator.sha256 = file_hash(weights)
    return evaluator


def _array(path: Path) -> np.ndarray:
    if not path.is_file():
        raise ArtifactError(f"{path} must hold statistics; there is no such file.")
    try:
        array: np.ndarray = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ArtifactError(f"{path} must be an array of numbers; got {error}") from error
    return array


def _statistics(folder: Path) -> tuple[Path, Path]:
    """``Mean.npy`` and ``Std.npy`` in the folder or in its ``mean_std/``."""
    place = folder / "mean_std" if (folder / "mean_std").is_dir() else folder
    check_files(place, ("Mean.npy", "Std.npy"))
    return place / "Mean.npy", place / "Std.npy"


def _words(folder: Path) -> Path:
    inside = folder / "distilbert-base-uncased"
    return inside if inside.is_dir() else folder


def _successor(folder: Path) -> Motion272Evaluator:
    """An artifact of the successor: two descriptions that name the other files."""
    settings, preparation = (_read(folder / name) for name in (_SETTINGS, _PREPARATION))
    named = {
        "weights": settings.get("weights_file", "model.safetensors"),
        **{name: preparation.get(name) for name in ("tokenizer", "mean", "std")},
    }
    absent = [
        f"{what} ({name})" for what, name in named.items() if not isinstance(name, str) or not (folder / name).exists()
    ]
    if absent:
        raise ArtifactError(f"{folder} must hold what its descriptions name; absent: {', '.join(absent)}.")
    place = {what: folder / str(name) for what, name in named.items()}
    weights = temos_official.find_weights(read_named_tensors(place["weights"]))
    frames = preparation.get("max_motion_length", 300)
    network = temos_official.build(weights, settings.get("num_heads"), frames=frames)
    said = {"motion_nfeats": network.config.features, "latent_dim": network.config.width,
            "num_layers": network.config.layers}  # fmt: skip
    wrong = [f"{name} {settings[name]}, not {n}" for name, n in said.items() if settings.get(name, n) != n]
    if wrong:
        raise ArtifactError(f"{folder / _SETTINGS} must describe the weights; it says {', '.join(wrong)}.")
    words = place["tokenizer"] if place["tokenizer"].is_dir() else place["tokenizer"].parent
    evaluator = Motion272Evaluator(network, read_word_pieces(words), _array(place["mean"]), _array(place["std"]))
    evaluator.sha256 = file_hash(place["weights"])
    return evaluator


def _read(path: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtifactError(f"{path} must be JSON; got {error}.") from error
    if not isinstance(value, dict):
        raise ArtifactError(f"{path} must be a JSON object; got {type(value).__name__}.")
    return value
