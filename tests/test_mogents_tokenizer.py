"""Residual motion tokenizers of MoGenTS and MoMask: what holds for every size, the reference numbers, training."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from hftrainer.bench import moving_body
from hftrainer.errors import ArtifactError
from hftrainer.models.artifact import load_weights, save_weights
from hftrainer.models.motion.mogents import official_tokenizer as official
from hftrainer.models.motion.mogents.joints import join_joints, pose_target, split_joints
from hftrainer.models.motion.mogents.tokenizer import MoGenTSTokenizer, MoGenTSTokenizerConfig
from hftrainer.models.motion.momask.tokenizer import MoMaskTokenizer, MoMaskTokenizerConfig
from hftrainer.models.motion.motiongpt.bundle import Statistics
from hftrainer.models.residual_quantize import NOTHING, ResidualQuantizer, training_only
from hftrainer.motion.representation.hml263 import joints_to_hml263
from hftrainer.training.loop import Schedule, fit
from hftrainer.training.recipe import read_recipe, run_recipe
from hftrainer.training.residual_tokenizer import (
    MoGenTSTokenizerTask,
    MoMaskTokenizerTask,
    load_residual_tokenizer,
    residual_config,
)
from hftrainer.training.starts import load_tokenizer
from hftrainer.training.tokenizer import TokenizerSettings
from tests import training_data
from tests.conftest import ROOT
from tests.parity import mogents_tokenizer as parity
from tests.test_training import _interrupted as interrupted
from tests.test_training_processes import ENVIRONMENT

SMALL = dict(width=16, depth=1, layers=3)
MOGENTS = MoGenTSTokenizerConfig(aux_codes=16, aux_width=8, grid_codes=12, grid_width=8, **SMALL)
MOMASK = MoMaskTokenizerConfig(codes=16, code_width=8, **SMALL)


def made(config, seed=0):
    """A network whose codes have been begun by one batch."""
    torch.manual_seed(seed)
    net = MoMaskTokenizer(config) if isinstance(config, MoMaskTokenizerConfig) else MoGenTSTokenizer(config)
    net.train()(torch.randn(2, 64, config.features))
    return net.eval()


def encode(net, x):
    found = net.encode(x)
    return found if isinstance(found, tuple) else (found,)


KITS = [dataclasses.replace(config, features=251) for config in (MOGENTS, MOMASK)]
CONFIGS = [MOGENTS, MOMASK, *KITS]


# ------------------------------------------------------------------------------------------------ laws


@pytest.mark.parametrize("config", CONFIGS)
def test_a_clip_alone_is_the_clip_in_a_batch(config):
    net, x = made(config), torch.randn(5, 40, config.features, generator=torch.Generator().manual_seed(3))
    whole = encode(net, x)
    for at in range(5):
        alone = encode(net, x[at : at + 1])
        assert all(torch.equal(a[0], b[at]) for a, b in zip(alone, whole, strict=True))
        assert torch.allclose(net.decode(*alone)[0], net.decode(*whole)[at], atol=1e-5)


@hypothesis.settings(max_examples=12)
@hypothesis.given(st.integers(1, 40), st.integers(0, 3), st.sampled_from(CONFIGS), st.integers(0, 3))
def test_shapes_for_every_length(tokens, odd, config, down):
    """Frames that make no whole token at the end are dropped."""
    config = dataclasses.replace(config, down=down)
    kind = MoMaskTokenizer if isinstance(config, MoMaskTokenizerConfig) else MoGenTSTokenizer
    net, rate = kind(config).eval(), config.frames_per_token
    found = encode(net, torch.zeros(2, tokens * rate + min(odd, rate - 1), config.features))
    assert found[0].shape == (2, tokens, 3) and found[0].dtype == torch.long
    assert len(found) == 1 or found[1].shape == (2, tokens, 24 // rate, 3)
    assert net.decode(*found).shape == (2, tokens * rate, config.features)


@pytest.mark.parametrize("config", CONFIGS)
def test_nothing_adds_nothing(config):
    net = made(config)
    tokens = encode(net, torch.randn(2, 16, config.features))
    for kept in (1, 2):
        padded = [stack.clone() for stack in tokens]
        for stack in padded:
            stack[..., kept:] = NOTHING
        fewer = net.decode(*(stack[..., :kept] for stack in tokens))
        assert torch.equal(net.decode(*padded), fewer) and not torch.allclose(fewer, net.decode(*tokens))
    nowhere = [torch.full_like(stack, NOTHING) for stack in tokens]
    assert torch.isfinite(net.decode(*nowhere)).all()
    with pytest.raises(ValueError, match="must have 1 to 3 layers; got 4"):
        net.decode(*(torch.cat([stack, stack[..., :1]], -1) for stack in tokens))


@pytest.mark.parametrize("config", [MOGENTS, MOMASK])
def test_a_shared_codebook_is_one_storage(config, tmp_path):
    config = dataclasses.replace(config, shared_codebook=True)
    net = made(config)
    for quantizer in (m for m in net.modules() if isinstance(m, ResidualQuantizer)):
        assert len({quantizer.layer(i).codebook.data_ptr() for i in range(3)}) == 1
    save_weights(net, tmp_path / "w.safetensors")
    again = type(net)(config).eval()
    load_weights(again, tmp_path / "w.safetensors")
    x = torch.randn(1, 20, 263)
    assert all(torch.equal(a, b) for a, b in zip(encode(net, x), encode(again, x), strict=True))
    theirs = official.to_theirs(net.state_dict(), config)
    save_file(theirs, tmp_path / "theirs.safetensors")  # refuses tensors that share memory
    back = type(net)(config)
    back.load_state_dict(official.to_ours(load_file(tmp_path / "theirs.safetensors"), config))
    assert all(torch.equal(a, b) for a, b in zip(encode(net, x), encode(back.eval(), x), strict=True))


@pytest.mark.parametrize("config", [MOGENTS, MOMASK])
def test_the_same_seed_gives_the_same_step_and_reading_changes_nothing(config):
    states = [made(config, seed=4).state_dict() for _ in range(2)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    net = made(config)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    torch.manual_seed(0)
    encode(net, torch.randn(1, 16, 263))
    net(torch.randn(1, 16, 263))
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())


def test_the_gradient_comes_once_for_each_layer():
    quantizer = ResidualQuantizer(8, 4, layers=5).train()
    for layers in (1, 3, 5):
        rows = torch.randn(2, 9, 4, requires_grad=True)
        quantizer(rows, layers)[0].sum().backward()
        assert torch.equal(rows.grad, torch.full_like(rows, layers))


def test_layers_are_left_out_as_often_as_said():
    torch.manual_seed(0)
    drawn = [ResidualQuantizer(8, 4, layers=4, layer_dropout=0.5).draw_layers() for _ in range(400)]
    count = np.bincount(drawn, minlength=5)
    assert count[0] == 0 and abs(count[4] / 400 - 0.625) < 0.08 and (count[1:4] > 20).all()
    assert {ResidualQuantizer(8, 4, layers=4).draw_layers() for _ in range(50)} == {4}
    quantizer = ResidualQuantizer(8, 4, layers=3).train()
    quantizer(torch.randn(3, 30, 4), 2)
    assert [bool(quantizer.layer(i).started) for i in range(3)] == [True, True, False]


def test_each_layer_comes_nearer():
    torch.manual_seed(0)
    quantizer, rows = ResidualQuantizer(16, 4, layers=4).train(), torch.randn(4, 200, 4)
    for _ in range(20):
        quantizer(rows)
    tokens = quantizer.eval().encode(rows)
    left = [float((rows - quantizer.lookup(tokens[..., : q + 1])).norm()) for q in range(4)]
    assert left == sorted(left, reverse=True) and left[3] < left[0] * 0.6


@pytest.mark.parametrize("features", [263, 251])
def test_joints_there_and_back(features):
    x = torch.randn(2, 7, features)
    image = split_joints(x)
    assert not image[:, :, 0, :9].any() and torch.equal(join_joints(image), pose_target(x))
    assert torch.equal(image[0, 0, 5, :3], x[0, 0, 4 + 3 * 4 : 4 + 3 * 5])
    image[..., 0, :8] = torch.arange(8.0)
    assert torch.equal(join_joints(image)[0, 0, :4], torch.arange(4.0))
    assert torch.equal(join_joints(image)[0, 0, -4:], torch.arange(4.0, 8.0))


@pytest.mark.parametrize(
    ("kind", "fields", "says"),
    [
        (MoGenTSTokenizerConfig, {"features": 262}, r"features must be 263 \(22 joints\) or 251"),
        (MoGenTSTokenizerConfig, {"down": 4}, "down must be at most 3"),
        (MoGenTSTokenizerConfig, {"norm": "layer"}, "norm must be group or none over joints"),
        (MoGenTSTokenizerConfig, {"grid_codes": 0}, "grid_codes must be at least 1"),
        (MoMaskTokenizerConfig, {"layers": 0}, "layers must be at least 1"),
        (MoMaskTokenizerConfig, {"layer_dropout": 1.5}, r"layer_dropout must be in \[0, 1\]"),
        (MoMaskTokenizerConfig, {"activation": "tanh"}, "activation must be one of relu"),
        (MoMaskTokenizerConfig, {"dropout": 1.0}, "dropout must be in"),
    ],
)
def test_impossible_sizes_are_refused(kind, fields, says):
    with pytest.raises(ValueError, match=says):
        kind(**fields)


# ------------------------------------------------------------------------------------------------ the door


@pytest.mark.parametrize("config", [*CONFIGS, dataclasses.replace(MOGENTS, norm="group", width=32, grid_inner=64)])
def test_names_and_options_both_ways(config):
    assert official.config_from_options(type(config), official.options_from_config(config)) == config
    net = made(config)
    theirs = official.to_theirs(net.state_dict(), config)
    assert official.misfits(theirs, config) == []
    ours = official.to_ours(theirs, config)
    assert ours.keys() == net.state_dict().keys()
    assert all(torch.equal(ours[k], v) for k, v in net.state_dict().items() if k not in training_only(net))
    assert all(bool(value) for name, value in ours.items() if name.endswith("started"))
    name = next(iter(theirs))
    broken = {key: value for key, value in theirs.items() if key != name} | {"who.weight": torch.zeros(1)}
    assert official.misfits(broken, config) == [f"missing {name}", "unexpected who.weight"]


def test_other_peoples_options_are_refused():
    for options, says in (
        ({"dataset_name": "dancers"}, "dataset_name must be one of"),
        ({"stride_t": 3}, "stride_t must be 2"),
        ({"code_dim": 8, "output_emb_width": 9}, "output_emb_width must be code_dim, 8; got 9"),
        ({"vq_norm": "IN"}, "vq_norm must be None, LN, GN or BN"),
    ):
        with pytest.raises(ValueError, match=says):
            official.config_from_options(MoMaskTokenizerConfig, options)


def test_names_of_the_released_models(shared):
    """Both ways, with all shapes; KIT's too."""
    folder = shared / "golden" / "mogents" / "manifests"
    kit = json.loads((folder / "mogents_kit_vq_diff.json").read_text())["diff"]
    for name, kind in (("mogents_humanml3d", MoGenTSTokenizerConfig), ("momask_t2m", MoMaskTokenizerConfig)):
        manifest = json.loads((folder / f"{name}.json").read_text())
        config = official.config_from_options(kind, manifest["config"]["vq"])
        assert config == kind()
        shapes = {key: shape for key, (shape, _) in manifest["state_dicts"]["vq"].items()}
        assert _misfits(shapes, config) == []
        assert sum(p.numel() for p in official.hollow(config).parameters()) == manifest["summary"]["vq"]["parameters"]
        if kind is MoGenTSTokenizerConfig:
            shapes |= {key: there[0] for key, (_, there) in kit.items()}
            assert _misfits(shapes, dataclasses.replace(config, features=251)) == []
            assert len(_misfits(shapes, config)) == len(kit)


