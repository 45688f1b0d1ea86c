"""BVH, the text format of motion capture: a HIERARCHY of joints, then one line of channels per frame."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hftrainer.motion.clip import Motion
from hftrainer.motion.files.atomic import written_whole
from hftrainer.motion.files.figure import MOST_JOINTS, Figure, Recording, check_room, turns
from hftrainer.motion.files.mapping import Mapping, read_mapping
from hftrainer.motion.files.matching import match_joints
from hftrainer.motion.files.names import UNITS, UPWARD, check_names
from hftrainer.motion.files.rig import rigged
from hftrainer.motion.files.settle import check_reading, settled
from hftrainer.motion.files.told import shortened
from hftrainer.motion.rotation import euler_to_matrix, matrix_to_euler
from hftrainer.motion.skeleton import SMPL22

_ORDER = "ZXY"
_END = {"head": (0.0, 0.17, 0.0), "left_wrist": (0.09, 0.0, 0.0), "right_wrist": (-0.09, 0.0, 0.0)}
_TOES = (0.0, 0.0, 0.06)


@dataclass(frozen=True, eq=False)
class Hierarchy:
    """The HIERARCHY block of a BVH file.

    Attributes:
        figure: joints in file order, each End Site following its joint as ``"NAME@end"``; offsets in the file's unit.
        channels: for each joint its channel names in file order, ``()`` at End Sites.
    """

    figure: Figure
    channels: tuple[tuple[str, ...], ...]

    @property
    def width(self) -> int:
        """Numbers per frame."""
        return sum(map(len, self.channels))


def parse_hierarchy(text: str, name: str = "BVH") -> Hierarchy:
    """Read a HIERARCHY block.

    Args:
        text: a BVH file or its part up to ``MOTION``.
        name: what error messages call the file.

    Raises:
        ValueError: the block is not well formed; the message names file and line.

    >>> block = "HIERARCHY\\nROOT hip\\n{ OFFSET 0 0 0\\nCHANNELS 3 Zrotation Xrotation Yrotation\\nEnd Site\\n"
    >>> parse_hierarchy(block + "{ OFFSET 0 1 0 }\\n}").figure.names
    ('hip', 'hip@end')
    """
    names: list[str] = []
    parents: list[int] = []
    offsets: list[list[float]] = []
    channels: list[tuple[str, ...]] = []
    stack: list[int] = []

    def wrong(line: int, want: str, got: str) -> ValueError:
        return ValueError(f"{name}, line {line}: {want}; got {shortened(got, 80)!r}. The HIERARCHY block is damaged.")

    for number, line in enumerate(text.splitlines(), 1):
        words = line.replace("{", " { ").replace("}", " } ").split()
        if words[:1] == ["MOTION"]:
            break
        at = 0
        while at < len(words):
            word = words[at].upper()
            if word == "HIERARCHY":
                at += 1
            elif word in ("ROOT", "JOINT", "END"):
                label = [w for w in words[at + 1 :] if w != "{"]
                if word == "ROOT" and names:
                    raise wrong(number, "a file must have one ROOT", line.strip())
                if word != "ROOT" and not stack:
                    raise wrong(number, f"{words[at]} must stand inside a ROOT", line.strip())
                if not label:
                    raise wrong(number, f"{words[at]} must be followed by a name", line.strip())
                if len(names) >= MOST_JOINTS:
                    raise wrong(number, f"a file must have at most {MOST_JOINTS} joints", line.strip())
                parents.append(stack[-1] if stack else -1)
                names.append(f"{names[stack[-1]]}@end" if word == "END" else " ".join(label))
                offsets.append([0.0, 0.0, 0.0])
                channels.append(())
                at += 1 + len(label)
            elif word == "{":
                stack.append(len(names) - 1)
                at += 1
            elif word == "}":
                if not stack:
                    raise wrong(number, "each } must close a {", line.strip())
                stack.pop()
                at += 1
            elif word == "OFFSET":
                try:
                    offset = [float(v) for v in words[at + 1 : at + 4]]
                except ValueError as exc:
                    raise wrong(number, "OFFSET must have 3 numbers", line.strip()) from exc
                if len(offset) != 3 or not stack:
                    raise wrong(number, "OFFSET must have 3 numbers and stand inside a joint", line.strip())
                offsets[stack[-1]] = offset
                at += 4
            elif word == "CHANNELS":
                said = words[at + 1] if at + 1 < len(words) else ""
                count = int(said) if said.isdecimal() and len(said) < 3 else -1
                found = words[at + 2 : at + 2 + count]
                if count < 0 or len(found) != count or not stack:
                    raise wrong(number, "CHANNELS must have a count and as many names", line.strip())
                for channel in found:
                    if channel[:1].upper() not in "XYZ" or channel[1:].lower() not in ("position", "rotation"):
                        raise wrong(number, "a channel must be [XYZ]position or [XYZ]rotation", channel)
                axes = [channel[0].upper() + channel[1:].lower() for channel in found]
                if len(set(axes)) < len(axes):
                    raise wrong(number, "each channel of a joint must stand once", line.strip())
                channels[stack[-1]] = tuple(axes)
                at += 2 + count
            else:
                raise wrong(number, "expected ROOT, JOINT, End Site, OFFSET, CHANNELS or a brace", line.strip())
    if not names:
        raise ValueError(f"{name}: a BVH file must begin with HIERARCHY and a ROOT; found neither.")
    if stack:
        raise ValueError(f"{name}: every {{ must be closed; {len(stack)} are open at the end of the HIERARCHY block.")
    return Hierarchy(Figure(tuple(names), tuple(parents), np.array(offsets)), tuple(channels))


def local_rotations(hierarchy: Hierarchy, channels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotations and root positions from channel numbers.

    Args:
        hierarchy: the HIERARCHY block.
        channels: ``(T, C)`` numbers in file order, rotations in degrees, positions in the file's unit.

    Returns:
        ``(T, J, 3, 3)`` rotations relative to the parent (identity at End Sites) and ``(T, 3)`` root positions.
        Position channels replace the root's offset. Those below the root are not read: limbs keep their offsets.

    Raises:
        ValueError: the number of channels is not the hierarchy's.
    """
    if channels.ndim != 2 or channels.shape[1] != hierarchy.width:
        raise ValueError(f"channels must have shape (T, {hierarchy.width}); got {channels.shape}.")
    frames, joints = len(channels), len(hierarchy.channels)
    check_room(frames, joints, channels.size, "BVH")
    rotations = np.tile(np.eye(3), (frames, joints, 1, 1))
    translation = np.tile(hierarchy.figure.offsets[0], (frames, 1))
    groups: dict[str, list[tuple[int, list[int]]]] = {}
    at = 0
    for joint, names in enumerate(hierarchy.channels):
        axes = [(name[0], at + i) for i, name in enumerate(names) if name.endswith("rotation")]
        if axes:
            order = "".join(axis for axis, _ in axes)
            groups.setdefault(order, []).append((joint, [column for _, column in axes]))
        if joint == 0:
            for i, name in enumerate(names):
                if name.endswith("position"):
                    translation[:, "XYZ".index(name[0])] = channels[:, at + i]
        at += len(names)
    for order, members in groups.items():
        columns = np.array([columns for _, columns in members])  # (members, angles)
        angles = np.deg2rad(channels[:, columns])  # (T, members, angles)
        rotations[:, [joint for joint, _ in members]] = turns(angles, order)
    return rotations, translation


