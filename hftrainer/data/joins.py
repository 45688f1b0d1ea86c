"""New windows out of recorded ones: short stretches, cut where something happens and joined where their poses meet.

Recordings mostly hold one act each, while sentences ask for two or three ("walks, then crouches"), and few recordings
go round in a circle. A composed window is one to three stretches of training windows, one after the other, or one
turning stretch that is repeated; two stretches meet where their poses differ least and are blended over 0.3 s. Its
words come from measuring it. Features are relative to the body, so nothing has to be moved or turned.

Source: Kovar, Gleicher, Pighin, "Motion Graphs", SIGGRAPH 2002: transitions at the least pose distance, and blending.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hftrainer.data.humanml3d import FPS
from hftrainer.motion.rotation import matrix_to_rot6d_columns, rot6d_columns_to_matrix
from hftrainer.motion.skeleton import SMPL22

#: Frames over which two stretches are blended.
BLEND = 6
#: Mean distance of joints in metres, and of their speeds in metres per frame, above which stretches are not joined.
_POSE, _SPEED = 0.13, 0.07
#: Shortest and longest composed window, frames.
_SHORTEST, _LONGEST = 24, 196
#: Shares of composed windows that repeat one turning stretch and that follow a plan; of the others, those that have
#: one, two or three stretches.
_LOOPS, _PLANNED, _PARTS = 0.1, 0.45, (0.2, 0.55, 0.25)
#: What sentences often ask for and chance seldom brings: kinds of stretches (their beginnings), one after the other.
_WALK, _RUN, _STILL = ("walk_f", "off_walk"), ("run_f", "jog_f", "sprint_f", "off_run"), ("still", "stop")
_PLANS: tuple[tuple[tuple[str, ...], ...], ...] = (
    (_WALK, (*_RUN, "into_run", "into_jog")), (_RUN, (*_WALK, "into_walk")),
    (_WALK, _STILL), (_RUN, _STILL), (_STILL, _WALK), (_STILL, _RUN),
    (("walk_b",), _WALK), (("walk_b",), _STILL, _WALK), (_WALK, ("walk_b",)),
    (_WALK, ("turn_back", "wide"), _WALK), (_WALK, ("turn_back",)), (_RUN, ("turn_back", "wide"), _RUN),
    (_WALK, ("turn_quarter_l", "quarter_l")), (_WALK, ("turn_quarter_r", "quarter_r")),
    (_WALK, ("spin",)), (_STILL, ("spin",)),
    (_WALK, ("crouch",)), (_WALK, ("reach_down",)), (_WALK, ("reach_down",), _WALK), (_WALK, ("bend",)),
    (_WALK, ("sit",)), (_WALK, ("lie_down",)), (("rise",), _WALK),
    (_WALK, ("jump",)), (_RUN, ("jump",)), (_WALK, ("kick",)), (_WALK, ("punch",)), (_WALK, ("arm", "wave")),
)  # fmt: skip
#: Kinds of events that go on and may be cut anywhere; all others are acts with a beginning and an end.
_STEADY = (
    "walk", "jog", "run", "sprint", "off", "into", "still", "stop", "crawl", "veer", "wide", "circle", "skips",
    "gesture", "crouch_walk",
)  # fmt: skip
_COMMON = ("walk_f", "walk_b", "jog_f", "run_f", "still", "stop", "off", "into")
_TURNING = ("veer", "quarter", "wide", "circle", "back", "spin", "turn_back", "turn_quarter")
#: Kinds that say little and are not composed.
_VAGUE = ("steps", "lively", "stand", "walk_on", "jog_on", "run_on", "climb", "step_up", "all_fours")


@dataclass(frozen=True, order=True)
class Stretch:
    """Frames ``start`` to ``stop`` of a training window in which one thing happens."""

    kind: str
    window: str
    start: int
    stop: int


@dataclass(frozen=True)
class Composition:
    """A composed window: ``(T, 263)`` features and the frames of the windows that it was made from."""

    features: np.ndarray
    parts: tuple[tuple[str, int, int], ...]


def _body(x: np.ndarray) -> np.ndarray:
    """``(N, 22, 3)`` joints above the root's place on the floor, facing +Z."""
    return np.concatenate([np.pad(x[:, None, 3:4], ((0, 0), (0, 0), (1, 1))), x[:, 4:67].reshape(len(x), 21, 3)], 1)


