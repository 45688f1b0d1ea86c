"""The atlas of tokens: every token is on the page, alone on it, and what is counted is counted right."""

import base64
import json
import re

import numpy as np
import pytest

from hftrainer.cli.entry import main
from hftrainer.motion.representation.hml263 import kit251_to_joints
from hftrainer.motion.skeleton import KIT21
from hftrainer.rendering.atlas import atlas_page, counted, nearest
from tests import tiny


def data_of(page: str) -> dict:
    return json.loads(re.search(r'<script id="data"[^>]*>(.*?)</script>', page, re.S)[1].replace("<\\/", "</"))


def test_neighbours_are_the_nearest_others():
    book = np.random.default_rng(0).normal(size=(30, 5))
    for code, row in enumerate(nearest(book, 4)):
        away = np.linalg.norm(book - book[code], axis=1)
        away[code] = np.inf
        assert row.tolist() == np.argsort(away)[:4].tolist()


def test_usage_and_followers():
    usage, followers = counted([[3, 3, 1], [3, 1, 0], [3, 0]], 5)
    assert usage.tolist() == [2, 2, 0, 4, 0] and followers == [[], [0], [], [1, 0], []]


def test_the_page_holds_the_joints_and_nothing_from_elsewhere():
    joints = np.random.default_rng(1).uniform(-1, 2, (3, 4, 22, 3))
    page = atlas_page(joints, np.zeros((3, 2), int), "three </script> tokens", np.array([1, 0, 2]), [[1], [], [0]])
    data = data_of(page)
    back = np.frombuffer(base64.b64decode(data["joints"]), "<i2").reshape(3, 4, 22, 3) / 1000
    assert np.abs(back - (joints - joints[:, :1, :1] * [1, 0, 1])).max() <= 0.0005 + 1e-9
    assert data["about"] == "three </script> tokens" and data["usage"] == [1, 0, 2]
    assert not re.search(r"(?:src|href)=|https?://|@import", page)


@pytest.mark.parametrize("joints", [np.zeros((2, 1, 22, 3)), np.zeros((2, 4, 20, 3)), np.full((1, 2, 22, 3), np.nan)])
def test_other_joints_are_refused(joints):
    with pytest.raises(ValueError, match="joints must be finite and have shape"):
        atlas_page(joints, np.zeros((2, 1), int), "x")


def test_the_verb_writes_every_token_and_refuses_another_ending(tmp_path, capsys):
    tiny.bundle().save_pretrained(tmp_path / "model")
    page = tmp_path / "atlas.html"
    assert main(["tokens", str(tmp_path / "model"), "-o", str(page)]) == 0
    data = data_of(page.read_text())
    assert data["codes"] == tiny.bundle().motion_tokenizer.config.codes and data["usage"] is None
    assert main(["tokens", "-o", str(tmp_path / "atlas.bvh")]) == 2 and not (tmp_path / "atlas.bvh").exists()
    assert main(["tokens", "-o", str(page), "--data", str(tmp_path / "nowhere")]) == 2
    assert "must be a dataset folder" in capsys.readouterr().err


def test_the_tokens_of_a_kit_model_are_metres_on_its_own_skeleton(tmp_path):
    bundle = tiny.bundle(representation="kit251")
    bundle.save_pretrained(tmp_path / "model")
    assert main(["tokens", str(tmp_path / "model"), "-o", str(tmp_path / "kit.html")]) == 0
    data = data_of((tmp_path / "kit.html").read_text())
    assert data["parents"] == list(KIT21.parents) and data["head"] == 4 and data["sides"][5] == 1
    made = kit251_to_joints(bundle.detokenize([7, 7]).data)
    shown = np.frombuffer(base64.b64decode(data["joints"]), "<i2").reshape(16, 8, 21, 3)[7]
    assert np.abs(shown - (made - made[:1, :1] * [1, 0, 1])).max() <= 0.51  # thousandths of a metre, as KIT has them
