"""The two skeletons of the field: names, parents, mirror pairs, kinematic chains, rest offsets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Skeleton:
    """A body as names and numbers.

    Attributes:
        name: ``"smpl22"`` or ``"kit21"``.
        joints: joint names in order.
        parents: parent index of each joint, -1 for the root.
        chains: HumanML3D kinematic chains, root first, right side first (smpl22).
        directions: ``(J, 3)`` unit direction of the bone that arrives at each joint in the chain rest pose.
        lengths: ``(J,)`` bone lengths of the reference body, in ``unit``; ``None`` when the data brings its own.
        mirror: ``(J,)`` index of each joint's twin on the other side.
        facing: right hip, left hip, right shoulder, left shoulder.
        feet: left ankle, left toe, right ankle, right toe.
        legs: the two joints whose bone lengths set the scale of a body.
        contact_threshold: squared displacement per frame below which a foot counts as standing, unit squared.
        unit: ``"m"`` or ``"mm"``.
        rest: ``(J, 3)`` rest offset of each joint from its parent, +Y up, left at +X; ``None`` where unknown.
    """

    name: str
    joints: tuple[str, ...]
    parents: tuple[int, ...]
    chains: tuple[tuple[int, ...], ...]
    directions: np.ndarray
    lengths: np.ndarray | None
    mirror: tuple[int, ...]
    facing: tuple[int, int, int, int]
    feet: tuple[int, int, int, int]
    legs: tuple[int, int]
    contact_threshold: float
    unit: str
    rest: np.ndarray | None = None

    @property
    def offsets(self) -> np.ndarray:
        """``(J, 3)`` reference offsets of the chain rest pose: direction times length."""
        if self.lengths is None:
            raise ValueError(f"{self.name} has no reference body; pass the target offsets.")
        return self.directions * self.lengths[:, None]

    def bone_lengths(self, joints: np.ndarray) -> np.ndarray:
        """``(..., J)`` length of the bone arriving at each joint of ``(..., J, 3)`` positions; 0 at the root."""
        parents = np.maximum(self.parents, 0)
        return np.linalg.norm(joints - joints[..., parents, :], axis=-1)


def _frozen(values: object) -> np.ndarray:
    array = np.array(values, dtype=np.float64)
    array.setflags(write=False)
    return array


def _twins(joints: tuple[str, ...]) -> tuple[int, ...]:
    def twin(name: str) -> str:
        if name.startswith("left_"):
            return "right_" + name[5:]
        return "left_" + name[6:] if name.startswith("right_") else name

    return tuple(joints.index(twin(name)) for name in joints)


_X, _Y, _Z = (1, 0, 0), (0, 1, 0), (0, 0, 1)
_NX, _NY = (-1, 0, 0), (0, -1, 0)

_SMPL_JOINTS = (
    "pelvis",
    "left_hip",
    "right_hip",
    "spine1",
    "left_knee",
    "right_knee",
    "spine2",
    "left_ankle",
    "right_ankle",
    "spine3",
    "left_foot",
    "right_foot",
    "neck",
    "left_collar",
    "right_collar",
    "head",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
)

#: Bone lengths of HumanML3D's reference body (sequence 000021, frame 0), metres.
_T2M_LENGTHS = (
    0,
    0.1030739695,
    0.1098833680,
    0.1315682381,
    0.3936232626,
    0.3901882172,
    0.1431902200,
    0.4324331284,
    0.4256435037,
    0.0573647358,
    0.1433817595,
    0.1494190246,
    0.2193600535,
    0.1374867707,
    0.1433828324,
    0.1030392274,
    0.1316139847,
    0.1229843721,
    0.2568399906,
    0.2630918622,
    0.2660117149,
    0.2698763907,
)

#: Joint offsets of the neutral SMPL body at zero betas, metres; the first is the pelvis in the model's own frame.
_SMPL_REST = (
    (-0.00179506, -0.22333345, 0.02821913),
    (0.06951974, -0.09140623, -0.00681534),
    (-0.06767048, -0.09052168, -0.00431982),
    (-0.00253286, 0.10896323, -0.02669631),
    (0.03427655, -0.37519860, -0.00449580),
    (-0.03829005, -0.38256901, -0.00885003),
    (0.00548703, 0.13518043, 0.00109247),
    (-0.01359570, -0.39796036, -0.04369333),
    (0.01577377, -0.39841465, -0.04231180),
    (0.00145700, 0.05292223, 0.02542457),
    (0.02635814, -0.05579088, 0.11928840),
    (-0.02537175, -0.04814396, 0.12334795),
    (-0.00277839, 0.21387036, -0.04285703),
    (0.07884474, 0.12174930, -0.03408961),
    (-0.08175919, 0.11883283, -0.03861529),
    (0.00515184, 0.06496961, 0.05134897),
    (0.09097693, 0.03046890, -0.00886815),
    (-0.09601238, 0.03255117, -0.00914307),
    (0.25961225, -0.01277206, -0.02745644),
    (-0.25374196, -0.01332922, -0.02140098),
    (0.24923363, 0.00898603, -0.00117092),
    (-0.25529808, 0.00777229, -0.00555919),
)

#: Average offsets of the MotionStreamer-272 data, metres (specification name: canon272).
_CANON272_REST = (
    (0, 0, 0),
    (0.06034371, -0.09463033, -0.02616916),
    (-0.06545516, -0.10586701, -0.02103180),
    (-0.00300369, 0.11173355, -0.02852773),
    (0.05598476, -0.37829612, -0.00912491),
    (-0.04534430, -0.36189912, -0.01701484),
    (0.01019940, 0.13373756, -0.00581120),
    (-0.04415729, -0.40204139, -0.03381452),
    (0.01532460, -0.40955891, -0.02192515),
    (-0.01168281, 0.05338483, 0.02995342),
    (0.04803371, -0.05731739, 0.11864765),
    (-0.03926277, -0.05772993, 0.11941187),
    (-0.01279053, 0.16772425, -0.03233197),
    (0.04733855, 0.08639076, -0.00678371),
    (-0.04935113, 0.08573806, -0.01296484),
    (0.02522257, 0.16265942, 0.02038126),
    (0.12320449, 0.05802379, -0.01512980),
    (-0.10594539, 0.05386475, -0.01308181),
    (0.25438979, -0.07248409, -0.04435725),
    (-0.27177335, -0.03581086, -0.02733292),
    (0.25104250, 0.02391198, -0.00177358),
    (-0.24842403, -0.00486105, -0.01476585),
)

SMPL22 = Skeleton(
    name="smpl22",
    joints=_SMPL_JOINTS,
    parents=(-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19),
    chains=((0, 2, 5, 8, 11), (0, 1, 4, 7, 10), (0, 3, 6, 9, 12, 15), (9, 14, 17, 19, 21), (9, 13, 16, 18, 20)),
    directions=_frozen(
        [(0, 0, 0), _X, _NX, _Y, _NY, _NY, _Y, _NY, _NY, _Y, _Z, _Z, _Y, _X, _NX, _Z, _NY, _NY, _NY, _NY, _NY, _NY]
    ),
    lengths=_frozen(_T2M_LENGTHS),
    mirror=_twins(_SMPL_JOINTS),
    facing=(2, 1, 17, 16),
    feet=(7, 10, 8, 11),
    legs=(5, 8),
    contact_threshold=0.002,
    unit="m",
    rest=_frozen(_SMPL_REST),
)

CANON272_REST = _frozen(_CANON272_REST)

_KIT_JOINTS = (
    "root", "spine", "chest", "neck", "head",
    "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
    "right_hip", "right_knee", "right_ankle", "right_foot", "right_toe",
    "left_hip", "left_knee", "left_ankle", "left_foot", "left_toe",
)  # fmt: skip

KIT21 = Skeleton(
    name="kit21",
    joints=_KIT_JOINTS,
    parents=(-1, 0, 1, 2, 3, 3, 5, 6, 3, 8, 9, 0, 11, 12, 13, 14, 0, 16, 17, 18, 19),
    chains=((0, 11, 12, 13, 14, 15), (0, 16, 17, 18, 19, 20), (0, 1, 2, 3, 4), (3, 5, 6, 7), (3, 8, 9, 10)),
    directions=_frozen(
        [(0, 0, 0), _Y, _Y, _Y, _Y, _X, _NY, _NY, _NX, _NY, _NY, _X, _NY, _NY, _Z, _Z, _NX, _NY, _NY, _Z, _Z]
    ),
    lengths=None,
    mirror=_twins(_KIT_JOINTS),
    facing=(11, 16, 5, 8),
    feet=(19, 20, 14, 15),
    legs=(17, 18),
    contact_threshold=0.05,
    unit="mm",
)

SKELETONS = {skeleton.name: skeleton for skeleton in (SMPL22, KIT21)}
