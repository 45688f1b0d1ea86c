"""A real MotionGPT bundle, small enough for a test: random weights, a handful of words."""

import numpy as np
import torch

from hftrainer.models.motion.motiongpt.bundle import MotionGPTBundle, Statistics, fill_words
from hftrainer.models.motion.motiongpt.network import (
    LanguageModel,
    LanguageModelConfig,
    MotionTokenizer,
    TokenizerConfig,
)
from hftrainer.models.text import Words
from hftrainer.motion.representation.specs import REPRESENTATIONS

WORDS = (
    "a person walks forward runs jumps then left right generate motion text with frames seconds predict 40 80".split()
)


def words() -> Words:
    """Words with random vectors."""
    return Words.build(WORDS, lambda w: np.random.default_rng(0).normal(size=(len(w), 24)), 8)


def bundle(codes: int = 16, representation: str = "hml263") -> MotionGPTBundle:
    """Untrained networks with a codebook that has been used, and statistics of a plausible size."""
    torch.manual_seed(0)
    features = REPRESENTATIONS[representation].shape[0]
    tokenizer = MotionTokenizer(TokenizerConfig(features, codes=codes, code_width=8, width=16, depth=1))
    tokenizer.train()(torch.randn(2, 64, features))
    text = words()
    vocabulary = text.with_motion(codes).get_vocab_size()
    language = LanguageModel(LanguageModelConfig(vocabulary, codes + 3, 16, 2, 8, 32, 1, 1, dropout=0.1, word_width=8))
    fill_words(language, text)
    rng = np.random.default_rng(1)
    statistics = Statistics(rng.normal(size=features) * 0.1, rng.uniform(0.05, 0.2, features), representation)
    return MotionGPTBundle(tokenizer, language, text, statistics, (8, 64), {"name": "tiny"})
