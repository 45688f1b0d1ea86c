"""How good an artifact is: what its tokens keep of a motion, whether it does what it is told, how long that takes."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hftrainer.data.humanml3d import HumanML3D
from hftrainer.errors import GenerationError
from hftrainer.evaluation.behaviour import BEHAVIOURS, score
from hftrainer.evaluation.rules import RULES
from hftrainer.models.motion.mdm.editing import joints_of
from hftrainer.models.motion.motiongpt.bundle import MotionGPTBundle
from hftrainer.motion.clip import Motion
from hftrainer.motion.measure import measure
from hftrainer.motion.representation.hml263 import hml263_to_joints
from hftrainer.pipelines.motiongpt import MotionGPTPipeline
from hftrainer.pipelines.table import kind_named, open_pipeline

#: The bars of the built-in model: millimetres, shares.
BARS = {"train": 55.0, "held_out": 90.0, "codes_used": 0.6, "hold": 0.8, "others": 0.3}


def root_aligned_error(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Mean joint distance of each frame after the roots are laid upon each other.

    Args:
        one, other: ``(T, J, 3)`` joints, joint 0 the root.

    Returns:
        ``(T,)`` in the unit of the joints.
    """
    return np.linalg.norm((one - one[:, :1]) - (other - other[:, :1]), axis=-1).mean(-1)


def there_and_back(bundle: Any, motion: Motion) -> tuple[Motion, set[tuple[int, int, int]]]:
    """A motion out of its own tokens, and the codes that were used: stream, layer and number of each.

    Args:
        bundle: of a model of tokens: one stream of codes, or several with layers.
        motion: as the model reads it.
    """
    if hasattr(bundle, "detokenize"):
        codes = bundle.tokenize(motion)
        return bundle.detokenize(codes), {(0, 0, code) for code in codes}
    with torch.no_grad():
        streams = bundle.encode(bundle.normalize(motion)[None])
        decoded = bundle.denormalize(bundle.decode(streams)[0])
    used = {
        (at, layer, code)
        for at, stream in enumerate(streams) for layer in range(stream.shape[-1])
        for code in stream[..., layer].unique().tolist()
    }  # fmt: skip
    return decoded, used


def reconstruction(bundle: Any, dataset: HumanML3D, split: str) -> dict[str, Any]:
    """MPJPE of every clip of a split, encoded to tokens and decoded again, whole clips, root-aligned, in millimetres.

    The mean is over frames, as MotionGPT's metric takes it; the codes that were used are listed.
    """
    errors: list[np.ndarray] = []
    used: set[tuple[int, int, int]] = set()
    names = dataset.ids(split)
    for name in names:
        motion = dataset.clip(name).motion
        decoded, codes = there_and_back(bundle, motion)
        used |= codes
        joints, back = (hml263_to_joints(m.data[: len(decoded)]) for m in (motion, decoded))
        errors.append(root_aligned_error(joints, back) * 1000)
    frames = np.concatenate(errors)
    return {
        "split": split, "clips": len(names), "frames": len(frames), "mpjpe_mm": round(float(frames.mean()), 2),
        "median_clip_mm": round(float(np.median([e.mean() for e in errors])), 2), "codes": sorted(used),
    }  # fmt: skip


def _held_out(parts: Sequence[Mapping[str, Any]]) -> float:
    """Mean over the frames of several splits, millimetres."""
    return round(sum(p["mpjpe_mm"] * p["frames"] for p in parts) / sum(p["frames"] for p in parts), 2)


