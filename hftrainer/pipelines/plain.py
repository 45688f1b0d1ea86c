"""The loops as the papers write them, one prompt at a time: what quick generation is measured against.

Single precision, two passes where there is guidance, the text read again in every pass, scores of every place, nothing
kept from one iteration to the next. Chance is that of the quick loops, so that both must say the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hftrainer.models.clip import ClipTower
from hftrainer.models.motion.mdm.network import Condition
from hftrainer.models.motion.mdm.sampling import sample
from hftrainer.models.motion.mogents.bundle import MaskedBundle
from hftrainer.models.motion.mogents.masked import MaskedTransformer
from hftrainer.models.motion.mogents.residual import ResidualTransformer
from hftrainer.models.motion.mogents.sampling import Settings, likeliest, pick
from hftrainer.models.motion.motiongpt.network import LanguageModel
from hftrainer.pipelines.decoding import Request
from hftrainer.pipelines.denoising import Drawing, drawing_for
from hftrainer.pipelines.masked import MaskedPipeline
from hftrainer.pipelines.mdm import MDMPipeline


@torch.no_grad()
def plain_speak(network: LanguageModel, request: Request, choices: Tensor) -> tuple[int, ...]:
    """The likeliest answer of a fixed length: all that was said is read again for every token.

    >>> from hftrainer.models.motion.motiongpt.network import LanguageModelConfig
    >>> net = LanguageModel(LanguageModelConfig(30, 11, 16, 2, 8, 32, 1, 1)).eval()
    >>> len(plain_speak(net, Request((5, 6, 1), fewest=3, most=3), torch.arange(2, 30)))
    3
    """
    said: list[int] = []
    while len(said) < request.most:
        states, mask = network.encode(torch.tensor([request.prompt]))
        tokens = torch.tensor([[0, *request.prefix, *said]])
        hidden, _ = network.decode(tokens, network.memories(states), mask)
        said.append(int(choices[network.logits(hidden)[0, -1, choices].argmax()]))
    return tuple(said)


def plain_denoise(pipe: MDMPipeline, prompt: str | None, frames: int, drawing: Drawing | None = None) -> np.ndarray:
    """One motion, ``(frames, D)`` physical features.

    Args:
        pipe: whose network is asked.
        prompt: a sentence, where the network reads one.
        frames: how many.
        drawing: by default every step, seed 0.
    """
    bundle, config = pipe.bundle, pipe.bundle.config
    drawing = drawing or drawing_for(bundle)
    told = Condition(frames=torch.ones(1, frames, dtype=torch.bool, device=bundle.device))
    if config.condition == "text":
        text, real = bundle.encode_text([prompt or ""])
        told = Condition(text=text, text_mask=real, frames=told.frames)
    shape = (1, config.joints, config.features, pipe.denoising.whole_patches(max(frames, drawing.shown)))
    made = sample(
        bundle.network, pipe.denoising.schedule(drawing), shape, told, rng=[torch.Generator().manual_seed(0)],
        guidance=drawing.guidance, merged=False,
    )  # fmt: skip
    return bundle.denormalize(made[0], frames).data


@dataclass(frozen=True)
class Pass:
    """What one iteration of filling masks or of adding residuals read and said.

    Attributes:
        name: of the network in its bundle.
        layer: of the residuals; 0 while masks are filled.
        read: ``(1, N)`` tokens, or ``(1, N, C)`` sums of codes.
        asked: ``(1, N)`` bool, cells that were chosen for.
        logits: ``(n, K)`` of those, with guidance.
    """

    name: str
    layer: int
    read: Tensor
    asked: Tensor
    logits: Tensor


Watch = Callable[[Pass], None]


def plain_fill(
    pipe: MaskedPipeline, prompt: str, frames: int, seed: int = 0, watch: Watch | None = None
) -> tuple[list[Tensor], np.ndarray]:
    """One motion of MoGenTS or MoMask.

    Args:
        pipe: whose networks are asked, with the published settings.
        prompt: a sentence.
        frames: a multiple of a token's.
        seed: of its generator.
        watch: called after each iteration.

    Each network reads the sentence for itself, as each of the authors' has a text tower of its own.

    Returns:
        Codes of each stream, ``(1, N, Q)``, and ``(frames, D)`` physical features.
    """
    bundle, settings = pipe.bundle, Settings()
    generator = torch.Generator().manual_seed(seed)
    tokens = frames // bundle.frames_per_token
    real = torch.ones(1, tokens, dtype=torch.bool)
    masks = {name: n for name, n in bundle.networks.items() if isinstance(n, MaskedTransformer)}
    residuals = {name: n for name, n in bundle.networks.items() if isinstance(n, ResidualTransformer)}

    def seen(name: str) -> Callable[..., None]:
        return lambda *said: None if watch is None else watch(Pass(name, *said))

    with torch.no_grad():
        first = [_masks(network, _read(bundle, prompt), real, settings, generator, seen(name))
                 for name, network in masks.items()]  # fmt: skip
        streams = [_residuals(network, codes, _read(bundle, prompt), real, settings, generator, seen(name))
                   for (name, network), codes in zip(residuals.items(), first, strict=True)]  # fmt: skip
        whole = [codes.unflatten(1, (tokens, -1)) if columns > 1 else codes
                 for codes, columns in zip(streams, bundle.columns, strict=True)]  # fmt: skip
        made = bundle.decode(tuple(whole))[0]
    return streams, bundle.denormalize(made).data


def _read(bundle: MaskedBundle, prompt: str) -> Tensor:
    """A sentence as each of the authors' networks reads it for itself: all places of the tower, filled up or not."""
    tower = bundle.tower()
    if not isinstance(tower, ClipTower):
        return bundle.encode_text([prompt])
    return tower.network(tower.tokens.ids([prompt]).to(bundle.device))


