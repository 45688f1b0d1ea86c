"""What is said of a file that cannot be read: always a sentence, always with the file's name, never endless."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager

_LETTERS = 2000
_DAMAGE = (
    OverflowError, RecursionError, ZeroDivisionError, IndexError, TypeError, AttributeError, struct.error, MemoryError,
)  # fmt: skip


def shortened(text: str, letters: int = _LETTERS) -> str:
    """A text of at most so many letters; what is left out of its middle is marked.

    >>> shortened("a" * 50, 20)
    'aaaaaaaaaaaaa … aaaa'
    """
    if len(text) <= letters:
        return text
    end = letters // 5
    return f"{text[: letters - end - 3]} … {text[-end:]}"


@contextmanager
def told_of(name: str) -> Iterator[None]:
    """What goes wrong inside is told of the file: a message that lacks its name gets it, and a long one is shortened.

    What a reader stumbles over without having looked for it, a number beyond all size for instance, is damage too.

    Args:
        name: of the file.

    Raises:
        ValueError: the file is damaged, or is not what it should be.

    >>> with told_of("walk.bvh"):
    ...     1 / 0
    Traceback (most recent call last):
    ValueError: walk.bvh: the file must be whole; division by zero. It is damaged.
    """
    try:
        yield
    except ValueError as exc:
        said = " ".join(str(exc.args[0] if exc.args else exc).split("\n"))
        better = shortened(said)
        if name not in better:
            better = f"{name}: {better}"
        if not better.endswith((".", "?", "!")):
            better += "."
        if better == said and not isinstance(exc, UnicodeError):
            raise
        ours = type(exc).__module__.startswith("hftrainer.")
        raise (type(exc) if ours else ValueError)(better) from exc
    except _DAMAGE as exc:
        said = shortened(str(exc).rstrip(".") or type(exc).__name__, 300)
        raise ValueError(f"{name}: the file must be whole; {said}. It is damaged.") from exc