def pose_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How far two bodies are apart, root on root and facing the same way.

    Args:
        a, b: ``(N, 263)`` and ``(M, 263)`` hml263 features.

    Returns:
        ``(N, M)``: 1 is the most that may be joined.
    """

    def speeds(x: np.ndarray) -> np.ndarray:
        return x[:, 193:259].reshape(len(x), 22, 3)

    pose, speed = (np.linalg.norm(f(a)[:, None] - f(b)[None], axis=-1).mean(-1) for f in (_body, speeds))
    return np.maximum(pose / _POSE, speed / _SPEED) + 0.3 * (pose / _POSE + speed / _SPEED) / 2 - 0.15


def blend(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``a`` passing into ``b`` over the last and first ``BLEND`` frames; ``(N + M - BLEND, 263)``.

    Bones pass from one direction to the other and keep their length.
    """
    share = ((np.arange(BLEND) + 1) / (BLEND + 1))[:, None]
    share = share * share * (3 - 2 * share)
    middle = a[-BLEND:] * (1 - share) + b[:BLEND] * share
    joints = np.zeros((BLEND, 22, 3))
    joints[:, 0, 1] = middle[:, 3]
    bodies = [_body(x) for x in (a[-BLEND:], b[:BLEND])]
    for joint, parent in enumerate(SMPL22.parents[1:], 1):
        one, other = (body[:, joint] - body[:, parent] for body in bodies)
        bone = one * (1 - share) + other * share
        length = np.linalg.norm(one, axis=-1, keepdims=True)
        joints[:, joint] = joints[:, parent] + bone * length / np.maximum(np.linalg.norm(bone, axis=-1), 1e-6)[:, None]
    middle[:, 4:67] = joints[:, 1:].reshape(BLEND, 63)
    turns = rot6d_columns_to_matrix(middle[:, 67:193].reshape(BLEND, 21, 6))
    middle[:, 67:193] = matrix_to_rot6d_columns(turns).reshape(BLEND, 126)
    middle[:, 259:] = np.where(share < 0.5, a[-BLEND:, 259:], b[:BLEND, 259:])  # a foot is down or it is not
    return np.concatenate([a[:-BLEND], middle, b[BLEND:]]).astype(np.float32)


