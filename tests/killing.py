"""Commands that are killed: at any moment, at any touch of the disk, or with a disk that takes no more.

``python -m tests.killing FOLDER TIMES SEED`` prints a JSON object: for each verb how often it was killed, and that what
was there afterwards was whole and the next run came to the same end. Torch is loaded once; every command is a fork, so
that a hundred of them take minutes.
"""

import json
import os
import random
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hftrainer.cli import main
from tests import capture_files, mdm_release, tiny, training_data

#: What a command does to the disk, as Python's audit calls it.
TOUCHES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate")


@dataclass(frozen=True)
class Work:
    """A command, and what it leaves.

    Attributes:
        words: of the command line.
        out: folder or file that it makes.
        again: words of the command that goes on, where they differ once ``begun`` is there.
        begun: below ``out``.
        told: what of a file in ``out`` is the same in every run, or nothing.
    """

    words: tuple[str, ...]
    out: Path
    again: tuple[str, ...] = ()
    begun: str = ""
    told: Callable[[Path], bytes | None] = Path.read_bytes

    def files(self) -> dict[str, bytes]:
        """What every run has in each file under its own name; hidden ones are leftovers, which nobody reads."""
        root = self.out.parent if self.out.suffix else self.out
        found = [file for file in sorted(root.rglob("*")) if file.is_file()] if root.is_dir() else []
        seen = [file for file in found if not any(part.startswith(".") for part in file.relative_to(root).parts)]
        told = {str(file.relative_to(root)): self.told(file) for file in seen if file.suffix != ".part"}
        return {name: data for name, data in told.items() if data is not None}

    def next(self) -> list[str]:
        """The command to run now."""
        return list(self.again if self.again and (self.out / self.begun).exists() else self.words)


def numbers(file: Path) -> bytes:
    """A report without how long it took."""
    report = json.loads(file.read_bytes())
    assert report.pop("seconds") >= 0 and report["metrics"]
    return json.dumps(report).encode()


def learned(file: Path) -> bytes | None:
    """Weights and statistics; logs and cards say how long it took."""
    return file.read_bytes() if file.suffix in (".safetensors", ".npy") else None


def child(words: list[str], touch: int = 0, room: int = 0, count: Path | None = None) -> int:
    """Fork a command: killed at its ``touch``-th touch of the disk, or with files of at most ``room`` bytes.

    Returns:
        The process.
    """
    process = os.fork()
    if process:
        return process
    touches = 0

    def watch(event: str, args: tuple[object, ...]) -> None:
        nonlocal touches
        wrote = event == "open" and isinstance(args[1], str) and any(letter in args[1] for letter in "wax+")
        if event in TOUCHES or wrote:
            touches += 1
            if touches == touch:
                os.kill(os.getpid(), signal.SIGKILL)

    code = 70
    try:
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, 1)
        os.dup2(sink, 2)  # a log that is a file would have no room either
        if room:
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
        sys.addaudithook(watch)
        code = main(words)
        if count is not None:
            os.write(os.open(count, os.O_WRONLY | os.O_CREAT), str(touches).encode())
    finally:
        os._exit(code)


