"""Mask and residual transformers of MoGenTS and MoMask: logits, training losses, draws, rates.

A case is ``NAME.json`` with ``NAME.safetensors``. Its weights are those of a ``weights_…`` file beside it, or are made
from the seed that the case names. Where this machine's generators are not those of the reference (``why_not_same``),
what training hides is taken from the case, a generation (``mogents_generation``) replays the noise that its case
stores, and a line on stderr says why.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from hftrainer.models.motion.mogents import corruption
from hftrainer.models.motion.mogents import official_tokenizer as tokenizers
from hftrainer.models.motion.mogents import official_transformers as official
from hftrainer.models.motion.mogents.masked import MaskedTransformer, token_loss
from hftrainer.models.motion.mogents.residual import ResidualConfig, ResidualTransformer
from hftrainer.models.motion.mogents.transformer import TransformerConfig, real_frames
from hftrainer.training.loop import Schedule
from tests.parity import Check, Kind, compare, json_keys, mogents_tokenizer, tensor_keys
from tests.parity.mdm import seeded

Case = dict[str, Any]
Tensors = dict[str, Tensor]
Network = MaskedTransformer | ResidualTransformer

#: Specification, section 12, for small networks, and guided logits, which are four to five times as far apart.
LOGITS, GUIDED, FEATURES, LOSS, TRAINED_LOSS, GRADIENT = 1e-5, 5e-5, 1e-5, 1e-5, 1e-4, 1e-3


# ---------------------------------------------------------------------------------------------- this machine's draws

#: What the reference's machine draws after ``torch.manual_seed(123)``.
_PROBE = {
    "exponential_(2x4)": (0.46028441190719604, 0.013456078246235847, 0.895949125289917, 0.09721523523330688),
    "bernoulli(bool ones 2x8, p=0.3)": (0, 1, 0, 1, 0, 0, 0, 0, 0, 1, 0, 1, 1, 1, 1, 0),
    "torch_rand8_seed123": (0.29611194133758545, 0.516562283039093, 0.2516707181930542, 0.6885567903518677),
}


def _draws() -> dict[str, Callable[[], Tensor]]:
    """What a probe file names, each drawn after the seed."""

    def after(draw: Callable[[], object]) -> Callable[[], Tensor]:
        def call() -> Tensor:
            draw()
            return torch.rand(3)

        return call

    def scalar() -> Tensor:
        return torch.bernoulli(torch.ones(2, 8, dtype=torch.bool), p=0.3)

    def tensor() -> Tensor:
        return torch.bernoulli(torch.ones(8) * 0.1)

    return {
        "torch_rand8_seed123": lambda: torch.rand(8),
        "uniform_(2x4 zeros).flat_seed123": lambda: torch.zeros(2, 4).uniform_(),
        "uniform_ on 4x2 transposed view (2x4), read row-major": lambda: torch.zeros(4, 2).T.uniform_(),
        "exponential_(2x4)": lambda: torch.empty(2, 4).exponential_(1),
        "rand3_after_exponential_8": after(lambda: torch.empty(2, 4).exponential_(1)),
        "rand3_after_exponential_5000": after(lambda: torch.empty(5000).exponential_(1)),
        "bernoulli(bool ones 2x8, p=0.3)": scalar,
        "rand3_after_bernoulli_scalar": after(scalar),
        "bernoulli(tensor of 0.1, n=8)": tensor,
        "rand3_after_bernoulli_tensor": after(tensor),
        "randint_like(int64 zeros 8, high=20)": lambda: torch.randint_like(torch.zeros(8, dtype=torch.long), high=20),
        "randn_like 20": lambda: torch.randn_like(torch.zeros(20)),
        "dropout p=0.2 mask of ones(16)": lambda: torch.nn.functional.dropout(torch.ones(16), 0.2),
    }


def _drawn(name: str) -> Tensor:
    with seeded(123):
        return _draws()[name]().flatten().float()


@cache
def why_not_same() -> str:
    """Why draws here are not those of the reference; empty if they are."""
    for name, want in _PROBE.items():
        got = _drawn(name)[: len(want)]
        if float((got - torch.tensor(want, dtype=torch.float32)).abs().max()) > 1e-7:
            reason = f"draws of {name} must be {list(want)}; got {got.tolist()}"
            print(f"mogents: noise is replayed: {reason}.", file=sys.stderr)
            return reason
    return ""


def _probe(path: Path) -> list[Check]:
    case = json.loads(path.read_text())
    known = [name for name in case if name in _draws()]
    checks = []
    for name in known:
        # Another kind of machine may draw otherwise; its own line says so once, and cases are then replayed.
        same = 1e-6 if not why_not_same() else math.inf
        checks.append(compare(name, _drawn(name), np.asarray(case[name], np.float32).ravel(), same))
    return checks


def _rates(path: Path) -> list[Check]:
    """Learning rates by the iteration, counted from 1, that used them."""
    checks = []
    for name, rows in json.loads(path.read_text()).items():
        last = max(int(at) for at in rows)
        milestones = [int(m) for m in re.search(r"milestones?([\d_]+)", name)[1].split("_")]  # type: ignore[index]
        gamma = re.search(r"gamma([\d.]+)", name)
        # A motion tokenizer's rates begin to be counted when the warm-up is over.
        late = 1999 if "vq" in name else 0
        schedule = Schedule(
            last + 1, 2e-4, warmup=2000, curve="steps", milestones=tuple(m + late for m in milestones),
            gamma=float(gamma[1]) if gamma else 0.1,
        )  # fmt: skip
        for at, want in rows.items():
            checks.append(compare(f"{name} {at}", schedule.rate(int(at) - 1), want, 1e-12))
    return checks


# ---------------------------------------------------------------------------------------------- reading cases


def read_case(path: Path) -> tuple[Case, Tensors]:
    """The numbers of a case, and its arrays."""
    return json.loads(path.read_text()), load_file(path.with_suffix(".safetensors"))


def pair(*tensors: str, names: Sequence[str] = ("config", "values")) -> Callable[[Path], bool]:
    """``.json`` files with these names whose twin has these tensors."""

    def matches(path: Path) -> bool:
        if path.suffix != ".json" or not json_keys(path) >= set(names):
            return False
        return tensor_keys(path.with_suffix(".safetensors")) >= set(tensors)

    return matches


def parts(path: Path) -> list[Path]:
    """The twin of a case, and the weights beside it."""
    return [path.with_suffix(".safetensors"), *path.parent.glob("weights_*.safetensors")]


def _share(what: str, got: Any, want: Any, share: float) -> Check:
    want = np.asarray(want, np.float64)
    return compare(what, np.asarray(got, np.float64), want, share * max(float(np.abs(want).max()), 1e-6))


def family(case: Case) -> str:
    """``mogents`` or ``momask``."""
    return "momask" if "t2m" in case["config"] else "mogents"


def configs(case: Case) -> dict[str, TransformerConfig]:
    """The transformers of a case by the names of their files."""
    said, other = case["config"], case.get("override", {})
    other = other if isinstance(other, dict) else {}
    mask, residual = ({**said[name], **other} for name in ("t2m" if family(case) == "momask" else "mask", "res"))
    make = official.momask_configs if family(case) == "momask" else official.mogents_configs
    return make(said["vq"], mask, residual)


_TABLES = ("token_emb.weight", "token_embed_weight_", "output_proj_weight_", "embed_proj_shared_weight",
           "token_embed_weight", "output_proj_weight", "output_proj_bias")  # fmt: skip


def weights_by_rule(config: TransformerConfig, seed: int) -> Tensors:
    """The authors' state that a seed stands for: one stream of normal numbers, walked in the order of their names."""
    shapes, stream, state = official.shapes(config), np.random.RandomState(seed), {}
    needed = set(official.keys(config).values())
    for key in sorted(needed):
        values = stream.standard_normal(int(np.prod(shapes[key]))).reshape(shapes[key])
        if key == "position_enc.pe":
            values = official.computed_places(config).numpy().astype(np.float64) + 0.05 * values
        elif len(shapes[key]) == 1:
            norm = key.endswith(("norm1.weight", "norm2.weight", "LayerNorm.weight"))
            values = 1 + 0.1 * values if norm else 0.05 * values
        elif key in _TABLES:
            values = 0.3 * values
        else:
            values = values / np.sqrt(np.prod(shapes[key][1:]))
        state[key] = torch.from_numpy(values.astype(np.float32))
    state |= {key: official.computed_places(config) for key in shapes if key not in needed}
    return state


