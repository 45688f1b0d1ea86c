"""The vocabulary of a motion tokenizer as one page: every token a small figure that moves, with its usage and kin."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np

from hftrainer.motion.skeleton import KIT21, SMPL22

_PAGE = Path(__file__).with_name("atlas.html")
#: Neighbours and followers that are shown of a token.
KIN = 6


def nearest(codebook: np.ndarray, count: int = KIN) -> np.ndarray:
    """The codes nearest to each code.

    Args:
        codebook: ``(K, C)`` vectors.
        count: how many.

    Returns:
        ``(K, count)`` numbers of other codes, nearest first.

    >>> nearest(np.array([[0.0], [1.0], [1.5]]), 1).ravel().tolist()
    [1, 2, 1]
    """
    square = (codebook**2).sum(1)
    away = square[:, None] + square[None] - 2 * codebook @ codebook.T
    np.fill_diagonal(away, np.inf)
    return np.argsort(away, axis=1, kind="stable")[:, :count]


def counted(rows: list[list[int]], codes: int, count: int = KIN) -> tuple[np.ndarray, list[list[int]]]:
    """How often each code is used, and which codes follow it most often; itself left out.

    Args:
        rows: codes of clips.
        codes: ``K``.
        count: followers at most.

    >>> counted([[0, 0, 1, 2, 1, 2]], 3)
    (array([2, 2, 2]), [[1], [2], [1]])
    """
    usage = np.bincount(np.concatenate([np.asarray(row, dtype=int) for row in rows]), minlength=codes)
    follows = np.zeros((codes, codes), dtype=np.int64)
    for row in rows:
        np.add.at(follows, (row[:-1], row[1:]), 1)
    np.fill_diagonal(follows, 0)
    order = np.argsort(-follows, axis=1, kind="stable")[:, :count]
    return usage, [[int(j) for j in order[k] if follows[k, j]] for k in range(codes)]


def atlas_page(
    joints: np.ndarray,
    near: np.ndarray,
    about: str,
    usage: np.ndarray | None = None,
    followers: list[list[int]] | None = None,
) -> str:
    """One offline HTML page of all tokens; no script or style from elsewhere.

    Args:
        joints: ``(K, F, 22, 3)``, of KIT's skeleton ``(K, F, 21, 3)``, metres, +Y up: what each token decodes to, 2
            frames or more.
        near: ``(K, N)`` numbers of the nearest tokens.
        about: a line at the top.
        usage: ``(K,)`` how often each token is used.
        followers: which tokens follow each most often.

    Returns:
        The page.

    Raises:
        ValueError: joints of another shape or with a value that is not finite.

    >>> page = atlas_page(np.zeros((2, 4, 22, 3)), np.array([[1], [0]]), "two tokens")
    >>> page.startswith("<!doctype html>") and "two tokens" in page
    True
    """
    bodies = {len(skeleton.joints): skeleton for skeleton in (SMPL22, KIT21)}
    skeleton = bodies.get(joints.shape[2]) if joints.ndim == 4 and joints.shape[3] == 3 else None
    if skeleton is None or joints.shape[1] < 2 or not np.isfinite(joints).all():
        raise ValueError(
            f"joints must be finite and have shape (K, F, 22 or 21, 3) with F at least 2; got {joints.shape}."
        )
    placed = joints - joints[:, :1, :1] * [1.0, 0.0, 1.0]
    speed = np.linalg.norm(np.diff(placed, axis=1), axis=-1).mean((1, 2))
    sides = [-1 if name.startswith("left") else 1 if name.startswith("right") else 0 for name in skeleton.joints]
    packed = np.clip(np.round(placed * 1000), -32768, 32767).astype("<i2").tobytes()
    data = {
        "about": about, "codes": len(joints), "frames": joints.shape[1], "parents": list(skeleton.parents),
        "sides": sides, "head": skeleton.joints.index("head"), "joints": base64.b64encode(packed).decode(),
        "near": np.asarray(near).tolist(), "speed": [round(float(s), 4) for s in speed],
        "usage": None if usage is None else np.asarray(usage).tolist(), "next": followers,
    }  # fmt: skip
    text = json.dumps(data, separators=(",", ":")).replace("</", "<\\/")
    return _PAGE.read_text(encoding="utf-8").replace("__DATA__", text)
