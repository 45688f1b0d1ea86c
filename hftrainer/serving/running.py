"""The server as a process: models, application and uvicorn, from the first request to Ctrl-C."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Sequence

import uvicorn

from hftrainer.serving.app import create_app
from hftrainer.serving.doors import Hosts
from hftrainer.serving.limits import Limits
from hftrainer.serving.models import Models

#: Open connections, and seconds that they get to end when the server stops.
CONNECTIONS, PATIENCE = 1000, 1


class _Uvicorn(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self.ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.ready()


def serve(
    listening: socket.socket,
    *,
    models: Sequence[str] = (),
    device: str = "cpu",
    limits: Limits | None = None,
    listens: str = "127.0.0.1",
    allowed: Sequence[str] = (),
    key: str | None = None,
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
        ready: called once requests are answered.

    Raises:
        KeyboardInterrupt: Ctrl-C, when everything has been stopped.
        ArtifactError, ValueError: a model is not there.
    """
    logging.basicConfig(level=logging.WARNING, format="hftrainer: %(message)s")
    app = create_app(Models(models, device), limits, hosts=Hosts(listens, allowed), key=key)
    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, lifespan="on", limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=PATIENCE, timeout_keep_alive=20,
    )  # fmt: skip
    _Uvicorn(config, ready).run(sockets=[listening])
