"""From noise to a motion: guidance, four samplers, and noise of each sample's own or drawn as the authors do.

A denoiser is a function of noisy frames ``(B, J, F, T)`` and the step ``(B,)`` that gives clean frames. The samplers
differ in how they go from one step to the next: ``ancestral`` (DDPM) draws noise at each step, ``ddim`` as much as
``eta`` says, ``plms`` and ``dpm`` none.

Source: Ho et al. 2020 (ancestral); Song et al. 2021 (DDIM); Liu et al. 2022 (PLMS); Lu et al. 2022 (DPM-Solver++(2M));
Ho and Salimans 2022 (guidance).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from hftrainer.models.motion.mdm.network import MDM, Condition
from hftrainer.models.motion.mdm.packing import is_packed
from hftrainer.models.motion.mdm.schedule import Schedule
from hftrainer.models.side_by_side import groups, side_by_side

SAMPLERS = ("ancestral", "ddim", "plms", "dpm")

Denoiser = Callable[[Tensor, Tensor], Tensor]
Watch = Callable[[int, Tensor], None]


class Noise(Protocol):
    """Where a sampler's noise comes from."""

    def first(self, shape: Sequence[int], device: torch.device) -> Tensor:
        """Where sampling begins: standard normal numbers of ``shape``."""

    def like(self, x: Tensor) -> Tensor:
        """Standard normal numbers of the shape of ``x``."""


@dataclass(frozen=True)
class OfficialNoise:
    """Noise as the authors draw it: one generator for the whole batch.

    The first draw fills memory as ``(B, J, F, T)``, later ones in the order that ``x`` lies in memory. On a processor
    the values themselves differ between the two, not only their order.

    Attributes:
        generator: on the device of the motion; torch's global one by default.
    """

    generator: torch.Generator | None = None

    def first(self, shape: Sequence[int], device: torch.device) -> Tensor:
        return torch.randn(tuple(shape), generator=self.generator, device=device)

    def like(self, x: Tensor) -> Tensor:
        return torch.empty_like(x).normal_(generator=self.generator)


@dataclass(frozen=True)
class OwnNoise:
    """Each sample's noise from its own generator, frame by frame, so that company changes nothing.

    Attributes:
        generators: one per sample, on the processor, whatever the device of the motion.
        lengths: frames of each sample; further frames get no noise. By default all.
    """

    generators: Sequence[torch.Generator]
    lengths: Sequence[int] | None = None

    def first(self, shape: Sequence[int], device: torch.device) -> Tensor:
        """``(B, ...)`` numbers, each sample's from its own generator, in as many frames as it has."""
        batch, rows, features, frames = shape
        if len(self.generators) != batch:
            raise ValueError(f"generators must be {batch}, one per sample; got {len(self.generators)}.")
        noise = torch.zeros(frames, batch, rows, features)
        for sample, generator in enumerate(self.generators):
            count = frames if self.lengths is None else self.lengths[sample]
            noise[:count, sample] = torch.randn(count, rows, features, generator=generator)
        return noise.to(device).permute(1, 2, 3, 0)

    def like(self, x: Tensor) -> Tensor:
        return self.first(x.shape, x.device).to(x.dtype)


@dataclass(frozen=True)
class Kept:
    """What must come out as it went in.

    Attributes:
        motion: ``(B, J, F, T)`` normalised.
        mask: bool of the same shape, True where a number is kept.
    """

    motion: Tensor
    mask: Tensor

    def __post_init__(self) -> None:
        if self.mask.dtype != torch.bool:
            raise ValueError(f"a mask of what is kept must be bool; got {self.mask.dtype}.")
        if self.mask.shape != self.motion.shape:
            raise ValueError(
                f"a mask of what is kept must have the motion's shape {tuple(self.motion.shape)}; "
                f"got {tuple(self.mask.shape)}."
            )


