"""Imports only go down: every room stands on a floor and may use the rooms below it, and only its own libraries."""

import ast
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "hftrainer"
FLOORS = {
    "errors": 0, "motion": 1, "models": 2, "data": 2, "client": 2, "training": 3, "pipelines": 3,
    "evaluation": 3, "rendering": 3, "__init__": 4, "bench": 4, "quality": 4, "serving": 4, "cluster": 4,
    "cli": 5, "__main__": 6,
}  # fmt: skip
LIBRARIES = {
    "errors": "", "motion": "numpy scipy", "models": "numpy torch safetensors tokenizers huggingface_hub threadpoolctl",
    "data": "numpy scipy pyarrow", "training": "numpy torch tokenizers safetensors accelerate peft",
    "pipelines": "numpy torch onnxruntime onnxscript",
    "evaluation": "numpy scipy bert_score", "rendering": "numpy scipy PIL av moderngl glcontext",
    "bench": "numpy torch",
    "quality": "numpy torch", "client": "", "cluster": "numpy ray",
    "serving": "numpy fastapi starlette pydantic uvicorn transformers",
    "cli": "torch", "__init__": "", "__main__": "",
}  # fmt: skip


def imported(tree: ast.AST, package: list[str]) -> set[str]:
    """Every module that a file names in an import, wherever it hides: in a function, relative, or as a string."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join(above + ([node.module] if node.module else []))
            names |= {f"{base}.{alias.name}" for alias in node.names} if base == "hftrainer" else {base}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            names |= {a.value for a in node.args[:1] if isinstance(a, ast.Constant) and isinstance(a.value, str)}
    return names


def wrong_imports(root: Path) -> tuple[list[str], int]:
    """Sentences about imports that break the floors below ``root``, and how many imports were looked at."""
    wrong, seen = [], 0
    for file in sorted(root.rglob("*.py")):
        inside = file.relative_to(root)
        room = inside.parts[0].removesuffix(".py")
        if room not in FLOORS:
            wrong.append(f"{inside} stands on no floor")
            continue
        for name in imported(ast.parse(file.read_text()), ["hftrainer", *inside.parent.parts]):
            seen += 1
            top, _, rest = name.partition(".")
            other = rest.split(".")[0] if rest.split(".")[0] in FLOORS else "__init__"
            if top == "hftrainer" and other != room and FLOORS[other] >= FLOORS[room]:
                wrong.append(f"{inside} imports {name}: {room} stands on {FLOORS[room]}, {other} on {FLOORS[other]}")
            if top not in {"hftrainer", *sys.stdlib_module_names, *LIBRARIES[room].split()}:
                wrong.append(f"{inside} imports {name}: {room} may use {LIBRARIES[room] or 'the standard library'}")
    return wrong, seen


def test_imports_go_down():
    wrong, seen = wrong_imports(PACKAGE)
    assert seen > 20 and not wrong, "\n".join(wrong)


def test_the_gate_can_fail(tmp_path):
    cases = {
        "motion/up.py": "import hftrainer.models.bundle",
        "motion/torchy.py": "import torch",
        "models/sideways.py": "from hftrainer.data import build",
        "rendering/hidden.py": "def f():\n    from hftrainer.cli import main",
        "pipelines/relative.py": "from ..training import loop",
        "data/spelled.py": "import importlib\nimportlib.import_module('hftrainer.pipelines.motiongpt')",
        "training/roof.py": "from hftrainer import Motion",
        "utils.py": "x = 1",
    }
    for path, text in cases.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    wrong, _ = wrong_imports(tmp_path)
    assert [path for path in cases if not any(sentence.startswith(path) for sentence in wrong)] == []
    (tmp_path / "motion" / "fine.py").write_text("import numpy\nfrom hftrainer.errors import NoRouteError\n")
    assert not [sentence for sentence in wrong_imports(tmp_path)[0] if "fine" in sentence]
    assert wrong_imports(tmp_path / "nowhere") == ([], 0)
