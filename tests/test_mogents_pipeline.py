"""The pipelines of MoGenTS and MoMask, with small networks that learned nothing: what they promise of any networks."""

import numpy as np
import pytest
import torch

from hftrainer import quality
from hftrainer.bench import moving_body
from hftrainer.errors import ArtifactError
from hftrainer.models.clip import ClipTower
from hftrainer.models.motion.mdm.editing import made_features
from hftrainer.models.motion.mogents import generation
from hftrainer.models.motion.mogents.bundle import MoGenTSBundle
from hftrainer.models.motion.mogents.official import MOGENTS, MOMASK
from hftrainer.models.motion.mogents.release import read_release
from hftrainer.models.motion.mogents.sampling import Settings
from hftrainer.models.motion.momask.bundle import MoMaskBundle
from hftrainer.models.tower_files import read_clip
from hftrainer.motion.clip import Motion
from hftrainer.motion.representation.hml263 import joints_to_hml263
from hftrainer.pipelines.masking import fill_hidden
from hftrainer.pipelines.mogents import MoGenTSPipeline
from hftrainer.pipelines.momask import MoMaskPipeline
from tests import mogents_release as authors


@pytest.fixture(scope="module")
def tower(tmp_path_factory) -> ClipTower:
    return read_clip(authors.clip(tmp_path_factory.mktemp("clip") / "clip.pt"), context=77, precision="fp32")


@pytest.fixture(scope="module")
def folders(tmp_path_factory, tower):
    """Artifacts of both, for HumanML3D, and of MoGenTS for KIT, and without a length estimator."""
    made = {}
    for name, family, bundle, dataset in (
        ("mogents", MOGENTS, MoGenTSBundle, "humanml3d"),
        ("momask", MOMASK, MoMaskBundle, "t2m"),
        ("kit", MOGENTS, MoGenTSBundle, "kit"),
    ):
        root = tmp_path_factory.mktemp(name)
        authors.write(root / "logs", family, dataset)
        files = read_release(family, root / "logs")
        bundle.from_release(files, tower).save_pretrained(root / "art")
        made[name] = root / "art"
        if name == "mogents":
            files = read_release(family, root / "logs", estimator=False)
            bundle.from_release(files, tower).save_pretrained(root / "bare")
            made["bare"] = root / "bare"
    return made


@pytest.fixture(scope="module")
def mogents(folders):
    return MoGenTSPipeline.from_pretrained(folders["mogents"])


@pytest.fixture(scope="module")
def momask(folders):
    return MoMaskPipeline.from_pretrained(folders["momask"])


@pytest.fixture(scope="module")
def pipes(mogents, momask):
    return {"mogents": mogents, "momask": momask}


@pytest.fixture(scope="module")
def clip():
    return Motion(joints_to_hml263(moving_body(86)), "hml263", 20)


# ------------------------------------------------------------------------------------------------- sentences to motions


@pytest.mark.parametrize("name", ["mogents", "momask"])
def test_the_snippet_of_the_card(folders, name):
    kind = MoGenTSPipeline if name == "mogents" else MoMaskPipeline
    pipe = kind.from_pretrained(str(folders[name]), device="cpu", bundle_kwargs={"local_files_only": True})
    motions = pipe.infer_t2m(["a person walks forward then turns around"], [120])
    assert [m.shape for m in motions] == [(120, 263)] and motions[0].dtype == np.float32
    again = pipe.infer_t2m(
        ["a person walks forward then turns around"], [120], time_steps=10, cond_scale=4, res_cond_scale=5, topkr=0.9,
        temperature=1, gumbel_sample=False, seed=0,
    )  # fmt: skip
    assert np.array_equal(motions[0], again[0])


