"""MDM kinds: CLIP's tokens and tower, DistilBERT, checkpoints, the evaluator and its metrics, the reading of data."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from hftrainer.data import official as reading
from hftrainer.evaluation import metrics, replications
from hftrainer.models.clip import ClipText, ClipTextConfig, ClipTokens
from hftrainer.models.distilbert import DistilBert, DistilBertConfig
from hftrainer.models.evaluator import TextMotionEvaluator
from hftrainer.models.evaluator import official as evaluators
from hftrainer.models.evaluator.network import EvaluatorConfig
from hftrainer.models.evaluator.words import PARTS
from hftrainer.models.motion.mdm import official
from hftrainer.models.motion.mdm.network import MDM, Condition
from hftrainer.models.motion.mdm.release import read_release
from hftrainer.models.tower_files import build_clip, build_distilbert, distilbert_rows, openai_rows, transformers_rows
from tests.parity import Check, Kind, compare, json_keys, tensor_keys

Case = dict[str, Any]
FORWARD = 1e-5


def _beside(path: Path) -> tuple[Case, dict[str, Tensor]]:
    """A description and the tensors of the same name."""
    tensors = path.with_suffix(".safetensors")
    return json.loads(path.with_suffix(".json").read_text()), load_file(tensors) if tensors.is_file() else {}


def _tensors(*keys: str) -> Callable[[Path], bool]:
    """Descriptions whose tensors have these names."""
    return lambda path: path.suffix == ".json" and tensor_keys(path.with_suffix(".safetensors")) >= set(keys)


def _says(*keys: str) -> Callable[[Path], bool]:
    return lambda path: json_keys(path) >= set(keys)


def _twin(path: Path) -> Iterable[Path]:
    return [path.with_suffix(".safetensors")]


def _part(tensors: Mapping[str, Tensor], begin: str) -> dict[str, Tensor]:
    return {key.removeprefix(begin): value for key, value in tensors.items() if key.startswith(begin)}


def _same(what: str, got: object, want: object) -> Check:
    """Equal or not, of things that are no numbers."""
    if got == want:
        return Check(what, 0.0, 0.0)
    return Check(what, np.inf, 0.0, f"{what}: got {str(got)[:80]}, the case says {str(want)[:80]}")


# --------------------------------------------------------------------------------------------------------------- words


def _tokens(path: Path) -> list[Check]:
    checks = []
    for prompt in json.loads(path.read_text())["prompts"]:
        for key, context in (("ids_humanml_kit", 22), ("ids_other_datasets", 77)):
            if key in prompt:
                tokens = ClipTokens(context=context)
                want = np.zeros(77)
                want[: len(prompt[key])] = prompt[key]
                checks.append(compare(f"{prompt['text'][:24]!r}, {context}", tokens.ids([prompt["text"]])[0], want, 0))
        if {"ids_humanml_kit", "ids_other_datasets"} <= prompt.keys():
            cut = len(prompt["ids_other_datasets"]) > 22
            told = bool(ClipTokens().unread(prompt["text"]))
            checks.append(_same(f"{prompt['text'][:24]!r} is announced", told, cut))
    return checks


def _clip(path: Path) -> list[Check]:
    case, tensors = _beside(path)
    weights, ids = _part(tensors, "w/"), tensors["ids"]
    wanted = (
        ("fp32", tensors["text_features_fp32"], FORWARD),
        ("mixed", tensors["text_features_upstream_mixed_half_on_cpu"], 2e-3),
    )
    split = _as_transformers(weights, case["layers"])
    checks = [_same("names in transformers", sorted(split), sorted(case.get("hf_keys", split)))]
    for precision, want, tolerance in wanted:
        network = build_clip(weights, precision, case["heads"])
        checks.append(compare(precision, network(ids), want, tolerance))
        again = build_clip(split, precision, case["heads"])
        checks.append(compare(f"{precision}, by transformers' names", again(ids), want, tolerance))
        if precision == "mixed":
            checks += _types(network, case["layers"], case["dtype_after_convert"])
    return checks


def _types(network: ClipText, layers: int, stated: Mapping[str, str]) -> list[Check]:
    state = network.state_dict()
    have = {row.theirs[0]: str(state[row.ours].dtype).removeprefix("torch.") for row in openai_rows(layers)}
    return [_same("number types", have, {key: stated.get(key) for key in have})]


def _as_transformers(weights: Mapping[str, Tensor], layers: int) -> dict[str, Tensor]:
    ours = {row.ours: weights[row.theirs[0]] for row in openai_rows(layers)}
    found: dict[str, Tensor] = {}
    for row in transformers_rows(layers):
        value = ours[row.ours].t() if row.transposed else ours[row.ours]
        found |= zip(row.theirs, value.chunk(len(row.theirs)), strict=True)
    return found


def _clip_manifest(path: Path) -> list[Check]:
    case = json.loads(path.read_text())
    with torch.device("meta"):
        network = ClipText(ClipTextConfig(), "mixed")
    state, rows = network.state_dict(), openai_rows(ClipTextConfig().layers)
    have = {
        row.theirs[0]: [list(state[row.ours].shape), str(state[row.ours].dtype).removeprefix("torch.")] for row in rows
    }
    want = {key: value for key, value in case["text_keys"].items() if key != "logit_scale"}
    order = [key for key in case["parameter_order"] if key in want]
    return [
        _same("names", sorted(have), sorted(want)),
        *(_same(key, have.get(key), value) for key, value in want.items()),
        _same("every text tensor is a parameter", sorted(order), sorted(have)),
        compare("tensors", len(case["parameter_order"]), np.asarray(case["n_parameter_tensors_total"]), 0),
    ]


def _distilbert(path: Path) -> list[Check]:
    case, tensors = _beside(path)
    network = build_distilbert(_part(tensors, "w/"), case["config"]["n_heads"])
    real = tensors["attention_mask"].bool()
    states = network(tensors["ids"], real)
    checks = [
        compare("last_hidden_state", states, tensors["last_hidden_state"], FORWARD),
        compare("memory", states.transpose(0, 1), tensors["memory"], FORWARD),
        compare("padding", ~real, tensors["memory_key_padding_mask"].bool(), 0),
    ]
    if "full_state_dict" in case:
        with torch.device("meta"):
            full = DistilBert(DistilBertConfig()).state_dict()
        have = {row.theirs[0]: list(full[row.ours].shape) for row in distilbert_rows(DistilBertConfig().layers)}
        checks.append(_same("the full network", have, case["full_state_dict"]))
    return checks


# --------------------------------------------------------------------------------------------------------- checkpoints


def _is_manifest(path: Path) -> bool:
    if not json_keys(path):
        return False
    first = next(iter(json.loads(path.read_text()).values()))
    return isinstance(first, dict) and {"args_that_matter", "state_dict"} <= first.keys()


def _manifest(path: Path) -> list[Check]:
    checks = []
    for name, case in json.loads(path.read_text()).items():
        config = official.config_from_arguments(case["args_that_matter"])
        network, table = official.hollow(config), official.keys(config)
        state = network.state_dict()
        have = {table[key]: [list(v.shape), str(v.dtype).removeprefix("torch.")] for key, v in state.items()}
        want = {key: value for key, value in case["state_dict"].items() if not official.PASSED_OVER.match(key)}
        order = case["named_parameters_order_without_text_encoder"]
        checks += [
            _same(f"{name}: names, shapes and types", have, want),
            _same(f"{name}: parameters", sorted(table[key] for key, _ in network.named_parameters()), sorted(order)),
            compare(f"{name}: numbers", sum(p.numel() for p in network.parameters()),
                    np.asarray(case["n_params_without_text_encoder"]), 0),
            compare(f"{name}: steps", config.steps, np.asarray(case["num_timesteps"]), 0),
            _same(f"{name}: there and back", official.config_from_arguments(
                official.arguments_from_config(config, case["args_that_matter"].get("dataset", "humanml"))), config),
        ]  # fmt: skip
    return checks


def _defaults(path: Path) -> list[Check]:
    said = json.loads(path.read_text())
    ours = official.ARGUMENTS
    return [_same(key, ours[key], said[key]) for key in ours if key in said] + [
        _same("the default network", official.config_from_arguments(said), official.config_from_arguments({}))
    ]


def _expected(folder: Path) -> Path | None:
    found = [file for file in sorted(folder.glob("*.safetensors")) if {"x", "timesteps"} <= tensor_keys(file)]
    return found[0] if found else None


def _is_checkpoints(path: Path) -> bool:
    return path.is_dir() and any(path.glob("*/model*.pt")) and _expected(path) is not None


@torch.no_grad()
def _checkpoints(path: Path) -> list[Check]:
    file = _expected(path)
    assert file is not None
    tensors = load_file(file)
    condition = Condition(text=tensors["text_embed"].transpose(0, 1))
    checks = []
    for key, want in tensors.items():
        folder, _, choice = key.partition(".use_avg_")
        if not choice:
            continue
        (weights,) = (path / folder).glob("model*.pt")
        averages = None if choice == "True" else False
        if choice == "True" and not read_release(weights, statistics=False).arguments.get("use_ema"):
            averages = None  # a flat file has no averages, and the choice changes nothing
        files = read_release(weights, averages=averages, statistics=False)
        network = MDM(files.config).eval()
        network.load_state_dict(files.state)
        checks.append(compare(key, network(tensors["x"], tensors["timesteps"], condition), want, FORWARD))
    return checks


# ---------------------------------------------------------------------------------------------------------- evaluation


@torch.no_grad()
def _evaluator(path: Path) -> list[Check]:
    case, tensors = _beside(path)
    weights = {key.replace("/", ".", 1): value for key, value in tensors.items() if "/" in key}
    network: TextMotionEvaluator = evaluators.build(weights)
    checks = [
        compare("movements", network.movement(tensors["motions"][..., :-4]), tensors["movements"], FORWARD),
        compare("texts", network.encode_texts(tensors["word_embs"], tensors["pos_ohot"], tensors["cap_lens"]),
                tensors["text_embedding"], FORWARD),
        compare("motions", network.encode_motions(tensors["motions"], tensors["m_lens"], "packed"),
                tensors["motion_embedding"], FORWARD),
    ]  # fmt: skip
    if "pos_index" in case:
        checks.append(_same("word classes", {part: i for i, part in enumerate(PARTS)}, case["pos_index"]))
    if "full_manifest_finest_tar" in case:
        with torch.device("meta"):
            full = TextMotionEvaluator(EvaluatorConfig()).state_dict()
        have = {theirs: list(full[ours].shape) for ours, theirs in evaluators.evaluator_keys().items()}
        want = {f"{part}.{k}": v for part, rows in case["full_manifest_finest_tar"].items() for k, v in rows.items()}
        checks.append(_same("the full networks", have, want))
    return checks


def _metrics(path: Path) -> list[Check]:
    case, tensors = _beside(path)
    arrays = {key: value.numpy() for key, value in tensors.items()}
    text, motion = arrays["emb_text"], arrays["emb_motion"]
    found = metrics.retrieval(text, motion, group=len(text))
    rng = np.random.RandomState(case["seed"])
    first, repeats = len(arrays["act1"]), arrays["mm"].shape[1]
    diversity = metrics.diversity(arrays["act1"], *metrics.diversity_pairs(first, rng, 300))
    spread = metrics.multimodality(arrays["mm"], *metrics.multimodality_pairs(repeats, rng, 10))
    example = replications.summary(case["ci_example"]["values"])
    wanted = (
        ("distances", metrics.distances(text, motion), arrays["dist"], 1e-4),
        ("matching score", found.matching * found.used, case["matching_score_sum"], 1e-3),
        ("found among the nearest", np.asarray(found.precision) * found.used, case["top123_counts"], 1e-9),
        ("FID", metrics.frechet(arrays["act1"], arrays["act2"]), case["fid"], 1e-6),
        ("diversity", diversity, case["diversity_300"], 1e-5),
        ("multimodality", spread, case["multimodality_10"], 1e-5),
        ("mean", example["mean"], case["ci_example"]["mean"], 1e-9),
    )
    return [compare(what, got, np.asarray(want, np.float64), tolerance) for what, got, want, tolerance in wanted]


# ---------------------------------------------------------------------------------------------------------------- data


def _data(path: Path) -> list[Check]:
    case, checks = json.loads(path.read_text()), []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "new_joint_vecs").mkdir()
        (folder / "texts").mkdir()
        for name, frames in case["clips"].items():  # every feature of frame t is int(name) * 1000 + t
            values = int(name) * 1000.0 + np.arange(frames)
            np.save(folder / "new_joint_vecs" / f"{name}.npy", np.repeat(values[:, None], 263, 1).astype(np.float32))
            (folder / "texts" / f"{name}.txt").write_text("\n".join(case["texts"][name]) + "\n")
        (folder / "train.txt").write_text("\n".join(case["clips"]) + "\n")
        for run in case["cases"]:
            checks += _reading(folder, run)
    return checks


def _reading(folder: Path, run: Case) -> list[Check]:
    what = f"{run['mode']} {run['fixed_len'] or 'whole'}"
    entries = reading.text_entries(folder, "train", random.Random(run["construct_seed"]))
    shortest = max(20, run["fixed_len"])
    checks = [
        _same(f"{what}: names", [entry.name for entry in entries], run["name_list_sorted"]),
        _same(f"{what}: lengths", [entry.frames for entry in entries], run["length_arr"]),
        _same(f"{what}: first", sum(entry.frames < shortest for entry in entries), run["pointer"]),
        _same(f"{what}: count", sum(entry.frames >= shortest for entry in entries), run["len"]),
    ]
    seed = run["construct_seed"] + 1  # items are drawn after seeding with the next number
    rng, numpy_rng = random.Random(seed), np.random.RandomState(seed)
    for item in run["items"]:
        entry = entries[item["i"] + run["pointer"]]
        got = reading.text_item(
            entry, np.zeros(263), np.ones(263), rng, numpy_rng, frames=run["fixed_len"] or None
        )
        length = [got.length, len(got.motion)] if run["fixed_len"] else got.length
        ours = (got.caption, got.sentence, length, float(got.motion[0, 0]), "_".join(got.tokens or ()))
        told = (item["caption"], item["sent_len"], item["length"], item["first_value"])
        checks.append(_same(f"{what}: item {item['i']}", ours[:4], told))
        checks.append(_same(f"{what}: tokens {item['i']}", ours[4][: len(item["tokens"])], item["tokens"]))
    return checks


KINDS = (
    Kind("mdm clip tokens", lambda p: json_keys(p) >= {"prompts"} and "ids_humanml_kit" in p.read_text(), _tokens),
    Kind("mdm clip text", _tensors("ids", "text_features_fp32"), _clip, _twin),
    Kind("mdm clip manifest", _says("text_keys", "parameter_order"), _clip_manifest),
    Kind("mdm distilbert", _tensors("ids", "attention_mask", "last_hidden_state"), _distilbert, _twin),
    Kind("mdm manifest", _is_manifest, _manifest),
    Kind("mdm options", _says("latent_dim", "diffusion_steps", "text_encoder_type"), _defaults),
    Kind("mdm checkpoints", _is_checkpoints, _checkpoints),
    Kind("mdm evaluator", _tensors("movement_encoder/main.0.weight", "motion_embedding"), _evaluator, _twin),
    Kind("mdm metrics", _tensors("emb_text", "emb_motion", "act1", "mm"), _metrics, _twin),
    Kind("mdm reading of data", _says("clips", "texts", "cases", "rule"), _data),
)
