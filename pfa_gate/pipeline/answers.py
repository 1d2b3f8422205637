"""The answers of the compressed model against those of the full one, for budgets, record and reports."""

from collections.abc import Iterator

import numpy as np
from torch import nn

from pfa_gate.budget import AnswerPair, Answers, ClassAnswers, Estimated
from pfa_gate.config import GateConfig
from pfa_gate.config.budgets import ANSWERS
from pfa_gate.model.device import model_on
from pfa_gate.model.evaluation import ClassRecall, Comparison, Score, at_chance, compare
from pfa_gate.model.evaluation.intervals import Estimate
from pfa_gate.pipeline.job import GateJob, evaluation_of
from pfa_gate.pipeline.measure_and_cut import chance_words
from pfa_gate.record import AnswerSummary, Unmeasured, finite

_MOST_CLASSES = 1000
_WORST = 6
_AT_CHANCE = "A drop from there says nothing."
_INFINITE = "The smaller model gives a class no chance at all that the full model holds possible: it is infinite."


def answer_budgets(config: GateConfig) -> tuple[str, ...]:
    """The budgets on answers that a gate declares, of the compressed model or of the int8 file.

    Example:
        >>> plain = {"name": "a", "model": {"factory": "net:build"}, "probe": {"data": "net:probe"}}
        >>> plain["budgets"] = {"compressed": {"divergence": 0.05}}
        >>> answer_budgets(GateConfig.model_validate(plain))
        ('divergence',)
    """
    budgets = (config.budgets.compressed, config.budgets.quantized)
    return tuple(key for key in ANSWERS if any(getattr(section, key) is not None for section in budgets))


def compare_answers(
    job: GateJob, compressed: nn.Module, scores: tuple[Score, Score] | None, *, always: bool = False
) -> Answers | None:
    """Compare the answers of both models; None where there is nothing to compare, and no budget that asks for it.

    The pass that has scored both models serves. Else, where a budget asks, both run on the evaluation, or without one
    on the samples of the probe that were held out.

    Args:
        job: the gate.
        compressed: the smaller model.
        scores: of both models; None without an evaluation.
        always: compare them even if no budget asks.
    """
    wanted, known = answer_budgets(job.config), scores[1].comparison if scores else None
    if known is not None and not ("output_error" in wanted and known.outputs is None):
        return plain_answers(known, "evaluation", _chance(job.config, known))
    if not wanted and not always:
        return None
    subject = job.subject
    with job.stages.stage("comparing answers", "budgets", "compressed", *wanted[:1]):
        batches = evaluation_of(subject) if subject.held_out is None else subject.held_out
        found = compare(model_on(subject.model, subject.device), model_on(compressed, subject.device), batches)
    return plain_answers(found, "evaluation" if subject.held_out is None else "probe", _chance(job.config, found))


def _chance(config: GateConfig, found: Comparison) -> str:
    """Why no class is judged, as the full model answers no better than by chance; empty where classes may be."""
    asked = config.evaluation
    if found.answers is None or found.labels is None or (asked is not None and asked.allow_chance):
        return ""
    hits = (found.answers[0] == found.labels).astype(np.float64)
    full = Score(float(hits.mean()), hits, found.samples, labels=found.labels)
    fact = at_chance(full, "accuracy", "probe" if asked is None else "evaluation")
    return chance_words(config, fact) if fact else ""


def unmeasured_answers(config: GateConfig, found: Answers | None) -> Iterator[Unmeasured]:
    """What is not known of the answers though no budget asks for it; a class at chance is said with the score."""
    for key, reason in () if found is None else sorted(found.reasons.items()):
        if key not in answer_budgets(config) and _AT_CHANCE not in reason:
            yield Unmeasured(f"{key.replace('_', ' ')} of the answers", reason)


def summary(score: Score | None) -> AnswerSummary | None:
    """The answers of a model that was scored, in four numbers; None where the pass did not compare them."""
    found = None if score is None else score.comparison
    if found is None:
        return None
    worst = found.class_drop
    values = (
        found.agreement.value if found.agreement is not None else None,
        found.divergence.value if found.divergence is not None else None,
        found.output_error,
        worst.fall if worst is not None else None,
    )
    return AnswerSummary(*map(finite, values))


def plain_answers(found: Comparison, source: str, chance: str) -> Answers:
    """A comparison as plain data.

    Args:
        found: of the full and the compressed model.
        source: evaluation or probe.
        chance: why no class is judged, as the full model is at chance; else empty.
    """
    changes, classes = found.changes, _classes(found.recalls or ())
    counts = {} if changes is None else vars(changes)
    return Answers(
        source="evaluation" if source == "evaluation" else "probe",
        samples=found.samples,
        agreement=_estimated(found.agreement),
        divergence=_estimated(found.divergence),
        output_error=_estimated(found.outputs),
        classes=classes[:_MOST_CLASSES],
        unlisted=max(0, len(classes) - _MOST_CLASSES),
        confusion=tuple(_confusion(found)),
        reasons=_reasons(found, source, chance),
        **counts,
    )


def _estimated(estimate: Estimate | None) -> Estimated | None:
    if estimate is None or not np.isfinite(estimate.value):
        return None
    ends = estimate.interval or (None, None)
    return Estimated(estimate.value, *ends)


def _classes(found: tuple[ClassRecall, ...]) -> tuple[ClassAnswers, ...]:
    """By label; of too many those whose recall falls most come first, so that they are kept."""
    listed = sorted(found, key=lambda each: -each.fall) if len(found) > _MOST_CLASSES else list(found)
    listed = sorted(listed[:_MOST_CLASSES], key=lambda each: each.label) + listed[_MOST_CLASSES:]
    return tuple(
        ClassAnswers(
            each.label,
            each.samples,
            each.full,
            each.other,
            each.lost,
            each.won,
            each.p,
            *(each.interval or (None, None)),
        )
        for each in listed
    )


def _confusion(found: Comparison) -> Iterator[AnswerPair]:
    """What became of the full model's answers in the classes that lost most: recall, or without labels answers."""
    if found.answers is None:
        return
    full, other = found.answers
    if found.recalls is not None:
        fallen = [each for each in found.recalls if each.fall > 0]
        worst = [each.label for each in sorted(fallen, key=lambda each: (-each.fall, each.label))[:_WORST]]
    else:
        labels, counts = np.unique(full[full != other], return_counts=True)
        worst = labels[np.argsort(-counts, kind="stable")][:_WORST].tolist()
    among = np.isin(full, worst)
    pairs, counts = np.unique(np.stack([full[among], other[among]], axis=1), axis=0, return_counts=True)
    for (one, two), count in zip(pairs.tolist(), counts.tolist(), strict=True):
        yield AnswerPair(one, two, count)


def _reasons(found: Comparison, source: str, chance: str) -> dict[str, str]:
    """Why a budget cannot be judged; a class cannot fall from chance."""
    reasons = {"class_drop": chance} if chance else {}
    if found.answers is None:
        fact = f"{found.no_answers} Judge outputs of another kind by output_error."
        reasons = dict.fromkeys(("agreement", "divergence", "class_drop"), fact)
    elif found.labels is None:
        reasons["class_drop"] = f"{found.no_labels} {_LABELS[source]}"
    if found.divergence is not None and not np.isfinite(found.divergence.value):
        reasons["divergence"] = _INFINITE
    return reasons


_LABELS = {
    "evaluation": "Give the evaluation the number of the class for each sample.",
    "probe": "Add the section evaluation, with labels.",
}
