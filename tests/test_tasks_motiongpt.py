"""MotionGPT's tasks: what is kept stays as it was and where it was, what is hidden stays hidden, failures are named."""

import json
from pathlib import Path

import numpy as np
import pytest

from hftrainer.bench import moving_body
from hftrainer.cli import main
from hftrainer.errors import GenerationError
from hftrainer.motion import Motion
from hftrainer.motion.files import load, save
from hftrainer.motion.representation.hml263 import hml263_to_joints, joints_to_hml263, recover_root
from hftrainer.pipelines import gaps, instructions, speech
from hftrainer.pipelines.decoding import Spoken
from hftrainer.pipelines.gaps import medoid
from hftrainer.pipelines.instructions import Line, follow, read_lines
from hftrainer.pipelines.joining import Place, complete, place_of
from hftrainer.pipelines.motiongpt import MotionGPTPipeline
from tests import tiny

CODES = 16


@pytest.fixture(scope="module")
def pipe() -> MotionGPTPipeline:
    return MotionGPTPipeline(tiny.bundle(CODES))


@pytest.fixture(scope="module")
def clip() -> Motion:
    return Motion(joints_to_hml263(moving_body(61, seed=4)), "hml263", 20, name="clip")


@pytest.fixture
def released() -> MotionGPTPipeline:
    """A pipeline whose model says what it likes, as one with the released weights does."""
    bundle = tiny.bundle(CODES)
    bundle.prompts = "official"
    return MotionGPTPipeline(bundle)


def asked(pipe, monkeypatch):
    """What is said to the model from now on."""
    texts = []
    ids = pipe.speech.ids
    monkeypatch.setattr(pipe.speech, "ids", lambda text: texts.append(text) or ids(text))
    return texts


def says(monkeypatch, *answers):
    """Make the model answer with these token ids."""
    monkeypatch.setattr(speech, "speak", lambda *_, **__: [Spoken(tuple(a), True) for a in answers])


# ---------------------------------------------------------------------------------------------- text to motion


@pytest.mark.parametrize(
    ("mode", "frames", "prompt", "said"),
    [
        (None, None, "a person walks", "generate motion: a person walks"),
        (None, [30], "a person walks", "generate motion with 32 frames: a person walks"),
        (None, [30], None, "generate motion with 32 frames:"),
        (None, None, None, "generate motion:"),
        ("official_nolen", [32], "a person walks", "Generate motion: a person walks"),
        ("official_len", [32], "a person walks", "Generate motion with 32 frames: a person walks"),
        ("direct", [32], "walks left", "walks left"),
    ],
)
def test_what_the_model_is_asked(pipe, monkeypatch, mode, frames, prompt, said):
    texts = asked(pipe, monkeypatch)
    motion = pipe([prompt], frames, prompt_mode=mode)[0]
    assert texts == [said]
    assert frames is None or len(motion) == frames[0]
    assert motion.about["prompt"] == prompt


def test_a_released_model_is_told_the_frames_as_they_are(released, monkeypatch):
    texts = asked(released, monkeypatch)
    released.attempts(["a person walks"], [30])
    released.attempts(["a person walks"])
    assert texts == ["Generate motion with 30 frames: a person walks", "Generate motion: a person walks"]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"prompt_mode": "officialnolen"}, "own, official_nolen, official_len, direct; got 'officialnolen'"),
        ({"prompt_mode": "official_len"}, "frames must be said"),
        ({"top_k": -1}, "top_k"),
    ],
)
def test_wrong_ways_to_ask(pipe, wrong, says):
    with pytest.raises(ValueError, match=says):
        pipe(["a person walks"], **wrong)


def test_direct_needs_words_and_placeholders_need_a_motion(pipe):
    with pytest.raises(ValueError, match="must all be sentences"):
        pipe([None], prompt_mode="direct")
    with pytest.raises(ValueError, match="placeholder"):
        pipe(["a <Motion_Placeholder> walks"])


def test_greedy_needs_no_seed(pipe):
    one, other = (pipe(["a person walks"], [32], seed=s, greedy=True)[0] for s in (0, 9))
    assert np.array_equal(one.data, other.data)


