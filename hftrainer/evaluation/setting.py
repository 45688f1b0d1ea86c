"""What the measurements of all tasks share: replications, an evaluator or the lack of one, and the layout of a report.

A report holds JSON values::

    {"task": "pred", "samples": 300, "replications": 20,
     "failed": [0, 1, ...],                                   one number a replication
     "metrics": {"ADE": {"mean": 0.5, "std": 0.01, "interval95": 0.004, "values": [...]}, ...},
     "undefined": {"FID": "why it cannot be said"},
     "baselines": {"repeat last pose": {"metrics": {...}, "undefined": {...}}},
     "protocol": {...}, "notes": [...]}

A failed answer (``None``) has no numbers of its own: it is counted. A caption that failed is scored as an empty one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hftrainer.data.humanml3d import Caption
from hftrainer.data.words import tokens
from hftrainer.evaluation.metrics import TooFewSamples, diversity, diversity_pairs, frechet, retrieval
from hftrainer.evaluation.replications import Tally
from hftrainer.models.evaluator import AnyEvaluator, Evaluator
from hftrainer.motion.clip import Motion

RANKS = ("R@1", "R@2", "R@3")
#: Measures of retrieval, for generated and for true pairs.
RETRIEVAL = (*RANKS, "matching")
#: Measures of sets of motions that need an evaluator.
SETS = ("FID", "diversity", "true diversity")


def _silent(line: str) -> None:
    """Nothing is said."""


@dataclass(frozen=True)
class Setting:
    """What all tasks share.

    Attributes:
        evaluator: networks for retrieval, FID and diversity; ``None`` leaves these undefined.
        replications: how many times.
        seed: of the first replication; the next has the next.
        padding: how the classic evaluator reads a batch (see ``TextMotionEvaluator.encode_motions``).
        say: gets a line of progress.
    """

    evaluator: AnyEvaluator | None = None
    replications: int = 20
    seed: int = 0
    padding: str = "alone"
    say: Callable[[str], None] = _silent

    def rng(self, replication: int) -> np.random.Generator:
        """Draws of one replication that are the measurement's own."""
        return np.random.default_rng([self.seed, replication])

    def points(self, motions: Sequence[Motion]) -> np.ndarray | None:
        """Embeddings ``(N, width)``, or ``None`` without an evaluator."""
        if self.evaluator is None:
            return None
        if isinstance(self.evaluator, Evaluator):
            return self.evaluator.motions(motions, self.padding)
        return self.evaluator.motions(motions)

    def texts(self, said: Sequence[Caption | str]) -> np.ndarray:
        """Embeddings ``(N, width)`` of captions, or of sentences without parts of speech, which are then looked up.

        Raises:
            ValueError: there is no evaluator.
        """
        if self.evaluator is None:
            raise ValueError("sentences need an evaluator to be encoded; got none.")
        if isinstance(self.evaluator, Evaluator):
            return self.evaluator.texts([tokens(s).split() if isinstance(s, str) else s.words for s in said])
        return self.evaluator.texts([s if isinstance(s, str) else s.text for s in said])

    def begin(self, replication: int) -> np.random.Generator:
        """Say which replication begins; its draws."""
        self.say(f"replication {replication + 1} of {self.replications}")
        return self.rng(replication)


def lacking(names: Sequence[str]) -> dict[str, str]:
    """The reason why measures are undefined where there is no evaluator."""
    return dict.fromkeys(names, "it needs an evaluator, and none was given; give its folder with --evaluator.")


def add_retrieval(
    tally: Tally, texts: np.ndarray, motions: np.ndarray, order: np.ndarray, prefix: str = ""
) -> None:
    """R-precision and matching score of one replication, or why there is none."""
    names = [f"{prefix}{name}" for name in RETRIEVAL]
    try:
        found = retrieval(texts, motions, order)
    except TooFewSamples as error:
        tally.add({}, dict.fromkeys(names, str(error)))
        return
    tally.add(dict(zip(names, (*found.precision, found.matching), strict=True)))


def add_sets(tally: Tally, true: np.ndarray, made: np.ndarray, rng: np.random.Generator) -> None:
    """FID and diversities of one replication, or why there is none."""
    measures: Mapping[str, Callable[[], float]] = {
        "true diversity": lambda: diversity(true, *diversity_pairs(len(true), rng)),
        "FID": lambda: frechet(true, made),
        "diversity": lambda: diversity(made, *diversity_pairs(len(made), rng)),
    }
    for name, measure in measures.items():
        try:
            tally.add({name: measure()})
        except TooFewSamples as error:
            tally.add({}, {name: str(error)})


def report(
    task: str, samples: int, setting: Setting, failed: Sequence[int], tally: Tally, **protocol: Any
) -> dict[str, Any]:
    """The layout at the top of this file, without baselines."""
    evaluator, notes = setting.evaluator, []
    if evaluator is not None and samples <= (width := evaluator.width):
        notes.append(f"FID needs more than {width} samples in {width} dimensions; of {samples} it is far too high.")
    known = None if evaluator is None else {"hash": evaluator.hash, "padding": setting.padding}
    return {
        "task": task,
        "samples": samples,
        "replications": len(failed),
        "failed": list(failed),
        **tally.report(),
        "baselines": {},
        "protocol": {"seed": setting.seed, "evaluator": known, **protocol},
        "notes": notes if "FID" in tally.report()["metrics"] else [],
    }
