"""A small pack becomes a HumanML3D folder: complete, the same to the bit, restartable, honest about its words."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from capture_files import caption, channels, make_download, make_pack, walk

from hftrainer.cli import main
from hftrainer.data.build import build, encode, mirror_joints
from hftrainer.data.humanml3d import HumanML3D
from hftrainer.data.mocap import Listing, Pack, Span, open_source, parse_cmu_index
from hftrainer.data.retarget import REFERENCE_OFFSETS
from hftrainer.data.windows import MAX_ROWS, read_wording, tiles, windows_of
from hftrainer.errors import ArtifactError
from hftrainer.motion.representation.hml263 import canonicalize, hml263_to_joints, joints_to_hml263, uniform_skeleton
from hftrainer.motion.representation.specs import get_spec
from hftrainer.motion.rotation import rotvec_to_matrix
from hftrainer.motion.skeleton import SMPL22
from tests.conftest import ROOT

CAPTIONS = [
    caption("cmu_walk", "walk to the left"),
    caption("cmu_long", "walk about", end=25),
    caption("cmu_long", "a man steps with his left foot", 2.0, 6.0, "humanml3d"),
    caption("cmu_long", "a man steps with his right foot", 2.0, 6.0, "humanml3d", mirror=True),
    caption("cmu_run", "run"),
    caption("cmu_bad", "stand"),
]


@pytest.fixture(scope="module")
def pack(tmp_path_factory) -> Path:
    clips = {
        "cmu_walk": walk(4.0), "cmu_long": walk(25.0, speed=10), "cmu_run": walk(1.4, speed=60), "cmu_blink": walk(0.5),
        "cmu_bad": channels(200), "cmu_other": walk(3.0),
    }  # fmt: skip
    return make_pack(tmp_path_factory.mktemp("pack") / "p", clips, CAPTIONS, {"cmu_other": "test"})


@pytest.fixture(scope="module")
def sentences(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("captions")
    rows = [
        {"source": "cmu", "label": "walk about", "sentences": ["a person wanders"], "anywhere": False},
        {"source": "cmu", "label": "Walk to the left", "sentences": ["someone goes left"], "anywhere": True},
        {"clip": "cmu_long", "start": 12.0, "end": 13.2, "sentences": ["a short #1 step"], "origin": "project"},
        {"clip": "cmu_other", "start": 0.0, "end": 3.0, "sentences": ["the whole of it"], "origin": "project"},
    ]
    (folder / "some.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def dataset(pack, sentences, tmp_path_factory):
    out = tmp_path_factory.mktemp("data") / "set"
    return out, build(pack, out, workers=1, captions=sentences, measured=False)


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_layout_and_splits(dataset):
    out, about = dataset
    data = HumanML3D(out)
    assert set(data.ids("test")) == {"cmu_other", "Mcmu_other"}
    assert set(data.ids("short")) == {"cmu_run", "Mcmu_run"}
    assert "cmu_walk" in data.ids("train") and "Mcmu_walk" in data.ids("train")
    everything = set((out / "all.txt").read_text().split())
    assert everything == set(data.ids("train")) | set(data.ids("val")) | set(data.ids("test"))
    assert about["excluded"] == {"cmu_bad": "marked unusable", "cmu_blink": "shorter than 0.8 s"}
    assert about["counts"]["train"]["windows"] * 2 == len(data.ids("train"))
    for name in (*everything, *data.ids("short")):
        features = np.load(out / "new_joint_vecs" / f"{name}.npy")
        joints = np.load(out / "new_joints" / f"{name}.npy")
        assert features.dtype == joints.dtype == np.float32
        assert features.shape == (len(joints), 263) and joints.shape[1:] == (22, 3)
        np.testing.assert_allclose(hml263_to_joints(features), joints, atol=1e-6)
        if name in everything:
            assert 40 <= len(features) <= MAX_ROWS


def test_long_clips_are_tiled_and_spans_get_their_own_window(dataset):
    out, _ = dataset
    windows = {w["id"]: w for w in json.loads((out / "origins/cmu_long.json").read_text())["windows"]}
    assert {"cmu_long_00000_00166", "cmu_long_00166_00333", "cmu_long_00333_00499"} < set(windows)
    span = windows["cmu_long_00040_00120"]
    assert ["a man steps with his left foot", "humanml3d"] in span["captions"]
    short = next(w for w in windows.values() if ["a short 1 step", "project"] in w["captions"] and w["rows"] == 40)
    assert short["start"] <= 12.0 and short["end"] >= 13.2


def test_a_label_that_does_not_hold_anywhere_is_not_said_of_parts(dataset):
    out, _ = dataset
    texts = "".join(path.read_text() for path in (out / "texts").glob("cmu_long_*.txt"))
    assert "walk about" not in texts and "wanders" not in texts


def test_mirrored_words(dataset):
    data = HumanML3D(dataset[0])
    assert [c.text for c in data.clip("cmu_walk").captions] == ["walk to the left", "someone goes left"]
    assert [c.text for c in data.clip("Mcmu_walk").captions] == ["walk to the right", "someone goes right"]
    span = [c.text for c in data.clip("Mcmu_long_00040_00120").captions]
    assert "a man steps with his right foot" in span and "a man steps with his left foot" not in span


def test_mirrored_twins_are_mirrored(dataset):
    """Up to the millimetres by which the reference body's two sides differ."""
    out, _ = dataset
    joints, twin = (np.load(out / "new_joints" / f"{side}cmu_walk.npy").astype(float) for side in ("", "M"))
    other = mirror_joints(joints)
    np.testing.assert_allclose(other - other[:, :1], twin - twin[:, :1], atol=0.03)
    np.testing.assert_allclose(other[:, 0], twin[:, 0], rtol=0.02, atol=0.03)
    assert np.abs(joints - twin).max() > 0.1