def test_an_answer_of_a_released_model_is_read(released, monkeypatch):
    first = released.bundle.language_model.config.first_motion
    motion = [first + CODES, first + 3, first + 5, first + CODES + 1]
    words = released.bundle.text.encode("a person walks").ids
    says(monkeypatch, [*words, *motion])
    (made,) = released(["a person walks"])
    assert made.about["tokens"] == [3, 5] and len(made) == 8
    assert made.about["said"] == "a person walks <Motion_Placeholder>"
    says(monkeypatch, [first + CODES, *[first + 1] * 5, first + CODES + 1])
    assert len(released(["a person walks"], [10])[0]) == 10


MALFORMED = {
    "words only": ["words"],
    "no end": ["start", 3, 4],
    "nothing between": ["start", "end"],
    "a word between": ["start", 3, "words", 4, "end"],
    "a mask": ["start", 3, "mask", "end"],
}


@pytest.mark.parametrize("answer", MALFORMED.values(), ids=MALFORMED)
def test_an_answer_that_is_no_motion_is_a_failure(released, monkeypatch, answer):
    first = released.bundle.language_model.config.first_motion
    marks = {"start": first + CODES, "end": first + CODES + 1, "mask": first + CODES + 2,
             "words": released.bundle.text.token_to_id("walks")}  # fmt: skip
    tokens = [marks.get(token, 0) if isinstance(token, str) else first + token for token in answer]
    good = [first + CODES, first + 3, first + CODES + 1]
    says(monkeypatch, good, tokens)
    kept, failed = released.attempts(["a person walks", "jumps"])
    assert isinstance(kept, Motion) and isinstance(failed, GenerationError)
    assert "prompt 1" in str(failed) and ("walks" in str(failed) or "motion_id" in str(failed))
    with pytest.raises(GenerationError, match="prompt 1"):
        released(["a person walks", "jumps"])


# ---------------------------------------------------------------------------------------------- motion to text


def test_captions_are_words_alone_and_in_a_batch(pipe, clip, monkeypatch):
    texts = asked(pipe, monkeypatch)
    words = pipe.infer_m2t([clip[:40], clip, clip[3:50]])
    assert all(isinstance(w, str) and w and "motion_id" not in w and "<" not in w for w in words)
    assert words[1] == pipe.infer_m2t([clip])[0] == pipe.infer_m2t([clip], seed=5)[0]
    assert all(t.startswith(f"generate text: <motion_id_{CODES}><motion_id_") for t in texts)


def test_several_captions_are_drawn(pipe, clip):
    several = pipe.infer_m2t([clip, clip[:32]], candidates=4, seed=1)
    assert [len(row) for row in several] == [4, 4] and len(set(several[0])) > 1
    assert several[1] == pipe.infer_m2t([clip[:32]], candidates=4, seed=1)[0]


def test_questions_and_lengths(pipe, clip, monkeypatch):
    texts = asked(pipe, monkeypatch)
    pipe.infer_m2t([clip], frames_in_prompt=True)
    pipe.infer_m2t([clip], instruction="frames in <motion>")
    assert texts[0].startswith("generate text with 60 frames: <motion_id_16>")
    assert texts[1].startswith("frames in <motion_id_16>")


def test_captions_take_joints_and_arrays(pipe, clip):
    joints = Motion(moving_body(61, seed=4), "joints", 20)
    assert pipe.infer_m2t([joints]) == pipe.infer_m2t([clip]) == pipe.infer_m2t([clip.data])


@pytest.mark.parametrize("frames, nearest", [(3, "Nearest: 4"), (70, "Nearest: 64")])
def test_captions_refuse_what_the_model_cannot_read(pipe, frames, nearest):
    with pytest.raises(ValueError, match=f"4 to 64 frames; got {frames}. {nearest}"):
        pipe.infer_m2t([np.zeros((frames, 263), np.float32)])


def test_no_words_are_a_failure(released, clip, monkeypatch):
    first = released.bundle.language_model.config.first_motion
    for answer in ([], [first + 3]):
        says(monkeypatch, answer)
        with pytest.raises(GenerationError, match="motion 0"):
            released.infer_m2t([clip])


