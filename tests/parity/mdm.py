"""MDM kinds: networks, diffusion, samplers, edits, DiP, losses, training steps, generator states, whole generation.

A case is a ``.json`` with a ``.safetensors`` of the same name, and a file of weights beside it; where there is none,
the weights follow from a seed (``weights_by_rule``). Samples are drawn in the authors' order after
``torch.manual_seed``. Where this computer and its torch are of the reference's kind they must agree in every bit;
elsewhere the tolerances of the specification hold, and a line on stderr says why.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from hftrainer.models.artifact import read_torch_file
from hftrainer.models.motion.mdm import construction, dip, editing, losses, official
from hftrainer.models.motion.mdm.config import MDMConfig
from hftrainer.models.motion.mdm.network import MDM, Condition, position_table
from hftrainer.models.motion.mdm.sampling import Kept, OfficialNoise, denoiser, sample
from hftrainer.models.motion.mdm.schedule import Schedule, kept_steps, named_betas
from hftrainer.motion import rotation
from hftrainer.motion.representation import hml263
from hftrainer.motion.skeleton import SMPL22
from tests.parity import Check, Kind, compare, json_keys, tensor_keys

Case = dict[str, Any]
Tensors = dict[str, Tensor]
Matches = Callable[[Path], bool]

#: Largest absolute differences across machines: specification, section 7, rule 7.
FORWARD, GUIDED, SAMPLE, STRONG, STRONG_SAMPLE, JOINTS = 1e-5, 3e-5, 5e-5, 1e-4, 3e-4, 1e-4
#: Guidance where a case does not say.
GUIDANCE = 2.5


# ---------------------------------------------------------------------------------------------- exactness


@cache
def why_not_exact() -> str:
    """Why samples here cannot be expected to agree in every bit with the reference's; empty if they can."""
    reasons = [
        f"{what} must be {want}; got {got}"
        for what, want, got in (
            ("torch", "2.13", ".".join(torch.__version__.split(".")[:2])),
            ("the processor's instructions", "AVX512", torch.backends.cpu.get_cpu_capability()),
            ("matrix products", "with MKL", "with MKL" if torch.backends.mkl.is_available() else "without"),
        )
        if got != want
    ]
    if reasons:
        print(f"mdm: exact comparison is off: {'; '.join(reasons)}.", file=sys.stderr)
    return "; ".join(reasons)


def _exact(tolerance: float) -> float:
    return tolerance if why_not_exact() else 0.0


@contextmanager
def seeded(seed: int | None, threads: int = 1) -> Iterator[None]:
    """torch's generator as after ``torch.manual_seed``; as it was before, afterwards.

    The reference ran on two threads. One gives the same bits everywhere but in DiP with changing prompts, and is
    quicker on a busy computer.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng(devices=[]):
            if seed is not None:
                torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(before)


# ---------------------------------------------------------------------------------------------- reading cases


def _read(path: Path) -> tuple[Case, Tensors]:
    tensors = path.with_suffix(".safetensors")
    return json.loads(path.read_text()), load_file(tensors) if tensors.is_file() else {}


def _pair(*keys: str, has: Sequence[str] = ()) -> Matches:
    """``.json`` files with these names whose twin has these tensors."""

    def matches(path: Path) -> bool:
        if path.suffix != ".json" or not json_keys(path) >= set(keys):
            return False
        return tensor_keys(path.with_suffix(".safetensors")) >= set(has)

    return matches


def _parts(path: Path) -> list[Path]:
    """The twin of a case, and the weights beside it."""
    weights = [file for file in path.parent.glob("*weights*") if not json_keys(file)]
    return [path.with_suffix(".safetensors"), *weights]


def config_of(theirs: Case, **ours: Any) -> MDMConfig:
    """The network that the arguments of the authors' class describe."""
    tower = {name: mine for mine, name in official.TOWERS.items()}[theirs["text_encoder_type"]]
    return MDMConfig(
        **{
            "architecture": theirs["arch"],
            "joints": theirs["njoints"],
            "features": theirs["nfeats"],
            "first_frame": theirs["data_rep"] == "rot_vel",
            "width": theirs["latent_dim"],
            "layers": theirs["num_layers"],
            "heads": theirs["num_heads"],
            "feed_forward": theirs["ff_size"],
            "dropout": theirs["dropout"],
            "condition": {"no_cond": "none"}.get(theirs["cond_mode"], theirs["cond_mode"]),
            "text_encoder": tower,
            "text_width": official.TEXT_WIDTHS[tower],
            "actions": theirs["num_actions"],
            "condition_dropout": theirs["cond_mask_prob"],
            "time_token": theirs["emb_trans_dec"],
            "mask_frames": theirs["mask_frames"],
            "positions": theirs["pos_embed_max_len"],
            "context_frames": theirs["context_len"],
            "predicted_frames": theirs["pred_len"],
            "target_encoder": theirs["multi_encoder_type"] if theirs["multi_target_cond"] else None,
            "target_layers": theirs["target_enc_layers"],
            "steps": 1,
            "recur_over_batch": theirs["arch"] == "gru",
        }
        | ours
    )


def weights_by_rule(config: MDMConfig, seed: int) -> Tensors:
    """The authors' state that a seed stands for: one stream of normal numbers, walked in the order of their names."""
    shapes = {official.keys(config)[name]: value.shape for name, value in official.hollow(config).state_dict().items()}
    stream, state = np.random.RandomState(seed), {}
    for key in sorted(shapes):
        values = stream.standard_normal(tuple(shapes[key]))
        group, name = key.split(".")[-2:]
        if group.startswith("norm") and name == "weight":
            values = 1 + 0.1 * values
        else:
            values = values / np.sqrt(shapes[key][-1]) if len(shapes[key]) >= 2 else 0.05 * values
        state[key] = torch.from_numpy(values.astype(np.float32))
    return state


def build(config: MDMConfig, *states: tuple[Tensors, str], seed: int | None = None) -> MDM:
    """A network in evaluation mode, each tensor from the first state that has it below its prefix, or by rule."""
    found = {}
    for key in official.keys(config).values():
        held = [state[prefix + key] for state, prefix in states if prefix + key in state]
        if held:
            found[key] = held[0]
    if not found and seed is not None:
        found = weights_by_rule(config, seed)
    network = MDM(config)
    network.load_state_dict(official.to_ours(found, config))
    return network.eval()


