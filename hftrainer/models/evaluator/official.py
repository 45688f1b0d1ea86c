"""The door for the authors' evaluator files: their names of keys and files, turned into ours.

A folder of the authors holds ``finest.tar`` (a torch file, not a tar archive) with the networks, the word vectors
``our_vab_data.npy``, ``our_vab_words.pkl``, ``our_vab_idx.pkl`` and the statistics ``mean.npy``, ``std.npy``; words and
statistics may lie in ``glove/`` and ``meta/``. A MotionGPT checkpoint holds copies of the networks among its metrics.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from hftrainer.errors import ArtifactError
from hftrainer.models.artifact import unfilled
from hftrainer.models.evaluator.network import CONTACTS, EvaluatorConfig, TextMotionEvaluator
from hftrainer.models.evaluator.words import WordVectors

#: Names that the weights go by in a folder, the first that is there.
WEIGHT_FILES = ("finest.tar", "text_mot_match.tar")
#: Word vectors: numbers, words, rows.
WORD_FILES = ("our_vab_data.npy", "our_vab_words.pkl", "our_vab_idx.pkl")
STATISTICS_FILES = ("mean.npy", "std.npy")
_PARTS = ("text_encoder", "movement_encoder", "motion_encoder")
#: The parts' names inside a Lightning checkpoint, behind ``metrics.NAME.``.
_COPIES = dict(zip(("t2m_textencoder", "t2m_moveencoder", "t2m_motionencoder"), _PARTS, strict=True))
_COPY = re.compile(r"metrics\.(\w+)\.(t2m_\w+?)\.(.+)")


def evaluator_keys() -> dict[str, str]:
    """Our keys to theirs, for all widths.

    >>> evaluator_keys()["motion.recurrent.bias_hh_l0_reverse"]
    'motion_encoder.gru.bias_hh_l0_reverse'
    """
    keys = {}
    layers = {"entry": "input_emb", "gather": "output_net.0", "norm": "output_net.1", "readout": "output_net.3"}
    for ours, theirs in (("text.sequence", "text_encoder"), ("motion", "motion_encoder")):
        keys[f"{ours}.start"] = f"{theirs}.hidden"
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            for way in ("", "_reverse"):
                keys[f"{ours}.recurrent.{kind}_l0{way}"] = f"{theirs}.gru.{kind}_l0{way}"
        for layer, name in layers.items():
            for kind in ("weight", "bias"):
                keys[f"{ours}.{layer}.{kind}"] = f"{theirs}.{name}.{kind}"
    for kind in ("weight", "bias"):
        keys[f"text.parts.{kind}"] = f"text_encoder.pos_emb.{kind}"
        for layer, name in (("first", "main.0"), ("second", "main.3"), ("readout", "out_net")):
            keys[f"movement.{layer}.{kind}"] = f"movement_encoder.{name}.{kind}"
    return keys


def manifest(config: EvaluatorConfig) -> dict[str, tuple[int, ...]]:
    """The authors' keys ``PART.KEY`` and the shape of each, for any widths; KIT's twin has 251 features.

    >>> manifest(EvaluatorConfig())["movement_encoder.main.0.weight"]
    (512, 259, 4)
    """
    with unfilled():
        network = TextMotionEvaluator(config)
    table = evaluator_keys()
    return {table[name]: tuple(value.shape) for name, value in network.state_dict().items()}


def find_weights(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """The networks' tensors in a checkpoint, by the authors' names ``PART.KEY``.

    Args:
        checkpoint: what a file of the authors holds: three parts with tensors each (``finest.tar``), or a Lightning
            checkpoint or its ``state_dict`` with copies among its metrics, of which that of text-to-motion counts.
            Other entries are passed over.

    Raises:
        ArtifactError: there is no evaluator in it.
    """
    if all(isinstance(checkpoint.get(part), Mapping) for part in _PARTS):
        return {f"{part}.{key}": value for part in _PARTS for key, value in checkpoint[part].items()}
    state = checkpoint["state_dict"] if isinstance(checkpoint.get("state_dict"), Mapping) else checkpoint
    copies: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items():
        found = _COPY.fullmatch(key)
        if found and found[2] in _COPIES:
            copies.setdefault(found[1], {})[f"{_COPIES[found[2]]}.{found[3]}"] = value
    if not copies:
        raise ArtifactError(
            f"an evaluator must be {', '.join(_PARTS)}, or metrics.*.t2m_* in a MotionGPT checkpoint; got neither."
        )
    return copies.get("TM2TMetrics") or next(iter(copies.values()))


def build(weights: Mapping[str, Tensor]) -> TextMotionEvaluator:
    """The networks from tensors by the authors' names; widths are read off their shapes.

    Raises:
        ArtifactError: keys are missing or unexpected, or shapes do not fit one another; all of them are listed.
    """
    keys = evaluator_keys()
    wrong = [f"missing {key}" for key in sorted(set(keys.values()) - weights.keys())]
    wrong += [f"unexpected {key}" for key in sorted(weights.keys() - set(keys.values()))]
    wrong += [f"{key} holds no numbers" for key, value in weights.items() if not isinstance(value, Tensor)]
    wrong += [
        f"{keys[name]} must have {axes} axes" for name, axes in _AXES.items()
        if isinstance(weights.get(keys[name]), Tensor) and weights[keys[name]].ndim != axes
    ]  # fmt: skip
    if wrong:
        raise ArtifactError(f"the evaluator's weights do not fit: {'; '.join(wrong)}.")
    size = {name: weights[keys[name]].shape for name in _AXES}
    config = EvaluatorConfig(
        word_width=size["text.parts.weight"][0],
        parts=size["text.parts.weight"][1],
        text_hidden=size["text.sequence.entry.weight"][0],
        width=size["text.sequence.readout.weight"][0],
        features=size["movement.first.weight"][1] + CONTACTS,
        movement_hidden=size["movement.first.weight"][0],
        movement_width=size["movement.second.weight"][0],
        motion_hidden=size["motion.entry.weight"][0],
    )
    network = TextMotionEvaluator(config)
    wrong = [
        f"{keys[name]} is {tuple(weights[keys[name]].shape)}, the network needs {tuple(value.shape)}"
        for name, value in network.state_dict().items()
        if weights[keys[name]].shape != value.shape
    ]
    if wrong:
        raise ArtifactError(f"the evaluator's weights do not fit: {'; '.join(wrong)}.")
    network.load_state_dict({name: weights[theirs].float() for name, theirs in keys.items()})
    return network.eval()


#: Tensors that tell the widths, with their axes.
_AXES = {
    "text.parts.weight": 2, "text.sequence.entry.weight": 2, "text.sequence.readout.weight": 2,
    "movement.first.weight": 3, "movement.second.weight": 3, "motion.entry.weight": 2,
}  # fmt: skip


def read_weights(path: Path) -> TextMotionEvaluator:
    """The networks from a file of the authors; only tensors and plain values are read, code in it never runs.

    Raises:
        ArtifactError: no torch file, code in it, or weights that do not fit.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ArtifactError(f"{path} must be a torch file of plain tensors; got {reason}") from error
    if not isinstance(checkpoint, Mapping):
        raise ArtifactError(f"{path} must hold named tensors; got {type(checkpoint).__name__}.")
    return build(find_weights(checkpoint))


