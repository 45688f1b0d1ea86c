"""What is missing of a motion: the frames behind a kept start, or between two kept ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch

from hftrainer.models.motion.motiongpt.bundle import Sampling
from hftrainer.models.motion.motiongpt.prompts import fill, motion_string
from hftrainer.motion.clip import Motion
from hftrainer.pipelines.decoding import Request, speak
from hftrainer.pipelines.joining import Place, complete, joints_in_world, place_of
from hftrainer.pipelines.speech import Speech, draws_of


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


def rest_of(
    clip: Motion,
    keep: float = 0.2,
    keep_seconds: float | None = None,
    frames: int | None = None,
    caption: str | None = None,
) -> Gap:
    """The gap behind the kept start of a clip; the arguments are those of ``CompletingPipeline.predict``.

    >>> gap = rest_of(Motion(np.zeros((60, 263)), "hml263", 20), keep=0.2)
    >>> len(gap.head), gap.frames
    (12, 48)
    """
    kept = _kept(clip, keep, keep_seconds)
    if frames is None and kept < len(clip):
        frames = len(clip)
    if frames is not None and frames <= kept:
        raise ValueError(f"frames must be above the {kept} that are kept; got {frames}. Keep fewer, or make more.")
    return Gap(clip.data[:kept], None if frames is None else frames - kept, caption=caption)


def hole_of(
    clip: Motion,
    keep: tuple[float, float] = (0.25, 0.25),
    keep_seconds: tuple[float, float] | None = None,
) -> Gap:
    """The gap between the kept ends of a clip; the arguments are those of ``CompletingPipeline.inbetween``.

    >>> gap = hole_of(Motion(np.zeros((60, 263)), "hml263", 20))
    >>> len(gap.head), gap.frames, len(gap.tail), gap.place
    (15, 30, 15, Place(x=0.0, z=0.0, heading=0.0))
    """
    times = (None, None) if keep_seconds is None else keep_seconds
    front, back = (_kept(clip, share, time) for share, time in zip(keep, times, strict=True))
    if front + back >= len(clip):
        raise ValueError(f"keep must leave frames to make; got {front} + {back} of {len(clip)} kept. Keep fewer.")
    start = len(clip) - back
    place = place_of(clip.data, start, clip.representation.name)
    return Gap(clip.data[:front], start - front, clip.data[start:], place)


def _kept(clip: Motion, share: float, seconds: float | None) -> int:
    """How many frames a share or a time is, at least 1."""
    if seconds is not None:
        if not 0 < seconds <= clip.seconds:
            raise ValueError(f"keep_seconds must be above 0 and at most {clip.seconds:g}; got {seconds:g}.")
        return max(1, round(seconds * clip.fps))
    if not 0 < share <= 1:
        raise ValueError(f"keep must be a share above 0 and at most 1; got {share:g}.")
    return max(1, round(share * len(clip)))


class GapFiller:
    """Makes what is missing with a language model.

    Args:
        speech: the bundle's way to ask and answer.
    """

    def __init__(self, speech: Speech) -> None:
        self.speech, self.bundle = speech, speech.bundle

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
        per, most = self.bundle.frames_per_token, self.bundle.frame_range[1] // self.bundle.frames_per_token
        head = self._codes_of(gap.head, behind=False)
        if gap.frames is None:
            return head[-(most - 1) :], None, []
        made = -(-gap.frames // per)
        if made > most:
            raise ValueError(
                f"motion {at}: the model makes up to {most * per} frames at once; got {gap.frames} to make. Keep more."
            )
        room = max(most - made, 1 if gap.tail is None else 2)  # a code of what is kept is always read
        if gap.tail is None:
            return head[-room:], made, []
        over = made * per - gap.frames  # the last code of the gap also covers this much of the tail
        tail = self._codes_of(gap.tail[over:] if len(gap.tail) > over else gap.tail[-1:], behind=True)
        front = min(len(head), max(room // 2, room - len(tail)))
        return head[-front:], made, tail[: room - front]

    def _gap_request(self, gap: Gap, spelled: tuple[list[int], int | None, list[int]], seed: int) -> Request:
        """What the model is asked for a gap; its answer begins with what is known."""
        bundle, (head, made, tail) = self.bundle, spelled
        codes, per = bundle.motion_tokenizer.config.codes, bundle.frames_per_token
        first = bundle.language_model.config.first_motion
        most = self.bundle.frame_range[1] // per - len(head) - len(tail) if made is None else made
        known = (bundle.start, *(first + code for code in head))
        if gap.caption is not None:
            total = None if made is None else (len(head) + made) * per
            prompt = self.speech.sentence(self.speech.mode(None, total is not None), gap.caption, total)
            return Request(self.speech.ids(prompt), known, made or 1, most, seed)
        hidden = [codes + 2] * (made or 0)
        shown = motion_string([*head, *hidden, *tail] if gap.tail is not None else head, codes)
        template = gap.instruction or self.speech.sentences["pred" if gap.tail is None else "inbetween"]
        for mark in ("<motion>", "<Motion_Placeholder>", "<Motion_Placeholder_s1>", "<Motion_Placeholder_Masked>"):
            template = template.replace(mark, shown)
        frames = None if gap.frames is None else len(gap.head) + gap.frames + len(() if gap.tail is None else gap.tail)
        prompt = fill(template, frames=frames, caption=gap.caption, rules=self.speech.rules)
        # Read as what the model itself has said so far, what is kept holds it better than as a question alone.
        prefix = known if self.speech.own or gap.tail is not None else (bundle.start,)
        return Request(self.speech.ids(prompt), prefix, made or 1, most, seed)

    def fill(
        self, gaps: Sequence[Gap], clips: Sequence[Motion], *, seed: int, sampling: Sampling, greedy: bool = False
    ) -> list[Motion]:
        """Make what is missing, all of it together.

        Args:
            gaps: what is kept, and how much is to be made.
            clips: what the gaps were taken from; the results are named like them.
            seed: of each gap's own generators: candidate ``c`` of ``n`` has ``seed * n + c``.
            sampling: how tokens are drawn, and how many candidates; guidance does not count.
            greedy: always the likeliest token; one candidate, because all would be the same.

        Returns:
            One whole motion a gap; kept frames are the same bits.

        Raises:
            ValueError: more is to be made than the model can, or an instruction that cannot be filled in.
        """
        bundle, count = self.bundle, 1 if greedy else sampling.gap_candidates
        sampling = replace(sampling, guidance=1.0)
        spelled = [self._spelled(gap, at) for at, gap in enumerate(gaps)]
        asked = [self._gap_request(gap, s, seed * count % 2**62) for gap, s in zip(gaps, spelled, strict=True)]
        requests = [replace(request, seed=request.seed + c) for request in asked for c in range(count)]
        first, codes = bundle.language_model.config.first_motion, bundle.motion_tokenizer.config.codes
        choices = torch.tensor([*range(first, first + codes), bundle.end])
        spoken = speak(bundle.language_model, requests, choices, bundle.end, draws_of(sampling, greedy))
        motions = []
        for at, (gap, clip, parts) in enumerate(zip(gaps, clips, spelled, strict=True)):
            answers = spoken[at * count : (at + 1) * count]
            name, begin = clip.representation.name, len(gap.head)
            tokens = [[token - first for token in answer.tokens] for answer in answers]
            chosen = 0
            if count > 1:
                rows = bundle.detokenize_together([self._codes(parts, codes) for codes in tokens])
                drafts = [self._whole(gap, parts, row.data, name) for row in rows]
                chosen = medoid([joints_in_world(data, name)[begin : len(data) - _behind(gap)] for data in drafts])
            # Decoded alone, so that it is to the bit what a single candidate with its seed would be.
            picture = bundle.detokenize(self._codes(parts, tokens[chosen])).data
            about = {
                "task": "prediction" if gap.tail is None else "in-between",
                **self.speech.origin(seed), **asdict(sampling), "gap_candidates": count,
                "tokens": tokens[chosen], "kept": [begin, _behind(gap)],
            }  # fmt: skip
            if gap.caption is not None:
                about["prompt"] = gap.caption
            motions.append(clip.replace(data=self._whole(gap, parts, picture, name), about=about))
        return motions

    @staticmethod
    def _codes(spelled: tuple[list[int], int | None, list[int]], middle: list[int]) -> list[int]:
        """Codes of a whole motion: what is kept, as far as it was spelled, and what was made between."""
        return [*spelled[0], *middle, *spelled[2]]

    def _whole(
        self, gap: Gap, spelled: tuple[list[int], int | None, list[int]], picture: np.ndarray, representation: str
    ) -> np.ndarray:
        """``(T, D)`` features of a whole motion: what is made in the model's picture of it, between what is kept."""
        start = len(spelled[0]) * self.bundle.frames_per_token
        end = len(picture) if gap.frames is None else start + gap.frames
        after = picture[end] if gap.tail is not None and end < len(picture) else None
        return complete(
            gap.head, picture[start:end], gap.tail, before=picture[start - 1], after=after, place=gap.place,
            representation=representation,
        )  # fmt: skip


def _behind(gap: Gap) -> int:
    """How many frames are kept behind a gap."""
    return 0 if gap.tail is None else len(gap.tail)


def medoid(bodies: Sequence[np.ndarray]) -> int:
    """Which of several motions is nearest to all of them: the one to be expected, and still one that was made.

    The mean over frames of the distance between poses in the world is compared, where lengths differ over the frames
    that two have in common. Choosing so is decoding for the least expected error, not for the greatest likelihood.

    Args:
        bodies: ``(T, J, 3)`` joint positions of each.

    Returns:
        Its index; the first of several that are as near.

    Source:
        Kumar & Byrne 2004, "Minimum Bayes-risk decoding for statistical machine translation".

    >>> medoid([np.full((4, 22, 3), place) for place in (0.0, 1.0, 9.0)])
    1
    """
    apart = np.zeros(len(bodies))
    for i, one in enumerate(bodies):
        for k in range(i + 1, len(bodies)):
            frames = min(len(one), len(bodies[k]))
            step = np.linalg.norm((one[:frames] - bodies[k][:frames]).reshape(frames, -1), axis=1).mean()
            apart[[i, k]] += step
    return int(apart.argmin())
