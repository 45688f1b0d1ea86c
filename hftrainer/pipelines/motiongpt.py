"""MotionGPT: sentences to motions.

The prompt is read by the language model, which answers with motion tokens; the motion tokenizer turns them into frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hftrainer.errors import GenerationError
from hftrainer.models.motion.motiongpt.bundle import MotionGPTBundle, Sampling
from hftrainer.models.text import END, UNKNOWN, foreign_letters, pad, unknown_words
from hftrainer.motion.clip import Motion


class MotionGPTPipeline:
    """Text to motion with a MotionGPT bundle.

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
        self, prompts: Sequence[str], lengths: Sequence[int] | None = None, *, seed: int = 0
    ) -> list[np.ndarray]:
        """Motions of sentences as plain arrays.

        Args:
            prompts: English sentences.
            lengths: frames of each; ``None`` lets the model decide.
            seed: see ``__call__``.

        Returns:
            One float32 ``(T, 263)`` array of hml263 features a prompt.
        """
        return [motion.data.copy() for motion in self(prompts, lengths, seed=seed)]

    @torch.no_grad()
    def __call__(
        self,
        prompts: Sequence[str],
        frames: Sequence[int] | None = None,
        *,
        seed: int = 0,
        samples: int = 1,
        guidance: float | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        candidates: int | None = None,
    ) -> list[Motion]:
        """Motions of sentences.

        Args:
            prompts: English sentences.
            frames: frames of each at 20 fps within ``frame_range``; ``None`` lets the model decide.
            seed: sample ``s`` of any prompt has the generator ``seed + s``, so a prompt gives the same motion alone or
                among others.
            samples: motions per prompt.
            guidance, temperature, top_p, candidates: see ``Sampling``; ``None`` is the artifact's own choice.

        Returns:
            ``len(prompts) * samples`` motions (hml263, 20 fps), all samples of the first prompt first.

        Raises:
            ValueError: a prompt is empty, not English or unknown; a length is out of range. The prompt is named.
            GenerationError: the model answered with no motion.
        """
        notes = self.check(prompts)
        wanted = self._lengths(len(prompts), frames)
        if samples < 1:
            raise ValueError(f"samples must be at least 1; got {samples}.")
        asked: dict[str, Any] = {
            "guidance": guidance,
            "temperature": temperature,
            "top_p": top_p,
            "candidates": candidates,
        }
        sampling = replace(self.bundle.sampling, **{k: v for k, v in asked.items() if v is not None})
        motions = []
        for i, (row, count, note) in enumerate(zip(prompts, wanted, notes, strict=True)):
            for sample in range(samples):
                generator = torch.Generator().manual_seed(seed + sample)
                codes = self._speak(row.strip(), count, generator, sampling)
                if not codes:
                    raise GenerationError(
                        f"prompt {i}: the model answered with no motion tokens. Another seed may help."
                    )
                motion = self.bundle.detokenize(codes)[:count]
                about = {
                    "task": "text-to-motion", "model": self.bundle.about.get("name", "motiongpt"),
                    "model_hash": self.bundle.hash, "seed": seed + sample, **asdict(sampling), "tokens": codes, **note,
                }  # fmt: skip
                motions.append(motion.replace(about=about, name=note["prompt"]))
        return motions

    def check(self, prompts: Sequence[str]) -> list[dict[str, Any]]:
        """Refuse what the model cannot read, before any work is done.

        Args:
            prompts: English sentences.

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
        problems, notes = [], []
        for i, prompt in enumerate(prompts):
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
            elif any(w >= self.bundle.language_model.config.first_motion for w in words):
                problems.append(f"prompt {i} must be plain text; got motion tokens in {prompt!r}.")
            note: dict[str, Any] = {"prompt": prompt}
            if unknown := unknown_words(self.bundle.text, prompt):
                note["unknown_words"] = unknown
            notes.append(note)
        if problems:
            raise ValueError(" ".join(problems))
        return notes

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

    def _speak(self, prompt: str, frames: int | None, generator: torch.Generator, sampling: Sampling) -> list[int]:
        """Codes that answer one prompt; exactly as many as ``frames`` need where it is given.

        Of several candidates the one is kept that speaks most for the prompt: by Bayes' rule log p(prompt | motion) is
        log p(motion | prompt) - log p(motion), up to a constant.
        """
        bundle, network = self.bundle, self.bundle.language_model
        per = bundle.frames_per_token
        if frames is None:
            text, most, fewest = f"generate motion: {prompt}", self.frame_range[1] // per, 1
        else:
            most = fewest = -(-frames // per)
            text = f"generate motion with {most * per} frames: {prompt}"
        count = sampling.candidates
        compare = sampling.guidance != 1.0 or count > 1
        texts = [text, "generate motion:"] if compare else [text]
        rows = [[*bundle.text.encode(t, add_special_tokens=False).ids, END] for t in texts]
        states, mask = network.encode(pad(rows).repeat_interleave(count, 0).to(bundle.device))
        memories, past = network.memories(states), None
        token = torch.tensor([0, bundle.start], device=bundle.device).expand(len(states), 2)
        first, finished = network.config.first_motion, bundle.end - network.config.first_motion
        drawn: list[list[int]] = [[] for _ in range(count)]
        speaking, evidence = [True] * count, [0.0] * count
        for place in range(most):
            hidden, past = network.decode(token, memories, mask, past)
            scores = network.logits(hidden[:, -1], text=False)[:, first : bundle.end + 1].float().cpu()
            scores[:, -2] = -torch.inf  # a motion never starts twice
            if place < fewest:
                scores[:, -1] = -torch.inf
            likely = scores.log_softmax(-1)
            asked, blank = likely[:count], likely[-count:]
            guided = asked if sampling.guidance == 1.0 else _guide(asked, blank, sampling.guidance)
            following = torch.full((count,), finished)
            for i in range(count):
                if speaking[i]:
                    choice = _draw(guided[i] / sampling.temperature, sampling.top_p, generator)
                    evidence[i] += float(asked[i, choice] - blank[i, choice])
                    following[i] = choice
                    speaking[i] = choice != finished
                    if speaking[i]:
                        drawn[i].append(choice)
            if not any(speaking):
                break
            token = (first + following).repeat(len(texts))[:, None].to(bundle.device)
        return drawn[max(range(count), key=evidence.__getitem__)]


def _guide(asked: Tensor, blank: Tensor, guidance: float) -> Tensor:
    """Log-probabilities moved away from those of an empty request; what is impossible stays so."""
    return torch.where(asked.isinf(), asked, blank + guidance * (asked - blank))


def _draw(scores: Tensor, top_p: float, generator: torch.Generator) -> int:
    """One index from the likeliest that together have probability ``top_p``."""
    order = scores.argsort(descending=True, stable=True)
    share = scores[order].softmax(0).double()
    kept = share * ((share.cumsum(0) - share) < top_p)
    edge = float(torch.rand((), generator=generator, dtype=torch.float64)) * float(kept.sum())
    return int(order[int((kept.cumsum(0) > edge).nonzero()[0])])
