"""What requests and answers look like; the OpenAPI is made from it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from hftrainer.serving.limits import MOTIONS, PROMPT, PROMPTS, SAMPLES, SECONDS, SEED

#: Ids of motions and jobs.
Id = Annotated[str, Field(min_length=1, max_length=64)]
Sentence = Annotated[str, Field(min_length=1, max_length=PROMPT)]
Length = Annotated[float, Field(gt=0, le=SECONDS)]
Share = Annotated[float, Field(gt=0, le=1)]
End = Annotated[float, Field(gt=0, lt=1)]


class Request(BaseModel):
    """What all requests have: nothing that is not known, and no number that is none."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Drawing(Request):
    """A model, a seed, and how it goes about it; each setting only where the model has it (GET /api/models)."""

    model: Annotated[str | None, Field(max_length=200, description="of GET /api/models; else the default")] = None
    seed: Annotated[int, Field(ge=0, le=SEED, description="the same seed gives the same answer")] = 0
    guidance: Annotated[float | None, Field(gt=0, le=100, description="above 1 follows words more closely")] = None
    temperature: Annotated[float | None, Field(gt=0, le=10, description="below 1 more usual")] = None
    steps: Annotated[int | None, Field(ge=1, le=4000, description="of a model that denoises or fills masks")] = None
    sampler: Annotated[str | None, Field(max_length=40, description="ancestral, ddim, plms or dpm")] = None


class Generate(Drawing):
    """Sentences to motions; either ``prompt`` or ``prompts``."""

    prompt: Sentence | None = None
    prompts: Annotated[list[Sentence] | None, Field(min_length=1, max_length=PROMPTS)] = None
    seconds: Length | None = None
    frames: Annotated[int | None, Field(ge=1, le=10_000)] = None
    samples: Annotated[int, Field(ge=1, le=SAMPLES, description="motions of each sentence, seeds in a row")] = 1


class Caption(Request):
    """Motions to sentences."""

    motions: Annotated[list[Id], Field(min_length=1, max_length=MOTIONS)]
    model: Annotated[str | None, Field(max_length=200)] = None
    samples: Annotated[int, Field(ge=1, le=SAMPLES, description="sentences of each; 1 is the likeliest")] = 1
    seed: Annotated[int, Field(ge=0, le=SEED)] = 0


class Predict(Drawing):
    """The first part of a motion to the rest of it."""

    motion: Id
    keep: Annotated[Share | None, Field(description="share that is kept; 0.2 if nothing is said")] = None
    keep_seconds: Length | None = None
    seconds: Annotated[Length | None, Field(description="of the whole")] = None
    frames: Annotated[int | None, Field(ge=1, le=10_000, description="of the whole")] = None
    prompt: Sentence | None = None


class Inbetween(Drawing):
    """Both ends of ``motion`` to its middle, or two ``motions`` to one."""

    motion: Id | None = None
    keep: Annotated[list[End] | None, Field(min_length=2, max_length=2, description="shares kept; 0.25 each")] = None
    motions: Annotated[list[Id] | None, Field(min_length=2, max_length=2)] = None
    gap: Annotated[Length | None, Field(description="seconds between two motions")] = None
    prompt: Sentence | None = None


class Edit(Drawing):
    """A part of a body, or a span of time, made anew."""

    motion: Id
    prompt: Sentence | None = None
    part: Annotated[str | None, Field(min_length=1, max_length=200)] = None
    start: Annotated[float | None, Field(ge=0, le=3600, description="seconds")] = None
    end: Annotated[float | None, Field(gt=0, le=3600, description="seconds")] = None


#: What each verb is asked with.
ASKED: dict[str, type[Request]] = {
    "generate": Generate, "caption": Caption, "predict": Predict, "inbetween": Inbetween, "edit": Edit,
}  # fmt: skip


class Message(BaseModel):
    """What was wrong, and what to do."""

    message: str


class Failure(BaseModel):
    """Every answer that is none."""

    error: Message


class Health(BaseModel):
    """The server is there."""

    status: str
    version: str
    speech: bool


class Model(BaseModel):
    """A model that may be named in requests."""

    name: str
    kind: str
    about: str
    verbs: list[str]
    fps: float
    frames: list[int]
    settings: dict[str, Any]
    parts: list[str]


class ModelList(BaseModel):
    """All models, and which one does a verb where none is named."""

    models: list[Model]
    default: dict[str, str]


class Formats(BaseModel):
    """Endings of files that a motion can become, and of those that are taken in."""

    data: list[str]
    pictures: list[str]
    uploads: list[str]


class Example(BaseModel):
    """A sentence to begin with, and a picture of what becomes of it."""

    prompt: str
    thumbnail: str


class Examples(BaseModel):
    """Sentences to begin with."""

    examples: list[Example]


class MotionOut(BaseModel):
    """A motion that the server keeps for a while."""

    id: str
    frames: int
    seconds: float
    fps: float
    representation: str
    caption: str | None
    about: dict[str, Any]
    measures: dict[str, float]
    files: dict[str, str]
    player: str


class Words(BaseModel):
    """What was said."""

    text: str


class Result(BaseModel):
    """Motions or, for each motion that was asked about, sentences."""

    motions: list[MotionOut] | None = None
    captions: list[list[str]] | None = None


class JobOut(BaseModel):
    """Work that was asked for."""

    id: str
    verb: str
    state: str
    progress: float | None
    position: int
    message: str
    result: Result | None
    error: Message | None
