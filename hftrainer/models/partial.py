"""Large files of a hub repository, taken up where an earlier process left them.

The hub's library begins a file anew when the process that fetched it has ended. Here a large file grows in the cache as
``HASH.part``, survives interrupts and kills, goes on from its last byte, and takes its place only with the SHA-256 that
the hub names it by. Where the library has its own chunked transfer (``hf_xet``), nothing is done here.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path

from hftrainer.errors import ArtifactError
from hftrainer.models.sums import file_sum

#: Smaller files are left to the library.
LARGE = 8 << 20


@dataclass(frozen=True)
class Large:
    """A large file of a repository that is not on this computer.

    Attributes:
        repository, commit, name: which one.
        sha256, size: what the hub says of it.
    """

    repository: str
    commit: str
    name: str
    sha256: str
    size: int


def _home(repository: str) -> Path:
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repository, repo_type="model")


def large_files(repository: str, revision: str | None, patterns: Sequence[str] | None = None) -> list[Large]:
    """The large files of a repository that the cache lacks; none where the library transfers in chunks, or offline.

    Args:
        repository: ``owner/name``.
        revision: branch, tag or commit.
        patterns: only files whose name matches one.

    Raises:
        OSError, huggingface_hub.errors.HfHubHTTPError: the hub cannot be asked.
    """
    from huggingface_hub import HfApi, constants

    in_chunks = find_spec("hf_xet") is not None and not constants.HF_HUB_DISABLE_XET
    if constants.HF_HUB_OFFLINE or in_chunks:
        return []
    home, found = _home(repository), []
    commit = str(HfApi().model_info(repository, revision=revision).sha)
    for entry in HfApi().list_repo_tree(repository, recursive=True, revision=commit):
        lfs = getattr(entry, "lfs", None)
        if lfs is None or lfs.size < LARGE or (patterns and not any(fnmatch(entry.path, p) for p in patterns)):
            continue
        if not ((home / "blobs" / lfs.sha256).exists() or (home / "snapshots" / commit / entry.path).exists()):
            found.append(Large(repository, commit, entry.path, lfs.sha256, lfs.size))
    return found


def fetch_large(file: Large) -> None:
    """Bring a large file into the cache on this computer; half of it that lies there goes on.

    Raises:
        ArtifactError: it came with another hash than the hub says; it is removed, so that the next call fetches it.
        OSError, huggingface_hub.errors.HfHubHTTPError: it cannot be had; what came is kept.
    """
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

    blob = _home(file.repository) / "blobs" / file.sha256
    blob.parent.mkdir(parents=True, exist_ok=True)
    part = blob.with_name(f"{blob.name}.part")
    with WeakFileLock(part.with_suffix(".lock")):
        if blob.exists():
            return
        _go_on(file, part)
        if file_sum(part) != file.sha256:
            part.unlink()
            raise ArtifactError(
                f"{file.repository} must come with the hashes that the hub says; other bytes came for {file.name}. "
                "They were removed; try again, or another mirror (HF_ENDPOINT)."
            )
        os.replace(part, blob)


def _go_on(file: Large, part: Path) -> None:
    """Fetch what a part lacks."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    if part.exists() and part.stat().st_size > file.size:
        part.unlink()
    with part.open("ab") as opened:
        have = opened.tell()
        if have < file.size:
            http_get(hf_hub_url(file.repository, file.name, revision=file.commit), opened, resume_size=have,
                     expected_size=file.size, headers=build_hf_headers(), displayed_filename=file.name)  # fmt: skip
