"""Foreign skeletons: their joints found by name or by shape, mappings kept and edited, units and axes told."""

import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hftrainer.motion.clip import Motion
from hftrainer.motion.files import bvh, load, save
from hftrainer.motion.files.mapping import known_skeleton, read_mapping, save_mapping
from hftrainer.motion.files.matching import match_joints, split_name
from hftrainer.motion.files.names import PRESETS, UPWARD, guess_up
from hftrainer.motion.skeleton import SMPL22
from hftrainer.rendering.speed import marching
from tests.moving import MM, lively

_SIDED = ("hip", "knee", "ankle", "foot", "collar", "shoulder", "elbow", "wrist")


def sided(trunk: str, pattern: str, parts: str, left: str, right: str) -> list[str]:
    """22 names in the order of SMPL-22 from those of the trunk and of one side."""
    table = dict(zip(("pelvis", "spine1", "spine2", "spine3", "neck", "head"), trunk.split(), strict=True))
    for side, mark in (("left", left), ("right", right)):
        for joint, part in zip(_SIDED, parts.split(), strict=True):
            table[f"{side}_{joint}"] = pattern.format(side=mark, part=part)
    return [table[joint] for joint in SMPL22.joints]


#: Name styles that are in no table: 3ds Max's biped, Rokoko, Xsens, Blender's Rigify, Vicon's joint centres, Perception
#: Neuron, iClone, and joints named after themselves.
STYLES = {
    "biped": sided("Bip01_Pelvis Bip01_Spine Bip01_Spine1 Bip01_Spine2 Bip01_Neck Bip01_Head", "Bip01_{side}_{part}",
                   "Thigh Calf Foot Toe0 Clavicle UpperArm Forearm Hand", "L", "R"),
    "rokoko": sided("Hips Spine1 Spine2 Spine3 Neck Head", "{side}{part}",
                    "Thigh Shin Foot Toe Shoulder Arm ForeArm Hand", "Left", "Right"),
    "xsens": sided("Pelvis L5 L3 T8 Neck Head", "{side}{part}",
                   "UpperLeg LowerLeg Foot Toe Shoulder UpperArm ForeArm Hand", "Left", "Right"),
    "rigify": sided("DEF-pelvis DEF-spine DEF-spine.001 DEF-chest DEF-neck DEF-head", "DEF-{part}.{side}",
                    "thigh shin foot toe shoulder upper_arm forearm hand", "L", "R"),
    "centres": sided("PELVIS LUMBAR THORAX CHEST NECK HEAD", "{side}{part}",
                     "HJC KJC AJC TOE CLAV SJC EJC WJC", "L", "R"),
    "iclone": sided("CC_Base_Hip CC_Base_Waist CC_Base_Spine01 CC_Base_Spine02 CC_Base_Neck CC_Base_Head",
                    "CC_Base_{side}_{part}", "Thigh Calf Foot ToeBase Clavicle Upperarm Forearm Hand", "L", "R"),
    "plain": sided("hip_center waist chest upper_chest neck skull", "{part}_{side}",
                   "hip knee ankle toes collar shoulder elbow wrist", "left", "right"),
}  # fmt: skip


def renamed(text: str, names) -> str:
    """A BVH that we wrote, with other joint names."""
    for old, new in zip(SMPL22.joints, names, strict=True):
        text = re.sub(rf"((?:ROOT|JOINT) ){old}\n", rf"\g<1>{new}\n", text)
    return text


@pytest.mark.parametrize("style", STYLES)
def test_styles_are_told_by_their_words(tmp_path, style):
    motion = Motion(lively(6, 1), "joints", 30)
    save(motion, tmp_path / "a.bvh")
    (tmp_path / "b.bvh").write_text(renamed((tmp_path / "a.bvh").read_text(), STYLES[style]))
    back = load(tmp_path / "b.bvh")
    assert back.about["skeleton"] == "names" and back.fps == 30
    assert list(back.about["mapping"].values()) == STYLES[style]
    assert np.abs(back.data - motion.data).max() < 0.1 * MM


