"""Training of text-motion evaluators: sentences and motions that belong together come close, others stay apart.

Two networks. ``contrast`` is ours: every sentence of a batch is told from all its motions and every motion from all its
sentences (Radford et al. 2021, section 2.3); a motion of which the same sentence is said is no wrong answer and is left
out. ``classic`` has the networks of Guo et al., CVPR 2022, section 5, and their loss: pairs are pulled together, pairs
of a rotated batch pushed beyond a margin (Hadsell et al. 2006). Deviation: all three networks learn at once, no
movement autoencoder comes first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from hftrainer.data.humanml3d import Clip
from hftrainer.data.words import tokens
from hftrainer.errors import ArtifactError
from hftrainer.models.artifact import read_config, resolve
from hftrainer.models.evaluator import (
    ContrastConfig,
    ContrastEvaluator,
    ContrastNetwork,
    Evaluator,
    EvaluatorConfig,
    TextMotionEvaluator,
    WordVectors,
    load_evaluator,
    official,
)
from hftrainer.models.evaluator.contrast import token_rows
from hftrainer.models.evaluator.network import FRAMES_PER_MOVEMENT
from hftrainer.models.evaluator.words import END, START, UNKNOWN
from hftrainer.models.licences import chain
from hftrainer.models.motion.motiongpt.bundle import Statistics
from hftrainer.models.text import Words
from hftrainer.training.diffusion import Averaged, Described, described
from hftrainer.training.drawing import draw_weights, pick
from hftrainer.training.later import Later
from hftrainer.training.run import Run

ARCHITECTURES = ("contrast", "classic")
Network = ContrastNetwork | TextMotionEvaluator
#: Motion ``(B, T, D)``, its frames ``(B,)``, what the text side reads, and ``(B, B)``, True where sentence i is also
#: said of motion j.
Batch = tuple[Tensor, Tensor, tuple[Tensor, ...], Tensor]
#: Sentences -> what the network's text side reads.
Read = Callable[[Sequence[str]], tuple[Tensor, ...]]
#: Motions of like length that are encoded together.
_TOGETHER = 32
#: Motions that a held-out sentence is told from.
_POOL = 32


@dataclass(frozen=True)
class MatchingSettings:
    """Data and loss of an evaluator.

    Attributes:
        rows: pairs of a batch; each is told from all others.
        frames: fewest and most frames of a motion; shorter ones are left out, longer ones cut.
        composed: share of motions from the split ``composed``.
        balance: 0 draws every clip equally often, 1 every action equally often, however many clips show it.
        word_dropout: share of caption words that are left out.
        noise: spread of what is added to normalised features, so that tiny traces of a recording tell nothing.
        crop: most frames that are taken off each end, where enough are left.
        margin: distance beyond which wrong pairs of the classic loss are left alone.
        average: how much of the averaged weights each step keeps; the average is what the artifact holds. 0 keeps none.

    Raises:
        ValueError: fewer than two rows, or a number outside its range.
    """

    rows: int = 128
    frames: tuple[int, int] = (24, 200)
    composed: float = 0.0
    balance: float = 0.0
    word_dropout: float = 0.0
    noise: float = 0.0
    crop: int = 0
    margin: float = 10.0
    average: float = 0.995

    def __post_init__(self) -> None:
        object.__setattr__(self, "frames", tuple(self.frames))
        if self.rows < 2:
            raise ValueError(f"rows must be at least 2, a right and a wrong answer; got {self.rows}.")
        if len(self.frames) != 2 or not FRAMES_PER_MOVEMENT <= self.frames[0] <= self.frames[1]:
            raise ValueError(f"frames must be fewest and most, {FRAMES_PER_MOVEMENT} or more; got {self.frames}.")
        for name in ("composed", "word_dropout", "average"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be 0 or more and below 1; got {getattr(self, name)}.")
        if self.noise < 0 or self.crop < 0 or self.margin <= 0:
            raise ValueError(f"noise and crop must be 0 or more, margin above 0; got {self.noise}, {self.crop} "
                             f"and {self.margin}.")  # fmt: skip


def contrast_loss(logits: Tensor, same: Tensor) -> Tensor:
    """Cross entropy of the right pair among all, both ways.

    Args:
        logits: ``(B, B)``, sentence by motion; the diagonal is right.
        same: ``(B, B)`` True where sentence i is also said of motion j, which is then no wrong answer.

    >>> round(float(contrast_loss(torch.eye(2) * 9, torch.zeros(2, 2, dtype=torch.bool))), 4)
    0.0001
    """
    right = torch.arange(len(logits), device=logits.device)
    off = same & ~torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    logits = logits.masked_fill(off, float("-inf"))
    return (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2


def margin_loss(texts: Tensor, motions: Tensor, same: Tensor, margin: float, shift: int = 1) -> Tensor:
    """Squared distance of right pairs, squared lack of distance of wrong ones, which are made by rotating the batch.

    Args:
        texts, motions: ``(B, W)``.
        same: as of ``contrast_loss``; such pairs are not pushed apart.
        margin: distance of wrong pairs that is enough.
        shift: rows that motions are rotated by, 1 to B - 1.

    >>> float(margin_loss(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(2, 2, dtype=torch.bool), 2.0)) > 3.99
    True
    """
    rows = torch.arange(len(texts), device=texts.device)
    wrong = (rows + shift) % len(texts)
    near = (texts - motions).square().sum(-1)
    apart = (texts - motions[wrong]).square().sum(-1).clamp(min=1e-12).sqrt()
    push = (margin - apart).clamp(min=0).square() * ~same[rows, wrong]
    return near.mean() + push.mean()


class MatchingTask:
    """An evaluator for the training loop.

    Args:
        network: to be trained.
        read: sentences to what its text side reads.
        clips, held_out: to train on, and to validate on.
        settings: data and loss.
        seed: of clips, sentences and noise.

    Raises:
        ValueError: there are no described motions that are long enough.
    """

    def __init__(
        self, network: Network, read: Read, clips: Sequence[Described], held_out: Sequence[Described],
        settings: MatchingSettings, seed: int,
    ) -> None:  # fmt: skip
        if not clips:
            raise ValueError(f"an evaluator needs described motions of {settings.frames[0]} frames; got none. "
                             "Check the dataset's texts.")  # fmt: skip
        self.network, self.read, self.settings, self.seed = Averaged(network, settings.average), read, settings, seed
        self.clips, self.held_out, self.steps = list(clips), list(held_out), 0
        self.said = [frozenset(clip.captions) for clip in self.clips]
        actions, composed = [clip.action for clip in clips], [clip.composed for clip in clips]
        self.draw = draw_weights(actions, composed, settings.balance, settings.composed)

    def resumed(self) -> None:
        """Nothing is to be done after a checkpoint was read."""

    def stepped(self) -> None:
        """Move the average."""
        self.network.update(self.steps)

    def weight_of(self, batch: Batch) -> float:
        """How many pairs the loss of a batch is a mean of."""
        return len(batch[1])

    def batch(self, step: int) -> Batch:
        """The pairs of a step, shortest motion first; a clip comes at most once where there are enough."""
        self.steps = step
        rng, rows = np.random.default_rng((self.seed, step)), self.settings.rows
        again = rows > len(self.clips)
        chosen = [int(i) for i in rng.choice(len(self.clips), rows, again, self.draw)]
        motions = [self._vary(rng, self.clips[i].features) for i in chosen]
        order = np.argsort([len(motion) for motion in motions], kind="stable").tolist()
        chosen, motions = [chosen[i] for i in order], [motions[i] for i in order]
        texts = [str(pick(rng, self.clips[i].captions)) for i in chosen]
        same = torch.tensor([[text in self.said[j] for j in chosen] for text in texts])
        return *padded(motions), self.read([self._words(rng, text) for text in texts]), same

    def _vary(self, rng: np.random.Generator, clip: Tensor | Later) -> Tensor:
        fewest, most = self.settings.frames
        spare = max(0, min(self.settings.crop, (len(clip) - fewest) // 2))
        begin, end = (int(n) for n in rng.integers(spare + 1, size=2))
        features = clip[begin : len(clip) - end]
        if len(features) > most:
            start = int(rng.integers(len(features) - most + 1))
            features = features[start : start + most]
        if not self.settings.noise:
            return features
        return features + torch.from_numpy(rng.standard_normal(features.shape, np.float32)) * self.settings.noise

    def _words(self, rng: np.random.Generator, caption: str) -> str:
        words = caption.split()
        if not self.settings.word_dropout or len(words) <= 3:
            return caption
        return " ".join(w for w in words if rng.random() >= self.settings.word_dropout) or caption

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The network's loss, and how often the nearest motion of a sentence is its own."""
        network = self.network.network
        assert isinstance(network, Network)
        device = next(network.parameters()).device
        features, lengths, text, same = batch
        # On a processor the plain way through attention is the quicker one for a whole training step.
        with sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext():
            motions = self._motions(network, features.to(device), lengths.to(device))
            texts, same = network.encode_texts(*(part.to(device) for part in text)).float(), same.to(device)
        if isinstance(network, ContrastNetwork):
            logits = network.similarity(texts, motions)
            loss = contrast_loss(logits, same)
        else:
            logits = -torch.cdist(texts, motions)
            loss = margin_loss(texts, motions, same, self.settings.margin, 1 + self.steps % (len(texts) - 1))
        right = logits.detach().argmax(1) == torch.arange(len(logits), device=device)
        return loss, {"right": right.float().mean()}

    @staticmethod
    def _motions(network: Network, features: Tensor, lengths: Tensor) -> Tensor:
        """``(B, T, D)`` -> ``(B, W)``, some at a time, each part as long as its longest motion."""
        rows = []
        for start in range(0, len(lengths), _TOGETHER):
            some = lengths[start : start + _TOGETHER]
            rows.append(network.encode_motions(features[start : start + _TOGETHER, : int(some.max())], some))
        return torch.cat(rows).float()

    def validate(self) -> dict[str, float]:
        """How often the held-out sentence's motion is the nearest, or among the three nearest, of ``_POOL``."""
        network = self.network.network
        assert isinstance(network, Network)
        count = len(self.held_out) // _POOL * _POOL
        if not count:
            return {}
        device = next(network.parameters()).device
        kept = {name: value.clone() for name, value in network.state_dict().items()}
        network.load_state_dict(self.network.averaged())
        rng = np.random.default_rng(self.seed)
        ranks = []
        for _ in range(4):
            order = rng.permutation(len(self.held_out))[:count]
            for start in range(0, count, _POOL):
                pool = [self.held_out[int(i)] for i in order[start : start + _POOL]]
                pool.sort(key=lambda clip: len(clip.features))
                features, lengths = padded([clip.features[: self.settings.frames[1]] for clip in pool])
                motions = self._motions(network, features.to(device), lengths.to(device))
                text = self.read([str(pick(rng, clip.captions)) for clip in pool])
                texts = network.encode_texts(*(part.to(device) for part in text)).float()
                apart = torch.cdist(texts, motions)
                ranks.append((apart < apart.diagonal()[:, None]).sum(1))
        network.load_state_dict(kept)
        found = torch.cat(ranks)
        return {"R@1_held_out": float((found < 1).float().mean()), "R@3_held_out": float((found < 3).float().mean())}


