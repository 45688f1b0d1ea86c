"""The evaluators as bundles: released layouts at full size, what is refused of them, folders of ours, and padding."""

import json
import math
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from hftrainer.errors import ArtifactError
from hftrainer.models.checkpoint import read_named_tensors
from hftrainer.models.clip import build_tokenizer
from hftrainer.models.distilbert import DistilBertConfig
from hftrainer.models.evaluator import (
    Evaluator,
    EvaluatorConfig,
    Motion272Evaluator,
    MotionClipEvaluator,
    dual_official,
    load_evaluator,
    official,
    temos_official,
)
from hftrainer.models.evaluator.dual import DualConfig, DualEvaluator, SideConfig
from hftrainer.models.evaluator.temos import TemosConfig, TemosEvaluator, positions
from hftrainer.motion.clip import Motion

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "person", "walks", "##ing", "slowly", "."]
TEMOS = TemosConfig(272, 8, 2, 2, 16, 300, DistilBertConfig(len(PIECES), 16, 8, 1, 2, 16))
MERGES = [("w", "a"), ("wa", "l")]
#: 512 bytes, the merges and the two marks.
CLIP_WORDS = 512 + len(MERGES) + 2
DUAL = DualConfig(135, 6, CLIP_WORDS, CLIP_WORDS - 1, 300, SideConfig(8, 1, 2, 16, 32), SideConfig(8, 2, 2, 16, 513))


def motion(representation, frames, seed=0):
    width = int("".join(c for c in representation if c.isdigit()))
    data = np.random.default_rng(seed).normal(size=(frames, width))
    return Motion(data, representation, fps=20 if width == 263 else 30, name=f"clip {seed}")


def temos():
    torch.manual_seed(0)
    return TemosEvaluator(TEMOS).eval()


def pieces_folder(folder, pieces=PIECES):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n")
    return folder


def motion272():
    from hftrainer.models.tower_files import read_word_pieces

    def make(folder):
        return Motion272Evaluator(temos(), read_word_pieces(pieces_folder(folder)), np.zeros(272), np.full(272, 2.0))

    return make


def motionclip(folder=None):
    torch.manual_seed(1)
    return MotionClipEvaluator(DualEvaluator(DUAL), build_tokenizer(MERGES), np.zeros(135), np.ones(135))


MAKE = {"motion272": lambda folder: motion272()(folder), "motionclip135": motionclip}


def constants(manifest):
    """Tensors of these shapes, each full of a number of its own: quick to make at full size, and no two alike."""
    return {key: torch.full(shape, 1e-3 * (i + 1)) for i, (key, shape) in enumerate(manifest.items())}


def same(network, table, weights):
    state = network.state_dict()
    assert set(table) == set(state)
    assert all(torch.equal(state[ours], weights[theirs].reshape(state[ours].shape)) for ours, theirs in table.items())


class Settings:
    """A class of the program that wrote a checkpoint; nothing may make one."""

    made = 0

    def __init__(self, value):
        self.value = value

    def __reduce__(self):
        return (remember, (self.value,))


def remember(value):
    Settings.made += 1
    return Settings(value)


# --------------------------------------------------------------------------------------------- manifests and full size


def test_manifests_of_the_reference_cases(shared):
    zoo = shared / "golden" / "zoo"
    names = ("eval272", "evalhml", "motionclip")
    stored = {name: load_file(zoo / f"{name}_tiny_weights.safetensors") for name in names}
    made = {
        "eval272": temos_official.manifest(temos_official.build(stored["eval272"], 4, 4, 60).config),
        "evalhml": official.manifest(official.build(stored["evalhml"]).config),
        "motionclip": dual_official.manifest(dual_official.build(stored["motionclip"], 2, 4).config),
    }
    made["motionclip"]["logit_scale"] = (1,)
    for name, weights in stored.items():
        assert {key: tuple(value.shape) for key, value in weights.items()} == made[name], name


