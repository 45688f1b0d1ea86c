"""MoGenTS and MoMask kinds: the length estimator, CLIP's tokens and tower, full-size names and shapes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from hftrainer.models.clip import ClipText, ClipTextConfig, ClipTokens, ClipTower
from hftrainer.models.motion.mogents import official, official_tokenizer, official_transformers
from hftrainer.models.motion.mogents.files import clip_state
from hftrainer.models.motion.mogents.length import LengthConfig, LengthEstimator
from hftrainer.models.motion.mogents.official import Family
from hftrainer.models.tower_files import build_clip, openai_rows
from tests.parity import Check, Kind, compare, json_keys, tensor_keys

FORWARD = 1e-5


def _same(what: str, got: object, want: object) -> Check:
    """Equal or not, of things that are no numbers."""
    if got == want:
        return Check(what, 0.0, 0.0)
    return Check(what, np.inf, 0.0, f"{what}: got {str(got)[:80]}, the case says {str(want)[:80]}")


# -------------------------------------------------------------------------------------------------------------- length


def _is_length(path: Path) -> bool:
    return path.suffix == ".json" and tensor_keys(path.with_suffix(".safetensors")) >= {"sampled_token_lens", "logits"}


def _length_parts(path: Path) -> list[Path]:
    return [path.with_suffix(".safetensors"), path.with_name(path.stem.replace("io_", "weights_") + ".safetensors")]


def _length(path: Path) -> list[Check]:
    case = json.loads(path.read_text())
    tensors, weights = (load_file(part) for part in _length_parts(path))
    config = LengthConfig(tensors["text_emb"].shape[1], tensors["logits"].shape[1])
    table = official.length_keys(config)
    checks = [_same("names", sorted(table.values()), sorted(weights))]
    estimator = LengthEstimator(config).eval()
    estimator.load_state_dict({ours: weights[theirs] for ours, theirs in table.items()})
    text = tensors["text_emb"]
    logits = estimator(text).detach()
    checks += [
        compare("logits", logits, tensors["logits"], FORWARD),
        compare("probs", logits.softmax(-1), tensors["probs"], FORWARD),
        compare("lengths, from their noise", (logits.softmax(-1) / tensors["noise"]).argmax(-1),
                tensors["sampled_token_lens"], 0),
    ]  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        same_noise = torch.equal(torch.empty_like(tensors["noise"]).exponential_(1), tensors["noise"])
        if same_noise:  # another build of torch draws other numbers
            torch.manual_seed(5)
            checks.append(compare("lengths, from the seed", estimator.draw(text), tensors["sampled_token_lens"], 0))
    return [*checks, *_length_training(estimator, text, case["values"])]


def _length_training(estimator: LengthEstimator, text: Tensor, values: Mapping[str, float]) -> list[Check]:
    #: The seed and the labels of the training step stand in the name of its loss.
    name = next(key for key in values if key.startswith("train_loss_seed"))
    seed, _, labels = name.removeprefix("train_loss_seed").partition("_labels_")
    want = torch.tensor([int(label) for label in labels.split("_")])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(seed))
        loss = nn.functional.cross_entropy(estimator.train()(text), want)
    loss.backward()
    norm = nn.utils.get_total_norm([p.grad for p in estimator.parameters() if p.grad is not None])
    total = next(key for key in values if key.startswith("total_grad_norm"))
    return [
        compare("training loss", loss.detach(), np.float64(values[name]), 1e-4 * values[name]),
        compare("gradient norm", norm, np.float64(values[total]), 1e-3 * values[total]),
    ]


# ---------------------------------------------------------------------------------------------------------------- CLIP


def _tokens(path: Path) -> list[Check]:
    case = json.loads(path.read_text())
    checks = []
    for text, want in zip(case["texts"], case["tokens"], strict=True):
        tokens = ClipTokens(context=len(want), positions=len(want))
        checks.append(compare(f"{text[:24]!r}", tokens.ids([text])[0], np.asarray(want), 0))
    tokens = ClipTokens(context=77)
    return [*checks, _same("start and end", (tokens.start, tokens.end), (case["sot"], case["eot"]))]


def rule_state(shapes: Mapping[str, Any], seed: int) -> dict[str, Tensor]:
    """Weights of a text tower that follow from a seed, by OpenAI's names."""
    draws, state = np.random.RandomState(seed), {}
    for key in sorted(shapes):
        if key.startswith("visual.") or key == "logit_scale":
            continue
        shape = tuple(shapes[key])
        z = draws.standard_normal(int(np.prod(shape))).reshape(shape)
        if len(shape) == 1:
            norm = key.endswith(".weight") and key.split(".")[-2].startswith("ln_")
            z = 1 + 0.1 * z if norm else 0.02 * z
        elif key in ("token_embedding.weight", "positional_embedding"):
            z = 0.05 * z
        elif key == "text_projection":
            z = z / np.sqrt(shape[0])
        else:
            z = 0.7 * z / np.sqrt(shape[1])
        state[key] = torch.from_numpy(z.astype(np.float32))
    return state


def _clip_text(path: Path) -> list[Check]:
    case, tensors = json.loads(path.read_text()), load_file(path.with_suffix(".safetensors"))
    with torch.device("meta"):
        empty = ClipText(ClipTextConfig())
    rows = openai_rows(ClipTextConfig().layers)
    state = rule_state({row.theirs[0]: empty.state_dict()[row.ours].shape for row in rows}, case["seed"])
    digest = hashlib.sha256()
    for key in sorted(state):
        digest.update(key.encode() + state[key].numpy().tobytes())
    ids = tensors["tokens"].long()
    return [
        _same("the weights that the case was made with", digest.hexdigest(), case["sha256_text_tower"]),
        compare("fp32", build_clip(state, "fp32")(ids), tensors["text_features_fp32"], 1e-4),
        compare("mixed", build_clip(state, "mixed")(ids), tensors["text_features_fp16_cpu"].float(), 2e-3),
    ]


