"""The evaluator: padding, words, the authors' files, and what is refused of them."""

import pickle

import numpy as np
import pytest
import torch

from hftrainer.errors import ArtifactError
from hftrainer.models.evaluator import Evaluator, EvaluatorConfig, TextMotionEvaluator, WordVectors, official
from hftrainer.models.evaluator.words import CLASSES, PARTS
from hftrainer.motion.clip import Motion

CONFIG = EvaluatorConfig(6, 15, 8, 7, 263, 10, 9, 11)
WORDS = ["unk", "sos", "eos", "a", "person", "walk", "left", "slowly"]


def network(seed=0):
    torch.manual_seed(seed)
    return TextMotionEvaluator(CONFIG).eval()


def vectors():
    return WordVectors(WORDS, np.random.default_rng(0).normal(size=(len(WORDS), 6)))


def evaluator():
    return Evaluator(network(), vectors(), np.zeros(263), np.ones(263))


def motion(frames, seed=0):
    return Motion(np.random.default_rng(seed).normal(size=(frames, 263)), "hml263", fps=20, name=f"clip {seed}")


# ---------------------------------------------------------------------------------------------------------- networks


@torch.no_grad()
@pytest.mark.parametrize("length", [4, 5, 6, 7, 8, 23, 40])
def test_alone_means_alone(length):
    net, batch = network(), torch.randn(2, 40, 263)
    alone = net.encode_motions(batch[:1, :length], torch.tensor([length]), "consumed" if length % 4 == 0 else "alone")
    batch[0, length:] = float("nan")  # what is behind the end is not read at all
    together = net.encode_motions(batch, torch.tensor([length, 40]))
    assert torch.allclose(together[:1], alone, atol=1e-6) and torch.isfinite(together).all()


@torch.no_grad()
def test_the_three_ways_to_read_padding_differ_only_where_there_is_some():
    net, batch = network(), torch.randn(2, 40, 263)
    ways = {way: net.encode_motions(batch, torch.tensor([24, 40]), way) for way in ("alone", "packed", "consumed")}
    for way in ("packed", "consumed"):
        assert torch.allclose(ways[way][1], ways["alone"][1], atol=1e-6)
        assert (ways[way][0] - ways["alone"][0]).abs().max() > 1e-3
    assert (ways["packed"][0] - ways["consumed"][0]).abs().max() > 1e-3


@torch.no_grad()
def test_packed_is_what_the_text_to_motion_code_does(shared):
    from safetensors.torch import load_file

    folder = shared / "golden" / "zoo"
    net = official.build(load_file(folder / "evalhml_tiny_weights.safetensors"))
    case = load_file(folder / "evalhml_tiny_io.safetensors")
    order = case["align_idx"].long()
    motions = net.encode_motions(case["motions"], case["m_lens"].long(), "packed")
    texts = net.encode_texts(case["word_embs"], case["pos_ohot"], case["cap_lens"].long())
    assert (motions[order] - case["motion_emb_aligned"]).abs().max() <= 1e-5
    assert (texts[order] - case["text_emb_aligned"]).abs().max() <= 1e-5


@torch.no_grad()
def test_contacts_are_not_read_and_the_order_of_a_batch_is_kept():
    net, batch, lengths = network(), torch.randn(3, 40, 263), torch.tensor([12, 40, 24])
    want = net.encode_motions(batch, lengths)
    other = batch.clone()
    other[..., -4:] = 7
    assert torch.equal(net.encode_motions(other, lengths), want)
    turned = net.encode_motions(batch.flip(0), lengths.flip(0)).flip(0)
    assert torch.allclose(turned, want, atol=1e-6)


def test_impossible_lengths_and_paddings_are_refused():
    net = network()
    with pytest.raises(ValueError, match=r"every length must be 4 to 40 frames; got \[3, 41\]"):
        net.encode_motions(torch.zeros(2, 40, 263), torch.tensor([3, 41]))
    with pytest.raises(ValueError, match="alone, packed, consumed; got 'pakced'"):
        net.encode_motions(torch.zeros(1, 40, 263), torch.tensor([40]), "pakced")
    with pytest.raises(ValueError, match="1 to 22 words"):
        net.encode_texts(torch.zeros(1, 22, 6), torch.zeros(1, 22, 15), torch.tensor([0]))
    with pytest.raises(ValueError, match="features must be a whole number of at least 5; got 4"):
        EvaluatorConfig(features=4)


# ------------------------------------------------------------------------------------------------------------- words


def test_the_first_class_that_lists_a_word_has_it():
    from hftrainer.models.evaluator import words

    assert len(PARTS) == 15 and all(name in PARTS for name in CLASSES)
    every = [word for row in CLASSES.values() for word in row.split()]
    assert len(every) == len(set(every)) == len(words._CLASS_OF) == 81


