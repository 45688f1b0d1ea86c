"""The published road over folders: flags, shards, summaries, refusals, and what is left when a run is killed."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from hftrainer.bench import moving_body
from hftrainer.evaluation import making
from hftrainer.evaluation.bridging import bridge_folder, read_motion135
from hftrainer.evaluation.fitting import Fitting, fit_folder
from hftrainer.motion.representation.hml263 import joints_to_hml263
from hftrainer.motion.representation.motion135 import motion135_to_joints, motion135_to_smpl
from hftrainer.motion.representation.motion272 import motion135_to_motion272
from hftrainer.motion.representation.refine import Refinement
from tests.conftest import ROOT

IK = "scripts/eval/hml263_to_smpl_ik.py"
TO_272 = "scripts/data/convert_motion135_to_h3d272.py"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def predictions(folder, count, frames=24):
    folder.mkdir(parents=True, exist_ok=True)
    for n in range(count):
        np.save(folder / f"{n:06d}.npy", joints_to_hml263(moving_body(frames + n % 5, n)))
    return folder


def bodies(folder, count):
    source = predictions(folder / "hml", count)
    fit_folder(source, folder / "bodies", Fitting(Refinement(steps=0)))
    return folder / "bodies"


def ran(script, *flags):
    words = [sys.executable, str(ROOT / script), *map(str, flags)]
    return subprocess.run(words, capture_output=True, text=True, env=ENVIRONMENT, cwd=ROOT)


def prints(folder, pattern):
    """Name -> contents and moment of writing."""
    files = {path.name: path for path in folder.glob(pattern)}
    return {name: (hashlib.sha256(p.read_bytes()).hexdigest(), p.stat().st_mtime_ns) for name, p in files.items()}


def test_the_cards_command(tmp_path):
    source, target = predictions(tmp_path / "hml", 3), tmp_path / "bodies"
    making.tell(source, {"000001": "he walks"}, model={"sha256": "ab"}, drawing={}, data={}, route=("hml263",))
    done = ran(IK, "--in-dir", source, "--out-dir", target, "--model-dir", "ref_repo/MDM/body_models",
               "--source-fps", 20, "--target-fps", 30, "--floor-align", "--refine-iters", 80, "--refine-lr", 0.02,
               "--device", "cpu", "--skip-existing")  # fmt: skip
    assert done.returncode == 0, done.stderr
    summary = json.loads((target / "_retarget_summary.json").read_text())
    assert (summary["count"], summary["failed"], summary["skipped"]) == (3, 0, 0)
    assert 5 < summary["mean_mpjpe_mm"] < 18
    assert [item["id"] for item in summary["items"]] == ["000000", "000001", "000002"]
    with np.load(target / "000001.npz") as file:
        arrays = {key: file[key] for key in file.files}
    frames = round(24 * 1.5)
    shapes = {"motion_135": (135,), "transl": (3,), "global_orient": (3,), "body_pose": (63,), "fit_mpjpe_mm": (),
              "target_joints": (22, 3), "fitted_joints": (22, 3)}  # fmt: skip
    assert {key: arrays[key].shape for key in shapes} == {key: (frames, *tail) for key, tail in shapes.items()}
    assert (arrays["source_fps"], arrays["target_fps"], arrays["refine_iters"]) == (20, 30, 80)
    assert str(arrays["rotation_init"]) == "position_ik" and not arrays["global_orient_locked"]
    assert arrays["target_joints"][..., 1].min() == pytest.approx(0, abs=1e-6)
    assert np.allclose(motion135_to_joints(arrays["motion_135"]), arrays["fitted_joints"], atol=1e-4)
    distance = np.linalg.norm(arrays["fitted_joints"] - arrays["target_joints"], axis=-1).mean(-1) * 1000
    assert np.allclose(distance, arrays["fit_mpjpe_mm"], atol=1e-2)

    done = ran(TO_272, "--in-dir", target, "--out-dir", tmp_path / "ms272", "--workers", 2, "--skip-existing")
    told = making.read(tmp_path / "ms272")
    assert told["route"] == ["hml263", "motion135", "motion272"] and told["prompts"] == {"000001": "he walks"}
    assert done.returncode == 0, done.stderr
    made = np.load(tmp_path / "ms272/000001.npy")
    assert made.dtype == np.float32 and np.allclose(made, motion135_to_motion272(arrays["motion_135"]), atol=1e-6)
    report = json.loads((tmp_path / "ms272/conversion.json").read_text())
    assert {key: report[key] for key in ("requested", "generated", "skipped", "failed", "missing")} == {
        "requested": 3, "generated": 3, "skipped": 0, "failed": 0, "missing": 0}  # fmt: skip


def test_shards_make_what_one_process_makes(tmp_path):
    source, setting = predictions(tmp_path / "hml", 5), Fitting(Refinement(steps=3), batch=2)
    fit_folder(source, tmp_path / "one", setting)
    for shard in range(2):
        fit_folder(source, tmp_path / "two", setting, shards=2, shard=shard)
    one, two = (prints(tmp_path / name, "*.npz") for name in ("one", "two"))
    assert {name: said for name, (said, _) in one.items()} == {name: said for name, (said, _) in two.items()}
    counts = [json.loads((tmp_path / f"two/_retarget_summary_s0{n}_of_02.json").read_text())["count"] for n in (0, 1)]
    assert counts == [3, 2]
    with pytest.raises(ValueError, match="shard must be 0 to 1 of 2; got 2"):
        fit_folder(source, tmp_path / "two", setting, shards=2, shard=2)


@pytest.mark.parametrize("script, flags, ending", [
    (IK, ("--refine-iters", 80, "--floor-align", "--batch-size", 1), "npz"), (TO_272, ("--workers", 2), "npy"),
])  # fmt: skip
def test_a_killed_run_loses_nothing_and_repeats_nothing(tmp_path, script, flags, ending):
    count = 60
    source = predictions(tmp_path / "hml", count, 60) if script == IK else bodies(tmp_path, count)
    if script == TO_272:  # long enough to be met at work
        for path in source.glob("*.npz"):
            np.savez(path, motion_135=np.tile(read_motion135(path)[:20], (80, 1)))
    words = ["--in-dir", source, *flags]
    assert ran(script, *words, "--out-dir", tmp_path / "whole").returncode == 0
    target = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, str(ROOT / script), *map(str, words), "--out-dir", str(target)],
                               env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    until = time.monotonic() + 120
    while len(list(target.glob(f"*.{ending}"))) < 3 and process.poll() is None and time.monotonic() < until:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(1.5)  # workers see that they are alone, and leave
    before = prints(target, f"*.{ending}")
    assert 3 <= len(before) < count, "the run must be killed at work"
    (target / f".000059.{ending}.left").mkdir(exist_ok=True)  # what a kill in the middle of writing leaves

    done = ran(script, *words, "--out-dir", target, "--skip-existing")
    assert done.returncode == 0, done.stderr
    after, whole = prints(target, f"*.{ending}"), prints(tmp_path / "whole", f"*.{ending}")
    assert {name: said for name, (said, _) in after.items()} == {name: said for name, (said, _) in whole.items()}
    assert len(after) == count and all(after[name] == stamp for name, stamp in before.items())
    assert not [path for path in target.iterdir() if path.name.startswith(".")]
    name = "_retarget_summary.json" if script == IK else "conversion.json"
    said, straight = (json.loads((folder / name).read_text()) for folder in (target, tmp_path / "whole"))
    assert said["skipped"] == len(before)
    if script == IK:
        assert {**said, "skipped": 0} == straight
    else:
        assert said["generated"] == count - len(before) and said["requested"] == count


def test_a_clip_that_cannot_be_fitted_is_named_and_the_others_are(tmp_path):
    source = predictions(tmp_path / "hml", 3)
    np.save(source / "000001.npy", np.full((20, 263), np.nan))
    (source / "000009.npy").write_bytes(b"no array")
    done = ran(IK, "--in-dir", source, "--out-dir", tmp_path / "bodies")
    assert done.returncode == 0 and "failed: 000001: 000001: every value must be finite" in done.stderr
    summary = json.loads((tmp_path / "bodies/_retarget_summary.json").read_text())
    assert (summary["count"], summary["failed"]) == (2, 2)
    assert [failure["id"] for failure in summary["failures"]] == ["000001", "000009"]
    done = ran(IK, "--in-dir", source, "--out-dir", tmp_path / "none", "--ids", "000001")
    assert done.returncode == 1


def test_missing_and_broken_bodies_fail_the_conversion(tmp_path):
    source = bodies(tmp_path, 3)
    np.savez(source / "000001.npz", something=np.zeros(3))
    (source / "000002.npz").write_bytes(b"PK half a file")
    (tmp_path / "ids.txt").write_text("000000\n000001\n000002\n000007\n")
    done = ran(TO_272, "--in-dir", source, "--out-dir", tmp_path / "out", "--ids-file", tmp_path / "ids.txt")
    assert done.returncode == 1 and "4 requested, 1 generated, 0 skipped, 2 failed, 1 missing" in done.stdout
    assert "000001.npz must hold motion_135 or global_orient, body_pose, transl; got something" in done.stderr
    assert json.loads((tmp_path / "out/conversion.json").read_text())["missing_ids"] == ["000007"]


def test_bodies_are_read_in_every_layout(tmp_path):
    source = bodies(tmp_path, 1)
    want = read_motion135(source / "000000.npz")
    pose, place = motion135_to_smpl(want)
    np.savez(tmp_path / "smpl.npz", global_orient=pose[:, :3], body_pose=pose[:, 3:], transl=place)
    np.save(tmp_path / "plain.npy", want)
    for name in ("smpl.npz", "plain.npy"):
        assert np.allclose(read_motion135(tmp_path / name), want, atol=1e-6)
    with pytest.raises(ValueError, match="finite numbers with T at least 2"):
        np.save(tmp_path / "short.npy", want[:1])
        read_motion135(tmp_path / "short.npy")


def test_lengths_statistics_and_ids(tmp_path):
    source, target = predictions(tmp_path / "hml", 3), tmp_path / "bodies"
    mean, std = np.full(263, 0.1, np.float32), np.full(263, 2.0, np.float32)
    np.save(tmp_path / "mean.npy", mean)
    np.save(tmp_path / "std.npy", std)
    for path in source.glob("*.npy"):
        np.save(path, (np.load(path) - mean) / std)
    (tmp_path / "anno.json").write_text(json.dumps({"data_list": {"000002": {"num_frames": 50}}}))
    done = ran(IK, "--in-dir", source, "--out-dir", target, "--ids", "000000,000002", "--input-normalized",
               "--mean-path", tmp_path / "mean.npy", "--std-path", tmp_path / "std.npy",
               "--target-length-anno", tmp_path / "anno.json", "--lock-global-orient", "--refine-iters", 2)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in target.glob("*.npz")) == ["000000.npz", "000002.npz"]
    assert len(read_motion135(target / "000002.npz")) == 50
    predictions(tmp_path / "plain", 1)
    fit_folder(tmp_path / "plain", tmp_path / "other", Fitting(Refinement(steps=2, locked=(0,))))
    with np.load(target / "000000.npz") as one, np.load(tmp_path / "other/000000.npz") as other:
        assert np.allclose(one["motion_135"], other["motion_135"], atol=1e-3) and one["global_orient_locked"]


@pytest.mark.parametrize("flags, said", [
    (("--rotation-init", "hml263_init"), "--rotation-init must be auto or position_ik; got 'hml263_init'"),
    (("--canonical-meta-dir", "x"), "--canonical-meta-dir must be left out; got 'x'"),
    (("--input-normalized",), "--input-normalized needs --mean-path and --std-path"),
    (("--lock-body-joints", "wing"), "a joint must be 0 to 21 or one of pelvis"),
    (("--num-shards", 2, "--shard-index", 2), "shard must be 0 to 1 of 2; got 2"),
    (("--ids", "nobody"), "every id must have an ID.npy"),
])  # fmt: skip
def test_wrong_requests_end_with_2(tmp_path, flags, said):
    done = ran(IK, "--in-dir", predictions(tmp_path / "hml", 1), "--out-dir", tmp_path / "out", *flags)
    assert done.returncode == 2 and said in done.stderr


def chain_in(tmp_path, name, **more):
    """The command and its variables, in a folder of its own; the evaluator is stood in for."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\ncase "$1" in *verify_evaluators.py) echo "$@" > {tmp_path}/asked;; '
                      f'*) exec {sys.executable} "$@";; esac\n')  # fmt: skip
    python.chmod(0o755)
    folders = {"SMPL135": f"{tmp_path}/{name}/s", "PRED272": f"{tmp_path}/{name}/m"}
    environment = {**ENVIRONMENT, "PRED263": f"{tmp_path}/hml", **folders, "NUM_GPUS": "0", "NUM_SHARDS": "2",
                   "CONVERT_WORKERS": "1", "N_REPEATS": "3", "PYTHON": str(python), **more}  # fmt: skip
    return ["bash", str(ROOT / "scripts/eval/run_mogents_hml263_to_ms272_chain.sh")], environment