class Composer:
    """Composes windows from the stretches of training windows.

    Args:
        stretches: what happens where.
        features: a window's ``(T, 263)`` features by its name.
    """

    def __init__(self, stretches: Sequence[Stretch], features: Callable[[str], np.ndarray]) -> None:
        self.features = features
        self.kinds: dict[str, list[Stretch]] = {}
        for stretch in sorted(stretches):
            if not stretch.kind.startswith(_VAGUE) and stretch.stop - stretch.start >= (
                20 if stretch.kind.startswith(_STEADY) else 2
            ):
                self.kinds.setdefault(stretch.kind, []).append(stretch)
        self.names = sorted(self.kinds)
        count = np.array([len(self.kinds[name]) for name in self.names], dtype=float)
        # rare acts count, and most sentences have somebody walk, run or stand at some point
        weights = np.sqrt(np.minimum(count, 100)) * [
            6.0 if n.startswith(_COMMON) else 2.0 if n.startswith(_STEADY) else 1.0 for n in self.names
        ]
        self.weights = weights / weights.sum() if len(weights) else weights
        self.turning = [name for name in self.names if name.startswith(_TURNING)]
        plans = [[[name for name in self.names if name.startswith(kinds)] for kinds in plan] for plan in _PLANS]
        self.plans = [plan for plan in plans if all(plan)]

    def _kind(self, rng: np.random.Generator, among: Sequence[str] | None = None) -> str:
        if among is None:
            return self.names[int(rng.choice(len(self.names), p=self.weights))]
        counts = np.sqrt([len(self.kinds[name]) for name in among])
        return among[int(rng.choice(len(among), p=counts / counts.sum()))]

    def _ends(
        self, s: Stretch, rng: np.random.Generator, length: int, after: bool = False
    ) -> tuple[int, int, int, int]:
        """Where a stretch may be cut: earliest and latest start, earliest and latest stop.

        ``after`` another that leads to it, what came before it in its own window may lead to it too.
        """
        if s.kind.startswith(_STEADY):
            seconds = float(rng.uniform(1.2, 3.5))
            span = min(s.stop - s.start, int(seconds * FPS))
            begin = s.start + int(rng.integers(0, s.stop - s.start - span + 1))
            slack = min(10, span // 3)
            lead = 16 if after and begin - s.start < 6 else 0
            return max(0, begin - lead), begin + slack, begin + span - slack, begin + span
        lead = 26 if after else 14
        return max(0, s.start - lead), max(0, s.start - 4), min(length, s.stop + 4), min(length, s.stop + 16)

    def _one(self, rng: np.random.Generator) -> Composition | None:
        s = self._any(self._kind(rng), rng)
        data = self.features(s.window)
        start, _, _, stop = self._ends(s, rng, len(data))
        return Composition(data[start:stop], ((s.window, start, stop),))

    def _any(self, kind: str, rng: np.random.Generator) -> Stretch:
        found = self.kinds[kind]
        return found[int(rng.integers(len(found)))]

    def _after(
        self, data: np.ndarray, fewest: int, rng: np.random.Generator, among: Sequence[str] | None = None
    ) -> tuple[np.ndarray, int, tuple[str, int, int]] | None:
        """What may follow ``data``, of which at least ``fewest`` frames are kept: features, frames kept, its part.

        ``among`` some kinds, more stretches are tried.
        """
        for _ in range(6):
            kind, best = self._kind(rng, among), None
            for _ in range(8 if among is None else 16):
                s = self._any(kind, rng)
                other = self.features(s.window)
                first, last, _, stop = self._ends(s, rng, len(other), among is not None)
                last = min(last, stop - BLEND - 8)
                if last < first or len(data) - BLEND < fewest:
                    continue
                cost = pose_distances(data[fewest - 1 : len(data) - BLEND], other[first : last + 1])
                i, j = np.unravel_index(int(cost.argmin()), cost.shape)
                if cost[i, j] < 1 and (best is None or cost[i, j] < best[0]):
                    best = (cost[i, j], fewest - 1 + int(i), other, first + int(j), stop, s.window)
            if best is not None:
                _, kept, other, begin, stop, name = best
                return other[begin:stop], kept + BLEND, (name, begin, stop)
        return None

    def _several(self, rng: np.random.Generator, plan: Sequence[Sequence[str] | None]) -> Composition | None:
        """Stretches of the kinds of a ``plan``, each ``None`` of any kind; a plan of kinds is kept to or given up."""
        s = self._any(self._kind(rng, plan[0]), rng)
        data = self.features(s.window)
        start, _, early, stop = self._ends(s, rng, len(data))
        data, fewest, used = data[start:stop], early - start, [(s.window, start, stop)]
        for among in plan[1:]:
            found = self._after(data, max(fewest, 12), rng, among)
            if found is None:
                if among is not None:
                    return None
                break
            more, kept, part = found
            if kept + len(more) - BLEND > _LONGEST:
                break
            used[-1] = (used[-1][0], used[-1][1], used[-1][2] - (len(data) - kept))
            data = blend(data[:kept], more)
            fewest, used = len(data) - min(12, len(more) // 3), [*used, part]
        return Composition(data, tuple(used)) if len(used) > 1 else None

    def _loop(self, rng: np.random.Generator) -> Composition | None:
        """A turning stretch, repeated until the body has turned around once or the window is full."""
        if not self.turning:
            return None
        s = self._any(self.turning[int(rng.integers(len(self.turning)))], rng)
        data = self.features(s.window)
        start, stop = max(0, s.start), min(len(data), s.stop)
        lead = data[start:stop]
        if len(lead) < 2 * BLEND + 16:
            return None
        cost = pose_distances(lead[:-BLEND], lead[:-BLEND])
        turned = np.concatenate([[0], np.degrees(2 * np.cumsum(lead[:-1, 0].astype(np.float64)))])
        # leave at i, come back to j: far enough apart to be a whole cycle, and turning on the way
        i, j = np.indices(cost.shape)
        good = (i - j >= 12) & (cost < 1) & (np.abs(turned[i] - turned[j]) > 25)
        if not good.any():
            return None
        rate = np.abs(turned[i] - turned[j]) / np.maximum(i - j, 1)
        worth = np.where(good, rate * (1.3 - cost), 0)  # turns quickly and meets itself well: whole steps
        leave, back = np.unravel_index(int(worth.argmax()), worth.shape)
        goal, whole = float(rng.uniform(300, 480)), lead[: leave + BLEND]
        used = [(s.window, start, start + int(leave) + BLEND)]
        around = abs(turned[leave])
        while around < goal:
            if len(whole) + leave - back > _LONGEST:
                break
            whole = blend(whole, lead[back : leave + BLEND])
            used.append((s.window, start + int(back), start + int(leave) + BLEND))
            around += abs(turned[leave] - turned[back])
        return Composition(whole, tuple(used)) if len(used) > 1 else None

    def compose(self, rng: np.random.Generator) -> Composition | None:
        """One composed window of 24 to 196 frames, or ``None`` where in many tries no stretches fit together."""
        for _ in range(50 if self.names else 0):
            way = rng.random()
            if way < _LOOPS:
                made = self._loop(rng)
            elif way < _LOOPS + _PLANNED and self.plans:
                made = self._several(rng, self.plans[int(rng.integers(len(self.plans)))])
            else:
                parts = 1 + int(rng.choice(len(_PARTS), p=_PARTS))
                made = self._one(rng) if parts == 1 else self._several(rng, [None] * parts)
            if made is not None and _SHORTEST <= len(made.features) <= _LONGEST:
                return made
        return None
