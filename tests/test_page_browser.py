"""The page in a real browser against the real server and its built-in models: all that a person may do on it."""

import base64
import json
import os
import re
import socket
import threading
import urllib.request
from pathlib import Path

import numpy as np
import pytest

import hftrainer
from hftrainer.motion import Motion
from hftrainer.motion.files.rig import positions
from hftrainer.rendering.figure import LEFT
from hftrainer.rendering.speed import marching
from hftrainer.serving.examples import PROMPTS
from tests.browsing import Browser, absent
from tests.test_player_browser import share

#: A folder that keeps the pictures of these tests, larger ones; docs/page.png and its siblings are some of them.
KEPT = os.environ.get("PLAYER_PICTURES")
WIDE, TALL = (1280, 860) if KEPT else (600, 520)
FILM = "document.querySelectorAll('.film')"
LAST = "hftrainerPage.memory.turns.at(-1)"


class House:
    """A server of its own, in a thread."""

    def __init__(self) -> None:
        uvicorn = pytest.importorskip("uvicorn", reason="the server needs the serve extra")
        from hftrainer.serving.app import create_app
        from hftrainer.serving.models import Models

        self.listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}/"
        models = Models()
        for name in models.kinds:
            models.pipeline(name)  # nobody waits for that in a browser
        self.app = create_app(models)
        self.server = uvicorn.Server(uvicorn.Config(self.app, log_config=None, timeout_graceful_shutdown=1))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.listening]})
        self.thread.start()

    def ask(self, verb: str, method: str = "POST", **body: object) -> dict:
        """A request past the page."""
        data = json.dumps(body).encode() if method == "POST" else None
        asked = urllib.request.Request(
            f"{self.url}api/{verb}", data, {"Content-Type": "application/json"}, method=method
        )
        with urllib.request.urlopen(asked) as answer:
            return json.load(answer)

    def forget(self) -> None:
        """Know no motion any more, as after a restart."""
        from hftrainer.serving.limits import Limits
        from hftrainer.serving.store import Store

        self.app.state.server.store = Store(Limits())

    def close(self) -> None:
        """The end of the server."""
        self.server.should_exit = True
        self.thread.join(30)
        self.listening.close()


@pytest.fixture(scope="module")
def house():
    """A server for all tests here; they are skipped, with the reason, where there is no browser for them."""
    if reason := absent(page=True):
        pytest.skip(reason)
    with pytest.MonkeyPatch.context() as patch:  # other tests of this process want all examples
        if not KEPT:  # one thumbnail is enough to be seen
            patch.setattr("hftrainer.serving.examples.PROMPTS", PROMPTS[:1])
        one = House()
        yield one
        one.close()


@pytest.fixture(scope="module")
def browser(house):
    """A browser for all tests here."""
    one = Browser()
    yield one
    one.close()


@pytest.fixture
def visit(house, browser, request):
    """Open the page as somebody who was never there, and who wants little movement: nothing plays by itself."""

    def open_page(width: int = 600, height: int = 480, user: str = "", **about: object) -> Browser:
        browser.tell("user", name=request.node.name + user)
        browser.tell("open", url=house.url, width=width, height=height, **{"motion": "reduce", **about})
        browser.tell("ready", what="document.body.dataset.ready")
        return browser

    return open_page


def ask(browser: Browser, sentence: str) -> None:
    """Type a sentence and send it."""
    browser.tell("fill", at="textarea", text=sentence)
    browser.tell("press", key="Enter")


def played(browser: Browser, count: int = 1) -> None:
    """Wait until so many players have drawn."""
    browser.tell("ready", what=f"{FILM}.length === {count} && {FILM}[{count - 1}].film.state.ready")


def attach(browser: Browser, *files: Path) -> None:
    """Choose motion files and wait until they are read."""
    browser.tell("files", at=".composer input[type=file]", paths=[str(file) for file in files])
    browser.tell("ready", what=f"document.querySelectorAll('#ask .chip[data-state=here]').length === {len(files)}")


def drop(browser: Browser, file: Path) -> None:
    """Let a file fall on the page and wait until it is read."""
    packed = base64.b64encode(file.read_bytes()).decode()
    browser.ask(
        f"{{ const held = new DataTransfer(), bytes = Uint8Array.from(atob('{packed}'), c => c.charCodeAt(0));"
        f" held.items.add(new File([bytes], '{file.name}'));"
        " document.body.dispatchEvent(new DragEvent('drop', {dataTransfer: held, bubbles: true, cancelable: true})) }"
    )
    browser.tell("ready", what="document.querySelectorAll('#ask .chip[data-state=here]').length === 1")


