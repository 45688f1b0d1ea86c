"""MotionGPT's stages: the motion tokenizer, then the language model on many tasks, then on instructions.

Stage 1 trains the VQ-VAE; stage 2 ("pretrain") teaches the language model to translate between captions and motion
tokens with one template a task; stage 3 ("instruct") goes on with many ways of asking.

Source: Jiang et al. 2023, section 3.3. Deviations, each a field of its settings: the tokenizer also minimises the
distance of the decoded joints in the world, so that small errors of turning do not add up; the language model also sees
two captioned motions joined into one ("... then ...").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

from hftrainer.models.motion.motiongpt.bundle import Statistics
from hftrainer.models.motion.motiongpt.network import LanguageModel, MotionTokenizer
from hftrainer.models.text import END, pad


def world_joints(features: Tensor) -> tuple[Tensor, Tensor]:
    """Joints of hml263 features, differentiable.

    Args:
        features: ``(B, T, 263)`` physical features.

    Returns:
        ``(B, T, 21, 3)`` joints relative to the root's ground position in world directions, metres, and the root path
        ``(B, T, 2)``, x and z in metres.
    """
    zero = torch.zeros_like(features[:, :1, 0])
    angle = 2 * torch.cat([zero, features[:, :-1, 0].cumsum(1)], 1)  # the channel holds half the yaw step
    cos, sin = angle.cos(), angle.sin()

    def turn(x: Tensor, z: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
        return x * cos - z * sin, x * sin + z * cos

    ric = features[..., 4:67].unflatten(-1, (21, 3))
    x, z = turn(ric[..., 0], ric[..., 2], cos[..., None], sin[..., None])
    step = turn(features[:, :-1, 1], features[:, :-1, 2], cos[:, 1:], sin[:, 1:])
    path = torch.stack([torch.cat([zero, s.cumsum(1)], 1) for s in step], -1)
    return torch.stack([x, ric[..., 1], z], -1), path


@dataclass(frozen=True)
class TokenizerSettings:
    """Data and loss of stage 1.

    Attributes:
        frames: frames of a batch; windows of one length are cut from clips that are long enough.
        windows: window lengths in frames, one drawn per batch.
        ric: extra weight of the joint positions (the original calls it velocity).
        commitment: weight of the commitment loss.
        root: weight of the four root channels within the reconstruction loss.
        joints, path: weights of the decoded joints and root path in the world, per 0.1 m.
        speed: weight of the decoded joints' steps from frame to frame, per 0.02 m; keeps quick hands quick.
        hands: how much more wrists count than a trunk joint within ``joints`` and ``speed``; elbows its square root.
        lively: 0 draws clips by their length alone, 1 also by the mean speed of their hands.
        decoder_only: leave encoder and codes as they are, so that tokens keep their meaning for a language model.
    """

    frames: int = 4096
    windows: tuple[int, ...] = (64,)
    ric: float = 0.5
    commitment: float = 0.02
    root: float = 1.0
    joints: float = 0.0
    path: float = 0.0
    speed: float = 0.0
    hands: float = 1.0
    lively: float = 0.0
    decoder_only: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "windows", tuple(self.windows))


class TokenizerTask:
    """Stage 1 for the training loop.

    Args:
        network: to be trained.
        statistics: of the training data.
        clips: training clips, ``(T, 263)`` physical features each.
        held_out: clips for validation.
        settings: data and loss.
        seed: of the windows.
    """

    def __init__(
        self,
        network: MotionTokenizer,
        statistics: Statistics,
        clips: Sequence[np.ndarray],
        held_out: Sequence[np.ndarray],
        settings: TokenizerSettings,
        seed: int,
    ) -> None:
        self.network, self.statistics, self.settings, self.seed = network, statistics, settings, seed
        self.clips = [self._normal(c) for c in clips]
        self.held_out = [self._normal(c) for c in held_out]
        self.seen = self.clips[:: max(1, len(self.clips) // 200)]
        lengths = np.array([len(c) for c in self.clips])
        self.long_enough = {w: np.flatnonzero(lengths >= w) for w in settings.windows}
        for window, found in self.long_enough.items():
            if not len(found):
                raise ValueError(
                    f"windows must fit into some clip; got {window} frames, the longest clip has {lengths.max()}."
                )
        self.share = lengths * np.array([_hand_speed(c) for c in clips]) ** settings.lively
        self.lengths = lengths
        self.hands = torch.ones(21, 1)
        self.hands[[17, 18]], self.hands[[19, 20]] = settings.hands**0.5, settings.hands  # joints 18 to 21; no root
        self.hands /= self.hands.mean()
        self.weight = torch.ones(len(statistics.mean))
        self.weight[:4] = settings.root

    def _normal(self, clip: np.ndarray) -> Tensor:
        return (torch.from_numpy(np.array(clip, dtype=np.float32)) - self.statistics.mean) / self.statistics.std

    def batch(self, step: int) -> Tensor:
        """``(B, window, 263)`` normalised features."""
        rng = np.random.default_rng((self.seed, step))
        window = int(rng.choice(self.settings.windows))
        candidates = self.long_enough[window]
        chosen = rng.choice(candidates, self.settings.frames // window, p=_share(self.share[candidates]))
        starts = [int(rng.integers(0, self.lengths[i] - window + 1)) for i in chosen]
        return torch.stack([self.clips[i][s : s + window] for i, s in zip(chosen, starts, strict=True)])

    def loss(self, batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Weighted sum and its parts."""
        s = self.settings
        if s.decoder_only:
            with torch.no_grad():
                tokens = self.network.encode(batch)
            output, commitment, perplexity = self.network.decode(tokens), torch.zeros(()), torch.zeros(())
        else:
            output, commitment, perplexity = self.network(batch)
        output = output.float()
        difference = F.smooth_l1_loss(output, batch, reduction="none")
        parts = {
            "features": (difference * self.weight).mean(),
            "ric": difference[..., 4:67].mean(),
            "commitment": commitment,
            "perplexity": perplexity,
        }
        total = parts["features"] + s.ric * parts["ric"] + s.commitment * commitment
        if s.joints or s.path or s.speed:
            with torch.autocast(output.device.type, enabled=False):
                ours, theirs = (world_joints(x * self.statistics.std + self.statistics.mean) for x in (output, batch))
            apart = F.smooth_l1_loss(ours[0] * 10, theirs[0] * 10, reduction="none")
            steps = F.smooth_l1_loss(ours[0].diff(dim=1) * 50, theirs[0].diff(dim=1) * 50, reduction="none")
            parts["joints"], parts["speed"] = ((x * self.hands).mean() for x in (apart, steps))
            parts["path"] = F.smooth_l1_loss(ours[1] * 10, theirs[1] * 10)
            total = total + s.joints * parts["joints"] + s.path * parts["path"] + s.speed * parts["speed"]
        return total, parts

    def error(self, clips: Sequence[Tensor]) -> tuple[float, set[int]]:
        """Mean root-aligned joint distance over whole clips in millimetres, and the codes in use."""
        total, frames, used = 0.0, 0, set()  # type: float, int, set[int]
        per = self.network.config.frames_per_token
        for clip in clips:
            clip = clip[: len(clip) // per * per]
            tokens = self.network.encode(clip[None])
            used |= set(tokens[0].tolist())
            pair = (
                torch.cat([self.network.decode(tokens), clip[None]]).float() * self.statistics.std
                + self.statistics.mean
            )
            joints, _ = world_joints(pair)
            joints = torch.cat(
                [torch.zeros_like(joints[:, :, :1]), joints - F.pad(pair[..., 3:4], (1, 1))[:, :, None]], 2
            )
            total += float((joints[0] - joints[1]).detach().norm(dim=-1).mean(-1).sum()) * 1000
            frames += len(clip)
        return total / frames, used

    def validate(self) -> dict[str, float]:
        """Reconstruction on held-out and on seen clips, mm; share of codes in use."""
        held, used = self.error(self.held_out)
        seen, more = self.error(self.seen)
        return {"mpjpe_held_out": held, "mpjpe_seen": seen, "codes_used": len(used | more) / self.network.config.codes}


def _share(values: np.ndarray) -> np.ndarray:
    return values / values.sum()


def _hand_speed(clip: np.ndarray) -> float:
    """Mean speed of both wrists against the root, m/s, at least 0.1; ``(T, 263)`` physical features."""
    wrists = clip[:, 4:67].reshape(len(clip), 21, 3)[:, 19:21]
    return max(0.1, float(np.linalg.norm(np.diff(wrists, axis=0), axis=-1).mean()) * 20) if len(clip) > 1 else 0.1


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
        balance: 0 draws every clip equally often, 1 every action equally often, however many clips show it.
        max_tokens: longest motion, in tokens.
        word_dropout: share of caption words hidden from the model, so that it does not hang on a single one.
        word_noise: deviation of the noise on word vectors, whose own mean square is 1: words near in meaning are read
            alike, those that no caption has among them.
    """

    stage: str = "pretrain"
    rows: int = 64
    tasks: dict[str, float] = field(
        default_factory=lambda: {"t2m": 0.8, "m2t": 0.05, "pred": 0.05, "inbetween": 0.05, "random": 0.05}
    )
    lengths: float = 0.3
    joined: float = 0.15
    composed: float = 0.0
    balance: float = 0.5
    max_tokens: int = 49
    word_dropout: float = 0.1
    word_noise: float = 0.0

    def __post_init__(self) -> None:
        if self.stage not in TEMPLATES:
            raise ValueError(f"stage must be pretrain or instruct; got {self.stage!r}.")
        unknown = set(self.tasks) - set(TEMPLATES["pretrain"])
        if unknown:
            raise ValueError(
                f"tasks must be among {', '.join(TEMPLATES['pretrain'])}; got {', '.join(sorted(unknown))}."
            )


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
    per, rows = network.config.frames_per_token, []
    for offset in range(per):
        part = features[offset:]
        part = part[: len(part) // per * per]
        if len(part) >= per:
            rows.append(tuple(network.encode(part[None])[0].tolist()))
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
        self._groups: dict[int, list[tuple[Tensor, Tensor]]] = {}

    def _weights(self, clips: Sequence[TokenClip]) -> np.ndarray:
        count = Counter(c.action for c in clips)
        weights = _share(np.array([count[c.action] ** -self.settings.balance for c in clips]))
        composed = np.array([c.composed for c in clips])
        if composed.any() and not composed.all():
            for part, share in ((composed, self.settings.composed), (~composed, 1 - self.settings.composed)):
                weights[part] *= share / weights[part].sum()
        return weights

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
        codes, caption = _pick(rng, clip.codes), _pick(rng, clip.captions)
        if task == "t2m" and rng.random() < s.joined:
            other = clips[int(rng.choice(len(clips), p=weights))]
            more = _pick(rng, other.codes)
            if len(codes) + len(more) <= s.max_tokens:
                codes, caption = codes + more, caption.rstrip(".") + _pick(rng, _JOINTS) + _pick(rng, other.captions)
        if len(codes) > s.max_tokens:
            codes = codes[: s.max_tokens]
        n, shown = len(codes), task
        if task == "t2m" and rng.random() < s.lengths:
            shown = "t2m_length"
        template = _pick(rng, TEMPLATES[s.stage][shown])
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

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Prompts and answers, ``(B, L)`` and ``(B, M)``; answers are all motion or all text, and of similar length."""
        group, place = divmod(step, _GROUP)
        if group not in self._groups:
            rng = np.random.default_rng((self.seed, group))
            self._groups = {group: self._rows(rng, self.clips, self.weights)}
        return self._groups[group][place]

    def _rows(
        self, rng: np.random.Generator, clips: Sequence[TokenClip], weights: np.ndarray
    ) -> list[tuple[Tensor, Tensor]]:
        """``_GROUP`` batches: text answers apart, the others sorted by length, then shuffled."""
        s, rows = self.settings, self.settings.rows
        share = s.tasks.get("m2t", 0.0) / sum(s.tasks.values())
        told = int(rng.binomial(_GROUP, share))
        tasks = [t for t in s.tasks if t != "m2t"]
        chance = _share(np.array([s.tasks[t] for t in tasks]))
        chosen = [tasks[int(i)] for i in rng.choice(len(tasks), (_GROUP - told) * rows, p=chance)]
        pairs = [self.sample(rng, task, clips, weights) for task in chosen]
        pairs.sort(key=lambda pair: len(pair[1]))
        pairs += [self.sample(rng, "m2t", clips, weights) for _ in range(told * rows)]
        batches = [pairs[i : i + rows] for i in range(0, len(pairs), rows)]
        order = rng.permutation(len(batches))
        return [(pad([p for p, _ in batches[i]]), pad([a for _, a in batches[i]])) for i in order]

    def loss(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean cross-entropy of the answers' tokens; its share of right guesses."""
        prompts, answers = batch
        if bool((answers[:, 0] == self.start).all()):
            loss, right = self.network.motion_loss(prompts, answers)
            return loss, {"accuracy": right}
        logits = self.network(prompts, answers).float()
        loss = F.cross_entropy(logits.flatten(0, 1), answers.flatten(), ignore_index=0)
        return loss, {}

    def validate(self) -> dict[str, float]:
        """Loss of motion answers on held-out clips."""
        batches = self._rows(np.random.default_rng(self.seed), self.held_out, self._weights(self.held_out))
        motion = [batch for batch in batches if int(batch[1][0, 0]) == self.start]
        return {"loss_held_out": float(np.mean([float(self.loss(b)[0]) for b in motion]))}


#: Steps whose samples are drawn together and sorted by length, so that little padding is computed.
_GROUP = 8


def _pick(rng: np.random.Generator, items: Sequence[Any]) -> Any:
    return items[int(rng.integers(len(items)))]
