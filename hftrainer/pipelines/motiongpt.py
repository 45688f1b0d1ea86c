"""MotionGPT: sentences to motions, motions to sentences, and motions to what is missing of them.

A prompt is read by the language model, which answers with words or motion tokens; the motion tokenizer turns tokens
into frames. A model of this project may only say what the task asks for (``MotionGPTBundle.prompts`` is ``"own"``);
one with the released weights says what it likes, as in the released code, and is then held to its word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hftrainer.errors import GenerationError
from hftrainer.models.motion.motiongpt.answers import parse_answer, parse_caption
from hftrainer.models.motion.motiongpt.bundle import MotionGPTBundle, Sampling
from hftrainer.models.motion.motiongpt.prompts import Rules, fill, motion_string
from hftrainer.models.text import END, PAD, UNKNOWN, foreign_letters, unknown_words
from hftrainer.motion.clip import Motion
from hftrainer.motion.edit import resample
from hftrainer.motion.representation.convert import convert
from hftrainer.pipelines.decoding import Draws, Request, Spoken, speak
from hftrainer.pipelines.joining import Place, complete, place_of

#: How a motion is asked for; without a choice it is the artifact's own way.
PROMPT_MODES = ("own", "official_nolen", "official_len", "direct")
#: Most tokens of an answer: motions and captions as the released code cuts them, and captions of our own models.
_MOST_MOTION, _MOST_OFFICIAL_TEXT, _MOST_TEXT = 127, 39, 40

_CAPTION, _MOTION = "<Caption_Placeholder>", "<Motion_Placeholder>"
_WITH_FRAMES = "with <Frame_Placeholder> frames"
#: Sentences of each task, of our own training and of the released one.
_SENTENCES: dict[str, dict[str, str]] = {
    "own": {
        "t2m": f"generate motion: {_CAPTION}",
        "t2m_length": f"generate motion {_WITH_FRAMES}: {_CAPTION}",
        "length": f"generate motion {_WITH_FRAMES}:",
        "random": "generate motion:",
        "m2t": f"generate text: {_MOTION}",
        "m2t_length": f"generate text {_WITH_FRAMES}: {_MOTION}",
        "pred": "predict motion: <Motion_Placeholder_s1>",
        "inbetween": "complete the masked motion: <Motion_Placeholder_Masked>",
    },
    "official": {
        "t2m": f"Generate motion: {_CAPTION}",
        "t2m_length": f"Generate motion {_WITH_FRAMES}: {_CAPTION}",
        "length": f"Generate motion {_WITH_FRAMES}.",
        "random": "Generate motion.",
        "m2t": f"Generate text: {_MOTION}",
        "m2t_length": f"Generate text {_WITH_FRAMES}: {_MOTION}",
        "pred": "Predict motion: <Motion_Placeholder_s1>",
        "inbetween": "Complete the masked motion: <Motion_Placeholder_Masked>",
    },
}


@dataclass(frozen=True)
class Gap:
    """A motion with something missing: frames that are kept, and how many are to be made behind or between them.

    Attributes:
        head: ``(H, D)`` kept physical features in front, H at least 1.
        frames: to be made; ``None`` lets the model decide, where there is no tail.
        tail: ``(N, D)`` kept features behind, or none.
        place: where the tail begins in the world of the head; ``None`` lets the path go on.
        caption: what the motion is said to be; not with a tail.
        instruction: another way to ask, with ``<Motion_Placeholder_s1>`` or ``<Motion_Placeholder_Masked>`` in it.
    """

    head: np.ndarray
    frames: int | None
    tail: np.ndarray | None = None
    place: Place | None = None
    caption: str | None = None
    instruction: str | None = None


class MotionGPTPipeline:
    """MotionGPT's tasks with a bundle.

    Args:
        bundle: networks, words and statistics.

    >>> from hftrainer.pipelines.motiongpt import MotionGPTPipeline
    >>> pipe = MotionGPTPipeline.from_pretrained()
    >>> motion, = pipe(["a person walks forward"], [80], seed=1)
    >>> motion
    Motion(hml263, 80 frames, 20 fps)
    """

    def __init__(self, bundle: MotionGPTBundle) -> None:
        self.bundle = bundle

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
        try:
            place = torch.device(device)
        except RuntimeError as error:
            raise ValueError(f"device must be cpu, cuda or mps; got {device!r}.") from error
        if place.type == "cuda" and not torch.cuda.is_available():
            raise ValueError("device cuda must have a CUDA GPU; this machine shows none. Use --device cpu.")
        return cls(MotionGPTBundle.from_pretrained(name, **(bundle_kwargs or {})).to(place))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the bundle to a folder that ``from_pretrained`` reads."""
        self.bundle.save_pretrained(folder)

    @property
    def frame_range(self) -> tuple[int, int]:
        """Fewest and most frames that may be asked for."""
        return self.bundle.frame_range

    def infer_t2m(
        self,
        prompts: Sequence[str | None],
        lengths: Sequence[int] | None = None,
        *,
        seed: int = 0,
        prompt_mode: str | None = None,
    ) -> list[np.ndarray]:
        """Motions of sentences as plain arrays.

        Args:
            prompts: English sentences; ``None`` for whatever the model likes.
            lengths: frames of each; ``None`` lets the model decide.
            seed, prompt_mode: see ``__call__``.

        Returns:
            One float32 ``(T, 263)`` array of hml263 features a prompt.
        """
        return [motion.data.copy() for motion in self(prompts, lengths, seed=seed, prompt_mode=prompt_mode)]

    def __call__(
        self,
        prompts: Sequence[str | None],
        frames: Sequence[int] | None = None,
        *,
        seed: int = 0,
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
                among others.
            samples: motions per prompt.
            guidance, temperature, top_p, top_k, candidates: see ``Sampling``; ``None`` is the artifact's own choice.
            greedy: always the likeliest token, nothing is drawn.
            prompt_mode: one of ``PROMPT_MODES``: our own wording, the released code's without or with the length, or
                the sentence alone; ``None`` is the artifact's own.

        Returns:
            ``len(prompts) * samples`` motions (hml263, 20 fps), all samples of the first prompt first. A model with
            the released weights decides on the length itself: ``frames`` is what it is told, and what is longer is cut.

        Raises:
            ValueError: a prompt is empty, not English or unknown; a length is out of range. The prompt is named.
            GenerationError: the model answered with no motion; the message holds what it said.
        """
        given = {"guidance": guidance, "temperature": temperature, "top_p": top_p, "top_k": top_k,
                 "candidates": candidates}  # fmt: skip
        motions = self.attempts(
            prompts, frames, seed=seed, samples=samples, greedy=greedy, prompt_mode=prompt_mode, **given
        )
        return [_motion_or_raise(motion) for motion in motions]

    def attempts(
        self,
        prompts: Sequence[str | None],
        frames: Sequence[int] | None = None,
        *,
        seed: int = 0,
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
        mode = self._mode(prompt_mode, frames is not None)
        notes = self.check(prompts, plain=mode != "direct")
        if mode == "direct" and None in prompts:
            raise ValueError("prompts must all be sentences with prompt_mode direct; got none in the place of one.")
        wanted = self._lengths(len(prompts), frames)
        if samples < 1:
            raise ValueError(f"samples must be at least 1; got {samples}.")
        chosen = replace(self.bundle.sampling, **{k: v for k, v in sampling.items() if v is not None})
        compare = not greedy and (chosen.guidance != 1.0 or chosen.candidates > 1)
        count = 1 if greedy else chosen.candidates
        requests = []
        for prompt, most in zip(prompts, wanted, strict=True):
            asked = self._ids(self._sentence(mode, prompt, most))
            blank = self._ids(self._sentence(mode, None, None)) if compare else None
            for sample in range(samples):
                for candidate in range(count):
                    number = (seed + sample + (candidate << 40)) % 2**63
                    requests.append(self._motion_request(asked, most, number, blank))
        spoken = self._say(requests, "motion", _draws(chosen, greedy))
        motions: list[Motion | GenerationError] = []
        for at in range(0, len(spoken), count):
            prompt_at, sample = divmod(at // count, samples)
            note, most = notes[prompt_at], wanted[prompt_at]
            best = max(spoken[at : at + count], key=lambda s: s.evidence)
            try:
                codes = self._codes(best, f"prompt {prompt_at}")
            except GenerationError as error:
                motions.append(error)
                continue
            motion = self.bundle.detokenize(codes)[:most]
            about = {
                "task": "text-to-motion", **self._origin(seed + sample), **asdict(chosen), "prompt_mode": mode,
                "tokens": codes, **note,
            }  # fmt: skip
            motions.append(motion.replace(about=about, name=note["prompt"] or "motion"))
        return motions

    def infer_m2t(
        self,
        motions: Sequence[Motion | np.ndarray],
        *,
        seed: int = 0,
        candidates: int = 1,
        frames_in_prompt: bool = False,
        instruction: str | None = None,
    ) -> list[Any]:
        """What motions show, in words.

        Args:
            motions: in any representation with a road to the model's; arrays are taken to be in the model's.
            seed: of the draws, where there are several candidates: candidate ``c`` has the generator ``seed + c``.
            candidates: 1 gives the likeliest words; more are drawn.
            frames_in_prompt: also tell the model how many frames there are.
            instruction: ask something else, for example how long it takes; ``<Motion_Placeholder>`` (or ``<motion>``)
                stands for the motion.

        Returns:
            One sentence a motion; with several candidates a list of sentences a motion.

        Raises:
            ValueError: a motion is longer or shorter than the model reads, or cannot be converted.
            GenerationError: the model gave no words; the message holds what it said.

        >>> pipe = MotionGPTPipeline.from_pretrained()
        >>> words, = pipe.infer_m2t(pipe(["a person walks forward"], [80]))
        >>> isinstance(words, str) and len(words) > 0
        True
        """
        if candidates < 1:
            raise ValueError(f"candidates must be at least 1; got {candidates}.")
        template = instruction or self._sentences["m2t_length" if frames_in_prompt else "m2t"]
        own = self._own
        limits = {"fewest": 1, "most": _MOST_TEXT} if own else {"fewest": 0, "most": _MOST_OFFICIAL_TEXT}
        requests = []
        for i, motion in enumerate(motions):
            clip = self._clip(motion)
            least, most = self.bundle.frames_per_token, self.frame_range[1]
            if not least <= len(clip) <= most:
                raise ValueError(
                    f"motion {i}: the model reads {least} to {most} frames; got {len(clip)}. "
                    f"Nearest: {least if len(clip) < least else most}."
                )
            prompt = self._ids(self.filled(template, clip))
            requests += [Request(prompt, seed=seed + c, **limits) for c in range(candidates)]
        draws = Draws(greedy=True) if candidates == 1 else _draws(replace(self.bundle.sampling, guidance=1.0), False)
        words = []
        for at, answer in enumerate(self._say(requests, "text", draws)):
            try:
                said = parse_caption(self._read(answer.tokens))
            except GenerationError as error:
                raise GenerationError(f"motion {at // candidates}: {error}") from error
            words.append(said)
        if candidates == 1:
            return words
        return [words[at : at + candidates] for at in range(0, len(words), candidates)]

    def predict(
        self,
        motion: Motion | np.ndarray,
        *,
        keep: float = 0.2,
        keep_seconds: float | None = None,
        frames: int | None = None,
        caption: str | None = None,
        instruction: str | None = None,
        seed: int = 0,
        temperature: float | None = None,
        top_p: float | None = None,
        greedy: bool = False,
    ) -> Motion:
        """How a motion goes on.

        Args:
            motion: in any representation with a road to the model's.
            keep: share of the frames that is kept, from the start; 1 keeps all.
            keep_seconds: the same as a time, in place of ``keep``.
            frames: of the whole result; ``None`` is the length of ``motion``, or, where all of it is kept, what the
                model decides.
            caption: what the motion is said to be.
            instruction: another way to ask, with ``<Motion_Placeholder_s1>`` for what is kept.
            seed: of the draws.
            temperature, top_p, greedy: see ``__call__``.

        Returns:
            The kept frames, the same bits, and what follows them. Nothing of the frames that were not kept is read.

        Raises:
            ValueError: nothing is kept or nothing left to make, or more is to be made than the model can.

        >>> pipe = MotionGPTPipeline.from_pretrained()
        >>> walk, = pipe(["a person walks forward"], [60])
        >>> on = pipe.predict(walk, keep=0.4)
        >>> len(on), bool((on.data[:24] == walk.data[:24]).all())
        (60, True)
        """
        clip = self._clip(motion)
        gap = self._rest(clip, keep, keep_seconds, frames, caption, instruction)
        return self._fill([gap], [clip], seed, _own_way(temperature, top_p, greedy))[0]

    def infer_prediction(
        self,
        motions: Sequence[Motion | np.ndarray],
        *,
        keep: float = 0.2,
        keep_seconds: float | None = None,
        lengths: Sequence[int] | None = None,
        captions: Sequence[str | None] | None = None,
        seed: int = 0,
        greedy: bool = False,
    ) -> list[np.ndarray]:
        """How motions go on, as plain arrays; see ``predict``. Several are decoded together.

        Returns:
            One float32 ``(T, 263)`` array a motion.
        """
        clips = [self._clip(m) for m in motions]
        frames, said = _each(lengths, len(clips), "lengths"), _each(captions, len(clips), "captions")
        gaps = [self._rest(c, keep, keep_seconds, n, s, None) for c, n, s in zip(clips, frames, said, strict=True)]
        return [m.data.copy() for m in self._fill(gaps, clips, seed, _own_way(None, None, greedy))]

    def inbetween(
        self,
        motion: Motion | np.ndarray,
        second: Motion | np.ndarray | None = None,
        *,
        keep: tuple[float, float] = (0.25, 0.25),
        keep_seconds: tuple[float, float] | None = None,
        gap: float | None = None,
        place: Place | None = None,
        instruction: str | None = None,
        seed: int = 0,
        temperature: float | None = None,
        top_p: float | None = None,
        greedy: bool = False,
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
            instruction: another way to ask, with ``<Motion_Placeholder_Masked>`` for what is kept.
            seed: of the draws.
            temperature, top_p, greedy: see ``__call__``.

        Returns:
            The kept frames, the same bits, with made ones between them. Of the hidden frames only their sum is read:
            where the kept end stands.

        Raises:
            ValueError: an end without a frame, nothing hidden, or more than the model can make.

        >>> pipe = MotionGPTPipeline.from_pretrained()
        >>> walk, = pipe(["a person walks forward"], [60])
        >>> middle = pipe.inbetween(walk)
        >>> len(middle), bool((middle.data[45:] == walk.data[45:]).all())
        (60, True)
        """
        clip = self._clip(motion)
        if second is None:
            if gap is not None or place is not None:
                raise ValueError("gap and place must come with a second motion; got one motion. Give keep instead.")
            hole = self._hole(clip, keep, keep_seconds, instruction)
        else:
            if gap is None:
                raise ValueError("gap must be the seconds between two motions; got none. Say it.")
            made = round(gap * clip.fps)
            if made < 1:
                raise ValueError(f"gap must be at least {1 / clip.fps:g} s; got {gap:g}.")
            hole = Gap(clip.data, made, self._clip(second).data, place, None, instruction)
        return self._fill([hole], [clip], seed, _own_way(temperature, top_p, greedy))[0]

    def infer_inbetween(
        self,
        motions: Sequence[Motion | np.ndarray],
        *,
        keep: tuple[float, float] = (0.25, 0.25),
        keep_seconds: tuple[float, float] | None = None,
        seed: int = 0,
        greedy: bool = False,
    ) -> list[np.ndarray]:
        """What happens between the ends of motions, as plain arrays; see ``inbetween``.

        Returns:
            One float32 ``(T, 263)`` array a motion.
        """
        clips = [self._clip(m) for m in motions]
        gaps = [self._hole(c, keep, keep_seconds, None) for c in clips]
        return [m.data.copy() for m in self._fill(gaps, clips, seed, _own_way(None, None, greedy))]

    def filled(self, template: str, motion: Motion | None = None, caption: str | None = None) -> str:
        """An instruction with a motion and a caption put in place of its placeholders.

        Args:
            template: with any placeholder of ``models.motion.motiongpt.prompts``, or ``<motion>`` for the whole motion.
            motion: what the motion, frame and second placeholders stand for.
            caption: what ``<Caption_Placeholder>`` stands for.

        Raises:
            ValueError: the template asks for something that is not given.
        """
        codes = None if motion is None else self.bundle.tokenize(self._clip(motion))
        frames = None if motion is None else len(motion)
        return fill(template.replace("<motion>", _MOTION), caption=caption, codes=codes, frames=frames,
                    rules=self._rules)  # fmt: skip

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
        if isinstance(prompts, str):
            raise TypeError(f"prompts must be a list of sentences; got one string. Use [{prompts!r}].")
        if not prompts:
            raise ValueError("prompts must hold at least one sentence; got none.")
        problems: list[str] = []
        notes: list[dict[str, Any]] = []
        for i, prompt in enumerate(prompts):
            notes.append({"prompt": prompt})
            if prompt is None:
                continue
            words = self.bundle.text.encode(prompt, add_special_tokens=False).ids
            if not prompt.strip():
                problems.append(f"prompt {i} must be a sentence; got an empty one.")
            elif letters := foreign_letters(prompt):
                problems.append(
                    f"prompt {i} must be English; got {prompt!r}, whose letters {letters!r} it cannot read."
                )
            elif not any(w != UNKNOWN for w in words):
                problems.append(
                    f"prompt {i} must hold words that the model knows; got {prompt!r}. Say it in plain English."
                )
            elif plain and any(w >= self.bundle.language_model.config.first_motion for w in words):
                problems.append(f"prompt {i} must be plain text; got motion tokens in {prompt!r}.")
            if unknown := unknown_words(self.bundle.text, prompt):
                notes[-1]["unknown_words"] = unknown
        if problems:
            raise ValueError(" ".join(problems))
        return notes

    # ------------------------------------------------------------------------------------------ what is asked

    @property
    def _own(self) -> bool:
        """The model may only say what the task asks for."""
        return self.bundle.prompts == "own"

    @property
    def _sentences(self) -> Mapping[str, str]:
        return _SENTENCES[self.bundle.prompts]

    @property
    def _rules(self) -> Rules:
        bundle = self.bundle
        return Rules(
            codes=bundle.motion_tokenizer.config.codes,
            fps=bundle.statistics.spec.fps or 20.0,
            frames_per_token=bundle.frames_per_token,
        )

    def _mode(self, asked: str | None, with_frames: bool) -> str:
        if asked is not None and asked not in PROMPT_MODES:
            raise ValueError(f"prompt_mode must be one of {', '.join(PROMPT_MODES)}; got {asked!r}.")
        if asked == "official_len" and not with_frames:
            raise ValueError("frames must be said with prompt_mode official_len; got none. Or use official_nolen.")
        if asked is not None or self._own:
            return asked or "own"
        return "official_len" if with_frames else "official_nolen"

    def _sentence(self, mode: str, prompt: str | None, frames: int | None) -> str:
        """What the model is asked for one motion; lengths are whole tokens where the model must keep to them."""
        if mode == "direct":
            return prompt or ""
        sentences = _SENTENCES["own" if mode == "own" else "official"]
        told = None if mode == "official_nolen" else frames
        if told is not None and self._own:
            told = -(-told // self.bundle.frames_per_token) * self.bundle.frames_per_token
        if prompt is None:
            return fill(sentences["random" if told is None else "length"], frames=told)
        return fill(sentences["t2m" if told is None else "t2m_length"], caption=prompt.strip(), frames=told)

    def _ids(self, text: str) -> tuple[int, ...]:
        return (*self.bundle.text.encode(text, add_special_tokens=False).ids, END)

    def _lengths(self, count: int, frames: Sequence[int] | None) -> list[int | None]:
        """Frames of each motion, or ``None``."""
        if frames is None:
            return [None] * count
        if len(frames) != count:
            raise ValueError(f"lengths must be one a prompt, {count}; got {len(frames)}.")
        low, high = self.frame_range
        fps, problems = self.bundle.statistics.spec.fps, []
        for i, n in enumerate(frames):
            if not low <= n <= high:
                problems.append(
                    f"prompt {i}: the model makes {low} to {high} frames ({low / fps:g} to {high / fps:g} s); got {n}. "
                    f"Nearest: {low if n < low else high}."
                )
        if problems:
            raise ValueError(" ".join(problems))
        return [int(n) for n in frames]

    def _clip(self, motion: Motion | np.ndarray) -> Motion:
        """A motion in the model's representation and frame rate."""
        spec = self.bundle.statistics.spec
        if not isinstance(motion, Motion):
            return Motion(motion, spec, spec.fps)
        if motion.representation.name == spec.name:
            return motion
        return convert(resample(motion, spec.fps), spec)

    # ------------------------------------------------------------------------------------------ what is answered

    def _motion_request(
        self, prompt: tuple[int, ...], frames: int | None, seed: int, blank: tuple[int, ...] | None
    ) -> Request:
        if not self._own:
            return Request(prompt, most=_MOST_MOTION, seed=seed, blank=blank)
        per = self.bundle.frames_per_token
        most = self.frame_range[1] // per if frames is None else -(-frames // per)
        return Request(prompt, (self.bundle.start,), 1 if frames is None else most, most, seed, blank)

    def _say(self, requests: Sequence[Request], kind: str, draws: Draws) -> list[Spoken]:
        """Answers of requests; ``kind`` is what a model of our own may say: ``motion`` or ``text``."""
        config, codes = self.bundle.language_model.config, self.bundle.motion_tokenizer.config.codes
        first = config.first_motion
        stop, words = END, True
        if not self._own:
            choices = torch.arange(config.vocabulary)
        elif kind == "text":
            choices = torch.tensor([i for i in range(first) if i not in (PAD, UNKNOWN)])
        else:
            stop, words = self.bundle.end, False
            choices = torch.tensor([*range(first, first + codes), stop])
        return speak(self.bundle.language_model, requests, choices, stop, draws, text=words)

    def _codes(self, spoken: Spoken, what: str) -> list[int]:
        """The codes of an answer.

        Raises:
            GenerationError: there are none, or there is something else about them.
        """
        if self._own:
            return [token - self.bundle.language_model.config.first_motion for token in spoken.tokens]
        said = self._read(spoken.tokens)
        try:
            return list(parse_answer(said, self.bundle.motion_tokenizer.config.codes).codes)
        except GenerationError as error:
            raise GenerationError(f"{what}: {error}") from error

    def _read(self, tokens: Sequence[int]) -> str:
        """Token ids as text, motion tokens without anything between them."""
        first, parts = self.bundle.language_model.config.first_motion, [[]]  # type: int, list[list[int]]
        for token in tokens:
            if parts[-1] and (parts[-1][-1] >= first) != (token >= first):
                parts.append([])
            parts[-1].append(token)
        decode = self.bundle.text.decode
        return " ".join(
            "".join(map(self.bundle.text.id_to_token, part)) if part[0] >= first else decode(part)
            for part in parts
            if part
        )

    def _origin(self, seed: int) -> dict[str, Any]:
        return {"model": self.bundle.about.get("name", "motiongpt"), "model_hash": self.bundle.hash, "seed": seed}

    # ------------------------------------------------------------------------------------------ what is missing

    def _rest(
        self,
        clip: Motion,
        keep: float,
        keep_seconds: float | None,
        frames: int | None,
        caption: str | None,
        instruction: str | None,
    ) -> Gap:
        """The gap behind the kept start of a clip."""
        kept = _kept(clip, keep, keep_seconds, "keep")
        if frames is None and kept < len(clip):
            frames = len(clip)
        if frames is not None and frames <= kept:
            raise ValueError(f"frames must be above the {kept} that are kept; got {frames}. Keep fewer or ask for more.")
        if caption is not None:
            self.check([caption])
        return Gap(clip.data[:kept], None if frames is None else frames - kept, None, None, caption, instruction)

    def _hole(
        self,
        clip: Motion,
        keep: tuple[float, float],
        keep_seconds: tuple[float, float] | None,
        instruction: str | None,
    ) -> Gap:
        """The gap between the kept ends of a clip."""
        times = (None, None) if keep_seconds is None else keep_seconds
        front, back = (_kept(clip, share, time, "keep") for share, time in zip(keep, times, strict=True))
        if front + back >= len(clip):
            raise ValueError(
                f"keep must leave frames to make; got {front} + {back} of {len(clip)} kept. Keep fewer."
            )
        start = len(clip) - back
        place = place_of(clip.data, start, clip.representation.name)
        return Gap(clip.data[:front], start - front, clip.data[start:], place, None, instruction)

    def _codes_of(self, frames: np.ndarray, behind: bool) -> list[int]:
        """Codes of kept frames: those that touch the gap are all spelled, what is odd is left out at the far end.

        Too few frames for one code are repeated, standing still.
        """
        per, spec = self.bundle.frames_per_token, self.bundle.statistics.spec
        if len(frames) < per:
            still = frames[-1:] if behind else frames[:1]
            still = still.copy()
            still[:, :3] = still[:, spec.channel("velocity").slice] = 0
            still[:, -4:] = 1
            more = np.repeat(still, per - len(frames), 0)
            frames = np.concatenate([frames, more] if behind else [more, frames])
        whole = len(frames) // per * per
        frames = frames[:whole] if behind else frames[len(frames) - whole :]
        return self.bundle.tokenize(Motion(frames, spec, spec.fps))

    def _spelled(self, gap: Gap, at: int) -> tuple[list[int], int | None, list[int]]:
        """Codes before a gap, how many codes fill it, and codes behind it; as many as the model can read at once."""
        per, most = self.bundle.frames_per_token, self.frame_range[1] // self.bundle.frames_per_token
        head = self._codes_of(gap.head, behind=False)
        if gap.frames is None:
            return head[-(most - 1) :], None, []
        made = -(-gap.frames // per)
        room = most - made - (gap.tail is not None)
        if room < 1:
            limit = (most - 1 - (gap.tail is not None)) * per
            raise ValueError(f"motion {at}: the model makes up to {limit} frames at once; got {gap.frames} to make.")
        if gap.tail is None:
            return head[-room:], made, []
        over = made * per - gap.frames  # the last code of the gap also covers this much of the tail
        tail = self._codes_of(gap.tail[over:] if len(gap.tail) > over else gap.tail[-1:], behind=True)
        room += 1
        front = min(len(head), max(room // 2, room - len(tail)))
        return head[-front:], made, tail[: room - front]

    def _gap_request(self, gap: Gap, spelled: tuple[list[int], int | None, list[int]], seed: int) -> Request:
        """What the model is asked for a gap; its answer begins with what is known."""
        bundle, (head, made, tail) = self.bundle, spelled
        codes, per = bundle.motion_tokenizer.config.codes, bundle.frames_per_token
        first = bundle.language_model.config.first_motion
        most = self.frame_range[1] // per - len(head) - len(tail) if made is None else made
        known = (bundle.start, *(first + code for code in head))
        if gap.caption is not None:
            total = None if made is None else (len(head) + made) * per
            prompt = self._sentence("own" if self._own else self._mode(None, total is not None), gap.caption, total)
            return Request(self._ids(prompt), known, made or 1, most, seed)
        hidden = [codes + 2] * (made or 0)
        shown = motion_string([*head, *hidden, *tail] if gap.tail is not None else head, codes)
        template = gap.instruction or self._sentences["pred" if gap.tail is None else "inbetween"]
        for mark in ("<motion>", _MOTION, "<Motion_Placeholder_s1>", "<Motion_Placeholder_Masked>"):
            template = template.replace(mark, shown)
        frames = None if gap.frames is None else len(gap.head) + gap.frames + len(() if gap.tail is None else gap.tail)
        prompt = fill(template, frames=frames, caption=gap.caption, rules=self._rules)
        prefix = known if gap.tail is not None else (bundle.start,)
        return Request(self._ids(prompt), prefix, made or 1, most, seed)

    def _fill(
        self, gaps: Sequence[Gap], clips: Sequence[Motion], seed: int, way: Callable[[Sampling], tuple[Sampling, bool]]
    ) -> list[Motion]:
        """Make what is missing; ``clips`` are what the gaps were taken from."""
        bundle, per = self.bundle, self.bundle.frames_per_token
        sampling, greedy = way(replace(bundle.sampling, guidance=1.0, candidates=1))
        spelled = [self._spelled(gap, at) for at, gap in enumerate(gaps)]
        requests = [self._gap_request(gap, s, seed) for gap, s in zip(gaps, spelled, strict=True)]
        first, codes = bundle.language_model.config.first_motion, bundle.motion_tokenizer.config.codes
        choices = torch.tensor([*range(first, first + codes), bundle.end])
        spoken = speak(bundle.language_model, requests, choices, bundle.end, _draws(sampling, greedy))
        motions = []
        for gap, clip, (head, _, tail), answer in zip(gaps, clips, spelled, spoken, strict=True):
            middle = [token - first for token in answer.tokens]
            frames = len(middle) * per if gap.frames is None else gap.frames
            picture = bundle.detokenize([*head, *middle, *tail]).data
            start, name = len(head) * per, clip.representation.name
            end = start + frames
            after = picture[end] if gap.tail is not None and end < len(picture) else None
            data = complete(
                gap.head, picture[start:end], gap.tail, before=picture[start - 1], after=after, place=gap.place,
                representation=name,
            )  # fmt: skip
            about = {
                "task": "prediction" if gap.tail is None else "in-between", **self._origin(seed), **asdict(sampling),
                "tokens": middle, "kept": [len(gap.head), 0 if gap.tail is None else len(gap.tail)],
            }  # fmt: skip
            if gap.caption is not None:
                about["prompt"] = gap.caption
            motions.append(clip.replace(data=data, about=about))
        return motions


def _draws(sampling: Sampling, greedy: bool) -> Draws:
    return Draws(sampling.guidance, sampling.temperature, sampling.top_p, sampling.top_k, greedy)


def _own_way(
    temperature: float | None, top_p: float | None, greedy: bool
) -> Callable[[Sampling], tuple[Sampling, bool]]:
    """A change of an artifact's sampling by what a request says."""
    given: dict[str, Any] = {"temperature": temperature, "top_p": top_p}
    return lambda own: (replace(own, **{k: v for k, v in given.items() if v is not None}), greedy)


def _motion_or_raise(motion: Motion | GenerationError) -> Motion:
    if isinstance(motion, GenerationError):
        raise motion
    return motion


def _each(values: Sequence[Any] | None, count: int, name: str) -> Sequence[Any]:
    if values is None:
        return [None] * count
    if len(values) != count:
        raise ValueError(f"{name} must be one a motion, {count}; got {len(values)}.")
    return values


def _kept(clip: Motion, share: float, seconds: float | None, what: str) -> int:
    """How many frames a share or a time is, at least 1."""
    if seconds is not None:
        if not 0 < seconds <= clip.seconds:
            raise ValueError(f"{what}_seconds must be above 0 and at most {clip.seconds:g}; got {seconds:g}.")
        return max(1, round(seconds * clip.fps))
    if not 0 < share <= 1:
        raise ValueError(f"{what} must be a share above 0 and at most 1; got {share:g}.")
    return max(1, round(share * len(clip)))
