"""GLB, USDA, AMASS and CSV: any motion comes through, and programs that we did not write see one and the same body."""

import json
import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hftrainer.motion.body import free_body
from hftrainer.motion.clip import Motion
from hftrainer.motion.files import load, save
from hftrainer.motion.files.amass import load_amass, save_amass
from hftrainer.motion.files.archive import read_arrays
from hftrainer.motion.files.names import PRESETS
from hftrainer.motion.files.qpos import columns, mujoco_model, read_qpos
from hftrainer.motion.files.rig import TURNED, positions, rigged
from hftrainer.motion.representation.convert import convert
from hftrainer.motion.representation.motion135 import motion135_to_joints, pelvis_place, rotations_to_motion135
from hftrainer.motion.rotation import rotvec_to_matrix
from hftrainer.rendering.speed import marching
from tests.moving import MM, Glb, lively, loosened, seen_by_bvhio, seen_by_usd, turning

MOTIONS = st.tuples(st.integers(0, 10_000), st.floats(0, 2 * np.pi), st.booleans())


def made(seed: int, heading: float, loose: bool, frames: int = 5) -> Motion:
    joints = lively(frames, seed, heading)
    return Motion(loosened(joints, seed) if loose else joints, "joints", 20, about={"seed": seed})


def bodies(seed: int, heading: float, frames: int = 5, fps: float = 30) -> Motion:
    """A motion that says how its joints turn, twists included."""
    local, pelvis = turning(frames, seed, heading)
    return Motion(rotations_to_motion135(local, pelvis - pelvis_place()), "motion135", fps)


# ---------------------------------------------------------------------------------------------- seen elsewhere


@settings(max_examples=10)
@given(MOTIONS)
def test_pygltflib_sees_any_motion(tmp_path_factory, drawn):
    motion = made(*drawn)
    path = tmp_path_factory.mktemp("glb") / "a.glb"
    save(motion, path)
    seen = Glb(path)
    assert np.abs(seen.joints() - motion.data).max() < MM
    assert np.allclose(np.diff(seen.times), 1 / 20, atol=1e-6)
    assert seen.file.asset.extras["about"] == {"seed": drawn[0]}


@settings(max_examples=10)
@given(MOTIONS)
def test_usd_sees_any_motion(tmp_path_factory, drawn):
    motion = made(*drawn, frames=3)
    path = tmp_path_factory.mktemp("usda") / "a.usda"
    save(motion, path)
    joints, _, fps = seen_by_usd(path)
    assert np.abs(joints - motion.data).max() < MM and fps == 20


@settings(max_examples=10)
@given(st.integers(0, 10_000), st.floats(0, 2 * np.pi), st.sampled_from(list(PRESETS)))
def test_any_motion_that_says_how_its_joints_turn_is_seen_and_comes_back(tmp_path_factory, seed, heading, names):
    motion = bodies(seed, heading, 4)
    folder, where = tmp_path_factory.mktemp("turned"), positions(motion)
    for ending in ("glb", "usda", "bvh", "csv"):
        save(motion, folder / f"a.{ending}", **({} if ending == "csv" else {"names": names}))
    seen = {"glb": Glb(folder / "a.glb").joints(), "usda": seen_by_usd(folder / "a.usda")[0]}
    seen |= {ending: load(folder / f"a.{ending}").data for ending in ("bvh", "csv")}
    for ending, joints in seen.items():
        assert np.abs(joints - where).max() < MM, ending


def test_bvh_glb_and_usda_coincide_frame_by_frame(tmp_path, shared):
    clips = {"real": _recorded(shared), "made": made(3, 1.0, True, 12), "turned": bodies(4, 2.0, 12)}
    for name, motion in clips.items():
        where = positions(motion)
        for ending in ("bvh", "glb", "usda"):
            save(motion, tmp_path / f"{name}.{ending}")
        bvh = seen_by_bvhio(tmp_path / f"{name}.bvh") / 100
        glb = Glb(tmp_path / f"{name}.glb")
        usd, skin, _ = seen_by_usd(tmp_path / f"{name}.usda")
        assert len(bvh) == len(usd) == len(glb.times) == len(motion), name
        for seen in (bvh, glb.joints(), usd):
            assert np.abs(seen - where).max() < MM, name
        rig = rigged(motion)
        ours = free_body().fitted(rig.rest).skinned(rig.world, rig.joints)
        assert np.abs(glb.skin() - ours).max() < MM and np.abs(skin - ours).max() < MM, name


