"""The token loop: company changes nothing, rows leave when they are done, and draws keep to their shares."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hftrainer.bench import decoding_speed
from hftrainer.models.motion.motiongpt.network import LanguageModel, LanguageModelConfig
from hftrainer.pipelines import decoding
from hftrainer.pipelines.decoding import Draws, Request, choose, speak

CHOICES = torch.arange(1, 40)


@pytest.fixture(scope="module")
def network() -> LanguageModel:
    torch.manual_seed(3)
    net = LanguageModel(LanguageModelConfig(40, 11, 32, 2, 16, 64, 2, 2)).eval()
    with torch.no_grad():
        net.head.weight *= 2  # sharper, so that answers end at different places
    return net


def requests(guided: bool) -> list[Request]:
    """Prompts of many lengths, some alike, some with a longer beginning, some that must not end at once."""
    rng = np.random.default_rng(0)
    asked = []
    for i in range(14):
        prompt = (*(int(t) for t in rng.integers(2, 29, 2 + i % 5 * 3)), 1)
        prefix = (30, 31) if i % 3 == 0 else (30,)
        asked.append(Request(prompt, prefix, i % 4, 4 + i, seed=i % 6, blank=(5, 1) if guided else None))
    return asked


WAYS = {
    "greedy": (Draws(greedy=True), False),
    "plain": (Draws(), False),
    "narrow": (Draws(temperature=0.8, top_p=0.9, top_k=12), False),
    "guided": (Draws(guidance=2.0, temperature=0.7, top_p=0.9), True),
}


@pytest.mark.parametrize("draws, guided", WAYS.values(), ids=WAYS)
def test_an_answer_does_not_depend_on_its_company(network, draws, guided):
    asked = requests(guided)
    together = speak(network, asked, CHOICES, 1, draws)
    assert len({answer.tokens for answer in together}) > 8
    alone = [speak(network, [one], CHOICES, 1, draws)[0] for one in asked]
    turned = speak(network, asked[::-1], CHOICES, 1, draws, rows=5)[::-1]
    for answers in (alone, turned):
        assert [a.tokens for a in answers] == [a.tokens for a in together]
        assert [a.stopped for a in answers] == [a.stopped for a in together]


def test_choices_that_rounding_could_tip_are_computed_alone(network, monkeypatch):
    asked, (draws, guided) = requests(True), WAYS["guided"]
    assert guided
    usual = speak(network, asked, CHOICES, 1, draws)
    calls = []
    alone = decoding._Loop._alone
    monkeypatch.setattr(decoding._Loop, "_alone", lambda self, *rest: calls.append(1) or alone(self, *rest))
    assert [a.tokens for a in speak(network, asked, CHOICES, 1, draws)] == [a.tokens for a in usual]
    assert len(calls) < 5
    monkeypatch.setattr(decoding, "_ROUNDING", 1e9)  # nothing is sure any more
    assert [a.tokens for a in speak(network, asked, CHOICES, 1, draws)] == [a.tokens for a in usual]
    assert len(calls) >= sum(len(a.tokens) for a in usual)


def test_limits_and_ends(network):
    for request, answer in zip(requests(False), speak(network, requests(False), CHOICES, 1, Draws()), strict=True):
        assert request.fewest <= len(answer.tokens) <= request.most
        assert answer.stopped or len(answer.tokens) == request.most
        assert 1 not in answer.tokens and set(answer.tokens) <= set(CHOICES.tolist())
    assert speak(network, [Request((5, 1), most=0)], CHOICES, 1, Draws())[0].tokens == ()


def test_finished_rows_leave_and_prompts_are_read_once(network, monkeypatch):
    read, rows = [], []
    encode, decode = network.encode, network.decode
    monkeypatch.setattr(network, "encode", lambda tokens: read.append(tuple(tokens.shape)) or encode(tokens))
    monkeypatch.setattr(
        network, "decode", lambda tokens, *rest: rows.append(len(tokens)) or decode(tokens, *rest)
    )
    asked = [Request((5, 6, 7, 1), fewest=2, most=2, seed=i) for i in range(4)]
    asked += [Request((8, 1), fewest=6, most=6, seed=i) for i in range(2)]
    speak(network, asked, CHOICES, 1, Draws(greedy=True))
    assert read[0] == (2, 4) and rows[:6] == [6, 6, 2, 2, 2, 2]


def test_impossible_requests_are_refused(network):
    with pytest.raises(ValueError, match="stop token 39"):
        speak(network, [Request((5, 1))], torch.arange(3, 9), 39, Draws())
    with pytest.raises(ValueError, match="fewest must be 0 to most=2; got 3"):
        speak(network, [Request((5, 1), fewest=3, most=2)], CHOICES, 1, Draws())


def picks(scores: torch.Tensor, draws: Draws, count: int = 4000) -> np.ndarray:
    """Shares of the indices drawn from one row of scores."""
    edge = torch.rand(count, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    index, _ = choose(scores.expand(count, -1), draws, edge, torch.zeros(count))
    return np.bincount(index.numpy(), minlength=scores.shape[-1]) / count


def test_drawing_keeps_to_the_likeliest_and_to_their_shares():
    scores = torch.log(torch.tensor([[0.05, 0.5, 0.3, 0.15]]))
    assert np.abs(picks(scores, Draws()) - [0.05, 0.5, 0.3, 0.15]).max() < 0.03
    assert picks(scores, Draws(top_p=0.4)).tolist() == [0, 1, 0, 0]
    assert np.abs(picks(scores, Draws(top_p=0.6)) - [0, 0.625, 0.375, 0]).max() < 0.03
    assert np.abs(picks(scores, Draws(top_k=2)) - [0, 0.625, 0.375, 0]).max() < 0.03
    assert picks(scores, Draws(greedy=True)).tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize(
    ("shares", "edge", "draws", "sure"),
    [
        ([0.6, 0.4], 0.3, Draws(), True),
        ([0.6, 0.4], 0.6, Draws(), False),  # the draw falls on the border
        ([0.50001, 0.49999], 0.2, Draws(), False),  # the two could change places
        ([0.4, 0.3, 0.3], 0.1, Draws(top_p=0.7), False),  # the last could be left out
        ([0.4, 0.3, 0.3], 0.1, Draws(top_p=0.6), True),
        ([0.50001, 0.49999], 0.0, Draws(greedy=True), False),
        ([0.6, 0.4], 0.0, Draws(greedy=True), True),
    ],
)
def test_what_rounding_could_change_is_noticed(shares, edge, draws, sure):
    scores = torch.log(torch.tensor([shares]))
    _, said = choose(scores, draws, torch.tensor([edge], dtype=torch.float64), torch.tensor([1e-4]))
    assert bool(said[0]) is sure


@given(
    seed=st.integers(0, 2**31), width=st.floats(0.1, 4), top_p=st.sampled_from([0.3, 0.9, 0.999, 1.0]),
    top_k=st.sampled_from([0, 1, 7, 5000]), greedy=st.booleans(),
)  # fmt: skip
def test_of_many_choices_the_likeliest_are_enough(seed, width, top_p, top_k, greedy):
    noise = torch.Generator().manual_seed(seed)
    scores = torch.randn(6, 3000, generator=noise) * width
    edge = torch.rand(6, generator=noise, dtype=torch.float64)
    draws, slack = Draws(top_p=top_p, top_k=top_k, greedy=greedy), torch.full((6,), 1e-5)
    quick, sure = choose(scores, draws, edge, slack)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "_ranked", lambda scores, *_: scores.sort(dim=-1, descending=True, stable=True))
        whole, certain = choose(scores, draws, edge, slack)
    assert torch.equal(quick[certain], whole[certain]) and torch.equal(sure, certain)


def test_the_bench_counts_equal_answers():
    report = decoding_speed(batch=6, tokens=5, width=64, layers=2)
    assert report["same_answers"] == {"value": 6, "bar": 6, "holds": True} and report["ratio"]["value"] > 0
