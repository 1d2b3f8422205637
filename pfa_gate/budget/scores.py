"""Verdicts on scores: how far one falls from the full to the compressed model, and how high each stands."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from pfa_gate.budget.finding import Judgement, not_judged, outcome_of
from pfa_gate.budget.measurements import Measurements, Scored
from pfa_gate.budget.wording import apart, significant, trimmed
from pfa_gate.config import Limit

_DIGITS = 3


@dataclass(frozen=True)
class _Scale:
    """How the numbers of a metric are told: a share in percent and percentage points, all else as it is."""

    share: bool

    def of(self, value: float) -> float:
        # Shares are fractions of counts; what is left of rounding in them is no verdict.
        return round(100 * value, 9) if self.share else value

    def back(self, value: float) -> float:
        """The other way round."""
        return value / 100 if self.share else value

    def limit(self, limit: Limit) -> float:
        """A limit in the same unit; a plain number is a share itself."""
        return self.of(limit.value) if limit.unit == "absolute" else limit.value

    def told(self, value: float, other: float, unit: str) -> str:
        """A value, with this unit if it is a share; so long that it reads otherwise than another one."""
        if self.share:
            return f"{apart(value, other, 2)[0]}{unit}"
        texts = ((significant(value, digits), significant(other, digits)) for digits in range(_DIGITS, 18))
        return next((text for text, against in texts if text != against), significant(value, _DIGITS))

    def end(self, value: float) -> str:
        """The end of an interval."""
        return f"{100 * value:.2f}" if self.share else significant(value)


def judge_drop(limit: Limit, measurements: Measurements) -> Judgement:
    """Hold the fall of a score, in the direction in which it gets worse, to a limit.

    Args:
        limit: largest fall allowed: in percentage points or as a plain fraction of a share, else in the metric's unit.
        measurements: with the scores of both models.

    Example:
        >>> from pfa_gate.budget.measurements import Size
        >>> shares = Measurements((), full=Size(1, 1, 1), scores=Scored(full=0.992, compressed=0.98))
        >>> judge_drop(Limit(value=0.5, unit="pp", text="0.5 pp"), shares).sentence
        'The score falls by 1.2 pp, 0.7 pp more than the limit of 0.5 pp.'
        >>> loss = Measurements((), full=Size(1, 1, 1), scores=Scored(0.36, 6.37, share=False, lower=True))
        >>> judge_drop(Limit(value=0.01, unit="absolute", text="0.01"), loss).sentence
        'The score rises by 6.01 (lower is better), 6 more than the limit of 0.01.'
    """
    scores = measurements.scores
    if scores is None or scores.fall is None or math.isnan(scores.fall):
        return not_judged(limit.words(), measurements.scores_reason)
    if scores.chance:
        return not_judged(limit.words(), scores.chance)
    scale = _Scale(scores.share)
    fall, allowed = scale.of(scores.fall), scale.limit(limit)
    kept = fall <= allowed
    observed = scale.told(fall, allowed, " pp")
    by = f"{scale.told(fall - allowed, 0.0, ' pp')} more than"
    against = f"{'within' if kept else by} the limit of {limit.text}"
    sentence = f"The score {_change(scores, fall, observed)}, {against}."
    return Judgement(
        limit.text, observed, outcome_of(kept), sentence, notes=tuple(_resolution(scores, scale.back(allowed)))
    )


def _change(scores: Scored, fall: float, observed: str) -> str:
    if fall == 0:
        return "does not change"
    rises = (fall > 0) == scores.lower
    return f"{'rises' if rises else 'falls'} by {observed.removeprefix('-')}{_less(scores)}"


def _less(scores: Scored) -> str:
    return " (lower is better)" if scores.lower else ""


def _resolution(scores: Scored, allowed: float) -> Iterator[str]:
    """Where noise could turn the verdict: how far, and how large an evaluation would settle it."""
    if scores.interval is None:
        return
    scale, unit = _Scale(scores.share), " pp" if scores.share else ""
    low, high = scores.interval
    samples, half = scores.samples, (high - low) / 2
    if not low <= allowed <= high:
        return
    yield f"Within noise: the drop lies between {scale.end(low)} and {scale.end(high)}{unit} (95 %)."
    if half > allowed > 0:
        # The interval narrows with the root of the samples; adjusted ones included, as the interval counts them.
        enough = math.ceil((samples + 2) * (half / allowed) ** 2)
        fact = f"{samples:,} samples resolve a drop to {scale.end(half)}{unit}, which is wider than the limit"
        yield f"{fact}; about {round(enough, 1 - math.floor(math.log10(enough))):,} are needed."


def judge_score(limit: Limit, measurements: Measurements, area: str) -> Judgement:
    """Hold the score of one model to a limit, from below where higher is better, else from above.

    Args:
        limit: `{min: ...}` or `{max: ...}`.
        measurements: with the scores.
        area: `model` for the full model, `compressed` for the compressed one.

    Example:
        >>> from pfa_gate.budget.measurements import Size
        >>> shares = Measurements((), full=Size(1, 1, 1), scores=Scored(full=0.912, compressed=0.9))
        >>> judge_score(Limit(value=93, unit="percent", text="93%", side="min"), shares, "model").sentence
        'The full model scores 91.2%, 1.8 points below the limit of 93%.'
    """
    scores = measurements.scores
    value = None if scores is None else scores.full if area == "model" else scores.compressed
    if scores is None or value is None or math.isnan(value):
        return not_judged(limit.words(), measurements.scores_reason)
    scale = _Scale(scores.share)
    found, bound = scale.of(value), scale.limit(limit)
    kept = found >= bound if limit.side == "min" else found <= bound
    observed = scale.told(found, bound, "%")
    by = scale.told(abs(found - bound), 0.0, " points")
    against = "within" if kept else f"{by} {'below' if limit.side == 'min' else 'above'}"
    model = "full" if area == "model" else "compressed"
    sentence = f"The {model} model scores {observed}{_less(scores)}, {against} the limit of {limit.text}."
    return Judgement(limit.words(), observed, outcome_of(kept), sentence)


def in_its_unit(value: float, share: bool) -> str:
    """A fall as people read it, in percentage points for a share.

    Args:
        value: in points for a share, else in the metric's own unit.
        share: whether it is a share.

    Example:
        >>> in_its_unit(0.277, True), in_its_unit(6.01, False)
        ('0.28 pp', '6.01')
    """
    return f"{trimmed(value, 2)} pp" if share else significant(value)
