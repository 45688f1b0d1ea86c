"""Motions out of residual codes with a bundle of MoGenTS or MoMask: how they are drawn, and many drawn together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hftrainer.errors import GenerationError
from hftrainer.models.motion.mogents.bundle import Codes, MaskedBundle
from hftrainer.models.motion.mogents.decoding import Start
from hftrainer.models.motion.mogents.joints import ROOT, split_joints
from hftrainer.models.motion.mogents.sampling import Settings
from hftrainer.models.motion.mogents.tokenizer import PADDED_JOINTS
from hftrainer.models.side_by_side import shared_out
from hftrainer.motion.clip import Motion
from hftrainer.pipelines.denoising import BATCH, PRECISIONS, RNGS, Drawn, Job, Say

#: Sentences whose vectors are kept.
_REMEMBERED = 1024
#: Where some joints are made anew, tokens of whole poses cannot be hidden as a whole: each iteration makes this share
#: of them anew, the least likely ones, so that they follow the words and keep to the rest of the motion.
REFRESH = 0.16


@dataclass(frozen=True)
class Masks:
    """How motions are drawn.

    Attributes:
        guidance: how strongly words are followed; 1 is the networks as they are.
        residual_guidance: the same while residuals are made.
        steps: iterations of filling masks.
        drop: share of the vocabulary, its unlikeliest part, that is never drawn.
        temperature: below 1 the likeliest codes become likelier yet.
        gumbel: draw by adding noise to logits.
        residual_layers: how many layers of residuals are made; none: all.
        renew: of MoGenTS: 0, joints are made from the words alone; above, they begin as what the whole poses say, and
            a few iterations make this share of them anew.
        rng: ``own``, each motion from its own generator; ``official``, the authors' order.
        precision: of the networks' products: ``fp32`` or ``bf16``.
    """

    guidance: float = 4.0
    residual_guidance: float = 5.0
    steps: int = 10
    drop: float = 0.9
    temperature: float = 1.0
    gumbel: bool = False
    residual_layers: int | None = None
    renew: float = 0.0
    rng: str = "own"
    precision: str = "fp32"

    def __post_init__(self) -> None:
        for name in ("guidance", "residual_guidance"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be a number of at least 0; got {value}.")
        for name, known in (("rng", RNGS), ("precision", PRECISIONS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}; got {getattr(self, name)!r}.")
        if self.renew and self.rng == "official":
            raise ValueError(f'renew must be 0 with rng="official", which knows nothing of it; got {self.renew}.')
        self.settings()  # refuses what is out of range

    def settings(self, *, unconditional: bool = False) -> Settings:
        """The same for the networks."""
        return Settings(
            steps=self.steps, guidance=self.guidance, residual_guidance=self.residual_guidance, drop=self.drop,
            temperature=self.temperature, gumbel=self.gumbel, unconditional=unconditional,
            residual_layers=self.residual_layers, renew=self.renew,
        )  # fmt: skip

    def about(self) -> dict[str, Any]:
        """What a motion notes about how it was drawn."""
        return asdict(self)


class Masking:
    """Draws motions with a bundle; every sentence is encoded once.

    Args:
        bundle: networks, statistics, text tower.
        local_files_only: where the tower is not in the artifact, look for it on this computer only.
    """

    def __init__(self, bundle: MaskedBundle, *, local_files_only: bool = False) -> None:
        self.bundle, self.local_files_only = bundle, local_files_only
        self._told: dict[str, Tensor] = {}

    def told(self, prompt: str | None) -> Tensor:
        """``(E,)`` of a sentence, encoded once; zeros where there is none."""
        if prompt is None:
            return torch.zeros(self.bundle.text_width, device=self.bundle.device)
        if prompt not in self._told:
            if len(self._told) >= _REMEMBERED:
                self._told.clear()
            if self.bundle.text is None:
                self.bundle.tower(local_files_only=self.local_files_only)
            self._told[prompt] = self.bundle.encode_text([prompt])[0]
        return self._told[prompt]

    def forget(self) -> None:
        """Read sentences anew: for measuring what a new one costs."""
        self._told.clear()

    def lengths(self, prompts: Sequence[str | None], seeds: Sequence[int | None], masks: Masks) -> list[int]:
        """Frames that the length estimator draws for sentences, within the bundle's range.

        Args:
            prompts: one a motion.
            seeds: of each motion's generator; the motion is drawn from a fresh one, so that the same length, asked for,
                gives the same motion.
            masks: whether the authors' order is asked for.

        Raises:
            ValueError: the artifact has no length estimator.
        """
        bundle = self.bundle
        if bundle.length_estimator is None:
            raise ValueError(
                "lengths must be given: this artifact has no length estimator. Say how many frames, or import the "
                "model again with its estimator."
            )
        text, per = torch.stack([self.told(prompt) for prompt in prompts]), bundle.frames_per_token
        least, most = (bound // per for bound in bundle.frame_range)
        most = min(most, bundle.length_estimator.config.lengths - 1)
        rng: Any = "official"
        if masks.rng == "own":
            rng = [torch.Generator().manual_seed(0 if seed is None else seed) for seed in seeds]
        elif seeds[0] is not None:
            rng = torch.Generator().manual_seed(seeds[0])
        drawn = bundle.length_estimator.draw(text, rng, fewest=least, most=most)
        return [int(tokens) * per for tokens in drawn]

    def draw(self, jobs: Sequence[Job], masks: Masks, say: Say | None = None) -> list[Drawn]:
        """Make motions.

        Args:
            jobs: each comes out the same alone and among others, but in the authors' order.
            masks: how.
            say: gets a line of progress.

        Raises:
            ValueError: something is to be kept in the authors' order.
            GenerationError: the networks made numbers that are none.
        """
        if masks.rng == "official" and any(job.kept is not None for job in jobs):
            raise ValueError('rng must be own where a part of a motion is kept; got "official". Leave it out.')
        found: dict[int, Drawn] = {}
        for group in self._groups(jobs, masks):
            if say is not None:
                say(f"filling masks, motions {len(found) + 1} to {len(found) + len(group)} of {len(jobs)}")
            found |= dict(zip(group, self._together([jobs[at] for at in group], masks), strict=True))
        return [found[at] for at in range(len(jobs))]

    def _groups(self, jobs: Sequence[Job], masks: Masks) -> Iterator[list[int]]:
        """Jobs that go in one pass: all with words or all without, and alike in what is kept."""
        if masks.rng == "official":
            yield list(range(len(jobs)))
            return
        alike: dict[tuple[bool, ...], list[int]] = {}
        for at, job in enumerate(jobs):
            kind = (job.prompt is None, job.kept is not None, job.kept is not None and _some_columns(job))
            alike.setdefault(kind, []).append(at)
        for group in alike.values():
            group.sort(key=lambda at: jobs[at].frames)
            for begin in range(0, len(group), BATCH):
                yield group[begin : begin + BATCH]

    @torch.no_grad()
    def _together(self, jobs: Sequence[Job], masks: Masks) -> list[Drawn]:
        own, exact = masks.rng == "own", masks.rng == "official" and masks.precision == "fp32"
        bundle = self.bundle if exact else self.bundle.packed(PRECISIONS[masks.precision])
        per, device = bundle.frames_per_token, bundle.device
        lengths = torch.tensor([-(-job.frames // per) if own else max(job.frames // per, 1) for job in jobs])
        text = torch.stack([self.told(job.prompt if own else job.prompt or "") for job in jobs])
        rng: Any = "official"
        if own:
            rng = [torch.Generator().manual_seed(0 if job.seed is None else job.seed) for job in jobs]
        elif jobs[0].seed is not None:
            rng = torch.Generator().manual_seed(jobs[0].seed)
        settings = masks.settings(unconditional=own and jobs[0].prompt is None)
        there: list[list[_There]] | None = None
        starts: list[Start] | None = None
        if jobs[0].kept is not None:
            there = [self._there(job, int(count)) for job, count in zip(jobs, lengths, strict=True)]
            starts = [_start(stream) for stream in zip(*there, strict=True)]
        with nullcontext() if exact or device.type != "cpu" else shared_out():
            codes = bundle.generate(text, lengths.to(device), settings, rng=rng, starts=starts)
        if there is not None:
            codes = _with_what_was_there(codes, there)
        with nullcontext() if masks.precision == "fp32" else torch.autocast(device.type, torch.bfloat16):
            rows = bundle.decode(codes, lengths if own else None)
        drawn = []
        for job, length, row in zip(jobs, lengths.tolist(), rows, strict=True):
            picture = row[: job.frames if own else length * per].float()
            if not bool(torch.isfinite(picture).all()):
                raise GenerationError("the networks must make finite numbers; they made some that are not. Draw again.")
            made = seen = bundle.denormalize(picture).data
            if job.kept is not None and job.given is not None:
                made = np.where(job.kept, job.given.astype(np.float32), made)
            drawn.append(Drawn(made, seen))
        return drawn

    def _there(self, job: Job, tokens: int) -> list[_There]:
        """What is there of a motion already, stream by stream."""
        assert job.given is not None and job.kept is not None
        spec, per = self.bundle.statistics.spec, self.bundle.frames_per_token
        more = tokens * per - job.frames
        filled = fill_hidden(job.given, job.kept, self.bundle.statistics.mean.numpy())
        features = self.bundle.normalize(Motion(np.pad(filled, ((0, more), (0, 0)), mode="edge"), spec, spec.fps))
        made = torch.from_numpy(np.pad(~job.kept, ((0, more), (0, 0)), mode="edge"))
        found = []
        for codes, columns in zip(self.bundle.encode(features[None]), self.bundle.columns, strict=True):
            cells = made.any(1)[:, None] if columns == 1 else made_columns(made, columns)
            editable = cells.view(tokens, per, columns).any(1)
            refresh = REFRESH if columns == 1 and _some_columns(job) else None
            found.append(_There(codes[0].reshape(tokens * columns, -1), editable.flatten().to(codes.device), refresh))
        return found


@dataclass(frozen=True)
class _There:
    """One stream of one motion: codes ``(N, Q)``, which cells may change ``(N,)``, and whether all at once."""

    codes: Tensor
    editable: Tensor
    refresh: float | None


def _some_columns(job: Job) -> bool:
    """Whether frames are made in part only."""
    assert job.kept is not None
    made = ~job.kept
    return not bool(made[made.any(1)].all())


def _start(rows: Sequence[_There]) -> Start:
    """The same of several motions, padded to the longest."""
    most = max(len(row.codes) for row in rows)
    tokens = torch.stack([F.pad(row.codes[:, 0], (0, most - len(row.codes))) for row in rows])
    editable = torch.stack([F.pad(row.editable, (0, most - len(row.editable))) for row in rows])
    return Start(tokens, editable, rows[0].refresh)


def _with_what_was_there(codes: Codes, there: Sequence[Sequence[_There]]) -> Codes:
    """Cells that were not made anew get back all layers of their codes."""
    whole = []
    for stream, made in enumerate(codes):
        made = made.clone()
        flat = made.flatten(1, -2)
        for row, streams in zip(flat, there, strict=True):
            old = streams[stream]
            count = len(old.codes)
            same = ~old.editable
            if old.refresh is not None:
                same = same | (row[:count, 0] == old.codes[:, 0])
            row[:count] = torch.where(same[:, None], old.codes, row[:count])
        whole.append(flat.view(made.shape))
    return tuple(whole)


def fill_hidden(given: np.ndarray, kept: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Features with what is hidden replaced by what lies around it, so that tokens of kept frames are not disturbed.

    Args:
        given: ``(T, D)`` physical features; what is hidden is not read.
        kept: ``(T, D)`` bool.
        mean: ``(D,)`` for features that are hidden in every frame.

    Returns:
        ``(T, D)``: a hidden number lies on the line between the nearest kept ones before and behind it.

    >>> kept = np.array([[True], [False], [True]])
    >>> fill_hidden(np.array([[0.0], [np.nan], [2.0]]), kept, np.zeros(1)).ravel().tolist()
    [0.0, 1.0, 2.0]
    """
    filled, frames = given.astype(np.float64), np.arange(len(given))
    for column in np.flatnonzero(~kept.all(0)):
        there = kept[:, column]
        known = np.interp(frames, frames[there], filled[there, column]) if there.any() else mean[column]
        filled[:, column] = np.where(there, filled[:, column], known)
    return filled.astype(np.float32)


def made_columns(made: Tensor, columns: int) -> Tensor:
    """Which columns of the grid have a joint that is made anew.

    Args:
        made: ``(T, D)`` bool, features that are made.
        columns: of pooled joints.

    Returns:
        ``(T, columns)`` bool.

    >>> from hftrainer.models.motion.mdm.editing import made_features
    >>> made_columns(made_features("left_wrist")[None], 6).tolist()
    [[False, False, False, False, False, True]]
    """
    joints = split_joints(made[None].float())[0].any(-1)
    joints[:, 0] |= made[:, :ROOT].any(1)
    spare = PADDED_JOINTS - joints.shape[1]
    padded = F.pad(joints, (spare // 2, spare - spare // 2))
    return padded.view(len(made), columns, -1).any(-1)
