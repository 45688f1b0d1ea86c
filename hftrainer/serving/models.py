"""The models that a server has: loaded once, when they are first needed, and described for people who choose."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hftrainer.pipelines.table import Kind, built_in, kind_named, open_pipeline
from hftrainer.serving.refusals import Refusal

#: What each kind of model is, for people.
_ABOUT = {
    "motiongpt": "A language model that speaks motion: it makes, describes, continues and completes movements.",
    "mdm": "A diffusion model: it makes movements out of noise, and changes parts and spans of them.",
    "mogents": "A masked transformer over tokens of single joints: it makes movements, and changes parts of them.",
    "momask": "A masked transformer over motion tokens: it makes movements, and changes spans of them.",
}
#: Settings that a request may name.
SETTINGS = ("guidance", "temperature", "steps", "sampler")


class Models:
    """Pipelines by name.

    Args:
        more: folders or hub repositories beside the built-in models; their last part is the name.
        device: where they run.

    Raises:
        ArtifactError: one of them is not there, or no model.
        ValueError: two have the same name.

    >>> Models().default("caption")
    'motiongpt-mini'
    """

    def __init__(self, more: Sequence[str] = (), device: str = "cpu") -> None:
        self.device = device
        self._sources: dict[str, str] = {}
        self.kinds: dict[str, Kind] = {}
        for source in [*more, *built_in()]:
            name = source if source in built_in() else Path(source).name
            if self._sources.get(name) == source:
                continue
            if name in self._sources:
                raise ValueError(f"--model must name models with different names; got {name!r} twice. Rename one.")
            self._sources[name], self.kinds[name] = source, kind_named(source)
        self._locks = {name: threading.Lock() for name in self._sources}
        self._open: dict[str, Any] = {}

    def default(self, verb: str) -> str | None:
        """The model that does a verb where none is named; those given beside the built-in ones come first."""
        return next((name for name, kind in self.kinds.items() if verb in kind.verbs), None)

    def named(self, name: str | None, verb: str) -> str:
        """The model that a request means.

        Raises:
            Refusal: there is none of that name, or it does not have the verb.
        """
        able = [one for one, kind in self.kinds.items() if verb in kind.verbs]
        if name is None:
            if not able:
                raise Refusal(422, f"no model of this server can {verb}. Start it with one that can: --model.")
            return able[0]
        if name not in self.kinds:
            raise Refusal(422, f"model must be one of {', '.join(self.kinds)}; got {name!r}. Choose one of them.")
        if name not in able:
            raise Refusal(422, f"model must be one that can {verb}: {', '.join(able) or 'none here'}; got {name}.")
        return name

    def pipeline(self, name: str) -> Any:
        """The pipeline of a model; the first call loads it.

        Raises:
            ArtifactError, ValueError, OSError: it cannot be loaded.
        """
        with self._locks[name]:
            if name not in self._open:
                self._open[name] = open_pipeline(self._sources[name], device=self.device)
            return self._open[name]

    def describe(self, name: str) -> dict[str, Any]:
        """What a model is and what may be set; loads it.

        Returns:
            JSON values: ``name``, ``kind``, ``about``, ``verbs``, ``fps``, ``frames`` (least and most), ``settings``
            (each with its default, ``None`` for one that the model does not have), ``parts`` of the body that an edit
            can name.
        """
        pipe, kind = self.pipeline(name), self.kinds[name]
        chosen = asdict(pipe.chosen({}) if hasattr(pipe, "chosen") else pipe.bundle.sampling)
        has = pipe.settings.get("generate", ())
        return {
            "name": name, "kind": kind.name, "about": _ABOUT[kind.name], "verbs": list(kind.verbs), "fps": pipe.fps,
            "frames": list(pipe.frame_range),
            "settings": {setting: chosen.get(setting) if setting in has else None for setting in SETTINGS},
            "parts": parts(pipe) if "edit" in kind.verbs and getattr(pipe, "makes_parts", True) else [],
        }  # fmt: skip


def parts(pipe: Any) -> list[str]:
    """Names of parts of the body that a pipeline's edits know, each part once."""
    from hftrainer.models.motion.mdm.editing import body_parts

    known = body_parts(pipe.bundle.representation)
    return [name for name in known if name not in ("upper", "lower")]
