"""Releases of MoGenTS and MoMask: imported whole, or refused with all that is wrong and nothing written."""

import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from hftrainer.cli import main
from hftrainer.errors import ArtifactError
from hftrainer.models.artifact import read_torch_file
from hftrainer.models.motion.mogents import official
from hftrainer.models.motion.mogents.bundle import MoGenTSBundle
from hftrainer.models.motion.mogents.files import config_file
from hftrainer.models.motion.mogents.official import MOGENTS, MOMASK
from hftrainer.models.motion.mogents.release import parse_options, read_release
from hftrainer.models.motion.mogents.verify import verify
from hftrainer.models.motion.momask.bundle import MoMaskBundle
from scripts.eval import convert_mogents_checkpoint, convert_momask_checkpoint
from tests import mogents_release as authors

BUNDLES = {"mogents": MoGenTSBundle, "momask": MoMaskBundle}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A release of MoGenTS, and what is in it."""
    root = tmp_path_factory.mktemp("written")
    return root, authors.write(root / "logs", MOGENTS, lengths=root / "checkpoints")


@pytest.fixture
def release(tmp_path, written):
    """The same in this test's own folder."""
    shutil.copytree(written[0], tmp_path, dirs_exist_ok=True)
    return written[1]


def line(tmp_path, *more):
    """The command line of an import."""
    roots = ["--weights-root", tmp_path / "logs", "--length-root", tmp_path / "checkpoints"]
    return ["import", "mogents", *map(str, roots), "-o", str(tmp_path / "mogents"), *map(str, more), "--quiet"]


def refused(capsys, tmp_path, words, *parts, code=2):
    """The command refuses in one sentence that has all parts, and leaves nothing behind."""
    before = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*"))
    capsys.readouterr()
    assert main(words) == code
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("hftrainer: ") and said.err.count("\n") == 1
    assert [part for part in parts if part not in said.err] == [], said.err
    assert sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*")) == before


# ------------------------------------------------------------------------------------------------------- what is right


