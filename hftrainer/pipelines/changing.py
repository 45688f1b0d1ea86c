"""What pipelines have in common that denoise or fill masks: they complete motions, and make parts of them anew."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from hftrainer.models.motion.mdm.editing import made_features
from hftrainer.motion.clip import Motion
from hftrainer.pipelines.changes import Change, change_of_gap, change_of_part
from hftrainer.pipelines.choosing import Candidate, candidates_of
from hftrainer.pipelines.completing import CompletingPipeline
from hftrainer.pipelines.denoising import Say
from hftrainer.pipelines.gaps import Gap
from hftrainer.pipelines.requests import each, wrong_sentences

Part = str | Collection[str | int] | None


class ChangingPipeline(CompletingPipeline):
    """Tasks that keep some of a motion and make the rest, whatever makes it.

    A pipeline says what draws (``drawer``), how settings are read (``chosen``), and what it refuses.

    Attributes:
        bundle: networks, statistics and text tower.
        drawer: jobs to what was made; also says whether text towers are looked for on this computer only.
        say: gets a line of progress, if set.
    """

    drawer: Any
    say: Say | None = None

    @abstractmethod
    def chosen(self, drawing: dict[str, Any]) -> Any:
        """Settings as what draws takes them; those that the model does not have are refused.

        Raises:
            ValueError: a setting that is none, or out of range.
        """

    @property
    @abstractmethod
    def kind_name(self) -> str:
        """What a model without a name of its own is called."""

    def wrong_prompt(self, at: int, prompt: str | None) -> str | None:
        """What this model cannot do with a prompt that is a sentence, or ``None`` in place of one; usually nothing."""
        return None

    def refuse_edit(self, part: Part) -> None:
        """Refuse an edit that this model cannot make; usually none.

        Raises:
            ValueError: it cannot.
        """
        return None

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

        A span at the beginning or the end gives a motion another prefix or suffix; one inside it is in-painting.

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
            ValueError: neither part nor span, a joint that the body does not have, a span outside the motion, a part
                where a model has no way to make one.
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
        given: Any = motions
        one = isinstance(given, Motion) or (isinstance(given, np.ndarray) and given.ndim == 2)
        clips = [given] if one else list(given)
        said = [texts] * len(clips) if texts is None or isinstance(texts, str) else list(texts)
        made = self._edited(clips, each(said, len(clips), "texts"), part, span, seed, drawing)
        return [motion.data.copy() for motion in made]

    def check(self, prompts: Sequence[str | None]) -> list[dict[str, Any]]:
        """Refuse what the model cannot read, before any work is done.

        Returns:
            For each prompt what its motion will note: ``prompt``, ``unread`` where its end is cut away because it is
            too long, and ``unknown_words`` where there are any.

        Raises:
            TypeError: one string instead of a list.
            ValueError: a prompt is empty, not English, or absent where the network needs one; all are named.
        """
        problems = wrong_sentences(prompts)
        for i, prompt in enumerate(prompts):
            if i not in problems and (wrong := self.wrong_prompt(i, prompt)):
                problems[i] = wrong
        if problems:
            raise ValueError(" ".join(problems[i] for i in sorted(problems)))
        notes: list[dict[str, Any]] = []
        for prompt in prompts:
            notes.append({"prompt": prompt})
            if prompt is None:
                continue
            tower = self.bundle.tower(local_files_only=self.drawer.local_files_only)
            if unread := tower.unread(prompt):
                notes[-1]["unread"] = unread
            unknown = getattr(tower, "unknown", None)  # only a tower of whole words has words that it does not know
            if unknown is not None and (words := unknown(prompt)):
                notes[-1]["unknown_words"] = words
        return notes

    def _origin(self, seed: int | None) -> dict[str, Any]:
        return {"model": self.bundle.about.get("name", self.kind_name), "model_hash": self.bundle.hash, "seed": seed}

    def _seeds(self, seed: int | Sequence[int] | None, count: int, drawing: Any) -> list[int | None]:
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

    def _candidates(
        self, prompts: Sequence[str | None], seed: int | Sequence[int] | None, samples: int, count: int | None,
        drawing: Any,
    ) -> list[Candidate]:  # fmt: skip
        """What is drawn for sentences: as many candidates as are asked for, or as the bundle says."""
        official = drawing.rng == "official"
        if official and count is not None and count > 1:
            raise ValueError(f'candidates must be 1 with rng="official", which has one generator for all; got {count}.')
        usual = 1 if official else self.bundle.candidates
        return candidates_of(
            prompts, self._seeds(seed, len(prompts), drawing), samples, usual if count is None else count
        )

    def _fill(
        self, gaps: Sequence[Gap], clips: Sequence[Motion], seed: int | None, drawing: dict[str, Any]
    ) -> list[Motion]:
        """Whole motions, what was missing made together."""
        need_frames(gaps)
        changes = [change_of_gap(gap, self.bundle.representation) for gap in gaps]
        return self._change(changes, clips, seed, drawing, [
            {"task": "prediction" if gap.tail is None else "in-between",
             "kept": [len(gap.head), 0 if gap.tail is None else len(gap.tail)]}
            for gap in gaps
        ])  # fmt: skip

    def _edited(
        self, motions: Sequence[Any], texts: Sequence[str | None], part: Part, span: tuple[int, int] | None,
        seed: int | None, drawing: dict[str, Any],
    ) -> list[Motion]:  # fmt: skip
        if part is None and span is None:
            raise ValueError("part or span must say what is changed; got neither. To make a new motion, generate it.")
        self.refuse_edit(part)
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
        chosen = self.chosen(drawing)
        self._seeds(seed, 1, chosen)
        said = self.check([change.prompt for change in changes])
        least, most = self.frame_range
        jobs = [change.job(most, seed) for change in changes]
        for i, job in enumerate(jobs):
            if job.frames < least:
                raise ValueError(
                    f"motion {i}: the model looks at {least} to {most} frames; got {job.frames}. Nearest: {least}."
                )
        drawn = self.drawer.draw(jobs, chosen, self.say)
        motions = []
        for change, clip, answer, note, words in zip(changes, clips, drawn, notes, said, strict=True):
            data = change.done(answer, most, mended=chosen.rng == "own")
            about = {**note, **self._origin(seed), **chosen.about(), **words}
            motions.append(clip.replace(data=data, about=about))
        return motions


def need_frames(gaps: Sequence[Gap]) -> None:
    """Refuse a gap whose length nobody said.

    Raises:
        ValueError: there is one.
    """
    if any(gap.frames is None for gap in gaps):
        raise ValueError("frames must be said where all of a motion is kept: this model does not decide on it.")
