"""What became of a model's answers, as plain data: the evidence of the budgets on answers, and their verdicts."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from pfa_gate.budget.finding import Judgement, not_judged, outcome_of
from pfa_gate.budget.wording import apart, listed, plural, significant, trimmed
from pfa_gate.config import Limit

LEVEL = 0.05
"""A fall of a class counts as one where equally good models show such a fall less often than this."""
_RARE = 20


@dataclass(frozen=True)
class Estimated:
    """A value, and the ends of its 95 % interval; None where one sample alone was measured."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class ClassAnswers:
    """What became of the samples of one class.

    Attributes:
        label: of the class.
        samples: that have it.
        full: how many of them the full model answers rightly.
        compressed: how many the compressed model does.
        lost: right in the full model alone.
        won: right in the compressed model alone.
        p: how likely such a fall is in any class if neither model is better (McNemar, exact, Holm over classes); None
            for a class of fewer than 20 samples.
        low: of the fall of its recall, as a share; 95 % over all classes together.
        high: the same.
    """

    label: int
    samples: int
    full: int
    compressed: int
    lost: int
    won: int
    p: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def fall(self) -> float:
        """By how much its recall falls, in percentage points; negative where it rises.

        Example:
            >>> ClassAnswers(3, 40, 38, 36, 3, 1).fall
            5.0
        """
        return round(100 * (self.lost - self.won) / max(1, self.samples), 9)

    @property
    def falls(self) -> bool:
        """Whether the fall is more than noise."""
        return self.p is not None and self.p <= LEVEL


@dataclass(frozen=True)
class AnswerPair:
    """How many samples the full and the compressed model answer with these classes."""

    full: int
    compressed: int
    samples: int


