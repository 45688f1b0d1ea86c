"""Sentences to begin with, each with a small moving picture of what the default model makes of it."""

from __future__ import annotations

import threading
from functools import lru_cache

from hftrainer.motion.clip import Motion
from hftrainer.rendering.speed import marching
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
    """The examples of a server. Nothing is made before somebody looks, and nobody waits for it.

    Args:
        models: whose default makes them.
        jobs: the queue in which that waits until nobody asks for anything else.
        store: where motions are that a job has made.
    """

    def __init__(self, models: Models, jobs: Jobs, store: Store) -> None:
        self.models, self.jobs, self.store = models, jobs, store
        self._lock = threading.Lock()
        self._jobs: dict[int, Job] = {}
        self._pictures: dict[int, bytes] = {}

    def listed(self) -> list[dict[str, str]]:
        """Sentences, and where their pictures are; none where no model makes motions."""
        if self.models.default("generate") is None:
            return []
        return [{"prompt": prompt, "thumbnail": f"/api/examples/{at}.webp"} for at, prompt in enumerate(PROMPTS)]

    def picture(self, at: int) -> bytes | None:
        """The picture of an example; ``None`` while it is being made, which the first call begins.

        Raises:
            Refusal: 404, there is no such example; 422, it cannot be drawn; 503, the server is stopping.
        """
        model = self.models.default("generate")
        if not 0 <= at < len(PROMPTS) or model is None:
            raise Refusal(404, f"an example must be one of GET /api/examples; got {at}.")
        with self._lock:
            if at in self._pictures:
                return self._pictures[at]
            job = self._jobs.get(at)
            made = None if job is None or job.result is None else self.store.get(job.result["motions"][0]["id"])
            if job is None or (job.over and made is None):  # another seed, should this one have failed
                row = Row(PROMPTS[at], None, 0 if job is None else job.rows[0].seed + 1)
                self._jobs[at] = self.jobs.submit(Job("generate", model, [row], patient=True))
            if made is not None:
                self._pictures[at] = file_bytes(made.motion, ".webp", size=SIZE, fps=FPS, caption=None)
            return self._pictures.get(at)


@lru_cache(maxsize=1)
def waiting_picture() -> bytes:
    """A figure that stands and waits, in the place of a picture that is being made."""
    return file_bytes(Motion(marching(1), "joints", 20), ".webp", size=SIZE, fps=FPS, caption=None)