def test_a_sentence_is_wrapped_cut_and_padded():
    known = vectors()
    rows, parts, length = known.sentence(["a/DET", "person/NOUN", "zzz/VERB"])
    assert rows.shape == (22, 6) and parts.shape == (22, 15) and length == 5 and parts.dtype == np.float32
    assert [PARTS[i] for i in parts.argmax(1)[:5]] == ["OTHER", "DET", "NOUN", "OTHER", "OTHER"]
    assert (rows[3] == known.vectors[0]).all() and (rows[5:] == known.vectors[0]).all()
    assert (rows[4] == known.vectors[2]).all()
    long, _, length = known.sentence(["walk/VERB"] * 30)
    assert length == 22 and (long[21] == known.vectors[2]).all()
    assert known.sentence([])[2] == 2


@pytest.mark.parametrize(
    "words, rows, message",
    [
        (["unk", "a"], 3, "one row a word, 2"), (["a", "b"], 2, "must hold 'unk'"), (["unk", "unk"], 2, "once"),
    ],
)  # fmt: skip
def test_vocabularies_that_do_not_fit_are_refused(words, rows, message):
    with pytest.raises(ValueError, match=message):
        WordVectors(words, np.zeros((rows, 4)))


# ------------------------------------------------------------------------------------------------------------- files


def parts_of(net):
    """The networks as the authors' file holds them."""
    parts = {part: {} for part in ("text_encoder", "movement_encoder", "motion_encoder")}
    for ours, theirs in official.evaluator_keys().items():
        part, _, key = theirs.partition(".")
        parts[part][key] = net.state_dict()[ours]
    return parts


def authors_folder(folder, nested=False):
    """A whole folder in the authors' layout."""
    glove, meta = (folder / "glove", folder / "meta") if nested else (folder, folder)
    for place in (folder, glove, meta):
        place.mkdir(exist_ok=True)
    torch.save({**parts_of(network()), "epoch": 7}, folder / ("text_mot_match.tar" if nested else "finest.tar"))
    shuffled = vectors().vectors[::-1]
    np.save(glove / "our_vab_data.npy", shuffled.astype(np.float64))
    (glove / "our_vab_words.pkl").write_bytes(pickle.dumps(WORDS))
    (glove / "our_vab_idx.pkl").write_bytes(pickle.dumps({w: len(WORDS) - 1 - i for i, w in enumerate(WORDS)}))
    np.save(meta / "mean.npy", np.zeros(263))
    np.save(meta / "std.npy", np.ones(263))
    return folder


@pytest.mark.parametrize("nested", [False, True])
def test_the_authors_folder_and_ours_give_the_same(tmp_path, nested):
    theirs = Evaluator.from_pretrained(authors_folder(tmp_path / "official", nested))
    theirs.save_pretrained(tmp_path / "ours")
    ours = Evaluator.from_pretrained(tmp_path / "ours")
    clips = [motion(40), motion(23, 1), motion(64, 2)]
    sentences = [["a/DET", "person/NOUN"], ["walk/VERB"]]
    for one in (theirs, ours):
        assert np.array_equal(one.motions(clips), evaluator().motions(clips))
        assert np.array_equal(one.texts(sentences), evaluator().texts(sentences))
    assert ours.hash == theirs.hash != "unsaved"  # the one that was written last
    assert np.abs(ours.motions(clips, batch=1) - ours.motions(clips)).max() < 1e-6
    assert ours.representation == "hml263" and ours.motions([]).shape == (0, 7)


def test_a_copy_inside_a_checkpoint_is_found():
    names = {"text_encoder": "t2m_textencoder", "movement_encoder": "t2m_moveencoder",
             "motion_encoder": "t2m_motionencoder"}  # fmt: skip
    state = {"vae.encoder.weight": torch.zeros(1), "metrics.TM2TMetrics.count": torch.zeros(())}
    for metric, seed in (("MMMetrics", 1), ("TM2TMetrics", 0)):
        for part, tensors in parts_of(network(seed)).items():
            state |= {f"metrics.{metric}.{names[part]}.{key}": value for key, value in tensors.items()}
    for checkpoint in (state, {"state_dict": state}):
        net = official.build(official.find_weights(checkpoint))
        assert net.config == CONFIG
        assert all(torch.equal(v, network().state_dict()[k]) for k, v in net.state_dict().items())


