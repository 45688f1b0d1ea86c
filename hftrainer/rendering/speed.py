"""How fast frames are drawn, beside the plain way of drawing the same frames."""

from __future__ import annotations

import os
import platform
import time
from typing import Any

import numpy as np

from hftrainer.motion.clip import Motion
from hftrainer.motion.rotation import euler_to_matrix
from hftrainer.motion.skeleton import SMPL22
from hftrainer.rendering.body import BodyStage, Filler
from hftrainer.rendering.film import film
from hftrainer.rendering.gl import Painter
from hftrainer.rendering.look import Look
from hftrainer.rendering.skeleton import SAMPLES, Stage, draw_frames
from hftrainer.rendering.surface import free_surface

_BAR = 300.0  # frames per second
_BODY_BAR = 60.0  # of the style body, with OpenGL, on two cores


def marching(frames: int, fps: float = 20.0, heading: float = 0.0, speed: float = 1.2) -> np.ndarray:
    """A made-up walk: legs and arms swing, the body travels the way it faces.

    Args:
        frames: how many.
        fps: frames per second.
        heading: direction of the walk about +Y, radians; 0 is +Z.
        speed: metres per second.

    Returns:
        ``(frames, 22, 3)`` metres, +Y up, bone lengths of the neutral SMPL body, feet near the ground.

    >>> marching(3).shape
    (3, 22, 3)
    """
    seconds = np.arange(frames) / fps
    swing = np.sin(2 * np.pi * 0.9 * seconds)
    angles = np.zeros((frames, 22, 3))  # Z, X, Y

    def turn(name: str, axis: int, values: Any) -> None:
        angles[:, SMPL22.joints.index(name), axis] = values

    turn("pelvis", 2, heading + 0.08 * swing)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        turn(f"{side}_hip", 1, -0.45 * sign * swing)
        turn(f"{side}_knee", 1, 0.35 + 0.35 * np.sin(2 * np.pi * 0.9 * seconds - 1.4 * sign + np.pi / 2 * (1 - sign)))
        turn(f"{side}_shoulder", 0, -1.25 * sign)
        turn(f"{side}_elbow", 2, -0.5 * sign)
        turn(f"{side}_collar", 1, 0.25 * sign * swing)
    turn("spine2", 2, -0.15 * swing)
    local = euler_to_matrix(angles, "ZXY")
    rest = np.array(SMPL22.rest)
    world, joints = np.empty_like(local), np.zeros((frames, 22, 3))
    for joint, parent in enumerate(SMPL22.parents):
        if parent < 0:
            world[:, joint] = local[:, joint]
            joints[:, joint] = seconds[:, None] * speed * np.array([np.sin(heading), 0.0, np.cos(heading)])
        else:
            world[:, joint] = world[:, parent] @ local[:, joint]
            joints[:, joint] = joints[:, parent] + world[:, parent] @ rest[joint]
    joints[..., 1] -= joints[..., 1].min(axis=1, keepdims=True) - 0.02
    return joints


def _plainly(joints: np.ndarray, size: int) -> None:
    """Every frame on its own: outlines laid out for it alone, a new canvas, averaged in the same thread."""
    stage = Stage(joints, 20.0, (size, size))
    for frame in range(len(joints)):
        for shadow, _, draw_on in stage.outlines(np.array([frame])):
            canvas = stage.background.copy()
            draw_on(canvas, shadow())
            np.asarray(canvas.reduce(SAMPLES))


def body_speed(joints: np.ndarray, size: int, repeats: int) -> dict[str, Any]:
    """Frames per second of the style ``body``, by NumPy alone and by OpenGL.

    Args:
        joints: ``(T, 22, 3)`` metres.
        size: side of the picture, pixels.
        repeats: how often; the median is told.

    Returns:
        JSON values for ``numpy`` and ``gl``: ``frames_per_second``, ``processor_ms_per_frame`` (of all threads), and of
        ``gl`` what draws, ``bar`` and ``holds``; or why it is ``absent``.

    >>> sorted(body_speed(marching(2), 64, 1))
    ['gl', 'numpy']
    """
    surface = free_surface(Motion(joints, "joints", 20.0))
    report: dict[str, Any] = {}
    for road, asked in (("numpy", False), ("gl", True)):
        try:
            fill = Look("body", gl=asked).filler((size, size))
        except (ModuleNotFoundError, OSError) as exc:
            report[road] = {"absent": str(exc)}
            continue

        def stage(shape: tuple[int, int], foot: int, fill: Filler = fill) -> BodyStage:
            return BodyStage([surface], shape, foot, fill)

        rates, busy = [], []
        for again in range(repeats + 1):
            start, worked = time.perf_counter(), time.process_time()
            for _ in film(stage, len(joints), (size, size), "a person walks", True):
                pass
            if again:  # the first loads tables and compiles shaders
                rates.append(len(joints) / (time.perf_counter() - start))
                busy.append((time.process_time() - worked) / len(joints) * 1000)
        rate = float(np.median(rates))
        report[road] = {
            "frames_per_second": round(rate, 1),
            "fastest": round(max(rates), 1),
            "processor_ms_per_frame": round(float(np.median(busy)), 1),
        }
        if isinstance(fill, Painter):
            report[road] |= {"drawn_by": fill.name, "bar": _BODY_BAR, "holds": rate >= _BODY_BAR}
    return report


def rendering_speed(frames: int = 200, size: int = 512, repeats: int = 5) -> dict[str, Any]:
    """Frames per second of ``draw_frames`` with caption, shadow, trail and a moving camera, files left out.

    Args:
        frames: length of the made-up walk.
        size: side of the picture, pixels.
        repeats: how often; the median and the fastest are told.

    Returns:
        JSON values: ``cores`` that this process may use, ``frames_per_second`` (median), ``fastest``,
        ``plain_frames_per_second`` (each frame by itself, one thread), ``ratio``, ``bar`` and ``holds``; ``body`` as
        ``body_speed`` tells it.

    >>> sorted(rendering_speed(4, 64, 1))[:3]
    ['bar', 'body', 'cores']
    """
    joints = marching(frames)
    for _ in draw_frames(joints[:2], 20.0, size=size, caption="a person walks"):
        pass  # fonts and tables are loaded now
    rates, plain = [], []
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in draw_frames(joints, 20.0, size=size, caption="a person walks"):
            pass
        rates.append(frames / (time.perf_counter() - start))
        start = time.perf_counter()
        _plainly(joints, size)
        plain.append(frames / (time.perf_counter() - start))
    rate, other = float(np.median(rates)), float(np.median(plain))
    return {
        "what": f"{frames} frames at {size} x {size}, encoding left out",
        "device": platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "frames_per_second": round(rate, 1),
        "fastest": round(max(rates), 1),
        "plain_frames_per_second": round(other, 1),
        "ratio": round(rate / other, 2),
        "bar": _BAR,
        "holds": rate >= _BAR,
        "body": body_speed(joints, size, repeats),
    }
