"""Folders of the original hftrainer and of its successor load: other library names, formats and configuration files."""

import json
import shutil

import numpy as np
import pytest

from hftrainer.cli import main
from hftrainer.models.motion.mdm.bundle import MDMBundle
from hftrainer.models.motion.mogents.bundle import MoGenTSBundle
from hftrainer.models.motion.mogents.official import MOGENTS
from hftrainer.models.motion.mogents.release import read_release
from hftrainer.models.motion.motiongpt.bundle import MotionGPTBundle
from hftrainer.pipelines.table import kind_of
from tests import mdm_tiny, mogents_release, motiongpt_release

LIBRARIES = ("hftrainer", "motius")


def index(library, model, title):
    """``model_index.json`` as both wrote it."""
    return json.dumps({
        "_class_name": f"{title}Pipeline", "_library_name": library, "model_type": model,
        "format": f"{library}-{model}-artifact-v1",
        "bundle_class": f"{library}.models.motion.{model}.{title}Bundle",
        "pipeline_class": f"{library}.pipelines.{model}.{title}Pipeline",
        "artifacts": {"config": f"{model}_config.json"}, "components": {}, "external_components": {},
        "api": {"from_pretrained": f"{title}Pipeline.from_pretrained", "from_config": f"{title}Pipeline.from_config"},
    })  # fmt: skip


@pytest.fixture(scope="module")
def motiongpt(tmp_path_factory):
    return motiongpt_release.write_card_layout(tmp_path_factory.mktemp("motiongpt") / "art")


@pytest.fixture(scope="module")
def mogents(tmp_path_factory):
    root = tmp_path_factory.mktemp("mogents")
    mogents_release.write(root / "logs", MOGENTS, "humanml3d")
    MoGenTSBundle.from_release(read_release(MOGENTS, root / "logs")).save_pretrained(root / "art")
    return root / "art"


@pytest.mark.parametrize("library", LIBRARIES)
def test_motiongpt(library, motiongpt, tmp_path, capsys):
    folder = shutil.copytree(motiongpt, tmp_path / "art")
    (folder / "model_index.json").write_text(index(library, "motiongpt", "MotionGPT"))
    (folder / f"{library}_config.json").write_text(json.dumps({
        "model": "motiongpt", "checkpoint": "motiongpt_s3_h3d.tar", "representation": "hml263",
        "prompt_mode": "official_nolen", "embedding_policy": "shared_encoder_decoder_untied_lm_head",
    }))  # fmt: skip
    bundle = MotionGPTBundle.from_pretrained(folder)
    assert kind_of(folder).name == "motiongpt" and bundle.prompts == "official"
    plain = MotionGPTBundle.from_pretrained(motiongpt)
    assert np.array_equal(bundle.statistics.mean, plain.statistics.mean)
    assert main(["info", str(folder), "--commercial-ok", "--quiet"]) == 1
    said = capsys.readouterr().out
    assert "AMASS" in said and "FLAN-T5 base: Apache-2.0" in said and f"{library}_config.json:" in said


@pytest.mark.parametrize("library", LIBRARIES)
def test_mdm(library, tmp_path):
    folder = mdm_tiny.folder(tmp_path / "art")
    before = MDMBundle.from_pretrained(folder).hash
    (folder / "model_index.json").write_text(index(library, "mdm", "MDM"))
    config = json.loads((folder / "mdm_config.json").read_text())
    (folder / "mdm_config.json").write_text(json.dumps({**config, "format": f"{library}-mdm-artifact-v1"}))
    bundle = MDMBundle.from_pretrained(folder)
    assert kind_of(folder).name == "mdm" and bundle.hash != before and bundle.representation == "hml263"


@pytest.mark.parametrize("library", LIBRARIES)
def test_mogents(library, mogents, tmp_path):
    folder = shutil.copytree(mogents, tmp_path / "art")
    (folder / "model_index.json").write_text(index(library, "mogents", "MoGenTS"))
    config = json.loads((folder / "mogents_config.json").read_text())
    kept = {key: config[key] for key in ("model_type", "clip_version", "has_length_estimator", "components", "config")}
    (folder / "mogents_config.json").write_text(json.dumps({**kept, "format": f"{library}-mogents-v1"}))
    bundle = MoGenTSBundle.from_pretrained(folder)
    assert kind_of(folder).name == "mogents" and bundle.length_estimator is not None
