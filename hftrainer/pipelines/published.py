"""Models at their published sizes with weights by formula: what they cost can be measured without their checkpoints.

What a network computes takes as long whatever its weights are, as long as its numbers stay finite and the number of
frames is given. The motions look like nothing.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from hftrainer.models.clip import ClipText, ClipTextConfig, ClipTower
from hftrainer.models.motion.mdm.bundle import MDMBundle
from hftrainer.models.motion.mdm.config import MDMConfig
from hftrainer.models.motion.mdm.network import MDM
from hftrainer.models.motion.mogents import official
from hftrainer.models.motion.mogents.bundle import MaskedBundle, MoGenTSBundle
from hftrainer.models.motion.mogents.length import LengthConfig, LengthEstimator
from hftrainer.models.motion.mogents.masked import MaskedTransformer
from hftrainer.models.motion.mogents.official import Family, Network
from hftrainer.models.motion.mogents.residual import ResidualConfig, ResidualTransformer
from hftrainer.models.motion.mogents.tokenizer import MoGenTSTokenizer, MoGenTSTokenizerConfig
from hftrainer.models.motion.momask.bundle import MoMaskBundle
from hftrainer.models.motion.momask.tokenizer import MoMaskTokenizer
from hftrainer.models.motion.motiongpt.bundle import Statistics
from hftrainer.models.motion.motiongpt.network import (
    LanguageModel,
    LanguageModelConfig,
    MotionTokenizer,
    TokenizerConfig,
)
from hftrainer.models.residual_quantize import ResidualQuantizer
from hftrainer.pipelines.masked import MaskedPipeline
from hftrainer.pipelines.mdm import MDMPipeline
from hftrainer.pipelines.mogents import MoGenTSPipeline
from hftrainer.pipelines.momask import MoMaskPipeline

Module = TypeVar("Module", bound=nn.Module)


@torch.no_grad()
def by_formula(network: Module) -> Module:
    """Fill the matrices of a network: normal numbers by a seed from each one's name, scaled by the root of its inputs.

    Biases, which a network begins with by chance, are zeros.

    >>> one, other = (by_formula(nn.Linear(64, 64)) for _ in range(2))
    >>> bool(torch.equal(one.weight, other.weight) and torch.equal(one.bias, other.bias))
    True
    >>> round(float(one.weight.std()), 1)
    0.1
    """
    for name, value in network.named_parameters():
        if value.dim() > 1:
            generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
            value.copy_(torch.randn(value.shape, generator=generator) / value[0].numel() ** 0.5)
        elif name.endswith("bias"):
            value.zero_()
    for name, part in network.named_modules():
        if isinstance(part, ResidualQuantizer):
            for index, layer in enumerate(part.layers):
                generator = torch.Generator().manual_seed(zlib.crc32(f"{name}.{index}".encode()))
                codebook: torch.Tensor = layer.codebook  # type: ignore[assignment]
                codebook.copy_(0.5 * 0.7**index * torch.randn(codebook.shape, generator=generator))
    return network.eval()


def _statistics() -> Statistics:
    """Small spreads, so that made bodies stay where bodies may be."""
    mean = np.zeros(263, np.float32)
    mean[3] = 0.9
    return Statistics(mean, np.full(263, 0.02, np.float32), "hml263")


def _clip() -> ClipTower:
    return ClipTower(by_formula(ClipText(ClipTextConfig())))


def published_mdm() -> MDMPipeline:
    """MDM for HumanML3D with 50 steps, its canvas as long as what is asked for."""
    config = MDMConfig(steps=50)
    return MDMPipeline(MDMBundle(by_formula(MDM(config)), _statistics(), _clip()))


def _networks(family: Family) -> dict[str, Network]:
    usual = official.config_from_artifact(family, {}, family.datasets[0])
    found: dict[str, Network] = {}
    for name in family.networks:
        config = official.network_config(family, name, usual)
        if isinstance(config, LengthConfig):
            found[name] = by_formula(LengthEstimator(config))
        elif isinstance(config, ResidualConfig):
            found[name] = by_formula(ResidualTransformer(config))
        elif isinstance(config, MoGenTSTokenizerConfig):
            found[name] = by_formula(MoGenTSTokenizer(config))
        elif name == "vq":
            found[name] = by_formula(MoMaskTokenizer(config))
        else:
            found[name] = by_formula(MaskedTransformer(config))
    return found


def published_masked(kind: type[MaskedBundle]) -> MaskedPipeline:
    """MoGenTS or MoMask for HumanML3D."""
    bundle = kind(_networks(kind.family), _statistics(), _clip())
    return MoGenTSPipeline(bundle) if kind is MoGenTSBundle else MoMaskPipeline(bundle)


def published_motiongpt() -> tuple[LanguageModel, MotionTokenizer]:
    """MotionGPT's language model, of T5-base's size, and its motion tokenizer; it needs no words to be timed."""
    return by_formula(LanguageModel(LanguageModelConfig())), by_formula(MotionTokenizer(TokenizerConfig()))


#: By name: how a pipeline of the published size is made.
PUBLISHED: dict[str, Callable[[], MDMPipeline | MaskedPipeline]] = {
    "mdm": published_mdm,
    "mogents": lambda: published_masked(MoGenTSBundle),
    "momask": lambda: published_masked(MoMaskBundle),
}
