"""The moving surface of a motion: the free body, or the user's SMPL-type body; its colours tell left from right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse import csr_matrix

from hftrainer.motion.body import COLOURS, free_body
from hftrainer.motion.clip import Motion
from hftrainer.motion.files.rig import rigged
from hftrainer.motion.rotation import matrix_to_quat_wxyz, quat_wxyz_to_matrix, slerp
from hftrainer.motion.skeleton import SMPL22
from hftrainer.motion.smpl import SmplBody, pose_of
from hftrainer.motion.timing import resample_times, sample
from hftrainer.rendering.figure import LEFT, RIGHT, Colour

#: Trunk and head of one figure after another in one picture; hair and shoes are a darker shade of them.
TRUNKS: tuple[Colour, ...] = ((166, 176, 196), (150, 186, 172), (190, 168, 196), (196, 182, 150), (160, 160, 164))
_TINT = 0.62  # how far limbs go from the trunk's colour to the colour of their side


def to_linear(colour: np.ndarray) -> np.ndarray:
    """Light of displayed colours, both 0 to 1 (a power of 2.2).

    >>> to_linear(np.array([0.0, 1.0])).tolist()
    [0.0, 1.0]
    """
    return np.asarray(colour, np.float32) ** np.float32(2.2)


@dataclass(frozen=True, eq=False)
class Surface:
    """A closed surface that moves.

    Attributes:
        triangles: ``(F, 3)`` vertex numbers, counter-clockwise seen from outside.
        colours: ``(V, 3)`` linear RGB, 0 to 1.
        joints: ``(T, 22, 3)`` metres, +Y up.
        fps: frames per second.
        pose: makes ``(t, V, 3)`` metres of ``(t,)`` frame numbers.
    """

    triangles: np.ndarray
    colours: np.ndarray
    joints: np.ndarray
    fps: float
    pose: Callable[[np.ndarray], np.ndarray]

    @cached_property
    def _around(self) -> csr_matrix:
        """``(V, F)`` which faces meet at a vertex."""
        faces = len(self.triangles)
        rows, columns = self.triangles.ravel(), np.repeat(np.arange(faces), 3)
        return csr_matrix((np.ones(3 * faces, np.float32), (rows, columns)), (len(self.colours), faces))

    @cached_property
    def _beside(self) -> csr_matrix:
        """``(V, V)`` the mean over a vertex and its neighbours."""
        pairs = np.concatenate([self.triangles[:, [a, b]] for a, b in ((0, 1), (1, 2), (2, 0))])
        pairs = np.unique(np.concatenate([pairs, pairs[:, ::-1], np.arange(len(self.colours))[:, None].repeat(2, 1)]),
                          axis=0)  # fmt: skip
        share = 1.0 / np.bincount(pairs[:, 0], minlength=len(self.colours))
        return csr_matrix((share[pairs[:, 0]].astype(np.float32), pairs.T), (len(self.colours),) * 2)

    def normals(self, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Outward unit normals ``(V, 3)`` and the area that each vertex stands for ``(V,)``, square metres."""
        a, b, c = (vertices.take(self.triangles[:, k], axis=0) for k in range(3))
        one, two = b - a, c - a
        faces = np.empty_like(one)
        for k in range(3):
            i, j = (k + 1) % 3, (k + 2) % 3
            faces[:, k] = one[:, i] * two[:, j] - one[:, j] * two[:, i]
        total = self._around @ faces
        length = np.sqrt(np.einsum("vk,vk->v", total, total))
        return total / np.maximum(length, 1e-12)[:, None], length / 6

    def still(self, frame: int, move: np.ndarray, colours: np.ndarray) -> Surface:
        """One of its poses, moved by ``(3,)`` metres and in other colours, as a surface of one frame."""
        pose = self.pose(np.array([frame])) + np.asarray(move, np.float32)
        joints = self.joints[frame : frame + 1] + move
        return Surface(self.triangles, colours, joints, self.fps, lambda frames: pose[frames])

    def smoothed(self, values: np.ndarray, rounds: int) -> np.ndarray:
        """Values at vertices, spread over their neighbours."""
        for _ in range(rounds):
            values = self._beside @ values
        return values


def _tinted(weights: np.ndarray, trunk: Colour) -> np.ndarray:
    """``(V, 3)`` linear colours: limbs go over into the colour of their side; ``weights`` are ``(V, 22)``."""
    base, rows = np.array(trunk) / 255, SMPL22.joints
    colours = np.tile(base, (len(weights), 1))
    for side, colour in (("left", LEFT), ("right", RIGHT)):
        mine = [at for at, name in enumerate(rows) if name.startswith(side) and not name.endswith("collar")]
        share = weights[:, mine].sum(axis=1, keepdims=True)
        colours += _TINT * share * share * (3 - 2 * share) * (np.array(colour) / 255 - base)
    return to_linear(colours)


def free_surface(motion: Motion, fps: float | None = None, figure: int = 0) -> Surface:
    """The free body doing a motion.

    Args:
        motion: any motion that converts to joints.
        fps: frames per second; by default the motion's.
        figure: which of several figures it is, for the colour of its trunk.

    Raises:
        NoRouteError: the motion cannot become joints.
        ValueError: an fps that is not above 0.

    >>> from hftrainer.motion.skeleton import SMPL22
    >>> pose = np.zeros((2, 22, 3))
    >>> for joint, parent in enumerate(SMPL22.parents[1:], 1):
    ...     pose[:, joint] = pose[:, parent] + SMPL22.rest[joint]
    >>> surface = free_surface(Motion(pose, "joints", fps=20))
    >>> surface.pose(np.array([1])).shape == (1, len(surface.colours), 3)
    True
    """
    rig = rigged(motion, fps=fps)
    modelled = free_body()
    body = modelled.fitted(rig.rest)
    colours = _tinted(body.weights, TRUNKS[figure % len(TRUNKS)])
    for region, share in (("hair", 0.22), ("shoes", 0.45)):
        colours[(modelled.colours == COLOURS[region]).all(axis=1)] *= share
    world, joints = rig.world, rig.joints
    return Surface(
        body.triangles, colours.astype(np.float32), joints, rig.fps,
        lambda frames: body.skinned(world[frames], joints[frames]).astype(np.float32),
    )  # fmt: skip


def smpl_surface(motion: Motion, body: SmplBody, fps: float | None = None, figure: int = 0) -> Surface:
    """The user's body doing a motion.

    Args:
        motion: any motion that converts to ``motion135``.
        body: see ``hftrainer.motion.smpl.load_body``; it has the shape that the motion's file held.
        fps: frames per second; by default the motion's.
        figure: as in ``free_surface``.

    Raises:
        NoRouteError: the motion cannot become a body.
    """
    local, translation, betas = pose_of(motion)
    rate = motion.fps
    if fps is not None and fps != rate:
        times = resample_times(len(local), rate, fps)
        local, translation = (
            quat_wxyz_to_matrix(slerp(matrix_to_quat_wxyz(local), times)),
            sample(translation, times),
        )
        rate = float(fps)
    betas = betas[: body.shape.shape[-1]]
    weights = body.weights[:, :22].copy()
    for joint in range(22, body.weights.shape[1]):
        above = joint
        while above >= 22:
            above = body.parents[above]
        weights[:, above] += body.weights[:, joint]
    return Surface(
        body.triangles, _tinted(weights, TRUNKS[figure % len(TRUNKS)]).astype(np.float32),
        body.joints(local, translation, betas)[:, :22], rate,
        lambda frames: body.vertices(local[frames], translation[frames], betas),
    )  # fmt: skip