def clean(browser: Browser, house: House) -> None:
    """Nothing was complained of, and nobody else was asked."""
    log = browser.tell("log")
    assert log["said"] == []
    assert not [url for url in log["asked"] if not url.startswith((house.url, f"blob:{house.url}"))]


def kept(tmp_path: Path, name: str) -> Path:
    """Where a picture goes: away, or to the folder that ``PLAYER_PICTURES`` says."""
    return Path(KEPT or tmp_path) / f"{name}.png"


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    """A motion file of two seconds."""
    file = tmp_path_factory.mktemp("page") / "march.npz"
    Motion(marching(40), "joints", 20, about={"prompt": "a person marches"}).save(file)
    return file


def test_a_sentence_moves_and_comes_home_as_bvh(visit, house, tmp_path):
    browser = visit(WIDE, TALL, motion="no-preference")
    browser.tell("ready", what="[...document.querySelectorAll('.example img')].every(i => i.naturalWidth)")
    browser.picture(kept(tmp_path, "page-start"), None)
    assert browser.ask("document.getElementById('speech').textContent").startswith("Speech needs whisper")
    ask(browser, "a person walks in a circle")
    played(browser)
    before = browser.ask(f"{FILM}[0].film.state.frame")
    browser.tell("ready", what=f"{FILM}[0].film.state.playing && {FILM}[0].film.state.frame !== {before}")
    browser.picture(kept(tmp_path, "page"), None)
    browser.ask(f"{FILM}[0].film.seek(0)")
    browser.tell("ready", what=f"!{FILM}[0].film.dirty")
    first = browser.picture(tmp_path / "0.png", ".stage canvas")
    assert share(first, LEFT) > 0.3
    browser.ask(f"{FILM}[0].film.seek(24)")
    browser.tell("ready", what=f"!{FILM}[0].film.dirty")
    later = browser.picture(tmp_path / "24.png", ".stage canvas")
    assert (np.abs(first - later).max(axis=-1) > 40).mean() > 0.01

    name = browser.tell("download", at="[data-file='.bvh']", path=str(tmp_path / "walk.bvh"))
    assert name == "a-person-walks-in-a-circle.bvh"
    motion = hftrainer.load(tmp_path / "walk.bvh")
    state = browser.ask(f"{FILM}[0].film.state")
    assert (len(motion), motion.fps) == (state["last"] + 1, state["fps"])
    joints = positions(motion)
    for frame in (0, 24, state["last"]):
        shown = np.array(browser.ask(f"{FILM}[0].film.joints({frame})")).reshape(22, 3)
        apart = shown - joints[frame]
        if frame == 0:
            start = apart[0]
        assert np.abs(apart - start).max() < 0.03  # bones of a BVH have one length, those of a made motion nearly so
    facts = browser.ask("document.querySelector('.facts').textContent")
    assert "motiongpt-mini" in facts and f"{len(motion)} frames at 20 fps" in facts and "seed" in facts
    clean(browser, house)


def test_every_format_can_be_had(visit, house, walk, tmp_path):
    browser = visit()
    attach(browser, walk)
    browser.tell("click", at="[data-verb=caption]")
    browser.tell("click", at=".send")
    browser.tell("ready", what="document.querySelector('blockquote')")
    said = browser.ask("document.querySelector('blockquote').textContent")
    assert len(said.split()) >= 3
    played(browser)
    assert browser.ask(f"{FILM}[0].film.state.last") == 39
    browser.picture(kept(tmp_path, "page-caption"), None)
    browser.tell("click", at=".caption .acts .text")  # a motion of the sentence
    played(browser, 2)
    endings = browser.ask("Object.keys(Object.values(hftrainerPage.memory.motions).at(-1).files)")
    assert {".bvh", ".glb", ".npz", ".npy", ".usda", ".csv", ".png", ".gif"} <= set(endings)
    browser.tell("click", at=".cell .more")
    entries = "document.querySelectorAll('.cell .popup:not([hidden]) .entry')"
    offered = browser.ask(f"[...{entries}].map(e => e.dataset.file)")
    assert offered == endings
    browser.tell("download", at=".cell .popup .entry[data-file='.npz']", path=str(tmp_path / "made.npz"))
    assert hftrainer.load(tmp_path / "made.npz").about["prompt"] == said
    clean(browser, house)