def _beside(path: Path, word: str = "weights") -> Tensors:
    """All tensors of the files of weights beside a case."""
    state: Tensors = {}
    for file in sorted(path.parent.glob(f"*{word}*.safetensors")):
        state |= load_file(file)
    return state


def _prefix(state: Tensors, name: str) -> str:
    """The longest ``PREFIX/`` in a state that a case's name begins with; cases may share weights."""
    fits = {key.split("/")[0] for key in state if "/" in key and name.startswith(key.split("/")[0])}
    return max(fits, key=len) + "/" if fits else ""


def text_condition(embedding: Tensor, mask: Tensor | None = None, **more: Any) -> Condition:
    """A condition of the authors' layout: ``(L, B, W)``, and a mask that is True where text is padding."""
    return Condition(
        text=embedding.transpose(0, 1), text_mask=None if mask is None else mask == 0, **more
    )  # fmt: skip


def real_frames(lengths: Tensor, frames: int) -> Tensor:
    """``(B, T)`` bool."""
    return torch.arange(frames)[None] < lengths[:, None]


# ---------------------------------------------------------------------------------------------- schedules

_CONSTANTS = {
    "betas": "betas",
    "alphas_cumprod": "kept",
    "alphas_cumprod_prev": "kept_before",
    "alphas_cumprod_next": "kept_after",
    "log_one_minus_alphas_cumprod": "log_noise",
    "posterior_log_variance_clipped": "posterior_log_variance",
    "posterior_variance": "posterior_variance",
    "posterior_mean_coef1": "clean_share",
    "posterior_mean_coef2": "noisy_share",
    "sqrt_alphas_cumprod": "sqrt_kept",
    "sqrt_one_minus_alphas_cumprod": "sqrt_noise",
    "sqrt_recip_alphas_cumprod": "sqrt_recip",
    "sqrt_recipm1_alphas_cumprod": "sqrt_recip_less_one",
}
_NAMED = re.compile(r"(cosine|linear)(\d+)(?:_respace([\w,]+))?")


def _named(name: str) -> tuple[str, int, Schedule]:
    found = _NAMED.fullmatch(name)
    if not found:
        raise ValueError(f"a schedule must be named like cosine50 or cosine1000_respace20; got {name}.")
    schedule = Schedule.named(found[1], int(found[2]))
    return found[1], int(found[2]), schedule.respaced(found[3]) if found[3] else schedule


def _is_constants(path: Path) -> bool:
    return any(key.endswith(".posterior_mean_coef1") for key in tensor_keys(path))


def _constants(path: Path) -> list[Check]:
    twin = path.with_suffix(".json")
    checks = []
    for key, want in load_file(path).items():
        name, constant = key.split(".")
        kind, steps, schedule = _named(name)
        got = named_betas(kind, steps) if constant == "schedule_betas" else getattr(schedule, _CONSTANTS[constant])
        checks.append(compare(key, got, want, 0))
    for key, want in (json.loads(twin.read_text()) if twin.is_file() else {}).items():
        if key.endswith(".timestep_map"):
            checks.append(compare(key, _named(key.removesuffix(".timestep_map"))[2].steps, want, 0))
        elif isinstance(want, str) and want.startswith("AssertionError"):
            checks.append(_refused(key, lambda key=key: _named(key)))
    return checks


def _refused(what: str, call: Callable[[], object]) -> Check:
    try:
        call()
    except ValueError:
        return Check(what, 0.0, 0.0)
    return Check(what, np.inf, 0.0, f"{what} must be refused; it was not")


def _respacing(path: Path) -> list[Check]:
    case, _ = _read(path)
    checks = []
    for row in case["ok"]:
        what, got = f"{row['num_timesteps']}:{row['section_counts']}", None
        got = kept_steps(row["num_timesteps"], row["section_counts"])
        checks.append(compare(what, got, row["kept"], 0))
    for row in case["errors"]:
        what = f"{row['num_timesteps']}:{row['section_counts']}"
        if "error" in row:
            checks.append(_refused(what, lambda row=row: kept_steps(row["num_timesteps"], row["section_counts"])))
        else:  # the beginning of what the authors take where no error was seen
            got = kept_steps(row["num_timesteps"], row["section_counts"])
            checks.append(compare(what, got[: len(row["kept"])], row["kept"], 0))
    return checks


def _positions(path: Path) -> list[Check]:
    case, tensors = _read(path)
    checks = []
    for key, want in tensors.items():
        found = re.fullmatch(r"pe(\d+)_(rows|first(\d+))", key)
        if found:
            width = int(found[1])
            if found[2] == "rows":
                table = position_table(int(tensors["rows"].max()) + 1, width)[tensors["rows"], 0]
            else:
                table = position_table(int(found[3]), width)[:, 0]
            checks.append(compare(key, table, want, _exact(1e-6)))
    for key, want in case.items():
        found = re.fullmatch(r"md5_(\d+)_full", key)
        if found and not why_not_exact():
            table = position_table(case[f"shape_{found[1]}"][0], int(found[1]))
            checks.append(Check(key, float(hashlib.md5(table.numpy().tobytes()).hexdigest() != want), 0))
    return checks


# ---------------------------------------------------------------------------------------------- networks


def _is_weights(path: Path) -> bool:
    keys = json_keys(path)
    theirs = any(key.startswith("input_process.") for key in tensor_keys(path.with_suffix(".safetensors")))
    return path.suffix == ".json" and {"config", "weight_rule_seed"} <= keys and "cases" not in keys and theirs


def _weights(path: Path) -> list[Check]:
    case, tensors = _read(path)
    config = config_of(case["config"])
    checks = [
        compare(key, value, tensors[key], 0)
        for key, value in weights_by_rule(config, case["weight_rule_seed"]).items()
    ]
    for key, want in tensors.items():
        if key.endswith(".pe"):
            checks.append(compare(key, position_table(*want.shape[::2]), want, _exact(1e-6)))
    return checks