def padded(motions: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Motions -> ``(B, T, D)`` filled with zeros, and ``(B,)`` frames, whole fours."""
    lengths = torch.tensor([len(motion) // FRAMES_PER_MOVEMENT * FRAMES_PER_MOVEMENT for motion in motions])
    out = torch.zeros(len(motions), int(lengths.max()), motions[0].shape[1])
    for row, motion, length in zip(out, motions, lengths.tolist(), strict=True):
        row[:length] = motion[:length]
    return out, lengths


def word_vectors(name: str) -> WordVectors:
    """Word vectors for the classic networks: the authors' GloVe files, or the words of ours.

    Args:
        name: folder of ``our_vab_data.npy`` and its two lists, or of ``words.safetensors`` and ``tokenizer.json``, or
            the built-in name of a model with these.

    Raises:
        ArtifactError: it is neither.
    """
    folder = resolve(name, "motiongpt-mini")
    if (folder / official.WORD_FILES[0]).is_file():
        return official.read_words(folder)
    words = Words.load(folder)
    vocabulary = sorted(words.tokenizer.get_vocab(with_added_tokens=False).items(), key=lambda item: item[1])
    own = [word for word, _ in vocabulary if word not in (UNKNOWN, START, END)]
    rows = words.vectors[[row for word, row in vocabulary if word not in (UNKNOWN, START, END)]] * words.scale
    marks = np.zeros((3, rows.shape[1]), np.float32)
    marks[1, 0], marks[2, 0] = 1, -1  # start and end are two different words, and no third one
    return WordVectors([UNKNOWN, START, END, *own], np.concatenate([marks, rows]).astype(np.float32))


def grammar_of(clips: Sequence[Clip]) -> dict[str, tuple[str, ...]]:
    """Sentence -> its words with parts of speech, as the dataset's text files have them."""
    return {caption.text: caption.words for clip in clips for caption in clip.captions}


def train_evaluator(run: Run) -> None:
    """Train an evaluator on a dataset and leave it as an artifact.

    Raises:
        ArtifactError: an unknown architecture, no word vectors, a network that does not fit the dataset, or a batch
            that is cut into parts, each of which would know fewer wrong answers.
    """
    recipe, dataset = run.recipe, run.dataset
    architecture = recipe.get("architecture", ARCHITECTURES[0])
    if architecture not in ARCHITECTURES:
        raise ArtifactError(f"architecture must be one of {', '.join(ARCHITECTURES)}; got {architecture!r}.")
    parts = run.schedule.accumulate * run.group.count
    if parts > 1:
        raise ArtifactError(f"an evaluator must see its batch whole: one process, accumulate 1; got {parts} parts.")
    settings = read_config(MatchingSettings, recipe.get("settings", {}), "settings")
    values: Mapping[str, Any] = {"features": dataset.spec.width, **recipe.get("network", {})}
    if values["features"] != dataset.spec.width:
        raise ArtifactError(f"network.features must be {dataset.spec.width} for {dataset.folder}; "
                            f"got {values['features']}. Leave it out.")  # fmt: skip
    named = str(recipe.get("words", "motiongpt-mini"))
    statistics = Statistics(dataset.mean, dataset.std, dataset.spec.name)
    clips, held = (run.clips(splits) for splits in run.splits)
    network, read, keep = (_contrast if architecture == "contrast" else _classic)(named, values, [*clips, *held])
    stages: list[Any] = []
    if "start" in recipe:
        before = load_evaluator(Path(recipe["start"]))
        if type(before.network) is not type(network) or before.network.config != network.config:
            raise ArtifactError(f"{recipe['start']} must have the network of this recipe; its network differs.")
        network.load_state_dict(before.network.state_dict())
        stages = before.about.get("stages", [])
    rows, held_out = (
        [row for row in described(some, statistics, settings.frames[0], run.composed) if row.captions]
        for some in (clips, held)
    )
    try:
        task = MatchingTask(network, read, rows, held_out, settings, run.schedule.seed)
    except ValueError as error:
        raise ArtifactError(str(error)) from error
    run.fit(task, network)
    if run.first:
        network.load_state_dict(task.network.averaged())
        evaluator = keep(network.to("cpu").half().float(), dataset.mean, dataset.std)
        evaluator.about = {"stages": [*stages, run.stage()], "licences": _licences(run, named)}
        evaluator.save_pretrained(run.out / "artifact")
    run.group.wait()


def _licences(run: Run, words: str) -> dict[str, Any]:
    """Source -> terms: of the dataset, as it says them itself; of the words, as the model that they are taken from."""
    found = {"data": {name: value.get("terms", []) for name, value in run.dataset.about.get("licences", {}).items()}}
    words_of = [link for link in chain(resolve(words, "motiongpt-mini")) if link.part == "text_tower"]
    if all(link.commercial is not None for link in words_of):
        found["text_tower"] = {link.what: [link.terms] for link in words_of}
    return found


def _contrast(named: str, values: Mapping[str, Any], clips: Sequence[Clip]) -> tuple[Network, Read, Callable[..., Any]]:
    words = Words.load(resolve(named, "motiongpt-mini"))
    sizes = {"vocabulary": len(words.vectors), "word_width": words.vectors.shape[1]}
    network = ContrastNetwork(read_config(ContrastConfig, {**sizes, **values}, "network"))
    if (network.config.vocabulary, network.config.word_width) != words.vectors.shape:
        raise ArtifactError(f"network.vocabulary and network.word_width must be {words.vectors.shape}, as {named} has "
                            "them. Leave them out.")  # fmt: skip
    network.vectors.copy_(torch.from_numpy(words.vectors))
    network.scale.copy_(torch.from_numpy(words.scale))
    return (network, lambda texts: (token_rows(words.tokenizer, texts),),
            lambda trained, mean, std: ContrastEvaluator.of(trained, words, mean, std))  # fmt: skip


def _classic(named: str, values: Mapping[str, Any], clips: Sequence[Clip]) -> tuple[Network, Read, Callable[..., Any]]:
    words, grammar = word_vectors(named), grammar_of(clips)
    network = TextMotionEvaluator(read_config(EvaluatorConfig, {"word_width": words.width, **values}, "network"))

    def read(texts: Sequence[str]) -> tuple[Tensor, ...]:
        rows = [words.sentence(grammar.get(text) or tokens(text).split()) for text in texts]
        return (*(torch.from_numpy(np.stack([row[i] for row in rows])) for i in (0, 1)),
                torch.tensor([row[2] for row in rows]))  # fmt: skip

    return network, read, lambda trained, mean, std: Evaluator(trained, words, mean, std)
