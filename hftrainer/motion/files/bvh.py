"""BVH, the text format of motion capture: a HIERARCHY of joints, then one line of channels per frame."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hftrainer.motion.files.figure import Figure, Recording, turns


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
        return ValueError(f"{name}, line {line}: {want}; got {got!r}. The HIERARCHY block is damaged.")

    for number, line in enumerate(text.splitlines(), 1):
        words = line.replace("{", " { ").replace("}", " } ").split()
        if words[:1] == ["MOTION"]:
            break
        at = 0
        while at < len(words):
            word = words[at].upper()
            rest = words[at + 1 :]
            if word == "HIERARCHY":
                at += 1
            elif word in ("ROOT", "JOINT", "END"):
                label = [w for w in rest if w != "{"]
                if word == "ROOT" and names:
                    raise wrong(number, "a file must have one ROOT", line.strip())
                if word != "ROOT" and not stack:
                    raise wrong(number, f"{words[at]} must stand inside a ROOT", line.strip())
                if not label:
                    raise wrong(number, f"{words[at]} must be followed by a name", line.strip())
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
                    offset = [float(v) for v in rest[:3]]
                except ValueError as exc:
                    raise wrong(number, "OFFSET must have 3 numbers", line.strip()) from exc
                if len(offset) != 3 or not stack:
                    raise wrong(number, "OFFSET must have 3 numbers and stand inside a joint", line.strip())
                offsets[stack[-1]] = offset
                at += 4
            elif word == "CHANNELS":
                count = int(rest[0]) if rest and rest[0].isdigit() else -1
                found = rest[1 : 1 + count]
                if count < 0 or len(found) != count or not stack:
                    raise wrong(number, "CHANNELS must have a count and as many names", line.strip())
                for channel in found:
                    if channel[:1].upper() not in "XYZ" or channel[1:].lower() not in ("position", "rotation"):
                        raise wrong(number, "a channel must be [XYZ]position or [XYZ]rotation", channel)
                channels[stack[-1]] = tuple(channel[0].upper() + channel[1:].lower() for channel in found)
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
        ``(T, J, 3, 3)`` rotations relative to the parent (identity at End Sites) and ``(T, 3)`` root positions. Position
        channels replace the root's offset. Position channels below the root are not read: limbs keep their offsets.

    Raises:
        ValueError: the number of channels is not the hierarchy's.
    """
    if channels.ndim != 2 or channels.shape[1] != hierarchy.width:
        raise ValueError(f"channels must have shape (T, {hierarchy.width}); got {channels.shape}.")
    frames, joints = len(channels), len(hierarchy.channels)
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
        raise ValueError(f"{name}: the MOTION block must hold numbers only; {exc}. The file is damaged.") from exc
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
