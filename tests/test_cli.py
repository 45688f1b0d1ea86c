"""The command line as a stranger meets it: real processes, real files, one clear sentence for each mistake."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from hftrainer.cli import main
from hftrainer.cli.entry import VERBS
from hftrainer.cli.outputs import numbered
from hftrainer.cli.parser import near
from hftrainer.motion import Motion
from tests.conftest import ROOT

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


def hftrainer(*words, cwd, timeout=120):
    """Run the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "hftrainer", *map(str, words)],
        cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=timeout,
    )  # fmt: skip


def walking(frames=40):
    """A body of 22 joints that slides forward 5 cm a frame and swings its limbs; metres, 20 fps."""
    rng = np.random.default_rng(0)
    from hftrainer.motion.skeleton import SMPL22

    pose = np.zeros((22, 3))
    for joint, parent in enumerate(SMPL22.parents):
        if parent >= 0:
            pose[joint] = pose[parent] + SMPL22.offsets[joint]
    pose[:, 1] -= pose[:, 1].min()
    swing = 0.01 * np.sin(np.arange(frames)[:, None, None] / 3 + rng.uniform(0, 6, (22, 3)))
    ahead = np.arange(frames)[:, None, None] * np.array([0, 0, 0.05])
    return Motion(pose + swing + ahead, "joints", fps=20, about={"prompt": "a person walks", "seed": 3})


REFUSALS = {
    "no verb of that name": (["genrate", "a walk"], "there is no verb 'genrate'. Did you mean 'generate'?"),
    "no data verb of that name": (["data", "biuld"], "Did you mean 'data build'?"),
    "half a verb": (["data"], "data build, data verify, data pack, data stats"),
    "misspelt flag": (["generate", "a walk", "--secnds", "4", "-o", "x.npz"], "Did you mean '--seconds'?"),
    "shortened flag": (["generate", "a walk", "--sec", "4", "-o", "x.npz"], "Did you mean '--seconds'?"),
    "no sentence": (["generate", "-o", "x.npz"], "give a sentence"),
    "empty sentence": (["generate", "", "-o", "x.npz"], "sentence 1 must have words; got an empty one"),
    "blank sentence": (["generate", "a walk", "  ", "-o", "x.npz"], "sentence 2 must have words"),
    "no output": (["generate", "a walk"], "say where to write with -o FILE"),
    "unknown format": (["generate", "a walk", "-o", "x.xyz"], "must be one of .npz, .npy, .bvh"),
    "no ending": (["generate", "a walk", "-o", "x"], "got no ending"),
    "the same file twice": (["generate", "a walk", "-o", "x.npz", "-o", "./x.npz"], "the same file"),
    "0 seconds": (["generate", "a walk", "--seconds", "0", "-o", "x.npz"], "above 0; got '0'"),
    "minus seconds": (["generate", "a walk", "--seconds", "-3", "-o", "x.npz"], "above 0; got '-3'"),
    "NaN seconds": (["generate", "a walk", "--seconds", "nan", "-o", "x.npz"], "above 0; got 'nan'"),
    "endless seconds": (["generate", "a walk", "--seconds", "inf", "-o", "x.npz"], "above 0; got 'inf'"),
    "seconds in words": (["generate", "a walk", "--seconds", "two", "-o", "x.npz"], "above 0; got 'two'"),
    "seconds and frames": (["generate", "a walk", "--seconds", "2", "--frames", "40", "-o", "x.npz"], "Keep one"),
    "minus samples": (["generate", "a walk", "--samples", "-2", "-o", "x.npz"], "at least 1; got '-2'"),
    "no samples": (["generate", "a walk", "--samples", "0", "-o", "x.npz"], "at least 1; got '0'"),
    "half a seed": (["generate", "a walk", "--seed", "1.5", "-o", "x.npz"], "whole number of at least 0; got '1.5'"),
    "huge seed": (["generate", "a walk", "--seed", "9" * 30, "-o", "x.npz"], "whole number"),
    "absent prompt file": (["generate", "--prompts", "none.txt", "-o", "x.npz"], "none.txt: No such file"),
    "a parent that is a file": (["generate", "a walk", "-o", "file/deep/x.npz"], "file is a file"),
    "an output that is a folder": (["generate", "a walk", "-o", "folder.npz"], "it is a folder"),
    "a place that refuses files": (["generate", "a walk", "-o", "/proc/x.npz"], "must be writable"),
    "flag without a value": (["generate", "a walk", "-o"], "--output expected one argument"),
    "nothing to convert": (["convert", "none.bvh", "x.npz"], "there is nothing there"),
    "convert to a video": (["convert", "none.bvh", "x.mp4"], "hftrainer render"),
    "unknown representation": (["convert", "none.npy", "x.npz", "--from", "hml236"], "did you mean 'hml263'?"),
    "too many arguments": (["convert", "a", "b", "c"], "'c' is one argument too many"),
    "missing argument": (["convert", "a.npz"], "required: OUT"),
    "nothing to draw": (["render", "none.npz", "-o", "x.gif"], "none.npz must be a motion file"),
    "draw into a motion file": (["render", "none.npz", "-o", "x.bvh"], "must be"),
    "no such recipe": (["train", "none.toml", "-o", "run"], "must be a recipe"),
    "no such bench": (["bench", "motoin"], "Did you mean 'motion'?"),
    "no recordings": (["data", "build", "mocap", "--from", "none", "-o", "set"], "must be a folder of recordings"),
    "unknown recordings": (["data", "build", "mocpa", "--from", ".", "-o", "set"], "Did you mean 'mocap'?"),
    "no dataset": (["data", "stats", "."], "must be a dataset folder with train.txt"),
    "no such thing": (["info", "none"], "there is nothing there"),
}


