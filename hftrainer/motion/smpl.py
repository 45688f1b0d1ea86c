"""SMPL-type bodies from the user's own files: joints and surface of poses, with nothing but NumPy.

SMPL, SMPL-H and SMPL-X share one build: a surface at rest that shape and pose push about, joints read off it, and
linear blend skinning:

``v = template + shape @ betas``; ``joints = regressor @ v``; ``v += pose_space @ (R - 1)``; ``v' = sum_j w_j G_j v``.

The bodies are licensed and not shipped: a path names the file. ``.npz`` and the ``.pkl`` of the release are read, the
latter without running anything that is in it (``hftrainer.motion.files.pickles``).

Source: Loper et al., "SMPL: A Skinned Multi-Person Linear Model", SIGGRAPH Asia 2015; Romero et al., "Embodied Hands",
2017; Pavlakos et al., "Expressive Body Capture", CVPR 2019.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hftrainer.motion.clip import Motion
from hftrainer.motion.files.archive import read_arrays
from hftrainer.motion.files.atomic import written_whole
from hftrainer.motion.files.pickles import read_pickled_arrays
from hftrainer.motion.representation.convert import convert
from hftrainer.motion.representation.motion135 import motion135_to_rotations
from hftrainer.motion.skeleton import SMPL22

#: Number of joints -> which body.
KINDS = {24: "smpl", 52: "smplh", 55: "smplx"}
_NEEDED = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f")
_BETAS = 300  # SMPL-X stores this many for the shape before those of the face
_AT_ONCE = 32  # frames


@dataclass(frozen=True, eq=False)
class SmplBody:
    """A body model.

    Attributes:
        name: ``"smpl"``, ``"smplh"``, ``"smplx"``, or the number of joints for others.
        template: ``(V, 3)`` the surface at rest, metres, +Y up.
        shape: ``(V, 3, B)`` how each shape number moves it.
        pose: ``(V, 3, 9 (J - 1))`` how rotations move it.
        regressor: ``(J, V)`` joints from the surface.
        weights: ``(V, J)`` how much each joint moves each vertex; rows add up to 1.
        parents: parent of each joint, -1 for the root; the first 22 are those of ``SMPL22``.
        triangles: ``(F, 3)`` vertex numbers.
    """

    name: str
    template: np.ndarray
    shape: np.ndarray
    pose: np.ndarray
    regressor: np.ndarray
    weights: np.ndarray
    parents: tuple[int, ...]
    triangles: np.ndarray

    def shaped(self, betas: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """The surface ``(V, 3)`` and the joints ``(J, 3)`` at rest, of a body of some shape.

        Args:
            betas: shape numbers; fewer than the model has leave the others 0.

        Raises:
            ValueError: more numbers than the model has, or none that are finite.
        """
        betas = np.zeros(0) if betas is None else np.asarray(betas, dtype=np.float64).ravel()
        if len(betas) > self.shape.shape[-1] or not np.isfinite(betas).all():
            raise ValueError(
                f"betas must be at most {self.shape.shape[-1]} finite numbers for this {self.name}; got {len(betas)}."
            )
        surface = self.template + self.shape[..., : len(betas)] @ betas
        return surface, self.regressor @ surface

    def rest(self, betas: Any = None) -> np.ndarray:
        """``(J, 3)`` offset of each joint from its parent; the root's from the origin of the body's own axes."""
        joints = self.shaped(betas)[1]
        above = np.maximum(self.parents, 0)
        return np.asarray(joints - np.where(np.array(self.parents)[:, None] >= 0, joints[above], 0.0))

    def joints(self, local: Any, translation: Any, betas: Any = None) -> np.ndarray:
        """Where the joints are.

        Args:
            local: ``(T, J', 3, 3)`` rotations relative to the parent, J' at most J; later joints rest.
            translation: ``(T, 3)`` metres, SMPL's ``transl``.
            betas: shape.

        Returns:
            ``(T, J, 3)`` metres.

        Raises:
            ValueError: shapes that do not fit.
        """
        local, translation = self._checked(local, translation)
        return self._placed(local, self.shaped(betas)[1])[1] + translation[:, None]

    def vertices(self, local: Any, translation: Any, betas: Any = None) -> np.ndarray:
        """The surface in poses; as ``joints``, but ``(T, V, 3)`` float32 metres."""
        return np.concatenate(list(self.surfaces(local, translation, betas)))

    def surfaces(self, local: Any, translation: Any, betas: Any = None) -> Iterator[np.ndarray]:
        """The surface in poses, some frames at a time: ``(t, V, 3)`` float32 metres."""
        local, translation = self._checked(local, translation)
        surface, rest = self.shaped(betas)
        directions = self.pose.reshape(-1, self.pose.shape[-1])
        for start in range(0, len(local), _AT_ONCE):
            part = local[start : start + _AT_ONCE]
            world, joints = self._placed(part, rest)
            push = (part[:, 1:] - np.eye(3)).reshape(len(part), -1) @ directions.T
            pushed = surface + push.reshape(len(part), -1, 3)
            shift = joints - np.einsum("tjab,jb->tja", world, rest)
            moves = np.concatenate([world, shift[..., None]], axis=-1).reshape(len(part), len(self.parents), 12)
            blend = (self.weights @ moves).reshape(len(part), -1, 3, 4)
            found = np.einsum("tvab,tvb->tva", blend[..., :3], pushed) + blend[..., 3]
            yield (found + translation[start : start + _AT_ONCE, None]).astype(np.float32)

    def _placed(self, local: np.ndarray, rest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """World rotations ``(T, J, 3, 3)`` and joints ``(T, J, 3)`` without the translation."""
        world, joints = local.copy(), np.tile(rest, (len(local), 1, 1))
        for joint, parent in enumerate(self.parents):
            if parent >= 0:
                world[:, joint] = world[:, parent] @ local[:, joint]
                joints[:, joint] = joints[:, parent] + world[:, parent] @ (rest[joint] - rest[parent])
        return world, joints

    def _checked(self, local: Any, translation: Any) -> tuple[np.ndarray, np.ndarray]:
        local, translation = np.asarray(local, dtype=np.float64), np.asarray(translation, dtype=np.float64)
        count = len(self.parents)
        if local.ndim != 4 or local.shape[2:] != (3, 3) or not 1 <= local.shape[1] <= count or not len(local):
            raise ValueError(f"rotations must have shape (T, 1 to {count}, 3, 3); got {local.shape}.")
        if translation.shape != (len(local), 3):
            raise ValueError(f"translation must have shape ({len(local)}, 3); got {translation.shape}.")
        whole = np.tile(np.eye(3), (len(local), count, 1, 1))
        whole[:, : local.shape[1]] = local
        return whole, translation


def load_body(path: str | Path) -> SmplBody:
    """A body model from the user's file.

    Args:
        path: ``SMPL_NEUTRAL.npz``, ``basicModel_f_lbs_10_207_0_v1.0.0.pkl``, ``SMPLX_MALE.npz``, …

    Raises:
        FileNotFoundError: no such file.
        ValueError: another ending, a damaged file, arrays that are absent or do not fit, or a pickle that holds other
            things than arrays.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} must be a body model; there is none. Check the path.")
    if path.suffix == ".npz":
        arrays = read_arrays(path, _NEEDED)[0]
    elif path.suffix == ".pkl":
        arrays = read_pickled_arrays(path, _NEEDED)
    else:
        raise ValueError(f"a body model must end in .npz or .pkl; got {path.name!r}.")
    absent = [name for name in _NEEDED if name not in arrays]
    if absent:
        raise ValueError(f"{path.name}: a body model must hold {', '.join(_NEEDED)}; {', '.join(absent)} is not there.")
    return body_from_arrays(arrays, path.name)


