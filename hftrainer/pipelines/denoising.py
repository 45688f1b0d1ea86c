"""Motions out of noise with an MDM bundle: what is asked of one motion, how it is drawn, and many drawn together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hftrainer.errors import GenerationError
from hftrainer.models.motion.mdm.bundle import MDMBundle
from hftrainer.models.motion.mdm.dip import windows
from hftrainer.models.motion.mdm.network import MDM, Condition
from hftrainer.models.motion.mdm.packing import is_packed
from hftrainer.models.motion.mdm.sampling import SAMPLERS, Kept, denoiser, sample
from hftrainer.models.motion.mdm.schedule import Schedule
from hftrainer.models.side_by_side import shared_out
from hftrainer.motion.clip import Motion

RNGS, PRECISIONS = ("own", "official"), {"fp32": torch.float32, "bf16": torch.bfloat16}
#: Motions denoised in one pass, at most.
BATCH = 32
#: Sentences whose vectors are kept.
_REMEMBERED = 1024

Say = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """One motion to be made.

    Attributes:
        prompt: a sentence, or ``None`` for whatever the network likes.
        frames: how many.
        seed: of its generator; ``None`` is torch's global one, where the authors' order is asked for.
        given: ``(frames, D)`` physical features that are known.
        kept: ``(frames, D)`` bool, True where they come out as they went in.
    """

    prompt: str | None
    frames: int
    seed: int | None
    given: np.ndarray | None = None
    kept: np.ndarray | None = None


@dataclass(frozen=True)
class Drawing:
    """How motions are drawn.

    Attributes:
        guidance: how strongly words are followed; 1 is the network as it is, 0 no words at all.
        steps: denoising steps, out of those that the network was trained on.
        sampler: one of ``SAMPLERS``.
        rng: ``own``, each motion from its own generator; ``official``, the authors' order and their two passes.
        precision: of the networks' products: ``fp32`` or ``bf16``.
        shown: frames that the network is shown at least, whatever is asked for; 0 for no more than asked for.
    """

    guidance: float
    steps: int
    sampler: str = "ancestral"
    rng: str = "own"
    precision: str = "fp32"
    shown: int = 0

    def about(self) -> dict[str, Any]:
        """What a motion notes about how it was drawn."""
        return asdict(self)


def drawing_for(
    bundle: MDMBundle,
    *,
    guidance: float | None = None,
    steps: int | None = None,
    sampler: str | None = None,
    rng: str = "own",
    precision: str = "fp32",
    shown: int | None = None,
) -> Drawing:
    """How to draw, where what is not said is as the bundle declares it.

    Args:
        guidance: the bundle's by default.
        steps: all of the network's by default.
        sampler: ``ancestral`` by default.
        rng, precision: see ``Drawing``.
        shown: the bundle's ``evaluation_frames`` by default.

    Raises:
        ValueError: a setting that this network does not have.
    """
    config = bundle.config
    taken = bundle.guidance if guidance is None else float(guidance)
    if not (np.isfinite(taken) and taken >= 0):
        raise ValueError(f"guidance must be a number of at least 0; got {taken}.")
    if taken != 1 and not config.guidable:
        raise ValueError(f"guidance must be 1: this model knows no motion without its condition; got {taken:g}.")
    for name, value, known in (("sampler", sampler or SAMPLERS[0], SAMPLERS), ("rng", rng, RNGS),
                               ("precision", precision, PRECISIONS)):  # fmt: skip
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}; got {value!r}.")
    count, least = config.steps if steps is None else steps, 2 if sampler == "plms" else 1
    if not least <= count <= config.steps:
        nearest = least if count < least else config.steps
        raise ValueError(f"steps must be {least} to {config.steps} for this model; got {count}. Nearest: {nearest}.")
    canvas = bundle.evaluation_frames or 0 if shown is None else shown
    if not 0 <= canvas < config.positions:
        raise ValueError(f"shown must be 0 to {config.positions - 1} frames; got {canvas}.")
    return Drawing(taken, count, sampler or SAMPLERS[0], rng, precision, canvas)


@dataclass(frozen=True)
class Drawn:
    """A motion that was made.

    Attributes:
        made: ``(T, D)`` float32 physical features; what was kept is the same bits.
        picture: ``(T, D)`` what the network itself saw in the last step, where something was kept.
    """

    made: np.ndarray
    picture: np.ndarray


class Denoising:
    """Draws motions with a bundle; every sentence is encoded once.

    Args:
        bundle: network, statistics, text tower.
        local_files_only: where the tower is not in the artifact, look for it on this computer only.
    """

    def __init__(self, bundle: MDMBundle, *, local_files_only: bool = False) -> None:
        config = bundle.config
        self.bundle, self.local_files_only = bundle, local_files_only
        self.whole = Schedule.named(config.noise_schedule, config.steps, small=config.small_sigma)
        self._told: dict[str, tuple[Tensor, Tensor | None]] = {}

    def schedule(self, drawing: Drawing) -> Schedule:
        """The steps that are taken, evenly spread over all."""
        return self.whole if drawing.steps == len(self.whole) else self.whole.respaced([drawing.steps])

    def draw(self, jobs: Sequence[Job], drawing: Drawing, say: Say | None = None) -> list[Drawn]:
        """Make motions.

        Args:
            jobs: each comes out the same alone and among others, but in the authors' order.
            drawing: how.
            say: gets a line of progress.

        Raises:
            GenerationError: the network made numbers that are none.
        """
        found: dict[int, Drawn] = {}
        groups = list(self._groups(jobs, drawing))
        for group in groups:
            done = f", motions {len(found) + 1} to {len(found) + len(group)} of {len(jobs)}" if len(groups) > 1 else ""

            def watch(step: int, x: Tensor, done: str = done) -> None:
                if say is not None:
                    say(f"denoising, step {step + 1} of {drawing.steps}{done}")

            for at, drawn in zip(group, self._together([jobs[at] for at in group], drawing, watch), strict=True):
                found[at] = drawn
        return [found[at] for at in range(len(jobs))]

    def canvas(self, job: Job, drawing: Drawing) -> int:
        """Frames that the network is shown for a job."""
        return self.whole_patches(max(job.frames, drawing.shown))

    def whole_patches(self, frames: int) -> int:
        """So many frames, or the few more that fill up the last patch of the network."""
        patch = self.bundle.config.patch
        return -(-frames // patch) * patch

    def _groups(self, jobs: Sequence[Job], drawing: Drawing) -> Iterator[list[int]]:
        """Jobs that go in one pass: alike in length, or in single precision of any where padded frames are masked.

        Products in bfloat16 round otherwise over another number of frames.
        """
        config = self.bundle.config
        if drawing.rng == "official":
            yield list(range(len(jobs)))
            return
        order = sorted(range(len(jobs)), key=lambda at: self.canvas(jobs[at], drawing))
        masked = config.mask_frames and config.architecture != "gru" and drawing.precision == "fp32"
        most, group = 1 if config.recur_over_batch else BATCH, list[int]()
        for at in order:
            other = bool(group) and self.canvas(jobs[at], drawing) != self.canvas(jobs[group[0]], drawing)
            if len(group) == most or (other and not masked):
                yield group
                group = []
            group.append(at)
        if group:
            yield group

    def _together(self, jobs: Sequence[Job], drawing: Drawing, watch: Callable[[int, Tensor], None]) -> list[Drawn]:
        bundle, config = self.bundle, self.bundle.config
        shown = [self.canvas(job, drawing) for job in jobs]
        shape = (len(jobs), config.joints, config.features, max(shown))
        frames = torch.arange(shape[3])[None] < torch.tensor([job.frames for job in jobs])[:, None]
        condition, guidance = self.condition([job.prompt for job in jobs], frames, drawing)
        own = drawing.rng == "own"
        merged = own and not config.recur_over_batch
        network = denoiser(self.network(drawing), condition, guidance, merged=merged)
        picture = [torch.empty(0)]

        def seen(x: Tensor, t: Tensor) -> Tensor:
            picture[0] = network(x, t).float()
            return picture[0]

        rng: Any = "official"
        if own:
            rng = [torch.Generator().manual_seed(0 if job.seed is None else job.seed) for job in jobs]
        elif jobs[0].seed is not None:
            rng = torch.Generator(bundle.device).manual_seed(jobs[0].seed)
        with self.products(drawing), self.threads(drawing):
            done = sample(
                seen, self.schedule(drawing), shape, rng=rng, lengths=shown if own else None,
                sampler=drawing.sampler, kept=self._kept(jobs, shape), watch=watch, device=bundle.device,
            )  # fmt: skip
        if not bool(torch.isfinite(done).all()):
            raise GenerationError(
                "the network must make finite numbers; it made some that are not. Take more steps, or less guidance."
            )
        return [self._drawn(job, *pair) for job, pair in zip(jobs, zip(done, picture[0], strict=True), strict=True)]

    def _drawn(self, job: Job, done: Tensor, picture: Tensor) -> Drawn:
        made, seen = (self.bundle.denormalize(x, job.frames).data for x in (done, picture))
        if job.kept is not None and job.given is not None:
            made = np.where(job.kept, job.given.astype(np.float32), made)
        return Drawn(made, seen)

    def _kept(self, jobs: Sequence[Job], shape: tuple[int, ...]) -> Kept | None:
        """What of all motions is kept; frames behind a motion that keeps something are held at 0, as in training."""
        if all(job.kept is None for job in jobs):
            return None
        spec = self.bundle.statistics.spec
        motion, mask = torch.zeros(shape), torch.zeros(shape, dtype=torch.bool)
        for row, job in enumerate(jobs):
            if job.kept is None or job.given is None:
                continue
            motion[row, ..., : job.frames] = self.bundle.normalize(Motion(job.given, spec, spec.fps)).cpu()
            mask[row, ..., : job.frames] = torch.from_numpy(job.kept.T.copy())[:, None]
            mask[row, ..., job.frames :] = True
        return Kept(motion.to(self.bundle.device), mask.to(self.bundle.device))

    def condition(
        self, prompts: Sequence[str | None], frames: Tensor, drawing: Drawing
    ) -> tuple[Condition, float | None]:
        """What the network is told, and how strongly; no guidance where there is nothing to follow.

        Args:
            prompts: of each motion.
            frames: ``(B, T)`` bool, True where a frame is asked for.
            drawing: how motions are drawn.
        """
        bundle = self.bundle
        frames = frames.to(bundle.device)
        if bundle.config.condition == "none":
            return Condition(frames=frames), None
        if drawing.rng == "official":
            text, real = self._encode([prompt or "" for prompt in prompts])
        else:
            text, real = _stacked([self.told(prompt or "") for prompt in prompts])
        absent = torch.tensor([prompt is None for prompt in prompts], device=bundle.device)
        hidden: bool | Tensor = absent if bool(absent.any()) else False
        told = Condition(text=text, text_mask=real, frames=frames, hidden=hidden)
        if drawing.rng == "own" and bool(absent.all()):
            return told.hide(), None
        if drawing.rng == "own" and drawing.guidance == 0:
            return told.hide(), None
        return told, None if drawing.guidance == 1 else drawing.guidance

    def told(self, prompt: str) -> tuple[Tensor, Tensor | None]:
        """``(L, W)`` of a sentence, and ``(L,)`` bool where there are tokens; encoded once."""
        if prompt not in self._told:
            if len(self._told) >= _REMEMBERED:
                self._told.clear()
            text, real = self._encode([prompt])
            self._told[prompt] = text[0], None if real is None else real[0]
        return self._told[prompt]

    def _encode(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor | None]:
        if self.bundle.text is None:
            self.bundle.tower(local_files_only=self.local_files_only)
        with torch.autocast(self.bundle.device.type, enabled=False):
            return self.bundle.encode_text(prompts)

    def network(self, drawing: Drawing) -> MDM:
        """The network itself where the authors' bits are asked for, or a quicker twin where its kind has one."""
        exact = drawing.rng == "official" and drawing.precision == "fp32"
        return self.bundle.network if exact else self.bundle.packed(PRECISIONS[drawing.precision])

    def products(self, drawing: Drawing) -> AbstractContextManager[Any]:
        """Where the networks' products have the precision that is asked for; weights are rounded once in it."""
        if drawing.precision == "fp32" or self.network(drawing) is not self.bundle.network:
            return nullcontext()
        return torch.autocast(self.bundle.device.type, torch.bfloat16)

    def threads(self, drawing: Drawing) -> AbstractContextManager[Any]:
        """Where torch's threads are shared out among the passes of one step, which packed networks are made for."""
        return shared_out() if is_packed(self.network(drawing)) else nullcontext()

    def windows(
        self, prefix: np.ndarray, prompts: Iterator[str | None], seed: int | None, drawing: Drawing
    ) -> Iterator[np.ndarray]:
        """Windows that follow on a prefix, ``(P, D)`` physical features each, one for each prompt.

        Args:
            prefix: ``(C, D)`` physical features.
            prompts: endless, or as many as there shall be windows.
            seed: as of a ``Job``.
            drawing: how.
        """
        bundle, spec = self.bundle, self.bundle.statistics.spec
        start = bundle.normalize(Motion(prefix, spec, spec.fps))[None]
        frames = torch.ones(1, bundle.config.predicted_frames, dtype=torch.bool)
        generator: Any = "official"
        if seed is not None:
            own = drawing.rng == "own"
            made = torch.Generator("cpu" if own else bundle.device).manual_seed(seed)
            generator = [made] if own else made
        guidance = drawing.guidance if bundle.config.guidable and drawing.guidance != 1 else None
        told = (self.condition([prompt], frames, drawing)[0] for prompt in prompts)
        stream = windows(
            self.network(drawing), self.schedule(drawing), start, told, rng=generator, guidance=guidance,
            sampler=drawing.sampler,
        )  # fmt: skip
        while True:
            with self.products(drawing):
                window = next(stream, None)
            if window is None:
                return
            yield bundle.denormalize(window[0].float()).data


def _stacked(rows: Sequence[tuple[Tensor, Tensor | None]]) -> tuple[Tensor, Tensor | None]:
    """Texts of several lengths -> ``(B, L, W)`` and ``(B, L)``, padded with zeros."""
    if all(real is None for _, real in rows):
        return torch.stack([text for text, _ in rows]), None
    longest = max(len(text) for text, _ in rows)
    told = rows[0][0].new_zeros(len(rows), longest, rows[0][0].shape[-1])
    mask = torch.zeros(len(rows), longest, dtype=torch.bool, device=told.device)
    for i, (text, real) in enumerate(rows):
        told[i, : len(text)] = text
        mask[i, : len(text)] = True if real is None else real
    return told, mask