def test_token_lines(dataset):
    line = (dataset[0] / "texts/cmu_walk.txt").read_text().splitlines()[0]
    assert line == "walk to the left#walk/VERB to/ADP the/DET left/ADJ#0.0#0.0"


def test_statistics_come_from_train_and_are_averaged_in_blocks(dataset):
    out, about = dataset
    data = HumanML3D(out)
    frames = np.concatenate([data.features(name) for name in data.ids("train")]).astype(np.float64)
    np.testing.assert_allclose(data.mean, frames.mean(axis=0), atol=1e-5)
    for channel in get_spec("hml263").channels:
        block = data.std[channel.slice]
        assert (block == block[0]).all()
        np.testing.assert_allclose(block[0], frames.std(axis=0)[channel.slice].mean(), rtol=1e-3, atol=1e-5)
    assert about["statistics"]["sha256"] == data.hash and about["statistics"]["name"] == data.name


def test_terms_and_hashes_are_kept(dataset, pack):
    _, about = dataset
    assert "NSF EIA-0196217" in about["licences"]["cmu"]["acknowledgement"]
    assert "Guo" in about["licences"]["humanml3d"]["acknowledgement"]
    assert about["sources"]["files"]["cmu_amc.npz"] == hashlib.sha256((pack / "cmu_amc.npz").read_bytes()).hexdigest()
    assert set(about["sources"]["clips"]) == {"cmu_walk", "cmu_long", "cmu_run", "cmu_blink", "cmu_other"}
    assert about["counts"]["captions"]["humanml3d"] == 2


def test_bit_identical_restartable_and_parallel(dataset, pack, sentences, tmp_path):
    want = hashes(dataset[0])
    build(pack, tmp_path / "a", workers=2, captions=sentences, measured=False)
    assert hashes(tmp_path / "a") == want
    # interrupted: some clips made, one of them damaged by the loss of a file
    build(pack, tmp_path / "b", workers=1, captions=sentences, measured=False, clips=["cmu_walk", "cmu_other"])
    (tmp_path / "b/new_joints/Mcmu_walk.npy").unlink()
    build(pack, tmp_path / "b", workers=1, captions=sentences, measured=False)
    assert hashes(tmp_path / "b") == want
    # a second run makes nothing anew
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "b/new_joints").iterdir()}
    build(pack, tmp_path / "b", workers=1, captions=sentences, measured=False)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "b/new_joints").iterdir()}


def test_changed_captions_leave_no_stale_windows(pack, sentences, tmp_path):
    out = tmp_path / "set"
    build(pack, out, workers=1, captions=sentences, measured=False)
    build(pack, out, workers=1, captions=tmp_path, measured=False)  # no sentences at all
    listed = set((out / "all.txt").read_text().split()) | set((out / "short.txt").read_text().split())
    assert {path.stem for path in (out / "new_joints").iterdir()} == listed
    assert "a short" not in "".join(path.read_text() for path in (out / "texts").iterdir())


