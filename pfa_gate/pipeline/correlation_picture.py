"""A layer's correlations as a coarse picture: filters that say the same side by side, small enough for a record."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from pfa_gate.record import Correlations

Matrix = npt.NDArray[np.float64]
Distances = npt.NDArray[np.floating[Any]]  # of 32 bits; a picture has sixteen levels
Order = npt.NDArray[np.intp]

_MOST, _LEAST = 64, 16
# All pictures of a record together have about this many cells: 60 layers at full size.
_CELLS = 125_000
_LEVELS = 15


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
        Correlations(side=3, order=(0, 2, 1), cells='fe0f2f')
    """
    order = np.concatenate([clustered(correlation, np.flatnonzero(~inactive)), np.flatnonzero(inactive)])
    blocks = _averaged(correlation[np.ix_(order, order)], min(most, len(order)))
    levels = np.rint(_LEVELS * np.clip(blocks[np.triu_indices(len(blocks))], 0.0, 1.0)).astype(int)
    single = len(blocks) == len(order)
    return Correlations(len(blocks), tuple(order.tolist()) if single else (), "".join(f"{level:x}" for level in levels))


def clustered(correlation: Matrix, filters: Order) -> Order:
    """Filters in the order of the leaves of their tree: average linkage on 1 - |Pearson|.

    Pairs that are each other's nearest merge at once, which gives the same tree as one after the other. Where two
    branches meet, they are turned so that their nearest ends touch (Gruvaeus and Wainer 1972).
    """
    if len(filters) < 3:
        return filters
    apart = 1.0 - correlation[np.ix_(filters, filters)].astype(np.float32)
    branches, sizes = [[leaf] for leaf in range(len(apart))], np.ones(len(apart), np.float32)
    distances = (apart + apart.T) / 2  # rounding may leave a matrix that is not quite symmetric
    np.fill_diagonal(distances, np.inf)
    while len(branches) > 1:
        ones, others = _nearest_pairs(distances)
        for one, other in zip(ones.tolist(), others.tolist(), strict=True):
            branches[one] = _touching(apart, branches[one], branches[other])
        _merge(distances, ones, others, sizes[ones] / (sizes[ones] + sizes[others]))
        sizes[ones] += sizes[others]
        kept = np.delete(np.arange(len(branches)), others)
        branches, sizes, distances = [branches[index] for index in kept], sizes[kept], distances[np.ix_(kept, kept)]
    return filters[branches[0]]


def _nearest_pairs(distances: Distances) -> tuple[Order, Order]:
    """Clusters that are each other's nearest, at least one pair: of equal distances the first counts."""
    nearest = distances.argmin(axis=1)
    own = np.arange(len(nearest))
    ones = np.flatnonzero((nearest[nearest] == own) & (own < nearest))
    return ones, nearest[ones]


def _merge(distances: Distances, ones: Order, others: Order, share: Distances) -> None:
    """Put the mean distances of each pair, `share` the weight of the first, in the place of the first."""
    distances[ones] = share[:, None] * distances[ones] + (1 - share)[:, None] * distances[others]
    distances[:, ones] = share * distances[:, ones] + (1 - share) * distances[:, others]
    among = np.ix_(ones, ones)  # rounded one way and the other: a pair must stay nearest for both
    distances[among] = (distances[among] + distances[among].T) / 2


def _touching(apart: Distances, one: list[int], other: list[int]) -> list[int]:
    """Both lists of leaves as one, each turned so that their nearest ends meet."""
    turns = [(left, right) for left in (one, one[::-1]) for right in (other, other[::-1])]
    left, right = min(turns, key=lambda turn: float(apart[turn[0][-1], turn[1][0]]))
    return left + right


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
