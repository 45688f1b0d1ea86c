"""ASF and AMC: read as written, posed as a second implementation poses them, refused when damaged."""

import numpy as np
import pytest
from capture_files import amc_text, asf_text, bones, channels, columns, walk
from scipy.spatial.transform import Rotation

from hftrainer.motion.files import asf


def _far_ends(values):
    """Far end of every bone in frame 0, by scipy and the definition of the format."""
    track = dict(zip(columns(), values[0], strict=True))

    def turn(name, dofs):
        matrix = np.eye(3)
        for dof in dofs.split():  # the first degree of freedom turns first
            matrix = Rotation.from_euler(dof[1], track[f"{name}:{dof}"], degrees=True).as_matrix() @ matrix
        return matrix

    world = {"root": turn("root", "rx ry rz")}
    ends = {"root": np.array([track[f"root:t{axis}"] for axis in "xyz"])}
    for name, parent, direction, length, axis, dofs in bones():
        frame = Rotation.from_euler("xyz", axis, degrees=True).as_matrix()
        world[name] = world[parent] @ frame @ turn(name, dofs) @ frame.T
        ends[name] = ends[parent] + world[name] @ np.array(direction) * length
    return ends


def _positions(values):
    skeleton = asf.parse_asf(asf_text())
    order = [columns().index(column) for column in skeleton.columns]
    rotations, translation = asf.local_rotations(skeleton, values[:, order])
    figure = skeleton.figure
    return figure, figure.positions(figure.global_rotations(rotations), translation)


def test_every_bone_ends_where_the_format_says():
    values = np.random.default_rng(0).uniform(-60, 60, (1, len(columns())))
    figure, positions = _positions(values)
    ends = _far_ends(values)
    checked = 0
    for joint, name in enumerate(figure.names):
        if figure.parents[joint] >= 0:  # a joint stands at the far end of its parent's bone
            parent = figure.names[figure.parents[joint]]
            np.testing.assert_allclose(positions[0, joint], ends[parent], atol=1e-9, err_msg=name)
            checked += 1
    assert checked >= len(bones())


def test_angles_turn_in_the_bones_own_axes():
    """A mutant that forgets the axis line turns the femur about the world's x and fails here."""
    values = channels(1, lfemur_ry=40.0)
    figure, positions = _positions(values)
    _, rest = _positions(channels(1))
    knee = figure.index("ltibia")
    assert abs(np.linalg.norm(positions[0, knee] - rest[0, knee])) < 1e-3  # ry is about the bone itself


def test_amc_is_read_in_any_bone_order():
    values = walk(0.2)
    text = amc_text(values)
    skeleton = asf.parse_asf(asf_text())
    read = asf.parse_amc(text, skeleton.columns)
    assert read.shape == (12, len(columns()))
    np.testing.assert_allclose(read[:, [skeleton.columns.index(c) for c in columns()]], values, atol=1e-4)


def test_recording_finds_the_subjects_skeleton(tmp_path):
    (tmp_path / "02.asf").write_text(asf_text())
    (tmp_path / "02_01.amc").write_text(amc_text(walk(0.1)))
    recording = asf.read_recording(tmp_path / "02_01.amc")
    assert recording.rotations.shape[0] == 6 and recording.fps == 0
    (tmp_path / "02.asf").unlink()
    with pytest.raises(FileNotFoundError, match=r"02_01\.asf and 02\.asf"):
        asf.read_recording(tmp_path / "02_01.amc")


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda t: t.replace(":hierarchy", ":nothing"), "hierarchy is absent"),
        (lambda t: t.replace("direction 0.342 -0.94 0", "direction a b c", 1), "can be read"),
        (lambda t: t.replace("dof rx ry rz", "dof rx ry l", 1), "degree of freedom"),
        (lambda t: t.replace("    ltibia lfoot\n", ""), "absent there: lfoot, ltoes"),
    ],
)
def test_damaged_skeletons_are_refused(damage, sentence):
    with pytest.raises(ValueError, match=sentence):
        asf.parse_asf(damage(asf_text()), "x.asf")


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda t: "", "found none"),
        (lambda t: t.replace("ltibia", "tail"), "'tail'"),
        (lambda t: t[: int(len(t) * 0.8)], "cut short"),
        (lambda t: t.replace("\n3\nroot 0", "\n3\nroot zero"), "frame 3"),
    ],
)
def test_damaged_motions_are_refused(damage, sentence):
    skeleton = asf.parse_asf(asf_text())
    with pytest.raises(ValueError, match=sentence):
        asf.parse_amc(damage(amc_text(channels(5))), skeleton.columns, "x.amc")


def test_units_are_cmus():
    assert asf.parse_asf(asf_text()).metres == pytest.approx(0.0564444, abs=1e-6)
