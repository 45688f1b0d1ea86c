"""Model folders, dataset folders and recipes that were spoiled: a result, or one sentence that says what is wrong."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given

from hftrainer.data.humanml3d import HumanML3D
from hftrainer.errors import ArtifactError
from hftrainer.models.motion.mdm.bundle import MDMBundle
from hftrainer.models.motion.motiongpt.bundle import MotionGPTBundle
from hftrainer.motion.files.mapping import read_mapping
from hftrainer.training.recipe import read_recipe
from tests import fuzzing, mdm_tiny, tiny, training_data
from tests.test_fuzz import NUMBERS, tries

#: Which files of a folder are spoiled how.
SPOILED = {".json": fuzzing.spoil_json, ".npy": fuzzing.spoil_npy, ".safetensors": fuzzing.spoil_bytes}


def motiongpt(folder: Path) -> Path:
    tiny.bundle().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("make, bundle", [(motiongpt, MotionGPTBundle), (mdm_tiny.folder, MDMBundle)])
def test_model_folders(make, bundle, tmp_path):
    whole = make(tmp_path / "whole")
    files = sorted(file for file in whole.rglob("*") if file.suffix in SPOILED)
    assert {file.suffix for file in files} == set(SPOILED)
    bundle.from_pretrained(whole)

    @tries(6)
    @given(NUMBERS)
    def check(number):
        chosen = files[number % len(files)]
        before = chosen.read_bytes()
        chosen.write_bytes(SPOILED[chosen.suffix](before, number))
        try:
            bundle.from_pretrained(whole)
        except ArtifactError as error:
            text = str(error)
            assert len(text) < 20_000 and text.rstrip().endswith((".", "…")), text[-300:]
        finally:
            chosen.write_bytes(before)

    check()


@pytest.mark.parametrize("field, value", [("width", 10**9), ("codes", 2**40), ("depth", 10**7), ("width", 60_000)])
def test_a_description_cannot_ask_for_memory_that_the_weights_do_not_fill(field, value, tmp_path):
    folder = motiongpt(tmp_path / "model")
    index = json.loads((folder / "model_index.json").read_text())
    index["motion_tokenizer"][field] = value
    (folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ArtifactError, match=f"{field} must be 0 to|does not fit"):
        MotionGPTBundle.from_pretrained(folder)


def test_dataset_folders(tmp_path):
    whole = training_data.write(tmp_path / "data")
    (whole / "dataset.json").write_text(json.dumps({"statistics": {"name": "a"}, "supported": []}))
    files = [whole / name for name in ("Mean.npy", "Std.npy", "dataset.json", "train.txt", "texts/walk.txt",
                                       "new_joint_vecs/walk.npy")]  # fmt: skip

    @tries(25)
    @given(NUMBERS)
    def check(number):
        chosen = files[number % len(files)]
        before = chosen.read_bytes()
        chosen.write_bytes(SPOILED.get(chosen.suffix, fuzzing.spoil_text)(before, number))
        try:
            dataset = HumanML3D(whole)
            dataset.sound(dataset.ids("train"))
        except ValueError as error:
            assert str(error).rstrip().endswith("."), str(error)[-300:]
        finally:
            chosen.write_bytes(before)

    check()


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "..", "a/b", "a\\b"])
def test_lists_name_clips_and_no_other_files(name, tmp_path):
    whole = training_data.write(tmp_path / "data")
    (whole / "train.txt").write_text(f"walk\n{name}\n")
    with pytest.raises(ArtifactError, match="a clip must be a name"):
        HumanML3D(whole)


def test_an_array_of_a_dataset_declares_no_more_than_it_holds(tmp_path):
    whole = training_data.write(tmp_path / "data")
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 263), }"
    (whole / "new_joint_vecs" / "walk.npy").write_bytes(fuzzing.npy(header=header, body=bytes(64)))
    clips, reasons = HumanML3D(whole).sound(["walk", "run"], "skip")
    assert len(clips) == 1 and "the size that it declares" in reasons["walk"]


def test_recipes(tmp_path):
    seed = training_data.TOKENIZER.format(data="data").encode()
    file = tmp_path / "case.toml"

    @tries(40)
    @given(NUMBERS)
    def check(number):
        file.write_bytes(fuzzing.spoil_text(seed, number))
        try:
            assert isinstance(read_recipe(file)["data"], str)
        except ArtifactError as error:
            assert fuzzing.complaint(error, "case") is None, fuzzing.complaint(error, "case")

    check()


@pytest.mark.parametrize(
    "text",
    ['kind = ["a"]', "kind = {}", 'kind = "mdm"', 'kind = "mdm"\ndata = 3', "a = " + "[" * 9000,
     'kind = "mdm"\ndata = "d"\nschedule = 3'],
)  # fmt: skip
def test_recipes_of_another_form(text, tmp_path):
    (tmp_path / "case.toml").write_text(text)
    with pytest.raises(ArtifactError, match="case.toml"):
        read_recipe(tmp_path / "case.toml")


def test_mappings(tmp_path):
    file = tmp_path / "case.json"
    seed = json.dumps({name: {name: 0.5, "b": 0.5} for name in fuzzing.SMPL22.joints}).encode()
    assert len(read_mapping(json.loads(seed)).spots) == 22

    @tries(40)
    @given(NUMBERS)
    def check(number):
        file.write_bytes(fuzzing.spoil_json(seed, number))
        try:
            read_mapping(file)
        except ValueError as error:
            assert fuzzing.complaint(error, "case") is None, fuzzing.complaint(error, "case")

    check()


@pytest.mark.parametrize("name", ["../x", "/x", "C:\\x", "..\\x"])
def test_entries_of_archives_are_never_files(name, tmp_path):
    room = tmp_path / "room"
    room.mkdir()
    shutil.copy(_archive(tmp_path / "a.npz", name), room / "a.npz")
    with pytest.raises(ValueError, match="a.npz"):
        from hftrainer.motion.files import load

        load(room / "a.npz")
    assert [file.name for file in room.iterdir()] == ["a.npz"] and not (tmp_path / "x.npy").exists()


def _archive(path: Path, name: str) -> Path:
    import zipfile

    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.npy", fuzzing.npy(np.zeros((2, 263))))
    return path
