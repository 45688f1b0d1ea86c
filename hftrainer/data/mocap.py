"""Where real capture comes from: the project's mocap pack, or a folder of CMU's own files.

Both sources list clips and give each as a ``Take``: a figure in metres, its rotations and root path, its captions, and
where all of it came from. Nothing is changed here but units.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from hftrainer.errors import ArtifactError
from hftrainer.motion.files import asf, bvh
from hftrainer.motion.files.figure import Figure

CMU_LICENCE = (
    "CMU mocap terms: free for all uses incl. commercial products; do not resell the data itself, even converted; "
    "acknowledgement requested"
)

#: What each source asks to be said wherever its data is used.
ACKNOWLEDGEMENTS = {
    "cmu": (
        "The data used in this project was obtained from mocap.cs.cmu.edu. "
        "The database was created with funding from NSF EIA-0196217."
    ),
    "accad": (
        "Motion capture data: Advanced Computing Center for the Arts and Design (ACCAD), The Ohio State University, "
        "Open Motion Project, CC BY 3.0; converted and quantised."
    ),
    "humanml3d": (
        "Part of the motion descriptions: HumanML3D, MIT, (c) 2022 Chuan Guo. Guo et al., Generating Diverse and "
        "Natural 3D Human Motions from Text, CVPR 2022."
    ),
    "kit_ml": (
        "Part of the motion descriptions: KIT Motion-Language Dataset. Plappert, Mandery, Asfour, The KIT "
        "Motion-Language Dataset, Big Data 4(4), 2016."
    ),
}

#: CMU subjects captured at 60 instead of 120 frames per second, from CMU's trial index; 141's files run at 60 as well.
CMU_60_FPS_SUBJECTS = frozenset({33, 34, 42, 60, 61, 62, 74, 75, 77, 79, 80, 87, 88, 89, 141})
CMU_60_FPS_TRIALS = frozenset({(136, 19)})


@dataclass(frozen=True)
class Span:
    """Words that a source gives for part of a clip.

    Attributes:
        texts: one or more descriptions of the same movement.
        start, end: seconds in the clip.
        mirror: the words describe the left-right mirrored movement.
        origin: who wrote them, for example ``"humanml3d"`` or ``"cmu_index"``.
    """

    texts: tuple[str, ...]
    start: float
    end: float
    mirror: bool
    origin: str


@dataclass(frozen=True)
class Listing:
    """What a source knows of a clip without reading its motion.

    Attributes:
        id: the clip's name, made of letters, digits and ``_``.
        source: ``"cmu"`` or ``"accad"``.
        family: which kind of figure, a key of ``hftrainer.data.retarget.FAMILIES``.
        seconds: duration; 0 where only the motion file knows.
        split: ``"train"``, ``"val"`` or ``"test"``.
        licence: terms of the motion.
        spans: captions.
        excluded: why the clip should not be used; empty when it should.
    """

    id: str
    source: str
    family: str
    seconds: float
    split: str
    licence: str
    spans: tuple[Span, ...] = ()
    excluded: str = ""


@dataclass(frozen=True, eq=False)
class Take:
    """One clip of real capture.

    Attributes:
        listing: name, captions, terms.
        figure: the source's body, offsets in metres.
        rotations: ``(T, J, 3, 3)`` rotations relative to the parent.
        translation: ``(T, 3)`` root position, metres, +Y up.
        fps: frames per second.
        sha256: hash of the data that it was read from.
    """

    listing: Listing
    figure: Figure
    rotations: np.ndarray
    translation: np.ndarray
    fps: float
    sha256: str


class Source(Protocol):
    """What ``hftrainer.data.build`` needs of a source."""

    @property
    def listings(self) -> list[Listing]: ...

    @property
    def files(self) -> dict[str, str]: ...

    def stamp(self, clip: str) -> str: ...

    def take(self, clip: str) -> Take: ...


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    yield json.loads(line)
                except json.JSONDecodeError as exc:
                    raise ArtifactError(f"{path.name}, line {number}: a line must be one JSON object; {exc}.") from exc


def sha256_of(path: Path) -> str:
    """Hash of a file's bytes, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


