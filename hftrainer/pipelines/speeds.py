"""Seconds a motion of every verb of a model, alone and in a batch, beside the plain way: ``hftrainer bench models``."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from hftrainer.motion.clip import Motion
from hftrainer.pipelines.decoding import Draws, Request, speak
from hftrainer.pipelines.masked import MaskedPipeline
from hftrainer.pipelines.mdm import MDMPipeline
from hftrainer.pipelines.measuring import Cost, costs, forget_peak, peak_bytes, product_ceiling, reading_ceiling
from hftrainer.pipelines.motiongpt import MotionGPTPipeline
from hftrainer.pipelines.plain import plain_denoise, plain_fill, plain_speak
from hftrainer.pipelines.published import PUBLISHED, published_motiongpt
from hftrainer.pipelines.table import built_in, open_pipeline

#: Sentences of a batch; more begin anew.
PROMPTS = (
    "a person walks forward and turns around", "a man jumps", "someone raises the left arm and waves with it slowly",
    "a person sits down on a chair", "a person runs in a circle", "a woman kicks with the right leg, then steps back",
    "the person crouches", "a person throws a ball with both hands",
)  # fmt: skip
#: By model, way and motions in a batch: times as quick as the plain way, at published size on two cores.
BARS = {
    ("motiongpt", "fp32", 1): 1.5, ("motiongpt", "fp32", 8): 4.0,
    ("mdm", "50 steps, bf16", 1): 1.8, ("mdm", "15 steps, bf16", 1): 6.0,
    ("mogents", "bf16", 1): 2.5, ("mogents", "bf16", 8): 2.5,
}  # fmt: skip
#: A motion of a batch may cost this many times one alone.
BATCH_BAR = 1.05
#: Kilobytes that a further prompt may take, its motion of 40 frames (42 kB) included.
MEMORY_BAR_KB = 100.0
#: The models that have a published size, and what they are called.
MODELS = ("motiongpt", *PUBLISHED)


@dataclass(frozen=True)
class Work:
    """One verb of one model in one way.

    Attributes:
        verb, way: what is done, and how.
        run: makes so many motions.
        unit, units: what is counted, and how many a motion takes.
        precision: of the products.
    """

    verb: str
    way: str
    run: Callable[[int], Any]
    unit: str
    units: int
    precision: str = "fp32"


@dataclass(frozen=True)
class Model:
    """What is measured of a model.

    Attributes:
        parameters: numbers of its networks.
        works: verbs and ways; the first is what the plain way is compared with.
        plain: one motion, the loop as the paper writes it.
    """

    parameters: int
    works: Sequence[Work]
    plain: Callable[[], Any] | None = None


def model_speed(
    model: str = "motiongpt-mini", verb: str | None = None, way: str | None = None, batch: int = 8, frames: int = 120,
    repeats: int = 3,
) -> dict[str, Any]:  # fmt: skip
    """What every verb of a model costs, the model loaded and warm.

    Args:
        model: ``motiongpt``, ``mdm``, ``mogents`` or ``momask`` for the published sizes, with weights by formula; or
            the name or folder of a model.
        verb: this one only, or these, with commas between.
        way: this one only.
        batch: motions made together.
        frames: of each motion.
        repeats: timed runs of each measurement; all measurements are made in turns.

    Returns:
        JSON values: a row for each verb, way and size of batch, with seconds on the clock (median, 95th percentile and
        quickest run) and of the processor, all a motion; units a second; the most memory; the share of the machine's
        matrix products and of its reading rate; the ratio to the plain way, and its bar where there is one. Rates,
        shares and ratios are of the quickest runs on the clock.

    Raises:
        ValueError: the model has no such verb, or does it in no such way.
    """
    measured = works_of(model, frames)
    verbs = None if verb is None else verb.split(",")
    works = [w for w in measured.works if (verbs is None or w.verb in verbs) and way in (None, w.way)]
    if not works:
        known = "; ".join(dict.fromkeys(f"{work.verb}: {work.way}" for work in measured.works))
        raise ValueError(f"verb and way must be among {known} for {model}; got {verb or 'any'}: {way or 'any'}.")
    best = {precision: product_ceiling(precision) for precision in ("fp32", "bf16")}
    reading = reading_ceiling()
    asked = [(work, size) for work in works for size in (1, batch)]
    compared = measured.plain is not None and any(work.verb == "generate" for work in works)
    loop = [measured.plain] if compared and measured.plain is not None else []
    found = costs([*loop, *(partial(work.run, size) for work, size in asked)], repeats)
    plain = found.pop(0) if compared else None
    rows, alone = [], 0.0
    for (work, size), one in zip(asked, found, strict=True):
        row = _row(work, size, one, best[work.precision], reading)
        if plain is not None and work.verb == "generate":
            row |= _ratio(BARS.get((model, work.way, size)), plain.best_s / (one.best_s / size))
        if size == batch:
            share = one.best_s / size / alone
            row["over_alone"] = {"value": round(share, 3), "bar": BATCH_BAR, "holds": share <= BATCH_BAR}
        alone = one.best_s / size
        rows.append(row)
    return {
        "what": "models", "model": model, "parameters": measured.parameters, "frames": frames, "repeats": repeats,
        "cores_seen": os.cpu_count(), "threads_used": torch.get_num_threads(), "torch": torch.__version__,
        "best_product_gflops": {name: round(rate, 1) for name, rate in best.items()},
        "best_reading_gb_s": round(reading, 1),
        "plain": None if plain is None else {
            "s_median": round(plain.median_s, 4), "s_p95": round(plain.p95_s, 4),
            "s_best": round(plain.best_s, 4), "busy_s": round(plain.busy_s, 4),
            "peak_mb": round(plain.peak_bytes / 1e6),
        },
        "rows": rows,
    }  # fmt: skip


def memory_use(model: str | None = None, few: int = 100, many: int = 1000, frames: int = 40) -> dict[str, Any]:
    """The most memory that a model takes for many prompts, beside the most for few, in one process.

    Args:
        model: name or folder; the first built-in one by default.
        few, many: prompts.
        frames: of each motion; short ones, because what could pile up is counted in prompts.

    Returns:
        JSON values: megabytes, and how many of them each further prompt takes beside the motion that it is answered
        with.
    """
    pipe = open_pipeline(model, verb="generate")
    peaks, made = {}, 0
    for count in (min(few, 8), few, many):  # the first is a warm-up
        forget_peak()
        motions = pipe(_asked(count), [frames] * count, seed=list(range(count)))
        peaks[count], made = peak_bytes(), motions[0].data.nbytes
    more = (peaks[many] - peaks[few]) / (many - few)
    return {
        "what": "memory", "model_hash": pipe.bundle.hash, "frames": frames, "threads_used": torch.get_num_threads(),
        "peak_mb": {str(count): round(peak / 1e6, 1) for count, peak in peaks.items()},
        "motion_kb": round(made / 1e3, 1),
        "kb_a_prompt": {"value": round(more / 1e3, 1), "bar": MEMORY_BAR_KB, "holds": more / 1e3 <= MEMORY_BAR_KB},
    }  # fmt: skip


def _row(work: Work, size: int, found: Cost, best: float, reading: float) -> dict[str, Any]:
    rate, read = found.operations / found.best_s / 1e9, found.weights_read / found.best_s / 1e9
    return {
        "verb": work.verb, "way": work.way, "batch": size, "s_median": round(found.median_s / size, 4),
        "s_p95": round(found.p95_s / size, 4), "s_best": round(found.best_s / size, 4),
        "busy_s": round(found.busy_s / size, 4), "unit": work.unit,
        "units_per_s": round(work.units * size / found.best_s, 1), "peak_mb": round(found.peak_bytes / 1e6),
        "gflops": round(rate, 1), "share_of_products": float(f"{rate / best:.3g}"),
        "weights_gb_s": round(read, 2), "share_of_reading": float(f"{read / reading:.3g}"),
    }  # fmt: skip


def _ratio(bar: float | None, ratio: float) -> dict[str, Any]:
    if bar is None:
        return {"ratio": {"value": round(ratio, 2)}}
    return {"ratio": {"value": round(ratio, 2), "bar": bar, "holds": ratio >= bar}}


def works_of(name: str, frames: int) -> Model:
    """What is measured of a model; see ``model_speed``."""
    if name == "motiongpt" and name not in built_in():
        return _language_model(frames)
    pipe = PUBLISHED[name]() if name in PUBLISHED else open_pipeline(name)
    if isinstance(pipe, MDMPipeline):
        return _denoiser(pipe, frames)
    if isinstance(pipe, MaskedPipeline):
        return _masked(pipe, frames)
    return _built_in_language(pipe, frames)


def _asked(size: int) -> list[str]:
    return [PROMPTS[at % len(PROMPTS)] for at in range(size)]


def _clips(pipe: MDMPipeline | MaskedPipeline | MotionGPTPipeline, frames: int) -> Motion:
    """One motion of the model's own, for verbs that change or describe one."""
    return pipe([PROMPTS[0]], [frames], seed=0)[0]


