"""What the language model wrote, read back; texts with spans taken out; and the released code's ways with codes."""

import json
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hftrainer.errors import GenerationError
from hftrainer.models.motion.motiongpt.answers import Answer, official_answer, parse_answer, parse_caption
from hftrainer.models.motion.motiongpt.corruption import (
    corrupt,
    corrupt_padded,
    noise_counts,
    restore,
    sentinels,
    span_mask,
)
from hftrainer.models.motion.motiongpt.decoding import official_demo, official_reconstruction, official_validation
from hftrainer.models.motion.motiongpt.network import MotionTokenizer, TokenizerConfig
from hftrainer.models.motion.motiongpt.prompts import motion_string
from tests.conftest import ROOT
from tests.parity import motiongpt_words
from tests.parity.__main__ import run_folder

codes_of_8 = st.lists(st.integers(0, 7), min_size=1, max_size=30)
words = st.text(st.characters(blacklist_characters="<>"), max_size=20)


# ------------------------------------------------------------------------------------------------------------ answers


@given(codes_of_8, words, words)
def test_string_to_codes_to_string(codes, before, after):
    text = before + motion_string(codes, 8) + after
    answer = parse_answer(text, 8)
    assert answer == Answer(codes, f"{before}<Motion_Placeholder>{after}") == official_answer(text, 8)
    assert answer.text.replace("<Motion_Placeholder>", motion_string(answer.codes, 8)) == text


@pytest.mark.parametrize(
    "text, why",
    [
        ("", "got no start of one"),
        ("a person walks.", "got no start of one"),
        ("<motion_id_1><motion_id_9>", "got no start of one"),
        ("<motion_id_8><motion_id_1>", "got one without an end"),
        ("<motion_id_9><motion_id_1><motion_id_8>", "got one without an end"),
        ("<motion_id_8><motion_id_9>", "got an empty one"),
        ("<motion_id_8> <motion_id_9>", "got an empty one"),
        ("<motion_id_8><motion_id_1> walks <motion_id_2><motion_id_9>", "got 'walks' between its tokens"),
        ("<motion_id_8><motion_id_1><extra_id_7><motion_id_9>", "got '<extra_id_7>' between its tokens"),
        ("<motion_id_8><motion_id_-1><motion_id_9>", "got '<motion_id_-1>' between its tokens"),
        ("<motion_id_8><motion_id_1><motion_id_10><motion_id_9>", r"got \[10\] where codes are 0 to 7"),
        ("<motion_id_8><motion_id_8><motion_id_1><motion_id_9>", r"got \[8\] where codes are 0 to 7"),
        ("<motion_id_8><motion_id_1><motion_id_9><motion_id_2>", "got motion tokens outside it"),
        ("<motion_id_3><motion_id_8><motion_id_1><motion_id_9>", "got motion tokens outside it"),
    ],
)
def test_an_answer_that_is_not_whole_is_refused_with_its_text(text, why):
    with pytest.raises(GenerationError, match=why) as refusal:
        parse_answer(text, 8)
    assert repr(text) in str(refusal.value)


def test_white_space_between_tokens_is_no_text():
    assert parse_answer("<motion_id_8> <motion_id_1>\n<motion_id_2> <motion_id_9>", 8).codes == [1, 2]


def test_a_long_answer_is_quoted_in_part():
    with pytest.raises(GenerationError) as refusal:
        parse_answer("never " * 1000, 8)
    assert len(str(refusal.value)) < 400 and "…" in str(refusal.value)


def test_captions():
    assert parse_caption(' "he sits." ') == "he sits." and parse_caption('"he sits."', strip_quotes=False)[0] == '"'
    assert parse_caption('"a" and "b"') == '"a" and "b"' and parse_caption('"') == '"'
    for text, got in (("", "none"), ('""', "none"), ("  ", "none"), ("he <motion_id_3>", "motion tokens in it")):
        with pytest.raises(GenerationError, match=f"must be a caption; got {got}"):
            parse_caption(text)


def test_the_released_reading_makes_something_of_anything():
    assert official_answer("nothing", 8) == Answer([0], "nothing")
    assert official_answer("<motion_id_8><motion_id_1>", 8).codes == [0], "no end: one code, not an error"
    assert official_answer("<motion_id_8><motion_id_1><motion_id_99><motion_id_9>", 8).codes == [1, 99]
    assert official_answer("<motion_id_8><motion_id_1> <motion_id_2><motion_id_9>", 8).codes == [2]
    with pytest.raises(GenerationError, match="invalid literal for int"):
        official_answer("<motion_id_8><motion_id_1><foo><motion_id_9>", 8)


