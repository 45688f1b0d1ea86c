"""The authors' folders of MoMask and MoGenTS: checkpoints, options and statistics, read and checked together.

| part | where |
|---|---|
| motion tokenizer | ``ROOT/DATASET/NAME/``: ``opt.txt``, ``meta/mean.npy``, ``meta/std.npy``, ``model/*.tar`` |
| masked, residual transformers | ``ROOT/DATASET/NAME/``: ``opt.txt``, ``model/*.tar`` |
| length estimator | ``LENGTHS/DATASET/length_estimator/model/finest.tar`` |

A ``.tar`` is what ``torch.save`` writes: a table of states beside epochs, scores and states of optimisers. Only its
tensors and plain numbers are read; code in it never runs. Which names the parts have stands in ``official.py``.

Nothing is taken unless all of it is right; what is wrong is listed in one message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from hftrainer.errors import ArtifactError
from hftrainer.models.artifact import file_hash, read_torch_file
from hftrainer.models.motion.mogents import official
from hftrainer.models.motion.mogents.official import Family, Part
from hftrainer.models.motion.motiongpt.release import Pair, read_pair
from hftrainer.motion.representation.specs import get_spec

#: Signs of files that belong to something else, by names in them.
_OTHERS = {
    "vq_model": "a motion tokenizer of MoMask or MoGenTS",
    "net": "a motion tokenizer",
    "t2m_transformer_aux": "MoGenTS' masked transformers",
    "mask_transformer_aux": "MoGenTS' masked transformers",
    "res_transformer_aux": "MoGenTS' residual transformers",
    "t2m_transformer": "MoMask's masked transformer",
    "trans": "a transformer",
    "res_transformer": "MoMask's residual transformer",
    "estimator": "a length estimator",
    "movement_encoder": "the HumanML3D evaluator",
    "state_dict": "a checkpoint of MotionGPT",
    "model_avg": "a checkpoint of MDM",
}
#: Entries that a file may hold and that are not needed.
_CLIP = re.compile(r"clip_model\.")


@dataclass(frozen=True)
class Release:
    """The authors' files, found whole; tensors bear the authors' names and have the file's own numbers.

    Attributes:
        family: MoGenTS or MoMask.
        dataset: the data set by the name that the authors' folders give it.
        config: sizes of the networks, group by group, by the authors' names.
        states: weights of each network that was found, float32.
        pair: the statistics.
        remarks: what was assumed or left out, in sentences.
        about: file names, sizes and hashes.
    """

    family: Family
    dataset: str
    config: dict[str, dict[str, Any]]
    states: dict[str, dict[str, Tensor]]
    pair: Pair
    remarks: tuple[str, ...] = ()
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def representation(self) -> str:
        """Name of the representation that the networks make."""
        return official.REPRESENTATIONS[self.dataset]


def parse_options(text: str) -> dict[str, Any]:
    """An ``opt.txt``: lines of ``key: value`` between a header and a footer.

    ``True`` and ``False`` are flags, digits are whole numbers, ``digits.digits`` are numbers; the rest stays text, as
    in the authors' reader. Their reader stumbles over a value with a colon in it; this one does not.

    Raises:
        ValueError: a line that is none of these.

    >>> parse_options("---- Options ----\\nattnj: True\\nlatent_dim: 384\\nmu: 0.99\\nvq_norm: None\\n---- End ----\\n")
    {'attnj': True, 'latent_dim': 384, 'mu': 0.99, 'vq_norm': 'None'}
    """
    said: dict[str, Any] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or re.match(r"-{3,}", line.strip()):
            continue
        key, colon, value = line.strip().partition(":")
        value = value.strip()
        if not colon or not key.isidentifier():
            raise ValueError(f"line {number} must be like latent_dim: 384; got {line.strip()[:60]!r}")
        if value in ("True", "False"):
            said[key] = value == "True"
        elif re.fullmatch(r"[-+]?\d+", value):
            said[key] = int(value)
        elif re.fullmatch(r"[-+]?\d+\.\d+", value):
            said[key] = float(value)
        else:
            said[key] = value
    return said


def read_release(
    family: Family,
    root: Path,
    lengths: Path | None = None,
    *,
    dataset: str | None = None,
    names: Mapping[str, str | None] | None = None,
    estimator: bool = True,
    any_statistics: bool = False,
) -> Release:
    """Read the authors' folders and check all that is in them against one another.

    Args:
        family: ``official.MOGENTS`` or ``official.MOMASK``.
        root: what holds the folder of the data set: ``logs`` of MoGenTS, ``checkpoints`` of MoMask.
        lengths: the same for the length estimator; by default ``root``.
        dataset: name of that folder; by default HumanML3D's, or the other one where it alone is there.
        names: folders of the parts (``vq``, ``mask``, ``res``) where they are not the released ones.
        estimator: whether the length estimator is read.
        any_statistics: take a pair that is known to be another model's.

    Raises:
        ArtifactError: something is absent or wrong; all of it is listed.
    """
    dataset = _dataset(family, root, dataset)
    problems: list[str] = []
    remarks: list[str] = []
    options: dict[str, dict[str, Any]] = {}
    found: dict[str, Mapping[str, Any]] = {}
    files: dict[str, Path] = {}
    for part in family.parts:
        if part.name == "length" and not estimator:
            continue
        if part.name == "length":
            folder = _lengths_folder(lengths or root, dataset)
        else:
            folder = root / dataset / ((names or {}).get(part.name) or part.folders[dataset])
            options[part.name] = _options(folder / "opt.txt", problems)
        file = _weights(folder, part, problems, remarks)
        if file is not None:
            files[part.name] = file
            found |= _states(file, part, problems)
        if part.name == "vq":
            pair = _statistics(folder / "meta", dataset, any_statistics, problems)
            motion_tokenizer = folder.name
    config = official.config_from_options(family, options, problems)
    if config is not None:
        for name, state in found.items():
            wrong = official.misfits(family, name, state, config)
            wrong = wrong or official.other_tables(family, name, state, config)
            problems += [f"{name}: {said}" for said in wrong]
    _agree(family, dataset, options, motion_tokenizer, problems, remarks)
    if problems or config is None or pair is None:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise ArtifactError(f"{root} must hold all that {family.title} consists of; {count}: {'; '.join(problems)}.")
    about = {
        "dataset": dataset,
        "weights": {
            name: {"name": f"{file.parents[1].name}/{file.parent.name}/{file.name}", "bytes": file.stat().st_size,
                   "sha256": file_hash(file)}
            for name, file in files.items()
        },
        "statistics": {file.name: file_hash(file) for file in pair.files} | {"name": pair.name},
        "options": options,
    }  # fmt: skip
    # copies: products of numbers that lie at other addresses, as in a mapped file, differ in their last bits
    states = {
        name: {key: value.detach().float().clone() for key, value in state.items() if not _CLIP.match(key)}
        for name, state in found.items()
    }
    return Release(family, dataset, config, states, pair, tuple(remarks), about)


def _dataset(family: Family, root: Path, said: str | None) -> str:
    if said is not None:
        if said not in family.datasets:
            raise ArtifactError(
                f"the data set of {family.title} must be {' or '.join(family.datasets)}; got {said!r}."
            )
        return said
    there = [name for name in family.datasets if (root / name).is_dir()]
    if not there:
        raise ArtifactError(
            f"{root} must hold the folder {' or '.join(family.datasets)} of {family.title}'s release; there is none."
        )
    return there[0]


def _lengths_folder(root: Path, dataset: str) -> Path:
    """The two families call HumanML3D differently, and released the same estimator."""
    same = ("humanml3d", "t2m") if dataset in ("humanml3d", "t2m") else (dataset,)
    places = [root / name / "length_estimator" for name in sorted(same, key=lambda name: name != dataset)]
    return next((place for place in places if place.is_dir()), places[0])


def _options(file: Path, problems: list[str]) -> dict[str, Any]:
    if not file.is_file():
        problems.append(f"{file} must hold the options of training; there is no such file")
        return {}
    try:
        return parse_options(file.read_text(encoding="utf-8"))
    except ValueError as error:
        problems.append(f"{file}: {error}")
    return {}


def _weights(folder: Path, part: Part, problems: list[str], remarks: list[str]) -> Path | None:
    for name in part.files:
        file = folder / "model" / name
        if file.is_file():
            if name != part.files[0]:
                remarks.append(f"{part.name}: there is no {part.files[0]}, so {name} was taken")
            return file
    problems.append(f"{folder / 'model' / part.files[0]} must hold the weights of {part.name}; there is no such file")
    return None


def _states(file: Path, part: Part, problems: list[str]) -> dict[str, Mapping[str, Any]]:
    """The states of the networks in a file, by the networks' names."""
    try:
        value = read_torch_file(file)
    except ArtifactError as error:
        problems.append(str(error).rstrip("."))
        return {}
    if not isinstance(value, Mapping):
        problems.append(f"{file} must be a table of states; got {type(value).__name__}")
        return {}
    states: dict[str, Mapping[str, Any]] = {}
    for name, keys in part.networks.items():
        key = next((key for key in keys if key in value), None)
        if key is None:
            seen = next((what for sign, what in _OTHERS.items() if sign in value), None)
            told = seen or (", ".join(list(map(str, value))[:3]) or "nothing")
            problems.append(f"{file} must hold {' or '.join(keys)}; got {told}")
        elif not isinstance(value[key], Mapping):
            problems.append(f"{key} in {file} must be names and tensors; got {type(value[key]).__name__}")
        else:
            wrong = [str(inner) for inner, tensor in value[key].items() if not isinstance(tensor, Tensor)]
            if wrong:
                problems.append(f"{key} in {file} must hold tensors only; got others as {', '.join(wrong[:3])}")
            else:
                states[name] = value[key]
    return states


