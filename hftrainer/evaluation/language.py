"""How alike generated captions and references are: BLEU, ROUGE-L, CIDEr, and BERTScore where its package is present.

One prediction and one or more references for each item, plain strings. Every measure cleans its text in its own way, as
the libraries do that published numbers come from: MotionGPT's numbers come from ``bleu``, ``rouge_l`` and ``cider``,
those of the TM2T protocol from ``coco_bleu``, ``coco_rouge_l`` and the same ``cider``.
"""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import zip_longest

import numpy as np

from hftrainer.models.hub import offline


class ScorerAbsent(ValueError):
    """A measure that needs a package or a model which is not on this machine."""


#: Words in their sentence to their base forms, one for each.
Lemmatiser = Callable[[list[str]], list[str]]
_Grams = Counter[tuple[str, ...]]
#: What BERTScore gets for a sentence without a word: the end mark, which every row of RoBERTa has, so its weight is 0.
#: The package asks tokenizers for an empty sentence by a method that those of transformers 5 have no more.
_NOTHING = "</s>"
_PUNCTUATION = str.maketrans(string.punctuation, " " * len(string.punctuation))


def _grams(words: Sequence[str], size: int) -> _Grams:
    return Counter(tuple(words[i : i + size]) for i in range(len(words) - size + 1))


@dataclass(frozen=True)
class Bleu:
    """One order of BLEU over a corpus.

    Attributes:
        score: the number, 0 to 1.
        precisions: of word groups of 1, 2, … words.
        brevity: the penalty for predictions shorter than their references.
        words: in all predictions.
        reference_words: in the shortest reference of each item.
    """

    score: float
    precisions: tuple[float, ...]
    brevity: float
    words: int
    reference_words: int

    @property
    def length_ratio(self) -> float:
        """Words of the predictions for each word of the references."""
        return self.words / self.reference_words


def bleu(predictions: Sequence[str], references: Sequence[Sequence[str]], order: int = 4) -> Bleu:
    """BLEU (Papineni et al., ACL 2002) over the whole corpus, with the shortest reference's length, not smoothed.

    Text is lower-cased and punctuation becomes space.

    Args:
        predictions: one sentence an item.
        references: one or more an item.
        order: longest word group that is counted.

    Raises:
        ValueError: no items, an item without references, or references without words.

    >>> bleu(["A man walks forward slowly."], [["a man walks forward slowly"]]).score
    1.0
    """
    _check(predictions, references)
    if order < 1:
        raise ValueError(f"the order of BLEU must be at least 1; got {order}.")
    found, possible, words, shortest = [0] * order, [0] * order, 0, 0
    for prediction, known in zip(predictions, references, strict=True):
        said, *wanted = (text.translate(_PUNCTUATION).lower().split() for text in (prediction, *known))
        words += len(said)
        shortest += min(map(len, wanted))
        for size in range(1, order + 1):
            most: _Grams = Counter()
            for reference in wanted:
                most |= _grams(reference, size)
            found[size - 1] += (_grams(said, size) & most).total()
            possible[size - 1] += max(0, len(said) - size + 1)
    if not shortest:
        raise ValueError("BLEU needs references with words; their shortest have none.")
    precisions = tuple(f / p if p else 0.0 for f, p in zip(found, possible, strict=True))
    brevity = 1.0 if words > shortest else math.exp(1 - shortest / words) if words else 0.0
    score = brevity * math.exp(sum(map(math.log, precisions)) / order) if all(precisions) else 0.0
    return Bleu(score, precisions, brevity, words, shortest)


