"""The authors' files of MotionGPT, small: a checkpoint as Lightning writes it, a T5 folder, statistics.

Nothing here is anybody's: weights are random or by formula, the tokenizer has a handful of pieces in T5's pipeline.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from hftrainer.models.evaluator import EvaluatorConfig, TextMotionEvaluator
from hftrainer.models.evaluator.official import evaluator_keys
from hftrainer.models.motion.motiongpt.network import LanguageModelConfig, TokenizerConfig
from hftrainer.models.motion.motiongpt.release import META, T5, WEIGHTS, expected

T5_CONFIG = {
    "architectures": ["T5ForConditionalGeneration"], "model_type": "t5", "vocab_size": 128, "d_model": 48, "d_kv": 8,
    "d_ff": 48, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 4, "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128, "dropout_rate": 0.1, "layer_norm_epsilon": 1e-06,
    "feed_forward_proj": "gated-gelu", "is_encoder_decoder": True, "pad_token_id": 0, "eos_token_id": 1,
    "decoder_start_token_id": 0, "tie_word_embeddings": False,
}  # fmt: skip
CODES = 32
TOKENIZER = TokenizerConfig(codes=CODES, code_width=16, width=32, depth=2, down=2)
_COPIES = {
    "text_encoder": "t2m_textencoder", "movement_encoder": "t2m_moveencoder", "motion_encoder": "t2m_motionencoder",
}  # fmt: skip
_LETTERS = "abcdefghijklmnopqrstuvwxyzGT:._<>0123456789,"


def pieces() -> Tokenizer:
    """A unigram tokenizer with T5's pipeline: spaces become ``▁``, runs of them one, an end mark behind."""
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    vocabulary += [(f"▁{w}", -3.0) for w in "Generate motion text a person walks forward then sits down".split()]
    vocabulary += [(letter, -6.0) for letter in _LETTERS]
    vocabulary += [(f"<extra_id_{i}>", 0.0) for i in range(99, -1, -1)]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=2))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    tokenizer.add_special_tokens(["<pad>", "</s>", "<unk>", *(f"<extra_id_{i}>" for i in range(99, -1, -1))])
    return tokenizer


def write_t5(folder: Path, config: dict[str, Any] = T5_CONFIG, tokenizer: Tokenizer | None = None) -> Path:
    """A T5 folder: ``config.json`` and ``tokenizer.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (tokenizer or pieces()).save(str(folder / "tokenizer.json"))
    return folder


def language_config(
    config: dict[str, Any] = T5_CONFIG, text: int | None = None, codes: int = CODES
) -> LanguageModelConfig:
    """Sizes of the language model for a T5 ``config.json`` and ``text`` tokens before the motion tokens."""
    text = pieces().get_vocab_size() if text is None else text
    return LanguageModelConfig(
        text + codes + 3, codes + 3, config["d_model"], config["num_heads"], config["d_kv"], config["d_ff"],
        config["num_layers"], config["num_decoder_layers"],
    )  # fmt: skip


def formula(key: str, shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    """Weights that depend on nothing but their name and shape; norms are near 1."""
    if key.endswith("num_batches_tracked"):
        return torch.tensor(7)
    draw = np.random.default_rng((seed, zlib.crc32(key.encode())))
    spread = 1.0 if "codebook" in key else (int(np.prod(shape[1:])) or 1) ** -0.5
    values = draw.standard_normal(shape, dtype=np.float32) * np.float32(spread)
    return torch.from_numpy(np.asarray(1 + 0.1 * values if "norm" in key else values, dtype=np.float32))


def state_dict(tokenizer: TokenizerConfig = TOKENIZER, language: LanguageModelConfig | None = None) -> dict[str, Any]:
    """What Lightning's ``state_dict`` of a third stage holds, metrics and loss counters included."""
    language = language or language_config()
    state = {f"vae.{key}": formula(key, shape) for key, shape in expected(tokenizer)[1].items()}
    lm = {f"lm.language_model.{key}": formula(key, shape) for key, shape in expected(language)[1].items()}
    for name in ("encoder", "decoder"):
        lm[f"lm.language_model.{name}.embed_tokens.weight"] = lm["lm.language_model.shared.weight"]
    state |= lm
    with torch.device("meta"):
        shapes = TextMotionEvaluator(
            EvaluatorConfig(word_width=12, parts=15, text_hidden=8, width=8, features=tokenizer.features,
                            movement_hidden=8, movement_width=8, motion_hidden=8)
        ).state_dict()  # fmt: skip
    for metric in ("TM2TMetrics", "M2TMetrics", "MMMetrics"):
        for ours, theirs in evaluator_keys().items():
            part, _, rest = theirs.partition(".")
            state[f"metrics.{metric}.{_COPIES[part]}.{rest}"] = formula(theirs, tuple(shapes[ours].shape))
    for split in ("train", "test", "val"):
        state |= {f"_losses.losses_{split}.{name}": torch.tensor(0.0) for name in ("gpt_loss", "total", "count")}
    return state


def speaking(state: dict[str, Any], answer: int = 30) -> dict[str, Any]:
    """A language model that answers everything with codes 0 to ``answer - 1``: each token says the next one."""
    lm, config = "lm.language_model.", language_config()
    first, rows = config.first_motion, torch.zeros(config.vocabulary, config.width)
    chain = [0, first + CODES, *range(first, first + answer), first + CODES + 1, 1]
    head = torch.zeros_like(rows)
    rows[:, -1] = 1
    for axis, (now, following) in enumerate(zip(chain, chain[1:], strict=False)):
        rows[now] = torch.eye(config.width)[axis]
        head[following] = 6 * torch.eye(config.width)[axis]
    mute = (".o.weight", ".wo.weight")
    state = {key: torch.zeros_like(v) if key.startswith(lm) and key.endswith(mute) else v for key, v in state.items()}
    names = ("shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
    norm = {f"{lm}{stack}.final_layer_norm.weight": torch.ones(config.width) for stack in ("encoder", "decoder")}
    return {**state, **norm, **{lm + name: rows for name in names}, lm + "lm_head.weight": head}


def write_checkpoint(file: Path, state: dict[str, Any] | None = None) -> Path:
    """A Lightning checkpoint."""
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(
        {"epoch": 3, "global_step": 7, "pytorch-lightning_version": "1.9.4", "state_dict": state or state_dict(),
         "loops": {"fit_loop": {"state_dict": {}}}, "callbacks": {}},
        file,
    )  # fmt: skip
    return file


def write_statistics(
    folder: Path, scale: float = 25.0, names: tuple[str, str] = ("mean", "std"), seed: int = 0
) -> Path:
    """Statistics of MotionGPT's kind: grouped, root and contacts divided by 25; ``scale=1`` is HumanML3D's kind."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(seed)
    mean = draw.normal(size=263) * 0.1
    mean[-4:] = [0.85, 0.86, 0.85, 0.86]
    std = np.repeat([0.0129, 0.0169, 0.153, 0.1226, 0.3004, 0.0195, 0.3524], [1, 2, 1, 63, 126, 66, 4])
    std[:4] /= scale
    std[-4:] /= scale
    np.save(folder / f"{names[0]}.npy", mean)
    np.save(folder / f"{names[1]}.npy", std)
    return folder


def write_card_layout(folder: Path, state: dict[str, Any] | None = None) -> Path:
    """The folder that the hftrainer card describes."""
    write_checkpoint(folder / WEIGHTS, state)
    write_t5(folder / T5)
    write_statistics(folder / META)
    index = {"_class_name": "MotionGPTPipeline", "_library_name": "hftrainer", "model_type": "motiongpt"}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder
