"""What ``--cluster`` does for the verbs that have it: requests as jobs, over a Ray cluster or in this process."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hftrainer.cli.parser import Done, Parser, RequestError, whole
from hftrainer.cli.progress import Progress

if TYPE_CHECKING:
    from hftrainer.cluster import job as jobs
    from hftrainer.cluster.job import Answer, Do, Item, Job

#: Items of a block; ``hftrainer.cluster.job`` has the same, and would load NumPy.
BLOCK = 32
#: Names of a Parquet column that sentences may have.
_SENTENCES = ("prompt", "text", "caption", "sentence")
#: Where a request that writes files keeps its job, below the folder of the files.
KEPT = ".job"


def add_cluster_flags(parser: Parser) -> None:
    """``--cluster`` and what belongs to it."""
    parser.flag("--cluster", metavar="WHERE", help="many items as a job that can be stopped and run again: local (this "
                "process), auto (a Ray cluster here, or all processors), or HOST:PORT of a Ray cluster")  # fmt: skip
    parser.flag("--block", type=whole(1), help=f"with --cluster: items done together (default {BLOCK})")
    parser.flag("--cluster-workers", type=whole(1), metavar="N", help="with --cluster: at most so many at a time")


def check_cluster(args: argparse.Namespace) -> None:
    """Refuse what belongs to ``--cluster`` without it, and a cluster where there is no Ray.

    Raises:
        RequestError: either; or pyarrow is not installed.
    """
    if args.cluster is None:
        for name in ("block", "cluster_workers"):
            if getattr(args, name) is not None:
                raise RequestError(f"--{name.replace('_', '-')} must come with --cluster. Leave it out, or add that.")
        return
    from hftrainer.data.shards import arrow

    try:
        arrow()
        if args.cluster != "local":
            from hftrainer.cluster.rays import ray_package

            ray_package()
    except ModuleNotFoundError as error:
        raise RequestError(str(error)) from error


def means_of(args: argparse.Namespace) -> jobs.Means:
    """Who does the blocks."""
    from hftrainer.cluster import job as jobs

    if args.cluster == "local":
        return jobs.local
    from hftrainer.cluster.rays import RayData

    gpus = 1.0 if str(getattr(args, "device", "cpu")).startswith("cuda") else 0.0
    return RayData(args.cluster, args.cluster_workers, gpus)


def everywhere(model: str) -> str:
    """A model's name or repository as it is; its folder with the whole path, because a worker starts elsewhere."""
    return str(Path(model).absolute()) if Path(model).is_dir() else model


def outcome(report: dict[str, Any], where: str) -> Done:
    """What a job has to say when it is through."""
    wrong = report["problems"]
    lines = [f"failed: item {number}: {reason}" for number, reason in sorted(wrong.items(), key=lambda p: int(p[0]))]
    before = f", {report['done_before']} were done before" if report["done_before"] else ""
    lines.append(f"{where}: {report['items'] - len(wrong)} done, {len(wrong)} failed{before}")
    return Done(report, lines, code=1 if wrong else 0)


def execute(
    args: argparse.Namespace, folder: Path, request: dict[str, Any], items: Iterable[Item], work: jobs.Work,
    progress: Progress,
) -> dict[str, Any]:  # fmt: skip
    """Begin a job or go on with it; see ``hftrainer.cluster.job.run``."""
    from hftrainer.cluster import job as jobs

    job = jobs.begin(folder, request, items, args.block or BLOCK)
    return jobs.run(job, work, means_of(args), progress)


# -------------------------------------------------------------------------------------------------------- generate


def sentences(path: str | Path) -> Iterator[str]:
    """Sentences of a file or a folder: a text file, one a line; Parquet with a column of them; a folder of either.

    Raises:
        RequestError: nothing of the kind.
    """
    path = Path(path)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in (".txt", ".parquet"))
        if not files:
            raise RequestError(f"{path} must hold .txt or .parquet files with sentences; it holds none.")
        for file in files:
            yield from sentences(file)
        return
    if path.suffix.lower() == ".parquet":
        from hftrainer.data.shards import arrow

        pa = arrow()
        try:
            table = pa.parquet.ParquetFile(str(path))
            names = [name for name in _SENTENCES if name in table.schema_arrow.names]
            if not names:
                raise RequestError(f"{path} must have a column {', '.join(_SENTENCES)}; it has none of them.")
            for batch in table.iter_batches(columns=names[:1]):
                yield from (str(value) for value in batch.column(0).to_pylist())
        except (pa.ArrowException, OSError) as error:
            raise RequestError(f"{path} must be a whole Parquet file; {error}") from error
        return
    try:
        with path.open(encoding="utf-8-sig") as lines:
            yield from (line.strip() for line in lines if line.strip())
    except UnicodeDecodeError as error:
        raise RequestError(f"{path} must be UTF-8 text; got other bytes at {error.start}.") from error


