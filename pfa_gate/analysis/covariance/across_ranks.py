"""Parts of one stream put together where each process holds one, and all that they can exchange is sums.

PYTEST_DONT_REWRITE
"""

from collections.abc import Callable, Mapping

import numpy as np

from pfa_gate.analysis.covariance.moments import Moments
from pfa_gate.analysis.covariance.rows import Matrix

Total = Callable[[Matrix], Matrix]


def merge_by_sums(
    mine: Mapping[str, tuple[Moments, ...]], widths: Mapping[str, tuple[int, int]], total: Total
) -> dict[str, tuple[Moments, ...]]:
    """As `merge_shards`, by sums over all processes: of counts and means first, then of scatters about the common mean.

    Args:
        mine: place -> moments of its shards, of this process; a place that it has not read is left out.
        widths: place -> shards and filters, of all places; the same in all processes.
        total: sums an array over all processes, element by element; all call it with arrays of one shape.

    Example:
        >>> low, high = Moments(2, np.ones(1), np.zeros((1, 1))), Moments(2, np.full(1, 3.0), np.zeros((1, 1)))
        >>> def with_high(array):
        ...     return array + ([[2, 6]] if array.ndim == 2 else 2.0)  # what the process that holds `high` gives
        >>> merge_by_sums({"conv": (low,)}, {"conv": (1, 1)}, with_high)["conv"][0].scatter.tolist()
        [[4.0]]
    """
    return {place: _merged(mine.get(place), *widths[place], total) for place in sorted(widths)}


def _merged(mine: tuple[Moments, ...] | None, shards: int, filters: int, total: Total) -> tuple[Moments, ...]:
    held = mine or (Moments.empty(filters),) * shards
    # Overflow is reported once, by `covariance`.
    with np.errstate(over="ignore", invalid="ignore"):
        sums = total(np.stack([np.append(each.count, each.count * each.mean) for each in held]))
        counts = sums[:, 0]
        means = sums[:, 1:] / np.maximum(counts, 1)[:, None]
        scatters = total(np.stack([_about(each, mean) for each, mean in zip(held, means, strict=True)]))
    return tuple(Moments(int(n), mean, scatter) for n, mean, scatter in zip(counts, means, scatters, strict=True))


def _about(moments: Moments, mean: Matrix) -> Matrix:
    """The scatter about another mean than its own."""
    step = moments.mean - mean
    return moments.scatter + moments.count * np.outer(step, step)
