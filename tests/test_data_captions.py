"""The project's own sentences: enough for every label, nobody else's, and counted truly in docs/data.md."""

import json
import re
from pathlib import Path

from hftrainer.data.windows import CAPTIONS, label_key, read_wording
from tests.conftest import ROOT

FILES = sorted(CAPTIONS.glob("*.jsonl"))


def rows(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_every_row_is_the_projects_own_and_says_enough():
    assert [file.stem for file in FILES] == ["accad", "cmu"]
    for file in FILES:
        for row in rows(file):
            assert row["origin"] == "project" and all(text.strip() for text in row["sentences"]), row
            assert len(set(row["sentences"])) >= (3 if "label" in row else 1), row
            assert "label" in row or 0 <= row["start"] < row["end"], row


def test_every_label_of_the_pack_has_three_sentences(shared):
    labels = read_wording().labels
    seen = set()
    for row in rows(shared / "data" / "mocap" / "captions.jsonl"):
        if row["origin"] in ("cmu_index", "accad_clip_name"):
            seen |= {(row["source"], label_key(text)) for text in row["captions"]}
    assert len(seen) > 300
    assert [key for key in sorted(seen) if len(labels.get(key, ((), False))[0]) < 3] == []


def test_no_sentence_is_taken_from_kit(shared):
    """Everyday sentences of five words or fewer may be the same by chance."""
    kit = {text.lower().strip(" .") for row in rows(shared / "data" / "mocap" / "captions_kitml.jsonl")
           for text in row["captions"]}  # fmt: skip
    own = {text.lower().strip(" .") for file in FILES for row in rows(file) for text in row["sentences"]}
    assert len(kit) > 50
    assert [text for text in sorted(kit & own) if len(text.split()) > 5] == []


def test_the_page_counts_them_truly():
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    row = re.compile(r"^\| `hftrainer/data/captions/(\w+)\.jsonl` \| (\d+) \| (\d+) \| (\d+) \|$", re.M)
    told = {name: tuple(map(int, numbers)) for name, *numbers in row.findall(page)}
    counted = {}
    for file in FILES:
        found = rows(file)
        labels = sum("label" in row for row in found)
        counted[file.stem] = (labels, len(found) - labels, sum(len(row["sentences"]) for row in found))
    assert told == counted
