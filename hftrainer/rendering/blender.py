"""Pictures by Blender's Cycles, which runs as a program of its own: its licence and its dependencies stay out of this.

Blender draws the body and the shadow that it throws; floor, sky and camera are those of the body style.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from hftrainer.motion.files.fbx import find_blender, run_in_blender
from hftrainer.rendering.body import BodyStage
from hftrainer.rendering.ground import SHADOW
from hftrainer.rendering.raster import Layer
from hftrainer.rendering.surface import Surface

_SAMPLES, _DRAFT_SAMPLES = 48, 12
_PATIENCE = (600.0, 300.0)  # seconds allowed for a start, and for each frame of 512 x 512
_AT_ONCE = 240  # frames in one run of Blender; bounds the size of what is handed over

_SCRIPT = """
import json, sys, bpy
import numpy as np
from mathutils import Matrix
job = json.loads(sys.argv[-1])
given = np.load(job["source"])
bpy.ops.wm.read_factory_settings(use_empty=True)
scene = bpy.context.scene
turn = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], float)  # +Y up to +Z up

def added(name, data):
    thing = bpy.data.objects.new(name, data)
    scene.collection.objects.link(thing)
    return thing

def placed(thing, axes, at):
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = (turn @ axes.T), turn @ at
    thing.matrix_world = Matrix(pose.tolist())

mesh = bpy.data.meshes.new("body")
triangles = given["triangles"]
mesh.from_pydata((given["vertices"][0] @ turn.T).tolist(), [], triangles.tolist())
mesh.polygons.foreach_set("use_smooth", np.ones(len(triangles), bool))
tint = mesh.color_attributes.new("tint", "FLOAT_COLOR", "POINT")
tint.data.foreach_set("color", np.concatenate([given["colours"], np.ones((len(given["colours"]), 1))], 1).ravel())
skin = bpy.data.materials.new("skin")
skin.use_nodes = True
nodes, links = skin.node_tree.nodes, skin.node_tree.links
nodes.clear()
shader, end = nodes.new("ShaderNodeBsdfPrincipled"), nodes.new("ShaderNodeOutputMaterial")
colour = nodes.new("ShaderNodeVertexColor")
colour.layer_name = "tint"
links.new(colour.outputs["Color"], shader.inputs["Base Color"])
links.new(shader.outputs[0], end.inputs["Surface"])
shader.inputs["Roughness"].default_value = 0.5
mesh.materials.append(skin)
body = added("body", mesh)

wide = job["floor"]
floor = bpy.data.meshes.new("floor")
floor.from_pydata([(-wide, -wide, 0), (wide, -wide, 0), (wide, wide, 0), (-wide, wide, 0)], [], [(0, 1, 2, 3)])
floor = added("floor", floor)
floor.is_shadow_catcher = True

sun = bpy.data.lights.new("sun", "SUN")
sun.energy, sun.angle, sun.color = 2.5, 0.16, (1.0, 0.96, 0.90)
back = given["light"]
side = np.cross([0.0, 1.0, 0.0], back)
side /= np.linalg.norm(side)
placed(added("sun", sun), np.stack([side, np.cross(back, side), back]), np.array([0.0, 5.0, 0.0]))
world = bpy.data.worlds.new("sky")
world.use_nodes = True
sky = world.node_tree.nodes["Background"]
sky.inputs["Color"].default_value, sky.inputs["Strength"].default_value = (0.80, 0.87, 1.0, 1.0), 0.5
scene.world = world

camera = bpy.data.cameras.new("camera")
width, height = job["size"]
camera.sensor_fit = "HORIZONTAL" if width >= height else "VERTICAL"
camera.sensor_width = camera.sensor_height = 36.0
large = max(width, height)
camera.lens = 36.0 * job["focal"] / large
camera.shift_x = (width / 2 - job["centre"][0]) / large
camera.shift_y = (job["centre"][1] - height / 2) / large
camera.clip_end = 1000.0
eye = added("camera", camera)
scene.camera = eye

