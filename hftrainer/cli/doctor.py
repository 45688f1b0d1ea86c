"""What this machine lacks, and the line that mends it. Nothing is changed, nothing is fetched.

What is needed for everything is "missing" where it is not there; what only some work needs is "optional", and the line
says which work. --body FILE also reads your own SMPL, SMPL-H or SMPL-X model. The exit status is 0 whatever is found.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from hftrainer.cli.parser import Done, Parser
from hftrainer.cli.progress import Progress

PACKAGE = Path(__file__).resolve().parent.parent
#: What every installation has, as pip names it.
NEEDED = ("numpy", "scipy", "torch", "safetensors", "tokenizers", "huggingface_hub", "pillow", "threadpoolctl")
#: What is installed by choice: the extra's packages as pip names them, and the work that needs them.
EXTRAS = {
    "video": (("av",), "writing .mp4 and .webm"),
    "train": (("accelerate",), "training"),
    "lora": (("peft",), "training that adds LoRA"),
    "serve": (("fastapi", "python-multipart", "uvicorn"), "the page and the HTTP API"),
    "speech": (("transformers",), "speech on the page, with a whisper in a folder"),
    "gl": (("moderngl",), "pictures of bodies drawn by OpenGL instead of NumPy"),
    "parquet": (("pyarrow",), "packing datasets, and work on a cluster"),
    "cluster": (("ray[data]", "pyarrow"), "work on more than one machine"),
    "onnx": (("onnx", "onnxruntime", "onnxscript"), "networks as ONNX, which the bench compares"),
    "bertscore": (("bert-score",), "BERTScore of captions"),
    "fbx": (("bpy",), "reading and writing .fbx; a Blender on the path does as well"),
    "blender": (("bpy",), "pictures drawn by Blender; a Blender on the path does as well"),
}
#: Letters that a caption may hold: Chinese, Japanese, Korean.
LETTERS = {"Chinese": "人", "Japanese": "の", "Korean": "사"}


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: of the thing.
        state: ``"ok"``, ``"missing"`` (needed and not there), or ``"optional"`` (not there; some work needs it).
        found: what is there.
        use: the work that needs it.
        mend: what to run or do, where it is not ok.
    """

    name: str
    state: str
    found: str
    use: str = ""
    mend: str = ""


def arguments(parser: Parser) -> None:
    """What ``hftrainer doctor`` takes."""
    parser.flag("--body", metavar="FILE", help="your own SMPL, SMPL-H or SMPL-X model (.npz or .pkl): can it be read?")


def installed(name: str) -> str | None:
    """The version of a package, without importing it.

    >>> installed("no-such-package") is None
    True
    """
    try:
        return version(name.partition("[")[0])
    except PackageNotFoundError:
        return None


def check_packages() -> Iterator[Check]:
    """Python and what pip installed."""
    python = ".".join(map(str, sys.version_info[:3]))
    new = sys.version_info >= (3, 11)
    yield Check("Python", "ok" if new else "missing", python, "everything", "" if new else "install Python 3.11")
    for name in NEEDED:
        have = installed(name)
        yield Check(name, "ok" if have else "missing", have or "not installed", "everything",
                    "" if have else "pip install --force-reinstall hftrainer")  # fmt: skip
    for extra, (names, use) in EXTRAS.items():
        there = [f"{name} {installed(name)}" for name in names if installed(name)]
        found, whole = ", ".join(there), len(there) == len(names)
        if names == ("bpy",) and not whole and (blender := shutil.which("blender")):
            found, whole = blender, True
        yield Check(f"extra {extra}", "ok" if whole else "optional", found or "not installed", use,
                    "" if whole else f"pip install 'hftrainer[{extra}]'")  # fmt: skip


