"""Finding the 22 joints of SMPL in a skeleton never seen before: by its joint names, else by its shape."""

from __future__ import annotations

import os.path
import re
from collections.abc import Sequence

import numpy as np

from hftrainer.motion.files.mapping import Mapping, known_skeleton
from hftrainer.motion.skeleton import SMPL22

Spot = dict[str, float]

#: Words for each part of the body, the surest first, without side, numbers and joints between letters.
_LIMBS = {
    "hip": ("upleg", "upperleg", "thigh", "femur", "legupper", "hipjoint", "hjc", "hip", "hipjointcenter"),
    "knee": ("lowleg", "lowerleg", "calf", "shin", "tibia", "knee", "kjc", "crus", "leglower", "leg",
             "kneejointcenter"),
    "ankle": ("ankle", "ajc", "talus", "anklejoint", "foot", "anklejointcenter"),
    "foot": ("toebase", "toe", "toes", "ball", "forefoot", "mtp", "bigtoe", "foottoe", "foot"),
    "collar": ("clavicle", "collar", "clav", "collarbone", "innershoulder", "scapula", "shoulder"),
    "shoulder": ("upperarm", "uparm", "armupper", "humerus", "shldr", "sjc", "arm", "shoulder", "shoulderjointcenter"),
    "elbow": ("forearm", "lowerarm", "lowarm", "armlower", "radius", "ulna", "elbow", "ejc", "elbowjointcenter"),
    "wrist": ("wrist", "wjc", "hand", "palm", "wristjointcenter"),
}
_MIDDLE = {
    "pelvis": ("hips", "pelvis", "hip", "midhip", "hipcenter", "pelvisjoint", "sacrum", "root"),
    "neck": ("neck", "cervical", "midshoulder", "lowerneck"),
    "head": ("head", "skull", "headjoint", "midhead", "upperneck"),
}
_SPINE = ("spine", "lowerback", "abdomen", "lumbar", "torso", "waist", "belly", "chest", "thorax", "upperback",
          "upperchest", "stomach")  # fmt: skip
_SIDES = {"left": "left", "l": "left", "lft": "left", "lt": "left",
          "right": "right", "r": "right", "rgt": "right", "rt": "right"}  # fmt: skip
_IDLE = {"bip", "mixamorig", "def", "jnt", "bind", "joint", "bone", "jc", "j", "ik", "b"}
_KNOWN = {word for words in (*_LIMBS.values(), *_MIDDLE.values(), _SPINE) for word in words}


def split_name(name: str) -> tuple[str, str]:
    """Side and part of a joint name; either may be empty.

    >>> split_name("mixamorig:LeftUpLeg"), split_name("thigh_r"), split_name("LKJC"), split_name("Bip01 L Foot")
    (('left', 'upleg'), ('right', 'thigh'), ('left', 'kjc'), ('left', 'foot'))
    """
    plain = re.split(r"[:|/]", name)[-1]
    plain = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", plain)
    plain = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1 \2", plain)
    words = [word for word in re.split(r"[^A-Za-z]+", plain.lower()) if word and word not in _IDLE]
    side = ""
    for word in list(words):
        if word in _SIDES and not side:
            side = _SIDES[word]
            words.remove(word)
    part = "".join(words)
    if not side and part not in _KNOWN:
        for mark in ("left", "right", "l", "r"):
            for cut in (part.removeprefix(mark), part.removesuffix(mark)):
                if cut != part and cut in _KNOWN and not side:
                    side, part = _SIDES[mark], cut
    return side, part


def match_joints(
    names: Sequence[str], file: str, parents: Sequence[int] | None = None, pose: np.ndarray | None = None
) -> Mapping:
    """The mapping of a skeleton: a known one, else by the words in its joint names, else by the shape of its tree.

    Args:
        names: joint or marker names, the far end of a last bone as ``"NAME@end"``.
        file: what error messages call the source.
        parents: parent of each joint, -1 for the root, where there is a tree.
        pose: ``(J, 3)`` where the joints are in some ordinary pose, for the shape.

    Raises:
        ValueError: some of the 22 joints cannot be found; the message says which, and what is there.

    >>> known = match_joints(["pelvis", "left_hip", *SMPL22.joints[2:]], "a.bvh")
    >>> known.skeleton, known.spots["left_hip"]
    ('smpl', {'left_hip': 1.0})
    """
    known = known_skeleton(names)
    if known is not None:
        return known
    spots, absent = _by_words(names, parents)
    if not absent:
        return Mapping(spots, "names")
    shaped = None if parents is None or pose is None else _by_shape(names, parents, np.asarray(pose))
    if shaped is not None:
        return Mapping(shaped, "shape")
    there = ", ".join(name for name in names if not name.endswith("@end"))
    raise ValueError(
        f"{file}: the skeleton must have names or a shape that tell its joints; {', '.join(absent)} cannot be told. "
        f"It has joints {there}. Write a mapping file and pass it."
    )


