"""MoGenTS' motion tokenizer: residual tokens of whole poses, and a grid of residual tokens over time and joints.

Legend: ``B`` batch, ``T`` frames, ``L`` tokens in time, ``J`` columns of pooled joints, ``D`` features, ``Q`` layers.

Two streams: the one of whole poses is auxiliary; the grid sees each joint's position, rotation and velocity. A last
linear map joins what both decode.

Source: Yuan et al., "MoGenTS: Motion Generation based on Spatial-Temporal Joint Modeling", NeurIPS 2024, section 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hftrainer.models.convolution import Decoder, Encoder, Levels
from hftrainer.models.motion.mogents.joints import CHANNELS, count_joints, join_joints, split_joints
from hftrainer.models.residual_quantize import ResidualQuantizer

#: Joints with the padding at both ends, so that halving them twice comes out even.
PADDED_JOINTS = 24


@dataclass(frozen=True)
class MoGenTSTokenizerConfig:
    """Sizes of the motion tokenizer; the defaults are those of the released model for HumanML3D.

    Attributes:
        features: ``D``, numbers per frame: 263 (22 joints) or 251 (21 joints).
        aux_codes, aux_width: codes of a layer of the stream of whole poses, and channels of a code.
        grid_codes, grid_width: the same of the grid.
        layers: ``Q``, of both streams.
        width, depth, down, dilation_growth, norm, activation, dropout: see ``Levels``; the same for both streams.
        grid_inner: the ``width`` inside the grid's encoder and decoder where it is another; they do the most work.
        shared_codebook: one codebook for all layers of a stream.
        layer_dropout: how often a training step leaves out the layers behind a drawn one.
        decay: weight of the past in the moving averages of codes.

    Raises:
        ValueError: a size below 1, features of another layout, joints that do not halve ``down`` times, or what
            ``Levels`` and ``ResidualQuantizer`` refuse.

    >>> MoGenTSTokenizerConfig().columns, MoGenTSTokenizerConfig(features=251).joints
    (6, 21)
    """

    features: int = 263
    aux_codes: int = 512
    aux_width: int = 512
    grid_codes: int = 256
    grid_width: int = 1024
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
    grid_inner: int | None = None

    def __post_init__(self) -> None:
        for name in ("aux_codes", "aux_width", "grid_codes", "grid_width", "layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; got {getattr(self, name)}.")
        if not 0 <= self.layer_dropout <= 1:
            raise ValueError(f"layer_dropout must be in [0, 1]; got {self.layer_dropout}.")
        if self.joints not in (21, 22):
            raise ValueError(f"features must be 263 (22 joints) or 251 (21 joints); got {self.features}.")
        assert self.levels  # refuses what does not go together
        if PADDED_JOINTS % self.grid_levels.rate:
            raise ValueError(f"down must be at most 3, so that {PADDED_JOINTS} joints halve evenly; got {self.down}.")

    @property
    def joints(self) -> int:
        """22, or 21 for KIT."""
        return count_joints(self.features)

    @property
    def columns(self) -> int:
        """``J``, columns of the grid: 6 for two levels."""
        return PADDED_JOINTS // self.grid_levels.rate

    @property
    def levels(self) -> Levels:
        """Sizes inside encoder and decoder of the stream of whole poses."""
        return replace(self.grid_levels, width=self.width, axes=1)

    @property
    def grid_levels(self) -> Levels:
        """Sizes inside encoder and decoder of the grid."""
        inner = self.width if self.grid_inner is None else self.grid_inner
        return Levels(
            inner, self.depth, self.down, self.dilation_growth, self.norm, self.activation, self.dropout, axes=2
        )  # fmt: skip

    @property
    def frames_per_token(self) -> int:
        """4 for two levels."""
        return self.levels.rate


@dataclass(frozen=True)
class Streams:
    """What a pass through the whole tokenizer gives.

    Attributes:
        features: ``(B, T', D)`` the motion, joined from both streams.
        aux, grid: ``(B, T', D)`` what each stream alone makes of it; the grid leaves root and contacts at 0.
        aux_commitment, grid_commitment: commitment loss of each stream.
        aux_perplexity, grid_perplexity: how many codes are in effective use.
    """

    features: Tensor
    aux: Tensor
    grid: Tensor
    aux_commitment: Tensor
    grid_commitment: Tensor
    aux_perplexity: Tensor
    grid_perplexity: Tensor


class MoGenTSTokenizer(nn.Module):
    """Turns normalised features into residual tokens of poses and of joints, and back.

    >>> config = MoGenTSTokenizerConfig(width=16, aux_width=8, aux_codes=16, grid_width=8, grid_codes=16)
    >>> net = MoGenTSTokenizer(config).eval()
    >>> aux, grid = net.encode(torch.zeros(2, 61, 263))
    >>> aux.shape, grid.shape, net.decode(aux, grid).shape
    (torch.Size([2, 15, 6]), torch.Size([2, 15, 6, 6]), torch.Size([2, 60, 263]))
    """

    def __init__(self, config: MoGenTSTokenizerConfig) -> None:
        super().__init__()
        self.config = c = config
        self.aux_encoder = Encoder(c.features, c.aux_width, c.levels)
        self.aux_decoder = Decoder(c.features, c.aux_width, c.levels)
        self.grid_encoder = Encoder(CHANNELS, c.grid_width, c.grid_levels)
        self.grid_decoder = Decoder(CHANNELS, c.grid_width, c.grid_levels)
        more = c.layers, c.shared_codebook, c.layer_dropout, c.decay
        self.aux_quantizer = ResidualQuantizer(c.aux_codes, c.aux_width, *more)
        self.grid_quantizer = ResidualQuantizer(c.grid_codes, c.grid_width, *more)
        self.mix = nn.Linear(c.columns * c.grid_width, c.columns * c.grid_width)
        self.join = nn.Linear(2 * c.features, c.features)

    def rows(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, T, D)`` normalised features -> encoder outputs ``(B, L, C)`` and ``(B, J, L, C)``."""
        return self.aux_encoder(features), self._grid_rows(features)

    def _grid_rows(self, features: Tensor) -> Tensor:
        joints, spare = split_joints(features), PADDED_JOINTS - self.config.joints
        padded = F.pad(joints, (0, 0, spare // 2, spare - spare // 2))  # (B, T, 24, 12)
        return self.grid_encoder(padded).transpose(1, 2)

    def encode(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, T, D)`` normalised features -> tokens ``(B, L, Q)`` of poses and ``(B, L, J, Q)`` of joints."""
        aux, grid = self.rows(features)
        return self.aux_quantizer.encode(aux), self.grid_quantizer.encode(grid).transpose(1, 2)

    def joints_of_poses(self, aux: Tensor) -> Tensor:
        """``(B, L, q)`` tokens of poses -> ``(B, L, J)`` tokens of joints, first layer, of the motion that they are."""
        features = self.aux_decoder(self.aux_quantizer.lookup(aux))
        return self.grid_quantizer.encode(self._grid_rows(features)).transpose(1, 2)[..., 0]

    def decode(self, aux: Tensor, grid: Tensor) -> Tensor:
        """Tokens to features.

        Args:
            aux: ``(B, L, q)`` tokens of poses, the first ``q <= Q`` layers; -1 stands for nothing (padding).
            grid: ``(B, L, J, q)`` tokens of joints; both streams may have a number of layers of their own.

        Returns:
            ``(B, L * frames_per_token, D)`` normalised features.
        """
        return self.decode_streams(aux, grid)[0]

    def decode_streams(self, aux: Tensor, grid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As ``decode``, and what the poses alone and the joints alone say: three times ``(B, T, D)``."""
        poses = self.aux_decoder(self.aux_quantizer.lookup(aux))
        joints = self._grid_outputs(self.grid_quantizer.lookup(grid))
        return self.join(torch.cat([poses, joints], -1)), poses, joints

    def _grid_outputs(self, grid: Tensor) -> Tensor:
        """Quantised ``(B, L, J, C)`` -> ``(B, T, D)``."""
        mixed = self.mix(grid.flatten(2)).unflatten(2, grid.shape[2:])
        before = (PADDED_JOINTS - self.config.joints) // 2
        return join_joints(self.grid_decoder(mixed)[:, :, before : before + self.config.joints])

    def forward(
        self, features: Tensor, layers: tuple[int, int] | None = None, generator: torch.Generator | None = None
    ) -> Streams:
        """All that the loss needs.

        Args:
            features: ``(B, T, D)`` normalised.
            layers: how many layers of poses and of joints run; by default all, in training mode drawn numbers.
            generator: source of the draws of codes.
        """
        ran = layers or (None, None)
        rows = self.aux_encoder(features)  # poses to their end before joints begin: chance is drawn in that order
        quantized, *of_aux = _quantize(self.aux_quantizer, rows, ran[0], generator)
        poses = self.aux_decoder(quantized)
        quantized, *of_grid = _quantize(self.grid_quantizer, self._grid_rows(features), ran[1], generator)
        joints = self._grid_outputs(quantized.transpose(1, 2))
        motion = self.join(torch.cat([poses, joints], -1))
        return Streams(motion, poses, joints, of_aux[0], of_grid[0], of_aux[1], of_grid[1])


def _quantize(
    quantizer: ResidualQuantizer, rows: Tensor, layers: int | None, generator: torch.Generator | None
) -> tuple[Tensor, Tensor, Tensor]:
    with torch.autocast(rows.device.type, enabled=False):  # distances need the full mantissa
        found: tuple[Tensor, Tensor, Tensor] = quantizer(rows.float(), layers, generator)
    return found