def body_from_arrays(arrays: dict[str, np.ndarray], name: str = "body") -> SmplBody:
    """A body model from the arrays of a release, by the names they have there.

    Args:
        arrays: ``v_template (V, 3)``, ``shapedirs (V, 3, B)``, ``posedirs (V, 3, 9 (J - 1))``, ``J_regressor (J, V)``,
            ``weights (V, J)``, ``kintree_table (2, J)``, ``f (F, 3)``.
        name: what error messages call it.

    Raises:
        ValueError: what is no number, shapes that do not fit each other, joints whose parents come later, or other
            first 22 joints.
    """
    tree = _numbers(arrays, "kintree_table", name).astype(np.int64)
    if tree.ndim != 2 or len(tree) != 2 or tree.shape[1] < 22:
        raise ValueError(f"{name}: kintree_table must have shape (2, 22 or more); got {tree.shape}.")
    joints = tree.shape[1]
    parents = (-1, *(int(parent) for parent in tree[0, 1:]))
    if parents[:22] != SMPL22.parents or any(not 0 <= p < j for j, p in enumerate(parents[1:], 1)):
        raise ValueError(f"{name}: the first 22 joints must be SMPL's, parents before children; got {parents}.")
    wide = [key for key in _NEEDED if key not in ("kintree_table", "f")]
    numbers = {key: _numbers(arrays, key, name).astype(np.float64) for key in wide}
    points = len(numbers["v_template"])
    shape = numbers["shapedirs"]
    if joints == 55 and shape.ndim == 3 and shape.shape[-1] > _BETAS:
        shape = shape[..., :_BETAS]  # the rest moves the face
    wanted = {
        "v_template": (points, 3), "posedirs": (points, 3, 9 * (joints - 1)), "J_regressor": (joints, points),
        "weights": (points, joints), "shapedirs": (points, 3, shape.shape[-1] if shape.ndim else 0),
    }  # fmt: skip
    for key, size in wanted.items():
        have = shape if key == "shapedirs" else numbers[key]
        if have.shape != size:
            raise ValueError(f"{name}: {key} must have shape {size}; got {have.shape}. The file is damaged.")
        if not np.isfinite(have).all():
            raise ValueError(f"{name}: {key} must be finite; got NaN or infinity. The file is damaged.")
    triangles = _numbers(arrays, "f", name).astype(np.int64)
    inside = not triangles.size or 0 <= triangles.min() <= triangles.max() < points
    if triangles.ndim != 2 or triangles.shape[1] != 3 or not inside:
        raise ValueError(f"{name}: f must have shape (F, 3) with vertices 0 to {points - 1}; got {triangles.shape}.")
    return SmplBody(
        KINDS.get(joints, str(joints)), numbers["v_template"], shape, numbers["posedirs"], numbers["J_regressor"],
        numbers["weights"], parents, triangles,
    )  # fmt: skip


