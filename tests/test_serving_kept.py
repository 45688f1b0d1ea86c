"""Motions in a folder: they outlast the server, are forgotten in their order, and nothing else there is touched."""

import numpy as np
import pytest
from starlette.testclient import TestClient

from hftrainer.motion import Motion
from hftrainer.serving.app import create_app
from hftrainer.serving.limits import Limits
from hftrainer.serving.models import Models
from hftrainer.serving.store import Store


class Clock:
    """Seconds that pass when a test says so."""

    now = 1_000_000.0

    def __call__(self):
        return self.now


def still(name="still", frames=4):
    return Motion(np.ones((frames, 22, 3)), "joints", 20, name=name, about={"prompt": "a person stands", "seed": 5})


def test_a_server_that_is_started_anew_knows_its_motions(tmp_path):
    sent = {}
    with TestClient(create_app(Models(), folder=tmp_path), base_url="http://127.0.0.1") as web:
        still().save(tmp_path.parent / "walk.npz")
        content = (tmp_path.parent / "walk.npz").read_bytes()
        sent = web.post("/api/motions", files={"file": ("walk.npz", content)}).json()
    with TestClient(create_app(Models(), folder=tmp_path), base_url="http://127.0.0.1") as web:
        assert web.get(f"/api/motions/{sent['id']}").json() == sent
        assert web.get(sent["player"]).status_code == 200
        assert web.get(sent["files"][".bvh"]).content.startswith(b"HIERARCHY")
    with TestClient(create_app(Models()), base_url="http://127.0.0.1") as web:  # without the folder it is gone
        answer = web.get(f"/api/motions/{sent['id']}")
        assert answer.status_code == 404 and "Send or make it again" in answer.json()["error"]["message"]


def test_a_motion_comes_back_to_the_bit_and_small_memory_loses_none(tmp_path):
    store = Store(Limits(megabytes=1), folder=tmp_path)
    motions = [still(f"clip {at}", 1500) for at in range(5)]  # 0.4 MB each
    ids = [store.add(motion).id for motion in motions]
    assert len(store) == 5 and len(store._kept) < 5
    for name, motion in zip(ids, motions, strict=True):
        got = store.get(name).motion
        assert np.array_equal(got.data, motion.data)
        assert (got.name, got.fps, got.about) == (motion.name, motion.fps, motion.about)


def test_the_longest_unused_are_deleted_and_strangers_are_left(tmp_path):
    clock = Clock()
    stranger = tmp_path / "mine.npz"
    stranger.write_bytes(b"somebody's")
    store = Store(Limits(motions=2, hours=1), clock, tmp_path)
    first, second = store.add(still()).id, store.add(still()).id
    clock.now += 60
    assert store.get(first) is not None
    third = store.add(still()).id
    assert store.get(second) is None and {file.stem for file in tmp_path.iterdir()} == {first, third, "mine"}
    clock.now += 3000
    again = Store(Limits(motions=2, hours=1), clock, tmp_path)
    assert len(again) == 2 and again.get(third) is not None
    clock.now += 700  # an hour after the first was used
    assert again.get(first) is None and again.get(third) is not None
    assert {file.name for file in tmp_path.iterdir()} == {f"{third}.npz", "mine.npz"}
    assert stranger.read_bytes() == b"somebody's"


@pytest.mark.parametrize("harm", [lambda file: file.unlink(), lambda file: file.write_bytes(b"broken")])
def test_a_file_that_was_taken_or_broken_is_a_motion_that_is_not_there(tmp_path, harm):
    name = Store(Limits(), folder=tmp_path).add(still()).id
    store = Store(Limits(), folder=tmp_path)
    harm(tmp_path / f"{name}.npz")
    assert store.get(name) is None and len(store) == 0
    assert store.get("../../secret") is None


def test_a_full_disk_is_said(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with TestClient(create_app(Models(), folder=tmp_path), base_url="http://127.0.0.1") as web:
        still().save(tmp_path.parent / "walk.npz")
        monkeypatch.setattr("hftrainer.serving.store.save", full)
        answer = web.post("/api/motions", files={"file": ("w.npz", (tmp_path.parent / "walk.npz").read_bytes())})
        assert answer.status_code == 500
        assert answer.json()["error"]["message"] == "the server could not do this: No space left on device."
