"""ASF and AMC, Acclaim's pair of files: a skeleton for the subject and a motion for each trial."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hftrainer.motion.files.figure import MOST_JOINTS, Figure, Recording, check_room, turns
from hftrainer.motion.files.told import shortened


@dataclass(frozen=True, eq=False)
class Acclaim:
    """An ASF skeleton.

    A bone of the file becomes the joint at its near end, so that the joint's rotation moves the bone; a last bone's far
    end is ``"NAME@end"``. All axes are the world's in the rest pose.

    Attributes:
        figure: the joints, root first; offsets in the file's unit.
        axes: ``(J, 3, 3)`` axes in which each joint's angles are meant.
        dofs: for each joint its degrees of freedom in file order, such as ``("rx", "rz")`` or ``("tx", ..., "rz")``.
        length: the file's ``length`` unit; CMU's unit is ``0.0254 / length`` metres.
        degrees: whether angles are in degrees.
        position: ``(3,)`` root position added to every frame.
    """

    figure: Figure
    axes: np.ndarray
    dofs: tuple[tuple[str, ...], ...]
    length: float
    degrees: bool
    position: np.ndarray

    @property
    def columns(self) -> tuple[str, ...]:
        """Channel names in the order of an AMC frame, ``"lfemur:rx"``."""
        return tuple(f"{name}:{dof}" for name, dofs in zip(self.figure.names, self.dofs, strict=True) for dof in dofs)

    @property
    def metres(self) -> float:
        """Metres per unit: the unit is an inch divided by ``length``, as CMU's database defines it."""
        return 0.0254 / self.length


def _axes(angles: list[float], order: str) -> np.ndarray:
    """Rotation by angles (degrees, x y z) about fixed axes, the first letter of ``order`` first."""
    if sorted(order) != ["X", "Y", "Z"] or len(angles) != 3:
        raise ValueError(f"three angles about X, Y and Z must be said; got {len(angles)} about {order[:20]}")
    turned = np.deg2rad([angles["XYZ".index(axis)] for axis in order])
    return turns(turned[::-1], order[::-1])


