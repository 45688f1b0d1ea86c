"""MDM: sentences to motions, motions to what is missing of them, and motions changed in part, by denoising.

A network of the DiP kind continues a motion instead, window by window and without end (``stream``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

from hftrainer.models.motion.mdm.bundle import MDMBundle
from hftrainer.motion.clip import Motion
from hftrainer.pipelines.changing import ChangingPipeline, Part, need_frames
from hftrainer.pipelines.choosing import best_of
from hftrainer.pipelines.denoising import Denoising, Drawing, Job, drawing_for
from hftrainer.pipelines.gaps import Gap
from hftrainer.pipelines.requests import check_lengths, find_device

#: Length of a motion that nobody said the length of, as the authors have it; a bundle may say otherwise.
SECONDS = 6.0


class MDMPipeline(ChangingPipeline):
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
        "generate": ("guidance", "steps", "sampler", "candidates"),
        "predict": ("guidance", "steps", "sampler"),
        "inbetween": ("guidance", "steps", "sampler", "caption"),
        "edit": ("guidance", "steps", "sampler"),
    }

    def __init__(self, bundle: MDMBundle, *, local_files_only: bool = False) -> None:
        self.bundle = bundle
        self.denoising = self.drawer = Denoising(bundle, local_files_only=local_files_only)

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

    @property
    def kind_name(self) -> str:
        """What a model without a name of its own is called."""
        return "mdm"

    def chosen(self, drawing: dict[str, Any]) -> Drawing:
        """Settings of the class's table; see ``ChangingPipeline.chosen``."""
        return drawing_for(self.bundle, **drawing)

    def wrong_prompt(self, at: int, prompt: str | None) -> str | None:
        """A network may need words, or read none."""
        config = self.bundle.config
        if prompt is None and config.condition == "text" and not config.guidable:
            return f"prompt {at} must be a sentence: this model knows no motion without one; got none."
        if prompt is not None and config.condition != "text":
            return f"prompt {at} must be left out (None): this model reads no text; got {prompt!r}."
        return None

    def refuse_edit(self, part: Part) -> None:
        """A network that continues motions changes none; see ``ChangingPipeline.refuse_edit``."""
        if self.bundle.config.completes:
            raise ValueError("a motion must only go on: this model continues motions and changes none. Use predict.")

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
        candidates: int | None = None,
        prefix: Motion | np.ndarray | None = None,
        **drawing: Any,
    ) -> list[Motion]:
        """Motions of sentences.

        Args:
            prompts: English sentences; ``None`` in place of one asks for any motion.
            frames: of each within ``frame_range``; by default what the bundle says is usual, or six seconds.
            seed: sample ``s`` of any prompt has the generator ``seed + s``; or one seed a prompt.
            samples: motions per prompt.
            candidates: drawn for each motion; the one that fits the sentence best is kept. By
                default what the bundle says; one with ``rng="official"``.
            prefix: for a network that continues: what they all follow on; its last frames are read.
            drawing: settings, see the class.

        Returns:
            ``len(prompts) * samples`` motions, all samples of the first prompt first.

        Raises:
            ValueError: a prompt is empty or not English, a length out of range, a setting that the model does not have.
            GenerationError: the network made numbers that are none.
        """
        notes = self.check(prompts)
        chosen = self.chosen(drawing)
        drawn = self._candidates(prompts, seed, samples, candidates, chosen)
        usual = self.bundle.usual_frames or round(SECONDS * self.fps)
        default = min(max(usual, self.frame_range[0]), self.frame_range[1])
        asked = [default] * len(prompts) if frames is None else frames
        if self.bundle.config.completes:
            lengths = check_lengths(len(prompts), asked, (1, 10**9), self.fps)
        else:
            lengths = check_lengths(len(prompts), asked, self.frame_range, self.fps)
            if prefix is not None:
                raise ValueError("prefix must be left out: this model makes whole motions. Use predict to go on.")
        jobs = [Job(prompts[one.prompt], lengths[one.prompt], one.seed) for one in drawn]
        if self.bundle.config.completes:
            if prefix is None:
                raise ValueError("prefix must be given: this model continues a motion. Give one, or use predict.")
            made = [self._followed(prefix, job, chosen) for job in jobs]
        else:
            made = [answer.made for answer in self.denoising.draw(jobs, chosen, self.say)]
        spec = self.bundle.statistics.spec
        motions = []
        for one, job, data in zip(drawn, jobs, made, strict=True):
            note = notes[one.prompt]
            about = {"task": "text-to-motion", **self._origin(job.seed), **chosen.about(), **note}
            motions.append(Motion(data, spec, spec.fps, about=about, name=note["prompt"] or "motion"))
        return [motion for motion in best_of(prompts, drawn, motions) if isinstance(motion, Motion)]

    #: What a table of behaviours asks; no answer of this model can be no motion.
    attempts = __call__

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
        chosen = self.chosen(drawing)
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
        """Whole motions, what was missing made together; a network that continues makes them one by one."""
        if not self.bundle.config.completes:
            return super()._fill(gaps, clips, seed, drawing)
        if any(gap.tail is not None for gap in gaps):
            raise ValueError("a motion must only go on: this model continues motions and fills no gaps. Use predict.")
        need_frames(gaps)
        chosen, motions = self.chosen(drawing), []
        self._seeds(seed, 1, chosen)
        notes = self.check([gap.caption for gap in gaps])
        for gap, clip, note in zip(gaps, clips, notes, strict=True):
            data = self._followed(gap.head, Job(gap.caption, gap.frames or 0, seed), chosen)
            about = {"task": "prediction", **self._origin(seed), **chosen.about(), "kept": [len(gap.head), 0], **note}
            motions.append(clip.replace(data=np.concatenate([gap.head, data]), about=about))
        return motions
