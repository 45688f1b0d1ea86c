"""How near quick ways come to the plain one: ``hftrainer bench nearness``.

A draw that comes out otherwise changes all that follows it, so that two motions of a model that draws codes say little
about rounding. What is compared there is the odds that both ways draw from, given the same past.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from hftrainer.models.motion.mogents.bundle import MaskedBundle
from hftrainer.models.motion.mogents.decoding import of_cells, of_residuals
from hftrainer.models.motion.mogents.masked import MaskedTransformer
from hftrainer.models.motion.mogents.residual import ResidualTransformer
from hftrainer.models.motion.mogents.sampling import Guided, Settings, likeliest
from hftrainer.pipelines.denoising import PRECISIONS
from hftrainer.pipelines.masked import MaskedPipeline
from hftrainer.pipelines.mdm import MDMPipeline
from hftrainer.pipelines.plain import Pass, plain_denoise, plain_fill
from hftrainer.pipelines.published import PUBLISHED
from hftrainer.pipelines.speeds import MODELS, PROMPTS, works_of

#: By precision, at most: how far features lie from the plain way's on average, as a share of each one's spread.
FEATURE_BARS = {"fp32": 1e-4, "bf16": 0.05}
#: By precision, at most: the share of draws that come out otherwise.
DRAW_BARS = {"fp32": 1e-3, "bf16": 0.05}
_FEATURES, _DRAWS, _ANSWERS = "features apart, of their spread", "draws that come out otherwise", "other answers"


def nearness(model: str | None = None, frames: int = 120, prompt: str = PROMPTS[0]) -> dict[str, Any]:
    """How far each quick way is from the plain one in single precision.

    Args:
        model: one of the published sizes, with weights by formula; by default all.
        frames: of a motion.
        prompt: a sentence.

    Returns:
        JSON values: a row for each model and way with ``what`` is compared, ``value``, ``bar`` and ``holds``.

    Raises:
        ValueError: another model.
    """
    if model is not None and model not in MODELS:
        raise ValueError(f"model must be one of {', '.join(MODELS)}; got {model!r}.")
    rows = []
    for name in MODELS if model is None else (model,):
        if name in PUBLISHED:
            rows += beside_plain(name, PUBLISHED[name](), frames, prompt)
        else:
            rows += _language_model(frames)
    return {"what": "nearness", "frames": frames, "threads_used": torch.get_num_threads(), "torch": torch.__version__,
            "rows": rows}  # fmt: skip


def beside_plain(
    name: str, pipe: MDMPipeline | MaskedPipeline, frames: int, prompt: str = PROMPTS[0]
) -> list[dict[str, Any]]:
    """The rows of ``nearness`` of one model.

    Args:
        name: what it is called.
        pipe: which one.
        frames, prompt: what is asked for.
    """
    if isinstance(pipe, MDMPipeline):
        return _denoiser(name, pipe, frames, prompt)
    return _masked(name, pipe, frames, prompt)


def _row(name: str, way: str, what: str, value: float, bar: float) -> dict[str, Any]:
    return {"model": name, "way": way, "what": what, "value": float(f"{value:.2g}"), "bar": bar, "holds": value <= bar}


def _language_model(frames: int) -> list[dict[str, Any]]:
    measured = works_of("motiongpt", frames)
    assert measured.plain is not None
    plain = measured.plain()
    return [_row("motiongpt", f"fp32, {size} together", _ANSWERS, float(measured.works[0].run(size)[0] != plain), 0.0)
            for size in (1, 8)]  # fmt: skip


def _denoiser(name: str, pipe: MDMPipeline, frames: int, prompt: str) -> list[dict[str, Any]]:
    spread, steps = pipe.bundle.statistics.std.numpy(), pipe.bundle.config.steps

    def made(precision: str, **how: Any) -> np.ndarray:
        found: np.ndarray = pipe([prompt], [frames], seed=0, candidates=1, precision=precision, **how)[0].data
        return found

    few = {"steps": min(15, steps), "sampler": "dpm"}
    plain, quick = plain_denoise(pipe, prompt, frames), made("fp32", **few)
    asked = [
        (f"{steps} steps, fp32", plain, made("fp32"), "fp32"),
        (f"{steps} steps, bf16", plain, made("bf16"), "bf16"),
        (f"{few['steps']} steps, bf16, beside the same in fp32", quick, made("bf16", **few), "bf16"),
    ]
    return [_row(name, way, _FEATURES, float((np.abs(one - other) / spread).mean()), FEATURE_BARS[precision])
            for way, one, other, precision in asked]  # fmt: skip


def _masked(name: str, pipe: MaskedPipeline, frames: int, prompt: str) -> list[dict[str, Any]]:
    passes: list[Pass] = []
    plain_fill(pipe, prompt, frames, watch=passes.append)
    text = pipe.bundle.encode_text([prompt])
    ways = {name: pipe.bundle.packed(dtype) for name, dtype in PRECISIONS.items()}
    return [_row(name, way, _DRAWS, draws_apart(bundle, passes, text), DRAW_BARS[way]) for way, bundle in ways.items()]


@torch.no_grad()
def draws_apart(bundle: MaskedBundle, passes: list[Pass], text: torch.Tensor) -> float:
    """The share of draws that a bundle makes otherwise than the plain loop, each after what the plain loop had drawn.

    It is half the sum of how far the odds of the codes of a cell lie apart, which is how often two draws differ that
    share as much of their chance as they can; the mean over all cells and iterations.

    Args:
        bundle: networks of whichever precision.
        passes: what the plain loop read and said.
        text: ``(1, W)`` of the sentence.
    """
    settings, apart = Settings(), []
    for one in passes:
        network = bundle.networks[one.name]
        real = torch.ones(1, one.read.shape[1] // _columns(network), dtype=torch.bool)
        if isinstance(network, MaskedTransformer):
            drop, model = settings.drop, Guided(network, text, real, settings.guidance)
            blind = network.without_text(real.shape[1]) if bool(one.asked.all()) else None
            found = of_cells(network, model, one.read, one.asked, blind)
        else:
            assert isinstance(network, ResidualTransformer)
            mixing = "none" if network.config.mixing == "none" else "sample"
            drop, model = settings.residual_drop, Guided(network, text, real, settings.residual_guidance, mixing=mixing)
            found = of_residuals(network, model, one.read, one.asked, one.layer)
        codes = network.config.codes
        odds = [likeliest(logits[:, :codes].float(), drop).softmax(-1) for logits in (one.logits, found)]
        apart.append(0.5 * (odds[0] - odds[1]).abs().sum(-1))
    return float(torch.cat(apart).mean())


def _columns(network: Any) -> int:
    return int(network.config.columns)
