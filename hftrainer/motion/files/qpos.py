"""CSV as MuJoCo's programs take it: one line of ``qpos`` for each frame, and the model that the numbers move.

Columns are a free joint (place, then quaternion wxyz) and three hinges, about x, y and z, for each of the other 21
joints, limb after limb as MuJoCo counts bodies: left leg, right leg, spine and head, left arm, right arm. The axes are
those of robots: +X ahead, +Y left, +Z up. Lines that begin with ``#`` say rate, skeleton and column names;
``numpy.loadtxt(path, delimiter=",")`` passes over them.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from hftrainer.motion.clip import Motion
from hftrainer.motion.files.atomic import written_whole
from hftrainer.motion.files.bvh import unwrapped_euler
from hftrainer.motion.files.glb import smooth_quats
from hftrainer.motion.files.notes import notes
from hftrainer.motion.files.rig import rigged
from hftrainer.motion.files.told import shortened
from hftrainer.motion.representation.motion135 import pose_joints
from hftrainer.motion.rotation import euler_to_matrix, quat_wxyz_to_matrix
from hftrainer.motion.skeleton import SMPL22

#: Rotation from +Y up, left at +X, ahead +Z to +Z up, left at +Y, ahead +X.
_ROBOT = np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])
_WIDTH = 7 + 3 * 21


def _limbs(joint: int = 0) -> list[int]:
    """Joints depth first: the order of bodies in a MuJoCo model."""
    below = [child for child, parent in enumerate(SMPL22.parents) if parent == joint]
    return [joint, *(inner for child in below for inner in _limbs(child))]


_ORDER = _limbs()
#: Thickness of the model's limbs, metres.
_RADII = {"pelvis": 0.09, "spine1": 0.09, "spine2": 0.09, "spine3": 0.09, "hip": 0.06, "knee": 0.045, "ankle": 0.03,
          "foot": 0.025, "neck": 0.04, "head": 0.09, "collar": 0.05, "shoulder": 0.04, "elbow": 0.035,
          "wrist": 0.03}  # fmt: skip


def columns() -> tuple[str, ...]:
    """Names of the 70 columns.

    >>> columns()[5:9], len(columns())
    (('pelvis_qy', 'pelvis_qz', 'left_hip_x', 'left_hip_y'), 70)
    """
    free = tuple(f"pelvis_{name}" for name in ("x", "y", "z", "qw", "qx", "qy", "qz"))
    return free + tuple(f"{SMPL22.joints[joint]}_{axis}" for joint in _ORDER[1:] for axis in "xyz")


def save_csv(motion: Motion, path: str | Path, *, fps: float | None = None, in_place: bool = False) -> None:
    """Write a motion as ``qpos`` lines. Bones are rigid: joints of network output move by millimetres.

    Args:
        motion: any motion that converts to joints.
        path: the file; see ``hftrainer.motion.files.save`` for what happens to an older one.
        fps: lines per second; rotations are interpolated along the shortest arc. Default: the motion's.
        in_place: keep the pelvis over the point where it begins; its height still changes.

    Raises:
        ValueError: an unknown option value, or ``about`` that JSON cannot hold.
        NoRouteError: the motion cannot become joints.
    """
    rig = rigged(motion, fps=fps, in_place=in_place, bones="rigid")
    turned = _ROBOT @ rig.rotations @ _ROBOT.T
    hinges = unwrapped_euler(turned[:, _ORDER[1:]], "XYZ").reshape(len(turned), -1)
    table = np.concatenate([rig.offsets[:, 0] @ _ROBOT.T, smooth_quats(turned[:, :1])[:, 0], hinges], axis=1) + 0.0
    head = {"format": "hftrainer qpos", "fps": rig.fps, "rest": (rig.rest @ _ROBOT.T).round(7).tolist()}
    lines = [f"# {json.dumps(head | {'motion': notes(motion)})}", f"# {','.join(columns())}"]
    lines += [",".join(f"{value:.7f}" for value in row) for row in table.tolist()]
    with written_whole(path) as beside:
        beside.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def read_qpos(path: str | Path) -> tuple[np.ndarray, np.ndarray, float]:
    """The numbers of a file that ``save_csv`` wrote.

    Returns:
        ``(T, 70)`` qpos, ``(22, 3)`` rest offsets in the file's axes, and lines per second.

    Raises:
        ValueError: another kind of CSV, or a damaged file.
    """
    path = Path(path)
    first, _, text = path.read_text(encoding="utf-8", errors="replace").partition("\n")
    try:
        head = json.loads(first.removeprefix("#"))
        rest, fps = np.array(head["rest"], dtype=np.float64), float(head["fps"])
        rows = [line.split(",") for line in text.splitlines() if line.strip() and not line.startswith("#")]
        widths = {len(row) for row in rows}
        table = np.array(rows, dtype=np.float64) if widths == {_WIDTH} else np.zeros((0, 0))
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as exc:
        said = shortened(str(exc), 200)
        raise ValueError(
            f"{path.name}: the file must begin with the line that save wrote, and hold numbers only; {said}. "
            "A CSV of another program does not say which body it moves."
        ) from exc
    if widths != {_WIDTH} or rest.shape != (22, 3) or not np.isfinite(table).all():
        found = ", ".join(map(str, sorted(widths))) or "no"
        raise ValueError(f"{path.name}: every line must have {_WIDTH} finite numbers; got {found}. It is damaged.")
    return table, rest, fps


def load_csv(path: str | Path) -> Motion:
    """Read a file that ``save_csv`` wrote, as joint positions.

    Returns:
        A Motion of ``joints``, metres, +Y up, at the file's own rate.

    Raises:
        ValueError: another kind of CSV, or a damaged file.
    """
    path = Path(path)
    table, rest, fps = read_qpos(path)
    local = np.empty((len(table), 22, 3, 3))
    local[:, 0] = quat_wxyz_to_matrix(table[:, 3:7])
    local[:, _ORDER[1:]] = euler_to_matrix(table[:, 7:].reshape(len(table), 21, 3), "XYZ")
    joints = pose_joints(local, table[:, :3], rest) @ _ROBOT
    return Motion(joints, "joints", fps, about={"file": path.name}, name=path.name)


def mujoco_model(rest: np.ndarray, name: str = "body") -> str:
    """A MuJoCo model (MJCF) that the lines of a CSV move: capsules on the 22 joints, in the order of the columns.

    Args:
        rest: ``(22, 3)`` rest offsets in the file's axes, as ``read_qpos`` gives them.
        name: the model's name.

    Returns:
        The XML text.

    >>> mujoco_model(np.zeros((22, 3))).count("<joint ")
    63
    """
    lines = [f'<mujoco model="{name}">', '  <compiler angle="radian"/>', "  <worldbody>",
             '    <geom name="floor" type="plane" size="20 20 0.1"/>']  # fmt: skip

    def numbers(values: np.ndarray) -> str:
        return " ".join(f"{value:.6f}" for value in values + 0.0)

    def write(joint: int, depth: int) -> None:
        tab, label = "  " * depth, SMPL22.joints[joint]
        lines.append(f'{tab}<body name="{label}" pos="{numbers(rest[joint])}">')
        if joint == 0:
            lines.append(f'{tab}  <freejoint name="{label}"/>')
        else:
            for axis, vector in zip("xyz", ("1 0 0", "0 1 0", "0 0 1"), strict=True):
                lines.append(f'{tab}  <joint name="{label}_{axis}" type="hinge" axis="{vector}"/>')
        radius = _RADII[label.removeprefix("left_").removeprefix("right_")]
        below = [child for child, parent in enumerate(SMPL22.parents) if parent == joint]
        lines.append(f'{tab}  <geom type="sphere" size="{radius}" contype="0" conaffinity="0"/>')
        for child in below:
            if np.linalg.norm(rest[child]) > 1e-3:
                ends = f"0 0 0 {numbers(rest[child])}"
                size = f'size="{radius * 0.8:g}" contype="0" conaffinity="0"'
                lines.append(f'{tab}  <geom type="capsule" fromto="{ends}" {size}/>')
            write(child, depth + 1)
        lines.append(f"{tab}</body>")

    write(0, 2)
    return "\n".join([*lines, "  </worldbody>", "</mujoco>", ""])
