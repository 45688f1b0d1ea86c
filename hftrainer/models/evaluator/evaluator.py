"""An evaluator as one object: networks, word vectors and the statistics that they were trained with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from hftrainer.errors import ArtifactError
from hftrainer.models.artifact import (
    check_files,
    folder_hash,
    load_weights,
    read_config,
    save_weights,
    write_json,
    written_folder,
)
from hftrainer.models.evaluator import official
from hftrainer.models.evaluator.network import FRAMES_PER_MOVEMENT, EvaluatorConfig, TextMotionEvaluator
from hftrainer.models.evaluator.words import WordVectors
from hftrainer.models.hub import push_saved
from hftrainer.models.sums import Hashed
from hftrainer.motion.clip import Motion
from hftrainer.motion.representation.specs import get_spec

#: Files of an evaluator's folder, in the order in which its hash reads them.
FILES = ("evaluator.json", "evaluator.safetensors", "words.json", "words.safetensors", "Mean.npy", "Std.npy")


class Evaluator(Hashed):
    """Sentences and motions to points whose distances say how well they match.

    Args:
        network: the three networks.
        words: word vectors of the network's width.
        mean, std: ``(D,)`` statistics of the features that the networks were trained with, the contacts included.

    Attributes:
        sha256, hash: identity of the files it came from, whole and short; ``"unsaved"`` before.
        about: where it comes from and what it was seen to do; empty for the authors'.
        reads: what sentences must be: words with parts of speech.

    Raises:
        ArtifactError: the parts do not fit one another.
    """

    reads = "words"
    push_to_hub = push_saved

    def __init__(self, network: TextMotionEvaluator, words: WordVectors, mean: np.ndarray, std: np.ndarray) -> None:
        config = network.config
        if words.width != config.word_width:
            raise ArtifactError(f"word vectors must have {config.word_width} numbers; got {words.width}.")
        for name, array in (("mean", mean), ("std", std)):
            if array.shape != (config.features,):
                raise ArtifactError(f"the {name} must have shape ({config.features},); got {array.shape}.")
            if not np.isfinite(array).all() or (name == "std" and (array <= 0).any()):
                raise ArtifactError(f"the {name} must be finite{' and above 0' * (name == 'std')}.")
        self.network, self.words = network.eval(), words
        self.mean, self.std = np.asarray(mean, np.float32), np.asarray(std, np.float32)
        self.about: dict[str, Any] = {}

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Evaluator:
        """Load a folder: ours, or one in the authors' layout (see ``hftrainer.models.evaluator.official``).

        Raises:
            FileNotFoundError: there is no such folder.
            ArtifactError: files are absent or do not fit; what is absent is listed.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise FileNotFoundError(f"the evaluator must be a folder; {folder} does not exist.")
        weights = [folder / name for name in official.WEIGHT_FILES if (folder / name).is_file()]
        if not (folder / FILES[0]).is_file() and not weights:
            theirs = ", ".join(official.WORD_FILES + official.STATISTICS_FILES)
            raise ArtifactError(
                f"{folder} must be an evaluator: {', '.join(FILES)}; or, in the authors' layout, "
                f"{' or '.join(official.WEIGHT_FILES)} with {theirs}. It holds neither."
            )
        if not (folder / FILES[0]).is_file():
            return cls._official(folder, weights[0])
        check_files(folder, FILES)
        config = json.loads((folder / FILES[0]).read_text(encoding="utf-8"))
        if "kind" in config:
            raise ArtifactError(f"{folder} must hold {cls.__name__}; got {config['kind']}. Use load_evaluator.")
        about = config.pop("about", {})
        network = TextMotionEvaluator(read_config(EvaluatorConfig, config, FILES[0]))
        load_weights(network, folder / "evaluator.safetensors")
        try:
            vectors = load_file(folder / "words.safetensors")["vectors"]
        except (SafetensorError, OSError, KeyError) as error:
            raise ArtifactError(f"{folder / 'words.safetensors'} must hold vectors; got {error}.") from error
        words = WordVectors(json.loads((folder / "words.json").read_text(encoding="utf-8")), vectors)
        evaluator = cls(network, words, np.load(folder / "Mean.npy"), np.load(folder / "Std.npy"))
        evaluator.sha256, evaluator.about = folder_hash(folder, FILES), about
        return evaluator

    @classmethod
    def _official(cls, folder: Path, weights: Path) -> Evaluator:
        """From the authors' files."""
        glove = folder / "glove" if (folder / "glove").is_dir() else folder
        meta = folder / "meta" if (folder / "meta").is_dir() else folder
        check_files(glove, official.WORD_FILES)
        check_files(meta, official.STATISTICS_FILES)
        mean, std = (np.load(meta / name, allow_pickle=False) for name in official.STATISTICS_FILES)
        evaluator = cls(official.read_weights(weights), official.read_words(glove), mean, std)
        files = [weights, *(glove / name for name in official.WORD_FILES)]
        files += [meta / name for name in official.STATISTICS_FILES]
        evaluator.sha256 = folder_hash(folder, [str(file.relative_to(folder)) for file in files])
        return evaluator

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the evaluator to a folder that ``from_pretrained`` reads; it appears whole or not at all."""
        with written_folder(folder) as out:
            about = {"about": self.about} if self.about else {}
            write_json(out / "evaluator.json", {**asdict(self.network.config), **about})
            save_weights(self.network, out / "evaluator.safetensors")
            write_json(out / "words.json", list(self.words.words))
            save_file({"vectors": self.words.vectors}, out / "words.safetensors")
            np.save(out / "Mean.npy", self.mean)
            np.save(out / "Std.npy", self.std)
            self.sha256 = folder_hash(out, FILES)

    @property
    def kind(self) -> str:
        """Its name in reports: that of the representation."""
        return self.representation

    @property
    def width(self) -> int:
        """Numbers of an embedding."""
        return self.network.config.width

    @property
    def representation(self) -> str:
        """What motions must be in: ``hml263`` or ``kit251``, by the networks' width."""
        return "kit251" if self.network.config.features == get_spec("kit251").width else "hml263"

    @torch.no_grad()
    def texts(self, sentences: Sequence[Sequence[str]], batch: int = 32) -> np.ndarray:
        """Embeddings of sentences.

        Args:
            sentences: words with parts of speech, ``"walk/VERB"``.
            batch: sentences at once.

        Returns:
            ``(N, width)`` float32.

        Raises:
            ValueError: a word has not exactly one slash.
        """
        rows = []
        for start in range(0, len(sentences), batch):
            read = [self.words.sentence(items) for items in sentences[start : start + batch]]
            words, parts = (torch.from_numpy(np.stack([r[i] for r in read])) for i in (0, 1))
            rows.append(self.network.encode_texts(words, parts, torch.tensor([r[2] for r in read])).numpy())
        return np.concatenate(rows) if rows else np.zeros((0, self.network.config.width), np.float32)

    @torch.no_grad()
    def motions(
        self, motions: Sequence[Motion], padding: str = "alone", batch: int = 32, frames: int = 4
    ) -> np.ndarray:
        """Embeddings of motions.

        Args:
            motions: in ``representation``, at least 4 frames each; frames beyond the last full four are not read.
            padding: see ``TextMotionEvaluator.encode_motions``.
            batch: motions at once; with ``"consumed"`` and ``"packed"`` it changes the result.
            frames: zeros fill motions up to so many, or to the longest of the batch. With ``"packed"`` and the longest
                of all motions, 196 in published tables, the batch changes nothing.

        Returns:
            ``(N, width)`` float32.

        Raises:
            ValueError: a motion is too short or in another representation.
        """
        spec = get_spec(self.representation)
        for motion in motions:
            if motion.representation != spec:
                got = motion.representation.name
                raise ValueError(f"{motion.name}: the evaluator reads {spec.name}; got {got}. Convert it first.")
        rows = []
        for start in range(0, len(motions), batch):
            part = motions[start : start + batch]
            lengths = torch.tensor([len(m) // FRAMES_PER_MOVEMENT * FRAMES_PER_MOVEMENT for m in part])
            padded = torch.zeros(len(part), max(frames, int(lengths.max())), spec.width)
            for row, motion, length in zip(padded, part, lengths.tolist(), strict=True):
                row[:length] = torch.from_numpy((motion.data[:length] - self.mean) / self.std)
            rows.append(self.network.encode_motions(padded, lengths, padding).numpy())
        return np.concatenate(rows) if rows else np.zeros((0, self.network.config.width), np.float32)
