"""MDM in use: what is kept stays, in its place in the world; company changes nothing; requests are refused in words."""

import numpy as np
import pytest
import torch

from hftrainer.errors import ArtifactError
from hftrainer.models.motion.mdm.bundle import MDMBundle
from hftrainer.models.motion.mdm.editing import (
    LOWER_BODY,
    body_parts,
    frames_around,
    gap,
    joint_features,
    joints_of,
    kept_numbers,
    made_features,
)
from hftrainer.models.motion.mdm.network import Condition
from hftrainer.models.motion.mdm.sampling import Kept, sample
from hftrainer.models.motion.mdm.schedule import Schedule
from hftrainer.motion.representation.hml263 import hml263_to_joints
from hftrainer.pipelines.denoising import Denoising
from hftrainer.pipelines.joining import Place, place_of
from hftrainer.pipelines.mdm import MDMPipeline
from tests import mdm_tiny

#: The features that the authors' edit of the upper body keeps.
AUTHORS_KEEP = [(0, 9), (13, 18), (22, 27), (31, 36), (67, 78), (85, 96), (103, 114), (121, 132), (193, 201),
                (205, 210), (214, 219), (223, 228), (259, 262)]  # fmt: skip


def pipeline(**fields):
    return MDMPipeline(mdm_tiny.bundle(**fields))


@pytest.fixture(scope="module")
def pipe():
    return pipeline()


def stands_where(motion, frame, other):
    one, two = place_of(motion.data, frame), place_of(other.data, frame)
    turn = (one.heading - two.heading + np.pi) % (2 * np.pi) - np.pi
    return max(abs(one.x - two.x), abs(one.z - two.z), abs(turn)) < 1e-4


# ------------------------------------------------------------------------------------------ sentences to motions


def test_sentences_to_arrays(pipe):
    made = pipe.infer_t2m(["a person walks", None], [60, 44])
    assert [m.shape for m in made] == [(60, 263), (44, 263)] and all(m.dtype == np.float32 for m in made)
    assert len(pipe(["a person walks"])[0]) == 120  # six seconds
    motion = pipe(["a person walks"], [50], seed=3, steps=4, sampler="dpm", guidance=3.0, samples=2)[1]
    want = {"task": "text-to-motion", "prompt": "a person walks", "model": "mdm-tiny", "seed": 4, "steps": 4,
            "sampler": "dpm", "guidance": 3.0, "rng": "own", "shown": 0}  # fmt: skip
    assert want.items() <= motion.about.items() and motion.fps == 20


@pytest.mark.parametrize(
    "fields",
    [{}, {"mask_frames": False}, {"patch": 4}, {"architecture": "trans_dec"}],
    ids=["masked", "2022", "patches", "decoder"],
)
def test_alone_or_in_company(fields):
    pipe = pipeline(**fields)
    prompts, lengths, seeds = ["a person walks", "a man sits down and waves", None], [47, 60, 41], [5, 9, 5]
    together = pipe.infer_t2m(prompts, lengths, seed=seeds)
    for i in range(3):
        alone = pipe.infer_t2m(prompts[i : i + 1], lengths[i : i + 1], seed=seeds[i])[0]
        assert np.abs(alone - together[i]).max() < 1e-5
    other = pipe.infer_t2m(prompts[:1], lengths[:1], seed=6)[0]
    assert np.abs(other - together[0]).max() > 1e-3


@pytest.mark.parametrize("precision, sizes", [("fp32", [3]), ("bf16", [1, 2])])
def test_motions_of_other_lengths_go_together_where_that_changes_nothing(monkeypatch, precision, sizes):
    pipe, seen = pipeline(), []
    made = Denoising._together
    monkeypatch.setattr(
        Denoising, "_together", lambda self, jobs, *rest: seen.append(len(jobs)) or made(self, jobs, *rest)
    )
    prompts, lengths, seeds = ["a person walks", "he sits down", "a man sits down and waves"], [60, 47, 60], [5, 9, 7]
    together = pipe(prompts, lengths, seed=seeds, precision=precision)
    assert seen == sizes
    for i in range(3):
        (alone,) = pipe(prompts[i : i + 1], lengths[i : i + 1], seed=seeds[i], precision=precision)
        assert np.abs(alone.data - together[i].data).max() < 1e-5


