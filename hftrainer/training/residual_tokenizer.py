"""Stage 1 of MoMask and MoGenTS, the residual motion tokenizers: their losses, and the stage as recipes run it.

Source: Guo et al. 2024 (MoMask), section 3.1; Yuan et al. 2024 (MoGenTS), section 3.1. MoGenTS adds up the losses of
the poses alone, of the joints alone, and of what both make together. Where settings ask for the loss of joints in the
world (see ``TokenizerSettings``), it is that of the motion which comes out.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hftrainer.data.humanml3d import HumanML3D
from hftrainer.errors import ArtifactError
from hftrainer.models.artifact import check_files, load_weights, read_config, save_weights, write_json, written_folder
from hftrainer.models.motion.mogents.joints import pose_target
from hftrainer.models.motion.mogents.tokenizer import MoGenTSTokenizer, MoGenTSTokenizerConfig, Streams
from hftrainer.models.motion.momask.tokenizer import MoMaskTokenizer, MoMaskTokenizerConfig
from hftrainer.models.motion.motiongpt.bundle import Statistics
from hftrainer.models.residual_quantize import ResidualQuantizer
from hftrainer.training.run import Run
from hftrainer.training.tokenizer import Network, ReconstructionTask, TokenizerSettings

#: What the stage leaves behind, beside the statistics.
INDEX, WEIGHTS = "motion_tokenizer.json", "motion_tokenizer.safetensors"

Tokenizer = MoGenTSTokenizer | MoMaskTokenizer


class ResidualTask(ReconstructionTask[Network]):
    """What both residual tokenizers share in training; see ``ReconstructionTask``."""

    @property
    def streams(self) -> list[ResidualQuantizer]:
        """The quantisers of the network, poses before joints."""
        return [module for module in self.network.modules() if isinstance(module, ResidualQuantizer)]

    @abstractmethod
    def rows(self, features: Tensor) -> tuple[Tensor, ...]:
        """What each quantiser is given for ``(B, T, D)`` normalised features: ``(..., C)``."""

    @torch.no_grad()
    def recluster(self) -> None:
        """Make the codes of each layer anew from what the layers before it leave over in all training clips.

        Raises:
            ValueError: fewer rows than codes.
        """
        per, device = self.network.config.frames_per_token, next(self.network.parameters()).device
        clips = [self.rows(c[: len(c) // per * per][None].to(device)) for c in self.clips if len(c) >= per]
        for quantizer, parts in zip(self.streams, zip(*clips, strict=True), strict=True):
            left, generator = torch.cat([part.flatten(0, -2) for part in parts]), torch.Generator()
            generator.manual_seed(self.seed)
            columns = parts[0][0, ..., 0].numel() // parts[0].shape[-2]
            for layer in dict.fromkeys(quantizer.layer(i) for i in range(quantizer.count)):
                layer.recluster(left, self.settings.frames // per * columns, generator)
                left = left - layer.lookup(layer.assign(left))

    @property
    def codes(self) -> int:
        return sum(quantizer.codes * len(quantizer.layers) for quantizer in self.streams)

    def used(self, *tokens: Tensor) -> set[int]:
        """The codes in use, each with a number of its own; ``(..., Q)`` tokens of each quantiser."""
        found, before = set(), 0  # type: set[int], int
        for quantizer, stack in zip(self.streams, tokens, strict=True):
            for layer, here in enumerate(stack.unbind(-1)):
                book = before + quantizer.codes * min(layer, len(quantizer.layers) - 1)
                found |= {book + int(code) for code in here.unique()}
            before += quantizer.codes * len(quantizer.layers)
        return found


class MoMaskTokenizerTask(ResidualTask[MoMaskTokenizer]):
    """Stage 1 of MoMask for the training loop; see ``ReconstructionTask``."""

    def loss(self, batch: Tensor, layers: int | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Weighted sum and its parts; ``layers`` as in ``MoMaskTokenizer.forward``."""
        batch = batch.to(next(self.network.parameters()).device)
        if self.settings.decoder_only:
            with torch.no_grad():
                tokens = self.network.encode(batch)
            output, commitment, perplexity = self.network.decode(tokens), *batch.new_zeros(2)
        else:
            output, commitment, perplexity = self.network(batch, layers)
        output = output.float()
        total, parts = self.feature_loss(output, batch, commitment)
        total, more = self.with_world_loss(total, output, batch)
        return total, {**parts, "perplexity": perplexity, **more}

    def round_trip(self, clip: Tensor) -> tuple[Tensor, set[int]]:
        tokens = self.network.encode(clip)
        return self.network.decode(tokens), self.used(tokens)

    def rows(self, features: Tensor) -> tuple[Tensor, ...]:
        return (self.network.encoder(features),)


