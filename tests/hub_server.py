"""A stand-in for a model hub: it speaks the hub's HTTP API over repositories in memory, and misbehaves when told to."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

#: Files that are kept by their SHA-256, as git-lfs does; the others by git's SHA-1.
LARGE = (".safetensors", ".npy", ".tar", ".bin")


def git_hash(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def is_large(name):
    return name.endswith(LARGE)


class Hub:
    """Repositories, and what was asked.

    Attributes:
        repositories: name -> {"commits": {hash: {file: bytes}}, "branches": {name: hash}}.
        cut: file -> bytes after which the connection breaks, once.
        rotten: files whose bytes come wrong.
        asked: (method, path, Range) of every request.
        token: if set, pushing needs it.
    """

    def __init__(self):
        self.repositories, self.cut, self.rotten, self.asked, self.token = {}, {}, set(), [], None
        self.objects, self.messages, self.address = {}, [], ""

    def commit(self, name, files, branch="main"):
        """Put files into a branch, beside those that are there; the commit's hash."""
        repository = self.repositories.setdefault(name, {"commits": {}, "branches": {}})
        before = repository["commits"].get(repository["branches"].get(branch), {})
        after = {**before, **files}
        text = json.dumps([len(repository["commits"]), {k: git_hash(v) for k, v in after.items()}])
        commit = hashlib.sha1(text.encode()).hexdigest()
        repository["commits"][commit] = after
        repository["branches"][branch] = commit
        return commit

    def files(self, name, revision):
        """A commit's hash and files; ``None`` where there is none."""
        repository = self.repositories.get(name)
        if repository is None:
            return None
        commit = repository["branches"].get(revision, revision)
        return (commit, repository["commits"][commit]) if commit in repository["commits"] else None

    def downloads(self, name):
        """Ranges of the GET requests for one file; ``None`` for the whole."""
        return [part for method, path, part in self.asked if method == "GET" and path.endswith(f"/{name}")]


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *args):
        """Quiet."""

    def reply(self, data, status=200, body=True, **headers):
        data = data if isinstance(data, bytes) else json.dumps(data).encode()
        self.send_response(status)
        for key, value in {"Content-Length": str(len(data)), "Content-Type": "application/json", **headers}.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        if body:
            self.wfile.write(data)

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def path_of(self, method):
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append((method, path, self.headers.get("Range")))
        return path

    def missing(self, name, body=True):
        code = "RevisionNotFound" if name in self.hub.repositories else "RepoNotFound"
        self.reply({"error": "no"}, 404, body, X_Error_Code=code)

    def do_GET(self, body=True):
        path = self.path_of("GET" if body else "HEAD")
        question = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?(?:/.*)?", path)
        if question:
            name, kind, revision = question[1], question[2] or "revision", question[3] or "main"
            found = self.hub.files(name, revision)
            if found is None:
                return self.missing(name, body)
            commit, files = found
            if kind == "revision":
                siblings = [{"rfilename": file} for file in files]
                return self.reply({"id": name, "modelId": name, "sha": commit, "siblings": siblings}, body=body)
            return self.reply([self.entry(file, data) for file, data in files.items()], body=body)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        found = self.hub.files(file[1], file[2]) if file else None
        if file is None or found is None:
            return self.missing(file[1] if file else "", body)
        commit, files = found
        if file[3] not in files:
            return self.reply({"error": "no"}, 404, body, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
        return self.send_file(commit, file[3], files[file[3]], body)

    def do_HEAD(self):
        self.do_GET(body=False)

    @staticmethod
    def entry(name, data):
        said = {"type": "file", "path": name, "size": len(data), "oid": git_hash(data)}
        if is_large(name):
            said["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
        return said

    def send_file(self, commit, name, data, body):
        """All of a file, or what follows a byte; broken off or rotten where the hub was told so."""
        etag = hashlib.sha256(data).hexdigest() if is_large(name) else git_hash(data)
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if is_large(name):
            headers |= {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(len(data))}
        if name in self.hub.rotten:
            data = data[:-1] + bytes([data[-1] ^ 1])
        start = re.fullmatch(r"bytes=(\d+)-.*", self.headers.get("Range") or "")
        first = int(start[1]) if start else 0
        self.send_response(206 if start else 200)
        if start:
            headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
        for key, value in {**headers, "Content-Length": str(len(data) - first)}.items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            until = self.hub.cut.pop(name, None)
            self.wfile.write(data[first : len(data) if until is None else until])
            if until is not None:
                self.close_connection = True

    def do_POST(self):
        path, sent = self.path_of("POST"), self.body()
        if self.hub.token and self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            return self.reply({"error": "Invalid username or password."}, 401)
        if path == "/api/repos/create":
            said = json.loads(sent)
            name = f"{said['organization']}/{said['name']}" if said.get("organization") else said["name"]
            known = name in self.hub.repositories
            if not known:
                self.hub.commit(name, {".gitattributes": b"*.safetensors filter=lfs\n"})
            return self.reply({"url": f"{self.hub.address}/{name}", "error": "exists"}, 409 if known else 200)
        if path == "/api/validate-yaml":
            return self.reply({"errors": [], "warnings": []})
        branch = re.fullmatch(r"/api/models/([^/]+/[^/]+)/branch/(.+)", path)
        if branch:
            repository = self.hub.repositories[branch[1]]
            known = branch[2] in repository["branches"]
            repository["branches"].setdefault(branch[2], repository["branches"]["main"])
            return self.reply({"error": "exists"}, 409 if known else 200)
        modes = re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/(.+)", path)
        if modes:
            files = [{"path": f["path"], "uploadMode": "lfs" if is_large(f["path"]) else "regular",
                      "shouldIgnore": False} for f in json.loads(sent)["files"]]  # fmt: skip
            return self.reply({"files": files})
        if path.endswith(".git/info/lfs/objects/batch"):
            objects = [{**one, "actions": {"upload": {"href": f"{self.hub.address}/objects/{one['oid']}"}}}
                       for one in json.loads(sent)["objects"]]  # fmt: skip
            return self.reply({"transfer": "basic", "objects": objects})
        commit = re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/(.+)", path)
        if commit:
            return self.take(commit[1], commit[2], [json.loads(line) for line in sent.splitlines()])
        return self.reply({"error": path}, 404)

    def do_PUT(self):
        self.path_of("PUT")
        data = self.body()
        self.hub.objects[self.path.rpartition("/")[2].split("?")[0]] = data
        self.reply(b"")

    def take(self, name, branch, lines):
        """A commit: a line with its message, then one for each file."""
        files = {}
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                self.hub.messages.append((name, value["summary"]))
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
        commit = self.hub.commit(name, files, branch)
        url = f"{self.hub.address}/{name}/commit/{commit}"
        self.reply({"success": True, "commitOid": commit, "commitUrl": url, "hookOutput": ""})


@contextmanager
def running_hub() -> Iterator[Hub]:
    """A hub that answers on this computer until the block ends."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Answering", (Handler,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
