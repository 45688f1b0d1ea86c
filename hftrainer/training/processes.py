"""Who trains: this process alone, in plain torch, or several that ``accelerate launch`` has started.

The loop asks for one of them and treats all alike; ``hftrainer.training.sharing`` has those that keep shares. Alone,
nothing but torch is needed, and every number is what the same lines without this module would give. Together, each
process works on its part of every batch; gradients, and the codes of a motion tokenizer, are those of the whole batch.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from hftrainer.errors import ArtifactError

DEVICES = ("auto", "cpu", "cuda")


def number_of_processes() -> int:
    """How many processes were started for this run; a launcher tells each of them."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first_process() -> bool:
    """Whether this is the process that writes files and speaks; known before torch is set up."""
    return int(os.environ.get("RANK", "0")) == 0


class Processes(Protocol):
    """What the loop needs to know of who trains.

    Attributes:
        count, index: how many processes, and which of them this is.
        device: where this one computes.
    """

    count: int
    index: int
    device: torch.device

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module whose ``forward`` is called for a loss; its gradients become those of all processes."""

    def part(self, module: nn.Module, last: bool) -> AbstractContextManager[Any]:
        """Around one part of a step: only the ``last`` part exchanges gradients."""

    def sum(self, value: Tensor) -> Tensor:
        """The sum of a number over all processes."""

    def wait(self) -> None:
        """Until every process is here."""

    def whole(self, module: nn.Module) -> AbstractContextManager[Any]:
        """While weights have to be whole on every process, outside a loss."""

    def gather(self, network: nn.Module) -> None:
        """Training is over: make weights whole for good."""

    def saved(self, out: Path, step: int, network: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """What a checkpoint keeps of the two; every process asks for it."""

    def tidy(self, out: Path, step: int) -> None:
        """The checkpoint of a step is there: remove what belonged to others."""

    def load(
        self, out: Path, found: Mapping[str, Any], network: nn.Module, optimizer: torch.optim.Optimizer
    ) -> None:
        """Take the two from a checkpoint."""


class Whole:
    """Processes that each have the whole network."""

    def whole(self, module: nn.Module) -> AbstractContextManager[Any]:
        return nullcontext()

    def gather(self, network: nn.Module) -> None:
        return None

    def saved(self, out: Path, step: int, network: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        return {"network": network.state_dict(), "optimizer": optimizer.state_dict()}

    def tidy(self, out: Path, step: int) -> None:
        return None

    def load(
        self, out: Path, found: Mapping[str, Any], network: nn.Module, optimizer: torch.optim.Optimizer
    ) -> None:
        """Take the two from a checkpoint.

        Raises:
            ArtifactError: it was saved in shares.
        """
        if "shares" in found:
            raise ArtifactError(
                f"{out / 'last.pt'} must be a whole checkpoint; it is in shares of {found['processes']} processes. "
                "Go on as the run was begun."
            )
        network.load_state_dict(found["network"])
        optimizer.load_state_dict(found["optimizer"])


class Alone(Whole):
    """One process, plain torch.

    >>> Alone("cpu").count, Alone("cpu").device
    (1, device(type='cpu'))
    """

    count, index = 1, 0

    def __init__(self, device: str = "auto") -> None:
        self.device = torch.device(choose_device(device))

    def wrap(self, module: nn.Module) -> nn.Module:
        return module

    def part(self, module: nn.Module, last: bool) -> AbstractContextManager[Any]:
        return nullcontext()

    def sum(self, value: Tensor) -> Tensor:
        return value

    def wait(self) -> None:
        return None


class Together(Whole):
    """Several processes under ``accelerate launch``.

    Args:
        device: see ``Schedule``; ``"auto"`` is what the launcher says.
    """

    def __init__(self, device: str = "auto") -> None:
        from accelerate import Accelerator, DistributedDataParallelKwargs  # only several processes pay for this import

        # A task need not use every weight in every step: captions and motions have heads of their own.
        how = DistributedDataParallelKwargs(find_unused_parameters=True)
        cpu = device == "cpu" or (device == "auto" and not torch.cuda.is_available())
        if device == "cuda":
            choose_device(device)
        # Precision is the recipe's business, not the launcher's: the loop does its own autocast.
        self.accelerator = Accelerator(cpu=cpu, mixed_precision="no", kwargs_handlers=[how])
        self.count, self.index = self.accelerator.num_processes, self.accelerator.process_index
        self.device: torch.device = self.accelerator.device

    def wrap(self, module: nn.Module) -> nn.Module:
        wrapped: nn.Module = self.accelerator.prepare_model(module)
        return wrapped

    def part(self, module: nn.Module, last: bool) -> AbstractContextManager[Any]:
        return nullcontext() if last else self.accelerator.no_sync(module)

    def sum(self, value: Tensor) -> Tensor:
        total: Tensor = self.accelerator.reduce(value.to(self.device), "sum")
        return total

    def wait(self) -> None:
        self.accelerator.wait_for_everyone()


def processes(device: str = "auto") -> Processes:
    """This process alone, or all that were launched for this run.

    Args:
        device: ``"cpu"``, ``"cuda"``, or ``"auto"``, which takes a GPU when there is one.

    Raises:
        ValueError: ``"cuda"`` where there is none; or a launcher was asked for several processes and started one, as
            accelerate does on a machine without GPUs unless it is told to use torchrun.
        ModuleNotFoundError: several processes, and accelerate is not installed.
    """
    if "WORLD_SIZE" not in os.environ and {"ACCELERATE_USE_CPU", "MASTER_ADDR"} <= set(os.environ):
        raise ValueError(
            "accelerate launch must start as many processes as it was asked for; it started one, as it does on a "
            "machine without several GPUs. Add --multi_gpu, which makes it use torchrun, also on CPUs."
        )
    if os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true":
        raise ValueError(
            "accelerate launch must come with FSDP where weights are to lie in shares; got DeepSpeed, whose engine has "
            "a loop of its own. Take --config_file recipes/accelerate/fsdp.yaml."
        )
    if number_of_processes() > 1 and os.environ.get("ACCELERATE_USE_FSDP") == "true":
        from hftrainer.training.sharing import Shared  # it asks this module for a device

        return Shared(device)
    return Together(device) if number_of_processes() > 1 else Alone(device)


def choose_device(device: str) -> str:
    """``"cpu"`` or ``"cuda"``.

    Raises:
        ValueError: another name, or ``"cuda"`` where there is none.

    >>> choose_device("cpu")
    'cpu'
    """
    if device not in DEVICES:
        raise ValueError(f"device must be {', '.join(DEVICES[:-1])} or {DEVICES[-1]}; got {device!r}.")
    found = torch.cuda.is_available()
    if device == "cuda" and not found:
        raise ValueError('device must be "cpu" or "auto" on this machine; got "cuda", and torch finds no GPU.')
    return "cuda" if found and device != "cpu" else "cpu"


def trained(network: nn.Module) -> list[nn.Parameter]:
    """The weights that are not frozen."""
    return [p for p in network.parameters() if p.requires_grad]


def freeze(network: nn.Module, prefixes: Iterable[str]) -> None:
    """Keep every weight whose name is a prefix, or begins with one and a dot, as it is.

    Args:
        network: its weights stop to ask for gradients.
        prefixes: ``"encoder"``, ``"decoder.layers.0"``, ``"vocabulary"``, …

    Raises:
        ValueError: a prefix that fits nothing, or none is left to be trained; the names there are come in the message.

    >>> net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    >>> freeze(net, ["0"])
    >>> [name for name, p in net.named_parameters() if p.requires_grad]
    ['1.weight', '1.bias']
    """
    prefixes = tuple(prefixes)
    names = [*dict(network.named_parameters()), *dict(network.named_buffers())]
    lost = [prefix for prefix in prefixes if not any(_under(name, prefix) for name in names)]
    if lost:
        known = ", ".join(name for name, _ in network.named_children())
        raise ValueError(f"freeze must name parts of the network ({known}, or in them); got {', '.join(lost)}.")
    for name, weight in network.named_parameters():
        if any(_under(name, prefix) for prefix in prefixes):
            weight.requires_grad_(False)
    if prefixes and not trained(network):
        raise ValueError(f"freeze must leave something to be trained; got {', '.join(prefixes)}, which is everything.")


def rest(network: nn.Module, prefixes: Iterable[str]) -> None:
    """Put the frozen modules into evaluation mode: no dropout, and codes that do not follow the data."""
    prefixes = tuple(prefixes)
    for name, module in network.named_modules():
        if name and any(_under(name, prefix) for prefix in prefixes):
            module.eval()


def _under(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")