def test_the_chain_to_its_evaluator(tmp_path):
    """The first two stages, and the records; the evaluator itself is stood in for."""
    predictions(tmp_path / "hml", 3)
    script, environment = chain_in(tmp_path, "one")
    done = subprocess.run(script, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    where = tmp_path / "one"
    summary = json.loads((where / "m/metrics/run_summary.json").read_text())
    assert [summary[key] for key in ("hml263_predictions", "motion_135_files", "motionstreamer_272_files")] == [3, 3, 3]
    assert summary["ik_failed"] == 0 and 5 < summary["ik_mean_mpjpe_mm"] < 18
    assert "--which ms272" in (tmp_path / "asked").read_text() and "--n-repeats 3" in (tmp_path / "asked").read_text()
    assert json.loads((where / "m/logs/run_config.json").read_text())["num_shards"] == "2"
    assert "NUM_SHARDS=2" in (where / "m/logs/command.txt").read_text()
    stamps = prints(where / "s", "*.npz")
    assert subprocess.run(script, env=environment, capture_output=True).returncode == 0
    assert prints(where / "s", "*.npz") == stamps


def test_a_killed_chain_leaves_nobody_behind_and_goes_on_where_it_was(tmp_path):
    count = 24
    predictions(tmp_path / "hml", count, 196)
    script, environment = chain_in(tmp_path, "killed", NUM_SHARDS="1")
    bodies, features = tmp_path / "killed/s", tmp_path / "killed/m"
    process = subprocess.Popen(script, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 300
    while not list(bodies.glob("*.npz")) and process.poll() is None and time.monotonic() < until:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(2)  # what the script started sees that it is alone, and leaves
    before = prints(bodies, "*.npz")
    assert 0 < len(before) < count and not list(features.glob("*.npy")), "the run must be killed at work"
    time.sleep(1)
    assert prints(bodies, "*.npz") == before, "somebody goes on"
    done = subprocess.run(script, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    after = prints(bodies, "*.npz")
    assert len(after) == len(list(features.glob("*.npy"))) == count
    assert all(after[name] == stamp for name, stamp in before.items())
    summary = json.loads((features / "metrics/run_summary.json").read_text())
    assert summary["motion_135_files"] == summary["motionstreamer_272_files"] == count


def test_folders_are_refused_with_what_is_wrong(tmp_path):
    with pytest.raises(ValueError, match="must hold ID.npy files; got none"):
        fit_folder(tmp_path, tmp_path / "out")
    with pytest.raises(ValueError, match="must hold ID.npz or ID.npy files; got none"):
        bridge_folder(tmp_path / "nowhere", tmp_path / "out")
