"""Tables of what the benches measured: seconds, memory, pictures, and how many times as quick as plain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def _row(*cells: object) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def markdown(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; the first column is words, the others numbers.

    >>> print(markdown(["model", "FID"], [["MDM", 0.5]]), end="")
    | model | FID |
    |---|---:|
    | MDM | 0.5 |
    """
    return "\n".join([_row(*head), "|---" + "|---:" * (len(head) - 1) + "|", *(_row(*row) for row in rows)]) + "\n"


def held(part: Mapping[str, Any]) -> str:
    """Whether a bar holds, for a cell."""
    return "yes" if part["holds"] else "**no**"


def samplers(report: Mapping[str, Any]) -> str:
    """What ``hftrainer bench samplers`` measured."""
    rows: list[list[object]] = []
    for r in report["rows"]:
        way = f"{r['sampler']}, {r['steps']} steps{', bf16' if r['precision'] == 'bf16' else ''}"
        rows.append([way, f"{r['s_per_motion']:.3f}", f"{r['times']:.1f}", f"{r['hold']:.1%}", f"{r['others']:.1%}"])
    head = ["sampler", "s a motion, all at once", "times as quick as the first", "rules hold", "on other prompts"]
    return markdown(head, rows)


def denoising(report: Mapping[str, Any]) -> str:
    """What ``hftrainer bench generate --model`` measured of a denoiser."""
    rows: list[list[object]] = [["plain: two passes, fp32, the sentence read again", report["plain_s"], "", "1"]]
    rows += [
        [f"{case['sampler']}, {case['precision']}", case["batch_1_s"], case["batch_8_s"], case["ratio_to_plain"]]
        for case in report["samplers"]
    ]
    head = [f"{report['steps']} steps, {report['frames']} frames", "s a motion, alone", "s a motion, in eights",
            "times as quick as plain"]  # fmt: skip
    return markdown(head, rows)


def denoisers(*reports: Mapping[str, Any]) -> str:
    """How near one guided step of denoisers runs to the best product of the machine, as ``denoising``'s reports say."""
    rows: list[list[object]] = []
    for report in reports:
        for one in report["denoiser"]:
            bar = f" (bar {one['bar']:.0%}{'' if one['holds'] else ', **below**'})" if "bar" in one else ""
            rows.append([
                f"{report['parameters'] / 1e6:.1f} million", one["batch"], one["precision"], one["step_s"],
                f"{one['share']:.0%}{bar}",
            ])  # fmt: skip
    return markdown(["numbers of the denoiser", "motions", "precision", "s a step", "of best product"], rows)


def speeds(*reports: Mapping[str, Any]) -> str:
    """What ``hftrainer bench models`` measured, of one model or of several."""
    rows: list[list[object]] = []
    for report in reports:
        if report["plain"] is not None:
            plain = report["plain"]
            took = [plain[name] for name in ("s_median", "s_p95", "s_best")]
            rows.append([f"{report['model']}: generate, plain", 1, *took, "", plain["peak_mb"], "", "", "1"])
        for r in report["rows"]:
            times = r.get("ratio", {"value": ""})
            bar = f" (bar {times['bar']:g}{'' if times['holds'] else ', **below**'})" if "bar" in times else ""
            rows.append([
                f"{report['model']}: {r['verb']}, {r['way']}", r["batch"], r["s_median"], r["s_p95"], r["s_best"],
                f"{r['units_per_s']:g} {r['unit']}", r["peak_mb"], f"{r['share_of_products']:.0%}",
                f"{r['share_of_reading']:.0%}", f"{times['value']}{bar}",
            ])  # fmt: skip
    threads = " and ".join(str(count) for count in sorted({report["threads_used"] for report in reports}))
    head = [f"model and verb; threads: {threads}", "batch", "s a motion, median", "p95", "quickest", "a second",
            "most memory, MB", "of best product", "of best reading", "times as quick as plain"]  # fmt: skip
    return markdown(head, rows)


