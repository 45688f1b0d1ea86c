"""What the verbs that read motions share: the model, and motion files as it reads them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hftrainer.cli.parser import Parser, RequestError, above_zero, add_input_flags, whole
from hftrainer.cli.progress import Progress

if TYPE_CHECKING:
    from hftrainer.motion import Motion

#: Settings of some models, by the names that their pipelines know; ``None`` is a setting that was not said.
SETTINGS = ("guidance", "temperature", "prompt_mode", "steps", "sampler", "candidates")

#: What the number of candidates is, for help.
CANDIDATES = "of a model of tokens: so many are drawn, and the one most like the others is kept"


def add_model_flags(parser: Parser) -> None:
    """``--model``, ``--device``, ``--seed``, and what the numbers of the input are."""
    parser.flag("--model", metavar="NAME|FOLDER|REPO", help="which model; the built-in one by default")
    parser.flag("--device", default="cpu", help="cpu, cuda, cuda:1, … (default cpu)")
    parser.flag("--seed", type=whole(0), default=0, help="the same seed gives the same answer (default 0)")
    add_input_flags(parser)


def add_drawing_flags(parser: Parser) -> None:
    """``--guidance``, ``--steps``, ``--sampler``: how a model that denoises goes about it."""
    parser.flag("--guidance", type=above_zero(), help="above 1 follows the words more closely")
    parser.flag("--steps", type=whole(1), help="of a model that denoises: how many steps (default all)")
    parser.flag("--sampler", metavar="NAME",
                help="of a model that denoises: ancestral (default), ddim, plms; dpm for 10 to 20 steps")  # fmt: skip


def settings_of(args: argparse.Namespace, pipe: Any, verb: str, also: tuple[str, ...] = ()) -> dict[str, Any]:
    """The settings of a request that were said: those of ``SETTINGS``, and more that only some models have.

    Raises:
        RequestError: one that this model does not have.
    """
    given = {name: getattr(args, name, None) for name in (*SETTINGS, *also)}
    said = {name: value for name, value in given.items() if value is not None}
    has = pipe.settings.get(verb, ())
    if surplus := [name for name in said if name not in has]:
        flags, theirs = (", ".join(f"--{name.replace('_', '-')}" for name in names) for names in (surplus, has))
        raise RequestError(
            f"{flags} must be left out with this model, which {'has ' + theirs if has else 'has no such flags'}."
        )
    return said


def check_files(files: Sequence[str]) -> list[Path]:
    """The files as paths.

    Raises:
        RequestError: some are not there.
    """
    absent = [file for file in files if not Path(file).is_file()]
    if absent:
        raise RequestError(f"{', '.join(absent)} must be a motion file; there is none. Check the path.")
    return [Path(file) for file in files]


def open_model(args: argparse.Namespace, progress: Progress, verb: str) -> Any:
    """The pipeline of a request's model, on its device.

    Raises:
        ArtifactError, ValueError: no such model, or one that does not have the verb.
    """
    progress("loading the model")
    from hftrainer.cli.generate import check_device
    from hftrainer.pipelines.table import open_pipeline

    check_device(args.device)
    pipe = open_pipeline(args.model, verb=verb, device=args.device)
    if hasattr(pipe, "say"):
        pipe.say = progress
    return pipe


def read_motion(pipe: Any, file: Path, args: argparse.Namespace) -> Motion:
    """A motion file in the model's representation.

    Raises:
        ValueError: it holds no motion, its meaning must be said, or there is no road to the model's representation.
    """
    from hftrainer.motion.files import load

    return pipe.features(load(file, representation=args.named, fps=args.fps)).replace(name=file.stem)
