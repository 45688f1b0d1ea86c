"""Refinement: equal to the published numbers, the same alone and in company, a true gradient, what holds it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hftrainer.evaluation.fitting import reference_report
from hftrainer.motion.lanes import constant
from hftrainer.motion.representation.motion135 import motion135_to_joints, pose_joints
from hftrainer.motion.representation.refine import Refinement, _Slope, fit_joints
from hftrainer.motion.rotation import rotvec_to_matrix
from hftrainer.motion.skeleton import SMPL22
from tests.test_ik import wriggling


def clips(seed: int, lengths=(7, 12, 1, 2, 5)) -> list[np.ndarray]:
    """Bodies ten percent larger than the neutral one, of several lengths."""
    made = [pose_joints(wriggling(seed + n, 12), np.zeros((12, 3)))[:length] for n, length in enumerate(lengths)]
    return [1.1 * joints for joints in made]


@settings(max_examples=10)
@given(st.integers(0, 2**31))
def test_alone_and_in_company_are_one(seed):
    some, how = clips(seed), Refinement(steps=6)
    together = list(fit_joints(some, how))
    for joints, fit in zip(some, together, strict=True):
        [alone] = fit_joints([joints], how)
        assert np.array_equal(alone.pose, fit.pose) and np.array_equal(alone.translation, fit.translation)
    for joints, fit, small in zip(some, together, fit_joints(some, how, together=1), strict=True):
        assert np.array_equal(fit.pose, small.pose) and len(fit.error_mm) == len(joints)


def plain_loss(x, wanted, first, frames, how, torch):
    """What is made small, as the description reads."""
    total, at = 0, 0
    rest = torch.tensor(SMPL22.rest)
    for length in frames:
        part = slice(at, at + length)
        at += length
        v, place = x[part, :22], x[part, 22]
        angle = (v**2).sum(-1, keepdim=True).add(1e-12).sqrt()
        axis = v / angle
        zero = torch.zeros_like(axis[..., 0])
        k = torch.stack([zero, -axis[..., 2], axis[..., 1], axis[..., 2], zero, -axis[..., 0], -axis[..., 1],
                         axis[..., 0], zero], -1).reshape(*v.shape[:-1], 3, 3)  # fmt: skip
        s, c = angle.sin()[..., None], angle.cos()[..., None]
        local = torch.eye(3, dtype=x.dtype) + s * k + (1 - c) * k @ k
        world, joints = [local[:, 0]], [place + rest[0]]
        for joint, parent in enumerate(SMPL22.parents[1:], 1):
            world.append(world[parent] @ local[:, joint])
            joints.append(joints[parent] + world[parent] @ rest[joint])
        total = total + ((torch.stack(joints, 1) - wanted[part]) ** 2).sum(-1).mean()
        body = v[:, 1:].reshape(length, 63)
        total = total + how.keep * ((body - first[part, 1:22].reshape(length, 63)) ** 2).mean()
        total = total + how.small * (body**2).sum() / (69 * length)
        bends = torch.stack([v[:, 18, 1], -v[:, 19, 1], -v[:, 4, 0], -v[:, 5, 0]], -1)
        total = total + how.hinges * (bends.exp() ** 2).mean()
        if length >= 3:
            second = [rows[2:] - 2 * rows[1:-1] + rows[:-2] for rows in (place, body)]
            total = total + 1e-3 * ((second[0] ** 2).mean() + 1e-2 * (second[1] ** 2).mean())
    return total


@settings(max_examples=8)
@given(st.integers(0, 2**31))
def test_the_gradient_is_that_of_the_loss(seed):
    torch = pytest.importorskip("torch")
    rng, frames = np.random.default_rng(seed), [5, 1, 2, 9]
    how = Refinement(keep=0.3, small=0.2, hinges=0.1)
    first, here = rng.normal(0, 0.6, (2, sum(frames), 23, 3))
    here[0, 4] = 0  # a rotation vector of length 0
    wanted = rng.normal(size=(sum(frames), 22, 3))
    leaf = torch.tensor(here, requires_grad=True)
    plain_loss(leaf, torch.tensor(wanted), torch.tensor(first), frames, how, torch).backward()
    lanes = [np.ascontiguousarray(a.transpose(2, 1, 0)) for a in (here, first, wanted - SMPL22.rest[0])]
    slope = _Slope(lanes[1], lanes[2], frames, how, constant(SMPL22.rest.T, lanes[0]))
    for _ in range(2):  # nothing of the first time is left at the second
        assert np.allclose(slope(lanes[0]).transpose(2, 1, 0), leaf.grad.numpy(), atol=1e-9)
    wild = here.copy()  # the terms in time are small: make them large
    wild[:, 22] *= 1e4
    leaf = torch.tensor(wild, requires_grad=True)
    plain_loss(leaf, torch.tensor(wanted), torch.tensor(first), frames, how, torch).backward()
    assert np.allclose(slope(wild.transpose(2, 1, 0).copy()).transpose(2, 1, 0), leaf.grad.numpy(), rtol=1e-6)


def test_tensors_give_the_numbers_of_arrays():
    torch = pytest.importorskip("torch")
    noise = np.random.default_rng(5)
    some, how = [joints + noise.normal(0, 0.02, joints.shape) for joints in clips(5)], Refinement(steps=20)
    for one, other in zip(fit_joints(some, how), fit_joints(some, how, place=torch.as_tensor), strict=True):
        assert np.abs(one.motion135 - other.motion135).max() < 2e-3
        assert np.abs(one.error_mm - other.error_mm).max() < 0.05


def test_refining_comes_nearer_and_bones_stay():
    [plain], [fit] = (list(fit_joints(clips(3, (12,)), Refinement(steps=steps))) for steps in (0, 80))
    assert fit.error_mm.mean() < 0.7 * plain.error_mm.mean()
    lengths = SMPL22.bone_lengths(fit.joints)[:, 1:]
    assert np.allclose(lengths, np.linalg.norm(SMPL22.rest[1:], axis=-1), atol=1e-6)
    assert np.allclose(motion135_to_joints(fit.motion135), fit.joints, atol=1e-5)


def test_what_is_locked_stays():
    some = clips(4, (9,))
    [plain], [fit] = (list(fit_joints(some, how)) for how in (Refinement(steps=0), Refinement(steps=9, locked=(0, 6))))
    assert np.abs(fit.pose[:, [0, 6]] - plain.pose[:, [0, 6]]).max() < 1e-6
    assert np.abs(fit.pose[:, [1, 3]] - plain.pose[:, [1, 3]]).min() > 1e-4


def test_a_start_may_be_given():
    some = clips(6, (4, 5))
    starts = [np.tile(np.eye(3), (len(joints), 22, 1, 1)) for joints in some]
    fits = list(fit_joints(some, Refinement(steps=0), starts=starts))
    assert all(np.abs(fit.pose).max() == 0 for fit in fits)
    with pytest.raises(ValueError, match="starts must be as many as clips; got 1 for 2 clips"):
        list(fit_joints(some, starts=starts[:1]))
    with pytest.raises(ValueError, match="clip 0: starts must have 4 frames; got 5"):
        list(fit_joints(some, starts=starts[::-1]))


@pytest.mark.parametrize("options, said", [
    ({"steps": -1}, "steps must be 0 or more; got -1"), ({"rate": 0.0}, "rate must be above 0; got 0.0"),
    ({"keep": float("nan")}, "keep must be 0 or more; got nan"), ({"locked": (22,)}, "joints from 0 to 21"),
    ({"start": "bones"}, "start must be one of bone, parent_frame; got 'bones'"),
])  # fmt: skip
def test_what_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        Refinement(**options)


def test_clips_that_are_none_are_refused():
    with pytest.raises(ValueError, match=r"clip 1: joints must have shape \(T, 22, 3\)"):
        list(fit_joints([np.zeros((4, 22, 3)), np.zeros((4, 21, 3))]))
    assert list(fit_joints([])) == []


def test_the_published_error_is_kept(shared):
    files = sorted((shared / "golden/zoo").rglob("chain_*.npz"))
    assert len(files) >= 4
    for steps in (0, 80):
        stored = [dict(np.load(file)) for file in files]
        fits = list(fit_joints([arrays["target_joints"] for arrays in stored], Refinement(steps=steps)))
        for arrays, fit in zip(stored, fits, strict=True):
            assert np.abs(fit.motion135 - arrays[f"motion135_it{steps}"]).max() < (1e-2 if steps else 1e-4)
    report = reference_report(shared / "golden/zoo")
    assert report["closed_form"]["value"] <= 26.0 and report["refined"]["value"] <= 16.4
    assert report["closed_form_same_mm"]["value"] < 0.1 and report["refined_same_mm"]["value"] < 0.1
    assert [row["clip"] for row in report["clips"]] == [file.stem[6:] for file in files]
    assert all(row["refined_mm"] < row["closed_form_mm"] < row["closed_form_p95_mm"] for row in report["clips"])


def test_reference_errors_that_are_not_ours_are_seen(tmp_path):
    joints = 1.1 * pose_joints(wriggling(1), np.zeros((12, 3)))
    errors = {f"mpjpe_mm_it{n}": next(iter(fit_joints([joints], Refinement(steps=n)))).error_mm for n in (0, 80)}
    np.savez(tmp_path / "chain_a.npz", target_joints=joints, **errors)
    good = reference_report(tmp_path)
    assert good["closed_form_same_mm"]["holds"] and good["refined_same_mm"]["holds"]
    np.savez(tmp_path / "chain_a.npz", target_joints=joints, **{**errors, "mpjpe_mm_it80": errors["mpjpe_mm_it80"] + 1})
    assert reference_report(tmp_path)["refined_same_mm"] == {"value": 1.0, "bar": 0.1, "holds": False}
    with pytest.raises(ValueError, match=r"must hold chain_\*\.npz files"):
        reference_report(tmp_path / "none")


def test_the_first_pose_is_upright():
    """A standing body twice as large stays a standing body: nothing is turned."""
    [fit] = fit_joints([2 * pose_joints(rotvec_to_matrix(np.zeros((3, 22, 3))), np.zeros((3, 3)))], Refinement(steps=0))
    assert np.abs(fit.pose).max() < 1e-6
