"""Embeddings kept on disk by content: the same evaluator and the same motions or sentences are encoded once.

A file of the folder is named by the SHA-256 of all that decides its numbers: the evaluator's weights, words and
statistics, how a batch is read, and every item in its order. Nothing is ever out of date; the folder may be deleted.
Sets are kept whole, because the company that a motion is encoded in changes its last bits.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from hftrainer.models.evaluator import AnyEvaluator
from hftrainer.motion.clip import Motion
from hftrainer.motion.files.atomic import written_whole

Known = TypeVar("Known", bound=AnyEvaluator)


def keep_encodings(evaluator: Known, folder: str | Path) -> Known:
    """The same evaluator, which looks into a folder before it encodes, and writes there what it encoded.

    Args:
        evaluator: is not changed; its networks are shared.
        folder: of ``.npy`` files; made when the first is written.
    """
    kept, place = copy.copy(evaluator), Path(folder)
    identity = content_hash(evaluator)

    def looking(what: str, encode: Callable[..., np.ndarray], digest: Callable[[Any], bytes]) -> Callable[..., Any]:
        def found(items: Sequence[Any], *words: Any, **more: Any) -> np.ndarray:
            key = hashlib.sha256(json.dumps([identity, what, words, sorted(more.items())]).encode())
            for item in items:
                key.update(digest(item))
            file = place / f"{key.hexdigest()}.npy"
            points = _read(file, len(items))
            if points is None:
                points = encode(items, *words, **more)
                with written_whole(file) as beside, beside.open("wb") as opened:
                    np.save(opened, points)
            return points

        return found

    kept.__dict__["texts"] = looking("texts", evaluator.texts, _digest_text)
    kept.__dict__["motions"] = looking("motions", evaluator.motions, _digest_motion)
    return kept


def content_hash(evaluator: AnyEvaluator) -> str:
    """SHA-256 of everything in an evaluator that decides its numbers; files and their names do not matter."""
    digest = hashlib.sha256(f"{type(evaluator).__name__} {evaluator.kind}".encode())
    for name, tensor in sorted(evaluator.network.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    digest.update(evaluator.mean.tobytes() + evaluator.std.tobytes())
    words = getattr(evaluator, "words", None)
    if words is not None:
        digest.update(json.dumps(words.words).encode() + words.vectors.tobytes())
    tokenizer = getattr(evaluator, "tokenizer", None)
    if tokenizer is not None:
        digest.update(tokenizer.to_str().encode())
    return digest.hexdigest()


def _digest_motion(motion: Motion) -> bytes:
    about = f"{motion.representation.name} {motion.fps} {motion.data.shape}".encode()
    return hashlib.sha256(about + motion.data.tobytes()).digest()


def _digest_text(text: str | Sequence[str]) -> bytes:
    return hashlib.sha256(json.dumps(text if isinstance(text, str) else list(text)).encode()).digest()


def _read(file: Path, count: int) -> np.ndarray | None:
    """A file's embeddings; ``None`` where there is none, or a damaged one."""
    if not file.is_file():
        return None
    try:
        points: np.ndarray = np.load(file, allow_pickle=False)
    except (ValueError, OSError, EOFError):
        return None
    return points if points.ndim == 2 and len(points) == count else None
