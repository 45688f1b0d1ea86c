"""Jobs on a Ray cluster of several raylets, with workers and a whole machine of it killed in the middle."""

import inspect
import json
import os
import signal
import socket
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from hftrainer.cli import main
from hftrainer.cluster.job import begin, local, run
from hftrainer.cluster.works import MOTION, Generating
from tests import clustering, tiny
from tests.conftest import ROOT

ray = pytest.importorskip("ray")
pytest.importorskip("ray.data")
pytestmark = pytest.mark.slow


#: What lets a cluster of several raylets run on one busy core: Ray's workers otherwise give way to every other process.
PATIENT = {
    "RAY_worker_niceness": "0", "RAY_worker_register_timeout_seconds": "600", "RAY_health_check_timeout_ms": "60000",
    "RAY_agent_register_timeout_ms": "600000",
    "RAY_enable_worker_prestart": "0", "RAY_prestart_worker_first_driver": "0", "RAY_USAGE_STATS_ENABLED": "0",
    "PYTHONPATH": str(ROOT),
}  # fmt: skip


@contextmanager
def patience():
    """Ray as it is begun on one busy core.

    A raylet ends itself when one of its helpers takes more than fifteen seconds to say its port in a file, and who
    starts a raylet asks for it for thirty. So the port is chosen before and said at once, the helper that needs no
    other ports is taken, and the asking goes on for five minutes.
    """
    from ray._private import services, utils

    found = services.get_node, services.start_raylet, utils.get_dashboard_dependency_error
    signature = inspect.signature(services.start_raylet)

    def start_raylet(*args, **words):
        given = signature.bind(*args, **words).arguments
        for name in ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port"):
            (Path(given["session_dir"]) / f"{name}_{given['node_id']}").write_text("-1")
        with socket.socket() as one:
            one.bind(("", 0))
            words["runtime_env_agent_port"] = one.getsockname()[1]
        file = Path(given["session_dir"]) / f"runtime_env_agent_port_{given['node_id']}"
        file.write_text(str(words["runtime_env_agent_port"]))
        return found[1](*args, **words)

    def get_node(*which):
        for _ in range(300):
            try:
                return found[0](*which)
            except RuntimeError:
                time.sleep(1)
        return found[0](*which)

    before = {name: os.environ.get(name) for name in PATIENT}
    os.environ |= PATIENT
    services.get_node, services.start_raylet = get_node, start_raylet
    utils.get_dashboard_dependency_error = lambda: "no dashboard is wanted"
    yield
    services.get_node, services.start_raylet, utils.get_dashboard_dependency_error = found
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})


@pytest.fixture(scope="module")
def cluster():
    """A head without work and two machines of one processor each."""
    from ray.cluster_utils import Cluster

    with patience():
        made = Cluster()
        made.add_node(num_cpus=0, object_store_memory=100 << 20, include_dashboard=False)
        nodes = [made.add_node(num_cpus=1, object_store_memory=100 << 20) for _ in range(2)]
        ray.init(address=made.address, log_to_driver=False, logging_level="ERROR")
        yield made, nodes
        ray.shutdown()
        made.shutdown()


def sums(folder: Path) -> list[tuple[int, str]]:
    lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    return sorted((line["block"], line["sha256"]) for line in lines)


def worker_of_last_line(folder: Path) -> int:
    return int(json.loads((folder / "manifest.jsonl").read_text().splitlines()[-1])["worker"].rpartition("-")[2])


def test_killed_workers_and_a_machine_that_goes_away(cluster, tmp_path):
    """Nothing is lost and nothing done twice: two workers are killed, then a whole raylet, in the middle of a job."""
    from hftrainer.cluster.rays import RayData

    made, nodes = cluster
    alone = begin(tmp_path / "alone", {"a": 1}, clustering.items(90), block=3)
    expected = run(alone, clustering.Hashing(), local)
    job, killed, gone = begin(tmp_path / "ray", {"a": 1}, clustering.items(90), block=3), [], []

    def say(line: str) -> None:
        done = int(line.split()[1])
        if len(killed) < 2 and done >= 15 * (1 + len(killed)):
            victim = worker_of_last_line(job.folder)
            if victim not in killed:
                os.kill(victim, signal.SIGKILL)
                killed.append(victim)
        elif done >= 45 and not gone:
            gone.append(nodes.pop())
            made.remove_node(gone[0], allow_graceful=False)

    report = run(job, clustering.Hashing(pause=0.2), RayData(workers=2), say)
    assert len(killed) == 2 and os.getpid() not in killed and gone
    assert report["workers"] >= 2 and report["items"] == 90 and report["done_before"] == 0
    assert report["sha256"] == expected["sha256"] and report["problems"] == expected["problems"] != {}
    assert sums(job.folder) == sums(alone.folder) and len(sums(job.folder)) == 30
    numbers = [answer["number"] for answer in job.answers(clustering.Hashing().columns)]
    assert numbers == list(range(90))


def test_motions_are_those_of_one_process(cluster, tmp_path):
    """The whole road of a model: sentences to shards."""
    from hftrainer.cluster.rays import RayData

    tiny.bundle().save_pretrained(tmp_path / "model")
    items = [{"prompt": p, "sample": 0, "seed": s, "frames": 16} for s in range(3) for p in ("a person walks", "runs")]
    work = Generating(str(tmp_path / "model"))
    one = run(begin(tmp_path / "alone", {}, items, block=2), work, local)
    job = begin(tmp_path / "ray", {}, items, block=2)
    many = run(job, work, RayData(workers=2))
    assert one["sha256"] == many["sha256"] and not many["problems"]
    shapes = {np.frombuffer(answer["features"], "<f4").size for answer in job.answers(MOTION)}
    assert shapes == {16 * 263}


def test_the_command_over_a_cluster(cluster, tmp_path, capsys):
    made, _ = cluster
    source = tmp_path / "in"
    source.mkdir()
    for i in range(6):
        np.save(source / f"{i}.npy", np.zeros((5 + i, 263), np.float32))
    for where, out in (("auto", "ray"), ("local", "one")):
        words = ["convert", str(source), str(tmp_path / out), "--cluster", where, "--block", "2", "--quiet"]
        assert main([*words, "--cluster-workers", "2"]) == 0
    assert "6 done, 0 failed" in capsys.readouterr().out
    ours, theirs = (sorted((tmp_path / out).glob("*.npz")) for out in ("ray", "one"))
    assert len(ours) == 6 and [a.read_bytes() for a in ours] == [b.read_bytes() for b in theirs]
    assert ray.is_initialized()  # a cluster that was there before stays
