"""How much noise each diffusion step adds, and which steps are kept where sampling takes fewer.

All constants are float64; whoever uses them picks the step first and rounds to float32 then.

Source: Ho et al. 2020 (DDPM), equations 4 to 7; Nichol and Dhariwal 2021 for the cosine schedule and respacing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from hftrainer.models.motion.mdm.config import SCHEDULES


def named_betas(name: str, steps: int) -> np.ndarray:
    """``(steps,)`` float64, the variance that each step adds.

    Args:
        name: ``cosine`` or ``linear``.
        steps: at least 1; 20 or more for ``linear``.

    Raises:
        ValueError: no such schedule, or too few steps for it.

    >>> named_betas("cosine", 10)[-1]
    np.float64(0.999)
    """
    if name not in SCHEDULES:
        raise ValueError(f"a schedule must be one of {', '.join(SCHEDULES)}; got {name!r}.")
    if steps < 1:
        raise ValueError(f"steps must be at least 1; got {steps}.")
    if name == "linear":
        if steps < 20:
            raise ValueError(f"steps of a linear schedule must be at least 20, or its betas exceed 1; got {steps}.")
        return np.linspace(1000 / steps * 0.0001, 1000 / steps * 0.02, steps)

    def kept(at: float) -> float:
        return math.cos((at + 0.008) / 1.008 * math.pi / 2) ** 2

    return np.array([min(1 - kept((i + 1) / steps) / kept(i / steps), 0.999) for i in range(steps)])


def kept_steps(steps: int, request: str | Sequence[int]) -> list[int]:
    """Which of ``steps`` are kept.

    Args:
        request: how many of each of the equal sections that the range is cut into, as numbers or as ``"10,20"``;
            or ``"ddimN"``: N steps, always the same number apart, counted from 0.

    Returns:
        Indices in ascending order.

    Raises:
        ValueError: a section has fewer steps than asked of it, or no whole distance gives N steps.

    Source:
        Nichol and Dhariwal 2021; Song et al. 2021 for the even distance.

    >>> kept_steps(50, "5")
    [0, 12, 24, 37, 49]
    >>> kept_steps(50, "ddim10")
    [0, 5, 10, 15, 20, 25, 30, 35, 40, 45]
    """
    if isinstance(request, str) and request.startswith("ddim"):
        count = int(request.removeprefix("ddim"))
        for apart in range(1, steps):
            if len(range(0, steps, apart)) == count:
                return list(range(0, steps, apart))
        raise ValueError(f"{request} must divide {steps} steps by a whole distance; it does not. Take another number.")
    counts = [int(n) for n in request.split(",")] if isinstance(request, str) else list(request)
    chosen, start = [], 0
    for section, count in enumerate(counts):
        size = steps // len(counts) + (section < steps % len(counts))
        if not 1 <= count <= size:
            raise ValueError(f"a section must keep 1 to {size} of its {size} steps; got {count}.")
        stride, at = (size - 1) / (count - 1) if count > 1 else 1.0, 0.0
        for _ in range(count):
            chosen.append(start + round(at))
            at += stride
        start += size
    return chosen


@dataclass(frozen=True, eq=False)
class Schedule:
    """The constants of a diffusion.

    Attributes:
        betas: ``(N,)`` float64, the variance that each kept step adds.
        steps: ``(N,)`` int64, the step that the network is told for each.
        small: the sampler's variance is that of the posterior; otherwise beta.

    >>> Schedule.named("cosine", 50).respaced("ddim10").steps.tolist()
    [0, 5, 10, 15, 20, 25, 30, 35, 40, 45]
    """

    betas: np.ndarray
    steps: np.ndarray
    small: bool = True

    @classmethod
    def named(cls, name: str, steps: int, *, small: bool = True) -> Schedule:
        """A schedule as the published models run it: betas are worked out again from what is left of the motion.

        Raises:
            ValueError: as ``named_betas``.
        """
        return cls(named_betas(name, steps), np.arange(steps), small).respaced([steps])

    def __len__(self) -> int:
        return len(self.betas)

    def respaced(self, request: str | Sequence[int]) -> Schedule:
        """Only some of the steps, each as noisy as it was.

        Args:
            request: as of ``kept_steps``.

        Raises:
            ValueError: as ``kept_steps``.
        """
        kept = kept_steps(len(self), request)
        left, betas = 1.0, []
        for value in np.cumprod(1.0 - self.betas)[kept]:
            betas.append(1 - value / left)
            left = value
        return Schedule(np.array(betas), self.steps[kept], self.small)

    @cached_property
    def kept(self) -> np.ndarray:
        """How much of the motion's variance is left after each step: the product of (1 - beta)."""
        return np.cumprod(1.0 - self.betas)

    @cached_property
    def kept_before(self) -> np.ndarray:
        """``kept`` of the step before; 1 before the first."""
        return np.append(1.0, self.kept[:-1])

    @cached_property
    def kept_after(self) -> np.ndarray:
        """``kept`` of the step after; 0 after the last."""
        return np.append(self.kept[1:], 0.0)

    @cached_property
    def sqrt_kept(self) -> np.ndarray:
        """What a clean motion is multiplied by."""
        return np.sqrt(self.kept)

    @cached_property
    def sqrt_noise(self) -> np.ndarray:
        """What noise is multiplied by."""
        return np.sqrt(1.0 - self.kept)

    @cached_property
    def log_noise(self) -> np.ndarray:
        """Logarithm of the noise's variance."""
        return np.log(1.0 - self.kept)

    @cached_property
    def sqrt_recip(self) -> np.ndarray:
        """What a noisy motion is multiplied by to get back to scale."""
        return np.sqrt(1.0 / self.kept)

    @cached_property
    def sqrt_recip_less_one(self) -> np.ndarray:
        """What noise is multiplied by to be taken off a noisy motion that is back to scale."""
        return np.sqrt(1.0 / self.kept - 1)

    @cached_property
    def posterior_variance(self) -> np.ndarray:
        """Variance of a step back, where the clean motion is known (equation 7)."""
        return self.betas * (1.0 - self.kept_before) / (1.0 - self.kept)

    @cached_property
    def posterior_log_variance(self) -> np.ndarray:
        """Its logarithm; the first step, whose variance is 0, has the second one's."""
        known = self.posterior_variance if len(self) == 1 else np.append(
            self.posterior_variance[1], self.posterior_variance[1:])  # fmt: skip
        with np.errstate(divide="ignore"):
            return np.log(known)

    @cached_property
    def clean_share(self) -> np.ndarray:
        """What the clean motion is multiplied by in the mean of a step back; exactly 1 in the first step."""
        return self.betas * np.sqrt(self.kept_before) / (1.0 - self.kept)

    @cached_property
    def noisy_share(self) -> np.ndarray:
        """What the noisy motion is multiplied by in the mean of a step back; exactly 0 in the first step."""
        return (1.0 - self.kept_before) * np.sqrt(1.0 - self.betas) / (1.0 - self.kept)

    @cached_property
    def log_variance(self) -> np.ndarray:
        """Logarithm of the variance that the sampler adds: small or large."""
        if self.small or len(self) == 1:
            return self.posterior_log_variance
        return np.log(np.append(self.posterior_variance[1], self.betas[1:]))

    def at(self, constants: np.ndarray, index: Tensor, like: Tensor) -> Tensor:
        """Constants of some steps as float32, spread over the shape of ``like`` ``(B, ...)``.

        Args:
            constants: ``(N,)`` float64.
            index: ``(B,)`` int64.
        """
        chosen = torch.from_numpy(constants).to(like.device)[index].float()
        return chosen.view(-1, *[1] * (like.dim() - 1)).expand(like.shape)

    def add_noise(self, clean: Tensor, index: Tensor, noise: Tensor) -> Tensor:
        """A motion ``(B, J, F, T)`` as it is after the steps ``index`` ``(B,)`` (equation 4)."""
        kept = self.at(self.sqrt_kept, index, clean) * clean
        return kept + self.at(self.sqrt_noise, index, clean) * noise
