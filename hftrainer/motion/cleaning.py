"""Clean-up of a motion: feet that stand stand still, on the ground; bones keep their lengths; jerks have a limit.

``clean`` takes a Motion and gives a Motion. In order: contacts are found (``contacts.py``), the body is put on the
ground it stands on, chatter and jerk above what people do are drawn down (``tracks.py``), the skeleton is made rigid,
each foot gets a path that is still while it stands and bends smoothly into the old one in between, the pelvis gives way
where a leg would be too short, and thigh and shin follow by two-bone inverse kinematics.

Conventions: metres, +Y up, SMPL-22 joint order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hftrainer.motion.clip import Motion
from hftrainer.motion.contacts import FEET, Contacts, find_contacts, levels
from hftrainer.motion.measure import facing
from hftrainer.motion.representation.hml263 import hml263_to_joints, joints_to_hml263
from hftrainer.motion.representation.ik import joints_to_rotations, t_pose
from hftrainer.motion.representation.motion135 import (
    body_offsets,
    local_rotations,
    motion135_to_joints,
    motion135_to_rotations,
    pelvis_place,
    pose_joints,
    rotations_to_motion135,
    world_rotations,
)
from hftrainer.motion.skeleton import SMPL22
from hftrainer.motion.tracks import jerk_limited, settle

#: What can be cleaned as it is.
CLEANED = ("joints", "hml263", "motion135")
#: Fewest frames.
SHORTEST = 4

#: The jerk of recorded people (``tracks.jerk``) is under this in 9 of 10 frames, m/s^3: 95 clips at 20 fps, rounded.
JERK_LIMITS = {
    "pelvis": 115, "hip": 130, "spine1": 140, "spine2": 145, "spine3": 150, "neck": 200, "collar": 175, "head": 225,
    "shoulder": 205, "elbow": 265, "wrist": 355, "knee": 280, "ankle": 380, "foot": 480,
}  # fmt: skip

_LEGS = ((1, 4, 7, 10), (2, 5, 8, 11))  # hip, knee, ankle, toe
#: Joints at a constant distance: bones, and what keeps hips and lower spine, neck and collars in shape.
_TIES = (
    *((parent, joint) for joint, parent in enumerate(SMPL22.parents) if parent >= 0),
    (1, 2), (1, 3), (2, 3), (12, 13), (12, 14), (13, 14),
)  # fmt: skip
_CHATTER = 5.0  # Hz; whole-body capture is customarily cut at 4 to 6 (Winter, Biomechanics and Motor Control, 2009)
_TAU = 0.1  # s; how long before and after a contact its correction lasts
_TAU_UP = 0.08  # s; likewise, for its height: a short flight is not bent down
_STILL = 3e3  # how much a step of a standing joint counts beside the way that it is away from its old path
_PIN = 3e3  # how much its height does
_CLEAR = 0.03  # m; how high toes that move are over where toes stand
_EASE = 0.1  # s; how long before and after the pelvis gives way
_ALOFT = 300.0  # how much more a body keeps its way in the air
_REACH = 0.998  # a leg is not stretched beyond this share of itself, unless it was before
_STRAIGHT = 0.005  # m; a knee that sticks out less than this bends to the front


@dataclass(frozen=True)
class Cleaning:
    """What is done to a motion; all of it by default.

    Attributes:
        smooth: take out what swings faster than 5 Hz, and draw jerk above the limits down to them.
        ground: put the body on the ground that it stands on, at height 0.
        feet: hold feet that stand.
        limits: how many times ``JERK_LIMITS`` and 5 Hz the limits are.
    """

    smooth: bool = True
    ground: bool = True
    feet: bool = True
    limits: float = 1.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.limits) and self.limits > 0):
            raise ValueError(f"limits must be a number above 0; got {self.limits}. 1 is what recorded people do.")


def clean(motion: Motion, how: Cleaning | None = None) -> Motion:
    """The same movement with feet that do not slide, float or sink, bones that do not stretch, and no jolts.

    A movement in the air stays there: only what stands is held, and a clip in which nothing stands is not moved to the
    ground. Rigid bones keep their lengths; those that stretch get the length that they mostly have.

    Args:
        motion: ``joints``, ``hml263`` or ``motion135`` of at least 4 frames. hml263 goes through joints and is encoded
            again, at the origin, facing +Z, and keeps its number of frames; the others keep their place, but for the
            height of the ground.
        how: what to do; all of it by default.

    Returns:
        A new motion of the same representation, rate and length; ``about["cleaned"]`` says what was done.

    Raises:
        ValueError: another representation, or too few frames.

    >>> motion = Motion(np.ones((8, 22, 3)), "joints", fps=20)
    >>> clean(motion)
    Motion(joints, 8 frames, 20 fps)
    """
    how = how or Cleaning()
    spec = motion.representation.name
    if spec not in CLEANED:
        raise ValueError(
            f"{motion.name}: clean-up must get one of {', '.join(CLEANED)}; got {spec}. Convert it to one of those."
        )
    if len(motion) < SHORTEST:
        raise ValueError(f"{motion.name}: clean-up needs at least {SHORTEST} frames; got {len(motion)}.")
    steps = [name for name in ("ground", "smooth", "feet") if getattr(how, name)]
    motion = motion.replace(about={**motion.about, "cleaned": steps})
    if spec == "joints":
        joints = np.asarray(motion.data, dtype=np.float64)
        return motion.replace(data=clean_joints(joints, motion.fps, how=how))
    if spec == "hml263":
        joints = hml263_to_joints(motion.data).astype(np.float64)
        joints = clean_joints(joints, motion.fps, reference_body(joints), how)
        joints = np.concatenate([joints, 2 * joints[-1:] - joints[-2:-1]])  # encoding costs a frame: one more first
        return motion.replace(data=joints_to_hml263(joints, name=motion.name))
    joints = motion135_to_joints(motion.data, name=motion.name)
    turns, _ = motion135_to_rotations(motion.data, name=motion.name)
    cleaned = clean_joints(joints, motion.fps, body_offsets(), how)
    local = _followed(turns, joints, cleaned)
    return motion.replace(data=rotations_to_motion135(local, cleaned[:, 0] - pelvis_place(), name=motion.name))


def reference_body(joints: np.ndarray) -> np.ndarray:
    """``(22, 3)`` rest offsets of HumanML3D's body, on which every hml263 clip is: a T-pose with its bone lengths.

    Args:
        joints: ``(T, 22, 3)`` metres, which say how hips, spine, neck and collars stand to each other.
    """
    rest = t_pose(joints)
    length = np.linalg.norm(rest, axis=-1, keepdims=True)
    offsets = SMPL22.offsets
    return np.where(length > 1e-6, rest / np.maximum(length, 1e-6), SMPL22.directions) * np.linalg.norm(
        offsets, axis=-1, keepdims=True
    )  # fmt: skip


def clean_joints(
    joints: np.ndarray, fps: float, rest: np.ndarray | None = None, how: Cleaning | None = None
) -> np.ndarray:
    """Joint positions of ``clean``.

    Args:
        joints: ``(T, 22, 3)`` metres.
        fps: frames per second.
        rest: ``(22, 3)`` rest offsets of the body; by default a T-pose with the bone lengths of the clip.
        how: what to do.

    Returns:
        ``(T, 22, 3)`` float64, rigid.
    """
    how = how or Cleaning()
    joints = np.array(joints, dtype=np.float64)
    contacts = find_contacts(joints, fps)
    rest = t_pose(joints) if rest is None else rest
    ground = 0.0 if contacts.ground is None else contacts.ground
    if how.ground:
        joints[..., 1] -= ground
        contacts, ground = replace(contacts, ground=0.0), 0.0
    if how.smooth:
        kept = np.zeros(joints.shape[:2])
        if not how.feet:  # else they are held below, and what they tremble is not worth keeping
            kept[:, FEET] = 30 * contacts.hold
        limits, chatter = how.limits * _limits(), how.limits * _CHATTER
        joints = jerk_limited(joints, fps, limits, kept, chatter=chatter)
    body = _rigid(joints, rest)
    if how.smooth:  # where a bone had shrunk, its direction may tremble
        body = _rigid(jerk_limited(body, fps, limits, kept, chatter=chatter), rest)
    if not how.feet:
        return body
    paths, least = _foot_paths(joints, contacts, ground, fps)
    return _on_feet(body, paths, least, contacts, fps)


def _rigid(joints: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """The joints of a rigid body that are near given ones.

    Bones are drawn to their lengths from both ends, over and over, hips and collars kept in shape; the rest, less than
    a millimetre, is done by rotations. Following directions alone would add up what bones had stretched.
    """
    place = np.zeros((22, 3))
    for joint, parent in enumerate(SMPL22.parents[1:], 1):
        place[joint] = place[parent] + rest[joint]
    near = np.moveaxis(joints, 1, 0).copy()
    for _ in range(16):
        for one, two in _TIES:
            line = near[two] - near[one]
            length = np.linalg.norm(line, axis=-1, keepdims=True)
            line *= 0.5 * (1 - np.linalg.norm(place[two] - place[one]) / np.maximum(length, 1e-6))
            near[one] += line
            near[two] -= line
    near = np.moveaxis(near, 0, 1)
    return pose_joints(joints_to_rotations(near, rest, twist="none"), near[:, 0], rest)


def _limits() -> np.ndarray:
    return np.array([float(JERK_LIMITS[name.rpartition("_")[2]]) for name in SMPL22.joints])


def _foot_paths(
    joints: np.ndarray, contacts: Contacts, ground: float, fps: float
) -> tuple[np.ndarray, np.ndarray]:
    """``(T, 4, 3)`` where ankles and toes go, and ``(T, 4)`` the least height they may have there.

    They are still while they stand, go as before far from that, and smoothly between.
    The correction is solved for, not the path: its curvature and its size are small, and with it a standing joint
    takes no step. So the old path shows through wherever nothing stands.
    """
    tracks = np.moveaxis(joints[:, FEET], 0, 1)  # (4, T, 3)
    frames = tracks.shape[1]
    scale = _TAU * fps
    hold = contacts.hold.T
    step = _STILL * np.minimum(hold[:, 1:], hold[:, :-1])
    bend = np.full((4, frames - 2), scale**4)
    # a minimum of |u|^2 + step |D(p + u)|^2 + bend |DDu|^2: the target that gives the right-hand side -D'(step Dp)
    pull = np.zeros_like(tracks)
    moved = step[..., None] * np.diff(tracks, axis=1)
    pull[:, :-1] += moved
    pull[:, 1:] -= moved
    ones = np.ones((4, frames))
    paths = tracks + settle(pull, ones, ((1, step), (2, bend)))
    height, firm = (part.T for part in levels(joints, contacts, ground))
    pins = _PIN * firm
    step = _STILL * np.minimum(firm[:, 1:], firm[:, :-1])
    moved = step * np.diff(tracks[..., 1], axis=1)
    pull = pins * (height - tracks[..., 1])
    pull[:, :-1] += moved
    pull[:, 1:] -= moved
    speed = np.linalg.norm(np.gradient(tracks[..., [0, 2]], axis=1), axis=-1) * fps
    least = ground + _CLEAR * np.clip((speed - 0.3) / 0.4, 0.0, 1.0)  # toes are lifted over the ground, not drawn
    least[[0, 2]] = -np.inf
    raised = np.zeros((4, frames), bool)
    stiff = np.full_like(bend, (_TAU_UP * fps) ** 4)
    for _ in range(6):
        lift = np.where(raised, least - tracks[..., 1], 0.0)
        weight = ones + pins + _PIN * raised
        right = pull + _PIN * raised * lift
        paths[..., 1] = tracks[..., 1] + settle((right / weight)[..., None], weight, ((1, step), (2, stiff)))[..., 0]
        below = (paths[..., 1] < least - 1e-3) & (firm < 0.5)
        if not (below & ~raised).any():
            break
        raised |= below
    return np.moveaxis(paths, 1, 0), least.T


def _on_feet(
    body: np.ndarray, paths: np.ndarray, least: np.ndarray, contacts: Contacts, fps: float
) -> np.ndarray:
    """A rigid body whose feet go along paths: pelvis, then thighs and shins, then toes."""
    lengths = SMPL22.bone_lengths(body).mean(axis=0)
    feet = np.stack([_rigid_foot(paths[:, 2 * n : 2 * n + 2], contacts.hold[:, 2 * n : 2 * n + 2], lengths[leg[3]])
                     for n, leg in enumerate(_LEGS)], axis=1)  # (T, 2, 2, 3)  # fmt: skip
    hips, ankles = body[:, [1, 2]], body[:, [7, 8]]
    whole = np.array([lengths[knee] + lengths[ankle] for _, knee, ankle, _ in _LEGS])
    before = np.linalg.norm(ankles - hips, axis=-1)
    reach = np.minimum(np.maximum(_REACH * whole, before), whole * (1 - 1e-6))  # (T, 2)
    shift = _give_way(hips, feet[:, :, 0], reach, contacts.hold.max(axis=1), fps)
    out = body + shift[:, None]
    ahead = facing(body)
    for n, (hip, knee, ankle, toe) in enumerate(_LEGS):
        line = feet[:, n, 0] - out[:, hip]
        far = np.linalg.norm(line, axis=-1, keepdims=True)
        goal = out[:, hip] + line * np.minimum(1.0, reach[:, n, None] / np.maximum(far, 1e-9))
        old = body[:, [hip, knee, ankle]] + shift[:, None]
        out[:, knee], out[:, ankle] = two_bones(old, goal, lengths[knee], lengths[ankle], ahead)
        way = _unit(feet[:, n, 1] - feet[:, n, 0])
        if contacts.ground is not None:
            way = _not_below(way, (least[:, 2 * n + 1] - out[:, ankle, 1]) / max(lengths[toe], 1e-6), ahead)
        out[:, toe] = out[:, ankle] + way * lengths[toe]
    return out


def _not_below(way: np.ndarray, least: np.ndarray, ahead: np.ndarray) -> np.ndarray:
    """Unit vectors ``(T, 3)`` tipped up until their heights are at least so much; an ankle far below stays a foot's."""
    height = np.maximum(way[:, 1], np.clip(least, -1.0, 0.9))
    level = way * [1.0, 0.0, 1.0]
    flat = np.linalg.norm(level, axis=-1, keepdims=True)
    level = np.where(flat > 1e-6, level / np.maximum(flat, 1e-6), ahead)
    return level * np.sqrt(1 - height**2)[:, None] + height[:, None] * [0.0, 1.0, 0.0]


