"""Work that takes a while: jobs that wait, run together where they can, tell how far they are, and can be stopped."""

from __future__ import annotations

import logging
import math
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from hftrainer.errors import GenerationError
from hftrainer.motion.clip import Motion
from hftrainer.serving.limits import Limits
from hftrainer.serving.refusals import Refusal, sentence
from hftrainer.serving.store import new_id

logger = logging.getLogger("hftrainer.serving")

#: Seconds that a model waits for others to join the first request of a pass.
GATHER = 0.02
#: Finished jobs that are kept.
KEPT = 2000
#: What a failing job may raise; anything else is a mistake of the program, and is logged.
EXPECTED = (ValueError, RuntimeError, MemoryError, OSError)
#: States in which nothing will change any more.
OVER = ("done", "failed", "cancelled")
#: What is said of a job that failed otherwise.
MISTAKE = "the server made a mistake with this request; its log says more. Try another one."
_SHARE = re.compile(r"(\d+) of (\d+)")


class Cancelled(Exception):
    """Nobody wants the answer any more."""


@dataclass(frozen=True)
class Row:
    """One motion that is to be made of a sentence.

    Attributes:
        prompt: the sentence.
        frames: how many; ``None`` lets the model decide.
        seed: of its generator.
    """

    prompt: str
    frames: int | None
    seed: int


@dataclass(eq=False)
class Job:
    """One request.

    Attributes:
        verb: what is done.
        model: by which model.
        rows: sentences that become motions; jobs with the same ``settings`` are made together.
        settings: of rows, as the pipeline takes them.
        call: other work: gets the pipeline, gives the result.
        patient: whether all others go first.
        id: unguessable.
        state: ``queued``, ``running``, ``done``, ``failed`` or ``cancelled``.
        progress: 0 to 1, or ``None`` where nobody knows.
        message: what is being done.
        result: what came out: a list of motions, or a dictionary.
        error: why nothing did.
        made: motions of the first rows, while the others are still to be made.
        now: rows of the present pass.
        finished: when it was over, seconds of ``time.monotonic``.
    """

    verb: str
    model: str
    rows: Sequence[Row] = ()
    settings: tuple[tuple[str, Any], ...] = ()
    call: Callable[[Any], Any] | None = None
    patient: bool = False
    id: str = field(default_factory=new_id)
    state: str = "queued"
    progress: float | None = None
    message: str = "waiting"
    result: Any = None
    error: str | None = None
    made: list[Motion] = field(default_factory=list)
    now: int = 0
    finished: float = 0.0
    _watchers: set[Callable[[], None]] = field(default_factory=set)

    @property
    def over(self) -> bool:
        """Nothing will change any more."""
        return self.state in OVER

    @property
    def key(self) -> tuple[Any, ...] | None:
        """Jobs with the same key can be made in one pass; ``None`` goes alone."""
        if self.call is not None or self.patient:
            return None
        return self.model, self.settings, self.rows[0].frames is None

    def watch(self, told: Callable[[], None]) -> Callable[[], None]:
        """Have ``told`` called, from any thread, whenever something changes.

        Returns:
            What ends it.
        """
        self._watchers.add(told)
        return lambda: self._watchers.discard(told)

    def change(self, **values: Any) -> None:
        """Set what has changed, and tell who watches; a job that is over stays as it is."""
        if self.over:
            return
        for name, value in values.items():
            setattr(self, name, value)
        if values.get("state") in OVER:
            self.finished = time.monotonic()
        self.tell()

    def tell(self) -> None:
        """Tell who watches."""
        for told in list(self._watchers):
            told()


def share_of(line: str) -> float | None:
    """How far a line of progress says that the work is, 0 to 1.

    >>> share_of("denoising, step 5 of 20"), share_of("loading the model")
    (0.2, None)
    """
    found = _SHARE.search(line)
    return (int(found[1]) - 1) / int(found[2]) if found and int(found[2]) else None


