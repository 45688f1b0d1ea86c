"""What the transformers of MoGenTS and MoMask share: sizes, positions, and the attention stages.

Legend: ``B`` batch, ``T`` token frames (one for four frames of motion), ``J`` columns of a token frame (1 where a token
is a whole pose, 6 where it is one pooled joint), ``N = T * J`` cells, frame by frame, ``D`` width, ``P`` prefix rows
(the text, and what else a network reads before the frames), ``W`` text width.

Source: Yuan et al., "MoGenTS: Motion Generation based on Spatial-Temporal Joint Modeling", NeurIPS 2024; Guo et al.,
"MoMask: Generative Masked Modeling of 3D Human Motions", CVPR 2024, whose networks are those with one column.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hftrainer.models.motion.mdm.config import MDMConfig
from hftrainer.models.motion.mdm.network import Layer, position_table
from hftrainer.models.motion.mdm.packing import is_packed

#: How the attention among columns gives its result back to the cells; see ``TransformerConfig.mixing``.
MIXINGS = ("none", "sample", "batch")
#: Rows of the table of positions with one column, and rows and columns of the one with several.
PLACES, GRID = 5000, (200, 50)


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes and habits of a mask transformer.

    Attributes:
        codes: size of the vocabulary.
        code_width: width of its table of tokens.
        columns: ``J``: 1 where a token is a whole pose, 6 for the pooled joints of MoGenTS.
        width, layers, heads, feed_forward, dropout: of the transformer; ``layers`` of each stage.
        text_width: ``W``.
        condition_dropout: how often training hides the text; above 0 is what guidance needs.
        joint_attention: a stage in which the columns of a frame attend to each other.
        time_attention: a stage in which the frames of a column attend to each other.
        learned_positions: with one column: positions are learned, as in MoGenTS, or computed, as in MoMask.
        time_sees_text: the stage along time attends to the text. The released mask transformer of MoGenTS does not.
        mixing: of residual transformers with ``joint_attention``. ``"none"``: a cell gets its own result.
            ``"batch"``: the order of the authors' code, which gives a cell the result of another column, frame and
            sample, so that a motion depends on its company. ``"sample"``: that order as it is for a sample alone.

    Raises:
        ValueError: sizes that no network can have.

    >>> TransformerConfig(columns=6, joint_attention=True).columns
    6
    >>> TransformerConfig(width=30)
    Traceback (most recent call last):
        ...
    ValueError: width must be a multiple of 4 and of 6 heads; got 30.
    """

    codes: int = 512
    code_width: int = 512
    columns: int = 1
    width: int = 384
    layers: int = 8
    heads: int = 6
    feed_forward: int = 1024
    dropout: float = 0.2
    text_width: int = 512
    condition_dropout: float = 0.1
    joint_attention: bool = False
    time_attention: bool = False
    learned_positions: bool = False
    time_sees_text: bool = True
    mixing: str = "none"

    def __post_init__(self) -> None:
        for name in ("codes", "code_width", "columns", "width", "layers", "heads", "feed_forward", "text_width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; got {getattr(self, name)}.")
        for name in ("dropout", "condition_dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be 0 to 1; got {getattr(self, name)}.")
        if self.width % 4 or self.width % self.heads:
            raise ValueError(f"width must be a multiple of 4 and of {self.heads} heads; got {self.width}.")
        if self.columns > GRID[1]:
            raise ValueError(f"columns must be at most {GRID[1]}; got {self.columns}.")
        if self.columns == 1 and (self.joint_attention or self.time_attention):
            raise ValueError("joint_attention and time_attention must be off with one column; got columns = 1.")
        if self.columns > 1 and self.learned_positions:
            raise ValueError(f"learned_positions must be off with several columns; got columns = {self.columns}.")
        if self.mixing not in MIXINGS:
            raise ValueError(f"mixing must be one of {', '.join(MIXINGS)}; got {self.mixing!r}.")

    @property
    def guidable(self) -> bool:
        """Whether training hid the text at times, so that the network also knows motion without one."""
        return self.condition_dropout > 0


def grid_table(rows: int, columns: int, width: int) -> Tensor:
    """Sines and cosines of a column (first half of the width) and of a row (second half), ``(rows, columns, width)``.

    >>> table = grid_table(3, 2, 8)
    >>> bool((table[0, :, :4] == table[2, :, :4]).all()), bool((table[:, 0, 4:] == table[:, 1, 4:]).all())
    (True, True)
    """
    half = width // 2
    speed = torch.exp(torch.arange(0.0, half, 2) * -(math.log(10000.0) / half))
    table = torch.zeros(rows, columns, width)
    across, down = torch.arange(float(columns))[:, None] * speed, torch.arange(float(rows))[:, None] * speed
    table[..., 0:half:2], table[..., 1:half:2] = torch.sin(across), torch.cos(across)
    table[..., half::2], table[..., half + 1 :: 2] = torch.sin(down)[:, None], torch.cos(down)[:, None]
    return table


