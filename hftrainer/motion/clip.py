"""Motion, the one value that crosses walls: an array that knows what it means."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hftrainer.motion.representation.specs import Representation, get_spec

#: What draws a motion for a notebook, by name: this room knows no pictures, and nothing is loaded before one is shown.
#: A function of a Motion that gives HTML, or ``None`` for a motion that it cannot draw.
PICTURE = "hftrainer.rendering.player:notebook_html"


@dataclass(frozen=True, eq=False, repr=False)
class Motion:
    """A movement of one body: frames of numbers with their meaning and speed.

    Args:
        data: ``(T, D)`` or ``(T, J, 3)`` in the representation's physical units; copied, kept as read-only float32.
        representation: a ``Representation`` or its name.
        fps: frames per second.
        route: names of the representations it came through, oldest first; ``()`` means native.
        about: where it came from (prompt, seed, model, settings); JSON values, stored in files.
        name: what error messages call it.

    Raises:
        KeyError: the representation is unknown.
        ValueError: no frames, a wrong width, a value that is not finite (with its frame), or fps not above 0.

    >>> import numpy as np
    >>> motion = Motion(np.zeros((40, 263)), "hml263", fps=20)
    >>> len(motion), motion.seconds, motion[10:20].data.shape
    (40, 2.0, (10, 263))
    """

    data: np.ndarray
    representation: Representation
    fps: float
    route: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)
    name: str = "motion"

    def __init__(
        self,
        data: Any,
        representation: str | Representation,
        fps: float,
        route: tuple[str, ...] = (),
        about: Mapping[str, Any] | None = None,
        name: str = "motion",
    ) -> None:
        spec = get_spec(representation)
        array = np.array(data, dtype=np.float32)
        if array.ndim == 2 and len(spec.shape) == 2 and array.shape[1] == spec.width:
            array = array.reshape(len(array), *spec.shape)
        if array.shape[1:] != spec.shape or array.ndim != 1 + len(spec.shape):
            want = ", ".join(["T", *map(str, spec.shape)])
            raise ValueError(
                f"{name}: {spec.name} must have shape ({want}); got {array.shape}. "
                "Name the representation that the numbers are in."
            )
        if len(array) == 0:
            raise ValueError(f"{name}: a motion must have at least 1 frame; got 0.")
        bad = ~np.isfinite(array).reshape(len(array), -1).all(axis=1)
        if bad.any():
            raise ValueError(
                f"{name}: every value must be finite; got NaN or infinity in {int(bad.sum())} of {len(array)} frames, "
                f"first in frame {int(bad.argmax())}. Cut or mend the clip."
            )
        fps = float(fps)
        if not (np.isfinite(fps) and fps > 0):
            raise ValueError(f"{name}: fps must be above 0; got {fps}.")
        array.setflags(write=False)
        for key, value in dict(
            data=array, representation=spec, fps=fps, route=tuple(route), about=dict(about or {}), name=name
        ).items():
            object.__setattr__(self, key, value)

    def __len__(self) -> int:
        return len(self.data)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if dtype is not None and np.dtype(dtype) != self.data.dtype:
            return self.data.astype(dtype)
        return self.data.copy() if copy else self.data

    def __getitem__(self, frames: slice) -> Motion:
        """The motion of a span of frames, ``motion[10:50]``."""
        if not isinstance(frames, slice):
            raise TypeError(f"{self.name}: take a span of frames with a slice, motion[10:50]; got {frames!r}.")
        if frames.step not in (None, 1):
            raise ValueError(f"{self.name}: a span must have step 1; got {frames.step}. Use resample to change fps.")
        return self.replace(data=self.data[frames])

    def __repr__(self) -> str:
        route = f", route={'>'.join(self.route)}" if self.route else ""
        return f"Motion({self.representation.name}, {len(self)} frames, {self.fps:g} fps{route})"

    def _repr_html_(self) -> str | None:
        """The motion as a notebook shows it: a player; ``None`` leaves it to ``repr``."""
        html: str | None = pkgutil.resolve_name(PICTURE)(self)
        return html

    @property
    def seconds(self) -> float:
        """Duration: frames divided by fps."""
        return len(self) / self.fps

    def replace(self, **changes: Any) -> Motion:
        """A copy with some fields changed; it is checked like a new one."""
        fields = dict(
            data=self.data, representation=self.representation, fps=self.fps, route=self.route, about=self.about,
            name=self.name,
        )
        return Motion(**{**fields, **changes})

    def save(self, path: Any, **options: Any) -> None:
        """Write the motion to a file; the ending of ``path`` chooses the format (``hftrainer.motion.files``)."""
        from hftrainer.motion.files import save  # files know Motion, so Motion may only meet them when asked

        save(self, path, **options)