def _strict(path: Path, case: Case) -> int | None:
    """The seed of a folder's weights: the case's own, or what a description of weights beside it says."""
    said = [case, *(json.loads(file.read_text()) for file in path.parent.glob("*weights*.json"))]
    return next((entry["weight_rule_seed"] for entry in said if "weight_rule_seed" in entry), None)


@torch.no_grad()
def _encoder_forward(path: Path) -> list[Check]:
    case, tensors = _read(path)
    config = config_of(case["config"])
    state, seed = _beside(path), _strict(path, case)
    network = build(config, (state, ""), seed=seed)
    masked = build(config_of(case["config"], mask_frames=True), (state, ""), seed=seed)
    x, frames = tensors["x"], tensors["x"].shape[-1]
    told = text_condition(tensors["text_embed"])
    real = real_frames(tensors["lengths"], frames)
    row = next(int(key[-1]) for key in tensors if re.search(r"_t\d$", key))
    t = tensors["timesteps"][row]
    checks = []

    def add(key: str, got: Callable[[], Tensor], tolerance: float = FORWARD) -> None:
        if key in tensors:
            checks.append(compare(key, got(), tensors[key], _exact(tolerance)))

    with seeded(None):
        for i, steps in enumerate(tensors["timesteps"]):
            add(f"t{i}.cond", lambda s=steps: network(x, s, told))
            add(f"t{i}.uncond", lambda s=steps: network(x, s, told.hide()))
            add(f"t{i}.cfg2.5", lambda s=steps: denoiser(network, told, 2.5, merged=False)(x, s), GUIDED)
            add(f"t{i}.time_emb", lambda s=steps: network.embed_time(s, told))
            key = f"t{i}.cfg2.5"
            if key in tensors:
                got = denoiser(network, told, 2.5, merged=True)(x, steps)
                checks.append(compare(f"{key} in one pass", got, tensors[key], GUIDED))
        time = network.embed_time(t, told)
        nothing = torch.zeros_like(time)
        add("embed_text", lambda: network.embed_condition(nothing, told))
        add("embed_text_zero", lambda: network.embed_condition(nothing, told.hide()))
        add("input_process", lambda: network.read_motion(x, nothing))
        sequence = torch.cat((network.embed_condition(time, told), network.read_motion(x, nothing)))
        sequence = sequence + network.places[: len(sequence)]
        add(f"pos_encoded_t{row}", lambda: sequence)
        for layer in network.layers:
            sequence = layer(sequence, None)
        add(f"encoder_out_t{row}", lambda: sequence)
        scale = tensors.get("scale_vec")
        add(f"cfg_vec_t{row}", lambda: denoiser(network, told, scale, merged=False)(x, t), GUIDED)
        one = text_condition(tensors["text_embed_single"]) if "text_embed_single" in tensors else told
        add(f"single_prompt_t{row}", lambda: network(x, t, one))
        ragged = Condition(text=told.text, frames=real)
        add(f"ignored_length_mask_t{row}", lambda: network(x, t, ragged))
        add(f"maskframes.cond_t{row}", lambda: masked(x, t, ragged))
        add(f"maskframes.uncond_t{row}", lambda: masked(x, t, ragged.hide()))
        whole = Condition(text=told.text, frames=torch.ones_like(real))
        add(f"maskframes.allvalid_t{row}", lambda: masked(x, t, whole))
        column = Condition(text=told.text, frames=real[:, :1])
        add(f"maskframes.mask_len1_t{row}", lambda: masked(x, t, column))
    return checks


def _is_decoder(path: Path) -> bool:
    keys = tensor_keys(path.with_suffix(".safetensors"))
    return path.suffix == ".json" and {"x", "timesteps", "text_embed_clip", "text_embed_bert"} <= keys


@torch.no_grad()
def _decoder(path: Path) -> list[Check]:
    case, tensors = _read(path)
    state, x, t = _beside(path), tensors["x"], tensors["timesteps"]
    checks = []
    for name, row in case.items():
        if not isinstance(row, dict) or "config" not in row:
            continue
        config = config_of(row["config"])
        network = build(config, (state, _prefix(state, name)), seed=_strict(path, case))
        bert = config.text_encoder == "distilbert"
        frames = real_frames(tensors["lengths"], x.shape[-1])
        text = tensors["text_embed_bert" if bert else "text_embed_clip"]
        told = text_condition(text, tensors["text_mask_bert"] if bert else None, frames=frames)
        mask = tensors["text_mask_bert"][-1:] if bert else None  # the first prompt, with the mask of the last
        one = text_condition(text[:, :1].contiguous(), mask, frames=frames)
        with seeded(None):
            wanted = {
                "cond": lambda network=network, told=told: network(x, t, told),
                "uncond": lambda network=network, told=told: network(x, t, told.hide()),
                "cfg2.5": lambda network=network, told=told: denoiser(network, told, 2.5, merged=False)(x, t),
                "single_prompt": lambda network=network, one=one: network(x, t, one),
            }
            for key, make in wanted.items():
                if f"{name}.{key}" in tensors:
                    tolerance = GUIDED if key == "cfg2.5" else FORWARD
                    checks.append(compare(f"{name}.{key}", make(), tensors[f"{name}.{key}"], _exact(tolerance)))
        for key in (key for key in row if key.startswith("sample")):
            said, want = row[key], tensors[f"{name}.{key}"]
            with seeded(said["seed"]):
                schedule = Schedule.named("cosine", said["steps"])
                got = sample(network, schedule, want.shape, told, guidance=said["guidance"])
            checks.append(compare(f"{name}.{key}", got, want, _exact(SAMPLE)))
    return checks


def _is_various(path: Path) -> bool:
    keys = tensor_keys(path.with_suffix(".safetensors"))
    return path.suffix == ".json" and {"x_hml", "x_kit", "x_rot6d", "timesteps"} & keys >= {"timesteps"} and bool(
        {"x_hml", "x_kit", "x_rot6d"} & keys
    )