# ---------------------------------------------------------------------------------------------- by words


def _by_words(names: Sequence[str], parents: Sequence[int] | None) -> tuple[dict[str, Spot], list[str]]:
    """Spots of the 22 joints, and those that no name tells."""
    ends = {name for name in names if name.endswith("@end")}
    common = os.path.commonprefix([name for name in names if name not in ends])
    common = re.sub(r"[A-Za-z0-9]*$", "", common)  # a rig's own prefix, such as CC_Base_
    parts = {name: split_name(name.removeprefix(common)) for name in names}
    by_part: dict[tuple[str, str], str] = {}
    for name in names:
        if name not in ends:
            by_part.setdefault(parts[name], name)
    taken: set[str] = set()
    found: dict[str, Spot] = {}

    def take(joint: str, side: str, words: Sequence[str]) -> None:
        for word in words:
            name = by_part.get((side, word))
            if name is not None and name not in taken:
                found[joint] = {name: 1.0}
                taken.add(name)
                return

    for side in ("left", "right"):
        for part in ("hip", "knee", "ankle", "foot", "shoulder", "elbow", "wrist", "collar"):
            take(f"{side}_{part}", side, _LIMBS[part])
        for joint, above in (("foot", "ankle"), ("wrist", "elbow")):
            last = next(iter(found.get(f"{side}_{above}", {})), "")
            if f"{side}_{joint}" not in found and f"{last}@end" in ends:
                found[f"{side}_{joint}"] = {f"{last}@end": 1.0}
    for joint, words in _MIDDLE.items():
        take(joint, "", words)
    hips, shoulders = (_middle(found, f"left_{part}", f"right_{part}") for part in ("hip", "shoulder"))
    if "pelvis" not in found and hips:
        found["pelvis"] = hips
    if "neck" not in found and shoulders:
        found["neck"] = shoulders
    if {"pelvis", "neck"} <= found.keys():
        spine = _between(names, parents, found["pelvis"], found["neck"])
        if spine is None:
            spine = [name for name in names if name not in taken | ends and not parts[name][0]
                     and parts[name][1] in _SPINE]  # fmt: skip
        found.update(_spine(found["pelvis"], [{name: 1.0} for name in spine], found["neck"]))
        if "head" not in found:
            end = next((f"{name}@end" for name in found["neck"] if f"{name}@end" in ends), None)
            found["head"] = {end: 1.0} if end else _mix(found["pelvis"], found["neck"], 1.2)
        for side in ("left", "right"):
            if f"{side}_collar" not in found and f"{side}_shoulder" in found:
                found[f"{side}_collar"] = _mix(found["neck"], found[f"{side}_shoulder"], 0.33)
    return found, [joint for joint in SMPL22.joints if joint not in found]


def _between(names: Sequence[str], parents: Sequence[int] | None, pelvis: Spot, neck: Spot) -> list[str] | None:
    """Joints between pelvis and neck in a tree, lower ones first; ``None`` where the tree does not tell."""
    if parents is None or len(pelvis) > 1 or len(neck) > 1:
        return None
    first, joint = names.index(next(iter(pelvis))), names.index(next(iter(neck)))
    line: list[int] = []
    while joint >= 0 and joint != first:
        joint = parents[joint]
        line.insert(0, joint)
    return [names[j] for j in line[1:]] if joint == first else None


def _mix(start: Spot, stop: Spot, share: float) -> Spot:
    """The point that lies ``share`` of the way from one spot to another."""
    mixed = {name: value * (1 - share) for name, value in start.items()}
    for name, value in stop.items():
        mixed[name] = mixed.get(name, 0.0) + value * share
    return mixed


def _middle(found: dict[str, Spot], left: str, right: str) -> Spot | None:
    return _mix(found[left], found[right], 0.5) if left in found and right in found else None


