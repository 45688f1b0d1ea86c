"""No measured number in the sentences of a page is typed: each is written from JSON at a mark, or is a constant.

What is measured is told by its form: a number with a unit, a decimal, a power, a share in words ("four fifths of").
Constants that define something (a frame rate, a limit of the API, a bar that a test holds) are listed, page by page.
"""

import re

import pytest

from hftrainer.evaluation import tables
from tests.conftest import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_WORDS = ("one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fifteen|sixteen|twenty|thirty|forty|fifty|"
          "sixty|seventy|eighty|ninety|hundred|thousand|million|half")  # fmt: skip
_SHORT = r"%|mm|cm|m|km|m/s|ms|s|Hz|kB|MB|GB|TB|fps"
_LONG = (r"per ?cent|millimet\w+|centimet\w+|met(?:re|er)s?|milliseconds?|seconds?|minutes?|hours?|days?|weeks?|"
         r"months?|kilobytes?|megabytes?|gigabytes?|terabytes?|bytes|degrees|cores?|people|times|fold|million|billion|"
         r"dollars|euros|weights|parameters|frames a second|pictures a second|motions a second")  # fmt: skip
_NUMBER = r"(?<![\w./:-])\d[\d,]*(?:\.\d+)?"
#: What looks measured: a number with a unit, in digits or in words; a decimal; a power of ten; a share in words.
FORMS = re.compile(
    rf"{_NUMBER}(?:\s*(?:to|or|and|–|-)\s*\d[\d,]*(?:\.\d+)?)?[\s-]*(?:{_SHORT}|{_LONG})(?![\w/])"
    rf"|\b(?:{_WORDS})(?:[\s-](?:{_WORDS}))*[\s-](?:{_LONG})\b"
    r"|(?<![\w./:-])\d+\.\d+(?![\w.]|-\d)"
    r"|10[⁰¹²³⁴-⁹⁻]+"
    r"|\b(?:a|one|two|three|four|half|nine)\s(?:half|third|quarter|fifth|sixth|seventh|eighth|tenth|hundredth)s?\b"
    r"|\bone in (?:\d+|[a-z]+)\b|\bhalf of (?:its|the) (?:time|error)\b",
    re.I,
)
#: Constants that define something, as they stand: rates, units and limits that code has; versions and licences;
#: settings of a test; bars that a test holds. Nothing that came out of a measurement belongs here.
CONSTANTS: dict[str, tuple[str, ...]] = {
    "README.md": ("Python 3.11", "CC BY 3.0", "motions of 0.8 to 9.8 seconds", "3 seconds at least"),
    "architecture.md": ("| 12.5 | mm | kit21 |", "hml263, 20 fps", "costs far less than eight times one"),
    "coming-from.md": (),
    "data.md": ("windows of 2 to 9.8 seconds", "under 2 seconds", "one and a half further windows", "CC BY 3.0"),
    "formats.md": ("never jump by 360 degrees", "soles lie two centimetres below", "Blender 4.5", "within 1 mm of ours",
                   "a leg is about 0.8 m long", "0.033333 is 30", "up to a quarter of a second", "faster than 5 Hz"),
    "leaderboard.md": ("at 30 frames a second",),
    "evaluator.md": ("hml263, 20 fps", "at 20 frames a second", "at most ten seconds", "CC BY 3.0"),
    "mdm.md": ("hml263, 20 fps", "251 features, 12.5 fps", "the root's eight times", "it makes four seconds"),
    "mogents.md": ("hml263, 20 fps", "251 features, 12.5 fps", "a size for two CPU cores"),
    "momask.md": ("hml263, 20 fps", "251 features, 12.5 fps"),
    "motiongpt.md": ("hml263, 20 fps", "251 features, 12.5 fps"),
    "pictures.md": ("the floor are one metre apart",),
    "player.md": ("one second; first and last frame", "the floor are one metre apart", "slower than 0.55 m/s"),
    "reliability.md": ("half of the time at a touch of the disk", "no file of more than 300 bytes",
                       "a network of 10⁹ numbers", "within 1 mm at any joint", "CycloneDX 1.5"),
    "representations.md": ("20 fps of `` become 30", "SMPL body at 20 fps", "30 fps become 20",
                           "by 20 degrees at most"),
    "scale.md": ("10⁶ and 10⁸ motions",),
    "serving.md": ("30 s at most", "60 seconds in a request"),
    "training.md": ("12.5 frames a second",),
}  # fmt: skip