@pytest.mark.parametrize("family", [MOGENTS, MOMASK], ids=lambda family: family.name)
@pytest.mark.parametrize("index", [0, 1], ids=["humanml3d", "kit"])
def test_every_release(tmp_path, capsys, family, index):
    dataset = family.datasets[index]
    written = authors.write(tmp_path / "root", family, dataset)
    clip = authors.clip(tmp_path / "ViT-B-32.pt")
    words = ["import", family.name, "--weights-root", tmp_path / "root", "--clip", clip, "-o", tmp_path / "out"]
    assert main([*map(str, words), "--verify", "--json", "--quiet"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert any("max-abs-diff = 0.0" in row for row in report["verified"]) and not report["remarks"]
    bundle = BUNDLES[family.name].from_pretrained(tmp_path / "out")
    assert bundle.hash == report["hash"] and bundle.about["dataset"] == dataset
    assert bundle.representation == ("kit251" if index else "hml263")
    assert bundle.frame_range == ((24, 196) if index else (40, 196))
    for name, want in written.items():
        stored = load_file(tmp_path / "out" / f"{name}.safetensors")
        assert set(stored) == set(want)
        assert [key for key in want if not torch.equal(stored[key], want[key])] == []
    clip = load_file(tmp_path / "out" / "clip.safetensors")
    assert {"visual.proj", "logit_scale", "text_projection"} <= set(clip)
    assert clip["text_projection"].dtype == torch.float16 and clip["ln_final.weight"].dtype == torch.float32
    said = json.loads((tmp_path / "out" / config_file(family)).read_text())
    assert said["components"]["clip"] == {"name": "ViT-B/32", "stored_in_artifact": True, "path": "clip.safetensors"}
    assert said["has_length_estimator"] and set(said["config"]) == set(family.groups)
    index_file = json.loads((tmp_path / "out" / "model_index.json").read_text())
    assert index_file["_class_name"] == f"{family.title}Pipeline"


def test_the_layout_of_the_card(tmp_path, release):
    words = convert_mogents_checkpoint.words(
        ["--weights_root", str(tmp_path / "logs"), "--length_root", str(tmp_path / "checkpoints"),
         "--clip_path", str(authors.clip(tmp_path / "clip.safetensors")), "--out_dir", str(tmp_path / "out"),
         "--verify"]
    )  # fmt: skip
    assert main([*words, "--quiet"]) == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(
        "mogents_config.json model_index.json vq.safetensors mask_aux.safetensors mask_ts.safetensors "
        "res_aux.safetensors res_ts.safetensors length_est.safetensors clip.safetensors Mean.npy Std.npy "
        "SHA256SUMS".split()
    )


def test_the_converter_of_momask(tmp_path):
    authors.write(tmp_path / "checkpoints", MOMASK)
    words = ["--weights_root", str(tmp_path / "checkpoints"), "--out_dir", str(tmp_path / "out"), "--verify"]
    assert main([*convert_momask_checkpoint.words(words), "--quiet"]) == 0
    assert MoMaskBundle.from_pretrained(tmp_path / "out").text is None


@pytest.mark.parametrize("dataset", [None, "kit"])
def test_both_data_sets_in_one_release(tmp_path, release, dataset):
    authors.write(tmp_path / "logs", MOGENTS, "kit", tmp_path / "checkpoints")
    files = read_release(MOGENTS, tmp_path / "logs", tmp_path / "checkpoints", dataset=dataset)
    assert files.dataset == (dataset or "humanml3d")


def test_a_release_of_the_other_data_set_alone(tmp_path):
    authors.write(tmp_path / "logs", MOGENTS, "kit")
    assert read_release(MOGENTS, tmp_path / "logs").representation == "kit251"


def test_last_checkpoints_with_optimisers(tmp_path, release):
    folder = tmp_path / "logs/humanml3d/pretrain_mtrans/model"
    (folder / "net_best_fid.tar").unlink()
    value = {f"mask_transformer_{part}": release[f"mask_{part}"] for part in ("aux", "ts")}
    clip = {"clip_model.visual.proj": torch.ones(2, 3)}
    value["mask_transformer_aux"] = {**value["mask_transformer_aux"], **clip}
    optimiser = {"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 2e-4}]}
    torch.save({**value, "opt_mask_transformer_aux": optimiser, "ep": 3, "total_it": 7}, folder / "latest.tar")
    files = read_release(MOGENTS, tmp_path / "logs", tmp_path / "checkpoints")
    assert files.remarks == ("mask: there is no net_best_fid.tar, so latest.tar was taken",)
    assert set(files.states["mask_aux"]) == set(release["mask_aux"])


def test_older_names_of_momask(tmp_path):
    written = authors.write(tmp_path, MOMASK)
    for part, name, key in zip(MOMASK.parts, ("vq", "t2m_trans"), ("net", "trans"), strict=False):
        file = tmp_path / "t2m" / part.folders["t2m"] / "model" / part.files[0]
        torch.save({key: written[name], "ep": np.int64(4)}, file, _use_new_zipfile_serialization=False)
    assert torch.equal(read_release(MOMASK, tmp_path).states["vq"]["encoder.model.0.weight"],
                       written["vq"]["encoder.model.0.weight"])  # fmt: skip


def test_parts_under_other_names(tmp_path, release):
    (tmp_path / "logs/humanml3d/pretrain_mtrans").rename(tmp_path / "logs/humanml3d/mine")
    assert main(line(tmp_path, "--mask-name", "mine", "--no-length-estimator")) == 2  # both flags about lengths
    assert main(line(tmp_path, "--mask-name", "mine")) == 0


def test_without_the_length_estimator(tmp_path, release):
    words = ["--weights_root", str(tmp_path / "logs"), "--out_dir", str(tmp_path / "out"), "--no_length_estimator"]
    assert main([*convert_mogents_checkpoint.words([*words, "--no_clip"]), "--quiet"]) == 0
    bundle = MoGenTSBundle.from_pretrained(tmp_path / "out")
    assert bundle.length_estimator is None and bundle.text is None
    assert not json.loads((tmp_path / "out/mogents_config.json").read_text())["has_length_estimator"]


def test_the_estimator_under_the_other_name_of_the_data_set(tmp_path, release):
    (tmp_path / "checkpoints/humanml3d").rename(tmp_path / "checkpoints/t2m")
    assert "length_est" in read_release(MOGENTS, tmp_path / "logs", tmp_path / "checkpoints").states


def test_options_are_read_as_the_authors_read_them():
    text = authors.option_lines({"a": True, "b": -3, "c": 0.5, "d": 1e-05, "e": None, "f": [1, 2], "g": "x: y"})
    assert parse_options(text) == {"a": True, "b": -3, "c": 0.5, "d": "1e-05", "e": "None", "f": "[1, 2]", "g": "x: y"}
    with pytest.raises(ValueError, match="line 2 must be like latent_dim: 384; got 'nonsense'"):
        parse_options("a: 1\nnonsense\n")


# -------------------------------------------------------------------------------------------------- numbers of NumPy's


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("value", [np.float64(0.25), np.float32(0.5), np.int64(-3), np.bool_(True), np.uint8(7)])
def test_numbers_of_numpy_are_read(tmp_path, value, zipped):
    torch.save({"value": value, "state": torch.ones(2)}, tmp_path / "a.tar", _use_new_zipfile_serialization=zipped)
    read = read_torch_file(tmp_path / "a.tar")["value"]
    assert read == value.item() and type(read) in (int, float, bool)


@pytest.mark.parametrize("value", [np.ones(2), np.str_("a"), np.datetime64("2020-01-01"), np.complex64(1)])
def test_other_things_of_numpy_are_not_read(tmp_path, value):
    torch.save({"value": value}, tmp_path / "a.tar")
    with pytest.raises(ArtifactError, match="must hold tensors and plain values only; it names numpy"):
        read_torch_file(tmp_path / "a.tar")


class _Code:
    def __reduce__(self):
        return print, ("this must never be printed",)


def test_code_is_never_run(tmp_path, release, capsys):
    file = tmp_path / "logs/humanml3d/pretrain_vq/model/net_best_fid.tar"
    torch.save({"vq_model": release["vq"], "value": _Code()}, file)
    refused(capsys, tmp_path, line(tmp_path), "must hold tensors and plain values only; it names print")


# ------------------------------------------------------------------------------------------------------- what is wrong


def test_all_that_is_wrong_in_one_message(tmp_path, release, capsys):
    data = tmp_path / "logs/humanml3d"
    (data / "pretrain_vq/opt.txt").unlink()
    (data / "pretrain_mtrans/model/net_best_fid.tar").unlink()
    np.save(data / "pretrain_vq/meta/std.npy", np.zeros(263, np.float32))
    whole = (data / "pretrain_rtrans/model/net_best_fid.tar").read_bytes()
    (data / "pretrain_rtrans/model/net_best_fid.tar").write_bytes(whole[: len(whole) // 2])
    torch.save({"vq_model": {}}, tmp_path / "checkpoints/humanml3d/length_estimator/model/finest.tar")
    refused(
        capsys, tmp_path, line(tmp_path), "5 problems", "pretrain_vq/opt.txt must hold the options of training",
        "pretrain_mtrans/model/net_best_fid.tar must hold the weights of mask", "ends too early",
        "must hold estimator; got a motion tokenizer of MoMask or MoGenTS", "must be above 0 everywhere",
    )  # fmt: skip


@pytest.mark.parametrize(
    "change, says",
    [
        ("missing", "mask_aux: missing cond_emb.bias"),
        ("extra", "mask_aux: unexpected more.weight"),
        ("shape", "mask_aux: cond_emb.bias is (3,), the network needs (24,)"),
        ("no tensor", "must hold tensors only; got others as cond_emb.bias"),
        ("not names", "t2m_transformer_aux in"),
        ("residuals", "must hold t2m_transformer_aux or mask_transformer_aux; got MoGenTS' residual transformers"),
        ("mdm", "got input_process.poseEmbedding.weight"),
        ("list", "must be a table of states; got list"),
    ],
)
def test_weights_that_are_wrong(tmp_path, release, capsys, change, says):
    file = tmp_path / "logs/humanml3d/pretrain_mtrans/model/net_best_fid.tar"
    aux = dict(release["mask_aux"])
    value = {"t2m_transformer_aux": aux, "t2m_transformer_ts": release["mask_ts"]}
    if change == "missing":
        del aux["cond_emb.bias"]
    elif change == "extra":
        aux["more.weight"] = torch.ones(1)
    elif change == "shape":
        aux["cond_emb.bias"] = torch.ones(3)
    elif change == "no tensor":
        aux["cond_emb.bias"] = 3.0
    elif change == "not names":
        value["t2m_transformer_aux"] = [1]
    elif change == "residuals":
        value = {"res_transformer_aux": aux, "res_transformer_ts": aux}
    elif change == "mdm":
        value = {"input_process.poseEmbedding.weight": torch.ones(2, 2)}
    torch.save([1] if change == "list" else value, file)
    refused(capsys, tmp_path, line(tmp_path), says)


def test_a_table_of_positions_that_was_changed(tmp_path):
    written = authors.write(tmp_path, MOMASK)
    state = written["t2m_trans"] | {"position_enc.pe": written["t2m_trans"]["position_enc.pe"] + 0.5}
    part = MOMASK.parts[1]
    torch.save({"t2m_transformer": state}, tmp_path / "t2m" / part.folders["t2m"] / "model" / part.files[0])
    with pytest.raises(ArtifactError, match="position_enc.pe must be sines and cosines; it is up to 0.5 away"):
        read_release(MOMASK, tmp_path)


@pytest.mark.parametrize(
    "before, after, says",
    [
        ("code_dim2d: 8", "code_dim2d: 9", "vq: quantizer2d.layers.0.codebook is (14, 8), the network needs (14, 9)"),
        ("n_heads: 2", "n_heads: 5", "mask_aux: width must be a multiple of 4 and of 5 heads"),
        ("n_heads: 2\n", "", "opt.txt of mask must say n_heads; it does not"),
        ("attnj: True\n", "", "opt.txt of mask must say attnj; it does not"),
        ("n_layers: 1", "n_layers: one", "opt.txt of mask: n_layers must be like 8; got 'one'"),
        ("dataset_name: humanml3d", "dataset_name: kit", "must be of humanml3d; it says dataset_name kit"),
        ("unit_length: 4", "unit_length: 8", "must say unit_length 4; got 8"),
        ("vq_act: relu", "vq_act: tanh", "activation must be"),
        ("attnt: True", "no colon", "line"),
    ],
)
def test_options_that_are_wrong(tmp_path, release, capsys, before, after, says):
    for part in ("pretrain_vq", "pretrain_mtrans"):
        file = tmp_path / "logs/humanml3d" / part / "opt.txt"
        file.write_text(file.read_text().replace(before, after))
    refused(capsys, tmp_path, line(tmp_path), says)


def test_absent_options_that_the_authors_have_defaults_for(tmp_path, release):
    file = tmp_path / "logs/humanml3d/pretrain_mtrans/opt.txt"
    file.write_text(file.read_text().replace("dropout: 0.2\n", "").replace("vq_name: pretrain_vq", "vq_name: other"))
    files = read_release(MOGENTS, tmp_path / "logs", tmp_path / "checkpoints")
    assert files.config["mask"]["dropout"] == 0.2
    assert files.remarks == ("mask: trained on tokens of other; MoGenTS was read with pretrain_vq",)


def test_statistics_of_the_data_set_are_refused(tmp_path, release, capsys):
    meta = tmp_path / "logs/humanml3d/pretrain_vq/meta"
    std = np.load(meta / "std.npy")
    std[-4:] *= 25
    np.save(meta / "std.npy", std)
    refused(capsys, tmp_path, line(tmp_path), "must be the pair that the motion tokenizer was trained with")
    assert main(line(tmp_path, "--any-statistics")) == 0
    np.save(meta / "mean.npy", np.zeros(251, np.float32))
    np.save(meta / "std.npy", np.ones(251, np.float32))
    refused(capsys, tmp_path, line(tmp_path), "must have 263 numbers; got 251")


@pytest.mark.parametrize(
    "words, says",
    [
        (["import", "mogents", "-o", "out"], "--weights-root must be given with mogents"),
        (["import", "mogents", "--weights-root", "nowhere", "-o", "out"], "nowhere must be a folder of the release"),
        (["import", "mogents", "--weights-root", ".", "-o", "out"], "must hold the folder humanml3d or kit"),
        (["import", "momask", "--weights-root", ".", "--dataset", "humanml3d", "-o", "out"], "must be t2m or kit"),
        (["import", "mogents", "--weights-root", ".", "--args", "x", "-o", "out"], "got --args"),
        (["import", "mogents", "--weights", "x", "-o", "out"], "got --weights as well"),
        (["import", "mdm", "--weights", "x", "--vq-name", "y", "-o", "out"], "got --vq-name"),
        (["import", "mdm", "-o", "out"], "--weights must be given with mdm"),
        (["import", "momusk", "-o", "out"], "momask"),
    ],
)
def test_wrong_requests(tmp_path, capsys, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    refused(capsys, tmp_path, [*words, "--quiet"], says)


def test_places_that_must_not_be_written(tmp_path, release, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("mine")
    roots = ["--weights-root", str(tmp_path / "logs"), "--length-root", str(tmp_path / "checkpoints")]
    refused(capsys, tmp_path, ["import", "mogents", *roots, "-o", str(tmp_path / "full")], "it holds other files")
    (tmp_path / "logs/mogents_config.json").write_text("{}")
    refused(capsys, tmp_path, ["import", "mogents", *roots, "-o", str(tmp_path / "logs")], "which is read from")


def test_an_artifact_takes_the_place_of_an_older_one(tmp_path, release):
    assert main(line(tmp_path)) == 0
    (tmp_path / "mogents/more.txt").write_text("x")
    assert main(line(tmp_path, "--verify")) == 0
    assert not (tmp_path / "mogents/more.txt").exists()


# ------------------------------------------------------------------------------------------------------------ artifacts


@pytest.fixture(scope="module")
def saved(tmp_path_factory, written):
    """A release as it was read, and an artifact of it."""
    files = read_release(MOGENTS, written[0] / "logs", written[0] / "checkpoints")
    folder = tmp_path_factory.mktemp("saved") / "art"
    MoGenTSBundle.from_release(files).save_pretrained(folder)
    return files, folder


@pytest.fixture
def artifact(tmp_path, saved):
    shutil.copytree(saved[1], tmp_path / "art")
    return saved[0], tmp_path / "art"


def test_verify_sees_a_changed_number(artifact):
    files, folder = artifact
    bundle = MoGenTSBundle.from_release(files)
    state = load_file(folder / "vq.safetensors")
    state["linear_out.bias"][3] += 1e-6
    save_file(state, folder / "vq.safetensors")
    np.save(folder / "Std.npy", np.load(folder / "Std.npy") * 2)
    with pytest.raises(RuntimeError, match="vq: linear_out.bias is not the checkpoint's; the statistics are not"):
        verify(bundle, folder, files)


def test_weights_may_be_pt_and_half(artifact):
    _, folder = artifact
    for name in ("mask_ts", "length_est"):
        state = {key: value.half() for key, value in load_file(folder / f"{name}.safetensors").items()}
        torch.save(state, folder / f"{name}.pt")
        (folder / f"{name}.safetensors").unlink()
    bundle = MoGenTSBundle.from_pretrained(folder)
    assert bundle.length_estimator is not None
    assert bundle.masked("mask_ts").text.weight.dtype == torch.float32


def test_the_published_configuration_says_less(artifact):
    """Missing fields are those of the released sizes; older artifacts have no format, no range and no provenance."""
    files, folder = artifact
    said = json.loads((folder / "mogents_config.json").read_text())
    for name in ("format", "frame_range", "about", "text_encoder", "components"):
        del said[name]
    for field in ("mu", "stride_t", "vq_norm"):
        del said["config"]["vq"][field]
    del said["config"]["length"]
    (folder / "mogents_config.json").write_text(json.dumps(said | {"library": "motius"}))
    (folder / "model_index.json").unlink()
    bundle = MoGenTSBundle.from_pretrained(folder)
    assert bundle.frame_range == (40, 196)
    assert bundle.motion_tokenizer.config == official.network_config(MOGENTS, "vq", files.config)


@pytest.mark.parametrize(
    "change, says",
    [
        ("absent", "absent: Std.npy, mask_ts.safetensors, length_est.safetensors"),
        ("clip", "absent: clip.safetensors"),
        ("json", "must be JSON"),
        ("no config", "must be an object with config in it"),
        ("other", "must describe MoGenTS; got momask"),
        ("field", "unknown field joints in vq"),
        ("group", "unknown group t2m"),
        ("sizes", "res_ts.safetensors: input_process.poseEmbedding.weight is"),
        ("type", "vq: width must be like 512; got '16'"),
        ("network", "network.res_ts must have fields of ResidualConfig; got mix"),
        ("cut", "vq.safetensors must be a safetensors file"),
        ("statistics", "must have 263 numbers, or 251 for KIT; got 7"),
        ("range", "both multiples of 4; got (41, 196)"),
    ],
)
def test_artifacts_that_are_wrong(artifact, change, says):
    folder = artifact[1]
    file = folder / "mogents_config.json"
    said = json.loads(file.read_text())
    if change == "absent":
        for name in ("Std.npy", "mask_ts.safetensors", "length_est.safetensors"):
            (folder / name).unlink()
    elif change == "clip":
        said["components"]["clip"]["stored_in_artifact"] = True
    elif change == "no config":
        del said["config"]
    elif change == "other":
        said["model_type"] = "momask"
    elif change == "field":
        said["config"]["vq"]["joints"] = 3
    elif change == "group":
        said["config"]["t2m"] = {}
    elif change == "sizes":
        said["config"]["vq"]["code_dim2d"] = 16
    elif change == "type":
        said["config"]["vq"]["width"] = "16"
    elif change == "network":
        said["config"]["network"] = {"res_ts": {"mix": 1}}
    elif change == "cut":
        (folder / "vq.safetensors").write_bytes((folder / "vq.safetensors").read_bytes()[:500])
    elif change == "statistics":
        for name in ("Mean.npy", "Std.npy"):
            np.save(folder / name, np.ones(7, np.float32))
    elif change == "range":
        said["frame_range"] = [41, 196]
    if not (change == "absent"):
        file.write_text("{" if change == "json" else json.dumps(said))
    with pytest.raises(ArtifactError) as error:
        MoGenTSBundle.from_pretrained(folder)
    assert says in str(error.value)


def test_what_the_authors_have_no_name_for_is_kept(artifact):
    files, folder = artifact
    said = json.loads((folder / "mogents_config.json").read_text())
    said["config"]["network"] = {"res_ts": {"mixing": "none"}, "mask_ts": {"time_sees_text": True}}
    (folder / "mogents_config.json").write_text(json.dumps(said))
    bundle = MoGenTSBundle.from_pretrained(folder)
    assert bundle.residual("res_ts").config.mixing == "none"
    bundle.save_pretrained(folder.parent / "again")
    again = json.loads((folder.parent / "again/mogents_config.json").read_text())
    assert again["config"] == said["config"]


def test_pickles_in_artifacts_are_not_run(artifact, capsys):
    folder = artifact[1]
    (folder / "vq.safetensors").unlink()
    (folder / "vq.pt").write_bytes(pickle.dumps({"a": _Code()}))
    with pytest.raises(ArtifactError):
        MoGenTSBundle.from_pretrained(folder)
    assert "printed" not in capsys.readouterr().out


def test_parts_that_do_not_fit_one_another(artifact):
    files, folder = artifact
    bundle = MoGenTSBundle.from_pretrained(folder)
    networks = {name: network for name, network in bundle.networks.items() if name != "res_ts"}
    with pytest.raises(ArtifactError, match="must have the networks vq, mask_aux, mask_ts, res_aux, res_ts; got vq"):
        MoGenTSBundle(networks, bundle.statistics)
    shutil.rmtree(folder)
    with pytest.raises(ArtifactError, match="must be a folder"):
        MoGenTSBundle.from_pretrained(folder)
