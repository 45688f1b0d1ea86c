"""MDM's networks: what a noisy motion was before the noise, given the step and a condition.

Legend: ``B`` batch, ``J`` rows and ``F`` numbers of a row of one frame, ``T`` frames, ``L`` text tokens, ``W`` text
width, ``D`` width, ``H`` heads, ``S`` positions that attention looks at, ``G`` goals, ``C`` frames of context.

Motions are normalised. Inside, sequences run ``(T, B, D)``, and outputs are views whose memory runs (frame, sample,
row): sampling as the authors do draws noise in that order, so neither may be made contiguous on the way.

Source: Tevet et al., "Human Motion Diffusion Model", ICLR 2023 (figure 2); Tevet et al., "CLoSD", ICLR 2025, for the
network that continues a given beginning (DiP).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hftrainer.models.motion.mdm.config import MDMConfig


@dataclass(frozen=True)
class Condition:
    """What a motion shall be like. Everything may be absent.

    Attributes:
        text: ``(B, L, W)`` of a text tower; one row may serve the whole batch.
        text_mask: ``(B, L)`` bool, True where a token is real; none means that all are.
        action: ``(B,)`` int64.
        frames: ``(B, T)`` bool, True where a frame is real; none, or a single column, means that all are.
        prefix: ``(B, J, F, C)`` clean frames that come before (DiP).
        target: ``(B, G, 3)`` where goals shall be in the last frame, metres; a heading in radians in its first number.
        target_rows: ``(B, G)`` bool, True where a goal is set.
        hidden: the network is not shown text or action: all samples, none, or ``(B,)`` bool.
        target_hidden: the same for the target.

    >>> Condition(text=torch.zeros(2, 1, 512)).hide().hidden
    True
    """

    text: Tensor | None = None
    text_mask: Tensor | None = None
    action: Tensor | None = None
    frames: Tensor | None = None
    prefix: Tensor | None = None
    target: Tensor | None = None
    target_rows: Tensor | None = None
    hidden: bool | Tensor = False
    target_hidden: bool | Tensor = False

    def hide(self) -> Condition:
        """The same without text and action; frames, prefix and target stay."""
        return replace(self, hidden=True)

    def with_hidden(self, batch: int) -> Condition:
        """Twice the batch: ``batch`` samples as they are, then the same ones without text and action."""
        twice: dict[str, Tensor] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                rows = value.expand(batch, *value.shape[1:]) if len(value) == 1 else value
                twice[field.name] = torch.cat((rows, rows))
        first = next((value for value in twice.values()), torch.empty(0))
        half = torch.zeros(2 * batch, dtype=torch.bool, device=first.device)
        half[batch:] = True
        shown = twice.pop("hidden", torch.full_like(half, self.hidden is True))
        return replace(self, **twice, hidden=shown | half)

    def of(self, rows: slice) -> Condition:
        """The same of some samples; what serves the whole batch stays.

        >>> Condition(text=torch.zeros(3, 1, 4), action=torch.zeros(1)).of(slice(0, 2)).text.shape
        torch.Size([2, 1, 4])
        """
        parts = {f.name: getattr(self, f.name) for f in fields(self)}
        return Condition(**{n: v[rows] if isinstance(v, Tensor) and len(v) > 1 else v for n, v in parts.items()})

    def to(self, device: torch.device | str) -> Condition:
        """The same on another device."""
        moved = {f.name: getattr(self, f.name) for f in fields(self)}
        return Condition(**{n: v.to(device) if isinstance(v, Tensor) else v for n, v in moved.items()})


def position_table(rows: int, width: int) -> Tensor:
    """Sines and cosines of positions, ``(rows, 1, width)`` float32: sine in even columns, cosine in odd ones.

    Source: Vaswani et al. 2017, section 3.5, with all of it in float32.

    >>> position_table(2, 4)[0, 0].tolist()
    [0.0, 1.0, 0.0, 1.0]
    """
    position = torch.arange(rows, dtype=torch.float32)[:, None]
    speed = torch.exp(torch.arange(0, width, 2).float() * (-math.log(10000.0) / width))
    table = torch.zeros(rows, width)
    table[:, 0::2] = torch.sin(position * speed)
    table[:, 1::2] = torch.cos(position * speed)
    return table[:, None]


def _cover(x: Tensor, hidden: bool | Tensor, axis: int) -> Tensor:
    """``x`` with zeros where a sample (``axis``) is hidden."""
    if not isinstance(hidden, Tensor):
        return torch.zeros_like(x) if hidden else x
    shape = [1] * x.dim()
    shape[axis] = len(hidden)
    if x.shape[axis] == 1:
        x = x.expand(*x.shape[:axis], len(hidden), *x.shape[axis + 1 :])
    return x.masked_fill(hidden.view(shape), 0)


#: Sequences up to this length are attended to in products where ``quicker_in_products`` says so; bounds memory.
_SHORT = 512


def quicker_in_products(query: Tensor, dropout: float) -> bool:
    """Whether two batched products beat torch's fused attention: in bfloat16 on a processor, over short sequences.

    Measured in ``docs/performance.md``: there the fused one is slower than in single precision, most of all over many
    groups of a few positions.
    """
    plain = query.device.type == "cpu" and query.dtype == torch.bfloat16 and dropout == 0
    return plain and query.shape[-2] <= _SHORT and not torch.is_grad_enabled()


def attend_in_products(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, dropout: float = 0.0) -> Tensor:
    """``F.scaled_dot_product_attention`` without dropout, written out.

    >>> parts = torch.arange(12.0).view(3, 1, 1, 2, 2)
    >>> same = F.scaled_dot_product_attention(*parts)
    >>> bool(torch.allclose(attend_in_products(*parts, None), same))
    True
    """
    weights = (query * query.shape[-1] ** -0.5) @ key.mT
    if bias is not None:
        weights += bias
    return weights.softmax(-1) @ value


class Attention(nn.Module):
    """Multi-head attention of a sequence to itself or to a memory: ``(T, B, D)``, ``(S, B, D)`` -> ``(T, B, D)``.

    Queries, keys and values are projected by the three thirds of one matrix.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.project = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.project.weight)
        nn.init.zeros_(self.project.bias)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, memory: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        frames, batch, width = x.shape
        if memory is None:
            parts = self.project(x).unflatten(-1, (3, width)).movedim(-2, 0).contiguous()
            query, key, value = parts[0], parts[1], parts[2]
        else:
            weight, offset = self.project.weight, self.project.bias
            query = F.linear(x, weight[:width], offset[:width])
            pair = F.linear(memory, weight[width:], offset[width:]).unflatten(-1, (2, width)).movedim(-2, 0)
            key, value = pair.contiguous()
        query, key, value = (
            part.view(len(part), batch, self.heads, width // self.heads).permute(1, 2, 0, 3)
            for part in (query, key, value)
        )
        dropout = self.dropout if self.training else 0.0
        attend = attend_in_products if quicker_in_products(query, dropout) else F.scaled_dot_product_attention
        found = attend(query, key, value, bias, dropout)  # (B, H, T, D / H)
        return self.out(found.permute(2, 0, 1, 3).reshape(frames * batch, width)).view(frames, batch, width)


class Layer(nn.Module):
    """One transformer layer, normalised after each residual: attention, attention to a memory if it has one, GELU."""

    def __init__(self, config: MDMConfig, *, memory: bool) -> None:
        super().__init__()
        width = config.width
        self.attention = Attention(width, config.heads, config.dropout)
        self.memory = Attention(width, config.heads, config.dropout) if memory else None
        self.widen = nn.Linear(width, config.feed_forward)
        self.narrow = nn.Linear(config.feed_forward, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3 if memory else 2))
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, x: Tensor, bias: Tensor | None, memory: Tensor | None = None, memory_bias: Tensor | None = None
    ) -> Tensor:
        x = self.norms[0](x + self.dropout(self.attention(x, None, bias)))
        if self.memory is not None:
            x = self.norms[1](x + self.dropout(self.memory(x, memory, memory_bias)))
        wide = self.dropout(F.gelu(self.widen(x)))
        return self.norms[-1](x + self.dropout(self.narrow(wide)))


