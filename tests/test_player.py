"""The player's page: complete in itself, true to the motion, refused in words, and offered by every verb."""

import base64
import gzip
import importlib.util
import json
import re
import struct

import numpy as np
import pytest

from hftrainer.cli import main
from hftrainer.motion import Motion
from hftrainer.motion.files.rig import rigged
from hftrainer.motion.rotation import quat_wxyz_to_matrix
from hftrainer.rendering import player
from hftrainer.rendering.figure import balls
from hftrainer.rendering.player import notebook_html, player_page, write_player
from hftrainer.rendering.player_tracks import Blob, foot_runs, track
from hftrainer.rendering.speed import marching
from hftrainer.rendering.video import render
from tests.conftest import ROOT
from tests.moving import lively

WALK = Motion(marching(40), "joints", 20, about={"prompt": "a person walks </script> & waves"}, name="walk")


@pytest.fixture(autouse=True)
def a_program(tmp_path, monkeypatch):
    """Pages need no real program to be looked at; a checkout without Node.js tests them, too."""
    if not player._PROGRAM.is_file():
        (tmp_path / "player.js").write_text("console.log(1)")
        monkeypatch.setattr(player, "_PROGRAM", tmp_path / "player.js")


def unpacked(page: str, name: str) -> bytes:
    """What a page holds packed."""
    (text,) = re.findall(rf'id="{name}">([^<]*)</script>', page)
    return gzip.decompress(base64.b64decode(text))


def opened(page: str) -> tuple[dict, bytes]:
    """The header and the arrays of a page."""
    data = unpacked(page, "motions")
    size = struct.unpack("<I", data[:4])[0]
    assert (4 + size) % 4 == 0
    return json.loads(data[4 : 4 + size]), data[4 + size :]


def read(entry: dict, data: bytes) -> np.ndarray:
    """An array as the page's program reads it."""
    at, size, width = entry["at"], entry["size"], entry["width"]
    if entry["kind"] != "d2":
        return np.frombuffer(data, f"<{entry['kind']}", size, at).reshape(-1, width)
    low, high = (np.frombuffer(data, "u1", size, at + shift).astype(np.int64) for shift in (0, size))
    steps = (low | high << 8).reshape(width, -1)
    return np.cumsum(steps, axis=1).astype(np.uint16).astype(np.int16).T


def test_the_page_is_true_to_the_motion():
    joints = lively(30, seed=4)
    joints[:, :, 1] -= joints[:, [7, 8, 10, 11], 1].min()
    motion = Motion(joints, "joints", 30)
    header, data = opened(player_page(motion))
    (one,) = header["motions"]
    root, around = read(one["root"], data), read(one["points"], data) * one["step"]
    shown = root[:, None] + around.reshape(len(joints), -1, 3)
    want = balls(motion.data.astype(float), one["scale"])
    drop = (shown - want)[..., 1].mean()  # the floor is laid under the feet
    assert np.abs(shown - want - [0, drop, 0]).max() < 5e-4 and abs(drop) < 0.1
    turns = quat_wxyz_to_matrix(read(one["turns"], data).reshape(len(joints), 22, 4) / 8191.0)
    assert np.abs(turns - rigged(motion).world).max() < 1e-3
    assert (one["fps"], one["frames"]) == (30, 30)


def test_differences_that_wrap_come_back():
    values = np.array([[0, 32000], [-32000, -32000], [32000, 5]])
    blob = Blob()
    entry = blob.add(values, "d2")
    assert (read(entry, bytes(blob.data)) == values).all()


def test_the_page_asks_for_nothing_and_keeps_words_apart():
    page = player_page([WALK, WALK], captions=["<b>one</b>", None], metrics=[{"fid": 0.123456, "n": 3}, None])
    assert "<title>&lt;b&gt;one&lt;/b&gt;</title>" in page
    assert not re.search(r"https?://|<link|\bsrc=|@import|url\(", page)  # what is packed is words and numbers
    assert page.count("</script>") == 3
    header, _ = opened(page)
    first, second = header["motions"]
    assert (first["name"], second["name"]) == ("walk 1", "walk 2")
    assert first["caption"] == "<b>one</b>" and second["caption"] == ""
    assert first["metrics"] == [["fid", "0.1235"], ["n", "3"]] and second["metrics"] == []
    assert dict(first["facts"])["length"] == "2.0 s" and first["came"] == "joints"
    assert player_page(WALK) == player_page(WALK)


def test_feet_that_stand_and_feet_that_fly():
    joints = np.repeat(marching(1), 40, axis=0)
    joints[:, :, 1] -= joints[:, :, 1].min()
    assert foot_runs(joints, 20) == [[(0, 40)], [(0, 40)]]
    joints[10:20, :, 1] += 0.5
    assert foot_runs(joints, 20) == [[(0, 9), (21, 40)]] * 2 or foot_runs(joints, 20) == [[(0, 10), (20, 40)]] * 2
    left, right = foot_runs(marching(80), 20)
    assert len(left) >= 2 and len(right) >= 2  # a walk puts them down in turn


def test_one_frame_and_odd_bodies():
    for joints in (marching(1), np.zeros((3, 22, 3)), 40 * lively(5)):
        numbers = track(Motion(joints, "joints", 12.5), Blob())
        assert np.isfinite([numbers["step"], numbers["scale"], numbers["heading"]]).all()


def test_refusals():
    with pytest.raises(ValueError, match="must have 1 to 6 motions; got 7"):
        player_page([WALK] * 7)
    with pytest.raises(ValueError, match="1 to 6 motions; got 0"):
        player_page([])
    with pytest.raises(ValueError, match="style must be one of skeleton, body; got 'mesh'"):
        player_page(WALK, style="mesh")
    with pytest.raises(ValueError, match="layout must be one of side, overlay"):
        player_page(WALK, layout="grid")
    with pytest.raises(ValueError, match="one caption for each motion; got 1 for 2"):
        player_page([WALK, WALK], captions=["a"])
    with pytest.raises(ValueError, match="one name for each motion; got 3 for 1"):
        player_page(WALK, names=["a", "b", "c"])


