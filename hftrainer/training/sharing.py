"""Training whose weights, gradients and optimiser state lie in shares on the processes: FSDP.

Each process keeps an equal part of every weight and of what the optimiser knows of it; weights are whole only while a
loss is computed, and gradients are added up and cut in one go. A checkpoint is a file for each process, in a folder
that ``last.pt`` names: the name changes when the folder is whole.

Source: Zhao et al., "PyTorch FSDP: Experiences on Scaling Fully Sharded Data Parallel", 2023; torch's ``fully_shard``.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hftrainer.errors import ArtifactError
from hftrainer.training.processes import choose_device

#: How the folder of a checkpoint's shares begins; the step comes after.
_SHARES = "last-"


class _Touching(nn.Module):
    """A loss in which every weight has a part, nothing perhaps: processes exchange the gradients of all weights, and a
    batch's part may need others than that of the next process."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        loss, named = self.inner(batch)
        for weight in self.inner.parameters():
            if weight.requires_grad:
                loss = loss + 0.0 * weight.flatten()[:1].sum()
        return loss, named


class Shared:
    """Several processes that each keep a share; see ``hftrainer.training.processes.Processes``.

    Args:
        device: see ``Schedule``.
    """

    def __init__(self, device: str = "auto") -> None:
        kind = choose_device(device)
        if not torch.distributed.is_initialized():
            torch.distributed.init_process_group("nccl" if kind == "cuda" else "gloo")
        self.count, self.index = torch.distributed.get_world_size(), torch.distributed.get_rank()
        self.device = torch.device(kind)
        if kind == "cuda":
            self.device = torch.device(kind, int(os.environ.get("LOCAL_RANK", "0")))
            torch.cuda.set_device(self.device)

    def wrap(self, module: nn.Module) -> nn.Module:
        """Cut every weight into shares."""
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        whole = _Touching(module)
        fully_shard(whole, mesh=init_device_mesh(self.device.type, (self.count,)))
        return whole

    def part(self, module: nn.Module, last: bool) -> AbstractContextManager[Any]:
        """Only the last part exchanges gradients."""
        module.set_requires_gradient_sync(last)  # type: ignore[operator]
        return nullcontext()

    def sum(self, value: Tensor) -> Tensor:
        """Over all processes."""
        total = value.to(self.device, copy=True)
        torch.distributed.all_reduce(total)
        return total

    def wait(self) -> None:
        """Until every process is here."""
        torch.distributed.barrier()

    @contextmanager
    def whole(self, module: nn.Module) -> Iterator[None]:
        """Weights are whole on every process."""
        module.unshard()  # type: ignore[operator]
        yield
        self.wait()
        module.reshard()  # type: ignore[operator]

    def gather(self, network: nn.Module) -> None:
        """Make the network's weights whole for good, on every process."""
        from torch.distributed.tensor import DTensor

        known: dict[int, nn.Parameter] = {}
        for part in network.modules():
            for name, weight in list(part.named_parameters(recurse=False)):
                if isinstance(weight, DTensor):
                    if id(weight) not in known:
                        known[id(weight)] = nn.Parameter(weight.full_tensor().detach(), weight.requires_grad)
                    setattr(part, name, known[id(weight)])

    def saved(
        self, out: Path, step: int, network: nn.Module, optimizer: torch.optim.Optimizer
    ) -> dict[str, Any]:
        """Write this process's share; what ``last.pt`` says of all of them."""
        folder = out / f"{_SHARES}{step}"
        folder.mkdir(exist_ok=True)
        state = {"network": network.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save(_local(state), folder / f".{self.index}.pt")
        os.replace(folder / f".{self.index}.pt", folder / f"{self.index}.pt")
        self.wait()
        return {"shares": folder.name, "processes": self.count}

    def tidy(self, out: Path, step: int) -> None:
        """Remove the shares of other checkpoints."""
        for folder in out.glob(f"{_SHARES}*"):
            if folder.name != f"{_SHARES}{step}":
                shutil.rmtree(folder, ignore_errors=True)

    def load(
        self, out: Path, found: Mapping[str, Any], network: nn.Module, optimizer: torch.optim.Optimizer
    ) -> None:
        """Take this process's share of a checkpoint.

        Raises:
            ArtifactError: it is not in shares, or in those of another number of processes.
        """
        from torch.distributed.tensor import DTensor

        if found.get("processes") != self.count:
            told = f"shares of {found['processes']}" if "shares" in found else "a whole one"
            raise ArtifactError(
                f"{out / 'last.pt'} must be a checkpoint in shares of {self.count} processes; it is {told}. "
                "Go on as the run was begun."
            )
        file = out / Path(found["shares"]).name / f"{self.index}.pt"
        mine = torch.load(file, weights_only=True, map_location=self.device)
        with torch.no_grad():
            for name, value in network.state_dict().items():
                (value.to_local() if isinstance(value, DTensor) else value).copy_(mine["network"][name])
        optimizer.load_state_dict(mine["optimizer"])
        for group in optimizer.param_groups:
            for weight in group["params"]:
                for name, value in optimizer.state.get(weight, {}).items():
                    if isinstance(weight, DTensor) and value.dim() == weight.dim():
                        optimizer.state[weight][name] = DTensor.from_local(
                            value, weight.device_mesh, weight.placements, shape=weight.size(), stride=weight.stride()
                        )  # fmt: skip


def _local(value: Any) -> Any:
    """This process's part of every tensor in a state."""
    from torch.distributed.tensor import DTensor

    if isinstance(value, Mapping):
        return {key: _local(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_local(inner) for inner in value]
    return value.to_local().clone() if isinstance(value, DTensor) else value
