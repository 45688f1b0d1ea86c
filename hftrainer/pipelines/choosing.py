"""Several motions drawn for one sentence, of which the one is kept that fits it best.

What a model draws varies: of several motions, one often does what the others leave out. The built-in evaluator reads
sentence and motion and knows nothing of the model, so it can tell which. It is a chooser then and no judge any more:
motions that it chose are not to be scored by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hftrainer.errors import GenerationError
from hftrainer.models.evaluator import built_in_evaluator, rank
from hftrainer.motion.clip import Motion

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
        (place, fit), *_ = rank(prompt, list(motions.values()))
        at = list(motions)[place]
        choice = {
            "seed": asked, "candidates": len(group), "candidate": at - group[0], "fit": round(fit, 4),
            "chooser": built_in_evaluator().hash,
        }  # fmt: skip
        kept.append(motions[at].replace(about={**motions[at].about, **choice}))
    return kept
