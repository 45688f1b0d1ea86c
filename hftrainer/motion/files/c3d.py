"""C3D, the binary format of marker capture: named points, as integers or floats, of three kinds of machine."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np

from hftrainer.motion.files.markers import Markers

_BLOCK = 512
_INTEL, _DEC, _MIPS = 84, 85, 86


def _floats(raw: bytes, machine: int) -> np.ndarray:
    """32-bit floats of a machine as float64."""
    if machine == _MIPS:
        return np.frombuffer(raw, ">f4").astype(np.float64)
    if machine == _DEC:  # VAX F: 16-bit words swapped, exponent two higher
        return np.frombuffer(raw, "<u2").reshape(-1, 2)[:, ::-1].copy().view("<f4").ravel().astype(np.float64) / 4
    return np.frombuffer(raw, "<f4").astype(np.float64)


def _parameters(data: bytes, name: str) -> tuple[dict[str, Any], int]:
    """The parameter section as ``{"POINT:RATE": value}``, and the kind of machine."""
    start = (data[0] - 1) * _BLOCK
    if start < _BLOCK or start + 4 > len(data):
        raise ValueError(f"{name}: the parameter section must lie in the file; got block {data[0]}. It is damaged.")
    blocks, machine = data[start + 2], data[start + 3]
    if machine not in (_INTEL, _DEC, _MIPS):
        raise ValueError(f"{name}: the machine must be 84, 85 or 86; got {machine}. The file is damaged.")
    order = ">" if machine == _MIPS else "<"
    end = min(len(data), start + (blocks or 256) * _BLOCK)  # some programs leave the number out; there are never more
    groups: dict[int, str] = {}
    entries: list[tuple[int, str, bytes]] = []
    at = start + 4
    while at + 2 <= end:
        length, group = struct.unpack_from("bb", data, at)
        size = abs(length)
        if size == 0 or group == 0:
            break
        after = at + 2 + size
        if after + 2 > end:
            break
        label = data[at + 2 : after].decode("latin-1").strip().upper()
        (offset,) = struct.unpack_from(order + "h", data, after)
        if group < 0:
            groups[-group] = label
        else:
            entries.append((group, label, data[after + 2 : min(end, after + offset) if offset > 0 else end]))
        if offset <= 0:
            break
        at = after + offset
    said = {f"{groups.get(group, group)}:{label}": raw for group, label, raw in entries}
    read = {key: raw for key, raw in said.items() if key.startswith(("POINT:", "TRIAL:"))}
    return {key: _value(raw, order, machine, f"{name}: {key}") for key, raw in read.items()}, machine


def _value(data: bytes, order: str, machine: int, what: str) -> Any:
    """One parameter: text, a list of texts, or numbers."""
    if len(data) < 2:
        raise ValueError(f"{what} must be whole; the file ends in it.")
    (kind,), count = struct.unpack_from("b", data, 0), data[1]
    sizes = list(data[2 : 2 + count])
    number = math.prod(sizes) if sizes else 1
    if len(data) < 2 + count + number * abs(kind):
        raise ValueError(f"{what} must have the {number} values that it declares; the file ends before. It is damaged.")
    raw = data[2 + count : 2 + count + number * abs(kind)]
    if kind == -1:
        width = sizes[0] if sizes else 1
        text = [raw[i : i + width].decode("latin-1").strip() for i in range(0, len(raw), width)] if width else []
        return text if len(sizes) > 1 else "".join(text)
    if kind == 1:
        return np.frombuffer(raw, "u1").astype(np.float64)
    if kind == 2:
        return np.frombuffer(raw, order + "u2").astype(np.float64)
    if kind == 4:
        return _floats(raw, machine)
    raise ValueError(f"{what} must be of kind -1, 1, 2 or 4; got {kind}. The file is damaged.")


def _first(values: Any, default: float) -> float:
    if not isinstance(values, np.ndarray) or not values.size:
        return default
    return float(values.ravel()[0])


def read_c3d(path: str | Path) -> Markers:
    """The points of a C3D file. Analog channels (forces, muscles) are passed over.

    Sizes that the file declares are checked against its length before anything is read.

    Raises:
        ValueError: the file is damaged or holds no points; the message says what is wrong.

    Source: the C3D file format, C3D.ORG user guide.
    """
    path = Path(path)
    data = path.read_bytes()
    name = path.name
    if len(data) < 2 * _BLOCK or data[1] != 0x50:
        raise ValueError(f"{name}: a C3D file must begin with a header of 512 bytes and mark 80; this one does not.")
    parameters, machine = _parameters(data, name)
    order = ">" if machine == _MIPS else "<"
    points, analog, start, stop, _ = struct.unpack_from(order + "5H", data, 2)
    scale, rate = _floats(data[12:16], machine)[0], _floats(data[20:24], machine)[0]
    (block,) = struct.unpack_from(order + "H", data, 16)
    points = _whole(_first(parameters.get("POINT:USED"), points))
    scale = _first(parameters.get("POINT:SCALE"), scale)
    fps = _first(parameters.get("POINT:RATE"), rate)
    block = _whole(_first(parameters.get("POINT:DATA_START"), block))
    width = 4 if scale < 0 else 2
    stride = (4 * points + analog) * width
    at = (block - 1) * _BLOCK
    if points < 1 or not (np.isfinite(fps) and fps > 0) or not np.isfinite(scale) or scale == 0:
        raise ValueError(f"{name}: it must hold points at a rate above 0; got {points} at {fps:g}. It is damaged.")
    frames = _frames(parameters, start, stop)
    if at < 2 * _BLOCK or at + frames * stride > len(data) or frames < 1:
        room = max(0, len(data) - at) // stride
        raise ValueError(
            f"{name}: it must hold the {frames} frames of {points} points that it declares; there is room for {room}. "
            "The file is cut short or damaged."
        )
    raw = np.frombuffer(data, "u1", frames * stride, at).reshape(frames, stride)[:, : 4 * points * width].tobytes()
    if scale < 0:
        values = _floats(raw, machine).reshape(frames, points, 4)
        positions, hidden = values[..., :3].copy(), values[..., 3] < 0
    else:
        whole = np.frombuffer(raw, order + "i2").reshape(frames, points, 4)
        positions, hidden = whole[..., :3] * scale, whole[..., 3] < 0
    positions[hidden | ~np.isfinite(positions).all(axis=-1)] = np.nan
    labels = [label for key in sorted(parameters) if key == "POINT:LABELS" or key.startswith("POINT:LABELS")
              for label in _texts(parameters[key])]  # fmt: skip
    labels += [f"point{number + 1}" for number in range(len(labels), points)]
    units = _texts(parameters.get("POINT:UNITS", ""))
    return Markers(tuple(labels[:points]), positions, fps, units[0] if units else "")


def _whole(value: float) -> int:
    """A count; what is none is -1."""
    return int(value) if 0 <= value < 2**31 else -1


def _texts(value: Any) -> list[str]:
    return value if isinstance(value, list) else [str(value)]


def _frames(parameters: dict[str, Any], start: int, stop: int) -> int:
    """How many frames; the header's 16 bits do for 65,535, longer takes say it elsewhere."""
    ends = [parameters.get(f"TRIAL:ACTUAL_{which}_FIELD") for which in ("START", "END")]
    if all(isinstance(end, np.ndarray) and end.size >= 2 for end in ends):
        first, last = (_whole(end[0] + 65536 * end[1]) for end in ends if end is not None)
        if last >= first:
            return last - first + 1
    frames = int(stop) - int(start) + 1
    declared = parameters.get("POINT:LONG_FRAMES", parameters.get("POINT:FRAMES"))
    return _whole(_first(declared, frames)) if stop == 65535 else frames
