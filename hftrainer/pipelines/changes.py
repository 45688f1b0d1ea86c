"""What is to be changed of a motion: which frames, which features, and where what follows must stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hftrainer.pipelines.denoising import Drawn, Job
from hftrainer.pipelines.gaps import Gap
from hftrainer.pipelines.joining import Place, complete, place_of


@dataclass(frozen=True)
class Change:
    """A motion with frames, or features of frames, that are to be made.

    Attributes:
        rows: ``(T, D)`` physical features; those that are to be made may hold anything.
        start, stop: first frame that is made, and first one behind it that is not.
        columns: ``(D,)`` bool, which features are made in those frames.
        prompt: what it shall be, or ``None``.
        place: where frame ``stop`` stands in the world of the first frame; ``None`` lets the path go on as made.
        representation: of ``rows``.
    """

    rows: np.ndarray
    start: int
    stop: int
    columns: np.ndarray
    prompt: str | None = None
    place: Place | None = None
    representation: str = "hml263"

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop <= len(self.rows):
            raise ValueError(
                f"a span must lie within 0 and {len(self.rows)} frames and hold at least 1; "
                f"got {self.start} to {self.stop}."
            )

    @property
    def kept(self) -> np.ndarray:
        """``(T, D)`` bool, True where a number stays as it is."""
        mask = np.ones(self.rows.shape, dtype=bool)
        mask[self.start : self.stop, self.columns] = False
        return mask

    def window(self, most: int) -> tuple[int, int]:
        """The frames around the change that a model can look at, as many before it as behind it where both are there.

        Args:
            most: frames that the model looks at.

        Raises:
            ValueError: more is to be made than that.
        """
        made, total = self.stop - self.start, len(self.rows)
        if made > most:
            raise ValueError(f"the model makes up to {most} frames at once; got {made} to make. Change fewer.")
        before, behind = self.start, total - self.stop
        room = min(most - made, before + behind)
        if before + behind and not room:
            raise ValueError(
                f"the model looks at up to {most} frames at once; got {made} to make, which leaves none to go by. "
                "Change fewer."
            )
        front = min(before, max(room // 2, room - behind))
        return self.start - front, self.stop + (room - front)

    def job(self, most: int, seed: int | None) -> Job:
        """What the model is asked.

        Raises:
            ValueError: as ``window``.
        """
        low, high = self.window(most)
        return Job(self.prompt, high - low, seed, self.rows[low:high], self.kept[low:high])

    def done(self, drawn: Drawn, most: int, *, mended: bool = True) -> np.ndarray:
        """The whole motion with what was made in its place.

        Args:
            drawn: the model's answer to ``job``.
            most: as it was given to ``job``.
            mended: seams are blended, what follows lands at its place, and velocities and contacts of what was made are
                measured from how its joints move; otherwise frames are laid one after the other as they were drawn.

        Returns:
            ``(T, D)`` float32; what was kept is the same bits.
        """
        low, _ = self.window(most)
        start, stop = self.start - low, self.stop - low
        head, made = self.rows[: self.start], drawn.made[start:stop]
        tail = self.rows[self.stop :] if self.stop < len(self.rows) else None
        if not mended:
            parts = [head, made] if tail is None else [head, made, tail]
            return np.concatenate(parts).astype(np.float32)
        return complete(
            head, made, tail,
            before=drawn.picture[start - 1] if start else None,
            after=drawn.picture[stop] if tail is not None else None,
            place=self.place, representation=self.representation, columns=self.columns,
        )  # fmt: skip


def change_of_gap(gap: Gap, representation: str) -> Change:
    """The same as what a gap asks for.

    >>> hole = Gap(np.zeros((4, 263)), 2, np.zeros((3, 263)))
    >>> change = change_of_gap(hole, "hml263")
    >>> len(change.rows), change.start, change.stop
    (9, 4, 6)
    """
    width = gap.head.shape[1]
    hidden = np.zeros((gap.frames or 0, width), dtype=np.float32)
    rows = np.concatenate([gap.head, hidden, gap.tail if gap.tail is not None else hidden[:0]])
    start, everything = len(gap.head), np.ones(width, dtype=bool)
    return Change(rows, start, start + len(hidden), everything, gap.caption, gap.place, representation)


def change_of_part(
    rows: np.ndarray,
    columns: np.ndarray,
    span: Sequence[int] | None,
    prompt: str | None,
    representation: str,
) -> Change:
    """Some features of some frames, where what follows stays where it was in the world.

    Args:
        rows: ``(T, D)`` physical features of the motion as it is.
        columns: ``(D,)`` bool, which are made.
        span: first frame that is made, and first one that is not; ``None`` is all.
        prompt: what it shall be, or ``None``.
        representation: of ``rows``.

    Raises:
        ValueError: a span that is empty or leaves the motion.
    """
    start, stop = (0, len(rows)) if span is None else (int(span[0]), int(span[1]))
    change = Change(rows, start, stop, columns, prompt, None, representation)
    if stop == len(rows):
        return change
    return Change(rows, start, stop, columns, prompt, place_of(rows, stop, representation), representation)