@pytest.mark.parametrize("name", ["mogents", "momask"])
def test_alone_and_among_others(pipes, name):
    pipe = pipes[name]
    words, frames = ["a person walks", "a person jumps high", None, "someone waves"], [78, 120, 40, 196]
    together = pipe(words, frames, seed=[5, 6, 7, 8])
    for i in range(4):
        alone = pipe([words[i]], [frames[i]], seed=5 + i)[0]
        assert len(alone) == frames[i]
        assert np.abs(alone.data - together[i].data).max() < 1e-4
    assert not np.allclose(pipe([words[0]], [78], seed=6)[0].data, together[0].data)


def test_settings_change_the_motion(mogents):
    base = mogents(["a person walks"], [60])[0].data
    for said in ({"guidance": 1.0}, {"residual_guidance": 1.0}, {"steps": 3}, {"drop": 0.5}, {"temperature": 3.0},
                 {"gumbel": True, "temperature": 2.0}, {"rng": "official"}, {"precision": "bf16"}, {"renew": 0.3},
                 {"residual_layers": 1}):  # fmt: skip
        made = mogents(["a person walks"], [60], **said)[0]
        assert made.about[next(iter(said))] == next(iter(said.values()))
        assert np.abs(made.data - base).max() > 1e-6, said


def test_joints_begin_as_what_poses_say(mogents, clip):
    bundle, tokenizer = mogents.bundle, mogents.bundle.motion_tokenizer
    text, lengths = torch.zeros(2, bundle.text_width), torch.tensor([12, 20])
    rng = [torch.Generator().manual_seed(seed) for seed in (3, 4)]
    aux, grid = bundle.generate(text, lengths, Settings(renew=1e-6), rng=rng)
    for row, count in enumerate(lengths.tolist()):
        with torch.no_grad():
            poses = tokenizer.aux_decoder(tokenizer.aux_quantizer.lookup(aux[row : row + 1, :count, :1]))
            said = tokenizer.encode(poses)[1][0, ..., 0]
        apart = int((said != grid[row, :count, :, 0]).sum())
        assert apart <= generation._RENEWALS, "so small a share is one cell in each iteration"
    prompts, frames, seeds = ["a person walks", "a person sits"], [60, 44], [5, 9]
    together = mogents(prompts, frames, seed=seeds, renew=0.3)
    for i in range(2):
        (alone,) = mogents(prompts[i : i + 1], frames[i : i + 1], seed=seeds[i], renew=0.3)
        assert np.abs(alone.data - together[i].data).max() < 1e-4
    filled = mogents.inbetween(clip, renew=0.3)
    assert np.array_equal(filled.data[:21], clip.data[:21]) and not np.array_equal(filled.data[21:60], clip.data[21:60])
    made = mogents.edit(clip, "waves", part="left_arm", renew=0.3)
    assert np.array_equal(made.data[:, :4], clip.data[:, :4])
    with pytest.raises(ValueError, match="renew must be 0 with rng"):
        mogents(prompts, frames, rng="official", renew=0.3)


def test_samples_have_seeds_of_their_own(mogents):
    made = mogents(["a person walks", "a person sits"], [60, 44], samples=2, seed=3)
    assert [(len(m), m.about["seed"], m.about["prompt"]) for m in made] == [
        (60, 3, "a person walks"), (60, 4, "a person walks"), (44, 3, "a person sits"), (44, 4, "a person sits"),
    ]  # fmt: skip
    assert np.allclose(made[1].data, mogents(["a person walks"], [60], seed=4)[0].data, atol=1e-4)
    assert made[0].about["model_hash"] == mogents.bundle.hash and made[0].about["task"] == "text-to-motion"


@pytest.mark.parametrize("name", ["mogents", "momask"])
def test_lengths_are_estimated(pipes, name):
    pipe = pipes[name]
    made = pipe([f"a person walks {i} steps" for i in range(6)], seed=list(range(6)))
    lengths = [len(m) for m in made]
    assert all(40 <= n <= 196 and n % 4 == 0 for n in lengths) and len(set(lengths)) > 1
    assert all(m.about["length"] == "estimated" for m in made)
    told = pipe(["a person walks 2 steps"], [lengths[2]], seed=2)[0]
    assert np.allclose(told.data, made[2].data, atol=1e-4)
    assert len(pipe.infer_t2m(["a person walks 2 steps"], seed=2)[0]) == lengths[2]


