"""CLIP's text side: its tokenizer and the transformer that turns a sentence into one vector.

A network that was trained with CLIP wants the numbers that its authors computed. Two habits matter: sentences of
HumanML3D and KIT are cut to 20 tokens, and the tower runs in half precision with embeddings and norms in single. Both
are settings here, and what is cut is told (``ClipTower.unread``).

Legend: ``B`` batch, ``L`` tokens, ``W`` width, ``E`` output width.

Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021, section 2.4;
Sennrich et al. 2016 for byte pair encoding. ``clip_merges.txt.gz`` beside this file is the list of merges that CLIP's
vocabulary consists of. The authors' names of weights stand in ``tower_files.py``.
"""

from __future__ import annotations

import gzip
import html
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from torch.nn import functional

START, END = "<|startoftext|>", "<|endoftext|>"
#: Tokens of a sentence with start and end, as MDM reads HumanML3D and KIT.
MOTION_CONTEXT = 22
PRECISIONS = ("mixed", "fp32")

_MERGES = Path(__file__).parent / "clip_merges.txt.gz"
_PARTS = r"(?i)<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"


# -------------------------------------------------------------------------------------------------------- the words


_ESCAPES = re.compile(r"\x1b\[[\d;]*[A-Za-z]")
_CONTROLS = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f\u206a-\u206f\ufeff\ufff9-\ufffc]")
_COMPATIBLE = re.compile("[\u0132\u0133\u0149\u01c4-\u01cc\u01f1-\u01f3\ufb00-\ufb06\uff01-\uffef\u3000]")
_LONE = re.compile("[\ud800-\udfff]")
_QUOTES = str.maketrans(dict.fromkeys("\u02bc\u2018\u2019\u201a\u201b", "'") | dict.fromkeys("“”„‟", '"'))
_LATIN = {code: bytes([code]).decode("cp1252", "replace") for code in range(0x80, 0xA0) if code != 0x85}


def clean(text: str) -> str:
    """Text as CLIP's tokenizer wants it: entities resolved, plain quotes, one space between words, lower case.

    The original cleans with the library ftfy. Its rules for entities, quotes, ligatures, wide letters and control
    characters are kept; text that was decoded with a wrong alphabet is left as it is.

    >>> clean("  He’s   kicking \\n AT&amp;amp;T")
    "he's kicking at&t"
    """
    text = _LONE.sub("\ufffd", text)
    for _ in range(2 + ("<" not in text)):
        text = html.unescape(text)
    text = _ESCAPES.sub("", text).translate(_LATIN)
    text = _COMPATIBLE.sub(lambda found: unicodedata.normalize("NFKC", found[0]), text)
    text = _CONTROLS.sub("", text.translate(_QUOTES))
    return re.sub(r"\s+", " ", unicodedata.normalize("NFC", text)).strip().lower()


def _letters() -> list[str]:
    """The 256 bytes as printable letters, in the order in which CLIP's vocabulary counts them."""
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = len(set(range(256)) - set(shown))
    return [*map(chr, shown), *(chr(256 + i) for i in range(hidden))]


@lru_cache(maxsize=1)
def _published() -> Tokenizer:
    with gzip.open(_MERGES, "rt", encoding="utf-8") as file:
        merges = [(a, b) for a, b in (line.split() for line in file)]
    return build_tokenizer(merges)


def build_tokenizer(merges: Sequence[tuple[str, str]]) -> Tokenizer:
    """A tokenizer from the list of merges that follows the 256 bytes and the 256 bytes that end a word.

    Args:
        merges: pairs of pieces, most frequent first.
    """
    letters = _letters()
    pieces = [*letters, *(letter + "</w>" for letter in letters), *(a + b for a, b in merges), START, END]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer(
        models.BPE(vocabulary, list(merges), end_of_word_suffix="</w>", continuing_subword_prefix="", unk_token=END)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PARTS), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.add_special_tokens([AddedToken(mark, normalized=False, special=True) for mark in (START, END)])
    return tokenizer


class ClipTokens:
    """Sentences to token ids, and what of a sentence does not fit.

    Args:
        tokenizer: pieces of cleaned text; the published one when none is given.
        context: tokens of one sentence, start and end included; 22 is the rule of MDM for HumanML3D and KIT.
        positions: length of a row; zeros fill it.

    >>> tokens = ClipTokens()
    >>> tokens.ids(["a person walks forward."])[0, :8].tolist()
    [49406, 320, 2533, 8192, 2342, 269, 49407, 0]
    >>> tokens.unread("walk " * 20 + "and then sit down")
    'and then sit down'
    """

    def __init__(
        self, tokenizer: Tokenizer | None = None, context: int = MOTION_CONTEXT, positions: int = 77
    ) -> None:
        self.tokenizer = tokenizer or _published()
        if not 3 <= context <= positions:
            raise ValueError(f"context must be 3 to {positions}; got {context}.")
        self.context, self.positions = context, positions
        start, end = self.tokenizer.token_to_id(START), self.tokenizer.token_to_id(END)
        if start is None or end is None:
            raise ValueError(f"a tokenizer of CLIP must know {START} and {END}; got one without. Take CLIP's own.")
        self.start, self.end = start, end

    def ids(self, texts: Sequence[str]) -> Tensor:
        """Sentences -> ``(B, positions)`` int64: start, tokens, end, zeros; cut sentences still close with the end."""
        rows = torch.zeros(len(texts), self.positions, dtype=torch.long)
        for row, text in zip(rows, texts, strict=True):
            found = self.tokenizer.encode(clean(text), add_special_tokens=False).ids
            found = [self.start, *found[: self.context - 2], self.end]
            row[: len(found)] = torch.tensor(found)
        return rows

    def unread(self, text: str) -> str:
        """The end of a sentence that is cut away, from its first word that is not read whole; empty if all is read."""
        text = clean(text)
        found = self.tokenizer.encode(text, add_special_tokens=False)
        kept = self.context - 2
        if len(found.ids) <= kept:
            return ""
        begins = found.offsets[kept][0]
        part = found.word_ids[kept]
        while kept and part is not None and found.word_ids[kept - 1] == part:
            kept -= 1
            begins = found.offsets[kept][0]
        return text[begins:].strip()


