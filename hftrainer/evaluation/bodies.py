"""Physical measures of sets of motions: what bodies do that bodies cannot, in the units of published tables.

Published tables compare motions at 30 frames a second. Positions of slower ones are interpolated to that rate, which
smooths: these numbers stand beside those of real motions that came the same way.
"""

from __future__ import annotations

from collections.abc import Sequence

from hftrainer.evaluation.physics import SHORTEST, mean_physics, physics, table
from hftrainer.motion.clip import Motion
from hftrainer.motion.edit import resample
from hftrainer.motion.representation.convert import convert

#: Frames per second at which motions are measured.
FPS = 30
#: Measures of a set, in mm a frame, and percent for floating.
BODIES = ("slide", "float", "jitter", "dynamic")


def bodies(motions: Sequence[Motion], prefix: str = "") -> tuple[dict[str, float], dict[str, str]]:
    """Means over motions of ``BODIES``, and why there are none.

    Args:
        motions: in a representation with a road to 22 joints, at least 4 frames each.
        prefix: of the names.

    Source:
        MBench, motion quality; see ``hftrainer.evaluation.physics``.

    >>> import numpy as np
    >>> bodies([Motion(np.ones((40, 22, 3)), "joints", fps=20)])[0]["slide"]
    0.0
    """
    names = [prefix + name for name in BODIES]
    if not motions:
        return {}, dict.fromkeys(names, "physical measures need at least 1 motion; got none.")
    if any(motion.representation.name.startswith("kit") for motion in motions):
        return {}, dict.fromkeys(names, "physical measures are of SMPL's 22 joints; KIT's body has 21.")
    seen = [physics(resample(convert(motion, "joints"), FPS, "grid").data)
            for motion in motions if len(motion) >= SHORTEST]  # fmt: skip
    if not seen:
        return {}, dict.fromkeys(names, f"physical measures need motions of {SHORTEST} frames; got shorter ones.")
    means = table(mean_physics(seen))
    return {prefix + name: means[name] for name in BODIES}, {}
