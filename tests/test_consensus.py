"""Captions chosen among several: what most of them say wins, a motion's fit counts, company changes nothing."""

import numpy as np
import pytest

from hftrainer.data.humanml3d import Caption
from hftrainer.errors import NoRouteError
from hftrainer.evaluation.captioning import lemmatiser, nearest_captions, references
from hftrainer.evaluation.population import Sample
from hftrainer.motion.clip import Motion
from hftrainer.pipelines import consensus
from hftrainer.pipelines.consensus import agreement, alike, best_caption
from hftrainer.pipelines.motiongpt import MotionGPTPipeline

STILL = Motion(np.zeros((40, 263)), "hml263", fps=20)


def test_likeness_is_symmetric_and_between_nothing_and_all():
    texts = ["a man walks forward", "a man walks", "she sits down on a chair", "walks", ""]
    table = np.array([[alike(one, two) for two in texts] for one in texts])
    assert np.array_equal(table, table.T) and table.min() == 0 and table.max() == 1
    assert np.diag(table)[:4].tolist() == [1, 1, 1, 1] and table[0, 1] > table[0, 3] > table[0, 2]


def test_agreement_decides_where_all_fit_alike(monkeypatch):
    monkeypatch.setattr(consensus, "similarity", lambda texts, motions: np.zeros((len(texts), 1)))
    said = ["she sits", "a man walks ahead", "a man walks forward", "a man walks forward quickly"]
    assert best_caption(said, STILL) == "a man walks forward"
    assert agreement(said).argmin() == 0


def test_fit_decides_where_agreement_does_not(monkeypatch):
    def second(texts, motions):
        assert motions == [STILL]
        return np.array([[0.1], [0.6]])

    monkeypatch.setattr(consensus, "similarity", second)
    assert best_caption(["she sits", "he walks"], STILL) == "he walks"


def test_without_a_road_to_the_evaluator_agreement_is_enough(monkeypatch):
    def none(texts, motions):
        raise NoRouteError("no road")

    monkeypatch.setattr(consensus, "similarity", none)
    assert best_caption(["she sits", "he walks", "he walks on"], STILL) != "she sits"
    with pytest.raises(ValueError, match="captions must hold at least 1 sentence"):
        best_caption([], STILL)


def test_the_pipeline_chooses_one_of_its_own_candidates_alone_as_among_others():
    pipe = MotionGPTPipeline.from_pretrained()
    clips = pipe(["a person walks forward", "a person waves"], [64, 48], seed=3)
    drawn = pipe.infer_m2t(clips, seed=5, candidates=4)
    chosen = pipe.infer_m2t(clips, seed=5, best_of=4)
    assert all(one in several for one, several in zip(chosen, drawn, strict=True))
    assert pipe.infer_m2t(clips[1:], seed=5, best_of=4) == chosen[1:]
    for wrong in ({"best_of": 0}, {"best_of": 2, "candidates": 2}):
        with pytest.raises(ValueError, match="best_of must be at least 1"):
            pipe.infer_m2t(clips, **wrong)


def test_base_forms_are_those_of_the_datasets_columns():
    told = [
        Caption("A man walks left.", ("a/DET", "man/NOUN", "walk/VERB", "leave/VERB"), 0, 0),
        Caption("He is walking, slowly.", ("he/PRON", "be/AUX", "walk/VERB", "slowly/ADV"), 0, 0),
        Caption("words that do not pair", ("no/DET",), 0, 0),
    ]
    base = lemmatiser(told)
    assert base is not None and base(["She", "walks", "left", "is", "walking"]) == ["She", "walk", "left", "is", "walk"]
    assert references(told[:1], "processed", base) == ["A man walk left"]
    assert lemmatiser([Caption("he walks", ("he/PRON", "walks/VERB"), 0, 0)]) is None


def test_a_baseline_of_strangers_looks_nothing_up_from_the_same_performer():
    def sample(name, level, text):
        return Sample(name, Motion(np.full((40, 263), level, np.float32), "hml263", fps=20), (Caption(text, (), 0, 0),))

    known = [sample("cmu_07_01", 1.0, "own"), sample("Mcmu_08_01", 2.0, "other"), sample("000021", 9.0, "far")]
    asked, std = [sample("Mcmu_07_02_00000_00040", 1.1, "")], np.ones(263)
    assert nearest_captions(asked, known, std) == ["own"]
    assert nearest_captions(asked, known, std, strangers=True) == ["other"]
