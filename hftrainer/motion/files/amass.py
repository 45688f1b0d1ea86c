"""AMASS's npz, rotations and place of an SMPL-H or SMPL-X body: read and written as ``smplx`` takes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hftrainer.motion.clip import Motion
from hftrainer.motion.files.archive import read_arrays, write_arrays
from hftrainer.motion.files.names import UPWARD, guess_up
from hftrainer.motion.files.notes import about_json
from hftrainer.motion.files.rig import TURNED
from hftrainer.motion.representation.convert import convert
from hftrainer.motion.representation.motion135 import (
    motion135_to_joints,
    motion135_to_rotations,
    pelvis_place,
    rotations_to_motion135,
)
from hftrainer.motion.rotation import matrix_to_rotvec, rotvec_to_matrix

#: Names that say an archive is of this kind.
MARKS = ({"poses", "trans"}, {"root_orient", "pose_body", "trans"})
_RATES = ("mocap_framerate", "mocap_frame_rate")
_READ = ("poses", "root_orient", "pose_body", "trans", "betas", "gender", *_RATES)
_HANDS = 90  # SMPL-H: 30 finger joints


def is_amass(keys: set[str]) -> bool:
    """Whether an archive with these arrays is of AMASS's kind.

    >>> is_amass({"poses", "trans", "betas"}), is_amass({"data", "fps"})
    (True, False)
    """
    return any(mark <= keys for mark in MARKS)


def load_amass(path: str | Path, fps: float | None = None, up: str | None = None) -> Motion:
    """Read AMASS, SMPL-H or SMPL-X parameters of one person.

    Hands and face are left out. The shape (``betas``) is kept in ``about`` and not applied: joint positions follow from
    a licensed body model, so the Motion's are those of the neutral body, which turns as the recorded one did.

    Args:
        path: the file: ``poses`` ``(T, 66 or more)`` or ``root_orient`` and ``pose_body``, ``trans`` ``(T, 3)``, and
            ``mocap_framerate`` (SMPL-X's files: ``mocap_frame_rate``).
        fps: frames per second, for files that do not say.
        up: the axis that points up, ``"z"`` in AMASS; by default the one along which the body stands.

    Returns:
        A Motion of ``motion135``, +Y up, at the file's own rate.

    Raises:
        ValueError: arrays are absent, damaged or do not fit; no frame rate; an unknown axis.
    """
    path = Path(path)
    if up is not None and up not in UPWARD:
        raise ValueError(f"up must be one of {', '.join(UPWARD)}; got {up!r}.")
    numbers, keys = read_arrays(path, [key for key in _READ if key != "gender"])
    if not is_amass(set(keys)):
        raise ValueError(f"{path.name}: the file must hold poses and trans; it holds {', '.join(keys) or 'nothing'}.")
    rate = next((numbers[key] for key in _RATES if key in numbers), None)
    if rate is None and fps is None:
        raise ValueError(f"{path.name}: the frame rate must be said; the file has no mocap_framerate. Pass fps.")
    found = float(np.asarray(rate).ravel()[0]) if rate is not None and np.asarray(rate).size else float(fps or 0.0)
    if "poses" not in numbers:
        numbers["poses"] = np.concatenate([numbers["root_orient"], numbers["pose_body"]], axis=-1)
    poses, trans = (np.asarray(numbers[key], dtype=np.float64) for key in ("poses", "trans"))
    if poses.ndim != 2 or poses.shape[1] < 66 or trans.shape != (len(poses), 3):
        raise ValueError(
            f"{path.name}: poses must have shape (T, 66 or more) and trans (T, 3); got {poses.shape} and {trans.shape}."
        )
    if not (np.isfinite(poses).all() and np.isfinite(trans).all()):
        raise ValueError(f"{path.name}: poses and trans must be finite; got NaN or infinity. Cut or mend the clip.")
    turns = rotvec_to_matrix(poses[:, :66].reshape(-1, 22, 3))
    if up is None:
        body = rotations_to_motion135(turns, trans, name=path.name)
        up = guess_up(motion135_to_joints(body, name=path.name))
    place = pelvis_place()
    trans = (trans + place) @ UPWARD[up].T - place
    turns[:, 0] = UPWARD[up] @ turns[:, 0]
    about: dict[str, Any] = {"file": path.name, "up": up, "gender": _gender(path, keys)}
    if "betas" in numbers:
        about["betas"] = np.asarray(numbers["betas"], dtype=np.float64).ravel().round(6).tolist()
    data = rotations_to_motion135(turns, trans, name=path.name)
    return Motion(data, "motion135", found, about=about, name=path.name)


def _gender(path: Path, keys: tuple[str, ...]) -> str:
    if "gender" not in keys:
        return "neutral"
    try:
        value = read_arrays(path, ["gender"])[0]["gender"].ravel()[0]
    except ValueError:
        return "unknown"  # stored as a pickle, which is not read
    return value.decode() if isinstance(value, bytes) else str(value)


def save_amass(motion: Motion, path: str | Path, *, up: str = "z") -> None:
    """Write a motion with AMASS's keys: ``poses (T, 156)``, ``trans``, ``betas``, ``gender``, ``mocap_framerate``.

    A motion that says how its joints turn keeps those turns; of others they are found in closed form against the
    neutral SMPL body, whose bones may be longer or shorter. Fingers rest.

    Args:
        motion: any motion with a way to ``motion135`` or ``joints``.
        path: the file; see ``hftrainer.motion.files.save`` for what happens to an older one.
        up: the axis that points up in the file; AMASS has ``"z"``.

    Raises:
        ValueError: an unknown axis, or ``about`` that JSON cannot hold.
        NoRouteError: the motion cannot become a body.
    """
    if up not in UPWARD:
        raise ValueError(f"up must be one of {', '.join(UPWARD)}; got {up!r}.")
    body = body_of(motion)
    turns, trans = motion135_to_rotations(body.data, name=motion.name)
    place, turn = pelvis_place(), UPWARD[up].T
    trans = (trans + place) @ turn.T - place
    turns[:, 0] = turn @ turns[:, 0]
    poses = np.concatenate([matrix_to_rotvec(turns).reshape(len(turns), -1), np.zeros((len(turns), _HANDS))], axis=1)
    betas = np.zeros(16)
    if len(motion.about.get("betas", ())):
        betas = np.asarray(motion.about["betas"], dtype=np.float64)
    write_arrays(path, {
        "poses": poses, "trans": trans, "betas": betas, "gender": np.array(str(motion.about.get("gender", "neutral"))),
        "mocap_framerate": np.array(body.fps), "mocap_frame_rate": np.array(body.fps),
        "hftrainer": np.array(about_json(motion)),
    })  # fmt: skip


def body_of(motion: Motion) -> Motion:
    """The neutral SMPL body that moves as a motion does, ``motion135`` at the motion's own rate.

    Raises:
        NoRouteError: the motion cannot become one.

    >>> body_of(Motion(np.zeros((4, 263)), "hml263", 20)).fps
    20.0
    """
    told = motion.representation.name in TURNED
    return convert(motion if told else convert(motion, "joints"), "motion135")
