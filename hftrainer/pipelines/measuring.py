"""What a piece of work costs: seconds, memory, and how near it comes to what the machine can do.

Two numbers bound any work on a machine: how fast it multiplies matrices, and how fast it reads memory. Both are
measured in the same run, so that a share of them is a distance to the physical limit and not to a data sheet.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook
from torch.utils.flop_counter import FlopCounterMode

from hftrainer.models.motion.mdm.rounding import RoundedEnd, RoundedLayer, packs
from hftrainer.pipelines.quickest import quickest

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.LayerNorm)


@dataclass(frozen=True)
class Cost:
    """What one piece of work cost.

    Attributes:
        median_s, p95_s: of the runs, on the clock.
        busy_s: processor time of the quickest run, over the threads: other programs on the machine do not count.
        operations: multiplications and additions of matrix products, attention left out; of one run.
        weights_read: bytes of the weights that layers read, each time they run.
        peak_bytes: the most memory of the process while it ran, all of the model included.
    """

    median_s: float
    p95_s: float
    busy_s: float
    operations: int
    weights_read: int
    peak_bytes: int


def cost(work: Callable[[], Any], repeats: int = 3) -> Cost:
    """Run a piece of work: once to warm up and to count, then to be timed.

    Args:
        work: takes no argument; its result is dropped.
        repeats: timed runs.

    >>> layer = nn.Linear(8, 4)
    >>> found = cost(lambda: layer(torch.zeros(2, 8)), repeats=1)
    >>> found.operations, found.weights_read
    (128, 144)
    """
    read = [0]

    def count(module: nn.Module, _: Any, __: Any) -> None:
        if isinstance(module, RoundedLayer | RoundedEnd):
            read[0] += module.weight_bytes
        elif isinstance(module, _LAYERS):
            read[0] += sum(p.numel() * p.element_size() for p in module.parameters())

    handle = register_module_forward_hook(count)
    try:
        with FlopCounterMode(display=False, custom_mapping=_packed_products()) as counter:
            work()
    finally:
        handle.remove()
    clock, busy = [], []
    forget_peak()
    for _ in range(repeats):
        begin, begin_busy = time.perf_counter(), time.process_time()
        work()
        clock.append(time.perf_counter() - begin)
        busy.append((time.process_time() - begin_busy) / torch.get_num_threads())
    p95 = float(np.quantile(clock, 0.95))
    return Cost(float(np.median(clock)), p95, min(busy), int(counter.get_total_flops()), read[0], peak_bytes())


def _packed_products() -> dict[Any, Any]:
    """How many operations a product with weights laid out beforehand is, where torch has it."""

    def operations(x: tuple[int, ...], *_: Any, out_shape: tuple[int, ...], **__: Any) -> int:
        return 2 * x[1] * out_shape[0] * out_shape[1]

    return {torch.ops.mkldnn._linear_pointwise: operations} if packs() else {}


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


def product_ceiling(precision: str = "fp32", size: int = 1024, repeats: int = 5) -> float:
    """The best rate of matrix products, billions of operations a second of processor time over the threads.

    >>> product_ceiling(size=64, repeats=1) > 0
    True
    """
    one = torch.ones(size, size, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    return 2 * size**3 / busy_seconds(lambda: one @ one, repeats) / 1e9


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
