"""A free body of our own: a closed low-poly surface with smooth skin weights on the 22 joints, made by this code.

The surface is drawn as an implicit one: parts with elliptic cross-sections, melted together where they meet, and then
cut into quads by surface nets. Nothing in it derives from a scan or from another body model, so files that show it are
free of other people's terms.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from hftrainer.motion.figure_shape import STANCE, owners, surface
from hftrainer.motion.representation.ik import joints_to_rotations, t_pose
from hftrainer.motion.skeleton import SMPL22

#: Colours by region, linear RGB: skin, hair, shirt, trousers, shoes.
COLOURS = {
    "skin": (0.62, 0.36, 0.25), "hair": (0.06, 0.035, 0.025), "shirt": (0.09, 0.27, 0.45),
    "trousers": (0.055, 0.07, 0.11), "shoes": (0.55, 0.54, 0.52),
}  # fmt: skip


def _grid() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Grid planes in x, y and z: close together at face, hands and feet, wider elsewhere."""

    def planes(*stretches: tuple[float, float, float]) -> np.ndarray:
        cuts = [np.linspace(a, b, max(1, round((b - a) / step)), endpoint=False) for a, b, step in stretches]
        return np.concatenate([*cuts, [stretches[-1][1]]])

    half = planes((0, 0.12, 0.0195), (0.12, 0.30, 0.026), (0.30, 0.64, 0.031), (0.64, 0.90, 0.0165))
    x = np.concatenate([-half[:0:-1], half])
    feet, legs, trunk = (-0.97, -0.87, 0.0145), (-0.87, -0.2, 0.033), (-0.2, 0.40, 0.029)
    y = planes(feet, legs, trunk, (0.40, 0.50, 0.0135), (0.50, 0.81, 0.0165))
    z = planes((-0.16, -0.10, 0.02), (-0.10, 0.02, 0.0175), (0.02, 0.20, 0.0195))
    return x, y, z