def real_frames(lengths: Tensor, frames: int | None = None) -> Tensor:
    """``(B,)`` token frames -> ``(B, T)`` bool, True where a token frame is real.

    >>> real_frames(torch.tensor([1, 2])).tolist()
    [[True, False], [True, True]]
    """
    count = int(lengths.max()) if frames is None else frames
    return torch.arange(count, device=lengths.device)[None] < lengths[:, None]


@dataclass(frozen=True)
class Context:
    """What stays the same from one iteration to the next: made once by ``Transformer.context``.

    Attributes:
        text: ``(1, B, D)`` text as a token.
        real: ``(B, T)`` bool, True where a token frame is real.
        frames: samples and token frames of the real ones.
        bias: ``(B, H, 1, P * J + N)`` of the first stage: 0, or minus infinity where there is nothing to attend to;
            of packed networks none where that is nowhere.
        time_bias: ``(B * J, H, 1, P + T)`` of the stage along time, ``(B * J, H, 1, T)`` where it reads no prefix.
        told: whether the stage along time reads the prefix.
        entered: ``(K + 2, D)`` of mask transformers, where nothing is trained: each token as the layers read it.
        source: ``(B, T, J)`` where a cell finds its result of the stage among columns, counted through
            ``(B, T, J)``; none where it is its own.
    """

    text: Tensor
    real: Tensor
    frames: tuple[Tensor, ...]
    bias: Tensor | None
    time_bias: Tensor | None = None
    source: Tensor | None = None
    entered: Tensor | None = None
    told: bool = True


