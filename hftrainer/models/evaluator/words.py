"""Words as the evaluator reads them: a vector and a part of speech each.

The classes of words that matter for motion (Guo et al., CVPR 2022) take the place of a word's part of speech.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: Parts of speech, in the order of the one-hot vector.
PARTS = (
    "VERB", "NOUN", "DET", "ADP", "NUM", "AUX", "PRON", "ADJ", "ADV",
    "Loc_VIP", "Body_VIP", "Obj_VIP", "Act_VIP", "Desc_VIP", "OTHER",
)  # fmt: skip

#: Words whose class counts more than their part of speech; the first class that lists a word has it.
CLASSES = {
    "Loc_VIP": "left right clockwise counterclockwise anticlockwise forward back backward up down straight curve",
    "Body_VIP": "arm chin foot feet face hand mouth leg waist eye knee shoulder thigh",
    "Obj_VIP": "stair dumbbell chair window floor car ball handrail baseball basketball",
    "Act_VIP": "walk run swing pick bring kick put squat throw hop dance jump turn stumble stop sit lift lower raise "
    "wash stand kneel stroll rub bend balance flap jog shuffle lean rotate spin spread climb",
    "Desc_VIP": "slowly carefully fast careful slow quickly happy angry sad happily angrily sadly",
}
_CLASS_OF = {word: name for name, words in reversed(CLASSES.items()) for word in words.split()}

#: Words of a sentence that are read, without its start and end.
MOST_WORDS = 20
UNKNOWN, START, END = "unk", "sos", "eos"


class WordVectors:
    """A vocabulary with a vector for each word.

    Args:
        words: the vocabulary; ``unk`` must be in it, and ``sos`` and ``eos`` for whole sentences.
        vectors: ``(len(words), D)``, a row a word.

    Raises:
        ValueError: the numbers do not fit the words, a word is there twice, or ``unk`` is absent.

    >>> vectors = WordVectors(["unk", "sos", "eos", "walk"], np.eye(4))
    >>> vector, part = vectors["walk/NOUN"]
    >>> vector.tolist(), PARTS[part.argmax()]
    ([0.0, 0.0, 0.0, 1.0], 'Act_VIP')
    """

    def __init__(self, words: Sequence[str], vectors: np.ndarray) -> None:
        if vectors.ndim != 2 or len(vectors) != len(words):
            raise ValueError(f"word vectors must have one row a word, {len(words)}; got shape {vectors.shape}.")
        if not np.isfinite(vectors).all():
            raise ValueError("word vectors must be finite; got NaN or infinity.")
        self.rows = {word: row for row, word in enumerate(words)}
        if len(self.rows) != len(words):
            raise ValueError(f"every word must be there once; {len(words) - len(self.rows)} are there twice.")
        if UNKNOWN not in self.rows:
            raise ValueError(f"the vocabulary must hold {UNKNOWN!r}, which stands for every other word; it does not.")
        self.words = tuple(words)
        self.vectors = np.ascontiguousarray(vectors, dtype=np.float32)

    def __len__(self) -> int:
        return len(self.words)

    @property
    def width(self) -> int:
        """Numbers of a word vector."""
        return int(self.vectors.shape[1])

    def __getitem__(self, item: str) -> tuple[np.ndarray, np.ndarray]:
        """Vector ``(D,)`` float32 and one-hot part of speech ``(15,)`` float64 of ``"word/PART"``.

        A word of a class of ``CLASSES`` has that class; a part of speech that is none of ``PARTS`` is ``OTHER``; a word
        outside the vocabulary has the vector of ``unk`` and is ``OTHER``.

        Raises:
            ValueError: there is not exactly one slash.
        """
        fields = item.split("/")
        if len(fields) != 2:
            raise ValueError(f"a word must be word/PART with one slash; got {item!r}.")
        word, part = fields
        part = _CLASS_OF.get(word, part) if word in self.rows else "OTHER"
        onehot = np.zeros(len(PARTS))
        onehot[PARTS.index(part if part in PARTS else "OTHER")] = 1
        return self.vectors[self.rows.get(word, self.rows[UNKNOWN])], onehot

    def sentence(self, items: Sequence[str]) -> tuple[np.ndarray, np.ndarray, int]:
        """A sentence as the text encoder reads it: start, at most ``MOST_WORDS`` words, end, then ``unk`` to 22.

        Args:
            items: ``"word/PART"`` each.

        Returns:
            ``(22, D)`` float32 vectors, ``(22, 15)`` float32 parts of speech, and how many of the 22 are no padding.

        Raises:
            ValueError: an item has not exactly one slash.
        """
        kept = [f"{START}/OTHER", *items[:MOST_WORDS], f"{END}/OTHER"]
        rows = [self[item] for item in kept + [f"{UNKNOWN}/OTHER"] * (MOST_WORDS + 2 - len(kept))]
        return np.stack([r[0] for r in rows]), np.stack([r[1] for r in rows]).astype(np.float32), len(kept)
