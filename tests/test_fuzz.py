"""Every reader survives files that were spoiled: a result, or a sentence; never a crash, a hang, code or a flood."""

import os
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hftrainer.errors import ArtifactError
from hftrainer.models.artifact import read_torch_file
from hftrainer.models.checkpoint import read_named_tensors
from hftrainer.motion.clip import Motion
from hftrainer.motion.files import load
from hftrainer.motion.smpl import load_body
from tests import fuzzing
from tests.conftest import ROOT

CORPUS = ROOT / "tests" / "fuzz"
KINDS = (".npz", ".npy", ".bvh", ".csv", ".trc", ".c3d", ".amc", ".asf")
#: ``HFTRAINER_FUZZ=20000 make fuzz`` tries more.
EXAMPLES = int(os.environ.get("HFTRAINER_FUZZ", "0"))
NUMBERS = st.integers(0, 2**32 - 1)
MEMORY = 256 * 2**20


def tries(few: int):
    """How often a test tries: few times in every run, many in ``make fuzz``, which then draws other numbers."""
    return settings(
        max_examples=EXAMPLES or few, derandomize=not EXAMPLES, deadline=None, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder, and whole files of every kind."""
    folder = tmp_path_factory.mktemp("fuzz")
    return folder, fuzzing.seeds(folder)


def read(file: Path, seeds: dict[str, list[bytes]]) -> Motion:
    """A motion file as a stranger would load it; ``.asf`` and ``.amc`` with a whole other half."""
    if file.suffix == ".asf":
        file.with_suffix(".amc").write_bytes(seeds[".amc"][0])
    if file.suffix == ".amc":
        file.with_suffix(".asf").write_bytes(seeds[".asf"][0])
    kind = file.with_suffix(".amc") if file.suffix == ".asf" else file
    with np.errstate(all="ignore"):
        return load(kind, fps=60 if kind.suffix == ".amc" else None)


def survives(file: Path, seeds: dict[str, list[bytes]]) -> None:
    """The one law of this page."""
    tracemalloc.start()
    try:
        motion = read(file, seeds)
        assert np.isfinite(motion.data).all() and len(motion) >= 1
    except ValueError as error:
        assert fuzzing.complaint(error, file.stem) is None, fuzzing.complaint(error, file.stem)
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < MEMORY + 400 * file.stat().st_size, f"{peak >> 20} MB for {file.stat().st_size} bytes"


@pytest.mark.parametrize("kind", KINDS)
def test_motion_files(kind, whole):
    folder, seeds = whole

    @tries(12)
    @given(NUMBERS)
    @example(0)
    def check(number):
        file = folder / f"case{kind}"
        whole_ones = seeds[kind]
        file.write_bytes(fuzzing.SPOILERS[kind](whole_ones[number % len(whole_ones)], number))
        survives(file, seeds)

    check()


@pytest.mark.parametrize("name", sorted(file.name for file in CORPUS.glob("motion-*")))
def test_what_failed_once_fails_no_more(name, whole, tmp_path):
    file = tmp_path / name
    file.write_bytes((CORPUS / name).read_bytes())
    with pytest.raises(ValueError) as caught:
        read(file, whole[1])
    assert fuzzing.complaint(caught.value, file.stem) is None, caught.value


def test_the_corpus_is_there():
    assert len(list(CORPUS.glob("motion-*"))) >= 8


def test_a_spoiled_file_that_is_whole_is_read(whole, tmp_path):
    for kind, files in whole[1].items():
        file = tmp_path / f"case{kind}"
        file.write_bytes(files[0])
        assert len(read(file, whole[1])) >= 1


def test_joints_that_cost_no_bytes_cost_no_memory(tmp_path):
    ends = "End Site\n{ OFFSET 0 1 0 }\n" * 4000
    head = f"HIERARCHY\nROOT hip\n{{ OFFSET 0 0 0\nCHANNELS 3 Xposition Yposition Zposition\n{ends}}}\n"
    (tmp_path / "wide.bvh").write_text(head + "MOTION\nFrames: 20000\nFrame Time: 0.01\n" + "0 0 0\n" * 20000)
    with pytest.raises(ValueError, match="wide.bvh: .*most of them must move"):
        load(tmp_path / "wide.bvh", mapping={name: "hip" for name in fuzzing.SMPL22.joints})
    (tmp_path / "deep.bvh").write_text("HIERARCHY\nROOT a\n{\n" + "JOINT b\n{\n" * 5000)
    with pytest.raises(ValueError, match="at most 4096 joints"):
        load(tmp_path / "deep.bvh")


def test_one_long_line_takes_no_square_of_time(tmp_path):
    (tmp_path / "long.bvh").write_text("HIERARCHY\nROOT a\n" + "{ } " * 300_000 + "\n")
    with pytest.raises(ValueError, match="long.bvh"):  # it took hours
        load(tmp_path / "long.bvh")


def pickled(tmp_path, ending, target):
    """A file whose pickle writes ``target`` when it is run."""
    value = {"state_dict": fuzzing.Executed(target), "v_template": fuzzing.Executed(target)}
    file = tmp_path / f"bad{ending}"
    if ending == ".pkl":
        file.write_bytes(pickle.dumps(value))
    elif ending == ".npy":
        file.write_bytes(fuzzing.npy(np.array(fuzzing.Executed(target), dtype=object)))
    elif ending == ".npz":
        bad = np.array(fuzzing.Executed(target), dtype=object)
        np.savez(file, data=bad, poses=bad, trans=bad)
    else:
        file.write_bytes(fuzzing.torch_file(value, zipped=ending != ".tar"))
    return file


@pytest.mark.parametrize(
    "ending, reader",
    [(".npy", load), (".npz", load), (".pkl", load_body), (".pt", read_torch_file), (".pt", read_named_tensors),
     (".tar", read_named_tensors), (".tar", read_torch_file)],
)  # fmt: skip
def test_a_pickle_that_would_write_a_file_does_not(tmp_path, ending, reader):
    target = tmp_path / "written"
    file = pickled(tmp_path, ending, target)
    with pytest.raises(ValueError) as caught:
        reader(file)
    assert not target.exists() and fuzzing.complaint(caught.value, "bad") is None


def test_that_pickle_would_have_written_it(tmp_path):
    pickle.loads(pickled(tmp_path, ".pkl", tmp_path / "written").read_bytes())
    assert (tmp_path / "written").read_text() == "executed"


@pytest.mark.parametrize("kind", [".npz", ".pkl"])
def test_body_models(kind, tmp_path):
    seed = fuzzing.body_files()[kind]
    file = tmp_path / f"case{kind}"
    file.write_bytes(seed)
    assert len(load_body(file).parents) == 24

    @tries(12)
    @given(NUMBERS)
    def check(number):
        file.write_bytes(fuzzing.SPOILERS[kind](seed, number))
        try:
            load_body(file)
        except ValueError as error:
            assert fuzzing.complaint(error, "case") is None, fuzzing.complaint(error, "case")

    check()


@pytest.mark.parametrize("cell", [b"r\xff\xff\xff\x7f", b"p2147483647\n", b"\x8d\xff\xff\xff\xff\xff\xff\xff\x00"])
def test_pickles_that_declare_what_is_not_there(cell, tmp_path):
    (tmp_path / "case.pkl").write_bytes(b"\x80\x02}" + cell + b".")
    with pytest.raises(ValueError, match="case.pkl.*(place|declares)"):
        load_body(tmp_path / "case.pkl")


@pytest.mark.parametrize("ending", [".pt", ".tar", ".safetensors"])
def test_checkpoints(ending, tmp_path):
    import torch
    from safetensors.torch import save

    value = {"a.weight": torch.arange(12.0).reshape(3, 4), "b": torch.zeros(2, dtype=torch.int64)}
    seed = save(value) if ending == ".safetensors" else fuzzing.torch_file({"state_dict": value}, ending == ".pt")
    file = tmp_path / f"case{ending}"
    file.write_bytes(seed)
    assert set(read_named_tensors(file)) == set(value)

    @tries(25)
    @given(NUMBERS)
    def check(number):
        file.write_bytes(fuzzing.spoil_bytes(seed, number))
        try:
            read_named_tensors(file)
        except ArtifactError as error:
            assert fuzzing.complaint(error, "case") is None, fuzzing.complaint(error, "case")

    check()


def test_uploads(whole):
    from hftrainer.serving.motions import UPLOADS, motion_of_upload
    from hftrainer.serving.refusals import Refusal

    @tries(30)
    @given(NUMBERS)
    def check(number):
        kind = UPLOADS[number % len(UPLOADS)]
        data = fuzzing.SPOILERS[kind](whole[1][kind][0], number)
        try:
            assert np.isfinite(motion_of_upload(f"../../etc/{kind}", data, None, None).data).all()
        except Refusal as error:
            assert error.status_code == 422 and len(str(error)) < 4000

    check()
