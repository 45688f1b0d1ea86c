"""A residual quantiser: each layer's codes say what the layers before it left over.

Legend: ``N`` sequences, ``L`` tokens, ``C`` channels, ``K`` codes of a layer, ``Q`` layers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hftrainer.models.quantize import EMAQuantizer, as_first_process

#: The token that stands for nothing: padding, or a layer that was left out. It adds nothing to a sum of codes.
NOTHING = -1


class DrawnEMAQuantizer(EMAQuantizer):
    """Codes that follow the data, chosen in training by chance: a near code nearly as often as the nearest.

    Args:
        codes: ``K``.
        width: ``C``.
        decay: weight of the past in the moving averages.
        temperature: how much chance there is in training; the share of a code falls with its squared distance over it.

    Source:
        MoMask's quantiser; Jang et al. 2017 for the draw (Gumbel-max).

    >>> layer = DrawnEMAQuantizer(8, 4).eval()
    >>> layer(torch.zeros(3, 4))[0].shape
    torch.Size([3, 4])
    """

    def __init__(self, codes: int, width: int, decay: float = 0.99, temperature: float = 0.5) -> None:
        super().__init__(codes, width, decay)
        self.temperature = temperature

    def choose(self, rows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """``(N, C)`` -> ``(N,)``: a draw in training, the nearest code otherwise."""
        if not self.training or not self.temperature:
            return self.assign(rows)
        uniform = torch.rand(len(rows), self.codes, generator=generator, dtype=rows.dtype, device=rows.device)
        chance = -torch.log((-torch.log(uniform.clamp_min(1e-20))).clamp_min(1e-20))
        return (chance - self.distance(rows) / self.temperature).argmax(1)


class ResidualQuantizer(nn.Module):
    """``Q`` layers of codes; the sum of their codes is the row.

    Each layer has a straight-through gradient of its own, so that what comes before the quantiser gets the gradient
    once for each layer that ran.

    Args:
        codes: ``K``.
        width: ``C``.
        layers: ``Q``.
        shared: one codebook for all layers, stored once.
        layer_dropout: how often, in training, layers behind a drawn one are left out.
        decay: see ``EMAQuantizer``.

    Source:
        Guo et al. 2024 (MoMask), section 3.1; Zeghidour et al. 2021 (SoundStream) for leaving layers out.

    >>> quantizer = ResidualQuantizer(8, 4, layers=3).eval()
    >>> tokens = quantizer.encode(torch.zeros(2, 5, 4))
    >>> tokens.shape, quantizer.lookup(tokens).shape
    (torch.Size([2, 5, 3]), torch.Size([2, 5, 4]))
    """

    def __init__(
        self, codes: int, width: int, layers: int, shared: bool = False, layer_dropout: float = 0.0, decay: float = 0.99
    ) -> None:
        super().__init__()
        for name, value in (("codes", codes), ("width", width), ("layers", layers)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1; got {value}.")
        if not 0 <= layer_dropout <= 1:
            raise ValueError(f"layer_dropout must be in [0, 1]; got {layer_dropout}.")
        self.codes, self.width, self.count, self.layer_dropout = codes, width, layers, layer_dropout
        self.layers = nn.ModuleList(DrawnEMAQuantizer(codes, width, decay) for _ in range(1 if shared else layers))

    def layer(self, index: int) -> DrawnEMAQuantizer:
        """The codes of layer ``index``; the same for all where the codebook is shared."""
        layer = self.layers[index if len(self.layers) > 1 else 0]
        assert isinstance(layer, DrawnEMAQuantizer)
        return layer

    def encode(self, rows: Tensor) -> Tensor:
        """``(..., C)`` -> ``(..., Q)`` tokens, the nearest code of each layer."""
        left, tokens = rows.detach().flatten(0, -2), []
        for index in range(self.count):
            layer = self.layer(index)
            tokens.append(layer.assign(left))
            left = left - (left + (layer.lookup(tokens[-1]) - left))  # rounds as ``forward`` does
        return torch.stack(tokens, -1).unflatten(0, rows.shape[:-1])

    def lookup(self, tokens: Tensor) -> Tensor:
        """``(..., q)`` tokens of the first ``q <= Q`` layers -> ``(..., C)``, the sum of their codes.

        Raises:
            ValueError: more layers than there are.
        """
        if not 1 <= tokens.shape[-1] <= self.count:
            raise ValueError(f"tokens must have 1 to {self.count} layers; got {tokens.shape[-1]}.")
        total = torch.zeros((), device=tokens.device)
        for index, here in enumerate(tokens.unbind(-1)):
            codes = self.layer(index).lookup(here.clamp_min(0))
            total = total + codes.masked_fill((here == NOTHING)[..., None], 0.0)
        return total

    def draw_layers(self) -> int:
        """How many layers a training step runs, 1 to ``Q``; the same in all processes that train together."""
        if torch.rand(()) >= self.layer_dropout:
            drawn = torch.tensor(self.count)
        else:
            drawn = torch.randint(1, self.count + 1, ())
        drawn = drawn.to(self.layer(0).codebook.device)
        as_first_process(drawn)
        return int(drawn)

    def forward(
        self, rows: Tensor, layers: int | None = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Quantise, and in training mode move the codes.

        Args:
            rows: ``(..., C)`` encoder outputs.
            layers: how many layers run; by default all, in training mode a drawn number.
            generator: source of the draws of codes, and of the noise where there are more codes than rows.

        Returns:
            ``(..., C)`` quantised rows with straight-through gradients, the commitment loss and the perplexity, both
            as means over the layers that ran.
        """
        if layers is None:
            layers = self.draw_layers() if self.training and self.layer_dropout else self.count
        left = rows.flatten(0, -2)
        total, losses, perplexities = torch.zeros_like(left), [], []
        for index in range(layers):
            quantized, loss, perplexity = self.layer(index)(left, generator)
            total, left = total + quantized, left - quantized.detach()
            losses.append(loss)
            perplexities.append(perplexity)
        return total.view(rows.shape), torch.stack(losses).mean(), torch.stack(perplexities).mean()


def training_only(network: nn.Module) -> tuple[str, ...]:
    """Names of the state that only training needs: what codes that follow the data remember of it.

    >>> training_only(ResidualQuantizer(8, 4, layers=1))
    ('layers.0.code_sum', 'layers.0.code_count', 'layers.0.started')
    """
    return tuple(
        f"{name}.{part}".lstrip(".")
        for name, module in network.named_modules()
        if isinstance(module, EMAQuantizer)
        for part in ("code_sum", "code_count", "started")
    )
