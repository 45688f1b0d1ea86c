"""What MotionGPT is asked: placeholders, splits of a motion, fixed sentences, instructions of every sub-task."""

import json
import random
import re
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hftrainer.models.motion.motiongpt.prompts import (
    CAPTION,
    FIRST_PART,
    FRAMES,
    INSTRUCTIONS,
    MASKED,
    MOTION,
    OFFICIAL,
    PLACEHOLDERS,
    PRETRAIN,
    SECOND_PART,
    SECONDS,
    Instruction,
    Rules,
    expand,
    fill,
    load_instructions,
    motion_string,
    official_prompt,
    split_inbetween,
    split_prediction,
)
from tests.conftest import ROOT
from tests.parity import motiongpt_words
from tests.parity.__main__ import run_folder

TOKENS = Rules(length_unit="tokens")
#: Family, sub-task, its tag, fewest inputs and outputs, and which placeholders stand in each.
TABLE = [
    ("Text-to-Motion", "caption", "t2m", 139, 1, {CAPTION}, {MOTION}),
    ("Text-to-Motion", "caption_framelen", "t2m", 175, 1, {FRAMES, CAPTION}, {MOTION}),
    ("Text-to-Motion", "caption_seclen", "t2m", 172, 1, {SECONDS, CAPTION}, {MOTION}),
    ("Text-to-Motion", "framelen", "l2m", 120, 1, {FRAMES}, {MOTION}),
    ("Text-to-Motion", "seclen", "l2m", 125, 1, {SECONDS}, {MOTION}),
    ("Text-to-Motion", "random", "n2m", 133, 1, set(), {MOTION}),
    ("Motion-to-Text", "caption", "m2t", 189, 1, {MOTION}, {CAPTION}),
    ("Motion-to-Text", "framelen", "m2t", 164, 1, {MOTION, FRAMES}, {CAPTION}),
    ("Motion-to-Text", "seclen", "m2t", 164, 1, {MOTION, SECONDS}, {CAPTION}),
    ("Motion-to-Text", "count-frame", "m2l", 99, 103, {MOTION}, {FRAMES}),
    ("Motion-to-Text", "count-sec", "m2l", 178, 98, {MOTION}, {SECONDS}),
    ("Text-to-Text", "caption-to-framelen", "t2t", 97, 98, {CAPTION}, {FRAMES}),
    ("Text-to-Text", "caption-to-seclen", "t2t", 97, 98, {CAPTION}, {SECONDS}),
    ("Text-to-Text", "framelen-to-caption", "t2t", 88, 1, {FRAMES}, {CAPTION}),
    ("Text-to-Text", "seclen-to-caption", "t2t", 89, 1, {SECONDS}, {CAPTION}),
    ("Text-to-Text", "random-caption", "n2t", 104, 1, set(), {CAPTION}),
    ("Motion-to-Motion", "motion_prediction", "predict", 2, 1, {FIRST_PART}, {SECOND_PART}),
    ("Motion-to-Motion", "motion_inbetween", "inbetween", 2, 1, {MASKED}, {MOTION}),
]


# ------------------------------------------------------------------------------------------------------- our wording


def test_there_are_eighteen_sub_tasks_of_four_families():
    assert [(i.family, i.task, i.kind) for i in INSTRUCTIONS] == [row[:3] for row in TABLE]
    assert len(INSTRUCTIONS) == 18 and len({i.family for i in INSTRUCTIONS}) == 4


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[0]}/{row[1]}")
def test_wording_of_a_sub_task(row):
    family, task, _, inputs, outputs, asked, answered = row
    instruction = next(i for i in INSTRUCTIONS if (i.family, i.task) == (family, task))
    sides = ((instruction.input, inputs, asked), (instruction.output, outputs, answered))
    for templates, fewest, placeholders in sides:
        plain = {re.sub(r"[^\w<>]+", " ", template).strip().lower() for template in templates}
        assert len(plain) >= fewest, f"{len(plain)} are distinct but for case and punctuation, {fewest} must be"
        assert len(set(templates)) == len(templates)
        for template in templates:
            found = re.findall(r"<[^>]*>", template)
            assert sorted(found) == sorted(placeholders), template  # each once, and no other
            text = re.sub(r"<[^>]*>", "", template)
            assert not set(text) & set("{}|[]<>_\\"), template
            assert template == template.strip() and not re.search(r"  | [.,;?!]", template), template
            assert re.match(r"[A-Z<\"]", template), template
    assert instruction.faults() == []