def _masks(
    network: MaskedTransformer, text: Tensor, real: Tensor, settings: Settings, chance: torch.Generator,
    watch: Callable[..., None],
) -> Tensor:  # fmt: skip
    count = real.shape[1] * network.config.columns
    tokens, scores = torch.full((1, count), network.mask), torch.zeros(1, count)
    for time in torch.linspace(0, 1, settings.steps):
        many = torch.round(torch.cos(time * math.pi * 0.5) * count).clamp(min=1)
        hidden = scores.argsort(dim=1, stable=True).argsort(dim=1, stable=True) < many
        tokens = torch.where(hidden, network.mask, tokens)
        shown, apart = network(tokens, text, real), network(tokens, torch.zeros_like(text), real)
        logits = (apart + settings.guidance * (shown - apart))[0]
        watch(0, tokens, hidden, logits[hidden[0]])
        drawn = torch.ones_like(logits)
        drawn[hidden[0]] = torch.empty(int(hidden.sum()), logits.shape[1]).exponential_(1, generator=chance)
        chosen = pick(likeliest(logits, settings.drop), drawn, temperature=1.0, gumbel=False)
        tokens = torch.where(hidden, chosen, tokens)
        sure = logits.softmax(-1).gather(1, chosen[:, None])[:, 0]
        scores = torch.where(hidden, sure, 1e5)
    return tokens


def _residuals(
    network: ResidualTransformer, codes: Tensor, text: Tensor, real: Tensor, settings: Settings,
    chance: torch.Generator, watch: Callable[..., None],
) -> Tensor:  # fmt: skip
    config, found, total = network.config, [codes], torch.zeros(())
    for number in range(1, config.quantizers):
        total = total + network.embed(found[-1], number - 1)
        layer = torch.tensor([number])
        shown, apart = network(total, layer, text, real), network(total, layer, torch.zeros_like(text), real)
        logits = (apart + settings.residual_guidance * (shown - apart))[0]
        watch(number, total, torch.ones_like(codes, dtype=torch.bool), logits)
        logits[:, config.codes :] = float("-inf")
        drawn = torch.empty(logits.shape).exponential_(1, generator=chance)
        chosen = pick(likeliest(logits, settings.residual_drop), drawn, temperature=1.0, gumbel=True)
        found.append(chosen[None])
    return torch.stack(found, -1)
