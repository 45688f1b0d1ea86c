"""GPT-2 in the place of T5: rows, a run from a recipe, an artifact that answers, a start from published weights."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from hftrainer.cli import main
from hftrainer.errors import ArtifactError
from hftrainer.models.motion.motiongpt.bundle import MotionGPTBundle
from hftrainer.models.motion.motiongpt.gpt2 import GPT2, GPT2Config
from hftrainer.models.motion.motiongpt.official import gpt2_keys
from hftrainer.models.motion.motiongpt.prompts import Rules
from hftrainer.models.text import ANSWER, GPT2_END, GPT2Pieces
from hftrainer.pipelines.decoding import Draws, Request, speak
from hftrainer.pipelines.motiongpt import MotionGPTPipeline
from hftrainer.training.decoder_only import GPT2Settings, GPT2Task, gpt2_config, start_from_gpt2
from hftrainer.training.language import TokenClip
from hftrainer.training.recipe import read_recipe, run_recipe
from tests import training_data
from tests.conftest import ROOT

CODES = 16
RECIPE = """
kind = "motiongpt-gpt2"
data = "{data}"
tokenizer = "{tokenizer}"
text = "{text}"
[network]
width = 16
heads = 2
layers = 1
positions = 512
[settings]
rows = 4
[schedule]
steps = 4
learning_rate = 1e-3
log_every = 2
validate_every = 4
device = "cpu"
"""


def byte_pieces() -> Tokenizer:
    """A tokenizer with GPT-2's pipeline: single bytes, and the one special token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([GPT2_END])
    return tokenizer


TEXT = GPT2Pieces(byte_pieces())
WORDS = TEXT.with_motion(CODES)
CLIP = TokenClip(((1, 2, 3, 4, 5, 6, 7, 8),), ("a person walks",), "walk")


def task(**settings) -> GPT2Task:
    net = GPT2(gpt2_config({"width": 16, "heads": 2, "layers": 1, "positions": 512}, CODES, TEXT))
    return GPT2Task(net, WORDS, [CLIP], [CLIP], GPT2Settings(**settings), Rules(codes=CODES), seed=0)


def said(tokens) -> str:
    return WORDS.decode(list(tokens), skip_special_tokens=False)


def test_rows_are_prompts_with_their_answers_captions_and_motions():
    rng = np.random.default_rng(0)
    motion = "".join(f"<motion_id_{code}>" for code in (16, 1, 2, 3, 4, 5, 6, 7, 8, 17))
    for condition, known in (
        ("text", ["a person walks"]),
        ("motion", [motion]),
        ("supervised", [f"a person walks{ANSWER}{motion}", f"{motion}{ANSWER}a person walks"]),
    ):
        one = task(conditions={condition: 1.0}, tasks={"Text-to-Motion": 1.0, "Motion-to-Text": 1.0})
        rows = {said(one.row(rng, one.clips, np.ones(1))) for _ in range(12)}
        assert rows == {text + GPT2_END for text in known}, condition
    official = task(conditions={"motion": 1.0}, padding_counts=True, trim=1.0)
    row = official.row(rng, official.clips, np.ones(1))
    assert row[-1] == WORDS.token_to_id("<motion_id_17>") and len(row) == 9  # no end behind it, and a code less
    tokens, mask = official.batch(0)
    assert tokens.shape == (16, 256) and official.weight_of((tokens, mask)) == 16 * 255
    ours = task()
    tokens, mask = ours.batch(3)
    assert tokens.shape[1] == mask.sum(1).max() and ours.weight_of((tokens, mask)) == mask[:, 1:].sum()
    assert all(torch.equal(a, b) for a, b in zip(ours.batch(3), (tokens, mask), strict=True))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"stage": "sing"}, "stage must be pretrain or instruct"),
        ({"conditions": {"dance": 1.0}}, "shares of supervised, text, motion"),
        ({"conditions": {"text": 0.0}}, "one of them above 0"),
        ({"conditions": {}}, "one of them above 0"),
    ],
)
def test_settings_that_fit_nothing_are_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        GPT2Settings(**settings)


def test_answers_are_those_of_the_network_itself():
    """What the pipelines' loop says, token by token and in a batch, is what ``GPT2.answer`` says."""
    torch.manual_seed(0)
    net = GPT2(GPT2Config(60, 19, positions=64, width=16, heads=2, layers=2, end=40)).eval()
    prompts = [(5, 6, 7, 8, 9), (3, 4), (11,), (0, 0, 7)]
    choices = torch.arange(60)
    spoken = speak(net, [Request(p, most=9) for p in prompts], choices, 40, Draws(greedy=True))
    assert [list(one.tokens) for one in spoken] == net.answer(prompts, 9)
    begun = speak(net, [Request(p, (21, 22), most=5) for p in prompts], choices, 40, Draws(greedy=True))
    assert [list(one.tokens) for one in begun] == net.answer([(*p, 21, 22) for p in prompts], 5)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("gpt2")
    training_data.write(root / "data")
    (root / "t.toml").write_text(training_data.TOKENIZER.format(data=root / "data"))
    run_recipe(root / "t.toml", root / "tokenizer", ["schedule.steps=2"])
    (root / "text").mkdir()
    byte_pieces().save(str(root / "text" / "tokenizer.json"))
    recipe = RECIPE.format(data=root / "data", tokenizer=root / "tokenizer" / "artifact", text=root / "text")
    (root / "g.toml").write_text(recipe)
    return root