def _surface_nets(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and outward quads of the surface on a grid: a vertex in each cell that it cuts, a quad around each edge.

    Source: Gibson, "Constrained Elastic Surface Nets", MICCAI 1998.
    """
    grid = np.stack(np.meshgrid(x, y, z, indexing="ij"), axis=-1)
    half = len(x) // 2  # the planes lie as far to the right as to the left
    value = surface(grid[half:].reshape(-1, 3)).reshape(-1, len(y), len(z))
    value = np.concatenate([value[:0:-1], value])
    inside = value < 0
    total = np.zeros((*(np.array(grid.shape[:3]) - 1), 3))
    count = np.zeros(total.shape[:3], int)
    faces = []
    index = np.arange(count.size).reshape(count.shape)
    for axis in range(3):
        lower = tuple(slice(0, -1) if a == axis else slice(None) for a in range(3))
        upper = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
        at = np.argwhere(inside[lower] != inside[upper])
        first, second = value[lower][tuple(at.T)], value[upper][tuple(at.T)]
        share = (first / (first - second))[:, None]
        crossing = grid[lower][tuple(at.T)] * (1 - share) + grid[upper][tuple(at.T)] * share
        b, c = (axis + 1) % 3, (axis + 2) % 3
        around = []
        for step_b, step_c in ((0, 0), (-1, 0), (-1, -1), (0, -1)):
            cell = at.copy()
            cell[:, b] += step_b
            cell[:, c] += step_c
            np.add.at(total, tuple(cell.T), crossing)
            np.add.at(count, tuple(cell.T), 1)
            around.append(index[tuple(cell.T)])
        quads = np.stack(around, axis=1)
        faces.append(np.where((first < 0)[:, None], quads, quads[:, ::-1]))
    used = count.ravel() > 0
    number = np.cumsum(used) - 1
    vertices = total.reshape(-1, 3)[used] / count.ravel()[used, None]
    return vertices, number[np.concatenate(faces)]


def _neighbours(quads: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both ends of every edge, each edge both ways, and how many edges a vertex has."""
    pairs = np.concatenate([quads[:, [a, (a + 1) % 4]] for a in range(4)])
    pairs = np.unique(np.sort(pairs, axis=1), axis=0)
    pairs = np.concatenate([pairs, pairs[:, ::-1]])
    return pairs[:, 0], pairs[:, 1], np.bincount(pairs[:, 0], minlength=count)


def _relaxed(vertices: np.ndarray, quads: np.ndarray) -> np.ndarray:
    """Vertices spread evenly: towards their neighbours' middle, then back onto the surface by Newton's steps."""
    start, end, degree = _neighbours(quads, len(vertices))
    for _ in range(9):
        middle = np.zeros_like(vertices)
        np.add.at(middle, start, vertices[end])
        vertices = 0.5 * vertices + 0.5 * middle / degree[:, None]
        value, step = surface(vertices), np.where(vertices < 0, -1e-4, 1e-4)  # the same steps on both sides
        slope = np.stack([surface(vertices + step * unit) - value for unit in np.eye(3)], axis=1) / step
        move = slope * (value / np.maximum((slope**2).sum(axis=1), 0.05))[:, None]
        vertices = vertices - move * np.minimum(1.0, 0.008 / np.maximum(np.linalg.norm(move, axis=1), 1e-9))[:, None]
    return vertices


def _weights(vertices: np.ndarray, quads: np.ndarray, rounds: int = 14) -> np.ndarray:
    """``(V, 22)`` skin weights: each vertex to the part it lies on, spread over the surface, the four largest kept."""
    weights = np.eye(22)[owners(vertices)]
    start, end, degree = _neighbours(quads, len(vertices))
    for _ in range(rounds):
        spread = np.zeros_like(weights)
        np.add.at(spread, start, weights[end])
        weights = 0.4 * weights + 0.6 * spread / degree[:, None]
    fifth = np.sort(weights, axis=1)[:, -5, None]
    weights = np.maximum(weights - fifth, 0.0)
    return weights / weights.sum(axis=1, keepdims=True)


def _colours(vertices: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """``(V, 3)`` linear RGB: a head with hair, a shirt to the middle of the upper arm, trousers and shoes."""
    x, y, z = np.abs(vertices[:, 0]), vertices[:, 1], vertices[:, 2]
    region = np.full(len(vertices), "skin", dtype="<U8")
    region[(y < 0.52) & (x < 0.30) & (y < 0.445 + 0.9 * np.maximum(x - 0.035, 0.0))] = "shirt"
    region[y < -0.01] = "trousers"
    region[weights[:, SMPL22.feet].sum(axis=1) > 0.55] = "shoes"
    region[(y > 0.725 + 0.9 * np.minimum(z - 0.06, 0.0)) & (y > 0.625) & (x < 0.078)] = "hair"
    return np.array([COLOURS[name] for name in region])


@dataclass(frozen=True, eq=False)
class Body:
    """A skinned surface.

    Attributes:
        vertices: ``(V, 3)`` metres, in the pose in which the skin is bound: arms out, legs a little apart, pelvis at 0.
        triangles: ``(F, 3)`` vertex numbers, counter-clockwise seen from outside; the surface is closed.
        weights: ``(V, 22)`` how much each joint moves each vertex; at most four are above 0, rows add up to 1.
        colours: ``(V, 3)`` linear RGB, 0 to 1.
        joints: ``(22, 3)`` where the joints stand in the bound pose.
        turns: ``(22, 3, 3)`` how the joints of the bound pose are turned, in the world, against the T-pose.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    weights: np.ndarray
    colours: np.ndarray
    joints: np.ndarray
    turns: np.ndarray

    @cached_property
    def _spread(self) -> csr_matrix:
        """``(V, 88)`` what the rows of the joints' 3 x 4 matrices, laid flat, are to each vertex; few are not 0."""
        points = np.concatenate([self.vertices, np.ones((len(self.vertices), 1))], axis=1)
        return csr_matrix((self.weights[:, :, None] * points[:, None]).reshape(len(points), -1))

    def skinned(self, world: Any, joints: Any) -> np.ndarray:
        """The surface in other poses, by linear blend skinning.

        Args:
            world: ``(T, 22, 3, 3)`` rotations of the joints in the world, against the T-pose.
            joints: ``(T, 22, 3)`` joint positions, metres.

        Returns:
            ``(T, V, 3)`` metres.

        >>> body = free_body()
        >>> bool(np.allclose(body.skinned(body.turns[None], body.joints[None])[0], body.vertices))
        True
        """
        joints = np.asarray(joints, dtype=np.float64)
        turn = np.asarray(world, dtype=np.float64) @ np.swapaxes(self.turns, -1, -2)
        shift = joints - np.einsum("tjab,jb->tja", turn, self.joints)
        moves = np.concatenate([turn, shift[..., None]], axis=-1)  # (T, 22, 3, 4)
        flat = moves.transpose(1, 3, 0, 2).reshape(self._spread.shape[1], -1)  # (22 * 4, T * 3)
        return np.ascontiguousarray(np.moveaxis((self._spread @ flat).reshape(-1, len(joints), 3), 1, 0))

    def normals(self, vertices: Any = None) -> np.ndarray:
        """``(V, 3)`` outward unit normals of the surface, or of the same surface with its vertices elsewhere."""
        points = self.vertices if vertices is None else np.asarray(vertices, dtype=np.float64)
        a, b, c = (points[self.triangles[:, k]] for k in range(3))
        faces = np.cross(b - a, c - a)
        total = np.zeros_like(points)
        for k in range(3):
            np.add.at(total, self.triangles[:, k], faces)
        length = np.linalg.norm(total, axis=1, keepdims=True)
        return np.where(length > 1e-12, total / np.maximum(length, 1e-12), [0.0, 1.0, 0.0])

    def fitted(self, rest: Any) -> Body:
        """The same body with other bones: longer and shorter along them, thicker with the whole.

        Args:
            rest: ``(22, 3)`` offsets of a T-pose from each joint's parent, metres, as ``ik.t_pose`` gives them.

        Returns:
            A body whose bound pose has bones of those lengths.

        Raises:
            ValueError: another shape.
        """
        rest = np.asarray(rest, dtype=np.float64)
        if rest.shape != (22, 3):
            raise ValueError(f"rest must have shape (22, 3); got {rest.shape}. Use the offsets of a T-pose.")
        joints = np.zeros((22, 3))
        for joint, parent in enumerate(SMPL22.parents[1:], 1):
            joints[joint] = joints[parent] + self.turns[parent] @ rest[joint]
        mine, other = (SMPL22.bone_lengths(j) for j in (self.joints, joints))
        size = other.sum() / mine.sum()
        size = size if size > 0.01 else 1.0
        moved = np.zeros_like(self.vertices)
        for joint in range(22):
            stretch = np.eye(3) * size
            below = _BELOW.get(SMPL22.joints[joint])
            if below is not None:
                child = SMPL22.joints.index(below)
                bone = (self.joints[child] - self.joints[joint]) / mine[child]
                along = np.clip(other[child] / mine[child], 0.4 * size, 2.5 * size)
                stretch += (along - size) * np.outer(bone, bone)
            moved += self.weights[:, [joint]] * (joints[joint] + (self.vertices - self.joints[joint]) @ stretch)
        return Body(moved, self.triangles, self.weights, self.colours, joints, self.turns)


#: The bone along which a joint's part of the body is stretched.
_BELOW = {
    "pelvis": "spine1", "spine1": "spine2", "spine2": "spine3", "spine3": "neck", "neck": "head",
    **{f"{side}_{a}": f"{side}_{b}" for side in ("left", "right") for a, b in (
        ("hip", "knee"), ("knee", "ankle"), ("ankle", "foot"), ("collar", "shoulder"), ("shoulder", "elbow"),
        ("elbow", "wrist"))},
}  # fmt: skip


@lru_cache(maxsize=1)
def free_body() -> Body:
    """The body as it was modelled, 1.73 m tall. It is made once in a process, in about a second.

    Returns:
        A ``Body`` of some 5,000 vertices; its arrays are read-only.

    >>> body = free_body()
    >>> edges = np.concatenate([body.triangles[:, [a, b]] for a, b in ((0, 1), (1, 2), (2, 0))])
    >>> set(np.unique(np.sort(edges, axis=1), axis=0, return_counts=True)[1].tolist())  # closed
    {2}
    """
    stance = np.zeros((22, 3))
    for joint, name in enumerate(SMPL22.joints):
        side = -1.0 if name.startswith("right_") else 1.0
        stance[joint] = np.array(STANCE[name.replace("right_", "left_")]) * [side, 1.0, 1.0]
    local = joints_to_rotations(stance[None], t_pose(stance[None]))[0]
    turns = np.empty_like(local)
    for joint, parent in enumerate(SMPL22.parents):
        turns[joint] = local[joint] if parent < 0 else turns[parent] @ local[joint]
    vertices, quads = _surface_nets(*_grid())
    vertices = _relaxed(vertices, quads)
    weights = _weights(vertices, quads)
    a, b, c, d = (vertices[quads[:, k]] for k in range(4))
    short = np.linalg.norm(a - c, axis=1) <= np.linalg.norm(b - d, axis=1)  # cut each quad the short way
    ways = np.where(short[:, None], quads[:, [0, 1, 2, 0, 2, 3]], quads[:, [0, 1, 3, 1, 2, 3]])
    body = Body(vertices, ways.reshape(-1, 3), weights, _colours(vertices, weights), stance, turns)
    for array in vars(body).values():
        array.setflags(write=False)
    return body
