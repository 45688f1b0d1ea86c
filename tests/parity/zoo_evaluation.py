"""Evaluation kinds of the zoo: three evaluators, measures of embeddings, of captions and of bodies."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from hftrainer.evaluation import aggregate, language, metrics, physics
from hftrainer.models.evaluator import dual_official, official, temos_official
from tests.parity import Check, Kind, compare, json_keys, npz_keys, stated_tolerance, tensor_keys

Tensors = dict[str, torch.Tensor]


# ---------------------------------------------------------------------------------------------------- the evaluators


def _io(*keys: str) -> Callable[[Path], bool]:
    return lambda path: tensor_keys(path) >= set(keys)


def _weights(path: Path, beginning: str) -> Path:
    """The weights that belong to a file of inputs and outputs: of its name, or the only ones beside it."""
    named = path.with_name(path.name.replace("_io", "_weights"))
    files = sorted(path.parent.glob("*.safetensors"))
    beside = [file for file in files if any(key.startswith(beginning) for key in tensor_keys(file))]
    if named != path and named in beside:
        return named
    if len(beside) != 1:
        raise FileNotFoundError(f"{path.name} must have its weights beside it, {named.name}; there are {len(beside)}.")
    return beside[0]


def _weights_of(beginning: str) -> Callable[[Path], Iterator[Path]]:
    def parts(path: Path) -> Iterator[Path]:
        named = path.with_name(path.name.replace("_io", "_weights"))
        if named != path and any(key.startswith(beginning) for key in tensor_keys(named)):
            yield named

    return parts


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]


def _nearest(tries: Iterator[list[Check]]) -> list[Check]:
    """Heads are not told by the shapes, and the data does not say them: the number that fits best is taken."""
    return min(tries, key=lambda checks: max(check.difference for check in checks))


def _close(what: str, got: torch.Tensor, want: torch.Tensor, path: Path) -> Check:
    tolerance = stated_tolerance(path, 1e-5) * max(1.0, float(want.abs().max()))
    return compare(what, got, want.numpy(), tolerance)


@torch.no_grad()
def _motion272(path: Path) -> list[Check]:
    io = load_file(path)
    weights = temos_official.find_weights(load_file(_weights(path, "motionencoder.")))
    frames = io["motion"].shape[1]

    def text(heads: int) -> list[Check]:
        network = temos_official.build(weights, network_heads, heads, frames)
        found = network.encode_texts(io["input_ids"], io["attention_mask"].bool())
        return [_close(key, got, io[key], path) for key, got in zip(("text_loc", "text_scale"), found, strict=True)]

    def motion(heads: int) -> list[Check]:
        found = temos_official.build(weights, heads, 1, frames).encode_motions(io["motion"], io["lengths"])
        return [_close(key, got, io[key], path) for key, got in zip(("motion_loc", "motion_scale"), found, strict=True)]

    width = weights["motionencoder.mu_token"].shape[0]
    tries = {heads: motion(heads) for heads in _divisors(width)}
    network_heads = min(tries, key=lambda heads: max(check.difference for check in tries[heads]))
    text_width = weights["textencoder.text_model.embeddings.LayerNorm.weight"].shape[0]
    return [*tries[network_heads], *_nearest(text(heads) for heads in _divisors(text_width))]


@torch.no_grad()
def _hml263(path: Path) -> list[Check]:
    """The text encoder gets rows by falling length; what comes out is ordered by the motions' length."""
    io = load_file(path)
    stored = load_file(_weights(path, "motion_encoder."))
    network = official.build(stored)
    order, lengths = io["align_idx"].long(), io["m_lens"].long()
    motions = network.encode_motions(io["motions"], lengths, "packed")[order]
    texts = network.encode_texts(io["word_embs"], io["pos_ohot"].float(), io["cap_lens"].long())[order]
    movements = network.movement(io["motions"][..., :-4])[order]
    return [
        _close("motions", motions, io["motion_emb_aligned"], path),
        _close("texts", texts, io["text_emb_aligned"], path),
        _close("movements", movements, io["movements_aligned"], path),
    ]


@torch.no_grad()
def _motionclip(path: Path) -> list[Check]:
    io = load_file(path)
    weights = load_file(_weights(path, "motion_model."))
    real = io["motion_mask"].bool()
    ends = {int(end) for end in io["input_ids"].gather(1, (io["text_mask"].sum(1, keepdim=True) - 1).long()).flatten()}
    (end,) = ends
    lengths, frames = real.sum(1), io["motion"].shape[1]

    def text(heads: int) -> tuple[torch.Tensor, list[Check]]:
        found = dual_official.build(weights, heads, 1, end, frames).encode_texts(io["input_ids"])
        return found, [_close("text_features", found, io["text_features"], path)]

    def motion(heads: int) -> tuple[torch.Tensor, list[Check]]:
        found = dual_official.build(weights, 1, heads, end, frames).encode_motions(io["motion"], lengths)
        return found, [_close("motion_features", found, io["motion_features"], path)]

    widths = [weights[f"{s}_model.embeddings.position_embedding.weight"].shape[1] for s in ("text", "motion")]
    (texts, first), (motions, second) = (
        min((run(heads) for heads in _divisors(width)), key=lambda made: made[1][0].difference)
        for run, width in zip((text, motion), widths, strict=True)
    )
    network = dual_official.build(weights, 1, 1, end, frames)
    checks = [*first, *second, _close("logits", network.logits(texts, motions), io["logits_per_text"], path)]
    if "loss" in io:
        checks.append(_close("loss", network.loss(texts, motions).reshape(-1), io["loss"].reshape(-1), path))
    return checks


