"""The authors' checkpoint: imported whole or not at all; the card's own layout; the traps that silently ruin motion."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, pre_tokenizers

from hftrainer.cli import main
from hftrainer.errors import ArtifactError
from hftrainer.models.artifact import read_torch_file
from hftrainer.models.evaluator import Evaluator, TextMotionEvaluator, WordVectors
from hftrainer.models.motion.motiongpt import bundle as bundles
from hftrainer.models.motion.motiongpt import network, release
from hftrainer.models.motion.motiongpt.bundle import PIECES_FILES, MotionGPTBundle
from hftrainer.models.motion.motiongpt.network import LanguageModelConfig, TokenizerConfig
from hftrainer.models.motion.motiongpt.verify import greedy, verify
from hftrainer.models.text import Pieces
from tests import motiongpt_release as authors
from tests.conftest import ROOT

LM = "lm.language_model."


@pytest.fixture(scope="module")
def state():
    """What a checkpoint of the authors holds; tests take a copy of the dictionary and change entries, not numbers."""
    return authors.state_dict()


@pytest.fixture(scope="module")
def card(tmp_path_factory, state):
    """The card's own layout; read only."""
    return authors.write_card_layout(tmp_path_factory.mktemp("card") / "motiongpt", state)


@pytest.fixture(scope="module")
def files(card):
    return release.read_folder(card)


@pytest.fixture(scope="module")
def artifact(card, tmp_path_factory):
    """What the import makes of it, with the evaluator."""
    out = tmp_path_factory.mktemp("artifact") / "motiongpt"
    assert main(words(card, out, "--verify", "--evaluators", "--quiet")) == 0
    return out


def words(card, out, *more, weights=None, t5=None):
    """The command line of an import."""
    weights = card / release.WEIGHTS if weights is None else weights
    t5 = card / release.T5 if t5 is None else t5
    return ["import", "motiongpt", "--weights", str(weights), "--t5", str(t5), "-o", str(out), *map(str, more)]


def statistics(card):
    return "--mean", card / release.META / "mean.npy", "--std", card / release.META / "std.npy"


def refused(capsys, tmp_path, line, *parts, code=2):
    """The command refuses with one sentence that has all parts, and leaves nothing behind."""
    before = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*"))
    capsys.readouterr()
    assert main([*line, "--quiet"]) == code
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("hftrainer: ") and said.err.count("\n") == 1
    assert [part for part in parts if part not in said.err] == [], said.err
    assert sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*")) == before
    return said.err


# --- what an import gives


def test_an_import_keeps_every_number_under_our_names(artifact, state):
    assert sorted(p.name for p in artifact.iterdir()) == sorted([*PIECES_FILES, "evaluator", "SHA256SUMS"])
    language = load_file(artifact / "language_model.safetensors")
    assert torch.equal(language["vocabulary.rows.weight"], state[LM + "shared.weight"])
    assert torch.equal(language["head.weight"], state[LM + "lm_head.weight"])
    tokenizer = load_file(artifact / "motion_tokenizer.safetensors")
    assert torch.equal(tokenizer["quantizer.codebook"], state["vae.quantizer.codebook"])
    assert torch.equal(tokenizer["encoder.levels.1.0.conv2.bias"], state["vae.encoder.model.3.1.model.0.conv2.bias"])
    stored = sum(v.numel() for weights in (language, tokenizer) for v in weights.values())
    needed = {key: v for key, v in state.items() if key.startswith(("vae.", LM)) and "embed_tokens" not in key}
    assert stored == sum(v.numel() for v in needed.values())


def test_an_artifact_says_what_it_was_made_from(artifact, card, capsys):
    index = json.loads((artifact / "model_index.json").read_text())
    source = index["about"]["source"]
    assert source["weights"]["sha256"] == hashlib.sha256((card / release.WEIGHTS).read_bytes()).hexdigest()
    assert source["weights"]["is_the_released_file"] is False
    assert source["statistics"]["name"].startswith("MotionGPT's kind")
    assert index["text"] == "pieces" and index["prompts"] == "official"
    assert str(card.parent) not in (artifact / "model_index.json").read_text()
    capsys.readouterr()
    assert main(["info", str(artifact), "--quiet"]) == 0
    said = capsys.readouterr().out
    parameters = sum(v.numel() for v in load_file(artifact / "language_model.safetensors").values())
    assert f"{parameters:,} numbers" in said and "statistics: MotionGPT's kind" in said
    assert source["weights"]["sha256"] in said and MotionGPTBundle.from_pretrained(artifact).hash in said