def _numbers(arrays: dict[str, np.ndarray], key: str, name: str) -> np.ndarray:
    value = np.asarray(arrays[key])
    if value.dtype.kind not in "biuf":
        raise ValueError(f"{name}: {key} must be an array of numbers; got {value.dtype}. The file is damaged.")
    return value


def pose_of(motion: Motion) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a motion makes a body do.

    Args:
        motion: any with a way to ``motion135``.

    Returns:
        ``(T, 22, 3, 3)`` rotations relative to the parent, ``(T, 3)`` translation in metres, and betas: those that its
        file held (``about["betas"]``), else none.

    Raises:
        NoRouteError: it cannot become a body.
    """
    local, translation = motion135_to_rotations(convert(motion, "motion135").data, name=motion.name)
    betas = np.asarray(motion.about.get("betas", ()), dtype=np.float64)
    return local, translation, betas


def save_mesh(motion: Motion, body: SmplBody, path: str | Path, betas: Any = None) -> tuple[int, int, int]:
    """Write the surface of a moving body.

    Args:
        motion: any with a way to ``motion135``.
        body: whose surface.
        path: ``NAME.npy`` for one array ``(T, V, 3)`` float32 in metres, +Y up; a folder for one ``000000.ply`` per
            frame, to be absent or empty.
        betas: shape; by default that of the motion's file, as far as the body has as many numbers, else none.

    Returns:
        The shape ``(T, V, 3)`` that was written.

    Raises:
        ValueError: betas that the body has not.
        NoRouteError: the motion cannot become a body.
        OSError: the place cannot be written.
    """
    local, translation, own = pose_of(motion)
    return save_surface(body, local, translation, own[: body.shape.shape[-1]] if betas is None else betas, path)


def save_surface(
    body: SmplBody, local: Any, translation: Any, betas: Any, path: str | Path
) -> tuple[int, int, int]:
    """Write the surface of a body in poses.

    Args:
        body: whose surface.
        local, translation, betas: pose, place and shape, as ``SmplBody.joints`` takes them.
        path: as ``save_mesh`` takes it.

    Returns:
        The shape ``(T, V, 3)`` that was written.

    Raises:
        ValueError: shapes that do not fit, or betas that the body has not.
        OSError: the place cannot be written.
    """
    path = Path(path)
    shape = (len(local), len(body.template), 3)
    frames = body.surfaces(local, translation, betas)
    if path.suffix == ".npy":
        with written_whole(path) as beside, beside.open("wb") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for part in frames:
                file.write(np.ascontiguousarray(part, dtype="<f4").tobytes())
        return shape
    with written_whole(path, folder=True) as beside:
        number = 0
        for part in frames:
            for surface in part:
                write_ply(surface, body.triangles, beside / f"{number:06d}.ply")
                number += 1
    return shape


def write_ply(vertices: np.ndarray, triangles: np.ndarray, path: str | Path) -> None:
    """Write a surface as binary little-endian PLY: float32 positions, triangles of int32.

    Args:
        vertices: ``(V, 3)``.
        triangles: ``(F, 3)``.
        path: the file.
    """
    header = (
        f"ply\nformat binary_little_endian 1.0\nelement vertex {len(vertices)}\nproperty float x\nproperty float y\n"
        f"property float z\nelement face {len(triangles)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    faces = np.empty(len(triangles), dtype=[("count", "u1"), ("corners", "<i4", (3,))])
    faces["count"], faces["corners"] = 3, triangles
    with Path(path).open("wb") as file:
        file.write(header.encode() + np.ascontiguousarray(vertices, dtype="<f4").tobytes() + faces.tobytes())
