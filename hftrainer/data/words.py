"""The words of a caption: parts of speech for the HumanML3D text files, and left for right."""

from __future__ import annotations

import re

_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?|\d+(?:\.\d+)?", re.IGNORECASE)

_CLASSES: dict[str, str] = {
    "DET": "a an the this that these those each every both all some any no another either neither his her its their my "
    "your our",
    "PRON": "he she it they him them himself herself itself themselves someone somebody anyone something everything "
    "who which what i you we me us one ones other others",
    "ADP": "in on at to of with by for from into onto over under through across around along behind before after "
    "between against off out up down toward towards upon within without above below beneath beside near past about "
    "during until like as",
    "CCONJ": "and or but nor yet",
    "SCONJ": "while when if because although though whereas once since than so",
    "AUX": "is are was were be been being am do does did has have had can could will would may might must shall should",
    "PART": "not n't",
    "NUM": "zero two three four five six seven eight nine ten twice thrice",
    "ADV": "then again back forward forwards backward backwards sideways sidewards upward upwards downward downwards "
    "inward inwards outward outwards away ahead here there now just still also very too almost slightly fast soon "
    "together apart aside clockwise counterclockwise anticlockwise rightward rightwards leftward leftwards once well "
    "twice somewhat rather quite straight forth overhead indoors afterwards",
    "ADJ": "left right both own same several few many more most low high small large big long short wide narrow quick "
    "slow normal old young tired happy sad angry drunk uneven imaginary straight invisible heavy light first second "
    "third last next side single opposite upper lower front deep tall bent full half whole circular diagonal",
    "VERB": "walk walks walked run runs ran jog jogs jump jumps hop hops leap leaps skip skips step steps stand stands "
    "stood sit sits sat kneel kneels crouch crouches squat squats bend bends turn turns spin spins twist twists raise "
    "raises lift lifts lower lowers wave waves punch punches kick kicks throw throws catch catches pick picks put puts "
    "place places take takes move moves swing swings dance dances stretch stretches reach reaches climb climbs crawl "
    "crawls lie lies lay lays get gets go goes come comes start starts stop stops begin begins make makes hold holds "
    "push pushes pull pulls stumble stumbles limp limps march marches stride strides pace paces stroll strolls shake "
    "shakes rotate rotates lean leans look looks keep keeps perform performs appear appears seem seems balance "
    "balances dribble dribbles bounce bounces duck ducks dodge dodges roll rolls fall falls sway sways clap claps "
    "touch touches pretend pretends act acts tiptoe tiptoes sneak sneaks carry carries drop drops open opens close "
    "closes bow bows swim swims box boxes fight fights try tries use uses return returns continue continues rise rises "
    "face faces",
}
_TAGS = {word: tag for tag, words in reversed(_CLASSES.items()) for word in words.split()}

_ENDINGS = (
    ("ly", "ADV"), ("wards", "ADV"), ("ing", "VERB"), ("ed", "VERB"), ("ous", "ADJ"), ("ful", "ADJ"), ("less", "ADJ"),
    ("able", "ADJ"), ("ish", "ADJ"), ("ive", "ADJ"), ("est", "ADJ"),
)  # fmt: skip


def part_of_speech(word: str) -> str:
    """Universal part of speech of one lower-case word.

    Lists of the closed classes and of the verbs of motion, then endings, then ``NOUN``. It never looks at neighbours,
    so ``left`` is always an adjective; the tags serve readers that expect them, no model here learns from them.

    >>> [part_of_speech(w) for w in "a person walks quickly 3".split()]
    ['DET', 'NOUN', 'VERB', 'ADV', 'NUM']
    """
    if word[0].isdigit():
        return "NUM"
    if word in _TAGS:
        return _TAGS[word]
    for ending, tag in _ENDINGS:
        if word.endswith(ending) and len(word) > len(ending) + 2:
            return tag
    return "NOUN"


def tokens(text: str) -> str:
    """The words of a caption with their parts of speech, as HumanML3D writes them.

    >>> tokens("A person walks forward.")
    'a/DET person/NOUN walks/VERB forward/ADV'
    """
    return " ".join(f"{word}/{part_of_speech(word)}" for word in (w.lower() for w in _WORD.findall(text)))


_SIDES = re.compile(
    r"\b(left|right)(?=(?:wards?|most|-|'s|s)?\b|(?:hand|foot|leg|arm|side)(?:ed|s)?\b)"
    r"|\b((?:counter|anti)[- ]?)?clockwise\b",
    re.IGNORECASE,
)
_NOT_A_SIDE = re.compile(
    r"\b(?:right (?:away|angles?|after|before|now|here|there)|(?:all|just|up) right)\b", re.IGNORECASE
)


def _like(word: str, model: str) -> str:
    if model.isupper():
        return word.upper()
    return word.capitalize() if model[0].isupper() else word


def mirrored(text: str) -> str:
    """The caption of the mirrored movement: left for right, clockwise for counterclockwise.

    ``right away``, ``right angle`` and the like keep their word.

    >>> mirrored("A man kicks with his right leg, then spins counter-clockwise to the left")
    'A man kicks with his left leg, then spins clockwise to the right'
    >>> mirrored(mirrored("turn right away from the left wall, clockwise"))
    'turn right away from the left wall, clockwise'
    """
    kept = [match.span() for match in _NOT_A_SIDE.finditer(text)]

    def swap(match: re.Match[str]) -> str:
        word = match[0]
        if any(start <= match.start() and match.end() <= end for start, end in kept):
            return word
        if match[1]:
            return _like("right" if word.lower() == "left" else "left", word)
        return _like("clockwise" if match[2] else "counterclockwise", word)

    return _SIDES.sub(swap, text)
