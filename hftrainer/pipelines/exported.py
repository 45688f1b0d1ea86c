"""A denoiser and a decoder as ONNX, beside torch: are they the same, and which is quicker on a processor."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hftrainer.models.motion.mdm.config import MDMConfig
from hftrainer.models.motion.mdm.network import MDM, Condition
from hftrainer.models.motion.motiongpt.network import MotionTokenizer, TokenizerConfig
from hftrainer.pipelines.measuring import busy_seconds
from hftrainer.pipelines.published import by_formula

#: How far what comes out may lie from torch's, as a share of its spread.
SAME = 1e-4


class Denoiser(nn.Module):
    """MDM with both halves of guidance: ``(2, 263, 1, T)``, ``(2,)`` and ``(2, 1, 512)`` of text to ``(2, 263, 1, T)``.

    Args:
        network: what it is made of.
    """

    def __init__(self, network: MDM) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, step: Tensor, text: Tensor) -> Tensor:
        return self.network(x, step, Condition(text=text))  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """MotionGPT's motion tokenizer, the way back: ``(B, L)`` codes to ``(B, T, 263)`` normalised features.

    Args:
        network: what it is made of.
    """

    def __init__(self, network: MotionTokenizer) -> None:
        super().__init__()
        self.network = network

    def forward(self, codes: Tensor) -> Tensor:
        return self.network.decode(codes)  # type: ignore[no-any-return]


def onnx_speed(repeats: int = 5, frames: int = 120) -> dict[str, Any]:
    """Milliseconds of processor time of networks of published size with weights by formula, the quickest of some runs.

    Args:
        repeats: how many.
        frames: of a motion.

    Returns:
        JSON values: a row for each network: ``torch_ms``, ``bf16_ms`` (torch, rounded to bfloat16), ``onnx_ms``,
        ``ratio`` (above 1: the export is quicker than torch in the same precision), ``apart`` (largest difference, as a
        share of the spread) and whether the two are the ``same``.

    Raises:
        ModuleNotFoundError: the packages are not installed; the message says how they are.
    """
    rows, package = [], runtime()
    generator = torch.Generator().manual_seed(0)
    denoiser, decoder = Denoiser(by_formula(MDM(MDMConfig(steps=50)))), Decoder(
        by_formula(MotionTokenizer(TokenizerConfig()))
    )
    x = torch.randn(2, 263, 1, frames, generator=generator)
    text = torch.randn(2, 1, 512, generator=generator)
    codes = torch.randint(0, decoder.network.config.codes, (1, frames // 4), generator=generator)
    for name, network, inputs in (
        ("MDM, one step with guidance", denoiser, (x, torch.tensor([30, 30]), text)),
        ("MotionGPT, decoder of the motion tokenizer", decoder, (codes,)),
    ):
        rows.append(compared(name, network.eval(), inputs, repeats))
    return {
        "what": "onnx", "frames": frames, "cores_seen": os.cpu_count(), "threads_used": torch.get_num_threads(),
        "torch": torch.__version__, "onnxruntime": package.__version__, "rows": rows,
    }  # fmt: skip


def runtime() -> Any:
    """The package onnxruntime, where what exports is installed too.

    Raises:
        ModuleNotFoundError: one is absent.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 (torch's exporter needs it)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "bench onnx must have the packages onnxruntime and onnxscript; one is not installed. "
            "pip install 'hftrainer[onnx]'."
        ) from error
    return onnxruntime


@torch.no_grad()
def compared(name: str, network: nn.Module, inputs: tuple[Tensor, ...], repeats: int) -> dict[str, Any]:
    """A row of ``onnx_speed``.

    Args:
        name: of the row.
        network: in evaluation mode.
        inputs: of its ``forward``.
        repeats: how many timed runs.
    """
    onnx, threads = runtime(), torch.get_num_threads()
    begin = time.process_time()
    program = torch.onnx.export(network, inputs, dynamo=True, verbose=False)
    with tempfile.TemporaryDirectory() as where:
        file = Path(where) / "network.onnx"
        assert program is not None
        program.save(str(file))
        options = onnx.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        session = onnx.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        size = sum(part.stat().st_size for part in Path(where).iterdir())
    exporting = time.process_time() - begin
    names = [one.name for one in session.get_inputs()]
    fed = {key: value.numpy() for key, value in zip(names, inputs, strict=True)}
    mine, theirs = network(*inputs).numpy(), session.run(None, fed)[0]
    apart = float(np.abs(mine - theirs).max() / mine.std())
    plain, export = (
        1e3 * busy_seconds(work, repeats) for work in (lambda: network(*inputs), lambda: session.run(None, fed))
    )
    rounded = network.to(torch.bfloat16)
    halves = tuple(one.to(torch.bfloat16) if one.is_floating_point() else one for one in inputs)
    half = 1e3 * busy_seconds(lambda: rounded(*halves), repeats)
    return {
        "what": name, "torch_ms": round(plain, 2), "bf16_ms": round(half, 2), "onnx_ms": round(export, 2),
        "ratio": round(plain / export, 2), "apart": float(f"{apart:.2g}"), "same": apart <= SAME,
        "exporting_s": round(exporting, 1), "file_mb": round(size / 1e6, 1),
    }  # fmt: skip
