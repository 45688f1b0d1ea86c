"""Work for tests of jobs: cheap, and slow enough to be disturbed."""

import hashlib
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Hashing:
    """Takes the sum of a word many times; every tenth word cannot be done."""

    pause: float = 0.0

    @property
    def columns(self):
        return {"sum": "text", "twice": "int64", "data": "bytes"}

    def open(self):
        return self._do

    def _do(self, items):
        time.sleep(self.pause)
        return [self._one(item) for item in items]

    @staticmethod
    def _one(item):
        if item["x"] % 10 == 9:
            return {"problem": f"{item['x']} is one too many"}
        text = hashlib.sha256(str(item["x"]).encode()).hexdigest()
        return {"sum": text, "twice": 2 * item["x"], "data": text[: item["x"] % 7].encode()}


def items(count: int) -> list[dict]:
    return [{"x": x} for x in range(count)]
