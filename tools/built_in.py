"""Put a trained artifact into the package, in half precision, with its card.

    python tools/built_in.py runs/motiongpt-mini-pretrain/artifact --tokenizer runs/motiongpt-mini-tokenizer-7/artifact
    hftrainer bench quality -o results/motiongpt-mini-quality.json
    python tools/built_in.py --card results/motiongpt-mini-quality.json

    python tools/built_in.py runs/mdm-mini/artifact
    hftrainer bench quality --model mdm-mini -o results/mdm-mini-quality.json
    python tools/built_in.py --card results/mdm-mini-quality.json

and so for ``runs/mogents-mini-length/artifact`` and ``mogents-mini``.

The second call of this tool writes the card, and the behaviour table beside the JSON, from the numbers of the bench;
weights are not touched by it.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from hftrainer.data.humanml3d import HumanML3D
from hftrainer.evaluation.behaviour import table
from hftrainer.models.artifact import BUILT_IN
from hftrainer.models.motion.mdm.bundle import MDMBundle
from hftrainer.models.motion.mogents.bundle import MoGenTSBundle
from hftrainer.models.motion.motiongpt.bundle import MotionGPTBundle, Sampling
from hftrainer.pipelines.table import kind_of, open_pipeline
from hftrainer.training.starts import load_tokenizer

ROOT = Path(__file__).resolve().parent.parent
_SAMPLING = ("guidance", "temperature", "top_p", "shortest", "candidates")
SHORTEST = 16  # frames; the shortest training clips are of this size


def install_motiongpt(artifact: Path, tokenizer: Path | None, data: Path, sampling: Sampling) -> None:
    """Weights, statistics and words of ``artifact`` become the built-in ``motiongpt-mini``.

    ``tokenizer`` is a later part of stage 1 that trained the decoder alone: its codes must mean the same.
    """
    bundle = MotionGPTBundle.from_pretrained(artifact)
    if tokenizer is not None:
        network, _, about = load_tokenizer(tokenizer)
        before = bundle.motion_tokenizer.state_dict()
        for name, value in network.state_dict().items():
            if name.startswith(("encoder", "quantizer.codebook")) and not torch.equal(value, before[name]):
                raise SystemExit(f"{tokenizer} must have the encoder and codes of {artifact}; {name} differs.")
        bundle.motion_tokenizer, bundle.about["tokenizer"] = network, about
    about = provenance("motiongpt-mini", data, [*bundle.about["tokenizer"]["stages"], *bundle.about["stages"]])
    made = MotionGPTBundle(
        bundle.motion_tokenizer, bundle.language_model, bundle.words, bundle.statistics,
        (SHORTEST, bundle.frame_range[1]), about, sampling,
    )  # fmt: skip
    made.save_pretrained(BUILT_IN / about["name"], torch.float16)


def install_mdm(artifact: Path, data: Path, guidance: float, frames: int | None, candidates: int) -> None:
    """Weights, statistics and text tower of ``artifact`` become the built-in ``mdm-mini``."""
    bundle = MDMBundle.from_pretrained(artifact)
    about = provenance("mdm-mini", data, bundle.about["stages"])
    made = MDMBundle(
        bundle.network, bundle.statistics, bundle.text, guidance=guidance, frame_range=bundle.frame_range,
        evaluation_frames=bundle.evaluation_frames, usual_frames=frames, candidates=candidates,
        about=about,
    )  # fmt: skip
    made.save_pretrained(BUILT_IN / about["name"], dtype=torch.float16)


def install_mogents(artifact: Path, data: Path, candidates: int, drawing: dict[str, Any]) -> None:
    """Weights, statistics and text tower of ``artifact`` become the built-in ``mogents-mini``."""
    bundle = MoGenTSBundle.from_pretrained(artifact)
    stages = [*bundle.about["tokenizer"]["stages"], *bundle.about["stages"]]
    made = MoGenTSBundle(
        bundle.networks, bundle.statistics, bundle.tower(local_files_only=True), text_name=bundle.text_name,
        frame_range=bundle.frame_range, candidates=candidates, drawing=drawing,
        about=provenance("mogents-mini", data, stages),
    )  # fmt: skip
    made.save_pretrained(BUILT_IN / "mogents-mini", small=True)


def provenance(name: str, data: Path, stages: list[dict[str, Any]]) -> dict[str, Any]:
    """What a built-in artifact says of itself."""
    licences = HumanML3D(data).about["licences"]
    return {
        "name": name,
        "training_hours": round(sum(stage["seconds"] for stage in stages) / 3600, 2),
        "dataset": stages[-1]["recipe"]["dataset"],
        "acknowledgements": [terms["acknowledgement"] for terms in licences.values()],
        "licences": {
            "data": {source: terms["terms"] for source, terms in licences.items()},
            "text_tower": {"words of all-MiniLM-L6-v2": ["Apache-2.0"], "word list SCOWL": ["SCOWL"]},
        },
        "stages": stages,
    }


def _minutes() -> int:
    """Minutes of capture that training saw, from the numbers of ``hftrainer data stats``."""
    measured = json.loads((ROOT / "results" / "data.json").read_text(encoding="utf-8"))
    return round(measured["recorded"]["train"]["minutes"])


def card(quality: dict[str, Any]) -> str:
    """The card of a built-in artifact, with the numbers that ``hftrainer bench quality`` measured."""
    name = quality["model"]
    bundle = open_pipeline(name).bundle
    if quality["model_hash"] != bundle.hash:
        raise SystemExit(
            f"the bench must be of this artifact, {bundle.hash}; got {quality['model_hash']}. Run it again."
        )
    own = {"motiongpt-mini": _motiongpt, "mdm-mini": _mdm, "mogents-mini": _mogents}[name](bundle, quality)
    about, does = bundle.about, quality["behaviour"]
    rows = [
        *own["rows"],
        ("behaviour rules that hold on their own prompts", does["hold_rate"], "at least"),
        ("the same rules on other prompts' motions", does["others_rate"], "at most"),
    ]
    table = "\n".join(f"| {what} | {part['value']:g} | {word} {part['bar']:g} |" for what, part, word in rows)
    thanks = "\n".join(f"- {line}" for line in about["acknowledgements"])
    low, high = bundle.frame_range
    return f"""# {name}

