"""Training: it learns, it resumes bit for bit, it refuses; stage by stage on a dataset made up for the test."""

import json

import numpy as np
import pytest
import torch

from hftrainer.bench import moving_body
from hftrainer.errors import ArtifactError
from hftrainer.models.motion.motiongpt.bundle import Statistics
from hftrainer.models.motion.motiongpt.network import MotionTokenizer, TokenizerConfig
from hftrainer.models.quantize import EMAQuantizer
from hftrainer.motion.representation.hml263 import hml263_to_joints, joints_to_hml263
from hftrainer.pipelines.motiongpt import MotionGPTPipeline
from hftrainer.training.language import LanguageSettings, LanguageTask, TokenClip, spellings
from hftrainer.training.loop import Schedule, fit
from hftrainer.training.recipe import read_recipe, run_recipe
from hftrainer.training.starts import load_tokenizer
from hftrainer.training.tokenizer import TokenizerSettings, TokenizerTask, world_joints
from tests import tiny, training_data

QUIET = dict(say=lambda line: None)


def features(frames: int = 97, seed: int = 0) -> np.ndarray:
    return joints_to_hml263(moving_body(frames, seed))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Four clips in HumanML3D's layout, and word vectors beside them."""
    folder = training_data.write(tmp_path_factory.mktemp("data") / "made-up")
    training_data.words(folder.parent / "words")
    return folder


TOKENIZER = training_data.TOKENIZER
LANGUAGE = training_data.LANGUAGE.replace("rows = 4", 'rows = 4\nstage = "{stage}"')


def test_world_joints_agree_with_the_decoder():
    x = features(120, 3)
    relative, path = world_joints(torch.from_numpy(x.copy())[None].double())
    joints = hml263_to_joints(x)
    assert np.abs(path[0].numpy() - joints[:, 0, [0, 2]]).max() < 1e-4
    ground = joints[:, 1:] - joints[:, :1] * [1, 0, 1]
    assert np.abs(relative[0].numpy() - ground).max() < 1e-4


def test_one_clip_is_overfitted(tmp_path):
    torch.manual_seed(0)
    clip = features(65)
    statistics = Statistics(clip.mean(0), np.maximum(clip.std(0), 0.02), "hml263")
    net = MotionTokenizer(TokenizerConfig(codes=32, code_width=16, width=32, depth=1))
    task = TokenizerTask(net, statistics, [clip], [clip], TokenizerSettings(frames=256, joints=1.0), seed=0)
    before = task.validate()["mpjpe_held_out"]
    fit(task, Schedule(150, 3e-3, warmup=10, log_every=150), tmp_path, **QUIET)
    assert task.validate()["mpjpe_held_out"] < before / 3