def test_manifest_of_the_released_matching_model(shared):
    case = json.loads((shared / "golden" / "mdm" / "eval" / "evaluator_reduced.json").read_text())
    released = case["full_manifest_finest_tar"]
    want = {f"{part}.{key}": tuple(shape) for part, keys in released.items() for key, shape in keys.items()}
    assert official.manifest(EvaluatorConfig()) == want


def test_sizes_of_the_released_models():
    sizes = {
        "hml263": official.manifest(EvaluatorConfig()),
        "kit251": official.manifest(EvaluatorConfig(features=251)),
        "motion272": temos_official.manifest(TemosConfig()),
        "motionclip135": dual_official.manifest(DualConfig()),
    }
    counts = {name: (len(keys), sum(math.prod(shape) for shape in keys.values())) for name, keys in sizes.items()}
    assert counts == {
        "hml263": (42, 21_690_560), "kit251": (42, 21_665_984), "motion272": (204, 72_948_736),
        "motionclip135": (398, 101_944_833),
    }  # fmt: skip
    bert = sum(math.prod(s) for k, s in sizes["motion272"].items() if k.startswith("textencoder.text_model."))
    assert bert == 66_362_880, "distilbert-base-uncased"


def test_the_lightning_checkpoint_at_full_size(tmp_path):
    weights = constants(temos_official.manifest(TemosConfig()))
    state = {
        **weights,
        "textencoder.sequence_pos_encoding.pe": positions(5000, 256)[:, None],
        "motionencoder.sequence_pos_encoding.pe": positions(5000, 256)[:, None],
        "textencoder.text_model.embeddings.position_ids": torch.arange(512)[None],
        "motiondecoder.final_layer.weight": torch.zeros(272, 256),
    }
    Settings.made = 0
    checkpoint = {"epoch": 99, "state_dict": state, "hyper_parameters": {"cfg": Settings(3)}, "loops": {"a": [1, None]}}
    torch.save(checkpoint, tmp_path / "epoch99.ckpt")
    network = temos_official.read_weights(tmp_path / "epoch99.ckpt")
    assert Settings.made == 0 and network.config == TemosConfig()
    same(network, temos_official.keys(4, 6), weights)


def test_motionclip_at_full_size(tmp_path):
    weights = constants(dual_official.manifest(DualConfig()))
    save_file({**weights, "logit_scale": torch.tensor([2.6592])}, tmp_path / "motionclip_model.safetensors")
    network = dual_official.read_weights(tmp_path / "motionclip_model.safetensors")
    assert network.config == DualConfig()
    same(network, dual_official.keys(12, 12), {**weights, "logit_scale": torch.tensor(2.6592)})
    np.save(tmp_path / "Mean.npy", np.zeros(135))
    np.save(tmp_path / "Std.npy", np.ones(135))
    evaluator = load_evaluator(tmp_path)
    assert isinstance(evaluator, MotionClipEvaluator) and evaluator.width == 512 and len(evaluator.hash) == 16
    assert evaluator._tokens.ids(["a person walks"]).shape == (1, 256)


@pytest.mark.parametrize("features, kind", [(263, "hml263"), (251, "kit251")])
def test_the_matching_model_and_its_twin_at_full_size(tmp_path, features, kind):
    config = EvaluatorConfig(features=features)
    weights = constants(official.manifest(config))
    parts = {part: {} for part in ("text_encoder", "movement_encoder", "motion_encoder")}
    for key, value in weights.items():
        part, _, rest = key.partition(".")
        parts[part][rest] = value
    torch.save({**parts, "epoch": 7, "iter": 9}, tmp_path / "text_mot_match.tar")
    words = ["unk", "sos", "eos", *(f"word{i}" for i in range(3997))]
    (tmp_path / "glove").mkdir()
    (tmp_path / "meta").mkdir()
    np.save(tmp_path / "glove" / "our_vab_data.npy", np.zeros((4000, 300), np.float32))
    (tmp_path / "glove" / "our_vab_words.pkl").write_bytes(pickle.dumps(words))
    (tmp_path / "glove" / "our_vab_idx.pkl").write_bytes(pickle.dumps({word: i for i, word in enumerate(words)}))
    np.save(tmp_path / "meta" / "mean.npy", np.zeros(features))
    np.save(tmp_path / "meta" / "std.npy", np.ones(features))
    evaluator = load_evaluator(tmp_path)
    assert isinstance(evaluator, Evaluator) and evaluator.kind == kind and evaluator.width == 512
    assert evaluator.reads == "words" and len(evaluator.words) == 4000
    same(evaluator.network, official.evaluator_keys(), weights)