def test_the_artifact_and_the_cards_own_layout_are_the_same_model(artifact, card):
    one, other = MotionGPTBundle.from_pretrained(artifact), MotionGPTBundle.from_pretrained(card)
    assert len({one.hash, other.hash, "unsaved"}) == 3
    assert (one.prompts, one.frame_range, one.sampling.top_k) == ("official", (40, 196), 50)
    assert one.sampling.gap_candidates == 1 and one.sampling.gap_temperature == 1
    for name in ("motion_tokenizer", "language_model"):
        ours, theirs = (getattr(b, name).state_dict() for b in (one, other))
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert torch.equal(one.statistics.std, other.statistics.std)
    assert one.text.to_str() == other.text.to_str()
    ids = one.text.encode("Generate motion: a person walks forward.").ids
    assert greedy(one.language_model, [ids], 8) == greedy(other.language_model, [ids], 8)
    motion = one.detokenize([3, 1, 30, 31])
    assert len(motion) == 16 and one.tokenize(motion) == other.tokenize(motion)


def test_a_bundle_of_the_card_layout_saves_as_an_artifact(card, tmp_path):
    made = MotionGPTBundle.from_pretrained(card)
    made.save_pretrained(tmp_path / "saved")
    back = MotionGPTBundle.from_pretrained(tmp_path / "saved")
    assert back.hash == made.hash and back.prompts == "official"
    assert back.words.size(authors.CODES) == made.words.size(authors.CODES)


def test_the_results_are_those_of_the_built_in_artifact():
    measured = json.loads((Path(__file__).parent.parent / "results" / "motiongpt-mini-quality.json").read_text())
    assert MotionGPTBundle.from_pretrained().hash == measured["model_hash"]


def test_the_evaluator_comes_out_of_the_checkpoint(artifact, card, tmp_path, state):
    weights = load_file(artifact / "evaluator" / "evaluator.safetensors")
    theirs = state["metrics.TM2TMetrics.t2m_moveencoder.main.3.weight"]
    assert torch.equal(weights["movement.second.weight"], theirs)
    with pytest.raises(ArtifactError, match=r"words\.json"):
        Evaluator.from_pretrained(artifact / "evaluator")
    config = json.loads((artifact / "evaluator" / "evaluator.json").read_text())
    vectors = WordVectors(["unk", "walk"], np.zeros((2, config["word_width"]), np.float32))
    read = release.read_release(card / release.WEIGHTS, card / release.T5, evaluator=True)
    assert isinstance(read.evaluator, TextMotionEvaluator)
    release.save_evaluator(tmp_path / "evaluator", read, vectors)
    assert Evaluator.from_pretrained(tmp_path / "evaluator").representation == "hml263"
    with pytest.raises(ArtifactError, match="evaluator=True"):
        release.save_evaluator(tmp_path / "none", release.read_folder(card), None)


def test_json_says_the_same(card, tmp_path, capsys):
    capsys.readouterr()
    assert main(words(card, tmp_path / "out", "--json", "--verify")) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["hash"] == MotionGPTBundle.from_pretrained(tmp_path / "out").hash
    assert len(report["verified"]) == 7 and "bit for bit" in report["verified"][0]
    assert report["passed_over"] == 9 + 3 * 42


def test_an_old_artifact_is_replaced_whole(card, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "model_index.json").write_text("{}")
    (tmp_path / "out" / "stale").write_text("old")
    assert main(words(card, tmp_path / "out", "--quiet")) == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted([*PIECES_FILES, "SHA256SUMS"])


@pytest.mark.parametrize("legacy", [False, True])
def test_half_precision_bare_and_unzipped_checkpoints_are_read(tmp_path, card, state, legacy):
    bare = {key: v.half() if key.startswith(LM) else v for key, v in state.items()}
    torch.save(bare, tmp_path / "bare.tar", _use_new_zipfile_serialization=not legacy)
    read = release.read_release(tmp_path / "bare.tar", card / release.T5, *statistics(card)[1::2])
    assert read.language["head.weight"].dtype == torch.float32
    assert torch.equal(read.language["head.weight"], state[LM + "lm_head.weight"].half().float())


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        (dict(norm="batch"), []),
        (dict(norm="group", activation="silu"), ["--norm", "group", "--activation", "silu"]),
        (dict(down=3, depth=1, quantizer="orig"), []),
    ],
)
def test_checkpoints_of_other_options(tmp_path, card, options, flags):
    config = TokenizerConfig(codes=32, code_width=16, width=32, **{"depth": 2, "down": 2, **options})
    weights = authors.write_checkpoint(tmp_path / "w.tar", authors.state_dict(config))
    assert main(words(card, tmp_path / "out", *flags, *statistics(card), "--verify", "--quiet", weights=weights)) == 0
    assert MotionGPTBundle.from_pretrained(tmp_path / "out").motion_tokenizer.config == config


# --- what is refused


