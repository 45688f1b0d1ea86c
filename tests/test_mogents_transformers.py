"""Transformers of MoGenTS and MoMask: what they compute, what training hides, how codes are drawn, edits, refusals."""

from dataclasses import replace

import pytest
import torch

from hftrainer.models.motion.mogents import generation, official_transformers
from hftrainer.models.motion.mogents.corruption import draw_layers, hide_cells, hide_poses
from hftrainer.models.motion.mogents.decoding import Start, fill_masks
from hftrainer.models.motion.mogents.masked import MaskedTransformer
from hftrainer.models.motion.mogents.residual import ResidualConfig, ResidualTransformer
from hftrainer.models.motion.mogents.sampling import (
    OfficialChance,
    OwnChance,
    Settings,
    StoredChance,
    likeliest,
    pick,
)
from hftrainer.models.motion.mogents.tokenizer import MoGenTSTokenizer, MoGenTSTokenizerConfig
from hftrainer.models.motion.mogents.transformer import TransformerConfig, real_frames, sources
from hftrainer.models.motion.momask import generation as momask
from tests.parity import __main__ as parity
from tests.parity import mogents_generation, mogents_transformers

SIZES = dict(codes=12, code_width=8, width=16, layers=1, heads=2, feed_forward=16, text_width=6)
GRID = dict(columns=6, joint_attention=True, time_attention=True)


def network(**more):
    torch.manual_seed(len(more))
    if "quantizers" in more:
        return ResidualTransformer(ResidualConfig(**SIZES, **more)).eval()
    return MaskedTransformer(TransformerConfig(**SIZES, **more)).eval()


def loud(net):
    """First weights are so small that nothing depends on anything; louder ones."""
    torch.manual_seed(5)
    for weight in net.parameters():
        if weight.dim() > 1:
            weight.data.normal_(std=0.4)
    return net


@pytest.fixture(scope="module")
def networks():
    return generation.Networks(
        loud(network(learned_positions=True)), loud(network(**GRID, time_sees_text=False)),
        loud(network(learned_positions=True, quantizers=3)), loud(network(**GRID, quantizers=3, mixing="sample")),
    )  # fmt: skip


