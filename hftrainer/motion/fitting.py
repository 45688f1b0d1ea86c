"""Joint positions to a body model of the user's: its shape, its pose and its place, for many clips together.

A clip shows how long a person's bones are, which says what shape the body has. With that body the closed form
(``representation/ik.py``) finds how the joints turn, up to what a body cannot do: hips and shoulders do not stand to
each other as in the clip. Refinement (``representation/refine.py``) makes the rest small, shape and pose in turn.

Nothing is optimised frame by frame, no pose prior is learned from licensed capture, and neither torch nor a GPU is
needed. Source: the task is SMPLify's (Bogo et al., "Keep it SMPL", ECCV 2016); the way is this project's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hftrainer.motion.clip import Motion
from hftrainer.motion.files.archive import read_arrays, write_arrays
from hftrainer.motion.files.notes import about_json
from hftrainer.motion.representation.ik import joints_to_rotations
from hftrainer.motion.representation.motion135 import JOINTS, checked_body, world_rotations
from hftrainer.motion.representation.refine import Refinement, fit_joints
from hftrainer.motion.rotation import rotvec_to_matrix
from hftrainer.motion.skeleton import SMPL22
from hftrainer.motion.smpl import SmplBody

#: Pairs of joints whose distance no pose changes: bones, and what hangs from pelvis and chest.
_RIGID = (
    *((parent, joint) for joint, parent in enumerate(SMPL22.parents) if parent >= 0),
    (1, 2), (1, 3), (2, 3), (12, 13), (12, 14), (13, 14),
)  # fmt: skip

#: Shapes from which the true one is sought.
_STARTS = 16


@dataclass(frozen=True)
class BodyFitting:
    """How clips are put on a body.

    Attributes:
        betas: how many of the model's shape numbers are fitted; at most as many as it has. 0 keeps the mean shape.
        plain: metres of misfit that one unit of a shape number is worth: keeps the shape near the mean where joints
            say nothing about it.
        steps: steps of the refinement in each of its rounds.
        rounds: how often pose and shape are refined in turn.
        rate: size of the first step, radians and metres; it falls to almost nothing.
        keep: weight of the distance from the pose of the closed form, as in ``Refinement``.

    Raises:
        ValueError: a value outside its range.

    >>> BodyFitting().betas
    10
    """

    betas: int = 10
    plain: float = 1e-3
    steps: int = 40
    rounds: int = 2
    rate: float = 0.01
    keep: float = 1e-4

    def __post_init__(self) -> None:
        for name in ("betas", "plain", "steps", "rounds", "keep"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be 0 or more; got {getattr(self, name)}.")
        if not self.rate > 0:
            raise ValueError(f"rate must be above 0; got {self.rate}.")


@dataclass(frozen=True, eq=False)
class BodyFit:
    """A clip on a body model.

    Attributes:
        betas: ``(B,)`` shape.
        pose: ``(T, 22, 3)`` rotation vectors relative to the parent, radians; what comes after joint 21 rests.
        translation: ``(T, 3)`` metres, SMPL's ``transl``, +Y up.
        joints: ``(T, 22, 3)`` where the body's joints are, metres.
        error_mm: ``(T,)`` mean distance of a frame's joints from where they should be, millimetres.
    """

    betas: np.ndarray
    pose: np.ndarray
    translation: np.ndarray
    joints: np.ndarray
    error_mm: np.ndarray

    def vertices(self, body: SmplBody) -> np.ndarray:
        """``(T, V, 3)`` float32 surface of the body that was fitted, metres."""
        return body.vertices(rotvec_to_matrix(self.pose), self.translation, self.betas)


def fit_body(
    clips: Sequence[Any], body: SmplBody, how: BodyFitting | None = None, *, together: int = 2048
) -> Iterator[BodyFit]:
    """Shape, pose and place of a body whose joints go where those of each clip do; one shape for a whole clip.

    Args:
        clips: arrays ``(T, 22, 3)``, metres, +Y up, of any lengths.
        body: the model.
        how: the settings.
        together: clips are refined in groups of at least so many frames; it does not change the numbers.

    Yields:
        The fit of each clip, in order.

    Raises:
        ValueError: a clip of another shape or with values that are not finite.

    >>> from hftrainer.motion.free_smpl import free_smpl_body
    >>> body = free_smpl_body()
    >>> standing = body.joints(np.tile(np.eye(3), (2, 22, 1, 1)), np.zeros((2, 3)), [1.5, -1.0])
    >>> [fit] = fit_body([standing], body)
    >>> bool(fit.error_mm.max() < 1.0)
    True
    """
    how = how or BodyFitting()
    count = min(how.betas, body.shape.shape[-1])
    group: list[np.ndarray] = []
    for n, clip in enumerate(clips):
        group.append(checked_body(clip, (JOINTS, 3), "joints", f"clip {n}"))
        if sum(map(len, group)) >= together or n == len(clips) - 1:
            yield from _fit_group(group, body, how, count)
            group = []


def _fit_group(clips: list[np.ndarray], body: SmplBody, how: BodyFitting, count: int) -> Iterator[BodyFit]:
    betas = [lengths_to_betas(joints, body, count, how.plain) for joints in clips]
    rests = np.stack([body.rest(b)[:JOINTS] for b in betas])
    starts = [joints_to_rotations(joints, rest) for joints, rest in zip(clips, rests, strict=True)]
    every, best = sum(map(len, clips)), [np.inf] * len(clips)
    found: list[Any] = [None] * len(clips)
    refined = Refinement(steps=how.steps, rate=how.rate, last=0.01, keep=how.keep)
    for number in range(how.rounds + 1):  # the closed form, then refinement
        settings = refined if number else Refinement(steps=0)
        fits = list(fit_joints(clips, settings, rest=rests, starts=starts, together=every))
        for n, (shape, fit) in enumerate(zip(betas, fits, strict=True)):
            if fit.error_mm.mean() < best[n]:
                best[n] = fit.error_mm.mean()
                found[n] = BodyFit(shape, fit.pose, fit.translation, fit.joints, fit.error_mm)
        if number:
            starts = [rotvec_to_matrix(fit.pose) for fit in fits]
            betas = [_posed_betas(*pair, body, count, how.plain) for pair in zip(clips, starts, strict=True)]
            rests = np.stack([body.rest(b)[:JOINTS] for b in betas])
    yield from found


def shape_offsets(body: SmplBody, count: int) -> tuple[np.ndarray, np.ndarray]:
    """How rest offsets follow from the shape: ``offset = mean + slope @ betas``.

    Args:
        body: the model.
        count: shape numbers.

    Returns:
        ``(22, 3)`` and ``(22, 3, count)``; the root's is its place in the body's own axes.
    """
    joints = np.einsum("jv,vab->jab", body.regressor[:JOINTS], body.shape[..., :count])
    above = np.array(SMPL22.parents)
    slope = joints - np.where(above[:, None, None] >= 0, joints[np.maximum(above, 0)], 0.0)
    return body.rest()[:JOINTS], slope


def lengths_to_betas(joints: Any, body: SmplBody, count: int = 10, plain: float = 1e-3) -> np.ndarray:
    """The shape whose bones are as long as those of a clip.

    Args:
        joints: ``(T, 22, 3)`` metres; the median length of each bone over the frames counts.
        body: the model.
        count: shape numbers that are sought.
        plain: metres of misfit that one unit of a shape number is worth.

    Returns:
        ``(count,)``.

    Source:
        Gauss-Newton on the distances that no pose changes, from several shapes at once: other shapes have bones
        nearly as long.
    """
    joints = np.asarray(joints, dtype=np.float64)
    one, two = np.array(_RIGID).T
    wanted = np.median(np.linalg.norm(joints[:, one] - joints[:, two], axis=-1), axis=0)
    mean, slope = shape_offsets(body, count)
    place, moves = np.zeros((JOINTS, 3)), np.zeros((JOINTS, 3, count))
    for joint, parent in enumerate(SMPL22.parents[1:], 1):
        place[joint], moves[joint] = place[parent] + mean[joint], moves[parent] + slope[joint]
    line, lines = place[one] - place[two], moves[one] - moves[two]
    betas = np.random.default_rng(0).normal(size=(_STARTS, count))
    betas[0] = 0
    for _ in range(12):
        now = line + np.einsum("nab,sb->sna", lines, betas)
        length = np.linalg.norm(now, axis=-1)
        rows = np.einsum("sna,nab->snb", now / np.maximum(length, 1e-9)[..., None], lines)
        left = np.einsum("snb,sn->sb", rows, wanted - length) - plain**2 * betas
        square = np.einsum("sna,snb->sab", rows, rows) + max(plain, 1e-9) ** 2 * np.eye(count)
        betas = betas + np.linalg.solve(square, left[..., None])[..., 0]
    length = np.linalg.norm(line + np.einsum("nab,sb->sna", lines, betas), axis=-1)
    misfit = ((wanted - length) ** 2).sum(-1) + plain**2 * (betas**2).sum(-1)
    best: np.ndarray = betas[misfit.argmin()]
    return best


def _posed_betas(joints: np.ndarray, local: np.ndarray, body: SmplBody, count: int, plain: float) -> np.ndarray:
    """``(count,)`` the shape that brings the joints nearest when the body turns so; its place is free in each frame."""
    mean, slope = shape_offsets(body, count)
    world = world_rotations(local)
    place, moves = np.zeros((len(joints), JOINTS, 3)), np.zeros((len(joints), JOINTS, 3, count))
    for joint, parent in enumerate(SMPL22.parents[1:], 1):
        place[:, joint] = place[:, parent] + world[:, parent] @ mean[joint]
        moves[:, joint] = moves[:, parent] + world[:, parent] @ slope[joint]
    left = joints - place
    left, moves = (values - values.mean(axis=1, keepdims=True) for values in (left, moves))
    rows, left = moves.reshape(left.size, count) / np.sqrt(len(joints)), left.ravel() / np.sqrt(len(joints))
    return np.linalg.solve(rows.T @ rows + max(plain, 1e-9) ** 2 * np.eye(count), rows.T @ left)


def save_fit(fit: BodyFit, motion: Motion, body: SmplBody, path: str | Path) -> None:
    """Write the parameters of a body as ``smplx`` and the readers of AMASS take them, +Y up.

    Args:
        fit: a clip on ``body``.
        motion: the clip: its frame rate, and what it was made from.
        body: the model.
        path: the ``.npz``: ``poses (T, 3 J)``, ``trans (T, 3)``, ``betas (B,)``, ``gender``, ``mocap_framerate``,
            ``joints (T, 22, 3)`` and ``error_mm (T,)``.

    Raises:
        ValueError: ``about`` of the motion is not JSON.
        OSError: the place cannot be written.
    """
    poses = np.zeros((len(fit.pose), 3 * max(len(body.parents), JOINTS)))
    poses[:, : 3 * JOINTS] = fit.pose.reshape(len(fit.pose), -1)
    write_arrays(path, {
        "poses": poses, "trans": fit.translation, "betas": fit.betas, "gender": "neutral",
        "mocap_framerate": motion.fps, "mocap_frame_rate": motion.fps, "joints": fit.joints.astype(np.float32),
        "error_mm": fit.error_mm.astype(np.float32), "body": body.name, "hftrainer": about_json(motion),
    })  # fmt: skip


def read_errors(path: str | Path) -> dict[str, Any]:
    """How well a clip fits, from the file that ``save_fit`` wrote.

    Args:
        path: the ``.npz``.

    Returns:
        JSON values: ``frames``; ``error_mm`` with ``mean``, ``p95`` and ``most`` over the frames, each the mean
        distance of a frame's joints from where they should be; and ``betas``.

    Raises:
        ValueError: a file of another kind.
    """
    arrays, names = read_arrays(path, ("error_mm", "betas"))
    if len(arrays) < 2 or not arrays["error_mm"].size:
        raise ValueError(f"{Path(path).name}: the file must hold error_mm and betas; it holds {', '.join(names)}. "
                         "It is not from a fit: choose another folder.")  # fmt: skip
    error = arrays["error_mm"]
    marks = {"mean": error.mean(), "p95": np.percentile(error, 95), "most": error.max()}
    return {
        "frames": len(error), "error_mm": {name: round(float(value), 2) for name, value in marks.items()},
        "betas": arrays["betas"].round(4).tolist(),
    }  # fmt: skip