def test_spines_of_other_lengths(tmp_path):
    """Without a tree the words alone tell the spine; with none of them it lies between pelvis and neck."""
    joints = lively(6, 1)
    names = [name for name in STYLES["rokoko"] if not name.startswith("Spine")]
    found = match_joints(names, "a.trc")
    kept = [STYLES["rokoko"].index(name) for name in names]
    apart = found.joints(names, joints[:, kept], "a.trc") - joints
    assert np.abs(apart[:, kept]).max() < 1e-9 and np.linalg.norm(apart[:, [3, 6, 9]], axis=-1).max() < 0.2
    two = match_joints([*names, "Abdomen", "Chest"], "a.trc")
    assert two.spots["spine1"] == {"Abdomen": 1.0} and two.spots["spine3"] == {"Chest": 0.5, "Neck": 0.5}


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.floats(0, 2 * np.pi), st.sampled_from(sorted(UPWARD)), st.permutations(range(4)))
def test_names_without_meaning_are_told_by_shape(tmp_path_factory, seed, heading, up, shuffled):
    """Joints called node0, node1, …; any axis up; the limbs of the trunk in any order."""
    folder = tmp_path_factory.mktemp("shape")
    motion = Motion(marching(6, heading=heading) if seed % 2 else lively(6, seed, heading), "joints", 30)
    save(motion, folder / "a.bvh")
    hierarchy = bvh.parse_hierarchy((folder / "a.bvh").read_text())
    still = hierarchy.figure.positions(np.tile(np.eye(3), (1, len(hierarchy.figure.names), 1, 1)), np.zeros((1, 3)))[0]
    order = np.random.default_rng(shuffled).permutation(len(still))  # parents may come after their children no longer
    order = np.array(sorted(order, key=lambda j: _depth(hierarchy.figure.parents, j)))
    number = np.argsort(order)
    parents = [int(number[hierarchy.figure.parents[j]]) if hierarchy.figure.parents[j] >= 0 else -1 for j in order]
    names = [f"node{chr(97 + i)}" for i in range(len(order))]
    found = match_joints(names, "x.bvh", parents, still[order] @ UPWARD[up])
    assert found.skeleton == "shape"
    for joint in SMPL22.joints:
        (name,) = found.spots[joint]
        assert hierarchy.figure.names[order[names.index(name)]] == joint


def _depth(parents, joint: int) -> int:
    return 0 if parents[joint] < 0 else 1 + _depth(parents, parents[joint])


def test_names_are_read_as_people_write_them():
    for name, told in (
        ("LeftUpLeg", ("left", "upleg")), ("mixamorig1:RightForeArm", ("right", "forearm")), ("l_hip", ("left", "hip")),
        ("RKnee", ("right", "knee")), ("LKJC", ("left", "kjc")), ("Character|RightToeBase", ("right", "toebase")),
        ("thighL", ("left", "thigh")), ("lthigh", ("left", "thigh")), ("rradius", ("right", "radius")),
        ("upperarm_twist_01_l", ("left", "upperarmtwist")), ("Spine2", ("", "spine")), ("clavicle", ("", "clavicle")),
    ):  # fmt: skip
        assert split_name(name) == told, name


def test_helper_bones_and_missing_joints():
    parts = "Hip Knee Ankle Toe Shoulder Elbow Wrist ArmTwist HandIndex1 LegRoll".split()
    names = ["Hips", "Spine", "Neck", "Head", "Armature", *(s + part for s in ("Left", "Right") for part in parts)]
    found = match_joints(names, "a.trc")
    assert found.spots["left_shoulder"] == {"LeftShoulder": 1.0} and found.spots["right_wrist"] == {"RightWrist": 1.0}
    assert found.spots["left_collar"] == pytest.approx({"Neck": 0.67, "LeftShoulder": 0.33})
    assert found.spots["spine2"] == {"Spine": 1.0} and found.spots["spine1"] == {"Hips": 0.5, "Spine": 0.5}
    with pytest.raises(ValueError, match="left_knee, right_knee cannot be told"):
        match_joints([name for name in names if "Knee" not in name], "a.trc")
    found = match_joints([name for name in names if name not in ("Hips", "Neck", "Spine", "Head")], "a.trc")
    assert found.spots["pelvis"] == {"LeftHip": 0.5, "RightHip": 0.5}
    assert sum(found.spots["head"].values()) == pytest.approx(1)


# ---------------------------------------------------------------------------------------------- mappings