def generate(
    args: argparse.Namespace, prompts: Iterable[str], frames: int | None, settings: dict[str, Any], identity: str,
    progress: Progress,
) -> Done:  # fmt: skip
    """``hftrainer generate --cluster``: the folder of ``-o`` is the job.

    Args:
        args: the request.
        prompts: its sentences.
        frames: of each motion, or ``None`` where the model decides.
        settings: what is said to the model.
        identity: of the model's weights.
        progress: hears of it.
    """
    from hftrainer.cluster.works import Generating

    request = {
        "verb": "generate", "model": args.model, "weights": identity, "settings": settings, "samples": args.samples,
        "device": args.device.split(":")[0],
    }  # fmt: skip
    length = {} if frames is None else {"frames": frames}
    items = (
        {"prompt": prompt, "sample": sample, "seed": args.seed + sample, **length}
        for prompt in prompts
        for sample in range(args.samples)
    )
    work = Generating(args.model and everywhere(args.model), args.device, settings)
    return outcome(execute(args, Path(args.output[0]), request, items, work, progress), args.output[0])


# --------------------------------------------------------------------------------------------------------- convert


@dataclass(frozen=True)
class Converting:
    """Motion files, or the motions of a job, to files; each appears whole.

    Attributes:
        source, target: the two folders, absolute.
        options: of the request that every file shares: see ``hftrainer.cli.convert.Job``.
    """

    source: Path
    target: Path
    options: Mapping[str, Any]

    @property
    def columns(self) -> Mapping[str, str]:
        """The file and its sum."""
        from hftrainer.cluster.works import FILES

        return FILES

    def open(self) -> Do:
        """Nothing has to be loaded."""
        return lambda items: [self._one(item) for item in items]

    def _one(self, item: Item) -> Answer:
        from hftrainer.cli import convert
        from hftrainer.data.shards import sha256_of

        target = self.target / item["target"]
        if "number" in item:
            source, problem = f"#{item['number']}", self._from_job(item["number"], target)
        else:
            source = item["source"]
            reading = item["reading"]
            task = convert.Job(self.source / source, target, reading=reading, **self.options)
            problem = convert.attempt(task)
        answer = {"source": source, "target": item["target"], "problem": " ".join((problem or "").split())}
        if not problem:
            answer |= {"bytes": target.stat().st_size, "sha256": sha256_of(target)}
        return answer

    def _from_job(self, number: int, target: Path) -> str | None:
        from hftrainer.cli import convert
        from hftrainer.cluster import job as jobs
        from hftrainer.cluster.works import MOTION, motion_of

        job: Job = jobs.read_job(self.source)
        answer = next((a for a in job.answers(MOTION, [number // job.block]) if a["number"] == number), None)
        if answer is None:
            return f"the job in {self.source} has not done its item {number} yet"
        motion = motion_of(answer)
        if motion is None:
            return str(answer["problem"])
        task = convert.Job(self.source, target, reading={}, **self.options)
        try:
            convert.write_motion(motion, task)
        except (ValueError, OSError) as error:
            return str(error)
        return None


def is_job(folder: Path) -> bool:
    """Whether a folder holds a job."""
    from hftrainer.cluster import job as jobs

    return (folder / jobs.ABOUT).is_file()


def items_of_job(folder: Path, ending: str) -> Iterator[Item]:
    """An item for each motion of a job, a thousand to a folder."""
    from hftrainer.cluster import job as jobs

    job = jobs.read_job(folder)
    return ({"number": n, "target": f"{n // 1000:06d}/{n:09d}.{ending}"} for n in range(job.items))
