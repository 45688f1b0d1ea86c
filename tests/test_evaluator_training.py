"""Our own evaluators: losses, batches, training that is resumed bit for bit, artifacts, ranking."""

import json
import shutil

import numpy as np
import pytest
import torch

from hftrainer.bench import moving_body
from hftrainer.cli import main
from hftrainer.data.humanml3d import HumanML3D
from hftrainer.errors import ArtifactError
from hftrainer.models import licences
from hftrainer.models.evaluator import (
    ContrastConfig,
    ContrastEvaluator,
    ContrastNetwork,
    Evaluator,
    built_in_evaluator,
    find_evaluator,
    load_evaluator,
    rank,
    similarity,
)
from hftrainer.models.evaluator.contrast import token_rows
from hftrainer.models.sums import problems
from hftrainer.models.text import Words
from hftrainer.motion.clip import Motion
from hftrainer.motion.files import save
from hftrainer.motion.representation.convert import convert
from hftrainer.motion.representation.hml263 import joints_to_hml263
from hftrainer.training import evaluator as training
from hftrainer.training import loop
from hftrainer.training.diffusion import Described
from hftrainer.training.recipe import run_recipe
from tests import tiny, training_data

CONTRAST = """
kind = "evaluator"
data = "{data}"
words = "{words}"
[network]
hidden = 16
heads = 2
feed_forward = 16
text_layers = 1
motion_layers = 1
width = 8
[settings]
rows = 3
word_dropout = 0.2
noise = 0.1
crop = 4
average = 0.5
[schedule]
steps = 6
learning_rate = 1e-3
log_every = 2
save_every = 3
device = "cpu"
"""
CLASSIC = """
kind = "evaluator"
architecture = "classic"
data = "{data}"
words = "{words}"
[network]
text_hidden = 6
width = 5
movement_hidden = 7
movement_width = 6
motion_hidden = 8
[settings]
rows = 3
margin = 2.0
[schedule]
steps = 3
learning_rate = 1e-3
device = "cpu"
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return training_data.write(tmp_path_factory.mktemp("data") / "set")


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    return training_data.words(tmp_path_factory.mktemp("words") / "words")


def recipe(tmp_path, text, data, words):
    path = tmp_path / "recipe.toml"
    path.write_text(text.format(data=data, words=words))
    return path


def matching(**settings):
    """A task over three sentences, of which the first two are said of both the first two motions."""
    rng = np.random.default_rng(0)
    said = (("a person walks", "walks"), ("walks", "a person walks"), ("jumps",))
    clips = [Described(torch.from_numpy(rng.normal(size=(40 + 8 * i, 263)).astype(np.float32)), s, s[0], False)
             for i, s in enumerate(said)]  # fmt: skip
    words = tiny.words()
    config = ContrastConfig(len(words.vectors), words.vectors.shape[1], hidden=8, heads=2, feed_forward=8, width=4,
                            dropout=0.0)  # fmt: skip
    read = lambda texts: (token_rows(words.tokenizer, texts),)  # noqa: E731
    chosen = training.MatchingSettings(**{"rows": 3, "average": 0.0, **settings})
    torch.manual_seed(0)
    network = ContrastNetwork(config)
    network.vectors.copy_(torch.from_numpy(words.vectors))
    network.scale.copy_(torch.from_numpy(words.scale))
    return training.MatchingTask(network, read, clips, clips, chosen, seed=0)


# ------------------------------------------------------------------------------------------------------------ losses


def test_the_contrast_loss_knows_right_from_wrong():
    none = torch.zeros(3, 3, dtype=torch.bool)
    good, bad = torch.eye(3) * 20, torch.eye(3).roll(1, 0) * 20
    assert training.contrast_loss(good, none) < 1e-3 < 10 < training.contrast_loss(bad, none)
    logits = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    by_hand = [-torch.log_softmax(table, 1)[i, i] for table in (logits, logits.T) for i in range(3)]
    assert training.contrast_loss(logits, none) == pytest.approx(float(sum(by_hand)) / 6, abs=1e-6)


def test_a_motion_of_which_the_same_is_said_is_no_wrong_answer():
    logits = torch.zeros(2, 2)
    same = torch.tensor([[True, True], [False, True]])
    half = float(torch.tensor(2.0).log())
    assert training.contrast_loss(logits, torch.eye(2, dtype=torch.bool)) == pytest.approx(half)
    # Sentence 0 has no wrong motion left, motion 1 no wrong sentence: two of the four answers cannot be wrong.
    assert training.contrast_loss(logits, same) == pytest.approx(half / 2)


def test_the_margin_loss_pulls_and_pushes():
    texts, motions = torch.tensor([[0.0], [10.0]]), torch.tensor([[1.0], [10.0]])
    none = torch.zeros(2, 2, dtype=torch.bool)
    assert training.margin_loss(texts, motions, none, 4.0) == pytest.approx(0.5)
    assert training.margin_loss(texts, motions, none, 12.0) == pytest.approx(0.5 + (2.0**2 + 3.0**2) / 2)
    all_same = torch.ones(2, 2, dtype=torch.bool)
    assert training.margin_loss(texts, motions, all_same, 12.0) == pytest.approx(0.5)


# ----------------------------------------------------------------------------------------------------------- batches


def test_a_batch_says_what_is_said_of_whom():
    task = matching()
    features, lengths, (tokens,), same = task.batch(3)
    assert lengths.tolist() == [40, 48, 56] and features.shape == (3, 56, 263) and len(tokens) == 3
    assert same.tolist() == [[True, True, False], [True, True, False], [False, False, True]]
    again = task.batch(3)
    assert torch.equal(again[0], features) and torch.equal(again[2][0], tokens)


def test_parts_of_a_batch_are_read_as_if_alone():
    task = matching()
    network = task.network.network.eval()
    features, lengths, _, _ = task.batch(0)
    whole = network.encode_motions(features, lengths)
    alone = [network.encode_motions(features[i : i + 1, : lengths[i]], lengths[i : i + 1]) for i in range(3)]
    assert torch.allclose(whole, torch.cat(alone), atol=1e-5)
    features[0, 40:] = float("nan")
    assert torch.allclose(network.encode_motions(features, lengths), whole, atol=1e-5)
    contacts = features.nan_to_num()
    contacts[..., -4:] += 1
    assert torch.allclose(network.encode_motions(contacts, lengths), whole, atol=1e-5)


def test_crops_noise_and_dropped_words_change_a_batch_within_bounds():
    plain, varied = matching(), matching(crop=6, noise=0.01, word_dropout=0.5, frames=(36, 50))
    for step in range(4):
        features, lengths, _, _ = varied.batch(step)
        assert lengths.tolist() != [] and 36 <= int(lengths.min()) and int(lengths.max()) <= 48
        near = plain.batch(step)[0]
        assert features.shape != near.shape or not torch.equal(features, near)


def test_learning_makes_pairs_meet():
    task = matching()
    optimizer = torch.optim.Adam(task.network.parameters(), 1e-2)
    before = float(task.loss(task.batch(0))[0].detach())
    for step in range(80):
        optimizer.zero_grad()
        loss, said = task.loss(task.batch(step))
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < before / 2 and 0 <= float(said["right"]) <= 1


def test_validation_leaves_the_weights(monkeypatch):
    monkeypatch.setattr(training, "_POOL", 3)
    task = matching(average=0.9)
    task.network.eval()
    before = {name: value.clone() for name, value in task.network.state_dict().items()}
    with torch.no_grad():
        said = task.validate()
    assert set(said) == {"R@1_held_out", "R@3_held_out"} and said["R@3_held_out"] == 1
    assert all(torch.equal(value, before[name]) for name, value in task.network.state_dict().items())


@pytest.mark.parametrize("wrong", [{"rows": 1}, {"frames": (3, 9)}, {"composed": 1.0}, {"noise": -1}, {"margin": 0}])
def test_settings_that_cannot_be(wrong):
    with pytest.raises(ValueError, match="must be"):
        training.MatchingSettings(**wrong)


# -------------------------------------------------------------------------------------------------------------- runs


def test_a_run_leaves_an_evaluator(tmp_path, data, words, capsys):
    path = recipe(tmp_path, CONTRAST, data, words)
    assert main(["train", str(path), "-o", str(tmp_path / "run"), "--quiet"]) == 0
    artifact = tmp_path / "run" / "artifact"
    made = load_evaluator(artifact)
    assert isinstance(made, ContrastEvaluator) and made.representation == "hml263" and made.reads == "text"
    assert made.about["stages"][0]["recipe"]["kind"] == "evaluator" and problems(artifact) == []
    index = json.loads((artifact / "model_index.json").read_text())
    assert index["_class_name"] == "ContrastEvaluator" and "evaluator.safetensors" in index["files"]
    assert {link.part for link in licences.chain(artifact)} == set(licences.PARTS)
    dataset = HumanML3D(data)
    assert np.array_equal(made.mean, dataset.mean) and np.array_equal(made.std, dataset.std)
    points = made.motions([clip.motion for clip in dataset.clips("train")])
    assert points.shape == (3, 8) and np.allclose(np.linalg.norm(points, axis=1), 1, atol=1e-5)
    made.save_pretrained(tmp_path / "again")
    assert load_evaluator(tmp_path / "again").hash == made.hash
    kept = json.loads((artifact / "calibration.json").read_text())
    recall = json.loads((tmp_path / "run" / "recall.json").read_text())
    assert kept["hashes"]["evaluator"] == made.sha256 and recall["dataset"]["split"] == "test"
    card = (artifact / "README.md").read_text()
    assert "| text to motion, of all | 1.000 |" in card and f"real motions, evaluator {made.hash}" in card
    assert "- 6 steps on" in card and "licences:" in card
    assert main(["info", str(artifact)]) == 0 and "evaluator.safetensors" in capsys.readouterr().out


def test_a_recipe_that_comes_along_is_named(tmp_path, data, words, monkeypatch, capsys):
    """``hftrainer train evaluator --data DIR``, smaller."""
    monkeypatch.chdir(tmp_path)
    small = ["network.hidden=16", "network.heads=2", "network.feed_forward=16", "network.text_layers=1",
             "network.width=8", "network.motion_layers=1", "settings.rows=3", "schedule.steps=2", f'words="{words}"',
             'schedule.precision="float32"']  # fmt: skip
    changes = [word for change in small for word in ("--set", change)]
    assert main(["train", "evaluator", "--data", str(data), *changes, "--quiet"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "runs/evaluator/artifact"
    artifact = tmp_path / "runs" / "evaluator" / "artifact"
    assert load_evaluator(artifact).about["stages"][0]["recipe"]["data"] == str(data)
    assert {"calibration.json", "README.md", "SHA256SUMS"} <= {file.name for file in artifact.iterdir()}
    assert problems(artifact) == []
    own = "# Mine\n"
    (artifact / "README.md").write_text(own)
    shown = ["evaluate", "real", "--task", "recall", "--data", str(data), "--evaluator", str(artifact), "--calibrate"]
    assert main([*shown, "-o", str(tmp_path / "real.json"), "--quiet"]) == 0
    assert (artifact / "README.md").read_text() == own
    assert main(["train", "evalator", "--data", str(data), "--quiet"]) == 2
    assert "Did you mean 'evaluator" in capsys.readouterr().err


def test_a_dataset_without_a_test_split_trains_all_the_same(tmp_path, data, words, capsys):
    shutil.copytree(data, tmp_path / "set")
    (tmp_path / "set" / "test.txt").unlink()
    path = recipe(tmp_path, CONTRAST, tmp_path / "set", words)
    assert main(["train", str(path), "-o", str(tmp_path / "run"), "--quiet"]) == 0
    assert "not shown real motions: " in capsys.readouterr().out
    assert not (tmp_path / "run" / "artifact" / "calibration.json").exists()


def test_a_run_is_resumed_bit_for_bit(tmp_path, data, words):
    path = recipe(tmp_path, CONTRAST, data, words)
    whole = run_recipe(path, tmp_path / "whole")
    original, count = loop._gradients, []

    def stop(*args):
        if len(count) == 4:
            raise KeyboardInterrupt
        count.append(1)
        return original(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_gradients", stop)
        with pytest.raises(KeyboardInterrupt):
            run_recipe(path, tmp_path / "cut")
    cut = run_recipe(path, tmp_path / "cut", resume=True)
    assert (cut / "evaluator.safetensors").read_bytes() == (whole / "evaluator.safetensors").read_bytes()


def test_the_classic_networks_are_trained_with_their_grammar(tmp_path, data, words):
    made = load_evaluator(run_recipe(recipe(tmp_path, CLASSIC, data, words), tmp_path / "run"))
    assert isinstance(made, Evaluator) and made.network.config.width == 5 and made.about["stages"]
    vocabulary = set(Words.load(words).tokenizer.get_vocab())
    assert {"unk", "sos", "eos"} < set(made.words.words) <= vocabulary | {"unk", "sos", "eos"}
    assert made.texts([["a/DET", "person/NOUN", "walks/VERB"]]).shape == (1, 5)


def test_a_run_goes_on_from_an_evaluator(tmp_path, data, words):
    path = recipe(tmp_path, CONTRAST, data, words)
    first = run_recipe(path, tmp_path / "one", ["schedule.steps=2"])
    second = run_recipe(path, tmp_path / "two", [f'start="{first}"', "schedule.steps=2"])
    assert len(load_evaluator(second).about["stages"]) == 2
    with pytest.raises(ArtifactError, match="must have the network of this recipe"):
        run_recipe(path, tmp_path / "three", [f'start="{first}"', "network.width=9"])


@pytest.mark.parametrize("change, said", [
    ('architecture="tmr"', "architecture must be one of contrast, classic"),
    ("schedule.accumulate=3", "must see its batch whole"),
    ("network.features=251", "network.features must be 263"),
    ('network.word_width=7', "as .* has them"),
    ('words="nowhere"', "must be a folder"),
    ("settings.frames=[150, 160]", "needs described motions of 150 frames; got none"),
])  # fmt: skip
def test_wrong_recipes(tmp_path, data, words, change, said):
    with pytest.raises(ArtifactError, match=said):
        run_recipe(recipe(tmp_path, CONTRAST, data, words), tmp_path / "run", [change])


# --------------------------------------------------------------------------------------------------------- the built-in


@pytest.fixture(scope="module")
def built_in():
    return built_in_evaluator()


def walk(frames=80, speed=0.05, turn=0.0):
    """A body that glides forward: features of the mean pose with a speed of its own."""
    judge = built_in_evaluator()
    data = np.repeat(judge.mean[None], frames, 0)
    data[:, 0], data[:, 1], data[:, 2] = turn, 0.0, speed
    return Motion(data, "hml263", fps=20)


def test_the_built_in_evaluator_is_whole_small_and_free(built_in):
    folder = find_evaluator()
    assert problems(folder) == [] and licences.verdict(licences.chain(folder)) is True
    assert sum(file.stat().st_size for file in folder.iterdir()) < 6_000_000
    assert built_in.kind == "contrast" and (folder / "README.md").is_file()


def test_it_tells_standing_from_walking(built_in):
    still, going = walk(speed=0.0), walk(speed=0.17)
    assert rank("a person stands still", [going, still])[0][0] == 1
    assert rank("a person walks forward", [going, still])[0][0] == 0


def test_ranking_a_batch_changes_nothing(built_in):
    motions = [walk(40 + 4 * i, 0.01 * i) for i in range(20)]
    fits = similarity(["a person walks", "someone sits down"], motions)
    alone = np.stack([similarity(["a person walks", "someone sits down"], [m])[:, 0] for m in motions], 1)
    assert fits.shape == (2, 20) and np.allclose(fits, alone, atol=1e-4) and np.abs(fits).max() <= 1.0001
    assert [i for i, _ in rank("a person walks", motions)] == np.argsort(-fits[0], kind="stable").tolist()


def test_motions_of_other_representations_are_converted(built_in):
    motion = Motion(joints_to_hml263(moving_body(64, 0)), "hml263", fps=20)
    joints = convert(motion, "joints")
    there, back = similarity(["a person walks"], [motion])[0, 0], similarity(["a person walks"], [joints])[0, 0]
    assert there == pytest.approx(back, abs=0.1)


def test_an_evaluator_that_needs_grammar_is_refused(tmp_path, data, words):
    made = load_evaluator(run_recipe(recipe(tmp_path, CLASSIC, data, words), tmp_path / "run"))
    with pytest.raises(ValueError, match="needs parts of speech"):
        similarity(["a person walks"], [walk()], made)


def test_search_uses_it(tmp_path, capsys, built_in):
    save(walk(speed=0.0), tmp_path / "stand.npz")
    save(walk(speed=0.17), tmp_path / "run.npz")
    assert main(["search", "a person runs", "--in", str(tmp_path), "--json", "--quiet"]) == 0
    said = json.loads(capsys.readouterr().out)
    names, motions = ["stand.npz", "run.npz"], [walk(speed=0.0), walk(speed=0.17)]
    assert [one["name"] for one in said["found"]] == [names[i] for i, _ in rank("a person runs", motions)]
    assert said["evaluator"]["hash"] == built_in.hash
