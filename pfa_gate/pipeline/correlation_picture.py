"""A layer's correlations as a coarse picture: filters that say the same side by side, small enough for a record."""

import math

import numpy as np
import numpy.typing as npt

from pfa_gate.record import Correlations

Matrix = npt.NDArray[np.float64]
Order = npt.NDArray[np.intp]

_MOST, _LEAST = 64, 16
# All pictures of a record together have about this many cells: 60 layers at full size.
_CELLS = 125_000
_LEVELS = 15
# Beyond this an optimal order of the leaves takes seconds.
_OPTIMAL = 128


def side(layers: int) -> int:
    """Rows and columns of a picture where a record has so many.

    Example:
        >>> side(60), side(200), side(100_000)
        (64, 35, 16)
    """
    return max(_LEAST, min(_MOST, math.isqrt(2 * _CELLS // max(1, layers))))


def heat_map(correlation: Matrix, inactive: npt.NDArray[np.bool_], most: int) -> Correlations:
    """Cluster the filters, average neighbours where there are more than fit, and round to sixteenths.

    Args:
        correlation: float64 [C, C], |Pearson|.
        inactive: bool [C]; these come last.
        most: rows and columns of the picture.

    Example:
        >>> pairs = np.array([[1.0, 0.0, 0.9], [0.0, 1.0, 0.1], [0.9, 0.1, 1.0]])
        >>> heat_map(pairs, np.zeros(3, dtype=bool), 64)
        Correlations(side=3, order=(1, 2, 0), cells='f20fef')
    """
    order = np.concatenate([clustered(correlation, np.flatnonzero(~inactive)), np.flatnonzero(inactive)])
    blocks = _averaged(correlation[np.ix_(order, order)], min(most, len(order)))
    levels = np.rint(_LEVELS * np.clip(blocks[np.triu_indices(len(blocks))], 0.0, 1.0)).astype(int)
    single = len(blocks) == len(order)
    return Correlations(len(blocks), tuple(order.tolist()) if single else (), "".join(f"{level:x}" for level in levels))


def clustered(correlation: Matrix, filters: Order) -> Order:
    """Filters in the order of the leaves of their tree: average linkage on 1 - |Pearson|."""
    if len(filters) < 3:
        return filters
    from scipy.cluster.hierarchy import leaves_list, linkage  # noqa: PLC0415  half a second, not before there is a picture
    from scipy.spatial.distance import squareform  # noqa: PLC0415

    apart = 1.0 - correlation[np.ix_(filters, filters)]
    np.fill_diagonal(apart, 0.0)
    # Rounding may leave a matrix that is not quite symmetric, and a distance below 0.
    near = np.clip(squareform((apart + apart.T) / 2, checks=False), 0.0, None)
    return filters[leaves_list(linkage(near, "average", optimal_ordering=len(filters) <= _OPTIMAL))]


def _averaged(matrix: Matrix, most: int) -> Matrix:
    """Means over blocks; a filter's correlation with itself counts in none but a block of its own."""
    if most >= len(matrix):
        return matrix
    starts = np.arange(most) * len(matrix) // most
    others = matrix - np.diag(matrix.diagonal())
    sums = np.add.reduceat(np.add.reduceat(others, starts, axis=0), starts, axis=1)
    sizes = np.diff(np.append(starts, len(matrix)))
    pairs = np.outer(sizes, sizes) - np.diag(sizes)
    single = np.flatnonzero(sizes == 1)
    means: Matrix = sums / np.maximum(pairs, 1)
    means[single, single] = matrix.diagonal()[starts[single]]
    return means