def test_words_of_many_instructions_come_together_and_those_that_fail_alone(released, clip, monkeypatch):
    """Each line has its own question; an answer that is none is counted in its place, and loses no other."""
    first = released.bundle.language_model.config.first_motion
    calls = []

    def speak(network, requests, *_, **__):
        calls.append(requests)
        return [Spoken((first + 3,) if at == 1 else (released.bundle.text.token_to_id("walks"),), True)
                for at in range(len(requests))]  # fmt: skip

    monkeypatch.setattr(speech, "speak", speak)
    here, gone = (Path("clip.npy"),), (Path("gone.npy"),)
    lines = [Line(0, "what is <motion>", here), Line(1, "say <motion>", here), Line(2, "frames in <motion>", gone),
             Line(3, "a person left"), Line(4, "what is <motion>")]  # fmt: skip
    monkeypatch.setattr(instructions, "load", lambda file: clip if file.name == "clip.npy" else load(file))
    done = list(follow(released, lines, "m2t"))
    assert [len(requests) for requests in calls] == [3]
    assert [outcome.text for outcome in done if outcome.problem is None] == ["walks", "walks"]
    assert [outcome.line.number for outcome in done if outcome.problem is not None] == [1, 2, 4]
    assert "motion_id_3" in done[1].problem and "gone.npy" in done[2].problem and "codes" in done[4].problem


# ---------------------------------------------------------------------------------------------- prediction


@pytest.mark.parametrize("keep, kept", [(0.2, 12), (0.35, 21), (0.01, 1), (0.05, 3)])
def test_the_kept_start_stays(pipe, clip, keep, kept):
    made = pipe.predict(clip, keep=keep)
    assert len(made) == 60 and made.about["kept"] == [kept, 0]
    assert np.array_equal(made.data[:kept], clip.data[:kept])
    assert not np.array_equal(made.data[kept:], clip.data[kept:])
    assert np.array_equal(hml263_to_joints(made.data)[:kept], hml263_to_joints(clip.data)[:kept])


def test_prediction_reads_nothing_of_what_is_hidden(pipe, clip):
    hidden = clip.data.copy()
    hidden[21:] = np.random.default_rng(0).normal(size=hidden[21:].shape)
    one, other = (pipe.predict(c, keep=0.35, seed=3) for c in (clip, clip.replace(data=hidden)))
    assert np.array_equal(one.data, other.data)


def test_prediction_lengths(pipe, clip):
    assert len(pipe.predict(clip, keep_seconds=1.0, frames=33)) == 33
    assert len(pipe.predict(clip[:20], keep=1.0, frames=47)) == 47
    assert len(pipe.predict(clip[:20], keep=1.0)) > 20
    long = Motion(np.tile(clip.data, (3, 1)), "hml263", 20)  # 180 frames, of which the last are read
    assert len(pipe.predict(long, keep=1.0, frames=200)) == 200
    for wrong, said in (
        ({"keep": 0.0}, "share above 0"),
        ({"keep": 1.2}, "share above 0"),
        ({"keep_seconds": 4.0}, "at most 3; got 4"),
        ({"frames": 12}, "above the 12 that are kept"),
        ({"frames": 90}, "up to 64 frames at once; got 78"),
    ):
        with pytest.raises(ValueError, match=said):
            pipe.predict(clip, **wrong)


def test_prediction_with_a_caption_goes_on_with_its_motion(pipe, clip, monkeypatch):
    texts = asked(pipe, monkeypatch)
    made = pipe.predict(clip, keep=0.2, caption="a person jumps")
    assert texts == ["generate motion with 60 frames: a person jumps"] and made.about["prompt"] == "a person jumps"
    assert np.array_equal(made.data[:12], clip.data[:12])
    with pytest.raises(ValueError, match="words that the model knows"):
        pipe.predict(clip, caption="zebra")


def test_prediction_alone_and_in_a_batch(pipe, clip):
    arrays = pipe.infer_prediction([clip, clip[10:50], clip[5:]], keep=0.3, seed=2)
    assert [a.shape for a in arrays] == [(60, 263), (40, 263), (55, 263)]
    assert np.array_equal(arrays[1], pipe.predict(clip[10:50], keep=0.3, seed=2).data)
    assert not np.array_equal(arrays[1], pipe.predict(clip[10:50], keep=0.3, seed=3).data)


