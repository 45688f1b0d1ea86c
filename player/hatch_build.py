"""A wheel carries the player and the page, built here when a wheel is, unless they are newer than their sources; and
the recipes."""

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
        """Build ``hftrainer/rendering/player.js`` and ``hftrainer/serving/page/``.

        Raises:
            RuntimeError: a wheel is wanted, one of them is not there, and there is no npm.
        """
        if version == "editable":
            return
        root = Path(self.root)
        added = build_data.setdefault("force_include", {})
        added[str(root / "recipes")] = "hftrainer/recipes"  # found by name: hftrainer train NAME
        source, built = root / "player", root / "hftrainer"
        targets = [built / "rendering" / "player.js", built / "serving" / "page" / "index.html"]
        parts = [source / "package-lock.json", source / "build.mjs", *(source / "src").rglob("*.*")]
        there = all(target.is_file() for target in targets)
        newest = max(part.stat().st_mtime for part in parts)
        if there and min(target.stat().st_mtime for target in targets) >= newest:
            return
        npm = shutil.which("npm")
        if npm is None:
            if there:
                return
            raise RuntimeError("a wheel must carry the player; npm is not here to build it. Install Node.js.")
        for words in _COMMANDS:
            subprocess.run([npm, *words], cwd=source, check=True)
