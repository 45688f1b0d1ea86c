"""Which numbers of a motion an edit keeps: the features of some joints, the frames around a gap, or both.

Masks are True where a number is kept. Source: Tevet et al. 2023, section 3 (motion editing); the layout of hml263 and
kit251 is ``hftrainer.motion.representation.specs``.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from hftrainer.motion.representation.specs import get_spec
from hftrainer.motion.skeleton import KIT21, SMPL22

#: Joints whose features the authors' ``upper_body`` keeps: pelvis, legs, feet.
LOWER_BODY = tuple(
    SMPL22.joints.index(name)
    for name in ("pelvis", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
                 "left_foot", "right_foot")
)  # fmt: skip
UPPER_BODY = tuple(sorted(set(range(22)) - set(LOWER_BODY)))


def joint_features(joints: Collection[int], representation: str = "hml263") -> Tensor:
    """Which features of a frame tell of these joints.

    Args:
        joints: indices. The root, 0, has the first four features (its turn, speed and height) and a velocity; every
            other joint a position, a rotation and a velocity; a foot its contact.
        representation: ``hml263`` or ``kit251``.

    Returns:
        ``(D,)`` bool.

    Raises:
        ValueError: a joint that the body does not have.

    >>> int(joint_features(LOWER_BODY).sum())
    107
    """
    spec = get_spec(representation)
    skeleton = SMPL22 if spec.skeleton == "smpl22" else KIT21
    wrong = sorted(set(joints) - set(range(len(skeleton.joints))))
    if wrong:
        raise ValueError(f"joints must be 0 to {len(skeleton.joints) - 1}; got {', '.join(map(str, wrong))}.")
    mask = torch.zeros(spec.width, dtype=torch.bool)
    where = {channel.name: channel.start for channel in spec.channels}
    for joint in joints:
        velocity = where["velocity"] + 3 * joint
        mask[velocity : velocity + 3] = True
        if joint == 0:
            mask[: where["ric"]] = True
            continue
        position, rotation = where["ric"] + 3 * (joint - 1), where["rotations"] + 6 * (joint - 1)
        mask[position : position + 3] = True
        mask[rotation : rotation + 6] = True
        if joint in skeleton.feet:
            mask[where["contacts"] + skeleton.feet.index(joint)] = True
    return mask


def root_path_features(representation: str = "hml263") -> Tensor:
    """``(D,)`` bool, the root's turn and its speed over the ground: what the authors call the horizontal root.

    >>> root_path_features().nonzero().flatten().tolist()
    [0, 1, 2]
    """
    spec = get_spec(representation)
    mask = torch.zeros(spec.width, dtype=torch.bool)
    mask[: spec.channel("root_height").start] = True
    return mask


def gap(length: int, before: float = 0.25, after: float = 0.75) -> tuple[int, int]:
    """First frame that is made, and first frame behind it that is kept again, as the authors round them.

    Args:
        length: frames of the motion.
        before, after: where the gap begins and ends, as parts of the length.

    Raises:
        ValueError: parts that leave no order from 0 to 1.

    >>> gap(59)
    (14, 44)
    """
    if not 0 <= before <= after <= 1:
        raise ValueError(f"a gap must begin and end in order between 0 and 1; got {before} and {after}.")
    return int(before * length), int(after * length)


def frames_around(gaps: Sequence[tuple[int, int]], frames: int) -> Tensor:
    """Which frames are kept around each sample's gap, padding included.

    Args:
        gaps: of each sample, as ``gap`` gives them.
        frames: ``T``.

    Returns:
        ``(B, T)`` bool.

    >>> frames_around([(1, 3)], 4).tolist()
    [[True, False, False, True]]
    """
    mask = torch.ones(len(gaps), frames, dtype=torch.bool)
    for row, (start, stop) in zip(mask, gaps, strict=True):
        row[start:stop] = False
    return mask


def kept_numbers(features: Tensor | None, frames: Tensor | None, shape: Sequence[int]) -> Tensor:
    """The mask that a sampler takes.

    Args:
        features: ``(J,)`` or ``(B, J)`` bool, kept in every frame.
        frames: ``(T,)`` or ``(B, T)`` bool, kept whole.
        shape: ``(B, J, F, T)``.

    Returns:
        bool of that shape, True where features or frames are kept.

    >>> kept_numbers(torch.tensor([True, False]), torch.tensor([False, True]), (1, 2, 1, 2))[0, :, 0].tolist()
    [[True, True], [False, True]]
    """
    mask = torch.zeros(tuple(shape), dtype=torch.bool)
    if features is not None:
        mask |= features.reshape(-1, shape[1], 1, 1)
    if frames is not None:
        mask |= frames.reshape(-1, 1, 1, shape[3])
    return mask
