"""Stages 2 and 3 of MotionGPT, the language model: what it is asked, what it must answer, and its loss.

Stage 2 ("pretrain") teaches it to translate between captions and motion tokens with one template a task; stage 3
("instruct") goes on with many ways of asking. The wording is the built-in model's own, in short (``TEMPLATES``), or
that of ``hftrainer.training.mixture``, which has every task of the paper.

Source: Jiang et al. 2023, section 3.3. Deviations, each a field of the settings: the language model also sees two
captioned motions joined into one ("... then ..."), words are dropped, actions are balanced.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

from hftrainer.models.motion.motiongpt.network import LanguageModel, MotionTokenizer
from hftrainer.models.motion.motiongpt.prompts import Rules
from hftrainer.models.text import END, pad
from hftrainer.training.drawing import draw_weights, pick, share_of
from hftrainer.training.mixture import Mixture, instructions_of

#: Prompts ``(B, L)``, answers ``(B, M)``, and whether every answer is motion and nothing else.
Batch = tuple[Tensor, Tensor, bool]


@dataclass(frozen=True)
class LanguageSettings:
    """Data of stages 2 and 3.

    Attributes:
        stage: ``"pretrain"``, one template a task, or ``"instruct"``, many.
        rows: samples of a batch.
        tasks: share of each task: ``t2m`` caption to motion, ``m2t`` motion to caption, ``pred`` first part to the
            rest, ``inbetween`` both ends to the whole, ``random`` nothing to motion.
        lengths: share of caption-to-motion prompts that also say the frames or seconds.
        joined: share of caption-to-motion samples made of two clips, one after the other.
        composed: share of samples from clips of the split ``composed``.
        first_captions: share of recorded clips' captions drawn from the first five: those that people wrote stand
            before those that follow from measuring. Above 0, captioning draws recorded clips alone.
        balance: 0 draws every clip equally often, 1 every action equally often, however many clips show it.
        max_tokens: longest motion, in tokens.
        word_dropout: share of caption words hidden from the model, so that it does not hang on a single one.
        word_noise: deviation of the noise on word vectors, whose own mean square is 1: words near in meaning are read
            alike, those that no caption has among them.
        templates: ``"short"``, the built-in model's few; ``"paper"``, every sub-task of the paper in our wording; or
            the path of an instruction file in the authors' format. The last two name tasks ``"Family/task"``, or a
            whole ``"Family"``, or ``"corrupt/text"`` and ``"corrupt/motion"`` for spans to be restored; no tasks means
            all of the templates, equally often. ``lengths``, ``joined`` and ``word_dropout`` belong to ``"short"``.
        length_unit: what lengths in prompts count: ``"frames"``, or ``"tokens"`` as the original trains.
        quotes: ``"none"``, or ``"random"``: half of the captions, those of answers too, stand in quotation marks.
        trim: share of motions that lose one code at the head or the tail; the original's is a third.
        max_length: longest prompt and longest answer in tokens, end mark included; longer ones are cut.
    """

    stage: str = "pretrain"
    rows: int = 64
    tasks: dict[str, float] = field(default_factory=dict)
    lengths: float = 0.3
    joined: float = 0.15
    composed: float = 0.0
    first_captions: float = 0.0
    balance: float = 0.5
    max_tokens: int = 49
    word_dropout: float = 0.1
    word_noise: float = 0.0
    templates: str = "short"
    length_unit: str = "frames"
    quotes: str = "none"
    trim: float = 0.0
    max_length: int = 256

    def __post_init__(self) -> None:
        if self.stage not in TEMPLATES:
            raise ValueError(f"stage must be pretrain or instruct; got {self.stage!r}.")
        for name, known in (("length_unit", ("frames", "tokens")), ("quotes", ("none", "random"))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be {' or '.join(known)}; got {getattr(self, name)!r}.")
        if self.templates != "short":
            return
        paper = [n for n, usual in (("length_unit", "frames"), ("quotes", "none")) if getattr(self, n) != usual]
        if paper:
            raise ValueError(f"{' and '.join(paper)} need templates = \"paper\" or a file; got \"short\".")
        if not self.tasks:
            object.__setattr__(self, "tasks", dict(_USUAL))
        unknown = set(self.tasks) - set(TEMPLATES["pretrain"])
        if unknown:
            raise ValueError(
                f"tasks must be among {', '.join(TEMPLATES['pretrain'])}; got {', '.join(sorted(unknown))}."
            )


#: Shares of the tasks of the short templates where a recipe names none.
_USUAL = {"t2m": 0.8, "m2t": 0.05, "pred": 0.05, "inbetween": 0.05, "random": 0.05}
#: How a task is asked for. ``<caption>``, ``<motion>``, ``<frames>`` and ``<seconds>`` are filled in.
TEMPLATES: dict[str, dict[str, tuple[str, ...]]] = {
    "pretrain": {
        "t2m": ("generate motion: <caption>",),
        "t2m_length": ("generate motion with <frames> frames: <caption>",),
        "m2t": ("generate text: <motion>",),
        "pred": ("predict motion: <motion>",),
        "inbetween": ("complete the masked motion: <motion>",),
        "random": ("generate motion:",),
    },
    "instruct": {
        "t2m": (
            "generate motion: <caption>",
            "<caption>",
            "show me how <caption>",
            "give me a motion of <caption>",
            "make a movement that matches <caption>",
            "animate this: <caption>",
            "i want to see <caption>",
            "turn this sentence into motion: <caption>",
        ),
        "t2m_length": (
            "generate motion with <frames> frames: <caption>",
            "generate a motion of <seconds> seconds: <caption>",
            "in <seconds> seconds, <caption>",
            "<caption>, for <frames> frames",
        ),
        "m2t": (
            "generate text: <motion>",
            "describe this motion: <motion>",
            "what does the person do in <motion>",
            "say in words what happens here: <motion>",
        ),
        "pred": ("predict motion: <motion>", "what comes after <motion>", "go on from here: <motion>"),
        "inbetween": ("complete the masked motion: <motion>", "fill the gap in <motion>"),
        "random": ("generate motion:", "show me any movement", "surprise me with a motion"),
    },
}
#: Words between two captions that follow each other.
_JOINTS = (
    " then ",
    " and then ",
    ", then ",
    " before ",
    " and after that ",
    ". after that, ",
    ", followed by ",
    ". then ",
)


@dataclass(frozen=True)
class TokenClip:
    """A training clip of the language model.

    Attributes:
        codes: the clip's codes; one row for each starting frame: several spellings of the same movement.
        captions: what may be said of it.
        action: the clips that share it are one action for the balance.
        composed: it was composed of stretches of other clips.
    """

    codes: tuple[tuple[int, ...], ...]
    captions: tuple[str, ...]
    action: str
    composed: bool = False


def spellings(network: MotionTokenizer, features: Tensor) -> tuple[tuple[int, ...], ...]:
    """Codes of ``(T, 263)`` normalised features from frame 0, 1, … ``frames_per_token - 1`` on."""
    per, device = network.config.frames_per_token, next(network.parameters()).device
    rows = []
    for offset in range(per):
        part = features[offset:]
        part = part[: len(part) // per * per]
        if len(part) >= per:
            rows.append(tuple(network.encode(part[None].to(device))[0].tolist()))
    return tuple(rows)


class LanguageTask:
    """Stages 2 and 3 for the training loop.

    Args:
        network: to be trained; word vectors already filled in.
        tokenizer: text to ids, with motion tokens.
        clips: training clips.
        held_out: clips for validation.
        settings: mixture of tasks.
        fps, frames_per_token: to say lengths.
        seed: of the mixture.
    """

    def __init__(
        self,
        network: LanguageModel,
        tokenizer: Tokenizer,
        clips: Sequence[TokenClip],
        held_out: Sequence[TokenClip],
        settings: LanguageSettings,
        *,
        fps: float,
        frames_per_token: int,
        seed: int,
    ) -> None:
        if not clips:
            raise ValueError("the language model needs clips with captions; got none. Check the dataset's texts.")
        self.network, self.tokenizer, self.settings, self.seed = network, tokenizer, settings, seed
        self.clips, self.held_out, self.fps, self.per = list(clips), list(held_out), fps, frames_per_token
        self.first = network.config.first_motion
        codes = network.config.motion_tokens - 3
        self.start, self.end, self.mask = self.first + codes, self.first + codes + 1, self.first + codes + 2
        self.weights = self._weights(self.clips)
        network.vocabulary.noise = settings.word_noise
        self._ids: dict[str, list[int]] = {}
        self._groups: dict[int, list[Batch]] = {}
        self.mixture: Mixture | None = None
        if settings.templates != "short":
            rules = Rules(codes=codes, fps=fps, frames_per_token=frames_per_token, length_unit=settings.length_unit)
            self.mixture = Mixture(
                tokenizer, instructions_of(settings.stage, settings.templates), rules, settings.tasks,
                quotes=settings.quotes == "random", max_length=settings.max_length,
            )  # fmt: skip

    def _weights(self, clips: Sequence[TokenClip]) -> np.ndarray:
        actions, composed = [c.action for c in clips], [c.composed for c in clips]
        return draw_weights(actions, composed, self.settings.balance, self.settings.composed)

    def _caption(self, rng: np.random.Generator, clip: TokenClip) -> str:
        first = self.settings.first_captions
        lead = bool(first) and not clip.composed and rng.random() < first
        return str(pick(rng, clip.captions[:5] if lead else clip.captions))

    def ids(self, text: str) -> list[int]:
        """Token ids of a text, without end mark."""
        if text not in self._ids:
            self._ids[text] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return self._ids[text]

    def motion(self, codes: Sequence[int]) -> list[int]:
        """Codes -> token ids between start and end."""
        return [self.start, *(self.first + c for c in codes), self.end]

    def sample(
        self, rng: np.random.Generator, task: str, clips: Sequence[TokenClip], weights: np.ndarray
    ) -> tuple[list[int], list[int]]:
        """One prompt and its answer, as token ids."""
        s = self.settings
        clip = clips[int(rng.choice(len(clips), p=weights))]
        codes, caption = pick(rng, clip.codes), self._caption(rng, clip)
        if task == "t2m" and rng.random() < s.joined:
            other = clips[int(rng.choice(len(clips), p=weights))]
            more = pick(rng, other.codes)
            if len(codes) + len(more) <= s.max_tokens:
                codes, caption = codes + more, caption.rstrip(".") + pick(rng, _JOINTS) + self._caption(rng, other)
        if len(codes) > s.max_tokens:
            codes = codes[: s.max_tokens]
        if s.trim and len(codes) > 1 and rng.random() < s.trim:
            codes = codes[1:] if rng.random() < 0.5 else codes[:-1]
        if self.mixture is not None:
            return self.mixture.sample(rng, task, codes, caption)
        n, shown = len(codes), task
        if task == "t2m" and rng.random() < s.lengths:
            shown = "t2m_length"
        template = pick(rng, TEMPLATES[s.stage][shown])
        if task == "pred":
            cut = max(1, round(n * float(rng.uniform(0.2, 0.5))))
            return self._fill(template, self.motion(codes[:cut])), [*self.motion(codes[cut:]), END]
        if task == "inbetween":
            a, b = max(1, n // 4), max(2, n * 3 // 4)
            row = [self.start, *(self.first + c for c in codes[:a]), *[self.mask] * (b - a)]
            row += [*(self.first + c for c in codes[b:]), self.end]
            return self._fill(template, row), [*self.motion(codes), END]
        if task == "m2t":
            return self._fill(template, self.motion(codes)), [*self.ids(caption), END]
        frames = n * self.per
        template = template.replace("<frames>", str(frames)).replace("<seconds>", str(round(frames / self.fps)))
        words = self.ids(caption)
        if s.word_dropout and len(words) > 3:
            words = [w for w in words if rng.random() >= s.word_dropout] or words
        return self._fill(template, words, "<caption>"), [*self.motion(codes), END]

    def _fill(self, template: str, row: Sequence[int], place: str = "<motion>") -> list[int]:
        before, found, after = template.partition(place)
        return [*self.ids(before), *(row if found else ()), *self.ids(after), END]

    def resumed(self) -> None:
        """Called once after a checkpoint was read; there is nothing to do."""

    def batch(self, step: int) -> Batch:
        """Prompts and answers of similar length; with the short templates, answers are all motion or all text."""
        group, place = divmod(step, _GROUP)
        if group not in self._groups:
            rng = np.random.default_rng((self.seed, group))
            self._groups = {group: self._rows(rng, self.clips, self.weights)}
        return self._groups[group][place]

    def _rows(self, rng: np.random.Generator, clips: Sequence[TokenClip], weights: np.ndarray) -> list[Batch]:
        """``_GROUP`` batches: text answers apart, the others sorted by length, then shuffled."""
        s, rows = self.settings, self.settings.rows
        shares = s.tasks if self.mixture is None else self.mixture.shares
        told = int(rng.binomial(_GROUP, shares.get("m2t", 0.0) / sum(shares.values())))
        tasks = [t for t in shares if t != "m2t"]
        chosen = []
        if told < _GROUP:
            chance = share_of(np.array([shares[t] for t in tasks]))
            chosen = [tasks[int(i)] for i in rng.choice(len(tasks), (_GROUP - told) * rows, p=chance)]
        pairs = [self.sample(rng, task, clips, weights) for task in chosen]
        pairs.sort(key=lambda pair: len(pair[1]))
        if s.first_captions and not all(clip.composed for clip in clips):
            weights = share_of(np.where([clip.composed for clip in clips], 0, weights))
        pairs += [self.sample(rng, "m2t", clips, weights) for _ in range(told * rows)]
        batches = [pairs[i : i + rows] for i in range(0, len(pairs), rows)]
        return [self._batch(batches[i]) for i in rng.permutation(len(batches))]

    def _batch(self, pairs: Sequence[tuple[list[int], list[int]]]) -> Batch:
        motion = all(answer[0] == self.start for _, answer in pairs)
        return pad([p for p, _ in pairs]), pad([a for _, a in pairs]), motion

    def weight_of(self, batch: Batch) -> float:
        """How many answer tokens the loss of a batch is a mean of."""
        return int((batch[1] != 0).sum())

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean cross-entropy of the answers' tokens; its share of right guesses.

        A model that reads word vectors chooses among motion tokens alone where every answer is motion; a model with
        learned rows chooses among all tokens, as T5 does.
        """
        device = self.network.head.weight.device
        prompts, answers, motion = batch[0].to(device), batch[1].to(device), batch[2]
        if motion and self.network.config.word_width is not None:
            loss, right = self.network.motion_loss(prompts, answers)
            return loss, {"accuracy": right}
        logits = self.network(prompts, answers).float()
        loss = F.cross_entropy(logits.flatten(0, 1), answers.flatten(), ignore_index=0)
        return loss, {}

    def validate(self) -> dict[str, float]:
        """Loss on held-out clips; with the short templates, that of motion answers."""
        batches = self._rows(np.random.default_rng(self.seed), self.held_out, self._weights(self.held_out))
        if self.mixture is None and any(motion for _, _, motion in batches):
            batches = [batch for batch in batches if batch[2]]
        return {"loss_held_out": float(np.mean([float(self.loss(b)[0]) for b in batches]))}


#: Steps whose samples are drawn together and sorted by length, so that little padding is computed.
_GROUP = 8
