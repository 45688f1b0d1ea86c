"""What a mirror does to the numbers of a representation: some change places, some change sign, and nothing else."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from hftrainer.motion.representation.specs import Representation, get_spec
from hftrainer.motion.rotation import (
    matrix_to_rot6d_columns,
    matrix_to_rot6d_interleaved,
    matrix_to_rot6d_rows,
)
from hftrainer.motion.skeleton import SKELETONS

_READ = {
    "columns": matrix_to_rot6d_columns, "interleaved": matrix_to_rot6d_interleaved, "rows": matrix_to_rot6d_rows,
}  # fmt: skip
_ACROSS = np.array([-1.0, 1.0, 1.0])  # x points from right to left, or from left to right
_BABEL = np.array([1.0, -1.0, 1.0])  # the turn that babel135 takes out leaves the body facing along x

#: Channels that are one vector or number of the whole body, with their signs.
_WHOLE = {
    "root_yaw_velocity": _ACROSS[:1], "root_velocity": _ACROSS[:2], "root_height": _ACROSS[1:2], "height": _BABEL[:1],
    "translation": _ACROSS, "step": _ACROSS,
}  # fmt: skip


@lru_cache(maxsize=32)
def mirror_map(name: str) -> tuple[np.ndarray, np.ndarray]:
    """How the numbers of one frame become those of its mirror image: ``mirrored = frame[order] * sign``.

    Args:
        name: a representation.

    Returns:
        ``order`` ``(D,)`` int and ``sign`` ``(D,)`` float32 of 1 and -1, read-only.

    Raises:
        KeyError: an unknown representation.

    >>> order, sign = mirror_map("joints")
    >>> order[:9].tolist(), sign[:3].tolist()
    ([0, 1, 2, 6, 7, 8, 3, 4, 5], [-1.0, 1.0, 1.0])
    """
    spec = get_spec(name)
    orders, signs = [], []
    for channel in spec.channels:
        order, sign = _block(spec, channel.name, channel.width)
        orders.append(order + channel.start)
        signs.append(sign)
    order, sign = np.concatenate(orders), np.concatenate(signs).astype(np.float32)
    order.setflags(write=False)
    sign.setflags(write=False)
    return order, sign


def _block(spec: Representation, channel: str, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Order and signs within one channel."""
    twins = np.array(SKELETONS[spec.skeleton].mirror)
    if channel == "contacts":
        return np.array([2, 3, 0, 1]), np.ones(4)
    if channel in _WHOLE:
        sign = _BABEL[:2] if (spec.name, channel) == ("babel135", "step") else _WHOLE[channel]
        return np.arange(width), sign
    six = _READ[spec.rot6d](np.outer(_ACROSS, _ACROSS)) if spec.rot6d else np.ones(6)
    if channel in ("heading_step", "root_rotation", "root_turn"):
        return np.arange(6), six
    each = six if channel == "rotations" else _ACROSS  # one entry per joint: six numbers or a vector
    count = width // len(each)
    below = twins if count == len(twins) else twins[1:] - 1  # without the root
    order = (below[:, None] * len(each) + np.arange(len(each))).reshape(-1)
    sign = np.tile(each, count)
    if spec.name == "babel135":
        sign[:6] = matrix_to_rot6d_rows(np.outer(_BABEL, _ACROSS))
    return order, sign
