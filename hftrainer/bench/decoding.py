"""How fast prompts are answered together and one by one: ``hftrainer bench generate --batch``."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np

#: How many times as fast 32 prompts are together as one by one, at T5-base size on two cores.
BATCH_BAR = 4.0


def decoding_speed(batch: int = 32, tokens: int = 24, width: int = 768, layers: int = 12) -> dict[str, Any]:
    """Seconds of decoding prompts together and one by one, and whether the answers are the same.

    The language model has T5-base's sizes and random weights: speed does not depend on what the weights are. It decodes
    greedily, exactly ``tokens`` tokens for each of the prompts, whose lengths are 6 to 24 tokens.

    Args:
        batch: number of prompts.
        tokens: length of an answer.
        width, layers: of the model; smaller ones are for trying out.

    Returns:
        JSON values: seconds, tokens per second, the ratio and its bar, and how many answers are the same.

    >>> decoding_speed(batch=3, tokens=2, width=32, layers=1)["same_answers"]["value"]
    3
    """
    import torch  # motion's measurements need none

    from hftrainer.models.motion.motiongpt.network import LanguageModel, LanguageModelConfig
    from hftrainer.pipelines.decoding import Draws, Request, speak

    torch.manual_seed(0)
    heads = max(1, width // 64)
    config = LanguageModelConfig(
        width=width, heads=heads, feedforward=width * 8 // 3, encoder_layers=layers, decoder_layers=layers
    )
    network = LanguageModel(config).eval()
    rng = np.random.default_rng(0)
    start, stop = config.vocabulary - 3, config.vocabulary - 2
    requests = [
        Request((*(int(t) for t in rng.integers(3, 32000, size)), 1), (start,), tokens, tokens)
        for size in rng.integers(5, 24, batch)
    ]
    choices, greedy = torch.arange(config.first_motion, stop + 1), Draws(greedy=True)

    def together() -> list[Any]:
        return speak(network, requests, choices, stop, greedy, text=False)

    def one_by_one() -> list[Any]:
        return [speak(network, [request], choices, stop, greedy, text=False)[0] for request in requests]

    speak(network, requests[:2], choices, stop, greedy)  # warm-up
    seconds, answers = {}, {}
    for name, work in (("together", together), ("one_by_one", one_by_one)):
        begin = time.perf_counter()
        answers[name] = [answer.tokens for answer in work()]
        seconds[name] = time.perf_counter() - begin
    same = sum(a == b for a, b in zip(answers["together"], answers["one_by_one"], strict=True))
    ratio = seconds["one_by_one"] / seconds["together"]
    return {
        "what": "decoding", "prompts": batch, "tokens_per_answer": tokens, "cores_seen": os.cpu_count(),
        "threads_used": torch.get_num_threads(), "parameters": sum(p.numel() for p in network.parameters()),
        "together_s": round(seconds["together"], 2), "one_by_one_s": round(seconds["one_by_one"], 2),
        "tokens_per_s": round(batch * tokens / seconds["together"], 1),
        "ratio": {"value": round(ratio, 2), "bar": BATCH_BAR, "holds": ratio >= BATCH_BAR},
        "same_answers": {"value": same, "bar": batch, "holds": same == batch},
    }  # fmt: skip
