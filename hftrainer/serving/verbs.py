"""Requests to jobs: each is checked against its model before it waits, and says what its pipeline will be asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hftrainer.motion.clip import Motion
from hftrainer.serving import bodies
from hftrainer.serving.jobs import Job, Row
from hftrainer.serving.limits import ROWS
from hftrainer.serving.models import SETTINGS, Models
from hftrainer.serving.refusals import Refusal, sentence

Find = Callable[[str], Motion]


def job_of(verb: str, asked: Any, models: Models, find: Find) -> Job:
    """The job of a request. Loads the model where it was not needed before.

    Args:
        verb: one of ``VERBS``.
        asked: its body.
        models: of the server.
        find: the motion of an id; refuses (404) where there is none.

    Raises:
        Refusal: the request is wrong (422) or names a motion that is not there (404).
    """
    model = models.named(asked.model, verb)
    try:
        pipe = models.pipeline(model)
        return VERBS[verb](asked, model, pipe, find)
    except (ValueError, TypeError, KeyError) as error:
        raise Refusal(422, sentence(error)) from error


def _settings(asked: Any, pipe: Any, verb: str) -> tuple[tuple[str, Any], ...]:
    """Settings that were said.

    Raises:
        ValueError: one that the model does not have.
    """
    said = [(name, getattr(asked, name)) for name in SETTINGS if getattr(asked, name) is not None]
    has = pipe.settings.get(verb, ())
    if surplus := [name for name, _ in said if name not in has]:
        known = [name for name in SETTINGS if name in has]
        raise ValueError(
            f"{', '.join(surplus)} must be left out with this model, which has {', '.join(known) or 'no settings'}."
        )
    if hasattr(pipe, "chosen"):
        pipe.chosen(dict(said))  # refuses values that the model does not have
    return tuple(said)


def _one_of(asked: Any, first: str, second: str, need: bool = False) -> None:
    given = [name for name in (first, second) if getattr(asked, name) is not None]
    if len(given) == 2:
        raise ValueError(f"{first} and {second} say the same thing; got both. Keep one.")
    if need and not given:
        raise ValueError(f"{first} or {second} must be given; got neither.")


def _generate(asked: bodies.Generate, model: str, pipe: Any, find: Find) -> Job:
    from hftrainer.pipelines.requests import check_lengths  # loads torch, which a model has loaded by now

    _one_of(asked, "prompt", "prompts", need=True)
    _one_of(asked, "frames", "seconds")
    prompts = [asked.prompt] if asked.prompt is not None else list(asked.prompts or ())
    if len(prompts) * asked.samples > ROWS:
        raise ValueError(
            f"prompts times samples must be at most {ROWS}; got {len(prompts) * asked.samples}. Ask twice."
        )
    frames = asked.frames if asked.seconds is None else round(asked.seconds * pipe.fps)
    if frames is not None:
        check_lengths(len(prompts), [frames] * len(prompts), pipe.frame_range, pipe.fps)
    pipe.check(prompts)
    rows = [Row(prompt, frames, asked.seed + sample) for prompt in prompts for sample in range(asked.samples)]
    return Job("generate", model, rows, _settings(asked, pipe, "generate"))


def _caption(asked: bodies.Caption, model: str, pipe: Any, find: Find) -> Job:
    clips = [find(name) for name in asked.motions]

    def call(pipe: Any) -> dict[str, Any]:
        said = []
        for at, clip in enumerate(clips):
            pipe.say(f"reading motion {at + 1} of {len(clips)}")
            (words,) = pipe.infer_m2t([clip], seed=asked.seed, candidates=asked.samples)
            said.append([words] if isinstance(words, str) else list(words))
        return {"captions": said}

    return Job("caption", model, call=call)


def _predict(asked: bodies.Predict, model: str, pipe: Any, find: Find) -> Job:
    _one_of(asked, "keep", "keep_seconds")
    _one_of(asked, "frames", "seconds")
    settings, clip = dict(_settings(asked, pipe, "predict")), find(asked.motion)
    if asked.prompt is not None:
        pipe.check([asked.prompt])
    frames = asked.frames if asked.seconds is None else round(asked.seconds * pipe.fps)
    keep = 0.2 if asked.keep is None else asked.keep

    def call(pipe: Any) -> list[Motion]:
        return [pipe.predict(
            pipe.features(clip), keep=keep, keep_seconds=asked.keep_seconds, frames=frames, caption=asked.prompt,
            seed=asked.seed, **settings,
        )]  # fmt: skip

    return Job("predict", model, call=call)


def _inbetween(asked: bodies.Inbetween, model: str, pipe: Any, find: Find) -> Job:
    _one_of(asked, "motion", "motions", need=True)
    for name in ("keep",) if asked.motions else ("gap",):
        if getattr(asked, name) is not None:
            raise ValueError(f"{name} must be left out with {'motions' if asked.motions else 'motion'}; got it.")
    if asked.motions and asked.gap is None:
        raise ValueError("gap must say the seconds between two motions; got none. Say it.")
    settings = dict(_settings(asked, pipe, "inbetween"))
    if asked.prompt is not None:
        if "caption" not in pipe.settings.get("inbetween", ()):
            raise ValueError("prompt must be left out: this model fills a gap by the motion alone. Take another model.")
        pipe.check([asked.prompt])
        settings["caption"] = asked.prompt
    clips = [find(name) for name in asked.motions or [asked.motion or ""]]
    if asked.motions:
        settings["gap"] = asked.gap
    else:
        first, last = asked.keep or (0.25, 0.25)
        settings["keep"] = (first, last)

    def call(pipe: Any) -> list[Motion]:
        return [pipe.inbetween(*(pipe.features(clip) for clip in clips), seed=asked.seed, **settings)]

    return Job("inbetween", model, call=call)


def _edit(asked: bodies.Edit, model: str, pipe: Any, find: Find) -> Job:
    if asked.part is None and asked.start is None and asked.end is None:
        raise ValueError("part, or start and end, must say what is made anew; got none. Or generate one.")
    settings, clip = dict(_settings(asked, pipe, "edit")), find(asked.motion)
    if asked.prompt is not None:
        pipe.check([asked.prompt])
    if asked.part is not None:
        from hftrainer.models.motion.mdm.editing import joints_of

        joints_of(asked.part, pipe.bundle.representation)
    pipe.refuse_edit(asked.part)
    span = _span(asked.start, asked.end, clip, pipe.fps)

    def call(pipe: Any) -> list[Motion]:
        return [pipe.edit(pipe.features(clip), asked.prompt, part=asked.part, span=span, seed=asked.seed, **settings)]

    return Job("edit", model, call=call)


def _span(start: float | None, end: float | None, clip: Motion, fps: float) -> Sequence[int] | None:
    """First frame that is made and first one that is not, of the clip at a rate; ``None`` for all.

    Raises:
        ValueError: a span that is empty or leaves the motion.
    """
    if start is None and end is None:
        return None
    frames = round(clip.seconds * fps)
    first, last = round((start or 0.0) * fps), frames if end is None else round(end * fps)
    if not first < last <= frames:
        said = f"{start or 0:g} to {clip.seconds if end is None else end:g}"
        raise ValueError(
            f"start and end must hold at least one frame of the motion's {clip.seconds:g} seconds; got {said}."
        )
    return first, last


#: What makes a job of a request, by verb.
VERBS: dict[str, Callable[[Any, str, Any, Find], Job]] = {
    "generate": _generate, "caption": _caption, "predict": _predict, "inbetween": _inbetween, "edit": _edit,
}  # fmt: skip