# ------------------------------------------------------------------------------------------------ what is refused


class Evil:
    """What a pickle may ask its reader to call."""

    def __init__(self, call, *arguments):
        self.call = (call, arguments)

    def __reduce__(self):
        return self.call


def test_code_in_a_checkpoint_never_runs(tmp_path):
    trace = tmp_path / "ran"
    weights = {"a": torch.ones(2)}
    torch.save({"state_dict": weights, "hyper_parameters": Evil(open, str(trace), "w")}, tmp_path / "a.ckpt")
    assert torch.equal(read_named_tensors(tmp_path / "a.ckpt")["a"], weights["a"])
    import os

    torch.save({"state_dict": weights, "hyper_parameters": Evil(os.mkdir, str(trace))}, tmp_path / "b.ckpt")
    with pytest.raises(ArtifactError, match="b.ckpt.*would run code"):
        read_named_tensors(tmp_path / "b.ckpt")
    assert not trace.exists()


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "is empty"), (b"PK\x03\x04cut", "ends too early"), (b"something", "must be a torch file"),
        (None, "no such"),
    ],
)  # fmt: skip
def test_damaged_checkpoints_are_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "a.ckpt").write_bytes(content)
    with pytest.raises(ArtifactError, match=message):
        read_named_tensors(tmp_path / "a.ckpt")


@pytest.mark.parametrize("value, message", [([1], "tensors by name; got list"), ({"a": 1}, "it holds none")])
def test_checkpoints_without_tensors_are_refused(tmp_path, value, message):
    torch.save(value, tmp_path / "a.ckpt")
    with pytest.raises(ArtifactError, match=message):
        read_named_tensors(tmp_path / "a.ckpt")


def test_temos_weights_that_do_not_fit_are_all_named():
    weights = constants(temos_official.manifest(TEMOS))
    del weights["motionencoder.mu_token"]
    weights["textencoder.extra"] = torch.zeros(1)
    weights["textencoder.projection.1.bias"] = torch.zeros(3)
    with pytest.raises(ArtifactError) as error:
        temos_official.build(temos_official.find_weights(weights), 2, 2)
    for part in ("missing motionencoder.mu_token", "unexpected textencoder.extra", r"projection.1.bias is (3,)"):
        assert part in str(error.value)
    table = {"textencoder.sequence_pos_encoding.pe": torch.zeros(5, 1, 8)}
    with pytest.raises(ArtifactError, match="must be the sines and cosines"):
        temos_official.find_weights({**weights, **table})
    with pytest.raises(ArtifactError, match="got neither"):
        temos_official.find_weights({"vae.weight": torch.zeros(1)})
    with pytest.raises(ArtifactError, match="missing motionencoder.skel_embedding.weight"):
        temos_official.build({"textencoder.mu_token": torch.zeros(8)})
    with pytest.raises(ArtifactError, match="impossible sizes"):
        temos_official.build(constants(temos_official.manifest(TEMOS)), 3, 2)


def test_motionclip_weights_that_do_not_fit_are_all_named():
    weights = constants(dual_official.manifest(DUAL))
    del weights["motion_model.embeddings.class_embedding"]
    weights["text_model.extra"] = torch.zeros(1)
    weights["motion_projection.weight"] = torch.zeros(6, 9)
    with pytest.raises(ArtifactError) as error:
        dual_official.build(weights, 2, 2)
    for part in ("missing motion_model.embeddings.class", "unexpected text_model.extra", "weight is (6, 9)"):
        assert part in str(error.value)
    with pytest.raises(ArtifactError, match="missing text_model.embeddings.token_embedding.weight"):
        dual_official.build({"a": torch.zeros(1)})


