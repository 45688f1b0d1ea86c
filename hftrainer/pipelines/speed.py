"""How fast an MDM denoises: seconds a motion by sampler and batch, beside the plain way and the machine's best."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
import torch

from hftrainer.models.motion.mdm.sampling import SAMPLERS, denoiser
from hftrainer.motion.representation.convert import convert
from hftrainer.pipelines.denoising import PRECISIONS, drawing_for
from hftrainer.pipelines.mdm import MDMPipeline
from hftrainer.pipelines.measuring import product_ceiling
from hftrainer.pipelines.plain import plain_denoise
from hftrainer.pipelines.published import published_mdm
from hftrainer.pipelines.quickest import quickest

#: A motion of a batch may cost this many times one alone; the denoiser must reach this share of the best product.
BATCH_BAR, SHARE_BAR = 1.05, 0.75
PROMPT = "a person walks forward and turns around"
_quickest = partial(quickest, clock=perf_counter)


def step_operations(pipe: MDMPipeline, frames: int, tokens: int = 1) -> int:
    """Multiplications and additions of matrix products that one pass over one motion takes.

    Args:
        pipe: whose denoiser is counted.
        frames: that it is shown.
        tokens: of the text.
    """
    config = pipe.bundle.config
    width, size = config.width, config.joints * config.features * config.patch
    places = -(-frames // config.patch) + (config.context_frames if config.completes else 0)
    edges = 2 * places * size * width
    decoder = config.architecture == "trans_dec"
    places += 0 if decoder and not config.time_token else 1
    layer = places * (4 * width * width + 2 * width * config.feed_forward) + 2 * places * places * width
    if decoder:
        layer += 2 * places * width * width + 2 * tokens * width * width + 2 * places * tokens * width
    return 2 * (edges + config.layers * layer)


def denoising_speed(
    model: str | None = None, steps: int | None = None, batch: int = 8, frames: int = 196, repeats: int = 3,
    device: str = "cpu",
) -> dict[str, Any]:  # fmt: skip
    """Seconds a motion, the model loaded and warm.

    Args:
        model: an MDM artifact; ``None`` is the built-in one, ``mdm`` the published size with weights by formula.
        steps: denoising steps; 20 by default, or as many as the network has.
        batch: motions made together.
        frames: of each motion; those that the published protocol shows a network by default.
        repeats: each measurement is made as often; the quickest counts, so that company on the machine does not.
        device: where.

    Returns:
        JSON values: seconds a motion by sampler and precision, alone and in a batch; the plain way and the ratio to it;
        how far ``bf16`` moves the joints; the denoiser's share of the best matrix product. Parts with a bar have
        ``bar`` and ``holds``.
    """
    pipe = published_mdm() if model == "mdm" else MDMPipeline.from_pretrained(model, device=device)
    bundle = pipe.bundle.to(device)
    if bundle.config.completes:
        raise ValueError("model must make whole motions to be timed; this one continues them.")
    frames = min(max(frames, pipe.frame_range[0]), pipe.frame_range[1])
    count = min(20, bundle.config.steps) if steps is None else steps
    prompt = PROMPT if bundle.config.condition == "text" else None
    fp32 = drawing_for(bundle, steps=count)

    def made(size: int, **drawing: Any) -> Callable[[], Any]:
        seeds = list(range(size))
        return lambda: pipe([prompt] * size, [frames] * size, seed=seeds, candidates=1, steps=count, **drawing)

    made(1)()  # warm-up, and the sentence is encoded
    plain = _quickest(lambda: plain_denoise(pipe, PROMPT, frames, fp32), repeats)
    rows: list[dict[str, Any]] = []
    for sampler in SAMPLERS:
        for precision in PRECISIONS if sampler == "dpm" else ("fp32",):
            if sampler == "plms" and count < 2:
                continue
            made(1, sampler=sampler, precision=precision)()
            alone = _quickest(made(1, sampler=sampler, precision=precision), repeats)
            together = _quickest(made(batch, sampler=sampler, precision=precision), max(1, repeats - 1)) / batch
            rows.append({
                "sampler": sampler, "precision": precision, "batch_1_s": round(alone, 4),
                f"batch_{batch}_s": round(together, 4), "ratio_to_plain": round(plain / alone, 2),
            })  # fmt: skip
    one, other = (convert(made(1, sampler="dpm", precision=p)()[0], _joints(pipe)).data for p in PRECISIONS)
    first = rows[0]
    cost = first[f"batch_{batch}_s"] / first["batch_1_s"]
    return {
        "what": "denoising", "model_hash": bundle.hash, "device": device, "cores_seen": os.cpu_count(),
        "threads_used": torch.get_num_threads(), "frames": frames, "frames_shown": max(frames, fp32.shown),
        "steps": count, "parameters": sum(p.numel() for p in bundle.network.parameters()),
        "plain_s": round(plain, 4), "samplers": rows,
        "batch_over_alone": {"value": round(cost, 3), "bar": BATCH_BAR, "holds": cost <= BATCH_BAR},
        "bf16_moves_joints": round(float(np.linalg.norm(one - other, axis=-1).mean()), 5),
        "denoiser": [_denoiser(pipe, frames, size, name, repeats) for size in (1, batch) for name in PRECISIONS],
    }  # fmt: skip


def _joints(pipe: MDMPipeline) -> str:
    return "joints" if pipe.bundle.representation == "hml263" else "joints_kit"


def _denoiser(pipe: MDMPipeline, frames: int, size: int, precision: str, repeats: int) -> dict[str, Any]:
    """One guided step by itself, and its share of the best product, measured right before and after."""
    bundle, config = pipe.bundle, pipe.bundle.config
    drawing = drawing_for(bundle, precision=precision)
    shown = pipe.denoising.whole_patches(max(frames, drawing.shown))
    prompt = PROMPT if config.condition == "text" else None
    real = (torch.arange(shown) < frames).expand(size, -1)
    told, guidance = pipe.denoising.condition([prompt] * size, real, drawing)
    step = denoiser(pipe.denoising.network(drawing), told, guidance, merged=True)
    x = torch.zeros(size, config.joints, config.features, shown, device=bundle.device)
    t = torch.zeros(size, dtype=torch.long, device=bundle.device)
    place = str(bundle.device)
    best = product_ceiling(precision, repeats=repeats, device=place)
    with torch.no_grad(), pipe.denoising.products(drawing), pipe.denoising.threads(drawing):
        step(x, t)

        def work() -> None:
            if step(x, t).is_cuda:
                torch.cuda.synchronize()

        seconds = _quickest(work, 2 * repeats)
    best = max(best, product_ceiling(precision, repeats=repeats, device=place))
    tokens = 1 if told.text is None else told.text.shape[1]
    passes = size * (1 if guidance is None else 2)
    rate = passes * step_operations(pipe, shown, tokens) / seconds / 1e9
    share = rate / best
    row: dict[str, Any] = {
        "batch": size, "precision": precision, "step_s": round(seconds, 5), "gflops": round(rate, 1),
        "best_product_gflops": round(best, 1), "share": round(share, 3),
    }  # fmt: skip
    return row | {"bar": SHARE_BAR, "holds": share >= SHARE_BAR}
