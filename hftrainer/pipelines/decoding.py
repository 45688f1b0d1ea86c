"""The loop that speaks: prompts to answers, token by token, many at once.

All requests are decoded together: prompts are sorted by length and padded only to the longest of their batch, each
prompt is read once however many answers it has, keys and values of what was said are cached, and a finished row leaves
the batch.

An answer does not depend on its company. Rows of a batch differ from the same row alone by float32 rounding, so a
choice could tip over where two tokens weigh the same within it. Such a choice is noticed (``choose`` says how sure it
is), and its scores are computed again from the one prompt alone; any two batches then choose alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from hftrainer.models.motion.motiongpt.gpt2 import GPT2
from hftrainer.models.motion.motiongpt.network import LanguageModel
from hftrainer.models.text import pad

#: Answers that are decoded together at most; bounds memory.
ROWS = 64
#: Rounding of a score that is allowed for, in units of the last place of the largest score.
_ROUNDING = 64


@dataclass(frozen=True)
class Draws:
    """How a token is chosen from its scores.

    Attributes:
        guidance: above 1, scores move away from those of the request's ``blank`` prompt.
        temperature: scores are divided by it.
        top_p: tokens are drawn from the likeliest that together have this probability.
        top_k: tokens are drawn from this many of the likeliest; 0 means all.
        greedy: always the likeliest; the three above do not matter.
    """

    guidance: float = 1.0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    greedy: bool = False


@dataclass(frozen=True)
class Request:
    """One answer that is wanted.

    Attributes:
        prompt: token ids, with the end mark.
        prefix: token ids that the answer begins with; they are given, not drawn.
        fewest, most: tokens of the answer after the prefix, without the one that stops it.
        seed: of the request's own generator.
        blank: prompt of an empty request, for guidance.
    """

    prompt: tuple[int, ...]
    prefix: tuple[int, ...] = ()
    fewest: int = 0
    most: int = 1
    seed: int = 0
    blank: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Spoken:
    """An answer.

    Attributes:
        tokens: ids after the prefix, without the one that stops.
        stopped: the stop token was drawn; without it the answer was cut at ``most``.
    """

    tokens: tuple[int, ...]
    stopped: bool


def speak(
    network: LanguageModel | GPT2,
    requests: Sequence[Request],
    choices: Tensor,
    stop: int,
    draws: Draws,
    *,
    text: bool = False,
    rows: int = ROWS,
    watch: Callable[[int, int], None] | None = None,
) -> list[Spoken]:
    """Answers of requests, in their order.

    Args:
        network: in evaluation mode; an encoder-decoder, or a GPT-2 that is asked like one.
        requests: prompts and limits.
        choices: ``(N,)`` token ids that may be said; ``stop`` is among them.
        stop: the token id that ends an answer.
        draws: how tokens are chosen.
        text: whether words are among the choices (``LanguageModel.logits``).
        rows: answers decoded together at most. It changes the speed and never the answers.
        watch: told before every token how many a batch has spoken and how many it may; what it raises ends the work.

    Returns:
        One answer a request. The same request gives the same answer alone and among others.

    Raises:
        ValueError: ``stop`` is not among the choices, or a request asks for more than it allows.

    >>> from hftrainer.models.motion.motiongpt.network import LanguageModelConfig
    >>> net = LanguageModel(LanguageModelConfig(30, 11, 16, 2, 8, 32, 1, 1)).eval()
    >>> asked = [Request((5, 6, 1), fewest=3, most=3), Request((7, 1), fewest=2, most=4)]
    >>> spoken = speak(net, asked, torch.arange(1, 30), 1, Draws(greedy=True))
    >>> len(spoken[0].tokens), spoken[1] == speak(net, asked[1:], torch.arange(1, 30), 1, Draws(greedy=True))[0]
    (3, True)
    """
    if stop not in choices.tolist():
        raise ValueError(f"choices must hold the stop token {stop}; got {len(choices)} others. Add it.")
    for request in requests:
        if not 0 <= request.fewest <= request.most:
            raise ValueError(f"fewest must be 0 to most={request.most}; got {request.fewest}. Ask for fewer.")
    order = sorted(range(len(requests)), key=lambda i: (len(requests[i].prefix), len(requests[i].prompt)))
    answers: dict[int, Spoken] = {}
    with torch.no_grad():
        scores_of = scorer(network, choices.to(next(network.parameters()).device), text)
        for batch in _batches(order, requests, rows):
            loop = _Loop(network, [requests[i] for i in batch], choices, stop, draws, scores_of, watch)
            answers.update(zip(batch, loop.run(), strict=True))
    return [answers[i] for i in range(len(requests))]


def _batches(order: Sequence[int], requests: Sequence[Request], rows: int) -> Iterator[list[int]]:
    """Runs of ``order`` with one prefix length, ``rows`` long at most, all with a blank prompt or all without."""
    batch: list[int] = []
    for i in order:
        one = requests[batch[0]] if batch else requests[i]
        alike = len(one.prefix) == len(requests[i].prefix) and (one.blank is None) == (requests[i].blank is None)
        if batch and (len(batch) == rows or not alike):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


class _Loop:
    """One batch of requests: rows of the asked prompts, with guidance as many rows of the blank ones below them."""

    def __init__(
        self,
        network: LanguageModel | GPT2,
        requests: Sequence[Request],
        choices: Tensor,
        stop: int,
        draws: Draws,
        scores_of: Callable[[Tensor], Tensor],
        watch: Callable[[int, int], None] | None,
    ) -> None:
        self.network: Any = network  # either kind reads the states that it made itself
        self.requests, self.draws = requests, draws
        self.watch = watch
        self.device = next(network.parameters()).device
        self.ids: list[int] = choices.tolist()
        self.stop = self.ids.index(stop)
        self.scores_of = scores_of
        self.guided = requests[0].blank is not None
        self.generators = [torch.Generator().manual_seed(r.seed) for r in requests]

    def run(self) -> list[Spoken]:
        """Say everything."""
        requests, network = self.requests, self.network
        prompts = [r.prompt for r in requests] + [r.blank for r in requests if r.blank is not None]
        unique = {prompt: i for i, prompt in enumerate(dict.fromkeys(prompts))}
        states, mask = network.encode(pad(list(unique)).to(self.device))
        rows = torch.tensor([unique[prompt] for prompt in prompts], device=self.device)
        memories = [(key[rows], value[rows]) for key, value in network.memories(states)]
        mask, past = mask[rows], None
        said: list[list[int]] = [[] for _ in requests]
        stopped = [False] * len(requests)
        live = [i for i, r in enumerate(requests) if r.most > 0]
        present = list(range(len(requests)))  # requests whose rows are in the batch, in this order
        token = self._tokens([(0, *r.prefix) for r in requests])
        place = 0
        while live:
            if self.watch is not None:
                self.watch(place, max(requests[i].most for i in live))
            if len(live) <= 0.9 * len(present):
                keep = [at for at, i in enumerate(present) if i in set(live)]
                rows = torch.tensor(keep + [len(present) + at for at in keep] * self.guided, device=self.device)
                memories, mask, token = [(k[rows], v[rows]) for k, v in memories], mask[rows], token[rows]
                past = None if past is None else [(k[rows], v[rows]) for k, v in past]
                present = [present[at] for at in keep]
            hidden, past = network.decode(token, memories, mask, past)
            scores, slack = self._likely(hidden[:, -1], [requests[i] for i in present], place)
            chosen = self._next(scores, slack, present, live, said)
            following = [self.stop] * len(present)
            for at, i in enumerate(present):
                if i in chosen:
                    following[at] = chosen[i]
                    if chosen[i] == self.stop:
                        stopped[i] = True
                    else:
                        said[i].append(self.ids[chosen[i]])
            place += 1
            live = [i for i in live if not stopped[i] and len(said[i]) < requests[i].most]
            token = self._tokens([(self.ids[index],) for index in following])
        return [Spoken(tuple(s), end) for s, end in zip(said, stopped, strict=True)]

    def _tokens(self, rows: Sequence[tuple[int, ...]]) -> Tensor:
        return torch.tensor([*rows, *rows] if self.guided else [*rows], device=self.device)

    def _likely(self, hidden: Tensor, requests: Sequence[Request], place: int) -> tuple[Tensor, Tensor]:
        """Log-probabilities ``(B, N)`` of the choices and ``(B,)`` how far rounding may have moved them."""
        scores = self.scores_of(hidden)
        largest = scores.masked_fill(scores.isinf(), 0).abs().amax(-1).clamp_min(1)
        early = torch.tensor([place < r.fewest for r in requests] * (1 + self.guided))
        scores[early, self.stop] = -torch.inf
        return scores.log_softmax(-1), largest * _ROUNDING * torch.finfo(torch.float32).eps

    def _next(
        self, likely: Tensor, slack: Tensor, present: Sequence[int], live: Sequence[int], said: Sequence[Sequence[int]]
    ) -> dict[int, int]:
        """Index of the next choice of every live request."""
        at = [present.index(i) for i in live]
        edges = [
            0.0 if self.draws.greedy else float(torch.rand((), generator=self.generators[i], dtype=torch.float64))
            for i in live
        ]
        edge = torch.tensor(edges, dtype=torch.float64)
        asked, blank = likely[at], likely[[len(present) + a for a in at]] if self.guided else None
        picked, sure = self._pick(asked, blank, slack[at], edge)
        return {
            i: int(picked[n]) if sure[n] else self._alone(i, said[i], edge[n : n + 1]) for n, i in enumerate(live)
        }

    def _pick(
        self, asked: Tensor, blank: Tensor | None, slack: Tensor, edge: Tensor
    ) -> tuple[Tensor, Tensor]:
        scores, draws = asked, self.draws
        if blank is not None and draws.guidance != 1.0:
            scores, slack = guide(asked, blank, draws.guidance), slack * (2 * draws.guidance - 1)
        if draws.greedy:
            return choose(scores, draws, edge, slack)
        return choose(scores / draws.temperature, draws, edge, slack / draws.temperature)

    def _alone(self, i: int, said: Sequence[int], edge: Tensor) -> int:
        """The next choice of one request, computed from its own prompt and all it has said, without the batch."""
        request, rows = self.requests[i], []
        for prompt in (request.prompt, request.blank)[: 1 + self.guided]:
            assert prompt is not None
            states, mask = self.network.encode(torch.tensor([prompt], device=self.device))
            tokens = torch.tensor([[0, *request.prefix, *said]], device=self.device)
            hidden, _ = self.network.decode(tokens, self.network.memories(states), mask)
            scores = self.scores_of(hidden[:, -1])
            if len(said) < request.fewest:
                scores[:, self.stop] = -torch.inf
            rows.append(scores.log_softmax(-1))
        blank = rows[1] if self.guided else None
        picked, _ = self._pick(rows[0], blank, torch.zeros(1), edge)
        return int(picked[0])


def scorer(network: LanguageModel | GPT2, choices: Tensor, text: bool) -> Callable[[Tensor], Tensor]:
    """What turns states ``(B, W)`` into scores ``(B, N)`` of the choices, float32 on the processor.

    What does not change from token to token is done here, once. Where the choices are few, only their rows of the
    output head are read: at T5-base's size and one prompt, the whole head would be a fifth of all the weights that a
    token reads. Where words have vectors, these are projected.

    Args:
        network: in evaluation mode; its weights stay as they are while the scorer is used.
        choices: ``(N,)`` token ids.
        text: whether words are among the choices (``LanguageModel.logits``).
    """
    rows = None
    if isinstance(network, LanguageModel):
        config, head = network.config, network.head
        if config.word_width is None:
            if 2 * len(choices) < head.out_features:
                rows = head.weight[choices]
        elif text:
            words = network.vocabulary.output_rows() * config.width**-0.5
            rows = torch.cat([words[:1], head.weight[:1], words[2:], head.weight[1:]])[choices]
        elif bool(((choices == 1) | (choices >= config.first_motion)).all()):  # the end mark and codes
            rows = head.weight[(choices - config.first_motion + 1).clamp_min(0)]
    if rows is None:
        return lambda hidden: network.logits(hidden, text=text)[:, choices].float().cpu()
    return lambda hidden: F.linear(hidden, rows).float().cpu()


def guide(asked: Tensor, blank: Tensor, guidance: float) -> Tensor:
    """Log-probabilities moved away from those of an empty request; what is impossible stays so.

    Source:
        Sanchez et al. 2023, "Stay on topic with classifier-free guidance".

    >>> guide(torch.tensor([-1.0, -2.0]), torch.tensor([-1.5, -1.5]), 2.0)
    tensor([-0.5000, -2.5000])
    """
    return torch.where(asked.isinf(), asked, blank + guidance * (asked - blank))


def choose(scores: Tensor, draws: Draws, edge: Tensor, slack: Tensor) -> tuple[Tensor, Tensor]:
    """One index a row, and whether it would be the same had the scores been off by rounding.

    Args:
        scores: ``(B, N)`` log-probabilities up to a constant; temperature and guidance are in them already.
        draws: ``top_p``, ``top_k`` and ``greedy`` count here.
        edge: ``(B,)`` float64 in [0, 1), the draw: where it falls in the shares of the likeliest, likeliest first.
        slack: ``(B,)`` how far a score may be off.

    Returns:
        ``(B,)`` indices, ``(B,)`` bool.

    >>> scores = torch.log(torch.tensor([[0.05, 0.6, 0.35]]))
    >>> at, still = torch.tensor([0.7], dtype=torch.float64), torch.tensor([1e-6])
    >>> choose(scores, Draws(), at, still), choose(scores, Draws(greedy=True), at, still)
    ((tensor([2]), tensor([True])), (tensor([1]), tensor([True])))
    """
    if draws.greedy or scores.shape[-1] == 1:
        best = scores.topk(min(2, scores.shape[-1]), dim=-1).values
        apart = best[:, 0] - best[:, 1] if best.shape[-1] > 1 else torch.full_like(slack, torch.inf)
        return scores.argmax(-1), apart > slack
    ranked, order = _ranked(scores, draws, slack)
    limited, few = ranked.clone(), 0 < draws.top_k < scores.shape[-1]
    if few:
        limited[:, draws.top_k :] = -torch.inf
    total = (limited if few else scores).logsumexp(-1, keepdim=True)
    share = (limited - total).exp().double()
    before = share.cumsum(-1) - share
    kept = share * (before < draws.top_p)
    upto, last = kept.cumsum(-1), (kept > 0).sum(-1) - 1
    goal = (edge * kept.sum(-1))[:, None]
    place = torch.minimum((upto <= goal).sum(-1), last)[:, None]
    here, room = ranked.gather(-1, place), slack[:, None]
    above = ranked.gather(-1, (place - 1).clamp_min(0))
    below = ranked.gather(-1, (place + 1).clamp_max(ranked.shape[-1] - 1))
    sure = ((place == 0) | (above - here > room)) & ((place == ranked.shape[-1] - 1) | (here - below > room))
    low, high = goal - (upto - kept).gather(-1, place), upto.gather(-1, place) - goal
    sure &= ((place == 0) | (low > room)) & ((place == last[:, None]) | (high > room))
    if draws.top_p < 1:
        at_cut = (before - draws.top_p).abs().masked_fill(share == 0, torch.inf).amin(-1, keepdim=True)
        sure &= at_cut > room
    return order.gather(-1, place)[:, 0], sure[:, 0]


#: Likeliest choices among which those of a ``top_p`` are looked for first: whole vocabularies take long to sort.
_LIKELIEST = 512


def _ranked(scores: Tensor, draws: Draws, slack: Tensor) -> tuple[Tensor, Tensor]:
    """Scores, largest first, and their indices: all of them, or as many as can matter and one more."""
    many = scores.shape[-1]
    if 0 < draws.top_k < many:
        return scores.topk(draws.top_k + 1, dim=-1)
    if draws.top_p < 1 and many > 2 * _LIKELIEST:
        ranked, order = scores.topk(_LIKELIEST, dim=-1)
        share = (ranked - scores.logsumexp(-1, keepdim=True)).exp().double()
        if bool((share[:, :-1].sum(-1) > draws.top_p + slack).all()):
            return ranked, order
    return scores.sort(dim=-1, descending=True, stable=True)
