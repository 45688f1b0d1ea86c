"""The mask transformer: which code each hidden cell of a motion has, given the others and a text.

Legend as in ``transformer.py``; ``K`` codes.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hftrainer.models.motion.mogents.transformer import Context, Transformer, TransformerConfig


class MaskedTransformer(Transformer):
    """``(B, N)`` tokens, of which some are hidden -> ``(B, N, K)`` logits of what is there.

    Attributes:
        mask: the token of a hidden cell, ``K``.
        pad: the token of a cell that is not real, ``K + 1``.
        nothing: by token frames what ``without_text`` found, kept where weights will not change any more; otherwise
            none.

    Source:
        MoMask, section 3.2, for one column; MoGenTS, section 3.3, for several.

    >>> network = MaskedTransformer(TransformerConfig(codes=8, code_width=4, width=16, layers=1, heads=2)).eval()
    >>> real = torch.ones(2, 5, dtype=torch.bool)
    >>> network(torch.full((2, 5), network.mask), torch.zeros(2, 512), real).shape
    torch.Size([2, 5, 8])
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config, 1, config.codes)
        self.tokens = nn.Embedding(config.codes + 2, config.code_width)
        self.mask, self.pad = config.codes, config.codes + 1
        self.nothing: dict[int, Tensor] | None = None
        self.begin()

    def forward(self, tokens: Tensor, text: Tensor, real: Tensor) -> Tensor:
        """See the class; ``text`` ``(B, W)``, ``real`` ``(B, T)`` bool."""
        return self.logits(self.hidden(tokens, self.context(text, real)))

    def context(self, text: Tensor, real: Tensor, mixing: str | None = None) -> Context:
        """See ``Transformer.context``; the few tokens that there are enter here, not cell by cell."""
        context = super().context(text, real, mixing)
        if self.training or torch.is_grad_enabled():
            return context
        return replace(context, entered=self.enter(self.tokens.weight))

    def _enter(self, tokens: Tensor, context: Context) -> Tensor:
        return self.enter(self.tokens(tokens)) if context.entered is None else F.embedding(tokens, context.entered)

    def without_text(self, frames: int) -> Tensor:
        """``(N, K)`` logits of a motion of so many token frames of which nothing is known, made of no text."""
        if self.nothing is not None and frames in self.nothing:
            return self.nothing[frames]
        device = self.tokens.weight.device
        real = torch.ones(1, frames, dtype=torch.bool, device=device)
        tokens = torch.full((1, frames * self.config.columns), self.mask, device=device)
        found = self(tokens, torch.zeros(1, self.config.text_width, device=device), real)[0].float()
        if self.nothing is not None:
            self.nothing[frames] = found
        return found

    def hidden(self, tokens: Tensor, context: Context, asked: Tensor | None = None) -> Tensor:
        """``(B, N)`` tokens -> ``(B, N, D)``, from which ``logits`` are made of all cells or of some.

        Args:
            tokens: what is there.
            context: of ``context``.
            asked: ``(B, N)`` bool, cells of which logits will be made; what comes out at others need not be right.
        """
        config = self.config
        if config.columns == 1:  # frames first in memory, which is the order in which dropout draws
            x = self._enter(tokens.T, context)
            return self.along_poses(context.text, x, context).transpose(0, 1)
        columns = config.columns
        x = self._enter(tokens, context).unflatten(1, (-1, columns)).permute(1, 2, 0, 3)  # (T, J, B, D)
        text = context.text[:, None].expand(-1, columns, -1, -1)
        body = self.along_cells(text, x, context)
        if config.joint_attention:
            body = self.placed(body)
            attended = self.across_columns(body[1:], context)
            sample, frame = context.frames
            body = body[1:].permute(0, 2, 1, 3).index_put((frame, sample), attended.to(body.dtype)).transpose(1, 2)
        else:
            body = body[1:]
        if config.time_attention:
            wanted = None if asked is None else asked.unflatten(1, (-1, columns)).any(1)
            body = body + self.along_time(text, body, context, wanted)
        return body.permute(2, 0, 1, 3).flatten(1, 2)

    def logits(self, hidden: Tensor) -> Tensor:
        """``(..., D)`` -> ``(..., K)``."""
        return self.finish(hidden)


def token_loss(logits: Tensor, labels: Tensor, ignored: int) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy over the cells whose label is not ``ignored``, and the share of right first guesses.

    Args:
        logits: ``(..., C)``.
        labels: ``(...)`` int64.
        ignored: label of a cell that does not count.

    >>> loss, right = token_loss(torch.tensor([[9.0, 0.0], [9.0, 0.0]]), torch.tensor([0, 5]), 5)
    >>> round(float(loss), 3), float(right)
    (0.0, 1.0)
    """
    flat, wanted = logits.flatten(0, -2).float(), labels.flatten()
    loss = nn.functional.cross_entropy(flat, wanted, ignore_index=ignored)
    counted = wanted != ignored
    right = (flat.argmax(1) == wanted) & counted
    return loss, right.sum() / counted.sum()
