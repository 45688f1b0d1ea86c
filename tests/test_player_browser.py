"""The player in a real browser: it moves, obeys, fits a phone, and looks as it should."""

import os
from pathlib import Path

import numpy as np
import pytest

from hftrainer.motion import Motion
from hftrainer.rendering.figure import LEFT, RIGHT
from hftrainer.rendering.player import notebook_html, write_player
from hftrainer.rendering.speed import marching
from tests.browsing import Browser, absent

WALK = Motion(marching(60), "joints", 20, about={"prompt": "a person walks"}, name="walk")
#: A folder that keeps the pictures of these tests, larger ones; docs/player.png is one.
KEPT = os.environ.get("PLAYER_PICTURES")
SEEN = 'document.querySelectorAll(".panel").length'


@pytest.fixture(scope="module")
def browser():
    """A browser for all tests here; they are skipped, with the reason, where there cannot be one."""
    if reason := absent():
        pytest.skip(reason)
    one = Browser()
    yield one
    one.close()


def share(picture: np.ndarray, colour: tuple[int, int, int]) -> float:
    """Percent of a picture that has about this hue, in light or in shadow."""
    want = np.array(colour) / np.linalg.norm(colour)
    strength = np.linalg.norm(picture, axis=-1)
    like = (picture @ want) / np.maximum(strength, 1e-9)
    return float(100 * ((like > 0.985) & (np.ptp(picture, axis=-1) > 60)).mean())


def clean(browser) -> None:
    """Nothing was complained of, and nothing was fetched but the page itself."""
    log = browser.tell("log")
    assert log["said"] == [] and len(log["asked"]) == 1, log


def shot(browser, folder: Path, name: str, at: str = "body") -> np.ndarray:
    """A picture for the test; it is also kept where ``PLAYER_PICTURES`` says."""
    return browser.picture(Path(KEPT or folder) / f"{name}.png", at)


def test_the_figure_moves(browser, tmp_path):
    browser.play(write_player(WALK, tmp_path / "walk.html"))
    before = browser.state["frame"]
    browser.tell("ready", what=f"hftrainerPlayer.state().playing && hftrainerPlayer.state().frame != {before}")
    browser.ask("hftrainerPlayer.seek(0)")
    first = browser.picture(tmp_path / "0.png")
    assert share(first, LEFT) > 0.5 and share(first, RIGHT) > 0.5
    browser.ask("hftrainerPlayer.seek(11)")
    later = browser.picture(tmp_path / "11.png")
    assert (np.abs(first - later).max(axis=-1) > 40).mean() > 0.01
    place = np.array(browser.ask("hftrainerPlayer.joints(0)")).reshape(22, 3)
    want = WALK.data[11] - WALK.data[0, 0] * [1, 0, 1]
    assert np.abs((place - want)[:, [0, 2]]).max() < 1e-3  # where the motion has its joints
    assert np.ptp((place - want)[:, 1]) < 1e-3
    clean(browser)


def test_scrubbing_and_keys(browser, tmp_path):
    browser.play(write_player(WALK, tmp_path / "walk.html", autoplay=False))
    assert not browser.state["playing"] and browser.state["last"] == 59
    browser.ask("{ const s = document.querySelector('input[type=range]'); s.value = 30;"
                " s.dispatchEvent(new Event('input')) }")  # fmt: skip
    assert browser.state["frame"] == 30
    for key, frame in [("ArrowRight", 31), ("ArrowLeft", 30), ("Shift+ArrowRight", 50), ("Home", 0), ("End", 59)]:
        browser.tell("press", key=key)
        assert browser.state["frame"] == frame, key
    toggles = {
        "b": ("style", "body"), "t": ("trails", True), "g": ("ghosts", True), "f": ("follow", False),
        "c": ("contacts", False), "l": ("loop", False), "n": ("theme", "dark"), "ArrowUp": ("speed", 1.5),
    }  # fmt: skip
    for key, (name, value) in toggles.items():
        assert browser.state[name] != value
        browser.tell("press", key=key)
        assert browser.state[name] == value, key
    camera = browser.state["camera"]
    browser.tell("press", key="a")
    assert browser.state["camera"] != camera
    browser.tell("press", key="Home")
    browser.tell("press", key="Space")
    assert browser.state["playing"]
    browser.tell("press", key="Space")
    assert not browser.state["playing"]
    clean(browser)