{own["what"]}
The motions have {low / 20:g} to {high / 20:g} seconds (hml263, 20 fps). The model is small, runs on a CPU, and knows
what {about["training_hours"]:g} hours of training on {_minutes()} minutes of capture (and its mirror image) taught it.

```bash
{own["try"]}
```

## Measured

By `hftrainer bench quality --model {name}`; the JSON is `results/{name}-quality.json`. Held out are whole clips.

| | value | bar |
|---|---:|---|
{table}

{does["prompts"]} prompts, {does["rules"]} rules, {does["motions"]} motions; of prompts with words that no caption
contains, {does["unseen"]["rate"]:.0%} hold. {own["choice"]}

## How it was made

```bash
{own["commands"]}
```

Each stage names the statistics of the dataset build that it read. Where the names differ, an earlier stage read an
earlier build of the same captures, so these commands give a like model, not the same bits. Hashes and all settings of
every stage stand in `{own["index"]}`. Hours are wall-clock and count pauses.

## Data and licences

Weights: MIT, like the library. Captions: the sources' own labels, sentences of HumanML3D's *test* split (so no
HumanML3D benchmark number may be reported for this model), sentences written for this project after looking at the
clips, and sentences made by measuring the motion. It also learned from windows that are composed of stretches of the
training clips (`hftrainer/data/joins.py`), told by measuring. Word vectors: all-MiniLM-L6-v2 (Apache-2.0), word list
SCOWL.

{thanks}

## Limits

