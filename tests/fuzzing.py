"""What fuzzing needs: small whole files of every kind, ways to spoil them, and what a reader may answer.

A case is a file of a known kind whose bytes, words or JSON values were spoiled by rules that a number draws, so that a
failure is found again from that number. A reader may give a result, or one sentence of the kind of error that it
documents; it may not take long, ask for memory that the file does not fill, run what the file says, or write.
"""

import io
import json
import pickle
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hftrainer.motion.clip import Motion
from hftrainer.motion.files import save
from hftrainer.motion.skeleton import SMPL22
from tests import capture_files
from tests.moving import MM, lively
from tests.test_markers import c3d, trc

#: Words that stand where a number is expected.
WORDS = (
    "",
    "nan",
    "inf",
    "-inf",
    "1e400",
    "-1",
    "0",
    "0x10",
    "²",
    "१",
    "1_000",
    "99999999999999999999",
    "9" * 5000,
    "1e-320",
    "{",
    "}",
    "MOTION",
    "ROOT",
    "End",
    "\x00",
    "-0.0",
    "1.5",
    "None",
    "\ufeff",
    "a" * 3000,
    "2147483648",
    "65536",
)
#: Values that stand where JSON has another.
VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1,
    3.5,
    10**6,
    2**31,
    2**63,
    10**30,
    float("nan"),
    float("inf"),
    "",
    "x",
    "../../x",
    "\ud800",
    [],
    {},
    [1],
    {"a": 1},
    [[]],
    -(10**30),
    "a" * 3000,
)