def test_what_is_asked_is_never_asked_for_something_else():
    """The same sentence for two sub-tasks would have two kinds of answer."""
    owner = {}
    for instruction in INSTRUCTIONS:
        for template in instruction.input:
            assert owner.setdefault(template, instruction.task) == instruction.task, template


def test_every_sub_task_makes_an_example():
    for instruction in (*INSTRUCTIONS, *PRETRAIN):
        for seed in range(5):
            rng = random.Random(seed)
            pair = instruction.example(rng, caption="a person walks.", codes=range(20), frames=80)
            for text in pair:
                assert text and not re.search("Placeholder", text), text
            again = instruction.example(random.Random(seed), caption="a person walks.", codes=range(20), frames=80)
            assert pair == again


# ------------------------------------------------------------------------------------------------------ placeholders


def test_all_placeholders_at_once():
    rules = Rules(codes=20)
    text = fill("|".join(PLACEHOLDERS), caption="he sits", codes=range(10), rules=rules)
    said, motion, frames, seconds, first, second, masked = text.split("|")
    assert (said, frames, seconds) == ("he sits", "40", "2.0")
    assert motion == motion_string(range(10), 20)
    assert first == motion_string([0, 1], 20) and second == motion_string(range(2, 10), 20)
    assert masked == motion_string([0, 1, 22, 22, 22, 22, 22, 7, 8, 9], 20)


def test_lengths_in_frames_and_as_the_released_training_counted_them():
    codes = list(range(49))
    text = fill(f"{FRAMES} {SECONDS}", codes=codes), fill(f"{FRAMES} {SECONDS}", codes=codes, rules=TOKENS)
    assert text == ("196 9.0", "49 2.0")
    assert [len(split_prediction(codes, rules=rules)[0]) for rules in (Rules(), TOKENS)] == [9, 2]
    assert [len(split_inbetween(codes, rules=rules)[1]) for rules in (Rules(), TOKENS)] == [24, 6]
    assert fill(FRAMES, frames=196, rules=TOKENS) == "49"
    assert fill(f"{FRAMES} {SECONDS}", frames=110, seconds=5.5) == "110 5.5"


def test_nothing_is_quoted_unless_a_draw_is_handed_in():
    assert {fill(CAPTION, caption="x") for _ in range(50)} == {"x"}
    rng = random.Random(0)
    share = sum(fill(CAPTION, caption="x", quote=rng) == '"x"' for _ in range(400)) / 400
    assert 0.4 < share < 0.6
    examples = {INSTRUCTIONS[6].example(random.Random(seed), caption="x", codes=[1])[1] for seed in range(30)}
    assert examples == {"x"}
    rng, other = random.Random(3), random.Random(3)
    fill("no caption here", quote=rng)
    other.random()
    assert rng.random() == other.random(), "a draw is taken even where there is no caption"


@pytest.mark.parametrize(
    "template, given, absent",
    [
        (OFFICIAL["official_len"], {}, "caption, frames"),
        (MOTION, {"caption": "x", "frames": 4}, "codes"),
        (f"{MASKED} {SECONDS}", {}, "codes, seconds"),
        (FIRST_PART, {"frames": 40}, "codes"),
    ],
)
def test_what_a_template_asks_for_must_be_given(template, given, absent):
    with pytest.raises(ValueError, match=f"must be given {absent}; got none"):
        fill(template, **given)


