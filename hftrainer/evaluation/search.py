"""Search: a sentence or a motion to the motions or sentences that an evaluator puts nearest to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hftrainer.data.words import tokens
from hftrainer.models.evaluator import AnyEvaluator, Evaluator
from hftrainer.motion.clip import Motion
from hftrainer.motion.representation.convert import convert

#: Frames that an evaluator needs at least.
FEWEST = 4


@dataclass(frozen=True)
class Found:
    """One answer.

    Attributes:
        name: of the motion, or the sentence itself.
        distance: between the points of question and answer; 0 is the same.
    """

    name: str
    distance: float


def points(evaluator: AnyEvaluator, items: Sequence[str | Motion]) -> np.ndarray:
    """Sentences and motions, mixed as they come, in the evaluator's space.

    Args:
        evaluator: puts both into one space.
        items: sentences as they are written; motions of any representation that leads to the evaluator's.

    Returns:
        ``(N, width)`` float32.

    Raises:
        ValueError: a motion has fewer than 4 frames.
        NoRouteError: a motion cannot become what the evaluator reads.
    """
    found = np.zeros((len(items), evaluator.width), np.float32)
    said = [row for row, item in enumerate(items) if isinstance(item, str)]
    texts = [item for item in items if isinstance(item, str)]
    if texts:
        if isinstance(evaluator, Evaluator):
            found[said] = evaluator.texts([tokens(text).split() for text in texts])
        else:
            found[said] = evaluator.texts(texts)
    moved = [row for row, item in enumerate(items) if isinstance(item, Motion)]
    motions = [readable(evaluator, item) for item in items if isinstance(item, Motion)]
    for row, motion in zip(moved, motions, strict=True):  # one by one: company changes the last bits of a distance
        found[row] = evaluator.motions([motion])[0]
    return found


def readable(evaluator: AnyEvaluator, motion: Motion) -> Motion:
    """A motion as the evaluator reads it.

    Raises:
        ValueError: it has fewer than 4 frames.
        NoRouteError: there is no road.
    """
    fits = motion.representation.name == evaluator.representation
    motion = motion if fits else convert(motion, evaluator.representation)
    if len(motion) < FEWEST:
        raise ValueError(f"a motion must have at least {FEWEST} frames here; got {len(motion)}. Leave it out.")
    return motion


def nearest(question: np.ndarray, answers: np.ndarray, names: Sequence[str], most: int = 10) -> list[Found]:
    """The nearest answers, nearest first; equal distances keep their order.

    Args:
        question: ``(width,)``.
        answers: ``(N, width)``.
        names: of the answers.
        most: how many at most.

    >>> [one.name for one in nearest(np.zeros(2), np.array([[3.0, 4.0], [1.0, 0.0]]), ["far", "near"], 1)]
    ['near']
    """
    apart = np.linalg.norm(answers.astype(np.float64) - question, axis=1)
    return [Found(names[row], float(apart[row])) for row in np.argsort(apart, kind="stable")[:most]]
