"""The command line with an MDM: generate, edit, in-between, predict, info, bench; and a test split in shards."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from hftrainer.cli import main
from hftrainer.data.humanml3d import HumanML3D
from hftrainer.evaluation import making
from hftrainer.evaluation.generating import Item, items_of, write_shard
from hftrainer.models.motion.mdm.bundle import MDMBundle
from hftrainer.motion.files import load
from hftrainer.pipelines import table
from scripts.eval.mdm_t2m_h3d263 import run
from tests import mdm_tiny
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    home = tmp_path_factory.mktemp("models")
    mdm_tiny.folder(home / "tiny")
    mdm_tiny.folder(home / "dip", architecture="trans_dec", context_frames=20, predicted_frames=40)
    mdm_tiny.clip(80).save(home / "clip.npz")
    return home


@pytest.fixture
def here(models, tmp_path, monkeypatch):
    """A folder with the models and the clip in it, to work in."""
    monkeypatch.chdir(tmp_path)
    for name in ("tiny", "dip", "clip.npz"):
        os.symlink(models / name, tmp_path / name)
    return tmp_path


def test_generate(here, capsys):
    words = ["generate", "a person walks", "he sits", "--model", "tiny", "--quiet", "--json"]
    assert main([*words, "--steps", "3", "--sampler", "dpm", "--guidance", "3", "-o", "w.npz"]) == 0
    motions = json.loads(capsys.readouterr().out)["motions"]
    assert [m["frames"] for m in motions] == [120, 120]  # six seconds
    want = {"steps": 3, "sampler": "dpm", "guidance": 3.0, "model": "mdm-tiny", "task": "text-to-motion"}
    assert want.items() <= motions[0]["about"].items() and load(here / "w-001.npz").about["prompt"] == "he sits"
    assert main([*words, "--seconds", "3", "-o", "s.npz"]) == 0 and len(load(here / "s-000.npz")) == 60


def test_a_sentence_that_is_cut_is_told(here, capsys):
    long = "a person walks " + "very " * 30 + "far"
    assert main(["generate", long, "--model", "tiny", "--steps", "1", "-o", "w.npz"]) == 0
    assert "is too long for the model; it did not read" in capsys.readouterr().err


def test_edit(here, capsys):
    words = ["edit", "clip.npz", "waves the left arm", "--model", "tiny", "--quiet", "--seed", "3"]
    assert main([*words, "--part", "left_arm", "--start", "1", "--end", "3", "-o", "e.npz", "-o", "e.png"]) == 0
    made, clip = load(here / "e.npz"), load(here / "clip.npz")
    differs = (made.data != clip.data).any(1)
    assert differs[20:59].all() and not differs[:20].any() and not differs[60:].any()
    want = {"task": "edit", "part": "left_arm", "span": [20, 60], "seed": 3, "prompt": "waves the left arm"}
    assert want.items() <= made.about.items() and (here / "e.png").is_file()
    assert main(["edit", "clip.npz", "--part", "13,16", "--model", "tiny", "-o", "free.npz", "--quiet"]) == 0
    assert load(here / "free.npz").about["prompt"] is None


def test_what_is_missing(here, capsys):
    more = ["--model", "tiny", "--steps", "2", "--caption", "a person turns", "--quiet"]
    assert main(["inbetween", "clip.npz", *more, "-o", "i.npz"]) == 0
    assert main(["predict", "clip.npz", "--keep", "0.5", "--frames", "100", *more, "-o", "p.npz"]) == 0
    assert len(load(here / "i.npz")) == 80 and len(load(here / "p.npz")) == 100
    assert load(here / "i.npz").about["prompt"] == load(here / "p.npz").about["prompt"] == "a person turns"
    longer = ["--keep", "1", "--seconds", "20", "--model", "dip", "--quiet"]
    assert main(["predict", "clip.npz", *longer, "-o", "d.npz"]) == 0
    assert len(load(here / "d.npz")) == 400


REFUSALS = {
    "no temperature": (["generate", "walks", "--temperature", "1"], "--temperature must be left out with this model, "
                       "which has --guidance, --steps, --sampler, --candidates."),
    "too many steps": (["generate", "walks", "--steps", "9"], "steps must be 1 to 8 for this model; got 9. Nearest"),
    "no such sampler": (["generate", "walks", "--sampler", "euler"], "must be one of ancestral, ddim, plms, dpm"),
    "too long": (["generate", "walks", "--seconds", "60"], "--seconds must be 2 to 9.8 for this model; got 60."),
    "captions": (["caption", "clip.npz"], "--model must be one that can caption; got tiny, of the kind mdm."),
    "changes nothing": (["edit", "clip.npz", "waves"], "say what is made anew: --part, or a span"),
    "no such part": (["edit", "clip.npz", "waves", "--part", "tail"], "a part must be one of upper_body"),
    "empty words": (["edit", "clip.npz", " ", "--part", "head"], "the sentence must have words"),
    "a span behind": (["edit", "clip.npz", "waves", "--start", "5"], "at least one frame of the motion's 4 seconds"),
    "a span of nothing": (["edit", "clip.npz", "waves", "--start", "2", "--end", "1"], "got 2 to 1."),
    "no such file": (["edit", "none.npz", "waves", "--part", "head"], "none.npz must be a motion file"),
    "an instruction": (["generate", "--task", "t2m", "--steps", "3"], "--prompts"),
}  # fmt: skip


@pytest.mark.parametrize("words, sentence", REFUSALS.values(), ids=REFUSALS)
def test_refusals(here, capsys, words, sentence):
    model = [] if words[1] == "--task" else ["--model", "tiny"]
    output = [] if words[0] == "caption" else ["-o", "x.npz"]
    assert main([*words, *model, *output, "--quiet"]) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1 and not (here / "x.npz").exists()


def test_what_other_models_have_not(here, capsys):
    assert main(["generate", "walks", "--steps", "3", "-o", "x.npz", "--quiet"]) == 2
    assert "--steps must be left out with this model, which has --guidance" in capsys.readouterr().err
    assert main(["inbetween", "clip.npz", "--caption", "walks", "-o", "x.npz", "--quiet"]) == 2
    assert "--caption must be left out" in capsys.readouterr().err
    assert main(["edit", "clip.npz", "walks", "--part", "head", "--model", "motiongpt-mini", "-o", "x.npz"]) == 2
    assert "must be one that can edit; got motiongpt-mini" in capsys.readouterr().err
    (here / "odd").mkdir()
    assert main(["generate", "walks", "--model", "odd", "-o", "x.npz", "--quiet"]) == 2
    assert "odd must be a model of a known kind" in capsys.readouterr().err


def test_the_table_of_models(here, capsys, monkeypatch):
    assert main(["info"]) == 0
    assert "motiongpt-mini: generate, caption, predict, inbetween" in capsys.readouterr().out
    assert main(["info", "tiny", "--quiet"]) == 0
    said = capsys.readouterr().out
    assert "kind: mdm, which can generate, predict, inbetween, edit" in said
    assert "steps: 8" in said and "denoiser" in said
    assert "length: 40 to 196 frames, 2 to 9.8 s at 20 frames a second" in said and "None" not in said
    monkeypatch.setattr(table, "ARTIFACTS", here)
    monkeypatch.setattr(table, "BUILT_IN", {"tiny": "mdm", "absent": "mdm"})
    assert list(table.built_in()) == ["tiny"] and table.kind_named(None, "edit").name == "mdm"
    with pytest.raises(ValueError, match="no built-in one can"):
        table.kind_named(None, "caption")


def test_bench(here, capsys):
    words = ["bench", "generate", "--model", "tiny", "--steps", "2", "--batch", "2", "--quiet", "-o", "b.json"]
    assert main(words) in (0, 1)  # bars are for networks that are worth a product's while
    assert json.loads((here / "b.json").read_text())["steps"] == 2
    assert main(["bench", "motion", "--steps", "2"]) == 2 and "takes no --steps" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------ a test split in shards




@pytest.fixture
def dataset(tmp_path):
    return mdm_tiny.write_test_split(tmp_path / "set")


def test_items_of_the_protocol(dataset):
    items, passed = items_of(HumanML3D(dataset, splits=("test",)))
    assert [(i.number, i.id, i.frames) for i in items] == [
        (0, "000001", 44), (1, "000003", 52), (2, "000004", 196), (3, "M00001", 80),
    ]  # fmt: skip
    assert items[0].prompt == "a person walks 000001"
    assert passed == {"000002": "30 frames", "000005": "no caption of the whole clip"}
    chosen, _ = items_of(HumanML3D(dataset, splits=("test",)), captions={"000005": "he jumps"}, ids=["000005"])
    assert [(i.id, i.prompt) for i in chosen] == [("000005", "he jumps")]


def test_shards_make_what_one_process_makes(dataset, here, capsys):
    words = ["--data_root", str(dataset), "--model_path", "tiny", "--steps", "2", "--batch_size", "3"]
    assert run([*words, "--out_dir", "one"]) == (4, 0)
    for shard in ("1", "0"):
        assert run([*words, "--out_dir", "two", "--num_shards", "2", "--shard_index", shard, "--progress"]) == (2, 0)
    names = sorted(p.name for p in (here / "one").glob("*.npy"))
    assert names == ["000001.npy", "000003.npy", "000004.npy", "M00001.npy"]
    told = making.read(here / "two")
    assert told == making.read(here / "one") and told["prompts"]["000001"] == "a person walks 000001"
    assert told["model"]["sha256"] == MDMBundle.from_pretrained("tiny").sha256 and told["route"] == ["hml263"]
    drawing = {"guidance": None, "steps": 2, "sampler": None, "precision": "fp32"}
    assert told["drawing"] == {"seed": 0, "candidates": 1, **drawing}, "what an evaluator chose is not for it to judge"
    for name in names:
        one, two = np.load(here / "one" / name), np.load(here / "two" / name)
        assert one.dtype == np.float32 and one.shape[1] == 263 and np.abs(one - two).max() < 1e-5
    (here / "two" / "000003.npy").unlink()
    kept = (here / "two" / "000001.npy").stat().st_mtime_ns
    assert run([*words, "--out_dir", "two", "--skip_existing", "--max_samples", "2"]) == (1, 1)
    assert (here / "two" / "000001.npy").stat().st_mtime_ns == kept
    assert "2 clips left out by the protocol" in capsys.readouterr().out
    with pytest.raises(ValueError, match="must hold motions of one run; two has others: drawing. Choose another"):
        run([*words, "--out_dir", "two", "--seed", "1", "--skip_existing"])
    (here / "two" / making.FILE).unlink()
    (here / "two" / "000003.npy").unlink()
    assert run([*words, "--out_dir", "two", "--skip_existing"]) == (1, 3)
    assert list(making.read(here / "two")["prompts"]) == ["000003"], "of the others nothing is known"


def test_a_shard_that_fails_leaves_no_half_file(tmp_path):
    work = [Item(i, f"{i}", "walks", 40) for i in range(4)]

    def broken(some):
        return [np.full((40, 263), np.nan if item.number == 2 else 0.0) for item in some]

    with pytest.raises(ValueError, match=r"2\.npy: a motion must be"):
        write_shard(work, tmp_path, broken)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0.npy", "1.npy"]
    assert write_shard(work, tmp_path, lambda some: [np.zeros((40, 263))] * len(some), skip_existing=True) == (2, 2)
    with pytest.raises(ValueError, match="shard must be 0 to 1 of 2; got 2"):
        write_shard(work, tmp_path, broken, shards=2, shard=2)
    with pytest.raises(ValueError, match="one motion a prompt, 4; got 0"):
        write_shard(work, tmp_path, lambda some: [])


def test_the_launcher(dataset, models, tmp_path):
    settings = {"DATA_ROOT": str(dataset), "MODEL": str(models / "tiny"), "OUT_DIR": str(tmp_path / "out" / "mdm"),
                "NUM_SHARDS": "1", "NUM_GPUS": "0", "PYTHON": sys.executable}  # fmt: skip
    script = [str(ROOT / "scripts" / "eval" / "_run_mdm_h3d263_shards.sh"), "--steps", "1"]
    done = subprocess.run(script, env={**os.environ, **settings}, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0 and "4 motions in" in done.stdout, done.stderr
    settings["MODEL"] = str(tmp_path / "none")
    done = subprocess.run(script, env={**os.environ, **settings}, capture_output=True, text=True, timeout=500)
    assert done.returncode == 1 and "shard 0 failed" in done.stderr and "the model must be a folder" in done.stderr
