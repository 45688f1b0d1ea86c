"""How fast features are made of joints, and joints of features, beside a loop: ``hftrainer bench motion``."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from hftrainer.bench.bodies import moving_body
from hftrainer.motion.representation.hml263 import SMOOTHING, hml263_to_joints, joints_to_hml263
from hftrainer.motion.rotation import quat_between, quat_invert, quat_multiply, quat_rotate
from hftrainer.motion.skeleton import SMPL22

UP, FORWARD = np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0])

#: The bars on two cores, frames per second.
ENCODE_BAR, DECODE_BAR = 40_000, 400_000


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def plain_joints_to_hml263(joints: np.ndarray) -> np.ndarray:
    """The features of one clip, frame by frame and joint by joint, as the description of the format reads.

    Args:
        joints: ``(T, 22, 3)`` metres, 20 fps; T at least 4.

    Returns:
        ``(T - 1, 263)`` float32, equal to ``joints_to_hml263`` within rounding.

    >>> joints = moving_body(8)
    >>> bool(np.allclose(plain_joints_to_hml263(joints), joints_to_hml263(joints), atol=1e-5))
    True
    """
    offsets, count = SMPL22.offsets, len(joints)
    lengths = SMPL22.bone_lengths(joints[0])
    scale = (np.abs(offsets[5]).max() + np.abs(offsets[8]).max()) / (lengths[5] + lengths[8])

    body = np.zeros((count, 22, 3))  # the reference body with this clip's bone rotations
    for t in range(count):
        body[t, 0] = joints[t, 0] * scale
        for chain in SMPL22.chains:
            for before, joint in zip(chain, chain[1:], strict=False):
                turn = quat_between(SMPL22.directions[joint], joints[t, joint] - joints[t, before])
                body[t, joint] = body[t, before] + quat_rotate(turn, offsets[joint])

    body[..., 1] -= body[..., 1].min()
    body -= body[0, 0] * [1, 0, 1]
    across = (body[0, 2] - body[0, 1]) + (body[0, 17] - body[0, 16])
    first = quat_between(_unit(np.cross(UP, across)), FORWARD)
    for t in range(count):
        for joint in range(22):
            body[t, joint] = quat_rotate(first, body[t, joint])

    facing = np.stack([np.cross(UP, _unit((p[1] - p[2]) + (p[17] - p[16]))) for p in body])
    reach = int(4 * SMOOTHING + 0.5)
    weights = [math.exp(-0.5 * (k / SMOOTHING) ** 2) for k in range(-reach, reach + 1)]
    headings = [np.array([1.0, 0, 0, 0])]
    for t in range(1, count):
        near = np.clip(np.arange(t - reach, t + reach + 1), 0, count - 1)
        headings.append(quat_between(_unit(np.average(facing[near], axis=0, weights=weights)), FORWARD))

    rows = np.zeros((count - 1, 263))
    for t in range(count - 1):
        here, after, heading = body[t], body[t + 1], headings[t]
        rows[t, 0] = math.asin(quat_multiply(headings[t + 1], quat_invert(heading))[2])
        rows[t, 1:3] = quat_rotate(headings[t + 1], after[0] - here[0])[[0, 2]]
        rows[t, 3] = here[0, 1]
        for joint in range(1, 22):
            rows[t, 1 + 3 * joint : 4 + 3 * joint] = quat_rotate(heading, here[joint] - here[0] * [1, 0, 1])
        for chain in SMPL22.chains:
            above = heading
            for before, joint in zip(chain, chain[1:], strict=False):
                bone = quat_between(SMPL22.directions[joint], here[joint] - here[before])
                local = quat_multiply(quat_invert(above), bone)
                columns = [quat_rotate(local, [1.0, 0, 0]), quat_rotate(local, [0, 1.0, 0])]
                rows[t, 61 + 6 * joint : 67 + 6 * joint] = np.concatenate(columns)
                above = bone
        for joint in range(22):
            rows[t, 193 + 3 * joint : 196 + 3 * joint] = quat_rotate(heading, after[joint] - here[joint])
        for n, joint in enumerate(SMPL22.feet):
            rows[t, 259 + n] = ((after[joint] - here[joint]) ** 2).sum() < SMPL22.contact_threshold
    return rows.astype(np.float32)


def plain_hml263_to_joints(features: np.ndarray) -> np.ndarray:
    """The joints of one clip, frame by frame and joint by joint.

    Args:
        features: ``(T, 263)`` physical features.

    Returns:
        ``(T, 22, 3)`` float32 metres, equal to ``hml263_to_joints`` within rounding.

    >>> features = joints_to_hml263(moving_body(8))
    >>> bool(np.allclose(plain_hml263_to_joints(features), hml263_to_joints(features), atol=1e-5))
    True
    """
    out, half, root = np.zeros((len(features), 22, 3)), 0.0, np.zeros(3)
    for t, row in enumerate(features.astype(np.float64)):
        if t:
            half += float(features[t - 1, 0])
        back = np.array([math.cos(half), 0.0, -math.sin(half), 0.0])
        if t:
            root = root + quat_rotate(back, np.array([features[t - 1, 1], 0.0, features[t - 1, 2]], dtype=np.float64))
        out[t, 0] = root[0], row[3], root[2]
        for joint in range(1, 22):
            out[t, joint] = quat_rotate(back, row[1 + 3 * joint : 4 + 3 * joint]) + root
    return out.astype(np.float32)


def _rate(work: Callable[[Any], Any], clips: list[Any], frames: int, seconds: float) -> float:
    """Frames per second of the fastest of several passes over all clips, for about ``seconds``, at least one pass."""
    best, start = math.inf, time.perf_counter()
    while best == math.inf or time.perf_counter() - start < seconds:
        begin = time.perf_counter()
        for clip in clips:
            work(clip)
        best = min(best, time.perf_counter() - begin)
    return frames / best


def motion_speed(clips: int = 32, frames: int = 196, seconds: float = 1.5) -> dict[str, Any]:
    """Frames per second of encoding to hml263 and of decoding from it, beside the plain way in the same run.

    Args:
        clips: number of made-up clips; encoding takes them one by one, decoding as one batch (and one by one).
        frames: frames per clip.
        seconds: how long to repeat each fast measurement; the plain way runs over a few frames only.

    Returns:
        JSON values: rates, ratios to the plain way, the bars, and the largest difference between the two ways.

    >>> report = motion_speed(clips=2, frames=24, seconds=0.0)
    >>> report["encode"]["ratio"] > 1
    True
    """
    bodies = [moving_body(frames, seed) for seed in range(clips)]
    features = [joints_to_hml263(body) for body in bodies]
    batch = np.stack(features)
    few = bodies[0][: min(frames, 24)]
    plain_features = plain_joints_to_hml263(few)
    difference = max(
        float(np.abs(plain_features - joints_to_hml263(few)).max()),
        float(np.abs(plain_hml263_to_joints(plain_features) - hml263_to_joints(plain_features)).max()),
    )
    encode = _rate(joints_to_hml263, bodies, clips * frames, seconds)
    decode = _rate(hml263_to_joints, [batch], clips * (frames - 1), seconds)
    single = _rate(hml263_to_joints, features, clips * (frames - 1), seconds)
    plain_encode = _rate(plain_joints_to_hml263, [few], len(few), 0)
    plain_decode = _rate(plain_hml263_to_joints, [plain_features], len(plain_features), 0)
    return {
        "what": "motion",
        "clips": clips,
        "frames_per_clip": frames,
        "cores_seen": os.cpu_count(),
        "threads_used": 1,
        "encode": {
            "frames_per_s": round(encode), "plain_frames_per_s": round(plain_encode, 1),
            "ratio": round(encode / plain_encode, 1), "bar": ENCODE_BAR, "holds": encode >= ENCODE_BAR,
        },
        "decode": {
            "frames_per_s": round(decode), "one_by_one_frames_per_s": round(single),
            "plain_frames_per_s": round(plain_decode, 1), "ratio": round(decode / plain_decode, 1),
            "bar": DECODE_BAR, "holds": decode >= DECODE_BAR,
        },
        "largest_difference": difference,
    }  # fmt: skip
