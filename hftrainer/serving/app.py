"""The HTTP API and the page: routes, each a few lines over the rooms below."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Form, Query, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Match

from hftrainer.evaluation.physics import labelled
from hftrainer.motion.clip import Motion
from hftrainer.serving import bodies
from hftrainer.serving.doors import Doors, Hosts
from hftrainer.serving.examples import Examples, waiting_picture
from hftrainer.serving.jobs import MISTAKE, OVER, Job, Jobs
from hftrainer.serving.limits import WAIT, Limits
from hftrainer.serving.models import Models
from hftrainer.serving.motions import (
    MEDIA,
    UPLOADS,
    Files,
    caption_of,
    data_formats,
    description,
    motion_of_upload,
    picture_formats,
)
from hftrainer.serving.refusals import Refusal, body, in_words, sentence
from hftrainer.serving.speech import Speech, sound_of
from hftrainer.serving.store import Store, Stored
from hftrainer.serving.verbs import VERBS, job_of

#: Where ``make player`` puts the page.
PAGE = Path(__file__).with_name("page")
VERSION = version("hftrainer")
NO_PAGE = "the page must be built once in a checkout; it is not there. Run: make player (it needs Node.js with npm)."

#: Seconds that a request waits for its job to be over.
Wait = Annotated[float, Query(ge=0, le=WAIT, allow_inf_nan=False)]


class Server:
    """What the routes share.

    Args:
        models: that answer.
        limits: of what is taken on and kept.
        speech: that understands what people say, if any.
        folder: where motions outlast the server; by default they do not.
    """

    def __init__(
        self, models: Models, limits: Limits, speech: Speech | None = None, folder: Path | None = None
    ) -> None:
        self.models, self.limits, self.speech = models, limits, speech
        self.store, self.files = Store(limits, folder=folder), Files()
        self.jobs = Jobs(models.pipeline, self._finish, limits)
        self.examples = Examples(models, self.jobs, self.store)
        self.watchers = 0

    def _finish(self, job: Job, result: Any) -> dict[str, Any]:
        if isinstance(result, dict):
            return result
        return {"motions": [description(self.store.add(motion)) for motion in result]}

    def keep(self, motion: Motion) -> Stored:
        """Put a motion in the store.

        Raises:
            Refusal: 500, its file cannot be written.
        """
        try:
            return self.store.add(motion)
        except OSError as error:
            raise Refusal(500, sentence(error)) from error

    def motion(self, name: str) -> Stored:
        """The motion of an id.

        Raises:
            Refusal: 404, there is none.
        """
        stored = self.store.get(name)
        if stored is None:
            raise Refusal(404, "there is no motion with this id; it may be gone by now. Send or make it again.")
        return stored

    def find(self, name: str) -> Motion:
        """As ``motion``, the motion itself."""
        return self.motion(name).motion

    def job(self, name: str) -> Job:
        """The job of an id.

        Raises:
            Refusal: 404, there is none.
        """
        job = self.jobs.get(name)
        if job is None:
            raise Refusal(404, "there is no job with this id; it may be over for long. Ask again.")
        return job

    def report(self, job: Job) -> dict[str, Any]:
        """What the API says of a job."""
        return {
            "id": job.id, "verb": job.verb, "state": job.state, "progress": job.progress,
            "position": self.jobs.position(job), "message": job.message,
            "result": {"motions": None, "captions": None, **job.result} if job.result is not None else None,
            "error": None if job.error is None else {"message": job.error},
        }  # fmt: skip


class Waiter:
    """Tells a coroutine that a job has changed; jobs change in other threads.

    Args:
        job: that is watched, between ``with`` and its end.
    """

    def __init__(self, job: Job) -> None:
        self.job, self.loop, self.event = job, asyncio.get_running_loop(), asyncio.Event()

    def __enter__(self) -> Waiter:
        self.stop = self.job.watch(self._told)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _told(self) -> None:
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.event.set)

    async def changed(self, seconds: float) -> bool:
        """Wait for a change, so long at most; whether there was one."""
        try:
            await asyncio.wait_for(self.event.wait(), seconds)
        except TimeoutError:
            return False
        self.event.clear()
        return True


async def until_over(job: Job, seconds: float) -> None:
    """Wait until a job is over, so long at most."""
    end = asyncio.get_running_loop().time() + seconds
    with Waiter(job) as waiter:
        while not job.over and (left := end - asyncio.get_running_loop().time()) > 0:
            await waiter.changed(left)


def _failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    said = {401: "The key does not fit", 403: "Another origin", 404: "Not there", 413: "Too large", 421: "Unknown host",
            422: "Wrong", 429: "Too much at once", 500: "A mistake of the server", 503: "Stopping"}  # fmt: skip
    return {n: {"model": bodies.Failure, "description": said[n]} for n in (*statuses, 401, 403, 413, 421, 422, 500)}


def create_app(
    models: Models, limits: Limits | None = None, *, hosts: Hosts | None = None, key: str | None = None,
    speech: Speech | None = None, folder: Path | None = None,
) -> FastAPI:
    """The application that ``hftrainer serve`` runs.

    Args:
        models: that answer.
        limits: of what is taken on and kept.
        hosts: names by which it may be asked.
        key: that the API asks for, if any.
        speech: that understands what people say, if any.
        folder: where motions outlast the server; by default they do not.

    Returns:
        An ASGI application; ``app.state.server`` holds what its routes share.
    """
    server = Server(models, limits or Limits(), speech, folder)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(server.jobs.close)

    app = FastAPI(
        title="hftrainer", version=VERSION, openapi_url="/api/openapi.json", docs_url=None,
        redoc_url=None, lifespan=lifespan, summary="Human motion and language: sentences to motions and back.",
    )  # fmt: skip
    app.state.server = server
    app.add_middleware(Doors, hosts=hosts or Hosts(), key=key, upload=server.limits.upload)
    _refusals(app)
    _about(app, server)
    _speech(app, server)
    _motions(app, server)
    _jobs(app, server)
    _page(app)
    return app


def _refusals(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    async def wrong(request: Request, error: RequestValidationError) -> JSONResponse:
        return JSONResponse(body(" ".join(in_words(problem) for problem in error.errors())), 422)

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        said, status = str(error.detail), error.status_code
        if status == 400:  # what the frameworks say of a body that they cannot read
            said, status = "the body must be what the OpenAPI says; it cannot be read.", 422
        headers = dict(error.headers or {})
        if not isinstance(error, Refusal) and status == 404:
            said = "there is no such address here. GET /api/openapi.json says which there are."
        elif status == 405:
            headers["Allow"] = ", ".join(_methods(request))
            said = f"the method must be one of {headers['Allow']} here; got {request.method}."
        return JSONResponse(body(said), status, headers=headers)

    @app.exception_handler(Exception)
    async def mistake(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse(body(MISTAKE), 500)


def _methods(request: Request) -> list[str]:
    """Methods that an address has."""
    described = request.app.openapi()["paths"]
    routes = [route for route in request.app.routes if route.matches(request.scope)[0] != Match.NONE]
    paths = [getattr(route, "path", "") for route in routes]
    return sorted({method.upper() for path in paths for method in described.get(path, ("get",))})


def _about(app: FastAPI, server: Server) -> None:
    @app.get("/api/health", response_model=bodies.Health, responses=_failures())
    async def health() -> Any:
        """Whether the server is there."""
        return {"status": "ok", "version": VERSION, "speech": server.speech is not None}

    @app.get("/api/models", response_model=bodies.ModelList, responses=_failures())
    def models() -> Any:
        """Models, what they can do and what may be set."""
        known = server.models
        verbs = {verb: known.default(verb) for verb in VERBS}
        return {
            "models": [known.describe(name) for name in known.kinds],
            "default": {verb: name for verb, name in verbs.items() if name is not None},
        }

    @app.get("/api/formats", response_model=bodies.Formats, responses=_failures())
    def formats() -> Any:
        """Endings of files that motions become, and of those that are taken in."""
        return {"data": data_formats(), "pictures": picture_formats(), "uploads": list(UPLOADS)}

    @app.get("/api/examples", response_model=bodies.Examples, responses=_failures())
    def examples() -> Any:
        """Sentences to begin with, and small pictures of what becomes of them."""
        return {"examples": server.examples.listed()}

    @app.get("/api/examples/{at}.webp", response_class=Response, responses={
        200: {"content": {"image/webp": {}}, "description": "A small moving picture"},
        202: {"content": {"image/webp": {}}, "description": "A figure that waits: the moving one is being made"},
        **_failures(404, 503),
    })  # fmt: skip
    async def thumbnail(at: int) -> Response:
        """What becomes of an example sentence; the first request has it made, when nobody else asks for anything."""
        content = await run_in_threadpool(server.examples.picture, at)
        status, headers = 200, {"Cache-Control": "private, max-age=86400"}
        if content is None:
            content = await run_in_threadpool(waiting_picture)
            status, headers = 202, {"Retry-After": "2"}
        return Response(content, status, headers, media_type="image/webp")


def _speech(app: FastAPI, server: Server) -> None:
    turn, waiting = asyncio.Lock(), 0

    @app.post("/api/transcribe", response_model=bodies.Words, responses=_failures(404, 429))
    async def transcribe(file: UploadFile) -> Any:
        """What somebody says, as a sentence."""
        nonlocal waiting
        if server.speech is None:
            raise Refusal(404, "speech needs whisper, which this server does not have. Start it with --whisper FOLDER.")
        sound = sound_of(await file.read())
        if waiting >= server.limits.queue:
            raise Refusal(429, f"{waiting} people are waiting already. Try again in 5 s.", {"Retry-After": "5"})
        waiting += 1
        try:
            async with turn:
                text = await run_in_threadpool(server.speech.words, sound)
        except (ValueError, RuntimeError, OSError, MemoryError) as error:
            raise Refusal(422, sentence(error)) from error
        finally:
            waiting -= 1
        if not text:
            raise Refusal(422, "no words were understood. Say it again, or type.")
        return {"text": text}


def _motions(app: FastAPI, server: Server) -> None:
    room = asyncio.Semaphore(2)  # files read or drawn at the same time

    async def in_turn(work: Callable[..., Any], *given: Any) -> Any:
        async with room:
            return await run_in_threadpool(work, *given)

    @app.post("/api/motions", status_code=201, response_model=bodies.MotionOut, responses=_failures())
    async def send(
        file: UploadFile,
        representation: Annotated[str | None, Form(max_length=40)] = None,
        fps: Annotated[float | None, Form(ge=1, le=1000, allow_inf_nan=False)] = None,
    ) -> Any:
        """Send a motion file."""
        content = await file.read()
        if len(content) > server.limits.upload:
            raise Refusal(413, f"file must have at most {server.limits.upload} bytes; got {len(content)}. Send less.")
        motion = await in_turn(motion_of_upload, file.filename or "", content, representation, fps)
        return await in_turn(lambda: description(server.keep(motion)))

    @app.get("/api/motions/{name}", response_model=bodies.MotionOut, responses=_failures(404))
    def motion(name: str) -> Any:
        """What is known of a motion."""
        return description(server.motion(name))

    @app.get("/api/motions/{name}/file/{file}", response_class=Response, responses={
        200: {"content": {kind.partition(";")[0]: {} for kind in MEDIA.values()}, "description": "The file"},
        **_failures(404),
    })  # fmt: skip
    async def download(name: str, file: str) -> Response:
        """A motion as a file; the ending says which."""
        stored, ending = server.motion(name), Path(file).suffix.lower()
        content = await in_turn(server.files.content, stored, ending)
        safe = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "-" for letter in file)
        return Response(content, headers={
            "Content-Type": MEDIA[ending], "Content-Disposition": f'attachment; filename="{safe[:100]}"',
            "Cache-Control": "private, max-age=3600",
        })  # fmt: skip

    @app.get("/api/motions/{name}/player", response_class=Response, responses={
        200: {"content": {"application/octet-stream": {}}, "description": "What the player reads"}, **_failures(404),
    })  # fmt: skip
    async def player(name: str, request: Request) -> Response:
        """What the player of the page reads: ``hftrainer.rendering.player.player_data``."""
        stored = server.motion(name)
        data = await run_in_threadpool(_player, stored.motion)
        packed = "gzip" in request.headers.get("accept-encoding", "")
        return Response(
            gzip.compress(data, 6, mtime=0) if packed else data, media_type="application/octet-stream",
            headers={"Vary": "Accept-Encoding", **({"Content-Encoding": "gzip"} if packed else {})},
        )  # fmt: skip


def _player(motion: Motion) -> bytes:
    from hftrainer.rendering.player import player_data

    return player_data(motion, captions=caption_of(motion), metrics=[labelled(motion)])


def _jobs(app: FastAPI, server: Server) -> None:
    async def begin(verb: str, asked: Any, wait: float) -> JSONResponse:
        job = await run_in_threadpool(job_of, verb, asked, server.models, server.find)
        server.jobs.submit(job)
        await until_over(job, wait)
        return JSONResponse(server.report(job), 200 if job.over else 202)

    made: Any = {
        "status_code": 202, "response_model": bodies.JobOut,
        "responses": {200: {"model": bodies.JobOut, "description": "The job is over"}, **_failures(404, 429, 503)},
    }  # fmt: skip

    for verb, shape in bodies.ASKED.items():
        app.post(f"/api/{verb}", **made)(_asking(verb, shape, begin))

    @app.get("/api/jobs/{name}", response_model=bodies.JobOut, responses=_failures(404))
    def job(name: str) -> Any:
        """How far a job is."""
        return server.report(server.job(name))

    @app.delete("/api/jobs/{name}", response_model=bodies.JobOut, responses=_failures(404))
    def cancel(name: str) -> Any:
        """Stop a job; one that is over stays as it is."""
        found = server.job(name)
        server.jobs.cancel(found)
        return server.report(found)

    @app.get("/api/jobs/{name}/events", response_class=StreamingResponse, responses={
        200: {"content": {"text/event-stream": {}}, "description": "The job, at every change"}, **_failures(404, 429),
    })  # fmt: skip
    async def events(name: str) -> StreamingResponse:
        """The job as server-sent events, until it is over."""
        found = server.job(name)
        if server.watchers >= server.limits.watchers:
            raise Refusal(429, "too many watch already. Try again in 5 s.", {"Retry-After": "5"})
        return StreamingResponse(_stream(server, found), media_type="text/event-stream")


def _asking(
    verb: str, shape: type[bodies.Request], begin: Callable[[str, Any, float], Awaitable[JSONResponse]]
) -> Callable[..., Awaitable[JSONResponse]]:
    """What answers the requests of a verb."""

    async def ask(asked: bodies.Request, wait: Wait = 0) -> JSONResponse:
        return await begin(verb, asked, wait)

    ask.__name__, ask.__doc__ = verb, shape.__doc__
    ask.__annotations__["asked"] = shape
    return ask


async def _stream(server: Server, job: Job) -> AsyncIterator[str]:
    server.watchers += 1
    try:
        with Waiter(job) as waiter:
            while True:
                report = server.report(job)
                yield f"data: {json.dumps(report, ensure_ascii=False)}\n\n"
                if report["state"] in OVER:
                    return
                while not await waiter.changed(15):
                    yield ": still there\n\n"
                await asyncio.sleep(0.05)  # many changes at once are one event
    finally:
        server.watchers -= 1


def _page(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    def page() -> Response:
        file = PAGE / "index.html"
        return FileResponse(file) if file.is_file() else PlainTextResponse(NO_PAGE + "\n", 503)

    @app.get("/{name}", include_in_schema=False)
    def beside(name: str) -> Response:
        return _asset(name)

    @app.get("/assets/{path:path}", include_in_schema=False)
    def asset(path: str) -> Response:
        return _asset(f"assets/{path}")


def _asset(path: str) -> Response:
    """A file of the page, and of nothing else."""
    file = (PAGE / path).resolve()
    if not file.is_file() or not file.is_relative_to(PAGE.resolve()):
        raise HTTPException(404)
    return FileResponse(file)
