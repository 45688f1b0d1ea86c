"""Free instructions from a text file, one on each line, with motions attached: the batch demo of MotionGPT.

A line is ``text`` or ``text#file``. The text is what the model is asked, as it stands; ``<Motion_Placeholder>`` (or
``<motion>``), ``<Motion_Placeholder_s1>``, ``<Motion_Placeholder_s2>`` and ``<Motion_Placeholder_Masked>`` are the
attached motion or parts of it, ``<Frame_Placeholder>`` and ``<Second_Placeholder>`` its length. An attached ``.txt``
holds what ``<Caption_Placeholder>`` stands for.

Source: MotionGPT's ``demo.py``. There, a motion of n codes is shown up to code n // 5 to be continued, and hidden from
code n // 4 to n // 4 * 3 to be completed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hftrainer.errors import GenerationError
from hftrainer.motion.clip import Motion
from hftrainer.motion.files import READ, load
from hftrainer.motion.files.atomic import written_whole
from hftrainer.motion.representation.convert import convert
from hftrainer.pipelines.motiongpt import MotionGPTPipeline

#: What an instruction asks for: a motion, words, the rest of a motion, its middle.
TASKS = ("t2m", "m2t", "pred", "inbetween")
#: Instructions that are answered together.
_TOGETHER = 32
_TAKEN = (ValueError, OSError, GenerationError)


@dataclass(frozen=True)
class Line:
    """One instruction.

    Attributes:
        number: place among the lines that are not empty, from 0; results are filed under it.
        text: what is asked, with placeholders.
        files: what is attached.
    """

    number: int
    text: str
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What came of an instruction.

    Attributes:
        line: the instruction.
        given: the attached motion, or none.
        motion: the answer, where it is one; with what was kept of the attached one.
        text: the answer in words, a motion in it as ``<Motion_Placeholder>``.
        problem: why nothing came of it; ``None`` where it was done.
    """

    line: Line
    given: Motion | None = None
    motion: Motion | None = None
    text: str = ""
    problem: str | None = None


def read_lines(path: str | Path) -> list[Line]:
    """The instructions of a text file.

    A ``#`` begins an attachment where what follows it ends like a motion file or in ``.txt``; elsewhere it is text.
    Files are looked for as they are named, then beside the text file.

    Raises:
        FileNotFoundError: there is no such text file.
        ValueError: it is not UTF-8 text, or holds no instruction.

    >>> import tempfile
    >>> where = Path(tempfile.mkdtemp()) / "demo.txt"
    >>> _ = where.write_text("show me a jump\\n\\ntake #2 of <motion>#clips/walk.npy\\n")
    >>> [(line.text, [str(f.name) for f in line.files]) for line in read_lines(where)]
    [('show me a jump', []), ('take #2 of <motion>', ['walk.npy'])]
    """
    path = Path(path)
    try:
        rows = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be UTF-8 text; got other bytes at {error.start}.") from error
    lines: list[Line] = []
    for row in filter(str.strip, rows):
        text = row.strip()
        files: list[Path] = []
        while "#" in text:
            before, _, name = text.rpartition("#")
            if Path(name.strip()).suffix.lower() not in (*READ, ".txt"):
                break
            file = Path(name.strip())
            files.insert(0, file if file.is_absolute() or file.is_file() else path.parent / file)
            text = before.strip()
        lines.append(Line(len(lines), text, tuple(files)))
    if not lines:
        raise ValueError(f"{path} must hold one instruction on each line; got none.")
    return lines


def follow(
    pipe: MotionGPTPipeline,
    lines: Sequence[Line],
    task: str,
    *,
    seed: int = 0,
    say: Callable[[str], None] | None = None,
) -> Iterator[Outcome]:
    """Do what the lines ask.

    Args:
        pipe: the model.
        lines: instructions.
        task: one of ``TASKS``, what all of them ask for.
        seed: of each answer's own generator.
        say: gets a line of progress.

    Yields:
        One outcome a line, in their order. What cannot be done is an outcome with a problem, never another motion.

    Raises:
        ValueError: an unknown task.
    """
    if task not in TASKS:
        raise ValueError(f"task must be one of {', '.join(TASKS)}; got {task!r}.")
    for start in range(0, len(lines), _TOGETHER):
        if say:
            say(f"instruction {start + 1} of {len(lines)}")
        part = [_opened(pipe, line) for line in lines[start : start + _TOGETHER]]
        if task in ("t2m", "m2t"):
            yield from _together(pipe, part, task, seed)
        else:
            yield from (_one(pipe, outcome, task, seed) for outcome in part)