class TargetEncoder(nn.Module):
    """Where goals shall be, ``(B, G, 3)`` with ``(B, G)`` bool, as one vector ``(B, D)``.

    ``single`` reads all rows with their flags at once, ``split`` gives each row its part of the width, ``multi`` adds
    up the rows that are set with learned weights.
    """

    def __init__(self, config: MDMConfig) -> None:
        super().__init__()
        self.kind, self.goals, self.width = config.target_encoder, config.goals, config.width
        width = self.width

        def read(numbers: int, size: int, layers: int) -> nn.Sequential:
            steps: list[nn.Module] = [nn.Linear(numbers, size)]
            for _ in range(layers):
                steps += [nn.SiLU(), nn.Linear(size, size)]
            return nn.Sequential(*steps)

        if self.kind == "single":
            self.all = read(4 * len(self.goals), width, config.target_layers)
        elif self.kind == "split":
            part = width // len(self.goals)
            self.rows = nn.ModuleList(read(4, part, config.target_layers) for _ in self.goals)
        else:
            self.by_goal = nn.ModuleDict({goal: read(3, width, 1) for goal in self.goals})
            self.weights = nn.Parameter(torch.ones(len(self.goals)))

    def forward(self, target: Tensor, rows: Tensor) -> Tensor:
        flags = rows.to(target.dtype)
        if self.kind == "multi":  # one row at a time, as the authors do: the low bits depend on it
            each = target.new_zeros(*rows.shape, self.width)
            for sample, goal in rows.nonzero().tolist():
                each[sample, goal] = self.by_goal[self.goals[goal]](target[sample, goal])
            share = self.weights / self.weights.sum()
            return (each * share[:, None]).sum(1)
        flagged = torch.cat((target, flags[..., None]), dim=-1)
        if self.kind == "single":
            return self.all(flagged.flatten(1))
        return torch.cat([read(flagged[:, g]) for g, read in enumerate(self.rows)], dim=-1)