def denoiser(network: MDM, condition: Condition, guidance: float | Tensor | None = None, *, merged: bool) -> Denoiser:
    """The network with guidance: what it makes of nothing, and ``guidance`` times the way from there to the condition.

    Args:
        guidance: one for all, or ``(B,)``; none, and a plain 1, are the condition alone in half the time.
        merged: both passes as one batch, which a packed network takes in groups, each on threads of its own. Otherwise
            two passes, as the authors have it; the results differ in the last bits (2e-6 a step).

    Raises:
        ValueError: the network cannot be guided.
    """
    if guidance is None or (not isinstance(guidance, Tensor) and guidance == 1):
        return lambda x, t: in_groups(network, x, t, condition)
    if not network.config.guidable:
        raise ValueError("guidance must be 1: this network was never trained without its condition. Take 1.")
    apart, twice = condition.hide(), cache(condition.with_hidden)

    def call(x: Tensor, t: Tensor) -> Tensor:
        scale = torch.as_tensor(guidance, dtype=x.dtype, device=x.device).expand(len(x)).view(-1, 1, 1, 1)
        if merged:
            both = in_groups(network, torch.cat((x, x)), torch.cat((t, t)), twice(len(x)))
            shown, hidden = both[: len(x)], both[len(x) :]
        else:
            shown, hidden = network(x, t, condition), network(x, t, apart)
        return hidden + scale * (shown - hidden)

    return call


