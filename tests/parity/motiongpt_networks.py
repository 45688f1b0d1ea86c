"""MotionGPT kinds: motion tokenizer in every option, its training step, T5, GPT-2, and the keys of a whole checkpoint.

What these cases store and this module leaves aside: beam search (``num_beams`` above 1), which the reference itself
calls informational and never uses; of such a block only the prompts are compared.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from hftrainer.models.artifact import unfilled
from hftrainer.models.evaluator import official as evaluator
from hftrainer.models.motion.motiongpt import official
from hftrainer.models.motion.motiongpt.answers import official_answer
from hftrainer.models.motion.motiongpt.bundle import Statistics
from hftrainer.models.motion.motiongpt.gpt2 import GPT2, GPT2Config
from hftrainer.models.motion.motiongpt.network import (
    LanguageModel,
    LanguageModelConfig,
    MotionTokenizer,
    TokenizerConfig,
)
from hftrainer.models.quantize import tile
from hftrainer.models.text import END, PAD, Pieces, attach_punctuation, motion_token, pad
from hftrainer.motion.representation.specs import REPRESENTATIONS
from hftrainer.pipelines.decoding import Draws, Request, speak
from hftrainer.training.tokenizer import TokenizerSettings, TokenizerTask
from tests.parity import Check, Kind, compare, json_keys, tensor_keys

Case = dict[str, Any]
Tensors = dict[str, torch.Tensor]

#: Theirs to ours; every other value, the word "None" too, is no norm.
NORMS = {"LN": "layer", "GN": "group", "BN": "batch"}
#: Prefixes of the two networks in a checkpoint.
VAE, LM = "vae.", "lm.language_model."
#: Further names of T5's shared embedding.
ALIASES = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")


def _read(path: Path) -> tuple[Case, Tensors]:
    tensors = path / "tensors.safetensors"
    return json.loads((path / "case.json").read_text()), load_file(tensors) if tensors.is_file() else {}


def _case(*keys: str, has: tuple[str, ...] = (), lacks: tuple[str, ...] = ()) -> Callable[[Path], bool]:
    """Folders whose case.json has these names, and whose tensors have and lack those."""

    def matches(path: Path) -> bool:
        if not path.is_dir() or not json_keys(path / "case.json") >= set(keys):
            return False
        names = tensor_keys(path / "tensors.safetensors") if has or lacks else frozenset()
        return names >= set(has) and not names & set(lacks)

    return matches


def _same(what: str, got: Any, want: Any) -> Check:
    """Strings, lists and counts: equal or not."""
    if got == want:
        return Check(what, 0.0, 0.0)
    return Check(what, np.inf, 0.0, f"{what}: {got!r:.90} is not {want!r:.90}")


def _share(what: str, got: Any, want: Any, share: float) -> Check:
    """Numbers that may differ by a share of the largest one."""
    want = np.asarray(want, np.float64)
    return compare(what, np.asarray(got, np.float64), want, share * max(float(np.abs(want).max()), 1e-6))


def _spread(what: str, got: torch.Tensor, want: torch.Tensor, share: float) -> Check:
    """Arrays that may differ by a share of their standard deviation."""
    return compare(what, got.detach(), want, share * float(want.std()))


def _both_ways(what: str, theirs: Mapping[str, Any], known: set[str]) -> Check:
    """Every key of theirs is known and every known key is there."""
    wrong = [f"missing {k}" for k in sorted(known - theirs.keys())]
    wrong += [f"unexpected {k}" for k in sorted(theirs.keys() - known)]
    return Check(what, float(len(wrong)), 0.0, f"{what}: {'; '.join(wrong)}" if wrong else "")


def _drawn(shapes: Mapping[str, tuple[int, ...]], seed: int, rule: Callable[..., tuple[float, float]]) -> Tensors:
    """Weights by formula: seeded normal numbers of each key, times its scale plus its offset."""

    def one(key: str) -> torch.Tensor:
        draw = np.random.RandomState((seed + zlib.crc32(key.encode())) % 2**32).standard_normal(shapes[key])
        offset, scale = rule(key, shapes[key])
        return torch.from_numpy((offset + scale * draw).astype(np.float32))

    with ThreadPoolExecutor(2) as pool:  # the drawing releases the interpreter
        return dict(zip(shapes, pool.map(one, shapes), strict=True))


def _first_weight(case: Case, weights: Tensors) -> Iterator[Check]:
    """Whether the formula was followed, where the case says a hash."""
    if "sha256_first_weight_float32" in case:
        first = next(iter(weights.values())).numpy()
        digest = hashlib.sha256(np.ascontiguousarray(first).tobytes()).hexdigest()
        yield _same("sha256_first_weight_float32", digest, case["sha256_first_weight_float32"])


# ----------------------------------------------------------------------------------------------- the motion tokenizer


def tokenizer_config(theirs: Mapping[str, Any]) -> TokenizerConfig:
    """Our configuration from theirs."""
    if theirs["stride_t"] != 2 or theirs["output_emb_width"] != theirs["code_dim"]:
        raise ValueError("the tokenizer must halve the rate at each level and have codes as wide as its outputs.")
    return TokenizerConfig(
        theirs["nfeats"], theirs["code_num"], theirs["code_dim"], theirs["width"], theirs["depth"], theirs["down_t"],
        theirs["dilation_growth_rate"], NORMS.get(theirs["norm"]), theirs["activation"], theirs["quantizer"],
    )  # fmt: skip


def _tokenizer_rule(codebook_scale: float | None) -> Callable[..., tuple[float, float]]:
    def rule(key: str, shape: tuple[int, ...]) -> tuple[float, float]:
        if key.startswith("quantizer.") and codebook_scale is not None:
            return 0.0, codebook_scale
        if len(shape) >= 2:
            return 0.0, 1 / prod(shape[1:]) ** 0.5
        return (1.0 if key.endswith(".weight") else 0.0), 0.05

    return rule


def _tokenizer(case: Case, tensors: Tensors) -> tuple[MotionTokenizer, list[Check]]:
    """The network with the case's weights, and what its keys have to say."""
    config = tokenizer_config(case["config"])
    net, keys = MotionTokenizer(config), official.tokenizer_keys(config)
    weights = {k.removeprefix("sd."): v for k, v in tensors.items() if k.startswith("sd.")}
    checks = []
    if "weights_formula" in case:
        shapes = {key: tuple(shape) for key, shape in case["state_dict_keys"].items()}
        weights = _drawn(shapes, case["weights_formula"]["seed"], _tokenizer_rule(case.get("codebook_scale")))
        checks += _first_weight(case, weights)
    checks.append(_both_ways("keys", weights, set(keys.values())))
    if "state_dict_keys" in case:
        checks.append(_both_ways("keys named", dict.fromkeys(case["state_dict_keys"]), set(keys.values())))
    ours = official.rename(weights, keys)
    result = net.load_state_dict(ours, strict=False)
    training_only = {"quantizer.code_sum", "quantizer.code_count", "quantizer.started"}
    checks.append(_both_ways("keys of ours", dict.fromkeys(result.missing_keys), training_only & {*net.state_dict()}))
    if "param_count_incl_codebook" in case:
        count = sum(value.numel() for value in ours.values())
        checks.append(_same("param_count_incl_codebook", count, case["param_count_incl_codebook"]))
    return net, checks


