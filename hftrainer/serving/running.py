"""The server as a process: models, application and uvicorn, from the first request to Ctrl-C."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import uvicorn

from hftrainer.serving.app import Server, create_app
from hftrainer.serving.doors import Hosts
from hftrainer.serving.limits import Limits
from hftrainer.serving.models import Models
from hftrainer.serving.speech import Speech

#: Open connections, and seconds that they get to end when the server stops.
CONNECTIONS, PATIENCE = 1000, 1


class _Uvicorn(uvicorn.Server):
    """Says when it is ready; stops work before it waits for the requests that wait for it."""

    def __init__(self, config: uvicorn.Config, server: Server, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self.server, self.ready = server, ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.server.jobs.stop()
        await super().shutdown(sockets)


def _worth_a_line(record: logging.LogRecord) -> bool:
    """Whether somebody must read it: that requests end when the server is stopped is no news."""
    ended = record.exc_info is not None and isinstance(record.exc_info[1], asyncio.CancelledError)
    return not ended and "graceful shutdown" not in record.getMessage()


def serve(
    listening: socket.socket,
    *,
    models: Sequence[str] = (),
    device: str = "cpu",
    limits: Limits | None = None,
    listens: str = "127.0.0.1",
    allowed: Sequence[str] = (),
    key: str | None = None,
    speech: Speech | None = None,
    folder: Path | None = None,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve until somebody stops the process.

    Args:
        listening: a socket that is bound.
        models: folders or hub repositories beside the built-in models.
        device: where they run.
        limits: what is taken on and kept.
        listens, allowed: the address that it listens on, and other names it may be asked by.
        key: that the API asks for, if any.
        speech: that understands what people say, if any.
        folder: where motions outlast the server; by default they do not.
        ready: called once requests are answered.

    Raises:
        KeyboardInterrupt: Ctrl-C, when everything has been stopped.
        ArtifactError, ValueError: a model is not there.
        OSError: the folder cannot be used.
    """
    logging.basicConfig(level=logging.WARNING, format="hftrainer: %(message)s")
    app = create_app(
        Models(models, device), limits, hosts=Hosts(listens, allowed), key=key, speech=speech,
        folder=folder,
    )  # fmt: skip
    logging.getLogger("uvicorn.error").addFilter(_worth_a_line)
    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, lifespan="on", limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=PATIENCE, timeout_keep_alive=20,
    )  # fmt: skip
    _Uvicorn(config, app.state.server, ready).run(sockets=[listening])
