"""MotionGPT's networks beside the numbers of the reference implementation, where a checkout has them beside it."""

import json

import pytest
import torch
from safetensors.torch import load_file

from hftrainer.models.motion.motiongpt import official
from hftrainer.models.motion.motiongpt.network import (
    LanguageModel,
    LanguageModelConfig,
    MotionTokenizer,
    TokenizerConfig,
)

_NORMS = {"LN": "layer", "GN": "group", "BN": "batch"}


def read(shared, case):
    folder = shared / "golden" / "motiongpt" / case
    return json.loads((folder / "case.json").read_text()), load_file(folder / "tensors.safetensors")


def tokenizer(case, tensors, codebook=True) -> MotionTokenizer:
    c = case["config"]
    config = TokenizerConfig(
        c["nfeats"], c["code_num"], c["code_dim"], c["width"], c["depth"], c["down_t"], c["dilation_growth_rate"],
        _NORMS.get(c["norm"]), c["activation"],
    )  # fmt: skip
    net, keys = MotionTokenizer(config), official.tokenizer_keys(config)
    if not codebook:
        del keys["quantizer.codebook"]
    missing = net.load_state_dict(official.rename(tensors, keys, "sd."), strict=False)
    assert not missing.unexpected_keys and all("quantizer" in key for key in missing.missing_keys)
    return net


@pytest.mark.parametrize("name", ["vq_eval", "vq_variant_LN_gelu", "vq_variant_GN_silu", "vq_variant_BN_relu_down3"])
@torch.no_grad()
def test_tokenizer(shared, name):
    case, tensors = read(shared, name)
    net = tokenizer(case, tensors).eval()
    assert torch.equal(net.encode(tensors["input"]), tensors["indices"].long())
    output, commitment, perplexity = net(tensors["input"])
    assert (output - tensors["forward_out"]).abs().max() <= 1e-5 * tensors["forward_out"].std()
    assert torch.allclose(commitment, tensors.get("commit_loss", tensors.get("loss")).squeeze(), rtol=1e-5)
    assert torch.allclose(perplexity, tensors["perplexity"].squeeze(), rtol=1e-5)


def test_first_training_step_makes_and_moves_the_codebook(shared):
    case, tensors = read(shared, "vq_train_first_forward")
    net = tokenizer(case, tensors, codebook=False).train()
    output, commitment, _ = net(tensors["input"])
    assert (output - tensors["forward_out"]).abs().max() <= 1e-5
    assert torch.allclose(commitment, tensors["commit_loss"].squeeze(), rtol=1e-5)
    for ours, theirs in (
        ("codebook", "codebook_after"),
        ("code_sum", "code_sum_after"),
        ("code_count", "code_count_after"),
    ):
        assert (getattr(net.quantizer, ours) - tensors[theirs]).abs().max() <= 1e-5, ours


@torch.no_grad()
def test_language_model(shared):
    case, tensors = read(shared, "lm_tiny_t5")
    t5 = case["t5_config_before_resize"]
    config = LanguageModelConfig(
        case["embedding_rows"], case["motion_codebook_size"] + 3, t5["d_model"], t5["num_heads"], t5["d_kv"],
        t5["d_ff"], t5["num_layers"], t5["num_decoder_layers"],
    )  # fmt: skip
    prefix = next(key for key in tensors if key.endswith("shared.weight")).removesuffix("shared.weight")
    net = LanguageModel(config).eval()
    net.load_state_dict(official.rename(tensors, official.language_model_keys(config), prefix))
    prompts, labels = tensors["tf_input_ids"].long(), tensors["tf_labels"].long()
    states, _ = net.encode(prompts)
    real = int((prompts[0] != 0).sum())
    known = tensors["tf_encoder_last_hidden_row0"]
    assert (states[0, : len(known)] - known)[:real].abs().max() <= 1e-4
    logits = net(prompts, labels.clamp_min(0))
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)
    assert torch.allclose(loss, tensors["tf_loss"].squeeze(), atol=1e-5)
    spoken = labels[:, :24] != -100
    assert (logits[:, :24] - tensors["tf_logits_first24"])[spoken].abs().max() <= 1e-4
