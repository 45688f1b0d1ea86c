"""Artifacts on a hub: fetched with every file's hash compared, pushed from memory or from a folder.

The hub's own library does the talking, so ``HF_ENDPOINT`` (a mirror), ``HF_HUB_OFFLINE``, ``HF_HOME`` and the token of
``hf auth login`` mean here what they mean everywhere. A connection that is cut is taken up where it broke, also by
another process (``hftrainer.models.partial``); files that came whole are not fetched twice. The library compares sizes;
hashes are compared here, for the files that came now: SHA-256 of large files, git's SHA-1 of small ones, and the
artifact's manifest where it has one.
"""

from __future__ import annotations

import hashlib
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from hftrainer.errors import ArtifactError
from hftrainer.models.partial import fetch_large, large_files
from hftrainer.models.sums import check_sums, file_sum, write_sums

#: What a repository's name looks like.
REPOSITORY = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")


class Saves(Protocol):
    """What can be written to a folder."""

    def save_pretrained(self, folder: str | Path) -> None:
        """Write it."""


def _errors() -> tuple[type[BaseException], ...]:
    """What the hub's library raises when it cannot get through; its HTTP library differs from version to version."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    transports = [sys.modules[name].HTTPError for name in ("httpx2", "httpx") if name in sys.modules]
    return (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError, *transports)


def said(error: BaseException) -> str:
    """What the hub's library had to say, on one line.

    >>> said(OSError("no\\nroute"))
    'no route'
    """
    return " ".join(str(error).split())[:300] or type(error).__name__


def cache_folder() -> Path:
    """Where repositories are kept on this computer."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


@contextmanager
def offline() -> Iterator[None]:
    """Libraries that fetch from the hub find what is in its cache, and ask no network, as long as this lasts."""
    from huggingface_hub import constants

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def fetch(
    repository: str,
    *,
    revision: str | None = None,
    local_files_only: bool = False,
    patterns: Sequence[str] | None = None,
) -> Path:
    """The folder of a repository in the cache on this computer; what is not there is fetched, what came is checked.

    Args:
        repository: ``owner/name``.
        revision: branch, tag or commit.
        local_files_only: fetch nothing.
        patterns: only files whose name matches one; the manifest is then not asked.

    Raises:
        ArtifactError: it cannot be had, or a file came with another hash than the hub says; such a file is removed,
            so that the next call fetches it again.
    """
    from huggingface_hub import snapshot_download  # only a hub name pays for this import

    started = time.time()
    try:
        large = [] if local_files_only else large_files(repository, revision, patterns)
    except _errors():
        large = []  # the library says what is wrong, or finds everything in the cache
    try:
        for file in large:
            fetch_large(file)
        folder = Path(
            snapshot_download(
                repository, revision=revision, local_files_only=local_files_only,
                allow_patterns=None if patterns is None else list(patterns),
            )
        )  # fmt: skip
    except _errors() as error:
        raise ArtifactError(
            f"the model must be a hub repository that can be reached, or lie in the cache; got {repository!r}"
            f"{f' at {revision}' if revision else ''}: {said(error)}"
        ) from error
    came = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_mtime >= started - 2]
    wrong = [path for path in came if not _is_what_the_hub_says(path)]
    if wrong:
        for path in wrong:
            path.resolve().unlink()
            path.unlink(missing_ok=True)
        names = ", ".join(path.relative_to(folder).as_posix() for path in wrong)
        raise ArtifactError(
            f"{repository} must come with the hashes that the hub says; other bytes came for {names}. They were "
            "removed; try again, or another mirror (HF_ENDPOINT)."
        )
    if came and patterns is None:
        check_sums(folder)
    return folder


def _is_what_the_hub_says(path: Path) -> bool:
    """A file of the cache is a link to one that is named by its hash; where links cannot be made nothing is said."""
    name = path.resolve().name
    if re.fullmatch(r"[0-9a-f]{64}", name):
        return file_sum(path) == name
    if re.fullmatch(r"[0-9a-f]{40}", name) and path.is_symlink():
        data = path.read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest() == name
    return True


def push_folder(
    folder: str | Path,
    repository: str,
    *,
    revision: str | None = None,
    private: bool | None = None,
    message: str = "Upload with hftrainer",
    token: str | None = None,
) -> str:
    """Put a folder's files into a repository, which is made if there is none; one commit.

    Args:
        folder: what to upload, hidden files left out.
        repository: ``owner/name``.
        revision: branch; made if it is not there.
        private: whether a new repository is to be private.
        message: of the commit.
        token: if not the one that is logged in.

    Returns:
        The commit's hash.

    Raises:
        ValueError: no name of a repository.
        ArtifactError: the folder is not as its manifest says.
        ConnectionError: the hub refused, or cannot be reached.
    """
    if not REPOSITORY.fullmatch(repository):
        raise ValueError(f"the repository must be owner/name; got {repository!r}.")
    check_sums(Path(folder))
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        if revision is not None and revision != "main":
            api.create_branch(repository, branch=revision, exist_ok=True)
        done = api.upload_folder(
            repo_id=repository, folder_path=folder, revision=revision, commit_message=message,
            ignore_patterns=[".*", "**/.*"],
        )  # fmt: skip
    except _errors() as error:
        raise ConnectionError(
            f"the hub must take {repository}; it could not be pushed: {said(error)} Log in with: hf auth login."
        ) from error
    return str(done.oid)


def push_saved(
    self: Saves,
    repository: str,
    *,
    revision: str | None = None,
    private: bool | None = None,
    message: str = "Upload with hftrainer",
    token: str | None = None,
) -> str:
    """Write what is in memory and push it to a hub repository, which is made if there is none.

    Args:
        self: a bundle or a pipeline.
        repository: ``owner/name``.
        revision: branch; made if it is not there.
        private: whether a new repository is to be private.
        message: of the commit.
        token: if not the one that is logged in.

    Returns:
        The commit's hash; ``from_pretrained(repository, revision=...)`` gives exactly this again.

    Raises:
        ValueError: no name of a repository.
        ConnectionError: the hub refused, or cannot be reached.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "artifact"
        self.save_pretrained(folder)
        write_sums(folder)
        return push_folder(folder, repository, revision=revision, private=private, message=message, token=token)


def read_card(repository: str, *, revision: str | None = None) -> str:
    """The text of a repository's card as the hub has it now.

    Raises:
        ArtifactError: it cannot be read.
    """
    from huggingface_hub import hf_hub_download

    try:
        path = hf_hub_download(repository, "README.md", revision=revision)
    except _errors() as error:
        raise ArtifactError(f"the card of {repository} must be on the hub; it cannot be read: {said(error)}") from error
    return Path(path).read_text(encoding="utf-8")


def push_card(repository: str, text: str, message: str) -> None:
    """Replace a repository's card.

    Raises:
        ConnectionError: the hub refused, or cannot be reached.
    """
    from huggingface_hub import HfApi

    arguments: dict[str, Any] = {"path_or_fileobj": text.encode(), "path_in_repo": "README.md"}
    try:
        HfApi().upload_file(**arguments, repo_id=repository, commit_message=message)
    except _errors() as error:
        raise ConnectionError(f"the hub must take the card of {repository}; it did not: {said(error)}") from error
