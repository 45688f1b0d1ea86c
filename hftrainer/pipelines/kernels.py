"""Which way of computing a layer is quickest here: attention fused or in products, a layer as it is or compiled."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.nn import functional as F

from hftrainer.models.motion.mdm.config import MDMConfig
from hftrainer.models.motion.mdm.network import Layer, attend_in_products
from hftrainer.pipelines.measuring import busy_seconds

#: What the networks attend over at published size and 120 frames: groups, heads, places, width of a head.
ATTENTIONS = {
    "MoGenTS, cell to cell": (2, 6, 186, 64), "MoGenTS, groups of six columns": (60, 6, 6, 64),
    "MoGenTS, along time": (12, 6, 31, 64), "MDM": (2, 4, 121, 128),
}  # fmt: skip
#: Layers: width, heads, width between, and places and samples of what they read.
LAYERS = {"MoGenTS, cell to cell": (384, 6, 1024, 186, 2), "mdm-mini, eight motions": (256, 4, 1024, 31, 16)}
_KINDS = {"fp32": torch.float32, "bf16": torch.bfloat16}


@torch.no_grad()
def kernel_speed(repeats: int = 5, compiled: bool = False) -> dict[str, Any]:
    """Milliseconds of processor time, the quickest of some runs.

    Args:
        repeats: how many.
        compiled: also by ``torch.compile``, where there is a C++ compiler; that takes minutes.

    Returns:
        JSON values: a row for each piece, way and precision.

    >>> {row["way"] for row in kernel_speed(repeats=1)["rows"]} >= {"fused", "products"}
    True
    """
    rows: list[dict[str, Any]] = []
    for name, (groups, heads, places, width) in ATTENTIONS.items():
        for precision, kind in _KINDS.items():
            # As layers leave them: places first in memory, heads side by side.
            parts = torch.randn(3, places, groups, heads * width).to(kind)
            query, key, value = (p.view(places, groups, heads, width).permute(1, 2, 0, 3) for p in parts)
            ways: dict[str, Callable[[], Any]] = {
                "fused": partial(F.scaled_dot_product_attention, query, key, value),
                "products": partial(attend_in_products, query, key, value, None),
            }
            rows += [_row(f"attention: {name}", way, precision, work, repeats) for way, work in ways.items()]
    for name, (size, heads, between, places, samples) in LAYERS.items():
        layer = Layer(MDMConfig(width=size, heads=heads, feed_forward=between), memory=False).eval()
        for precision, kind in _KINDS.items():
            layer, x = layer.to(kind), torch.randn(places, samples, size).to(kind)
            rows.append(_row(f"layer: {name}", "as it is", precision, partial(layer, x, None), repeats))
            if compiled and shutil.which("g++"):
                begin = time.process_time()
                quick = torch.compile(layer)
                quick(x, None)
                first = time.process_time() - begin
                found = _row(f"layer: {name}", "compiled", precision, partial(quick, x, None), repeats)
                rows.append(found | {"compiling_s": round(first, 1)})
    return {
        "what": "kernels", "cores_seen": os.cpu_count(), "threads_used": torch.get_num_threads(),
        "torch": torch.__version__, "rows": rows,
    }  # fmt: skip


def _row(what: str, way: str, precision: str, work: Callable[[], Any], repeats: int) -> dict[str, Any]:
    def ten() -> None:
        for _ in range(10):
            work()

    return {"what": what, "way": way, "precision": precision, "ms": round(busy_seconds(ten, repeats) * 100, 3)}
