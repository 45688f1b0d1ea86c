"""``hftrainer evaluate --cluster``: what a model is asked is a job; what its answers are worth is counted here."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hftrainer.cli.answers import SEEDS, each_alone
from hftrainer.cli.clustered import check_cluster, everywhere, execute
from hftrainer.cli.parser import RequestError
from hftrainer.cli.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hftrainer.cluster.job import Answer, Do, Item, Job, Work
    from hftrainer.data.shards import Shard
    from hftrainer.evaluation.population import Sample
    from hftrainer.evaluation.setting import Setting
    from hftrainer.motion import Motion

#: What the folder of a job is called beside the report; it is removed when the report is there.
JOB = ".job"


def check(args: argparse.Namespace) -> None:
    """Refuse what belongs to ``--cluster`` without it, and a cluster where nothing is to be made.

    Raises:
        RequestError: either; or what a cluster needs is not installed.
    """
    check_cluster(args)
    if args.cluster is not None and args.family == "real":
        raise RequestError("--cluster must come with a model; real motions are there already. Leave it out.")


@dataclass(frozen=True)
class Answering:
    """Motions of a dataset to what a model makes of them: sentences, or motions.

    Attributes:
        model: name, folder or repository.
        device: where each worker computes.
        task: ``m2t``, ``pred``, ``inbetween`` or ``reconstruction``.
        data: the dataset's folder, absolute.
        split, limit: which samples of it.
        keep: shares of a motion that are shown.
        best_of: sentences that each is chosen of.
    """

    model: str
    device: str
    task: str
    data: Path
    split: str
    limit: int | None
    keep: tuple[float, float]
    best_of: int

    @property
    def columns(self) -> Mapping[str, str]:
        """A sentence, or a motion."""
        from hftrainer.cluster.works import MOTION

        return {"caption": "text"} if self.task == "m2t" else MOTION

    def open(self) -> Do:
        """Load the model and the motions."""
        from hftrainer.data.packed import open_dataset
        from hftrainer.evaluation.population import population
        from hftrainer.pipelines.table import open_pipeline

        pipe = open_pipeline(self.model, device=self.device)
        samples = population(open_dataset(self.data, (self.split,)), self.split, self.limit)

        def do(items: Sequence[Item]) -> list[Answer]:
            answers: list[Answer] = [{}] * len(items)
            for seed in dict.fromkeys(item["seed"] for item in items):
                rows = [at for at, item in enumerate(items) if item["seed"] == seed]
                motions = [samples[items[at]["sample"]].motion for at in rows]
                made = each_alone(partial(self._some, pipe, seed=seed), motions)
                for at, answer in zip(rows, made, strict=True):
                    answers[at] = {"problem": "the model gave no answer"} if answer is None else answer
            return answers

        return do

    def _some(self, pipe: Any, motions: Sequence[Motion], *, seed: int) -> list[Answer]:
        from hftrainer.cluster.works import answer_of

        if self.task == "m2t":
            return [{"caption": said} for said in pipe.infer_m2t(motions, seed=seed, best_of=self.best_of)]
        if self.task == "reconstruction":
            return [answer_of(pipe.bundle.detokenize(pipe.bundle.tokenize(motion))) for motion in motions]
        if self.task == "pred":
            arrays = pipe.infer_prediction(motions, keep=self.keep[0], seed=seed)
        else:
            arrays = pipe.infer_inbetween(motions, keep=self.keep, seed=seed)
        return [answer_of(motion.replace(data=array)) for motion, array in zip(motions, arrays, strict=True)]


def requests(
    samples: Sequence[Sample], setting: Setting, multimodality: int, limits: tuple[int, int]
) -> Iterator[Item]:
    """What ``evaluation.motiongpt.text_to_motion`` asks of a model, by the same draws.

    Args:
        samples, setting: of the measurement.
        multimodality: sentences that get many motions each.
        limits: fewest and most frames that the model makes.
    """
    from hftrainer.evaluation.motiongpt import REPEATS

    def item(text: str, frames: int, seed: int) -> Item:
        return {"prompt": text, "sample": 0, "frames": min(max(frames, limits[0]), limits[1]), "seed": seed}

    for replication in range(setting.replications):
        rng, seed = setting.rng(replication), setting.seed + replication
        for i, sample in enumerate(samples):
            caption = sample.captions[int(rng.integers(len(sample.captions)))]
            yield item(caption.text, len(sample.motion), seed * SEEDS + i)
        if multimodality:
            rng = setting.rng(setting.replications + replication)
            first = setting.seed + 1000 * (replication + 1)
            for i in rng.permutation(len(samples))[:multimodality]:
                sample = samples[int(i)]
                caption = sample.captions[int(rng.integers(len(sample.captions)))]
                yield from (item(caption.text, len(sample.motion), (first + k) * SEEDS) for k in range(REPEATS))


class Answered:
    """A pipeline in whose place a finished job answers; for measurements, which ask what the job was made of.

    Args:
        job: done.
        work: what was done.
        items: of the job, in order.
        samples: whose motions are asked about.
        pipe: the pipeline itself, which answers nothing here.
    """

    def __init__(
        self, job: Job, work: Work, items: Sequence[Item], samples: Sequence[Sample], pipe: Any
    ) -> None:
        self._job, self._columns = job, dict(work.columns)
        self.check, self.frame_range, self._bundle = pipe.check, pipe.frame_range, pipe.bundle
        self._sample = {id(sample.motion): at for at, sample in enumerate(samples)}
        self._number = {self._key(item): number for number, item in enumerate(items)}
        self._shard = lru_cache(maxsize=64)(self._open)

    @property
    def bundle(self) -> Any:
        """What is asked of a bundle: what it is, and motions to tokens and back."""
        return self

    @property
    def about(self) -> Any:
        """Of the model."""
        return self._bundle.about

    @property
    def hash(self) -> str:
        """Of the model's weights."""
        return str(self._bundle.hash)

    @staticmethod
    def _key(item: Item) -> tuple[Any, ...]:
        return item.get("prompt"), item.get("frames"), item["sample"], item["seed"]

    def _open(self, block: int) -> Shard:
        from hftrainer.cluster.job import ALWAYS
        from hftrainer.data.shards import Shard

        return Shard(self._job.shard(block), {**ALWAYS, **self._columns})

    def _answer(self, item: Item) -> Answer:
        from hftrainer.errors import GenerationError

        block, row = divmod(self._number[self._key(item)], self._job.block)
        shard = self._shard(block)
        problem = shard.value("problem", row)
        if problem:
            raise GenerationError(str(problem))
        return {"problem": "", **{name: shard.value(name, row) for name in self._columns}}

    def _motion(self, item: Item) -> Motion:
        from hftrainer.cluster.works import motion_of

        motion = motion_of(self._answer(item))
        assert motion is not None
        return motion

    def _about(self, motion: Motion, seed: int) -> Item:
        return {"sample": self._sample[id(motion)], "seed": seed}

    def attempts(self, prompts: Sequence[str], frames: Sequence[int], *, seed: Sequence[int], **how: Any) -> list[Any]:
        """Motions of sentences, or why there is none."""
        from hftrainer.errors import GenerationError

        def one(prompt: str, count: int, seed: int) -> Motion | GenerationError:
            try:
                return self._motion({"prompt": prompt, "frames": count, "sample": 0, "seed": seed})
            except GenerationError as error:
                return error

        return [one(*asked) for asked in zip(prompts, frames, seed, strict=True)]

    def infer_m2t(self, motions: Sequence[Motion], *, seed: int, **how: Any) -> list[str]:
        """Sentences of motions."""
        return [str(self._answer(self._about(motion, seed))["caption"]) for motion in motions]

    def infer_prediction(self, motions: Sequence[Motion], *, seed: int, **how: Any) -> list[Any]:
        """Whole motions of parts, arrays."""
        return [self._motion(self._about(motion, seed)).data for motion in motions]

    infer_inbetween = infer_prediction

    def tokenize(self, motion: Motion) -> Motion:
        """What ``detokenize`` takes."""
        return motion

    def detokenize(self, motion: Motion) -> Motion:
        """What a motion's tokens keep of it."""
        return self._motion(self._about(motion, 0))


