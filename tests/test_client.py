"""A real server in another process, and the client that asks it: verbs, order, many at once, starting and stopping."""

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import numpy as np
import pytest

import hftrainer
from hftrainer.cli import main
from hftrainer.client import Client, ServerError
from hftrainer.motion import Motion
from hftrainer.pipelines.table import open_pipeline
from tests.conftest import ROOT

ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}


def start(*words):
    """``hftrainer serve`` on any free port; the process and its address."""
    command = [sys.executable, "-m", "hftrainer", "serve", "--port", "0", "--json", *words]
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    assert line, process.stderr.read()
    return process, json.loads(line)["url"]


@pytest.fixture(scope="module")
def url():
    process, address = start("--queue", "100")
    yield address
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 130 and "Traceback" not in process.stderr.read()


def test_verbs_of_the_client_give_motions(url, tmp_path):
    client = Client(url)
    assert [model["name"] for model in client.models()["models"]] == ["motiongpt-mini", "mdm-mini"]
    walk, again = client.generate(["a person walks forward", "a person walks forward"], frames=40, seed=2)
    want = open_pipeline()(["a person walks forward"], [40], seed=2)[0]
    assert isinstance(walk, Motion) and np.array_equal(walk.data, want.data) and np.array_equal(again.data, want.data)
    ((words,),) = client.caption(walk)
    assert len(words.split()) > 2
    longer = client.predict(walk, keep=1.0, frames=60)
    assert len(longer) == 60 and np.array_equal(longer.data[:40], walk.data)
    assert len(client.inbetween(walk, keep=[0.25, 0.25])) == 40
    assert len(client.inbetween(walk, longer, gap=1.0)) in (120, 121)
    changed = client.edit(walk, "a person waves", part="left_arm", steps=3, sampler="dpm")
    assert len(changed) == 40 and not np.array_equal(changed.data, walk.data)
    file = tmp_path / "walk.bvh"
    walk.save(file)
    said = client.upload(file)
    assert said["frames"] == 40 and len(client.motion(said["id"])) == 40
    assert len(hftrainer.load(client.download(said["id"], tmp_path / "back.npz"))) == 40


def test_a_motion_is_sent_once(url, monkeypatch):
    client, sent = Client(url), []
    plain = client.upload
    monkeypatch.setattr(client, "upload", lambda *given, **named: sent.append(1) or plain(*given, **named))
    (walk,) = client.generate("a person walks forward", frames=40)
    still = Motion(np.zeros((40, 263)), "hml263", 20)
    client.caption([walk, still])
    client.caption([still, walk])
    assert len(sent) == 1  # the server made the one, and was sent the other


def test_what_the_server_refuses_is_an_error_in_words(url):
    with pytest.raises(ServerError, match="must be English") as refused:
        Client(url).generate("идти")
    assert refused.value.status == 422
    with pytest.raises(ServerError, match="frames must be said") as failed:
        Client(url).predict(Motion(np.zeros((40, 263)), "hml263", 20), keep=1.0, model="mdm-mini")
    assert failed.value.status == 0  # the request was right and the work came to nothing
    with pytest.raises(ValueError, match="url must begin with http"):
        Client("127.0.0.1:8888")


def test_progress_is_said(url):
    said = []
    Client(url, say=lambda doing, share: said.append((doing, share))).generate(
        "a person runs", frames=196, model="mdm-mini"
    )
    assert any("step" in doing and 0 <= share < 1 for doing, share in said if share is not None)


def test_two_users_at_once_each_get_their_own(url):
    prompts = {"a": "a person walks backwards", "b": "a person jumps up"}
    got = {}

    def ask(user):
        got[user] = [motion for at in range(3) for motion in Client(url).generate(prompts[user], frames=40, seed=at)]

    threads = [threading.Thread(target=ask, args=(user,)) for user in prompts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(500)
    pipe = open_pipeline()
    for user, prompt in prompts.items():
        for at, motion in enumerate(got[user]):
            assert motion.about["prompt"] == prompt and motion.about["seed"] == at
            assert np.array_equal(motion.data, pipe([prompt], [40], seed=at)[0].data)


def test_a_full_queue_is_asked_again(monkeypatch):
    process, address = start("--queue", "1")
    try:
        client = Client(address, patience=0)
        client.models()  # loads the models
        slow = {"model": "mdm-mini", "frames": 196, "samples": 8}
        for at in range(2):
            client._json("POST", "/api/generate", {"prompt": "a person walks", "guidance": 2.0 + at, **slow})
            time.sleep(0.2)
        with pytest.raises(ServerError, match="Try again") as refused:
            client.generate("a person walks", model="mdm-mini")
        assert refused.value.status == 429 and refused.value.retry_after >= 1
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 130  # stopped in the middle of the work
        assert "Traceback" not in process.stderr.read()


def test_a_key_and_a_lonely_port(tmp_path):
    secret = tmp_path / "key"
    secret.write_text("a long enough key\n")
    process, address = start("--api-key", f"@{secret}")
    try:
        with pytest.raises(ServerError, match="key") as refused:
            Client(address).models()
        assert refused.value.status == 401
        assert Client(address, "a long enough key")._json("GET", "/api/formats")["data"]
        port = address.rstrip("/").rpartition(":")[2]
        command = [sys.executable, "-m", "hftrainer", "serve", "--quiet", "--port", port]
        second = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
        assert second.returncode == 2 and second.stdout == ""
        assert f"port {port} of 127.0.0.1 must be free" in second.stderr and len(second.stderr.splitlines()) == 1
    finally:
        process.terminate()
        assert process.wait(120) == 143


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--port", "70000"], "--port must be 0 to 65535"),
        (["--host", "no such host"], "--host must be an address"),
        (["--api-key", "short"], "at least 8"),
        (["--model", "no/such/folder", "--port", "0"], "no/such/folder"),
        (["--queue", "0"], "at least 1"),
    ],
)
def test_wrong_commands_are_refused(words, says, capsys):
    assert main(["serve", "--quiet", *words]) == 2
    said = capsys.readouterr()
    assert says in said.err and len(said.err.splitlines()) == 1 and said.out == ""


def test_a_missing_package_is_said_in_one_sentence(monkeypatch, capsys):
    real = importlib.util.find_spec
    absent = ("fastapi", "uvicorn")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name in absent else real(name, *a))
    assert main(["serve", "--port", "0"]) == 2
    said = capsys.readouterr().err
    assert said == "hftrainer: hftrainer serve needs fastapi and uvicorn. pip install 'hftrainer[serve]'.\n"


def test_the_server_starts_without_torch_and_answers():
    code = "import sys, hftrainer.cli.serve, hftrainer.serving.running; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, timeout=300).returncode == 0


def test_a_port_that_nobody_answers():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(OSError):
            Client(f"http://127.0.0.1:{taken.getsockname()[1]}").models()


def test_health_over_plain_http(url):
    with urllib.request.urlopen(url + "api/health") as answer:
        assert json.load(answer)["status"] == "ok" and "server" not in {name.lower() for name in answer.headers}
