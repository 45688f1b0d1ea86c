"""SMPL-type bodies from the user's files: an SMPL-shaped one that the test builds, as npz and as a hostile pickle."""

import json
import os
import pickle
import shutil
import subprocess
import sys
import types

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from scipy import sparse

from hftrainer.motion.clip import Motion
from hftrainer.motion.files import load, save
from hftrainer.motion.files.pickles import read_pickled_arrays
from hftrainer.motion.representation.convert import convert
from hftrainer.motion.representation.motion135 import motion135_to_rotations
from hftrainer.motion.skeleton import SMPL22
from hftrainer.motion.smpl import body_from_arrays, load_body, save_mesh
from tests.conftest import ROOT
from tests.moving import lively
from tests.parity.__main__ import run_folder
from tests.parity.smpl import KINDS

POINTS = 60


def arrays(joints=24, seed=0):
    """SMPL's arrays with SMPL22's rest joints: each joint is read off a corner of its own."""
    draw = np.random.default_rng(seed)
    parents = [*SMPL22.parents, *([20, 21] if joints == 24 else [20] * (joints - 22))]
    template = draw.normal(size=(POINTS, 3)) * 0.3
    regressor = np.zeros((joints, POINTS))
    place = np.zeros((joints, 3))
    for joint, parent in enumerate(parents):
        offset = SMPL22.rest[joint] if joint < 22 else [0.05, 0, 0]
        place[joint] = (place[parent] if parent >= 0 else 0) + np.asarray(offset)
        template[joint], regressor[joint, joint] = place[joint], 1
    weights = np.abs(draw.normal(size=(POINTS, joints))) ** 4
    return {
        "v_template": template, "shapedirs": draw.normal(size=(POINTS, 3, 10)) * 0.01,
        "posedirs": draw.normal(size=(POINTS, 3, 9 * (joints - 1))) * 0.001, "J_regressor": regressor,
        "weights": weights / weights.sum(1, keepdims=True),
        "kintree_table": np.array([[2**32 - 1, *parents[1:]], range(joints)], dtype=np.uint32),
        "f": draw.integers(0, POINTS, (40, 3)).astype(np.uint32),
    }  # fmt: skip


def walking(frames=40):
    return convert(Motion(lively(frames), "joints", 30), "motion135")


def plain_skin(values, local, translation):
    """Vertices as the formula reads, one frame and one vertex at a time."""
    rest = values["J_regressor"] @ values["v_template"]
    out = np.zeros((len(local), POINTS, 3))
    for t, turns in enumerate(local):
        world = [np.eye(4) for _ in turns]
        for joint, parent in enumerate(values["kintree_table"][0]):
            step = np.eye(4)
            step[:3, :3] = turns[joint]
            step[:3, 3] = rest[joint] - (rest[parent] if joint else 0)
            world[joint] = world[parent] @ step if joint else step
        push = np.concatenate([(r - np.eye(3)).ravel() for r in turns[1:]])
        for v in range(POINTS):
            point = values["v_template"][v] + values["posedirs"][v] @ push
            for joint in range(len(turns)):
                moved = world[joint][:3, :3] @ (point - rest[joint]) + world[joint][:3, 3]
                out[t, v] += values["weights"][v, joint] * moved
        out[t] += translation[t]
    return out


def whole(local, joints=24):
    out = np.tile(np.eye(3), (len(local), joints, 1, 1))
    out[:, :22] = local
    return out


@pytest.mark.parametrize("joints, name", [(24, "smpl"), (52, "smplh"), (55, "smplx")])
def test_joints_are_those_of_motion135_and_the_surface_follows_the_formula(joints, name):
    values, motion = arrays(joints), walking(5)
    body = body_from_arrays(values)
    assert body.name == name
    local, translation = motion135_to_rotations(motion.data)
    assert np.abs(body.joints(local, translation)[:, :22] - convert(motion, "joints").data).max() < 1e-5
    want = plain_skin(values, whole(local, joints), translation)
    assert np.abs(body.vertices(local, translation) - want).max() < 1e-5


