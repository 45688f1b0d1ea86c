"""MoGenTS' and MoMask's networks for making motion on a processor: weights laid out once for their products.

Their transformers' layers are those of ``models.motion.mdm.packing``. Legend as in ``transformer.py``.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hftrainer.models.convolution import Decoder
from hftrainer.models.motion.mdm.packing import PackedEnd, PackedLayer, single, twin_with
from hftrainer.models.motion.mogents.length import LengthEstimator
from hftrainer.models.motion.mogents.masked import MaskedTransformer
from hftrainer.models.motion.mogents.official import Network
from hftrainer.models.motion.mogents.residual import ResidualTransformer
from hftrainer.models.motion.mogents.tokenizer import MoGenTSTokenizer

#: Linear layers of a transformer around its stages.
_ENDS = ("enter", "text", "dense", "leave")

Stack = TypeVar("Stack", MaskedTransformer, ResidualTransformer)


def packed(network: Network, dtype: torch.dtype) -> Network:
    """A twin whose products have a precision: of a transformer all of them; of a motion tokenizer, whose codes stay as
    they are, those of the layers with weights.

    Args:
        network: in evaluation mode; the length estimator is cheap and comes back as it is, and so does a motion
            tokenizer in single precision.
        dtype: float32, where what is not packed is shared with the network, or bfloat16.
    """
    if isinstance(network, MaskedTransformer):
        masked = _packed_transformer(network, dtype)
        masked.nothing = {}
        return masked
    if isinstance(network, ResidualTransformer):
        return _packed_transformer(network, dtype)
    if isinstance(network, LengthEstimator) or dtype == torch.float32:
        return network
    twin = copy.deepcopy(network)
    for part in twin.modules():
        if isinstance(part, nn.Linear | nn.Conv1d | nn.Conv2d):
            part.bfloat16()
    if isinstance(network, MoGenTSTokenizer) and isinstance(twin, MoGenTSTokenizer):
        twin.mix = PackedEnd(network.mix, dtype)  # type: ignore[assignment]
        twin.grid_decoder = RoundedDecoder(twin.grid_decoder, network.grid_decoder)  # type: ignore[assignment]
    return twin


def _packed_transformer(network: Stack, dtype: torch.dtype) -> Stack:
    stages = {}
    if next(network.parameters()).device.type == "cpu":
        stages = {name: nn.ModuleList(PackedLayer(layer, dtype) for layer in getattr(network, name))
                  for name in network.STAGES if hasattr(network, name)}  # fmt: skip
    if dtype != torch.float32:
        return twin_with(copy.deepcopy(network).to(dtype), **stages)
    return twin_with(network, **stages, **{name: single(getattr(network, name)) for name in _ENDS if stages})


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
