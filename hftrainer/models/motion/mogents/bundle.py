"""MoGenTS' bundle: tokenizer, four transformers, length estimator, statistics and text tower; one folder on disk.

| file | what |
|---|---|
| ``mogents_config.json`` | which networks, and what the artifact was made from |
| ``model_index.json`` | which pipeline it is for |
| ``vq``, ``mask_aux``, ``mask_ts``, ``res_aux``, ``res_ts``, ``length_est`` ``.safetensors`` | in the authors' names |
| ``clip.safetensors`` | CLIP ViT-B/32 in OpenAI's names; where it is absent it is found by its name |
| ``text_encoder/`` | a text tower that is not CLIP |
| ``Mean.npy``, ``Std.npy`` | what normalised numbers mean |

Weights may also be ``.pt``. MoMask's bundle (``models.motion.momask.bundle``) is of the same kind.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from safetensors.torch import save_file
from torch import Tensor

from hftrainer.errors import ArtifactError
from hftrainer.models.artifact import (
    folder_hash,
    resolve,
    rows_as_bytes,
    whole_artifact,
    write_json,
    written_folder,
)
from hftrainer.models.clip import ClipTower
from hftrainer.models.hub import push_saved
from hftrainer.models.motion.mdm.packing import Twins
from hftrainer.models.motion.mogents import generation, official
from hftrainer.models.motion.mogents.decoding import Start
from hftrainer.models.motion.mogents.files import (
    CLIP,
    INDEX,
    TEXT,
    clip_state,
    config_file,
    half,
    hashed_files,
    read_description,
    read_text,
    read_weights,
    read_whole_sentences,
    weights_file,
)  # fmt: skip
from hftrainer.models.motion.mogents.length import LengthEstimator
from hftrainer.models.motion.mogents.masked import MaskedTransformer
from hftrainer.models.motion.mogents.official import MOGENTS, Family, Network
from hftrainer.models.motion.mogents.packing import packed
from hftrainer.models.motion.mogents.release import Release
from hftrainer.models.motion.mogents.residual import ResidualTransformer
from hftrainer.models.motion.mogents.sampling import Settings
from hftrainer.models.motion.mogents.tokenizer import MoGenTSTokenizer
from hftrainer.models.motion.momask.tokenizer import MoMaskTokenizer
from hftrainer.models.motion.motiongpt.bundle import Statistics
from hftrainer.models.sums import Hashed
from hftrainer.models.tower_files import (
    Tower,
    fetch_tower,
    save_tower,
    sentence_vectors,
)
from hftrainer.motion.clip import Motion

#: Codes of each stream: ``(B, L, Q)`` of poses, ``(B, L, J, Q)`` of joints; -1 stands for nothing.
Codes = tuple[Tensor, ...]


class MaskedBundle(Hashed, ABC):
    """What the bundles of MoGenTS and MoMask have in common.

    Args:
        networks: by the names of ``family.networks``; the length estimator may be absent.
        statistics: what normalised numbers mean.
        text: the text tower.
        text_name: which tower the networks were trained with, where none is given.
        frame_range: fewest and most frames that may be asked for; by default those of the data set.
        candidates: motions that are drawn for a sentence where nobody says how many; the best is kept.
        drawing: settings of the pipeline that are taken where nobody says which, in place of the authors'.
        about: provenance.

    Attributes:
        networks: in eval mode.
        motion_tokenizer: features to residual codes and back.
        text: the text tower; ``None`` until it is needed where the artifact has none inside.
        sha256, hash: identity of the files on disk, whole and short; ``"unsaved"`` before.

    Raises:
        ArtifactError: parts that do not fit one another.
    """

    family: ClassVar[Family]
    default: ClassVar[str]
    push_to_hub = push_saved

    def __init__(
        self,
        networks: Mapping[str, Network],
        statistics: Statistics,
        text: Tower | None = None,
        *,
        text_name: str = "clip",
        frame_range: tuple[int, int] | None = None,
        candidates: int = 1,
        drawing: Mapping[str, Any] | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        needed = [name for name in self.family.networks if name != "length_est"]
        if sorted(set(networks) - {"length_est"}) != sorted(needed):
            raise ArtifactError(
                f"{self.family.title} must have the networks {', '.join(needed)}; got {', '.join(networks) or 'none'}."
            )
        self.networks = {name: networks[name].eval() for name in self.family.networks if name in networks}
        tokenizer = self.networks["vq"]
        assert isinstance(tokenizer, MoGenTSTokenizer | MoMaskTokenizer)
        self.motion_tokenizer = tokenizer
        self.statistics = statistics
        if self.motion_tokenizer.config.features != statistics.spec.width:
            raise ArtifactError(
                f"the statistics must have {self.motion_tokenizer.config.features} numbers, as the motion tokenizer's "
                f"frames; got {statistics.spec.width}, those of {statistics.spec.name}."
            )
        kit = statistics.spec.name == "kit251"
        self.frame_range = frame_range or ((24 if kit else 40), 196)
        per = self.frames_per_token
        if not per <= self.frame_range[0] <= self.frame_range[1] or any(bound % per for bound in self.frame_range):
            raise ArtifactError(
                f"frame_range must be fewest and most frames, both multiples of {per}; got {self.frame_range}."
            )
        if candidates < 1:
            raise ArtifactError(f"candidates must be at least 1; got {candidates}.")
        self.candidates, self.drawing = candidates, dict(drawing or {})
        self.about, self.text_name = dict(about or {}), text_name
        self.text: Tower | None = None
        self._twins = Twins(self._twin)
        if text is not None:
            self.attach(text)

    @property
    @abstractmethod
    def columns(self) -> tuple[int, ...]:
        """Cells of a token frame in each stream of codes."""

    @abstractmethod
    def encode(self, features: Tensor) -> Codes:
        """``(B, T, D)`` normalised features -> codes of each stream, ``(B, L, Q)`` or ``(B, L, J, Q)``."""

    @abstractmethod
    def generate(
        self,
        text: Tensor,
        lengths: Tensor,
        settings: Settings,
        *,
        rng: generation.Source = "official",
        starts: Sequence[Start] | None = None,
    ) -> Codes:
        """Codes of each stream.

        Args:
            text: ``(B, E)`` sentence vectors.
            lengths: ``(B,)`` token frames.
            settings: how codes are made.
            rng: see ``mogents.generation.chance_of``.
            starts: for each stream, what is there already.
        """

    @abstractmethod
    def decode(self, codes: Codes, lengths: Tensor | None = None) -> list[Tensor]:
        """Codes of each stream -> normalised features ``(T, D)`` of each sample.

        Args:
            codes: as ``encode`` and ``generate`` give them.
            lengths: ``(B,)`` token frames; each sample is then decoded as if it were alone.
        """

    @property
    def length_estimator(self) -> LengthEstimator | None:
        """A sentence to a number of tokens, where the artifact has it."""
        found = self.networks.get("length_est")
        assert found is None or isinstance(found, LengthEstimator)
        return found

    def masked(self, name: str) -> MaskedTransformer:
        """One of the masked transformers."""
        found = self.networks[name]
        assert isinstance(found, MaskedTransformer)
        return found

    def residual(self, name: str) -> ResidualTransformer:
        """One of the residual transformers."""
        found = self.networks[name]
        assert isinstance(found, ResidualTransformer)
        return found

    @property
    def text_width(self) -> int:
        """Width of the sentence's vector that the networks read."""
        return next(
            net.config.text_width
            for net in self.networks.values()
            if isinstance(net, MaskedTransformer | ResidualTransformer)
        )

    @property
    def frames_per_token(self) -> int:
        """4 with the released networks."""
        return self.motion_tokenizer.config.frames_per_token

    @property
    def representation(self) -> str:
        """Name of the representation that the networks make."""
        return self.statistics.spec.name

    @property
    def device(self) -> torch.device:
        return next(self.motion_tokenizer.parameters()).device

    def to(self, device: str | torch.device) -> Self:
        """Move the networks."""
        self._twins = Twins(self._twin)
        for network in self.networks.values():
            network.to(device)
        if self.text is not None:
            self.text.to(device)
        return self

    def packed(self, dtype: torch.dtype) -> MaskedBundle:
        """The same to generate and decode with, its networks' weights laid out for products.

        It is made when it is first asked for, and anew after weights have changed.

        Args:
            dtype: of the products: float32 or bfloat16.
        """
        return self._twins(dtype, self.networks.values())

    def _twin(self, dtype: torch.dtype) -> MaskedBundle:
        twin = copy.copy(self)
        twin.networks = {name: packed(network, dtype) for name, network in self.networks.items()}
        twin.motion_tokenizer = twin.networks["vq"]  # type: ignore[assignment]
        return twin

    def attach(self, text: Tower) -> None:
        """Give the bundle its text tower.

        Raises:
            ArtifactError: another tower than the networks were trained with.
        """
        if text.width != self.text_width:
            raise ArtifactError(f"the text tower must be {self.text_width} wide; got {text.name}, {text.width} wide.")
        self.text, self.text_name = text.to(self.device), text.name

    def tower(self, *, local_files_only: bool = False) -> Tower:
        """The text tower; where the artifact has none inside, the published one is fetched by its name.

        Raises:
            ArtifactError: it cannot be had.
        """
        if self.text is None:
            found = read_whole_sentences(fetch_tower(self.text_name, local_files_only=local_files_only))
            self.attach(found)
            return found
        return self.text

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Sentences -> ``(B, E)`` float32: CLIP's vector, or the mean over the tokens of a tower that gives many."""
        return sentence_vectors(self.tower(), texts)

    def unread(self, text: str) -> str:
        """The end of a sentence that the text tower does not read, because it is too long; empty if all is read."""
        return self.tower().unread(text)

    def normalize(self, motion: Motion) -> Tensor:
        """Motion -> ``(T, D)`` normalised numbers."""
        return self.statistics.normalize(motion).to(self.device)

    def denormalize(self, features: Tensor) -> Motion:
        """``(T, D)`` normalised numbers -> Motion."""
        return self.statistics.denormalize(features)

    @classmethod
    @whole_artifact
    def from_pretrained(
        cls,
        name: str | Path | None = None,
        *,
        text: Tower | None = None,
        precision: str = "fp32",
        local_files_only: bool = False,
        revision: str | None = None,
    ) -> Self:
        """Load an artifact: a folder, a built-in name, a hub repository, or the built-in one when no name is given.

        Args:
            name: what to load.
            text: the text tower, if not the one inside.
            precision: of CLIP inside: ``fp32``, or ``mixed``, as MoGenTS' authors run it also on a CPU; vectors differ
                by some 5e-3, enough to draw other tokens.
            local_files_only: for a repository, use the local cache only.
            revision: branch, tag or commit of a repository.

        Raises:
            ArtifactError: not found, files absent, or weights that do not fit; every problem is listed.
        """
        folder = resolve(name, cls.default, local_files_only=local_files_only, revision=revision)
        said, dataset = read_description(folder, cls.family)
        try:
            config = official.config_from_artifact(cls.family, said["config"], dataset)
        except ValueError as error:
            raise ArtifactError(f"{folder / config_file(cls.family)}: {error}") from error
        problems: list[str] = []
        networks: dict[str, Network] = {}
        for network in cls.family.networks:
            file = weights_file(folder, network)
            if network == "length_est" and (file is None or said.get("has_length_estimator") is False):
                continue
            assert file is not None  # read_description has looked
            state = read_weights(file)
            wrong = official.misfits(cls.family, network, state, config)
            problems += [f"{file.name}: {what}" for what in wrong]
            if not wrong:
                networks[network] = official.filled(cls.family, network, state, config)
        if problems:
            count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
            raise ArtifactError(f"{folder} does not fit {config_file(cls.family)}; {count}: {'; '.join(problems)}.")
        if text is None:
            text = read_text(folder, precision)
        given = said.get("frame_range")
        bundle = cls(
            networks,
            Statistics.load(folder, official.REPRESENTATIONS[dataset]),
            text,
            text_name=said.get("text_encoder", "clip"),
            frame_range=tuple(given) if given else None,
            candidates=said.get("candidates", 1),
            drawing=said.get("drawing"),
            about=said.get("about"),
        )
        bundle.sha256 = folder_hash(folder, hashed_files(folder, cls.family))
        return bundle

    @classmethod
    def from_release(cls, files: Release, text: Tower | None = None) -> Self:
        """A bundle from the authors' files.

        Args:
            files: the checkpoints with their statistics.
            text: the text tower to put inside.
        """
        networks = {
            name: official.filled(files.family, name, state, files.config) for name, state in files.states.items()
        }
        statistics = Statistics(files.pair.mean, files.pair.std, files.representation)
        return cls(networks, statistics, text, about=files.about)

    def save_pretrained(
        self, folder: str | Path, *, text: bool = True, image_half: Mapping[str, Tensor] | None = None,
        small: bool = False,
    ) -> None:
        """Write the artifact from memory; written beside and renamed, so that no half folder is ever seen.

        Args:
            folder: takes the place of what was there.
            text: put the text tower inside too, where the bundle has one.
            image_half: the rest of CLIP, to be written beside its text half: other programs load the whole of it.
            small: the motion tokenizer in half precision, the other networks as bytes (``rows_as_bytes``) and without
                tables that are computed; the authors' programs cannot read that.
        """
        tower = self.text if text else None
        clip = isinstance(tower, ClipTower)
        with written_folder(folder) as out:
            for name, network in self.networks.items():
                state = official.their_state(network)
                if small:
                    state = {key: state[key] for key in state if key not in official.computed(network)}
                    whole = name == "vq"  # a code that moved would be another code
                    state = half(state) if whole else rows_as_bytes(state)
                save_file(state, out / f"{name}.safetensors")
            self.statistics.save(out)
            if isinstance(tower, ClipTower):
                save_file({**clip_state(tower), **(image_half or {})}, out / CLIP)
            elif tower is not None:
                save_tower(tower, out / TEXT)
            groups = official.groups(self.family, self.networks)
            write_json(
                out / config_file(self.family),
                {
                    "model_type": self.family.name,
                    "format": self.family.format,
                    "clip_version": "ViT-B/32",
                    "has_length_estimator": self.length_estimator is not None,
                    "components": {
                        "clip": {"name": "ViT-B/32", "stored_in_artifact": clip, "path": CLIP if clip else None}
                    },
                    "config": groups,
                    "frame_range": list(self.frame_range),
                    "candidates": self.candidates,
                    "drawing": self.drawing,
                    "text_encoder": self.text_name,
                    "about": self.about,
                },
            )
            write_json(
                out / INDEX,
                {
                    "_class_name": f"{self.family.title}Pipeline",
                    "_library_name": "hftrainer",
                    "representation": self.representation,
                    "fps": self.statistics.spec.fps,
                },
            )
            self.sha256 = folder_hash(out, hashed_files(out, self.family))


