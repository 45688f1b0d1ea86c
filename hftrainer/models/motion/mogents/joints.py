"""Features as an image of joints over time: one row of 12 numbers for each joint.

Legend: ``B`` batch, ``T`` frames, ``J`` joints, ``D = 12 J - 1`` features (263 for 22 joints, 251 for 21).

Source: Yuan et al. 2024 (MoGenTS), section 3.1, and its released code, which shows the grid neither the four root
channels nor the four contacts.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: Numbers of a joint: 3 of its position, 6 of its rotation, 3 of its velocity.
CHANNELS = 12
#: Channels of a frame that come first (root) and last (foot contacts) and belong to no joint.
ROOT, CONTACTS = 4, 4


def count_joints(features: int) -> int:
    """How many joints a frame of so many features has; 0 where it is no such layout.

    >>> count_joints(263), count_joints(251), count_joints(100)
    (22, 21, 0)
    """
    return (features + 1) // 12 if features > 0 and (features + 1) % 12 == 0 else 0


def _blocks(joints: int) -> tuple[slice, slice, slice]:
    """Channels of local positions, rotations, velocities; the first two have no row for the root."""
    positions, rotations, velocities = 4 + 3 * (joints - 1), 4 + 9 * (joints - 1), 4 + 9 * (joints - 1) + 3 * joints
    return slice(4, positions), slice(positions, rotations), slice(rotations, velocities)


def split_joints(features: Tensor) -> Tensor:
    """Features as an image of joints.

    Args:
        features: ``(B, T, D)`` normalised.

    Returns:
        ``(B, T, J, 12)``: local position, 6D rotation, local velocity. The root has its velocity alone, and zeros.

    >>> split_joints(torch.zeros(2, 8, 263)).shape
    torch.Size([2, 8, 22, 12])
    """
    joints = count_joints(features.shape[-1])
    positions, rotations, velocities = (features[..., block] for block in _blocks(joints))
    image = features.new_zeros(*features.shape[:-1], joints, CHANNELS)
    image[..., 1:, :3] = positions.unflatten(-1, (joints - 1, 3))
    image[..., 1:, 3:9] = rotations.unflatten(-1, (joints - 1, 6))
    image[..., 9:] = velocities.unflatten(-1, (joints, 3))
    return image


def join_joints(image: Tensor) -> Tensor:
    """An image of joints as features; of the root's row, numbers 0 to 3 are the root channels and 4 to 7 the contacts.

    Args:
        image: ``(B, T, J, 12)``.

    Returns:
        ``(B, T, D)``.

    >>> x = torch.randn(1, 4, 263)
    >>> bool((join_joints(split_joints(x))[..., 4:-4] == x[..., 4:-4]).all())
    True
    """
    root = image[..., 0, :]
    parts = (image[..., 1:, :3], image[..., 1:, 3:9], image[..., 9:])
    between = [part.flatten(-2) for part in parts]
    return torch.cat([root[..., :ROOT], *between, root[..., ROOT : ROOT + CONTACTS]], -1)


def pose_target(features: Tensor) -> Tensor:
    """``(B, T, D)`` -> the same with root channels and contacts at 0: what the grid is to reconstruct."""
    target = features.clone()
    target[..., :ROOT] = 0
    target[..., -CONTACTS:] = 0
    return target
