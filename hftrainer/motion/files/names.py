"""Which joints of a foreign skeleton stand for the 22 joints of SMPL, by their names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hftrainer.motion.skeleton import SMPL22

#: A joint by name, or a point between two joints: ``(from, to, share)``.
Spot = str | tuple[str, str, float]

_MIXAMO_SIDE = ("UpLeg", "Leg", "Foot", "ToeBase", "Shoulder", "Arm", "ForeArm", "Hand")


def _sided(trunk: dict[str, Spot], sides: tuple[str, str], names: Sequence[str | tuple[str, str, float]]) -> list[Spot]:
    """22 spots from the trunk's and those of one side: hip, knee, ankle, toe, collar, shoulder, elbow, wrist."""
    table = dict(trunk)
    for side, mark in zip(("left", "right"), sides, strict=True):
        for joint, name in zip(
            ("hip", "knee", "ankle", "foot", "collar", "shoulder", "elbow", "wrist"), names, strict=True
        ):
            if isinstance(name, str):
                table[f"{side}_{joint}"] = name.format(mark)
            else:
                table[f"{side}_{joint}"] = (name[0].format(mark), name[1].format(mark), name[2])
    return [table[joint] for joint in SMPL22.joints]


def _trunk(*spots: Spot) -> dict[str, Spot]:
    return dict(zip(("pelvis", "spine1", "spine2", "spine3", "neck", "head"), spots, strict=True))


_MIXAMO = _sided(
    _trunk("Hips", "Spine", "Spine1", "Spine2", "Neck", "Head"), ("Left", "Right"), ["{}" + n for n in _MIXAMO_SIDE]
)

#: Known skeletons, the most particular first: for each of the 22 joints where it is found.
SKELETON_NAMES: dict[str, tuple[Spot, ...]] = {
    "smpl": tuple(SMPL22.joints),
    "mixamo": tuple(_MIXAMO),
    "cmu-motionbuilder": tuple(
        _sided(
            _trunk("Hips", "LowerBack", "Spine", "Spine1", "Neck", "Head"),
            ("Left", "Right"),
            ["{}" + n for n in _MIXAMO_SIDE],
        )
    ),
    "accad": tuple(
        _sided(
            _trunk("Hips", "Spine", "Spine1", ("Spine1", "Neck", 0.5), "Neck", "Head"),
            ("Left", "Right"),
            ["{}" + n for n in _MIXAMO_SIDE],
        )
    ),
    "cmu-daz": tuple(
        _sided(
            _trunk("hip", "abdomen", "chest", ("chest", "neck", 0.5), "neck", "head"),
            ("l", "r"),
            ["{}Thigh", "{}Shin", "{}Foot", "{}Foot@end", "{}Collar", "{}Shldr", "{}ForeArm", "{}Hand"],
        )
    ),
    "cmu-3dsmax": tuple(
        _sided(
            _trunk("Hips", "Chest", "Chest2", "Neck", "Head", "Head@end"),
            ("Left", "Right"),
            ["{}Hip", "{}Knee", "{}Ankle", "{}Toe", ("Neck", "{}Shoulder", 0.33), "{}Shoulder", "{}Elbow", "{}Wrist"],
        )
    ),
    "cmu-asf": tuple(
        _sided(
            _trunk("root", "upperback", "thorax", "lowerneck", "upperneck", "head"),
            ("l", "r"),
            [
                "{}femur", "{}tibia", "{}foot", "{}toes", ("lowerneck", "{}humerus", 0.33), "{}humerus", "{}radius",
                "{}wrist",
            ],
        )
    ),
}  # fmt: skip

#: Joint names that a BVH file can be written with.
PRESETS: dict[str, tuple[str, ...]] = {
    "smpl": SMPL22.joints,
    "mixamo": tuple(f"mixamorig:{spot}" for spot in _MIXAMO),
}


def _plain(name: str) -> str:
    """A joint name without its namespace and in small letters: ``mixamorig:LeftArm`` is ``leftarm``."""
    plain = name.rsplit(":", 1)[-1]
    return plain.removeprefix("mixamorig_").lower()


def joints_by_name(names: Sequence[str], positions: np.ndarray, file: str) -> tuple[np.ndarray, str]:
    """The 22 joints of a recorded body.

    Args:
        names: joint names, the far end of a last bone as ``"NAME@end"``.
        positions: ``(T, J, 3)``.
        file: what error messages call the source.

    Returns:
        ``(T, 22, 3)`` in the unit of ``positions``, and the name of the skeleton that was recognised.

    Raises:
        ValueError: no known skeleton has these names; the message lists what was found.

    >>> names = ["Hips", "Tail"]
    >>> joints_by_name(names, np.zeros((1, 2, 3)), "cat.bvh")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: cat.bvh: the skeleton must be one of smpl, mixamo, ...; got joints Hips, Tail. ...
    """
    at = {_plain(name): index for index, name in reversed(list(enumerate(names)))}
    for skeleton, spots in SKELETON_NAMES.items():
        needed = {_plain(n) for spot in spots for n in ((spot,) if isinstance(spot, str) else spot[:2])}
        if not needed <= at.keys():
            continue
        columns = []
        for spot in spots:
            if isinstance(spot, str):
                columns.append(positions[:, at[_plain(spot)]])
            else:
                start, stop = positions[:, at[_plain(spot[0])]], positions[:, at[_plain(spot[1])]]
                columns.append(start + spot[2] * (stop - start))
        return np.stack(columns, axis=1), skeleton
    found = ", ".join(name for name in names if not name.endswith("@end"))
    raise ValueError(
        f"{file}: the skeleton must be one of {', '.join(SKELETON_NAMES)}; got joints {found}. "
        "Retarget it to one of those first, or rename its joints."
    )


#: Metres per unit of the units that capture comes in.
UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001, "cmu": 0.0254 / 0.45}


def guess_unit(joints: np.ndarray) -> str:
    """The unit in which a leg has a human length.

    Thigh and shin of an adult together are about 0.82 m; the units here lie so far apart that a body of half that size
    or of double it is still told right.

    Args:
        joints: ``(T, 22, 3)`` in an unknown unit.

    Returns:
        A key of ``UNITS``.
    """
    bones = SMPL22.bone_lengths(joints)
    leg = float(np.median(bones[:, 4] + bones[:, 5] + bones[:, 7] + bones[:, 8])) / 2
    return min(UNITS, key=lambda unit: abs(np.log(max(leg, 1e-9) * UNITS[unit] / 0.82)))
