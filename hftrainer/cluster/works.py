"""What jobs do to their items: sentences to motions, clips to tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hftrainer.cluster import job as jobs
from hftrainer.cluster.job import Answer, Do, Item
from hftrainer.motion.clip import Motion

#: The answers of a request that makes motions.
MOTION = {
    "prompt": "text", "sample": "int32", "seed": "int64", "representation": "text", "fps": "float64",
    "frames": "int32", "about": "text", "features": "bytes",
}  # fmt: skip
#: The answers of a request that writes a file for each item.
FILES = {"source": "text", "target": "text", "bytes": "int64", "sha256": "text"}


@dataclass(frozen=True)
class Generating:
    """Sentences to motions.

    Attributes:
        model: name, folder or repository.
        device: where each worker computes.
        settings: what is said to the model with every sentence.
    """

    model: str | None
    device: str = "cpu"
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def columns(self) -> Mapping[str, str]:
        """A motion and what it was made from."""
        return MOTION

    def open(self) -> Do:
        """Load the model."""
        from hftrainer.pipelines.table import open_pipeline

        pipe = open_pipeline(self.model, verb="generate", device=self.device)

        def do(items: Sequence[Item]) -> list[Answer]:
            answers = [self._unable(pipe, item) for item in items]
            good = [at for at, answer in enumerate(answers) if not answer["problem"]]
            frames = [items[at].get("frames") for at in good]
            if good:
                made = pipe.attempts(
                    [items[at]["prompt"] for at in good], None if None in frames else frames,
                    seed=[items[at]["seed"] for at in good], **self.settings,
                )  # fmt: skip
                for at, motion in zip(good, made, strict=True):
                    answers[at] |= answer_of(motion)
            return answers

        return do

    @staticmethod
    def _unable(pipe: Any, item: Item) -> Answer:
        known: Answer = {name: item[name] for name in ("prompt", "sample", "seed") if name in item}
        try:
            pipe.check([item["prompt"]])
        except ValueError as error:
            return {**known, "problem": str(error).removeprefix("prompt 0 ")}
        return {**known, "problem": ""}


def answer_of(motion: Motion | Exception) -> Answer:
    """A motion as the answer to an item, or why there is none."""
    if isinstance(motion, Exception):
        return {"problem": str(motion)}
    return {
        "representation": motion.representation.name, "fps": motion.fps, "frames": len(motion),
        "about": json.dumps(dict(motion.about), ensure_ascii=False, sort_keys=True),
        "features": np.ascontiguousarray(motion.data, "<f4").tobytes(),
    }  # fmt: skip


def motion_of(answer: Answer) -> Motion | None:
    """The motion of an answer; none where it has a problem.

    Raises:
        ValueError: its numbers are no such motion.
    """
    from hftrainer.motion.representation.specs import get_spec

    if answer["problem"]:
        return None
    spec = get_spec(answer["representation"])
    data = np.frombuffer(answer["features"], "<f4").reshape(answer["frames"], *spec.shape)
    return Motion(data, spec, answer["fps"], about=json.loads(answer["about"]), name=answer["prompt"] or "motion")


def motions(folder: str | Path) -> Iterator[tuple[int, Motion]]:
    """The motions of a job of ``generate``, with their numbers; those that could not be made are passed over."""
    for answer in jobs.read_job(folder).answers(MOTION):
        motion = motion_of(answer)
        if motion is not None:
            yield answer["number"], motion


def clip_items(names: Sequence[str], seed: int) -> Iterator[Item]:
    """An item for each clip of a split, with its draw of an offset."""
    rng = np.random.default_rng(seed)
    return ({"clip": name, "draw": float(rng.random())} for name in names)


@dataclass(frozen=True)
class Tokenizing:
    """A dataset's clips to files of tokens.

    Attributes:
        artifact, data, out: folders, absolute.
        frames: fewest and most of a clip that is not left out.
        random: whether clips begin at a random frame of their first token.
    """

    artifact: Path
    data: Path
    out: Path
    frames: tuple[int, int] | None
    random: bool

    @property
    def columns(self) -> Mapping[str, str]:
        """The file, its sum, and how many tokens are in it."""
        return {**FILES, "tokens": "int32"}

    def open(self) -> Do:
        """Load the motion tokenizer and open the dataset."""
        from hftrainer.data.packed import open_dataset
        from hftrainer.data.shards import sha256_of
        from hftrainer.training.export import encode_clip, save_tokens
        from hftrainer.training.starts import load_tokenizer

        network, statistics, _ = load_tokenizer(self.artifact)
        dataset = open_dataset(self.data, ())

        def one(item: Item) -> Answer:
            name = item["clip"]
            try:
                clip = dataset.clip(name)
                codes = encode_clip(network, statistics, clip, item["draw"] if self.random else None, self.frames)
            except ValueError as error:
                return {"source": name, "problem": " ".join(str(error).split())}
            if codes is None:
                return {"source": name}  # left out, as the request wants it
            path = self.out / f"{name}.npy"
            save_tokens(codes, path)
            return {"source": name, "target": path.name, "bytes": path.stat().st_size, "sha256": sha256_of(path),
                    "tokens": codes.shape[1]}  # fmt: skip

        return lambda items: [one(item) for item in items]
