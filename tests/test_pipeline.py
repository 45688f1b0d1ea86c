"""The MotionGPT pipeline on a tiny real bundle: seeds, batches, lengths, and each refusal."""

from dataclasses import replace

import numpy as np
import pytest

from hftrainer.errors import ArtifactError
from hftrainer.motion.clip import Motion
from hftrainer.pipelines.choosing import APART, fits
from hftrainer.pipelines.motiongpt import MotionGPTPipeline
from tests import tiny


@pytest.fixture(scope="module")
def pipe() -> MotionGPTPipeline:
    return MotionGPTPipeline(tiny.bundle())


def test_same_seed_same_motion_alone_or_in_a_batch(pipe):
    alone = pipe(["a person runs"], [32], seed=7)[0]
    among = pipe(["a person walks forward", "a person runs", "jumps"], [40, 32, 64], seed=7)[1]
    assert np.array_equal(alone.data, among.data)
    third = pipe(["a person runs"], [32], seed=5, samples=3)[2]
    assert np.array_equal(alone.data, third.data)


def test_another_seed_or_prompt_gives_another_motion(pipe):
    base = pipe(["a person runs"], [64], seed=0)[0]
    assert not np.array_equal(base.data, pipe(["a person runs"], [64], seed=1)[0].data)
    assert not np.array_equal(base.data, pipe(["jumps then walks left"], [64], seed=0)[0].data)


@pytest.mark.parametrize("frames", [8, 9, 10, 11, 63, 64])
def test_exactly_the_frames_that_were_asked_for(pipe, frames):
    motion = pipe(["a person walks"], [frames])[0]
    assert motion.data.shape == (frames, 263) and motion.fps == 20 and motion.representation.name == "hml263"


def test_without_a_length_the_model_decides_within_its_range(pipe):
    lengths = {len(pipe(["a person walks"], seed=seed)[0]) for seed in range(8)}
    assert len(lengths) > 1 and all(n % 4 == 0 and 0 < n <= 64 for n in lengths)


def test_the_cards_verb_gives_plain_arrays(pipe):
    arrays = pipe.infer_t2m(["a person walks", "runs"], [16, 24])
    assert [a.shape for a in arrays] == [(16, 263), (24, 263)] and all(a.dtype == np.float32 for a in arrays)
    assert np.array_equal(arrays[0], pipe(["a person walks"], [16])[0].data)


def test_a_motion_says_where_it_came_from(pipe):
    about = pipe(["a zebra walks"], [16], seed=3)[0].about
    assert about["prompt"] == "a zebra walks" and about["seed"] == 3 and about["model"] == "tiny"
    assert about["unknown_words"] == ["zebra"]
    assert isinstance(about["tokens"], list) and len(about["tokens"]) == 4


def test_guidance_changes_what_is_drawn(pipe):
    plain, guided = (pipe(["a person runs"], [64], seed=2, guidance=g)[0] for g in (1.0, 4.0))
    assert not np.array_equal(plain.data, guided.data)


def test_a_motion_is_as_long_as_the_shortest_unless_a_length_is_asked_for(pipe, monkeypatch):
    monkeypatch.setattr(pipe.bundle, "sampling", replace(pipe.bundle.sampling, shortest=38))
    made = pipe(["a person runs", "jumps"], seed=2, samples=4)
    asked = pipe(["jumps"], [8], seed=2)[0]
    monkeypatch.setattr(pipe.bundle, "sampling", replace(pipe.bundle.sampling, shortest=0))
    assert min(map(len, made)) >= 38 and len(asked) == 8
    assert min(map(len, pipe(["a person runs", "jumps"], seed=2, samples=4))) < 38


