"""Rules of the behaviour table hold for bodies placed by hand that do the thing, and fail for the wrong thing."""

import json
import re

import numpy as np
import pytest

from hftrainer.data.phrases import PHRASES, SUBJECTS
from hftrainer.evaluation.behaviour import BEHAVIOURS, Behaviour, score, table
from hftrainer.evaluation.rules import RULES
from hftrainer.motion import Motion
from hftrainer.motion.measure import measure
from tests.conftest import ROOT
from tests.stick_figure import FPS, body, folded, jump, kick, pulse, punch, ramp, striding

NEEDED = 40


def frames(seconds: float) -> np.ndarray:
    return np.arange(int(seconds * FPS) + 1) / FPS


UP = ramp(3, 0.5, 1.2, 140)
BEAT = sum(pulse(5.0, start, start + 0.8) for start in (0.5, 1.5, 2.5, 3.5))
MOTIONS = {
    "walk": (striding(1.1), "walks forward"),
    "run": (striding(3.0, swing=45, rate=1.5), "runs"),
    "back": (striding(-1.0), "walks backwards"),
    "run back": (striding(-2.5, swing=40, rate=1.5), "runs backwards"),
    "left": (body(3, left=0.6), "steps left"),
    "right": (body(3, left=-0.6), "steps right"),
    "left turn": (striding(1.1, yaw=ramp(3, 1, 2, 90)), "turns left"),
    "right turn": (striding(1.1, yaw=ramp(3, 1, 2, -90)), "turns right"),
    "turn around": (body(3, yaw=ramp(3, 1, 2, 180)), "turns around"),
    "there and back": (striding(1.1, seconds=6.0, yaw=ramp(6, 2.7, 3.5, 180)), "comes back"),
    "circle": (striding(1.1, seconds=8.0, yaw=ramp(8, 0, 8, 360)), "circles"),
    "spin": (body(4, yaw=ramp(4, 1, 3, 400)), "spins"),
    "jump": (jump(3, 1.3, 0.3), "jumps"),
    "jump ahead": (jump(3, 1.3, 0.25, ahead=2.0), "jumps forward"),
    "left kick": (kick("left"), "kicks left"),
    "right kick": (kick("right"), "kicks right"),
    "left punch": (punch("left"), "punches left"),
    "right punch": (punch("right"), "punches right"),
    "left arm": (body(3, bend={"left_shoulder": ("z", UP)}), "raises left arm"),
    "right arm": (body(3, bend={"right_shoulder": ("z", -UP)}), "raises right arm"),
    "arms": (body(3, bend={"left_shoulder": ("z", UP), "right_shoulder": ("z", -UP)}), "raises both arms"),
    "crouch": (body(3, bend=folded(ramp(3, 1, 1.7))), "sits or crouches"),
    "squat": (body(3, bend=folded(pulse(3, 0.6, 2.4))), "squats"),
    "lie": (body(3, bend={"root": ("x", -90)}), "lies"),
    "bow": (body(3, bend={"spine1": ("x", pulse(3, 0.6, 2.4, 90))}), "bends over"),
    "jacks": (body(5, bend={"left_shoulder": ("z", 140 * BEAT), "right_shoulder": ("z", -140 * BEAT),
                            "left_hip": ("z", 18 * BEAT), "right_hip": ("z", -18 * BEAT)}), "jumping jacks"),
    "one leg": (body(4, bend={"left_hip": ("x", -60), "left_knee": ("x", 90)}), "balances"),
    "still": (body(3), "stands still"),
    "walk, run": (striding(1.0 + 2.5 * (frames(4) > 2), seconds=4.0), "walks then runs"),
    "run, walk": (striding(3.5 - 2.5 * (frames(4) > 2), seconds=4.0), "runs then walks"),
    "run, stop": (striding(3.0 * (frames(4) < 2), seconds=4.0), "runs then stops"),
    "walk, stop": (striding(1.2 * (frames(4) < 2.5), seconds=4.0), "walks then stops"),
    "stop, walk": (striding(1.2 * (frames(4) > 1.5), seconds=4.0), "stands then walks"),
    "walk, crouch": (body(5, ahead=1.2 * (frames(5) < 2), bend=folded(ramp(5, 2.8, 3.5))), "walks then crouches"),
    "crouch, stand": (body(3, bend=folded(1 - ramp(3, 1, 1.7))), "gets up"),
    "back, ahead": (striding(np.where(frames(5) < 2.5, -1.0, 1.0), seconds=5.0), "back then forward"),
}  # fmt: skip

#: Rules that a motion obeys besides its own, because the one act contains the other.
ALSO = {
    "there and back": {"turns around"},
    "left kick": {"kicks"},
    "right kick": {"kicks"},
    "left punch": {"punches"},
    "right punch": {"punches"},
    "jump ahead": {"jumps"},
    "squat": {"sits or crouches"},
}


@pytest.mark.parametrize("name", MOTIONS)
def test_rule_holds_for_the_deed(name):
    joints, rule = MOTIONS[name]
    assert RULES[rule].holds(measure(joints, FPS))


