"""A model's motions for the test clips of a dataset, one file each, by many processes that may be stopped and resumed.

Every process takes the clips whose number leaves its own rest (``i % shards``). A file appears whole or not at all, so
what is there need not be made again, and how the work was cut up changes nothing: each motion has a seed of its own.
``generation.json`` beside them says which weights, settings and sentences made them (``hftrainer.evaluation.making``).
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hftrainer.data.humanml3d import HumanML3D
from hftrainer.data.official import LIMITS
from hftrainer.evaluation import making
from hftrainer.models.sums import Hashed
from hftrainer.motion.files.atomic import written_whole

#: Motions are made in whole steps of this many frames.
STEP = 4


@dataclass(frozen=True)
class Item:
    """A motion to be made.

    Attributes:
        number: place among all of them, which decides the shard and the seed.
        id: name of the clip; its file is ``ID.npy``.
        prompt: what is asked.
        frames: how many.
    """

    number: int
    id: str
    prompt: str
    frames: int


Make = Callable[[Sequence[Item]], Sequence[np.ndarray]]


def items_of(
    dataset: HumanML3D,
    split: str = "test",
    *,
    within: tuple[int, int] = (40, 196),
    captions: Mapping[str, str] | None = None,
    ids: Sequence[str] | None = None,
) -> tuple[list[Item], dict[str, str]]:
    """What is to be made for a split: each clip's first caption of all of it, and its length.

    Args:
        dataset: with the split.
        split: whose clips.
        within: fewest and most frames that the model makes; a length is rounded down to whole steps of 4 and held
            within.
        captions: id -> caption, for clips where another one was chosen.
        ids: only these clips.

    Returns:
        Items in the order of their ids; id -> why, of clips that the published protocol leaves out.

    Raises:
        KeyError: there is no such split.
    """
    items: list[Item] = []
    passed: dict[str, str] = {}
    wanted = None if ids is None else set(ids)
    for name in sorted(dataset.ids(split)):
        if wanted is not None and name not in wanted:
            continue
        length = len(dataset.features(name))
        if not LIMITS.keeps(length):
            passed[name] = f"{length} frames"
            continue
        whole = [caption.text for caption in dataset.captions(name) if caption.whole]
        chosen = (captions or {}).get(name) or (whole[0] if whole else None)
        if chosen is None:
            passed[name] = "no caption of the whole clip"
            continue
        frames = min(max(length // STEP * STEP, within[0]), within[1])
        items.append(Item(len(items), name, chosen, frames))
    return items, passed


def write_shard(
    items: Sequence[Item],
    folder: Path,
    make: Make,
    *,
    shards: int = 1,
    shard: int = 0,
    batch: int = 64,
    skip_existing: bool = False,
    say: Callable[[str], None] | None = None,
) -> tuple[int, int]:
    """Make one shard's motions and write ``ID.npy`` of each, float32 ``(T, D)``.

    Args:
        items: of all shards.
        folder: gets the files.
        make: items -> their motions; called with up to ``batch`` at a time.
        shards, shard: how many processes there are, and which one this is.
        batch: motions made together.
        skip_existing: leave out what has a file.
        say: gets a line of progress.

    Returns:
        How many were made, and how many were there.

    Raises:
        ValueError: no such shard, or motions that are not what was asked for.

    >>> import tempfile
    >>> there = Path(tempfile.mkdtemp())
    >>> work = [Item(i, f"{i:06}", "a person walks", 40) for i in range(5)]
    >>> write_shard(work, there, lambda some: [np.zeros((40, 263))] * len(some), shards=2, shard=1)
    (2, 0)
    >>> sorted(file.name for file in there.iterdir())
    ['000001.npy', '000003.npy']
    """
    if shards < 1 or not 0 <= shard < shards:
        raise ValueError(f"shard must be 0 to {shards - 1} of {shards}; got {shard}.")
    if batch < 1:
        raise ValueError(f"batch must be at least 1; got {batch}.")
    mine = [item for item in items if item.number % shards == shard]
    left = [item for item in mine if not (skip_existing and (folder / f"{item.id}.npy").is_file())]
    for start in range(0, len(left), batch):
        some = left[start : start + batch]
        made = make(some)
        if len(made) != len(some):
            raise ValueError(f"a model must make one motion a prompt, {len(some)}; got {len(made)}.")
        for item, motion in zip(some, made, strict=True):
            _write(folder / f"{item.id}.npy", np.asarray(motion, dtype=np.float32))
        if say is not None:
            say(f"shard {shard} of {shards}: {start + len(some)} of {len(left)}")
    return len(left), len(mine) - len(left)


def add_flags(parser: argparse.ArgumentParser, data: str | None = None) -> None:
    """The flags that the scripts of all models have.

    Args:
        parser: of the script.
        data: the usual dataset folder; without it, it must be said.
    """
    parser.add_argument("--data_root", required=data is None, default=data, help="a folder in HumanML3D's layout")
    parser.add_argument("--model_path", required=True, help="folder, built-in name or hub repository")
    parser.add_argument("--out_dir", required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0, help="clip i has the seed SEED + i")
    parser.add_argument("--candidates", type=int, default=1, help="drawn of each motion, of which one is kept; what an "
                        "evaluator chose must not be scored by it (default 1)")  # fmt: skip
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--num_shards", type=int, default=1)
    parser.add_argument("--shard_index", type=int, default=0)
    parser.add_argument("--max_samples", type=int, help="only the first so many clips")
    parser.add_argument("--skip_existing", action="store_true")
    parser.add_argument("--progress", action="store_true")
    parser.add_argument("--id_file", type=Path, help="only these clips, one name a line")
    parser.add_argument("--anno_file", type=Path, help='JSON {"ID": "caption", …}, chosen in place of the first ones')


def run_shard(
    args: argparse.Namespace, bundle: Hashed, frames: tuple[int, int], make: Make, drawing: Mapping[str, object]
) -> tuple[int, int]:
    """What a script does with its flags.

    Args:
        args: of ``add_flags``.
        bundle: the model, whose weights are told.
        frames: fewest and most that the model makes.
        make: as of ``write_shard``.
        drawing: settings that are told beside the seed; ``None`` is the artifact's own.

    Returns:
        How many were made, and how many were there.

    Raises:
        ValueError: captions that are not a JSON object of sentences, a folder that has motions of another run, and as
            ``write_shard``.
        KeyError, FileNotFoundError: no such split or file.
    """
    captions: object = {}
    if args.anno_file is not None:
        captions = json.loads(args.anno_file.read_text(encoding="utf-8"))
        if not isinstance(captions, dict) or not all(isinstance(said, str) for said in captions.values()):
            raise ValueError(f'{args.anno_file} must be a JSON object {{"ID": "caption", …}}; got something else.')
    ids = None if args.id_file is None else args.id_file.read_text(encoding="utf-8").split()
    dataset = HumanML3D(args.data_root, splits=(args.split,))
    assert isinstance(captions, dict)
    items, passed = items_of(dataset, args.split, within=frames, captions=captions, ids=ids)
    items = items[: args.max_samples]
    folder = Path(args.out_dir)
    kept = [item.id for item in items if args.skip_existing and (folder / f"{item.id}.npy").is_file()]
    making.tell(
        folder, {item.id: item.prompt for item in items},
        model={"name": getattr(bundle, "about", {}).get("name", Path(args.model_path).name), "sha256": bundle.sha256},
        drawing={"seed": args.seed, "candidates": args.candidates, **drawing},
        data={"name": dataset.name, "split": args.split, "sha256": dataset.hash},
        route=(dataset.spec.name,), there=kept,
    )  # fmt: skip
    made, there = write_shard(
        items, folder, make, shards=args.num_shards, shard=args.shard_index, batch=args.batch_size,
        skip_existing=args.skip_existing, say=print if args.progress else None,
    )  # fmt: skip
    print(f"{made} made, {there} were there; {len(items)} in all shards, {len(passed)} clips left out by the protocol")
    return made, there


def _write(path: Path, motion: np.ndarray) -> None:
    if motion.ndim != 2 or not np.isfinite(motion).all():
        raise ValueError(f"{path.name}: a motion must be (T, D) finite numbers; got {motion.shape}.")
    buffer = io.BytesIO()
    np.save(buffer, motion)
    with written_whole(path) as beside:
        beside.write_bytes(buffer.getvalue())
