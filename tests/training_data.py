"""Small datasets in HumanML3D's layout, made up for tests of training, and recipes for them."""

from pathlib import Path

import numpy as np

from hftrainer.bench import moving_body
from hftrainer.motion.representation.hml263 import joints_to_hml263
from tests import tiny

CLIPS = {
    "walk": "a person walks forward#a/DET person/NOUN#0.0#0.0",
    "run": "a person runs#a/DET person/NOUN#0.0#0.0",
    "jump": "a person jumps#a/DET person/NOUN#0.0#0.0",
    "left": "a person walks left#a/DET person/NOUN#0.0#0.0",
}
TOKENIZER = """
kind = "motiongpt-tokenizer"
data = "{data}"
[network]
codes = 16
code_width = 8
width = 16
depth = 1
[settings]
frames = 256
joints = 0.5
path = 0.1
[schedule]
steps = 6
learning_rate = 1e-3
log_every = 2
save_every = 3
validate_every = 6
device = "cpu"
"""
LANGUAGE = """
kind = "motiongpt-language"
data = "{data}"
tokenizer = "{tokenizer}"
words = "{words}"
[network]
width = 16
heads = 2
head_width = 8
feedforward = 32
encoder_layers = 1
decoder_layers = 1
[settings]
rows = 4
[schedule]
steps = 4
learning_rate = 1e-3
log_every = 2
device = "cpu"
"""


def write(folder: Path, width: int = 263, frames: int = 97) -> Path:
    """A dataset folder of four clips; ``width`` 251 gives KIT's layout, filled with smooth noise of its size."""
    for room in ("new_joint_vecs", "texts"):
        (folder / room).mkdir(parents=True)
    rng, rows = np.random.default_rng(0), []
    for i, (name, caption) in enumerate(CLIPS.items()):
        if width == 263:
            x = joints_to_hml263(moving_body(frames, i))
        else:
            x = np.cumsum(rng.normal(size=(frames, width)), 0).astype(np.float32) * 10
        np.save(folder / "new_joint_vecs" / f"{name}.npy", x)
        (folder / "texts" / f"{name}.txt").write_text(caption + "\n")
        rows.append(x)
    for split, ids in {"train": ["walk", "run", "jump"], "val": ["left"], "test": ["left"]}.items():
        (folder / f"{split}.txt").write_text("\n".join(ids) + "\n")
    whole = np.concatenate(rows)
    np.save(folder / "Mean.npy", whole.mean(0))
    np.save(folder / "Std.npy", np.full(width, whole.std()))
    return folder


def words(folder: Path) -> Path:
    """A folder with word vectors."""
    tiny.words().save(folder)
    return folder
