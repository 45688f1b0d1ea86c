"""What the pipelines of MoGenTS and MoMask have in common: sentences to motions, and motions to what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from hftrainer.models.artifact import read_config
from hftrainer.models.motion.mogents.bundle import MaskedBundle
from hftrainer.motion.clip import Motion
from hftrainer.pipelines.changing import ChangingPipeline, Part
from hftrainer.pipelines.choosing import best_of
from hftrainer.pipelines.denoising import Job
from hftrainer.pipelines.masking import Masking, Masks
from hftrainer.pipelines.requests import check_lengths, find_device


class MaskedPipeline(ChangingPipeline):
    """The tasks of a model that fills masks in tokens of motion.

    Every task takes these settings as well:

    | setting | what |
    |---|---|
    | ``guidance`` | how strongly words are followed (4): 1 is the networks as they are |
    | ``residual_guidance`` | the same while the finer layers are made (5) |
    | ``steps`` | iterations in which masks are filled (10) |
    | ``drop`` | share of the vocabulary, its unlikeliest part, that is never drawn (0.9) |
    | ``temperature``, ``gumbel`` | how codes are drawn (1, no) |
    | ``residual_layers`` | how many finer layers are made (all) |
    | ``renew`` | MoGenTS: 0, the authors' way, makes joints from the words alone; above, they begin as what the whole |
    | | poses say, and a few iterations make this share of them anew (0) |
    | ``rng`` | ``own``: each motion from its own generator, the same alone and among others. ``official``: drawn as |
    | | the authors do, one generator for all; ``seed=None`` is then torch's global one |
    | ``precision`` | of the networks' products: ``fp32`` (default) or ``bf16`` |

    Args:
        bundle: networks, statistics and text tower.
        local_files_only: look for a text tower that is not in the artifact on this computer only.

    Attributes:
        say: gets a line of progress, if set.
    """

    kind: ClassVar[type[MaskedBundle]]
    #: Whether tokens of joints let it make some joints anew and leave the others.
    makes_parts: ClassVar[bool]
    #: What the verbs of the command line may set beside what they all have.
    settings: ClassVar[dict[str, tuple[str, ...]]] = {
        "generate": ("guidance", "steps", "temperature", "candidates"),
        "predict": ("guidance", "steps", "temperature"),
        "inbetween": ("guidance", "steps", "temperature", "caption"),
        "edit": ("guidance", "steps", "temperature"),
    }

    def __init__(self, bundle: MaskedBundle, *, local_files_only: bool = False) -> None:
        self.bundle = bundle
        read_config(Masks, bundle.drawing, "drawing")  # refuses what is no setting
        self.masking = self.drawer = Masking(bundle, local_files_only=local_files_only)

    @classmethod
    def from_pretrained(
        cls, name: str | Path | None = None, *, device: str = "cpu", bundle_kwargs: dict[str, Any] | None = None
    ) -> Self:
        """Load a model.

        Args:
            name: folder, built-in name or hub repository; ``None`` is the built-in one.
            device: where to run, for example ``"cuda"``.
            bundle_kwargs: ``local_files_only`` and ``revision`` for a hub repository, ``text`` for a text tower,
                ``precision`` of CLIP.

        Raises:
            ArtifactError: the model cannot be found or its files do not fit.
            ValueError: the device is not there.
        """
        place, asked = find_device(device), bundle_kwargs or {}
        bundle = cls.kind.from_pretrained(name, **asked).to(place)
        return cls(bundle, local_files_only=bool(asked.get("local_files_only", False)))

    @property
    def kind_name(self) -> str:
        """What a model without a name of its own is called."""
        return str(self.bundle.family.name)

    def refuse_edit(self, part: Part) -> None:
        """Tokens of whole poses have no part; see ``ChangingPipeline.refuse_edit``."""
        if part is not None and not self.makes_parts:
            raise ValueError(
                f"part must be left out: the tokens of {self.bundle.family.title} are of whole poses; got {part!r}. "
                "Give a span, or take MoGenTS."
            )

    # ------------------------------------------------------------------------------------------ sentences to motions

    def infer_t2m(
        self,
        captions: Sequence[str | None],
        lengths: Sequence[int] | None = None,
        *,
        time_steps: int = 10,
        cond_scale: float = 4.0,
        res_cond_scale: float = 5.0,
        topkr: float = 0.9,
        temperature: float = 1.0,
        gumbel_sample: bool = False,
        seed: int | Sequence[int] | None = 0,
        rng: str = "own",
        precision: str = "fp32",
        candidates: int | None = None,
    ) -> list[np.ndarray]:
        """Motions of sentences as plain arrays; settings have the authors' names.

        Args:
            captions: English sentences; ``None`` for whatever the networks like.
            lengths: frames of each; by default the length estimator's guesses.
            time_steps: ``steps`` of the class's table.
            cond_scale: ``guidance``.
            res_cond_scale: ``residual_guidance``.
            topkr: ``drop``.
            temperature: as in the table.
            gumbel_sample: ``gumbel``.
            seed, rng, precision, candidates: see ``__call__``.

        Returns:
            One float32 ``(T, 263)`` array of hml263 features a caption (KIT: ``(T, 251)``).

        Raises:
            ValueError: as ``__call__``.
        """
        made = self(
            captions, lengths, seed=seed, steps=time_steps, guidance=cond_scale, residual_guidance=res_cond_scale,
            drop=topkr, temperature=temperature, gumbel=gumbel_sample, rng=rng, precision=precision,
            candidates=candidates,
        )  # fmt: skip
        return [motion.data.copy() for motion in made]

    def __call__(
        self,
        prompts: Sequence[str | None],
        frames: Sequence[int] | None = None,
        *,
        seed: int | Sequence[int] | None = 0,
        samples: int = 1,
        candidates: int | None = None,
        **masks: Any,
    ) -> list[Motion]:
        """Motions of sentences.

        Args:
            prompts: English sentences; ``None`` in place of one asks for any motion.
            frames: of each within ``frame_range``; by default the length estimator's guesses. A length that is no
                multiple of a token's frames is made longer and cut; with ``rng="official"`` it is rounded down instead.
            seed: sample ``s`` of any prompt has the generator ``seed + s``; or one seed a prompt.
            samples: motions per prompt.
            candidates: drawn for each motion; the one that fits the sentence best is kept. By
                default what the bundle says; one with ``rng="official"``.
            masks: settings, see the class.

        Returns:
            ``len(prompts) * samples`` motions, all samples of the first prompt first.

        Raises:
            ValueError: a prompt is empty or not English, a length out of range (the nearest one is named), no length
                where there is no estimator, or a setting that is none.
            GenerationError: the networks made numbers that are none.
        """
        notes = self.check(prompts)
        chosen = self.chosen(masks)
        plan = self._candidates(prompts, seed, samples, candidates, chosen)
        said, seeds = [prompts[one.prompt] for one in plan], [one.seed for one in plan]
        if frames is None:
            lengths = self.masking.lengths(said, seeds, chosen)
        else:
            asked = check_lengths(len(prompts), frames, self.frame_range, self.fps)
            lengths = [asked[one.prompt] for one in plan]
        jobs = [Job(prompt, n, one) for prompt, n, one in zip(said, lengths, seeds, strict=True)]
        drawn = self.masking.draw(jobs, chosen, self.say)
        spec, motions = self.bundle.statistics.spec, []
        for one, job, found in zip(plan, jobs, drawn, strict=True):
            note = notes[one.prompt]
            guessed = {} if frames is not None else {"length": "estimated"}
            about = {"task": "text-to-motion", **self._origin(job.seed), **chosen.about(), **guessed, **note}
            motions.append(Motion(found.made, spec, spec.fps, about=about, name=note["prompt"] or "motion"))
        return [motion for motion in best_of(prompts, plan, motions) if isinstance(motion, Motion)]

    #: What a table of behaviours asks; no answer of this model can be no motion.
    attempts = __call__

    def chosen(self, drawing: dict[str, Any]) -> Masks:
        """Settings of the class's table; see ``ChangingPipeline.chosen``."""
        usual = {} if drawing.get("rng") == "official" else self.bundle.drawing
        chosen = Masks(**{**usual, **{name: value for name, value in drawing.items() if value is not None}})
        networks = self.bundle.networks.values()
        unguided = [n for n in networks if not getattr(n.config, "guidable", True)]
        if unguided and (chosen.guidance, chosen.residual_guidance) != (1, 1):
            raise ValueError(
                "guidance and residual_guidance must be 1: a network of this model was never trained without its text; "
                f"got {chosen.guidance:g} and {chosen.residual_guidance:g}."
            )
        return chosen
