"""Stages 2 and 3 of MoMask and MoGenTS as recipes run them: mask transformers, then residual transformers.

Stage 1 is in ``residual_tokenizer``. A stage leaves its transformers behind; a residual stage that is told where the
mask stage is (``mask``) leaves the whole model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from hftrainer.errors import ArtifactError
from hftrainer.models.artifact import check_files, load_weights, read_config, save_weights, write_json, written_folder
from hftrainer.models.motion.mogents.bundle import MaskedBundle, MoGenTSBundle
from hftrainer.models.motion.mogents.files import read_whole_sentences
from hftrainer.models.motion.mogents.masked import MaskedTransformer
from hftrainer.models.motion.mogents.residual import ResidualConfig, ResidualTransformer
from hftrainer.models.motion.mogents.tokenizer import MoGenTSTokenizer
from hftrainer.models.motion.mogents.transformer import TransformerConfig
from hftrainer.models.motion.momask.bundle import MoMaskBundle
from hftrainer.models.motion.motiongpt.bundle import Statistics
from hftrainer.models.tower_files import sentence_vectors
from hftrainer.training.masked import (
    MaskedSettings,
    MaskTask,
    ResidualTask,
    Streams,
    Tokenizer,
    coded_clips,
)
from hftrainer.training.mdm import load_tower
from hftrainer.training.residual_tokenizer import load_residual_tokenizer
from hftrainer.training.run import Run

#: What a stage leaves behind, beside its networks.
INDEX = "transformers.json"
BUNDLES: dict[str, type[MaskedBundle]] = {"mogents": MoGenTSBundle, "momask": MoMaskBundle}
#: The streams' names in recipes, and the files of their networks.
NAMES: dict[tuple[str, str], dict[str, str]] = {
    ("mogents", "mask"): {"aux": "mask_aux", "grid": "mask_ts"},
    ("mogents", "residual"): {"aux": "res_aux", "grid": "res_ts"},
    ("momask", "mask"): {"aux": "t2m_trans"},
    ("momask", "residual"): {"aux": "res_trans"},
}
#: How often the authors hide the text in training.
_HIDDEN = {
    ("mogents", "mask"): 0.1, ("mogents", "residual"): 0.01, ("momask", "mask"): 0.1, ("momask", "residual"): 0.2,
}  # fmt: skip


def transformer_configs(
    recipe: Mapping[str, Any], tokenizer: Tokenizer, text_width: int
) -> dict[str, TransformerConfig]:
    """The transformers of a recipe by the names of their files.

    ``network`` holds what all streams share; tables ``network.aux`` and ``network.grid`` hold what differs. Sizes of
    vocabularies are the motion tokenizer's, and the width of a code, too, unless the recipe says so itself. Where it
    says nothing, sizes are the authors', and positions and attention, too, but no cell gets another one's result.

    Raises:
        ArtifactError: an unknown field, or sizes that no network can have.
    """
    family, stage = _kind(recipe)
    said = dict(recipe.get("network", {}))
    apart = {stream: said.pop(stream, {}) for stream in ("aux", "grid")}
    kind, found = ResidualConfig if stage == "residual" else TransformerConfig, {}
    c = tokenizer.config
    for stream, name in NAMES[family, stage].items():
        if not isinstance(tokenizer, MoGenTSTokenizer):
            sizes: dict[str, Any] = {"codes": tokenizer.config.codes, "code_width": tokenizer.config.code_width}
        elif stream == "aux":
            sizes = {"codes": tokenizer.config.aux_codes, "code_width": tokenizer.config.aux_width}
            sizes |= {"learned_positions": True}
        else:
            sizes = {"codes": tokenizer.config.grid_codes, "code_width": tokenizer.config.grid_width}
            sizes |= {"columns": tokenizer.config.columns, "joint_attention": True, "time_attention": True}
        if stage == "residual":
            sizes["quantizers"] = c.layers
        values = {"condition_dropout": _HIDDEN[family, stage], "text_width": text_width, **sizes, **said}
        found[name] = read_config(kind, {**values, **apart[stream]}, f"network ({stream})")
    return found


def _kind(recipe: Mapping[str, Any]) -> tuple[str, str]:
    family, _, stage = recipe["kind"].partition("-")
    return family, stage


def _made(config: TransformerConfig) -> MaskedTransformer | ResidualTransformer:
    return ResidualTransformer(config) if isinstance(config, ResidualConfig) else MaskedTransformer(config)


def load_transformers(folder: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The transformers that a stage made, by the names of their files, and its provenance.

    Args:
        folder: ``artifact/`` of a run.

    Raises:
        ArtifactError: it is no such folder, or its files do not fit.
    """
    folder = Path(folder)
    check_files(folder, (INDEX,))
    index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    check_files(folder, [f"{name}.safetensors" for name in index["networks"]])
    kind, networks = ResidualConfig if index["stage"] == "residual" else TransformerConfig, {}
    for name, values in index["networks"].items():
        networks[name] = _made(read_config(kind, values, f"{folder / INDEX}: {name}"))
        load_weights(networks[name], folder / f"{name}.safetensors")
    return networks, index["about"]


