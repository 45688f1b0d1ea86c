"""Look at every clip of a dataset folder and name those whose numbers cannot be a moving person."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hftrainer.data.humanml3d import FPS
from hftrainer.data.pool import processes
from hftrainer.motion.measure import runs_of
from hftrainer.motion.representation.hml263 import hml263_to_joints
from hftrainer.motion.skeleton import SMPL22

#: Metres that a bone may differ from its middle length in one clip.
BONE_DRIFT = 0.01
#: Metres between stored joints and those that the features decode to.
DECODE = 0.002
#: A lowest joint that never comes nearer to the floor than this many metres: the clip was not put on the floor.
FLOOR = 0.08
#: Flying: every joint this many metres above the floor for that many seconds (a person's leap lasts under 0.9).
FLYING_HEIGHT, FLYING_SECONDS = 0.25, 1.2
#: Metres that a joint may move from one frame to the next (18 metres per second; a fast kick reaches 12).
JUMP = 0.9
#: A limb is bent when its middle joint stands this many metres off the straight line.
BENT = 0.08
#: A clip is flipped when this part of the frames that can tell says so, and so many seconds of frames can tell.
FLIPPED_PART, FLIPPED_SECONDS = 0.5, 0.5

(_L_HIP, _R_HIP, _L_KNEE, _R_KNEE, _L_ANKLE, _R_ANKLE, _L_TOE, _R_TOE, _NECK, _HEAD, _L_SHOULDER, _R_SHOULDER) = (
    SMPL22.joints.index(name)
    for name in (
        "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle", "left_foot", "right_foot",
        "neck", "head", "left_shoulder", "right_shoulder",
    )
)  # fmt: skip


@dataclass(frozen=True, order=True)
class Finding:
    """Something wrong with one clip.

    Attributes:
        clip: its name.
        kind: ``missing``, ``shape``, ``nan``, ``frames``, ``decode``, ``floor``, ``flying``, ``flipped``, ``bones`` or
            ``jump``.
        text: one sentence with numbers.
    """

    clip: str
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.clip}: {self.kind}: {self.text}"


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def _flips(joints: np.ndarray) -> Iterator[str]:
    """What is turned the wrong way, judged where the pose can tell."""
    enough = FLIPPED_SECONDS * FPS

    def mostly(wrong: np.ndarray) -> bool:
        return len(wrong) >= enough and bool(wrong.mean() > FLIPPED_PART)

    left = _unit(joints[:, _L_HIP] - joints[:, _R_HIP])  # (T, 3)
    up = _unit(joints[:, _NECK] - (joints[:, _L_HIP] + joints[:, _R_HIP]) / 2)
    forward = _unit(np.cross(left, up))
    shins = _unit(joints[:, [_L_ANKLE, _R_ANKLE]] - joints[:, [_L_KNEE, _R_KNEE]])
    feet = _unit(joints[:, [_L_TOE, _R_TOE]] - joints[:, [_L_ANKLE, _R_ANKLE]])  # (T, 2, 3)
    feet = feet - (feet * shins).sum(-1, keepdims=True) * shins  # what of the foot is not along the shin
    pointed = np.linalg.norm(feet, axis=-1) < 0.5
    head = joints[:, _HEAD] - joints[:, _NECK]
    against = ((feet * forward[:, None]).sum(-1).mean(axis=1) < -0.1) & ((head * forward).sum(-1) < 0.01)
    if mostly(against):
        yield f"feet and head point to the back in {against.mean():.0%} of frames; left and right swapped?"
    shoulders = _unit(joints[:, _L_SHOULDER] - joints[:, _R_SHOULDER])
    across = (left * shoulders).sum(-1)
    if mostly(across[np.abs(across) > 0.3] < 0):
        yield "left hip and left shoulder are on different sides of the body."
    for side, hip, knee, ankle, foot in (
        ("left", _L_HIP, _L_KNEE, _L_ANKLE, 0),
        ("right", _R_HIP, _R_KNEE, _R_ANKLE, 1),
    ):
        leg = _unit(joints[:, ankle] - joints[:, hip])
        thigh = joints[:, knee] - joints[:, hip]
        off = thigh - (thigh * leg).sum(-1, keepdims=True) * leg  # how far the knee stands off, and where to
        bend = np.linalg.norm(off, axis=-1)
        # a bent knee points where the foot points, whichever way the hip is turned
        wrong = ((_unit(off) * _unit(feet[:, foot])).sum(-1) < -0.3)[(bend > BENT) & ~pointed[:, foot]]
        if mostly(wrong):
            yield f"the {side} knee bends the wrong way in {wrong.mean():.0%} of the frames that can tell."


def check_joints(joints: np.ndarray, supported: bool = False) -> Iterator[tuple[str, str]]:
    """(kind, sentence) for everything that is wrong with one clip's joints.

    Args:
        joints: ``(T, 22, 3)`` finite positions, metres, +Y up, floor at 0, 20 fps.
        supported: the person stands or hangs on something that is not in the data, so feet may stay off the floor.

    >>> [kind for kind, _ in check_joints(np.zeros((30, 22, 3)) + [0, 1, 0])]
    ['floor', 'flying', 'bones']
    """
    lowest = joints[..., 1].min(axis=1)
    if abs(lowest.min()) > FLOOR:
        yield "floor", f"the lowest joint must touch the floor at 0; it comes to {lowest.min():.2f} m."
    flying = runs_of(lowest > FLYING_HEIGHT, frames=int(FLYING_SECONDS * FPS))
    if flying and not supported:
        start, end = max(flying, key=lambda run: run[1] - run[0])
        yield "flying", f"every joint is more than {FLYING_HEIGHT} m above the floor for {(end - start) / FPS:.1f} s."
    for text in _flips(joints):
        yield "flipped", text
    lengths = SMPL22.bone_lengths(joints)[:, 1:]
    middle = np.median(lengths, axis=0)
    drift = np.abs(lengths - middle).max(axis=0)
    if drift.max() > BONE_DRIFT:
        bone, frame = int(drift.argmax()), int(np.abs(lengths - middle)[:, drift.argmax()].argmax())
        name = SMPL22.joints[bone + 1]
        yield "bones", f"bones must keep their length; {name} is {drift.max():.3f} m off in frame {frame}."
    elif (middle < 0.01).any():
        yield "bones", f"bones must have a length; {SMPL22.joints[int(middle.argmin()) + 1]} has {middle.min():.3f} m."
    if len(joints) > 1:
        step = np.linalg.norm(np.diff(joints, axis=0), axis=-1)
        if step.max() > JUMP:
            frame, joint = np.unravel_index(step.argmax(), step.shape)
            yield "jump", f"{SMPL22.joints[joint]} moves {step.max():.2f} m between frames {frame} and {frame + 1}."


def check_clip(folder: Path, clip: str, supported: bool = False) -> list[Finding]:
    """Everything that is wrong with one clip of a dataset folder.

    Args:
        folder: the dataset.
        clip: its name in the split files.
        supported: the person stands or hangs on something that is not in the data.
    """
    found: list[Finding] = []

    def add(kind: str, text: str) -> None:
        found.append(Finding(clip, kind, text))

    arrays: dict[str, np.ndarray] = {}
    for room, tail in (("new_joint_vecs", (263,)), ("new_joints", (22, 3))):
        path = folder / room / f"{clip}.npy"
        if not path.is_file():
            add("missing", f"{room}/{clip}.npy does not exist.")
            continue
        try:
            array = np.load(path)
        except (ValueError, EOFError, OSError) as exc:
            add("shape", f"{room}/{clip}.npy cannot be read: {exc}.")
            continue
        if array.shape[1:] != tail or array.ndim != 1 + len(tail) or len(array) == 0:
            add("shape", f"{room} must have shape (T, {', '.join(map(str, tail))}); got {array.shape}.")
            continue
        bad = np.logical_not(np.isfinite(array).reshape(len(array), -1).all(axis=1))
        if bad.any():
            add("nan", f"{room} has NaN or infinity in {bad.sum()} of {len(bad)} frames, first in {bad.argmax()}.")
            continue
        arrays[room] = array
    if not (folder / "texts" / f"{clip}.txt").is_file():
        add("missing", f"texts/{clip}.txt does not exist.")
    if len(arrays) == 2:
        features, joints = arrays["new_joint_vecs"], arrays["new_joints"]
        decoded = np.asarray(hml263_to_joints(features))
        if len(joints) != len(features):
            add("frames", f"new_joints must be as long as new_joint_vecs; got {len(joints)} and {len(features)}.")
        else:
            off = float(np.abs(decoded - joints).max())
            if off > DECODE:
                add("decode", f"new_joints must be what new_joint_vecs decode to; they differ by up to {off:.3f} m.")
    body = arrays.get("new_joints")
    if body is None and "new_joint_vecs" in arrays:
        body = np.asarray(hml263_to_joints(arrays["new_joint_vecs"]))
    if body is not None:
        for kind, text in check_joints(body.astype(np.float64), supported):
            add(kind, text)
    return found


def _check_many(folder: Path, clips: list[str], supported: frozenset[str]) -> list[Finding]:
    return [finding for clip in clips for finding in check_clip(folder, clip, clip in supported)]


def verify(folder: str | Path, workers: int = 2) -> list[Finding]:
    """Everything that is wrong with a dataset folder, clip by clip.

    Clips that ``dataset.json`` lists under ``supported`` (on playground equipment, chairs, stairs) may keep their feet
    off the floor; nothing else is forgiven.

    Args:
        folder: a HumanML3D folder.
        workers: processes.

    Returns:
        findings in order of clip and kind; empty when all is well.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: the folder has no list of clips.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"the dataset must be a folder; {folder} does not exist. Check the path.")
    lists = (folder / f"{split}.txt" for split in ("train", "val", "test", "short", "composed"))
    clips = sorted({clip for path in lists if path.is_file() for clip in path.read_text(encoding="utf-8").split()})
    if not clips:
        raise ValueError(f"{folder} must have train.txt, val.txt or test.txt with clip names; found none.")
    about = folder / "dataset.json"
    listed = json.loads(about.read_text(encoding="utf-8")).get("supported", []) if about.is_file() else []
    supported = frozenset(name for clip in listed for name in (clip, "M" + clip))
    if workers <= 1:
        return sorted(_check_many(folder, clips, supported))
    parts = [clips[i::workers] for i in range(workers)]
    with processes(workers) as pool:
        results = pool.map(_check_many, [folder] * workers, parts, [supported] * workers)
        return sorted(finding for part in results for finding in part)
