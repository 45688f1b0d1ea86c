"""GLB, the binary glTF of viewers and game engines: our own body, skinned and animated."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from hftrainer.motion.body import Body, free_body
from hftrainer.motion.clip import Motion
from hftrainer.motion.files.atomic import written_whole
from hftrainer.motion.files.names import check_names
from hftrainer.motion.files.notes import notes
from hftrainer.motion.files.rig import Rig, rigged
from hftrainer.motion.rotation import matrix_to_quat_wxyz
from hftrainer.motion.skeleton import SMPL22

_FLOAT, _UBYTE, _USHORT = 5126, 5121, 5123
_KINDS = {1: "SCALAR", 3: "VEC3", 4: "VEC4", 16: "MAT4"}


class _Buffer:
    """The binary chunk as it grows, with the views and accessors that say what lies in it."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def add(self, values: Any, dtype: str, component: int, target: int | None = None, bounds: bool = False) -> int:
        """Append an array ``(N,)`` or ``(N, C)``; returns the number of its accessor."""
        array = np.ascontiguousarray(values, dtype=dtype)
        view = {"buffer": 0, "byteOffset": len(self.data), "byteLength": array.nbytes}
        self.data += array.tobytes()
        self.data += bytes(-len(self.data) % 4)
        if target is not None:
            view["target"] = target
        width = 1 if array.ndim == 1 else array.shape[1]
        accessor = {
            "bufferView": len(self.views), "componentType": component, "count": len(array), "type": _KINDS[width],
        }  # fmt: skip
        if bounds:
            flat = array.reshape(len(array), width)
            accessor |= {"min": flat.min(axis=0).tolist(), "max": flat.max(axis=0).tolist()}
        self.views.append(view)
        self.accessors.append(accessor)
        return len(self.accessors) - 1


def save_glb(
    motion: Motion,
    path: str | Path,
    *,
    names: str = "smpl",
    fps: float | None = None,
    in_place: bool = False,
    bones: str = "exact",
) -> None:
    """Write a motion as one GLB file: skeleton, animation, and the free body skinned to it.

    Metres and +Y up, as glTF has it. What the motion was made from stands in ``asset.extras``.

    Args:
        motion: any motion that converts to joints.
        path: the file; see ``hftrainer.motion.files.save`` for what happens to an older one.
        names: joint names, ``"smpl"``, ``"mixamo"``, ``"unreal"`` or ``"vrm"``.
        fps: frames per second of the file; rotations are interpolated along the shortest arc. Default: the motion's.
        in_place: keep the pelvis over the point where it begins; its height still changes.
        bones: ``"exact"`` or ``"rigid"``, see ``hftrainer.motion.files.rig.rigged``.

    Raises:
        ValueError: an unknown option value, or ``about`` that JSON cannot hold.
        NoRouteError: the motion cannot become joints.

    Source: glTF 2.0, Khronos Group.
    """
    labels = check_names(names)
    rig = rigged(motion, fps=fps, in_place=in_place, bones=bones)
    with written_whole(path) as beside:
        beside.write_bytes(glb_bytes(rig, labels, motion))


