"""Training of mask and residual transformers: they learn, resume bit for bit, leave a whole model, and refuse."""

import json
import tomllib

import numpy as np
import pytest
import torch

from hftrainer.data.humanml3d import Caption, Clip
from hftrainer.errors import ArtifactError
from hftrainer.models.motion.mogents import official_transformers
from hftrainer.models.motion.mogents.bundle import MoGenTSBundle
from hftrainer.models.motion.mogents.decoding import fill_masks
from hftrainer.models.motion.mogents.sampling import OwnChance, Settings
from hftrainer.models.motion.mogents.tokenizer import MoGenTSTokenizer, MoGenTSTokenizerConfig
from hftrainer.models.motion.momask.tokenizer import MoMaskTokenizer, MoMaskTokenizerConfig
from hftrainer.models.motion.motiongpt.bundle import Statistics
from hftrainer.models.motion.motiongpt.tower import CaptionTower
from hftrainer.models.tower_files import save_tower
from hftrainer.motion.clip import Motion
from hftrainer.training import masked
from hftrainer.training.loop import Schedule, fit
from hftrainer.training.masked import CodedClip, MaskedSettings, MaskTask, ResidualTask, Streams
from hftrainer.training.mogents import load_transformers, transformer_configs
from hftrainer.training.recipe import run_recipe
from tests import tiny, training_data
from tests.conftest import ROOT
from tests.test_mogents_tokenizer import RECIPE, RECIPES
from tests.test_mogents_transformers import GRID, network, own
from tests.test_training import _interrupted as interrupted

