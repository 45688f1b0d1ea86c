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

_UNREAL = _sided(
    _trunk("pelvis", "spine_01", "spine_02", "spine_03", "neck_01", "head"),
    ("l", "r"),
    [f"{part}_{{}}" for part in ("thigh", "calf", "foot", "ball", "clavicle", "upperarm", "lowerarm", "hand")],
)
_VRM = _sided(
    _trunk("hips", "spine", "chest", "upperChest", "neck", "head"),
    ("left", "right"),
    ["{}" + part for part in (
        "UpperLeg", "LowerLeg", "Foot", "Toes", "Shoulder", "UpperArm", "LowerArm", "Hand",
    )],
)  # fmt: skip
SKELETON_NAMES.update({"unreal": tuple(_UNREAL), "vrm": tuple(_VRM)})

#: Joint names that a file can be written with: SMPL's, Mixamo's, Unreal Engine's mannequin, VRM's humanoid.
PRESETS: dict[str, tuple[str, ...]] = {
    "smpl": SMPL22.joints,
    "mixamo": tuple(f"mixamorig:{spot}" for spot in _MIXAMO),
    "unreal": tuple(str(spot) for spot in _UNREAL),
    "vrm": tuple(str(spot) for spot in _VRM),
}


def check_names(names: str) -> tuple[str, ...]:
    """The 22 joint names of a preset.

    Raises:
        ValueError: an unknown preset.

    >>> check_names("vrm")[1]
    'leftUpperLeg'
    """
    if names not in PRESETS:
        raise ValueError(f"names must be one of {', '.join(PRESETS)}; got {names!r}.")
    return PRESETS[names]


def plain_name(name: str) -> str:
    """A joint name without its namespace and in small letters.

    >>> plain_name("mixamorig:LeftArm")
    'leftarm'
    """
    plain = name.rsplit(":", 1)[-1]
    return plain.removeprefix("mixamorig_").lower()


#: The axis that points up in a file -> rotation from the file's axes to +Y up.
UPWARD: dict[str, np.ndarray] = {
    "y": np.eye(3),
    "z": np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
    "x": np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]),
    "-y": np.diag([1.0, -1, -1]),
    "-z": np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]),
    "-x": np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]]),
}


def guess_up(joints: np.ndarray, rest: np.ndarray | None = None) -> str:
    """The axis along which a body stands.

    A body that stands most of the time says so; one that lies does not, and then the rest pose of the file is asked.
    Where the two disagree, the lowest joint decides: a floor is level, and most files have it at 0.

    Args:
        joints: ``(T, 22, 3)`` in the file's axes.
        rest: ``(22, 3)`` the same joints with no rotation, where the file has a rest pose.

    Returns:
        A key of ``UPWARD``.

    >>> body = np.cumsum(np.full((1, 22, 3), [0, 0, 0.1]), axis=1)
    >>> body[:, [7, 8]] = 0
    >>> guess_up(body)
    'z'
    """

    def tall(pose: np.ndarray) -> np.ndarray:
        ankles = pose[..., [7, 8], :].mean(axis=-2)
        body = pose[..., 12, :] - ankles
        return body / np.maximum(np.linalg.norm(body, axis=-1, keepdims=True), 1e-12)

    def axis(direction: np.ndarray, sure: float) -> str | None:
        at = int(np.abs(direction).argmax())
        return ("-" if direction[at] < 0 else "") + "xyz"[at] if abs(direction[at]) >= sure else None

    def unsteady(name: str) -> float:
        heights = np.sign(-1.0 if name[0] == "-" else 1.0) * joints[..., "xyz".index(name[-1])]
        low, size = heights.min(axis=1), float(np.ptp(heights, axis=1).max())
        return float(low.std() + 0.5 * abs(np.median(low))) / max(size, 1e-9)

    moving = axis(tall(joints).mean(axis=0), 0.6)
    standing = None if rest is None else axis(tall(rest), 0.9)
    if moving is None or standing is None or moving == standing:
        return moving or standing or axis(tall(joints).mean(axis=0), 0.0) or "y"
    return min((moving, standing), key=unsteady)


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
