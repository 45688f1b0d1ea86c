"""What training minimises: distance to the clean motion, to its speed, to its joints, to its standing feet and goals.

Legend: ``B`` batch, ``J`` rows and ``F`` numbers of a row of one frame, ``T`` frames, ``N`` joints, ``G`` goals.

Source: Tevet et al. 2023, equations 2 to 6; Tevet et al. 2025 for goals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hftrainer.models.motion.mdm.config import GOAL_JOINTS
from hftrainer.models.motion.mdm.network import MDM, Condition
from hftrainer.models.motion.mdm.schedule import Schedule
from hftrainer.motion.skeleton import KIT21, SMPL22

ToJoints = Callable[[Tensor], Tensor]

#: Joints of goals on the body of hml263.
_GOALS = {**{name: SMPL22.joints.index(name) for name in GOAL_JOINTS}, "traj": 0}
#: Metres a frame at which a foot still stands.
_STANDING = 0.01


def masked_square(a: Tensor, b: Tensor, frames: Tensor, rows: Tensor | None = None) -> Tensor:
    """Mean squared difference over real frames.

    Args:
        a, b: ``(B, J, F, T)``.
        frames: ``(B, T)`` bool, True where a frame is real.
        rows: ``(J,)``, how much each row counts; by default each counts 1.

    Returns:
        ``(B,)``.

    >>> masked_square(torch.zeros(1, 2, 1, 4), torch.ones(1, 2, 1, 4), torch.tensor([[True, True, False, False]]))
    tensor([1.])
    """
    real = frames[:, None, None].to(a.dtype)
    square = (a - b) ** 2 * real
    if rows is not None:
        square = square * rows[:, None, None]
    total = square.flatten(1).sum(1)
    return total / (real.flatten(1).sum(1) * (a.shape[1] * a.shape[2]) + 1e-8)


def speed(x: Tensor) -> Tensor:
    """Differences of neighbouring frames, ``(..., T)`` -> ``(..., T - 1)``."""
    return x[..., 1:] - x[..., :-1]


def speed_loss(clean: Tensor, found: Tensor, frames: Tensor, rows: Tensor | None = None) -> Tensor:
    """Mean squared difference of speeds, ``(B,)``; the last row is left out, as the authors do.

    That row is the way through space where frames are rotations, and one foot's contact in hml263.
    """
    rows = rows if rows is None else rows[:-1]
    return masked_square(speed(clean[:, :-1]), speed(found[:, :-1]), frames[:, 1:], rows)


def standing_loss(clean: Tensor, found: Tensor, frames: Tensor, feet: Sequence[int] = SMPL22.feet) -> Tensor:
    """How fast feet move while they stand, ``(B,)``.

    Args:
        clean, found: ``(B, N, 3, T)`` joints in metres; in ``clean``, a foot that moves 0.01 m a frame or less stands.
        frames: ``(B, T)`` bool.
        feet: which joints.
    """
    stands = speed(clean[:, list(feet)]).norm(dim=2, keepdim=True) <= _STANDING
    moves = speed(found[:, list(feet)]).masked_fill(~stands, 0)
    return masked_square(moves, torch.zeros_like(moves), frames[:, 1:])


def joints_of_features(features: Tensor) -> Tensor:
    """Joints of physical hml263 or kit251 features, in a way that gradients pass.

    Args:
        features: ``(..., T, 263)`` or ``(..., T, 251)``.

    Returns:
        ``(..., T, 22, 3)`` metres, or ``(..., T, 21, 3)`` millimetres.

    Raises:
        ValueError: another width.

    >>> joints_of_features(torch.zeros(5, 263)).shape
    torch.Size([5, 22, 3])
    """
    sizes = {12 * len(body.joints) - 1: len(body.joints) for body in (SMPL22, KIT21)}
    if features.shape[-1] not in sizes:
        raise ValueError(f"features must be {' or '.join(map(str, sizes))} wide; got {features.shape[-1]}.")
    joints = sizes[features.shape[-1]]
    half = torch.cumsum(nn.functional.pad(features[..., :-1, 0], (1, 0)), dim=-1)
    cos, sin = torch.cos(2 * half)[..., None], torch.sin(2 * half)[..., None]

    def to_world(x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        return cos * x - sin * z, sin * x + cos * z

    step = nn.functional.pad(features[..., :-1, 1:3], (0, 0, 1, 0))
    path = torch.cat(to_world(step[..., :1], step[..., 1:]), dim=-1).cumsum(-2)  # x and z
    local = features[..., 4 : 4 + 3 * (joints - 1)].unflatten(-1, (joints - 1, 3))
    x, z = to_world(local[..., 0], local[..., 2])
    body = torch.stack((x + path[..., :1], local[..., 1], z + path[..., 1:]), dim=-1)
    root = torch.stack((path[..., 0], features[..., 3], path[..., 1]), dim=-1)
    return torch.cat((root[..., None, :], body), dim=-2)


def headings(joints: Tensor) -> Tensor:
    """Which way a body of 22 joints faces: ``(..., 22, 3)`` -> ``(...)`` radians, 0 along +Z, more towards +X."""
    right_hip, left_hip, right_shoulder, left_shoulder = SMPL22.facing
    across = joints[..., right_hip, :] - joints[..., left_hip, :]
    across = across + joints[..., right_shoulder, :] - joints[..., left_shoulder, :]
    return torch.atan2(across[..., 2], -across[..., 0])


def goal_rows(names: Sequence[Sequence[str]], heading: Sequence[bool], goals: Sequence[str]) -> Tensor:
    """Which goals are set.

    Args:
        names: of each sample, of joints or ``traj``.
        heading: of each sample, whether the heading is one.
        goals: rows, as ``MDMConfig.goals``; the last is ``heading``.

    Returns:
        ``(B, G)`` bool.

    Raises:
        ValueError: a name that is no goal.

    >>> goal_rows([["traj"]], [True], ("pelvis", "traj", "heading")).tolist()
    [[False, True, True]]
    """
    wrong = sorted({name for row in names for name in row} - set(goals[:-1]))
    if wrong:
        raise ValueError(f"goals must be among {', '.join(goals[:-1])}; got {', '.join(wrong)}.")
    flags = [[goal in row for goal in goals[:-1]] + [bool(turn)] for row, turn in zip(names, heading, strict=True)]
    return torch.tensor(flags)


def goals_reached(joints: Tensor, rows: Tensor, goals: Sequence[str]) -> Tensor:
    """Where a motion's goals are in its last frame.

    Args:
        joints: ``(B, T, 22, 3)`` metres.
        rows: ``(B, G)`` bool, which goals are set.
        goals: rows, as ``MDMConfig.goals``.

    Returns:
        ``(B, G, 3)``: a joint's place; of ``traj`` the pelvis's with height 0; of ``heading`` the angle in its first
        number. Rows that are not set are 0.
    """
    last = joints[:, -1]
    places = []
    for goal in goals:
        if goal == "heading":
            angle = headings(last)
            places.append(torch.stack((angle, torch.zeros_like(angle), torch.zeros_like(angle)), dim=-1))
        else:
            place = last[:, _GOALS[goal]]
            places.append(place * place.new_tensor([1, 0, 1]) if goal == "traj" else place)
    return torch.stack(places, dim=1) * rows[..., None]


def goal_loss(wanted: Tensor, reached: Tensor, rows: Tensor, goals: Sequence[str]) -> Tensor:
    """Squared distance to goals: the mean over what is set of places, and the heading's, ``(B,)``.

    Headings that are opposite count as the same, as with the authors.

    Args:
        wanted, reached: ``(B, G, 3)``.
        rows: ``(B, G)`` bool.
    """
    told = rows[:, :-1, None].expand(-1, -1, 3).clone()
    told[:, list(goals).index("traj"), 1] = False
    count = told.to(wanted.dtype).flatten(1).sum(1)
    places = ((wanted[:, :-1] - reached[:, :-1]) ** 2 * told).flatten(1).sum(1) / (count + 1e-8)
    off = wanted[:, -1, 0] - reached[:, -1, 0]
    turn = (torch.remainder(off + math.pi / 2, math.pi) - math.pi / 2) ** 2
    return places + turn * rows[:, -1] / (1 + 1e-8)


@dataclass(frozen=True)
class LossWeights:
    """How much each part counts beside the distance to the clean motion, which counts 1.

    Attributes:
        speed: ``speed_loss`` of the motion.
        joints: ``masked_square`` of joints.
        standing: ``standing_loss``.
        goals: ``goal_loss``.
    """

    speed: float = 0.0
    joints: float = 0.0
    standing: float = 0.0
    goals: float = 0.0


def training_losses(
    network: MDM,
    schedule: Schedule,
    clean: Tensor,
    index: Tensor,
    noise: Tensor,
    condition: Condition,
    *,
    weights: LossWeights | None = None,
    to_joints: ToJoints | None = None,
    rows: Tensor | None = None,
) -> Mapping[str, Tensor]:
    """The parts of the loss of a batch, and their weighted sum.

    Args:
        clean: ``(B, J, F, T)`` normalised.
        index: ``(B,)`` int64, which step of ``schedule`` each sample is at.
        noise: as ``clean``.
        condition: with ``frames``.
        weights: parts of weight 0 are not worked out.
        to_joints: ``(B, J, F, T)`` normalised -> ``(B, T, N, 3)`` metres; needed for joints, standing and goals.
        rows: ``(J,)``, how much each row counts in ``motion`` and ``speed``; the authors' count alike.

    Returns:
        ``(B,)`` each: ``motion``, those of ``speed``, ``joints``, ``standing``, ``goals`` that count, and ``loss``.

    Raises:
        ValueError: no ``frames``, or a part that needs joints or a target and has none.
    """
    weights = weights or LossWeights()
    frames = condition.frames
    if frames is None:
        raise ValueError("condition must have frames, which says what is real; got none.")
    needed = [name for name in ("joints", "standing", "goals") if getattr(weights, name)]
    if needed and to_joints is None:
        raise ValueError(f"to_joints must be given for {', '.join(needed)}; got none.")
    steps = torch.from_numpy(schedule.steps).to(index.device)
    found = network(schedule.add_noise(clean, index, noise), steps[index], condition)
    parts = {"motion": masked_square(clean, found, frames, rows)}
    if weights.speed:
        parts["speed"] = speed_loss(clean, found, frames, rows)
    if needed and to_joints is not None:
        parts |= _joint_parts(network, to_joints, clean, found, condition, frames, weights)
    parts["loss"] = parts["motion"] + sum(
        (getattr(weights, name) * part for name, part in parts.items() if name != "motion"), torch.zeros(len(clean))
    ).to(clean.device)
    return parts


def _joint_parts(
    network: MDM, to_joints: ToJoints, clean: Tensor, found: Tensor, condition: Condition, frames: Tensor,
    weights: LossWeights,
) -> dict[str, Tensor]:  # fmt: skip
    parts, bodies = {}, to_joints(found)
    if weights.joints or weights.standing:
        truth, guess = to_joints(clean).permute(0, 2, 3, 1), bodies.permute(0, 2, 3, 1)
        if weights.joints:
            parts["joints"] = masked_square(truth, guess, frames)
        if weights.standing:
            parts["standing"] = standing_loss(truth, guess, frames)
    if weights.goals:
        if condition.target is None or condition.target_rows is None:
            raise ValueError("condition must have a target for goals; got none.")
        goals = network.config.goals
        reached = goals_reached(bodies, condition.target_rows, goals)
        parts["goals"] = goal_loss(condition.target, reached, condition.target_rows, goals)
    return parts


class Average:
    """A slowly moving average of a network's parameters; buffers and frozen parameters stay the network's.

    Args:
        network: whose parameters; the average begins as they are.
        keep: how much of the average each step keeps, 0 to 1.

    >>> layer = nn.Linear(1, 1, bias=False)
    >>> _ = layer.weight.data.fill_(0.0)
    >>> average = Average(layer, 0.9)
    >>> _ = layer.weight.data.fill_(1.0)
    >>> average.update(layer)
    >>> round(float(average.values["weight"]), 6)
    0.1
    """

    def __init__(self, network: nn.Module, keep: float) -> None:
        if not 0 <= keep <= 1:
            raise ValueError(f"keep must be 0 to 1; got {keep}.")
        self.keep = keep
        self.values = {n: p.detach().clone() for n, p in network.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """One step: ``keep`` of the average and the rest of the parameters."""
        for name, parameter in network.named_parameters():
            if name in self.values:
                self.values[name] = self.keep * self.values[name] + (1 - self.keep) * parameter.detach()

    def state(self, network: nn.Module) -> dict[str, Tensor]:
        """The network's state with the average in place of the parameters."""
        return {**network.state_dict(), **self.values}