def _digest(state: Tensors) -> str:
    digest = hashlib.sha256()
    for key in sorted(state):
        digest.update(key.encode())
        digest.update(np.ascontiguousarray(state[key].numpy()).tobytes())
    return digest.hexdigest()


def build(path: Path, name: str, config: TransformerConfig, seed: int) -> tuple[Network, list[Check]]:
    """A network in evaluation mode with the weights beside a case, which must be those of its seed, or by rule."""
    stored, made, checks = path.with_name(f"weights_{name}.safetensors"), weights_by_rule(config, seed), []
    state = made
    if stored.is_file():
        state = load_file(stored)
        problems = official.misfits(state, config)
        checks.append(Check(f"{name} keys", float(len(problems)), 0.0, "; ".join(problems)))
        if problems:
            raise ValueError(f"{stored.name} must fit the case; {'; '.join(problems)}")
        worst = max((float((made[key] - state[key]).abs().max()), key) for key in state)
        checks.append(Check(f"{name} weights by rule, {worst[1]}", worst[0], 1e-6))
    network = ResidualTransformer(config) if isinstance(config, ResidualConfig) else MaskedTransformer(config)
    network.load_state_dict(official.to_ours(state, config))
    return network.eval(), checks


def build_tokenizer(path: Path, case: Case, seed: int, width: int) -> Any:
    """The motion tokenizer of a case in evaluation mode, with the weights beside it or by rule."""
    kind = tokenizers.MoMaskTokenizerConfig if family(case) == "momask" else tokenizers.MoGenTSTokenizerConfig
    config = tokenizers.config_from_options(kind, case["config"]["vq"], width)
    stored = path.with_name("weights_vq.safetensors")
    state = load_file(stored) if stored.is_file() else mogents_tokenizer.weights_by_rule(config, seed)
    return mogents_tokenizer.tokenizer(config, state).eval()


