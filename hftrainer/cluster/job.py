"""A job: items in a fixed order, cut into blocks; each block becomes one shard of answers, whole or not at all.

A job's folder holds

* ``items.parquet``: what is to be done, a row for each item, a group of rows for each block;
* ``job.json``: the request, how many items, and their SHA-256, so that another request is never mixed in;
* ``shards/00000000.parquet``, …: the answers of each block. A shard that is there is done: it is written beside and
  renamed, and its bytes hang on the request and the block alone, so that a block which two workers did is no different;
* ``manifest.jsonl``: a line for each block that was done, with the SHA-256 of its shard.

Who works is no part of this: ``local`` does the blocks one after the other, ``hftrainer.cluster.rays`` deals them out.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from hftrainer.data.shards import Shard, ShardWriter, sha256_of, write_rows
from hftrainer.errors import ArtifactError
from hftrainer.motion.files.atomic import written_whole

ITEMS, ABOUT, SHARDS, MANIFEST, LOCK = "items.parquet", "job.json", "shards", "manifest.jsonl", ".lock"
#: Columns of ``items.parquet``; an item is a JSON object.
ITEM = {"item": "text"}
#: What every answer has: which item it is of, and why there is none, or nothing.
ALWAYS = {"number": "int64", "problem": "text"}
#: Items of a block unless a request says otherwise.
BLOCK = 32

#: A JSON object, and what became of it: a value for each column of the work, or a problem.
Item = dict[str, Any]
Answer = dict[str, Any]
#: Does some items; as many answers in the same order.
Do = Callable[[Sequence[Item]], Sequence[Answer]]


class Work(Protocol):
    """What is done to items; it travels to the workers, so it holds names and numbers, not networks.

    Attributes:
        columns: of its answers, besides ``ALWAYS``; see ``ShardWriter``.
    """

    @property
    def columns(self) -> Mapping[str, str]:
        """Name -> kind."""

    def open(self) -> Do:
        """Load what is needed, once for each worker."""


@dataclass(frozen=True)
class Job:
    """A job's folder; see ``begin``.

    Attributes:
        folder: of the job.
        request: what was asked, JSON values.
        items: how many.
        block: how many are done together.
    """

    folder: Path
    request: Mapping[str, Any]
    items: int
    block: int

    @property
    def blocks(self) -> int:
        """How many there are."""
        return -(-self.items // self.block)

    def shard(self, block: int) -> Path:
        """The file of a block's answers."""
        return self.folder / SHARDS / f"{block:08d}.parquet"

    def left(self) -> list[int]:
        """Blocks that no line of the manifest tells of, in order."""
        told = {line["block"] for line in self.lines()}
        return [block for block in range(self.blocks) if block not in told]

    def lines(self) -> Iterator[dict[str, Any]]:
        """The manifest's whole lines; half a line at its end is none."""
        file = self.folder / MANIFEST
        if file.is_file():
            with file.open(encoding="utf-8") as lines:
                yield from (json.loads(line) for line in lines if line.endswith("\n"))

    def answers(self, columns: Mapping[str, str], blocks: Iterable[int] | None = None) -> Iterator[Answer]:
        """The answers of the blocks that are done, in the order of the items; memory holds one group of rows.

        Raises:
            ArtifactError: a shard is damaged.
        """
        for block in range(self.blocks) if blocks is None else blocks:
            if self.shard(block).is_file():
                shard = Shard(self.shard(block), {**ALWAYS, **columns})
                for group in range(shard.groups):
                    found = shard.group(group)
                    yield from (dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True))