def test_impossible_codes_and_lengths_are_refused():
    with pytest.raises(ValueError, match=r"codes must be 0 to 511, or 514 for a hidden one; got \[-1, 512, 513\]"):
        motion_string([0, 513, 512, -1, 514])
    with pytest.raises(ValueError, match="frames must be 0 or more; got -4"):
        fill(FRAMES, frames=-4)
    assert motion_string([1.0, 2.0], 4) == "<motion_id_4><motion_id_1><motion_id_2><motion_id_5>"
    for wrong in ({"codes": 0}, {"keep": 1.0}, {"ends": 0.5}, {"fps": 0}, {"length_unit": "steps"}, {"quote_share": 2}):
        with pytest.raises(ValueError, match="must"):
            Rules(**wrong)


@given(st.lists(st.integers(0, 511), max_size=60), st.none() | st.integers(0, 400), st.sampled_from([Rules(), TOKENS]))
def test_splits_put_together_are_the_motion(codes, frames, rules):
    assert sum(split_prediction(codes, frames, rules), []) == codes
    assert sum(split_inbetween(codes, frames, rules), []) == codes


@given(st.lists(st.integers(0, 511), min_size=1, max_size=60), st.sampled_from([Rules(), TOKENS]))
def test_splits_are_what_the_placeholders_show(codes, rules):
    first, second = split_prediction(codes, rules=rules)
    assert fill(FIRST_PART, codes=codes, rules=rules) == motion_string(first)
    assert fill(SECOND_PART, codes=codes, rules=rules) == motion_string(second)
    head, hidden, tail = split_inbetween(codes, rules=rules)
    assert fill(MASKED, codes=codes, rules=rules) == motion_string([*head, *[514] * len(hidden), *tail])


@given(st.lists(st.integers(0, 511), min_size=1, max_size=40), st.data())
def test_hidden_codes_leave_no_trace(codes, data):
    """What a prediction or an in-between must find out is nowhere in what it is asked."""
    _, hidden = split_prediction(codes)
    other = [*codes[: len(codes) - len(hidden)], *data.draw(st.permutations(hidden))]
    assert fill(FIRST_PART, codes=codes) == fill(FIRST_PART, codes=other)
    head, hidden, tail = split_inbetween(codes)
    other = [*head, *(511 - code for code in hidden), *tail]
    assert fill(MASKED, codes=codes) == fill(MASKED, codes=other)


# -------------------------------------------------------------------------------------------------- fixed sentences


def test_fixed_sentences():
    assert official_prompt("official_nolen", "he sits.") == "Generate motion: he sits."
    assert official_prompt("official_len", "he sits.", 40) == "Generate motion with 40 frames: he sits."
    assert official_prompt("direct", "he sits.") == "he sits."
    motion = motion_string(range(10))
    assert official_prompt("caption", codes=range(10)) == f"Generate text: {motion}"
    assert official_prompt("caption_len", codes=range(10)) == f"Generate text with 40 frames: {motion}"
    assert official_prompt("predict", codes=range(10)) == f"Predict motion: {motion_string([0, 1])}"
    hidden = motion_string([0, 1, 514, 514, 514, 514, 514, 7, 8, 9])
    assert official_prompt("inbetween", codes=range(10)) == f"Complete the masked motion: {hidden}"


def test_an_unknown_mode_is_answered_with_those_there_are():
    with pytest.raises(ValueError, match="must be one of official_nolen, official_len, direct, .*; got 'nolen'"):
        official_prompt("nolen", "x")
    for mode in ("caption", "predict", "inbetween"):
        with pytest.raises(ValueError, match="must be given codes"):
            official_prompt(mode, "x")


# ------------------------------------------------------------------------------------------------ instruction files


def test_the_authors_file_format_is_read(tmp_path):
    theirs = {
        "Text-to-Motion": {
            "caption": {"class": "t2m", "input": ["Do <Caption_Placeholder>", ""], "output": ["<Motion_Placeholder>"]},
            "framelen": {"class": "l2m", "input": ["<Framelen_Placeholder> of it", "<Frame_Placeholder>"],
                         "output": ["<Motion_Placeholder>"]},
        }
    }  # fmt: skip
    path = tmp_path / "template_instructions.json"
    path.write_text(json.dumps(theirs))
    caption, framelen = load_instructions(path)
    assert caption == Instruction("caption", "Text-to-Motion", ("Do <Caption_Placeholder>", ""), (MOTION,), "t2m")
    assert caption.faults() == ["Text-to-Motion/caption: an empty template"]
    assert framelen.faults() == [
        "Text-to-Motion/framelen: nothing fills <Framelen_Placeholder> in '<Framelen_Placeholder> of it'"
    ]
    assert caption.sound().input == ("Do <Caption_Placeholder>",) and framelen.sound().input == (FRAMES,)
    assert fill(framelen.input[0], frames=8) == "<Framelen_Placeholder> of it", "as the released code leaves it"
    with pytest.raises(ValueError, match="must have one or more input templates"):
        Instruction("framelen", "Text-to-Motion", ("<Framelen_Placeholder>",), (MOTION,)).sound()


def test_our_own_wording_survives_their_file_format(tmp_path):
    theirs = {}
    for i in INSTRUCTIONS:
        theirs.setdefault(i.family, {})[i.task] = {"class": i.kind, "input": list(i.input), "output": list(i.output)}
    path = tmp_path / "ours.json"
    path.write_text(json.dumps(theirs))
    assert load_instructions(path) == INSTRUCTIONS


@pytest.mark.parametrize(
    "content, message",
    [
        ("{", "must be a JSON file of instructions; got a damaged one"),
        ("[]", "must be an object of families"),
        ("{}", "got nothing in it"),
        ('{"A": ["x"]}', "must be an object of families"),
        ('{"A": {"b": {"input": ["x"]}}}', "A/b must have lists of sentences input and output"),
        ('{"A": {"b": {"input": ["x"], "output": []}}}', "A/b must have lists of sentences input and output"),
        ('{"A": {"b": {"input": ["x", 3], "output": ["y"]}}}', "A/b must have lists of sentences input and output"),
        ('{"A": {"b": "x"}}', "A/b must have lists of sentences input and output"),
    ],
)
def test_damaged_instruction_files(content, message, tmp_path):
    path = tmp_path / "wrong.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        load_instructions(path)


def test_patterns():
    assert expand("a {b|c}{| d}.") == ["a b.", "a b d.", "a c.", "a c d."]
    assert expand("{a|{b|c} d} e") == ["a e", "b d e", "c d e"]
    assert expand("{|a }b {|c} d") == ["b d", "b c d", "a b d", "a b c d"]
    assert expand("{a|a}") == ["a"] and expand("plain") == ["plain"]
    for wrong in ("{a", "a}", "a|b", "{a|{b}"):
        with pytest.raises(ValueError, match="braces must come in pairs"):
            expand(wrong)


# ------------------------------------------------------------------------------------------------ reference numbers


def result(folder):
    """The one line that the parity runner gives for a case."""
    (only,) = run_folder(folder, families=(motiongpt_words,))
    return only


def test_reference_prompts():
    case = result(ROOT / "tests" / "golden" / "motiongpt" / "lm_prompting")
    assert (case.verdict, case.kind) == ("pass", "motiongpt prompts"), case.line()
    assert len(case.checks) >= 82


def test_reference_prompts_beside_the_checkout(shared):
    case = result(shared / "golden" / "motiongpt" / "lm_prompting")
    assert (case.verdict, len(case.checks) >= 82) == ("pass", True), case.line()


@pytest.mark.parametrize("block", ["split_table", "placeholder_fulfill", "template_fulfill", "generate_conditional"])
def test_one_wrong_word_fails(block, tmp_path):
    folder = tmp_path / "case"
    shutil.copytree(ROOT / "tests" / "golden" / "motiongpt" / "lm_prompting", folder)
    case = json.loads((folder / "case.json").read_text())
    place, key = {
        "split_table": lambda: (case[block]["rows"][-1], "seconds_string"),
        "placeholder_fulfill": lambda: (case[block][-1], "result"),
        "template_fulfill": lambda: (case[block]["outputs"], -1),
        "generate_conditional": lambda: (case[block][-1]["prompts"], -1),
    }[block]()
    place[key] = place[key].replace("0", "1", 1) if "0" in place[key] else place[key] + "."
    (folder / "case.json").write_text(json.dumps(case))
    assert result(folder).verdict == "fail"