class MDM(nn.Module):
    """The denoiser: ``(B, J, F, T)`` noisy frames, ``(B,)`` steps, a condition -> ``(B, J, F, T)`` clean frames.

    In training mode it hides text, action and target of each sample with the probability that the configuration says,
    drawing from torch's global generator, as dropout does: the target's draw first.

    >>> network = MDM(MDMConfig(width=16, layers=1, heads=2, feed_forward=16, positions=60, steps=50)).eval()
    >>> network(torch.zeros(2, 263, 1, 40), torch.tensor([0, 49]), Condition(text=torch.zeros(2, 1, 512))).shape
    torch.Size([2, 263, 1, 40])
    """

    def __init__(self, config: MDMConfig) -> None:
        super().__init__()
        self.config = config
        width, size = config.width, config.joints * config.features * config.patch
        told = size + width if config.architecture == "gru" else size
        self.enter = nn.Linear(told, width)
        self.enter_rest = nn.Linear(told, width) if config.first_frame else None
        self.target = TargetEncoder(config) if config.target_encoder else None
        if config.architecture == "gru":
            self.gru = nn.GRU(width, width, config.layers)
        else:
            decoder = config.architecture == "trans_dec"
            self.layers = nn.ModuleList(Layer(config, memory=decoder) for _ in range(config.layers))
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        if config.condition == "text":
            self.text = nn.Linear(config.text_width, width)
        elif config.condition == "action":
            self.action = nn.Parameter(torch.randn(config.actions, width))
        self.leave = nn.Linear(width, size)
        self.leave_rest = nn.Linear(width, size) if config.first_frame else None
        self.dropout = nn.Dropout(config.dropout)
        self.places: Tensor
        self.register_buffer("places", position_table(config.positions, width), persistent=False)

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """See the class.

        Raises:
            ValueError: a motion or a condition that this network does not take.
        """
        config = self.config
        batch, frames = x.shape[0], x.shape[3]
        if x.shape[1:3] != (config.joints, config.features):
            raise ValueError(f"a motion must be (B, {config.joints}, {config.features}, T); got {tuple(x.shape)}.")
        time = self.embed_time(t, condition)
        told = self.embed_condition(time, condition)
        context = 0
        if condition.prefix is not None and config.completes:
            context = condition.prefix.shape[-1]
            x = torch.cat((condition.prefix, x), dim=-1)
        elif config.completes:
            raise ValueError(f"condition must have a prefix of {config.context_frames} frames to continue; got none.")
        if context + frames >= config.positions:
            raise ValueError(f"frames must be fewer than {config.positions}; got {context + frames}.")
        sequence = self.read_motion(x, told)
        if config.architecture == "gru":
            sequence = self.dropout(sequence + self.places[: len(sequence)])
            done = self._recur(sequence)
        else:
            done = self._attend(sequence, told, time, condition, context, batch)
        return self.write_motion(done[context:], frames)

    def embed_time(self, t: Tensor, condition: Condition) -> Tensor:
        """``(1, B, D)``: the step, and the target where there is one, so that guidance does not take it away."""
        time = self.time(self.places[t]).permute(1, 0, 2)
        if self.target is None or condition.target is None:
            return time
        if condition.target_rows is None:
            raise ValueError("a target must come with target_rows, which says what is set; got none.")
        told = self.target(condition.target, condition.target_rows)[None]
        return time + self._mask(told, condition.target_hidden)

    def embed_condition(self, time: Tensor, condition: Condition) -> Tensor:
        """``(L, B, D)``: text or action, and the step added to each token; ``(1, B, D)`` without text."""
        config = self.config
        if config.condition == "text":
            if condition.text is None:
                raise ValueError("condition must have the text's embedding; got none.")
            return self.text(self._mask(condition.text.transpose(0, 1), condition.hidden)) + time
        if config.condition == "action":
            if condition.action is None:
                raise ValueError("condition must have actions; got none.")
            return self._mask(self.action[condition.action.view(-1)][None], condition.hidden) + time
        return time

    def _mask(self, x: Tensor, hidden: bool | Tensor) -> Tensor:  # (L, B, W)
        if hidden is False and self.training and self.config.condition_dropout > 0:
            odds = torch.ones(x.shape[1], device=x.device) * self.config.condition_dropout
            hidden = torch.bernoulli(odds).bool()
        return _cover(x, hidden, 1)

    def read_motion(self, x: Tensor, told: Tensor) -> Tensor:
        """``(B, J, F, T)`` -> ``(T, B, D)``, or ``(T / patch, B, D)``; see the module on the order in memory."""
        if self.config.architecture == "gru":
            rows = told.permute(1, 2, 0).expand(-1, -1, x.shape[3])
            flat = torch.cat((x.flatten(1, 2), rows.expand(len(x), -1, -1)), dim=1).permute(2, 0, 1)
        elif self.config.patch > 1:
            patch = self.config.patch
            whole = F.pad(x, (0, -x.shape[3] % patch)).unflatten(3, (-1, patch))
            flat = whole.permute(3, 0, 4, 1, 2).flatten(2)
        else:
            flat = x.permute(3, 0, 1, 2).flatten(2)
        if self.enter_rest is None:
            return self.enter(flat)
        return torch.cat((self.enter(flat[:1]), self.enter_rest(flat[1:])))

    def write_motion(self, sequence: Tensor, frames: int) -> Tensor:
        """``(T, B, D)`` -> ``(B, J, F, T)``, a view; or ``(T / patch, B, D)`` -> as many frames as there were."""
        if self.leave_rest is None:
            flat = self.leave(sequence)
        else:
            flat = torch.cat((self.leave(sequence[:1]), self.leave_rest(sequence[1:])))
        config = self.config
        if config.patch > 1:
            whole = flat.unflatten(-1, (config.patch, config.joints, config.features)).permute(1, 3, 4, 0, 2)
            return whole.flatten(3)[..., :frames]
        return flat.unflatten(-1, (config.joints, config.features)).permute(1, 2, 3, 0)

    def _recur(self, sequence: Tensor) -> Tensor:
        if self.config.recur_over_batch:
            return self.gru(sequence.transpose(0, 1))[0].transpose(0, 1)
        return self.gru(sequence)[0]

    def _attend(
        self, sequence: Tensor, told: Tensor, time: Tensor, condition: Condition, context: int, batch: int
    ) -> Tensor:
        decoder, extra = self.config.architecture == "trans_dec", 0
        if not decoder or self.config.time_token:
            first = time if decoder else told
            sequence, extra = torch.cat((first.expand(1, batch, -1), sequence)), 1
        sequence = self.dropout(sequence + self.places[: len(sequence)])
        bias = self._frames_bias(condition.frames, extra + context, sequence)
        memory = told.expand(-1, batch, -1) if decoder else None
        memory_bias = None
        if decoder and condition.text_mask is not None:
            memory_bias = self._bias(condition.text_mask.expand(batch, -1), sequence)
        for layer in self.layers:
            sequence = layer(sequence, bias, memory, memory_bias) if decoder else layer(sequence, bias)
        return sequence[extra:]

    def _frames_bias(self, frames: Tensor | None, before: int, like: Tensor) -> Tensor | None:
        if not self.config.mask_frames or frames is None or frames.shape[-1] == 1:
            return None
        patch = self.config.patch
        if patch > 1:
            frames = F.pad(frames, (0, -frames.shape[1] % patch)).unflatten(1, (-1, patch)).any(-1)
        if before + frames.shape[1] != len(like):
            raise ValueError(f"frames must say {len(like) - before} frames; got {frames.shape[1]}.")
        real = torch.ones(len(frames), before, dtype=torch.bool, device=frames.device)
        return self._bias(torch.cat((real, frames), dim=1), like)

    def _bias(self, real: Tensor, like: Tensor) -> Tensor:
        """``(B, S)`` bool -> what is added to scores, ``(B, H, 1, S)``: 0 where real, minus infinity elsewhere."""
        bias = torch.zeros(real.shape, dtype=like.dtype, device=like.device).masked_fill(~real, float("-inf"))
        return bias[:, None, None].expand(-1, self.config.heads, -1, -1)