def _recorded(shared) -> Motion:
    from hftrainer.data.mocap import Pack
    from hftrainer.motion.files.matching import match_joints

    pack = Pack(shared / "data" / "mocap")
    take = pack.take(pack.listings[0].id)
    world = take.figure.global_rotations(take.rotations[:30])
    spots = take.figure.positions(world, take.translation[:30])
    names = take.figure.names
    return Motion(match_joints(names, "x", take.figure.parents).joints(names, spots, "x"), "joints", 30)


@pytest.fixture(scope="session")
def validator(tmp_path_factory):
    """The Khronos validator of glTF from npm, in a folder of its own."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are needed for the Khronos glTF validator")
    folder = tmp_path_factory.mktemp("npm")
    words = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), "gltf-validator@2.0.0-dev.3.10"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        pytest.skip(f"gltf-validator could not be fetched: {done.stderr.strip().splitlines()[-1:]}")
    script = folder / "validate.js"
    script.write_text(
        f"const v = require({json.dumps(str(folder / 'node_modules' / 'gltf-validator'))});\n"
        "const bytes = new Uint8Array(require('fs').readFileSync(process.argv[2]));\n"
        "v.validateBytes(bytes).then(r => console.log(JSON.stringify(r.issues)));\n"
    )
    return script


def test_the_khronos_validator_finds_nothing(tmp_path, validator):
    def issues(path) -> dict:
        return json.loads(subprocess.run(["node", validator, path], capture_output=True, text=True, check=True).stdout)

    for number, motion in enumerate([made(1, 0.5, True, 9), made(2, 3.0, False, 1), Motion(marching(20), "joints", 20),
                                     bodies(3, 0), convert(Motion(marching(30), "joints", 20), "hml263")]):  # fmt: skip
        save(motion, tmp_path / f"{number}.glb", names=list(PRESETS)[number % 4], in_place=bool(number % 2))
        found = issues(tmp_path / f"{number}.glb")
        assert not found["messages"] and found["numErrors"] == found["numWarnings"] == 0, found
    whole = (tmp_path / "0.glb").read_bytes()
    (tmp_path / "broken.glb").write_bytes(whole.replace(b'"type":"VEC4"', b'"type":"VEC2"', 1))
    assert issues(tmp_path / "broken.glb")["numErrors"] > 0  # it would have said so


def test_usd_finds_nothing_wrong(tmp_path):
    from pxr import Usd, UsdValidation

    motion = Motion(marching(6), "joints", 20, about={"prompt": 'says "hello" \\ ünd\ngoes'})
    save(motion, tmp_path / "a.usda", names="mixamo")
    stage = Usd.Stage.Open(str(tmp_path / "a.usda"))
    known = UsdValidation.ValidationRegistry().GetOrLoadAllValidators()
    assert len(known) > 10
    errors = UsdValidation.ValidationContext(known).Validate(stage)
    assert not [(error.GetName(), error.GetMessage()) for error in errors]
    assert json.loads(stage.GetRootLayer().customLayerData["hftrainer"])["about"] == motion.about


def test_glb_and_usda_options(tmp_path):
    motion = Motion(marching(21), "joints", 20)
    for ending in ("glb", "usda"):
        save(motion, tmp_path / f"a.{ending}", fps=60, in_place=True, names="vrm")
    glb, (usd, _, fps) = Glb(tmp_path / "a.glb"), seen_by_usd(tmp_path / "a.usda")
    assert fps == 60 and len(glb.times) == len(usd) == 61 and glb.times[-1] == pytest.approx(1.0)
    assert np.abs(glb.joints() - usd).max() < MM and np.ptp(usd[:, 0, [0, 2]], axis=0).max() < MM
    assert np.abs((usd[::3] - usd[::3, :1]) - (motion.data - motion.data[:, :1])).max() < MM
    assert [node.name for node in glb.file.nodes][:2] == ["hips", "leftUpperLeg"]
    for wrong in ({"names": "maya"}, {"fps": -1}, {"bones": "soft"}):
        for ending in ("glb", "usda"):
            with pytest.raises(ValueError, match=next(iter(wrong))):
                save(motion, tmp_path / f"w.{ending}", **wrong)
            assert not (tmp_path / f"w.{ending}").exists()


def test_rotations_that_a_motion_tells_are_kept(tmp_path):
    """A forearm that turns about itself moves no joint; only a motion with rotations can show it."""
    local, pelvis = turning(6, 5)
    local[:, 20] = local[:, 20] @ rotvec_to_matrix(np.linspace([0, 0, 0], [1.5, 0, 0], 6))
    motion = Motion(rotations_to_motion135(local, pelvis - pelvis_place()), "motion135", 30)
    rig = rigged(motion)
    back = np.swapaxes(rig.world[:-1], -1, -2) @ rig.world[1:]  # how each joint turned from frame to frame
    world = local.copy()
    from hftrainer.motion.skeleton import SMPL22

    for joint, parent in enumerate(SMPL22.parents):
        if parent >= 0:
            world[:, joint] = world[:, parent] @ local[:, joint]
    told = np.swapaxes(world[:-1], -1, -2) @ world[1:]
    angle = np.arccos(np.clip((np.trace(back, axis1=-2, axis2=-1) - 1) / 2, -1, 1))
    assert np.allclose(angle, np.arccos(np.clip((np.trace(told, axis1=-2, axis2=-1) - 1) / 2, -1, 1)), atol=1e-3)
    assert rig.moves.sum() == 1 and np.abs(rig.joints - positions(motion)).max() < 0.1 * MM


@pytest.mark.parametrize("name", TURNED)
def test_every_representation_with_rotations_has_a_rig(name):
    motion = convert(bodies(1, 0.3, 12, 20 if name == "dart276" else 30), name)
    rig = rigged(motion)
    assert rig.moves.sum() == 1 and np.abs(rig.joints - positions(motion)).max() < 0.1 * MM


# ---------------------------------------------------------------------------------------------- AMASS


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.floats(0, 2 * np.pi), st.sampled_from(["y", "z"]))
def test_amass_keeps_any_motion(tmp_path_factory, seed, heading, up):
    motion = bodies(seed, heading, fps=120)
    path = tmp_path_factory.mktemp("amass") / "a.npz"
    save(motion, path, layout="amass", up=up)
    back = load(path, up=up)
    assert back.representation.name == "motion135" and back.fps == 120
    assert np.abs(back.data - motion.data).max() < 1e-5


def test_amass_as_its_readers_take_it(tmp_path):
    """Forward kinematics as AMASS's body model does it: z up, the pelvis' rest place not turned."""
    motion = Motion(marching(12, heading=0.7), "joints", 20)
    motion = convert(motion, "motion135").replace(about={"betas": [0.5] * 10, "gender": "female"})
    save(motion, tmp_path / "a.npz", layout="amass")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert file["poses"].shape == (12, 156) and file["trans"].shape == (12, 3) and file["betas"].shape == (10,)
        assert float(file["mocap_framerate"]) == 20 and str(file["gender"]) == "female"
        turns, trans = rotvec_to_matrix(file["poses"][:, :66].reshape(12, 22, 3)), file["trans"]
    joints = motion135_to_joints(rotations_to_motion135(turns, trans))
    assert np.abs(joints[..., [0, 2, 1]] * [1, 1, -1] - positions(motion)).max() < 1e-5
    assert np.ptp(joints[:, 0, 2]) < 0.1 and joints[..., 2].min() > -0.1  # stands along z
    back = load(tmp_path / "a.npz")
    assert back.about["up"] == "z" and back.about["gender"] == "female" and back.about["betas"] == [0.5] * 10
    save(Motion(marching(12), "joints", 20), tmp_path / "b.npz", layout="amass")
    save(convert(Motion(marching(12), "joints", 20), "hml263"), tmp_path / "c.npz", layout="amass")
    assert load(tmp_path / "b.npz").fps == load(tmp_path / "c.npz").fps == 20
    before = (tmp_path / "b.npz").read_bytes()
    save(Motion(marching(12), "joints", 20), tmp_path / "b.npz", layout="amass")
    assert (tmp_path / "b.npz").read_bytes() == before


def test_amass_dialects_and_refusals(tmp_path):
    path = tmp_path / "a.npz"
    poses, trans = np.zeros((9, 165)), np.tile([0.0, 0, 1], (9, 1))
    poses[:, 0] = np.pi / 2  # stands along z
    np.savez(path, root_orient=poses[:, :3], pose_body=poses[:, 3:66], trans=trans, mocap_frame_rate=np.float64(60))
    assert load(path).fps == 60 and load(path).about["up"] == "z" and load(path).about["gender"] == "neutral"
    np.savez(path, poses=poses, trans=trans, mocap_framerate=120.0, gender=np.array(b"male"), betas=np.ones(16))
    assert load(path).about["gender"] == "male" and load(path, fps=120).fps == 120
    np.savez(path, poses=poses, trans=trans, mocap_framerate=120.0, gender=np.array({"a": 1}, dtype=object))
    assert load(path).about["gender"] == "unknown"  # a pickle, which was not opened
    with pytest.raises(ValueError, match="must have 30 fps; it has 120"):
        load(path, fps=30)
    np.savez(path, poses=poses, trans=trans)
    with pytest.raises(ValueError, match="frame rate must be said"):
        load(path)
    assert load(path, fps=60).fps == 60
    for wrong, words in (
        ({"poses": poses[:, :60]}, "T, 66 or more"), ({"trans": trans[:5]}, "poses must have shape"),
        ({"trans": trans * np.nan}, "must be finite"), ({"poses": poses.astype(object)}, "pickle"),
    ):  # fmt: skip
        np.savez(path, **({"poses": poses, "trans": trans, "mocap_framerate": 30.0} | wrong))
        with pytest.raises(ValueError, match=words):
            load(path)
    with pytest.raises(ValueError, match="up must be one of"):
        load_amass(path, up="w")
    with pytest.raises(ValueError, match="up must be one of"):
        save_amass(bodies(0, 0), path, up="w")
    with pytest.raises(ValueError, match="layout must be one of"):
        save(bodies(0, 0), path, layout="smpl")
    with pytest.raises(TypeError, match="layout='amass' only"):
        save(bodies(0, 0), path, up="z")


def test_archives_that_lie_about_their_size(tmp_path):
    import io
    import zipfile

    def lying(header: dict, body: bytes) -> None:
        buffer = io.BytesIO()
        np.lib.format.write_array_header_1_0(buffer, header)
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            archive.writestr("poses.npy", buffer.getvalue() + body)

    lying({"descr": "<f8", "fortran_order": False, "shape": (10**9, 156)}, bytes(64))
    with pytest.raises(ValueError, match="must have the size that it declares"):
        read_arrays(tmp_path / "a.npz")
    lying({"descr": "<f8", "fortran_order": False, "shape": (8,)}, bytes(64))
    assert read_arrays(tmp_path / "a.npz")[0]["poses"].shape == (8,)
    (tmp_path / "a.npz").write_bytes(b"PK\x05\x06 nothing")
    with pytest.raises(ValueError, match="whole npz"):
        read_arrays(tmp_path / "a.npz")


# ---------------------------------------------------------------------------------------------- CSV


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.floats(0, 2 * np.pi))
def test_csv_keeps_any_motion(tmp_path_factory, seed, heading):
    motion = made(seed, heading, False)
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    save(motion, path)
    back = load(path)
    assert np.abs(back.data - motion.data).max() < 0.1 * MM and back.fps == 20
    table = np.loadtxt(path, delimiter=",")
    assert table.shape == (5, 70) and np.allclose(np.linalg.norm(table[:, 3:7], axis=1), 1, atol=1e-5)
    assert np.abs(table[:, :3] - motion.data[:, 0][:, [2, 0, 1]]).max() < 0.1 * MM  # ahead, left, up


def test_the_csv_moves_its_mujoco_model(tmp_path):
    motion = Motion(marching(9, heading=1.0), "joints", 20)
    save(motion, tmp_path / "a.csv")
    table, rest, fps = read_qpos(tmp_path / "a.csv")
    (tmp_path / "a.xml").write_text(mujoco_model(rest))
    tree = __import__("xml.etree.ElementTree", fromlist=["parse"]).parse(tmp_path / "a.xml")
    names = [joint.get("name") for joint in tree.iter("joint")]
    assert fps == 20 and tuple(names) == columns()[7:]  # MuJoCo numbers hinges in the order of the file
    mujoco = pytest.importorskip("mujoco", reason="the package mujoco is not installed")
    model = mujoco.MjModel.from_xml_path(str(tmp_path / "a.xml"))
    data = mujoco.MjData(model)
    from hftrainer.motion.skeleton import SMPL22

    bodies_ = [mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, name) for name in SMPL22.joints]
    for frame, row in enumerate(table):
        data.qpos[:] = row
        mujoco.mj_kinematics(model, data)
        assert np.abs(data.xpos[bodies_][:, [1, 2, 0]] - motion.data[frame]).max() < MM


def test_csv_refusals(tmp_path):
    path = tmp_path / "a.csv"
    save(Motion(marching(5), "joints", 20), path, fps=40, in_place=True)
    assert load(path).fps == 40 and len(load(path)) == 9
    lines = path.read_text().splitlines()
    for text, words in (
        ("1,2,3\n4,5,6\n", "must begin with the line"), ("\n".join(lines[:2]), "70 finite numbers; got no"),
        ("\n".join([*lines, "1,2"]), "70 finite numbers"), ("\n".join([*lines, "x," * 69 + "1"]), "numbers only"),
        ("\n".join([*lines, "nan," * 69 + "1"]), "70 finite numbers"),
    ):  # fmt: skip
        path.write_text(text)
        with pytest.raises(ValueError, match=words):
            load(path)
