"""What training is fed with: the paper's tasks, published tokenizers, exported tokens, KIT, clips that are broken."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from hftrainer.cli import main
from hftrainer.data.humanml3d import HumanML3D
from hftrainer.errors import ArtifactError
from hftrainer.models.motion.motiongpt.bundle import MotionGPTBundle
from hftrainer.models.motion.motiongpt.network import LanguageModel, LanguageModelConfig, MotionTokenizer
from hftrainer.models.motion.motiongpt.official import language_model_keys
from hftrainer.models.motion.motiongpt.prompts import INSTRUCTIONS, Rules
from hftrainer.models.text import END, Pieces
from hftrainer.training.language import LanguageSettings
from hftrainer.training.mixture import CORRUPT, Mixture, instructions_of
from hftrainer.training.motiongpt import language_config, tokenizer_config
from hftrainer.training.recipe import read_recipe, run_recipe
from hftrainer.training.starts import load_tokenizer, read_tokens, start_from_t5, token_clips
from hftrainer.training.sweep import read_sweep
from tests import tiny, training_data
from tests.conftest import ROOT
from tests.motiongpt_release import pieces

TEXT = Pieces(pieces()).with_motion(16)
RULES = Rules(codes=16)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A dataset, a motion tokenizer trained on it, word vectors and a published tokenizer."""
    root = tmp_path_factory.mktemp("made")
    training_data.write(root / "data")
    training_data.words(root / "words")
    (root / "t5").mkdir()
    pieces().save(str(root / "t5" / "tokenizer.json"))
    (root / "t.toml").write_text(training_data.TOKENIZER.format(data=root / "data"))
    run_recipe(root / "t.toml", root / "tokenizer")
    lines = training_data.LANGUAGE.format(data=root / "data", tokenizer=root / "tokenizer" / "artifact", words="W")
    (root / "l.toml").write_text(lines.replace('words = "W"', f'text = "{root / "t5"}"'))
    return root


@pytest.fixture
def broken(made, tmp_path):
    folder = shutil.copytree(made / "data", tmp_path / "broken")
    for name in ("run", "left"):
        x = np.load(folder / "new_joint_vecs" / f"{name}.npy")
        x[5, 7] = np.nan
        np.save(folder / "new_joint_vecs" / f"{name}.npy", x)
    return folder


def mixture(stage="instruct", templates="paper", tasks=None, rules=RULES, **settings):
    return Mixture(TEXT, instructions_of(stage, templates), rules, tasks or {}, **settings)


def test_every_subtask_of_the_paper_can_be_drawn():
    tasks = mixture()
    assert len(tasks.shares) == len(INSTRUCTIONS) == 18 and abs(sum(tasks.shares.values()) - 1) < 1e-9
    start, rng = TEXT.token_to_id("<motion_id_16>"), np.random.default_rng(0)
    for name in tasks.shares:
        prompt, answer = tasks.sample(rng, name, tuple(range(12)), "a person walks forward")
        assert prompt[-1] == answer[-1] == END and 0 not in prompt + answer and answer.count(END) == 1
        assert (start in answer) == (name.split("/")[0] in ("Text-to-Motion", "Motion-to-Motion")), name


def test_the_second_stage_has_one_template_a_task():
    tasks, rng = mixture("pretrain"), np.random.default_rng(0)
    prompt, answer = tasks.sample(rng, "Text-to-Motion/t2m", (3, 4), "a person walks")
    assert prompt == TEXT.encode("a person walks").ids
    assert TEXT.decode(answer) == "<motion_id_16><motion_id_3><motion_id_4><motion_id_17>"
    assert tasks.sample(rng, "Motion-to-Text/m2t", (3, 4), "a person walks")[1] == prompt
    first, rest = tasks.sample(rng, "Motion Prediction/pred", tuple(range(10)), "")
    motion = [i - TEXT.token_to_id("<motion_id_0>") for i in (*first, *rest)]
    assert [i for i in motion if 0 <= i < 16] == list(range(10))


def test_a_mixture_is_named_by_tasks_and_families():
    assert mixture("pretrain", tasks={"Text-to-Motion": 3, "Motion-to-Text/m2t": 1}).shares == {
        "Text-to-Motion/t2m": 0.75,
        "Motion-to-Text/m2t": 0.25,
    }
    with pytest.raises(ValueError, match="tasks must be among .*corrupt/motion; got Text-to-Song"):
        mixture("pretrain", tasks={"Text-to-Song": 1})
    with pytest.raises(ValueError, match="the tokenizer must have <extra_id_0>"):
        Mixture(tiny.bundle().text, instructions_of("pretrain", "paper"), RULES, {"corrupt/text": 1})
    with pytest.raises(ValueError, match="one above 0"):
        mixture("pretrain", tasks={"Text-to-Motion": 0})


