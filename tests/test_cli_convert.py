"""``hftrainer convert``: formats for other programs, foreign skeletons and their mappings, folders, refusals."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from hftrainer.motion.clip import Motion
from hftrainer.motion.files import load, save
from hftrainer.motion.representation.convert import convert
from hftrainer.rendering.speed import marching
from tests.conftest import ROOT
from tests.moving import MM, Glb
from tests.test_markers import c3d
from tests.test_matching import STYLES, renamed

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def run(*words, cwd):
    command = [sys.executable, "-m", "hftrainer", "convert", *map(str, words)]
    return subprocess.run(command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)


def test_to_other_programs_and_back(tmp_path):
    motion = Motion(marching(20), "joints", 20)
    save(motion, tmp_path / "walk.npz")
    for name, flags in (
        ("walk.glb", ["--names", "vrm", "--resample", 60]), ("walk.usda", ["--in-place"]), ("walk.csv", []),
        ("walk.bvh", ["--up", "z", "--names", "unreal"]), ("amass.npz", ["--layout", "amass"]),
    ):  # fmt: skip
        done = run("walk.npz", name, *flags, cwd=tmp_path)
        assert done.returncode == 0 and done.stdout == f"{name}\n", done.stderr
    glb = Glb(tmp_path / "walk.glb")
    assert len(glb.times) == 58 and np.abs(glb.joints()[::3] - motion.data).max() < MM  # by slerp
    assert load(tmp_path / "walk.bvh").about["skeleton"] == "unreal"
    assert np.abs(load(tmp_path / "walk.csv").data - motion.data).max() < MM
    done = run("amass.npz", "again.npz", "--to", "joints", "--from-up", "z", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert np.abs(load(tmp_path / "again.npz").data - convert(convert(motion, "motion135"), "joints").data).max() < 1e-5


def test_a_foreign_skeleton_is_shown_and_its_mapping_kept(tmp_path):
    motion = Motion(marching(6), "joints", 30)
    save(motion, tmp_path / "a.bvh")
    (tmp_path / "b.bvh").write_text(renamed((tmp_path / "a.bvh").read_text(), STYLES["rokoko"]))
    done = run("b.bvh", "b.npz", "--save-mapping", "m.json", cwd=tmp_path)
    assert done.returncode == 0 and "left_knee       LeftShin" in done.stdout and done.stdout.endswith("b.npz\n")
    values = json.loads((tmp_path / "m.json").read_text())
    values["head"] = "Neck"
    (tmp_path / "m.json").write_text(json.dumps(values))
    done = run("b.bvh", "c.npz", "--mapping", "m.json", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["mapping"]["head"] == "Neck", done.stderr
    assert np.abs(load(tmp_path / "c.npz").data[:, 15] - motion.data[:, 12]).max() < MM
    done = run("a.bvh", "a.npz", "--save-mapping", "known.json", cwd=tmp_path)
    assert done.returncode == 0 and done.stdout == "a.npz\n"
    assert json.loads((tmp_path / "known.json").read_text())["pelvis"] == "pelvis"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_folder_of_many_formats(tmp_path, workers):
    motion = Motion(marching(6), "joints", 50)
    (tmp_path / "in").mkdir()
    save(motion, tmp_path / "in" / "a.bvh", up="z")
    save(motion, tmp_path / "in" / "b.csv")
    (tmp_path / "in" / "c.c3d").write_bytes(c3d(motion.data * 1000, STYLES["centres"], 50, "mm"))
    (tmp_path / "in" / "d.trc").write_text("nothing")
    words = ["in", "out", "--format", "glb", "--workers", workers, "--from-unit", "mm", "--skip-existing"]
    done = run(*words, "--json", cwd=tmp_path)
    report = json.loads(done.stdout)
    assert done.returncode == 1 and list(report["failed"]) == ["in/d.trc"], done.stderr
    assert sorted(report["converted"]) == ["out/a.glb", "out/b.glb", "out/c.glb"]
    assert np.abs(Glb(tmp_path / "out" / "c.glb").joints() - motion.data).max() < MM
    (tmp_path / "out" / "b.glb").unlink()  # as if it had been stopped before
    before = (tmp_path / "out" / "a.glb").stat().st_mtime_ns
    report = json.loads(run(*words, "--json", cwd=tmp_path).stdout)
    assert report["converted"] == ["out/b.glb"] and len(report["skipped"]) == 2
    assert (tmp_path / "out" / "a.glb").stat().st_mtime_ns == before


def test_wrong_requests(tmp_path):
    save(Motion(marching(3), "joints", 20), tmp_path / "a.npz")
    save(Motion(marching(3), "joints", 20), tmp_path / "a.bvh")
    (tmp_path / "m.json").write_text("{}")
    (tmp_path / "in").mkdir()
    save(Motion(marching(3), "joints", 20), tmp_path / "in" / "a.npz")
    for words, said in (
        (["a.npz", "b.csv", "--names", "vrm"], "--names must be left out for .csv"),
        (["a.npz", "b.glb", "--unit", "m"], "only .bvh have it"),
        (["a.npz", "b.bvh", "--layout", "amass"], "--layout must be left out for .bvh"),
        (["a.npz", "b.bvh", "--mapping", "m.json"], "--mapping must be left out here"),
        (["a.bvh", "b.npz", "--mapping", "m.json"], "must give all 22 joints"),
        (["a.bvh", "b.npz", "--mapping", "none.json"], "must be a mapping file"),
        (["a.bvh", "b.npz", "--from-up", "q"], "up must be one of"),
        (["a.npz", "b.npz", "--save-mapping", "k.json"], "--save-mapping must be left out here"),
        (["in", "out", "--save-mapping", "k.json"], "must be left out for a folder"),
        (["a.npz", "b.fbx", "--blender", "/nowhere/blender"], "blender must be a program"),
        (["a.npz", "b.bvh", "--up", "x"], "up must be one of y, z"),
        (["a.npz", "b.npz", "--layout", "smpl"], "layout must be one of"),
    ):
        done = run(*words, cwd=tmp_path)
        assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr, (words, done.stderr)
        assert not list(tmp_path.glob("b.*")) and not (tmp_path / "out").exists()
