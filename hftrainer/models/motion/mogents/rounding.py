"""Networks whose products are in bfloat16, for making motion on a processor: weights laid out once for its products.

Legend as in ``transformer.py``; ``S`` positions of a sequence, ``G`` sequences, ``H`` heads.

What a layer does is what ``models.motion.mdm.network.Layer`` does in evaluation mode. What is different is the way:
weights lie in memory as the processor's products want them, GELU and the two additions are made where a product ends,
the scale of attention is in the queries' weights, shares of attention are made in single precision, and sequences are
taken a few at a time, so that what lies between two products stays in the cache.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hftrainer.models.convolution import Decoder
from hftrainer.models.motion.mdm.network import Layer
from hftrainer.models.motion.mogents.length import LengthEstimator
from hftrainer.models.motion.mogents.masked import MaskedTransformer
from hftrainer.models.motion.mogents.official import Network
from hftrainer.models.motion.mogents.tokenizer import MoGenTSTokenizer
from hftrainer.models.motion.mogents.transformer import Transformer

#: Rows that a layer takes at a time, at least one sequence: what lies between its products then fits a core's cache.
ROWS = 512
#: Up to so many positions shares of attention are made in bfloat16, which is quicker over very short rows.
FEW = 8


def rounded(network: Network) -> Network:
    """A copy in bfloat16: a transformer wholly; of a motion tokenizer the layers with weights, its codes as they are.

    Args:
        network: in evaluation mode; the length estimator is cheap and comes back as it is.
    """
    if isinstance(network, LengthEstimator):
        return network
    twin = copy.deepcopy(network)
    if isinstance(twin, Transformer):
        twin.bfloat16()
        if isinstance(twin, MaskedTransformer):
            twin.nothing = {}
        if next(twin.parameters()).device.type == "cpu":
            for stage in (name for name in twin.STAGES if hasattr(twin, name)):
                setattr(twin, stage, nn.ModuleList(RoundedLayer(layer) for layer in getattr(network, stage)))
        return twin
    for part in twin.modules():
        if isinstance(part, nn.Linear | nn.Conv1d | nn.Conv2d):
            part.bfloat16()
    if isinstance(network, MoGenTSTokenizer) and isinstance(twin, MoGenTSTokenizer):
        twin.grid_decoder = RoundedDecoder(twin.grid_decoder, network.grid_decoder)  # type: ignore[assignment]
    return twin


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


class DoubledConvolution(nn.Module):
    """A convolution of three by three over what is doubled along both axes, without doubling it.

    Four neighbours of the doubled array are one number of the array that it came from, so that each output needs four
    products instead of nine; the weights that meet the same number are added up. ``(B, W, T, J)`` -> ``(B, O, 2 T,
    2 J)``, which is ``convolution(F.interpolate(x, scale_factor=2, mode="nearest"))``.

    Args:
        convolution: with a padding of one; its weights in single precision.
        dtype: of the products.

    >>> one = nn.Conv2d(2, 3, 3, padding=1)
    >>> x = torch.randn(1, 2, 5, 4)
    >>> found = DoubledConvolution(one, torch.float32)(x)
    >>> bool(torch.allclose(found, one(F.interpolate(x, scale_factor=2, mode="nearest")), atol=1e-5))
    True
    """

    def __init__(self, convolution: nn.Conv2d, dtype: torch.dtype) -> None:
        super().__init__()
        weight = convolution.weight.detach()
        left, middle, right = weight.unbind(2)
        down = (torch.stack((left, middle + right), 2), torch.stack((left + middle, right), 2))
        kernels = []
        for kernel in down:
            left, middle, right = kernel.unbind(3)
            kernels += [torch.stack((left, middle + right), 3), torch.stack((left + middle, right), 3)]
        assert convolution.bias is not None
        self.weight, self.bias = torch.cat(kernels).to(dtype), convolution.bias.detach().repeat(4).to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        rows, columns = x.shape[2:]
        found = F.conv2d(F.pad(x.to(self.weight.dtype), (1, 1, 1, 1)), self.weight, self.bias).unflatten(1, (2, 2, -1))
        parts = [[found[:, down, across, :, down : down + rows, across : across + columns] for across in (0, 1)]
                 for down in (0, 1)]  # fmt: skip
        woven = torch.stack([torch.stack(row, -1) for row in parts], 3)  # (B, O, T, 2, J, 2)
        return woven.flatten(4, 5).flatten(2, 3)


class RoundedDecoder(nn.Module):
    """``models.convolution.Decoder`` over frames and joints, doubled without being doubled first; see above.

    Args:
        rounded: the decoder in bfloat16.
        decoder: the same in single precision.
    """

    def __init__(self, rounded: Decoder, decoder: Decoder) -> None:
        super().__init__()
        self.enter, self.levels, self.smooth, self.leave = rounded.enter, rounded.levels, rounded.smooth, rounded.leave
        flat = [up for up in decoder.up if isinstance(up, nn.Conv2d)]
        self.up = nn.ModuleList(DoubledConvolution(up, torch.bfloat16) for up in flat)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, L, J, C)`` -> ``(B, T, rate * J, D)``."""
        y = F.relu(self.enter(x.movedim(-1, 1)))
        for level, up in zip(self.levels, self.up, strict=True):
            y = up(level(y))
        found: Tensor = self.leave(F.relu(self.smooth(y)))
        return found.movedim(1, -1)