@pytest.mark.parametrize("words, sentence", REFUSALS.values(), ids=REFUSALS)
def test_a_wrong_request(words, sentence, tmp_path):
    (tmp_path / "file").write_text("I am a file.")
    (tmp_path / "folder.npz").mkdir()
    done = hftrainer(*words, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert sentence in done.stderr and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.npz"]


def test_a_wrong_request_starts_neither_torch_nor_a_model(tmp_path):
    code = ("import sys; from hftrainer.cli import main\n"
            "assert main(['generate', 'a walk', '-o', '/proc/x.npz']) == 2\n"
            "assert main(['generate', '', '-o', 'x.npz']) == 2\n"
            "assert not {'torch', 'numpy'} & set(sys.modules)")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_json_of_a_wrong_request(tmp_path):
    done = hftrainer("generate", "a walk", "-o", "x.xyz", "--json", cwd=tmp_path)
    assert json.loads(done.stdout) == {"error": done.stderr.removeprefix("hftrainer: ").strip(), "exit": 2}


def test_prompt_file_that_is_not_text(tmp_path):
    (tmp_path / "p.txt").write_bytes(b"a walk\n\xff\xfe\n")
    done = hftrainer("generate", "--prompts", "p.txt", "-o", "x.npz", cwd=tmp_path)
    assert done.returncode == 2 and "p.txt must be UTF-8 text" in done.stderr
    (tmp_path / "p.txt").write_text("\n\n")
    assert "must hold one sentence on each line" in hftrainer("generate", "--prompts", "p.txt", cwd=tmp_path).stderr


@pytest.mark.parametrize("words", [["--help"], ["help"], ["--version"], *([*verb.split(), "--help"] for verb in VERBS)])
def test_help(words, tmp_path):
    done = hftrainer(*words, cwd=tmp_path)
    assert done.returncode == 0 and done.stdout and not done.stderr


def test_no_arguments_shows_help(tmp_path):
    done = hftrainer(cwd=tmp_path)
    assert done.returncode == 2 and "verbs:" in done.stderr and not done.stdout


def test_numbering():
    assert numbered(Path("a/walk.bvh"), 1) == [Path("a/walk.bvh")]
    assert [p.name for p in numbered(Path("walk.bvh"), 3)] == ["walk-000.bvh", "walk-001.bvh", "walk-002.bvh"]
    names = numbered(Path("w.npz"), 1001)
    assert names[0].name == "w-0000.npz" and names[-1].name == "w-1000.npz" and sorted(names) == names


def test_near():
    assert near("generat", VERBS) == "Did you mean 'generate'?"
    assert near("xyzzy", ["one", "two"]) == "Known: one, two."


# ------------------------------------------------------------------------------------------- files, no model


def test_convert_there_and_back(tmp_path):
    motion = walking()
    motion.save(tmp_path / "walk.npz")
    done = hftrainer("convert", "walk.npz", "deep/er/walk.bvh", cwd=tmp_path)
    assert done.returncode == 0 and done.stdout == "deep/er/walk.bvh\n", done.stderr
    done = hftrainer("convert", "deep/er/walk.bvh", "again.npz", "--to", "joints", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["converted"] == ["again.npz"], done.stderr
    info = json.loads(hftrainer("info", "again.npz", "--json", cwd=tmp_path).stdout)
    assert info["representation"] == "joints" and info["frames"] == 40 and info["fps"] == pytest.approx(20)


def test_convert_bare_numbers_asks_what_they_are(tmp_path):
    np.save(tmp_path / "other.npy", np.zeros((9, 135)))
    done = hftrainer("convert", "other.npy", "walk.npz", cwd=tmp_path)
    assert done.returncode == 2 and "other.npy" in done.stderr and not (tmp_path / "walk.npz").exists()
    np.save(tmp_path / "walk.npy", walking().data)
    done = hftrainer("convert", "walk.npy", "walk.npz", "--from", "joints", "--fps", 60, "--resample", 20, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    info = json.loads(hftrainer("info", "walk.npz", "--json", cwd=tmp_path).stdout)
    assert info["fps"] == 20 and 13 <= info["frames"] <= 14


def test_convert_to_bvh_as_another_program_wants_it(tmp_path):
    walking().save(tmp_path / "walk.npz")
    words = ["convert", "walk.npz", "walk.bvh", "--names", "mixamo", "--unit", "m", "--bones", "rigid", "--in-place"]
    assert hftrainer(*words, cwd=tmp_path).returncode == 0
    assert "Hips" in (tmp_path / "walk.bvh").read_text()
    done = hftrainer("convert", "walk.npz", "x.npz", "--names", "mixamo", cwd=tmp_path)
    assert done.returncode == 2 and "only .bvh" in done.stderr
    done = hftrainer("convert", "walk.npz", "x.bvh", "--names", "maya", cwd=tmp_path)
    assert done.returncode == 2 and "maya" in done.stderr and not (tmp_path / "x.bvh").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_convert_folder(workers, tmp_path):
    for name in ("a", "b/c"):
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True, parents=True)
        walking().save(tmp_path / "in" / f"{name}.npz")
    (tmp_path / "in" / "broken.bvh").write_text("HIERARCHY\nnothing more")
    words = ["convert", "in", "out", "--format", "npz", "--to", "hml263", "--workers", workers, "--json"]
    done = hftrainer(*words, cwd=tmp_path)
    report = json.loads(done.stdout)
    assert done.returncode == 1 and sorted(report["converted"]) == ["out/a.npz", "out/b/c.npz"]
    assert list(report["failed"]) == ["in/broken.bvh"] and "Traceback" not in done.stderr
    assert sorted(str(p.relative_to(tmp_path)) for p in (tmp_path / "out").rglob("*.*")) == ["out/a.npz", "out/b/c.npz"]
    before = (tmp_path / "out" / "a.npz").stat().st_mtime_ns
    (tmp_path / "in" / "broken.bvh").unlink()
    report = json.loads(hftrainer(*words, "--skip-existing", cwd=tmp_path).stdout)
    assert report["converted"] == [] and len(report["skipped"]) == 2
    assert (tmp_path / "out" / "a.npz").stat().st_mtime_ns == before


def test_convert_folder_refuses_two_files_with_one_name(tmp_path):
    (tmp_path / "in").mkdir()
    walking().save(tmp_path / "in" / "a.npz")
    walking().save(tmp_path / "in" / "a.bvh")
    done = hftrainer("convert", "in", "out", cwd=tmp_path)
    assert done.returncode == 2 and "would both become" in done.stderr and not (tmp_path / "out").exists()


def test_render(tmp_path):
    walking(12).save(tmp_path / "walk.npz")
    done = hftrainer("render", "walk.npz", "-o", "w.png", "-o", "w.gif", "-o", "w.mp4", "--size", 128, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "w.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "w.gif").read_bytes().startswith(b"GIF89a")
    assert b"ftyp" in (tmp_path / "w.mp4").read_bytes()[:12]
    assert len(list(tmp_path.iterdir())) == 4


def test_info_of_folders(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model_index.json").write_text('{"frame_range": [40, 196]}')
    (tmp_path / "model" / "README.md").write_text("# A card")
    done = hftrainer("info", "model", cwd=tmp_path)
    assert done.returncode == 0 and "[40, 196]" in done.stdout and "# A card" in done.stdout
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "dataset.json").write_text('{"clips": 3}')
    assert json.loads(hftrainer("info", "set", "--json", cwd=tmp_path).stdout)["dataset"] == {"clips": 3}


def test_data_stats(tmp_path):
    for folder in ("new_joint_vecs", "texts"):
        (tmp_path / folder).mkdir()
    texts = {"a": "a man walks.#a/DET#0.0#0.0\nhe walks#he/PRON#0.0#0.0", "Ma": "he walks#x#0#0"}
    for (name, text), frames in zip(texts.items(), (40, 60), strict=True):
        np.save(tmp_path / "new_joint_vecs" / f"{name}.npy", np.zeros((frames, 263), np.float32))
        (tmp_path / "texts" / f"{name}.txt").write_text(text + "\n")
    (tmp_path / "train.txt").write_text("a\nMa\n")
    assert "absent: Mean.npy, Std.npy" in hftrainer("data", "stats", ".", cwd=tmp_path).stderr
    for name in ("Mean", "Std"):
        np.save(tmp_path / f"{name}.npy", np.ones(263, np.float32))
    said = json.loads(hftrainer("data", "stats", ".", "--json", cwd=tmp_path).stdout)
    assert "recorded" not in said, "a folder of others does not say what it was built from"
    train = said["splits"]["train"]
    assert train == {
        "windows": 2, "minutes": 0.08, "frames": {"least": 40, "most": 60},
        "sentences": 3, "distinct_sentences": 2, "distinct_words": 4,
    }  # fmt: skip
    (tmp_path / "origins").mkdir()
    clips = {"cmu_07_12": (60, "train"), "cmu_07_13": (30, "train"), "accad_male2_a1": (12, "test"), "x": (6, "val")}
    for name, (seconds, split) in clips.items():
        record = {"clip": name, "seconds": seconds, "split": split}
        (tmp_path / "origins" / f"{name}.json").write_text(json.dumps(record))
    assert json.loads(hftrainer("data", "stats", ".", "--json", cwd=tmp_path).stdout)["recorded"] == {
        "all": {"recordings": 4, "minutes": 1.8}, "test": {"recordings": 1, "minutes": 0.2, "performers": 1},
        "train": {"recordings": 2, "minutes": 1.5, "performers": 1}, "val": {"recordings": 1, "minutes": 0.1},
    }  # fmt: skip


# ---------------------------------------------------------------------- generate, with a pipeline that a test can steer


class Stand:
    """Stands in for the pipeline where a test must steer what it does: counts calls, makes known motions."""

    frame_range = (40, 196)
    fps = 20.0
    settings = {"generate": ("guidance", "temperature")}
    calls: list = []
    trouble: BaseException | None = None
    notes: dict = {}

    @classmethod
    def from_pretrained(cls, name=None, device="cpu"):
        cls.calls = [("load", name, device)]
        return cls()

    def check(self, prompts):
        if "unreadable" in prompts:
            raise ValueError(f"prompt {prompts.index('unreadable')} must be English.")

    def __call__(self, prompts, frames=None, seed=0, samples=1, **settings):
        self.calls.append((prompts, frames, seed, samples, *settings.items()))
        if self.trouble is not None:
            raise self.trouble
        lengths = frames or [40] * len(prompts)
        return [
            walking(n).replace(about={"prompt": p, "sample": s, **self.notes})
            for p, n in zip(prompts, lengths, strict=True) for s in range(samples)
        ]  # fmt: skip


@pytest.fixture
def stand(monkeypatch, tmp_path):
    import hftrainer.pipelines.motiongpt as home

    monkeypatch.setattr(home, "MotionGPTPipeline", Stand)
    monkeypatch.setattr(Stand, "trouble", None)
    monkeypatch.chdir(tmp_path)
    return Stand


def test_prompts_samples_and_files_in_order(stand, tmp_path, capsys):
    (tmp_path / "more.txt").write_text("three\n\n four \n", encoding="utf-8")
    words = [
        "generate",
        "one",
        "-o",
        "m.npz",
        "two",
        "--prompts",
        "more.txt",
        "--samples",
        "2",
        "--seed",
        "7",
        "--json",
    ]
    assert main([*words, "--seconds", "3"]) == 0
    report = json.loads(capsys.readouterr().out)["motions"]
    assert [(m["about"]["prompt"], m["about"]["sample"]) for m in report] == [
        (p, s) for p in ("one", "two", "three", "four") for s in (0, 1)
    ]
    assert [m["files"] for m in report] == [[f"m-{n:03d}.npz"] for n in range(8)]
    assert stand.calls == [("load", None, "cpu"), (["one", "two", "three", "four"], [60] * 4, 7, 2)]
    assert sorted(p.name for p in tmp_path.glob("m-*")) == [f"m-{n:03d}.npz" for n in range(8)]
    from hftrainer.motion.files import load

    assert load(tmp_path / "m-005.npz").about["prompt"] == "three"


def test_settings_reach_the_model_only_when_given(stand, capsys):
    assert main(["generate", "a walk", "-o", "a.npz"]) == 0
    assert Stand.calls[1:] == [(["a walk"], None, 0, 1)]
    assert main(["generate", "a walk", "-o", "a.npz", "--guidance", "2.5", "--temperature", "0.8"]) == 0
    assert Stand.calls[1:] == [(["a walk"], None, 0, 1, ("guidance", 2.5), ("temperature", 0.8))]
    assert main(["generate", "a walk", "-o", "b.npz", "--temperature", "0"]) == 2
    assert "--temperature must be a number above 0; got '0'." in capsys.readouterr().err


def test_words_that_the_model_does_not_know_are_named_once(stand, monkeypatch, capsys):
    words = ["generate", "a yeti walks", "--samples", "2", "-o", "a.npz"]
    assert main(words) == 0 and "does not know" not in capsys.readouterr().err
    monkeypatch.setattr(Stand, "notes", {"unknown_words": ["yeti"]})
    assert main(words) == 0
    assert capsys.readouterr().err.count("does not know 'yeti' in 'a yeti walks'") == 1
    assert main([*words, "--quiet"]) == 0 and capsys.readouterr().err == ""


def test_the_last_prompt_is_checked_before_the_first_is_made(stand, tmp_path, capsys):
    (tmp_path / "p.txt").write_text("\n".join([f"sentence {n}" for n in range(40)] + ["unreadable"]))
    assert main(["generate", "--prompts", "p.txt", "-o", "m.npy", "--quiet"]) == 2
    assert "prompt 40 must be English." in capsys.readouterr().err
    assert stand.calls == [("load", None, "cpu")] and not list(tmp_path.glob("m-*"))


def test_many_prompts_go_in_pieces(stand, tmp_path, capsys):
    (tmp_path / "p.txt").write_text("\n".join(f"sentence {n}" for n in range(70)))
    assert main(["generate", "--prompts", "p.txt", "-o", "m.npy", "--quiet"]) == 0
    assert [len(call[0]) for call in stand.calls[1:]] == [32, 32, 6]
    assert len(capsys.readouterr().out.split()) == 70 == len(list(tmp_path.glob("m-*.npy")))


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["--seconds", "60"], "--seconds must be 2 to 9.8 for this model; got 60. Nearest: 9.8."),
        (["--seconds", "1"], "Nearest: 2."),
        (["--seconds", "1e308"], "Nearest: 9.8."),
        (["--frames", "10"], "--frames must be 40 to 196 for this model (20 frames per second); got 10. Nearest: 40."),
        (["--device", "abacus"], "--device must be one of cpu"),
    ],
)
def test_what_the_model_cannot_do(stand, words, sentence, capsys, tmp_path):
    assert main(["generate", "a walk", "-o", "x.npz", *words]) == 2
    assert sentence in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_whole_range_of_seconds(stand, capsys):
    for seconds, frames in (("2", 40), ("9.8", 196), ("4.03", 81)):
        assert main(["generate", "a walk", "-o", "x.npz", "--seconds", seconds]) == 0
        assert stand.calls[1][1] == [frames]


