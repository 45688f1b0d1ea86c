"""What the project stands on is permissive and known; importing asks nobody; secrets are written nowhere."""

import json
import os
import socket
import subprocess
import sys

import pytest

from tests.conftest import ROOT, only_loopback

sys.path.insert(0, str(ROOT / "tools"))
import supply


def test_every_licence_is_known_and_permissive():
    licences = {name: supply.licence(name) for name in supply.everything()}
    assert {"numpy", "torch", "hypothesis", "safetensors"} <= set(licences) and len(licences) > 40
    assert supply.wrong(licences) == []


@pytest.mark.parametrize(
    "said", ["", "GPL-3.0-only", "AGPL", "MIT, non-commercial use only", "Custom", "CC-BY-NC-4.0", "BUSL-1.1"]
)
def test_other_licences_are_seen(said):
    assert supply.wrong({"package": said}) == [f"package: {said or 'says nothing'}"]


def test_the_page_lists_them():
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    for name in ("numpy", "torch", "tokenizers", "huggingface-hub", "pillow"):
        assert name in page.partition("<!-- licences -->")[2].partition("<!-- end -->")[0]


def test_the_list_of_parts_is_cyclonedx():
    parts = json.loads(json.dumps(supply.sbom()))
    assert (parts["bomFormat"], parts["specVersion"]) == ("CycloneDX", "1.5")
    assert all(part["purl"] == f"pkg:pypi/{part['name']}@{part['version']}" for part in parts["components"])
    assert {"torch", "numpy"} <= {part["name"] for part in parts["components"]}


def test_importing_asks_nobody():
    program = """
import sys
asked = []
sys.addaudithook(lambda event, args: asked.append((event, args)) if event in
                 ("socket.connect", "socket.getaddrinfo", "urllib.Request", "socket.sendto") else None)
from hftrainer.cli.entry import VERBS, make_parser
for verb in VERBS:
    make_parser(verb)
import hftrainer.motion.files, hftrainer.models.artifact, hftrainer.models.hub, hftrainer.pipelines.motiongpt
assert not asked, asked
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_tests_reach_this_computer_only():
    with pytest.raises(RuntimeError, match="tests must reach this computer only"):
        only_loopback("socket.connect", (None, ("192.0.2.1", 80)))
    with socket.socket() as one, pytest.raises(RuntimeError, match="this computer only"):
        one.connect(("192.0.2.1", 9))
    only_loopback("socket.connect", (None, ("127.0.0.1", 80)))


def test_a_token_is_in_no_message_and_no_file(tmp_path):
    secret = "hf_" + "s3cr3t" * 5
    environment = {**os.environ, "HF_TOKEN": secret, "HF_ENDPOINT": "http://127.0.0.1:9", "PYTHONPATH": str(ROOT)}
    environment["HF_HOME"] = str(tmp_path / "home")
    words = ["generate", "a walk", "--model", "someone/model", "-o", str(tmp_path / "a.npz"), "--traceback", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "hftrainer", *words], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 2 and "someone/model" in done.stderr
    assert secret not in done.stdout + done.stderr
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and secret.encode() in file.read_bytes()]
