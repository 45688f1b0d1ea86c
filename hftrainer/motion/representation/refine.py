"""From joint positions to the rotations of a body whose bones are longer or shorter, by refinement.

The closed form (``ik.py``) makes every bone point the right way. Where the bones of the body have other lengths than
those of the clip, joints at the end of a limb come out some 25 mm off. Here all rotations of a clip move together so
that the joints come nearer: Adam on the mean squared distance, held to the first pose and to steady movement, as the
published road from hml263 to SMPL bodies does it.

Many clips are refined side by side. Frames lie next to each other in long lanes (``hftrainer.motion.lanes``), and the
gradient is written out: turning a joint moves all that hangs from it, so the slope is the moment, about that joint, of
the forces on everything below it. Nothing is traced, torch is not needed, and a clip gets the same numbers alone as in
company.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hftrainer.motion.lanes import constant, dot, namespace, times, turn, turn_back
from hftrainer.motion.representation.ik import joints_to_rotations
from hftrainer.motion.representation.motion135 import (
    JOINTS,
    body_offsets,
    checked_body,
    pose_joints,
    rotations_to_motion135,
)
from hftrainer.motion.rotation import matrix_to_rotvec, rotvec_to_matrix

STARTS = ("bone", "parent_frame")

#: Joints that can be placed at once, each with its parents; joints 10, 11, 15, 20 and 21 are ends and move nothing.
_LEVELS = (
    (slice(1, 4), slice(0, 1)), (slice(4, 7), slice(1, 4)), (slice(7, 10), slice(4, 7)), (slice(10, 12), slice(7, 9)),
    (slice(12, 15), slice(9, 10)), (slice(15, 18), slice(12, 15)), (slice(18, 20), slice(16, 18)),
    (slice(20, 22), slice(18, 20)),
)  # fmt: skip
_TURNING = 20  # joints 0 to 19 may have something below them
_PLACE = JOINTS  # the row of the translation, after those of the rotations
_OTHERS = ((1, 2), (2, 0), (0, 1))  # the axes after each axis

#: Elbows (about y) and knees (about x) that should not bend the wrong way: joint, axis, sign.
_STIFF = ((18, 1, 1.0), (19, 1, -1.0), (4, 0, -1.0), (5, 0, -1.0))


@dataclass(frozen=True)
class Refinement:
    """How to refine.

    Attributes:
        steps: steps of Adam; 0 keeps the closed form. The published error belongs to 80.
        rate: step size, radians and metres.
        last: share of ``rate`` that the last step has; it changes evenly. 1, the published way, keeps it constant.
        keep: weight of the mean squared distance of the body's rotation vectors from those at the start.
        small: weight of their mean square.
        hinges: weight that keeps elbows and knees from bending the wrong way.
        locked: joints that keep their first rotation, by number; 0 is the root.
        start: ``"bone"``, or ``"parent_frame"``, which counts the direction back to the parent by ``parent_weight``.
        parent_weight: for ``start="parent_frame"``.

    Raises:
        ValueError: a value outside its range.

    >>> Refinement().steps
    80
    """

    steps: int = 80
    rate: float = 0.02
    last: float = 1.0
    keep: float = 1e-4
    small: float = 0.0
    hinges: float = 0.0
    locked: tuple[int, ...] = ()
    start: str = "bone"
    parent_weight: float = 0.25

    def __post_init__(self) -> None:
        for name in ("steps", "last", "keep", "small", "hinges", "parent_weight"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be 0 or more; got {getattr(self, name)}.")
        if not self.rate > 0:
            raise ValueError(f"rate must be above 0; got {self.rate}.")
        if self.start not in STARTS:
            raise ValueError(f"start must be one of {', '.join(STARTS)}; got {self.start!r}.")
        if not set(self.locked) <= set(range(JOINTS)):
            raise ValueError(f"locked must hold joints from 0 to {JOINTS - 1}; got {list(self.locked)}.")


@dataclass(frozen=True, eq=False)
class Fit:
    """A clip put on a body.

    Attributes:
        pose: ``(T, 22, 3)`` rotation vectors relative to the parent, radians.
        translation: ``(T, 3)`` metres, SMPL's ``transl``.
        joints: ``(T, 22, 3)`` where the body's joints are, metres.
        error_mm: ``(T,)`` mean distance of a frame's joints from where they should be, millimetres.
    """

    pose: np.ndarray
    translation: np.ndarray
    joints: np.ndarray
    error_mm: np.ndarray

    @property
    def motion135(self) -> np.ndarray:
        """``(T, 135)`` float32."""
        return rotations_to_motion135(rotvec_to_matrix(self.pose), self.translation).astype(np.float32)


def fit_joints(
    clips: Sequence[Any],
    how: Refinement | None = None,
    *,
    rest: Any = None,
    starts: Sequence[Any] | None = None,
    together: int = 2048,
    place: Callable[[np.ndarray], Any] | None = None,
) -> Iterator[Fit]:
    """Rotations of a body that bring its joints to those of each clip.

    Args:
        clips: arrays ``(T, 22, 3)``, metres, +Y up, of any lengths.
        how: the settings; by default the published ones.
        rest: ``(22, 3)`` rest offsets of the body; by default the neutral SMPL body's. ``(n, 22, 3)`` gives each of
            the n clips its own body.
        starts: first rotations of each clip, ``(T, 22, 3, 3)`` relative to the parent; by default the closed form
            without twist, each frame by itself.
        together: refine clips in groups of at least so many frames. It does not change the numbers; about 2000 is
            quickest on a processor, 100,000 or more on a GPU.
        place: puts an array where the work is to be done, for example
            ``lambda array: torch.as_tensor(array, device="cuda")``; by default it is done with NumPy.

    Yields:
        The fit of each clip, in order, as soon as its group is done.

    Raises:
        ValueError: a clip of another shape or with values that are not finite.

    Source:
        The published script ``hml263_to_smpl_ik.py`` (``--refine-iters 80 --refine-lr 0.02``); Adam: Kingma & Ba, ICLR
        2015.

    >>> standing = pose_joints(np.tile(np.eye(3), (4, 22, 1, 1)), np.ones(3))
    >>> [fit] = fit_joints([1.05 * standing])
    >>> bool(0.0 < fit.error_mm.max() < 25)
    True
    """
    how = how or Refinement()
    many = np.ndim(rest) == 3
    bodies = [body_offsets(one) for one in rest] if many else [body_offsets(rest)] * len(clips)
    if len(bodies) != len(clips):
        raise ValueError(f"rest must have a body for each clip; got {len(bodies)} for {len(clips)} clips.")
    if starts is not None and len(starts) != len(clips):
        raise ValueError(f"starts must be as many as clips; got {len(starts)} for {len(clips)} clips.")
    group: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for n, clip in enumerate(clips):
        joints = checked_body(clip, (JOINTS, 3), "joints", f"clip {n}")
        if starts is not None:
            local = checked_body(starts[n], (JOINTS, 3, 3), "starts", f"clip {n}")
            if len(local) != len(joints):
                raise ValueError(f"clip {n}: starts must have {len(joints)} frames; got {len(local)}.")
        else:
            weight = how.parent_weight if how.start == "parent_frame" else 0.0
            local = joints_to_rotations(joints, bodies[n], twist="none", parent_weight=weight)
        group.append((joints, matrix_to_rotvec(local), bodies[n]))
        if sum(len(joints) for joints, _, _ in group) >= together:
            yield from _fit_group(group, how, many, place)
            group = []
    if group:
        yield from _fit_group(group, how, many, place)


def _fit_group(
    group: list[tuple[np.ndarray, np.ndarray, np.ndarray]], how: Refinement, many: bool, place: Any
) -> Iterator[Fit]:
    frames = [len(joints) for joints, _, _ in group]
    targets, pose = (np.concatenate([part[k] for part in group]) for k in (0, 1))
    bodies = np.stack([rest for _, _, rest in group])
    roots = np.repeat(bodies[:, 0], frames, axis=0)  # (N, 3)
    translation = targets[:, 0] - roots
    if how.steps:
        start = np.concatenate((pose, translation[:, None]), axis=1).astype(np.float32)  # (N, 23, 3)
        rest = np.repeat(bodies, frames, axis=0) if many else bodies[:1]
        refined = _refined(start, (targets - roots[:, None]).astype(np.float32), frames, how, rest, place)
        pose, translation = refined[:, :_PLACE], refined[:, _PLACE]
    at = np.cumsum([0, *frames])
    for begin, end, rest in zip(at, at[1:], bodies, strict=False):
        turned, moved = pose[begin:end].astype(np.float64), translation[begin:end].astype(np.float64)
        joints = pose_joints(rotvec_to_matrix(turned), moved + rest[0], rest)
        error = np.linalg.norm(joints - targets[begin:end], axis=-1).mean(axis=-1) * 1000
        yield Fit(turned, moved, joints, error)


def _refined(
    start: np.ndarray, targets: np.ndarray, frames: list[int], how: Refinement, rest: np.ndarray, place: Any
) -> np.ndarray:
    """``(N, 23, 3)`` rotation vectors and translations of clips that lie one after another, after all steps.

    ``rest`` is ``(N, 22, 3)``, or ``(1, 22, 3)`` where all have the same body.
    """
    put = place or (lambda array: array)
    x = put(np.ascontiguousarray(start.transpose(2, 1, 0)))  # (3, 23, N)
    wanted = put(np.ascontiguousarray(targets.transpose(2, 1, 0)))
    slope = _Slope(x, wanted, frames, how, constant(np.ascontiguousarray(rest.transpose(2, 1, 0)), x))
    xp = namespace(x)
    mean, square, work, x = 0 * x, 0 * x, 0 * x, 1 * x
    for step in range(1, how.steps + 1):
        g = slope(x)
        mean *= 0.9
        mean += xp.multiply(g, 0.1, out=work)
        square *= 0.999
        square += xp.multiply(xp.multiply(g, g, out=g), 0.001, out=work)
        size = xp.sqrt(square, out=work)
        size *= 1 / np.sqrt(1 - 0.999**step)
        size += 1e-8
        move = xp.divide(mean, size, out=work)
        fallen = 1 + (how.last - 1) * (step - 1) / max(how.steps - 1, 1)
        move *= how.rate * fallen / (1 - 0.9**step)
        x -= move
    done = x if xp is np else x.cpu().numpy()
    return np.asarray(done).transpose(2, 1, 0)


class _Slope:
    """The gradient of what is made small, ``(3, 23, N)``, at rotation vectors and translations ``(3, 23, N)``."""

    def __init__(self, first: Any, wanted: Any, frames: list[int], how: Refinement, rest: Any) -> None:
        xp = namespace(first)
        self.wanted, self.first, self.how = wanted, first[:, 1:_PLACE] * 1.0, how
        # offset of each joint from its parent, (3, 22, 1 or N); the pelvis stands where the translation says
        self.offsets = rest
        lengths = np.repeat(np.array(frames, dtype=np.float64), frames)
        body = 3 * (JOINTS - 1)
        self.near = constant(2 / (lengths * JOINTS), first[0, 0])
        self.each = constant(2 / (lengths * body), first[0, 0])
        inside = np.ones(len(lengths) - 2) if len(lengths) > 2 else np.zeros(0)
        for edge in np.cumsum(frames)[:-1]:  # second differences may not reach over the end of a clip
            inside[max(edge - 2, 0) : edge] = 0
        smooth = 1e-3 * 2 * inside / np.maximum(lengths[: len(inside)] - 2, 1)
        rows = np.array([1e-2 / body] * (JOINTS - 1) + [1 / 3])
        self.steady = constant(rows[:, None] * smooth, first[0])
        # numbers of every step have their place once: asking for memory costs more than filling it
        self.local = xp.stack([xp.stack([0 * first[0, :_TURNING]] * 3)] * 3)
        self.world = self.local * 0
        self.reached, self.force, self.moment = (first[:, :JOINTS] * 0 for _ in range(3))
        self.g, self.work = first * 0, self.first * 0

    def __call__(self, x: Any) -> Any:
        v, local, world, reached, force, moment = (
            x[:, :_TURNING], self.local, self.world, self.reached, self.force, self.moment
        )  # fmt: skip
        sine, cosine, rest = _rotations(v, local)
        world[:, :, 0] = local[:, :, 0]
        for joints, parents in _LEVELS:  # positions with the pelvis at 0
            if joints.stop <= _TURNING:
                world[:, :, joints] = times(world[:, :, parents], local[:, :, joints])
            reached[:, joints] = turn(world[:, :, parents], self.offsets[:, joints])
            reached[:, joints] += reached[:, parents]
        for axis in range(3):
            force[axis] = reached[axis] + (x[axis, _PLACE] - self.wanted[axis])
            force[axis] *= self.near
        for axis, (one, two) in enumerate(_OTHERS):
            moment[axis] = reached[one] * force[two]
            moment[axis] -= reached[two] * force[one]
        for joints, parents in reversed(_LEVELS):
            for lane in (force, moment):
                below = lane[:, joints]
                lane[:, parents] += below if parents.stop - parents.start > 1 else below.sum(1)[:, None]
        for axis, (one, two) in enumerate(_OTHERS):  # about each joint instead of the pelvis
            moment[axis] -= reached[one] * force[two]
            moment[axis] += reached[two] * force[one]
        about = turn_back(world, moment[:, :_TURNING])
        g = self.g
        g[:, _PLACE] = force[:, 0]
        rest *= dot(v, about)
        for axis, (one, two) in enumerate(_OTHERS):
            across = v[one] * about[two] - v[two] * about[one]
            g[axis, :_TURNING] = sine * about[axis] + cosine * across + rest * v[axis]
            g[axis, _TURNING:_PLACE] = 0
        return self._held(x, g)

    def _held(self, x: Any, g: Any) -> Any:
        """The slope with those of the terms that hold the pose; rows that are locked have none."""
        body, how = x[:, 1:_PLACE], self.how
        if how.keep:
            away = namespace(x).subtract(body, self.first, out=self.work)
            away *= how.keep * self.each
            g[:, 1:_PLACE] += away
        if how.small:
            g[:, 1:_PLACE] += body * (how.small * self.each * (JOINTS - 1) / 23)
        for joint, axis, sign in _STIFF if how.hinges else ():
            bend = namespace(x).exp(2 * sign * x[axis, joint])
            g[axis, joint] += bend * (sign * how.hinges * self.each * 3 * (JOINTS - 1) / 4)
        if x.shape[-1] > 2:
            for axis in range(3):
                rows, slope = x[axis, 1:], g[axis, 1:]
                jerk = rows[:, 2:] - rows[:, 1:-1]
                jerk -= rows[:, 1:-1]
                jerk += rows[:, :-2]
                jerk *= self.steady
                slope[:, 2:] += jerk
                slope[:, :-2] += jerk
                jerk *= 2
                slope[:, 1:-1] -= jerk
        for joint in how.locked:
            g[:, joint] = 0
        return g


def _rotations(v: Any, out: Any) -> tuple[Any, Any, Any]:
    """Rotations ``(3, 3, ...)`` of rotation vectors ``(3, ...)`` into ``out``.

    Returns:
        ``sin a / a``, ``(1 - cos a) / a^2`` and ``(a - sin a) / a^3`` of their angles ``a``, each ``(...)``.
    """
    xp = namespace(v)
    square = dot(v, v) + 1e-12
    angle = xp.sqrt(square)
    half = angle * 0.5
    sine, cosine = xp.sin(half), xp.cos(half)
    first = 2 * sine * cosine / angle
    second = 2 * sine * sine / square
    whole = 1 - second * square
    for axis, (one, _) in enumerate(_OTHERS):
        scaled = second * v[axis]
        out[axis, axis] = whole + scaled * v[axis]
        out[axis, one] = scaled * v[one]
        out[one, axis] = out[axis, one]
    for axis, (one, two) in enumerate(_OTHERS):
        scaled = first * v[axis]
        out[one, two] -= scaled
        out[two, one] += scaled
    return first, second, (1 - first) / square
