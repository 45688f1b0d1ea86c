"""The door for the authors' checkpoints: which of their parameter names is which of ours, checked both ways."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from hftrainer.errors import ArtifactError
from hftrainer.models.convolution import Levels
from hftrainer.models.motion.motiongpt.gpt2 import GPT2Config
from hftrainer.models.motion.motiongpt.network import LanguageModelConfig, TokenizerConfig


def tokenizer_keys(config: TokenizerConfig) -> dict[str, str]:
    """Our parameter name -> theirs (without ``vae.``) for every parameter of a ``MotionTokenizer``."""
    codebook = "quantizer.embedding.weight" if config.quantizer == "orig" else "quantizer.codebook"
    return {"quantizer.codebook": codebook} | convolution_keys(config.levels)


def convolution_keys(levels: Levels) -> dict[str, str]:
    """Our parameter name -> that of T2M-GPT's family, for an ``encoder`` and a ``decoder``.

    >>> convolution_keys(Levels(down=1, depth=1))["decoder.levels.0.0.conv1.bias"]
    'decoder.model.2.0.model.0.conv1.bias'
    """
    last = levels.down + 2
    modules = {
        "encoder.enter": "encoder.model.0",
        "encoder.leave": f"encoder.model.{last}",
        "decoder.enter": "decoder.model.0",
        "decoder.smooth": f"decoder.model.{last}",
        "decoder.leave": f"decoder.model.{last + 2}",
    }
    for i in range(levels.down):
        modules[f"encoder.down.{i}"] = f"encoder.model.{i + 2}.0"
        modules[f"decoder.up.{i}"] = f"decoder.model.{i + 2}.2"
        for j in range(levels.depth):
            for part in ("conv1", "conv2", "norm1", "norm2"):
                if part.startswith("norm") and levels.norm is None:
                    continue
                modules[f"encoder.levels.{i}.{j}.{part}"] = f"encoder.model.{i + 2}.1.model.{j}.{part}"
                modules[f"decoder.levels.{i}.{j}.{part}"] = f"decoder.model.{i + 2}.0.model.{j}.{part}"
    keys = {}
    for ours, theirs in modules.items():
        suffixes = ["weight", "bias"]
        if ".norm" in ours and levels.norm == "batch":
            suffixes += ["running_mean", "running_var", "num_batches_tracked"]
        keys.update({f"{ours}.{s}": f"{theirs}.{s}" for s in suffixes})
    return keys


def language_model_keys(config: LanguageModelConfig) -> dict[str, str]:
    """Our parameter name -> theirs (without ``lm.language_model.``) for every parameter of a ``LanguageModel``.

    Their two further names of the shared embedding, ``encoder.embed_tokens`` and ``decoder.embed_tokens``, stay out.
    """
    keys = {"vocabulary.rows.weight": "shared.weight", "head.weight": "lm_head.weight"}
    parts = {"query": "q", "key": "k", "value": "v", "out": "o"}
    for stack, count in (("encoder", config.encoder_layers), ("decoder", config.decoder_layers)):
        keys[f"{stack}.norm.weight"] = f"{stack}.final_layer_norm.weight"
        first = f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        keys[f"{stack}.positions.bias.weight"] = first
        for i in range(count):
            ours, theirs = f"{stack}.layers.{i}", f"{stack}.block.{i}.layer"
            last = 2 if stack == "decoder" else 1
            keys[f"{ours}.norm1.weight"] = f"{theirs}.0.layer_norm.weight"
            keys[f"{ours}.norm3.weight"] = f"{theirs}.{last}.layer_norm.weight"
            for a, b in parts.items():
                keys[f"{ours}.attention.{a}.weight"] = f"{theirs}.0.SelfAttention.{b}.weight"
            for a, b in (("gate", "wi_0"), ("enter", "wi_1"), ("leave", "wo")):
                keys[f"{ours}.feedforward.{a}.weight"] = f"{theirs}.{last}.DenseReluDense.{b}.weight"
            if stack == "decoder":
                keys[f"{ours}.norm2.weight"] = f"{theirs}.1.layer_norm.weight"
                for a, b in parts.items():
                    keys[f"{ours}.cross.{a}.weight"] = f"{theirs}.1.EncDecAttention.{b}.weight"
    return keys


def gpt2_keys(config: GPT2Config) -> dict[str, str]:
    """Our parameter name -> theirs (without ``lm.language_model.``) for every parameter of a ``GPT2``.

    Their ``lm_head.weight`` is a second name of the embedding and stays out.
    """
    modules = {"norm": "transformer.ln_f"}
    parts = {
        "norm1": "ln_1", "query_key_value": "attn.c_attn", "out": "attn.c_proj",
        "norm2": "ln_2", "enter": "mlp.c_fc", "leave": "mlp.c_proj",
    }  # fmt: skip
    for i in range(config.layers):
        modules.update({f"layers.{i}.{ours}": f"transformer.h.{i}.{theirs}" for ours, theirs in parts.items()})
    keys = {"vocabulary.weight": "transformer.wte.weight", "positions.weight": "transformer.wpe.weight"}
    keys.update({f"{a}.{s}": f"{b}.{s}" for a, b in modules.items() for s in ("weight", "bias")})
    return keys


def gpt2_weights(theirs: Mapping[str, Tensor], config: GPT2Config, prefix: str = "") -> dict[str, Tensor]:
    """Their tensors as the state of a ``GPT2``; they keep matrices as inputs by outputs, we as outputs by inputs.

    Raises:
        ArtifactError: absent keys, all of them listed; or a head that is not the embedding.
    """
    head = theirs.get(prefix + "lm_head.weight")
    if head is not None and not torch.equal(head, theirs.get(prefix + "transformer.wte.weight", head)):
        raise ArtifactError(f"{prefix}lm_head.weight must be the embedding itself in a GPT-2; got another matrix.")
    matrices = ("query_key_value.weight", "out.weight", "enter.weight", "leave.weight")
    found = rename(theirs, gpt2_keys(config), prefix)
    return {key: value.T.contiguous() if key.endswith(matrices) else value for key, value in found.items()}


def rename(theirs: Mapping[str, Tensor], keys: Mapping[str, str], prefix: str = "") -> dict[str, Tensor]:
    """Their tensors under our names.

    Raises:
        ArtifactError: a key that is absent; all absent keys are listed.
    """
    absent = [prefix + name for name in keys.values() if prefix + name not in theirs]
    if absent:
        raise ArtifactError(
            f"the checkpoint must hold {', '.join(absent)}; they are absent. Is it another model's file?"
        )
    return {ours: theirs[prefix + name] for ours, name in keys.items()}
