"""Files like those that MDM's authors and the makers of its text towers released, small, for tests."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from hftrainer.models.clip import ClipText, ClipTextConfig
from hftrainer.models.distilbert import DistilBert, DistilBertConfig
from hftrainer.models.motion.mdm import official
from hftrainer.models.motion.mdm.network import MDM
from hftrainer.models.tower_files import Row, distilbert_rows, openai_rows, transformers_rows

SMALL = {"latent_dim": 32, "layers": 1, "diffusion_steps": 50}
#: Options of every released kind, reduced in width and depth.
KINDS: dict[str, dict[str, Any]] = {
    "flat of 2022": {},
    "50 steps": {"mask_frames": True, "use_ema": True, "emb_before_mask": False, "keyframe_cond_type": "none"},
    "decoder": {"arch": "trans_dec"},
    "decoder with time token": {"arch": "trans_dec", "emb_trans_dec": True},
    "distilbert": {"arch": "trans_dec", "text_encoder_type": "bert", "mask_frames": True},
    "kit": {"dataset": "kit"},
    "dip": {"arch": "trans_dec", "text_encoder_type": "bert", "mask_frames": True, "diffusion_steps": 10,
            "context_len": 20, "pred_len": 40, "use_ema": True},
    "dip with target": {"arch": "trans_dec", "text_encoder_type": "bert", "mask_frames": True, "diffusion_steps": 10,
                        "context_len": 20, "pred_len": 40, "lambda_target_loc": 1.0},
}  # fmt: skip


def options(kind: str, **more: Any) -> dict[str, Any]:
    """An ``args.json``, with some options of training."""
    return {**SMALL, "seed": 10, "lr": 1e-4, **KINDS[kind], **more}


def state(said: dict[str, Any], seed: int = 0, rows: int = 70) -> dict[str, Tensor]:
    """A state in the authors' names, tables of positions included."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = official.config_from_arguments(said)
        network = MDM(config)
        for name, value in network.named_parameters():
            if value.dim() < 2 and "norm" not in name:
                nn.init.normal_(value, std=0.05)
    table = torch.zeros(rows, 1, config.width)
    places = {"sequence_pos_encoder.pe": table, "embed_timestep.sequence_pos_encoder.pe": table}
    return {**official.to_theirs(network.state_dict(), config), **places}


def statistics(features: int = 263) -> tuple[np.ndarray, np.ndarray]:
    """A pair whose contacts have the spread that 0 and 1 have."""
    rng = np.random.default_rng(features)
    mean, std = rng.normal(size=features).astype(np.float32), rng.uniform(0.1, 1, features).astype(np.float32)
    mean[-4:], std[-4:] = 0.8, 0.4
    return mean, std


def write(folder: Path, said: dict[str, Any] | None, value: Any = None) -> Path:
    """``model000000050.pt``, ``args.json`` and the statistics; the checkpoint's path."""
    folder.mkdir(parents=True, exist_ok=True)
    value = state(said or SMALL) if value is None else value
    torch.save(value, folder / "model000000050.pt")
    if said is not None:
        (folder / "args.json").write_text(json.dumps(said))
    mean, std = statistics(251 if (said or {}).get("dataset") == "kit" else 263)
    np.save(folder / "Mean.npy", mean)
    np.save(folder / "Std.npy", std)
    return folder / "model000000050.pt"


def _named(network: nn.Module, rows: list[Row], seed: int) -> dict[str, Tensor]:
    generator, found = torch.Generator().manual_seed(seed), {}
    for row in rows:
        shape = network.state_dict()[row.ours].shape
        value = torch.randn(shape, generator=generator) / (shape[-1] ** 0.5 if len(shape) > 1 else 10)
        value = value.half().float()  # as the released weights, which were kept in half precision
        value = value + 1 if "norm" in row.ours and row.ours.endswith("weight") else value
        value = value.t().contiguous() if row.transposed else value
        found |= {name: part.clone() for name, part in zip(row.theirs, value.chunk(len(row.theirs)), strict=True)}
    return found


CLIP = ClipTextConfig(width=64, layers=2, heads=1)
DISTILBERT = DistilBertConfig(vocabulary=12, positions=16, layers=1, feed_forward=32)


def clip_by_openai() -> dict[str, Tensor]:
    """A small tower by OpenAI's names, with something of the image half."""
    with torch.device("meta"):
        network = ClipText(CLIP)
    more = {"visual.proj": torch.zeros(2, 2), "logit_scale": torch.ones(())}
    return {**_named(network, openai_rows(CLIP.layers), 3), **more}


def clip_folder(folder: Path) -> Path:
    """The same numbers as transformers keeps them."""
    theirs = clip_by_openai()
    ours = {row.ours: theirs[row.theirs[0]] for row in openai_rows(CLIP.layers)}
    found = {"logit_scale": torch.ones(()), "vision_model.post_layernorm.bias": torch.zeros(3)}
    for row in transformers_rows(CLIP.layers):
        value = ours[row.ours].t() if row.transposed else ours[row.ours]
        parts = value.chunk(len(row.theirs))
        found |= {name: part.contiguous() for name, part in zip(row.theirs, parts, strict=True)}
    folder.mkdir(parents=True)
    save_file(found, folder / "model.safetensors")
    text = {"hidden_act": "quick_gelu", "num_attention_heads": CLIP.heads, "model_type": "clip_text_model"}
    (folder / "config.json").write_text(json.dumps({"model_type": "clip", "text_config": text}))
    return folder


def distilbert_folder(folder: Path) -> Path:
    """A small DistilBERT as transformers keeps it, with a list of words."""
    with torch.device("meta"):
        network = DistilBert(DISTILBERT)
    found = {f"distilbert.{key}": value for key, value in _named(network, distilbert_rows(1), 4).items()}
    folder.mkdir(parents=True)
    save_file({**found, "vocab_projector.bias": torch.zeros(3)}, folder / "model.safetensors")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "person", "walk", "##s", "forward", "."]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    (folder / "config.json").write_text(json.dumps({"model_type": "distilbert", "n_heads": 12, "activation": "gelu"}))
    return folder