# --------------------------------------------------------------------------------------------------------- corruption


@given(st.lists(st.integers(2, 90), min_size=2, max_size=80), st.integers(0, 2**32 - 1))
def test_corrupt_and_restore_gives_the_text_back(ids, seed):
    mask = span_mask(len(ids), np.random.default_rng(seed))
    text, answer = corrupt(ids, mask, first=200)
    noise, spans = noise_counts(len(ids))
    assert len(text) == len(ids) - noise + spans + 1 and len(answer) == noise + spans + 1
    assert restore(text, answer, first=200).tolist() == ids
    assert not mask[0] and mask[-1] and mask.sum() == noise
    assert (np.diff(mask.astype(int)) == 1).sum() == spans


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_any_mask_can_be_undone(mask):
    ids = np.arange(2, 2 + len(mask))
    text, answer = corrupt(ids, np.array(mask), first=200)
    assert restore(text, answer, first=200).tolist() == ids.tolist()
    assert sorted({*text, *answer} & set(ids)) == ids.tolist(), "no token is lost, none stands on both sides"
    assert not {*text} & {*answer} & set(ids)


def test_every_split_is_as_likely():
    """Five tokens of noise in two spans: 1+4, 2+3, 3+2, 4+1."""
    rng, first = np.random.default_rng(0), []
    for _ in range(800):
        mask = span_mask(32, rng)
        starts = np.flatnonzero(np.diff(mask.astype(int)) == 1) + 1
        first.append(int(np.flatnonzero(~mask[starts[0] :])[0]))
    counts = np.bincount(first, minlength=5)[1:]
    assert counts.sum() == 800 and (abs(counts - 200) < 50).all(), counts


