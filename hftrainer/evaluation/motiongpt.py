"""MotionGPT's motion tasks measured: from text, prediction, in-between and what the tokens keep; with simple baselines.

What makes motions is handed in as a function, so that anything can be measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hftrainer.evaluation import reconstruction
from hftrainer.evaluation.bodies import FPS, bodies
from hftrainer.evaluation.metrics import multimodality, multimodality_pairs
from hftrainer.evaluation.population import Sample
from hftrainer.evaluation.replications import Tally
from hftrainer.evaluation.setting import RETRIEVAL, SETS, Setting, add_retrieval, add_sets, lacking, report
from hftrainer.motion.clip import Motion
from hftrainer.motion.representation.convert import convert

TASKS = ("t2m", "m2t", "pred", "inbetween", "reconstruction")
#: Motions of each sentence for the multimodality.
REPEATS = 30
#: Fewest frames that the evaluator reads.
_LEAST = 4

#: Sentences, frames of each and a seed to motions; ``None`` for one that failed.
Generate = Callable[[Sequence[str], Sequence[int], int], Sequence[Motion | None]]
#: Motions and a seed to whole motions, a part of each having been hidden from the model; ``None`` for one that failed.
Complete = Callable[[Sequence[Motion], int], Sequence[Motion | None]]
#: A motion to what is left of it after its tokens.
Rebuild = Callable[[Motion], Motion]


def joints_of(motion: Motion) -> np.ndarray:
    """``(T, J, 3)`` positions in metres of hml263 or kit251 features."""
    if motion.representation.name == "kit251":
        return convert(motion, "joints_kit").data / 1000
    return convert(motion, "joints").data


def text_to_motion(
    samples: Sequence[Sample], generate: Generate, setting: Setting, multimodality_prompts: int = 0
) -> dict[str, Any]:
    """Motions of captions: retrieval, matching, FID, diversity and bodies, and those of the true motions (``true …``).

    One caption of each sample is drawn in each replication; the motion is asked to be as long as the true one.

    Args:
        samples: of ``population``.
        generate: what is measured.
        setting: see ``Setting``.
        multimodality_prompts: sentences that get ``REPEATS`` motions each; 0 leaves the multimodality undefined.

    Returns:
        The layout of ``hftrainer.evaluation.setting``.
    """
    tally, failed = Tally(), []
    lengths = [len(sample.motion) for sample in samples]
    true = setting.points([sample.motion for sample in samples])
    true_bodies = bodies([sample.motion for sample in samples], "true ")
    for replication in range(setting.replications):
        rng = setting.begin(replication)
        chosen = [sample.captions[int(rng.integers(len(sample.captions)))] for sample in samples]
        motions = generate([caption.text for caption in chosen], lengths, setting.seed + replication)
        kept = [(i, motion) for i, motion in enumerate(motions) if motion is not None and len(motion) >= _LEAST]
        failed.append(len(samples) - len(kept))
        tally.add(*true_bodies)
        tally.add(*bodies([motion for _, motion in kept]))
        if setting.evaluator is None or true is None:
            tally.add({}, lacking([*RETRIEVAL, *(f"true {name}" for name in RETRIEVAL), *SETS]))
            continue
        texts = setting.texts(chosen)
        # Real motions draw first, so that their row is the same whatever model is measured.
        add_retrieval(tally, texts, true, rng.permutation(len(samples)), "true ")
        made = setting.points([motion for _, motion in kept])
        assert made is not None
        add_sets(tally, true, made, rng)
        add_retrieval(tally, texts[[i for i, _ in kept]], made, rng.permutation(len(kept)))
        if multimodality_prompts:
            _add_multimodality(samples, generate, setting, multimodality_prompts, replication, tally)
    if setting.evaluator is None:
        tally.add({}, lacking(["multimodality"]))
    elif not multimodality_prompts:
        why = f"it needs {REPEATS} motions of each of some sentences, and none were asked for; see --multimodality."
        tally.add({}, {"multimodality": why})
    about = {"prompts": multimodality_prompts, "motions": REPEATS}
    return report("t2m", len(samples), setting, failed, tally, multimodality=about, bodies_fps=FPS)


def _add_multimodality(
    samples: Sequence[Sample], generate: Generate, setting: Setting, prompts: int, replication: int, tally: Tally
) -> None:
    """Several motions of some sentences; a sentence of which one failed is left out."""
    rng = setting.rng(setting.replications + replication)
    rows = []
    for i in rng.permutation(len(samples))[:prompts]:
        sample = samples[int(i)]
        caption = sample.captions[int(rng.integers(len(sample.captions)))]
        first = setting.seed + 1000 * (replication + 1)
        made = [generate([caption.text], [len(sample.motion)], first + k)[0] for k in range(REPEATS)]
        whole = [motion for motion in made if motion is not None and len(motion) >= _LEAST]
        points = setting.points(whole)
        if points is not None and len(whole) == REPEATS:
            rows.append(points)
    if rows:
        tally.add({"multimodality": multimodality(np.stack(rows), *multimodality_pairs(REPEATS, rng))})
    else:
        tally.add({}, {"multimodality": f"it needs sentences of which {REPEATS} motions succeed; none did."})


def completion(
    task: str, samples: Sequence[Sample], complete: Complete, setting: Setting, keep: tuple[float, float]
) -> dict[str, Any]:
    """Prediction and in-between: ADE and FDE over the hidden frames, beside the simplest way to fill them.

    Motions are compared in the world of the kept frames, frame by frame. One that came out shorter stays at its last
    pose to the end, and is counted as ``short``.

    Args:
        task: ``"pred"`` or ``"inbetween"``.
        samples: of ``population``.
        complete: what is measured; it knows what to hide.
        setting: see ``Setting``.
        keep: shares that are kept at the start and at the end, see ``reconstruction.hidden_span``; a prediction keeps
            0 at the end, an in-between more.

    Returns:
        The layout of ``hftrainer.evaluation.setting``, with ``short`` beside ``failed``.

    Raises:
        ValueError: the task is another, or ``keep`` does not fit it.
    """
    if task not in ("pred", "inbetween"):
        raise ValueError(f"the task must be pred or inbetween; got {task!r}.")
    if (keep[1] > 0) != (task == "inbetween"):
        raise ValueError(f"{task} must keep {'both ends' if task == 'inbetween' else 'the start only'}; got {keep}.")
    motions = [sample.motion for sample in samples]
    spans = [reconstruction.hidden_span(len(motion), *keep) for motion in motions]
    bodies = [joints_of(motion) for motion in motions]
    true = setting.points(motions)
    tally, failed, short = Tally(), [], []
    for replication in range(setting.replications):
        rng = setting.begin(replication)
        answers = complete(motions, setting.seed + replication)
        whole = [(i, motion) for i, motion in enumerate(answers) if motion is not None]
        failed.append(len(samples) - len(whole))
        short.append(sum(len(motion) < len(bodies[i]) for i, motion in whole))
        rows = [(_as_long(joints_of(motion), len(bodies[i])), bodies[i], spans[i]) for i, motion in whole]
        if rows:
            tally.add(_displacements(rows))
        else:
            tally.add({}, dict.fromkeys(("ADE", "FDE"), "every motion of a replication failed."))
        made = setting.points([motion for _, motion in whole])
        if true is None or made is None:
            tally.add({}, lacking(SETS))
        else:
            add_sets(tally, true, made, rng)
    result = report(task, len(samples), setting, failed, tally, keep=list(keep))
    result["short"] = short
    simple, fill = Tally(), (reconstruction.repeated_pose if task == "pred" else reconstruction.straight_line)
    name = "repeat last pose" if task == "pred" else "linear interpolation"
    simple.add(_displacements([(fill(b, *span), b, span) for b, span in zip(bodies, spans, strict=True)]))
    result["baselines"][name] = simple.report()
    return result


def _as_long(joints: np.ndarray, frames: int) -> np.ndarray:
    """The first so many frames; where there are fewer, the last pose stays."""
    return np.concatenate([joints, np.repeat(joints[-1:], max(0, frames - len(joints)), 0)])[:frames]


def _displacements(rows: Sequence[tuple[np.ndarray, np.ndarray, tuple[int, int]]]) -> dict[str, float]:
    """Means over clips of ADE and FDE; got, wanted and the hidden span of each."""
    each = [reconstruction.displacement(got, want, *span) for got, want, span in rows]
    return dict(zip(("ADE", "FDE"), map(float, np.mean(each, axis=0)), strict=True))


def rebuilding(samples: Sequence[Sample], rebuild: Rebuild, setting: Setting) -> dict[str, Any]:
    """What the tokens keep of motions: MPJPE, PA-MPJPE and ACCEL, and FID and diversity with an evaluator.

    Nothing is drawn but the pairs of the diversity, so the motions are rebuilt once for all replications.

    Args:
        samples: of ``population``.
        rebuild: what is measured; a motion that comes back shorter is compared as far as it goes.
        setting: see ``Setting``.

    Returns:
        The layout of ``hftrainer.evaluation.setting``.
    """
    motions, made, pairs = [sample.motion for sample in samples], [], []
    for sample in samples:
        setting.say(f"rebuilding {sample.id}")
        made.append(rebuild(sample.motion))
        got, want = joints_of(made[-1]), joints_of(sample.motion)
        frames = min(len(got), len(want))
        pairs.append((got[:frames], want[:frames]))
    numbers = reconstruction.reconstruction(pairs)
    true, points, tally = setting.points(motions), setting.points(made), Tally()
    for replication in range(setting.replications):
        tally.add(numbers)
        if true is None or points is None:
            tally.add({}, lacking(SETS))
        else:
            add_sets(tally, true, points, setting.rng(replication))
    return report("reconstruction", len(samples), setting, [0] * setting.replications, tally)