def kept_behaviours(bundle: Any, dataset: HumanML3D, every: int = 4) -> dict[str, Any]:
    """What tokens keep of behaviour: of the clips that obey a rule, how many still do after tokens and back.

    It bounds what the language model can reach, whatever it says.

    Args:
        bundle: whose motion tokenizer is asked.
        dataset: with a training split.
        every: one training clip in so many is looked at, mirrored twins left out.

    Returns:
        JSON values: ``clips``, and by rule ``obey``, ``kept`` and ``rate``; rules that no clip obeys are left out.
    """
    train = set(dataset.ids("train"))
    names = [name for name in dataset.ids("train") if "M" + name in train][::every]
    counts: dict[str, list[int]] = {name: [0, 0] for name in RULES}
    for name in names:
        motion = dataset.clip(name).motion
        decoded, _ = there_and_back(bundle, motion)
        joints = [hml263_to_joints(m.data[: len(decoded)]).astype(np.float64) for m in (motion, decoded)]
        bodies = [measure(j, motion.fps) for j in joints]
        for rule in RULES.values():
            if rule.holds(bodies[0]):
                counts[rule.name][0] += 1
                counts[rule.name][1] += bool(rule.holds(bodies[1]))
    rows = {name: {"obey": n, "kept": k, "rate": round(k / n, 4)} for name, (n, k) in counts.items() if n}
    return {"clips": len(names), "by_rule": rows}


def behaviours(
    pipe: Any, samples: int, seed: int = 0, **sampling: Any
) -> tuple[dict[str, Any], dict[str, list[Motion | None]]]:
    """The behaviour table of a pipeline and the motions behind it; a failed generation counts as failed.

    Args:
        pipe: what is asked.
        samples: motions per prompt, seeds ``seed``, ``seed + 1``, …
        seed: of the first.
        sampling: ``guidance`` and the like, instead of the artifact's own.
    """
    fps = pipe.bundle.statistics.spec.fps
    motions: dict[str, list[Motion | None]] = {}
    for timed in (False, True):
        rows = [b for b in BEHAVIOURS if (b.seconds is not None) == timed]
        if not rows:
            continue
        frames = [round(b.seconds * fps) for b in rows if b.seconds is not None] if timed else None
        made = pipe.attempts([b.prompt for b in rows], frames, seed=seed, samples=samples, **sampling)
        for at, behaviour in enumerate(rows):
            answers = made[at * samples : (at + 1) * samples]
            motions[behaviour.prompt] = [None if isinstance(a, GenerationError) else a for a in answers]
    return score(motions, BEHAVIOURS, seeds=samples), motions


def model_quality(
    model: str | None = None, data: str = "data/mocap", seeds: int = 5, say: Callable[[str], None] | None = None
) -> dict[str, Any]:
    """Everything that the bars of the built-in models ask for.

    Args:
        model: artifact; ``None`` is the built-in MotionGPT.
        data: dataset folder with train, val and test splits.
        seeds: motions per prompt, seeds 0, 1, …
        say: gets a line of progress.

    Returns:
        JSON values: the behaviour table; of a model of tokens also reconstruction of train, val and test, and codes in
        use; of a model that edits also what editing keeps. Parts with a bar have ``bar`` and ``holds``.
    """
    started, say = time.monotonic(), say or (lambda line: None)
    pipe = open_pipeline(model, verb="generate")
    dataset = HumanML3D(Path(data))
    about = pipe.bundle.about
    report: dict[str, Any] = {
        "model": about.get("name", kind_named(model).name),
        "model_hash": pipe.bundle.hash,
        "dataset": {"name": dataset.name, "hash": dataset.hash},
    }
    if hasattr(pipe.bundle, "motion_tokenizer"):
        report |= _tokens(pipe.bundle, dataset, say)
    if hasattr(pipe, "edit"):
        say("what editing keeps")
        report["editing"] = kept_by_editing(pipe, dataset)
    say(f"{len(BEHAVIOURS)} prompts, {seeds} motions each")
    result, made = behaviours(pipe, seeds)
    if any("chooser" in motion.about for motions in made.values() for motion in motions if motion is not None):
        say("the same prompts, the first that is drawn")
        first, _ = behaviours(pipe, seeds, candidates=1)
        result["first_drawn"] = {part: first[part] for part in ("hold", "unseen", "others")}
    report["behaviour"] = {
        "hold_rate": _bar(result["hold"]["rate"], BARS["hold"]),
        "others_rate": _bar(result["others"]["rate"], BARS["others"], below=True),
        **result,
    }
    return {**report, "seconds": round(time.monotonic() - started, 1)}