def test_an_own_instruction_holds_what_is_kept(pipe, clip, monkeypatch):
    texts = asked(pipe, monkeypatch)
    pipe.predict(clip, keep=0.2, instruction="walks on from <Motion_Placeholder_s1> <Frame_Placeholder>")
    assert texts[0].startswith("walks on from <motion_id_16>") and texts[0].count("motion_id") == 5
    assert texts[0].endswith(" 60")
    with pytest.raises(ValueError, match="must be given caption"):
        pipe.predict(clip, instruction="<Caption_Placeholder>")


# ---------------------------------------------------------------------------------------------- candidates


def test_the_candidate_that_is_most_like_the_others(pipe, clip):
    """Candidate ``c`` of ``n`` is what a single one with the seed ``seed * n + c`` would be."""
    for make in (pipe.predict, pipe.inbetween):
        alone = [make(clip, seed=6 + c, candidates=1) for c in range(3)]
        assert len({motion.data.tobytes() for motion in alone}) == 3
        bodies = [hml263_to_joints(motion.data) for motion in alone]
        apart = [sum(np.linalg.norm((a - b).reshape(60, -1), axis=1).mean() for b in bodies) for a in bodies]
        chosen = make(clip, seed=2, candidates=3)
        assert np.array_equal(chosen.data, alone[int(np.argmin(apart))].data)
        assert (chosen.about["gap_candidates"], chosen.about["seed"]) == (3, 2)
        assert chosen.about["tokens"] == alone[int(np.argmin(apart))].about["tokens"]
    assert pipe.predict(clip, greedy=True).about["gap_candidates"] == 1
    assert pipe.predict(clip, seed=2**63 - 1).about["seed"] == 2**63 - 1
    with pytest.raises(ValueError, match="gap_candidates must be at least 1; got 0"):
        pipe.predict(clip, candidates=0)


def test_candidates_of_one_gap_are_decoded_together_and_the_chosen_one_alone(pipe, clip, monkeypatch):
    """So the company of a gap changes neither the choice nor the motion: each gap's batch is its own candidates."""
    decode, batches = pipe.bundle.motion_tokenizer.decode, []
    monkeypatch.setattr(
        pipe.bundle.motion_tokenizer, "decode", lambda tokens: batches.append(tuple(tokens.shape)) or decode(tokens)
    )
    company = pipe.infer_prediction([clip, clip[10:50]], candidates=5, seed=2)
    assert batches == [(5, 15), (1, 15), (5, 10), (1, 10)]
    assert np.array_equal(company[1], pipe.predict(clip[10:50], candidates=5, seed=2).data)


def test_motions_of_tokens_are_the_same_together_and_alone(pipe):
    """Rows of several lengths, more of one length than go into one batch; features within 1e-6 of a unit."""
    rng = np.random.default_rng(3)
    rows = [rng.integers(0, CODES, length).tolist() for length in [7] * 20 + [1, 12, 7, 12]]
    together = pipe.bundle.detokenize_together(rows)
    assert [len(motion) for motion in together] == [4 * len(row) for row in rows]
    for motion, row in zip(together, rows, strict=True):
        np.testing.assert_allclose(motion.data, pipe.bundle.detokenize(row).data, atol=1e-6, rtol=1e-6)
    for wrong in ([], [3, CODES]):
        with pytest.raises(ValueError, match="codes must be one or more of 0 to 15"):
            pipe.bundle.detokenize_together([[1, 2], wrong])


def test_candidates_and_temperature_are_the_artifacts_own(pipe, clip):
    assert pipe.predict(clip).about["temperature"] == pipe.bundle.sampling.gap_temperature
    assert pipe.predict(clip, temperature=0.4).about["temperature"] == 0.4
    assert np.array_equal(pipe.predict(clip).data, pipe.predict(clip, candidates=16, temperature=1.0).data)
    assert np.array_equal(
        pipe.infer_inbetween([clip], candidates=2)[0], pipe.infer_inbetween([clip, clip[:40]], candidates=2)[0]
    )


def test_the_medoid_of_motions_of_several_lengths():
    bodies = [np.full((frames, 2, 3), place) for frames, place in ((9, 0.0), (4, 5.0), (6, 1.0))]
    assert medoid(bodies) == 2 and medoid(bodies[:1]) == 0


