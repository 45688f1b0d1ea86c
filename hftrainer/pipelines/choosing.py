"""Several motions drawn for one sentence, of which the one is kept that fits it best.

What a model draws varies: of several motions, one often does what the others leave out. Which one it is, two readers
tell that know nothing of the model: the built-in evaluator, which reads sentence and motion, and what measuring a
motion lets one say of it, read beside the sentence. They are choosers then and no judges any more: motions that the
evaluator chose are not to be scored by it, and rules on measures flatter motions that were chosen by measures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hftrainer.data.describe import plain_sentences_of, sentences_of
from hftrainer.errors import GenerationError
from hftrainer.models.evaluator import built_in_evaluator, similarity
from hftrainer.motion.clip import Motion
from hftrainer.motion.measure import measure
from hftrainer.motion.representation.convert import convert

#: Between the seeds of a motion's candidates: far from those of other samples. Torch reads 32 bits of a seed.
APART, _SEEDS = 0x9E3779B1, 2**32


@dataclass(frozen=True)
class Candidate:
    """One motion that is to be drawn.

    Attributes:
        prompt: index of its prompt.
        motion: index of the motion that it may become.
        asked: the seed of that motion; ``None`` where there is one generator for all.
        seed: its own.
    """

    prompt: int
    motion: int
    asked: int | None
    seed: int | None


def candidates_of(
    prompts: Sequence[str | None], seeds: Sequence[int | None], samples: int, count: int
) -> list[Candidate]:
    """What is to be drawn, all candidates of a motion one after the other.

    Args:
        prompts: English sentences; where one is ``None`` nothing can be chosen, so one motion is drawn.
        seeds: of each prompt; sample ``s`` has ``seed + s``, and so has its first candidate.
        samples: motions per prompt.
        count: candidates of each motion.

    Raises:
        ValueError: fewer than one sample or candidate, or several candidates and no seed.

    >>> [c.seed for c in candidates_of(["a person walks"], [7], samples=2, count=1)]
    [7, 8]
    """
    if samples < 1:
        raise ValueError(f"samples must be at least 1; got {samples}.")
    if count < 1:
        raise ValueError(f"candidates must be at least 1; got {count}. 1 takes the first that is drawn.")
    if count > 1 and None in seeds:
        raise ValueError(f"candidates must be 1 without a seed; got {count}.")
    rows = []
    for at, base in enumerate(seeds):
        for sample in range(samples):
            asked = None if base is None else base + sample
            for c in range(1 if prompts[at] is None else count):
                own = asked if asked is None or c == 0 else (asked + c * APART) % _SEEDS
                rows.append(Candidate(at, at * samples + sample, asked, own))
    return rows


#: Sentences about a motion that are read beside the one that was asked for: those nearest to it.
_NEAREST = 3


def fits(prompt: str, motions: Sequence[Motion]) -> np.ndarray:
    """How well motions fit a sentence; more is better.

    Args:
        prompt: an English sentence.
        motions: of any representation that leads to hml263, 4 frames or more each.

    Returns:
        ``(len(motions),)``, -2 to 2: the evaluator's cosine of sentence and motion, and the mean cosine of the sentence
        and the three nearest sentences that follow from measuring the motion (``data.describe``); 0 for the latter
        where nothing can be said.

    Raises:
        ValueError: a motion is too short.
        NoRouteError: the evaluator cannot read such motions.

    >>> still = Motion(np.zeros((40, 263)), "hml263", fps=20)
    >>> fits("a person stands", [still]).shape
    (1,)
    """
    seen = similarity([prompt], motions)[0].astype(np.float64)
    evaluator = built_in_evaluator()
    wanted = evaluator.texts([prompt], 1)[0]
    for at, motion in enumerate(motions):
        body = measure(np.asarray(convert(motion, "joints").data, dtype=np.float64), motion.fps)
        told = [*sentences_of(body), *plain_sentences_of(body)]
        if told:
            seen[at] += np.sort(evaluator.texts(told, len(told)) @ wanted)[-_NEAREST:].mean()
    return seen


def best_of(
    prompts: Sequence[str | None], drawn: Sequence[Candidate], made: Sequence[Motion | GenerationError]
) -> list[Motion | GenerationError]:
    """Of the candidates of each motion, the one that fits its sentence best.

    Args:
        prompts, drawn: of ``candidates_of``.
        made: a motion for each candidate, or why there is none.

    Returns:
        The motions in order. ``about`` has the seed that was asked for, and says which candidate was chosen. One that
        is no motion is passed over; where none is one, the first error stands in the motion's place.

    Raises:
        NoRouteError: the evaluator cannot read such motions.

    Source:
        Ramesh et al. 2021, "Zero-Shot Text-to-Image Generation", section 2.6: sample reranking.
    """
    groups: dict[int, list[int]] = {}
    for at, candidate in enumerate(drawn):
        groups.setdefault(candidate.motion, []).append(at)
    kept: list[Motion | GenerationError] = []
    for group in groups.values():
        prompt, asked = prompts[drawn[group[0]].prompt], drawn[group[0]].asked
        motions = {at: answer for at in group if isinstance(answer := made[at], Motion)}
        if prompt is None or len(group) == 1 or not motions:
            kept.append(made[group[0]])
            continue
        values = fits(prompt, list(motions.values()))
        place = int(values.argmax())
        at = list(motions)[place]
        choice = {
            "seed": asked, "candidates": len(group), "candidate": at - group[0], "fit": round(float(values[place]), 4),
            "chooser": built_in_evaluator().hash,
        }  # fmt: skip
        kept.append(motions[at].replace(about={**motions[at].about, **choice}))
    return kept
