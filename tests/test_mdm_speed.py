"""Quick samplers arrive where they must, at the rate that their order promises; speed is measured as it is said."""

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from hftrainer.models.motion.mdm.network import Condition
from hftrainer.models.motion.mdm.sampling import sample
from hftrainer.models.motion.mdm.schedule import Schedule
from hftrainer.pipelines.mdm import MDMPipeline
from hftrainer.pipelines.speed import denoising_speed, product_ceiling, step_operations
from tests import mdm_tiny

MEAN, SPREAD = 2.0, 0.5
WHOLE = Schedule.named("cosine", 1000)


def best(x, t):
    """The best denoiser of normal motion, mean 2 and deviation 0.5."""
    kept = torch.from_numpy(WHOLE.kept)[t].view(-1, 1, 1, 1).to(x.dtype)
    return MEAN + SPREAD**2 * kept.sqrt() / (SPREAD**2 * kept + 1 - kept) * (x - MEAN * kept.sqrt())


def noise():
    return torch.randn(1, 40, 1, 25, generator=torch.Generator().manual_seed(5))


def end(start, schedule):
    """Where the path without fresh noise ends, from the noisiest of a schedule's steps to its least noisy one."""
    first, last = float(schedule.kept[-1]), float(schedule.kept[0])
    there = (start - MEAN * first**0.5) * ((SPREAD**2 * last + 1 - last) / (SPREAD**2 * first + 1 - first)) ** 0.5
    return best(MEAN * last**0.5 + there, torch.zeros(1, dtype=torch.long))


def off(sampler, steps):
    schedule = WHOLE.respaced([steps])
    found = sample(best, schedule, (1, 40, 1, 25), noise=noise(), sampler=sampler)
    return float((found - end(noise(), schedule)).abs().mean())


def test_the_rate_at_which_samplers_arrive():
    """Twice the steps halve the error of ddim, and nearly quarter that of the solver of second order."""
    errors = {name: [off(name, steps) for steps in (10, 20, 40, 80, 160)] for name in ("ddim", "dpm")}
    rates = {name: (e[0] / e[-1]) ** (1 / 4) for name, e in errors.items()}
    assert 1.8 < rates["ddim"] < 2.3 and rates["dpm"] > 3.0, errors
    assert errors["dpm"][1] < 0.1 * errors["ddim"][1], errors


@pytest.mark.parametrize(
    "sampler, steps, mean, spread",
    [("dpm", 10, 0.03, 0.06), ("dpm", 20, 0.02, 0.03), ("ancestral", 20, 0.05, 0.2), ("ddim", 20, 0.05, 0.1)],
)
def test_ten_to_twenty_steps(sampler, steps, mean, spread):
    rng = [torch.Generator().manual_seed(1)]
    found = sample(best, WHOLE.respaced([steps]), (1, 100, 1, 100), rng=rng, sampler=sampler)
    assert abs(float(found.mean()) - MEAN) < mean and abs(float(found.std()) - SPREAD) < spread


def test_dpm_as_the_paper_writes_it():
    """DPM-Solver++(2M), algorithm 2, in double precision by hand; the widest step, the last one, is of first order."""
    schedule = WHOLE.respaced([10])
    signal, spread = np.sqrt(schedule.kept), np.sqrt(1 - schedule.kept)
    clarity = np.log(signal / spread)
    x = noise().double()
    seen = []
    for i in range(9, 0, -1):
        seen.append(best(x, torch.from_numpy(schedule.steps[[i]])))
        h = clarity[i - 1] - clarity[i]
        aim = seen[-1]
        if len(seen) > 1 and i > 1:
            r = (clarity[i] - clarity[i + 1]) / h
            aim = (1 + 1 / (2 * r)) * seen[-1] - 1 / (2 * r) * seen[-2]
        x = spread[i - 1] / spread[i] * x - signal[i - 1] * np.expm1(-h) * aim
    want = best(x, torch.from_numpy(schedule.steps[[0]]))
    got = sample(best, schedule, (1, 40, 1, 25), noise=noise(), sampler="dpm")
    assert (got - want).abs().max() < 2e-5


def test_all_steps_taken_one_by_one_are_the_full_sampler():
    bundle = mdm_tiny.bundle()
    told = Condition(text=bundle.encode_text(["he walks"])[0])
    schedule = Schedule.named("cosine", mdm_tiny.STEPS)
    one, other = (
        sample(bundle.network, s, (1, 263, 1, 40), told, rng=[torch.Generator().manual_seed(2)])
        for s in (schedule, schedule.respaced([mdm_tiny.STEPS]))
    )
    assert torch.equal(one, other)


def test_on_a_network_more_steps_come_nearer():
    bundle = mdm_tiny.bundle(steps=200)
    told, whole = Condition(text=bundle.encode_text(["he walks"])[0]), Schedule.named("cosine", 200)
    start = torch.randn(1, 263, 1, 40, generator=torch.Generator().manual_seed(5))

    def drawn(name, steps):
        return sample(bundle.network, whole.respaced([steps]), start.shape, told, noise=start, sampler=name)

    limit = drawn("ddim", 200)
    errors = [float((drawn("dpm", steps) - limit).abs().mean()) for steps in (5, 10, 20, 40)]
    assert errors == sorted(errors, reverse=True), errors


# ------------------------------------------------------------------------------------------ measuring


@pytest.mark.parametrize("fields", [{}, {"patch": 4}, {"architecture": "trans_dec"}], ids=["encoder", "4", "decoder"])
def test_operations_are_counted(fields):
    pipe = MDMPipeline(mdm_tiny.bundle(width=64, feed_forward=128, layers=3, **fields))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        told = Condition(text=torch.zeros(1, 1, 8))
        pipe.bundle.network(torch.zeros(1, 263, 1, 60), torch.tensor([3]), told)
    assert 0.8 < step_operations(pipe, 60) / counter.get_total_flops() < 1.2


def test_a_report_of_speed(tmp_path):
    folder = mdm_tiny.folder(tmp_path / "mdm")
    report = denoising_speed(str(folder), steps=3, batch=2, frames=40, repeats=1)
    assert [(row["sampler"], row["precision"]) for row in report["samplers"]] == [
        ("ancestral", "fp32"), ("ddim", "fp32"), ("plms", "fp32"), ("dpm", "fp32"), ("dpm", "bf16"),
    ]  # fmt: skip
    assert report["steps"] == 3 and report["frames_shown"] == 40 and report["bf16_moves_joints"] < 0.05
    assert len(report["denoiser"]) == 4 and all(0 < row["share"] for row in report["denoiser"])
    assert all(row["batch_1_s"] > 0 and row["batch_2_s"] > 0 for row in report["samplers"])
    assert product_ceiling(size=64, repeats=1) > 0