@pytest.mark.parametrize("wrong", [{"guidance": 0.5}, {"temperature": 0.0}, {"top_p": 1.5}, {"top_k": -1}])
def test_impossible_sampling_is_refused(pipe, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        pipe(["a person runs"], **wrong)


@pytest.mark.parametrize(
    ("prompts", "frames", "says"),
    [
        ([], None, "at least one sentence"),
        (["a person walks", " "], None, "prompt 1 must be a sentence"),
        (["一个人走路"], None, "must be English"),
        (["zebra quagga"], None, "words that the model knows"),
        (["a <motion_id_3>"], None, "plain text"),
        (["a person walks"], [4], r"8 to 64 frames \(0.4 to 3.2 s\); got 4. Nearest: 8"),
        (["a person walks"], [65], "Nearest: 64"),
        (["a person walks"], [8, 8], "one a prompt"),
    ],
)
def test_refusals(pipe, prompts, frames, says):
    with pytest.raises(ValueError, match=says):
        pipe(prompts, frames)


def test_one_string_is_not_a_list_of_prompts(pipe):
    with pytest.raises(TypeError, match="list of sentences"):
        pipe("a person walks")


def test_devices_that_are_not_there_are_refused(tmp_path):
    tiny.bundle().save_pretrained(tmp_path / "artifact")
    with pytest.raises(ValueError, match="device"):
        MotionGPTPipeline.from_pretrained(tmp_path / "artifact", device="abacus")
    with pytest.raises(ArtifactError):
        MotionGPTPipeline.from_pretrained(tmp_path / "gone")


def test_saved_pipeline_gives_the_same_motion(tmp_path, pipe):
    pipe.save_pretrained(tmp_path / "artifact")
    back = MotionGPTPipeline.from_pretrained(tmp_path / "artifact")
    assert np.array_equal(back(["a person runs"], [32], seed=4)[0].data, pipe(["a person runs"], [32], seed=4)[0].data)


def test_tokens_there_and_back(pipe):
    codes = [1, 5, 9, 2, 0]
    motion = pipe.bundle.detokenize(codes)
    assert isinstance(motion, Motion) and len(motion) == 20
    assert len(pipe.bundle.tokenize(motion)) == 5
    with pytest.raises(ValueError, match="0 to 15"):
        pipe.bundle.detokenize([16])


def test_the_best_of_several_candidates_is_kept(pipe):
    said = "a person runs"
    one, = pipe([said], [60], seed=5, candidates=1)
    best, = pipe([said], [60], seed=5, candidates=3)
    assert best.about["seed"] == 5 and best.about["candidates"] == 3 and best.about["chooser"]
    drawn = [pipe([said], [60], seed=(5 + c * APART) % 2**32, candidates=1)[0] for c in range(3)]
    assert len({motion.data.tobytes() for motion in drawn}) == 3
    np.testing.assert_array_equal(drawn[0].data, one.data)
    values = fits(said, drawn)
    place = int(values.argmax())
    assert best.about["candidate"] == place and abs(best.about["fit"] - values[place]) < 1e-3
    np.testing.assert_array_equal(best.data, drawn[place].data)
    among = pipe(["jumps", said], [40, 60], seed=[1, 5], candidates=3)
    np.testing.assert_allclose(among[1].data, best.data, atol=1e-5)


def test_a_motion_fits_the_sentence_that_tells_of_it_better_than_another():
    from hftrainer.models.evaluator import similarity
    from hftrainer.motion.representation.hml263 import joints_to_hml263
    from tests.stick_figure import striding

    ahead, around = (
        Motion(joints_to_hml263(striding(1.2, seconds=4.0, yaw=yaw)), "hml263", fps=20)
        for yaw in (0, np.linspace(0, 180, 81))
    )
    on, turn = (fits(said, [ahead, around]) for said in ("a person walks forward", "a person walks and turns left"))
    assert on[0] > on[1] and turn[1] > turn[0]
    seen = similarity(["a person walks forward"], [ahead, around])[0]
    assert (np.abs(on - seen) <= 1 + 1e-6).all() and (on != seen).all()


def test_nothing_is_chosen_without_a_sentence_or_a_draw(pipe):
    free, = pipe([None], [40], seed=1, candidates=3)
    sure, = pipe(["a person walks"], [40], candidates=3, greedy=True)
    assert "chooser" not in free.about and "chooser" not in sure.about
    with pytest.raises(ValueError, match="candidates must be at least 1; got 0"):
        pipe(["a person walks"], [40], candidates=0)
