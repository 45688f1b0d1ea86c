"""Left for right in captions, and HumanML3D's token line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hftrainer.data.words import mirrored, part_of_speech, tokens


@pytest.mark.parametrize(
    ("text", "twin"),
    [
        ("a man kicks with his right leg", "a man kicks with his left leg"),
        ("turns left, then right", "turns right, then left"),
        ("Left foot first", "Right foot first"),
        ("the leftmost of two leftward steps", "the rightmost of two rightward steps"),
        ("a right-handed throw with the lefthand", "a left-handed throw with the righthand"),
        ("walks in a circle clockwise", "walks in a circle counterclockwise"),
        ("spins counter-clockwise", "spins clockwise"),
        ("spins anticlockwise", "spins clockwise"),
        ("turns right away at a right angle", "turns right away at a right angle"),
        ("stands upright in bright light", "stands upright in bright light"),
        ("walks forward", "walks forward"),
    ],
)
def test_mirrored(text, twin):
    assert mirrored(text) == twin


WORDS = st.sampled_from(
    "a man turns left right Left RIGHT leftward rightwards clockwise counterclockwise right-handed upright".split()
)


@given(st.lists(WORDS, max_size=12).map(" ".join))
def test_mirroring_twice_is_nothing(text):
    assert mirrored(mirrored(text)) == text


def test_tokens():
    assert tokens("A person's left leg, raised 2 times!") == (
        "a/DET person's/NOUN left/ADJ leg/NOUN raised/VERB 2/NUM times/NOUN"
    )
    assert "#" not in tokens("walks # runs")


@pytest.mark.parametrize(
    ("word", "tag"),
    list(zip("the she slowly jumping with and knee".split(), "DET PRON ADV VERB ADP CCONJ NOUN".split(), strict=True)),
)
def test_parts_of_speech(word, tag):
    assert part_of_speech(word) == tag
