"""Verdicts on the model as a whole: its sizes, latency, proof and scores."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from pfa_gate.budget.finding import Judgement, not_judged, outcome_of
from pfa_gate.budget.measurements import Exactness, Measurements, Scored
from pfa_gate.budget.sizes import Size
from pfa_gate.budget.wording import apart, listed, quantity, significant, trimmed
from pfa_gate.config import Limit

_NOUNS = {"parameters": "parameters", "bytes": "", "macs": "MACs", "memory": "of memory", "energy": "of energy"}
_VERBS = {"memory": "needs", "energy": "takes"}
_UNITS = {"bytes": "B", "memory": "B", "energy": "pJ"}
_DIGITS = 3


def judge_model(limit: Limit, full: Size, key: str, reason: str = "") -> Judgement:
    """Hold one size of the full model to an absolute limit.

    Args:
        limit: largest value allowed, absolute.
        full: the full model's size.
        key: `parameters`, `bytes`, `macs`, `memory` or `energy`.
        reason: why the last two are not known, where they are not.

    Example:
        >>> limit = Limit(value=3e5, unit="absolute", text="300 k")
        >>> judge_model(limit, Size(412345, 0, 0), "parameters").sentence
        'The full model has 412 k parameters, 112 k above the limit of 300 k.'
        >>> judge_model(Limit(150e3, "absolute", "150 kB"), Size(9, 36, 81, memory=196_608), "memory").sentence
        'The full model needs 197 kB of memory, 46.6 kB above the limit of 150 kB.'
    """
    size: float | None = getattr(full, key)
    return _unknown(limit, key, "full model", reason) if size is None else _absolute(limit, size, key, "full model")


def judge_compressed(limit: Limit, measurements: Measurements, key: str) -> Judgement:
    """Hold one size of the compressed model to a limit, absolute or in percent of the full model.

    Args:
        limit: largest value allowed.
        measurements: with the sizes of both models.
        key: `parameters`, `bytes`, `macs`, `memory` or `energy`.

    Example:
        >>> sizes = Measurements((), full=Size(200, 800, 900), compressed=Size(130, 520, 600))
        >>> judge_compressed(Limit(value=60, unit="percent", text="60%"), sizes, "parameters").sentence
        'The compressed model keeps 65% of the parameters (130 of 200), 5 points above the limit of 60%.'
    """
    if measurements.compressed is None:
        return not_judged(limit.text, measurements.compressed_reason)
    whole: float | None = getattr(measurements.full, key)
    part: float | None = getattr(measurements.compressed, key)
    if part is None:
        reason = measurements.uncounted if key == "macs" else measurements.unfollowed.get("compressed", "")
        return _unknown(limit, key, measurements.smaller, reason)
    if limit.unit != "percent":
        return _absolute(limit, part, key, measurements.smaller)
    if whole is None:
        return _unknown(limit, key, "full model", measurements.unfollowed.get("model", ""))
    if whole == 0:
        return not_judged(limit.text, f"The full model has no {key}, so there is nothing to take a share of.")
    # Whole numbers on both sides: 55 % of 100 is exactly 55, where 0.55 * 100 is not.
    kept = 100 * part <= limit.value * whole
    noun = "MACs" if key == "macs" else key
    sizes = f"the {noun} ({quantity(part, key)} of {quantity(whole, key)})"
    return _share(limit, 100 * part / whole, kept, f"The {measurements.smaller} keeps {{}} of {sizes}")


def _unknown(limit: Limit, key: str, model: str, reason: str) -> Judgement:
    fact = f"The MACs of the {model} are" if key == "macs" else f"The {key} of the {model} is"
    return not_judged(limit.words(), f"{fact} not known: {reason.rstrip('.') or 'it was not measured'}.")


def judge_latency(limit: Limit, measurements: Measurements) -> Judgement:
    """Hold the compressed model's time to a limit in percent of the full model's.

    Example:
        >>> slow = Measurements((), full=Size(1, 1, 1), latency=1.04)
        >>> judge_latency(Limit(value=100, unit="percent", text="100%"), slow).sentence
        'The compressed model takes 104% of the time of the full one, 4 points above the limit of 100%.'
    """
    ratio = measurements.latency
    if ratio is None or math.isnan(ratio):
        return not_judged(limit.text, measurements.latency_reason)
    own = not measurements.smaller.endswith("model")
    head = f"The {measurements.smaller} takes {{}} of the time of the full {'model' if own else 'one'}"
    percent = round(100 * ratio, 9)  # 100 * 1.1 is more than 110
    found = _share(limit, percent, percent <= limit.value, head)
    return replace(found, notes=tuple(measurements.timed.notes(limit.value)) if measurements.timed else ())


def judge_exact(exact: Exactness | None, reason: str) -> Judgement:
    """The proof as a budget: it is kept only if it passed with an error that is a number.

    Args:
        exact: the proof's outcome, if there was one.
        reason: why there was none.

    Example:
        >>> judge_exact(Exactness(2.4e-7, True), "").sentence
        'The compressed model equals the silenced full model: largest relative error 2.4e-07.'
    """
    if exact is None:
        return not_judged("proof", reason)
    limit = f"{exact.tolerance:g}"
    kept = exact.passed and exact.max_error <= exact.tolerance
    relation = "equals" if kept else "does not equal"
    error = f"{exact.max_error:.2g}"
    sentence = f"The compressed model {relation} the silenced full model: largest relative error {error}."
    whole = f"Kept at full width because their proof failed: {listed(exact.put_back)}."
    return Judgement(limit, error, outcome_of(kept), sentence, notes=(whole,) if exact.put_back else ())


def _absolute(limit: Limit, value: float, key: str, model: str) -> Judgement:
    kept = value <= limit.value
    observed = quantity(value, key)
    if not kept and observed == quantity(limit.value, key):
        observed = f"{value:,} {_UNITS.get(key, '')}".rstrip()
    by = f"{quantity(value - limit.value, key)} above"
    against = f"{'within' if kept else by} the limit of {limit.text}"
    sentence = " ".join(filter(None, (f"The {model} {_VERBS.get(key, 'has')}", observed, _NOUNS[key])))
    return Judgement(limit.text, observed, outcome_of(kept), f"{sentence}, {against}.")


def _share(limit: Limit, observed: float, kept: bool, head: str) -> Judgement:
    text = f"{apart(observed, limit.value, 1)[0]}%"
    by = f"{apart(observed - limit.value, 0.0, 1)[0]} points above"
    against = f"{'within' if kept else by} the limit of {limit.text}"
    return Judgement(limit.text, text, outcome_of(kept), f"{head.format(text)}, {against}.")


@dataclass(frozen=True)
class _Scale:
    """The unit of a metric in sentences: percent and percentage points for a share, else the metric's own."""

    share: bool

    def of(self, value: float) -> float:
        # Shares are fractions of counts; what is left of rounding in them is no verdict.
        return round(100 * value, 9) if self.share else value

    def back(self, value: float) -> float:
        """A value of this unit in the metric's own."""
        return value / 100 if self.share else value

    def limit(self, limit: Limit) -> float:
        """A limit in the same unit; a plain number is a share itself."""
        return self.of(limit.value) if limit.unit == "absolute" else limit.value

    def text(self, value: float, other: float, unit: str) -> str:
        """A value, with this unit if it is a share, and with enough digits to differ from another value."""
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
        >>> from pfa_gate.budget import Size
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
    observed = scale.text(fall, allowed, " pp")
    by = f"{scale.text(fall - allowed, 0.0, ' pp')} more than"
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
        >>> from pfa_gate.budget import Size
        >>> shares = Measurements((), full=Size(1, 1, 1), scores=Scored(full=0.912, compressed=0.9))
        >>> judge_score(Limit(value=93, unit="percent", text="93%", side="min"), shares, "model").sentence
        'The full model scores 91.2%, 1.8 points below the limit of 93%.'
    """
    scores = measurements.scores
    value = None if scores is None else scores.full if area == "model" else scores.compressed
    if scores is None or value is None or math.isnan(value):
        return not_judged(limit.words(), measurements.scores_reason)
    scale = _Scale(scores.share)
    observed_value, bound = scale.of(value), scale.limit(limit)
    kept = observed_value >= bound if limit.side == "min" else observed_value <= bound
    observed = scale.text(observed_value, bound, "%")
    by = scale.text(abs(observed_value - bound), 0.0, " points")
    against = "within" if kept else f"{by} {'below' if limit.side == 'min' else 'above'}"
    model = "full model" if area == "model" else measurements.smaller
    sentence = f"The {model} scores {observed}{_less(scores)}, {against} the limit of {limit.text}."
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
