"""How much one server takes on: what a request may ask for, how many wait, how much is kept."""

from __future__ import annotations

from dataclasses import dataclass

#: Letters of a sentence, sentences of a request, samples of a sentence, and motions that they may come to.
PROMPT, PROMPTS, SAMPLES, ROWS = 500, 32, 8, 64
#: Motions that one request may read.
MOTIONS = 8
#: Longest motion that may be asked for, and longest that is taken in, seconds.
SECONDS, SECONDS_IN = 60.0, 300.0
#: Frames of a motion that is taken in.
FRAMES_IN = 20_000
#: Bytes of a request that brings no file, and how much more than a file one may have that brings one.
BODY, FORM = 65_536, 16_384
#: Longest answer to ``wait``, seconds.
WAIT = 60.0
#: The largest seed: whole numbers that JSON programs everywhere keep exact.
SEED = 2**53 - 1


@dataclass(frozen=True)
class Limits:
    """What whoever runs the server may choose.

    Attributes:
        queue: jobs that wait; one more is answered 429.
        workers: models that work at the same time; one model does one thing at a time.
        together: motions made in one pass, of one request or of several.
        upload: bytes of a file that is taken in.
        motions: how many are kept, the longest unused go first.
        megabytes: what they take together.
        hours: how long an unused motion, and a finished job, is kept.
        watchers: open streams of events.

    >>> Limits(queue=0)
    Traceback (most recent call last):
        ...
    ValueError: queue must be above 0; got 0.
    """

    queue: int = 64
    workers: int = 2
    together: int = 32
    upload: int = 16 * 2**20
    motions: int = 1000
    megabytes: int = 512
    hours: float = 24.0
    watchers: int = 200

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f"{name} must be above 0; got {value}.")
