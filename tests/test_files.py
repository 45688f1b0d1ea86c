"""Motion files: what comes back, what is refused, and that a file appears whole or not at all."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hftrainer.motion.clip import Motion
from hftrainer.motion.files import READ, WRITE, load, save
from hftrainer.motion.files.atomic import written_whole
from hftrainer.motion.representation.convert import convert
from hftrainer.motion.representation.specs import list_specs
from hftrainer.motion.skeleton import SMPL22
from hftrainer.rendering.speed import marching
from tests.moving import lively

FEATURES = np.random.default_rng(0).normal(size=(12, 263)).astype(np.float32)


def test_npz_keeps_everything(tmp_path):
    about = {"prompt": "一个人 walks — ü", "seed": np.int64(3), "settings": {"temperature": 0.5, "steps": [1, 2]}}
    motion = Motion(FEATURES, "hml263", 20, route=("joints",), about=about, name="walk-1")
    motion.save(tmp_path / "a.npz")
    back = load(tmp_path / "a.npz")
    assert np.array_equal(back.data, motion.data) and back.data.dtype == np.float32
    assert (back.representation, back.fps, back.route, back.name) == (motion.representation, 20, ("joints",), "walk-1")
    assert back.about == {"prompt": "一个人 walks — ü", "seed": 3, "settings": {"temperature": 0.5, "steps": [1, 2]}}
    motion.save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    for kind, data in (("joints", marching(3)), ("kit251", np.zeros((3, 251))), ("joints_kit", np.zeros((3, 21, 3)))):
        save(Motion(data, kind, 12.5), tmp_path / "c.npz")
        assert load(tmp_path / "c.npz").representation.name == kind
    assert load(tmp_path / "a.npz", "hml263", 20).seconds == 0.6  # as expected


def test_npz_refusals(tmp_path):
    path = tmp_path / "a.npz"
    with pytest.raises(ValueError, match="about must hold JSON"):
        save(Motion(FEATURES, "hml263", 20, about={"model": object()}), path)
    assert not list(tmp_path.iterdir())
    save(Motion(FEATURES, "hml263", 20), path)
    with pytest.raises(ValueError, match="must hold joints; it holds hml263"):
        load(path, "joints")
    with pytest.raises(ValueError, match="must have 30 fps; it has 20"):
        load(path, fps=30)
    with pytest.raises(KeyError, match="did you mean 'hml263'"):
        load(path, "humanml3d")
    np.savez(tmp_path / "bare.npz", motion=FEATURES)
    with pytest.raises(ValueError, match="representation, fps.*absent, found are motion"):
        load(tmp_path / "bare.npz")
    whole = path.read_bytes()
    for size in (0, 10, len(whole) // 2):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"a\.npz: the file must be a whole npz"):
            load(path)


@settings(max_examples=20)
@given(st.sampled_from([spec for spec in list_specs() if not spec.endswith(("kit", "251"))]), st.integers(0, 10_000),
       st.floats(0, 2 * np.pi))  # fmt: skip
def test_any_motion_comes_back_to_the_bit(tmp_path_factory, name, seed, heading):
    """Every representation of the body through .npz, and through .npy with its name, also as a batch of one."""
    folder = tmp_path_factory.mktemp("bits")
    fps = 20 if name in ("hml263", "dart276") else 30
    motion = convert(Motion(lively(9, seed, heading), "joints", fps, about={"seed": seed}), name)
    save(motion, folder / "a.npz")
    save(motion, folder / "a.npy")
    for back in (load(folder / "a.npz"), load(folder / "a.npy", name, motion.fps)):
        assert np.array_equal(back.data, motion.data) and back.data.dtype == np.float32
        assert (back.representation, back.fps) == (motion.representation, motion.fps)
    assert load(folder / "a.npz").route == motion.route and load(folder / "a.npz").about == {"seed": seed}
    if name == "joints":
        np.save(folder / "b.npy", motion.data[None])
        assert np.array_equal(load(folder / "b.npy", fps=fps).data, motion.data)


@pytest.mark.parametrize(
    ("shape", "name"),
    [((9, 263), "hml263"), ((9, 22, 3), "joints"), ((9, 66), "joints"), ((9, 251), "kit251"), ((9, 63), "joints_kit")],
)
def test_npy_is_told_by_its_shape(tmp_path, shape, name):
    np.save(tmp_path / "a.npy", np.zeros(shape))
    motion = load(tmp_path / "a.npy")
    assert motion.representation.name == name and motion.fps == motion.representation.fps and len(motion) == 9
    assert load(tmp_path / "a.npy", name, 30).fps == 30
    save(motion, tmp_path / "b.npy")
    assert np.load(tmp_path / "b.npy").shape == motion.data.shape


def test_npy_refusals(tmp_path, monkeypatch):
    def refused(array, words, **asked):
        np.save(tmp_path / "a.npy", array)
        with pytest.raises(ValueError, match=words):
            load(tmp_path / "a.npy", **asked)

    refused(np.zeros((9, 136)), r"must have a shape of .*\(T, 263\) hml263.*got \(9, 136\)")
    refused(np.zeros((9, 135)), "a width of 135 is shared by motion135, babel135; it must be said which")
    refused(np.zeros((9, 263)), r"joints must have shape \(T, 22, 3\); got \(9, 263\)", representation="joints")
    refused(np.zeros((0, 263)), "at least 1 frame")
    refused(np.full((2, 263), np.nan), "finite.*frame 0")
    refused(np.zeros((2, 263)), "fps must be above 0", fps=-1)
    refused(np.array([{}]), "one array of numbers")
    refused(np.array(["a"]), "real numbers")
    (tmp_path / "a.npy").write_bytes(b"")
    with pytest.raises(ValueError, match="one array of numbers"):
        load(tmp_path / "a.npy")

    from hftrainer.motion.representation import specs

    twin = specs.Representation("twin", (263,), 30.0, "smpl22", (specs.Channel("all", 0, 263, "m", "world"),))
    monkeypatch.setitem(specs.REPRESENTATIONS, "twin", twin)
    refused(np.zeros((2, 263)), "shared by hml263, twin.*Name the representation")
    np.save(tmp_path / "a.npy", np.zeros((2, 263)))
    assert load(tmp_path / "a.npy", "twin").fps == 30


def test_endings(tmp_path):
    motion = Motion(FEATURES, "hml263", 20)
    with pytest.raises(ValueError, match=r"must end in \.npz .*, \.npy .*, \.bvh .*; got 'a\.avi'"):
        save(motion, tmp_path / "a.avi")
    with pytest.raises(ValueError, match=r"must end in .*\.amc .*got 'a'"):
        load(tmp_path / "a")
    with pytest.raises(ValueError, match="skeleton without movement"):
        load(tmp_path / "02.asf")
    with pytest.raises(FileNotFoundError, match="there is none"):
        load(tmp_path / "a.npz")
    with pytest.raises(TypeError, match="takes no options; got unit"):
        save(motion, tmp_path / "a.npy", unit="m")
    save(motion, tmp_path / "a.npz")
    with pytest.raises(ValueError, match="unit must be left out"):
        load(tmp_path / "a.npz", unit="m")
    save(motion, tmp_path / "A.NPZ")
    assert len(load(tmp_path / "A.NPZ")) == 12
    assert set(READ) - set(WRITE) == {".amc", ".c3d", ".trc"} and set(WRITE) - set(READ) == {".glb", ".usda"}


ASF = """:version 1.10
:units
  mass 1.0
  length 0.45
  angle deg