def _opened(pipe: MotionGPTPipeline, line: Line) -> Outcome:
    """The line with its motion loaded and its caption filled in."""
    given = None
    try:
        for file in line.files:
            if file.suffix.lower() == ".txt":
                line = replace(line, text=line.text.replace("<Caption_Placeholder>", file.read_text("utf-8").strip()))
            elif given is None:
                given = pipe.features(load(file))
            else:
                raise ValueError(f"a line must have one motion attached at most; got {file.name} too. Leave it out.")
    except _TAKEN as error:
        return Outcome(line, problem=_sentence(error))
    return Outcome(line, given)


def _together(pipe: MotionGPTPipeline, part: Sequence[Outcome], task: str, seed: int) -> list[Outcome]:
    """Motions or words of free instructions, decoded together."""
    texts: dict[int, str] = {}
    done = list(part)
    for at, outcome in enumerate(part):
        if outcome.problem is None:
            try:
                texts[at] = _asked(pipe, outcome, task)
            except _TAKEN as error:
                done[at] = replace(outcome, problem=_sentence(error))
    asked, answers = list(texts.values()), list[Any]()
    if asked:
        answers = pipe.answers(asked) if task == "m2t" else pipe.attempts(asked, seed=seed, prompt_mode="direct")
    for at, answer in zip(texts, answers, strict=True):
        if isinstance(answer, Motion):
            said = str(answer.about.get("said", "<Motion_Placeholder>"))
            done[at] = replace(done[at], motion=answer, text=said)
        elif isinstance(answer, str):
            done[at] = replace(done[at], text=answer)
        else:
            done[at] = replace(done[at], problem=_sentence(answer))
    return done


def _asked(pipe: MotionGPTPipeline, outcome: Outcome, task: str) -> str:
    """What the model is asked: the line with its motion in it."""
    if task == "m2t" and outcome.given is not None:
        return pipe.question(outcome.given, outcome.line.text)
    text = pipe.speech.filled(outcome.line.text, outcome.given)
    pipe.check([text], plain=False)
    return text


def _one(pipe: MotionGPTPipeline, outcome: Outcome, task: str, seed: int) -> Outcome:
    """The rest or the middle of the motion of one instruction."""
    given, text = outcome.given, outcome.line.text
    if outcome.problem is not None:
        return outcome
    try:
        if given is None:
            raise ValueError(f"an instruction of task {task} must have a motion attached; got none. Add #file.npy.")
        per, fps = pipe.bundle.frames_per_token, given.fps
        codes = len(given) // per
        if task == "pred":
            head = max(1, codes // 5) * per
            motion = pipe.predict(given, keep_seconds=min(head, len(given)) / fps, instruction=text, seed=seed)
        else:
            front, back = max(1, codes // 4 * per), max(1, len(given) - codes // 4 * 3 * per)
            motion = pipe.inbetween(given, keep_seconds=(front / fps, back / fps), instruction=text, seed=seed)
    except _TAKEN as error:
        return replace(outcome, problem=_sentence(error))
    return replace(outcome, motion=motion, text="<Motion_Placeholder>")


def write(outcome: Outcome, folder: Path) -> list[Path]:
    """Write what was asked and what was answered, under the names of MotionGPT's batch demo.

    Args:
        outcome: of an instruction that was done.
        folder: gets ``N_in.txt`` and ``N_out.txt``, ``N_in.npy`` where a motion was attached and ``N_out.npy`` where
            the answer is one; motions as ``(1, T, 22, 3)`` float32 joints, metres.

    Returns:
        The files.

    Raises:
        OSError: the folder cannot be written.
    """
    number, files = outcome.line.number, []
    for side, motion, text in (("in", outcome.given, outcome.line.text), ("out", outcome.motion, outcome.text)):
        if motion is not None:
            joints = convert(motion, "joints_kit" if motion.representation.name == "kit251" else "joints")
            file = folder / f"{number}_{side}.npy"
            with written_whole(file) as place:
                np.save(place, joints.data[None])
            files.append(file)
        file = folder / f"{number}_{side}.txt"
        with written_whole(file) as place:
            place.write_text(text + "\n", encoding="utf-8")
        files.append(file)
    return files


def _sentence(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}."
    return str(error.args[0]) if error.args else type(error).__name__
