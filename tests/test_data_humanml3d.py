"""Reading a HumanML3D folder, and finding every clip in it that cannot be a moving person."""

import json
import shutil

import numpy as np
import pytest
from capture_files import caption, make_pack, squat, walk

from hftrainer.cli import main
from hftrainer.data.build import build
from hftrainer.data.humanml3d import HumanML3D, parse_captions
from hftrainer.data.verify import verify
from hftrainer.errors import ArtifactError
from hftrainer.motion.representation.hml263 import joints_to_hml263
from hftrainer.motion.skeleton import SMPL22


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    root = tmp_path_factory.mktemp("verify")
    clips = {
        "cmu_walk": walk(4.0),
        "cmu_bend": squat(4.0),
        "cmu_test": walk(3.0),
    }
    pack = make_pack(root / "p", clips, [caption("cmu_walk", "a person walks")], {"cmu_test": "test"})
    build(pack, root / "set", workers=1, captions=root, measured=False)
    return root / "set"


@pytest.fixture
def broken(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "set")


def edit(folder, change, clip="cmu_walk"):
    path = folder / "new_joints" / f"{clip}.npy"
    joints = np.load(path)
    np.save(path, change(joints.copy()))


def again(folder, change, clip="cmu_walk"):
    """Break the joints and encode them again, as a builder with a fault would."""
    edit(folder, change, clip)
    joints = np.load(folder / "new_joints" / f"{clip}.npy")
    np.save(folder / "new_joint_vecs" / f"{clip}.npy", np.zeros((len(joints), 263), np.float32))
    return {f.kind for f in verify(folder, workers=1) if f.clip == clip} - {"decode"}


def kinds(folder):
    return {(f.clip, f.kind) for f in verify(folder, workers=1)}


def test_a_built_folder_is_sound(whole):
    assert verify(whole, workers=1) == []
    assert verify(whole, workers=2) == []


def test_reading(whole):
    data = HumanML3D(whole)
    clip = data.clip("cmu_walk")
    assert clip.motion.representation.name == "hml263" and clip.motion.fps == 20 and clip.motion.name == "cmu_walk"
    assert [c.text for c in clip.captions] == ["a person walks"] and clip.captions[0].whole
    assert [c.id for c in data.clips("test")] == ["Mcmu_test", "cmu_test"]
    assert data.mean.shape == data.std.shape == (263,) and data.name.startswith("mocap-") and len(data.hash) == 64
    with pytest.raises(KeyError, match="no split 'dev'; it has all, composed, short, test, train, val"):
        data.ids("dev")
    with pytest.raises(KeyError, match="no clip 'nobody'"):
        data.clip("nobody")


def test_a_folder_without_our_extras_is_read(broken):
    (broken / "dataset.json").unlink()
    (broken / "short.txt").unlink()
    data = HumanML3D(broken)
    assert data.name == "set" and data.about == {}


def test_every_missing_file_is_named(broken):
    for name in ("Std.npy", "val.txt", "texts/cmu_bend.txt", "new_joint_vecs/Mcmu_walk.npy"):
        (broken / name).unlink()
    with pytest.raises(ArtifactError) as error:
        HumanML3D(broken)
    for name in ("Std.npy", "val.txt", "texts/cmu_bend.txt", "new_joint_vecs/Mcmu_walk.npy"):
        assert name in str(error.value)
    with pytest.raises(FileNotFoundError, match="hftrainer data build"):
        HumanML3D(broken / "nowhere")


def test_captions():
    text = "a man walks#a/DET man/NOUN walks/VERB#0.0#0.0\nhe sits#he/PRON sits/VERB#1.5#3.0\nx#x/NOUN#nan#nan\n"
    first, second, third = parse_captions(text)
    assert first.whole and third.whole and (second.start, second.end) == (1.5, 3.0)
    with pytest.raises(ValueError, match="t.txt, line 1: .*'a man walks'"):
        parse_captions("a man walks\n", "t.txt")


def test_missing_and_unreadable(broken):
    (broken / "new_joints/cmu_walk.npy").unlink()
    (broken / "texts/Mcmu_walk.txt").unlink()
    (broken / "new_joint_vecs/cmu_bend.npy").write_bytes(b"no array")
    np.save(broken / "new_joint_vecs/cmu_test.npy", np.zeros((60, 251), np.float32))
    found = kinds(broken)
    assert {("cmu_walk", "missing"), ("Mcmu_walk", "missing"), ("cmu_bend", "shape"), ("cmu_test", "shape")} <= found