def finished(process: int) -> int:
    """The exit status of a child, below 0 when it was killed."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def works(folder: Path) -> dict[str, Work]:
    """A small piece of work for each verb, and what it needs."""
    folder.mkdir(parents=True, exist_ok=True)
    tiny.bundle().save_pretrained(folder / "model")
    data = training_data.write(folder / "data")
    (folder / "recipe.toml").write_text(
        training_data.TOKENIZER.format(data=data).replace("save_every = 3", "save_every = 2")
    )
    clips = {f"cmu_{n}": capture_files.walk(3.0 + n) for n in range(2)}
    pack = capture_files.make_pack(folder / "pack", clips, [capture_files.caption(name, "walk") for name in clips], {})
    (folder / "in").mkdir()
    out = folder / "out"
    for seed in range(4):
        assert (
            main(
                [
                    "generate",
                    "a person walks",
                    "--model",
                    str(folder / "model"),
                    "--seed",
                    str(seed),
                    "--frames",
                    "16",
                    "-o",
                    str(folder / "in" / f"{seed}.npz"),
                    "--quiet",
                ]
            )
            == 0
        )
    said = mdm_release.options(next(iter(mdm_release.KINDS)))
    weights = mdm_release.write(
        folder / "save",
        said,
        {"model": mdm_release.state(said, 1), "model_avg": mdm_release.state(said, 2)}
        if said.get("use_ema")
        else mdm_release.state(said, 1),
    )
    train = ("train", str(folder / "recipe.toml"), "-o", str(out / "train"), "--quiet")
    return {
        "generate": Work(
            (
                "generate",
                "a person walks",
                "a person runs",
                "--model",
                str(folder / "model"),
                "--frames",
                "16",
                "-o",
                str(out / "generate/a.npz"),
                "-o",
                str(out / "generate/a.bvh"),
                "-o",
                str(out / "generate/a.gif"),
                "--quiet",
            ),
            out / "generate/a.npz",
        ),
        "convert": Work(
            ("convert", str(folder / "in"), str(out / "convert"), "--to", "joints", "--quiet"), out / "convert"
        ),
        "import": Work(
            ("import", "mdm", "--weights", str(weights), "-o", str(out / "import"), "--quiet"), out / "import"
        ),
        "evaluate": Work(
            (
                "evaluate",
                "motiongpt",
                "--task",
                "reconstruction",
                "--data",
                str(data),
                "--model",
                str(folder / "model"),
                "--replications",
                "1",
                "-o",
                str(out / "evaluate/report.json"),
                "--quiet",
            ),
            out / "evaluate/report.json",
            told=numbers,
        ),
        "build": Work(
            (
                "data",
                "build",
                "mocap",
                "--from",
                str(pack),
                "-o",
                str(out / "build"),
                "--workers",
                "1",
                "--composed",
                "1",
                "--quiet",
            ),
            out / "build",
        ),
        "train": Work(
            train, out / "train", (*train, "--resume"), "last.pt", learned
        ),
    }


def half(work: Work, whole: dict[str, bytes]) -> list[str]:
    """Files that stand under their names and are not what a whole run leaves."""
    wrong = [name for name, data in work.files().items() if whole.get(name) != data]
    root = work.out.parent if work.out.suffix else work.out
    for file in root.rglob("*.json") if root.is_dir() else ():
        if not any(part.startswith(".") for part in file.relative_to(root).parts):
            json.loads(file.read_bytes())
    return wrong


def torment(
    work: Work, times: int, draw: random.Random, say: Callable[[str], None] = lambda line: None
) -> dict[str, int]:
    """Kill a command again and again, each time where the one before left things; then let it come to its end.

    Args:
        work: what to do.
        times: how often it is killed.
        draw: decides where: half the time at a touch of the disk, else at any moment.
        say: gets a line about each kill.

    Returns:
        ``kills``, and how many of them came ``too_late``, when the work was done already.

    Raises:
        AssertionError: something half-written stood under its name, or the end was not that of an undisturbed run.
    """
    root = work.out.parent if work.out.suffix else work.out
    counted = root.parent / f".{root.name}.count"
    begun = time.monotonic()
    assert finished(child(work.next(), count=counted)) == 0, f"{work.words[0]} must work undisturbed"
    seconds, whole, touches = time.monotonic() - begun, work.files(), int(counted.read_text())
    counted.unlink()
    shutil.rmtree(root)
    kills = late = 0
    while kills < times:
        at_touch = draw.random() < 0.6
        process = child(work.next(), touch=draw.randrange(1, touches + 1) if at_touch else 0)
        if not at_touch:
            time.sleep(draw.uniform(0, seconds))
            os.kill(process, signal.SIGKILL)
        code = finished(process)
        wrong = half(work, whole)
        assert not wrong, f"{work.words[0]}: half-written after a kill: {wrong}"
        if code == -signal.SIGKILL:
            kills += 1
            say(f"{work.words[0]}: kill {kills} of {times}")
        else:
            assert code == 0, f"{work.words[0]} ended with {code}"
            late += 1
            shutil.rmtree(root)
    assert finished(child(work.next())) == 0, f"{work.words[0]} must go on after a kill"
    assert work.files() == whole, f"{work.words[0]}: another end than that of an undisturbed run"
    shutil.rmtree(root)
    return {"kills": kills, "too_late": late, "touches": touches}


def starve(work: Work, room: int) -> int:
    """The exit status of a command on a disk that takes files of ``room`` bytes and no larger ones."""
    root = work.out.parent if work.out.suffix else work.out
    shutil.rmtree(root, ignore_errors=True)
    return finished(child(work.next(), room=room))


if __name__ == "__main__":
    place, number, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    report = {}
    for verb, one in works(place).items():
        if len(sys.argv) > 4 and verb not in sys.argv[4:]:
            continue
        report[verb] = torment(
            one, number, random.Random(f"{seed} {verb}"), lambda line: print(line, file=sys.stderr, flush=True)
        )
    print(json.dumps(report))