def _rigid_foot(pair: np.ndarray, hold: np.ndarray, length: float) -> np.ndarray:
    """Ankle and toe ``(T, 2, 3)`` at the foot's length from each other; the one that stands less firmly moves more."""
    line = pair[:, 1] - pair[:, 0]
    spare = np.linalg.norm(line, axis=-1) - length
    share = (0.02 + hold[:, ::-1]) / (0.04 + hold.sum(axis=1, keepdims=True))  # (T, 2)
    move = _unit(line) * spare[:, None]
    return np.stack([pair[:, 0] + share[:, :1] * move, pair[:, 1] - share[:, 1:] * move], axis=1)


def _give_way(hips: np.ndarray, ankles: np.ndarray, reach: np.ndarray, hold: np.ndarray, fps: float) -> np.ndarray:
    """``(T, 3)`` smooth move of the pelvis after which both legs are long enough, nearly.

    A body in the air keeps its way: nothing there asks it to give.
    """
    stays = 1 + _ALOFT * (1 - hold)
    shift = np.zeros((len(hips), 3))
    bend = np.full((1, len(hips) - 2), (_EASE * fps) ** 4)
    for _ in range(12):
        want = shift.copy()
        for n in (0, 1):
            line = ankles[:, n] - hips[:, n] - want
            far = np.linalg.norm(line, axis=-1)
            far = np.where(hold > 0, far, 0.0)
            want += _unit(line) * np.maximum(far - reach[:, n], 0.0)[:, None]
        lacking = np.linalg.norm(want - shift, axis=-1)
        if lacking.max() < 5e-4:
            break
        weight = np.where(lacking > 0, 300.0, stays)[None]
        shift = settle(np.where(lacking[:, None] > 0, want, 0.5 * shift)[None], weight, ((2, bend),))[0]
    return shift


