"""Made-up clips that move: what is measured where no data is at hand."""

from __future__ import annotations

import numpy as np

from hftrainer.motion.rotation import quat_multiply, quat_rotate, rotvec_to_quat_wxyz
from hftrainer.motion.skeleton import SMPL22


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
