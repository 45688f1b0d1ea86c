"""How published numbers were measured, by name: which captions, which frames, which draws.

Two numbers may stand in one table only if they were measured by one protocol. What the names mean:

| captions | which sentence of a motion counts |
|---|---|
| ``first`` | the first that describes the whole clip |
| ``selected`` | the one that was chosen for the clip; a clip with several and no choice is refused |
| ``random`` | one of those of the sample, drawn in each repeat |
| ``every`` | all of them: each sentence is a pair of its own, and a motion comes back as often |

| lengths | which frames are compared |
|---|---|
| ``common`` | real and predicted motion from frame 0 to the end of the shorter |
| ``own`` | each as long as it is |
| ``reference`` | the real motion as long as it is, the prediction no longer than that |
| ``window`` | real motions alone: a third of them four frames shorter, a window at a random place |

All lengths are cut to whole fours of frames.

| draws | what decides the order and the pairs |
|---|---|
| ``shuffle`` | repeat ``r`` has two generators of the seed ``42 + r``: Python's shuffles the samples, then draws captions and places; NumPy's draws lengths and pairs of the diversity |
| ``permutation`` | one generator of the seed gives all repeats their orders |
| ``drawn`` | repeat ``r`` has NumPy's generator of ``[seed, r]``: captions, then the real row, then the predicted one; each repeat has motions of its own (``hftrainer.evaluation.drawn``) |
"""  # noqa: E501

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

CAPTIONS = ("first", "selected", "random", "every")
#: Those by which a sample has the same sentence in all repeats, and no other.
ONE_CAPTION = ("first", "selected")
LENGTHS = ("common", "own", "reference", "window")
DRAWS = ("shuffle", "permutation", "drawn")
#: Motions are cut to whole fours of frames.
UNIT = 4


@dataclass(frozen=True)
class Protocol:
    """Everything that a number depends on beside motions, sentences and the evaluator.

    Attributes:
        name: what reports call it.
        evaluator: kind of evaluator.
        captions, lengths, draws: words of ``CAPTIONS``, ``LENGTHS``, ``DRAWS``; see the module text.
        parts: sentences about a part of a clip make samples of their own.
        shortest, longest: frames of a sample: at least, and fewer than.
        seed: of the draws.
        repeats: how many times.
        group: samples told apart at once; the last, incomplete group is dropped.
        diversity_pairs: most pairs of the diversity.
        padded: frames that a motion is filled up to before it is encoded; 0 where padding changes nothing.
        source: where the protocol comes from.

    Raises:
        ValueError: words or numbers that cannot be.
    """

    name: str
    evaluator: str
    captions: str
    lengths: str
    draws: str
    parts: bool
    shortest: int
    longest: int
    seed: int
    repeats: int = 20
    group: int = 32
    diversity_pairs: int = 300
    padded: int = 0
    source: str = ""

    def __post_init__(self) -> None:
        for what, value, known in (
            ("captions", self.captions, CAPTIONS), ("lengths", self.lengths, LENGTHS), ("draws", self.draws, DRAWS),
        ):  # fmt: skip
            if value not in known:
                raise ValueError(f"{what} must be one of {', '.join(known)}; got {value!r}.")
        if not UNIT <= self.shortest < self.longest:
            raise ValueError(f"shortest must be {UNIT} to below longest; got {self.shortest} and {self.longest}.")
        if self.repeats < 1 or self.group < 2 or self.diversity_pairs < 1 or self.seed < 0:
            raise ValueError("repeats, group, diversity_pairs and seed must be at least 1, 2, 1 and 0.")

    def about(self) -> dict[str, Any]:
        """All of it, as JSON values."""
        return {**asdict(self), "unit": UNIT}


#: Frames of the published motions of HumanML3D that are longest, to which motions are filled.
_FILLED = 196

PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol("hml263-first", "hml263", "first", "common", "shuffle", False, 40, 200, 42, padded=_FILLED,
                 source="the cards' native evaluator before June 2026: first caption of the whole clip"),
        Protocol("hml263-selected", "hml263", "selected", "common", "shuffle", False, 40, 200, 42, padded=_FILLED,
                 source="the release of July 2026: the caption that motions were generated from"),
        Protocol("hml263-subclips", "hml263", "random", "window", "shuffle", True, 40, 200, 42, padded=_FILLED,
                 source="Guo et al., CVPR 2022: parts of clips are samples, captions are drawn; real motions alone"),
        Protocol("kit251-subclips", "kit251", "random", "window", "shuffle", True, 24, 200, 42, padded=_FILLED,
                 source="Guo et al., CVPR 2022, KIT-ML; real motions alone"),
        Protocol("motion272-pairs", "motion272", "every", "reference", "permutation", True, 60, 300, 0,
                 source="MotionStreamer's test set: every caption is a pair"),
        Protocol("motion272-selected", "motion272", "selected", "own", "permutation", False, 4, 100_000, 0,
                 source="the shared leaderboard of June 2026: one caption of each clip of the split"),
        Protocol("motionclip135-selected", "motionclip135", "selected", "own", "permutation", False, 4, 100_000, 0,
                 source="the shared leaderboard of June 2026: products of the towers as they are"),
    )
}  # fmt: skip


def get_protocol(name: str) -> Protocol:
    """The protocol called ``name``.

    Raises:
        KeyError: an unknown name; the message lists those there are.

    >>> get_protocol("motion272-pairs").captions
    'every'
    """
    if name not in PROTOCOLS:
        raise KeyError(f"there is no protocol {name!r}; there are {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[name]


def scored_by(protocol: Protocol, kind: str) -> Protocol:
    """A protocol with an evaluator of another kind, which its name then says: its numbers are no published one's like.

    >>> scored_by(get_protocol("hml263-first"), "hml263").name, scored_by(get_protocol("hml263-first"), "contrast").name
    ('hml263-first', 'hml263-first, scored by contrast')
    """
    if kind == protocol.evaluator:
        return protocol
    return replace(protocol, name=f"{protocol.name}, scored by {kind}", evaluator=kind)


@dataclass(frozen=True)
class Published:
    """A row of real motions as it was published, and how far another run of it may lie.

    Attributes:
        name, source: what it is, and where it stands.
        samples: how many there were; 0 where it is not said.
        values: measures by name.
        tolerance: largest distance of each measure.
    """

    name: str
    source: str
    samples: int
    values: dict[str, float]
    tolerance: dict[str, float]


def _near(ranks: float, matching: float, diversity: float) -> dict[str, float]:
    return {"R@1": ranks, "R@2": ranks, "R@3": ranks, "matching": matching, "diversity": diversity}


def _values(first: float, second: float, third: float, matching: float | None, diversity: float) -> dict[str, float]:
    values = {"R@1": first, "R@2": second, "R@3": third, "matching": matching, "diversity": diversity}
    return {name: value for name, value in values.items() if value is not None}


#: Real motions as published, by protocol.
PUBLISHED: dict[str, Published] = {
    "hml263-first": Published(
        "real motion beside MoGenTS", "model card of MoGenTS", 3970,
        _values(0.5135, 0.7108, 0.8069, 2.9323, 9.4527), _near(0.01, 0.03, 0.1),
    ),
    "hml263-subclips": Published(
        "real motion with sub-clips", "documentation of hftrainer; Guo et al. print .511 .703 .797 2.974 9.503", 4402,
        _values(0.508, 0.698, 0.796, 2.970, 9.398), _near(0.005, 0.01, 0.15),
    ),
    "kit251-subclips": Published(
        "real motion of KIT-ML", "Guo et al., CVPR 2022", 0,
        _values(0.424, 0.649, 0.779, 2.788, 11.08), _near(0.01, 0.05, 0.2),
    ),
    "motion272-pairs": Published(
        "real motion, all captions", "leaderboard of MotionStreamer-272, pair protocol", 7412,
        _values(0.7059, 0.8569, 0.9106, 15.0066, 27.3692), _near(0.002, 0.01, 0.1),
    ),
    "motion272-selected": Published(
        "real motion, selected captions", "shared leaderboard of June 2026", 4042,
        _values(0.7703, 0.9030, 0.9442, 14.8785, 27.7705), _near(0.002, 0.01, 0.1),
    ),
    "motionclip135-selected": Published(
        "real motion, selected captions", "shared leaderboard of June 2026", 4042,
        _values(0.7855, 0.9039, 0.9429, 41.5461, 23.3569), _near(0.002, 0.05, 0.15),
    ),
}  # fmt: skip