# -------------------------------------------------------------------------------------------------- the bundles


@pytest.mark.parametrize("kind", MAKE)
def test_saved_and_loaded_is_the_same(tmp_path, kind):
    evaluator = MAKE[kind](tmp_path / "words")
    clips = [motion(evaluator.representation, n, n) for n in (60, 24, 301)]
    said = ["a person walks.", "a person walks slowly"]
    evaluator.save_pretrained(tmp_path / "out")
    again = load_evaluator(tmp_path / "out")
    assert type(again) is type(evaluator) and again.hash == evaluator.hash != "unsaved"
    assert np.array_equal(again.motions(clips), evaluator.motions(clips))
    assert np.array_equal(again.texts(said), evaluator.texts(said))
    assert again.texts(said).shape == (2, again.width) and again.reads == "text" and again.kind == kind
    assert again.motions([]).shape == (0, again.width) and again.texts([]).shape == (0, again.width)
    config = json.loads((tmp_path / "out" / "evaluator.json").read_text())
    (tmp_path / "out" / "evaluator.json").write_text(json.dumps({**config, "colour": 1}))
    with pytest.raises(ArtifactError, match="got colour as well"):
        load_evaluator(tmp_path / "out")
    (tmp_path / "out" / "evaluator.json").write_text(json.dumps({**config, "kind": "tmr"}))
    with pytest.raises(ArtifactError, match="it holds 'tmr'"):
        load_evaluator(tmp_path / "out")
    (tmp_path / "out" / "evaluator.json").write_text(json.dumps(config))
    (tmp_path / "out" / "Std.npy").unlink()
    with pytest.raises(ArtifactError, match="absent: Std.npy"):
        load_evaluator(tmp_path / "out")
    other = Evaluator if kind == "motion272" else Motion272Evaluator
    with pytest.raises(ArtifactError):
        other.from_pretrained(tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_evaluator(tmp_path / "nowhere")


@pytest.mark.parametrize("kind", MAKE)
def test_a_batch_changes_nothing(tmp_path, kind):
    evaluator = MAKE[kind](tmp_path)
    clips = [motion(evaluator.representation, n, n) for n in (60, 24, 300, 63, 302)]
    together, alone = evaluator.motions(clips), evaluator.motions(clips, batch=1)
    assert np.abs(together - alone).max() < 1e-5
    assert np.abs(evaluator.motions([clips[3][:60]]) - alone[3]).max() < 1e-5, "whole fours are read"
    assert np.abs(evaluator.motions([clips[4][:300]]) - alone[4]).max() < 1e-5, "300 frames are read"
    said = ["a person walks", "a", "a person walks slowly."]
    assert np.abs(evaluator.texts(said) - evaluator.texts(said, batch=1)).max() < 1e-5


@pytest.mark.parametrize("kind", MAKE)
def test_motions_that_cannot_be_read_are_refused(tmp_path, kind):
    evaluator = MAKE[kind](tmp_path)
    with pytest.raises(ValueError, match=f"reads {evaluator.representation}; got hml263"):
        evaluator.motions([motion("hml263", 40)])
    with pytest.raises(ValueError, match="at least 4 frames; got 3"):
        evaluator.motions([motion(evaluator.representation, 3)])


def test_statistics_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(ArtifactError, match=r"the mean must have shape \(135,\)"):
        MotionClipEvaluator(DualEvaluator(DUAL), build_tokenizer(MERGES), np.zeros(272), np.ones(272))
    with pytest.raises(ArtifactError, match="the std must be finite and above 0"):
        MotionClipEvaluator(DualEvaluator(DUAL), build_tokenizer(MERGES), np.zeros(135), np.zeros(135))
    with pytest.raises(ArtifactError, match="tokenizer.json; got none"):
        Motion272Evaluator(temos(), None, np.zeros(272), np.ones(272))
    with pytest.raises(ArtifactError, match="must read motion135, 135 numbers a frame; they read 272"):
        MotionClipEvaluator(temos(), None, np.zeros(135), np.ones(135))


def test_motionclip_reads_rotations_by_columns():
    from hftrainer.motion.rotation import matrix_to_rot6d_columns, matrix_to_rot6d_interleaved, rotvec_to_matrix

    turns = rotvec_to_matrix(np.random.default_rng(0).normal(size=(5, 22, 3)))
    place = np.random.default_rng(1).normal(size=(5, 3))
    rows = np.concatenate([place, matrix_to_rot6d_interleaved(turns).reshape(5, -1)], 1)
    columns = np.concatenate([place, matrix_to_rot6d_columns(turns).reshape(5, -1)], 1)
    read = motionclip()._features(Motion(rows, "motion135", fps=30))
    assert np.abs(read - columns).max() < 1e-6 and np.abs(read - rows).max() > 0.1


def released_272(folder, network):
    """The authors' folder: checkpoint, statistics in ``mean_std/``, DistilBERT's words."""
    folder.mkdir(exist_ok=True)
    table = temos_official.keys(TEMOS.layers, TEMOS.text.layers)
    state = {table[name]: value for name, value in network.state_dict().items()}
    torch.save({"state_dict": state, "hyper_parameters": Settings(1)}, folder / "epoch99.ckpt")
    pieces_folder(folder / "distilbert-base-uncased")
    (folder / "mean_std").mkdir()
    np.save(folder / "mean_std" / "Mean.npy", np.zeros(272))
    np.save(folder / "mean_std" / "Std.npy", np.full(272, 2.0))
    return folder


def test_the_authors_folder_of_272(tmp_path, monkeypatch):
    """A reduced network; the heads of the released one are 4 and 12, which no shape tells."""
    monkeypatch.setattr(temos_official, "HEADS", (2, 2))
    evaluator = load_evaluator(released_272(tmp_path / "theirs", temos()))
    ours = motion272()(tmp_path / "words")
    clips = [motion("motion272", 60), motion("motion272", 100, 1)]
    assert np.array_equal(evaluator.motions(clips), ours.motions(clips))
    assert np.array_equal(evaluator.texts(["a person walks."]), ours.texts(["a person walks."]))
    assert Settings.made == 0 and len(evaluator.hash) == 16


def test_an_artifact_of_the_successor(tmp_path, monkeypatch):
    monkeypatch.setattr(temos_official, "HEADS", (2, 2))
    table = temos_official.keys(TEMOS.layers, TEMOS.text.layers)
    state = {
        table[name].replace("textencoder", "text_encoder").replace("motionencoder", "motion_encoder"): value
        for name, value in temos().state_dict().items()
    }
    pieces_folder(tmp_path / "tokenizer")
    save_file(state, tmp_path / "model.safetensors")
    settings = {"motion_nfeats": 272, "latent_dim": 8, "num_layers": 2, "num_heads": 2,
                "weights_file": "model.safetensors"}  # fmt: skip
    names = {"tokenizer": "tokenizer", "mean": "Mean.npy", "std": "Std.npy", "max_motion_length": 300, "unit_length": 4}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(names))
    with pytest.raises(ArtifactError, match=r"absent: mean \(Mean.npy\), std \(Std.npy\)"):
        load_evaluator(tmp_path)
    np.save(tmp_path / "Mean.npy", np.zeros(272))
    np.save(tmp_path / "Std.npy", np.full(272, 2.0))
    clips = [motion("motion272", 60)]
    assert np.array_equal(load_evaluator(tmp_path).motions(clips), motion272()(tmp_path / "words").motions(clips))
    (tmp_path / "config.json").write_text(json.dumps({**settings, "latent_dim": 256}))
    with pytest.raises(ArtifactError, match="it says latent_dim 256, not 8"):
        load_evaluator(tmp_path)


