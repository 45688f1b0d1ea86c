"""Worlds whose +Z points up, and how to come from them into ours, whose +Y does: ``ours = matrix @ theirs``."""

from __future__ import annotations

import numpy as np


def _frozen(*rows: tuple[float, float, float]) -> np.ndarray:
    matrix = np.array(rows, dtype=np.float64)
    matrix.setflags(write=False)
    return matrix


#: A quarter turn about +X: ``(x, y, z)`` becomes ``(x, z, -y)``. InterHuman and BABEL are read so.
Z_UP_TO_Y_UP = _frozen((1, 0, 0), (0, 0, 1), (0, -1, 0))

#: ``(x, y, z)`` becomes ``(-x, z, y)``: a body that faces +Y, its right at +X, comes to face +Z, its left at +X. DART's
#: clips begin facing +Y, so this is the way from DART.
FACING_Y_TO_FACING_Z = _frozen((-1, 0, 0), (0, 0, 1), (0, 1, 0))
