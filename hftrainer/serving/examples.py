"""Sentences to begin with, each with a small moving picture of what the default model makes of it."""

from __future__ import annotations

import threading

from hftrainer.serving.jobs import Job, Jobs, Row
from hftrainer.serving.models import Models
from hftrainer.serving.motions import file_bytes
from hftrainer.serving.refusals import Refusal
from hftrainer.serving.store import Store

PROMPTS = (
    "a person walks forward",
    "a person runs forward and jumps",
    "someone kicks with the right leg",
    "a person walks in a circle",
    "a person waves with the right hand",
    "someone jumps up and down several times",
)
#: Side of a picture, pixels, and its frames per second.
SIZE, FPS = 160, 12


class Examples:
    """The examples of a server. Nothing is made before somebody looks.

    Args:
        models: whose default makes them.
        jobs: the queue in which that waits, as any request does.
        store: where motions are that a job has made.
    """

    def __init__(self, models: Models, jobs: Jobs, store: Store) -> None:
        self.models, self.jobs, self.store = models, jobs, store
        self._lock = threading.Lock()
        self._job: Job | None = None
        self._pictures: dict[int, bytes] = {}

    def listed(self) -> list[dict[str, str]]:
        """Sentences, and where their pictures are; none where no model makes motions."""
        if self.models.default("generate") is None:
            return []
        return [{"prompt": prompt, "thumbnail": f"/api/examples/{at}.webp"} for at, prompt in enumerate(PROMPTS)]

    def job(self, at: int) -> Job:
        """The job that makes all of them.

        Raises:
            Refusal: 404, there is no such example; 429, too much waits.
        """
        model = self.models.default("generate")
        if not 0 <= at < len(PROMPTS) or model is None:
            raise Refusal(404, f"an example must be one of GET /api/examples; got {at}.")
        with self._lock:
            if self._job is None or self._job.state in ("failed", "cancelled"):
                self._job = self.jobs.submit(Job("generate", model, [Row(prompt, None, 0) for prompt in PROMPTS]))
            return self._job

    def picture(self, at: int) -> bytes:
        """The picture of an example, once its job is over.

        Raises:
            Refusal: 429, the motion is not there yet, or not any more; 422, it cannot be drawn.
        """
        with self._lock:
            if at in self._pictures:
                return self._pictures[at]
            made = None if self._job is None or self._job.result is None else self._job.result["motions"][at]["id"]
            stored = None if made is None else self.store.get(made)
            if stored is None:
                if self._job is not None and self._job.over:
                    self._job = None
                raise Refusal(429, "this picture is being made. Try again in 5 s.", {"Retry-After": "5"})
            self._pictures[at] = file_bytes(stored.motion, ".webp", size=SIZE, fps=FPS, caption=None)
            return self._pictures[at]
