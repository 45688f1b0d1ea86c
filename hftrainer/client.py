"""A small client of ``hftrainer serve``: sentences to Motions and back, over HTTP, without the models.

>>> client = Client("http://127.0.0.1:8888")  # nothing is asked yet
>>> client.url
'http://127.0.0.1:8888'
"""

from __future__ import annotations

import json
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from hftrainer.motion.clip import Motion
from hftrainer.motion.files import load, save

#: Seconds that one request waits for its job, and that a connection may be silent.
_WAIT, _SILENCE = 20, 300


class ServerError(RuntimeError):
    """The server said no.

    Attributes:
        status: of HTTP; 0 for a job that failed or was cancelled.
        retry_after: seconds after which to try again, where the server said so.
    """

    def __init__(self, message: str, status: int = 0, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status, self.retry_after = status, retry_after


class Client:
    """A server of ``hftrainer serve``.

    Motions go in as Motions or as files, and come out as Motions with all that the server says of them in ``about``.

    Args:
        url: of the server.
        api_key: where it asks for one.
        patience: seconds for which a full queue is asked again; 0 raises at once.
        say: gets what a job is doing, and how far it is (0 to 1, or ``None``).
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8888",
        api_key: str | None = None,
        *,
        patience: float = 60.0,
        say: Callable[[str, float | None], None] | None = None,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"url must begin with http:// or https://; got {url!r}.")
        self.url, self.api_key, self.patience, self.say = url.rstrip("/"), api_key, patience, say
        self._sent: dict[int, tuple[Motion, str]] = {}
        here = urllib.parse.urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")
        proxies = [urllib.request.ProxyHandler({})] if here else []  # no proxy leads to this machine
        self._open = urllib.request.build_opener(*proxies).open

    # ------------------------------------------------------------------------------------------ verbs

    def models(self) -> dict[str, Any]:
        """Models of the server, what they can do and what may be set: the JSON of ``GET /api/models``."""
        return self._json("GET", "/api/models")

    def generate(
        self,
        prompts: str | Sequence[str],
        *,
        model: str | None = None,
        seconds: float | None = None,
        frames: int | None = None,
        samples: int = 1,
        seed: int = 0,
        **settings: Any,
    ) -> list[Motion]:
        """Motions of sentences.

        Args:
            prompts: one sentence or several.
            model: of ``models()``; the server's default otherwise.
            seconds, frames: length, one of the two; by default the model decides.
            samples: motions of each sentence.
            seed: the same seed gives the same motions.
            settings: ``guidance``, ``temperature``, ``steps``, ``sampler``, where the model has them.

        Returns:
            All samples of the first sentence first.

        Raises:
            ServerError: the server refused, or the work failed.
            OSError: there is no server.
        """
        said = {"prompt": prompts} if isinstance(prompts, str) else {"prompts": list(prompts)}
        return self._motions("generate", **said, model=model, seconds=seconds, frames=frames, samples=samples,
                             seed=seed, **settings)  # fmt: skip

    def caption(
        self, motions: Motion | str | PathLike[str] | Sequence[Motion | str | PathLike[str]], *,
        model: str | None = None, samples: int = 1, seed: int = 0,
    ) -> list[list[str]]:  # fmt: skip
        """What motions show: for each of them so many sentences.

        Raises:
            ServerError, OSError: as ``generate``.
        """
        given = [motions] if isinstance(motions, Motion | str | PathLike) else list(motions)
        ids = [self._id(each) for each in given]
        result = self._result("caption", motions=ids, model=model, samples=samples, seed=seed)
        captions: list[list[str]] = result["captions"]
        return captions

    def predict(self, motion: Motion | str | PathLike[str], **asked: Any) -> Motion:
        """How a motion goes on.

        Args:
            motion: itself, or its file.
            asked: ``keep`` (share) or ``keep_seconds``, ``seconds`` or ``frames`` of the whole, ``prompt``, ``model``,
                ``seed`` and settings.

        Raises:
            ServerError, OSError: as ``generate``.
        """
        return self._motions("predict", motion=self._id(motion), **asked)[0]

    def inbetween(
        self, motion: Motion | str | PathLike[str], second: Motion | str | PathLike[str] | None = None, **asked: Any
    ) -> Motion:
        """What happens between the ends of a motion, or between two.

        Args:
            motion, second: Motions or files.
            asked: ``keep`` (two shares) of one motion, ``gap`` (seconds) of two; ``prompt``, ``model``, ``seed`` and
                settings.

        Raises:
            ServerError, OSError: as ``generate``.
        """
        if second is None:
            return self._motions("inbetween", motion=self._id(motion), **asked)[0]
        return self._motions("inbetween", motions=[self._id(motion), self._id(second)], **asked)[0]

    def edit(self, motion: Motion | str | PathLike[str], prompt: str | None = None, **asked: Any) -> Motion:
        """A motion with a part of the body, or a span of time, made anew.

        Args:
            motion: itself, or its file.
            prompt: what the part shall do.
            asked: ``part``, ``start``, ``end`` (seconds), ``model``, ``seed`` and settings.

        Raises:
            ServerError, OSError: as ``generate``.
        """
        return self._motions("edit", motion=self._id(motion), prompt=prompt, **asked)[0]

    def upload(
        self, motion: Motion | str | PathLike[str], *, representation: str | None = None, fps: float | None = None
    ) -> dict[str, Any]:
        """Send a motion.

        Args:
            motion: itself, or its file.
            representation, fps: what the numbers of a file are, where it does not say so itself.

        Returns:
            What the server says of it: ``id``, ``frames``, ``files`` …

        Raises:
            ServerError, OSError: as ``generate``.
        """
        if isinstance(motion, Motion):
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "motion.npz"
                save(motion, file)
                name, content = file.name, file.read_bytes()
        else:
            name, content = Path(motion).name, Path(motion).read_bytes()
        return self._send("/api/motions", name, content, {"representation": representation, "fps": fps})

    def transcribe(self, sound: str | PathLike[str]) -> str:
        """What somebody says, where the server has a whisper.

        Args:
            sound: a WAV file of 16 bits, one channel and 16000 samples a second, 30 s at most.

        Raises:
            ServerError, OSError: as ``generate``.
        """
        said = self._send("/api/transcribe", Path(sound).name, Path(sound).read_bytes(), {})
        return str(said["text"])

    def _send(self, path: str, name: str, content: bytes, fields: dict[str, Any]) -> dict[str, Any]:
        """A file and what is said of it, as a form."""
        mark = uuid.uuid4().hex
        parts = [
            f'--{mark}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'.encode()
            for field, value in fields.items()
            if value is not None
        ]
        plain = name.replace('"', "").replace("\r", "").replace("\n", "")
        parts.append(f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{plain}"\r\n'
                     "Content-Type: application/octet-stream\r\n\r\n".encode() + content)  # fmt: skip
        whole = b"".join(parts) + f"\r\n--{mark}--\r\n".encode()
        said: dict[str, Any] = json.loads(self._ask("POST", path, whole, f"multipart/form-data; boundary={mark}"))
        return said

    def motion(self, name: str) -> Motion:
        """The motion of an id that the server keeps, to the bit.

        Raises:
            ServerError, OSError: as ``generate``.
        """
        return self._fetched(self._json("GET", f"/api/motions/{name}"))

    def download(self, name: str, path: str | PathLike[str]) -> Path:
        """Write a motion of the server to a file; the ending chooses the format, pictures included.

        Raises:
            ServerError, OSError: as ``generate``.
        """
        path = Path(path)
        content = self._ask("GET", f"/api/motions/{name}/file/motion{path.suffix.lower()}")
        path.write_bytes(content)
        return path

    # ------------------------------------------------------------------------------------------ how it asks

    def _id(self, motion: Motion | str | PathLike[str]) -> str:
        """The id of a motion on the server; one that is not there yet is sent."""
        if not isinstance(motion, Motion):
            return str(self.upload(motion)["id"])
        if (known := self._sent.get(id(motion))) is not None and known[0] is motion:
            return known[1]
        name = str(self.upload(motion)["id"])
        self._remember(motion, name)
        return name

    def _remember(self, motion: Motion, name: str) -> None:
        if len(self._sent) >= 256:
            self._sent.pop(next(iter(self._sent)))
        self._sent[id(motion)] = motion, name

    def _motions(self, verb: str, **asked: Any) -> list[Motion]:
        return [self._fetched(said) for said in self._result(verb, **asked)["motions"]]

    def _fetched(self, said: dict[str, Any]) -> Motion:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "motion.npz"
            file.write_bytes(self._ask("GET", said["files"][".npz"]))
            motion = load(file)
        self._remember(motion, said["id"])
        return motion

    def _result(self, verb: str, **asked: Any) -> dict[str, Any]:
        """The result of a job, waited for; Ctrl-C cancels it on the server."""
        body = {name: value for name, value in asked.items() if value is not None}
        job = self._json("POST", f"/api/{verb}?wait={0 if self.say else _WAIT}", body)
        try:
            while job["state"] in ("queued", "running"):
                if self.say is not None:
                    self.say(job["message"], job["progress"])
                time.sleep(0.2)
                job = self._json("GET", f"/api/jobs/{job['id']}")
        except KeyboardInterrupt:
            self._json("DELETE", f"/api/jobs/{job['id']}")
            raise
        if job["state"] != "done":
            raise ServerError(job["error"]["message"] if job["error"] else "the job was cancelled.")
        result: dict[str, Any] = job["result"]
        return result

    def _json(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        content = None if body is None else json.dumps(body).encode()
        said: dict[str, Any] = json.loads(self._ask(method, path, content, "application/json"))
        return said

    def _ask(self, method: str, path: str, content: bytes | None = None, kind: str = "") -> bytes:
        """One request; a full queue is asked again while patience lasts."""
        headers = {"Content-Type": kind} if content is not None else {}
        if self.api_key is not None:
            headers["Authorization"] = f"Bearer {self.api_key}"
        end = time.monotonic() + self.patience
        while True:
            request = urllib.request.Request(self.url + path, content, headers, method=method)
            try:
                with self._open(request, timeout=_SILENCE) as answer:
                    read: bytes = answer.read()
                    return read
            except urllib.error.HTTPError as error:
                refused = _refused(error)
            if refused.status != 429 or time.monotonic() + (refused.retry_after or 1) > end:
                raise refused
            time.sleep(refused.retry_after or 1)


def _refused(error: urllib.error.HTTPError) -> ServerError:
    """What the server said with its refusal."""
    text = error.read().decode("utf-8", "replace")
    try:
        message = json.loads(text)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = text.strip()[:500] or f"the server answered {error.code}."
    after = error.headers.get("Retry-After", "")
    return ServerError(message, error.code, float(after) if after.isdigit() else None)
