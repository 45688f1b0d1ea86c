"""What a MotionGPT model is asked, and what its answers say."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from hftrainer.errors import GenerationError
from hftrainer.models.motion.motiongpt.answers import Answer, parse_answer
from hftrainer.models.motion.motiongpt.bundle import MotionGPTBundle, Sampling
from hftrainer.models.motion.motiongpt.gpt2 import GPT2
from hftrainer.models.motion.motiongpt.prompts import OFFICIAL_DECODING, Rules, code_token, fill
from hftrainer.models.text import ANSWER, PAD, UNKNOWN
from hftrainer.motion.clip import Motion
from hftrainer.pipelines.decoding import Draws, Request, Spoken, speak

#: How a motion is asked for; without a choice it is the artifact's own way.
PROMPT_MODES = ("own", "official_nolen", "official_len", "direct")
#: Most tokens of an answer, the start left out: motions and captions of the released code, captions of our own models.
_MOST_MOTION, MOST_OFFICIAL_TEXT = (OFFICIAL_DECODING[kind][0] - 1 for kind in ("motion", "caption"))
MOST_TEXT = 40

#: What stands for something else in an instruction.
PLACEHOLDER = re.compile(r"<\w*_Placeholder\w*>")

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


class Speech:
    """Sentences to a bundle's language model, and its answers.

    Args:
        bundle: networks and words.

    Attributes:
        watch: told before every token, if set; see ``decoding.speak``.
    """

    def __init__(self, bundle: MotionGPTBundle) -> None:
        self.bundle = bundle
        self.watch: Callable[[int, int], None] | None = None

    @property
    def own(self) -> bool:
        """The model may only say what the task asks for."""
        return self.bundle.prompts == "own"

    @property
    def sentences(self) -> Mapping[str, str]:
        """What each task is asked with."""
        return _SENTENCES[self.bundle.prompts]

    @property
    def rules(self) -> Rules:
        """The numbers behind the placeholders of this bundle."""
        bundle = self.bundle
        return Rules(
            codes=bundle.motion_tokenizer.config.codes,
            fps=bundle.statistics.spec.fps or 20.0,
            frames_per_token=bundle.frames_per_token,
        )

    def mode(self, asked: str | None, with_frames: bool) -> str:
        """The prompt mode of a request: what it says, or the artifact's own.

        Raises:
            ValueError: an unknown mode, or one that needs a length where there is none.
        """
        if asked is not None and asked not in PROMPT_MODES:
            raise ValueError(f"prompt_mode must be one of {', '.join(PROMPT_MODES)}; got {asked!r}.")
        if asked == "official_len" and not with_frames:
            raise ValueError("frames must be said with prompt_mode official_len; got none. Or use official_nolen.")
        if asked is not None or self.own:
            return asked or "own"
        return "official_len" if with_frames else "official_nolen"

    def sentence(self, mode: str, prompt: str | None, frames: int | None) -> str:
        """What the model is asked for one motion; lengths are whole tokens where the model must keep to them."""
        if mode == "direct":
            return prompt or ""
        sentences = _SENTENCES["own" if mode == "own" else "official"]
        told = None if mode == "official_nolen" else frames
        if told is not None and self.own:
            told = -(-told // self.bundle.frames_per_token) * self.bundle.frames_per_token
        if prompt is None:
            return fill(sentences["random" if told is None else "length"], frames=told)
        return fill(sentences["t2m" if told is None else "t2m_length"], caption=prompt.strip(), frames=told)

    def ids(self, text: str) -> tuple[int, ...]:
        """Token ids of a prompt, with what closes one: the end mark, or what an answer follows."""
        if isinstance(self.bundle.language_model, GPT2):
            return tuple(self.bundle.text.encode(text + ANSWER).ids)
        return (*self.bundle.text.encode(text, add_special_tokens=False).ids, self.bundle.stop)

    def motion_request(
        self, prompt: tuple[int, ...], frames: int | None, seed: int, blank: tuple[int, ...] | None, shortest: int
    ) -> Request:
        """The request for a motion; a model that keeps to ``frames`` makes exactly as many codes as they need.

        Without ``frames`` it makes at least as many as ``shortest`` frames need, and at least one.
        """
        if not self.own:
            return Request(prompt, most=_MOST_MOTION, seed=seed, blank=blank)
        per = self.bundle.frames_per_token
        most = self.bundle.frame_range[1] // per if frames is None else -(-frames // per)
        fewest = min(max(1, -(-shortest // per)), most) if frames is None else most
        return Request(prompt, (self.bundle.start,), fewest, most, seed, blank)

    def say(self, requests: Sequence[Request], kind: str, draws: Draws) -> list[Spoken]:
        """Answers of requests; ``kind`` is what a model of our own may say: ``motion`` or ``text``."""
        config, codes = self.bundle.language_model.config, self.bundle.motion_tokenizer.config.codes
        first = config.first_motion
        stop, words = self.bundle.stop, True
        if not self.own:
            choices = torch.arange(config.vocabulary)
        elif kind == "text":
            choices = torch.tensor([i for i in range(first) if i not in (PAD, UNKNOWN)])
        else:
            stop, words = self.bundle.end, False
            choices = torch.tensor([*range(first, first + codes), stop])
        return speak(self.bundle.language_model, requests, choices, stop, draws, text=words, watch=self.watch)

    def answer(self, spoken: Spoken, what: str) -> Answer:
        """The codes of an answer, and the words around them.

        Raises:
            GenerationError: there are none, or there is something else about them.
        """
        if self.own:
            first = self.bundle.language_model.config.first_motion
            return Answer([token - first for token in spoken.tokens], _MOTION)
        said = self.read(spoken.tokens)
        try:
            return parse_answer(said, self.bundle.motion_tokenizer.config.codes)
        except GenerationError as error:
            raise GenerationError(f"{what}: {error}") from error

    def read(self, tokens: Sequence[int]) -> str:
        """Token ids as text, motion tokens without anything between them."""
        first, parts = self.bundle.language_model.config.first_motion, [[]]  # type: int, list[list[int]]
        for token in tokens:
            if parts[-1] and (parts[-1][-1] >= first) != (token >= first):
                parts.append([])
            parts[-1].append(token)
        decode = self.bundle.text.decode
        return " ".join(
            "".join(code_token(token - first) for token in part) if part[0] >= first else decode(part)
            for part in parts
            if part
        )

    def origin(self, seed: int) -> dict[str, Any]:
        """What a result notes about where it came from."""
        return {"model": self.bundle.about.get("name", "motiongpt"), "model_hash": self.bundle.hash, "seed": seed}

    def filled(self, template: str, motion: Motion | None = None, caption: str | None = None) -> str:
        """An instruction with a motion and a caption put in place of its placeholders.

        Args:
            template: with any placeholder of ``models.motion.motiongpt.prompts``, or ``<motion>`` for the whole motion.
            motion: what the motion, frame and second placeholders stand for.
            caption: what ``<Caption_Placeholder>`` stands for.

        Raises:
            ValueError: the template asks for something that is not given.
        """
        codes = None if motion is None else self.bundle.tokenize(motion)
        frames = None if motion is None else len(motion)
        return fill(template.replace("<motion>", _MOTION), caption=caption, codes=codes, frames=frames,
                    rules=self.rules)  # fmt: skip


def draws_of(sampling: Sampling, greedy: bool) -> Draws:
    """How tokens are chosen, for the decoding loop."""
    return Draws(sampling.guidance, sampling.temperature, sampling.top_p, sampling.top_k, greedy)