def test_what_is_kept_is_what_was_said(pipe, released, clip, monkeypatch):
    """A model of ours goes on with what is kept as if it had said it; a released one is only shown it."""
    said = []
    speak = gaps.speak
    monkeypatch.setattr(gaps, "speak", lambda net, asked, *rest: said.append(asked) or speak(net, asked, *rest))
    for one in (pipe, released):
        one.predict(clip, keep=0.4, candidates=2)
    codes = pipe.bundle.tokenize(clip[:24])
    first = pipe.bundle.language_model.config.first_motion
    assert [len(requests) for requests in said] == [2, 2]
    assert all(request.prefix == (pipe.bundle.start, *(first + code for code in codes)) for request in said[0])
    assert all(request.prefix == (released.bundle.start,) for request in said[1])


# ---------------------------------------------------------------------------------------------- in-between


def stands(features: np.ndarray, frame: int) -> tuple[np.ndarray, float]:
    """Root position in metres and heading in degrees of a frame in the world."""
    quats, path = recover_root(features)
    heading = np.degrees(2 * np.arctan2(quats[frame, 2], quats[frame, 0]))
    return path[frame], (heading + 180) % 360 - 180


@pytest.mark.parametrize("keep, kept", [((0.25, 0.25), (15, 15)), ((0.1, 0.4), (6, 24)), ((0.01, 0.01), (1, 1))])
def test_the_kept_ends_stay_as_and_where_they_were(pipe, clip, keep, kept):
    made = pipe.inbetween(clip, keep=keep, seed=1)
    front, back = kept
    assert len(made) == 60 and made.about["kept"] == [front, back]
    assert np.array_equal(made.data[:front], clip.data[:front])
    assert np.array_equal(made.data[-back:], clip.data[-back:])
    assert not np.array_equal(made.data[front:-back], clip.data[front:-back])
    before, after = hml263_to_joints(clip.data), hml263_to_joints(made.data)
    assert np.abs(after[-back:] - before[-back:]).max() < 1e-3
    for frame in (-back, -1):
        (was, faced), (stood, faces) = stands(clip.data, frame), stands(made.data, frame)
        assert np.linalg.norm(stood - was) < 0.001 and abs((faces - faced + 180) % 360 - 180) < 0.1


def test_inbetween_reads_nothing_of_what_is_hidden_but_where_it_ends(pipe, clip):
    hidden = clip.data.copy()
    hidden[15:45, 3:] = np.random.default_rng(0).normal(size=(30, 260))
    one, other = (pipe.inbetween(c, seed=3) for c in (clip, clip.replace(data=hidden)))
    assert np.array_equal(one.data, other.data)
    straight = clip.data.copy()
    straight[:, :3] = 0
    straight[20, 1:3] = 0.5
    detour = straight.copy()
    detour[20, 1:3] = 0
    detour[30:32, 1:3] = 0.25  # another way to the same place
    one, other = (pipe.inbetween(clip.replace(data=d), seed=3) for d in (straight, detour))
    assert np.array_equal(one.data, other.data)
    detour[30, 1] = 0.75  # to another place
    assert not np.array_equal(one.data, pipe.inbetween(clip.replace(data=detour), seed=3).data)


def test_two_clips_are_joined(pipe, clip):
    first, second = clip[:30], clip[30:55]
    made = pipe.inbetween(first, second, gap=0.7)
    assert len(made) == 30 + 14 + 25
    assert np.array_equal(made.data[:30], first.data) and np.array_equal(made.data[44:], second.data)
    placed = pipe.inbetween(first, second, gap=0.7, place=Place(1.0, -0.5, 2.5))
    where, heading = stands(placed.data, 44)
    assert np.allclose(where[[0, 2]], [1.0, -0.5], atol=1e-3) and abs(heading - np.degrees(2.5)) < 0.1
    long = Motion(np.tile(clip.data, (2, 1)), "hml263", 20)
    assert len(pipe.inbetween(long, long, gap=2.0)) == 280


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"keep": (0.5, 0.5)}, "30 \\+ 30 of 60 kept"),
        ({"keep": (0.0, 0.5)}, "share above 0"),
        ({"gap": 1.0}, "second motion"),
        ({"place": Place(0, 0, 0)}, "second motion"),
    ],
)
def test_impossible_gaps(pipe, clip, wrong, said):
    with pytest.raises(ValueError, match=said):
        pipe.inbetween(clip, **wrong)


