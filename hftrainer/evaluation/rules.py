"""What a motion must measurably do to have walked, jumped or sat down: rules on the body's own measures.

A rule looks at joints and nothing else (``hftrainer.motion.measure``), so it can fail: a run fails the walking rule, a
left turn fails the right one. Every number here was set on real capture, never on the output of a model. The file is
long because the rules are a list: each stands by itself, and ``RULES`` at the end says all of them in words.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hftrainer.motion.measure import (
    Measures,
    hand_sideways,
    is_still,
    jumping_jacks,
    jumps,
    kicks,
    punches,
    raised_arms,
    reversals,
    runs_of,
)

_WRISTS, _HEAD = (20, 21), 15


@dataclass(frozen=True)
class Rule:
    """What a motion must measurably do.

    Attributes:
        name: what the table calls it.
        says: the rule in words and numbers.
        holds: whether a measured body obeys it.
    """

    name: str
    says: str
    holds: Callable[[Measures], bool]


def _low(track: np.ndarray) -> float:
    return float(np.percentile(track, 5))


def _on_feet(body: Measures) -> bool:
    return _low(body.upright) > 0.5 and _low(body.height) > 0.7


def _straight(body: Measures, turn: float = 100.0) -> bool:
    return abs(body.turn) < turn and body.turn_range < turn + 40


def _mean_speed(body: Measures, first: float, last: float) -> float:
    """Mean ground speed between two shares of the time, m/s."""
    start, stop = int(first * len(body)), max(int(last * len(body)), int(first * len(body)) + 1)
    return float(body.speed[start:stop].mean())


def _edge_speed(body: Measures, end: bool, seconds: float = 0.5) -> float:
    frames = max(1, int(seconds * body.fps))
    return float((body.speed[-frames:] if end else body.speed[:frames]).mean())


def _walks(body: Measures) -> bool:
    ahead = body.travel > 1.0 and abs(body.sideways) < 0.6 * body.travel
    return ahead and _on_feet(body) and body.moving_speed < 1.9 and _straight(body, 70) and not jumps(body)


def _runs(body: Measures) -> bool:
    ahead = body.travel > 1.5 and abs(body.sideways) < 0.6 * body.travel
    return ahead and body.moving_speed > 1.8 and _low(body.upright) > 0.4 and _low(body.height) > 0.65


def _backwards(body: Measures) -> bool:
    back = -body.travel > 0.8 and -body.travel > 1.2 * abs(body.sideways)
    return back and _on_feet(body) and _straight(body) and body.moving_speed < 1.9


def _runs_back(body: Measures) -> bool:
    back = -body.travel > 1.2 and -body.travel > 1.2 * abs(body.sideways)
    return back and body.moving_speed > 1.6 and _low(body.height) > 0.65


def _sideways(sign: int) -> Callable[[Measures], bool]:
    def holds(body: Measures) -> bool:
        aside = sign * body.sideways
        return aside > 0.6 and aside > 1.2 * abs(body.travel) and _straight(body, 80) and _on_feet(body)

    return holds


def _turns(sign: int) -> Callable[[Measures], bool]:
    def holds(body: Measures) -> bool:
        turn = sign * body.turn
        return 40 < turn < 165 and body.turn_range < turn + 60 and body.travel > 0.8 and _on_feet(body)

    return holds


def _turns_around(body: Measures) -> bool:
    return 130 < abs(body.turn) < 250 and _on_feet(body)


def _comes_back(body: Measures) -> bool:
    far = float(np.linalg.norm((body.joints[:, 0] - body.joints[0, 0])[:, [0, 2]], axis=1).max())
    return _turns_around(body) and far > 0.8 and body.net < 0.75 * far and body.path > 1.6


def _circles(body: Measures) -> bool:
    around = body.turn_range > 270 and abs(body.turn) > 240
    path = body.path > 2.2 and body.travel > 0.6 * body.path and body.net < 0.5 * body.path
    return around and path and _on_feet(body)


def _spins(body: Measures) -> bool:
    frames = min(len(body) - 1, int(3 * body.fps))
    most = max(float(np.abs(body.yaw[lag:] - body.yaw[:-lag]).max()) for lag in range(max(1, frames // 2), frames + 1))
    return most > 300 and _low(body.upright) > 0.4 and body.spread < 3.0


def _jumps(body: Measures) -> bool:
    return bool(jumps(body)) and body.upright.min() > 0.2


def _jumps_forward(body: Measures) -> bool:
    return any(body.span(max(0, start - 3), stop + 3).travel > 0.5 for start, stop, _ in jumps(body))


def _jumps_often(body: Measures) -> bool:
    return len(jumps(body)) >= 2


def _skips(body: Measures) -> bool:
    flights = runs_of(np.asarray(body.clearance > 0.04), 2)
    lift = np.ptp(body.height) * body.stature
    return len(flights) >= 2 and body.travel > 1.5 and lift > 0.13 and body.moving_speed < 3.2 and _on_feet(body)


def _kicks(side: int) -> Callable[[Measures], bool]:
    def holds(body: Measures) -> bool:
        other = float(body.toe[:, 1 - side].max())
        return any(found[2] == side for found in kicks(body)) and body.toe[:, side].max() > 0.5 > other

    return holds


def _any_kick(body: Measures) -> bool:
    return bool(kicks(body)) and body.upright.min() > -0.2


def _punches(*sides: int, least: int = 1) -> Callable[[Measures], bool]:
    def holds(body: Measures) -> bool:
        thrown = [found for found in punches(body) if found[2] in sides]
        return len(thrown) >= least and body.height.min() > 0.6

    return holds


def _boxes(body: Measures) -> bool:
    guard = np.median(body.hand_up, axis=0).min() > -0.75 and _low(body.hand.min(axis=1)) > 0.6
    quick = body.hand_speed.max() > 2.0 and body.hand_speed.max(axis=0).min() > 1.0
    bent = float(np.median(body.knee.mean(axis=1))) > 12
    stays = body.spread < 2.0 and body.height.min() > 0.5
    return bool(guard and quick and bent and stays and body.hand_up.max() < 0.5 and body.reach.max() > 0.55)


def _raises(which: str) -> Callable[[Measures], bool]:
    def holds(body: Measures) -> bool:
        found = {name for _, _, name in raised_arms(body)}
        return (found == {which} if which != "both" else which in found) and _low(body.height) > 0.6

    return holds


def _crouching(body: Measures) -> list[tuple[int, int]]:
    down = (body.height < 0.66) & (body.knee.mean(axis=1) > 55) & (body.upright > 0.2) & (body.clearance < 0.15)
    return runs_of(np.asarray(down), int(0.3 * body.fps), gap=2)


def _seated(body: Measures) -> list[tuple[int, int]]:
    behind = ((body.joints[:, [7, 8]].mean(axis=1) - body.joints[:, 0]) * body.front).sum(axis=1)
    seat = (body.height < 0.8) & (body.upright > 0.55) & (behind > 0.2) & (body.knee.mean(axis=1) > 45)
    return runs_of(np.asarray(seat & (body.speed < 0.4)), int(0.8 * body.fps), gap=3)


def _sits(body: Measures) -> bool:
    return bool(_seated(body)) or bool(_crouching(body)) and body.height.min() > 0.25


def _lying(body: Measures) -> list[tuple[int, int]]:
    return runs_of(np.asarray((body.height < 0.32) & (np.abs(body.upright) < 0.55)), int(0.8 * body.fps), gap=3)


def _crawls(body: Measures) -> bool:
    down = (body.hand < 0.4).all(axis=1) & (body.height < 0.65) & (body.upright < 0.6)
    return any(body.span(start, stop).path > 0.5 for start, stop in runs_of(np.asarray(down), int(body.fps), gap=6))


def _cartwheels(body: Measures) -> bool:
    over = np.asarray((body.upright < -0.3) & (body.toe.max(axis=1) > 0.8) & (body.hand.min(axis=1) < 0.45))
    return bool(runs_of(over, 2)) and body.height[over].max() > 0.6


def _picks_up(body: Measures) -> bool:
    low = np.flatnonzero(body.hand.min(axis=1) < 0.5)
    if len(low) == 0:
        return False
    bent = body.upright[low].min() < 0.8 or body.height[low].min() < 0.7
    up = slice(int(low[0]), None)
    rises = body.upright[up][-1] > 0.75 and body.height[up][-1] > 0.75 and body.hand[up][-1].max() > 0.55
    return bool(bent and rises and body.toe.max() < 0.6)


def _walks_and_picks_up(body: Measures) -> bool:
    low = np.flatnonzero(body.hand.min(axis=1) < 0.5)
    return len(low) > 0 and low[0] > 2 and body.span(0, int(low[0])).travel > 0.8 and body.upright.min() > -0.3


def _bends(body: Measures) -> bool:
    over = runs_of(np.asarray((body.upright < 0.7) & (body.height > 0.75)), int(0.25 * body.fps), gap=2)
    return bool(over) and body.path < 2.0 and body.upright.min() > -0.6 and body.toe.max() < 0.5


def _squats(body: Measures) -> bool:
    down = _crouching(body)
    if not down or body.spread > 1.2:
        return False
    before, after = body.height[: down[0][0] + 1].max(), body.height[down[0][1] - 1 :].max()
    return min(float(before), float(after)) > 0.84 and not jumps(body)


def _dances(body: Measures) -> bool:
    moves = body.energy > 0.35 and body.foot_speed.mean() > 0.25 and body.hand_speed.mean() > 0.25
    stays = body.spread < 2.5 and body.net < 0.8 * body.path and body.path > 0.9
    return bool(moves and stays and _on_feet(body) and (body.turn_range > 35 or body.airborne > 0.08))


def _climbs(body: Measures) -> bool:
    up = np.asarray((body.clearance > 0.15) & (body.upright > 0.3))
    return bool(runs_of(up, int(0.8 * body.fps), gap=int(0.2 * body.fps)))


def _dribbles(body: Measures) -> bool:
    turns = [reversals(body.hand_up[:, side], 0.15) for side in (0, 1)]
    side = int(np.argmax(turns))
    low = float(np.median(body.hand_up[:, side])) < 0.0 and body.hand[:, side].min() > 0.5
    return low and turns[side] >= max(4, 1.2 * body.seconds) and turns[side] >= 2 * turns[1 - side] and _on_feet(body)


def _wipes(body: Measures) -> bool:
    for side in (0, 1):
        high = float(np.percentile(body.hand_up[:, side], 80)) > 0.1
        swings = max(reversals(hand_sideways(body, side), 0.1), reversals(body.hand_up[:, side], 0.2))
        if high and swings >= max(3, 0.6 * body.seconds) and body.spread < 1.2 and body.height.min() > 0.75:
            return True
    return False


def _mops(body: Measures) -> bool:
    swings = [reversals(hand_sideways(body, side), 0.1) for side in (0, 1)]
    low = np.median(body.hand_up, axis=0).max() < -0.5
    together = float(np.median(np.linalg.norm(body.joints[:, 20] - body.joints[:, 21], axis=1))) < 0.8
    return bool(low and together and min(swings) >= max(4, body.seconds) and body.spread < 1.6)


def _drinks(body: Measures) -> bool:
    near = np.linalg.norm(body.joints[:, _WRISTS] - body.joints[:, [_HEAD]], axis=-1).min(axis=1) < 0.4
    lifted = body.hand_up.max() > 0.0 and float(np.percentile(body.hand_speed, 50)) < 0.4
    return bool(runs_of(near, int(0.5 * body.fps), gap=2)) and lifted and body.spread < 0.4 and _on_feet(body)


def _balances(body: Measures) -> bool:
    for side in (0, 1):
        held = (body.toe[:, side] > 0.2) & (body.toe[:, 1 - side] < 0.12) & (body.speed < 0.4) & (body.height > 0.75)
        if runs_of(np.asarray(held), int(1.5 * body.fps), gap=2):
            return True
    return False


def _stands(body: Measures) -> bool:
    if body.toe.max() > 0.2:
        return False
    quick = max(float(np.percentile(body.hand_speed, 95)), float(np.percentile(body.foot_speed, 95)))
    quiet = quick < 0.5 and body.energy < 0.2 and body.turn_range < 30 and body.airborne < 0.05
    stands = body.spread < 0.3 and _on_feet(body) and body.height.min() > 0.8
    return is_still(body) or bool(quiet and stands and not raised_arms(body))


def _walks_then_runs(body: Measures) -> bool:
    return _mean_speed(body, 0, 0.3) < 1.7 and _mean_speed(body, 0.65, 1) > 2.0 and body.travel > 2.0


def _runs_then_walks(body: Measures) -> bool:
    last = _mean_speed(body, 0.7, 1)
    return _mean_speed(body, 0, 0.35) > 1.9 and 0.5 < last < 1.8 and body.travel > 2.0


def _runs_then_stops(body: Measures) -> bool:
    return float(np.percentile(body.speed, 90)) > 1.8 and _edge_speed(body, end=True) < 0.7 and body.travel > 1.0


def _walks_then_stops(body: Measures) -> bool:
    fast = float(np.percentile(body.speed, 95))
    return body.travel > 1.0 and fast < 2.0 and _edge_speed(body, end=True) < 0.35 and _mean_speed(body, 0, 0.5) > 0.5


def _stands_then_walks(body: Measures) -> bool:
    fast = float(np.percentile(body.speed, 95))
    return body.travel > 1.0 and fast < 2.0 and _edge_speed(body, end=False) < 0.35 and _mean_speed(body, 0.5, 1) > 0.5


def _walks_then_jumps(body: Measures) -> bool:
    return any(body.span(0, max(2, start)).travel > 0.7 for start, _, _ in jumps(body))


def _runs_then_jumps(body: Measures) -> bool:
    return any(start > 4 and body.speed[:start].max() > 1.9 for start, _, _ in jumps(body))


def _walks_then_crouches(body: Measures) -> bool:
    return any(body.span(0, max(2, start)).travel > 0.8 for start, _ in _crouching(body)) and body.height[-1] < 0.8


def _gets_up(body: Measures) -> bool:
    down = np.flatnonzero(body.height < 0.68)
    return len(down) > 0 and body.height[-1] > 0.82 and body.upright[-1] > 0.7 and down[0] < 0.5 * len(body)


def _back_then_forward(body: Measures) -> bool:
    place = np.cumsum(body.forward) / body.fps
    farthest = int(place.argmin())
    return place[farthest] < -0.6 and place[-1] - place[farthest] > 0.6 and _on_feet(body)


RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule("walks forward", "pelvis > 1 m along its facing, upright, under 1.9 m/s, turned < 70°, no jump", _walks),
        Rule("runs", "pelvis > 1.5 m along its facing at more than 1.8 m/s while moving, upright", _runs),
        Rule("walks backwards", "pelvis > 0.8 m against its facing, under 1.9 m/s, turned under 100°", _backwards),
        Rule("runs backwards", "pelvis > 1.2 m against its facing at more than 1.6 m/s while moving", _runs_back),
        Rule("steps left", "pelvis > 0.6 m to its left, 1.2 times more than ahead, turned under 80°", _sideways(1)),
        Rule("steps right", "pelvis > 0.6 m to its right, 1.2 times more than ahead, turned under 80°", _sideways(-1)),
        Rule("turns left", "goes > 0.8 m ahead and ends turned 40-165° to the left, hardly right between", _turns(1)),
        Rule("turns right", "goes > 0.8 m ahead and ends turned 40-165° to the right, hardly left between", _turns(-1)),
        Rule("turns around", "ends turned 130-250° either way, on its feet", _turns_around),
        Rule("comes back", "turns 130-250°, was > 0.8 m away and ends nearer than 3/4 of that", _comes_back),
        Rule("circles", "turns > 240° in all over > 2.2 m of path, mostly ahead, ends within half the path", _circles),
        Rule("spins", "turns > 300° within 3 s, stays within 3 m, upright", _spins),
        Rule("jumps", "both feet > 8 cm off the floor with the pelvis lifted, not in a run's stride", _jumps),
        Rule("jumps forward", "a jump that carries the pelvis > 0.5 m ahead", _jumps_forward),
        Rule("jumps often", "2 jumps or more", _jumps_often),
        Rule("skips", "2 flights > 4 cm, pelvis bounces > 13 cm, > 1.5 m ahead, under 3.2 m/s", _skips),
        Rule("kicks left", "left toe > 0.5 m in a quick kick, right toe never", _kicks(0)),
        Rule("kicks right", "right toe > 0.5 m in a quick kick, left toe never", _kicks(1)),
        Rule("kicks", "a toe > 0.5 m in a quick kick while the other is down", _any_kick),
        Rule("punches left", "left arm shoots out ahead at shoulder height", _punches(0)),
        Rule("punches right", "right arm shoots out ahead at shoulder height", _punches(1)),
        Rule("punches", "one arm or the other shoots out ahead at shoulder height", _punches(0, 1)),
        Rule("boxes", "both hands up in a guard, quick, one reaching ahead, knees bent, within 2 m", _boxes),
        Rule("raises left arm", "left wrist half an arm above its shoulder for 0.3 s, right never", _raises("left")),
        Rule("raises right arm", "right wrist half an arm above its shoulder for 0.3 s, left never", _raises("right")),
        Rule("raises both arms", "both wrists half an arm above their shoulders for 0.3 s", _raises("both")),
        Rule("sits or crouches", "pelvis under 2/3 of standing on bent knees, or seated over bent knees", _sits),
        Rule("lies", "pelvis under 1/3 of standing, trunk level, for 0.8 s", lambda body: bool(_lying(body))),
        Rule("crawls", "both hands and the pelvis low for 1 s while going > 0.5 m", _crawls),
        Rule("cartwheels", "trunk upside down, a toe > 0.8 m, a hand at the floor", _cartwheels),
        Rule("picks up", "a hand under 0.5 m with the body bent, then up straight again", _picks_up),
        Rule("walks and picks up", "> 0.8 m ahead, then a hand under 0.5 m", _walks_and_picks_up),
        Rule("bends over", "trunk tilted > 45° on standing legs for 0.25 s, hardly moving on", _bends),
        Rule("squats", "stands, goes under 2/3 of standing on bent knees, stands again, on the spot, no jump", _squats),
        Rule("jumping jacks", "arms up 3 times as the feet go apart", lambda body: jumping_jacks(body) is not None),
        Rule("dances", "arms and legs > 0.25 m/s, with turns or leaps, within 2.5 m, net travel small", _dances),
        Rule("climbs", "both feet > 15 cm above the floor for 0.8 s", _climbs),
        Rule("dribbles", "one low hand up and down more than once a second, twice as often as the other", _dribbles),
        Rule("wipes", "a hand above the shoulder to and fro, 3 times or more, on the spot", _wipes),
        Rule("mops", "both low hands together, side to side more than once a second", _mops),
        Rule("drinks", "a wrist within 0.4 m of the head for 0.5 s, else quiet", _drinks),
        Rule("balances", "one toe > 0.2 m and the other down for 1.5 s, on the spot", _balances),
        Rule("stands still", "hands and feet under 0.5 m/s, no limb up, no turn over 30°, within 0.3 m", _stands),
        Rule("walks then runs", "first third under 1.7 m/s, last third over 2.0 m/s, > 2 m ahead", _walks_then_runs),
        Rule("runs then walks", "first third over 1.9 m/s, last third 0.5-1.8 m/s, > 2 m ahead", _runs_then_walks),
        Rule("runs then stops", "over 1.8 m/s, then under 0.7 m/s in the last half second", _runs_then_stops),
        Rule("walks then stops", "> 1 m ahead under 2 m/s, under 0.35 m/s in the last half second", _walks_then_stops),
        Rule("stands then walks", "under 0.35 m/s in the first half second, then > 1 m ahead", _stands_then_walks),
        Rule("walks then jumps", "> 0.7 m ahead before a jump", _walks_then_jumps),
        Rule("runs then jumps", "over 1.9 m/s before a jump", _runs_then_jumps),
        Rule("walks then crouches", "> 0.8 m ahead, then down with bent knees to the end", _walks_then_crouches),
        Rule("gets up", "pelvis under 0.68 of standing in the first half, standing straight at the end", _gets_up),
        Rule("back then forward", "> 0.6 m backwards, then > 0.6 m forward", _back_then_forward),
    )
}