Everyday movement only: walking, running, turning, jumping, kicks and punches, crouching, crawling, lifting, salsa,
some sports. Hands have no fingers, there are no objects and no second person. Words far from these subjects give a
plausible movement, not the one that was meant. Not for decisions about people.
"""


def _note(stage: dict[str, Any]) -> str:
    plan, minutes = stage["recipe"]["schedule"], stage["seconds"] / 60
    data = stage["recipe"]["dataset"]["name"]
    return f"# {plan['steps']} steps, {minutes:.0f} min on 2 CPU cores, seed {plan['seed']}, data {data}"


def _choice(candidates: int, does: dict[str, Any]) -> str:
    """How one motion became the answer."""
    if candidates == 1:
        return "Every sentence is answered once."
    return (f"For every motion {candidates} candidates are drawn.\nThe one is kept that fits the sentence best, as "
            "`evaluator-mini` sees it and as sentences that follow from measuring the motion\nread; `--candidates 1` "
            f"takes the first: of those, {does['first_drawn']['hold']['rate']:.0%} hold. The rules measure bodies "
            "as the\nsecond of these choosers does, so the table flatters the chosen.")  # fmt: skip


def _motiongpt(bundle: MotionGPTBundle, quality: dict[str, Any]) -> dict[str, Any]:
    """What the card of ``motiongpt-mini`` says that others do not."""
    name, back = "motiongpt-mini", quality["reconstruction"]
    size = sum(p.numel() for n in (bundle.motion_tokenizer, bundle.language_model) for p in n.parameters()) / 1e6
    commands, files = _training(name, bundle.about["stages"])
    chosen = asdict(bundle.sampling)
    sampling = " ".join(f"--{k.replace('_', '-')} {chosen[k]:g}" for k in _SAMPLING)
    last = [file for file in files if "-tokenizer" in file][-1]
    return {
        "what": f"A MotionGPT of {size:.1f} million parameters that comes with hftrainer: an English sentence becomes "
                "a motion, a\nmotion a sentence.",
        "try": 'hftrainer generate "a person walks forward" -o walk.mp4 -o walk.bvh',
        "choice": _choice(bundle.sampling.candidates, quality["behaviour"]),
        "rows": [
            ("reconstruction MPJPE, training clips, mm", back["train_mm"], "at most"),
            ("reconstruction MPJPE, held-out clips, mm", back["held_out_mm"], "at most"),
            ("share of codes in use", back["codes_used"], "at least"),
        ],
        "commands": "\n".join([
            "hftrainer data build mocap --from captures/pack -o data/mocap",
            "python tools/word_vectors.py --data data/mocap --dictionary /usr/share/dict/american-english-small "
            "--count 17000 -o data/words",
            *commands,
            f"python tools/built_in.py runs/{files[-1]}/artifact --tokenizer runs/{last}/artifact {sampling}",
        ]),
        "index": "model_index.json",
    }  # fmt: skip


def _training(name: str, stages: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """The commands that trained an artifact, and the names of their recipes; a further run of a kind has a number."""
    commands, files, seen = [], [], dict[str, int]()
    for stage in stages:
        recipe = stage["recipe"]
        kind = recipe["settings"].get("stage") or recipe["kind"].partition("-")[2]
        seen[kind] = seen.get(kind, 0) + 1
        files.append("-".join([name, *([kind] if kind else []), *([str(seen[kind])] if seen[kind] > 1 else [])]))
        commands.append(f"hftrainer train recipes/{files[-1]}.toml -o runs/{files[-1]}   {_note(stage)}")
    return commands, files


def _mdm(bundle: MDMBundle, quality: dict[str, Any]) -> dict[str, Any]:
    """What the card of ``mdm-mini`` says that others do not."""
    size, kept = sum(p.numel() for p in bundle.network.parameters()) / 1e6, quality["editing"]
    commands, files = _training("mdm-mini", bundle.about["stages"])
    return {
        "what": f"An MDM of {size:.1f} million parameters that comes with hftrainer: an English sentence becomes a "
                "motion, by\ndenoising in 50 steps, and a motion is changed in part. Sentences are read by the "
                "built-in MotionGPT's encoder.",
        "try": 'hftrainer generate "a person walks forward" --model mdm-mini -o walk.mp4 -o walk.bvh\n'
               'hftrainer edit walk.npz "a person raises both arms" --model mdm-mini --part upper_body -o arms.mp4',
        "choice": _choice(bundle.candidates, quality["behaviour"]),
        "rows": [
            ("lower body after an edit of the upper one, largest change of a joint, mm", kept["lower_body_mm"],
             "at most"),
            ("root after it, largest change, mm", kept["root_mm"], "at most"),
            ("kept ends after filling a gap, largest change of a joint, mm", kept["ends_mm"], "at most"),
        ],
        "commands": "\n".join([
            "hftrainer data build mocap --from captures/pack -o data/mocap",
            *commands,
            f"python tools/built_in.py runs/{files[-1]}/artifact --guidance {bundle.guidance:g} "
            f"--frames {bundle.usual_frames} --candidates {bundle.candidates}",
        ]),
        "index": "mdm_config.json",
    }  # fmt: skip


def _mogents(bundle: MoGenTSBundle, quality: dict[str, Any]) -> dict[str, Any]:
    """What the card of ``mogents-mini`` says that others do not."""
    size = sum(p.numel() for network in bundle.networks.values() for p in network.parameters()) / 1e6
    back, kept = quality["reconstruction"], quality["editing"]
    commands, files = _training("mogents-mini", bundle.about["stages"])
    flags = " ".join(["--drawing", *(f"{name}={value:g}" for name, value in bundle.drawing.items())])
    return {
        "what": f"A MoGenTS of {size:.1f} million parameters that comes with hftrainer: an English sentence becomes a "
                "motion, by\nfilling masks in tokens of whole poses and of groups of joints, and joints or spans are "
                "made anew. Sentences are read\nby the built-in MotionGPT's encoder.",
        "try": 'hftrainer generate "a person walks forward" --model mogents-mini -o walk.mp4 -o walk.bvh\n'
               'hftrainer edit walk.npz "a person raises both arms" --model mogents-mini --part upper_body -o arms.mp4',
        "choice": _choice(bundle.candidates, quality["behaviour"]),
        "rows": [
            ("reconstruction MPJPE, training clips, mm", back["train_mm"], "at most"),
            ("reconstruction MPJPE, held-out clips, mm; the bar is the built-in MotionGPT's", back["held_out_mm"],
             "at most"),
            ("share of codes in use", back["codes_used"], "at least"),
            ("lower body after an edit of the upper one, largest change of a joint, mm", kept["lower_body_mm"],
             "at most"),
            ("root after it, largest change, mm", kept["root_mm"], "at most"),
            ("kept ends after filling a gap, largest change of a joint, mm", kept["ends_mm"], "at most"),
        ],
        "commands": "\n".join([
            "hftrainer data build mocap --from captures/pack -o data/mocap",
            *commands,
            f"python tools/built_in.py runs/{files[-1]}/artifact {flags} --candidates {bundle.candidates}",
        ]),
        "index": "mogents_config.json",
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="the built-in artifacts")
    parser.add_argument("artifact", type=Path, nargs="?")
    parser.add_argument("--data", type=Path, default=Path("data/mocap"))
    parser.add_argument("--guidance", type=float, default=1.0, help="the artifact's own choice")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--top-p", type=float, default=0.9)
    parser.add_argument("--shortest", type=int, default=0, help="frames at least, where no length is asked for")
    parser.add_argument("--candidates", type=int, default=1, help="drawn for a sentence, of which the best is kept")
    parser.add_argument("--frames", type=int, help="of an MDM, where no length is asked for")
    drawing = "of a MoGenTS: its own settings, for example guidance=4 renew=0.3 residual_layers=0"
    parser.add_argument("--drawing", nargs="+", default=[], metavar="NAME=NUMBER", help=drawing)
    parser.add_argument("--tokenizer", type=Path, help="stage 1 artifact whose decoder replaces the one that was used")
    parser.add_argument("--card", type=Path, help="JSON of hftrainer bench quality")
    args = parser.parse_args()
    if args.artifact:
        kind = kind_of(args.artifact).name
        if kind == "mogents":
            settings = dict(setting.split("=", 1) for setting in args.drawing)
            numbers = {name: json.loads(value) for name, value in settings.items()}
            install_mogents(args.artifact, args.data, args.candidates, numbers)
        elif kind == "mdm":
            install_mdm(args.artifact, args.data, args.guidance, args.frames, args.candidates)
        else:
            sampling = Sampling(
                args.guidance, args.temperature, args.top_p, shortest=args.shortest, candidates=args.candidates
            )
            install_motiongpt(args.artifact, args.tokenizer, args.data, sampling)
    if args.card:
        quality = json.loads(args.card.read_text())
        name = quality["model"]
        (BUILT_IN / name / "README.md").write_text(card(quality), encoding="utf-8")
        args.card.with_name(f"{name}-behaviour.md").write_text(table(quality["behaviour"]), encoding="utf-8")


if __name__ == "__main__":
    main()