@torch.no_grad()
def _encode_decode(path: Path) -> list[Check]:
    case, tensors = _read(path)
    net, checks = _tokenizer(case, tensors)
    net.eval()
    share = 1e-4 if "weights_formula" in case else 1e-5
    for end in ("", *(k.removeprefix("input") for k in tensors if k.startswith("input_"))):
        checks += _forward(net, tensors, end, share)
    tokens = tensors["indices"].long()
    decoded = {"decode_row0": tokens[:1], "decode_batch_flattened": tokens.reshape(1, -1)}
    checks += [_spread(k, net.decode(v), tensors[k], share) for k, v in decoded.items() if k in tensors]
    rows = net.encoder(tensors["input"])
    apart = (rows.flatten(0, 1)[:, None] - net.quantizer.codebook).pow(2).sum(-1)
    said = {
        "enc_out_mean_abs": lambda: rows.abs().mean(),
        "mean_nearest_distance_sq": lambda: apart.min(1).values.mean(),
    }
    checks += [_share(key, float(make()), case[key], share) for key, make in said.items() if key in case]
    for key in ("unique_codes", "unique_codes_used"):
        if key in case:
            checks.append(_same(key, len(tokens.unique()), case[key]))
    return checks


def _forward(net: MotionTokenizer, tensors: Tensors, end: str, share: float) -> Iterator[Check]:
    """One input and all that is stored of it."""
    given = tensors[f"input{end}"]
    rows = net.encoder(given).transpose(1, 2)  # (B, C, L)
    for key in tensors:
        part = re.fullmatch(r"enc_out(?:_channels(\d+)_(\d+))?" + re.escape(end), key)
        if part:
            kept = rows[:, int(part[1]) : int(part[2]) + 1] if part[1] else rows
            yield _spread(key, kept, tensors[key], share)
    yield compare(f"indices{end}", net.encode(given), tensors[f"indices{end}"].long(), 0)
    output, loss, perplexity = net(given)
    yield _spread(f"forward_out{end}", output, tensors[f"forward_out{end}"], share)
    for name, got in (("commit_loss", loss), ("loss", loss), ("perplexity", perplexity)):
        if name + end in tensors:
            yield _share(name + end, got[None], tensors[name + end], share)


