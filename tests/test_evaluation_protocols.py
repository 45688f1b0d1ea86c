"""Protocols, populations, scores, reports: what is drawn and left out, and that a wrong measurement is caught."""

import dataclasses
import hashlib
import json
import shutil

import numpy as np
import pytest
import torch

from hftrainer.evaluation import making, metrics, report, scoring
from hftrainer.evaluation.pairs import read_population
from hftrainer.evaluation.protocols import PROTOCOLS, PUBLISHED, Protocol, get_protocol
from hftrainer.models.evaluator import Evaluator, EvaluatorConfig, TextMotionEvaluator, WordVectors
from tests.test_evaluators import motion272

WORDS = ["unk", "sos", "eos", "walk", "run", "jump", "left", "right", "slowly", "a", "person", "turn", "wave", "kick"]
CONFIG = EvaluatorConfig(6, 15, 8, 7, 263, 10, 9, 11)
FIRST = dataclasses.replace(get_protocol("hml263-first"), repeats=3)
SUBCLIPS = dataclasses.replace(get_protocol("hml263-subclips"), repeats=3)
PAIRS = dataclasses.replace(get_protocol("motion272-pairs"), repeats=3)
SELECTED = dataclasses.replace(get_protocol("motion272-selected"), repeats=3)


def evaluator(std=1.0, mean=0.0):
    torch.manual_seed(0)
    words = WordVectors(WORDS, np.random.default_rng(0).normal(size=(len(WORDS), 6)))
    network = TextMotionEvaluator(CONFIG).eval().requires_grad_(False)
    for side in (network.text.sequence, network.motion):  # random weights put all in one place
        side.readout.weight *= 20
    return Evaluator(network, words, np.full(263, mean), np.full(263, std))


def sentence(rng):
    return " ".join(rng.choice(WORDS[3:], size=5))


def dataset(folder, width=263, clips=70, seed=0, least=48, most=199):
    """Clips of moving means, two sentences of each, and of every seventh a part with a third."""
    rng = np.random.default_rng(seed)
    for room in ("motions", "texts", "predictions"):
        (folder / room).mkdir(parents=True)
    for i in range(clips):
        frames = int(rng.integers(least, most))
        level = rng.normal(size=width) * 2
        for room, noise in (("motions", 0.3), ("predictions", 0.6)):
            n = frames if room == "motions" else frames - 3
            np.save(folder / room / f"c{i:03}.npy", (level + noise * rng.normal(size=(n, width))).astype(np.float32))
        lines = [f"{s}#{' '.join(w + '/VERB' for w in s.split())}#0.0#0.0" for s in (sentence(rng), sentence(rng))]
        if i % 7 == 0:
            s, end = sentence(rng), 2.5
            lines.append(f"{s}#{' '.join(w + '/VERB' for w in s.split())}#0.2#{end}")
        (folder / "texts" / f"c{i:03}.txt").write_text("\n".join(lines) + "\n")
    (folder / "test.txt").write_text("\n".join(f"c{i:03}" for i in range(clips)) + "\n")
    (folder / "other.txt").write_text("\n".join(f"c{i:03}" for i in range(6, clips)) + "\n")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return dataset(tmp_path_factory.mktemp("hml263"))


@pytest.fixture(scope="module")
def folder272(tmp_path_factory):
    return dataset(tmp_path_factory.mktemp("motion272"), 272, 40, 1, 80, 299)


def population(folder, protocol=FIRST, predictions=True, split="test.txt", **options):
    made = folder / "predictions" if predictions is True else predictions
    return read_population(protocol, folder / "motions", folder / "texts", folder / split, made or None, **options)


def measured(folder, protocol=FIRST, scorer=None, name="model", expected=None, **options):
    scorer, found = scorer or evaluator(), population(folder, protocol, **options)
    rows = scoring.score(scorer, protocol, found)
    return report.make_report(name, protocol, scorer, found, rows, expected=expected, command="score it")


