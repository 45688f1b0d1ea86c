"""A real browser for tests: Chromium, told what to do line by line (``player/drive.mjs``)."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hftrainer.rendering.player import program
from tests.conftest import ROOT


def absent(page: bool = False) -> str | None:
    """Why there can be no test in a browser here, or ``None``; ``page``: of the server's page."""
    try:
        program()
    except FileNotFoundError as exc:
        return str(exc)
    if page and not (ROOT / "hftrainer" / "serving" / "page" / "index.html").is_file():
        return "the page is not built. Run: make player."
    if shutil.which("node") is None or not (ROOT / "player" / "node_modules" / "playwright-core").is_dir():
        return "playwright-core is not in player/node_modules. Run: make player."
    if shutil.which("chromium") is None:
        return "there is no chromium. apt-get install chromium."
    return None


class Browser:
    """A page in a headless Chromium; ``said`` and ``asked`` are its console and its requests since ``open``."""

    def __init__(self) -> None:
        words = ["node", str(ROOT / "player" / "drive.mjs"), shutil.which("chromium")]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def tell(self, verb: str, **about: Any) -> Any:
        """One request and its answer; a refusal of the browser fails the test."""
        self.process.stdin.write(json.dumps({"do": verb, **about}) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline() or '{"error": "the browser has gone"}')
        assert "error" not in answer, f"{verb} {about}: {answer['error']}"
        return answer["value"]

    def play(self, page: Path, width: int = 460, height: int = 380, **about: Any) -> None:
        """Open a player's page, wait for its first picture, and stop it."""
        self.tell("open", url=page.as_uri(), width=width, height=height, **about)
        self.tell("ready", what="window.hftrainerPlayer && hftrainerPlayer.state().pictures > 0")

    def ask(self, what: str) -> Any:
        """The value of an expression on the page."""
        return self.tell("ask", what=what)

    @property
    def state(self) -> dict[str, Any]:
        """What the player shows."""
        return self.ask("hftrainerPlayer.state()")

    def picture(self, path: Path, at: str | None = ".stage canvas") -> np.ndarray:
        """``(H, W, 3)`` of a part of the page, or of what the window shows, once what was asked is drawn."""
        self.tell("picture", path=str(path), at=at)
        return np.asarray(Image.open(path).convert("RGB"), dtype=int)

    def close(self) -> None:
        """The browser's end."""
        self.process.stdin.close()
        self.process.wait(60)