@pytest.mark.parametrize(
    "error, code, sentence",
    [
        (ValueError("prompt 0 must be English; got '走'. Translate it."), 2, "must be English; got '走'"),
        (RuntimeError("the model answered with no motion."), 1, "the model answered with no motion."),
        (MemoryError(), 1, "not enough memory"),
        (KeyboardInterrupt(), 130, "stopped by Ctrl-C"),
    ],
)
def test_trouble_in_the_model(stand, monkeypatch, error, code, sentence, capsys, tmp_path):
    monkeypatch.setattr(stand, "trouble", error)
    assert main(["generate", "走", "-o", "x.mp4", "-o", "x.npz"]) == code
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1 and not list(tmp_path.iterdir())


def test_mistakes_of_the_program_keep_their_traceback(stand, monkeypatch):
    monkeypatch.setattr(stand, "trouble", AttributeError("a bug"))
    with pytest.raises(AttributeError):
        main(["generate", "a walk", "-o", "x.npz"])


def test_data_is_written_before_pictures_and_survives_them(stand, monkeypatch, capsys, tmp_path):
    import hftrainer.rendering.video as video

    def broken(motion, path, **options):
        assert (tmp_path / "deep" / "x.bvh").exists()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(video, "render", broken)
    assert main(["generate", "a walk", "-o", "deep/x.gif", "-o", "deep/x.bvh"]) == 1
    said = capsys.readouterr().err
    assert "deep/x.gif" in said and "No space left" in said and "safe in deep/x.bvh" in said
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["x.bvh"]


