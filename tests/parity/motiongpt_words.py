"""MotionGPT kinds: prompts, answers, span corruption, what becomes of codes, the reading of a data set, statistics."""

from __future__ import annotations

import hashlib
import json
import random
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file

from hftrainer.data import official as reading
from hftrainer.errors import GenerationError
from hftrainer.models.motion.motiongpt import corruption, official
from hftrainer.models.motion.motiongpt.answers import official_answer, parse_answer
from hftrainer.models.motion.motiongpt.bundle import Statistics
from hftrainer.models.motion.motiongpt.decoding import official_demo, official_reconstruction, official_validation
from hftrainer.models.motion.motiongpt.network import MotionTokenizer, TokenizerConfig
from hftrainer.models.motion.motiongpt.prompts import (
    OFFICIAL,
    OFFICIAL_DECODING,
    PRETRAIN,
    Instruction,
    Rules,
    fill,
    official_prompt,
    split_inbetween,
    split_prediction,
)
from hftrainer.motion import rotation
from hftrainer.motion.representation import hml263
from hftrainer.motion.representation.specs import get_spec
from tests.parity import Check, Kind, compare, json_keys, npz_keys, tensor_keys

Case = dict[str, Any]
Arrays = dict[str, np.ndarray]


def _read(path: Path) -> tuple[Case, Arrays]:
    tensors = path / "tensors.safetensors"
    return json.loads((path / "case.json").read_text()), load_file(tensors) if tensors.is_file() else {}


def _case(*keys: str, has: tuple[str, ...] = ()) -> Callable[[Path], bool]:
    """Folders whose case.json has these names, and whose tensors have those."""

    def matches(path: Path) -> bool:
        if not path.is_dir() or not json_keys(path / "case.json") >= set(keys):
            return False
        return not has or tensor_keys(path / "tensors.safetensors") >= set(has)

    return matches


def _same(what: str, got: Any, want: Any) -> Check:
    """Strings, lists and counts: equal or not."""
    if got == want:
        return Check(what, 0.0, 0.0)
    return Check(what, np.inf, 0.0, f"{what}: {got!r:.120} is not {want!r:.120}")


# ------------------------------------------------------------------------------------------------------------ prompts


def _rules(case: Case) -> Rules:
    given = case["defaults"]
    return Rules(
        case["motion_codebook_size"], given["framerate"], given["down_t"], given["predict_ratio"],
        given["inbetween_ratio"], given["quota_ratio"],
    )  # fmt: skip


def _instruction(theirs: Mapping[str, Any]) -> Instruction:
    return Instruction(theirs["class"], "", tuple(theirs["input"]), tuple(theirs["output"]), theirs["class"])


#: What asks for what, by the reference's task name, without and with a length.
_MODES = {
    "t2m": ("official_nolen", "official_len"),
    "m2t": ("caption", "caption_len"),
    "pred": ("predict", "predict"),
    "inbetween": ("inbetween", "inbetween"),
}


def _conditional(block: Case, rules: Rules) -> list[str]:
    """The prompts of one call of the reference's conditional generation, and with its draws."""
    given, rng = block["args"], random.Random(block["python_random_seed"])
    task, with_length = given["task"], given.get("with_len", False)
    prompts = []
    for i, length in enumerate(given["lengths"]):
        codes = None if "motion_tokens" not in given else given["motion_tokens"][i][:length]
        frames = 0 if task == "t2m" and not with_length else length
        caption = given["texts"][i] if given.get("texts") else ""
        mode = _MODES[task][with_length]
        template = OFFICIAL[mode]
        if given.get("tasks") is not None and not with_length:
            template = rng.choice(given["tasks"][i]["input"])
            rng.choice(given["tasks"][i]["output"])
            prompts.append(fill(template, caption=caption, codes=codes, frames=frames, rules=rules, quote=rng))
        else:
            rng.choice([template])
            rng.choice(["<Motion_Placeholder>"])
            prompts.append(official_prompt(mode, caption, frames, codes=codes, rules=rules, quote=rng))
        fill("", caption=caption, rules=rules, quote=rng)  # the reference fills an answer too, with a draw of its own
    return prompts