def _misfits(shapes, config):
    return official.misfits({key: torch.empty(shape, device="meta") for key, shape in shapes.items()}, config)


# ------------------------------------------------------------------------------------------------ reference numbers

CASES = {
    "mogents_A/io_vq.json": ("mogents tokenizer", 250),
    "mogents_B_kit/io_vq.json": ("mogents tokenizer", 200),
    "momask_A/io_vq.json": ("momask tokenizer", 100),
}


@pytest.mark.parametrize("case", CASES)
def test_golden_case(case, shared):
    path, (name, count) = shared / "golden" / "mogents" / case, CASES[case]
    (kind,) = [kind for kind in parity.KINDS if kind.matches(path)]
    checks = kind.run(path)
    assert kind.name == name and len(checks) >= count
    assert [f"{c.what}: {c.difference} > {c.tolerance} {c.note}" for c in checks if not c.holds] == []


@pytest.mark.parametrize("broken", ["code_idx", "dec_q1_x_out", "after3.quantizer.layers.2.codebook", "weights"])
def test_a_broken_array_is_found(broken, shared, tmp_path):
    folder = shared / "golden" / "mogents" / "momask_A"
    tensors, weights = (load_file(folder / f"{name}.safetensors") for name in ("io_vq", "weights_vq"))
    found = weights["encoder.model.0.bias"] if broken == "weights" else tensors[broken]
    found.view(-1)[-1] += 1
    save_file(tensors, tmp_path / "io_vq.safetensors")
    save_file(weights, tmp_path / "weights_vq.safetensors")
    (tmp_path / "io_vq.json").write_bytes((folder / "io_vq.json").read_bytes())
    (kind,) = [kind for kind in parity.KINDS if kind.matches(tmp_path / "io_vq.json")]
    wrong = [check.what for check in kind.run(tmp_path / "io_vq.json") if not check.holds]
    assert "weights_sha256" in wrong if broken == "weights" else wrong == [broken]


