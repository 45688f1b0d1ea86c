"""Sentences that a recorded movement earns by measurement.

A short label ("walk", "form 1") says little and nothing of where in a clip its action falls. ``describe`` measures a
window (``hftrainer.motion.measure``), finds what clearly happens in it, in order, and says that in a handful of
different everyday sentences. What cannot be measured (why, with what object, in which style) is not said. Every
choice of words comes from a hash of the data: the same window always gives the same sentences.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hftrainer.data.phrases import COUNTED, GAITS, PHRASES, PICKED, PLAIN, SUBJECTS, conjugate
from hftrainer.motion.measure import (
    SIDES,
    Measures,
    hand_sideways,
    is_still,
    jumping_jacks,
    jumps,
    kicks,
    measure,
    punches,
    raised_arms,
    reversals,
    runs_of,
    smooth,
)


@dataclass(frozen=True)
class Event:
    """One thing that happens in a window.

    Attributes:
        start: first frame.
        stop: frame after the last.
        kind: a key of ``PHRASES``.
        weight: how telling it is; the least telling is left out first when there are many.
        gait: ``walk``, ``jog`` or ``run`` for kinds whose phrases name the gait.
        times: how often it happens.
    """

    start: int
    stop: int
    kind: str
    weight: float = 1.0
    gait: str = "walk"
    times: int = 1


def _posture(body: Measures) -> np.ndarray:
    """``(T,)`` stance of every frame: ``u`` up, ``c`` crouched, ``s`` seated, ``h`` hands and knees, ``l`` lying."""
    ankles = body.joints[:, [7, 8]].mean(axis=1)
    behind = ((ankles - body.joints[:, 0]) * body.front).sum(axis=1)
    hands_down = (body.hand < 0.35).all(axis=1)
    state = np.full(len(body), "u")
    low = (body.height < 0.68) & (body.knee.mean(axis=1) > 55)
    state[low] = "c"
    seated = (body.height < 0.78) & (body.upright > 0.7) & (behind > 0.27) & (body.knee.mean(axis=1) > 45)
    state[seated & (body.speed < 0.3)] = "s"
    state[hands_down & (body.height < 0.62) & (body.upright < 0.55) & (body.height > 0.22)] = "h"
    state[(body.height < 0.27) & (np.abs(body.upright) < 0.5)] = "l"
    return state


def _merged(states: np.ndarray, frames: int) -> list[tuple[int, int, str]]:
    """Stretches of equal state; those shorter than ``frames`` join a longer neighbour."""
    edges = [0, *(np.flatnonzero(states[1:] != states[:-1]) + 1).tolist(), len(states)]
    parts: list[tuple[int, int, str]]
    parts = [(first, last, str(states[first])) for first, last in zip(edges[:-1], edges[1:], strict=True)]
    while len(parts) > 1:
        index = min(range(len(parts)), key=lambda i: parts[i][1] - parts[i][0])
        first, last, _ = parts[index]
        if last - first >= frames:
            break
        near = [i for i in (index - 1, index + 1) if 0 <= i < len(parts)]
        into = max(near, key=lambda i: parts[i][1] - parts[i][0])
        parts[into] = (min(first, parts[into][0]), max(last, parts[into][1]), parts[into][2])
        del parts[index]
        joined: list[tuple[int, int, str]] = []
        for part in parts:
            if joined and joined[-1][2] == part[2]:
                joined[-1] = (joined[-1][0], part[1], part[2])
            else:
                joined.append(part)
        parts = joined
    return parts


def _gait_events(body: Measures) -> list[Event]:
    """Where the body goes on its feet, with the turns it makes."""
    fps = body.fps
    forward, left = smooth(body.forward, fps, 0.5), smooth(body.left, fps, 0.5)
    speed = smooth(body.speed, fps, 0.5)
    angle = np.degrees(np.arctan2(left, forward))
    way = np.where(np.abs(angle) < 50, "f", np.where(np.abs(angle) > 130, "b", np.where(angle > 0, "l", "r")))
    pace = np.where(speed < 0.4, "still", np.where(speed < 1.95, "walk", "run"))
    states = np.array([p if p == "still" else f"{p}_{w}" for p, w in zip(pace, way, strict=True)])
    events = []
    for start, stop, state in _merged(states, int(0.7 * fps)):
        part = body.span(start, stop)
        turn = part.turn
        side = "l" if turn > 0 else "r"
        if state == "still":
            events += _standing_events(body, start, stop)
            continue
        gait, direction = state.split("_")
        mean = part.path / max(part.seconds, 1e-9)
        distance = part.path
        if distance < 0.6 or part.net < 0.35 and abs(turn) < 200:
            kind = "lively" if part.energy > 0.8 else "steps"
            events.append(Event(start, stop, kind, 0.5))
            continue
        weight = 1.5 + min(distance, 4) / 4
        if gait == "walk" and distance < 1.0:
            events.append(Event(start, stop, f"step_{direction}", weight))
            continue
        if direction != "f":
            events.append(Event(start, stop, f"{gait}_{direction}", weight + 0.5))
            continue
        word = "walk" if gait == "walk" else ("jog" if mean < 2.5 else "run")
        size = abs(turn)
        if size > 280 and distance > 2.0:
            kind = "circle"
        elif size > 215:
            kind = ""
        elif size > 150:
            kind = "back" if part.net < 0.62 * distance else "wide"
        elif size > 115:
            kind = "wide"
        elif size > 66:
            kind = "quarter"
        elif size > 33:
            kind = "veer"
        else:
            kind = ""
        if kind in ("veer", "quarter") and (distance < 1.3 or part.seconds < 1.0):
            kind = ""
        if kind:
            events.append(Event(start, stop, f"{kind}_{side}", weight + 1, word))
        elif word == "walk":
            suffix = "_slow" if mean < 0.72 else "_fast" if mean > 1.45 else ""
            events.append(Event(start, stop, f"walk_f{suffix}", weight))
        else:
            kind = "jog_f" if word == "jog" else "sprint_f" if mean > 3.9 else "run_f"
            events.append(Event(start, stop, kind, weight))
    return events


def _standing_events(body: Measures, start: int, stop: int) -> list[Event]:
    """Turns on the spot, or plain standing, in a stretch without travel."""
    part = body.span(start, stop)
    rate = np.gradient(part.yaw) * body.fps if stop - start > 1 else np.zeros(1)
    events = []
    for sign, side in ((1, "l"), (-1, "r")):
        for first, last in runs_of(sign * rate > 20, frames=int(0.3 * body.fps), gap=int(0.25 * body.fps)):
            size = abs(part.yaw[last - 1] - part.yaw[first])
            kind = "turn_quarter" if 65 < size < 120 else "turn_back" if 145 < size < 215 else ""
            kind = "spin" if size > 300 else kind
            if kind:
                events.append(Event(start + first, start + last, f"{kind}_{side}", 2.0))
    if not events and stop - start >= 0.6 * body.fps:
        hands = part.hand_speed.mean(axis=0)
        edge = int(0.3 * body.fps) if len(part) > 1.2 * body.fps else 0  # slowing down and setting off
        if is_still(part.span(edge, len(part) - edge)):
            events.append(Event(start, stop, "still", 0.6))
        elif hands.min() > 0.3:
            events.append(Event(start, stop, "gesture", 0.7))
        elif hands.max() > 0.3 and hands.max() > 2 * hands.min():
            events.append(Event(start, stop, f"gesture_{SIDES[int(hands.argmax())]}", 0.6))
    return events


def _limb_events(body: Measures) -> list[Event]:
    """Jumps, kicks, punches, raised arms and legs, bends."""
    fps, events = body.fps, []
    flights = jumps(body)
    for start, stop, top in flights:
        ahead = body.span(start, stop).travel
        kind = "jump_high" if top > 0.35 else "hop" if top < 0.13 else "jump_forward" if ahead > 0.55 else "jump"
        events.append(Event(start, stop, kind, 4.0))
    for start, stop, side, top in kicks(body):
        events.append(Event(start, stop, ("kick_high_" if top > 1.15 else "kick_") + SIDES[side], 4.0))
    for start, stop, side in punches(body):
        if body.reach[start:stop, side].max() < 0.6:
            continue  # an arm out to the side may be a jab or a dance
        events.append(Event(start, stop, f"punch_{SIDES[side]}", 3.0))
    busy = [(event.start, event.stop) for event in events]

    def free(start: int, stop: int) -> bool:
        return not any(first < stop and start < last for first, last in busy)

    for start, stop, which in raised_arms(body):
        if which == "both":
            events.append(Event(start, stop, "arms", 2.6))
            continue
        side = SIDES.index(which)
        swings = reversals(hand_sideways(body, side)[start:stop], 0.1) if stop - start > fps else 0
        events.append(Event(start, stop, f"{'wave' if swings >= 3 else 'arm'}_{which}", 2.6))
    out = np.abs(np.stack([hand_sideways(body, side) for side in (0, 1)], axis=1)) > 0.38
    spread = out.all(axis=1) & (np.abs(body.hand_up) < 0.3).all(axis=1) & (body.upright > 0.7)
    events += [Event(start, stop, "arms_out", 2.0) for start, stop in runs_of(spread, int(0.6 * fps), gap=2)]
    for side in (0, 1):
        lifted = (body.toe[:, side] > 0.42) & (body.toe[:, 1 - side] < 0.15) & (body.height > 0.75) & (body.speed < 0.9)
        for start, stop in runs_of(lifted & (body.upright > 0.2), int(0.3 * fps), gap=2):
            if free(start, stop):
                long = stop - start > 1.2 * fps
                kind = f"balance_{SIDES[1 - side]}" if long else f"leg_{SIDES[side]}"
                events.append(Event(start, stop, kind, 2.4))
    tilt = body.joints[:, 12] - body.joints[:, 0]
    ahead = (tilt * body.front).sum(axis=1)
    up = body.height > 0.6
    tilted = np.asarray((body.upright < 0.62) & (body.upright > -0.75) & up)
    for start, stop in runs_of(tilted, int(0.25 * fps), gap=3):
        if body.upright[start:stop].min() < -0.2 and body.toe[start:stop].max() > 0.6 or not free(start, stop):
            continue
        if ahead[start:stop].mean() < 0:
            events.append(Event(start, stop, "bend_back", 2.4))
        else:
            low = body.hand[start:stop].min() < 0.5
            events.append(Event(start, stop, "reach_down" if low else "bend", 3.0))
    return events


def _floor_events(body: Measures) -> list[Event]:
    """Crouching, sitting, crawling, lying, getting up, going over on the hands, climbing."""
    fps, events = body.fps, []
    over = body.upright < -0.35
    for start, stop in runs_of(over, frames=2, gap=int(0.4 * fps)):
        feet = body.toe[start:stop].max()
        near = body.hand[max(0, start - 6) : stop + 6].min() < 0.35
        if feet > 0.9 and near and body.height[start:stop].max() > 0.72:
            events.append(Event(start, stop, "cartwheel", 5.0))
        elif body.height[start:stop].min() < 0.55 and feet > 0.3:
            events.append(Event(start, stop, "roll", 4.0))
    rolled = [(event.start - fps // 2, event.stop + fps // 2) for event in events]
    parts = _merged(_posture(body), max(2, int(0.3 * fps)))
    for index, (start, stop, state) in enumerate(parts):
        if state == "u" or any(first < stop and start < last for first, last in rolled):
            continue
        part = body.span(start, stop)
        seconds = (stop - start) / fps
        fresh = index > 0 and parts[index - 1][2] == "u"
        if state == "h":
            if part.path > 0.4 and part.path / max(seconds, 1e-9) > 0.1:
                events.append(Event(start, stop, "crawl_f" if part.travel > 0 else "crawl_b", 4.0))
            elif seconds > 0.8:
                events.append(Event(start, stop, "all_fours", 2.5))
        elif state == "l" and part.path > 0.6 and part.path / seconds > 0.12:
            events.append(Event(start, stop, "crawl_f" if part.travel > 0 else "crawl_b", 4.0))
        elif state == "l":
            events.append(Event(start, stop, "lie_down" if index and seconds > 0.5 else "lie", 3.5))
        elif state == "s" and seconds > 1.0:
            events.append(Event(start, stop, "sit", 3.0))
        elif state in "cs":
            low = part.hand.min() < 0.3
            if part.net > 0.9:
                events.append(Event(start, stop, "crouch_walk", 3.0))
            elif fresh:
                events.append(Event(start, stop, "reach_down" if low and seconds < 2.5 else "crouch", 3.2))
            elif index == 0:
                events.append(Event(start, stop, "crouched", 2.5))
        if index + 1 < len(parts) and parts[index + 1][2] == "u" and seconds > 0.4:
            events.append(Event(stop, stop + 1, "rise", 2.2))
    for start, stop in runs_of((body.clearance > 0.16) & (body.upright > 0.3), int(1.0 * fps), gap=int(0.2 * fps)):
        high = body.clearance[start:stop].max()
        events.append(Event(start, stop, "climb" if high > 0.5 else "step_up", 3.0))
    return events


def _repeated(events: list[Event]) -> list[Event]:
    """Runs of the same act become one event with a count; lefts and rights in turn become one of both."""
    families = (
        (("jump", "jump_high", "jump_forward"), 3, "jumps"),
        (("hop", "jump", "jump_forward"), 3, "hops"),
        (("kick_left", "kick_right", "kick_high_left", "kick_high_right"), 3, "kicks"),
        (("punch_left", "punch_right"), 3, "punches"),
        (("arms",), 3, "arms_repeat"),
        (("reach_down", "crouch"), 3, "squats"),
    )
    for kinds, least, name in families:
        same = [event for event in events if event.kind in kinds]
        mixed = len({event.kind for event in same}) > 1
        if name == "kicks" and not mixed:
            continue
        if len(same) >= least:
            whole = Event(same[0].start, same[-1].stop, name, max(e.weight for e in same) + 0.5, times=len(same))
            if name == "squats" and any(event.kind == "reach_down" for event in same):
                continue
            gone = [*same, *(event for event in events if name == "squats" and event.kind == "rise")]
            events = [event for event in events if event not in gone]
            events.append(whole)
    counted: dict[str, Event] = {}
    for event in sorted(events, key=lambda e: (e.start, e.stop)):
        held = counted.get(event.kind)
        if held is None:
            counted[event.kind] = event
        elif event.kind.startswith(("kick", "punch", "jump", "hop", "arm_", "leg_", "reach")):
            counted[event.kind] = replace(held, stop=event.stop, times=held.times + 1)
        elif event.stop - event.start > held.stop - held.start:
            counted[event.kind] = event
    return sorted(counted.values(), key=lambda e: e.start + e.stop)


def _transitions(gait: Sequence[Event], body: Measures) -> list[Event]:
    """Gaits in order, where one that begins, ends or changes is called so, and there and back is one event."""
    told: list[Event] = []
    for event in sorted(gait, key=lambda e: (e.start, e.stop)):
        before = told[-1] if told else None
        pace = _pace(event)
        if before is not None and event.kind == "still" and _pace(before):
            event = replace(event, kind="stop", weight=1.3)
        elif before is not None and pace and before.kind in ("still", "stop"):
            if before.kind == "still":
                told[-1] = replace(before, weight=1.2)
            if event.kind.startswith(("walk_f", "jog_f", "run_f", "sprint_f")):
                event = replace(event, kind="off_walk" if pace == "walk" else "off_run")
        elif before is not None and pace and _pace(before) and pace != _pace(before):
            if event.kind.startswith(("walk_f", "jog_f", "run_f", "sprint_f")) and before.kind != "walk_b":
                event = replace(event, kind=f"into_{pace}")
        ahead = ("walk_f", "jog_f", "run_f")
        turned = len(told) > 1 and told[-1].kind.startswith("turn_back") and told[-2].kind.startswith(ahead)
        if turned and event.kind.startswith(ahead):
            whole = body.span(told[-2].start, event.stop)
            if whole.net < 0.6 * whole.path:
                side = told[-1].kind[-2:]
                event = Event(told[-2].start, event.stop, "back" + side, event.weight + 1, _pace(told[-2]))
                del told[-2:]
        told.append(event)
    return told


def _pace(event: Event) -> str:
    """``walk``, ``jog`` or ``run`` where the event is going on foot, else nothing."""
    word = event.kind.split("_")[0]
    if word in ("circle", "veer", "quarter", "wide", "back"):
        return event.gait
    if word in ("off", "into"):
        return event.kind.split("_")[1]
    return {"walk": "walk", "jog": "jog", "run": "run", "sprint": "run"}.get(word, "")


def _jacks(body: Measures, events: list[Event]) -> list[Event]:
    """The events with the parts of jumping jacks put together into one."""
    found = jumping_jacks(body)
    if found is None:
        return events
    parts = ("arms", "jump", "hop", "arms_out", "jumps", "hops", "arm_left", "arm_right", "lively", "gesture", "steps")
    return [*(event for event in events if event.kind not in parts), Event(*found, "jacks", 5.0)]


def events_of(body: Measures) -> list[Event]:
    """What happens in a measured window, in order, at most four things, the most telling ones."""
    floor, limbs = _floor_events(body), _limb_events(body)
    special = [event for event in floor if event.kind in ("cartwheel", "roll", "climb", "crawl_f", "crawl_b", "lie")]
    margin = int(0.4 * body.fps)

    def inside(event: Event, others: Sequence[Event], margin: int = 0) -> bool:
        middle = (event.start + event.stop) / 2
        return any(other.start - margin <= middle <= other.stop + margin for other in others)

    limbs = [event for event in limbs if not inside(event, special, margin)]
    limbs = _jacks(body, limbs)
    down = [event for event in floor if event.kind in ("reach_down", "crouch", "crouched", "sit", "all_fours")]
    bends = ("bend", "reach_down", "bend_back")
    limbs = [event for event in limbs if not (event.kind in bends and inside(event, down, 6))]
    for event in limbs:
        if event.kind == "reach_down":
            floor = [other for other in floor if not (other.kind == "crouch" and inside(other, [event], 6))]
    strong = special + down + [event for event in floor if event.kind in ("lie_down", "crouch_walk", "step_up")]
    gait = []
    for event in _gait_events(body):
        shared = sum(max(0, min(event.stop, o.stop) - max(event.start, o.start)) for o in strong)
        if shared > 0.5 * (event.stop - event.start):
            continue
        acts = [other for other in limbs if other.start < event.stop and event.start < other.stop]
        if event.kind in ("still", "gesture", "gesture_left", "gesture_right", "steps", "lively") and acts:
            continue
        if any(other.kind in ("jacks", "kicks", "punches") for other in acts) and event.weight < 2.6:
            continue
        if (
            special
            and event.kind[:4] in ("circ", "veer", "quar", "wide", "back", "turn", "spin")
            and any(other.kind in ("cartwheel", "roll") and inside(other, [event], margin) for other in special)
        ):
            continue
        leaps = [other for other in acts if other.kind.startswith(("jump", "hop", "kick"))]
        if len(leaps) == 1 and event.kind.startswith(("walk_f", "jog_f", "run_f", "sprint_f")):
            first, last = leaps[0].start, leaps[0].stop
            if first - event.start > body.fps and event.stop - last > body.fps:
                word = event.kind.split("_")[0].replace("sprint", "run")
                gait += [replace(event, stop=first), Event(last, event.stop, f"{word}_on", 1.2)]
                continue
        gait.append(event)
    moving = [event for event in gait if event.weight >= 1.5]
    limbs = [
        event
        for event in limbs
        if not (event.kind.startswith(("punch", "arms_out")) and inside(event, moving) and event.weight < 3.0)
    ]
    events = _repeated([*floor, *limbs, *_transitions(gait, body)])
    hopping = [event for event in events if event.kind == "hops"]
    if hopping and any(event.kind.startswith(("walk_f", "jog_f", "run_f")) for event in events):
        events = [replace(e, kind="skips") if e in hopping else e for e in events]
    while len(events) > 4:
        events.remove(min(events, key=lambda event: event.weight))
    solid = [event for event in events if event.weight >= 1.0]
    if len(solid) >= 2 or solid and body.seconds < 3.5:
        events = [event for event in events if event.weight >= 1.0 or event.kind == "still" and body.seconds > 4]
    return events


def _say(event: Event, rng: np.random.Generator, form: str) -> str:
    """One phrase for an event in the form asked for (``third``: walks; ``gerund``: walking)."""
    options = PHRASES[event.kind]
    phrase = options[int(rng.integers(len(options)))].replace("{gait}", GAITS[event.gait])
    text = re.sub(r"\*(\w+)", lambda found: conjugate(found.group(1), form), phrase)
    if event.times > 1 and event.kind.split("_")[0] in ("kick", "punch", "jump", "hop"):
        text += COUNTED["twice" if event.times == 2 else "thrice" if event.times == 3 else "many"]
    return text


def _sentence(events: Sequence[Event], rng: np.random.Generator) -> str:
    subject = SUBJECTS[int(rng.integers(len(SUBJECTS)))]
    if len(events) == 1:
        if events[0].kind not in ("all_fours", "lie", "sit") and rng.random() < 0.3:
            return f"{subject} is {_say(events[0], rng, 'gerund')}"
        return f"{subject} {_say(events[0], rng, 'third')}"
    said = [_say(event, rng, "third") for event in events]
    if len(said) == 2:
        pattern = ("{0}, then {1}", "{0} and then {1}", "{0} and {1}", "{0} before {g}", "first {0} and then {1}",
                   "{0} and after that {1}", "{0}, and finally {1}")[int(rng.integers(7))]  # fmt: skip
        text = pattern.format(*said, g=_say(events[1], rng, "gerund") if "{g}" in pattern else "")
        return f"{subject} {text}"
    if len(said) == 3:
        pattern = ("{0}, {1} and then {2}", "{0}, then {1} and {2}", "{0}, then {1}, and finally {2}",
                   "first {0}, then {1} and at the end {2}", "{0}, {1} and {2}")[int(rng.integers(5))]  # fmt: skip
        return f"{subject} {pattern.format(*said)}"
    return f"{subject} {said[0]}, {said[1]}, then {', '.join(said[2:-1])} and finally {said[-1]}"


def describe(joints: np.ndarray, fps: float) -> list[str]:
    """What a movement of a few seconds shows, in 3 to 8 different sentences.

    Args:
        joints: ``(T, 22, 3)`` positions in SMPL-22 order, metres, +Y up, standing on any level floor.
        fps: frames per second.

    Returns:
        Lower-case sentences without a full stop, all different, all about the same measured events; the fullest
        account comes first. An empty list when nothing can be said for certain.

    Raises:
        ValueError: the shape is another, or there are fewer than 2 frames.

    >>> import numpy as np
    >>> from hftrainer.motion.skeleton import SMPL22
    >>> body = np.zeros((22, 3))
    >>> for joint, parent in enumerate(SMPL22.parents[1:], 1):
    ...     body[joint] = body[parent] + SMPL22.rest[joint]
    >>> sentences = describe(np.repeat(body[None], 60, axis=0), fps=20)
    >>> len(sentences) >= 3 and sentences == describe(np.repeat(body[None], 60, axis=0), fps=20)
    True
    """
    return sentences_of(measure(joints, fps))


def sentences_of(body: Measures) -> list[str]:
    """``describe`` for a body that is measured already."""
    events = events_of(body)
    if not events and body.spread < 0.4 and body.height.min() > 0.8 and body.upright.min() > 0.6:
        events = [Event(0, len(body), "stand")]
    if not events:
        return []
    seed = hashlib.sha256(np.round(np.asarray(body.joints, dtype=np.float32), 3).tobytes()).digest()
    rng = np.random.default_rng(int.from_bytes(seed[:8], "little"))
    wanted = 4 + int(rng.integers(3)) + (len(events) > 1)
    sentences = [_sentence(events, rng)]
    main = max(events, key=lambda event: event.weight)
    for attempt in range(40):
        if len(sentences) >= min(wanted, 8):
            break
        part: Sequence[Event] = events
        if attempt % 3 == 2 and main.weight >= 1.5:
            part = [main]
        elif attempt % 3 == 1 and len(events) > 2:
            part = [event for event in events if event.weight >= 1.5] or events
        sentence = _sentence(part, rng)
        if sentence not in sentences:
            sentences.append(sentence)
    return sentences


def plain_sentences_of(body: Measures) -> list[str]:
    """Up to three short sentences about what happens, in the words that come first to mind, without the details.

    >>> import numpy as np
    >>> from hftrainer.bench import moving_body
    >>> all(sentence.count(" ") < 24 for sentence in plain_sentences_of(measure(moving_body(80, 0), 20.0)))
    True
    """
    told = [event for event in events_of(body) if event.weight >= 1.0 or event.kind in ("still", "stop")]
    up = bool(body.upright[-1] > 0.75 and body.height[-1] > 0.75)
    if up and any(event.kind == "reach_down" for event in told):
        told = [event for event in told if event.kind != "rise"]
    if not told or len(told) > 3:
        return []
    seed = hashlib.sha256(b"plain" + np.round(np.asarray(body.joints, dtype=np.float32), 3).tobytes()).digest()
    rng = np.random.default_rng(int.from_bytes(seed[:8], "little"))

    def say(event: Event) -> str:
        kinds = [kind for kind in PLAIN if event.kind.startswith(kind)]
        options = PLAIN[max(kinds, key=len)] if kinds else PHRASES[event.kind][:2]
        if event.kind == "reach_down" and up:
            options = PICKED
        phrase = options[int(rng.integers(len(options)))].replace("{gait}", GAITS[event.gait])
        return re.sub(r"\*(\w+)", lambda found: conjugate(found.group(1), "third"), phrase)

    sentences: dict[str, None] = {}
    for _ in range(3):
        said = [say(event) for event in told]
        patterns = {1: ("{0}",), 2: ("{0} and then {1}", "{0}, then {1}", "{0} and {1}")}
        three = ("{0}, {1} and then {2}", "{0}, {1} and {2}", "{0}, then {1}, then {2}")
        pattern = patterns.get(len(said), three)
        who = ("a person", "a person", "someone", "the person")[int(rng.integers(4))]
        sentences[f"{who} {pattern[int(rng.integers(len(pattern)))].format(*said)}"] = None
    return list(sentences)