def parse_motion(text: str, width: int, name: str = "BVH") -> tuple[np.ndarray, float]:
    """The MOTION block: ``(T, width)`` channel numbers and the frame rate.

    Raises:
        ValueError: no block, no frames, a wrong count of numbers, or a number that cannot be read.
    """
    _, mark, body = text.partition("MOTION")
    lines = [line for line in body.splitlines() if line.strip()]
    head = " ".join(lines[:2]).replace(":", " : ").split()
    if not mark or len(lines) < 2 or head[0].lower() != "frames" or "Time" not in head:
        raise ValueError(f"{name}: a BVH file must have MOTION with Frames: and Frame Time:; they are absent.")
    try:
        frames, step = int(head[2]), float(head[-1])
        values = np.array(" ".join(lines[2:]).split(), dtype=np.float64)
    except ValueError as exc:
        said = shortened(str(exc), 200)
        raise ValueError(f"{name}: the MOTION block must hold numbers only; {said}. The file is damaged.") from exc
    if frames < 1 or not np.isfinite(step) or step <= 0:
        raise ValueError(f"{name}: MOTION must have 1 frame or more and a Frame Time above 0; got {frames} and {step}.")
    if values.size != frames * width:
        raise ValueError(
            f"{name}: MOTION must have {frames} frames of {width} numbers = {frames * width}; got {values.size}. "
            "The file is cut short or damaged."
        )
    return values.reshape(frames, width), 1.0 / step


def read_recording(path: str | Path) -> Recording:
    """A BVH file as figure, rotations and root path, all in the file's own unit.

    Raises:
        ValueError: the file is not a well-formed BVH.
    """
    path = Path(path)
    text = path.read_text(encoding="utf-8", errors="replace")
    hierarchy = parse_hierarchy(text, path.name)
    channels, fps = parse_motion(text, hierarchy.width, path.name)
    return Recording(hierarchy.figure, *local_rotations(hierarchy, channels), fps)


