"""The interval of a drop between two scores of the same data."""

from math import sqrt

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from pfa_gate.errors import DataError
from pfa_gate.model.evaluation.score import Score

_Z95 = 1.959963984540054
_DRAWS = 4000


def drop_interval(full: Score, compressed: Score) -> tuple[float, float] | None:
    """Give the 95 % interval of `full - compressed`, both scored on the same samples.

    For hits and misses, the adjusted Wald interval for a difference of paired proportions: with b samples that only the
    full model hits and c that only the compressed one hits, p = (b + 1) / (N + 2), q = (c + 1) / (N + 2), the interval
    is p - q +- 1.96 sqrt((p + q - (p - q)^2) / (N + 2)). Source: D. G. Bonett and R. M. Price, Journal of Educational
    and Behavioral Statistics 37 (2012) 479-488. Unlike the plain Wald interval it does not shrink to a point where the
    two models never differ.

    For the user's own metric, a paired bootstrap over parts of the data: their differences are drawn anew 4,000 times
    with a fixed seed, and the quantiles are widened as Student's t is for so few parts. For a metric that is no mean
    over samples this is an approximation, since the parts are smaller than the whole.

    Returns:
        Low and high; shares of samples for hits and misses, else in the metric's own unit. None where a score has
        neither outcomes per sample nor parts.

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
    if full.parts is not None and compressed.parts is not None:
        return _of_parts(full.parts - compressed.parts, full.value - compressed.value)
    return None


def _of_hits(difference: npt.NDArray[np.float64]) -> tuple[float, float]:
    trials = len(difference) + 2
    lost, won = ((difference > 0).sum() + 1) / trials, ((difference < 0).sum() + 1) / trials
    half = _Z95 * sqrt((lost + won - (lost - won) ** 2) / trials)
    return float(lost - won - half), float(lost - won + half)


def _of_parts(difference: npt.NDArray[np.float64], drop: float) -> tuple[float, float]:
    count = len(difference)
    drawn = np.random.default_rng(0).integers(0, count, (_DRAWS, count))
    strays = difference[drawn].mean(axis=1) - difference.mean()
    widened = stdtrit(count - 1, 0.975) / _Z95 * sqrt(count / (count - 1))
    low, high = np.quantile(strays, [0.025, 0.975]) * widened
    return float(drop + low), float(drop + high)