def test_a_drag_turns_and_a_button_plays(browser, tmp_path):
    browser.play(write_player(WALK, tmp_path / "walk.html", autoplay=False))
    camera = browser.state["camera"]
    browser.tell("drag", **{"from": [200, 120], "to": [260, 130]})
    browser.tell("ready", what=f"Math.abs(hftrainerPlayer.state().camera[0] - {camera[0]}) > 0.05")
    browser.tell("click", at="button.big")
    assert browser.state["playing"]
    browser.tell("click", at="button[data-value=body]")
    assert browser.state["style"] == "body"
    clean(browser)


def test_six_side_by_side_and_overlaid(browser, tmp_path):
    paces = ("strolls", "walks", "marches", "hurries", "jogs", "runs")
    six = [
        Motion(marching(30 + 6 * k, fps=20 + 2 * k, heading=0.35 * k - 0.9, speed=0.6 + 0.5 * k), "joints", 20 + 2 * k,
               name=pace, about={"prompt": f"a person {pace}"})
        for k, pace in enumerate(paces)
    ]  # fmt: skip
    browser.play(write_player(six, tmp_path / "six.html", autoplay=False), *((1120, 680) if KEPT else (640, 420)))
    assert browser.ask(SEEN) == 6 and browser.state["panels"] == 6
    names = browser.ask("[...document.querySelectorAll('.panel b')].map(b => b.textContent)")
    assert names == list(paces)
    browser.tell("press", key="t")
    browser.ask("hftrainerPlayer.seek(20)")
    shot(browser, tmp_path, "player")
    pixels = shot(browser, tmp_path, "player-stage", ".stage")
    height, width = pixels.shape[:2]
    boxes = browser.ask("[...document.querySelectorAll('.panel')].map(p => { const b = p.getBoundingClientRect();"
                        "return [b.x, b.y, b.width, b.height] })")  # fmt: skip
    assert all(x + w <= width + 1 and y + h <= height + 1 for x, y, w, h in boxes)
    for x, y, w, h in boxes:
        part = pixels[int(y) : int(y + h), int(x) : int(x + w)]
        assert share(part, LEFT) > 0.2 and share(part, RIGHT) > 0.2
    browser.tell("press", key="o")
    assert browser.ask(SEEN) == 1 and browser.state["layout"] == "overlay"
    browser.tell("press", key="3")
    assert browser.state["solo"] == 2
    browser.tell("press", key="3")
    assert browser.state["solo"] is None
    clean(browser)


def test_a_phone(browser, tmp_path):
    browser.play(write_player([WALK, WALK], tmp_path / "two.html", autoplay=False), 375, 667, scheme="dark")
    assert browser.state["theme"] == "dark"
    wide = browser.ask("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
    assert wide == [375, 667]
    outside = browser.ask(
        "[...document.querySelectorAll('footer button, footer input, footer select')].filter(b => b.offsetParent &&"
        " !b.closest('.end') && (b.getBoundingClientRect().right > 375 || b.getBoundingClientRect().bottom > 667))"
        ".map(b => b.title)"
    )
    assert outside == []
    small = browser.ask("Math.min(...[...document.querySelectorAll('footer button')].map(b => b.offsetHeight))")
    assert small >= 34  # a thumb finds it
    pixels = shot(browser, tmp_path, "phone")
    assert pixels[:5, :5].mean() < 60 and share(pixels, LEFT) > 0.5
    clean(browser)


def test_in_a_notebook(browser, tmp_path):
    page = tmp_path / "notebook.html"
    page.write_text(f"<!doctype html><meta charset=utf-8><p>Out[1]:</p>{notebook_html(WALK)}", encoding="utf-8")
    browser.tell("open", url=page.as_uri(), width=640, height=660)
    browser.tell("ready", what="frames[0].hftrainerPlayer && frames[0].hftrainerPlayer.state().pictures > 0")
    assert browser.ask("frames[0].hftrainerPlayer.state().last") == 59
    assert browser.tell("log")["said"] == []


def test_a_minute_of_six(browser, tmp_path):
    """It plays to its end; ``tools/player_speed.py`` measures what that costs."""
    six = [Motion(marching(1200), "joints", 20, name=f"clip {k}") for k in range(6)]
    browser.play(write_player(six, tmp_path / "long.html", autoplay=False), 460, 380)
    assert browser.state["last"] == 1199 and browser.state["panels"] == 6
    browser.ask("hftrainerPlayer.seek(1190)")
    browser.ask("hftrainerPlayer.play()")
    browser.tell("ready", what="hftrainerPlayer.state().frame < 1190 || hftrainerPlayer.state().frame > 1196")
    assert browser.state["pictures"] > 1
    clean(browser)