def test_two_files_are_joined(visit, house, walk, tmp_path):
    browser = visit()
    browser.tell("click", at="[data-tab=inbetween]")
    attach(browser, walk, walk)
    gap = browser.ask("document.querySelector('.knobs output').textContent")
    assert gap == "1.0 s"
    browser.tell("click", at=".send")
    played(browser)
    frames = browser.ask(f"{FILM}[0].film.state.last") + 1
    assert abs(frames - (40 + 20 + 40)) <= 4
    ((start, end),) = browser.ask(f"{FILM}[0].film.made")  # the time line says what is new
    assert (start, end) == pytest.approx((40 / frames, 1 - 40 / frames))
    browser.picture(kept(tmp_path, "page-inbetween"), None)
    browser.tell("click", at="[data-tab=predict]")
    attach(browser, walk)
    assert browser.ask("document.querySelector('textarea').offsetHeight") >= 24  # a tab without words came before
    clean(browser, house)


def test_a_motion_dropped_on_the_page_is_changed_and_goes_on(visit, house, walk, tmp_path):
    browser = visit()
    browser.ask("hftrainerPage.memory.choices.fine = {'mdm-mini': {steps: 5}}")
    drop(browser, walk)
    browser.tell("fill", at="textarea", text="a person waves with the left arm")
    assert browser.ask("document.querySelector('.verbs [aria-pressed=true]').dataset.verb") == "edit"  # from the words
    assert "left_arm" in browser.ask("[...document.querySelectorAll('.knobs select option')].map(o => o.value)")
    assert browser.ask("document.querySelector('.knobs select').value") == "left_arm"  # from the words, too
    browser.picture(kept(tmp_path, "page-edit-asked"), None)
    browser.tell("press", key="Enter")
    played(browser)
    assert browser.ask(f"[{LAST}.verb, {LAST}.knobs.part, {FILM}[0].film.made]") == ["edit", "left_arm", [[0, 1]]]
    assert "mdm-mini" in browser.ask("document.querySelector('.facts').textContent")
    assert "left arm" in browser.ask("document.querySelector('.asked .note').textContent")
    browser.picture(kept(tmp_path, "page-edit"), None)
    before, changed = positions(hftrainer.load(walk)), []
    for frame in range(0, 40, 8):
        shown = np.array(browser.ask(f"{FILM}[0].film.joints({frame})")).reshape(22, 3)
        changed.append(np.abs((shown - shown[0]) - (before[frame] - before[frame, 0])).max(axis=-1))
    moved = np.max(changed, axis=0)
    assert moved[[20, 18]].max() > 0.1 and moved[[1, 2, 4, 5, 7, 8]].max() < 0.1  # the left arm, and not the legs

    browser.tell("click", at=".cell .acts > .holder > .text")  # Use it …
    browser.tell("click", at=".popup:not([hidden]) [data-verb=predict]")
    browser.tell("ready", what="document.querySelectorAll('#ask .chip').length === 1")
    assert browser.ask("document.querySelector('.send').textContent") == "Continue it"
    kept_for, whole = browser.ask("[...document.querySelectorAll('.knobs output')].map(o => parseFloat(o.textContent))")
    assert (kept_for, whole) == (1.9, 5.0)  # features know one frame less than joints
    browser.tell("click", at=".send")
    played(browser, 2)
    assert browser.ask(f"{FILM}[1].film.state.last") == 99
    ((start, end),) = browser.ask(f"{FILM}[1].film.made")
    assert (start, end) == pytest.approx((0.39, 1))
    shown = [[browser.ask(f"{FILM}[{k}].film.joints({frame})") for frame in (0, 20, 38)] for k in (0, 1)]
    apart = np.subtract(*np.reshape(shown, (2, 3, 22, 3)))
    apart[..., 1] -= np.median(apart[..., 1])  # the floor is laid under each film as a whole, so also under what is new
    assert np.abs(apart).max() < 0.02  # what was kept is kept
    clean(browser, house)


def test_a_wrong_file_is_refused_in_words(visit, tmp_path):
    wrong = tmp_path / "notes.npy"
    np.save(wrong, np.zeros((30, 7), np.float32))
    browser = visit()
    browser.tell("files", at=".composer input[type=file]", paths=[str(wrong)])
    browser.tell("ready", what="!document.querySelector('.notice').hidden")
    said = browser.ask("document.querySelector('.notice').textContent")
    assert "notes.npy" in said and "must" in said and "Traceback" not in said
    assert browser.ask("document.querySelectorAll('#ask .chip').length") == 0