@pytest.mark.parametrize("task", CORRUPT)
def test_hidden_spans_are_what_the_answer_restores(task):
    tasks, rng = mixture("pretrain", tasks={task: 1}), np.random.default_rng(1)
    sentinels = {TEXT.token_to_id(f"<extra_id_{i}>") for i in range(100)}
    whole = TEXT.encode("a person walks then sits down").ids[:-1] if task == CORRUPT[0] else None
    codes = tuple(range(16))
    asked, answer = tasks.sample(rng, task, codes, "a person walks then sits down")
    if whole is None:
        whole = [TEXT.token_to_id(f"<motion_id_{i}>") for i in (16, *codes, 17)]
    assert asked[-1] == answer[-1] == END and sentinels & set(asked) and sentinels & set(answer)
    shown, hidden = ([i for i in row[:-1] if i not in sentinels] for row in (asked, answer))
    assert sorted(shown + hidden) == sorted(whole) and hidden


def test_an_instruction_file_of_the_authors_and_their_conventions(tmp_path):
    path = tmp_path / "templates.json"
    said_length = "<Frame_Placeholder> <Second_Placeholder>"
    lengths = {"class": "m2l", "input": ["<Motion_Placeholder>"], "output": [said_length]}
    captions = {"class": "m2t", "input": ["text"], "output": ["<Caption_Placeholder>"]}
    path.write_text(json.dumps({"M": {"length": lengths, "caption": captions}}))
    codes, rng = tuple(range(16)) * 2, np.random.default_rng(0)
    said = {}
    for unit in ("frames", "tokens"):
        rules = replace(RULES, length_unit=unit)
        said[unit] = mixture(templates=str(path), rules=rules).sample(rng, "M/length", codes, "a person")[1]
    assert said["frames"] == TEXT.encode("128 6.0").ids and said["tokens"] == TEXT.encode("32 1.0").ids
    quoted = mixture(templates=str(path), quotes=True)
    answers = {tuple(quoted.sample(rng, "M/caption", codes, "a person")[1]) for _ in range(30)}
    assert answers == {tuple(TEXT.encode(text).ids) for text in ("a person", '"a person"')}
    assert len(mixture(templates=str(path), max_length=9).sample(rng, "M/length", codes, "")[0]) == 9


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"length_unit": "seconds"}, "length_unit must be frames or tokens"),
        ({"quotes": "always"}, "quotes must be none or random"),
        ({"quotes": "random"}, 'quotes need templates = "paper"'),
        ({"tasks": {"sing": 1.0}}, "tasks must be among"),
    ],
)
def test_settings_that_fit_nothing_are_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        LanguageSettings(**settings)


def test_broken_clips_are_named_then_refused_or_skipped(broken, made, tmp_path, capsys):
    data = HumanML3D(broken)
    with pytest.raises(ArtifactError, match=r"got 2 that are not: run, left\. run: every value must be finite"):
        data.sound(["walk", "run", "left"])
    clips, reasons = data.sound(["walk", "run", "left"], "skip")
    assert [clip.id for clip in clips] == ["walk"] and list(reasons) == ["run", "left"]
    changes = [f"data={broken}", "schedule.steps=1", "schedule.validate_every=0", "validate_split=test"]
    with pytest.raises(ArtifactError, match="got 1 that are not: run"):
        run_recipe(made / "t.toml", tmp_path / "refused", changes)
    (broken / "test.txt").write_text("jump\n")
    artifact = run_recipe(made / "t.toml", tmp_path / "skipped", [*changes, "bad_clips=skip"])
    assert load_tokenizer(artifact)[2]["stages"][0]["skipped"] == ["run"]
    assert "skipped run: every value must be finite" in capsys.readouterr().err


def test_kit_trains_and_down_sampling_is_swept(made, tmp_path, capsys):
    """251 numbers at 12.5 frames a second; 1 and 8 frames a token, from one command."""
    data = training_data.write(tmp_path / "kit", width=251, frames=72)
    words = ["train", made / "t.toml", "-o", tmp_path / "out", "--sweep", "network.down=0,3", "--quiet"]
    words += ["--set", f"data={data}", "--set", "schedule.steps=2", "--set", "schedule.validate_every=2"]
    assert main(list(map(str, words))) == 0
    swept = json.loads((tmp_path / "out" / "sweep.json").read_text())
    rows = swept["runs"]
    assert [row["network.down"] for row in rows] == [0, 3] and all(row["mpjpe_held_out"] > 0 for row in rows)
    assert swept["sweep"] == "network.down" and swept["recipe"]["schedule"]["steps"] == 2
    for row in rows:  # held-out clips are a clip of 72 frames: what the loop and the evaluation measure is one thing
        assert row["MPJPE"] == pytest.approx(row["mpjpe_held_out"], rel=1e-4) and row["PA-MPJPE"] < row["MPJPE"]
        assert row["ACCEL"] > 0 and "FID" not in row, "the built-in evaluator reads no KIT motions"
    said = capsys.readouterr()
    assert (tmp_path / "out" / "table.md").read_text().splitlines() == said.out.splitlines() and said.err == ""
    network, statistics, _ = load_tokenizer(tmp_path / "out" / "down-3" / "artifact")
    assert network.config.features == 251 and network.config.frames_per_token == 8 and statistics.spec.name == "kit251"
    assert main([*map(str, words), "--resume"]) == 0  # nothing is left to do
    with pytest.raises(ValueError, match=r"whole tokens of 8 frames; got \[20\]"):
        run_recipe(made / "t.toml", tmp_path / "wrong", ["network.down=3", "settings.windows=[20]"])