def test_training_the_decoder_alone_leaves_the_tokens(tmp_path):
    torch.manual_seed(0)
    clip = features(65)
    statistics = Statistics(clip.mean(0), np.maximum(clip.std(0), 0.02), "hml263")
    net = tiny.bundle().motion_tokenizer
    task = TokenizerTask(net, statistics, [clip], [clip], TokenizerSettings(frames=128, decoder_only=True), seed=0)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    fit(task, Schedule(5, 1e-3, log_every=5), tmp_path, **QUIET)
    changed = {key.split(".")[0] for key, value in net.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {"decoder"}


def test_a_language_model_learns_two_sentences(tmp_path):
    bundle = tiny.bundle()
    clips = [
        TokenClip(((1, 2, 3, 4, 5),), ("a person walks",), "walk"),
        TokenClip(((9, 8, 7),), ("a person runs",), "run"),
    ]
    settings = LanguageSettings(rows=8, tasks={"t2m": 1.0}, joined=0.0, lengths=0.0, word_dropout=0.0)
    net = bundle.language_model
    task = LanguageTask(net, bundle.text, clips, clips, settings, fps=20, frames_per_token=4, seed=0)
    fit(task, Schedule(250, 1e-2, warmup=10, log_every=250), tmp_path, **QUIET)
    pipe = MotionGPTPipeline(bundle)
    assert pipe(["a person walks"])[0].about["tokens"] == [1, 2, 3, 4, 5]
    assert pipe(["a person runs"])[0].about["tokens"] == [9, 8, 7]


def test_samples_of_every_task_are_well_formed():
    bundle = tiny.bundle()
    clips = [TokenClip((tuple(range(12)),), ("a person walks forward",), "walk")] * 2
    for stage in ("pretrain", "instruct"):
        task = LanguageTask(
            bundle.language_model,
            bundle.text,
            clips,
            clips,
            LanguageSettings(stage=stage),
            fps=20,
            frames_per_token=4,
            seed=0,
        )
        rng = np.random.default_rng(0)
        for name in ("t2m", "pred", "inbetween", "random", "m2t"):
            for _ in range(10):
                prompt, answer = task.sample(rng, name, clips, task.weights)
                assert prompt[-1] == answer[-1] == 1 and 0 not in prompt + answer
                if name == "m2t":
                    assert answer[:-1] == task.ids("a person walks forward")
                else:
                    assert answer[0] == task.start and answer[-2] == task.end
                if name == "pred":
                    assert prompt.count(task.start) == 1 and len(answer) < 15


def test_spellings_start_at_every_frame_of_a_token():
    net = tiny.bundle().motion_tokenizer
    assert [len(s) for s in spellings(net, torch.zeros(41, 263))] == [10, 10, 9, 9]


def test_resumed_is_uninterrupted_bit_for_bit(tmp_path, dataset):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(TOKENIZER.format(data=dataset))
    run_recipe(recipe, tmp_path / "whole")
    fresh = tmp_path / "again"
    _interrupted(recipe, fresh, step=3)
    run_recipe(recipe, fresh, resume=True)
    ours, theirs = (torch.load(out / "last.pt", weights_only=True)["network"] for out in (tmp_path / "whole", fresh))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)
    steps = [json.loads(line)["step"] for line in (fresh / "log.jsonl").read_text().splitlines()]
    assert steps == [2, 4, 6]
    with pytest.raises(ArtifactError, match="already holds a run"):
        run_recipe(recipe, tmp_path / "whole")
    with pytest.raises(ArtifactError, match="recipe and data that it began with"):
        run_recipe(recipe, tmp_path / "whole", ["schedule.steps=8"], resume=True)
    with pytest.raises(ArtifactError, match="no run to resume"):
        run_recipe(recipe, tmp_path / "nothing", resume=True)


def test_float16_scales_the_loss_and_resumes_bit_for_bit(tmp_path, dataset, monkeypatch):
    """The path of GPUs without bfloat16, on the CPU: a scale that is too large costs a step, and is kept in the run."""
    import hftrainer.training.loop as loop

    recipe = tmp_path / "recipe.toml"
    recipe.write_text(TOKENIZER.format(data=dataset) + 'precision = "float16"\n')
    with pytest.raises(ValueError, match="precision float16 must have a GPU; got cpu. Take bfloat16"):
        run_recipe(recipe, tmp_path / "refused")
    monkeypatch.setattr(loop, "_HALF", ("cuda", "cpu"))
    scaler = torch.amp.GradScaler
    monkeypatch.setattr(loop.torch.amp, "GradScaler", lambda *_, enabled: scaler("cpu", 2.0**40, enabled=enabled))
    run_recipe(recipe, tmp_path / "whole")
    _interrupted(recipe, tmp_path / "again", step=3)
    run_recipe(recipe, tmp_path / "again", resume=True)
    ours, theirs = (torch.load(tmp_path / out / "last.pt", weights_only=True) for out in ("whole", "again"))
    assert all(torch.equal(ours["network"][name], theirs["network"][name]) for name in ours["network"])
    assert ours["scaler"] == theirs["scaler"] and ours["scaler"]["scale"] < 2.0**40  # steps were left out
    lines = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert all(np.isfinite(line["loss"]) for line in lines)


