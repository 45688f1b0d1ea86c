"""FBX through Blender: what it writes has our joints when it reads it back; what is said where there is none."""

import subprocess
import sys

import numpy as np
import pytest

from hftrainer.motion.clip import Motion
from hftrainer.motion.files import fbx, load, save
from hftrainer.motion.files.names import SKELETON_NAMES
from hftrainer.rendering.speed import marching
from tests.moving import MM, lively, loosened


@pytest.fixture(scope="session")
def blender() -> str:
    """Blender, where this machine has one."""
    try:
        return fbx.find_blender()[-1]
    except FileNotFoundError as error:
        pytest.skip(f"no Blender here: {error}")


@pytest.mark.parametrize(("names", "fps"), [("smpl", 20), ("mixamo", 30), ("vrm", 29.97)])
def test_blender_reads_back_what_it_wrote(tmp_path, blender, names, fps):
    joints = loosened(lively(9, 2, 1.0), 1) if names == "smpl" else marching(9, heading=2.0)
    motion = Motion(joints, "joints", fps)
    save(motion, tmp_path / "a.fbx", names=names, blender=blender)
    back = load(tmp_path / "a.fbx", blender=blender, up="z")
    assert back.about["skeleton"] == names and names in SKELETON_NAMES and back.about["unit"] == "m"
    assert len(back) == 9 and back.fps == pytest.approx(fps, rel=1e-3)
    assert np.abs(back.data - motion.data).max() < MM
    if names == "mixamo":
        assert load(tmp_path / "a.fbx", blender=blender).about["up"] == "z"  # told by the body


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