def joint_positions(hierarchy: Hierarchy, channels: np.ndarray) -> np.ndarray:
    """Where every joint is, position channels of limbs included: they stand in place of the joint's OFFSET.

    Args:
        hierarchy: the HIERARCHY block.
        channels: ``(T, C)`` numbers in file order.

    Returns:
        ``(T, J, 3)`` in the file's unit, joints in the order of ``hierarchy.figure``, End Sites included.
    """
    rotations, _ = local_rotations(hierarchy, channels)
    world = hierarchy.figure.global_rotations(rotations)
    positions = np.empty((*rotations.shape[:2], 3))
    at = 0
    for joint, (parent, names) in enumerate(zip(hierarchy.figure.parents, hierarchy.channels, strict=True)):
        offset = np.tile(hierarchy.figure.offsets[joint], (len(channels), 1))
        for i, name in enumerate(names):
            if name.endswith("position"):
                offset[:, "XYZ".index(name[0])] = channels[:, at + i]
        at += len(names)
        positions[:, joint] = offset if parent < 0 else positions[:, parent] + np.einsum(
            "tij,tj->ti", world[:, parent], offset
        )
    return positions


def _round_fps(fps: float) -> float:
    """The frame rate that a rounded Frame Time stands for: 0.033333 is 30."""
    near = round(2 * fps) / 2
    return near if near > 0 and abs(fps - near) < 2e-4 * near else fps


def load_bvh(
    path: str | Path,
    unit: str | None = None,
    up: str | None = None,
    mapping: Mapping | str | Path | dict[str, object] | None = None,
) -> Motion:
    """A BVH file of any human skeleton as joint positions.

    Args:
        path: the file.
        unit: ``"m"``, ``"cm"``, ``"mm"`` or ``"cmu"`` (5.64 cm); by default the one in which the legs have a human
            length.
        up: the axis that points up, ``"y"``, ``"z"``, ``"x"``, ``"-y"``, …; by default the one along which the body
            stands.
        mapping: where each of the 22 joints is found (``hftrainer.motion.files.mapping``), or a file of it; by
            default found from the joint names, else from the shape of the skeleton.

    Returns:
        A Motion of ``joints``, metres, +Y up, at the file's own frame rate; ``about`` says which skeleton, mapping,
        unit and axis were taken.

    Raises:
        ValueError: the file is damaged, its joints cannot be told, or an option has an unknown value.
        FileNotFoundError: the mapping file is not there.
    """
    path = Path(path)
    check_reading(unit, up)
    text = path.read_text(encoding="utf-8", errors="replace")
    hierarchy = parse_hierarchy(text, path.name)
    channels, fps = parse_motion(text, hierarchy.width, path.name)
    figure = hierarchy.figure
    still = figure.positions(np.tile(np.eye(3), (1, len(figure.names), 1, 1)), figure.offsets[:1])[0]
    if mapping is None:
        mapping = match_joints(figure.names, path.name, figure.parents, still)
    elif not isinstance(mapping, Mapping):
        mapping = read_mapping(mapping)
    joints = mapping.joints(figure.names, joint_positions(hierarchy, channels), path.name)
    rest = mapping.joints(figure.names, still[None], path.name)[0]
    return settled(joints, _round_fps(fps), mapping, path.name, unit, up, rest)


def unwrapped_euler(rotations: np.ndarray, order: str = "ZXY") -> np.ndarray:
    """Euler angles that run on from frame to frame.

    Each rotation has two triples of angles, and each angle repeats every full turn; the triple nearest to the frame
    before is taken. In gimbal lock the last angle stays as it was.

    Args:
        rotations: ``(T, J, 3, 3)``.
        order: three different letters of ``XYZ``, the first turned first.

    Returns:
        ``(T, J, 3)`` radians, intrinsic, of any size.

    >>> from hftrainer.motion.rotation import euler_to_matrix
    >>> turning = np.stack([np.zeros(40), np.zeros(40), np.linspace(0, 4 * np.pi, 40)], axis=-1)[:, None]
    >>> bool(np.allclose(unwrapped_euler(euler_to_matrix(turning, "ZXY")), turning, atol=1e-6))
    True
    """
    angles = matrix_to_euler(rotations, order)
    other = np.stack([angles[..., 0] + np.pi, np.pi - angles[..., 1], angles[..., 2] + np.pi], axis=-1)
    locked = np.abs(np.cos(angles[..., 1])) < 1e-5
    for frame in range(1, len(angles)):
        before = angles[frame - 1]
        if locked[frame].any():
            held = before[locked[frame]] * [0, 0, 1]
            turned = rotations[frame, locked[frame]] @ np.swapaxes(euler_to_matrix(held, order), -1, -2)
            angles[frame, locked[frame]] = matrix_to_euler(turned, order) * [1, 1, 0] + held
            other[frame, locked[frame]] = angles[frame, locked[frame]]
        choices = np.stack([angles[frame], other[frame]])  # (2, J, 3)
        choices += 2 * np.pi * np.round((before - choices) / (2 * np.pi))
        nearest = np.abs(choices - before).sum(axis=-1).argmin(axis=0)
        angles[frame] = np.take_along_axis(choices, nearest[None, :, None], axis=0)[0]
    return angles