def test_nan(broken):
    path = broken / "new_joint_vecs/cmu_walk.npy"
    features = np.load(path)
    features[7, 100] = np.nan
    np.save(path, features)
    (finding,) = verify(broken, workers=1)
    assert (finding.clip, finding.kind) == ("cmu_walk", "nan") and "first in 7" in str(finding)


def test_wrong_frame_counts_and_other_joints(broken):
    edit(broken, lambda j: j[:-1])
    edit(broken, lambda j: j + [0, 0, 0.01], "cmu_bend")
    assert kinds(broken) == {("cmu_walk", "frames"), ("cmu_bend", "decode")}


def test_flying(broken):
    def fly(joints):
        joints[30:60, :, 1] += 0.4
        return joints

    assert again(broken, fly) == {"flying"}


def test_a_leap_is_not_flying(broken):
    def leap(joints):
        joints[30:46, :, 1] += 0.4
        return joints

    assert again(broken, leap) == set()


def test_off_the_floor(broken):
    assert again(broken, lambda j: j + [0, 0.15, 0]) == {"floor"}
    assert again(broken, lambda j: j - [0, 0.4, 0], "cmu_bend") == {"floor"}


def test_left_and_right_swapped(broken):
    swapped = again(broken, lambda j: j[:, list(SMPL22.mirror)])
    assert "flipped" in swapped


def test_legs_on_the_wrong_side(broken):
    legs = [1, 2, 4, 5, 7, 8, 10, 11]

    def swap(joints):
        joints[:, legs] = joints[:, [SMPL22.mirror[i] for i in legs]]
        return joints

    assert "flipped" in again(broken, swap)


def bend_backwards(joints):
    """The left knee on the other side of the line from hip to ankle: all lengths stay."""
    hip, knee, ankle = joints[:, 1], joints[:, 4], joints[:, 7]
    leg = (ankle - hip) / np.linalg.norm(ankle - hip, axis=-1, keepdims=True)
    along = hip + ((knee - hip) * leg).sum(-1, keepdims=True) * leg
    joints[:, 4] = 2 * along - knee
    return joints


def test_knee_bent_backwards(broken):
    assert again(broken, bend_backwards, "cmu_bend") == {"flipped"}


def test_bones_that_grow(broken):
    def grow(joints):
        joints[:, 20] += (joints[:, 20] - joints[:, 18]) * np.linspace(0, 0.2, len(joints))[:, None]
        return joints

    assert again(broken, grow) == {"bones"}


def test_a_jump_between_two_frames(broken):
    def jump(joints):
        joints[40:, :, 0] += 1.5
        return joints

    assert again(broken, jump) == {"jump"}


def test_what_carries_a_body_may_be_known(broken):
    """A clip on a ladder is named under ``supported`` and may leave the floor; its knees may still not flip."""

    def fly(joints):
        joints[30:60, :, 1] += 0.4
        return joints

    about = json.loads((broken / "dataset.json").read_text())
    (broken / "dataset.json").write_text(json.dumps({**about, "supported": ["cmu_walk", "cmu_bend"]}))
    assert again(broken, fly) == set()
    assert again(broken, bend_backwards, "cmu_bend") == {"flipped"}


def test_the_verb_names_clips_and_fails(whole, broken, capsys):
    assert main(["data", "verify", str(whole), "--workers", "1"]) == 0
    assert capsys.readouterr().out == "every clip is sound\n"
    (broken / "texts/cmu_walk.txt").unlink()
    assert main(["data", "verify", str(broken), "--workers", "1"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "clips that are not sound: 1"


def test_verify_refuses_what_is_no_dataset(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        verify(tmp_path / "none")
    with pytest.raises(ValueError, match="found none"):
        verify(tmp_path)


def test_encoding_again_changes_little(whole):
    """Features of the decoded joints are the stored features, but for the lost frame and the smoothing at its end."""
    data = HumanML3D(whole)
    joints = np.load(whole / "new_joints/cmu_walk.npy")
    once, twice = data.features("cmu_walk"), joints_to_hml263(joints)
    assert len(twice) == len(once) - 1
    assert np.abs(twice - once[:-1]).max() < 0.05