# --------------------------------------------------------------------------------------------------- the measures


def _beside(path: Path, theirs: str, ours: str, *keys: str) -> Path:
    """The JSON of a case whose arrays are ``path``: of its name with another ending, or the only one beside it."""
    named = path.with_name(path.name.replace(ours, theirs)).with_suffix(".json")
    beside = [p for p in sorted(path.parent.glob("*.json")) if json_keys(p) & set(keys)]
    if named in beside:
        return named
    if len(beside) != 1:
        raise FileNotFoundError(f"{path.name} must have its numbers beside it, {named.name}; found {len(beside)}.")
    return beside[0]


def _share(what: str, got: Any, want: Any, share: float = 1e-6) -> Check:
    want = np.asarray(want, np.float64)
    return compare(what, np.asarray(got, np.float64), want, share * max(float(np.abs(want).max()), 1e-3))


def _is_metrics(path: Path) -> bool:
    return npz_keys(path) >= {"text", "real", "pred"}


def _metrics_json(path: Path) -> Iterator[Path]:
    for file in path.parent.glob("*.json"):
        if "fid_raw" in json_keys(file):
            yield file


def _metrics(path: Path) -> list[Check]:
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files}
    want = json.loads(_beside(path, "expected", "inputs", "fid_raw").read_text())
    text, real, pred = arrays["text"], arrays["real"], arrays["pred"]
    sets = {"real": real, "pred": pred}
    checks = []
    for key, value in want.items():
        found = re.fullmatch(r"r_precision_(real|pred)_seqchunks", key)
        if key == "fid_raw":
            checks.append(_share(key, metrics.frechet(real, pred), value))
        elif key == "fid_self":
            checks.append(Check(key, abs(metrics.frechet(real, real) - value), 1e-6))
        elif key == "fid_l2_normalized":
            checks.append(_share(key, metrics.frechet(metrics.normalized(real), metrics.normalized(pred)), value))
        elif found:
            checks.append(_share(key, metrics.retrieval(text, sets[found[1]]).precision, value))
        elif found := re.fullmatch(r"mm_dist_(real|pred)_seqchunks", key):
            checks.append(_share(key, metrics.retrieval(text, sets[found[1]]).matching, value))
        elif found := re.fullmatch(r"diversity_npseed(\d+)_times(\d+)_(real|pred)", key):
            points, rng = sets[found[3]], np.random.RandomState(int(found[1]))
            first, second = metrics.diversity_pairs(len(points), rng, int(found[2]))
            checks.append(_share(key, metrics.diversity(points, first, second), value))
            for name, drawn in (("diversity_idx_first", first), ("diversity_idx_second", second)):
                if name in want:
                    checks.append(compare(name, drawn, np.asarray(want[name]), 0))
        elif found := re.fullmatch(r"multimodality_npseed(\d+)_times(\d+)", key):
            points = arrays["multimodality"]
            drawn = metrics.multimodality_pairs(points.shape[1], np.random.RandomState(int(found[1])), int(found[2]))
            checks.append(_share(key, metrics.multimodality(points, *drawn), value))
        elif found := re.fullmatch(r"aggregate_n(\d+)_chunk(\d+)_seed(\d+)_rep(\d+)", key):
            samples, group, seed, repeats = map(int, found.groups())
            checks += _aggregate(key, [part[:samples] for part in (text, real, pred)], group, seed, repeats, value)
        elif key not in ("diversity_idx_first", "diversity_idx_second"):
            checks.append(Check(key, np.inf, 0.0, f"{key}: no rule for it"))
    return checks


def _aggregate(
    name: str, rows: list[np.ndarray], group: int, seed: int, repeats: int, want: dict[str, Any]
) -> list[Check]:
    text, real, pred = rows
    draws = aggregate.permutations(len(text), repeats, seed)
    made = {
        "real": aggregate.row([aggregate.Pairs(text, real)], draws, None, group),
        "pred": aggregate.row([aggregate.Pairs(text, pred)], draws, real, group),
    }
    checks = []
    for key, value in want.items():
        measure, _, which = key.rpartition("_")
        if key == "n_samples_used":
            checks.append(compare(f"{name} {key}", made["pred"]["used"], np.asarray(value), 0))
        elif key == "fid":
            checks.append(_share(f"{name} {key}", made["pred"]["metrics"]["FID"]["mean"], value))
        elif which in made and measure in ("r_precision", "matching_score"):
            found = made[which]["metrics"]
            names = aggregate.RANKS if measure == "r_precision" else ("matching",)
            got = [found[n]["mean"] for n in names]
            checks.append(_share(f"{name} {key}", got if measure == "r_precision" else got[0], value))
        else:
            checks.append(Check(f"{name} {key}", np.inf, 0.0, f"{name} {key}: no rule for it"))
    return checks