def _spine(pelvis: Spot, between: list[Spot], neck: Spot) -> dict[str, Spot]:
    """Three spine joints out of as many as there are between pelvis and neck."""
    if not between:
        three = [_mix(pelvis, neck, share) for share in (0.22, 0.48, 0.6)]
    elif len(between) == 1:
        three = [_mix(pelvis, between[0], 0.5), between[0], _mix(between[0], neck, 0.35)]
    elif len(between) == 2:
        three = [*between, _mix(between[1], neck, 0.5)]
    else:
        three = [between[round(at)] for at in np.linspace(0, len(between) - 1, 3)]
    return dict(zip(("spine1", "spine2", "spine3"), three, strict=True))


# ---------------------------------------------------------------------------------------------- by shape


def _by_shape(names: Sequence[str], parents: Sequence[int], pose: np.ndarray) -> dict[str, Spot] | None:
    """Spots told by the tree alone: two legs from the first fork, two arms and a neck from the next."""
    children: list[list[int]] = [[] for _ in names]
    for joint, parent in enumerate(parents):
        if parent >= 0:
            children[parent].append(joint)

    def size(joint: int) -> int:
        return 1 + sum(map(size, children[joint]))

    def long(joint: int) -> list[int]:
        """Children that are limbs of their own, not fingers or helpers: three joints deep or more."""
        return [child for child in children[joint] if depth(child) >= 2]

    def depth(joint: int) -> int:
        return 1 + max((depth(child) for child in children[joint]), default=0)

    def chain(joint: int) -> list[int]:
        line = [joint]
        while children[line[-1]]:
            line.append(max(children[line[-1]], key=depth))
        return line

    def fork(joint: int) -> int | None:
        while len(long(joint)) < 3:
            if not long(joint):
                return None
            joint = max(long(joint), key=size)
        return joint

    pelvis = fork(0)
    if pelvis is None:
        return None
    trunk = next((c for c in sorted(long(pelvis), key=size, reverse=True) if fork(c) is not None), None)
    if trunk is None:
        return None
    chest = fork(trunk)
    assert chest is not None
    legs = sorted((c for c in long(pelvis) if c != trunk), key=size, reverse=True)[:2]
    limbs = [chain(c) for c in long(chest)]
    up = pose[chest] - pose[pelvis]
    neck = max(limbs, key=lambda limb: float((pose[limb[-1]] - pose[chest]) @ up) / (1e-9 + np.linalg.norm(
        np.cross(pose[limb[-1]] - pose[chest], up))))  # fmt: skip
    arms = sorted((limb for limb in limbs if limb is not neck), key=len, reverse=True)[:2]
    if len(legs) < 2 or len(arms) < 2:
        return None
    feet = [chain(leg) for leg in legs]
    if min(map(len, feet)) < 4 or min(map(len, arms)) < 3:
        return None
    forward = sum((pose[foot[3]] - pose[foot[2]] for foot in feet), np.zeros(3))
    left = np.cross(up, forward)
    feet.sort(key=lambda foot: -float(pose[foot[1]] @ left))
    arms.sort(key=lambda arm: -float(pose[arm[-1]] @ left))
    if np.linalg.norm(left) < 1e-9:
        return None

    def spot(joint: int) -> Spot:
        return {names[joint]: 1.0}

    line: list[int] = []
    joint = chest
    while joint != pelvis:
        line.insert(0, joint)
        joint = parents[joint]
    found = {"pelvis": spot(pelvis), "neck": spot(neck[0])}
    found["head"] = spot(neck[1]) if len(neck) > 1 else _mix(found["pelvis"], found["neck"], 1.2)
    found.update(_spine(found["pelvis"], [spot(j) for j in line], found["neck"]))
    for side, foot, arm in zip(("left", "right"), feet, arms, strict=True):
        for part, at in zip(("hip", "knee", "ankle", "foot"), foot, strict=False):
            found[f"{side}_{part}"] = spot(at)
        lengths = [float(np.linalg.norm(pose[b] - pose[a])) for a, b in zip(arm, arm[1:], strict=False)]
        first = int(np.argmax([a + b for a, b in zip(lengths, lengths[1:], strict=False)]))  # upper arm, forearm
        for part, at in zip(("shoulder", "elbow", "wrist"), arm[first:], strict=False):
            found[f"{side}_{part}"] = spot(at)
        found[f"{side}_collar"] = spot(arm[first - 1]) if first else _mix(found["neck"], spot(arm[0]), 0.33)
    return found if len(found) == len(SMPL22.joints) else None
