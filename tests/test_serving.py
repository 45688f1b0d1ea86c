"""The HTTP API with the built-in models: every verb, every file, what is refused and in which words."""

import io
import json
import re
import threading
import time
import zipfile

import numpy as np
import pytest
from starlette.testclient import TestClient

import hftrainer
from hftrainer.motion.representation.convert import convert
from hftrainer.pipelines.table import open_pipeline
from hftrainer.rendering.player import player_data
from hftrainer.serving import app as app_module
from hftrainer.serving.app import create_app
from hftrainer.serving.doors import Hosts
from hftrainer.serving.limits import Limits
from hftrainer.serving.models import Models
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def models():
    return Models()


@pytest.fixture(scope="module")
def web(models):
    with TestClient(create_app(models, Limits(upload=2**20)), base_url="http://127.0.0.1:8888") as client:
        yield client


def done(answer):
    """The result of a job that was waited for."""
    assert answer.status_code == 200, answer.text
    job = answer.json()
    assert job["state"] == "done", job
    return job["result"]


def made(web, **asked):
    asked = {"prompt": "a person walks forward", "frames": 40, **asked}
    return done(web.post("/api/generate?wait=60", json=asked))["motions"]


def fetched(web, motion, tmp_path, ending=".npz"):
    answer = web.get(motion["files"][ending])
    assert answer.status_code == 200, answer.text
    file = tmp_path / f"motion{ending}"
    file.write_bytes(answer.content)
    return file


def send(web, content, name="walk.npz", **fields):
    return web.post("/api/motions", files={"file": (name, content)}, data=fields)


@pytest.fixture(scope="module")
def walk(web):
    (motion,) = made(web, frames=60, seed=1)
    return motion


# ---------------------------------------------------------------------------------------------- what there is


def test_models_say_what_can_be_set(web):
    said = web.get("/api/models").json()
    by_name = {model["name"]: model for model in said["models"]}
    mini, mdm = by_name["motiongpt-mini"], by_name["mdm-mini"]
    assert mini["verbs"] == ["generate", "caption", "predict", "inbetween"] and mini["fps"] == 20
    assert mini["settings"]["steps"] is None and mini["settings"]["temperature"] > 0
    assert mdm["settings"]["steps"] > 1 and "left_arm" in mdm["parts"] and mini["parts"] == []
    assert said["default"] == {"generate": "motiongpt-mini", "caption": "motiongpt-mini", "edit": "mdm-mini",
                               "predict": "motiongpt-mini", "inbetween": "motiongpt-mini"}  # fmt: skip
    assert web.get("/api/health").json() == {
        "status": "ok", "version": hftrainer.__version__, "speech": False,
    }  # fmt: skip


