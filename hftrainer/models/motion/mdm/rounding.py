"""MDM's network with products in bfloat16, for making motion on a processor: weights laid out once for its products.

Legend: ``B`` batch, ``D`` width, ``S`` positions of a sequence, ``G`` sequences, ``H`` heads.

What a layer does is what ``network.Layer`` does in evaluation mode. What is different is the way: weights lie in memory
as the processor's products want them, GELU and the two additions are made where a product ends, the scale of attention
is in the queries' weights, shares of attention are made in single precision, and sequences are taken a few at a time,
so that what lies between two products stays in the cache.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hftrainer.models.motion.mdm.network import MDM, Layer

#: Rows that a layer takes at a time, at least one sequence: what lies between its products then fits a core's cache.
ROWS = 512
#: From this width on, one motion keeps a processor's products busy, and company saves a tenth of its time at most.
BUSY = 512
#: Up to so many positions shares of attention are made in bfloat16, which is quicker over very short rows.
FEW = 8


def packs() -> bool:
    """Whether this torch and this processor have products with weights laid out beforehand, as torch's compiler uses.

    They are not part of torch's documented interface; without them a layer says the same with documented ones.
    """
    ops = torch.ops.mkldnn
    needed = ("_reorder_linear_weight", "_linear_pointwise", "_is_mkldnn_bf16_supported")
    return all(hasattr(ops, name) for name in needed) and bool(ops._is_mkldnn_bf16_supported())


class RoundedLinear:
    """A linear layer in bfloat16, its weights laid out once where that can be done: ``(n, I)`` -> ``(n, O)``.

    Args:
        weight: ``(O, I)``.
        bias: ``(O,)``.

    >>> layer = RoundedLinear(torch.eye(4), torch.zeros(4))
    >>> layer(torch.ones(2, 4, dtype=torch.bfloat16), added=torch.ones(2, 4, dtype=torch.bfloat16))[0].tolist()
    [2.0, 2.0, 2.0, 2.0]
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.weight, self.bias = weight.detach().bfloat16(), bias.detach().bfloat16()
        self.bytes = 2 * (weight.numel() + bias.numel())
        self.packed = packs()
        if self.packed:
            ops = torch.ops.mkldnn
            self.weight = ops._reorder_linear_weight(self.weight, None)
            self._plain, self._added = ops._linear_pointwise.default, ops._linear_pointwise.binary

    def __call__(self, x: Tensor, *, gelu: bool = False, added: Tensor | None = None) -> Tensor:
        """The product, then GELU, or something added to it.

        Args:
            x: ``(n, I)``.
            gelu: take GELU of the result.
            added: ``(n, O)``, not together with ``gelu``.
        """
        found: Tensor
        if self.packed and added is not None:
            found = self._added(x, added, self.weight, self.bias, "add")
        elif self.packed:
            found = self._plain(x, self.weight, self.bias, "gelu" if gelu else "none", [], "none")
        else:
            found = F.linear(x, self.weight, self.bias)
            found = found if added is None else found + added
            found = F.gelu(found) if gelu else found
        return found


