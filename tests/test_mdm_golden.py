"""MDM beside the reference numbers: every case, by name, and in every bit where the computer is of that kind."""

import pytest
import torch

from tests.parity import mdm

#: Kind, file and how many comparisons it must come to.
CASES = {
    "diffusion/diffusion_constants.safetensors": ("mdm schedule", 69),
    "diffusion/respacing.json": ("mdm respacing", 15),
    "network/posenc.json": ("mdm positions", 2),
    "trans_enc/enc_weights.json": ("mdm weights by rule", 36),
    "trans_enc/enc_forward.json": ("mdm encoder", 37),
    "trans_enc/enc_sample.json": ("mdm samples", 44),
    "trans_enc/enc_edit.json": ("mdm edits", 23),
    "trans_dec/dec_forward.json": ("mdm decoder", 16),
    "misc/misc_forward.json": ("mdm other networks", 15),
    "dip/dip.json": ("mdm dip", 9),
    "dip/dip_target.json": ("mdm targets", 16),
    "edit/edit_masks.json": ("mdm masks of edits", 29),
    "train/losses.json": ("mdm losses", 90),
    "train/train_steps.json": ("mdm training steps", 52),
    "rng/rng_after_construction.json": ("mdm generator state", 18),
    "post/xyz.json": ("mdm joints and goals", 9),
    "e2e/e2e_generate.json": ("mdm generation", 8),
}
#: Sampling a thousand steps, or five times three windows.
SLOW = {"trans_enc/enc_sample.json", "dip/dip.json"}


def test_every_kind_has_a_case():
    assert {kind for kind, _ in CASES.values()} == {kind.name for kind in mdm.KINDS}


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=pytest.mark.slow) if case in SLOW else case for case in CASES]
)
def test_golden_case(case, shared):
    path = shared / "golden" / "mdm" / case
    name, count = CASES[case]
    (kind,) = [kind for kind in mdm.KINDS if kind.matches(path)]
    assert kind.name == name
    checks = kind.run(path)
    assert [f"{c.what}: {c.difference} > {c.tolerance} {c.note}" for c in checks if not c.holds] == []
    assert len(checks) >= count


def test_the_guard_says_why(monkeypatch, capsys):
    mdm.why_not_exact.cache_clear()
    monkeypatch.setattr(torch, "__version__", "2.9.1")
    assert "torch must be 2.13; got 2.9" in mdm.why_not_exact()
    assert "exact comparison is off" in capsys.readouterr().err
    mdm.why_not_exact.cache_clear()
