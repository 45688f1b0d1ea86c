"""The convolutional encoder and decoder that all motion tokenizers share, over frames or over frames and joints.

Legend: ``B`` batch, ``T`` frames, ``L`` tokens, ``D`` features, ``C`` channels of a code, ``W`` width. Over frames and
joints a tensor has one more axis: ``(B, T, J, D)``, and joints are halved as frames are.

Source: Zhang et al. 2023 (T2M-GPT), whose network MotionGPT, MoMask and MoGenTS took over; Yuan et al. 2024 (MoGenTS)
for the one over frames and joints.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "silu": F.silu, "gelu": F.gelu}


@dataclass(frozen=True)
class Levels:
    """Sizes inside an encoder and its decoder.

    Attributes:
        width: ``W``, channels.
        depth: residual blocks per level.
        down: levels; each halves the rate. 0 keeps it, and has no residual blocks.
        dilation_growth: dilation ratio between the blocks of a level.
        norm: ``"layer"``, ``"group"``, ``"batch"`` or none; over joints ``"group"`` or none.
        activation: ``"relu"``, ``"silu"`` or ``"gelu"`` inside the residual blocks.
        dropout: at the end of each residual block, in training.
        axes: 1 for frames, 2 for frames and joints.

    Raises:
        ValueError: a size below its least value, an unknown norm or activation, or a pair that does not go together.

    >>> Levels(width=32, down=2).rate
    4
    """

    width: int = 512
    depth: int = 3
    down: int = 2
    dilation_growth: int = 3
    norm: str | None = None
    activation: str = "relu"
    dropout: float = 0.0
    axes: int = 1

    def __post_init__(self) -> None:
        if self.down < 0:
            raise ValueError(f"down must be at least 0; got {self.down}.")
        for name in ("width", "depth", "dilation_growth"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; got {getattr(self, name)}.")
        if self.axes not in (1, 2):
            raise ValueError(f"axes must be 1 or 2; got {self.axes}.")
        if self.norm not in (None, "layer", "group", "batch"):
            raise ValueError(f"norm must be layer, group, batch or none; got {self.norm!r}.")
        if self.axes == 2 and self.norm not in (None, "group"):
            raise ValueError(f"norm must be group or none over joints; got {self.norm!r}.")
        if self.norm == "group" and self.width % 32:
            raise ValueError(f"width must be a multiple of 32 for group norm; got {self.width}.")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}; got {self.activation!r}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1); got {self.dropout}.")

    @property
    def rate(self) -> int:
        """Frames per token."""
        return 2**self.down

    def convolution(self, enter: int, leave: int, size: int = 3, dilation: int = 1) -> nn.Module:
        """One that keeps the length."""
        kind = nn.Conv1d if self.axes == 1 else nn.Conv2d
        return kind(enter, leave, size, padding=dilation * (size // 2), dilation=dilation)

    def halving(self) -> nn.Module:
        """A convolution that halves the length; an odd frame at the end is dropped."""
        return (nn.Conv1d if self.axes == 1 else nn.Conv2d)(self.width, self.width, 4, 2, 1)


class _ChannelNorm(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:  # (B, C, T)
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


def _norm(kind: str | None, width: int) -> nn.Module:
    if kind == "layer":
        return _ChannelNorm(width)
    if kind == "group":
        return nn.GroupNorm(32, width, eps=1e-6)
    return nn.BatchNorm1d(width, eps=1e-6) if kind == "batch" else nn.Identity()


class ResidualBlock(nn.Module):
    """Pre-activation residual: a dilated convolution, then a pointwise one. ``(B, W, T)`` -> the same shape."""

    def __init__(self, levels: Levels, dilation: int) -> None:
        super().__init__()
        width = levels.width
        self.norm1, self.norm2 = _norm(levels.norm, width), _norm(levels.norm, width)
        self.conv1 = levels.convolution(width, width, dilation=dilation)
        self.conv2 = levels.convolution(width, width, size=1)
        self.activation = ACTIVATIONS[levels.activation]
        self.dropout = nn.Dropout(levels.dropout)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(self.activation(self.norm1(x)))
        return x + self.dropout(self.conv2(self.activation(self.norm2(y))))


def _level(levels: Levels) -> nn.Sequential:
    dilations = [levels.dilation_growth**i for i in reversed(range(levels.depth))]  # widest view first
    return nn.Sequential(*(ResidualBlock(levels, d) for d in dilations))


class Encoder(nn.Module):
    """``(B, T, D)`` -> ``(B, L, C)``; each level halves the length, odd frames at the end are dropped.

    Args:
        features: ``D``.
        code_width: ``C``.
        levels: sizes inside; with two axes ``(B, T, J, D)`` -> ``(B, L, J / rate, C)``.

    >>> import torch
    >>> Encoder(12, 8, Levels(width=16, axes=2))(torch.zeros(2, 9, 24, 12)).shape
    torch.Size([2, 2, 6, 8])
    """

    def __init__(self, features: int, code_width: int, levels: Levels) -> None:
        super().__init__()
        self.enter = levels.convolution(features, levels.width)
        self.down = nn.ModuleList(levels.halving() for _ in range(levels.down))
        self.levels = nn.ModuleList(_level(levels) for _ in range(levels.down))
        self.leave = levels.convolution(levels.width, code_width)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.enter(x.movedim(-1, 1)))  # (B, W, T)
        for down, level in zip(self.down, self.levels, strict=True):
            y = level(down(y))
        return self.leave(y).movedim(1, -1)  # (B, L, C)


class Decoder(nn.Module):
    """``(B, L, C)`` -> ``(B, T, D)``, ``T = L * rate``; with two axes joints are doubled as frames are.

    Args:
        features, code_width, levels: of the encoder.

    >>> import torch
    >>> Decoder(12, 8, Levels(width=16, axes=2))(torch.zeros(2, 2, 6, 8)).shape
    torch.Size([2, 8, 24, 12])
    """

    def __init__(self, features: int, code_width: int, levels: Levels) -> None:
        super().__init__()
        self.enter = levels.convolution(code_width, levels.width)
        self.levels = nn.ModuleList(_level(levels) for _ in range(levels.down))
        self.up = nn.ModuleList(levels.convolution(levels.width, levels.width) for _ in range(levels.down))
        self.smooth = levels.convolution(levels.width, levels.width)
        self.leave = levels.convolution(levels.width, features)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.enter(x.movedim(-1, 1)))  # (B, W, L)
        for level, up in zip(self.levels, self.up, strict=True):
            y = up(F.interpolate(level(y), scale_factor=2, mode="nearest"))
        return self.leave(F.relu(self.smooth(y))).movedim(1, -1)  # (B, T, D)