def _interrupted(recipe, out, step):
    """A run that dies right after the checkpoint of ``step``."""
    import hftrainer.training.loop as loop

    save = torch.save

    def dies(state, path):
        save(state, path)
        if state["step"] == step:
            path.replace(path.with_name("last.pt"))
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.torch, "save", dies)
        with pytest.raises(KeyboardInterrupt):
            run_recipe(recipe, out)


def test_three_stages_from_recipes_to_a_pipeline(tmp_path, dataset):
    (tmp_path / "1.toml").write_text(TOKENIZER.format(data=dataset))
    tokenizer = run_recipe(tmp_path / "1.toml", tmp_path / "one")
    words = dataset.parent / "words"
    (tmp_path / "2.toml").write_text(LANGUAGE.format(data=dataset, tokenizer=tokenizer, words=words, stage="pretrain"))
    pretrained = run_recipe(tmp_path / "2.toml", tmp_path / "two")
    third = f'start = "{pretrained}"\n' + LANGUAGE.format(
        data=dataset, tokenizer=tokenizer, words=words, stage="instruct"
    )
    (tmp_path / "3.toml").write_text(third)
    instructed = run_recipe(tmp_path / "3.toml", tmp_path / "three")
    pipe = MotionGPTPipeline.from_pretrained(instructed)
    assert len(pipe(["a person walks"], [100])[0]) == 100
    about = pipe.bundle.about
    assert [stage["recipe"]["settings"]["stage"] for stage in about["stages"]] == ["pretrain", "instruct"]
    assert about["tokenizer"]["stages"][0]["recipe"]["dataset"]["hash"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("kind = 'dancer'", "motiongpt-tokenizer or motiongpt-language"),
        ("kind = 'motiongpt-tokenizer'\nspeed = 3", "got speed"),
        ("kind = ", "must be a TOML file"),
    ],
)
def test_recipes_that_are_none_are_refused(tmp_path, text, says):
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(ArtifactError, match=says):
        read_recipe(tmp_path / "r.toml")


def test_unknown_settings_are_refused_by_name(tmp_path, dataset):
    (tmp_path / "r.toml").write_text(TOKENIZER.format(data=dataset))
    with pytest.raises(ArtifactError, match="depht"):
        run_recipe(tmp_path / "r.toml", tmp_path / "out", ["network.depht=2"])
    with pytest.raises(ArtifactError, match="--set must be key=value"):
        read_recipe(tmp_path / "r.toml", ["schedule.steps"])


def test_every_shipped_recipe_can_be_read():
    from tests.conftest import ROOT

    recipes = sorted((ROOT / "recipes").glob("*.toml"))
    assert recipes
    for recipe in recipes:
        read_recipe(recipe)


def test_learning_rate_rises_then_falls():
    schedule = Schedule(1000, 1.0, warmup=100, final=0.1)
    rates = [schedule.rate(step) for step in range(1000)]
    assert rates[0] == 0.01 and max(rates) == 1.0 and rates.index(1.0) <= 100 and abs(rates[-1] - 0.1) < 1e-3


def test_lively_clips_come_more_often_and_hands_count_more():
    quiet, lively = features(65) * 1.0, features(65, 1)
    quiet[:, 4:67] = quiet[:1, 4:67]  # nothing moves
    statistics = Statistics(lively.mean(0), np.maximum(lively.std(0), 0.02), "hml263")
    net = MotionTokenizer(TokenizerConfig(codes=8, code_width=8, width=16, depth=1))
    settings = TokenizerSettings(frames=128, lively=1.0, hands=4.0, speed=1.0)
    task = TokenizerTask(net, statistics, [quiet, lively], [lively], settings, seed=0)
    assert task.share[1] > 2 * task.share[0]
    weight = task.hands.ravel()
    assert weight[19] == weight[20] > weight[17] == weight[18] > weight[0] and abs(float(weight.mean()) - 1) < 1e-6
    _, parts = task.loss(task.batch(0))
    assert parts["speed"].item() > 0


