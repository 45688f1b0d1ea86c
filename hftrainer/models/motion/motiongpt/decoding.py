"""From codes to motions the way the released code of MotionGPT evaluates and demonstrates itself.

Only for comparisons with it. For use there is ``MotionGPTBundle.detokenize``, which makes each motion as long as its
codes say and refuses codes that do not exist. All features here are normalised, as the networks see them.

Source: the released code of Jiang et al., "MotionGPT: Human Motion as a Foreign Language", NeurIPS 2023.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hftrainer.models.motion.motiongpt.network import MotionTokenizer


def _decoded(network: MotionTokenizer, codes: Sequence[int]) -> Tensor:
    """``(len(codes) * frames_per_token, D)``."""
    wrong = sorted({code for code in codes if not 0 <= code < network.config.codes})
    if wrong or not codes:
        raise ValueError(f"codes must be one or more of 0 to {network.config.codes - 1}; got {wrong or 'none'}.")
    device = next(network.parameters()).device
    return network.decode(torch.tensor([list(codes)], device=device))[0]


@torch.no_grad()
def official_validation(
    network: MotionTokenizer, answers: Sequence[Sequence[int]], frames: Sequence[int], padded: int | None = None
) -> tuple[Tensor, list[int]]:
    """Generated codes as the reference scores them, in all its validations.

    Codes outside the vocabulary are moved to its nearest end. An answer of one code or none becomes a motion of nothing
    but zeros, the mean pose, as long as the reference motion. Any other is decoded and cut to the reference's length.

    Args:
        network: the motion tokenizer.
        answers: codes of each motion, ``official_answer(...).codes``.
        frames: length of each reference motion.
        padded: frames of the batch; the longest reference if not given. What is not filled stays zero.

    Returns:
        ``(B, padded, D)`` normalised features, and how many frames of each count.

    Raises:
        ValueError: there are not as many lengths as answers.

    >>> from hftrainer.models.motion.motiongpt.network import TokenizerConfig
    >>> network = MotionTokenizer(TokenizerConfig(width=32, code_width=32, codes=16)).eval()
    >>> features, lengths = official_validation(network, [[3, 99, 2], [5]], [8, 20])
    >>> features.shape, lengths, bool(features[1].any())
    (torch.Size([2, 20, 263]), [8, 20], False)
    """
    if len(answers) != len(frames) or not frames:
        raise ValueError(f"frames must be one number an answer; got {len(frames)} for {len(answers)}.")
    features = torch.zeros(len(answers), padded or max(frames), network.config.features)
    lengths = []
    for row, codes, length in zip(features, answers, frames, strict=True):
        if len(codes) > 1:
            last = network.config.codes - 1
            motion = _decoded(network, [min(max(code, 0), last) for code in codes])[:length]
            row[: len(motion)] = motion.cpu()
            length = len(motion)
        lengths.append(length)
    return features, lengths


@torch.no_grad()
def official_reconstruction(network: MotionTokenizer, motion: Tensor, frames: Sequence[int]) -> Tensor:
    """A batch through the tokenizer and back as the reference scores it: every motion by itself, without its padding.

    Args:
        network: the motion tokenizer.
        motion: ``(B, T, D)`` normalised, padded.
        frames: length of each.

    Returns:
        ``(B, T, D)``; what is not filled stays zero.
    """
    features = torch.zeros_like(motion)
    for row, given, length in zip(features, motion, frames, strict=True):
        made = network.decode(network.encode(given[None, :length]))[0]
        row[: len(made)] = made
    return features


@torch.no_grad()
def official_demo(
    network: MotionTokenizer,
    answers: Sequence[Sequence[int]],
    *,
    task: str = "t2m",
    heads: Sequence[Sequence[int]] = (),
    motion: Tensor | None = None,
    frames: Sequence[int] = (),
) -> tuple[Tensor, list[int]]:
    """Generated codes as the reference's demonstration shows them; nothing is moved into the vocabulary here.

    ``pred`` decodes the given codes and the generated ones as one motion and reports no lengths. ``inbetween`` puts the
    first quarter and the last quarter of the given motion around the second and third quarter (of the *given* length)
    of the generated one; the last part runs to the end of the padding, and the length reported is the generated one.

    Args:
        network: the motion tokenizer.
        answers: codes of each motion.
        task: ``t2m``, ``pred`` or ``inbetween``.
        heads: for ``pred``, the codes that were given.
        motion, frames: for ``inbetween``, ``(B, T, D)`` normalised motions and the length of each.

    Returns:
        ``(B, T', D)`` normalised features, padded with zeros to the longest, and the lengths.

    Raises:
        ValueError: an unknown task, a code outside the vocabulary, or something absent that the task needs.
    """
    if task not in ("t2m", "pred", "inbetween"):
        raise ValueError(f"the task must be t2m, pred or inbetween; got {task!r}.")
    if task == "pred" and len(heads) != len(answers):
        raise ValueError(f"heads must be one an answer; got {len(heads)} for {len(answers)}.")
    if task == "inbetween" and (motion is None or len(motion) != len(answers) or len(frames) != len(answers)):
        raise ValueError(f"motion and frames must be one an answer for {len(answers)} answers.")
    rows, lengths = [], []
    for i, codes in enumerate(answers):
        row = _decoded(network, [*heads[i], *codes] if task == "pred" else codes).cpu()
        if task != "pred":
            lengths.append(len(row))
        if task == "inbetween" and motion is not None:
            quarter = frames[i] // 4
            given = motion[i].cpu()
            row = torch.cat([given[:quarter], row[quarter : quarter * 3], given[quarter * 3 :]])
        rows.append(row)
    longest = max([len(row) for row in rows] + lengths)
    features = torch.zeros(len(rows), longest, network.config.features)
    for place, row in zip(features, rows, strict=True):
        place[: len(row)] = row
    return features, lengths
