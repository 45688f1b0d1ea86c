"""Artifacts on a hub: fetched, taken up after a cut, refused with wrong hashes, found offline; pushed and read again.

Every case runs in an interpreter of its own, because the hub's library reads its environment when it is imported.
"""

import hashlib
import json
import os
import random
import subprocess
import sys

import pytest

from hftrainer.errors import ArtifactError
from hftrainer.models.evaluator import find_evaluator
from hftrainer.models.sums import SUMS, check_sums, problems, read_sums, write_sums
from hftrainer.models.tower_files import PUBLISHED
from tests import tiny
from tests.conftest import ROOT
from tests.hub_server import running_hub
from tests.test_drawn import small_evaluator

NAME = "someone/model"
FETCH = """
import sys
from hftrainer.errors import ArtifactError
from hftrainer.models.hub import fetch
try:
    folder = fetch("someone/model", revision=sys.argv[1] or None, local_files_only=sys.argv[2] == "local")
    print(*sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()))
except ArtifactError as error:
    print("refused:", error)
assert "torch" not in sys.modules
"""


@pytest.fixture
def hub():
    with running_hub() as hub:
        yield hub


@pytest.fixture
def python(hub, tmp_path):
    """Runs a script with this hub as its endpoint and a cache of its own; gives what it printed."""

    def run(script, *words, **settings):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
        environment |= {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT),
                        "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", **settings}  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", script, *words], env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


def test_what_is_fetched_is_kept_and_found_offline(hub, python):
    first = hub.commit(NAME, {"a.json": b"{}", "w.safetensors": b"weights"})
    assert python(FETCH, "", "") == "a.json w.safetensors"
    hub.commit(NAME, {"b.json": b"[]"})
    before = len(hub.downloads("w.safetensors"))
    assert python(FETCH, "", "") == "a.json b.json w.safetensors"
    assert len(hub.downloads("w.safetensors")) == before == 1, "a file that came whole must not be fetched twice"
    hub.asked.clear()
    assert python(FETCH, "", "", HF_HUB_OFFLINE="1") == "a.json b.json w.safetensors"
    assert python(FETCH, "", "local") == "a.json b.json w.safetensors"
    assert python(FETCH, first, "local") == "a.json w.safetensors"
    assert hub.asked == []


def test_revisions(hub, python):
    old = hub.commit(NAME, {"a.json": b"1"})
    hub.commit(NAME, {"b.json": b"2"})
    hub.commit(NAME, {"c.json": b"3"}, branch="next")
    assert python(FETCH, old, "") == "a.json"
    assert python(FETCH, "next", "") == "c.json"
    said = python(FETCH, "never", "")
    assert said.startswith("refused: the model must be a hub repository that can be reached") and "at never" in said


def test_a_cut_is_taken_up_where_it_broke(hub, python):
    """The library writes in blocks of 10 MiB; what was written before the cut is not asked for again."""
    data = random.Random(0).randbytes(21 << 20)
    hub.commit(NAME, {"w.safetensors": data})
    hub.cut["w.safetensors"] = 12 << 20
    assert python(FETCH, "", "") == "w.safetensors"
    assert hub.downloads("w.safetensors") == [None, f"bytes={10 << 20}-"] and not hub.cut


INTERRUPTED = """
import hftrainer.models.hub, huggingface_hub.file_download as library
def cut_short(url, file, **more):
    class Cut:
        def write(self, block):
            file.write(block)
            raise KeyboardInterrupt
        def __getattr__(self, name):
            return getattr(file, name)
    whole(url, Cut(), **more)
whole, library.http_get = library.http_get, cut_short
try:
    hftrainer.models.hub.fetch("someone/model")
except KeyboardInterrupt:
    print("interrupted")
"""


def test_half_a_download_is_taken_up_by_another_process(hub, python, tmp_path):
    data = random.Random(0).randbytes(21 << 20)
    hub.commit(NAME, {"w.safetensors": data, "a.json": b"{}"})
    assert python(INTERRUPTED) == "interrupted"
    (part,) = (tmp_path / "home").rglob("*.part")
    have = part.stat().st_size
    assert 0 < have < len(data) and data.startswith(part.read_bytes())
    assert python(FETCH, "", "") == "a.json w.safetensors"
    assert hub.downloads("w.safetensors") == [None, f"bytes={have}-"] and not list((tmp_path / "home").rglob("*.part"))
    assert python(FETCH, "", "", HF_HUB_OFFLINE="1") == "a.json w.safetensors"


