"""How a motion was made, read back from the files that hold it, and the numbers of such files to compare."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np

from hftrainer.motion.files.told import told_of

_FLOAT = 5126  # glTF's name of float32


def read_notes(path: str | Path) -> dict[str, Any]:
    """What a file says of its motion.

    Args:
        path: ``.npz``, ``.glb``, ``.usda`` or ``.csv`` that ``save`` wrote.

    Returns:
        ``about`` (sentence, seed, model, settings), ``representation``, ``fps``, ``route`` and ``frames``.

    Raises:
        ValueError: another ending, a damaged file, or one of another program.

    >>> import tempfile
    >>> from hftrainer.motion.clip import Motion
    >>> where = Path(tempfile.mkdtemp()) / "a.glb"
    >>> Motion(np.zeros((4, 263)), "hml263", 20, about={"seed": 3}).save(where)
    >>> read_notes(where)["about"], read_notes(where)["frames"]
    ({'seed': 3}, 4)
    """
    path = Path(path)
    kind = path.suffix.lower()
    with told_of(path.name):
        if kind == ".npz":
            from hftrainer.motion.files import load

            motion = load(path)
            return {
                "about": dict(motion.about), "representation": motion.representation.name, "fps": motion.fps,
                "route": list(motion.route), "frames": len(motion),
            }  # fmt: skip
        said = _notes(path, kind)
        if not isinstance(said, dict) or not isinstance(said.get("about"), dict):
            raise ValueError(f"{path.name} must say how it was made; it does not. Another program wrote it.")
        return {**said, "frames": _frames(path, kind)}


def numbers(path: str | Path) -> np.ndarray:
    """All numbers of a ``.glb``, ``.usda`` or ``.csv``, one after the other: places in metres, turns, the body.

    Raises:
        ValueError: a damaged file.
    """
    path = Path(path)
    kind = path.suffix.lower()
    with told_of(path.name):
        if kind == ".csv":
            from hftrainer.motion.files.qpos import read_qpos

            table, rest, fps = read_qpos(path)
            return np.concatenate([table.ravel(), rest.ravel(), [fps]])
        if kind == ".glb":
            content, data = _glb(path)
            parts = []
            for accessor in content["accessors"]:
                if accessor["componentType"] == _FLOAT:
                    view = content["bufferViews"][accessor["bufferView"]]
                    start = view.get("byteOffset", 0)
                    parts.append(np.frombuffer(data[start : start + view["byteLength"]], "<f4"))
            return np.concatenate(parts).astype(np.float64)
        text = path.read_text(encoding="utf-8").partition('def SkelRoot "Motion"')[2]
        return np.array(re.findall(r"(?<![\w\"])-?\d+(?:\.\d+)?(?:e-?\d+)?", text), dtype=np.float64)


def _glb(path: Path) -> tuple[dict[str, Any], bytes]:
    raw = path.read_bytes()
    mark, _, _ = struct.unpack_from("<4sII", raw)
    length, kind = struct.unpack_from("<I4s", raw, 12)
    if mark != b"glTF" or kind != b"JSON" or 20 + length > len(raw):
        raise ValueError(f"{path.name} must be a whole GLB; it is not. It is damaged.")
    content = json.loads(raw[20 : 20 + length])
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} must hold one object; got {type(content).__name__}. It is damaged.")
    return content, raw[28 + length :]


def _notes(path: Path, kind: str) -> Any:
    if kind == ".glb":
        return _glb(path)[0].get("asset", {}).get("extras")
    text = path.read_text(encoding="utf-8")
    if kind == ".csv":
        return json.loads(text.partition("\n")[0].removeprefix("#")).get("motion")
    if kind == ".usda":
        found = re.search(r'string hftrainer = ("(?:[^"\\]|\\.)*")', text[:1_000_000])
        return json.loads(json.loads(found[1])) if found else None
    raise ValueError(f"{path.name} must end in .npz, .glb, .usda or .csv to say how it was made. Take one of these.")


def _frames(path: Path, kind: str) -> int:
    if kind == ".csv":
        from hftrainer.motion.files.qpos import read_qpos

        return len(read_qpos(path)[0])
    if kind == ".glb":
        content = _glb(path)[0]
        return int(content["accessors"][content["animations"][0]["samplers"][0]["input"]]["count"])
    found = re.search(r"endTimeCode = (\d+)", path.read_text(encoding="utf-8"))
    return int(found[1]) + 1 if found else 0