# ---------------------------------------------------------------------------------------------- weights alone


def _is_weights(path: Path) -> bool:
    return {"input_process.poseEmbedding.weight", "output_process.dense.weight"} <= tensor_keys(path)


def _weights(path: Path) -> list[Check]:
    """A file of weights that no case speaks of: its names fit a network of its sizes, and come back unchanged."""
    state = load_file(path)
    width, code_width = state["input_process.poseEmbedding.weight"].shape
    grid = "position2d_enc.pe" in state
    said: dict[str, Any] = {
        "code_width": code_width, "columns": official.COLUMNS if grid else 1, "width": width, "heads": 1,
        "layers": 1 + max(int(key.split(".")[2]) for key in state if key.startswith("seqTransEncoder.")),
        "feed_forward": len(state["seqTransEncoder.layers.0.linear1.weight"]),
        "text_width": state["cond_emb.weight"].shape[1], "learned_positions": not grid,
        "joint_attention": any(key.startswith("seqTransEncoder2.") for key in state),
        "time_attention": any(key.startswith("seqTransEncoder3.") for key in state),
    }  # fmt: skip
    config: TransformerConfig
    if "quant_emb.weight" in state:
        table = state["token_embed_weight_" if "token_embed_weight_" in state else "token_embed_weight"]
        config = ResidualConfig(
            **said, codes=table.shape[1] - 1 - grid, quantizers=state["quant_emb.weight"].shape[1],
            shared_tables="token_embed_weight_" in state,
        )  # fmt: skip
    else:
        config = TransformerConfig(**said, codes=len(state["output_process.poseFinal.weight"]))
    problems = official.misfits(state, config)
    checks = [Check("keys", float(len(problems)), 0.0, "; ".join(problems))]
    if not problems:
        network = ResidualTransformer(config) if isinstance(config, ResidualConfig) else MaskedTransformer(config)
        network.load_state_dict(official.to_ours(state, config))
        back = official.to_theirs(network.state_dict(), config)
        checks += [compare(key, back[key].detach(), state[key], 1e-6 if key.endswith(".pe") else 0) for key in state]
    return checks


# ---------------------------------------------------------------------------------------------- logits and losses


def _name(path: Path, case: Case, tensors: Tensors) -> str:
    """Which network a case is of: by what it stores, not by what it is called."""
    residual, full = "codes_in" in tensors, tensors["full_ids"].dim()
    if family(case) == "momask":
        return "res" if residual else "t2m"
    return ("res_" if residual else "mask_") + ("ts" if full == (4 if residual else 3) else "aux")


