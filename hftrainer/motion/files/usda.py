"""USDA, the text form of Pixar's USD: our own body with UsdSkel's skeleton, skin and animation."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from hftrainer.motion.body import free_body
from hftrainer.motion.clip import Motion
from hftrainer.motion.files.atomic import written_whole
from hftrainer.motion.files.glb import four_weights, smooth_quats
from hftrainer.motion.files.names import check_names
from hftrainer.motion.files.notes import notes
from hftrainer.motion.files.rig import rigged
from hftrainer.motion.skeleton import SMPL22


def save_usda(
    motion: Motion,
    path: str | Path,
    *,
    names: str = "smpl",
    fps: float | None = None,
    in_place: bool = False,
    bones: str = "exact",
) -> None:
    """Write a motion as USDA: skeleton, animation, and the free body skinned to it; metres, +Y up.

    What the motion was made from stands in the layer's custom data.

    Args:
        motion: any motion that converts to joints.
        path: the file; see ``hftrainer.motion.files.save`` for what happens to an older one.
        names: joint names, ``"smpl"``, ``"mixamo"``, ``"unreal"`` or ``"vrm"``; a colon becomes an underscore, USD's
            names have none.
        fps: frames per second of the file; rotations are interpolated along the shortest arc. Default: the motion's.
        in_place: keep the pelvis over the point where it begins; its height still changes.
        bones: ``"exact"`` or ``"rigid"``, see ``hftrainer.motion.files.rig.rigged``.

    Raises:
        ValueError: an unknown option value, or ``about`` that JSON cannot hold.
        NoRouteError: the motion cannot become joints.

    Source: UsdSkel schemas, Pixar's Universal Scene Description.
    """
    labels = check_names(names)
    rig = rigged(motion, fps=fps, in_place=in_place, bones=bones)
    body = free_body().fitted(rig.rest)
    tokens: list[str] = []
    for label, parent in zip(labels, SMPL22.parents, strict=True):
        tokens.append((tokens[parent] + "/" if parent >= 0 else "") + label.replace(":", "_"))
    joints = f"[{', '.join(map(json.dumps, tokens))}]"
    rest = np.tile(np.eye(4), (len(labels), 1, 1))
    rest[:, 3, :3] = rig.rest  # USD multiplies row vectors
    bind = np.tile(np.eye(4), (len(labels), 1, 1))
    bind[:, :3, :3] = np.swapaxes(body.turns, -1, -2)
    bind[:, 3, :3] = body.joints
    number, share = four_weights(body.weights)
    quats = smooth_quats(rig.rotations)
    low, high = rig.joints.min(axis=(0, 1)) - 0.4, rig.joints.max(axis=(0, 1)) + 0.4
    extent = _points(np.stack([low, high]))
    text = f"""#usda 1.0
(
    customLayerData = {{
        string hftrainer = {_string(json.dumps(notes(motion), ensure_ascii=False))}
    }}
    defaultPrim = "Motion"
    endTimeCode = {len(quats) - 1}
    framesPerSecond = {rig.fps!r}
    metersPerUnit = 1
    startTimeCode = 0
    timeCodesPerSecond = {rig.fps!r}
    upAxis = "Y"
)

def SkelRoot "Motion" (
    kind = "component"
)
{{
    float3[] extent = {extent}

    def Skeleton "Skeleton" (
        prepend apiSchemas = ["SkelBindingAPI"]
    )
    {{
        uniform matrix4d[] bindTransforms = {_matrices(bind)}
        uniform token[] joints = {joints}
        uniform matrix4d[] restTransforms = {_matrices(rest)}
        rel skel:animationSource = </Motion/Animation>
    }}

    def SkelAnimation "Animation"
    {{
        uniform token[] joints = {joints}
        quatf[] rotations.timeSamples = {{
{_samples(quats)}
        }}
        half3[] scales = {_points(np.ones((len(labels), 3)))}
        float3[] translations.timeSamples = {{
{_samples(rig.offsets)}
        }}
    }}

    def Mesh "Body" (
        prepend apiSchemas = ["SkelBindingAPI", "MaterialBindingAPI"]
    )
    {{
        float3[] extent = {_points(np.stack([body.vertices.min(axis=0), body.vertices.max(axis=0)]))}
        int[] faceVertexCounts = {_row(np.full(len(body.triangles), 3))}
        int[] faceVertexIndices = {_row(body.triangles.ravel())}
        rel material:binding = </Motion/Look>
        normal3f[] normals = {_points(body.normals())} (
            interpolation = "vertex"
        )
        point3f[] points = {_points(body.vertices)}
        color3f[] primvars:displayColor = {_points(body.colours)} (
            interpolation = "vertex"
        )
        matrix4d primvars:skel:geomBindTransform = {_matrices(np.eye(4)[None])[1:-1]}
        int[] primvars:skel:jointIndices = {_row(number.ravel())} (
            elementSize = 4
            interpolation = "vertex"
        )
        float[] primvars:skel:jointWeights = {_row(share.ravel())} (
            elementSize = 4
            interpolation = "vertex"
        )
        rel skel:skeleton = </Motion/Skeleton>
        uniform token subdivisionScheme = "none"
    }}

    def Material "Look"
    {{
        token outputs:surface.connect = </Motion/Look/Surface.outputs:surface>

        def Shader "Surface"
        {{
            uniform token info:id = "UsdPreviewSurface"
            color3f inputs:diffuseColor.connect = </Motion/Look/Colour.outputs:result>
            float inputs:roughness = 0.8
            token outputs:surface
        }}

        def Shader "Colour"
        {{
            uniform token info:id = "UsdPrimvarReader_float3"
            string inputs:varname = "displayColor"
            float3 outputs:result
        }}
    }}
}}
"""
    with written_whole(path) as beside:
        beside.write_text(text, encoding="utf-8", newline="\n")


def _string(text: str) -> str:
    """A quoted string of USDA."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _row(values: Iterable[Any]) -> str:
    return f"[{', '.join(f'{value:.7g}' for value in np.asarray(values).tolist())}]"


def _points(rows: np.ndarray) -> str:
    """Rows of numbers as tuples: points, quaternions, colours."""
    return "[" + ", ".join("(" + ", ".join(f"{v + 0.0:.7g}" for v in row) + ")" for row in rows.tolist()) + "]"


def _samples(values: np.ndarray) -> str:
    """One line for each frame."""
    return "\n".join(f"            {frame}: {_points(rows)}," for frame, rows in enumerate(values))


def _matrices(values: np.ndarray) -> str:
    """4x4 matrices, rows first."""
    rows = ("( " + ", ".join("(" + ", ".join(f"{v + 0.0:.9g}" for v in row) + ")" for row in matrix) + " )"
            for matrix in values.tolist())  # fmt: skip
    return f"[{', '.join(rows)}]"
