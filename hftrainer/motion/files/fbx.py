"""FBX through Blender, which runs as a program of its own: its licence and its dependencies stay out of this one."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hftrainer.motion.clip import Motion
from hftrainer.motion.files.atomic import written_whole
from hftrainer.motion.files.glb import glb_bytes
from hftrainer.motion.files.mapping import Mapping, read_mapping
from hftrainer.motion.files.matching import match_joints
from hftrainer.motion.files.names import check_names
from hftrainer.motion.files.rig import rigged
from hftrainer.motion.files.settle import check_reading, settled

_SECONDS = 600.0

_WRITE = """
import json, sys, bpy
job = json.loads(sys.argv[-1])
bpy.ops.wm.read_factory_settings(use_empty=True)
scene = bpy.context.scene
scene.render.fps = job["count"]
bpy.ops.import_scene.gltf(filepath=job["source"], bone_heuristic="BLENDER")
scene.render.fps_base = job["base"]
scene.frame_start, scene.frame_end = 0, job["frames"] - 1
for thing in [thing for thing in bpy.data.objects if thing.type == "ARMATURE"]:
    bpy.context.view_layer.objects.active = thing
    bpy.ops.object.mode_set(mode="EDIT")
    for bone in thing.data.edit_bones:
        bone.use_connect = False  # a connected bone may not leave its parent's end
    bpy.ops.object.mode_set(mode="OBJECT")
for thing in list(bpy.data.objects):
    if thing.type == "MESH" and not thing.find_armature():
        bpy.data.objects.remove(thing)
bpy.ops.export_scene.fbx(
    filepath=job["target"], object_types={"ARMATURE", "MESH"}, add_leaf_bones=False, bake_anim=True,
    bake_anim_use_all_bones=True, bake_anim_use_nla_strips=False, bake_anim_use_all_actions=False,
    bake_anim_simplify_factor=0.0, apply_scale_options="FBX_SCALE_ALL", axis_forward="-Z", axis_up="Y",
)
"""

_READ = """
import json, sys, bpy
job = json.loads(sys.argv[-1])
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.import_scene.fbx(filepath=job["source"], ignore_leaf_bones=False, automatic_bone_orientation=False)
scene = bpy.context.scene
bodies = [thing for thing in bpy.data.objects if thing.type == "ARMATURE"]
found = {"armatures": len(bodies)}
if bodies:
    body = max(bodies, key=lambda thing: len(thing.data.bones))
    bpy.context.view_layer.objects.active = body
    bpy.ops.object.mode_set(mode="EDIT")
    for bone in body.data.edit_bones:
        bone.use_connect = False  # a connected bone may not leave its parent's end
    bpy.ops.object.mode_set(mode="OBJECT")
    bones = list(body.data.bones)
    number = {bone.name: index for index, bone in enumerate(bones)}
    action = body.animation_data.action if body.animation_data else None
    first, last = action.frame_range if action else (0, 0)
    steps = round(last - first)  # rates such as 29.97 stretch the keys a little
    def spots(pose):
        heads = [list(body.matrix_world @ b.head) for b in pose]
        return heads + [list(body.matrix_world @ b.tail) for b in pose if not b.children]
    frames = []
    for step in range(steps + 1):
        at = first + step * (last - first) / max(steps, 1)
        scene.frame_set(int(at), subframe=at - int(at))
        frames.append(spots([body.pose.bones[bone.name] for bone in bones]))
    ends = [bone for bone in bones if not bone.children]
    rest = [list(body.matrix_world @ b.head_local) for b in bones]
    rest += [list(body.matrix_world @ b.tail_local) for b in ends]
    found.update(
        names=[bone.name for bone in bones] + [bone.name + "@end" for bone in ends],
        parents=[number[bone.parent.name] if bone.parent else -1 for bone in bones] + [number[b.name] for b in ends],
        rest=rest, frames=frames, fps=scene.render.fps / scene.render.fps_base,
    )
with open(job["target"], "w") as file:
    json.dump(found, file)
