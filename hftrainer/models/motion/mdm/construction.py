"""How far building the authors' network moves torch's generator, so that a seed given to their program gives ours.

Their program seeds once, builds the network, CLIP's random weights included, and samples after that. On a processor
both use the same generator, so the first noise depends on how many numbers the building took. Each number of a layer's
random start takes one step of the generator, whether it is spread evenly or normally, as long as a tensor holds at
least 16 and a multiple of 16. On an accelerator sampling has a generator of its own and none of this matters.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hftrainer.models.motion.mdm.config import MDMConfig

_CHUNK = 1 << 24


def _linear(given: int, made: int) -> int:
    return given * made + made


def _attention(width: int) -> int:
    return 3 * width * width + _linear(width, width)


def clip_draws(
    text: tuple[int, int] = (512, 12), image: tuple[int, int] = (768, 12), *, patch: int = 32, pixels: int = 224,
    words: int = 49408, context: int = 77, shared: int = 512,
) -> int:  # fmt: skip
    """Random numbers that building CLIP takes, before its weights are read.

    Args:
        text, image: width and layers of the two towers.
        patch, pixels: side of a patch and of the picture.
        words: size of the vocabulary.
        context: ids of a text.
        shared: width of what both towers give.

    >>> clip_draws() > 200_000_000
    True
    """

    def blocks(width: int, layers: int) -> int:
        return layers * (_attention(width) + _linear(width, 4 * width) + _linear(4 * width, width))

    places = (pixels // patch) ** 2 + 1
    seen = 3 * patch * patch * image[0] + image[0] + places * image[0] + blocks(*image) + image[0] * shared
    read = blocks(*text) + words * text[0]
    again = words * text[0] + context * text[0] + text[1] * 12 * text[0] * text[0] + text[0] * shared
    return seen + read + again


def construction_draws(config: MDMConfig, clip: int | None = None) -> int:
    """Random numbers that building the authors' network takes.

    Args:
        config: the network. Layers of a transformer are copies of one, so their number does not matter.
        clip: what building the text tower takes; by default that of ViT-B/32.

    Raises:
        ValueError: DistilBERT, whose count depends on the library that builds it.

    >>> construction_draws(MDMConfig(condition="none"))
    2894599
    """
    width, size = config.width, config.joints * config.features
    told = size + width if config.architecture == "gru" else size
    count = _linear(told, width) * (1 + config.first_frame) + _linear(width, size) * (1 + config.first_frame)
    count += 2 * _linear(width, width)
    if config.architecture == "gru":
        count += config.layers * (6 * width * width + 6 * width)
    else:
        count += _attention(width) * (1 + (config.architecture == "trans_dec"))
        count += _linear(width, config.feed_forward) + _linear(config.feed_forward, width)
    if config.target_encoder is not None:
        raise ValueError(f"target_encoder must be none to count draws; got {config.target_encoder}.")
    if config.condition == "text":
        if config.text_encoder != "clip":
            raise ValueError(f"text_encoder must be clip to count draws; got {config.text_encoder}.")
        count += _linear(config.text_width, width) + (clip_draws() if clip is None else clip)
    elif config.condition == "action":
        count += config.actions * width
    return count


def state_after_construction(seed: int, config: MDMConfig, clip: int | None = None) -> Tensor:
    """State of a processor's generator that was seeded and then built the authors' network.

    Args:
        seed: what their program was given.
        config, clip: as of ``construction_draws``.

    Returns:
        What ``torch.Generator.set_state`` takes.
    """
    generator = torch.Generator().manual_seed(seed)
    left = construction_draws(config, clip)
    scratch = torch.empty(min(left, _CHUNK))
    while left:
        scratch[:left].uniform_(generator=generator)
        left -= min(left, _CHUNK)
    return generator.get_state()
