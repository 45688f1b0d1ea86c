"""Answers that say no: one sentence each, as JSON, and never a path of the server."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException

#: An absolute path of a POSIX or Windows system, up to its last part.
_FOLDERS = re.compile(r"(?<![\w.:/<])(?:/[\w.@+~ -]+?(?=/))+/(?=[\w.])|\b[A-Za-z]:\\(?:[^\\\s]+\\)*")


class Refusal(HTTPException):
    """A request that is answered with a status and a sentence.

    Args:
        status: of HTTP.
        message: what was wrong and what to do.
        headers: that go with the answer.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, message, dict(headers or {}))


def body(message: str) -> dict[str, Any]:
    """The JSON of a refusal.

    >>> body("no.")
    {'error': {'message': 'no.'}}
    """
    return {"error": {"message": message}}


def sentence(error: BaseException) -> str:
    """What an error has to say to somebody elsewhere: one line, file names without their folders.

    >>> sentence(ValueError("/srv/data/walk.npz: the file must be whole. Send it again."))
    'walk.npz: the file must be whole. Send it again.'
    """
    if isinstance(error, MemoryError):
        return "there is not enough memory for this. Ask for less at once."
    if isinstance(error, OSError) and error.strerror:
        return f"the server could not do this: {error.strerror}."
    text = str(error.args[0]) if error.args else type(error).__name__
    return without_folders(" ".join(text.split()))


def without_folders(text: str) -> str:
    """A text in which absolute paths are file names.

    >>> without_folders("in /tmp/a b/c/walk.bvh line 3, 20 mm/frame, and/or https://a.b/c"), without_folders("a / b")
    ('in walk.bvh line 3, 20 mm/frame, and/or https://a.b/c', 'a / b')
    """
    return _FOLDERS.sub("", text)


def in_words(problem: Mapping[str, Any]) -> str:
    """One complaint of pydantic as a sentence.

    >>> in_words({"type": "int_type", "loc": ("body", "seed"), "msg": "Input should be a valid integer", "input": "x"})
    "seed must be a valid integer; got 'x'."
    """
    place = ".".join(str(part) for part in problem["loc"][1:]) or "the body"
    kind, message, got = problem["type"], str(problem["msg"]), ascii(problem.get("input"))
    if kind == "missing":
        return f"{place} must be given; got none."
    if kind == "extra_forbidden":
        return f"{place} must be left out: this request does not have it."
    if kind.startswith("json"):
        return "the body must be JSON; got something else."
    said = re.sub(r"^(Input|String|List|Value) should ", "must ", message)
    said = said if said.startswith("must ") else f"must be right: {said}"
    return f"{place} {said}; got {got if len(got) <= 80 else got[:77] + '...'}."
