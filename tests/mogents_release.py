"""Folders like those that the authors of MoGenTS and MoMask released, small, for tests."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from hftrainer.models.clip import ClipText, ClipTextConfig
from hftrainer.models.motion.mogents import official
from hftrainer.models.motion.mogents.length import LengthConfig, LengthEstimator
from hftrainer.models.motion.mogents.official import MOGENTS, Family
from hftrainer.models.tower_files import openai_rows

_TRANSFORMER = {"latent_dim": 24, "n_layers": 1, "n_heads": 2, "ff_size": 32, "dropout": 0.2, "cond_drop_prob": 0.1}
_VQ = {"down_t": 2, "stride_t": 2, "width": 16, "depth": 1, "dilation_growth_rate": 3, "vq_act": "relu",
       "vq_norm": None, "num_quantizers": 3, "shared_codebook": False, "quantize_dropout_prob": 0.2, "mu": 0.99}
#: What the options say besides: training, paths, things that look like lists.
_MORE = {"lr": 0.0002, "milestones": [150000, 250000], "gpu_id": 0, "name": "x", "batch_size": 256, "seed": 3407,
         "weight_decay": 1e-05, "is_train": True, "which_epoch": "all"}


def options(family: Family, dataset: str) -> dict[str, dict[str, Any]]:
    """What the ``opt.txt`` of each part says."""
    kit = dataset == "kit"
    if family is MOGENTS:
        vq = {"code_dim1d": 12, "nb_code1d": 16, "code_dim2d": 8, "nb_code2d": 14, **_VQ}
        grid = {"attnj": True, "attnt": True}
    else:
        vq, grid = {"code_dim": 12, "nb_code": 16, "output_emb_width": 12, **_VQ}, {}
    trained_on = {"dataset_name": dataset}
    names = {part.name: part.folders.get(dataset) for part in family.parts}
    return {
        "vq": {**vq, **trained_on, **_MORE, "vq_act": "gelu" if kit else "relu"},
        "mask": {**_TRANSFORMER, **grid, **trained_on, **_MORE, "vq_name": names["vq"], "unit_length": 4},
        "res": {**_TRANSFORMER, **grid, "share_weight": True, **trained_on, **_MORE, "vq_name": names["vq"]},
    }


def option_lines(said: dict[str, Any]) -> str:
    """An ``opt.txt``."""
    lines = [f"{key}: {said[key]}" for key in sorted(said)]
    return "\n".join(["------------ Options -------------", *lines, "-------------- End ----------------", ""])


def states(family: Family, said: dict[str, dict[str, Any]], seed: int = 0) -> dict[str, dict[str, Tensor]]:
    """States of all networks in the authors' names."""
    problems: list[str] = []
    config = official.config_from_options(family, said, problems)
    assert config is not None and not problems, problems
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name in family.networks:
        if name == "length_est":
            network: nn.Module = LengthEstimator(LengthConfig())
        else:
            sizes = official.network_config(family, name, config)
            network = KINDS[type(sizes).__name__](sizes)
        state = official.their_state(network)
        for key, value in state.items():
            if value.dim() < 2 and "orm" not in key:
                state[key] = torch.randn(value.shape, generator=generator) * 0.05
            elif value.dim() >= 2 and not key.endswith("position2d_enc.pe") and "position_enc" not in key:
                state[key] = torch.randn(value.shape, generator=generator) / value[0].numel() ** 0.5
        found[name] = state
    return found


KINDS: dict[str, Any] = {
    "MoGenTSTokenizerConfig": official.MoGenTSTokenizer,
    "MoMaskTokenizerConfig": official.MoMaskTokenizer,
    "TransformerConfig": official.MaskedTransformer,
    "ResidualConfig": official.ResidualTransformer,
}


def statistics(features: int = 263) -> tuple[np.ndarray, np.ndarray]:
    """A pair like the one that the motion tokenizers were trained with: root and contacts of std divided by 25."""
    rng = np.random.default_rng(features)
    mean, std = rng.normal(size=features).astype(np.float32), rng.uniform(0.1, 1, features).astype(np.float32)
    mean[-4:], std[-4:] = 0.8, 0.4 / 25
    return mean, std


def write(
    root: Path, family: Family, dataset: str | None = None, lengths: Path | None = None, seed: int = 0
) -> dict[str, dict[str, Tensor]]:
    """The folders of a release; what was written, network by network."""
    dataset = dataset or family.datasets[0]
    said = options(family, dataset)
    written = states(family, said, seed)
    for part in family.parts:
        length = part.name == "length"
        name = "length_estimator" if length else part.folders[dataset]
        folder = (lengths if length and lengths else root) / dataset / name
        (folder / "model").mkdir(parents=True)
        value: dict[str, Any] = {keys[0]: written[network] for network, keys in part.networks.items()}
        if length:
            value |= {"epoch": 3, "niter": 5}
        else:
            value |= {"ep": 12, "total_it": 99, "best_value": np.float64(0.25), "value": np.float64(0.5)}
            (folder / "opt.txt").write_text(option_lines(said[part.name]))
        torch.save(value, folder / "model" / part.files[0])
        if part.name == "vq":
            (folder / "meta").mkdir()
            for file, array in zip(("mean", "std"), statistics(251 if dataset == "kit" else 263), strict=True):
                np.save(folder / "meta" / f"{file}.npy", array)
    return written


def clip(file: Path, image_half: bool = True) -> Path:
    """A small CLIP as OpenAI keeps it, with a vocabulary of the published size."""
    config = ClipTextConfig(width=64, layers=1, heads=1, output=512)
    generator, network, state = torch.Generator().manual_seed(7), ClipText(config), {}
    for row in openai_rows(1):
        shape = network.state_dict()[row.ours].shape
        value = (torch.randn(shape, generator=generator) * (0.05 if len(shape) > 1 else 0.02)).half().float()
        state[row.theirs[0]] = value + 1 if "norm" in row.ours and row.ours.endswith("weight") else value
    if image_half:
        state |= {"visual.proj": torch.ones(4, 512), "logit_scale": torch.tensor(4.6)}
    if file.suffix == ".safetensors":
        save_file(state, file)
    else:
        torch.save(state, file)
    return file