def _codes(config: Any) -> int:
    """How many codes a motion tokenizer has in all streams and layers."""
    layer = config.aux_codes + config.grid_codes if hasattr(config, "aux_codes") else config.codes
    return int(layer * getattr(config, "layers", 1))


def _tokens(bundle: Any, dataset: HumanML3D, say: Callable[[str], None]) -> dict[str, Any]:
    """What a model's motion tokens keep; of unseen motion others must keep more than the built-in MotionGPT's."""
    parts = {}
    for split in ("train", "val", "test"):
        say(f"reconstructing {split}")
        parts[split] = reconstruction(bundle, dataset, split)
    say("what tokens keep of behaviour")
    config = bundle.motion_tokenizer.config
    used = len(set().union(*(set(part.pop("codes")) for part in parts.values())))
    bar = BARS["held_out"]
    if not isinstance(bundle, MotionGPTBundle):
        say("what the built-in MotionGPT's tokens keep")
        other = MotionGPTPipeline.from_pretrained().bundle
        bar = _held_out([reconstruction(other, dataset, split) for split in ("val", "test")])
    return {
        "motion_tokenizer": asdict(config),
        "reconstruction": {
            **parts,
            "train_mm": _bar(parts["train"]["mpjpe_mm"], BARS["train"], below=True),
            "held_out_mm": _bar(_held_out([parts["val"], parts["test"]]), bar, below=True),
            "codes_used": _bar(round(used / _codes(config), 4), BARS["codes_used"]),
        },
        "kept": kept_behaviours(bundle, dataset),
    }


def kept_by_editing(pipe: Any, dataset: HumanML3D, clips: int = 6) -> dict[str, Any]:
    """How far joints that an edit must keep move against the root, and how far the root leaves its path.

    Args:
        pipe: a pipeline with ``edit`` and ``inbetween``.
        dataset: whose test clips are edited.
        clips: how many.

    Returns:
        JSON values in millimetres: the largest over all clips and frames.
    """
    upper = joints_of("upper_body")
    lower = [joint for joint in range(1, 22) if joint not in upper]
    low, high = pipe.frame_range
    names = [n for n in dataset.ids("test") if low <= len(dataset.clip(n).motion) <= high][:clips]
    moved: dict[str, list[float]] = {"part": [], "root": [], "ends": []}
    for name in names:
        clip = dataset.clip(name).motion
        before = hml263_to_joints(clip.data)
        after = hml263_to_joints(pipe.edit(clip, "a person raises both arms", part="upper_body").data)
        aligned = [x[:, lower] - x[:, :1] for x in (before, after)]
        moved["part"].append(np.abs(aligned[0] - aligned[1]).max())
        moved["root"].append(np.abs(before[:, 0] - after[:, 0]).max())
        quarter = len(clip) // 4
        filled = hml263_to_joints(pipe.inbetween(clip).data)
        ends = np.r_[0:quarter, len(clip) - quarter : len(clip)]
        moved["ends"].append(np.abs(before[ends] - filled[ends]).max())
    worst = {key: round(1000 * float(max(values)), 3) for key, values in moved.items()}
    return {"clips": len(names), "lower_body_mm": _bar(worst["part"], 0.1, below=True),
            "root_mm": _bar(worst["root"], 0.1, below=True),
            "ends_mm": _bar(worst["ends"], 10.0, below=True)}  # fmt: skip


#: Ways to denoise that are compared: the first is the one that others are measured against.
_DENOISED: tuple[dict[str, Any], ...] = (
    {"sampler": "ancestral"},
    {"sampler": "ancestral", "steps": 20},
    {"sampler": "ddim", "steps": 20},
    {"sampler": "dpm", "steps": 20},
    {"sampler": "dpm", "steps": 15},
    {"sampler": "dpm", "steps": 10},
    {"sampler": "dpm", "steps": 15, "precision": "bf16"},
)