def test_a_recipe_from_its_first_step_to_answers(made, tmp_path, monkeypatch, capsys):
    assert main(["train", str(made / "g.toml"), "-o", str(tmp_path / "one"), "--quiet"]) == 0
    artifact = tmp_path / "one" / "artifact"
    log = [json.loads(line) for line in (tmp_path / "one" / "log.jsonl").read_text().splitlines()]
    assert log[-1]["step"] == 4 and log[-1]["loss_held_out"] > 0
    changes = ["settings.stage=instruct", f"start={artifact}", f"tokenizer={artifact}", f"text={artifact}"]
    second = run_recipe(made / "g.toml", tmp_path / "two", changes)
    pipe = MotionGPTPipeline.from_pretrained(second)
    assert isinstance(pipe.bundle.language_model, GPT2) and len(pipe.bundle.about["stages"]) == 2
    asked = []
    ids = pipe.speech.ids
    monkeypatch.setattr(pipe.speech, "ids", lambda text: asked.append(ids(text)) or asked[-1])
    pipe.attempts(["a person walks"], [96])  # what an untrained model says need be no motion
    assert said(asked[0]) == f"Generate motion with 96 frames: a person walks{ANSWER}"
    clip = pipe.bundle.detokenize([1, 2, 3, 4, 5])
    assert np.array_equal(pipe.predict(clip, keep=0.4).data[:8], clip.data[:8])
    again = MotionGPTBundle.from_pretrained(second).language_model.state_dict()
    assert all(torch.equal(again[name], value) for name, value in pipe.bundle.language_model.state_dict().items())
    assert main(["info", str(second)]) == 0 and "language_model" in capsys.readouterr().out
    with pytest.raises(ArtifactError, match="must have the network of this recipe"):
        run_recipe(made / "g.toml", tmp_path / "three", [*changes, "network.width=32"])
    with pytest.raises(ArtifactError, match=r"must have the token <\|endoftext\|>"):
        (made / "text" / "wrong").mkdir()
        Tokenizer(models.BPE()).save(str(made / "text" / "wrong" / "tokenizer.json"))
        run_recipe(made / "g.toml", tmp_path / "four", [f"text={made / 'text' / 'wrong'}"])


@pytest.mark.parametrize("prefix", ["", "transformer."])
def test_a_network_begins_as_a_published_one(tmp_path, prefix):
    config = gpt2_config({"width": 16, "heads": 2, "layers": 1, "positions": 32}, CODES, TEXT)
    torch.manual_seed(0)
    network, donor = GPT2(config), GPT2(config)
    fresh, text = network.vocabulary.weight.detach().clone(), config.first_motion
    theirs = {}
    for ours, name in gpt2_keys(config).items():
        value = donor.state_dict()[ours].clone()
        matrix = ours.endswith(("query_key_value.weight", "out.weight", "enter.weight", "leave.weight"))
        theirs[name.replace("transformer.", prefix)] = value.T.contiguous() if matrix else value
    table = f"{prefix}wte.weight"
    theirs[table] = theirs[table][:text].clone()
    save_file(theirs, tmp_path / "model.safetensors")
    start_from_gpt2(network, tmp_path)
    assert torch.equal(network.vocabulary.weight[:text], donor.vocabulary.weight[:text])
    assert torch.equal(network.vocabulary.weight[text:], fresh[text:])
    assert torch.equal(network.layers[0].enter.weight, donor.layers[0].enter.weight)
    wider = gpt2_config({"width": 32, "heads": 2, "layers": 1, "positions": 32}, CODES, TEXT)
    with pytest.raises(ArtifactError, match="the network needs"):
        start_from_gpt2(GPT2(wider), tmp_path)
    with pytest.raises(ArtifactError, match="it holds neither"):
        start_from_gpt2(network, tmp_path / "nothing")


@pytest.mark.parametrize("stage", ["pretrain", "instruct"])
def test_the_recipes_at_paper_size(stage):
    recipe = read_recipe(ROOT / "recipes" / f"motiongpt-gpt2-{stage}.toml")
    config = gpt2_config(recipe["network"], 512, TEXT)
    assert (config.width, config.heads, config.layers, config.positions) == (1024, 16, 24, 1024)
    assert GPT2Settings(**recipe["settings"]).stage == stage and recipe["schedule"]["steps"] == 300_000
