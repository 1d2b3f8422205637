"""Verdicts on the model as a whole: sizes, latency and the surgery's proof."""

import math

from pfa_gate.budget.finding import Judgement, not_judged, outcome_of
from pfa_gate.budget.measurements import Exactness, Measurements, Size
from pfa_gate.budget.wording import amount, apart, listed
from pfa_gate.config import Limit

_UNITS = {"parameters": ("", "parameters"), "bytes": ("B", ""), "macs": ("", "MACs")}


def judge_model(limit: Limit, full: Size, key: str) -> Judgement:
    """Hold one size of the full model to an absolute limit.

    Args:
        limit: largest value allowed, absolute.
        full: the full model's size.
        key: `parameters`, `bytes` or `macs`.

    Example:
        >>> limit = Limit(value=3e5, unit="absolute", text="300 k")
        >>> judge_model(limit, Size(412345, 0, 0), "parameters").sentence
        'The full model has 412 k parameters, 112 k above the limit of 300 k.'
    """
    return _absolute(limit, getattr(full, key), key, "The full model has")


def judge_compressed(limit: Limit, measurements: Measurements, key: str) -> Judgement:
    """Hold one size of the compressed model to a limit, absolute or in percent of the full model.

    Args:
        limit: largest value allowed.
        measurements: with the sizes of both models.
        key: `parameters`, `bytes` or `macs`.

    Example:
        >>> sizes = Measurements((), full=Size(200, 800, 900), compressed=Size(130, 520, 600))
        >>> judge_compressed(Limit(value=60, unit="percent", text="60%"), sizes, "parameters").sentence
        'The compressed model keeps 65% of the parameters (130 of 200), 5 points above the limit of 60%.'
    """
    if measurements.compressed is None:
        return not_judged(limit.text, measurements.compressed_reason)
    whole: int = getattr(measurements.full, key)
    part: int = getattr(measurements.compressed, key)
    if limit.unit != "percent":
        return _absolute(limit, part, key, "The compressed model has")
    if whole == 0:
        return not_judged(limit.text, f"The full model has no {key}, so there is nothing to take a share of.")
    # Whole numbers on both sides: 55 % of 100 is exactly 55, where 0.55 * 100 is not.
    kept = 100 * part <= limit.value * whole
    unit, noun = _UNITS[key]
    sizes = f"the {noun or key} ({amount(part, unit)} of {amount(whole, unit)})"
    return _share(limit, 100 * part / whole, kept, f"The compressed model keeps {{}} of {sizes}")


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
    head = "The compressed model takes {} of the time of the full one"
    percent = round(100 * ratio, 9)  # 100 * 1.1 is more than 110
    return _share(limit, percent, percent <= limit.value, head)


def judge_exact(exact: Exactness | None, reason: str) -> Judgement:
    """The surgery's proof as a budget: it is kept only if it passed with an error that is a number.

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


def _absolute(limit: Limit, value: int, key: str, head: str) -> Judgement:
    unit, noun = _UNITS[key]
    kept = value <= limit.value
    observed = amount(value, unit)
    if not kept and observed == amount(limit.value, unit):
        observed = f"{value:,} {unit}".rstrip()
    by = f"{amount(value - limit.value, unit)} above"
    against = f"{'within' if kept else by} the limit of {limit.text}"
    sentence = " ".join(filter(None, (head, observed, noun)))
    return Judgement(limit.text, observed, outcome_of(kept), f"{sentence}, {against}.")


def _share(limit: Limit, observed: float, kept: bool, head: str) -> Judgement:
    text = f"{apart(observed, limit.value, 1)[0]}%"
    by = f"{apart(observed - limit.value, 0.0, 1)[0]} points above"
    against = f"{'within' if kept else by} the limit of {limit.text}"
    return Judgement(limit.text, text, outcome_of(kept), f"{head.format(text)}, {against}.")