def test_shape_moves_surface_and_joints():
    values = arrays()
    body, betas = body_from_arrays(values), np.array([1.0, -2.0])
    surface, joints = body.shaped(betas)
    assert np.allclose(surface, values["v_template"] + values["shapedirs"][..., :2] @ betas)
    assert np.allclose(joints, values["J_regressor"] @ surface) and not np.allclose(joints, body.shaped()[1])
    with pytest.raises(ValueError, match="at most 10 finite numbers"):
        body.shaped(np.ones(11))


def test_a_mesh_and_ply_files(tmp_path):
    body, motion = body_from_arrays(arrays()), walking(40)  # more frames than are done at once
    assert save_mesh(motion, body, tmp_path / "mesh.npy") == (40, POINTS, 3)
    mesh = np.load(tmp_path / "mesh.npy", allow_pickle=False)
    assert mesh.shape == (40, POINTS, 3) and mesh.dtype == np.float32
    save_mesh(motion, body, tmp_path / "ply")
    files = sorted((tmp_path / "ply").iterdir())
    assert [f.name for f in files[:2]] == ["000000.ply", "000001.ply"] and len(files) == 40
    head, _, rest = files[33].read_bytes().partition(b"end_header\n")
    assert b"element vertex 60\n" in head and b"element face 40\n" in head
    assert np.array_equal(np.frombuffer(rest, "<f4", POINTS * 3).reshape(-1, 3), mesh[33])
    faces = np.frombuffer(rest[POINTS * 12 :], np.dtype([("n", "u1"), ("v", "<i4", 3)]))
    assert (faces["n"] == 3).all() and np.array_equal(faces["v"], body.triangles)


def released(values, monkeypatch, protocol=2):
    """The bytes of a pickle like SMPL's: chumpy's wrappers around arrays, a sparse regressor, text beside."""
    chumpy = types.ModuleType("chumpy.ch")

    class Ch:
        def __init__(self, x):
            self.x = x

    Ch.__module__, Ch.__qualname__ = "chumpy.ch", "Ch"
    chumpy.Ch = Ch
    monkeypatch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
    monkeypatch.setitem(sys.modules, "chumpy.ch", chumpy)
    content = {
        **values, "bs_type": "lrotmin", "J_regressor": sparse.csc_matrix(values["J_regressor"]),
        "shapedirs": Ch(values["shapedirs"]), "posedirs": Ch(np.asfortranarray(values["posedirs"])),
    }  # fmt: skip
    data = pickle.dumps(content, protocol=protocol)
    monkeypatch.delitem(sys.modules, "chumpy.ch")
    monkeypatch.delitem(sys.modules, "chumpy")
    return data


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_pickle_with_chumpy_in_it_is_read_without_chumpy(tmp_path, monkeypatch, protocol):
    values = arrays()
    (tmp_path / "body.pkl").write_bytes(released(values, monkeypatch, protocol))
    np.savez(tmp_path / "body.npz", **values)
    assert "chumpy" not in sys.modules
    one, two = load_body(tmp_path / "body.pkl"), load_body(tmp_path / "body.npz")
    for field in ("template", "shape", "pose", "regressor", "weights", "triangles"):
        assert np.array_equal(getattr(one, field), getattr(two, field)), field
    assert one.parents == two.parents and "chumpy" not in sys.modules


class Evil:
    def __init__(self, call, *given):
        self.call, self.given = call, given

    def __reduce__(self):
        return self.call, self.given


@pytest.mark.parametrize(
    "call, given",
    [(os.system, ("touch owned",)), (eval, ("open('owned','w')",)), (np.load, ("x", None, True)),
     (getattr, ("text", "upper")), (np.fromfile, ("x",)), (os.mkdir, ("owned",))],
)  # fmt: skip
def test_nothing_in_a_pickle_is_run(tmp_path, monkeypatch, call, given):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "body.pkl").write_bytes(pickle.dumps({"v_template": Evil(call, *given)}))
    with pytest.raises(ValueError, match="which is not called"):
        load_body(tmp_path / "body.pkl")
    assert not (tmp_path / "owned").exists()


def test_damaged_pickles_are_refused(tmp_path, monkeypatch):
    good = released(arrays(), monkeypatch)
    path = tmp_path / "body.pkl"
    draw = np.random.default_rng(0)
    for cut in draw.integers(0, len(good) - 1, 40):
        path.write_bytes(good[:cut])
        with pytest.raises(ValueError, match="body.pkl"):
            load_body(path)
    for content in ([1, 2], {"v_template": np.array([object()], dtype=object)}, {"v_template": "text"}, 7):
        path.write_bytes(pickle.dumps(content, protocol=2))
        with pytest.raises(ValueError, match=r"body\.pkl"):
            read_pickled_arrays(path, ["v_template"])
    path.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(ValueError, match=r"os\.system"):
        load_body(path)


