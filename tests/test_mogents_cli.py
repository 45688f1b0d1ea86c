"""The command line with MoGenTS and MoMask: the same verbs as of any model."""

import json

import numpy as np
import pytest

from hftrainer.bench import moving_body
from hftrainer.cli import main
from hftrainer.evaluation import making
from hftrainer.models.motion.mogents.bundle import MoGenTSBundle
from hftrainer.models.motion.mogents.official import MOGENTS, MOMASK
from hftrainer.models.motion.mogents.release import read_release
from hftrainer.models.motion.momask.bundle import MoMaskBundle
from hftrainer.models.tower_files import read_clip
from hftrainer.motion.files import load
from hftrainer.motion.representation.hml263 import joints_to_hml263
from scripts.eval.mogents_t2m_h3d263 import run
from tests import mdm_tiny
from tests import mogents_release as authors


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Small artifacts of both, and a motion file."""
    root = tmp_path_factory.mktemp("models")
    text = read_clip(authors.clip(root / "clip.pt"), context=77, precision="fp32")
    for family, bundle in ((MOGENTS, MoGenTSBundle), (MOMASK, MoMaskBundle)):
        authors.write(root / f"{family.name}-logs", family)
        files = read_release(family, root / f"{family.name}-logs")
        bundle.from_release(files, text).save_pretrained(root / family.name)
    np.save(root / "walk.npy", joints_to_hml263(moving_body(81)))
    return root


@pytest.mark.parametrize("name", ["mogents", "momask"])
def test_generate(models, tmp_path, capsys, name):
    words = ["generate", "a person walks", "--model", str(models / name), "--frames", "60", "--guidance", "2",
             "--steps", "4", "--temperature", "0.8", "--seed", "3", "-o", str(tmp_path / "a.npz")]  # fmt: skip
    assert main([*words, "--quiet"]) == 0
    made = load(tmp_path / "a.npz")
    assert len(made) == 60 and made.about["model"] == name and made.about["guidance"] == 2.0
    assert made.about["steps"] == 4 and made.about["prompt"] == "a person walks"
    assert main(["generate", "a person walks", "--model", str(models / name), "-o", str(tmp_path / "b.npz"),
                 "--quiet"]) == 0  # fmt: skip
    assert load(tmp_path / "b.npz").about["length"] == "estimated"
    capsys.readouterr()
    assert main([*words[:5], "500", *words[6:], "--quiet"]) == 2
    assert "Nearest" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["mogents", "momask"])
def test_what_is_missing_and_what_changes(models, tmp_path, name):
    walk, model = str(models / "walk.npy"), ["--model", str(models / name), "--quiet"]
    assert main(["predict", walk, "--keep", "0.5", *model, "-o", str(tmp_path / "p.npz")]) == 0
    assert main(["inbetween", walk, *model, "-o", str(tmp_path / "i.npz")]) == 0
    assert len(load(tmp_path / "p.npz")) == len(load(tmp_path / "i.npz")) == 80
    part = ["edit", walk, "waves", "--part", "left_arm", *model, "-o", str(tmp_path / "e.npz")]
    assert main(part) == (0 if name == "mogents" else 2)
    if name == "mogents":
        assert load(tmp_path / "e.npz").about["part"] == "left_arm"


@pytest.mark.parametrize("name", ["mogents", "momask"])
def test_info(models, capsys, name):
    assert main(["info", str(models / name), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["frame_range"] == [40, 196] and report["parameters"]["length_est"] == 435122


def test_flags_that_the_model_does_not_have(models, tmp_path, capsys):
    words = ["generate", "a person walks", "--model", str(models / "mogents"), "--sampler", "ddim"]
    assert main([*words, "-o", str(tmp_path / "a.npz"), "--quiet"]) == 2
    assert "--sampler must be left out with this model" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["mogents", "momask"])
def test_a_test_split_in_shards(models, tmp_path, name):
    dataset = mdm_tiny.write_test_split(tmp_path / "set")
    few = ["--time_steps", "2", "--batch_size", "3", "--cond_scale", "2"]
    words = ["--data_root", str(dataset), "--model_path", str(models / name), *few]
    one, two = tmp_path / "one", tmp_path / "two"
    assert run([*words, "--out_dir", str(one)]) == (4, 0)
    for shard in ("0", "1"):
        assert run([*words, "--out_dir", str(two), "--num_shards", "2", "--shard_index", shard]) == (2, 0)
    assert sorted(p.name for p in one.glob("*.npy")) == ["000001.npy", "000003.npy", "000004.npy", "M00001.npy"]
    told = making.read(one)
    assert len(told["model"]["sha256"]) == 64 and told["drawing"]["cond_scale"] == 2.0 and len(told["prompts"]) == 4
    for file in one.glob("*.npy"):
        assert np.abs(np.load(file) - np.load(two / file.name)).max() < 1e-4
    assert run([*words, "--out_dir", str(two), "--skip_existing"]) == (0, 4)
    (tmp_path / "chosen.json").write_text('{"000005": "he jumps"}')
    (tmp_path / "ids.txt").write_text("000005\n000003\n")
    chosen = ["--anno_file", str(tmp_path / "chosen.json"), "--id_file", str(tmp_path / "ids.txt")]
    assert run([*words, *chosen, "--out_dir", str(tmp_path / "three")]) == (2, 0)
    (tmp_path / "chosen.json").write_text("[]")
    with pytest.raises(ValueError, match="chosen.json must be a JSON object"):
        run([*words, *chosen, "--out_dir", str(tmp_path / "four")])
    with pytest.raises(ValueError, match="must be a MoGenTS or MoMask"):
        run(["--data_root", str(dataset), "--model_path", "motiongpt-mini", "--out_dir", str(tmp_path / "five")])