def _forward(
    network: Network, ids: Tensor, text: Tensor, lengths: Tensor, given: Tensors | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor | None]:
    """What training does: what is read, labels, logits, loss, accuracy, layers; ``given`` stands for what is drawn."""
    columns, real = network.config.columns, real_frames(lengths, ids.shape[1])
    cells = real if columns == 1 else real[..., None].expand(-1, -1, columns)
    if isinstance(network, ResidualTransformer):
        ids = torch.where(cells[..., None], ids, network.pad).flatten(1, -2)
        layers = corruption.draw_layers(len(ids), network.config.quantizers)
        if given:
            layers = given["evalfwd_active_q"].long()
        every = torch.arange(len(ids))
        read, labels = network.sums(ids)[layers - 1, every], ids[every, :, layers]
        context = network.context(text, real, "batch" if network.config.mixing == "sample" else None)
        logits = network.logits(network.finish(network.hidden(read, layers, context)), layers)
        return read, labels, logits, *token_loss(logits, labels, network.pad), layers
    ids = torch.where(cells, ids, network.pad)
    hide = corruption.hide_poses if columns == 1 else corruption.hide_cells
    read, labels = hide(ids, real, network.mask)
    if given:
        read, labels = given["evalfwd_input"].long(), given["evalfwd_labels"].long().view_as(labels)
    logits = network.logits(network.hidden(read.flatten(1), network.context(text, real)))
    return read, labels, logits, *token_loss(logits, labels.flatten(1), network.mask), None


