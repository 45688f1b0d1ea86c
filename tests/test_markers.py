"""C3D and TRC: joint centres come in from files of every kind of machine; files that lie or break are refused."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hftrainer.motion.files import load
from hftrainer.motion.files.c3d import read_c3d
from hftrainer.motion.files.markers import listed, read_trc
from hftrainer.motion.files.names import UPWARD
from hftrainer.motion.skeleton import SMPL22
from hftrainer.rendering.speed import marching
from tests.moving import MM, lively
from tests.test_matching import STYLES

MACHINES = {"intel": 84, "dec": 85, "mips": 86}
SCALES = {"m": 1.0, "mm": 0.001, "cm": 0.01}


def c3d(points: np.ndarray, names, fps: float, unit: str, machine: str = "intel", scale: float = -1.0, analog: int = 0):
    """A C3D file's bytes. ``points`` may hold NaN for hidden ones; ``scale`` below 0 writes floats."""
    order = ">" if machine == "mips" else "<"

    def real(values) -> bytes:
        values = np.asarray(values, dtype=np.float64)
        if machine == "mips":
            return values.astype(">f4").tobytes()
        if machine == "dec":
            return (values * 4).astype("<f4").view("<u2").reshape(-1, 2)[:, ::-1].tobytes()
        return values.astype("<f4").tobytes()

    frames, count = points.shape[:2]
    body = bytearray([0, 80, 2, MACHINES[machine]])

    def entry(number: int, name: str, data: bytes) -> None:
        body.extend(struct.pack("bb", len(name), number) + name.encode())
        body.extend(struct.pack(order + "h", 2 + len(data)) + data)

    entry(-1, "POINT", b"\0")
    width = max(map(len, names))
    text = b"".join(name.ljust(width).encode() for name in names)
    entry(1, "USED", struct.pack("b", 2) + b"\0" + struct.pack(order + "h", count) + b"\0")
    entry(1, "SCALE", struct.pack("b", 4) + b"\0" + real([scale]) + b"\0")
    entry(1, "RATE", struct.pack("b", 4) + b"\0" + real([fps]) + b"\0")
    entry(1, "LABELS", struct.pack("b", -1) + bytes([2, width, len(names)]) + text + b"\0")
    entry(1, "UNITS", struct.pack("b", -1) + bytes([1, len(unit)]) + unit.encode() + b"\0")
    body += b"\0\0"
    blocks = -(-len(body) // 512)
    body[2] = blocks
    body += bytes(blocks * 512 - len(body))
    start = 2 + blocks
    head = bytearray(512)
    head[:2] = bytes([2, 80])
    struct.pack_into(order + "5H", head, 2, count, analog, 1, frames, 0)
    head[12:16], head[20:24] = real([scale]), real([fps])
    struct.pack_into(order + "H", head, 16, start)
    hidden = ~np.isfinite(points).all(axis=-1)
    rows = np.concatenate([np.where(hidden[..., None], 0, points), np.where(hidden, -1, 0)[..., None]], axis=-1)
    if scale > 0:
        rows[..., :3] = np.round(rows[..., :3] / scale)
        data = np.concatenate([rows.reshape(frames, -1), np.zeros((frames, analog))], axis=1)
        data = data.astype(order + "i2").tobytes()
    else:
        data = real(np.concatenate([rows.reshape(frames, -1), np.zeros((frames, analog))], axis=1))
    return bytes(head) + bytes(body) + data + bytes(-len(data) % 512)


def trc(points: np.ndarray, names, fps: float, unit: str) -> str:
    """A TRC file's text; NaN becomes an empty cell."""
    frames, count = points.shape[:2]
    lines = ["PathFileType\t4\t(X/Y/Z)\twalk.trc",
             "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames",
             f"{fps:g}\t{fps:g}\t{frames}\t{count}\t{unit}\t{fps:g}\t1\t{frames}",
             "Frame#\tTime\t" + "\t\t\t".join(names) + "\t\t",
             "\t\t" + "\t".join(f"{axis}{n}" for n in range(1, count + 1) for axis in "XYZ"), ""]  # fmt: skip
    for frame, row in enumerate(points):
        cells = ["" if np.isnan(value) else f"{value:.6f}" for value in row.ravel()]
        lines.append("\t".join([str(frame + 1), f"{frame / fps:.5f}", *cells]))
    return "\n".join(lines) + "\n"


@settings(max_examples=25)
@given(
    st.integers(0, 10_000), st.floats(0, 2 * np.pi), st.sampled_from(sorted(MACHINES)), st.sampled_from(sorted(SCALES)),
    st.sampled_from(["y", "z", "x"]), st.integers(0, 5), st.sampled_from([25.0, 60.0, 119.88]),
)  # fmt: skip
def test_c3d_of_any_motion(tmp_path_factory, seed, heading, machine, unit, up, analog, fps):
    joints = marching(6, heading=heading) if seed % 2 else lively(6, seed, heading)
    path = tmp_path_factory.mktemp("c3d") / "a.c3d"
    points = joints @ UPWARD[up] / SCALES[unit]
    path.write_bytes(c3d(points, STYLES["centres"], fps, unit, machine, analog=analog))
    said = None if seed % 2 else up  # a body that tumbles does not tell what is up
    back = load(path, up=said)
    assert (back.about["up"], back.about["unit"]) == (up, unit) and back.fps == pytest.approx(fps, rel=1e-6)
    assert np.abs(back.data - joints).max() < 0.1 * MM
    path.write_bytes(c3d(points, STYLES["centres"], fps, unit, machine, scale=0.0005 / SCALES[unit], analog=analog))
    assert np.abs(load(path, up=said).data - joints).max() < 0.5 * MM  # integers, half a millimetre each


@settings(max_examples=25)
@given(
    st.integers(0, 10_000), st.floats(0, 2 * np.pi), st.sampled_from(sorted(SCALES)), st.sampled_from(["y", "z", "x"]),
    st.sampled_from(["plain", "rokoko", "centres"]),
)  # fmt: skip
def test_trc_of_any_motion(tmp_path_factory, seed, heading, unit, up, style):
    joints = marching(6, heading=heading) if seed % 2 else lively(6, seed, heading)
    path = tmp_path_factory.mktemp("trc") / "a.trc"
    path.write_text(trc(joints @ UPWARD[up] / SCALES[unit], STYLES[style], 100, unit))
    back = load(path, up=None if seed % 2 else up)
    assert back.fps == 100 and back.about["up"] == up and np.abs(back.data - joints).max() < 0.1 * MM


def test_short_gaps_are_led_across_and_long_ones_refused(tmp_path):
    joints = marching(60, fps=60)
    points = joints * 1000
    points[20:30, 4] = np.nan  # a knee, a sixth of a second
    for path, write in ((tmp_path / "a.c3d", c3d), (tmp_path / "a.trc", trc)):
        def put(numbers, path=path, write=write) -> None:
            made = write(numbers, STYLES["centres"], 60, "mm")
            path.write_bytes(made if isinstance(made, bytes) else made.encode())

        put(points)
        back = load(path)
        assert back.about["filled"] == 10 and np.abs(back.data - joints).max() < 0.05
        assert np.abs((back.data - joints)[:20]).max() < 0.1 * MM
        longer = points.copy()
        longer[10:40, 4] = np.nan
        put(longer)
        with pytest.raises(ValueError, match=f"{path.name}: LKJC must be seen throughout; .* 30 of 60 frames"):
            load(path)
        edge = points.copy()
        edge[:2, 0] = np.nan
        put(edge)
        with pytest.raises(ValueError, match="PELVIS must be seen"):
            load(path)


def test_other_markers_do_not_disturb(tmp_path):
    joints = marching(6)
    points = np.concatenate([np.full((6, 2, 3), np.nan), joints], axis=1) * 1000
    path = tmp_path / "a.c3d"
    path.write_bytes(c3d(points, ["*110", "LFHD", *STYLES["centres"]], 50, "mm"))
    assert np.abs(load(path).data - joints).max() < 0.1 * MM
    assert load(path, mapping=dict(zip(SMPL22.joints, STYLES["centres"], strict=True))).about["skeleton"] == "mapping"
    assert load(path, unit="cm").data.max() > 5  # what is said is taken
    with pytest.raises(ValueError, match="unit must be one of"):
        load(path, unit="ft")
    surface = ["LFHD", "RFHD", "C7", "T10", *(f"M{i}" for i in range(20))]
    path.write_bytes(c3d(points, surface, 50, "mm"))
    with pytest.raises(ValueError, match="left_hip, .* cannot be told"):
        load(path)


def test_c3d_files_that_lie_about_their_size(tmp_path):
    path = tmp_path / "a.c3d"
    whole = c3d(marching(6) * 1000, STYLES["centres"], 50, "mm")

    def refused(data: bytes, words: str) -> None:
        path.write_bytes(data)
        with pytest.raises(ValueError, match=words):
            read_c3d(path)

    refused(whole[:-1024], "6 frames of 22 points that it declares; there is room for [0-5]")
    refused(b"not a c3d at all" * 100, "must begin with a header")
    refused(whole[:600], "must begin with a header")
    many = bytearray(whole)
    struct.pack_into("<H", many, 8, 60_000)  # last frame
    refused(bytes(many), "60000 frames of 22 points that it declares; there is room")
    wide = whole.replace(struct.pack("b", 2) + b"\0" + struct.pack("<h", 22), struct.pack("b", 2) + b"\0\xff\x7f", 1)
    refused(wide, "32767 points")
    none = whole.replace(struct.pack("b", 2) + b"\0" + struct.pack("<h", 22), struct.pack("b", 2) + b"\0\0\0", 1)
    refused(none, "must hold points")
    refused(bytes([200]) + whole[1:], "parameter section must lie in the file")
    refused(whole[:515] + b"\x07" + whole[516:], "machine must be 84, 85 or 86")
    at = whole.index(b"LABELS") + 6 + 2
    refused(whole[: at + 1] + bytes([3, 255, 255, 255]) + whole[at + 4 :], "LABELS must have the 16581375 values")


@settings(max_examples=150)
@given(st.data())
def test_damaged_c3d_files_are_refused_or_read(tmp_path_factory, data):
    """Any bytes changed: an answer or a ValueError, and no other error."""
    machine = data.draw(st.sampled_from(sorted(MACHINES)))
    whole = bytearray(c3d(marching(3) * 1000, STYLES["centres"], 50, "mm", machine))
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, min(len(whole), 1600) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("c3d") / "a.c3d"
    end = data.draw(st.integers(0, len(whole))) if data.draw(st.booleans()) else len(whole)
    path.write_bytes(bytes(whole[:end]))
    try:
        markers = read_c3d(path)
    except ValueError as error:
        assert str(error).startswith("a.c3d")
    else:
        assert len(markers.positions) >= 1 and markers.positions.nbytes < 100 * len(whole)


def test_damaged_trc_files(tmp_path):
    path = tmp_path / "a.trc"
    whole = trc(marching(6) * 1000, STYLES["centres"], 50, "mm")

    def refused(text: str, words: str) -> None:
        path.write_text(text)
        with pytest.raises(ValueError, match=words):
            read_trc(path)

    refused("hello\n", "DataRate and Frame#")
    refused(whole.rsplit("\n", 2)[0], "6 frames of 22 markers it declares; got 5 frames of 22")
    refused(whole.replace("50\t50\t6\t22", "50\t50\tsix\t22"), "must be numbers")
    refused(whole.replace("50\t50\t6\t22", "0\t50\t6\t22"), "DataRate must be above 0")
    refused(whole.replace("50\t50\t6\t22", "50\t50\t6\t999999999"), "999999999 markers")
    refused(whole.rstrip("\n") + "\t1\t2\t3\n", "frame 6 must have 66 coordinates")
    refused(whole.replace("\n3\t0.04000\t", "\n3\t0.04000\tx"), "frame 3 must hold numbers only")
    path.write_text(whole)
    assert read_trc(path).names == tuple(STYLES["centres"]) and read_trc(path).unit == "mm"
    assert listed([str(n) for n in range(25)]).endswith("and 5 more")