def test_the_authors_order(mogents):
    """One generator, the batch as a whole, lengths rounded down; the global one where no seed is given."""
    words = ["a person walks", "a person runs"]
    made = mogents.infer_t2m(words, [78, 44], rng="official", seed=9)
    assert [len(m) for m in made] == [76, 44]
    before = torch.random.get_rng_state()
    with torch.random.fork_rng():
        torch.manual_seed(9)
        again = mogents.infer_t2m(words, [78, 44], rng="official", seed=None)
    assert all(np.array_equal(a, b) for a, b in zip(made, again, strict=True))
    assert torch.equal(before, torch.random.get_rng_state())
    assert [len(m) for m in mogents(words, rng="official", seed=1)] == [len(m) for m in mogents(
        words, rng="official", seed=1)]  # fmt: skip


def test_kit(folders):
    pipe = MoGenTSPipeline.from_pretrained(folders["kit"])
    motion = pipe(["a person walks"], [24])[0]
    assert motion.data.shape == (24, 251) and motion.fps == 12.5 and motion.representation.name == "kit251"
    made = pipe.edit(motion.replace(data=motion.data * 0 + 0.1), "waves", part="left_arm")
    assert made.data.shape == (24, 251)


def test_words_that_are_not_read_are_told(mogents):
    made = mogents(["walk " * 80 + "and then sit down"], [40])[0]
    assert made.about["unread"].endswith("and then sit down")


# -------------------------------------------------------------------------------------------------------- what is kept


@pytest.mark.parametrize("name", ["mogents", "momask"])
@pytest.mark.parametrize("caption", [None, "a person turns around"])
def test_prediction(pipes, name, clip, caption):
    pipe = pipes[name]
    made = pipe.predict(clip, keep=0.4, caption=caption, seed=2)
    assert len(made) == 85 and np.array_equal(made.data[:34], clip.data[:34])
    assert np.abs(made.data[34:] - clip.data[34:]).max() > 1e-3
    assert made.about["task"] == "prediction" and made.about["kept"] == [34, 0]
    other = clip.data.copy()
    other[34:] = 7.0  # what is not kept is not read
    assert np.array_equal(pipe.predict(other, keep=0.4, caption=caption, seed=2).data, made.data)
    longer = pipe.predict(clip, keep=1.0, frames=131)
    assert len(longer) == 131 and np.array_equal(longer.data[:85], clip.data)
    arrays = pipe.infer_prediction([clip, clip[:60]], keep=0.5, lengths=[85, 90], seed=2)
    assert [a.shape for a in arrays] == [(85, 263), (90, 263)]


@pytest.mark.parametrize("name", ["mogents", "momask"])
def test_in_between(pipes, name, clip):
    pipe = pipes[name]
    made = pipe.inbetween(clip, seed=4)
    front = round(85 / 4)
    assert np.array_equal(made.data[:front], clip.data[:front])
    assert np.array_equal(made.data[-front:], clip.data[-front:]) and len(made) == 85
    joined = pipe.inbetween(clip[:40], clip[45:], gap=1.0, caption="a person hops")
    assert len(joined) == 40 + 20 + 40 and joined.about["kept"] == [40, 40]
    assert len(pipe.infer_inbetween([clip, clip], keep=(0.3, 0.3))) == 2


@pytest.mark.parametrize("name", ["mogents", "momask"])
@pytest.mark.parametrize("span", [(0, 30), (23, 51), (60, 85)])
def test_spans(pipes, name, clip, span):
    """Prefix, in-painting, suffix."""
    made = pipes[name].edit(clip, "a person kicks", span=span)
    outside = [i for i in range(85) if not span[0] <= i < span[1]]
    assert np.array_equal(made.data[outside], clip.data[outside])
    assert np.abs(made.data[span[0] : span[1]] - clip.data[span[0] : span[1]]).max() > 1e-3
    assert made.about["span"] == list(span) and made.about["prompt"] == "a person kicks"