def coco_bleu(predictions: Sequence[str], references: Sequence[Sequence[str]], order: int = 4) -> tuple[float, ...]:
    """BLEU-1 to BLEU-``order`` over the corpus as the COCO caption tools compute them.

    Words are what stands between spaces; the reference whose length is nearest counts, of two the shorter; counts of
    word groups have 1e-15 added above and 1e-9 below the line, so that nothing is undefined.

    Args:
        predictions: one sentence an item.
        references: one or more an item.
        order: longest word group that is counted.

    Raises:
        ValueError: no items, or an item without references.

    >>> [round(score, 6) for score in coco_bleu(["a man walks on"], [["a man walks"]], 2)]
    [0.75, 0.707107]
    """
    _check(predictions, references)
    found, possible, words, nearest = [0] * order, [0] * order, 0, 0
    for prediction, known in zip(predictions, references, strict=True):
        said, wanted = prediction.split(), [text.split() for text in known]
        words += len(said)
        nearest += min((abs(len(one) - len(said)), len(one)) for one in wanted)[1]
        for size in range(1, order + 1):
            most: _Grams = Counter()
            for reference in wanted:
                most |= _grams(reference, size)
            found[size - 1] += (_grams(said, size) & most).total()
            possible[size - 1] += max(0, len(said) - size + 1)
    ratio = (words + _ABOVE) / (nearest + _BELOW)
    brevity = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    scores, product = [], 1.0
    for size in range(order):
        product *= (found[size] + _ABOVE) / (possible[size] + _BELOW)
        scores.append(product ** (1 / (size + 1)) * brevity)
    return tuple(scores)


#: What the COCO caption tools add to counts.
_ABOVE, _BELOW = 1e-15, 1e-9


def coco_rouge_l(predictions: Sequence[str], references: Sequence[Sequence[str]], beta: float = 1.2) -> np.ndarray:
    """ROUGE-L as the COCO caption tools compute it: best precision and best recall over an item's references.

    Words are what stands between spaces. ``(1 + b^2) p r / (r + b^2 p)``.

    Args:
        predictions: one sentence an item.
        references: one or more an item.
        beta: how much more recall counts than precision.

    Returns:
        ``(N,)``, one number an item; their mean is the usual score.

    Raises:
        ValueError: no items, or an item without references.

    >>> coco_rouge_l(["a man walks"], [["a man walks", "he goes"]]).tolist()
    [1.0]
    """
    _check(predictions, references)
    scores = []
    for prediction, known in zip(predictions, references, strict=True):
        said, wanted = prediction.split(" "), [text.split(" ") for text in known]
        common = [_common(said, one) for one in wanted]
        precision = max(n / len(said) for n in common)
        recall = max(n / len(one) for n, one in zip(common, wanted, strict=True))
        below = recall + beta**2 * precision
        scores.append((1 + beta**2) * precision * recall / below if precision and recall else 0.0)
    return np.array(scores)


