"""What this project stands on: licences checked, a CycloneDX list, a lock file with hashes.

``python tools/supply.py licences`` fails on a licence that is not permissive and not known here;
``python tools/supply.py table`` writes it into docs/reliability.md; ``python tools/supply.py sbom -o FILE`` writes
CycloneDX 1.5 JSON of what is installed; ``python tools/supply.py lock`` writes requirements.lock with hashes.
"""

import argparse
import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: Words of permissive licences, as packages spell them.
PERMISSIVE = re.compile(
    r"\b(MIT|BSD|0BSD|Apache|ISC|PSF|Python Software Foundation|MPL-2\.0|Mozilla Public License 2\.0|Unlicense|HPND|"
    r"CMU License|Zlib|CC0|TOST-1\.0|MIT-CMU|Public Domain)\b",
    re.IGNORECASE,
)
#: Words that no licence here may have, whatever else it says.
RESTRICTIVE = re.compile(r"\b(A?GPL|SSPL|BUSL|non-?commercial|proprietary|CC-BY-NC)", re.IGNORECASE)
#: Packages whose metadata says nothing or too much, with what their own files say.
KNOWN: dict[str, str] = {
    "usd-core": "TOST-1.0", "bpy": "GPL, only in the extras fbx and blender, run as a program of its own",
    "tqdm": "MPL-2.0 AND MIT", "pycocotools": "BSD-2-Clause",
    "pycocoevalcap": "BSD; carries Java programs under GPL and LGPL, which are never run: development only",
}  # fmt: skip
#: May be other than permissive: Blender is never imported, NVIDIA's own come with a CUDA build of torch only, and of
#: pycocoevalcap, which only tests import, the Java programs are never run.
APART = re.compile(r"bpy$|nvidia-|cuda-|pycocoevalcap$")


def requirements(name: str, extras: tuple[str, ...] = (), seen: dict[str, str] | None = None) -> dict[str, str]:
    """Name -> version of a distribution and of all that it needs here; what is not installed is left out."""
    from packaging.requirements import Requirement

    seen = {} if seen is None else seen
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return seen
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key in seen and not extras:
        return seen
    seen[key] = found.version
    for line in found.requires or ():
        need = Requirement(line)
        wanted = [{"extra": extra} for extra in extras] or [{"extra": ""}]
        if need.marker is None or any(need.marker.evaluate(each) for each in wanted):
            inner = re.sub(r"[-_.]+", "-", need.name).lower()
            if inner not in seen or need.extras:
                requirements(need.name, tuple(need.extras), seen)
    return seen


def licence(name: str) -> str:
    """What a distribution says of its licence, on one line; empty where it says nothing."""
    if name in KNOWN:
        return KNOWN[name]
    about = metadata.metadata(name)
    said = about.get("License-Expression") or ""
    if not said:
        lines = [line for line in about.get_all("Classifier") or () if line.startswith("License")]
        classified = [line.split(" :: ")[-1] for line in lines]
        said = "; ".join(word for word in classified if word != "OSI Approved")
    if not said:
        said = (about.get("License") or "").strip().splitlines()[0] if about.get("License") else ""
    return " ".join(said.split())[:100]


def everything() -> dict[str, str]:
    """All that the project needs here, itself left out."""
    ours = metadata.metadata("hftrainer").get_all("Provides-Extra") or []
    found = requirements("hftrainer", tuple(ours))
    found.pop("hftrainer", None)
    return dict(sorted(found.items()))


def wrong(licences: dict[str, str]) -> list[str]:
    """Packages whose licence is unknown or not permissive."""
    return [
        f"{name}: {said or 'says nothing'}" for name, said in licences.items()
        if not APART.match(name) and (not PERMISSIVE.search(said) or RESTRICTIVE.search(said))
    ]  # fmt: skip


def table() -> str:
    """The licences as a table, packages of one licence in one row."""
    rows: dict[str, list[str]] = {}
    for name in (name for name in everything() if not APART.match(name)):
        rows.setdefault(licence(name), []).append(name)
    lines = [f"| {said} | {', '.join(names)} |" for said, names in sorted(rows.items())]
    return "\n".join(["| licence | packages |", "|---|---|", *lines])


def sbom() -> dict:
    """CycloneDX 1.5: every package with version, licence and package URL."""
    parts = [
        {"type": "library", "name": name, "version": version, "purl": f"pkg:pypi/{name}@{version}",
         "licenses": [{"license": {"name": licence(name) or "unknown"}}]}
        for name, version in everything().items()
    ]  # fmt: skip
    itself = {"type": "application", "name": "hftrainer", "version": metadata.version("hftrainer")}
    return {"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1, "metadata": {"component": itself},
            "components": parts}  # fmt: skip


def lock() -> None:
    """requirements.lock: every package of the development set with the hashes of its files."""
    extras = [part for name in ("video", "gl", "train", "lora", "serve", "dev") for part in ("--extra", name)]
    words = ["uv", "pip", "compile", "pyproject.toml", *extras, "-c", "constraints.txt", "--generate-hashes",
             "--no-emit-index-url", "--no-annotate", "--no-header", "--quiet", "-o", "requirements.lock"]  # fmt: skip
    subprocess.run([str(Path(sys.executable).parent / words[0]), *words[1:]], cwd=ROOT, check=True)


def main() -> int:
    """One of the four."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["licences", "table", "sbom", "lock"])
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    if args.what == "lock":
        lock()
        return 0
    if args.what == "sbom":
        text = json.dumps(sbom(), indent=1) + "\n"
        args.output.write_text(text, encoding="utf-8") if args.output else print(text, end="")
        return 0
    if args.what == "table":
        page = ROOT / "docs" / "reliability.md"
        before = page.read_text(encoding="utf-8")
        after = re.sub(r"(<!-- licences -->\n).*?(\n<!-- end -->)", lambda m: m[1] + table() + m[2], before, flags=re.S)
        page.write_text(after, encoding="utf-8")
        return 0
    have = {name: licence(name) for name in everything()}
    found, apart = wrong(have), sum(APART.match(name) is not None for name in have)
    good = f"{len(have) - apart} packages under permissive licences, {apart} apart (CUDA libraries, Blender)"
    print("\n".join(found) if found else good)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
