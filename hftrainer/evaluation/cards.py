"""Model cards: a page of ``docs/model_zoo`` for each model, kept as the README of its folders and repositories.

A card is front matter, a line that says where it comes from, and the page. Pages are the only place to write.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hftrainer.errors import ArtifactError
from hftrainer.models import hub as the_hub
from hftrainer.motion.files.atomic import written_whole

_FRONT_MATTER = re.compile(r"\A---\r?\n.*?^---\r?\n", re.S | re.M)
_TAGS = ("motion-generation", "text-to-motion", "humanml3d")


@dataclass(frozen=True)
class ModelZooCard:
    """What belongs to one page.

    Attributes:
        slug: the model's short name.
        doc_path: the page, from the root of the checkout.
        local_dirs: artifact folders, from the root of the checkout, that have the card as README.md.
        hub_repos: repositories that do; none where the artifact comes with the package alone.
        tags, license, pipeline_tag: front matter.
    """

    slug: str
    doc_path: str
    local_dirs: tuple[str, ...] = ()
    hub_repos: tuple[str, ...] = ()
    tags: tuple[str, ...] = _TAGS
    license: str = "other"
    pipeline_tag: str = "other"


CARDS = (
    ModelZooCard(
        "mdm", "docs/model_zoo/mdm.md", ("checkpoints/mdm/humanml_trans_enc_512",),
        ("ZeyuLing/hftrainer-mdm-humanml3d",), (*_TAGS, "mdm"),
    ),
    ModelZooCard(
        "mogents", "docs/model_zoo/mogents.md", ("checkpoints/mogents/humanml3d",),
        ("ZeyuLing/hftrainer-mogents-humanml3d",), (*_TAGS, "mogents"), "mit",
    ),
    ModelZooCard(
        "momask", "docs/model_zoo/momask.md", ("checkpoints/momask/humanml3d",),
        ("ZeyuLing/hftrainer-momask-humanml3d",), (*_TAGS, "momask"),
    ),
    ModelZooCard(
        "motiongpt", "docs/model_zoo/motiongpt.md", ("checkpoints/baselines/motiongpt",),
        ("ZeyuLing/hftrainer-motiongpt-humanml3d",), (*_TAGS, "motiongpt", "motion-language"),
    ),
    ModelZooCard(
        "evaluator", "docs/model_zoo/evaluator.md", ("hftrainer/artifacts/evaluator-mini",), (),
        ("motion-generation", "text-to-motion", "text-motion-retrieval", "evaluation"), "mit",
    ),
)  # fmt: skip


class Hub(Protocol):
    """What cards need of a hub; ``hftrainer.models.hub`` is one."""

    def read_card(self, repository: str) -> str:
        """The README of a repository; ``ArtifactError`` where it cannot be read."""

    def push_card(self, repository: str, text: str, message: str) -> None:
        """Replace it; ``ConnectionError`` where that fails."""


def choose(names: Sequence[str] = (), cards: Sequence[ModelZooCard] = CARDS) -> list[ModelZooCard]:
    """The cards of slugs or repositories; all of them when none is named.

    Raises:
        ValueError: a name that is neither.

    >>> [card.slug for card in choose(["ZeyuLing/hftrainer-mdm-humanml3d"])]
    ['mdm']
    """
    unknown = [name for name in names if not any(name in (card.slug, *card.hub_repos) for card in cards)]
    if unknown:
        known = ", ".join(card.slug for card in cards)
        raise ValueError(
            f"a card must be named by its slug ({known}) or its repository; got {', '.join(unknown)}. Check the name."
        )
    return [card for card in cards if not names or any(name in (card.slug, *card.hub_repos) for name in names)]


def render(card: ModelZooCard, page: str) -> str:
    """The README that a page becomes.

    >>> card = ModelZooCard("toy", "docs/model_zoo/toy.md", tags=("motion-generation", "toy"))
    >>> print(render(card, "# Toy\\n"), end="")
    ---
    library_name: hftrainer
    pipeline_tag: other
    tags:
    - motion-generation
    - toy
    license: other
    ---
    <BLANKLINE>
    <!-- This model card is synchronized from docs/model_zoo/toy.md by tools/sync_model_zoo_cards.py. -->
    <BLANKLINE>
    # Toy
    """
    body = _FRONT_MATTER.sub("", page, count=1).strip()
    front = ["---", "library_name: hftrainer", f"pipeline_tag: {card.pipeline_tag}", "tags:",
             *(f"- {tag}" for tag in card.tags), f"license: {card.license}", "---"]  # fmt: skip
    source = f"<!-- This model card is synchronized from {card.doc_path} by tools/sync_model_zoo_cards.py. -->"
    return "\n".join([*front, "", source, "", body, ""])


def read_page(card: ModelZooCard, root: Path) -> str | None:
    """What a card's README shall be; ``None`` where there is no page."""
    page = root / card.doc_path
    return render(card, page.read_text(encoding="utf-8")) if page.is_file() else None


