"""Kinds of cases that are known and that nothing here can run yet: they are listed and counted, not run.

The issue that brings a family moves its rows from here into the family's own module.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.parity import json_keys, npz_keys, tensor_keys


@dataclass(frozen=True)
class Later:
    """A kind that has no runner yet.

    Attributes:
        name: what the line calls it.
        matches: as of ``Kind``, looking at the contents.
        rest: this row speaks for arrays that stand beside others which do run.
    """

    name: str
    matches: Callable[[Path], bool]
    rest: bool = False


def _npz(*keys: str) -> Callable[[Path], bool]:
    return lambda path: npz_keys(path) >= set(keys)


def _tensors(*keys: str) -> Callable[[Path], bool]:
    return lambda path: tensor_keys(path) >= set(keys)


def _json(*keys: str) -> Callable[[Path], bool]:
    return lambda path: json_keys(path) >= set(keys)


def _evaluator(weights: str, inputs: str) -> Callable[[Path], bool]:
    def matches(path: Path) -> bool:
        keys = tensor_keys(path)
        return inputs in keys or any(key.startswith(weights) for key in keys)

    return matches


def _physical(path: Path) -> bool:
    return path.suffix in (".npz", ".json") and {"rigid_slide", "hover_forward"} <= npz_keys(path) | json_keys(path)


CONTENT: tuple[Later, ...] = (
    Later("motion272 encode and decode", _npz("rep272", "smpl_85"), rest=True),
    Later("joints to motion135 by IK", _npz("feats263", "motion135_it0"), rest=True),
    Later("hml263 to motion272 bridge", _npz("feats263", "native_bridge272_chainfix"), rest=True),
    Later("dart276, babel135, hymotion201", _npz("dart276_raw")),
    Later("interhuman262", _npz("pair262")),
    Later("evaluator motion272", _evaluator("motionencoder.", "motion_loc")),
    Later("evaluator hml263", _evaluator("motion_encoder.gru", "motion_emb_aligned")),
    Later("evaluator motionclip", _evaluator("motion_model.", "logits_per_text")),
    Later("metrics", _npz("text", "real", "pred")),
    Later("metrics", _json("fid_raw")),
    Later("caption metrics", _json("predictions", "references")),
    Later("physical metrics", _physical),
)

#: Families whose files are known by the folder they lie in; the folder's name starts with the family's.
FAMILIES = ("mdm", "mogents")


def family_of(path: Path) -> list[str]:
    """The family that a file belongs to (one or none); ``path`` starts with the name of the folder given."""
    return [name for name in FAMILIES if any(part.lower().startswith(name) for part in path.parts[:-1])][:1]


def is_motiongpt(path: Path) -> bool:
    """One folder per case, with a ``case.json`` that says what it is."""
    return path.is_dir() and bool(json_keys(path / "case.json"))