def sampler_quality(
    model: str | None = None, seeds: int = 2, say: Callable[[str], None] | None = None
) -> dict[str, Any]:
    """What quick ways to denoise cost: the behaviour table by sampler and steps, and the time it took.

    Each motion is the first that is drawn, so that no choice among several hides what a sampler does.

    Args:
        model: an artifact that denoises; ``None`` is the built-in one.
        seeds: motions per prompt.
        say: gets a line of progress.

    Returns:
        JSON values: a row for each way; ``times`` is how much quicker than the first.
    """
    pipe = open_pipeline(model or "mdm-mini", verb="edit")
    whole, rows = pipe.bundle.config.steps, list[dict[str, Any]]()
    motions = len(BEHAVIOURS) * seeds
    for drawing in _DENOISED:
        steps = min(drawing.get("steps", whole), whole)
        if say:
            say(f"{drawing['sampler']}, {steps} steps")
        started = time.perf_counter()
        result, _ = behaviours(pipe, seeds, **{**drawing, "steps": steps, "candidates": 1})
        seconds = (time.perf_counter() - started) / motions
        rows.append({
            "sampler": drawing["sampler"], "steps": steps, "precision": drawing.get("precision", "fp32"),
            "s_per_motion": round(seconds, 4), "times": round(rows[0]["s_per_motion"] / seconds, 2) if rows else 1.0,
            "hold": result["hold"]["rate"], "others": result["others"]["rate"],
        })  # fmt: skip
    return {"what": "samplers", "model": pipe.bundle.about.get("name", "mdm"), "model_hash": pipe.bundle.hash,
            "motions": motions, "rows": rows}  # fmt: skip


def _bar(value: float, bar: float, below: bool = False) -> dict[str, Any]:
    return {"value": value, "bar": bar, "holds": value <= bar if below else value >= bar}


#: Seconds from the command to the finished video, on two CPU cores.
COLD_START = 10.0
_PROMPT = "a person walks forward and turns around"


def generation_speed(model: str | None = None, repeats: int = 3) -> dict[str, Any]:
    """Cold start to ``.mp4`` and ``.bvh`` as whole processes, and warm seconds per motion, batch 1, load excluded.

    The ratio says how much of a cold start is not the motion itself.

    Args:
        model: artifact; ``None`` is the built-in one.
        repeats: processes that are timed; the median counts.

    Returns:
        JSON values: seconds and what they were measured on.
    """
    cold = []
    chosen = [] if model is None else ["--model", model]
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            files = [arg for name in ("a.bvh", "a.mp4") for arg in ("-o", str(Path(folder) / name))]
            started = time.perf_counter()
            command = [sys.executable, "-m", "hftrainer", "generate", _PROMPT, "--seconds", "6", "--quiet"]
            subprocess.run([*command, *chosen, *files], check=True, stdout=subprocess.DEVNULL)
            cold.append(time.perf_counter() - started)
    pipe = MotionGPTPipeline.from_pretrained(model)
    pipe([_PROMPT], [120])  # warm-up
    warm = []
    for seed in range(10):
        started = time.perf_counter()
        pipe([_PROMPT], [120], seed=seed)
        warm.append(time.perf_counter() - started)
    value = float(np.median(cold))
    return {
        "model_hash": pipe.bundle.hash,
        "device": "cpu",
        "frames": 120,
        "cold_start_to_mp4_and_bvh_s": {
            "value": round(value, 2),
            "bar": COLD_START,
            "holds": value <= COLD_START,
            "runs": len(cold),
        },
        "warm_s_per_motion": {
            "median": round(float(np.median(warm)), 3),
            "p95": round(float(np.quantile(warm, 0.95)), 3),
        },
        "cold_over_warm": round(value / float(np.median(warm)), 1),
    }
