"""MDM's network for making motion on a processor: weights laid out once for its products, in either precision.

Legend: ``B`` batch, ``D`` width, ``S`` positions of a sequence, ``G`` sequences, ``H`` heads.

What a layer does is what ``network.Layer`` does in evaluation mode. What is different is the way: weights lie in memory
as the processor's products want them, GELU and the two additions are made where a product ends, the scale of attention
is in the queries' weights, and sequences are taken a few at a time, so that what lies between two products stays in the
cache.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hftrainer.models.motion.mdm.network import MDM, Layer
from hftrainer.models.side_by_side import ROWS

Net = TypeVar("Net", bound=nn.Module)
Made = TypeVar("Made")


def packs(dtype: torch.dtype) -> bool:
    """Whether this torch and this processor have products with weights laid out beforehand, as torch's compiler uses.

    They are not part of torch's documented interface; without them a layer says the same with documented ones.

    Args:
        dtype: of the products.
    """
    ops = torch.ops.mkldnn
    needed = ("_reorder_linear_weight", "_linear_pointwise", "_is_mkldnn_bf16_supported")
    here = torch.backends.mkldnn.is_available() and all(hasattr(ops, name) for name in needed)
    return here and (dtype == torch.float32 or bool(ops._is_mkldnn_bf16_supported()))


class PackedLinear:
    """A linear layer, its weights laid out once where that can be done: ``(n, I)`` -> ``(n, O)``.

    Args:
        weight: ``(O, I)``.
        bias: ``(O,)``.
        dtype: of the products: float32 or bfloat16.

    >>> layer = PackedLinear(torch.eye(4), torch.zeros(4), torch.bfloat16)
    >>> layer(torch.ones(2, 4, dtype=torch.bfloat16), added=torch.ones(2, 4, dtype=torch.bfloat16))[0].tolist()
    [2.0, 2.0, 2.0, 2.0]
    """

    def __init__(self, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> None:
        self.weight, self.bias = weight.detach().to(dtype), bias.detach().to(dtype)
        self.bytes = self.weight.element_size() * (weight.numel() + bias.numel())
        self.packed = packs(dtype)
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
            within = gelu and x.dtype == torch.float32  # in bfloat16 it is slower inside of the product
            found = self._plain(x, self.weight, self.bias, "gelu" if within else "none", [], "none")
            found = F.gelu(found) if gelu and not within else found
        else:
            found = F.linear(x, self.weight, self.bias)
            found = found if added is None else found + added
            found = F.gelu(found) if gelu else found
        return found


class PackedLayer(nn.Module):
    """A transformer layer: ``(S, G, D)`` and a bias -> ``(S, G, D)``; gradients are not kept.

    Args:
        layer: in single precision, without a memory.
        dtype: of what goes in and comes out, and of the products.

    Attributes:
        weight_bytes: of the weights, which are read each time.

    >>> from hftrainer.models.motion.mdm.config import MDMConfig
    >>> layer = Layer(MDMConfig(width=16, heads=2, feed_forward=16), memory=False).eval()
    >>> x = torch.randn(5, 3, 16)
    >>> bool((PackedLayer(layer, torch.float32)(x, None) - layer(x, None)).abs().max() < 1e-5)
    True
    """

    def __init__(self, layer: Layer, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        attention = layer.attention
        self.heads, width = attention.heads, attention.out.out_features
        scale = torch.ones(3 * width)
        scale[:width] = (width // self.heads) ** -0.5
        self._project = PackedLinear(attention.project.weight * scale[:, None], attention.project.bias * scale, dtype)
        self._out = PackedLinear(attention.out.weight, attention.out.bias, dtype)
        self._widen = PackedLinear(layer.widen.weight, layer.widen.bias, dtype)
        self._narrow = PackedLinear(layer.narrow.weight, layer.narrow.bias, dtype)
        self._norms: list[tuple[list[int], Tensor, Tensor, float]] = [
            ([width], norm.weight.detach().to(dtype), norm.bias.detach().to(dtype), norm.eps)
            for norm in layer.norms if isinstance(norm, nn.LayerNorm)
        ]  # fmt: skip
        self.weight_bytes = sum(part.bytes for part in (self._project, self._out, self._widen, self._narrow))

    @torch.no_grad()
    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """See the class; ``bias`` ``(G, H, 1, S)``, none where every position may be attended to."""
        x, bias = x.to(self.dtype), None if bias is None else bias.to(self.dtype)
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
        found = torch.bmm(weights.softmax(-1), value).view(groups, heads, places, width // heads)
        return found.permute(2, 0, 1, 3).reshape(places * groups, width)


class PackedEnd(nn.Module):
    """A linear layer at either end of a network: ``(..., I)`` -> ``(..., O)``, in single precision outside.

    Args:
        linear: in single precision.
        dtype: of the product.

    Attributes:
        weight_bytes: of the weights, which are read each time.

    >>> linear, x = nn.Linear(4, 2).requires_grad_(False), torch.randn(3, 1, 4)
    >>> bool(torch.allclose(PackedEnd(linear, torch.bfloat16)(x), linear(x), atol=0.05))
    True
    """

    def __init__(self, linear: nn.Linear, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self._linear = PackedLinear(linear.weight, linear.bias, dtype)
        self.weight_bytes = self._linear.bytes

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return self._linear(x.flatten(0, -2).to(self.dtype)).unflatten(0, x.shape[:-1]).float()


def can_pack(network: MDM) -> bool:
    """Whether ``packed`` knows this network: one whose layers attend to the sequence alone, on a processor."""
    plain = network.config.architecture == "trans_enc" and not network.config.first_frame
    return plain and network.leave.weight.device.type == "cpu"


def packed(network: MDM, dtype: torch.dtype) -> MDM:
    """A twin for drawing alone, its large products in either precision; steps and words are read in single precision.

    All products have weights laid out beforehand: unlike torch's own in single precision, a row of theirs is the same
    bits whichever rows it is multiplied with, so that a motion does not depend on its company.

    Args:
        network: one of which ``can_pack`` is true; what is not packed is shared with it.
        dtype: of the products.

    >>> from hftrainer.models.motion.mdm.config import MDMConfig
    >>> from hftrainer.models.motion.mdm.network import Condition
    >>> network = MDM(MDMConfig(width=16, layers=1, heads=2, feed_forward=16, positions=60, steps=50)).eval()
    >>> asked = torch.randn(2, 263, 1, 40), torch.tensor([0, 49]), Condition(text=torch.zeros(2, 1, 512))
    >>> bool((packed(network, torch.bfloat16)(*asked) - network(*asked)).abs().max() < 0.1)
    True
    """
    layers = nn.ModuleList(PackedLayer(layer, dtype) for layer in network.layers if isinstance(layer, Layer))
    parts = {"enter": PackedEnd(network.enter, dtype), "leave": PackedEnd(network.leave, dtype), "layers": layers}
    parts["time"] = nn.Sequential(*(single(part) for part in network.time))
    if network.config.condition == "text":
        parts["text"] = single(network.text)
    return twin_with(network, **parts)


def single(part: nn.Module) -> nn.Module:
    """A linear layer packed in single precision; anything else as it is."""
    return PackedEnd(part, torch.float32) if isinstance(part, nn.Linear) else part


def twin_with(network: Net, **parts: nn.Module) -> Net:
    """The same network with some parts in place of its own; all others are shared.

    >>> one = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    >>> other = twin_with(one, **{"1": nn.Identity()})
    >>> other[0] is one[0], other[1] is one[1]
    (True, False)
    """
    twin = copy.copy(network)
    twin._modules = {**network._modules, **parts}
    return twin


def is_packed(network: nn.Module) -> bool:
    """Whether a network's layers are packed."""
    layers = getattr(network, "layers", None)
    return isinstance(layers, nn.ModuleList) and len(layers) > 0 and isinstance(layers[0], PackedLayer)


class Twins(Generic[Made]):
    """Packed twins of networks, made when they are first asked for, and anew after weights have changed.

    Args:
        make: a twin in some precision.

    >>> one = nn.Linear(2, 2)
    >>> twins = Twins(lambda dtype: one.weight.detach().to(dtype))
    >>> first = twins(torch.float32, [one])
    >>> first is twins(torch.float32, [one])
    True
    >>> _ = one.weight.data.zero_(), one.load_state_dict(one.state_dict())
    >>> float(twins(torch.float32, [one]).sum())
    0.0
    """

    def __init__(self, make: Callable[[torch.dtype], Made]) -> None:
        self._make, self._made = make, dict[torch.dtype, tuple[tuple[tuple[int, int], ...], Made]]()

    def __call__(self, dtype: torch.dtype, networks: Iterable[nn.Module]) -> Made:
        """The twin in this precision of networks as they are now.

        Args:
            dtype: of the products.
            networks: whose weights are looked at.
        """
        now = tuple((id(p), p._version) for network in networks for p in network.parameters())
        if dtype not in self._made or self._made[dtype][0] != now:
            self._made[dtype] = now, self._make(dtype)
        return self._made[dtype][1]