class Pack:
    """The project's mocap pack: CMU and ACCAD clips as quantised channels with captions.

    Args:
        folder: holds ``clips.jsonl``, ``captions.jsonl``, the ``.npz`` archives and ``skeletons/``.
        kit_text: also read ``captions_kitml.jsonl``, whose terms are unknown; never for anything shipped.

    Raises:
        FileNotFoundError: there is no such folder.
        ArtifactError: files of the pack are absent (all are listed), or it holds no clips.
    """

    def __init__(self, folder: str | Path, kit_text: bool = False) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise FileNotFoundError(f"the mocap pack must be a folder; {self.folder} does not exist. Check the path.")
        tables = ["clips.jsonl", "captions.jsonl", "skeletons/channels.json"]
        tables += ["captions_kitml.jsonl"] * kit_text
        absent = [name for name in tables if not (self.folder / name).is_file()]
        if absent:
            raise ArtifactError(f"{self.folder} must be a mocap pack; absent: {', '.join(absent)}.")
        self._clips = {clip["id"]: clip for clip in _json_lines(self.folder / "clips.jsonl")}
        if not self._clips:
            raise ArtifactError(f"{self.folder}: clips.jsonl must list clips; it lists none.")
        wanted = {clip[key] for clip in self._clips.values() for key in ("archive", "skeleton")}
        absent = sorted(name for name in wanted if not (self.folder / name).is_file())
        if absent:
            raise ArtifactError(f"{self.folder} must be a whole mocap pack; absent: {', '.join(absent)}.")
        self._columns: dict[str, list[str]] = json.loads((self.folder / "skeletons/channels.json").read_text())
        self._tables = [*tables, *sorted({clip["archive"] for clip in self._clips.values()})]
        spans: dict[str, list[Span]] = {}
        for name in ("captions.jsonl", "captions_kitml.jsonl")[: 1 + kit_text]:
            for row in _json_lines(self.folder / name):
                span = Span(tuple(row["captions"]), row["start"], row["end"], row["mirror"], row["origin"])
                spans.setdefault(row["clip"], []).append(span)
        self.listings = [
            Listing(
                id=clip["id"],
                source=clip["source"],
                family="cmu_asf" if clip["format"] == "amc" else clip["archive"].removesuffix(".npz"),
                seconds=clip["n_frames"] / clip["fps"],
                split=clip["split"],
                licence=clip["licence"],
                spans=tuple(spans.get(clip["id"], ())),
                excluded="; ".join(clip["flags"]) or "marked unusable" if clip["exclude_suggested"] else "",
            )
            for clip in self._clips.values()
        ]
        self._by_id = {listing.id: listing for listing in self.listings}
        self._archives: dict[str, Any] = {}
        self._stamps: dict[str, str] = {}

    @property
    def files(self) -> dict[str, str]:
        """SHA-256 of every table and archive, by name."""
        return {name: sha256_of(self.folder / name) for name in self._tables}

    def stamp(self, clip: str) -> str:
        """What changes when the recording behind a clip does: its row and the hash of the archive that holds it."""
        row = self._clips[clip]
        archive = row["archive"]
        if archive not in self._stamps:
            self._stamps[archive] = sha256_of(self.folder / archive)
        skeleton = (self.folder / row["skeleton"]).read_bytes()
        return hashlib.sha256(json.dumps([row, self._stamps[archive]], sort_keys=True).encode() + skeleton).hexdigest()

    def take(self, clip: str) -> Take:
        """One clip.

        Raises:
            KeyError: the pack has no such clip.
        """
        row = self._clips[clip]
        archive = row["archive"]
        if archive not in self._archives:
            self._archives[archive] = np.load(self.folder / archive)
        stored = [self._archives[archive][f"{clip}/{part}"] for part in ("q", "scale", "offset")]
        skeleton = (self.folder / row["skeleton"]).read_text(encoding="utf-8")
        digest = hashlib.sha256(skeleton.encode())
        for part in stored:
            digest.update(np.ascontiguousarray(part).tobytes())
        channels = stored[0].astype(np.float64) * stored[1] + stored[2]
        unit = row["metres_per_unit"]
        if row["format"] == "amc":
            body = asf.parse_asf(skeleton, row["skeleton"])
            names = self._columns[row["skeleton"]]
            absent = sorted(set(names) ^ set(body.columns))
            if absent:
                raise ArtifactError(f"{clip}: channels must be the skeleton's; they differ in {', '.join(absent)}.")
            channels = channels[:, [names.index(column) for column in body.columns]]
            figure = body.figure
            rotations, translation = asf.local_rotations(body, channels)
        else:
            block = bvh.parse_hierarchy(skeleton, row["skeleton"])
            figure = block.figure
            rotations, translation = bvh.local_rotations(block, channels)
        return Take(
            listing=self._by_id[clip],
            figure=Figure(figure.names, figure.parents, figure.offsets * unit),
            rotations=rotations,
            translation=translation * unit,
            fps=row["fps"],
            sha256=digest.hexdigest(),
        )


_TRIAL = re.compile(r"^\s*(\d{1,3})_(\d{1,3})\s+(.*?)\s*$")


def parse_cmu_index(text: str) -> dict[tuple[int, int], str]:
    """Descriptions by (subject, trial) from CMU's index text.

    A line is ``02_03<tab>run/jog``; a frame rate at its end is left out; other lines are headings.

    >>> parse_cmu_index("Subject #2 (various)\\n02_03\\trun/jog\\t120\\n")
    {(2, 3): 'run/jog'}
    """
    found = {}
    for line in text.splitlines():
        match = _TRIAL.match(line)
        if match:
            words = re.sub(r"\s+(60|120)$", "", match[3])
            if words:
                found[int(match[1]), int(match[2])] = " ".join(words.split())
    return found


