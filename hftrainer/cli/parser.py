"""Reading a command line: flags with whole names, numbers with limits, and a suggestion for every near miss."""

from __future__ import annotations

import argparse
import difflib
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn


class RequestError(ValueError):
    """The request itself is wrong: nothing was started, and the same command will never work."""


@dataclass(frozen=True)
class Done:
    """What a verb has to say when it is through.

    Attributes:
        report: one JSON object, printed with ``--json``.
        lines: what is printed without ``--json``.
        code: exit status; 0 done, 1 when part of the work failed.
    """

    report: dict[str, Any]
    lines: Sequence[str] = field(default_factory=list)
    code: int = 0


def near(word: str, known: Iterable[str]) -> str:
    """A finishing sentence for a word that is not known: the nearest known one, or all of them.

    >>> near("genrate", ["generate", "convert"])
    "Did you mean 'generate'?"
    >>> near("zzz", ["generate", "convert"])
    'Known: generate, convert.'
    """
    names = list(known)
    close = [name for name in names if len(word) > 2 and name.startswith(word)]
    close = close or difflib.get_close_matches(word, names, 1, cutoff=0.5)
    return f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(names)}."


def above_zero(unit: str = "") -> Callable[[str], float]:
    """A reader of finite numbers above 0; ``unit`` is what the message calls them.

    >>> above_zero("seconds")("2.5")
    2.5
    """
    kind = f"a number of {unit}" if unit else "a number"

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value > 0):
            raise argparse.ArgumentTypeError(f"must be {kind} above 0; got {text!r}.")
        return value

    return read


def whole(least: int) -> Callable[[str], int]:
    """A reader of whole numbers from ``least`` up to what fits in 63 bits."""

    def read(text: str) -> int:
        if not re.fullmatch(r"[+-]?\d{1,19}", text.strip()) or not least <= int(text) < 2**63:
            raise argparse.ArgumentTypeError(f"must be a whole number of at least {least}; got {text!r}.")
        return int(text)

    return read


class Parser(argparse.ArgumentParser):
    """The arguments of one verb. Wrong ones become a :class:`RequestError`; flags may stand between the others."""

    def __init__(self, verb: str, summary: str, details: str | None = None) -> None:
        self.verb = verb
        self.flags: list[str] = []
        super().__init__(
            prog=f"hftrainer {verb}",
            description=summary,
            epilog=details,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.flag("--json", action="store_true", help="print one JSON object on stdout")
        self.flag("--quiet", action="store_true", help="no progress on stderr")
        self.flag("--traceback", action="store_true", help="on an error, also show where in the code it arose")

    def flag(self, *names: str, **settings: Any) -> None:
        """Add an optional argument and remember its names for suggestions."""
        self.flags += [name for name in names if name.startswith("--")]
        self.add_argument(*names, **settings)

    def error(self, message: str) -> NoReturn:
        """Turn argparse's complaint into one finished sentence."""
        sentence = re.sub(r"^argument ([^:]+): ", lambda m: m[1].split("/")[-1] + " ", message).rstrip(".")
        raise RequestError(f"{sentence}. See hftrainer {self.verb} --help.")

    def read(self, words: Sequence[str]) -> argparse.Namespace:
        """The arguments in ``words``.

        Raises:
            RequestError: an unknown flag, a missing or surplus argument, a value outside its limits.
        """
        args, extra = self.parse_known_intermixed_args(list(words))
        unknown = [word for word in extra if word.startswith("-") and word != "--"]
        if unknown:
            name = unknown[0].split("=")[0]
            raise RequestError(f"hftrainer {self.verb} has no flag {name!r}. {near(name, self.flags)}")
        if extra:
            raise RequestError(f"{' '.join(extra)!r} is one argument too many. See hftrainer {self.verb} --help.")
        return args


def add_input_flags(parser: Parser) -> None:
    """``--from`` and ``--fps``: what the numbers of an input file are, where the file does not say so itself."""
    parser.flag("--from", dest="named", metavar="NAME",
                help="representation of the input (for a .npy whose shape has several meanings)")  # fmt: skip
    parser.flag("--fps", type=above_zero("frames per second"),
                help="frame rate of the input (for .amc, and a .npy not at 20; KIT 12.5)")  # fmt: skip