def _language_model(frames: int) -> Model:
    """MotionGPT at its published size: prompts of a usual length, greedy answers of a fixed one."""
    network, tokenizer = published_motiongpt()
    first, count = network.config.first_motion, frames // 4
    rng = np.random.default_rng(0)
    start, stop = network.config.vocabulary - 3, network.config.vocabulary - 2
    movements, words = torch.arange(first, stop + 1), torch.arange(1, first)

    def prompts(size: int, length: int, motion: int) -> list[tuple[int, ...]]:
        return [
            (*(int(t) for t in rng.integers(3, first, length + at % 3)), *range(first, first + motion), 1)
            for at in range(size)
        ]

    asked = {
        "generate": ([Request(p, (start,), count, count) for p in prompts(64, 14, 0)], movements, stop),
        "caption": ([Request(p, (), 16, 16) for p in prompts(64, 8, count)], words, 1),
        "predict": ([Request(p, (start,), count, count) for p in prompts(64, 8, count // 5)], movements, stop),
        "inbetween": ([Request(p, (start,), count, count) for p in prompts(64, 8, count // 2)], movements, stop),
    }

    def run(verb: str, size: int) -> list[tuple[int, ...]]:
        requests, choices, end = asked[verb]
        said = [s.tokens for s in speak(network, requests[:size], choices, end, Draws(greedy=True),
                                        text=verb == "caption")]  # fmt: skip
        if verb != "caption":
            with torch.no_grad():
                tokenizer.decode((torch.tensor(said) - first).clamp(0, tokenizer.config.codes - 1))
        return said

    def plain() -> tuple[int, ...]:
        with torch.no_grad():
            said = plain_speak(network, asked["generate"][0][0], movements[movements != stop])
            tokenizer.decode(torch.tensor([said]) - first)
        return said

    works = [Work(verb, "fp32", partial(run, verb), "tokens", about[0][0].most) for verb, about in asked.items()]
    return Model(_count(network, tokenizer), works, plain)


def _built_in_language(pipe: MotionGPTPipeline, frames: int) -> Model:
    clip = _clips(pipe, frames)
    asked: dict[str, Callable[[int], Any]] = {
        "generate": lambda n: pipe(_asked(n), [frames] * n, seed=list(range(n))),
        "caption": lambda n: pipe.infer_m2t([clip] * n),
        "predict": lambda n: pipe.infer_prediction([clip] * n),
        "inbetween": lambda n: pipe.infer_inbetween([clip] * n),
    }
    works = [Work(verb, "fp32", run, "motions", 1) for verb, run in asked.items()]
    return Model(_count(pipe.bundle.language_model, pipe.bundle.motion_tokenizer), works)


def _changes(
    pipe: MDMPipeline | MaskedPipeline, frames: int, way: str, unit: str, units: int, **how: Any
) -> list[Work]:
    clip = _clips(pipe, frames)
    asked: dict[str, Callable[[int], Any]] = {
        "predict": lambda n: pipe.infer_prediction([clip] * n, captions=_asked(n), **how),
        "inbetween": lambda n: pipe.infer_inbetween([clip] * n, captions=_asked(n), **how),
        "edit": lambda n: pipe.infer_edit([clip] * n, _asked(n), span=(frames // 4, frames // 2), **how),
    }
    return [Work(verb, way, run, unit, units, how["precision"]) for verb, run in asked.items()]


def _denoiser(pipe: MDMPipeline, frames: int) -> Model:
    steps = pipe.bundle.config.steps
    ways: dict[str, dict[str, Any]] = {
        f"{steps} steps, fp32": {"precision": "fp32"},
        f"{steps} steps, bf16": {"precision": "bf16"},
        "15 steps, fp32": {"precision": "fp32", "steps": 15, "sampler": "dpm"},
        "15 steps, bf16": {"precision": "bf16", "steps": 15, "sampler": "dpm"},
    }

    def run(size: int, **how: Any) -> Any:
        return pipe(_asked(size), [frames] * size, seed=list(range(size)), candidates=1, **how)

    works = [
        Work("generate", way, partial(run, **how), "steps", how.get("steps", steps), how["precision"])
        for way, how in ways.items()
    ]
    works += _changes(pipe, frames, "15 steps, bf16", "steps", 15, **ways["15 steps, bf16"])

    return Model(_count(pipe.bundle.network), works, lambda: plain_denoise(pipe, PROMPTS[0], frames))


def _masked(pipe: MaskedPipeline, frames: int) -> Model:
    bundle, iterations = pipe.bundle, 10 + 5

    def run(size: int, precision: str) -> Any:
        pipe.masking.forget()  # as if every sentence were new
        return pipe(_asked(size), [frames] * size, seed=list(range(size)), candidates=1, precision=precision)

    ways = ("fp32", "bf16")
    works = [Work("generate", way, partial(run, precision=way), "iterations", iterations, way) for way in ways]
    works += _changes(pipe, frames, "bf16", "iterations", iterations, precision="bf16")

    return Model(_count(*bundle.networks.values()), works, lambda: plain_fill(pipe, PROMPTS[0], frames))


def _count(*networks: torch.nn.Module) -> int:
    return sum(p.numel() for network in networks for p in network.parameters())