def test_all_that_is_wrong_with_the_tensors_comes_in_one_message(tmp_path, card, state, capsys):
    wrong = dict(state)
    del wrong["vae.decoder.model.6.bias"], wrong[LM + "decoder.embed_tokens.weight"]
    wrong["vae.encoder.model.9.weight"] = torch.zeros(2)
    wrong["optimizer_of_mine"] = torch.zeros(1)
    wrong[LM + "encoder.block.1.layer.0.SelfAttention.q.weight"] = torch.zeros(32, 7)
    wrong[LM + "decoder.final_layer_norm.weight"] = torch.tensor([float("nan"), *[1.0] * 46, float("inf")])
    wrong["vae.encoder.model.0.bias"] = torch.zeros(32, dtype=torch.int64)
    wrong[LM + "encoder.embed_tokens.weight"] = state[LM + "shared.weight"] + 1
    weights = authors.write_checkpoint(tmp_path / "w.tar", wrong)
    refused(
        capsys, tmp_path, words(card, tmp_path / "out", *statistics(card), weights=weights), str(weights),
        "missing vae.decoder.model.6.bias", f"missing {LM}decoder.embed_tokens.weight",
        "unexpected vae.encoder.model.9.weight", "unexpected optimizer_of_mine",
        f"{LM}encoder.block.1.layer.0.SelfAttention.q.weight is (32, 7), must be (32, 48)",
        f"{LM}decoder.final_layer_norm.weight must be finite; 2 of 48 numbers are not",
        "vae.encoder.model.0.bias must be float32 or half; got int64",
        f"{LM}encoder.embed_tokens.weight must have the numbers of {LM}shared.weight",
    )  # fmt: skip


def test_a_network_that_is_not_there_is_one_problem(tmp_path, card, state, capsys):
    weights = authors.write_checkpoint(tmp_path / "w.tar", {k: v for k, v in state.items() if k.startswith("vae.")})
    line = words(card, tmp_path / "out", *statistics(card), "--evaluators", weights=weights)
    refused(capsys, tmp_path, line, "missing lm.*, all", "the evaluator under metrics.*")


def test_a_head_that_was_tied_is_refused(tmp_path, card, state, capsys):
    tied = {**state, LM + "lm_head.weight": state[LM + "shared.weight"]}
    weights = authors.write_checkpoint(tmp_path / "w.tar", tied)
    line = words(card, tmp_path / "out", *statistics(card), weights=weights)
    refused(capsys, tmp_path, line, "lm_head.weight must be a matrix of its own")


def _rotten(file):
    """One byte of the largest record changed."""
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(data)


