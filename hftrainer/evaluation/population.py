"""The stretches of a dataset that a measurement is about."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hftrainer.data.humanml3d import Caption, HumanML3D
from hftrainer.motion.clip import Motion

#: Fewest frames of a clip that counts, by representation, and most: those of the published protocols.
SHORTEST, LONGEST = {"hml263": 40, "kit251": 24}, 199
#: Motions are cut to whole tokens of the evaluator and of the published tokenizer.
_UNIT = 4
#: How CMU's and ACCAD's captures are called, mirrored ones too.
_PERFORMER = re.compile(r"M?(cmu_\d+|accad_[a-z]+\d+)_")


@dataclass(frozen=True, eq=False)
class Sample:
    """A stretch of movement that is measured.

    Attributes:
        id: the clip's name; with ``#1``, ``#2``, … for a captioned part of it.
        motion: hml263 or kit251, a whole number of four frames.
        captions: what is said of just this stretch, at least one.
    """

    id: str
    motion: Motion
    captions: tuple[Caption, ...]


def population(dataset: HumanML3D, split: str = "test", limit: int | None = None) -> list[Sample]:
    """The stretches of a split that count.

    Clips of ``SHORTEST`` to ``LONGEST`` frames, cut to whole fours, with the captions that describe the whole of them,
    and as samples of their own the parts of clips that have captions, of the same lengths. What has no caption is left
    out.

    Args:
        dataset: the folder.
        split: one of its lists.
        limit: take the first so many.

    Raises:
        KeyError: there is no such split.
        ValueError: a clip is damaged, or nothing is left.

    ``limit`` counts samples in file order, so that a short run measures what a longer one begins with.
    """
    found: list[Sample] = []
    for clip in dataset.clips(split):
        if limit is not None and len(found) >= limit:
            break
        shortest = SHORTEST[clip.motion.representation.name]
        if not shortest <= len(clip.motion) <= LONGEST:
            continue
        whole = tuple(caption for caption in clip.captions if caption.whole)
        if whole:
            found.append(Sample(clip.id, _cut(clip.motion), whole))
        parts = [caption for caption in clip.captions if not caption.whole]
        for number, caption in enumerate(parts, 1):
            part = slice(int(caption.start * clip.motion.fps), int(caption.end * clip.motion.fps))
            if shortest <= len(clip.motion.data[part]) <= LONGEST:
                found.append(Sample(f"{clip.id}#{number}", _cut(clip.motion[part]), (caption,)))
    if not found:
        limits = " or ".join(f"{least} ({name})" for name, least in SHORTEST.items())
        raise ValueError(
            f"the split {split!r} must hold clips of {limits} to {LONGEST} frames with captions; it holds none."
        )
    return found[:limit]


def _cut(motion: Motion) -> Motion:
    return motion[: len(motion) // _UNIT * _UNIT]


def performer(clip: str) -> str | None:
    """Who moves in a clip of CMU's or ACCAD's captures, by its name; ``None`` where a name does not say.

    >>> performer("Mcmu_07_12_00000_00160"), performer("accad_male2_c15_runturnright45"), performer("000021")
    ('cmu_07', 'accad_male2', None)
    """
    found = _PERFORMER.match(clip)
    return found and found[1]
