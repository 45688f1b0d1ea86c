"""Proof that an artifact is the checkpoint that it was made from: every number, and what the networks do with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from hftrainer.models.motion.motiongpt.bundle import MotionGPTBundle
from hftrainer.models.motion.motiongpt.network import LanguageModel
from hftrainer.models.motion.motiongpt.release import Release
from hftrainer.models.text import END, pad

PROMPT = "Generate motion: a person walks forward."
CAPTIONING = "Generate text: "
FRAMES = 64


@torch.no_grad()
def greedy(network: LanguageModel, prompts: Sequence[Sequence[int]], most: int) -> list[list[int]]:
    """The likeliest token, one after another, until the end mark.

    Args:
        network: in eval mode.
        prompts: token ids, each with its end mark.
        most: tokens at most.

    Returns:
        The answers, the end mark included where it came.

    >>> from hftrainer.models.motion.motiongpt.network import LanguageModelConfig
    >>> network = LanguageModel(LanguageModelConfig(40, 10, 16, 2, 8, 32, 1, 1)).eval()
    >>> [len(answer) <= 3 for answer in greedy(network, [[5, 1], [6, 7, 1]], 3)]
    [True, True]
    """
    device = network.head.weight.device
    states, mask = network.encode(pad(prompts).to(device))
    memories, past = network.memories(states), None
    token = torch.zeros(len(prompts), 1, dtype=torch.long, device=device)
    answers: list[list[int]] = [[] for _ in prompts]
    for _ in range(most):
        hidden, past = network.decode(token, memories, mask, past)
        token = network.logits(hidden[:, -1]).argmax(-1, keepdim=True)
        for answer, now in zip(answers, token[:, 0].tolist(), strict=True):
            if END not in answer:
                answer.append(now)
        if all(END in answer for answer in answers):
            break
    return answers


def fixed_motion(features: int) -> Tensor:
    """``(FRAMES, features)`` normalised numbers that are the same everywhere."""
    at = torch.arange(FRAMES, dtype=torch.float64)[:, None] * (0.05 + torch.arange(features, dtype=torch.float64) / 900)
    return torch.sin(at).float()


def _same_bits(one: Tensor, other: Tensor) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return torch.equal(one.contiguous().view(-1).view(torch.uint8), other.contiguous().view(-1).view(torch.uint8))


def verify(made: MotionGPTBundle, folder: Path, files: Release, tokens: int = 24) -> list[str]:
    """Compare an artifact on disk with the checkpoint and with the networks that were filled from it.

    Args:
        made: the bundle as it was filled from the checkpoint.
        folder: the artifact that was written.
        files: the checkpoint.
        tokens: length of the greedy answers.

    Returns:
        What was checked and holds, one line each.

    Raises:
        RuntimeError: something does not hold; all of it is listed.
    """
    good: list[str] = []
    bad: list[str] = []

    def check(holds: bool, yes: str, no: str) -> None:
        (good if holds else bad).append(yes if holds else no)

    loaded = MotionGPTBundle.from_pretrained(folder)
    count = values = 0
    for name, want in (("motion_tokenizer", files.tokenizer), ("language_model", files.language)):
        stored, state = load_file(folder / f"{name}.safetensors"), getattr(loaded, name).state_dict()
        more = sorted(stored.keys() - want.keys())
        bad += [f"{name}: {key} is in the file and not in the checkpoint" for key in more]
        for key, tensor in want.items():
            for where, there in (("the file", stored), ("the loaded network", state)):
                if key not in there or not _same_bits(there[key], tensor):
                    bad.append(f"{name}: {key} in {where} is not the checkpoint's")
            count, values = count + 1, values + tensor.numel()
    check(not bad, f"{count} tensors, {values:,} numbers: bit for bit the checkpoint's", "tensors differ")

    head, rows = (loaded.language_model.state_dict()[key] for key in ("head.weight", "vocabulary.rows.weight"))
    check(head.data_ptr() != rows.data_ptr() and not torch.equal(head, rows),
          "the output head is a matrix of its own", "the output head was tied to the input embedding")  # fmt: skip

    features = fixed_motion(files.tokenizer_config.features)[None]
    with torch.no_grad():
        codes = [bundle.motion_tokenizer.encode(features) for bundle in (made, loaded)]
        decoded = [bundle.motion_tokenizer.decode(codes[0]) for bundle in (made, loaded)]
    same = torch.equal(*codes) and torch.equal(*decoded)
    check(same, f"a motion of {FRAMES} frames: the same {codes[0].shape[1]} codes, decoded to the same numbers",
          f"a motion of {FRAMES} frames gives other codes or frames after loading")  # fmt: skip

    first = loaded.start - files.tokenizer_config.codes
    motion = [loaded.text.token_to_id(f"<motion_id_{i}>") for i in range(files.tokenizer_config.codes + 3)]
    check(motion == list(range(first, first + len(motion))),
          f"motion tokens are {first} to {first + len(motion) - 1}", "motion tokens have other numbers")  # fmt: skip
    ask = CAPTIONING + "<motion_id_0>"
    ids = [bundle.text.encode(ask).ids for bundle in (made, loaded)]
    lone = loaded.text.token_to_id("▁")
    kept = lone is None or ids[1][-3:] == [lone, first, END]
    check(kept and ids[0] == ids[1], f"{ask!r} is read as {len(ids[1])} tokens, the lone ▁ among them",
          f"{ask!r} is read as {ids[1]}: the lone ▁ is lost")  # fmt: skip

    said, read = made.language_model, loaded.language_model
    if not isinstance(said, LanguageModel) or not isinstance(read, LanguageModel):
        raise TypeError("both bundles must have a language model of the T5 kind; got another.")
    prompts = [loaded.text.encode(text).ids for text in (PROMPT, PROMPT + " Then the person sits down.")]
    alone = [greedy(network, prompts[:1], tokens)[0] for network in (said, read)]
    check(alone[0] == alone[1], f"{PROMPT!r}: the same {len(alone[0])} greedy tokens",
          f"{PROMPT!r}: {alone[0]} before, {alone[1]} after loading")  # fmt: skip
    states, mask = read.encode(pad(prompts))
    single, _ = read.encode(pad(prompts[:1]))
    hidden = (states[0, : single.shape[1]] - single[0]).abs().max() <= 1e-3 * single.abs().max().clamp_min(1e-6)
    check(bool(hidden) and bool((mask[0, 0, 0, single.shape[1] :] < -1e4).all()),
          "padding is not attended to", "padding is attended to")  # fmt: skip
    if bad:
        raise RuntimeError(f"the artifact is not the checkpoint: {'; '.join(bad)}.")
    return good
