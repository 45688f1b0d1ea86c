"""Embeddings kept by content: found again bit for bit, and never for other motions, words, networks or ways to read."""

import numpy as np
import pytest
import torch

from hftrainer.evaluation.cache import content_hash, keep_encodings
from hftrainer.models.evaluator import Evaluator, EvaluatorConfig, TextMotionEvaluator, WordVectors
from hftrainer.motion.clip import Motion

CONFIG = EvaluatorConfig(6, 15, 8, 7, 263, 10, 9, 11)
SENTENCES = [("a/DET", "person/NOUN", "walk/VERB"), ("walk/VERB",)]


def evaluator(seed=0, mean=0.0, words=0):
    torch.manual_seed(seed)
    vectors = WordVectors(
        ["unk", "sos", "eos", "a", "person", "walk"], np.random.default_rng(words).normal(size=(6, 6))
    )
    return Evaluator(TextMotionEvaluator(CONFIG).eval(), vectors, np.full(263, mean), np.ones(263))


def motion(frames, seed):
    return Motion(np.random.default_rng(seed).normal(size=(frames, 263)), "hml263", fps=20)


MOTIONS = [motion(24, 1), motion(40, 2)]


@pytest.fixture
def counted(tmp_path, monkeypatch):
    """An evaluator with a cache, and what it was really asked to encode."""
    plain, asked = evaluator(), []

    def counting(method):
        def call(items, *words, **more):
            asked.append(len(items))
            return method(items, *words, **more)

        return call

    for name in ("texts", "motions"):
        monkeypatch.setattr(plain, name, counting(getattr(plain, name)))
    return keep_encodings(plain, tmp_path / "cache"), asked, tmp_path / "cache"


def test_the_second_time_nothing_is_encoded(counted):
    kept, asked, folder = counted
    first = kept.motions(MOTIONS), kept.texts(SENTENCES)
    again = kept.motions(list(MOTIONS)), kept.texts(list(SENTENCES))
    assert asked == [2, 2] and len(list(folder.iterdir())) == 2
    plain = evaluator()
    for got, same, fresh in zip(first, again, (plain.motions(MOTIONS), plain.texts(SENTENCES)), strict=True):
        assert np.array_equal(got, same) and np.array_equal(got, fresh) and got.dtype == fresh.dtype


def test_other_content_is_encoded_anew(counted):
    kept, asked, _ = counted
    nudged = MOTIONS[1].data.copy()
    nudged[-1, -1] = np.nextafter(nudged[-1, -1], 9)
    calls = [
        lambda: kept.motions(MOTIONS), lambda: kept.motions(MOTIONS[::-1]), lambda: kept.motions(MOTIONS[:1]),
        lambda: kept.motions([MOTIONS[0], MOTIONS[1].replace(data=nudged)]), lambda: kept.motions(MOTIONS, "packed"),
        lambda: kept.motions(MOTIONS, "packed", frames=196), lambda: kept.texts(SENTENCES),
        lambda: kept.texts([SENTENCES[0] + SENTENCES[1]]),
    ]  # fmt: skip
    for number, call in enumerate(calls, 1):
        call()
        assert len(asked) == number
    for call in calls:
        call()
    assert len(asked) == len(calls)


def test_other_evaluators_have_files_of_their_own(tmp_path):
    kinds = [evaluator(), evaluator(seed=1), evaluator(mean=0.5), evaluator(words=1)]
    assert len({content_hash(kind) for kind in kinds}) == len(kinds)
    assert content_hash(evaluator()) == content_hash(evaluator())
    for number, kind in enumerate(kinds, 1):
        points = keep_encodings(kind, tmp_path).motions(MOTIONS)
        assert np.array_equal(points, kind.motions(MOTIONS)) and len(list(tmp_path.iterdir())) == number


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", b"no array"])
def test_a_damaged_file_is_made_again(counted, damage):
    kept, asked, folder = counted
    first = kept.motions(MOTIONS)
    (file,) = folder.iterdir()
    good = file.read_bytes()
    file.write_bytes(damage)
    assert np.array_equal(kept.motions(MOTIONS), first) and asked == [2, 2] and file.read_bytes() == good
    np.save(file, first[:1])
    assert np.array_equal(kept.motions(MOTIONS), first) and asked == [2, 2, 2]


def test_what_fails_leaves_no_file(counted):
    kept, _, folder = counted
    with pytest.raises(ValueError):
        kept.motions([motion(3, 0)])
    assert not folder.exists() or not list(folder.iterdir())
