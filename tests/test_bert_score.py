"""BERTScore by its real package, with a small stand-in for its model where the real one would lie: the hub's cache."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tokenizers import ByteLevelBPETokenizer

from tests.conftest import ROOT

pytestmark = pytest.mark.slow  # half a minute of processor time: four processes load torch and transformers

#: The published model's name; its first 17 layers are read, so the stand-in has as many.
MODEL, LAYERS, COMMIT = "roberta-large", 17, "0" * 40
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
SCRIPT = """
import json, sys
from hftrainer.evaluation.language import ScorerAbsent, bert_score

def scored(said, known):
    try:
        return bert_score(said, known)
    except ScorerAbsent as error:
        return str(error)

print(json.dumps([scored(said, known) for said, known in json.loads(sys.argv[1])]))
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A hub cache with RoBERTa's files, 8 wide, of random numbers."""
    pytest.importorskip("bert_score", reason="needs the extra bertscore")
    from transformers import RobertaConfig, RobertaModel

    home = tmp_path_factory.mktemp("home")
    place = home / "hub" / f"models--{MODEL}"
    folder = place / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(COMMIT)
    words = ByteLevelBPETokenizer()
    words.train_from_iterator(["a person walks and sits down"], 280, special_tokens=SPECIAL, show_progress=False)
    words.save_model(str(folder))
    said = {"tokenizer_class": "RobertaTokenizer", "model_max_length": 512}
    (folder / "tokenizer_config.json").write_text(json.dumps(said))
    torch.manual_seed(0)
    RobertaModel(RobertaConfig(
        vocab_size=words.get_vocab_size(), hidden_size=8, num_hidden_layers=LAYERS, num_attention_heads=1,
        intermediate_size=8, max_position_embeddings=514, pad_token_id=1, bos_token_id=0, eos_token_id=2,
    )).save_pretrained(folder)  # fmt: skip
    return home


def scores(home, *cases):
    """What comes of predictions and references in a process that sees that cache and no network."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORMERS_"))}
    # a hub that nobody answers for: whoever asks it waits, fails and tries again
    environment |= {"HF_HOME": str(home), "HF_ENDPOINT": "http://127.0.0.1:9", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(cases)], env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert "Retry" not in done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_package_reads_its_model_and_takes_the_best_reference(cache):
    same, other = "a person walks forward", "someone sits down"
    equal, several, unlike, silent, mixed = scores(
        cache,
        ([same, other], [[same], [other]]),
        ([same, other], [[other, same], [other, same]]),
        ([same], [[other]]),
        ([same, ""], [[same], [other]]),
        ([same, ""], [[same, " "], [other, other]]),
    )
    assert equal == pytest.approx(1, abs=1e-5) and several == pytest.approx(1, abs=1e-5) and unlike < 0.99
    # A sentence without words is 0 before it is rescaled by the 17th row of the package's own baseline.
    import bert_score

    rows = (Path(bert_score.__file__).parent / "rescale_baseline" / "en" / f"{MODEL}.tsv").read_text().splitlines()
    layer, _, _, found = rows[1 + LAYERS].split(",")
    assert int(layer) == LAYERS
    baseline = float(found)
    nothing = -baseline / (1 - baseline)
    assert silent == pytest.approx((1 + nothing) / 2, abs=1e-4) == mixed


def test_without_the_model_it_is_said(tmp_path):
    pytest.importorskip("bert_score", reason="needs the extra bertscore")
    (said,) = scores(tmp_path, (["a"], [["b"]]))
    assert "BERTScore must have its language model on this machine" in said