def check(
    cards: Sequence[ModelZooCard], root: Path, remote: bool = False, hub: Hub = the_hub  # type: ignore[assignment]
) -> list[str]:  # fmt: skip
    """What is not in step.

    Args:
        cards: of ``choose``.
        root: of the checkout. An artifact folder that is not there is no problem: mirrors are optional.
        remote: compare with the hub's too.
        hub: whom to ask.
    """
    found = []
    for card in cards:
        wanted = read_page(card, root)
        if wanted is None:
            found.append(f"missing document: {card.doc_path}")
            continue
        for folder in card.local_dirs:
            readme = root / folder / "README.md"
            if readme.is_file():
                if readme.read_text(encoding="utf-8") != wanted:
                    found.append(f"stale local README: {folder}/README.md")
            elif readme.parent.is_dir():
                found.append(f"missing local README: {folder}/README.md")
        for repository in card.hub_repos if remote else ():
            try:
                have = hub.read_card(repository)
            except ArtifactError as error:
                found.append(f"cannot read remote README: {repository} ({error})")
                continue
            if have.rstrip() != wanted.rstrip():
                found.append(f"stale remote README: {repository}")
    return found


def write_local(cards: Sequence[ModelZooCard], root: Path) -> list[str]:
    """Write the README of every artifact folder that is there; the files that changed.

    Raises:
        FileNotFoundError: a card without a page.
    """
    changed = []
    for card, wanted in _pages(cards, root):
        for folder in card.local_dirs:
            readme = root / folder / "README.md"
            old = readme.read_text(encoding="utf-8") if readme.is_file() else None
            if readme.parent.is_dir() and old != wanted:
                with written_whole(readme) as beside:
                    beside.write_text(wanted, encoding="utf-8")
                changed.append(f"{folder}/README.md")
    return changed


def push(cards: Sequence[ModelZooCard], root: Path, hub: Hub = the_hub) -> list[str]:  # type: ignore[assignment]
    """Put every card on the hub; the repositories that have it now.

    Raises:
        FileNotFoundError: a card without a page; nothing is pushed then.
        ConnectionError: the hub refused, or cannot be reached.
    """
    pushed = []
    for card, wanted in _pages(cards, root):
        for repository in card.hub_repos:
            hub.push_card(repository, wanted, f"Sync hftrainer model card for {card.slug}")
            pushed.append(repository)
    return pushed


def _pages(cards: Sequence[ModelZooCard], root: Path) -> list[tuple[ModelZooCard, str]]:
    pages = [(card, read_page(card, root)) for card in cards]
    absent = [card.doc_path for card, page in pages if page is None]
    if absent:
        raise FileNotFoundError(f"every card must have its page; absent below {root}: {', '.join(absent)}.")
    return [(card, page) for card, page in pages if page is not None]