def test_impossible_joins(pipe, clip):
    for gap, said in ((None, "seconds between"), (0.01, "at least 0.05"), (10.0, "up to 64 frames at once; got 200")):
        with pytest.raises(ValueError, match=said):
            pipe.inbetween(clip, clip, gap=gap)


def test_settings_of_gaps_that_are_none_are_refused(pipe, clip):
    with pytest.raises(ValueError, match="caption must be left out of an in-between"):
        pipe.inbetween(clip, caption="a person jumps")
    with pytest.raises(ValueError, match="caption must be left out of an in-between"):
        pipe.infer_inbetween([clip, clip], captions=[None, "a person jumps"])
    with pytest.raises(ValueError, match="seed must be a whole number; got none"):
        pipe.predict(clip, seed=None)
    with pytest.raises(TypeError, match="temprature"):
        pipe.predict(clip, temprature=0.5)


def test_an_own_instruction_shows_both_ends(pipe, clip, monkeypatch):
    texts = asked(pipe, monkeypatch)
    pipe.inbetween(clip, instruction="walks through <Motion_Placeholder_Masked>", candidates=1)
    assert texts[0].startswith("walks through <motion_id_16>") and texts[0].count(f"<motion_id_{CODES + 2}>") == 8


def test_inbetween_arrays(pipe, clip, monkeypatch):
    texts = asked(pipe, monkeypatch)
    arrays = pipe.infer_inbetween([clip, clip[:41]], seed=2)
    assert [a.shape for a in arrays] == [(60, 263), (41, 263)]
    assert texts[0].count(f"<motion_id_{CODES + 2}>") == 8  # 30 frames
    assert np.array_equal(arrays[1], pipe.inbetween(clip[:41], seed=2).data)


# ---------------------------------------------------------------------------------------------- seams


def test_a_seam_is_blended_and_measured(clip):
    head, made, tail = clip.data[:10], clip.data[10:50] + 0.0, clip.data[50:]
    assert np.allclose(complete(head, made, tail, place=place_of(clip.data, 50))[10:50, :259], made[:, :259], atol=1e-4)
    shifted = made + np.eye(263, dtype=np.float32)[10] * 0.2  # one joint is 20 cm off in the made frames
    before, after = (clip.data[i] + np.eye(263)[10] * 0.2 for i in (9, 50))
    whole = complete(head, shifted, tail, before=before, after=after)
    error = np.abs(whole[10:50, 10] - made[:, 10])
    assert error[0] < 0.01 and error[-1] < 0.01 and error[20] > 0.19
    joints = hml263_to_joints(whole)
    quats, _ = recover_root(whole)
    angle = 2 * np.arctan2(quats[25, 2], quats[25, 0])
    step = joints[26, 7] - joints[25, 7]
    ahead = [np.cos(angle) * step[0] + np.sin(angle) * step[2], step[1],
             np.cos(angle) * step[2] - np.sin(angle) * step[0]]  # fmt: skip
    assert np.allclose(whole[25, 193 + 21 : 193 + 24], ahead, atol=1e-5)


@pytest.mark.parametrize("frames", [1, 2, 3, 40])
def test_any_gap_lands(clip, frames):
    rng = np.random.default_rng(frames)
    made = clip.data[:frames] + rng.normal(size=(frames, 263)).astype(np.float32) * 0.02
    whole = complete(clip.data[:20], made, clip.data[20:], place=Place(-2.0, 3.0, 3.0))
    where, heading = stands(whole, 20 + frames)
    assert np.allclose(where[[0, 2]], [-2, 3], atol=1e-4) and abs((heading - np.degrees(3.0) + 180) % 360 - 180) < 0.01


# ---------------------------------------------------------------------------------------------- instructions, commands