# ----------------------------------------------------------------------------------------------------------- manifests


def their_shapes(family: Family, name: str, config: Mapping[str, Any]) -> dict[str, list[int]]:
    """The authors' names of one network's tensors and their shapes, from a network without numbers."""
    sizes = official.network_config(family, name, config)
    if isinstance(sizes, LengthConfig):
        with torch.device("meta"):
            state = LengthEstimator(sizes).state_dict()
        return {theirs: list(state[ours].shape) for ours, theirs in official.length_keys(sizes).items()}
    if name == "vq":
        state = official_tokenizer.hollow(sizes).state_dict()
        return {theirs: list(state[ours].shape) for theirs, ours in official_tokenizer.keys(sizes).items()}
    return {theirs: list(shape) for theirs, shape in official_transformers.shapes(sizes).items()}


def _groups(family: Family, said: Mapping[str, Any], dataset: str) -> dict[str, dict[str, Any]]:
    return official.config_from_artifact(family, said, dataset)


def _manifest(path: Path) -> list[Check]:
    case = json.loads(path.read_text())
    family = {found.name: found for found in (official.MOGENTS, official.MOMASK)}[case["family"]]
    config = _groups(family, case["config"], case["dataset"].split()[0])
    #: A manifest calls networks by their groups; files of artifacts add an ending.
    ours = {name.removesuffix("_trans"): name for name in family.networks}
    checks = [_same("networks", sorted(ours), sorted(case["state_dicts"]))]
    for name, want in case["state_dicts"].items():
        have = their_shapes(family, ours[name], config)
        checks += [
            _same(f"{name}: names", sorted(have), sorted(want)),
            *(_same(f"{name}: {key}", have.get(key), shape) for key, (shape, _) in want.items()),
        ]
        checks += [_same(f"{name}: {key} is float32", kind, "float32") for key, (_, kind) in want.items()]
        summary = case.get("summary", {}).get(name, {})
        if "parameters" in summary:
            count = sum(int(np.prod(have[key])) for key in have if key not in summary.get("buffers", ()))
            checks.append(compare(f"{name}: numbers", count, np.asarray(summary["parameters"]), 0))
    return checks


def _kit_difference(path: Path) -> list[Check]:
    """Which tensors of the motion tokenizer have another shape for KIT, and which of the other networks: none."""
    want, family = json.loads(path.read_text())["diff"], official.MOGENTS
    both = [_groups(family, {}, dataset) for dataset in family.datasets]
    checks = []
    for name in family.networks:
        humanml3d, kit = (their_shapes(family, name, config) for config in both)
        differ = {key: [humanml3d[key], kit.get(key)] for key in humanml3d if humanml3d[key] != kit.get(key)}
        stated = {key: [shape for shape, _ in pair] for key, pair in want.items()} if name == "vq" else {}
        checks += [_same(f"{name}: names", sorted(humanml3d), sorted(kit)), _same(f"{name}: shapes", differ, stated)]
    return checks


def _clip_manifest(path: Path) -> list[Check]:
    """CLIP's text half as OpenAI names it; the image half is passed over."""
    case = json.loads(path.read_text())
    sizes = case["ctor"]
    config = ClipTextConfig(
        sizes["vocab_size"], sizes["context_length"], sizes["transformer_width"], sizes["transformer_layers"],
        sizes["transformer_heads"], sizes["embed_dim"],
    )  # fmt: skip
    with torch.device("meta"):
        empty = ClipText(config, "mixed")
    rows, single = openai_rows(config.layers), set(case["float32_keys_after_fp16_conversion"])
    state = empty.state_dict()
    have = {row.theirs[0]: list(state[row.ours].shape) for row in rows}
    want = {
        key: shape for key, (shape, _) in case["state_dict"].items()
        if not key.startswith("visual.") and key != "logit_scale"
    }  # fmt: skip
    halves = {row.theirs[0]: state[row.ours].dtype == torch.float16 for row in rows}
    written = {key: value.dtype == torch.float16 for key, value in clip_state(_ones(config)).items()}
    return [
        _same("names", sorted(have), sorted(want)),
        *(_same(key, have.get(key), shape) for key, shape in want.items()),
        *(_same(f"{key} in half precision", half, key not in single) for key, half in halves.items()),
        *(_same(f"{key} written in half precision", half, key not in single) for key, half in written.items()),
    ]


def _ones(config: ClipTextConfig) -> ClipTower:
    """A tower whose numbers half precision holds."""
    small = replace(config, width=64, heads=1, output=64)
    network = ClipText(small)
    for value in network.state_dict().values():
        value.fill_(1.0)
    return ClipTower(network)


def _twin(path: Path) -> list[Path]:
    return [path.with_suffix(".safetensors")]


def _has(*keys: str) -> Callable[[Path], bool]:
    return lambda path: json_keys(path) >= set(keys)


def _is_clip_text(path: Path) -> bool:
    found = {"text_features_fp16_cpu", "text_features_fp32"}
    return path.suffix == ".json" and tensor_keys(path.with_suffix(".safetensors")) >= found


KINDS = (
    Kind("length estimator", _is_length, _length, _length_parts),
    Kind("clip tokens", _has("sot", "eot", "tokens"), _tokens),
    Kind("clip text tower", _is_clip_text, _clip_text, _twin),
    Kind("full-size networks", _has("family", "config", "state_dicts"), _manifest),
    Kind("mogents for KIT", _has("diff", "note"), _kit_difference),
    Kind("clip manifest", _has("ctor", "state_dict", "float32_keys_after_fp16_conversion"), _clip_manifest),
)