@dataclass(eq=False)
class CmuFolder:
    """CMU's own download: folders of subjects with ``NN.asf`` and ``NN_MM.amc``, and an index text.

    Args:
        folder: searched to any depth for ``.amc`` files, each with its subject's ``.asf`` beside it.
        index: CMU's index text; by default the first text in ``folder`` with ``index`` in its name. Clips without a
            line in it are kept and get no words from it.

    Raises:
        FileNotFoundError: there is no such folder, or no such index.
        ArtifactError: no ``.amc`` in it, or skeletons are absent (all are listed).
    """

    folder: str | Path
    index: str | Path | None = None
    listings: list[Listing] = field(init=False)

    def __post_init__(self) -> None:
        folder = Path(self.folder)
        if not folder.is_dir():
            raise FileNotFoundError(f"the CMU download must be a folder; {folder} does not exist. Check the path.")
        motions = sorted(path for path in folder.rglob("*.amc") if re.fullmatch(r"\d+_\d+", path.stem))
        if not motions:
            raise ArtifactError(
                f"{folder} must be a mocap pack with clips.jsonl or hold CMU trials named like 02_01.amc; "
                "found neither. Check the path."
            )
        self._motions: dict[str, Path] = {}
        lost = set()
        for path in motions:
            subject, trial = (int(v) for v in path.stem.split("_"))
            self._motions.setdefault(f"cmu_{subject:02d}_{trial:02d}", path)
            skeleton = self._skeleton(path)
            if not skeleton.is_file():
                lost.add(str(skeleton.relative_to(folder)))
        if lost:
            raise ArtifactError(
                f"{folder}: every trial must have its subject's skeleton; absent: {', '.join(sorted(lost))}."
            )
        if self.index is None:
            texts = (path for path in folder.rglob("*") if path.suffix.lower() == ".txt")
            self._index = min((path for path in texts if "index" in path.name.lower()), default=None)
        else:
            self._index = Path(self.index)
            if not self._index.is_file():
                raise FileNotFoundError(f"the index text must be a file; {self._index} does not exist. Check the path.")
        words = parse_cmu_index(self._index.read_text(encoding="utf-8", errors="replace")) if self._index else {}
        self.listings = []
        for clip in sorted(self._motions):
            subject, trial = (int(v) for v in clip.split("_")[1:])
            text = words.get((subject, trial))
            spans = (Span((text,), 0.0, float("inf"), False, "cmu_index"),) if text else ()
            draw = int(hashlib.sha256(clip.encode()).hexdigest()[:8], 16) % 100
            split = "val" if draw < 5 else "test" if draw < 15 else "train"
            self.listings.append(Listing(clip, "cmu", "cmu_asf", 0.0, split, CMU_LICENCE, spans))
        self._by_id = {listing.id: listing for listing in self.listings}

    @staticmethod
    def _skeleton(motion: Path) -> Path:
        return motion.with_name(motion.stem.split("_")[0] + ".asf")

    @property
    def files(self) -> dict[str, str]:
        """SHA-256 of the index text, by name; every clip carries the hash of its own two files."""
        return {self._index.name: sha256_of(self._index)} if self._index else {}

    def stamp(self, clip: str) -> str:
        """Hash of a trial's two files."""
        motion = self._motions[clip]
        return hashlib.sha256(self._skeleton(motion).read_bytes() + motion.read_bytes()).hexdigest()

    def take(self, clip: str) -> Take:
        """One trial.

        Raises:
            KeyError: the folder has no such trial.
            ValueError: a file is damaged.
        """
        motion = self._motions[clip]
        skeleton = self._skeleton(motion)
        body = asf.parse_asf(skeleton.read_text(encoding="utf-8", errors="replace"), skeleton.name)
        channels = asf.parse_amc(motion.read_text(encoding="utf-8", errors="replace"), body.columns, motion.name)
        subject, trial = (int(v) for v in clip.split("_")[1:])
        slow = subject in CMU_60_FPS_SUBJECTS or (subject, trial) in CMU_60_FPS_TRIALS
        rotations, translation = asf.local_rotations(body, channels)
        figure = Figure(body.figure.names, body.figure.parents, body.figure.offsets * body.metres)
        fps = 60.0 if slow else 120.0
        return Take(self._by_id[clip], figure, rotations, translation * body.metres, fps, self.stamp(clip))


def open_source(folder: str | Path, index: str | Path | None = None, kit_text: bool = False) -> Pack | CmuFolder:
    """The source that stands in ``folder``: the project's pack if it has ``clips.jsonl``, else CMU's download.

    Args:
        folder: where the recordings are.
        index: CMU's index text where it is not in ``folder``.
        kit_text: of a pack, also its KIT-ML sentences.

    Raises:
        FileNotFoundError: there is no such folder.
        ArtifactError: it is neither, or files are absent.
    """
    if (Path(folder) / "clips.jsonl").is_file():
        return Pack(folder, kit_text=kit_text)
    return CmuFolder(folder, index)