class MoGenTSBundle(MaskedBundle):
    """Everything that MoGenTS needs to turn words into motion, in one object and one folder; see ``MaskedBundle``.

    Its streams are poses and joints.
    """

    family = MOGENTS
    default = "mogents-mini"
    motion_tokenizer: MoGenTSTokenizer

    @property
    def columns(self) -> tuple[int, ...]:
        return (1, self.motion_tokenizer.config.columns)

    def encode(self, features: Tensor) -> Codes:
        return self.motion_tokenizer.encode(features)

    def generate(
        self,
        text: Tensor,
        lengths: Tensor,
        settings: Settings,
        *,
        rng: generation.Source = "official",
        starts: Sequence[Start] | None = None,
    ) -> Codes:
        """As of ``MaskedBundle``; where joints begin as what poses say, the motion tokenizer is asked."""
        networks = generation.Networks(
            self.masked("mask_aux"), self.masked("mask_ts"), self.residual("res_aux"), self.residual("res_ts")
        )
        start = None if starts is None else generation.Starts(*starts)
        return generation.generate_codes(
            networks, text, lengths, settings, rng=rng, start=start, tokenizer=self.motion_tokenizer
        )

    def decode(self, codes: Codes, lengths: Tensor | None = None) -> list[Tensor]:
        aux, grid = codes
        return generation.decode_codes(self.motion_tokenizer, aux, grid, lengths)


# --------------------------------------------------------------------------------------------------------------- files
