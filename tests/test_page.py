"""What the page is made of: small, complete in itself, and in the wheel. How it behaves: test_page_browser.py."""

import re

import pytest

from hftrainer.serving.app import PAGE
from tests.conftest import ROOT

SOURCES = ROOT / "player" / "src" / "site"


@pytest.fixture(scope="module")
def page():
    """The folder of the page; tests of it are skipped in a checkout that did not build it."""
    if not (PAGE / "index.html").is_file():
        pytest.skip("the page is not built here. Run: make player.")
    return PAGE


def test_the_page_is_small_and_whole(page):
    files = [file for file in page.rglob("*") if file.is_file()]
    assert {"index.html", "site.js", "site.css", "full.html", "full.js", "icon.svg"} <= {file.name for file in files}
    assert sum(file.stat().st_size for file in files) < 1_500_000
    programs = [file for file in files if file.suffix == ".js"]
    needed = {name for file in programs for name in re.findall(r'"\./(shared-\w+\.js)"', file.read_text())}
    assert needed and needed <= {file.name for file in programs}


def test_the_page_asks_nobody_else(page):
    for file in (page / "index.html", page / "assets" / "full.html", page / "assets" / "site.css"):
        text = file.read_text(encoding="utf-8")
        places = re.findall(r'(?:src|href)="([^"]*)"|url\(([^)]*)\)|@import', text)
        assert all(first.startswith(("/", "#")) and not second for first, second in places), (file, places)
        assert "http" not in text


def test_words_are_text_and_never_html():
    for file in SOURCES.glob("*.js"):
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|\beval\(", text), file


def test_what_is_packed_and_what_is_not_kept():
    project = (ROOT / "pyproject.toml").read_text()
    assert project.count('"hftrainer/serving/page/**"') == 2  # the wheel and the source archive
    assert "/hftrainer/serving/page/" in (ROOT / ".gitignore").read_text().splitlines()
