"""The shaded body: where it stands, what covers what, its shadow, its roads, its sheets, and nothing lost by it."""

import os
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from hftrainer.motion.clip import Motion
from hftrainer.motion.edit import mirror
from hftrainer.motion.files import load
from hftrainer.motion.files.fbx import find_blender
from hftrainer.motion.free_smpl import free_smpl_body
from hftrainer.rendering import render
from hftrainer.rendering.body import BodyStage
from hftrainer.rendering.figure import LEFT, RIGHT
from hftrainer.rendering.gl import Painter
from hftrainer.rendering.look import Look
from hftrainer.rendering.raster import rasterise
from hftrainer.rendering.sequence import in_a_row, picture_width
from hftrainer.rendering.skeleton import Stage
from hftrainer.rendering.speed import body_speed, marching
from hftrainer.rendering.surface import free_surface, smpl_surface
from tests.conftest import ROOT

WALK = Motion(marching(24), "joints", 20)
SIZE = (192, 192)


@pytest.fixture(scope="module")
def stage() -> BodyStage:
    return BodyStage([free_surface(WALK)], SIZE)


@pytest.fixture(scope="module")
def painter() -> Painter:
    try:
        return Painter(SIZE)
    except (ModuleNotFoundError, OSError) as exc:
        pytest.skip(str(exc))


def cover(stage: BodyStage, shot) -> np.ndarray:
    """``(H, W)`` how much of each pixel the figure covers."""
    whole = np.zeros((stage.height, stage.width))
    layer = stage.fill(shot.points, shot.depth, stage.triangles, shot.colours, (stage.width, stage.height))
    rows, columns = layer.cover.shape
    whole[layer.top : layer.top + rows, layer.left : layer.left + columns] = layer.cover
    return whole