def glb_bytes(rig: Rig, labels: tuple[str, ...], motion: Motion) -> bytes:
    """The bytes of a GLB file.

    Args:
        rig: what moves.
        labels: 22 joint names.
        motion: where the rig came from, for name and notes.
    """
    body = free_body().fitted(rig.rest)
    buffer = _Buffer()
    mesh = _mesh(body, buffer)
    binding = np.tile(np.eye(4), (len(body.joints), 1, 1))
    binding[:, :3, :3] = np.swapaxes(body.turns, -1, -2)
    binding[:, :3, 3] = -np.einsum("jba,jb->ja", body.turns, body.joints)
    columns = np.swapaxes(binding, -1, -2).reshape(-1, 16)  # glTF stores matrices column by column
    bound = buffer.add(columns, "<f4", _FLOAT)
    animation = _animation(rig, buffer)
    joints = list(range(len(labels)))
    content = {
        "asset": {"version": "2.0", "generator": "hftrainer", "extras": notes(motion)},
        "scene": 0,
        "scenes": [{"name": motion.name, "nodes": [0, len(labels)]}],
        "nodes": [*_nodes(rig, labels), {"name": "body", "mesh": 0, "skin": 0}],
        "meshes": [mesh],
        "materials": [
            {"name": "body", "pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 0.8}},
        ],
        "skins": [{"name": "body", "joints": joints, "skeleton": 0, "inverseBindMatrices": bound}],
        "animations": [animation | {"name": motion.name}],
        "accessors": buffer.accessors,
        "bufferViews": buffer.views,
        "buffers": [{"byteLength": len(buffer.data)}],
    }
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    whole = struct.pack("<4sII", b"glTF", 2, 12 + 8 + len(text) + 8 + len(buffer.data))
    whole += struct.pack("<I4s", len(text), b"JSON") + text
    return whole + struct.pack("<I4s", len(buffer.data), b"BIN\0") + bytes(buffer.data)


def four_weights(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The four joints that move a vertex most, and how much: ``(V, 4)`` numbers and ``(V, 4)`` float32 shares.

    Args:
        weights: ``(V, J)``, at most four of a row above 0.

    Returns:
        Joint numbers, 0 where the share is 0, and shares that add up to 1 in float32.

    >>> number, share = four_weights(np.array([[0.25, 0, 0.75, 0, 0]]))
    >>> number.tolist(), share.tolist()
    ([[2, 0, 0, 0]], [[0.75, 0.25, 0.0, 0.0]])
    """
    number = np.argsort(-weights, axis=1, kind="stable")[:, :4]
    share = np.take_along_axis(weights, number, axis=1).astype(np.float32)
    share[:, 0] = 1 - share[:, 1:].sum(axis=1, dtype=np.float32)
    return np.where(share > 0, number, 0), share


def _mesh(body: Body, buffer: _Buffer) -> dict[str, Any]:
    number, share = four_weights(body.weights)
    attributes = {
        "POSITION": buffer.add(body.vertices, "<f4", _FLOAT, 34962, bounds=True),
        "NORMAL": buffer.add(body.normals(), "<f4", _FLOAT, 34962),
        "COLOR_0": buffer.add(body.colours, "<f4", _FLOAT, 34962),
        "JOINTS_0": buffer.add(number, "u1", _UBYTE, 34962),
        "WEIGHTS_0": buffer.add(share, "<f4", _FLOAT, 34962),
    }
    indices = buffer.add(body.triangles.ravel(), "<u2", _USHORT, 34963)
    return {"name": "body", "primitives": [{"attributes": attributes, "indices": indices, "material": 0}]}


def _nodes(rig: Rig, labels: tuple[str, ...]) -> list[dict[str, Any]]:
    """The skeleton, standing in its T-pose with the feet on the ground where nothing is played."""
    height = -np.minimum(0.0, rig.rest[[1, 4, 7, 10], 1].sum())
    nodes = []
    for joint, label in enumerate(labels):
        place = [0.0, float(height), 0.0] if joint == 0 else rig.rest[joint].tolist()
        node: dict[str, Any] = {"name": label, "translation": place}
        below = [child for child, parent in enumerate(SMPL22.parents) if parent == joint]
        nodes.append(node | ({"children": below} if below else {}))
    return nodes


def smooth_quats(rotations: np.ndarray) -> np.ndarray:
    """``(T, J, 4)`` quaternions wxyz of ``(T, J, 3, 3)``, each nearer to the frame before than its negative is.

    >>> smooth_quats(np.tile(np.eye(3), (2, 1, 1, 1)))[1, 0].tolist()
    [1.0, 0.0, 0.0, 0.0]
    """
    quats = matrix_to_quat_wxyz(rotations)
    turned = (quats[1:] * quats[:-1]).sum(axis=-1) < 0
    flips = np.concatenate([np.zeros((1, quats.shape[1]), bool), turned]).cumsum(axis=0) % 2
    return np.where(flips[..., None] == 1, -quats, quats)


def _animation(rig: Rig, buffer: _Buffer) -> dict[str, Any]:
    times = buffer.add(np.arange(len(rig.rotations)) / rig.fps, "<f4", _FLOAT, bounds=True)
    quats = smooth_quats(rig.rotations)[..., [1, 2, 3, 0]]
    channels: list[dict[str, Any]] = []
    samplers: list[dict[str, Any]] = []
    for joint in range(quats.shape[1]):
        tracks = [("rotation", quats[:, joint])]
        if rig.moves[joint]:
            tracks.append(("translation", rig.offsets[:, joint]))
        for track, values in tracks:
            channels.append({"sampler": len(samplers), "target": {"node": joint, "path": track}})
            samplers.append({"input": times, "interpolation": "LINEAR", "output": buffer.add(values, "<f4", _FLOAT)})
    return {"channels": channels, "samplers": samplers}