render = scene.render
render.engine = "CYCLES"
render.resolution_x, render.resolution_y, render.resolution_percentage = width, height, 100
render.film_transparent = True
render.use_persistent_data = True
render.image_settings.file_format = "PNG"
render.image_settings.color_mode = "RGBA"
scene.view_settings.view_transform = "Standard"
scene.cycles.samples = job["samples"]
scene.cycles.seed = 0
scene.cycles.use_adaptive_sampling = False
scene.cycles.max_bounces = 3
try:
    scene.cycles.use_denoising = True
    scene.cycles.denoiser = "OPENIMAGEDENOISE"
except TypeError:  # built without it
    scene.cycles.use_denoising = False
for number, (vertices, at) in enumerate(zip(given["vertices"], given["eyes"])):
    mesh.vertices.foreach_set("co", (vertices @ turn.T).astype(np.float32).ravel())
    mesh.update()
    placed(eye, given["axes"], at)
    floor.location = tuple(turn @ (at * [1, 0, 1]))
    render.filepath = job["folder"] + f"/{number:05d}.png"
    bpy.ops.render.render(write_still=True)
with open(job["target"], "w") as file:
    file.write("done")
"""


class BlenderStage(BodyStage):
    """The stage of the body style, with the figures drawn by Blender.

    Args:
        surfaces, size, foot, azimuth: see ``BodyStage``.
        draft: a few samples for each pixel instead of many.
        blender: a Blender program, or a Python that has ``bpy``; see ``hftrainer.motion.files.fbx.find_blender``.

    Raises:
        FileNotFoundError: no Blender.
    """

    def __init__(
        self,
        surfaces: Sequence[Surface],
        size: tuple[int, int],
        foot: int = 0,
        azimuth: float | None = None,
        draft: bool = False,
        blender: str | None = None,
    ) -> None:
        self.command = find_blender(blender, "the style blender", "blender")
        self.samples = _DRAFT_SAMPLES if draft else _SAMPLES
        super().__init__(surfaces, size, foot, azimuth=azimuth)

    def frames(self, which: Sequence[int] | np.ndarray) -> Iterator[tuple[int, Image.Image]]:
        """Frame number and picture, for the frame numbers asked, in their order.

        Raises:
            OSError: Blender failed.
        """
        which = np.asarray(which)
        for start in range(0, len(which), _AT_ONCE):
            frames = which[start : start + _AT_ONCE]
            with tempfile.TemporaryDirectory() as folder:
                self._run(frames, Path(folder))
                for number, frame in enumerate(frames.tolist()):
                    with Image.open(Path(folder) / f"{number:05d}.png") as drawn:
                        pixels = np.asarray(drawn.convert("RGBA"), np.float32) / 255
                    picture = self.ground.picture(frame)
                    colour, cover = pixels[..., :3], pixels[..., 3]
                    black = np.clip(1 - colour.max(axis=-1) / 0.12, 0, 1)  # Blender's shadows are, ours are not
                    colour = colour + black[..., None] * (np.array(SHADOW, np.float32) / 255 - colour)
                    Layer(0, 0, colour * cover[..., None], cover).onto(picture)
                    yield frame, Image.fromarray(picture)

    def _run(self, frames: np.ndarray, folder: Path) -> None:
        """Let Blender write one RGBA picture for each frame into a folder."""
        posed = [surface.pose(self._held(surface, frames)) for surface in self.surfaces]
        vertices = np.concatenate(posed, axis=1) - self.drop
        camera = self.camera
        np.savez(
            folder / "scene.npz", vertices=vertices, triangles=self.triangles, colours=self.colours, light=self.light,
            axes=camera.axes, eyes=camera.target[frames] + camera.distance * camera.axes[2],
        )  # fmt: skip
        job = {
            "source": str(folder / "scene.npz"), "target": str(folder / "done"), "folder": str(folder),
            "size": [self.width, self.height], "focal": float(camera.focal), "samples": self.samples,
            "centre": [float(value) for value in camera.centre], "floor": 4 * camera.distance,
        }  # fmt: skip
        start, each = _PATIENCE
        seconds = start + each * len(frames) * max(1.0, self.width * self.height / 512**2)
        run_in_blender(self.command, _SCRIPT, job, "drawing", seconds)