def _training_step(path: Path) -> list[Check]:
    """From a stated quantiser, or from none: the codes after one step, and what the optimiser makes of it."""
    case, tensors = _read(path)
    net, checks = _tokenizer(case, tensors)
    quantizer, given, weights = net.quantizer, tensors["input"], case["loss_weights"]
    if "code_sum_before" in tensors:
        quantizer.code_sum.copy_(tensors["code_sum_before"])
        quantizer.code_count.copy_(tensors["code_count_before"])
        quantizer.started.fill_(True)
    seen: Tensors = {}
    assign = quantizer.assign

    def watch(rows: torch.Tensor) -> torch.Tensor:
        seen.update(rows=rows, codebook=quantizer.codebook.detach().clone(), indices=assign(rows))
        return seen["indices"]

    quantizer.assign = watch  # type: ignore[method-assign]
    net.register_forward_hook(lambda _, __, out: seen.update(output=out[0], perplexity=out[2]))
    loss, parts = _task(net, given, weights).loss(given)
    rows = seen["rows"].view(len(given), -1, seen["rows"].shape[-1]).transpose(1, 2)
    stored = {
        "enc_out": rows, "codebook_initialised": seen["codebook"], "forward_out": seen["output"],
        "codebook_after": quantizer.codebook, "code_sum_after": quantizer.code_sum,
        "code_count_after": quantizer.code_count,
    }  # fmt: skip
    checks += [_spread(key, value, tensors[key], 1e-5) for key, value in stored.items() if key in tensors]
    checks.append(compare("indices", seen["indices"].view(tensors["indices"].shape), tensors["indices"].long(), 0))
    checks.append(_share("perplexity", seen["perplexity"].detach()[None], tensors["perplexity"], 1e-5))
    checks.append(_share("commit_loss", parts["commitment"].detach()[None], tensors["commit_loss"], 1e-5))
    known = case["loss_components_unweighted"]
    named = {"recons_feature": "features", "recons_velocity": "ric", "vq_commit": "commitment"}
    checks += [_share(k, float(parts[v].detach()), known[k], 1e-5) for k, v in named.items() if k in known]
    checks.append(_share("loss_total_weighted", float(loss.detach()), case["loss_total_weighted"], 1e-5))
    for key in ("dead_codes_replaced", "codes_below_count_1_after_update"):
        if key in case:
            checks.append(_same(key, int((quantizer.code_count < 1).sum()), case[key]))
    return checks + (_optimised(case, tensors, net, loss) if "optimizer" in case else [])


def _task(net: MotionTokenizer, given: torch.Tensor, weights: Mapping[str, float]) -> TokenizerTask:
    """Our own stage 1, set to their loss; numbers are normalised already."""
    if weights["recons_feature"] != 1:
        raise ValueError("the reconstruction must have weight 1; others are relative to it.")
    width = given.shape[-1]
    spec = next(spec for spec in REPRESENTATIONS.values() if spec.width == width)
    settings = TokenizerSettings(
        windows=(given.shape[1],), ric=weights["recons_velocity"], commitment=weights["vq_commit"]
    )
    statistics = Statistics(np.zeros(width), np.ones(width), spec.name)
    clips = [clip.numpy() for clip in given]
    return TokenizerTask(net.train(), statistics, clips, clips, settings, 0)