class Transformer(nn.Module):
    """Reads prefix rows and cells, attends in up to three stages; mask and residual transformers say the rest.

    Args:
        config: sizes.
        prefix: ``P``.
        out: width of what comes out.
    """

    places: Tensor
    #: Names of the stages that a network has, in their order, are among these.
    STAGES = ("layers", "joint_layers", "time_layers")

    def __init__(self, config: TransformerConfig, prefix: int, out: int) -> None:
        super().__init__()
        self.config, self.prefix = config, prefix
        width = config.width
        self.enter = nn.Linear(config.code_width, width)
        self.text = nn.Linear(config.text_width, width)
        self.layers = _stack(config)
        if config.joint_attention:
            self.joint_layers = _stack(config)
        if config.time_attention:
            self.time_layers = _stack(config)
        self.dense = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.leave = nn.Linear(width, out)
        self.dropout = nn.Dropout(config.dropout)
        if config.columns > 1:
            self.register_buffer("places", grid_table(*GRID, width), persistent=False)
        elif config.learned_positions:
            self.places = nn.Parameter(position_table(PLACES, width))
        else:
            self.register_buffer("places", position_table(PLACES, width), persistent=False)

    def begin(self) -> None:
        """First weights: normal with deviation 0.02; the attention of all layers of a stage begins alike."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
        for name in self.STAGES:
            stage = getattr(self, name, None)
            if stage is not None:
                nn.init.xavier_uniform_(stage[0].attention.project.weight)
                for layer in stage[1:]:
                    layer.attention.project.weight.data.copy_(stage[0].attention.project.weight.data)

    def context(self, text: Tensor, real: Tensor, mixing: str | None = None) -> Context:
        """What a motion shall be like and how long it is.

        In training mode the text of each sample is hidden with the probability that the configuration says, drawn from
        torch's global generator, as dropout is.

        Args:
            text: ``(B, W)`` of a text tower; zeros mean no text.
            real: ``(B, T)`` bool, True where a token frame is real; a sample has at least one.
            mixing: in place of the configuration's.

        Raises:
            ValueError: more token frames than there are positions, or a sample without any.
        """
        config, (batch, frames) = self.config, real.shape
        most = (GRID[0] if config.columns > 1 else PLACES) - self.prefix
        if frames > most:
            raise ValueError(f"token frames must be at most {most}; got {frames}. Ask for a shorter motion.")
        if not bool(real.any(1).all()):
            raise ValueError("each sample must have at least one real token frame; got one without. Leave it out.")
        if self.training and config.condition_dropout > 0:
            odds = torch.ones(batch, device=text.device) * config.condition_dropout
            text = text * (1 - torch.bernoulli(odds))[:, None]
        shown = torch.ones(batch, self.prefix, dtype=torch.bool, device=real.device)
        bias = self._bias(torch.cat((shown, real), 1).repeat_interleave(config.columns, 1))
        time_bias = source = None
        # rows that nothing looks at draw dropout in training, so there they stay
        told = config.time_sees_text or self.training or torch.is_grad_enabled()
        if config.time_attention:
            shown = shown if config.time_sees_text else ~shown
            seen = torch.cat((shown, real), 1) if told else real
            time_bias = self._bias(seen.repeat_interleave(config.columns, 0))
        if config.joint_attention:
            source = sources(real, config.columns, config.mixing if mixing is None else mixing)
        token = self.text(text.to(self.norm.weight.dtype))[None]
        return Context(token, real, real.nonzero(as_tuple=True), bias, time_bias, source, told=told)

    def _bias(self, real: Tensor) -> Tensor | None:
        if is_packed(self) and bool(real.all()):
            return None
        none = torch.zeros(real.shape, dtype=self.norm.weight.dtype, device=real.device)
        return none.masked_fill(~real, float("-inf"))[:, None, None].expand(-1, self.config.heads, -1, -1)

    def along_poses(self, prefix: Tensor, x: Tensor, context: Context) -> Tensor:
        """The one stage of networks with one column: ``(P, B, D)``, ``(T, B, D)`` -> ``(T, B, D)``."""
        sequence = torch.cat((prefix, self.dropout(x + self.places[: len(x)])))
        for layer in self.layers:
            sequence = layer(sequence, context.bias)
        return sequence[len(prefix) :]

    def along_cells(self, prefix: Tensor, x: Tensor, context: Context) -> Tensor:
        """Every cell to every cell: ``(P, J, B, D)``, ``(T, J, B, D)`` -> ``(P + T, J, B, D)``."""
        sequence = self.placed(torch.cat((prefix, x)))
        rows, columns = sequence.shape[:2]
        sequence = sequence.flatten(0, 1)
        for layer in self.layers:
            sequence = layer(sequence, context.bias)
        return sequence.unflatten(0, (rows, columns))

    def placed(self, x: Tensor, first: int = 0) -> Tensor:
        """``(R, J, B, D)`` with the positions of rows ``first..first+R-1`` added."""
        return self.dropout(x + self.places[first : first + x.shape[0], : x.shape[1], None])

    def across_columns(self, x: Tensor, context: Context) -> Tensor:
        """The columns of each real token frame to each other: ``(T, J, B, D)`` -> ``(n, J, D)``, sample by sample."""
        sample, frame = context.frames
        rows = x[frame, :, sample].transpose(0, 1)
        for layer in self.joint_layers:
            rows = layer(rows, None)
        return rows.transpose(0, 1)

    def along_time(self, prefix: Tensor, x: Tensor, context: Context, wanted: Tensor | None = None) -> Tensor:
        """The frames of each column to each other: ``(P, J, B, D)``, ``(T, J, B, D)`` -> ``(T, J, B, D)``.

        Columns that are not ``wanted``, ``(B, J)`` bool, come out as zeros.
        """
        placed = self.placed(torch.cat((prefix, x))) if context.told else self.placed(x, len(prefix))
        sequence = placed.transpose(1, 2)  # (P + T or T, B, J, D)
        batch, columns = sequence.shape[1:3]
        sequence, bias = sequence.flatten(1, 2), context.time_bias
        few = wanted is not None and not bool(wanted.all())
        if few:
            assert wanted is not None
            groups = wanted.flatten()
            sequence, bias = sequence[:, groups], None if bias is None else bias[groups]
        for layer in self.time_layers:
            sequence = layer(sequence, bias)
        found = sequence[-len(x) :]
        if few:
            whole = found.new_zeros(len(x), batch * columns, found.shape[2])
            whole[:, groups] = found
            found = whole
        return found.unflatten(1, (batch, columns)).transpose(1, 2)

    def finish(self, hidden: Tensor) -> Tensor:
        """``(..., D)`` -> ``(..., out)``."""
        return self.leave(self.norm(F.gelu(self.dense(hidden))))


def sources(real: Tensor, columns: int, mixing: str) -> Tensor | None:
    """Where each cell finds its result of the stage among columns, ``(B, T, J)``; ``None`` where it is its own.

    The authors' code keeps results by column, sample and frame, and reads the same memory as if they were kept by
    frame, sample and column.

    Args:
        real: ``(B, T)`` bool.
        columns: ``J``.
        mixing: see ``TransformerConfig``.

    >>> sources(torch.ones(1, 2, dtype=torch.bool), 3, "sample").tolist()
    [[[0, 3, 1], [4, 2, 5]]]
    """
    if mixing == "none":
        return None
    batch, frames = real.shape
    sample = torch.arange(batch, device=real.device)[:, None, None]
    frame = torch.arange(frames, device=real.device)[None, :, None]
    column = torch.arange(columns, device=real.device)[None, None]
    if mixing == "batch":
        flat = (frame * batch + sample) * columns + column
        return ((flat // frames) % batch * frames + flat % frames) * columns + flat // (batch * frames)
    own, length = frame * columns + column, real.sum(1)[:, None, None]
    at = (sample * frames + own % length) * columns + own // length
    itself = (sample * frames + frame) * columns + column
    return torch.where(real[..., None], at, itself)


def _stack(config: TransformerConfig) -> nn.ModuleList:
    layer = MDMConfig(
        width=config.width, heads=config.heads, feed_forward=config.feed_forward, dropout=config.dropout
    )  # fmt: skip
    return nn.ModuleList(Layer(layer, memory=False) for _ in range(config.layers))
