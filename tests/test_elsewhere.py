"""A generated motion in programs that are not ours: in each file one and the same movement, frame by frame."""

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy.spatial import cKDTree

from hftrainer.motion.body import free_body
from hftrainer.motion.clip import Motion
from hftrainer.motion.files import load, save
from hftrainer.motion.files.rig import positions, rigged
from hftrainer.motion.skeleton import SMPL22
from hftrainer.pipelines.motiongpt import MotionGPTPipeline
from hftrainer.rendering.player import write_player
from tests.blending import Seen, blender, drawn, written_bvh
from tests.browsing import Browser, absent
from tests.conftest import ROOT
from tests.moving import MM, Glb, seen_by_bvhio, seen_by_usd
from tests.test_three import bundled, opened

ENDINGS = ("bvh", "glb", "usda", "fbx")


@pytest.fixture(scope="module")
def motion() -> Motion:
    """What the built-in model makes of a sentence."""
    [made] = MotionGPTPipeline.from_pretrained()(["a person waves with the right hand"], seed=0)
    return made


@pytest.fixture(scope="module")
def files(motion, tmp_path_factory):
    """The motion in every format that needs no Blender."""
    folder = tmp_path_factory.mktemp("elsewhere")
    for ending in ENDINGS[:3]:
        save(motion, folder / f"made.{ending}")
    save(motion, folder / "rigid.bvh", bones="rigid")
    return folder


@pytest.fixture(scope="module")
def fbx(motion, files):
    save(motion, files / "made.fbx", blender=blender())
    return files / "made.fbx"


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """A browser with three.js open."""
    if reason := absent():
        pytest.skip(reason)
    one = Browser()
    one.tell("open", url=bundled(tmp_path_factory.mktemp("three")).as_uri(), width=480, height=480)
    yield one
    assert one.tell("log")["said"] == []
    one.close()


def test_libraries_see_one_movement(motion, files):
    bvh, usd = seen_by_bvhio(files / "made.bvh") / 100, seen_by_usd(files / "made.usda")[0]
    for joints in (bvh, Glb(files / "made.glb").joints(), usd):
        assert joints.shape == (len(motion), 22, 3) and np.abs(joints - positions(motion)).max() < MM


def test_three_js_sees_one_movement(motion, files, three):
    for ending in ("glb", "usda"):
        joints, seconds = opened(three, files / f"made.{ending}", motion.fps)
        assert len(joints) == len(motion) and np.abs(joints - positions(motion)).max() < MM, ending
        assert seconds == pytest.approx(motion.seconds - 1 / motion.fps, abs=1e-4)
    joints, _ = opened(three, files / "rigid.bvh", motion.fps)  # it adds positions to offsets, so there are to be none
    assert np.abs(joints - rigged(motion, bones="rigid").joints).max() < MM


def test_three_js_sees_it_in_the_fbx_too(motion, fbx, three):
    joints, _ = opened(three, fbx, motion.fps)
    assert len(joints) == len(motion) and np.abs(joints - positions(motion)).max() < MM


