"""The free body: closed, alike on both sides, smoothly bound, and where the skeleton is."""

import numpy as np
import pytest

from hftrainer.motion.body import free_body
from hftrainer.motion.representation.ik import joints_to_rotations, t_pose
from hftrainer.motion.representation.motion135 import world_rotations
from hftrainer.motion.skeleton import SMPL22
from hftrainer.rendering.speed import marching

BODY = free_body()


def volume(vertices, triangles) -> float:
    """Signed volume within a surface; positive when its faces look outwards."""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    return float((a * np.cross(b, c)).sum() / 6)


def test_the_surface_is_one_closed_sheet():
    edges = np.concatenate([BODY.triangles[:, pair] for pair in ((0, 1), (1, 2), (2, 0))])
    assert len(np.unique(edges, axis=0)) == len(edges)  # no edge twice the same way: the faces agree on what is outside
    assert set(map(tuple, edges)) == set(map(tuple, edges[:, ::-1]))  # and each edge has its other side
    assert len(BODY.vertices) - len(edges) // 2 + len(BODY.triangles) == 2  # Euler: one sphere, no handle
    reached, wave = np.zeros(len(BODY.vertices), bool), np.array([0])
    while len(wave):
        reached[wave] = True
        wave = np.unique(edges[np.isin(edges[:, 0], wave), 1])
        wave = wave[~reached[wave]]
    assert reached.all()
    assert len(BODY.triangles) < 12_000


def test_it_is_a_person_by_its_measures():
    low, high = BODY.vertices.min(axis=0), BODY.vertices.max(axis=0)
    assert 1.6 < high[1] - low[1] < 1.8 and 1.6 < high[0] - low[0] < 1.85  # as tall as the arms are wide
    assert 0.05 < volume(BODY.vertices, BODY.triangles) < 0.09  # 50 to 90 litres
    a, b, c = (BODY.vertices[BODY.triangles[:, k]] for k in range(3))
    assert np.linalg.norm(np.cross(b - a, c - a), axis=1).min() > 1e-7  # no slivers without area
    turned = BODY.vertices * [-1, 1, 1]
    for vertex in turned[::97]:
        assert np.linalg.norm(BODY.vertices - vertex, axis=1).min() < 1e-6
    assert np.allclose(np.linalg.norm(BODY.normals(), axis=1), 1)
    assert set(map(tuple, BODY.colours.round(3))) and BODY.colours.min() >= 0 and BODY.colours.max() <= 1


def test_weights_are_smooth_and_few():
    assert (BODY.weights >= 0).all() and np.allclose(BODY.weights.sum(axis=1), 1)
    assert (BODY.weights > 0).sum(axis=1).max() <= 4 and (BODY.weights.max(axis=0) > 0.6).all()  # each has a part
    edges = np.concatenate([BODY.triangles[:, pair] for pair in ((0, 1), (1, 2), (2, 0))])
    assert np.abs(BODY.weights[edges[:, 0]] - BODY.weights[edges[:, 1]]).max() < 0.45
    for joint, name in enumerate(SMPL22.joints):  # what a joint moves lies near it
        place = (BODY.weights[:, [joint]] * BODY.vertices).sum(axis=0) / BODY.weights[:, joint].sum()
        assert np.linalg.norm(place - BODY.joints[joint]) < 0.3, name


@pytest.mark.parametrize("scale", [0.6, 1.0, 1.3])
def test_it_follows_a_clip(scale):
    joints = marching(12) * scale
    rest = t_pose(joints)
    body = BODY.fitted(rest)
    world = world_rotations(joints_to_rotations(joints, rest))
    skin = body.skinned(world, joints)
    assert skin.shape == (12, len(body.vertices), 3)
    for frame in (0, 7):
        litres = volume(BODY.vertices, BODY.triangles) * scale**3
        assert volume(skin[frame], body.triangles) == pytest.approx(litres, rel=0.12)
        hand = skin[frame][body.weights[:, SMPL22.joints.index("left_wrist")] > 0.9]
        assert np.linalg.norm(hand - joints[frame, 20], axis=1).max() < 0.25 * scale
        assert joints[frame, :, 1].min() - 0.06 * scale < skin[frame, :, 1].min() < joints[frame, :, 1].min()


def test_turning_the_clip_turns_the_skin():
    joints = marching(2)
    rest = t_pose(joints)
    world = world_rotations(joints_to_rotations(joints, rest))
    quarter = np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]], float)
    skin = BODY.fitted(rest).skinned(world, joints)
    assert np.allclose(BODY.fitted(rest).skinned(quarter @ world, joints @ quarter.T), skin @ quarter.T, atol=1e-9)


def test_refusals_and_bodies_without_bones():
    with pytest.raises(ValueError, match=r"rest must have shape \(22, 3\)"):
        BODY.fitted(np.zeros((24, 3)))
    assert np.isfinite(BODY.fitted(np.zeros((22, 3))).vertices).all()
    with pytest.raises(ValueError, match="read-only"):
        BODY.vertices[0] = 0
