"""The behaviour table: does a motion do what its sentence says, by rules on the body's own measures.

The rules stand in ``hftrainer.evaluation.rules``. The table asks every prompt for some motions, counts how often the
prompt's own rule holds, and, so that this number means something, how often the same rule holds for motions made for
*other* prompts.

The JSON of ``score``::

    {"prompts": 70, "rules": 40, "motions": 350, "missing": 0,
     "hold":   {"rate": 0.86, "held": 301, "of": 350},
     "unseen": {"rate": 0.81, "held": 57, "of": 70},
     "others": {"rate": 0.06, "held": 1400, "of": 23800},
     "by_rule": {"walks forward": {"says": "...", "hold": {...}, "others": {...}}, ...},
     "by_prompt": [{"prompt": "...", "rule": "...", "unseen": false, "hold": {...}, "others": {...}}, ...]}

``hold`` counts motions of a prompt for which the prompt's rule holds; a motion that is missing (``None``, or fewer
than ``seeds``) counts as one for which it does not. ``others`` counts, for every prompt, the motions of all prompts
that name another rule, similar ones included: a run for "sprints" is an other motion to "walks then runs".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hftrainer.evaluation.rules import RULES
from hftrainer.motion.clip import Motion
from hftrainer.motion.measure import Measures, measure
from hftrainer.motion.representation.convert import convert


@dataclass(frozen=True)
class Behaviour:
    """A sentence and the rule that its motions must obey.

    Attributes:
        prompt: what the model is asked.
        rule_name: a key of ``RULES``.
        unseen: the sentence uses a word that no caption of the built data contains.
        seconds: a duration that suits the action; ``None`` leaves it to the model.
    """

    prompt: str
    rule_name: str
    unseen: bool = False
    seconds: float | None = None

    @property
    def description(self) -> str:
        """The rule in words and numbers."""
        return RULES[self.rule_name].says

    def rule(self, joints: np.ndarray, fps: float) -> bool:
        """Whether ``(T, 22, 3)`` joints in metres at ``fps`` do what the prompt says."""
        return RULES[self.rule_name].holds(measure(joints, fps))


#: What the model is asked. The persons and verbs of ``unseen`` prompts stand in no caption of the built data.
BEHAVIOURS: tuple[Behaviour, ...] = (
    Behaviour("a person walks forward", "walks forward"),
    Behaviour("someone strolls ahead at an easy pace", "walks forward"),
    Behaviour("a man takes several steps straight ahead", "walks forward"),
    Behaviour("an astronaut saunters ahead", "walks forward", unseen=True),
    Behaviour("a pirate moseys down the street", "walks forward", unseen=True),
    Behaviour("a person runs forward", "runs"),
    Behaviour("someone jogs ahead", "runs"),
    Behaviour("a woman sprints in a straight line", "runs"),
    Behaviour("a toddler scampers forward", "runs", unseen=True),
    Behaviour("a burglar flees at top speed", "runs", unseen=True),
    Behaviour("a person walks backwards", "walks backwards"),
    Behaviour("someone steps back slowly", "walks backwards"),
    Behaviour("a ghost backs off warily", "walks backwards", unseen=True),
    Behaviour("a person runs backwards", "runs backwards"),
    Behaviour("a person steps sideways to the left", "steps left"),
    Behaviour("someone shuffles to the left", "steps left"),
    Behaviour("a person steps sideways to the right", "steps right"),
    Behaviour("a crab-like fellow sidles to the right", "steps right", unseen=True),
    Behaviour("a person walks forward and turns left", "turns left"),
    Behaviour("someone runs and makes a left turn", "turns left"),
    Behaviour("a courier veers left around a corner", "turns left", unseen=True),
    Behaviour("a person walks forward and turns right", "turns right"),
    Behaviour("someone jogs and then takes a right turn", "turns right"),
    Behaviour("a person walks and turns around", "turns around"),
    Behaviour("someone walks away, turns around and comes back", "comes back"),
    Behaviour("a person walks in a circle", "circles", seconds=8.0),
    Behaviour("a person spins around", "spins"),
    Behaviour("a person jumps up", "jumps"),
    Behaviour("someone leaps high into the air", "jumps"),
    Behaviour("a kangaroo jumps up", "jumps", unseen=True),
    Behaviour("a person jumps forward", "jumps forward"),
    Behaviour("a person jumps up and down several times", "jumps often"),
    Behaviour("someone skips along", "skips"),
    Behaviour("a person kicks with the right foot", "kicks right"),
    Behaviour("someone does a high kick with the right leg", "kicks right"),
    Behaviour("a person kicks with the left foot", "kicks left"),
    Behaviour("a ninja kicks with the left leg", "kicks left", unseen=True),
    Behaviour("a karate fighter does a roundhouse kick", "kicks"),
    Behaviour("a person punches with the right hand", "punches right"),
    Behaviour("someone throws a punch with the left hand", "punches left"),
    Behaviour("a person throws several punches", "punches"),
    Behaviour("a person is boxing", "boxes"),
    Behaviour("a gladiator boxes against an invisible opponent", "boxes", unseen=True),
    Behaviour("a person raises the left arm", "raises left arm"),
    Behaviour("a person raises the right arm", "raises right arm"),
    Behaviour("a person raises both arms", "raises both arms"),
    Behaviour("a sorcerer lifts both hands into the air", "raises both arms", unseen=True),
    Behaviour("a person crouches down", "sits or crouches"),
    Behaviour("someone sits down", "sits or crouches"),
    Behaviour("a thief crouches low", "sits or crouches", unseen=True),
    Behaviour("a person squats down and stands up again", "squats"),
    Behaviour("a person lies on the floor", "lies"),
    Behaviour("a person crawls forward on hands and knees", "crawls"),
    Behaviour("a baby crawls along the ground", "crawls", unseen=True),
    Behaviour("a person does a cartwheel", "cartwheels"),
    Behaviour("a person bends down and picks something up from the floor", "picks up"),
    Behaviour("a person walks forward and picks up a box", "walks and picks up"),
    Behaviour("a person bends over", "bends over"),
    Behaviour("a person does jumping jacks", "jumping jacks"),
    Behaviour("a person dances salsa", "dances"),
    Behaviour("a bride dances merrily at the party", "dances", unseen=True),
    Behaviour("a person climbs up a ladder", "climbs"),
    Behaviour("a person dribbles a basketball", "dribbles"),
    Behaviour("a person washes the windows", "wipes"),
    Behaviour("a person mops the floor", "mops"),
    Behaviour("a person drinks from a bottle", "drinks"),
    Behaviour("a person balances on one leg", "balances"),
    Behaviour("a person stands still", "stands still"),
    Behaviour("a palace sentinel stands motionless", "stands still", unseen=True),
    Behaviour("a person walks and then starts to run", "walks then runs"),
    Behaviour("a person runs and then slows down to a walk", "runs then walks"),
    Behaviour("a person runs and then stops", "runs then stops"),
    Behaviour("a person walks forward and then stands still", "walks then stops"),
    Behaviour("a person stands still and then starts walking", "stands then walks"),
    Behaviour("a person walks and then jumps", "walks then jumps"),
    Behaviour("a person runs and then jumps", "runs then jumps"),
    Behaviour("a person walks forward and then crouches down", "walks then crouches"),
    Behaviour("a person crouches and then stands up", "gets up"),
    Behaviour("a person walks backwards, stops and walks forward", "back then forward"),
)


def _share(held: int, of: int) -> dict[str, float | int]:
    return {"rate": round(held / of, 4) if of else 0.0, "held": held, "of": of}


def _measured(motion: Motion | None) -> Measures | None:
    if motion is None or len(motion) < 2:
        return None
    joints = convert(motion, "joints")
    return measure(joints.data, joints.fps)


def score(
    motions_by_prompt: Mapping[str, Sequence[Motion | None]],
    behaviours: Sequence[Behaviour] = BEHAVIOURS,
    seeds: int | None = None,
) -> dict[str, Any]:
    """How often motions do what they were asked, and how often they do what others were asked.

    Args:
        motions_by_prompt: for each prompt its motions, one per seed, in any representation that converts to joints;
            ``None`` stands for a generation that failed.
        behaviours: the prompts to score.
        seeds: motions expected per prompt; missing ones count as failures. ``None`` expects as many as the prompt
            with most motions has.

    Returns:
        The JSON layout at the top of this file.

    Raises:
        ValueError: no motion is given for any of the prompts, or a prompt is none of the ``behaviours``.
        NoRouteError: a motion cannot become joints.

    >>> import numpy as np
    >>> from hftrainer.motion.skeleton import SMPL22
    >>> body = np.zeros((22, 3))
    >>> for joint, parent in enumerate(SMPL22.parents[1:], 1):
    ...     body[joint] = body[parent] + SMPL22.rest[joint]
    >>> still = Motion(np.repeat(body[None], 40, axis=0), "joints", fps=20)
    >>> asked = (Behaviour("a person stands still", "stands still"), Behaviour("a person jumps up", "jumps"))
    >>> result = score({"a person stands still": [still], "a person jumps up": [still]}, asked)
    >>> result["hold"]["rate"], result["others"]["rate"]
    (0.5, 0.5)
    """
    unknown = sorted(set(motions_by_prompt) - {behaviour.prompt for behaviour in behaviours})
    if unknown:
        raise ValueError(f"every prompt must be one of the behaviours; got {unknown}. Give behaviours for them.")
    given = {behaviour.prompt: list(motions_by_prompt.get(behaviour.prompt, ())) for behaviour in behaviours}
    expected = seeds if seeds is not None else max((len(motions) for motions in given.values()), default=0)
    if not any(given.values()):
        raise ValueError("motions must be given for at least one prompt; got none. Generate the prompts first.")
    bodies = {prompt: [_measured(motion) for motion in motions] for prompt, motions in given.items()}

    rows: list[dict[str, Any]] = []
    missing = 0
    for behaviour in behaviours:
        holds = RULES[behaviour.rule_name].holds
        own = bodies[behaviour.prompt]
        of = max(expected, len(own))
        missing += of - sum(body is not None for body in own)
        others = [
            body
            for other in behaviours
            if other.rule_name != behaviour.rule_name
            for body in bodies[other.prompt]
            if body is not None
        ]
        rows.append(
            {
                "prompt": behaviour.prompt,
                "rule": behaviour.rule_name,
                "unseen": behaviour.unseen,
                "hold": _share(sum(bool(holds(body)) for body in own if body is not None), of),
                "others": _share(sum(bool(holds(body)) for body in others), len(others)),
            }
        )

    def total(part: list[dict[str, Any]], key: str) -> dict[str, float | int]:
        return _share(sum(row[key]["held"] for row in part), sum(row[key]["of"] for row in part))

    names = list(dict.fromkeys(behaviour.rule_name for behaviour in behaviours))
    by_rule = {}
    for name in names:
        part = [row for row in rows if row["rule"] == name]
        by_rule[name] = {"says": RULES[name].says, "hold": total(part, "hold"), "others": part[0]["others"]}
    return {
        "prompts": len(behaviours),
        "rules": len(names),
        "motions": sum(row["hold"]["of"] for row in rows),
        "missing": missing,
        "hold": total(rows, "hold"),
        "unseen": total([row for row in rows if row["unseen"]], "hold"),
        "others": total(rows, "others"),
        "by_rule": by_rule,
        "by_prompt": rows,
    }


def table(result: Mapping[str, Any]) -> str:
    """The result of ``score`` as a page of Markdown: a summary line, and a row per prompt."""

    def cell(share: Mapping[str, Any]) -> str:
        return f"{100 * share['rate']:.0f} % ({share['held']}/{share['of']})"

    first = []
    if "first_drawn" in result:
        first = ["", f"Each motion was chosen among several. Of the first drawn, {cell(result['first_drawn']['hold'])} "
                     "hold. One of the two choosers measures bodies as the rules do, so that the chosen are flattered."]
    lines = [
        f"{result['prompts']} prompts, {result['rules']} rules, {result['motions']} motions "
        f"({result['missing']} missing). Rules hold for **{cell(result['hold'])}**, on prompts with unseen words for "
        f"{cell(result['unseen'])}; the same rules hold for **{cell(result['others'])}** of other prompts' motions.",
        *first,
        "",
        "| prompt | rule | holds | on other prompts' motions |",
        "|---|---|---:|---:|",
    ]
    for row in result["by_prompt"]:
        prompt = f"*{row['prompt']}*" if row["unseen"] else row["prompt"]
        lines.append(f"| {prompt} | {row['rule']} | {cell(row['hold'])} | {100 * row['others']['rate']:.1f} % |")
    lines += ["", "Prompts in italics use words that no caption of the training data contains.", "", "| rule | says |"]
    lines += ["|---|---|", *(f"| {name} | {part['says']} |" for name, part in result["by_rule"].items())]
    return "\n".join(lines) + "\n"
