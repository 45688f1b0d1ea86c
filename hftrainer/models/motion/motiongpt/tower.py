"""The encoder of a MotionGPT as a text tower for other models: small, at hand without a download, taught on motion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from hftrainer.models.motion.motiongpt.network import LanguageModel, LanguageModelConfig, Stack, Vocabulary, mask_bias
from hftrainer.models.text import END, Words, pad, unknown_words

#: How the language model is asked for a motion; its encoder has seen sentences after these words more than any.
ASKING = "generate motion: "


class CaptionEncoder(nn.Module):
    """The encoder half of a language model that reads word vectors: ``(B, L)`` tokens -> ``(B, L, W)``.

    >>> config = LanguageModelConfig(40, 4, 32, 2, 16, 64, 1, 1, word_width=8)
    >>> CaptionEncoder(config)(torch.ones(2, 5, dtype=torch.long)).shape
    torch.Size([2, 5, 32])
    """

    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__()
        if config.word_width is None:
            raise ValueError("a caption encoder must read word vectors; got a model with learned rows.")
        self.config = config
        self.vocabulary, self.encoder = Vocabulary(config), Stack(config, decoder=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """States of every token; padding is 0."""
        at = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.vocabulary(tokens)
        bias = self.encoder.positions(at, at) + mask_bias(tokens != 0)
        for layer in self.encoder.layers:
            x, _ = layer(x, bias)
        return self.encoder.norm(x)


class CaptionTower:
    """A MotionGPT's encoder as one thing: sentences to vectors.

    Args:
        network: the encoder.
        tokenizer: words to token ids.

    Attributes:
        name: ``motiongpt``.
    """

    name = "motiongpt"

    def __init__(self, network: CaptionEncoder, tokenizer: Tokenizer) -> None:
        if tokenizer.get_vocab_size() != network.config.first_motion:
            raise ValueError(
                f"the tower must have a row for each of {tokenizer.get_vocab_size()} words; "
                f"got {network.config.first_motion}."
            )
        self.network, self.tokenizer = network.eval(), tokenizer

    @classmethod
    def of(cls, model: LanguageModel, words: Words) -> CaptionTower:
        """The encoder of a whole model, without the rows of motion tokens, which no sentence needs.

        Args:
            model: reads the vectors of ``words``.
            words: what its text tokens are.
        """
        few = 4  # the least that a language model has: one code and three marks
        config = replace(model.config, vocabulary=model.config.first_motion + few, motion_tokens=few, decoder_layers=1)
        network, state = CaptionEncoder(config), model.state_dict()
        mine = {name: state[name] for name in network.state_dict()}
        mine["vocabulary.motion.weight"] = mine["vocabulary.motion.weight"][:few]
        network.load_state_dict(mine)
        return cls(network, words.tokenizer)

    @property
    def width(self) -> int:
        """Width of a token's vector."""
        return self.network.config.width

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Sentences -> ``(B, L, W)`` float32, and ``(B, L)`` bool, True where a token is real."""
        rows = [self.tokenizer.encode(ASKING + text, add_special_tokens=False).ids + [END] for text in texts]
        ids = pad(rows).to(self.network.encoder.norm.weight.device)
        return self.network(ids).float(), ids != 0

    def unread(self, text: str) -> str:
        """What of a sentence is not read, because it is too long: nothing."""
        return ""

    def unknown(self, text: str) -> list[str]:
        """The words of a sentence that the tower has no vector for."""
        return unknown_words(self.tokenizer, text)

    def to(self, device: str | torch.device) -> CaptionTower:
        """Move the network."""
        self.network.to(device)
        return self
