"""Evaluators that read sentences as they are written: MotionStreamer-272 and MotionCLIP-135, each as one object."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from hftrainer.errors import ArtifactError
from hftrainer.models.artifact import (
    check_files,
    folder_hash,
    load_weights,
    read_config,
    save_weights,
    unfilled,
    write_json,
    written_folder,
)
from hftrainer.models.clip import ClipTokens
from hftrainer.models.distilbert import DistilBertConfig, DistilBertTower
from hftrainer.models.evaluator.dual import DualConfig, DualEvaluator, SideConfig
from hftrainer.models.evaluator.temos import TemosConfig, TemosEvaluator
from hftrainer.models.hub import push_saved
from hftrainer.models.sums import Hashed
from hftrainer.motion.clip import Motion
from hftrainer.motion.representation.specs import get_spec

#: Files of such an evaluator's folder; CLIP's own tokenizer is not kept.
FILES = ("evaluator.json", "evaluator.safetensors", "Mean.npy", "Std.npy")
TOKENIZER = "tokenizer.json"
#: Motions are cut to whole fours of frames.
UNIT = 4


class SentenceEvaluator(Hashed, ABC):
    """Sentences and motions to points whose distances say how well they match.

    Args:
        network: the networks.
        tokenizer: text to tokens; ``None`` for CLIP's published one.
        mean, std: ``(D,)`` statistics of the features that the networks were trained with.

    Attributes:
        kind: its name in files and reports.
        representation: what motions must be in.
        reads: what sentences must be: text.
        sha256, hash: identity of the files it came from, whole and short; ``"unsaved"`` before.
        about: where it comes from and what it was seen to do; empty for the authors'.

    Raises:
        ArtifactError: the parts do not fit one another.
    """

    kind: ClassVar[str]
    representation: str
    reads = "text"
    push_to_hub = push_saved
    network: Any

    def __init__(self, network: nn.Module, tokenizer: Tokenizer | None, mean: np.ndarray, std: np.ndarray) -> None:
        width = get_spec(self.representation).width
        if network.config.features != width:
            raise ArtifactError(f"the networks must read {self.representation}, {width} numbers a frame; "
                                f"they read {network.config.features}.")  # fmt: skip
        for name, array in (("mean", mean), ("std", std)):
            if array.shape != (width,):
                raise ArtifactError(f"the {name} must have shape ({width},); got {array.shape}.")
            if not np.isfinite(array).all() or (name == "std" and (array <= 0).any()):
                raise ArtifactError(f"the {name} must be finite{' and above 0' * (name == 'std')}.")
        self.network, self.tokenizer = network.requires_grad_(False).eval(), tokenizer
        self.mean, self.std = np.asarray(mean, np.float32), np.asarray(std, np.float32)
        self.about: dict[str, Any] = {}
        self._check_words()

    @abstractmethod
    def _check_words(self) -> None:
        """Refuse a tokenizer that does not fit the networks."""

    @abstractmethod
    def _encode_texts(self, sentences: Sequence[str]) -> Tensor:
        """Sentences -> ``(B, width)``."""

    @abstractmethod
    def _encode_motions(self, features: Tensor, lengths: Tensor) -> Tensor:
        """``(B, T, D)`` normalised, ``(B,)`` -> ``(B, width)``."""

    @property
    @abstractmethod
    def width(self) -> int:
        """Numbers of an embedding."""

    def _features(self, motion: Motion) -> np.ndarray:
        """``(T, D)`` as the networks read them, not normalised."""
        return np.asarray(motion.data)

    @classmethod
    @abstractmethod
    def _network(cls, config: dict[str, Any]) -> nn.Module:
        """The networks of a configuration."""

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """Load a folder that ``save_pretrained`` wrote.

        Raises:
            FileNotFoundError: there is no such folder.
            ArtifactError: files are absent or do not fit.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise FileNotFoundError(f"the evaluator must be a folder; {folder} does not exist.")
        check_files(folder, FILES)
        config = json.loads((folder / FILES[0]).read_text(encoding="utf-8"))
        if config.pop("kind", "hml263") != cls.kind:
            raise ArtifactError(f"{folder} must hold an evaluator of kind {cls.kind}; it holds another.")
        about = config.pop("about", {})
        with unfilled():
            network = cls._network(config)
        load_weights(network, folder / FILES[1])
        own = (folder / TOKENIZER).is_file()
        tokenizer = Tokenizer.from_buffer((folder / TOKENIZER).read_bytes()) if own else None
        evaluator = cls(network, tokenizer, np.load(folder / "Mean.npy"), np.load(folder / "Std.npy"))
        evaluator.sha256 = folder_hash(folder, (*FILES, TOKENIZER) if own else FILES)
        evaluator.about = about
        return evaluator

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the evaluator to a folder that ``from_pretrained`` reads; it appears whole or not at all."""
        with written_folder(folder) as out:
            about = {"about": self.about} if self.about else {}
            write_json(out / FILES[0], {"kind": self.kind, **asdict(self.network.config), **about})
            save_weights(self.network, out / FILES[1])
            np.save(out / "Mean.npy", self.mean)
            np.save(out / "Std.npy", self.std)
            if self.tokenizer is not None:
                self.tokenizer.save(str(out / TOKENIZER))
            self.sha256 = folder_hash(out, FILES if self.tokenizer is None else (*FILES, TOKENIZER))

    @torch.no_grad()
    def texts(self, sentences: Sequence[str], batch: int = 32) -> np.ndarray:
        """Embeddings of sentences.

        Args:
            sentences: as they are written.
            batch: sentences at once.

        Returns:
            ``(N, width)`` float32.

        Raises:
            ValueError: a sentence is too long.
        """
        rows = [
            self._encode_texts(list(sentences[start : start + batch])).numpy()
            for start in range(0, len(sentences), batch)
        ]  # fmt: skip
        return np.concatenate(rows) if rows else np.zeros((0, self.width), np.float32)

    @torch.no_grad()
    def motions(self, motions: Sequence[Motion], batch: int = 32) -> np.ndarray:
        """Embeddings of motions.

        Args:
            motions: in ``representation``, at least 4 frames each; what is beyond the last full four, or beyond the
                most frames that the networks read, is not read.
            batch: motions at once.

        Returns:
            ``(N, width)`` float32.

        Raises:
            ValueError: a motion is too short or in another representation.
        """
        for motion in motions:
            if motion.representation.name != self.representation:
                got = motion.representation.name
                raise ValueError(f"{motion.name}: the evaluator reads {self.representation}; got {got}. Convert it.")
            if len(motion) < UNIT:
                raise ValueError(f"{motion.name}: the evaluator needs at least {UNIT} frames; got {len(motion)}.")
        most = self.network.config.most_frames
        rows = []
        for start in range(0, len(motions), batch):
            part = motions[start : start + batch]
            lengths = torch.tensor([min(len(motion), most) // UNIT * UNIT for motion in part])
            padded = torch.zeros(len(part), int(lengths.max()), len(self.mean))
            for row, motion, length in zip(padded, part, lengths.tolist(), strict=True):
                row[:length] = torch.from_numpy((self._features(motion)[:length] - self.mean) / self.std)
            rows.append(self._encode_motions(padded, lengths).numpy())
        return np.concatenate(rows) if rows else np.zeros((0, self.width), np.float32)


class Motion272Evaluator(SentenceEvaluator):
    """MotionStreamer's evaluator: TMR encoders of motion272 and of DistilBERT's vectors; only the mean is used."""

    kind = representation = "motion272"
    network: TemosEvaluator

    @property
    def width(self) -> int:
        """Numbers of an embedding."""
        return self.network.config.width

    def _check_words(self) -> None:
        if self.tokenizer is None:
            raise ArtifactError(f"the evaluator must have its {TOKENIZER}; got none. Take distilbert-base-uncased's.")
        try:
            self._tower = DistilBertTower(self.network.bert, self.tokenizer)
        except ValueError as error:
            raise ArtifactError(f"the evaluator's words do not fit: {error}") from error

    @classmethod
    def _network(cls, config: dict[str, Any]) -> nn.Module:
        text = read_config(DistilBertConfig, config.pop("text", {}), "evaluator.json, text")
        return TemosEvaluator(read_config(TemosConfig, {**config, "text": text}, "evaluator.json"))

    def _encode_texts(self, sentences: Sequence[str]) -> Tensor:
        return self.network.gather_texts(*self._tower.encode(sentences))[0]

    def _encode_motions(self, features: Tensor, lengths: Tensor) -> Tensor:
        return self.network.encode_motions(features, lengths)[0]


class MotionClipEvaluator(SentenceEvaluator):
    """MotionCLIP: CLIP towers of motion135 and of sentences; the products of the towers, not of unit length.

    The networks read rotations by columns; motions have them row by row, and are put in order here.
    """

    kind, representation = "motionclip135", "motion135"
    network: DualEvaluator

    @property
    def width(self) -> int:
        """Numbers of an embedding."""
        return self.network.config.output

    def _check_words(self) -> None:
        places = self.network.config.text.places
        try:
            self._tokens = ClipTokens(self.tokenizer, places, places)
        except ValueError as error:
            raise ArtifactError(f"the evaluator's words do not fit: {error}") from error
        if self._tokens.end != self.network.config.end:
            raise ArtifactError(
                f"the token that ends a sentence must be {self.network.config.end}; it is {self._tokens.end}."
            )

    @classmethod
    def _network(cls, config: dict[str, Any]) -> nn.Module:
        names = ("text", "motion")
        sides = {side: read_config(SideConfig, config.pop(side, {}), f"evaluator.json, {side}") for side in names}
        return DualEvaluator(read_config(DualConfig, {**config, **sides}, "evaluator.json"))

    def _features(self, motion: Motion) -> np.ndarray:
        """Six numbers of a rotation: rows ``00 01 10 11 20 21`` to columns ``00 10 20 01 11 21``."""
        place, turns = motion.data[:, :3], motion.data[:, 3:]
        columns = turns.reshape(len(turns), -1, 3, 2).swapaxes(2, 3).reshape(len(turns), -1)
        return np.concatenate([place, columns], 1)

    def _encode_texts(self, sentences: Sequence[str]) -> Tensor:
        return self.network.encode_texts(self._tokens.ids(sentences))

    def _encode_motions(self, features: Tensor, lengths: Tensor) -> Tensor:
        return self.network.encode_motions(features, lengths)