class Executed:
    """An object whose pickle writes a file when it is read."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (self.target, "executed"))


def spoil_bytes(data: bytes, seed: int) -> bytes:
    """Cut, flip, repeat, overwrite with extremes."""
    draw = random.Random(seed)
    out = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 4, 16))):
        at = draw.randrange(len(out)) if out else 0
        what = draw.randrange(8)
        if what == 0:
            del out[at:]
        elif what == 1 and out:
            out[at] ^= 1 << draw.randrange(8)
        elif what == 2 and out:
            out[at] = draw.choice((0, 1, 0x7F, 0x80, 0xFF))
        elif what == 3:
            out[at : at + 4] = struct.pack("<I", draw.choice((0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000)))
        elif what == 4:
            out[at:at] = out[at : at + draw.randrange(1, 64)]
        elif what == 5:
            del out[at : at + draw.randrange(1, 64)]
        elif what == 6:
            out[at:at] = draw.randbytes(draw.randrange(1, 16))
        else:
            out[at : at + 2] = struct.pack("<H", draw.choice((0, 0xFFFF, 0x7FFF, 1)))
    return bytes(out)


def spoil_text(data: bytes, seed: int) -> bytes:
    """Words replaced, lines lost, doubled and moved, nests made deep, bytes that are no UTF-8."""
    draw = random.Random(seed)
    lines = data.decode("utf-8", "replace").split("\n")
    for _ in range(draw.choice((1, 1, 1, 2, 4, 8))):
        at = draw.randrange(len(lines)) if lines else 0
        what = draw.randrange(9)
        if what <= 3 and lines:
            tab = "\t" if "\t" in lines[at] else "," if lines[at].count(",") > 3 else " "
            words = lines[at].split(tab)
            words[draw.randrange(len(words))] = draw.choice(WORDS)
            lines[at] = tab.join(words)
        elif what == 4:
            del lines[at : at + draw.choice((1, 1, 3, 20))]
        elif what == 5 and lines:
            lines.insert(draw.randrange(len(lines)), lines[at])
        elif what == 6 and lines:
            other = draw.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        elif what == 7 and lines:
            lines[at] = lines[at] * min(draw.choice((2, 50, 2000)), 2 + 200_000 // (1 + len(lines[at])))
        elif lines:
            lines[at] += draw.choice(
                ("{" * 5000, "[" * 100_000, "\udc80\udcff", "\x00", "JOINT a\n" * 300, "}" * 9, "\t" * 99)
            )
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def spoil_value(value: Any, draw: random.Random) -> Any:
    """One value inside a JSON value replaced, taken out, or nested."""
    if isinstance(value, dict) and value and draw.random() < 0.85:
        key = draw.choice(list(value))
        if draw.random() < 0.15:
            return {k: v for k, v in value.items() if k != key}
        if draw.random() < 0.05:
            return {**value, draw.choice(("strange", "", "data")): draw.choice(VALUES)}
        return {**value, key: spoil_value(value[key], draw)}
    if isinstance(value, list) and value and draw.random() < 0.7:
        at = draw.randrange(len(value))
        return [*value[:at], spoil_value(value[at], draw), *value[at + draw.choice((0, 1, 1, 1)) :]]
    return draw.choice(VALUES)


def spoil_json(data: bytes, seed: int) -> bytes:
    """A JSON file with other values; now and then one that is no JSON, or nested too deep."""
    draw = random.Random(seed)
    if draw.random() < 0.15:
        return draw.choice(
            (
                b"",
                b"[" * 200_000,
                b'{"a":' * 50_000,
                b"\xff\xfe{}",
                b"null",
                b"[]",
                b'"x"',
                b"{" + data,
                data[:-9],
                b"9" * 5000,
            )
        )
    value = json.loads(data)
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        value = spoil_value(value, draw)
    return json.dumps(value).encode("utf-8", "surrogatepass")


def npy(array: Any = None, *, header: str | None = None, body: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    """An ``.npy`` file's bytes: of an array, or with a header of one's own."""
    buffer = io.BytesIO()
    if header is None:
        np.save(buffer, array, allow_pickle=True)
        return buffer.getvalue()
    text = header.encode("latin1") + b"\n"
    size = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + size + text + body


def spoil_npy(data: bytes, seed: int) -> bytes:
    """An array with another header: sizes that are not there, objects, texts, records, nests; or spoiled bytes."""
    draw = random.Random(seed)
    if draw.random() < 0.4:
        return spoil_bytes(data, seed)
    kind = draw.choice(
        ("<f4", "<f8", "|O", "<U9999999", "|S0", "<c16", "|b1", "<i8", ">f2", "<M8[s]", "f4,f4", "|V8", "x" * 99)
    )
    shape = draw.choice(
        (
            "(1000000000000, 22, 3)",
            "(2147483647, 263)",
            "(-1, 263)",
            "(-2, -263)",
            "()",
            "(0, 263)",
            "(1, 66)",
            "(4, 22, 3)",
            "(True, 263)",
            "(9999999999999999999999, 263)",
            "(1.5, 263)",
            "[4, 263]",
            "(" * 400 + ")" * 400,
            "(2, 263)",
            "None",
            "(1,) * 9",
            "(1, " * 30 + ")" * 30,
            "(1,)",
            "(0, 4611686018427387904, 4)",
            "(1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,"
            "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,263)",
        )
    )
    order = draw.choice(("False", "True", "3"))
    header = f"{{'descr': '{kind}', 'fortran_order': {order}, 'shape': {shape}, }}"
    if draw.random() < 0.1:
        header = draw.choice(
            ("", "{" * 2000, "__import__('os').system('touch executed')", "{'descr': '<f4'}", "\xff" * 50)
        )
    return npy(
        header=header,
        body=draw.randbytes(draw.choice((0, 8, 264, 1056, 2104))),
        version=draw.choice(((1, 0), (2, 0), (3, 0), (9, 9))),
    )


def spoil_zip(data: bytes, seed: int) -> bytes:
    """An archive with other entries: spoiled arrays, bombs, odd names, doubles, false sizes; or spoiled bytes."""
    draw = random.Random(seed)
    if draw.random() < 0.35:
        return spoil_bytes(data, seed)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = {info.filename: archive.read(info) for info in archive.infolist()}
    what, name = draw.randrange(7), draw.choice(list(entries))
    if what <= 1:
        entries[name] = spoil_npy(entries[name], seed)
    elif what == 2:
        entries[name] = npy(
            draw.choice(
                (
                    np.array({"a": 1}, dtype=object),
                    np.array("[" * 60_000),
                    np.array('{"a":' * 20_000),
                    np.zeros((0, 263)),
                    np.array("x"),
                    np.full((3, 263), np.nan),
                    np.array([b"\xff"]),
                    np.zeros((2, 2), "c8"),
                    np.array("null"),
                    np.array("9" * 5000),
                    np.array("Infinity"),
                    np.array("[1, 2]"),
                    np.zeros((3, 1, 2)),
                    np.array("\ud800"),
                    np.array(-1.0),
                    np.array(1e300),
                )
            )
        )
    elif what == 3:
        del entries[name]
    elif what == 4:
        entries[draw.choice(("../../x.npy", "/etc/x.npy", "C:\\x.npy", "a/b.npy", ".npy", "data.npy/"))] = entries[name]
    buffer = io.BytesIO()
    way = draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    with zipfile.ZipFile(buffer, "w", way) as archive:
        for key, value in entries.items():
            archive.writestr(key, value)
        if what == 5:
            archive.writestr(
                name,
                npy(header="{'descr': '<f8', 'fortran_order': False, 'shape': (250000, 1)}", body=bytes(2_000_000)),
            )
    return spoil_bytes(buffer.getvalue(), seed) if what == 6 else buffer.getvalue()


def torch_file(value: Any, zipped: bool = True) -> bytes:
    """What ``torch.save`` writes."""
    import torch

    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def seeds(folder: Path) -> dict[str, list[bytes]]:
    """Whole files of every kind of motion that is read, by ending."""
    body = lively(6)
    joints = Motion(body, "joints", 30, about={"prompt": "a walk", "seed": 3})
    files = {}
    for name, options in {"a.npz": {}, "b.npz": {"layout": "amass"}, "a.npy": {}, "a.bvh": {}, "a.csv": {}}.items():
        save(joints, folder / name, **options)
        files.setdefault(Path(name).suffix, []).append((folder / name).read_bytes())
    names = [*SMPL22.joints, "helper"]
    points = np.concatenate([body / MM, body[:, :1] / MM], axis=1)
    files[".trc"] = [trc(points, names, 60, "mm").encode()]
    files[".c3d"] = [
        c3d(points, names, 60, "mm", machine, scale) for machine in ("intel", "dec", "mips") for scale in (-1.0, 0.1)
    ]
    files[".amc"] = [capture_files.amc_text(capture_files.walk(0.1)).encode()]
    files[".asf"] = [capture_files.asf_text().encode()]
    return files


SPOILERS: dict[str, Callable[[bytes, int], bytes]] = {
    ".npz": spoil_zip,
    ".npy": spoil_npy,
    ".bvh": spoil_text,
    ".csv": spoil_text,
    ".trc": spoil_text,
    ".c3d": spoil_bytes,
    ".amc": spoil_text,
    ".asf": spoil_text,
    ".json": spoil_json,
    ".toml": spoil_text,
    ".pt": spoil_bytes,
    ".pkl": spoil_bytes,
    ".safetensors": spoil_bytes,
}


def complaint(error: BaseException, name: str) -> str | None:
    """What is wrong with an error's message: it must be a sentence or a few that name the file."""
    text = str(error.args[0]) if error.args else ""
    if name not in text:
        return f"does not name {name}: {text[:300]!r}"
    if not text.rstrip().endswith((".", "…")) or "Traceback" in text:
        return f"is no finished sentence: {text[-300:]!r}"
    if len(text) > 4000:
        return f"has {len(text)} letters: {text[:200]!r}"
    return None


def body_arrays() -> dict[str, np.ndarray]:
    """A small body model in SMPL's layout."""
    draw = np.random.default_rng(0)
    points, joints = 40, 24
    parents = np.array([*SMPL22.parents, 20, 21])
    weights = draw.uniform(size=(points, joints))
    return {
        "v_template": draw.normal(size=(points, 3)),
        "shapedirs": draw.normal(size=(points, 3, 4)) * 0.01,
        "posedirs": draw.normal(size=(points, 3, 9 * (joints - 1))) * 0.01,
        "J_regressor": draw.uniform(size=(joints, points)) / points,
        "weights": weights / weights.sum(axis=1, keepdims=True),
        "kintree_table": np.stack([parents, np.arange(joints)]),
        "f": draw.integers(0, points, size=(20, 3)),
    }


def body_files() -> dict[str, bytes]:
    """The same as the two kinds of files that bodies come in."""
    arrays, buffer = body_arrays(), io.BytesIO()
    np.savez(buffer, **arrays)
    return {".npz": buffer.getvalue(), ".pkl": pickle.dumps(arrays, protocol=2)}
