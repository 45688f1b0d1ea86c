"""A wheel carries the player: it is built here when a wheel is, unless it stands and is newer than its sources."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_COMMANDS = (["ci", "--ignore-scripts", "--no-audit", "--no-fund"], ["run", "build"])


class PlayerHook(BuildHookInterface):
    """Runs npm before the files of a wheel are gathered. An editable install goes without the player, too."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build ``hftrainer/rendering/player.js``.

        Raises:
            RuntimeError: a wheel is wanted, the player is not there, and there is no npm.
        """
        if version == "editable":
            return
        root = Path(self.root)
        source, target = root / "player", root / "hftrainer" / "rendering" / "player.js"
        parts = [source / "package-lock.json", source / "build.mjs", *(source / "src").iterdir()]
        if target.is_file() and target.stat().st_mtime >= max(part.stat().st_mtime for part in parts):
            return
        npm = shutil.which("npm")
        if npm is None:
            if target.is_file():
                return
            raise RuntimeError("a wheel must carry the player; npm is not here to build it. Install Node.js.")
        for words in _COMMANDS:
            subprocess.run([npm, *words], cwd=source, check=True)