class RoundedLayer(nn.Module):
    """A transformer layer in bfloat16: ``(S, G, D)`` and a bias -> ``(S, G, D)``; gradients are not kept.

    Args:
        layer: in single precision, without a memory.

    Attributes:
        weight_bytes: of the weights, which are read each time.

    >>> from hftrainer.models.motion.mdm.config import MDMConfig
    >>> layer = Layer(MDMConfig(width=16, heads=2, feed_forward=16), memory=False).eval()
    >>> x = torch.randn(5, 3, 16)
    >>> bool((RoundedLayer(layer)(x.bfloat16(), None).float() - layer(x, None)).abs().max() < 0.1)
    True
    """

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        attention = layer.attention
        self.heads, width = attention.heads, attention.out.out_features
        scale = torch.ones(3 * width)
        scale[:width] = (width // self.heads) ** -0.5
        self._project = RoundedLinear(attention.project.weight * scale[:, None], attention.project.bias * scale)
        self._out = RoundedLinear(attention.out.weight, attention.out.bias)
        self._widen = RoundedLinear(layer.widen.weight, layer.widen.bias)
        self._narrow = RoundedLinear(layer.narrow.weight, layer.narrow.bias)
        self._norms: list[tuple[list[int], Tensor, Tensor, float]] = [
            ([width], norm.weight.detach().bfloat16(), norm.bias.detach().bfloat16(), norm.eps)
            for norm in layer.norms if isinstance(norm, nn.LayerNorm)
        ]  # fmt: skip
        self.weight_bytes = sum(part.bytes for part in (self._project, self._out, self._widen, self._narrow))

    @torch.no_grad()
    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """See the class; ``bias`` ``(G, H, 1, S)``, none where every position may be attended to."""
        x, bias = x.bfloat16(), None if bias is None else bias.bfloat16()
        many = max(1, ROWS // len(x))
        if x.shape[1] <= many:
            return self._few(x, bias)
        parts = x.split(many, 1)
        biases = [None] * len(parts) if bias is None else bias.split(many)
        return torch.cat([self._few(part, one) for part, one in zip(parts, biases, strict=True)], 1)

    def _few(self, x: Tensor, bias: Tensor | None) -> Tensor:
        shape = x.shape
        rows = x.reshape(-1, shape[2])
        rows = F.layer_norm(self._out(self._attend(self._project(rows), shape, bias), added=rows), *self._norms[0])
        rows = F.layer_norm(self._narrow(self._widen(rows, gelu=True), added=rows), *self._norms[1])
        return rows.view(shape)

    def _attend(self, parts: Tensor, shape: torch.Size, bias: Tensor | None) -> Tensor:
        """``(S * G, 3 * D)`` queries, keys and values -> ``(S * G, D)``."""
        places, groups, width = shape
        heads = self.heads
        split = parts.view(places, groups, 3, heads, width // heads).permute(2, 1, 3, 0, 4)
        query, key, value = split.reshape(3, groups * heads, places, width // heads)
        weights = torch.bmm(query, key.mT)
        if bias is not None:
            weights.view(groups, heads, places, places).add_(bias)
        shares = weights.softmax(-1) if places <= FEW else weights.float().softmax(-1).to(weights.dtype)
        found = torch.bmm(shares, value).view(groups, heads, places, width // heads)
        return found.permute(2, 0, 1, 3).reshape(places * groups, width)


class RoundedEnd(nn.Module):
    """A linear layer at either end of a network: in bfloat16 inside, ``(..., I)`` -> ``(..., O)`` in single precision.

    Args:
        linear: in single precision.

    Attributes:
        weight_bytes: of the weights, which are read each time.

    >>> linear, x = nn.Linear(4, 2).requires_grad_(False), torch.randn(3, 1, 4)
    >>> bool(torch.allclose(RoundedEnd(linear)(x), linear(x), atol=0.05))
    True
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self._linear = RoundedLinear(linear.weight, linear.bias)
        self.weight_bytes = self._linear.bytes

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return self._linear(x.flatten(0, -2).bfloat16()).unflatten(0, x.shape[:-1]).float()


def can_round(network: MDM) -> bool:
    """Whether ``rounded`` knows this network: one whose layers attend to the sequence alone, on a processor."""
    plain = network.config.architecture == "trans_enc" and not network.config.first_frame
    return plain and network.leave.weight.device.type == "cpu"


def rounded(network: MDM) -> MDM:
    """A copy for drawing alone, its large products in bfloat16; steps and words are read in single precision.

    Args:
        network: one of which ``can_round`` is true.

    >>> from hftrainer.models.motion.mdm.config import MDMConfig
    >>> from hftrainer.models.motion.mdm.network import Condition
    >>> network = MDM(MDMConfig(width=16, layers=1, heads=2, feed_forward=16, positions=60, steps=50)).eval()
    >>> asked = torch.randn(2, 263, 1, 40), torch.tensor([0, 49]), Condition(text=torch.zeros(2, 1, 512))
    >>> bool((rounded(network)(*asked) - network(*asked)).abs().max() < 0.1)
    True
    """
    twin = copy.deepcopy(network)
    twin.enter, twin.leave = RoundedEnd(network.enter), RoundedEnd(network.leave)  # type: ignore[assignment]
    twin.layers = nn.ModuleList(RoundedLayer(layer) for layer in network.layers if isinstance(layer, Layer))
    return twin
