"""Which numbers of a motion an edit keeps: the features of some joints, the frames around a gap, or both.

Masks are True where a number is kept. Source: Tevet et al. 2023, section 3 (motion editing); the layout of hml263 and
kit251 is ``hftrainer.motion.representation.specs``.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from hftrainer.motion.representation.specs import get_spec
from hftrainer.motion.skeleton import SKELETONS, SMPL22, Skeleton

#: Joints whose features the authors' ``upper_body`` keeps: pelvis, legs, feet.
LOWER_BODY = tuple(
    SMPL22.joints.index(name)
    for name in ("pelvis", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
                 "left_foot", "right_foot")
)  # fmt: skip
UPPER_BODY = tuple(sorted(set(range(22)) - set(LOWER_BODY)))

_LEG = ("hip", "knee", "ankle", "foot", "toe")
_ARM = ("collar", "shoulder", "elbow", "wrist")
_HEAD = ("neck", "head")


def body_parts(representation: str = "hml263") -> dict[str, tuple[int, ...]]:
    """Joints of the parts of a body that have names.

    The root belongs to none of them, so that changing a part leaves the path as it is and everything else where it was
    in the world; ``root`` alone is the path itself. ``upper`` and ``lower`` are short for ``upper_body`` and
    ``lower_body``.

    Args:
        representation: ``hml263`` or ``kit251``.

    >>> body_parts()["left_arm"], body_parts()["upper_body"] == UPPER_BODY
    ((13, 16, 18, 20), True)
    """
    names = _skeleton(representation).joints

    def joints(endings: Collection[str], side: str = "") -> tuple[int, ...]:
        return tuple(i for i, name in enumerate(names) if name.startswith(side) and name.split("_")[-1] in endings)

    arms, legs, head = joints(_ARM), joints(_LEG), joints(_HEAD)
    upper = tuple(i for i in range(1, len(names)) if i not in legs)
    return {
        "upper_body": upper, "upper": upper, "lower_body": legs, "lower": legs,
        "arms": arms, "left_arm": joints(_ARM, "left_"), "right_arm": joints(_ARM, "right_"),
        "legs": legs, "left_leg": joints(_LEG, "left_"), "right_leg": joints(_LEG, "right_"),
        "torso": tuple(i for i in upper if i not in (*arms, *head)), "head": head, "root": (0,),
    }  # fmt: skip


def joints_of(part: str | Collection[str | int], representation: str = "hml263") -> tuple[int, ...]:
    """The joints that somebody means.

    Args:
        part: names of parts (``body_parts``) or joints, or joint numbers; in one string, with commas between them, or
            one by one. A name that is a part and a joint, as ``head``, is the part.
        representation: ``hml263`` or ``kit251``.

    Raises:
        ValueError: nothing, or something that the body does not have.

    >>> joints_of("left_arm, head"), joints_of(["pelvis", 3])
    ((12, 13, 15, 16, 18, 20), (0, 3))
    """
    parts, names = body_parts(representation), _skeleton(representation).joints
    words: list[str | int] = [word.strip() for word in part.split(",")] if isinstance(part, str) else list(part)
    found: set[int] = set()
    for word in words:
        number = int(word) if isinstance(word, int) or word.isdecimal() else None
        if number is not None and 0 <= number < len(names):
            found.add(number)
        elif word in parts:
            found.update(parts[str(word)])
        elif word in names:
            found.add(names.index(str(word)))
        else:
            raise ValueError(
                f"a part must be one of {', '.join(parts)}, or joints, 0 to {len(names) - 1}: {', '.join(names)}; "
                f"got {word!r}."
            )
    if not found:
        raise ValueError("a part must name at least one joint; got none.")
    return tuple(sorted(found))


def made_features(part: str | Collection[str | int] | None, representation: str = "hml263") -> Tensor:
    """Which features of a frame are made anew where a part of the body is; the others tell of the other joints.

    Args:
        part: as of ``joints_of``; ``None`` is the whole body.
        representation: ``hml263`` or ``kit251``.

    Returns:
        ``(D,)`` bool.

    >>> int((~made_features("upper_body")).sum()), bool((~made_features("upper") == joint_features(LOWER_BODY)).all())
    (107, True)
    """
    everything = range(len(_skeleton(representation).joints))
    made = everything if part is None else joints_of(part, representation)
    return ~joint_features(set(everything) - set(made), representation)


def _skeleton(representation: str) -> Skeleton:
    return SKELETONS[get_spec(representation).skeleton]


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
    skeleton = _skeleton(representation)
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
