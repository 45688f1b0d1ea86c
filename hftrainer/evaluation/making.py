"""What a folder of predictions says of how they were made: ``generation.json``, beside the files ``ID.npy``.

The sharded scripts write it, roads to other representations carry it on, and reports read it: so a report of ready-made
files still knows the weights, the settings and the sentence of every motion. Its layout::

    {"format": "hftrainer-generation-1", "model": {"name": "mdm-mini", "sha256": "..."},
     "drawing": {"seed": 0, "guidance": 2.5}, "data": {"name": "...", "split": "test", "sha256": "..."},
     "route": ["hml263"], "prompts": {"ID": "a person walks"}}

Only motions that are listed under ``prompts`` are vouched for. A folder never mixes motions of several models,
settings or sentences: what does not fit is refused.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from hftrainer.evaluation.restarting import write_json

FILE = "generation.json"
FORMAT = "hftrainer-generation-1"
#: What all motions of a folder must have in common.
_SHARED = ("model", "drawing", "data", "route")


def read(folder: Path) -> dict[str, Any] | None:
    """What a folder says of its motions; ``None`` where it says nothing.

    Raises:
        ValueError: a file that is not of this layout.

    >>> read(Path("nowhere")) is None
    True
    """
    file = folder / FILE
    if not file.is_file():
        return None
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} must be JSON; got {error}. Make the motions again.") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT or not isinstance(found.get("prompts"), dict):
        raise ValueError(f"{file} must be of format {FORMAT}; it is not. Make the motions again.")
    return found


def tell(
    folder: Path,
    prompts: Mapping[str, str],
    *,
    model: Mapping[str, Any],
    drawing: Mapping[str, Any],
    data: Mapping[str, Any],
    route: tuple[str, ...],
    there: Collection[str] = (),
) -> None:
    """Say how the motions of a folder are made, before the first is; several processes may say the same.

    Args:
        folder: of the motions; made if need be.
        prompts: ID -> sentence, of all shards.
        model: ``name`` and ``sha256`` of the weights.
        drawing: seed and settings.
        data: which dataset and split the sentences are of.
        route: representations that the motions went through, the last is what the files hold.
        there: IDs that have a motion already, which stays as it is; look before this is called. Those of which nothing
            is known yet are not listed.

    Raises:
        ValueError: the folder has motions of other weights, settings or sentences.

    >>> import tempfile
    >>> place, run = Path(tempfile.mkdtemp()), dict(model={"sha256": "ab"}, drawing={}, data={}, route=("hml263",))
    >>> tell(place, {"a": "a person walks"}, **run)
    >>> tell(place, {"a": "a person runs"}, **run)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: a folder must hold motions of one run; ... has others: the sentence of a. Choose another folder, or ...
    """
    before = read(folder)
    known = {} if before is None else before["prompts"]
    about = {"format": FORMAT, "model": dict(model), "drawing": dict(drawing), "data": dict(data),
             "route": list(route)}  # fmt: skip
    about = json.loads(json.dumps(about))
    if before is not None:
        wrong = [name for name in _SHARED if before.get(name) != about[name]]
        others = [name for name in prompts if known.get(name, prompts[name]) != prompts[name]]
        if others:
            wrong.append(f"the sentence of {others[0]}" + (f" and {len(others) - 1} more" if others[1:] else ""))
        if wrong:
            said = ", ".join(wrong)
            raise ValueError(
                f"a folder must hold motions of one run; {folder} has others: {said}. Choose another folder, or clear "
                f"this one and its {FILE}."
            )
    fresh = {name: said for name, said in prompts.items() if name not in there}
    if before is None or not fresh.keys() <= known.keys():
        write_json(folder / FILE, {**about, "prompts": {**known, **fresh}})


def carry(source: Path, target: Path, representation: str, there: Collection[str] = ()) -> None:
    """Take along what a folder says of its motions when they are written anew in another representation.

    Args:
        source: folder that they come from; where it says nothing, nothing is done.
        target: folder that they go to.
        representation: what they are there.
        there: as of ``tell``.

    Raises:
        ValueError: the target says that it holds motions of another run.
    """
    found = read(source)
    if found is None:
        return
    named = {name: found[name] for name in ("model", "drawing", "data")}
    tell(target, found["prompts"], **named, route=(*found["route"], representation), there=there)


def weights_of(made: Mapping[str, Any] | None, names: Sequence[str]) -> str:
    """SHA-256 of the weights that made all these motions, or why it is not known.

    Args:
        made: of ``read``.
        names: IDs of the motions.

    >>> weights_of(None, ["a"])
    'unknown: the folder of predictions does not say which weights made them'
    >>> weights_of({"model": {"sha256": "ab"}, "prompts": {"a": "a person walks"}}, ["a"])
    'ab'
    """
    if made is None:
        return "unknown: the folder of predictions does not say which weights made them"
    silent = [name for name in names if name not in made["prompts"]]
    if silent:
        return f"unknown: {FILE} says nothing of {len(silent)} of {len(names)} predictions"
    return str(made["model"]["sha256"])


def asked_otherwise(made: Mapping[str, Any] | None, scored: Mapping[str, str]) -> list[str]:
    """Motions that were made from another sentence than the one that they are scored with.

    Args:
        made: of ``read``.
        scored: ID -> sentence.

    >>> asked_otherwise({"prompts": {"a": "he walks", "b": "he runs"}}, {"a": "she walks", "b": "he runs"})
    ['a']
    """
    prompts = {} if made is None else made["prompts"]
    return [name for name, said in scored.items() if prompts.get(name, said).strip() != said.strip()]
