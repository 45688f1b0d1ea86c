"""How well motions fit a sentence, quickly: for choosing the best of several, and for searching."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from hftrainer.errors import ArtifactError
from hftrainer.models.artifact import BUILT_IN as ARTIFACTS
from hftrainer.models.artifact import resolve
from hftrainer.models.evaluator.evaluator import Evaluator
from hftrainer.models.evaluator.loading import AnyEvaluator, load_evaluator
from hftrainer.motion.clip import Motion
from hftrainer.motion.representation.convert import convert

#: The evaluator that ships with the package.
BUILT_IN = "evaluator-mini"


def find_evaluator(name: str | Path | None = None) -> Path:
    """The folder of an evaluator.

    Args:
        name: a folder, the name of a built-in evaluator, a hub repository, or ``None`` for the built-in one.

    Raises:
        FileNotFoundError: nothing of that name.
        ArtifactError: a repository that cannot be had, or none is built in.
    """
    folder = ARTIFACTS / str(name or BUILT_IN)
    if name is not None and Path(name).is_dir():
        return Path(name)
    if (folder / "evaluator.json").is_file():
        return folder
    if name is None:
        raise ArtifactError("the evaluator must be named; none is built into this installation. Give its folder.")
    if str(name).count("/") == 1 and not str(name).startswith((".", "/")):
        return resolve(name, BUILT_IN)
    raise FileNotFoundError(f"the evaluator must be a folder; {name} does not exist. The built-in one is {BUILT_IN}.")


@lru_cache(maxsize=1)
def built_in_evaluator() -> AnyEvaluator:
    """The built-in evaluator, loaded once.

    Raises:
        ArtifactError: it is not in this installation.
    """
    return load_evaluator(find_evaluator())


def similarity(
    texts: Sequence[str], motions: Sequence[Motion], evaluator: AnyEvaluator | None = None, batch: int = 32
) -> np.ndarray:
    """How well every motion fits every sentence; more is better.

    Args:
        texts: English sentences.
        motions: of any representation that leads to the evaluator's, 4 frames or more each.
        evaluator: one that reads sentences as they are written; the built-in one by default.
        batch: encoded together.

    Returns:
        ``(len(texts), len(motions))`` float32. Of an evaluator whose points have unit length, as the built-in one's,
        the cosines, -1 to 1; of another the distances, negative.

    Raises:
        ValueError: an evaluator that needs parts of speech, or a motion that is too short.
        NoRouteError: a motion cannot become what the evaluator reads.

    >>> still = Motion(np.zeros((40, 263)), "hml263", fps=20)
    >>> similarity(["a person stands", "a person runs"], [still]).shape
    (2, 1)
    """
    judge = built_in_evaluator() if evaluator is None else evaluator
    if isinstance(judge, Evaluator):
        raise ValueError("the evaluator must read sentences as they are written; this one needs parts of speech.")
    wanted = judge.representation
    fitting = [m if m.representation.name == wanted else convert(m, wanted) for m in motions]
    said, seen = judge.texts(texts, batch), judge.motions(fitting, batch)
    if judge.kind == "contrast":
        cosines: np.ndarray = said @ seen.T
        return cosines
    apart: np.ndarray = -np.linalg.norm(said[:, None] - seen[None], axis=-1)
    return apart


def rank(
    text: str, motions: Sequence[Motion], evaluator: AnyEvaluator | None = None
) -> list[tuple[int, float]]:
    """Motions in the order in which they fit a sentence.

    Args:
        text: what they shall show.
        motions, evaluator: as of ``similarity``.

    Returns:
        Place in ``motions`` and similarity, the best first; equal ones keep their order.

    Raises:
        ValueError, NoRouteError: as of ``similarity``.
    """
    fits = similarity([text], motions, evaluator)[0]
    return [(int(i), float(fits[i])) for i in np.argsort(-fits, kind="stable")]