@pytest.mark.parametrize("part", ["left_arm", "legs", "head", ["left_wrist"], "root"])
@pytest.mark.parametrize("span", [None, (20, 60)])
def test_joints(mogents, clip, part, span):
    made = mogents.edit(clip, "a person waves", part=part, span=span, seed=1)
    columns = made_features(part).numpy()
    assert np.array_equal(made.data[:, ~columns], clip.data[:, ~columns])
    begin, end = span or (0, 85)
    assert np.array_equal(made.data[:begin], clip.data[:begin]) and np.array_equal(made.data[end:], clip.data[end:])
    assert np.abs(made.data[begin:end, columns] - clip.data[begin:end, columns]).max() > 1e-3
    other = clip.data.copy()
    other[begin:end, columns] = 3.0  # what is made anew is not read
    again = mogents.edit(other, "a person waves", part=part, span=span, seed=1).data
    if part != "root":  # where the path changes, what follows has another place
        assert np.abs(again - made.data).max() < 1e-4


def test_changes_alone_and_among_others(mogents, clip):
    clips = [clip, clip[:60], clip[10:70]]
    together = mogents.infer_edit(clips, ["waves", "claps", None], part="arms", seed=3)
    for one, text, made in zip(clips, ["waves", "claps", None], together, strict=True):
        assert np.abs(mogents.edit(one, text, part="arms", seed=3).data - made).max() < 1e-4


def test_a_motion_longer_than_the_model_looks_at(mogents):
    long = Motion(joints_to_hml263(moving_body(301)), "hml263", 20)
    made = mogents.edit(long, "a person waves", span=(150, 190))
    assert len(made) == 300 and np.array_equal(made.data[:150], long.data[:150])
    with pytest.raises(ValueError, match="the model makes up to 196 frames at once; got 250 to make"):
        mogents.edit(long, "a person waves", span=(0, 250))


def test_hidden_numbers_lie_between_kept_ones():
    given, kept = np.arange(10.0)[:, None].repeat(2, 1), np.ones((10, 2), bool)
    kept[3:7, 0] = kept[:, 1] = False
    given[~kept] = np.nan
    filled = fill_hidden(given, kept, np.array([0.0, 5.0]))
    assert np.allclose(filled[:, 0], np.arange(10)) and (filled[:, 1] == 5).all()


# ------------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda p: p.infer_t2m(["a", "b"], [39, 200]), "prompt 0: the model makes 40 to 196 frames (2 to 9.8 s); got "
         "39. Nearest: 40. prompt 1: the model makes 40 to 196 frames (2 to 9.8 s); got 200. Nearest: 196."),
        (lambda p: p.infer_t2m(["a"], [60, 60]), "lengths must be one a prompt, 1; got 2"),
        (lambda p: p.infer_t2m([""], [60]), "prompt 0 must be a sentence"),
        (lambda p: p.infer_t2m(["走る"], [60]), "prompt 0 must be English"),
        (lambda p: p(["a"], [60], samples=0), "samples must be at least 1"),
        (lambda p: p(["a"], [60], steps=0), "steps must be at least 1"),
        (lambda p: p(["a"], [60], drop=1.0), "drop must be 0 or more and below 1"),
        (lambda p: p(["a"], [60], guidance=float("nan")), "guidance must be a number of at least 0"),
        (lambda p: p(["a"], [60], rng="mine"), "rng must be one of own, official"),
        (lambda p: p(["a"], [60], precision="int8"), "precision must be one of fp32, bf16"),
        (lambda p: p(["a"], [60], seed=None), "seed must be a whole number"),
        (lambda p: p(["a"], [60], seed=[1, 2]), "seed must be one, or one a prompt, 1; got 2"),
        (lambda p: p(["a"], [60], seed=[1], rng="official"), "seed must be one number"),
        (lambda p: p.predict(np.zeros((60, 263)), rng="official"), "rng must be own where a part of a motion is kept"),
        (lambda p: p.predict(np.zeros((60, 263)), keep=1.0), "frames must be said where all of a motion is kept"),
        (lambda p: p.predict(np.zeros((30, 263))), "the model looks at 40 to 196 frames; got 30. Nearest: 40."),
        (lambda p: p.edit(np.zeros((60, 263)), "waves"), "part or span must say what is changed"),
        (lambda p: p.edit(np.zeros((60, 263)), "waves", part="tail"), "a part must be one of"),
        (lambda p: p.edit(np.zeros((60, 263)), "waves", span=(50, 70)), "a span must lie within 0 and 60 frames"),
    ],
)  # fmt: skip
def test_refusals(mogents, call, says):
    with pytest.raises(ValueError) as error:
        call(mogents)
    assert says in str(error.value)


