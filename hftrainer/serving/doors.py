"""What stands before every request: which hosts are answered, who has the key, how many bytes are read."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import socket
from collections.abc import Sequence
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hftrainer.serving.limits import BODY, FORM
from hftrainer.serving.refusals import Refusal, body

#: Under which a browser keeps the key.
COOKIE = "hftrainer_key"
_HERE = frozenset({"127.0.0.1", "localhost", "::1"})
_PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; connect-src 'self' blob: data:; worker-src 'self' blob:; "
    "frame-src 'self' blob: data:; frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
)


def host_name(value: str) -> str:
    """The name in a Host header, small, without its port and brackets; ``""`` for what is no host.

    >>> host_name("LocalHost:8888"), host_name("[::1]:80"), host_name("a b")
    ('localhost', '::1', '')
    """
    try:
        return urlsplit(f"//{value}").hostname or "" if not set(value) & set(" /?#@\\") else ""
    except ValueError:
        return ""


class Hosts:
    """The names by which a server may be asked, so that a page elsewhere cannot make a browser ask it by its own name.

    This machine may always be named. A server that listens on one address has that name too; one that listens on all
    of them may be called by any address in numbers and by the machine's name. Other names must be allowed.

    Args:
        listens: what ``--host`` says.
        allowed: names of a proxy before it, say.

    >>> Hosts("127.0.0.1").has("localhost:8888"), Hosts("127.0.0.1").has("evil.example"), Hosts("::").has("10.0.0.5")
    (True, False, True)
    """

    def __init__(self, listens: str = "127.0.0.1", allowed: Sequence[str] = ()) -> None:
        self.any_address = listens in ("0.0.0.0", "::", "")
        own = {socket.gethostname().lower(), socket.getfqdn().lower()} if self.any_address else {listens.lower()}
        self.names = _HERE | own | {name.lower() for name in allowed}

    def has(self, value: str) -> bool:
        """Whether a Host header may be answered."""
        name = host_name(value)
        if name in self.names:
            return True
        if not self.any_address:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


class Doors:
    """ASGI: refuses unknown hosts, pages of other origins, requests without the key, and bodies that are too large.

    Args:
        app: what stands behind.
        hosts: that are answered.
        key: that ``/api`` asks for, if any: ``Authorization: Bearer KEY``, ``X-API-Key: KEY``, or the cookie that
            opening ``/?key=KEY`` sets.
        upload: bytes of a file that is taken in.
    """

    def __init__(self, app: ASGIApp, hosts: Hosts, key: str | None, upload: int) -> None:
        self.app, self.hosts, self.upload = app, hosts, upload
        self._digest = None if key is None else _digest(key)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        path = scope["path"]
        try:
            self._check_host(headers)
            if self._digest is not None:
                given = parse_qs(scope["query_string"].decode("latin-1")).get("key", [""])[0]
                if path == "/" and given:
                    await self._let_in(given, send)
                    return
                if path.startswith("/api/") and path != "/api/health" and not self._has_key(headers):
                    raise Refusal(401, "this server asks for its key; got none that fits. Send Authorization: "
                                  "Bearer KEY, or open the address with ?key=KEY.", {"WWW-Authenticate": "Bearer"})
            most = self.upload + FORM if path in ("/api/motions", "/api/transcribe") else BODY
            if int(headers.get("content-length", "0") or 0) > most:
                raise _too_large(most)
        except Refusal as refusal:
            await _refuse(refusal, send)
            return
        except ValueError:
            await _refuse(Refusal(422, "Content-Length must be a whole number; got something else."), send)
            return
        await self.app(scope, _counted(receive, most), _safe(send, path))

    def _check_host(self, headers: dict[str, str]) -> None:
        host = headers.get("host", "")
        if not self.hosts.has(host):
            raise Refusal(421, f"the server must be asked by a name it knows; got {ascii(host[:80])}. Start it with "
                          "--host, or --allow-host NAME.")
        origin = headers.get("origin")
        if origin is not None and not self.hosts.has(urlsplit(origin).netloc if "//" in origin else ""):
            raise Refusal(403, f"pages of other origins may not use this server; got {ascii(origin[:80])}. Start it "
                          "with --allow-host NAME.")

    def _has_key(self, headers: dict[str, str]) -> bool:
        kind, _, bearer = headers.get("authorization", "").partition(" ")
        given = [bearer.strip()] if kind.lower() == "bearer" else []
        given += [headers["x-api-key"]] if "x-api-key" in headers else []
        try:
            crumb = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            crumb = None
        kept = "" if crumb is None else crumb.value  # the cookie holds the digest, not the key itself
        found = [hmac.compare_digest(_digest(one), self._digest or "") for one in given]
        return any([*found, hmac.compare_digest(kept.encode(), (self._digest or "").encode())])

    async def _let_in(self, given: str, send: Send) -> None:
        """Answer ``/?key=KEY``: a cookie, and the page without the key in its address."""
        if not hmac.compare_digest(_digest(given), self._digest or ""):
            await _refuse(Refusal(401, "key must be that of this server; got another. Ask who started it."), send)
            return
        cookie = f"{COOKIE}={self._digest}; Path=/; HttpOnly; SameSite=Strict"
        await send({"type": "http.response.start", "status": 303,
                    "headers": [(b"location", b"/"), (b"set-cookie", cookie.encode())]})  # fmt: skip
        await send({"type": "http.response.body", "body": b""})


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _too_large(most: int) -> Refusal:
    return Refusal(413, f"a request here may have at most {most} bytes; got more. Send less.")


def _counted(receive: Receive, most: int) -> Receive:
    """The same, refusing once more has come than was declared or allowed."""
    come = 0

    async def count() -> Message:
        nonlocal come
        message = await receive()
        come += len(message.get("body", b""))
        if come > most:
            raise _too_large(most)
        return message

    return count


def _safe(send: Send, path: str) -> Send:
    """The same, with the headers that keep a browser from misreading answers."""

    async def add(message: Message) -> None:
        if message["type"] == "http.response.start":
            more = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]
            if path.startswith("/api/"):
                more.append((b"cache-control", b"no-store"))
            else:
                more.append((b"content-security-policy", _PAGE_POLICY.encode()))
            present = {name for name, _ in message["headers"]}
            message["headers"] = [*message["headers"], *(pair for pair in more if pair[0] not in present)]
        await send(message)

    return add


async def _refuse(refusal: Refusal, send: Send) -> None:
    content = json.dumps(body(str(refusal.detail))).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    headers += [(name.lower().encode(), value.encode()) for name, value in (refusal.headers or {}).items()]
    await send({"type": "http.response.start", "status": refusal.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": content})
