"""Whole generations and edits of MoGenTS and MoMask, in the authors' order of draws; see ``mogents_transformers``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hftrainer.models.motion.mogents import generation
from hftrainer.models.motion.mogents import official_transformers as official
from hftrainer.models.motion.mogents.decoding import Step, Watch
from hftrainer.models.motion.mogents.sampling import Chance, OfficialChance, Settings, StoredChance, exponential
from hftrainer.models.motion.mogents.transformer import real_frames
from hftrainer.models.motion.momask import generation as momask
from hftrainer.models.residual_quantize import NOTHING
from tests.parity import Check, Kind, compare
from tests.parity.mdm import seeded
from tests.parity.mogents_transformers import (
    FEATURES,
    GUIDED,
    Case,
    Network,
    Tensors,
    build,
    build_tokenizer,
    configs,
    family,
    pair,
    parts,
    read_case,
    why_not_same,
)


def _settings(meta: Case, **more: Any) -> Settings:
    return Settings(
        steps=meta["time_steps"], guidance=float(meta["cond_scale"]), residual_guidance=float(meta["res_cond_scale"]),
        drop=meta["topk_filter_thres"], temperature=meta["temperature"], gumbel=meta["gsample"],
        unconditional=meta.get("force_mask", False), **more,
    )  # fmt: skip


def _override(network: Network, text: str) -> None:
    """``rows 12..13 … of TABLE[:, r, :] and TABLE[:, r, :] set to 0`` done to a network."""
    found = re.search(r"rows (\d+)\.\.(\d+)", text)
    if not found:
        raise ValueError(f"an override must name rows; got {text!r}.")
    ours = {theirs: name for name, theirs in official.keys(network.config).items()}
    for table in re.findall(r"(\w+)\[:, r, :\]", text):
        with torch.no_grad():
            network.get_parameter(ours[table])[:, int(found[1]) : int(found[2]) + 1] = 0


def _networks(path: Path, case: Case) -> tuple[dict[str, Network], list[Check]]:
    found: dict[str, Network] = {}
    checks: list[Check] = []
    for name, config in configs(case).items():
        found[name], more = build(path, name, config, case["weights_seeds"][name])
        checks += more
        text = case.get("override")
        if isinstance(text, str) and text.startswith(name):
            _override(found[name], text)
    return found, checks


def _stored(tensors: Tensors, meta: Case, names: Sequence[str]) -> StoredChance | None:
    """The noise that a case stores, in the order in which it was drawn; none if it stores none."""
    draws: list[Tensor] = []
    for name in names:
        if f"{name}_step_noise" not in tensors:
            return None
        uniform = meta.get(f"{name}_noise_kind", "uni") == "uni"
        draws += [exponential(noise) if uniform else noise for noise in tensors[f"{name}_step_noise"]]
    return StoredChance(draws)


class _Seen:
    """Every iteration of every network, and the generator as residuals begin."""

    def __init__(self, names: dict[str, str]) -> None:
        self.names, self.steps = names, {name: [] for name in names.values()}  # type: ignore[var-annotated]
        self.before_residuals: Tensor | None = None

    def __call__(self, name: str) -> Watch:
        if name.startswith("res") and self.before_residuals is None:
            self.before_residuals = torch.rand(3, generator=_like_global())
        steps: list[Step] = self.steps[self.names[name]]
        return steps.append

    def compare(self, tensors: Tensors) -> Iterator[Check]:
        for name, steps in self.steps.items():
            arrays: dict[str, tuple[Callable[[Step], Any], float]] = {
                "ids_in": (lambda step: step.read, 0),
                "logits": (lambda step: step.logits.mT, GUIDED),
                "pred": (lambda step: step.chosen, 0),
            }
            for key, (of, tolerance) in arrays.items():
                want = tensors.get(f"{name}_step_{key}")
                if want is not None and len(steps):
                    got = torch.stack([of(step) for step in steps])
                    yield compare(f"{name}_step_{key}", got, want, tolerance)


def _like_global() -> torch.Generator:
    generator = torch.Generator()
    generator.set_state(torch.get_rng_state())
    return generator


@torch.no_grad()
def _generation(path: Path) -> list[Check]:
    case, tensors = read_case(path)
    meta = case["values"]["meta"]
    networks, checks = _networks(path, case)
    lengths, text, settings = torch.tensor(meta["lens"]), tensors["text_emb"], _settings(meta)
    seed = case.get("vq_seed", case["weights_seeds"].get("vq"))
    tokenizer = build_tokenizer(path, case, seed, tensors["features"].shape[-1])
    two = family(case) == "mogents"
    if two:
        all_four = generation.Networks(*(networks[n] for n in ("mask_aux", "mask_ts", "res_aux", "res_ts")))  # type: ignore[arg-type]
        names = {"mask_aux": "mask_aux", "mask_grid": "mask_ts", "res_aux": "res_aux", "res_grid": "res_ts"}
    else:
        both = momask.Networks(networks["t2m"], networks["res"])  # type: ignore[arg-type]
        names = {"mask": "t2m", "res": "res"}

    def make(chance: Chance, watch: Any) -> tuple[Tensor, ...]:
        if two:
            return generation.generate_codes(all_four, text, lengths, settings, rng=chance, watch=watch)
        return (momask.generate_codes(both, text, lengths, settings, rng=chance, watch=watch),)

    def decode(codes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        if two:
            motion, poses, _ = tokenizer.decode_streams(*codes)
            return motion, poses
        motion = torch.stack(momask.decode_codes(tokenizer, codes[0]))
        return motion, motion

    stored = _stored(tensors, meta, list(names.values()))
    streams = ("aux", "ts") if two else ("",)
    seen = _Seen(names)
    with seeded(meta["torch_seed"]):
        chance: Chance = OfficialChance()
        if why_not_same():
            if stored is None:
                raise ValueError("a generation must store its noise to be run here; it stores none.")
            chance = stored
        codes = make(chance, seen)
        if not why_not_same():
            checks.append(compare("torch_rand_at_end", torch.rand(3), meta["torch_rand_at_end"], 1e-7))
            if "torch_rand_after_mask_stage" in meta:
                want = meta["torch_rand_after_mask_stage"]
                checks.append(compare("torch_rand_after_mask_stage", seen.before_residuals, want, 1e-7))
    checks += seen.compare(tensors)
    for stream, got in zip(streams, codes, strict=True):
        mask, res = (f"mask_{stream}", f"res_{stream}") if two else ("t2m", "res")
        checks.append(compare(f"{res}_ids", got, tensors[f"{res}_ids"], 0))
        last = seen.steps[mask][-1]
        clipped = meta.get(f"{res}_printed_warning", False)
        if f"{res}_printed_warning" in meta:
            padding = real_frames(lengths, got.shape[1]).logical_not().any()
            made = bool((got == NOTHING).any())
            checks.append(Check(f"{res}_printed_warning", float(clipped and made and bool(padding)), 0.0))
        base = tensors[f"{mask}_ids"].long()
        real = real_frames(lengths, base.shape[1])
        hidden = base.flatten(1)[real.repeat_interleave(networks[mask].config.columns, 1)]
        first = got[..., 0].flatten(1)[real.repeat_interleave(networks[mask].config.columns, 1)]
        checks.append(compare(f"{mask}_ids", first, hidden, 0))
        checks.append(Check(f"{mask} iterations", float(abs(len(seen.steps[mask]) - settings.steps)), 0.0))
        assert last.read is not None
    motion, poses = decode(codes)
    checks.append(compare("features", motion, tensors["features"], FEATURES))
    if "x_out1d" in tensors:
        checks.append(compare("x_out1d", poses, tensors["x_out1d"], FEATURES))
    if "features_base_only" in tensors:
        base_only = [tensors[f"{mask}_ids"].long()[..., None] for mask in names.values() if not mask.startswith("res")]
        checks.append(compare("features_base_only", decode(base_only)[0], tensors["features_base_only"], FEATURES))
    if stored is not None and not why_not_same():
        for stream, got in zip(streams, make(stored, None), strict=True):
            key = f"res_{stream}_ids" if two else "res_ids"
            checks.append(compare(f"{key} with stored noise", got, tensors[key], 0))
    return checks


class _Chosen:
    """Chance that lets a case's own choices be made again, where they are possible."""

    def __init__(self, chosen: Tensor) -> None:
        self.chosen, self.at = chosen, 0

    def draw(self, chosen: Tensor, classes: int, order: str) -> Tensor:
        wanted = torch.nn.functional.one_hot(self.chosen[self.at].long(), classes)
        self.at += 1
        return torch.where(wanted.bool(), 1e-20, 1.0)[chosen]