class _PlainUnpickler(pickle.Unpickler):
    """Lists, dictionaries, words and numbers; anything that names a class or a function is refused."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it names {module}.{name}, and only plain words and numbers are allowed")


def read_plain_pickle(path: Path) -> Any:
    """What a pickle of lists, dictionaries, strings and numbers holds; nothing in it can run.

    Raises:
        ArtifactError: it is no pickle, or there is something else in it.
    """
    try:
        with path.open("rb") as file:
            return _PlainUnpickler(file).load()
    except (pickle.UnpicklingError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError,
            OverflowError, MemoryError) as error:  # fmt: skip
        reason = str(error) or type(error).__name__
        raise ArtifactError(f"{path} must be a pickle of plain words and numbers; got {reason}.") from error


def read_words(folder: Path) -> WordVectors:
    """Word vectors from the authors' three files.

    Raises:
        ArtifactError: files are absent, or are not a list of words, a row for each and numbers for each row.
    """
    absent = [name for name in WORD_FILES if not (folder / name).is_file()]
    if absent:
        raise ArtifactError(f"{folder} must hold {', '.join(WORD_FILES)}; absent: {', '.join(absent)}.")
    try:
        numbers = np.load(folder / WORD_FILES[0], allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ArtifactError(f"{folder / WORD_FILES[0]} must be an array of numbers; got {error}") from error
    words, rows = (read_plain_pickle(folder / name) for name in WORD_FILES[1:])
    if not (isinstance(words, list) and words and all(type(word) is str for word in words)):
        raise ArtifactError(f"{folder / WORD_FILES[1]} must be a list of words; got {type(words).__name__}.")
    fits = isinstance(rows, dict) and all(type(k) is str and type(v) is int for k, v in rows.items())
    if not fits:
        raise ArtifactError(f"{folder / WORD_FILES[2]} must give words their rows; got {type(rows).__name__}.")
    if numbers.ndim != 2 or numbers.dtype.kind not in "fiu":
        raise ArtifactError(f"{folder / WORD_FILES[0]} must have two axes; got {numbers.shape} of {numbers.dtype}.")
    lost = [word for word in words if not 0 <= rows.get(word, -1) < len(numbers)]
    if lost:
        raise ArtifactError(f"{folder}: every word must have a row of 0 to {len(numbers) - 1}; {lost[:5]} have none.")
    try:
        return WordVectors(words, numbers[[rows[word] for word in words]])
    except ValueError as error:
        raise ArtifactError(f"{folder}: {error}") from error
