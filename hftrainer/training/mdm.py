"""MDM as recipes train it: from a dataset to an artifact."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hftrainer.errors import ArtifactError
from hftrainer.models.artifact import read_config
from hftrainer.models.motion.mdm.bundle import MDMBundle
from hftrainer.models.motion.mdm.config import MDMConfig
from hftrainer.models.motion.mdm.network import MDM
from hftrainer.models.motion.motiongpt.bundle import MotionGPTBundle, Statistics
from hftrainer.models.motion.motiongpt.network import LanguageModel
from hftrainer.models.motion.motiongpt.tower import CaptionTower
from hftrainer.models.text import Words
from hftrainer.models.tower_files import DESCRIPTION, Tower, read_clip, read_distilbert, read_tower
from hftrainer.training.diffusion import DiffusionSettings, DiffusionTask, described
from hftrainer.training.run import Run


def train_mdm(run: Run) -> None:
    """One stage: the denoiser, with a text tower that is not trained.

    Raises:
        ArtifactError: a tower that the network does not fit, or an earlier run of another network.
    """
    recipe, dataset = run.recipe, run.dataset
    values = {"joints": dataset.spec.width, "condition_dropout": 0.1, **recipe.get("network", {})}
    tower = load_tower(recipe["text_tower"]) if "text_tower" in recipe else None
    if tower is not None:
        values |= {"text_encoder": tower.name, "text_width": tower.width}
    else:
        values |= {"condition": "none", "condition_dropout": 0.0}
    config = read_config(MDMConfig, values, "network")
    settings = read_config(DiffusionSettings, recipe.get("settings", {}), "settings")
    statistics = Statistics(dataset.mean, dataset.std, dataset.spec.name)
    network = MDM(config)
    stages: list[dict[str, object]] = []
    if "start" in recipe:
        before = MDMBundle.from_pretrained(Path(recipe["start"]))
        # A network that goes on may learn another course of the noise: what it is told of a step is the same table.
        if replace(before.config, noise_schedule=config.noise_schedule) != config:
            raise ArtifactError(f"{recipe['start']} must have the network of this recipe; its network differs.")
        network.load_state_dict(before.network.state_dict())
        stages = before.about.get("stages", [])
    clips, held_out = (
        described(run.clips(splits), statistics, settings.frames[0], run.composed) for splits in run.splits
    )
    if tower is not None:
        tower.to(run.group.device)
    try:
        task = DiffusionTask(network, tower, statistics, clips, held_out, settings, run.schedule.seed)
    except ValueError as error:
        raise ArtifactError(str(error)) from error
    run.fit(task, network)
    if run.first:
        network.load_state_dict(task.network.averaged())
        about = {"stages": [*stages, run.stage()]}
        frames = None if config.mask_frames else settings.frames[1]
        bundle = MDMBundle(
            network.to("cpu"), statistics, tower, guidance=2.5 if config.guidable else 1.0,
            frame_range=settings.frames, evaluation_frames=frames, about=about,
        )  # fmt: skip
        bundle.save_pretrained(run.out / "artifact")
    run.group.wait()


def load_tower(name: str) -> Tower:
    """A text tower: a folder or file of CLIP, a folder of DistilBERT, or the encoder of a MotionGPT.

    Args:
        name: a path, or the name of a built-in MotionGPT.

    Raises:
        ArtifactError: nothing of the kind is there.
    """
    path = Path(name)
    if (path / DESCRIPTION).is_file():
        return read_tower(path)
    if (path / "config.json").is_file():
        bert = '"distilbert"' in (path / "config.json").read_text(encoding="utf-8")
        return read_distilbert(path) if bert else read_clip(path)
    if path.is_file():
        return read_clip(path)
    bundle = MotionGPTBundle.from_pretrained(name)
    if not isinstance(bundle.words, Words) or not isinstance(bundle.language_model, LanguageModel):
        raise ArtifactError(f"a text tower of MotionGPT must read word vectors; {name} has learned rows. Take CLIP.")
    return CaptionTower.of(bundle.language_model, bundle.words)