@torch.no_grad()
def _various(path: Path) -> list[Check]:
    case, tensors = _read(path)
    state, t = _beside(path), tensors["timesteps"]
    checks = []
    for name, row in case.items():
        if not isinstance(row, dict) or "config" not in row:
            continue
        config = config_of(row["config"])
        network = build(config, (state, _prefix(state, name)), seed=_strict(path, case))
        rows = {263: "x_hml", 251: "x_kit"}.get(config.joints, "x_rot6d")
        x = tensors[rows]
        told = Condition()
        if config.condition == "text":
            told = text_condition(tensors["text_embed"])
        elif config.condition == "action":
            told = Condition(action=tensors["action"].flatten())
        with seeded(None):
            if f"{name}.cond" in tensors:
                checks.append(compare(f"{name}.cond", network(x, t, told), tensors[f"{name}.cond"], _exact(FORWARD)))
            if f"{name}.uncond" in tensors:
                got = network(x, t, told.hide())
                checks.append(compare(f"{name}.uncond", got, tensors[f"{name}.uncond"], _exact(FORWARD)))
        for key in (key for key in tensors if re.fullmatch(re.escape(name) + r"\.sample\d+", key)):
            steps, want = int(key.rpartition("sample")[2]), tensors[key]
            with seeded(row["seed"]):
                schedule = Schedule.named("cosine", steps)
                got = sample(network, schedule, want.shape, told, guidance=row["guidance"])
            checks.append(compare(key, got, want, _exact(SAMPLE)))
    return checks


# ---------------------------------------------------------------------------------------------- samples and edits


def _schedule(said: Case) -> Schedule:
    named = Schedule.named(said.get("noise_schedule", "cosine"), said["steps"], small=said.get("sigma_small", True))
    return named.respaced(said["respacing"]) if said.get("respacing") else named


def _guidance(said: Case) -> float | None:
    value = said.get("guidance", GUIDANCE)
    return value if isinstance(value, int | float) else None


def _drawn(said: Case) -> int | None:
    """How many draws a case counted."""
    draws = said.get("draws")
    total = re.search(r"total (\d+)", str(draws[-1])) if draws else None
    return int(total[1]) if total else None


def _is_samples(path: Path) -> bool:
    keys = json_keys(path)
    if path.suffix != ".json" or not {"config", "cases"} <= keys:
        return False
    return any(key.endswith(".sample") for key in tensor_keys(path.with_suffix(".safetensors")))


def _samples(path: Path) -> list[Check]:
    case, tensors = _read(path)
    state, seed = _beside(path), case.get("weight_rule_seed")
    networks = {
        flag: build(config_of(case["config"], mask_frames=flag), (state, ""), seed=seed)
        for flag in {bool(case["config"]["mask_frames"]), True}
    }
    plain = bool(case["config"]["mask_frames"])
    checks = []
    for name, said in case["cases"].items():
        again = 1 + int(name.rpartition("_rep")[2]) if isinstance(said, str) else 1
        if isinstance(said, str):  # "second call after NAME without reseeding"
            said = case["cases"][name.rpartition("_rep")[0]]
        want = tensors[f"{name}.sample"]
        dumped = said.get("dump_steps")
        shape = want.shape[1:] if dumped else want.shape
        lengths = said.get("lengths")
        told = text_condition(
            tensors["text_embed"][:, : shape[0]],
            frames=real_frames(torch.tensor(lengths), shape[-1]) if lengths else None,
        )
        schedule, skip, states = _schedule(said), said.get("skip_timesteps", 0), []
        drawn, sampler = _drawn(said), "plms" if "order" in said else "ddim" if "eta" in said else "ancestral"
        given = sampler == "ancestral" and drawn == len(schedule) - skip
        with seeded(said["seed"]):
            for _ in range(again):
                states.clear()
                got = sample(
                    networks[said.get("mask_frames", plain)], schedule, shape, told,
                    guidance=_guidance(said), sampler=sampler, eta=said.get("eta", 0.0), order=said.get("order", 2),
                    clip=said.get("clip_denoised", False), same_noise=said.get("const_noise", False), skip=skip,
                    start=tensors["init_image"] if name.endswith("_init") else None,
                    noise=tensors["given_noise"] if given else None,
                    watch=lambda at, x, states=states: states.append(x),
                )  # fmt: skip
            after = torch.randn(4)
        if dumped:
            got = torch.stack([states[at] for at in dumped])
        checks.append(compare(f"{name}.sample", got, want, _exact(SAMPLE)))
        if f"{name}.rng_probe_after" in tensors:
            checks.append(compare(f"{name}.rng_probe_after", after, tensors[f"{name}.rng_probe_after"], _exact(1e-5)))
        checks += _noises(name, said, tensors.get(f"{name}.noise"), shape, given)
    return checks


def _noises(name: str, said: Case, want: Tensor | None, shape: Sequence[int], given: bool) -> list[Check]:
    """The first draws of a case: their values, and their sums where they must agree in every bit."""
    sums = said.get("noise_md5", [])
    count = len(want) if want is not None else len(sums)
    source, checks, drawn = OfficialNoise(), [], []
    later = torch.empty(shape[3], shape[0], shape[1], shape[2]).permute(1, 2, 3, 0)
    with seeded(said["seed"]):
        for at in range(count):
            place = at + given
            drawn.append(source.first(shape, torch.device("cpu")) if place == 0 else source.like(
                torch.empty(tuple(shape)) if place == 1 else later))  # fmt: skip
    if want is not None:
        checks.append(compare(f"{name}.noise", torch.stack(drawn), want, _exact(1e-5)))
    if sums and not why_not_exact():
        got = [hashlib.md5(noise.contiguous().numpy().tobytes()).hexdigest() for noise in drawn[: len(sums)]]
        checks.append(Check(f"{name}.noise_md5", float(got != sums), 0))
    return checks


def _is_edits(path: Path) -> bool:
    return _pair("config", "cases", has=("input_motion",))(path)