def parse_asf(text: str, name: str = "ASF") -> Acclaim:
    """Read an ASF skeleton.

    Args:
        text: the file's text.
        name: what error messages call the file.

    Raises:
        ValueError: a section is absent or a line cannot be read.
    """
    section = ""
    bone: dict[str, list[str]] = {}
    units: dict[str, str] = {}
    root: dict[str, list[str]] = {}
    bones: dict[str, dict[str, list[str]]] = {}
    children: dict[str, list[str]] = {}
    for line in text.splitlines():
        words = line.split("#")[0].split()
        if not words:
            continue
        key = words[0].lower()
        if key.startswith(":"):
            section = key[1:]
        elif section == "units" and len(words) > 1:
            units[key] = words[1]
        elif section == "root":
            root[key] = words[1:]
        elif section == "bonedata":
            if key == "begin":
                bone = {}
            elif key == "end":
                if "name" not in bone:
                    raise ValueError(f"{name}: every bone must have a name; bone {len(bones) + 1} has none.")
                bones[bone["name"][0]] = bone
            else:
                bone[key] = words[1:]
        elif section == "hierarchy" and key not in ("begin", "end"):
            children.setdefault(words[0], []).extend(words[1:])
    absent = [s for s, found in (("root", root), ("bonedata", bones), ("hierarchy", children)) if not found]
    if absent:
        raise ValueError(
            f"{name}: an ASF file must have :root, :bonedata and :hierarchy; :{', :'.join(absent)} is absent."
        )

    names, parents, offsets = ["root"], [-1], [np.zeros(3)]
    axes: list[np.ndarray] = []
    dofs: list[tuple[str, ...]] = []
    try:
        axis_order = root.get("axis", ["XYZ"])[0].upper()
        axes.append(_axes([float(v) for v in root.get("orientation", ["0"] * 3)], axis_order))
        dofs.append(tuple(v.lower() for v in root.get("order", ["TX", "TY", "TZ", "RX", "RY", "RZ"])))
        position = np.array([float(v) for v in root.get("position", ["0"] * 3)])
        length = float(units.get("length", "1"))
        if position.shape != (3,) or not 0 < length < np.inf:
            raise ValueError("a root position of other than 3 numbers, or a length unit that is not above 0")
        tips: dict[str, np.ndarray] = {"root": np.zeros(3)}
        open_joints = ["root"]
        while open_joints:
            parent = open_joints.pop(0)
            for child in children.get(parent, []):
                data = bones[child]
                if child in tips or len(names) >= MOST_JOINTS:
                    raise ValueError(f"bone {child!r} a second time in :hierarchy, or more than {MOST_JOINTS} bones")
                tips[child] = np.array([float(v) for v in data["direction"][:3]]) * float(data["length"][0])
                if tips[child].shape != (3,):
                    raise ValueError(f"a direction of other than 3 numbers at bone {child!r}")
                names.append(child)
                parents.append(names.index(parent))
                offsets.append(tips[parent])
                turn = data.get("axis", ["0", "0", "0", "XYZ"])
                axes.append(_axes([float(v) for v in turn[:3]], turn[3].upper() if len(turn) > 3 else "XYZ"))
                dofs.append(tuple(v.lower() for v in data.get("dof", [])))
                open_joints.append(child)
            if parent != "root" and not children.get(parent):
                names.append(f"{parent}@end")
                parents.append(names.index(parent))
                offsets.append(tips[parent])
                axes.append(np.eye(3))
                dofs.append(())
    except (KeyError, ValueError, IndexError) as exc:
        said = shortened(str(exc), 200)
        raise ValueError(
            f"{name}: every bone must have direction, length, axis and dof that can be read; got {said}. "
            "The file is damaged."
        ) from exc
    lost = shortened(", ".join(sorted(set(bones) - set(names))), 500)
    if lost:
        raise ValueError(f"{name}: every bone must hang in :hierarchy; absent there: {lost}.")
    bad = shortened(", ".join(sorted(set().union(*dofs) - {"tx", "ty", "tz", "rx", "ry", "rz"})), 200)
    if bad:
        raise ValueError(f"{name}: a degree of freedom must be tx ty tz rx ry or rz; got {bad}.")
    twice = [names[i] for i, group in enumerate(dofs) if len(set(group)) < len(group)]
    if twice:
        raise ValueError(f"{name}: a bone must have each degree of freedom once; got one twice at {', '.join(twice)}.")
    figure = Figure(tuple(names), tuple(parents), np.array(offsets))
    degrees = units.get("angle", "deg").lower().startswith("deg")
    return Acclaim(figure, np.array(axes), tuple(dofs), length, degrees, position)


def parse_amc(text: str, columns: tuple[str, ...], name: str = "AMC") -> np.ndarray:
    """Read an AMC motion.

    Args:
        text: the file's text.
        columns: channel names, ``Acclaim.columns``; the file may list its bones in any order, the same in every frame.
        name: what error messages call the file.

    Returns:
        ``(T, C)`` numbers in the order of ``columns``, in the file's units; a bone that the file leaves out is at 0.

    Raises:
        ValueError: no frames, a bone that the skeleton lacks, or a frame unlike the first.
    """
    lines = [line.split() for line in text.splitlines() if line.strip() and line.lstrip()[0] not in "#:"]
    starts = [i for i, words in enumerate(lines) if len(words) == 1 and words[0].isdecimal()]
    if not starts:
        raise ValueError(f"{name}: an AMC file must have frames that begin with their number; found none.")
    size = (starts[1] if len(starts) > 1 else len(lines)) - starts[0]
    widths: list[int] = []
    order: list[int] = []
    wanted: dict[str, list[int]] = {}
    for i, column in enumerate(columns):
        wanted.setdefault(column.split(":")[0], []).append(i)
    first = lines[starts[0] + 1 : starts[0] + size]
    for words in first:
        if words[0] not in wanted or len(wanted[words[0]]) != len(words) - 1:
            bone = shortened(words[0], 80)
            raise ValueError(
                f"{name}: bone {bone!r} with {len(words) - 1} numbers must be a bone of the skeleton; "
                f"the skeleton has {len(wanted.get(words[0], []))} for it. Use the subject's own ASF file."
            )
        order += wanted[words[0]]
        widths.append(len(words))
    names = [words[0] for words in first]
    values = np.zeros((len(starts), len(columns)))
    for frame, start in enumerate(starts):
        rows = lines[start + 1 : start + size]
        following = starts[frame + 1] if frame + 1 < len(starts) else len(lines)
        if following - start != size or [r[0] for r in rows] != names or [len(r) for r in rows] != widths:
            raise ValueError(
                f"{name}: every frame must list the bones of the first; frame {lines[start][0][:20]} does not. "
                "The file is cut short or damaged."
            )
        try:
            values[frame, order] = [float(v) for row in rows for v in row[1:]]
        except ValueError as exc:
            said = shortened(str(exc), 200)
            raise ValueError(f"{name}: frame {lines[start][0][:20]} must hold numbers only; {said}.") from exc
    return values


