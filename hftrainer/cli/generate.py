"""Sentences to motions.

Several motions (more than one sentence, or --samples above 1) are numbered in the order of the sentences,
the samples of one sentence together: -o walk.bvh becomes walk-000.bvh, walk-001.bvh, … Motion data is
written before any picture of it. The seed, the model's hash and the settings are stored in .npz files (see
hftrainer info) and printed by --json; .bvh and .npy have no place for them, so give them a second -o NAME.npz.
Without --guidance, --temperature, --candidates, --steps and --sampler the model's own choice is taken; which of them a
model has depends on its kind. A model that denoises makes its usual length where none is asked for: usual_frames in
hftrainer info, or six seconds. --random asks for no sentence at all. Of several motions some of which fail the others
are written, and the exit status is 1.

With --task the lines of --prompts are free instructions, "text" or "text#motion.npy", that the model is asked as they
stand; <Motion_Placeholder>, <Motion_Placeholder_s1> and <Motion_Placeholder_Masked> are the attached motion or what is
shown of it. The folder -o then gets N_out.npy (joints), N_out.txt, N_in.npy and N_in.txt for line N, from 0.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hftrainer.cli.clustered import add_cluster_flags, check_cluster, generate, sentences
from hftrainer.cli.motions import SETTINGS, add_drawing_flags, open_model, settings_of
from hftrainer.cli.outputs import DATA, PICTURES, check_folder, plan
from hftrainer.cli.parser import Done, Parser, RequestError, above_zero, near, whole
from hftrainer.cli.pictures import add_style_flags, style_of
from hftrainer.cli.progress import Progress
from hftrainer.errors import GenerationError

if TYPE_CHECKING:
    from hftrainer.motion import Motion

#: Motions asked of the model at once; bounds memory, and lets finished files rest on disk while the next are made.
CHUNK = 32
#: What ``--task`` may be; ``hftrainer.pipelines.instructions`` has the same, and would load torch.
TASKS = ("t2m", "m2t", "pred", "inbetween")


def arguments(parser: Parser) -> None:
    """What ``hftrainer generate`` takes."""
    parser.add_argument("prompts", nargs="*", metavar="SENTENCE", help='for example "a person walks forward"')
    parser.flag("--prompts", dest="prompt_file", metavar="FILE", help="more sentences, one on each line")
    parser.flag("--random", action="store_true", help="no sentence: whatever the model likes")
    parser.flag("--model", metavar="NAME|FOLDER|REPO", help="which model; the built-in one by default")
    parser.flag("--seconds", type=above_zero("seconds"), help="length; by default the model decides")
    parser.flag("--frames", type=whole(1), help="length in frames, instead of --seconds")
    parser.flag("--samples", type=whole(1), default=1, help="motions for each sentence (default 1)")
    parser.flag("--seed", type=whole(0), default=0, help="the same seed gives the same motion (default 0)")
    add_drawing_flags(parser)
    add_style_flags(parser)
    parser.flag("--temperature", type=above_zero(), help="below 1 more usual, above 1 more surprising")
    parser.flag("--candidates", type=whole(1),
                help="drawn for each motion; the one that fits the sentence best is kept (1: the first)")  # fmt: skip
    parser.flag("--device", default="cpu", help="cpu, cuda, cuda:1, … (default cpu)")
    parser.flag("--prompt-mode", metavar="MODE", help="own, official_nolen, official_len, or direct: as it stands")
    parser.flag("--task", metavar="TASK", help="lines of --prompts are instructions: t2m, m2t, pred or inbetween")
    add_cluster_flags(parser)
    endings = ", ".join(DATA + PICTURES)
    parser.flag("-o", "--output", action="append", metavar="FILE", help=f"may be repeated; {endings}")


def read_prompts(args: argparse.Namespace) -> Sequence[str | None]:
    """All sentences of a request, those of ``--prompts FILE`` last; ``None`` in the place of one with ``--random``.

    Raises:
        RequestError: there is none, or one is empty, or the file is not text, or one with ``--random``.
    """
    if args.random:
        if args.prompts or args.prompt_file is not None:
            raise RequestError("--random asks for no sentence; got some. Leave one of the two out.")
        return [None]
    prompts = [prompt.strip() for prompt in args.prompts]
    if "" in prompts:
        raise RequestError(
            f"sentence {prompts.index('') + 1} must have words; got an empty one. Say what moves and how."
        )
    if args.prompt_file is not None:
        try:
            lines = Path(args.prompt_file).read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as exc:
            raise RequestError(f"{args.prompt_file} must be UTF-8 text; got other bytes at {exc.start}.") from exc
        prompts += [line.strip() for line in lines if line.strip()]
        if not prompts:
            raise RequestError(f"{args.prompt_file} must hold one sentence on each line; got none.")
    if not prompts:
        raise RequestError('give a sentence, for example: hftrainer generate "a person waves" -o wave.mp4')
    return prompts


def frames_asked(args: argparse.Namespace, least: int, most: int, fps: float) -> int | None:
    """The number of frames of each motion, or ``None`` where the model decides.

    Raises:
        RequestError: fewer or more than the model makes; the message names what it makes.
    """
    if args.seconds is not None:
        if not (least - 0.5) / fps <= args.seconds <= (most + 0.5) / fps:
            nearest = least if args.seconds * fps < least else most
            raise RequestError(
                f"--seconds must be {least / fps:g} to {most / fps:g} for this model; got {args.seconds:g}. "
                f"Nearest: {nearest / fps:g}."
            )
        return min(max(round(args.seconds * fps), least), most)
    if args.frames is not None and not least <= args.frames <= most:
        nearest = least if args.frames < least else most
        raise RequestError(
            f"--frames must be {least} to {most} for this model ({fps:g} frames per second); got {args.frames}. "
            f"Nearest: {nearest}."
        )
    return args.frames


def check_device(device: str) -> None:
    """Refuse a device that this machine or this build of torch does not have."""
    import torch

    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as exc:
        have = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        raise RequestError(f"--device must be one of {', '.join(have)} here; got {device!r}.") from exc


def make(
    args: argparse.Namespace, prompts: Sequence[str | None], progress: Progress
) -> Iterator[tuple[str | None, Motion | GenerationError]]:
    """Sentence and motion, one after the other, in the order in which files are numbered.

    An answer that is no motion stands as an error in its place.
    """
    pipe = open_model(args, progress, "generate")
    settings = settings_of(args, pipe, "generate")
    pipe.check(prompts)
    least, most = pipe.frame_range
    frames = frames_asked(args, least, most, pipe.fps)
    at_once = max(1, CHUNK // args.samples)

    def alone(prompt: str | None, seed: int) -> Motion | GenerationError:
        try:
            motion: Motion = pipe([prompt], frames=None if frames is None else [frames], seed=seed, **settings)[0]
        except GenerationError as error:
            return error
        return motion

    for start in range(0, len(prompts), at_once):
        chunk = list(prompts[start : start + at_once])
        progress(f"generating {start * args.samples + 1} of {len(prompts) * args.samples}")
        lengths = None if frames is None else [frames] * len(chunk)
        try:
            motions = pipe(chunk, frames=lengths, seed=args.seed, samples=args.samples, **settings)
        except GenerationError as error:  # one of them loses no other
            each = [(prompt, args.seed + sample) for prompt in chunk for sample in range(args.samples)]
            motions = [error] if len(each) == 1 else [alone(*one) for one in each]
        for index, motion in enumerate(motions):
            yield chunk[index // args.samples], motion


def write(
    motion: Motion, files: Sequence[Path], caption: str | None, progress: Progress, style: dict[str, Any] | None = None
) -> None:
    """Write one motion to all its files, data before pictures.

    Where only pictures were asked for, the motion rests in ``NAME.motion.npz`` until they stand, and stays there when
    one fails: drawing never loses a motion. ``style`` is what ``pictures.style_of`` found.
    """
    from hftrainer.motion.files import save
    from hftrainer.rendering.video import render

    data = [file for file in files if file.suffix.lower() in DATA]
    kept = None if data else files[0].with_suffix(".motion.npz")
    try:
        for file in [kept] if kept else data:
            progress(f"writing {file}")
            save(motion, file)
        for file in (file for file in files if file not in data):
            progress(f"drawing {file}")
            try:
                render(motion, file, caption=caption, **(style or {}))
            except (ValueError, OSError, RuntimeError) as exc:
                safe = f"The motion itself is safe in {kept or data[0]}."
                raise RuntimeError(f"{file}: drawing failed: {str(exc).rstrip('.')}. {safe}") from exc
    except (KeyboardInterrupt, SystemExit):
        if kept:
            kept.unlink(missing_ok=True)
        raise
    if kept:
        kept.unlink()


def tell_unread(motion: Motion, prompt: str | None) -> None:
    """Say on stderr what of a sentence the model passed over: words that it does not know, an end that is too far."""
    said = []
    if words := motion.about.get("unknown_words"):
        listed = ", ".join(repr(word) for word in words)
        said.append(f"the model does not know {listed} in {prompt!r}; it went by the other words.")
    if end := motion.about.get("unread"):
        said.append(f"{prompt!r} is too long for the model; it did not read {end!r}.")
    for line in said:
        print(f"hftrainer: {line}", file=sys.stderr)


def run_instructions(args: argparse.Namespace, progress: Progress) -> Done:
    """Follow the instructions of a file; what cannot be done is listed and the others are done all the same.

    Raises:
        RequestError: no file, no folder, a task that does not exist, or flags that instructions do not have.
    """
    if args.task not in TASKS:
        raise RequestError(f"--task must be one of {', '.join(TASKS)}; got {args.task!r}. {near(args.task, TASKS)}")
    if args.prompt_file is None:
        raise RequestError("--task needs instructions: --prompts FILE, one on each line.")
    flags = ("seconds", "frames", *SETTINGS)
    surplus = [f"--{name.replace('_', '-')}" for name in flags if getattr(args, name) is not None]
    surplus += ["--samples"] * (args.samples != 1) + ["--random"] * args.random + ["SENTENCE"] * bool(args.prompts)
    if surplus:
        raise RequestError(f"{', '.join(surplus)} must be left out with --task; each line is asked as it stands.")
    if len(args.output or []) != 1:
        raise RequestError("say one folder with -o DIR for the results of --task.")
    folder = Path(args.output[0])
    check_folder(folder)
    if not Path(args.prompt_file).is_file():
        raise RequestError(f"{args.prompt_file} must be a text file of instructions; there is none.")
    progress("loading the model")
    from hftrainer.pipelines import instructions

    lines = instructions.read_lines(args.prompt_file)
    pipe = open_model(args, progress, "caption")  # what follows free instructions is what can also caption
    report: list[dict[str, Any]] = []
    said: list[str] = []
    for outcome in instructions.follow(pipe, lines, args.task, seed=args.seed, say=progress):
        files = [] if outcome.problem is not None else instructions.write(outcome, folder)
        said += [str(file) for file in files]
        report.append(
            {
                "line": outcome.line.number, "instruction": outcome.line.text, "text": outcome.text,
                "problem": outcome.problem, "files": [str(file) for file in files],
            }
        )  # fmt: skip
    wrong = [entry for entry in report if entry["problem"] is not None]
    said += [f"failed: line {entry['line']}: {entry['problem']}" for entry in wrong]
    said.append(f"{len(report) - len(wrong)} done, {len(wrong)} failed")
    return Done({"instructions": report, "failed": len(wrong)}, said, code=1 if wrong else 0)


def run_cluster(args: argparse.Namespace, progress: Progress) -> Done:
    """Make the motions as a job; its folder is that of ``-o``.

    Raises:
        RequestError: no folder, no sentences, or flags that a job does not have.
    """
    if len(args.output or []) != 1 or Path(args.output[0]).suffix.lower() in DATA + PICTURES:
        raise RequestError("say one folder with -o DIR for the results of --cluster.")
    check_folder(Path(args.output[0]))
    if args.random:
        raise RequestError("--random must be left out with --cluster, whose motions are filed by their sentences.")
    if not args.prompts and args.prompt_file is None:
        raise RequestError("--cluster must have sentences; got none. Name a file or a folder with --prompts.")
    if args.prompt_file is not None and not Path(args.prompt_file).exists():
        raise RequestError(f"{args.prompt_file} must be a .txt, a .parquet or a folder of them; there is none.")
    pipe = open_model(args, progress, "generate")
    settings = settings_of(args, pipe, "generate")
    least, most = pipe.frame_range
    frames = frames_asked(args, least, most, pipe.fps)
    prompts = chain(args.prompts, sentences(args.prompt_file) if args.prompt_file else ())
    return generate(args, prompts, frames, settings, pipe.bundle.hash, progress)


def run(args: argparse.Namespace, progress: Progress) -> Done:
    """Make the motions and write the files."""
    started = time.monotonic()
    check_cluster(args)
    if args.task is not None:
        return run_instructions(args, progress)
    if args.seconds is not None and args.frames is not None:
        raise RequestError("--seconds and --frames say the same thing; got both. Keep one.")
    if args.cluster is not None:
        return run_cluster(args, progress)
    prompts = read_prompts(args)
    count = len(prompts) * args.samples
    rows = plan(args.output or [], count, DATA + PICTURES)
    style = style_of(args)
    report: list[dict[str, Any]] = []
    lines: list[str] = []
    for index, (prompt, motion) in enumerate(make(args, prompts, progress)):
        if isinstance(motion, GenerationError):
            if count == 1:
                raise motion
            report.append({"prompt": prompt, "sample": index % args.samples, "problem": str(motion), "files": []})
            lines.append(f"failed: {prompt or 'any motion'}, sample {index % args.samples}: {motion}")
            continue
        if not args.quiet and index % args.samples == 0:
            tell_unread(motion, prompt)
        write(motion, rows[index], prompt, progress, style)
        lines += [str(file) for file in rows[index]]
        report.append(
            {
                "prompt": prompt,
                "sample": index % args.samples,
                "frames": len(motion),
                "seconds": round(motion.seconds, 3),
                "fps": motion.fps,
                "files": [str(file) for file in rows[index]],
                "about": dict(motion.about),
            }
        )
    failed = sum("problem" in entry for entry in report)
    return Done(
        {"motions": report, "failed": failed, "seconds": round(time.monotonic() - started, 3)}, lines,
        code=1 if failed else 0,
    )  # fmt: skip
