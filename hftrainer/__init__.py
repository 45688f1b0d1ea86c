"""hftrainer: human motion and language. A sentence becomes a moving figure; a Motion knows what its numbers mean.

>>> import hftrainer
>>> hftrainer.Motion([[[0.0, 0.9, 0.0]] * 22] * 40, "joints", fps=20).seconds
2.0
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hftrainer.motion.clip import Motion
    from hftrainer.motion.files import load, save
    from hftrainer.motion.representation.convert import convert
    from hftrainer.pipelines.motiongpt import MotionGPTPipeline

__version__ = "0.1.0"
__all__ = ["Motion", "MotionGPTPipeline", "convert", "load", "save"]

_HOMES = {
    "Motion": "hftrainer.motion.clip",
    "MotionGPTPipeline": "hftrainer.pipelines.motiongpt",
    "convert": "hftrainer.motion.representation.convert",
    "load": "hftrainer.motion.files",
    "save": "hftrainer.motion.files",
}


def __getattr__(name: str) -> Any:
    """Fetch a public name from its home on first use, so that ``import hftrainer`` costs next to nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'hftrainer' has no attribute {name!r}; it has {', '.join(__all__)}.")
    return globals().setdefault(name, getattr(import_module(_HOMES[name]), name))


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
