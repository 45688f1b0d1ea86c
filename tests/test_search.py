"""Search: distances of the evaluator, nearest first; every question and place; what is passed over and refused."""

import json

import numpy as np
import pytest
import torch

from hftrainer.bench import moving_body
from hftrainer.cli import main
from hftrainer.data.words import tokens
from hftrainer.evaluation.search import nearest, points
from hftrainer.models.evaluator import Evaluator, EvaluatorConfig, TextMotionEvaluator, WordVectors
from hftrainer.motion.clip import Motion
from hftrainer.motion.files import save
from hftrainer.motion.representation.convert import convert
from hftrainer.motion.representation.hml263 import joints_to_hml263

NAMES = ("a", "b", "deep/c")


@pytest.fixture(scope="module")
def evaluator(tmp_path_factory):
    """Random networks that know some words, and their folder."""
    torch.manual_seed(0)
    words = WordVectors("unk sos eos a person walk walks jumps".split(), np.random.default_rng(0).normal(size=(8, 6)))
    network = TextMotionEvaluator(EvaluatorConfig(6, 15, 8, 7, 263, 10, 9, 11)).eval()
    folder = tmp_path_factory.mktemp("evaluator") / "tiny"
    made = Evaluator(network, words, np.zeros(263), np.ones(263))
    made.save_pretrained(folder)
    return Evaluator.from_pretrained(folder), folder


@pytest.fixture(scope="module")
def motions(tmp_path_factory):
    """Three clips in two formats, one of them in a folder below."""
    folder = tmp_path_factory.mktemp("motions")
    clips = {name: Motion(joints_to_hml263(moving_body(40 + 8 * i, i)), "hml263", 20) for i, name in enumerate(NAMES)}
    (folder / "deep").mkdir()
    for name, ending in zip(NAMES, ("npz", "npy", "npz"), strict=True):
        save(clips[name], folder / f"{name}.{ending}")
    return folder, clips


def asked(capsys, evaluator, *words):
    code = main(["search", *map(str, words), "--evaluator", str(evaluator[1]), "--quiet", "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_sentence_finds_what_the_evaluator_puts_near(evaluator, motions, capsys):
    folder, clips = motions
    code, said = asked(capsys, evaluator, "a person walks", "--in", folder)
    text = evaluator[0].texts([tokens("a person walks").split()])[0]
    want = sorted((float(np.linalg.norm(evaluator[0].motions([clip])[0] - text)), name) for name, clip in clips.items())
    assert code == 0 and [one["name"].rsplit(".")[0] for one in said["found"]] == [name for _, name in want]
    assert [one["distance"] for one in said["found"]] == pytest.approx([apart for apart, _ in want], abs=1e-5)
    assert said["evaluator"]["hash"] == evaluator[0].hash
    code, other = asked(capsys, evaluator, "a person jumps", "--in", folder)
    assert [one["distance"] for one in other["found"]] != [one["distance"] for one in said["found"]]
    assert len(asked(capsys, evaluator, "a person jumps", "--in", folder, "--most", 1)[1]["found"]) == 1


def test_a_motion_finds_itself_and_sentences(evaluator, motions, capsys, tmp_path):
    folder, _ = motions
    for name in ("a.npz", "b.npy"):
        first = asked(capsys, evaluator, folder / name, "--in", folder)[1]["found"][0]
        assert first["name"] == name and first["distance"] == pytest.approx(0, abs=1e-5)
    lines = ["a person walks", "a person jumps", "walk"]
    (tmp_path / "captions.txt").write_text("\n".join([*lines, "", lines[0]]))
    found = asked(capsys, evaluator, folder / "a.npz", "--in", tmp_path / "captions.txt")[1]["found"]
    assert sorted(one["name"] for one in found) == sorted(lines)
    assert [one["distance"] for one in found] == sorted(one["distance"] for one in found)


def test_the_cache_changes_nothing(evaluator, motions, capsys, tmp_path):
    words = ("a person walks", "--in", motions[0])
    plain = asked(capsys, evaluator, *words)
    first = asked(capsys, evaluator, *words, "--cache", tmp_path / "cache")
    count = len(list((tmp_path / "cache").iterdir()))
    assert plain == first == asked(capsys, evaluator, *words, "--cache", tmp_path / "cache") and count == 4
    assert len(list((tmp_path / "cache").iterdir())) == count


def test_other_representations_are_converted_and_the_unreadable_told(evaluator, motions, capsys, tmp_path):
    _, clips = motions
    save(convert(clips["a"], "joints"), tmp_path / "joints.npz")
    save(clips["b"][:2], tmp_path / "short.npz")
    (tmp_path / "bad.npz").write_bytes(b"no archive")
    (tmp_path / "notes.md").write_text("not a motion")
    code, said = asked(capsys, evaluator, "walk", "--in", tmp_path)
    assert code == 1 and [one["name"] for one in said["found"]] == ["joints.npz"]
    assert set(said["passed_over"]) == {"short.npz", "bad.npz"}
    assert "at least 4 frames" in said["passed_over"]["short.npz"]


def test_wrong_requests(evaluator, motions, capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    where = ("--in", str(motions[0]))
    for words, said in (
        (["walk", "--evaluator", str(evaluator[1])], "--in must say where to look"),
        (["walk", *where, "--evaluator", str(tmp_path / "no")], "the evaluator must be a folder"),
        (["walk", "--in", str(tmp_path / "no"), "--evaluator", str(evaluator[1])], "--in must be a folder"),
        (["walk", "--in", str(tmp_path / "empty"), "--evaluator", str(evaluator[1])], "it is empty"),
        ([" ", *where, "--evaluator", str(evaluator[1])], "must be a sentence or a motion file"),
    ):
        assert main(["search", *words, "--quiet"]) == 2 and said in capsys.readouterr().err


def test_points_keep_the_order_of_what_is_mixed(evaluator, motions):
    clip = motions[1]["a"]
    mixed = points(evaluator[0], ["walk", clip, "a person"])
    assert np.array_equal(mixed[1], evaluator[0].motions([clip])[0])
    assert np.allclose(mixed[[0, 2]], points(evaluator[0], ["walk", "a person"]), atol=1e-6)
    assert [one.name for one in nearest(mixed[1], mixed, ["t", "m", "u"])][0] == "m"