def test_equal_seeds_mask_alike_and_the_global_stream_stays():
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    masks = [span_mask(50, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert (masks[0] == masks[1]).all() and (masks[0] != masks[2]).any()
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


@pytest.mark.parametrize(
    "corrupted, answer",
    [
        ([5, 99, 1], [99, 6]),
        ([5, 99], [99, 6, 1]),
        ([], [1]),
        ([5, 99, 7, 98, 1], [99, 6, 1]),
        ([5, 1], [99, 6, 1]),
        ([5, 99, 1], [6, 99, 1]),
    ],
)
def test_answers_that_do_not_fit_their_text(corrupted, answer):
    with pytest.raises(ValueError, match="must"):
        restore(np.array(corrupted), np.array(answer), first=99)


def test_impossible_corruptions():
    for call in (
        lambda: span_mask(1, np.random.default_rng(0)),
        lambda: noise_counts(10, density=1.0),
        lambda: noise_counts(10, mean_span=0.5),
        lambda: corrupt([5, 6], np.array([True]), 99),
        lambda: corrupt_padded(np.ones((2, 3)), np.array([[False, True, True], [False, True, False]]), 99),
        lambda: corrupt_padded(np.ones((0, 3)), np.ones((0, 3), bool), 99),
    ):
        with pytest.raises(ValueError, match="must"):
            call()


def test_the_padded_form_takes_padding_out_and_hides_it_from_the_loss():
    ids, mask = np.array([[5, 6, 7, 1, 0, 0]]), np.array([[False, True, False, False, True, True]])
    prompts, labels = corrupt_padded(ids, mask, first=99)
    assert prompts.tolist() == [[5, 99, 7, 1, 98, 1]] and labels.tolist() == [[99, 6, 98, -100, -100, 1]]
    assert sentinels(mask, 99).tolist() == [[0, 99, 0, 0, 98, -1]]


# --------------------------------------------------------------------------------------------------- codes to motions


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    net = MotionTokenizer(TokenizerConfig(width=32, code_width=32, codes=16, depth=1)).eval()
    net.quantizer.codebook.normal_()
    return net


def test_validation_clamps_cuts_and_pads(network):
    features, lengths = official_validation(network, [[3, 99, -2, 4], [5], [], [1, 2]], [10, 12, 6, 40])
    assert features.shape == (4, 40, 263) and lengths == [10, 12, 6, 8]
    with torch.no_grad():
        whole = network.decode(torch.tensor([[3, 15, 0, 4]]))[0]
    assert torch.equal(features[0, :10], whole[:10]) and not features[0, 10:].any()
    assert not features[1].any() and not features[2].any(), "one code or none is the mean pose there"
    assert features[3, :8].any() and not features[3, 8:].any()
    assert official_validation(network, [[1, 2]], [8], padded=9)[0].shape == (1, 9, 263)
    for answers, frames in (([[1, 2]], []), ([], [])):
        with pytest.raises(ValueError, match="frames must be one number an answer"):
            official_validation(network, answers, frames)


def test_reconstruction_does_not_see_the_padding(network):
    motion = torch.randn(2, 24, 263)
    made = official_reconstruction(network, motion, [24, 13])
    motion[1, 13:] = 7
    assert torch.equal(official_reconstruction(network, motion, [24, 13]), made)
    assert not made[1, 12:].any() and made[1, 11].any()


def test_demonstration(network):
    answers, motion = [[1, 2, 3, 4], [5, 6]], torch.randn(2, 16, 263)
    plain, lengths = official_demo(network, answers)
    assert plain.shape == (2, 16, 263) and lengths == [16, 8] and not plain[1, 8:].any()
    longer, none = official_demo(network, answers, task="pred", heads=[[7, 8], [9]])
    assert longer.shape == (2, 24, 263) and none == [] and not longer[1, 12:].any()
    between, _ = official_demo(network, answers, task="inbetween", motion=motion, frames=[16, 8])
    assert torch.equal(between[0, :4], motion[0, :4]) and torch.equal(between[0, 12:16], motion[0, 12:])
    assert torch.equal(between[0, 4:12], plain[0, 4:12])
    assert torch.equal(between[1, :2], motion[1, :2]) and torch.equal(between[1, 6:16], motion[1, 6:])
    for given_, why in (
        ({"task": "m2t"}, "task must be"), ({"task": "pred"}, "heads must be"),
        ({"task": "inbetween", "motion": motion}, "motion and frames must be"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=why):
            official_demo(network, answers, **given_)
    with pytest.raises(ValueError, match=r"codes must be one or more of 0 to 15; got \[16\]"):
        official_demo(network, [[3, 16]])


# ------------------------------------------------------------------------------------------------- reference numbers

#: Every case of words, the kind that runs it, and how many comparisons that makes at least.
CASES = {
    "lm_prompting": ("motiongpt prompts", 82),
    "lm_span_corruption": ("motiongpt corruption", 27),
    "lm_string_to_token": ("motiongpt answers", 42),
    "mean_std": ("motiongpt statistics", 4),
    "pipeline_val_forward": ("motiongpt decoding", 19),
    "real/data_pipeline": ("motiongpt reading", 92),
    "real/feature_recovery": ("motiongpt features", 12),
}


def result(folder):
    """The one line that the parity runner gives for a case."""
    (only,) = run_folder(folder, families=(motiongpt_words,))
    return only


@pytest.mark.parametrize("name", CASES)
def test_case(shared, name):
    case = result(shared / "golden" / "motiongpt" / name)
    kind, checks = CASES[name]
    assert (case.verdict, case.kind) == ("pass", kind), case.line()
    assert len(case.checks) >= checks


def test_each_case_is_of_one_kind_and_there_are_seven(shared):
    folders = [p for p in (shared / "golden" / "motiongpt").rglob("*") if p.is_dir()]
    found = {f.relative_to(shared / "golden" / "motiongpt").as_posix(): [k.name for k in motiongpt_words.KINDS
             if k.matches(f)] for f in folders}  # fmt: skip
    assert {name: kinds for name, kinds in found.items() if kinds} == {name: [row[0]] for name, row in CASES.items()}


@pytest.mark.parametrize("name", ["lm_string_to_token", "lm_span_corruption"])
def test_case_that_every_checkout_has(name):
    case = result(ROOT / "tests" / "golden" / "motiongpt" / name)
    assert (case.verdict, case.kind) == ("pass", CASES[name][0]), case.line()


def test_one_wrong_code_fails(tmp_path):
    folder = tmp_path / "case"
    shutil.copytree(ROOT / "tests" / "golden" / "motiongpt" / "lm_string_to_token", folder)
    case = json.loads((folder / "case.json").read_text())
    case["rows"][3]["tokens"][1] += 1
    (folder / "case.json").write_text(json.dumps(case))
    assert result(folder).verdict == "fail"