# ------------------------------------------------------------------------------------------------------- populations


def test_protocols_are_those_of_the_specification():
    assert {name: (p.captions, p.lengths, p.draws, p.shortest, p.longest, p.seed) for name, p in PROTOCOLS.items()} == {
        "hml263-first": ("first", "common", "shuffle", 40, 200, 42),
        "hml263-selected": ("selected", "common", "shuffle", 40, 200, 42),
        "hml263-subclips": ("random", "window", "shuffle", 40, 200, 42),
        "kit251-subclips": ("random", "window", "shuffle", 24, 200, 42),
        "motion272-pairs": ("every", "reference", "permutation", 60, 300, 0),
        "motion272-selected": ("selected", "own", "permutation", 4, 100_000, 0),
        "motionclip135-selected": ("selected", "own", "permutation", 4, 100_000, 0),
    }
    assert all(p.repeats == 20 and p.group == 32 and p.diversity_pairs == 300 for p in PROTOCOLS.values())
    assert set(PUBLISHED) <= set(PROTOCOLS) and PUBLISHED["motion272-pairs"].values["R@1"] == 0.7059
    with pytest.raises(KeyError, match="there is no protocol 'hml'; there are hml263-first"):
        get_protocol("hml")
    with pytest.raises(ValueError, match="captions must be one of first, selected, random, every; got 'last'"):
        dataclasses.replace(FIRST, captions="last")
    with pytest.raises(ValueError, match="shortest must be 4 to below longest"):
        dataclasses.replace(FIRST, shortest=200)


def test_a_population_says_what_is_not_in_it(tmp_path):
    folder = dataset(tmp_path, clips=12)
    np.save(folder / "motions" / "c000.npy", np.zeros((39, 263), np.float32))
    np.save(folder / "motions" / "c001.npy", np.zeros((200, 263), np.float32))
    (folder / "motions" / "c002.npy").unlink()
    (folder / "texts" / "c003.txt").write_text("walk#walk/VERB#0.0#0.0\nno caption\n")
    (folder / "texts" / "c004.txt").write_text("walk#walk/VERB#0.5#0.7\n")
    (folder / "texts" / "c005.txt").unlink()
    (folder / "predictions" / "c006.npy").unlink()
    np.save(folder / "predictions" / "c007.npy", np.full((60, 263), np.nan, np.float32))
    np.save(folder / "predictions" / "c008.npy", np.zeros((60, 251), np.float32))
    np.save(folder / "predictions" / "c009.npy", np.zeros((39, 263), np.float32))
    found = population(folder)
    assert [pair.name for pair in found.pairs] == ["c003", "c010", "c011"]
    assert found.rejected == {
        "not 40 to 199 frames long": 2, "no real motion": 1, "a line that is no caption": 1,
        "no caption of the whole clip": 1, "no captions": 1,
    }  # fmt: skip
    assert found.missing == ("c006",) and set(found.failed) == {"c007", "c008", "c009"}
    assert "finite" in found.failed["c007"] and "(60, 251)" in found.failed["c008"]
    assert found.failed["c009"] == "39 frames, fewer than 40"
    made = measured(folder)
    assert made["counts"]["missing"] == 1 and made["counts"]["failed"] == 3 and made["missing"] == ["c006"]
    assert "R-precision needs at least 32 samples; got 3" in made["rows"]["predicted"]["undefined"]["R@1"]
    assert made["calibration"]["holds"] is False and "cannot be said" in made["calibration"]["reason"]


