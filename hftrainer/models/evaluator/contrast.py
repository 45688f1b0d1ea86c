"""Our own evaluator: sentences and motions as points on one sphere, learned by telling the right pair from all others.

Small networks, no grammar and no download: words come with frozen vectors, motions are hml263 or kit251. Distances of
points go from 0 to 2; they may be compared among themselves and with no other evaluator's.

Source: the symmetric loss is that of Radford et al. 2021 (CLIP), section 2.3; motions were first matched with it by
Petrovich et al. 2023 (TMR). The networks are our own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from hftrainer.errors import ArtifactError
from hftrainer.models.artifact import file_hash, folder_hash, read_config, save_weights, write_json, written_folder
from hftrainer.models.evaluator.network import CONTACTS, FRAMES_PER_MOVEMENT, blanked
from hftrainer.models.evaluator.sentences import FILES, TOKENIZER, SentenceEvaluator
from hftrainer.models.text import END, Words, pad, unknown_words

#: Largest factor that similarities are multiplied by before the softmax.
_MOST_SCALE = math.log(100)


@dataclass(frozen=True)
class ContrastConfig:
    """Sizes of the networks; the defaults are those of evaluator-mini.

    Attributes:
        vocabulary: words with a vector, special ones included.
        word_width: of a word vector.
        features: channels of a frame, the four foot contacts included, which are not read.
        hidden, heads, feed_forward: of the transformers.
        text_layers, motion_layers: of the two of them.
        width: of the points.
        most_frames: frames of a motion beyond so many are not read.
        dropout: of what the transformers read, while training. Inside them it would cost a processor half of its time.

    Raises:
        ValueError: a size below 1, heads that do not divide the width, or a dropout that is no share.
    """

    vocabulary: int
    word_width: int = 64
    features: int = 263
    hidden: int = 128
    heads: int = 4
    feed_forward: int = 384
    text_layers: int = 2
    motion_layers: int = 3
    width: int = 128
    most_frames: int = 200
    dropout: float = 0.1

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            least = {"features": CONTACTS + 1, "most_frames": FRAMES_PER_MOVEMENT}.get(name, 1)
            if name != "dropout" and (type(value) is not int or value < least):
                raise ValueError(f"{name} must be a whole number of at least {least}; got {value!r}.")
        if self.hidden % (2 * self.heads):
            raise ValueError(f"hidden must be a multiple of twice heads; got {self.hidden} and {self.heads}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be 0 or more and below 1; got {self.dropout}.")


class Reader(nn.Module):
    """A sequence to one point of unit length: transformer over places, mean over what is real, linear."""

    def __init__(self, config: ContrastConfig, layers: int) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            config.hidden, config.heads, config.feed_forward, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, layers, nn.LayerNorm(config.hidden), enable_nested_tensor=False)
        self.readout, self.dropout = nn.Linear(config.hidden, config.width), nn.Dropout(config.dropout)

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        """``(B, L, hidden)``, ``(B, L)`` bool -> ``(B, width)``, each of length 1."""
        x = self.layers(self.dropout(x) + _places(x), src_key_padding_mask=~real)
        weight = real[..., None].to(x.dtype)
        return F.normalize(self.readout((x * weight).sum(1) / weight.sum(1)).float(), dim=-1)


def _places(x: Tensor) -> Tensor:
    """``(L, hidden)`` sines and cosines (Vaswani et al. 2017, section 3.5)."""
    length, width = x.shape[1:]
    rate = torch.exp(torch.arange(0, width, 2, device=x.device) * (-math.log(10000.0) / width))
    angle = torch.arange(length, device=x.device)[:, None] * rate
    return torch.cat([angle.sin(), angle.cos()], -1).to(x.dtype)


class ContrastNetwork(nn.Module):
    """Sentences and motions to points of unit length.

    Args:
        config: sizes.

    >>> net = ContrastNetwork(ContrastConfig(10, 4, hidden=12, heads=2, feed_forward=8, width=5)).eval()
    >>> net.encode_texts(torch.tensor([[3, 4, 1], [5, 1, 0]])).shape
    torch.Size([2, 5])
    >>> net.encode_motions(torch.zeros(2, 40, 263), torch.tensor([40, 24])).norm(dim=-1).round().tolist()
    [1.0, 1.0]
    """

    vectors: Tensor
    scale: Tensor

    def __init__(self, config: ContrastConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("vectors", torch.zeros(config.vocabulary, config.word_width, dtype=torch.int8))
        self.register_buffer("scale", torch.ones(config.word_width))
        self.word = nn.Linear(config.word_width, config.hidden)
        self.text = Reader(config, config.text_layers)
        self.first = nn.Conv1d(config.features - CONTACTS, config.hidden, 4, 2, 1)
        self.second = nn.Conv1d(config.hidden, config.hidden, 4, 2, 1)
        self.motion = Reader(config, config.motion_layers)
        self.sharpness = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def encode_texts(self, tokens: Tensor) -> Tensor:
        """``(B, L)`` token ids, padded with 0 -> ``(B, width)``."""
        return self.text(self.word(self.vectors[tokens].float() * self.scale), tokens != 0)

    def encode_motions(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Motions to points; each as if it were alone.

        Args:
            features: ``(B, T, features)`` normalised; what stands behind a length is padding.
            lengths: ``(B,)`` frames of each motion, whole fours.

        Returns:
            ``(B, width)``.
        """
        x = blanked(features[..., :-CONTACTS], lengths).transpose(1, 2)
        x = blanked(F.gelu(self.first(x)).transpose(1, 2), lengths // 2).transpose(1, 2)
        x = F.gelu(self.second(x)).transpose(1, 2)
        real = torch.arange(x.shape[1], device=x.device) < (lengths // FRAMES_PER_MOVEMENT)[:, None].to(x.device)
        return self.motion(x, real)

    def similarity(self, texts: Tensor, motions: Tensor) -> Tensor:
        """``(N, width)``, ``(M, width)`` -> ``(N, M)`` logits: cosines times the learned sharpness."""
        return texts @ motions.T * self.sharpness.clamp(max=_MOST_SCALE).exp()


class ContrastEvaluator(SentenceEvaluator):
    """Our own evaluator as one object; what it was trained on stands in ``about``."""

    kind = "contrast"
    network: ContrastNetwork

    def __init__(
        self, network: ContrastNetwork, tokenizer: Tokenizer | None, mean: np.ndarray, std: np.ndarray
    ) -> None:
        self.representation = representation_of(network.config.features)
        super().__init__(network, tokenizer, mean, std)

    @classmethod
    def of(cls, network: ContrastNetwork, words: Words, mean: np.ndarray, std: np.ndarray) -> ContrastEvaluator:
        """A network that was trained on ``words``, with them."""
        return cls(network, words.tokenizer, mean, std)

    @property
    def width(self) -> int:
        """Numbers of a point."""
        return self.network.config.width

    def unknown(self, sentence: str) -> list[str]:
        """The words of a sentence that have no vector and are read as nothing."""
        assert self.tokenizer is not None
        return unknown_words(self.tokenizer, sentence)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the evaluator to a folder that ``from_pretrained`` reads, its weights in half precision.

        ``model_index.json`` beside them names the files with their SHA-256.
        """
        assert self.tokenizer is not None
        with written_folder(folder) as out:
            about = {"about": self.about} if self.about else {}
            write_json(out / FILES[0], {"kind": self.kind, **asdict(self.network.config), **about})
            save_weights(self.network, out / FILES[1], torch.float16)
            np.save(out / "Mean.npy", self.mean)
            np.save(out / "Std.npy", self.std)
            self.tokenizer.save(str(out / TOKENIZER))
            hashes = {name: file_hash(out / name) for name in (*FILES, TOKENIZER)}
            write_json(out / "model_index.json", {"_class_name": type(self).__name__, "files": hashes})
            self.sha256 = folder_hash(out, (*FILES, TOKENIZER))

    def _check_words(self) -> None:
        have, need = 0 if self.tokenizer is None else self.tokenizer.get_vocab_size(), self.network.config.vocabulary
        if have != need:
            raise ArtifactError(f"the evaluator's {TOKENIZER} must have {need} words, one for each vector; got {have}.")

    @classmethod
    def _network(cls, config: dict[str, Any]) -> nn.Module:
        return ContrastNetwork(read_config(ContrastConfig, config, FILES[0]))

    def _encode_texts(self, sentences: Sequence[str]) -> Tensor:
        assert self.tokenizer is not None
        return self.network.encode_texts(token_rows(self.tokenizer, sentences))

    def _encode_motions(self, features: Tensor, lengths: Tensor) -> Tensor:
        return self.network.encode_motions(features, lengths)


def representation_of(features: int) -> str:
    """Whose channels so many are: ``hml263``, or ``kit251``."""
    return "kit251" if features == 251 else "hml263"


def token_rows(tokenizer: Tokenizer, sentences: Sequence[str]) -> Tensor:
    """``(B, L)`` token ids, each sentence with its end mark, so that none is empty; padded with 0."""
    return pad([[*tokenizer.encode(text, add_special_tokens=False).ids, END] for text in sentences])