def own(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


TEXT = torch.randn(3, 6, generator=torch.Generator().manual_seed(1))


# ------------------------------------------------------------------------------------------------------- networks


@pytest.mark.parametrize("more", [{}, GRID, {**GRID, "time_attention": False}, {"columns": 6}])
def test_padding_does_not_change_what_is_real(more):
    net = loud(network(**more))
    columns = net.config.columns
    tokens = torch.randint(12, (2, 9 * columns))
    real = real_frames(torch.tensor([9, 5]))
    tokens[1, 5 * columns :] = net.pad
    both = net(tokens, TEXT[:2], real)
    alone = net(tokens[1:, : 5 * columns], TEXT[1:2], real[1:, :5])
    assert (both[1, : 5 * columns] - alone[0]).abs().max() < 1e-5
    assert (net(tokens, TEXT[1:], real) - both).abs().max() > 1e-3  # the text is read


def test_mixing_is_an_option_and_only_that_of_the_batch_depends_on_company():
    codes, layer, real = torch.randn(2, 30, 8), torch.tensor([1, 1]), torch.ones(2, 5, dtype=torch.bool)
    found = {}
    for mixing in ("none", "sample", "batch"):
        net = loud(network(**GRID, quantizers=3, mixing=mixing))
        together, alone = net(codes, layer, TEXT[:2], real), net(codes[:1], layer[:1], TEXT[:1], real[:1])
        found[mixing] = together
        assert ((together[0] - alone[0]).abs().max() > 1e-3) == (mixing == "batch")
    assert (found["none"] - found["sample"]).abs().max() > 1e-3


def test_mixing_of_one_sample_is_that_of_a_batch_of_one():
    real = torch.tensor([[True] * 7 + [False] * 2, [True] * 9])
    both = sources(real, 6, "sample")
    assert torch.equal(both[0, :7], sources(real[:1, :7], 6, "batch")[0])
    assert torch.equal(both[1] - 54, sources(real[1:], 6, "batch")[0])


def test_the_stage_along_time_may_be_blind_to_the_text():
    tokens, real = torch.randint(12, (1, 30)), torch.ones(1, 5, dtype=torch.bool)
    seeing, blind = loud(network(**GRID)), loud(network(**GRID, time_sees_text=False))
    blind.load_state_dict(seeing.state_dict())
    assert (seeing(tokens, TEXT[:1], real) - blind(tokens, TEXT[:1], real)).abs().max() > 1e-4


def test_attention_of_all_layers_begins_alike():
    net = MaskedTransformer(TransformerConfig(**{**SIZES, "layers": 2}))
    first, second = (layer.attention.project.weight for layer in net.layers)
    assert torch.equal(first, second) and not torch.equal(net.layers[0].widen.weight, net.layers[1].widen.weight)


@pytest.mark.parametrize(
    "more, says",
    [
        (dict(width=18), "width must be a multiple of 4"),
        (dict(columns=60), "columns must be at most 50"),
        (dict(joint_attention=True), "must be off with one column"),
        (dict(columns=6, learned_positions=True), "learned_positions must be off"),
        (dict(mixing="some"), "mixing must be one of"),
        (dict(codes=0), "codes must be at least 1"),
        (dict(dropout=2.0), "dropout must be 0 to 1"),
        (dict(quantizers=1), "quantizers must be at least 2"),
    ],
)
def test_sizes_that_no_network_has_are_refused(more, says):
    with pytest.raises(ValueError, match=says):
        kind = ResidualConfig if "quantizers" in more else TransformerConfig
        kind(**{**SIZES, **more})


def test_motions_too_long_or_empty_are_refused():
    net = network(**GRID)
    with pytest.raises(ValueError, match="token frames must be at most 199; got 200"):
        net.context(TEXT[:1], torch.ones(1, 200, dtype=torch.bool))
    with pytest.raises(ValueError, match="at least one real token frame"):
        net.context(TEXT[:2], torch.tensor([[True], [False]]))


# ------------------------------------------------------------------------------------------------------- training


def test_what_is_hidden():
    torch.manual_seed(0)
    real = real_frames(torch.randint(1, 50, (400,)), 49)
    tokens = torch.where(real, torch.randint(12, real.shape), 13)
    shown, labels = hide_poses(tokens, real, 12)
    counted = labels != 12
    assert not (counted & ~real).any() and torch.equal(labels[counted], tokens[counted])
    assert torch.equal(shown[~counted], tokens[~counted])
    share = (shown[counted] == 12).float().mean()
    assert abs(share - 0.9 * 0.88) < 0.02
    grid = tokens[..., None].repeat(1, 1, 6)
    shown, labels = hide_cells(grid, real, 12)
    counted = labels != 12
    assert not (counted & ~real[..., None]).any() and torch.equal(shown[~counted], grid[~counted])
    assert counted.float().mean() > 0.3 and (counted.any(-1) & ~counted.all(-1)).any()


def test_lower_layers_are_drawn_more_often():
    torch.manual_seed(0)
    count = torch.bincount(draw_layers(20000, 6), minlength=6)
    assert count[0] == 0 and (count[1:] > 0).all() and count[1] > count[4]


# ------------------------------------------------------------------------------------------------------- drawing


def test_both_ways_of_picking_follow_the_odds():
    logits = torch.tensor([1.0, 0.0, 2.0, -3.0]).expand(40000, 4)
    drawn = torch.empty(40000, 4).exponential_(1, generator=torch.Generator().manual_seed(0))
    for gumbel in (True, False):
        found = torch.bincount(pick(logits, drawn, temperature=0.5, gumbel=gumbel), minlength=4) / 40000
        assert (found - (logits[0] / 0.5).softmax(0)).abs().max() < 0.01
    assert (pick(logits, drawn, temperature=0, gumbel=False) == 2).all()


def test_the_likeliest_few():
    kept = torch.isfinite(likeliest(torch.randn(4, 512), 0.9)).sum(-1)
    assert (kept == 52).all() and int(torch.isfinite(likeliest(torch.randn(20), 0.9)).sum()) == 2


def test_draws_are_checked():
    asked = torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match="generators must be 2"):
        OwnChance(own(1)).draw(asked, 4, "rows")
    with pytest.raises(ValueError, match="draws must be as many"):
        StoredChance([]).draw(asked, 4, "rows")
    with pytest.raises(ValueError, match=r"a draw must be \(2, 3, 4\)"):
        StoredChance([torch.ones(2, 3, 5)]).draw(asked, 4, "rows")
    for wrong in (dict(steps=0), dict(drop=1.0), dict(temperature=-1.0), dict(residual_layers=-1)):
        with pytest.raises(ValueError):
            Settings(**wrong)
    with pytest.raises(ValueError, match="rng must be"):
        generation.chance_of("ours")


# ------------------------------------------------------------------------------------------------------- generation


