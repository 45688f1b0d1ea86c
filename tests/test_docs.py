"""The pages are true: their Python runs, their commands parse, the files and the floors that they name exist."""

import os
import re
import shlex
import subprocess
import sys

import pytest

from hftrainer.cli.entry import VERBS, help_text, make_parser, split_verb
from hftrainer.cli.parser import RequestError
from hftrainer.motion.representation.specs import REPRESENTATIONS
from tests.conftest import ROOT
from tests.test_floors import FLOORS, LIBRARIES

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of one language in a page."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


def commands(text: str) -> list[list[str]]:
    """Every ``hftrainer …`` line of a page's shell blocks, as words."""
    lines = [line for block in blocks(text, "(?:bash|sh)") for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("hftrainer ")]


PYTHON = [(f"{page.name}-{at}", block) for page in PAGES for at, block in enumerate(blocks(page.read_text(), "python"))]
COMMANDS = [(page.name, words) for page in PAGES for words in commands(page.read_text())]


def test_there_is_something_to_check():
    assert len(PAGES) >= 2 and len(PYTHON) >= 2 and len(COMMANDS) >= 8
    assert {page for page, _ in COMMANDS} >= {"README.md"}


@pytest.mark.parametrize("block", [block for _, block in PYTHON], ids=[name for name, _ in PYTHON])
def test_python_blocks_run(block, tmp_path):
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", block], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("words", [words for _, words in COMMANDS], ids=[" ".join(words) for _, words in COMMANDS])
def test_commands_parse(words):
    verb, rest = split_verb(words)
    make_parser(verb).read(rest)


def test_every_command_of_the_original_has_one_here():
    """The table of docs/coming-from.md: its left column is complete, and what stands in the next one parses."""
    rows = [line.strip("|").split(" | ") for line in (ROOT / "docs" / "coming-from.md").read_text().splitlines()]
    table = [row for row in rows if len(row) == 3 and "---" not in row[0]]
    there = " ".join(row[0] for row in table)
    for command in ("-m train", "stage1", "stage2", "stage3", "-m test", "demo.py", "app.py", "-m fit", "render.py",
                    "get_motion_code", "get_code_visual", "plys2npy", "fbx_output"):  # fmt: skip
        assert command in there, command
    ours = [shlex.split(command)[1:] for row in table for command in re.findall(r"`(hftrainer [^`]+)`", row[1])]
    complete = [words for words in ours if len(words) > 2]
    assert len(complete) >= 15
    for words in complete:
        make_parser(words[0]).read(words[1:])


def test_a_wrong_command_would_be_seen():
    (words,) = commands('text\n```bash\nhftrainer generate "a walk" \\\n  --secnds 4  # four\n```\n')
    assert words == ["generate", "a walk", "--secnds", "4"]
    with pytest.raises(RequestError, match="--seconds"):
        make_parser("generate").read(words[1:])


def test_named_files_exist():
    seen = []
    for page in PAGES:
        text = page.read_text()
        named = re.findall(r"`([\w./-]+\.(?:py|md|toml))`", text) + re.findall(r"\b(recipes/[\w-]+\.toml)", text)
        pictures = [(page.parent / link).relative_to(ROOT) for link in re.findall(r"!\[[^]]*\]\(([^)]+)\)", text)]
        for name in [*named, *map(str, pictures)]:
            places = [ROOT / name, ROOT / "hftrainer" / name]
            assert any(place.exists() for place in places), f"{page.name} names {name}"
            seen.append(name)
    assert len(seen) >= 5


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    targets = {target for page in PAGES for block in blocks(page.read_text(), "bash")
               for target in re.findall(r"^make ([\w-]+)", block, re.M)}  # fmt: skip
    assert {"demo", "test"} <= targets
    assert [target for target in targets if not re.search(rf"^{target}:", makefile, re.M)] == []


def test_the_page_has_the_floors_that_are_tested():
    page = (ROOT / "docs" / "architecture.md").read_text()
    rows = {room: (int(floor), set(libraries.split()) - {"none"})
            for room, floor, libraries in re.findall(r"^\| `(\w+)` \| (\d) \| ([\w ]+) \|", page, re.M)}  # fmt: skip
    assert rows == {room: (floor, set(LIBRARIES[room].split())) for room, floor in FLOORS.items()}


def test_the_page_has_every_representation():
    page = (ROOT / "docs" / "architecture.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| (\([\d, ]+\)) \|", page, re.M))
    assert rows == {name: str(spec.shape) for name, spec in REPRESENTATIONS.items()}


def test_help_names_every_verb():
    assert all(f"  {verb} " in help_text() for verb in VERBS)
