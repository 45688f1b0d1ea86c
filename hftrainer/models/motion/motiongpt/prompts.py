"""What MotionGPT is asked: motions as strings, templates with placeholders, and the instructions of every sub-task.

A template is a sentence with placeholders, for example ``"Generate motion: <Caption_Placeholder>"``. ``fill`` puts in
the caption, the motion, its length, or a part of it. A motion is written as one token a code between a start and an end
token, without anything in between: ``<motion_id_512><motion_id_7><motion_id_9><motion_id_513>`` for 512 codes.

Source: Jiang et al., "MotionGPT: Human Motion as a Foreign Language", NeurIPS 2023, section 3.2 and supplement; names
of placeholders, replacement order, splits and fixed sentences follow the released code. It differs from its paper in
two places, and both readings exist here by name:

* ``length_unit="tokens"`` is what the released training did: the number of *codes* was passed as the number of frames,
  so that prompts speak of a quarter of the true length, and a prediction keeps 5 % in place of 20 %. ``"frames"`` is
  the default.
* ``quote=`` takes a ``random.Random``: the released code puts captions, labels included, into quotation marks half of
  the time. Without it nothing is quoted.
"""

from __future__ import annotations

import json
import math
import random
import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Placeholders in the order in which they are replaced; text put in earlier is searched again for the later ones.
PLACEHOLDERS = (
    "<Caption_Placeholder>",
    "<Motion_Placeholder>",
    "<Frame_Placeholder>",
    "<Second_Placeholder>",
    "<Motion_Placeholder_s1>",
    "<Motion_Placeholder_s2>",
    "<Motion_Placeholder_Masked>",
)
CAPTION, MOTION, FRAMES, SECONDS, FIRST_PART, SECOND_PART, MASKED = PLACEHOLDERS
_MOTIONS = (MOTION, FIRST_PART, SECOND_PART, MASKED)
#: Short forms that ``instructions.toml`` writes for the placeholders.
_MARKS = ("<caption>", "<motion>", "<frames>", "<seconds>", "<first>", "<rest>", "<masked>")
_SHORT = dict(zip(_MARKS, PLACEHOLDERS, strict=True))
_ANY_PLACEHOLDER = re.compile(r"<\w*_Placeholder\w*>")

#: The fixed sentences of the released code; ``direct`` is the caption alone.
OFFICIAL = {
    "official_nolen": f"Generate motion: {CAPTION}",
    "official_len": f"Generate motion with {FRAMES} frames: {CAPTION}",
    "direct": CAPTION,
    "caption": f"Generate text: {MOTION}",
    "caption_len": f"Generate text with {FRAMES} frames: {MOTION}",
    "predict": f"Predict motion: {FIRST_PART}",
    "inbetween": f"Complete the masked motion: {MASKED}",
}
#: How the released code decodes an answer: tokens at most, the start token counted; drawn, or the likeliest each time.
OFFICIAL_DECODING = {"motion": (128, "drawn"), "caption": (40, "likeliest")}