def test_a_request_waits_and_is_cancelled(visit, house):
    browser = visit()
    before = house.ask("generate", prompt="a person walks", model="mdm-mini", steps=50, frames=196, samples=8)
    browser.ask("hftrainerPage.memory.choices.model = 'mdm-mini'")
    ask(browser, "a person jumps")
    browser.tell("ready", what="/before yours|Waiting/.test(document.querySelector('.waiting p')?.textContent)")
    browser.tell("click", at=".waiting .text")
    browser.tell("ready", what=f"{LAST}.state === 'cancelled'")
    assert browser.ask("document.querySelector('.waiting p').textContent") == "Cancelled."
    house.ask(f"jobs/{before['id']}", "DELETE")
    assert browser.ask("document.getElementById('says').textContent") == "Cancelled"


def test_history_survives_a_reload_and_a_server_that_forgets(visit, house, tmp_path):
    browser = visit()
    ask(browser, "a person waves")
    played(browser)
    browser.tell("ready", what="Object.values(hftrainerPage.memory.motions).every(m => m.files)")
    seen = browser.ask(f"{FILM}[0].film.joints(5)")
    house.forget()
    browser.tell("reload")
    played(browser)
    assert browser.ask("document.querySelector('.bubble').textContent") == "a person waves"
    assert browser.ask(f"{FILM}[0].film.joints(5)") == seen
    browser.tell("download", at="[data-file='.bvh']", path=str(tmp_path / "wave.bvh"))  # it is brought again by itself
    assert len(hftrainer.load(tmp_path / "wave.bvh")) == browser.ask(f"{FILM}[0].film.state.last") + 1
    browser.tell("click", at="#tools [aria-label='new conversation']")
    assert browser.ask("document.querySelectorAll('.turn').length") == 0
    browser.tell("click", at="#toast button")
    assert browser.ask("document.querySelectorAll('.turn').length") == 1


def test_a_motion_that_nobody_has_any_more_is_said(visit, house, walk):
    browser = visit()
    attach(browser, walk)
    browser.tell("click", at="[data-verb=caption]")
    browser.tell("click", at=".send")
    played(browser)
    house.forget()
    browser.ask(
        "new Promise(go => { indexedDB.open('hftrainer', 1).onsuccess = e => { const all = e.target.result.transaction("
        "['files', 'tracks'], 'readwrite'); for (const one of ['files', 'tracks']) all.objectStore(one).clear();"
        " all.oncomplete = () => go(true) } })"
    )
    browser.tell("reload")
    browser.tell("ready", what="/no longer has this motion/.test(document.querySelector('.film .word')?.textContent)")
    assert browser.ask("document.querySelector('blockquote').textContent")  # the sentence is still there


def test_a_sentence_is_spoken(visit, house):
    class Ear:
        heard: list = []

        def words(self, sound: np.ndarray) -> str:
            self.heard.append(sound)
            return "a person waves"

    house.app.state.server.speech = Ear()
    try:
        browser = visit()
        assert browser.ask("document.getElementById('speech').textContent") == ""
        browser.tell("click", at=".mic")
        browser.tell("ready", what="document.querySelector('.mic').dataset.state === 'listening'")
        browser.ask("new Promise(go => setTimeout(go, 2500))")  # the browser's stand-in for a microphone beeps
        browser.tell("click", at=".mic")
        browser.tell("ready", what="document.querySelector('textarea').value || document.querySelector('.notice span')")
        assert browser.ask("document.querySelector('.notice').textContent") == ""
        assert browser.ask("document.querySelector('textarea').value") == "a person waves"
        assert 1 < len(Ear.heard[0]) / 16000 < 28 and np.abs(Ear.heard[0]).max() > 0.05
        clean(browser, house)
    finally:
        house.app.state.server.speech = None


def test_a_phone(visit, house, tmp_path):
    browser = visit(375, 667, scheme="dark")
    wide = "document.documentElement.scrollWidth"
    assert browser.ask(wide) == 375
    browser.picture(kept(tmp_path, "page-phone-start"), None)
    ask(browser, "a person walks forward and sits down")
    played(browser)
    assert browser.ask(wide) == 375
    page = browser.picture(kept(tmp_path, "page-phone"), None)
    for button in ("#tools .model", "#ask .holder > .pill", ".cell .more"):
        browser.tell("click", at=button)
        left, right, top, bottom = browser.ask(
            "(b => [b.left, b.right, b.top, b.bottom])"
            "(document.querySelector('.popup:not([hidden])').getBoundingClientRect())"
        )
        assert left >= 0 and right <= 375 and top >= 0 and bottom <= 667, button
        browser.tell("press", key="Escape")
        assert browser.ask("document.querySelector('.popup:not([hidden])')") is None
    small = browser.ask(
        "Math.min(...[...document.querySelectorAll('.cell button, #ask button, #tools button')]"
        ".filter(b => b.offsetParent).map(b => b.offsetHeight))"
    )
    assert small >= 32  # a thumb finds it
    assert page[:5, :5].mean() < 60 and share(page, LEFT) > 0.3
    clean(browser, house)