def test_composed_clips_have_their_share():
    clips = [TokenClip(((1, 2),), ("a",), str(i)) for i in range(9)] + [TokenClip(((1, 2),), ("b",), "x", True)]
    task = LanguageTask(
        tiny.bundle().language_model, tiny.bundle().text, clips, clips, LanguageSettings(composed=0.4), fps=20,
        frames_per_token=4, seed=0,
    )  # fmt: skip
    assert abs(task.weights[-1] - 0.4) < 1e-9 and abs(task.weights.sum() - 1) < 1e-9


def test_first_captions_come_more_often_and_composed_clips_are_not_captioned():
    said = tuple(f"w{i}" for i in range(10))
    clips = [TokenClip(((1, 2),), ("walks",), "a"), TokenClip(((1, 2),), ("jumps",), "x", True)]
    bundle = tiny.bundle()

    def task(**settings: float) -> LanguageTask:
        return LanguageTask(
            bundle.language_model, bundle.text, clips, clips,
            LanguageSettings(rows=64, composed=0.5, tasks={"m2t": 1.0}, **settings), fps=20, frames_per_token=4, seed=0,
        )  # fmt: skip

    rng = np.random.default_rng(0)
    drawn = [task(first_captions=0.8)._caption(rng, TokenClip(((1, 2),), said, "a")) for _ in range(400)]
    assert 0.8 < np.mean([word in said[:5] for word in drawn]) < 0.98  # 0.8, and half of the other 0.2
    made = bundle.text.encode("jumps", add_special_tokens=False).ids
    answers = {
        share: [row[: len(made)].tolist() for step in range(4) for row in task(first_captions=share).batch(step)[1]]
        for share in (0.0, 0.5)
    }
    assert made in answers[0.0] and made not in answers[0.5]


def test_noise_falls_on_words_in_training_alone():
    vocabulary = tiny.bundle().language_model.vocabulary
    vocabulary.noise = 0.5
    tokens = torch.tensor([[3, 4, vocabulary.first_motion]])
    still = vocabulary.eval()(tokens)
    assert torch.equal(still, vocabulary(tokens))
    noisy = vocabulary.train()(tokens)
    assert not torch.equal(noisy[:, :2], still[:, :2]) and torch.equal(noisy[:, 2], still[:, 2])


def test_codes_made_anew_share_the_rows_and_are_kept():
    rows = torch.randn(64, 8, generator=torch.Generator().manual_seed(0)) * 20
    rows = rows.repeat(50, 1) + 0.01 * torch.randn(3200, 8, generator=torch.Generator().manual_seed(1))
    quantizer = EMAQuantizer(48, 8).train()
    quantizer.least = 0.03
    quantizer.recluster(rows, 32, torch.Generator().manual_seed(2))
    hits = torch.bincount(quantizer.assign(rows), minlength=48)
    assert (hits > 0).all() and abs(float(quantizer.code_count.sum()) - 32) < 1e-3
    before = quantizer.codebook.clone()
    quantizer(rows[:32])
    assert torch.cdist(quantizer.codebook, before).diagonal().median() < 1e-2  # hardly used is no reason for a reset
    quantizer.least = 1.0
    quantizer(rows[:32])
    assert (torch.cdist(quantizer.codebook, before).diagonal() > 1).sum() > 10  # the reference's rule would
    with pytest.raises(ValueError, match="rows must be at least as many as the codes, 48; got 10"):
        quantizer.recluster(rows[:10], 32, torch.Generator())


def test_a_stage_may_begin_with_codes_made_anew(tmp_path, dataset):
    (tmp_path / "t.toml").write_text(TOKENIZER.format(data=dataset))
    first = run_recipe(tmp_path / "t.toml", tmp_path / "first")
    changes = [f"start={str(first)!r}", "settings.recluster=true", "settings.reset_below=0.01", "schedule.steps=1"]
    second = run_recipe(tmp_path / "t.toml", tmp_path / "second", changes)
    one, two = (load_tokenizer(folder)[0].quantizer.codebook for folder in (first, second))
    assert not torch.allclose(one, two)
    with pytest.raises(ArtifactError, match="recluster must be off with decoder_only"):
        run_recipe(tmp_path / "t.toml", tmp_path / "third", [*changes, "settings.decoder_only=true"])
