"""GLB files in three.js, read by its own loader in a real browser: frame by frame the joints and the skin are ours."""

import base64
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from hftrainer.motion.body import free_body
from hftrainer.motion.clip import Motion
from hftrainer.motion.files import save
from hftrainer.motion.files.rig import positions, rigged
from hftrainer.motion.representation.convert import convert
from hftrainer.motion.skeleton import SMPL22
from hftrainer.rendering.speed import marching
from tests.browsing import Browser, absent
from tests.conftest import ROOT
from tests.moving import MM, lively, loosened
from tests.test_formats import bodies

#: From where pictures are taken: width and height, the camera, where it looks, and its upright angle in degrees.
VIEW = {"size": 480, "eye": [1.7, 1.7, 3.7], "middle": [0.0, 0.9, 0.0], "angle": 32}
SCRIPT = Path(__file__).with_name("three.mjs")


def bundled(folder: Path) -> Path:
    """A page with three.js, its loader and ``three.mjs``, and nothing of ours."""
    modules = ROOT / "player" / "node_modules"
    words = [modules / ".bin" / "esbuild", SCRIPT, "--bundle", "--format=iife", f"--outfile={folder / 'three.js'}"]
    subprocess.run(words, env={**os.environ, "NODE_PATH": str(modules)}, check=True, capture_output=True, timeout=120)
    page = folder / "three.html"
    page.write_text('<!doctype html><meta charset="utf-8"><title>three</title><body><script src="three.js"></script>')
    return page


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """A browser with that page open."""
    if reason := absent():
        pytest.skip(reason)
    one = Browser()
    one.tell("open", url=bundled(tmp_path_factory.mktemp("three")).as_uri(), width=480, height=480)
    yield one
    assert one.tell("log")["said"] == []
    one.close()


def opened(three, path: Path, fps: float) -> tuple[np.ndarray, float]:
    """Where three.js has the joints of a file ``(T, 22, 3)``, and seconds."""
    text = base64.b64encode(path.read_bytes()).decode()
    seen = three.ask(f"look({json.dumps(text)}, {fps}, {json.dumps(path.suffix[1:])})")
    order = [seen["names"].index(name) for name in SMPL22.joints]
    return np.array(seen["frames"])[:, order], seen["duration"]


@pytest.mark.parametrize("name", ["joints that stretch", "rotations", "features", "one that turns round"])
def test_three_js_sees_our_joints_in_every_frame(three, tmp_path, name):
    motion = {
        "joints that stretch": Motion(loosened(lively(12, 3, 1.0), 3), "joints", 20),
        "rotations": bodies(4, 2.0, 12), "features": convert(Motion(marching(25), "joints", 20), "hml263"),
        "one that turns round": Motion(marching(30, heading=3.0), "joints", 30),
    }[name]  # fmt: skip
    save(motion, tmp_path / "a.glb")
    joints, seconds = opened(three, tmp_path / "a.glb", motion.fps)
    assert len(joints) == len(motion)
    assert seconds == pytest.approx((len(motion) - 1) / motion.fps, abs=1e-5)
    assert np.abs(joints - positions(motion)).max() < MM
    rig, some = rigged(motion), [0, 700, 1500, 2600, 3900, 5000]
    ours = free_body().fitted(rig.rest).skinned(rig.world, rig.joints)[:, some]
    for frame in (0, len(motion) // 2, len(motion) - 1):
        assert np.abs(np.array(three.ask(f"skin({frame}, {some})")) - ours[frame]).max() < MM


def test_it_would_have_said_so(three, tmp_path):
    motion = Motion(marching(12), "joints", 20)
    save(motion, tmp_path / "a.glb")
    moved = opened(three, tmp_path / "a.glb", 20)[0] - positions(motion.replace(data=motion.data + np.float32(0.002)))
    assert np.abs(moved).max() > MM


def test_it_is_drawn(three, tmp_path):
    save(Motion(marching(12), "joints", 20), tmp_path / "a.glb")
    opened(three, tmp_path / "a.glb", 20)
    pictures = []
    for frame in (0, 6):
        three.ask(f"draw({frame}, {json.dumps(VIEW)})")
        pictures.append(three.picture(tmp_path / f"{frame}.png", "canvas"))
    assert all((picture.sum(axis=-1) < 450).mean() > 0.02 for picture in pictures)  # a body, not the empty room
    assert (np.abs(pictures[0] - pictures[1]).max(axis=-1) > 40).mean() > 0.005
