"""What pipelines have in common that make what is missing of a motion: prediction and in-between."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hftrainer.models.hub import push_saved
from hftrainer.motion.clip import Motion
from hftrainer.pipelines.gaps import Gap, hole_of, rest_of
from hftrainer.pipelines.joining import Place
from hftrainer.pipelines.requests import each, features


class CompletingPipeline(ABC):
    """Tasks that keep the start, or both ends, of a motion and make the rest, whatever makes it.

    A pipeline says how gaps are filled (``_fill``); its class says which settings it takes for that.

    Attributes:
        bundle: networks and statistics.
    """

    bundle: Any

    @abstractmethod
    def _fill(
        self, gaps: Sequence[Gap], clips: Sequence[Motion], seed: int | None, drawing: dict[str, Any]
    ) -> list[Motion]:
        """Whole motions, what was missing made together."""

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the bundle to a folder that ``from_pretrained`` reads."""
        self.bundle.save_pretrained(folder)

    push_to_hub = push_saved

    @property
    def frame_range(self) -> tuple[int, int]:
        """Fewest and most frames that may be asked for."""
        found: tuple[int, int] = self.bundle.frame_range
        return found

    @property
    def fps(self) -> float:
        """Frames per second of what it makes."""
        return float(self.bundle.statistics.spec.fps)

    def features(self, motion: Motion | np.ndarray) -> Motion:
        """A motion in the model's representation and at its frame rate.

        Args:
            motion: in any representation with a road to the model's; an array is taken to be in the model's.

        Raises:
            NoRouteError: there is no such road.
            ValueError: an array of another shape, or a clip that cannot be encoded.
        """
        return features(motion, self.bundle.statistics.spec)

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
            frames: of the whole result; ``None`` is the length of ``motion``, or, where all of it is kept, what a
                model decides that can. A network that continues makes any number.
            caption: what the motion shall be.
            seed: of the draws.
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
        """How motions go on, as plain arrays; see ``predict``. They are made together.

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
            caption: what the motion shall be, to a model that reads one here.
            seed: of the draws.
            drawing: settings, see the class.

        Returns:
            The kept frames, the same bits, with made ones between them. Of the hidden frames only their sum is read:
            where the kept end stands.

        Raises:
            ValueError: an end without a frame, nothing hidden, or more than the model can make.
        """
        clip = self.features(motion)
        if second is None:
            if gap is not None or place is not None:
                raise ValueError("gap and place must come with a second motion; got one motion. Give keep instead.")
            hole = hole_of(clip, keep, keep_seconds)
        else:
            if gap is None:
                raise ValueError("gap must be the seconds between two motions; got none. Say it.")
            made = round(gap * clip.fps)
            if made < 1:
                raise ValueError(f"gap must be at least {1 / clip.fps:g} s; got {gap:g}.")
            hole = Gap(clip.data, made, self.features(second).data, place)
        return self._fill([replace(hole, caption=caption)], [clip], seed, drawing)[0]

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
        """What happens between the ends of motions, as plain arrays; see ``inbetween``. They are made together.

        Returns:
            One float32 ``(T, D)`` array a motion.
        """
        clips = [self.features(m) for m in motions]
        said = each(captions, len(clips), "captions")
        gaps = [replace(hole_of(c, keep, keep_seconds), caption=s) for c, s in zip(clips, said, strict=True)]
        return [motion.data.copy() for motion in self._fill(gaps, clips, seed, drawing)]
