"""Under which terms a model stands, link by link: code, weights, data, body, text tower.

What an artifact says of itself (``licences`` in its ``about``) comes first; of the authors' published models it is
known here; the rest is unknown, and unknown is not allowed. This is a reading of terms, not legal advice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PARTS = ("code", "weights", "data", "body", "text_tower")
#: Files of an artifact that describe it, most telling first.
_DESCRIPTIONS = ("mdm_config.json", "mogents_config.json", "momask_config.json", "evaluator.json", "model_index.json")
_FORBIDS = re.compile(r"non-?commercial|research|\bNC\b|no commercial", re.I)
_ALLOWS = re.compile(r"^(MIT|Apache-2\.0|BSD|CC0|SCOWL|ISC)\b|CC BY(-SA)? \d|free for all uses", re.I)
#: Acknowledgement -> source and terms, for artifacts that were written before they said their licences.
_THANKS = (
    ("Ohio State University", "accad", "CC BY 3.0 Unported (ACCAD, The Ohio State University)"),
    ("mocap.cs.cmu.edu", "cmu", "CMU mocap terms: free for all uses incl. commercial products; do not resell the data"),
    ("HumanML3D, MIT", "humanml3d sentences", "MIT"),
)
_MOTIONS = "AMASS and HumanAct12: non-commercial research only"
_KIT = "KIT Motion-Language Dataset: research, with citation; its motions from AMASS's KIT: non-commercial"
_TOWERS = {
    "clip": ("CLIP ViT-B/32", "MIT"),
    "distilbert": ("DistilBERT base uncased", "Apache-2.0"),
    "t5": ("FLAN-T5 base", "Apache-2.0"),
}


@dataclass(frozen=True)
class Link:
    """One link of the chain.

    Attributes:
        part: one of ``PARTS``.
        what: whose terms.
        terms: as they are called.
        commercial: whether they allow commercial use; ``None`` where that is not known.
    """

    part: str
    what: str
    terms: str
    commercial: bool | None


def allows(terms: str) -> bool | None:
    """Whether terms allow commercial use; ``None`` where they are not known here.

    >>> allows("MIT"), allows("CC BY-NC 4.0"), allows("ask the author")
    (True, False, None)
    """
    if _ALLOWS.search(terms) and not re.search(r"\bNC\b", terms):
        return True
    return False if _FORBIDS.search(terms) else None


def chain(folder: str | Path) -> list[Link]:
    """The chain of an artifact, in the order of ``PARTS``; every part has at least one link.

    Args:
        folder: ours, or the authors' in the layout of a published card.
    """
    folder = Path(folder)
    said = _description(folder)
    about = said.get("about") or {}
    told = about.get("licences") or {}
    links = [Link("code", "hftrainer", "MIT", True)]
    links += _told("weights", told) or [_weights(about)]
    links += _told("data", told) or _data(folder, said, about)
    links += _before(about)
    links.append(Link("body", "the free figure of hftrainer; nothing of SMPL is inside or needed", "MIT", True))
    return links + (_told("text_tower", told) or [_tower(folder, said)])


def dataset_chain(dataset: Mapping[str, Any]) -> list[Link]:
    """The chain of a dataset folder, from the ``licences`` of its ``dataset.json``."""
    told = {source: value.get("terms", []) for source, value in (dataset.get("licences") or {}).items()}
    return _told("data", {"data": told}) or [Link("data", "the recordings", "unknown", None)]


def verdict(links: Sequence[Link]) -> bool | None:
    """Whether all links allow commercial use: one that forbids decides, then one that is unknown."""
    values = [link.commercial for link in links]
    return False if False in values else None if None in values else True


def reasons(links: Sequence[Link]) -> str:
    """Why commercial use is not allowed, or not known to be; empty where it is."""
    wrong = [link for link in links if link.commercial is (False if verdict(links) is False else None)]
    return "; ".join(f"{link.part.replace('_', ' ')}, {link.what}: {link.terms}" for link in wrong)


def report(links: Sequence[Link]) -> dict[str, Any]:
    """A chain as JSON values: ``links``, ``commercial`` and ``reasons``."""
    return {"links": [asdict(link) for link in links], "commercial": verdict(links), "reasons": reasons(links)}


def lines(links: Sequence[Link]) -> list[str]:
    """A chain for reading, a line for each link, then what follows from them."""
    words = {True: "yes", False: "no", None: "not known"}
    text = [f"  {link.part.replace('_', ' '):<10} {link.what}: {link.terms} (commercial use: {words[link.commercial]})"
            for link in links]  # fmt: skip
    why = reasons(links)
    because = f", because of {why}" if why else ""
    return ["licences:", *text, f"  commercial use of all: {words[verdict(links)]}{because}"]


def _description(folder: Path) -> dict[str, Any]:
    for name in _DESCRIPTIONS:
        if (folder / name).is_file():
            try:
                value = json.loads((folder / name).read_text(encoding="utf-8"))
            except ValueError:
                value = None
            return {"file": name, **value} if isinstance(value, dict) else {"file": name}
    return {"file": ""}


def _told(part: str, told: Mapping[str, Any]) -> list[Link]:
    """Links of what an artifact says itself: source -> terms."""
    sources = told.get(part)
    if not isinstance(sources, Mapping):
        return []
    links = []
    for what, terms in sources.items():
        each = [terms] if isinstance(terms, str) else [str(term) for term in terms]
        values = [allows(term) for term in each] or [None]
        allowed = False if False in values else None if None in values else True
        links.append(Link(part, str(what), "; ".join(each) or "unknown", allowed))
    return links


def _made_here(about: Mapping[str, Any]) -> bool:
    """Whether a recipe of this project made the weights."""
    return bool(about.get("stages"))


def _before(about: Mapping[str, Any]) -> list[Link]:
    """A first recipe that began with the weights of another artifact: what those were made of counts as well."""
    stages = about.get("stages")
    recipe = stages[0].get("recipe") if isinstance(stages, list) and stages and isinstance(stages[0], dict) else None
    start = recipe.get("start") if isinstance(recipe, dict) else None
    return [Link("data", f"what {Path(str(start)).name} was made of", "unknown; ask of it", None)] if start else []


def _weights(about: Mapping[str, Any]) -> Link:
    if _made_here(about):
        name = str(about.get("name", "trained here"))
        terms = "MIT, like the library" if name.endswith("-mini") else "MIT or what its trainer chooses"
        return Link("weights", name, terms, True)
    if about and not {"source", "weights"} & set(about):
        return Link("weights", str(about.get("name", "the weights")), "unknown", None)
    return Link("weights", "the authors' release", "none of their own; the code they came with says MIT", None)


def _data(folder: Path, said: Mapping[str, Any], about: Mapping[str, Any]) -> list[Link]:
    thanks = " ".join(map(str, about.get("acknowledgements", [])))
    found = [Link("data", source, terms, allows(terms)) for mark, source, terms in _THANKS if mark in thanks]
    if found:
        return found
    if _made_here(about):
        dataset = about.get("dataset")
        name = str(dataset.get("name") if isinstance(dataset, Mapping) else "the training data")
        return [Link("data", name, "unknown; its dataset.json says", None)]
    if about and not {"source", "weights"} & set(about):  # an import says where it comes from
        return [Link("data", str(about.get("name", "the training data")), "unknown", None)]
    config = said.get("config")
    dataset = str(config.get("dataset", "")) if isinstance(config, dict) else ""
    if "kit" in dataset or said.get("representation") == "kit251":
        return [Link("data", "KIT-ML", _KIT, False)]
    known = said["file"] != "" and (folder / said["file"]).is_file() or (folder / "motiongpt_s3_h3d.tar").is_file()
    if known:
        return [
            Link("data", "HumanML3D, its sentences", "MIT", True),
            Link("data", "HumanML3D, its motions", _MOTIONS, False),
        ]
    return [Link("data", "the training data", "unknown", None)]


def _tower(folder: Path, said: Mapping[str, Any]) -> Link:
    config = said.get("config")
    options = config if isinstance(config, dict) else {}
    if said["file"] == "mdm_config.json":
        network = said.get("network") if isinstance(said.get("network"), dict) else {}
        name = (network or {}).get("text_encoder") or ("distilbert" if options.get("text_encoder_type") == "bert"
                                                        else options.get("text_encoder_type") or "clip")  # fmt: skip
    elif said["file"] in ("mogents_config.json", "momask_config.json"):
        name = said.get("text_encoder", "clip")
    elif (folder / "deps").is_dir() or said.get("text") == "pieces":
        name = "t5"
    else:
        name = "words"
    if name in _TOWERS:
        what, terms = _TOWERS[str(name)]
        return Link("text_tower", what, terms, allows(terms))
    about = said.get("about") or {}
    if str(about.get("name", "")).endswith("-mini"):
        return Link("text_tower", "words of all-MiniLM-L6-v2", "Apache-2.0", True)
    return Link("text_tower", f"{name}, as given to training", "unknown", None)