@pytest.fixture(scope="module")
def artifact(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("model") / "artifact"
    tiny.bundle(CODES).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def place(tmp_path, clip, monkeypatch):
    """A folder with motions, and the place to work in."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips").mkdir()
    np.save(tmp_path / "clips" / "clip.npy", clip.data)
    save(Motion(moving_body(49, seed=2), "joints", 20), tmp_path / "walk.npz")
    save(Motion(moving_body(60, seed=2), "joints", 30), tmp_path / "quick.npz")
    return tmp_path


def test_lines_with_attachments(place, pipe):
    (place / "clips" / "demo.txt").write_text(
        "a person walks\n\nwalks in <Frame_Placeholder> frames like <motion>#clip.npy\n"
        "take #2 of a person\nwalks#none.npy\nwalks left <Motion_Placeholder>\n"
    )
    lines = read_lines(place / "clips" / "demo.txt")
    assert [line.text for line in lines][2] == "take #2 of a person" and lines[1].files[0].name == "clip.npy"
    done = list(follow(pipe, lines, "t2m", seed=3))
    assert [o.motion is not None for o in done] == [True, True, True, False, False]
    assert np.array_equal(done[0].motion.data, pipe(["a person walks"], seed=3, prompt_mode="direct")[0].data)
    assert "none.npy" in done[3].problem and "codes" in done[4].problem
    assert done[1].given is not None and done[0].text == "<Motion_Placeholder>"


@pytest.mark.parametrize(
    ("task", "text"),
    [
        ("t2m", "generate motion: a person walks"),
        ("m2t", "generate text: <Motion_Placeholder>"),
        ("pred", "predict motion: <Motion_Placeholder_s1>"),
        ("inbetween", "generate motion <Motion_Placeholder_Masked>"),
    ],
)
def test_the_batch_demo(place, artifact, task, text, capsys, clip):
    (place / "demos.txt").write_text(f"{text}#clips/clip.npy\n{text}#clips/gone.npy\n")
    words = ["generate", "--prompts", "demos.txt", "--task", task, "--model", artifact, "-o", "out"]
    assert main([*words, "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["failed"] == 1 and "gone.npy" in report["instructions"][1]["problem"]
    names = {"0_in.npy", "0_in.txt", "0_out.txt"} | ({"0_out.npy"} if task != "m2t" else set())
    assert {path.name for path in (place / "out").iterdir()} == names
    given = np.load(place / "out" / "0_in.npy")
    assert given.shape == (1, 60, 22, 3) and given.dtype == np.float32
    assert (place / "out" / "0_in.txt").read_text() == text + "\n" and (place / "out" / "0_out.txt").read_text().strip()
    if task != "m2t":
        out = np.load(place / "out" / "0_out.npy")
        assert out.shape[0] == 1 and out.shape[2:] == (22, 3)
    if task in ("pred", "inbetween"):  # 15 codes: 3 of them are shown, or all but 3 to 9
        assert out.shape == given.shape and np.array_equal(out[0, :12], given[0, :12])
        assert not np.array_equal(out[0, 12:24], given[0, 12:24])
    if task == "inbetween":
        assert np.abs(out[0, 36:] - given[0, 36:]).max() < 1e-3
    assert main([*words[:-1], "again"]) == 1
    assert "1 done, 1 failed" in capsys.readouterr().out


REFUSED = {
    "no such task": (["--task", "t2n", "--prompts", "p.txt", "-o", "out"], "Did you mean 't2m'?"),
    "no instructions": (["--task", "t2m", "-o", "out"], "--prompts FILE"),
    "absent": (["--task", "t2m", "--prompts", "none.txt", "-o", "out"], "none.txt must be a text file"),
    "no folder": (["--task", "t2m", "--prompts", "p.txt"], "-o DIR"),
    "lengths": (["--task", "t2m", "--prompts", "p.txt", "--seconds", "3", "-o", "out"], "--seconds must be left out"),
}


@pytest.mark.parametrize("words, said", REFUSED.values(), ids=REFUSED)
def test_wrong_batch_demos(place, words, said, capsys):
    (place / "p.txt").write_text("a person walks\n")
    assert main(["generate", *words]) == 2
    assert said in capsys.readouterr().err and not (place / "out").exists()


def test_any_motion_on_the_command_line(place, artifact, pipe, capsys):
    assert main(["generate", "--random", "--frames", "40", "--model", artifact, "--seed", "3", "-o", "any.npz"]) == 0
    made = load(place / "any.npz")
    assert np.array_equal(made.data, pipe([None], [40], seed=3)[0].data) and made.about["prompt"] is None
    for wrong in (["walks", "--random"], ["--random", "--task", "t2m", "--prompts", "x"]):
        assert main(["generate", *wrong, "--model", artifact, "-o", "x.npz"]) == 2
        assert "--random" in capsys.readouterr().err


def test_an_answer_that_is_none_is_counted_and_loses_no_other(place, artifact, pipe, capsys, monkeypatch):
    def answer(self, said, what):
        if said.tokens == lost:
            raise GenerationError(f"{what}: the answer must hold motion tokens; got 'a person'.")
        return whole(self, said, what)

    spoken, speak = [], speech.speak
    monkeypatch.setattr(speech, "speak", lambda *a, **k: spoken.extend(found := speak(*a, **k)) or found)
    pipe(["a person jumps"], [40], seed=0, candidates=1)
    lost, whole = spoken[0].tokens, speech.Speech.answer
    monkeypatch.setattr(speech.Speech, "answer", answer)
    words = ["generate", "--model", artifact, "--frames", "40", "--candidates", "1", "-o", "a.npz"]
    assert main([*words, "a person walks", "a person jumps", "a person runs", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["failed"] == 1 and "got 'a person'" in report["motions"][1]["problem"]
    assert [(place / f"a-{at:03}.npz").exists() for at in range(3)] == [True, False, True]
    assert np.array_equal(load(place / "a-002.npz").data, pipe(["a person runs"], [40], candidates=1)[0].data)
    assert main([*words, "a person jumps"]) == 1 and "got 'a person'" in capsys.readouterr().err


def test_captions_on_the_command_line(place, artifact, capsys):
    assert main(["caption", "walk.npz", "quick.npz", "clips/clip.npy", "--model", artifact]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["walk.npz", "quick.npz", "clips/clip.npy"]
    np.save(place / "long.npy", np.zeros((90, 263), np.float32))
    assert main(["caption", "walk.npz", "long.npy", "--model", artifact, "--json", "--candidates", "2"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert len(report["motions"][0]["captions"]) == 2 and "got 90" in report["motions"][1]["problem"]
    assert main(["caption", "long.npy", "--model", artifact]) == 2
    assert main(["caption", "walk.npz", "none.npz", "--model", artifact]) == 2
    assert "none.npz must be a motion file" in capsys.readouterr().err


def test_prediction_on_the_command_line(place, artifact, capsys):
    words = ["predict", "walk.npz", "--model", artifact, "--keep", "0.3", "--seconds", "2.5", "-o", "on.npz"]
    assert main([*words, "-o", "on.bvh"]) == 0
    whole = load(place / "on.npz")
    assert len(whole) == 50 and (place / "on.bvh").exists()
    kept = joints_to_hml263(load(place / "walk.npz").data)[:14]
    assert np.array_equal(whole.data[:14], kept)
    capsys.readouterr()
    for wrong in (["--keep", "0.2", "--keep-seconds", "1"], ["--frames", "9", "--seconds", "1"], ["--keep", "2"]):
        assert main(["predict", "walk.npz", "--model", artifact, *wrong, "-o", "x.npz"]) == 2
    assert main(["predict", "walk.npz"]) == 2 and not (place / "x.npz").exists()


def test_inbetween_on_the_command_line(place, artifact, capsys):
    assert main(["inbetween", "walk.npz", "--keep", "0.25", "0.3", "--model", artifact, "-o", "one.npz"]) == 0
    assert len(load(place / "one.npz")) == 48
    words = ["inbetween", "walk.npz", "clips/clip.npy", "--gap", "0.5", "--model", artifact, "-o", "two.npz"]
    assert main([*words, "--place", "-1", "2", "90"]) == 0
    data = load(place / "two.npz").data
    assert len(data) == 48 + 10 + 60
    where, heading = stands(data, 58)
    assert np.allclose(where[[0, 2]], [-1, 2], atol=1e-3) and abs(heading + 90) < 0.1
    for wrong in (["walk.npz", "walk.npz"], ["walk.npz", "--gap", "1"], ["walk.npz"] * 3,
                  ["walk.npz", "walk.npz", "--gap", "1", "--keep", "0.2", "0.2"]):  # fmt: skip
        assert main(["inbetween", *wrong, "--model", artifact, "-o", "x.npz"]) == 2
    assert not (place / "x.npz").exists()