def _is_captions(path: Path) -> bool:
    return json_keys(path) >= {"predictions", "references", "metrics"}


def _captions(path: Path) -> list[Check]:
    case = json.loads(path.read_text())
    said, known = case["predictions"], [language.three(one) for one in case["references"]]
    checks = []
    if "references_3" in case:
        checks.append(Check("three references", 0.0 if known == case["references_3"] else np.inf, 0.0))
    bleu = language.coco_bleu(said, known)
    found = {f"Bleu_{order}": score for order, score in enumerate(bleu, 1)}
    found["ROUGE_L"] = float(language.coco_rouge_l(said, known).mean())
    found["CIDEr"] = float(language.cider(said, known).mean())
    for key, value in case["metrics"].items():
        if key in found:
            checks.append(_share(key, found[key], value, 1e-9))
        else:
            checks.append(Check(key, np.inf, 0.0, f"{key}: no rule for it"))
    return checks


_PHYSICAL = {"Slide": "slide", "Float": "float", "Jitter": "jitter", "Dynamic": "dynamic", "Penet": "penetration"}


def _is_physical(path: Path) -> bool:
    """Joints of several motions beside a JSON with what is measured of them."""
    keys = npz_keys(path)
    return bool(keys) and any(_tells(file) & keys for file in path.parent.glob("*.json"))


def _tells(file: Path) -> frozenset[str]:
    """The motions that a JSON has physical measures of."""
    names = json_keys(file)
    if not names:
        return names
    case = json.loads(file.read_text())
    return frozenset(n for n in names if isinstance(case[n], dict) and {"raw", "contact_frames"} <= case[n].keys())


def _physical_json(path: Path) -> Iterator[Path]:
    keys = npz_keys(path)
    for file in path.parent.glob("*.json"):
        if _tells(file) & keys:
            yield file


def _physical(path: Path) -> list[Check]:
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files}
    (answers,) = _physical_json(path)
    case = json.loads(answers.read_text())
    checks, made = [], {name: physics.physics(joints) for name, joints in arrays.items()}
    for name, want in case.items():
        if name == "_aggregate":
            checks.append(compare("motions", len(made), np.asarray(want["n"]), 0))
            checks += _measures("mean", physics.mean_physics(list(made.values())), want, arrays.values())
            continue
        found = made[name]
        checks.append(compare(f"{name} frames", len(arrays[name]), np.asarray(want["T"]), 0))
        checks.append(compare(f"{name} contacts", found.contacts, np.asarray(want["contact_frames"]), 0))
        checks += _measures(name, found.measures(), want["raw"], [arrays[name]])
        scaled = {ours: want["table"][theirs] / physics.TABLE_SCALE[ours] for theirs, ours in _PHYSICAL.items()}
        table = {ours: v / physics.TABLE_SCALE[ours] for ours, v in physics.table(found.measures()).items()}
        stored = {theirs: scaled[ours] for theirs, ours in _PHYSICAL.items()}
        checks += _measures(f"{name}, table", table, stored, [arrays[name]])
    return checks


def _measures(name: str, got: dict[str, float], want: dict[str, float], joints: Any) -> list[Check]:
    """One part in a million; of what is nothing but rounding, that of positions. Floating counts frames: exact."""
    rounding = 4 * float(np.finfo(np.float32).eps) * max(float(np.abs(one).max()) for one in joints)
    return [
        compare(
            f"{name} {ours}", got[ours], np.asarray(want[theirs], np.float64),
            1e-12 if ours == "float" else 1e-6 * abs(want[theirs]) if abs(want[theirs]) > rounding else rounding,
        )
        for theirs, ours in _PHYSICAL.items()
    ]  # fmt: skip


KINDS = (
    Kind("evaluator motion272", _io("motion_loc", "text_loc"), _motion272, _weights_of("motionencoder.")),
    Kind("evaluator hml263", _io("motion_emb_aligned", "align_idx"), _hml263, _weights_of("motion_encoder.")),
    Kind("evaluator motionclip", _io("logits_per_text", "motion_features"), _motionclip, _weights_of("motion_model.")),
    Kind("metrics", _is_metrics, _metrics, _metrics_json),
    Kind("caption metrics", _is_captions, _captions),
    Kind("physical metrics", _is_physical, _physical, _physical_json),
)
