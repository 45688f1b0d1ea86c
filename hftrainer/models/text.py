"""Text sides of language models: words with frozen vectors, or the pieces of a published tokenizer; and motion tokens.

Both kinds have ``with_motion(codes)``, which gives one ``tokenizers.Tokenizer`` for text and motion.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

from hftrainer.errors import ArtifactError

PAD, END, UNKNOWN = 0, 1, 2
_SPECIAL = ("<pad>", "</s>", "<unk>")
_FILES = ("tokenizer.json", "words.safetensors")
#: GPT-2's one special token: it ends a text, and pads.
GPT2_END = "<|endoftext|>"
#: What stands between a prompt and its answer where one network reads both.
ANSWER = " \n "


def motion_token(index: int) -> str:
    """The string of one motion token, ``<motion_id_12>``."""
    return f"<motion_id_{index}>"


@dataclass(frozen=True)
class Words:
    """A vocabulary of words with a frozen vector each.

    Attributes:
        tokenizer: text to token ids; its first ids are padding 0, end 1, unknown 2.
        vectors: ``(V, E)`` int8, row i belongs to token i.
        scale: ``(E,)`` float32; a vector is ``vectors * scale``.
    """

    tokenizer: Tokenizer
    vectors: np.ndarray
    scale: np.ndarray

    @classmethod
    def load(cls, folder: str | Path) -> Words:
        """Read ``tokenizer.json`` and ``words.safetensors``.

        Raises:
            ArtifactError: a file is absent, or the two do not belong together.
        """
        folder = Path(folder)
        absent = [name for name in _FILES if not (folder / name).is_file()]
        if absent:
            raise ArtifactError(f"{folder} must hold {' and '.join(_FILES)}; absent: {', '.join(absent)}.")
        arrays = load_file(folder / "words.safetensors")
        tokenizer = Tokenizer.from_buffer((folder / "tokenizer.json").read_bytes())
        if len(arrays["vectors"]) != tokenizer.get_vocab_size(with_added_tokens=False):
            raise ArtifactError(
                f"{folder}: words.safetensors must have one row a word, {tokenizer.get_vocab_size(False)}; "
                f"got {len(arrays['vectors'])}."
            )
        return cls(tokenizer, arrays["vectors"], arrays["scale"])

    def save(self, folder: str | Path) -> None:
        """Write the two files that ``load`` reads."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.tokenizer.save(str(folder / "tokenizer.json"))
        save_file({"vectors": self.vectors, "scale": self.scale}, folder / "words.safetensors")

    @classmethod
    def build(cls, words: Sequence[str], embed: Callable[[list[str]], np.ndarray], width: int = 64) -> Words:
        """Words and their vectors, reduced to ``width`` principal directions and eight bits.

        Args:
            words: distinct lower-case words; numbers are allowed.
            embed: words -> ``(N, C)`` float vectors, for instance a sentence encoder's.
            width: ``E``.
        """
        words = sorted(set(words))
        vectors = embed(words).astype(np.float64)
        vectors = vectors - vectors.mean(0)
        _, _, directions = np.linalg.svd(vectors, full_matrices=False)
        vectors = vectors @ directions[:width].T
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True) / np.sqrt(width)  # unit mean square
        vectors = np.concatenate([np.zeros((len(_SPECIAL), width)), vectors])
        scale = np.abs(vectors).max(0) / 127
        tokenizer = Tokenizer(
            models.WordLevel({word: i for i, word in enumerate((*_SPECIAL, *words))}, unk_token="<unk>")
        )
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase(),
             normalizers.Replace(Regex("['’]s\\b"), "")]
        )  # fmt: skip
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("[^a-z0-9<>_/]+"), "removed")
        return cls(tokenizer, np.round(vectors / scale).astype(np.int8), scale.astype(np.float32))

    def with_motion(self, codes: int) -> Tokenizer:
        """A tokenizer that also knows ``codes`` motion tokens and the start, end and mask tokens after them."""
        tokenizer = Tokenizer.from_str(self.tokenizer.to_str())
        tokenizer.add_tokens([AddedToken(motion_token(i), normalized=False) for i in range(codes + 3)])
        return tokenizer