def tints(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns of the bluish and of the orange pixels."""
    flat = picture.astype(float) - picture.mean(axis=-1, keepdims=True)
    found = []
    for colour in (LEFT, RIGHT):
        aim = np.array(colour, float) - np.mean(colour)
        likeness = (flat @ aim) / (np.linalg.norm(flat, axis=-1) * np.linalg.norm(aim) + 1e-9)
        found.append(np.nonzero((likeness > 0.9) & (np.abs(flat).max(axis=-1) > 35))[1])
    return found[0], found[1]


def test_the_silhouette_covers_the_joints_and_nothing_far_off(stage):
    for shot in stage.shots(np.arange(0, 24, 5)):
        joints = stage.surfaces[0].joints[shot.frame] - [0.0, stage.floor, 0.0]
        at, _ = stage.camera.project(joints, shot.frame)
        whole = cover(stage, shot)
        x, y = np.floor(at).astype(int).T
        assert (whole[y, x] > 0.5).all()
        rows, columns = np.nonzero(whole)
        pixels = np.stack([columns, rows], axis=-1) + 0.5
        away = np.linalg.norm(pixels[:, None] - at[None], axis=-1).min(axis=1)
        assert away.max() < 0.14 * stage.height  # half a shin
        assert 0.02 < whole.mean() < 0.3


def test_a_closed_surface_has_no_hole(stage):
    shot = next(stage.shots(np.array([3])))
    whole = cover(stage, shot)
    inner = whole[1:-1, 1:-1]
    around = np.stack([whole[:-2, 1:-1], whole[2:, 1:-1], whole[1:-1, :-2], whole[1:-1, 2:]]).min(axis=0)
    assert not ((around == 1) & (inner < 1)).any()


def test_feet_stand_on_the_floor(stage):
    above = stage.surfaces[0].pose(np.arange(24))[..., 1].min(axis=1) - stage.floor
    assert above.min() > -0.01 and np.median(above) < 0.03 and above.max() < 0.05  # metres


def test_it_looks_through_the_camera_of_the_skeleton(stage):
    other = Stage(WALK.data, 20, SIZE)
    assert np.allclose(stage.camera.axes, other.camera.axes)
    assert abs(stage.camera.distance - other.camera.distance) < 0.05 * other.camera.distance


def test_sides_change_places_in_the_mirror():
    standing = Motion(np.repeat(marching(1), 2, axis=0), "joints", 20)
    for motion in (standing, mirror(standing)):
        drawn = BodyStage([free_surface(motion)], SIZE)
        left, right = tints(np.asarray(next(drawn.frames([0]))[1]))
        assert min(len(left), len(right)) > 150
        assert left.mean() > right.mean() + 5  # it faces us: its left is on our right, in the mirror too
    back = BodyStage([free_surface(standing)], SIZE, azimuth=np.pi)
    left, right = tints(np.asarray(next(back.frames([0]))[1]))
    assert left.mean() < right.mean() - 5


def test_the_nearer_covers_the_farther():
    square = np.array([[20.0, 20], [20, 80], [80, 80], [80, 20]])
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    points = np.concatenate([square, square + 15])
    colours = np.repeat([[1.0, 0, 0], [0, 0, 1.0]], 4, axis=0)
    for near, expected in ((2.0, [1, 0, 0]), (4.0, [0, 0, 1])):
        depth = np.repeat([near, 3.0], 4)
        for order in (np.concatenate([faces, faces + 4]), np.concatenate([faces + 4, faces])):
            layer = rasterise(points, depth, order, colours, (100, 100))
            assert np.allclose(layer.colour[55 - layer.top, 55 - layer.left], expected)
    assert rasterise(points, depth, order[:, ::-1], colours, (100, 100)) is None  # seen from behind
    assert rasterise(points + 500, depth, order, colours, (100, 100)) is None  # beside the picture


@pytest.mark.parametrize("samples", [1, 2, 3])
@pytest.mark.parametrize("wide", [3, 9, 40, 300])
def test_triangles_share_edges_without_gap_and_blend_their_corners(samples, wide):
    square = np.array([[0.0, 0], [0, 1], [1, 1], [1, 0]]) * wide - [2.0, 1.0]
    shades = np.concatenate([square / wide * 0.5 + 0.5, np.full((4, 1), 0.25)], axis=1)
    layer = rasterise(square, np.ones(4), np.array([[0, 1, 2], [0, 2, 3]]), shades, (64, 64), samples)
    rows, columns = layer.cover.shape
    assert (layer.left, layer.top) == (0, 0) and (columns, rows) == (min(wide - 2, 64), min(wide - 1, 64))
    assert (layer.cover == 1).all()  # cut by the picture, whole inside
    y, x = np.mgrid[:rows, :columns] + 0.5
    assert np.allclose(layer.colour[..., 0], 0.5 + 0.5 * x / wide, atol=1e-4)
    assert np.allclose(layer.colour[..., 1], 0.5 + 0.5 * y / wide, atol=1e-4)


def test_an_edge_is_smooth_and_area_is_kept():
    rng = np.random.default_rng(0)
    for _ in range(20):
        points = rng.uniform(5, 59, (3, 2))
        one, two = points[1] - points[0], points[2] - points[0]
        double = one[0] * two[1] - one[1] * two[0]
        order = [[0, 1, 2]] if double < 0 else [[0, 2, 1]]
        layer = rasterise(points, np.ones(3), np.array(order), np.ones((3, 3)), (64, 64), 4)
        area = 0.0 if layer is None else layer.cover.sum()
        assert abs(area - abs(double) / 2) < 2 + 0.02 * abs(double)


def test_the_shadow_falls_away_from_the_light_and_joins_the_feet(stage):
    shot = next(stage.shots(np.array([0])))
    picture = stage.ground.picture(0)
    bare = picture.copy()
    stage.ground.darken(picture, 0, shot.shadow, shot.corner, stage.cell)
    dark = (bare.astype(int) - picture).mean(axis=-1)
    assert dark.min() >= -1 and dark.max() > 25
    rows, columns = np.nonzero(dark > 12)
    foot, _ = stage.camera.project(stage.surfaces[0].joints[0, [10, 11]] * [1.0, 0.0, 1.0], 0)
    assert columns.mean() > foot[:, 0].mean()  # the light stands on the left
    for x, y in foot:
        assert np.hypot(columns - x, rows - y).min() < 6
    assert shot.shadow[0].max() < 0.02 and shot.shadow[-1].max() < 0.02  # no edge
    assert shot.shadow[:, 0].max() < 0.02 and shot.shadow[:, -1].max() < 0.02


def test_what_lies_in_the_shade_is_darker():
    """A second figure between the light and the first one keeps the light from it."""
    near = free_surface(Motion(WALK.data[:1], "joints", 20))
    stage = BodyStage([near], SIZE)
    shot = next(stage.shots(np.array([0])))
    other = near.still(0, stage.light * 1.1 * [1, 1, 1], near.colours)
    both = BodyStage([near, other], SIZE)
    shaded = next(both.shots(np.array([0])))
    count = len(near.colours)
    assert shaded.colours[:count].mean() < shot.colours.mean() - 0.01


def test_the_same_twice_and_every_frame(stage):
    one, two = ([np.asarray(p) for _, p in stage.frames([0, 7, 7, 3])] for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert np.array_equal(one[1], one[2]) and not np.array_equal(one[0], one[1])
    assert one[0].shape == (192, 192, 3) and [f for f, _ in stage.frames(range(24))] == list(range(24))


@pytest.mark.parametrize("speed", [0.0, 3.0])
def test_both_roads_show_the_same(painter, speed):
    surface = free_surface(Motion(marching(20, speed=speed), "joints", 20))
    plain, other = BodyStage([surface], SIZE), BodyStage([surface], SIZE, fill=painter)
    assert plain.camera.still == (speed == 0)
    for (_, a), (_, b) in zip(plain.frames([0, 10, 19]), other.frames([0, 10, 19]), strict=True):
        apart = np.abs(np.asarray(a, int) - np.asarray(b)).max(axis=-1)
        assert apart.mean() < 0.6 and (apart > 24).mean() < 0.006  # edges alone


def test_a_painter_is_for_one_size(painter):
    with pytest.raises(ValueError, match=r"size must be \(192, 192\)"):
        painter(np.zeros((3, 2)), np.ones(3), np.array([[0, 1, 2]]), np.ones((3, 3)), (64, 64))
    assert painter(np.full((3, 2), 900.0), np.ones(3), np.array([[0, 1, 2]]), np.ones((3, 3)), SIZE) is None


def test_without_opengl(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "moderngl", None)
    with pytest.raises(ModuleNotFoundError, match=r"hftrainer\[gl\]"):
        Painter((64, 64))
    assert Look("body").filler((66, 66)) is not None  # NumPy draws
    with pytest.raises(ModuleNotFoundError):
        Look("body", gl=True).filler((66, 66))


def test_files_of_the_body_style(tmp_path):
    drawn = {"style": "body", "size": 96, "gl": False, "caption": "a person walks"}
    with av.open(str(render(WALK, tmp_path / "a.mp4", fps=10, **drawn))) as file:
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    assert len(frames) == 13 and frames[0].shape == (96, 96, 3)
    for ending in (".gif", ".webp"):
        with Image.open(render(WALK, tmp_path / f"a{ending}", **drawn)) as picture:
            assert picture.n_frames == len(WALK) and picture.size == (96, 96)
    with Image.open(render(WALK, tmp_path / "a.png", poses=3, **drawn)) as picture:
        assert picture.width == 3 * 48 and picture.height > 48
    assert len(list(render(WALK[:3], tmp_path / "frames", **drawn).iterdir())) == 3
    words = render(WALK[:1], tmp_path / "w.png", sequence=True, **drawn)
    assert np.asarray(Image.open(words))[80:].std() > 3  # the caption is on it


def test_poses_in_a_row():
    surface = free_surface(Motion(np.repeat(marching(1), 30, axis=0), "joints", 20))
    figures, azimuth = in_a_row(surface, np.array([0, 9, 20, 29]))
    across = np.array([np.cos(azimuth), 0.0, -np.sin(azimuth)])
    places = [float(figure.joints[0, 0] @ across) for figure in figures]
    assert places == sorted(places) and np.diff(places).min() > 0.4  # moved apart, time from left to right
    grey = [figure.colours.std() for figure in figures]
    assert grey == sorted(grey) and grey[0] < 0.5 * grey[-1]  # paler the earlier
    assert np.array_equal(in_a_row(surface, np.array([4]))[0][0].colours, surface.colours)  # one alone is not pale
    assert picture_width(figures, azimuth, 200) > 250
    walked = free_surface(Motion(marching(100, speed=1.4), "joints", 20))
    far, _ = in_a_row(walked, np.array([0, 50, 99]))
    for figure, frame in zip(far, (0, 50, 99), strict=True):
        assert np.allclose(figure.joints[0], walked.joints[frame])  # where the motion passes


def test_several_figures_share_one_floor(tmp_path):
    aside = Motion(WALK.data + [1.2, 0.0, 0.0], "joints", 20)
    with Image.open(render([WALK, aside], tmp_path / "a.png", style="body", together=True, poses=1, size=256)) as one:
        alone = Image.open(render(WALK, tmp_path / "b.png", style="body", poses=1, size=256))
        assert one.size == alone.size
    surfaces = [free_surface(WALK), free_surface(aside[:5], figure=1)]
    both = BodyStage(surfaces, SIZE)
    assert both.frame_count == 24 and [f for f, _ in both.frames([0, 23])] == [0, 23]  # the shorter one waits
    shot = next(both.shots(np.array([0])))
    assert len(shot.points) == sum(len(surface.colours) for surface in surfaces)


def test_a_body_of_the_user(tmp_path):
    body = free_smpl_body()
    surface = smpl_surface(WALK, body, fps=10)
    assert len(surface.joints) == len(free_surface(WALK, fps=10).joints) == 13
    assert surface.pose(np.array([0, 5])).shape == (2, len(body.template), 3)
    stage = BodyStage([surface], SIZE)
    left, right = tints(np.asarray(next(stage.frames([0]))[1]))
    assert min(len(left), len(right)) > 150
    assert render(WALK[:2], tmp_path / "a.png", style="body", smpl=body, size=128).is_file()


def test_a_look_that_does_not_exist(tmp_path):
    with pytest.raises(ValueError, match="style must be one of skeleton, body, blender; got 'clay'"):
        render(WALK, tmp_path / "a.png", style="clay")
    with pytest.raises(ValueError, match="sequence, together must be left out with the style skeleton"):
        Look(sequence=True, together=True)
    with pytest.raises(ValueError, match="at least 1 surface"):
        BodyStage([], SIZE)
    with pytest.raises(FileNotFoundError, match="blender must be a program"):
        render(WALK, tmp_path / "a.png", style="blender", blender="/nowhere")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("style", ["skeleton", "body", "blender"])
@pytest.mark.parametrize("asked", [["a.mp4"], ["a.npz", "a.gif"]])
def test_a_picture_that_fails_loses_no_motion(tmp_path, monkeypatch, style, asked):
    from hftrainer.cli.generate import write

    def fails(*_, **__):
        raise OSError("the pencil broke")

    monkeypatch.setattr("hftrainer.rendering.look.Look.films", fails)
    with pytest.raises(RuntimeError, match=r"the pencil broke\. The motion itself is safe in .*\.npz"):
        write(WALK, [tmp_path / name for name in asked], None, lambda _: None, {"style": style})
    (kept,) = tmp_path.iterdir()
    assert kept.name == ("a.npz" if "a.npz" in asked else "a.motion.npz")
    assert np.array_equal(load(kept).data, WALK.data)


def test_the_bench_of_the_body():
    report = body_speed(marching(6), 64, 1)
    assert report["numpy"]["frames_per_second"] > 0 and report["numpy"]["processor_ms_per_frame"] > 0
    assert "absent" in report["gl"] or report["gl"]["holds"] == (report["gl"]["frames_per_second"] >= 60)


def test_the_picture_of_the_documentation(tmp_path):
    """``docs/body.png`` is what this draws; UPDATE_PICTURES=1 writes it anew."""
    path = render(Motion(marching(60), "joints", 20), tmp_path / "body.png", style="body", sequence=True, poses=6,
                  size=384, gl=False, caption="a person walks")  # fmt: skip
    kept = ROOT / "docs" / "body.png"
    if os.environ.get("UPDATE_PICTURES") == "1":
        kept.write_bytes(path.read_bytes())
    drawn, old = (np.asarray(Image.open(file).convert("RGB"), int) for file in (path, kept))
    assert drawn.shape == old.shape and np.abs(drawn - old).mean() < 3


def _blender() -> str | None:
    """The Blender to test with: this Python's, the one on the path, or the one that HFTRAINER_BLENDER names."""
    named = os.environ.get("HFTRAINER_BLENDER")
    try:
        find_blender(named)
    except FileNotFoundError as exc:
        pytest.skip(str(exc))
    return named


@pytest.mark.slow
def test_blender_stands_where_the_body_stands(tmp_path):
    blender = _blender()
    film = render(WALK[:1], tmp_path / "film", style="blender", draft=True, size=96, blender=blender)
    drawn = np.asarray(Image.open(next(Path(film).iterdir())).convert("RGB"), int)
    stage = BodyStage([free_surface(WALK[:1])], (96, 96))
    ours = np.asarray(next(stage.frames([0]))[1], int)
    assert np.abs(drawn - ours).mean() < 6 and np.abs(ours - stage.ground.picture(0)).mean() > 6
    sheet = Image.open(render(WALK[:9], tmp_path / "a.png", style="blender", draft=True, size=96, poses=3,
                              blender=blender))  # fmt: skip
    assert sheet.height == 96 and sheet.width > 96