def _edits(path: Path) -> list[Check]:
    case, tensors = _read(path)
    network = build(config_of(case["config"]), (_beside(path), ""), seed=_strict(path, case))
    motion = tensors["input_motion"]
    told, shape = text_condition(tensors["text_embed"]), motion.shape
    checks, masks = [], {}
    spans = [editing.gap(int(length)) for length in tensors["lengths"]]
    for key in tensors:
        mode = key.removeprefix("mask.")
        if mode == key:
            continue
        stored, prefix = tensors[key].bool(), re.fullmatch(r"prefix(\d+)", mode)
        if mode == "in_between":
            mask = editing.kept_numbers(None, editing.frames_around(spans, shape[-1]), shape)
        elif mode == "upper_body":
            mask = editing.kept_numbers(editing.joint_features(editing.LOWER_BODY), None, shape)
        elif prefix:
            mask = editing.kept_numbers(None, torch.arange(shape[-1]) < int(prefix[1]), shape)
        else:
            raise ValueError(f"{path.name}: no mask is called {mode}.")
        masks[mode] = mask
        flat = {4: mask, 2: mask[:, :, 0, 0], 1: mask[0, 0, 0]}[stored.dim()]
        checks.append(compare(key, flat, stored, 0))
    for name, said in case["cases"].items():
        mask = masks[name.split(".")[0]]
        with seeded(said["seed"]):
            got = sample(
                network, _schedule(said), shape, told, guidance=_guidance(said), kept=Kept(motion, mask),
                sampler="ddim" if "eta" in said else "ancestral", eta=said.get("eta", 0.0),
            )  # fmt: skip
        checks.append(compare(name, got, tensors[name], _exact(SAMPLE)))
        checks.append(compare(f"{name} kept", got[mask], motion[mask], 0))
    return checks


def _masks(path: Path) -> list[Check]:
    case, tensors = _read(path)
    lower = editing.joint_features(case["lower_body_joints"])
    made = {
        "lower_body": lower,
        "upper_body": editing.joint_features(case["upper_body_joints"]),
        "root": editing.joint_features([0]),
        "root_horizontal": editing.root_path_features(),
    }
    checks = [compare(name, mask, tensors[name], 0) for name, mask in made.items()]
    for name, mask in made.items():
        checks.append(compare(f"{name} indices", mask.nonzero()[:, 0], case[f"{name}_mask_indices"], 0))
    checks.append(compare("lower_body_joints", editing.LOWER_BODY, case["lower_body_joints"], 0))
    checks.append(compare("upper_body_joints", editing.UPPER_BODY, case["upper_body_joints"], 0))
    checks.append(Check("joint_names", float(tuple(case["joint_names"]) != SMPL22.joints), 0))
    for row in case["in_between_examples"]:
        got = editing.gap(row["length"], row["prefix_end"], row["suffix_start"])
        checks.append(compare(f"in_between {row['length']} {row['prefix_end']}", got, row["generated_frames"], 0))
    return checks


# ---------------------------------------------------------------------------------------------- DiP


