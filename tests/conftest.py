"""What every test may use: repeatable examples, and the reference material where a checkout has it beside it."""

import sys
from pathlib import Path
from typing import Any

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parent.parent

hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")


def only_loopback(event: str, args: tuple[Any, ...]) -> None:
    """Refuse every connection but to this computer: a test that needs another one tests that one."""
    if event == "socket.connect" and isinstance(args[1], tuple):
        host = str(args[1][0])
        if not (host.startswith("127.") or host in ("::1", "localhost", "0.0.0.0")):
            raise RuntimeError(f"tests must reach this computer only; got {host}.")


sys.addaudithook(only_loopback)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference material beside the checkout; tests that need it are skipped where there is none."""
    folder = ROOT.parent / "shared"
    if not (folder / "golden").is_dir():
        pytest.skip("this checkout has no ../shared beside it")
    return folder
