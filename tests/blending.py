"""Blender for tests: the program, what it sees in a file that it opens, and a picture of several files."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hftrainer.motion.files.fbx import find_blender, run_in_blender

_OPEN = """
import json, sys, bpy, mathutils
job = json.loads(sys.argv[-1])
bpy.ops.wm.read_factory_settings(use_empty=True)
scene = bpy.context.scene

def opened(path):
    # by Blender's own importers, as its menu calls them, and at the file's rate
    before, ending = set(bpy.data.objects), path.rsplit(".", 1)[1]
    scene.render.fps = job["fps"]
    if ending == "glb":
        bpy.ops.import_scene.gltf(filepath=path)
    elif ending == "fbx":
        bpy.ops.import_scene.fbx(filepath=path)
    elif ending == "usda":
        bpy.ops.wm.usd_import(filepath=path)
    else:
        bpy.ops.import_anim.bvh(filepath=path, global_scale=0.01, use_fps_scale=False)
    new = [thing for thing in bpy.data.objects if thing not in before]
    body, = [thing for thing in new if thing.type == "ARMATURE"]
    skins = [thing for thing in new if thing.type == "MESH" and thing.find_armature() == body]
    return new, body, skins

def upright(spot):
    return [spot.x, spot.z, -spot.y]
"""

_LOOK = """
new, body, skins = opened(job["source"])
found = {"names": [bone.name.split("/")[-1] for bone in body.pose.bones], "joints": [], "skin": {}}
first, last = body.animation_data.action.frame_range
found["range"] = [first, last]
for frame in range(job["frames"]):
    scene.frame_set(round(first) + frame)
    found["joints"].append([upright(body.matrix_world @ bone.head) for bone in body.pose.bones])
    if frame in job["skin"] and skins:
        seen = skins[0].evaluated_get(bpy.context.evaluated_depsgraph_get())
        mesh = seen.to_mesh()
        found["skin"][frame] = [upright(seen.matrix_world @ vertex.co) for vertex in mesh.vertices]
        seen.to_mesh_clear()
with open(job["target"], "w") as file:
    json.dump(found, file)
"""

_WRITE = """
_, body, _ = opened(job["source"])
bpy.context.view_layer.objects.active = body
bpy.ops.export_anim.bvh(filepath=job["target"], frame_start=0, frame_end=job["frames"] - 1, global_scale=100.0)
"""

_DRAW = """
def painted(name, colour=None, attribute=None):
    made = bpy.data.materials.new(name)
    made.use_nodes = True
    shader = made.node_tree.nodes["Principled BSDF"]
    shader.inputs["Roughness"].default_value = 0.6
    if attribute is not None:
        node = made.node_tree.nodes.new("ShaderNodeVertexColor")
        node.layer_name = attribute
        made.node_tree.links.new(node.outputs[0], shader.inputs["Base Color"])
    elif colour is not None:
        shader.inputs["Base Color"].default_value = (*colour, 1)
    return made

new, body, skins = opened(job["source"])
for thing in new:
    if thing.type == "MESH" and thing not in skins:
        thing.hide_render = True  # shapes that stand for bones on the screen
for skin in skins:
    if not len(skin.data.materials) or job["source"].endswith(("fbx", "usda")):
        colours = skin.data.color_attributes
        skin.data.materials.clear()
        skin.data.materials.append(painted("skin", (0.5, 0.5, 0.5), colours[0].name if len(colours) else None))
    for face in skin.data.polygons:
        face.use_smooth = True
scene.frame_set(round(body.animation_data.action.frame_range[0]) + job["frame"])
if not skins:  # a BVH has no skin: a ball at each joint, a stick along each bone
    ink = painted("bones", (0.03, 0.14, 0.38))
    for bone in body.pose.bones:
        head, above = body.matrix_world @ bone.head, bone.parent
        bpy.ops.mesh.primitive_uv_sphere_add(radius=0.032, location=head)
        bpy.context.object.data.materials.append(ink)
        if above:
            start = body.matrix_world @ above.head
            way = head - start
            bpy.ops.mesh.primitive_cylinder_add(radius=0.014, depth=way.length, location=(head + start) / 2)
            bpy.context.object.rotation_euler = way.to_track_quat("Z", "Y").to_euler()
            bpy.context.object.data.materials.append(ink)
bpy.ops.mesh.primitive_plane_add(size=60, location=(0, 0, job["floor"]))
bpy.context.object.is_shadow_catcher = True
sun = bpy.data.objects.new("sun", bpy.data.lights.new("sun", "SUN"))
sun.data.energy, sun.data.angle, sun.rotation_euler = 2.3, 0.1, (0.7, 0.15, 0.5)
scene.collection.objects.link(sun)
world = bpy.data.worlds.new("sky")
world.use_nodes = True
world.node_tree.nodes["Background"].inputs["Strength"].default_value = 0.75
world.node_tree.nodes["Background"].inputs["Color"].default_value = (0.9, 0.93, 1.0, 1.0)
scene.world = world
camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
scene.collection.objects.link(camera)
scene.camera = camera
down = lambda at: mathutils.Vector((at[0], -at[2], at[1]))
camera.location = down(job["eye"])
camera.rotation_euler = (down(job["middle"]) - camera.location).to_track_quat("-Z", "Y").to_euler()
camera.data.sensor_fit, camera.data.angle = "VERTICAL", job["angle"]
scene.render.engine, scene.cycles.samples, scene.cycles.use_denoising = "CYCLES", job["samples"], False
scene.render.film_transparent, scene.view_settings.view_transform = True, "Standard"
scene.render.resolution_x = scene.render.resolution_y = job["size"]
scene.render.filepath = job["target"]
bpy.ops.render.render(write_still=True)
"""


def blender() -> str:
    """The Blender to test with: the one that HFTRAINER_BLENDER names, this Python's, or the one on the path."""
    try:
        return find_blender(os.environ.get("HFTRAINER_BLENDER"))[-1]
    except FileNotFoundError as exc:
        pytest.skip(f"no Blender here: {exc}")


class Seen:
    """A file as Blender's own importer has it: ``joints`` by name (T, 3), ``skin`` by frame (V, 3), +Y up, metres."""

    def __init__(self, path: Path, frames: int, fps: float, skin: tuple[int, ...] = ()) -> None:
        found = _run(_OPEN + _LOOK, {"source": str(path), "frames": frames, "fps": round(fps), "skin": skin})
        joints = np.array(found["joints"])
        self.joints = {name: joints[:, number] for number, name in enumerate(found["names"])}
        self.skin = {int(frame): np.array(points) for frame, points in found["skin"].items()}
        self.first, self.last = found["range"]

    def named(self, names: tuple[str, ...]) -> np.ndarray:
        """``(T, len(names), 3)``."""
        return np.stack([self.joints[name] for name in names], axis=1)


def drawn(path: Path, picture: Path, **view: Any) -> None:
    """Draw one frame of a file as Blender opens it: ``frame``, ``fps``, ``eye``, ``middle``, ``angle``, ``floor``, …"""
    _run(_OPEN + _DRAW, {"source": str(path), **view}, picture)


def written_bvh(path: Path, target: Path, frames: int, fps: float) -> None:
    """Open a file in Blender, and write a BVH with Blender's own exporter: +Z up, position channels at every joint."""
    _run(_OPEN + _WRITE, {"source": str(path), "frames": frames, "fps": round(fps)}, target)


def _run(script: str, job: dict[str, Any], target: Path | None = None) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        place = target or Path(folder) / "found.json"
        run_in_blender([blender()], script, {**job, "target": str(place)}, Path(job["source"]).name)
        return None if target else json.loads(place.read_text())