def _prompting(path: Path) -> list[Check]:
    case, _ = _read(path)
    rules, checks = _rules(case), []
    for row in case["split_table"]["rows"]:
        n = row["length"]
        start, stop = rules.masked_span(n)
        got = {
            "length": n, "seconds_string": rules.seconds(n), "frame_string": fill(OFFICIAL["official_len"], caption="",
            frames=n, rules=rules).split()[3], "predict_head": rules.prediction_head(n) + 1, "masked_head": start + 1,
            "masked_tail": stop + 1,
        }  # fmt: skip
        checks.append(_same(f"split of {n}", got, row))
    for i, row in enumerate(case["placeholder_fulfill"]):
        codes, frames, rng = row["motion_tokens"], row["length_argument"], random.Random(row["python_random_seed"])
        got = fill(row["template"], caption=row["text"], codes=codes, frames=frames, rules=rules, quote=rng)
        checks.append(_same(f"placeholder_fulfill {i}", got, row["result"]))
        for parts in (split_prediction(codes, frames, rules), split_inbetween(codes, frames, rules)):
            checks.append(_same(f"parts of motion {i}", sum(parts, []), codes))
    for row in case["placeholder_edge_cases"]:
        rng = random.Random(row["python_random_seed"])
        got = fill(row["template"], caption=row["text"], frames=row["length_argument"], rules=rules, quote=rng)
        checks.append(_same(f"edge case {row['template']!r}", got, row["result"]))
    batch = case["template_fulfill"]
    rng, rows = random.Random(batch["python_random_seed"]), []
    for task, n, codes, text in zip(*(batch[k] for k in ("tasks", "lengths", "motion_tokens", "texts")), strict=True):
        example = _instruction(task).example(rng, caption=text, codes=codes[:n], frames=n, rules=rules, quote=True)
        rows.append(example)
    checks.append(_same("template_fulfill inputs", [row[0] for row in rows], batch["inputs"]))
    checks.append(_same("template_fulfill outputs", [row[1] for row in rows], batch["outputs"]))
    for block in case["generate_conditional"]:
        checks.append(_same(block["case"], _conditional(block, rules), block["prompts"]))
        most, way = OFFICIAL_DECODING["caption" if block["args"]["task"] == "m2t" else "motion"]
        decoding = {"max_length": most, "num_beams": 1, "do_sample": way == "drawn"}
        checks.append(_same(f"{block['case']} decoding", decoding, block["generate_direct_kwargs"]))
    return checks


# ------------------------------------------------------------------------------------------------------------ answers


def _answers(path: Path) -> list[Check]:
    case, _ = _read(path)
    codes, checks = case["motion_codebook_size"], []
    for row in case["rows"]:
        try:
            answer = official_answer(row["string"], codes)
            got = {"string": row["string"], "tokens": answer.codes, "cleaned_text": answer.text}
        except GenerationError as exc:
            cause = exc.__cause__
            got = {"string": row["string"], "raises": type(cause).__name__, "message": str(cause)}
        checks.append(_same(f"reading of {row['string']!r}", got, row))
        try:
            strict = parse_answer(row["string"], codes).codes
        except GenerationError:
            continue
        closed = re.sub(r">\s+<", "><", row["string"])  # the strict reading takes white space between tokens
        checks.append(_same(f"strict reading of {row['string']!r}", strict, official_answer(closed, codes).codes))
    return checks


# --------------------------------------------------------------------------------------------------------- corruption


class _Watched:
    """A legacy stream that writes down what its shuffles gave."""

    def __init__(self, seed: int) -> None:
        self.stream, self.shuffled = np.random.RandomState(seed), []

    def shuffle(self, values: np.ndarray) -> None:
        self.stream.shuffle(values)
        self.shuffled.append([int(v) for v in values])