# ------------------------------------------------------------------------------------------------------ the network


@dataclass(frozen=True)
class ClipTextConfig:
    """Sizes of the text transformer; the defaults are ViT-B/32's.

    Attributes:
        vocabulary: tokens; the last one closes a sentence.
        positions: length of a row of tokens.
        width, layers, heads: of the transformer; heads of CLIP are 64 wide.
        output: width of the sentence's vector.
    """

    vocabulary: int = 49408
    positions: int = 77
    width: int = 512
    layers: int = 12
    heads: int = 8
    output: int = 512

    def __post_init__(self) -> None:
        if self.heads < 1 or self.width % self.heads:
            raise ValueError(f"width must be a multiple of {self.heads} heads; got {self.width}.")


class _Norm(nn.LayerNorm):
    """Computes in single precision and gives back what it got."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float()).to(x.dtype)


class _Block(nn.Module):
    def __init__(self, config: ClipTextConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.norm_attention, self.norm_feed_forward = _Norm(width), _Norm(width)
        self.query_key_value, self.attention_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        # (L, B, W), the order in which the original computes: half precision rounds otherwise in another order
        length, batch, width = x.shape
        parts = self.query_key_value(self.norm_attention(x)).chunk(3, -1)
        query, key, value = (part.reshape(length, batch, self.heads, -1).permute(1, 2, 0, 3) for part in parts)
        seen = functional.scaled_dot_product_attention(query, key, value, mask)
        x = x + self.attention_out(seen.permute(2, 0, 1, 3).reshape(length, batch, width))
        hidden = self.widen(self.norm_feed_forward(x))
        return x + self.narrow(hidden * torch.sigmoid(1.702 * hidden))


class ClipText(nn.Module):
    """Token ids to one vector per sentence; frozen.

    Args:
        config: sizes.
        precision: ``mixed`` (linear layers in half precision, embeddings and norms in single, as the original runs,
            also on a CPU) or ``fp32``. Full-size towers differ by some 6e-3 between the two.

    Raises:
        ValueError: another precision.
    """

    def __init__(self, config: ClipTextConfig, precision: str = "fp32") -> None:
        super().__init__()
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}; got {precision!r}.")
        self.config, self.precision = config, precision
        self.tokens = nn.Embedding(config.vocabulary, config.width)
        self.positions = nn.Parameter(torch.zeros(config.positions, config.width))
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.layers))
        self.norm = _Norm(config.width)
        self.projection = nn.Parameter(torch.zeros(config.width, config.output))
        if precision == "mixed":
            for module in self.modules():
                if isinstance(module, nn.Linear):
                    module.half()
            self.projection.data = self.projection.data.half()
        self.requires_grad_(False)
        self.eval()

    @torch.no_grad()
    def forward(self, ids: Tensor) -> Tensor:
        """``(B, L)`` token ids -> ``(B, E)`` float32, read where the largest id first stands; not of unit length."""
        kind, length = self.projection.dtype, ids.shape[1]
        x = self.tokens(ids).to(kind) + self.positions[:length].to(kind)
        mask = torch.full((length, length), float("-inf"), dtype=kind, device=ids.device).triu(1)
        x = x.transpose(0, 1)
        for block in self.blocks:
            x = block(x, mask)
        x = self.norm(x.transpose(0, 1))
        return (x[torch.arange(len(ids), device=ids.device), ids.argmax(-1)] @ self.projection).float()


class ClipTower:
    """CLIP's text side as one thing: sentences to vectors.

    Attributes:
        name: ``clip``.
        network, tokens: what it consists of.
    """

    name = "clip"

    def __init__(self, network: ClipText, tokens: ClipTokens | None = None) -> None:
        config = network.config
        self.network, self.tokens = network, tokens or ClipTokens(positions=config.positions)
        size = self.tokens.tokenizer.get_vocab_size()
        if size > config.vocabulary:
            raise ValueError(f"the tower must have a row for each of {size} tokens; got {config.vocabulary}.")
        if self.tokens.positions != config.positions:
            raise ValueError(f"positions must be {config.positions}; got {self.tokens.positions}.")

    @property
    def width(self) -> int:
        """Width of a sentence's vector."""
        return self.network.config.output

    def encode(self, texts: Sequence[str]) -> tuple[Tensor, None]:
        """Sentences -> ``(B, 1, E)`` float32, and no mask: there is one vector per sentence.

        What stands after the end of the longest sentence is seen by nobody, and in single precision left out.
        """
        ids = self.tokens.ids(texts)
        if self.network.precision == "fp32":
            ids = ids[:, : int(ids.argmax(-1).max()) + 1]
        return self.network(ids.to(self.network.projection.device))[:, None], None

    def unread(self, text: str) -> str:
        """What of a sentence is not read, because it is too long."""
        return self.tokens.unread(text)

    def to(self, device: str | torch.device) -> ClipTower:
        """Move the network; its mixture of precisions stays."""
        self.network.to(device)
        return self
