"""One recipe, several values of one setting: a run for each, and a table of what came of them."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hftrainer.errors import ArtifactError
from hftrainer.models.artifact import write_json
from hftrainer.motion.files.atomic import written_whole
from hftrainer.training.loop import Say, tell
from hftrainer.training.processes import is_first_process
from hftrainer.training.recipe import run_recipe


def read_sweep(text: str) -> tuple[str, list[str]]:
    """A setting and its values, each as it would follow ``--set KEY=``.

    Raises:
        ArtifactError: no key, or no value.

    >>> read_sweep("network.down=0,1,2,3")
    ('network.down', ['0', '1', '2', '3'])
    >>> read_sweep("settings.windows=[64],[40, 64]")[1]
    ['[64]', '[40, 64]']
    """
    key, equals, values = text.partition("=")
    key = key.strip()
    if not equals or not values.strip() or not all(part.isidentifier() for part in key.split(".")):
        raise ArtifactError(f"--sweep must look like network.down=0,1,2,3; got {text!r}.")
    try:
        found = [json.dumps(value) for value in tomllib.loads(f"values = [{values}]")["values"]]
    except tomllib.TOMLDecodeError:
        found = [value.strip() for value in values.split(",")]
    if len(set(found)) < len(found):
        raise ArtifactError(f"--sweep must name each value once; got {values}.")
    return key, found


def run_sweep(
    path: str | Path,
    out: str | Path,
    sweep: str,
    overrides: Sequence[str] = (),
    resume: bool = False,
    say: Say = tell,
    measure: Callable[[Path], Mapping[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """Run a recipe once for each value of a setting, each into a folder of its own.

    Args:
        path: recipe file.
        out: gets a run folder for each value, ``sweep.json`` and ``table.md``.
        sweep: ``"network.down=0,1,2,3"``.
        overrides: see ``read_recipe``; the same for all runs.
        resume: leave finished runs as they are, go on with the one that was stopped, begin the others.
        say: gets the lines of progress; they go to standard error by default.
        measure: gets the artifact of each run when it is done; what it returns stands in the run's row too.

    Returns:
        A row for each value: the setting, the last line of the run's log, and what was measured. ``sweep.json`` also
        has the recipe of the first run as it was run, with its dataset, and which setting was swept.

    Raises:
        ArtifactError: as of ``run_recipe``, or not a sweep.
    """
    key, values = read_sweep(sweep)
    out, rows = Path(out), []
    for value in values:
        folder = out / folder_name(key, value)
        if not (resume and (folder / "artifact").is_dir()):
            begun = (folder / "last.pt").exists()
            run_recipe(path, folder, [*overrides, f"{key}={value}"], resume and begun, say)
        last = json.loads((folder / "log.jsonl").read_text(encoding="utf-8").splitlines()[-1])
        if is_first_process():  # after every run, so that a stopped sweep has its table
            more = measure(folder / "artifact") if measure else {}
            rows.append({key: json.loads(value) if _is_json(value) else value, **last, **more, "folder": folder.name})
            recipe = json.loads((out / rows[0]["folder"] / "recipe.json").read_text(encoding="utf-8"))
            with written_whole(out / "sweep.json") as beside:
                write_json(beside, {"sweep": key, "recipe": recipe, "runs": rows})
            with written_whole(out / "table.md") as beside:
                beside.write_text(table(rows), encoding="utf-8")
    return rows


def folder_name(key: str, value: str) -> str:
    """The run folder of one value.

    >>> folder_name("network.down", "2"), folder_name("settings.windows", "[40, 64]")
    ('down-2', 'windows-40-64')
    """
    return f"{key.rpartition('.')[2]}-{re.sub(r'[^A-Za-z0-9.]+', '-', value).strip('-')}"


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as a Markdown table; a column that a row does not have is empty.

    >>> print(table([{"down": 0, "loss": 0.5}, {"down": 1, "loss": 0.25}]), end="")
    | down | loss |
    |---|---|
    | 0 | 0.5 |
    | 1 | 0.25 |
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [columns, ["---"] * len(columns), *([_cell(row.get(name, "")) for name in columns] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n".replace("| --- |", "|---|").replace(" --- |", "---|") for line in lines)


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