def sentences(text: str) -> str:
    """A page without its code, its tables of JSON, its marked numbers, and the addresses of its links, on one line."""
    text = re.sub(r"^```.*?^```$|<!-- licences -->.*?<!-- end -->", " ", text, flags=re.M | re.S)
    text = tables.NUMBER.sub("#", tables.MARK.sub(" ", text))
    text = re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`]*`", "``", text))
    return " ".join(text.split())


def typed(text: str, constants: tuple[str, ...] = ()) -> list[str]:
    """What looks measured in a page's sentences and stands in none of ``constants``, with what is around it."""
    plain = sentences(text)
    allowed = [found.span() for phrase in constants for found in re.finditer(re.escape(phrase), plain)]
    return [
        plain[max(0, found.start() - 40) : found.end() + 30]
        for found in FORMS.finditer(plain)
        if not any(start <= found.start() and found.end() <= end for start, end in allowed)
    ]


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_no_measured_number_is_typed(page):
    assert typed(page.read_text(), CONSTANTS.get(page.name, ())) == [], "mark it: 1.5<!-- is FILE.json KEY/KEY -->"


def test_every_constant_is_still_said():
    pages = {page.name: sentences(page.read_text()) for page in PAGES}
    assert [(name, said) for name, those in CONSTANTS.items() for said in those if said not in pages[name]] == []


def test_numbers_in_sentences_are_as_the_results_say():
    """``test_leaderboard`` compares them; here is that there are some, in sentences of several pages."""
    marked = {page.name: len(tables.NUMBER.findall(page.read_text())) for page in PAGES}
    assert sum(marked.values()) >= 8 and {"README.md", "formats.md", "representations.md"} <= {
        name for name, count in marked.items() if count
    }


@pytest.mark.parametrize("said", [
    "it takes 3.5 s", "a page has 0.35 MB", "12 % of them", "it is 7 times as quick", "ten minutes of capture",
    "107 minutes of capture", "moves it by 22 cm (up)", "misses by 10 to 15 cm", "a sixth of the error goes",
    "Four fifths of the time lie there", "forty people", "exact to about 0.00003 there", "10⁶ motions",
    "one in twenty answers", "holds in 83 % of", "most of the time, half of the time",
])  # fmt: skip
def test_a_typed_number_is_seen(said):
    assert typed(f"# Page\n\nText {said} here.\n") != []
    assert typed(f"# Page\n\nText `{said}` here.\n\n```bash\n{said}\n```\n") == [], "code is no sentence"
    assert typed(f"# Page\n\nText {said} here.\n", (said,)) == []


@pytest.mark.parametrize("said", [
    "2022, one of eight, all 263 features, R@1 of 32, SHA-256, model 2", "exit status 1", "arXiv:2209.14916",
    "it took 1.5<!-- is a.json b --> s",
])  # fmt: skip
def test_names_counts_and_marked_numbers_are_none(said):
    assert typed(said) == []


def test_a_mark_is_written_from_its_file(tmp_path):
    (tmp_path / "a.json").write_text('{"b": {"s": 1234.56, "word": "x", "yes": true}, "MB": 2}')
    said = "took 1.5<!-- is a.json b/s*1e-3 --> s, 1,000<!-- is a.json b/s --> in all, 9<!-- is a.json MB --> MB"
    assert re.findall(r"([\d.,]+)<", tables.filled(said, tmp_path)) == ["1.2", "1,235", "2"]
    for wrong, why in (
        ("1<!-- is b.json b -->", "b.json is not"), ("1<!-- is a.json b/t -->", "t is absent"),
        ("1<!-- is a.json b/word -->", "must be a number; got str"), ("1<!-- is a.json b/yes -->", "got bool"),
        ("some<!-- is a.json MB -->", "a mark must be"), ("1<!-- is a.json -->", "a mark must be"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=why):
            tables.filled(wrong, tmp_path)
