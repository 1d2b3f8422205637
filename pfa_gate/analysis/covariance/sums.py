"""The sums of one fold, kept up in place as rows come."""

import numpy as np
import numpy.typing as npt

from pfa_gate.analysis.covariance.moments import Moments
from pfa_gate.analysis.covariance.products import NARROW, summed, with_squares
from pfa_gate.analysis.covariance.rows import Matrix


class FoldSums:
    """Of rows less a fixed centre, and of their products, [C] and [C, C].

    The centre is the mean of the first block, n rows of N; or 0, and then no row is copied, where no mean is more than
    four standard deviations away from it. The mean of all is so near to either, beside what a filter varies by, that no
    more than some N / n roundings are lost. While rows come only the lower triangle is kept up.

    Args:
        scatter: float64 [C, C], zeros in C's order; it is written to.

    Example:
        >>> sums = FoldSums(np.zeros((1, 1)))
        >>> sums.add(np.array([[1.0], [3.0]]), np.empty((2, 1))), sums.moments().scatter.tolist()
        (True, [[2.0]])
    """

    def __init__(self, scatter: Matrix) -> None:
        self._centre: Matrix | None = None  # 0
        self._count, self._total = 0, np.zeros(len(scatter))
        self._scatter, self._shared = scatter.T, False

    def add(self, responses: npt.NDArray[np.generic], room: Matrix) -> bool:
        """Take rows of any real dtype; whether the sums are finite.

        Args:
            responses: [n, C].
            room: float64 [n or more, C], overwritten; it spares fresh memory for each block.
        """
        if self._shared:
            self._scatter, self._shared = self._scatter.copy(order="F"), False
        if not self._count:
            self._centre = _centre_of(responses.astype(np.float64, copy=False))
        if self._centre is not None:
            rows = np.subtract(responses, self._centre, out=room[: len(responses)])
        else:
            rows = _in_rows(responses, room[: len(responses)])
        self._count += len(rows)
        self._total += summed(rows)
        self._scatter = with_squares(self._scatter, rows)
        return bool(np.isfinite(self._total).all())

    def moments(self) -> Moments:
        """All so far, without a copy: rows added later go into a copy, and have the mean so far for a centre."""
        step = self._total / max(self._count, 1)
        _about_the_mean(self._scatter, self._total, step)
        self._centre = step if self._centre is None else self._centre + step
        self._total, self._shared = np.zeros_like(step), True
        return Moments(self._count, self._centre, self._scatter.T)


def _centre_of(rows: Matrix) -> Matrix | None:
    """The mean; None where 0 does as well."""
    mean, squares = rows.mean(axis=0), np.einsum("ij,ij->j", rows, rows) / len(rows)
    return None if (17 * mean * mean <= 16 * squares).all() else mean


def _in_rows(responses: npt.NDArray[np.generic], room: Matrix) -> Matrix:
    """The same in float64 and as BLAS reads it: NumPy's, rows that are each in one piece, and scipy's, all in one."""
    (between, within), (_, filters) = responses.strides, responses.shape
    if responses.dtype == np.float64 and within == 8 and between >= 8 * filters and filters <= NARROW:
        return responses.view(np.float64)
    np.copyto(room, responses)
    return room


def _about_the_mean(lower: Matrix, total: Matrix, step: Matrix, size: int = 32) -> None:
    """From a lower triangle of products about a centre make the whole scatter about the mean, block by block.

    Args:
        lower: [C, C], overwritten.
        total: [C], sum of the rows less the centre.
        step: [C], from the centre to the mean.
        size: of a block, which stays in the cache.
    """
    upper, above = lower.T, np.triu(np.ones((size, size), bool), 1)
    for start in range(0, len(lower), size):
        stop = start + size
        upper[start:stop, start:] -= step[start:stop, None] * total[start:]
        corner = lower[start:stop, start:stop]
        np.copyto(corner, corner.T, where=above[: len(corner), : len(corner)])
        upper[stop:, start:stop] = lower[stop:, start:stop]
    squares = np.einsum("jj->j", lower)
    np.maximum(squares, 0.0, out=squares)  # of a filter that does not vary rounding may leave less than nothing