def test_measured_sentences(pack, sentences, tmp_path):
    about = build(pack, tmp_path / "set", workers=1, captions=sentences, clips=["cmu_walk", "cmu_other"])
    assert about["counts"]["captions"]["measured"] > 4


def test_kit_sentences_only_when_asked(pack, sentences, tmp_path):
    with pytest.raises(ArtifactError, match="captions_kitml.jsonl"):
        build(pack, tmp_path / "no", kit_text=True)
    kit = make_pack(tmp_path / "kit", {"cmu_walk": walk(4.0)}, CAPTIONS[:1], {})
    row = caption("cmu_walk", "kit says", end=4.0, origin="kit_ml")
    (kit / "captions_kitml.jsonl").write_text(json.dumps(row) + "\n")
    plain = build(kit, tmp_path / "a", workers=1, captions=sentences, measured=False)
    asked = build(kit, tmp_path / "b", workers=1, captions=sentences, measured=False, kit_text=True)
    assert "kit_ml" not in plain["counts"]["captions"] and asked["counts"]["captions"]["kit_ml"] == 2
    assert asked["options"]["kit_text"] is True
    assert "Plappert" in asked["licences"]["kit_ml"]["acknowledgement"] and "kit_ml" not in plain["licences"]


def test_cmus_own_download(tmp_path):
    index = "Subject #2 (various)\n02_01\twalk\n02_02\trun/jog\t120\n60_01 salsa 60\n"
    assert parse_cmu_index(index)[2, 2] == "run/jog" and parse_cmu_index(index)[60, 1] == "salsa"
    trials = {"02_01": walk(3.0, fps=120), "02_02": walk(3.0, fps=120), "60_01": walk(3.0, fps=60)}
    folder = make_download(tmp_path / "all", trials, index)
    about = build(folder, tmp_path / "out", workers=1, captions=tmp_path, measured=False)
    assert about["name"] == "cmu" and about["counts"]["clips"] == 3
    records = [json.loads(path.read_text()) for path in sorted((tmp_path / "out/origins").iterdir())]
    assert [record["seconds"] for record in records] == [3.0, 3.0, 3.0]
    assert records[2]["windows"][0]["captions"] == [["salsa", "cmu_index"]]


