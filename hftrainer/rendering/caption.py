"""The line under the figure: wrapped, in any script that a font on this machine can write."""

from __future__ import annotations

import sys
import warnings
from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

_INK = (38, 46, 66)
_PAPER = (250, 251, 253)
_MOST_LINES = 3

#: Fonts that write many scripts, best first; others found on the machine are tried after them.
_WISHED = (
    "notosanscjk", "notosanssc", "sourcehansans", "pingfang", "hiragino", "msyh", "yugoth", "malgun", "wqy", "simhei",
    "simsun", "droidsansfallback", "arialunicode", "arial unicode", "unifont", "dejavusans.", "notosans-regular",
    "segoeui", "notosans",
)  # fmt: skip


def _folders() -> list[Path]:
    home = Path.home()
    if sys.platform == "win32":
        return [Path("C:/Windows/Fonts"), home / "AppData/Local/Microsoft/Windows/Fonts"]
    if sys.platform == "darwin":
        return [Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library/Fonts"]
    return [Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), home / ".local/share/fonts", home / ".fonts"]


@cache
def _installed() -> tuple[Path, ...]:
    """Font files of this machine, those for many scripts first."""
    found = [
        path
        for folder in _folders()
        if folder.is_dir()
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in (".ttf", ".ttc", ".otf", ".otc")
    ]

    def rank(path: Path) -> int:
        name = path.name.lower()
        return next((at for at, wish in enumerate(_WISHED) if wish in name), len(_WISHED))

    return tuple(sorted(found, key=rank))


@cache
def _font(path: Path | None, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont | None:
    if path is None:
        return ImageFont.load_default(size)
    try:
        return ImageFont.truetype(str(path), size)
    except OSError:  # a font file that FreeType cannot read is no font
        return None


@cache
def _writes(path: Path | None, letter: str) -> bool:
    """Whether a font has a picture for a letter; an absent one is drawn like an unassigned code point."""
    font = _font(path, 24)
    if font is None:
        return False
    if letter.isspace():
        return True
    return bytes(font.getmask(letter)) != bytes(font.getmask("\U0010fffe"))


@cache
def _choose(letter: str) -> Path | None | bool:
    """The first font that writes a letter (``None`` is Pillow's own), or ``False``."""
    if _writes(None, letter):
        return None
    return next((path for path in _installed() if _writes(path, letter)), False)


def writes(text: str) -> bool:
    """Whether a font on this machine writes every letter of a text.

    >>> writes("walks")
    True
    """
    return all(_choose(letter) is not False for letter in text)


def _runs(text: str, size: int) -> list[tuple[str, ImageFont.FreeTypeFont | ImageFont.ImageFont]]:
    """Text cut into stretches of one font."""
    runs: list[tuple[str, Path | None]] = []
    for letter in text:
        path = _choose(letter)
        font = None if isinstance(path, bool) else path
        if runs and (runs[-1][1] == font or letter.isspace()):
            runs[-1] = (runs[-1][0] + letter, runs[-1][1])
        else:
            runs.append((letter, font))
    return [(stretch, _font(path, size) or ImageFont.load_default(size)) for stretch, path in runs]


def text_width(text: str, size: int) -> float:
    """Pixels that a line takes at a font size."""
    return float(sum(font.getlength(stretch) for stretch, font in _runs(text, size)))


def wrap(text: str, size: int, width: float, most: int = _MOST_LINES) -> list[str]:
    """Text as lines that fit, cut with an ellipsis after the last allowed one.

    Lines break at spaces, and inside words that alone are too long or written without spaces.

    Args:
        text: any text; white space is collapsed.
        size: font size, pixels.
        width: room for a line, pixels.
        most: lines allowed.

    >>> wrap("a person walks", 20, 1000)
    ['a person walks']
    """
    lines: list[str] = []
    line = ""
    for word in "".join(c if c.isprintable() else " " for c in text).split():
        joined = f"{line} {word}" if line else word
        if text_width(joined, size) <= width:
            line = joined
            continue
        if line and text_width(word, size) <= width and word.isascii():
            lines.append(line)
            line = word
            continue
        line = line + " " if line else ""
        for letter in word:
            if line.strip() and text_width(line + letter, size) > width:
                lines.append(line.rstrip())
                line = ""
            line += letter
    if line:
        lines.append(line)
    if len(lines) > most:
        last = lines[most - 1]
        while last and text_width(last + "…", size) > width:
            last = last[:-1].rstrip()
        lines = [*lines[: most - 1], last + "…"]
    return lines


def caption_strip(text: str, width: int, height: int, small: bool = False) -> Image.Image:
    """A see-through strip with the text in its middle, to lay on the bottom of a picture.

    Args:
        text: what to write.
        width: of the picture, pixels.
        height: of the picture, pixels; it sets the size of the letters.
        small: a short label without paper behind it.

    Returns:
        An RGBA picture ``width`` wide, as high as the lines need.
    """
    size = max(9, round(height * (0.062 if small else 0.040)))
    lines = wrap(text, size, 0.92 * width)
    unknown = sorted({c for line in lines for c in line if not c.isspace() and _choose(c) is False})
    if unknown:
        warnings.warn(
            f"no font on this machine writes {''.join(unknown)}; the caption shows boxes for them. "
            "Install a font for that script (for Chinese, Japanese and Korean: Noto Sans CJK).",
            stacklevel=3,
        )
    step = round(1.32 * size)
    strip = Image.new("RGBA", (width, step * len(lines) + (size // 3 if small else size)), (*_PAPER, 0))
    if not small:
        rows = strip.height
        fade = Image.new("L", (1, rows))
        fade.putdata([min(225, 30 + 420 * row // rows) for row in range(rows)])
        strip.putalpha(fade.resize(strip.size))
    draw = ImageDraw.Draw(strip)
    for at, line in enumerate(lines):
        x = (width - text_width(line, size)) / 2
        baseline = step * at + size // (8 if small else 3) + size
        for stretch, font in _runs(line, size):
            draw.text((x, baseline), stretch, font=font, fill=(*_INK, 255), anchor="ls")
            x += font.getlength(stretch)
    return strip