def test_captions_of_each_policy(folder, folder272):
    first = population(folder)
    assert all(len(pair.captions) == 1 for pair in first.pairs) and len(first.pairs) == 70
    both = population(folder, SUBCLIPS, predictions=None)
    parts = [pair for pair in both.pairs if "__sub0" in pair.name]
    assert parts and all(len(pair.captions) == 1 and len(pair.real) == 46 for pair in parts)
    assert all(len(pair.captions) == 2 for pair in both.pairs if pair not in parts)
    every = population(folder272, PAIRS)
    parts272 = [pair for pair in every.pairs if "__sub" in pair.name]
    assert len(every.pairs) == 80 + len(parts272) and all(len(pair.real) == 69 for pair in parts272) and parts272
    assert every.pairs[0].predicted.data.tobytes() == every.pairs[1].predicted.data.tobytes()
    with pytest.raises(ValueError, match="c000: motion272-selected needs exactly one caption.*got 2"):
        population(folder272, SELECTED)
    chosen = {pair.name: pair.captions[0].text for pair in population(folder, FIRST).pairs}
    own = dataclasses.replace(get_protocol("hml263-selected"), repeats=2)
    assert population(folder, own, selected=chosen).hashes == first.hashes
    with pytest.raises(ValueError, match="c000: the selected caption must be one of its own; got 'fly'"):
        population(folder, own, selected={**chosen, "c000": "fly"})


def test_wrong_requests_are_refused(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="the predictions must be a folder"):
        population(folder, predictions=tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="the split must be a file"):
        population(folder, split="none.txt")
    with pytest.raises(ValueError, match="measures real motions alone; got predictions"):
        population(folder, SUBCLIPS)
    (tmp_path / "predictions").mkdir()
    with pytest.raises(ValueError, match="none is left .*missing 70, failed 0"):
        population(folder, predictions=tmp_path / "predictions")
    with pytest.raises(ValueError, match="must have an evaluator of motion272; got hml263"):
        scoring.score(evaluator(), SELECTED, population(folder))


# ------------------------------------------------------------------------------------------------------------ scores


