"""Packed datasets: the same clips to the bit, read one by one, and nothing believed that a file says."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hftrainer.cli import main
from hftrainer.data.humanml3d import HumanML3D
from hftrainer.data.packed import ABOUT, COLUMNS, GROUP, INDEX, PackedDataset, open_dataset
from hftrainer.data.packing import pack
from hftrainer.data.shards import Shard, ShardWriter, write_rows
from hftrainer.errors import ArtifactError
from hftrainer.training.recipe import run_recipe
from tests import tiny, training_data
from tests.test_mdm_training import RECIPE as MDM

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def folder_of(where: Path, clips: int) -> Path:
    """A dataset of many short clips of noise, some of them described in part."""
    rng = np.random.default_rng(0)
    for room in ("new_joint_vecs", "texts"):
        (where / room).mkdir(parents=True)
    names = [f"{i:03d}" for i in range(clips)]
    for i, name in enumerate(names):
        np.save(where / "new_joint_vecs" / f"{name}.npy", rng.normal(size=(20 + i % 30, 263)).astype(np.float32))
        part = "\na person stops#a/DET#0.2#0.8" if i % 3 == 0 else ""
        (where / "texts" / f"{name}.txt").write_text(f"a person walks {i}#a/DET person/NOUN#0.0#0.0{part}\n")
    held = clips // 5
    for split, ids in {"train": names[held:], "val": names[:held], "test": names[:held]}.items():
        (where / f"{split}.txt").write_text("\n".join(ids) + "\n")
    np.save(where / "Mean.npy", np.zeros(263))
    np.save(where / "Std.npy", np.ones(263))
    (where / "dataset.json").write_text(json.dumps({"statistics": {"name": "noise"}, "licences": {"noise": "CC0"}}))
    return where


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> tuple[HumanML3D, PackedDataset]:
    """A folder of 60 clips, and its pack of several shards."""
    place = tmp_path_factory.mktemp("pair")
    folder = folder_of(place / "folder", 60)
    pack(folder, place / "packed", shard_bytes=500_000)
    return HumanML3D(folder), PackedDataset(place / "packed")


def test_the_same_clips_to_the_bit(pair):
    plain, packed = pair
    assert len(packed.about_pack["shards"]) > 3 and isinstance(open_dataset(packed.folder), PackedDataset)
    for split in ("train", "val", "test"):
        assert packed.ids(split) == plain.ids(split)
        for one, other in zip(plain.clips(split), packed.clips(split), strict=True):
            assert (one.id, one.captions, one.parts(), one.frames) == (
                other.id, other.captions, other.parts(), other.frames,
            )  # fmt: skip
            assert one.motion.data.tobytes() == other.motion.data.tobytes() == np.asarray(other.rows).tobytes()
            assert np.array_equal(other.rows[3:9], one.rows[3:9])
    assert (packed.hash, packed.name, packed.about, packed.spec) == (plain.hash, plain.name, plain.about, plain.spec)
    assert packed.verify() == []
    with pytest.raises(KeyError, match="no clip 'nobody'"):
        packed.clip("nobody")
    with pytest.raises(KeyError, match="no split"):
        packed.ids("other")


def test_the_same_folder_gives_the_same_bytes(pair, tmp_path):
    pack(pair[0].folder, tmp_path / "again", shard_bytes=500_000)
    for file in sorted(p.relative_to(pair[1].folder) for p in pair[1].folder.rglob("*") if p.is_file()):
        assert (tmp_path / "again" / file).read_bytes() == (pair[1].folder / file).read_bytes(), file


def test_a_shard_alone_says_what_it_is(pair):
    """As a stranger reads it, with pyarrow and nothing of ours."""
    file = sorted((pair[1].folder / "shards").iterdir())[0]
    notes = json.loads(pq.read_metadata(file).metadata[b"hftrainer"])
    assert notes["licences"] == {"noise": "CC0"} and notes["statistics"]["name"] == "noise"
    assert (notes["representation"], notes["fps"], len(notes["statistics"]["mean"])) == ("hml263", 20.0, 263)
    row = pq.read_table(file).to_pylist()[0]
    x = np.frombuffer(row["features"], "<f4").reshape(row["frames"], notes["width"])
    assert np.array_equal(x, pair[0].features(row["id"])) and row["texts"].startswith("a person walks")


def test_opening_reads_no_clip_and_a_clip_no_other(pair):
    packed = PackedDataset(pair[1].folder)
    features = sum(4 * 263 * packed.frames(name) for name in packed.ids("train"))
    assert packed.bytes_read < 0.01 * features
    at_start = packed.bytes_read
    clip = packed.clip(packed.ids("train")[22])
    clip.rows[2:5]
    assert 0 <= packed.bytes_read - at_start - 4 * 263 * clip.frames < 200 * GROUP  # heads of pages
    before = packed.bytes_read
    assert clip.captions
    assert packed.bytes_read - before < 1024  # sentences come without numbers


@given(st.integers(0, 5), st.integers(0, 3), st.integers(1, 7))
def test_workers_share_an_epoch(pair, seed, epoch, workers):
    packed = pair[1]
    told = dict(seed=seed, epoch=epoch, workers=workers, together=12)
    parts = [[clip.id for clip in packed.stream("train", worker=w, **told)] for w in range(workers)]
    assert sorted(name for part in parts for name in part) == sorted(packed.ids("train"))
    assert parts[0] == [clip.id for clip in packed.stream("train", worker=0, **told)]


def test_epochs_and_seeds_have_orders_of_their_own(pair):
    orders = [[c.id for c in pair[1].stream("train", seed=s, epoch=e)] for s, e in ((0, 0), (0, 1), (1, 0))]
    assert len({tuple(order) for order in orders}) == 3 and orders[0] != sorted(orders[0])
    with pytest.raises(ValueError, match="worker must be 0 to 1 of 2 workers; got 2"):
        next(pair[1].stream("train", worker=2, workers=2))


def losses(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def test_a_recipe_trains_the_same_from_a_pack(tmp_path):
    folder, packed = training_data.write(tmp_path / "folder"), tmp_path / "packed"
    pack(folder, packed)
    both = {}
    for name, data in (("folder", folder), ("packed", packed)):
        recipe = tmp_path / f"{name}.toml"
        recipe.write_text(training_data.TOKENIZER.format(data=data))
        run_recipe(recipe, tmp_path / f"run-{name}", say=lambda line: None)
        weights = torch.load(tmp_path / f"run-{name}" / "last.pt", weights_only=True)["network"]
        both[name] = losses(tmp_path / f"run-{name}"), weights
    assert both["folder"][0] == both["packed"][0] and len(both["folder"][0]) >= 3
    assert all(torch.equal(value, both["packed"][1][key]) for key, value in both["folder"][1].items())


def test_mdm_trains_the_same_from_a_pack(tmp_path):
    folder, packed = training_data.write(tmp_path / "folder"), tmp_path / "packed"
    pack(folder, packed)
    tiny.bundle().save_pretrained(tmp_path / "tower")
    for name, data in (("folder", folder), ("packed", packed)):
        recipe = tmp_path / f"{name}.toml"
        recipe.write_text(MDM.format(data=data, tower=tmp_path / "tower"))
        run_recipe(recipe, tmp_path / f"run-{name}", ["schedule.steps=3"], say=lambda line: None)
    assert losses(tmp_path / "run-folder") == losses(tmp_path / "run-packed") != []


# ------------------------------------------------------------------------------------------------------ wrong packs


@pytest.fixture
def packed(pair, tmp_path) -> Path:
    """A copy that may be spoilt."""
    return Path(shutil.copytree(pair[1].folder, tmp_path / "packed"))


def first_shard(packed: Path) -> Path:
    return sorted((packed / "shards").iterdir())[0]


def read_everything(packed: Path) -> None:
    dataset = PackedDataset(packed)
    for clip in dataset.clips("train"):
        assert np.isfinite(clip.motion.data).all() and clip.captions


def test_a_cut_shard_is_refused(packed):
    file = first_shard(packed)
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(ArtifactError, match="must hold all of its shards; absent or cut: 00000.parquet. "):
        PackedDataset(packed)
    file.unlink()
    with pytest.raises(ArtifactError, match=r"absent or cut: 00000.parquet"):
        PackedDataset(packed)


def test_a_damaged_shard_is_refused(packed):
    file = first_shard(packed)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(ArtifactError, match="must be a whole Parquet file"):
        read_everything(packed)
    assert any("its sum must be that of pack.json" in fault for fault in PackedDataset(packed).verify())
    assert main(["data", "verify", str(packed), "--quiet"]) == 1


def test_footers_of_any_kind_do_no_harm(packed):
    file, index = first_shard(packed), packed / INDEX
    for target in (file, index):
        whole, rng = target.read_bytes(), np.random.default_rng(0)
        for _ in range(60):
            data = bytearray(whole)
            for at in rng.integers(len(data) - 4000 if len(data) > 8000 else 0, len(data), 3):
                data[at] = rng.integers(256)
            target.write_bytes(data)
            try:
                read_everything(packed)
            except ArtifactError as error:
                assert len(str(error)) < 700
        target.write_bytes(whole)
    read_everything(packed)


def replace(packed: Path, table, **how) -> None:
    pq.write_table(table, first_shard(packed), store_schema=False, **how)
    about = json.loads((packed / ABOUT).read_text())
    about["shards"][0]["bytes"] = first_shard(packed).stat().st_size
    (packed / ABOUT).write_text(json.dumps(about))


PLAIN = dict(compression="NONE", use_dictionary=False)


def test_wrong_columns_are_refused(packed):
    table = pq.read_table(first_shard(packed))
    wide = table.set_column(1, pa.field("frames", pa.int64(), False), table["frames"].cast("int64"))
    for wrong in (table.drop_columns(["texts"]), table.append_column("more", table["frames"]), wide):
        replace(packed, wrong, **PLAIN)
        with pytest.raises(ArtifactError, match="must have the columns id text, frames int32"):
            read_everything(packed)
    loose = table.cast(pa.schema([field.with_nullable(True) for field in table.schema]))
    replace(packed, loose, **PLAIN)
    with pytest.raises(ArtifactError, match=r"got id text \(may be absent\)"):
        read_everything(packed)


@pytest.mark.parametrize(
    "how, said",
    [
        (dict(compression="ZSTD", use_dictionary=False), "is packed or has a dictionary"),
        (dict(compression="NONE", use_dictionary=True), "is packed or has a dictionary"),
    ],
)
def test_small_files_that_become_large_are_refused(packed, how, said):
    """A million times the same clip packs into a few bytes; reading it would fill the memory."""
    table = pq.read_table(first_shard(packed))
    bomb = pa.concat_tables([table.slice(0, 1)] * 500)
    replace(packed, bomb, **how)
    assert first_shard(packed).stat().st_size < 500 * 20 * 263
    with pytest.raises(ArtifactError, match=f"must hold plain columns of the size that it declares; .*{said}"):
        read_everything(packed)


def test_an_index_that_lies_is_refused(packed):
    places = pq.read_table(packed / INDEX).to_pylist()
    kinds = {"id": "text", "shard": "int32", "row": "int32", "frames": "int32"}
    for change, said in (
        ({"frames": 2_000_000_000}, "must have 2000000000 frames of 263 numbers"),
        ({"frames": -1}, "must have -1 frames"),
        ({"row": 10**6}, "must have row 1000000 for"),
        ({"shard": 999}, "must name 5 shards; it names others"),
    ):
        write_rows(packed / INDEX, kinds, [{**place, **change} for place in places])
        with pytest.raises(ArtifactError, match=said):
            read_everything(packed)
    write_rows(packed / INDEX, kinds, places[:-5])
    with pytest.raises(ArtifactError, match="must name packed clips"):
        read_everything(packed)


def test_paths_in_a_pack_stay_in_it(packed, tmp_path):
    shutil.copy(first_shard(packed), tmp_path / "outside.parquet")
    about = json.loads((packed / ABOUT).read_text())
    about["shards"][0]["file"] = "../../outside.parquet"
    (packed / ABOUT).write_text(json.dumps(about))
    with pytest.raises(ArtifactError, match="absent or cut"):
        PackedDataset(packed)
    (packed / ABOUT).write_text("[]")
    with pytest.raises(ArtifactError, match="must say which shards there are"):
        PackedDataset(packed)


def test_shards_keep_order_and_notes(tmp_path):
    with ShardWriter(tmp_path / "a.parquet", COLUMNS, {"a": 1}, group=2) as shard:
        for i in range(5):
            shard.add(id=str(i), frames=i, texts="ä", features=bytes([i]))
    found = Shard(tmp_path / "a.parquet", COLUMNS)
    assert (found.rows, found.starts, found.notes) == (5, [0, 2, 4, 5], {"a": 1})
    assert [found.place(row) for row in range(5)] == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)]
    assert [bytes(b) for b in found.group(1)["features"]] == [b"\x02", b"\x03"]
    with pytest.raises(IndexError, match="must have row 5; it has 5"):
        found.place(5)
    assert [found.value("texts", row) for row in range(5)] == ["ä"] * 5


@pytest.mark.parametrize("pages", [False, True])
def test_values_are_read_alone(pages, tmp_path):
    path = tmp_path / "a.parquet"
    with ShardWriter(path, COLUMNS, group=3, pages=pages) as shard:
        for i in range(8):
            shard.add(id=str(i), frames=i, texts=f"{i}", features=bytes([i]) * 10_000)
    assert pq.read_table(path)["features"].to_pylist() == [bytes([i]) * 10_000 for i in range(8)]
    found = Shard(path, COLUMNS)
    assert [found.value("frames", row) for row in range(8)] == list(range(8))
    found.bytes_read = 0
    assert bytes(found.value("features", 5)) == b"\5" * 10_000
    assert (found.bytes_read < 10_500) == pages
    data = bytearray(path.read_bytes())
    data[data.index(b"\4" * 10_000) + 5_000] ^= 1
    path.write_bytes(data)
    spoilt = Shard(path, COLUMNS)
    with pytest.raises(ArtifactError, match="another sum"):
        spoilt.value("features", 4)
    with pytest.raises(ArtifactError, match="another sum"):
        spoilt.group(1)
    if pages:
        assert bytes(spoilt.value("features", 5)) == b"\5" * 10_000
    with pytest.raises(IndexError, match="must have row 8"):
        spoilt.value("features", 8)


# ------------------------------------------------------------------------------------------------------ the command


def test_the_command(pair, tmp_path, capsys):
    assert main(["data", "pack", str(pair[0].folder), "-o", str(tmp_path / "p"), "--quiet", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["clips"] == 60 and report["skipped"] == {} and report["shards"][0]["clips"] == 60
    assert main(["data", "verify", str(tmp_path / "p"), "--quiet"]) == 0
    assert "every shard and every clip is sound" in capsys.readouterr().out
    main(["data", "stats", str(tmp_path / "p"), "--json"])
    packed = json.loads(capsys.readouterr().out)["splits"]
    main(["data", "stats", str(pair[0].folder), "--json"])
    assert packed == json.loads(capsys.readouterr().out)["splits"]
    for words, said in (
        ([str(pair[0].folder), "-o", str(tmp_path / "p")], "must be a new or an empty folder"),
        ([str(tmp_path / "p"), "-o", str(tmp_path / "q")], "is packed already"),
        ([str(tmp_path / "none"), "-o", str(tmp_path / "q")], "must be a dataset folder"),
    ):
        assert main(["data", "pack", *words]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "q").exists()


def test_bad_clips_are_refused_or_left_out(tmp_path):
    folder = folder_of(tmp_path / "folder", 10)
    np.save(folder / "new_joint_vecs" / "005.npy", np.full((30, 263), np.nan, np.float32))
    with pytest.raises(ArtifactError, match="got 1 that are not: 005"):
        pack(folder, tmp_path / "packed")
    assert not (tmp_path / "packed").exists() and len(list(tmp_path.iterdir())) == 1
    about = pack(folder, tmp_path / "packed", "skip")
    assert list(about["skipped"]) == ["005"] and "005" not in PackedDataset(tmp_path / "packed").ids("train")
    assert about["clips"] == 9
