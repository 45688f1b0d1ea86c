"""Where the ``hftrainer`` command begins: choose the verb, run it, turn the outcome into words and an exit status."""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from types import FrameType
from typing import NoReturn

import hftrainer
from hftrainer.cli.parser import Done, Parser, RequestError, near
from hftrainer.cli.progress import Progress

#: verb -> (module of ``hftrainer.cli``, what it does)
VERBS = {
    "generate": ("generate", "sentence(s) to motion(s): a file, a video, a picture"),
    "caption": ("caption", "motion file(s) to sentence(s)"),
    "predict": ("predict", "the first part of a motion to the rest of it"),
    "inbetween": ("inbetween", "both ends of a motion to its middle, or two motions to one"),
    "edit": ("edit", "a part of a body or a span of time, made anew to a sentence"),
    "convert": ("convert", "motion files from one format or representation to another"),
    "fit": ("fit", "joint positions to an SMPL body: shape, pose, surface"),
    "render": ("render", "motion file to .mp4, .gif, one .png sheet or an .html player"),
    "view": ("view", "motion file(s) in a browser: one offline page that plays them"),
    "serve": ("serve", "the page and the HTTP API, for a browser and for programs"),
    "data build": ("data_build", "recordings to a dataset folder in the HumanML3D layout"),
    "data verify": ("data_verify", "name every clip of a dataset that is not sound"),
    "data pack": ("data_pack", "a dataset folder to Parquet shards"),
    "data stats": ("data_stats", "what a dataset folder holds"),
    "train": ("train", "one recipe to one run folder"),
    "tokenize": ("tokenize", "a dataset's clips to motion tokens, one file each"),
    "evaluate": ("evaluate", "how well a model does a task on a dataset: a JSON report"),
    "reproduce": ("reproduce", "a generated file's motion made again from what the file says, and compared"),
    "search": ("search", "a sentence or a motion to what is like it in a folder"),
    "leaderboard": ("leaderboard", "results to the tables of a page"),
    "cards": ("cards", "check, write and push the cards of the model zoo"),
    "import": ("import_", "the authors' checkpoint to an artifact of this project"),
    "tokens": ("tokens", "the vocabulary of a model as one offline page"),
    "bench": ("bench", "how fast, and how well"),
    "info": ("info", "what a model folder, a dataset folder or a motion file is"),
    "doctor": ("doctor", "what this machine lacks, and the line that mends it"),
}

HELP = """usage: hftrainer VERB [arguments]      hftrainer VERB --help

Human motion and language.

verbs:
{verbs}

example:
  hftrainer generate "a person walks forward and waves" -o walk.bvh -o walk.mp4

Exit status: 0 done, 1 the work failed, 2 the request was wrong, 130 stopped by Ctrl-C.
"""

# The first that fits decides. What fits none, a KeyError say, is a mistake of this program: it keeps its traceback.
FAILED = (MemoryError, RuntimeError)
WRONG = (ValueError, FileNotFoundError, IsADirectoryError, NotADirectoryError, FileExistsError)


def help_text() -> str:
    """The page that ``hftrainer --help`` prints."""
    return HELP.format(verbs="\n".join(f"  {verb:<12} {summary}" for verb, (_, summary) in VERBS.items()))


def split_verb(words: Sequence[str]) -> tuple[str, list[str]]:
    """The verb at the head of a command line, and the rest.

    Raises:
        RequestError: a verb that does not exist; the message names the nearest one.
    """
    for size in (1, 2):
        verb = " ".join(words[:size])
        if verb in VERBS:
            return verb, list(words[size:])
    group = [verb for verb in VERBS if verb.startswith(f"{words[0]} ")]
    said = " ".join(words[:2]) if group and len(words) > 1 and not words[1].startswith("-") else words[0]
    if group and said == words[0]:
        raise RequestError(f"hftrainer {said} needs one of: {', '.join(group)}.")
    raise RequestError(f"there is no verb {said!r}. {near(said, group or VERBS)}")


def make_parser(verb: str) -> Parser:
    """The parser of one verb, with its arguments."""
    module = import_module(f"hftrainer.cli.{VERBS[verb][0]}")
    parser = Parser(verb, VERBS[verb][1], module.__doc__ and module.__doc__.partition("\n")[2].strip())
    module.arguments(parser)
    return parser


def run(words: Sequence[str]) -> int:
    """Run a command line that names a verb; prints its results and gives the exit status."""
    verb, rest = split_verb(words)
    args = make_parser(verb).read(rest)
    with Progress(args.quiet) as progress:
        done: Done = import_module(f"hftrainer.cli.{VERBS[verb][0]}").run(args, progress)
    print(json.dumps(done.report, ensure_ascii=False) if args.json else "\n".join(done.lines), flush=True)
    return done.code


def sentence_of(error: BaseException) -> str:
    """What an exception has to say, on one line."""
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}." if error.filename else f"{error.strerror}."
    elif isinstance(error, ModuleNotFoundError) and error.name:
        text = f"the package {error.name} is needed for this and is not installed."
    elif isinstance(error, MemoryError):
        text = "there is not enough memory for this. Ask for less at once."
    else:
        text = str(error.args[0]) if error.args else type(error).__name__
    return " ".join(text.split())


def failed(words: Sequence[str], error: BaseException, code: int) -> int:
    """Print why a command came to nothing, without a traceback unless one was asked for."""
    if "--traceback" in words:
        traceback.print_exception(error)
    print(f"hftrainer: {sentence_of(error)}", file=sys.stderr)
    if "--json" in words:
        print(json.dumps({"error": sentence_of(error), "exit": code}, ensure_ascii=False))
    return code


def _terminate(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)  # unwinds, so that no partial file stays behind


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Ctrl-C, but never in the middle of an import: torch and NumPy swallow it there and then fail in odd ways."""
    at = frame
    while at is not None:
        if at.f_code.co_filename.startswith("<frozen importlib") and hasattr(signal, "SIGALRM"):
            signal.setitimer(signal.ITIMER_REAL, 0.05)  # ask again when the import may be over
            return
        at = at.f_back
    raise KeyboardInterrupt


def main(words: Sequence[str] | None = None) -> int:
    """The ``hftrainer`` command.

    Args:
        words: the arguments, without the program's name; those of the process by default.

    Returns:
        The exit status: 0 done, 1 the work failed, 2 the request was wrong, 130 stopped by Ctrl-C.

    >>> main(["--version"])
    0.1.0
    0
    """
    words = list(sys.argv[1:] if words is None else words)
    if not words or words[0] in ("-h", "--help", "help"):
        print(help_text(), end="", file=sys.stdout if words else sys.stderr)
        return 0 if words else 2
    if words[0] == "--version":
        print(hftrainer.__version__)
        return 0
    try:
        signal.signal(signal.SIGTERM, _terminate)
        signal.signal(signal.SIGINT, _interrupt)
        if hasattr(signal, "SIGALRM"):
            signal.signal(signal.SIGALRM, _interrupt)
        return run(words)
    except KeyboardInterrupt:
        print("hftrainer: stopped by Ctrl-C; no half-written file was left.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader left; stay silent at exit
        return 1
    except ModuleNotFoundError as exc:
        if (exc.name or "").startswith("hftrainer"):
            raise
        return failed(words, exc, 1)
    except FAILED as exc:
        return failed(words, exc, 1)
    except WRONG as exc:
        return failed(words, exc, 2)
    except OSError as exc:
        return failed(words, exc, 1)
