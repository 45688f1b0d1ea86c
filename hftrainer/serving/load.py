"""Many at once: a real server in another process, fifty sentences asked of it in the same moment, over loopback."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np

from hftrainer.client import Client, ServerError
from hftrainer.motion.clip import Motion
from hftrainer.pipelines.table import open_pipeline

#: What is asked, each with its own seed; and how many of the answers are compared with the same sentence alone.
PROMPTS = (
    "a person walks forward", "someone jogs ahead", "a person jumps up", "a person kicks with the right foot",
    "a person walks backwards", "someone turns to the left", "a person waves with the left hand",
    "a person walks and turns around", "someone skips along", "a person raises both arms",
)  # fmt: skip
COMPARED = 5


def load_test(model: str | None = None, users: int = 50) -> dict[str, Any]:
    """Ask a server so many sentences at once.

    Args:
        model: which; the default otherwise.
        users: sentences, each from a client of its own, all in the same moment.

    Returns:
        JSON values: ``errors`` (bar: 0), ``order_kept`` (every answer is of its own sentence and seed, and a request of
        many sentences is answered in their order), ``same_as_alone`` (the largest difference of a number of
        some), seconds until an answer's file was there (median, p95, all), motions a second, and how
        long one took alone before.

    Raises:
        RuntimeError: the server did not start.
    """
    load_before = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    command = [sys.executable, "-m", "hftrainer", "serve", "--port", "0", "--json", "--queue", str(2 * users)]
    command += ["--model", model] if model and os.path.isdir(model) else []
    name = os.path.basename(model.rstrip("/")) if model else None
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        line = server.stdout.readline() if server.stdout else ""
        if not line:
            raise RuntimeError("the server must start; it did not. Run hftrainer serve to see why.")
        url = json.loads(line)["url"]
        client = Client(url)
        client.models()  # loads them
        client.generate(PROMPTS[0], model=name)  # warms up
        alone = [_timed(lambda at=at: client.generate(PROMPTS[at], model=name, seed=at))[1] for at in range(5)]
        seconds, motions, errors, whole = _at_once(url, users, name)
        listed = client.generate(list(PROMPTS), model=name)
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(60)
    kept = [m is None or (m.about["prompt"], m.about["seed"]) == _asked(at) for at, m in enumerate(motions)]
    kept += [m.about["prompt"] == prompt for m, prompt in zip(listed, PROMPTS, strict=True)]
    furthest = _furthest(model, motions)
    return {
        "what": "concurrent prompts over loopback", "users": users, "model": motions and _model(motions),
        "cores_seen": os.cpu_count(), "load_before": load_before,
        "errors": {"value": len(errors), "bar": 0, "holds": not errors, "said": sorted(set(errors))[:5]},
        "order_kept": {"value": all(kept), "answers": len(kept), "holds": all(kept)},
        "same_as_alone": {"compared": COMPARED, "largest_difference": furthest, "bar": 1e-3, "holds": furthest <= 1e-3},
        "seconds": {
            "median": round(statistics.median(seconds), 3), "p95": round(float(np.percentile(seconds, 95)), 3),
            "all": round(whole, 3),
        },
        "motions_per_second": round(users / whole, 3),
        "alone_s": round(statistics.median(alone), 3),
        "gain_over_one_by_one": round(users * statistics.median(alone) / whole, 2),
    }  # fmt: skip


def _asked(at: int) -> tuple[str, int]:
    """Sentence and seed of a user."""
    return PROMPTS[at % len(PROMPTS)], at


def _timed(work: Any) -> tuple[Any, float]:
    begin = time.perf_counter()
    return work(), time.perf_counter() - begin


def _at_once(url: str, users: int, model: str | None) -> tuple[list[float], list[Motion | None], list[str], float]:
    """All users in the same moment: seconds and motion of each, what went wrong, and how long all of it took."""
    seconds, errors = [0.0] * users, list[str]()
    motions: list[Motion | None] = [None] * users
    gate = threading.Barrier(users + 1)

    def user(at: int) -> None:
        prompt, seed = _asked(at)
        client = Client(url, patience=0)
        gate.wait()
        begin = time.perf_counter()
        try:
            (motions[at],) = client.generate(prompt, model=model, seed=seed)
        except (ServerError, OSError) as error:
            errors.append(str(error))
        seconds[at] = time.perf_counter() - begin

    threads = [threading.Thread(target=user, args=(at,)) for at in range(users)]
    for thread in threads:
        thread.start()
    gate.wait()
    begin = time.perf_counter()
    for thread in threads:
        thread.join()
    return seconds, motions, errors, time.perf_counter() - begin


def _furthest(model: str | None, motions: list[Motion | None]) -> float:
    """The largest difference of a number from what the same sentence and seed give alone, over some motions."""
    pipe, found = open_pipeline(model, verb="generate"), 0.0
    for at in range(0, len(motions), max(1, len(motions) // COMPARED)):
        prompt, seed = _asked(at)
        motion, want = motions[at], pipe([prompt], seed=seed)[0]
        if motion is None or len(motion) != len(want):
            return float("inf")
        found = max(found, float(np.abs(motion.data - want.data).max()))
    return found


def _model(motions: list[Motion | None]) -> dict[str, Any] | None:
    made = next((motion for motion in motions if motion is not None), None)
    return None if made is None else {"name": made.about["model"], "hash": made.about["model_hash"]}
