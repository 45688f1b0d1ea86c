"""MotionGPT's bundle: motion tokenizer, language model, words and statistics; one folder on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from hftrainer.errors import ArtifactError
from hftrainer.models.artifact import (
    check_files,
    check_shapes,
    check_sizes,
    count_weights,
    folder_hash,
    load_weights,
    read_config,
    resolve,
    save_weights,
    unfilled,
    whole_artifact,
    write_json,
    written_folder,
)
from hftrainer.models.hub import push_saved
from hftrainer.models.motion.motiongpt import release
from hftrainer.models.motion.motiongpt.gpt2 import GPT2, GPT2Config
from hftrainer.models.motion.motiongpt.network import (
    LanguageModel,
    LanguageModelConfig,
    MotionTokenizer,
    TokenizerConfig,
)
from hftrainer.models.sums import SHORT, Hashed
from hftrainer.models.text import END, GPT2Pieces, Pieces, Words
from hftrainer.motion.clip import Motion
from hftrainer.motion.files.archive import read_array
from hftrainer.motion.representation.specs import get_spec

#: Files of an artifact whose text side is words with vectors, in the order in which its hash reads them.
FILES = (
    "model_index.json",
    "motion_tokenizer.safetensors",
    "language_model.safetensors",
    "tokenizer.json",
    "words.safetensors",
    "Mean.npy",
    "Std.npy",
)
#: Files of an artifact whose text side is a published tokenizer.
PIECES_FILES = tuple(name for name in FILES if name != "words.safetensors")
#: State that only training needs.
_TRAINING_ONLY = ("quantizer.code_sum", "quantizer.code_count", "quantizer.started")
_WORDS = ("vocabulary.words", "vocabulary.word_scale")
#: Motions of one length that are decoded together at most; more are no quicker.
_TOGETHER = 16


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn unless a request says otherwise; part of the artifact, because the best choice is.

    Attributes:
        guidance: above 1 follows the words more closely: scores move away from those of an empty request.
        temperature: below 1 is more usual, above 1 more surprising.
        top_p: tokens are drawn from the likeliest that together have this probability.
        top_k: tokens are drawn from this many likeliest at most; 0 means all.
        shortest: frames that a motion has at least where nobody asked for a length.
        candidates: motions that are drawn for a sentence, together; the one that fits it best is kept.
        gap_candidates: predictions and in-betweens that are drawn, of which the one most like the others is kept; it
            errs less than a single one. They are decoded together: 16 take about three times the time of 1.
        gap_temperature: the temperature of predictions and in-betweens; candidates should differ.
    """

    guidance: float = 1.0
    temperature: float = 1.0
    top_p: float = 0.9
    top_k: int = 0
    shortest: int = 0
    candidates: int = 1
    gap_candidates: int = 16
    gap_temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.guidance < 1:
            raise ValueError(f"guidance must be at least 1; got {self.guidance:g}. 1 means none.")
        for name in ("temperature", "gap_temperature"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0; got {getattr(self, name):g}.")
        for name in ("candidates", "gap_candidates"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; got {getattr(self, name)}.")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1; got {self.top_p:g}.")
        if self.top_k < 0:
            raise ValueError(f"top_k must be at least 0; got {self.top_k}. 0 means all.")
        if self.shortest < 0:
            raise ValueError(f"shortest must be at least 0 frames; got {self.shortest}.")


class Statistics:
    """Mean and spread of a representation's channels, the pair that a network was trained with.

    Args:
        mean, std: ``(D,)`` in the representation's units; every ``std`` above 0.
        representation: whose channels they are.
    """

    def __init__(self, mean: np.ndarray, std: np.ndarray, representation: str) -> None:
        spec = get_spec(representation)
        for name, array in (("mean", mean), ("std", std)):
            if array.shape != (spec.width,):
                raise ArtifactError(f"the {name} of {spec.name} must have shape ({spec.width},); got {array.shape}.")
            if not np.isfinite(array).all() or (name == "std" and (array <= 0).any()):
                raise ArtifactError(f"the {name} of {spec.name} must be finite{' and above 0' * (name == 'std')}.")
        self.spec = spec
        self.mean = torch.from_numpy(np.asarray(mean, dtype=np.float32).copy())
        self.std = torch.from_numpy(np.asarray(std, dtype=np.float32).copy())

    @classmethod
    def load(cls, folder: Path, representation: str) -> Statistics:
        """Read ``Mean.npy`` and ``Std.npy``."""
        check_files(folder, ("Mean.npy", "Std.npy"))
        return cls(read_array(folder / "Mean.npy"), read_array(folder / "Std.npy"), representation)

    def save(self, folder: Path) -> None:
        np.save(folder / "Mean.npy", self.mean.numpy())
        np.save(folder / "Std.npy", self.std.numpy())

    def normalize(self, motion: Motion) -> Tensor:
        """Motion -> ``(T, D)`` normalised numbers."""
        if motion.representation != self.spec:
            raise ValueError(
                f"the motion must be {self.spec.name}; got {motion.representation.name}. Convert it first."
            )
        return (torch.from_numpy(motion.data.copy()) - self.mean) / self.std

    def denormalize(self, features: Tensor) -> Motion:
        """``(T, D)`` normalised numbers -> Motion."""
        data = features.detach().cpu().float() * self.std + self.mean
        return Motion(data.numpy(), self.spec, self.spec.fps)


class MotionGPTBundle(Hashed):
    """Everything that MotionGPT needs to turn words into motion, in one object and one folder.

    Attributes:
        motion_tokenizer: the network between motion and its codes.
        language_model: the network between text and codes: T5's kind, or GPT-2's, which reads prompt and answer as one.
        text: the tokenizer of prompts; it knows words and motion tokens.
        words: where ``text`` comes from: words with vectors, or a published tokenizer.
        prompts: whose wording of requests the language model knows: ``"own"``, or MotionGPT's ``"official"``.
        statistics: what normalised numbers mean.
        frame_range: fewest and most frames that may be asked for; both are multiples of ``frames_per_token``.
        sampling: how tokens are drawn unless a request says otherwise.
        about: provenance written by training: recipe, data, licences, hours.
        sha256, hash: identity of the weights on disk, whole and short; ``"unsaved"`` before.
    """

    default = "motiongpt-mini"
    push_to_hub = push_saved

    def __init__(
        self,
        motion_tokenizer: MotionTokenizer,
        language_model: LanguageModel | GPT2,
        words: Words | Pieces,
        statistics: Statistics,
        frame_range: tuple[int, int] = (40, 196),
        about: Mapping[str, Any] | None = None,
        sampling: Sampling | None = None,
        prompts: str = "own",
    ) -> None:
        if prompts not in ("own", "official"):
            raise ArtifactError(f"prompts must be own or official; got {prompts!r}.")
        codes, config = motion_tokenizer.config.codes, language_model.config
        if config.motion_tokens != codes + 3:
            raise ArtifactError(f"the language model must have {codes + 3} motion tokens; got {config.motion_tokens}.")
        self.motion_tokenizer, self.language_model = motion_tokenizer.eval(), language_model.eval()
        self.words, self.statistics = words, statistics
        self.text: Tokenizer = words.with_motion(codes)
        if self.text.get_vocab_size() != config.vocabulary:
            raise ArtifactError(
                f"the language model must have one row a token, {self.text.get_vocab_size()}; got {config.vocabulary}."
            )
        self.frame_range, self.about = frame_range, dict(about or {})
        self.sampling, self.prompts = sampling or Sampling(), prompts

    @property
    def representation(self) -> str:
        """Name of the representation that the motion tokenizer reads and writes."""
        return self.statistics.spec.name

    @property
    def frames_per_token(self) -> int:
        return self.motion_tokenizer.config.frames_per_token

    @property
    def start(self) -> int:
        """Token id that opens a motion."""
        return self.language_model.config.first_motion + self.motion_tokenizer.config.codes

    @property
    def end(self) -> int:
        """Token id that closes a motion."""
        return self.start + 1

    @property
    def stop(self) -> int:
        """Token id that ends an answer."""
        config = self.language_model.config
        return config.end if isinstance(config, GPT2Config) else END

    @property
    def device(self) -> torch.device:
        return next(self.language_model.parameters()).device

    def to(self, device: str | torch.device) -> MotionGPTBundle:
        """Move the networks."""
        self.motion_tokenizer.to(device)
        self.language_model.to(device)
        return self

    @classmethod
    @whole_artifact
    def from_pretrained(
        cls,
        name: str | Path | None = None,
        *,
        local_files_only: bool = False,
        revision: str | None = None,
        any_statistics: bool = False,
    ) -> MotionGPTBundle:
        """Load an artifact: a folder, a built-in name, a hub repository, or the built-in one when no name is given.

        The artifact is one that ``save_pretrained`` wrote, or the authors' files in the layout of the hftrainer card.

        Args:
            name: what to load.
            local_files_only: for a repository, use the local cache only.
            revision: branch, tag or commit of a repository.
            any_statistics: with the authors' files, take statistics that are known to be another model's.

        Raises:
            ArtifactError: not found, files absent, or weights that do not fit; every problem of a file is listed.
        """
        folder = resolve(name, cls.default, local_files_only=local_files_only, revision=revision)
        if release.is_release(folder):
            bundle = cls.from_release(release.read_folder(folder, any_statistics))
            bundle.sha256 = folder_hash(folder, release.FILES)
            return bundle
        if not (folder / "model_index.json").is_file():
            check_files(folder, FILES)
        index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
        text = index.get("text")
        files = PIECES_FILES if text in ("pieces", "gpt2") else FILES
        check_files(folder, files)
        if index.get("_class_name") != "MotionGPTPipeline":
            raise ArtifactError(f"{folder} must be a MotionGPT artifact; got {index.get('_class_name')!r}.")
        kinds: dict[str | None, type[Words | Pieces]] = {"pieces": Pieces, "gpt2": GPT2Pieces}
        words = kinds.get(text, Words).load(folder)
        codes = read_config(TokenizerConfig, index["motion_tokenizer"], "motion_tokenizer")
        check_sizes(codes, "motion_tokenizer")
        check_shapes(lambda: MotionTokenizer(codes), folder / "motion_tokenizer.safetensors", _TRAINING_ONLY)
        tokenizer = MotionTokenizer(codes)
        language: LanguageModel | GPT2
        if text == "gpt2":
            gpt2 = read_config(GPT2Config, index["language_model"], "language_model")
            check_sizes(gpt2, "language_model")
            with unfilled():
                language = GPT2(gpt2)
        else:
            sizes = read_config(LanguageModelConfig, index["language_model"], "language_model")
            check_sizes(sizes, "language_model")
            skip = () if sizes.word_width is None else _WORDS
            check_shapes(lambda: LanguageModel(sizes), folder / "language_model.safetensors", skip)
            with nullcontext() if sizes.word_width else unfilled():  # without word vectors the file holds every number
                language = LanguageModel(sizes)
        load_weights(tokenizer, folder / "motion_tokenizer.safetensors", _TRAINING_ONLY)
        if language.config.word_width is None:
            load_weights(language, folder / "language_model.safetensors")
        else:
            load_weights(language, folder / "language_model.safetensors", _WORDS)
            if isinstance(words, Pieces) or not isinstance(language, LanguageModel):
                raise ArtifactError(f"{folder}: word_width must be none with a published tokenizer; got a number.")
            fill_words(language, words)
        statistics = Statistics.load(folder, index.get("representation", "hml263"))
        sampling = read_config(Sampling, index.get("sampling", {}), "sampling")
        bundle = cls(
            tokenizer, language, words, statistics, tuple(index["frame_range"]), index.get("about"), sampling,
            index.get("prompts", "own"),
        )  # fmt: skip
        bundle.sha256 = folder_hash(folder, files)
        return bundle

    @classmethod
    def from_release(cls, files: release.Release) -> MotionGPTBundle:
        """A bundle from the authors' files; the language model's numbers are the file's own memory, not a copy."""
        tokenizer = MotionTokenizer(files.tokenizer_config)
        state = {**tokenizer.state_dict(), **files.tokenizer}  # the file lacks what only training needs
        tokenizer.load_state_dict(state)
        with unfilled():
            language = LanguageModel(files.language_config)
        language.load_state_dict(files.language, assign=True)
        kit = len(files.pair.mean) == get_spec("kit251").width
        statistics = Statistics(files.pair.mean, files.pair.std, "kit251" if kit else "hml263")
        per = files.tokenizer_config.frames_per_token
        fewest = -(-(24 if kit else 40) // per) * per  # of the clips that it was trained with
        about = {"name": "motiongpt-kit" if kit else "motiongpt-humanml3d", "source": files.about}
        return cls(
            tokenizer, language, files.pieces, statistics, (fewest, 196 // per * per), about,
            Sampling(top_p=1.0, top_k=50, gap_candidates=1), "official",  # as the authors decode
        )  # fmt: skip

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype = torch.float32) -> None:
        """Write the artifact from memory; written beside and renamed, so that no half folder is ever seen.

        Args:
            folder: takes the place of what was there.
            dtype: of floating weights; ``torch.float16`` halves the size.
        """
        pieces, text = isinstance(self.words, Pieces), "gpt2" if isinstance(self.words, GPT2Pieces) else "pieces"
        with written_folder(folder) as out:
            save_weights(self.motion_tokenizer, out / "motion_tokenizer.safetensors", dtype, _TRAINING_ONLY)
            skip = () if self.language_model.config.word_width is None else _WORDS
            save_weights(self.language_model, out / "language_model.safetensors", dtype, skip)
            self.words.save(out)
            self.statistics.save(out)
            write_json(
                out / "model_index.json",
                {
                    "_class_name": "MotionGPTPipeline",
                    "_library_name": "hftrainer",
                    "representation": self.representation,
                    "fps": self.statistics.spec.fps,
                    **({"text": text, "prompts": self.prompts} if pieces else {}),
                    "frame_range": list(self.frame_range),
                    "sampling": asdict(self.sampling),
                    "motion_tokenizer": asdict(self.motion_tokenizer.config),
                    "language_model": asdict(self.language_model.config),
                    "about": self.about,
                },
            )
            self.sha256 = folder_hash(out, PIECES_FILES if pieces else FILES)

    def normalize(self, motion: Motion) -> Tensor:
        """Motion -> ``(T, D)`` normalised numbers."""
        return self.statistics.normalize(motion)

    def denormalize(self, features: Tensor) -> Motion:
        """``(T, D)`` normalised numbers -> Motion."""
        return self.statistics.denormalize(features)

    @torch.no_grad()
    def tokenize(self, motion: Motion) -> list[int]:
        """Motion -> its codes, one for each ``frames_per_token`` frames."""
        tokens = self.motion_tokenizer.encode(self.normalize(motion)[None].to(self.device))
        return [int(t) for t in tokens[0]]

    def detokenize(self, codes: list[int]) -> Motion:
        """Codes -> Motion of ``len(codes) * frames_per_token`` frames."""
        return self.detokenize_together([codes])[0]

    @torch.no_grad()
    def detokenize_together(self, rows: Sequence[list[int]]) -> list[Motion]:
        """Codes of several motions -> their Motions; those of one length are decoded together, a few at a time.

        It takes less than half of the time of one after the other, and differs from that by float32 rounding.

        Raises:
            ValueError: a motion has no codes, or one that is none.
        """
        known, made = self.motion_tokenizer.config.codes, {}  # type: int, dict[int, Motion]
        for codes in rows:
            if not codes or any(not 0 <= code < known for code in codes):
                raise ValueError(f"codes must be one or more of 0 to {known - 1}; got {codes}.")
        for length in dict.fromkeys(map(len, rows)):
            alike = [at for at, codes in enumerate(rows) if len(codes) == length]
            for few in (alike[begin : begin + _TOGETHER] for begin in range(0, len(alike), _TOGETHER)):
                tokens = torch.tensor([rows[at] for at in few], device=self.device)
                made.update(zip(few, map(self.denormalize, self.motion_tokenizer.decode(tokens)), strict=True))
        return [made[at] for at in range(len(rows))]


def describe(folder: Path) -> dict[str, Any]:
    """What identifies an artifact, without loading its networks.

    Returns:
        ``hash`` as of the loaded bundle, ``parameters`` (numbers in each network) and ``statistics`` (which pair).

    Raises:
        ArtifactError: files are absent.
    """
    if release.is_release(folder):
        check_files(folder, release.FILES)
        mean, std = (np.load(folder / release.META / f"{name}.npy") for name in ("mean", "std"))
        files, counts = release.FILES, release.counts(folder)
    else:
        files = FILES if (folder / "words.safetensors").is_file() else PIECES_FILES
        check_files(folder, files)
        mean, std = np.load(folder / "Mean.npy"), np.load(folder / "Std.npy")
        networks = ("motion_tokenizer", "language_model")
        counts = {name: count_weights(folder / f"{name}.safetensors") for name in networks}
    name, _ = release.name_statistics(mean, std)
    return {"hash": folder_hash(folder, files)[:SHORT], "parameters": counts, "statistics": name}


def fill_words(network: LanguageModel, words: Words) -> None:
    """Put the frozen word vectors into a language model that reads them."""
    network.vocabulary.words.copy_(torch.from_numpy(words.vectors))  # type: ignore[operator, union-attr]
    network.vocabulary.word_scale.copy_(torch.from_numpy(words.scale))  # type: ignore[operator, union-attr]
