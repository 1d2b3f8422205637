"""Values that a baseline holds, each in one plain unit.

Counts, percentage points of a share, a metric's own unit else, percent of the full model's latency.
"""

from dataclasses import replace

from pfa_gate.budget.measurements import LayerMeasure, Measurements
from pfa_gate.config import Limit
from pfa_gate.config.budgets import SIZES

_DROP, _LATENCY = "compressed.accuracy_drop", "compressed.latency"
_FALL = "compressed.score_drop"


def observed_values(measurements: Measurements) -> dict[str, float]:
    """What was measured of the models as wholes, by budget; what was not is left out.

    Example:
        >>> from pfa_gate.budget.measurements import Scored, Size
        >>> shares = Measurements((), full=Size(9, 36, 81), scores=Scored(0.994, 0.99))
        >>> observed_values(shares)["compressed.accuracy_drop"]
        0.4
    """
    found: dict[str, float] = {f"model.{key}": getattr(measurements.full, key) for key in SIZES}
    if measurements.compressed is not None:
        found |= {f"compressed.{key}": getattr(measurements.compressed, key) for key in SIZES}
    scores = measurements.scores
    if scores is not None and scores.fall is not None and not scores.chance:
        found[_FALL] = round(100 * scores.fall, 9) if scores.share else scores.fall
        if scores.share:
            found[_DROP] = found[_FALL]
    if measurements.latency is not None:
        found[_LATENCY] = 100 * measurements.latency
    return found


def layer_values(layer: LayerMeasure) -> dict[str, float]:
    """What was measured of a layer, by the key of its budget.

    Example:
        >>> layer_values(LayerMeasure("stem", 8, kl_ratio=0.4, inactive=0))
        {'kl': 0.4, 'inactive': 0}
    """
    found = {
        "kl": layer.kl_ratio,
        "peak_correlation": layer.peak_correlation,
        "mean_correlation": layer.mean_correlation,
        "inactive": layer.inactive,
    }
    return {key: value for key, value in found.items() if value is not None}


def in_plain_units(limit: Limit, budget: str, measurements: Measurements) -> Limit:
    """A limit with its maximum, and the increase of a drop, as plain numbers in the unit of `observed_values`."""
    if budget in (_DROP, _FALL) and not _shares(measurements):
        return replace(limit, unit="absolute")
    if budget in (_DROP, _FALL):
        increase = limit.increase and replace(limit.increase, value=_points(limit.increase), unit="pp")
        return replace(limit, value=_points(limit), unit="absolute", increase=increase)
    if budget == _LATENCY:
        return replace(limit, unit="absolute")
    whole = getattr(measurements.full, budget.partition(".")[2])
    return replace(limit, value=limit.of(whole), unit="absolute")


def in_declared_units(limit: Limit, budget: str, measurements: Measurements) -> Limit:
    """A limit that followed from a baseline, in the unit in which the budget is judged."""
    if budget in (_DROP, _FALL) and _shares(measurements):
        return replace(limit, unit="pp", text=f"{limit.text} pp")
    if budget == _LATENCY:
        return replace(limit, unit="percent", text=f"{limit.text}%")
    return limit


def _shares(measurements: Measurements) -> bool:
    return measurements.scores is None or measurements.scores.share


def _points(limit: Limit) -> float:
    return limit.value if limit.unit == "pp" else 100 * limit.value