def kernels(report: Mapping[str, Any]) -> str:
    """What ``hftrainer bench kernels`` measured."""
    pairs: dict[tuple[str, str], dict[str, float]] = {}
    for row in report["rows"]:
        pairs.setdefault((row["what"], row["way"]), {})[row["precision"]] = row["ms"]
    rows = [[f"{what}, {way}", ms["fp32"], ms["bf16"]] for (what, way), ms in pairs.items()]
    return markdown([f"{report['threads_used']} thread, processor ms", "fp32", "bf16"], rows)


def nearness(report: Mapping[str, Any]) -> str:
    """What ``hftrainer bench nearness`` measured."""
    rows = [
        [f"{r['model']}, {r['way']}", r["what"], f"{r['value']:g}", f"{r['bar']:g}", held(r)] for r in report["rows"]
    ]
    return markdown(["beside the plain way", "", "value", "bar", "holds"], rows)


def exports(report: Mapping[str, Any]) -> str:
    """What ``hftrainer bench onnx`` measured."""
    names = ("what", "torch_ms", "bf16_ms", "onnx_ms")
    rows = [[*(row[name] for name in names), f"{row['apart']:.0e}"] for row in report["rows"]]
    threads = f"{report['threads_used']} thread{'s' if report['threads_used'] != 1 else ''}, processor ms"
    return markdown([threads, "torch fp32", "torch bf16", "ONNX fp32", "ONNX apart from fp32, of the spread"], rows)


def player(report: Mapping[str, Any]) -> str:
    """What ``tools/player_speed.py`` measured."""
    page = report["page_of_one_frame"]
    rows: list[list[object]] = [
        ["a page of one frame, MB", f"{page['bytes'] / 1e6:.2f}", f"{page['bar'] / 1e6:g}", held(page)],
        ["a page of all of it, MB", f"{report['page_of_all_bytes'] / 1e6:.2f}", "", ""],
    ]
    for style in ("skeleton", "body"):
        part = report[style]
        rows.append([f"{style}: milliseconds of the page's own thread a picture", part["milliseconds_per_picture"],
                     part["bar"], held(part)])  # fmt: skip
        rows.append([f"{style}: pictures a second drawn without a graphics card",
                     part["pictures_per_second_without_a_card"], "", ""])  # fmt: skip
    return markdown([report["what"], "", "bar", "holds"], rows)


def metrics_speed(report: Mapping[str, Any]) -> str:
    """What ``hftrainer bench metrics`` measured."""
    ratio, apart, whole = report["ratio"], report["difference"], report["repeats_s"]
    wide = f"{report['samples']:,} points of {report['width']} numbers"
    made = report["report"]
    rows: list[list[object]] = [
        [f"FID of {wide}, s", report["frechet_s"], "", ""],
        ["the same by the square root of a matrix, s", report["frechet_by_sqrtm_s"], "", ""],
        ["times as quick", ratio["value"], f"{ratio['bar']:g}", held(ratio)],
        ["the two apart, as a share", f"{apart['value']:.0e}", f"{apart['bar']:.0e}", held(apart)],
        [f"a report of {made['samples']:,} predictions, {made['data']}: files read and hashed, s",
         made["seconds"]["reading"], "", ""],
        [f"{report['repeats']} repeats of all measures, both rows, after encoding, s", whole["value"],
         f"{whole['bar']:g}", held(whole)],
    ]  # fmt: skip
    return markdown(["", "value", "bar", "holds"], rows)


def memory(report: Mapping[str, Any]) -> str:
    """What ``hftrainer bench memory`` measured."""
    peaks: Mapping[str, float] = report["peak_mb"]
    rows: list[list[object]] = [[f"{count} prompts: most memory, MB", peak] for count, peak in peaks.items()]
    rows += [
        [f"a motion of {report['frames']} frames itself, kB", report["motion_kb"]],
        ["a further prompt, its motion included, kB", report["kb_a_prompt"]["value"]],
    ]
    return markdown([f"weights {report['model_hash']}", ""], rows)