"""


def find_blender(blender: str | None = None, what: str = ".fbx", extra: str = "fbx") -> list[str]:
    """The command that runs a Python script inside Blender.

    Args:
        blender: a Blender program, or a Python that has ``bpy``; by default this Python, when it has ``bpy``, else the
            ``blender`` on the path.
        what, extra: what needs it, and the extra that brings it, for the message.

    Raises:
        FileNotFoundError: there is none.

    >>> find_blender("/nowhere/blender")
    Traceback (most recent call last):
    FileNotFoundError: blender must be a program; got '/nowhere/blender'. Give the path of Blender.
    """
    if blender is None:
        if importlib.util.find_spec("bpy") is not None:
            return [sys.executable]
        blender = shutil.which("blender")
        if blender is None:
            raise FileNotFoundError(
                f"{what} needs Blender; there is neither the package bpy nor a blender on the path. "
                f"pip install 'hftrainer[{extra}]', or install Blender."
            )
    if not Path(blender).is_file():
        raise FileNotFoundError(f"blender must be a program; got {blender!r}. Give the path of Blender.")
    return [blender]


def run_in_blender(
    command: list[str], script: str, job: dict[str, Any], what: str, seconds: float = _SECONDS
) -> None:
    """Run a script inside Blender with ``job`` as its last argument, in JSON.

    Args:
        command: see ``find_blender``.
        script: Python that writes the file ``job["target"]``.
        job: JSON values.
        what: what it is for, for messages.
        seconds: how long it may take.

    Raises:
        OSError: it failed, took too long, or wrote no file.
    """
    python = "python" in Path(command[0]).name.lower()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "job.py"
        file.write_text(script, encoding="utf-8")
        words = [*command, str(file)] if python else [
            *command, "--background", "--factory-startup", "--python-exit-code", "1", "--python", str(file), "--"
        ]  # fmt: skip
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        try:
            done = subprocess.run(
                [*words, json.dumps(job)],
                capture_output=True, text=True, timeout=seconds, env=environment, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as exc:
            raise OSError(f"{what}: Blender must end within {seconds:g} seconds; it did not.") from exc
    if done.returncode != 0 or not Path(job["target"]).is_file():
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:] or ["nothing"]
        raise OSError(f"{what}: Blender must write the file; it ended with {done.returncode} and said: {said[0]}")


def save_fbx(
    motion: Motion,
    path: str | Path,
    *,
    names: str = "smpl",
    fps: float | None = None,
    in_place: bool = False,
    bones: str = "exact",
    blender: str | None = None,
) -> None:
    """Write a motion as FBX: skeleton, animation, and the free body skinned to it.

    Args:
        motion: any motion that converts to joints.
        path: the file; see ``hftrainer.motion.files.save`` for what happens to an older one.
        names, fps, in_place, bones: see ``hftrainer.motion.files.glb.save_glb``.
        blender: a Blender program, or a Python that has ``bpy``; see ``find_blender``.

    Raises:
        FileNotFoundError: no Blender.
        ValueError: an unknown option value.
        NoRouteError: the motion cannot become joints.
        OSError: Blender failed.
    """
    command = find_blender(blender)
    rig = rigged(motion, fps=fps, in_place=in_place, bones=bones)
    count = max(1, round(rig.fps))  # Blender's scenes count whole frames a second, times a factor
    content = glb_bytes(replace(rig, fps=float(count)), check_names(names), motion)
    with tempfile.TemporaryDirectory() as folder, written_whole(path) as beside:
        source, place = Path(folder) / "motion.glb", Path(folder) / "motion.fbx"
        source.write_bytes(content)
        job = {"source": str(source), "target": str(place), "frames": len(rig.rotations), "count": count,
               "base": count / rig.fps}  # fmt: skip
        run_in_blender(command, _WRITE, job, Path(path).name)
        shutil.copyfile(place, beside)


def load_fbx(
    path: str | Path, unit: str | None = None, up: str | None = None, mapping: Any = None, blender: str | None = None
) -> Motion:
    """An FBX file of any human skeleton as joint positions, at its own frame rate.

    Args:
        path: the file; its largest armature is taken.
        unit, up, mapping: see ``hftrainer.motion.files.bvh.load_bvh``. Blender has brought units and axes in order
            where the file states them.
        blender: a Blender program, or a Python that has ``bpy``; see ``find_blender``.

    Returns:
        A Motion of ``joints``.

    Raises:
        FileNotFoundError: no Blender.
        ValueError: no skeleton in the file, or one whose joints cannot be told.
        OSError: Blender failed.
    """
    path = Path(path)
    check_reading(unit, up)
    command = find_blender(blender)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "joints.json"
        run_in_blender(command, _READ, {"source": str(path.absolute()), "target": str(target)}, path.name)
        found = json.loads(target.read_text(encoding="utf-8"))
    if not found["armatures"]:
        raise ValueError(f"{path.name}: the file must hold a skeleton; it holds none. Export it with its armature.")
    rest = np.array(found["rest"], dtype=np.float64)
    if mapping is None:
        mapping = match_joints(found["names"], path.name, found["parents"], rest)
    elif not isinstance(mapping, Mapping):
        mapping = read_mapping(mapping)
    joints = mapping.joints(found["names"], np.array(found["frames"], dtype=np.float64), path.name)
    still = mapping.joints(found["names"], rest[None], path.name)[0]
    return settled(joints, float(found["fps"]), mapping, path.name, unit, up, still)
