"""LoRA: a language model learns a user's captions through few added weights, which are merged in at the end.

Source: Hu et al. 2021; the original MotionGPT offers rank 8, alpha 16 and dropout 0.05 on queries and values.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Lora:
    """Sizes of the added weights.

    Attributes:
        rank: of each added product.
        alpha: what is added is scaled by ``alpha / rank``.
        dropout: of what enters them, in training.
        parts: linear maps that get them, by the last part of their name.
    """

    rank: int = 8
    alpha: int = 16
    dropout: float = 0.05
    parts: tuple[str, ...] = ("query", "value")

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(self.parts))
        if self.rank < 1 or not self.alpha > 0 or not 0 <= self.dropout < 1:
            raise ValueError(
                f"rank must be at least 1, alpha above 0 and dropout in [0, 1); "
                f"got {self.rank}, {self.alpha} and {self.dropout}."
            )


def add_lora(network: nn.Module, lora: Lora) -> None:
    """Put the added weights into a network, in place, and freeze everything else. They begin as no change at all.

    Raises:
        ModuleNotFoundError: peft is not installed (``pip install 'hftrainer[lora]'``).
        ValueError: no linear map has one of the names.
    """
    from peft import LoraConfig, inject_adapter_in_model  # only a recipe with LoRA pays for this import

    ends = {name.rpartition(".")[2] for name, module in network.named_modules() if isinstance(module, nn.Linear)}
    lost = [part for part in lora.parts if part not in ends]
    if lost:
        raise ValueError(f"lora.parts must be among {', '.join(sorted(ends))}; got {', '.join(lost)}.")
    inject_adapter_in_model(
        LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=list(lora.parts)),
        network,
    )
    for name, weight in network.named_parameters():
        weight.requires_grad_(".lora_" in name)


def merge_lora(network: nn.Module) -> None:
    """Add what was learned to the weights themselves, in place: the network has its old shape again."""
    from peft.tuners.lora import LoraLayer  # only a recipe with LoRA pays for this import

    layers = [(name, module) for name, module in network.named_modules() if isinstance(module, LoraLayer)]
    for name, layer in layers:
        layer.merge()  # type: ignore[operator]  # a method of every kind of layer that peft makes
        above, _, last = name.rpartition(".")
        setattr(network.get_submodule(above), last, layer.get_base_layer())
    for weight in network.parameters():
        weight.requires_grad_(True)
