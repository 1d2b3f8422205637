"""Count, mean and scatter as a value, and how several of them become one: in one process, or by sums over many."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pfa_gate.analysis.covariance.products import product
from pfa_gate.analysis.covariance.rows import Matrix, Responses, as_rows
from pfa_gate.errors import DataError, NotFiniteError, TooFewSamplesError


@dataclass(frozen=True, eq=False)
class Moments:
    """Sufficient statistics of N responses of C filters (paper 3.1).

    Args:
        count: N.
        mean: float64 [C], in units of the response.
        scatter: float64 [C, C], sum over samples of (x - mean)(x - mean)', units squared.

    Example:
        >>> update(Moments.empty(2), [[1, 0], [3, 0]]).mean.tolist()
        [2.0, 0.0]
    """

    count: int
    mean: Matrix
    scatter: Matrix

    @classmethod
    def empty(cls, filters: int) -> "Moments":
        """Moments of no sample yet, of `filters` filters.

        Example:
            >>> Moments.empty(3).count
            0
        """
        return cls(0, np.zeros(filters), np.zeros((filters, filters)))

    @property
    def filters(self) -> int:
        """C, the number of filters."""
        return len(self.mean)


def update(moments: Moments, rows: Responses) -> Moments:
    """Moments of all samples so far and of these rows too.

    Args:
        moments: of the samples so far.
        rows: [n, C], any real dtype; n may be 0.

    Returns:
        New moments; the old ones are unchanged.

    Raises:
        DataError: not a matrix of real numbers, or of another number of filters.
        NotFiniteError: NaN or infinity; names the filters.

    Example:
        >>> update(Moments.empty(1), [[1], [2], [3]]).scatter.tolist()
        [[2.0]]
    """
    return merge(moments, of_rows(as_rows(rows)))


def merge(first: Moments, second: Moments) -> Moments:
    """Moments of two sets of samples taken together (Chan, Golub and LeVeque 1979).

    Args:
        first: moments of C filters.
        second: moments of the same C filters.

    Returns:
        New moments; associative and commutative up to rounding.

    Raises:
        DataError: the two differ in their number of filters.

    Example:
        >>> low, high = update(Moments.empty(1), [[1], [1]]), update(Moments.empty(1), [[3], [3]])
        >>> merge(low, high).scatter.round(9).tolist()
        [[4.0]]
    """
    return merge_all((first, second))


def merge_all(folds: Sequence[Moments]) -> Moments:
    """Moments of all folds taken together.

    Args:
        folds: at least one, all of the same C filters.

    Raises:
        DataError: no fold at all, or the folds differ in their number of filters.

    Example:
        >>> merge_all([update(Moments.empty(1), [[n]]) for n in range(5)]).mean.tolist()
        [2.0]
    """
    if not folds:
        raise DataError("There are no moments to merge.", remedy="Give the moments of one fold or more.")
    first = folds[0]
    for other in folds[1:]:
        if other.filters != first.filters:
            raise DataError(
                f"Responses of {other.filters} filters cannot join those of {first.filters}.",
                remedy="Give every batch of a layer the same number of filters.",
            )
    held = [fold for fold in folds if fold.count]
    if len(held) < 2:
        return held[0] if held else first
    counts = np.array([fold.count for fold in held])
    # Overflow is reported once, by `covariance`.
    with np.errstate(over="ignore", invalid="ignore"):
        steps = np.stack([fold.mean - held[0].mean for fold in held])
        ahead = counts @ steps / counts.sum()
        steps = (steps - ahead) * np.sqrt(counts)[:, None]
        scatter = product(steps.T, steps)
        for fold in held:
            scatter += fold.scatter
    return Moments(int(counts.sum()), held[0].mean + ahead, scatter)


def unvarying(deviations: Matrix, means: Matrix) -> npt.NDArray[np.bool_]:
    """Which filters are dead or constant: what they vary by is within rounding of their mean, or of the largest.

    Args:
        deviations: float64 [..., C], standard deviations of the responses.
        means: float64 [..., C].

    Example:
        >>> unvarying(np.array([1.0, 1.0, 0.0]), np.array([0.0, 1e7, 0.0])).tolist()
        [False, True, True]
    """
    return np.asarray(deviations <= 1e-6 * np.maximum(np.abs(means), deviations.max(axis=-1, keepdims=True)))


def covariance(moments: Moments) -> Matrix:
    """Unbiased covariance of the responses (paper 3.1).

    Args:
        moments: of N samples of C filters.

    Returns:
        float64 [C, C], scatter / (N - 1), in units of the response squared.

    Raises:
        TooFewSamplesError: fewer than two samples.
        NotFiniteError: responses so large that their squares leave float64.

    Example:
        >>> covariance(update(Moments.empty(1), [[1], [2], [3]])).tolist()
        [[1.0]]
    """
    if moments.count < 2:
        raise TooFewSamplesError(
            f"A covariance needs two samples; there are {moments.count}.", remedy="Raise probe.samples."
        )
    if not np.isfinite(moments.scatter.diagonal()).all():
        raise NotFiniteError(
            "The responses are so large that their squares overflow float64.",
            remedy="Look for weights or inputs that diverge.",
        )
    return moments.scatter / (moments.count - 1)


def subset(moments: Moments, filters: npt.NDArray[np.int64]) -> Moments:
    """The moments of some of the filters, in the order given.

    Args:
        moments: of C filters.
        filters: int64 [k], indices into them.

    Example:
        >>> subset(update(Moments.empty(3), [[1, 2, 3], [3, 2, 1]]), np.array([2, 0])).mean.tolist()
        [2.0, 2.0]
    """
    return Moments(moments.count, moments.mean[filters], moments.scatter[np.ix_(filters, filters)])


def of_rows(rows: Matrix) -> Moments:
    """Moments of float64 rows [n, C] that are known to be finite; n may be 0.

    Example:
        >>> of_rows(np.array([[1.0], [3.0]])).mean.tolist()
        [2.0]
    """
    if not len(rows):
        return Moments.empty(rows.shape[1])
    with np.errstate(over="ignore", invalid="ignore"):
        mean = rows.mean(axis=0)
        centred = rows - mean
        # NumPy gives a matrix times its own transpose to the symmetric rank-k routine.
        return Moments(len(rows), mean, centred.T @ centred)


Total = Callable[[Matrix], Matrix]


def merge_by_sums(
    own: Mapping[str, tuple[Moments, ...]], widths: Mapping[str, tuple[int, int]], total: Total
) -> dict[str, tuple[Moments, ...]]:
    """As `merge_parts`, by sums over all processes: of counts and means first, then of scatters about the common mean.

    Args:
        own: tap -> moments of its folds, of this process; a tap that it has not read is left out.
        widths: tap -> folds and filters, of all taps; the same in all processes.
        total: sums an array over all processes, element by element; all call it with arrays of one shape.

    Example:
        >>> low, high = Moments(2, np.ones(1), np.zeros((1, 1))), Moments(2, np.full(1, 3.0), np.zeros((1, 1)))
        >>> def with_high(array):
        ...     return array + ([[2, 6]] if array.ndim == 2 else 2.0)  # what the process that holds `high` gives
        >>> merge_by_sums({"conv": (low,)}, {"conv": (1, 1)}, with_high)["conv"][0].scatter.tolist()
        [[4.0]]
    """
    return {tap: _merged(own.get(tap), *widths[tap], total) for tap in sorted(widths)}


def _merged(own: tuple[Moments, ...] | None, folds: int, filters: int, total: Total) -> tuple[Moments, ...]:
    held = own or (Moments.empty(filters),) * folds
    # Overflow is reported once, by `covariance`.
    with np.errstate(over="ignore", invalid="ignore"):
        sums = total(np.stack([np.append(fold.count, fold.count * fold.mean) for fold in held]))
        counts = sums[:, 0]
        means = sums[:, 1:] / np.maximum(counts, 1)[:, None]
        scatters = total(np.stack([_about(fold, mean) for fold, mean in zip(held, means, strict=True)]))
    return tuple(Moments(int(n), mean, scatter) for n, mean, scatter in zip(counts, means, scatters, strict=True))


def _about(moments: Moments, mean: Matrix) -> Matrix:
    """The scatter about another mean than its own."""
    step = moments.mean - mean
    return moments.scatter + moments.count * np.outer(step, step)
