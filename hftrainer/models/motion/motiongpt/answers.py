"""What MotionGPT's language model wrote, read back: a motion as codes, or a caption.

``parse_answer`` and ``parse_caption`` are for use: an answer that is not whole is refused with the text that was
written, so that it is counted as failed and never becomes a motion that nobody asked for. ``official_answer`` reads as
the released code of MotionGPT does, for comparisons with it.

Source: the released code of Jiang et al., "MotionGPT: Human Motion as a Foreign Language", NeurIPS 2023; its rules as
they were observed are listed in ``official_answer``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hftrainer.errors import GenerationError
from hftrainer.models.motion.motiongpt.prompts import MOTION, code_token, motion_string

_TOKEN = re.compile(r"<motion_id_(\d+)>")
#: Characters of a text that a message quotes.
_QUOTED = 200


@dataclass(frozen=True)
class Answer:
    """An answer with a motion in it.

    Attributes:
        codes: the motion.
        text: everything that was written, with ``<Motion_Placeholder>`` in the motion's place.
    """

    codes: list[int]
    text: str


def _refused(what: str, text: str) -> GenerationError:
    shown = text if len(text) <= _QUOTED else text[:_QUOTED] + "…"
    return GenerationError(f"the answer must hold one whole motion; {what}. The model wrote: {shown!r}")


def parse_answer(text: str, codes: int = 512) -> Answer:
    """The motion in what the model wrote.

    Words may stand before and after it, white space between its tokens, and nothing else.

    Args:
        text: decoded tokens, motion tokens included.
        codes: size of the motion vocabulary.

    Raises:
        GenerationError: there is no motion, or it has no end, no codes, a token outside the vocabulary or words within
            it, or motion tokens stand outside it; the message quotes the text.

    >>> parse_answer("Here: <motion_id_8><motion_id_3><motion_id_1><motion_id_9>", codes=8)
    Answer(codes=[3, 1], text='Here: <Motion_Placeholder>')
    """
    start, end = code_token(codes), code_token(codes + 1)
    before, opened, rest = text.partition(start)
    if not opened:
        raise _refused("got no start of one", text)
    middle, closed, after = rest.partition(end)
    if not closed:
        raise _refused("got one without an end", text)
    stray = _TOKEN.sub("", middle).strip()
    if stray:
        raise _refused(f"got {stray[:40]!r} between its tokens", text)
    found = [int(number) for number in _TOKEN.findall(middle)]
    if not found:
        raise _refused("got an empty one", text)
    outside = sorted({code for code in found if code >= codes})
    if outside:
        raise _refused(f"got {outside} where codes are 0 to {codes - 1}", text)
    if _TOKEN.search(before + after):
        raise _refused("got motion tokens outside it", text)
    return Answer(found, before + MOTION + after)


def parse_caption(text: str, *, strip_quotes: bool = True) -> str:
    """The caption in what the model wrote.

    Args:
        text: decoded tokens.
        strip_quotes: take off one pair of quotation marks around the whole; the released model was taught to write
            them half of the time.

    Raises:
        GenerationError: no words, or motion tokens among them; the message quotes the text.

    >>> parse_caption(' "a person walks." ')
    'a person walks.'
    """
    caption = text.strip()
    if strip_quotes and len(caption) >= 2 and caption[0] == caption[-1] == '"' and '"' not in caption[1:-1]:
        caption = caption[1:-1].strip()
    if not caption or _TOKEN.search(caption):
        got = "motion tokens in it" if caption else "none"
        raise GenerationError(f"the answer must be a caption; got {got}. The model wrote: {text[:_QUOTED]!r}")
    return caption


def official_answer(text: str, codes: int = 512) -> Answer:
    """The motion in what the model wrote, as the released code reads it.

    * The motion lies between the first start and the first end token of the text. Without one of them, it is the single
      code 0, and the text stays as it is.
    * It is cut at every ``><``. Of each piece, what follows the last underscore is a code, whatever came before it: a
      word between two tokens takes the first of them away, ``<extra_id_7>`` is 7, and ids above the vocabulary stay.
    * A motion without pieces, or an end before its start, is the single code 0.
    * Every repetition of the motion in the text becomes ``<Motion_Placeholder>``.

    Args:
        text: decoded tokens, motion tokens included.
        codes: size of the motion vocabulary.

    Raises:
        GenerationError: a piece that is no number, where the released code stops with a ``ValueError`` (the cause).

    >>> official_answer("no motion at all", codes=8)
    Answer(codes=[0], text='no motion at all')
    >>> official_answer("<motion_id_8><motion_id_3> oops <motion_id_1><motion_id_9>", codes=8).codes
    [1]
    """
    start, end = code_token(codes), code_token(codes + 1)
    first, last = text.find(start), text.find(end)
    if first < 0 or last < 0:
        motion = motion_string([0], codes)
    else:
        motion = start + text[first + len(start) : last] + end
    pieces = motion.split("><")[1:-1]
    try:
        found = [int(piece.split("_")[-1].replace(">", "")) for piece in pieces]
    except ValueError as exc:
        raise _refused(f"the reading of the released code fails on it: {exc}", text) from exc
    return Answer(found or [0], text.replace(motion, MOTION))
