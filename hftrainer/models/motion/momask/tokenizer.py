"""MoMask's motion tokenizer: one stream of residual tokens, a stack of them for every four frames.

Legend: ``B`` batch, ``T`` frames, ``L`` tokens, ``D`` features, ``Q`` layers of codes.

Source: Guo et al., "MoMask: Generative Masked Modeling of 3D Human Motions", CVPR 2024, section 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hftrainer.models.convolution import Decoder, Encoder, Levels
from hftrainer.models.residual_quantize import ResidualQuantizer


@dataclass(frozen=True)
class MoMaskTokenizerConfig:
    """Sizes of the motion tokenizer; the defaults are MoMask's for HumanML3D.

    Attributes:
        features: ``D``, numbers per frame.
        codes: codes of a layer.
        code_width: channels of a code.
        layers: ``Q``.
        width, depth, down, dilation_growth, norm, activation, dropout: see ``Levels``.
        shared_codebook: one codebook for all layers.
        layer_dropout: how often a training step leaves out the layers behind a drawn one.
        decay: weight of the past in the moving averages of codes.

    Raises:
        ValueError: a size below 1, or what ``Levels`` and ``ResidualQuantizer`` refuse.
    """

    features: int = 263
    codes: int = 512
    code_width: int = 512
    layers: int = 6
    width: int = 512
    depth: int = 3
    down: int = 2
    dilation_growth: int = 3
    norm: str | None = None
    activation: str = "relu"
    dropout: float = 0.2
    shared_codebook: bool = False
    layer_dropout: float = 0.2
    decay: float = 0.99

    def __post_init__(self) -> None:
        for name in ("features", "codes", "code_width", "layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; got {getattr(self, name)}.")
        if not 0 <= self.layer_dropout <= 1:
            raise ValueError(f"layer_dropout must be in [0, 1]; got {self.layer_dropout}.")
        assert self.levels  # refuses what does not go together

    @property
    def levels(self) -> Levels:
        """Sizes inside encoder and decoder."""
        return Levels(
            self.width, self.depth, self.down, self.dilation_growth, self.norm, self.activation, self.dropout
        )  # fmt: skip

    @property
    def frames_per_token(self) -> int:
        """4 for two levels."""
        return self.levels.rate


class MoMaskTokenizer(nn.Module):
    """Turns normalised features into residual tokens and back.

    >>> net = MoMaskTokenizer(MoMaskTokenizerConfig(width=32, code_width=32, codes=16)).eval()
    >>> tokens = net.encode(torch.zeros(2, 61, 263))
    >>> tokens.shape, net.decode(tokens).shape
    (torch.Size([2, 15, 6]), torch.Size([2, 60, 263]))
    """

    def __init__(self, config: MoMaskTokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config.features, config.code_width, config.levels)
        self.decoder = Decoder(config.features, config.code_width, config.levels)
        self.quantizer = ResidualQuantizer(
            config.codes, config.code_width, config.layers, config.shared_codebook, config.layer_dropout, config.decay
        )

    def encode(self, features: Tensor) -> Tensor:
        """``(B, T, D)`` normalised features -> ``(B, L, Q)`` tokens."""
        return self.quantizer.encode(self.encoder(features))

    def decode(self, tokens: Tensor) -> Tensor:
        """Tokens to features.

        Args:
            tokens: ``(B, L, q)``, the first ``q <= Q`` layers; -1 stands for nothing (padding).

        Returns:
            ``(B, L * frames_per_token, D)`` normalised features.
        """
        return self.decoder(self.quantizer.lookup(tokens))

    def forward(
        self, features: Tensor, layers: int | None = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruction ``(B, T', D)``, commitment loss, perplexity; ``layers`` as in ``ResidualQuantizer``."""
        rows = self.encoder(features)
        with torch.autocast(rows.device.type, enabled=False):  # distances need the full mantissa
            quantized, commitment, perplexity = self.quantizer(rows.float(), layers, generator)
        return self.decoder(quantized), commitment, perplexity