def _stub(tensors: Tensors, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Text of a table: rows of each prompt, the shorter ones filled up; ``(L, B, W)`` and True where filled."""
    rows = [tensors[f"stub_text.{prompt}"] for prompt in prompts]
    longest, pad = max(map(len, rows)), tensors["stub_text.pad"]
    text = torch.stack([torch.cat((row, pad[len(row) : longest])) for row in rows])
    mask = torch.stack([torch.arange(longest) >= len(row) for row in rows])
    return text.transpose(0, 1).contiguous(), mask


def _is_dip(path: Path) -> bool:
    return _pair("config", "sampling", has=("prefix", "x", "stub_text.pad"))(path)


@torch.no_grad()
def _dip(path: Path) -> list[Check]:
    case, tensors = _read(path)
    config, said = config_of(case["config"]), case["sampling"]
    network = build(config, (_beside(path), ""), seed=_strict(path, case))
    x, t, prefix = tensors["x"], tensors["timesteps"], tensors["prefix"]
    text, mask = _stub(tensors, said["prompts_used"])
    told = text_condition(text, mask, frames=torch.ones(len(x), x.shape[-1], dtype=torch.bool), prefix=prefix)
    checks = []

    def add(key: str, got: Callable[[], Tensor], tolerance: float) -> None:
        if f"dip.{key}" in tensors:
            checks.append(compare(f"dip.{key}", got(), tensors[f"dip.{key}"], _exact(tolerance)))

    strength, schedule = said["guidance"], Schedule.named("cosine", said["steps"])
    with seeded(None):
        add("cond", lambda: network(x, t, told), FORWARD)
        add("uncond", lambda: network(x, t, told.hide()), FORWARD)
        add(f"cfg{strength}", lambda: denoiser(network, told, strength, merged=False)(x, t), STRONG)
    with seeded(said["seed"]):
        add("window_sample", lambda: sample(network, schedule, x.shape, told, guidance=strength), STRONG_SAMPLE)
    for key in tensors:
        found = re.fullmatch(r"dip\.(ar_(dynamic_)?(\d+)(?:_(incl|excl))?)", key)
        if found:
            conditions: Any = told
            if found[2]:
                conditions = []
                for prompt in said["dynamic_prompts"]:
                    rows, hidden = _stub(tensors, [prompt] * len(prefix))
                    conditions.append(text_condition(rows, hidden, frames=told.frames))
            with seeded(said["seed"], 2 if found[2] else 1):
                add(found[1], lambda conditions=conditions, found=found: dip.continued(
                    network, schedule, prefix, conditions, int(found[3]), with_prefix=found[4] == "incl",
                    guidance=strength), STRONG_SAMPLE)  # fmt: skip
    return checks


def _is_targets(path: Path) -> bool:
    return _pair("goals", has=("target_cond", "prefix"))(path)


@torch.no_grad()
def _targets(path: Path) -> list[Check]:
    case, tensors = _read(path)
    beside = next(
        json.loads(file.read_text())["config"] for file in sorted(path.parent.glob("*.json"))
        if "config" in json_keys(file)
    )  # fmt: skip
    x, t, state = tensors["x"], tensors["timesteps"], _beside(path)
    checks = []
    for name in sorted({key.split("/")[0] for key in tensors if "/" in key}):
        kind, layers = re.fullmatch(r"([a-z]+)(\d+)", name).groups()
        config = config_of(beside, target_encoder=kind, target_layers=int(layers), goal_joints=tuple(case["goals"]))
        network = build(config, (tensors, f"{name}/"), (state, ""))
        rows = losses.goal_rows(case["target_joint_names"], tensors["is_heading"].bool(), config.goals)
        told = text_condition(
            tensors["text_enc"], tensors["text_mask"], prefix=tensors["prefix"], target=tensors["target_cond"],
            target_rows=rows,
        )  # fmt: skip
        apart = Condition(**{**told.__dict__, "target_hidden": True})
        wanted = {
            "embed": lambda network=network, told=told: network.target(told.target, told.target_rows),
            "forward": lambda network=network, told=told: network(x, t, told),
            "forward_target_uncond": lambda network=network, apart=apart: network(x, t, apart),
            "forward_both_uncond": lambda network=network, apart=apart: network(x, t, apart.hide()),
        }
        with seeded(None):
            for key, make in wanted.items():
                if f"{name}.{key}" in tensors:
                    checks.append(compare(f"{name}.{key}", make(), tensors[f"{name}.{key}"], _exact(FORWARD)))
    return checks


# ---------------------------------------------------------------------------------------------- training


def _inferred(state: Tensors, **ours: Any) -> MDMConfig:
    """The network that a state is of; the authors fix four heads."""
    stack = "trans_dec" if any(key.startswith("seqTransDecoder.") for key in state) else "trans_enc"
    layers = {key.split(".")[2] for key in state if key.startswith("seqTrans")}
    width, size = state["input_process.poseEmbedding.weight"].shape
    text = state.get("embed_text.weight")
    action = state.get("embed_action.action_embedding")
    tower = "distilbert" if text is not None and text.shape[1] == 768 else "clip"
    return MDMConfig(
        **{
            "architecture": stack,
            "joints": 25 if size == 150 else size,
            "features": 6 if size == 150 else 1,
            "width": width,
            "layers": len(layers),
            "feed_forward": next(len(value) for key, value in state.items() if key.endswith("linear1.weight")),
            "condition": "text" if text is not None else "action" if action is not None else "none",
            "text_encoder": tower,
            "text_width": official.TEXT_WIDTHS[tower],
            "actions": 1 if action is None else len(action),
            "steps": 1,
        }
        | ours
    )


def _close(what: str, got: Any, want: Tensor) -> Check:
    """Losses agree to 1e-5 of what they are."""
    return compare(what, torch.as_tensor(got).detach(), want, 1e-5 * max(1.0, float(want.abs().max())))


_LOSSES = {"rot_mse": "motion", "vel_mse": "speed", "rcxyz_mse": "joints", "fc": "standing", "target_loc": "goals"}


def _is_losses(path: Path) -> bool:
    return path.suffix == ".json" and tensor_keys(path.with_suffix(".safetensors")) >= {"x_start", "noise", "x_t", "t"}


#: How many diffusion steps a case may have that does not say.
_STEPS = (10, 50, 100, 1000)


def _fitting_steps(tensors: Tensors) -> int:
    """Diffusion steps of a case that stores a motion before and after noise, and does not say how many there are."""
    for steps in _STEPS:
        if steps > int(tensors["t"].max()):
            got = Schedule.named("cosine", steps).add_noise(tensors["x_start"], tensors["t"], tensors["noise"])
            if float((got - tensors["x_t"]).abs().max()) < 1e-5:
                return steps
    raise ValueError("x_t must be what a cosine schedule of 10, 50, 100 or 1000 steps makes; it is not.")


def _loss_case(
    name: str, case: Case, tensors: Tensors, state: Tensors, schedule: Schedule
) -> tuple[MDM, dict[str, Tensor]]:
    own = {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
    weights = losses.LossWeights(
        **{ours: 1.0 for theirs, ours in _LOSSES.items() if theirs in own and ours != "motion"}
    )
    more: Case = {"mask_frames": "maskframes" in name}
    to_joints: losses.ToJoints | None = None
    clean = own.get("x_start", tensors["x_start"])
    frames = real_frames(tensors["lengths"], clean.shape[-1])
    if "target_cond" in own:
        said = case[name]
        more |= {"mask_frames": True, "target_encoder": "single", "goal_joints": tuple(said["goals"])}
        more |= {"context_frames": own["prefix"].shape[-1], "predicted_frames": clean.shape[-1]}
        layers = {key for key in state if re.fullmatch(r"embed_target_cond\.mlp\.\d+\.weight", key)}
        more["target_layers"] = len(layers) - 1
        frames = torch.ones(len(clean), clean.shape[-1], dtype=torch.bool)
        to_joints = lambda x: losses.joints_of_features(  # noqa: E731
            x[:, :, 0].transpose(1, 2) * own["std"] + own["mean"]
        )
    elif "rcxyz_mse" in own or "fc" in own:  # the case's own stand-in for a body: rows 0 to 23, numbers 0 to 2
        to_joints = lambda x: x[:, :24, :3].permute(0, 3, 1, 2)  # noqa: E731
    network = build(_inferred(state, **more), (state, ""))
    if network.config.condition == "action":
        told = Condition(action=own["action"].flatten(), frames=frames)
    elif "target_cond" in own:
        rows = losses.goal_rows(case[name]["target_joint_names"], case[name]["is_heading"], network.config.goals)
        told = text_condition(
            own["text_enc"], own["text_mask"], frames=frames, prefix=own["prefix"], target=own["target_cond"],
            target_rows=rows,
        )  # fmt: skip
    else:
        told = text_condition(tensors["text_embed"], frames=frames)
    parts = losses.training_losses(
        network, schedule, clean, own.get("t", tensors["t"]), own.get("noise", tensors["noise"]), told,
        weights=weights, to_joints=to_joints,
    )  # fmt: skip
    return network, dict(parts)


def _training_losses(path: Path) -> list[Check]:
    case, tensors = _read(path)
    fitting = Schedule.named("cosine", _fitting_steps(tensors))
    schedule = fitting
    checks = [compare("x_t", schedule.add_noise(tensors["x_start"], tensors["t"], tensors["noise"]), tensors["x_t"],
                      _exact(1e-6))]  # fmt: skip
    files = {file.stem.removeprefix("loss_weights_"): file for file in path.parent.glob("loss_weights_*.safetensors")}
    for name in sorted({key.split(".")[0] for key in tensors if key.endswith(".loss")}):
        schedule = fitting
        if f"{name}.t" in tensors:  # the last step of a schedule is among its steps
            schedule = Schedule.named("cosine", next(n for n in _STEPS if n > int(tensors[f"{name}.t"].max())))
        fits = [stem for stem in files if name.startswith(stem)]
        if not fits:
            raise ValueError(f"{path.name}: no weights lie beside it for {name}.")
        state = load_file(files[max(fits, key=len)])
        with seeded(None):
            network, parts = _loss_case(name, case, tensors, state, schedule)
            for theirs, ours in {**_LOSSES, "loss": "loss"}.items():
                if f"{name}.{theirs}" in tensors:
                    checks.append(_close(f"{name}.{theirs}", parts[ours], tensors[f"{name}.{theirs}"]))
            norms = case.get(f"{name}.grad_norms")
            if norms:
                parts["loss"].mean().backward()
                table = official.keys(network.config)
                for ours, parameter in network.named_parameters():
                    theirs = table[ours]
                    checks.append(_close(f"{name} |grad| {theirs}", parameter.grad.norm(), torch.tensor(norms[theirs])))
                    if f"{name}.grad.{theirs}" in tensors:
                        want = tensors[f"{name}.grad.{theirs}"]
                        checks.append(_close(f"{name}.grad.{theirs}", parameter.grad, want))
    return checks


def _is_training(path: Path) -> bool:
    keys = tensor_keys(path.with_suffix(".safetensors"))
    return path.suffix == ".json" and any(key.endswith(".cond_drop_mask") for key in keys)


def _training(path: Path) -> list[Check]:
    case, tensors = _read(path)
    checks: list[Check] = []
    for name, said in case.items():
        for steps in _STEPS:
            draws = np.random.RandomState(said["seed"])
            odds = np.full(steps, 1 / steps)
            size = tensors[f"{name}.t"].shape
            chosen = [draws.choice(steps, size=size[1], p=odds) for _ in range(size[0])]
            if np.array_equal(chosen, tensors[f"{name}.t"].numpy()):
                break
        else:
            raise ValueError(f"{path.name}: the steps of {name} follow from no schedule of 10, 50, 100 or 1000 steps.")
        checks.append(compare(f"{name}.t", np.array(chosen), tensors[f"{name}.t"], 0))
        checks += _steps(name, said, tensors, chosen, Schedule.named("cosine", steps))
    return checks


def _steps(name: str, said: Case, tensors: Tensors, chosen: list[np.ndarray], schedule: Schedule) -> list[Check]:
    config = config_of(said["config"])
    network = build(config, (tensors, f"{name}.init/"), (tensors, "init/")).train()
    clean = tensors["x_start"]
    told = text_condition(tensors["text_embed"], frames=real_frames(tensors["lengths"], clean.shape[-1]))
    optimiser = torch.optim.AdamW(network.parameters(), lr=said["lr"], weight_decay=0.0)
    average, hidden, traces, first = losses.Average(network, said["ema_beta"]), [], [], None
    network.text.register_forward_pre_hook(
        lambda module, given: hidden.append((given[0] == 0).all(-1)[0].float())
    )  # fmt: skip
    with seeded(said["seed"]):
        for index in chosen:
            noise = torch.randn_like(clean)
            first = noise if first is None else first
            parts = losses.training_losses(network, schedule, clean, torch.from_numpy(index), noise, told)
            optimiser.zero_grad()
            (parts["loss"] * tensors[f"{name}.weights"]).mean().backward()
            optimiser.step()
            average.update(network)
            traces.append(parts["loss"].detach())
    checks = [
        _close(f"{name}.loss", torch.stack(traces), tensors[f"{name}.loss"]),
        compare(f"{name}.cond_drop_mask", torch.stack(hidden), tensors[f"{name}.cond_drop_mask"], 0),
        compare(f"{name}.noise_step0", first, tensors[f"{name}.noise_step0"], _exact(1e-5)),
    ]
    for kind, ours in (("final", network.state_dict()), ("final_avg", average.state(network))):
        for key, value in official.to_theirs(ours, config).items():
            what = f"{name}.{kind}/{key}"
            if what not in tensors:
                continue
            want = tensors[what]
            if key.endswith("in_proj_bias"):  # keys' offsets cancel in attention: Adam steps by what rounding leaves
                third = len(want) // 3
                keys, moved = slice(third, 2 * third), 2 * said["lr"] * len(chosen)
                checks.append(compare(f"{what} of keys", value[keys].detach(), want[keys], moved))
                value, want = (torch.cat((part[:third], part[2 * third :])) for part in (value, want))
            checks.append(_close(what, value, want))
    return checks


# ---------------------------------------------------------------------------------------------- generator states


def _is_construction(path: Path) -> bool:
    return _pair("seed", "order")(path) and bool(tensor_keys(path.with_suffix(".safetensors")))


def _construction(path: Path) -> list[Check]:
    case, tensors = _read(path)
    manifest = json.loads((path.parent.parent / "checkpoint" / "manifest_released.json").read_text())
    checks = []
    for name, want in tensors.items():
        config = official.config_from_arguments(manifest[name]["args_that_matter"])
        state = construction.state_after_construction(case["seed"], config)
        checks.append(compare(name, state, want, 0))
        digest = hashlib.sha256(state.numpy().tobytes()).hexdigest()
        checks.append(Check(f"{name} sha256", float(digest != case[name]["sha256"]), 0))
        generator = torch.Generator()
        generator.set_state(state)
        drawn = torch.randn(len(case[name]["next_8_randn"]), generator=generator)
        checks.append(compare(f"{name} next", drawn, np.float32(case[name]["next_8_randn"]), 1e-6))
    return checks


# ---------------------------------------------------------------------------------------------- what comes out


def _joints(path: Path) -> list[Check]:
    case, tensors = _read(path)
    arrays = {key: value.numpy() for key, value in tensors.items()}

    def physical(sample: str, prefix: str) -> np.ndarray:
        return arrays[sample][:, :, 0].transpose(0, 2, 1) * arrays[f"{prefix}std"] + arrays[f"{prefix}mean"]

    features = physical("sample", "")
    joints = hml263.hml263_to_joints(features)
    quats, places = hml263.recover_root(features)
    grown = losses.joints_of_features(torch.from_numpy(features).float())
    goals = (*case["goals"], "traj", "heading")
    rows = losses.goal_rows(case["target_joint_names"], case["is_heading"], goals)
    turns = rotation.matrix_to_rot6d_columns(rotation.quat_wxyz_to_matrix(quats[:1]))[0]
    columns = features[0, :, 67:193].reshape(len(turns), 21, 6)
    place = np.concatenate((places[0], np.zeros_like(places[0])), axis=-1)
    wanted = {
        "joints": joints.transpose(0, 2, 3, 1),
        "root_quat": quats[:, None],
        "root_pos": places[:, None],
        "heading": losses.headings(torch.from_numpy(joints))[:, None],
        "target_location": losses.goals_reached(grown, rows, goals),
        "rot6d_plus_root": np.concatenate((turns[:, None], columns, place[:, None]), axis=1),
    }
    checks = [compare(key, got, arrays[key], JOINTS) for key, got in wanted.items() if key in arrays]
    checks.append(compare("joints of losses", grown.permute(0, 2, 3, 1), arrays["joints"], JOINTS))
    if "kit_joints" in arrays:
        kit = physical("kit_sample", "kit_")
        checks.append(compare("kit_joints", hml263.kit251_to_joints(kit).transpose(0, 2, 3, 1), arrays["kit_joints"],
                              JOINTS))  # fmt: skip
        grown = losses.joints_of_features(torch.from_numpy(kit).float()).permute(0, 2, 3, 1)
        checks.append(compare("kit_joints of losses", grown, arrays["kit_joints"], JOINTS))
    return checks


def _is_generation(path: Path) -> bool:
    keys = tensor_keys(path.with_suffix(".safetensors"))
    return path.suffix == ".json" and any(key.endswith(".raw_samples") for key in keys)


def _option(words: Sequence[str], name: str, default: Any) -> Any:
    return type(default)(words[words.index(name) + 1]) if name in words else default


def _generation(path: Path) -> list[Check]:
    """From the generator's state and the text's embedding to joints, with the checkpoint that the case names."""
    case, tensors = _read(path)
    checks = []
    for name, said in case.items():
        if not isinstance(said, dict) or "argv" not in said:
            continue
        words = said["argv"]
        folder = path.parent.parent / "checkpoint" / "tiny" / name
        value = read_torch_file(folder / Path(_option(words, "--model_path", "")).name)
        args = json.loads((folder / "args.json").read_text())
        if isinstance(value.get("model"), dict):
            value = value["model_avg"] if args.get("use_ema") and "model_avg" in value else value["model"]
        config = official.config_from_arguments(args)
        network = build(config, ({key: tensor.detach() for key, tensor in value.items()}, ""))
        frames = min(196, int(_option(words, "--motion_length", 6.0) * 20))
        samples, repetitions = _option(words, "--num_samples", 6), _option(words, "--num_repetitions", 3)
        guidance = _option(words, "--guidance_param", GUIDANCE)
        schedule = Schedule.named(config.noise_schedule, config.steps, small=config.small_sigma)
        shape = (samples, config.joints, config.features, frames)
        told = text_condition(
            tensors[f"{name}.text_embed"], frames=torch.ones(samples, frames, dtype=torch.bool)
        )  # fmt: skip
        begin = construction.state_after_construction(_option(words, "--seed", 10), config, clip=0)  # tower made before
        checks.append(compare(f"{name}.rng_state", begin, tensors[f"{name}.rng_state_at_first_loop"], 0))
        with seeded(None):
            torch.set_rng_state(tensors[f"{name}.rng_state_at_first_loop"])
            raw = torch.stack([sample(network, schedule, shape, told, guidance=guidance) for _ in range(repetitions)])
        # A feed-forward layer of 1024 on a width of 32: its last bits differ even from run to run (1e-6 a call).
        checks.append(compare(f"{name}.raw_samples", raw, tensors[f"{name}.raw_samples"], SAMPLE))
        features = raw.flatten(0, 1)[:, :, 0].transpose(1, 2) * tensors["std"] + tensors["mean"]
        joints = hml263.hml263_to_joints(features.numpy()).transpose(0, 2, 3, 1)
        checks.append(compare(f"{name}.motion", joints, tensors[f"{name}.motion"], JOINTS))
        checks.append(compare(f"{name}.lengths", [frames] * len(joints), said["lengths"], 0))
    return checks


KINDS = (
    Kind("mdm schedule", _is_constants, _constants, lambda path: [path.with_suffix(".json")]),
    Kind("mdm respacing", _pair("ok", "errors"), _respacing),
    Kind("mdm positions", _pair(has=("rows",)), _positions, _parts),
    Kind("mdm weights by rule", _is_weights, _weights, _parts),
    Kind("mdm encoder", _pair("config", has=("t0.cond",)), _encoder_forward, _parts),
    Kind("mdm decoder", _is_decoder, _decoder, _parts),
    Kind("mdm other networks", _is_various, _various, _parts),
    Kind("mdm samples", _is_samples, _samples, _parts),
    Kind("mdm edits", _is_edits, _edits, _parts),
    Kind("mdm masks of edits", _pair("in_between_examples"), _masks, _parts),
    Kind("mdm dip", _is_dip, _dip, _parts),
    Kind("mdm targets", _is_targets, _targets, _parts),
    Kind("mdm losses", _is_losses, _training_losses, _parts),
    Kind("mdm training steps", _is_training, _training, _parts),
    Kind("mdm generator state", _is_construction, _construction, _parts),
    Kind("mdm joints and goals", _pair(has=("root_quat", "sample")), _joints, _parts),
    Kind("mdm generation", _is_generation, _generation, _parts),
)