def answered(
    args: argparse.Namespace, model: str, keep: tuple[float, float], samples: Sequence[Sample],
    hashes: Mapping[str, Any], setting: Setting, pipe: Any, progress: Progress,
) -> Answered:  # fmt: skip
    """Do all that the measurement will ask; a pipeline that knows the answers.

    Args:
        args: of the command.
        model: its name, folder or repository.
        keep: shares that are kept.
        samples, setting: of the measurement.
        hashes: of what it is made on; a job with others is another one.
        pipe: the model, opened here too.
        progress: hears of it.
    """
    from hftrainer.cluster.job import read_job
    from hftrainer.cluster.works import Generating

    best_of, model = args.best_of or 1, everywhere(model)
    work: Work
    if args.task == "t2m":
        items = list(requests(samples, setting, args.multimodality or 0, pipe.frame_range))
        work = Generating(model, args.device, {"candidates": 1})
    else:
        drawn = args.task in ("pred", "inbetween") or best_of > 1
        seeds = [setting.seed + r for r in range(setting.replications if drawn else 1)]
        if args.task == "m2t":
            seeds = [seed * SEEDS for seed in seeds]
        elif args.task == "reconstruction":
            seeds = [0]
        items = [{"sample": i, "id": sample.id, "seed": seed} for seed in seeds for i, sample in enumerate(samples)]
        work = Answering(
            model, args.device, args.task, Path(args.data).absolute(), args.split, args.limit, keep, best_of
        )
    request = {
        "verb": "evaluate", "task": args.task, "model": args.model, "hashes": dict(hashes), "split": args.split,
        "limit": args.limit, "keep": list(keep), "best_of": best_of,
        "device": args.device.split(":")[0],
    }  # fmt: skip
    folder = folder_of(args)
    execute(args, folder, request, items, work, progress)
    return Answered(read_job(folder), work, items, samples, pipe)


def folder_of(args: argparse.Namespace) -> Path:
    """Where the job of a report lies."""
    return Path(f"{args.output}{JOB}")


def forget(args: argparse.Namespace) -> None:
    """Remove the job of a report that is there."""
    shutil.rmtree(folder_of(args), ignore_errors=True)
