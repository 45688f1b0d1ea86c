"""Networks as ONNX say what torch says."""

import sys

import pytest
import torch

from hftrainer.cli import main
from hftrainer.models.motion.mdm.config import MDMConfig
from hftrainer.models.motion.mdm.network import MDM
from hftrainer.models.motion.motiongpt.network import MotionTokenizer, TokenizerConfig
from hftrainer.pipelines.exported import SAME, Decoder, Denoiser, compared
from hftrainer.pipelines.published import by_formula

SMALL = MDMConfig(width=16, layers=1, heads=2, feed_forward=32, text_width=8, steps=10)


@pytest.mark.parametrize("name", ["denoiser", "decoder"])
def test_an_export_says_what_torch_says(name):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    if name == "denoiser":
        network = Denoiser(by_formula(MDM(SMALL)))
        inputs = (torch.randn(2, 263, 1, 12), torch.tensor([3, 3]), torch.randn(2, 1, 8))
    else:
        network = Decoder(by_formula(MotionTokenizer(TokenizerConfig(codes=8, code_width=8, width=16, depth=1))))
        inputs = (torch.randint(0, 8, (1, 5)),)
    row = compared(name, network.eval(), inputs, 1)
    assert row["same"] and row["apart"] <= SAME and min(row["torch_ms"], row["onnx_ms"], row["file_mb"]) >= 0


def test_without_the_packages(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert main(["bench", "onnx", "--quiet"]) == 2
    error = capsys.readouterr().err
    assert "pip install 'hftrainer[onnx]'" in error and error.count("\n") == 1
