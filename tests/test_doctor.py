"""``hftrainer doctor``: everything that is not there is named, with what mends it; nothing is ever an error."""

import json
import os
import subprocess
import sys
import tomllib

import numpy as np
import pytest

from hftrainer.cli import doctor, main
from tests.conftest import ROOT
from tests.test_smpl import arrays


def told(capsys, *words):
    """The checks by name, and which needed things are missing."""
    assert main(["doctor", "--json", *words]) == 0
    report = json.loads(capsys.readouterr().out)
    return {check["name"]: check for check in report["checks"]}, report["missing"]


def test_everything_is_ok_or_has_what_mends_it(capsys):
    checks, missing = told(capsys)
    assert not missing and {"torch", "extra fbx", "processors", "GPU", "motiongpt-mini", "hub cache"} <= set(checks)
    assert all(check["found"] and check["use"] for check in checks.values())
    assert {name for name, check in checks.items() if check["mend"]} == {
        name for name, check in checks.items() if check["state"] == "optional"
    }
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("nothing needed is missing; ")
    assert len(lines) == 1 + len(checks) + sum(check["state"] != "ok" for check in checks.values())


def test_it_costs_no_torch_and_fetches_nothing(tmp_path):
    code = "import sys; from hftrainer.cli import main; main(['doctor']); assert 'torch' not in sys.modules"
    environment = {**os.environ, "PATH": str(tmp_path), "HF_ENDPOINT": "http://127.0.0.1:9"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "install Node.js with npm" in done.stdout


def test_every_extra_is_known():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    del extras["dev"], extras["fuzz"]  # for those who work on the library
    names = {extra: tuple(line.split(">")[0] for line in lines) for extra, lines in extras.items()}
    assert {extra: packages for extra, (packages, _) in doctor.EXTRAS.items()} == names


def test_absent_packages(capsys, monkeypatch):
    have = doctor.installed
    absent = ("numpy", "av", "bpy")
    monkeypatch.setattr(doctor, "installed", lambda name: None if name in absent else have(name))
    monkeypatch.setattr(doctor.shutil, "which", lambda name: "/opt/blender" if name == "blender" else None)
    checks, missing = told(capsys)
    assert missing == ["numpy"] and "motiongpt-mini" not in checks
    assert checks["extra video"]["mend"] == "pip install 'hftrainer[video]'"
    assert checks["extra fbx"] == {**checks["extra fbx"], "state": "ok", "found": "/opt/blender"}


def test_a_damaged_model(capsys, monkeypatch, tmp_path):
    folder = tmp_path / "artifacts" / "small"
    folder.mkdir(parents=True)
    (folder / "SHA256SUMS").write_text("0" * 64 + "  model.safetensors\n")
    monkeypatch.setattr(doctor, "PACKAGE", tmp_path)
    checks, missing = told(capsys)
    assert missing == ["small"] and checks["small"]["found"] == "model.safetensors is absent"


def test_threads_and_cache(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("OMP_NUM_THREADS", "9999")
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("hftrainer.models.hub.cache_folder", lambda: tmp_path / "file" / "hub")
    checks, _ = told(capsys)
    assert checks["processors"]["mend"] == f"export OMP_NUM_THREADS={doctor.processors()}"
    assert "cannot be written" in checks["hub cache"]["found"] and "HF_HOME" in checks["hub cache"]["mend"]


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a shell script")
def test_a_gpu_that_torch_does_not_reach(capsys, monkeypatch, tmp_path):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho Some GPU\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    gpu = told(capsys)[0]["GPU"]
    assert gpu["state"] == "optional" and gpu["found"].startswith("Some GPU; torch")
    program.write_text("#!/bin/sh\nexit 9\n")
    assert told(capsys)[0]["GPU"]["found"] == "nvidia-smi finds none"


def test_a_body_of_your_own(capsys, tmp_path):
    np.savez(tmp_path / "body.npz", **arrays())
    body = told(capsys, "--body", str(tmp_path / "body.npz"))[0]["body model"]
    assert body["state"] == "ok" and "24 joints" in body["found"]
    (tmp_path / "body.npz").write_bytes(b"no body")
    body = told(capsys, "--body", str(tmp_path / "body.npz"))[0]["body model"]
    assert body["state"] == "optional" and "body.npz" in body["found"]