@pytest.mark.parametrize("settings", [Settings(), Settings(steps=3, gumbel=True), Settings(guidance=1.0),
                                      Settings(unconditional=True), Settings(residual_layers=1)])  # fmt: skip
def test_alone_and_in_company_a_seed_gives_the_same(networks, settings):
    lengths = torch.tensor([9, 4, 1])
    aux, grid = generation.generate_codes(networks, TEXT, lengths, settings, rng=own(7, 8, 9))
    for i, count in enumerate(lengths.tolist()):
        one, cells = generation.generate_codes(
            networks, TEXT[i : i + 1], lengths[i : i + 1], settings, rng=own(7 + i)
        )  # fmt: skip
        assert torch.equal(one[0], aux[i, :count]) and torch.equal(cells[0], grid[i, :count])
        assert (one >= 0).all() and (cells >= 0).all() and (cells < 12).all()
        assert (aux[i, count:] == -1).all() and (grid[i, count:] == -1).all()
    assert aux.shape[-1] == grid.shape[-1] == (2 if settings.residual_layers else 3)


def test_other_seeds_and_texts_give_other_codes(networks):
    lengths = torch.tensor([9])
    first = generation.generate_codes(networks, TEXT[:1], lengths, rng=own(1))
    assert not torch.equal(first[0], generation.generate_codes(networks, TEXT[:1], lengths, rng=own(2))[0])
    assert not torch.equal(first[0], generation.generate_codes(networks, TEXT[1:2], lengths, rng=own(1))[0])


def test_watching_changes_nothing(networks):
    lengths, seen = torch.tensor([5, 7]), []
    quiet = generation.generate_codes(networks, TEXT[:2], lengths, rng=own(1, 2))
    told = generation.generate_codes(
        networks, TEXT[:2], lengths, rng=own(1, 2), watch=lambda name: lambda step: seen.append((name, step))
    )  # fmt: skip
    assert all(torch.equal(a, b) for a, b in zip(quiet, told, strict=True))
    assert [name for name, _ in seen] == ["mask_aux"] * 10 + ["mask_grid"] * 10 + ["res_aux"] * 2 + ["res_grid"] * 2


def test_official_draws_are_repeatable_and_leave_the_generator_where_theirs_is(networks):
    lengths = torch.tensor([5, 7])
    found = [
        generation.generate_codes(networks, TEXT[:2], lengths, rng=torch.Generator().manual_seed(3)) for _ in range(2)
    ]
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_temperature_counts_with_own_draws(networks):
    lengths = torch.tensor([9])
    cold = [
        generation.generate_codes(networks, TEXT[:1], lengths, Settings(temperature=0.0, residual_layers=0), rng=own(s))
        for s in (1, 2)
    ]
    assert torch.equal(cold[0][0], cold[1][0])


def test_guidance_needs_a_network_that_knows_nothing():
    net = MaskedTransformer(TransformerConfig(**SIZES, condition_dropout=0.0)).eval()
    with pytest.raises(ValueError, match="guidance must be 1"):
        fill_masks(net, TEXT[:1], torch.tensor([3]), Settings(), OwnChance(own(1)))


def test_lengths_below_one_are_refused(networks):
    with pytest.raises(ValueError, match="lengths must be at least 1"):
        generation.generate_codes(networks, TEXT[:1], torch.tensor([0]), rng=own(1))


def test_what_is_not_editable_stays(networks):
    lengths, tokens = torch.tensor([8, 6]), torch.randint(12, (2, 8), generator=torch.Generator().manual_seed(2))
    editable = torch.zeros(2, 8, dtype=torch.bool)
    editable[:, 2:5] = True
    found = fill_masks(
        networks.mask_aux, TEXT[:2], lengths, Settings(), OwnChance(own(1, 2)), start=Start(tokens, editable)
    )
    kept = ~editable & real_frames(lengths, 8)
    assert torch.equal(found[kept], tokens[kept]) and (found[1, 6:] == -1).all() and (found[editable] < 12).all()
    again = fill_masks(
        networks.mask_aux, TEXT[:2], lengths, Settings(), OwnChance(own(1, 2)), start=Start(tokens, editable, 0.16)
    )
    assert torch.equal(again[kept], tokens[kept])


def test_columns_of_joints_can_be_made_anew(networks):
    lengths, tokens = torch.tensor([8]), torch.randint(12, (1, 48), generator=torch.Generator().manual_seed(2))
    editable = torch.zeros(1, 8, 6, dtype=torch.bool)
    editable[:, 2:6, 3] = True
    start = generation.Starts(
        Start(tokens[:, ::6], editable.any(-1)), Start(tokens, editable.flatten(1))
    )  # fmt: skip
    _, grid = generation.generate_codes(networks, TEXT[:1], lengths, rng=own(4), start=start)
    assert torch.equal(grid[..., 0][~editable], tokens.view(1, 8, 6)[~editable])


