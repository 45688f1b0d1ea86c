"""Motion to text, measured: likeness to captions under several policies, retrieval, and a baseline that looks up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from hftrainer.data.humanml3d import Caption
from hftrainer.evaluation import language
from hftrainer.evaluation.population import Sample, performer
from hftrainer.evaluation.replications import Tally
from hftrainer.evaluation.setting import RETRIEVAL, Setting, add_retrieval, lacking, report
from hftrainer.models.evaluator import built_in_evaluator
from hftrainer.motion.clip import Motion

#: Motions and a seed to sentences; ``None`` for one that failed.
Describe = Callable[[Sequence[Motion], int], Sequence[str | None]]
#: Text and references by the name of the policy: as written; both cleaned alike; as the reference implementation does.
POLICIES = ("raw", "processed", "official")


def references(
    captions: Sequence[Caption], policy: str, lemmatise: language.Lemmatiser | None = None
) -> list[str]:
    """What a caption is compared with.

    Args:
        captions: of one sample, at least one.
        policy: ``"raw"``: the sentences as they were written. ``"processed"``: the same, cleaned as predictions are.
            ``"official"``: three of them, made of the words in the dataset's own columns.
        lemmatise: for ``"processed"``.

    Raises:
        ValueError: an unknown policy.

    >>> told = (Caption("A man walks.", ("a/DET", "man/NOUN", "walk/VERB"), 0, 0),)
    >>> [references(told, policy) for policy in POLICIES]
    [['A man walks.'], ['A man walks'], ['a man walk', 'a man walk', 'a man walk']]
    """
    if policy == "raw":
        return [caption.text for caption in captions]
    if policy == "processed":
        return [language.processed(caption.text, lemmatise) for caption in captions]
    if policy == "official":
        return language.three([" ".join(word.split("/")[0] for word in caption.words) for caption in captions])
    raise ValueError(f"the policy must be one of {', '.join(POLICIES)}; got {policy!r}.")


def likeness(
    said: Sequence[str], samples: Sequence[Sample], lemmatise: language.Lemmatiser | None = None
) -> tuple[dict[str, float], dict[str, str]]:
    """All measures of sentences under every policy; ``COCO-…`` as the COCO caption tools, which TM2T uses, have them.

    Args:
        said: one sentence a sample; an empty one is like nothing.
        samples: with the captions to compare with.
        lemmatise: base forms of words for the policy ``"processed"``.

    Returns:
        Values by name, ``"raw/BLEU-1"``, and the reasons of those that are missing.
    """
    values: dict[str, float] = {}
    reasons: dict[str, str] = {}
    for policy in POLICIES:
        known = [references(sample.captions, policy, lemmatise) for sample in samples]
        told = [language.processed(text, lemmatise) for text in said] if policy == "processed" else list(said)
        for order in range(1, 5):
            values[f"{policy}/BLEU-{order}"] = language.bleu(told, known, order).score
        values[f"{policy}/ROUGE-L"] = float(language.rouge_l(told, known).mean())
        values[f"{policy}/CIDEr"] = float(language.cider(told, known).mean())
        for order, score in enumerate(language.coco_bleu(told, known), 1):
            values[f"{policy}/COCO-BLEU-{order}"] = score
        values[f"{policy}/COCO-ROUGE-L"] = float(language.coco_rouge_l(told, known).mean())
        try:
            values[f"{policy}/BERTScore"] = language.bert_score(told, known)
        except language.ScorerAbsent as error:
            reasons[f"{policy}/BERTScore"] = str(error)
    return values, reasons


def lemmatiser(captions: Sequence[Caption]) -> language.Lemmatiser | None:
    """Base forms as a dataset's own word columns have them: of nouns and verbs, "left" left alone.

    Args:
        captions: with words as ``"walk/VERB"`` beside ``"A man walks."``; those whose words do not pair up are skipped.

    Returns:
        Words to base forms, each word to the form that it mostly has; ``None`` where no column has a base form.

    >>> told = (Caption("A man walks left.", ("a/DET", "man/NOUN", "walk/VERB", "leave/VERB"), 0, 0),)
    >>> lemmatiser(told)(["He", "walks", "left"])
    ['He', 'walk', 'left']
    >>> lemmatiser((Caption("He walks.", ("he/PRON", "walks/VERB"), 0, 0),)) is None
    True
    """
    seen: dict[str, Counter[str]] = {}
    for caption in captions:
        said = language.processed(caption.text).lower().split()
        if len(said) == len(caption.words):
            for word, column in zip(said, caption.words, strict=True):
                base, _, kind = column.rpartition("/")
                keeps = kind not in ("NOUN", "VERB") or word == "left"
                seen.setdefault(word, Counter())[word if keeps else base] += 1
    bases = {word: base for word, forms in seen.items() if (base := forms.most_common(1)[0][0]) != word}
    if not bases:
        return None
    return lambda words: [bases.get(word.lower(), word) for word in words]


def nearest_captions(
    samples: Sequence[Sample], known: Sequence[Sample], std: np.ndarray, strangers: bool = False
) -> list[str]:
    """For each sample the first caption of the known one that moves most alike: the baseline that looks things up.

    Alike means: the mean over frames of the features, each channel divided by its spread, is near (Euclid).

    Args:
        samples: to be captioned.
        known: with captions.
        std: ``(D,)`` spread of the channels.
        strangers: leave out clips of the sample's own ``performer``. A split by recordings leaves takes of one session
            on both sides, which were described in the same words; then looking up is remembering the session.

    Raises:
        ValueError: nothing is known.
    """
    if not known:
        raise ValueError("nearest captions need at least 1 known clip; got none.")
    table = np.stack([sample.motion.data.mean(0) / std for sample in known])
    names = [performer(sample.id) for sample in known]
    found = []
    for sample in samples:
        apart = np.linalg.norm(table - sample.motion.data.mean(0) / std, axis=1)
        if strangers:
            own = performer(sample.id)
            apart[[own is not None and name == own for name in names]] = np.inf
        found.append(known[int(apart.argmin())].captions[0].text)
    return found


def motion_to_text(
    samples: Sequence[Sample],
    describe: Describe,
    setting: Setting,
    baselines: Mapping[str, Sequence[str]] | None = None,
    lemmatise: language.Lemmatiser | None = None,
    best_of: int = 1,
) -> dict[str, Any]:
    """Sentences of motions: likeness to the captions under every policy, and retrieval with an evaluator.

    The evaluator reads what was said (the classic one with parts of speech from ``hftrainer.data.words.tokens``), and
    beside it (``true …``) one caption of each sample, drawn in each replication.

    Args:
        samples: of ``population``.
        describe: what is measured.
        setting: see ``Setting``.
        baselines: other sentences for the samples, by name.
        lemmatise: base forms of words for the policy ``"processed"``.
        best_of: among how many each sentence was chosen. Above 1 the built-in evaluator was the chooser: what is said
            is then not scored by it, only by another.

    Returns:
        The layout of ``hftrainer.evaluation.setting``.
    """
    motions = [sample.motion for sample in samples]
    true = setting.points(motions)

    alike: dict[tuple[str, ...], tuple[dict[str, float], dict[str, str]]] = {}

    def add(to: Tally, said: Sequence[str], replication: int) -> None:
        if tuple(said) not in alike:
            alike[tuple(said)] = likeness(said, samples, lemmatise)
        to.add(*alike[tuple(said)])
        names = [prefix + name for prefix in ("", "true ") for name in RETRIEVAL]
        if setting.evaluator is None or true is None:
            to.add({}, lacking(names))
            return
        if best_of > 1 and setting.evaluator.hash == built_in_evaluator().hash:
            why = "the captions were chosen with this evaluator, which cannot judge them then; give another."
            to.add({}, dict.fromkeys(names, why))
            return
        rng = setting.rng(replication)
        order = rng.permutation(len(samples))
        chosen = [sample.captions[int(rng.integers(len(sample.captions)))] for sample in samples]
        add_retrieval(to, setting.texts(said), true, order)
        add_retrieval(to, setting.texts(chosen), true, order, "true ")

    tally, failed = Tally(), []
    for replication in range(setting.replications):
        setting.begin(replication)
        told = describe(motions, setting.seed + replication)
        failed.append(sum(not text for text in told))
        add(tally, [text or "" for text in told], replication)
    result = report(
        "m2t", len(samples), setting, failed, tally, policies=list(POLICIES), lemmas=lemmatise is not None,
        best_of=best_of,
    )  # fmt: skip
    if lemmatise is None:
        result["notes"].append("no base forms of words were to be had, so processed captions keep their words.")
    for name, said in (baselines or {}).items():
        row = Tally()
        add(row, said, 0)
        result["baselines"][name] = row.report()
    return result
