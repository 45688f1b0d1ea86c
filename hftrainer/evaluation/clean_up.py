"""What clean-up changes: measures before and after, and its bars on generated motion and on captured motion with noise.

Legend: ``T`` frames.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from hftrainer.evaluation.physics import physics, table
from hftrainer.motion.cleaning import clean
from hftrainer.motion.clip import Motion
from hftrainer.motion.contacts import FEET, find_contacts
from hftrainer.motion.measure import smooth
from hftrainer.motion.representation.convert import convert

#: Feet of generated motions must slide so much less, by both measures; poses of noisy capture must be so near, mm.
SLIDE_BAR, POSE_BAR_MM = 0.6, 20.0
#: What is added to capture: trembling of each joint, and a slow drift of the whole body over the floor, m.
TREMBLE, DRIFT = 0.01, 0.01
_UNITS = {
    "slide": "mm a frame", "skating": "mm a frame", "float": "% of frames", "jitter": "mm a frame",
    "penetration": "mm", "stretch": "mm",
}  # fmt: skip


def measures(joints: np.ndarray, down: np.ndarray, ground: float) -> dict[str, float]:
    """Numbers of one motion, in the units of ``before_and_after``.

    Args:
        joints: ``(T, 22, 3)`` metres.
        down: ``(T, 4)`` when ankles and toes stand: the same for both motions that are compared.
        ground: height of the ground, metres.
    """
    from hftrainer.motion.skeleton import SMPL22

    published = table(physics(joints).measures())
    steps = np.linalg.norm(np.diff(joints[:, FEET][..., [0, 2]], axis=0), axis=-1)
    held = down[1:] & down[:-1]
    toes = joints[:, [FEET[1], FEET[3]], 1]
    return {
        "slide": published["slide"],
        "skating": 1000 * float(steps[held].mean()) if held.any() else 0.0,
        "float": published["float"],
        "jitter": published["jitter"],
        "penetration": 1000 * float(np.maximum(ground - toes, 0.0).max()),
        "stretch": 1000 * float(SMPL22.bone_lengths(joints).std(axis=0).max()),
    }


def before_and_after(before: Motion, after: Motion) -> dict[str, Any]:
    """What clean-up changed in one motion.

    Args:
        before: the motion as it was.
        after: the same, cleaned.

    Returns:
        ``{"before": {...}, "after": {...}, "contacts": share of the time that a foot joint stands, "rows": [...]}``:
        ``slide``, ``float`` and ``jitter`` are MBench's (``physics``); ``skating`` is the step of ankles and toes while
        they stand, told once, from the motion before; ``penetration`` is how deep a toe sinks below the ground that the
        feet stand on; ``stretch`` the largest standard deviation of a bone's length.

    >>> still = Motion(np.random.default_rng(0).normal(size=(1, 22, 3)).repeat(9, 0), "joints", 20)
    >>> before_and_after(still, still)["after"]["slide"]
    0.0
    """
    one, two = (np.asarray(convert(motion, "joints").data, dtype=np.float64) for motion in (before, after))
    contacts = find_contacts(one, before.fps)
    ground = contacts.ground or 0.0
    rows = [measures(one, contacts.down, ground), measures(two, contacts.down, 0.0)]
    rounded = [{name: round(value, 3) for name, value in row.items()} for row in rows]
    return {**_told(*rounded), "contacts": round(float(contacts.down.mean()), 3)}


def mean_before_and_after(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The means of several motions' reports.

    Args:
        found: one or more results of ``before_and_after``.

    Returns:
        ``{"motions": how many, "before": {...}, "after": {...}, "rows": [...]}``.

    >>> still = Motion(np.random.default_rng(0).normal(size=(1, 22, 3)).repeat(9, 0), "joints", 20)
    >>> mean_before_and_after([before_and_after(still, still)])["motions"]
    1
    """
    means = ({name: round(float(np.mean([one[when][name] for one in found])), 3) for name in _UNITS}
             for when in ("before", "after"))  # fmt: skip
    return {"motions": len(found), **_told(*means)}


def _told(before: dict[str, float], after: dict[str, float]) -> dict[str, Any]:
    rows = [{"what": name, "before": before[name], "after": after[name], "unit": unit} for name, unit in _UNITS.items()]
    return {"before": before, "after": after, "rows": rows}


def noisy(motion: Motion, seed: int) -> Motion:
    """Capture as a poor tracker would have it: ``TREMBLE`` on each coordinate, and ``DRIFT`` of the whole body."""
    rng = np.random.default_rng(seed)
    drift = smooth(rng.normal(size=(len(motion), 1, 3)), motion.fps, 1.0) * [1, 0, 1]
    drift *= DRIFT / max(float(drift[..., [0, 2]].std()), 1e-9)
    return motion.replace(data=motion.data + rng.normal(0, TREMBLE, motion.data.shape) + drift)


def pose_error_mm(motion: Motion, truth: Motion) -> float:
    """Mean joint distance, mm, of two motions of joints, each seen from its own mean place."""
    one, two = (np.asarray(m.data, dtype=np.float64) for m in (motion, truth))
    return 1000 * float(np.linalg.norm(one - one.mean((0, 1)) - two + two.mean((0, 1)), axis=-1).mean())


def cleaning_report(generated: Sequence[Motion], captured: Sequence[Motion]) -> dict[str, Any]:
    """Clean-up held to its bars.

    Args:
        generated: motions of a model.
        captured: joints of people, on which noise is put.

    Returns:
        JSON values: mean measures of the generated motions before and after, how much less their feet slide, by
        both measures, and the pose errors of capture with noise, cleaned, and of capture without noise, cleaned.
    """
    found, frames, begin = [], 0, time.process_time()
    for motion in generated:
        found.append(before_and_after(motion, clean(motion)))
        frames += len(motion)
    seconds = time.process_time() - begin
    mean = {when: values for when, values in mean_before_and_after(found).items() if when in ("before", "after")}
    fall, skating = (1 - mean["after"][name] / mean["before"][name] for name in ("slide", "skating"))
    errors = []
    for seed, motion in enumerate(captured):
        spoilt = noisy(motion, seed)
        errors.append([pose_error_mm(one, motion) for one in (spoilt, clean(spoilt), clean(motion))])
    noise, mended, unspoilt = (round(float(value), 2) for value in np.mean(errors, axis=0))
    return {
        "what": "clean", "frames_per_s": round(frames / max(seconds, 1e-9)),
        "generated": {
            "motions": len(found), **mean,
            "slide_fall": {"value": round(fall, 3), "bar": SLIDE_BAR, "holds": fall >= SLIDE_BAR},
            "skating_fall": {"value": round(skating, 3), "bar": SLIDE_BAR, "holds": skating >= SLIDE_BAR},
        },
        "captured": {
            "motions": len(errors), "tremble_mm": 1000 * TREMBLE, "drift_mm": 1000 * DRIFT, "noisy_error_mm": noise,
            "cleaned_error_mm": {"value": mended, "bar": POSE_BAR_MM, "holds": mended < POSE_BAR_MM},
            "clean_capture_moved_mm": unspoilt,
        },
    }  # fmt: skip