class Words:
    """A tower of one vector a word, with a mask; it does not know what a yeti is."""

    name, width = "clip", 8

    def encode(self, texts):
        counts = [len(text.split()) + 1 for text in texts]
        real = torch.arange(max(counts))[None] < torch.tensor(counts)[:, None]
        return torch.randn(*real.shape, 8, generator=torch.Generator().manual_seed(sum(map(len, texts)))), real

    def unread(self, text):
        return ""

    def unknown(self, text):
        return [word for word in text.split() if word == "yeti"]

    def to(self, device):
        return self


def test_a_tower_of_many_tokens():
    """Sentences of several lengths in one pass, to a decoder over patches, as the built-in model has them."""
    pipe = pipeline(architecture="trans_dec", time_token=True, patch=4, tower=False)
    pipe.bundle.attach(Words())
    prompts = ["walks", "a person walks far to the left", None]
    together = pipe(prompts, [47, 60, 41])
    for i, n in enumerate([47, 60, 41]):
        assert np.abs(pipe(prompts[i : i + 1], [n])[0].data - together[i].data).max() < 1e-5
    assert pipe(["a yeti walks"], [44])[0].about["unknown_words"] == ["yeti"]
    clip = mdm_tiny.clip(61)
    made = pipe.edit(clip, "waves", part="left_arm", span=(18, 43))
    assert np.array_equal(made.data[:18], clip.data[:18]) and np.array_equal(made.data[43:], clip.data[43:])


def test_habit_of_showing_more_is_declared():
    pipe, seen = pipeline(mask_frames=False), []
    pipe.bundle.network.register_forward_pre_hook(lambda module, given: seen.append(given[0].shape[3]))
    motion = pipe(["a person walks"], [44])[0]
    assert len(motion) == 44 and set(seen) == {60} == {motion.about["shown"]}
    seen.clear()
    assert len(pipe(["a person walks"], [44], shown=0)[0]) == 44 and set(seen) == {44}


def test_a_sentence_is_encoded_once(pipe, monkeypatch):
    calls, real = [], pipe.bundle.encode_text
    monkeypatch.setattr(pipe.bundle, "encode_text", lambda texts: calls.append(list(texts)) or real(texts))
    pipe(["a lady turns", "a lady turns", "she jumps"], [40, 44, 48], samples=2)
    pipe(["she jumps"], [40])
    assert calls == [["a lady turns"], ["she jumps"]]


@pytest.mark.parametrize("fields", [{}, {"mask_frames": False}], ids=["masked", "2022"])
def test_the_authors_order(fields):
    """The same numbers as their loop gives after torch.manual_seed: two passes, one generator, text as one batch."""
    pipe, prompts = pipeline(**fields), ["a person walks", "he sits"]
    bundle, shown = pipe.bundle, 60
    text, real = bundle.encode_text(prompts)
    frames = torch.arange(shown)[None] < torch.tensor([[60], [44]])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        want = sample(bundle.network, Schedule.named("cosine", mdm_tiny.STEPS), (2, 263, 1, shown),
                      Condition(text=text, text_mask=real, frames=frames), guidance=2.5)  # fmt: skip
        torch.manual_seed(7)
        by_state = pipe.infer_t2m(prompts, [60, 44], rng="official", seed=None)
    by_seed = pipe.infer_t2m(prompts, [60, 44], rng="official", seed=7)
    for i, n in enumerate([60, 44]):
        assert np.array_equal(bundle.denormalize(want[i], n).data, by_state[i])
        assert np.array_equal(by_state[i], by_seed[i])


