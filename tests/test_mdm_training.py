"""MDM's training: patches, the tower that is at hand, what is minimised, averages, resuming; tiny and made up."""

import json

import numpy as np
import pytest
import torch

from hftrainer.errors import ArtifactError
from hftrainer.models.motion.mdm.bundle import MDMBundle
from hftrainer.models.motion.mdm.config import MDMConfig
from hftrainer.models.motion.mdm.losses import masked_square
from hftrainer.models.motion.mdm.network import MDM, Condition
from hftrainer.models.motion.motiongpt.bundle import Statistics
from hftrainer.models.motion.motiongpt.tower import CaptionTower
from hftrainer.models.tower_files import read_tower, save_tower
from hftrainer.training.diffusion import Described, DiffusionSettings, DiffusionTask
from hftrainer.training.mdm import load_tower
from hftrainer.training.recipe import run_recipe
from tests import tiny, training_data
from tests.test_training import _interrupted as interrupted

SMALL = MDMConfig(
    "trans_dec", joints=263, width=16, layers=1, heads=2, feed_forward=32, dropout=0.0, steps=10, time_token=True,
    mask_frames=True, patch=4, text_encoder="motiongpt", text_width=32,
)  # fmt: skip
RECIPE = """
kind = "mdm"
data = "{data}"
text_tower = "{tower}"
[network]
architecture = "trans_dec"
width = 16
layers = 1
heads = 2
feed_forward = 32
mask_frames = true
patch = 4
steps = 20
[settings]
rows = 4
frames = [16, 60]
pad = false
speed = 0.5
standing = 0.1
average = 0.9
[settings.channels]
root_velocity = 5.0
[schedule]
steps = 6
learning_rate = 1e-3
log_every = 2
save_every = 3
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return training_data.write(tmp_path_factory.mktemp("mdm") / "made-up")


@pytest.fixture(scope="module")
def tower(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tower") / "motiongpt"
    tiny.bundle().save_pretrained(folder)
    return folder


def captions():
    bundle = tiny.bundle()
    return CaptionTower.of(bundle.language_model, bundle.words)


def clips(count=6, frames=40):
    draw = torch.Generator().manual_seed(0)
    return [Described(torch.randn(frames + i, 263, generator=draw), ("a person walks",), str(i), False)
            for i in range(count)]  # fmt: skip


def task(**settings):
    torch.manual_seed(0)
    tower = captions()
    config = MDMConfig(**{**SMALL.__dict__, "text_width": tower.width})
    statistics = Statistics(np.zeros(263, "f4"), np.ones(263, "f4"), "hml263")
    chosen = DiffusionSettings(**{"rows": 4, "frames": (16, 60), "pad": False, **settings})
    return DiffusionTask(MDM(config), tower, statistics, clips(), clips(2), chosen, 0)


def test_patches_leave_no_frame_out_and_padding_changes_nothing():
    torch.manual_seed(0)
    net = MDM(SMALL).eval()
    x, text = torch.randn(2, 263, 1, 18), torch.randn(2, 3, 32)
    step = torch.tensor([3, 3])
    out = net(x, step, Condition(text=text))
    assert out.shape == x.shape
    longer = torch.cat((x, torch.zeros(2, 263, 1, 9)), -1)
    frames = torch.arange(27)[None].expand(2, -1) < 18
    assert (net(longer, step, Condition(text=text, frames=frames))[..., :18] - out).abs().max() < 1e-5
    for frame in range(18):  # every frame is read, and every frame is its own
        changed = x.clone()
        changed[..., frame] += 1
        assert not torch.equal(net(changed, step, Condition(text=text)), out)
    assert out[0, :, 0].std(-1).min() > 0


def test_networks_without_a_place_for_patches_are_refused():
    for fields in ({"architecture": "gru"}, {"first_frame": True}, {"context_frames": 4, "predicted_frames": 8}):
        with pytest.raises(ValueError, match="patch must be 1 for gru"):
            MDMConfig(patch=4, **fields)


def test_the_tower_is_the_encoder_of_the_language_model(tmp_path):
    bundle, tower = tiny.bundle(), captions()
    text, mask = tower.encode(["a person walks forward", "a person runs"])
    ids = bundle.text.encode("generate motion: a person walks forward", add_special_tokens=False).ids + [1]
    states, _ = bundle.language_model.eval().encode(torch.tensor([ids]))
    assert mask.sum(1).tolist() == [len(ids), len(ids) - 1]
    assert (text[0, : len(ids)] - states[0]).abs().max() < 1e-5
    alone, _ = tower.encode(["a person runs"])
    assert (text[1, : len(ids) - 1] - alone[0]).abs().max() < 1e-5
    save_tower(tower, tmp_path)
    again = read_tower(tmp_path)
    assert again.name == "motiongpt" and torch.equal(again.encode(["a person runs"])[0], alone)
    assert tower.unknown("a person zorbs") == ["zorbs"]


def test_rows_count_as_the_settings_say():
    rows = task(channels={"root_velocity": 10.0, "rotations": 0.5}).rows
    assert abs(float(rows.mean()) - 1) < 1e-6
    assert float(rows[1] / rows[3]) == pytest.approx(10) and float(rows[100] / rows[3]) == pytest.approx(0.5)
    frames, zero = torch.ones(1, 4, dtype=torch.bool), torch.zeros(1, 263, 1, 4)
    for row in (1, 3, 100):
        off = zero.clone()
        off[:, row] = 1
        assert float(masked_square(zero, off, frames, rows)) == pytest.approx(float(rows[row]) / 263, rel=1e-5)
    with pytest.raises(ValueError, match="channels: .*hml263 has no channel 'roots'"):
        task(channels={"roots": 2.0})


def test_batches_hold_motions_of_like_length_and_depend_on_the_step_alone():
    job = task()
    first = job.batch(3)
    assert [torch.equal(a, b) for a, b in zip(first, task().batch(3), strict=True)] == [True] * 6
    assert not torch.equal(first[3], job.batch(4)[3])
    assert first[1].sum(1).max() == first[0].shape[-1]
    assert task(pad=True).batch(0)[0].shape[-1] == 60


def test_the_average_follows_and_is_what_is_kept():
    job = task(average=0.5)
    network = job.network.network
    before = network.enter.bias.detach().clone()
    with torch.no_grad():
        network.enter.bias += 1
    job.steps = 1000
    job.stepped()
    assert torch.allclose(job.network.averaged()["enter.bias"], before + 0.5)
    assert torch.allclose(network.enter.bias, before + 1)


def test_from_a_recipe_to_motion_and_resumed_bit_for_bit(tmp_path, dataset, tower):
    recipe = tmp_path / "mdm.toml"
    recipe.write_text(RECIPE.format(data=dataset, tower=tower))
    artifact = run_recipe(recipe, tmp_path / "whole")
    interrupted(recipe, tmp_path / "again", step=3)
    run_recipe(recipe, tmp_path / "again", resume=True)
    one, two = (torch.load(tmp_path / n / "last.pt", weights_only=True)["network"] for n in ("whole", "again"))
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    line = json.loads((tmp_path / "whole" / "log.jsonl").read_text().splitlines()[-1])
    assert {"motion", "speed", "standing", "motion_held_out"} <= line.keys()
    bundle = MDMBundle.from_pretrained(artifact)
    assert bundle.config.patch == 4 and bundle.text is not None and bundle.evaluation_frames is None
    assert torch.equal(bundle.network.enter.weight, one["average.enter/weight"])
    assert bundle.about["stages"][0]["recipe"]["settings"]["average"] == 0.9
    bundle.save_pretrained(tmp_path / "half", dtype=torch.float16)
    half = MDMBundle.from_pretrained(tmp_path / "half").network.enter.weight
    assert half.dtype == torch.float32 and (half - bundle.network.enter.weight).abs().max() < 1e-3
    with pytest.raises(ArtifactError, match="must have the network of this recipe"):
        run_recipe(recipe, tmp_path / "other", [f"start={str(artifact)!r}", "network.layers=2"])
    slower = [f"start={str(artifact)!r}", "network.noise_schedule='linear'", "schedule.learning_rate=1e-9"]
    gone_on = MDMBundle.from_pretrained(run_recipe(recipe, tmp_path / "linear", slower))
    assert gone_on.config.noise_schedule == "linear" and len(gone_on.about["stages"]) == 2
    assert torch.allclose(gone_on.network.enter.weight, bundle.network.enter.weight, atol=1e-6)


def test_without_text_nothing_is_read(tmp_path, dataset):
    recipe = tmp_path / "free.toml"
    recipe.write_text(RECIPE.format(data=dataset, tower="none").replace('text_tower = "none"\n', ""))
    bundle = MDMBundle.from_pretrained(run_recipe(recipe, tmp_path / "free"))
    assert bundle.config.condition == "none" and bundle.guidance == 1.0


def test_a_tower_that_is_nowhere_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="nowhere"):
        load_tower(str(tmp_path / "nowhere"))