def _tokenizer(name: str, family: str) -> tuple[Tokenizer, Statistics, dict[str, Any]]:
    """The motion tokenizer of a run of stage 1, or of a whole artifact, an imported one too."""
    if (Path(name) / "model_index.json").is_file():
        bundle = BUNDLES[family].from_pretrained(name)
        return bundle.motion_tokenizer, bundle.statistics, {"stages": bundle.about.get("stages", [])}
    tokenizer, statistics, about = load_residual_tokenizer(name)
    if isinstance(tokenizer, MoGenTSTokenizer) != (family == "mogents"):
        raise ArtifactError(f"tokenizer must be one of {family}; got {name}, which is another's.")
    return tokenizer, statistics, about


def train_transformers(run: Run) -> None:
    """One stage: the mask transformers, or the residual transformers, of all streams.

    Raises:
        ArtifactError: an earlier stage that does not fit the recipe.
    """
    recipe, dataset = run.recipe, run.dataset
    family, stage = _kind(recipe)
    absent = [name for name in ("tokenizer", "text_tower") if name not in recipe]
    if absent:
        raise ArtifactError(f"a {recipe['kind']} recipe must name {' and '.join(absent)}.")
    tokenizer, statistics, before = _tokenizer(recipe["tokenizer"], family)
    if statistics.spec != dataset.spec:
        raise ArtifactError(
            f"{recipe['data']} must hold {statistics.spec.name}, as {recipe['tokenizer']} reads it; "
            f"got {dataset.spec.name}."
        )
    tower = read_whole_sentences(load_tower(recipe["text_tower"]))
    configs = transformer_configs(recipe, tokenizer, tower.width)
    settings = read_config(MaskedSettings, recipe.get("settings", {}), "settings")
    made = {name: _made(config) for name, config in configs.items()}
    network = Streams(made)
    earlier: list[Any] = []
    if "start" in recipe:
        found, about = load_transformers(recipe["start"])
        if {name: one.config for name, one in found.items()} != configs:
            raise ArtifactError(f"{recipe['start']} must have the networks of this recipe; its networks differ.")
        network.load_state_dict(Streams(found).state_dict())
        earlier = about["stages"]
    tokenizer.to(run.group.device)
    clips, held_out = (
        coded_clips(run.clips(splits), tokenizer, statistics, settings.frames[0], run.composed, settings.spellings)
        for splits in run.splits
    )
    tokenizer.to("cpu")
    tower.to(run.group.device)
    task = (ResidualTask if stage == "residual" else MaskTask)(
        network, partial(sentence_vectors, tower), clips, held_out, settings,
        frames_per_token=tokenizer.config.frames_per_token, seed=run.schedule.seed,
    )  # fmt: skip
    run.fit(task, network)
    if run.first:
        network.to("cpu")
        about = {"stages": [*earlier, run.stage()], "tokenizer": before, "text_tower": recipe["text_tower"]}
        if "mask" in recipe:
            masks, of_masks = load_transformers(recipe["mask"])
            per = tokenizer.config.frames_per_token
            bundle = BUNDLES[family](
                {"vq": tokenizer, **masks, **made}, statistics, tower.to("cpu"),
                frame_range=(-(-settings.frames[0] // per) * per, settings.frames[1] // per * per),
                about={**about, "stages": [*of_masks["stages"], *about["stages"]]},
            )  # fmt: skip
            bundle.save_pretrained(run.out / "artifact")
        else:
            with written_folder(run.out / "artifact") as folder:
                for name, one in made.items():
                    save_weights(one, folder / f"{name}.safetensors")
                index = {
                    "model": family, "stage": stage, "about": about,
                    "networks": {name: asdict(config) for name, config in configs.items()},
                }  # fmt: skip
                write_json(folder / INDEX, index)
    run.group.wait()