def test_sweeps_that_are_none_are_refused(made, tmp_path, capsys):
    assert read_sweep("schedule.precision=float32,bfloat16") == ("schedule.precision", ["float32", "bfloat16"])
    words = ["train", str(made / "t.toml"), "-o", str(tmp_path / "x"), "--sweep"]
    for sweep in ("network.down", "network.down=", "network.down=1,1"):
        assert main([*words, sweep]) == 2 and "--sweep must" in capsys.readouterr().err


def test_tokens_on_disk_are_those_of_the_tokenizer(made, tmp_path, capsys):
    network, statistics, _ = load_tokenizer(made / "tokenizer" / "artifact")
    words = ["tokenize", made / "tokenizer" / "artifact", "--data", made / "data", "-o", tmp_path / "tokens", "--quiet"]
    assert main(list(map(str, words))) == 0
    data = HumanML3D(made / "data")
    rows = np.load(tmp_path / "tokens" / "walk.npy")
    want = network.encode(statistics.normalize(data.clip("walk").motion)[None, :96])
    assert rows.dtype == np.int64 and rows.shape == (1, 24) and rows.tolist() == want.tolist()
    assert sorted(path.name for path in (tmp_path / "tokens").iterdir()) == ["jump.npy", "run.npy", "walk.npy"]
    np.save(tmp_path / "tokens" / "walk.npy", rows[:, :7])
    (tmp_path / "tokens" / "run.npy").unlink()
    capsys.readouterr()
    assert main([*map(str, words), "--skip-existing", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["written"], report["existing"]) == (1, 2)
    clips = token_clips([data.clip("walk")], network, statistics, tokens=tmp_path / "tokens")
    assert clips[0].codes == (tuple(rows[0, :7].tolist()),)
    assert main([*map(str, words), "--offset", "random", "--seed", "3", "--frames", "98", "199"]) == 0
    assert "3 left out" in capsys.readouterr().out
    np.save(tmp_path / "bad.npy", np.array([[1, 16]]))
    with pytest.raises(ArtifactError, match="codes of 0 to 15"):
        read_tokens(tmp_path / "bad.npy", 16)
    assert main([*map(str, words[:1]), "nothing", *map(str, words[2:])]) == 2


def test_captions_of_stretches_become_clips_of_their_own(made):
    data = HumanML3D(made / "data")
    network, statistics, _ = load_tokenizer(made / "tokenizer" / "artifact")
    clip = data.clip("walk")
    timed = replace(clip.captions[0], text="a person turns", start=1.0, end=3.0)
    whole, part = token_clips([replace(clip, captions=(*clip.captions, timed))], network, statistics)
    assert whole.captions == ("a person walks forward",) and len(whole.codes[0]) == 24
    assert part.captions == ("a person turns",) and len(part.codes[0]) == 10


def test_a_published_tokenizer_from_pretraining_to_instructions(made, tmp_path):
    """No word vectors: every token has a row; the second run starts from the first one's artifact."""
    tasks = 'settings.tasks={"Text-to-Motion"=2, "Motion-to-Text"=1, "corrupt/text"=1, "corrupt/motion"=1}'
    first = run_recipe(made / "l.toml", tmp_path / "one", ["settings.templates=paper", tasks])
    bundle = MotionGPTBundle.from_pretrained(first)
    assert bundle.language_model.config.word_width is None and bundle.prompts == "official"
    assert bundle.text.token_to_id("<extra_id_0>") is not None
    changes = ["settings.templates=paper", "settings.stage=instruct", f"start={first}", f"text={first}"]
    changes += [f"tokenizer={first}", 'freeze=["encoder", "vocabulary"]', 'settings.tasks={"Motion-to-Text/caption"=1}']
    second = MotionGPTBundle.from_pretrained(run_recipe(made / "l.toml", tmp_path / "two", changes))
    before, after = bundle.language_model.state_dict(), second.language_model.state_dict()
    changed = {key.split(".")[0] for key in after if not torch.equal(after[key], before[key])}
    assert changed == {"decoder", "head"}
    assert [stage["recipe"]["settings"].get("stage") for stage in second.about["stages"]] == [None, "instruct"]
    with pytest.raises(ArtifactError, match="freeze must name parts"):
        run_recipe(made / "l.toml", tmp_path / "three", [*changes, 'freeze=["endocer"]'])
    with pytest.raises(ArtifactError, match="got words and text"):
        run_recipe(made / "l.toml", tmp_path / "four", [f"words={made / 'words'}"])


def test_a_language_model_begins_as_a_t5(tmp_path):
    """Text rows come from T5, whose table has rows to spare; motion rows stay as they were drawn."""
    config = LanguageModelConfig(50 + 7, 7, 16, 2, 8, 32, 1, 1)
    torch.manual_seed(0)
    network, donor = LanguageModel(config), LanguageModel(config)
    theirs = {name: donor.state_dict()[ours].clone() for ours, name in language_model_keys(config).items()}
    fresh = network.head.weight[50:].detach().clone()
    save_file(theirs, tmp_path / "model.safetensors")
    start_from_t5(network, tmp_path)
    assert torch.equal(network.head.weight[:50], donor.head.weight[:50])
    assert torch.equal(network.head.weight[50:], fresh)
    assert torch.equal(network.decoder.layers[0].cross.key.weight, donor.decoder.layers[0].cross.key.weight)
    del theirs["lm_head.weight"]
    save_file(theirs, tmp_path / "model.safetensors")
    with pytest.raises(ArtifactError, match="missing lm_head.weight"):
        start_from_t5(network, tmp_path)
    with pytest.raises(ArtifactError, match="model.safetensors or pytorch_model.bin"):
        start_from_t5(network, tmp_path / "nowhere")


def test_lora_learns_beside_the_weights_and_is_merged(made, tmp_path):
    pytest.importorskip("peft")
    from hftrainer.training.lora import Lora, add_lora, merge_lora

    first = run_recipe(made / "l.toml", tmp_path / "one", ["settings.templates=paper"])
    changes = ["settings.templates=paper", f"start={first}", "lora={rank=2, alpha=64, dropout=0.0}"]
    changes += ["schedule.learning_rate=0.1", "schedule.warmup=0"]
    artifact = run_recipe(made / "l.toml", tmp_path / "two", changes)
    before, after = (MotionGPTBundle.from_pretrained(folder).language_model for folder in (first, artifact))
    state = after.state_dict()
    changed = {key for key, value in before.state_dict().items() if not torch.equal(value, state[key])}
    assert changed and {key.split(".")[-2] for key in changed} <= {"query", "value"}
    adapted = MotionGPTBundle.from_pretrained(first).language_model
    add_lora(adapted, Lora(2, 64, 0.0))
    assert all((".lora_" in name) == p.requires_grad for name, p in adapted.named_parameters())
    adapted.load_state_dict(torch.load(tmp_path / "two" / "last.pt", weights_only=True)["network"])
    adapted.eval()
    prompt, answer = torch.randint(2, 40, (2, 6)), torch.randint(2, 40, (2, 4))
    with torch.no_grad():
        want, got, plain = adapted(prompt, answer), after(prompt, answer), before(prompt, answer)
        assert torch.allclose(want, got, atol=1e-4) and not torch.allclose(plain, got, atol=1e-2)
        merge_lora(adapted)
        assert torch.allclose(adapted(prompt, answer), got, atol=1e-6) and adapted.state_dict().keys() == state.keys()
    with pytest.raises(ValueError, match="lora.parts must be among"):
        add_lora(adapted, Lora(parts=("querry",)))


def test_every_shipped_recipe_builds_its_network():
    """On the meta device: sizes without numbers. The base recipes are those of the paper."""
    recipes = sorted((ROOT / "recipes").glob("motiongpt-*.toml"))
    sizes = {}
    for path in recipes:
        recipe = read_recipe(path)
        with torch.device("meta"):
            if recipe["kind"] == "motiongpt-gpt2":
                continue  # tests/test_training_gpt2.py has these
            if recipe["kind"] == "motiongpt-tokenizer":
                network = MotionTokenizer(tokenizer_config(recipe))
                buffers = network.quantizer.codebook.numel()
            else:
                network, buffers = LanguageModel(language_config(recipe, 512)), 0
        sizes[path.stem] = sum(p.numel() for p in network.parameters()) + buffers
    base = {name: size for name, size in sizes.items() if name.startswith("motiongpt-base")}
    assert len(base) == 7
    for name, size in base.items():
        assert size == (19698951 if name.endswith("tokenizer") else 248325888), name