def test_sentences_and_motions_of_a_pair_meet():
    """The loss of both ways falls to nothing where matching rows are alike and others are not."""
    network = DualEvaluator(DUAL).requires_grad_(False)
    points = torch.eye(4, 6)
    assert float(network.loss(points, points)) < 1e-3 < float(network.loss(points, points.flip(0)))
    assert network.logits(points, points)[0, 0].item() == pytest.approx(1 / 0.07, rel=1e-5)
    with torch.no_grad():
        network.scale.fill_(9.0)
    assert network.logits(points, points)[0, 0].item() == pytest.approx(100), "the scale has a limit"
    with pytest.raises(ValueError, match="which ends it; one does not"):
        network.encode_texts(torch.zeros(1, 4, dtype=torch.long))


def test_configurations_that_cannot_be():
    with pytest.raises(ValueError, match="multiple of 3 heads"):
        TemosConfig(heads=3)
    with pytest.raises(ValueError, match="most_frames must be 1 to 512; got 513"):
        DualConfig(most_frames=513)
    with pytest.raises(ValueError, match="layers must be a whole number of at least 1; got 0"):
        SideConfig(layers=0)
    with pytest.raises(ValueError, match="at most 300 frames; got 304"):
        temos().encode_motions(torch.zeros(1, 304, 272), torch.tensor([304]))
    with pytest.raises(ValueError, match=r"1 to 40 frames; got \[41\]"):
        temos().encode_motions(torch.zeros(1, 40, 272), torch.tensor([41]))


