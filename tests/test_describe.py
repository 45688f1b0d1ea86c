"""Sentences say what a body placed by hand does, and not the opposite."""

import re

import numpy as np
import pytest

from hftrainer.data.describe import describe, events_of, plain_sentences_of
from hftrainer.data.phrases import PHRASES, SUBJECTS
from hftrainer.motion.measure import measure
from hftrainer.motion.skeleton import SMPL22
from tests.stick_figure import FPS, body, folded, jump, kick, punch, ramp, striding

CASES = {
    "walk": (striding(1.1), "walk|stroll|pace|steps? forward|on foot", "run|jog|back|left|right|jump"),
    "run": (striding(3.2, swing=45, rate=1.5), "run|dash|hurr|rush|jog", "walk|back|left|right|jump"),
    "jog": (striding(2.2, swing=35, rate=1.3), "jog|trot|run", "walk|back|left|right"),
    "back": (striding(-1.0), "back|retreat", "forward|left|right"),
    "left": (body(3, left=0.6), "left", "right|forward|back"),
    "right": (body(3, left=-0.6), "right", "left|forward|back"),
    "left turn": (striding(1.1, yaw=ramp(3, 1, 2, 90)), "left", "right"),
    "right turn": (striding(1.1, yaw=ramp(3, 1, 2, -90)), "right", "left"),
    "turn on the spot": (body(3, yaw=ramp(3, 1, 2.2, -90)), "right", "left|walk"),
    "circle": (striding(1.1, seconds=8.0, yaw=ramp(8, 0, 8, 360)), "circle", "clockwise(?<!counterclockwise)|right"),
    "still": (body(4), "stand|stay|wait", "walk|turn|arm|jump"),
    "jump": (jump(3, 1.3, 0.3), "jump|leap|spring", "walk|run|kick"),
    "jump ahead": (jump(3, 1.3, 0.25, ahead=2.0), "jump|leap|bound|spring", "back"),
    "left kick": (kick("left"), "left", "right|punch"),
    "right kick": (kick("right"), "right", "left|punch"),
    "left punch": (punch("left"), "left", "right|kick"),
    "right punch": (punch("right"), "right", "left|kick"),
    "left arm": (body(3, bend={"left_shoulder": ("z", ramp(3, 0.5, 1.2, 140))}), "left (arm|hand)", "right|walk"),
    "crouch": (body(3, bend=folded(ramp(3, 1.0, 1.7))), "crouch|squat|low|duck|bend", "jump|forward"),
    "lying": (body(3, bend={"root": ("x", -90)}), "lie|lying|stretched", "walk|stand|jump"),
}


@pytest.mark.parametrize("name", CASES)
def test_words_fit_the_body(name):
    joints, wanted, forbidden = CASES[name]
    sentences = describe(joints, FPS)
    assert 3 <= len(sentences) <= 8 and len(set(sentences)) == len(sentences)
    for sentence in sentences:
        assert re.search(wanted, sentence), sentence
        assert not re.search(rf"\b({forbidden})", sentence), sentence
        assert "*" not in sentence and "{" not in sentence and sentence == sentence.strip()
        assert sentence.startswith(SUBJECTS)


@pytest.mark.parametrize("name", sorted(CASES.keys() - {"circle"}))
def test_plain_words_fit_the_body_too(name):
    joints, wanted, forbidden = CASES[name]
    sentences = plain_sentences_of(measure(joints, FPS))
    assert len(sentences) <= 3
    for sentence in sentences:
        assert re.search(wanted, sentence), sentence
        assert not re.search(rf"\b({forbidden})", sentence), sentence
        assert "*" not in sentence and "{" not in sentence and sentence.startswith(SUBJECTS)


def test_plain_words_leave_sides_of_circles_out():
    sentences = plain_sentences_of(measure(CASES["circle"][0], FPS))
    assert sentences and all("in a circle" in s or "in circles" in s for s in sentences)
    assert not any("clockwise" in s or "left" in s for s in sentences)


