"""What ``hftrainer info`` says of a folder in words: head lines that a reader asks for first, then everything else."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hftrainer.models import licences
from hftrainer.models.sums import SHORT

#: Files of settings that the head lines tell of better; ``--json`` has them whole.
_TOLD = ("calibration.json",)
#: Settings that the licences and the manifest below them repeat.
_REPEATED = ("licences", "files")
#: Widest line of settings.
_WIDE = 112


def folder_lines(report: Mapping[str, Any]) -> list[str]:
    """The description of a folder, for people.

    Args:
        report: of ``info.describe_folder`` and the kind's own ``describe_…``.
    """
    lines = [report["folder"], ""]
    if "hash" in report:
        lines += [*head_lines(report), ""]
    for name, values in report["settings"].items():
        if name not in _TOLD and isinstance(values, dict):
            lines += [f"{name}:", *setting_lines(values), ""]
    lines += [*licences.lines([licences.Link(**link) for link in report["licences"]["links"]]), ""]
    manifest = report["manifest"]
    if manifest["listed"]:
        state = "; ".join(manifest["problems"]) or f"all {manifest['listed']} files are as it says"
        beside = f"; not in it: {', '.join(manifest['beside'])}" if manifest["beside"] else ""
        lines += [f"manifest: {state}{beside}", ""]
    else:
        lines += ["manifest: none", ""]
    lines += [f"{file['bytes']:>12,} bytes  {file['sha256'][:SHORT]}  {file['name']}" for file in report["files"]]
    if report["card"]:
        lines += ["", Path(report["card"]).read_text(encoding="utf-8").strip()]
    return lines


def head_lines(report: Mapping[str, Any]) -> list[str]:
    """What a model or an evaluator is and does, in a few plain lines."""
    lines = []
    if report.get("kind"):
        lines.append(f"kind: {report['kind']}, which can {', '.join(report['verbs'])}")
    numbers = (f"{name.replace('_', ' ')} {count:,} numbers" for name, count in report["parameters"].items())
    lines += [f"hash: {report['hash']}", *numbers, f"statistics: {report['statistics']}"]
    if "frame_range" in report:
        lines.append(f"length: {length(report['frame_range'], report.get('fps'), report.get('usual_frames'))}")
    if report.get("evaluation_frames"):
        shown = report["evaluation_frames"]
        lines.append(f"published numbers: made by showing it {shown} frames, whatever length was asked for")
    lines += [f"{name}: {report[name]:g}" for name in ("guidance", "steps") if report.get(name) is not None]
    if report.get("candidates"):
        many = report["candidates"]
        lines.append(f"candidates: {many}" + (", of which the one that fits best is kept" if many > 1 else ""))
    if "reads" in report:
        lines.append(f"reads: {report['reads']}")
    if "calibration" in report:
        kept = report["calibration"] or "not measured; hftrainer evaluate real --calibrate does"
        lines.append(f"real motions: {kept}")
    return lines


def length(frames: tuple[int, int], fps: float | None, usual: int | None = None) -> str:
    """Lengths that may be asked for.

    >>> length((24, 196), 20.0, 80)
    '24 to 196 frames, 1.2 to 9.8 s at 20 frames a second; 80 frames, 4 s, where none is asked for'
    """
    said = f"{frames[0]} to {frames[1]} frames"
    if fps:
        said += f", {frames[0] / fps:g} to {frames[1] / fps:g} s at {fps:g} frames a second"
    if usual:
        said += f"; {usual} frames" + (f", {usual / fps:g} s," if fps else "") + " where none is asked for"
    return said


def setting_lines(values: Mapping[str, Any], indent: str = "  ") -> list[str]:
    """Settings, a line for each; long ones in lines of their own, stages of training in a line each.

    >>> stages = [{"recipe": {"kind": "mdm"}, "seconds": 5400}]
    >>> setting_lines({"steps": 50, "none": None, "network": {"heads": 6, "patch": 4}, "stages": stages})
    ['  steps: 50', '  network: heads 6, patch 4', '  stages:', '    1. mdm, 1.5 h']
    """
    lines = []
    for key, value in values.items():
        if value is None or (key in _REPEATED and isinstance(value, dict)):
            continue
        said = json.dumps(value, ensure_ascii=False)
        if key == "stages" and isinstance(value, list) and all(isinstance(stage, dict) for stage in value):
            lines += [f"{indent}{key}:", *(f"{indent}  {n}. {stage(one)}" for n, one in enumerate(value, 1))]
        elif not isinstance(value, dict | list) or (isinstance(value, list) and len(said) <= _WIDE):
            lines.append(f"{indent}{key}: {said}")
        elif isinstance(value, dict) and not any(isinstance(one, dict | list) for one in value.values()):
            flat = ", ".join(f"{name} {one}" for name, one in value.items() if one is not None)
            lines += textwrap.wrap(f"{key}: {flat}", _WIDE, initial_indent=indent, subsequent_indent=indent + "    ")
        elif isinstance(value, dict):
            lines += [f"{indent}{key}:", *setting_lines(value, indent + "  ")]
        elif all(isinstance(one, str) for one in value):
            lines += [f"{indent}{key}:", *(f"{indent}  {one}" for one in value)]
        else:
            lines.append(f"{indent}{key}: {len(value)} values; --json shows them")
    return lines


def stage(told: Mapping[str, Any]) -> str:
    """A stage of training: its kind, steps, hours and data.

    >>> recipe = {"kind": "mdm", "schedule": {"steps": 6500}, "dataset": {"name": "mocap-6361f080"}}
    >>> stage({"recipe": recipe, "seconds": 7200.0})
    'mdm, 6500 steps, 2 h, data mocap-6361f080'
    """
    recipe = told.get("recipe", {})
    steps, data = recipe.get("schedule", {}).get("steps"), recipe.get("dataset", {}).get("name")
    hours = told.get("seconds")
    return ", ".join([
        str(recipe.get("kind", "unknown kind")),
        *([f"{steps} steps"] if steps else []),
        *([f"{hours / 3600:.3g} h"] if hours else []),
        *([f"data {data}"] if data else []),
    ])  # fmt: skip


def calibrated(folder: Path) -> str | None:
    """What an evaluator keeps of real motions, in a line; ``None`` where it keeps nothing."""
    file = folder / "calibration.json"
    if not file.is_file():
        return None
    kept = json.loads(file.read_text(encoding="utf-8"))
    metrics, used = kept["rows"]["real"]["metrics"], kept["counts"]["used"]
    ranks = ", ".join(f"{name} {metrics[name]['mean']:.3f}" for name in ("R@1", "R@3") if name in metrics)
    return f"{ranks} ({used} of {kept['dataset']}, {kept['protocol']['repeats']} repeats)"
