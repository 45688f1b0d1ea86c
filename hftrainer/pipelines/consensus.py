"""Which of several captions to keep: one that says what most of them say, and that fits the motion.

The likeliest sentence of a model is often its blandest, and a drawn one may be wrong. The one that is most like all
the others is wrong less often (minimum Bayes risk; Kumar & Byrne, "Minimum Bayes-risk decoding for statistical machine
translation", NAACL 2004). The built-in evaluator, which read neither prompt nor probabilities, has the other half of
the say, so captions chosen here are not to be scored with that evaluator again.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from hftrainer.errors import NoRouteError
from hftrainer.models.evaluator import similarity
from hftrainer.motion.clip import Motion

#: Longest group of words that is compared, as of BLEU.
_LONGEST = 4


def alike(one: str, two: str) -> float:
    """How much two sentences share, 0 to 1: the share of word groups of 1 to 4 words that both have, mean of the sizes.

    >>> alike("a man walks", "A man walks."), alike("a man walks", "she sits"), alike("a man walks", "a man runs") > 0
    (1.0, 0.0, True)
    """
    said, told = (re.findall(r"[a-z0-9']+", text.lower()) for text in (one, two))
    shares = []
    for size in range(1, _LONGEST + 1):
        first, second = (Counter(zip(*(words[k:] for k in range(size)), strict=False)) for words in (said, told))
        if both := first.total() + second.total():
            shares.append(2 * (first & second).total() / both)
    return float(np.mean(shares)) if shares else 0.0


def agreement(captions: Sequence[str]) -> np.ndarray:
    """``(N,)`` how much each sentence shares with all of them.

    >>> agreement(["a man walks", "a man walks", "she sits"]).round(2).tolist()
    [0.67, 0.67, 0.33]
    """
    known = {text: i for i, text in enumerate(dict.fromkeys(captions))}
    table = np.array([[alike(one, two) for two in known] for one in known])
    rows = [known[text] for text in captions]
    return np.asarray(table[np.ix_(rows, rows)].mean(axis=1))


def best_caption(captions: Sequence[str], motion: Motion) -> str:
    """The caption to keep: most agreement and fit together; of equals the first.

    Args:
        captions: drawn for one motion, at least one.
        motion: what they describe. Where the built-in evaluator cannot read it, agreement alone decides.

    Raises:
        ValueError: no captions.

    >>> still = Motion(np.zeros((40, 263)), "hml263", fps=20)
    >>> best_caption(["a person stands still", "a person stands", "a person stands still"], still)
    'a person stands still'
    """
    if not captions:
        raise ValueError("captions must hold at least 1 sentence; got none.")
    if len(set(captions)) == 1:
        return captions[0]
    try:
        fits = similarity(list(captions), [motion])[:, 0]
    except NoRouteError:  # KIT's motions, for one: then agreement decides
        fits = np.zeros(len(captions))
    return captions[int((agreement(captions) + fits).argmax())]
