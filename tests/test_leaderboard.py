"""Every number of the pages' tables is recomputed from its JSON, and numbers that are not in a table are not there."""

import json
import re
import shutil

import pytest

from hftrainer.cli import main
from hftrainer.evaluation import tables
from tests.conftest import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BOARD = ROOT / "docs" / "leaderboard.md"
PUBLISHED = json.loads((ROOT / "docs" / "leaderboard.json").read_text())
#: A cell, or a part of one, that is a number with two decimals or more.
TYPED = re.compile(r"(?<=[|/]) *\d*\.\d{2,} *(?=[|/])")
OF_CARDS = json.loads((ROOT / "docs" / "model_zoo" / "published.json").read_text())


def report(name="mine", repeats=20, drifted=False, evaluator="e" * 16):
    value = {"mean": 0.5, "std": 0.1, "interval95": 0.04}
    row = {"metrics": {m: value for m in ("R@1", "R@2", "R@3", "FID", "matching", "diversity")}, "undefined": {},
           "used": 96, "samples": 100}  # fmt: skip
    return {
        "format": "hftrainer-report-1", "name": name, "protocol": {"name": "hml263-first", "repeats": repeats},
        "route": {"reference": "raw"}, "rows": {"real": row, "predicted": row},
        "hashes": {"evaluator": evaluator, "split": "s" * 64, "statistics": "t", "captions": "c"},
        "calibration": {"holds": not drifted, "reason": "R@1 is 0.1, not 0.5" if drifted else ""},
    }  # fmt: skip


def write(folder, **values):
    folder.mkdir(exist_ok=True)
    for name, value in values.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    return folder


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_tables_are_as_the_results_say(page):
    assert tables.write_tables([page], ROOT / "results", check=True) == [], "run: python tools/tables.py"


def test_the_board_has_no_number_that_is_not_from_a_file():
    text = BOARD.read_text()
    bare = re.sub(r"`[^`]*`", "", tables.MARK.sub("", text))
    assert re.findall(r"\d+\.\d+|\.\d{2,}", bare) == []
    cells = sum(len(re.findall(r"\d*\.\d+", found[4])) for found in tables.MARK.finditer(text))
    assert cells >= 100, "the board must hold numbers for this to mean anything"


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_no_table_has_a_measured_number_that_was_typed(page):
    """Rows of hand-written tables may hold units, versions and terms, but no row of numbers."""
    text = re.sub(r"```.*?```", "", tables.MARK.sub("", page.read_text()), flags=re.S)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert [row for row in rows if TYPED.search(row)] == []


def test_a_typed_row_would_be_seen():
    assert TYPED.findall("| MDM | 0.544 | 0.42 / 0.60 | 12.5 |") == [" 0.544 ", " 0.42 ", " 0.60 "]


def test_measured_and_published_are_told_apart():
    text = BOARD.read_text()
    measured, published = text.split("## Measured here")[1].split("## Published", 1)
    assert "table: published" not in measured and "published, not measured here" not in measured
    marks = re.findall(r"<!-- table: ([\w-]+) ", published)
    assert set(marks) == {"published"} and len(marks) == len(PUBLISHED)
    assert published.count("| published, not measured here |") == len(PUBLISHED)


def test_published_numbers_stand_in_their_sources(shared):
    """Digit for digit: each value of a row is printed in the document that the row names."""
    peers = (shared / "guides" / "PEERS.md").read_text()
    seen = 0
    for entry in (*PUBLISHED.values(), *OF_CARDS.values()):
        for row in entry["rows"]:
            card = re.match(r"card of hftrainer-(\w+)-", row["source"])
            text = (shared / "mission" / f"hftrainer-card-{card[1]}.txt").read_text() if card else peers
            if row["source"] == "MotionGPT's FAQ":
                text = (shared / "mission" / "motiongpt-page-and-faq.txt").read_text()
            for value in filter(None, row["values"]):
                assert re.search(rf"(?<![\d.]){re.escape(value)}(?!\d)", text), (row["name"], value)
                seen += 1
    assert seen >= 100


