"""How fast rotations and bodies are found of positions: ``hftrainer bench ik`` and ``hftrainer bench fit``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from hftrainer.bench.bodies import moving_body
from hftrainer.motion.representation.hml263 import hml263_to_joints, joints_to_hml263
from hftrainer.motion.representation.ik import joints_to_rotations
from hftrainer.motion.representation.motion135 import body_offsets, pose_joints
from hftrainer.motion.representation.refine import Refinement, fit_joints
from hftrainer.motion.rotation import matrix_to_rotvec, rotvec_to_matrix
from hftrainer.motion.skeleton import SMPL22
from hftrainer.motion.timing import resample_times, sample
from hftrainer.pipelines.quickest import quickest

#: Rotations in closed form, frames per second; clips refined together beside one at a time, times as fast per clip.
IK_BAR, REFINE_BAR = 20_000, 10.0
#: How far the mean joint error may be from the plain way's, millimetres.
SAME_ERROR_MM = 0.1


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
        "frames_per_s": clips * length / quickest(lambda: joints_to_rotations(together, rest), repeats),
        "one_clip_frames_per_s": length / quickest(lambda: joints_to_rotations(targets[0], rest), repeats),
    }
    how, plain_clips = Refinement(steps=steps), targets[:2]
    batch_s = quickest(lambda: list(fit_joints(targets, how)), repeats) / clips
    alone_s = quickest(lambda: list(fit_joints(targets[:1], how)), repeats)
    plain_s = quickest(lambda: [plain_refine(joints, steps) for joints in plain_clips], repeats) / len(plain_clips)
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
    together = quickest(lambda: list(fit_body(targets, body)), 2) / clips
    alone = quickest(lambda: [list(fit_body([joints], body)) for joints in few], 2) / len(few)
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
