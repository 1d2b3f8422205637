"""Standard errors of a spectrum: a jackknife over folds by influence, with one decomposition in place of one a fold.

The KL ratio and the mean correlation have a gradient in the covariance, so what leaving a fold out does to them is one
sum of products. For the peak, the correlation of each filter with its closest one is taken anew without each fold.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

import numpy as np
import numpy.typing as npt

from pfa_gate.analysis.covariance.moments import Moments, unvarying
from pfa_gate.analysis.covariance.products import product, with_squares
from pfa_gate.analysis.covariance.rows import Matrix


@dataclass(frozen=True, eq=False)
class Whole:
    """What all folds say together, of C filters.

    Args:
        covariance: float64 [C, C]; 0 for inactive filters.
        inactive: bool [C].
        shares: float64 [C], eigenvalues of the covariance over their sum, falling.
        vectors: float64 [C, C], its eigenvectors in the columns, by rising eigenvalue.
        correlation: float64 [C, C], |Pearson|.
    """

    covariance: Matrix
    inactive: npt.NDArray[np.bool_]
    shares: Matrix
    vectors: Matrix
    correlation: Matrix


def standard_errors(folds: Sequence[Moments], whole: Whole) -> tuple[float, float, float]:
    """Standard errors of kl_ratio, peak_correlation and mean_correlation.

    Args:
        folds: two or more, all with samples; without any one of them more samples than filters are left.
        whole: what they say together.

    Example:
        >>> one = Moments(9, np.zeros(1), np.ones((1, 1)))
        >>> unit = np.ones((1, 1))
        >>> standard_errors([one, one], Whole(unit, np.zeros(1, bool), np.ones(1), unit, unit))
        (0.0, 0.0, 0.0)
    """
    without = _WithoutFolds(folds, whole)
    kl = without.changes(_kl_gradient(whole))
    several = (~whole.inactive).sum() > 1
    peak, mean = (without.peaks(), without.means()) if several else (np.zeros(1), np.zeros(1))
    kl_stderr, peak_stderr, mean_stderr = (float(np.sqrt((len(folds) - 1) * each.var())) for each in (kl, peak, mean))
    return kl_stderr, peak_stderr, mean_stderr


class _WithoutFolds:
    """What F - 1 folds say, for each fold that may be left out."""

    def __init__(self, folds: Sequence[Moments], whole: Whole) -> None:
        self._folds, self._whole = folds, whole
        self._counts = np.array([fold.count for fold in folds], float)
        self._rest = self._counts.sum() - self._counts
        means = np.stack([fold.mean for fold in folds])
        steps = means - means[0]
        self._steps = steps - self._counts @ steps / self._counts.sum()  # from the mean of all
        # Summed over the other folds, not all less one: of what a filter does in one fold alone not a bit is left.
        self._others = self._counts * (1 - np.eye(len(folds)))
        others_means = self._others @ means / self._rest[:, None]
        self._apart = means - others_means[:, None]  # of each fold from the mean without each fold, [F, F, C]
        self._squares = self._products(np.arange(len(whole.inactive)))
        deviations = np.sqrt(self._squares / (self._rest[:, None] - 1))
        self._active = ~(whole.inactive | unvarying(deviations, others_means))

    def changes(self, gradient: Matrix) -> Matrix:
        """By how much a value changes to first order, [F].

        Its gradient [C, C] in the covariance is blind to scale; of an element above the diagonal and its twin below,
        the two may hold any parts of what is theirs together.
        """
        total = self._counts.sum()
        # A fold takes with it its own scatter and what its mean adds (Chan, Golub and LeVeque 1979).
        within = np.array([np.einsum("ij,ij->", gradient, fold.scatter) for fold in self._folds])
        between = (product(self._steps, gradient) * self._steps).sum(axis=1)
        gone = within + self._counts * total / self._rest * between
        return np.asarray(-gone / self._rest * (total / (total - 1)))

    def peaks(self) -> Matrix:
        """The largest correlation of a filter with the one that is closest to it in all folds, [F]."""
        pairs = self._whole.correlation.copy()
        np.fill_diagonal(pairs, -1.0)
        closest = pairs.argmax(axis=1)
        scale = np.sqrt(self._squares * self._squares[:, closest])
        known = self._active & self._active[:, closest]
        correlation = np.abs(self._products(closest)) / np.where(known, scale, 1.0)
        return np.asarray(np.where(known, np.minimum(correlation, 1.0), 0.0).max(axis=1))

    def means(self) -> Matrix:
        """The mean correlation of the filters that are active without a fold, [F]; its change is to first order."""
        active = self._active.astype(float)
        count = active.sum(axis=1)
        pairs = np.maximum(count * (count - 1), 1)
        sums = (product(active, self._whole.correlation) * active).sum(axis=1) - count
        return np.asarray((sums + self.changes(_mean_gradient(self._whole, self._noise()))) / pairs)

    def _products(self, second: npt.NDArray[np.int64]) -> Matrix:
        """Of each filter and another one, about their means, summed over the other folds, [F, C]."""
        each = np.arange(len(self._whole.inactive))
        within = (self._others > 0) @ np.stack([fold.scatter[each, second] for fold in self._folds])
        between = self._others[:, :, None] * self._apart * self._apart[:, :, second]
        return np.asarray(within + between.sum(axis=1))

    def _noise(self) -> float:
        """By how much a correlation near 0 changes: as much as a mean does, in standard deviations of its filter."""
        active = ~self._whole.inactive
        changes = (self._counts / self._rest)[:, None] * self._steps[:, active]
        return float(np.sqrt(np.mean(changes * changes / self._whole.covariance.diagonal()[active])))


def _kl_gradient(whole: Whole) -> Matrix:
    """Of kl_ratio: V diag(ln(p C) - kl) V' over the trace and ln C, where p are the eigenvalues as shares.

    What is above and below the diagonal stands above it.

    Without a fold no eigenvalue of the scatter grows, and p ln p goes to 0 with p: so a share too small to be told from
    0 may count as the smallest that can.
    """
    filters = len(whole.shares)
    logs = np.log(np.maximum(whole.shares, np.finfo(float).eps) * filters)
    unit = (whole.covariance.trace() or 1.0) * log(max(filters, 2))
    root = whole.vectors * np.sqrt((logs - logs[-1]) / unit)[::-1]
    root[whole.inactive] = 0.0
    squares = with_squares(np.zeros((filters, filters), order="F"), root.T).T
    gradient = np.triu(squares, 1) * 2
    gradient.flat[:: filters + 1] = squares.diagonal()
    gradient.flat[:: filters + 1] += np.where(whole.inactive, 0.0, (logs[-1] - whole.shares @ logs) / unit)
    return np.asarray(gradient)


def _mean_gradient(whole: Whole, noise: float) -> Matrix:
    """Of the sum of |r| over all pairs of active filters.

    The slope of |r| is the sign of r; but where r may as well have the other one, it is between the two.
    """
    inverse = np.zeros(len(whole.inactive))
    np.divide(1.0, np.sqrt(whole.covariance.diagonal()), out=inverse, where=~whole.inactive)
    scale = np.outer(inverse, inverse)
    correlation = whole.covariance * scale
    np.fill_diagonal(correlation, 0.0)
    # The straight line that is closest to the normal distribution at 0.
    slopes = correlation / max(1.25 * noise, np.finfo(float).tiny)
    np.clip(slopes, -1.0, 1.0, out=slopes)
    own = np.einsum("ij,ij->i", slopes, correlation)
    slopes *= scale
    # Where a variance changes, so do all correlations of its filter.
    np.fill_diagonal(slopes, -inverse * inverse * own)
    return slopes
