"""MDM's samplers: what is kept is kept, company changes nothing, quick samplers arrive where the slow one does."""

from dataclasses import replace

import pytest
import torch

from hftrainer.models.motion.mdm import dip, editing
from hftrainer.models.motion.mdm.config import MDMConfig
from hftrainer.models.motion.mdm.network import MDM, Condition
from hftrainer.models.motion.mdm.sampling import SAMPLERS, Kept, denoiser, sample
from hftrainer.models.motion.mdm.schedule import Schedule

SMALL = MDMConfig(width=16, layers=1, heads=2, feed_forward=32, positions=120, steps=10, text_width=8, joints=5,
                  mask_frames=True)  # fmt: skip


def network(**fields):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return MDM(replace(SMALL, **fields)).eval()


def own(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def text(batch):
    return torch.randn(batch, 1, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("guidance", [None, 2.5])
def test_alone_or_in_company(sampler, guidance):
    net, schedule, words = network(), Schedule.named("cosine", 10), text(3)
    lengths = [7, 12, 9]
    frames = torch.arange(12)[None] < torch.tensor(lengths)[:, None]
    settings = {"sampler": sampler, "guidance": guidance, "eta": 0.5 if sampler == "ddim" else 0.0}
    together = sample(net, schedule, (3, 5, 1, 12), Condition(text=words, frames=frames), rng=own(4, 5, 6),
                      lengths=lengths, **settings)  # fmt: skip
    for i, length in enumerate(lengths):
        alone = sample(net, schedule, (1, 5, 1, length), Condition(text=words[i : i + 1]), rng=own(4 + i), **settings)
        assert (alone[0] - together[i, ..., :length]).abs().max() < 2e-5


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_what_is_kept_comes_out_as_it_went_in(sampler):
    shape = (2, 5, 1, 12)
    motion = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    mask = editing.kept_numbers(torch.tensor([True, False, False, False, True]), torch.arange(12) < 3, shape)
    got = sample(network(), Schedule.named("cosine", 10), shape, Condition(text=text(2)), rng=own(1, 2),
                 kept=Kept(motion, mask), sampler=sampler)  # fmt: skip
    assert torch.equal(got[mask], motion[mask]) and not torch.isclose(got[~mask], motion[~mask]).any()


@pytest.mark.parametrize("sampler, steps", [("ddim", 20), ("dpm", 10), ("dpm", 20)])
def test_quick_samplers_arrive_where_the_slow_one_does(sampler, steps):
    """Motion is normal, mean 2 and deviation 0.5, so the best denoiser is known, and what samplers must give."""
    whole = Schedule.named("cosine", 200)

    def best(x, t):
        kept = torch.from_numpy(whole.kept)[t].view(-1, 1, 1, 1).float()
        return 2 + 0.25 * kept.sqrt() / (0.25 * kept + 1 - kept) * (x - 2 * kept.sqrt())

    def drawn(schedule, name):
        return sample(best, schedule, (1, 40, 1, 100), rng=own(1), sampler=name)

    slow, quick = drawn(whole, "ancestral"), drawn(whole.respaced([steps]), sampler)
    assert abs(slow.mean() - 2) < 0.03 and abs(quick.mean() - slow.mean()) < 0.04
    assert abs(slow.std() - 0.5) < 0.02 and abs(quick.std() - slow.std()) < 0.1


@pytest.mark.parametrize("steps", [10, 20])
def test_dpm_is_nearer_than_ddim_in_the_same_steps(steps):
    """Without fresh noise each sampler follows a path whose end is known where motion is normal."""
    whole = Schedule.named("cosine", 200)

    def best(x, t):
        kept = torch.from_numpy(whole.kept)[t].view(-1, 1, 1, 1).float()
        return 2 + 0.25 * kept.sqrt() / (0.25 * kept + 1 - kept) * (x - 2 * kept.sqrt())

    noise = torch.randn(1, 40, 1, 25, generator=torch.Generator().manual_seed(5))
    left = float(whole.kept[-1])
    end = 2 + 0.5 * (noise - 2 * left**0.5) / (0.25 * left + 1 - left) ** 0.5
    off = {
        name: (sample(best, whole.respaced([steps]), noise.shape, noise=noise, sampler=name) - end).abs().mean()
        for name in ("ddim", "dpm")
    }
    assert off["dpm"] < 0.6 * off["ddim"]


def test_one_pass_is_two_passes():
    net, words = network(), text(2)
    x = torch.randn(2, 5, 1, 12, generator=torch.Generator().manual_seed(3))
    frames = torch.arange(12)[None] < torch.tensor([[12], [8]])
    told, t = Condition(text=words, frames=frames), torch.tensor([3, 9])
    got = [denoiser(net, told, torch.tensor([2.5, 7.0]), merged=merged)(x, t) for merged in (False, True)]
    assert (got[0] - got[1]).abs().max() < 1e-5


def test_a_network_without_condition_cannot_be_guided():
    with pytest.raises(ValueError, match="guidance must be 1"):
        denoiser(network(condition="none", condition_dropout=0.0), Condition(), 2.5, merged=True)
    with pytest.raises(ValueError, match="sampler must be one of"):
        sample(network(), Schedule.named("cosine", 10), (1, 5, 1, 4), sampler="euler")
    with pytest.raises(ValueError, match="generators must be 2"):
        sample(network(), Schedule.named("cosine", 10), (2, 5, 1, 4), Condition(text=text(2)), rng=own(1))


def test_masked_frames_do_not_matter():
    x = torch.randn(1, 5, 1, 12, generator=torch.Generator().manual_seed(3))
    far = x.clone()
    far[..., 8:] = 50
    told = Condition(text=text(1), frames=torch.arange(12)[None] < 8)
    for masked in (True, False):
        net = network(mask_frames=masked)
        off = (net(x, torch.tensor([2]), told) - net(far, torch.tensor([2]), told))[..., :8].abs().max()
        assert (off < 1e-6) == masked


def test_windows_follow_on_without_end():
    net = network(architecture="trans_dec", context_frames=4, predicted_frames=6, text_encoder="distilbert")
    prefix = torch.zeros(2, 5, 1, 4)
    told = Condition(text=text(2))
    schedule = Schedule.named("cosine", 10)
    stream = dip.windows(net, schedule, prefix, told, rng=own(1, 2))
    parts = torch.cat([next(stream) for _ in range(3)], dim=-1)
    whole = dip.continued(net, schedule, prefix, told, 15, rng=own(1, 2))
    assert whole.shape[-1] == 15 and torch.equal(whole, parts[..., :15])
    kept = dip.continued(net, schedule, prefix, told, 15, with_prefix=True, rng=own(1, 2))
    assert torch.equal(kept[..., 4:], whole[..., :11])
    with pytest.raises(ValueError, match="enough for 15 frames"):
        dip.continued(net, schedule, prefix, [told], 15, rng=own(1, 2))


def test_training_hides_conditions_as_often_as_told():
    net, seen = network(condition_dropout=0.3).train(), []
    net.text.register_forward_pre_hook(lambda module, given: seen.append((given[0] == 0).all(-1).float().mean()))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(20):
            net(torch.zeros(50, 5, 1, 4), torch.zeros(50, dtype=torch.int64), Condition(text=text(50)))
    assert abs(torch.stack(seen).mean() - 0.3) < 0.05
