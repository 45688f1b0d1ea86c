"""Text towers from the files that people have: CLIP as OpenAI or transformers keep it, DistilBERT, and our own folders.

| what | how |
|---|---|
| our folder | ``tower.json``, ``tower.safetensors``, ``tokenizer.json`` unless it is CLIP's published one |
| transformers' folder | ``config.json``, ``model.safetensors`` or ``pytorch_model.bin``, ``tokenizer.json`` or parts |
| OpenAI's file | ``ViT-B-32.pt``, a TorchScript archive or a state of one; the image half is passed over |

Nothing is taken unless all of it fits; what does not fit is listed in one message.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor, nn

from hftrainer.errors import ArtifactError
from hftrainer.models.artifact import check_files, load_weights, read_config, read_torch_file, write_json
from hftrainer.models.clip import MOTION_CONTEXT, ClipText, ClipTextConfig, ClipTokens, ClipTower, build_tokenizer
from hftrainer.models.distilbert import DistilBert, DistilBertConfig, DistilBertTower
from hftrainer.models.motion.motiongpt.network import LanguageModelConfig
from hftrainer.models.motion.motiongpt.tower import CaptionEncoder, CaptionTower

#: Our own layout.
DESCRIPTION, WEIGHTS, TOKENIZER = "tower.json", "tower.safetensors", "tokenizer.json"
NAMES = ("clip", "distilbert", "motiongpt")
#: Where the published towers are found, and which files of theirs are needed.
PUBLISHED = {"clip": "openai/clip-vit-base-patch32", "distilbert": "distilbert/distilbert-base-uncased"}
PUBLISHED_FILES = ("config.json", "model.safetensors", "pytorch_model.bin", "tokenizer.json", "vocab.txt", "merges.txt")

Tower = ClipTower | DistilBertTower | CaptionTower



@torch.no_grad()
def sentence_vectors(tower: Tower, texts: Sequence[str]) -> Tensor:
    """Sentences -> ``(B, W)`` float32: the tower's vector, or the mean over the tokens of one that gives many."""
    states, real = tower.encode(texts)
    if real is None:
        return states.mean(1)
    weights = real[..., None].to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1).clamp_min(1)