def test_a_model_is_loaded_once(monkeypatch):
    opened = []

    def count(name, **options):
        opened.append(name)
        return open_pipeline(name, **options)

    monkeypatch.setattr("hftrainer.serving.models.open_pipeline", count)
    models = Models()
    assert opened == []
    threads = [threading.Thread(target=models.pipeline, args=("motiongpt-mini",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert opened == ["motiongpt-mini"]


# ---------------------------------------------------------------------------------------------- verbs


def test_a_sentence_becomes_the_motion_that_the_pipeline_makes(web, tmp_path):
    (said,) = made(web, seed=3)
    assert (said["frames"], said["seconds"], said["fps"], said["representation"]) == (40, 2.0, 20, "hml263")
    assert said["caption"] == "a person walks forward" and said["about"]["seed"] == 3
    got = hftrainer.load(fetched(web, said, tmp_path))
    want = open_pipeline()(["a person walks forward"], [40], seed=3)[0]
    assert np.array_equal(got.data, want.data) and got.about == want.about
    assert any(name.startswith("slide") for name in said["measures"])


def test_sentences_and_samples_come_in_order(web, tmp_path):
    said = done(web.post("/api/generate?wait=60", json={
        "prompts": ["a person jumps up", "a person walks backwards"], "samples": 2, "seed": 5, "seconds": 2,
    }))  # fmt: skip
    assert [(m["caption"], m["about"]["seed"]) for m in said["motions"]] == [
        ("a person jumps up", 5), ("a person jumps up", 6), ("a person walks backwards", 5),
        ("a person walks backwards", 6)]  # fmt: skip
    alone = made(web, prompt="a person walks backwards", seed=6)[0]
    pair = [hftrainer.load(fetched(web, each, tmp_path)).data for each in (said["motions"][3], alone)]
    assert np.array_equal(*pair)


@pytest.mark.parametrize("model", ["motiongpt-mini", "mdm-mini"])
def test_two_users_at_once_get_what_each_would_get_alone(models, web, tmp_path, model, monkeypatch):
    if model == "mdm-mini":  # after five steps candidates are nearly alike, and the last bits would choose among them
        monkeypatch.setattr(models.pipeline(model).bundle, "candidates", 1)
    asked = [{"prompt": "a person walks forward", "frames": 40, "seed": 3, "model": model},
             {"prompt": "someone kicks with the right leg", "frames": 60, "seed": 9, "model": model}]  # fmt: skip
    if model == "mdm-mini":
        asked = [{**each, "steps": 5, "sampler": "dpm"} for each in asked]
    alone = [hftrainer.load(fetched(web, made(web, **each)[0], tmp_path)).data for each in asked]
    server, passes = web.app.state.server, []
    pipe = models.pipeline(model)
    plain = pipe.attempts

    def count(prompts, *rest, **settings):
        passes.append(list(prompts))
        return plain(prompts, *rest, **settings)

    pipe.attempts = count
    try:
        with server.jobs._lock:  # so that both wait before either starts
            ids = []
            for each in asked:
                ids.append(server.jobs.submit(app_module.job_of("generate", _body(each), models, server.find)).id)
        jobs = [_until_over(web, name) for name in ids]
    finally:
        del pipe.attempts
    assert passes == [[each["prompt"] for each in asked]]
    together = [hftrainer.load(fetched(web, job["result"]["motions"][0], tmp_path)).data for job in jobs]
    for one, other in zip(alone, together, strict=True):
        assert one.shape == other.shape
        assert np.array_equal(one, other) if model == "motiongpt-mini" else np.abs(one - other).max() < 1e-3


def _body(asked):
    from hftrainer.serving.bodies import Generate

    return Generate(**asked)


def _until_over(web, name):
    end = time.monotonic() + 60
    while (job := web.get(f"/api/jobs/{name}").json())["state"] not in ("done", "failed", "cancelled"):
        assert time.monotonic() < end
        time.sleep(0.02)
    return job


def test_a_motion_becomes_words(web, walk):
    captions = done(web.post("/api/caption?wait=60", json={"motions": [walk["id"], walk["id"]]}))["captions"]
    assert len(captions) == 2 and captions[0] == captions[1] and len(captions[0][0].split()) > 2
    several = done(web.post("/api/caption?wait=60", json={"motions": [walk["id"]], "samples": 3}))["captions"]
    assert [len(each) for each in several] == [3]


@pytest.mark.parametrize("model", ["motiongpt-mini", "mdm-mini"])
def test_a_motion_goes_on(web, walk, tmp_path, model):
    asked = {"motion": walk["id"], "keep": 0.5, "seconds": 4, "model": model}
    asked |= {"steps": 4, "sampler": "dpm"} if model == "mdm-mini" else {}
    (said,) = done(web.post("/api/predict?wait=60", json=asked))["motions"]
    got = hftrainer.load(fetched(web, said, tmp_path)).data
    want = hftrainer.load(fetched(web, walk, tmp_path)).data
    assert len(got) == 80 and np.array_equal(got[:30], want[:30])


def test_the_middle_of_one_motion_and_of_two(web, walk, tmp_path):
    (one,) = done(web.post("/api/inbetween?wait=60", json={"motion": walk["id"], "keep": [0.25, 0.5]}))["motions"]
    start = hftrainer.load(fetched(web, walk, tmp_path)).data
    got = hftrainer.load(fetched(web, one, tmp_path)).data
    assert len(got) == 60 and np.array_equal(got[:15], start[:15]) and not np.array_equal(got[15:30], start[15:30])
    (two,) = done(web.post("/api/inbetween?wait=60", json={"motions": [walk["id"]] * 2, "gap": 1}))["motions"]
    assert two["frames"] in (140, 141)


def test_an_arm_does_something_else(web, walk, tmp_path):
    asked = {"motion": walk["id"], "prompt": "a person waves the left arm", "part": "left_arm", "steps": 4,
             "sampler": "dpm", "start": 1.0, "end": 2.0}  # fmt: skip
    (said,) = done(web.post("/api/edit?wait=60", json=asked))["motions"]
    got = hftrainer.load(fetched(web, said, tmp_path)).data
    want = hftrainer.load(fetched(web, walk, tmp_path)).data
    assert np.array_equal(got[:20], want[:20]) and np.array_equal(got[40:], want[40:])
    assert not np.array_equal(got[20:40], want[20:40])


# ---------------------------------------------------------------------------------------------- jobs


def test_a_job_is_told_as_it_goes_and_ends_once(web):
    asked = {"prompt": "a person walks forward", "frames": 40, "model": "mdm-mini", "steps": 8}
    begun = web.post("/api/generate", json=asked)
    assert begun.status_code == 202
    seen = []
    with web.stream("GET", f"/api/jobs/{begun.json()['id']}/events") as events:
        assert events.headers["content-type"].startswith("text/event-stream")
        for line in events.iter_lines():
            if line.startswith("data: "):
                seen.append(json.loads(line[6:]))
    assert seen[-1]["state"] == "done" and len(seen[-1]["result"]["motions"]) == 1
    shares = [job["progress"] for job in seen if job["progress"] is not None]
    assert shares == sorted(shares) and shares[-1] == 1


def test_cancel_stops_the_work(web):
    slow = {"prompt": "a person walks forward", "frames": 190, "samples": 8, "model": "mdm-mini"}
    job = web.post("/api/generate", json=slow).json()
    end = time.monotonic() + 60
    while "step" not in web.get(f"/api/jobs/{job['id']}").json()["message"]:
        assert time.monotonic() < end
        time.sleep(0.01)
    gone = web.delete(f"/api/jobs/{job['id']}").json()
    assert gone["state"] == "cancelled" and gone["result"] is None
    after = made(web, model="mdm-mini", steps=2)  # the model is free again
    assert len(after) == 1 and web.get(f"/api/jobs/{job['id']}").json()["state"] == "cancelled"


def test_a_full_queue_is_429(models):
    with TestClient(create_app(models, Limits(queue=2)), base_url="http://localhost") as web:
        slow = {"prompt": "a person walks", "frames": 190, "model": "mdm-mini"}
        answers = [web.post("/api/generate", json={**slow, "guidance": 1.5 + at}) for at in range(5)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert 1 <= len(refused) <= 3 and answers[0].status_code == 202
        assert int(refused[0].headers["retry-after"]) >= 1 and "Try again" in refused[0].json()["error"]["message"]


# ---------------------------------------------------------------------------------------------- files


def test_every_format_comes_out(web, walk):
    said = web.get("/api/formats").json()
    assert {".npz", ".npy", ".bvh", ".glb", ".usda", ".csv"} <= set(said["data"])
    assert {".png", ".gif", ".webp"} <= set(said["pictures"])
    assert list(walk["files"]) == [*said["data"], *said["pictures"]]
    heads = {".npz": b"PK", ".npy": b"\x93NUMPY", ".bvh": b"HIERARCHY", ".glb": b"glTF", ".usda": b"#usda",
             ".png": b"\x89PNG", ".gif": b"GIF8", ".html": b"<!doctype html>"}  # fmt: skip
    for ending, url in walk["files"].items():
        answer = web.get(url)
        assert answer.status_code == 200 and len(answer.content) > 200, ending
        assert answer.content.startswith(heads.get(ending, b"")), ending
        name = f'a-person-walks-forward{ending}"'
        assert answer.headers["content-disposition"].endswith(name)


def test_what_is_downloaded_is_what_was_shown(web, walk, tmp_path):
    back = hftrainer.load(fetched(web, walk, tmp_path, ".bvh"))
    shown = convert(hftrainer.load(fetched(web, walk, tmp_path)), "joints")
    assert np.abs(convert(back, "joints").data - shown.data).max() < 2e-3
    assert web.get(walk["player"]).content == player_data(
        hftrainer.load(fetched(web, walk, tmp_path)), captions=walk["caption"], metrics=[walk["measures"]])  # fmt: skip


def test_what_is_sent_comes_back(web, walk, tmp_path):
    for ending in (".npz", ".npy", ".bvh", ".csv"):
        content = fetched(web, walk, tmp_path, ending).read_bytes()
        said = send(web, content, f"My Walk{ending}")
        assert said.status_code == 201, said.text
        assert said.json()["frames"] == 60 and said.json()["fps"] == 20
        done(web.post("/api/caption?wait=60", json={"motions": [said.json()["id"]]}))
    assert web.get(f"/api/motions/{said.json()['id']}").json()["id"] == said.json()["id"]


def test_pictures_of_the_examples(web):
    """Whoever comes first sees a figure that waits, never an error; people's requests go before examples."""
    listed = web.get("/api/examples").json()["examples"]
    assert len(listed) == 6 and all(len(each["prompt"].split()) > 3 for each in listed)
    first = web.get(listed[0]["thumbnail"])
    assert first.status_code == 202 and first.content[:4] == b"RIFF" and first.headers["retry-after"] == "2"
    (job,) = web.app.state.server.examples._jobs.values()
    assert job.patient
    done(web.get(f"/api/jobs/{job.id}") if over(web, job.id) else None)
    picture = web.get(listed[0]["thumbnail"])
    assert picture.status_code == 200 and picture.content[:4] == b"RIFF" and len(picture.content) < 300_000
    assert picture.content != first.content and web.get(listed[0]["thumbnail"]).content == picture.content


def over(web, name):
    """Wait for the end of a job by its events, however long it takes."""
    with web.stream("GET", f"/api/jobs/{name}/events") as stream:
        return [line for line in stream.iter_lines() if line.startswith("data:")]


# ---------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("verb", "asked", "says"),
    [
        ("generate", {}, "prompt or prompts must be given"),
        ("generate", {"prompt": "a walk", "prompts": ["a walk"]}, "say the same thing"),
        ("generate", {"prompt": ""}, "prompt must have at least 1 character"),
        ("generate", {"prompt": "x" * 501}, "at most 500 characters"),
        ("generate", {"prompt": "   "}, "must be a sentence"),
        ("generate", {"prompt": "человек идёт"}, "must be English"),
        ("generate", {"prompt": 5}, "prompt must be a valid string; got 5."),
        ("generate", {"prompt": "a walk", "frames": 4}, "Nearest: 16."),
        ("generate", {"prompt": "a walk", "seconds": 30}, "Nearest: 196."),
        ("generate", {"prompt": "a walk", "seconds": 1e9}, "less than or equal to 60"),
        ("generate", {"prompt": "a walk", "frames": 40, "seconds": 2}, "Keep one"),
        ("generate", {"prompt": "a walk", "steps": 5}, "steps must be left out with this model"),
        ("generate", {"prompt": "a walk", "steps": 5000}, "steps must be"),
        ("generate", {"prompt": "a walk", "steps": 500, "model": "mdm-mini"}, "Nearest: 50."),
        ("generate", {"prompt": "a walk", "model": "/etc/passwd"}, "model must be one of motiongpt-mini, mdm-mini"),
        ("generate", {"prompt": "a walk", "seed": -1}, "seed must be greater than or equal to 0"),
        ("generate", {"prompt": "a walk", "smaples": 2}, "smaples must be left out"),
        ("generate", {"prompts": ["a walk"] * 32, "samples": 8}, "at most 64"),
        ("caption", {"motions": []}, "at least 1 item"),
        ("caption", {"motions": ["x"], "model": "mdm-mini"}, "model must be one that can caption"),
        ("inbetween", {}, "motion or motions must be given"),
        ("edit", {"motion": "x"}, "part, or start and end"),
    ],
)
def test_wrong_requests_are_422_in_words(web, verb, asked, says):
    answer = web.post(f"/api/{verb}", json=asked)
    assert answer.status_code == 422, answer.text
    assert says in answer.json()["error"]["message"]


def test_bodies_that_are_no_json(web):
    for content in (b"", b"{", b"[1]", b'"x"', b"\xff\xfe", b"[" * 30_000, b'{"prompt": NaN}'):
        answer = web.post("/api/generate", content=content, headers={"content-type": "application/json"})
        assert answer.status_code == 422 and answer.json()["error"]["message"], content[:10]


def test_what_is_not_there_is_404(web, walk):
    for path in ("/api/motions/nothing", "/api/jobs/nothing", "/api/jobs/nothing/events", "/api/nothing", "/nothing",
                 "/api/examples/99.webp", f"/api/motions/{walk['id']}/file/walk.exe", "/api/motions/nothing/player",
                 "/../../etc/passwd", "/%2e%2e/%2e%2e/app.py"):  # fmt: skip
        answer = web.get(path)
        assert answer.status_code == 404 and answer.json()["error"]["message"], path
    named = {"caption": {"motions": ["x"]}, "predict": {"motion": "x"}, "edit": {"motion": "x", "part": "head"}}
    for verb, asked in named.items():
        assert web.post(f"/api/{verb}", json=asked).status_code == 404


def npz(**fields):
    whole = {"data": np.zeros((4, 22, 3), np.float32), "representation": "joints", "fps": 20.0, "route": "[]",
             "about": "{}", "name": "x"}  # fmt: skip
    file = io.BytesIO()
    np.savez_compressed(file, **(whole | fields))
    return file.getvalue()


def bomb():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.npy", bytes(300 * 2**20))
    return file.getvalue()


def pickled():
    file = io.BytesIO()
    np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("walk.exe", b"MZ", "file must end in one of"),
        ("walk", b"", "file must end in one of"),
        ("walk.fbx", b"Kaydara", "file must end in one of"),
        ("walk.npz", b"not a zip", "whole npz archive"),
        ("walk.npz", bomb, "at most"),
        ("walk.npz", lambda: npz(fps=0.001), "fps must be 1 to 1000"),
        ("walk.npz", lambda: npz(data=np.zeros((40_000, 22, 3), np.float32)), "at most 300 s"),
        ("walk.npz", lambda: npz(data=np.full((4, 22, 3), 1e20, np.float32)), "within 10000 m"),
        ("walk.npz", lambda: npz(data=np.full((4, 22, 3), np.nan, np.float32)), "finite"),
        ("walk.npz", lambda: npz(representation="no"), "no"),
        ("walk.npy", pickled, "array of"),
        ("walk.npy", b"\x93NUMPY\x01\x00", "damaged"),
        ("walk.bvh", b"HIERARCHY\nROOT", "walk.bvh"),
        ("walk.csv", b"1,2,3\n", "walk.csv"),
        ("walk.c3d", b"\x02P" + bytes(600), "walk.c3d"),
        ("walk.trc", b"PathFileType\n", "walk.trc"),
    ],
)
def test_files_that_are_no_motion_are_422_in_words(web, name, content, says):
    answer = send(web, content() if callable(content) else content, name)
    assert answer.status_code == 422, answer.text
    assert says in answer.json()["error"]["message"], answer.text
    _no_path(answer.text)


def test_a_file_that_is_too_large_is_413(web):
    for size in (2**20 + 1, 3 * 2**20):
        answer = send(web, bytes(size), "walk.npy")
        assert answer.status_code == 413 and "at most" in answer.json()["error"]["message"]
    assert web.post("/api/generate", content=bytes(70_000)).status_code == 413

    def endless():  # no Content-Length to go by
        for _ in range(40):
            yield b"[" * 4096

    answer = web.post("/api/generate", content=endless(), headers={"content-type": "application/json"})
    assert answer.status_code == 413


def test_what_a_file_says_of_itself_cannot_break_an_answer(web):
    about = json.dumps({"prompt": "<img src=x onerror=alert(1)>", "n": float("nan"), "half": "\ud800", "deep": [[1]]})
    said = send(web, npz(about=about, name="../../etc/x\n<b>"), "../../../etc/cron.d/<script>.npz")
    assert said.status_code == 201, said.text
    assert said.json()["about"]["n"] is None and said.json()["about"]["half"] == "?"
    for url in said.json()["files"].values():
        assert re.fullmatch(r"/api/motions/[\w-]{22}/file/[a-z0-9-]+\.\w+", url)
    answer = web.get(f"/api/motions/{said.json()['id']}/file/a%22%0d%0ab%3b.npz")
    assert answer.headers["content-disposition"] == 'attachment; filename="a---b-.npz"'


def _no_path(text):
    for part in ("/tmp", str(ROOT), "site-packages", "hftrainer-upload"):
        assert part not in text, text


def test_no_answer_holds_a_path_of_the_server(web, walk):
    for path in ("/api/models", "/api/formats", "/api/examples", "/api/openapi.json", f"/api/motions/{walk['id']}"):
        _no_path(web.get(path).text)
    for ending in (".npz", ".npy", ".bvh"):
        _no_path(send(web, b"broken", f"x{ending}", representation="no-such").text)


def test_motions_are_forgotten_when_there_are_too_many(models):
    with TestClient(create_app(models, Limits(motions=2)), base_url="http://127.0.0.1") as web:
        ids = [send(web, npz()).json()["id"] for _ in range(3)]
        assert [web.get(f"/api/motions/{name}").status_code for name in ids] == [404, 200, 200]
        assert len(set(ids)) == 3 and all(len(name) == 22 for name in ids)


# ---------------------------------------------------------------------------------------------- doors


@pytest.mark.parametrize(
    ("listens", "host", "status"),
    [
        ("127.0.0.1", "127.0.0.1:8888", 200), ("127.0.0.1", "localhost", 200), ("127.0.0.1", "[::1]:8888", 200),
        ("127.0.0.1", "evil.example", 421), ("127.0.0.1", "127.0.0.1.evil.example", 421), ("127.0.0.1", "", 421),
        ("127.0.0.1", "10.0.0.5", 421), ("10.0.0.5", "10.0.0.5:80", 200), ("0.0.0.0", "10.0.0.5", 200),
        ("0.0.0.0", "evil.example", 421), ("127.0.0.1", "motion.example", 200), ("127.0.0.1", "a@localhost", 421),
    ],
)  # fmt: skip
def test_only_known_hosts_are_answered(models, listens, host, status):
    web = TestClient(create_app(models, hosts=Hosts(listens, ["motion.example"])))
    for path in ("/api/health", "/api/formats"):
        answer = web.get(path, headers={"host": host})
        assert answer.status_code == status
    if status == 421:
        assert "--allow-host" in answer.json()["error"]["message"]


def test_pages_elsewhere_cannot_ask(web):
    for origin in ("https://evil.example", "null", "http://127.0.0.1.evil.example"):
        answer = web.post("/api/generate", json={"prompt": "a walk"}, headers={"origin": origin})
        assert answer.status_code == 403 and "origin" in answer.json()["error"]["message"]
    here = web.get("/api/health", headers={"origin": "http://127.0.0.1:8888"})
    assert here.status_code == 200 and here.headers["x-content-type-options"] == "nosniff"


def test_a_key_is_asked_for(models):
    app = create_app(models, key="a long enough key")
    web = TestClient(app, base_url="http://127.0.0.1", follow_redirects=False)
    assert web.get("/api/health").status_code == 200
    wrong = [("authorization", "Bearer wrong"), ("authorization", "Basic x"), ("x-api-key", "a long enough ke"),
             ("cookie", "hftrainer_key=a long enough key"), ("accept", "*/*")]  # fmt: skip
    for headers in [{name: value} for name, value in wrong]:
        answer = web.get("/api/models", headers=headers)
        assert answer.status_code == 401 and "key" in answer.json()["error"]["message"], headers
    for headers in ({"authorization": "Bearer a long enough key"}, {"x-api-key": "a long enough key"}):
        assert web.get("/api/formats", headers=headers).status_code == 200
    assert web.get("/?key=wrong").status_code == 401
    let_in = web.get("/", params={"key": "a long enough key"})
    assert let_in.status_code == 303 and let_in.headers["location"] == "/"
    cookie = let_in.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and "long enough" not in cookie
    assert web.get("/api/formats").status_code == 200  # the client keeps the cookie, as a browser does


def test_the_page_or_the_command_that_builds_it(models, monkeypatch, tmp_path):
    monkeypatch.setattr(app_module, "PAGE", tmp_path)
    web = TestClient(create_app(models), base_url="http://127.0.0.1")
    absent = web.get("/")
    assert absent.status_code == 503 and "make player" in absent.text
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html><title>page</title>")
    (tmp_path / "assets" / "page.js").write_text("1")
    (tmp_path.parent / "secret.txt").write_text("secret")
    assert "<title>page" in web.get("/").text and web.get("/assets/page.js").text == "1"
    assert "content-security-policy" in web.get("/").headers
    for path in ("/%2e%2e/secret.txt", "/assets/%2e%2e/%2e%2e/secret.txt", "/assets"):
        assert web.get(path).status_code == 404