def test_the_keyboard_alone(visit, house):
    browser = visit()
    browser.tell("press", key="/")
    browser.tell("type", text="a person kicks")
    browser.tell("press", key="Enter")
    played(browser)
    ring, names = set(), []
    for _ in range(40):
        browser.tell("press", key="Tab")
        kind, name, outline = browser.ask(
            "(e => [e.tagName, e.getAttribute('aria-label') || e.textContent || e.title,"
            " getComputedStyle(e).outlineStyle])(document.activeElement)"
        )
        if kind == "BODY":
            continue
        assert name.strip() and (outline != "none" or kind == "TEXTAREA"), (kind, name)  # its box has the ring
        names.append(name)
        if kind == "CANVAS" and kind not in ring:
            browser.tell("press", key="Home")
            browser.tell("press", key="ArrowRight")
            assert browser.ask(f"{FILM}[0].film.state.frame") == 1
            browser.tell("press", key="Space")
            assert browser.ask(f"{FILM}[0].film.state.playing")
            browser.tell("press", key="Space")
        ring.add(kind)
    assert {"CANVAS", "BUTTON", "INPUT", "TEXTAREA"} <= ring
    assert {"BVH", "All formats", "Another one", "the whole player: trails, ghosts, speed"} <= set(names)
    browser.tell("press", key="/")
    assert browser.ask("document.activeElement.tagName") == "TEXTAREA"
    clean(browser, house)


def test_two_people_at_once(visit, house):
    first = visit(user=" one")
    ask(first, "a person turns left")
    second = visit(user=" two")
    assert second.ask("hftrainerPage.memory.turns.length") == 0
    ask(second, "a person runs")
    played(second)
    assert second.ask("document.querySelector('.over').textContent") == "a person runs"
    second.tell("user", name="test_two_people_at_once one")
    played(first)
    assert first.ask("[...document.querySelectorAll('.over')].map(o => o.textContent)") == ["a person turns left"]


def test_many_players_and_the_whole_one(visit, house, walk):
    browser = visit(motion="no-preference")
    attach(browser, walk)
    for _ in range(9):
        browser.ask(
            "{ const {memory} = hftrainerPage; memory.turns.push({id: Math.random() + '', verb: 'generate', text: 'x',"
            " motions: [], made: [Object.keys(memory.motions)[0]], knobs: {}, state: 'done', samples: 1, settings: {},"
            " said: ''}); memory.save() }"
        )
    browser.tell("reload")
    browser.tell("ready", what=f"{FILM}.length === 9 && {FILM}[8].film.state.ready")
    for k in (0, 3, 6):
        browser.ask(f"document.querySelectorAll('.turn')[{k}].scrollIntoView()")
        browser.tell("ready", what=f"{FILM}[{k}].film.state.ready && {FILM}[{k}].film.inView")
    states = browser.ask(f"[...{FILM}].map(f => [f.film.state.playing, f.film.inView, Boolean(f.film.view)])")
    assert not [state for state in states if state[0] and not state[1]]  # nothing moves unseen
    assert sum(state[2] for state in states) <= 6  # and few bodies wait on the graphics card
    browser.tell("click", at=".turn:nth-child(7) [aria-label^='the whole player']")
    browser.tell("ready", what="frames[0]?.hftrainerPlayer && frames[0].hftrainerPlayer.state().pictures > 0")
    assert browser.ask("frames[0].hftrainerPlayer.state().last") == 39
    browser.tell("press", key="Escape")
    browser.tell("ready", what="!document.getElementById('full').open")
    assert not re.findall("error", " ".join(browser.tell("log")["said"]))


def test_dark_is_dark(visit, tmp_path):
    browser = visit(WIDE, TALL, scheme="dark")
    ask(browser, "someone jumps up and down several times")
    played(browser)
    picture = browser.picture(kept(tmp_path, "page-dark"), None)
    assert picture.mean() < 70
    browser.tell("click", at="#tools [aria-label='dark or light']")
    assert browser.ask("document.documentElement.dataset.theme") == "light"
