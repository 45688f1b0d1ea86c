"""MoGenTS: sentences to motions, what is missing of motions, spans and joints made anew.

Its tokens are of two kinds: whole poses, and a grid of pooled joints over time; so joints can be made anew and the
others left.
"""

from __future__ import annotations

from hftrainer.models.motion.mogents.bundle import MoGenTSBundle
from hftrainer.pipelines.masked import MaskedPipeline


class MoGenTSPipeline(MaskedPipeline):
    """MoGenTS' tasks with a bundle; settings and calls are those of ``MaskedPipeline``.

    Where ``part`` names joints, the cells of the grid that hold them are filled anew with all others in view, and
    tokens of whole poses are renewed little by little, so that they follow the words and keep to the rest. Features of
    the other joints come out as they went in.

    Source: Yuan et al., "MoGenTS: Motion Generation based on Spatial-Temporal Joint Modeling", NeurIPS 2024. Editing is
    this project's own: the released code for it does not run.
    """

    kind = MoGenTSBundle
    makes_parts = True