def test_a_mapping_is_shown_kept_edited_and_used(tmp_path):
    motion = Motion(lively(6, 2), "joints", 30)
    save(motion, tmp_path / "a.bvh")
    (tmp_path / "b.bvh").write_text(renamed((tmp_path / "a.bvh").read_text(), STYLES["rokoko"]))
    names = bvh.read_recording(tmp_path / "b.bvh").figure.names
    mapping = match_joints(names, "b.bvh")
    assert "left_hip        LeftThigh" in mapping.lines()
    save_mapping(mapping, tmp_path / "m.json")
    assert np.array_equal(load(tmp_path / "b.bvh", mapping=tmp_path / "m.json").data, load(tmp_path / "b.bvh").data)
    edited = json.loads((tmp_path / "m.json").read_text())
    edited["head"] = {"Neck": 0.5, "Head": 0.5}
    (tmp_path / "m.json").write_text(json.dumps(edited))
    back = load(tmp_path / "b.bvh", mapping=str(tmp_path / "m.json"))
    assert np.abs(back.data[:, 15] - motion.data[:, [12, 15]].mean(axis=1)).max() < 0.1 * MM
    assert back.about["skeleton"] == "m.json" and back.about["mapping"]["head"] == {"Neck": 0.5, "Head": 0.5}
    edited["head"] = "Tail"
    with pytest.raises(ValueError, match=r"b\.bvh: the mapping must name joints of the file; Tail are not there"):
        load(tmp_path / "b.bvh", mapping=edited)


def test_mapping_files_that_are_wrong(tmp_path):
    whole = known_skeleton(SMPL22.joints).plain()
    for values, words in (
        ({**whole, "tail": "x"}, "must name joints of SMPL-22; got tail"), ({"pelvis": "Hips"}, "must give all 22"),
        ({**whole, "neck": {"a": 0.5}}, "add up to 1"), ({**whole, "neck": 3}, "neck must be a joint's name"),
        ({**whole, "neck": {"a": float("nan")}}, "neck must be"), ([], "one JSON object"),
    ):  # fmt: skip
        (tmp_path / "m.json").write_text(json.dumps(values))
        with pytest.raises(ValueError, match=words):
            read_mapping(tmp_path / "m.json")
    (tmp_path / "m.json").write_text("{")
    with pytest.raises(ValueError, match="must be JSON"):
        read_mapping(tmp_path / "m.json")
    with pytest.raises(FileNotFoundError, match="mapping file"):
        read_mapping(tmp_path / "none.json")


# ---------------------------------------------------------------------------------------------- axes


@pytest.mark.parametrize("up", UPWARD)
@pytest.mark.parametrize("heading", [0.0, 1.0, 2.5, 4.0])
def test_the_axis_is_told_by_the_body(up, heading):
    rest = np.zeros((22, 3))
    for joint, parent in enumerate(SMPL22.parents[1:], 1):
        rest[joint] = rest[parent] + SMPL22.rest[joint]
    body = marching(10, heading=heading)
    assert guess_up(body @ UPWARD[up]) == guess_up(body @ UPWARD[up], rest @ UPWARD[up]) == up
    assert np.allclose(np.linalg.det(UPWARD[up]), 1)
    assert guess_up(body @ UPWARD[up], rest) == up  # the rest pose of another program, turned by the root
    tip = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
    lying = (body - body.mean(axis=(0, 1))) @ tip + [3.0, 0.15, -2.0]
    lying[..., 1] -= lying[..., 1].min()
    assert guess_up(lying @ UPWARD[up], rest @ UPWARD[up]) == up  # asleep on the floor


def test_files_with_other_axes_and_presets_come_back(tmp_path):
    motion = Motion(marching(10, heading=1.0), "joints", 30)
    for up in ("y", "z"):
        for names in PRESETS:
            save(motion, tmp_path / "a.bvh", up=up, names=names)
            back = load(tmp_path / "a.bvh")
            assert back.about["up"] == up and back.about["skeleton"] == names
            assert np.abs(back.data - motion.data).max() < 0.1 * MM
    with pytest.raises(ValueError, match="up must be one of"):
        load(tmp_path / "a.bvh", up="w")
    wrong = load(tmp_path / "a.bvh", up="y").data
    assert np.abs(wrong - motion.data).max() > 0.1  # what is said is taken
