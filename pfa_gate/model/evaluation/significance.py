"""Whether a score is above chance, and the interval of a drop between two scores of the same data."""

from math import sqrt

import numpy as np
import numpy.typing as npt

from pfa_gate.errors import DataError
from pfa_gate.model.evaluation.sample_states import SampleStates
from pfa_gate.model.evaluation.score import HITS, Score

LEVEL = 0.01
"""Of the one-sided test: a score is above chance where it would be reached by chance less often than this."""


def at_chance(score: Score, metric: str, data: str = "evaluation") -> str:
    """Say why a score is not above chance; empty where it is, or where chance is not known.

    Chance is the share of the commonest class (for top5, of the five commonest): a model that always answers it reaches
    that much. The score is above it where a binomial with this share gives as many hits with a probability of at most
    0.01 (one-sided, exact).

    Args:
        score: of the full model.
        metric: `accuracy` or `top5`; of any other metric chance is not known.
        data: what the samples are called.

    Example:
        >>> labels = np.repeat([0, 1], [60, 40])
        >>> at_chance(Score(0.62, np.repeat([1.0, 0.0], [62, 38]), 100, labels=labels), "accuracy")[:75]
        'The accuracy of the full model, 62%, is not above chance: the commonest cla'
        >>> at_chance(Score(0.75, np.repeat([1.0, 0.0], [75, 25]), 100, labels=labels), "accuracy")
        ''
    """
    if score.outcomes is None or score.labels is None or metric not in HITS:
        return ""
    classes, counts = np.unique(score.labels, return_counts=True)
    order = np.argsort(-counts, kind="stable")[: HITS[metric]]
    hits, samples, answered = int(score.outcomes.sum()), score.samples, int(counts[order].sum())
    if answered == samples:
        held = f"only class {classes[0]}" if len(classes) == 1 else f"{len(classes)} classes"
        return f"The {data} holds {held}, so one answer for all inputs scores 100%."
    share = answered / samples
    from scipy.special import bdtrc  # noqa: PLC0415  a tenth of a second, for evaluations alone

    probability = float(bdtrc(hits - 1, samples, share)) if hits else 1.0
    if probability <= LEVEL:
        return ""
    common = f"commonest class ({classes[order[0]]}) is" if len(order) == 1 else f"{len(order)} commonest classes are"
    fact = f"The {metric} of the full model, {_percent(score.value)}, is not above chance: the {common}"
    return f"{fact} {_percent(share)} of the {samples:,} samples (one-sided binomial test, p = {probability:.3g})."


def _percent(share: float) -> str:
    return f"{round(100 * share, 2):g}%"


_Z95 = 1.959963984540054
_DRAWS = 4000


def drop_interval(full: Score, compressed: Score) -> tuple[float, float] | None:
    """Give the 95 % interval of `full - compressed`, both scored on the same samples.

    For hits and misses, the adjusted Wald interval for a difference of paired proportions: with b samples that only the
    full model hits and c that only the compressed one hits, p = (b + 1) / (N + 2), q = (c + 1) / (N + 2), the interval
    is p - q +- 1.96 sqrt((p + q - (p - q)^2) / (N + 2)). Source: D. G. Bonett and R. M. Price, Journal of Educational
    and Behavioral Statistics 37 (2012) 479-488. Unlike the plain Wald interval it does not shrink to a point where the
    two models never differ.

    For a metric of torchmetrics, a paired bootstrap over samples: they are drawn anew 200 times with a fixed seed, the
    same for both models, and each draw is computed from the states of its samples. The interval is the drop -+ t
    standard deviations of these 200 differences. Of a metric over queries, queries are drawn.

    For the user's own metric, and where a draw takes long, a paired bootstrap over parts of the data: their differences
    are drawn anew 4,000 times with a fixed seed, and the quantiles are widened as Student's t is for so few parts. For
    a metric that is no mean over samples this is an approximation, since the parts are smaller than the whole.

    Returns:
        Low and high; shares of samples for hits and misses, else in the metric's own unit. None where a score has
        neither outcomes per sample nor parts, and where no draw of samples tells the two models apart.

    Raises:
        DataError: the two scores are not of the same samples in the same order.

    Example:
        >>> full, same = Score(1.0, np.ones(98), 98), Score(1.0, np.ones(98), 98)
        >>> low, high = drop_interval(full, same)
        >>> round(low, 3), round(high, 3)
        (-0.028, 0.028)
    """
    if full.samples != compressed.samples:
        raise DataError(
            f"The evaluation gave {full.samples} samples for the full model, "
            f"and {compressed.samples} for the compressed one.",
            remedy="Give the same data every time it is read.",
        )
    if full.data != compressed.data:
        raise DataError(
            "The evaluation gave other samples, labels or another order for the compressed model than for the full.",
            remedy="Give the same data in the same order every time it is read; a generator of your own goes on.",
        )
    if full.outcomes is not None and compressed.outcomes is not None:
        return _of_hits(full.outcomes - compressed.outcomes)
    drop = full.value - compressed.value
    if full.parts is not None and compressed.parts is not None:
        return _of_parts(full.parts - compressed.parts, drop)
    if full.states is not None and compressed.states is not None and not full.no_parts:
        return _told_apart(_of_states(full.states, compressed.states, drop))
    return None


