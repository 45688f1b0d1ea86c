"""How fast the pieces are, beside the plain way of doing the same; a room for each of several ``hftrainer bench``.

``features`` is ``bench motion``, ``decoding`` ``bench generate --batch``, ``rotations`` ``bench ik`` and ``bench fit``,
``cleaning`` ``bench clean``; ``bodies`` makes what most of them measure. Models are measured in ``pipelines.speeds``.
"""

from hftrainer.bench.bodies import moving_body
from hftrainer.bench.decoding import decoding_speed
from hftrainer.bench.features import (
    DECODE_BAR,
    ENCODE_BAR,
    motion_speed,
    plain_hml263_to_joints,
    plain_joints_to_hml263,
)

__all__ = [
    "DECODE_BAR", "ENCODE_BAR", "decoding_speed", "motion_speed", "moving_body", "plain_hml263_to_joints",
    "plain_joints_to_hml263",
]  # fmt: skip
