"""The arithmetic of large jobs, the measurements behind it, and the configurations for accelerate."""

import json

import pytest

from hftrainer.cluster.measures import FLAT_BAR, MEMORY_BAR, READ_BAR, cluster_cost, packed_reading
from hftrainer.evaluation.scale import CORE_HOUR, GPU_TERAFLOPS, flat_cost, large_jobs
from tests.conftest import ROOT

SPEED = {"frames": 120, "rows": [
    dict(verb="generate", batch=1, way="fp32", busy_s=9.0, gflops=1.0),
    dict(verb="generate", batch=8, way="bf16", busy_s=3.6, gflops=10.0),
    dict(verb="caption", batch=8, way="bf16", busy_s=0.1, gflops=10.0),
]}  # fmt: skip
COST = {"rows": [{"items": 10, "bytes_an_item": 7.0, "cpu_ms_an_item": 3.6, "shards": 1}]}


def test_large_jobs_are_multiplied_rightly():
    head, rows = large_jobs(SPEED, COST, (10**6, 10**8))
    assert head == ["what they take", "1,000,000 motions", "100,000,000 motions"]
    told = {row[0]: row[1:] for row in rows}
    assert told["bytes, 120 frames of hml263 each"] == ["126 GB", "12.6 TB"]
    assert told["processor-hours, bf16 in eights"] == ["1,000", "100,000"]
    assert told["of it reading, writing and keeping count, at most"] == ["1", "100"]
    assert told[f"dollars on processors, {CORE_HOUR:.2f} an hour"] == ["40", "4,000"]
    hours = 10**6 * 36e9 / (GPU_TERAFLOPS * 1e12) / 3600
    assert float(told[f"GPU-hours at {GPU_TERAFLOPS:g} · 10¹² a second"][0]) == pytest.approx(hours, rel=0.01)
    assert flat_cost(COST)[1] == [["10", 3.6, 1, "7"]]


def test_a_small_measurement_has_what_the_tables_need():
    report = cluster_cost((8, 40))
    assert [row["items"] for row in report["rows"]] == [8, 40] and [row["shards"] for row in report["rows"]] == [1, 2]
    assert large_jobs(SPEED, report)[1]


@pytest.mark.slow
def test_training_reads_a_small_part_of_a_pack():
    pytest.importorskip("pyarrow")
    small, large = (packed_reading(clips, steps=2) for clips in (600, 2400))
    assert large["bytes"] > 3.9 * small["bytes"] and small["opening_bytes"] < 0.01 * small["bytes"]
    # the held-out clips and 200 seen ones are read for the validation, and 64 clips a step, whatever the size
    assert large["bytes_read"] < 1.5 * small["bytes_read"] + large["opening_bytes"]


def test_what_was_measured_holds():
    cluster, packed = (json.loads((ROOT / "results" / f"{n}.json").read_text()) for n in ("cluster", "packed"))
    assert cluster["ratio"]["holds"] and cluster["rows"][-1]["items"] >= 10_000
    assert cluster["ratio"]["bar"] == FLAT_BAR and cluster["ratio"]["value"] <= FLAT_BAR
    assert packed["clips"] >= 100_000
    assert packed["share_read"]["value"] == pytest.approx(packed["bytes_read"] / packed["bytes"], abs=1e-5)
    for name, bar in (("share_read", READ_BAR), ("grown_mb", MEMORY_BAR)):
        assert packed[name]["bar"] == bar and packed[name]["holds"] and packed[name]["value"] <= bar


@pytest.mark.parametrize("name, kind", [("fsdp", "FSDP"), ("processes", "MULTI_GPU")])
def test_accelerate_reads_the_configurations(name, kind):
    pytest.importorskip("accelerate")
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    file = str(ROOT / "recipes" / "accelerate" / f"{name}.yaml")
    assert load_config_from_file(file).distributed_type.value == kind
    words = ["--config_file", file, "-m", "hftrainer", "train", "recipe.toml", "-o", "run"]
    args, _, _ = _validate_launch_command(launch_command_parser().parse_args(words))
    assert (args.use_fsdp, args.multi_gpu) == (kind == "FSDP", kind == "MULTI_GPU")
    assert args.num_processes == 8 and args.mixed_precision == "no"
    if kind == "FSDP":
        assert int(args.fsdp_version) == 2 and args.fsdp_state_dict_type == "SHARDED_STATE_DICT"