def test_a_typed_number_is_seen(tmp_path):
    page = shutil.copy(BOARD, tmp_path / "leaderboard.md")
    shutil.copy(BOARD.with_suffix(".json"), tmp_path / "leaderboard.json")
    assert tables.write_tables([page], ROOT / "results", check=True) == []
    page.write_text(page.read_text().replace("| .544 |", "| .545 |"))
    words = ["leaderboard", str(ROOT / "results"), "--into", str(page), "--quiet"]
    assert main([*words, "--check"]) == 1 and "| .545 |" in page.read_text()
    assert main(words) == 0 and page.read_text() == BOARD.read_text()
    assert main([*words, "--check"]) == 0


def test_reports_become_tables_of_their_like(tmp_path, capsys):
    results = write(tmp_path / "results", a=report("one"), b=report("two"), c=report("three", repeats=5),
                    other={"what": "speed"}, list=[1, 2])  # fmt: skip
    page = tmp_path / "page.md"
    page.write_text("<!-- table: leaderboards *.json -->\n<!-- end -->\n")
    (results / "list.json").unlink()
    assert main(["leaderboard", str(results), "--into", str(page), "--quiet"]) == 0
    text = page.read_text()
    assert text.count("| real motion |") == 2 and text.count("0.5000 ± 0.0400") == 6 * 5
    assert text.index("| one |") < text.index("| two |") < text.index("5 repeats") < text.index("| three |")
    capsys.readouterr()
    assert main(["leaderboard", str(results), "--quiet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["table"] in text


def test_unlike_and_drifted_reports_are_refused(tmp_path, capsys):
    results = write(tmp_path / "results", a=report("one"), c=report("three", repeats=5))
    page = tmp_path / "page.md"
    before = "<!-- table: reports a.json c.json -->\nold\n<!-- end -->\n"
    page.write_text(before)
    words = ["leaderboard", str(results), "--into", str(page), "--quiet"]
    assert main(words) == 2
    assert "one and three differ in protocol repeats: 20 and 5" in capsys.readouterr().err
    write(results, c=report("three", drifted=True))
    assert main(words) == 2 and "three must not stand in a table" in capsys.readouterr().err
    assert page.read_text() == before


@pytest.mark.parametrize(
    "text, said",
    [
        ("no mark", "must hold a mark"),
        ("<!-- table: bars a.json -->\nand no end", "must hold a mark"),
        ("<!-- table: bras a.json -->\n<!-- end -->", "a table must be one of "),
        ("<!-- table: bars a.json -->\n<!-- end -->", "must be made of files of its kind; got a.json (KeyError"),
        ("<!-- table: published a.json#gone -->\n<!-- end -->", "must have the entry gone"),
        ("<!-- table: bars x.json -->\n<!-- end -->\n<!-- table: bars -->\n<!-- end -->", "got <!-- table: bars -->"),
    ],
)
def test_wrong_marks_are_refused(tmp_path, capsys, text, said):
    results = write(tmp_path / "results", a=report())
    page = tmp_path / "page.md"
    page.write_text(text)
    assert main(["leaderboard", str(results), "--into", str(page), "--quiet"]) == 2
    assert said in capsys.readouterr().err and page.read_text() == text


def test_wrong_requests(tmp_path, capsys):
    (tmp_path / "results").mkdir()
    for words, said in (
        (["gone"], "must be a folder"),
        ([str(tmp_path), "--check"], "--check must come with --into"),
        ([str(tmp_path), "--into", "gone.md"], "must be a page that is there"),
    ):
        assert main(["leaderboard", *words, "--quiet"]) == 2 and said in capsys.readouterr().err


def test_published_rows_have_a_value_a_column():
    entry = {"columns": ["FID"], "rows": [{"name": "x", "values": ["1", "2"], "source": "y"}]}
    with pytest.raises(ValueError, match="x must have 1 values, one a column; got 2"):
        tables.published(entry)
