"""FBX through Blender: what it writes has our joints when it reads it back; what is said where there is none."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hftrainer.motion.clip import Motion
from hftrainer.motion.files import load, save
from hftrainer.motion.files.names import PRESETS
from hftrainer.rendering.speed import marching
from tests.blending import blender
from tests.moving import MM, lively, loosened


@settings(max_examples=4)
@given(
    st.integers(0, 10_000), st.floats(0, 2 * np.pi), st.booleans(), st.sampled_from(list(PRESETS)),
    st.sampled_from([20, 29.97, 30, 120]),
)  # fmt: skip
def test_any_motion_comes_back(tmp_path_factory, seed, heading, loose, names, fps):
    program, path = blender(), tmp_path_factory.mktemp("fbx") / "a.fbx"
    joints = lively(6, seed, heading)
    motion = Motion(loosened(joints, seed) if loose else joints, "joints", fps)
    save(motion, path, names=names, blender=program)
    back = load(path, blender=program, up="z")  # a body that tumbles does not tell what is up
    assert back.about["skeleton"] == names and back.about["unit"] == "m"
    assert len(back) == 6 and back.fps == pytest.approx(fps, rel=1e-3)
    assert np.abs(back.data - motion.data).max() < MM


def test_the_axis_is_told_by_the_body(tmp_path):
    motion = Motion(marching(9, heading=2.0), "joints", 30)
    save(motion, tmp_path / "a.fbx", names="mixamo", blender=blender())
    back = load(tmp_path / "a.fbx", blender=blender())
    assert back.about["up"] == "z" and np.abs(back.data - motion.data).max() < MM


def test_without_blender(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    motion = Motion(marching(3), "joints", 20)
    with pytest.raises(FileNotFoundError, match=r"hftrainer\[fbx\]"):
        save(motion, tmp_path / "a.fbx")
    (tmp_path / "b.fbx").write_bytes(b"Kaydara FBX Binary")
    with pytest.raises(FileNotFoundError, match="neither the package bpy nor a blender"):
        load(tmp_path / "b.fbx")
    assert not (tmp_path / "a.fbx").exists()


def test_a_blender_that_fails(tmp_path):
    """Any program that is no Blender: its last words are told, and no file is left behind."""
    with pytest.raises(OSError, match=r"a\.fbx: Blender must write the file; .*No module named 'bpy'"):
        save(Motion(marching(3), "joints", 20), tmp_path / "a.fbx", blender=_without_bpy())
    assert not list(tmp_path.iterdir())


def _without_bpy() -> str:
    if subprocess.run([sys.executable, "-c", "import bpy"], capture_output=True).returncode == 0:
        pytest.skip("this Python has bpy")
    return sys.executable
