"""The residual transformer: the codes of a layer, given the sum of those of the layers before it, and a text.

Legend as in ``transformer.py``; ``K`` codes, ``Q`` layers of codes, ``C`` width of a code.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hftrainer.models.motion.mogents.transformer import Context, Transformer, TransformerConfig


@dataclass(frozen=True)
class ResidualConfig(TransformerConfig):
    """Sizes and habits of a residual transformer.

    Attributes:
        quantizers: ``Q``, layers of codes of the motion tokenizer.
        shared_tables: a layer's table of codes also serves to tell its codes apart.

    Raises:
        ValueError: sizes that no network can have.
    """

    quantizers: int = 6
    shared_tables: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.quantizers < 2:
            raise ValueError(f"quantizers must be at least 2; got {self.quantizers}.")


class ResidualTransformer(Transformer):
    """``(B, N, C)`` sums of codes of layers ``0..q-1`` -> logits of the codes of layer ``q``.

    Beside the codes, the logits tell apart tokens that stand for no code: padding, and with several columns a mask
    that nothing uses.

    Attributes:
        pad: the token of a cell that is not real.
        classes: codes and tokens that stand for none.

    Source:
        MoMask, section 3.3; MoGenTS, section 3.3.

    >>> config = ResidualConfig(codes=8, code_width=4, width=16, layers=1, heads=2, quantizers=3)
    >>> network = ResidualTransformer(config).eval()
    >>> real = torch.ones(2, 5, dtype=torch.bool)
    >>> network(torch.zeros(2, 5, 4), torch.tensor([1, 2]), torch.zeros(2, 512), real).shape
    torch.Size([2, 5, 9])
    """

    config: ResidualConfig

    def __init__(self, config: ResidualConfig) -> None:
        super().__init__(config, 2, config.code_width)
        self.pad = config.codes + (config.columns > 1)
        self.classes, layers = self.pad + 1, config.quantizers
        self.layer = nn.Linear(layers, config.width)

        def table(rows: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(rows, self.classes, config.code_width))

        if config.shared_tables:
            self.first, self.between, self.last = table(1), table(layers - 2), table(1)
            tables = [self.first, self.between, self.last]
        else:
            self.inputs, self.outputs = table(layers - 1), table(layers - 1)
            self.offsets = nn.Parameter(torch.zeros(layers, self.classes))
            tables = [self.inputs, self.outputs]
        self.begin()
        for weights in tables:
            nn.init.normal_(weights, std=0.02)

    def forward(self, codes: Tensor, layer: Tensor, text: Tensor, real: Tensor) -> Tensor:
        """See the class; ``layer`` ``(B,)`` int64 of 1 to ``Q - 1``, ``text`` ``(B, W)``, ``real`` ``(B, T)`` bool."""
        return self.logits(self.finish(self.hidden(codes, layer, self.context(text, real))), layer)

    def embed(self, tokens: Tensor, layer: int) -> Tensor:
        """``(...)`` tokens of layer ``0..Q-2`` -> ``(..., C)``."""
        return F.embedding(tokens, self._table(layer))

    def _table(self, layer: int) -> Tensor:
        if not self.config.shared_tables:
            return self.inputs[layer]
        return self.first[0] if layer == 0 else self.between[layer - 1]

    def sums(self, tokens: Tensor) -> Tensor:
        """``(B, N, Q)`` tokens -> ``(Q - 1, B, N, C)``: what there is to read for layers ``1..Q-1``."""
        each = [self.embed(tokens[..., layer], layer) for layer in range(self.config.quantizers - 1)]
        return torch.stack(each).cumsum(0)

    def hidden(self, codes: Tensor, layer: Tensor, context: Context) -> Tensor:
        """``(B, N, C)`` sums of codes, ``(B,)`` layers -> ``(B, N, D)``."""
        config = self.config
        codes = codes.to(self.norm.weight.dtype)
        told = F.one_hot(layer, config.quantizers).to(codes.dtype)
        prefix = torch.cat((context.text, self.layer(told)[None]))  # (2, B, D)
        if config.columns == 1:  # frames first in memory, which is the order in which dropout draws
            x = self.enter(codes.transpose(0, 1).contiguous())
            return self.along_poses(prefix, x, context).transpose(0, 1)
        columns = config.columns
        prefix = prefix[:, None].expand(-1, columns, -1, -1)
        x = self.enter(codes).unflatten(1, (-1, columns)).permute(1, 2, 0, 3)  # (T, J, B, D)
        body = self.along_cells(prefix, x, context)[2:]
        if config.joint_attention:
            attended = self.across_columns(self.placed(body), context)
            found = attended.new_zeros(*context.real.shape, columns, config.width)
            found = found.index_put(context.frames, attended)  # (B, T, J, D)
            if context.source is not None:
                found = found.flatten(0, 2)[context.source]
            body = body + found.permute(1, 2, 0, 3)
        if config.time_attention:
            body = body + self.along_time(prefix, body, context)
        return body.permute(2, 0, 1, 3).flatten(1, 2)

    def logits(self, found: Tensor, layer: Tensor) -> Tensor:
        """What ``finish`` made -> logits of the codes of a layer.

        Args:
            found: ``(B, N, C)``, or ``(n, C)`` of chosen cells.
            layer: ``(B,)``, or ``()`` where it is one for all.
        """
        if self.config.shared_tables:
            table, offset = torch.cat((self.between, self.last))[layer - 1], None
        else:
            table, offset = self.outputs[layer - 1], self.offsets[layer - 1]
        logits = found @ table.mT
        # Without shared tables the authors add the product to itself, and their networks were trained so.
        return logits if offset is None else logits + (logits + offset.unsqueeze(-2))
