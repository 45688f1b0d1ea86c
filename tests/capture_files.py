"""Small capture files made by rule: a CMU-like skeleton, its motions, a pack and a download folder of them."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

#: name, parent, direction, length (file units), axis in degrees about x, y and z, degrees of freedom
_SIDE = (
    ("hipjoint", "root", (0.6, -0.7, 0.3), 2.4, (0, 0, 0), ""),
    ("femur", "hipjoint", (0.342, -0.94, 0), 7.2, (0, 0, 20), "rx ry rz"),
    ("tibia", "femur", (0.342, -0.94, 0), 7.4, (0, 0, 20), "rx"),
    ("foot", "tibia", (0.06, -0.18, 0.98), 2.4, (-90, 0, 20), "rx rz"),
    ("toes", "foot", (0, 0, 1), 1.2, (-90, 0, 20), "rx"),
    ("clavicle", "thorax", (0.93, 0.36, -0.05), 3.5, (0, 0, 0), "ry rz"),
    ("humerus", "clavicle", (1, 0, 0), 5.0, (180, 30, 90), "rx ry rz"),
    ("radius", "humerus", (1, 0, 0), 3.4, (180, 30, 90), "rx"),
    ("wrist", "radius", (1, 0, 0), 1.7, (180, 0, 90), "ry"),
)
_MIDDLE = (
    ("lowerback", "root", (0.01, 1, 0.03), 2.0, (0, 0, 0), "rx ry rz"),
    ("upperback", "lowerback", (0, 1, 0.02), 2.0, (0, 0, 0), "rx ry rz"),
    ("thorax", "upperback", (0, 1, 0), 2.0, (0, 0, 0), "rx ry rz"),
    ("lowerneck", "thorax", (0, 1, 0), 1.6, (0, 0, 0), "rx ry rz"),
    ("upperneck", "lowerneck", (0, 1, 0.01), 1.6, (0, 0, 0), "rx ry rz"),
    ("head", "upperneck", (0, 1, 0), 1.6, (0, 0, 0), "rx ry rz"),
)


def bones() -> list[tuple]:
    """The middle, then left and right; right is left with x, and the angles about y and z, turned around."""
    both = []
    for side, sign in (("l", 1), ("r", -1)):
        for name, parent, (x, y, z), length, (a, b, c), dofs in _SIDE:
            parent = parent if parent in ("root", "thorax") else side + parent
            both.append((side + name, parent, (sign * x, y, z), length, (a, sign * b, sign * c), dofs))
    return [*_MIDDLE, *both]


def asf_text() -> str:
    """The skeleton as an ASF file."""
    lines = [":version 1.10", ":name T", ":units", "  mass 1.0", "  length 0.45", "  angle deg", ":root"]
    lines += ["  order TX TY TZ RX RY RZ", "  axis XYZ", "  position 0 0 0", "  orientation 0 0 0", ":bonedata"]
    for number, (name, _, direction, length, axis, dofs) in enumerate(bones(), 1):
        lines += ["  begin", f"    id {number}", f"    name {name}", f"    direction {' '.join(map(str, direction))}"]
        lines += [f"    length {length}", f"    axis {' '.join(map(str, axis))}  XYZ"]
        lines += [f"    dof {dofs}", "    limits (-180 180)"] * bool(dofs) + ["  end"]
    lines += [":hierarchy", "  begin"]
    parents: dict[str, list[str]] = {}
    for name, parent, *_ in bones():
        parents.setdefault(parent, []).append(name)
    lines += [f"    {parent} {' '.join(children)}" for parent, children in parents.items()]
    return "\n".join([*lines, "  end", ""])


def columns() -> list[str]:
    """Channel names in the order of the AMC files made here."""
    root = [f"root:{dof}" for dof in "tx ty tz rx ry rz".split()]
    return root + [f"{name}:{dof}" for name, *_, dofs in bones() for dof in dofs.split()]


def channels(frames: int, **tracks: object) -> np.ndarray:
    """``(T, C)`` channels of a standing body with hanging arms; ``lfemur_rx=...`` overrides a channel."""
    values = np.zeros((frames, len(columns())))
    given: Mapping[str, object] = {"root_ty": 17.0, "lhumerus_rz": -75.0, "rhumerus_rz": 75.0, **tracks}
    for name, track in given.items():
        values[:, columns().index(name.replace("_", ":"))] = track
    return values


def walk(seconds: float, fps: float = 60.0, speed: float = 20.0) -> np.ndarray:
    """Channels of something like a walk along +Z, file units per second."""
    time = np.arange(round(seconds * fps)) / fps
    swing = np.sin(2 * np.pi * time)
    return channels(
        len(time),
        root_tz=speed * time,
        lfemur_rx=-25 * swing,
        rfemur_rx=25 * swing,
        ltibia_rx=15 + 15 * np.cos(2 * np.pi * time),
        rtibia_rx=15 - 15 * np.cos(2 * np.pi * time),
        thorax_ry=8 * swing,
    )


def squat(seconds: float, fps: float = 60.0) -> np.ndarray:
    """Channels of a body that goes down on flat feet and comes up again."""
    bend = 30 - 30 * np.cos(2 * np.pi * np.arange(round(seconds * fps)) / (seconds * fps))
    down = (7.2 + 7.4) * 0.94 * (1 - np.cos(np.radians(bend)))
    sides = {f"{side}femur_rx": -bend for side in "lr"} | {f"{side}tibia_rx": 2 * bend for side in "lr"}
    return channels(len(bend), root_ty=17.0 - down, lfoot_rx=-bend, rfoot_rx=-bend, **sides)


def amc_text(values: np.ndarray) -> str:
    """Channels as an AMC file."""
    lines = ["#!OML:ASF T.ASF", ":FULLY-SPECIFIED", ":DEGREES"]
    names = [column.split(":")[0] for column in columns()]
    groups = {name: [i for i, n in enumerate(names) if n == name] for name in dict.fromkeys(names)}
    for number, frame in enumerate(values, 1):
        lines.append(str(number))
        lines += [f"{name} {' '.join(f'{frame[i]:.6g}' for i in at)}" for name, at in groups.items()]
    return "\n".join(lines) + "\n"


CMU = "CMU terms"


def make_pack(folder: Path, clips: Mapping[str, np.ndarray], captions: list[dict], splits: Mapping[str, str]) -> Path:
    """A mocap pack of the project's layout with CMU-like clips at 60 fps; ``cmu_bad`` is marked unusable."""
    (folder / "skeletons").mkdir(parents=True)
    (folder / "skeletons/t.asf").write_text(asf_text())
    (folder / "skeletons/channels.json").write_text(json.dumps({"skeletons/t.asf": columns()}))
    arrays, rows = {}, []
    for name, values in clips.items():
        scale = np.maximum(np.abs(values).max(axis=0) / 32000, 1e-6)
        arrays |= {f"{name}/q": np.round(values / scale).astype(np.int16), f"{name}/scale": scale}
        arrays[f"{name}/offset"] = np.zeros(values.shape[1])
        rows.append(
            {
                "id": name, "source": "cmu", "archive": "cmu_amc.npz", "format": "amc", "skeleton": "skeletons/t.asf",
                "n_frames": len(values), "fps": 60.0, "metres_per_unit": 0.0254 / 0.45, "licence": CMU, "flags": [],
                "split": splits.get(name, "train"), "exclude_suggested": name == "cmu_bad",
            }
        )  # fmt: skip
    np.savez(folder / "cmu_amc.npz", **arrays)
    (folder / "clips.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in captions))
    return folder


def caption(clip: str, text: str, start: float = 0, end: float = 99, origin: str = "cmu_index", mirror=False) -> dict:
    """A line of a pack's ``captions.jsonl``."""
    return {"clip": clip, "captions": [text], "start": start, "end": end, "mirror": mirror, "origin": origin}


def make_download(folder: Path, trials: Mapping[str, np.ndarray], index: str = "") -> Path:
    """CMU's own layout: ``02/02.asf``, ``02/02_01.amc`` and an index text."""
    for name, values in trials.items():
        subject = folder / name.split("_")[0]
        subject.mkdir(parents=True, exist_ok=True)
        (subject / f"{subject.name}.asf").write_text(asf_text())
        (subject / f"{name}.amc").write_text(amc_text(values))
    if index:
        (folder / "cmu-mocap-index-text.txt").write_text(index)
    return folder
