"""MoMask: sentences to motions, what is missing of motions, and spans of time made anew."""

from __future__ import annotations

from hftrainer.models.motion.momask.bundle import MoMaskBundle
from hftrainer.pipelines.masked import MaskedPipeline


class MoMaskPipeline(MaskedPipeline):
    """MoMask's tasks with a bundle; settings and calls are those of ``MaskedPipeline``.

    Source: Guo et al., "MoMask: Generative Masked Modeling of 3D Human Motions", CVPR 2024.
    """

    kind = MoMaskBundle
    makes_parts = False