@pytest.mark.parametrize("ending", ENDINGS)
def test_blender_sees_one_movement(motion, files, ending, request):
    blender()
    path = request.getfixturevalue("fbx") if ending == "fbx" else files / f"made.{ending}"
    which = (0, len(motion) // 2, len(motion) - 1)
    seen = Seen(path, len(motion), motion.fps, which)
    assert np.abs(seen.named(SMPL22.joints) - positions(motion)).max() < MM
    assert seen.last - seen.first == len(motion) - 1
    if ending == "bvh":
        return
    rig = rigged(motion)
    skin = free_body().fitted(rig.rest).skinned(rig.world, rig.joints)
    for frame in which:  # vertices may be in another order
        assert cKDTree(seen.skin[frame]).query(skin[frame])[0].max() < MM
        assert cKDTree(skin[frame]).query(seen.skin[frame])[0].max() < MM


def test_a_bvh_that_blender_wrote_comes_in(motion, files, tmp_path):
    blender()
    written_bvh(files / "made.glb", tmp_path / "a.bvh", len(motion), motion.fps)
    back = load(tmp_path / "a.bvh")
    assert (back.about["up"], back.about["unit"], back.fps) == ("z", "cm", motion.fps)
    assert len(back) == len(motion) and np.abs(back.data - positions(motion)).max() < MM


#: Panels of ``docs/formats.png``, by rows; three columns.
PANELS = ("Blender: GLB", "Blender: FBX", "Blender: USDA", "Blender: BVH", "three.js: GLB", "our player")
SIZE, BACK = 320, (242, 244, 247)


@pytest.mark.slow
def test_the_picture_of_the_documentation(motion, files, fbx, three, tmp_path):
    """One frame of one motion everywhere; UPDATE_PICTURES=1 writes ``docs/formats.png``."""
    where = positions(motion)
    frame = int(where[:, 21, 1].argmax())  # the hand at its highest
    middle = where[frame].mean(axis=0) * [1, 0, 1] + [0, 0.97, 0]
    view = {"size": SIZE, "eye": (middle + [1.3, 0.45, 3.8]).tolist(), "middle": middle.tolist(), "angle": 32.0}
    panels, bodies = [], []
    for ending in ("glb", "fbx", "usda", "bvh"):
        path = tmp_path / f"{ending}.png"
        drawn(files / f"made.{ending}", path, fps=round(motion.fps), frame=frame, samples=40,
              **{**view, "angle": np.deg2rad(view["angle"]), "floor": -0.02})  # fmt: skip
        picture = Image.open(path).convert("RGBA")
        bodies.append(np.asarray(picture)[..., 3] > (250 if ending == "bvh" else 128))  # shadows let the ground through
        panels.append(Image.alpha_composite(Image.new("RGBA", picture.size, BACK), picture).convert("RGB"))
    three.tell("open", url=bundled(tmp_path).as_uri(), width=SIZE, height=SIZE)
    opened(three, files / "made.glb", motion.fps)
    three.ask(f"draw({frame}, {json.dumps(view)})")
    seen = three.picture(tmp_path / "three.png", "canvas")
    bodies.append(np.abs(seen - BACK).max(axis=-1) > 8)
    panels.append(Image.open(tmp_path / "three.png").convert("RGB"))
    three.play(write_player(motion, tmp_path / "player.html", style="body", autoplay=False), SIZE + 40, SIZE + 160)
    three.ask(f"hftrainerPlayer.seek({frame})")
    others = "!e.querySelector('canvas') && e.tagName != 'CANVAS'"  # words and buttons upon the picture
    three.ask(f"document.querySelectorAll('.stage *').forEach(e => {{ if ({others}) e.style.visibility = 'hidden' }})")
    ours = three.picture(tmp_path / "player.png")
    panels.append(Image.open(tmp_path / "player.png").convert("RGB"))
    for body, least in ((bodies[1], 0.99), (bodies[2], 0.99), (bodies[4], 0.93)):  # the same skin at the same place
        assert (bodies[0] & body).sum() > least * (bodies[0] | body).sum()
    assert bodies[0].mean() > 0.04 and (bodies[3] & bodies[0]).sum() > 0.97 * bodies[3].sum() > 0  # bones in a body
    assert ours.std() > 10
    if os.environ.get("UPDATE_PICTURES") == "1":
        shutil.copyfile(sheet(panels, tmp_path / "sheet.png"), ROOT / "docs" / "formats.png")


def sheet(panels: list[Image.Image], path):
    """Panels with their names below, three in a row."""
    line, gap = 30, 6
    whole = Image.new("RGB", (3 * SIZE + 2 * gap, 2 * (SIZE + line) + gap), "white")
    pen = ImageDraw.Draw(whole)
    for number, (panel, name) in enumerate(zip(panels, PANELS, strict=True)):
        x, y = number % 3 * (SIZE + gap), number // 3 * (SIZE + line + gap)
        scale = SIZE / min(panel.size)
        panel = panel.resize((round(panel.width * scale), round(panel.height * scale)), Image.Resampling.LANCZOS)
        left, top = (panel.width - SIZE) // 2, (panel.height - SIZE) // 2
        whole.paste(panel.crop((left, top, left + SIZE, top + SIZE)), (x, y))
        pen.text((x + SIZE / 2, y + SIZE + line / 2), name, fill=(40, 44, 52), font_size=17, anchor="mm")
    whole.save(path, optimize=True)
    return path
