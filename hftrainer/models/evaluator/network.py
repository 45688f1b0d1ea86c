"""The text-motion matching networks of Guo et al., CVPR 2022: a sentence and its motion land close to one another.

Three networks. The movement encoder turns every four frames of features, without the foot contacts, into one vector;
the motion encoder reads these in both directions and gives one vector a motion; the text encoder reads words and parts
of speech in both directions and gives one vector a sentence.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu
from torch.nn.utils.rnn import pack_padded_sequence

#: Frames that become one movement vector: two convolutions of stride two.
FRAMES_PER_MOVEMENT = 4
#: Foot contacts, the last channels of hml263 and kit251, which the networks do not read.
CONTACTS = 4
#: How a batch of motions of several lengths is read; see ``TextMotionEvaluator.encode_motions``.
PADDINGS = ("alone", "packed", "consumed")
_SLOPE = 0.2


@dataclass(frozen=True)
class EvaluatorConfig:
    """Widths of the networks; the defaults are those of the released HumanML3D evaluator.

    Attributes:
        word_width: of a word vector.
        parts: parts of speech.
        text_hidden: of the text encoder, in each direction.
        width: of the embeddings of sentences and motions.
        features: channels of a frame, the four foot contacts included.
        movement_hidden, movement_width: of the movement encoder.
        motion_hidden: of the motion encoder, in each direction.
    """

    word_width: int = 300
    parts: int = 15
    text_hidden: int = 512
    width: int = 512
    features: int = 263
    movement_hidden: int = 512
    movement_width: int = 512
    motion_hidden: int = 1024

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            least = CONTACTS + 1 if name == "features" else 1
            if type(value) is not int or value < least:
                raise ValueError(f"{name} must be a whole number of at least {least}; got {value!r}.")


class SequenceEncoder(nn.Module):
    """Vectors of a sequence to one vector: linear, GRU in both directions from a learnt state, two linear layers.

    Args:
        entry: width of the vectors that come in.
        hidden: width of the GRU in each direction, of the vectors that it reads and of the last layer but one.
        width: of the result.
    """

    def __init__(self, entry: int, hidden: int, width: int) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.randn(2, 1, hidden))
        self.entry = nn.Linear(entry, hidden)
        self.recurrent = nn.GRU(hidden, hidden, batch_first=True, bidirectional=True)
        self.gather = nn.Linear(2 * hidden, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.readout = nn.Linear(hidden, width)

    def forward(self, sequence: Tensor, lengths: Tensor | None = None) -> Tensor:
        """``(B, L, entry)`` -> ``(B, width)``; with ``lengths`` ``(B,)`` what lies behind them is not read."""
        states: Tensor = self.entry(sequence)
        begin = self.start.expand(-1, len(states), -1).contiguous()
        if lengths is None:
            _, last = self.recurrent(states, begin)
        else:
            packed = pack_padded_sequence(states, lengths.cpu(), batch_first=True, enforce_sorted=False)
            _, last = self.recurrent(packed, begin)
        gathered = self.gather(torch.cat([last[0], last[1]], -1))
        return self.readout(leaky_relu(self.norm(gathered), _SLOPE))


class MovementEncoder(nn.Module):
    """Features without contacts to one vector for every four frames."""

    def __init__(self, config: EvaluatorConfig) -> None:
        super().__init__()
        self.first = nn.Conv1d(config.features - CONTACTS, config.movement_hidden, 4, 2, 1)
        self.second = nn.Conv1d(config.movement_hidden, config.movement_width, 4, 2, 1)
        self.readout = nn.Linear(config.movement_width, config.movement_width)
        self.dropout = nn.Dropout(0.2)

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """``(B, T, features - 4)`` -> ``(B, T // 4, width)``; with ``lengths`` as if each clip were alone."""
        x = blanked(features, lengths).transpose(1, 2)
        x = leaky_relu(self.dropout(self.first(x)), _SLOPE)
        if lengths is not None:  # beyond a clip's end its own padding is zero, and that of a batch is not
            x = blanked(x.transpose(1, 2), lengths // 2).transpose(1, 2)
        x = leaky_relu(self.dropout(self.second(x)), _SLOPE)
        return self.readout(x.transpose(1, 2))


def blanked(sequence: Tensor, lengths: Tensor | None) -> Tensor:
    """``(B, L, D)`` with zeros behind each length; ``torch.where``, so that not even a NaN there gets through."""
    if lengths is None:
        return sequence
    real = torch.arange(sequence.shape[1], device=sequence.device) < lengths[:, None].to(sequence.device)
    return torch.where(real[..., None], sequence, torch.zeros((), dtype=sequence.dtype, device=sequence.device))


class TextEncoder(nn.Module):
    """Word vectors and parts of speech to one vector a sentence."""

    def __init__(self, config: EvaluatorConfig) -> None:
        super().__init__()
        self.parts = nn.Linear(config.parts, config.word_width)
        self.sequence = SequenceEncoder(config.word_width, config.text_hidden, config.width)

    def forward(self, words: Tensor, parts: Tensor, lengths: Tensor) -> Tensor:
        """``(B, L, word_width)``, ``(B, L, parts)``, ``(B,)`` -> ``(B, width)``."""
        return self.sequence(words + self.parts(parts), lengths)


class TextMotionEvaluator(nn.Module):
    """Sentences and motions in one space of ``config.width`` numbers.

    Args:
        config: widths.

    >>> tiny = EvaluatorConfig(8, 15, 6, 5, 263, 6, 6, 7)
    >>> net = TextMotionEvaluator(tiny).eval()
    >>> net.encode_motions(torch.zeros(2, 40, 263), torch.tensor([40, 24])).shape
    torch.Size([2, 5])
    """

    def __init__(self, config: EvaluatorConfig) -> None:
        super().__init__()
        self.config = config
        self.text = TextEncoder(config)
        self.movement = MovementEncoder(config)
        self.motion = SequenceEncoder(config.movement_width, config.motion_hidden, config.width)

    def encode_texts(self, words: Tensor, parts: Tensor, lengths: Tensor) -> Tensor:
        """Sentences to embeddings.

        Args:
            words: ``(B, L, word_width)`` word vectors.
            parts: ``(B, L, parts)`` one-hot parts of speech.
            lengths: ``(B,)`` words of each sentence, at least 1, in any order.

        Returns:
            ``(B, width)``.

        Raises:
            ValueError: a length is outside 1 to ``L``.
        """
        _check_lengths(lengths, 1, words.shape[1], "words")
        return self.text(words, parts, lengths)

    def encode_motions(self, features: Tensor, lengths: Tensor, padding: str = "alone") -> Tensor:
        """Motions to embeddings.

        Args:
            features: ``(B, T, features)`` normalised, the contacts included; what stands behind a length is padding.
            lengths: ``(B,)`` frames of each motion, at least 4, in any order.
            padding: ``"alone"``: a motion's embedding is the one it would have alone. ``"packed"``: the convolutions
                see the padding and the recurrence does not, as in the code of Guo et al. ``"consumed"``: all of the
                padding is read and ``lengths`` have no effect, as in the code of MotionGPT; an embedding then depends
                on the longest motion of its batch.

        Returns:
            ``(B, width)``.

        Raises:
            ValueError: ``padding`` is none of these, or a length is outside 4 to ``T``.
        """
        if padding not in PADDINGS:
            raise ValueError(f"padding must be one of {', '.join(PADDINGS)}; got {padding!r}.")
        _check_lengths(lengths, FRAMES_PER_MOVEMENT, features.shape[1], "frames")
        movements = self.movement(features[..., :-CONTACTS], lengths if padding == "alone" else None)
        return self.motion(movements, None if padding == "consumed" else lengths // FRAMES_PER_MOVEMENT)


def _check_lengths(lengths: Tensor, least: int, most: int, unit: str) -> None:
    wrong = [int(n) for n in lengths if not least <= int(n) <= most]
    if wrong:
        raise ValueError(f"every length must be {least} to {most} {unit}; got {wrong}.")
