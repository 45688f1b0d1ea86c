"""The page and the HTTP API: all verbs, for people in a browser and for programs.

--host says on which address it listens; 127.0.0.1 is this machine alone. Requests that name another host are refused,
which keeps pages elsewhere from using a browser to ask: a server behind another name needs --allow-host. With --host
0.0.0.0 everybody in the network can ask, so give it an --api-key (KEY, or @FILE that holds it).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from hftrainer.cli.parser import Done, Parser, RequestError, above_zero, whole
from hftrainer.cli.progress import Progress

if TYPE_CHECKING:
    from hftrainer.serving.speech import Speech

#: What the server is made of, and what each package is called in a registry.
PACKAGES = {"fastapi": "fastapi", "uvicorn": "uvicorn", "python_multipart": "python-multipart"}


def arguments(parser: Parser) -> None:
    """What ``hftrainer serve`` takes."""
    parser.flag("--host", default="127.0.0.1", metavar="ADDRESS", help="where it listens (default 127.0.0.1)")
    parser.flag("--port", type=whole(0), default=8888, help="0 takes any that is free (default 8888)")
    parser.flag("--model", action="append", metavar="NAME|FOLDER|REPO",
                help="a model beside the built-in ones; may be repeated")  # fmt: skip
    parser.flag("--device", default="cpu", help="cpu, cuda, cuda:1, … (default cpu)")
    parser.flag("--whisper", metavar="FOLDER", help="understand speech, by a whisper that lies there (extra speech)")
    parser.flag("--allow-host", action="append", metavar="NAME", help="a name it may be asked by; may be repeated")
    parser.flag("--api-key", metavar="KEY", help="what requests must bring; @FILE reads it from a file")
    parser.flag("--queue", type=whole(1), default=64, help="requests that wait; one more is answered 429 (default 64)")
    parser.flag("--workers", type=whole(1), default=2, help="models that work at the same time (default 2)")
    parser.flag("--upload-mb", type=whole(1), default=16, metavar="MB", help="largest file taken in (default 16)")
    parser.flag("--keep", type=whole(1), default=1000, metavar="NUMBER", help="motions kept (default 1000)")
    parser.flag("--keep-hours", type=above_zero("hours"), default=24.0, metavar="HOURS",
                help="how long an unused one is (default 24)")  # fmt: skip
    parser.flag("--keep-in", metavar="FOLDER", help="motions are files there too, and outlast the server")


def check_packages() -> None:
    """Refuse to serve without what it is made of.

    Raises:
        RequestError: a package is not installed.
    """
    absent = [name for module, name in PACKAGES.items() if importlib.util.find_spec(module) is None]
    if absent:
        raise RequestError(f"hftrainer serve needs {' and '.join(absent)}. pip install 'hftrainer[serve]'.")


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        RequestError: the address is not this machine's, or another program has the port.
    """
    if port > 65_535:
        raise RequestError(f"--port must be 0 to 65535; got {port}.")
    try:
        family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, number)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(512)
    except socket.gaierror as exc:
        raise RequestError(f"--host must be an address of this machine; got {host!r}. 127.0.0.1 always is.") from exc
    except OSError as exc:
        raise RequestError(
            f"port {port} of {host} must be free; it cannot be had ({exc.strerror}). Choose another with --port."
        ) from exc
    return listening


def open_speech(folder: str | None, device: str) -> Speech | None:
    """The whisper of ``--whisper``.

    Raises:
        RequestError: there is none in the folder, or transformers is not installed.
    """
    if folder is None:
        return None
    from hftrainer.serving.speech import Speech

    try:
        return Speech(folder, device)
    except (ValueError, ModuleNotFoundError) as exc:
        raise RequestError(f"--whisper: {exc}") from exc


def check_folder(said: str | None) -> Path | None:
    """The folder of ``--keep-in``, made where it is not there.

    Raises:
        RequestError: it cannot be made or written.
    """
    if said is None:
        return None
    try:
        Path(said).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=said):
            pass
    except OSError as exc:
        raise RequestError(f"--keep-in must be a folder that can be written; got {said} ({exc.strerror}).") from exc
    return Path(said)


def read_key(said: str | None) -> str | None:
    """The key of ``--api-key``.

    Raises:
        RequestError: it is too short, or its file cannot be read.
    """
    if said is None:
        return None
    try:
        key = Path(said[1:]).read_text(encoding="utf-8").strip() if said.startswith("@") else said.strip()
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it holds no text"
        raise RequestError(f"--api-key @FILE must name a text file; {said[1:]} cannot be read ({why}).") from exc
    if len(key) < 8 or not key.isascii() or not key.isprintable():
        raise RequestError("--api-key must have at least 8 letters, digits or signs; got another. Take a long one.")
    return key


def run(args: argparse.Namespace, progress: Progress) -> Done:
    """Serve until Ctrl-C."""
    check_packages()
    key, speech = read_key(args.api_key), open_speech(args.whisper, args.device)
    folder = check_folder(args.keep_in)
    listening = listen(args.host, args.port)
    progress("starting")
    from hftrainer.cli.generate import check_device
    from hftrainer.serving.app import NO_PAGE, PAGE
    from hftrainer.serving.limits import Limits
    from hftrainer.serving.running import serve

    if args.device != "cpu":
        check_device(args.device)
    limits = Limits(
        queue=args.queue, workers=args.workers, upload=args.upload_mb * 2**20, motions=args.keep, hours=args.keep_hours
    )
    host, port = listening.getsockname()[:2]
    name = f"[{host}]" if ":" in host else host
    url = f"http://{name}:{port}/"

    def ready() -> None:
        progress("")
        if args.json:
            print(json.dumps({"url": url}), flush=True)
            return
        print(f"hftrainer serves {url}{'?key=…' if key else ''} (Ctrl-C stops it)", flush=True)
        if not (PAGE / "index.html").is_file():
            print(f"The API is there; {NO_PAGE}", flush=True)

    with listening:
        serve(
            listening, models=args.model or (), device=args.device, limits=limits, listens=args.host,
            allowed=args.allow_host or (), key=key, speech=speech, folder=folder, ready=ready,
        )  # fmt: skip
    return Done({"url": url}, ["stopped"])