def processors() -> int:
    """How many this process may use: of the machine's, those it is bound to and those its group pays for."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = Path("/sys/fs/cgroup/cpu.max")
    if limit.is_file():
        quota, _, period = limit.read_text(encoding="ascii").partition(" ")
        if quota.isdigit():
            count = min(count, max(1, int(quota) // int(period)))
    return count


def check_threads() -> Check:
    """More threads than processors make everything slower."""
    usable, machine, asked = processors(), os.cpu_count() or 1, os.environ.get("OMP_NUM_THREADS", "")
    found = f"{usable} of {machine} usable, OMP_NUM_THREADS {asked or 'not set'}"
    fits = int(asked) <= usable if asked.isdigit() else usable == machine
    return Check("processors", "ok" if fits else "optional", found, "speed: as many threads as processors",
                 "" if fits else f"export OMP_NUM_THREADS={usable}")  # fmt: skip


def check_gpu() -> Check:
    """A GPU, and whether torch reaches it; torch is imported only where there is one."""
    use = "training at paper size; the built-in models need none"
    if (program := shutil.which("nvidia-smi")) is None:
        return Check("GPU", "ok", "none", use)
    asked = subprocess.run(
        [program, "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True, timeout=60, check=False
    )
    names = asked.stdout.split("\n")[0].strip()
    if asked.returncode or not names:
        return Check("GPU", "optional", "nvidia-smi finds none", use, "install or restart the driver of the GPU")
    if find_spec("torch") is None:
        return Check("GPU", "optional", names, use, "pip install --force-reinstall hftrainer")
    import torch

    if torch.cuda.is_available():
        return Check("GPU", "ok", f"{names}, CUDA {torch.version.cuda}", use)
    return Check("GPU", "optional", f"{names}; torch {torch.__version__} does not reach it", use,
                 "pip install --force-reinstall torch, the build for your CUDA")  # fmt: skip


def check_models() -> Iterator[Check]:
    """The built-in models, byte by byte."""
    from hftrainer.models.sums import problems

    for folder in sorted(path for path in (PACKAGE / "artifacts").iterdir() if path.is_dir()):
        wrong = problems(folder)
        yield Check(folder.name, "missing" if wrong else "ok", "; ".join(wrong) or "whole", "the built-in model",
                    "pip install --force-reinstall hftrainer" if wrong else "")  # fmt: skip


def check_cache() -> Check:
    """Where models from a hub are kept."""
    from hftrainer.models.hub import cache_folder

    folder = there = cache_folder()
    while not there.exists():
        there = there.parent
    use = "models from a hub"
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        return Check("hub cache", "optional", f"{folder} cannot be written", use, "export HF_HOME=FOLDER, one of yours")
    free = shutil.disk_usage(there).free / 2**30
    room = free >= 2
    offline = ", offline (HF_HUB_OFFLINE)" if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0") else ""
    return Check("hub cache", "ok" if room else "optional", f"{folder}, {free:.0f} GiB free{offline}", use,
                 "" if room else "free 2 GiB there, or export HF_HOME=FOLDER on another disk")  # fmt: skip


def check_fonts() -> Check:
    """Fonts for captions that are not Latin."""
    from hftrainer.rendering.caption import writes

    lacking = [name for name, letter in LETTERS.items() if not writes(letter)]
    mend = "apt-get install fonts-noto-cjk" if shutil.which("apt-get") else "install the font Noto Sans CJK"
    return Check("fonts", "optional" if lacking else "ok", f"none for {', '.join(lacking)}" if lacking else "whole",
                 "captions in Chinese, Japanese and Korean", mend if lacking else "")  # fmt: skip


def check_browser() -> Iterator[Check]:
    """The player's program; in a checkout also what builds and tests it."""
    from hftrainer.rendering.player import program

    tools = {name: shutil.which(name) for name in ("node", "npm")}
    absent = [name for name, path in tools.items() if path is None]
    checkout = (PACKAGE.parent / "player" / "package.json").is_file()
    try:
        program()
        yield Check("player", "ok", "built", ".html pages and view")
    except FileNotFoundError:
        mend = "pip install --force-reinstall hftrainer"
        if checkout:
            mend = "install Node.js with npm, then: make player" if absent else "make player"
        yield Check("player", "optional", "not built", ".html pages and view", mend)
    if not checkout:
        return
    use = "building the player from a checkout"
    yield Check("Node.js", "optional" if absent else "ok", f"no {' and no '.join(absent)}" if absent else "node, npm",
                use, "install Node.js with npm" if absent else "")  # fmt: skip
    chromium = shutil.which("chromium")
    get = "apt-get install chromium" if shutil.which("apt-get") else "install Chromium"
    yield Check("Chromium", "ok" if chromium else "optional", chromium or "not on the path",
                "tests of the player in a browser", "" if chromium else get)  # fmt: skip


def check_body(file: str | None) -> Check:
    """The user's own body model; it is read only where one is named."""
    use = "the surface of a real body: convert --body FILE"
    if file is None:
        mend = "get SMPL, SMPL-H or SMPL-X from its makers, then: hftrainer doctor --body FILE"
        return Check("body model", "optional", "none named", use, mend)
    from hftrainer.motion.smpl import load_body

    try:
        body = load_body(file)
    except (OSError, ValueError) as error:
        return Check("body model", "optional", " ".join(str(error).split()), use, "name another file with --body")
    return Check("body model", "ok", f"{body.name}, {len(body.parents)} joints: {file}", use)


def examine(body: str | None = None) -> list[Check]:
    """Everything, in the order in which it is told; what needs an absent package is left out."""
    checks = [*check_packages(), check_threads(), check_gpu()]
    have = {check.name for check in checks if check.state == "ok"}
    if "numpy" in have:
        checks += check_models()
    if "huggingface_hub" in have:
        checks.append(check_cache())
    if {"numpy", "scipy", "pillow"} <= have:
        checks += [check_fonts(), *check_browser(), check_body(body)]
    return checks


def lines(checks: list[Check]) -> list[str]:
    """Checks for reading; of what is not ok also what it is for, and below it what mends it."""
    wide = max(len(check.name) for check in checks)
    text = []
    for check in checks:
        lead = f"{check.state:<9} {check.name:<{wide}}  "
        text.append(lead + check.found if check.state == "ok" else f"{lead}{check.found} ({check.use})")
        if check.state != "ok":
            text.append(" " * len(lead) + check.mend)
    missing = [check.name for check in checks if check.state == "missing"]
    optional = [check.name for check in checks if check.state == "optional"]
    end = f"needed and missing: {', '.join(missing)}" if missing else "nothing needed is missing"
    return [*text, f"{end}; only some work needs: {', '.join(optional) or 'nothing else'}."]


def run(args: argparse.Namespace, progress: Progress) -> Done:
    """Look at everything."""
    progress("looking at this machine")
    checks = examine(args.body)
    missing = [check.name for check in checks if check.state == "missing"]
    return Done({"missing": missing, "checks": [asdict(check) for check in checks]}, lines(checks))