def test_the_names_are_those_of_the_released_layout(shared):
    import json

    shapes = json.loads((shared / "golden" / "motiongpt" / "manifest_full" / "case.json").read_text())
    text = json.dumps(shapes)
    for key in official.evaluator_keys().values():
        part, _, rest = key.partition(".")
        copy = {"text_encoder": "textencoder", "movement_encoder": "moveencoder", "motion_encoder": "motionencoder"}
        assert f"metrics.TM2TMetrics.t2m_{copy[part]}.{rest}" in text, key


def test_weights_that_do_not_fit_are_all_named():
    weights = official.find_weights(parts_of(network()))
    del weights["motion_encoder.hidden"]
    weights["text_encoder.extra"] = torch.zeros(1)
    with pytest.raises(ArtifactError, match=r"missing motion_encoder.hidden; unexpected text_encoder.extra"):
        official.build(weights)
    weights = official.find_weights(parts_of(network()))
    weights["motion_encoder.hidden"] = torch.zeros(2, 1, 3)
    weights["text_encoder.gru.bias_hh_l0"] = torch.zeros(1)
    with pytest.raises(ArtifactError, match=r"gru.bias_hh_l0 is \(1,\).*|hidden is \(2, 1, 3\)") as error:
        official.build(weights)
    assert "motion_encoder.hidden is (2, 1, 3), the network needs (2, 1, 11)" in str(error.value)
    with pytest.raises(ArtifactError, match="got neither"):
        official.find_weights({"vae.encoder": torch.zeros(1)})


class Evil:
    """What a pickle may ask its reader to call."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("file", ["our_vab_words.pkl", "our_vab_idx.pkl", "finest.tar"])
def test_code_in_a_pickle_never_runs(tmp_path, file):
    folder, trace = authors_folder(tmp_path / "official"), tmp_path / "ran"
    if file == "finest.tar":
        torch.save({"text_encoder": Evil(trace)}, folder / file)
    else:
        (folder / file).write_bytes(pickle.dumps(Evil(trace)))
    with pytest.raises(ArtifactError, match=file):
        Evaluator.from_pretrained(folder)
    assert not trace.exists()


@pytest.mark.parametrize(
    "file, content, message",
    [
        ("our_vab_words.pkl", pickle.dumps({"a": 1}), "must be a list of words; got dict"),
        ("our_vab_words.pkl", pickle.dumps(["unk", 3]), "must be a list of words"),
        ("our_vab_words.pkl", pickle.dumps(["unk", "new"]), "every word must have a row of 0 to 7; .*new"),
        ("our_vab_words.pkl", pickle.dumps(WORDS)[:-9], "must be a pickle"),
        ("our_vab_words.pkl", b"not a pickle", "must be a pickle"),
        ("our_vab_idx.pkl", pickle.dumps({"unk": 1.5}), "must give words their rows"),
        ("our_vab_idx.pkl", pickle.dumps({"unk": 99}), "row of 0 to 7"),
        ("our_vab_data.npy", b"no numbers", "must be an array of numbers"),
        ("finest.tar", b"no tensors", "must be a torch file"),
    ],
)
def test_damaged_files_are_refused(tmp_path, file, content, message):
    folder = authors_folder(tmp_path / "official")
    (folder / file).write_bytes(content)
    with pytest.raises(ArtifactError, match=message):
        Evaluator.from_pretrained(folder)


def test_absent_files_are_listed(tmp_path):
    with pytest.raises(FileNotFoundError, match="must be a folder"):
        Evaluator.from_pretrained(tmp_path / "none")
    with pytest.raises(ArtifactError, match="It holds neither"):
        Evaluator.from_pretrained(tmp_path)
    folder = authors_folder(tmp_path / "official")
    for name in ("our_vab_words.pkl", "our_vab_idx.pkl"):
        (folder / name).unlink()
    with pytest.raises(ArtifactError, match="absent: our_vab_words.pkl, our_vab_idx.pkl"):
        Evaluator.from_pretrained(folder)


def test_parts_that_do_not_fit_one_another_are_refused():
    narrow = WordVectors(["unk"], np.zeros((1, 5)))
    with pytest.raises(ArtifactError, match="word vectors must have 6 numbers; got 5"):
        Evaluator(network(), narrow, np.zeros(263), np.ones(263))
    with pytest.raises(ArtifactError, match=r"the mean must have shape \(263,\)"):
        Evaluator(network(), vectors(), np.zeros(251), np.ones(251))
    with pytest.raises(ArtifactError, match="the std must be finite and above 0"):
        Evaluator(network(), vectors(), np.zeros(263), np.zeros(263))
    with pytest.raises(ValueError, match="clip 0: .*reads hml263; got joints"):
        evaluator().motions([Motion(np.zeros((40, 22, 3)), "joints", fps=20, name="clip 0")])
