"""A report of many predictions made from end to end, and what each part of it took: ``hftrainer bench metrics``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from hftrainer.data.humanml3d import HumanML3D
from hftrainer.evaluation.protocols import UNIT
from hftrainer.evaluation.verify import hml263_protocol, verify
from hftrainer.models.evaluator import Evaluator, EvaluatorConfig, TextMotionEvaluator, WordVectors

#: Frames of a real motion; its prediction is the stretch that begins ``UNIT`` frames later.
_FRAMES = 60
#: Embeddings are as wide as the published evaluator's; its layers are narrower, for what they take is not the question.
_SIZES = EvaluatorConfig(word_width=16, text_hidden=32, movement_hidden=32, movement_width=32, motion_hidden=32)


def rehearse(samples: int = 4000, repeats: int = 20, data: str | Path | None = None) -> dict[str, Any]:
    """A report of ``scripts/eval/verify_evaluators.py``'s kind: files read, encoded, scored over repeats, both rows.

    Args:
        samples: predictions.
        repeats: of the measures.
        data: dataset folder whose test clips are cut to stretches of three seconds; made-up numbers without it.

    Returns:
        ``samples``, ``used``, ``repeats`` and ``seconds`` of ``reading``, ``encoding`` and ``repeats``.

    >>> told = rehearse(samples=40, repeats=2)
    >>> told["samples"], told["used"], sorted(told["seconds"])
    (40, 32, ['encoding', 'reading', 'repeats'])
    """
    with tempfile.TemporaryDirectory() as there:
        folder = Path(there)
        words = _write(folder, samples, data)
        report = verify(
            _evaluator(words), hml263_protocol("first", False, repeats), folder / "new_joint_vecs", folder / "texts",
            folder / "test.txt", folder / "predictions",
        )  # fmt: skip
    counts = report["counts"]
    return {"samples": counts["samples"], "used": counts["used"], "repeats": repeats, "seconds": report["seconds"]}


def _write(folder: Path, samples: int, data: str | Path | None) -> set[str]:
    """Real motions, captions, a list and predictions; the words of the captions."""
    for room in ("new_joint_vecs", "texts", "predictions"):
        (folder / room).mkdir()
    clips, words, names = _clips(data), set[str](), list[str]()
    enough = [clip for clip in clips if len(clip[0]) >= _FRAMES + UNIT]
    for i in range(samples):
        motion, said = enough[i % len(enough)]
        at = UNIT * (i // len(enough)) % (len(motion) - _FRAMES - UNIT + 1)
        names.append(f"{i:06d}")
        np.save(folder / "new_joint_vecs" / f"{names[-1]}.npy", motion[at : at + _FRAMES])
        np.save(folder / "predictions" / f"{names[-1]}.npy", motion[at + UNIT : at + UNIT + _FRAMES])
        (folder / "texts" / f"{names[-1]}.txt").write_text(said, encoding="utf-8")
        words |= {token.split("/")[0] for token in said.split("#")[1].split()}
    (folder / "test.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    return words


def _clips(data: str | Path | None) -> list[tuple[np.ndarray, str]]:
    """Features and a line of captions of each clip."""
    if data is None:
        rng = np.random.default_rng(0)
        made = rng.normal(size=(64, 1, 263)) + 0.1 * rng.normal(size=(64, 196, 263))
        return [(clip.astype(np.float32), f"walk {i}#walk/VERB {i}/NUM#0.0#0.0\n") for i, clip in enumerate(made)]
    dataset, found = HumanML3D(data, ("test",)), []
    for name in dataset.ids("test"):
        whole = [caption for caption in dataset.captions(name) if caption.whole]
        if whole:
            line = f"{whole[0].text}#{' '.join(whole[0].words)}#0.0#0.0\n"
            found.append((np.asarray(dataset.features(name), np.float32), line))
    return found


def _evaluator(words: set[str]) -> Evaluator:
    """Networks of random numbers."""
    known = sorted(words | {"unk", "sos", "eos"})
    vectors = np.random.default_rng(0).normal(size=(len(known), _SIZES.word_width))
    network = TextMotionEvaluator(_SIZES).eval().requires_grad_(False)
    return Evaluator(network, WordVectors(known, vectors), np.zeros(263), np.ones(263))