@torch.no_grad()
def _edit(path: Path) -> list[Check]:
    case, tensors = read_case(path)
    meta = case["values"]["meta"]
    networks, checks = _networks(path, {**case, "weights_seeds": case["weights_seeds"]})
    source, text = tensors["source_motion_normed_padded"], tensors["text_emb"]
    tokenizer = build_tokenizer(path, case, case["weights_seeds"]["vq"], source.shape[-1])
    tokens = tokenizer.encode(source)
    checks.append(compare("source_tokens", tokens, tensors["source_tokens"], 0))
    lengths = torch.tensor([meta["m_len"] // tokenizer.config.frames_per_token])
    spans = [tuple(span) for span in meta["slices"]]
    mask = momask.sections(spans, tokens.shape[1])[None]
    checks.append(compare("edit_mask", mask, tensors["edit_mask"], 0))
    start = momask.start_of(tokens[..., 0], lengths, spans)
    settings = _settings(meta, residual_layers=None if meta["use_res"] else 0)
    both = momask.Networks(networks["t2m"], networks["res"])  # type: ignore[arg-type]
    seen = _Seen({"mask": "edit", "res": "res"})
    if why_not_same():  # residuals cannot be replayed: a case stores no draws of theirs
        settings = _settings(meta, residual_layers=0)
        first = momask.generate_codes(
            both, text, lengths, settings, rng=_Chosen(tensors["edit_step_pred"]), start=start, watch=seen
        )
        checks += seen.compare(tensors)
        return [*checks, compare("edit_ids", first[..., 0], tensors["edit_ids"], 0)]
    with seeded(meta["torch_seed"]):
        codes = momask.generate_codes(both, text, lengths, settings, start=start, watch=seen)
        checks.append(compare("torch_rand_at_end", torch.rand(3), meta["torch_rand_at_end"], 1e-7))
    checks += seen.compare(tensors)
    cells = real_frames(lengths, tokens.shape[1])
    checks.append(compare("edit_ids", codes[..., 0][cells], tensors["edit_ids"][cells], 0))
    checks.append(compare("final_ids", codes, tensors["final_ids"], 0))
    motion = torch.stack(momask.decode_codes(tokenizer, codes))
    checks.append(compare("features", motion, tensors["features"], FEATURES))
    return checks


KINDS = [
    Kind("mogents generation", pair("text_emb", "features", "features_base_only"), _generation, parts),
    Kind("momask edit", pair("source_tokens", "edit_mask", "final_ids"), _edit, parts),
]
