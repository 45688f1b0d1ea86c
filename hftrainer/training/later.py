"""Features that are read when a batch wants them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor

from hftrainer.data.packed import Rows


class Later:
    """Normalised features of a clip, or of a stretch of it, that are read where they are cut.

    Args:
        rows: ``(T, D)`` physical features, unread.
        normal: makes ``(t, D)`` physical numbers normalised ones.
        start, stop: the stretch; by default the whole clip.
    """

    def __init__(
        self, rows: Rows, normal: Callable[[np.ndarray], Tensor], start: int = 0, stop: int | None = None
    ) -> None:
        self._rows, self._normal = rows, normal
        self._start, self._stop, _ = slice(start, stop).indices(len(rows))

    def __len__(self) -> int:
        return max(0, self._stop - self._start)

    def __getitem__(self, frames: slice) -> Tensor:
        start, stop, _ = frames.indices(len(self))
        return self._normal(self._rows[self._start + start : self._start + stop])
