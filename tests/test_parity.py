"""The parity runner passes on true numbers, and fails on wrong, damaged, unknown and absent ones."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.parity import Check, Kind, compare, npz_keys, stated_tolerance, tensor_keys
from tests.parity.__main__ import FAMILIES, main, run_folder

GOLDEN = ROOT / "tests" / "golden" / "zoo"
FILES = sorted(GOLDEN.glob("*.npz"))


def verdicts(folder):
    results = list(run_folder(folder))
    return [r.verdict for r in results], results


def test_golden_copies_agree():
    got, results = verdicts(GOLDEN)
    assert got == ["pass"] * 18, [r.line() for r in results]
    assert sum(len(r.checks) for r in results) >= 60
    kinds = {r.kind for r in results}
    assert kinds >= {"hml263/kit251 encode", "hml263/kit251 decode", "hml263 rotations", "resampling"}


def test_golden_copies_are_small_and_none_is_from_capture():
    assert FILES and all(file.stat().st_size <= 100_000 for file in FILES)
    golden = ROOT / "tests" / "golden"
    assert not [file for file in golden.rglob("*") if "real" in file.relative_to(golden).as_posix()]


def test_reference_numbers_of_the_zoo_agree(shared):
    got, results = verdicts(shared / "golden" / "zoo")
    assert [r.line() for r in results if r.verdict == "fail"] == []
    assert got.count("pass") >= 25
    real = {Path(r.case).name for r in results if r.verdict == "pass" and r.case.startswith("real/hml263")}
    assert len(real) == 4, real


def test_everything_in_the_reference_folder_is_of_a_known_kind(shared):
    class Family:
        """Every kind there is, and nothing to run."""

        KINDS = tuple(
            dataclasses.replace(kind, run=lambda path: [Check("a", 0.0, 0.0)])
            for family in FAMILIES for kind in family.KINDS
        )  # fmt: skip

    unknown = [r.line() for r in run_folder(shared / "golden", families=(Family(),)) if r.kind == "unknown"]
    assert unknown == []


def corrupt(path, key):
    """One number in the middle of one array moved by a hundredth of what the array holds."""
    with np.load(path) as file:
        arrays = {name: file[name].copy() for name in file.files}
    flat = arrays[key].reshape(-1)
    flat[flat.size // 2] += 1 if flat.dtype.kind in "iu" else 0.01 * max(1.0, float(np.abs(flat).max()))
    np.savez(path, **arrays)


@pytest.mark.parametrize("name", [file.name for file in FILES])
def test_one_wrong_number_fails(name, tmp_path):
    keys = npz_keys(GOLDEN / name)
    assert keys
    for key in sorted(keys):
        folder = tmp_path / key
        folder.mkdir()
        shutil.copy(GOLDEN / name, folder)
        assert set(verdicts(folder)[0]) == {"pass"}
        corrupt(folder / name, key)
        got, results = verdicts(folder)
        assert "fail" in got, f"{name}: a wrong {key} was not noticed"
        assert any(r.note for r in results if r.verdict == "fail")


def test_other_names_seeds_and_shapes_are_found_by_content(tmp_path):
    from hftrainer.bench import moving_body, plain_joints_to_hml263
    from hftrainer.motion.representation.hml263 import hml263_to_joints

    for seed, frames in ((11, 9), (12, 31)):
        joints = moving_body(frames, seed).astype(np.float32)
        features = plain_joints_to_hml263(joints)
        np.savez(tmp_path / f"clip{seed}.npz", input_joints=joints, feats=features, rec_ric=hml263_to_joints(features))
    got, results = verdicts(tmp_path)
    assert got == ["pass", "pass"] and all(len(r.checks) == 4 for r in results)


def test_what_cannot_be_run_fails(tmp_path):
    shutil.copy(GOLDEN / "kit251_synth_features.npz", tmp_path / "kit.npz")
    with np.load(tmp_path / "kit.npz") as file:
        np.savez(tmp_path / "no_body.npz", input_joints=file["input_joints"], feats=file["feats"])
    (tmp_path / "damaged.npz").write_bytes((GOLDEN / "kit251_synth_features.npz").read_bytes()[:5000])
    np.savez(tmp_path / "odd.npz", something=np.zeros(3))
    (tmp_path / "notes.md").write_text("prose is no case")
    np.savez(tmp_path / "shapes.npz", input_joints=np.zeros((9, 30, 3)), feats=np.zeros((8, 263)))
    results = {r.case: r for r in run_folder(tmp_path)}
    assert set(results) == {"kit.npz", "no_body.npz", "damaged.npz", "odd.npz", "shapes.npz"}
    assert [case for case, r in results.items() if r.verdict == "pass"] == ["kit.npz"]
    assert "crashed: ValueError: kit21 has no reference body" in results["no_body.npz"].line()
    assert "no kind knows" in results["damaged.npz"].line() and "no kind knows" in results["odd.npz"].line()
    assert main([str(tmp_path)]) == 1


def test_a_kind_that_checks_nothing_fails(tmp_path):
    class Family:
        KINDS = (Kind("hollow", lambda path: path.suffix == ".npz", lambda path: []),)

    np.savez(tmp_path / "a.npz", x=np.zeros(3))
    (result,) = run_folder(tmp_path, families=(Family(),))
    assert result.verdict == "fail" and "could not be run" in result.line()


def test_a_folder_may_be_one_case_and_parts_are_no_cases(tmp_path):
    class Family:
        KINDS = (
            Kind("folder", lambda path: (path / "case.json").is_file(), lambda path: [Check("a", 0.0, 0.0)]),
            Kind(
                "pair", lambda path: path.name == "a.npz", lambda path: [Check("a", 0.0, 0.0)],
                parts=lambda path: [path.with_name("b.npz")],
            ),
        )  # fmt: skip

    (tmp_path / "one").mkdir()
    for name in ("case.json", "tensors.safetensors", "other.npz"):
        (tmp_path / "one" / name).write_text("{}")
    for name in ("a.npz", "b.npz"):
        (tmp_path / name).write_text("")
    found = [(r.case, r.kind) for r in run_folder(tmp_path, families=(Family(),))]
    assert found == [("one", "folder"), ("a.npz", "pair")]


def test_known_kinds_without_a_runner_are_listed(tmp_path):
    (tmp_path / "mdm").mkdir()
    for name in ("x.json", "x.safetensors"):
        (tmp_path / "mdm" / name).write_text("{}")
    results = [(r.kind, r.verdict) for r in run_folder(tmp_path)]
    assert results == [("mdm", "not yet")]
    assert main([str(tmp_path)]) == 1, "nothing was checked"


def test_nothing_is_a_failure(tmp_path, capsys):
    assert main([str(tmp_path)]) == 1
    assert main([str(tmp_path / "absent")]) == 2
    assert "absent" in capsys.readouterr().err


def test_comparing():
    assert compare("x", [1.0, 2.0], [1.0, 2.5], 0.6).difference == 0.5
    assert not compare("x", np.zeros(3), np.zeros(4), 1.0).holds
    assert not compare("x", [np.nan], [0.0], 1.0).holds
    assert not compare("x", [], [], 1.0).holds
    assert compare("x", np.float32([1e6]), np.float32([1e6 + 0.25]), 1e-6).holds, "rounding of a large float32"
    assert not compare("contacts", np.float32([1]), np.float32([0.9999]), 0).holds
    assert tensor_keys(GOLDEN / "skeleton_constants.npz") == frozenset()


def test_tolerances_are_read_from_the_manifest(tmp_path):
    (tmp_path / "real").mkdir()
    files = {"real/a.npz": {"description": "a clip; tol 2e-5, contacts exact"}, "b.npz": {"description": "arrays"}}
    (tmp_path / "MANIFEST.json").write_text(json.dumps({"files": files}))
    assert stated_tolerance(tmp_path / "real" / "a.npz", 1.0) == 2e-5
    assert stated_tolerance(tmp_path / "b.npz", 1.0) == 1.0 and stated_tolerance(tmp_path / "c.npz", 1.0) == 1.0


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_the_command(options):
    command = [sys.executable, "-m", "tests.parity", str(GOLDEN), *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    if options:
        report = json.loads(done.stdout)
        assert report["ok"] and report["counts"] == {"pass": 18, "fail": 0, "not yet": 0}
        assert all(case["largest_difference"] <= case["tolerance"] for case in report["cases"])
    else:
        assert done.stdout.splitlines()[-1] == "18 cases: 18 pass, 0 fail, 0 not yet"