def rouge_l(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """ROUGE-L (Lin, 2004): F-measure of the longest common subsequence, the best over an item's references.

    Text is lower-cased, all but ASCII letters and digits becomes space, and there is no stemming.

    Returns:
        ``(N,)``, one number an item; their mean is the usual score.

    Raises:
        ValueError: no items, or an item without references.

    >>> rouge_l(["a man walks"], [["a man walks", "he goes"]]).tolist()
    [1.0]
    """
    _check(predictions, references)
    rows = zip(predictions, references, strict=True)
    return np.array([max(_rouge(_letters(said), _letters(one)) for one in known) for said, known in rows])


def _letters(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def _common(said: Sequence[str], wanted: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(wanted) + 1)
    for word in said:
        before = 0
        for i, other in enumerate(wanted, 1):
            before, row[i] = row[i], before + 1 if word == other else max(row[i], row[i - 1])
    return row[-1]


def _rouge(said: list[str], wanted: list[str]) -> float:
    common = _common(said, wanted)
    if not common:
        return 0.0
    precision, recall = common / len(said), common / len(wanted)
    return 2 * precision * recall / (precision + recall)


def resampled_median(values: np.ndarray, rng: np.random.RandomState, draws: int = 1000) -> float:
    """Median of the means of ``draws`` samples with replacement: what the reference's library reports for ROUGE.

    Args:
        values: ``(N,)``.
        rng: ``np.random.RandomState(seed)`` draws what the reference does after seeding NumPy.
        draws: how many.
    """
    return float(np.median([values[rng.choice(len(values), len(values))].mean() for _ in range(draws)]))


def cider(
    predictions: Sequence[str], references: Sequence[Sequence[str]], order: int = 4, sigma: float = 6
) -> np.ndarray:
    """CIDEr (Vedantam et al., CVPR 2015) with clipped counts and a Gaussian penalty on length, times ten.

    Words are what stands between spaces: case and punctuation count. How rare a word group is, is learnt from the
    references given, so numbers of different sets cannot be compared.

    Args:
        predictions: one sentence an item.
        references: one or more an item.
        order: longest word group that is counted.
        sigma: words of difference in length that are forgiven.

    Returns:
        ``(N,)``, one number an item; their mean is the usual score. With one item all are 0.

    Raises:
        ValueError: no items, or an item without references.
    """
    _check(predictions, references)
    wanted = [[_weights(text.split(), order) for text in known] for known in references]
    seen: _Grams = Counter()
    for known_counts in wanted:
        seen.update(set().union(*known_counts))
    items = math.log(len(predictions))
    scores = []
    for prediction, known_counts in zip(predictions, wanted, strict=True):
        said = _weights(prediction.split(), order)
        scores.append(np.mean([_cider(said, one, seen, items, order, sigma) for one in known_counts]))
    return 10 * np.array(scores)


def _weights(words: Sequence[str], order: int) -> _Grams:
    counts: _Grams = Counter()
    for size in range(1, order + 1):
        counts += _grams(words, size)
    return counts


def _cider(said: _Grams, wanted: _Grams, seen: _Grams, items: float, order: int, sigma: float) -> float:
    def weighed(counts: _Grams, size: int) -> dict[tuple[str, ...], float]:
        return {g: c * (items - math.log(max(1, seen[g]))) for g, c in counts.items() if len(g) == size}

    # Lengths are numbers of word pairs, as in the reference's library.
    longer = sum(c for g, c in said.items() if len(g) == 2) - sum(c for g, c in wanted.items() if len(g) == 2)
    total = 0.0
    for size in range(1, order + 1):
        mine, theirs = weighed(said, size), weighed(wanted, size)
        both = sum(min(weight, theirs[g]) * theirs[g] for g, weight in mine.items() if g in theirs)
        norm = math.sqrt(sum(w * w for w in mine.values()) * sum(w * w for w in theirs.values()))
        total += both / norm if norm else both
    return total / order * math.exp(-(longer**2) / (2 * sigma**2))


def bert_score(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """BERTScore F1 (Zhang et al., ICLR 2020): English, inverse document frequencies, rescaled; best reference of each.

    A sentence without a word is like nothing: 0 before it is rescaled.

    Args:
        predictions: one sentence an item.
        references: one or more an item.

    Returns:
        The mean over items.

    Raises:
        ScorerAbsent: the package bert_score or the model it reads is not on this machine.
        ValueError: no items, or an item without references.
    """
    _check(predictions, references)
    try:
        package = import_module("bert_score")
    except ImportError as error:
        raise ScorerAbsent(
            "BERTScore must have the package bert_score; it is not installed. pip install 'hftrainer[bertscore]'."
        ) from error
    try:
        with offline():  # a report reads what is on this machine, whatever the network is like
            _, _, scores = package.score(
                [text.strip() or _NOTHING for text in predictions],
                [[text.strip() or _NOTHING for text in known] for known in references],
                lang="en", idf=True, rescale_with_baseline=True,
            )  # fmt: skip
    except OSError as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ScorerAbsent(f"BERTScore must have its language model on this machine; got {reason}") from error
    return float(scores.mean())


def processed(text: str, lemmatise: Lemmatiser | None = None) -> str:
    """A caption as the reference's text processing leaves it: hyphens gone, words of letters only, base forms.

    Args:
        text: a sentence.
        lemmatise: base forms of the words in their sentence; ``None`` leaves the words as they are.

    >>> processed("The man does a 2-step T-pose, then waves.")
    'The man does a Tpose then waves'
    """
    words = [word for word in re.findall(r"\w+|[^\w\s]", text.replace("-", "")) if word.isalpha()]
    return " ".join(words if lemmatise is None else lemmatise(words))


def three(references: Sequence[str]) -> list[str]:
    """Exactly three references, as the reference implementation takes them.

    >>> three(["a", "b", "c", "d"]), three(["a", "b"]), three(["a"])
    (['a', 'b', 'c'], ['a', 'b', 'a'], ['a', 'a', 'a'])
    """
    if not references:
        raise ValueError("an item must have at least 1 reference; got none.")
    return [first or references[0] for first, _ in zip_longest(references[:3], range(3))]


def _check(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    if not predictions or len(predictions) != len(references):
        raise ValueError(f"every prediction must have references; got {len(predictions)} and {len(references)}.")
    empty = [i for i, known in enumerate(references) if isinstance(known, str) or not known]
    if empty:
        raise ValueError(f"references must be one or more strings for each item; items {empty[:10]} have none.")
