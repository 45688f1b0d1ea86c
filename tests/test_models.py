"""Networks and artifacts: laws of the quantiser and of the language model, save and load, every refusal."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from hftrainer.errors import ArtifactError
from hftrainer.models.artifact import load_weights, resolve, unfilled, written_folder
from hftrainer.models.motion.motiongpt import official
from hftrainer.models.motion.motiongpt.bundle import FILES, MotionGPTBundle, Statistics
from hftrainer.models.motion.motiongpt.gpt2 import GPT2, GPT2Config
from hftrainer.models.motion.motiongpt.network import (
    T5_SHAPES,
    LanguageModel,
    LanguageModelConfig,
    MotionTokenizer,
    TokenizerConfig,
)
from hftrainer.models.quantize import QUANTIZERS, EMAQuantizer, LearnedQuantizer, ResetQuantizer, tile
from hftrainer.models.text import Words, foreign_letters, unknown_words
from tests import tiny


def test_every_code_quantises_to_itself():
    quantizer = EMAQuantizer(32, 6).eval()
    quantizer.codebook.copy_(torch.randn(32, 6))
    assert torch.equal(quantizer.assign(quantizer.codebook), torch.arange(32))


def test_codes_that_nobody_uses_are_reset_to_the_data():
    torch.manual_seed(0)
    quantizer = EMAQuantizer(4, 2, decay=0.5).train()
    quantizer(torch.randn(8, 2))
    for _ in range(20):
        quantizer(torch.full((8, 2), 7.0) + torch.randn(8, 2) * 0.01)
    assert (quantizer.codebook - 7).abs().max() < 0.1


def test_tile_keeps_enough_rows_and_repeats_too_few():
    rows = torch.randn(5, 3)
    assert tile(rows, 5) is rows
    assert tile(rows, 12).shape == (15, 3)
    assert (tile(rows, 12)[:5] - rows).abs().max() < 0.1


def test_quantiser_passes_the_gradient_straight_through():
    quantizer = EMAQuantizer(8, 4).eval()
    quantizer.codebook.normal_()
    rows = torch.randn(6, 4, requires_grad=True)
    quantized, _, _ = quantizer(rows)
    quantized.sum().backward()
    assert torch.equal(rows.grad, torch.ones_like(rows))


@pytest.mark.parametrize("kind", QUANTIZERS)
def test_every_kind_of_quantiser_takes_the_nearest_code_and_passes_the_gradient(kind):
    torch.manual_seed(2)
    quantizer = QUANTIZERS[kind](8, 4)
    quantizer(torch.randn(40, 4))
    quantizer.eval()
    rows = torch.randn(9, 4, requires_grad=True)
    quantized, loss, perplexity = quantizer(rows)
    distance = torch.cdist(rows.detach(), quantizer.codebook.detach())
    assert torch.equal(quantizer.assign(rows.detach()), distance.argmin(1))
    assert torch.allclose(quantized, quantizer.codebook[distance.argmin(1)], atol=1e-6)
    assert torch.allclose(loss, distance.min(1).values.pow(2).mean() / 4 * (2 if kind == "orig" else 1))
    assert 1 <= perplexity <= 8
    quantized.sum().backward()
    assert torch.equal(rows.grad, torch.ones_like(rows))


def test_without_resets_a_code_that_nobody_uses_stays():
    torch.manual_seed(3)
    first = torch.randn(4, 2)
    kept, reset = EMAQuantizer(4, 2, decay=0.5, resets=False).train(), EMAQuantizer(4, 2, decay=0.5).train()
    for quantizer in (kept, reset):
        quantizer(first)
        for _ in range(30):
            quantizer(torch.full((8, 2), 50.0))
    used = kept.assign(torch.full((1, 2), 50.0))
    unused = [i for i in range(4) if i != int(used)]
    assert torch.allclose(kept.codebook[unused], first[unused], atol=1e-4)
    assert (reset.codebook[unused] - 50).abs().max() < 1e-3


def test_unused_codes_of_the_reset_kind_become_rows_and_used_ones_stay():
    quantizer = ResetQuantizer(4, 2).train()
    first = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])
    quantizer(first)
    assert torch.equal(quantizer.codebook, first)
    batch = torch.tensor([[1.0, 0.0], [0.0, 1.0], [9.0, 0.0], [11.0, 1.0], [1.0, 1.0]])
    quantizer(batch)
    assert torch.equal(quantizer.codebook[:2], first[:2]), "used codes are not moved"
    assert torch.equal(quantizer.codebook[2:], batch[2:4]), "code k takes row k of the batch"
    before = quantizer.eval().codebook.clone()
    quantizer(batch + 30)
    assert torch.equal(quantizer.codebook, before), "only training moves codes"


def test_learned_codes_are_moved_by_their_loss_alone():
    torch.manual_seed(4)
    quantizer = LearnedQuantizer(6, 3)
    assert quantizer.codebook.abs().max() <= 1 / 6
    before = quantizer.codebook.detach().clone()
    rows = torch.randn(10, 3)
    quantizer(rows)
    assert torch.equal(quantizer.codebook, before)
    optimizer = torch.optim.SGD(quantizer.parameters(), 1.0)
    losses = []
    for _ in range(20):
        loss = quantizer(rows)[1]
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("kind", QUANTIZERS)
def test_the_kind_of_quantiser_is_saved_and_loaded(kind, tmp_path):
    made = tiny.bundle()
    made.motion_tokenizer = MotionTokenizer(replace(made.motion_tokenizer.config, quantizer=kind)).eval()
    made.save_pretrained(tmp_path / "artifact")
    back = MotionGPTBundle.from_pretrained(tmp_path / "artifact").motion_tokenizer
    assert back.config.quantizer == kind and type(back.quantizer) is type(made.motion_tokenizer.quantizer)
    assert torch.equal(back.quantizer.codebook, made.motion_tokenizer.quantizer.codebook)


@pytest.mark.parametrize("frames", [8, 40, 61, 64])
def test_lengths_of_tokens_and_frames(frames):
    net = MotionTokenizer(TokenizerConfig(codes=8, code_width=8, width=8, depth=1)).eval()
    tokens = net.encode(torch.zeros(1, frames, 263))
    assert tokens.shape == (1, frames // 2 // 2)
    assert net.decode(tokens).shape == (1, 4 * tokens.shape[1], 263)


def language(**changes) -> LanguageModel:
    torch.manual_seed(1)
    settings = dict(vocabulary=40, motion_tokens=10, width=16, heads=2, head_width=8, feedforward=32)
    return LanguageModel(
        LanguageModelConfig(**{**settings, "encoder_layers": 2, "decoder_layers": 2, **changes})
    ).eval()


def test_cached_decoding_equals_teacher_forcing():
    net, prompt = language(), torch.tensor([[5, 6, 7, 1]])
    answer = torch.tensor([[33, 31, 32, 35, 36, 1]])
    whole = net(prompt, answer)
    states, mask = net.encode(prompt)
    memories, past, token = net.memories(states), None, torch.tensor([[0]])
    for i in range(answer.shape[1]):
        hidden, past = net.decode(token, memories, mask, past)
        assert torch.allclose(net.logits(hidden[:, 0]), whole[:, i], atol=1e-5)
        token = answer[:, i : i + 1]


def test_padding_never_changes_a_real_token():
    net, answer = language(), torch.tensor([[33, 31, 1]])
    short = net(torch.tensor([[5, 6, 1]]), answer)
    padded = net(torch.tensor([[5, 6, 1, 0, 0, 0]]), answer)
    assert torch.allclose(short, padded, atol=1e-5)


def test_the_future_is_not_seen():
    net, prompt = language(), torch.tensor([[5, 6, 1]])
    one, other = net(prompt, torch.tensor([[33, 31, 32, 1]])), net(prompt, torch.tensor([[33, 31, 38, 1]]))
    assert torch.allclose(one[:, :3], other[:, :3], atol=1e-6)
    assert not torch.allclose(one[:, 3], other[:, 3], atol=1e-3)


@pytest.mark.parametrize("word_width", [None, 6])
def test_motion_loss_is_the_loss_over_motion_and_end(word_width):
    net = language(word_width=word_width)
    prompt, answer = torch.tensor([[5, 6, 1], [7, 1, 0]]), torch.tensor([[33, 31, 32, 1], [39, 1, 0, 0]])
    scores = net(prompt, answer)
    scores[..., [0, *range(2, 30)]] = -torch.inf
    full = torch.nn.functional.cross_entropy(scores.flatten(0, 1), answer.flatten(), ignore_index=0)
    assert torch.allclose(net.motion_loss(prompt, answer)[0], full, atol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (dict(width=40, norm="group"), "multiple of 32"),
        (dict(codes=0), "codes must be at least 1"),
        (dict(activation="tanh"), "relu, silu, gelu"),
        (dict(norm="None"), "norm must be"),
        (dict(quantizer="gumbel"), "ema_reset, ema, reset, orig"),
    ],
)
def test_impossible_tokenizers_are_refused(wrong, says):
    with pytest.raises(ValueError, match=says):
        TokenizerConfig(**wrong)


def test_key_tables_name_every_parameter_once():
    for norm in (None, "layer", "group", "batch"):
        config = TokenizerConfig(codes=8, code_width=8, width=32, depth=2, down=2, norm=norm)
        keys = official.tokenizer_keys(config)
        ours = set(MotionTokenizer(config).state_dict()) - {
            f"quantizer.{n}" for n in ("code_sum", "code_count", "started")
        }
        assert set(keys) == ours and len(set(keys.values())) == len(keys)
    orig = TokenizerConfig(codes=8, code_width=8, width=32, quantizer="orig")
    assert official.tokenizer_keys(orig)["quantizer.codebook"] == "quantizer.embedding.weight"
    net = language()
    keys = official.language_model_keys(net.config)
    assert set(keys) == set(net.state_dict()) and len(set(keys.values())) == len(keys)
    with pytest.raises(ArtifactError, match="lm_head.weight"):
        official.rename({}, keys)


def decoder_only(**changes) -> GPT2:
    torch.manual_seed(5)
    settings = dict(vocabulary=40, motion_tokens=10, positions=24, width=16, heads=2, layers=2, end=0)
    net = GPT2(GPT2Config(**{**settings, **changes})).eval()
    with torch.no_grad():
        for p in net.parameters():  # large enough that what the model says depends on what it read
            p.add_(torch.randn_like(p) * 0.3)
    return net


def test_gpt2_answers_with_a_cache_as_without_one_alone_and_among_others():
    net, prompts = decoder_only(), [[5, 6, 7, 8, 9], [31], [12, 13, 14]]
    answers = net.answer(prompts, 12)
    assert len({tuple(a) for a in answers}) == 3
    for prompt, answer in zip(prompts, answers, strict=True):
        row = list(prompt)
        for _ in range(12):
            following = int(net(torch.tensor([row]))[0, -1].argmax())
            if following == net.config.end:
                break
            row.append(following)
        assert answer == row[len(prompt) :] == net.answer([prompt], 12)[0]


def test_gpt2_stops_at_its_end_mark():
    net = decoder_only()
    said = net.answer([[5, 6, 7]], 12)[0]
    shorter = decoder_only(end=said[3])
    assert shorter.answer([[5, 6, 7]], 12)[0] == said[: said.index(said[3])]


def test_gpt2_sees_neither_the_future_nor_padding():
    net = decoder_only()
    row = torch.tensor([[5, 6, 7, 8, 0, 0]])
    mask = torch.tensor([[True] * 4 + [False] * 2])
    assert torch.allclose(net(row[:, :4]), net(row, mask)[:, :4], atol=1e-5)
    other = torch.tensor([[5, 6, 9, 8, 0, 0]])
    assert torch.allclose(net(row, mask)[:, :2], net(other, mask)[:, :2], atol=1e-5)
    assert not torch.allclose(net(row, mask)[:, 2:4], net(other, mask)[:, 2:4], atol=1e-2)


def test_gpt2_learns_padding_only_when_it_is_told_to():
    net = decoder_only()
    rows, mask = torch.tensor([[5, 6, 7, 0, 0, 0]]), torch.tensor([[True] * 4 + [False] * 2])  # the first 0 is said
    sound = net.loss(rows, mask)
    assert torch.allclose(sound, net.loss(rows[:, :4], mask[:, :4]), atol=1e-5)
    scores = net(rows, mask)[0, :-1].log_softmax(-1)
    everything = -scores[torch.arange(5), rows[0, 1:]].mean()
    assert torch.allclose(net.loss(rows, mask, padding_counts=True), everything, atol=1e-5)
    assert abs(float((everything - sound).detach())) > 1e-3


def test_gpt2_trains():
    net = decoder_only(dropout=0.1).train()
    rows = torch.tensor([[5, 6, 31, 32, 33, 0], [7, 34, 35, 0, 0, 0]])
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    optimizer = torch.optim.AdamW(net.parameters(), 0.01)
    for _ in range(80):
        optimizer.zero_grad()
        net.loss(rows, mask).backward()
        optimizer.step()
    assert net.eval().answer([[5, 6], [7]], 8) == [[31, 32, 33], [34, 35]]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (dict(width=15), "multiple of heads"),
        (dict(end=30), "below 30"),
        (dict(layers=0), "layers must be at least 1"),
        (dict(dropout=1.0), "dropout"),
    ],
)
def test_impossible_gpt2_are_refused(wrong, says):
    with pytest.raises(ValueError, match=says):
        decoder_only(**wrong)


def test_gpt2_refuses_prompts_that_are_empty_or_too_long():
    net = decoder_only()
    with pytest.raises(ValueError, match="lengths \\[2, 0\\]"):
        net.answer([[5, 6], []], 3)
    with pytest.raises(ValueError, match="Ask for 4 at most"):
        net.answer([[5] * 20], 5)


def test_gpt2_key_table_and_its_transposed_matrices():
    net = decoder_only()
    keys = official.gpt2_keys(net.config)
    assert set(keys) == set(net.state_dict()) and len(set(keys.values())) == len(keys)
    turned = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
    theirs = {keys[k]: v.T if keys[k].endswith(turned) else v for k, v in net.state_dict().items()}
    back = official.gpt2_weights({f"lm.{k}": v for k, v in theirs.items()}, net.config, "lm.")
    assert all(torch.equal(v, back[k]) for k, v in net.state_dict().items())
    assert back["layers.0.enter.weight"].shape == (64, 16)
    theirs["lm_head.weight"] = theirs["transformer.wte.weight"]
    official.gpt2_weights(theirs, net.config)
    with pytest.raises(ArtifactError, match="must be the embedding itself"):
        official.gpt2_weights({**theirs, "lm_head.weight": theirs["lm_head.weight"] + 1}, net.config)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("flan-t5-small", 76_961_152), ("flan-t5-base", 247_577_856), ("flan-t5-large", 783_150_080)],
)
def test_named_t5_shapes_have_the_published_numbers_of_parameters(name, parameters):
    config = replace(LanguageModelConfig.named(name), vocabulary=32128)  # as published: no motion, 28 spare rows
    with unfilled():
        assert sum(p.numel() for p in LanguageModel(config).parameters()) == parameters
    assert LanguageModelConfig.named(name, codes=64).vocabulary == 32100 + 67


def test_named_gpt2_shapes_have_the_published_numbers_of_parameters():
    for name, parameters in (("gpt2", 124_439_808), ("gpt2-medium", 354_823_168)):
        with unfilled():
            net = GPT2(replace(GPT2Config.named(name), vocabulary=50257, end=0))
        assert sum(p.numel() for p in net.parameters()) == parameters


def test_names_of_shapes_that_are_not_known_are_refused():
    with pytest.raises(ValueError, match=", ".join(T5_SHAPES)):
        LanguageModelConfig.named("t5-base")
    with pytest.raises(ValueError, match="gpt2, gpt2-medium"):
        GPT2Config.named("gpt2-huge")


def test_saved_and_loaded_is_the_same_to_the_bit_after_a_training_step(tmp_path):
    made = tiny.bundle()
    optimizer = torch.optim.SGD(made.language_model.parameters(), 0.1)
    made.language_model.motion_loss(torch.tensor([[5, 1]]), torch.tensor([[made.start, made.end, 1]]))[0].backward()
    optimizer.step()
    made.save_pretrained(tmp_path / "artifact")
    back = MotionGPTBundle.from_pretrained(tmp_path / "artifact")
    assert back.hash == made.hash != "unsaved"
    for name in ("motion_tokenizer", "language_model"):
        ours, theirs = (getattr(b, name).state_dict() for b in (made, back))
        for key, value in ours.items():
            if key.split(".")[-1] not in ("code_sum", "code_count", "started"):
                assert torch.equal(value, theirs[key]), key
    assert torch.equal(made.statistics.mean, back.statistics.mean)
    assert back.text.encode("a person walks").ids == made.text.encode("a person walks").ids
    assert sorted(p.name for p in (tmp_path / "artifact").iterdir()) == sorted([*FILES, "SHA256SUMS"])


@pytest.mark.parametrize("name", FILES)
def test_every_missing_file_is_named(tmp_path, name):
    tiny.bundle().save_pretrained(tmp_path / "artifact")
    (tmp_path / "artifact" / name).unlink()
    with pytest.raises(ArtifactError, match=name):
        MotionGPTBundle.from_pretrained(tmp_path / "artifact")


def test_all_wrong_weights_come_in_one_message(tmp_path):
    net = MotionTokenizer(TokenizerConfig(codes=8, code_width=8, width=8, depth=1))
    state = net.state_dict()
    state["encoder.enter.odd"] = state.pop("encoder.enter.weight")
    state["decoder.leave.bias"] = torch.zeros(7)
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(ArtifactError) as error:
        load_weights(net, tmp_path / "w.safetensors")
    for part in ("missing encoder.enter.weight", "unexpected encoder.enter.odd", "decoder.leave.bias is (7,)"):
        assert part in str(error.value)
    (tmp_path / "w.safetensors").write_bytes(b"not tensors")
    with pytest.raises(ArtifactError, match="must be a safetensors file"):
        load_weights(net, tmp_path / "w.safetensors")


def test_an_unknown_field_is_refused_by_name(tmp_path):
    tiny.bundle().save_pretrained(tmp_path / "artifact")
    index = json.loads((tmp_path / "artifact" / "model_index.json").read_text())
    index["motion_tokenizer"]["colour"] = 3
    (tmp_path / "artifact" / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ArtifactError, match="colour"):
        MotionGPTBundle.from_pretrained(tmp_path / "artifact")


def test_half_precision_halves_the_file_and_loads(tmp_path):
    made = tiny.bundle()
    made.save_pretrained(tmp_path / "half", torch.float16)
    weights = load_file(tmp_path / "half" / "language_model.safetensors")
    assert {str(v.dtype) for v in weights.values()} == {"torch.float16"}
    assert next(MotionGPTBundle.from_pretrained(tmp_path / "half").language_model.parameters()).dtype == torch.float32


def test_names_that_are_no_model_are_refused(tmp_path):
    with pytest.raises(ArtifactError, match="built-in name"):
        resolve("no-such-model", "motiongpt-mini")
    with pytest.raises(ArtifactError, match="owner/name"):
        resolve(tmp_path / "gone", "motiongpt-mini")


def test_a_failed_write_leaves_the_old_folder(tmp_path):
    (tmp_path / "artifact").mkdir()
    (tmp_path / "artifact" / "old").write_text("kept")
    with pytest.raises(RuntimeError), written_folder(tmp_path / "artifact") as folder:
        (folder / "new").write_text("half")
        raise RuntimeError
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["old"]


def test_statistics_of_another_width_or_with_zeros_are_refused():
    with pytest.raises(ArtifactError, match=r"\(263,\)"):
        Statistics(np.zeros(251), np.ones(251), "hml263")
    with pytest.raises(ArtifactError, match="above 0"):
        Statistics(np.zeros(263), np.zeros(263), "hml263")


def test_words_keep_motion_tokens_and_know_what_they_do_not_know(tmp_path):
    words = tiny.words()
    tokenizer = words.with_motion(16)
    first = words.tokenizer.get_vocab_size()
    ids = tokenizer.encode("A person's <motion_id_3><motion_id_18>, WALKS!", add_special_tokens=False).ids
    assert ids[2:4] == [first + 3, first + 18]
    assert [tokenizer.id_to_token(i) for i in ids] == ["a", "person", "<motion_id_3>", "<motion_id_18>", "walks"]
    assert unknown_words(tokenizer, "a zebra walks") == ["zebra"]
    assert foreign_letters("a 人 walks in Zürich") == "人"
    words.save(tmp_path)
    back = Words.load(tmp_path)
    assert np.array_equal(back.vectors, words.vectors)
    shutil.copy(tmp_path / "tokenizer.json", tmp_path / "kept")
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(ArtifactError, match="tokenizer.json"):
        Words.load(tmp_path)
