"""Write the tables of the pages from the JSON in ``results/``, between marks.

    python tools/tables.py           # writes
    python tools/tables.py --check   # exit status 1 if a page's table is not that of its JSON

A page holds ``<!-- table: NAME FILE.json -->`` and ``<!-- end -->``; what stands between belongs to this tool. A file
that is not there leaves one line that says by which command it is made.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
MARK = re.compile(r"(<!-- table: (\w+) ([\w.-]+\.json) -->\n)(.*?)(<!-- end -->)", re.S)


def _row(*cells: object) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def _rows(head: list[str], rows: list[list[object]]) -> str:
    return "\n".join([_row(*head), "|---" + "|---:" * (len(head) - 1) + "|", *(_row(*row) for row in rows)]) + "\n"


def bars(report: dict[str, Any]) -> str:
    """What ``hftrainer bench quality`` measured that has a bar."""
    names = {
        ("reconstruction", "train_mm"): "reconstruction MPJPE, training clips, mm",
        ("reconstruction", "held_out_mm"): "reconstruction MPJPE, held-out clips, mm",
        ("reconstruction", "codes_used"): "share of codes in use",
        ("editing", "lower_body_mm"): "lower body after an edit of the upper one, largest change of a joint, mm",
        ("editing", "root_mm"): "root after that edit, largest change, mm",
        ("editing", "ends_mm"): "kept ends after a gap was filled, largest change of a joint, mm",
        ("behaviour", "hold_rate"): "behaviour rules that hold on their own prompts",
        ("behaviour", "others_rate"): "the same rules on other prompts' motions",
    }
    rows: list[list[object]] = []
    for (part, key), name in names.items():
        if part in report and key in report[part]:
            found = report[part][key]
            rows.append([name, f"{found['value']:g}", f"{found['bar']:g}", "yes" if found["holds"] else "**no**"])
    return _rows([f"{report['model']}, weights {report['model_hash']}", "value", "bar", "holds"], rows)


def samplers(report: dict[str, Any]) -> str:
    """What ``hftrainer bench samplers`` measured."""
    rows: list[list[object]] = []
    for r in report["rows"]:
        way = f"{r['sampler']}, {r['steps']} steps{', bf16' if r['precision'] == 'bf16' else ''}"
        rows.append([way, f"{r['s_per_motion']:.3f}", f"{r['times']:.1f}", f"{r['hold']:.1%}", f"{r['others']:.1%}"])
    head = ["sampler", "s a motion, all at once", "times as quick as the first", "rules hold", "on other prompts"]
    return _rows(head, rows)


def denoising(report: dict[str, Any]) -> str:
    """What ``hftrainer bench generate --model`` measured of a denoiser."""
    rows: list[list[object]] = [["plain: two passes, fp32, the sentence read again", report["plain_s"], "", "1"]]
    rows += [
        [f"{case['sampler']}, {case['precision']}", case["batch_1_s"], case["batch_8_s"], case["ratio_to_plain"]]
        for case in report["samplers"]
    ]
    head = [f"{report['steps']} steps, {report['frames']} frames", "s a motion, alone", "s a motion, in eights",
            "times as quick as plain"]  # fmt: skip
    return _rows(head, rows)


TABLES: dict[str, Callable[[dict[str, Any]], str]] = {"bars": bars, "samplers": samplers, "denoising": denoising}


def filled(text: str, results: Path) -> str:
    """A page with its tables as the results say.

    >>> filled("<!-- table: bars none.json -->\\nold\\n<!-- end -->", Path("nowhere")).splitlines()[1]
    'Not measured yet: `results/none.json` is made by the command below.'
    """

    def one(found: re.Match[str]) -> str:
        file = results / found[3]
        if not file.is_file():
            table = f"Not measured yet: `results/{found[3]}` is made by the command below.\n"
        else:
            table = TABLES[found[2]](json.loads(file.read_text(encoding="utf-8")))
        return f"{found[1]}{table}{found[5]}"

    return MARK.sub(one, text)


def main() -> int:
    parser = argparse.ArgumentParser(description="tables of the pages")
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 if a table is old")
    check = parser.parse_args().check
    old = []
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        text = page.read_text(encoding="utf-8")
        now = filled(text, ROOT / "results")
        if now != text:
            old.append(page.name)
            if not check:
                page.write_text(now, encoding="utf-8")
    print("\n".join(f"{'old' if check else 'written'}: {name}" for name in old) or "all tables are as the results say")
    return 1 if check and old else 0


if __name__ == "__main__":
    sys.exit(main())