@dataclass(frozen=True)
class Pieces:
    """A published tokenizer of word pieces, its pipeline taken as the file has it.

    A class that rebuilds T5's pipeline from the vocabulary alone loses the lone ``▁`` before a motion token, and the
    model then reads other ids than it was trained with; so ``tokenizer.json`` itself is what is loaded and kept.

    Attributes:
        tokenizer: text to token ids; its first ids are padding 0, end 1, unknown 2. It may know motion tokens already.
    """

    tokenizer: Tokenizer

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read ``tokenizer.json``.

        Raises:
            ArtifactError: the file is absent, is no tokenizer, or numbers padding, end and unknown otherwise.
        """
        file = Path(folder) / "tokenizer.json"
        if not file.is_file():
            raise ArtifactError(f"{folder} must hold tokenizer.json; absent: tokenizer.json.")
        try:
            value = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:  # not JSON, or not text
            raise ArtifactError(f"{file} must be a tokenizer in JSON; got {error}.") from error
        model = value.get("model") if isinstance(value, dict) else None
        if not isinstance(model, dict) or model.get("type") not in ("Unigram", "WordLevel", "BPE", "WordPiece"):
            raise ArtifactError(f"{file} must be a tokenizer with a model in it; got none. Copy the published file.")
        tokenizer = Tokenizer.from_buffer(file.read_bytes())
        cls._check(tokenizer, file)
        return cls(tokenizer)

    @staticmethod
    def _check(tokenizer: Tokenizer, file: Path) -> None:
        ids = [tokenizer.token_to_id(token) for token in _SPECIAL]
        if ids != [PAD, END, UNKNOWN]:
            raise ArtifactError(f"{file} must number {', '.join(_SPECIAL)} as 0, 1, 2; got {ids}. Is it T5's?")

    def save(self, folder: str | Path) -> None:
        """Write the file that ``load`` reads."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.tokenizer.save(str(folder / "tokenizer.json"))

    def size(self, codes: int) -> int:
        """How many tokens there are before the motion tokens."""
        known = [motion_token(i) for i in range(codes + 3) if self.tokenizer.token_to_id(motion_token(i)) is not None]
        return int(self.tokenizer.get_vocab_size()) - len(known)

    def with_motion(self, codes: int) -> Tokenizer:
        """A tokenizer that also knows ``codes`` motion tokens and the start, end and mask tokens after them.

        The tokens are ordinary added ones, matched in normalised text, as the original adds them.

        Raises:
            ArtifactError: the tokenizer knows some motion tokens already, by other ids.
        """
        tokenizer = Tokenizer.from_str(self.tokenizer.to_str())
        tokenizer.add_tokens([motion_token(i) for i in range(codes + 3)])
        first = self.size(codes)
        wrong = [i for i in range(codes + 3) if tokenizer.token_to_id(motion_token(i)) != first + i]
        if wrong:
            raise ArtifactError(
                f"tokenizer.json must number {motion_token(0)} to {motion_token(codes + 2)} from {first}; got "
                f"{tokenizer.token_to_id(motion_token(wrong[0]))} for {motion_token(wrong[0])}. Use the published file."
            )
        return tokenizer


class GPT2Pieces(Pieces):
    """GPT-2's published tokenizer: pieces of bytes, with one special token that ends a text and pads."""

    @staticmethod
    def _check(tokenizer: Tokenizer, file: Path) -> None:
        if tokenizer.token_to_id(GPT2_END) is None:
            raise ArtifactError(f"{file} must have the token {GPT2_END}; it has none. Is it GPT-2's?")

    @property
    def end(self) -> int:
        """Token id of the special token."""
        found: Any = self.tokenizer.token_to_id(GPT2_END)  # checked when it was read
        return int(found)


def unknown_words(tokenizer: Tokenizer, text: str) -> list[str]:
    """The words of ``text`` that the tokenizer has no token for."""
    encoding = tokenizer.encode(text, add_special_tokens=False)
    return [text[a:b] for i, (a, b) in zip(encoding.ids, encoding.offsets, strict=True) if i == UNKNOWN]


def foreign_letters(text: str) -> str:
    """The letters of ``text`` that are not Latin, in order, each once."""
    return "".join(dict.fromkeys(c for c in text if c.isalpha() and not re.match(r"[A-Za-zÀ-ɏ]", c)))


#: What a space before is taken away from, in this order, when tokens become a text.
_ATTACHED = (".", "?", "!", ",", "n't", "'m", "'s", "'ve", "'re")


def attach_punctuation(text: str) -> str:
    """Decoded text without the spaces before punctuation and shortened words.

    The library that MotionGPT was released with did so by default; captions are compared in this form.

    >>> attach_punctuation("it is n't far , he 's there .")
    "it isn't far, he's there."
    """
    for i, mark in enumerate(_ATTACHED):
        text = text.replace(f" {mark}", mark)
        if i == 3:  # after the punctuation, before the shortened words
            text = text.replace(" ' ", "'")
    return text


def pad(rows: Sequence[Sequence[int]], length: int | None = None) -> torch.Tensor:
    """Token lists -> ``(B, L)`` filled with padding on the right."""
    length = max(map(len, rows)) if length is None else length
    out = torch.zeros(len(rows), length, dtype=torch.long)
    for i, row in enumerate(rows):
        out[i, : len(row)] = torch.as_tensor(row, dtype=torch.long)
    return out