def test_what_a_model_lacks(folders, momask, clip):
    with pytest.raises(ValueError, match="part must be left out: the tokens of MoMask are of whole poses"):
        momask.edit(clip, "waves", part="left_arm")
    bare = MoGenTSPipeline.from_pretrained(folders["bare"])
    with pytest.raises(ValueError, match="lengths must be given: this artifact has no length estimator"):
        bare.infer_t2m(["a person walks"])
    assert len(bare.infer_t2m(["a person walks"], [40])[0]) == 40
    with pytest.raises(ValueError, match="device must be cpu, cuda or mps"):
        MoGenTSPipeline.from_pretrained(folders["bare"], device="gpu9")


def test_saved_again_it_says_the_same(mogents, tmp_path):
    mogents.save_pretrained(tmp_path / "again")
    again = MoGenTSPipeline.from_pretrained(tmp_path / "again")
    assert np.array_equal(again(["a person walks"], [60])[0].data, mogents(["a person walks"], [60])[0].data)


def test_a_small_copy_says_nearly_the_same(mogents, tmp_path):
    bundle = mogents.bundle
    bundle.save_pretrained(tmp_path / "whole")
    bundle.save_pretrained(tmp_path / "small", small=True)
    whole, small = (
        sum(file.stat().st_size for file in (tmp_path / n).glob("*_*.safetensors")) for n in ("whole", "small")
    )
    again = MoGenTSPipeline.from_pretrained(tmp_path / "small")
    assert small < 0.3 * whole
    for name, network in bundle.networks.items():
        want, got = network.state_dict(), again.bundle.networks[name].state_dict()
        for key, value in want.items():
            apart = (value.float() - got[key].float()).abs().max()
            assert apart <= 0.005 * value.float().abs().max(), f"{name} {key}"


def test_an_artifact_has_settings_of_its_own(mogents, folders, tmp_path):
    bundle = MoGenTSBundle.from_pretrained(folders["mogents"])
    bundle.drawing, bundle.candidates = {"guidance": 2.0, "steps": 3}, 2
    bundle.save_pretrained(tmp_path / "own")
    own = MoGenTSPipeline.from_pretrained(tmp_path / "own")
    (chosen,) = own(["a person walks"], [60], candidates=1)
    (told,) = mogents(["a person walks"], [60], guidance=2.0, steps=3)
    assert np.array_equal(chosen.data, told.data)
    assert own(["a person walks"], [60], candidates=1, steps=4)[0].about["steps"] == 4
    assert own(["a person walks"], [60])[0].about["candidates"] == 2
    assert own(["a person walks"], [60], rng="official")[0].about["guidance"] == 4.0, "the authors' settings"
    bundle.drawing = {"guidence": 2.0}
    with pytest.raises(ArtifactError, match="guidence"):
        MoGenTSPipeline(bundle)


def test_what_the_tokens_of_several_streams_keep(mogents, clip):
    decoded, codes = quality.there_and_back(mogents.bundle, clip)
    layers = mogents.bundle.motion_tokenizer.config.layers
    assert len(decoded) == 84 and {stream for stream, _, _ in codes} == {0, 1}
    assert {layer for _, layer, _ in codes} == set(range(layers))
