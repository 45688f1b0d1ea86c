"""Training of the length estimator: what it is shown, what it learns, where it ends up."""

import json

import numpy as np
import pytest
import torch

from hftrainer.errors import ArtifactError
from hftrainer.models.motion.mogents.bundle import MoGenTSBundle
from hftrainer.models.motion.mogents.length import LengthConfig, LengthEstimator
from hftrainer.models.motion.mogents.official import MOGENTS
from hftrainer.models.motion.mogents.release import read_release
from hftrainer.models.tower_files import read_clip, save_tower
from hftrainer.training.length import Described, LengthSettings, LengthTask, load_length_estimator
from hftrainer.training.loop import Schedule, fit
from hftrainer.training.recipe import read_recipe, run_recipe
from tests import mogents_release as authors
from tests import training_data
from tests.conftest import ROOT

RECIPE = """
kind = "length"
data = "{data}"
{more}
[settings]
rows = 8
frames = [24, 199]
[schedule]
steps = 6
learning_rate = 1e-3
log_every = 2
save_every = 3
validate_every = 6
device = "cpu"
"""


def rows(count=12):
    """Motions whose length stands in their sentence."""
    return [Described(torch.eye(16)[i % 16].repeat(2, 1) * 3, 40 + 8 * i) for i in range(count)]


def test_it_learns_lengths_that_are_told(tmp_path):
    torch.manual_seed(0)
    task = LengthTask(LengthEstimator(LengthConfig(text_width=16)), rows(), rows(), LengthSettings(shorter=0.0), 1)
    before = task.network.eval() and task.validate()
    fit(task, Schedule(150, 3e-3, warmup=5, device="cpu", log_every=0, save_every=0), tmp_path, say=lambda line: None)
    after = task.validate()
    assert before["loss_held_out"] > 3.5 and after["loss_held_out"] < 0.1 and after["tokens_apart"] == 0


def test_batches_are_the_same_for_the_same_step_and_sometimes_a_token_shorter():
    task = LengthTask(LengthEstimator(LengthConfig(text_width=16)), rows(), [], LengthSettings(rows=3000), 1)
    one, again, other = task.batch(3), task.batch(3), task.batch(4)
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True)) and not torch.equal(one[1], other[1])
    told = one[0].argmax(1) * 2 + 10
    apart = told - one[1]
    assert set(apart.tolist()) == {0, 1} and 0.3 < apart.float().mean() < 0.37
    assert task.validate() == {} and task.weight_of(one) == 3000


@pytest.mark.parametrize(
    "make, says",
    [
        (lambda: LengthSettings(rows=0), "rows and frames_per_token must be at least 1"),
        (lambda: LengthSettings(frames=(50, 40)), "frames must be fewest and most"),
        (lambda: LengthSettings(shorter=2), "shorter must be 0 to 1"),
        (lambda: LengthConfig(lengths=1), "lengths at least 2"),
        (lambda: LengthTask(LengthEstimator(LengthConfig()), [], [], LengthSettings(), 0), "needs described motions"),
        (lambda: LengthTask(LengthEstimator(LengthConfig(text_width=16, lengths=20)), rows(), [], LengthSettings(), 0),
         "network.lengths must be above 32"),
    ],
)  # fmt: skip
def test_refusals(make, says):
    with pytest.raises(ValueError, match=says):
        make()


@pytest.fixture
def tower(tmp_path):
    save_tower(read_clip(authors.clip(tmp_path / "clip.pt"), context=77, precision="fp32"), tmp_path / "tower")
    return tmp_path / "tower"


def test_a_recipe_leaves_an_estimator_and_resumes_bit_for_bit(tmp_path, tower):
    training_data.write(tmp_path / "data")
    recipe = tmp_path / "length.toml"
    recipe.write_text(RECIPE.format(data=tmp_path / "data", more=f'text_tower = "{tower}"'))
    network, about = load_length_estimator(run_recipe(recipe, tmp_path / "whole"))
    assert network.config.text_width == 512 and len(about["stages"]) == 1
    run_recipe(recipe, tmp_path / "parts", ["schedule.steps=3"])
    with pytest.raises(ArtifactError, match="must be resumed with the recipe"):
        run_recipe(recipe, tmp_path / "parts", resume=True)
    stored = tmp_path / "parts/recipe.json"
    stored.write_text(stored.read_text().replace('"steps": 3', '"steps": 6'))
    resumed, _ = load_length_estimator(run_recipe(recipe, tmp_path / "parts", resume=True))
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), resumed.parameters(), strict=True))
    line = json.loads((tmp_path / "whole/log.jsonl").read_text().splitlines()[-1])
    assert {"loss", "right", "loss_held_out", "tokens_apart"} <= set(line)


def test_a_recipe_puts_the_estimator_into_a_model(tmp_path):
    training_data.write(tmp_path / "data")
    authors.write(tmp_path / "logs", MOGENTS)
    text = read_clip(authors.clip(tmp_path / "clip.pt"), context=77, precision="fp32")
    files = read_release(MOGENTS, tmp_path / "logs", estimator=False)
    MoGenTSBundle.from_release(files, text).save_pretrained(tmp_path / "model")
    recipe = tmp_path / "length.toml"
    recipe.write_text(RECIPE.format(data=tmp_path / "data", more=f'model = "{tmp_path / "model"}"'))
    whole = MoGenTSBundle.from_pretrained(run_recipe(recipe, tmp_path / "run"))
    assert whole.length_estimator is not None and len(whole.about["stages"]) == 1
    before = MoGenTSBundle.from_pretrained(tmp_path / "model")
    assert np.array_equal(before.statistics.mean, whole.statistics.mean)
    with pytest.raises(ArtifactError, match="must have 8 frames a token"):
        run_recipe(recipe, tmp_path / "other", ["settings.frames_per_token=8"])
    recipe.write_text(RECIPE.format(data=tmp_path / "data", more=""))
    with pytest.raises(ArtifactError, match="must name text_tower, or a model that has one inside"):
        run_recipe(recipe, tmp_path / "none")


def test_the_recipe_at_the_size_of_the_paper():
    recipe = read_recipe(ROOT / "recipes/mogents-base-length.toml")
    network = LengthEstimator(LengthConfig(**recipe.get("network", {})))
    assert sum(p.numel() for p in network.parameters()) == 435_122
    schedule = Schedule(**recipe["schedule"])
    assert {schedule.rate(step) for step in (0, 1, 50_000, 109_999)} == {1e-4}