# ------------------------------------------------------------------------------------------------ training

RECIPES = {
    "mogents": """
aux_codes = 16
aux_width = 8
grid_codes = 12
grid_width = 8
""",
    "momask": """
codes = 16
code_width = 8
""",
}
RECIPE = """
kind = "{name}-tokenizer"
data = "{data}"
[network]
width = 16
depth = 1
layers = 3
layer_dropout = 0.5
{sizes}
[settings]
frames = 128
windows = [32]
joints = 0.5
path = 0.1
[schedule]
steps = 6
learning_rate = 1e-3
log_every = 2
save_every = 3
validate_every = 6
device = "cpu"
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return training_data.write(tmp_path_factory.mktemp("data") / "made-up")


@pytest.mark.parametrize("name", RECIPES)
def test_resumed_is_uninterrupted_bit_for_bit(name, tmp_path, dataset):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE.format(name=name, data=dataset, sizes=RECIPES[name]))
    artifact = run_recipe(recipe, tmp_path / "whole")
    interrupted(recipe, tmp_path / "again", step=3)
    run_recipe(recipe, tmp_path / "again", resume=True)
    runs = [torch.load(tmp_path / run / "last.pt", weights_only=True)["network"] for run in ("whole", "again")]
    assert runs[0].keys() == runs[1].keys() and all(torch.equal(runs[0][k], runs[1][k]) for k in runs[0])
    assert any(key.endswith("code_count") and value.std() > 0 for key, value in runs[0].items())
    log = [json.loads(line) for line in (tmp_path / "again" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [2, 4, 6] and "mpjpe_held_out" in str(log[-1])
    net, statistics, about = load_residual_tokenizer(artifact)
    assert statistics.spec.name == "hml263" and about["stages"][0]["recipe"]["kind"] == f"{name}-tokenizer"
    assert all(torch.equal(runs[0][key], value) for key, value in net.state_dict().items())
    with pytest.raises(ArtifactError, match="must have the network of this recipe"):
        run_recipe(recipe, tmp_path / "other", [f"start={artifact}", "network.width=32"])
    further = run_recipe(recipe, tmp_path / "further", [f"start={artifact}", "schedule.steps=1"])
    assert len(load_residual_tokenizer(further)[2]["stages"]) == 2
    with pytest.raises(ArtifactError):
        load_tokenizer(artifact)  # MotionGPT's stages know no layers


@pytest.mark.slow
def test_two_processes_leave_out_the_same_layers(tmp_path, dataset):
    """Each draws for itself how many layers a step runs; did they not agree, they would wait for each other forever."""
    pytest.importorskip("accelerate")
    (tmp_path / "r.toml").write_text(RECIPE.format(name="mogents", data=dataset, sizes=RECIPES["mogents"]))
    launch = [Path(sys.executable).with_name("accelerate"), "launch", "--multi_gpu", "--num_processes", 2]
    launch += ["--num_cpu_threads_per_process", 1, "--num_machines", 1, "--mixed_precision", "no"]
    launch += ["--main_process_port", 0, "--dynamo_backend", "no", "-m", "hftrainer", "train"]
    launch += [tmp_path / "r.toml", "-o", tmp_path / "two", "--set", "schedule.steps=20"]
    done = subprocess.run(list(map(str, launch)), env=ENVIRONMENT, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "2 processes, this one on cpu" in done.stderr
    net, _, _ = load_residual_tokenizer(tmp_path / "two" / "artifact")
    assert all(bool(quantizer.layer(2).started) for quantizer in (net.aux_quantizer, net.grid_quantizer))


def test_a_tokenizer_of_another_family_is_refused(tmp_path, dataset):
    (tmp_path / "r.toml").write_text(training_data.TOKENIZER.format(data=dataset))
    artifact = run_recipe(tmp_path / "r.toml", tmp_path / "out", ["schedule.steps=1"])
    with pytest.raises(ArtifactError, match="must hold a residual motion tokenizer.*got one of MotionGPT"):
        load_residual_tokenizer(artifact)


def _task(config, kind, length=65, **settings):
    clip = joints_to_hml263(moving_body(length, 0))
    statistics = Statistics(clip.mean(0), np.maximum(clip.std(0), 0.02), "hml263")
    torch.manual_seed(0)
    net = MoMaskTokenizer(config) if kind is MoMaskTokenizerTask else MoGenTSTokenizer(config)
    return kind(net, statistics, [clip], [clip], TokenizerSettings(frames=128, **settings), seed=0)


@pytest.mark.parametrize(("config", "kind"), [(MOGENTS, MoGenTSTokenizerTask), (MOMASK, MoMaskTokenizerTask)])
def test_one_clip_is_overfitted(config, kind, tmp_path):
    task = _task(dataclasses.replace(config, dropout=0.0, width=32), kind, joints=1.0)
    before = task.validate()
    fit(task, Schedule(80, 3e-3, warmup=10, log_every=80), tmp_path, say=lambda line: None)
    task.network.eval()
    after = task.validate()
    assert after["mpjpe_held_out"] < before["mpjpe_held_out"] / 2
    assert before["codes_used"] < after["codes_used"] <= 1


@pytest.mark.parametrize(("config", "kind"), [(MOGENTS, MoGenTSTokenizerTask), (MOMASK, MoMaskTokenizerTask)])
@pytest.mark.parametrize("shared_codebook", [False, True])
def test_codes_made_anew_are_all_in_use(config, kind, shared_codebook):
    config = dataclasses.replace(config, shared_codebook=shared_codebook)
    task = _task(config, kind, length=401, recluster=True)
    assert task.validate()["codes_used"] < 0.2
    task.recluster()
    assert task.validate()["codes_used"] > 0.6
    assert all(bool(layer.started) for layer in task.quantizers)
    counts = [float(layer.code_count.sum()) for layer in task.quantizers]
    grid = 6 if kind is MoGenTSTokenizerTask else 1
    assert counts[0] == pytest.approx(128 / 4) and counts[-1] == pytest.approx(128 / 4 * grid)


@pytest.mark.parametrize(("config", "kind"), [(MOGENTS, MoGenTSTokenizerTask), (MOMASK, MoMaskTokenizerTask)])
def test_training_the_decoder_alone_leaves_the_tokens(config, kind, tmp_path):
    task = _task(config, kind, decoder_only=True)
    task.recluster()
    before = {key: value.clone() for key, value in task.network.state_dict().items()}
    fit(task, Schedule(3, 1e-3, log_every=3), tmp_path, say=lambda line: None)
    changed = {k.split(".")[0] for k, value in task.network.state_dict().items() if not torch.equal(value, before[k])}
    assert changed == ({"aux_decoder", "grid_decoder", "mix", "join"} if config is MOGENTS else {"decoder"})


def test_shipped_recipes_are_of_the_released_size():
    sizes = {}
    for path in [*(ROOT / "recipes").glob("mogents-*-tokenizer.toml"), *(ROOT / "recipes").glob("momask-*-tok*.toml")]:
        recipe = read_recipe(path)
        config = residual_config(recipe)
        sizes[path.stem] = sum(p.numel() for p in official.hollow(config).parameters())
        Schedule(**recipe["schedule"])
        TokenizerSettings(**recipe["settings"])
    assert sizes["mogents-base-tokenizer"] == 113818748 and sizes["momask-base-tokenizer"] == 19436807
    assert sizes["mogents-mini-tokenizer"] < 4e6 and sizes["momask-mini-tokenizer"] < 6e6