def test_a_notebook_shows_it():
    html = WALK._repr_html_()
    assert html.startswith("<iframe") and html.endswith("</iframe>")
    assert 'srcdoc="' in html and html.count("<iframe") == 1
    assert "<script" not in html  # the page stands in an attribute
    assert Motion(np.zeros((4, 21, 3)), "joints_kit", 12.5)._repr_html_() is None


def test_a_checkout_without_the_program(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(player, "_PROGRAM", tmp_path / "none.js")
    with pytest.raises(FileNotFoundError, match="Run: make player"):
        player_page(WALK)
    assert "Motion(joints, 40 frames, 20 fps)" in notebook_html(WALK) and "make player" in notebook_html(WALK)
    WALK.save(tmp_path / "walk.npz")
    for words in (["view"], ["render", "-o", str(tmp_path / "x.html")]):
        assert main([words[0], str(tmp_path / "walk.npz"), *words[1:]]) == 2
        assert capsys.readouterr().err.endswith("Run: make player (it needs Node.js with npm).\n")
    assert not (tmp_path / "x.html").exists()


def test_the_verbs(tmp_path, capsys):
    for name in ("a", "b"):
        WALK.save(tmp_path / f"{name}.npz")
    (tmp_path / "m.json").write_text('{"b": {"fid": 0.5}}')
    a, b, page = tmp_path / "a.npz", tmp_path / "b.npz", tmp_path / "deep" / "both.html"
    words = ["view", a, b, "-o", page, "--metrics", tmp_path / "m.json", "--overlay", "--style", "body", "--json"]
    assert main([str(word) for word in words]) == 0
    assert json.loads(capsys.readouterr().out) == {"file": str(page), "motions": 2, "opened": False}
    header, _ = opened(page.read_text())
    assert (header["layout"], header["style"], header["title"]) == ("overlay", "body", WALK.about["prompt"])
    tables = [dict(one["metrics"]) for one in header["motions"]]
    assert tables[1]["fid"] == "0.5" and "slide, mm/frame" in tables[0] and "fid" not in tables[0]
    assert main(["render", str(a), "-o", str(tmp_path / "one.html"), "--caption", "mine"]) == 0
    assert opened((tmp_path / "one.html").read_text())[0]["motions"][0]["caption"] == "mine"
    assert render([WALK, WALK], tmp_path / "two.html").is_file()
    assert main(["view", str(a), "--no-open"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("a.html")


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["none.npz"], "none.npz must be a motion file"),
        (["a.npz"] * 7, "1 to 6 motions; got 7"),
        (["a.npz", "-o", "x.mp4"], "the ending must be one of .html"),
        (["a.npz", "--style", "bdy"], "Did you mean 'body'?"),
        (["a.npz", "a.npz", "a.npz", "--caption", "x", "--caption", "y"], "once for each motion; got 2 for 3"),
        (["a.npz", "--metrics", "c.json"], "c.json names c; the motions are a"),
        (["a.npz", "--metrics", "a.npz"], "a.npz must be JSON"),
        (["a.npz", "--metrics", "l.json"], "must hold measures by name"),
    ],
)
def test_wrong_requests_of_view(words, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    WALK.save("a.npz")
    (tmp_path / "c.json").write_text('{"c": {}}')
    (tmp_path / "l.json").write_text("[1]")
    assert main(["view", *words]) == 2
    assert sentence in capsys.readouterr().err


def test_the_lock_file_names_versions_and_no_places():
    lock = json.loads((ROOT / "player" / "package-lock.json").read_text())
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert {"node_modules/three", "node_modules/esbuild", "node_modules/playwright-core"} <= set(packages)
    assert not [name for name, entry in packages.items() if "resolved" in entry]
    assert not [name for name, entry in packages.items() if not entry.get("integrity", "").startswith("sha512-")]


def test_the_page_is_small(tmp_path):
    program = player.program()
    assert len(program.encode()) < 1_000_000
    one = write_player(WALK, tmp_path / "one.html").stat().st_size
    assert one < 600_000  # the program, the body and two seconds
    minute = Motion(marching(1200), "joints", 20)
    assert write_player([minute] * 6, tmp_path / "six.html").stat().st_size < 1_500_000 + 6 * 400_000


def test_the_hook_of_the_wheel(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "player" / "hatch_build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "player" / "src").mkdir(parents=True)
    (tmp_path / "hftrainer" / "rendering").mkdir(parents=True)
    (tmp_path / "hftrainer" / "serving" / "page").mkdir(parents=True)
    for name in ("package-lock.json", "build.mjs", "src/main.js"):
        (tmp_path / "player" / name).write_text("")
    hook = module.PlayerHook(str(tmp_path), {}, None, None, "", "wheel")
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    hook.initialize("editable", {})
    with pytest.raises(RuntimeError, match="a wheel must carry the player; npm is not here"):
        hook.initialize("standard", {})
    (tmp_path / "hftrainer" / "rendering" / "player.js").write_text("")
    with pytest.raises(RuntimeError, match="npm is not here"):
        hook.initialize("standard", {})  # the page is wanted, too
    (tmp_path / "hftrainer" / "serving" / "page" / "index.html").write_text("")
    more: dict = {}
    hook.initialize("standard", more)  # both newer than their sources
    assert more == {"force_include": {str(tmp_path / "recipes"): "hftrainer/recipes"}}
