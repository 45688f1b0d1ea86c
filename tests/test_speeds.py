"""Quick ways say what the plain way says; what is measured is measured as it is said."""

import json

import numpy as np
import pytest
import torch

from hftrainer.models.motion.mdm import packing
from hftrainer.models.motion.mdm.config import MDMConfig
from hftrainer.models.motion.mdm.network import MDM, Condition, Layer, attend_in_products, quicker_in_products
from hftrainer.models.motion.mdm.sampling import denoiser
from hftrainer.models.motion.mogents.bundle import MoGenTSBundle
from hftrainer.models.motion.mogents.official import MOGENTS, MOMASK
from hftrainer.models.motion.mogents.packing import packed as packed_masked
from hftrainer.models.motion.mogents.release import read_release
from hftrainer.models.motion.momask.bundle import MoMaskBundle
from hftrainer.models.motion.motiongpt.network import LanguageModel, LanguageModelConfig
from hftrainer.models.tower_files import read_clip
from hftrainer.pipelines.decoding import Draws, Request, scorer, speak
from hftrainer.pipelines.mdm import MDMPipeline
from hftrainer.pipelines.mogents import MoGenTSPipeline
from hftrainer.pipelines.momask import MoMaskPipeline
from hftrainer.pipelines.nearness import beside_plain, draws_apart
from hftrainer.pipelines.plain import plain_denoise, plain_fill, plain_speak
from hftrainer.pipelines.published import by_formula
from hftrainer.pipelines.speeds import model_speed
from tests import mdm_tiny
from tests import mogents_release as authors


@pytest.fixture(scope="module")
def pipes(tmp_path_factory):
    """MoGenTS and MoMask, small, with the published habits."""
    where = tmp_path_factory.mktemp("masked")
    tower = read_clip(authors.clip(where / "clip.pt"), context=77, precision="fp32")
    found = {}
    for name, family, bundle, pipeline in (
        ("mogents", MOGENTS, MoGenTSBundle, MoGenTSPipeline), ("momask", MOMASK, MoMaskBundle, MoMaskPipeline),
    ):  # fmt: skip
        authors.write(where / name, family)
        found[name] = pipeline(bundle.from_release(read_release(family, where / name), tower))
    return found


@pytest.mark.parametrize("name", ["mogents", "momask"])
def test_masks_filled_quickly_are_those_filled_plainly(pipes, name):
    """One pass, entered tokens, hidden cells alone: the same codes and the same motion, alone and in a batch."""
    pipe, prompts = pipes[name], ["a person walks", "a man jumps"]
    quick = pipe(prompts, [64, 64], seed=[3, 4])
    for prompt, seed, motion in zip(prompts, (3, 4), quick, strict=True):
        _, made = plain_fill(pipe, prompt, 64, seed)
        assert np.abs(made - motion.data).max() < 1e-4 * np.abs(made).max()


@pytest.mark.parametrize("name", ["mogents", "momask"])
def test_bfloat16_is_near_and_leaves_the_networks_alone(pipes, name):
    pipe = pipes[name]
    before = {k: v.clone() for n in pipe.bundle.networks.values() for k, v in n.state_dict().items()}
    rough, fine = (pipe(["a person walks"], [64], seed=3, precision=p)[0].data for p in ("bf16", "fp32"))
    assert rough.dtype == np.float32 and np.isfinite(rough).all() and not np.array_equal(rough, fine)
    after = {k: v for n in pipe.bundle.networks.values() for k, v in n.state_dict().items()}
    assert all(torch.equal(before[k], after[k]) and after[k].dtype == before[k].dtype for k in before)
    network = next(n for n in pipe.bundle.networks.values() if hasattr(n, "mask"))
    twin = next(n for n in pipe.bundle.packed(torch.bfloat16).networks.values() if hasattr(n, "mask"))
    real, text = torch.ones(1, 16, dtype=torch.bool), pipe.bundle.encode_text(["a person walks"])
    tokens = torch.full((1, 16 * network.config.columns), network.mask)
    with torch.no_grad():
        one, other = network(tokens, text, real).softmax(-1), twin(tokens, text, real).float().softmax(-1)
    assert 0 < 0.5 * float((one - other).abs().sum(-1).mean()) < 0.05


