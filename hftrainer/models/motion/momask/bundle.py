"""MoMask's bundle: tokenizer, two transformers, length estimator, statistics and text tower; one folder on disk.

| file | what |
|---|---|
| ``momask_config.json`` | which networks, and what the artifact was made from |
| ``vq``, ``t2m_trans``, ``res_trans``, ``length_est`` ``.safetensors`` | in the authors' names |
| ``clip.safetensors`` or ``text_encoder/``, ``Mean.npy``, ``Std.npy`` | as MoGenTS' bundle has them |
"""

from __future__ import annotations

from hftrainer.models.motion.mogents.bundle import MaskedBundle
from hftrainer.models.motion.mogents.official import MOMASK


class MoMaskBundle(MaskedBundle):
    """Everything that MoMask needs to turn words into motion, in one object and one folder; see ``MaskedBundle``."""

    family = MOMASK
    default = "momask-mini"