def test_two_actions_come_in_their_order():
    speed = 1.2 * (np.arange(121) < 60)
    (first, *_) = describe(body(6.0, ahead=speed, bend=folded(ramp(6.0, 4.0, 4.7))), FPS)
    walk = re.search("walk|stroll|pace|steps|on foot", first)
    crouch = re.search("crouch|squat|low|duck|bend", first)
    assert walk and crouch and walk.start() < crouch.start(), first


def test_the_same_data_gives_the_same_words_and_other_data_others():
    joints = striding(1.1)
    assert describe(joints, FPS) == describe(joints.copy(), FPS)
    said = {tuple(describe(striding(1.0 + 0.01 * k), FPS)) for k in range(8)}
    assert len(said) > 4


@pytest.mark.parametrize("name", ["left", "left turn", "left kick", "left punch", "left arm"])
def test_a_mirrored_body_is_told_with_the_other_side(name):
    joints, *_ = CASES[name]
    for sentence in describe(joints[:, list(SMPL22.mirror)] * [-1, 1, 1], FPS):
        assert "right" in sentence and "left" not in sentence, sentence


def test_every_phrase_marks_a_verb():
    assert len(PHRASES) > 60
    assert all("*" in text or "{gait}" in text for options in PHRASES.values() for text in options)
    assert all(len(set(options)) == len(options) >= 2 for options in PHRASES.values())


@pytest.mark.parametrize(
    ("label", "wanted"),
    [
        ("cmu_16_11", "left"),
        ("cmu_16_13", "right"),
        ("cmu_16_03", "jump|leap|spring"),
        ("cmu_09_03", "run|dash|rush|hurr"),
    ],
)
def test_real_capture(shared, label, wanted):
    import sys

    sys.path.insert(0, str(shared / "data" / "mocap"))
    try:
        from read_pack import Pack
    finally:
        sys.path.pop(0)
    pack = Pack(str(shared / "data" / "mocap"))
    sentences = describe(pack.joints22(label), pack.channels(label)[2])
    assert sentences and all(re.search(wanted, sentence) for sentence in sentences), sentences


def speeds(*parts: tuple[float, float]) -> np.ndarray:
    """Metres per second, one value a frame, of parts of (speed, seconds)."""
    track = np.concatenate([np.full(int(s * FPS), v) for v, s in parts])
    return np.append(track, track[-1])


def walked(track: np.ndarray, **more: object) -> np.ndarray:
    """A body at these speeds that swings its legs only while it moves."""
    seconds = (len(track) - 1) / FPS
    phase = np.sin(2 * np.pi * np.arange(len(track)) / FPS) * (track > 0.1)
    legs = {"left_hip": ("x", 25 * phase), "right_hip": ("x", -25 * phase)}
    return body(seconds, ahead=track, bend=legs, **more)


TRANSITIONS = {
    "stop": (walked(speeds((1.2, 3), (0, 3))), r"(stop|halt|stand|wait)\w*", "walk|stroll|pace|step|on foot|go"),
    "off_walk": (walked(speeds((0, 3), (1.2, 3))), "start|begin|set|walk", "stand|stay|wait|remain"),
    "into_run": (walked(speeds((1.1, 3), (3.5, 3))), "run|speed", "walk|stroll|pace|step|on foot|go"),
    "into_walk": (walked(speeds((3.5, 3), (1.1, 3))), "slow|walk|go", "run|dash|rush|hurr|sprint|race|charge"),
}


@pytest.mark.parametrize("kind", TRANSITIONS)
def test_what_begins_ends_or_changes_is_told_after_what_was_before(kind):
    joints, later, sooner = TRANSITIONS[kind]
    events = events_of(measure(joints, FPS))
    assert [event.kind for event in events][-1] == kind, events
    first = describe(joints, FPS)[0]
    before, after = re.search(sooner, first), [m.start() for m in re.finditer(later, first)]
    assert before and after and before.start() < max(after), first


def test_there_and_back_is_one_event():
    track = speeds((1.2, 2.5), (0, 2), (1.2, 2.5))
    joints = walked(track, yaw=ramp(7.0, 2.6, 4.4, 180))
    kinds = [event.kind for event in events_of(measure(joints, FPS))]
    assert kinds == ["back_l"], kinds
    assert any(re.search("come|return", sentence) for sentence in describe(joints, FPS))
