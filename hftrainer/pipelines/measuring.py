"""What a piece of work costs: seconds, memory, and how near it comes to what the machine can do.

Two numbers bound any work on a machine: how fast it multiplies matrices, and how fast it reads memory. Both are
measured in the same run, so that a share of them is a distance to the physical limit and not to a data sheet.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook
from torch.utils.flop_counter import FlopCounterMode

from hftrainer.models.motion.mdm.packing import PackedEnd, PackedLayer, PackedLinear, packs
from hftrainer.pipelines.denoising import PRECISIONS
from hftrainer.pipelines.quickest import quickest

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.LayerNorm)


@dataclass(frozen=True)
class Cost:
    """What one piece of work cost.

    Attributes:
        median_s, p95_s, best_s: of the runs, on the clock: the middle one, nearly the slowest, the quickest.
        busy_s: processor time of the run that took least of it, over the threads.
        operations: multiplications and additions of matrix products, attention left out; of one run.
        weights_read: bytes of the weights that layers read, each time they run.
        peak_bytes: the most memory of the process while it ran, all of the model included.
    """

    median_s: float
    p95_s: float
    best_s: float
    busy_s: float
    operations: int
    weights_read: int
    peak_bytes: int


def costs(works: Sequence[Callable[[], Any]], repeats: int = 3) -> list[Cost]:
    """Run pieces of work: each once to warm up and to count, then all in turns to be timed.

    In turns, because a machine that others use, or that heats up, is not equally quick all the time: what is compared
    then was measured side by side.

    Args:
        works: take no argument; their results are dropped.
        repeats: timed runs of each.

    >>> layer = nn.Linear(8, 4)
    >>> found = costs([lambda: layer(torch.zeros(2, 8))], repeats=1)[0]
    >>> found.operations, found.weights_read
    (128, 144)
    """
    counted = [_counted(work) for work in works]
    runs: list[list[tuple[float, float, int]]] = [[] for _ in works]
    for _ in range(repeats):
        for work, seen in zip(works, runs, strict=True):
            forget_peak()
            begin, begin_busy = time.perf_counter(), time.process_time()
            work()
            busy = (time.process_time() - begin_busy) / torch.get_num_threads()
            seen.append((time.perf_counter() - begin, busy, peak_bytes()))
    found = []
    for (operations, read), seen in zip(counted, runs, strict=True):
        clock, busy_s, peaks = zip(*seen, strict=True)
        median, p95 = float(np.median(clock)), float(np.quantile(clock, 0.95))
        found.append(Cost(median, p95, min(clock), min(busy_s), operations, read, max(peaks)))
    return found


def _counted(work: Callable[[], Any]) -> tuple[int, int]:
    """Operations and bytes of weights of one run; another run after it warms up what runs on several threads."""
    read = [0]

    def count(module: nn.Module, _: Any, __: Any) -> None:
        if isinstance(module, PackedLayer | PackedEnd):
            read[0] += module.weight_bytes
        elif isinstance(module, _LAYERS):
            read[0] += sum(p.numel() * p.element_size() for p in module.parameters())

    handle, threads = register_module_forward_hook(count), torch.get_num_threads()
    try:
        torch.set_num_threads(1)  # the counter sees its own thread alone
        with FlopCounterMode(display=False, custom_mapping=_packed_products()) as counter:
            work()
    finally:
        torch.set_num_threads(threads)
        handle.remove()
    work()
    return int(counter.get_total_flops()), read[0]


def _packed_products() -> dict[Any, Any]:
    """How many operations a product with weights laid out beforehand is, where torch has it."""

    def operations(x: tuple[int, ...], *_: Any, out_shape: tuple[int, ...], **__: Any) -> int:
        return 2 * x[1] * out_shape[0] * out_shape[1]

    return {torch.ops.mkldnn._linear_pointwise: operations} if packs(torch.float32) else {}


def forget_peak() -> None:
    """Begin to look for the most memory anew, where the system can (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # another system, or one that does not allow it: the peak is then that of the whole run
        return


def peak_bytes() -> int:
    """The most memory that the process has had, bytes.

    >>> peak_bytes() > 1_000_000
    True
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def product_ceiling(precision: str = "fp32", size: int = 1024, repeats: int = 5, device: str = "cpu") -> float:
    """The best rate of matrix products on this machine now, billions of operations a second on the clock.

    Args:
        precision: ``fp32`` or ``bf16``.
        size: of the square matrices.
        repeats: the quickest counts; on a processor of torch's product and of one with weights laid out for it.
        device: where.

    >>> product_ceiling(size=64, repeats=1) > 0
    True
    """
    dtype = PRECISIONS[precision]
    one = torch.ones(size, size, dtype=dtype, device=device)

    def plain() -> None:
        product = one @ one
        if product.is_cuda:
            torch.cuda.synchronize()

    ways: list[Callable[[], Any]] = [plain]
    if device == "cpu":
        laid_out = PackedLinear(one, torch.zeros(size), dtype)
        ways.append(lambda: laid_out(one))
    for way in ways:
        way()
    return 2 * size**3 / min(quickest(way, repeats, time.perf_counter) for way in ways) / 1e9


def reading_ceiling(megabytes: int = 256, repeats: int = 3) -> float:
    """How fast memory is read, GB a second, by adding up more numbers than any cache holds.

    >>> reading_ceiling(1, 1) > 0
    True
    """
    numbers = torch.ones(megabytes * 250_000)
    return numbers.numel() * 4 / busy_seconds(lambda: numbers.sum(), repeats) / 1e9


def busy_seconds(work: Callable[[], Any], repeats: int) -> float:
    """Processor seconds of the quickest of some runs, over the threads, after one to warm up.

    >>> busy_seconds(lambda: sum(range(1000)), 1) > 0
    True
    """
    work()
    return quickest(work, repeats) / torch.get_num_threads()
