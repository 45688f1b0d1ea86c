"""The blocks of a job over Ray Data: many machines, or many processes of one."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hftrainer.cluster.job import Do, Job, Work, do_block

#: Most pieces that Ray is asked to keep an eye on; each is one block or more.
_PIECES = 10_000


def ray_package() -> Any:
    """The package ray, with its Data.

    Raises:
        ModuleNotFoundError: it is not installed; the message says how it is.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "work on a cluster must have the package ray; it is not installed. pip install 'hftrainer[cluster]', "
            "or use --cluster local, which does the same in this process."
        ) from error
    return ray


class Worker:
    """What Ray keeps on a machine: the work, opened once, and the job that it is for.

    Args:
        job: whose folder every machine sees under the same name.
        work: what is done.
    """

    def __init__(self, job: Job, work: Work) -> None:
        if not Path(job.folder).is_dir():
            raise FileNotFoundError(f"{job.folder} must be a folder that every machine of the cluster sees.")
        self._job, self._work = job, work
        self._do: Do | None = None

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Do blocks; a line of the manifest, as JSON, for each."""
        if self._do is None:
            self._do = self._work.open()
        lines = [do_block(self._job, self._work.columns, self._do, int(block)) for block in batch["block"]]
        return {"line": np.array([json.dumps(line) for line in lines], dtype=object)}


class RayData:
    """Deals the blocks of a job to a Ray cluster; what a dying worker had in hand is dealt again.

    Args:
        address: of the cluster, ``"ray://HOST:10001"`` or ``"HOST:6379"``; ``"auto"`` is one that runs on this machine,
            or, where there is none, all processors of this machine.
        workers: most at a time; by default one for each processor of the cluster (or each GPU, with ``gpus``).
        gpus: of each worker, a part of one too.
    """

    def __init__(self, address: str = "auto", workers: int | None = None, gpus: float = 0.0) -> None:
        self.address, self.workers, self.gpus = address, workers, gpus

    def __call__(self, job: Job, work: Work, blocks: Sequence[int]) -> Iterator[dict[str, Any]]:
        """The lines of blocks as they are done, in any order."""
        if not blocks:
            return
        ray = ray_package()
        begun = not ray.is_initialized()
        if begun:
            connect(ray, self.address)
        try:
            context = ray.data.DataContext.get_current()
            context.enable_progress_bars = context.print_on_execution_start = False
            have = ray.cluster_resources()
            most = self.workers or max(1, int(have.get("GPU", 0) / self.gpus if self.gpus else have.get("CPU", 1)))
            most = min(most, len(blocks))
            rows = ray.data.from_items(
                [{"block": block} for block in blocks], override_num_blocks=min(len(blocks), _PIECES)
            )
            job = Job(job.folder.absolute(), job.request, job.items, job.block)
            lines = rows.map_batches(
                Worker, fn_constructor_args=(job, work), batch_size=1, batch_format="numpy", num_cpus=1,
                num_gpus=self.gpus or None, compute=ray.data.ActorPoolStrategy(min_size=1, max_size=most),
            )  # fmt: skip
            for row in lines.iter_rows():
                yield json.loads(row["line"])
        finally:
            if begun:
                ray.shutdown()


def connect(ray: Any, address: str) -> None:
    """Join a cluster, or begin one on this machine.

    Raises:
        ConnectionError: there is no cluster at that address.
    """
    quiet = {"log_to_driver": False, "logging_level": "ERROR", "include_dashboard": False}
    if address != "auto":
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        return
    try:
        ray.init(address="auto", log_to_driver=False, logging_level="ERROR")
    except ConnectionError:
        ray.init(**quiet)
