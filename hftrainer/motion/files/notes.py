"""What a motion was made from, as formats carry it that have a place for notes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from hftrainer.motion.clip import Motion


def notes(motion: Motion) -> dict[str, Any]:
    """Representation, rate, route and ``about`` of a motion as JSON values.

    Raises:
        ValueError: ``about`` holds something that JSON cannot.

    >>> notes(Motion(np.zeros((1, 263)), "hml263", 20, about={"seed": np.int64(3)}))["about"]
    {'seed': 3}
    """
    return {
        "name": motion.name, "representation": motion.representation.name, "fps": motion.fps,
        "route": list(motion.route), "about": json.loads(about_json(motion)),
    }  # fmt: skip


def about_json(motion: Motion) -> str:
    """``about`` as JSON text, keys in order.

    Raises:
        ValueError: it holds something that JSON cannot.

    >>> about_json(Motion(np.zeros((1, 263)), "hml263", 20, about={"b": 1, "a": "ü"}))
    '{"a": "ü", "b": 1}'
    """
    try:
        return json.dumps(motion.about, ensure_ascii=False, sort_keys=True, default=_plain)
    except TypeError as exc:
        raise ValueError(f"{motion.name}: about must hold JSON values only; {exc}.") from exc


def _plain(value: object) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} is of type {type(value).__name__}")
