"""Which models there are, what they can do, and which pipeline runs them.

A built-in model is one line of ``BUILT_IN``; its artifact lies below ``hftrainer/artifacts/`` by the same name.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from hftrainer.errors import ArtifactError

ARTIFACTS = Path(__file__).resolve().parent.parent / "artifacts"


@dataclass(frozen=True)
class Kind:
    """One kind of model.

    Attributes:
        name: what it is called.
        module, pipeline: where its pipeline is.
        verbs: what it can do, as the command line calls it.
        marks: files, one of which an artifact of this kind has.
    """

    name: str
    module: str
    pipeline: str
    verbs: tuple[str, ...]
    marks: tuple[str, ...]


KINDS = {
    kind.name: kind
    for kind in (
        Kind("motiongpt", "hftrainer.pipelines.motiongpt", "MotionGPTPipeline",
             ("generate", "caption", "predict", "inbetween"),
             ("language_model.safetensors", "motiongpt_s3_h3d.tar", "motion_tokenizer.safetensors")),
        Kind("mdm", "hftrainer.pipelines.mdm", "MDMPipeline",
             ("generate", "predict", "inbetween", "edit"), ("mdm_config.json",)),
        Kind("mogents", "hftrainer.pipelines.mogents", "MoGenTSPipeline",
             ("generate", "predict", "inbetween", "edit"), ("mogents_config.json",)),
        Kind("momask", "hftrainer.pipelines.momask", "MoMaskPipeline",
             ("generate", "predict", "inbetween", "edit"), ("momask_config.json",)),
    )
}  # fmt: skip

#: Built-in name -> kind. Names whose artifact is not there are passed over.
BUILT_IN = {
    "motiongpt-mini": "motiongpt",
    "mdm-mini": "mdm",
}


def built_in() -> dict[str, Kind]:
    """The built-in models that this installation has, by name.

    >>> built_in()["motiongpt-mini"].pipeline
    'MotionGPTPipeline'
    """
    return {name: KINDS[kind] for name, kind in BUILT_IN.items() if (ARTIFACTS / name).is_dir()}


def kind_of(folder: Path) -> Kind:
    """What kind of model an artifact is: ``model_index.json`` says so, or its files do.

    Raises:
        ArtifactError: none that is known.
    """
    index = folder / "model_index.json"
    if index.is_file():
        try:
            said = json.loads(index.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ArtifactError(f"{index} must be JSON; got {error}.") from error
        named = said.get("_class_name") if isinstance(said, dict) else None
        for kind in KINDS.values():
            if kind.pipeline == named:
                return kind
    for kind in KINDS.values():
        if any((folder / mark).is_file() for mark in kind.marks):
            return kind
    marks = "; ".join(f"{kind.name}: {' or '.join(kind.marks)}" for kind in KINDS.values())
    raise ArtifactError(f"{folder} must be a model of a known kind ({marks}); it has none of these files.")


def kind_named(name: str | Path | None, verb: str | None = None) -> Kind:
    """What kind of model a name means; a hub repository is fetched to tell.

    Args:
        name: folder, built-in name or hub repository; ``None`` is the first built-in model that has the verb.
        verb: what it shall do.

    Raises:
        ArtifactError: nothing of that name.
        ValueError: the model does not have the verb; the message names those that do.
    """
    able = [kind for kind in KINDS.values() if verb is None or verb in kind.verbs]
    if name is None:
        found = [kind for kind in built_in().values() if kind in able]
        if not found:
            kinds = " or ".join(kind.name for kind in able)
            raise ValueError(f"--model must say which model shall {verb}; no built-in one can. Give one of {kinds}.")
        return found[0]
    known = built_in().get(str(name))
    if known is None:
        from hftrainer.models.artifact import resolve  # a name of ours is known without torch

        known = kind_of(resolve(name, "motiongpt-mini"))
    if known not in able:
        names = [one for one, kind in built_in().items() if kind in able]
        kinds = " or ".join(kind.name for kind in able)
        raise ValueError(
            f"--model must be one that can {verb}; got {name}, of the kind {known.name}. "
            f"Models of the kind {kinds} can{': ' + ', '.join(names) if names else ''}."
        )
    return known


def open_pipeline(name: str | Path | None = None, *, verb: str | None = None, device: str = "cpu") -> Any:
    """The pipeline of a model.

    Args:
        name, verb: as of ``kind_named``.
        device: where to run.

    Raises:
        ArtifactError, ValueError: as ``kind_named`` and the pipeline's ``from_pretrained``.

    >>> type(open_pipeline()).__name__
    'MotionGPTPipeline'
    """
    kind = kind_named(name, verb)
    return getattr(import_module(kind.module), kind.pipeline).from_pretrained(name, device=device)
