"""Joints to body models: shape and pose of bodies that made them come back, real proportions come near, files whole."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hftrainer.cli.entry import main
from hftrainer.motion.body import free_body
from hftrainer.motion.clip import Motion
from hftrainer.motion.files import load, save
from hftrainer.motion.files.archive import read_arrays
from hftrainer.motion.fitting import BodyFitting, fit_body, lengths_to_betas, save_fit
from hftrainer.motion.free_smpl import free_smpl_body
from hftrainer.motion.representation.convert import convert
from hftrainer.motion.representation.ik import joints_to_rotations
from hftrainer.motion.representation.refine import Refinement, fit_joints
from hftrainer.motion.rotation import rotvec_to_matrix
from hftrainer.motion.smpl import body_from_arrays
from hftrainer.rendering.speed import marching
from tests.moving import lively, turning
from tests.test_smpl import arrays

SEEDS = st.integers(0, 10_000)
FREE = free_smpl_body()


def posed(seed: int, frames: int = 20):
    """A shape, rotations, a place."""
    local, place = turning(frames, seed, seed * 0.7)
    return np.random.default_rng(seed).normal(0, 1.5, 10), local, place


def marched(frames: int, heading: float = 0.0) -> np.ndarray:
    """Rotations of a marching person, as joints show them."""
    return joints_to_rotations(marching(frames, heading=heading), FREE.rest())


@settings(max_examples=8)
@given(SEEDS, st.sampled_from([24, 52, 55]))
def test_shape_and_pose_of_the_body_that_made_the_joints_come_back(seed, joints):
    body = body_from_arrays(arrays(joints))
    betas, local, place = posed(seed)
    made = body.joints(local, place, betas)[:, :22]
    [fit] = fit_body([made], body)
    assert fit.error_mm.max() < 0.5 and np.abs(fit.betas - betas).max() < 0.02
    turned = rotvec_to_matrix(fit.pose)
    assert np.abs(body.joints(turned, fit.translation, fit.betas)[:, :22] - made).max() < 1e-3
    assert np.abs(turned[:, 0] - local[:, 0]).max() < 0.01  # pelvis and chest are told in full
    assert np.abs(fit.translation - place).max() < 1e-3


@settings(max_examples=4)
@given(SEEDS, st.floats(0, 6))
def test_the_surface_comes_back(seed, heading):
    betas = np.random.default_rng(seed).normal(0, 1.0, 10)
    betas[9] = 0  # stoutness, which no joint shows
    local, place = marched(24, heading), marching(24, heading=heading)[:, 0]
    [fit] = fit_body([FREE.joints(local, place, betas)], FREE)
    apart = np.linalg.norm(fit.vertices(FREE) - FREE.vertices(local, place, betas), axis=-1)
    assert apart.mean() < 2e-3, apart.mean()


def test_joints_of_other_proportions_come_near():
    """HumanML3D's skeleton on a body of another build: the shape takes up most of the difference, refinement more."""
    made = Motion(lively(40, 3), "joints", 20)
    clip = np.asarray(convert(convert(made, "hml263"), "joints").data)
    errors = {}
    for name, how in (("mean shape", BodyFitting(betas=0, rounds=0)), ("shape", BodyFitting(betas=0)),
                      ("both", BodyFitting())):  # fmt: skip
        [fit] = fit_body([clip], FREE, how)
        errors[name] = fit.error_mm.mean()
    assert errors["both"] < 0.5 * errors["shape"] < errors["mean shape"] and errors["both"] < 8, errors


@settings(max_examples=5)
@given(SEEDS)
def test_alone_and_in_company_are_one_and_refinement_never_loses(seed):
    rng = np.random.default_rng(seed)
    clips = [FREE.joints(local, place, betas) + rng.normal(0, 0.01, (len(local), 22, 3))
             for betas, local, place in (posed(seed, 9), posed(seed + 1, 1), posed(seed + 2, 4))]  # fmt: skip
    together = list(fit_body(clips, FREE, BodyFitting(steps=8)))
    closed = list(fit_body(clips, FREE, BodyFitting(rounds=0)))
    for clip, fit, first in zip(clips, together, closed, strict=True):
        [alone] = fit_body([clip], FREE, BodyFitting(steps=8))
        assert np.array_equal(alone.pose, fit.pose) and np.array_equal(alone.betas, fit.betas)
        assert fit.error_mm.mean() <= first.error_mm.mean()


def test_each_clip_may_have_its_own_body():
    clips = [1.1 * marching(6), marching(5)]
    rests = np.stack([1.1 * FREE.rest(), FREE.rest()])
    for fit, clip, rest in zip(fit_joints(clips, Refinement(steps=5), rest=rests), clips, rests, strict=True):
        [alone] = fit_joints([clip], Refinement(steps=5), rest=rest)
        assert np.array_equal(alone.pose, fit.pose) and np.array_equal(alone.joints, fit.joints)
    with pytest.raises(ValueError, match="a body for each clip; got 2 for 1 clips"):
        list(fit_joints(clips[:1], rest=rests))


def test_a_rate_that_falls_ends_nearer():
    clip = FREE.joints(marched(12), marching(12)[:, 0])
    ends = [fit.error_mm.mean() for last in (1.0, 0.01)
            for fit in fit_joints([clip], Refinement(steps=40, last=last), rest=FREE.rest())]  # fmt: skip
    assert ends[1] < 0.7 * ends[0], ends


