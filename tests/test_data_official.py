"""The released code's reading of a HumanML3D folder: what is an entry, what an item, what a batch."""

import random

import numpy as np
import pytest

from hftrainer.data.humanml3d import Caption
from hftrainer.data.official import (
    CodeEntry,
    Item,
    Limits,
    code_entries,
    code_item,
    collate,
    motion_entries,
    motion_item,
    text_entries,
    text_item,
    three_references,
    window_entries,
    window_item,
)

MEAN, STD = np.full(3, 1.0), np.full(3, 2.0)


def line(text, start=0.0, end=0.0):
    return f"{text}#{' '.join(f'{word}/NOUN' for word in text.split())}#{start}#{end}"


@pytest.fixture
def folder(tmp_path):
    """Clips whose frame ``t`` holds ``t``; some are damaged in the ways that the reading must survive."""
    clips = {
        "short": (39, [line("too short")]),
        "forty": (40, [line("b one"), line("b two")]),
        "long": (200, [line("too long"), line("part", 0.0, 5.0)]),
        "parts": (100, [line("first half", 0.0, 2.5), line("blink", 0.0, 1.0)]),
        "both": (199, [line("all of it", "nan", "nan"), line("an end", 5.0, 9.0)]),
        "broken": (80, [line("early part", 1.0, 3.5), "no fields", line("never seen")]),
        "numbers": (80, [line("x", "soon", 2.0)]),
        "silent": (80, None),
    }
    for room in ("new_joint_vecs", "texts", "TOKENS"):
        (tmp_path / room).mkdir()
    for name, (frames, lines) in clips.items():
        features = np.repeat(np.arange(frames, dtype=np.float32)[:, None], 3, 1)
        np.save(tmp_path / "new_joint_vecs" / f"{name}.npy", features)
        np.save(tmp_path / "TOKENS" / f"{name}.npy", np.arange(frames // 4)[None])
        if lines is not None:
            (tmp_path / "texts" / f"{name}.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "train.txt").write_text("\n".join([*clips, "absent"]) + "\n")
    return tmp_path


def test_entries_with_captions(folder):
    entries = text_entries(folder, "train", random.Random(0))
    letters = [e.name[0] for e in entries if "_" in e.name]
    names = [e.name.split("_")[-1] for e in entries]
    assert names == ["forty", "parts", "broken", "both", "both"], "shortest first, ties in list order"
    assert [e.frames for e in entries] == [40, 50, 50, 80, 199]
    drawn = random.Random(0)
    in_list_order = [drawn.choice("ABCDEFGHIJKLMNOPQRSTUVW") for _ in range(3)]  # parts, both, broken
    assert letters == [in_list_order[0], in_list_order[2], in_list_order[1]]
    part = next(e for e in entries if e.name.endswith("broken"))
    assert part.features[0, 0] == 20 and part.features[-1, 0] == 69
    assert [c.text for c in entries[0].captions] == ["b one", "b two"]
    assert [e.frames for e in window_entries(entries)] == [80, 199]
    with pytest.raises(FileNotFoundError, match=r"must have a list val\.txt"):
        text_entries(folder, "val", random.Random(0))


def test_entries_without_captions(folder):
    entries = motion_entries(folder, "train")
    assert [e.name for e in entries] == ["forty", "parts", "both", "broken", "numbers", "silent"]
    assert [e.name for e in motion_entries(folder, "train", Limits(too_long=201))][1] == "long"


def test_entries_as_codes(folder):
    entries = code_entries(folder)
    assert [e.name for e in entries] == [
        "short", "forty", "long_0.000000_5.000000", "long", "parts_0.000000_2.500000", "parts_0.000000_1.000000",
        "both_5.000000_9.000000", "both", "broken_1.000000_3.500000", "broken",
    ]  # fmt: skip
    rows = {e.name: e.rows[0].tolist() for e in entries}
    assert rows["parts_0.000000_1.000000"] == [0, 1, 2, 3, 4] and rows["broken_1.000000_3.500000"][0] == 5
    assert [c.text for c in entries[-1].captions] == ["never seen"], "only the bad line is skipped here"


def test_an_item_for_metrics(folder):
    entry = text_entries(folder, "train", random.Random(0))[-1]
    lengths, starts = [], set()
    for seed in range(120):
        item = text_item(entry, MEAN, STD, random.Random(seed), np.random.RandomState(seed))
        start = item.motion[0, 0] * 2 + 1
        assert np.allclose(item.motion[:, 0], (np.arange(start, start + item.length) - 1) / 2)
        assert item.length == len(item.motion) and start + item.length <= 199
        lengths.append(item.length)
        starts.add(start)
    assert set(lengths) == {196, 192} and len(starts) > 3
    assert 22 <= lengths.count(192) <= 58, "one in three is a token shorter"
    assert item.tokens[:5] == ("sos/OTHER", "all/NOUN", "of/NOUN", "it/NOUN", "eos/OTHER")
    assert len(item.tokens) == 22 and set(item.tokens[5:]) == {"unk/OTHER"} and item.sentence == 5
    assert item.references == ("all of it",) * 3 and item.vectors is None
    again = text_item(entry, MEAN, STD, random.Random(119), np.random.RandomState(119))
    assert np.array_equal(again.motion, item.motion)


def test_a_long_caption_is_cut(folder):
    (folder / "texts" / "forty.txt").write_text(line(" ".join(f"w{i}" for i in range(30))))
    entry = text_entries(folder, "train", random.Random(0))[0]
    item = text_item(entry, MEAN, STD, random.Random(0), np.random.RandomState(0))
    assert item.sentence == len(item.tokens) == 22 and item.tokens[-1] == "eos/OTHER" and item.tokens[20] == "w19/NOUN"


def test_windows_and_motions(folder):
    entry = next(e for e in motion_entries(folder, "train") if e.name == "both")
    window = window_item(entry, MEAN, STD, random.Random(0))
    assert window.motion.shape == (64, 3) and window.length == 199
    whole = {len(motion_item(entry, MEAN, STD, random.Random(seed)).motion) for seed in range(9)}
    assert whole == {196}


def test_codes_task_after_task(folder):
    entries = code_entries(folder)
    seen = set()
    for seed in range(60):
        item = code_item(entries, len(entries) + 3, random.Random(seed), np.random.RandomState(seed), ("a", "b"))
        assert item.task == "b" and item.name == "long" and item.references == ("too long",)
        seen.add((int(item.motion[0]), int(item.motion[-1])))
        assert item.length == len(item.motion)
    assert seen == {(0, 49), (0, 48), (1, 49)}, "whole, without its tail, without its head"
    with pytest.raises(IndexError, match="index must be below 20; got 20"):
        code_item(entries, 20, random.Random(0), np.random.RandomState(0), ("a", "b"))


def test_draws_of_an_item_are_taken_in_the_reference_order():
    captions = tuple(Caption(str(i), (), 0, 0) for i in range(5))
    entry = CodeEntry("a", tuple(np.array([i, i]) for i in range(5)), captions)
    for seed in range(10):
        item, rng = code_item([entry], 0, random.Random(seed), np.random.RandomState(seed)), random.Random(seed)
        assert (int(item.motion[0]), item.caption) == (rng.choice(range(5)), str(rng.choice(range(5))))


def test_a_batch(folder):
    entries = text_entries(folder, "train", random.Random(0))
    blank = np.zeros(4), np.zeros(15)
    streams = random.Random(1), np.random.RandomState(1)
    items = [text_item(e, MEAN, STD, *streams, lambda word: blank) for e in entries]
    batch = collate([None, *items])
    assert list(batch) == ["motion", "length", "text", "all_captions", "word_embs", "pos_ohot", "text_len", "tokens"]
    assert batch["text_len"].tolist() == sorted((i.sentence for i in items), reverse=True)
    order = sorted(items, key=lambda item: -item.sentence)
    assert [i.caption for i in order] == batch["text"]
    for row, item in zip(batch["motion"], order, strict=True):
        assert np.array_equal(row[: item.length], item.motion.astype(np.float32)) and not row[item.length :].any()
    assert batch["word_embs"].shape == (5, 22, 4) and batch["pos_ohot"].dtype == np.float32
    assert list(collate([Item(np.zeros((4, 3)), 4, "a")])) == ["motion", "length"]
    with pytest.raises(ValueError, match="one or more items"):
        collate([None])


def test_references_are_three():
    assert three_references(["a", "b", "c", "d"]) == ("a", "b", "c")
    assert three_references(["a", "b"]) == ("a", "b", "a") and three_references(["a"]) == ("a", "a", "a")
    with pytest.raises(ValueError, match="one or more captions"):
        three_references([])