# -------------------------------------------------------------------------------------------- from the command line


def imported(capsys, *words):
    from hftrainer.cli import main

    code = main(["import", "evaluator", *map(str, words)])
    said = capsys.readouterr()
    return code, said.out, said.err


def released(tmp_path):
    """The separate files of the reduced 272 evaluator: weights, statistics, words."""
    folder = released_272(tmp_path / "theirs", temos())
    place = folder / "mean_std"
    return ["--weights", folder / "epoch99.ckpt", "--mean", place / "Mean.npy", "--std", place / "Std.npy",
            "--distilbert", folder / "distilbert-base-uncased"]  # fmt: skip


def test_an_evaluator_is_imported_and_proved(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(temos_official, "HEADS", (2, 2))
    words = released(tmp_path)
    code, out, err = imported(capsys, *words, "-o", tmp_path / "ours", "--verify")
    assert code == 0, err
    assert "evaluator: motion272" in out and "max-abs-diff 0.0" in out
    clips = [motion("motion272", 60)]
    ours = load_evaluator(tmp_path / "ours")
    assert np.array_equal(ours.motions(clips), motion272()(tmp_path / "words").motions(clips))
    assert sorted(file.name for file in (tmp_path / "ours").iterdir()) == [
        "Mean.npy", "SHA256SUMS", "Std.npy", "evaluator.json", "evaluator.safetensors", "tokenizer.json",
    ]  # fmt: skip
    assert imported(capsys, *words, "-o", tmp_path / "ours")[0] == 0, "an evaluator may take an evaluator's place"


def test_wrong_imports_of_evaluators_are_refused(tmp_path, capsys):
    words, out = released(tmp_path), ("-o", tmp_path / "ours")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.txt").write_text("a")
    for more, code, message in (
        ((*words[:2], *out), 2, "--mean, --std must be given"),
        ((*words, "--glove", tmp_path, *out), 2, "one of --glove and --distilbert"),
        ((*words, "--ema", *out), 2, "flags must belong to evaluator; got --ema"),
        ((*words, "-o", tmp_path / "full"), 2, "it holds other files"),
        ((*words, "-o", tmp_path / "theirs"), 2, "must be a new folder|which is read from"),
    ):
        import re

        got, _, err = imported(capsys, *more)
        assert got == code and re.search(message, err), err
    words[1] = tmp_path / "theirs" / "mean_std" / "Mean.npy"
    code, _, err = imported(capsys, *words, *out)
    assert code in (1, 2) and "must be a torch file" in err and not (tmp_path / "ours").exists()