def _corruption(path: Path) -> list[Check]:
    case, arrays = _read(path)
    settings = {"density": case["noise_density"], "mean_span": case["mean_noise_span_length"]}
    checks = []
    for row in case["masks"]:
        want = arrays[row["tensor"]]
        counts = corruption.noise_counts(row["length"], **settings)
        checks.append(_same(f"counts of {row['tensor']}", counts, (row["num_noise_tokens"], row["num_noise_spans"])))
        mask = corruption.span_mask(row["length"], np.random.RandomState(row["numpy_seed"]), **settings)
        checks.append(compare(row["tensor"], mask, want, 0))
    for key, entry in case.items():
        length = re.fullmatch(r"recorded_shuffles_for_length(\d+)_seed", key)
        if length:
            watched: Any = _Watched(entry["numpy_seed"])
            corruption.span_mask(int(length[1]), watched, **settings)
            checks.append(_same(key, watched.shuffled, next(v for k, v in entry.items() if k.startswith("shuffle"))))
        length = re.fullmatch(r"len(\d+)", key)
        if length:
            counts = corruption.noise_counts(int(length[1]), **settings)
            checks.append(_same(key, counts, (entry["noise_tokens"], entry["noise_spans"])))
    batch, ids = case["batch"], arrays["batch_ids"]
    first = case["len_tokenizer"] - 1 - (case["motion_codebook_size"] + 3)
    stream = np.random.RandomState(batch["numpy_seed"])
    mask = np.stack([corruption.span_mask(ids.shape[1], stream, **settings) for _ in ids])
    prompts, labels = corruption.corrupt_padded(ids, mask, first)
    _, kept = corruption.corrupt_padded(ids, mask, first, pad=-1)
    checks += [
        _same("extra_id_0", first, batch["extra_id_0"]),
        compare("batch_mask", mask, arrays["batch_mask"], 0),
        compare("corrupted_inputs", prompts, arrays["corrupted_inputs"], 0),
        compare("labels", labels, arrays["labels"], 0),
        compare("labels_before_ignore", kept, arrays["labels_before_ignore"], 0),
        compare("input_sentinels", corruption.sentinels(mask, first), arrays["input_sentinels"], 0),
        compare("target_sentinels", corruption.sentinels(~mask, first), arrays["target_sentinels"], 0),
    ]
    return checks


# ----------------------------------------------------------------------------------------------- neighbours of a case


def _neighbours(path: Path) -> list[Path]:
    """Files with arrays near a case, nearest first: in it, beside it, and beside the folders above it."""
    looks = ((root, pattern) for root in (path, *path.parents[:2]) for pattern in ("*.safetensors", "*/*.safetensors"))
    return [file for root, pattern in looks for file in sorted(root.glob(pattern))]