@dataclass(frozen=True)
class Answers:
    """The answers of the compressed model against those of the full one, on the same samples.

    Attributes:
        source: evaluation; or probe, for the samples of the probe that were held out from all else.
        samples: how many.
        agreement: share of samples with the same answer.
        divergence: mean KL divergence of the full model's class probabilities from the compressed one's, nats.
        output_error: ||y - y'|| / ||y - mean(y)||, the largest of all floating outputs.
        changed: answers that changed.
        lost: right before and wrong after; None without labels, like the next two.
        won: wrong before and right after.
        otherwise: wrong before and after, in another way.
        classes: by label ascending; of more than 1,000 those whose recall falls most.
        unlisted: classes that are left out of `classes`.
        confusion: what became of the full model's answers that lost most, by full and compressed ascending.
        reasons: budget -> why it is not judged.
    """

    source: Literal["evaluation", "probe"]
    samples: int
    agreement: Estimated | None = None
    divergence: Estimated | None = None
    output_error: Estimated | None = None
    changed: int | None = None
    lost: int | None = None
    won: int | None = None
    otherwise: int | None = None
    classes: tuple[ClassAnswers, ...] = ()
    unlisted: int = 0
    confusion: tuple[AnswerPair, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def judged_classes(self) -> tuple[ClassAnswers, ...]:
        """Those with enough samples, the largest fall first."""
        enough = [each for each in self.classes if each.p is not None]
        return tuple(sorted(enough, key=lambda each: (-each.fall, each.label)))

    @property
    def where(self) -> str:
        """The samples, in words."""
        if self.source == "evaluation":
            return f"{plural(self.samples, 'sample')} of the evaluation"
        return f"{plural(self.samples, 'sample')} of the probe that nothing was fitted on"


def answer_values(answers: Answers) -> dict[str, float]:
    """What was measured, by key, in the unit of a baseline: percent, points, or nats; what was not is left out.

    Example:
        >>> answer_values(Answers("probe", 100, agreement=Estimated(0.97), divergence=Estimated(0.02)))
        {'agreement': 97.0, 'divergence': 0.02}
    """
    values: dict[str, float] = {}
    if answers.agreement is not None:
        values["agreement"] = round(100 * answers.agreement.value, 9)
    if answers.divergence is not None and math.isfinite(answers.divergence.value):
        values["divergence"] = answers.divergence.value
    if answers.output_error is not None:
        values["output_error"] = round(100 * answers.output_error.value, 9)
    if answers.judged_classes and "class_drop" not in answers.reasons:
        values["class_drop"] = answers.judged_classes[0].fall
    return values


def points(limit: Limit) -> float:
    """A limit on a share in percent, or on its change in percentage points.

    Example:
        >>> points(Limit(0.97, "absolute", "0.97")), points(Limit(97.0, "percent", "97%"))
        (97.0, 97.0)
    """
    return round(100 * limit.value, 9) if limit.unit == "absolute" else limit.value


def judge_answers(limit: Limit, answers: Answers | None, key: str, reason: str) -> Judgement:
    """Hold one measure of the answers to a limit.

    Args:
        limit: in percent or points where the measure is a share.
        answers: what was measured; None where nothing was.
        key: agreement, divergence, output_error or class_drop.
        reason: why nothing was.

    Example:
        >>> found = Answers("evaluation", 761, agreement=Estimated(0.942, 0.923, 0.957))
        >>> judge_answers(Limit(97.0, "percent", "97%", side="min"), found, "agreement", "").sentence[:79]
        'On 761 samples of the evaluation, 94.2% of the answers are those of the full mo'
    """
    if answers is None:
        return not_judged(limit.words(), reason)
    if key in answers.reasons:
        return not_judged(limit.words(), answers.reasons[key])
    if key == "class_drop":
        return _class_drop(limit, answers)
    measured = {
        "agreement": (answers.agreement, _percent, "{} of the answers are those of the full model"),
        "divergence": (answers.divergence, significant, "the answers diverge by {} nats in the mean"),
        "output_error": (answers.output_error, _percent, "the outputs are off by {} of their spread"),
    }
    estimated, words, head = measured[key]
    if estimated is None or not math.isfinite(estimated.value):
        return not_judged(limit.words(), answers.reasons.get(key, "It was not measured."))
    return _compared(limit, _Measure(key, estimated, words is _percent, head), answers)


@dataclass(frozen=True)
class _Measure:
    """A measure of the answers, and how it is put in words."""

    key: str
    estimated: Estimated
    share: bool
    head: str

    def of(self, value: float) -> float:
        return round(100 * value, 9) if self.share else value

    def text(self, value: float, other: float) -> str:
        if self.share:
            return f"{apart(value, other, 2)[0]}%"
        texts = ((significant(value, digits), significant(other, digits)) for digits in range(3, 18))
        return next((one for one, two in texts if one != two), significant(value))


def _compared(limit: Limit, found: _Measure, answers: Answers) -> Judgement:
    value, allowed = found.of(found.estimated.value), points(limit) if found.share else limit.value
    below = limit.side == "min"
    kept = value >= allowed if below else value <= allowed
    observed = found.text(value, allowed)
    gap = abs(value - allowed)
    by = f"{apart(gap, 0.0, 2)[0]} points" if found.share else significant(gap)
    against = f"{'within' if kept else f'{by} below' if below else f'{by} above'} the limit of {limit.text}"
    sentence = f"On {answers.where}, {found.head.format(observed)}, {against}."
    return Judgement(limit.words(), observed, outcome_of(kept), sentence, notes=tuple(_noise(found, allowed)))


def _noise(found: _Measure, allowed: float) -> Iterator[str]:
    low, high = found.estimated.low, found.estimated.high
    if low is None or high is None or not found.of(low) <= allowed <= found.of(high):
        return
    ends = [_percent(end) if found.share else significant(end) for end in (low, high)]
    yield f"Within noise: it lies between {ends[0]} and {ends[1]} (95 %)."


def _percent(value: float) -> str:
    return f"{trimmed(100 * value, 2)}%"


def _class_drop(limit: Limit, answers: Answers) -> Judgement:
    """Broken where the recall of a class falls by more than the limit, and by more than noise."""
    judged, allowed = answers.judged_classes, points(limit)
    if not judged:
        most = max((each.samples for each in answers.classes), default=0)
        why = f"No class has {_RARE} samples among the {answers.where}; the commonest has {most}."
        return not_judged(limit.words(), f"{why} Give more data.")
    broken = [each for each in judged if each.fall > allowed and each.falls]
    worst = broken[0] if broken else judged[0]
    observed = f"{apart(worst.fall, allowed, 2)[0]} pp"
    beyond = f"{apart(worst.fall - allowed, 0.0, 2)[0]} pp more than the limit of {limit.text}"
    against = beyond if worst.fall > allowed else f"within the limit of {limit.text}"
    sentence = f"On {answers.where}, {class_sentence(worst)}, {against}."
    notes = (*_chance(worst, len(judged), allowed), *_others(broken[1:], allowed), *_rare(answers))
    return Judgement(limit.words(), observed, outcome_of(not broken), sentence, notes=notes)


def class_sentence(worst: ClassAnswers) -> str:
    """The class whose recall falls most, and the counts.

    Example:
        >>> class_sentence(ClassAnswers(3, 76, 68, 62, 7, 1, 0.35))
        'the recall of class 3 falls most, by 7.89 pp (of 76 samples 7 lost, 1 won)'
    """
    counts = f"(of {plural(worst.samples, 'sample')} {worst.lost:,} lost, {worst.won:,} won)"
    if worst.fall <= 0:
        rises = "does not change" if worst.fall == 0 else f"rises by {trimmed(-worst.fall, 2)} pp"
        return f"the recall of no class falls; that of class {worst.label} {rises} {counts}"
    return f"the recall of class {worst.label} falls most, by {trimmed(worst.fall, 2)} pp {counts}"


def _chance(worst: ClassAnswers, classes: int, allowed: float) -> Iterator[str]:
    if worst.fall <= 0 or worst.p is None:
        return
    test = f"McNemar's exact test, Holm over {_classes(classes)}"
    if worst.fall > allowed and not worst.falls:
        yield f"Within noise: equally good models show such a fall in some class with p = {worst.p:.3g} ({test})."
    elif worst.fall > allowed:
        yield f"More than noise: p = {worst.p:.3g} ({test})."
    if worst.low is not None and worst.high is not None and worst.fall > allowed:
        low, high = trimmed(100 * worst.low, 2), trimmed(100 * worst.high, 2)
        yield f"The fall of class {worst.label} lies between {low} and {high} pp (95 % for all classes together)."


def _classes(count: int) -> str:
    return f"{count:,} {'class' if count == 1 else 'classes'}"


def _others(broken: list[ClassAnswers], allowed: float) -> Iterator[str]:
    if broken:
        names = [f"{each.label} ({trimmed(each.fall, 2)} pp)" for each in broken]
        yield f"Above the limit of {trimmed(allowed, 2)} pp as well: class {listed(names, 5)}."


def _rare(answers: Answers) -> Iterator[str]:
    rare = [f"{each.label} ({each.samples})" for each in answers.classes if each.p is None]
    if rare:
        yield f"Not judged, as they have fewer than {_RARE} samples: class {listed(rare, 5)}."