class Jobs:
    """The queue of a server, and the threads that work it off.

    Every model does one thing at a time, in the order in which it was asked; sentences of different requests with the
    same settings are made in one pass. A request of many sentences does not hold up the others: after each pass what
    is left of it goes to the end.

    Args:
        pipeline: the pipeline of a model's name.
        finish: makes of a job's result what is kept of it, for example puts motions in a store.
        limits: how much waits and works.
    """

    def __init__(self, pipeline: Callable[[str], Any], finish: Callable[[Job, Any], Any], limits: Limits) -> None:
        self.pipeline, self.finish, self.limits = pipeline, finish, limits
        self._lock = threading.RLock()
        self._waiting: list[Job] = []
        self._busy: set[str] = set()
        self._all: OrderedDict[str, Job] = OrderedDict()
        self._pool = ThreadPoolExecutor(limits.workers, "hftrainer-work")
        self._closed = False
        self._pass = 1.0  # seconds that a pass takes, as measured

    # ------------------------------------------------------------------------------------------ for requests

    def submit(self, job: Job) -> Job:
        """Let a job wait for its turn.

        Raises:
            Refusal: too many wait (429, with the seconds after which to try again), or the server is stopping (503).
        """
        with self._lock:
            if self._closed:
                raise Refusal(503, "the server is stopping. Ask again when it is back.")
            waiting = sum(1 for one in self._waiting if one.state == "queued" and not one.patient)
            if waiting >= self.limits.queue and not job.patient:
                seconds = min(600, max(1, math.ceil(self._pass)))
                raise Refusal(
                    429, f"{waiting} requests are waiting already. Try again in {seconds} s.",
                    {"Retry-After": str(seconds)},
                )  # fmt: skip
            self._forget()
            self._all[job.id] = job
            self._waiting.append(job)
            self._dispatch()
        return job

    def get(self, name: str) -> Job | None:
        """The job of an id, or ``None``."""
        return self._all.get(name)

    def cancel(self, job: Job) -> None:
        """Stop a job: one that waits never starts, one that runs ends at its next step."""
        with self._lock:
            self._waiting = [one for one in self._waiting if one is not job]
            job.change(state="cancelled", message="cancelled", made=[])
            self._tell_waiting()

    def position(self, job: Job) -> int:
        """How many jobs stand before one that waits."""
        with self._lock:
            queued = [one for one in self._waiting if one.state == "queued" and not one.patient]
            return queued.index(job) if job in queued else 0

    def stop(self) -> None:
        """Cancel all jobs, and begin no more."""
        with self._lock:
            self._closed = True
            for job in list(self._all.values()):
                job.change(state="cancelled", message="the server is stopping", made=[])
            self._waiting = []

    def close(self) -> None:
        """As ``stop``, and wait for the threads."""
        self.stop()
        self._pool.shutdown(wait=True, cancel_futures=True)

    # ------------------------------------------------------------------------------------------ for the threads

    def _dispatch(self) -> None:
        """Give a thread to every model that has work and none; call with the lock."""
        for job in self._waiting:
            if job.model not in self._busy and not self._closed:
                self._busy.add(job.model)
                self._pool.submit(self._turn, job.model).add_done_callback(_log)

    def _tell_waiting(self) -> None:
        for job in self._waiting:
            job.tell()

    def _forget(self) -> None:
        oldest = time.monotonic() - 3600 * self.limits.hours
        while self._all:
            job = next(iter(self._all.values()))
            if not job.over or not (job.finished < oldest or len(self._all) > KEPT):
                return
            del self._all[job.id]

    def _turn(self, model: str) -> None:
        """One pass of a model."""
        time.sleep(GATHER)
        jobs, began = self._take(model), time.monotonic()
        try:
            if jobs:
                self._run(model, jobs)
        finally:
            with self._lock:
                for job in self._unfinished(jobs):  # only a mistake of the program leaves any
                    job.change(state="failed", message="failed", error=MISTAKE)
                if jobs:
                    self._pass += 0.3 * (time.monotonic() - began - self._pass)
                self._busy.discard(model)
                self._dispatch()

    def _unfinished(self, jobs: Sequence[Job]) -> list[Job]:
        """Those that neither are over nor wait for another pass."""
        with self._lock:
            return [job for job in jobs if not job.over and job not in self._waiting]

    def _take(self, model: str) -> list[Job]:
        """The first job that waits for a model, and those that go with it."""
        with self._lock:
            mine = [job for job in self._waiting if job.model == model and not job.over]
            mine.sort(key=lambda job: job.patient)
            if not mine:
                return []
            taken, rows = mine[:1], len(mine[0].rows) - len(mine[0].made)
            for job in mine[1:]:
                if mine[0].key is None or job.key != mine[0].key or rows >= self.limits.together:
                    continue
                taken.append(job)
                rows += len(job.rows) - len(job.made)
            self._waiting = [job for job in self._waiting if job not in taken]
            for job in taken:
                job.change(state="running", message="starting")
            self._tell_waiting()
        return taken

    def _run(self, model: str, jobs: Sequence[Job]) -> None:
        """Work for jobs in one pass; where that fails, for each of them alone."""

        def say(line: str) -> None:
            live = [job for job in jobs if not job.over]
            if not live:
                raise Cancelled
            share = share_of(line)
            for job in live:
                said = line.partition(", motions ")[0]  # which of all the motions of a pass is nobody's business
                job.change(message=said, progress=job.progress if share is None else _progress(job, share))

        try:
            say("loading the model")
            pipe = self.pipeline(model)
            pipe.say = say
            say("working")
            if jobs[0].call is None:
                self._make(pipe, jobs)
            else:
                self._end(jobs[0], jobs[0].call(pipe))
        except Cancelled:
            return
        except EXPECTED as error:
            for job in self._unfinished(jobs):
                if len(jobs) == 1:
                    job.change(state="failed", message="failed", error=_without_number(sentence(error)))
                else:
                    self._run(model, [job])

    def _make(self, pipe: Any, jobs: Sequence[Job]) -> None:
        """Motions of the rows of jobs, as many as go together."""
        room, shares = self.limits.together, list[tuple[Job, Sequence[Row]]]()
        for job in jobs:
            rows = job.rows[len(job.made) :][:room]
            room, job.now = room - len(rows), len(rows)
            shares.append((job, rows))
        flat = [row for _, rows in shares for row in rows]
        frames = None if flat[0].frames is None else [row.frames for row in flat]
        answers = iter(
            pipe.attempts([r.prompt for r in flat], frames, seed=[r.seed for r in flat], **dict(jobs[0].settings))
        )
        for job, rows in shares:
            mine = [next(answers) for _ in rows]
            if job.over:
                continue
            wrong = next((answer for answer in mine if isinstance(answer, GenerationError)), None)
            if wrong is not None:
                job.change(state="failed", message="failed", error=_without_number(sentence(wrong)))
                continue
            job.made += mine
            if len(job.made) == len(job.rows):
                self._end(job, job.made)
            else:
                with self._lock:
                    self._waiting.append(job)

    def _end(self, job: Job, result: Any) -> None:
        if not job.over:
            kept = self.finish(job, result)
            job.change(state="done", message="done", progress=1.0, result=kept, made=[])


def _progress(job: Job, share: float) -> float:
    """How far a job is when its present pass is so far; never less than was said before."""
    done = len(job.made)
    now = share if not job.rows else (done + share * job.now) / len(job.rows)
    return max(job.progress or 0.0, round(now, 4))


def _without_number(text: str) -> str:
    """A sentence about one of many that were made together; its number there means nothing to who asked."""
    return re.sub(r"^(prompt|motion) \d+: ", "", text)


def _log(turn: Future[None]) -> None:
    """A mistake of the program goes to the log; the work goes on."""
    if not turn.cancelled() and (error := turn.exception()) is not None:
        logger.error("a request failed by a mistake of the program", exc_info=error)