:root
  order TX TY TZ RX RY RZ
  axis XYZ
  position 0 0 0
  orientation 0 0 0
:bonedata
{bones}:hierarchy
  begin
{tree}  end
"""
CHAIN = {
    "root": ["lhipjoint", "rhipjoint", "lowerback"], "lhipjoint": ["lfemur"], "lfemur": ["ltibia"],
    "ltibia": ["lfoot"], "lfoot": ["ltoes"], "rhipjoint": ["rfemur"], "rfemur": ["rtibia"], "rtibia": ["rfoot"],
    "rfoot": ["rtoes"], "lowerback": ["upperback"], "upperback": ["thorax"],
    "thorax": ["lowerneck", "lclavicle", "rclavicle"], "lowerneck": ["upperneck"], "upperneck": ["head"],
    "lclavicle": ["lhumerus"], "lhumerus": ["lradius"], "lradius": ["lwrist"], "rclavicle": ["rhumerus"],
    "rhumerus": ["rradius"], "rradius": ["rwrist"],
}  # fmt: skip


def way(bone: str) -> str:
    """Direction of a made-up bone: arms sideways, legs down, toes forward, the rest up."""
    if bone.endswith("toes"):
        return "0 0 1"
    side = "1 0 0" if bone[0] == "l" and not bone.startswith("lower") else "-1 0 0" if bone[0] == "r" else "0 1 0"
    return "0 -1 0" if bone[1:] in ("femur", "tibia", "foot") else side


def test_amc_with_its_skeleton(tmp_path):
    bones = [bone for children in CHAIN.values() for bone in children]
    block = "".join(
        f"  begin\n id 1\n name {b}\n direction {way(b)}\n length {7 if b[1:] in ('femur', 'tibia') else 2}\n"
        f" axis 0 0 0 XYZ\n{' dof rx' + chr(10) if b == 'lfemur' else ''}  end\n"
        for b in bones
    )
    tree = "".join(f"    {parent} {' '.join(children)}\n" for parent, children in CHAIN.items())
    (tmp_path / "02.asf").write_text(ASF.format(bones=block, tree=tree))
    frames = "".join(f"{i + 1}\nroot 0 {16 + i} 0 0 0 0\nlfemur {-90 * i}\n" for i in range(2))
    (tmp_path / "02_01.amc").write_text(":FULLY-SPECIFIED\n:DEGREES\n" + frames)
    with pytest.raises(ValueError, match="fps must be said"):
        load(tmp_path / "02_01.amc")
    motion = load(tmp_path / "02_01.amc", fps=120)
    unit = 0.0254 / 0.45
    at = {name: motion.data[:, i] / unit for i, name in enumerate(SMPL22.joints)}
    assert motion.fps == 120 and motion.about["skeleton"] == "cmu-asf"
    assert np.allclose(at["pelvis"], [[0, 16, 0], [0, 17, 0]], atol=1e-4)
    assert np.allclose(at["left_hip"], [[2, 16, 0], [2, 17, 0]], atol=1e-4)
    assert np.allclose(at["left_knee"], [[2, 9, 0], [2, 17, 7]], atol=1e-4)  # the thigh was raised forward
    assert np.allclose(at["right_knee"], [[-2, 9, 0], [-2, 10, 0]], atol=1e-4)
    assert np.allclose(at["spine1"], [[0, 18, 0], [0, 19, 0]], atol=1e-4)
    (tmp_path / "02.asf").unlink()
    with pytest.raises(FileNotFoundError, match=r"02_01\.asf and 02\.asf"):
        load(tmp_path / "02_01.amc", fps=120)


@pytest.mark.parametrize("ending", sorted(set(WRITE) - {".fbx"}))  # that one has tests/test_fbx.py
def test_a_file_is_whole_or_absent(tmp_path, ending, monkeypatch):
    motion = Motion(marching(5), "joints", 20)
    path = tmp_path / "new" / f"a{ending}"
    save(motion, path)
    before = path.read_bytes()
    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save(motion[:2], path)
    with pytest.raises(KeyboardInterrupt):
        save(motion[:2], tmp_path / "new" / f"b{ending}")
    assert [p.name for p in path.parent.iterdir()] == [path.name] and path.read_bytes() == before


def interrupted(*_):
    raise KeyboardInterrupt


def test_places_that_cannot_be_written(tmp_path, monkeypatch):
    motion = Motion(FEATURES, "hml263", 20)
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotADirectoryError, match="must be a folder"):
        save(motion, tmp_path / "file" / "a.npz")
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(IsADirectoryError, match="must be a file name"):
        save(motion, tmp_path / "folder.npz")

    def closed(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkdtemp", closed)
    with pytest.raises(PermissionError, match="must be writable"):
        save(motion, tmp_path / "a.npz")
    monkeypatch.undo()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="no space is left"), written_whole(tmp_path / "b.txt") as beside:
        beside.write_text("half")
        full()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.npz"]


def test_folders_appear_whole(tmp_path):
    with written_whole(tmp_path / "a", folder=True) as beside:
        (beside / "1.txt").write_text("x")
        assert not (tmp_path / "a").exists()
    assert (tmp_path / "a" / "1.txt").read_text() == "x" and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(FileExistsError, match="new or an empty folder"), written_whole(tmp_path / "a", folder=True):
        pass
    (tmp_path / "empty").mkdir()
    with written_whole(tmp_path / "empty", folder=True) as beside:
        (beside / "1.txt").write_text("x")
    assert (tmp_path / "empty" / "1.txt").exists()