STAGE = """
kind = "{name}-{stage}"
data = "{data}"
tokenizer = "{tokenizer}"
text_tower = "{tower}"
{more}
[network]
width = 16
layers = 1
heads = 2
feed_forward = 16
[settings]
rows = 4
frames = [24, 64]
pad = false
word_dropout = 0.2
[schedule]
steps = 4
learning_rate = 1e-3
log_every = 2
save_every = 2
validate_every = 4
device = "cpu"
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return training_data.write(tmp_path_factory.mktemp("data") / "made-up")


@pytest.fixture(scope="module")
def tower(tmp_path_factory):
    folder, bundle = tmp_path_factory.mktemp("tower"), tiny.bundle()
    save_tower(CaptionTower.of(bundle.language_model, bundle.words), folder)
    return folder


def coded(*starts):
    """Clips that count up from a number, in two streams."""
    rows = []
    for start in starts:
        aux = (torch.arange(9)[:, None] + start + torch.arange(3)).remainder(12).int()
        rows.append(CodedClip(((aux, aux[:, None].repeat(1, 6, 1)),), (f"from {start}",), str(start)))
    return rows


def vectors(texts):
    return torch.stack([torch.randn(6, generator=torch.Generator().manual_seed(len(t) + ord(t[-1]))) for t in texts])


def test_masks_and_residuals_learn_two_motions(tmp_path):
    settings = MaskedSettings(rows=16, frames=(4, 36), pad=False, shorter=0.0)
    schedule = Schedule(220, 1e-2, warmup=10, log_every=110, validate_every=220)
    more = dict(dropout=0.0)
    nets = Streams({"mask_aux": network(learned_positions=True, **more), "mask_ts": network(**GRID, **more)})
    task = MaskTask(nets, vectors, coded(0, 5), coded(0, 5), settings, frames_per_token=4, seed=0)
    fit(task, schedule, tmp_path / "mask", say=lambda line: None)
    found = task.validate()
    assert found["mask_aux_accuracy_held_out"] > 0.9 and found["mask_ts_accuracy_held_out"] > 0.9
    lengths, text = torch.tensor([9, 9]), vectors(["from 0", "from 5"])
    codes = fill_masks(nets["mask_aux"], text, lengths, Settings(guidance=1.0), OwnChance(own(1, 2)))
    assert torch.equal(codes[0], coded(0)[0].codes[0][0][:, 0].long())
    assert torch.equal(codes[1], coded(5)[0].codes[0][0][:, 0].long())
    nets = Streams({"res_aux": network(quantizers=3, **more), "res_ts": network(**GRID, quantizers=3, **more)})
    task = ResidualTask(nets, vectors, coded(0, 5), coded(0, 5), settings, frames_per_token=4, seed=0)
    fit(task, schedule, tmp_path / "res", say=lambda line: None)
    found = task.validate()
    assert found["res_aux_accuracy_held_out"] > 0.9 and found["res_ts_accuracy_held_out"] > 0.9


def test_a_batch_is_that_of_its_step_and_padded_as_asked():
    nets = Streams({"mask_aux": network(), "mask_ts": network(**GRID)})
    for pad, longest in ((True, 12), (False, 9)):
        settings = MaskedSettings(rows=4, frames=(4, 48), pad=pad)
        task = MaskTask(nets, vectors, coded(0, 5), [], settings, frames_per_token=4, seed=3)
        lengths, text, (aux, grid) = task.batch(5)
        assert aux.shape == (4, longest, 3) and grid.shape == (4, longest, 6, 3) and text.shape == (4, 6)
        assert set(lengths.tolist()) <= {8, 9}
        again = MaskTask(nets, vectors, coded(0, 5), [], settings, frames_per_token=4, seed=3).batch(5)
        assert torch.equal(again[2][1], grid) and torch.equal(again[1], text)
        assert task.validate() == {}
    short = MaskTask(nets, vectors, coded(0), [], MaskedSettings(rows=4, frames=(4, 16)), frames_per_token=4, seed=3)
    assert int(short.batch(0)[0].max()) <= 4


def test_captions_of_a_stretch_and_starting_frames_are_coded():
    torch.manual_seed(0)
    tokenizer = MoMaskTokenizer(MoMaskTokenizerConfig(width=16, depth=1, codes=8, code_width=8, layers=2)).eval()
    motion = Motion(np.random.default_rng(0).normal(size=(50, 263)).astype(np.float32), "hml263", 20)
    told = (Caption("whole", (), 0.0, 0.0), Caption("part", (), 0.5, 1.5), Caption("bit", (), 0, 0.2))
    clip = Clip("a", motion, told)
    statistics = Statistics(np.zeros(263), np.ones(263), "hml263")
    found = masked.coded_clips([clip], tokenizer, statistics, 16, frozenset("a"))
    assert [c.captions for c in found] == [("whole",), ("part",)] and all(c.composed for c in found)
    assert [len(row[0]) for row in found[0].codes] == [12, 12, 12, 11] and len(found[1]) == 5
    alone = tokenizer.encode(torch.from_numpy(motion.data[1:49].copy())[None])[0]
    assert torch.equal(found[0].codes[1][0].long(), alone)


def test_what_cannot_be_trained_is_refused():
    nets, settings = Streams({"mask_aux": network()}), MaskedSettings()
    with pytest.raises(ValueError, match="need clips of 40 frames with captions; got none"):
        MaskTask(nets, vectors, [], [], settings, frames_per_token=4, seed=0)
    with pytest.raises(ValueError, match="codes of 1 streams; got 2"):
        MaskTask(nets, vectors, coded(0), [], settings, frames_per_token=4, seed=0)
    for wrong in (dict(rows=0), dict(frames=(60, 40)), dict(shorter=1.0), dict(word_dropout=-0.1)):
        with pytest.raises(ValueError):
            MaskedSettings(**wrong)


@pytest.mark.parametrize("name", RECIPES)
def test_stages_resume_bit_for_bit_and_leave_a_model(name, tmp_path, dataset, tower):
    (tmp_path / "1.toml").write_text(RECIPE.format(name=name, data=dataset, sizes=RECIPES[name]))
    tokenizer = run_recipe(tmp_path / "1.toml", tmp_path / "one", ["schedule.steps=2"])
    fields = dict(name=name, data=dataset, tokenizer=tokenizer, tower=tower)
    mask = tmp_path / "whole-mask" / "artifact"
    for stage, more in (("mask", ""), ("residual", f'mask = "{mask}"')):
        recipe = tmp_path / f"{stage}.toml"
        recipe.write_text(STAGE.format(stage=stage, more=more, **fields))
        artifact = run_recipe(recipe, tmp_path / f"whole-{stage}")
        interrupted(recipe, tmp_path / f"again-{stage}", step=2)
        run_recipe(recipe, tmp_path / f"again-{stage}", resume=True)
        files = [tmp_path / f"{run}-{stage}" / "last.pt" for run in ("whole", "again")]
        runs = [torch.load(file, weights_only=True)["network"] for file in files]
        assert runs[0].keys() == runs[1].keys() and all(torch.equal(runs[0][k], runs[1][k]) for k in runs[0])
        log = [json.loads(line) for line in (tmp_path / f"again-{stage}" / "log.jsonl").read_text().splitlines()]
        assert [line["step"] for line in log] == [2, 4] and "accuracy_held_out" in str(log[-1])
    networks, about = load_transformers(mask)
    assert len(networks) == (2 if name == "mogents" else 1) and about["stages"][0]["recipe"]["kind"] == f"{name}-mask"
    with pytest.raises(ArtifactError, match="must have the networks of this recipe"):
        run_recipe(tmp_path / "mask.toml", tmp_path / "other", [f"start={mask}", "network.width=32"])
    further = run_recipe(tmp_path / "mask.toml", tmp_path / "further", [f"start={mask}", "schedule.steps=1"])
    assert len(load_transformers(further)[1]["stages"]) == 2
    if name == "mogents":
        bundle = MoGenTSBundle.from_pretrained(artifact)
        assert bundle.frame_range == (24, 64) and [s["recipe"]["kind"] for s in bundle.about["stages"]] == [
            "mogents-mask", "mogents-residual",
        ]  # fmt: skip
        assert bundle.masked("mask_ts").config == networks["mask_ts"].config
        again = run_recipe(
            tmp_path / "mask.toml", tmp_path / "from-artifact", [f"tokenizer={artifact}", "schedule.steps=1"]
        )  # fmt: skip
        assert load_transformers(again)[0].keys() == networks.keys()


def test_recipes_that_do_not_fit_are_refused(tmp_path, dataset, tower):
    (tmp_path / "1.toml").write_text(RECIPE.format(name="momask", data=dataset, sizes=RECIPES["momask"]))
    tokenizer = run_recipe(tmp_path / "1.toml", tmp_path / "one", ["schedule.steps=1"])
    text = STAGE.format(name="mogents", stage="mask", data=dataset, tokenizer=tokenizer, tower=tower, more="")
    (tmp_path / "2.toml").write_text(text)
    with pytest.raises(ArtifactError, match="tokenizer must be one of mogents"):
        run_recipe(tmp_path / "2.toml", tmp_path / "two")
    (tmp_path / "3.toml").write_text(text.replace(f'text_tower = "{tower}"', ""))
    with pytest.raises(ArtifactError, match="must name text_tower"):
        run_recipe(tmp_path / "3.toml", tmp_path / "three")
    (tmp_path / "4.toml").write_text(text.replace("[settings]", "[network.grid]\nodd = 1\n[settings]"))
    with pytest.raises(ArtifactError):
        run_recipe(tmp_path / "4.toml", tmp_path / "four")


def test_base_recipes_have_the_released_sizes():
    """On the meta device: sizes without numbers."""
    sizes = {}
    for path in sorted((ROOT / "recipes").glob("mo*-*-*.toml")):
        recipe = tomllib.loads(path.read_text())
        if recipe["kind"].split("-")[-1] not in ("mask", "residual"):
            continue
        with torch.device("meta"):
            mogents = recipe["kind"].startswith("mogents")
            base = "base" in path.stem
            tokenizer = (
                MoGenTSTokenizer(MoGenTSTokenizerConfig()) if mogents else MoMaskTokenizer(MoMaskTokenizerConfig())
            )
        configs = transformer_configs(recipe, tokenizer, 512 if base else 192)
        for name, config in configs.items():
            net = official_transformers.hollow(config)
            sizes[path.stem, name] = sum(weight.numel() for weight in net.parameters())
        Schedule(**recipe["schedule"])
        MaskedSettings(**recipe["settings"])
    assert len(sizes) == 12
    assert sizes["mogents-base-mask", "mask_aux"] == 13968768 and sizes["mogents-base-mask", "mask_ts"] == 34239616
    assert sizes["mogents-base-residual", "res_aux"] == 15284224
    assert sizes["mogents-base-residual", "res_ts"] == 35858944
    assert sizes["momask-base-mask", "t2m_trans"] == 12048768
    assert sizes["momask-base-residual", "res_trans"] == 13364224