def test_rules_fail_for_the_wrong_deed():
    bodies = {name: measure(joints, FPS) for name, (joints, _) in MOTIONS.items()}
    holds = {name: {rule for rule in RULES if RULES[rule].holds(found)} for name, found in bodies.items()}
    pairs = {(name, rule) for name, found in holds.items() for rule in found if rule != MOTIONS[name][1]}
    wrong = {(name, rule) for name, rule in pairs if rule not in ALSO.get(name, set())}
    assert len(wrong) < 0.02 * len(MOTIONS) * len(RULES), wrong
    opposite = {
        ("walk", "runs"), ("run", "walks forward"), ("walk", "walks backwards"), ("back", "walks forward"),
        ("left", "steps right"), ("right", "steps left"), ("left turn", "turns right"), ("right turn", "turns left"),
        ("left turn", "walks forward"), ("left kick", "kicks right"), ("right kick", "kicks left"),
        ("left punch", "punches right"), ("right punch", "punches left"), ("left arm", "raises right arm"),
        ("right arm", "raises left arm"), ("arms", "raises left arm"), ("walk, run", "runs then walks"),
        ("run, walk", "walks then runs"), ("walk, stop", "stands then walks"), ("stop, walk", "walks then stops"),
        ("crouch, stand", "walks then crouches"), ("jump", "stands still"), ("left arm", "stands still"),
        ("walk", "stands still"), ("still", "jumps"), ("run", "jumps"), ("crouch", "lies"), ("lie", "sits or crouches"),
    }  # fmt: skip
    assert not pairs & opposite


@pytest.mark.parametrize(
    ("rule", "under", "over"),
    [
        ("walks forward", striding(0.25), striding(0.5)),
        ("runs", striding(1.5), striding(2.1)),
        ("jumps", jump(3, 1.3, 0.05), jump(3, 1.3, 0.15)),
        ("turns left", striding(1.1, yaw=ramp(3, 1, 2, 25)), striding(1.1, yaw=ramp(3, 1, 2, 55))),
        ("kicks right", kick("right", height=45), kick("right", height=80)),
        ("steps left", body(3, left=0.12), body(3, left=0.3)),
    ],
)
def test_thresholds_lie_where_the_rule_says(rule, under, over):
    assert not RULES[rule].holds(measure(under, FPS))
    assert RULES[rule].holds(measure(over, FPS))


@pytest.mark.parametrize("name", ["walk", "run", "jump", "left kick", "left turn", "back", "crouch", "still"])
def test_small_noise_changes_no_verdict(name):
    joints, rule = MOTIONS[name]
    noise = np.random.default_rng(1).normal(scale=0.004, size=joints.shape)
    assert RULES[rule].holds(measure(joints + noise, FPS))


def test_the_table_is_wide_enough():
    assert len(BEHAVIOURS) >= NEEDED and len({b.rule_name for b in BEHAVIOURS}) >= 20
    assert len({b.prompt for b in BEHAVIOURS}) == len(BEHAVIOURS)
    assert {b.rule_name for b in BEHAVIOURS} == set(RULES)
    assert all(b.description and (b.seconds is None or 1 < b.seconds < 10) for b in BEHAVIOURS)
    assert sum(b.unseen for b in BEHAVIOURS) >= 8


def test_unseen_prompts_use_a_word_that_no_caption_has():
    texts = [" ".join(SUBJECTS), " ".join(" ".join(options) for options in PHRASES.values())]
    for file in sorted((ROOT / "hftrainer" / "data" / "captions").glob("*.jsonl")):
        texts += [" ".join(json.loads(line)["sentences"]) for line in file.read_text(encoding="utf-8").splitlines()]
    known = set(re.findall("[a-z]+", " ".join(texts).lower()))
    for behaviour in BEHAVIOURS:
        new = set(re.findall("[a-z]+", behaviour.prompt)) - known
        assert new or not behaviour.unseen, f"every word of {behaviour.prompt!r} stands in a caption"


ASKED = (
    Behaviour("a person walks", "walks forward"),
    Behaviour("someone strolls", "walks forward", unseen=True),
    Behaviour("a person runs", "runs"),
    Behaviour("a person jumps", "jumps"),
)


def motion(name: str) -> Motion:
    return Motion(MOTIONS[name][0], "joints", fps=FPS)


def test_score_counts_own_and_other_motions():
    given = {
        "a person walks": [motion("walk"), motion("run")],
        "someone strolls": [motion("walk"), motion("walk")],
        "a person runs": [motion("run"), motion("walk")],
        "a person jumps": [motion("jump"), None],
    }
    result = score(given, ASKED)
    assert result["hold"] == {"rate": 0.625, "held": 5, "of": 8} and result["missing"] == 1
    assert result["unseen"] == {"rate": 1.0, "held": 2, "of": 2}
    rows = {row["prompt"]: row for row in result["by_prompt"]}
    # the other walking prompt is no other motion to a walking prompt: 2 of runs and 1 of jumps are
    assert rows["a person walks"]["others"] == {"rate": 0.3333, "held": 1, "of": 3}
    assert rows["a person runs"]["others"] == {"rate": 0.2, "held": 1, "of": 5}
    assert result["others"]["of"] == 3 + 3 + 5 + 6
    assert result["by_rule"]["walks forward"]["hold"]["held"] == 3
    assert json.loads(json.dumps(result)) == result


def test_missing_motions_count_as_failures():
    result = score({"a person walks": [motion("walk")]}, ASKED, seeds=5)
    assert result["hold"] == {"rate": 0.05, "held": 1, "of": 20} and result["missing"] == 19


def test_score_takes_features():
    from hftrainer.motion.representation.convert import convert

    features = convert(motion("walk"), "hml263")
    assert score({"a person walks": [features]}, ASKED[:1])["hold"]["rate"] == 1.0


def test_score_refuses_strange_requests():
    with pytest.raises(ValueError, match="must be one of the behaviours"):
        score({"a person swims": [motion("walk")]}, ASKED)
    with pytest.raises(ValueError, match="at least one prompt"):
        score({"a person walks": []}, ASKED)


def test_table_has_a_row_per_prompt_and_rule():
    text = table(score({behaviour.prompt: [motion("walk")] for behaviour in ASKED}, ASKED))
    assert all(f"| {b.prompt} |" in text or f"| *{b.prompt}* |" in text for b in ASKED)
    assert "**50 % (2/4)**" in text and "no jump" in text