def begin(folder: str | Path, request: Mapping[str, Any], items: Iterable[Item], block: int = BLOCK) -> Job:
    """Begin a job, or find one that was begun with the same request and the same items.

    Args:
        folder: of the job.
        request: what is asked of every item, JSON values.
        items: JSON objects; they are written down as they come.
        block: how many are done together.

    Raises:
        ArtifactError: the folder holds another job, or other things.
        ValueError: there is no item.
    """
    folder = Path(folder)
    if folder.is_dir() and any(folder.iterdir()) and not (folder / ITEMS).is_file() and not (folder / LOCK).is_file():
        raise ArtifactError(f"{folder} must be a new folder, or one of this job; it holds something else.")
    (folder / SHARDS).mkdir(parents=True, exist_ok=True)
    digest, count = hashlib.sha256(), 0

    def rows() -> Iterator[dict[str, str]]:
        nonlocal count
        for item in items:
            text = json.dumps(item, ensure_ascii=False, sort_keys=True)
            digest.update(text.encode() + b"\n")
            count += 1
            yield {"item": text}

    about = folder / ABOUT
    if about.is_file():
        for _ in rows():
            continue
    else:
        with written_whole(folder / ITEMS) as beside:
            write_rows(beside, ITEM, rows(), group=block)
    if count == 0:
        (folder / ITEMS).unlink(missing_ok=True)
        raise ValueError("a job must have something to do; got no item. Look at what was given to it.")
    told = {"format": 1, "request": dict(request), "items": count, "block": block, "items_sha256": digest.hexdigest()}
    if about.is_file():
        try:
            stored = json.loads(about.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ArtifactError(f"{about} must be JSON; {error}. Take another folder.") from error
        if stored != json.loads(json.dumps(told)):
            now = {**told, "request": json.loads(json.dumps(told["request"]))}
            other = [key for key in ("request", "items", "block", "items_sha256") if stored.get(key) != now[key]]
            raise ArtifactError(
                f"{folder} must go on with the job that it was begun with; {', '.join(other)} differ. "
                "Take another folder, or ask for the same again."
            )
    else:
        with written_whole(about) as beside:
            beside.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return Job(folder, dict(request), count, block)


def read_job(folder: str | Path) -> Job:
    """A job that was begun.

    Raises:
        ArtifactError: the folder holds none.
    """
    about = Path(folder) / ABOUT
    try:
        told = json.loads(about.read_text(encoding="utf-8"))
        return Job(Path(folder), told["request"], int(told["items"]), int(told["block"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{folder} must hold a job; {about.name} is absent or damaged ({error}).") from error


def do_block(job: Job, columns: Mapping[str, str], do: Do, block: int) -> dict[str, Any]:
    """Do a block, unless its shard is there; the line that the manifest gets.

    Raises:
        ArtifactError: the items are damaged.
        RuntimeError: the work gave another number of answers than there are items.
    """
    started, used = time.monotonic(), time.process_time()
    shard, number = job.shard(block), block * job.block
    if shard.is_file():
        answers = list(job.answers(columns, [block]))
    else:
        file = job.folder / ITEMS
        items = [json.loads(text) for text in _items(file, file.stat().st_mtime_ns).group(block)["item"]]
        answers = list(do(items))
        if len(answers) != len(items):
            raise RuntimeError(f"the work must give an answer an item; got {len(answers)} of {len(items)} items.")
        with written_whole(shard) as beside, ShardWriter(beside, {**ALWAYS, **columns}, dict(job.request)) as writer:
            for at, answer in enumerate(answers):
                writer.add(**{**empty(columns), **answer, "number": number + at})
    wrong = {str(number + at): answer["problem"] for at, answer in enumerate(answers) if answer.get("problem")}
    return {
        "block": block, "items": len(answers), "problems": wrong, "sha256": sha256_of(shard),
        "seconds": round(time.monotonic() - started, 4), "cpu_seconds": round(time.process_time() - used, 4),
        "worker": f"{os.uname().nodename}-{os.getpid()}",
    }  # fmt: skip


@lru_cache(maxsize=4)
def _items(file: Path, changed: int) -> Shard:
    """``items.parquet``, opened once: its footer has an entry for each block of the job."""
    return Shard(file, ITEM)


def empty(columns: Mapping[str, str]) -> Answer:
    """An answer that has nothing in it."""
    nothing: dict[str, Any] = {"text": "", "bytes": b"", "int32": 0, "int64": 0, "float64": 0.0}
    return {"problem": "", **{name: nothing[kind] for name, kind in columns.items()}}


def local(job: Job, work: Work, blocks: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Blocks one after the other in this process; their lines."""
    do = work.open() if blocks else None
    for block in blocks:
        assert do is not None
        yield do_block(job, work.columns, do, block)


#: Does some blocks of a job somewhere; gives their lines as they are done.
Means = Callable[[Job, Work, Sequence[int]], Iterator[dict[str, Any]]]


def run(
    job: Job, work: Work, means: Means = local, say: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Do what is left of a job.

    Args:
        job: begun.
        work: what is done to its items.
        means: who does it.
        say: hears of progress.

    Returns:
        ``items``, ``done_before``, ``problems`` (number -> reason), ``shards``, ``cpu_seconds``, ``workers`` and
        ``sha256``, one sum for all shards in order.

    Raises:
        ArtifactError: another process is at work in the folder.
        RuntimeError: blocks are left although the means came to an end.
    """
    with _alone(job.folder):
        _sweep(job.folder / SHARDS)
        left = job.left()
        done = before = job.items - sum(min(job.block, job.items - b * job.block) for b in left)
        cpu, workers = 0.0, set()
        with _appended(job.folder / MANIFEST) as manifest:
            waiting = set(left)
            for line in means(job, work, left):
                if line["block"] not in waiting:
                    continue
                waiting.remove(line["block"])
                manifest.write(json.dumps(line, ensure_ascii=False) + "\n")
                manifest.flush()
                done += line["items"]
                cpu += line["cpu_seconds"]
                workers.add(line["worker"])
                say(f"done {done} of {job.items}")
        if waiting:
            raise RuntimeError(f"{len(waiting)} of {job.blocks} blocks were not done. Run the same command again.")
        lines = sorted(job.lines(), key=lambda line: int(line["block"]))
        whole = hashlib.sha256("".join(line["sha256"] for line in lines).encode()).hexdigest()
        problems = {number: reason for line in lines for number, reason in line["problems"].items()}
        return {
            "folder": str(job.folder), "items": job.items, "done_before": before, "problems": problems,
            "shards": len(lines), "cpu_seconds": round(cpu, 3), "workers": len(workers), "sha256": whole,
        }  # fmt: skip


@contextmanager
def _appended(file: Path) -> Iterator[Any]:
    """A manifest to add lines to; half a line, left by a process that died, is cut off."""
    if file.is_file():
        data = file.read_bytes()
        if data and not data.endswith(b"\n"):
            with written_whole(file) as beside:
                beside.write_bytes(data[: data.rfind(b"\n") + 1])
    with file.open("a", encoding="utf-8") as manifest:
        yield manifest


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time may add to a job's manifest; a process that dies gives its place back."""
    import fcntl

    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ArtifactError(f"{folder} must be free; another process is at work there. Wait for it.") from error
        yield


def _sweep(shards: Path) -> None:
    """Remove what a process left beside the shards when it died in the middle of writing."""
    for left in shards.glob(".*.parquet.*"):
        shutil.rmtree(left, ignore_errors=True)
