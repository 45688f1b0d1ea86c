"""Cards: what is rendered, what is called old or missing, what is written and pushed, with which exit status."""

import json
import os
import subprocess
import sys

import pytest

from hftrainer.cli import main
from hftrainer.errors import ArtifactError
from hftrainer.evaluation import cards
from tests.conftest import ROOT
from tests.hub_server import running_hub

REPO = "ZeyuLing/hftrainer-mogents-humanml3d"


class Shelf:
    """A hub in memory."""

    def __init__(self, **texts):
        self.texts, self.messages = texts, []

    def read_card(self, repository):
        if repository not in self.texts:
            raise ArtifactError("no such card")
        return self.texts[repository]

    def push_card(self, repository, text, message):
        self.texts[repository] = text
        self.messages.append((repository, message))


@pytest.fixture
def root(tmp_path):
    """A checkout with a page for each card, and one artifact folder."""
    for card in cards.CARDS:
        page = tmp_path / card.doc_path
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(f"---\ntitle: {card.slug}\n---\n\n# {card.slug}\n\ntext --- text\n\n---\n\nmore\n")
    (tmp_path / "checkpoints" / "mogents" / "humanml3d").mkdir(parents=True)
    return tmp_path


def test_the_front_matter_is_that_of_the_published_card(shared):
    text = (shared / "mission" / "hftrainer-card-motiongpt.txt").read_text()
    wanted = [line.strip(" |") for line in text.splitlines()]
    (card,) = cards.choose(["motiongpt"])
    rendered = cards.render(card, "# MotionGPT").splitlines()
    comment = next(line for line in rendered if line.startswith("<!--"))
    assert rendered[:11] == wanted[:11] and comment in wanted
    assert rendered[10:14] == ["---", "", comment, ""] and rendered[14] == "# MotionGPT"


def test_rendering_strips_the_pages_own_front_matter_alone(root):
    (card,) = cards.choose(["mogents"])
    text = cards.read_page(card, root)
    assert text.startswith("---\nlibrary_name: hftrainer\npipeline_tag: other\ntags:\n- motion-generation\n")
    assert "license: mit\n---\n" in text and "title: mogents" not in text
    assert text.endswith("# mogents\n\ntext --- text\n\n---\n\nmore\n")
    assert cards.render(card, "# A\n\n---\nb\n---\n").endswith("\n# A\n\n---\nb\n---\n")


def test_local_cards(root, capsys):
    words = ["cards", "--root", str(root), "--quiet"]
    assert main(words) == 1
    assert capsys.readouterr().out.splitlines() == ["missing local README: checkpoints/mogents/humanml3d/README.md"]
    assert main([*words, "--write-local"]) == 0 and "written: checkpoints/mogents" in capsys.readouterr().out
    assert main([*words, "--check"]) == 0
    readme = root / "checkpoints" / "mogents" / "humanml3d" / "README.md"
    assert readme.read_text() == cards.read_page(cards.choose(["mogents"])[0], root)
    readme.write_text(readme.read_text() + "typed by hand\n")
    capsys.readouterr()
    assert main(words) == 1 and capsys.readouterr().out.startswith("stale local README: checkpoints/mogents")
    assert main([*words, "--only", "mdm"]) == 0
    assert main([*words, "--only", "mdm", "--only", REPO]) == 1
    assert main([*words, "--write-local", "--check"]) == 0 and main([*words, "--write-local"]) == 0
    assert not (root / "checkpoints" / "mdm").exists(), "mirrors are optional"
    (root / "docs" / "model_zoo" / "momask.md").unlink()
    capsys.readouterr()
    assert main(words) == 1 and "missing document: docs/model_zoo/momask.md" in capsys.readouterr().out
    assert main([*words, "--push"]) == 2 and "absent below" in capsys.readouterr().err


def test_remote_cards(root):
    chosen = cards.choose(["mogents", "mdm"])
    (root / "checkpoints" / "mogents" / "humanml3d" / "README.md").write_text(cards.read_page(chosen[1], root))
    shelf = Shelf(**{REPO: "old"})
    assert cards.check(chosen, root, True, shelf) == [
        "cannot read remote README: ZeyuLing/hftrainer-mdm-humanml3d (no such card)", f"stale remote README: {REPO}",
    ]  # fmt: skip
    assert cards.check(chosen, root, False, shelf) == []
    assert len(cards.push(chosen, root, shelf)) == 2
    assert (REPO, "Sync hftrainer model card for mogents") in shelf.messages
    assert cards.check(chosen, root, True, shelf) == []


def test_wrong_requests(root, tmp_path, capsys):
    assert main(["cards", "--root", str(root), "--only", "mgd", "--quiet"]) == 2
    said = capsys.readouterr().err
    assert "by its slug (mdm, mogents, momask, motiongpt, evaluator) or its repository; got mgd" in said
    assert main(["cards", "--root", str(tmp_path / "none"), "--quiet"]) == 2
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "sync_model_zoo_cards.py", "--only", "mgd"], capture_output=True, text=True
    )
    assert done.returncode == 2 and "got mgd" in done.stderr


def test_the_verb_speaks_with_a_hub(root, tmp_path):
    with running_hub() as hub:
        hub.token = "hf_secret"
        hub.commit(REPO, {"README.md": b"old", "vq.safetensors": b"weights"})
        environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
        environment |= {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT),
                        "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}  # fmt: skip

        def run(*words, **more):
            done = subprocess.run(
                [sys.executable, "-m", "hftrainer", "cards", "--root", root, "--only", REPO, "--quiet", "--json",
                 *words], env=environment | more, capture_output=True, text=True, timeout=120,
            )  # fmt: skip
            return done.returncode, json.loads(done.stdout)

        assert run("--write-local")[0] == 0
        assert run("--remote") == (1, {"cards": ["mogents"], "written": [], "pushed": [],
                                       "problems": [f"stale remote README: {REPO}"]})  # fmt: skip
        code, said = run("--push")
        assert code == 1 and "must take the card" in said["error"]
        assert run("--push", HF_TOKEN="hf_secret")[0] == 0
        assert run("--remote")[0] == 0
        assert hub.messages == [(REPO, "Sync hftrainer model card for mogents")]
        assert set(hub.files(REPO, "main")[1]) == {"README.md", "vq.safetensors"}


def test_every_card_of_the_project_has_its_page():
    """A page that is there renders; the ones of this checkout that are absent are told by the verb."""
    pages = [page for card in cards.CARDS if (page := cards.read_page(card, ROOT))]
    assert len(pages) == len(cards.CARDS)
    assert all(page.count("synchronized from docs/model_zoo/") == 1 for page in pages)


def test_the_built_in_evaluator_has_its_page_as_its_card():
    chosen = cards.choose(["evaluator"])
    assert cards.check(chosen, ROOT) == [], "run: hftrainer cards --only evaluator --write-local"
    text = (ROOT / chosen[0].local_dirs[0] / "README.md").read_text()
    assert "license: mit" in text and "| text to motion, of 32 | 0." in text
    assert "| distance of right pairs | 0." in text
