"""A recorded body of any shape: joint names, parents, offsets, and how it turned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hftrainer.motion.rotation import euler_to_matrix

#: Joints of one figure; hands and a face have some hundreds.
MOST_JOINTS = 4096
_SMALL = 2**20  # joints times frames that any file may have


def turns(angles: np.ndarray, order: str) -> np.ndarray:
    """Rotation by one to three angles about moving axes, the first letter of ``order`` first.

    Args:
        angles: ``(..., n)`` radians.
        order: ``n`` different letters of ``XYZ``.

    Returns:
        ``(..., 3, 3)`` matrices.
    """
    rest = "".join(axis for axis in "XYZ" if axis not in order)
    padding = np.zeros((*angles.shape[:-1], len(rest)))
    return euler_to_matrix(np.concatenate([angles, padding], axis=-1), order + rest)


def check_room(frames: int, joints: int, numbers: int, name: str) -> None:
    """Refuse a file whose movement takes memory that its numbers do not fill: joints without channels cost no bytes.

    Args:
        frames, joints: of the movement.
        numbers: how many numbers the file has for it.
        name: what the error message calls the file.

    Raises:
        ValueError: it takes too much.

    >>> check_room(1000, 60, 60_000, "walk.bvh")
    """
    if joints > MOST_JOINTS or frames * joints > _SMALL + 4 * numbers:
        raise ValueError(
            f"{name}: a figure must have at most {MOST_JOINTS} joints, and most of them must move; "
            f"got {joints} joints and {numbers} numbers in {frames} frames. The file is damaged."
        )


@dataclass(frozen=True, eq=False)
class Figure:
    """A tree of joints as a capture file draws it.

    Attributes:
        names: joint names, parents before children; the far end of a last bone is called ``"NAME@end"``.
        parents: index of each joint's parent, -1 for the root.
        offsets: ``(J, 3)`` position of each joint in its parent's axes, in metres or in the file's unit.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: np.ndarray

    def index(self, name: str) -> int:
        """Where joint ``name`` stands; a ``KeyError`` lists the names there are."""
        if name not in self.names:
            raise KeyError(f"the figure has no joint {name!r}; it has {', '.join(self.names)}.")
        return self.names.index(name)

    def global_rotations(self, local: np.ndarray) -> np.ndarray:
        """``(T, J, 3, 3)`` rotations in the world from ``(T, J, 3, 3)`` rotations relative to the parent."""
        world = np.empty_like(local)
        for joint, parent in enumerate(self.parents):
            world[:, joint] = local[:, joint] if parent < 0 else world[:, parent] @ local[:, joint]
        return world

    def positions(self, world: np.ndarray, translation: np.ndarray) -> np.ndarray:
        """Joint positions from rotations in the world.

        Args:
            world: ``(T, J, 3, 3)`` rotations in the world.
            translation: ``(T, 3)`` root position, in the unit of ``offsets``.

        Returns:
            ``(T, J, 3)`` positions in the same unit.

        >>> figure = Figure(("hip", "knee"), (-1, 0), np.array([[0, 0, 0], [0, -0.4, 0]]))
        >>> figure.positions(np.tile(np.eye(3), (1, 2, 1, 1)), np.array([[0, 1.0, 0]]))[0, 1].tolist()
        [0.0, 0.6, 0.0]
        """
        at = np.empty((*world.shape[:2], 3))
        for joint, parent in enumerate(self.parents):
            if parent < 0:
                at[:, joint] = translation
            else:
                at[:, joint] = at[:, parent] + world[:, parent] @ self.offsets[joint]
        return at


@dataclass(frozen=True, eq=False)
class Recording:
    """A figure and its movement, as read from one file.

    Attributes:
        figure: the body; ``offsets`` in the file's unit.
        rotations: ``(T, J, 3, 3)`` rotation of each joint relative to its parent.
        translation: ``(T, 3)`` root position in the file's unit.
        fps: frames per second; 0 when the file does not say.
    """

    figure: Figure
    rotations: np.ndarray
    translation: np.ndarray
    fps: float
