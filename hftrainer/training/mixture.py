"""The tasks of MotionGPT's paper as prompts and answers: instruction templates, and spans to be restored.

Stage 2 has one template a task: caption to motion, motion to caption, first part to the rest. Stage 3 has the 18
sub-tasks of ``prompts.INSTRUCTIONS``, in many wordings. To both may be added ``corrupt/text`` and ``corrupt/motion``:
spans of a caption or of a motion are hidden behind sentinels and must be restored (Raffel et al. 2020, section 3.1.4).
The paper trains with them, the released code never does; so they are named in a mixture, or left out of it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import numpy as np
from tokenizers import Tokenizer

from hftrainer.models.motion.motiongpt.corruption import corrupt, span_mask
from hftrainer.models.motion.motiongpt.prompts import (
    CAPTION,
    FIRST_PART,
    INSTRUCTIONS,
    MOTION,
    SECOND_PART,
    Instruction,
    Rules,
    load_instructions,
    motion_string,
)
from hftrainer.models.text import END

#: Stage 2 of the paper: one template a task, captions and motions as they are.
PRETRAIN = (
    Instruction("t2m", "Text-to-Motion", (CAPTION,), (MOTION,), "t2m"),
    Instruction("m2t", "Motion-to-Text", (MOTION,), (CAPTION,), "m2t"),
    Instruction("pred", "Motion Prediction", (f"Predict motion: {FIRST_PART}",), (SECOND_PART,), "predict"),
)
#: Tasks without a template.
CORRUPT = ("corrupt/text", "corrupt/motion")
_FIRST_SENTINEL = "<extra_id_0>"


def instructions_of(stage: str, templates: str) -> tuple[Instruction, ...]:
    """The templates that a recipe names.

    Args:
        stage: ``"pretrain"`` or ``"instruct"``.
        templates: ``"paper"``, or the path of an instruction file in the authors' format.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no instruction file.

    >>> [i.task for i in instructions_of("pretrain", "paper")]
    ['t2m', 'm2t', 'pred']
    """
    if templates != "paper":
        return load_instructions(templates)
    return PRETRAIN if stage == "pretrain" else INSTRUCTIONS


class Mixture:
    """Draws prompts and answers of named tasks.

    Args:
        tokenizer: text to ids, with motion tokens; it ends a text with the end mark or does not.
        instructions: templates of the tasks.
        rules: vocabulary of motion, shares and unit of length.
        tasks: shares by ``"Family/task"``, by ``"Family"`` (divided equally among its tasks), and of ``CORRUPT``; none
            means every instruction equally often.
        quotes: put captions in quotation marks half of the time.
        max_length: longest prompt and answer in tokens, end mark included.

    Attributes:
        shares: share of each task by its whole name; they sum to 1.

    Raises:
        ValueError: a task that there is not, or spans to be hidden from a tokenizer that has no sentinels.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        instructions: Sequence[Instruction],
        rules: Rules,
        tasks: Mapping[str, float],
        *,
        quotes: bool = False,
        max_length: int = 256,
    ) -> None:
        self.tokenizer, self.rules, self.quotes, self.max_length = tokenizer, rules, quotes, max_length
        self.instructions = {f"{i.family}/{i.task}": i for i in instructions}
        sentinel = tokenizer.token_to_id(_FIRST_SENTINEL)
        self.sentinel: int = -1 if sentinel is None else sentinel
        self.shares = self._shares(tasks)

    def _shares(self, tasks: Mapping[str, float]) -> dict[str, float]:
        families: dict[str, list[str]] = {}
        for name, instruction in self.instructions.items():
            families.setdefault(instruction.family, []).append(name)
        shares: dict[str, float] = {}
        for name, share in (tasks or dict.fromkeys(self.instructions, 1.0)).items():
            members = families.get(name, [name])
            for member in members:
                shares[member] = shares.get(member, 0.0) + share / len(members)
        unknown = sorted(set(shares) - {*self.instructions, *CORRUPT})
        if unknown:
            known = ", ".join((*families, *self.instructions, *CORRUPT))
            raise ValueError(f"tasks must be among {known}; got {', '.join(unknown)}.")
        wrong = {name: share for name, share in shares.items() if share < 0}
        if wrong or not sum(shares.values()) > 0:
            raise ValueError(f"shares of tasks must be 0 or more, and one above 0; got {dict(tasks)}.")
        if self.sentinel < 0 and set(shares) & set(CORRUPT):
            raise ValueError(
                f"the tokenizer must have {_FIRST_SENTINEL} and the further sentinels for {' and '.join(CORRUPT)}; "
                "got none. Take a T5 tokenizer, or leave these tasks out."
            )
        total = sum(shares.values())
        return {name: share / total for name, share in shares.items() if share}

    def ids(self, text: str) -> list[int]:
        """Token ids of a text with one end mark, at most ``max_length`` of them."""
        row = list(self.tokenizer.encode(text).ids)
        if row and row[-1] == END:
            row.pop()
        return [*row[: self.max_length - 1], END]

    def sample(
        self, rng: np.random.Generator, task: str, codes: Sequence[int], caption: str
    ) -> tuple[list[int], list[int]]:
        """One prompt and its answer as token ids, end mark included.

        Args:
            rng: where the draws come from.
            task: a key of ``shares``.
            codes: the motion.
            caption: what is said of it.
        """
        if task in CORRUPT:
            text = caption if task == CORRUPT[0] else motion_string(codes, self.rules.codes)
            return self._restore(rng, self.ids(text)[:-1])
        asked, answer = self.texts(rng, task, codes, caption)
        return self.ids(asked), self.ids(answer)

    def texts(self, rng: np.random.Generator, task: str, codes: Sequence[int], caption: str) -> tuple[str, str]:
        """One prompt and its answer as they are written; the arguments are those of ``sample``, without ``CORRUPT``."""
        draw = random.Random(int(rng.integers(2**63)))
        return self.instructions[task].example(
            draw, caption=caption, codes=codes, frames=len(codes) * self.rules.frames_per_token, rules=self.rules,
            quote=self.quotes,
        )  # fmt: skip

    def _restore(self, rng: np.random.Generator, row: Sequence[int]) -> tuple[list[int], list[int]]:
        if len(row) < 2:  # nothing can be hidden and something shown
            return [*row, END], [*row, END]
        asked, answer = corrupt(row, span_mask(len(row), rng), self.sentinel, END)
        return asked.tolist(), answer.tolist()