def test_a_damaged_trial_is_left_out_and_named_and_taken_once_it_is_mended(tmp_path, capsys):
    trials = {"02_01": walk(3.0, fps=120), "02_02": walk(3.0, fps=120)}
    folder = make_download(tmp_path / "all", trials, "02_01\twalk\n02_02\twalk\n")
    (bad,) = folder.rglob("02_02.amc")
    whole = bad.read_text()
    bad.write_text(whole[: len(whole) // 2] + "oops")
    about = build(folder, tmp_path / "out", workers=1, captions=tmp_path, measured=False)
    assert set(about["damaged"]) == {"cmu_02_02"} and "02_02.amc" in about["damaged"]["cmu_02_02"]
    assert about["counts"]["clips"] == 1 and "cmu_02_02" not in (tmp_path / "out/all.txt").read_text()
    words = ["data", "build", "mocap", "--from", str(folder), "-o", str(tmp_path / "out"), "--workers", "1"]
    assert main(words) == 1 and "left out: cmu_02_02: 02_02.amc: every frame" in capsys.readouterr().out
    bad.write_text(whole)
    about = build(folder, tmp_path / "out", workers=1, captions=tmp_path, measured=False)
    assert "damaged" not in about and about["counts"]["clips"] == 2


def test_a_changed_recording_is_made_anew(tmp_path):
    folder = make_download(tmp_path / "all", {"02_01": walk(3.0, fps=120)}, "02_01\twalk\n")
    build(folder, tmp_path / "out", workers=1, captions=tmp_path, measured=False)
    before = np.load(tmp_path / "out/new_joints/cmu_02_01.npy")
    make_download(tmp_path / "all", {"02_01": walk(5.0, fps=120)}, "02_01\twalk\n")
    build(folder, tmp_path / "out", workers=1, captions=tmp_path, measured=False)
    assert len(np.load(tmp_path / "out/new_joints/cmu_02_01.npy")) == len(before) + 40


def test_ctrl_c_ends_a_parallel_build_in_one_sentence_and_the_next_goes_on(tmp_path):
    clips = {f"cmu_{number:03d}": walk(20.0) for number in range(60)}
    folder = make_pack(tmp_path / "p", clips, [], {"cmu_001": "test"})
    words = [sys.executable, "-m", "hftrainer", "data", "build", "mocap", "--from", "p", "-o", "set", "--quiet"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        words, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while process.poll() is None and len(list((tmp_path / "set").glob("origins/*.json"))) < 2:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the workers get it too
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130 and said.count("\n") == 1 and said.startswith("hftrainer: stopped by Ctrl-C"), said
    made = list((tmp_path / "set/origins").glob("*.json"))
    assert 2 <= len(made) < len(clips) and not list((tmp_path / "set").rglob("*.part"))
    one = ["cmu_000", "cmu_001"]
    build(folder, tmp_path / "set", workers=1, clips=one)
    build(folder, tmp_path / "other", workers=1, clips=one)
    assert hashes(tmp_path / "set") == hashes(tmp_path / "other")


def test_refusals(tmp_path, pack):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        build(tmp_path / "none", tmp_path / "out")
    with pytest.raises(ArtifactError, match="found neither"):
        build(tmp_path, tmp_path / "out")
    with pytest.raises(ValueError, match="unknown: cmu_nobody, zoe"):
        build(pack, tmp_path / "out", clips=["zoe", "cmu_walk", "cmu_nobody"])
    with pytest.raises(ValueError, match="workers must be 1"):
        build(pack, tmp_path / "out", workers=0)
    folder = make_download(tmp_path / "lost", {"02_01": walk(0.2), "03_01": walk(0.2)})
    for skeleton in folder.rglob("*.asf"):
        skeleton.unlink()
    with pytest.raises(ArtifactError, match="02/02.asf, 03/03.asf"):
        open_source(folder)
    (tmp_path / "bad.jsonl").write_text('{"sentences": ["x"]}\n')
    with pytest.raises(ValueError, match="bad.jsonl, line 1"):
        read_wording(tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_pack_with_absent_files_lists_them(tmp_path):
    folder = make_pack(tmp_path / "p", {"cmu_a": walk(3.0)}, [], {})
    (folder / "cmu_amc.npz").unlink()
    (folder / "skeletons/t.asf").unlink()
    with pytest.raises(ArtifactError, match="cmu_amc.npz, skeletons/t.asf"):
        Pack(folder)


def test_decoding_gives_the_recorded_turn_back():
    """The published encoding loses a turn across "exactly backwards"; the dataset's does not."""
    joints = spinning()
    recorded = canonicalize(uniform_skeleton(joints))[:-1]
    plain, mended = joints_to_hml263(joints), encode(joints)
    assert np.abs(hml263_to_joints(plain) - recorded).max() > 0.05
    np.testing.assert_allclose(hml263_to_joints(mended), recorded, atol=1e-4)
    assert 0 < (plain != mended).sum() < 10 and (plain[:, 1:] == mended[:, 1:]).all()


def spinning() -> np.ndarray:
    """``(T, 22, 3)`` joints of a body that turns once on the spot."""
    body = np.zeros((22, 3))
    for child, parent in enumerate(SMPL22.parents):
        if parent >= 0:
            body[child] = body[parent] + REFERENCE_OFFSETS[child]
    turns = rotvec_to_matrix(np.linspace(0, 2 * np.pi, 160)[:, None] * [0.0, 1.0, 0.0])
    return np.einsum("tab,jb->tja", turns, body) + [0, 1.0, 0]


def test_tiles_are_equal_and_complete():
    for rows in (40, 196, 197, 392, 393, 1234):
        cuts = tiles(0, rows)
        assert cuts[0][0] == 0 and cuts[-1][1] == rows
        assert all(a[1] == b[0] for a, b in zip(cuts, cuts[1:], strict=False))
        sizes = [end - start for start, end in cuts]
        assert max(sizes) <= MAX_ROWS and max(sizes) - min(sizes) <= 1


def test_a_sentence_for_a_span_is_said_of_windows_inside_it(sentences):
    wording = read_wording(sentences)
    listing = Listing("cmu_long", "cmu", "cmu_asf", 25, "train", "", (Span(("x y",), 12.1, 14.1, False, "humanml3d"),))
    windows = windows_of(listing, 499, wording)
    inside = [w for w in windows if any(origin == "project" for _, origin, _ in w.said)]
    assert inside and all(w.end - w.start <= 44 for w in inside)
