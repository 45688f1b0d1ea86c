"""The residual motion tokenizers of MoGenTS and MoMask: tokens, decoding, losses, gradients, training steps.

A case is ``NAME.json`` with ``NAME.safetensors``. Its weights are those of a ``weights_…`` file of the same ending
beside it, which must be what the seed of the case says, or are made from that seed.

What these cases store and this module leaves aside: the strides of an array in memory.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from hftrainer.models.motion.mogents import official_tokenizer as official
from hftrainer.models.motion.mogents.joints import split_joints
from hftrainer.models.motion.mogents.tokenizer import MoGenTSTokenizer, MoGenTSTokenizerConfig
from hftrainer.models.motion.momask.tokenizer import MoMaskTokenizer, MoMaskTokenizerConfig
from hftrainer.models.motion.motiongpt.bundle import Statistics
from hftrainer.models.quantize import EMAQuantizer
from hftrainer.models.residual_quantize import ResidualQuantizer
from hftrainer.motion.representation.specs import REPRESENTATIONS
from hftrainer.training.residual_tokenizer import MoGenTSTokenizerTask, MoMaskTokenizerTask
from hftrainer.training.tokenizer import TokenizerSettings
from tests.parity import Check, Kind, compare, json_keys, tensor_keys

Case = dict[str, Any]
Tensors = dict[str, Tensor]
Task = MoGenTSTokenizerTask | MoMaskTokenizerTask

#: Specification, section 12: features of small networks; losses in evaluation and in training mode; gradients.
FEATURES, LOSS, TRAINED_LOSS, GRADIENT = 1e-5, 1e-5, 1e-4, 1e-3
#: Weights after a few steps of a rate far below this.
WEIGHTS = 2e-6

#: Their names of logged numbers, and ours.
MOGENTS_PARTS = {
    "loss_rec": "features", "loss_explicit": "ric", "loss_rec_aux": "aux_features", "loss_explicit_aux": "aux_ric",
    "loss_rec_ts": "grid_features", "loss_explicit_ts": "grid_ric", "commit_aux": "aux_commitment",
    "commit_ts": "grid_commitment", "perplexity_aux": "aux_perplexity", "perplexity_ts": "grid_perplexity",
}  # fmt: skip
MOMASK_PARTS = {
    "loss_rec": "features", "loss_explicit": "ric", "loss_commit": "commitment", "perplexity": "perplexity",
}  # fmt: skip


def _pair(*tensors: str) -> Any:
    """``.json`` files of a tokenizer whose twin has these tensors."""

    def matches(path: Path) -> bool:
        if path.suffix != ".json" or not json_keys(path) >= {"config", "values"}:
            return False
        return tensor_keys(path.with_suffix(".safetensors")) >= set(tensors)

    return matches


def _stored(path: Path) -> Path:
    """Where the weights of a case are, if they are stored."""
    return path.with_name(f"weights_{path.stem.removeprefix('io_')}.safetensors")


def _parts(path: Path) -> list[Path]:
    return [path.with_suffix(".safetensors"), _stored(path)]


def _share(what: str, got: Any, want: Any, share: float) -> Check:
    """Numbers that may differ by a share of the largest one."""
    want = np.asarray(want, np.float64)
    return compare(what, np.asarray(got, np.float64), want, share * max(float(np.abs(want).max()), 1e-6))


def weights_by_rule(config: official.TokenizerConfig, seed: int) -> Tensors:
    """The authors' state that a seed stands for: one stream of normal numbers, walked in the order of their names."""
    network, stream, state = official.hollow(config).state_dict(), np.random.RandomState(seed), {}
    for theirs, ours in sorted(official.keys(config).items()):
        shape = tuple(network[ours].shape)
        values = stream.standard_normal(shape)
        if ".codebook" in theirs:
            values = 0.5 * 0.7 ** int(theirs.split(".layers.")[1].split(".")[0]) * values
        elif len(shape) > 1:
            values = values / np.sqrt(np.prod(shape[1:]))
        else:
            values = 1 + 0.1 * values if theirs.endswith("norm1.weight") else 0.05 * values
        state[theirs] = torch.from_numpy(values.astype(np.float32))
    return state


