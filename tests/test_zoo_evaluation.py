"""The reference cases of evaluators and measures: all of them pass, and one wrong number in any of them fails."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.conftest import ROOT
from tests.parity import zoo_evaluation
from tests.parity.__main__ import run_folder

GOLDEN = ROOT / "tests" / "golden" / "evaluation"
KINDS = {"metrics": 15, "caption metrics": 7, "physical metrics": 138, "evaluator motionclip": 4}
ALL = {**KINDS, "evaluator motion272": 4, "evaluator hml263": 3}


def run(folder):
    return list(run_folder(folder, families=(zoo_evaluation,)))


def test_the_small_copy_passes():
    results = run(GOLDEN)
    assert {r.kind: (r.verdict, len(r.checks)) for r in results} == {k: ("pass", n) for k, n in KINDS.items()}


def test_the_reference_passes(shared):
    results = [r for r in run(shared / "golden" / "zoo") if r.kind in ALL]
    assert {r.kind: (r.verdict, len(r.checks)) for r in results} == {k: ("pass", n) for k, n in ALL.items()}


@pytest.mark.parametrize(
    "name, key, kind",
    [
        ("metrics_inputs.npz", "pred", "metrics"),
        ("metrics_inputs.npz", "multimodality", "metrics"),
        ("physical_joints.npz", "gait_skate", "physical metrics"),
        ("motionclip_tiny_io.safetensors", "motion", "evaluator motionclip"),
        ("motionclip_tiny_weights.safetensors", "text_projection.weight", "evaluator motionclip"),
        ("eval272_tiny_io.safetensors", "motion_loc", "evaluator motion272"),
        ("eval272_tiny_weights.safetensors", "textencoder.mu_token", "evaluator motion272"),
        ("evalhml_tiny_io.safetensors", "word_embs", "evaluator hml263"),
        ("evalhml_tiny_weights.safetensors", "motion_encoder.hidden", "evaluator hml263"),
    ],
)
def test_one_wrong_array_fails(shared, tmp_path, name, key, kind):
    source = shared / "golden" / "zoo"
    for file in source.glob(name.split("_")[0] + "_*"):
        shutil.copyfile(file, tmp_path / file.name)
    file = tmp_path / name
    arrays = dict(np.load(file)) if file.suffix == ".npz" else load_file(file)
    arrays[key] = arrays[key] * np.float32(1.01)
    np.savez(file, **arrays) if file.suffix == ".npz" else save_file(arrays, file)
    (result,) = run(tmp_path)
    assert (result.kind, result.verdict) == (kind, "fail") and "crashed" not in result.note


@pytest.mark.parametrize(
    "name, change",
    [
        ("metrics_expected.json", lambda case: case.update(fid_raw=13.0)),
        ("metrics_expected.json", lambda case: case.update(new_number=1.0)),
        ("metrics_expected.json", lambda case: case["diversity_idx_second"].reverse()),
        ("m2t_caption_metrics.json", lambda case: case["metrics"].update(CIDEr=2.99)),
        ("m2t_caption_metrics.json", lambda case: case["references"][1].pop()),
        ("physical_metrics.json", lambda case: case["fk_jump"]["raw"].update(Float=0.25)),
        ("physical_metrics.json", lambda case: case["_aggregate"].update(n=12)),
        ("physical_metrics.json", lambda case: case["noise"]["contact_frames"].reverse()),
    ],
)
def test_one_wrong_number_fails(tmp_path, name, change):
    shutil.copytree(GOLDEN, tmp_path / "case")
    case = json.loads((tmp_path / "case" / name).read_text())
    change(case)
    (tmp_path / "case" / name).write_text(json.dumps(case))
    assert [r.verdict for r in run(tmp_path / "case")].count("fail") == 1


def test_other_sizes_and_seeds_run(tmp_path):
    """The runner reads what a case asks for: other counts, groups, seeds, repeats and names of motions."""
    rng = np.random.default_rng(5)
    arrays = {key: rng.normal(size=(70, 6)).astype(np.float32) for key in ("text", "real", "pred")}
    arrays["multimodality"] = rng.normal(size=(3, 9, 6)).astype(np.float32)
    np.savez(tmp_path / "inputs_b.npz", **arrays)
    from hftrainer.evaluation import metrics, physics

    first, second = metrics.diversity_pairs(70, np.random.RandomState(8), 11)
    found = metrics.retrieval(arrays["text"], arrays["pred"])
    want = {
        "fid_raw": metrics.frechet(arrays["real"], arrays["pred"]),
        "diversity_npseed8_times11_pred": metrics.diversity(arrays["pred"], first, second),
        "diversity_idx_first": first.tolist(),
        "mm_dist_pred_seqchunks": found.matching,
    }
    (tmp_path / "expected_b.json").write_text(json.dumps(want))
    joints = rng.normal(size=(9, 22, 3)).astype(np.float32)
    np.savez(tmp_path / "bodies.npz", dance=joints)
    made = physics.physics(joints)
    names = {"Slide": "slide", "Float": "float", "Jitter": "jitter", "Dynamic": "dynamic", "Penet": "penetration"}
    raw = {theirs: made.measures()[ours] for theirs, ours in names.items()}
    table = {theirs: physics.table(made.measures())[ours] for theirs, ours in names.items()}
    case = {"dance": {"T": 9, "raw": raw, "table": table, "contact_frames": list(made.contacts)}}
    (tmp_path / "bodies.json").write_text(json.dumps(case))
    results = run(tmp_path)
    assert [(r.kind, r.verdict) for r in results] == [("physical metrics", "pass"), ("metrics", "pass")]
