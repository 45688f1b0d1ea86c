"""MotionGPT's networks beside the numbers of the reference implementation, where a checkout has them beside it."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import pre_tokenizers

from hftrainer.models.motion.motiongpt import network, official
from hftrainer.models.motion.motiongpt.network import LanguageModel, LanguageModelConfig
from tests.conftest import ROOT
from tests.parity import motiongpt_networks as networks
from tests.parity.__main__ import run_folder

#: Every case of MotionGPT's networks, the kind that runs it, and how many comparisons that makes at least.
CASES = {
    "lm_t5_base_formula": ("motiongpt T5 by formula", 9),
    "lm_tiny_gpt2": ("motiongpt GPT-2", 22),
    "lm_tiny_t5": ("motiongpt T5 and words", 105),
    "manifest_full": ("motiongpt checkpoint keys", 22),
    "vq_eval": ("motiongpt tokenizer", 16),
    "vq_full_formula": ("motiongpt tokenizer", 16),
    "vq_tile": ("motiongpt tiling", 18),
    "vq_train_ema_step": ("motiongpt tokenizer step", 154),
    "vq_train_first_forward": ("motiongpt tokenizer step", 15),
    "vq_variant_BN_relu_down3": ("motiongpt tokenizer", 8),
    "vq_variant_GN_silu": ("motiongpt tokenizer", 8),
    "vq_variant_LN_gelu": ("motiongpt tokenizer", 8),
    "vq_variant_quant_orig": ("motiongpt tokenizer", 8),
    "vq_variant_quant_reset": ("motiongpt tokenizer", 8),
}


def run(folder):
    """The one result of a case."""
    (result,) = run_folder(folder, families=(networks,))
    return result


def wrong(result):
    """Names of the comparisons that failed."""
    return [check.what for check in result.checks if not check.holds]


@pytest.mark.parametrize("name", CASES)
def test_case(shared, name):
    result = run(shared / "golden" / "motiongpt" / name)
    kind, checks = CASES[name]
    assert (result.verdict, result.kind) == ("pass", kind), result.line()
    assert len(result.checks) >= checks


def test_each_case_is_of_one_kind_and_there_are_fourteen(shared):
    found = {}
    for folder in sorted(p for p in (shared / "golden" / "motiongpt").rglob("*") if p.is_dir()):
        kinds = [kind.name for kind in networks.KINDS if kind.matches(folder)]
        if kinds:
            (found[folder.name],) = kinds
    assert found == {name: kind for name, (kind, _) in CASES.items()}
    assert len(found) == 14 and set(found.values()) == {kind.name for kind in networks.KINDS}


def test_the_copy_in_this_checkout_agrees():
    result = run(ROOT / "tests" / "golden" / "motiongpt" / "vq_tile")
    assert result.verdict == "pass" and len(result.checks) >= CASES["vq_tile"][1], result.line()


# ------------------------------------------------------------------------------------------- wrong numbers are noticed


def corrupted(folder, target, key):
    """A copy of a case with one number of one array moved by a hundredth of what it holds."""
    shutil.copytree(folder, target)
    for file in target.iterdir():
        file.chmod(0o644)
    tensors = load_file(target / "tensors.safetensors")
    flat = tensors[key].flatten()
    whole = not flat.is_floating_point()
    flat[flat.numel() // 2] += 1 if whole else 0.01 * max(1.0, float(flat.abs().max()))
    tensors[key] = flat.view(tensors[key].shape)
    save_file(tensors, target / "tensors.safetensors")
    return target


@pytest.mark.parametrize("name", ["vq_tile", "vq_variant_GN_silu", "vq_train_first_forward", "lm_tiny_gpt2"])
def test_one_wrong_number_fails(shared, tmp_path, name):
    folder = shared / "golden" / "motiongpt" / name
    stored = load_file(folder / "tensors.safetensors")
    keys = [key for key in stored if not key.startswith("sd.")]
    assert len(keys) >= 6
    for key in keys:
        result = run(corrupted(folder, tmp_path / key, key))
        assert result.verdict == "fail", f"{name}: a wrong {key} was not noticed"


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("vq_tile", lambda case: case["rows"][0].update(out_rows=64)),
        ("vq_train_first_forward", lambda case: case.update(loss_total_weighted=case["loss_total_weighted"] * 1.001)),
        ("lm_tiny_gpt2", lambda case: case["runs"][0].update(loss=case["runs"][0]["loss"] + 0.001)),
        ("lm_tiny_gpt2", lambda case: case["gpt2_config"].update(n_head=4)),
        ("vq_variant_GN_silu", lambda case: case["config"].update(activation="gelu")),
        ("vq_variant_GN_silu", lambda case: case["config"].update(norm="LN")),
        ("vq_variant_quant_orig", lambda case: case["state_dict_keys"].pop()),
        ("manifest_full", lambda case: case["keys"].pop("lm.language_model.lm_head.weight")),
        ("manifest_full", lambda case: case["keys"].update({"vae.more": {"shape": [1], "dtype": "float32"}})),
        ("manifest_full", lambda case: case["keys"]["vae.quantizer.codebook"].update(shape=[511, 512])),
        ("manifest_full", lambda case: case["keys"]["vae.decoder.model.6.bias"].update(shape=[251])),
    ],
)  # fmt: skip
def test_a_wrong_word_in_the_case_fails(shared, tmp_path, name, change):
    folder = tmp_path / name
    shutil.copytree(shared / "golden" / "motiongpt" / name, folder)
    (folder / "case.json").chmod(0o644)
    case = json.loads((folder / "case.json").read_text())
    change(case)
    (folder / "case.json").write_text(json.dumps(case))
    assert run(folder).verdict == "fail"


# ---------------------------------------------------------------- three traps that ruin every answer without an error


@pytest.fixture
def tiny_t5(shared):
    return shared / "golden" / "motiongpt" / "lm_tiny_t5"


def test_trap_a_head_that_is_tied_to_the_embedding(tiny_t5, monkeypatch):
    fill = networks._fill

    def tied(config, weights):
        net = fill(config, weights)
        net.head.weight = net.vocabulary.rows.weight
        return net

    monkeypatch.setattr(networks, "_fill", tied)
    assert {"tf_loss", "loss", "greedy_raw_ids", "greedy decoded", "sample_raw_ids"} <= set(wrong(run(tiny_t5)))


def test_trap_padding_of_the_prompt_that_is_attended_to(tiny_t5, monkeypatch):
    monkeypatch.setattr(network, "mask_bias", lambda mask: torch.zeros(mask.shape)[:, None, None])
    assert {"tf_loss", "tf_logits_first24", "tf_encoder_last_hidden_row0"} <= set(wrong(run(tiny_t5)))


def test_trap_a_tokenizer_that_loses_lone_spaces(tiny_t5, monkeypatch):
    with_motion = networks.Pieces.with_motion

    def rebuilt(self, codes):
        tokenizer = with_motion(self, codes)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
        )
        return tokenizer

    monkeypatch.setattr(networks.Pieces, "with_motion", rebuilt)
    failed = wrong(run(tiny_t5))
    assert sum(name.startswith("ids of") for name in failed) == 5
    assert "greedy_source_ids" in failed and "tf_loss" not in failed


# --------------------------------------------------------------------------------- other sizes and seeds of these kinds


@pytest.mark.parametrize(("seed", "width", "heads", "codes_shown"), [(7, 32, 2, 16), (11, 48, 3, 64)])
@torch.no_grad()
def test_a_formula_of_another_size_and_seed_is_run(tmp_path, seed, width, heads, codes_shown):
    theirs = {
        "vocab_size": 700, "d_model": width, "d_kv": 16, "d_ff": 40, "num_layers": 1, "num_decoder_layers": 2,
        "num_heads": heads, "relative_attention_num_buckets": 16, "relative_attention_max_distance": 64,
        "dropout_rate": 0.1, "layer_norm_epsilon": 1e-6, "feed_forward_proj": "gated-gelu", "pad_token_id": 0,
        "eos_token_id": 1, "decoder_start_token_id": 0, "tie_word_embeddings": False,
    }  # fmt: skip
    config = LanguageModelConfig(700, 515, width, heads, 16, 40, 1, 2, 16, 64)
    keys = official.language_model_keys(config)
    state = {}
    for name, value in LanguageModel(config).state_dict().items():
        key = "lm.language_model." + keys[name]
        draw = np.random.RandomState((seed + networks.zlib.crc32(key.encode())) % 2**32).standard_normal(value.shape)
        scale = {"head.weight": width**-0.5, "vocabulary.rows.weight": 1.0}.get(name, value.shape[-1] ** -0.5)
        if name.endswith("positions.bias.weight"):
            scale = 0.5
        elif "query" in name:
            scale = 2 * (width * 16) ** -0.5
        drawn = 1 + 0.05 * draw if value.ndim == 1 else scale * draw
        state[name] = torch.from_numpy(drawn.astype(np.float32))
    net = LanguageModel(config).eval()
    net.load_state_dict(state)
    prompts, labels = torch.tensor([[5, 9, 8, 1], [7, 1, 0, 0]]), torch.tensor([[190, 4, 1], [3, 1, -100]])
    logits, loss = networks._taught(net, prompts, labels)
    top = logits.topk(5)
    tensors = {
        "input_ids": prompts.int(), "labels": labels.int(), "loss": loss[None], "top5_values": top.values,
        "top5_indices": top.indices.int(), "logits_text_slice": logits[..., :20].contiguous(),
        "logits_motion_block": logits[..., 185 : 185 + codes_shown].contiguous(),
        "encoder_out_first2": net.encode(prompts)[0][:, :2, :24].contiguous(),
        "greedy_ids": networks._greedy(net, prompts, 9).int(),
    }  # fmt: skip
    case = {
        "config": theirs, "weights_formula": {"seed": seed}, "logits_std": float(logits.std()), "loss": float(loss),
        "generate": {"max_length": 9, "num_beams": 1, "do_sample": False},
    }  # fmt: skip
    folder = tmp_path / "case"
    folder.mkdir()
    save_file(tensors, folder / "tensors.safetensors")
    (folder / "case.json").write_text(json.dumps(case))
    assert run(folder).verdict == "pass", run(folder).line()
    case["weights_formula"]["seed"] += 1
    (folder / "case.json").write_text(json.dumps(case))
    assert run(folder).verdict == "fail"