def _digest(state: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for key in sorted(state):
        digest.update(key.encode())
        digest.update(np.ascontiguousarray(state[key].numpy()).tobytes())
    return digest.hexdigest()


def _weights(path: Path, case: Case, config: official.TokenizerConfig) -> tuple[Tensors, list[Check]]:
    """Weights in the authors' names, and what is to be said of them."""
    if not _stored(path).is_file():
        return weights_by_rule(config, case["weight_rule_seed"]), []
    state, checks = load_file(_stored(path)), []
    problems = official.misfits(state, config)
    checks.append(Check("keys", float(len(problems)), 0.0, "; ".join(problems)))
    if "weights_sha256" in case:
        same = _digest(state) == case["weights_sha256"]
        checks.append(Check("weights_sha256", 0.0 if same else np.inf, 0.0, "" if same else "weights_sha256 differs"))
    if "weight_rule_seed" in case and not problems:
        made = weights_by_rule(config, case["weight_rule_seed"])
        worst = max((float((made[k] - state[k]).abs().max()), k) for k in made)
        checks.append(Check(f"weights by rule, {worst[1]}", worst[0], 1e-6))
    return state, checks


def tokenizer(config: official.TokenizerConfig, state: Mapping[str, Tensor], begun: bool = True) -> Any:
    """A network with the authors' weights; with codes that the first training step makes, unless ``begun``."""
    network = MoMaskTokenizer(config) if isinstance(config, MoMaskTokenizerConfig) else MoGenTSTokenizer(config)
    network.load_state_dict(official.to_ours(state, config))
    for module in network.modules():
        if isinstance(module, EMAQuantizer):
            module.started.fill_(begun)
    return network


def _task(network: Any, features: Tensor) -> Any:
    """Our own stage 1 with the usual settings; numbers are normalised already."""
    width = features.shape[-1]
    spec = next(spec for spec in REPRESENTATIONS.values() if spec.width == width and spec.name in ("hml263", "kit251"))
    statistics = Statistics(np.zeros(width), np.ones(width), spec.name)
    clips = [clip.numpy() for clip in features]
    kind = MoMaskTokenizerTask if isinstance(network, MoMaskTokenizer) else MoGenTSTokenizerTask
    return kind(network, statistics, clips, clips, TokenizerSettings(windows=(features.shape[1],)), 0)


def _named(task: Task, total: Tensor, parts: Mapping[str, Tensor]) -> dict[str, float]:
    """The numbers of a loss by the authors' names."""
    if isinstance(task, MoMaskTokenizerTask):
        return {"loss": float(total.detach())} | {k: float(parts[v].detach()) for k, v in MOMASK_PARTS.items()}
    said, s = {k: float(parts[v].detach()) for k, v in MOGENTS_PARTS.items()}, task.settings
    for name, stream in (("loss", ""), ("loss1", "aux_"), ("loss2", "grid_")):
        features, ric, commitment = (float(parts[stream + part].detach()) for part in ("features", "ric", "commitment"))
        said[name] = features + s.ric * ric + s.commitment * commitment
    return said | {"loss_all": float(total.detach())}


def _losses(task: Task, case: Case, tensors: Tensors, config: official.TokenizerConfig) -> Iterator[Check]:
    """Losses and gradients in evaluation mode."""
    values = case["values"]
    total, parts = task.loss(tensors["x"])
    said = _named(task, total, parts)
    for name, want in values.get("eval_losses", {}).items():
        yield _share(f"eval_losses {name}", said[name], want, LOSS)
    total.backward()  # type: ignore[no-untyped-call]
    gradients = {name: value.grad for name, value in task.network.named_parameters()}
    table = official.keys(config)
    if "params_without_grad" in values:
        without = sorted(theirs for theirs, ours in table.items() if ours in gradients and gradients[ours] is None)
        same = without == sorted(values["params_without_grad"])
        yield Check("params_without_grad", 0.0 if same else np.inf, 0.0, "" if same else f"without: {without}")
    for theirs, want in values.get("eval_grad_norms", {}).items():
        got = gradients[table[theirs]]
        assert got is not None
        yield _share(f"eval_grad_norms {theirs}", float(got.norm()), want, GRADIENT)
    for key in tensors:
        if key.startswith("grad."):
            got = gradients[table[key.removeprefix("grad.")]]
            assert got is not None
            yield _share(key, got, tensors[key], GRADIENT)


def _layers(quantizer: ResidualQuantizer) -> int:
    """How many layers a training step of theirs runs, drawn from Python's numbers."""
    dropped = random.random() < quantizer.layer_dropout
    return random.randrange(quantizer.count) + 1 if dropped else quantizer.count


def _steps(config: official.TokenizerConfig, case: Case, tensors: Tensors) -> Iterator[Check]:
    """Training steps, the first of which makes the codes."""
    values = case["values"]
    network = tokenizer(config, weights_by_rule(config, case["weight_rule_seed"]), begun=False)
    task = _task(network.train(), tensors["x"])
    optimizer = torch.optim.AdamW(task.network.parameters(), lr=0.0, betas=(0.9, 0.99), weight_decay=0.0)
    before = random.getstate()
    with torch.random.fork_rng(devices=[]):
        random.seed(case["config"]["train_py_seed"])
        torch.manual_seed(values.get("train_torch_seed", 11))
        for at, step in enumerate(values["train_steps"]):
            yield from _step(task, optimizer, step, tensors["x"], f"train_steps {at}")
        after = torch.rand(len(values["torch_rand_after_train_steps"]))
    random.setstate(before)
    yield compare("torch_rand_after_train_steps", after, values["torch_rand_after_train_steps"], 1e-7)
    state, table = task.network.state_dict(), official.keys(config)
    for key in tensors:
        if key.startswith("after3."):
            name = key.removeprefix("after3.")
            yield compare(key, state[table[name]], tensors[key], FEATURES if ".codebook" in name else WEIGHTS)


def _step(task: Task, optimizer: torch.optim.Optimizer, step: Case, x: Tensor, what: str) -> Iterator[Check]:
    if "next_python_randoms_before_step" in step:
        here, want = random.getstate(), step["next_python_randoms_before_step"]
        yield compare(f"{what} next_python_randoms", [random.random() for _ in want], want, 0)
        random.setstate(here)
    layers = tuple(_layers(quantizer) for quantizer in task.streams)
    total, parts = task.loss(x, layers if len(layers) > 1 else layers[0])  # type: ignore[arg-type]
    said = _named(task, total, parts)
    for name, want in step.items():
        if name in said:
            yield _share(f"{what} {name}", said[name], want, TRAINED_LOSS)
    optimizer.param_groups[0]["lr"] = step["lr"]
    optimizer.zero_grad()
    total.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    for name, quantizer in zip(("code_count_1d", "code_count_2d"), task.streams, strict=False):
        counts: list[Any] = step.get(name) or step.get("code_count") or []
        for layer, want in enumerate(counts):
            if want is not None:
                yield compare(f"{what} {name} {layer}", quantizer.layer(layer).code_count, want, 1e-6)


def _gaps(quantizer: ResidualQuantizer, rows: Tensor) -> list[float]:
    """Of each layer, the least distance between how near the nearest code of a row is and how near the second."""
    left, gaps = rows.flatten(0, -2), []
    for index in range(quantizer.count):
        near = quantizer.layer(index).distance(left).topk(2, largest=False).values
        gaps.append(float((near[:, 1] - near[:, 0]).min()))
        left = left - quantizer.layer(index).lookup(quantizer.layer(index).assign(left))
    return gaps


@torch.no_grad()
def _mogents_eval(net: MoGenTSTokenizer, case: Case, tensors: Tensors) -> Iterator[Check]:
    x, values = tensors["x"], case["values"]
    yield compare("x2d", split_joints(x), tensors["x2d"], 0)
    rows = net.rows(x)
    yield compare("enc1d", rows[0].transpose(1, 2), tensors["enc1d"], FEATURES)
    yield compare("enc2d", rows[1].permute(0, 3, 2, 1), tensors["enc2d"], FEATURES)
    aux, grid = net.encode(x)
    yield compare("code_idx1d", aux, tensors["code_idx1d"], 0)
    yield compare("code_idx2d", grid, tensors["code_idx2d"], 0)
    motion, poses, _ = net.decode_streams(aux, grid)
    made = {"dec_x_out1d": poses, "dec_x_out2d": motion, "dec_q1_x_out2d": net.decode(aux[..., :1], grid[..., :1])}
    if "padded_idx1d" in tensors:
        padded = (tensors[f"padded_idx{stream}"].long() for stream in ("1d", "2d"))
        made["dec_padded_x_out2d"] = net.decode(*padded)
    for frames in (re.fullmatch(r"T(\d+)_idx1d", key) for key in tensors):
        if frames:
            aux, grid = net.encode(x[:1, : int(frames[1])])
            yield compare(f"T{frames[1]}_idx1d", aux, tensors[f"T{frames[1]}_idx1d"], 0)
            yield compare(f"T{frames[1]}_idx2d", grid, tensors[f"T{frames[1]}_idx2d"], 0)
            made[f"T{frames[1]}_x_out2d"] = net.decode(aux, grid)
    found = net(x)
    made |= {"fwd_x_out1d": found.aux, "fwd_x_out2d": found.features, "fwd_jmotion": found.grid}
    for name, array in made.items():
        yield compare(name, array, tensors[name], FEATURES)
    numbers = {
        "fwd_commit_loss1d": found.aux_commitment, "fwd_commit_loss2d": found.grid_commitment,
        "fwd_perplexity1d": found.aux_perplexity, "fwd_perplexity2d": found.grid_perplexity,
    }  # fmt: skip
    for name, number in numbers.items():
        yield _share(name, float(number), values[name], LOSS)
    for stream, quantizer, part in zip(("1d", "2d"), (net.aux_quantizer, net.grid_quantizer), rows, strict=True):
        if "min_gap_sqdist_per_layer" in values:
            want = values["min_gap_sqdist_per_layer"][stream]
            yield compare(f"min_gap_sqdist_per_layer {stream}", _gaps(quantizer, part), want, 1e-4)


@torch.no_grad()
def _momask_eval(net: MoMaskTokenizer, case: Case, tensors: Tensors) -> Iterator[Check]:
    x, values = tensors["x"], case["values"]
    rows = net.encoder(x)
    yield compare("enc", rows.transpose(1, 2), tensors["enc"], FEATURES)
    tokens = net.encode(x)
    yield compare("code_idx", tokens, tensors["code_idx"], 0)
    if "all_codes" in tensors:
        codes = [net.quantizer.layer(i).lookup(here).transpose(1, 2) for i, here in enumerate(tokens.unbind(-1))]
        yield compare("all_codes", torch.stack(codes), tensors["all_codes"], FEATURES)
    yield compare("dec_x_out", net.decode(tokens), tensors["dec_x_out"], FEATURES)
    yield compare("dec_q1_x_out", net.decode(tokens[..., :1]), tensors["dec_q1_x_out"], FEATURES)
    output, commitment, perplexity = net(x)
    yield compare("fwd_x_out", output, tensors["fwd_x_out"], FEATURES)
    yield _share("fwd_commit", float(commitment), values["fwd_commit"], LOSS)
    yield _share("fwd_perplexity", float(perplexity), values["fwd_perplexity"], LOSS)
    if "min_gap_sqdist_per_layer" in values:
        want = values["min_gap_sqdist_per_layer"]
        yield compare("min_gap_sqdist_per_layer", _gaps(net.quantizer, rows), want, 1e-4)


def _run(path: Path, kind: Any, evaluate: Any) -> list[Check]:
    case, tensors = json.loads(path.read_text()), load_file(path.with_suffix(".safetensors"))
    config = official.config_from_options(kind, case["config"]["vq"], tensors["x"].shape[-1])
    state, checks = _weights(path, case, config)
    if not all(check.holds for check in checks if check.what == "keys"):
        return checks
    network = tokenizer(config, state).eval()
    checks += evaluate(network, case, tensors)
    checks += _losses(_task(network, tensors["x"]), case, tensors, config)
    if "train_steps" in case["values"]:
        checks += _steps(config, case, tensors)
    return checks


KINDS = [
    Kind(
        "mogents tokenizer", _pair("x", "x2d", "enc1d", "code_idx1d", "code_idx2d"),
        lambda path: _run(path, MoGenTSTokenizerConfig, _mogents_eval), _parts,
    ),
    Kind(
        "momask tokenizer", _pair("x", "enc", "code_idx"),
        lambda path: _run(path, MoMaskTokenizerConfig, _momask_eval), _parts,
    ),
]  # fmt: skip