def test_the_free_body_in_smpls_build_is_the_free_body():
    bound, joints = free_body(), FREE.shaped()[1]
    assert np.allclose(FREE.regressor.sum(axis=1), 1) and np.allclose(joints[0], 0, atol=1e-6)
    local = marched(3)
    place = FREE.joints(local, np.zeros((3, 3)))
    world = np.stack([local[:, 0]] * 22, axis=1)
    for joint, parent in enumerate(FREE.parents):
        if parent >= 0:
            world[:, joint] = world[:, parent] @ local[:, joint]
    assert np.abs(FREE.vertices(local, np.zeros((3, 3))) - bound.skinned(world, place)).max() < 2e-3  # bound elsewhere
    taller = FREE.shaped([5.0])
    assert 1.1 < np.ptp(taller[0][:, 1]) / np.ptp(FREE.template[:, 1]) < 1.2
    grown = FREE.joints(local, np.zeros((3, 3)), [0, 4.0])
    assert lengths_to_betas(grown, FREE, 10, 1e-5)[:2] == pytest.approx([0, 4], abs=0.1)


def test_what_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"clip 0: joints must have shape \(T, 22, 3\)"):
        list(fit_body([np.zeros((3, 21, 3))], FREE))
    for wrong in ({"betas": -1}, {"rate": 0.0}, {"rounds": -1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            BodyFitting(**wrong)
    [fit] = fit_body([marching(2)], FREE, BodyFitting(rounds=0))
    with pytest.raises(ValueError, match="about must hold JSON"):
        save_fit(fit, Motion(marching(2), "joints", 20, about={"a": object()}), FREE, tmp_path / "a.npz")
    assert not list(tmp_path.iterdir())


def test_the_command_on_a_folder(tmp_path, capsys):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    np.savez(tmp_path / "body.npz", **arrays())
    np.save(tmp_path / "in" / "walk_out.npy", marching(6)[None])  # as the demo of the original writes it
    save(convert(Motion(marching(9), "joints", 20), "hml263"), tmp_path / "in" / "deep" / "b.1.npz")
    (tmp_path / "in" / "broken.npy").write_bytes(b"no")
    words = ["fit", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--body", str(tmp_path / "body.npz"), "--json"]
    assert main(words) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["fitted"] == 2 and set(report["clips"]) == {"walk_out", "deep/b.1"} and len(report["failed"]) == 1
    assert json.loads((tmp_path / "out" / "fit.json").read_text())["clips"] == report["clips"]
    fields = read_arrays(tmp_path / "out" / "walk_out.npz")[0]
    assert fields["poses"].shape == (6, 72) and fields["betas"].shape == (10,) and fields["mocap_framerate"] == 20
    mesh = np.load(tmp_path / "out" / "walk_out_mesh.npy")
    assert mesh.shape == (6, 60, 3) and len(list((tmp_path / "out" / "walk_out").glob("*.ply"))) == 6
    body = body_from_arrays(arrays())
    turns = rotvec_to_matrix(fields["poses"].reshape(6, 24, 3))
    assert np.abs(body.vertices(turns, fields["trans"], fields["betas"]) - mesh).max() < 1e-5
    assert np.abs(body.joints(turns, fields["trans"], fields["betas"])[:, :22] - fields["joints"]).max() < 1e-5
    error = np.linalg.norm(fields["joints"] - marching(6), axis=-1).mean(axis=-1) * 1000
    assert np.abs(error - fields["error_mm"]).max() < 0.01
    assert report["clips"]["walk_out"]["error_mm"]["mean"] == pytest.approx(error.mean(), abs=0.01)
    back = load(tmp_path / "out" / "walk_out.npz")
    assert back.about["up"] == "y" and back.about["betas"] == pytest.approx(fields["betas"], abs=1e-5)

    assert main(words) == 2 and "--skip-existing" in capsys.readouterr().err  # there already
    before = (tmp_path / "out" / "walk_out_mesh.npy").stat().st_mtime_ns
    (tmp_path / "out" / "deep" / "b.1.npz").unlink()  # as if cut off before the last file
    assert main([*words, "--skip-existing"]) == 1
    again = json.loads(capsys.readouterr().out)
    assert again["fitted"] == 1 and again["skipped"] == ["walk_out"] and again["clips"] == report["clips"]
    assert (tmp_path / "out" / "walk_out_mesh.npy").stat().st_mtime_ns == before


def test_the_command_on_one_file(tmp_path, capsys):
    save(Motion(marching(5), "joints", 30), tmp_path / "a.npz")
    assert main(["fit", str(tmp_path / "a.npz"), "-o", str(tmp_path / "out"), "--surface", "none", "--betas", "0"]) == 0
    assert "1 fitted, 0 were there, 0 failed" in capsys.readouterr().out
    assert main(["fit", str(tmp_path / "a.npz"), "-o", str(tmp_path)]) == 2
    assert "would be written over" in capsys.readouterr().err
    save(Motion(marching(5), "joints", 30), tmp_path / "out" / "a.npz")
    assert main(["fit", str(tmp_path / "a.npz"), "-o", str(tmp_path / "out"), "--skip-existing"]) == 2
    assert "not from a fit" in capsys.readouterr().err
    for words, said in (
        (["no.npz", "-o", "x"], "nothing there"), ([str(tmp_path / "a.npz"), "-o", "x", "--body", "no.pkl"], "no.pkl"),
        ([str(tmp_path / "a.npz")], "-o"), ([str(tmp_path / "a.npz"), "-o", "x", "--from", "smpl"], "smpl"),
    ):  # fmt: skip
        assert main(["fit", *words]) == 2
        assert said in capsys.readouterr().err