DAMAGE = {
    "absent": (lambda f: f.unlink(), "there is no such file"),
    "empty": (lambda f: f.write_bytes(b""), "it is empty"),
    "cut off": (lambda f: f.write_bytes(f.read_bytes()[: f.stat().st_size // 2]), "it ends too early"),
    "rotten": (_rotten, "wrong checksum"),
    "git-lfs": (lambda f: f.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid"), "git-lfs pointer"),
    "a page": (lambda f: f.write_bytes(b"<!DOCTYPE html>"), "must be a torch file; it begins with b'<!DOCTYPE"),
    "no pickle": (lambda f: f.write_bytes(b"\x80\x02junk"), "must be a"),
    "a list": (lambda f: torch.save([1, 2], f), "must be MotionGPT's: a state_dict with vae.* and lm"),
    "mdm": (
        lambda f: torch.save({"seqTransEncoder.layers.0.norm1.weight": torch.ones(4)}, f),
        "got an MDM checkpoint",
    ),
    "another": (lambda f: torch.save({"state_dict": {"a.b": torch.ones(1)}}, f), "got a.b …"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_files_that_are_no_checkpoint(tmp_path, card, state, capsys, kind):
    weights = authors.write_checkpoint(tmp_path / "w.tar", state)
    harm, says = DAMAGE[kind]
    harm(weights)
    refused(capsys, tmp_path, words(card, tmp_path / "out", *statistics(card), weights=weights), "w.tar", says)


@pytest.mark.parametrize("legacy", [False, True])
def test_whatever_bytes_are_wrong_the_answer_is_one_error(tmp_path, legacy):
    file, rng, refusals = tmp_path / "w.tar", np.random.default_rng(0), 0
    torch.save({"state_dict": {"vae.a": torch.ones(3, 4)}}, file, _use_new_zipfile_serialization=not legacy)
    whole = file.read_bytes()
    for _ in range(150):
        data = bytearray(whole)
        for place in rng.integers(0, min(len(data), 600 if legacy else len(data)), rng.integers(1, 6)):
            data[place] = rng.integers(0, 256)
        file.write_bytes(data[: rng.integers(1, len(data))] if rng.random() < 0.2 else data)
        try:
            read_torch_file(file)
        except ArtifactError:
            refusals += 1
    assert refusals > 75


class _Bomb:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


class _Settings:
    """Stands for the settings object that a Lightning checkpoint of one's own holds."""


@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_checkpoint_never_runs(tmp_path, card, state, capsys, legacy):
    file = tmp_path / "w.tar"
    torch.save({"state_dict": state, "x": _Bomb(tmp_path / "ran")}, file, _use_new_zipfile_serialization=not legacy)
    line = words(card, tmp_path / "out", *statistics(card), weights=file)
    refused(capsys, tmp_path, line, "system, which would run code, and was not read")
    assert not (tmp_path / "ran").exists()
    torch.save({"state_dict": state, "hyper_parameters": _Settings()}, file)
    refused(capsys, tmp_path, line, "_Settings, which would run code", "torch.save(")


def test_t5_folders_that_do_not_fit(tmp_path, card, capsys):
    t5 = tmp_path / "t5"
    line = words(card, tmp_path / "out", t5=t5)
    refused(capsys, tmp_path, line, f"{t5} must be a folder with config.json and tokenizer.json; there is none")
    t5.mkdir()
    (t5 / "spiece.model").write_text("x")
    refused(capsys, tmp_path, line, "absent: config.json, tokenizer.json")
    changed = {"feed_forward_proj": "relu", "d_model": 0, "pad_token_id": 3}
    authors.write_t5(t5, {**authors.T5_CONFIG, **changed})
    (t5 / "tokenizer.json").write_text("{}")
    refused(capsys, tmp_path, line, "feed_forward_proj of", "must be gated-gelu; got relu", "d_model of", "got 0",
            "pad_token_id of", "must be a tokenizer with a model in it")  # fmt: skip
    (t5 / "config.json").write_text("{")
    (t5 / "tokenizer.json").write_bytes(b"\xff")
    refused(capsys, tmp_path, line, "must be JSON", "must be a tokenizer in JSON")
    authors.write_t5(t5, {**authors.T5_CONFIG, "num_layers": 3})
    refused(capsys, tmp_path, line, f"missing {LM}encoder.block.2.layer.0.SelfAttention.q.weight")


def test_a_tokenizer_of_another_size_or_order_is_refused(tmp_path, card, capsys):
    tokenizer = authors.pieces()
    tokenizer.add_tokens(["one more"])
    line = words(card, tmp_path / "out", t5=authors.write_t5(tmp_path / "t5", tokenizer=tokenizer))
    refused(capsys, tmp_path, line, "shared.weight is (", "must be (")
    tokenizer = authors.pieces()
    tokenizer.add_tokens(["<motion_id_1>", "<motion_id_0>"])
    authors.write_t5(tmp_path / "t5", tokenizer=tokenizer)
    refused(capsys, tmp_path, line, "must number <motion_id_0> to <motion_id_34> from")
    value = json.loads(authors.pieces().to_str().replace("</s>", "<end>"))
    (tmp_path / "t5" / "tokenizer.json").write_text(json.dumps(value))
    refused(capsys, tmp_path, line, "must number <pad>, </s>, <unk> as 0, 1, 2")


def test_everything_absent_is_one_message(tmp_path, capsys):
    line = words(tmp_path, tmp_path / "out", weights=tmp_path / "w.tar", t5=tmp_path / "t5")
    refused(capsys, tmp_path, line, "there is no such file", "t5 must be a folder", "assets/meta must hold")


def test_requests_that_cannot_be_meant(tmp_path, card, capsys):
    line = words(card, tmp_path / "out")
    refused(capsys, tmp_path, ["import", "motion-gpt", *line[2:]], "Did you mean 'motiongpt'?")
    refused(capsys, tmp_path, [*line, "--mean", "mean.npy"], "--mean and --std must come together")
    refused(capsys, tmp_path, [*line, "--glove", "glove"], "--glove must come with --evaluators")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years")
    refused(capsys, tmp_path, words(card, tmp_path / "mine"), "it holds other files")
    refused(capsys, tmp_path, words(card, card), "must not hold")
    refused(capsys, tmp_path, words(card, tmp_path / "out", "--norm", "weird"), "norm must be layer, group, batch or")
    refused(capsys, tmp_path, words(card, tmp_path / "out", "--evaluators", "--glove", tmp_path), "our_vab_words.pkl")


def test_a_failed_comparison_leaves_nothing(tmp_path, card, capsys, monkeypatch):
    whole = bundles.save_weights

    def damaged(module, path, *rest):
        whole(module, path, *rest)
        if path.name.startswith("language"):
            stored = load_file(path)
            stored["encoder.norm.weight"][3] *= 1 + 1e-7  # the last bit
            save_file(stored, path)

    monkeypatch.setattr(bundles, "save_weights", damaged)
    line = words(card, tmp_path / "out", "--verify")
    refused(capsys, tmp_path, line, "encoder.norm.weight in the file is not the checkpoint's", code=1)


# --- statistics


def _read(*arrays):
    return release.name_statistics(*arrays)


def test_published_statistics_are_known_by_name(shared):
    zoo = np.load(shared / "golden" / "zoo" / "normalization_stats.npz")
    ours = load_file(shared / "golden" / "motiongpt" / "mean_std" / "tensors.safetensors")
    mean, std = ours["f64.mean"].numpy(), ours["f64.std"].numpy()
    assert _read(mean, std) == _read(mean.astype(np.float32), std) == ("MotionGPT's released pair", False)
    for other in ("train", "repo_sample"):
        name, wrong = _read(zoo[f"{other}_mean"], zoo[f"{other}_std"])
        assert wrong and "HumanML3D's own Mean and Std" in name
    name, wrong = _read(zoo["repo_sample_mean"], std)
    assert wrong and "do not belong together (mean: HumanML3D's, std: released's)" in name
    assert _read(zoo["kit_eval_mean"], zoo["kit_eval_std"]) == ("KIT-ML's evaluation pair", False)
    unknown, wrong = _read(zoo["train_mean"] + 0.01, zoo["train_std"] * 1.01)
    assert wrong and unknown.startswith("HumanML3D's kind")


def _with(folder, card):
    """The weights in ``folder``, without statistics."""
    folder.mkdir(parents=True, exist_ok=True)
    return shutil.copy(card / release.WEIGHTS, folder / release.WEIGHTS)


def test_statistics_are_found_named_or_refused(tmp_path, card, capsys):
    weights = _with(tmp_path / "w", card)
    line = words(card, tmp_path / "out", weights=weights)
    refused(capsys, tmp_path, line, "assets/meta must hold mean.npy and std.npy", "not HumanML3D's own Mean.npy")
    authors.write_statistics(tmp_path / "w", scale=1, names=("Mean", "Std"))
    refused(capsys, tmp_path, line, "got HumanML3D's kind", "divided by 25", "--any-statistics")
    authors.write_statistics(tmp_path / "w" / release.META)
    message = refused(capsys, tmp_path, line, "got 2 that differ", "Say which with --mean and --std")
    assert "mean.npy and std.npy are MotionGPT's kind" in message and "Std.npy are HumanML3D's kind" in message
    wrong = ["--mean", str(tmp_path / "w" / "Mean.npy"), "--std", str(tmp_path / "w" / "Std.npy")]
    refused(capsys, tmp_path, [*line, *wrong], "must be the pair that MotionGPT was trained with")
    right = [str(a) for a in statistics(tmp_path / "w")]
    swapped = ["--mean", right[3], "--std", right[1]]
    refused(capsys, tmp_path, [*line, *swapped], "are mean and std swapped?")
    assert main([*line, *right, "--quiet"]) == 0
    kept = np.load(tmp_path / "out" / "Std.npy")
    assert np.array_equal(kept, np.load(right[3]).astype(np.float32))
    assert main([*line, *wrong, "--any-statistics", "--quiet"]) == 0
    assert np.load(tmp_path / "out" / "Std.npy")[0] == np.float32(0.0129)
    index = json.loads((tmp_path / "out" / "model_index.json").read_text())
    assert index["about"]["source"]["statistics"]["name"].startswith("HumanML3D's kind")


def test_equal_pairs_are_one_pair(tmp_path, card):
    weights = _with(tmp_path / "w", card)
    for names in (("mean", "std"), ("mean_eval", "std_eval")):
        authors.write_statistics(tmp_path / "w" / release.META, names=names)
    assert main(words(card, tmp_path / "out", "--quiet", weights=weights)) == 0
    authors.write_statistics(tmp_path / "w" / release.META, names=("mean_eval", "std_eval"), seed=1)
    assert main(words(card, tmp_path / "other", "--quiet", weights=weights)) == 2


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (None, "must be a .npy file; there is none"),
        (b"no array", "must be a .npy file of numbers"),
        (np.ones((2, 263)), "must hold one row of floating-point numbers"),
        (np.full(263, np.nan), "must be finite"),
        (np.ones(251), "must be equally long; got 263 and 251"),
    ],
)
def test_statistics_that_are_none(tmp_path, card, capsys, array, says):
    std = tmp_path / "std.npy"
    if isinstance(array, bytes):
        std.write_bytes(array)
    elif array is not None:
        np.save(std, array)
    line = words(card, tmp_path / "out", "--mean", card / release.META / "mean.npy", "--std", std)
    refused(capsys, tmp_path, line, "std.npy", says)


def test_statistics_of_another_width_are_refused(tmp_path, card, capsys):
    for name in ("mean", "std"):
        np.save(tmp_path / f"{name}.npy", np.ones(251))
    line = words(card, tmp_path / "out", "--mean", tmp_path / "mean.npy", "--std", tmp_path / "std.npy")
    refused(capsys, tmp_path, line, "must have one number a feature, 263; got 251")


# --- the three traps


@pytest.fixture
def copy(artifact, tmp_path):
    return Path(shutil.copytree(artifact, tmp_path / "copy"))


def test_trap_one_the_head_is_tied_again(copy, files):
    weights = load_file(copy / "language_model.safetensors")
    weights["head.weight"] = weights["vocabulary.rows.weight"].clone()
    save_file(weights, copy / "language_model.safetensors")
    with pytest.raises(RuntimeError, match="head was tied"):
        verify(MotionGPTBundle.from_release(files), copy, files)


def test_trap_two_padding_is_attended_to(artifact, files, monkeypatch):
    monkeypatch.setattr(network, "mask_bias", lambda mask: torch.zeros(mask.shape)[:, None, None])
    with pytest.raises(RuntimeError, match="padding is attended to"):
        verify(MotionGPTBundle.from_release(files), artifact, files)


def test_trap_three_a_tokenizer_that_drops_lone_pieces(copy, files):
    tokenizer = Tokenizer.from_file(str(copy / "tokenizer.json"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), tokenizer.pre_tokenizer])
    tokenizer.save(str(copy / "tokenizer.json"))
    with pytest.raises(RuntimeError, match="the lone ▁ is lost"):
        verify(MotionGPTBundle.from_release(files), copy, files)


def golden(shared, folder):
    """The small trained language model of the reference, as a checkpoint in the card's layout."""
    source = shared / "golden" / "motiongpt" / "lm_tiny_t5"
    case, tensors = json.loads((source / "case.json").read_text()), load_file(source / "tensors.safetensors")
    lm = {key.removeprefix("sd."): value for key, value in tensors.items() if key.startswith("sd.lm.")}
    for name in ("encoder", "decoder"):
        lm[f"{LM}{name}.embed_tokens.weight"] = lm[LM + "shared.weight"]
    assert set(lm) == set(case["state_dict_keys"])
    codes = case["motion_codebook_size"]
    vae = release.expected(TokenizerConfig(codes=codes, code_width=16, width=32, depth=1))[1]
    state = {f"vae.{key}": authors.formula(key, shape) for key, shape in vae.items()}
    authors.write_card_layout(folder, {**state, **lm})
    config = json.dumps(case["t5_config_before_resize"])
    (folder / release.T5 / "config.json").write_text(config)
    shutil.copy(source / "tokenizer" / "tokenizer.json", folder / release.T5 / "tokenizer.json")
    return case, tensors


def _trim(rows):
    """Token rows without the leading decoder start and what follows the end mark."""
    return [row[1 : row.index(1) + 1] if 1 in row else row[1:] for row in rows.tolist()]


def test_the_reference_answers_come_through_the_import(shared, tmp_path, monkeypatch):
    case, tensors = golden(shared, tmp_path / "card")
    assert main(words(tmp_path / "card", tmp_path / "out", "--verify", "--quiet")) == 0
    bundle = MotionGPTBundle.from_pretrained(tmp_path / "out")
    assert (bundle.start, bundle.end) == (case["start_id"], case["end_id"])
    for probe in case["tokenization_probes"]:
        assert bundle.text.encode(probe["text"]).ids == probe["ids"], probe["text"]
        assert bundle.text.decode(probe["ids"]) == probe["decoded_no_cleanup"]
    prompts = [bundle.text.encode(text).ids for text in case["prompts"]]
    padded = tensors["greedy_source_ids"]
    assert [row[: len(p)].tolist() for row, p in zip(padded, prompts, strict=True)] == prompts
    for name in ("greedy", "greedy_maxlen12"):
        most = case[name]["kwargs"]["max_length"] - 1
        want = _trim(tensors[f"{name}_raw_ids"])
        got = greedy(bundle.language_model, prompts, most)
        assert [row[: len(w)] for row, w in zip(got, want, strict=True)] == want
    tied = MotionGPTBundle.from_pretrained(tmp_path / "card")
    tied.language_model.head.weight = tied.language_model.vocabulary.rows.weight
    assert greedy(tied.language_model, prompts, 12) != _trim(tensors["greedy_maxlen12_raw_ids"])
    monkeypatch.setattr(network, "mask_bias", lambda mask: torch.zeros(mask.shape)[:, None, None])
    states = [bundle.language_model.encode(torch.nn.functional.pad(padded.long(), (0, n)))[0][:, 0] for n in (0, 64)]
    assert (states[0] - states[1]).abs().max() > 1e-3  # without the mask, padding changes what is read


def test_the_published_sizes_are_those_of_the_released_file(shared):
    manifest = json.loads((shared / "golden" / "motiongpt" / "manifest_full" / "case.json").read_text())["keys"]
    shapes = {f"vae.{k}": s for k, s in release.expected(TokenizerConfig())[1].items()}
    language = release.expected(LanguageModelConfig())[1]
    shapes |= {LM + k: s for k, s in language.items()}
    shapes |= {f"{LM}{n}.embed_tokens.weight": language["shared.weight"] for n in ("encoder", "decoder")}
    theirs = {k: tuple(v["shape"]) for k, v in manifest.items() if k.startswith(("vae.", "lm."))}
    assert shapes == theirs and len(shapes) == 67 + 284
    rest = [k for k in manifest if not k.startswith(("vae.", "lm."))]
    assert len(rest) == 126 + 9 and all(k.startswith(("metrics.", "_losses.")) for k in rest)


# --- the card's own layout, from a folder and from a hub

SNIPPET = '''
from hftrainer.pipelines.motiongpt import MotionGPTPipeline

pipe = MotionGPTPipeline.from_pretrained(
    "ZeyuLing/hftrainer-motiongpt-humanml3d",
    bundle_kwargs={"local_files_only": False},
    device="cuda",
)
motions = pipe.infer_t2m(
    ["a person walks forward then sits down"],
    [120],
)  # list of (T, 263)
'''
MIRROR = '''
pipe = MotionGPTPipeline.from_pretrained(
    "checkpoints/baselines/motiongpt",
    bundle_kwargs={"local_files_only": True},
    device="cuda",
)
'''
REPO, COMMIT, OTHER = "ZeyuLing/hftrainer-motiongpt-humanml3d", "a" * 40, "b" * 40


def etag(file):
    data = file.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Hub(BaseHTTPRequestHandler):
    """A stand-in for the hub with one repository; ``folders`` maps a commit to its files."""

    asked: list[str] = []

    def __init__(self, folders, *rest):
        self.folders = folders
        super().__init__(*rest)

    def log_message(self, *args):
        """Quiet."""

    def do_GET(self, body=True):
        path = urlsplit(self.path).path
        self.asked.append(path)
        named = {"main": COMMIT, "old": OTHER, COMMIT: COMMIT, OTHER: OTHER}
        api, files = f"/api/models/{REPO}/", f"/{REPO}/resolve/"
        question, _, asked = path.removeprefix(api).partition("/")
        if path.startswith(api) and asked in named:
            folder = self.folders[named[asked]]
            found = [(f.relative_to(folder).as_posix(), f) for f in sorted(folder.rglob("*")) if f.is_file()]
            answer = (
                {"id": REPO, "modelId": REPO, "sha": named[asked], "siblings": [{"rfilename": n} for n, _ in found]}
                if question == "revision"
                else [{"type": "file", "path": n, "size": f.stat().st_size, "oid": etag(f)} for n, f in found]
            )
            self.reply(json.dumps(answer).encode(), {}, body)
            return
        revision, _, name = path.removeprefix(files).partition("/")
        file = self.folders.get(named.get(revision, ""), Path("/nowhere")) / name
        if path.startswith(files) and file.is_file():
            self.reply(file.read_bytes(), {"ETag": f'"{etag(file)}"', "X-Repo-Commit": named[revision]}, body)
            return
        code = "RepoNotFound" if REPO not in path else "RevisionNotFound"
        self.reply(b"{}", {"X-Error-Code": code}, body, 404)

    def do_HEAD(self):
        self.do_GET(body=False)

    def reply(self, data, headers, body, status=200):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), "Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(data)


@pytest.fixture(scope="module")
def hub(tmp_path_factory, state):
    """The address of a hub that has the card's repository: main, and an older revision that misses its T5 folder."""
    folder = authors.write_card_layout(tmp_path_factory.mktemp("hub") / "main", authors.speaking(state))
    old = tmp_path_factory.mktemp("hub") / "old"
    shutil.copytree(folder, old, ignore=shutil.ignore_patterns("deps"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, {COMMIT: folder, OTHER: old}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", folder
    server.shutdown()
    server.server_close()


def test_the_cards_snippets_are_the_ones_tested(shared):
    card = (shared / "mission" / "hftrainer-card-motiongpt.txt").read_text()
    text = "".join("".join(line.strip(" |") for line in card.splitlines()).split())
    for snippet in (SNIPPET, MIRROR):
        assert "".join(snippet.split()) in text


ONLINE = '''
import json, sys
import numpy as np
import torch
from hftrainer.errors import ArtifactError
from hftrainer.models.motion.motiongpt.bundle import MotionGPTBundle

def refused(*words, **how):
    try:
        MotionGPTBundle.from_pretrained(*words, **how)
    except ArtifactError as error:
        return str(error)
    raise SystemExit(f"no refusal of {words} {how}")

snippet, mirror = json.loads(sys.argv[1])
REPO = "ZeyuLing/hftrainer-motiongpt-humanml3d"
assert "hub repository that can be reached" in refused(REPO, local_files_only=True)
if not torch.cuda.is_available():
    try:
        exec(snippet)
    except ValueError as error:
        assert "must have a CUDA GPU" in str(error), error
    else:
        raise SystemExit("no refusal of cuda")
exec(snippet.replace('device="cuda"', 'device="cpu"'))
first = motions
assert len(first) == 1 and first[0].shape == (120, 263) and first[0].dtype == np.float32, first[0].shape
exec(mirror.replace('device="cuda"', 'device="cpu"'))
assert np.array_equal(pipe.infer_t2m(["a person walks forward then sits down"], [120])[0], first[0])
assert "absent: deps/flan-t5-base/config.json, deps/flan-t5-base/tokenizer.json" in refused(REPO, revision="old")
assert "Revision Not Found" in refused(REPO, revision="never")
assert "hub repository that can be reached" in refused("nobody/nothing")
print(pipe.bundle.hash)
'''
CACHED = '''
import sys
from hftrainer.models.motion.motiongpt.bundle import MotionGPTBundle
for revision in (None, sys.argv[1]):
    print(MotionGPTBundle.from_pretrained("ZeyuLing/hftrainer-motiongpt-humanml3d", revision=revision).hash)
'''


def test_the_cards_snippets_run_as_written_from_a_hub(hub, tmp_path):
    address, folder = hub
    (tmp_path / "checkpoints" / "baselines").mkdir(parents=True)
    shutil.copytree(folder, tmp_path / "checkpoints" / "baselines" / "motiongpt")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    environment |= {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}

    def run(script, *more, **settings):
        done = subprocess.run(
            [sys.executable, "-c", script, *more], cwd=tmp_path, env={**environment, **settings},
            capture_output=True, text=True, timeout=900,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    found = MotionGPTBundle.from_pretrained(folder).hash
    assert run(ONLINE, json.dumps([SNIPPET, MIRROR])) == found
    asked = len(Hub.asked)
    assert asked > 6
    assert run(CACHED, COMMIT, HF_HUB_OFFLINE="1").split() == [found, found]
    assert len(Hub.asked) == asked


@pytest.mark.parametrize("name", release.FILES)
def test_every_absent_file_of_the_card_layout_is_named(tmp_path, card, name):
    shutil.copytree(card, tmp_path / "card")
    (tmp_path / "card" / name).unlink()
    with pytest.raises(ArtifactError, match=f"absent: {name}"):
        MotionGPTBundle.from_pretrained(tmp_path / "card")


def test_the_card_layout_with_another_models_statistics_is_refused(tmp_path, card):
    shutil.copytree(card, tmp_path / "card")
    authors.write_statistics(tmp_path / "card" / release.META, scale=1)
    with pytest.raises(ArtifactError, match=r"HumanML3D's kind .* any_statistics=True"):
        MotionGPTBundle.from_pretrained(tmp_path / "card")
    assert MotionGPTBundle.from_pretrained(tmp_path / "card", any_statistics=True).statistics.std[0] == 0.0129


def test_an_artifact_with_pieces_wants_its_own_files(copy):
    (copy / "tokenizer.json").unlink()
    (copy / "Mean.npy").unlink()
    with pytest.raises(ArtifactError, match=r"absent: tokenizer.json, Mean.npy"):
        MotionGPTBundle.from_pretrained(copy)


def test_pieces_know_where_motion_begins(tmp_path):
    pieces = Pieces(authors.pieces())
    with_motion = Pieces(pieces.with_motion(4))
    assert with_motion.size(4) == pieces.size(4) == authors.pieces().get_vocab_size()
    assert with_motion.with_motion(4).to_str() == with_motion.tokenizer.to_str()
    with pytest.raises(ArtifactError, match="absent: tokenizer.json"):
        Pieces.load(tmp_path)


# --- at full size


@pytest.mark.slow
def test_a_checkpoint_of_the_released_size(tmp_path, capsys):
    """1.3 GB by formula: the released layout, 351 tensors, the published vocabulary's size."""
    base = authors.pieces()
    value = json.loads(base.to_str())
    vocabulary = value["model"]["vocab"]
    sentinels = [entry for entry in vocabulary if entry[0].startswith("<extra_id_")]
    words_ = [entry for entry in vocabulary if entry not in sentinels]
    words_ += [[f"▁word{i}", -9.0] for i in range(32000 - len(words_))]
    value["model"]["vocab"] = words_ + sentinels
    ids = {entry[0]: i for i, entry in enumerate(value["model"]["vocab"])}
    value["added_tokens"] = sorted(
        ({**token, "id": ids[token["content"]]} for token in value["added_tokens"]), key=lambda token: token["id"]
    )
    published = {
        **authors.T5_CONFIG, "d_model": 768, "d_kv": 64, "d_ff": 2048, "num_layers": 12, "num_decoder_layers": 12,
        "num_heads": 12, "vocab_size": 32128,
    }  # fmt: skip
    t5 = authors.write_t5(tmp_path / "flan-t5-base", published, Tokenizer.from_str(json.dumps(value)))
    state = authors.state_dict(TokenizerConfig(), LanguageModelConfig())
    weights = authors.write_checkpoint(tmp_path / "w" / release.WEIGHTS, state)
    del state
    authors.write_statistics(tmp_path / "w" / release.META)
    capsys.readouterr()
    line = words(tmp_path, tmp_path / "out", "--verify", "--quiet", "--json", weights=weights, t5=t5)
    assert main(line) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["parameters"] == {"motion_tokenizer": 19_698_951, "language_model": 248_325_888}
    assert report["verified"][0].startswith("349 tensors, 268,024,839 numbers")
    bundle = MotionGPTBundle.from_pretrained(tmp_path / "out")
    assert (bundle.start, bundle.end) == (32612, 32613) and bundle.text.token_to_id("<extra_id_0>") == 32099