def _statistics(folder: Path, dataset: str, any_statistics: bool, problems: list[str]) -> Pair | None:
    try:
        pair = read_pair(folder / "mean.npy", folder / "std.npy")
    except ArtifactError as error:
        problems.append(str(error).rstrip("."))
        return None
    width = get_spec(official.REPRESENTATIONS[dataset]).width
    if len(pair.mean) != width:
        problems.append(f"{folder}/mean.npy and std.npy must have {width} numbers; got {len(pair.mean)}")
    elif pair.wrong and not any_statistics:
        problems.append(
            f"{folder}/mean.npy and std.npy must be the pair that the motion tokenizer was trained with; got "
            f"{pair.name}"
        )
    return pair


def _agree(
    family: Family,
    dataset: str,
    options: Mapping[str, Mapping[str, Any]],
    motion_tokenizer: str,
    problems: list[str],
    remarks: list[str],
) -> None:
    """What the options of the parts say of one another."""
    for name, said in options.items():
        trained_on = said.get("dataset_name", dataset)
        if trained_on != dataset:
            problems.append(f"opt.txt of {name} must be of {dataset}; it says dataset_name {trained_on}")
        if said.get("unit_length", 4) != 4:
            problems.append(f"opt.txt of {name} must say unit_length 4; got {said['unit_length']}")
        if name != "vq" and said.get("vq_name", motion_tokenizer) != motion_tokenizer:
            remarks.append(
                f"{name}: trained on tokens of {said['vq_name']}; {family.title} was read with {motion_tokenizer}"
            )