def save_bvh(
    motion: Motion,
    path: str | Path,
    *,
    unit: str = "cm",
    names: str = "smpl",
    up: str = "y",
    fps: float | None = None,
    in_place: bool = False,
    bones: str = "exact",
) -> None:
    """Write a motion as BVH: a T-pose skeleton with the clip's bone lengths, and rotations in closed form.

    Args:
        motion: any motion that converts to joints.
        path: the file; see ``hftrainer.motion.files.save`` for what happens to an older one.
        unit: ``"cm"`` or ``"m"``.
        names: joint names, ``"smpl"``, ``"mixamo"``, ``"unreal"`` or ``"vrm"``.
        up: the axis that points up in the file, ``"y"`` or ``"z"``.
        fps: frames per second of the file; rotations are interpolated along the shortest arc. Default: the motion's.
        in_place: keep the pelvis over the point where it begins; its height still changes.
        bones: ``"exact"`` gives joints that do not keep their distance or shape to their parent (network output;
            hips and collars of HumanML3D) position channels as well, so that every joint stands where the motion has
            it; ``"rigid"`` writes rotations only, for software that reads nothing else.

    Raises:
        ValueError: an unknown option value.
        NoRouteError: the motion cannot become joints.
    """
    for what, value, known in (
        ("unit", unit, ("cm", "m")), ("up", up, ("y", "z")),
    ):  # fmt: skip
        if value not in known:
            raise ValueError(f"{what} must be one of {', '.join(known)}; got {value!r}.")
    labels = check_names(names)
    rig = rigged(motion, fps=fps, in_place=in_place, bones=bones)
    turn = UPWARD[up].T  # out of +Y up into the file's axes
    rest, offsets, rotations = rig.rest @ turn.T, rig.offsets @ turn.T, turn @ rig.rotations @ turn.T
    scale = 1.0 / UNITS[unit]
    angles = np.rad2deg(unwrapped_euler(rotations))
    lines, order = _hierarchy_lines(rest * scale, rig.moves, labels, scale, turn)
    columns = []
    for joint in order:
        columns += [offsets[:, joint] * scale] * bool(rig.moves[joint]) + [angles[:, joint]]
    table = np.concatenate(columns, axis=1) + 0.0  # no -0
    lines += ["MOTION", f"Frames: {len(table)}", f"Frame Time: {1.0 / rig.fps:.9f}"]
    lines += [" ".join(f"{value:.6f}" for value in row) for row in table.tolist()]
    with written_whole(path) as beside:
        beside.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def _hierarchy_lines(
    rest: np.ndarray, moves: np.ndarray, names: tuple[str, ...], scale: float, turn: np.ndarray
) -> tuple[list[str], list[int]]:
    """The HIERARCHY block, and the joints in the order in which it names them."""
    lines, order = ["HIERARCHY"], []

    def write(joint: int, depth: int) -> None:
        order.append(joint)
        tab, inner = "\t" * depth, "\t" * (depth + 1)
        offset = rest[joint] if joint else np.zeros(3)
        channels = ["Xposition", "Yposition", "Zposition"] * bool(moves[joint]) + [f"{a}rotation" for a in _ORDER]
        lines.extend([f"{tab}{'JOINT' if joint else 'ROOT'} {names[joint]}", f"{tab}{{"])
        lines.append(f"{inner}OFFSET {_numbers(offset)}")
        lines.append(f"{inner}CHANNELS {len(channels)} {' '.join(channels)}")
        below = [child for child, parent in enumerate(SMPL22.parents) if parent == joint]
        for child in below:
            write(child, depth + 1)
        if not below:
            end = turn @ np.array(_END.get(SMPL22.joints[joint], _TOES)) * scale
            lines.extend([f"{inner}End Site", f"{inner}{{", f"{inner}\tOFFSET {_numbers(end)}", f"{inner}}}"])
        lines.append(f"{tab}}}")

    write(0, 0)
    return lines, order


def _numbers(values: np.ndarray) -> str:
    return " ".join(f"{value:.6f}" for value in (values + 0.0).tolist())