class MoGenTSTokenizerTask(ResidualTask[MoGenTSTokenizer]):
    """Stage 1 of MoGenTS for the training loop; see ``ReconstructionTask``."""

    def loss(self, batch: Tensor, layers: tuple[int, int] | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Weighted sum and its parts; ``layers`` as in ``MoGenTSTokenizer.forward``."""
        batch = batch.to(next(self.network.parameters()).device)
        if self.settings.decoder_only:
            with torch.no_grad():
                tokens = self.network.encode(batch)
            found = Streams(*self.network.decode_streams(*tokens), *batch.new_zeros(4))
        else:
            found = self.network(batch, layers)
        output = found.features.float()
        both = (found.aux_commitment + found.grid_commitment) / 2
        poses, of_poses = self.feature_loss(found.aux.float(), batch, found.aux_commitment)
        joints, of_joints = self.feature_loss(found.grid.float(), pose_target(batch), found.grid_commitment)
        total, parts = self.feature_loss(output, batch, both)
        parts |= {f"aux_{name}": value for name, value in of_poses.items()}
        parts |= {f"grid_{name}": value for name, value in of_joints.items()}
        parts |= {"aux_perplexity": found.aux_perplexity, "grid_perplexity": found.grid_perplexity}
        total, more = self.with_world_loss(poses + joints + total, output, batch)
        return total, parts | more

    def round_trip(self, clip: Tensor) -> tuple[Tensor, set[int]]:
        aux, grid = self.network.encode(clip)
        return self.network.decode(aux, grid), self.used(aux, grid)

    def rows(self, features: Tensor) -> tuple[Tensor, ...]:
        return self.network.rows(features)


def residual_config(recipe: Mapping[str, Any], dataset: HumanML3D | None = None) -> Any:
    """The motion tokenizer of a recipe; its features are those of the dataset unless the recipe says so itself.

    Returns:
        A ``MoGenTSTokenizerConfig`` or a ``MoMaskTokenizerConfig``, as the recipe's kind says.

    Raises:
        ArtifactError: an unknown field, a wrong size, or features that the dataset does not have.
    """
    values = dict(recipe.get("network", {}))
    if dataset is not None:
        values.setdefault("features", dataset.spec.width)
        if values["features"] != dataset.spec.width:
            raise ArtifactError(
                f"network.features must be {dataset.spec.width} for {dataset.folder} ({dataset.spec.name}); "
                f"got {values['features']}. Leave it out."
            )
    kind = MoGenTSTokenizerConfig if recipe["kind"] == "mogents-tokenizer" else MoMaskTokenizerConfig
    return read_config(kind, values, "network")


def _made(config: MoGenTSTokenizerConfig | MoMaskTokenizerConfig) -> Tokenizer:
    return MoMaskTokenizer(config) if isinstance(config, MoMaskTokenizerConfig) else MoGenTSTokenizer(config)


def load_residual_tokenizer(folder: str | Path) -> tuple[Tokenizer, Statistics, dict[str, Any]]:
    """The motion tokenizer that a stage made, its statistics and its provenance.

    Args:
        folder: ``artifact/`` of a run.

    Raises:
        ArtifactError: it is no such folder, or its files do not fit.
    """
    folder = Path(folder)
    check_files(folder, (INDEX, WEIGHTS, "Mean.npy", "Std.npy"))
    index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    kinds: dict[str, Any] = {"mogents": MoGenTSTokenizerConfig, "momask": MoMaskTokenizerConfig}
    if index.get("model") not in kinds:
        raise ArtifactError(
            f"{folder} must hold a residual motion tokenizer, of {' or '.join(kinds)}; "
            f"got {index.get('model', 'one of MotionGPT')}."
        )
    network = _made(read_config(kinds[index["model"]], index["motion_tokenizer"], "motion_tokenizer"))
    load_weights(network, folder / WEIGHTS)
    return network.eval(), Statistics.load(folder, index.get("representation", "hml263")), index["about"]


def train_residual_tokenizer(run: Run) -> None:
    """Stage 1: the residual motion tokenizer.

    Raises:
        ArtifactError: settings that do not go together, or an earlier run of another network.
    """
    recipe, dataset = run.recipe, run.dataset
    config = residual_config(recipe, dataset)
    settings = read_config(TokenizerSettings, recipe.get("settings", {}), "settings")
    statistics = Statistics(dataset.mean, dataset.std, dataset.spec.name)
    network, earlier = _made(config), []
    if "start" in recipe:
        before, _, about = load_residual_tokenizer(recipe["start"])
        if before.config != config:
            raise ArtifactError(
                f"{recipe['start']} must have the network of this recipe; its motion tokenizer differs."
            )
        network.load_state_dict(before.state_dict())
        earlier = about["stages"]
    shortest = config.frames_per_token * 2
    clips, held_out = (
        [c.rows for c in run.clips(splits) if c.frames >= shortest] for splits in run.splits
    )
    more = statistics, clips, held_out, settings, run.schedule.seed
    task = (
        MoMaskTokenizerTask(network, *more)
        if isinstance(network, MoMaskTokenizer)
        else MoGenTSTokenizerTask(network, *more)
    )
    if settings.recluster and not run.resume:
        task.recluster()
    run.fit(task, network)
    if run.first:
        with written_folder(run.out / "artifact") as folder:
            save_weights(network, folder / WEIGHTS)
            statistics.save(folder)
            about = {"stages": [*earlier, run.stage()]}
            index = {
                "model": recipe["kind"].removesuffix("-tokenizer"), "motion_tokenizer": asdict(config),
                "representation": dataset.spec.name, "about": about,
            }  # fmt: skip
            write_json(folder / INDEX, index)
    run.group.wait()