def _statistics(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The released mean and spread, which stand in a case of their own."""
    for file in _neighbours(path):
        if tensor_keys(file) >= {"f64.mean", "f64.std"}:
            arrays = load_file(file)
            return arrays["f64.mean"], arrays["f64.std"]
    raise FileNotFoundError(f"{path.name} needs the case with f64.mean and f64.std near it; there is none.")


def _sample(path: Path) -> np.ndarray:
    """The features that this case's motions are cut from, which stand in a case of their own."""
    for file in _neighbours(path):
        if tensor_keys(file) >= {"features", "kit_features"}:
            return load_file(file)["features"]
    for root in path.parents[:3]:
        for file in sorted(root.glob("zoo/real/*012314*.npz")):
            if "feats" in npz_keys(file):
                with np.load(file) as arrays:
                    return arrays["feats"]
    raise FileNotFoundError(f"{path.name} needs the case with the features it is cut from near it; there is none.")


# --------------------------------------------------------------------------------------------------- codes to motions


def _network(case: Case, arrays: Arrays) -> MotionTokenizer:
    c = case["vq_config"]
    norms = {"LN": "layer", "GN": "group", "BN": "batch"}
    config = TokenizerConfig(
        c["nfeats"], c["code_num"], c["code_dim"], c["width"], c["depth"], c["down_t"], c["dilation_growth_rate"],
        norms.get(c["norm"] or ""), c["activation"],
    )  # fmt: skip
    net = MotionTokenizer(config).eval()
    theirs = {key: torch.from_numpy(value) for key, value in arrays.items()}
    found = net.load_state_dict(official.rename(theirs, official.tokenizer_keys(config), "sd."), strict=False)
    assert not found.unexpected_keys and not [k for k in found.missing_keys if not k.startswith("quantizer.")]
    return net


def _decoding(path: Path) -> list[Check]:
    case, arrays = _read(path)
    net, mean_std = _network(case, arrays), _statistics(path)
    mean, std = (torch.from_numpy(values).float() for values in mean_std)
    frames, padded, answers = case["lengths"], case["padded_length"], case["generated_tokens"]
    motion, last = torch.from_numpy(arrays["motion"]), net.config.codes - 1
    made, lengths = official_validation(net, answers, frames, padded)
    clamped = [[min(max(code, 0), last) for code in codes] for codes in answers]
    joints = hml263.hml263_to_joints((made * std + mean).numpy())
    codes = net.encode(motion).tolist()
    m2t = case["m2t_call"]
    checks = [
        compare("t2m_rst", made, arrays["t2m_rst"], 2e-5),
        compare("t2m_joints_rst", joints, arrays["t2m_joints_rst"], 1e-5),
        compare("vae_rst", official_reconstruction(net, motion, frames), arrays["vae_rst"], 2e-5),
        _same("val_t2m_lengths", lengths, case["val_t2m_lengths"]),
        _same("val_m2m_lengths", lengths, case["val_m2m_lengths"]),
        _same("val_vae_lengths", frames, case["val_vae_lengths"]),
        _same("m2t codes", codes, m2t["motion_tokens"]),
        _same("m2t lengths", [len(row) for row in codes], m2t["lengths"]),
        _same("m2t_token_counts_passed", [len(row) for row in codes], case["m2t_token_counts_passed"]),
        _same("m2t_lengths_passed", [len(row) for row in codes], case["m2t_lengths_passed"]),
        _same("m2m lengths", frames, case["m2m_call_keys"]["lengths"]),
        _same("m2m codes", [len(row) for row in codes], case["m2m_call_keys"]["token_counts"]),
    ]
    shown = arrays["t2m_joints_ref"]
    reference = hml263.hml263_to_joints((motion[: len(shown)] * std + mean).numpy())
    checks.append(compare("t2m_joints_ref", reference, shown, 1e-5))
    # The demonstration takes codes as they are: the case hands it those inside the vocabulary, the first two as head.
    demo = case["demo_forward"]
    for task in ("t2m", "inbetween", "pred"):
        heads = [row[:2] for row in clamped]
        features, lengths = official_demo(net, clamped, task=task, heads=heads, motion=motion, frames=frames)
        checks.append(compare(f"fwd_{task}_feats", features, arrays[f"fwd_{task}_feats"], 1e-5))
        checks.append(_same(f"{task}_lengths", lengths, demo[f"{task}_lengths"]))
    return checks


# ------------------------------------------------------------------------------------------------------- the data set


def _pieces(said: str) -> list[tuple[int, int]]:
    """The cuts in a sentence like ``concatenate sample012314[a:b] for [(0, 170), (0, 29)]``."""
    return [(int(a), int(b)) for a, b in re.findall(r"\((\d+), (\d+)\)", said)]


def _write(case: Case, arrays: Arrays, sample: np.ndarray, folder: Path, limits: reading.Limits) -> None:
    """The small data set that a case describes. Of token rows, the case knows what its entries show; the rest is 0."""
    for name in ("new_joint_vecs", "texts", "TOKENS"):
        (folder / name).mkdir()
    (folder / "train.txt").write_text("\n".join(case["split_ids"]) + "\n")
    rows = {}
    for clip, said in case["motions"].items():
        features = np.concatenate([sample[a:b] for a, b in _pieces(said)])
        np.save(folder / "new_joint_vecs" / f"{clip}.npy", features)
        rows[clip] = np.zeros(len(features) // limits.unit, np.int64)
    for clip, lines in case["texts"].items():
        (folder / "texts" / f"{clip}.txt").write_text("\n".join(lines) + "\n")
    for i, name in enumerate(case["cb_dataset"]["name_list"]):
        clip, *times = name.split("_")
        known, first = arrays[f"cb_tokens_{i}"], 0
        if times:
            first = int(float(times[0]) * limits.fps / limits.unit)
        elif len(known) != len(rows[clip]):
            rows[clip] = np.zeros(len(known), np.int64)
        rows[clip][first : first + len(known)] = known
    for clip, row in rows.items():
        np.save(folder / "TOKENS" / f"{clip}.npy", row[None])


def _streams(seed: int) -> tuple[random.Random, np.random.RandomState]:
    return random.Random(seed), np.random.RandomState(seed)


def _data(path: Path) -> list[Check]:
    case, arrays = _read(path)
    (mean, std), given = _statistics(path), case["common_args"]
    limits = reading.Limits(given["fps"], given["min_motion_length"], unit=given["unit_length"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write(case, arrays, _sample(path), folder, limits)
        seed = case["t2m_dataset"]["python_and_numpy_seed"]
        texts = reading.text_entries(folder, "train", random.Random(seed), limits)
        motions = reading.motion_entries(folder, "train", limits)
        codes = reading.code_entries(folder, "train", "TOKENS", limits)
    windows = reading.window_entries(texts, limits)
    return [
        *_entries(case, arrays, texts, windows, motions, codes),
        *_items(case, arrays, mean, std, limits, texts, windows, motions, codes),
        *_batches(case, mean, std, limits, texts, windows, codes),
    ]


def _entries(
    case: Case,
    arrays: Arrays,
    texts: list[reading.Entry],
    windows: list[reading.Entry],
    motions: list[reading.Entry],
    codes: list[reading.CodeEntry],
) -> list[Check]:
    t2m, cb = case["t2m_dataset"], case["cb_dataset"]
    rows = {entry.name: [len(row) for row in entry.rows] for entry in codes}
    checks = [
        _same("t2m names", [e.name for e in texts], t2m["name_list_sorted_by_length"]),
        _same("t2m lengths", [e.frames for e in texts], t2m["lengths"]),
        _same("t2m captions", {e.name: [c.text for c in e.captions] for e in texts}, t2m["captions"]),
        _same("t2m pointer and length", (0, len(texts)), (t2m["pointer"], t2m["len"])),
        _same("vq names", [e.name for e in windows], case["vq_dataset"]["name_list"]),
        _same("token names", [e.name for e in motions], case["token_dataset"]["name_list"]),
        _same("cb names", [e.name for e in codes], cb["name_list"]),
        _same("cb length", len(codes) * len(PRETRAIN), cb["len"]),
        _same("cb tasks", len(PRETRAIN), cb["num_tasks"]),
        _same("cb token lengths", rows, cb["token_lengths"]),
    ]
    checks += [compare(f"cb_tokens_{i}", entry.rows[0], arrays[f"cb_tokens_{i}"], 0) for i, entry in enumerate(codes)]
    return checks


def _theirs(task: Instruction) -> dict[str, Any]:
    return {"class": task.kind, "input": list(task.input), "output": list(task.output)}


def _items(
    case: Case,
    arrays: Arrays,
    mean: np.ndarray,
    std: np.ndarray,
    limits: reading.Limits,
    texts: list[reading.Entry],
    windows: list[reading.Entry],
    motions: list[reading.Entry],
    codes: list[reading.CodeEntry],
) -> list[Check]:
    checks = []
    for row in case["eval_items"]:
        i = row["index"]
        item = reading.text_item(texts[i], mean, std, *_streams(row["python_and_numpy_seed"]), limits=limits)
        got = {
            "caption": item.caption, "m_length": item.length, "sent_len": item.sentence,
            "tokens": "_".join(item.tokens or ()), "all_captions": list(item.references or ()),
        }  # fmt: skip
        checks.append(_same(f"eval item {i}", got, {key: row[key] for key in got}))
        checks.append(compare(f"eval_{i}_first_frame", item.motion[0], arrays[f"eval_{i}_first_frame"], 1e-5))
    for row in case["vq_items"]:
        i = row["index"]
        item = reading.window_item(windows[i], mean, std, random.Random(row["seed"]), limits)
        got = {"length_field": item.length, "window_shape": list(item.motion.shape)}
        checks.append(_same(f"vq item {i}", got, {key: row[key] for key in got}))
        checks.append(compare(f"vq_{i}_first_frame", item.motion[0], arrays[f"vq_{i}_first_frame"], 1e-5))
    for row in case["token_items"]:
        i = row["index"]
        item = reading.motion_item(motions[i], mean, std, random.Random(row["seed"]), limits)
        got = {"name": item.name, "m_length": item.length}
        checks.append(_same(f"token item {i}", got, {key: row[key] for key in got}))
        checks.append(compare(f"token_{i}_first_frame", item.motion[0], arrays[f"token_{i}_first_frame"], 1e-5))
    for row in case["cb_items"]:
        item = reading.code_item(codes, row["index"], *_streams(row["seed"]), PRETRAIN)
        got = {
            "caption": item.caption, "tokens": item.motion.tolist(), "length": item.length,
            "all_captions": list(item.references or ()), "task": _theirs(item.task),
        }  # fmt: skip
        checks.append(_same(f"cb item {row['index']}", got, {key: row[key] for key in got}))
    return checks


def _batches(
    case: Case,
    mean: np.ndarray,
    std: np.ndarray,
    limits: reading.Limits,
    texts: list[reading.Entry],
    windows: list[reading.Entry],
    codes: list[reading.CodeEntry],
) -> list[Check]:
    row = case["collate_eval"]
    widths = row["word_embs_shape"][-1], row["pos_shape"][-1]
    streams, count = _streams(row["seed"]), len(row["length"])
    blank = tuple(np.zeros(width) for width in widths)
    batch = reading.collate(
        [reading.text_item(e, mean, std, *streams, lambda word: blank, limits) for e in texts[:count]]  # type: ignore[arg-type,return-value]
    )
    types = {key: f"torch.{batch[key].dtype}" for key in row["dtypes"]}
    got = {
        "keys": list(batch), "length": batch["length"], "text": batch["text"], "text_len": batch["text_len"].tolist(),
        "motion_shape": list(batch["motion"].shape), "word_embs_shape": list(batch["word_embs"].shape),
        "pos_shape": list(batch["pos_ohot"].shape), "dtypes": types, "tokens": batch["tokens"],
    }  # fmt: skip
    checks = [_same(f"collate_eval {key}", value, row[key]) for key, value in got.items()]

    row = case["collate_cb"]
    streams, count = _streams(row["seed"]), len(row["length"])
    batch = reading.collate([reading.code_item(codes, i, *streams, PRETRAIN) for i in range(count)])
    got = {
        "keys": list(batch), "length": batch["length"], "text": batch["text"],
        "motion_shape": list(batch["motion"].shape), "motion_dtype": f"torch.{batch['motion'].dtype}",
        "motion": batch["motion"].tolist(),
    }  # fmt: skip
    checks += [_same(f"collate_cb {key}", value, row[key]) for key, value in got.items()]

    row = case["collate_vq"]
    rng, count = random.Random(row["seed"]), len(row["length"])
    batch = reading.collate([reading.window_item(e, mean, std, rng, limits) for e in windows[:count]])
    got = {"keys": list(batch), "length": batch["length"], "motion_shape": list(batch["motion"].shape)}
    return checks + [_same(f"collate_vq {key}", value, row[key]) for key, value in got.items()]


# -------------------------------------------------------------------------------------------- features and statistics


def _recovery(path: Path) -> list[Check]:
    case, arrays = _read(path)
    features, (mean, std) = arrays["features"], _statistics(path)
    statistics = Statistics(mean, std, "hml263")
    quats, places = hml263.recover_root(features)
    normal = (torch.from_numpy(features) - statistics.mean) / statistics.std
    back = statistics.denormalize(normal).data
    shares = [float(n) for n in re.findall(r"([\d.]+)\*", case["renorm_test"])]
    some = len(arrays["renormalized"])
    seen = torch.from_numpy(back[:some].copy())
    other = Statistics(shares[0] * mean, shares[1] * std, "hml263")
    rows = len(arrays["rot6d_with_root_pos"])
    heading = rotation.matrix_to_rot6d_columns(rotation.quat_wxyz_to_matrix(quats[:rows, None]))
    stored = features[:rows, get_spec("hml263").channel("rotations").slice].reshape(rows, -1, 6)
    origin = np.concatenate([places, np.zeros_like(places)], -1)[:rows, None]
    sixes = np.concatenate([heading, stored, origin], 1)
    joints = hml263.hml263_to_joints(features)
    kit = arrays["kit_features"]
    return [
        compare("root_quat_wxyz", quats, arrays["root_quat_wxyz"], 1e-5),
        compare("root_pos", places, arrays["root_pos"], 1e-5),
        compare("joints", joints, arrays["joints"], 1e-5),
        compare("hml3d_published_joints", joints, arrays["hml3d_published_joints"], 1e-5),
        compare("kit_joints", hml263.kit251_to_joints(kit), arrays["kit_joints"], 1e-5),
        compare("normalized", normal, arrays["normalized"], 2e-5),
        compare("denormalized", back, arrays["denormalized"], 1e-5),
        compare("joints_from_normalized", hml263.hml263_to_joints(back)[None], arrays["joints_from_normalized"], 1e-5),
        compare("renormalized", (seen - other.mean) / other.std, arrays["renormalized"], 2e-5),
        compare("rot6d_with_root_pos", sixes, arrays["rot6d_with_root_pos"], 1e-5),
        compare("max_abs_diff_vs_published_new_joints", np.abs(joints - arrays["hml3d_published_joints"]).max(),
                np.float64(case["max_abs_diff_vs_published_new_joints"]), 1e-5),
        _same("shapes", {"features": list(features.shape), "published": list(joints.shape)}, case["shapes"]),
    ]


def _mean_std(path: Path) -> list[Check]:
    case, arrays = _read(path)
    mean, std = arrays["f64.mean"], arrays["f64.std"]
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "Mean.npy", mean)
        np.save(Path(folder) / "Std.npy", std)
        kept = Statistics.load(Path(folder), "hml263" if len(mean) == 263 else "kit251")
    checks = [
        _same(f"sha256 of {name}", hashlib.sha256(arrays[f"f64.{name}"].tobytes()).hexdigest(), digest)
        for name, digest in case["sha256_of_array_bytes"].items()
    ]
    for name, got, want in (("mean", kept.mean, mean), ("std", kept.std, std)):
        checks.append(compare(name, got, want, float(np.finfo(np.float32).eps * np.abs(want).max())))
    return checks


KINDS = [
    Kind("motiongpt prompts", _case("placeholder_fulfill", "split_table"), _prompting),
    Kind("motiongpt answers", _case("rows", "motion_codebook_size"), _answers),
    Kind("motiongpt corruption", _case("masks", "noise_density", has=("batch_ids",)), _corruption),
    Kind("motiongpt decoding", _case("generated_tokens", "demo_forward", has=("t2m_rst",)), _decoding),
    Kind("motiongpt reading", _case("split_ids", "texts", "cb_dataset"), _data),
    Kind("motiongpt features", _case("renorm_test", has=("features", "rot6d_with_root_pos")), _recovery),
    Kind("motiongpt statistics", _case("sha256_of_array_bytes", has=("f64.mean", "f64.std")), _mean_std),
]
