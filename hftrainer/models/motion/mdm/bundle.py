"""MDM's bundle: the denoiser, its statistics and its text tower; one folder on disk.

| file | what |
|---|---|
| ``mdm_config.json`` | which network, how strongly it is guided, how it is to be used |
| ``model.safetensors`` | the denoiser, in the authors' names, so that the published artifact and this one are alike |
| ``Mean.npy``, ``Std.npy`` | what normalised numbers mean |
| ``text_encoder/`` | the text tower; where it is absent it is found by its name |
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from hftrainer.errors import ArtifactError
from hftrainer.models.artifact import check_files, folder_hash, resolve, whole_artifact, write_json, written_folder
from hftrainer.models.hub import push_saved
from hftrainer.models.motion.mdm import official
from hftrainer.models.motion.mdm.config import MDMConfig
from hftrainer.models.motion.mdm.network import MDM, position_table
from hftrainer.models.motion.mdm.packing import Twins, can_pack, packed
from hftrainer.models.motion.mdm.release import REPRESENTATIONS, Release
from hftrainer.models.motion.motiongpt.bundle import Statistics
from hftrainer.models.sums import Hashed
from hftrainer.models.tower_files import DESCRIPTION, Tower, fetch_tower, read_tower, save_tower
from hftrainer.models.tower_files import WEIGHTS as TOWER_WEIGHTS
from hftrainer.motion.clip import Motion

CONFIG, WEIGHTS, TEXT = "mdm_config.json", "model.safetensors", "text_encoder"
#: Files of every artifact, in the order in which its hash reads them.
FILES = (CONFIG, WEIGHTS, "Mean.npy", "Std.npy")
_PUBLISHED = ("model_type", "guidance_param", "config")
_OURS = (
    "format", "representation", "frame_range", "evaluation_frames", "usual_frames", "candidates", "network", "about",
)  # fmt: skip


class MDMBundle(Hashed):
    """Everything that MDM needs to turn words into motion, in one object and one folder.

    Attributes:
        network: the denoiser, in eval mode. Its weights keep ``requires_grad``: frozen ones take another road through
            the first layer, and the authors' low bits are lost.
        statistics: what normalised numbers mean.
        text: the text tower; ``None`` until it is needed where the artifact has none inside.
        guidance: how strongly words are followed unless a request says otherwise; 1 where there can be no guidance.
        frame_range: fewest and most frames that may be asked for.
        evaluation_frames: the published numbers were made by showing the network this many frames, whatever was asked
            for, and cropping; ``None`` where a network masks the frames that are not asked for.
        usual_frames: length of a motion that nobody said the length of; ``None`` leaves it to the pipeline.
        candidates: motions that are drawn for a sentence where nobody says how many; the best is kept.
        about: provenance: files, hashes, options.
        sha256, hash: identity of the weights on disk, whole and short; ``"unsaved"`` before.

    Raises:
        ArtifactError: parts that do not fit one another.
    """

    default = "mdm-mini"
    push_to_hub = push_saved

    def __init__(
        self,
        network: MDM,
        statistics: Statistics,
        text: Tower | None = None,
        *,
        guidance: float = 2.5,
        frame_range: tuple[int, int] = (40, 196),
        evaluation_frames: int | None = None,
        usual_frames: int | None = None,
        candidates: int = 1,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        config = network.config
        if statistics.spec.width != config.joints * config.features:
            raise ArtifactError(
                f"the statistics must have {config.joints * config.features} numbers, as the network's frames; "
                f"got {statistics.spec.width}, those of {statistics.spec.name}."
            )
        if guidance != 1 and not config.guidable:
            raise ArtifactError(f"guidance must be 1, because the network knows no motion without a condition; "
                                f"got {guidance:g}.")  # fmt: skip
        if not 1 <= frame_range[0] <= frame_range[1]:
            raise ArtifactError(f"frame_range must be fewest and most frames; got {frame_range}.")
        if usual_frames is not None and not frame_range[0] <= usual_frames <= frame_range[1]:
            raise ArtifactError(f"usual_frames must be {frame_range[0]} to {frame_range[1]}; got {usual_frames}.")
        if candidates < 1:
            raise ArtifactError(f"candidates must be at least 1; got {candidates}.")
        self.usual_frames, self.candidates = usual_frames, candidates
        self.network, self.statistics = network.eval(), statistics
        self._twins = Twins(lambda dtype: packed(self.network, dtype))
        self.text: Tower | None = None
        self.guidance, self.frame_range, self.evaluation_frames = float(guidance), frame_range, evaluation_frames
        self.about = dict(about or {})
        if text is not None:
            self.attach(text)

    @property
    def config(self) -> MDMConfig:
        """Sizes and habits of the network."""
        return self.network.config

    @property
    def representation(self) -> str:
        """Name of the representation that the network makes."""
        return self.statistics.spec.name

    @property
    def device(self) -> torch.device:
        return self.network.leave.weight.device

    def to(self, device: str | torch.device) -> MDMBundle:
        """Move the networks."""
        self._twins = Twins(lambda dtype: packed(self.network, dtype))
        self.network.to(device)
        if self.text is not None:
            self.text.to(device)
        return self

    def packed(self, dtype: torch.dtype) -> MDM:
        """The network for drawing: a twin with weights laid out for products, or itself where its kind has none.

        The twin is made when it is first asked for, and anew after weights have changed.

        Args:
            dtype: of the products: float32 or bfloat16.
        """
        return self._twins(dtype, [self.network]) if can_pack(self.network) else self.network

    def attach(self, text: Tower) -> None:
        """Give the bundle its text tower.

        Raises:
            ArtifactError: another tower than the network was trained with.
        """
        if text.name != self.config.text_encoder or text.width != self.config.text_width:
            raise ArtifactError(
                f"the text tower must be {self.config.text_encoder}, {self.config.text_width} wide; "
                f"got {text.name}, {text.width} wide."
            )
        self.text = text.to(self.device)

    def tower(self, *, local_files_only: bool = False) -> Tower:
        """The text tower; where the artifact has none inside, the published one is fetched by its name.

        Raises:
            ArtifactError: it cannot be had.
            ValueError: the network reads no text.
        """
        if self.config.condition != "text":
            raise ValueError(f"the network must read text; it is conditioned on {self.config.condition}.")
        if self.text is None:
            found = fetch_tower(self.config.text_encoder, local_files_only=local_files_only)
            self.attach(found)
            return found
        return self.text

    def encode_text(self, texts: Sequence[str]) -> tuple[Tensor, Tensor | None]:
        """Sentences -> ``(B, L, W)`` float32, and ``(B, L)`` bool, True where a token is real (``None``: all)."""
        return self.tower().encode(texts)

    def unread(self, text: str) -> str:
        """The end of a sentence that the text tower does not read, because it is too long; empty if all is read."""
        return self.tower().unread(text)

    def normalize(self, motion: Motion) -> Tensor:
        """Motion -> ``(J, 1, T)`` normalised numbers, one sample of what the network takes."""
        return self.statistics.normalize(motion).T[:, None].to(self.device)

    def denormalize(self, sample: Tensor, frames: int | None = None) -> Motion:
        """``(J, 1, T)`` normalised numbers -> Motion of the first ``frames``, or of all."""
        return self.statistics.denormalize(sample[:, 0].T[:frames])

    @classmethod
    @whole_artifact
    def from_pretrained(
        cls,
        name: str | Path | None = None,
        *,
        text: Tower | None = None,
        local_files_only: bool = False,
        revision: str | None = None,
    ) -> MDMBundle:
        """Load an artifact: a folder, a built-in name, a hub repository, or the built-in one when no name is given.

        Args:
            name: what to load.
            text: the text tower, if not the one inside.
            local_files_only: for a repository, use the local cache only.
            revision: branch, tag or commit of a repository.

        Raises:
            ArtifactError: not found, files absent, or weights that do not fit; every problem is listed.
        """
        folder = resolve(name, cls.default, local_files_only=local_files_only, revision=revision)
        check_files(folder, FILES)
        said = _read_json(folder / CONFIG)
        unknown = sorted(set(said) - {*_PUBLISHED, *_OURS})
        if unknown or not isinstance(said.get("config"), dict):
            raise ArtifactError(
                f"{folder / CONFIG} must have {', '.join(_PUBLISHED)}, and may have {', '.join(_OURS)}; "
                f"got {', '.join(map(str, said)) or 'nothing'}."
            )
        ours = said.get("network", {})
        known = {field.name for field in fields(MDMConfig)}
        if not isinstance(ours, dict) or set(ours) - known:
            raise ArtifactError(
                f"network in {folder / CONFIG} must have fields of {', '.join(sorted(known))}; got {ours}."
            )
        try:
            config = official.config_from_arguments(said["config"], **ours)
        except (ValueError, TypeError) as error:
            raise ArtifactError(f"{folder / CONFIG}: {error}") from error
        dataset = said["config"].get("dataset", "humanml")
        representation = said.get("representation") or REPRESENTATIONS.get(dataset)
        if representation is None:
            raise ArtifactError(
                f"{folder / CONFIG}: dataset must be one of {', '.join(REPRESENTATIONS)}; got {dataset}."
            )
        network = _filled(config, _read_weights(folder / WEIGHTS), folder / WEIGHTS)
        if text is None and (folder / TEXT).is_dir():
            text = read_tower(folder / TEXT)
        bundle = cls(
            network,
            Statistics.load(folder, representation),
            text,
            guidance=said.get("guidance_param", 2.5) if config.guidable else 1.0,
            frame_range=tuple(said.get("frame_range", _frame_range(config, representation))),
            evaluation_frames=said.get("evaluation_frames", _evaluation_frames(config)),
            usual_frames=said.get("usual_frames"),
            candidates=said.get("candidates", 1),
            about=said.get("about"),
        )
        bundle.sha256 = folder_hash(folder, _files(text, folder))
        return bundle

    @classmethod
    def from_release(cls, files: Release, text: Tower | None = None, guidance: float | None = None) -> MDMBundle:
        """A bundle from the authors' files.

        Args:
            files: the checkpoint with its statistics.
            text: the text tower to put inside.
            guidance: if not the authors' own.

        Raises:
            ArtifactError: a model of actions, whose motions are rotations of a body that is not free.
        """
        if files.pair is None:
            raise ArtifactError(
                f"the model must make frames of HumanML3D or KIT-ML; got one of {files.dataset}, whose frames are "
                "rotations of the SMPL body. Its network alone can be read: models.motion.mdm.release."
            )
        network = official.hollow(files.config)
        network.load_state_dict(files.state, assign=True)
        representation = REPRESENTATIONS[files.dataset]
        return cls(
            _settled(network),
            Statistics(files.pair.mean, files.pair.std, representation),
            text,
            guidance=files.guidance if guidance is None else guidance,
            frame_range=_frame_range(files.config, representation),
            evaluation_frames=_evaluation_frames(files.config),
            about=files.about,
        )

    def save_pretrained(
        self, folder: str | Path, *, text: bool = True, dtype: torch.dtype | None = None
    ) -> None:
        """Write the artifact from memory; written beside and renamed, so that no half folder is ever seen.

        Args:
            folder: takes the place of what was there.
            text: put the text tower inside too, where the bundle has one.
            dtype: number type of the denoiser on disk; its own by default.
        """
        dataset = next((name for name, known in REPRESENTATIONS.items() if known == self.representation), "humanml")
        said = official.arguments_from_config(self.config, dataset)
        said |= {key: value for key, value in self.about.get("arguments", {}).items() if key.startswith("lambda_")}
        said.pop("lambda_target_loc", None)  # multi_target_cond says what it decides
        tower = self.text if text else None
        with written_folder(folder) as out:
            state = official.to_theirs(self.network.state_dict(), self.config)
            save_file({k: v.detach().to(dtype or v.dtype).cpu().contiguous() for k, v in state.items()}, out / WEIGHTS)
            self.statistics.save(out)
            if tower is not None:
                save_tower(tower, out / TEXT)
            write_json(
                out / CONFIG,
                {
                    "model_type": "mdm",
                    "guidance_param": self.guidance,
                    "config": said,
                    "representation": self.representation,
                    "frame_range": list(self.frame_range),
                    "evaluation_frames": self.evaluation_frames,
                    "usual_frames": self.usual_frames,
                    "candidates": self.candidates,
                    "network": _unsaid(self.config, said),
                    "about": self.about,
                },
            )
            self.sha256 = folder_hash(out, _files(tower, out))


def _files(tower: Tower | None, folder: Path) -> tuple[str, ...]:
    inside = tower is not None and (folder / TEXT).is_dir()
    return (*FILES, *(f"{TEXT}/{name}" for name in (DESCRIPTION, TOWER_WEIGHTS) if inside))


def _unsaid(config: MDMConfig, said: Mapping[str, Any]) -> dict[str, Any]:
    """Fields that the authors' options cannot tell: sizes that are fixed in their code."""
    told, mine = official.config_from_arguments(said, text_encoder=config.text_encoder), asdict(config)
    return {name: mine[name] for name, value in asdict(told).items() if mine[name] != value or name == "text_encoder"
            and value not in official.TOWERS}  # fmt: skip


def _frame_range(config: MDMConfig, representation: str) -> tuple[int, int]:
    return (40 if representation == "hml263" else 24, 196)


def _evaluation_frames(config: MDMConfig) -> int | None:
    return None if config.mask_frames or config.completes else 196


def _read_json(file: Path) -> dict[str, Any]:
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtifactError(f"{file} must be JSON; got {error}.") from error
    if not isinstance(said, dict):
        raise ArtifactError(f"{file} must be an object; got {type(said).__name__}.")
    return said


def _read_weights(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise ArtifactError(f"{file} must be a safetensors file; got {error}.") from error


def _filled(config: MDMConfig, state: Mapping[str, Tensor], file: Path) -> MDM:
    problems = official.misfits(state, config)
    if problems:
        raise ArtifactError(f"{file} does not fit {CONFIG}; {len(problems)} problems: {'; '.join(problems)}.")
    network = official.hollow(config)
    ours = official.to_ours(state, config)
    network.load_state_dict({k: v.float().clone() for k, v in ours.items()}, assign=True)  # clone: as in release.py
    return _settled(network)


def _settled(network: MDM) -> MDM:
    """A network made without numbers gets the table that it computes itself."""
    network.places = position_table(network.config.positions, network.config.width)
    return network