def test_sections():
    assert momask.sections([(0.3, 0.6)], 49).nonzero().flatten().tolist() == list(range(14, 29))
    assert momask.sections([(20, 60), (80, 100)], 49).nonzero().flatten().tolist() == [*range(5, 15), *range(20, 25)]
    for span in ((0.5, 0.5), (60, 20), (400, 500), (-8, 8)):
        with pytest.raises(ValueError, match="a span must hold at least one of 49 tokens"):
            momask.sections([span], 49)


def test_each_motion_is_decoded_as_if_it_were_alone():
    torch.manual_seed(0)
    config = MoGenTSTokenizerConfig(width=16, aux_width=8, aux_codes=12, grid_width=8, grid_codes=12, layers=3)
    tokenizer = MoGenTSTokenizer(config).eval()
    for buffer in tokenizer.buffers():
        if buffer.dim() == 2:
            buffer.normal_()
    aux, grid = torch.randint(12, (3, 9, 3)), torch.randint(12, (3, 9, 6, 3))
    lengths = torch.tensor([9, 4, 9])
    found = generation.decode_codes(tokenizer, aux, grid, lengths)
    assert [len(x) for x in found] == [36, 16, 36]
    alone = generation.decode_codes(tokenizer, aux[1:2, :4], grid[1:2, :4], lengths[1:2])[0]
    assert (found[1] - alone).abs().max() < 1e-6
    assert [len(x) for x in generation.decode_codes(tokenizer, aux, grid)] == [36] * 3


# ------------------------------------------------------------------------------------------------------- the authors'


@pytest.mark.parametrize("more", [{}, {"learned_positions": True}, GRID, {"quantizers": 3},
                                  {"quantizers": 3, "shared_tables": False}, {**GRID, "quantizers": 3}])  # fmt: skip
def test_names_both_ways(more):
    net = network(**more)
    theirs = official_transformers.to_theirs(net.state_dict(), net.config)
    assert {name: tuple(value.shape) for name, value in theirs.items()} == official_transformers.shapes(net.config)
    assert not official_transformers.misfits({**theirs, "clip_model.x": torch.zeros(1)}, net.config)
    back = official_transformers.to_ours(theirs, net.config)
    assert all(torch.equal(value, back[name]) for name, value in net.state_dict().items())
    wrong = {**theirs, "odd": torch.zeros(1), "cond_emb.bias": torch.zeros(3)}
    del wrong["cond_emb.weight"]
    said = " ".join(official_transformers.misfits(wrong, net.config))
    assert "unexpected odd" in said and "missing cond_emb.weight" in said and "cond_emb.bias is (3,)" in said


FAMILY = (mogents_transformers, mogents_generation)


@pytest.mark.parametrize(
    "folder, cases, least", [("mogents_A", 18, 30), ("mogents_B_kit", 5, 15), ("momask_A", 13, 10), ("rng", 2, 10)]
)
def test_reference_cases(shared, folder, cases, least):
    ours = {kind.name for module in FAMILY for kind in module.KINDS}
    found = [r for r in parity.run_folder(shared / "golden" / "mogents" / folder, FAMILY) if r.kind in ours]
    assert len(found) >= cases and all(len(result.checks) >= least for result in found)
    assert not [result.line() for result in found if result.verdict != "pass"]


def test_where_draws_differ_stored_ones_are_replayed(shared, monkeypatch):
    for module in FAMILY:
        monkeypatch.setattr(module, "why_not_same", lambda: "another machine")
    folder = shared / "golden" / "mogents"
    for case, run in (
        ("mogents_A/gen_B2_cat.json", mogents_generation._generation),
        ("momask_A/edit_ratio_res.json", mogents_generation._edit),
        ("momask_A/io_t2m.json", mogents_transformers._transformer),
        ("mogents_A/trainer_forward.json", mogents_transformers._trainer),
    ):
        checks = run(folder / case)
        assert checks and all(check.holds for check in checks), [c for c in checks if not c.holds]


def test_official_is_a_chance_like_any_other():
    torch.manual_seed(3)
    asked = torch.tensor([[True, False], [True, True]])
    for order in ("rows", "cells", "classes"):
        assert OfficialChance().draw(asked, 5, order).shape == (3, 5)
    assert replace(Settings(), steps=3).steps == 3