@pytest.mark.parametrize("laid_out", [True, False])
@pytest.mark.parametrize("groups, places", [(30, 6), (3, 50)])
@pytest.mark.parametrize("dtype, near", [(torch.bfloat16, 0.05), (torch.float32, 1e-5)])
def test_a_packed_layer_says_what_the_layer_says(monkeypatch, laid_out, groups, places, dtype, near):
    """With weights laid out and without, all sequences at once and few at a time, some positions hidden."""
    if not laid_out:
        monkeypatch.setattr(packing, "packs", lambda dtype: False)
    layer = Layer(MDMConfig(width=64, heads=2, feed_forward=96), memory=False).eval()
    quick = packing.PackedLayer(layer, dtype)
    x = torch.randn(places, groups, 64, generator=torch.Generator().manual_seed(1))
    bias = torch.zeros(groups, 1, 1, places).expand(-1, 2, -1, -1).clone()
    bias[0, ..., places // 2 :] = -torch.inf
    with torch.no_grad():
        want, free = layer(x, bias), layer(x, None)
        whole = quick(x.to(dtype), bias.to(dtype))
        seen = quick(x.to(dtype), None)
        assert (whole.float() - want).abs().max() < near and (seen.float() - free).abs().max() < near
        assert (want - free).abs().max() > 0.05
        monkeypatch.setattr(packing, "ROWS", 2 * places)
        assert (quick(x.to(dtype), bias.to(dtype)) - whole).abs().max() < near / 2


@pytest.mark.parametrize("architecture", ["trans_enc", "trans_dec"])
@pytest.mark.parametrize("dtype, near", [(torch.bfloat16, 0.03), (torch.float32, 1e-5)])
def test_a_packed_denoiser_says_what_the_denoiser_says(architecture, dtype, near):
    """Guided, some frames hidden; what it is not written for stays as it is."""
    torch.manual_seed(3)
    config = MDMConfig(architecture=architecture, width=64, layers=3, heads=2, feed_forward=96, positions=80,
                       mask_frames=True, steps=50)  # fmt: skip
    network = MDM(config).eval()
    assert packing.can_pack(network) == (architecture == "trans_enc")
    if architecture == "trans_enc":
        before = {name: value.clone() for name, value in network.state_dict().items()}
        frames = torch.arange(40)[None] < torch.tensor([[40], [24]])
        asked = torch.randn(2, 263, 1, 40), torch.tensor([3, 49]), Condition(torch.randn(2, 1, 512), frames=frames)
        twin = packing.packed(network, dtype)
        with torch.no_grad():
            want, found = (denoiser(one, asked[2], 2.5, merged=True)(*asked[:2]) for one in (network, twin))
        real = frames[:, None, None].expand_as(want)
        assert found.dtype == torch.float32 and found.stride() == want.stride()
        assert 0 < (found - want)[real].abs().mean() < near * want[real].abs().mean()
        assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("width, out", [(512, 512), (384, 1024), (1024, 384)])
def test_a_row_of_a_packed_product_is_the_same_whichever_rows_are_beside_it(dtype, width, out):
    if not packing.packs(dtype):
        pytest.skip("this processor has no products with weights laid out beforehand")
    chance = torch.Generator().manual_seed(2)
    product = packing.PackedLinear(torch.randn(out, width, generator=chance), torch.randn(out, generator=chance), dtype)
    rows = torch.randn(500, width, generator=chance).to(dtype)
    whole = product(rows)
    assert all(torch.equal(product(rows[:count]), whole[:count]) for count in (1, 2, 3, 5, 61, 197))


def test_weights_that_change_are_packed_anew():
    """Also those that a training step changed in between; what stayed is not made again."""
    bundle = mdm_tiny.bundle()
    first = bundle.packed(torch.float32)
    assert bundle.packed(torch.float32) is first and bundle.packed(torch.bfloat16) is not first
    asked = torch.randn(1, 263, 1, 40), torch.tensor([3]), Condition(torch.randn(1, 1, bundle.config.text_width))
    with torch.no_grad():
        bundle.network.layers[0].widen.weight.mul_(2)
        second = bundle.packed(torch.float32)
        assert second is not first
        want, found, old = (one(*asked) for one in (bundle.network, second, first))
    assert torch.allclose(found, want, atol=1e-4) and not torch.allclose(old, want, atol=1e-4)


def test_what_no_text_makes_of_nothing_is_kept_where_weights_stay(pipes):
    bundle = pipes["mogents"].bundle
    network, twin = bundle.masked("mask_ts"), packed_masked(bundle.masked("mask_ts"), torch.bfloat16)
    with torch.no_grad():
        fine, rough = network.without_text(5), twin.without_text(5)
        assert network.nothing is None and twin.without_text(5) is rough
        real, tokens = torch.ones(1, 5, dtype=torch.bool), torch.full((1, 5 * network.config.columns), network.mask)
        want = network(tokens, torch.zeros(1, network.config.text_width), real)[0]
    assert torch.equal(fine, want) and 0 < (fine.softmax(-1) - rough.softmax(-1)).abs().max() < 0.05


def test_columns_that_nobody_asks_about_are_left_out_along_time(pipes):
    network = pipes["mogents"].bundle.masked("mask_ts")
    columns = network.config.columns
    real = torch.tensor([[True] * 5, [True, True, True, False, False]])
    tokens = torch.where(real.repeat_interleave(columns, 1), network.mask, network.pad)
    asked = torch.zeros_like(tokens, dtype=torch.bool)
    asked[0, 2 * columns + 1] = asked[1, 3] = True
    with torch.no_grad():
        context = network.context(torch.ones(2, network.config.text_width), real)
        whole, part = network.hidden(tokens, context), network.hidden(tokens, context, asked)
    assert torch.allclose(part[asked], whole[asked], atol=1e-5) and not torch.allclose(part, whole, atol=1e-3)


def test_a_packed_motion_does_not_depend_on_its_company(pipes):
    prompts, frames = ["a person walks", "a man jumps", "she turns"], [64, 40, 64]
    together = pipes["mogents"](prompts, frames, seed=[3, 4, 5], precision="bf16")
    for prompt, count, seed, motion in zip(prompts, frames, (3, 4, 5), together, strict=True):
        alone = pipes["mogents"]([prompt], [count], seed=[seed], precision="bf16")[0].data
        assert np.abs(alone - motion.data).max() < 0.02 * np.abs(alone).max()


def test_networks_are_packed_once_and_anew_after_a_move(pipes):
    bundle = pipes["momask"].bundle
    first = bundle.packed(torch.bfloat16)
    assert bundle.packed(torch.bfloat16) is first
    assert bundle.to("cpu").packed(torch.bfloat16) is not first


def test_speaking_quickly_says_what_speaking_plainly_says():
    net = by_formula(LanguageModel(LanguageModelConfig(60, 31, 32, 2, 16, 64, 2, 2)))
    asked = [Request((5, 6, 9, 1), (57,), 9, 9), Request((7, 1), (57,), 9, 9)]
    choices = torch.arange(29, 59)
    said = [s.tokens for s in speak(net, asked, choices, 58, Draws(greedy=True))]
    assert said == [plain_speak(net, request, choices[choices != 58]) for request in asked]


def test_denoising_quickly_makes_what_denoising_plainly_makes():
    pipe = MDMPipeline(mdm_tiny.bundle())
    quick = pipe(["he walks", "she runs"], [60, 60], seed=[0, 0])[0].data
    assert np.abs(quick - plain_denoise(pipe, "he walks", 60)).max() < 1e-5


@pytest.mark.parametrize("groups, places", [(30, 6), (2, 90)])
def test_attention_in_products(groups, places):
    parts = torch.randn(3, groups, 6, places, 64, generator=torch.Generator().manual_seed(1)).bfloat16()
    bias = torch.zeros(groups, 1, 1, places, dtype=torch.bfloat16)
    bias[0, ..., places // 2 :] = -torch.inf
    want = torch.nn.functional.scaled_dot_product_attention(*parts.float(), bias.float())
    assert (attend_in_products(*parts, bias).float() - want).abs().max() < 0.03
    with torch.no_grad():
        assert quicker_in_products(parts[0], 0.0) and not quicker_in_products(parts[0].float(), 0.0)


def test_a_report_of_a_models_speed(tmp_path):
    folder = mdm_tiny.folder(tmp_path / "mdm", steps=20)
    report = model_speed(str(folder), batch=2, frames=40, repeats=1)
    rows = {(row["verb"], row["way"], row["batch"]): row for row in report["rows"]}
    assert {verb for verb, _, _ in rows} == {"generate", "predict", "inbetween", "edit"} and len(rows) == 14
    whole = rows["generate", "20 steps, fp32", 1]
    assert whole["ratio"]["value"] > 0 and whole["share_of_products"] > 0
    assert rows["generate", "15 steps, fp32", 2]["over_alone"]["value"] > 0
    assert json.loads(json.dumps(report)) == report and report["plain"]["s_p95"] >= report["plain"]["s_median"]


@pytest.mark.parametrize("name", ["mogents", "momask"])
def test_how_near_draws_are(pipes, name):
    """Beside the plain loop's passes: nothing in single precision, little in bfloat16, much with another network."""
    fine, rough = beside_plain(name, pipes[name], 64)
    assert (fine["way"], rough["way"]) == ("fp32", "bf16") and fine["holds"] and rough["holds"]
    assert fine["value"] < 1e-4 < rough["value"] < 0.05
    passes = []
    plain_fill(pipes[name], "a person walks", 64, watch=passes.append)
    streams = len(pipes[name].bundle.columns)
    (layers,) = {n.config.quantizers for n in pipes[name].bundle.networks.values() if hasattr(n, "embed")}
    assert len({one.name for one in passes}) == 2 * streams and len(passes) == (10 + layers - 1) * streams
    other = pipes[name].bundle.encode_text(["something else altogether"])
    assert draws_apart(pipes[name].bundle, passes, other) > 1e-3


def test_how_near_features_are():
    rows = beside_plain("mdm", MDMPipeline(mdm_tiny.bundle()), 60)
    assert [row["holds"] for row in rows] == [True] * 3 and rows[0]["value"] < 1e-5 < rows[1]["value"]


def test_a_verb_that_a_model_does_not_have(tmp_path):
    folder = mdm_tiny.folder(tmp_path / "mdm", steps=20)
    with pytest.raises(ValueError, match="generate: 20 steps, fp32"):
        model_speed(str(folder), verb="caption")


def test_few_choices_read_few_rows_of_the_head():
    net = by_formula(LanguageModel(LanguageModelConfig(60, 31, 32, 2, 16, 64, 2, 2)))
    hidden = torch.randn(3, 32, generator=torch.Generator().manual_seed(2))
    for choices in (torch.arange(40, 59), torch.arange(1, 59)):
        want = net.logits(hidden)[:, choices]
        assert torch.allclose(scorer(net, choices, text=True)(hidden), want, atol=1e-5)


def test_words_with_vectors_are_projected_once_and_score_the_same():
    net = by_formula(LanguageModel(LanguageModelConfig(60, 31, 32, 2, 16, 64, 2, 2, word_width=8)))
    net.vocabulary.words.copy_(torch.randint(-100, 100, net.vocabulary.words.shape, dtype=torch.int8))
    hidden = torch.randn(3, 32, generator=torch.Generator().manual_seed(2))
    first = net.config.first_motion
    every, codes = torch.arange(60), torch.tensor([*range(first, 60), 1])
    for choices, text in ((every, True), (codes, False), (every, False)):
        with torch.no_grad():
            want, got = net.logits(hidden, text=text)[:, choices], scorer(net, choices, text)(hidden)
        assert torch.equal(want.isinf(), got.isinf())
        assert torch.allclose(got, want, rtol=1e-5, atol=1e-5)