@dataclass(frozen=True)
class Rules:
    """The numbers behind the placeholders; the defaults are MotionGPT's.

    Attributes:
        codes: size of the motion vocabulary; the start, end and mask tokens follow it.
        fps: frames a second, for ``<Second_Placeholder>``.
        frames_per_token: frames that one code stands for.
        keep: share of the frames that a prediction is given.
        ends: share of the frames at each end that an in-between is given.
        quote_share: how often a caption is quoted, where quotes are drawn at all.
        length_unit: what a length counts: ``"frames"``, or ``"tokens"`` as in the released training.
    """

    codes: int = 512
    fps: float = 20.0
    frames_per_token: int = 4
    keep: float = 0.2
    ends: float = 0.25
    quote_share: float = 0.5
    length_unit: str = "frames"

    def __post_init__(self) -> None:
        for name in ("codes", "frames_per_token"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; got {getattr(self, name)}.")
        if not self.fps > 0:
            raise ValueError(f"fps must be above 0; got {self.fps:g}.")
        if not 0 < self.keep < 1 or not 0 < self.ends < 0.5:
            raise ValueError(f"keep must lie in (0, 1) and ends in (0, 0.5); got {self.keep:g} and {self.ends:g}.")
        if not 0 <= self.quote_share <= 1:
            raise ValueError(f"quote_share must lie in [0, 1]; got {self.quote_share:g}.")
        if self.length_unit not in ("frames", "tokens"):
            raise ValueError(f"length_unit must be frames or tokens; got {self.length_unit!r}.")

    def prediction_head(self, length: int) -> int:
        """Codes that a prediction of a motion of ``length`` (as ``length_unit`` counts it) is given.

        >>> Rules().prediction_head(196), Rules().prediction_head(49)
        (9, 2)
        """
        return int(length / self.frames_per_token * self.keep + 1) - 1

    def masked_span(self, length: int) -> tuple[int, int]:
        """First code that an in-between hides, and the first that it shows again.

        >>> Rules().masked_span(196), Rules().masked_span(49)
        ((12, 36), (3, 9))
        """
        tokens = length / self.frames_per_token
        return int(tokens * self.ends + 1) - 1, int(tokens * (1 - self.ends) + 1) - 1

    def seconds(self, length: int) -> str:
        """Whole seconds of a length, as prompts write them.

        >>> Rules().seconds(196)
        '9.0'
        """
        return f"{math.floor(length / self.fps):.1f}"


#: MotionGPT's own numbers, with lengths in frames.
RULES = Rules()


def code_token(code: int) -> str:
    """The token that a code is written as.

    >>> code_token(7)
    '<motion_id_7>'
    """
    return f"<motion_id_{code}>"


def motion_string(codes: Iterable[int], count: int = 512) -> str:
    """A motion as text: the start token, one token a code, the end token.

    Args:
        codes: 0 to ``count - 1`` each; a mask is ``count + 2``. Whole numbers of any type.
        count: size of the motion vocabulary.

    Raises:
        ValueError: a code that is neither in the vocabulary nor the mask.

    >>> motion_string([3, 1], count=8)
    '<motion_id_8><motion_id_3><motion_id_1><motion_id_9>'
    """
    numbers = [int(code) for code in codes]
    wrong = sorted({code for code in numbers if not 0 <= code < count and code != count + 2})
    if wrong:
        raise ValueError(f"codes must be 0 to {count - 1}, or {count + 2} for a hidden one; got {wrong}.")
    return "".join(map(code_token, (count, *numbers, count + 1)))


def split_prediction(
    codes: Sequence[int], frames: int | None = None, rules: Rules = RULES
) -> tuple[list[int], list[int]]:
    """What a prediction is given, and what it must come up with.

    Args:
        codes: of the whole motion.
        frames: its length, if it is not ``len(codes) * frames_per_token``.
        rules: share kept and unit of length.

    Returns:
        Two lists that make ``codes`` when put together.

    >>> split_prediction(range(10))
    ([0, 1], [2, 3, 4, 5, 6, 7, 8, 9])
    """
    head = min(rules.prediction_head(_length(codes, frames, rules)), len(codes))
    return list(codes[:head]), list(codes[head:])


def split_inbetween(
    codes: Sequence[int], frames: int | None = None, rules: Rules = RULES
) -> tuple[list[int], list[int], list[int]]:
    """What an in-between is given first, what it must come up with, and what it is given last.

    Args:
        codes: of the whole motion.
        frames: its length, if it is not ``len(codes) * frames_per_token``.
        rules: share shown at each end and unit of length.

    Returns:
        Three lists that make ``codes`` when put together.

    >>> split_inbetween(range(10))
    ([0, 1], [2, 3, 4, 5, 6], [7, 8, 9])
    """
    start, stop = (min(n, len(codes)) for n in rules.masked_span(_length(codes, frames, rules)))
    return list(codes[:start]), list(codes[start:stop]), list(codes[stop:])


def _length(codes: Sequence[int] | None, frames: int | None, rules: Rules) -> int:
    """The number that stands for a length, in the unit of the rules; 0 where nothing says one."""
    if rules.length_unit == "tokens":
        return len(codes) if codes is not None else int(frames or 0) // rules.frames_per_token
    if frames is not None:
        return int(frames)
    return len(codes) * rules.frames_per_token if codes is not None else 0


def _parts(motion: str, length: int, rules: Rules) -> tuple[str, str, str]:
    """First part, second part and masked form of a motion string, split as the released code does."""
    items = motion.split(">")
    start, end, mask = (code_token(rules.codes + i) for i in range(3))
    head = rules.prediction_head(length) + 1  # the start token is an item too
    hide, show = (n + 1 for n in rules.masked_span(length))
    first = ">".join(items[:head]) + ">" + end
    second = start + ">".join(items[head:])
    masked = ">".join(items[:hide]) + ">" + mask * (show - hide) + ">".join(items[show:])
    return first, second, masked


def fill(
    template: str,
    *,
    caption: str | None = None,
    codes: Sequence[int] | None = None,
    frames: int | None = None,
    seconds: float | None = None,
    rules: Rules = RULES,
    quote: random.Random | None = None,
) -> str:
    """A template with everything put in.

    Args:
        template: a sentence with any of ``PLACEHOLDERS``.
        caption: what the motion is said to be.
        codes: the motion, or its known part.
        frames: its length; without it, that of ``codes``. Where ``rules`` count tokens, ``codes`` decide.
        seconds: its length as a number of seconds; without it, whole seconds of the length.
        rules: vocabulary, shares and unit of length.
        quote: where the draw comes from that puts a caption in quotation marks; one number is drawn whether or not the
            template has a caption. Without it, nothing is quoted.

    Raises:
        ValueError: the template asks for something that was not given, or a code or length that cannot be.

    >>> fill("Generate motion with <Frame_Placeholder> frames: <Caption_Placeholder>", caption="he sits.", frames=40)
    'Generate motion with 40 frames: he sits.'
    >>> fill("Predict motion: <Motion_Placeholder_s1>", codes=[4, 5, 6, 7, 8], rules=Rules(codes=9))
    'Predict motion: <motion_id_9><motion_id_4><motion_id_10>'
    """
    asked = set(_ANY_PLACEHOLDER.findall(template))
    absent = [
        name
        for name, marks, value in (
            ("caption", (CAPTION,), caption),
            ("codes", _MOTIONS, codes),
            ("frames", (FRAMES,), codes if frames is None else frames),
            ("seconds", (SECONDS,), codes if frames is None and seconds is None else True),
        )
        if value is None and asked & set(marks)
    ]
    if absent:
        raise ValueError(f"the template {template!r} must be given {', '.join(absent)}; got none.")
    if frames is not None and frames < 0:
        raise ValueError(f"frames must be 0 or more; got {frames}.")
    length = _length(codes, frames, rules)
    motion = "" if codes is None else motion_string(codes, rules.codes)
    time = rules.seconds(length) if seconds is None else f"{seconds:.1f}"
    return _filled(template, caption or "", motion, length, time, rules, quote)


def _filled(
    template: str, said: str, motion: str, length: int, time: str, rules: Rules, quote: random.Random | None
) -> str:
    """A template with its placeholders replaced, as the released code does it."""
    if quote is not None and quote.random() < rules.quote_share:
        said = f'"{said}"'
    values = (said, motion, str(length), time, *_parts(motion, length, rules))
    for placeholder, value in zip(PLACEHOLDERS, values, strict=True):
        template = template.replace(placeholder, value)
    return template


def official_prompt(
    mode: str,
    caption: str | None = None,
    frames: int | None = None,
    *,
    codes: Sequence[int] | None = None,
    rules: Rules = RULES,
    quote: random.Random | None = None,
) -> str:
    """One of the fixed sentences that the released code asks with.

    A motion to predict from is first cut to as many tokens as a fifth of its length says, start token included, as in
    the released code; that takes nothing from the part that is shown unless the length is below 5.

    Args:
        mode: ``official_nolen``, ``official_len`` or ``direct`` for a motion from words; ``caption``, ``caption_len``,
            ``predict`` or ``inbetween`` for what is asked about a motion.
        caption, frames, codes, rules, quote: as of ``fill``.

    Raises:
        ValueError: an unknown mode, or one that needs something that was not given.

    >>> official_prompt("official_nolen", "a person walks.")
    'Generate motion: a person walks.'
    >>> official_prompt("official_len", "a person walks.", 196)
    'Generate motion with 196 frames: a person walks.'
    >>> official_prompt("direct", "a person walks.")
    'a person walks.'
    """
    if mode not in OFFICIAL:
        raise ValueError(f"the prompt mode must be one of {', '.join(OFFICIAL)}; got {mode!r}.")
    if mode != "predict" or codes is None:
        return fill(OFFICIAL[mode], caption=caption, codes=codes, frames=frames, rules=rules, quote=quote)
    length = _length(codes, frames, rules)
    motion = ">".join(motion_string(codes, rules.codes).split(">")[: length // 5]) + ">"
    return _filled(OFFICIAL[mode], caption or "", motion, length, rules.seconds(length), rules, quote)


@dataclass(frozen=True)
class Instruction:
    """A sub-task: ways to ask for it, and ways to answer.

    Attributes:
        task: its name, ``"caption_framelen"``.
        family: what it is one of, ``"Text-to-Motion"``.
        input, output: templates; an example takes one of each.
        kind: tag of what is wanted: ``t2m``, ``l2m``, ``n2m``, ``m2t``, ``m2l``, ``t2t``, ``n2t``, ``predict``,
            ``inbetween``.
    """

    task: str
    family: str
    input: tuple[str, ...]
    output: tuple[str, ...]
    kind: str = ""

    def __post_init__(self) -> None:
        for name in ("input", "output"):
            if not getattr(self, name):
                raise ValueError(f"{self.family}/{self.task} must have one or more {name} templates; got none.")

    def example(
        self,
        rng: random.Random,
        *,
        caption: str | None = None,
        codes: Sequence[int] | None = None,
        frames: int | None = None,
        rules: Rules = RULES,
        quote: bool = False,
    ) -> tuple[str, str]:
        """A prompt and its answer: one template of each side, drawn and filled.

        Args:
            rng: what the templates are drawn with, in this order: input, output.
            caption, codes, frames, rules: as of ``fill``.
            quote: put captions into quotation marks at random, one draw a side, as the released code does.

        Raises:
            ValueError: a template asks for something that was not given.
        """
        asked, answer = rng.choice(self.input), rng.choice(self.output)
        given: dict[str, Any] = {"caption": caption, "codes": codes, "frames": frames, "rules": rules}
        given["quote"] = rng if quote else None
        return fill(asked, **given), fill(answer, **given)

    def faults(self) -> list[str]:
        """What is wrong with the templates, one sentence each: empty ones, and placeholders that nothing fills.

        >>> Instruction("seclen", "Text-to-Motion", ("<Sec_Placeholder> s",), ("<Motion_Placeholder>",)).faults()
        ["Text-to-Motion/seclen: nothing fills <Sec_Placeholder> in '<Sec_Placeholder> s'"]
        """
        return [f"{self.family}/{self.task}: {fault}" for t in (*self.input, *self.output) for fault in _faults(t)]

    def sound(self) -> Instruction:
        """The same without faulty templates.

        Raises:
            ValueError: none is left on one side.
        """
        asked, answered = (tuple(t for t in side if not _faults(t)) for side in (self.input, self.output))
        return Instruction(self.task, self.family, asked, answered, self.kind)


#: The three sub-tasks of the released second stage, whose templates are bare placeholders.
PRETRAIN = (
    Instruction("t2m", "Text-to-Motion", (CAPTION,), (MOTION,), "t2m"),
    Instruction("m2t", "Motion-to-Text", (MOTION,), (CAPTION,), "m2t"),
    Instruction("pred", "Motion Prediction", (OFFICIAL["predict"],), (SECOND_PART,), "predict"),
)


def _faults(template: str) -> list[str]:
    if not template.strip():
        return ["an empty template"]
    unknown = sorted(set(_ANY_PLACEHOLDER.findall(template)) - set(PLACEHOLDERS))
    return [f"nothing fills {', '.join(unknown)} in {template!r}"] if unknown else []


def load_instructions(path: str | Path) -> tuple[Instruction, ...]:
    """Read an instruction file as the authors write it: ``{family: {sub-task: {"class", "input", "output"}}}``.

    Templates are taken as they stand, so that their file gives their prompts; ``Instruction.faults`` names what is
    wrong in them and ``Instruction.sound`` leaves it out.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not such a file; the message says where.
    """
    path = Path(path)
    try:
        families = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as exc:
        raise ValueError(f"{path} must be a JSON file of instructions; got a damaged one: {exc}.") from exc
    return _read(families, path.name)


def _read(families: Any, name: str) -> tuple[Instruction, ...]:
    shape = "an object of families, each an object of sub-tasks with class, input and output"
    if not isinstance(families, dict) or not all(isinstance(tasks, dict) for tasks in families.values()):
        raise ValueError(f"{name} must be {shape}; got something else.")
    found = []
    for family, tasks in families.items():
        for task, entry in tasks.items():
            sides: list[Any] = [entry.get(side) if isinstance(entry, dict) else None for side in ("input", "output")]
            if not all(isinstance(side, list) and side and all(isinstance(t, str) for t in side) for side in sides):
                got = f"{entry!r:.80}"
                raise ValueError(f"{name}: {family}/{task} must have lists of sentences input and output; got {got}.")
            found.append(Instruction(task, family, tuple(sides[0]), tuple(sides[1]), str(entry.get("class", ""))))
    if not found:
        raise ValueError(f"{name} must be {shape}; got nothing in it.")
    return tuple(found)


def expand(pattern: str) -> list[str]:
    """Every sentence of a pattern: ``{a|b}`` stands for ``a`` or ``b``, and may hold more braces.

    A choice may be empty. The last choice of a pattern changes quickest. Spaces are kept to one.

    >>> expand("{Show|Give} me {a|one} step{| please}.")[:3]
    ['Show me a step.', 'Show me a step please.', 'Show me one step.']

    Raises:
        ValueError: a brace without its partner, or a bar outside braces.
    """
    sentences, rest = _alternatives(pattern, 0, inside=False)
    if rest != len(pattern):
        raise ValueError(f"braces must come in pairs and bars stand inside them; got {pattern!r}.")
    return list(dict.fromkeys(re.sub(r" {2,}", " ", sentence).strip() for sentence in sentences))


def _alternatives(pattern: str, at: int, inside: bool) -> tuple[list[str], int]:
    """Sentences of ``pattern`` from ``at`` to the brace that closes this level (or the end), and where that is."""
    done: list[str] = []
    current = [""]
    while at < len(pattern) and pattern[at] != "}":
        character = pattern[at]
        if character == "|" and not inside:
            return [], at
        if character == "|":
            done, current = done + current, [""]
        elif character == "{":
            inner, at = _alternatives(pattern, at + 1, inside=True)
            if at >= len(pattern):
                raise ValueError(f"braces must come in pairs and bars stand inside them; got {pattern!r}.")
            current = [head + tail for head in current for tail in inner]
        else:
            current = [head + character for head in current]
        at += 1
    return done + current, at


def _long(pattern: str) -> str:
    """A pattern with placeholders in place of their short forms."""
    for short, placeholder in _SHORT.items():
        pattern = pattern.replace(short, placeholder)
    return pattern


def own_instructions() -> tuple[Instruction, ...]:
    """The project's own wording of all 18 sub-tasks, expanded from the patterns in ``instructions.toml``."""
    source = Path(__file__).with_name("instructions.toml")
    patterns = tomllib.loads(source.read_text(encoding="utf-8"))
    families = {
        family: {
            task: {
                "class": entry["class"],
                **{
                    side: list(dict.fromkeys(s for pattern in entry[side] for s in expand(_long(pattern))))
                    for side in ("input", "output")
                },
            }
            for task, entry in tasks.items()
        }
        for family, tasks in patterns.items()
    }
    return _read(families, source.name)


#: Our own wording of every sub-task that MotionGPT is taught.
INSTRUCTIONS = own_instructions()
