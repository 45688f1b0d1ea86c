"""MotionGPT kinds: the evaluator's networks and words, the metrics of embeddings, of joints and of sentences."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from hftrainer.evaluation import language, metrics, reconstruction, replications
from hftrainer.models.evaluator import TextMotionEvaluator, WordVectors, official
from hftrainer.models.evaluator.words import PARTS
from tests.parity import Check, Kind, compare, json_keys, tensor_keys

Case = dict[str, Any]
Tensors = dict[str, torch.Tensor]


def _read(path: Path) -> tuple[Case, Tensors]:
    tensors = path / "tensors.safetensors"
    return json.loads((path / "case.json").read_text()), load_file(tensors) if tensors.is_file() else {}


def _case(*keys: str, tensors: tuple[str, ...] = ()) -> Callable[[Path], bool]:
    """Folders whose case.json has these names, and whose tensors have those."""

    def matches(path: Path) -> bool:
        if not path.is_dir() or not json_keys(path / "case.json") >= set(keys):
            return False
        return not tensors or tensor_keys(path / "tensors.safetensors") >= set(tensors)

    return matches


def _relative(want: Any, share: float) -> float:
    """A tolerance that grows with the numbers: a share of the largest one."""
    return share * max(float(np.abs(np.asarray(want, np.float64)).max()), 1e-3)


def _close(what: str, got: Any, want: Any, share: float) -> Check:
    want = np.asarray(want, np.float64)
    return compare(what, np.asarray(got, np.float64), want, _relative(want, share))


# ------------------------------------------------------------------------------------------------------ the networks


def _formula(case: Case) -> Tensors:
    """Weights that a case does not store but states a rule for."""
    seed, weights = case["weights_formula"].get("seed", case["seed"]), {}
    for part, shapes in case["keys"].items():
        for key, shape in shapes.items():
            name = f"{part}.{key}"
            draw = np.random.RandomState((seed + zlib.crc32(name.encode())) % 2**32).standard_normal(shape)
            if len(shape) >= 2:
                draw *= 1 / np.sqrt(np.prod(shape[1:]))
            else:
                draw = (1.0 if name.endswith(".weight") else 0.0) + 0.05 * draw
            weights[name] = torch.from_numpy(draw.astype(np.float32))
    return weights


def _network(case: Case, tensors: Tensors) -> TextMotionEvaluator:
    stored = {key.removeprefix("sd."): value for key, value in tensors.items() if key.startswith("sd.")}
    return official.build(stored or _formula(case))


def _embedding(what: str, got: torch.Tensor, want: torch.Tensor, full: bool) -> Check:
    """Tolerance: a share of the spread of the numbers; full-size networks add more up."""
    share = 1e-4 if full else 1e-5
    return Check(what, compare(what, got, want, 1).difference, max(share * float(want.std()), 2e-6))


@torch.no_grad()
def _evaluator(path: Path) -> list[Check]:
    case, tensors = _read(path)
    net, full = _network(case, tensors), "weights_formula" in case
    motions, lengths = tensors["motions"], tensors["motion_lens"].long()
    pairs = zip(motions, lengths, strict=True)
    alone = [net.encode_motions(m[None, :n], torch.tensor([int(n)]), "consumed") for m, n in pairs]
    sound = net.encode_motions(motions, lengths)
    texts = net.encode_texts(tensors["text_word_embs"], tensors["text_pos_onehot"], tensors["text_lens"].long())
    checks = [
        _embedding("motions, padding consumed", net.encode_motions(motions, lengths, "consumed"),
                   tensors["motion_embeddings_padded_batch"], full),
        _embedding("motions, one by one", torch.cat(alone), tensors["motion_embeddings_each_unpadded"], full),
        _embedding("motions, as if alone", sound, tensors["motion_embeddings_each_unpadded"], full),
        _embedding("texts", texts, tensors["text_embeddings"], full),
    ]  # fmt: skip
    movements = net.movement(motions[..., :-4])
    want = tensors["movement_out"]  # a case may keep the first few only
    checks.append(_embedding("movements", movements[: want.shape[0], : want.shape[1]], want, full))
    count = {"text_encoder": net.text, "movement_encoder": net.movement, "motion_encoder": net.motion}
    for part, parameters in case.get("param_count", {}).items():
        have = sum(p.numel() for p in count[part].parameters())
        checks.append(compare(f"parameters of {part}", have, np.asarray(parameters), 0))
    return checks


@torch.no_grad()
def _update(path: Path) -> list[Check]:
    case, tensors = _read(path)
    net = _network(case, tensors)
    rows = {
        "rst_embeddings": ("feats_rst", "lengths_rst"),
        "gt_embeddings": ("feats_ref", "lengths_ref"),
    }
    checks = []
    for want, (features, lengths) in rows.items():
        got = net.encode_motions(tensors[features], torch.tensor(case[lengths]), "consumed")
        checks.append(_embedding(want, got, tensors[want], False))
    got = net.encode_texts(tensors["word_embs"], tensors["pos_onehot"], tensors["text_lens"].long())
    checks.append(_embedding("text_embeddings", got, tensors["text_embeddings"], False))
    checks.append(compare("frames", sum(case["lengths_ref"]), np.asarray(case["count"]), 0))
    checks.append(compare("sequences", len(case["lengths_ref"]), np.asarray(case["count_seq"]), 0))
    return checks


def _words(path: Path) -> list[Check]:
    case, tensors = _read(path)
    vectors = WordVectors(case["vocabulary"], tensors["vectors"].numpy())
    places = case["pos_enumeration"]
    checks = [
        compare("words", len(vectors), np.asarray(case["len"]), 0),
        compare("parts of speech", [PARTS.index(name) for name in places], np.asarray(list(places.values())), 0),
    ]
    for row in case["rows"]:
        item = row["item"]
        if "raises" in row:
            checks.append(Check(f"{item} is refused", 0.0 if _refused(vectors, item) else np.inf, 0.0))
            continue
        vector, part = vectors[item]
        checks.append(compare(f"vector of {item}", vector, tensors["vectors"].numpy()[row["vocab_index"]], 0))
        checks.append(compare(f"part of {item}", part, np.eye(row["pos_len"])[row["pos_index"]], 0))
        checks.append(Check(f"kind of {item}", 0.0 if part.dtype == row["pos_dtype"] else np.inf, 0.0))
    return checks


def _refused(vectors: WordVectors, item: str) -> bool:
    try:
        vectors[item]
    except ValueError:
        return True
    return False


# ------------------------------------------------------------------------------------------------------- the numbers


def _embeddings(path: Path) -> list[Check]:
    case, tensors = _read(path)
    arrays = {key: value.numpy() for key, value in tensors.items()}
    results, order = case["results"], arrays["shuffle_permutation"]
    text, made, true = (arrays[key] for key in ("text", "generated", "ground_truth"))
    checks = []
    for prefix, motions in (("", made), ("gt_", true)):
        found = metrics.retrieval(text, motions, order, case["R_size"], case["top_k"])
        checks.append(_close(f"{prefix}matching", found.matching, results[f"{prefix}Matching_score"], 1e-4))
        checks.append(compare("groups", found.used // case["R_size"], np.asarray(case["groups_used"]), 0))
        for k, share in enumerate(found.precision, 1):
            checks.append(_close(f"{prefix}R@{k}", share, results[f"{prefix}R_precision_top_{k}"], 1e-6))
    checks.append(_close("FID", metrics.frechet(true, made), results["FID"], 1e-6))
    checks.append(Check("FID of a set with itself", abs(metrics.frechet(made, made)), 1e-6))
    seeds = {key.removeprefix("numpy.random.seed").strip(): seed for key, seed in case["seeds"].items()}
    rng = np.random.RandomState(seeds[""])
    for i, (name, motions) in enumerate((("Diversity", made), ("gt_Diversity", true))):
        stored = [arrays[f"diversity_indices_{2 * i + j}"] for j in (0, 1)]
        value = metrics.diversity(motions[order], *stored)
        checks.append(_close(name, value, results[name], 1e-5))
        drawn = metrics.diversity_pairs(len(motions), rng, case["diversity_times"])
        checks += [compare(f"{name}, draw {j}", drawn[j], stored[j], 0) for j in (0, 1)]
    rng = np.random.RandomState(seeds["for multimodality"])
    stored = [arrays[f"mm_indices_{j}"] for j in (0, 1)]
    drawn = metrics.multimodality_pairs(arrays["mm_embeddings"].shape[1], rng, case["mm_num_times"])
    checks += [compare(f"multimodality, draw {j}", drawn[j], stored[j], 0) for j in (0, 1)]
    value = metrics.multimodality(arrays["mm_embeddings"], *stored)
    checks.append(_close("multimodality", value, case["multimodality"], 1e-5))
    generator = torch.Generator().manual_seed(case["seeds"]["torch.manual_seed"])
    checks.append(compare("shuffling", torch.randperm(case["samples"], generator=generator), order, 0))
    corner = np.asarray(case["distance_matrix_corner"])
    apart = _corner(text, made, true, order, corner)
    checks.append(_close("distances", apart, corner, 1e-4))
    example = case["replication_statistics_example"]
    (values,) = (value for key, value in example.items() if key.startswith("values"))
    columns = [replications.summary(column) for column in zip(*values, strict=True)]
    checks.append(_close("mean", [c["mean"] for c in columns], example["mean"], 1e-9))
    checks.append(_close("interval", [c["interval95"] for c in columns], example["conf_interval"], 1e-9))
    return checks


def _corner(text: np.ndarray, made: np.ndarray, true: np.ndarray, order: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """The corner of the distance matrix; a case does not say of which rows, so the one that is nearest is taken."""
    n = len(corner)
    tries = [
        metrics.distances(t[:n], m[:n])
        for motions in (made, true) for t, m in ((text, motions), (text[order], motions[order]))
    ]  # fmt: skip
    return min(tries, key=lambda apart: float(np.abs(apart - corner).max()))


_MR = ("MPJPE", "PA-MPJPE", "ACCEL")


def _motion(path: Path) -> list[Check]:
    case, tensors = _read(path)
    got, want = (tensors[key].double().numpy() for key in ("joints_rst", "joints_ref"))
    lengths, results = case["lengths"], case["results"]
    found = {
        "MR_padded_batch": reconstruction.padded_reconstruction(got, want, lengths),
        "MR_each_unpadded": reconstruction.reconstruction(
            [(g[:n], w[:n]) for g, w, n in zip(got, want, lengths, strict=True)]
        ),
        "MR_no_root_alignment": reconstruction.padded_reconstruction(got, want, lengths, align_root=False),
        "Pred_pred": reconstruction.padded_displacement(got, want, lengths, "pred", 0.2),
        "Pred_inbetween": reconstruction.padded_displacement(got, want, lengths, "inbetween", 0.25),
    }
    checks = [
        _close(f"{name} {key}", values[key], results[name][key.replace("PA-", "PA")], 1e-4)
        for name, values in found.items() if name in results for key in values
    ]  # fmt: skip
    for key, function in (
        ("mpjpe_frames", reconstruction.mpjpe),
        ("pampjpe_frames", reconstruction.pa_mpjpe),
        ("accel_frames", reconstruction.acceleration_error),
    ):
        if key in tensors:
            checks.append(compare(key, function(got[0], want[0]), tensors[key].numpy(), 1e-5))
    return checks


def _language(path: Path) -> list[Check]:
    case, _ = _read(path)
    said, known, results = case["predictions"], case["references"], case["results"]
    checks = []
    for name, want in results["bleu"].items():
        got = language.bleu(said, known, int(re.sub(r"\D", "", name)))
        numbers = {
            "score": got.score, "precisions": got.precisions, "brevity_penalty": got.brevity,
            "length_ratio": got.length_ratio, "translation_length": got.words, "reference_length": got.reference_words,
        }  # fmt: skip
        checks += [_close(f"{name} {key}", numbers[key], value, 1e-9) for key, value in want.items()]
    each = language.cider(said, known)
    checks.append(_close("CIDEr", each.mean(), results["cider"], 1e-9))
    checks.append(_close("CIDEr of each", each, results["cider_per_item"], 1e-9))
    rouge = language.rouge_l(said, known)
    checks.append(_close("ROUGE-L of each", rouge, results["rougeL_per_item_max_over_refs"], 1e-9))
    checks.append(_close("ROUGE-L", rouge.mean(), results["rougeL_plain_mean"], 1e-9))
    middle = results["rougeL_bootstrap_mid"]
    median = language.resampled_median(rouge, np.random.RandomState(middle["numpy_seed"]))
    checks.append(_close("ROUGE-L, resampled", median, middle["value"], 1e-9))
    return checks


KINDS = (
    Kind("motiongpt evaluator", _case("sizes", "keys", tensors=("motion_embeddings_padded_batch",)), _evaluator),
    Kind("motiongpt metric update", _case("lengths_rst", tensors=("feats_rst", "rst_embeddings")), _update),
    Kind("motiongpt word vectors", _case("vocabulary", "pos_enumeration", "rows"), _words),
    Kind("motiongpt metrics", _case("R_size", "results", "diversity_times"), _embeddings),
    Kind("motiongpt joints metrics", _case("results", tensors=("joints_rst", "joints_ref")), _motion),
    Kind("motiongpt caption metrics", _case("predictions", "references", "results"), _language),
)
