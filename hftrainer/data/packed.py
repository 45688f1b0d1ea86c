"""A dataset folder as Parquet shards, read: a few large files in place of two small ones for each clip.

``PACKED/`` has the lists, ``Mean.npy``, ``Std.npy`` and ``dataset.json`` of the folder it was made from, and

* ``shards/00000.parquet``, …: a row for each clip: ``id``, ``frames``, ``texts`` (the text file as it was) and
  ``features`` (``frames * D`` float32, little-endian, row by row). Each says in its notes what the numbers are, with
  the statistics and the licences, so that one shard alone can be used.
* ``index.parquet``: ``id``, ``shard``, ``row``, ``frames``: what is where, so that opening reads no clip.
* ``pack.json``: the shards with their bytes and SHA-256, written last.

``hftrainer.data.packing`` writes it. ``PackedDataset`` answers what ``HumanML3D`` answers, and reads a clip when it is
asked for.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hftrainer.data.humanml3d import BAD_CLIPS, Caption, Clip, HumanML3D, parse_captions
from hftrainer.data.shards import Shard, sha256_of
from hftrainer.errors import ArtifactError
from hftrainer.motion.clip import Motion

INDEX, ABOUT = "index.parquet", "pack.json"
COLUMNS = {"id": "text", "frames": "int32", "texts": "text", "features": "bytes"}
PLACES = {"id": "text", "shard": "int32", "row": "int32", "frames": "int32"}
#: Clips of a group of rows, each in a page of its own.
GROUP = 4
#: Shards that are kept open.
_OPEN = 256


def is_packed(folder: str | Path) -> bool:
    """Whether a folder holds a packed dataset."""
    return (Path(folder) / ABOUT).is_file()


def open_dataset(folder: str | Path, splits: tuple[str, ...] = ("train", "val", "test")) -> HumanML3D:
    """A dataset folder, packed or not; see ``HumanML3D`` for the arguments and what is raised."""
    return PackedDataset(folder, splits) if is_packed(folder) else HumanML3D(folder, splits)


class Rows:
    """The features of a clip that nobody has read yet: an array that is fetched where it is cut.

    Attributes:
        shape: ``(T, D)``.
    """

    def __init__(self, dataset: PackedDataset, name: str) -> None:
        self._dataset, self._name = dataset, name
        self.shape = (dataset.frames(name), dataset.spec.width)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, frames: slice) -> np.ndarray:
        return self._dataset.features(self._name)[frames]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self._dataset.features(self._name), dtype=dtype)


class PackedClip(Clip):
    """A clip that is read when its motion or its captions are asked for; its number of frames is known before."""

    def __init__(self, dataset: PackedDataset, name: str) -> None:
        object.__setattr__(self, "id", name)
        object.__setattr__(self, "_dataset", dataset)

    _dataset: PackedDataset

    @property
    def motion(self) -> Motion:  # type: ignore[override]
        """Read now."""
        return self._dataset.motion(self.id)

    @property
    def captions(self) -> tuple[Caption, ...]:  # type: ignore[override]
        """Read now, without the numbers."""
        return self._dataset.captions(self.id)

    @property
    def frames(self) -> int:
        """How many there are; from the index."""
        return self._dataset.frames(self.id)

    @property
    def fps(self) -> float:
        """Frames per second."""
        return self._dataset.spec.fps

    @property
    def rows(self) -> Rows:
        """``(T, D)`` features, read where they are cut."""
        return Rows(self._dataset, self.id)


class PackedDataset(HumanML3D):
    """A packed dataset; what ``HumanML3D`` has, and ``stream``.

    Args:
        folder: what ``pack`` wrote.
        splits: which lists must be whole.

    Attributes:
        clips_packed: how many clips the shards hold.
        about_pack: what ``pack.json`` says.

    Raises:
        FileNotFoundError: there is no such folder.
        ArtifactError: files are absent, cut or of another kind, or a list names clips that the pack does not hold.
    """

    def __init__(self, folder: str | Path, splits: tuple[str, ...] = ("train", "val", "test")) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise FileNotFoundError(f"the dataset must be a folder; {self.folder} does not exist. Pack one.")
        absent = [name for name in ("Mean.npy", "Std.npy", INDEX, ABOUT) if not (self.folder / name).is_file()]
        absent += [f"{split}.txt" for split in splits if not (self.folder / f"{split}.txt").is_file()]
        if absent:
            raise ArtifactError(f"{self.folder} must be a whole packed dataset; absent: {', '.join(absent)}.")
        self._read_statistics()
        self.about_pack = self._read_about()
        self._index = Shard(self.folder / INDEX, PLACES)
        columns: dict[str, list[Any]] = {name: [] for name in PLACES}
        for group in range(self._index.groups):
            for name, values in self._index.group(group).items():
                columns[name] += values
        self._shard, self._row, self._frames = (np.array(columns[n], np.int32) for n in ("shard", "row", "frames"))
        self._at = {name: at for at, name in enumerate(columns["id"])}
        self.clips_packed = len(self._at)
        shards = self.about_pack["shards"]
        if self.clips_packed and not (0 <= self._shard.min() and self._shard.max() < len(shards)):
            raise ArtifactError(f"{self.folder / INDEX} must name {len(shards)} shards; it names others. Pack again.")
        self._open: OrderedDict[int, Shard] = OrderedDict()
        self._ids = {}
        for split in splits:
            self.ids(split)

    def _read_about(self) -> dict[str, Any]:
        path = self.folder / ABOUT
        try:
            about: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            sizes = {shard["file"]: int(shard["bytes"]) for shard in about["shards"]}
            name = about["representation"]
        except (ValueError, KeyError, TypeError) as error:
            raise ArtifactError(f"{path} must say which shards there are; got {error!r}. Pack again.") from error
        if name != self.spec.name:
            raise ArtifactError(f"{path} must be of {self.spec.name}, as the statistics are; got {name}. Pack again.")
        wrong = []
        for file, size in sizes.items():
            shard = self.folder / "shards" / file
            if Path(file).name != file or not shard.is_file() or shard.stat().st_size != size:
                wrong.append(file)
        if wrong:
            raise ArtifactError(
                f"{self.folder} must hold all of its shards; absent or cut: {', '.join(wrong)}. Copy it again."
            )
        return about

    def ids(self, split: str = "train") -> tuple[str, ...]:
        """Clip names of a split, in file order; see ``HumanML3D.ids``.

        Raises:
            ArtifactError: the list names clips that the pack does not hold.
        """
        names = super().ids(split)
        absent = [name for name in names if name not in self._at]
        if absent:
            some = ", ".join(absent[:5])
            raise ArtifactError(f"{self.folder / split}.txt must name packed clips; {len(absent)} are not: {some}.")
        return names

    def frames(self, clip: str) -> int:
        """How many frames a clip has, without reading it.

        Raises:
            KeyError: there is no such clip.
        """
        return int(self._frames[self._place(clip)])

    def _place(self, clip: str) -> int:
        if clip not in self._at:
            raise KeyError(f"{self.folder} has no clip {clip!r}.")
        return self._at[clip]

    def _shard_at(self, number: int) -> Shard:
        if number in self._open:
            self._open.move_to_end(number)
            return self._open[number]
        said = self.about_pack["shards"][number]
        shard = Shard(self.folder / "shards" / said["file"], COLUMNS)
        self._open[number] = shard
        if len(self._open) > _OPEN:
            self._closed_bytes += self._open.popitem(last=False)[1].bytes_read
        return shard

    _closed_bytes = 0

    @property
    def bytes_read(self) -> int:
        """Bytes of columns that were read so far, the index with them."""
        return self._index.bytes_read + self._closed_bytes + sum(shard.bytes_read for shard in self._open.values())

    def _value(self, clip: str, column: str) -> Any:
        at = self._place(clip)
        shard = self._shard_at(int(self._shard[at]))
        if not 0 <= self._row[at] < shard.rows:
            raise ArtifactError(f"{shard.path} must have row {self._row[at]} for {clip}; it has {shard.rows} rows.")
        return shard.value(column, int(self._row[at]))

    def features(self, clip: str) -> np.ndarray:
        """``(T, D)`` float32 features of a clip, read-only.

        Raises:
            KeyError: there is no such clip.
            ArtifactError: its shard is damaged, or holds another number of frames than the index says.
        """
        frames, width = self.frames(clip), self.spec.width
        buffer = self._value(clip, "features")
        if len(buffer) != 4 * frames * width or frames < 1:
            raise ArtifactError(
                f"{self.folder}: {clip} must have {frames} frames of {width} numbers; got {len(buffer)} bytes. "
                "Pack again."
            )
        return np.frombuffer(buffer, "<f4").reshape(frames, width)

    def captions(self, clip: str) -> tuple[Caption, ...]:
        """What is said of a clip; see ``HumanML3D.captions``."""
        return parse_captions(self._value(clip, "texts"), f"{clip}.txt")

    def motion(self, clip: str) -> Motion:
        """The motion of a clip, read now.

        Raises:
            ValueError: its numbers are not finite.
        """
        return Motion(self.features(clip), self.spec, fps=self.spec.fps, name=clip)

    def clip(self, clip: str) -> Clip:
        """A clip by its name; its numbers are read when they are asked for.

        Raises:
            KeyError: there is no such clip.
        """
        self._place(clip)
        return PackedClip(self, clip)

    def sound(self, names: Sequence[str], bad_clips: str = "refuse") -> tuple[list[Clip], dict[str, str]]:
        """The clips of ``names``; what was packed was looked at then. See ``HumanML3D.sound``."""
        if bad_clips not in BAD_CLIPS:
            raise ValueError(f"bad_clips must be {' or '.join(BAD_CLIPS)}; got {bad_clips!r}.")
        return [self.clip(name) for name in names], {}

    def stream(
        self, split: str = "train", *, seed: int = 0, epoch: int = 0, worker: int = 0, workers: int = 1,
        together: int = 512,
    ) -> Iterator[Clip]:  # fmt: skip
        """The clips of a split in a new order each epoch, each read once; memory holds ``together`` clips.

        Groups of rows are shuffled by seed and epoch, dealt to the workers in turn, and the clips of some groups are
        shuffled among themselves.

        Args:
            split: one of the lists.
            seed, epoch: the same two give the same order, on any machine.
            worker, workers: this one's part; the parts of all workers are the whole split, and no clip is in two.
            together: clips that are shuffled among themselves.

        Raises:
            ValueError: a worker that there is not.
        """
        if not 0 <= worker < workers:
            raise ValueError(f"worker must be 0 to {workers - 1} of {workers} workers; got {worker}.")
        mine = self.order(split, seed, epoch)[worker::workers]
        at_once = max(1, together // GROUP)
        for first in range(0, len(mine), at_once):
            read = []
            for names in mine[first : first + at_once]:
                read += [Clip(name, self.motion(name), self.captions(name)) for name in names]
            rng = np.random.default_rng((seed, epoch, worker, first))
            yield from (read[int(at)] for at in rng.permutation(len(read)))

    def order(self, split: str, seed: int, epoch: int) -> list[list[str]]:
        """The groups of an epoch, shuffled: the names of the split's clips in each."""
        groups: dict[tuple[int, int], list[str]] = {}
        for name in self.ids(split):
            at = self._at[name]
            groups.setdefault((int(self._shard[at]), int(self._row[at]) // GROUP), []).append(name)
        keys = sorted(groups)
        return [groups[keys[int(at)]] for at in np.random.default_rng((seed, epoch)).permutation(len(keys))]

    def verify(self, say: Callable[[str], None] = lambda line: None) -> list[str]:
        """What is wrong with the pack, read whole: sums of its files, and every clip.

        Returns:
            A sentence for each fault; none where all is well.
        """
        faults = []
        for number, said in enumerate(self.about_pack["shards"]):
            say(f"summing up {said['file']} ({number + 1} of {len(self.about_pack['shards'])})")
            if sha256_of(self.folder / "shards" / said["file"]) != said["sha256"]:
                faults.append(f"{said['file']}: its sum must be that of pack.json; it is another. Copy it again.")
        faults += _faults(self, self._at)
        return faults


def _faults(dataset: PackedDataset, names: Iterable[str]) -> Iterator[str]:
    for name in names:
        try:
            dataset.motion(name)
            dataset.captions(name)
        except ValueError as error:
            yield f"{name}: {str(error).removeprefix(f'{name}: ')}"
