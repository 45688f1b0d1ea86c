"""``python -m tests.parity FOLDER [--json]``; how to add a family stands in ``tests/parity/__init__.py``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.parity import (
    Check,
    Kind,
    later,
    mdm,
    mdm_text,
    mogents_door,
    mogents_generation,
    mogents_tokenizer,
    mogents_transformers,
    motiongpt_evaluation,
    motiongpt_networks,
    motiongpt_words,
    smpl,
    zoo,
    zoo_bodies,
    zoo_evaluation,
    zoo_ik,
)

FAMILIES = (
    zoo, zoo_bodies, zoo_evaluation, zoo_ik, mdm, mdm_text, motiongpt_evaluation, motiongpt_networks, motiongpt_words,
    mogents_door, mogents_tokenizer, mogents_transformers, mogents_generation, smpl,
)  # fmt: skip

#: Files that explain a folder and hold no numbers of their own.
_PROSE = (".md", ".txt", ".py")


@dataclass(frozen=True)
class Result:
    """What became of one case: its line."""

    case: str
    kind: str
    verdict: str  # "pass", "fail" or "not yet"
    checks: list[Check] = field(default_factory=list)
    note: str = ""

    @property
    def worst(self) -> Check | None:
        """The check that came nearest to its tolerance, or went furthest beyond it."""
        return max(self.checks, key=lambda c: (not c.holds, c.difference / (c.tolerance or 1e-300)), default=None)

    def line(self) -> str:
        worst = self.worst
        middle = (
            f"largest difference {worst.difference:.2g}, tolerance {worst.tolerance:.2g} ({worst.what}; "
            f"{len(self.checks)} checks)" if worst else ""
        )
        return "  ".join(part for part in (f"{self.verdict:8}{self.kind:24}", self.case, middle, self.note) if part)


def _run(case: str, kind: Kind, path: Path, pool: ThreadPoolExecutor) -> Result:
    work = pool.submit(kind.run, path)  # a future carries any error back as a value
    error = work.exception()
    if error is not None:
        return Result(case, kind.name, "fail", note=f"crashed: {type(error).__name__}: {error}")
    checks = work.result()
    if not checks:
        return Result(case, kind.name, "fail", note="could not be run: no number in it is one that this kind checks")
    bad = [check.note or check.what for check in checks if not check.holds]
    return Result(case, kind.name, "fail" if bad else "pass", checks, f"differs: {'; '.join(bad)}" if bad else "")


def _explains(path: Path) -> bool:
    return path.suffix in _PROSE or path.name.startswith(".") or path.name == "MANIFEST.json"


def run_folder(root: Path, families: tuple[object, ...] = FAMILIES) -> Iterator[Result]:
    """Every case below ``root``, one after another, in the order of their paths.

    Raises:
        FileNotFoundError: ``root`` is not a folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"a folder of cases must be given; got {root}, which is none.")
    kinds: list[Kind] = [kind for family in families for kind in family.KINDS]  # type: ignore[attr-defined]
    claimed: set[Path] = set()
    paths = [root, *sorted(root.rglob("*"))]
    matched = {path: [kind for kind in kinds if kind.matches(path)] for path in paths}
    parts = {part for path, found in matched.items() for kind in found for part in kind.parts(path)}
    with ThreadPoolExecutor(1) as pool:
        for path in [p for p in paths if p.is_dir()] + [p for p in paths if p.is_file()]:
            if path in claimed or any(parent in claimed for parent in path.parents):
                continue
            case = path.relative_to(root).as_posix()
            found = matched[path]
            if not found and path in parts:
                continue
            for kind in found:
                claimed.update([path, *kind.parts(path)])
                yield _run(case, kind, path, pool)
            if path.is_dir():
                if not found and later.is_motiongpt(path):
                    claimed.add(path)
                    yield Result(case, "motiongpt", "not yet")
                continue
            if _explains(path):
                continue
            waiting = [row.name for row in later.CONTENT if row.matches(path) and (row.rest or not found)]
            if not found and not waiting:
                waiting = later.family_of(Path(root.resolve().name) / path.relative_to(root))
                claimed.update(twin for twin in path.parent.glob(f"{path.stem}.*") if waiting)
            for name in waiting:
                yield Result(case, name, "not yet")
            if not found and not waiting:
                yield Result(case, "unknown", "fail", note="could not be run: no kind knows what is in it")


def main(arguments: list[str] | None = None) -> int:
    """Print a line per case and the count; 0 when all that could be run passed, 1 otherwise, 2 without a folder."""
    parser = argparse.ArgumentParser(prog="python -m tests.parity", description="compare with stored reference numbers")
    parser.add_argument("folder", type=Path, help="a folder laid out like the golden data")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    options = parser.parse_args(arguments)
    results = []
    try:
        for result in run_folder(options.folder):
            results.append(result)
            if not options.json:
                print(result.line(), flush=True)
    except FileNotFoundError as exc:
        print(exc, file=sys.stderr)
        return 2
    count = {verdict: sum(r.verdict == verdict for r in results) for verdict in ("pass", "fail", "not yet")}
    ok = count["pass"] > 0 and not count["fail"]
    if not results or (not count["pass"] and not count["fail"]):
        print(f"no case that can be run was found in {options.folder}", file=sys.stderr)
    if options.json:
        print(json.dumps({"ok": ok, "counts": count, "cases": [_as_json(result) for result in results]}, indent=1))
    else:
        print(f"{len(results)} cases: {count['pass']} pass, {count['fail']} fail, {count['not yet']} not yet")
    return 0 if ok else 1


def _as_json(result: Result) -> dict[str, object]:
    worst = result.worst
    finite = [{**asdict(c), "difference": c.difference if c.difference < float("inf") else None} for c in result.checks]
    return {
        "case": result.case,
        "kind": result.kind,
        "verdict": result.verdict,
        "largest_difference": worst.difference if worst and worst.difference < float("inf") else None,
        "tolerance": worst.tolerance if worst else None,
        "note": result.note,
        "checks": finite,
    }


if __name__ == "__main__":
    sys.exit(main())