def test_the_authors_editing():
    """Their in-between: half of the frames are made, and the padding up to what is shown is kept as it is, at 0."""
    pipe, clip = pipeline(mask_frames=False), mdm_tiny.clip(46)
    bundle, span = pipe.bundle, gap(46)
    made = pipe.infer_edit(clip, "he sits", span=span, rng="official", seed=7)[0]
    motion = torch.zeros(1, 263, 1, 60)
    motion[0, ..., :46] = bundle.normalize(clip)
    mask = kept_numbers(None, frames_around([span], 60), motion.shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        told = Condition(text=bundle.encode_text(["he sits"])[0])
        want = sample(bundle.network, Schedule.named("cosine", mdm_tiny.STEPS), motion.shape, told, guidance=2.5,
                      kept=Kept(motion, mask))  # fmt: skip
    start, stop = span
    assert span == (11, 34) and np.array_equal(bundle.denormalize(want[0], 46).data[start:stop], made[start:stop])
    assert np.array_equal(made[:start], clip.data[:start]) and np.array_equal(made[stop:], clip.data[stop:])


def test_without_words(pipe):
    """No sentence, and guidance 0, are the network without its condition; they are one."""
    free, zero = pipe.infer_t2m([None], [44])[0], pipe.infer_t2m(["he walks"], [44], guidance=0)[0]
    assert np.abs(free - zero).max() < 1e-6
    assert np.abs(free - pipe.infer_t2m(["he walks"], [44])[0]).max() > 1e-4
    none = pipeline(condition="none", condition_dropout=0.0)
    assert none.infer_t2m([None], [44])[0].shape == (44, 263)
    with pytest.raises(ValueError, match="prompt 0 must be left out"):
        none.infer_t2m(["he walks"], [44])


def test_bf16_is_near(pipe):
    one, other = (pipe.infer_t2m(["he walks"], [44], precision=p)[0] for p in ("fp32", "bf16"))
    assert 0 < np.abs(one - other).max() < 0.05


# ------------------------------------------------------------------------------------------ what is missing


@pytest.mark.parametrize("length", [80, 196])
def test_in_between(pipe, length):
    clip = mdm_tiny.clip(length)
    made = pipe.inbetween(clip, keep=(0.25, 0.5), caption="a person turns")
    front, back = round(0.25 * length), length - round(0.5 * length)
    assert np.array_equal(made.data[:front], clip.data[:front]) and np.array_equal(made.data[back:], clip.data[back:])
    assert stands_where(made, back, clip) and not np.array_equal(made.data[front:back], clip.data[front:back])
    assert made.about["task"] == "in-between" and made.about["prompt"] == "a person turns"


def test_two_clips_with_a_gap(pipe):
    first, second = mdm_tiny.clip(100, 1), mdm_tiny.clip(150, 2)
    made = pipe.inbetween(first, second, gap=2.0, place=Place(0.5, 2.0, 0.3))
    assert len(made) == 290 and np.array_equal(made.data[:100], first.data)
    assert np.array_equal(made.data[140:], second.data)
    there = place_of(made.data, 140)
    assert abs(there.x - 0.5) + abs(there.z - 2.0) < 1e-4
    with pytest.raises(ValueError, match="up to 196 frames"):
        pipe.inbetween(first, second, gap=9.8)


def test_prediction_reads_nothing_behind(pipe):
    clip = mdm_tiny.clip(80)
    other = clip.replace(data=np.concatenate([clip.data[:32], mdm_tiny.clip(48, 9).data]))
    one, two = (pipe.predict(c, keep=0.4, caption="a person runs") for c in (clip, other))
    assert np.array_equal(one.data, two.data) and np.array_equal(one.data[:32], clip.data[:32])
    assert len(pipe.predict(clip, keep=1.0, frames=150)) == 150
    assert [len(m) for m in pipe.infer_prediction([clip, clip], lengths=[90, None])] == [90, 80]
    with pytest.raises(ValueError, match="frames must be said"):
        pipe.predict(clip, keep=1.0)


# ------------------------------------------------------------------------------------------ changes


def test_masks_are_the_authors():
    kept = np.zeros(263, dtype=bool)
    for first, last in AUTHORS_KEEP:
        kept[first : last + 1] = True
    assert np.array_equal(~made_features("upper_body").numpy(), kept) and kept.sum() == 107
    assert bool((made_features(None)).all())
    lower = ~made_features("lower_body").numpy()
    assert lower[:4].all() and not lower[259:].any() and lower.sum() == 263 - 8 * 12 - 4
    assert set(body_parts("kit251")["left_arm"]) == {8, 9, 10} and joints_of([0, "head"]) == (0, 12, 15)
    assert not made_features("left_arm", "kit251")[:4].any() and len(joint_features(LOWER_BODY)) == 263
    for wrong in ("tail", "22", "", []):
        with pytest.raises(ValueError, match="a part must"):
            joints_of(wrong)


@pytest.mark.parametrize("part", ["upper_body", "lower_body", "left_arm,head", "pelvis,left_knee", None])
@pytest.mark.parametrize("span", [None, (20, 50), (0, 30), (50, 80)])
def test_parts_and_spans(pipe, part, span):
    if part is None and span is None:
        with pytest.raises(ValueError, match="part or span must say"):
            pipe.edit(mdm_tiny.clip(80), "waves")
        return
    clip, columns = mdm_tiny.clip(80), made_features(part).numpy()
    made = pipe.edit(clip, "a person waves", part=part, span=span, seed=2)
    start, stop = span or (0, 80)
    kept = np.ones((80, 263), dtype=bool)
    kept[start:stop, columns] = False
    assert np.array_equal(made.data[kept], clip.data[kept])
    changed = (made.data != clip.data)[start : stop - 1, :259][:, columns[:259]]
    assert changed.mean() > 0.95
    here, there = hml263_to_joints(made.data), hml263_to_joints(clip.data)
    if stop < 80:
        assert stands_where(made, stop, clip) and np.abs(here[stop:] - there[stop:]).max() < 1e-4
    if not columns[0]:  # the path stays, and with it every joint that is not made
        still = [j for j in range(1, 22) if not columns[4 + 3 * (j - 1)]]
        assert np.abs(here[:, still] - there[:, still]).max() == 0
    assert made.about["part"] == part and made.about["span"] == [start, stop]


def test_what_was_made_moves_as_it_says(pipe):
    """Velocities of made joints are those of their positions, and seams are no jumps."""
    clip = mdm_tiny.clip(80)
    made = pipe.edit(clip, "a person waves", part="left_arm", span=(20, 60))
    joints = hml263_to_joints(made.data).astype(np.float64)
    step = np.linalg.norm(np.diff(joints[:, 20], axis=0), axis=-1)
    said = np.linalg.norm(made.data[:-1, 193 + 60 : 193 + 63], axis=-1)
    assert np.abs(step - said)[20:59].max() < 1e-4


def test_many_edits_and_the_authors_way(pipe):
    clips = [mdm_tiny.clip(60), mdm_tiny.clip(80, 6)]
    made = pipe.infer_edit(clips, ["waves", None], part="upper_body")
    alone = pipe.infer_edit(clips[1], None, part="upper_body")
    assert len(alone) == 1 and np.abs(alone[0] - made[1]).max() < 1e-5
    kept = ~made_features("upper_body").numpy()
    official = pipe.infer_edit(clips[0].data, "waves", part="upper_body", rng="official")[0]
    assert np.array_equal(official[:, kept], clips[0].data[:, kept])
    with pytest.raises(ValueError, match="texts must be one a motion"):
        pipe.infer_edit(clips, ["waves"], part="head")
    with pytest.raises(ValueError, match="a span must lie within"):
        pipe.edit(clips[0], "waves", span=(50, 70))
    with pytest.raises(ValueError, match="looks at 40 to 196 frames; got 30. Nearest: 40"):
        pipe.edit(clips[0][:30], "waves", part="head")


def test_long_clips_are_looked_at_around_the_change(pipe):
    clip = mdm_tiny.clip(500)
    made = pipe.edit(clip, "waves", span=(300, 340))
    assert len(made) == 500 and np.array_equal(made.data[340:], clip.data[340:]) and stands_where(made, 340, clip)
    with pytest.raises(ValueError, match="up to 196 frames at once"):
        pipe.edit(clip, "waves", part="head")


def test_kit():
    pipe, clip = pipeline(representation="kit251"), mdm_tiny.clip(60, representation="kit251")
    made = pipe.edit(clip, "waves", part="left_arm")
    kept = ~made_features("left_arm", "kit251").numpy()
    assert made.fps == 12.5 and np.array_equal(made.data[:, kept], clip.data[:, kept])
    assert pipe.inbetween(clip).data.shape == (60, 251) and len(pipe(["walks"])[0]) == 75


# ------------------------------------------------------------------------------------------ without end


def test_streams():
    pipe = pipeline(architecture="trans_dec", context_frames=20, predicted_frames=30)
    clip = mdm_tiny.clip(50)
    stream = pipe.stream("a person walks", clip, seed=4)
    parts = [next(stream) for _ in range(5)]
    assert {len(p) for p in parts} == {30} and parts[0].about["prompt"] == "a person walks"
    whole = pipe.predict(clip, keep=1.0, frames=190, caption="a person walks", seed=4)
    assert np.array_equal(whole.data[:50], clip.data)
    assert np.array_equal(whole.data[50:], np.concatenate([p.data for p in parts])[:140])
    assert pipe.infer_t2m(["a person walks"], [140], seed=4, prefix=clip)[0].shape == (140, 263)
    changing = list(pipe.stream(["he walks", "he sits"], clip))
    assert [m.about["prompt"] for m in changing] == ["he walks", "he sits"]
    for wrong, words in (
        (lambda: pipe(["walks"]), "prefix must be given"),
        (lambda: pipe.edit(clip, "waves", part="head"), "must only go on"),
        (lambda: pipe.inbetween(clip), "must only go on"),
        (lambda: next(pipe.stream("walks", clip[:10])), "prefix must have at least 20 frames; got 10"),
        (lambda: next(pipeline().stream("walks", clip)), "must continue motions to stream"),
        (lambda: pipeline()(["walks"], [60], prefix=clip), "prefix must be left out"),
    ):
        with pytest.raises(ValueError, match=words):
            wrong()


# ------------------------------------------------------------------------------------------ requests


@pytest.mark.parametrize(
    "asked, words",
    [
        ({"prompts": []}, "at least one sentence"),
        ({"prompts": ["walks", " "]}, "prompt 1 must be a sentence"),
        ({"prompts": ["走"]}, "prompt 0 must be English"),
        ({"frames": [500]}, "prompt 0: the model makes 40 to 196 frames .* Nearest: 196"),
        ({"frames": [40, 40]}, "lengths must be one a prompt, 1; got 2"),
        ({"steps": 9}, "steps must be 1 to 8 for this model; got 9. Nearest: 8."),
        ({"steps": 1, "sampler": "plms"}, "steps must be 2 to 8"),
        ({"sampler": "euler"}, "sampler must be one of ancestral, ddim, plms, dpm"),
        ({"guidance": -1}, "guidance must be a number of at least 0"),
        ({"guidance": float("nan")}, "guidance must be a number"),
        ({"rng": "mine"}, "rng must be one of own, official"),
        ({"precision": "fp8"}, "precision must be one of fp32, bf16"),
        ({"seed": None}, "seed must be a whole number"),
        ({"seed": [1, 2]}, "seed must be one, or one a prompt"),
        ({"seed": [1], "rng": "official"}, "one generator for all"),
        ({"samples": 0}, "samples must be at least 1"),
        ({"shown": 1000}, "shown must be 0 to 259"),
    ],
)
def test_refusals(pipe, asked, words):
    with pytest.raises(ValueError, match=words):
        pipe(**{"prompts": ["a person walks"], **asked})


def test_one_string_is_no_list(pipe):
    with pytest.raises(TypeError, match="Use \\['walks'\\]"):
        pipe("walks")


def test_a_network_that_cannot_be_guided():
    pipe = pipeline(condition_dropout=0.0)
    assert len(pipe(["walks"], [44])[0]) == 44
    with pytest.raises(ValueError, match="guidance must be 1"):
        pipe(["walks"], [44], guidance=2.0)
    with pytest.raises(ValueError, match="prompt 0 must be a sentence"):
        pipe([None], [44])


def test_a_sentence_that_is_cut_says_so(pipe):
    long = "a person walks " + "very " * 30 + "far"
    assert pipe([long], [44])[0].about["unread"].endswith("far") and "unread" not in pipe(["walks"], [44])[0].about


def test_numbers_that_are_none(pipe):
    from hftrainer.errors import GenerationError

    broken = pipeline()
    with torch.no_grad():
        broken.bundle.network.leave.bias[0] = float("nan")
    with pytest.raises(GenerationError, match="must make finite numbers"):
        broken(["walks"], [44])


def test_folder_and_back(tmp_path):
    folder = mdm_tiny.folder(tmp_path / "mdm")
    pipe = MDMPipeline.from_pretrained(folder, bundle_kwargs={"local_files_only": True})
    first = pipe.infer_t2m(["a person walks"], [44])[0]
    pipe.save_pretrained(tmp_path / "again")
    again = MDMPipeline.from_pretrained(tmp_path / "again").infer_t2m(["a person walks"], [44])[0]
    assert np.array_equal(first, again)
    with pytest.raises(ValueError, match="device must be cpu"):
        MDMPipeline.from_pretrained(folder, device="abacus")


def test_a_bundle_says_what_length_is_usual(tmp_path):
    bundle = mdm_tiny.bundle()
    bundle.usual_frames = 44
    bundle.save_pretrained(tmp_path)
    pipe = MDMPipeline.from_pretrained(tmp_path)
    assert len(pipe(["a person walks"], steps=1)[0]) == 44
    with pytest.raises(ArtifactError, match="usual_frames must be 40 to 196; got 7"):
        MDMBundle(bundle.network, bundle.statistics, bundle.text, usual_frames=7)
