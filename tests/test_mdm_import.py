"""MDM's checkpoints: every released layout imported whole, or refused with all that is wrong and nothing written."""

import json
import pickle
import re

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from hftrainer.cli import main
from hftrainer.errors import ArtifactError
from hftrainer.models.motion.mdm import official
from hftrainer.models.motion.mdm.bundle import MDMBundle
from hftrainer.models.motion.mdm.release import read_release
from hftrainer.models.motion.mdm.verify import verify
from hftrainer.motion.clip import Motion
from scripts.eval.convert_mdm_checkpoint import words as converter
from tests import mdm_release as authors


def line(weights, out, *more):
    """The command line of an import."""
    return ["import", "mdm", "--weights", str(weights), "-o", str(out), *map(str, more), "--quiet"]


def refused(capsys, tmp_path, words, *parts, code=2):
    """The command refuses in one sentence that has all parts, and leaves nothing behind."""
    before = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*"))
    capsys.readouterr()
    assert main(words) == code
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("hftrainer: ") and said.err.count("\n") == 1
    assert [part for part in parts if part not in said.err] == [], said.err
    assert sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*")) == before


# ------------------------------------------------------------------------------------------------ released layouts


@pytest.mark.parametrize("kind", authors.KINDS)
def test_every_released_kind(tmp_path, capsys, kind):
    said = authors.options(kind)
    raw, averages = authors.state(said, 1), authors.state(said, 2)
    value = {"model": raw, "model_avg": averages} if said.get("use_ema") else raw
    weights = authors.write(tmp_path / "save", said, value)
    assert main([*line(weights, tmp_path / "mdm", "--verify"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert any("max-abs-diff = 0.0" in row for row in report["verified"])
    bundle = MDMBundle.from_pretrained(tmp_path / "mdm")
    config = official.config_from_arguments(said)
    assert bundle.config == config
    assert bundle.guidance == report["guidance"] == (7.5 if kind.startswith("dip") else 2.5)
    assert bundle.representation == ("kit251" if kind == "kit" else "hml263")
    assert bundle.evaluation_frames == (None if config.mask_frames else 196)
    want = averages if said.get("use_ema") else raw
    for ours, theirs in official.keys(config).items():
        assert torch.equal(bundle.network.state_dict()[ours], want[theirs])
    stored = load_file(tmp_path / "mdm" / "model.safetensors")
    assert set(stored) == {key for key in want if "sequence_pos_encoder" not in key}
    assert all(p.requires_grad for p in bundle.network.parameters())
    assert {"seed", "lr"} <= set(bundle.about["arguments"])


@pytest.mark.parametrize("change", ["no tables", "clip inside", "parameters"])
def test_layouts_of_the_state(tmp_path, change):
    said = authors.options("flat of 2022")
    state = authors.state(said)
    if change == "no tables":
        state = {key: value for key, value in state.items() if "sequence_pos_encoder" not in key}
    elif change == "clip inside":
        state["clip_model.positional_embedding"] = torch.zeros(3)
    else:
        state = {key: torch.nn.Parameter(value) for key, value in state.items()}
    weights = authors.write(tmp_path / "save", said, state)
    files = read_release(weights)
    assert not any(value.requires_grad for value in files.state.values())
    assert verify(MDMBundle.from_release(files), _saved(files, tmp_path / "mdm"), files)


def _saved(files, folder):
    MDMBundle.from_release(files).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    "use_ema, has, averages, taken",
    [
        (True, True, None, 2),
        (False, True, None, 1),
        (True, False, None, 1),
        (False, True, True, 2),
        (True, True, False, 1),
    ],
)
def test_averages(tmp_path, use_ema, has, averages, taken):
    said = authors.options("flat of 2022", use_ema=use_ema)
    value = {"model": authors.state(said, 1)} | ({"model_avg": authors.state(said, 2)} if has else {})
    files = read_release(authors.write(tmp_path, said, value), averages=averages)
    assert torch.equal(files.state["enter.weight"], authors.state(said, taken)["input_process.poseEmbedding.weight"])
    assert files.remarks[0].startswith("the weights are " + ("averages" if taken == 2 else "not averages"))


def test_without_options_a_flat_encoder_is_taken_for_one_of_2022(tmp_path, capsys):
    said = {"latent_dim": 32, "layers": 2, "dataset": "kit"}
    weights = authors.write(tmp_path / "save", said)
    (tmp_path / "save" / "args.json").unlink()
    assert main([*line(weights, tmp_path / "mdm"), "--json"]) == 0
    assert "taken for a model of 2022 with 1000 steps" in capsys.readouterr().out
    assert MDMBundle.from_pretrained(tmp_path / "mdm").config == official.config_from_arguments(said)


def test_options_that_do_not_concern_the_network_are_told(tmp_path):
    files = read_release(authors.write(tmp_path, authors.options("50 steps", use_ema=False)))
    passed = "options that do not concern the network were passed over: emb_before_mask, keyframe_cond_type"
    assert files.remarks == (passed,)


def test_very_old_options(tmp_path):
    said = authors.options("flat of 2022", cond_mode="no_cond", cond_mask_prob=0.0)
    files = read_release(authors.write(tmp_path, said))
    assert files.config.condition == "none" and files.guidance == 1


@pytest.mark.parametrize("dataset, actions", [("humanact12", 12), ("uestc", 40)])
def test_action_models_can_be_read_but_not_bundled(tmp_path, capsys, dataset, actions):
    said = {**authors.SMALL, "dataset": dataset, "cond_mask_prob": 0.0}
    weights = authors.write(tmp_path / "save", said)
    files = read_release(weights)
    assert files.state["action"].shape == (actions, 32) and files.pair is None and files.guidance == 1
    refused(capsys, tmp_path, line(weights, tmp_path / "mdm"), "HumanML3D or KIT-ML", dataset)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["humanml_trans_enc_512", "dip_target_10steps_context20_predict40"])
def test_full_size(tmp_path, shared, name, capsys):
    manifest = json.loads((shared / "golden/mdm/checkpoint/manifest_released.json").read_text())[name]
    said = manifest["args_that_matter"]
    weights = authors.write(tmp_path / "save", said, authors.state(said, rows=5000))
    assert main([*line(weights, tmp_path / "mdm", "--verify"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["parameters"]["network"] == manifest["n_params_without_text_encoder"]


# -------------------------------------------------------------------------------------------------------- refusals


@pytest.fixture
def flat(tmp_path):
    return authors.write(tmp_path / "save", authors.options("flat of 2022"))


def test_all_that_is_wrong_is_listed(tmp_path, capsys):
    said = authors.options("flat of 2022")
    state = authors.state(said)
    del state["embed_text.bias"]
    state["extra"] = torch.zeros(1)
    state["output_process.poseFinal.bias"] = torch.zeros(251)
    weights = authors.write(tmp_path / "save", said, state)
    (tmp_path / "save" / "Std.npy").unlink()
    refused(
        capsys, tmp_path, line(weights, tmp_path / "mdm"), "4 problems", "missing embed_text.bias", "unexpected extra",
        "output_process.poseFinal.bias is (251,), the network needs (263,)", "Mean.npy and Std.npy of HumanML3D",
    )  # fmt: skip


@pytest.mark.parametrize(
    "write, parts",
    [
        (lambda file: file.unlink(), ["no such file"]),
        (lambda file: file.write_bytes(b""), ["empty"]),
        (lambda file: file.write_bytes(file.read_bytes()[:5000]), ["too early"]),
        (lambda file: file.write_text("hello"), ["begins with"]),
        (lambda file: torch.save([1], file), ["got list"]),
        (lambda file: torch.save({"vae.encoder.weight": torch.zeros(1)}, file), ["a MotionGPT checkpoint"]),
        (lambda file: torch.save({"state": {}, "param_groups": []}, file), ["optimiser"]),
        (lambda file: torch.save({"some": torch.zeros(1)}, file), ["input_process.*", "got some"]),
        (lambda file: torch.save({"input_process.x": file}, file), ["would run code"]),
        (lambda file: file.write_bytes(pickle.dumps({"input_process.x": 1})), ["pickle is damaged"]),
    ],
)
def test_files_that_are_no_checkpoint(tmp_path, capsys, flat, write, parts):
    write(flat)
    refused(capsys, tmp_path, line(flat, tmp_path / "mdm"), *parts)


@pytest.mark.parametrize(
    "text, parts",
    [
        ("{", ["args.json must be JSON"]),
        ("[]", ["object of options"]),
        ('{"layers": "8"}', ["layers in args.json must be like 8; got '8'"]),
        ('{"mask_frames": "False"}', ["mask_frames", "'False'"]),
        ('{"latent_dim": 32, "layers": 1, "dataset": "babel"}', ["dataset must be one of humanml, kit"]),
        ('{"latent_dim": 32, "layers": 1, "arch": "mamba"}', ["architecture must be one of trans_enc"]),
        ('{"latent_dim": 32, "layers": 1, "emb_policy": "concat"}', ["emb_policy must be add"]),
        ('{"latent_dim": 32, "layers": 1, "text_encoder_type": "bert"}', ["must have architecture trans_dec"]),
        ('{"latent_dim": 64, "layers": 2}', ["missing seqTransEncoder.layers.1.norm1.bias", "the network needs (64,)"]),
    ],
)
def test_options_that_do_not_fit(tmp_path, capsys, flat, text, parts):
    (flat.parent / "args.json").write_text(text)
    refused(capsys, tmp_path, line(flat, tmp_path / "mdm"), *parts)


def test_options_that_are_named_must_be_there(tmp_path, capsys, flat):
    refused(capsys, tmp_path, line(flat, tmp_path / "mdm", "--args", tmp_path / "no.json"), "no.json", "no such file")


def test_a_decoder_without_options_is_refused(tmp_path, capsys):
    weights = authors.write(tmp_path / "save", authors.options("decoder"))
    (tmp_path / "save" / "args.json").unlink()
    refused(capsys, tmp_path, line(weights, tmp_path / "mdm"), "args.json must lie beside it")


def test_averages_that_are_not_there(tmp_path, capsys, flat):
    refused(capsys, tmp_path, line(flat, tmp_path / "mdm", "--ema"), "averages must be in the checkpoint")


def test_the_wrong_pair_is_refused_by_name(tmp_path, capsys, flat):
    mean, std = authors.statistics()
    std[-4:] /= 25
    np.save(flat.parent / "Std.npy", std)
    out = tmp_path / "mdm"
    refused(capsys, tmp_path, line(flat, out), "must be HumanML3D's own pair", "evaluator's pair", "divided by 25")
    assert main(line(flat, out, "--any-statistics")) == 0
    assert np.array_equal(np.load(out / "Std.npy"), std)


def test_another_data_sets_pair_is_refused(tmp_path, capsys, flat):
    for name, array in zip(("m.npy", "s.npy"), authors.statistics(251), strict=True):
        np.save(tmp_path / name, array)
    more = ("--mean", tmp_path / "m.npy", "--std", tmp_path / "s.npy", "--any-statistics")
    refused(capsys, tmp_path, line(flat, tmp_path / "mdm", *more), "263 numbers; got 251", "the pair of kit")


def test_half_a_pair(tmp_path, capsys, flat):
    refused(capsys, tmp_path, line(flat, tmp_path / "mdm", "--mean", flat.parent / "Mean.npy"), "must come together")


def test_a_spread_of_zero(tmp_path, capsys, flat):
    np.save(flat.parent / "Std.npy", np.zeros(263, np.float32))
    refused(capsys, tmp_path, line(flat, tmp_path / "mdm"), "must be above 0")


def test_the_authors_folders_are_searched_for_statistics(tmp_path):
    weights = authors.write(tmp_path / "save" / "model", authors.options("flat of 2022"))
    data = tmp_path / "dataset" / "HumanML3D"
    data.mkdir(parents=True)
    for name in ("Mean.npy", "Std.npy"):
        (weights.parent / name).rename(data / name)
    assert read_release(weights).pair.files[0] == data / "Mean.npy"


def test_places_that_must_not_be_written(tmp_path, capsys, flat):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    refused(capsys, tmp_path, line(flat, tmp_path / "full"), "holds other files")
    refused(capsys, tmp_path, line(flat, flat), "must be a folder")
    (flat.parent / "mdm_config.json").write_text("{}")
    refused(capsys, tmp_path, line(flat, flat.parent), "must not hold", "read from")


def test_an_older_artifact_gives_way(tmp_path, flat):
    out = tmp_path / "mdm"
    assert main(line(flat, out)) == 0
    first = MDMBundle.from_pretrained(out).hash
    assert main(line(flat, out, "--guidance", "4")) == 0
    second = MDMBundle.from_pretrained(out)
    assert second.hash != first and second.guidance == 4
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mdm", "save"]


def test_flags_of_the_other_kind(tmp_path, capsys, flat):
    refused(capsys, tmp_path, line(flat, tmp_path / "mdm", "--t5", tmp_path), "must belong to mdm; got --t5")
    words = ["import", "motiongpt", "--weights", str(flat), "-o", str(tmp_path / "x"), "--clip", "clip", "--quiet"]
    refused(capsys, tmp_path, words, "must belong to motiongpt; got --clip")
    refused(capsys, tmp_path, [w for w in words if w not in ("--clip", "clip")], "--t5 must be given")


def test_guidance_that_cannot_be(tmp_path, capsys):
    weights = authors.write(tmp_path / "save", authors.options("flat of 2022", cond_mask_prob=0.0))
    refused(capsys, tmp_path, line(weights, tmp_path / "mdm", "--guidance", "2.5"), "--guidance must be 1")
    assert main(line(weights, tmp_path / "mdm")) == 0 and MDMBundle.from_pretrained(tmp_path / "mdm").guidance == 1


def test_verification_sees_a_changed_number(tmp_path, flat):
    files = read_release(flat)
    bundle = MDMBundle.from_release(files)
    bundle.save_pretrained(tmp_path / "mdm")
    state = load_file(tmp_path / "mdm" / "model.safetensors")
    state["embed_text.bias"][3] += 1e-6
    save_file(state, tmp_path / "mdm" / "model.safetensors")
    with pytest.raises(RuntimeError, match=r"embed_text\.bias is not the checkpoint's"):
        verify(bundle, tmp_path / "mdm", files)


# ------------------------------------------------------------------------------------------------- with a text tower


def test_clip_travels_inside(tmp_path, capsys, flat):
    folder = authors.clip_folder(tmp_path / "clip")
    assert main([*line(flat, tmp_path / "mdm", "--clip", folder, "--verify"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["text_tower"] == "clip" and any("text tower clip" in row for row in report["verified"])
    bundle = MDMBundle.from_pretrained(tmp_path / "mdm")
    told, real = bundle.encode_text(["a person walks forward.", "jump"])
    assert told.shape == (2, 1, 512) and told.dtype == torch.float32 and real is None
    assert bundle.unread("a man walks " * 7) == "walks" and bundle.unread("a man walks") == ""
    half = load_file(tmp_path / "mdm" / "text_encoder" / "tower.safetensors")
    assert half["tokens.weight"].dtype == torch.float16  # nothing was lost by it


def test_distilbert_travels_inside(tmp_path):
    weights = authors.write(tmp_path / "save", authors.options("distilbert"))
    folder = authors.distilbert_folder(tmp_path / "bert")
    assert main(line(weights, tmp_path / "mdm", "--distilbert", folder, "--verify")) == 0
    told, real = MDMBundle.from_pretrained(tmp_path / "mdm").encode_text(["a person walks forward.", "walks"])
    assert told.shape == (2, 8, 768) and real.sum(1).tolist() == [8, 4]


def test_the_wrong_tower(tmp_path, capsys, flat):
    folder = authors.distilbert_folder(tmp_path / "bert")
    refused(capsys, tmp_path, line(flat, tmp_path / "mdm", "--distilbert", folder), "reads its words with clip")
    refused(capsys, tmp_path, line(flat, tmp_path / "mdm", "--clip", folder), "must describe one of clip", "distilbert")
    more = ("--clip", folder, "--distilbert", folder)
    refused(capsys, tmp_path, line(flat, tmp_path / "mdm", *more), "one of --clip and --distilbert")
    refused(capsys, tmp_path, line(flat, tmp_path / "mdm", "--clip", tmp_path / "nothing"), "no such file")


def test_a_damaged_tower_leaves_nothing_behind(tmp_path, capsys, flat):
    folder = authors.clip_folder(tmp_path / "clip")
    state = load_file(folder / "model.safetensors")
    del state["text_model.final_layer_norm.bias"]
    state["text_model.more"] = torch.zeros(1)
    save_file(state, folder / "model.safetensors")
    refused(
        capsys, tmp_path, line(flat, tmp_path / "mdm", "--clip", folder), "2 problems",
        "missing text_model.final_layer_norm.bias", "unexpected text_model.more",
    )  # fmt: skip


# ----------------------------------------------------------------------------------------------------- the artifact


def test_the_published_artifact_loads(tmp_path, flat):
    """The hub's own: three fields, no text tower, nothing of ours."""
    MDMBundle.from_release(read_release(flat)).save_pretrained(tmp_path / "mdm")
    file = tmp_path / "mdm" / "mdm_config.json"
    said = json.loads(file.read_text())
    file.write_text(json.dumps({key: said[key] for key in ("model_type", "guidance_param", "config")}))
    bundle = MDMBundle.from_pretrained(tmp_path / "mdm")
    assert bundle.frame_range == (40, 196) and bundle.evaluation_frames == 196 and bundle.representation == "hml263"


@pytest.mark.parametrize(
    "change, parts",
    [
        (lambda said: said.update(surprise=1), "surprise"),
        (lambda said: said.pop("config"), "must have model_type"),
        (lambda said: said["config"].update(layers=2), "missing seqTransEncoder.layers.1"),
        (lambda said: said["config"].update(dataset="uestc"), "model.safetensors does not fit"),
        (lambda said: said.update(network={"depth": 3}), "must have fields of"),
        (lambda said: said.update(network={"heads": 5}), "multiple of 5 heads"),
        (lambda said: said.update(frame_range=[50, 40]), "fewest and most frames"),
    ],
)
def test_an_artifact_that_does_not_fit(tmp_path, flat, change, parts):
    MDMBundle.from_release(read_release(flat)).save_pretrained(tmp_path / "mdm")
    file = tmp_path / "mdm" / "mdm_config.json"
    said = json.loads(file.read_text())
    change(said)
    file.write_text(json.dumps(said))
    with pytest.raises(ArtifactError, match=re.escape(parts)):
        MDMBundle.from_pretrained(tmp_path / "mdm")


def test_absent_files_of_an_artifact(tmp_path, flat):
    MDMBundle.from_release(read_release(flat)).save_pretrained(tmp_path / "mdm")
    (tmp_path / "mdm" / "Mean.npy").unlink()
    with pytest.raises(ArtifactError, match=r"absent: Mean\.npy"):
        MDMBundle.from_pretrained(tmp_path / "mdm")


def test_numbers_are_normalised_inside_only(tmp_path, flat):
    bundle = MDMBundle.from_release(read_release(flat))
    motion = Motion(np.random.default_rng(0).normal(size=(48, 263)).astype(np.float32), "hml263", 20)
    sample = bundle.normalize(motion)
    assert sample.shape == (263, 1, 48)
    back = bundle.denormalize(sample, 40)
    assert back.representation.name == "hml263" and back.fps == 20 and len(back) == 40
    assert np.allclose(back.data, motion.data[:40], atol=1e-5)
    with pytest.raises(ValueError, match="must be hml263"):
        bundle.normalize(Motion(np.zeros((4, 251), np.float32), "kit251", 12.5))


def test_a_text_tower_that_is_not_the_models(tmp_path, flat):
    from hftrainer.models.tower_files import read_distilbert

    bundle = MDMBundle.from_release(read_release(flat))
    with pytest.raises(ArtifactError, match="must be clip, 512 wide; got distilbert, 768 wide"):
        bundle.attach(read_distilbert(authors.distilbert_folder(tmp_path / "bert")))


def test_a_model_of_our_own_sizes_keeps_them(tmp_path):
    from dataclasses import replace

    from hftrainer.models.motion.mdm.network import MDM
    from hftrainer.models.motion.motiongpt.bundle import Statistics

    config = replace(
        official.config_from_arguments(authors.SMALL), heads=2, feed_forward=48, text_encoder="words", text_width=64
    )
    bundle = MDMBundle(MDM(config), Statistics(*authors.statistics(), "hml263"), evaluation_frames=None)
    bundle.save_pretrained(tmp_path / "mdm")
    loaded = MDMBundle.from_pretrained(tmp_path / "mdm")
    assert loaded.config == config and loaded.hash == bundle.hash and loaded.evaluation_frames is None
    with pytest.raises(ArtifactError, match="words must lie in the artifact"):
        loaded.encode_text(["a"])


def test_the_cards_converter(tmp_path, flat):
    given = ["--model_path", str(flat), "--out_dir", str(tmp_path / "mdm"), "--guidance_param", "2.5", "--verify"]
    words = converter(given)
    assert words[:2] == ["import", "mdm"] and "--verify" in words
    assert main([*words, "--quiet"]) == 0 and MDMBundle.from_pretrained(tmp_path / "mdm").guidance == 2.5
    with pytest.raises(SystemExit):
        converter(["--out_dir", "x"])