def local_rotations(skeleton: Acclaim, channels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotations and root positions from channel numbers.

    Args:
        skeleton: the ASF skeleton.
        channels: ``(T, C)`` numbers in the order of ``skeleton.columns``.

    Returns:
        ``(T, J, 3, 3)`` rotations relative to the parent, identity in the rest pose, and ``(T, 3)`` root positions in
        the file's unit.

    Raises:
        ValueError: the number of channels is not the skeleton's.
    """
    width = len(skeleton.columns)
    if channels.ndim != 2 or channels.shape[1] != width:
        raise ValueError(f"channels must have shape (T, {width}); got {channels.shape}.")
    check_room(len(channels), len(skeleton.dofs), channels.size, "AMC")
    rotations = np.tile(np.eye(3), (len(channels), len(skeleton.dofs), 1, 1))
    translation = np.tile(skeleton.position, (len(channels), 1))
    at = 0
    for joint, dofs in enumerate(skeleton.dofs):
        axes = [(dof[1].upper(), at + i) for i, dof in enumerate(dofs) if dof[0] == "r"]
        if axes:
            angles = channels[:, [column for _, column in axes]]
            if skeleton.degrees:
                angles = np.deg2rad(angles)
            # angles turn about fixed axes, first one first: read backwards they turn about moving axes
            turned = turns(angles[:, ::-1], "".join(axis for axis, _ in axes)[::-1])
            rotations[:, joint] = skeleton.axes[joint] @ turned @ skeleton.axes[joint].T
        if joint == 0:
            for i, dof in enumerate(dofs):
                if dof[0] == "t":
                    translation[:, "xyz".index(dof[1])] += channels[:, at + i]
        at += len(dofs)
    return rotations, translation


def find_skeleton(amc: str | Path) -> Path:
    """The skeleton beside a motion: ``02_01.asf`` or the subject's ``02.asf`` beside ``02_01.amc``.

    Raises:
        FileNotFoundError: there is neither.
    """
    amc = Path(amc)
    beside = [amc.with_suffix(".asf"), amc.with_name(amc.stem.rsplit("_", 1)[0] + ".asf")]
    found = [path for path in beside if path.is_file()]
    if not found:
        raise FileNotFoundError(
            f"{amc.name}: its skeleton must stand beside it; looked for {' and '.join(p.name for p in beside)}. "
            "Copy the subject's .asf file there."
        )
    return found[0]


def read_recording(amc: str | Path, asf: str | Path | None = None) -> Recording:
    """An AMC file with its ASF skeleton, in the file's own unit; fps is 0 because AMC does not say.

    Args:
        amc: the motion file.
        asf: the skeleton file; by default the subject's, ``02.asf`` or ``02_01.asf`` beside ``02_01.amc``.

    Raises:
        FileNotFoundError: no skeleton beside the motion.
        ValueError: a file is not well formed.
    """
    amc = Path(amc)
    asf = find_skeleton(amc) if asf is None else asf
    asf = Path(asf)
    skeleton = parse_asf(asf.read_text(encoding="utf-8", errors="replace"), asf.name)
    channels = parse_amc(amc.read_text(encoding="utf-8", errors="replace"), skeleton.columns, amc.name)
    return Recording(skeleton.figure, *local_rotations(skeleton, channels), 0.0)
