"""MDM: sentences to motions, motions to what is missing of them, and motions changed in part, by denoising.

A network of the DiP kind continues a motion instead, window by window and without end (``stream``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

from hftrainer.models.hub import push_saved
from hftrainer.models.motion.mdm.bundle import MDMBundle
from hftrainer.models.motion.mdm.editing import made_features
from hftrainer.motion.clip import Motion
from hftrainer.pipelines.changes import Change, change_of_gap, change_of_part
from hftrainer.pipelines.denoising import Denoising, Drawing, Job, Say, drawing_for
from hftrainer.pipelines.gaps import Gap, hole_of, rest_of
from hftrainer.pipelines.joining import Place
from hftrainer.pipelines.requests import check_lengths, each, features, find_device, wrong_sentences

#: Length of a motion that nobody said the length of, as the authors have it; a bundle may say otherwise.
SECONDS = 6.0

Part = str | Collection[str | int] | None


class MDMPipeline:
    """MDM's tasks with a bundle.

    Every task takes these settings as well; what is not said is as the bundle declares it:

    | setting | what |
    |---|---|
    | ``guidance`` | how strongly words are followed: 1 is the network as it is, 0 no words at all |
    | ``steps`` | denoising steps, out of those that the network was trained on; all by default |
    | ``sampler`` | ``ancestral`` (default), ``ddim``, ``plms``, ``dpm``; the last is good in 10 to 20 steps |
    | ``rng`` | ``own``: each motion from its own generator, the same alone and among others. ``official``: drawn as |
    | | the authors do, one generator for all and two passes a step; ``seed=None`` is then torch's global one |
    | ``precision`` | of the networks' products: ``fp32`` (default) or ``bf16`` |
    | ``shown`` | frames that the network is shown at least; the published networks do not mask padding and their |
    | | numbers were made by showing 196 and cropping, which their bundle declares as ``evaluation_frames`` |

    Args:
        bundle: network, statistics and text tower.
        local_files_only: look for a text tower that is not in the artifact on this computer only.

    Attributes:
        say: gets a line of progress, if set.
    """

    #: What the verbs of the command line may set beside what they all have.
    settings = {
        "generate": ("guidance", "steps", "sampler"),
        "predict": ("guidance", "steps", "sampler"),
        "inbetween": ("guidance", "steps", "sampler", "caption"),
        "edit": ("guidance", "steps", "sampler"),
    }

    def __init__(self, bundle: MDMBundle, *, local_files_only: bool = False) -> None:
        self.bundle = bundle
        self.denoising = Denoising(bundle, local_files_only=local_files_only)
        self.say: Say | None = None

    @classmethod
    def from_pretrained(
        cls, name: str | Path | None = None, *, device: str = "cpu", bundle_kwargs: dict[str, Any] | None = None
    ) -> MDMPipeline:
        """Load a model.

        Args:
            name: folder, built-in name or hub repository; ``None`` is the built-in ``mdm-mini``.
            device: where to run, for example ``"cuda"``.
            bundle_kwargs: ``local_files_only`` and ``revision`` for a hub repository, ``text`` for a text tower.

        Raises:
            ArtifactError: the model cannot be found or its files do not fit.
            ValueError: the device is not there.
        """
        place, asked = find_device(device), bundle_kwargs or {}
        bundle = MDMBundle.from_pretrained(name, **asked).to(place)
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
        prompts: Sequence[str | None],
        lengths: Sequence[int] | None = None,
        guidance: float | None = None,
        *,
        seed: int | Sequence[int] | None = 0,
        prefix: Motion | np.ndarray | None = None,
        **drawing: Any,
    ) -> list[np.ndarray]:
        """Motions of sentences as plain arrays.

        Args:
            prompts: English sentences; ``None`` for whatever the network likes.
            lengths: frames of each; by default what the bundle says is usual, or six seconds.
            guidance, seed, prefix, drawing: see ``__call__``.

        Returns:
            One float32 ``(T, 263)`` array of hml263 features a prompt (KIT: ``(T, 251)``).
        """
        made = self(prompts, lengths, seed=seed, guidance=guidance, prefix=prefix, **drawing)
        return [motion.data.copy() for motion in made]

    def __call__(
        self,
        prompts: Sequence[str | None],
        frames: Sequence[int] | None = None,
        *,
        seed: int | Sequence[int] | None = 0,
        samples: int = 1,
        prefix: Motion | np.ndarray | None = None,
        **drawing: Any,
    ) -> list[Motion]:
        """Motions of sentences.

        Args:
            prompts: English sentences; ``None`` in place of one asks for any motion.
            frames: of each within ``frame_range``; by default what the bundle says is usual, or six seconds.
            seed: sample ``s`` of any prompt has the generator ``seed + s``; or one seed a prompt.
            samples: motions per prompt.
            prefix: for a network that continues: what they all follow on; its last frames are read.
            drawing: settings, see the class.

        Returns:
            ``len(prompts) * samples`` motions, all samples of the first prompt first.

        Raises:
            ValueError: a prompt is empty or not English, a length out of range, a setting that the model does not have.
            GenerationError: the network made numbers that are none.
        """
        notes = self.check(prompts)
        if samples < 1:
            raise ValueError(f"samples must be at least 1; got {samples}.")
        chosen = drawing_for(self.bundle, **drawing)
        seeds = self._seeds(seed, len(prompts), chosen)
        usual = self.bundle.usual_frames or round(SECONDS * self.fps)
        default = min(max(usual, self.frame_range[0]), self.frame_range[1])
        asked = [default] * len(prompts) if frames is None else frames
        if self.bundle.config.completes:
            lengths = check_lengths(len(prompts), asked, (1, 10**9), self.fps)
        else:
            lengths = check_lengths(len(prompts), asked, self.frame_range, self.fps)
            if prefix is not None:
                raise ValueError("prefix must be left out: this model makes whole motions. Use predict to go on.")
        jobs = [
            Job(prompt, n, None if base is None else base + s)
            for prompt, n, base in zip(prompts, lengths, seeds, strict=True)
            for s in range(samples)
        ]
        if self.bundle.config.completes:
            if prefix is None:
                raise ValueError("prefix must be given: this model continues a motion. Give one, or use predict.")
            made = [self._followed(prefix, job, chosen) for job in jobs]
        else:
            made = [drawn.made for drawn in self.denoising.draw(jobs, chosen, self.say)]
        spec = self.bundle.statistics.spec
        motions = []
        for at, (job, data) in enumerate(zip(jobs, made, strict=True)):
            note = notes[at // samples]
            about = {"task": "text-to-motion", **self._origin(job.seed), **chosen.about(), **note}
            motions.append(Motion(data, spec, spec.fps, about=about, name=note["prompt"] or "motion"))
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
        **drawing: Any,
    ) -> Motion:
        """How a motion goes on.

        Args:
            motion: in any representation with a road to the model's.
            keep: share of the frames that is kept, from the start; 1 keeps all.
            keep_seconds: the same as a time, in place of ``keep``.
            frames: of the whole result; ``None`` is the length of ``motion``. A network that continues makes any
                number.
            caption: what the motion shall be.
            seed: of its generator.
            drawing: settings, see the class.

        Returns:
            The kept frames, the same bits, and what follows them. Nothing of the frames that were not kept is read.

        Raises:
            ValueError: nothing is kept or nothing left to make, or more is to be made than the model can.
        """
        clip = self.features(motion)
        return self._fill([rest_of(clip, keep, keep_seconds, frames, caption)], [clip], seed, drawing)[0]

    def infer_prediction(
        self,
        motions: Sequence[Motion | np.ndarray],
        *,
        keep: float = 0.2,
        keep_seconds: float | None = None,
        lengths: Sequence[int] | None = None,
        captions: Sequence[str | None] | None = None,
        seed: int | None = 0,
        **drawing: Any,
    ) -> list[np.ndarray]:
        """How motions go on, as plain arrays; see ``predict``. Several are denoised together.

        Returns:
            One float32 ``(T, D)`` array a motion.
        """
        clips = [self.features(m) for m in motions]
        frames, said = each(lengths, len(clips), "lengths"), each(captions, len(clips), "captions")
        gaps = [rest_of(c, keep, keep_seconds, n, s) for c, n, s in zip(clips, frames, said, strict=True)]
        return [motion.data.copy() for motion in self._fill(gaps, clips, seed, drawing)]

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
        **drawing: Any,
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
            drawing: settings, see the class.

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
        return self._fill([_said(hole, caption)], [clip], seed, drawing)[0]

    def infer_inbetween(
        self,
        motions: Sequence[Motion | np.ndarray],
        *,
        keep: tuple[float, float] = (0.25, 0.25),
        keep_seconds: tuple[float, float] | None = None,
        captions: Sequence[str | None] | None = None,
        seed: int | None = 0,
        **drawing: Any,
    ) -> list[np.ndarray]:
        """What happens between the ends of motions, as plain arrays; see ``inbetween``.

        Returns:
            One float32 ``(T, D)`` array a motion.
        """
        clips = [self.features(m) for m in motions]
        said = each(captions, len(clips), "captions")
        gaps = [_said(hole_of(c, keep, keep_seconds), s) for c, s in zip(clips, said, strict=True)]
        return [motion.data.copy() for motion in self._fill(gaps, clips, seed, drawing)]

    # ------------------------------------------------------------------------------------------ changes

    def edit(
        self,
        motion: Motion | np.ndarray,
        text: str | None = None,
        *,
        part: Part = None,
        span: tuple[int, int] | None = None,
        seed: int | None = 0,
        **drawing: Any,
    ) -> Motion:
        """A motion with a part of the body, or a span of time, made anew.

        Args:
            motion: in any representation with a road to the model's.
            text: what the part shall do; ``None`` lets it do whatever goes with the rest.
            part: which joints are made: ``upper_body``, ``left_arm``, joint names or numbers …
                (``models.motion.mdm.editing.body_parts``); ``None`` is the whole body.
            span: first frame that is made, and first one that is not; ``None`` is all.
            seed: of its generator.
            drawing: settings, see the class.

        Returns:
            The motion with what was kept as the same bits. Where the root's path is made anew in a span, what follows
            the span stands where it stood.

        Raises:
            ValueError: neither part nor span, a joint that the body does not have, a span outside the motion.
        """
        return self._edited([motion], [text], part, span, seed, drawing)[0]

    def infer_edit(
        self,
        motions: Motion | np.ndarray | Sequence[Motion | np.ndarray],
        texts: str | None | Sequence[str | None] = None,
        *,
        part: Part = None,
        span: tuple[int, int] | None = None,
        seed: int | None = 0,
        **drawing: Any,
    ) -> list[np.ndarray]:
        """Motions changed in part, as plain arrays; see ``edit``. One motion may stand for a list of one.

        Returns:
            One float32 ``(T, D)`` array a motion.
        """
        if isinstance(motions, Motion) or (isinstance(motions, np.ndarray) and motions.ndim == 2):
            motions = [motions]
        clips = list(motions)
        said = [texts] * len(clips) if texts is None or isinstance(texts, str) else list(texts)
        made = self._edited(clips, each(said, len(clips), "texts"), part, span, seed, drawing)
        return [motion.data.copy() for motion in made]

    # ------------------------------------------------------------------------------------------ without end

    def stream(
        self,
        prompts: str | None | Iterable[str | None],
        prefix: Motion | np.ndarray,
        *,
        seed: int | None = 0,
        **drawing: Any,
    ) -> Iterator[Motion]:
        """Windows that follow on a motion, one after another as they are asked for; only for a network that continues.

        Args:
            prompts: one for all windows, which then never end, or one for each.
            prefix: what comes before; its last frames are read.
            seed: of the generator, which runs on from window to window.
            drawing: settings, see the class.

        Yields:
            Motions of as many frames as the network makes in one go. Laid one after the other they are one motion.

        Raises:
            ValueError: a network that makes whole motions, a prefix that is too short, or a prompt that is none.
        """
        config, spec = self.bundle.config, self.bundle.statistics.spec
        if not config.completes:
            raise ValueError("a model must continue motions to stream them; this one makes whole ones. Use predict.")
        chosen = drawing_for(self.bundle, **drawing)
        self._seeds(seed, 1, chosen)
        start = self.features(prefix).data
        if len(start) < config.context_frames:
            raise ValueError(f"prefix must have at least {config.context_frames} frames; got {len(start)}.")
        said = repeat(prompts) if prompts is None or isinstance(prompts, str) else iter(prompts)
        told: list[dict[str, Any]] = []

        def checked() -> Iterator[str | None]:
            for prompt in said:
                if not told or told[-1]["prompt"] != prompt:
                    told.append(self.check([prompt])[0])
                yield prompt

        for data in self.denoising.windows(start[-config.context_frames :], checked(), seed, chosen):
            about = {"task": "text-to-motion", **self._origin(seed), **chosen.about(), **told[-1]}
            yield Motion(data, spec, spec.fps, about=about, name=told[-1]["prompt"] or "motion")

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
            ValueError: a prompt is empty, not English, or absent where the network needs one; all are named.
        """
        problems, config = wrong_sentences(prompts), self.bundle.config
        notes: list[dict[str, Any]] = []
        for i, prompt in enumerate(prompts):
            notes.append({"prompt": prompt})
            if prompt is None and config.condition == "text" and not config.guidable:
                problems[i] = f"prompt {i} must be a sentence: this model knows no motion without one; got none."
            elif prompt is not None and config.condition != "text":
                problems[i] = f"prompt {i} must be left out (None): this model reads no text; got {prompt!r}."
            if prompt is None or i in problems:
                continue
            tower = self.bundle.tower(local_files_only=self.denoising.local_files_only)
            if unread := tower.unread(prompt):
                notes[-1]["unread"] = unread
            unknown = getattr(tower, "unknown", None)  # only a tower of whole words has words that it does not know
            if unknown is not None and (words := unknown(prompt)):
                notes[-1]["unknown_words"] = words
        if problems:
            raise ValueError(" ".join(problems[i] for i in sorted(problems)))
        return notes

    def _origin(self, seed: int | None) -> dict[str, Any]:
        return {"model": self.bundle.about.get("name", "mdm"), "model_hash": self.bundle.hash, "seed": seed}

    def _seeds(self, seed: int | Sequence[int] | None, count: int, drawing: Drawing) -> list[int | None]:
        official = drawing.rng == "official"
        if seed is None and not official:
            raise ValueError('seed must be a whole number; got none. Only rng="official" can go without.')
        if not isinstance(seed, Sequence):
            return [seed] * count
        if official:
            raise ValueError('seed must be one number with rng="official", which has one generator for all.')
        if len(seed) != count:
            raise ValueError(f"seed must be one, or one a prompt, {count}; got {len(seed)}.")
        return [int(one) for one in seed]

    def _followed(self, prefix: Motion | np.ndarray, job: Job, drawing: Drawing) -> np.ndarray:
        """``(frames, D)`` that follow on a prefix."""
        parts, made, context = list[np.ndarray](), 0, self.bundle.config.context_frames
        start = self.features(prefix).data
        if len(start) < context:
            raise ValueError(f"prefix must have at least {context} frames; got {len(start)}.")
        for window in self.denoising.windows(start[-context:], repeat(job.prompt), job.seed, drawing):
            parts.append(window)
            made += len(window)
            if self.say is not None:
                self.say(f"continuing, frame {min(made, job.frames)} of {job.frames}")
            if made >= job.frames:
                break
        return np.concatenate(parts)[: job.frames]

    def _fill(
        self, gaps: Sequence[Gap], clips: Sequence[Motion], seed: int | None, drawing: dict[str, Any]
    ) -> list[Motion]:
        """Whole motions, what was missing made together."""
        if any(gap.frames is None for gap in gaps):
            raise ValueError("frames must be said where all of a motion is kept: this model does not decide on it.")
        if not self.bundle.config.completes:
            changes = [change_of_gap(gap, self.bundle.representation) for gap in gaps]
            return self._change(changes, clips, seed, drawing, [
                {"task": "prediction" if gap.tail is None else "in-between",
                 "kept": [len(gap.head), 0 if gap.tail is None else len(gap.tail)]}
                for gap in gaps
            ])  # fmt: skip
        if any(gap.tail is not None for gap in gaps):
            raise ValueError("a motion must only go on: this model continues motions and fills no gaps. Use predict.")
        chosen, motions = drawing_for(self.bundle, **drawing), []
        self._seeds(seed, 1, chosen)
        notes = self.check([gap.caption for gap in gaps])
        for gap, clip, note in zip(gaps, clips, notes, strict=True):
            data = self._followed(gap.head, Job(gap.caption, gap.frames or 0, seed), chosen)
            about = {"task": "prediction", **self._origin(seed), **chosen.about(), "kept": [len(gap.head), 0], **note}
            motions.append(clip.replace(data=np.concatenate([gap.head, data]), about=about))
        return motions

    def _edited(
        self, motions: Sequence[Any], texts: Sequence[str | None], part: Part, span: tuple[int, int] | None,
        seed: int | None, drawing: dict[str, Any],
    ) -> list[Motion]:  # fmt: skip
        if part is None and span is None:
            raise ValueError("part or span must say what is changed; got neither. To make a new motion, generate it.")
        if self.bundle.config.completes:
            raise ValueError("a motion must only go on: this model continues motions and changes none. Use predict.")
        name, clips = self.bundle.representation, [self.features(m) for m in motions]
        columns = made_features(part, name).numpy()
        changes = [change_of_part(c.data, columns, span, text, name) for c, text in zip(clips, texts, strict=True)]
        told = part if part is None or isinstance(part, str) else list(part)
        notes = [{"task": "edit", "part": told, "span": [change.start, change.stop]} for change in changes]
        return self._change(changes, clips, seed, drawing, notes)

    def _change(
        self, changes: Sequence[Change], clips: Sequence[Motion], seed: int | None, drawing: dict[str, Any],
        notes: Sequence[dict[str, Any]],
    ) -> list[Motion]:  # fmt: skip
        chosen = drawing_for(self.bundle, **drawing)
        self._seeds(seed, 1, chosen)
        said = self.check([change.prompt for change in changes])
        least, most = self.frame_range
        jobs = [change.job(most, seed) for change in changes]
        for i, job in enumerate(jobs):
            if job.frames < least:
                raise ValueError(
                    f"motion {i}: the model looks at {least} to {most} frames; got {job.frames}. Nearest: {least}."
                )
        drawn = self.denoising.draw(jobs, chosen, self.say)
        motions = []
        for change, clip, answer, note, words in zip(changes, clips, drawn, notes, said, strict=True):
            data = change.done(answer, most, mended=chosen.rng == "own")
            about = {**note, **self._origin(seed), **chosen.about(), **words}
            motions.append(clip.replace(data=data, about=about))
        return motions


def _said(gap: Gap, caption: str | None) -> Gap:
    return Gap(gap.head, gap.frames, gap.tail, gap.place, caption, gap.instruction)
