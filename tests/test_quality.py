"""What an artifact keeps and makes: counted right, written as JSON, a failure counted as one."""

import json

import pytest

from hftrainer import quality
from hftrainer.data.humanml3d import HumanML3D
from hftrainer.errors import GenerationError
from hftrainer.evaluation.behaviour import Behaviour
from hftrainer.pipelines.mdm import MDMPipeline
from hftrainer.pipelines.motiongpt import MotionGPTPipeline
from tests import mdm_tiny, tiny, training_data


@pytest.fixture
def pipe():
    return MotionGPTPipeline(tiny.bundle())


def test_what_tokens_keep(pipe, tmp_path, monkeypatch):
    folder = training_data.write(tmp_path / "data")
    for room in ("new_joint_vecs", "texts"):  # twins, which are left out
        for file in list((folder / room).iterdir()):
            (folder / room / f"M{file.name}").write_bytes(file.read_bytes())
    (folder / "train.txt").write_text("walk\nMwalk\nrun\nMrun\njump\n")
    whole = quality.kept_behaviours(pipe.bundle, HumanML3D(folder), every=1)
    assert whole["clips"] == 2 and json.loads(json.dumps(whole)) == whole
    assert whole["by_rule"] and all(0 <= row["kept"] <= row["obey"] <= 2 for row in whole["by_rule"].values())
    decoded = {}
    monkeypatch.setattr(pipe.bundle, "tokenize", lambda motion: decoded.setdefault("last", []).append(motion) or [0])
    monkeypatch.setattr(pipe.bundle, "detokenize", lambda codes: decoded["last"][-1])
    perfect = quality.kept_behaviours(pipe.bundle, HumanML3D(folder), every=1)
    assert {row["rate"] for row in perfect["by_rule"].values()} == {1.0}


def test_behaviours_are_asked_for_at_once_and_failures_count(pipe, monkeypatch):
    rows = (Behaviour("a person runs", "runs"), Behaviour("jumps", "jumps", seconds=2.0))
    monkeypatch.setattr(quality, "BEHAVIOURS", rows)
    result, motions = quality.behaviours(pipe, 3, seed=5)
    alone = pipe(["jumps"], [40], seed=6)[0]
    assert {prompt: len(row) for prompt, row in motions.items()} == {"a person runs": 3, "jumps": 3}
    assert (motions["jumps"][1].data == alone.data).all() and result["hold"]["of"] == 6
    monkeypatch.setattr(pipe, "attempts", lambda prompts, *_, samples, **__: [GenerationError("no")] * samples)
    result, motions = quality.behaviours(pipe, 3)
    assert result["missing"] == 6 and result["hold"] == {"rate": 0.0, "held": 0, "of": 6}


def test_what_editing_keeps_and_what_quick_samplers_cost(monkeypatch, tmp_path):
    pipe = MDMPipeline(mdm_tiny.bundle())
    monkeypatch.setattr(quality, "open_pipeline", lambda *_, **__: pipe)
    monkeypatch.setattr(quality, "BEHAVIOURS", (Behaviour("a person runs", "runs"), Behaviour("jumps", "jumps")))
    folder = mdm_tiny.write_test_split(tmp_path / "set")
    kept = quality.kept_by_editing(pipe, HumanML3D(folder, splits=("test",)), clips=2)
    assert kept["clips"] == 2 and kept["lower_body_mm"]["holds"] and kept["root_mm"]["holds"]
    assert kept["ends_mm"]["value"] < 1000
    monkeypatch.setattr(pipe, "edit", lambda clip, *_, **__: clip.replace(data=clip.data + 0.01))
    assert not quality.kept_by_editing(pipe, HumanML3D(folder, splits=("test",)), clips=1)["root_mm"]["holds"]
    rows = quality.sampler_quality("tiny", seeds=1)["rows"]
    assert rows[0]["times"] == 1.0 and {row["sampler"] for row in rows} == {"ancestral", "ddim", "dpm"}
    assert all(row["steps"] <= pipe.bundle.config.steps and row["s_per_motion"] > 0 for row in rows)