def test_a_score_is_that_of_the_measures(folder):
    found, scorer = population(folder), evaluator()
    rows = scoring.score(scorer, FIRST, found)
    pairs = found.pairs
    cut = [min(len(p.real), len(p.predicted)) // 4 * 4 for p in pairs]
    real, made = (
        scorer.motions([getattr(p, side)[:n] for p, n in zip(pairs, cut, strict=True)], "packed", frames=196)
        for side in ("real", "predicted")
    )
    texts = scorer.texts([p.captions[0].words for p in pairs])
    assert rows["predicted"]["metrics"]["FID"]["values"] == pytest.approx([metrics.frechet(real, made)] * 3)
    assert rows["real"]["metrics"]["FID"]["mean"] == 0 and rows["real"]["used"] == 64 == rows["predicted"]["used"]
    import random

    for repeat in range(3):
        order = list(range(70))
        random.Random(42 + repeat).shuffle(order)
        for name, points in (("real", real), ("predicted", made)):
            want = metrics.retrieval(texts, points, np.array(order))
            got = rows[name]["metrics"]
            assert got["R@3"]["values"][repeat] == want.precision[2]
            assert got["matching"]["values"][repeat] == pytest.approx(want.matching)
            drawn = metrics.diversity_pairs(70, np.random.RandomState(42 + repeat), 69)
            assert got["diversity"]["values"][repeat] == pytest.approx(metrics.diversity(points, *drawn))


def test_predictions_that_are_the_real_motions_score_like_them(folder):
    rows = scoring.score(evaluator(), FIRST, population(folder, predictions=folder / "motions"))
    real, made = rows["real"]["metrics"], rows["predicted"]["metrics"]
    assert made["FID"]["mean"] == pytest.approx(0, abs=1e-6)
    assert {k: v for k, v in made.items() if k != "FID"} == {k: v for k, v in real.items() if k != "FID"}


def test_the_batch_and_the_company_change_nothing(folder):
    """Padding to 196 makes a packed embedding independent of the others."""
    scorer, found = evaluator(), population(folder)
    clips = [pair.real[: len(pair.real) // 4 * 4] for pair in found.pairs[:6]]
    together = scorer.motions(clips, "packed", frames=196)
    alone = np.concatenate([scorer.motions([clip], "packed", frames=196) for clip in clips])
    assert np.abs(together - alone).max() < 1e-5
    assert np.abs(together - scorer.motions(clips, "packed")).max() > 1e-4


def test_real_motions_alone_are_cut_by_chance(folder):
    found = population(folder, SUBCLIPS, predictions=None)
    repeats = scoring._shuffles(SUBCLIPS, found.pairs)
    lengths = [[w.stop - w.start for w in repeat.windows] for repeat in repeats]
    full = [len(pair.real) // 4 * 4 for pair in found.pairs]
    shorter = np.mean([n < m for row in lengths for n, m in zip(row, full, strict=True)])
    assert 0.15 < shorter < 0.45 and all(n % 4 == 0 and n >= 40 for row in lengths for n in row)
    assert all(w.stop <= len(p.real) for r in repeats for w, p in zip(r.windows, found.pairs, strict=True))
    assert len({tuple(r.captions) for r in repeats}) == 3 and repeats[0].order.tolist() != repeats[1].order.tolist()
    assert scoring.chosen_captions(SUBCLIPS, found.pairs)[1] == repeats[1].captions
    rows = [scoring.score(evaluator(), SUBCLIPS, found) for _ in range(2)]
    assert rows[0] == rows[1] and set(rows[0]) == {"real"} and rows[0]["real"]["metrics"]["matching"]["std"] > 0


def test_pairs_and_lengths_of_272(folder272, tmp_path):
    scorer = motion272()(tmp_path)
    found = population(folder272, PAIRS)
    rows = scoring.score(scorer, PAIRS, found)
    assert rows["real"]["used"] == len(found.pairs) // 32 * 32 < len(found.pairs) == rows["real"]["samples"]
    real, made = scoring._cut(PAIRS, found.pairs)
    assert all(len(r) == len(p.real) // 4 * 4 for r, p in zip(real, found.pairs, strict=True))
    assert all(len(m) == min(len(p.real), len(p.predicted)) // 4 * 4 for m, p in zip(made, found.pairs, strict=True))
    alone = scoring.score(scorer, PAIRS, population(folder272, PAIRS, predictions=None))
    assert alone["real"] == rows["real"], "a row does not depend on whether there is another"
    chosen = {pair.name: pair.captions[0].text for pair in population(folder272, dataclasses.replace(
        PAIRS, captions="first", parts=False), predictions=None).pairs}  # fmt: skip
    own = population(folder272, SELECTED, selected=chosen)
    real, made = scoring._cut(SELECTED, own.pairs)
    assert [len(m) for m in made] == [len(p.predicted) // 4 * 4 for p in own.pairs]
    text = scorer.texts([own.pairs[3].captions[0].text])
    assert np.abs(scoring._Texts(scorer, own.pairs).of([0] * len(own.pairs))[3] - text[0]).max() < 1e-5


# ----------------------------------------------------------------------------------------------------------- reports


def test_a_report_carries_what_it_takes_to_do_it_again(folder):
    made = measured(folder, name="tiny")
    assert json.loads(json.dumps(made)) == made
    assert made["protocol"]["captions"] == "first" and made["protocol"]["repeats"] == 3
    assert made["protocol"]["lengths"] == "common" and made["protocol"]["seed"] == 42
    assert made["counts"] == {"samples": 70, "used": 64, "missing": 0, "failed": 0, "rejected": {}}
    assert made["route"] == {"predictions": ["hml263"], "reference": "raw"} and made["command"] == "score it"
    assert len(made["hashes"]["split"]) == len(made["hashes"]["statistics"]) == len(made["hashes"]["captions"]) == 64
    assert "does not say which weights" in made["hashes"]["weights"] and "made" not in made
    files = sorted((folder / "predictions").glob("*.npy"))
    lines = "".join(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files)
    assert made["hashes"]["predictions"] == hashlib.sha256(lines.encode()).hexdigest(), "what sha256sum *.npy prints"
    assert {"python", "numpy", "scipy", "torch"} <= set(made["versions"])
    row = made["rows"]["predicted"]["metrics"]
    assert list(row) == ["R@1", "R@2", "R@3", "FID", "matching", "diversity"]
    assert all({"mean", "std", "interval95"} <= set(value) and len(value["values"]) == 3 for value in row.values())


def test_real_motions_that_are_not_where_they_were_published_fail(folder):
    made = measured(folder)
    reason = report.failure(made)
    assert made["calibration"]["holds"] is False and reason == made["calibration"]["reason"]
    assert "not where real motion beside MoGenTS has them" in reason and "samples: 70 here, 3970 there" in reason
    assert [check["holds"] for check in made["calibration"]["checks"]][:1] == [False]
    with pytest.raises(ValueError, match="model must not stand in a table: real motions"):
        report.table([made])


@pytest.fixture(scope="module")
def good(folder):
    """A report of this dataset, which later ones are held to, and which nothing published can be."""
    own = dataclasses.replace(FIRST, name="tiny-first")
    first = measured(folder, own, name="model A")
    assert first["calibration"]["holds"] is None and "no row of real motions is published" in (
        first["calibration"]["reason"]
    )
    return own, first


def test_the_same_measurement_holds(folder, good):
    own, first = good
    again = measured(folder, own, name="model B", expected=first)
    assert again["calibration"]["holds"] is True and report.failure(again) is None
    lines = report.table([first, again])
    assert len(lines) == 5 and lines[2].startswith("| real motion |") and lines[4].startswith("| model B |")
    assert "64 of 70" in lines[3] and lines[3].endswith("| raw |")


@pytest.mark.parametrize(
    "mistake, reason",
    [
        (lambda f, p: measured(f, p, evaluator(std=1.3)), "statistics"),
        (lambda f, p: measured(f, p, evaluator(mean=0.5)), "statistics"),
        (lambda f, p: measured(f, p, split="other.txt"), "split"),
        (lambda f, p: measured(f, dataclasses.replace(p, captions="random")), "captions: 'random' and 'first'"),
    ],
    ids=["std", "mean", "split", "captions"],
)
def test_a_wrong_measurement_is_caught(folder, good, mistake, reason):
    own, first = good
    wrong = mistake(folder, own)
    found = report.calibrate(wrong, first)
    assert found["holds"] is False and reason in found["reason"], found["reason"]
    if "captions" not in reason:
        assert any(not check["holds"] for check in found["checks"]), "the row of real motions itself drifts"
    with pytest.raises(ValueError, match="reports of one table must have one protocol; model A and model differ in"):
        report.table([first, wrong])


def test_other_sentences_under_the_same_protocol_are_caught(tmp_path, folder, good):
    import shutil

    own, first = good
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    for file in (copy / "texts").glob("*.txt"):
        lines = file.read_text().splitlines()
        file.write_text("\n".join([lines[1], lines[0], *lines[2:]]) + "\n")
    found = report.calibrate(measured(copy, own), first)
    assert found["holds"] is False and "captions" in found["reason"] and "matching is" in found["reason"]


def test_a_subset_of_predictions_may_stand_beside_all(tmp_path, folder, good):
    import shutil

    own, first = good
    (tmp_path / "some").mkdir()
    for file in sorted((folder / "predictions").iterdir())[1:]:
        shutil.copyfile(file, tmp_path / "some" / file.name)
    some = measured(folder, own, predictions=tmp_path / "some", name="model C")
    assert some["counts"]["missing"] == 1 and report.differences(first, some) == []
    assert "64 of 69" in report.table([first, some])[4]


RUN = {"model": {"name": "mini", "sha256": "ab" * 32}, "drawing": {"seed": 0}, "data": {}, "route": ("hml263",)}


def test_a_folder_says_how_its_predictions_were_made(tmp_path, folder):
    made = shutil.copytree(folder / "predictions", tmp_path / "made")
    prompts = {pair.name: pair.captions[0].text for pair in population(folder).pairs}
    making.tell(made, prompts, **RUN)
    told = measured(folder, predictions=made)
    assert told["hashes"]["weights"] == "ab" * 32 and told["made"]["model"]["name"] == "mini"
    assert told["route"]["predictions"] == ["hml263"] and "prompts" not in told["made"]
    plain = measured(folder)
    assert told["rows"] == plain["rows"] and told["hashes"]["predictions"] == plain["hashes"]["predictions"]
    (made / making.FILE).unlink()
    making.tell(made, prompts, **RUN, there=["c000"])
    assert "says nothing of 1 of 70 predictions" in measured(folder, predictions=made)["hashes"]["weights"]
    np.save(made / "c001.npy", np.load(made / "c001.npy") + np.float32(0.1))
    assert measured(folder, predictions=made)["hashes"]["predictions"] != plain["hashes"]["predictions"]
    (made / making.FILE).write_text("[]")
    with pytest.raises(ValueError, match="must be of format hftrainer-generation-1"):
        population(folder, predictions=made)


def test_motions_made_from_other_sentences_are_caught(tmp_path, folder, good):
    made = shutil.copytree(folder / "predictions", tmp_path / "made")
    prompts = {pair.name: pair.captions[0].text for pair in population(folder).pairs}
    making.tell(made, {**prompts, "c003": "somebody waits", "c004": "somebody sits"}, **RUN)
    own, first = good
    wrong = measured(folder, own, predictions=made, expected=first)
    assert wrong["calibration"]["holds"] is False, "the real motions are right, the predictions are not"
    said = "2 of 70 motions were made from another sentence than they are scored with; c003 from 'somebody waits'"
    assert said in wrong["calibration"]["reason"] and all(c["holds"] for c in wrong["calibration"]["checks"])
    with pytest.raises(ValueError, match="must not stand in a table: 2 of 70"):
        report.table([wrong])


def test_a_road_takes_along_what_is_said_of_the_motions(tmp_path):
    making.tell(tmp_path / "a", {"x": "a person walks"}, **RUN)
    making.carry(tmp_path / "a", tmp_path / "b", "motion135")
    making.carry(tmp_path / "b", tmp_path / "c", "motion272")
    assert making.read(tmp_path / "c")["route"] == ["hml263", "motion135", "motion272"]
    making.carry(tmp_path / "nothing", tmp_path / "d", "motion272")
    assert not (tmp_path / "d").exists()
    making.tell(tmp_path / "e", {"x": "a person walks"}, **{**RUN, "drawing": {"seed": 1}})
    with pytest.raises(ValueError, match="has others: drawing, route. Choose another folder"):
        making.carry(tmp_path / "e", tmp_path / "b", "hml263")


def test_tables_of_nothing_and_of_something_else_are_refused(good):
    with pytest.raises(ValueError, match="at least 1 report"):
        report.table([])
    with pytest.raises(ValueError, match="of format hftrainer-report-1; got None"):
        report.table([{"name": "x"}])
    other = {**good[1], "name": "Z", "protocol": {**good[1]["protocol"], "repeats": 20}}
    with pytest.raises(ValueError, match="protocol repeats: 3 and 20"):
        report.table([good[1], other])


def test_few_samples_say_that_fid_is_too_high(folder):
    wide = Protocol("own", "hml263", "first", "common", "permutation", False, 40, 200, 0, repeats=1)
    assert measured(folder, wide)["notes"] == []
    torch.manual_seed(0)
    words = WordVectors(WORDS, np.zeros((len(WORDS), 6)))
    config = dataclasses.replace(CONFIG, width=100)
    scorer = Evaluator(TextMotionEvaluator(config).eval(), words, np.zeros(263), np.ones(263))
    assert "of 70 it is too high" in measured(folder, wide, scorer)["notes"][0]
