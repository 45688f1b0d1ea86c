"""Arithmetic of large jobs from what was measured: bytes, hours, money; and the tables that show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hftrainer.evaluation.speed_tables import held

#: What is assumed and not measured: prices in dollars an hour, and the work of a GPU that makes tokens one after the
#: other and reads the weights for each, in 10¹² products and sums a second.
CORE_HOUR, GPU_HOUR, GPU_TERAFLOPS = 0.04, 2.50, 5.0
#: Dollars that a terabyte costs to keep for a month.
TERABYTE_MONTH = 20.0
#: Bytes of a number, and numbers of a frame of hml263.
_NUMBER, _WIDTH = 4, 263


def flat_cost(report: Mapping[str, Any]) -> tuple[list[str], list[Sequence[object]]]:
    """Head and rows of what ``hftrainer bench cluster`` measured."""
    head = ["motions", "processor ms a motion", "shards", "bytes a motion"]
    return head, [
        [f"{row['items']:,}", row["cpu_ms_an_item"], row["shards"], f"{row['bytes_an_item']:,.0f}"]
        for row in report["rows"]
    ]


def pack_reading(report: Mapping[str, Any]) -> tuple[list[str], list[Sequence[object]]]:
    """Head and rows of what ``hftrainer bench packed`` measured."""
    rows: list[Sequence[object]] = [
        ["clips", f"{report['clips']:,}"],
        ["bytes of the pack", f"{report['bytes']:,}"],
        ["bytes that opening it reads", f"{report['opening_bytes']:,}"],
        [f"bytes read after {report['steps']} steps and a validation", f"{report['bytes_read']:,}"],
        ["share of the pack", f"{report['share_read']['value']:.2%}"],
        ["memory that the process grew by, MB", f"{report['grown_mb']['value']:g}"],
    ]
    return ["", "measured"], rows


def repeated(report: Mapping[str, Any]) -> tuple[list[str], list[Sequence[object]]]:
    """Head and rows of how far the same motion lay apart, asked again in several ways.

    >>> repeated({"determinism, mm": {"mini": {"alone": 0.0, "bar": 1.0, "holds": True}}})
    (['mm', 'alone', 'bar', 'holds'], [['mini', '0', '1', 'yes']])
    """
    told = report["determinism, mm"]
    ways = list(dict.fromkeys(way for apart in told.values() for way in apart if way not in ("bar", "holds")))
    rows: list[Sequence[object]] = [
        [model, *(f"{apart[way]:g}" if way in apart else "not tried" for way in ways), f"{apart['bar']:g}", held(apart)]
        for model, apart in told.items()
    ]
    return ["mm", *ways, "bar", "holds"], rows


def endured(report: Mapping[str, Any]) -> tuple[list[str], list[Sequence[object]]]:
    """Head and rows of how often each command was killed, and what it did on a full disk.

    >>> full = {"convert": {"exit": 1, "files": 0}}
    >>> endured({"kills": {"convert": {"kills": 3, "too_late": 1}}, "full disk": full})[1]
    [['convert', 3, 2, 1, 0]]
    """
    full = report["full disk"]
    rows: list[Sequence[object]] = [
        [name, n["kills"], n["kills"] - n["too_late"], full[name]["exit"], full[name]["files"]]
        for name, n in report["kills"].items()
    ]
    return ["command", "kills", "of them while it ran", "full disk: exit status", "files left under their names"], rows


def large_jobs(
    speed: Mapping[str, Any], cost: Mapping[str, Any], counts: Sequence[int] = (10**6, 10**8)
) -> tuple[list[str], list[Sequence[object]]]:
    """Head and rows of what many motions take.

    Args:
        speed: what ``hftrainer bench models`` measured of one model.
        cost: what ``hftrainer bench cluster`` measured.
        counts: how many motions.

    >>> speed = {"frames": 100, "rows": [dict(verb="generate", batch=8, way="fp32", busy_s=0.36, gflops=10.0)]}
    >>> head, rows = large_jobs(speed, {"rows": [{"items": 100, "bytes_an_item": 0, "cpu_ms_an_item": 3.6}]}, [10**6])
    >>> rows[1]
    ['processor-hours, fp32 in eights', '100']
    """
    way = min((row for row in speed["rows"] if row["verb"] == "generate" and row["batch"] > 1),
              key=lambda row: float(row["busy_s"]))  # fmt: skip
    size = speed["frames"] * _WIDTH * _NUMBER
    work = way["gflops"] * way["busy_s"]  # 10⁹ of one motion
    around = cost["rows"][-1]["cpu_ms_an_item"] / 1000
    many = {8: "eights"}.get(way["batch"], f"batches of {way['batch']}")
    lines = {
        f"bytes, {speed['frames']} frames of hml263 each": lambda n: _bytes(n * size),
        f"processor-hours, {way['way']} in {many}": lambda n: _number(n * way["busy_s"] / 3600),
        "of it reading, writing and keeping count, at most": lambda n: _number(n * around / 3600),
        "products and sums": lambda n: f"{n * work * 1e9:.1e}",
        f"GPU-hours at {GPU_TERAFLOPS:g} · 10¹² a second": lambda n: _number(n * work / (GPU_TERAFLOPS * 1000) / 3600),
        f"dollars on processors, {CORE_HOUR:.2f} an hour": lambda n: _number(n * way["busy_s"] / 3600 * CORE_HOUR),
        f"dollars on GPUs, {GPU_HOUR:.2f} an hour": lambda n: _number(
            n * work / (GPU_TERAFLOPS * 1000) / 3600 * GPU_HOUR
        ),
        f"dollars a month on disk, {TERABYTE_MONTH:g} a terabyte": lambda n: _number(n * size / 1e12 * TERABYTE_MONTH),
        "shards in blocks of 32; of 1,024": lambda n: f"{-(-n // 32):,}; {-(-n // 1024):,}",
    }
    head = ["what they take", *(f"{count:,} motions" for count in counts)]
    return head, [[what, *(told(count) for count in counts)] for what, told in lines.items()]


def _number(value: float) -> str:
    """Three figures.

    >>> _number(12345.6), _number(0.01234)
    ('12,300', '0.0123')
    """
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if rounded >= 100 else f"{rounded:g}"


def _bytes(value: float) -> str:
    """In the unit that fits.

    >>> _bytes(126e9), _bytes(12.6e12)
    ('126 GB', '12.6 TB')
    """
    return f"{value / 1e12:.3g} TB" if value >= 1e12 else f"{value / 1e9:.3g} GB"
