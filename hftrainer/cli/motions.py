"""What the verbs that read motions share: the model, and motion files as it reads them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hftrainer.cli.parser import Parser, RequestError, add_input_flags, whole
from hftrainer.cli.progress import Progress

if TYPE_CHECKING:
    from hftrainer.motion import Motion
    from hftrainer.pipelines.motiongpt import MotionGPTPipeline


def add_model_flags(parser: Parser) -> None:
    """``--model``, ``--device``, ``--seed``, and what the numbers of the input are."""
    parser.flag("--model", metavar="NAME|FOLDER|REPO", help="which model; the built-in one by default")
    parser.flag("--device", default="cpu", help="cpu, cuda, cuda:1, … (default cpu)")
    parser.flag("--seed", type=whole(0), default=0, help="the same seed gives the same answer (default 0)")
    add_input_flags(parser)


def check_files(files: Sequence[str]) -> list[Path]:
    """The files as paths.

    Raises:
        RequestError: some are not there.
    """
    absent = [file for file in files if not Path(file).is_file()]
    if absent:
        raise RequestError(f"{', '.join(absent)} must be a motion file; there is none. Check the path.")
    return [Path(file) for file in files]


def open_model(args: argparse.Namespace, progress: Progress) -> MotionGPTPipeline:
    """The model of a request, on its device."""
    progress("loading the model")
    from hftrainer.cli.generate import check_device

    check_device(args.device)
    from hftrainer.pipelines.motiongpt import MotionGPTPipeline

    return MotionGPTPipeline.from_pretrained(args.model, device=args.device)


def read_motion(pipe: MotionGPTPipeline, file: Path, args: argparse.Namespace) -> Motion:
    """A motion file in the model's representation.

    Raises:
        ValueError: it holds no motion, its meaning must be said, or there is no road to the model's representation.
    """
    from hftrainer.motion.files import load

    return pipe.features(load(file, representation=args.named, fps=args.fps)).replace(name=file.stem)
