"""How redundant the filters of a layer are: the spectrum of their covariance, and what follows from it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from pfa_gate.analysis.covariance.jackknife import JackknifeFolds, folds_for
from pfa_gate.analysis.covariance.moments import Moments, covariance, merge_all, unvarying
from pfa_gate.analysis.covariance.products import NARROW
from pfa_gate.analysis.covariance.rows import Matrix, Responses, as_matrix
from pfa_gate.analysis.standard_errors import Whole, standard_errors
from pfa_gate.errors import DataError, TooFewSamplesError
from pfa_gate.redundancy import divergence


@dataclass(frozen=True, eq=False)
class Spectrum:
    """What N responses of C filters say about redundancy (paper 3.1 and 3.2).

    Args:
        samples: N.
        eigenvalues: float64 [C], of the covariance, descending, summing to 1; zeros where nothing varies.
        kl: divergence of the eigenvalues from a flat spectrum, in nats.
        kl_ratio: kl / ln C, from 0 (uncorrelated and alike in scale) to 1 (one filter would do).
        kl_bias: by how much kl is too high for independent filters, about C / (2 N), in nats.
        kl_stderr: standard error of kl_ratio (budgets are on the ratio), or None where unknown.
        correlation: float64 [C, C], |Pearson|; 0 in rows and columns of inactive filters.
        inactive: bool [C], filters that do not vary: dead or constant.
        peak_correlation: largest correlation of two active filters; 0 with fewer than two.
        mean_correlation: mean correlation of two active filters; 0 with fewer than two.
        covariance: float64 [C, C], units of the response squared; 0 for inactive filters.
        peak_stderr: standard error of peak_correlation, or None where unknown.
        mean_stderr: standard error of mean_correlation, or None where unknown.

    Example:
        >>> analyse([[1, 2], [2, 4], [3, 6]])
        Spectrum(2 filters, 2 active, 3 samples, kl_ratio 1.000, peak correlation 1.000)
    """

    samples: int
    eigenvalues: Matrix
    kl: float
    kl_ratio: float
    kl_bias: float
    kl_stderr: float | None
    correlation: Matrix
    inactive: npt.NDArray[np.bool_]
    peak_correlation: float
    mean_correlation: float
    covariance: Matrix
    peak_stderr: float | None = None
    mean_stderr: float | None = None

    @property
    def filters(self) -> int:
        """C, the number of filters."""
        return len(self.eigenvalues)

    @property
    def standardised(self) -> "Spectrum":
        """The spectrum of the same filters brought to equal variance: of their correlation, blind to their scale.

        Example:
            >>> analyse([[1, 20], [2, 10], [3, 30]]).standardised.eigenvalues.round(2).tolist()
            [0.75, 0.25]
        """
        pearson = _pearson(self.covariance, self.inactive)
        return _spectrum(pearson, self.inactive, self.samples, _eigenvalues(pearson))

    @cached_property
    def kl_ratio_standardised(self) -> float:
        """kl_ratio of the same filters brought to equal variance; computed when it is first asked for.

        It is blind to scale, so what kl_ratio has above it comes from scale and not from correlation.

        Example:
            >>> round(analyse([[1, 20], [2, 10], [3, 30]]).kl_ratio_standardised, 3)
            0.189
        """
        return divergence(_shares(_eigenvalues(_pearson(self.covariance, self.inactive))).tolist())[1]

    @property
    def active(self) -> int:
        """How many filters vary at all."""
        return self.filters - int(self.inactive.sum())

    def shares(self, filters: npt.NDArray[np.int64]) -> Matrix:
        """What the directions of some of its filters carry of their energy: descending, summing to 1."""
        return _shares(_eigenvalues(self.covariance[np.ix_(filters, filters)]))

    def __repr__(self) -> str:
        """One line: matrices tell a reader nothing."""
        return (
            f"Spectrum({self.filters} filters, {self.active} active, {self.samples} samples, "
            f"kl_ratio {self.kl_ratio:.3f}, peak correlation {self.peak_correlation:.3f})"
        )


def analyse(responses: Responses) -> Spectrum:
    """Spectrum of a matrix of responses.

    Args:
        responses: [N, C], NumPy or torch, any real dtype; N > C.

    Returns:
        The spectrum, with a jackknife standard error where there are samples enough for one, and at most 4,096 filters.

    Raises:
        DataError: not a matrix of real numbers.
        NotFiniteError: NaN or infinity; names the filters.
        TooFewSamplesError: N <= C.

    Example:
        >>> from itertools import product
        >>> independent = list(product((-1, 1), repeat=3))
        >>> analyse(independent).eigenvalues.round(3).tolist()
        [0.333, 0.333, 0.333]
    """
    rows = as_matrix(responses)
    folds = JackknifeFolds(rows.shape[1], folds_for(rows.shape[1]))
    folds.add(rows)
    return spectrum_of_folds(folds.moments())


def spectrum(moments: Moments) -> Spectrum:
    """Spectrum of the responses that these moments sum up; `kl_stderr` is None.

    Args:
        moments: of N samples of C filters, N > C.

    Raises:
        TooFewSamplesError: N <= C.
        NotFiniteError: the squares of the responses overflow.

    Example:
        >>> from pfa_gate.analysis.covariance import update
        >>> spectrum(update(Moments.empty(1), [[1], [2]])).kl_ratio
        0.0
    """
    silenced, inactive = _silenced_covariance(moments)
    return _spectrum(silenced, inactive, moments.count, _eigenvalues(silenced))


def spectrum_of_folds(folds: Sequence[Moments]) -> Spectrum:
    """Spectrum of all folds together, with jackknife standard errors of its kl_ratio and correlations.

    Args:
        folds: moments of disjoint samples of the same C filters; more than C samples in all.

    Returns:
        The spectrum. The standard errors are None with fewer than two folds that hold samples, or where
        leaving one out leaves C samples or fewer.

    Raises:
        DataError: no fold, or folds of different filters.
        TooFewSamplesError: N <= C over all folds.
        NotFiniteError: the squares of the responses overflow.

    Example:
        >>> folds = JackknifeFolds(1)
        >>> folds.add([[1], [2], [4]])
        >>> spectrum_of_folds(folds.moments()).kl_stderr
        0.0
    """
    together, held = merge_all(folds), [fold for fold in folds if fold.count]
    if len(held) < 2 or any(together.count - fold.count <= together.filters for fold in held):
        return spectrum(together)
    silenced, inactive = _silenced_covariance(together)
    values, vectors = _decomposed(silenced)
    found = _spectrum(silenced, inactive, together.count, values)
    whole = Whole(silenced, inactive, found.eigenvalues, vectors, found.correlation)
    kl, peak, mean = standard_errors(held, whole)
    return replace(found, kl_stderr=kl, peak_stderr=peak, mean_stderr=mean)


def pooled(spectra: Sequence[Spectrum]) -> Spectrum:
    """One spectrum for a group of filters that several layers or sums respond with.

    Args:
        spectra: of the same C filters, one per producer.

    Returns:
        The spectrum of the mean of their covariances, each divided by its trace so that all count
        alike. A filter is inactive where it is so in all; `samples` is the fewest; with several
        producers `kl_stderr` is None.

    Raises:
        DataError: no spectrum, or spectra of different numbers of filters.

    Example:
        >>> small, large = analyse([[1, 0], [2, 0], [3, 0]]), analyse([[0, 10], [0, 20], [0, 30]])
        >>> pooled([small, large]).eigenvalues.tolist()
        [0.5, 0.5]
    """
    if len({one.filters for one in spectra}) != 1:
        raise DataError(
            f"Spectra of {[one.filters for one in spectra]} filters cannot be pooled.",
            remedy="Pool spectra of the same filters, one or more.",
        )
    if len(spectra) == 1:
        return spectra[0]
    inactive = np.logical_and.reduce([one.inactive for one in spectra])
    mean = sum(_trace_normalised(one.covariance) for one in spectra) / len(spectra)
    return _spectrum(np.asarray(mean), inactive, min(one.samples for one in spectra), _eigenvalues(np.asarray(mean)))


def _silenced_covariance(moments: Moments) -> tuple[Matrix, npt.NDArray[np.bool_]]:
    """Covariance with inactive filters at exactly 0, and which they are."""
    if moments.count <= moments.filters:
        raise TooFewSamplesError(
            f"There are {moments.count} samples for {moments.filters} filters; their covariance cannot have full rank.",
            remedy=f"Raise probe.samples above {moments.filters}, or exclude the layer.",
        )
    matrix = covariance(moments)
    inactive = unvarying(np.sqrt(matrix.diagonal()), moments.mean)
    # What a constant filter still varies by is rounding, and rounding is no energy.
    matrix[inactive] = 0.0
    matrix[:, inactive] = 0.0
    return matrix, inactive


def _spectrum(matrix: Matrix, inactive: npt.NDArray[np.bool_], samples: int, rising: Matrix) -> Spectrum:
    """That of a covariance, whose eigenvalues are given as LAPACK gives them."""
    eigenvalues = _shares(rising)
    kl, kl_ratio = divergence(eigenvalues.tolist())
    pearson = _pearson(matrix, inactive)
    correlation = np.abs(pearson)
    peak, mean = _off_diagonal(correlation, len(matrix) - int(inactive.sum()))
    return Spectrum(
        samples=samples,
        eigenvalues=eigenvalues,
        kl=kl,
        kl_ratio=kl_ratio,
        kl_bias=len(matrix) / (2 * samples),
        kl_stderr=None,
        correlation=correlation,
        inactive=inactive,
        peak_correlation=peak,
        mean_correlation=mean,
        covariance=matrix,
    )


def _eigenvalues(matrix: Matrix) -> Matrix:
    """Of a symmetric matrix, rising."""
    # Above a thousand filters torch's LAPACK takes half the time of NumPy's.
    return np.asarray(torch.linalg.eigvalsh(torch.from_numpy(matrix)).numpy())


def _decomposed(matrix: Matrix) -> tuple[Matrix, Matrix]:
    """Eigenvalues of a symmetric matrix, rising, and its eigenvectors in the columns."""
    filters = len(matrix)
    if filters <= NARROW:
        return np.linalg.eigh(matrix)
    from scipy.linalg.lapack import dormqr, dstevd, dsytrd  # noqa: PLC0415  a quarter of a second

    # The three steps of `dsyevd`, which scipy gives the room to work on many columns at once.
    room = 64 * filters
    reduced, diagonal, beside, factors, _ = dsytrd(matrix.T, lower=1, lwork=room)
    values, vectors, failed = dstevd(diagonal, beside)
    if failed:
        return np.linalg.eigh(matrix)
    vectors[1:], _, _ = dormqr("L", "N", reduced[1:, :-1], factors, vectors[1:], lwork=room)
    return values, vectors


def _shares(rising: Matrix) -> Matrix:
    """Descending, clipped at 0, divided by their sum; zeros if all are zero."""
    raw = np.clip(rising[::-1], 0.0, None)
    total = raw.sum()
    return np.asarray(raw / total if total > 0 else np.zeros_like(raw))


def _pearson(matrix: Matrix, inactive: npt.NDArray[np.bool_]) -> Matrix:
    scale = np.sqrt(matrix.diagonal())
    scale[inactive] = 1.0
    pearson = np.outer(scale, scale)
    np.clip(np.divide(matrix, pearson, out=pearson), -1.0, 1.0, out=pearson)
    np.fill_diagonal(pearson, np.where(inactive, 0.0, 1.0))
    return pearson


def _off_diagonal(correlation: Matrix, active: int) -> tuple[float, float]:
    """Largest and mean correlation of two different active filters."""
    if active < 2:
        return 0.0, 0.0
    others = correlation.copy()
    np.fill_diagonal(others, 0.0)
    return float(others.max()), float(others.sum() / (active * (active - 1)))


def _trace_normalised(matrix: Matrix) -> Matrix:
    trace = matrix.trace()
    return matrix / trace if trace > 0 else matrix