@pytest.mark.parametrize("more", [0, 1])
def test_a_part_that_is_no_beginning_is_thrown_away(hub, python, tmp_path, more):
    """Other bytes, or too many of them: an earlier file of another name, a damaged disk."""
    data = random.Random(0).randbytes(9 << 20)
    hub.commit(NAME, {"w.safetensors": data})
    part = tmp_path / "home" / "hub" / "models--someone--model" / "blobs" / f"{hashlib.sha256(data).hexdigest()}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(bytes(len(data) + more) if more else bytes(5 << 20))
    if not more:
        assert "other bytes came for w.safetensors" in python(FETCH, "", "") and not part.exists()
    assert python(FETCH, "", "") == "w.safetensors"


TOWER = """
from hftrainer.errors import ArtifactError
from hftrainer.models.tower_files import PUBLISHED, fetch_tower
try:
    fetch_tower("clip")
except ArtifactError as error:
    print(error)
"""


def test_a_text_tower_comes_with_its_hashes(hub, python):
    hub.commit(PUBLISHED["clip"], {"config.json": b"{}", "model.safetensors": b"weights", "notes.txt": b"no"})
    hub.rotten.add("model.safetensors")
    assert "other bytes came for model.safetensors" in python(TOWER)
    hub.rotten.clear()
    assert "hashes" not in python(TOWER) and hub.downloads("notes.txt") == []


@pytest.mark.parametrize("name", ["w.safetensors", "model_index.json"])
def test_wrong_bytes_are_refused_and_not_kept(hub, python, name):
    hub.commit(NAME, {"w.safetensors": b"weights", "model_index.json": b"{}", "other.json": b"[]"})
    hub.rotten.add(name)
    said = python(FETCH, "", "")
    assert "refused: someone/model must come with the hashes that the hub says" in said
    assert f"other bytes came for {name}." in said
    hub.rotten.clear()
    assert python(FETCH, "", "") == "model_index.json other.json w.safetensors"
    assert len(hub.downloads(name)) == 2 and len(hub.downloads("other.json")) == 1


def test_a_manifest_that_does_not_fit_is_refused(hub, python):
    """The hub is consistent, yet the artifact is not as its maker wrote it."""
    hub.commit(NAME, {"w.safetensors": b"weights", SUMS: b"%s  w.safetensors\n" % (b"0" * 64)})
    said = python(FETCH, "", "")
    assert "must be as its SHA256SUMS says; w.safetensors has SHA-256" in said
    hub.commit(NAME, {SUMS: b"%s  gone.npy\n" % (b"0" * 64)})
    assert "gone.npy is absent" in python(FETCH, "", "")


def test_no_such_repository_and_no_network(hub, python):
    assert python(FETCH, "", "").startswith("refused: the model must be a hub repository that can be reached")
    assert "reached" in python(FETCH, "", "", HF_ENDPOINT="http://127.0.0.1:9")


PUSH = """
import sys
import numpy as np
from hftrainer.errors import ArtifactError
from hftrainer.models.motion.motiongpt.bundle import MotionGPTBundle
from hftrainer.pipelines.motiongpt import MotionGPTPipeline
pipe = MotionGPTPipeline.from_pretrained(sys.argv[1])
try:
    pipe.push_to_hub("someone/tiny")
except ConnectionError as error:
    assert "Log in with" in str(error), error
else:
    raise SystemExit("pushed without a token")
commit = pipe.push_to_hub("someone/tiny", token="hf_secret", message="First")
again = MotionGPTPipeline.from_pretrained("someone/tiny", bundle_kwargs={"revision": commit})
assert again.bundle.hash == pipe.bundle.hash, (again.bundle.hash, pipe.bundle.hash)
a, b = (p(["a person walks"], [40], seed=3)[0].data for p in (pipe, again))
assert np.array_equal(a, b)
with __import__("torch").no_grad():
    next(pipe.bundle.motion_tokenizer.parameters()).add_(1.0)
other = pipe.bundle.push_to_hub("someone/tiny", token="hf_secret", revision="next")
changed = MotionGPTBundle.from_pretrained("someone/tiny", revision="next")
assert changed.hash != again.bundle.hash and other != commit
try:
    pipe.push_to_hub("tiny")
except ValueError as error:
    assert "owner/name" in str(error)
print(commit)
"""


