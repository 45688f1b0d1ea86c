"""Caption measures beside the libraries that published numbers come from, both of which the development set has."""

import json

import numpy as np
import pytest
import sacrebleu
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from hftrainer.evaluation import language
from hftrainer.evaluation.captioning import POLICIES, likeness, references
from hftrainer.evaluation.population import Sample
from tests.conftest import ROOT

WORDS = "a the man person walks runs jumps forward backward slowly in circle and then sits down waves left hand".split()


def captions(seed, items=40):
    """Predictions and one to four references each, of random lengths, some alike."""
    rng = np.random.default_rng(seed)

    def sentence():
        return " ".join(rng.choice(WORDS, size=int(rng.integers(1, 14))))

    said, known = [], []
    for _ in range(items):
        some = [sentence() for _ in range(int(rng.integers(1, 5)))]
        words = some[0].split()
        if rng.random() < 0.7:
            words[int(rng.integers(len(words)))] = str(rng.choice(WORDS))
        said.append(" ".join(words) if rng.random() < 0.8 else sentence())
        known.append(some)
    return said, known


@pytest.mark.parametrize("seed", range(5))
def test_pycocoevalcap(seed):
    """Its BLEU, ROUGE-L and CIDEr are Python; METEOR and SPICE need Java and are not compared."""
    said, known = captions(seed)
    for policy in (known, [language.three(one) for one in known]):
        wanted, got = dict(enumerate(policy)), {i: [text] for i, text in enumerate(said)}
        scores, _ = Bleu(4).compute_score(wanted, got, verbose=0)
        assert language.coco_bleu(said, policy) == pytest.approx(scores, rel=1e-9)
        mean, each = Rouge().compute_score(wanted, got)
        assert language.coco_rouge_l(said, policy) == pytest.approx(each, rel=1e-9)
        mean, each = Cider().compute_score(wanted, got)
        assert language.cider(said, policy) == pytest.approx(each, rel=1e-9)
        assert language.cider(said, policy).mean() == pytest.approx(mean, rel=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_sacrebleu(seed):
    said, known = captions(seed)
    most = max(map(len, known))
    streams = [[one[i] if i < len(one) else None for one in known] for i in range(most)]
    for order in range(1, 5):
        found = sacrebleu.BLEU(smooth_method="none", tokenize="none", max_ngram_order=order, force=True)
        want = found.corpus_score(said, streams).score / 100
        assert language.coco_bleu(said, known, order)[-1] == pytest.approx(want, rel=1e-8)
    alone = [one[:1] for one in known]
    found = sacrebleu.BLEU(smooth_method="none", tokenize="none", force=True)
    want = found.corpus_score(said, [[one[0] for one in alone]]).score / 100
    assert language.bleu(said, alone).score == pytest.approx(want, rel=1e-12), "one reference: all rules are one"


def test_the_policies_differ_and_both_are_told():
    from hftrainer.data.humanml3d import Caption
    from hftrainer.motion.clip import Motion

    told = [
        Caption("A man is walking slowly.", ("a/DET", "man/NOUN", "is/AUX", "walk/VERB", "slowly/ADV"), 0, 0),
        Caption("He walks.", ("he/PRON", "walk/VERB"), 0, 0),
    ]
    clip = Motion(np.zeros((40, 263)), "hml263", fps=20)
    samples = [Sample(str(i), clip, tuple(told)) for i in range(2)]
    said = ["a man is walking slowly", "he walks"]
    values, reasons = likeness(said, samples)
    assert references(told, "official") == ["a man is walk slowly", "he walk", "a man is walk slowly"]
    for policy in POLICIES:
        known = [references(told, policy)] * 2
        cleaned = [language.processed(text) for text in said] if policy == "processed" else said
        assert values[f"{policy}/COCO-BLEU-4"] == language.coco_bleu(cleaned, known)[3]
        assert values[f"{policy}/COCO-ROUGE-L"] == pytest.approx(language.coco_rouge_l(cleaned, known).mean())
    assert values["raw/COCO-BLEU-1"] != values["official/COCO-BLEU-1"]
    assert set(reasons) <= {f"{policy}/BERTScore" for policy in POLICIES}


def test_the_stored_case_is_told_apart_from_the_other_rules():
    """The COCO tools and MotionGPT's library differ in cleaning, lengths and recall: neither may pass for the other."""
    case = json.loads((ROOT / "tests" / "golden" / "evaluation" / "m2t_caption_metrics.json").read_text())
    said, known = case["predictions"], case["references_3"]
    assert language.coco_bleu(said, known)[3] == pytest.approx(case["metrics"]["Bleu_4"], rel=1e-9)
    rouge = language.coco_rouge_l(said, known).mean(), language.rouge_l(said, known).mean()
    assert rouge[0] == pytest.approx(case["metrics"]["ROUGE_L"], rel=1e-9) and abs(rouge[0] - rouge[1]) > 1e-3
    some = ["a b c d e"], [["a b c d e f g", "a"]]
    assert language.bleu(*some, 1).brevity == 1, "the shortest reference"
    assert language.coco_bleu(*some, 1)[0] == pytest.approx(np.exp(1 - 7 / 5)), "the nearest reference"


@pytest.mark.parametrize("measure", [language.coco_bleu, language.coco_rouge_l])
def test_items_without_references_are_refused(measure):
    with pytest.raises(ValueError, match="every prediction must have references"):
        measure(["a"], [])
    with pytest.raises(ValueError, match="one or more strings"):
        measure(["a"], [[]])


def test_empty_answers_score_next_to_nothing():
    assert max(language.coco_bleu(["", ""], [["a man walks"], ["he sits"]])) < 1e-6
    assert language.coco_rouge_l([""], [["a man"]]).tolist() == [0.0]