def in_groups(network: MDM, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
    """What a network makes of a batch; a packed one takes it in groups, each on threads of its own.

    Args:
        network: MDM.
        x, t, condition: as it takes them.
    """
    if not is_packed(network):
        return network(x, t, condition)  # type: ignore[no-any-return]
    parts = groups(len(x), -(-x.shape[3] // network.config.patch) + 1)
    found = side_by_side(lambda rows: network(x[rows], t[rows], condition.of(rows)), parts)
    return torch.cat([part.permute(3, 0, 1, 2) for part in found], 1).permute(1, 2, 3, 0)  # in the network's order


@dataclass(frozen=True)
class _Steps:
    """What every sampler needs of one run."""

    schedule: Schedule
    denoise: Denoiser
    kept: Kept | None = None
    clip: bool = False

    def clean(self, x: Tensor, index: Tensor) -> Tensor:
        """The clean motion that the network sees in ``x``, with what is kept put in."""
        t = torch.from_numpy(self.schedule.steps).to(index.device)[index]
        found = self.denoise(x, t)
        if self.kept is not None:
            found = found * ~self.kept.mask + self.kept.motion * self.kept.mask
        return found.clamp(-1, 1) if self.clip else found

    def at(self, constants: np.ndarray, index: Tensor, like: Tensor) -> Tensor:
        return self.schedule.at(constants, index, like)

    def noise_in(self, x: Tensor, clean: Tensor, index: Tensor) -> Tensor:
        """The noise in ``x`` if ``clean`` is what it was."""
        whole = self.at(self.schedule.sqrt_recip, index, x) * x
        return (whole - clean) / self.at(self.schedule.sqrt_recip_less_one, index, x)


def _ancestral(run: _Steps, x: Tensor, indices: Sequence[int], noise: Noise, same: bool) -> Iterator[Tensor]:
    for i in indices:
        index = torch.full((len(x),), i, device=x.device)
        clean = run.clean(x, index)
        mean = run.at(run.schedule.clean_share, index, x) * clean + run.at(run.schedule.noisy_share, index, x) * x
        fresh = noise.like(x)
        if same:
            fresh = fresh[:1].expand_as(fresh)
        spread = torch.exp(0.5 * run.at(run.schedule.log_variance, index, x))
        x = mean + float(i != 0) * spread * fresh
        yield x


def _ddim(run: _Steps, x: Tensor, indices: Sequence[int], noise: Noise, eta: float) -> Iterator[Tensor]:
    for i in indices:
        index = torch.full((len(x),), i, device=x.device)
        clean = run.clean(x, index)
        wrong = run.noise_in(x, clean, index)
        now, before = run.at(run.schedule.kept, index, x), run.at(run.schedule.kept_before, index, x)
        sigma = eta * torch.sqrt((1 - before) / (1 - now)) * torch.sqrt(1 - now / before)
        fresh = noise.like(x)
        mean = clean * torch.sqrt(before) + torch.sqrt(1 - before - sigma**2) * wrong
        x = mean + float(i != 0) * sigma * fresh
        yield x


#: What past noises are multiplied by, newest first, and what their sum is divided by: Adams and Bashforth's formulas.
_PAST = {2: ((3, -1), 2), 3: ((23, -16, 5), 12), 4: ((55, -59, 37, -9), 24)}


def _plms(run: _Steps, x: Tensor, indices: Sequence[int], order: int) -> Iterator[Tensor]:
    past: list[Tensor] = []  # newest first
    for i in indices:
        index = torch.full((len(x),), i, device=x.device)
        clean = run.clean(x, index)
        wrong = run.noise_in(x, clean, index)
        before = run.at(run.schedule.kept_before, index, x)
        if past:
            past = [wrong, *past][:order]
            shares, parts = _PAST[len(past)]
            mixed = sum((n * old for n, old in zip(shares, past, strict=True)), torch.zeros_like(x)) / parts
        else:  # a plain step, and the mean of both ends' noises
            past = [wrong]
            ahead = clean * torch.sqrt(before) + torch.sqrt(1 - before) * wrong
            mixed = (wrong + run.noise_in(ahead, run.clean(ahead, index - 1), index - 1)) / 2
        again = run.at(run.schedule.sqrt_recip, index, x) * x
        again = again - run.at(run.schedule.sqrt_recip_less_one, index, x) * mixed
        x = clean if i == 0 else again * torch.sqrt(before) + torch.sqrt(1 - before) * mixed
        yield x


def _dpm(run: _Steps, x: Tensor, indices: Sequence[int]) -> Iterator[Tensor]:
    signal, spread = run.schedule.sqrt_kept, run.schedule.sqrt_noise
    clarity = np.log(signal / spread)
    last: tuple[float, Tensor] | None = None  # the step before: how far it went, what it saw
    for i in indices:
        clean = run.clean(x, torch.full((len(x),), i, device=x.device))
        if i == 0:
            yield clean
            return
        step = float(clarity[i - 1] - clarity[i])
        aim = clean
        if last is not None and i > 1:  # the widest step, to where hardly any noise is left, is a plain one
            aim = clean + (clean - last[1]) * (step / (2 * last[0]))
        x = float(spread[i - 1] / spread[i]) * x - float(signal[i - 1] * np.expm1(-step)) * aim
        last = step, clean
        yield x


@torch.no_grad()
def sample(
    network: MDM | Denoiser,
    schedule: Schedule,
    shape: Sequence[int],
    condition: Condition | None = None,
    *,
    rng: str | torch.Generator | Sequence[torch.Generator] = "official",
    lengths: Sequence[int] | None = None,
    guidance: float | Tensor | None = None,
    merged: bool | None = None,
    sampler: str = "ancestral",
    eta: float = 0.0,
    order: int = 2,
    kept: Kept | None = None,
    clip: bool = False,
    noise: Tensor | None = None,
    same_noise: bool = False,
    skip: int = 0,
    start: Tensor | None = None,
    watch: Watch | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """Motions ``(B, J, F, T)``, normalised.

    Args:
        network: MDM, or any denoiser, which then knows condition and guidance itself.
        schedule: which steps are taken; ``schedule.respaced([20])`` takes 20.
        shape: of the result.
        condition: what it shall be like.
        rng: ``"official"`` draws as the authors do from torch's global generator, a single generator does so from that
            one; one generator per sample makes each sample what it would be alone.
        lengths: frames of each sample, where ``rng`` is one generator per sample; further frames get no noise.
        guidance, merged: as of ``denoiser``; two passes by default where ``rng`` is official or the network's result
            depends on the company.
        sampler: ``ancestral``, ``ddim``, ``plms`` or ``dpm``.
        eta: of ``ddim``: 0 draws nothing that is used, 1 is as random as ``ancestral``.
        order: of ``plms``: how many noises it remembers, 2 to 4.
        kept: numbers that come out as given.
        clip: clean motions are cut to -1 to 1; the published models do not.
        noise: ``(B, J, F, T)`` to begin with, instead of a draw.
        same_noise: of ``ancestral``: what is drawn after the first draw is the first sample's for all.
        skip: how many of the noisiest steps are left out; ``start`` is then made noisy to that degree.
        start: ``(B, J, F, T)`` motion to begin from, with or without ``skip``; zeros where ``skip`` is given alone.
        watch: called after each step with how many were taken before and the motion as it is.
        device: of the motion, where ``network`` is a denoiser; the processor by default.

    Raises:
        ValueError: no such sampler, or settings that it does not take.

    >>> from hftrainer.models.motion.mdm.schedule import Schedule
    >>> aim = torch.ones(1, 3, 1, 5)
    >>> own = [torch.Generator().manual_seed(1)]
    >>> sample(lambda x, t: aim, Schedule.named("cosine", 10), (1, 3, 1, 5), rng=own).unique()
    tensor([1.])
    """
    _check(schedule, sampler, order, same_noise, skip)
    if isinstance(network, MDM):
        device = next(network.parameters()).device
    device = device or torch.device("cpu")
    official = isinstance(rng, str | torch.Generator)
    if isinstance(rng, str) and rng != "official":
        raise ValueError(f'rng must be "official", a generator, or one generator per sample; got {rng!r}.')
    source: Noise
    if isinstance(rng, str | torch.Generator):
        source = OfficialNoise(None if isinstance(rng, str) else rng)
    else:
        source = OwnNoise(rng, lengths)
    if isinstance(network, MDM):
        if merged is None:
            merged = not official and not network.config.recur_over_batch
        call = denoiser(network, condition or Condition(), guidance, merged=merged)
    else:
        call = network
    x = source.first(shape, device) if noise is None else noise
    indices = list(range(len(schedule)))[: len(schedule) - skip][::-1]
    if start is not None or skip:
        start = torch.zeros_like(x) if start is None else start
        x = schedule.add_noise(start, torch.full((len(x),), indices[0], device=device), x)
    run = _Steps(schedule, call, kept, clip)
    states = {
        "ancestral": lambda: _ancestral(run, x, indices, source, same_noise),
        "ddim": lambda: _ddim(run, x, indices, source, eta),
        "plms": lambda: _plms(run, x, indices, order),
        "dpm": lambda: _dpm(run, x, indices),
    }[sampler]()
    done = x
    for at, done in enumerate(states):
        if watch is not None:
            watch(at, done)
    return done


def _check(schedule: Schedule, sampler: str, order: int, same_noise: bool, skip: int) -> None:
    if sampler not in SAMPLERS:
        raise ValueError(f"a sampler must be one of {', '.join(SAMPLERS)}; got {sampler!r}.")
    if not 0 <= skip < len(schedule):
        raise ValueError(f"skip must be 0 to {len(schedule) - 1}, so that a step is left; got {skip}.")
    if sampler == "plms" and not 2 <= order <= 4:
        raise ValueError(f"order of plms must be 2 to 4; got {order}.")
    if sampler == "plms" and len(schedule) - skip < 2:
        raise ValueError(f"steps of plms must be at least 2; got {len(schedule) - skip}.")
    if same_noise and sampler != "ancestral":
        raise ValueError(f"same_noise must be with ancestral; got {sampler}.")