def interval_basis(full: Score, compressed: Score) -> str:
    """Say what `drop_interval` is made of; empty where there is none.

    Example:
        >>> interval_basis(Score(1.0, np.ones(98), 98), Score(1.0, np.ones(98), 98))
        'paired over 98 samples'
    """
    if full.outcomes is not None and compressed.outcomes is not None:
        return f"paired over {full.samples:,} samples"
    if full.parts is not None and compressed.parts is not None:
        return f"bootstrap over {len(full.parts)} parts of {full.samples:,} samples"
    if full.states is None or compressed.states is None or full.no_parts:
        return ""
    count, unit = full.states.count, full.states.unit
    in_parts = not _drawn(full.states) and _of_each(full.states) is None
    return f"bootstrap over {_PARTS} parts of {count:,} {unit}" if in_parts else f"bootstrap over {count:,} {unit}"


def _of_hits(difference: npt.NDArray[np.float64]) -> tuple[float, float]:
    trials = len(difference) + 2
    lost, won = ((difference > 0).sum() + 1) / trials, ((difference < 0).sum() + 1) / trials
    half = _Z95 * sqrt((lost + won - (lost - won) ** 2) / trials)
    return float(lost - won - half), float(lost - won + half)


_STATE_DRAWS = 200
_PARTS = 20
# Numbers in lists are sorted for each draw; that of more than these would take half a minute.
_MOST_IN_LISTS = 25_000


def _drawn(states: SampleStates) -> bool:
    """Whether samples are drawn; else parts of them."""
    listed = sum(each.numel() for each in states.rows.values())
    return states.unit != "queries" and listed <= _MOST_IN_LISTS


def _of_each(states: SampleStates) -> npt.NDArray[np.float64] | None:
    """The value of each query, where the metric is their mean."""
    if states.unit != "queries":
        return None
    values = np.array([states.value(np.array([unit])) for unit in range(states.count)])
    return values if np.isclose(values.mean(), states.value(), rtol=1e-6) else None


def _of_states(full: SampleStates, compressed: SampleStates, drop: float) -> tuple[float, float] | None:
    one, other = _of_each(full), _of_each(compressed)
    if one is not None and other is not None:
        return _of_parts(one - other, drop)
    count = full.count
    if not _drawn(full):
        groups = np.array_split(np.arange(count), _PARTS)
        return _of_parts(np.array([full.value(each) - compressed.value(each) for each in groups]), drop)
    generator = np.random.default_rng(0)
    drawn = (generator.integers(0, count, count) for _ in range(_STATE_DRAWS))
    differences = np.array([full.value(each) - compressed.value(each) for each in drawn])
    differences = differences[np.isfinite(differences)]
    if len(differences) < 0.95 * _STATE_DRAWS:
        return None
    from scipy.special import stdtrit  # noqa: PLC0415

    half = float(stdtrit(count - 1, 0.975) * differences.std(ddof=1) * sqrt(count / (count - 1)))
    return drop - half, drop + half


def _told_apart(interval: tuple[float, float] | None) -> tuple[float, float] | None:
    """Draws that never tell the models apart say nothing of how far apart they may be."""
    return None if interval is None or interval[0] == interval[1] else interval


def _of_parts(difference: npt.NDArray[np.float64], drop: float) -> tuple[float, float]:
    count = len(difference)
    drawn = np.random.default_rng(0).integers(0, count, (_DRAWS, count))
    strays = difference[drawn].mean(axis=1) - difference.mean()
    from scipy.special import stdtrit  # noqa: PLC0415

    widened = stdtrit(count - 1, 0.975) / _Z95 * sqrt(count / (count - 1))
    low, high = np.quantile(strays, [0.025, 0.975]) * widened
    return float(drop + low), float(drop + high)