def test_flipped_bytes_end_in_a_sentence_or_in_a_body(tmp_path, monkeypatch):
    good, path = released(arrays(), monkeypatch), tmp_path / "body.pkl"
    draw, refused = np.random.default_rng(1), 0
    for _ in range(150):
        bad = bytearray(good)
        bad[draw.integers(0, 3000)] ^= 1 << draw.integers(0, 8)
        path.write_bytes(bytes(bad))
        try:
            load_body(path)
        except ValueError:
            refused += 1
    assert refused > 10


def test_what_is_no_body_is_refused(tmp_path):
    values = arrays()
    for key, wrong in (
        ("weights", values["weights"][:-1]), ("posedirs", values["posedirs"][..., :-1]), ("f", values["f"] + 60),
        ("v_template", values["v_template"] * np.nan), ("kintree_table", values["kintree_table"][:, :20]),
        ("J_regressor", values["J_regressor"].T), ("shapedirs", values["shapedirs"][0]),
        ("f", np.array(["a"])), ("weights", values["weights"].astype("S3")),
        ("kintree_table", values["kintree_table"] + 0j),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=key):
            body_from_arrays({**values, key: wrong})
    np.savez(tmp_path / "half.npz", **{k: v for k, v in values.items() if k not in ("f", "weights")})
    with pytest.raises(ValueError, match="weights, f is not there"):
        load_body(tmp_path / "half.npz")
    with pytest.raises(FileNotFoundError, match="there is none"):
        load_body(tmp_path / "absent.npz")
    (tmp_path / "body.txt").write_text("")
    with pytest.raises(ValueError, match="must end in .npz or .pkl"):
        load_body(tmp_path / "body.txt")


def convert_command(*words, cwd):
    command = [sys.executable, "-m", "hftrainer", "convert", *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)


def test_the_command(tmp_path):
    np.savez(tmp_path / "body.npz", **arrays())
    motion = walking(6)
    save(motion, tmp_path / "walk.npz")
    done = convert_command("walk.npz", "mesh.npy", "--body", "body.npz", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["mesh"] == [6, POINTS, 3]
    local, translation = motion135_to_rotations(load(tmp_path / "walk.npz").data)
    want = load_body(tmp_path / "body.npz").vertices(local, translation)
    assert np.array_equal(np.load(tmp_path / "mesh.npy"), want)
    assert convert_command("walk.npz", "ply/", "--body", "body.npz", cwd=tmp_path).returncode == 0
    assert len(list((tmp_path / "ply").glob("*.ply"))) == 6
    for words, said in (
        (["walk.npz", "ply", "--body", "body.npz"], "holds something"),
        (["walk.npz", "a.bvh", "--body", "body.npz"], "--body"), (["walk.npz", "a.npy", "--body", "no.npz"], "no.npz"),
    ):  # fmt: skip
        done = convert_command(*words, cwd=tmp_path)
        assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_reference_numbers_and_one_wrong_number(shared, tmp_path):
    for ending in ("json", "safetensors"):
        shutil.copy(shared / "golden" / "mdm" / "post" / f"smpl_synthetic.{ending}", tmp_path)

    class Family:
        pass

    Family.KINDS = KINDS
    (result,) = run_folder(tmp_path, families=(Family,))
    assert result.verdict == "pass" and len(result.checks) == 6, result.line()
    good = load_file(tmp_path / "smpl_synthetic.safetensors")
    for key in sorted(good.keys() - {"mask"}):
        bad = {name: value.copy() for name, value in good.items()}
        bad[key].reshape(-1)[bad[key].size // 2] += 0.01
        os.chmod(tmp_path / "smpl_synthetic.safetensors", 0o644)
        save_file(bad, tmp_path / "smpl_synthetic.safetensors")
        (result,) = run_folder(tmp_path, families=(Family,))
        assert result.verdict == "fail" and "crashed" not in result.line(), key