def two_bones(
    leg: np.ndarray, goal: np.ndarray, upper: float, lower: float, ahead: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Knee and ankle of a leg that is to end elsewhere; the knee keeps the side to which it bends.

    Args:
        leg: ``(T, 3, 3)`` hip, knee and ankle as they are.
        goal: ``(T, 3)`` where the ankle is to be; one out of reach is approached on the straight line to it.
        upper, lower: lengths of thigh and shin, metres.
        ahead: ``(T, 3)`` the way to which a straight knee bends.

    Returns:
        ``(T, 3)`` knee and ``(T, 3)`` ankle.

    >>> leg = np.array([[[0, 1.0, 0], [0, 0.5, 0.0], [0, 0, 0]]])
    >>> knee, ankle = two_bones(leg, np.array([[0, 0.4, 0.0]]), 0.5, 0.5, np.array([[0, 0, 1.0]]))
    >>> knee.round(3).tolist(), ankle.round(3).tolist()
    ([[0.0, 0.7, 0.4]], [[0.0, 0.4, 0.0]])
    """
    hip = leg[:, 0]
    before, line = _unit(leg[:, 2] - hip), goal - hip
    far = np.linalg.norm(line, axis=-1)
    way = _unit(line)
    out = leg[:, 1] - hip
    out = out - before * (out * before).sum(-1, keepdims=True) + _STRAIGHT * ahead
    out = out - before * (out * before).sum(-1, keepdims=True)
    # turned as the leg turns: the shortest rotation from the old line to the new one
    axis, cosine = np.cross(before, way), (before * way).sum(-1, keepdims=True)
    pole = out + np.cross(axis, out) + np.cross(axis, np.cross(axis, out)) / np.maximum(1 + cosine, 1e-3)
    pole = _unit(pole - way * (pole * way).sum(-1, keepdims=True))
    far = np.clip(far, abs(upper - lower) + 1e-9, upper + lower)
    along = (upper**2 - lower**2 + far**2) / (2 * np.maximum(far, 1e-9))
    aside = np.sqrt(np.maximum(upper**2 - along**2, 0.0))
    return hip + way * along[:, None] + pole * aside[:, None], hip + way * far[:, None]


def _unit(vectors: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(np.where(length > 1e-9, vectors / np.maximum(length, 1e-9), [0.0, -1.0, 0.0]))


def _followed(local: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Rotations that put the joints where they are ``after``, with the twist they had: each bone swings the short way.

    Args:
        local: ``(T, 22, 3, 3)`` rotations relative to the parent that give ``before``.
        before, after: ``(T, 22, 3)`` joints of the same rigid body.
    """
    world = world_rotations(local)
    fitted = world_rotations(joints_to_rotations(after, body_offsets(), twist="none"))
    done = np.empty_like(world)
    for joint, parent in enumerate(SMPL22.parents):
        below = [child for child, above in enumerate(SMPL22.parents) if above == joint]
        if len(below) == 1:
            old, new = (_unit(p[:, below[0]] - p[:, joint]) for p in (before, after))
            done[:, joint] = _swing(old, new) @ world[:, joint]
        elif below:
            done[:, joint] = fitted[:, joint]
        else:  # an end turns with its parent
            done[:, joint] = done[:, parent] @ local[:, joint]
    return local_rotations(done)


def _swing(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """``(T, 3, 3)`` the shortest rotations from unit vectors to unit vectors."""
    w = np.cross(old, new)
    cosine = (old * new).sum(-1)[:, None, None]
    skew = np.cross(np.eye(3)[None], -w[:, None])  # rows e_k x (-w): the matrix of w x .
    skew = np.swapaxes(skew, -1, -2)
    return np.asarray(np.eye(3) + skew + skew @ skew / np.maximum(1 + cosine, 1e-3))
