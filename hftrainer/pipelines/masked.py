"""What the pipelines of MoGenTS and MoMask have in common: sentences to motions, and motions to what is missing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from hftrainer.models.hub import push_saved
from hftrainer.models.motion.mdm.editing import made_features
from hftrainer.models.motion.mogents.bundle import MaskedBundle
from hftrainer.motion.clip import Motion
from hftrainer.pipelines.changes import Change, change_of_gap, change_of_part
from hftrainer.pipelines.denoising import Job, Say
from hftrainer.pipelines.gaps import Gap, hole_of, rest_of
from hftrainer.pipelines.joining import Place
from hftrainer.pipelines.masking import Masking, Masks
from hftrainer.pipelines.requests import check_lengths, each, features, find_device, wrong_sentences

Part = str | Collection[str | int] | None


class MaskedPipeline:
    """The tasks of a model that fills masks in tokens of motion.

    Every task takes these settings as well:

    | setting | what |
    |---|---|
    | ``guidance`` | how strongly words are followed (4): 1 is the networks as they are |
    | ``residual_guidance`` | the same while the finer layers are made (5) |
    | ``steps`` | iterations in which masks are filled (10) |
    | ``drop`` | share of the vocabulary, its unlikeliest part, that is never drawn (0.9) |
    | ``temperature``, ``gumbel`` | how codes are drawn (1, no) |
    | ``rng`` | ``own``: each motion from its own generator, the same alone and among others. ``official``: drawn as |
    | | the authors do, one generator for all; ``seed=None`` is then torch's global one |
    | ``precision`` | of the networks' products: ``fp32`` (default) or ``bf16`` |

    Args:
        bundle: networks, statistics and text tower.
        local_files_only: look for a text tower that is not in the artifact on this computer only.

    Attributes:
        say: gets a line of progress, if set.
    """

    kind: ClassVar[type[MaskedBundle]]
    #: Whether tokens of joints let it make some joints anew and leave the others.
    makes_parts: ClassVar[bool]
    #: What the verbs of the command line may set beside what they all have.
    settings: ClassVar[dict[str, tuple[str, ...]]] = {
        "generate": ("guidance", "steps", "temperature"),
        "predict": ("guidance", "steps", "temperature"),
        "inbetween": ("guidance", "steps", "temperature", "caption"),
        "edit": ("guidance", "steps", "temperature"),
    }

    def __init__(self, bundle: MaskedBundle, *, local_files_only: bool = False) -> None:
        self.bundle = bundle
        self.masking = Masking(bundle, local_files_only=local_files_only)
        self.say: Say | None = None

    @classmethod
    def from_pretrained(
        cls, name: str | Path | None = None, *, device: str = "cpu", bundle_kwargs: dict[str, Any] | None = None
    ) -> Self:
        """Load a model.

        Args:
            name: folder, built-in name or hub repository; ``None`` is the built-in one.
            device: where to run, for example ``"cuda"``.
            bundle_kwargs: ``local_files_only`` and ``revision`` for a hub repository, ``text`` for a text tower,
                ``precision`` of CLIP.

        Raises:
            ArtifactError: the model cannot be found or its files do not fit.
            ValueError: the device is not there.
        """
        place, asked = find_device(device), bundle_kwargs or {}
        bundle = cls.kind.from_pretrained(name, **asked).to(place)
        return cls(bundle, local_files_only=bool(asked.get("local_files_only", False)))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the bundle to a folder that ``from_pretrained`` reads."""
        self.bundle.save_pretrained(folder)

    push_to_hub = push_saved

    @property
    def frame_range(self) -> tuple[int, int]:
        """Fewest and most frames that may be asked for."""
        return self.bundle.frame_range

    @property
    def fps(self) -> float:
        """Frames per second of what it makes."""
        return self.bundle.statistics.spec.fps

    # ------------------------------------------------------------------------------------------ sentences to motions

    def infer_t2m(
        self,
        captions: Sequence[str | None],
        lengths: Sequence[int] | None = None,
        *,
        time_steps: int = 10,
        cond_scale: float = 4.0,
        res_cond_scale: float = 5.0,
        topkr: float = 0.9,
        temperature: float = 1.0,
        gumbel_sample: bool = False,
        seed: int | Sequence[int] | None = 0,
        rng: str = "own",
        precision: str = "fp32",
    ) -> list[np.ndarray]:
        """Motions of sentences as plain arrays; settings have the authors' names.

        Args:
            captions: English sentences; ``None`` for whatever the networks like.
            lengths: frames of each; by default the length estimator's guesses.
            time_steps: ``steps`` of the class's table.
            cond_scale: ``guidance``.
            res_cond_scale: ``residual_guidance``.
            topkr: ``drop``.
            temperature: as in the table.
            gumbel_sample: ``gumbel``.
            seed, rng, precision: see ``__call__``.

        Returns:
            One float32 ``(T, 263)`` array of hml263 features a caption (KIT: ``(T, 251)``).

        Raises:
            ValueError: as ``__call__``.
        """
        made = self(
            captions, lengths, seed=seed, steps=time_steps, guidance=cond_scale, residual_guidance=res_cond_scale,
            drop=topkr, temperature=temperature, gumbel=gumbel_sample, rng=rng, precision=precision,
        )  # fmt: skip
        return [motion.data.copy() for motion in made]

    def __call__(
        self,
        prompts: Sequence[str | None],
        frames: Sequence[int] | None = None,
        *,
        seed: int | Sequence[int] | None = 0,
        samples: int = 1,
        **masks: Any,
    ) -> list[Motion]:
        """Motions of sentences.

        Args:
            prompts: English sentences; ``None`` in place of one asks for any motion.
            frames: of each within ``frame_range``; by default the length estimator's guesses. A length that is no
                multiple of a token's frames is made longer and cut; with ``rng="official"`` it is rounded down instead.
            seed: sample ``s`` of any prompt has the generator ``seed + s``; or one seed a prompt.
            samples: motions per prompt.
            masks: settings, see the class.

        Returns:
            ``len(prompts) * samples`` motions, all samples of the first prompt first.

        Raises:
            ValueError: a prompt is empty or not English, a length out of range (the nearest one is named), no length
                where there is no estimator, or a setting that is none.
            GenerationError: the networks made numbers that are none.
        """
        notes = self.check(prompts)
        if samples < 1:
            raise ValueError(f"samples must be at least 1; got {samples}.")
        chosen = self._masks(masks)
        seeds = [None if base is None else base + s for base in self._seeds(seed, len(prompts), chosen)
                 for s in range(samples)]  # fmt: skip
        said = [prompt for prompt in prompts for _ in range(samples)]
        if frames is None:
            lengths = self.masking.lengths(said, seeds, chosen)
        else:
            asked = check_lengths(len(prompts), frames, self.frame_range, self.fps)
            lengths = [n for n in asked for _ in range(samples)]
        jobs = [Job(prompt, n, one) for prompt, n, one in zip(said, lengths, seeds, strict=True)]
        drawn = self.masking.draw(jobs, chosen, self.say)
        spec, motions = self.bundle.statistics.spec, []
        for at, (job, found) in enumerate(zip(jobs, drawn, strict=True)):
            note = notes[at // samples]
            guessed = {} if frames is not None else {"length": "estimated"}
            about = {"task": "text-to-motion", **self._origin(job.seed), **chosen.about(), **guessed, **note}
            motions.append(Motion(found.made, spec, spec.fps, about=about, name=note["prompt"] or "motion"))
        return motions

    #: What a table of behaviours asks; no answer of this model can be no motion.
    attempts = __call__

    # ------------------------------------------------------------------------------------------ what is missing

    def predict(
        self,
        motion: Motion | np.ndarray,
        *,
        keep: float = 0.2,
        keep_seconds: float | None = None,
        frames: int | None = None,
        caption: str | None = None,
        seed: int | None = 0,
        **masks: Any,
    ) -> Motion:
        """How a motion goes on: a kept beginning (prefix), and what follows it.

        Args:
            motion: in any representation with a road to the model's.
            keep: share of the frames that is kept, from the start; 1 keeps all.
            keep_seconds: the same as a time, in place of ``keep``.
            frames: of the whole result; ``None`` is the length of ``motion``.
            caption: what the motion shall be.
            seed: of its generator.
            masks: settings, see the class.

        Returns:
            The kept frames, the same bits, and what follows them. Nothing of the frames that were not kept is read.

        Raises:
            ValueError: nothing is kept or nothing left to make, or more is to be made than the model can.
        """
        clip = self.features(motion)
        return self._fill([rest_of(clip, keep, keep_seconds, frames, caption)], [clip], seed, masks)[0]

    def infer_prediction(
        self,
        motions: Sequence[Motion | np.ndarray],
        *,
        keep: float = 0.2,
        keep_seconds: float | None = None,
        lengths: Sequence[int] | None = None,
        captions: Sequence[str | None] | None = None,
        seed: int | None = 0,
        **masks: Any,
    ) -> list[np.ndarray]:
        """How motions go on, as plain arrays; see ``predict``. Several are drawn together.

        Returns:
            One float32 ``(T, D)`` array a motion.
        """
        clips = [self.features(m) for m in motions]
        frames, said = each(lengths, len(clips), "lengths"), each(captions, len(clips), "captions")
        gaps = [rest_of(c, keep, keep_seconds, n, s) for c, n, s in zip(clips, frames, said, strict=True)]
        return [motion.data.copy() for motion in self._fill(gaps, clips, seed, masks)]

    def inbetween(
        self,
        motion: Motion | np.ndarray,
        second: Motion | np.ndarray | None = None,
        *,
        keep: tuple[float, float] = (0.25, 0.25),
        keep_seconds: tuple[float, float] | None = None,
        gap: float | None = None,
        place: Place | None = None,
        caption: str | None = None,
        seed: int | None = 0,
        **masks: Any,
    ) -> Motion:
        """What happens between two ends: of one motion, or of two with a gap between them.

        Args:
            motion: whose ends are kept, or the first of two.
            second: the other motion; all frames of both are kept.
            keep: shares of the frames kept at the start and at the end of one motion.
            keep_seconds: the same as times, in place of ``keep``.
            gap: seconds between two motions.
            place: where ``second`` begins in the world of ``motion``; ``None`` lets it go on naturally. Of one motion
                the kept end stays where it was.
            caption: what the motion shall be.
            seed: of its generator.
            masks: settings, see the class.

        Returns:
            The kept frames, the same bits, with made ones between them.

        Raises:
            ValueError: an end without a frame, nothing hidden, or more than the model can make.
        """
        clip = self.features(motion)
        if second is None:
            if gap is not None or place is not None:
                raise ValueError("gap and place must come with a second motion; got one motion. Give keep instead.")
            hole = hole_of(clip, keep, keep_seconds)
        else:
            made = 0 if gap is None else round(gap * clip.fps)
            if made < 1:
                got = "none" if gap is None else f"{gap:g}"
                raise ValueError(f"gap must be at least {1 / clip.fps:g} s between two motions; got {got}.")
            hole = Gap(clip.data, made, self.features(second).data, place)
        return self._fill([_said(hole, caption)], [clip], seed, masks)[0]

    def infer_inbetween(
        self,
        motions: Sequence[Motion | np.ndarray],
        *,
        keep: tuple[float, float] = (0.25, 0.25),
        keep_seconds: tuple[float, float] | None = None,
        captions: Sequence[str | None] | None = None,
        seed: int | None = 0,
        **masks: Any,
    ) -> list[np.ndarray]:
        """What happens between the ends of motions, as plain arrays; see ``inbetween``.

        Returns:
            One float32 ``(T, D)`` array a motion.
        """
        clips = [self.features(m) for m in motions]
        said = each(captions, len(clips), "captions")
        gaps = [_said(hole_of(c, keep, keep_seconds), s) for c, s in zip(clips, said, strict=True)]
        return [motion.data.copy() for motion in self._fill(gaps, clips, seed, masks)]

    # ------------------------------------------------------------------------------------------ changes

    def edit(
        self,
        motion: Motion | np.ndarray,
        text: str | None = None,
        *,
        part: Part = None,
        span: tuple[int, int] | None = None,
        seed: int | None = 0,
        **masks: Any,
    ) -> Motion:
        """A motion with a span of time, or some joints, made anew.

        A span at the beginning or the end gives a motion another prefix or suffix; one inside it is in-painting. Where
        tokens tell joints apart, ``part`` makes some joints anew and leaves the others.

        Args:
            motion: in any representation with a road to the model's.
            text: what it shall do; ``None`` lets it do whatever goes with the rest.
            part: which joints are made: ``left_arm``, ``upper_body``, joint names or numbers …
                (``models.motion.mdm.editing.body_parts``); ``None`` is the whole body.
            span: first frame that is made, and first one that is not; ``None`` is all.
            seed: of its generator.
            masks: settings, see the class.

        Returns:
            The motion with what was kept as the same bits. Where the root's path is made anew in a span, what follows
            the span stands where it stood.

        Raises:
            ValueError: neither part nor span, a joint that the body does not have, a span outside the motion, a part
                where tokens are of whole poses.
        """
        return self._edited([motion], [text], part, span, seed, masks)[0]

    def infer_edit(
        self,
        motions: Motion | np.ndarray | Sequence[Motion | np.ndarray],
        texts: str | None | Sequence[str | None] = None,
        *,
        part: Part = None,
        span: tuple[int, int] | None = None,
        seed: int | None = 0,
        **masks: Any,
    ) -> list[np.ndarray]:
        """Motions changed in part, as plain arrays; see ``edit``. One motion may stand for a list of one.

        Returns:
            One float32 ``(T, D)`` array a motion.
        """
        given: Any = motions
        one = isinstance(given, Motion) or (isinstance(given, np.ndarray) and given.ndim == 2)
        clips = [given] if one else list(given)
        said = [texts] * len(clips) if texts is None or isinstance(texts, str) else list(texts)
        made = self._edited(clips, each(said, len(clips), "texts"), part, span, seed, masks)
        return [motion.data.copy() for motion in made]

    # ------------------------------------------------------------------------------------------ what all of it needs

    def features(self, motion: Motion | np.ndarray) -> Motion:
        """A motion in the model's representation and at its frame rate; an array is taken to be in it.

        Raises:
            NoRouteError: there is no road to it.
            ValueError: an array of another shape, or a clip that cannot be encoded.
        """
        return features(motion, self.bundle.statistics.spec)

    def check(self, prompts: Sequence[str | None]) -> list[dict[str, Any]]:
        """Refuse what the model cannot read, before any work is done.

        Returns:
            For each prompt what its motion will note: ``prompt``, ``unread`` where its end is cut away because it is
            too long, and ``unknown_words`` where there are any.

        Raises:
            TypeError: one string instead of a list.
            ValueError: a prompt is empty or not English; all are named.
        """
        problems = wrong_sentences(prompts)
        if problems:
            raise ValueError(" ".join(problems[i] for i in sorted(problems)))
        notes: list[dict[str, Any]] = []
        for prompt in prompts:
            notes.append({"prompt": prompt})
            if prompt is None:
                continue
            tower = self.bundle.tower(local_files_only=self.masking.local_files_only)
            if unread := tower.unread(prompt):
                notes[-1]["unread"] = unread
            unknown = getattr(tower, "unknown", None)  # only a tower of whole words has words that it does not know
            if unknown is not None and (words := unknown(prompt)):
                notes[-1]["unknown_words"] = words
        return notes

    def _masks(self, said: dict[str, Any]) -> Masks:
        chosen = Masks(**{name: value for name, value in said.items() if value is not None})
        networks = self.bundle.networks.values()
        unguided = [n for n in networks if not getattr(n.config, "guidable", True)]
        if unguided and (chosen.guidance, chosen.residual_guidance) != (1, 1):
            raise ValueError(
                "guidance and residual_guidance must be 1: a network of this model was never trained without its text; "
                f"got {chosen.guidance:g} and {chosen.residual_guidance:g}."
            )
        return chosen

    def _origin(self, seed: int | None) -> dict[str, Any]:
        name = self.bundle.about.get("name", self.bundle.family.name)
        return {"model": name, "model_hash": self.bundle.hash, "seed": seed}

    def _seeds(self, seed: int | Sequence[int] | None, count: int, masks: Masks) -> list[int | None]:
        official = masks.rng == "official"
        if seed is None and not official:
            raise ValueError('seed must be a whole number; got none. Only rng="official" can go without.')
        if not isinstance(seed, Sequence):
            return [seed] * count
        if official:
            raise ValueError('seed must be one number with rng="official", which has one generator for all.')
        if len(seed) != count:
            raise ValueError(f"seed must be one, or one a prompt, {count}; got {len(seed)}.")
        return [int(one) for one in seed]

    def _fill(
        self, gaps: Sequence[Gap], clips: Sequence[Motion], seed: int | None, masks: dict[str, Any]
    ) -> list[Motion]:
        """Whole motions, what was missing made together."""
        if any(gap.frames is None for gap in gaps):
            raise ValueError("frames must be said where all of a motion is kept: this model does not decide on it.")
        changes = [change_of_gap(gap, self.bundle.representation) for gap in gaps]
        return self._change(changes, clips, seed, masks, [
            {"task": "prediction" if gap.tail is None else "in-between",
             "kept": [len(gap.head), 0 if gap.tail is None else len(gap.tail)]}
            for gap in gaps
        ])  # fmt: skip

    def _edited(
        self, motions: Sequence[Any], texts: Sequence[str | None], part: Part, span: tuple[int, int] | None,
        seed: int | None, masks: dict[str, Any],
    ) -> list[Motion]:  # fmt: skip
        if part is None and span is None:
            raise ValueError("part or span must say what is changed; got neither. To make a new motion, generate it.")
        if part is not None and not self.makes_parts:
            raise ValueError(
                f"part must be left out: the tokens of {self.bundle.family.title} are of whole poses; got {part!r}. "
                "Give a span, or take MoGenTS."
            )
        name, clips = self.bundle.representation, [self.features(m) for m in motions]
        columns = made_features(part, name).numpy()
        changes = [change_of_part(c.data, columns, span, text, name) for c, text in zip(clips, texts, strict=True)]
        told = part if part is None or isinstance(part, str) else list(part)
        notes = [{"task": "edit", "part": told, "span": [change.start, change.stop]} for change in changes]
        return self._change(changes, clips, seed, masks, notes)

    def _change(
        self, changes: Sequence[Change], clips: Sequence[Motion], seed: int | None, masks: dict[str, Any],
        notes: Sequence[dict[str, Any]],
    ) -> list[Motion]:  # fmt: skip
        chosen = self._masks(masks)
        self._seeds(seed, 1, chosen)
        said = self.check([change.prompt for change in changes])
        least, most = self.frame_range
        jobs = [change.job(most, seed) for change in changes]
        for i, job in enumerate(jobs):
            if job.frames < least:
                raise ValueError(
                    f"motion {i}: the model looks at {least} to {most} frames; got {job.frames}. Nearest: {least}."
                )
        drawn = self.masking.draw(jobs, chosen, self.say)
        motions = []
        for change, clip, answer, note, words in zip(changes, clips, drawn, notes, said, strict=True):
            about = {**note, **self._origin(seed), **chosen.about(), **words}
            motions.append(clip.replace(data=change.done(answer, most), about=about))
        return motions


def _said(gap: Gap, caption: str | None) -> Gap:
    return Gap(gap.head, gap.frames, gap.tail, gap.place, caption, gap.instruction)
