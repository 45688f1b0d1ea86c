"""MoMask's bundle: tokenizer, two transformers, length estimator, statistics and text tower; one folder on disk.

| file | what |
|---|---|
| ``momask_config.json`` | which networks, and what the artifact was made from |
| ``vq``, ``t2m_trans``, ``res_trans``, ``length_est`` ``.safetensors`` | in the authors' names |
| ``clip.safetensors`` or ``text_encoder/``, ``Mean.npy``, ``Std.npy`` | as MoGenTS' bundle has them |
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from hftrainer.models.motion.mogents.bundle import Codes, MaskedBundle
from hftrainer.models.motion.mogents.decoding import Start
from hftrainer.models.motion.mogents.generation import Source
from hftrainer.models.motion.mogents.official import MOMASK
from hftrainer.models.motion.mogents.sampling import Settings
from hftrainer.models.motion.momask import generation
from hftrainer.models.motion.momask.tokenizer import MoMaskTokenizer


class MoMaskBundle(MaskedBundle):
    """Everything that MoMask needs to turn words into motion, in one object and one folder; see ``MaskedBundle``.

    It has one stream of codes.
    """

    family = MOMASK
    default = "momask-mini"
    motion_tokenizer: MoMaskTokenizer

    @property
    def columns(self) -> tuple[int, ...]:
        return (1,)

    def encode(self, features: Tensor) -> Codes:
        return (self.motion_tokenizer.encode(features),)

    def generate(
        self,
        text: Tensor,
        lengths: Tensor,
        settings: Settings,
        *,
        rng: Source = "official",
        starts: Sequence[Start] | None = None,
    ) -> Codes:
        networks = generation.Networks(self.masked("t2m_trans"), self.residual("res_trans"))
        start = None if starts is None else starts[0]
        return (generation.generate_codes(networks, text, lengths, settings, rng=rng, start=start),)

    def decode(self, codes: Codes, lengths: Tensor | None = None) -> list[Tensor]:
        return generation.decode_codes(self.motion_tokenizer, codes[0], lengths)
