"""Real motions, their sentences and the predictions that belong to them, from folders, by a protocol.

What is left out is said: samples that a protocol does not want, predictions that are missing, and those that failed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hftrainer.data.humanml3d import Caption, parse_captions
from hftrainer.evaluation import making
from hftrainer.evaluation.protocols import UNIT, Protocol
from hftrainer.models.sums import file_sum
from hftrainer.motion.clip import Motion
from hftrainer.motion.representation.specs import get_spec

#: Representation of the motions that an evaluator's protocols are of; one that was trained here scores hml263 alone.
REPRESENTATION = {
    "hml263": "hml263", "kit251": "kit251", "motion272": "motion272", "motionclip135": "motion135",
    "contrast": "hml263",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Pair:
    """A sample: a real motion, what is said of it, and a prediction.

    Attributes:
        name: the clip's, with ``__sub0``, ``__sub1``, … for a part of it; the prediction has this file name.
        real: uncut.
        captions: at least one.
        predicted: uncut, or ``None`` where real motions are measured alone.
    """

    name: str
    real: Motion
    captions: tuple[Caption, ...]
    predicted: Motion | None = None


@dataclass(frozen=True, eq=False)
class Population:
    """The samples of a measurement, and what is not among them.

    Attributes:
        pairs: samples, in the order of the split.
        rejected: reason -> how many samples the protocol does not want.
        missing: samples without a prediction.
        failed: sample -> why its prediction cannot be used.
        hashes: SHA-256 of the split's file, of all samples that the protocol wants with their sentences, whether or
            not they have predictions, and, where there are any, of the predictions that are scored: of lines
            ``SHA256  NAME.npy`` in the order of names.
        made: what the folder of predictions says of how they were made (``making.read``), if anything.
        files: sample -> name of its prediction's file, without ``.npy``.
    """

    pairs: tuple[Pair, ...]
    rejected: dict[str, int] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    made: dict[str, Any] | None = None
    files: dict[str, str] = field(default_factory=dict)


def read_population(
    protocol: Protocol,
    motions: str | Path,
    texts: str | Path,
    split: str | Path,
    predictions: str | Path | None = None,
    selected: Mapping[str, str] | None = None,
) -> Population:
    """The samples of a split that count.

    Args:
        protocol: which captions and which lengths.
        motions: folder of real motions, ``ID.npy``, not normalised.
        texts: folder of ``ID.txt``, lines of ``caption#tokens#start#end``.
        split: file of IDs, one a line.
        predictions: folder of ``NAME.npy``, not normalised; ``None`` measures real motions alone.
        selected: ID -> caption, for the protocols that want one chosen.

    Raises:
        FileNotFoundError: a folder or the split is not there.
        ValueError: predictions for a protocol of real motions alone, or none for another; a clip with several captions
            of which none is selected; nothing is left.
    """
    places = {"motions": Path(motions), "texts": Path(texts)}
    if predictions is not None:
        places["predictions"] = Path(predictions)
    for what, place in places.items():
        if not place.is_dir():
            raise FileNotFoundError(f"the {what} must be a folder; {place} does not exist.")
    split = Path(split)
    if not split.is_file():
        raise FileNotFoundError(f"the split must be a file of names; {split} does not exist.")
    if protocol.lengths == "window" and predictions is not None:
        raise ValueError(f"{protocol.name} measures real motions alone; got predictions. Choose another protocol.")
    reader = _Reader(protocol, places, selected or {})
    for name in split.read_text(encoding="utf-8").split():
        reader.read(name)
    if not reader.pairs:
        why = "; ".join(f"{reason}: {count}" for reason, count in reader.rejected.items()) or "the split is empty"
        raise ValueError(
            f"{protocol.name} must have samples; none is left ({why}; missing {len(reader.missing)}, "
            f"failed {len(reader.failed)})."
        )
    hashes = {"split": split.read_bytes(), "captions": json.dumps(reader.told).encode()}
    if predictions is not None:
        hashes["predictions"] = "".join(f"{one}  {name}.npy\n" for name, one in sorted(reader.sums.items())).encode()
    return Population(
        tuple(reader.pairs), reader.rejected, tuple(reader.missing), reader.failed,
        {name: hashlib.sha256(content).hexdigest() for name, content in hashes.items()},
        None if predictions is None else making.read(Path(predictions)), reader.files,
    )  # fmt: skip


class _Reader:
    """Gathers samples, clip by clip."""

    def __init__(self, protocol: Protocol, places: Mapping[str, Path], selected: Mapping[str, str]) -> None:
        self.protocol, self.places, self.selected = protocol, places, selected
        self.spec = get_spec(REPRESENTATION[protocol.evaluator])
        self.pairs: list[Pair] = []
        self.told: list[tuple[str, list[str]]] = []
        self.rejected: dict[str, int] = {}
        self.missing: list[str] = []
        self.failed: dict[str, str] = {}
        self.files: dict[str, str] = {}
        self.sums: dict[str, str] = {}

    def reject(self, reason: str) -> None:
        self.rejected[reason] = self.rejected.get(reason, 0) + 1

    def read(self, name: str) -> None:
        """One clip of the split."""
        file, said = self.places["motions"] / f"{name}.npy", self.places["texts"] / f"{name}.txt"
        if not file.is_file():
            return self.reject("no real motion")
        if not said.is_file():
            return self.reject("no captions")
        real = Motion(np.load(file, allow_pickle=False), self.spec, fps=self.spec.fps, name=name)
        captions = self._lines(said)
        fits = self.protocol.shortest <= len(real) < self.protocol.longest
        if not fits:
            return self.reject(f"not {self.protocol.shortest} to {self.protocol.longest - 1} frames long")
        whole = tuple(caption for caption in captions if caption.whole)
        chosen = self._chosen(name, whole)
        if self.protocol.captions == "every":
            for number, caption in enumerate(chosen):
                self.add(f"{name}__cap{number}", real, (caption,), name)
        elif chosen:
            self.add(name, real, chosen)
        else:
            self.reject("no caption of the whole clip")
        if self.protocol.parts:
            for number, caption in enumerate(caption for caption in captions if not caption.whole):
                self.part(f"{name}__sub{number}", real, caption, name)

    def _lines(self, file: Path) -> list[Caption]:
        captions: list[Caption] = []
        for line in file.read_text(encoding="utf-8").splitlines():
            try:
                captions += parse_captions(line, file.name)
            except ValueError:
                self.reject("a line that is no caption")
        return captions

    def _chosen(self, name: str, whole: tuple[Caption, ...]) -> tuple[Caption, ...]:
        if self.protocol.captions == "first":
            return whole[:1]
        if self.protocol.captions != "selected":
            return whole
        if name in self.selected:
            found = tuple(caption for caption in whole if caption.text == self.selected[name].strip())
            if not found:
                raise ValueError(f"{name}: the selected caption must be one of its own; got {self.selected[name]!r}.")
            return found[:1]
        if len(whole) > 1:
            raise ValueError(
                f"{name}: {self.protocol.name} needs exactly one caption of the whole clip; got {len(whole)}. "
                "Give the selected captions, or choose a protocol that takes the first."
            )
        return whole

    def part(self, name: str, real: Motion, caption: Caption, clip: str) -> None:
        """A part of a clip that has a caption of its own."""
        span = slice(int(caption.start * self.spec.fps), int(caption.end * self.spec.fps))
        if not self.protocol.shortest <= len(real.data[span]) < self.protocol.longest:
            return self.reject("a part that is too short or too long")
        self.add(name, real[span].replace(name=name), (caption,), clip if self.protocol.captions == "every" else None)

    def add(self, name: str, real: Motion, captions: tuple[Caption, ...], file: str | None = None) -> None:
        """A sample, with its prediction where there are any; of the pair protocol's the clip has one for all."""
        self.told.append((name, [caption.text for caption in captions]))
        if "predictions" not in self.places:
            self.pairs.append(Pair(name, real, captions))
            return
        names = [name] if file is None else [name, file]
        found = [p for p in (self.places["predictions"] / f"{n}.npy" for n in names) if p.is_file()]
        if not found:
            self.missing.append(name)
            return
        try:
            made = Motion(np.load(found[0], allow_pickle=False), self.spec, fps=self.spec.fps, name=name)
        except (ValueError, OSError, EOFError) as error:
            self.failed[name] = str(error)
            return
        frames = len(made) if self.protocol.lengths == "own" else min(len(made), len(real))
        if frames // UNIT * UNIT < self.protocol.shortest:
            self.failed[name] = f"{len(made)} frames, fewer than {self.protocol.shortest}"
            return
        self.files[name] = stem = found[0].stem
        self.sums[stem] = self.sums.get(stem) or file_sum(found[0])
        self.pairs.append(Pair(name, real, captions, made))
