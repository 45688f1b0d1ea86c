"""The chain of terms, and what ``hftrainer info`` says of artifacts, their manifests included."""

import json
import shutil

import pytest

from hftrainer.cli import main
from hftrainer.models import licences
from hftrainer.models.sums import write_sums
from hftrainer.pipelines.table import ARTIFACTS, BUILT_IN
from tests import tiny

PUBLISHED_MDM = {
    "model_type": "mdm", "guidance_param": 2.5,
    "config": {"dataset": "humanml", "text_encoder_type": "clip", "latent_dim": 512},
}  # fmt: skip


def artifact(folder, name, said):
    folder.mkdir()
    (folder / name).write_text(json.dumps(said))
    return folder


def by_part(links):
    return {part: [link for link in links if link.part == part] for part in licences.PARTS}


@pytest.mark.parametrize(
    "terms, allowed",
    [("MIT", True), ("Apache-2.0", True), ("CC BY 3.0 Unported (ACCAD)", True), ("CC BY-SA 4.0", True),
     ("CC BY-NC 4.0", False), ("CC BY-NC-SA 4.0", False), ("for research only", False),
     ("non-commercial use", False), ("noncommercial", False), ("see the author", None), ("", None),
     ("CMU mocap terms: free for all uses incl. commercial products", True)],
)  # fmt: skip
def test_terms(terms, allowed):
    assert licences.allows(terms) is allowed


@pytest.mark.parametrize("name", [name for name in BUILT_IN if (ARTIFACTS / name).is_dir()])
def test_the_built_in_models_may_be_used_commercially(name):
    links = licences.chain(ARTIFACTS / name)
    parts = by_part(links)
    assert all(parts.values()) and licences.verdict(links) is True, licences.reasons(links)
    assert {link.what.split()[0] for link in parts["data"]} == {"accad", "cmu", "humanml3d"}


def test_published_models_are_bound_to_their_data(tmp_path):
    links = licences.chain(artifact(tmp_path / "mdm", "mdm_config.json", PUBLISHED_MDM))
    parts = by_part(links)
    assert licences.verdict(links) is False and "AMASS" in licences.reasons(links)
    assert parts["weights"][0].commercial is None and parts["text_tower"][0].what == "CLIP ViT-B/32"
    kit = licences.chain(artifact(tmp_path / "kit", "momask_config.json", {"config": {"dataset": "kit"}}))
    assert by_part(kit)["data"][0].what == "KIT-ML" and licences.verdict(kit) is False
    bert = {**PUBLISHED_MDM, "config": {**PUBLISHED_MDM["config"], "text_encoder_type": "bert"}}
    links = licences.chain(artifact(tmp_path / "bert", "mdm_config.json", bert))
    assert by_part(links)["text_tower"][0].terms == "Apache-2.0"


def test_what_an_artifact_says_of_itself_comes_first(tmp_path):
    about = {"name": "mine", "stages": [{}], "licences": {
        "data": {"my studio": ["MIT"], "bought": ["CC BY-NC 4.0", "MIT"]}, "weights": {"mine": "Apache-2.0"},
        "text_tower": {"my words": []}}}  # fmt: skip
    parts = by_part(licences.chain(artifact(tmp_path / "a", "model_index.json", {"about": about})))
    assert [(link.what, link.commercial) for link in parts["data"]] == [("my studio", True), ("bought", False)]
    assert parts["weights"][0].terms == "Apache-2.0" and parts["text_tower"][0].commercial is None


def test_what_is_not_known_is_not_allowed(tmp_path):
    (tmp_path / "bare").mkdir()
    links = licences.chain(tmp_path / "bare")
    assert licences.verdict(links) is None and all(by_part(links).values())
    about = {"name": "mine", "stages": [{"recipe": {}}], "dataset": {"name": "studio-1"}}
    links = licences.chain(artifact(tmp_path / "mine", "model_index.json", {"about": about}))
    assert "data, studio-1: unknown" in licences.reasons(links)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "model_index.json").write_text("{")
    assert licences.verdict(licences.chain(tmp_path / "bad")) is not True


def test_datasets():
    links = licences.dataset_chain({"licences": {"cmu": {"terms": ["CMU mocap terms: free for all uses"]}}})
    assert licences.verdict(links) is True
    assert licences.verdict(licences.dataset_chain({})) is None


def said(capsys, *words):
    code = main([*map(str, words), "--quiet", "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_info_says_chain_and_manifest(tmp_path, capsys):
    folder = tmp_path / "tiny"
    tiny.bundle().save_pretrained(folder)
    code, report = said(capsys, "info", folder)
    assert code == 0 and report["manifest"]["listed"] >= 6 and report["manifest"]["problems"] == []
    assert [link["part"] for link in report["licences"]["links"]] == list(licences.PARTS)
    assert said(capsys, "info", folder, "--commercial-ok")[0] == 1
    (folder / "notes.txt").write_text("mine")
    index = folder / "model_index.json"
    index.write_text(index.read_text() + "\n")
    code, report = said(capsys, "info", folder)
    assert code == 1 and report["manifest"] == {
        "listed": report["manifest"]["listed"], "beside": ["notes.txt"],
        "problems": ["model_index.json is not the file that was written"]}  # fmt: skip
    assert main(["info", str(folder), "--quiet"]) == 1
    text = capsys.readouterr().out
    assert "manifest: model_index.json is not the file that was written; not in it: notes.txt" in text
    assert "  commercial use of all: not known, because of weights, tiny: unknown; data, tiny: unknown" in text
    write_sums(folder)
    assert said(capsys, "info", folder)[0] == 0


def test_info_lists_what_may_be_used_commercially(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("hftrainer.pipelines.table.ARTIFACTS", tmp_path)
    monkeypatch.setattr("hftrainer.cli.info.BUILT_IN", tmp_path)
    shutil.copytree(ARTIFACTS / "motiongpt-mini", tmp_path / "motiongpt-mini")
    artifact(tmp_path / "mdm-mini", "mdm_config.json", PUBLISHED_MDM)
    shutil.copytree(ARTIFACTS / "evaluator-mini", tmp_path / "evaluator-mini")
    names = [model["name"] for model in said(capsys, "info")[1]["built_in"]]
    assert names == ["motiongpt-mini", "mdm-mini", "evaluator-mini"]
    names = [model["name"] for model in said(capsys, "info", "--commercial-ok")[1]["built_in"]]
    assert names == ["motiongpt-mini", "evaluator-mini"]
    file = tmp_path / "evaluator-mini" / "evaluator.json"
    file.write_text(file.read_text().replace("CC BY 3.0 Unported", "CC BY-NC 3.0"))
    assert "evaluator-mini" not in str(said(capsys, "info", "--commercial-ok")[1])


def test_info_tells_the_terms_of_the_built_in_evaluator(capsys):
    code, report = said(capsys, "info", "evaluator-mini", "--commercial-ok")
    assert code == 0 and report["licences"]["commercial"] is True and report["calibrated"] is True
    assert {link["part"] for link in report["licences"]["links"]} == set(licences.PARTS)
    assert report["parameters"]["networks"] > 500_000 and report["reads"] == "hml263 and text"
    assert main(["info", "evaluator-mini", "--quiet"]) == 0
    text = capsys.readouterr().out
    assert "commercial use of all: yes" in text and "words of all-MiniLM-L6-v2: Apache-2.0" in text
    assert "real motions: R@1 0." in text and "1. evaluator, 850 steps, " in text and "null" not in text
    assert max(map(len, text.split("licences:")[0].splitlines())) < 200, "no line of JSON that nobody reads"