#: Names in files of CLIP that the text tower does not need.
_OPENAI_OTHER: tuple[str, ...] = ("visual.", "logit_scale", "input_resolution", "context_length", "vocab_size")
_TRANSFORMERS_OTHER: tuple[str, ...] = (
    "vision_model.", "visual_projection.", "logit_scale", "text_model.embeddings.position_ids",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One tensor of ours and what it is made of: theirs, one below the other, or transposed."""

    ours: str
    theirs: tuple[str, ...]
    transposed: bool = False


def openai_rows(layers: int) -> list[Row]:
    """CLIP's text tower as OpenAI names it."""
    rows = [
        Row("tokens.weight", ("token_embedding.weight",)),
        Row("positions", ("positional_embedding",)),
        Row("norm.weight", ("ln_final.weight",)),
        Row("norm.bias", ("ln_final.bias",)),
        Row("projection", ("text_projection",)),
    ]
    pairs = (("norm_attention", "ln_1"), ("norm_feed_forward", "ln_2"), ("attention_out", "attn.out_proj"),
             ("widen", "mlp.c_fc"), ("narrow", "mlp.c_proj"))  # fmt: skip
    for i in range(layers):
        for part in ("weight", "bias"):
            theirs = f"transformer.resblocks.{i}"
            rows.append(Row(f"blocks.{i}.query_key_value.{part}", (f"{theirs}.attn.in_proj_{part}",)))
            rows += [Row(f"blocks.{i}.{ours}.{part}", (f"{theirs}.{name}.{part}",)) for ours, name in pairs]
    return rows


def transformers_rows(layers: int) -> list[Row]:
    """CLIP's text tower as transformers names it (``CLIPModel``, ``CLIPTextModelWithProjection``)."""
    text = "text_model"
    rows = [
        Row("tokens.weight", (f"{text}.embeddings.token_embedding.weight",)),
        Row("positions", (f"{text}.embeddings.position_embedding.weight",)),
        Row("norm.weight", (f"{text}.final_layer_norm.weight",)),
        Row("norm.bias", (f"{text}.final_layer_norm.bias",)),
        Row("projection", ("text_projection.weight",), transposed=True),
    ]
    pairs = (("norm_attention", "layer_norm1"), ("norm_feed_forward", "layer_norm2"),
             ("attention_out", "self_attn.out_proj"), ("widen", "mlp.fc1"), ("narrow", "mlp.fc2"))  # fmt: skip
    for i in range(layers):
        for part in ("weight", "bias"):
            theirs = f"{text}.encoder.layers.{i}"
            three = tuple(f"{theirs}.self_attn.{letter}_proj.{part}" for letter in "qkv")
            rows.append(Row(f"blocks.{i}.query_key_value.{part}", three))
            rows += [Row(f"blocks.{i}.{ours}.{part}", (f"{theirs}.{name}.{part}",)) for ours, name in pairs]
    return rows


def distilbert_rows(layers: int) -> list[Row]:
    """DistilBERT as transformers names it."""
    rows = [
        Row("tokens.weight", ("embeddings.word_embeddings.weight",)),
        Row("positions.weight", ("embeddings.position_embeddings.weight",)),
        Row("norm.weight", ("embeddings.LayerNorm.weight",)),
        Row("norm.bias", ("embeddings.LayerNorm.bias",)),
    ]
    pairs = (("query", "attention.q_lin"), ("key", "attention.k_lin"), ("value", "attention.v_lin"),
             ("attention_out", "attention.out_lin"), ("norm_attention", "sa_layer_norm"), ("widen", "ffn.lin1"),
             ("narrow", "ffn.lin2"), ("norm_feed_forward", "output_layer_norm"))  # fmt: skip
    for i in range(layers):
        rows += [
            Row(f"layers.{i}.{ours}.{part}", (f"transformer.layer.{i}.{name}.{part}",))
            for part in ("weight", "bias")
            for ours, name in pairs
        ]
    return rows


def fill(network: nn.Module, rows: Iterable[Row], state: Mapping[str, Tensor], passed_over: tuple[str, ...]) -> None:
    """Give a network, best made on the ``meta`` device, its weights from a state with other names.

    Args:
        network: keeps its own number types.
        rows: a row for each tensor of the network.
        state: the file's tensors.
        passed_over: beginnings of names that are known and not needed.

    Raises:
        ArtifactError: a tensor is missing, unknown or of another shape; all of them are listed.
    """
    want, problems = network.state_dict(), []
    found: dict[str, Tensor] = {}
    known: set[str] = set()
    for row in rows:
        known.update(row.theirs)
        absent = [name for name in row.theirs if name not in state]
        problems += [f"missing {name}" for name in absent]
        shape = tuple(reversed(want[row.ours].shape)) if row.transposed else tuple(want[row.ours].shape)
        part = (shape[0] // len(row.theirs), *shape[1:])
        wrong = [name for name in row.theirs if name in state and tuple(state[name].shape) != part]
        problems += [f"{name} is {tuple(state[name].shape)}, the network needs {part}" for name in wrong]
        if not absent and not wrong:
            value = torch.cat([state[name] for name in row.theirs]) if len(row.theirs) > 1 else state[row.theirs[0]]
            value = value.t() if row.transposed else value
            found[row.ours] = value.detach().to(want[row.ours].dtype).contiguous()
    unknown = [name for name in sorted(state) if name not in known and not name.startswith(passed_over)]
    problems += [f"unexpected {name}" for name in unknown]
    if problems:
        raise ArtifactError(f"{len(problems)} problems with the text tower's weights: {'; '.join(problems)}.")
    network.load_state_dict(found, assign=True)


def build_clip(state: Mapping[str, Tensor], precision: str = "mixed", heads: int | None = None) -> ClipText:
    """The network of a state that OpenAI or transformers wrote; its sizes are those of the tensors.

    Args:
        state: names and tensors; the image half may be among them.
        precision: as of ``ClipText``.
        heads: where they are not a 64th of the width.

    Raises:
        ArtifactError: no CLIP text tower, or one with parts missing.
    """
    if "text_model.embeddings.token_embedding.weight" in state:
        table, begin, passed = transformers_rows, "text_model.encoder.layers.", _TRANSFORMERS_OTHER
    elif "token_embedding.weight" in state:
        table, begin, passed = openai_rows, "transformer.resblocks.", _OPENAI_OTHER
    else:
        some = ", ".join(sorted(state)[:3]) or "nothing"
        raise ArtifactError(
            f"the weights must hold CLIP's text tower; got {some}. Take openai/clip-vit-base-patch32, or ViT-B-32.pt."
        )
    layers = _count(state, begin)
    names = {row.ours: row.theirs[0] for row in table(0)}
    sizes = {ours: tuple(state[theirs].shape) for ours, theirs in names.items() if theirs in state}
    if len(sizes.get("tokens.weight", ())) != 2 or len(sizes.get("projection", ())) != 2 or "positions" not in sizes:
        raise ArtifactError(
            f"the text tower must hold {', '.join(names[k] for k in ('tokens.weight', 'positions', 'projection'))}; "
            f"got {len(sizes)} of them. A tower without projection is not the one that motion models use."
        )
    vocabulary, width = sizes["tokens.weight"]
    output = sizes["projection"][0 if table is transformers_rows else 1]
    try:
        config = ClipTextConfig(vocabulary, sizes["positions"][0], width, layers, heads or max(width // 64, 1), output)
    except ValueError as error:
        raise ArtifactError(f"the text tower has impossible sizes: {error}") from error
    with torch.device("meta"):
        network = ClipText(config, precision)
    fill(network, table(layers), state, passed)
    return network


def build_distilbert(state: Mapping[str, Tensor], heads: int = 12) -> DistilBert:
    """The network of a state that transformers wrote, with or without the head that guesses words.

    Raises:
        ArtifactError: no DistilBERT, or one with parts missing.
    """
    state = {name.removeprefix("distilbert."): value for name, value in state.items()}
    first = {row.ours: row.theirs[0] for row in distilbert_rows(1)}
    needed = ("tokens.weight", "positions.weight", "layers.0.widen.weight")
    absent = [first[name] for name in needed if first[name] not in state]
    if absent:
        raise ArtifactError(
            f"the weights must be DistilBERT's; missing {', '.join(absent)}. Take distilbert/distilbert-base-uncased."
        )
    (vocabulary, width), (positions, _), (wide, _) = (tuple(state[first[name]].shape) for name in needed)
    layers = _count(state, "transformer.layer.")
    try:
        config = DistilBertConfig(vocabulary, positions, width, layers, heads, wide)
    except ValueError as error:
        raise ArtifactError(f"DistilBERT has impossible sizes: {error}") from error
    with torch.device("meta"):
        network = DistilBert(config)
    fill(network, distilbert_rows(layers), state, ("vocab_", "embeddings.position_ids"))
    return network


def _count(state: Mapping[str, Tensor], begin: str) -> int:
    numbers = {name.removeprefix(begin).split(".")[0] for name in state if name.startswith(begin)}
    return max((int(number) for number in numbers if number.isdigit()), default=-1) + 1


# -------------------------------------------------------------------------------------------------- files and folders


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a file: safetensors, torch's own, or a TorchScript archive, whose program is not run.

    Raises:
        ArtifactError: no such file, or a damaged one.
    """
    if not path.is_file():
        raise ArtifactError(f"{path} must be a file of weights; there is no such file.")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise ArtifactError(f"{path} must be a safetensors file; got {error}.") from error
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            scripted = any(name.endswith("/constants.pkl") for name in archive.namelist())
        if scripted:
            try:
                return {name: value.detach() for name, value in torch.jit.load(path, "cpu").state_dict().items()}
            except RuntimeError as error:
                said = str(error).strip().splitlines()[0]
                raise ArtifactError(f"{path} must be a whole TorchScript archive; got {said}.") from error
    state = read_torch_file(path)
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ArtifactError(f"{path} must hold names and tensors; got {type(state).__name__}.")
    return state


def read_clip(path: Path, *, context: int = MOTION_CONTEXT, precision: str = "mixed") -> ClipTower:
    """CLIP's text tower from transformers' folder, OpenAI's file, or a folder of ours.

    Args:
        path: ``openai/clip-vit-base-patch32`` on disk, ``ViT-B-32.pt``, or what ``save_tower`` wrote.
        context: tokens of one sentence; 22 for HumanML3D and KIT.
        precision: ``mixed``, as the motion models were trained, or ``fp32``.

    Raises:
        ArtifactError: absent files, or weights that are not CLIP's; all that is wrong with the weights is listed.
    """
    heads, tokenizer = None, None
    if path.is_dir():
        if (path / DESCRIPTION).is_file():
            tower = read_tower(path)
            if not isinstance(tower, ClipTower):
                raise ArtifactError(f"{path} must hold CLIP's text tower; got {tower.name}.")
            return tower
        said = _json(path / "config.json", path, ("clip", "clip_text_model"))
        said = said.get("text_config") or said
        heads = said.get("num_attention_heads", 8)
        for name, value in (("hidden_act", "quick_gelu"), ("layer_norm_eps", 1e-5)):
            if said.get(name, value) != value:
                raise ArtifactError(f"{path / 'config.json'}: {name} must be {value}; got {said[name]}.")
        state, tokenizer = read_state(_weights(path)), _clip_tokenizer(path)
    else:
        state = read_state(path)
    network = build_clip(state, precision, heads)
    if tokenizer is None and network.config.vocabulary != ClipTextConfig().vocabulary:
        raise ArtifactError(
            f"{path}: a tower with {network.config.vocabulary} tokens must come with tokenizer.json; got none."
        )
    return ClipTower(network, ClipTokens(tokenizer, context, network.config.positions))


def read_distilbert(folder: Path) -> DistilBertTower:
    """DistilBERT from transformers' folder or one of ours.

    Raises:
        ArtifactError: absent files, or weights that are not DistilBERT's.
    """
    if (folder / DESCRIPTION).is_file():
        tower = read_tower(folder)
        if not isinstance(tower, DistilBertTower):
            raise ArtifactError(f"{folder} must hold DistilBERT; got {tower.name}.")
        return tower
    said = _json(folder / "config.json", folder, ("distilbert",))
    if said.get("activation", "gelu") != "gelu":
        raise ArtifactError(f"{folder / 'config.json'}: activation must be gelu; got {said['activation']}.")
    network = build_distilbert(read_state(_weights(folder)), said.get("n_heads", 12))
    return DistilBertTower(network, read_word_pieces(folder))


def save_tower(tower: Tower, folder: Path) -> None:
    """Write a tower in our own layout; a tensor is kept in half precision where that loses nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    config: dict[str, Any] = {"tower": tower.name, "config": asdict(tower.network.config)}
    if isinstance(tower, ClipTower):
        config |= {"precision": tower.network.precision, "context": tower.tokens.context}
        if not _is_published(tower.tokens.tokenizer):
            tower.tokens.tokenizer.save(str(folder / TOKENIZER))
    else:
        tower.tokenizer.save(str(folder / TOKENIZER))
    state = {}
    for name, value in tower.network.state_dict().items():
        half = value.half() if value.is_floating_point() else value
        state[name] = (half if torch.equal(half.to(value.dtype), value) else value).cpu().contiguous()
    save_file(state, folder / WEIGHTS)
    write_json(folder / DESCRIPTION, config)


def read_tower(folder: Path) -> Tower:
    """What ``save_tower`` wrote.

    Raises:
        ArtifactError: absent files, or parts that do not fit one another.
    """
    check_files(folder, (DESCRIPTION, WEIGHTS))
    said = _json(folder / DESCRIPTION, folder, NAMES)
    unknown = sorted(set(said) - {"tower", "config", "precision", "context"})
    if unknown:
        raise ArtifactError(f"{folder / DESCRIPTION} must say tower, config, precision and context; got {unknown[0]}.")
    file = folder / TOKENIZER
    tokenizer = _tokenizer(file) if file.is_file() else None
    where, sizes = str(folder / DESCRIPTION), said.get("config", {})
    try:
        if said["tower"] == "clip":
            with torch.device("meta"):
                clip = ClipText(read_config(ClipTextConfig, sizes, where), said.get("precision", "mixed"))
            load_weights(clip, folder / WEIGHTS)
            return ClipTower(
                clip, ClipTokens(tokenizer, said.get("context", MOTION_CONTEXT), clip.config.positions)
            )
        if tokenizer is None:
            raise ArtifactError(f"{folder} must hold {TOKENIZER}; there is none.")
        if said["tower"] == "motiongpt":
            captions = CaptionEncoder(read_config(LanguageModelConfig, sizes, where))
            load_weights(captions, folder / WEIGHTS)
            return CaptionTower(captions, tokenizer)
        with torch.device("meta"):
            bert = DistilBert(read_config(DistilBertConfig, sizes, where))
        load_weights(bert, folder / WEIGHTS)
        return DistilBertTower(bert, tokenizer)
    except ArtifactError:
        raise
    except ValueError as error:  # parts that do not fit one another
        raise ArtifactError(f"{folder}: {error}") from error


def fetch_tower(name: str, *, local_files_only: bool = False) -> Tower:
    """A published tower from the hub, or from its cache on this computer.

    Args:
        name: ``clip`` or ``distilbert``.
        local_files_only: use the cache only.

    Raises:
        ArtifactError: an unknown name, or the files cannot be reached or came with other hashes than the hub says.
    """
    if name not in PUBLISHED:
        raise ArtifactError(f"the text tower {name} must lie in the artifact, below text_encoder/; there is none.")
    from hftrainer.models.hub import fetch

    try:
        folder = fetch(PUBLISHED[name], local_files_only=local_files_only, patterns=PUBLISHED_FILES)
    except ArtifactError as error:
        raise ArtifactError(
            f"the text tower {name} must lie in the artifact or be within reach as {PUBLISHED[name]}; got {error} "
            "Import the model again with its tower inside, or give the tower itself."
        ) from error
    return read_clip(folder) if name == "clip" else read_distilbert(folder)


def _json(file: Path, folder: Path, kinds: tuple[str, ...]) -> dict[str, Any]:
    """A description that says which kind of tower it is."""
    if not file.is_file():
        raise ArtifactError(f"{folder} must hold {file.name}; there is none. Download the whole folder.")
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtifactError(f"{file} must be JSON; got {error}.") from error
    if not isinstance(said, dict):
        raise ArtifactError(f"{file} must be an object; got {type(said).__name__}.")
    kind = said.get("tower") or said.get("model_type") or (said.get("architectures") or ["nothing"])[0]
    if kind not in kinds:
        raise ArtifactError(f"{file} must describe one of {', '.join(kinds)}; got {kind}.")
    return said


def _weights(folder: Path) -> Path:
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            return folder / name
    raise ArtifactError(f"{folder} must hold model.safetensors or pytorch_model.bin; got neither.")


def _tokenizer(file: Path) -> Tokenizer:
    text = file.read_text(encoding="utf-8")
    try:
        said = json.loads(text)
    except ValueError as error:
        raise ArtifactError(f"{file} must be JSON; got {error}.") from error
    if not isinstance(said, dict) or "model" not in said:
        raise ArtifactError(f"{file} must be a tokenizer; got JSON without a model.")
    return Tokenizer.from_str(text)


def _is_published(tokenizer: Tokenizer) -> bool:
    return tokenizer.get_vocab() == ClipTokens().tokenizer.get_vocab()


def _clip_tokenizer(folder: Path) -> Tokenizer | None:
    """The folder's own tokenizer; none where it has CLIP's published one, or says nothing."""
    if (folder / TOKENIZER).is_file():
        tokenizer = _tokenizer(folder / TOKENIZER)
    elif (folder / "merges.txt").is_file():
        lines = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
        pairs = [line.split() for line in lines if line and not line.startswith("#version")]
        tokenizer = build_tokenizer([(pair[0], pair[1]) for pair in pairs if len(pair) == 2])
    else:
        return None
    return None if _is_published(tokenizer) else tokenizer


def read_word_pieces(folder: Path) -> Tokenizer:
    """BERT's word pieces: ``tokenizer.json`` of a folder, or one built from its list of words, ``vocab.txt``.

    Raises:
        ArtifactError: neither is there, or it is damaged.
    """
    if (folder / TOKENIZER).is_file():
        return _tokenizer(folder / TOKENIZER)
    if not (folder / "vocab.txt").is_file():
        raise ArtifactError(f"{folder} must hold tokenizer.json or vocab.txt; got neither.")
    words = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    vocabulary = {word: i for i, word in enumerate(words)}
    marks = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    absent = [mark for mark in marks if mark not in vocabulary]
    if absent:
        raise ArtifactError(f"{folder / 'vocab.txt'} must hold {', '.join(marks)}; absent: {', '.join(absent)}.")
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    )
    tokenizer.add_special_tokens([AddedToken(mark, special=True) for mark in marks])
    return tokenizer