def test_what_is_in_memory_is_pushed_and_read_again(hub, python, tmp_path):
    tiny.bundle().save_pretrained(tmp_path / "tiny")
    hub.token = "hf_secret"
    commit = python(PUSH, str(tmp_path / "tiny"))
    files = hub.files("someone/tiny", commit)[1]
    assert {name for name in files if name != ".gitattributes"} == {
        path.name for path in (tmp_path / "tiny").iterdir()
    }
    assert json.loads(files["model_index.json"])["_class_name"] == "MotionGPTPipeline"
    assert ("someone/tiny", "First") in hub.messages and set(hub.repositories["someone/tiny"]["branches"]) == {
        "main", "next",
    }  # fmt: skip


JUDGE = """
import sys
from hftrainer.models.evaluator import find_evaluator, load_evaluator
made = load_evaluator(sys.argv[1])
commit = made.push_to_hub("someone/judge", token="hf_secret")
again = load_evaluator(find_evaluator("someone/judge"))
assert again.sha256 == made.sha256 and len(made.sha256) == 64 and type(again) is type(made)
print(commit)
"""


@pytest.mark.parametrize("kind", ["words", "text"])
def test_an_evaluator_is_pushed_and_found_by_its_name(hub, python, tmp_path, kind):
    hub.token = "hf_secret"
    if kind == "words":
        small_evaluator().save_pretrained(tmp_path / "judge")
    commit = python(JUDGE, str(tmp_path / "judge" if kind == "words" else find_evaluator()))
    assert {"evaluator.json", "evaluator.safetensors", SUMS} <= set(hub.files("someone/judge", commit)[1])


MISSING = """
from hftrainer.errors import ArtifactError
from hftrainer.models.motion.motiongpt.bundle import MotionGPTBundle
try:
    MotionGPTBundle.from_pretrained("someone/model")
except ArtifactError as error:
    print(error)
"""


def test_files_that_a_repository_lacks_are_listed(hub, python, tmp_path):
    tiny.bundle().save_pretrained(tmp_path / "tiny")
    gone = {"Std.npy", "tokenizer.json", SUMS}
    hub.commit(NAME, {p.name: p.read_bytes() for p in (tmp_path / "tiny").iterdir() if p.name not in gone})
    assert "absent: tokenizer.json, Std.npy" in python(MISSING)


def test_the_manifest_sees_every_change(tmp_path):
    (tmp_path / "deps").mkdir()
    for name in ("a.json", "deps/b.npy", "README.md", ".hidden"):
        (tmp_path / name).write_text(name)
    write_sums(tmp_path)
    assert list(read_sums(tmp_path)) == ["a.json", "deps/b.npy"] and not problems(tmp_path)
    (tmp_path / "README.md").write_text("another card")
    check_sums(tmp_path)
    (tmp_path / "a.json").write_text("other")
    (tmp_path / "deps" / "b.npy").unlink()
    with pytest.raises(ArtifactError, match="a.json has SHA-256 .*; deps/b.npy is absent"):
        check_sums(tmp_path)
    (tmp_path / SUMS).write_text(f"{'0' * 64}  ../a.json\n")
    with pytest.raises(ArtifactError, match="line 1, must be a SHA-256 and the name of a file in the folder"):
        check_sums(tmp_path)


def test_the_manifest_is_what_sha256sum_reads(tmp_path):
    tiny.bundle().save_pretrained(tmp_path / "tiny")
    done = subprocess.run(["sha256sum", "-c", SUMS], cwd=tmp_path / "tiny", capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.count(": OK") == len(read_sums(tmp_path / "tiny")) >= 6
