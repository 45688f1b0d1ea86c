"""The same seed gives the same motion however it is asked, and a file's motion can be made again from what it says."""

import json

import numpy as np
import pytest

from hftrainer.cli import main
from hftrainer.models.motion.mogents.bundle import MoGenTSBundle
from hftrainer.models.motion.mogents.official import MOGENTS, MOMASK
from hftrainer.models.motion.mogents.release import read_release
from hftrainer.models.motion.momask.bundle import MoMaskBundle
from hftrainer.models.tower_files import read_clip
from hftrainer.motion.clip import Motion
from hftrainer.motion.files import load, save
from hftrainer.motion.files.origin import numbers, read_notes
from tests import mdm_tiny, tiny
from tests import mogents_release as authors
from tests.moving import lively
from tests.reliability import TOLERANCE, repeated

FAMILIES = {"mogents": (MOGENTS, MoGenTSBundle), "momask": (MOMASK, MoMaskBundle)}


@pytest.fixture(scope="module", params=["motiongpt", "mdm", *FAMILIES])
def model(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    place = root / request.param
    if request.param == "mdm":
        return mdm_tiny.folder(place)
    if request.param == "motiongpt":
        tiny.bundle().save_pretrained(place)
        return place
    family, bundle = FAMILIES[request.param]
    authors.write(root / "logs", family)
    words = read_clip(authors.clip(root / "clip.pt"), context=77, precision="fp32")
    bundle.from_release(read_release(family, root / "logs"), words).save_pretrained(place)
    return place


def made(model, folder, *more):
    ways = [folder / f"a{ending}" for ending in (".npz", ".glb", ".usda", ".csv")]
    words = ["generate", "a person walks", "--model", str(model), "--seed", "5", "--frames", "40", "--quiet", *more]
    assert main([*words, *(word for way in ways for word in ("-o", str(way)))]) == 0
    return ways


def asked(capsys, *words):
    capsys.readouterr()
    code = main(["reproduce", *map(str, words), "--json", "--quiet"])
    return code, json.loads(capsys.readouterr().out)


def test_a_seed_is_a_motion(model):
    apart = repeated(str(model), ["a person walks", "a person runs", "a person jumps"])
    assert set(apart) == {"again", "another order", "alone", "another number of threads", "another process"}
    assert apart["again"] == apart["another process"] == 0 and max(apart.values()) <= 1000 * TOLERANCE, apart


def test_files_are_made_again(model, tmp_path, capsys):
    for file in made(model, tmp_path):
        code, report = asked(capsys, file, "--model", model)
        assert code == 0 and report["answer"].startswith("equal"), (file.name, report)
    code, report = asked(capsys, tmp_path / "a.npz", "--model", model, "-o", tmp_path / "again.npz")
    assert report["answer"] == "equal" and np.array_equal(load(tmp_path / "again.npz"), load(tmp_path / "a.npz"))


def test_another_motion_and_another_model_are_told(tmp_path, capsys):
    model = mdm_tiny.folder(tmp_path / "one")
    file = made(model, tmp_path)[0]
    motion = load(file)
    save(motion.replace(about={**motion.about, "seed": 6}), tmp_path / "other.npz")
    code, report = asked(capsys, tmp_path / "other.npz", "--model", model)
    assert code == 1 and report["answer"] == "different" and report["apart_mm"] > 1
    save(motion.replace(about={**motion.about, "model_hash": "0" * 16}), tmp_path / "changed.npz")
    code, report = asked(capsys, tmp_path / "changed.npz", "--model", model)
    assert code == 1 and report["answer"] == "the model is not the same"


@pytest.mark.parametrize(
    "name, about, words",
    [("a.bvh", {}, "a BVH has no place for notes"), ("a.npy", {}, "an .npy holds the numbers alone"),
     ("a.npz", {}, "model, model_hash, seed is absent"), ("a.npz", {"model": "m", "model_hash": "0", "seed": 1,
      "task": "prediction"}, "needs the motion that it began with"), ("b.npz", None, "there is none")],
)  # fmt: skip
def test_what_cannot_be_made_again(name, about, words, tmp_path, capsys):
    if about is not None:
        save(Motion(lively(6), "joints", 20, about=about), tmp_path / name)
    assert main(["reproduce", str(tmp_path / name), "--quiet"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and words in " ".join(said.split()).replace("also needs", "needs")


def test_notes_and_numbers_of_every_format(tmp_path):
    motion = Motion(lively(6), "joints", 20, about={"seed": 3, "prompt": 'a "quoted" \\ word'})
    for ending in (".npz", ".glb", ".usda", ".csv"):
        save(motion, tmp_path / f"a{ending}")
        said = read_notes(tmp_path / f"a{ending}")
        assert said["about"] == dict(motion.about) and said["frames"] == 6
        if ending != ".npz":
            save(motion.replace(data=motion.data + np.float32(0.25)), tmp_path / f"b{ending}")
            gap = np.abs(numbers(tmp_path / f"a{ending}") - numbers(tmp_path / f"b{ending}")).max()
            assert gap == pytest.approx(0.25, abs=1e-5)
