"""MotionGPT: sentences to motions, motions to sentences, and motions to what is missing of them.

A prompt is read by the language model, which answers with words or motion tokens; the motion tokenizer turns tokens
into frames. A model of this project may only say what the task asks for (``MotionGPTBundle.prompts`` is ``"own"``);
one with the released weights says what it likes, as in the released code, and is then held to its word.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from hftrainer.errors import GenerationError
from hftrainer.models.motion.motiongpt.answers import parse_caption
from hftrainer.models.motion.motiongpt.bundle import MotionGPTBundle, Sampling
from hftrainer.models.text import UNKNOWN, unknown_words
from hftrainer.motion.clip import Motion
from hftrainer.pipelines.choosing import best_of, candidates_of
from hftrainer.pipelines.completing import CompletingPipeline
from hftrainer.pipelines.consensus import best_caption
from hftrainer.pipelines.decoding import Draws, Request
from hftrainer.pipelines.gaps import Gap, GapFiller
from hftrainer.pipelines.requests import check_lengths, each, find_device, wrong_sentences
from hftrainer.pipelines.speech import MOST_OFFICIAL_TEXT, MOST_TEXT, PLACEHOLDER, Speech, draws_of


class MotionGPTPipeline(CompletingPipeline):
    """MotionGPT's tasks with a bundle.

    What is missing of a motion (``predict``, ``inbetween``) takes these settings as well:

    | setting | what |
    |---|---|
    | ``candidates`` | so many are drawn together, and the one most like the others is the result; by default the |
    | | artifact's own, ``gap_candidates`` of ``Sampling`` |
    | ``temperature``, ``top_p`` | how tokens are drawn; by default ``gap_temperature`` and ``top_p`` of ``Sampling`` |
    | ``greedy`` | always the likeliest token, and one candidate |
    | ``instruction`` | another way to ask, with ``<Motion_Placeholder_s1>`` for the kept start, or |
    | | ``<Motion_Placeholder_Masked>`` for both ends |

    A caption says what a prediction goes on with; an in-between is filled by the motion alone.

    Args:
        bundle: networks, words and statistics.

    >>> from hftrainer.pipelines.motiongpt import MotionGPTPipeline
    >>> pipe = MotionGPTPipeline.from_pretrained()
    >>> motion, = pipe(["a person walks forward"], [80], seed=1)
    >>> motion
    Motion(hml263, 80 frames, 20 fps)
    >>> on, middle = pipe.predict(motion, keep=0.4), pipe.inbetween(motion)
    >>> len(on), bool((on.data[:32] == motion.data[:32]).all()), bool((middle.data[60:] == motion.data[60:]).all())
    (80, True, True)
    """

    bundle: MotionGPTBundle

    #: What the verbs of the command line may set beside what they all have.
    settings = {
        "generate": ("guidance", "temperature", "prompt_mode", "candidates"),
        "caption": (),
        "predict": ("candidates",),
        "inbetween": ("candidates",),
    }

    _say: Callable[[str], None] | None = None

    def __init__(self, bundle: MotionGPTBundle) -> None:
        self.bundle = bundle
        self.speech = Speech(bundle)
        self.filler = GapFiller(self.speech)

    @property
    def say(self) -> Callable[[str], None] | None:
        """Gets a line of progress before every token, if set."""
        return self._say

    @say.setter
    def say(self, say: Callable[[str], None] | None) -> None:
        self._say = say
        self.speech.watch = say and (lambda at, most: say(f"speaking, token {at + 1} of {most}"))

    @classmethod
    def from_pretrained(
        cls, name: str | Path | None = None, *, device: str = "cpu", bundle_kwargs: dict[str, Any] | None = None
    ) -> MotionGPTPipeline:
        """Load a model.

        Args:
            name: folder, built-in name or hub repository; ``None`` is the built-in ``motiongpt-mini``.
            device: where to run, for example ``"cuda"``.
            bundle_kwargs: ``local_files_only`` and ``revision`` for a hub repository.

        Raises:
            ArtifactError: the model cannot be found or its files do not fit.
            ValueError: the device is not there.
        """
        place = find_device(device)
        return cls(MotionGPTBundle.from_pretrained(name, **(bundle_kwargs or {})).to(place))

    def infer_t2m(
        self,
        prompts: Sequence[str | None],
        lengths: Sequence[int] | None = None,
        *,
        seed: int = 0,
        candidates: int | None = None,
        prompt_mode: str | None = None,
    ) -> list[np.ndarray]:
        """Motions of sentences as plain arrays.

        Args:
            prompts: English sentences; ``None`` for whatever the model likes.
            lengths: frames of each; ``None`` lets the model decide.
            seed, candidates, prompt_mode: see ``__call__``.

        Returns:
            One float32 ``(T, 263)`` array of hml263 features a prompt.
        """
        made = self(prompts, lengths, seed=seed, candidates=candidates, prompt_mode=prompt_mode)
        return [motion.data.copy() for motion in made]

    def __call__(
        self,
        prompts: Sequence[str | None],
        frames: Sequence[int] | None = None,
        *,
        seed: int | Sequence[int] = 0,
        samples: int = 1,
        guidance: float | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        candidates: int | None = None,
        greedy: bool = False,
        prompt_mode: str | None = None,
    ) -> list[Motion]:
        """Motions of sentences.

        Args:
            prompts: English sentences; ``None`` in place of one asks for any motion.
            frames: frames of each at 20 fps within ``frame_range``; ``None`` lets the model decide.
            seed: sample ``s`` of any prompt has the generator ``seed + s``, so a prompt gives the same motion alone or
                among others; or one seed a prompt.
            samples: motions per prompt.
            guidance, temperature, top_p, top_k, candidates: see ``Sampling``; ``None`` is the artifact's own choice.
            greedy: always the likeliest token, nothing is drawn, and there is one candidate.
            prompt_mode: one of ``PROMPT_MODES``: our own wording, the released code's without or with the length, or
                the sentence alone; ``None`` is the artifact's own.

        Returns:
            ``len(prompts) * samples`` motions (hml263, 20 fps), all samples of the first prompt first. A model with
            the released weights decides on the length itself: ``frames`` is what it is told, and what is longer is cut.

        Raises:
            ValueError: a prompt is empty, not English or unknown; a length is out of range. The prompt is named.
            GenerationError: the model answered with no motion; the message holds what it said.
        """
        given = {
            "guidance": guidance, "temperature": temperature, "top_p": top_p, "top_k": top_k, "candidates": candidates,
        }  # fmt: skip
        motions = self.attempts(
            prompts, frames, seed=seed, samples=samples, greedy=greedy, prompt_mode=prompt_mode, **given
        )
        return [_or_raise(motion) for motion in motions]

    def attempts(
        self,
        prompts: Sequence[str | None],
        frames: Sequence[int] | None = None,
        *,
        seed: int | Sequence[int] = 0,
        samples: int = 1,
        greedy: bool = False,
        prompt_mode: str | None = None,
        **sampling: Any,
    ) -> list[Motion | GenerationError]:
        """The same as calling the pipeline, but an answer that is no motion stands as an error in its place.

        For work that counts failures: one answer that is none does not lose the others.

        Raises:
            ValueError: as ``__call__``.
        """
        mode = self.speech.mode(prompt_mode, frames is not None)
        notes = self.check(prompts, plain=mode != "direct")
        if mode == "direct" and None in prompts:
            raise ValueError("prompts must all be sentences with prompt_mode direct; got none in the place of one.")
        wanted = self._lengths(len(prompts), frames)
        chosen = self._sampling(**sampling)
        if greedy:
            chosen = replace(chosen, candidates=1)
        seeds = each(seed if isinstance(seed, Sequence) else [seed] * len(prompts), len(prompts), "seed")
        drawn = candidates_of(prompts, seeds, samples, chosen.candidates)
        blank = None if greedy or chosen.guidance == 1.0 else self.speech.ids(self.speech.sentences["random"])
        asked = [
            self.speech.ids(self.speech.sentence(mode, prompt, most))
            for prompt, most in zip(prompts, wanted, strict=True)
        ]
        requests = [
            self.speech.motion_request(asked[one.prompt], wanted[one.prompt], one.seed or 0, blank, chosen.shortest)
            for one in drawn
        ]
        motions: list[Motion | GenerationError] = []
        for one, said in zip(drawn, self.speech.say(requests, "motion", draws_of(chosen, greedy)), strict=True):
            note = notes[one.prompt]
            try:
                answer = self.speech.answer(said, f"prompt {one.prompt}")
            except GenerationError as error:
                motions.append(error)
                continue
            motion = self.bundle.detokenize(answer.codes)[: wanted[one.prompt]]
            about = {
                "task": "text-to-motion", **self.speech.origin(one.seed or 0), **asdict(chosen),
                "prompt_mode": mode, "tokens": answer.codes, **({} if self.speech.own else {"said": answer.text}),
                **note,
            }  # fmt: skip
            motions.append(motion.replace(about=about, name=note["prompt"] or "motion"))
        return best_of(prompts, drawn, motions)

    def infer_m2t(
        self,
        motions: Sequence[Motion | np.ndarray],
        *,
        seed: int = 0,
        candidates: int = 1,
        best_of: int = 1,
        frames_in_prompt: bool = False,
        instruction: str | None = None,
    ) -> list[Any]:
        """What motions show, in words.

        Args:
            motions: in any representation with a road to the model's; arrays are taken to be in the model's.
            seed: of the draws, where there are several candidates: candidate ``c`` has the generator ``seed + c``.
            candidates: 1 gives the likeliest words; more are drawn.
            best_of: above 1, so many are drawn, and the one is given that agrees most with the others and fits the
                motion (``pipelines.consensus``); slower, and nearer to what people say than the likeliest words.
            frames_in_prompt: also tell the model how many frames there are.
            instruction: ask something else, for example how long it takes; ``<Motion_Placeholder>`` (or ``<motion>``)
                stands for the motion.

        Returns:
            One sentence a motion; with several candidates a list of sentences a motion.

        Raises:
            ValueError: a motion is longer or shorter than the model reads, or cannot be converted; ``best_of`` below 1,
                or together with ``candidates``.
            GenerationError: the model gave no words; the message holds what it said.

        >>> pipe = MotionGPTPipeline.from_pretrained()
        >>> words, = pipe.infer_m2t(pipe(["a person walks forward"], [80]))
        >>> isinstance(words, str) and len(words) > 0
        True
        """
        template = instruction or self.speech.sentences["m2t_length" if frames_in_prompt else "m2t"]
        if best_of < 1 or (best_of > 1 and candidates > 1):
            raise ValueError(
                f"best_of must be at least 1, and 1 where candidates are asked for; got {best_of} and {candidates} "
                "candidates. Ask for one of the two."
            )
        clips = [self.features(motion) for motion in motions]
        prompts = [self.question(clip, template, at) for at, clip in enumerate(clips)]
        if best_of == 1:
            return self.ask(prompts, seed=seed, candidates=candidates)
        drawn = self.ask(prompts, seed=seed, candidates=best_of)
        return [best_caption(said, clip) for said, clip in zip(drawn, clips, strict=True)]

    def question(self, motion: Motion, template: str, at: int = 0) -> str:
        """An instruction with a motion in it, for ``ask``.

        Args:
            motion: in the model's representation.
            template: with ``<Motion_Placeholder>`` (or ``<motion>``) where the motion belongs.
            at: its number, which a refusal names.

        Raises:
            ValueError: a motion longer or shorter than the model reads, or a placeholder for what is not given.
        """
        least, most = self.bundle.frames_per_token, self.frame_range[1]
        if not least <= len(motion) <= most:
            raise ValueError(
                f"motion {at}: the model reads {least} to {most} frames; got {len(motion)}. "
                f"Nearest: {least if len(motion) < least else most}."
            )
        return self.speech.filled(template, motion)

    def ask(self, prompts: Sequence[str], *, seed: int = 0, candidates: int = 1) -> list[Any]:
        """Answers in words to anything; ``question`` puts a motion into what is asked.

        Args:
            prompts: what is asked, as it stands.
            seed, candidates: see ``infer_m2t``.

        Returns:
            One answer a prompt; with several candidates a list of answers a prompt.

        Raises:
            GenerationError: the model gave no words; the message holds what it said.
        """
        return [_or_raise(said) for said in self.answers(prompts, seed=seed, candidates=candidates)]

    def answers(self, prompts: Sequence[str], *, seed: int = 0, candidates: int = 1) -> list[Any]:
        """The same as ``ask``, but an answer without words stands as an error in its place.

        Raises:
            ValueError: no candidate.
        """
        if candidates < 1:
            raise ValueError(f"candidates must be at least 1; got {candidates}.")
        fewest, most = (1, MOST_TEXT) if self.speech.own else (0, MOST_OFFICIAL_TEXT)
        requests = [
            Request(self.speech.ids(prompt), fewest=fewest, most=most, seed=seed + c)
            for prompt in prompts
            for c in range(candidates)
        ]
        draws = Draws(greedy=True) if candidates == 1 else draws_of(replace(self.bundle.sampling, guidance=1.0), False)
        said: list[Any] = []
        for at, answer in enumerate(self.speech.say(requests, "text", draws)):
            try:
                said.append(parse_caption(self.speech.read(answer.tokens)))
            except GenerationError as error:
                said.append(GenerationError(f"motion {at // candidates}: {error}"))
        if candidates == 1:
            return said
        rows = [said[at : at + candidates] for at in range(0, len(said), candidates)]
        return [next((words for words in row if isinstance(words, GenerationError)), row) for row in rows]

    def _fill(
        self, gaps: Sequence[Gap], clips: Sequence[Motion], seed: int | None, drawing: dict[str, Any]
    ) -> list[Motion]:
        """See ``CompletingPipeline._fill``."""
        return self._filled(gaps, clips, seed, **drawing)

    def _filled(
        self,
        gaps: Sequence[Gap],
        clips: Sequence[Motion],
        seed: int | None,
        *,
        instruction: str | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        candidates: int | None = None,
        greedy: bool = False,
    ) -> list[Motion]:
        """Whole motions; the settings are those of the class's table."""
        if seed is None:
            raise ValueError("seed must be a whole number; got none.")
        if any(gap.tail is not None and gap.caption is not None for gap in gaps):
            raise ValueError("caption must be left out of an in-between: this model fills a gap by the motion alone.")
        if said := [gap.caption for gap in gaps if gap.caption is not None]:
            self.check(said)
        own = self.bundle.sampling.gap_temperature if temperature is None else temperature
        sampling = self._sampling(temperature=own, top_p=top_p, gap_candidates=candidates)
        gaps = [replace(gap, instruction=instruction) for gap in gaps]
        return self.filler.fill(gaps, clips, seed=seed, sampling=sampling, greedy=greedy)

    def check(self, prompts: Sequence[str | None], plain: bool = True) -> list[dict[str, Any]]:
        """Refuse what the model cannot read, before any work is done.

        Args:
            prompts: English sentences; ``None`` in place of one asks for any motion.
            plain: refuse motion tokens.

        Returns:
            For each prompt what its motion will note: ``prompt``, and ``unknown_words`` where there are any.

        Raises:
            TypeError: one string instead of a list.
            ValueError: a prompt is empty, not English, or has no word that the model knows; all such prompts are named.
        """
        problems = wrong_sentences(prompts)
        notes: list[dict[str, Any]] = []
        for i, prompt in enumerate(prompts):
            notes.append({"prompt": prompt})
            if prompt is None or i in problems:
                continue
            words = self.bundle.text.encode(prompt, add_special_tokens=False).ids
            if not any(w != UNKNOWN for w in words):
                problems[i] = (
                    f"prompt {i} must hold words that the model knows; got {prompt!r}. Say it in plain English."
                )
            elif plain and any(w >= self.bundle.language_model.config.first_motion for w in words):
                problems[i] = f"prompt {i} must be plain text; got motion tokens in {prompt!r}."
            elif plain and PLACEHOLDER.search(prompt):
                problems[i] = f"prompt {i} must be plain text; got a placeholder in {prompt!r}."
            if unknown := unknown_words(self.bundle.text, prompt):
                notes[-1]["unknown_words"] = unknown
        if problems:
            raise ValueError(" ".join(problems[i] for i in sorted(problems)))
        return notes

    def _sampling(self, **asked: Any) -> Sampling:
        """The artifact's sampling, changed by what a request says."""
        return replace(self.bundle.sampling, **{k: v for k, v in asked.items() if v is not None})

    def _lengths(self, count: int, frames: Sequence[int] | None) -> list[int | None]:
        """Frames of each motion, or ``None``."""
        if frames is None:
            return [None] * count
        return list(check_lengths(count, frames, self.frame_range, self.bundle.statistics.spec.fps))


def _or_raise(answer: Any) -> Any:
    if isinstance(answer, GenerationError):
        raise answer
    return answer
