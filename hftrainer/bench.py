"""How fast the pieces are, measured beside the plain way of doing the same: ``hftrainer bench motion``."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hftrainer.motion.representation.hml263 import SMOOTHING, hml263_to_joints, joints_to_hml263
from hftrainer.motion.representation.ik import joints_to_rotations
from hftrainer.motion.representation.motion135 import body_offsets, pose_joints
from hftrainer.motion.representation.refine import Refinement, fit_joints
from hftrainer.motion.rotation import (
    matrix_to_rotvec,
    quat_between,
    quat_invert,
    quat_multiply,
    quat_rotate,
    rotvec_to_matrix,
    rotvec_to_quat_wxyz,
)
from hftrainer.motion.skeleton import SMPL22
from hftrainer.motion.timing import resample_times, sample

UP, FORWARD = np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0])

#: The bars on two cores, frames per second.
ENCODE_BAR, DECODE_BAR = 40_000, 400_000
#: How many times as fast 32 prompts are together as one by one, at T5-base size on two cores.
BATCH_BAR = 4.0
#: Rotations in closed form, frames per second; clips refined together beside one at a time, times as fast per clip.
IK_BAR, REFINE_BAR = 20_000, 10.0
#: How far the mean joint error may be from the plain way's, millimetres.
SAME_ERROR_MM = 0.1


def moving_body(frames: int, seed: int = 0) -> np.ndarray:
    """A made-up clip: a body that wanders, turns and waves its limbs smoothly.

    Args:
        frames: number of frames at 20 fps.
        seed: which movement.

    Returns:
        ``(frames, 22, 3)`` metres, float64, +Y up, feet near the ground.

    >>> moving_body(10).shape
    (10, 22, 3)
    """
    rng = np.random.default_rng(seed)
    seconds = np.arange(frames)[:, None, None] / 20
    phase, speed = rng.uniform(0, 2 * np.pi, (22, 3)), rng.uniform(0.3, 1.2, (22, 3))
    swing = 0.4 * np.sin(2 * np.pi * speed * seconds + phase)  # (T, 22, 3) rotation vectors
    swing[:, 0] = 0
    yaw = rng.uniform(-1, 1) + rng.uniform(0.2, 0.5) * np.sin(rng.uniform(0.3, 1.0) * seconds[:, 0, 0])
    swing[:, 0, 1] = yaw
    local = rotvec_to_quat_wxyz(swing)
    assert SMPL22.rest is not None
    step = np.stack((np.sin(yaw), 0.01 * np.cos(5 * yaw), np.cos(yaw)), axis=-1) * [0.05, 1, 0.05]
    turned, joints = local.copy(), np.zeros((frames, 22, 3))
    joints[:, 0] = np.cumsum(step, axis=0) * [1, 0, 1] + [0, 0.95, 0] + step * [0, 1, 0]
    for joint, parent in enumerate(SMPL22.parents):
        if parent >= 0:
            turned[:, joint] = quat_multiply(turned[:, parent], local[:, joint])
            joints[:, joint] = joints[:, parent] + quat_rotate(turned[:, parent], SMPL22.rest[joint])
    return joints


# ---------------------------------------------------------------------------------------------- the plain way


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


# ---------------------------------------------------------------------------------------------- measuring


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


def decoding_speed(batch: int = 32, tokens: int = 24, width: int = 768, layers: int = 12) -> dict[str, Any]:
    """Seconds of decoding prompts together and one by one, and whether the answers are the same.

    The language model has T5-base's sizes and random weights: speed does not depend on what the weights are. It decodes
    greedily, exactly ``tokens`` tokens for each of the prompts, whose lengths are 6 to 24 tokens.

    Args:
        batch: number of prompts.
        tokens: length of an answer.
        width, layers: of the model; smaller ones are for trying out.

    Returns:
        JSON values: seconds, tokens per second, the ratio and its bar, and how many answers are the same.

    >>> decoding_speed(batch=3, tokens=2, width=32, layers=1)["same_answers"]["value"]
    3
    """
    import torch  # motion's measurements need none

    from hftrainer.models.motion.motiongpt.network import LanguageModel, LanguageModelConfig
    from hftrainer.pipelines.decoding import Draws, Request, speak

    torch.manual_seed(0)
    heads = max(1, width // 64)
    config = LanguageModelConfig(
        width=width, heads=heads, feedforward=width * 8 // 3, encoder_layers=layers, decoder_layers=layers
    )
    network = LanguageModel(config).eval()
    rng = np.random.default_rng(0)
    start, stop = config.vocabulary - 3, config.vocabulary - 2
    requests = [
        Request((*(int(t) for t in rng.integers(3, 32000, size)), 1), (start,), tokens, tokens)
        for size in rng.integers(5, 24, batch)
    ]
    choices, greedy = torch.arange(config.first_motion, stop + 1), Draws(greedy=True)

    def together() -> list[Any]:
        return speak(network, requests, choices, stop, greedy, text=False)

    def one_by_one() -> list[Any]:
        return [speak(network, [request], choices, stop, greedy, text=False)[0] for request in requests]

    speak(network, requests[:2], choices, stop, greedy)  # warm-up
    seconds, answers = {}, {}
    for name, work in (("together", together), ("one_by_one", one_by_one)):
        begin = time.perf_counter()
        answers[name] = [answer.tokens for answer in work()]
        seconds[name] = time.perf_counter() - begin
    same = sum(a == b for a, b in zip(answers["together"], answers["one_by_one"], strict=True))
    ratio = seconds["one_by_one"] / seconds["together"]
    return {
        "what": "decoding", "prompts": batch, "tokens_per_answer": tokens, "cores_seen": os.cpu_count(),
        "threads_used": torch.get_num_threads(), "parameters": sum(p.numel() for p in network.parameters()),
        "together_s": round(seconds["together"], 2), "one_by_one_s": round(seconds["one_by_one"], 2),
        "tokens_per_s": round(batch * tokens / seconds["together"], 1),
        "ratio": {"value": round(ratio, 2), "bar": BATCH_BAR, "holds": ratio >= BATCH_BAR},
        "same_answers": {"value": same, "bar": batch, "holds": same == batch},
    }  # fmt: skip


# ---------------------------------------------------------------------------------------------- rotations


def plain_refine(joints: np.ndarray, steps: int = 80, rate: float = 0.02) -> tuple[np.ndarray, np.ndarray]:
    """A clip refined as the published script does it: one clip, a chain of matrices, a traced gradient, torch's Adam.

    Args:
        joints: ``(T, 22, 3)`` metres.
        steps, rate: of Adam.

    Returns:
        ``(T, 22, 3)`` rotation vectors and ``(T, 3)`` translation.

    >>> plain_refine(moving_body(4), steps=1)[0].shape
    (4, 22, 3)
    """
    import torch

    rest = torch.tensor(SMPL22.rest, dtype=torch.float32)
    target = torch.tensor(joints, dtype=torch.float32)
    first = matrix_to_rotvec(joints_to_rotations(joints, SMPL22.rest, twist="none"))
    root, body = torch.tensor(first[:, 0]).float(), torch.tensor(first[:, 1:]).float()
    start, place = body.clone(), target[:, 0] - rest[0]
    moving = [part.requires_grad_() for part in (root, body, place)]
    adam = torch.optim.Adam(moving, lr=rate)
    for _ in range(steps):
        adam.zero_grad()
        vectors = torch.cat((root[:, None], body), dim=1)
        angle = torch.linalg.norm(vectors + 1e-8, dim=-1, keepdim=True)
        x, y, z = (vectors / angle).unbind(-1)
        none = torch.zeros_like(x)
        skew = torch.stack((none, -z, y, z, none, -x, -y, x, none), dim=-1).unflatten(-1, (3, 3))
        sine, cosine = angle.sin()[..., None], angle.cos()[..., None]
        local = torch.eye(3) + sine * skew + (1 - cosine) * (skew @ skew)
        world, found = [local[:, 0]], [place + rest[0]]
        for joint, parent in enumerate(SMPL22.parents[1:], 1):
            world.append(world[parent] @ local[:, joint])
            found.append(found[parent] + world[parent] @ rest[joint])
        loss = ((torch.stack(found, dim=1) - target) ** 2).sum(-1).mean() + 1e-4 * ((body - start) ** 2).mean()
        for rows, weight in ((place, 1e-3), (body, 1e-5)):
            loss = loss + weight * ((rows[2:] - 2 * rows[1:-1] + rows[:-2]) ** 2).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
    root, body, place = (part.detach() for part in moving)
    return torch.cat((root[:, None], body), dim=1).numpy(), place.numpy()


def _busy(work: Callable[[], Any], repeats: int) -> float:
    """Seconds of processor time of the quickest of several runs: other programs on the machine do not count."""
    best = math.inf
    for _ in range(repeats):
        begin = time.process_time()
        work()
        best = min(best, time.process_time() - begin)
    return best


def ik_speed(
    clips: int = 32, frames: int = 100, steps: int = 80, repeats: int = 3, data: str | None = None
) -> dict[str, Any]:
    """Rotations from positions: the closed form, and refinement of many clips beside one after another.

    Args:
        clips: number of made-up clips, on HumanML3D's body.
        frames: frames per clip at 20 fps; they are fitted at 30.
        steps: of the refinement.
        repeats: runs of which the quickest counts.
        data: folder of clips with published errors; see ``hftrainer.evaluation.fitting.reference_report``.

    Returns:
        JSON values: frames per second and milliseconds per clip of one thread's processor time, the ratio to the
        plain way, the bars, how far our errors are from the plain way's, and mean joint errors in millimetres. Those
        are of made-up movements, wilder than people; ``reference`` has those of the clips in ``data``.

    >>> ik_speed(clips=2, frames=8, steps=2, repeats=1)["refinement"]["same_error_mm"]["holds"]
    True
    """
    import torch

    from hftrainer.evaluation.fitting import reference_report

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    targets = []
    for seed in range(clips):
        joints = hml263_to_joints(joints_to_hml263(moving_body(frames + 1, seed)))
        joints = sample(joints, resample_times(len(joints), 20, 30, "grid"))
        targets.append(joints - [0.0, joints[..., 1].min(), 0.0])
    length, rest = len(targets[0]), body_offsets()
    together = np.stack(targets)
    rates = {
        "frames_per_s": clips * length / _busy(lambda: joints_to_rotations(together, rest), repeats),
        "one_clip_frames_per_s": length / _busy(lambda: joints_to_rotations(targets[0], rest), repeats),
    }
    how, plain_clips = Refinement(steps=steps), targets[:2]
    batch_s = _busy(lambda: list(fit_joints(targets, how)), repeats) / clips
    alone_s = _busy(lambda: list(fit_joints(targets[:1], how)), repeats)
    plain_s = _busy(lambda: [plain_refine(joints, steps) for joints in plain_clips], repeats) / len(plain_clips)
    torch.set_num_threads(threads)
    closed = float(np.mean([fit.error_mm.mean() for fit in fit_joints(targets, Refinement(steps=0))]))
    fits = [float(fit.error_mm.mean()) for fit in fit_joints(targets, how)]
    apart = 0.0
    for joints, ours in zip(plain_clips, fits, strict=False):
        vectors, place = plain_refine(joints, steps)
        found = pose_joints(rotvec_to_matrix(vectors), place + rest[0])
        apart = max(apart, abs(float(np.linalg.norm(found - joints, axis=-1).mean()) * 1000 - ours))
    speed, ratio, refined = rates["frames_per_s"], plain_s / batch_s, float(np.mean(fits))
    return {
        "what": "ik", "clips": clips, "frames_per_clip": length, "steps": steps, "cores_seen": os.cpu_count(),
        "threads_used": 1,
        "closed_form": {
            **{name: round(rate) for name, rate in rates.items()}, "bar": IK_BAR, "holds": speed >= IK_BAR,
            "error_mm": round(closed, 2),
        },
        "refinement": {
            "ms_per_clip": round(1000 * batch_s, 1), "alone_ms_per_clip": round(1000 * alone_s, 1),
            "plain_ms_per_clip": round(1000 * plain_s, 1),
            "ratio": {"value": round(ratio, 1), "bar": REFINE_BAR, "holds": ratio >= REFINE_BAR},
            "error_mm": round(refined, 2),
            "same_error_mm": {"value": round(apart, 4), "bar": SAME_ERROR_MM, "holds": apart <= SAME_ERROR_MM},
        },
        **({"reference": reference_report(Path(data))} if data else {}),
    }  # fmt: skip


def fit_speed(clips: int = 32, frames: int = 100) -> dict[str, Any]:
    """Joints to the free body, shape and pose: many clips together, and one after another in the same run.

    Args:
        clips: number of made-up clips, on HumanML3D's body.
        frames: frames per clip.

    Returns:
        JSON values: milliseconds per clip of one thread's processor time, how many times as quick clips are together,
        and mean joint errors in millimetres, of the closed form with the mean shape and of the whole.

    >>> fit_speed(clips=2, frames=6)["error_mm"] < fit_speed(clips=2, frames=6)["mean_shape_error_mm"]
    True
    """
    from hftrainer.motion.fitting import BodyFitting, fit_body
    from hftrainer.motion.free_smpl import free_smpl_body

    body = free_smpl_body()
    targets = [hml263_to_joints(joints_to_hml263(moving_body(frames + 1, seed))) for seed in range(clips)]
    few = targets[:8]
    together = _busy(lambda: list(fit_body(targets, body)), 2) / clips
    alone = _busy(lambda: [list(fit_body([joints], body)) for joints in few], 2) / len(few)
    plain, whole = (
        float(np.mean([fit.error_mm.mean() for fit in fit_body(targets, body, how)]))
        for how in (BodyFitting(betas=0, rounds=0), BodyFitting())
    )
    return {
        "what": "fit", "clips": clips, "frames_per_clip": len(targets[0]), "body": body.name, "threads_used": 1,
        "ms_per_clip": round(1000 * together, 1), "alone_ms_per_clip": round(1000 * alone, 1),
        "ratio": round(alone / together, 2), "frames_per_s": round(len(targets[0]) / together),
        "mean_shape_error_mm": round(plain, 2), "error_mm": round(whole, 2),
    }  # fmt: skip


# ---------------------------------------------------------------------------------------------- clean-up

#: What the built-in model is asked for, and real capture beside it: how much less feet slide, how near poses stay.
CLEANED_PROMPTS = (
    "a person walks forward", "a person walks forward and turns left", "a person runs forward",
    "a person jumps up in place", "a person walks in a circle", "a person walks backward",
    "a person kicks with the right leg", "a person waves with the right hand", "a person sits down",
    "a person punches with the left hand", "a person walks sideways to the left", "a person does jumping jacks",
)  # fmt: skip


#: Seeds from here on; the constants of clean-up were set looking at motions of smaller ones.
_FRESH = 100


def cleaning_quality(model: str | None = None, data: str = "data/mocap", seeds: int = 1) -> dict[str, Any]:
    """Clean-up of generated motions and of captured ones with noise added, and its bars.

    Args:
        model: name, folder or repository of a model that makes hml263 from sentences; the built-in one by default.
        data: dataset folder; every second one of its validation clips is the capture. A quarter of those (every
            eighth of all) was looked at when the constants of clean-up were set.
        seeds: motions for each of ``CLEANED_PROMPTS``.

    Returns:
        JSON values: see ``hftrainer.evaluation.clean_up.cleaning_report``.

    Raises:
        FileNotFoundError: ``data`` is no dataset folder.
    """
    from hftrainer.evaluation.clean_up import cleaning_report
    from hftrainer.motion.clip import Motion
    from hftrainer.pipelines.motiongpt import MotionGPTPipeline

    root = Path(data)
    if not (root / "val.txt").is_file():
        raise FileNotFoundError(f"{root} must be a dataset folder with a val.txt; there is none. Pass --data.")
    names = (root / "val.txt").read_text(encoding="utf-8").split()[::2]
    captured = [Motion(np.load(root / "new_joints" / f"{name}.npy"), "joints", 20, name=name) for name in names]
    pipe = MotionGPTPipeline.from_pretrained(*([model] if model else []))
    generated = [motion for seed in range(seeds) for motion in pipe(list(CLEANED_PROMPTS), seed=_FRESH + seed)]
    return cleaning_report(generated, [motion for motion in captured if len(motion) >= 20])
