"""What a pipeline answers to many requests at once, failures counted: the work that measurements hand out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from hftrainer.cli.progress import Progress

if TYPE_CHECKING:
    from hftrainer.evaluation.captioning import Describe
    from hftrainer.evaluation.motiongpt import Complete, Generate
    from hftrainer.motion import Motion

#: Requests answered at once.
CHUNK = 32
#: Seeds of one replication: every sample has its own, so that no two motions begin with the same noise.
SEEDS = 1_000_000


def chunks(count: int) -> Iterator[slice]:
    """Slices of ``CHUNK`` that cover ``count`` items."""
    return (slice(at, at + CHUNK) for at in range(0, count, CHUNK))


def each_alone(work: Callable[[Sequence[Any]], Sequence[Any]], items: Sequence[Any]) -> list[Any]:
    """All answers at once, or, where one of them fails, one after the other with ``None`` for those that do."""
    from hftrainer.errors import GenerationError

    def alone(item: Any) -> Any:
        try:
            return work([item])[0]
        except GenerationError:
            return None

    try:
        return list(work(items))
    except GenerationError:
        return [alone(item) for item in items]


def generator(pipe: Any, progress: Progress) -> Generate:
    """Sentences to motions; a sentence that the model cannot read fails too.

    The first that is drawn is taken: motions that an evaluator chose must not be scored by it. Motions of like length
    are made together; each has a seed of its own, so the company that it is made in does not matter.
    """
    from hftrainer.errors import GenerationError

    def readable(prompt: str) -> bool:
        try:
            pipe.check([prompt])
        except ValueError:
            return False
        return True

    def generate(prompts: Sequence[str], frames: Sequence[int], seed: int) -> list[Motion | None]:
        least, most = pipe.frame_range
        motions: list[Motion | None] = [None] * len(prompts)
        good = sorted((i for i, prompt in enumerate(prompts) if readable(prompt)), key=lambda i: frames[i])
        for part in chunks(len(good)):
            rows = good[part]
            progress(f"generating {part.start + 1} of {len(good)} with seed {seed}")
            lengths = [min(max(frames[i], least), most) for i in rows]
            seeds = [seed * SEEDS + i for i in rows]
            made = pipe.attempts([prompts[i] for i in rows], lengths, seed=seeds, candidates=1)
            for i, motion in zip(rows, made, strict=True):
                motions[i] = None if isinstance(motion, GenerationError) else motion
        return motions

    return generate


def describer(pipe: Any, progress: Progress, best_of: int = 1) -> Describe:
    """Motions to sentences: the likeliest, made once for all seeds since nothing is drawn, or the best of several."""
    told: list[str | None] = []

    def describe(motions: Sequence[Motion], seed: int) -> list[str | None]:
        def some(part: Sequence[Motion]) -> list[str]:
            said: list[str] = pipe.infer_m2t(part, seed=seed * SEEDS, best_of=best_of)
            return said

        if best_of > 1 or not told:
            told[:] = by_length(some, motions, lambda first: progress(f"captioning {first} with seed {seed}"))
        return list(told)

    return describe


def completer(pipe: Any, task: str, keep: tuple[float, float], progress: Progress) -> Complete:
    """Motions to what the model makes of their kept parts."""

    def complete(motions: Sequence[Motion], seed: int) -> list[Motion | None]:
        def some(part: Sequence[Motion]) -> list[Motion]:
            if task == "pred":
                arrays = pipe.infer_prediction(part, keep=keep[0], seed=seed)
            else:
                arrays = pipe.infer_inbetween(part, keep=keep, seed=seed)
            return [motion.replace(data=array) for motion, array in zip(part, arrays, strict=True)]

        return by_length(some, motions, lambda first: progress(f"{task} {first} with seed {seed}"))

    return complete


def by_length(
    work: Callable[[Sequence[Any]], Sequence[Any]], motions: Sequence[Motion], say: Callable[[str], None]
) -> list[Any]:
    """``each_alone`` of so many motions at once, those of like length together; answers in the order of the motions."""
    order = sorted(range(len(motions)), key=lambda at: len(motions[at]))
    answers: list[Any] = [None] * len(motions)
    for part in chunks(len(order)):
        say(f"{part.start + 1} of {len(order)}")
        rows = order[part]
        for at, answer in zip(rows, each_alone(work, [motions[at] for at in rows]), strict=True):
            answers[at] = answer
    return answers
