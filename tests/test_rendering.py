"""Pictures: each ending gives its file, the figure is in view, left is told from right, nothing half is left."""

import sys

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hftrainer.errors import NoRouteError
from hftrainer.motion.clip import Motion
from hftrainer.motion.representation.convert import convert
from hftrainer.motion.skeleton import SMPL22
from hftrainer.rendering import FORMATS, contact_sheet, draw_frames, render
from hftrainer.rendering import caption as captions
from hftrainer.rendering.figure import LEFT, RIGHT, hulls
from hftrainer.rendering.skeleton import SAMPLES, Stage
from hftrainer.rendering.speed import marching, rendering_speed

WALK = Motion(marching(12), "joints", 20)
ENDINGS = [ending for ending in FORMATS if ending not in ("", ".html")]  # the player has tests of its own


def near(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Rows and columns of the pixels that have about this hue: ``(2, N)``."""
    flat = picture.astype(float) - picture.mean(axis=-1, keepdims=True)
    aim = np.array(colour, float) - np.mean(colour)
    likeness = (flat @ aim) / (np.linalg.norm(flat, axis=-1) * np.linalg.norm(aim) + 1e-9)
    return np.array(np.nonzero((likeness > 0.97) & (np.abs(flat).max(axis=-1) > 45)))


def test_mp4_is_a_video_that_browsers_play(tmp_path):
    path = render(WALK, tmp_path / "new" / "a.mp4", size=128, caption="a person walks")
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.average_rate == 20 and len(frames) == len(WALK) and frames[0].shape == (128, 128, 3)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # the index first, so that it plays while it loads
    drawn = list(draw_frames(WALK.data, 20, size=128, caption="a person walks"))
    assert all(np.abs(a.astype(int) - b).mean() < 4 for a, b in zip(frames, drawn, strict=True))
    assert [p.name for p in path.parent.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize("ending", [".gif", ".webp"])
def test_looping_pictures(tmp_path, ending):
    path = render(WALK.replace(fps=16), tmp_path / f"a{ending}", size=96)
    with Image.open(path) as picture:
        assert picture.info["loop"] == 0 and picture.n_frames == len(WALK) and picture.size == (96, 96)
        lasts = []
        for frame in range(picture.n_frames):
            picture.seek(frame)
            picture.load()
            lasts.append(picture.info["duration"])
            colours = np.asarray(picture.convert("RGB")).astype(int)
        drawn = list(draw_frames(WALK.data, 16, size=96))[-1]
        assert np.abs(colours - drawn).mean() < 4
    assert sum(lasts) == pytest.approx(1000 * len(WALK) / 16, abs=10)  # 62.5 ms a frame does not drift


def test_png_is_one_sheet(tmp_path):
    path = render(Motion(marching(60), "joints", 20), tmp_path / "a.png", size=256, caption="a person walks")
    with Image.open(path) as sheet:
        assert sheet.width == 512 and sheet.height > 256  # 2 rows of 4 cells of 128, and the words
        cells = np.asarray(sheet.convert("RGB"))
    for row in range(2):
        for column in range(4):
            cell = cells[row * 128 : row * 128 + 128, column * 128 : column * 128 + 128]
            assert near(cell, LEFT).shape[1] > 50 and near(cell, RIGHT).shape[1] > 50
    assert contact_sheet(WALK.data[:1], 20, size=128).size == (64, 64)
    assert contact_sheet(WALK.data, 20, size=128, poses=5).size == (256, 128)
    with pytest.raises(ValueError, match="poses must be at least 1"):
        contact_sheet(WALK.data, 20, poses=0)


def test_a_folder_is_numbered_frames(tmp_path):
    path = render(WALK[:11], tmp_path / "frames", size=64, fps=10)
    assert [p.name for p in sorted(path.iterdir())] == [f"{at:05d}.png" for at in range(6)]
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileExistsError, match="new or an empty folder"):
        render(WALK, path, size=64)


def test_fps_features_and_several_side_by_side(tmp_path):
    features = convert(Motion(marching(21), "joints", 20), "hml263")
    render([features, WALK], tmp_path / "a.mp4", size=64, fps=40, caption=["one", None])
    with av.open(str(tmp_path / "a.mp4")) as file:
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    assert len(frames) == 39 and frames[0].shape == (64, 128, 3)  # 20 and 12 frames at 20 fps, doubled
    right = np.array([frame[:, 64:] for frame in frames], int)
    assert np.abs(right[-1] - right[-6]).mean() < 2 < np.abs(right[15] - right[0]).mean()  # the shorter one waits
    render([features, WALK], tmp_path / "a.png", size=128)
    with Image.open(tmp_path / "a.png") as sheet:
        assert sheet.size == (256, 128)  # 4 poses each, one sheet below the other


@settings(max_examples=25)
@given(
    st.integers(0, 9999), st.floats(0, 2 * np.pi), st.floats(0, 6), st.floats(0.3, 3), st.sampled_from([96, (160, 96)])
)
def test_the_whole_figure_is_in_view(seed, heading, speed, larger, size):
    rng = np.random.default_rng(seed)
    joints = marching(30, heading=heading, speed=speed)
    turn = rng.normal(size=(3, 3))
    joints = joints @ np.linalg.qr(turn)[0] * larger + rng.uniform(-50, 50, 3)  # lying, upside down, far off, a giant
    joints[:, :, 1] += 2 * larger * np.abs(np.sin(np.arange(30) / 9))[:, None]  # and jumping
    width, height = (size, size) if isinstance(size, int) else size
    stage = Stage(joints, 20, (width, height))
    points, depth = stage.camera.project(stage.balls)
    assert (depth > 0).all() and points.min() > 0 and (points < [width, height]).all()


@pytest.mark.parametrize("heading", np.linspace(0, 2 * np.pi, 7))
def test_a_walk_fills_the_picture_and_stands_on_the_floor(heading):
    joints = marching(40, heading=heading)
    stage = Stage(joints, 20, (256, 256))
    points, _ = stage.camera.project(stage.balls)
    assert (np.ptp(points[..., 1], axis=1) > 0.5 * 256).all()  # not tiny
    assert 0.01 < joints[..., 1].min() - stage.floor < 0.06  # toes are inside feet
    steps = np.diff(stage.camera.target, n=2, axis=0)
    assert np.abs(steps).max() < 0.01  # the camera does not shake, metres a frame a frame


def test_left_is_blue_and_on_the_right_of_a_figure_that_faces_us():
    joints = np.repeat(marching(1), 5, axis=0)
    for picture in draw_frames(joints, 20, size=256, progress=False):
        left, right = near(picture, LEFT), near(picture, RIGHT)
        assert min(left.shape[1], right.shape[1]) > 300
        assert left[1].mean() > right[1].mean() + 5  # columns: it looks at us, as in a mirror reversed
    swapped = joints[:, list(SMPL22.mirror)] * [-1, 1, 1]  # the mirrored movement has its own left
    picture = next(draw_frames(swapped, 20, size=256, progress=False))
    assert near(picture, LEFT)[1].mean() > near(picture, RIGHT)[1].mean() + 5


def test_the_nearer_limb_covers_the_farther():
    joints = np.repeat(marching(1, heading=0.0), 2, axis=0)
    picture = next(draw_frames(joints, 20, size=256, progress=False))
    stage = Stage(joints, 20, (256, 256))
    points, depth = stage.camera.project(stage.balls)
    hands = {side: SMPL22.joints.index(f"{side}_elbow") for side in ("left", "right")}
    nearer = min(hands, key=lambda side: depth[0, hands[side]])
    x, y = points[0, hands[nearer]].round().astype(int)
    assert near(picture[y - 2 : y + 3, x - 2 : x + 3], LEFT if nearer == "left" else RIGHT).shape[1] > 10


@pytest.mark.parametrize("speed", [0.0, 2.5])
def test_drawing_only_what_changes_is_drawing_everything(speed):
    joints = marching(20, speed=speed)
    stage = Stage(joints, 20, (128, 128))
    assert stage.camera.still == (speed == 0)
    parts = {frame: np.asarray(picture) for frame, picture in stage.frames(range(20))}
    assert list(parts) == list(range(20))
    for shadow, frame, draw_on in stage.outlines(np.arange(20)):
        canvas = stage.background.copy()
        draw_on(canvas, shadow())
        assert np.array_equal(np.asarray(canvas.reduce(SAMPLES)), parts[frame])


@pytest.mark.parametrize("size", [128, 256, 512])
def test_a_shadow_fades_before_its_mask_ends(size):
    stage = Stage(marching(40), 20, (size, size))
    masks = 0
    for shadow, _, _ in stage.outlines(np.arange(0, 40, 4)):
        found = shadow()
        assert found is not None
        (left, top), mask = found
        grey = np.asarray(mask)
        inside = [left > 0, top > 0, left + mask.width < size * SAMPLES, top + mask.height < size * SAMPLES]
        edges = [grey[:, 0], grey[0], grey[:, -1], grey[-1]]
        assert all(edge.max() <= 1 for edge, whole in zip(edges, inside, strict=True) if whole) and grey.max() > 40
        masks += sum(inside)
    assert masks > 20


def test_the_trail_grows_with_the_way():
    moving, standing = marching(25, speed=2), marching(25, speed=0)
    for joints, least in ((moving, 40), (standing, 0)):
        with_trail, without = (
            [p.astype(int) for p in draw_frames(joints, 20, size=96, trail=trail)] for trail in (True, False)
        )
        changed = [(np.abs(a - b).max(axis=-1) > 8).sum() for a, b in zip(with_trail, without, strict=True)]
        assert changed[0] == 0 and changed[-1] >= least and (least > 0 or max(changed) == 0)
        assert changed[-1] >= changed[10]


def test_hulls_hold_their_discs():
    rng = np.random.default_rng(0)
    centres, radii = rng.normal(size=(5, 3, 2)), rng.uniform(0.1, 0.5, (5, 3))
    around = hulls(centres, radii, corners=64)
    angles = np.arange(64) * 2 * np.pi / 64
    outward = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    reach = ((centres @ outward.T) + radii[..., None]).max(axis=1)  # (5, 64)
    assert np.allclose(np.einsum("pkc,kc->pk", around, outward), reach, atol=1e-5)


def test_captions_wrap_and_are_seen():
    assert captions.wrap("a person walks", 20, 1000) == ["a person walks"]
    lines = captions.wrap("a person " * 40, 16, 200)
    assert len(lines) == 3 and lines[-1].endswith("…")
    assert all(captions.text_width(line, 16) <= 200 for line in lines)
    assert captions.wrap("x" * 100, 16, 200, most=9)[0].startswith("xxx")  # one long word breaks
    assert "".join(captions.wrap("ab\ncd\t\x00ef", 16, 500)) == "ab cd ef"
    plain, words = (next(draw_frames(WALK.data, 20, size=128, caption=c)) for c in (None, "a person walks"))
    assert np.abs(plain[100:].astype(int) - words[100:]).max() > 100


def test_a_script_without_a_font_is_told(monkeypatch):
    monkeypatch.setattr(captions, "_installed", lambda: ())
    captions._choose.cache_clear()
    try:
        with pytest.warns(UserWarning, match="no font on this machine writes 一走"):
            picture = next(draw_frames(WALK.data, 20, size=128, caption="走一走 walk"))
        assert picture.shape == (128, 128, 3)
    finally:
        captions._choose.cache_clear()


def test_refusals(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"must be one of \.mp4 .*\.gif .*\.webp .*\.png .*none .*; got '\.avi'"):
        render(WALK, tmp_path / "a.avi")
    for size in (10, 5000, 128.5):
        with pytest.raises(ValueError, match="size must be"):
            render(WALK, tmp_path / "a.gif", size=size)
    with pytest.raises(ValueError, match="even for mp4"):
        render(WALK, tmp_path / "a.mp4", size=129)
    for fps in (0, -1, 51, float("nan")):
        with pytest.raises(ValueError, match="fps must be"):
            render(WALK, tmp_path / "a.gif", fps=fps)
    with pytest.raises(ValueError, match="one caption for each motion; got 2 for 1"):
        render(WALK, tmp_path / "a.gif", caption=["a", "b"])
    with pytest.raises(ValueError, match="at least 1 motion"):
        render([], tmp_path / "a.gif")
    with pytest.raises(NoRouteError):
        render(Motion(np.zeros((3, 251)), "kit251", 12.5), tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"joints must have shape \(T, 22, 3\)"):
        draw_frames(np.zeros((3, 21, 3)), 20)
    with pytest.raises(ValueError, match="first in frame 1"):
        draw_frames(np.where(np.arange(3)[:, None, None] == 1, np.nan, WALK.data[:3]), 20)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "hftrainer\[video\]"'):
        render(WALK, tmp_path / "a.mp4")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", ["", *ENDINGS])
def test_an_interrupt_leaves_nothing_half(tmp_path, ending, monkeypatch):
    def broken(*_, **__):
        yield np.zeros((64, 64, 3), np.uint8)
        raise KeyboardInterrupt

    def no_sheet(*_, **__):
        raise KeyboardInterrupt

    old = tmp_path / f"old{ending or '.txt'}"
    old.write_text("an older file")
    monkeypatch.setattr("hftrainer.rendering.look.draw_frames", broken)
    monkeypatch.setattr("hftrainer.rendering.look.contact_sheet", no_sheet)
    for name in ("new" + ending, *([old.name] if ending else [])):
        with pytest.raises(KeyboardInterrupt):
            render(WALK, tmp_path / name, size=64)
    assert list(tmp_path.iterdir()) == [old] and old.read_text() == "an older file"


def test_one_pose_and_a_body_without_extent(tmp_path):
    for ending in ENDINGS:
        render(WALK[:1], tmp_path / f"a{ending}", size=64)
    assert len(list(tmp_path.iterdir())) == len(ENDINGS)
    assert next(draw_frames(np.zeros((2, 22, 3)), 20, size=64)).shape == (64, 64, 3)


def test_the_bench_measures_both_ways():
    report = rendering_speed(frames=20, size=128, repeats=1)
    assert report["frames_per_second"] > 1 and report["plain_frames_per_second"] > 1
    assert report["holds"] == (report["frames_per_second"] >= report["bar"] == 300)