@torch.no_grad()
def _logits(network: Network, tensors: Tensors, lengths: Tensor) -> Iterator[Check]:
    text, columns = tensors["text_emb"], network.config.columns
    nothing = torch.zeros_like(text)
    if isinstance(network, MaskedTransformer):
        ids = tensors["ids_in"].long().flatten(1)
        real = real_frames(lengths, ids.shape[1] // columns)
        shown, apart = network(ids, text, real), network(ids, nothing, real)
        arrays = {"logits_cond": (shown, LOGITS), "logits_uncond": (apart, LOGITS)}
        for key in tensors:
            scale = re.fullmatch(r"logits_cfg([\d.]+)", key)
            if scale:
                arrays[key] = (apart + float(scale[1]) * (shown - apart), GUIDED)
    else:
        codes = tensors["codes_in"]
        real = real_frames(lengths, codes.shape[1] // columns)
        mixing = "batch" if network.config.mixing == "sample" else None
        shown_context, apart_context = (network.context(part, real, mixing) for part in (text, nothing))

        def found(layer: Tensor, context: Any) -> tuple[Tensor, Tensor]:
            made = network.finish(network.hidden(codes, layer, context))
            return made, network.logits(made, layer)

        layers = tensors["qids"].long()
        hidden, shown = found(layers, shown_context)
        arrays = {"hidden_cond": (hidden, LOGITS), "logits_cond": (shown, LOGITS)}
        for key in tensors:
            scale = re.fullmatch(r"logits_cfg([\d.]+)_q(\d+)", key)
            if scale:
                layers = torch.full_like(tensors["qids"].long(), int(scale[2]))
                shown, apart = (found(layers, context)[1] for context in (shown_context, apart_context))
                arrays[key] = (apart + float(scale[1]) * (shown - apart), GUIDED)
    for key, (got, tolerance) in arrays.items():
        if key in tensors:
            yield compare(key, got.mT, tensors[key], tolerance)


def _transformer(path: Path) -> list[Check]:
    case, tensors = read_case(path)
    values, name = case["values"], _name(path, case, tensors)
    config = configs(case)[name]
    stored = "weights_" + path.stem.removeprefix("io_")
    beside = name if path.with_name(f"{stored}.safetensors").is_file() else "by rule"
    network, checks = build(path, beside, config, case["weight_rule_seed"])
    if "weights_sha256" in case:  # one unit in the last place of a table of positions changes it: told, not failed
        made = weights_by_rule(config, case["weight_rule_seed"])
        if _digest(made) != case["weights_sha256"]:
            print(f"mogents: {path.stem}: weights_sha256 differs.", file=sys.stderr)
    lengths, text, ids = torch.tensor(values["m_lens"]), tensors["text_emb"], tensors["full_ids"].long()
    checks += _logits(network, tensors, lengths)
    same = not why_not_same()
    if "evalfwd_loss" in values:
        with seeded(values["evalfwd_torch_seed"]):
            read, labels, logits, loss, accuracy, layers = _forward(
                network, ids, text, lengths, None if same else tensors
            )
            after = torch.rand(3)
        exact = 0 if layers is None else LOGITS
        checks.append(compare("evalfwd_input", read.detach(), tensors["evalfwd_input"], exact))
        checks.append(compare("evalfwd_labels", labels.flatten(1), tensors["evalfwd_labels"].flatten(1), 0))
        if layers is not None and "evalfwd_active_q" in tensors:
            checks.append(compare("evalfwd_active_q", layers, tensors["evalfwd_active_q"], 0))
        if "evalfwd_logits" in tensors:
            checks.append(compare("evalfwd_logits", logits.detach().mT, tensors["evalfwd_logits"], LOGITS))
        if "evalfwd_pred_id" in tensors:
            checks.append(compare("evalfwd_pred_id", logits.argmax(-1), tensors["evalfwd_pred_id"], 0))
        checks.append(_share("evalfwd_loss", float(loss.detach()), values["evalfwd_loss"], LOSS))
        checks.append(compare("evalfwd_acc", float(accuracy), values["evalfwd_acc"], 1e-6))
        if same:
            checks.append(compare("evalfwd_rand_after", after, values["evalfwd_rand_after"], 1e-7))
        checks += _gradients(network, loss, values)
    if "trainfwd_loss" in values and same:
        with seeded(values["trainfwd_torch_seed"]):
            *_, loss, accuracy, _ = _forward(network.train(), ids, text, lengths)
            after = torch.rand(3)
        checks.append(_share("trainfwd_loss", float(loss.detach()), values["trainfwd_loss"], TRAINED_LOSS))
        checks.append(compare("trainfwd_acc", float(accuracy), values["trainfwd_acc"], 1e-6))
        checks.append(compare("trainfwd_rand_after", after, values["trainfwd_rand_after"], 1e-7))
    return checks


def _gradients(network: Network, loss: Tensor, values: Case) -> Iterator[Check]:
    loss.backward()  # type: ignore[no-untyped-call]
    table = official.keys(network.config)
    found = {table[name]: weight.grad for name, weight in network.named_parameters()}
    without = sorted(name for name, gradient in found.items() if gradient is None)
    if "params_without_grad" in values:
        same = without == sorted(values["params_without_grad"])
        yield Check("params_without_grad", 0.0 if same else np.inf, 0.0, "" if same else f"without: {without}")
    for name, want in values.get("evalfwd_grad_norms", {}).items():
        gradient = found.get(name)
        got = float("nan") if gradient is None else float(gradient.norm())
        # Gradients that the softmax makes zero (offsets of keys, a table that no sample used) are rounding.
        yield compare(f"gradient {name}", got, want, GRADIENT * max(abs(want), 1e-2))


def _trainer(path: Path) -> list[Check]:
    case, tensors = read_case(path)
    values, seeds = case["values"], case["weights_seeds"]
    x, text = tensors["x"], tensors["text_emb"]
    tokenizer = build_tokenizer(path, case, case.get("vq_seed", seeds.get("vq")), x.shape[-1])
    with torch.no_grad():
        aux, grid = tokenizer.encode(x)
    checks = [compare("code_idx1d", aux, tensors["code_idx1d"], 0)]
    checks.append(compare("code_idx2d", grid, tensors["code_idx2d"], 0))
    lengths = torch.tensor(values["m_lens_frames"]) // tokenizer.config.frames_per_token
    found = {}
    for name, config in configs(case).items():
        found[name], more = build(path, name, config, seeds[name])
        checks += more
    if why_not_same():
        return checks
    first = [int(number) for number in re.findall(r"manual_seed\((\d+)\)", values["note"])]
    for what, training, tolerance in (("eval_losses", False, LOSS), ("train_losses", True, TRAINED_LOSS)):
        for seed, names in zip(first, (("mask_aux", "mask_ts"), ("res_aux", "res_ts")), strict=True):
            with seeded(seed):
                for name in names:
                    codes = aux if name.endswith("aux") else grid
                    ids = codes if name.startswith("res") else codes[..., 0]
                    read, _, _, loss, accuracy, layers = _forward(found[name].train(training), ids, text, lengths)
                    checks.append(_share(f"{what} {name}", float(loss.detach()), values[what][name], tolerance))
                    at = list(found).index(name)
                    checks.append(compare(f"{what} acc {name}", float(accuracy), values[what]["acc"][at], 1e-6))
                    if training:
                        continue
                    if f"{name}_input_ids" in tensors:
                        checks.append(compare(f"{name}_input_ids", read, tensors[f"{name}_input_ids"], 0))
                    if layers is not None and f"{name}_active_q" in tensors:
                        checks.append(compare(f"{name}_active_q", layers, tensors[f"{name}_active_q"], 0))
    return checks


KINDS = [
    Kind("mogents transformer", pair("full_ids", "text_emb", "evalfwd_labels"), _transformer, parts),
    Kind("mogents trainers", pair("code_idx1d", "code_idx2d", "mask_aux_input_ids"), _trainer, parts),
    Kind("transformer weights", _is_weights, _weights),
    Kind("draws of this machine", lambda path: {"torch_rand8_seed123", "exponential_(2x4)"} <= json_keys(path), _probe),
    Kind(
        "learning rates",
        lambda path: path.suffix == ".json" and any(re.search(r"milestones?\d", key) for key in json_keys(path)),
        _rates,
    ),
]