def _optimised(case: Case, tensors: Tensors, net: MotionTokenizer, loss: torch.Tensor) -> list[Check]:
    settings = {k: v for k, v in case["optimizer"].items() if k != "name"}
    settings["betas"] = tuple(settings["betas"])
    optimizer = getattr(torch.optim, case["optimizer"]["name"])(net.parameters(), **settings)
    loss.backward()  # type: ignore[no-untyped-call]
    keys = official.tokenizer_keys(net.config)
    ours = {theirs: name for name, theirs in keys.items()}
    parameters, known = dict(net.named_parameters()), case["grad_l2_norms"]
    checks = [_both_ways("keys of gradients", known, {keys[name] for name in parameters})]
    checks += [
        _share(f"gradient {key}", float(parameters[ours[key]].grad.norm()), norm, 1e-4) for key, norm in known.items()
    ]  # fmt: skip
    optimizer.step()
    state = net.state_dict()
    for key, norm in case.get("param_l2_norms_after_step", {}).items():
        checks.append(_share(f"norm {key}", float(state[ours[key]].norm()), norm, 1e-6))
    for key, value in tensors.items():
        if key.startswith("after_step."):
            checks.append(compare(key, state[ours[key.removeprefix("after_step.")]], value, 2e-6))
    return checks


def _tile(path: Path) -> list[Check]:
    case, tensors = _read(path)
    checks = []
    for i, row in enumerate(case["rows"]):
        rows, generator = tensors[f"x_{i}"], torch.Generator().manual_seed(row["torch_manual_seed"])
        fresh = generator.get_state()
        got = tile(rows, row["codes"], generator)
        checks.append(compare(f"out_{i}", got, tensors[f"out_{i}"], 1e-6))
        checks.append(_same(f"rows of {i}", len(got), row["out_rows"]))
        drawn = not torch.equal(generator.get_state(), fresh)
        checks.append(_same(f"noise of {i} is drawn", drawn, row["noise_drawn"]))
        if f"noise_{i}" in tensors:
            repeated = rows.repeat(len(got) // len(rows), 1)
            noise = (got - repeated) * 100 * row["dim"] ** 0.5
            # the noise is read back from a sum with much larger numbers
            rounding = float(np.finfo(np.float32).eps * rows.abs().max()) * 100 * row["dim"] ** 0.5
            checks.append(compare(f"noise_{i}", noise, tensors[f"noise_{i}"], max(1e-5, rounding)))
    return checks


# ---------------------------------------------------------------------------------------------------- encoder-decoder


def language_config(theirs: Mapping[str, Any], vocabulary: int, motion_tokens: int) -> LanguageModelConfig:
    """Our configuration from a T5 one."""
    fixed = {
        "feed_forward_proj": "gated-gelu", "layer_norm_epsilon": 1e-6, "tie_word_embeddings": False,
        "pad_token_id": PAD, "eos_token_id": END, "decoder_start_token_id": PAD,
    }  # fmt: skip
    wrong = {key: theirs[key] for key, value in fixed.items() if theirs[key] != value}
    if wrong:
        raise ValueError(f"the T5 must have {fixed}; got {wrong}.")
    return LanguageModelConfig(
        vocabulary, motion_tokens, theirs["d_model"], theirs["num_heads"], theirs["d_kv"], theirs["d_ff"],
        theirs["num_layers"], theirs["num_decoder_layers"], theirs["relative_attention_num_buckets"],
        theirs["relative_attention_max_distance"], theirs["dropout_rate"],
    )  # fmt: skip


def _fill(config: LanguageModelConfig, weights: Tensors) -> LanguageModel:
    """A network that takes the weights as they are; nothing is made first, so that a large one costs its size once."""
    with unfilled():
        net = LanguageModel(config)
    net.load_state_dict(official.rename(weights, official.language_model_keys(config)), assign=True)
    for parameter in net.parameters():
        parameter.requires_grad_(True)
    return net.eval()


def _taught(net: LanguageModel, prompts: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores and loss of teacher forcing; labels of -100 are padding."""
    logits = net(prompts, labels.masked_fill(labels == -100, PAD))
    return logits, F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)


def _greedy(net: LanguageModel, prompts: torch.Tensor, max_length: int) -> torch.Tensor:
    """Our own decoding loop, as the reference writes its result: start, answer, end, padding."""
    asked = [Request(tuple(row[row != PAD].tolist()), most=max_length - 1) for row in prompts]
    spoken = speak(net, asked, torch.arange(net.config.vocabulary), END, Draws(greedy=True), text=True)
    return pad([[PAD, *answer.tokens, *[END] * answer.stopped] for answer in spoken])


@torch.no_grad()
def _sampled(net: LanguageModel, prompts: torch.Tensor, max_length: int, seed: int, top_k: int = 50) -> torch.Tensor:
    """The reference's sampling: one generator for the whole batch, finished rows go on drawing and are not heard."""
    generator = torch.Generator().manual_seed(seed)
    states, mask = net.encode(prompts)
    memories, past = net.memories(states), None
    said, going = torch.full((len(prompts), 1), PAD), torch.ones(len(prompts), dtype=torch.bool)
    while said.shape[1] < max_length and bool(going.any()):
        hidden, past = net.decode(said[:, -1:], memories, mask, past)
        scores = net.logits(hidden[:, -1])
        scores = scores.masked_fill(scores < scores.topk(top_k).values[:, -1:], -torch.inf)
        token = torch.multinomial(scores.softmax(-1), 1, generator=generator)[:, 0] * going
        said, going = torch.cat([said, token[:, None]], 1), going & (token != END)
    return said


def _words(path: Path) -> list[Check]:
    """The tiny T5 with its tokenizer: strings to ids and back, teacher forcing with gradients, decoding."""
    case, tensors = _read(path)
    codes = case["motion_codebook_size"]
    text = Pieces.load(path / "tokenizer")
    tokenizer = text.with_motion(codes)
    special = {"first_motion_id": 0, "start_id": codes, "end_id": codes + 1, "mask_id": codes + 2}
    checks = [_same(key, tokenizer.token_to_id(motion_token(n)), case[key]) for key, n in special.items()]
    checks.append(_same("len_tokenizer_base", text.size(codes), case["len_tokenizer_base"]))
    checks.append(_same("len_tokenizer_total", tokenizer.get_vocab_size(), case["len_tokenizer_total"]))
    for probe in case["tokenization_probes"]:
        name, plain = repr(probe["text"]), tokenizer.decode(probe["ids"], skip_special_tokens=True)
        checks.append(_same(f"ids of {name}", tokenizer.encode(probe["text"]).ids, probe["ids"]))
        checks.append(_same(f"text of {name}", plain, probe["decoded_no_cleanup"]))
        checks.append(_same(f"tidy text of {name}", attach_punctuation(plain), probe["decoded_skip_special"]))
    config = language_config(case["t5_config_before_resize"], case["embedding_rows"], codes + 3)
    weights = {k.removeprefix("sd.").removeprefix(LM): v for k, v in tensors.items() if LM in k}
    keys = {*official.language_model_keys(config).values()}
    named = dict.fromkeys(key.removeprefix(LM) for key in case["state_dict_keys"])
    checks.append(_both_ways("keys", weights, keys | (ALIASES & weights.keys())))
    checks.append(_both_ways("keys named", named, keys | set(ALIASES)))
    net = _fill(config, weights)
    for name, block in case.items():
        if isinstance(block, dict) and "kwargs" in block:
            checks += _decoded(net, tokenizer, codes, case["prompts"], name, block, tensors)
    return checks + _teacher_forced(net, case["teacher_forced"], tensors)


def _decoded(
    net: LanguageModel, tokenizer: Any, codes: int, prompts: list[str], name: str, block: Case, tensors: Tensors
) -> Iterator[Check]:
    """One way of decoding all prompts."""
    settings, source = block["kwargs"], tensors[f"{name}_source_ids"].long()
    ids = pad([tokenizer.encode(prompt).ids for prompt in prompts], source.shape[1])
    yield compare(f"{name}_source_ids", ids, source, 0)
    if settings["num_beams"] > 1:
        return
    most = settings["max_length"]
    said = _sampled(net, ids, most, block["torch_manual_seed"]) if settings["do_sample"] else _greedy(net, ids, most)
    yield compare(f"{name}_raw_ids", said, tensors[f"{name}_raw_ids"].long(), 0)
    texts = [attach_punctuation(tokenizer.decode(row.tolist(), skip_special_tokens=True)) for row in said]
    yield _same(f"{name} decoded", texts, block["decoded"])
    answers = [official_answer(text, codes) for text in block["decoded"]]
    yield _same(f"{name} motion_tokens", [a.codes for a in answers], block["motion_tokens"])
    yield _same(f"{name} cleaned_text", [a.text for a in answers], block["cleaned_text"])


def _teacher_forced(net: LanguageModel, case: Case, tensors: Tensors) -> list[Check]:
    prompts, labels = tensors["tf_input_ids"].long(), tensors["tf_labels"].long()
    checks = [
        compare("tf_attention_mask", prompts != PAD, tensors["tf_attention_mask"], 0),
        compare("tf_decoder_attention_mask", labels != -100, tensors["tf_decoder_attention_mask"], 0),
        _same("max_label_len", int((labels != -100).sum(1).max()), case["max_label_len"]),
    ]
    states = net.encode(prompts[:1])[0][0]
    known = tensors["tf_encoder_last_hidden_row0"]
    real = min(len(known), int((prompts[0] != PAD).sum()))  # what padding holds means nothing
    checks.append(compare("tf_encoder_last_hidden_row0", states[:real].detach(), known[:real], 1e-4))
    logits, loss = _taught(net, prompts, labels)
    for key, want in tensors.items():
        if part := re.fullmatch(r"tf_logits_first(\d+)", key):
            spoken = labels[:, : int(part[1])] != -100
            checks.append(compare(key, logits[:, : int(part[1])].detach()[spoken], want[spoken], 1e-4))
    checks.append(compare("tf_loss", loss.detach()[None], tensors["tf_loss"], 1e-5))
    checks.append(_share("loss", float(loss.detach()), case["loss"], 1e-4))
    loss.backward()  # type: ignore[no-untyped-call]
    ours = {theirs: name for name, theirs in official.language_model_keys(net.config).items()}
    norms = {key.removeprefix("language_model."): norm for key, norm in case["grad_l2_norms"].items()}
    checks.append(_both_ways("keys of gradients", norms, set(ours)))
    gradients = {name: p.grad for name, p in net.named_parameters(remove_duplicate=False)}
    for key, norm in norms.items():
        checks.append(compare(f"gradient {key}", float(gradients[ours[key]].norm()), np.asarray(norm), 2e-5))
    return checks


def _language_rule(width: int, head_width: int) -> Callable[..., tuple[float, float]]:
    def rule(key: str, shape: tuple[int, ...]) -> tuple[float, float]:
        if key.endswith("layer_norm.weight"):
            return 1.0, 0.05
        if key.endswith("shared.weight"):
            return 0.0, 1.0
        if key.endswith("lm_head.weight"):
            return 0.0, width**-0.5
        if key.endswith("relative_attention_bias.weight"):
            return 0.0, 0.5
        return 0.0, 2 * (width * head_width) ** -0.5 if key.endswith("Attention.q.weight") else shape[1] ** -0.5

    return rule


@torch.no_grad()
def _full_size(path: Path) -> list[Check]:
    """A T5 of any size with weights by formula."""
    case, tensors = _read(path)
    motion = case.get("motion_codebook_size", 512) + 3
    config = language_config(case["config"], case["config"]["vocab_size"], motion)
    keys = official.language_model_keys(config)
    with unfilled():
        shapes = {LM + keys[name]: tuple(value.shape) for name, value in LanguageModel(config).state_dict().items()}
    rule = _language_rule(config.width, config.head_width)
    weights = _drawn(shapes, case["weights_formula"]["seed"], rule)
    checks = list(_first_weight(case, weights))
    net = _fill(config, {key.removeprefix(LM): value for key, value in weights.items()})
    del weights
    prompts, labels = tensors["input_ids"].long(), tensors["labels"].long()
    spoken = labels != -100
    states = net.encode(prompts)[0]
    logits, loss = _taught(net, prompts, labels)
    for key, want in tensors.items():
        if part := re.fullmatch(r"encoder_out_first(\d+)", key):
            checks.append(compare(key, states[:, : int(part[1]), : want.shape[-1]], want, 1e-4))
    for key, first in (("logits_text_slice", 0), ("logits_motion_block", config.first_motion)):
        want = tensors[key]
        checks.append(compare(key, logits[..., first : first + want.shape[-1]][spoken], want[spoken], 1e-4))
    top = logits[spoken].topk(tensors["top5_values"].shape[-1])
    checks.append(compare("top5_values", top.values, tensors["top5_values"][spoken], 1e-4))
    checks.append(compare("top5_indices", top.indices, tensors["top5_indices"].long()[spoken], 0))
    checks.append(_share("logits_std", float(logits.std()), case["logits_std"], 1e-4))
    checks.append(compare("loss", loss[None], tensors["loss"], 1e-5))
    checks.append(_share("loss in words", float(loss), case["loss"], 1e-5))
    settings = case["generate"]
    if settings["num_beams"] == 1 and not settings["do_sample"]:
        said = _greedy(net, prompts, settings["max_length"])
        checks.append(compare("greedy_ids", said, tensors["greedy_ids"].long(), 0))
    return checks


# ------------------------------------------------------------------------------------------------------- decoder only


@torch.no_grad()
def _decoder_only(path: Path) -> list[Check]:
    case, tensors = _read(path)
    theirs, motion = case["gpt2_config"], case["motion_codebook_size"] + 3
    total = case["len_tokenizer"]
    checks = [_same("len_tokenizer", total, theirs["vocab_size"] + motion)]
    config = GPT2Config(
        total, motion, theirs["n_positions"], theirs["n_embd"], theirs["n_head"], theirs["n_layer"],
        theirs["eos_token_id"],
    )  # fmt: skip
    weights = {k.removeprefix("sd.").removeprefix(LM): v for k, v in tensors.items() if LM in k}
    for i in range(config.layers):  # biases that were still zero; the filter that left masks out took them along
        weights.setdefault(f"transformer.h.{i}.attn.c_attn.bias", torch.zeros(3 * config.width))
    known = {*official.gpt2_keys(config).values()} | ({"lm_head.weight"} & weights.keys())
    checks.append(_both_ways("keys", weights, known))
    net = GPT2(config).eval()
    net.load_state_dict(official.gpt2_weights(weights, config))
    for run in case["runs"]:
        seed = run["python_random_seed"]
        tokens, mask = tensors[f"ids_{seed}"].long(), tensors[f"mask_{seed}"].bool()
        checks.append(_same(f"width of {seed}", tokens.shape[1], case["max_length"]))
        left = torch.arange(mask.shape[1]) < mask.sum(1, keepdim=True)
        checks.append(compare(f"mask_{seed}", left, tensors[f"mask_{seed}"], 0))
        checks.append(_same(f"padding of {seed}", bool((tokens[~mask] == config.end).all()), True))
        logits, want = net(tokens, mask), tensors[f"logits_head_{seed}"]
        checks.append(compare(f"logits_head_{seed}", logits[:, : want.shape[1], : want.shape[2]], want, 1e-4))
        loss = net.loss(tokens, mask, padding_counts=True)
        checks.append(compare(f"loss_{seed}", loss, np.asarray(run["loss"]), 1e-5))
    return checks


# ---------------------------------------------------------------------------------------------- a checkpoint's own keys


def _count(keys: Mapping[str, Any], pattern: str) -> int:
    """How many numbers stand in the one group of ``pattern`` among the keys."""
    return len({found[1] for key in keys if (found := re.fullmatch(pattern, key))})


def tokenizer_of(shapes: Mapping[str, tuple[int, ...]]) -> TokenizerConfig:
    """The sizes of a motion tokenizer, read off the shapes of its keys (their names, without prefix)."""
    width, features, _ = shapes["encoder.model.0.weight"]
    down = _count(shapes, r"encoder\.model\.(\d+)\.0\.weight")
    norm = "encoder.model.2.1.model.0.norm1."
    table = {f"{norm}running_mean": "batch", f"{norm}weight": "layer"}
    codebook = next(shape for key, shape in shapes.items() if key.startswith("quantizer."))
    return TokenizerConfig(
        features, codebook[0], codebook[1], width, _count(shapes, r"encoder\.model\.2\.1\.model\.(\d+)\.conv1\.weight"),
        down, norm=next((kind for key, kind in table.items() if key in shapes), None),
        quantizer="orig" if "quantizer.embedding.weight" in shapes else "ema_reset",
    )  # fmt: skip


def language_model_of(shapes: Mapping[str, tuple[int, ...]], codes: int) -> LanguageModelConfig:
    """The sizes of a T5, read off the shapes of its keys (their names, without prefix)."""
    vocabulary, width = shapes["shared.weight"]
    buckets, heads = shapes["encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"]
    inner = shapes["encoder.block.0.layer.0.SelfAttention.q.weight"][0]
    feedforward = shapes["encoder.block.0.layer.1.DenseReluDense.wi_0.weight"][0]
    layers = (_count(shapes, rf"{stack}\.block\.(\d+)\..*") for stack in ("encoder", "decoder"))
    return LanguageModelConfig(
        vocabulary, codes + 3, width, heads, inner // heads, feedforward, *layers, buckets=buckets
    )  # fmt: skip


def _manifest(path: Path) -> list[Check]:
    """Every key of a released checkpoint, its shape and its size, and nothing besides."""
    case, _ = _read(path)
    keys = {key: tuple(entry["shape"]) for key, entry in case["keys"].items()}
    vae = {k.removeprefix(VAE): shape for k, shape in keys.items() if k.startswith(VAE)}
    lm = {k.removeprefix(LM): shape for k, shape in keys.items() if k.startswith(LM)}
    tokenizer = tokenizer_of(vae)
    language = language_model_of(lm, tokenizer.codes)
    with unfilled():
        nets = ((MotionTokenizer(tokenizer), official.tokenizer_keys(tokenizer), vae, VAE),
                (LanguageModel(language), official.language_model_keys(language), lm, LM))  # fmt: skip
    bytes_of, checks = {}, []
    for net, table, theirs, prefix in nets:
        state = net.state_dict()
        ours = {name: tuple(state[mine].shape) for mine, name in table.items()}
        bytes_of[prefix.split(".")[0] + "."] = 4 * sum(map(prod, ours.values()))
        aliases = ALIASES if prefix == LM else ()
        ours.update({alias: ours["shared.weight"] for alias in aliases})
        checks.append(_both_ways(f"keys of {prefix}", theirs, set(ours)))
        wrong = [f"{k} is {theirs[k]}, ours is {shape}" for k, shape in ours.items() if theirs.get(k, shape) != shape]
        checks.append(Check(f"shapes of {prefix}", float(len(wrong)), 0.0, "; ".join(wrong)))
        unknown = sorted(set(parameters(net)) - set(table))
        checks.append(Check(f"ours without a name in {prefix}", float(len(unknown)), 0.0, "; ".join(unknown)))
    # The evaluator's copies: its own door reads the keys and builds the networks; the numbers take no room.
    copies: dict[str, dict[str, torch.Tensor]] = {}
    for key, shape in keys.items():
        if key.startswith("metrics."):
            copies.setdefault(key.split(".")[1], {})[key] = torch.zeros(()).expand(shape)
    for name, copy in copies.items():
        matched = evaluator.build(evaluator.find_weights(copy))
        count = sum(p.numel() for p in matched.parameters())
        checks.append(_same(f"numbers of {name}", count, sum(value.numel() for value in copy.values())))
    bytes_of["metrics."] = 4 * sum(value.numel() for copy in copies.values() for value in copy.values())
    bytes_of["_losses."] = 4 * sum(prod(shape) for key, shape in keys.items() if key.startswith("_losses."))
    for prefix, group in case["groups"].items():
        checks.append(_same(f"number of {prefix}", sum(key.startswith(prefix) for key in keys), group["keys"]))
        checks.append(_same(f"bytes of {prefix}", bytes_of[prefix], group["bytes_unique"]))
    checks.append(_same("total_bytes_unique", sum(bytes_of.values()), case["total_bytes_unique"]))
    checks.append(_same("keys of no group", [k for k in keys if not k.startswith(tuple(case["groups"]))], []))
    checks.append(_same("dtypes", {entry["dtype"] for entry in case["keys"].values()}, {"float32"}))
    named = next(value for key, value in case.items() if key.startswith("aliases"))
    checks.append(_same("aliases", set(named), {LM + key for key in ("shared.weight", *ALIASES)}))
    model = nets[1][0]
    apart = model.head.weight is not model.vocabulary.rows.weight
    checks.append(_same("lm_head_is_separate_tensor", apart, case["lm_head_is_separate_tensor"]))
    return checks


def parameters(net: torch.nn.Module) -> list[str]:
    """Names of the state that a checkpoint must bring: all but the quantiser's training state."""
    apart = ("quantizer.code_sum", "quantizer.code_count", "quantizer.started")
    return [name for name in net.state_dict() if name not in apart]


_TOKENIZER = ("input", "indices", "forward_out")

KINDS = (
    Kind("motiongpt tokenizer", _case("config", has=_TOKENIZER, lacks=("codebook_after",)), _encode_decode),
    Kind("motiongpt tokenizer step", _case("config", has=(*_TOKENIZER, "codebook_after")), _training_step),
    Kind("motiongpt tiling", _case("rows", "noise_scale", has=("x_0", "out_0")), _tile),
    Kind("motiongpt T5 and words", _case("t5_config_before_resize", "tokenization_probes"), _words),
    Kind("motiongpt T5 by formula", _case("config", "weights_formula", has=("input_ids", "greedy_ids")), _full_size),
    Kind("motiongpt GPT-2", _case("gpt2_config", "runs"), _decoder_only),
    Kind("motiongpt checkpoint keys", _case("groups", "keys", "total_bytes_unique"), _manifest),
)