def test_a_motion_that_cannot_be_drawn_is_kept(stand, monkeypatch, capsys, tmp_path):
    import hftrainer.rendering.video as video

    real, calls = video.render, []

    def second_breaks(motion, path, **options):
        calls.append(path)
        if len(calls) == 2:
            raise RuntimeError("the encoder gave up.")
        real(motion, path, **options)

    monkeypatch.setattr(video, "render", second_breaks)
    assert main(["generate", "a walk", "-o", "x.png", "-o", "x.gif"]) == 1
    assert "safe in x.motion.npz" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.motion.npz", "x.png"]
    monkeypatch.setattr(video, "render", real)
    assert main(["generate", "a walk", "-o", "x.png"]) == 0
    assert "x.png" in capsys.readouterr().out


def test_only_a_picture_leaves_only_a_picture(stand, capsys, tmp_path):
    assert main(["generate", "a walk", "-o", "x.png"]) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["x.png"]


# --------------------------------------------------------------------------------------- generate, the real thing


def test_generate_for_real(tmp_path):
    words = ["generate", "a person walks forward", "--seed", "5", "--seconds", "3", "--json"]
    done = hftrainer(*words, "-o", "w.npz", "-o", "w.bvh", "-o", "w.mp4", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (motion,) = json.loads(done.stdout)["motions"]
    assert motion["frames"] == 60 and {"seed", "prompt"} <= motion["about"].keys()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["w.bvh", "w.mp4", "w.npz"]
    about = json.loads(hftrainer("info", "w.npz", "--json", cwd=tmp_path).stdout)["about"]
    assert about == motion["about"] and about["seed"] == 5 and about["prompt"] == "a person walks forward"
    assert hftrainer("generate", "a person jumps", "a person walks forward", "--seed", "5", "--seconds", "3",
                     "-o", "b.npy", cwd=tmp_path).returncode == 0  # fmt: skip
    assert hftrainer("convert", "w.npz", "w.npy", cwd=tmp_path).returncode == 0
    assert np.array_equal(np.load(tmp_path / "b-001.npy"), np.load(tmp_path / "w.npy")), "alone or in a batch"


def test_a_prompt_in_another_script(tmp_path):
    done = hftrainer("generate", "一个人向前走", "-o", "x.npz", "--quiet", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and not list(tmp_path.iterdir()), done.stderr


@pytest.mark.parametrize("wait", [0.5, 0.6, 0.7, 1.5, 3.0])
def test_ctrl_c(wait, tmp_path):
    words = [sys.executable, "-m", "hftrainer", "generate", "a walk", "a jump", "--samples", "40", "-o", "x.mp4"]
    process = subprocess.Popen(words, cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    time.sleep(wait)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and said.splitlines()[-1].startswith("hftrainer: stopped by Ctrl-C")
    assert "Traceback" not in said
    assert all(p.suffix == ".mp4" and not p.name.startswith(".") for p in tmp_path.iterdir())
